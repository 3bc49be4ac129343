//! No flow breaks while members, health, routes and seeds change under it. What these stories share:
//! a lab whose routes are the test's own, so that a reroute is one command and hits every flow.

mod changes;
mod false_alarm;
mod flood;
mod seed;
mod skew;
mod syn;
mod udp;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use xtask::lab::daemons::until;
use xtask::lab::topology::{self, PREFIX_V4, PREFIX_V6};
use xtask::lab::traffic::{Flow, Outcome, RunningTraffic, Spec};
use xtask::lab::{Lab, LabBuilder, Node, Shape};

use super::stand::{edit, start_all};

/// Far longer than anything here takes; a test that waits this long has failed.
const DEADLINE: Duration = Duration::from_secs(60);
/// Between two reroutes where their number does not matter.
const REROUTE: Duration = Duration::from_millis(150);
/// New short connections a second.
const SHORT_RATE: f64 = 60.0;
/// Flows of the lesser kinds of traffic.
const SOME: usize = 60;

/// Builds a lab with `keys` in the pool, of whose backends `members` serve at first, starts all of it
/// and leads the services to ingress 0.
fn stage(ingresses: usize, backends: usize, members: usize, keys: &str) -> Result<Lab> {
    stage_of(Lab::builder().members(members), ingresses, backends, keys)
}

/// [`stage`] of a lab that has something special.
fn stage_of(builder: LabBuilder, ingresses: usize, backends: usize, keys: &str) -> Result<Lab> {
    let shape = Shape { clients: 2, ingresses, backends };
    let mut lab = builder.shape(shape).without_balancers().build()?;
    for index in 0..ingresses {
        edit(lab.ingress(index), "[[pool]]\n", &format!("[[pool]]\n{keys}"))?;
    }
    start_all(&mut lab)?;
    Ok(lab)
}

/// Leads the services to these ingress nodes; each flow to one of them.
fn route(lab: &Lab, nodes: &[usize]) -> Result<()> {
    let (mut v4, mut v6) = (String::new(), String::new());
    for &index in nodes {
        let hop = topology::edge(index, false);
        v4 += &format!(" nexthop via {}", hop.v4);
        v6 += &format!(" nexthop via {}", hop.v6);
    }
    lab.router().ip(&format!("route replace {PREFIX_V4}{v4}\nroute replace {PREFIX_V6}{v6}\n"))
}

/// Leads all flows from the one of two nodes to the other and back until `done`; at least once each.
fn reroute_until(lab: &mut Lab, mut done: impl FnMut(&mut Lab) -> Result<bool>) -> Result<()> {
    let end = Instant::now() + DEADLINE;
    loop {
        for index in [0, 1] {
            route(lab, &[index])?;
            std::thread::sleep(REROUTE);
        }
        if done(lab)? {
            return Ok(());
        }
        ensure!(Instant::now() < end, "rerouted for {DEADLINE:?}, and it is still not as it should be");
    }
}

/// Address of a backend as the pool knows it.
fn address(backend: usize) -> String {
    topology::backend(backend).v4.to_string()
}

/// The state in force of a backend, as a node sees it.
fn state(node: &Node, backend: usize) -> Result<String> {
    let list = node.cli(&["backend", "list", "--json"])?.json()?;
    let rows = list["backends"].as_array().context("no backends")?;
    let row = rows.iter().find(|row| row["address"] == address(backend).as_str());
    let row = row.with_context(|| format!("{} does not have be{backend}", node.name()))?;
    Ok(row["state"].as_str().context("no state")?.to_owned())
}

/// Starts long-lived flows that exchange data, and waits until all of them do.
fn flows(lab: &Lab, flows: usize, short_rate: f64) -> Result<RunningTraffic> {
    let traffic = lab.traffic(&Spec { flows, short_rate, udp_flows: 0, ..Spec::default() })?;
    let progress = traffic.wait_established(DEADLINE)?;
    ensure!(progress.broken == 0, "{progress:?} at the start");
    Ok(traffic)
}

/// What must break for a story to prove anything.
fn breaks(traffic: RunningTraffic) -> Result<()> {
    until(DEADLINE, "a flow to break in the counter-check", || {
        Ok((traffic.progress().broken > 0).then_some(()))
    })?;
    println!("counter-check: {}", figures(&traffic.finish()?));
    Ok(())
}

/// Nothing broke, and no short one failed.
fn all_well(outcome: &Outcome, what: &str) -> Result<()> {
    all_well_but(outcome, &BTreeSet::new(), what)?;
    ensure!(outcome.short.failed == 0, "{what}, short ones: {:?}", outcome.short);
    Ok(())
}

/// Nothing broke but on these backends.
fn all_well_but(outcome: &Outcome, taken: &BTreeSet<String>, what: &str) -> Result<()> {
    println!("{what}: {}", figures(outcome));
    let broken: Vec<&Flow> = outcome.flows.iter().filter(|flow| flow.is_broken_on_healthy(taken)).collect();
    ensure!(broken.is_empty(), "{what}: {} broke of {}: {broken:#?}", broken.len(), outcome.flows.len());
    Ok(())
}

/// How many of the flows are a backend's.
fn on(outcome: &Outcome, backend: usize) -> u64 {
    outcome.spread().get(&format!("be{backend}")).copied().unwrap_or(0)
}

fn figures(outcome: &Outcome) -> String {
    format!(
        "{} of {} flows broken, {} verified requests, longest stall {} ms, {} of {} short ones failed, {:?}",
        outcome.broken(),
        outcome.flows.len(),
        outcome.requests(),
        outcome.longest_stall_ms(),
        outcome.short.failed,
        outcome.short.done + outcome.short.failed,
        outcome.spread()
    )
}
