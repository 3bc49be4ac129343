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
    let key = ("web".to_owned(), address);
    assert_eq!(known, [HealthChange { key, before: Health::Unknown, after: Health::Down }]);
}

impl Bench {
    /// The checks say how these are.
    fn checked(&mut self, verdicts: &[(u8, Health)]) -> Vec<Health> {
        let keys: Vec<_> =
            verdicts.iter().map(|(last, h)| (("web".to_owned(), backend_address(*last)), *h)).collect();
        let verdicts = keys.iter().map(|(key, health)| (key, *health, Some("refused")));
        self.membership.set_checked(self.now, verdicts).iter().map(|change| change.after).collect()
    }

    fn known(&self, last: u8) -> &Known {
        self.membership.known("web", backend_address(last)).expect("it is there")
    }

    fn say(&mut self, last: u8, health: Health) {
        self.membership.set_health(self.now, None, backend_address(last), health);
    }
}

#[test]
fn what_somebody_says_counts_more_than_any_check_until_it_is_taken_back() {
    use Health::{Down, Unknown, Up};
    let mut bench = Bench::new();
    assert_eq!(bench.known(11).source(), None);
    assert_eq!(bench.checked(&[(11, Down)]), [Down]);
    assert_eq!(bench.known(11).source(), Some(Source::Check));
    bench.say(11, Up);
    assert_eq!((bench.known(11).source(), bench.report(11).health), (Some(Source::Hand), Up));
    assert_eq!(bench.standing(11).fitness, Fitness::Returning);
    assert_eq!(bench.checked(&[(11, Up)]), [], "nothing changes");
    bench.say(11, Down);
    assert_eq!(bench.checked(&[(11, Down)]), []);
    assert_eq!(bench.checked(&[(11, Up)]), []);
    assert_eq!(bench.standing(11).fitness, failed(true));
    bench.say(11, Unknown);
    assert_eq!((bench.report(11).health, bench.standing(11).fitness), (Up, Fitness::Returning));
    bench.say(11, Up);
    assert_eq!(bench.checked(&[(11, Down)]), []);
    bench.say(11, Unknown);
    assert_eq!((bench.report(11).health, bench.known(11).reason()), (Down, Some("refused")));
}

#[test]
fn all_that_fail_at_once_fail_before_anybody_is_relieved() {
    let mut bench = Bench::new();
    bench.want(|b| b.push(backend(13)));
    // One by one, 13 would have served for a moment.
    assert_eq!(bench.checked(&[(11, Health::Down), (12, Health::Down), (13, Health::Down)]).len(), 3);
    assert_eq!(bench.state(13), State::Filling);
    assert_eq!(bench.checked(&[(99, Health::Down)]), [], "nobody of that name");
    assert_eq!(bench.checked(&[(11, Health::Up), (12, Health::Up)]).len(), 2);
    assert_eq!((bench.state(11), bench.state(12)), (State::Active, State::Active), "together");
}

#[test]
fn who_is_not_checked_any_more_counts_as_healthy() {
    let mut bench = Bench::new();
    bench.want_checks(true);
    bench.checked(&[(11, Health::Down)]);
    bench.want_checks(true);
    assert_eq!(bench.standing(11).fitness, failed(true), "a reload forgets nothing");
    bench.want_checks(false);
    assert_eq!((bench.report(11).health, bench.known(11).reason()), (Health::Unknown, None));
    assert_eq!(bench.standing(11).fitness, Fitness::Returning);
}

#[test]
fn who_is_gone_is_not_checked() {
    let mut bench = Bench::new();
    bench.want_checks(true);
    bench.checked(&[(11, Health::Down)]);
    bench.want_state(11, BackendState::Draining);
    bench.pass(bench.drain);
    assert_eq!((bench.state(11), bench.report(11).health), (State::Gone, Health::Unknown));
    assert_eq!(bench.checked(&[(11, Health::Down)]), [], "that was asked before");
}
