use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use anycast_lb_common::abi::Slot;
use proptest::prelude::*;

use super::super::tests::{Maps, backend, config, pool};
use super::super::{Plan, PlannedTable};
use super::*;
use crate::membership::{Fitness, InForce, Standings};
use crate::model::TableKind;

/// A backend 10.0.0.`n` at `site`.
fn at(n: u8, site: &str) -> Backend {
    Backend { pop: Some(site.to_owned()), ..backend(n) }
}

fn names(sites: &[&str]) -> Vec<String> {
    sites.iter().map(|s| (*s).to_owned()).collect()
}

/// Three PoPs with two backends each, the same list of rescuers everywhere.
fn world() -> Pool {
    let sites = ["fra1", "fra1", "sin1", "sin1", "gru1", "gru1"];
    let backends = (1..).zip(sites).map(|(n, site)| at(n, site)).collect();
    Pool { rescue: names(&["fra1", "sin1", "gru1"]), backends, ..pool("web", []) }
}

/// The lists of a plan of one pool, as last bytes of addresses; 0 is nobody.
fn lists(plan: &Plan) -> Vec<Vec<u8>> {
    let PlannedTable::Write { at, slots } = &plan.pools[0].table else { panic!("a table") };
    let last = |member: &crate::plan::PlannedMember| match member.address {
        IpAddr::V4(v4) => v4.octets()[3],
        IpAddr::V6(_) => panic!("IPv4"),
    };
    let named: BTreeMap<u16, u8> = plan.members.iter().map(|m| (m.number, last(m))).collect();
    let words = usize::from(at.words);
    assert_eq!(slots.len(), words << at.bits);
    let member = |slot: &Slot, i| named.get(&slot.member(i)).copied().unwrap_or(0);
    slots.chunks(words).map(|slot| slot.iter().flat_map(|w| (0..4).map(|i| member(w, i))).collect()).collect()
}

fn planned(pool: &Pool, home: &str, drained: &[&str]) -> Plan {
    let mut config = config(vec![pool.clone()], vec![]);
    config.pop = home.to_owned();
    config.drained_pops = names(drained);
    Maps::default().apply(&config).expect("plan")
}

fn lists_in_force(pool: &Pool, home: &str, drained: &[&str], standings: &Standings) -> Vec<Vec<u8>> {
    let mut config = config(vec![pool.clone()], vec![]);
    config.pop = home.to_owned();
    config.drained_pops = names(drained);
    let in_force = InForce { config, standings: standings.clone() };
    lists(&Maps::default().apply_in_force(&in_force).expect("plan"))
}

/// A backend of the pool "web" that is down.
fn down(standings: &mut Standings, n: u8, held: bool) {
    let standing = Standing { fitness: Fitness::Failed { held }, ..Standing::default() };
    standings.set(("web".to_owned(), backend(n).address), standing);
}

fn lists_at(pool: &Pool, home: &str, drained: &[&str]) -> Vec<Vec<u8>> {
    lists(&planned(pool, home, drained))
}

#[test]
fn own_members_come_first_then_pop_by_pop() {
    for list in lists_at(&world(), "fra1", &[]) {
        // Two of each: owner and runner-up, the order of `rescue`, and one place is left.
        let halves: Vec<BTreeSet<u8>> = list[..6].chunks(2).map(|c| c.iter().copied().collect()).collect();
        assert_eq!(halves, [BTreeSet::from([1, 2]), BTreeSet::from([3, 4]), BTreeSet::from([5, 6])]);
        assert_eq!(list[6..], [0, 0]);
    }
    for list in lists_at(&world(), "gru1", &[]) {
        assert!(
            [5, 6].contains(&list[0]) && [1, 2].contains(&list[2]) && [3, 4].contains(&list[4]),
            "{list:?}"
        );
    }
}

#[test]
fn room_is_shared_out_in_turns() {
    let sites: [&[u16]; 3] = [&[10, 11, 12, 13], &[20, 21], &[30]];
    let places = |first, own: &[u16], sites: &[&[u16]]| {
        places(first, &Listed::new(own.iter().copied(), own.len(), false), sites)
    };
    assert_eq!(places(1, &[1, 2, 3], &sites), [1, 2, 3, 10, 11, 20, 21, 30]);
    assert_eq!(places(1, &[1], &sites), [1, 10, 11, 12, 13, 20, 21, 30]);
    assert_eq!(places(1, &[1, 2, 3], &sites[..1]), [1, 2, 3, 10, 11, 12, 13, 0]);
    assert_eq!(places(1, &[1, 2, 3], &[]), [1, 2, 3, 0, 0, 0, 0, 0]);
    // Nobody takes new flows.
    assert_eq!(places(0, &[0, 7, 8], &sites), [0, 7, 8, 10, 11, 20, 21, 30]);
    // Another PoP's owner does, and is not named twice.
    assert_eq!(places(10, &[1, 2, 3], &sites), [10, 1, 2, 3, 11, 12, 20, 30]);
}

#[test]
fn what_room_others_leave_is_for_those_of_this_pop() {
    let places =
        |first, last_stays, sites: &[&[u16]]| places(first, &Listed::new(1..8, 7, last_stays), sites);
    let all: [&[u16]; 3] = [&[10, 11, 12, 13], &[20, 21], &[30]];
    assert_eq!(places(1, false, &all), [1, 2, 3, 10, 11, 20, 21, 30], "others come first");
    assert_eq!(places(1, true, &all), [1, 2, 7, 10, 11, 20, 21, 30], "the last one stays");
    assert_eq!(places(1, false, &all[1..]), [1, 2, 3, 4, 5, 20, 21, 30]);
    assert_eq!(places(1, true, &all[1..]), [1, 2, 3, 4, 7, 20, 21, 30]);
    assert_eq!(places(1, false, &[]), [1, 2, 3, 4, 5, 6, 7, 0]);
    assert_eq!(places(20, false, &all[1..]), [20, 1, 2, 3, 4, 5, 21, 30]);
}

#[test]
fn what_may_hold_flows_comes_before_the_runner_up() {
    let mut pool = world();
    pool.rescue = names(&["sin1"]);
    for n in [7, 8] {
        pool.backends.push(Backend { state: BackendState::Draining, ..at(n, "sin1") });
    }
    let lists = lists_at(&pool, "fra1", &[]);
    // Where a draining one ranks before the runner-up it is listed, and before it.
    assert!(lists.iter().any(|l| l[2..].contains(&7)) && lists.iter().any(|l| l[2..].contains(&8)));
    for list in lists {
        let place = |wanted: [u8; 2]| (3..8).filter(|i| wanted.contains(&list[*i])).collect::<Vec<_>>();
        let (draining, active) = (place([7, 8]), place([3, 4]));
        assert!([3, 4].contains(&list[2]), "{list:?}");
        assert!(draining.iter().all(|d| active.iter().all(|a| d < a)), "{list:?}");
    }
}

#[test]
fn tables_stay_narrow_where_nothing_is_rescued() {
    let narrow = |pool: &Pool| planned(pool, "fra1", &[]).pools[0].table.location().words == 1;
    assert!(!narrow(&world()));
    assert!(narrow(&Pool { rescue: vec![], ..world() }));
    assert!(narrow(&Pool { rescue: names(&["fra1"]), ..world() }));
    assert!(narrow(&Pool { rescue: names(&["nrt1"]), ..world() }), "no backends there");
    assert!(narrow(&Pool { encapsulation: Encapsulation::Ipip, ..world() }), "no list");
}

#[test]
fn at_most_three_other_pops_each_once() {
    let mut pool = world();
    pool.backends.extend([at(7, "nrt1"), at(8, "lax1"), at(9, "syd1")]);
    pool.rescue = names(&["nowhere", "sin1", "sin1", "fra1", "lax1", "nrt1", "syd1", "gru1"]);
    assert_eq!(Sites::of(&pool, "fra1", &[]).rescue, ["sin1", "lax1", "nrt1"]);
    // Whoever takes the new flows of a drained PoP has a place, however far behind.
    let sites = |drained: &[&str]| {
        let Sites { owner, rescue } = Sites::of(&pool, "fra1", &names(drained));
        (owner.to_owned(), rescue.join(" "))
    };
    assert_eq!(sites(&["fra1", "sin1"]), ("lax1".to_owned(), "sin1 lax1 nrt1".to_owned()));
    let most = ["fra1", "sin1", "lax1", "nrt1"];
    assert_eq!(sites(&most), ("syd1".to_owned(), "sin1 lax1 syd1".to_owned()));
}

#[test]
fn a_drained_pop_sends_new_flows_to_its_first_rescuer_and_lists_its_own_next() {
    let undrained = lists_at(&world(), "fra1", &[]);
    let lists = lists_at(&world(), "fra1", &["fra1"]);
    let in_sin1 = lists_at(&world(), "sin1", &["fra1"]);
    for ((list, before), in_sin1) in lists.iter().zip(&undrained).zip(&in_sin1) {
        assert_eq!(list[0], in_sin1[0], "the owner in Singapore");
        assert_eq!(list[1..3], before[..2], "the flows that began here");
        assert!([3, 4].contains(&list[3]) && [5, 6].contains(&list[4]), "{list:?}");
        assert_eq!(list.iter().filter(|n| **n == list[0]).count(), 1);
    }
    // The rescuer may be drained as well.
    let lists = lists_at(&world(), "fra1", &["fra1", "sin1"]);
    assert!(lists.iter().all(|l| [5, 6].contains(&l[0]) && [1, 2].contains(&l[1])));
    // In Singapore nothing changes for its own flows, and Frankfurt's are still found.
    assert_eq!(lists_at(&world(), "sin1", &["fra1"]), lists_at(&world(), "sin1", &[]));
}

#[test]
fn a_pop_that_nobody_can_stand_in_for_stays_in_service() {
    assert_eq!(Sites::of(&world(), "fra1", &names(&["fra1", "sin1", "gru1"])).owner, "fra1");
    let mut pool = world();
    for backend in pool.backends.iter_mut().skip(2) {
        backend.state = BackendState::Draining;
    }
    assert_eq!(Sites::of(&pool, "fra1", &names(&["fra1"])).owner, "fra1");
    pool.backends[4].state = BackendState::Active;
    assert_eq!(Sites::of(&pool, "fra1", &names(&["fra1"])).owner, "gru1");
}

#[test]
fn what_carries_no_list_is_drained_all_the_same() {
    let pool = Pool { encapsulation: Encapsulation::Ipip, ..world() };
    for list in lists_at(&pool, "fra1", &["fra1"]) {
        assert!([3, 4].contains(&list[0]) && list[1..] == [0, 0, 0], "{list:?}");
    }
}

#[test]
fn a_pop_without_backends_of_its_own_still_rescues() {
    for list in lists_at(&world(), "lhr1", &[]) {
        assert_eq!(list[0], 0, "nobody takes new flows");
        assert!([1, 2].contains(&list[1]) && list[7] == 0, "{list:?}");
        assert_eq!(list[1..7].iter().collect::<BTreeSet<_>>().len(), 6);
    }
}

/// The world with four backends in Singapore: 3, 4, 7 and 8.
fn larger_world() -> Pool {
    let mut pool = Pool { slots: 1024, ..world() };
    pool.backends.extend([at(7, "sin1"), at(8, "sin1")]);
    pool
}

#[test]
fn another_pop_s_failed_owner_is_stood_in_for_and_listed_last_of_its_pop() {
    let pool = larger_world();
    let healthy = lists_at(&pool, "fra1", &[]);
    for held in [true, false] {
        let mut standings = Standings::default();
        down(&mut standings, 3, held);
        let in_fra1 = lists_in_force(&pool, "fra1", &[], &standings);
        let in_sin1 = lists_in_force(&pool, "sin1", &[], &standings);
        let mut stood_in = 0;
        for ((list, before), in_sin1) in in_fra1.iter().zip(&healthy).zip(&in_sin1) {
            assert_eq!(list[..2], before[..2], "nothing changes for the flows of this PoP");
            assert_eq!(list[2], in_sin1[0], "who takes new flows in Singapore");
            let theirs: Vec<u8> = list[2..].iter().copied().filter(|n| [3, 4, 7, 8].contains(n)).collect();
            if before[2] == 3 {
                stood_in += 1;
                assert_ne!(theirs[0], 3);
                assert_eq!(theirs.last() == Some(&3), held, "{list:?}");
            } else {
                assert!(list[2] == before[2] && !theirs.contains(&3), "{list:?}");
            }
        }
        assert!(stood_in > 1024 / 8);
    }
}

#[test]
fn a_drained_pop_s_new_flows_go_to_healthy_backends() {
    let pool = larger_world();
    let mut standings = Standings::default();
    down(&mut standings, 3, true);
    let lists = lists_in_force(&pool, "fra1", &["fra1"], &standings);
    let in_sin1 = lists_in_force(&pool, "sin1", &["fra1"], &standings);
    for (list, in_sin1) in lists.iter().zip(&in_sin1) {
        assert!(list[0] == in_sin1[0] && [4, 7, 8].contains(&list[0]), "{list:?}");
        assert!([1, 2].contains(&list[1]), "the flows that began here");
    }
    // Nobody is healthy there: the next PoP takes them; and nobody anywhere: the first one after all.
    for n in [4, 7, 8] {
        down(&mut standings, n, true);
    }
    let lists = lists_in_force(&pool, "fra1", &["fra1"], &standings);
    assert!(lists.iter().all(|list| [5, 6].contains(&list[0])));
    for n in [5, 6] {
        down(&mut standings, n, true);
    }
    let lists = lists_in_force(&pool, "fra1", &["fra1"], &standings);
    assert!(lists.iter().all(|list| [3, 4, 7, 8].contains(&list[0])));
}

#[test]
fn who_is_about_to_own_a_slot_in_another_pop_is_listed_behind_its_owner() {
    // In Singapore 7 fills, and 8 is about to have four times the weight.
    let (mut first, mut second) = (larger_world(), larger_world());
    first.backends[6].state = BackendState::Filling;
    second.backends[7].weight = 400;
    let mut standings = Standings::default();
    let raised = Standing { coming_weight: Some(400), ..Standing::default() };
    standings.set(("web".to_owned(), backend(8).address), raised);
    let before = lists_in_force(&first, "fra1", &[], &standings);
    let mut gained = BTreeSet::new();
    for (list, after) in before.iter().zip(&lists_at(&second, "sin1", &[])) {
        assert_ne!(list[2], 7, "it owns nothing yet");
        if list[2] != after[0] {
            assert_eq!(list[3], after[0], "{list:?}");
            gained.insert(after[0]);
        }
    }
    assert!(gained.contains(&7) && gained.contains(&8), "{gained:?}");
}

fn states() -> impl Strategy<Value = BackendState> {
    prop_oneof![
        3 => Just(BackendState::Active),
        1 => Just(BackendState::Draining),
        1 => Just(BackendState::Filling)
    ]
}

fn fitness() -> impl Strategy<Value = Fitness> {
    prop_oneof![
        4 => Just(Fitness::Fit),
        1 => Just(Fitness::Returning),
        1 => any::<bool>().prop_map(|held| Fitness::Failed { held }),
    ]
}

proptest! {
    /// The first that a node lists of another PoP is the one that takes new flows there, whatever the
    /// membership and whoever is down.
    #[test]
    fn pops_agree_on_who_owns_a_slot(
        members in prop::collection::vec((0usize..3, 1u32..400, states(), fitness()), 1..14),
        maglev in any::<bool>(),
        margin_ppm in prop_oneof![Just(0u32), Just(35_000)],
    ) {
        const SITES: [&str; 3] = ["fra1", "sin1", "gru1"];
        let kind = if maglev { TableKind::Maglev } else { TableKind::Rendezvous };
        let mut pool = Pool { backends: vec![], table: kind, margin_ppm, ..world() };
        let mut site_of = BTreeMap::new();
        let mut active: BTreeSet<&str> = BTreeSet::new();
        let mut standings = Standings::default();
        for (n, (site, weight, state, fitness)) in (1..).zip(members) {
            let standing = Standing { fitness, ..Standing::default() };
            standings.set(("web".to_owned(), backend(n).address), standing);
            pool.backends.push(Backend { weight, state, ..at(n, SITES[site]) });
            site_of.insert(n, SITES[site]);
            if state == BackendState::Active {
                active.insert(SITES[site]);
            }
        }
        let by_home: BTreeMap<&str, Vec<Vec<u8>>> =
            SITES.into_iter().filter(|home| !planned(&pool, home, &[]).pools[0].table.location().eq(&Default::default()))
                .map(|home| (home, lists_in_force(&pool, home, &[], &standings))).collect();
        for (home, lists) in &by_home {
            for (slot, list) in lists.iter().enumerate() {
                let listed: Vec<u8> = list.iter().copied().filter(|n| *n != 0).collect();
                prop_assert_eq!(listed.iter().collect::<BTreeSet<_>>().len(), listed.len(), "twice: {:?}", list);
                prop_assert_eq!(list[0] != 0, active.contains(home));
                // One PoP after the other, this one first.
                let order: Vec<&str> = listed.iter().map(|n| site_of[n]).collect();
                let expected = std::iter::once(*home).chain(SITES.into_iter().filter(|s| s != home));
                let expected: Vec<&str> = expected.filter(|s| order.contains(s)).collect();
                let mut runs = order.clone();
                runs.dedup();
                prop_assert_eq!(runs, expected);
                for other in SITES.into_iter().filter(|s| s != home && active.contains(s)) {
                    let first = listed.iter().copied().find(|n| site_of[n] == other);
                    prop_assert_eq!(first, Some(by_home[other][slot][0]));
                }
            }
        }
    }
}
