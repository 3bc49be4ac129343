//! How good a table is: balance, and what a change moves.
//!
//! Counts are integers; ratios are made of them at the very end, for people.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::{BackendState, Candidate, NONE, Table};

/// How the slots are spread over the active backends, relative to what their weights ask for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Balance {
    /// Most loaded backend: slots owned / slots due. 1 is perfect.
    pub peak: f64,
    /// Least loaded one, in the same terms.
    pub trough: f64,
}

/// The balance of a table over the candidates it was built from; none if nobody is active.
pub fn balance(table: &Table, candidates: &[Candidate]) -> Option<Balance> {
    let mut owned = vec![0u64; candidates.len()];
    for owner in table.owners().iter().filter(|owner| **owner != NONE) {
        owned[*owner as usize] += 1;
    }
    let active = || candidates.iter().zip(&owned).filter(|(c, _)| c.state == BackendState::Active);
    let total: u64 = active().map(|(c, _)| u64::from(c.weight)).sum();
    let slots = table.owners().len() as f64;
    let ratio = |(c, n): (&Candidate, &u64)| *n as f64 * total as f64 / (slots * f64::from(c.weight));
    active().map(ratio).fold(None, |found, r| {
        let Balance { peak, trough } = found.unwrap_or(Balance { peak: r, trough: r });
        Some(Balance { peak: peak.max(r), trough: trough.min(r) })
    })
}

/// Slots whose owner a change replaced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// Those that had to: the old owner lost weight or left, or the new one came or gained weight.
    pub called_for: u32,
    /// All others: they went from one backend that the change does not concern to another.
    pub extra: u32,
    /// Slots of the table.
    pub slots: u32,
}

/// Compares two tables of one size, backends being the same if their addresses are.
pub fn moved(before: (&Table, &[Candidate]), after: (&Table, &[Candidate])) -> Moved {
    let weights = |candidates: &[Candidate]| -> BTreeMap<IpAddr, u32> {
        candidates
            .iter()
            .filter(|c| c.state == BackendState::Active)
            .map(|c| (c.identity, c.weight))
            .collect()
    };
    let (old_weights, new_weights) = (weights(before.1), weights(after.1));
    let identity = |candidates: &[Candidate], i: u32| candidates.get(i as usize).map(|c| c.identity);
    let mut moved = Moved { slots: before.0.owners().len() as u32, ..Moved::default() };
    for (old, new) in before.0.owners().iter().zip(after.0.owners()) {
        let (old, new) = (identity(before.1, *old), identity(after.1, *new));
        if old == new {
            continue;
        }
        let weight = |weights: &BTreeMap<IpAddr, u32>, who: Option<IpAddr>| {
            who.and_then(|identity| weights.get(&identity).copied()).unwrap_or(0)
        };
        let lost = weight(&new_weights, old) < weight(&old_weights, old);
        let gained = weight(&new_weights, new) > weight(&old_weights, new);
        if lost || gained {
            moved.called_for += 1;
        } else {
            moved.extra += 1;
        }
    }
    moved
}
