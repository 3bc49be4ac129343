//! Two ingress nodes are of different opinion about the members for five seconds, while all flows are
//! led from the one to the other: a join has two phases, so whoever is ahead sends nobody where those
//! behind do not look.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use xtask::lab::Lab;

use super::super::stand::{done, edit};
use super::{SHORT_RATE, SOME, address, all_well, breaks, flows, on, reroute_until, route, stage, state};

/// How much later the second node hears of the join.
const LATE: Duration = Duration::from_secs(5);
/// Longer than that by more than a busy machine takes for a command.
const FILL_TIME: &str = "fill_time = \"9s\"\n";
/// The one who joins; those before it serve at first.
const JOINS: usize = 4;
/// Flows that began before.
const FLOWS: usize = 200;

#[test]
fn a_join_may_reach_a_node_five_seconds_late() -> Result<()> {
    let mut lab = stage(2, JOINS + 1, JOINS, FILL_TIME)?;
    two_phases(&mut lab)?;
    one_phase(&mut lab)
}

fn two_phases(lab: &mut Lab) -> Result<()> {
    let before = flows(lab, FLOWS, SHORT_RATE)?;
    let add = ["backend", "add", &address(JOINS), "--pool", "web"];
    let told = Instant::now();
    done(lab.ingress(0), &add)?;
    let meanwhile = flows(lab, SOME, 0.0)?;
    reroute_until(lab, |_| Ok(told.elapsed() >= LATE))?;
    done(lab.ingress(1), &add)?;
    let first = state(lab.ingress(0), JOINS)?;
    ensure!(first == "filling", "be{JOINS} is {first} on the first node: this machine is too slow");

    // Then the first node is ahead in the other way: it gives the new one flows, the second does not.
    reroute_until(lab, |lab| Ok(state(lab.ingress(0), JOINS)? == "active"))?;
    let second = state(lab.ingress(1), JOINS)?;
    ensure!(second == "filling", "be{JOINS} is {second} on the second node: this machine is too slow");
    route(lab, &[0])?;
    let ahead = flows(lab, SOME, 0.0)?;
    reroute_until(lab, |lab| Ok(state(lab.ingress(1), JOINS)? == "active"))?;

    let outcome = meanwhile.finish()?;
    all_well(&outcome, "began while one node knew")?;
    ensure!(on(&outcome, JOINS) == 0, "be{JOINS} got flows while it was filling");
    let outcome = ahead.finish()?;
    all_well(&outcome, "began while it was active on one node")?;
    ensure!(on(&outcome, JOINS) > 0, "be{JOINS} got no flow");
    let outcome = before.finish()?;
    all_well(&outcome, "began before")?;
    ensure!(outcome.short.done > 0, "no short connections");
    Ok(())
}

/// The same where a join takes effect at once.
fn one_phase(lab: &mut Lab) -> Result<()> {
    for index in [0, 1] {
        let node = lab.ingress(index);
        edit(node, FILL_TIME, "fill_time = \"1ms\"\n")?;
        done(node, &["reload"])?;
        done(node, &["backend", "remove", &address(JOINS), "--now"])?;
    }
    route(lab, &[0])?;
    done(lab.ingress(0), &["backend", "add", &address(JOINS), "--pool", "web"])?;
    reroute_until(lab, |lab| Ok(state(lab.ingress(0), JOINS)? == "active"))?;
    route(lab, &[0])?;
    let traffic = flows(lab, SOME, 0.0)?;
    route(lab, &[1])?;
    breaks(traffic)
}
