//! What is changed by command stands in the file, survives the daemon, and costs nobody a packet.

use std::fs;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use xtask::lab::{Families, Lab, Node};

use super::stand::stream::{Stream, all_answered};
use super::stand::{done, edit, refused, route_via, shape, status, trace, without_counters};

/// Answers that show that traffic flows.
const SOME: u64 = 1000;
/// A daemon is killed after so many changes, and after the last.
const CHANGES_A_KILL: usize = 3;
const COMMENTS: &[&str] =
    &["# The pool of the web.", "# The first one.", "# Nobody knows why.", "# The end."];

/// Each command with a word that the file has afterwards, or has no more.
const CHANGES: &[(&[&str], Has)] = &[
    (&["backend", "weight", "10.0.0.11", "60"], Has::Word("weight = 60")),
    (&["backend", "drain", "10.0.0.12", "--pool", "web"], Has::Word("\"draining\"")),
    (&["backend", "undrain", "10.0.0.12"], Has::NotWord("\"draining\"")),
    (&["pool", "add", "dns", "--encapsulation", "ipip", "--slots", "1024"], Has::Word("name = \"dns\"")),
    (&["backend", "add", "10.0.0.12", "--pool", "dns", "--weight", "7"], Has::Word("weight = 7")),
    (&["vip", "add", "203.0.113.9:53/udp", "--pool", "dns"], Has::Word("203.0.113.9")),
    (&["vip", "add", "203.0.113.9:*/tcp", "--pool", "web"], Has::Word("203.0.113.9")),
    (&["vip", "remove", "203.0.113.9:53/udp"], Has::NotWord("pool = \"dns\"")),
    (&["backend", "remove", "10.0.0.12", "--pool", "dns", "--now"], Has::NotWord("weight = 7")),
    (&["pool", "remove", "dns"], Has::NotWord("name = \"dns\"")),
    (&["backend", "remove", "10.0.0.13", "--now"], Has::NotWord("10.0.0.13")),
];

enum Has {
    Word(&'static str),
    NotWord(&'static str),
}

#[test]
fn changes_by_command_survive_a_kill() -> Result<()> {
    let mut lab = Lab::builder().shape(shape(1, 3)).without_balancers().build()?;
    for index in 0..3 {
        lab.backend(index).start()?;
    }
    let node = lab.ingress(0);
    edit(node, "\n[[pool]]\n", "\n# The pool of the web.\n[[pool]]\nfill_time = \"0s\"\n")?;
    edit(
        node,
        "[[pool.backend]]\naddress = \"10.0.0.11\"\n",
        "[[pool.backend]] # The first one.\naddress = \"10.0.0.11\" # Nobody knows why.\n",
    )?;
    edit(node, "[[pool.backend]]\naddress = \"10.0.0.13\"\n", "")?;
    fs::write(node.config(), fs::read_to_string(node.config())? + "# The end.\n")?;
    node.start()?;
    route_via(&lab, 0)?;
    comments_are_kept(lab.ingress(0))?;

    let wire = lab.watch_underlay(&["be0", "be1", "be2"])?;
    let stream = Stream::start(lab.client(0), Families::Both)?;
    a_join_moves_what_it_must(&mut lab, &stream)?;
    let node = lab.ingress(0);
    for (number, (words, has)) in CHANGES.iter().enumerate() {
        let output = done(node, words)?;
        ensure!(output.stdout.contains("written to"), "{words:?}: {output:?}");
        let text = fs::read_to_string(node.config())?;
        let right = match has {
            Has::Word(word) => text.contains(word),
            Has::NotWord(word) => !text.contains(word),
        };
        ensure!(right, "{words:?} left {text}");
        comments_are_kept(node)?;
        if number % CHANGES_A_KILL == CHANGES_A_KILL - 1 || number == CHANGES.len() - 1 {
            survives_a_kill(node).with_context(|| format!("after {words:?}"))?;
        }
    }
    all_answered(&stream.finish()?)?;
    wire.finish()?;
    refusals(lab.ingress(0))
}

/// A backend more, under traffic: who owned its slots loses flows to it, and nobody else does.
fn a_join_moves_what_it_must(lab: &mut Lab, stream: &Stream) -> Result<()> {
    stream.more(SOME)?;
    let node = lab.ingress(0);
    let flows: Vec<String> =
        (0..500).map(|port| format!("udp 198.51.100.2:{} 203.0.113.1:53", 20_000 + port)).collect();
    let before = trace(node, &flows)?;
    done(node, &["backend", "add", "10.0.0.13", "--pool", "web"])?;
    let after = trace(node, &flows)?;
    let mut moved = 0;
    for (old, new) in before.iter().zip(&after) {
        if old["backend"] != new["backend"] {
            ensure!(new["backend"] == "10.0.0.13", "{old} became {new}");
            moved += 1;
        }
    }
    // A third, and by chance not less than half of that.
    ensure!((500 / 6..=500 / 2).contains(&moved), "{moved} of 500 flows moved");
    stream.more(SOME)?;
    survives_a_kill(node)?;
    stream.more(SOME)
}

fn comments_are_kept(node: &Node) -> Result<()> {
    let text = fs::read_to_string(node.config())?;
    for comment in COMMENTS {
        ensure!(text.matches(comment).count() == 1, "{comment:?} is not once in {text}");
    }
    Ok(())
}

/// What is configured and what flows get, without counters.
fn state(node: &Node) -> Result<Vec<Value>> {
    let mut all: Vec<Value> = [&["vip", "list"], &["pool", "list"], &["backend", "list"]]
        .iter()
        .map(|words: &&[&str; 2]| Ok(without_counters(node.cli(&[words[0], words[1], "--json"])?.json()?)))
        .collect::<Result<_>>()?;
    all.push(status(node)?["pools"].clone());
    let flows: Vec<String> = ["203.0.113.1:53", "203.0.113.9:53"]
        .iter()
        .flat_map(|vip| (0..100).map(move |port| format!("udp 198.51.100.2:{} {vip}", 20_000 + port)))
        .collect();
    all.extend(trace(node, &flows)?);
    Ok(all)
}

fn survives_a_kill(node: &mut Node) -> Result<()> {
    let before = state(node)?;
    node.kill9()?;
    node.start()?;
    ensure!(status(node)?["start"] == "adopted");
    let after = state(node)?;
    for (before, after) in before.iter().zip(&after) {
        ensure!(before == after, "was {before:#}\nis {after:#}");
    }
    Ok(())
}

/// When the file is not ours to change.
fn refusals(node: &mut Node) -> Result<()> {
    let before = state(node)?;
    let change = ["backend", "weight", "10.0.0.11", "33"];
    // Edited by somebody else since it was read.
    let edited = fs::read_to_string(node.config())? + "# A remark.\n";
    fs::write(node.config(), &edited)?;
    let error = refused(node, &change, "file_changed")?;
    ensure!(error["hint"].as_str().is_some_and(|hint| hint.contains("reload")), "{error}");
    ensure!(fs::read_to_string(node.config())? == edited, "the edited file was overwritten");
    ensure!(state(node)? == before, "a refused change is in force");
    done(node, &["reload"])?;
    done(node, &change)?;
    let text = fs::read_to_string(node.config())?;
    ensure!(text.contains("# A remark.") && text.contains("weight = 33"), "{text}");

    // Owned by somebody else.
    edit(node, "[control]\n", "[control]\nwrite_back = false\n")?;
    done(node, &["reload"])?;
    let (text, before) = (fs::read_to_string(node.config())?, state(node)?);
    for words in [&change as &[_], &["vip", "remove", "203.0.113.9:*/tcp"], &["pool", "add", "new"]] {
        let error = refused(node, words, "write_back_off")?;
        ensure!(error["hint"].as_str().is_some_and(|hint| hint.contains("reload")), "{error}");
    }
    ensure!(fs::read_to_string(node.config())? == text, "the file was changed");
    ensure!(state(node)? == before, "a refused change is in force");
    Ok(())
}
