//! Stand-in for the table algorithms.

use std::net::IpAddr;

pub use crate::model::{BackendState, TableKind};

/// The owner of a slot that has none.
pub const NONE: u32 = u32::MAX;

/// What a table is like, whoever its backends are.
#[derive(Clone, PartialEq, Eq)]
pub struct TableSpec {
    /// Algorithm.
    pub kind: TableKind,
    /// Number of slots.
    pub slots: u32,
    /// Margin in parts per million.
    pub margin_ppm: u32,
    /// The secret that all nodes share.
    pub seed: [u8; 16],
    /// Most backends a packet lists after the owner. 0: no lists are made.
    pub hops: u8,
}

/// A backend that may own slots or be listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its address.
    pub identity: IpAddr,
    /// Share relative to the others.
    pub weight: u32,
    /// Only active ones own slots.
    pub state: BackendState,
}

/// A pool's table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    owners: Vec<u32>,
}

impl Table {
    /// The owner of each slot.
    pub fn owners(&self) -> &[u32] {
        &self.owners
    }

    /// The list of a slot.
    pub fn hops(&self, _slot: u32) -> impl Iterator<Item = u32> + '_ {
        [].into_iter()
    }
}

/// Computes the table of `candidates`.
pub fn build(spec: &TableSpec, candidates: &[Candidate]) -> Table {
    let mut active: Vec<u32> =
        (0..).zip(candidates).filter(|(_, c)| c.state == BackendState::Active).map(|(i, _)| i).collect();
    active.sort_by_key(|i| candidates[*i as usize].identity);
    let owner = |slot: u32| {
        if active.is_empty() { NONE } else { active[slot as usize % active.len()] }
    };
    Table { owners: (0..spec.slots).map(owner).collect() }
}
