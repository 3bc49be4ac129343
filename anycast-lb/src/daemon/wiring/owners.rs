//! Who owns which slots, by the configuration alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use anycast_lb_common::abi::PLACEMENT;

use crate::daemon::ports::Owners;
use crate::model::{Config, Encapsulation, Pool, Seed};
use crate::plan::{Sites, candidates};
use crate::table::{Candidate, Table, TableSpec, hops_fingerprint, owners_fingerprint};

/// Owners of all pools, and what they were worked out from.
#[derive(Default)]
pub struct Known {
    of: Option<Config>,
    owners: BTreeMap<String, Owners>,
}

impl Known {
    /// The owners of a pool.
    pub fn of(&self, pool: &str) -> Option<&Owners> {
        self.owners.get(pool)
    }

    /// Works out those of the pools that `config` changes. `table` gives the table of a pool; its lists
    /// may be deeper than asked for.
    pub fn update(&mut self, config: &Config, table: impl Fn(&str, &TableSpec, &[Candidate]) -> Arc<Table>) {
        let before = self.of.take().filter(|before| same_circumstances(before, config));
        let mut owners = std::mem::take(&mut self.owners);
        let Some(seed) = &config.seed else { return };
        for pool in &config.pools {
            let stays = before.iter().flat_map(|before| &before.pools).any(|p| p == pool);
            let known = owners.remove(&pool.name).filter(|_| stays);
            let known = known.unwrap_or_else(|| of(config, pool, seed, &table));
            self.owners.insert(pool.name.clone(), known);
        }
        self.of = Some(config.clone());
    }
}

/// Whether all that determines owners besides the pools is the same.
fn same_circumstances(a: &Config, b: &Config) -> bool {
    (&a.seed, &a.pop, &a.drained_pops) == (&b.seed, &b.pop, &b.drained_pops)
}

fn of(
    config: &Config,
    pool: &Pool,
    seed: &Seed,
    table: impl Fn(&str, &TableSpec, &[Candidate]) -> Arc<Table>,
) -> Owners {
    // Nothing else carries a list.
    let hops = if pool.encapsulation == Encapsulation::Gue { pool.hops } else { 0 };
    let spec = TableSpec::of(pool, seed, hops);
    // Whatever this node believes of health, as nodes are compared by it.
    let sites = Sites::of(pool, &config.pop, &config.drained_pops);
    let candidates = candidates(pool, &config.pop, sites.owner);
    let table = table(&pool.name, &spec, &candidates);
    let mut owned = vec![0; candidates.len()];
    for owner in table.owners() {
        // None, where nobody is active.
        if let Some(slots) = owned.get_mut(*owner as usize) {
            *slots += 1;
        }
    }
    let slots = candidates.iter().map(|c| c.identity).zip(owned).filter(|(_, slots)| *slots > 0).collect();
    let fingerprint = owners_fingerprint(&table, &candidates, &spec, PLACEMENT);
    let hops = hops_fingerprint(&table, &candidates, &spec, PLACEMENT);
    Owners { fingerprint: format!("{fingerprint:016x}"), hops: format!("{hops:016x}"), slots }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::daemon::testing::config;
    use crate::model::BackendState;
    use crate::table::build;

    /// How many tables were asked for, and what came out.
    fn update(known: &mut Known, config: &Config, deeper: u8) -> u32 {
        let asked = Cell::new(0);
        known.update(config, |_, spec, candidates| {
            asked.set(asked.get() + 1);
            let hops = spec.hops + deeper;
            Arc::new(build(&TableSpec { hops, ..spec.clone() }, candidates))
        });
        asked.get()
    }

    #[test]
    fn only_what_a_change_touches_is_worked_out_again() {
        let mut config = config();
        let mut other = config.pools[0].clone();
        other.name = "other".to_owned();
        config.pools.push(other);
        let mut known = Known::default();
        assert_eq!(update(&mut known, &config, 0), 2);
        assert_eq!(update(&mut known, &config, 0), 0);
        let before = (known.of("other").cloned(), known.of(&config.pools[0].name).cloned());
        config.pools[0].backends[0].weight += 50;
        assert_eq!(update(&mut known, &config, 0), 1);
        let after = (known.of("other").cloned(), known.of(&config.pools[0].name).cloned());
        assert_eq!(before.0, after.0);
        assert_ne!(before.1, after.1);

        config.seed = Some(Seed([9; 16]));
        assert_eq!(update(&mut known, &config, 0), 2);
        config.drained_pops.push("sin1".to_owned());
        assert_eq!(update(&mut known, &config, 0), 2);
        config.pools.truncate(1);
        assert_eq!(update(&mut known, &config, 0), 0);
        assert_eq!(known.of("other"), None);
    }

    #[test]
    fn a_table_with_deeper_lists_gives_the_same_answer() {
        let mut config = config();
        let mut backend = config.pools[0].backends[0].clone();
        for n in 1..40 {
            backend.address = [10, 8, 0, n].into();
            backend.state = if n % 4 == 0 { BackendState::Draining } else { BackendState::Active };
            config.pools[0].backends.push(backend.clone());
        }
        for (hops, active) in [(3, true), (0, true), (3, false)] {
            config.pools[0].hops = hops;
            for backend in config.pools[0].backends.iter_mut().filter(|_| !active) {
                backend.state = BackendState::Draining;
            }
            let (mut exact, mut deep) = (Known::default(), Known::default());
            update(&mut exact, &config, 0);
            update(&mut deep, &config, 8);
            let name = &config.pools[0].name;
            assert!(exact.of(name).is_some_and(|owners| owners.slots.is_empty() != active));
            assert_eq!(exact.of(name), deep.of(name), "{hops} hops");
        }
    }
}
