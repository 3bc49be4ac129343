//! How many slots a backend may own.

/// Parts per million in one.
const MILLION: u128 = 1_000_000;

/// Bounds on what a backend owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Quota {
    /// It can claim so many in any case.
    pub(super) reserve: u32,
    /// It never gets more.
    pub(super) cap: u32,
}

/// From so many slots on a backend's share counts as finely divided. With fewer, chance scatters
/// what it gets by more than the margin (by about the root of half the share), and holding it to a
/// lower bound would cost more moved flows at every change than the balance is worth.
const FINE_SHARE: u128 = 100;

/// How far a backend may stay behind its share, in parts per million, unless the margin is larger
/// still. Tighter bounds move more flows at every change.
const SHORTFALL: u128 = 50_000;

/// The quotas of backends with these weights, in canonical order.
///
/// A margin of 0 fixes every number: the shares, rounded so that they add up. Otherwise nobody gets
/// more than its share × (1 + margin), rounded up, and nobody whose share is [`FINE_SHARE`] slots or
/// more gets less than its share × (1 − [`SHORTFALL`]), rounded up. Below that the lower bound falls
/// off smoothly, so that a pool which grows past that size does not jump.
pub(super) fn quotas(slots: u32, margin_ppm: u32, weights: &[u32]) -> Vec<Quota> {
    if margin_ppm == 0 {
        return apportion(slots, weights).into_iter().map(|n| Quota { reserve: n, cap: n }).collect();
    }
    let total: u128 = weights.iter().copied().map(u128::from).sum();
    let (slots, margin) = (u128::from(slots), u128::from(margin_ppm));
    let quota = |weight: u32| {
        let due = slots * u128::from(weight);
        let cap = (due * (MILLION + margin)).div_ceil(total * MILLION).min(slots);
        let fineness = (due * MILLION / (total * FINE_SHARE)).min(MILLION);
        let floor = (due * fineness.saturating_sub(margin.max(SHORTFALL))).div_ceil(total * MILLION);
        // Never above the share: the reserves of all must not exceed the table.
        let reserve = floor.min(due / total);
        // Both are at most `slots`.
        Quota { reserve: reserve as u32, cap: cap as u32 }
    };
    weights.iter().copied().map(quota).collect()
}

/// Largest-remainder apportionment: every backend gets its share rounded down, and what is left
/// goes to the largest remainders, among equals to the first in canonical order.
fn apportion(slots: u32, weights: &[u32]) -> Vec<u32> {
    let total: u64 = weights.iter().copied().map(u64::from).sum();
    if total == 0 {
        return Vec::new();
    }
    let exact = |weight: u32| u64::from(slots) * u64::from(weight);
    let mut seats: Vec<u32> = weights.iter().map(|w| (exact(*w) / total) as u32).collect();
    let left = slots - seats.iter().sum::<u32>();
    let mut order: Vec<usize> = (0..weights.len()).collect();
    // A stable sort: equal remainders stay in canonical order.
    order.sort_by_key(|i| std::cmp::Reverse(exact(weights[*i]) % total));
    for i in order.into_iter().take(left as usize) {
        seats[i] += 1;
    }
    seats
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_left_goes_to_the_largest_remainders_then_to_the_first() {
        // Shares 5.33, 5.33, 5.33 and 6.4, 3.2, 6.4.
        assert_eq!(apportion(16, &[1, 1, 1]), [6, 5, 5]);
        assert_eq!(apportion(16, &[2, 1, 2]), [7, 3, 6]);
        // More backends than slots: somebody has to go without.
        assert_eq!(apportion(2, &[1, 1, 1]), [1, 1, 0]);
        assert_eq!(apportion(2, &[1, 1, 65535]), [0, 0, 2]);
        assert!(apportion(16, &[]).is_empty());
    }

    #[test]
    fn the_margin_opens_a_corridor_around_the_share() {
        // 16384 / 3 = 5461.3; 3 % more is 5625.2, 5 % less is 5188.3.
        assert_eq!(quotas(16384, 30_000, &[7; 3]), [Quota { reserve: 5189, cap: 5626 }; 3]);
        // A share of 4 slots is coarse: no lower bound.
        assert_eq!(quotas(16, 30_000, &[1; 4]), [Quota { reserve: 0, cap: 5 }; 4]);
        // No margin is so large that a cap exceeds the table.
        assert_eq!(quotas(16, u32::MAX, &[1; 2]), [Quota { reserve: 0, cap: 16 }; 2]);
    }

    proptest! {
        /// What the matching needs to give every slot an owner.
        #[test]
        fn reserves_fit_into_the_table_and_caps_cover_it(
            weights in prop::collection::vec(prop_oneof![1u32..=65535, 1u32..=3], 1..300),
            bits in 1u32..=20,
            margin in prop_oneof![Just(0u32), 1u32..100, 0u32..200_000, any::<u32>()],
        ) {
            let slots = 1u32 << bits;
            let quotas = quotas(slots, margin, &weights);
            let sum = |f: fn(&Quota) -> u32| quotas.iter().map(|q| u64::from(f(q))).sum::<u64>();
            prop_assert!(sum(|q| q.reserve) <= u64::from(slots));
            prop_assert!(sum(|q| q.cap) >= u64::from(slots));
            prop_assert!(quotas.iter().all(|q| q.reserve <= q.cap && q.cap <= slots));
        }
    }
}
