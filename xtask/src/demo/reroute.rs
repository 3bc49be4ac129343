//! The default scenario: what happens to living connections when the nodes that the router chooses
//! from go and come. Once with the balancer, once with the backends themselves as next hops.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::console::Console;
use crate::lab::report::{Run, Summary};
use crate::lab::traffic::Spec;
use crate::lab::{Kind, Lab};

const NAME: &str = "reroute";
/// Traffic before the first event.
const BEFORE: Duration = Duration::from_secs(3);
/// Traffic after each event: longer than the stall that counts as a break, so that a flow is seen
/// to break by the event that broke it.
const AFTER: Duration = Duration::from_secs(6);
/// How long a node is without its daemon.
const WITHOUT_DAEMON: Duration = Duration::from_secs(3);
/// Bounds the traffic should the scenario hang.
const LONGEST_SECONDS: f64 = 120.0;

/// With the balancer, then without.
pub fn both(console: &Console) -> Result<Summary> {
    let balanced = run(console, Kind::Balanced)?;
    let plain = run(console, Kind::PlainEcmp)?;
    Ok(summary(Some(balanced), Some(plain)))
}

/// With the balancer only.
pub fn balanced(console: &Console) -> Result<Summary> {
    Ok(summary(Some(run(console, Kind::Balanced)?), None))
}

/// Without the balancer only.
pub fn plain(console: &Console) -> Result<Summary> {
    Ok(summary(None, Some(run(console, Kind::PlainEcmp)?)))
}

fn summary(balanced: Option<Run>, plain_ecmp: Option<Run>) -> Summary {
    Summary { schema: Summary::SCHEMA, scenario: NAME, balanced, owner_only: None, plain_ecmp }
}

fn run(console: &Console, kind: Kind) -> Result<Run> {
    console.say(match kind {
        Kind::Balanced => "with anycast-lb: clients, a BGP router, three ingress nodes, three backends",
        Kind::PlainEcmp => "without a balancer: the router's ECMP chooses among the same three backends",
    });
    let mut lab = Lab::builder().kind(kind).build()?;
    console.say("the lab stands, the router has three next hops in IPv4 and IPv6");
    let traffic = lab.traffic(&Spec { seconds: LONGEST_SECONDS, ..Spec::default() })?;
    let began = Instant::now();
    console.establish(&traffic)?;
    console.watch(&traffic, BEFORE)?;

    let name = |lab: &mut Lab, index: usize| lab.next_hops()[index].name().to_owned();
    let (first, second, third) = (name(&mut lab, 0), name(&mut lab, 1), name(&mut lab, 2));
    console.step(&format!("{first} withdraws its routes"), || lab.withdraw(0))?;
    console.watch(&traffic, AFTER)?;
    console.step(&format!("{first} announces them again"), || lab.announce(0))?;
    console.watch(&traffic, AFTER)?;

    match kind {
        Kind::Balanced => {
            console.step(&format!("SIGKILL to the daemon of {second}"), || lab.ingress(1).kill9())?;
            console.watch(&traffic, WITHOUT_DAEMON)?;
            console.step(&format!("{second} starts again and takes over what is pinned"), || {
                lab.ingress(1).start()?;
                let status = lab.ingress(1).cli(&["status", "--json"])?.json()?;
                ensure!(status["start"] == "adopted", "{second} did not take over what was pinned: {status}");
                Ok(())
            })?;
        }
        // A backend without a balancer has only its routing daemon to lose.
        Kind::PlainEcmp => {
            console.step(&format!("SIGKILL to the routing daemon of {second}"), || {
                lab.next_hops()[1].bird()?.kill9()?;
                lab.wait_next_hops(2)
            })?;
            console.watch(&traffic, WITHOUT_DAEMON)?;
            console.step(&format!("{second} starts again"), || {
                lab.next_hops()[1].start_bird()?;
                lab.wait_next_hops(3)
            })?;
        }
    }
    console.watch(&traffic, AFTER)?;

    console.step(&format!("{third} crashes: its link goes down"), || lab.link_down(2))?;
    console.watch(&traffic, AFTER)?;

    let outcome = traffic.finish()?;
    ensure!(!outcome.flows.is_empty(), "no flow was started");
    let unhealthy = match kind {
        Kind::Balanced => BTreeSet::new(),
        Kind::PlainEcmp => BTreeSet::from([third]),
    };
    Ok(Run::new(&outcome, &unhealthy, began.elapsed().as_secs_f64()))
}
