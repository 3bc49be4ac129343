//! How full the maps are.

use anycast_lb_common::abi::{
    ADDRESS_SLOTS, ARENA_SLOTS, MAX_MEMBERS, MAX_POOLS, MAX_PREFIXES, MAX_VIPS, SERVICE_SLOTS,
};

use crate::plan::{self, Plan};

/// How full a table of the maps is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Occupancy {
    /// What it holds: `vips`, `pools`, `members`, `addresses`, `services`, `prefixes` or `slots`.
    pub table: &'static str,
    /// Places taken.
    pub used: u64,
    /// Places there are.
    pub capacity: u64,
}

/// How full the maps are with a plan in force.
pub(super) fn of(plan: &Plan) -> Vec<Occupancy> {
    let some =
        |table, used: usize, capacity: u32| Occupancy { table, used: used as u64, capacity: capacity.into() };
    let services = &plan.services;
    let tables = plan.pools.iter().flat_map(|p| [&p.table, &p.previous]);
    vec![
        // Number 0 of VIPs and of members means none.
        some("vips", plan.vips.len(), MAX_VIPS - 1),
        some("pools", plan.pools.len(), MAX_POOLS),
        some("members", plan.members.len(), MAX_MEMBERS - 1),
        some("addresses", services.addresses.iter().filter(|a| a.flags != 0).count(), ADDRESS_SLOTS),
        some("services", services.services.iter().filter(|s| s.key != 0).count(), SERVICE_SLOTS),
        some("prefixes", plan.prefixes.len(), MAX_PREFIXES),
        Occupancy {
            table: "slots",
            used: tables.map(|t| plan::words(t.location())).sum(),
            capacity: ARENA_SLOTS.into(),
        },
    ]
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::daemon::testing::config;
    use crate::membership::InForce;
    use crate::membership::history::History;
    use crate::plan::{Memo, Previous};

    #[test]
    fn a_plan_says_what_it_takes() {
        let plan = plan::plan(
            &InForce::from(config()),
            (&History::default(), SystemTime::now()),
            &[],
            &Previous::default(),
            &|_| Vec::new(),
            &mut Memo::default(),
        )
        .expect("it fits");
        let used = |table| of(&plan).into_iter().find(|o| o.table == table).map(|o| o.used);
        for (table, expected) in [
            ("vips", 1),
            ("pools", 1),
            ("members", 2),
            ("addresses", 1),
            ("services", 1),
            ("prefixes", 0),
            ("slots", 1024),
        ] {
            assert_eq!(used(table), Some(expected), "{table}");
        }
        assert!(of(&plan).iter().all(|o| o.capacity >= 64 && o.used < o.capacity));
    }
}
