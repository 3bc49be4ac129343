//! Several daemons on one host: their own NICs and pins, and nobody takes what is another's.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Output, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use xtask::lab::daemons::{spawn, until};
use xtask::lab::tools::Tools;
use xtask::lab::topology::{EDGE, FABRIC};
use xtask::lab::{Families, Lab, Node};

use super::stand::stream::{Stream, all_answered};
use super::stand::{DEADLINE, done, edit, pins, route_via, shape, status, xdp_program};

/// Answers that show that traffic flows.
const SOME: u64 = 500;

#[test]
fn instances_leave_each_other_and_strangers_alone() -> Result<()> {
    let mut lab = Lab::builder().shape(shape(1, 1)).without_balancers().build()?;
    a_backend_leaves_nothing_beside_a_foreign_program(&mut lab)?;
    lab.backend(0).start()?;
    let node = lab.ingress(0);
    let whole = fs::read_to_string(node.config())?;
    // The first has the router's side, the second the other.
    edit(node, &format!("[[interface]]\nname = \"{FABRIC}\"\nmode = \"native\"\n"), "")?;
    let first = fs::read_to_string(node.config())?;
    node.start()?;
    route_via(&lab, 0)?;
    let wire = lab.watch_underlay(&["be0"])?;
    let stream = Stream::start(lab.client(0), Families::V4)?;

    let second = whole
        .replace("instance = \"ing0\"", "instance = \"second\"")
        .replace(&format!("[[interface]]\nname = \"{EDGE}\"\nmode = \"native\"\n"), "")
        .replace("203.0.113.1\"", "203.0.113.8\"")
        .replace("ing0.sock", "second.sock");
    a_foreign_program_stays(&mut lab, &second)?;
    two_live_side_by_side(&mut lab, &second, &stream)?;
    nobody_takes_what_is_the_first_ones(&mut lab, &first, &second)?;
    stream.more(SOME)?;
    all_answered(&stream.finish()?)?;
    wire.finish().map(drop)
}

/// A daemon beside the lab's own.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Writes a configuration to a file of its own.
fn file(lab: &Lab, name: &str, text: &str) -> Result<PathBuf> {
    let path = lab.directory().join(name);
    fs::write(&path, text)?;
    Ok(path)
}

/// Runs a daemon that will not start, to its end.
fn fails_to_start(node: &Node, config: &Path) -> Result<String> {
    let output = balancer(node, &["run", "--config", text(config)?])?;
    ensure!(output.status.code() == Some(1), "{output:?}");
    Ok(String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout))
}

fn balancer(node: &Node, words: &[&str]) -> Result<Output> {
    let mut command = node.namespace().command(Tools::locate()?.balancer)?;
    Ok(command.args(words).stdin(Stdio::null()).output()?)
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path that is no text")
}

fn a_foreign_program_stays(lab: &mut Lab, second: &str) -> Result<()> {
    let config = file(lab, "second.toml", second)?;
    let pinned = pins(lab, "second");
    let node = lab.ingress(0);
    let pass = Tools::locate()?.pass;
    for (mode, off) in [("xdpdrv", "xdpdrv off"), ("xdpgeneric", "xdpgeneric off")] {
        let on = format!("link set dev {FABRIC} {mode} obj {} sec xdp.frags\n", pass.display());
        node.namespace().ip(&on)?;
        let theirs = xdp_program(node, FABRIC)?;
        ensure!(theirs.is_some());
        let said = fails_to_start(node, &config)?;
        let names = said.contains("\"pass\"") && said.contains(FABRIC);
        ensure!(names && theirs.is_some_and(|id| said.contains(&id.to_string())), "{mode}: {said}");
        ensure!(xdp_program(node, FABRIC)? == theirs, "{mode}: the foreign program was replaced");
        // What takes the data plane off takes ours off.
        let output = balancer(node, &["detach", "--config", text(&config)?])?;
        ensure!(output.status.success(), "{output:?}");
        ensure!(xdp_program(node, FABRIC)? == theirs, "{mode}: detach took the foreign program");
        ensure!(!pinned.exists(), "something is pinned");
        node.namespace().ip(&format!("link set dev {FABRIC} {off}\n"))?;
    }
    Ok(())
}

/// A backend attaches two programs; where the second has no place, the first does not stay.
fn a_backend_leaves_nothing_beside_a_foreign_program(lab: &mut Lab) -> Result<()> {
    let pinned = pins(lab, "be0");
    let node = lab.backend(0);
    let pass = Tools::locate()?.pass;
    node.namespace().ip(&format!("link set dev {FABRIC} xdpdrv obj {} sec xdp.frags\n", pass.display()))?;
    let said = fails_to_start(node, &node.config())?;
    ensure!(said.contains("\"pass\"") && said.contains(FABRIC), "{said}");
    ensure!(!pinned.exists(), "something is pinned in {}", pinned.display());
    node.namespace().ip(&format!("link set dev {FABRIC} xdpdrv off\n"))
}

fn two_live_side_by_side(lab: &mut Lab, second: &str, stream: &Stream) -> Result<()> {
    let config = file(lab, "second.toml", second)?;
    let socket = lab.directory().join("second.sock");
    let pinned = (pins(lab, "ing0"), pins(lab, "second"));
    let node = lab.ingress(0);
    let start = || -> Result<Daemon> {
        let mut command = node.namespace().command(Tools::locate()?.balancer)?;
        command.arg("run").arg("--config").arg(&config).stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Daemon(spawn(command, false)?))
    };
    let ask = |words: &[&str]| -> Result<Option<Value>> {
        let output = balancer(node, &[words, &["--json", "--socket", text(&socket)?]].concat())?;
        Ok(output.status.success().then(|| serde_json::from_slice(&output.stdout)).transpose()?)
    };
    let ready = |start: &str| -> Result<()> {
        let status = until(DEADLINE, "the second daemon", || ask(&["status"]))?;
        ensure!(status["instance"] == "second" && status["start"] == start, "{status}");
        ensure!(status["interfaces"].as_array().is_some_and(|list| list.len() == 1), "{status}");
        ensure!(status["interfaces"][0]["interface"] == FABRIC, "{status}");
        Ok(())
    };
    let daemon = start()?;
    ready("fresh")?;
    let first = status(node)?;
    ensure!(first["instance"] == "ing0" && first["interfaces"][0]["interface"] == EDGE, "{first}");
    ensure!(first["interfaces"].as_array().is_some_and(|list| list.len() == 1), "{first}");
    let programs = (xdp_program(node, EDGE)?, xdp_program(node, FABRIC)?);
    ensure!(programs.0.is_some() && programs.1.is_some() && programs.0 != programs.1, "{programs:?}");

    // Each changes its own.
    let vips = |answer: Value| answer["vips"].to_string();
    done(node, &["vip", "add", "203.0.113.7:53/udp", "--pool", "web"])?;
    let listed = ask(&["vip", "list"])?.map(vips).context("no second daemon")?;
    ensure!(listed.contains("203.0.113.8:53/udp") && !listed.contains("203.0.113.7"), "{listed}");
    stream.more(SOME)?;

    drop(daemon);
    let daemon = start()?;
    ready("adopted")?;
    drop(daemon);
    let output = balancer(node, &["detach", "--config", text(&config)?])?;
    ensure!(output.status.success(), "{output:?}");
    ensure!(!pinned.1.exists() && pinned.0.exists(), "detach of one is not detach of one");
    ensure!(xdp_program(node, FABRIC)?.is_none() && xdp_program(node, EDGE)? == programs.0);
    stream.more(SOME)
}

fn nobody_takes_what_is_the_first_ones(lab: &mut Lab, first: &str, second: &str) -> Result<()> {
    let pid = lab.ingress(0).balancer()?.pid().context("no daemon")?;
    let before = status(lab.ingress(0))?;
    let cases = [
        // All the same.
        (first.to_owned(), "ing0.sock".to_owned()),
        // The same instance, reached elsewhere.
        (first.replace("ing0.sock", "other.sock"), pid.to_string()),
        // The same NIC.
        (
            first.replace("instance = \"ing0\"", "instance = \"other\"").replace("ing0.sock", "other.sock"),
            "\"ingress\"".to_owned(),
        ),
        // The same socket.
        (second.replace("second.sock", "ing0.sock"), "ing0.sock".to_owned()),
    ];
    for (number, (config, names)) in cases.iter().enumerate() {
        let config = file(lab, &format!("intruder{number}.toml"), config)?;
        let node = lab.ingress(0);
        let said = fails_to_start(node, &config)?;
        ensure!(said.contains(names), "case {number}, not named: {names} in {said}");
        let after = status(node).with_context(|| format!("after case {number}"))?;
        ensure!(after["interfaces"] == before["interfaces"], "case {number}: {after}");
        ensure!(xdp_program(node, FABRIC)?.is_none(), "case {number} attached to {FABRIC}");
    }
    Ok(())
}
