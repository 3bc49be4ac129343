//! What membership history makes of the slots.

use super::*;
use crate::membership::history;
use crate::membership::{Fitness, Standing};
use crate::model::BackendState::Draining;

const SLOTS: u32 = 4096;

/// A pool of these backends with three hops.
pub(super) fn set(backends: impl IntoIterator<Item = u8>) -> InForce {
    let web = Pool { slots: SLOTS, margin_ppm: 35_000, ..pool("web", backends) };
    InForce::from(config(vec![web], vec![]))
}

pub(super) fn failed(mut set: InForce, n: u8) -> InForce {
    let standing = Standing { fitness: Fitness::Failed { held: false }, ..Standing::default() };
    set.standings.set(("web".to_owned(), backend(n).address), standing);
    set
}

pub(super) fn with_state(mut set: InForce, n: u8, state: BackendState) -> InForce {
    for b in set.config.pools[0].backends.iter_mut().filter(|b| b.address == backend(n).address) {
        b.state = state;
    }
    set
}

/// The lists of the only pool, as last bytes of addresses without those of nobody.
pub(super) fn lists(maps: &mut Maps, in_force: &InForce) -> Vec<Vec<u8>> {
    let plan = maps.apply_in_force(in_force).expect("plan");
    let last: HashMap<MemberNumber, u8> =
        plan.members.iter().map(|m| (m.number, mapped(m.address)[15])).collect();
    let at = plan.pools[0].table.location();
    let table = &maps.tables[&at.base];
    let words = table.chunks(usize::from(at.words));
    let named = |word: &Slot| (0..4).filter_map(|i| last.get(&word.member(i)).copied()).collect::<Vec<_>>();
    words.map(|words| words.iter().flat_map(named).collect()).collect()
}

/// Of the flows that began in each slot after each change: those that some later table does not list,
/// although their backend is still there and fit. Nodes that forget have no history.
pub(super) fn lost(changes: &[InForce], forget: bool) -> usize {
    let mut maps = Maps::default();
    let mut began: BTreeSet<(usize, u8)> = BTreeSet::new();
    let mut lost: BTreeSet<(usize, u8)> = BTreeSet::new();
    for in_force in changes {
        if forget {
            maps.history = History::default();
        }
        let lists = lists(&mut maps, in_force);
        for (slot, backend) in &began {
            if !lists[*slot].contains(backend) {
                lost.insert((*slot, *backend));
            }
        }
        began.extend(lists.iter().enumerate().map(|(slot, list)| (slot, list[0])));
        let there = |n: u8| {
            let address = backend(n).address;
            let known = in_force.config.pools[0].backends.iter().any(|b| b.address == address);
            known && in_force.standings.of("web", address).fitness == Fitness::Fit
        };
        // Who is gone or down has taken its flows along.
        began.retain(|(_, backend)| there(*backend));
        lost.retain(|(_, backend)| there(*backend));
    }
    lost.len()
}

#[test]
fn flows_of_several_changes_ago_are_found() {
    // Joins, failures in which others stand in, a drain, a weight.
    let mut heavier = set(1..=13);
    heavier.config.pools[0].backends[4].weight = 200;
    let changes = [
        set(1..=10),
        set(1..=11),
        failed(set(1..=11), 3),
        set(1..=11),
        set(1..=12),
        failed(set(1..=12), 7),
        set(1..=12),
        set(1..=13),
        heavier.clone(),
        with_state(heavier, 2, Draining),
    ];
    let (with, without) = (lost(&changes, false), lost(&changes, true));
    assert!(with == 0 && without > 0, "{with} of {SLOTS} slots with history, {without} without");
}

#[test]
fn history_decides_about_no_owner() {
    let mut knowing = Maps::default();
    for n in 5..15 {
        lists(&mut knowing, &set(1..=n));
    }
    let (known, fresh) = (lists(&mut knowing, &set(1..=15)), lists(&mut Maps::default(), &set(1..=15)));
    assert_ne!(known, fresh);
    for (known, fresh) in known.iter().zip(&fresh) {
        assert_eq!(known[0], fresh[0]);
        assert_eq!(fresh.len(), 4);
        assert!((4..=8).contains(&known.len()));
        assert_eq!(known.iter().collect::<BTreeSet<_>>().len(), known.len(), "nobody twice: {known:?}");
    }
}

#[test]
fn a_restart_goes_on_with_the_history_that_was_kept() {
    let mut maps = Maps::default();
    for n in 8..=12 {
        lists(&mut maps, &set(1..=n));
    }
    maps.memo = Memo::default();
    maps.history = history::read(&history::write(&maps.history)).expect("its own text");
    let plan = maps.apply_in_force(&set(1..=12)).expect("plan");
    assert!(matches!(plan.pools[0].table, PlannedTable::Keep(_)), "the lists are what they were");
    maps.history = History::default();
    let plan = maps.apply_in_force(&set(1..=12)).expect("plan");
    assert!(matches!(plan.pools[0].table, PlannedTable::Write { .. }), "history had made a difference");
}

#[test]
fn a_change_computes_nothing_of_what_was_before() {
    let mut maps = Maps::default();
    let mut known = BTreeSet::new();
    for n in 4..=8 {
        maps.apply_in_force(&set(1..=n)).expect("plan");
        let now = maps.memo.takers();
        assert!(known.is_subset(&now) && now.len() == known.len() + 1, "one more");
        known = now;
    }
    for n in 9..40 {
        maps.apply_in_force(&set(1..=n)).expect("plan");
    }
    assert!(maps.memo.takers().len() <= 2 + history::MOST_MEMBERSHIPS, "what is forgotten goes");
}

/// One node restarts without its history, while others are drained: what it does not remember the
/// ranking tells it. A backend that drains and ranks low never owned the slot, and pushes out nobody.
#[test]
fn a_node_that_forgot_finds_nearly_all_by_rank() {
    let mut knowing = Maps::default();
    let mut sets = vec![set(1..4)];
    for (leaving, joining) in [(1, 4), (2, 5)] {
        let mut next = set(1..=joining);
        for n in 1..=leaving {
            next = with_state(next, n, Draining);
        }
        sets.push(next);
    }
    let took: Vec<Vec<u8>> =
        sets.iter().map(|set| lists(&mut knowing, set).iter().map(|list| list[0]).collect()).collect();
    let fresh = lists(&mut Maps::default(), &sets[2]);
    let known = lists(&mut knowing, &sets[2]);
    let missing = |lists: &[Vec<u8>]| {
        let found = |(slot, list): &(usize, &Vec<u8>)| took.iter().all(|took| list.contains(&took[*slot]));
        lists.iter().enumerate().filter(|entry| !found(entry)).count()
    };
    assert_eq!(missing(&known), 0);
    // Quotas have moved a few away from where they rank.
    assert!(missing(&fresh) * 100 < SLOTS as usize, "{} of {SLOTS}", missing(&fresh));
}

#[test]
fn who_is_gone_or_down_is_not_listed_for_having_been_there() {
    let mut maps = Maps::default();
    lists(&mut maps, &set(1..=8));
    lists(&mut maps, &set(1..=9));
    for list in lists(&mut maps, &failed(set(2..=9), 4)) {
        assert!(list.len() == 4 && !list.contains(&1) && !list.contains(&4), "{list:?}");
    }
}

#[test]
fn another_number_of_slots_finds_the_flows_of_the_old_ones() {
    // Two slots that become one had two owners.
    for (then, now) in [(1024, 4096), (4096, 2048)] {
        let resized = |slots| {
            let mut set = set(1..=12);
            set.config.pools[0].slots = slots;
            set
        };
        let mut maps = Maps::default();
        let before = lists(&mut maps, &resized(then));
        let after = lists(&mut maps, &resized(now));
        let mut found = 0;
        let flows = then.max(now) as usize;
        for flow in 0..flows {
            let owner = before[flow * then as usize / flows][0];
            found += usize::from(after[flow * now as usize / flows].contains(&owner));
        }
        assert_eq!(found, flows, "from {then} to {now} slots");
    }
}

#[test]
fn other_pops_keep_their_places() {
    let mut maps = Maps::default();
    for n in 4..=9 {
        let mut world = set(1..=n);
        let web = &mut world.config.pools[0];
        web.rescue = vec!["sin1".to_owned(), "gru1".to_owned(), "nrt1".to_owned()];
        for (site, first) in [("sin1", 50), ("gru1", 60), ("nrt1", 70)] {
            web.backends
                .extend((first..first + 4).map(|n| Backend { pop: Some(site.to_owned()), ..backend(n) }));
        }
        for list in lists(&mut maps, &world) {
            let of = |range: std::ops::Range<u8>| list.iter().filter(|n| range.contains(n)).count();
            assert_eq!((of(1..50), of(50..60), of(60..70), of(70..80)), (3, 2, 2, 1), "{list:?}");
        }
    }
}

#[test]
fn what_carries_no_list_remembers_nothing() {
    let mut maps = Maps::default();
    for n in 4..=8 {
        let mut set = set(1..=n);
        set.config.pools[0].encapsulation = Encapsulation::Ipip;
        assert!(lists(&mut maps, &set).iter().all(|list| list.len() == 1));
        set.config.pools[0].encapsulation = Encapsulation::Gue;
        set.config.pools[0].hops = 0;
        assert!(lists(&mut maps, &set).iter().all(|list| list.len() == 1));
    }
    assert!(maps.memo.takers().is_empty());
}

/// Drains and joins in quick succession after a long time without: what began in that time is what there
/// is most of, and is found in every slot, whoever took a slot's flows for a second since.
#[test]
fn flows_of_a_long_time_are_found_after_a_burst_of_changes() {
    let mut maps = Maps::default();
    let first: Vec<u8> = lists(&mut maps, &set(1..4)).iter().map(|list| list[0]).collect();
    maps.now += Duration::from_secs(3600);
    let mut now = set(1..7);
    for joining in 4..7 {
        now = with_state(now, joining, BackendState::Filling);
    }
    for (leaving, joining) in (1..4).zip(4..7) {
        for (n, state) in [(leaving, Draining), (joining, BackendState::Active)] {
            now = with_state(now, n, state);
            for (slot, list) in lists(&mut maps, &now).iter().enumerate() {
                assert!(list.contains(&first[slot]), "{n} {state:?}: {} is not in {list:?}", first[slot]);
            }
            maps.now += Duration::from_secs(1);
        }
    }
}
