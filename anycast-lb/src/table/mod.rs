//! Pool tables: which backend owns a slot, and which others its packets list.
//!
//! A table is a pure function of [`TableSpec`] and the *set* of [`Candidate`]s: the order in which
//! they are given, earlier tables and the machine do not matter. Nodes that share a seed compute the
//! same table without talking; [`owners_fingerprint`] shows that they do. Only integers are used.
//!
//! The algorithms are versioned by [`anycast_lb_common::abi::PLACEMENT`]: a change that gives any
//! slot another owner raises it, and the fixed fingerprints in the tests tell.

use std::net::IpAddr;
use std::{panic, thread};

use keyed::{Permutation, address_number};
use listing::Lists;
use race::Race;

pub use crate::model::{BackendState, TableKind};
use crate::model::{Pool, Seed};
pub use fingerprint::{hops_fingerprint, owners_fingerprint};
pub use listing::MAX_INACTIVE;

mod fingerprint;
mod keyed;
mod listing;
mod maglev;
pub mod quality;
mod quota;
mod race;
mod rendezvous;

/// The owner of a slot that has none.
pub const NONE: u32 = u32::MAX;

/// The margin of a pool that names none, in parts per million. With 100 backends and 65,536 slots a
/// removal then moves 0.04 % of the other flows on average and 0.06 % at worst of 40 seeds; 3 % would
/// bring that to 0.05 % and 0.10 %.
pub const DEFAULT_MARGIN_PPM: u32 = 35_000;

/// Most slots a table can have.
pub const MAX_SLOTS: u32 = 1 << 24;

/// What a table is like, whoever its backends are.
#[derive(Clone, PartialEq, Eq)]
pub struct TableSpec {
    /// Algorithm.
    pub kind: TableKind,
    /// Number of slots: a power of two from 2 to [`MAX_SLOTS`].
    pub slots: u32,
    /// How much more than its share a backend may own, in parts per million. Rendezvous only;
    /// Maglev is exact by construction.
    pub margin_ppm: u32,
    /// The secret that all nodes share.
    pub seed: [u8; 16],
    /// How many active backends a list has after the owner: a node that knows no history finds the
    /// owner of a flow that is a few changes old among them. 0: no lists are made.
    pub hops: u8,
}

impl TableSpec {
    /// What `pool` says, under a seed; lists have `hops` active ones after the owner.
    pub fn of(pool: &Pool, seed: &Seed, hops: u8) -> Self {
        TableSpec { kind: pool.table, slots: pool.slots, margin_ppm: pool.margin_ppm, seed: seed.0, hops }
    }
}

/// A backend that may own slots or be listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its address, the only identity that counts. Unique among the candidates of a table.
    pub identity: IpAddr,
    /// Share relative to the others: 1 to 65535.
    pub weight: u32,
    /// Only active ones own slots.
    pub state: BackendState,
}

/// A pool's table. Backends are named by their index in the slice that [`build`] was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    owners: Vec<u32>,
    lists: Lists,
}

impl Table {
    /// The owner of each slot, [`NONE`] where no backend is active.
    pub fn owners(&self) -> &[u32] {
        &self.owners
    }

    /// The list of a slot: the owner, then the others in ranking order up to and including the
    /// (1 + `hops`)th active one. Starts with an inactive backend where there is no owner;
    /// is empty where the table was built with no hops. With inactive backends it may be longer than
    /// a packet has room for: which ones to leave out is for whoever knows the history.
    pub fn hops(&self, slot: u32) -> impl Iterator<Item = u32> + Clone + '_ {
        self.lists.of(slot).iter().copied()
    }
}

/// Computes the table of `candidates`.
///
/// # Panics
///
/// If `spec.slots` is not a power of two from 2 to [`MAX_SLOTS`], or a weight is not from 1 to 65535;
/// a validated configuration has neither.
pub fn build(spec: &TableSpec, candidates: &[Candidate]) -> Table {
    let slots = spec.slots;
    assert!(slots.is_power_of_two() && (2..=MAX_SLOTS).contains(&slots), "a table cannot have {slots} slots");
    assert!(
        candidates.iter().all(|c| (1..=u32::from(u16::MAX)).contains(&c.weight)),
        "a weight is not between 1 and 65535"
    );

    // From here on backends have numbers in one canonical order, that of their addresses.
    let ranked = canonical(candidates, |_| true);
    let active = canonical(candidates, |c| c.state == BackendState::Active);
    let of = |indices: &[u32]| -> Vec<(IpAddr, u32)> {
        indices.iter().map(|i| &candidates[*i as usize]).map(|c| (c.identity, c.weight)).collect()
    };

    let is_active: Vec<bool> =
        ranked.iter().map(|i| candidates[*i as usize].state == BackendState::Active).collect();
    let hops = u32::from(spec.hops);
    // Neither waits for the other: with a thousand backends each takes some 15 ms.
    let (mut owners, rankings) = thread::scope(|scope| {
        let rank = || {
            let race = Race::new(&spec.seed, slots, of(&ranked).into_iter());
            listing::rankings(race, slots as usize, &is_active, hops)
        };
        let aside = (hops > 0).then(|| thread::Builder::new().spawn_scoped(scope, rank));
        let owners = owners(spec, of(&active));
        let rankings = aside.map(|thread| match thread {
            Ok(thread) => thread.join().unwrap_or_else(|panic| panic::resume_unwind(panic)),
            // No thread is to be had: it takes longer.
            Err(_) => rank(),
        });
        (owners, rankings)
    });
    for owner in owners.iter_mut().filter(|owner| **owner != NONE) {
        *owner = active[*owner as usize];
    }

    let lists = rankings.map_or_else(Lists::default, |rankings| {
        let mut number = vec![NONE; candidates.len()];
        for (n, i) in (0..).zip(&ranked) {
            number[*i as usize] = n;
        }
        let renumbered: Vec<u32> =
            owners.iter().map(|o| if *o == NONE { NONE } else { number[*o as usize] }).collect();
        let mut lists = listing::lists(&rankings, &renumbered, &is_active, hops);
        lists.renumber(|n| ranked[n as usize]);
        lists
    });
    Table { owners, lists }
}

/// The owner of each slot among the active backends, given by identity and weight in canonical order.
fn owners(spec: &TableSpec, backends: Vec<(IpAddr, u32)>) -> Vec<u32> {
    let slots = spec.slots;
    match spec.kind {
        TableKind::Rendezvous => {
            let weights: Vec<u32> = backends.iter().map(|(_, weight)| *weight).collect();
            let quotas = quota::quotas(slots, spec.margin_ppm, &weights);
            rendezvous::owners(Race::new(&spec.seed, slots, backends.into_iter()), slots, &quotas)
        }
        TableKind::Maglev => {
            let ordered: Vec<(Permutation, u32)> = backends
                .into_iter()
                .map(|(identity, weight)| (Permutation::new(&spec.seed, identity, slots), weight))
                .collect();
            maglev::owners(&ordered, slots)
        }
    }
}

/// Indices of the candidates for which `keep` holds, ordered by address.
fn canonical(candidates: &[Candidate], keep: impl Fn(&Candidate) -> bool) -> Vec<u32> {
    let mut indices: Vec<u32> =
        (0..).zip(candidates).filter(|(_, candidate)| keep(candidate)).map(|(i, _)| i).collect();
    indices.sort_unstable_by_key(|i| address_number(candidates[*i as usize].identity));
    indices
}

#[cfg(test)]
mod tests;
