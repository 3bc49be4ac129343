//! Pools and their backends.

use std::collections::{BTreeMap, HashMap};

use crate::config::report::Report;
use crate::config::scalar::family;
use crate::config::schema::{MOST_SLOTS, PoolDraft};
use crate::model::BackendState;

/// Slots that the lightest backend should have: one more or less is then under 2 % of its share.
const ENOUGH_SLOTS: u64 = 64;

/// `home` is the node's own PoP.
pub(super) fn check(pools: &[PoolDraft], home: &str, report: &Report<'_>) {
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
        slots(pool, home, report);
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

/// A table that is too small for its pool is no mistake, but shares get coarse. Each PoP has one of its own.
fn slots(pool: &PoolDraft, home: &str, report: &Report<'_>) {
    let mut sites: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for backend in pool.backends.iter().map(|b| &b.backend).filter(|b| b.state == BackendState::Active) {
        sites.entry(backend.site(home)).or_default().push(backend.weight.into());
    }
    let needs = sites.iter().filter_map(|(site, weights)| {
        let (lightest, total) = (*weights.iter().min()?, weights.iter().sum::<u64>());
        let share = u64::from(pool.slots.value) * lightest / total;
        let wanted = (ENOUGH_SLOTS * total).div_ceil(lightest).next_power_of_two();
        (share < ENOUGH_SLOTS).then_some((wanted.min(MOST_SLOTS.into()), site, weights.len(), share))
    });
    // One number of slots is for all: the PoP that needs most is named.
    let Some((wanted, site, backends, share)) = needs.max_by_key(|(wanted, ..)| *wanted) else { return };
    if wanted > u64::from(pool.slots.value) {
        let place = if sites.len() > 1 { format!(" of PoP {site:?}") } else { String::new() };
        report.notice(
            pool.slots.spot,
            &format!("{} slots", pool.path),
            format!(
                "{} slots are few for {backends} active backends{place}: the lightest gets {share}; slots = {wanted} \
                 gives finer shares (changing it moves flows, and it must be the same on every node)",
                pool.slots.value,
            ),
        );
    }
}
