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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::{IpAddr, Ipv4Addr};

    use proptest::prelude::*;

    use super::super::quota::quotas;
    use super::*;

    fn race(slots: u32, weights: &[u32]) -> Race {
        let address = |n: u32| IpAddr::from(Ipv4Addr::from_bits(0x0a00_0001 + n));
        Race::new(&[5; 16], slots, (0..).map(address).zip(weights.iter().copied()))
    }

    proptest! {
        /// The definition of stability, checked pair by pair: where a slot would rather have another
        /// backend, that one prefers every slot that it has, and has as many as it may.
        #[test]
        fn no_slot_and_backend_would_rather_have_each_other(
            weights in prop::collection::vec(prop_oneof![1u32..=65535, 1u32..=10, Just(100)], 1..12),
            bits in 1u32..=9,
            margin in prop_oneof![Just(0u32), Just(30_000), 0u32..500_000],
        ) {
            let slots = 1u32 << bits;
            let quotas = quotas(slots, margin, &weights);
            let owners = owners(race(slots, &weights), slots, &quotas);

            let mut when = BTreeMap::new();
            let (mut everyone, mut arrivals) = (race(slots, &weights), Vec::new());
            while everyone.advance(|_| true, |_| true, &mut arrivals) {
                for arrival in &arrivals {
                    let next = when.len();
                    prop_assert!(when.insert((arrival.runner, arrival.slot), next).is_none());
                }
            }
            prop_assert_eq!(when.len(), slots as usize * weights.len());

            let mut loads = vec![0; weights.len()];
            let mut last = vec![None; weights.len()];
            for (slot, owner) in (0..).zip(&owners) {
                loads[*owner as usize] += 1;
                let time = when.get(&(*owner, slot)).copied();
                last[*owner as usize] = last[*owner as usize].max(time);
            }
            // Nothing is left beyond the reserves, and so all of these are filled.
            let spent = loads.iter().zip(&quotas).all(|(load, quota)| *load >= quota.reserve);
            for (slot, owner) in (0..).zip(&owners) {
                for rival in 0..weights.len() as u32 {
                    let time = when[&(rival, slot)];
                    if time < when[&(*owner, slot)] {
                        prop_assert!(last[rival as usize] < Some(time));
                        prop_assert!(loads[rival as usize] == quotas[rival as usize].cap || spent);
                    }
                }
            }
            for (load, quota) in loads.iter().zip(&quotas) {
                prop_assert!((quota.reserve..=quota.cap).contains(load));
            }
        }
    }
}
