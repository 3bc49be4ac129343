//! What fits into the maps of the data plane.

use anycast_lb_common::abi::{ARENA_SLOTS, MAX_MEMBERS, MAX_POOLS, MAX_PREFIXES, MAX_VIPS};

use crate::config::report::{Report, Spot};
use crate::config::schema::{DEFAULT_HOPS, Draft};

pub(super) fn check(draft: &Draft, report: &Report<'_>) {
    // Number 0 of VIPs and of members means "none".
    let vips = draft.vips.iter().map(|v| v.spot);
    most("vip", "VIPs", vips, MAX_VIPS - 1, report);
    most("pool", "pools", draft.pools.iter().map(|p| p.spot), MAX_POOLS, report);
    let members = draft.pools.iter().flat_map(|p| p.backends.iter().map(|b| b.spot));
    most("pool", "backends in all pools together", members, MAX_MEMBERS - 1, report);
    most("prefix", "prefixes", draft.prefixes.iter().map(|p| p.prefix.spot), MAX_PREFIXES, report);
    let senders = draft.global.allowed_senders.iter().map(|n| n.spot);
    most("allowed_senders", "allowed senders", senders, MAX_PREFIXES, report);
    tables(draft, report);
}

/// Reports the first one too many.
fn most(key: &str, what: &str, spots: impl Iterator<Item = Spot>, limit: u32, report: &Report<'_>) {
    let spots: Vec<Spot> = spots.collect();
    if let Some(spot) = spots.get(limit as usize) {
        report.problem(
            *spot,
            key,
            format!("{} {what}, a node has room for {limit}", spots.len()),
            "take some out, or share them between instances",
        );
    }
}

/// All tables lie in one arena, and the largest is there twice while it is replaced.
fn tables(draft: &Draft, report: &Report<'_>) {
    let mut sum = 0u64;
    let mut largest = 0u64;
    for pool in &draft.pools {
        // Twice as wide where flows are rescued or lists are long, and once more while the seed is being
        // changed. What widens by itself does without where there is no room.
        let is_wide = !pool.rescue.is_empty() || pool.hops > DEFAULT_HOPS;
        let width = if is_wide { 2 } else { 1 } + u64::from(draft.global.previous_seed.is_some());
        let slots = width * u64::from(pool.slots.value);
        sum += slots;
        largest = largest.max(slots);
        if sum + largest > u64::from(ARENA_SLOTS) {
            report.problem(
                pool.slots.spot,
                &format!("{} slots", pool.path),
                format!("the tables of all pools up to here take {sum} slots; with room to replace the largest there are {ARENA_SLOTS}"),
                "write smaller `slots` in pools with few backends",
            );
            return;
        }
    }
}
