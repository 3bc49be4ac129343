//! A daemon that is killed, stopped, upgraded or detached under traffic.

use std::fs;

use anycast_lb_common::abi;
use anyhow::{Context, Result, ensure};
use xtask::lab::topology::{EDGE, FABRIC};
use xtask::lab::{Families, Lab, Mode, Node};

use super::stand::stream::{Stream, all_answered};
use super::stand::{done, pins, serving, shape, status, xdp_program};

/// Answers that show that traffic flows.
const SOME: u64 = 1000;

#[test]
fn no_packet_is_lost_in_native_mode_and_detach_leaves_nothing() -> Result<()> {
    let mut lab = restarts(Mode::Native)?;
    detach_takes_all_off(&mut lab)
}

#[test]
fn no_packet_is_lost_in_generic_mode() -> Result<()> {
    restarts(Mode::Generic).map(drop)
}

fn restarts(mode: Mode) -> Result<Lab> {
    let mut lab = serving(Lab::builder().mode(mode).shape(shape(1, 2)))?;
    let wire = lab.watch_underlay(&["be0", "be1"])?;
    let stream = Stream::start(lab.client(0), Families::Both)?;
    stream.more(SOME)?;
    for node in ["ing0", "be0"] {
        let version = pins(&lab, node).join(format!("v{}", abi::VERSION));
        let node = if node == "ing0" { lab.ingress(0) } else { lab.backend(0) };
        let first = xdp_program(node, FABRIC)?.context("no program")?;

        node.kill9()?;
        stream.more(SOME)?;
        ensure!(xdp_program(node, FABRIC)? == Some(first), "the data plane went with the daemon");
        let second = restart(node, "adopted", mode)?;
        ensure!(second != first, "the program was not replaced");
        stream.more(SOME)?;

        let code = node.stop()?;
        ensure!(code == Some(0), "SIGTERM: exit code {code:?}");
        stream.more(SOME)?;
        let third = restart(node, "adopted", mode)?;
        ensure!(third != second, "the program was not replaced");
        stream.more(SOME)?;

        // A release with maps of another kind would find ours under an older version.
        node.kill9()?;
        let older = version.with_file_name("v0");
        fs::rename(&version, &older)?;
        restart(node, "fresh", mode)?;
        ensure!(!older.exists(), "{} is left", older.display());
        stream.more(SOME)?;
    }
    let flows = stream.finish()?;
    let count = all_answered(&flows)?;
    let backends = flows.iter().flat_map(|flow| flow.backends.keys());
    ensure!(backends.collect::<std::collections::HashSet<_>>().len() == 2, "one backend had it all");
    ensure!(flows.iter().all(|flow| flow.backends.len() == 1), "a flow moved: {flows:#?}");
    let wire = wire.finish()?;
    println!("{}: {count} of {count} datagrams answered; {wire:?}", mode.word());
    Ok(lab)
}

/// Starts the daemon again; the id of the program it attached.
fn restart(node: &mut Node, start: &str, mode: Mode) -> Result<u64> {
    node.start()?;
    let status = status(node)?;
    ensure!(status["start"] == start, "{}: {status}", node.name());
    let interfaces = status["interfaces"].as_array().context("no interfaces")?;
    ensure!(interfaces.iter().all(|interface| interface["mode"] == mode.word()), "{interfaces:?}");
    xdp_program(node, FABRIC)?.context("no program")
}

fn detach_takes_all_off(lab: &mut Lab) -> Result<()> {
    let pinned = pins(lab, "ing0");
    let node = lab.ingress(0);
    let config = node.config();
    let config = config.to_str().context("a path that is no text")?;
    let detach = ["detach", "--config", config];

    // Below a daemon's feet: it goes on, says so, and does not put it back by itself.
    let output = done(node, &detach)?;
    for interface in [EDGE, FABRIC] {
        ensure!(output.stdout.contains(&format!("link on {interface} ")), "{output:?}");
        ensure!(xdp_program(node, interface)?.is_none(), "a program is left on {interface}");
    }
    ensure!(!pinned.exists(), "something is pinned: {}", pinned.display());
    let now = status(node)?;
    for interface in now["interfaces"].as_array().context("no interfaces")? {
        ensure!(interface["mode"].is_null(), "{interface}");
        ensure!(interface["reason"].as_str().is_some_and(|why| why.contains("taken off")), "{interface}");
    }
    done(node, &["backend", "weight", "10.0.0.11", "50"])?;
    ensure!(xdp_program(node, EDGE)?.is_none(), "a change put the program back");

    // A restart does.
    ensure!(node.stop()? == Some(0));
    node.start()?;
    ensure!(status(node)?["start"] == "fresh");
    let stream = Stream::start(lab.client(0), Families::Both)?;
    stream.more(SOME)?;
    all_answered(&stream.finish()?)?;

    // Without a daemon.
    let node = lab.ingress(0);
    node.kill9()?;
    done(node, &detach)?;
    for interface in [EDGE, FABRIC] {
        ensure!(xdp_program(node, interface)?.is_none(), "a program is left on {interface}");
    }
    ensure!(!pinned.exists(), "something is pinned: {}", pinned.display());
    let output = done(node, &detach)?;
    ensure!(output.stdout == "instance ing0 is not attached\n", "{output:?}");
    Ok(())
}
