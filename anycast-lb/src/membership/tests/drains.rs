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

const NO_FLOW: &[&str] = &["backend web 10.0.0.11 is gone: no flow is left"];

#[test]
fn a_drain_ends_when_no_flow_is_left() {
    let mut bench = Bench::new();
    bench.want_state(11, BackendState::Draining);
    assert_eq!(bench.says(11, 0, Others::Unknown), [""; 0]);
    assert_eq!(bench.state(11), State::Draining, "other nodes may send new flows still");
    bench.now += bench.fill;
    assert_eq!(bench.says(11, 3, Others::Unknown), [""; 0]);
    assert_eq!(bench.report(11).remaining, Some(3));
    assert_eq!(bench.says(11, 0, Others::Unknown), NO_FLOW);
    assert_eq!(bench.says(12, 0, Others::HaveDrain), [""; 0], "it is active");
    assert_eq!(bench.state(12), State::Active);
}

#[test]
fn where_all_nodes_have_the_drain_it_ends_when_what_was_on_its_way_has_arrived() {
    let mut bench = Bench::new();
    assert!(SETTLE * 2 < bench.fill);
    bench.want_state(11, BackendState::Draining);
    bench.now += SETTLE;
    assert_eq!(bench.says(11, 0, Others::HaveDrain), [""; 0], "known just now");
    let everywhere = bench.now;
    bench.now += SETTLE;
    // An answer that comes now to a question of before.
    let old = Remaining { flows: 0, asked: everywhere, others: Others::HaveDrain };
    assert_eq!(bench.membership.set_remaining(bench.now, backend_address(11), old), []);
    assert_eq!(bench.says(11, 1, Others::HaveDrain), [""; 0]);
    assert_eq!(bench.says(11, 0, Others::HaveDrain), NO_FLOW);
}

#[test]
fn the_wait_for_what_is_on_its_way_begins_anew_when_a_node_has_ended_its_drain() {
    for other in [Others::MayFeed, Others::Unknown] {
        let mut bench = Bench::new();
        bench.want_state(11, BackendState::Draining);
        bench.says(11, 0, Others::HaveDrain);
        bench.now += SETTLE / 2;
        bench.says(11, 0, other);
        bench.now += SETTLE / 2;
        assert_eq!(bench.says(11, 0, Others::HaveDrain), [""; 0]);
        bench.now += SETTLE;
        assert_eq!(bench.says(11, 0, Others::HaveDrain), NO_FLOW);
    }
}

#[test]
fn a_drain_goes_on_while_other_nodes_may_feed_the_backend() {
    let mut bench = Bench::new();
    bench.want_state(11, BackendState::Draining);
    bench.now += bench.fill * 2;
    assert_eq!(bench.says(11, 0, Others::MayFeed), [""; 0]);
    assert_eq!((bench.state(11), bench.report(11).remaining), (State::Draining, Some(0)));
    // `fill_time` is no longer than what is waited for anyway.
    bench.config.pools[0].fill_time = SETTLE / 2;
    bench.membership.configure(bench.now, &bench.config);
    assert_eq!(bench.says(11, 0, Others::HaveDrain), [""; 0]);
    bench.now += SETTLE / 2;
    assert_eq!(bench.says(11, 0, Others::HaveDrain), NO_FLOW);
}

#[test]
fn what_a_backend_said_before_its_drain_is_nothing_about_it() {
    let mut bench = Bench::new();
    let asked = bench.now;
    bench.now += SETTLE;
    bench.want_state(11, BackendState::Draining);
    let early = Remaining { flows: 0, asked, others: Others::HaveDrain };
    assert_eq!(bench.membership.set_remaining(bench.now, backend_address(11), early), []);
    assert_eq!(bench.report(11).remaining, None);
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
