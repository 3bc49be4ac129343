//! What health and joins under way make of the slots.

use super::*;
use crate::membership::{Fitness, Standing, Standings};

fn in_force(backends: u8, unfit: &[(u8, Standing)]) -> InForce {
    let web = Pool { slots: 1024, ..pool("web", 1..=backends) };
    let mut standings = Standings::default();
    for (n, standing) in unfit {
        standings.set(("web".to_owned(), backend(*n).address), *standing);
    }
    InForce { config: config(vec![web], vec![]), standings }
}

/// The slots of the only pool, as last bytes of addresses; 0 = nobody.
fn slots(maps: &mut Maps, in_force: &InForce) -> Vec<[u8; 4]> {
    let plan = maps.apply_in_force(in_force).expect("plan");
    let last = |number: MemberNumber| {
        plan.members.iter().find(|m| m.number == number).map_or(0, |m| mapped(m.address)[15])
    };
    let table = &maps.tables[&plan.pools[0].table.location().base];
    table.iter().map(|slot| [0, 1, 2, 3].map(|i| last(slot.member(i)))).collect()
}

fn down(held: bool) -> Standing {
    Standing { fitness: Fitness::Failed { held }, ..Standing::default() }
}

#[test]
fn a_failure_moves_no_other_slot() {
    let mut maps = Maps::default();
    let before = slots(&mut maps, &in_force(8, &[]));
    let held = slots(&mut maps, &in_force(8, &[(3, down(true))]));
    let dead = slots(&mut maps, &in_force(8, &[(3, down(false))]));
    let mut stand_ins = BTreeSet::new();
    for ((before, held), dead) in before.iter().zip(&held).zip(&dead) {
        assert!(!dead.contains(&3), "{dead:?}");
        if before[0] != 3 {
            assert_eq!((held[0], dead[0]), (before[0], before[0]), "another slot has moved");
            assert!(!held.contains(&3), "{held:?}");
        } else {
            // The next in the slot's own ranking, and the failed one behind the last.
            assert_eq!((held[0], dead[0]), (before[1], before[1]));
            assert_eq!(held[3], 3, "{held:?}");
            stand_ins.insert(held[0]);
        }
        assert!(!held.contains(&0) && !dead.contains(&0), "there are enough others: {held:?} {dead:?}");
    }
    assert_eq!(stand_ins.len(), 7, "its slots are shared out");
    assert_eq!(slots(&mut maps, &in_force(8, &[])), before, "health regained: as it was");
}

#[test]
fn many_failures_leave_full_lists() {
    let mut maps = Maps::default();
    let before = slots(&mut maps, &in_force(40, &[]));
    let unfit: Vec<_> = (1..=20).map(|n| (n, down(false))).collect();
    let after = slots(&mut maps, &in_force(40, &unfit));
    for (before, after) in before.iter().zip(&after) {
        assert!(after.iter().all(|n| *n > 20), "{after:?}");
        assert!(before[0] <= 20 || before[0] == after[0]);
    }
}

#[test]
fn who_is_about_to_own_a_slot_is_listed_there() {
    // A backend that fills, and one whose weight is about to be four times as large.
    let mut first = in_force(8, &[]);
    first.config.pools[0].backends[0].state = BackendState::Filling;
    let raised = Standing { coming_weight: Some(400), ..Standing::default() };
    first.standings.set(("web".to_owned(), backend(2).address), raised);
    let mut second = in_force(8, &[]);
    second.config.pools[0].backends[1].weight = 400;

    let mut maps = Maps::default();
    let before = slots(&mut maps, &first);
    let computed = maps.memo.tables();
    let after = slots(&mut maps, &second);
    assert_eq!(maps.memo.tables(), computed, "the second phase computes nothing anew");
    let mut gained = BTreeSet::new();
    for (before, after) in before.iter().zip(&after) {
        assert_ne!(before[0], 1, "it owns nothing yet");
        if before[0] != after[0] {
            assert_eq!(before[1], after[0], "{before:?} {after:?}");
            gained.insert(after[0]);
        }
    }
    assert!(gained.contains(&1) && gained.contains(&2), "{gained:?}");
}

#[test]
fn a_failed_owner_keeps_its_place_before_other_sites() {
    let mut news = in_force(8, &[(3, down(true))]);
    let web = &mut news.config.pools[0];
    web.rescue = vec!["sin1".to_owned()];
    web.backends.extend((21..25).map(|n| Backend { pop: Some("sin1".to_owned()), ..backend(n) }));
    let plan = Maps::default().apply_in_force(&news).expect("plan");
    let failed = plan.members.iter().find(|m| m.address == backend(3).address).expect("it is there");
    let PlannedTable::Write { slots, .. } = &plan.pools[0].table else { panic!("a table") };
    let elsewhere = |number: MemberNumber| {
        let member = plan.members.iter().find(|m| m.number == number).expect("it is there");
        (21..25).any(|n| member.address == backend(n).address)
    };
    let mut held = 0;
    for words in slots.chunks(2) {
        let list: Vec<MemberNumber> =
            words.iter().flat_map(|w| (0..4).map(|i| w.member(i))).filter(|m| *m != 0).collect();
        let Some(place) = list.iter().position(|m| *m == failed.number) else { continue };
        held += 1;
        assert!(place > 0 && list[..place].iter().all(|m| !elsewhere(*m)), "last of its site: {list:?}");
        let others = &list[place + 1..];
        assert!(!others.is_empty() && others.iter().all(|m| elsewhere(*m)), "before the others: {list:?}");
    }
    assert!(held > 1024 / 16, "the slots that it owns: {held}");
}
