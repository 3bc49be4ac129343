//! The pools' tables: who owns a slot, as member numbers, and where the table lies.

#[cfg(test)]
use std::collections::BTreeSet;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use anycast_lb_common::abi::{MemberNumber, Slot, TableRef};

use super::health::{Lists, after_joins};
use super::places::{self, Listed};
use super::recent::{Recent, Remembered};
use super::rescue::{self, Sites};
use crate::membership::history::{History, Record};
use crate::membership::{Standing, Standings};
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

/// Tables by what they were computed from: a change of one pool does not compute the others again,
/// and a join's second phase finds the table that its first one has looked ahead to.
#[derive(Default)]
pub struct Memo {
    tables: HashMap<(String, Use), Vec<Computed>>,
    recent: HashMap<String, Remembered>,
}

/// Tables kept for a use: that in force, and that after the joins under way.
const KEPT: usize = 2;

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
    table: Arc<Table>,
}

impl Memo {
    /// Forgets the tables of pools for which `keep` does not hold.
    pub fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.tables.retain(|(name, _), _| keep(name));
        self.recent.retain(|name, _| keep(name));
    }

    /// Where the tables lie that are kept.
    #[cfg(test)]
    pub fn tables(&self) -> BTreeSet<*const Table> {
        self.tables.values().flatten().map(|c| Arc::as_ptr(&c.table)).collect()
    }

    /// Where what is remembered of earlier sets lies.
    #[cfg(test)]
    pub fn takers(&self) -> BTreeSet<*const u16> {
        self.recent.values().flat_map(Remembered::places).collect()
    }

    /// The table of a pool that takes new flows here, if one is kept whose lists are as deep as those of
    /// `spec`, or deeper.
    pub fn known(&self, name: &str, spec: &TableSpec, candidates: &[Candidate]) -> Option<Arc<Table>> {
        let kept = self.tables.get(&(name.to_owned(), Use::New))?;
        let fits = |known: &TableSpec| {
            known.hops >= spec.hops && *known == TableSpec { hops: known.hops, ..spec.clone() }
        };
        let found = kept.iter().find(|c| fits(&c.spec) && c.candidates == candidates)?;
        Some(Arc::clone(&found.table))
    }

    /// The table of a pool for some use.
    pub fn table(
        &mut self,
        name: &str,
        purpose: Use,
        spec: &TableSpec,
        candidates: &[Candidate],
    ) -> Arc<Table> {
        let kept = self.tables.entry((name.to_owned(), purpose)).or_default();
        // The one used last is at the end.
        let computed = match kept.iter().position(|c| c.spec == *spec && c.candidates == candidates) {
            Some(at) => kept.remove(at),
            None => {
                let table = Arc::new(table::build(spec, candidates));
                Computed { spec: spec.clone(), candidates: candidates.to_vec(), table }
            }
        };
        let table = Arc::clone(&computed.table);
        if kept.len() == KEPT {
            kept.remove(0);
        }
        kept.push(computed);
        table
    }
}

/// What the tables of all pools are made from on a node, besides the pools themselves.
pub struct Circumstances<'a> {
    /// The node's PoP.
    pub home: &'a str,
    /// The seed in force.
    pub seed: &'a Seed,
    /// Its fingerprint.
    pub seed_fingerprint: &'a str,
    /// Health and joins.
    pub standings: &'a Standings,
    /// What determined owners of late.
    pub history: &'a History,
    /// The time by which history is judged.
    pub now: SystemTime,
}

/// The lists of the slots of `pool` as far as one PoP's backends fill them ([`Sites::first`]), as a node
/// at `home` knows them; none at all if there are none. `number` gives the member number of a backend.
///
/// A slot names its owner, or nobody where no backend is active, and then the backends that may hold
/// its flows: those who took them of late, then the others as they rank. Health and joins under
/// way are taken into account slot by slot, as [`Lists`] says.
///
/// Backends of other sites own nothing.
pub fn slots(
    pool: &Pool,
    Circumstances { home, seed, seed_fingerprint, standings, history, now }: &Circumstances<'_>,
    sites: &Sites<'_>,
    number: impl Fn(IpAddr) -> MemberNumber,
    memo: &mut Memo,
) -> Vec<Listed> {
    let site = sites.first(home);
    let candidates = rescue::candidates(pool, home, site);
    let nobody_serves = candidates.iter().all(|c| c.state != BackendState::Active);
    if candidates.is_empty() || (nobody_serves && pool.encapsulation != Encapsulation::Gue) {
        return Vec::new();
    }
    let numbers: Vec<MemberNumber> = candidates.iter().map(|c| number(c.identity)).collect();
    let record = Record::of(pool, home, site, seed_fingerprint, standings);
    let standings: Vec<Standing> = candidates.iter().map(|c| standings.of(&pool.name, c.identity)).collect();
    // Nothing else carries a list.
    let hops = if pool.encapsulation == Encapsulation::Gue { pool.hops } else { 0 };
    let remembered = memo.recent.entry(pool.name.clone()).or_default();
    let recent = if hops == 0 {
        Recent::nothing()
    } else {
        // The set in force is no news: it gives the owners.
        let records = history.of(&pool.name, site, seed_fingerprint, *now);
        let records = records.filter(|r| Some(r.record) != record.as_ref());
        Recent::new(records, &seed.0, pool.slots, &candidates, remembered)
    };
    let lists = Lists::here(&candidates, &standings, hops);
    let spec = TableSpec::of(pool, seed, lists.depth());
    let table = memo.table(&pool.name, Use::New, &spec, &candidates);
    let after = after_joins(&candidates, &standings).filter(|_| hops > 0);
    let after = after.map(|candidates| memo.table(&pool.name, Use::New, &spec, &candidates));
    let (mut list, mut latest) = (Vec::with_capacity(places::MOST), Vec::new());
    let mut takers = Vec::with_capacity(table.owners().len());
    let mut slots = Vec::with_capacity(table.owners().len());
    for (slot, &owner) in (0..).zip(table.owners()) {
        let coming = after.as_ref().and_then(|after| after.owners().get(slot as usize)).copied();
        recent.of(slot, &mut latest);
        let need = lists.list(slot, owner, table.hops(slot), coming, latest.iter().copied(), &mut list);
        takers.push(list.first().copied().unwrap_or(NONE));
        let members = list.iter().map(|&i| if i == NONE { 0 } else { numbers[i as usize] });
        slots.push(Listed::new(members, need.places, need.last));
    }
    let known = history.of(&pool.name, site, seed_fingerprint, *now);
    let known: Vec<&Record> = known.map(|remnant| remnant.record).collect();
    let remembered = memo.recent.entry(pool.name.clone()).or_default();
    remembered.retain(|record| known.contains(&record));
    if let Some(record) = record.filter(|_| hops > 0) {
        let address = |taker: &u32| candidates.get(*taker as usize).map(|c| c.identity);
        remembered.keep(record, takers.iter().map(address));
    }
    slots
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
    let spec = TableSpec::of(pool, seed, 0);
    let table = memo.table(&pool.name, Use::PreviousSeed, &spec, &candidates);
    table.owners().iter().map(|owner| Slot::new([numbers[*owner as usize], 0, 0, 0])).collect()
}
