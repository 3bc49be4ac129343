//! Somebody says that a backend is down which is not: it takes no new flows meanwhile, and none of
//! those that it has breaks, whether all nodes believe it or only one, and wherever they are led.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use xtask::lab::{Lab, Node};

use super::super::stand::{done, edit};
use super::{SHORT_RATE, SOME, address, all_well, breaks, flows, on, reroute_until, route, stage, state};

/// How long the alarm lasts.
const ALARM: Duration = Duration::from_secs(10);
/// Shorter than the alarm: what is to be seen is the return as well.
const FILL_TIME: &str = "fill_time = \"1s\"\n";
/// More backends than a packet lists.
const BACKENDS: usize = 5;
/// Of whom it is said.
const ACCUSED: usize = 0;
/// Flows that began before.
const FLOWS: usize = 200;

#[test]
fn a_false_alarm_breaks_no_flow() -> Result<()> {
    let mut lab = stage(2, BACKENDS, BACKENDS, FILL_TIME)?;
    alarm(&mut lab)?;
    without_a_second_chance(&mut lab)
}

fn say(node: &Node, health: &str) -> Result<()> {
    done(node, &["backend", "health", &address(ACCUSED), health]).map(drop)
}

fn alarm(lab: &mut Lab) -> Result<()> {
    let before = flows(lab, FLOWS, SHORT_RATE)?;
    let since = Instant::now();
    say(lab.ingress(0), "down")?;
    route(lab, &[0])?;
    let one_believes = flows(lab, SOME, 0.0)?;
    // The other node would give these flows to the accused.
    reroute_until(lab, |_| Ok(since.elapsed() >= ALARM / 2))?;
    say(lab.ingress(1), "down")?;
    let both_believe = flows(lab, SOME, 0.0)?;
    reroute_until(lab, |_| Ok(since.elapsed() >= ALARM))?;
    say(lab.ingress(1), "up")?;
    reroute_until(lab, |lab| Ok(state(lab.ingress(1), ACCUSED)? == "active"))?;
    say(lab.ingress(0), "unknown")?;
    reroute_until(lab, |lab| Ok(state(lab.ingress(0), ACCUSED)? == "active"))?;
    let after = flows(lab, SOME, 0.0)?;
    reroute_until(lab, |_| Ok(true))?;

    for (traffic, what) in [(one_believes, "one node believed it"), (both_believe, "both believed it")] {
        let outcome = traffic.finish()?;
        all_well(&outcome, &format!("began when {what}"))?;
        ensure!(on(&outcome, ACCUSED) == 0, "{what}: new flows went to be{ACCUSED}");
    }
    let outcome = after.finish()?;
    all_well(&outcome, "began after it")?;
    ensure!(on(&outcome, ACCUSED) > 0, "be{ACCUSED} gets no flows after the alarm");
    let outcome = before.finish()?;
    all_well(&outcome, "began before it")?;
    ensure!(on(&outcome, ACCUSED) > 0 && outcome.short.done > 0, "{:?}", outcome.short);
    Ok(())
}

/// The same where packets name their owner only.
fn without_a_second_chance(lab: &mut Lab) -> Result<()> {
    edit(lab.ingress(0), FILL_TIME, "hops = 0\n")?;
    done(lab.ingress(0), &["reload"])?;
    route(lab, &[0])?;
    let traffic = flows(lab, SOME, 0.0)?;
    say(lab.ingress(0), "down")?;
    breaks(traffic)
}
