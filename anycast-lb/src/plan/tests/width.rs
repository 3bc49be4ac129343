//! When a table's slots take two words instead of one.

use anycast_lb_common::abi::ARENA_SLOTS;

use super::history::{failed, lists, lost, set, with_state};
use super::*;
use crate::model::BackendState::{Active, Draining, Filling};

/// Words of a slot of the only pool.
fn words(maps: &mut Maps, in_force: &InForce) -> u8 {
    maps.apply_in_force(in_force).expect("plan").pools[0].table.location().words
}

fn with_hops(mut set: InForce, hops: u8) -> InForce {
    set.config.pools[0].hops = hops;
    set
}

/// Three backends that drain one after the other as three others join, which are announced at once.
fn burst() -> Vec<InForce> {
    let mut now = set(1..=6);
    for n in 4..=6 {
        now = with_state(now, n, Filling);
    }
    let mut sets = vec![set(1..=3), now.clone()];
    for (leaving, joining) in (1..=3).zip(4..=6) {
        now = with_state(now, joining, Active);
        sets.push(now.clone());
        now = with_state(now, leaving, Draining);
        sets.push(now.clone());
    }
    sets
}

#[test]
fn a_single_change_leaves_the_table_narrow() {
    for next in [set(1..=9), set(2..=8), with_state(set(1..=8), 3, Draining), failed(set(1..=8), 3)] {
        let mut maps = Maps::default();
        assert_eq!((words(&mut maps, &set(1..=8)), words(&mut maps, &next)), (1, 1));
    }
}

#[test]
fn a_burst_of_changes_widens_it_and_its_end_narrows_it() {
    let mut maps = Maps::default();
    let sets = burst();
    let widths: Vec<u8> = sets.iter().map(|set| words(&mut maps, set)).collect();
    assert_eq!((widths.first(), widths.last()), (Some(&1), Some(&2)), "{widths:?}");
    let last = &sets[sets.len() - 1];
    let before = lists(&mut Maps::default(), last);
    for (list, fresh) in lists(&mut maps, last).iter().zip(&before) {
        assert_eq!(list[0], fresh[0], "owners do not depend on it");
        assert!(list.len() > 4, "{list:?}");
    }
    // Who drained is gone.
    assert_eq!(words(&mut maps, &set(4..=6)), 1);
    assert_eq!(lost(&sets, false), 0);
}

#[test]
fn more_hops_than_three_have_a_wide_table_where_there_are_enough_backends() {
    let mut maps = Maps::default();
    for (backends, hops, expected, length) in
        [(9, 3, 1, 4), (9, 4, 2, 5), (9, 7, 2, 8), (5, 7, 2, 5), (4, 7, 1, 4), (9, 1, 1, 2), (9, 0, 1, 1)]
    {
        let set = with_hops(set(1..=backends), hops);
        maps = Maps { previous: maps.previous, tables: maps.tables, ..Maps::default() };
        assert_eq!(words(&mut maps, &set), expected, "{backends} backends, {hops} hops");
        assert!(lists(&mut maps, &set).iter().all(|list| list.len() == length), "{hops} hops");
    }
}

#[test]
fn without_hops_nothing_is_widened() {
    let mut maps = Maps::default();
    assert!(burst().into_iter().all(|set| words(&mut maps, &with_hops(set, 0)) == 1));
}

/// Where the arena has no room for wide slots, the change is made all the same.
#[test]
fn a_full_arena_refuses_no_change_for_the_sake_of_lists() {
    // Two holes of one narrow table each: that in force, and the next.
    let block = |base, bits| TableRef { base, bits, words: 1, reserved: [0; 2] };
    let mut blocks = vec![block(4096, 12), block(3 * 4096, 12)];
    blocks.extend((14..ARENA_SLOTS.trailing_zeros() as u8).map(|bits| block(1 << bits, bits)));
    let mut maps = Maps::default();
    let mut refused = 0;
    for set in burst() {
        maps.previous.previous_tables.extend((100..).zip(blocks.iter().copied()));
        assert_eq!(words(&mut maps, &set), 1);
        maps.previous.previous_tables.extend((100..).zip(blocks.iter().copied()));
        let wanted = with_hops(set, 7);
        let plan = plan(
            &wanted,
            (&maps.history, maps.now),
            &[],
            &maps.previous,
            &|at| maps.tables[&at.base].clone(),
            &mut Memo::default(),
        );
        refused += usize::from(matches!(plan, Err(PlanError::ArenaFull { .. })));
    }
    assert_eq!(refused, 7, "what is configured is not left out silently");
}
