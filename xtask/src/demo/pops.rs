//! The default scenario: three PoPs announce the same prefixes. Members and ingress nodes go and
//! come, then all of Frankfurt is withdrawn and returns, while connections run. Once with rescue
//! across PoPs, once with the owner only, once without a balancer.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::console::Console;
use crate::lab::Family;
use crate::lab::pops::plan::{CITIES, FRANKFURT, MEMBERS, NAMES, SINGAPORE};
use crate::lab::pops::{Change, Forwarding, PopLab, at_nearest};
use crate::lab::report::{Run, Summary};
use crate::lab::traffic::{RunningTraffic, Spec};

const NAME: &str = "pops";
/// The ingress node of Frankfurt that withdraws its routes and returns.
const WITHDRAWN: usize = 0;
/// The ingress node of Frankfurt that dies.
const DEAD: usize = 1;
/// The ingress node of Singapore whose daemon is killed. It is one that Frankfurt's packets meet
/// later.
const KILLED: usize = 0;
/// The backend of Frankfurt that joins.
const JOINS: usize = MEMBERS;
/// The backend of Frankfurt that drains.
const DRAINS: usize = 1;
/// Traffic before the first event.
const BEFORE: Duration = Duration::from_secs(3);
/// Traffic after an event that must not break anything: longer than the stall that counts as a break,
/// so that a flow is seen to break by the event that broke it.
const AFTER: Duration = Duration::from_secs(6);
/// Traffic between events in the runs for comparison: what broke is counted at the end.
const BETWEEN: Duration = Duration::from_secs(3);
/// How long a node is without its daemon.
const WITHOUT_DAEMON: Duration = Duration::from_secs(3);
/// Bounds the traffic should the scenario hang.
const LONGEST_SECONDS: f64 = 150.0;
/// New connections a second beside the living ones.
const SHORT_RATE: f64 = 50.0;

/// All three, one after the other: a machine that is busy with two would break flows by itself.
pub fn all(console: &Console) -> Result<Summary> {
    Ok(Summary {
        schema: Summary::SCHEMA,
        scenario: NAME,
        balanced: Some(run(console, Forwarding::Rescue)?),
        owner_only: Some(run(console, Forwarding::OwnerOnly)?),
        plain_ecmp: Some(run(console, Forwarding::PlainEcmp)?),
    })
}

/// With rescue only.
pub fn balanced(console: &Console) -> Result<Summary> {
    let balanced = Some(run(console, Forwarding::Rescue)?);
    Ok(Summary { schema: Summary::SCHEMA, scenario: NAME, balanced, owner_only: None, plain_ecmp: None })
}

fn run(console: &Console, forwarding: Forwarding) -> Result<Run> {
    console.say(match forwarding {
        Forwarding::Rescue => {
            "with anycast-lb: Frankfurt, Singapore, Sao Paulo; in each two ingress nodes, two backends, a client"
        }
        Forwarding::OwnerOnly => "the same with the owner only: hops = 0, no rescue",
        Forwarding::PlainEcmp => "the same without a balancer: the backends announce, the routers' ECMP chooses",
    });
    let lab = PopLab::build(forwarding)?;
    console.say("the lab stands, every router prefers its own PoP in IPv4 and IPv6");
    let traffic =
        lab.traffic(&Spec { seconds: LONGEST_SECONDS, short_rate: SHORT_RATE, ..Spec::default() })?;
    let mut story = Story { console, forwarding, traffic, lab, began: Instant::now() };
    console.establish(&story.traffic)?;
    story.nearest(0..NAMES.len())?;
    console.watch(&story.traffic, BEFORE)?;
    match forwarding {
        Forwarding::PlainEcmp => story.members_announce()?,
        _ => story.nodes_and_members()?,
    }
    story.frankfurt()?;
    story.end()
}

/// A run under way.
struct Story<'c> {
    console: &'c Console,
    forwarding: Forwarding,
    // Before the lab: what runs in it ends first.
    traffic: RunningTraffic,
    lab: PopLab,
    began: Instant,
}

impl Story<'_> {
    /// Shows where new connections from clients land.
    fn nearest(&self, clients: impl IntoIterator<Item = usize>) -> Result<()> {
        for pop in clients {
            let (v4, v6) = (self.lab.who_answers(pop, Family::V4)?, self.lab.who_answers(pop, Family::V6)?);
            self.console.say(&format!("  the client in {} reaches {v4} by IPv4, {v6} by IPv6", CITIES[pop]));
        }
        Ok(())
    }

    fn watch(&self, compared: Duration) -> Result<()> {
        let time = if self.forwarding == Forwarding::Rescue { AFTER } else { compared };
        self.console.watch(&self.traffic, time)
    }

    fn changes(&mut self, text: &str, changes: &[Change], compared: Duration) -> Result<()> {
        self.console.step(text, || self.lab.at_once(FRANKFURT, changes))?;
        self.watch(compared)
    }

    /// With a balancer: ingress nodes go, come, lose their daemon and die; a backend joins, another
    /// drains.
    fn nodes_and_members(&mut self) -> Result<()> {
        let text = "at once: fra-ing0 withdraws its routes, backend fra-be2 joins";
        self.changes(text, &[Change::Withdraw(WITHDRAWN), Change::Join(JOINS)], BETWEEN)?;
        self.lab.wait_joined()?;
        let text = "at once: fra-ing0 announces its routes again, backend fra-be1 drains";
        self.changes(text, &[Change::Announce(WITHDRAWN), Change::Drain(DRAINS)], BETWEEN)?;
        let held = self.lab.held(FRANKFURT, DRAINS)?;
        self.console.say(&format!("  fra-be1 keeps {held} connections and takes no new ones"));

        let name = self.lab.ingress(SINGAPORE, KILLED).name().to_owned();
        let lab = &mut self.lab;
        self.console
            .step(&format!("SIGKILL to the daemon of {name}"), || lab.ingress(SINGAPORE, KILLED).kill9())?;
        self.console.watch(&self.traffic, WITHOUT_DAEMON)?;
        self.console.step(&format!("{name} starts again and takes over what is pinned"), || {
            let node = self.lab.ingress(SINGAPORE, KILLED);
            node.start()?;
            let status = node.cli(&["status", "--json"])?.json()?;
            ensure!(status["start"] == "adopted", "{name} did not take over what was pinned: {status}");
            Ok(())
        })?;
        self.watch(BETWEEN)?;

        self.console.step("fra-ing1 dies: its link goes down", || self.lab.crash(FRANKFURT, DEAD))?;
        self.watch(BETWEEN)
    }

    /// Without one there are no ingress nodes that could go, and a backend drains by withdrawing.
    fn members_announce(&mut self) -> Result<()> {
        self.changes("fra-be2 announces the service too", &[Change::Join(JOINS)], BETWEEN)?;
        let text = "fra-be1 is to drain: it can only withdraw its announcement";
        self.changes(text, &[Change::Drain(DRAINS)], BETWEEN)
    }

    /// In the runs for comparison as long as in the first: who comes back early may find its flows.
    fn frankfurt(&mut self) -> Result<()> {
        self.changes("all of Frankfurt withdraws its announcement", &[Change::WithdrawAll], AFTER)?;
        self.nearest([FRANKFURT])?;
        self.changes("Frankfurt announces it again", &[Change::AnnounceAll], AFTER)?;
        self.nearest([FRANKFURT])
    }

    fn end(self) -> Result<Run> {
        let Self { console, forwarding, traffic, lab, began } = self;
        if forwarding == Forwarding::Rescue {
            for (pop, city) in CITIES.iter().enumerate() {
                console.say(&format!("  backends in {city} sent {} packets on", lab.hops(pop)?));
            }
        }
        let outcome = traffic.finish()?;
        let (nearest, all) = (at_nearest(&outcome), outcome.flows.len());
        console.say(&format!("{nearest} of {all} flows landed on their client's nearest PoP"));
        ensure!(all > 0 && nearest == all, "{} of {all} flows landed elsewhere", all - nearest);
        let run = Run::new(&outcome, &BTreeSet::new(), began.elapsed().as_secs_f64());
        Ok(Run { at_nearest_pop: Some(nearest), ..run })
    }
}
