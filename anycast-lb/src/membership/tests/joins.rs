//! Whatever gives a backend slots.

use super::*;

const MOMENT: Duration = Duration::from_millis(1);

#[test]
fn at_a_start_nothing_is_a_join() {
    let mut bench = Bench::new();
    assert_eq!((bench.state(11), bench.state(12)), (State::Active, State::Active));
    assert_eq!(bench.membership.deadline(), None);
    assert_eq!(bench.membership.in_force(&bench.config), InForce::from(bench.config.clone()));
    bench.membership.configure(bench.now, &bench.config);
    assert_eq!(bench.membership.deadline(), None, "the same wish again changes nothing");
}

#[test]
fn a_new_backend_fills_first() {
    let mut bench = Bench::new();
    bench.want(|b| b.push(backend(13)));
    assert_eq!(bench.state(13), State::Filling);
    assert_eq!(bench.report(13).left, Some(bench.fill));
    assert_eq!(bench.table()[2], (backend_address(13), BackendState::Filling, 100));
    assert_eq!(bench.config.pools[0].backends[2].state, BackendState::Active, "the wish stays as it is");
    assert_eq!(bench.membership.deadline(), Some(bench.now + bench.fill));
    assert_eq!(bench.pass(bench.fill - MOMENT), [""; 0]);
    assert_eq!(bench.pass(MOMENT), ["backend web 10.0.0.13 is active"]);
    assert_eq!(bench.table()[2], (backend_address(13), BackendState::Active, 100));
    assert_eq!(bench.membership.deadline(), None);
}

#[test]
fn a_join_is_over_when_everybody_lists_the_newcomer() {
    let mut bench = Bench::new();
    bench.want(|b| b.push(backend(13)));
    let join = bench.join(13, bench.now, 100);
    bench.pass(MOMENT);
    assert_eq!(bench.membership.joins(), std::slice::from_ref(&join));
    assert_eq!(bench.listed(&bench.join(11, join.since, 100)), [""; 0], "it does not fill");
    assert_eq!(bench.listed(&join), ["backend web 10.0.0.13 is active"]);
    assert_eq!((bench.state(13), bench.membership.deadline()), (State::Active, None));
    // What the operator has configured so, nobody else ends.
    bench.want_state(13, BackendState::Filling);
    assert_eq!(bench.membership.joins(), []);
    assert_eq!(bench.listed(&join), [""; 0]);
}

#[test]
fn a_raised_weight_is_in_force_when_everybody_knows_it() {
    let mut bench = Bench::new();
    bench.want(|b| named(b, 12).weight = 300);
    let join = bench.join(12, bench.now, 300);
    assert_eq!(bench.membership.joins(), std::slice::from_ref(&join));
    bench.pass(MOMENT);
    // Raised again meanwhile: what the others know of is not that.
    bench.want(|b| named(b, 12).weight = 400);
    assert_eq!(bench.listed(&join), [""; 0]);
    assert_eq!(bench.report(12).weight, 100);
    let again = bench.join(12, bench.now, 400);
    assert_eq!(bench.listed(&again), ["backend web 10.0.0.12 has weight 400"]);
    assert_eq!((bench.report(12).weight, bench.membership.deadline()), (400, None));
}

#[test]
fn regained_health_is_in_force_when_everybody_lists_the_backend() {
    let mut bench = Bench::new();
    bench.health(12, Health::Down);
    assert_eq!(bench.membership.joins(), [], "nobody waits for one that is down");
    bench.pass(DEAD_HOLD);
    bench.health(12, Health::Up);
    let join = bench.join(12, bench.now, 100);
    assert_eq!(bench.membership.joins(), std::slice::from_ref(&join));
    // Down and up again meanwhile.
    bench.pass(MOMENT);
    bench.health(12, Health::Down);
    assert_eq!(bench.listed(&join), [""; 0]);
    bench.health(12, Health::Up);
    assert_eq!(bench.listed(&join), [""; 0], "that was the join before");
    assert_eq!(bench.standing(12).fitness, Fitness::Returning);
    let again = bench.join(12, bench.now, 100);
    assert_eq!(bench.listed(&again), ["backend web 10.0.0.12 is active"]);
    assert_eq!((bench.standing(12).fitness, bench.membership.deadline()), (Fitness::Fit, None));
}

#[test]
fn joins_of_one_backend_end_together_when_the_last_of_them_is_known() {
    let mut bench = Bench::new();
    bench.health(12, Health::Down);
    bench.health(12, Health::Up);
    let returned = bench.join(12, bench.now, 100);
    bench.pass(MOMENT);
    bench.want(|b| named(b, 12).weight = 300);
    assert_eq!(bench.listed(&returned), [""; 0]);
    let both = bench.join(12, bench.now, 300);
    assert_eq!(
        bench.listed(&both),
        ["backend web 10.0.0.12 has weight 300", "backend web 10.0.0.12 is active"]
    );
    assert_eq!(bench.membership.deadline(), None);
}

#[test]
fn where_nobody_serves_a_newcomer_need_not_wait() {
    let mut bench = Bench::new();
    // A reload that replaces everyone.
    bench.want(|b| *b = vec![backend(13), backend(14)]);
    assert_eq!((bench.state(13), bench.state(14)), (State::Active, State::Active));
    // The last active ones drain while another one fills.
    bench.want(|b| b.push(backend(15)));
    assert_eq!(bench.state(15), State::Filling);
    bench.want_state(13, BackendState::Draining);
    assert_eq!(bench.state(15), State::Filling, "14 serves still");
    bench.want_state(14, BackendState::Draining);
    assert_eq!(bench.state(15), State::Active);
}

#[test]
fn another_site_serves_nobody_here() {
    let mut bench = Bench::new();
    let away = |last| Backend { pop: Some("sin1".to_owned()), ..backend(last) };
    bench.want(|b| b.push(away(21)));
    assert_eq!(bench.state(21), State::Active, "the first of its site");
    bench.want(|b| b.push(away(22)));
    assert_eq!(bench.state(22), State::Filling);
    // What moves to another site joins another table.
    bench.want(|b| named(b, 12).pop = Some("sin1".to_owned()));
    assert_eq!(bench.state(12), State::Filling);
}

#[test]
fn overlapping_joins_end_each_at_its_own_time() {
    let mut bench = Bench::new();
    bench.want(|b| b.push(backend(13)));
    bench.pass(bench.fill / 2);
    bench.want(|b| b.push(backend(14)));
    assert_eq!(bench.pass(bench.fill / 2), ["backend web 10.0.0.13 is active"]);
    assert_eq!(bench.state(14), State::Filling);
    assert_eq!(bench.pass(bench.fill / 2), ["backend web 10.0.0.14 is active"]);
}

#[test]
fn a_backend_removed_while_it_fills_is_forgotten() {
    let mut bench = Bench::new();
    bench.want(|b| b.push(backend(13)));
    bench.want(|b| b.retain(|b| b.address != backend_address(13)));
    assert_eq!(bench.membership.report(bench.now, "web", backend_address(13)), None);
    assert_eq!(bench.pass(bench.fill), [""; 0]);
    bench.want(|b| b.push(backend(13)));
    assert_eq!(bench.report(13).left, Some(bench.fill), "it begins anew");
}

#[test]
fn a_raised_weight_waits_and_a_lowered_one_does_not() {
    let mut bench = Bench::new();
    bench.want(|b| named(b, 11).weight = 200);
    assert_eq!(bench.table()[0], (backend_address(11), BackendState::Active, 100));
    assert_eq!(bench.standing(11).coming_weight, Some(200));
    bench.pass(bench.fill / 2);
    // More again: the other nodes have not heard of that before now.
    bench.want(|b| named(b, 11).weight = 300);
    assert_eq!(bench.report(11).left, Some(bench.fill));
    bench.pass(bench.fill / 2);
    // Less than was announced: no need to wait longer.
    bench.want(|b| named(b, 11).weight = 250);
    assert_eq!(bench.report(11).left, Some(bench.fill / 2));
    assert_eq!(bench.pass(bench.fill / 2), ["backend web 10.0.0.11 has weight 250"]);
    assert_eq!(bench.table()[0].2, 250);
    bench.want(|b| named(b, 11).weight = 400);
    bench.want(|b| named(b, 11).weight = 50);
    assert_eq!((bench.table()[0].2, bench.standing(11).coming_weight), (50, None));
    assert_eq!(bench.membership.deadline(), None);
}

#[test]
fn a_larger_weight_while_filling_begins_the_wait_anew() {
    let mut bench = Bench::new();
    bench.want(|b| b.push(backend(13)));
    bench.pass(bench.fill / 2);
    bench.want(|b| named(b, 13).weight = 10);
    assert_eq!(bench.report(13).left, Some(bench.fill / 2));
    bench.want(|b| named(b, 13).weight = 100);
    assert_eq!(bench.report(13).left, Some(bench.fill));
    assert_eq!(bench.table()[2], (backend_address(13), BackendState::Filling, 100));
}

#[test]
fn configured_filling_lasts_until_the_operator_ends_it() {
    let mut bench = Bench::new();
    bench.want_state(12, BackendState::Filling);
    assert_eq!((bench.state(12), bench.report(12).left), (State::Filling, None));
    assert_eq!(bench.pass(bench.fill * 100), [""; 0]);
    bench.want_state(12, BackendState::Active);
    assert_eq!(bench.report(12).left, Some(bench.fill));
}

#[test]
fn a_reload_of_something_else_does_not_disturb_a_join() {
    let mut bench = Bench::new();
    bench.want(|b| b.push(backend(13)));
    bench.pass(bench.fill / 2);
    bench.want(|b| b.reverse());
    bench.config.pools[0].fill_time *= 10;
    bench.membership.configure(bench.now, &bench.config);
    assert_eq!(bench.report(13).left, Some(bench.fill / 2));
}
