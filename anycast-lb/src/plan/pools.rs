//! The pools' tables: who owns a slot, as member numbers, and where the table lies.

use std::collections::HashMap;
use std::net::IpAddr;

use anycast_lb_common::abi::{MemberNumber, Slot, TableRef};

use crate::model::{BackendState, Pool, Seed};
use crate::table::{self, Candidate, NONE, Table, TableSpec};

/// Most backends a packet lists. Lists stay empty until backends pass packets on.
const HOPS: u8 = 0;

/// A pool, its number and its table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedPool {
    /// Its number.
    pub number: u16,
    /// Its name.
    pub name: String,
    /// What it is known by across restarts.
    pub identity: u64,
    /// Its table.
    pub table: PlannedTable,
}

/// What becomes of a pool's table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlannedTable {
    /// No backend is active: there is no table.
    Empty,
    /// The table in force is right as it is.
    Keep(TableRef),
    /// These slots are written to a region that is free, then the pool is pointed there.
    Write {
        /// The region.
        at: TableRef,
        /// Its slots, 2^bits of them.
        slots: Vec<Slot>,
    },
}

impl PlannedTable {
    /// Where the table lies; all zero if there is none.
    pub fn location(&self) -> TableRef {
        match self {
            PlannedTable::Empty => TableRef::default(),
            PlannedTable::Keep(at) | PlannedTable::Write { at, .. } => *at,
        }
    }
}

/// Tables by what they were computed from: a change of one pool does not compute the others again.
#[derive(Default)]
pub struct Memo(HashMap<String, Computed>);

struct Computed {
    spec: TableSpec,
    candidates: Vec<Candidate>,
    table: Table,
}

impl Memo {
    /// Forgets the tables of pools for which `keep` does not hold.
    pub fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.0.retain(|name, _| keep(name));
    }

    fn table(&mut self, name: &str, spec: TableSpec, candidates: Vec<Candidate>) -> &Table {
        let known = self.0.get(name).is_some_and(|c| c.spec == spec && c.candidates == candidates);
        if !known {
            let table = table::build(&spec, &candidates);
            self.0.insert(name.to_owned(), Computed { spec, candidates, table });
        }
        &self.0[name].table
    }
}

/// The slots of `pool`; none at all if no backend of this site is active. `number` gives the member
/// number of a backend of the pool.
///
/// Backends of other sites own nothing: new flows stay where they arrive.
pub fn slots(
    pool: &Pool,
    seed: &Seed,
    pop: &str,
    number: impl Fn(IpAddr) -> MemberNumber,
    memo: &mut Memo,
) -> Vec<Slot> {
    let candidates: Vec<Candidate> = pool
        .backends
        .iter()
        .filter(|b| b.state == BackendState::Active && b.pop.as_deref().is_none_or(|p| p == pop))
        .map(|b| Candidate { identity: b.address, weight: b.weight, state: b.state })
        .collect();
    if candidates.is_empty() {
        return Vec::new();
    }
    let numbers: Vec<MemberNumber> = candidates.iter().map(|c| number(c.identity)).collect();
    let spec = TableSpec {
        kind: pool.table,
        slots: pool.slots,
        margin_ppm: pool.margin_ppm,
        seed: seed.0,
        hops: HOPS,
    };
    let table = memo.table(&pool.name, spec, candidates);
    (0..)
        .zip(table.owners())
        .map(|(slot, &owner)| {
            let mut members = [0; Slot::LEN];
            // The list repeats the owner first.
            let hops = table.hops(slot).filter(|&hop| hop != owner);
            let named = std::iter::once(owner).filter(|&o| o != NONE).chain(hops);
            for (place, index) in members.iter_mut().zip(named) {
                *place = numbers[index as usize];
            }
            Slot::new(members)
        })
        .collect()
}
