//! Backends are checked: one whose server dies takes no new flows and harms nobody else's, comes back by way
//! of `filling`, and when all are dead, the pool's policy says what the node is to announce.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use xtask::lab::daemons::until;
use xtask::lab::topology::{self, VIP_V4};
use xtask::lab::traffic::{Outcome, Spec};
use xtask::lab::{Lab, Node, Shape};

use super::stand::{DEADLINE, done, edit, start_all, status, trace};

const BACKENDS: usize = 3;
/// Whose server dies first.
const ILL: usize = 0;
/// Long-lived flows.
const FLOWS: usize = 150;
/// Flows that begin at a certain moment.
const SOME: usize = 60;
/// In the pool. It fills longer than it takes to look.
const KEYS: &str = "[[pool]]\nfill_time = \"4s\"\nall_down = \"withdraw\"\nhealth = { type = \"http\", via = \"direct\", \
                    interval = \"400ms\", timeout = \"400ms\", rise = 2, fall = 3 }\n";

#[test]
fn new_flows_go_to_backends_whose_server_lives() -> Result<()> {
    let shape = Shape { clients: 2, ingresses: 1, backends: BACKENDS };
    let mut lab = Lab::builder().shape(shape).without_balancers().build()?;
    edit(lab.ingress(0), "[[pool]]\n", KEYS)?;
    start_all(&mut lab)?;
    for backend in 0..BACKENDS {
        becomes(&mut lab, backend, "up", "active")?;
    }
    one_dies_and_comes_back(&mut lab)?;
    somebody_knows_better(&mut lab)?;
    all_die(&mut lab)?;
    every_change_was_told_once(&mut lab)
}

fn one_dies_and_comes_back(lab: &mut Lab) -> Result<()> {
    let before = lab.traffic(&spec(FLOWS))?;
    before.wait_established(DEADLINE)?;
    lab.backend(ILL).service(0)?.kill9()?;
    becomes(lab, ILL, "down", "active")?;
    let row = row(lab.ingress(0), ILL)?;
    ensure!(row["health_by"] == "check" && row["health_seconds"].is_u64(), "{row}");
    let reason = row["last_failure"].as_str().unwrap_or_default();
    ensure!(reason.contains(&address(ILL)) && reason.contains("refused"), "{reason}");
    let shown = done(lab.ingress(0), &["pool", "show", "web"])?.stdout;
    ensure!(shown.contains(&format!("{} is down for", address(ILL))) && shown.contains("2 of 3"), "{shown}");

    let meanwhile = flows(lab)?;
    ensure!(meanwhile.broken() == 0 && on(&meanwhile, ILL) == 0, "{:?}", meanwhile.spread());

    lab.backend(ILL).service(0)?.start()?;
    becomes(lab, ILL, "up", "filling")?;
    let filling = flows(lab)?;
    becomes(lab, ILL, "up", "active")?;
    ensure!(filling.broken() == 0, "{:?}", filling.reasons());
    let after = flows(lab)?;
    ensure!(after.broken() == 0 && on(&after, ILL) > 0, "{:?}", after.spread());

    let before = before.finish()?;
    let ill = BTreeSet::from([format!("be{ILL}")]);
    ensure!(before.broken_on_healthy(&ill) == 0, "others' flows broke: {:?}", before.reasons());
    ensure!(before.broken() > 0 && on(&before, ILL) > 0, "nobody was hit: {:?}", before.spread());
    println!(
        "be{ILL} killed: {} of {} flows broken, all its own; new ones {:?}, {:?} when it was back",
        before.broken(),
        before.flows.len(),
        meanwhile.spread(),
        after.spread()
    );
    Ok(())
}

/// What is said by command counts more than a check, until it is taken back.
fn somebody_knows_better(lab: &mut Lab) -> Result<()> {
    let node = lab.ingress(0);
    done(node, &["backend", "health", &address(1), "down"])?;
    let row_then = row(node, 1)?;
    ensure!(row_then["health"] == "down" && row_then["health_by"] == "hand", "{row_then}");
    done(node, &["reload"])?;
    ensure!(row(node, 1)?["health_by"] == "hand", "a reload forgets what was said");
    done(node, &["backend", "health", &address(1), "unknown"])?;
    let row_now = row(node, 1)?;
    ensure!(row_now["health"] == "up" && row_now["health_by"] == "check", "{row_now}");
    becomes(lab, 1, "up", "active")
}

fn all_die(lab: &mut Lab) -> Result<()> {
    ensure!(service(lab.ingress(0))? == "healthy");
    for backend in 0..BACKENDS {
        lab.backend(backend).service(0)?.kill9()?;
    }
    for backend in 0..BACKENDS {
        becomes(lab, backend, "down", "active")?;
    }
    let node = lab.ingress(0);
    ensure!(service(node)? == "down");
    // Somebody may be there after all: packets that arrive are forwarded.
    let flow = ["tcp 198.51.100.2:20000 203.0.113.1:80".to_owned()];
    ensure!(trace(node, &flow)?[0]["verdict"] == "forwarded_gue", "packets are not forwarded");

    edit(node, "all_down = \"withdraw\"", "all_down = \"keep_serving\"")?;
    let output = done(node, &["reload"])?;
    ensure!(output.stdout.contains("all_down withdraw -> keep_serving"), "{output:?}");
    ensure!(service(node)? == "kept" && row(node, ILL)?["health"] == "down", "a reload forgets health");
    edit(node, "all_down = \"keep_serving\"", "minimum_healthy = 2\nall_down = \"withdraw\"")?;
    done(node, &["reload"])?;
    ensure!(service(node)? == "down");

    lab.backend(0).service(0)?.start()?;
    becomes(lab, 0, "up", "active")?;
    ensure!(service(lab.ingress(0))? == "down", "one is not enough");
    lab.backend(1).service(0)?.start()?;
    becomes(lab, 1, "up", "active")?;
    ensure!(service(lab.ingress(0))? == "healthy");
    Ok(())
}

fn every_change_was_told_once(lab: &mut Lab) -> Result<()> {
    let log = lab.ingress(0).balancer()?.log().to_owned();
    let text = fs::read_to_string(log)?;
    let count = |words: &str| text.lines().filter(|line| line.contains(words)).count();
    let told = |backend: usize, what: &str| count(&format!("backend web {} is {what}", address(backend)));
    // The first died twice, each other one once.
    for (backend, downs) in [(0, 2), (1, 1), (2, 1)] {
        ensure!(told(backend, "down: ") == downs, "be{backend} down: {text}");
    }
    ensure!(told(0, "up again") == 2 && told(1, "up again") == 1 && told(2, "up again") == 0, "{text}");
    let pool = count("0 of 3 backends healthy, 1 needed: cannot be served");
    ensure!(pool == 1, "the pool is told {pool} times: {text}");
    Ok(())
}

/// Checks go the way of clients' packets: what answers directly, and would not answer clients, fails.
#[test]
fn checks_through_the_tunnel_fail_where_clients_would() -> Result<()> {
    let shape = Shape { clients: 1, ingresses: 1, backends: BACKENDS };
    let mut lab = Lab::builder().shape(shape).without_balancers().build()?;
    edit(lab.ingress(0), "[[pool]]\n", &KEYS.replace("direct", "tunnel"))?;
    start_all(&mut lab)?;
    for backend in 0..BACKENDS {
        becomes(&mut lab, backend, "up", "active")?;
    }
    // A backend whose server does not know the VIP.
    let vip = format!("{VIP_V4}/32 dev lo\n");
    lab.topology().backends[0].ip(&format!("address del {vip}"))?;
    becomes(&mut lab, 0, "down", "active")?;
    lab.topology().backends[0].ip(&format!("address add {vip}"))?;
    becomes(&mut lab, 0, "up", "active")?;
    // One that takes nothing out of tunnels.
    ensure!(lab.backend(1).stop()? == Some(0));
    let config = lab.backend(1).config().display().to_string();
    done(lab.backend(1), &["detach", "--config", &config])?;
    becomes(&mut lab, 1, "down", "active")?;
    lab.backend(1).start()?;
    becomes(&mut lab, 1, "up", "active")?;
    ensure!(row(lab.ingress(0), 2)?["last_failure"].is_null(), "the third was never ill");
    Ok(())
}

fn spec(flows: usize) -> Spec {
    Spec { flows, short_rate: 0.0, udp_flows: 0, ..Spec::default() }
}

/// Flows that begin now, and live until each has had an answer.
fn flows(lab: &Lab) -> Result<Outcome> {
    let traffic = lab.traffic(&spec(SOME))?;
    traffic.wait_established(DEADLINE)?;
    traffic.finish()
}

fn becomes(lab: &mut Lab, backend: usize, health: &str, state: &str) -> Result<()> {
    let node = lab.ingress(0);
    until(DEADLINE, &format!("be{backend} to be {health} and {state}"), || {
        let row = row(node, backend)?;
        Ok((row["health"] == health && row["state"] == state).then_some(()))
    })
}

fn address(backend: usize) -> String {
    topology::backend(backend).v4.to_string()
}

/// What a node says of a backend.
fn row(node: &Node, backend: usize) -> Result<Value> {
    let list = node.cli(&["backend", "list", "--json"])?.json()?;
    let rows = list["backends"].as_array().context("no backends")?;
    let row = rows.iter().find(|row| row["address"] == address(backend).as_str());
    row.cloned().with_context(|| format!("no be{backend} in {list}"))
}

/// Whether the pool is served, as `status` says.
fn service(node: &Node) -> Result<String> {
    let status = status(node)?;
    Ok(status["pools"][0]["service"].as_str().context("no pool")?.to_owned())
}

/// How many of the flows are a backend's.
fn on(outcome: &Outcome, backend: usize) -> u64 {
    outcome.spread().get(&format!("be{backend}")).copied().unwrap_or(0)
}
