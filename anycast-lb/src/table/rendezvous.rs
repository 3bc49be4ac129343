//! Bounded-load rendezvous hashing: owners as a stable matching.
//!
//! Slots prefer the backend that reaches them first, a backend prefers the slots that it reaches
//! first, and takes no more than its quota. Because both sides judge a pair by the same time, the
//! stable matching is unique and deferred acceptance comes down to going through all arrivals in
//! order: who arrives at a free slot and has room takes it. Nothing could undo that pair: both
//! sides have it as the best of what they can still get.

use super::NONE;
use super::quota::Quota;
use super::race::Race;

/// The owner of each slot, by number in canonical order.
pub(super) fn owners(mut race: Race, slots: u32, quotas: &[Quota]) -> Vec<u32> {
    let mut owners = vec![NONE; slots as usize];
    let mut loads = vec![0; quotas.len()];
    let mut free = slots;
    // What may be owned beyond the reserves, so that reserves can always be filled.
    let mut spare = slots - quotas.iter().map(|q| q.reserve).sum::<u32>();
    let mut arrivals = Vec::new();
    let has_room =
        |quota: &Quota, load: u32, spare: u32| load < quota.reserve || (load < quota.cap && spare > 0);
    while free > 0
        && race.advance(
            |i| has_room(&quotas[i as usize], loads[i as usize], spare),
            |slot| owners[slot as usize] == NONE,
            &mut arrivals,
        )
    {
        for arrival in &arrivals {
            let (quota, load) = (&quotas[arrival.runner as usize], &mut loads[arrival.runner as usize]);
            let owner = &mut owners[arrival.slot as usize];
            if *owner != NONE || !has_room(quota, *load, spare) {
                continue;
            }
            if *load >= quota.reserve {
                spare -= 1;
            }
            *owner = arrival.runner;
            *load += 1;
            free -= 1;
        }
    }
    owners
}
