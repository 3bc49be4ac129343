//! What membership changes do to a pool, without a network: balance, disruption, broken flows.
//!
//! Flows are equal to slots here: a slot stands for the flows that began in it before the first
//! change, all on the slot's owner at that time. A flow lives on while each table lists its backend,
//! as the owner or as one of the hops; a backend that leaves takes its flows with it, and those are
//! not counted as broken. Lists are made, and history is kept, by the code that the daemon uses.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;
use std::time::UNIX_EPOCH;

use anycast_lb_common::abi::MAX_MEMBERS;
use serde::Serialize;

use crate::membership::Standing;
use crate::membership::history::{Owning, Past, Record};
use crate::plan::{Lists, Recent, Remembered};
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

impl FromStr for Change {
    type Err = ChangeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = || ChangeError(text.to_owned());
        let (word, count) = text.split_once(':').ok_or_else(refused)?;
        let count: u32 = count.parse().ok().filter(|n| *n > 0).ok_or_else(refused)?;
        match word {
            "add" => Ok(Change::Add(count)),
            "remove" => Ok(Change::Remove(count)),
            _ => Err(refused()),
        }
    }
}

/// A text is no change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no change; write add:N or remove:N, N from 1")]
pub struct ChangeError(String);

/// What came of it.
#[derive(Clone, Debug, PartialEq)]
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
    /// The same for every number of hops from none to the scenario's, with and without history.
    pub depths: Vec<Depth>,
}

/// What so many hops save.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Depth {
    /// Backends that a packet lists after the owner.
    pub hops: u8,
    /// [`Outcome::broken`] where nodes list the runners-up of their present table alone.
    pub broken_without_history: f64,
    /// The same where they know earlier owners and list those first.
    pub broken_with_history: f64,
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
    fits(scenario.backends.into())?;
    let mut pool: Vec<Candidate> = (0..scenario.backends).map(candidate).collect();
    let mut born = scenario.backends;
    let first = build(&scenario.spec, &pool);
    let first_pool = pool.clone();
    let slots = first.owners().len();

    let mut flows: Vec<Flow> = owners(&first, &pool).map(Flow::new).collect();
    let (mut past, mut remembered) = (Past::default(), Remembered::default());
    note(&mut past, &mut remembered, &scenario.spec, &first, &pool);
    let mut peak = balance(&first, &pool).map_or(0.0, |b| b.peak);
    let mut last = first.clone();
    for (step, change) in (1..).zip(&scenario.changes) {
        match *change {
            Change::Add(count) => {
                fits(pool.len() as u64 + u64::from(count))?;
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
        let TableSpec { seed, slots, hops, .. } = &scenario.spec;
        let recent = Recent::new(past.records(UNIX_EPOCH), seed, *slots, &pool, &mut remembered);
        let lists = Lists::new(&pool, &vec![Standing::default(); pool.len()], *hops);
        let (mut list, mut latest) = (Vec::new(), Vec::new());
        for (slot, flow) in (0..).zip(&mut flows) {
            let owner = last.owners()[slot as usize];
            lists.list(slot, owner, last.hops(slot), None, std::iter::empty(), &mut list);
            flow.place = flow.place.max(place(flow.home, &list, &pool));
            recent.of(slot, &mut latest);
            lists.list(slot, owner, last.hops(slot), None, latest.iter().copied(), &mut list);
            flow.place_by_history = flow.place_by_history.max(place(flow.home, &list, &pool));
        }
        note(&mut past, &mut remembered, &scenario.spec, &last, &pool);
    }

    let alive: BTreeSet<IpAddr> = pool.iter().map(|c| c.identity).collect();
    let alive_flows: Vec<&Flow> = flows.iter().filter(|flow| alive.contains(&flow.home)).collect();
    let moved = moved((&first, &first_pool), (&last, &pool));
    let of_alive = |n: usize| if alive_flows.is_empty() { 0.0 } else { n as f64 / alive_flows.len() as f64 };
    let broken = |hops: u8, place: fn(&Flow) -> usize| {
        of_alive(alive_flows.iter().filter(|flow| place(flow) > usize::from(hops)).count())
    };
    let (without, with) = (|flow: &Flow| flow.place, |flow: &Flow| flow.place_by_history);
    let hops = scenario.spec.hops;
    Ok(Outcome {
        peak,
        unavoidable: f64::from(moved.called_for) / slots as f64,
        extra_moved: of_alive(moved.extra as usize),
        broken: broken(hops, if scenario.history { with } else { without }),
        depths: (0..=hops)
            .map(|hops| Depth {
                hops,
                broken_without_history: broken(hops, without),
                broken_with_history: broken(hops, with),
            })
            .collect(),
    })
}

/// Most backends of a pool: all numbers of members but 0.
const MAX_BACKENDS: u64 = MAX_MEMBERS as u64 - 1;

/// Why a scenario cannot be played.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SimulateError {
    /// The pool is empty from the start.
    #[error("a simulation needs at least one backend")]
    NoBackends,
    /// More than a pool can have.
    #[error("a pool of {backends} backends; {MAX_BACKENDS} is the most")]
    TooMany {
        /// How many there would be.
        backends: u64,
    },
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

/// Whether a pool can have so many backends.
fn fits(backends: u64) -> Result<(), SimulateError> {
    if backends > MAX_BACKENDS { Err(SimulateError::TooMany { backends }) } else { Ok(()) }
}

/// The flows that began in one slot.
struct Flow {
    /// The backend that holds them.
    home: IpAddr,
    /// The last place at which a list named the home, 0 being the owner's; beyond all lists if it
    /// was not named once.
    place: usize,
    /// The same for lists that name earlier owners first.
    place_by_history: usize,
}

impl Flow {
    fn new(home: IpAddr) -> Self {
        Flow { home, place: 0, place_by_history: 0 }
    }
}

/// Where a list names `home`; `usize::MAX` if it does not.
fn place(home: IpAddr, list: &[u32], pool: &[Candidate]) -> usize {
    list.iter().position(|i| pool[*i as usize].identity == home).unwrap_or(usize::MAX)
}

/// History takes note of a table.
fn note(past: &mut Past, remembered: &mut Remembered, spec: &TableSpec, table: &Table, pool: &[Candidate]) {
    let mut backends: Vec<Owning> =
        pool.iter().map(|c| Owning { address: c.identity, weight: c.weight, fit: true }).collect();
    backends.sort_unstable();
    let record = Record {
        site: String::new(),
        seed: String::new(),
        kind: spec.kind,
        slots: spec.slots,
        margin_ppm: spec.margin_ppm,
        backends,
    };
    remembered.keep(record.clone(), owners(table, pool).map(Some));
    // All changes come so quickly that nothing is forgotten for its age.
    past.note(UNIX_EPOCH, Some(record));
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
    fn every_hop_saves_flows_and_history_saves_more() {
        let mut scenario = scenario(1, 10, &[Change::Add(1); 5]);
        scenario.history = true;
        let found = outcome(&scenario);
        assert_eq!(found.depths.iter().map(|d| d.hops).collect::<Vec<_>>(), [0, 1, 2, 3]);
        for pair in found.depths.windows(2) {
            assert!(pair[1].broken_without_history < pair[0].broken_without_history, "{found:?}");
            assert!(pair[1].broken_with_history < pair[0].broken_with_history, "{found:?}");
            assert!(pair[1].broken_with_history < pair[1].broken_without_history, "{found:?}");
        }
        // A run with fewer hops says the same of them.
        for depth in &found.depths {
            scenario.spec.hops = depth.hops;
            for (history, broken) in
                [(true, depth.broken_with_history), (false, depth.broken_without_history)]
            {
                scenario.history = history;
                assert_eq!(outcome(&scenario).broken, broken);
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

    #[test]
    fn a_pool_has_so_many_backends_and_no_more() {
        let error = run(&scenario(1, 3, &[Change::Add(u32::MAX)]), build);
        assert_eq!(error, Err(SimulateError::TooMany { backends: u64::from(u32::MAX) + 3 }));
        assert_eq!(run(&scenario(1, 32_768, &[]), build), Err(SimulateError::TooMany { backends: 32_768 }));
        assert_eq!((fits(32_767), fits(0)), (Ok(()), Ok(())));
    }
}
