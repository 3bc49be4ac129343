use std::collections::BTreeSet;

use super::*;
use crate::daemon::testing::config;
use crate::membership::Standing;
use crate::model::Backend;

const NOW: SystemTime = UNIX_EPOCH;
const DAY: Duration = Duration::from_secs(24 * 3600);

fn address(last: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, last])
}

fn backend(last: u8) -> Backend {
    Backend { address: address(last), weight: 100, state: BackendState::Active, pop: None }
}

/// The pool "web" with these backends, and nothing else.
fn set(backends: impl IntoIterator<Item = u8>) -> InForce {
    let mut config = config();
    config.pools.truncate(1);
    config.pools[0].name = "web".to_owned();
    config.pools[0].backends = backends.into_iter().map(backend).collect();
    InForce::from(config)
}

fn failed(mut set: InForce, last: u8) -> InForce {
    let standing = Standing { fitness: Fitness::Failed { held: true }, ..Standing::default() };
    set.standings.set(("web".to_owned(), address(last)), standing);
    set
}

/// Backends of the records under the seed and at the site of `set()`, as last bytes; those that were
/// not fit are negative.
fn records(history: &History) -> Vec<Vec<i16>> {
    let InForce { config, .. } = set([]);
    let seed = seed_of(&config);
    let last = |b: &Owning| match b.address {
        IpAddr::V4(v4) => i16::from(v4.octets()[3]) * if b.fit { 1 } else { -1 },
        IpAddr::V6(_) => panic!("IPv4"),
    };
    let of_record = |r: &Record| r.backends.iter().map(last).collect();
    history.of("web", &config.pop, &seed, NOW).map(|r| of_record(r.record)).collect()
}

fn after(sets: &[InForce]) -> History {
    let mut history = History::default();
    for set in sets {
        history.note(NOW, set);
    }
    history
}

#[test]
fn the_newest_comes_first_and_each_once() {
    let history = after(&[set([1]), set([1, 2]), set([3, 1]), set([1, 2])]);
    assert_eq!(records(&history), [vec![1, 2], vec![1, 3], vec![1]]);
    let mut again = history.clone();
    assert!(!again.note(NOW, &set([2, 1])), "the order says nothing");
    assert_eq!(again, history);
}

#[test]
fn only_what_takes_flows_here_is_recorded() {
    let mut mixed = set([1, 2, 3, 4]);
    let backends = &mut mixed.config.pools[0].backends;
    backends[1].state = BackendState::Draining;
    backends[2].state = BackendState::Filling;
    backends[3].pop = Some("elsewhere".to_owned());
    assert_eq!(records(&after(&[mixed])), [[1]]);
    assert_eq!(after(&[set([])]), History::default(), "nobody");
    assert_eq!(records(&after(&[set([1]), set([]), set([2])])), [[2], [1]]);
}

#[test]
fn everything_that_decides_about_owners_makes_another_record() {
    let mut sets = vec![set([1, 2]); 5];
    sets[1].config.pools[0].backends[0].weight = 300;
    sets[2].config.pools[0].margin_ppm += 1;
    sets[3].config.pools[0].slots *= 2;
    sets[4].config.pools[0].table = TableKind::Maglev;
    assert_eq!(records(&after(&sets)).len(), 5);
    // What does not decide makes none.
    let mut other = set([1, 2]);
    other.config.pools[0].hops = 1;
    other.config.pools[0].fill_time += DAY;
    assert_eq!(records(&after(&[set([1, 2]), other])).len(), 1);
}

#[test]
fn another_seed_and_another_site_have_histories_of_their_own() {
    let mut seed = set([1]);
    seed.config.seed = Some(crate::model::Seed([99; 16]));
    let mut site = set([2]);
    "nrt1".clone_into(&mut site.config.pop);
    let history = after(&[seed.clone(), site, set([3])]);
    assert_eq!(records(&history), [[3]]);
    let of_seed = seed_of(&seed.config);
    assert_eq!(history.of("web", &seed.config.pop, &of_seed, NOW).count(), 1);
    assert!(!write(&history).contains("6363"), "a fingerprint, not the seed");
}

#[test]
fn history_is_bounded() {
    let many: Vec<InForce> = (1..30).map(|n| set([n])).collect();
    let kept = records(&after(&many));
    assert_eq!(kept.len(), 1 + MOST_MEMBERSHIPS);
    assert_eq!((kept[0].as_slice(), kept[MOST_MEMBERSHIPS].as_slice()), (&[29][..], &[21][..]));
}

#[test]
fn a_flapping_check_pushes_nothing_out() {
    let mut sets = vec![set([1, 2, 3, 4, 5]), set([1, 2, 3, 4])];
    for round in 0..20 {
        sets.push(failed(set([1, 2, 3, 4]), 1 + round % 3));
        sets.push(failed(failed(set([1, 2, 3, 4]), 1 + round % 3), 4));
    }
    sets.push(set([1, 2, 3, 4]));
    let kept = records(&after(&sets));
    assert_eq!(
        kept,
        [vec![1, 2, 3, 4], vec![1, -2, 3, -4], vec![1, -2, 3, 4], vec![1, 2, 3, 4, 5]],
        "the latest conditions, and the membership before"
    );
}

#[test]
fn where_all_are_down_health_is_left_out_of_account() {
    assert_eq!(records(&after(&[failed(failed(set([1, 2]), 1), 2)])), [[1, 2]]);
}

#[test]
fn what_is_old_is_forgotten_and_what_is_in_force_is_not() {
    let mut history = after(&[set([1])]);
    history.note(NOW + DAY, &set([2]));
    history.note(NOW + 2 * DAY, &set([3]));
    assert!(!history.forget(NOW + DAY + REMEMBERED - Duration::from_secs(1)));
    assert!(history.forget(NOW + DAY + REMEMBERED));
    assert_eq!(records(&history), [[3], [2]]);
    assert!(!history.forget(NOW), "the clock was set back");
    assert!(history.forget(NOW + 1000 * DAY));
    assert_eq!(records(&history), [[3]]);
}

#[test]
fn a_pool_that_goes_takes_its_history_along() {
    let mut history = after(&[set([1]), set([2])]);
    let mut without = set([]);
    without.config.pools.clear();
    assert!(history.note(NOW, &without));
    assert_eq!(history, History::default());
}

#[test]
fn a_text_says_it_all() {
    let mut sets: Vec<InForce> = (1..12).map(|n| set([n, n + 1])).collect();
    sets.push(failed(set([1, 2, 3]), 2));
    sets.push(set([]));
    sets[4].config.pools[0].table = TableKind::Maglev;
    let history = after(&sets);
    assert_eq!(read(&write(&history)).expect("its own text"), history);
    assert_eq!(read(&write(&History::default())).expect("its own text"), History::default());
}

#[test]
fn a_text_of_others_is_refused() {
    let text = write(&after(&[set([1, 2]), set([2])]));
    let refused = |from: &str, to: &str| {
        assert!(text.contains(from), "{text}");
        read(&text.replacen(from, to, 1)).expect_err(to).to_string()
    };
    let mut said = BTreeSet::new();
    for (from, to) in [
        ("\"version\":1", "\"version\":2"),
        ("\"placement\":1", "\"placement\":7"),
        ("\"slots\":", "\"slots\":3"),
        (",100,", ",0,"),
        (",100,", ",65536,"),
        ("10.0.0.2", "10.0.0.300"),
        ("10.0.0.1", "10.0.0.2"),
        ("\"pools\"", "\"groups\""),
        ("rendezvous", "roulette"),
        ("[[\"10.0.0.2\",100,true]]", "[]"),
    ] {
        said.insert(refused(from, to));
    }
    assert_eq!(said.len(), 10, "each is told apart: {said:?}");
}

#[test]
fn the_bounds_hold_for_a_text_too() {
    let mut history = after(&[set([1]), set([2])]);
    let past = history.pools.get_mut("web").expect("it has been noted");
    let earlier = past.earlier[0].clone();
    for slots in 1..10 {
        let record = Record { slots: 1 << slots, ..earlier.record.clone() };
        past.earlier.push(Earlier { record, until: 0, lasted: 0 });
    }
    assert_eq!(past.earlier.len(), 10);
    let read = read(&write(&history)).expect("its own text");
    assert_eq!(read.pools["web"].earlier.len(), MOST_MEMBERSHIPS);
}

/// Weights of the records at a time, the newest first.
fn weights(history: &History, now: SystemTime) -> Vec<f64> {
    let InForce { config, .. } = set([]);
    history.of("web", &config.pop, &seed_of(&config), now).map(|r| r.weight).collect()
}

#[test]
fn what_was_in_force_for_long_counts_for_more_than_what_passed() {
    const SECOND: Duration = Duration::from_secs(1);
    let mut history = after(&[set([1])]);
    history.note(NOW + DAY, &set([2]));
    history.note(NOW + DAY + SECOND, &set([3]));
    let soon = weights(&history, NOW + DAY + 10 * SECOND);
    assert!(soon[2] > soon[0] && soon[0] > soon[1], "{soon:?}");
    // Time and again that counts, and long ago it counts for less.
    let later = weights(&history, NOW + 3 * DAY);
    assert!(later[0] > later[2] && later[2] > later[1] && later[2] < soon[2], "{later:?}");
    history.note(NOW + 3 * DAY, &set([1]));
    let back = weights(&history, NOW + 3 * DAY);
    assert!(back[0] > soon[2] - 0.001, "{back:?}");
    assert_eq!(read(&write(&history)).expect("its own text"), history);
    assert!(weights(&history, NOW).iter().all(|w| w.is_finite()), "the clock was set back");
}
