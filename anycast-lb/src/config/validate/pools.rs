//! Pools and their backends.

use std::collections::HashMap;

use crate::config::report::Report;
use crate::config::scalar::family;
use crate::config::schema::{MOST_SLOTS, PoolDraft};
use crate::model::BackendState;

/// Slots that the lightest backend should have: one more or less is then under 2 % of its share.
const ENOUGH_SLOTS: u64 = 64;

pub(super) fn check(pools: &[PoolDraft], report: &Report<'_>) {
    let mut seen = HashMap::new();
    for pool in pools {
        if let Some(first) = seen.insert(&pool.name, pool.spot) {
            report.problem(
                pool.spot,
                &pool.path,
                format!("stands already at {}", report.place(first)),
                "give one of them another name, or put the backends together",
            );
        }
        backends(pool, report);
        slots(pool, report);
    }
}

fn backends(pool: &PoolDraft, report: &Report<'_>) {
    let mut seen = HashMap::new();
    for draft in &pool.backends {
        if let Some(first) = seen.insert(draft.backend.address, draft.spot) {
            report.problem(
                draft.spot,
                &draft.path,
                format!("stands already at {}", report.place(first)),
                "take one of the two out; a larger share is a larger `weight`",
            );
        }
        let first = pool.backends[0].backend.address;
        if first.is_ipv4() != draft.backend.address.is_ipv4() {
            report.problem(
                draft.spot,
                &draft.path,
                format!(
                    "is {}, the pool's first backend {first} is {}",
                    family(draft.backend.address),
                    family(first)
                ),
                "make a pool for each family: a pool does not mix them",
            );
        }
    }
    if pool.backends.is_empty() && !report.is_incomplete() {
        report.notice(pool.spot, &pool.path, "has no backends: packets to it are dropped and counted");
    }
}

/// A table that is too small for its pool is no mistake, but shares get coarse.
fn slots(pool: &PoolDraft, report: &Report<'_>) {
    let active = || pool.backends.iter().map(|b| &b.backend).filter(|b| b.state == BackendState::Active);
    let total: u64 = active().map(|b| u64::from(b.weight)).sum();
    let Some(lightest) = active().map(|b| u64::from(b.weight)).min() else { return };
    let share = u64::from(pool.slots.value) * lightest / total;
    if share >= ENOUGH_SLOTS {
        return;
    }
    let wanted = (ENOUGH_SLOTS * total).div_ceil(lightest).next_power_of_two().min(u64::from(MOST_SLOTS));
    if wanted > u64::from(pool.slots.value) {
        report.notice(
            pool.slots.spot,
            &format!("{} slots", pool.path),
            format!(
                "{} slots are few for {} active backends: the lightest gets {share}; slots = {wanted} gives finer \
                 shares (changing it moves flows, and it must be the same on every node)",
                pool.slots.value,
                active().count(),
            ),
        );
    }
}
