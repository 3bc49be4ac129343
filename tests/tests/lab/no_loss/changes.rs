//! Random changes of members and weights, each of which reaches the nodes at different times and in
//! another order, while routes move at random: no flow of a backend that stays breaks.

mod plan;

use std::collections::BTreeSet;
use std::fs;
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anycast_lb_tests::random::Random;
use anyhow::{Context, Result, anyhow, ensure};
use xtask::lab::daemons::until;
use xtask::lab::{Lab, Node};

use super::super::stand::{done, verdict};
use super::{DEADLINE, SHORT_RATE, SOME, address, all_well_but, breaks, flows, route, stage, state};
use plan::Change;

/// Ingress nodes.
const NODES: usize = 3;
/// Longer than nodes are apart; see [`Ledger::wait`].
const FILL_TIME: &str = "fill_time = \"4s\"\n";
/// Of two changes only the later one may be under way while the one before it still is.
const OVERLAP: usize = 2;
/// Its first fourteen changes are of every kind, and of every backend.
const SEED: u64 = 1260;
/// Switches the long form on.
const LONG: &str = "ANYCAST_LB_LONG";

/// How much happens.
struct Size {
    flows: usize,
    changes: usize,
    reroutes: u32,
    time: Duration,
}

fn size() -> Size {
    if std::env::var_os(LONG).is_some_and(|value| value == "1") {
        return Size { flows: 1000, changes: 50, reroutes: 50, time: Duration::from_secs(60) };
    }
    Size { flows: 300, changes: 14, reroutes: 14, time: Duration::from_secs(15) }
}

#[test]
fn random_changes_under_random_reroutes_break_no_flow() -> Result<()> {
    let mut lab = stage(NODES, plan::BACKENDS, plan::BACKENDS, FILL_TIME)?;
    let first = fs::read_to_string(lab.ingress(0).config())?;
    let mut random = Random::new(SEED);
    let size = size();
    let changes = plan::changes(&mut random, size.changes);
    let removed: BTreeSet<String> = changes.iter().filter_map(Change::removes).collect();
    ensure!(!removed.is_empty() && removed.len() < plan::BACKENDS, "a plan that proves little: {changes:?}");

    let wire = lab.watch_underlay(&["be0", "be1", "be2", "be3", "be4", "be5"])?;
    let traffic = flows(&lab, size.flows, SHORT_RATE)?;
    turmoil(&lab, &changes, &size, &mut random)?;
    let outcome = traffic.finish()?;
    let what = format!("{} changes and {} reroutes in {:?}", size.changes, size.reroutes, size.time);
    all_well_but(&outcome, &removed, &what)?;
    ensure!(outcome.flows.len() == size.flows, "{} flows", outcome.flows.len());
    ensure!(outcome.short.failed == 0 && outcome.short.done > 0, "short ones: {:?}", outcome.short);
    let mut hops = 0;
    for index in 0..plan::BACKENDS {
        hops += verdict(lab.backend(index), "hop")?;
    }
    ensure!(hops > 0, "nothing was sent on: the changes are too tame");
    println!("{hops} packets sent on, removed in between: {removed:?}; on the wires: {:?}", wire.finish()?);
    without_a_second_chance(&mut lab, &first)
}

/// All of it: every node takes the changes in a time of its own, and routes move meanwhile.
fn turmoil(lab: &Lab, changes: &[Change], size: &Size, random: &mut Random) -> Result<()> {
    let began = Instant::now();
    let ledger = Ledger::default();
    let step = size.time / u32::try_from(changes.len()).unwrap_or(u32::MAX);
    let reroute = size.time / size.reroutes;
    thread::scope(|scope| {
        let nodes: Vec<_> = lab
            .ingresses()
            .iter()
            .enumerate()
            .map(|(index, node)| {
                let mut random = random.fork();
                let ledger = &ledger;
                scope.spawn(move || {
                    let result = take_all(node, index, changes, ledger, |number| {
                        // Up to one step late.
                        began + step * number + step * random.below(1000) / 1000
                    });
                    if result.is_err() {
                        ledger.give_up();
                    }
                    result
                })
            })
            .collect();
        let moved = (0..size.reroutes).try_for_each(|number| {
            sleep_until(began + reroute * number + reroute * random.below(1000) / 1000);
            let mut nodes: Vec<usize> = (0..NODES).collect();
            random.shuffle(&mut nodes);
            nodes.truncate(1 + random.below(NODES as u32) as usize);
            route(lab, &nodes)
        });
        for node in nodes {
            node.join().map_err(|_| anyhow!("the thread of a node panicked"))??;
        }
        moved
    })
}

/// One node takes all changes, in their order.
fn take_all(
    node: &Node,
    index: usize,
    changes: &[Change],
    ledger: &Ledger,
    mut at: impl FnMut(u32) -> Instant,
) -> Result<()> {
    for (number, change) in changes.iter().enumerate() {
        sleep_until(at(u32::try_from(number)?));
        // What the same backend went through before must be known everywhere: else this would be no
        // valid change.
        let needed = changes[..number].iter().rposition(|c| c.backend == change.backend).map(|n| n + 1);
        ledger.wait(needed.unwrap_or(0).max((number + 1).saturating_sub(OVERLAP)))?;
        let words = change.words();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        done(node, &words).with_context(|| format!("{} at change {number}", node.name()))?;
        ledger.count(index);
    }
    Ok(())
}

fn sleep_until(at: Instant) {
    thread::sleep(at.saturating_duration_since(Instant::now()));
}

/// How many changes each node has taken.
#[derive(Default)]
struct Ledger {
    taken: Mutex<[usize; NODES]>,
    news: Condvar,
}

impl Ledger {
    fn count(&self, node: usize) {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)[node] += 1;
        self.news.notify_all();
    }

    /// Nobody need wait for the others any more.
    fn give_up(&self) {
        *self.taken.lock().unwrap_or_else(PoisonError::into_inner) = [usize::MAX / 2; NODES];
        self.news.notify_all();
    }

    /// Waits until all nodes have taken so many.
    fn wait(&self, count: usize) -> Result<()> {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let (_taken, waited) = self
            .news
            .wait_timeout_while(taken, DEADLINE, |taken| taken.iter().any(|&n| n < count))
            .unwrap_or_else(PoisonError::into_inner);
        ensure!(!waited.timed_out(), "a node is far behind");
        Ok(())
    }
}

/// A single change where packets name their owner only.
fn without_a_second_chance(lab: &mut Lab, first: &str) -> Result<()> {
    let node = lab.ingress(0);
    fs::write(node.config(), first.replacen(FILL_TIME, "hops = 0\n", 1))?;
    done(node, &["reload"])?;
    until(DEADLINE, "all backends to be active", || {
        let states = (0..plan::BACKENDS).map(|backend| state(node, backend)).collect::<Result<Vec<_>>>()?;
        Ok(states.iter().all(|state| state == "active").then_some(()))
    })?;
    route(lab, &[0])?;
    let traffic = flows(lab, SOME, 0.0)?;
    done(lab.ingress(0), &["backend", "drain", &address(plan::NEVER_DRAINED)])?;
    breaks(traffic)
}
