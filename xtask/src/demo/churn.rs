//! An ingress node goes, a backend joins and another drains, all at once: what becomes of living
//! connections with the second chance, with the owner only, and with plain ECMP.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::console::Console;
use crate::lab::report::{Run, Summary};
use crate::lab::traffic::Spec;
use crate::lab::{Churn, Kind, Lab, Shape};

const NAME: &str = "churn";
/// Backends that serve from the start; one more waits to join.
const MEMBERS: usize = 3;
/// The nodes of the moment.
const MOMENT: Churn = Churn { withdraw: 0, join: MEMBERS, drain: 1 };
/// Traffic before the moment.
const BEFORE: Duration = Duration::from_secs(3);
/// Traffic after each event: longer than the stall that counts as a break.
const AFTER: Duration = Duration::from_secs(6);
/// Bounds the traffic should the scenario hang.
const LONGEST_SECONDS: f64 = 120.0;
/// New connections a second beside the living ones.
const SHORT_RATE: f64 = 50.0;

/// What forwards.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Column {
    SecondChance,
    OwnerOnly,
    PlainEcmp,
}

/// All three, one after the other.
pub fn all(console: &Console) -> Result<Summary> {
    Ok(Summary {
        schema: Summary::SCHEMA,
        scenario: NAME,
        balanced: Some(run(console, Column::SecondChance)?),
        owner_only: Some(run(console, Column::OwnerOnly)?),
        plain_ecmp: Some(run(console, Column::PlainEcmp)?),
    })
}

fn run(console: &Console, column: Column) -> Result<Run> {
    let shape = Shape { backends: MEMBERS + 1, ..Shape::default() };
    let builder = Lab::builder().shape(shape).members(MEMBERS);
    let (text, builder) = match column {
        Column::SecondChance => {
            ("with anycast-lb: three ingress nodes, three backends, one in reserve", builder)
        }
        Column::OwnerOnly => ("the same with hops = 0: only the owner of a flow is asked", builder.hops(0)),
        Column::PlainEcmp => (
            "without a balancer: the router's ECMP chooses among the same backends",
            builder.kind(Kind::PlainEcmp),
        ),
    };
    console.say(text);
    let lab = builder.build()?;
    console.say("the lab stands, the router has three next hops in IPv4 and IPv6");
    let spec = Spec { seconds: LONGEST_SECONDS, short_rate: SHORT_RATE, ..Spec::default() };
    let traffic = lab.traffic(&spec)?;
    let began = Instant::now();
    console.establish(&traffic)?;
    console.watch(&traffic, BEFORE)?;

    let moment = match column {
        Column::PlainEcmp => "a backend joins and another withdraws",
        _ => "at once: ing0 withdraws its routes, be3 joins, be1 drains",
    };
    console.step(moment, || lab.churn(MOMENT))?;
    console.watch(&traffic, AFTER)?;
    if column != Column::PlainEcmp {
        console.step("ing0 announces its routes again", || lab.announce(MOMENT.withdraw))?;
        console.watch(&traffic, AFTER)?;
    }
    let outcome = traffic.finish()?;
    ensure!(!outcome.flows.is_empty(), "no flow was started");
    Ok(Run::new(&outcome, &BTreeSet::new(), began.elapsed().as_secs_f64()))
}
