//! A configuration file with a mistake changes nothing; a right one is applied as a whole.

use std::fs;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;
use xtask::lab::daemons::until;
use xtask::lab::{Lab, Node};

use super::stand::{DEADLINE, done, refused, serving, shape, status, trace, without_counters};

/// A mistake, and what the message must name beside the line.
struct Mistake {
    from: &'static str,
    to: &'static str,
    names: &'static str,
}

/// `from` stands once in the file that they are made in.
const MISTAKES: &[Mistake] = &[
    Mistake { from: "weight = 70", to: "weight = 0", names: "pool \"web\" backend 10.0.0.12 weight" },
    Mistake { from: "weight = 70", to: "wieght = 70", names: "wieght" },
    Mistake { from: "encapsulation = \"gue\"", to: "encapsulation = \"grue\"", names: "encapsulation" },
    Mistake { from: "10.0.0.12", to: "fd00::12", names: "pool \"web\" backend" },
    Mistake { from: "port = 53", to: "port = \"53\"", names: "port" },
    Mistake { from: "weight = 70", to: "weight = ", names: "" },
];

#[test]
fn a_mistake_leaves_the_running_state_untouched() -> Result<()> {
    let mut lab = serving(Lab::builder().shape(shape(1, 2)))?;
    let node = lab.ingress(0);
    // What is raised is in force when the answer comes.
    let right = fs::read_to_string(node.config())?
        .replacen("[[pool]]\n", "[[pool]]\nfill_time = \"0s\"\n", 1)
        .replacen("address = \"10.0.0.12\"\n", "address = \"10.0.0.12\"\nweight = 70\n", 1);
    fs::write(node.config(), &right)?;
    done(node, &["reload"])?;
    let before = state(node)?;

    for mistake in MISTAKES {
        // Beside the mistake stands a change that is right: nothing of the file is taken.
        let changed =
            right.replacen("address = \"10.0.0.11\"\n", "address = \"10.0.0.11\"\nweight = 10\n", 1);
        let text = changed.replacen(mistake.from, mistake.to, 1);
        fs::write(node.config(), &text)?;
        let index = text.lines().zip(changed.lines()).position(|(a, b)| a != b).context("no mistake")?;
        let line = index + 1;
        let place = format!("{}:{line}:", node.config().display());
        for words in [&["reload"] as &[_], &["reload", "--dry-run"]] {
            let error = refused(node, words, "invalid_config")?;
            let message = error["message"].as_str().unwrap_or_default();
            ensure!(message.contains(&place) && message.contains(mistake.names), "{place}: {message}");
        }
        ensure!(state(node)? == before, "{} changed what runs", mistake.to);

        hang_up(node, &place)?;
        ensure!(state(node)? == before, "{} changed what runs", mistake.to);
    }
    fs::write(node.config(), &right)?;
    what_takes_effect_at_a_start_is_refused(node, &right, &before)?;
    a_right_file_is_applied(node, &right, &before)
}

/// What runs, without counters and clocks.
fn state(node: &Node) -> Result<Value> {
    let mut status = status(node)?;
    status.as_object_mut().context("no object")?.remove("uptime_seconds");
    let pool = without_counters(node.cli(&["pool", "show", "web", "--json"])?.json()?);
    let vips = without_counters(node.cli(&["vip", "list", "--json"])?.json()?);
    let flows: Vec<_> = (0..200)
        .map(|port| format!("udp 198.51.100.2:{} 203.0.113.1:53", 20_000 + port))
        .chain((0..200).map(|port| format!("tcp [2001:db8:c0::2]:{} [2001:db8:ff::1]:80", 20_000 + port)))
        .collect();
    Ok(Value::Array(vec![status, pool, vips, Value::Array(trace(node, &flows)?)]))
}

/// SIGHUP; returns when the log speaks of it with these words.
fn hang_up(node: &mut Node, words: &str) -> Result<()> {
    let log = node.balancer()?.log().to_owned();
    let before = fs::read_to_string(&log)?.len();
    node.balancer()?.signal(Signal::SIGHUP)?;
    until(DEADLINE, &format!("a log line of SIGHUP with {words:?}"), || {
        let text = fs::read_to_string(&log)?;
        let new = &text[before..];
        Ok((new.contains("SIGHUP") && new.contains(words)).then_some(()))
    })
}

fn what_takes_effect_at_a_start_is_refused(node: &Node, right: &str, before: &Value) -> Result<()> {
    for (from, to) in [
        ("instance = \"ing0\"", "instance = \"other\""),
        ("role = \"ingress\"", "role = \"backend\""),
        ("[control]", "[control]\ngroup = \"root\""),
    ] {
        fs::write(node.config(), right.replacen(from, to, 1))?;
        let output = node.cli(&["reload"])?;
        ensure!(output.code == Some(1), "{to}: {output:?}");
        ensure!(state(node)? == *before, "{to} changed what runs");
    }
    fs::write(node.config(), right)?;
    Ok(())
}

fn a_right_file_is_applied(node: &mut Node, right: &str, before: &Value) -> Result<()> {
    let better = right.replacen("weight = 70", "weight = 35", 1);
    fs::write(node.config(), &better)?;
    let output = done(node, &["reload", "--dry-run"])?;
    ensure!(output.stdout.contains("backend web 10.0.0.12 changed: weight 70 -> 35"), "{output:?}");
    ensure!(output.stdout.contains("stays in force"), "{output:?}");
    ensure!(state(node)? == *before, "a dry run changed what runs");

    let output = done(node, &["reload"])?;
    ensure!(output.stdout.contains("weight 70 -> 35"), "{output:?}");
    let after = state(node)?;
    ensure!(after[1]["members"][1]["weight"] == 35, "{after:#}");
    ensure!(after[1]["owners"] != before[1]["owners"] && after[3] != before[3], "the table is the old one");

    // And back, by the other way.
    fs::write(node.config(), right)?;
    hang_up(node, "weight 35 -> 70")?;
    let back = state(node)?;
    ensure!(back[1] == before[1] && back[2] == before[2] && back[3] == before[3], "{back:#}");
    let generations = (before[0]["generation"].as_u64(), back[0]["generation"].as_u64());
    ensure!(generations.0.map(|first| first + 2) == generations.1, "{generations:?}");
    Ok(())
}
