//! Who took the new flows of a slot under the memberships of late.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::health::Lists;
use crate::membership::history::{Record, Remnant};
use crate::membership::{Fitness, Standing};
use crate::model::BackendState;
use crate::table::{self, Candidate, NONE, TableSpec};

/// The takers of a record's slots, as indices of its backends.
type Takers = Arc<[u16]>;

/// No backend. A pool has fewer.
const NOBODY: u16 = u16::MAX;

/// The takers of a pool's records, so that a change computes none of them again: those that are in
/// force are handed over when their table is built, and looked up as long as they are remembered.
#[derive(Default)]
pub(crate) struct Remembered(Vec<(Record, Takers)>);

impl Remembered {
    /// Forgets the takers of records for which `keep` does not hold.
    pub fn retain(&mut self, keep: impl Fn(&Record) -> bool) {
        self.0.retain(|(record, _)| keep(record));
    }

    /// These take the new flows under `record`, slot by slot, as addresses.
    pub fn keep(&mut self, record: Record, takers: impl Iterator<Item = Option<IpAddr>>) {
        if self.find(&record).is_none() {
            let index = |address| record.backends.binary_search_by_key(&address, |b| b.address).ok();
            let number = |taker: Option<IpAddr>| taker.and_then(index).and_then(|i| u16::try_from(i).ok());
            let takers = takers.map(|taker| number(taker).unwrap_or(NOBODY)).collect();
            self.0.push((record, takers));
        }
    }

    /// Where they lie.
    #[cfg(test)]
    pub fn places(&self) -> impl Iterator<Item = *const u16> + '_ {
        self.0.iter().map(|(_, takers)| takers.as_ptr())
    }

    fn find(&self, record: &Record) -> Option<Takers> {
        self.0.iter().find(|(known, _)| known == record).map(|(_, takers)| Arc::clone(takers))
    }

    fn takers(&mut self, record: &Record, seed: &[u8; 16]) -> Takers {
        self.find(record).unwrap_or_else(|| {
            let takers = compute(record, seed);
            self.0.push((record.clone(), Arc::clone(&takers)));
            takers
        })
    }
}

fn compute(record: &Record, seed: &[u8; 16]) -> Takers {
    let state = BackendState::Active;
    let candidate =
        |b: &crate::membership::history::Owning| Candidate { identity: b.address, weight: b.weight, state };
    let candidates: Vec<Candidate> = record.backends.iter().map(candidate).collect();
    let fitness = |fit| if fit { Fitness::Fit } else { Fitness::Failed { held: false } };
    let standings: Vec<Standing> =
        record.backends.iter().map(|b| Standing { fitness: fitness(b.fit), ..Standing::default() }).collect();
    let lists = Lists::new(&candidates, &standings, 0);
    let spec = TableSpec {
        kind: record.kind,
        slots: record.slots,
        margin_ppm: record.margin_ppm,
        seed: *seed,
        hops: lists.depth(),
    };
    let table = table::build(&spec, &candidates);
    let taker = |(slot, owner): (u32, &u32)| lists.taker(slot, *owner, table.hops(slot));
    (0..).zip(table.owners()).map(|x| u16::try_from(taker(x)).unwrap_or(NOBODY)).collect()
}

/// Who took the new flows of a table's slots of late, as indices of its candidates. Those who are no
/// candidates any more are left out.
pub(crate) struct Recent {
    slots: u32,
    /// The newest first.
    sets: Vec<Set>,
}

struct Set {
    takers: Takers,
    /// How many flows are left of it.
    weight: f64,
    /// Candidates by index of the record's backends.
    candidates: Vec<u32>,
}

impl Recent {
    /// `records` are the newest first, all of the pool that `candidates` are of, and of `seed`. The
    /// table has `slots`, a power of two.
    pub fn new<'a>(
        records: impl Iterator<Item = Remnant<'a>>,
        seed: &[u8; 16],
        slots: u32,
        candidates: &[Candidate],
        remembered: &mut Remembered,
    ) -> Self {
        let index: HashMap<IpAddr, u32> = candidates.iter().map(|c| c.identity).zip(0..).collect();
        let sets = records.map(|Remnant { record, weight }| {
            let there = record.backends.iter();
            let candidates = there.map(|b| index.get(&b.address).copied().unwrap_or(NONE)).collect();
            Set { takers: remembered.takers(record, seed), weight, candidates }
        });
        Recent { slots, sets: sets.collect() }
    }

    /// No record.
    pub fn nothing() -> Self {
        Recent { slots: 1, sets: Vec::new() }
    }

    /// Who took the new flows of a slot, into `out`: first who may have most of them still, by the weights
    /// of the sets; of equal ones who took them last. Where the table had more slots, these were several.
    pub fn of(&self, slot: u32, out: &mut Vec<u32>) {
        let mut found: Vec<(u32, f64)> = Vec::with_capacity(self.sets.len());
        for set in &self.sets {
            // Slots are named by the top bits of a hash, and both numbers are powers of two.
            let (then, now) = (set.takers.len(), self.slots as usize);
            let (first, count) = (slot as usize * then / now, (then / now).max(1));
            for taker in set.takers.iter().skip(first).take(count) {
                let candidate = set.candidates.get(usize::from(*taker)).copied().unwrap_or(NONE);
                let weight = set.weight / count as f64;
                match found.iter_mut().find(|(known, _)| *known == candidate) {
                    Some((_, sum)) => *sum += weight,
                    None if candidate != NONE => found.push((candidate, weight)),
                    None => {}
                }
            }
        }
        found.sort_by(|(_, a), (_, b)| b.total_cmp(a));
        out.clear();
        out.extend(found.into_iter().map(|(candidate, _)| candidate));
    }
}
