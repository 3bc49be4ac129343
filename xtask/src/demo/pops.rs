//! Three PoPs: each client lands on its nearest, then Frankfurt's announcement is withdrawn while
//! connections run, and comes back. Once with rescue across PoPs, once with the owner only.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::console::Console;
use crate::lab::pops::plan::NAMES;
use crate::lab::pops::{PopLab, at_home};
use crate::lab::report::{Run, Summary};
use crate::lab::traffic::Spec;

const NAME: &str = "pops";
/// Index of Frankfurt.
const FRANKFURT: usize = 0;
/// Traffic before the first event.
const BEFORE: Duration = Duration::from_secs(3);
/// Traffic after each event: longer than the stall that counts as a break.
const AFTER: Duration = Duration::from_secs(6);
/// Bounds the traffic should the scenario hang.
const LONGEST_SECONDS: f64 = 120.0;
/// New connections a second beside the living ones.
const SHORT_RATE: f64 = 50.0;

/// With rescue, then without.
pub fn both(console: &Console) -> Result<Summary> {
    Ok(Summary {
        schema: Summary::SCHEMA,
        scenario: NAME,
        balanced: Some(run(console, true)?),
        owner_only: Some(run(console, false)?),
        plain_ecmp: None,
    })
}

fn run(console: &Console, rescue: bool) -> Result<Run> {
    console.say(if rescue {
        "Frankfurt, Singapore, Sao Paulo: two ingress nodes and two backends each, flows are rescued across PoPs"
    } else {
        "the same with the owner only: no hops, no rescue"
    });
    let lab = PopLab::build(rescue)?;
    console.say("the lab stands, every router prefers its own PoP");
    let spec = Spec { seconds: LONGEST_SECONDS, short_rate: SHORT_RATE, ..Spec::default() };
    let traffic = lab.traffic(&spec)?;
    let began = Instant::now();
    console.establish(&traffic)?;
    console.watch(&traffic, BEFORE)?;
    console.step("Frankfurt withdraws its announcement", || lab.withdraw(FRANKFURT))?;
    console.watch(&traffic, AFTER)?;
    console.step("Frankfurt announces it again", || lab.announce(FRANKFURT))?;
    console.watch(&traffic, AFTER)?;
    for (pop, name) in NAMES.iter().enumerate() {
        console.say(&format!("  backends of {name} sent {} packets on", lab.hops(pop)?));
    }
    let outcome = traffic.finish()?;
    let (home, all) = at_home(&outcome);
    console.say(&format!("{home} of {all} flows landed on their client's nearest PoP"));
    ensure!(all > 0 && home == all, "{} flows landed elsewhere", all - home);
    Ok(Run::new(&outcome, &BTreeSet::new(), began.elapsed().as_secs_f64()))
}
