//! What health changes, and what it does not.

use super::*;

fn failed(held: bool) -> Fitness {
    Fitness::Failed { held }
}

#[test]
fn a_failed_backend_stays_in_the_table_and_is_listed_for_a_while() {
    let mut bench = Bench::new();
    let before = bench.table();
    bench.health(11, Health::Down);
    assert_eq!((bench.table(), bench.standing(11).fitness), (before.clone(), failed(true)));
    assert!(!bench.report(11).serves());
    bench.pass(DEAD_HOLD / 2);
    bench.health(11, Health::Down);
    let unlisted = ["backend web 10.0.0.11 is down for 60 s and listed no more"];
    assert_eq!(bench.pass(DEAD_HOLD / 2), unlisted, "the same news again do not prolong it");
    assert_eq!((bench.table(), bench.standing(11).fitness), (before, failed(false)));
    assert_eq!(bench.membership.deadline(), None);
}

#[test]
fn health_regained_is_a_join() {
    for word in [Health::Up, Health::Unknown] {
        let mut bench = Bench::new();
        bench.health(11, Health::Down);
        bench.health(11, word);
        assert_eq!(bench.standing(11).fitness, Fitness::Returning);
        assert_eq!((bench.state(11), bench.report(11).left), (State::Filling, Some(bench.fill)));
        assert_eq!(bench.pass(bench.fill), ["backend web 10.0.0.11 is active"]);
        assert_eq!((bench.standing(11), bench.state(11)), (Standing::default(), State::Active));
    }
}

#[test]
fn never_having_been_down_is_nothing_to_return_from() {
    let mut bench = Bench::new();
    bench.health(11, Health::Up);
    assert_eq!((bench.report(11).health, bench.membership.deadline()), (Health::Up, None));
}

#[test]
fn a_return_ends_at_once_where_nobody_else_is_healthy() {
    let mut bench = Bench::new();
    bench.health(11, Health::Down);
    bench.health(12, Health::Down);
    bench.health(11, Health::Up);
    assert_eq!((bench.state(11), bench.standing(11).fitness), (State::Active, Fitness::Fit));
    bench.health(12, Health::Up);
    assert_eq!(bench.standing(12).fitness, Fitness::Returning, "now there is somebody");
}

#[test]
fn when_all_fail_a_healthy_newcomer_serves_at_once() {
    let mut bench = Bench::new();
    bench.want(|b| b.extend([backend(13), backend(14)]));
    bench.health(14, Health::Down);
    bench.health(11, Health::Down);
    assert_eq!(bench.state(13), State::Filling);
    bench.health(12, Health::Down);
    assert_eq!((bench.state(13), bench.state(14)), (State::Active, State::Filling));
}

#[test]
fn a_newcomer_that_falls_ill_begins_its_wait_anew() {
    let mut bench = Bench::new();
    bench.want(|b| b.push(backend(13)));
    bench.health(13, Health::Down);
    bench.pass(bench.fill / 2);
    bench.health(13, Health::Up);
    assert_eq!(bench.report(13).left, Some(bench.fill));
    // One that is down when its wait ends owns its slots, and others stand in.
    bench.health(13, Health::Down);
    bench.pass(bench.fill);
    assert_eq!((bench.table()[2].1, bench.standing(13).fitness), (BackendState::Active, failed(true)));
}

#[test]
fn who_drains_has_nothing_to_return_to() {
    let mut bench = Bench::new();
    bench.health(11, Health::Down);
    bench.health(11, Health::Up);
    bench.want_state(11, BackendState::Draining);
    assert_eq!((bench.standing(11), bench.state(11)), (Standing::default(), State::Draining));
    bench.health(11, Health::Down);
    assert_eq!(bench.standing(11).fitness, failed(true));
    bench.health(11, Health::Up);
    assert_eq!(bench.standing(11), Standing::default());
}

#[test]
fn health_is_asked_for_by_pool() {
    let mut bench = Bench::new();
    let address = backend_address(11);
    assert_eq!(bench.membership.set_health(bench.now, Some("dns"), address, Health::Down), []);
    assert_eq!(bench.report(11).health, Health::Unknown);
    let known = bench.membership.set_health(bench.now, Some("web"), address, Health::Down);
    assert_eq!(known, [(("web".to_owned(), address), Health::Unknown)]);
}
