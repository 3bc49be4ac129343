//! Who may go although nobody insists.

use super::*;

#[test]
fn who_takes_new_flows_stays() {
    let mut bench = Bench::new();
    assert_eq!(bench.obstacle(11), Some(Obstacle::Active));
    bench.health(11, Health::Down);
    assert_eq!(bench.obstacle(11), Some(Obstacle::Down));
    bench.health(11, Health::Up);
    assert_eq!(bench.obstacle(11), Some(Obstacle::Returning));
}

#[test]
fn who_is_listed_no_more_goes_unless_all_are_down() {
    let mut bench = Bench::new();
    bench.health(11, Health::Down);
    bench.pass(DEAD_HOLD);
    assert_eq!(bench.obstacle(11), None);
    bench.health(12, Health::Down);
    assert_eq!(bench.obstacle(11), Some(Obstacle::Active), "health is left out of account");
    // Who serves at another site stands in for nobody here.
    bench.want(|b| b.push(Backend { pop: Some("sin1".to_owned()), ..backend(21) }));
    assert_eq!((bench.state(21), bench.obstacle(11)), (State::Active, Some(Obstacle::Active)));
    bench.want(|b| b.push(backend(13)));
    assert_eq!((bench.state(13), bench.obstacle(11)), (State::Active, None));
}

#[test]
fn a_newcomer_goes_until_it_is_active() {
    let mut bench = Bench::new();
    bench.want(|b| b.push(backend(13)));
    assert_eq!((bench.state(13), bench.obstacle(13)), (State::Filling, None));
    // Drained before it had anything.
    bench.want_state(13, BackendState::Draining);
    assert_eq!(bench.obstacle(13), None);
    bench.says(13, 2, Others::HaveDrain);
    assert_eq!(bench.obstacle(13), Some(Obstacle::Drains(Some(2))), "other nodes gave it some");
    bench.want_state(13, BackendState::Active);
    assert_eq!(bench.obstacle(13), Some(Obstacle::FillsAgain));
}

#[test]
fn a_newcomer_that_was_active_for_a_moment_has_flows() {
    for end in ["time", "others", "need"] {
        let mut bench = Bench::new();
        bench.want(|b| b.push(backend(13)));
        match end {
            "time" => drop(bench.pass(bench.fill)),
            "others" => drop(bench.listed(&bench.join(13, bench.now, 100))),
            _ => bench.want(|b| b.retain(|b| b.address == backend_address(13))),
        }
        assert_eq!((bench.state(13), bench.obstacle(13)), (State::Active, Some(Obstacle::Active)), "{end}");
        bench.want_state(13, BackendState::Filling);
        assert_eq!(bench.obstacle(13), Some(Obstacle::FillsAgain), "{end}");
    }
}

#[test]
fn who_fills_after_a_drain_may_have_kept_flows() {
    let mut bench = Bench::new();
    bench.want_state(11, BackendState::Draining);
    bench.want_state(11, BackendState::Active);
    assert_eq!((bench.state(11), bench.obstacle(11)), (State::Filling, Some(Obstacle::FillsAgain)));
    // Over by its time limit, with flows that are still alive.
    bench.want_state(11, BackendState::Draining);
    bench.says(11, 7, Others::Unknown);
    bench.pass(bench.drain);
    assert_eq!((bench.state(11), bench.obstacle(11)), (State::Gone, None));
    bench.want_state(11, BackendState::Active);
    assert_eq!((bench.state(11), bench.obstacle(11)), (State::Filling, Some(Obstacle::FillsAgain)));
    // Over because none was left.
    bench.want_state(11, BackendState::Draining);
    bench.now += bench.fill;
    bench.says(11, 0, Others::Unknown);
    assert_eq!((bench.state(11), bench.obstacle(11)), (State::Gone, None));
    bench.want_state(11, BackendState::Active);
    assert_eq!((bench.state(11), bench.obstacle(11)), (State::Filling, None));
}

#[test]
fn who_moved_to_another_site_keeps_its_flows() {
    let mut bench = Bench::new();
    bench.want(|b| b.push(Backend { pop: Some("sin1".to_owned()), ..backend(21) }));
    bench.want(|b| named(b, 12).pop = Some("sin1".to_owned()));
    assert_eq!((bench.state(12), bench.obstacle(12)), (State::Filling, Some(Obstacle::FillsAgain)));
}

#[test]
fn who_drains_goes_when_it_says_that_no_flow_is_left() {
    let mut bench = Bench::new();
    bench.want_state(11, BackendState::Draining);
    assert_eq!(bench.obstacle(11), Some(Obstacle::Drains(None)));
    for (flows, others, expected) in [
        (7, Others::HaveDrain, Some(Obstacle::Drains(Some(7)))),
        (0, Others::MayFeed, Some(Obstacle::Fed)),
        (0, Others::Unknown, None),
        (0, Others::HaveDrain, None),
    ] {
        bench.says(11, flows, others);
        assert_eq!((bench.state(11), bench.obstacle(11)), (State::Draining, expected), "{flows} {others:?}");
    }
}

#[test]
fn of_what_was_before_the_daemon_nothing_is_known() {
    for (state, obstacle) in [
        (BackendState::Active, Obstacle::Active),
        (BackendState::Filling, Obstacle::FillsAgain),
        (BackendState::Draining, Obstacle::Drains(None)),
    ] {
        let mut bench = Bench::new();
        named(&mut bench.config.pools[0].backends, 11).state = state;
        bench.membership = Membership::start(bench.now, &bench.config);
        assert_eq!(bench.obstacle(11), Some(obstacle));
    }
    // One that is added so that it drains has its flows from somewhere.
    let mut bench = Bench::new();
    bench.want(|b| b.push(Backend { state: BackendState::Draining, ..backend(13) }));
    assert_eq!(bench.obstacle(13), Some(Obstacle::Drains(None)));
}

#[test]
fn obstacles_are_those_of_the_pools_that_are_meant() {
    let bench = Bench::new();
    let obstacles = |pool, last| bench.membership.obstacles(pool, backend_address(last));
    assert_eq!(obstacles(None, 11), [("web", Obstacle::Active)]);
    assert_eq!(obstacles(Some("web"), 11), [("web", Obstacle::Active)]);
    assert_eq!(obstacles(Some("dns"), 11), []);
    assert_eq!(obstacles(None, 99), []);
}
