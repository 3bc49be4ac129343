//! What a node announces, and when, with real routing daemons at the other end.

mod guarded;
mod neighbours;
mod outlets;
mod router;
mod service;

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use xtask::lab::daemons::until;
use xtask::lab::topology::{self, PREFIX_V4, PREFIX_V6};
use xtask::lab::{Lab, Node};

use super::stand::done;

/// Far longer than anything here takes; a test that waits this long has failed.
const DEADLINE: Duration = Duration::from_secs(40);
/// The nodes' AS.
const SERVICE_AS: u32 = 64500;
/// The router's.
const ROUTER_AS: u32 = 64510;
/// How long a drained node's routes stay marked, in seconds.
const DRAIN_WAIT: u64 = 4;

/// Has a node announce both prefixes by `method`, and adds `text`.
fn announce_by(node: &Node, method: &str, text: &str) -> Result<()> {
    let mut config = fs::read_to_string(node.config())?;
    for prefix in [PREFIX_V4, PREFIX_V6] {
        let line = format!("prefix = \"{prefix}\"\n");
        config = config.replace(&line, &format!("{line}announce = \"{method}\"\n"));
    }
    config += text;
    Ok(fs::write(node.config(), config)?)
}

/// `[bgp]` of node `index` with a session to the router in each family. `keys` are those of both neighbours.
fn sessions(index: usize, remote_as: u32, keys: &str) -> String {
    let own = topology::edge(index, false);
    let router = topology::edge(index, true);
    let mut text = format!(
        "\n[bgp]\nlocal_as = {SERVICE_AS}\nrouter_id = \"{}\"\n\
         [bgp.drain]\nprepend = 2\nwait = \"{DRAIN_WAIT}s\"\n",
        own.v4
    );
    for address in [router.v4.to_string(), router.v6.to_string()] {
        text += &format!(
            "[[bgp.neighbor]]\naddress = \"{address}\"\nremote_as = {remote_as}\nhold_time = \"3s\"\n{keys}\n"
        );
    }
    text
}

/// Health of a backend, as a check would tell it.
fn health(node: &Node, backend: usize, health: &str) -> Result<()> {
    let address = topology::backend(backend).v4.to_string();
    done(node, &["backend", "health", &address, health]).map(drop)
}

/// Waits until the router's FIB has `count` next hops in both families; says how long that took.
fn next_hops(lab: &Lab, count: usize, what: &str) -> Result<()> {
    let began = Instant::now();
    lab.wait_next_hops(count).with_context(|| what.to_owned())?;
    println!("{what}: {count} next hops after {} ms", began.elapsed().as_millis());
    Ok(())
}

/// Waits until something holds; says how long that took.
fn wait(what: &str, mut holds: impl FnMut() -> Result<bool>) -> Result<()> {
    let began = Instant::now();
    until(DEADLINE, what, || Ok(holds()?.then_some(())))?;
    println!("{what}: after {} ms", began.elapsed().as_millis());
    Ok(())
}
