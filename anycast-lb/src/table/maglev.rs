//! Weighted Maglev hashing.
//!
//! Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI 2016, §3.4:
//! each backend has its own order of all slots; the backends take turns, and whose turn it is takes
//! the next slot of its order that is still free. Two things differ. The paper makes the orders from
//! an offset and a skip on a table of prime size; ours is a power of two and has the same keyed
//! permutations as rendezvous hashing. And weights set how often a backend has its turn: its `k`th
//! one (from 0) is at (2k + 1) / weight, so that after any number of turns all have had their share
//! within one turn (Sainte-Laguë apportionment).

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use super::NONE;
use super::keyed::Permutation;

/// A backend's next turn, at the time `odd / weight`.
#[derive(PartialEq, Eq)]
struct Turn {
    odd: u64,
    weight: u64,
    backend: u32,
}

impl Ord for Turn {
    fn cmp(&self, other: &Self) -> Ordering {
        // `odd` is below 2^26 and `weight` below 2^16: the products fit.
        (self.odd * other.weight).cmp(&(other.odd * self.weight)).then(self.backend.cmp(&other.backend))
    }
}

impl PartialOrd for Turn {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The owner of each slot, by number in canonical order. `backends` are in that order.
pub(super) fn owners(backends: &[(Permutation, u32)], slots: u32) -> Vec<u32> {
    let mut owners = vec![NONE; slots as usize];
    let mut turns: BinaryHeap<_> = (0..)
        .zip(backends)
        .map(|(backend, (_, weight))| Reverse(Turn { odd: 1, weight: u64::from(*weight), backend }))
        .collect();
    let mut positions = vec![0; backends.len()];
    for _ in 0..slots {
        let Some(Reverse(turn)) = turns.pop() else { break };
        let (permutation, _) = &backends[turn.backend as usize];
        let position = &mut positions[turn.backend as usize];
        let free = (*position..slots).find(|j| owners[permutation.slot(*j) as usize] == NONE);
        // There are as many turns as slots, so a free one always exists.
        let Some(j) = free else { break };
        owners[permutation.slot(j) as usize] = turn.backend;
        *position = j + 1;
        turns.push(Reverse(Turn { odd: turn.odd + 2, ..turn }));
    }
    owners
}
