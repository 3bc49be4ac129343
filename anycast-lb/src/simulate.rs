//! What membership changes do to a pool, without a network: balance, disruption, broken flows.
//!
//! Flows are equal to slots here: a slot stands for the flows that began in it before the first
//! change, all on the slot's owner at that time. A flow lives on while each table lists its backend,
//! as the owner or as one of the hops; a backend that leaves takes its flows with it, and those are
//! not counted as broken.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};

use crate::table::quality::{balance, moved};
use crate::table::{BackendState, Candidate, Table, TableSpec};

/// One change; the backends that it names come or go at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// So many new backends.
    Add(u32),
    /// The so many oldest backends leave.
    Remove(u32),
}

/// A pool and what happens to it.
#[derive(Clone, PartialEq, Eq)]
pub struct Scenario {
    /// The table; `hops` is how many backends a packet can list after the owner.
    pub spec: TableSpec,
    /// Backends before the first change, all of one weight.
    pub backends: u32,
    /// Changes, one after the other.
    pub changes: Vec<Change>,
    /// Whether the nodes know earlier owners and list them before runners-up.
    pub history: bool,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    /// Busiest backend relative to its due share, the worst of all tables. 1 is perfect.
    pub peak: f64,
    /// Of all slots: those that changed owner between the first and the last table because the old
    /// one left or the new one came.
    pub unavoidable: f64,
    /// Of the slots whose first owner is still there after the last change: those that went to
    /// another backend that had been there as well.
    pub extra_moved: f64,
    /// Of the same slots: those whose first owner was not listed after some change.
    pub broken: f64,
}

/// A seed from a small number, for people who compare runs.
pub fn seed(number: u64) -> [u8; 16] {
    u128::from(number).to_le_bytes()
}

/// Plays a scenario through. `build` is [`crate::table::build`], or that with a clock around it.
///
/// # Errors
///
/// If there is no backend, at the start or after a change.
pub fn run(
    scenario: &Scenario,
    mut build: impl FnMut(&TableSpec, &[Candidate]) -> Table,
) -> Result<Outcome, SimulateError> {
    if scenario.backends == 0 {
        return Err(SimulateError::NoBackends);
    }
    let mut pool: Vec<Candidate> = (0..scenario.backends).map(candidate).collect();
    let mut born = scenario.backends;
    let first = build(&scenario.spec, &pool);
    let first_pool = pool.clone();
    let slots = first.owners().len();

    let mut flows: Vec<Flow> = owners(&first, &pool).map(Flow::new).collect();
    let mut peak = balance(&first, &pool).map_or(0.0, |b| b.peak);
    let mut last = first.clone();
    for (step, change) in (1..).zip(&scenario.changes) {
        match *change {
            Change::Add(count) => {
                pool.extend((born..).take(count as usize).map(candidate));
                born = born.saturating_add(count);
            }
            Change::Remove(count) if (count as usize) < pool.len() => drop(pool.drain(..count as usize)),
            Change::Remove(count) => {
                return Err(SimulateError::TooManyRemoved { step, count, backends: pool.len() });
            }
        }
        last = build(&scenario.spec, &pool);
        peak = balance(&last, &pool).map_or(peak, |b| b.peak.max(peak));
        for (slot, flow) in (0..).zip(&mut flows) {
            flow.meet(last.hops(slot), last.owners()[slot as usize], &pool, scenario);
        }
    }

    let alive: BTreeSet<IpAddr> = pool.iter().map(|c| c.identity).collect();
    let alive_flows: Vec<&Flow> = flows.iter().filter(|flow| alive.contains(&flow.home)).collect();
    let moved = moved((&first, &first_pool), (&last, &pool));
    let of_alive = |n: usize| if alive_flows.is_empty() { 0.0 } else { n as f64 / alive_flows.len() as f64 };
    Ok(Outcome {
        peak,
        unavoidable: f64::from(moved.called_for) / slots as f64,
        extra_moved: of_alive(moved.extra as usize),
        broken: of_alive(alive_flows.iter().filter(|flow| flow.broken).count()),
    })
}

/// Why a scenario cannot be played.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SimulateError {
    /// The pool is empty from the start.
    #[error("a simulation needs at least one backend")]
    NoBackends,
    /// A removal leaves nobody.
    #[error("change {step} removes {count} of {backends} backends; at least one must stay")]
    TooManyRemoved {
        /// Which change, from 1.
        step: usize,
        /// How many it removes.
        count: u32,
        /// How many there are by then.
        backends: usize,
    },
}

/// The flows that began in one slot.
struct Flow {
    /// The backend that holds them.
    home: IpAddr,
    /// Owners so far, the newest first, each once.
    owners: Vec<IpAddr>,
    broken: bool,
}

impl Flow {
    fn new(home: IpAddr) -> Self {
        Flow { home, owners: vec![home], broken: false }
    }

    /// A packet of the flow meets a new table.
    fn meet(
        &mut self,
        ranking: impl Iterator<Item = u32>,
        owner: u32,
        pool: &[Candidate],
        scenario: &Scenario,
    ) {
        let owner = pool[owner as usize].identity;
        let known = self.owners.iter().copied().filter(|_| scenario.history);
        let gone = |address: &IpAddr| !pool.iter().any(|c| c.identity == *address);
        let mut listed: Vec<IpAddr> = Vec::with_capacity(1 + usize::from(scenario.spec.hops));
        let hops = known.filter(|a| !gone(a)).chain(ranking.map(|i| pool[i as usize].identity));
        for address in std::iter::once(owner).chain(hops) {
            if listed.len() <= usize::from(scenario.spec.hops) && !listed.contains(&address) {
                listed.push(address);
            }
        }
        self.broken |= !listed.contains(&self.home);
        self.owners.retain(|earlier| *earlier != owner);
        self.owners.insert(0, owner);
    }
}

fn owners<'a>(table: &'a Table, pool: &'a [Candidate]) -> impl Iterator<Item = IpAddr> + 'a {
    table.owners().iter().map(|i| pool[*i as usize].identity)
}

/// The `n`th backend ever.
fn candidate(n: u32) -> Candidate {
    let address = Ipv6Addr::from_bits((0xfd00 << 112) + u128::from(n) + 1);
    Candidate { identity: address.into(), weight: 100, state: BackendState::Active }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::{DEFAULT_MARGIN_PPM, TableKind, build};

    fn scenario(number: u64, backends: u32, changes: &[Change]) -> Scenario {
        let spec = TableSpec {
            kind: TableKind::Rendezvous,
            slots: 65536,
            margin_ppm: DEFAULT_MARGIN_PPM,
            seed: seed(number),
            hops: 3,
        };
        Scenario { spec, backends, changes: changes.to_vec(), history: false }
    }

    fn outcome(scenario: &Scenario) -> Outcome {
        run(scenario, build).expect("the scenario can be played")
    }

    #[test]
    fn one_of_many_leaves() {
        for (backends, extra, peak) in [(100, 0.0010, 1.04), (1000, 0.0008, 1.05)] {
            for number in 1..=5 {
                let found = outcome(&scenario(number, backends, &[Change::Remove(1)]));
                assert!(found.extra_moved <= extra, "seed {number}: {found:?}");
                assert!(found.peak <= peak, "seed {number}: {found:?}");
                let share = 1.0 / f64::from(backends);
                assert!(found.unavoidable <= 1.04 * share && found.unavoidable >= 0.7 * share, "{found:?}");
            }
        }
    }

    #[test]
    fn five_join_one_after_the_other_with_history() {
        for number in 1..=5 {
            let mut scenario = scenario(number, 10, &[Change::Add(1); 5]);
            scenario.history = true;
            let found = outcome(&scenario);
            assert!(found.broken <= 0.0005, "seed {number}: {found:?}");
            // The hops earn their keep: with the owner alone a third of the flows breaks.
            scenario.spec.hops = 0;
            assert!(outcome(&scenario).broken > 0.3);
        }
    }

    #[test]
    fn five_join_a_large_pool_without_history() {
        for number in 1..=5 {
            for changes in [&[Change::Add(1); 5][..], &[Change::Add(5)]] {
                let found = outcome(&scenario(number, 100, changes));
                assert!(found.broken <= 0.0005, "seed {number}: {found:?}");
            }
        }
    }

    #[test]
    fn nothing_happens() {
        let found = outcome(&scenario(1, 5, &[]));
        assert_eq!((found.unavoidable, found.extra_moved, found.broken), (0.0, 0.0, 0.0));
        assert!(found.peak >= 1.0);
    }

    #[test]
    fn all_cannot_leave() {
        let error = run(&scenario(1, 3, &[Change::Add(1), Change::Remove(4)]), build);
        assert_eq!(error, Err(SimulateError::TooManyRemoved { step: 2, count: 4, backends: 4 }));
        assert_eq!(run(&scenario(1, 0, &[]), build), Err(SimulateError::NoBackends));
    }
}
