//! The answers to SYNs are lost, so clients send them again, and meanwhile the slot has another owner:
//! two backends have half of one connection each. The client acknowledges the answer of one of them,
//! and that is the one that must get the rest.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use xtask::lab::netns::Namespace;
use xtask::lab::traffic::{Reason, Spec};

use super::super::stand::{hops, netstat};
use super::{SHORT_RATE, address, figures, route, stage};

/// Backends, all of which a packet lists; all but the last take turns in draining.
const BACKENDS: usize = 4;
const FLOWS: usize = 300;
/// Of a hundred answers to SYNs, so many are lost.
const LOSS: u32 = 40;
/// Between two changes: a client sends its SYN again after a second, and after two more.
const STEP: Duration = Duration::from_millis(350);
/// For so long.
const TIME: Duration = Duration::from_secs(8);
/// Long enough for both nodes to hear of a join.
const FILL_TIME: &str = "fill_time = \"1s\"\n";

#[test]
fn a_syn_that_is_sent_again_may_meet_another_table() -> Result<()> {
    let mut lab = stage(2, BACKENDS, BACKENDS, FILL_TIME)?;
    let rules = format!(
        "table inet lab {{ chain loss {{ type filter hook forward priority 0; \
         tcp flags & (syn | ack) == syn | ack numgen random mod 100 < {LOSS} drop; }}; }}"
    );
    nft(lab.router(), &rules)?;
    let traffic =
        lab.traffic(&Spec { flows: FLOWS, short_rate: SHORT_RATE, udp_flows: 0, ..Spec::default() })?;
    let began = Instant::now();
    let mut before = None;
    for drains in (0..BACKENDS - 1).cycle() {
        if began.elapsed() > TIME {
            break;
        }
        lab.command_ingresses(&["backend", "drain", &address(drains)])?;
        if let Some(before) = before.replace(drains) {
            lab.command_ingresses(&["backend", "undrain", &address(before)])?;
        }
        route(&lab, &[drains % 2])?;
        sleep(STEP);
    }
    nft(lab.router(), "flush ruleset")?;
    let outcome = traffic.finish()?;
    println!("{}", figures(&outcome));

    // Who got no answer in all that time was not served, but nothing of it broke.
    let lost = |reason: &Reason| matches!(reason, Reason::Connect(_));
    let broken: Vec<_> =
        outcome.flows.iter().filter(|f| f.broken.as_ref().is_some_and(|b| !lost(&b.reason))).collect();
    ensure!(broken.is_empty(), "{} broke of {}: {broken:#?}", broken.len(), outcome.flows.len());
    let served = outcome.flows.iter().filter(|flow| flow.requests > 0).count();
    ensure!(served > FLOWS * 9 / 10, "only {served} of {FLOWS} connections were made");

    let mut again = 0;
    for index in 0..2 {
        again += netstat(lab.client(index), "TCPSynRetrans")?;
    }
    ensure!(again > FLOWS as u64 / 4, "only {again} SYNs were sent again: too little is lost");
    let hops = hops(&mut lab)?;
    println!("{again} SYNs sent again, {hops} packets sent on");
    ensure!(hops > 0, "nothing was sent on: the changes are too tame");
    Ok(())
}

fn nft(router: &Namespace, rules: &str) -> Result<()> {
    let output = router.run("nft", &[rules])?;
    ensure!(output.status.success(), "nft: {output:?}");
    Ok(())
}
