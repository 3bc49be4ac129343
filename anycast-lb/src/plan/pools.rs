//! The pools' tables: who owns a slot, as member numbers, and where the table lies.

use std::collections::HashMap;
use std::net::IpAddr;

use anycast_lb_common::abi::{MemberNumber, Slot, TableRef};

use super::rescue;
use crate::model::{BackendState, Encapsulation, Pool, Seed};
use crate::table::{self, Candidate, NONE, Table, TableSpec};

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
    /// While the seed is being changed: its table under the previous one, owners alone.
    pub previous: PlannedTable,
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
        /// The words of its 2^bits slots, one or two for each.
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
pub struct Memo(HashMap<(String, Use), Computed>);

/// What a table is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Use {
    /// New flows here.
    New,
    /// Flows of another PoP.
    Site(String),
    /// Owners under the previous seed.
    PreviousSeed,
}

struct Computed {
    spec: TableSpec,
    candidates: Vec<Candidate>,
    table: Table,
}

impl Memo {
    /// Forgets the tables of pools for which `keep` does not hold.
    pub fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.0.retain(|(name, _), _| keep(name));
    }

    /// The table of a pool for some use.
    pub fn table(&mut self, name: &str, purpose: Use, spec: TableSpec, candidates: Vec<Candidate>) -> &Table {
        let key = (name.to_owned(), purpose);
        let known = self.0.get(&key).is_some_and(|c| c.spec == spec && c.candidates == candidates);
        if !known {
            let table = table::build(&spec, &candidates);
            self.0.insert(key.clone(), Computed { spec, candidates, table });
        }
        &self.0[&key].table
    }
}

/// The slots of `pool` for its backends at `site`, as a node at `home` knows them; none at all if
/// there are none. `number` gives the member number of a backend of the pool.
///
/// A slot names its owner, or nobody where no backend is active, and then the backends that may hold
/// its flows: draining and filling ones and the runners-up.
///
/// Backends of other sites own nothing.
pub fn slots(
    pool: &Pool,
    seed: &Seed,
    home: &str,
    site: &str,
    number: impl Fn(IpAddr) -> MemberNumber,
    memo: &mut Memo,
) -> Vec<Slot> {
    let candidates = rescue::candidates(pool, home, site);
    let nobody_serves = candidates.iter().all(|c| c.state != BackendState::Active);
    if candidates.is_empty() || (nobody_serves && pool.encapsulation != Encapsulation::Gue) {
        return Vec::new();
    }
    let numbers: Vec<MemberNumber> = candidates.iter().map(|c| number(c.identity)).collect();
    let spec = TableSpec {
        kind: pool.table,
        slots: pool.slots,
        margin_ppm: pool.margin_ppm,
        seed: seed.0,
        // Nothing else carries a list.
        hops: if pool.encapsulation == Encapsulation::Gue { pool.hops } else { 0 },
    };
    let table = memo.table(&pool.name, Use::New, spec, candidates);
    (0..)
        .zip(table.owners())
        .map(|(slot, &owner)| {
            let named = |index: u32| if index == NONE { 0 } else { numbers[index as usize] };
            let mut members = [named(owner), 0, 0, 0];
            // The list repeats the owner first.
            let hops = table.hops(slot).filter(|&hop| hop != owner).take(pool.hops.into());
            for (place, index) in members.iter_mut().skip(1).zip(hops) {
                *place = named(index);
            }
            Slot::new(members)
        })
        .collect()
}

/// The owners of `pool` under the seed before the present one, for packets that carry a list; none
/// where nobody owns anything.
pub fn previous_owners(
    pool: &Pool,
    seed: &Seed,
    home: &str,
    site: &str,
    number: impl Fn(IpAddr) -> MemberNumber,
    memo: &mut Memo,
) -> Vec<Slot> {
    let candidates = rescue::candidates(pool, home, site);
    if pool.encapsulation != Encapsulation::Gue || candidates.iter().all(|c| c.state != BackendState::Active)
    {
        return Vec::new();
    }
    let numbers: Vec<MemberNumber> = candidates.iter().map(|c| number(c.identity)).collect();
    let spec =
        TableSpec { kind: pool.table, slots: pool.slots, margin_ppm: pool.margin_ppm, seed: seed.0, hops: 0 };
    let table = memo.table(&pool.name, Use::PreviousSeed, spec, candidates);
    table.owners().iter().map(|owner| Slot::new([numbers[*owner as usize], 0, 0, 0])).collect()
}
