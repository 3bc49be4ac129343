//! Steps that nobody orders: joins and drains that end, health.

use super::*;
use crate::membership::{DEAD_HOLD, Fitness, Health, Others, SETTLE};

impl Bench {
    /// State and weight of a backend in the data plane; none = it is in no table.
    fn in_table(&self, last: u8) -> Option<(BackendState, u32)> {
        let world = self.fake.world();
        let backends = &world.applied.as_ref().expect("applied").pools[0].backends;
        backends.iter().find(|b| b.address == backend_address(last)).map(|b| (b.state, b.weight))
    }

    fn fitness(&self, last: u8) -> Fitness {
        let world = self.fake.world();
        world.in_force.as_ref().expect("applied").standings.of("web", backend_address(last)).fitness
    }

    /// Goes to the next deadline and lets it pass.
    fn next_deadline(&mut self) {
        self.now = self.core.deadline().expect("something is due");
        self.feed(Event::Timer);
    }

    fn report(&mut self, ticket: Ticket, last: u8, health: Health) {
        let address = backend_address(last);
        self.feed(Event::Health(HealthReport { ticket: Some(ticket), pool: None, address, health }));
    }

    fn add_and_resolve(&mut self, ticket: Ticket, last: u8) {
        self.order(ticket, add(last));
        self.next_hop(last);
        self.fake.world().calls.clear();
    }
}

fn undrain(last: u8) -> Change {
    let address = backend_address(last);
    Change::Edits(vec![Edit::SetState { pool: None, address, state: BackendState::Active }])
}

fn weigh(last: u8, weight: u32) -> Change {
    Change::Edits(vec![Edit::SetWeight { pool: None, address: backend_address(last), weight }])
}

#[test]
fn an_added_backend_becomes_active_by_itself() {
    let mut bench = Bench::serving();
    bench.add_and_resolve(1, 13);
    assert_eq!(bench.in_table(13), Some((BackendState::Filling, 100)));
    let fill_time = bench.core.config().pools[0].fill_time;
    assert_eq!(bench.core.deadline(), Some(bench.now + fill_time));
    bench.feed(Event::Timer);
    assert_eq!(bench.calls(), Vec::<String>::new(), "too early");
    bench.next_deadline();
    assert_eq!(bench.calls(), ["apply"], "the file has said so all the time");
    assert_eq!(bench.in_table(13), Some((BackendState::Active, 100)));
    assert_eq!((bench.core.generation(), bench.core.deadline()), (2, None));
}

#[test]
fn an_added_backend_becomes_active_when_all_other_nodes_list_it() {
    let mut bench = Bench::serving();
    bench.add_and_resolve(1, 13);
    let joins = bench.core.joins();
    let keys: Vec<_> = joins.iter().map(|join| join.key.clone()).collect();
    assert_eq!(keys, [("web".to_owned(), backend_address(13))]);
    bench.feed(Event::Listed(joins.clone()));
    assert_eq!(bench.in_table(13), Some((BackendState::Active, 100)));
    assert_eq!((bench.core.joins(), bench.core.deadline()), (Vec::new(), None));
    bench.fake.world().calls.clear();
    bench.feed(Event::Listed(joins));
    assert_eq!(bench.calls(), Vec::<String>::new(), "said twice, done once");
}

#[test]
fn a_raised_weight_and_regained_health_are_in_force_when_all_other_nodes_know_of_them() {
    let mut bench = Bench::serving();
    bench.order(1, weigh(11, 300));
    bench.report(2, 12, Health::Down);
    bench.report(3, 12, Health::Up);
    let joins = bench.core.joins();
    assert_eq!(joins.len(), 2);
    bench.feed(Event::Listed(joins));
    assert_eq!(bench.in_table(11), Some((BackendState::Active, 300)));
    assert_eq!((bench.fitness(12), bench.core.deadline()), (Fitness::Fit, None));
}

#[test]
fn a_raised_weight_comes_later_and_a_lowered_one_at_once() {
    let mut bench = Bench::serving();
    bench.order(1, weigh(11, 300));
    assert_eq!(bench.in_table(11), Some((BackendState::Active, 100)));
    bench.order(2, weigh(12, 50));
    assert_eq!(bench.in_table(12), Some((BackendState::Active, 50)));
    bench.next_deadline();
    assert_eq!(bench.in_table(11), Some((BackendState::Active, 300)));
}

#[test]
fn the_time_of_a_join_begins_when_it_is_in_force() {
    let mut bench = Bench::serving();
    bench.order(1, add(13));
    bench.now += RESOLVE_WAIT;
    bench.feed(Event::Timer);
    let fill_time = bench.core.config().pools[0].fill_time;
    assert_eq!(bench.core.deadline(), Some(bench.now + fill_time));
}

#[test]
fn a_change_that_fails_leaves_the_membership_as_it_was() {
    for step in ["apply", "commit"] {
        let mut bench = Bench::serving();
        bench.fake.world().failing.push(step);
        bench.order(1, weigh(11, 300));
        bench.assert_in_force(&config(), 1);
        assert_eq!((bench.in_table(11), bench.core.deadline()), (Some((BackendState::Active, 100)), None));
    }
}

#[test]
fn a_step_that_fails_is_tried_again_later() {
    let mut bench = Bench::serving();
    bench.add_and_resolve(1, 13);
    bench.fake.world().failing.push("apply");
    bench.next_deadline();
    assert_eq!(bench.in_table(13), Some((BackendState::Filling, 100)));
    bench.feed(Event::Timer);
    assert_eq!(bench.calls(), ["apply"], "not at once");
    bench.next_deadline();
    assert_eq!(bench.in_table(13), Some((BackendState::Active, 100)));
}

#[test]
fn what_is_due_during_a_change_is_done_after_it() {
    let mut bench = Bench::serving();
    bench.add_and_resolve(1, 13);
    bench.order(2, add(14));
    bench.now += bench.core.config().pools[0].fill_time;
    assert_eq!(bench.in_table(13), Some((BackendState::Filling, 100)));
    bench.next_hop(14);
    assert_eq!(bench.calls(), ["prepare", "apply", "commit", "apply"]);
    assert_eq!(bench.in_table(13), Some((BackendState::Active, 100)));
    assert_eq!(bench.in_table(14), Some((BackendState::Filling, 100)));
}

#[test]
fn a_drain_ends_when_the_backend_says_that_no_flow_is_left() {
    let mut bench = Bench::serving();
    bench.fake.world().flows.insert(backend_address(11), 2);
    bench.order(1, drain(11));
    bench.next_deadline();
    let report = bench.core.report(bench.now, "web", backend_address(11)).expect("it is there");
    assert_eq!(report.remaining, Some(2));
    bench.fake.world().flows.insert(backend_address(11), 0);
    let begin = bench.now;
    while bench.in_table(11).is_some() {
        bench.next_deadline();
    }
    let pool = &config().pools[0];
    assert!(bench.now - begin < pool.drain_timeout / 10);
    bench.next_hop(11);
    assert_eq!(bench.core.deadline(), None, "nobody is asked any more");
    // It is in the file still; and it comes back as a join, with the way to it.
    assert_eq!(bench.core.config(), &drained(11));
    bench.order(2, undrain(11));
    assert_eq!(bench.in_table(11), Some((BackendState::Filling, 100)));
    assert!(bench.fake.world().next_hops.contains_key(&backend_address(11)));
}

#[test]
fn a_drain_that_all_other_nodes_have_does_not_wait_for_the_fill_time() {
    let mut bench = Bench::serving();
    bench.fake.world().others = Others::HaveDrain;
    bench.fake.world().flows.insert(backend_address(11), 0);
    bench.order(1, drain(11));
    let begin = bench.now;
    while bench.in_table(11).is_some() {
        bench.next_deadline();
    }
    let fill_time = config().pools[0].fill_time;
    assert!(bench.now - begin >= SETTLE && bench.now - begin < fill_time / 2, "{:?}", bench.now - begin);
}

#[test]
fn a_drain_of_which_nothing_is_known_ends_at_its_time_limit() {
    let mut bench = Bench::serving();
    bench.order(1, drain(11));
    bench.now += config().pools[0].drain_timeout;
    bench.feed(Event::Timer);
    assert_eq!(bench.in_table(11), None);
    assert_eq!(bench.fake.world().file, Some(drained(11)));
}

#[test]
fn health_goes_to_the_data_plane_and_nowhere_else() {
    let mut bench = Bench::serving();
    bench.report(1, 11, Health::Down);
    assert_eq!(bench.calls(), ["apply"]);
    assert_eq!(bench.fitness(11), Fitness::Failed { held: true });
    assert_eq!(bench.in_table(11), Some((BackendState::Active, 100)), "it owns its slots still");
    let [(1, Ok(outcome))] = &bench.replies[..] else { panic!("{:?}", bench.replies) };
    assert_eq!(outcome.differences[0].to_string(), "backend web 10.0.0.11 changed: health unknown -> down");
    assert_eq!(bench.core.deadline(), Some(bench.now + DEAD_HOLD));
    bench.next_deadline();
    assert_eq!(bench.fitness(11), Fitness::Failed { held: false });
    bench.report(2, 11, Health::Up);
    assert_eq!(bench.fitness(11), Fitness::Returning);
    bench.next_deadline();
    assert_eq!(bench.fitness(11), Fitness::Fit);
    bench.assert_in_force(&config(), 1);
}

#[test]
fn health_that_changes_nothing_is_answered_all_the_same() {
    let mut bench = Bench::serving();
    bench.report(1, 11, Health::Up);
    bench.report(2, 11, Health::Up);
    assert_eq!(bench.calls(), Vec::<String>::new());
    assert!(
        matches!(&bench.replies[..], [(1, Ok(a)), (2, Ok(b))] if a.differences.len() == 1 && b.differences.is_empty())
    );
    bench.report(3, 99, Health::Up);
    assert!(matches!(&bench.replies[2], (3, Err(f)) if f.code == Code::NotFound));
}

#[test]
fn news_of_health_wait_for_a_change_and_hold_after_it() {
    let mut bench = Bench::serving();
    bench.order(1, add(13));
    bench.report(2, 11, Health::Down);
    assert!(bench.replies.is_empty());
    bench.next_hop(13);
    assert_eq!(bench.replies.iter().map(|(t, _)| *t).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(bench.fitness(11), Fitness::Failed { held: true });
    bench.order(3, Change::Reload);
    assert_eq!(bench.fitness(11), Fitness::Failed { held: true });
}

#[test]
fn health_that_the_data_plane_refuses_is_not_believed() {
    let mut bench = Bench::serving();
    bench.fake.world().failing.push("apply");
    bench.report(1, 11, Health::Down);
    assert!(matches!(&bench.replies[..], [(1, Err(_))]));
    let report = bench.core.report(bench.now, "web", backend_address(11)).expect("it is there");
    assert_eq!(report.health, Health::Unknown);
}

#[test]
fn who_may_hold_flows_wants_insistence() {
    let mut bench = Bench::serving();
    bench.add_and_resolve(1, 13);
    bench.fake.world().flows.insert(backend_address(12), 7);
    bench.order(2, drain(12));
    for (last, where_it_stands, what_to_do) in [
        (11, "active in web", "drain it first: "),
        (12, "draining in web, 7 flows left", "wait for its drain: "),
    ] {
        let refused = bench.core.removable(None, backend_address(last)).expect_err("it may hold flows");
        assert_eq!(refused.code, Code::BackendActive);
        let expected = format!("backend 10.0.0.{last} may hold flows, which would break: {where_it_stands}");
        assert_eq!(refused.message, expected);
        let hint = refused.hint.expect("a hint");
        assert!(hint.starts_with(what_to_do) && hint.contains("--wait") && hint.contains("--now"), "{hint}");
    }
    for last in [13, 99] {
        assert_eq!(bench.core.removable(None, backend_address(last)), Ok(()), "{last}");
    }
    bench.order(3, undrain(12));
    assert!(bench.core.removable(None, backend_address(12)).is_err(), "it fills, and has kept its flows");
}

#[test]
fn leaving_answers_who_has_told_of_health() {
    let mut bench = Bench::serving();
    bench.order(1, add(13));
    bench.report(2, 11, Health::Down);
    bench.feed(Event::Terminate);
    assert!(bench.replies.iter().all(|(_, r)| matches!(r, Err(f) if f.code == Code::Unavailable)));
    assert_eq!(bench.replies.len(), 2);
}
