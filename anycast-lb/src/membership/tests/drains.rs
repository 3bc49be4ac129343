//! Drains and their end.

use super::*;

#[test]
fn a_drain_ends_at_its_time_limit() {
    let mut bench = Bench::new();
    bench.want_state(11, BackendState::Draining);
    assert_eq!(bench.table()[0].1, BackendState::Draining);
    assert_eq!((bench.state(11), bench.report(11).left), (State::Draining, Some(bench.drain)));
    assert_eq!(bench.membership.draining(), [backend_address(11)]);
    assert_eq!(bench.membership.deadline(), Some(bench.now + bench.drain));
    assert_eq!(bench.pass(bench.drain), ["backend web 10.0.0.11 is gone: its time limit has passed"]);
    assert_eq!(bench.state(11), State::Gone);
    assert_eq!(bench.table().len(), 1, "it is in no table");
    assert!(bench.membership.draining().is_empty());
    bench.membership.configure(bench.now, &bench.config);
    assert_eq!(bench.state(11), State::Gone, "what is drained stays so");
}

#[test]
fn a_drain_ends_when_no_flow_is_left() {
    let mut bench = Bench::new();
    bench.want_state(11, BackendState::Draining);
    let address = backend_address(11);
    assert_eq!(bench.membership.set_remaining(bench.now, address, 0), []);
    assert_eq!(bench.state(11), State::Draining, "other nodes may send new flows still");
    bench.now += bench.fill;
    assert_eq!(bench.membership.set_remaining(bench.now, address, 3), []);
    assert_eq!(bench.report(11).remaining, Some(3));
    let done = bench.membership.set_remaining(bench.now, address, 0);
    assert_eq!(done[0].to_string(), "backend web 10.0.0.11 is gone: no flow is left");
    assert_eq!(bench.membership.set_remaining(bench.now, backend_address(12), 0), [], "it is active");
    assert_eq!(bench.state(12), State::Active);
}

#[test]
fn undrain_is_a_join_during_the_drain_and_after_it() {
    let mut bench = Bench::new();
    bench.want_state(11, BackendState::Draining);
    bench.want_state(11, BackendState::Active);
    assert_eq!((bench.state(11), bench.report(11).left), (State::Filling, Some(bench.fill)));
    // Changed one's mind again.
    bench.want_state(11, BackendState::Draining);
    assert_eq!(bench.report(11).left, Some(bench.drain));
    bench.pass(bench.drain);
    bench.want_state(11, BackendState::Active);
    assert_eq!(bench.state(11), State::Filling);
    assert_eq!(bench.pass(bench.fill), ["backend web 10.0.0.11 is active"]);
}

#[test]
fn another_time_limit_holds_for_a_drain_under_way() {
    let mut bench = Bench::new();
    bench.want_state(11, BackendState::Draining);
    bench.pass(bench.fill);
    bench.config.pools[0].drain_timeout = bench.fill * 2;
    bench.membership.configure(bench.now, &bench.config);
    assert_eq!(bench.report(11).left, Some(bench.fill));
}

#[test]
fn a_start_begins_the_time_of_a_drain_anew() {
    let mut config = config();
    config.pools[0].backends[0].state = BackendState::Draining;
    let now = Instant::now();
    let membership = Membership::start(now, &config);
    assert_eq!(membership.deadline(), Some(now + config.pools[0].drain_timeout));
}

#[test]
fn only_active_ones_count_as_active() {
    let mut bench = Bench::new();
    bench.want(|b| b.push(backend(13)));
    bench.want_state(12, BackendState::Draining);
    let active = |last, pool| bench.membership.active_in(pool, backend_address(last));
    assert_eq!(active(11, None), ["web"]);
    assert_eq!(active(11, Some("web")), ["web"]);
    assert_eq!(active(11, Some("dns")), [""; 0]);
    assert_eq!((active(12, None), active(13, None)), (vec![], vec![]));
    // It still holds the flows from before it was down.
    bench.health(11, Health::Down);
    bench.health(11, Health::Up);
    assert_eq!(bench.membership.active_in(None, backend_address(11)), ["web"]);
}
