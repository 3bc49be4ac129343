//! Who owns which slots, worked out anew from the configuration.

use std::collections::BTreeMap;

use anycast_lb_common::abi::PLACEMENT;

use crate::daemon::ports::Owners;
use crate::model::{Config, Encapsulation, Pool, Seed};
use crate::plan::{Sites, candidates};
use crate::table::{NONE, TableSpec, build, hops_fingerprint, owners_fingerprint};

/// Owners of all pools, by name.
pub fn of_all(config: &Config) -> BTreeMap<String, Owners> {
    let Some(seed) = &config.seed else { return BTreeMap::new() };
    config.pools.iter().map(|pool| (pool.name.clone(), of(config, pool, seed))).collect()
}

fn of(config: &Config, pool: &Pool, seed: &Seed) -> Owners {
    // Nothing else carries a list.
    let hops = if pool.encapsulation == Encapsulation::Gue { pool.hops } else { 0 };
    let spec = TableSpec::of(pool, seed, hops);
    // Whatever this node believes of health, as nodes are compared by it.
    let sites = Sites::of(pool, &config.pop, &config.drained_pops);
    let candidates = candidates(pool, &config.pop, sites.owner);
    let table = build(&spec, &candidates);
    let mut slots = BTreeMap::new();
    for owner in table.owners().iter().filter(|owner| **owner != NONE) {
        *slots.entry(candidates[*owner as usize].identity).or_insert(0) += 1;
    }
    let fingerprint = owners_fingerprint(&table, &candidates, &spec, PLACEMENT);
    let hops = hops_fingerprint(&table, &candidates, &spec, PLACEMENT);
    Owners { fingerprint: format!("{fingerprint:016x}"), hops: format!("{hops:016x}"), slots }
}
