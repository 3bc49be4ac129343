//! Orders of events against fakes that remember.

mod announcing;
mod health;
mod log;
mod membership;
mod orders;

use super::*;
use crate::config::edit::Edit;
use crate::daemon::Code;
use crate::daemon::run::Drivers;
use crate::daemon::testing::{Fake, backend, backend_address, config, resolved};
use crate::model::{BackendState, XdpMode};
use crate::neighbour::Event as NeighbourEvent;

/// A core with its drivers, and a clock that stands still unless told otherwise.
struct Bench {
    core: Core,
    drivers: Drivers,
    fake: Fake,
    now: Instant,
    replies: Vec<(Ticket, Result<Outcome, Failure>)>,
    exit: Option<Result<(), Failure>>,
}

impl Bench {
    /// Started, but nothing is known of the neighbours.
    fn starting(config: Config) -> Self {
        let fake = Fake::new(&config);
        let drivers = fake.drivers();
        let core = Core::new(config);
        let mut bench = Bench { core, drivers, fake, now: Instant::now(), replies: Vec::new(), exit: None };
        let actions = bench.core.start(bench.now);
        bench.perform(actions);
        bench
    }

    /// In service, the calls of the start forgotten.
    fn serving() -> Self {
        Bench::serving_with(config())
    }

    /// The same with another configuration of these backends.
    fn serving_with(config: Config) -> Self {
        let mut bench = Bench::starting(config);
        bench.next_hop(11);
        bench.next_hop(12);
        assert!(bench.core.serving);
        bench.fake.world().calls.clear();
        bench
    }

    fn perform(&mut self, actions: Vec<Action>) {
        self.fake.world().now = Some(self.now);
        let mut actions = VecDeque::from(actions);
        while let Some(action) = actions.pop_front() {
            match action {
                Action::Reply(ticket, result) => self.replies.push((ticket, result)),
                Action::Exit(result) => self.exit = Some(result),
                other => {
                    if let Some(answer) = self.drivers.perform(other) {
                        actions.extend(self.core.step(self.now, answer));
                    }
                }
            }
        }
    }

    fn feed(&mut self, event: Event) {
        let actions = self.core.step(self.now, event);
        self.perform(actions);
    }

    fn next_hop(&mut self, last: u8) {
        let event = NeighbourEvent::NextHop { backend: backend_address(last), resolution: resolved(last) };
        self.feed(Event::Neighbour(event));
    }

    fn order(&mut self, ticket: Ticket, change: Change) {
        self.order_with(ticket, change, None, false);
    }

    fn order_with(&mut self, ticket: Ticket, change: Change, expect_generation: Option<u64>, dry_run: bool) {
        let origin = Origin::Caller(ticket);
        self.feed(Event::Order(Order { origin, change, expect_generation, dry_run }));
    }

    fn calls(&self) -> Vec<String> {
        self.fake.world().calls.clone()
    }

    /// File, data plane and core agree on this configuration.
    fn assert_in_force(&self, expected: &Config, generation: u64) {
        let world = self.fake.world();
        assert_eq!(world.file.as_ref(), Some(expected), "file");
        assert_eq!(world.in_force, Some(self.core.adjuster.membership.in_force(expected)), "data plane");
        assert_eq!(self.core.config(), expected, "core");
        assert_eq!(self.core.generation(), generation);
    }
}

fn drain(last: u8) -> Change {
    Change::Edits(vec![Edit::SetState {
        pool: None,
        address: backend_address(last),
        state: BackendState::Draining,
    }])
}

fn drained(last: u8) -> Config {
    let mut config = config();
    for b in config.pools[0].backends.iter_mut().filter(|b| b.address == backend_address(last)) {
        b.state = BackendState::Draining;
    }
    config
}

fn add(last: u8) -> Change {
    Change::Edits(vec![Edit::AddBackend {
        pool: "web".to_owned(),
        address: backend_address(last),
        weight: None,
        pop: None,
        server_id: None,
    }])
}

#[test]
fn a_start_resolves_then_applies_then_attaches_then_is_ready() {
    let mut bench = Bench::starting(config());
    bench.next_hop(11);
    assert_eq!(bench.calls(), Vec::<String>::new(), "one next hop is still unknown");
    bench.next_hop(12);
    assert_eq!(bench.calls(), ["apply", "attach", "ready"]);
    bench.assert_in_force(&config(), 1);
}

#[test]
fn a_start_does_not_unresolve_what_is_pinned() {
    let mut bench = Bench::starting(config());
    bench.next_hop(11);
    // "Asked, no answer yet" is no answer.
    let resolution = Resolution::Pending("waiting".to_owned());
    let pending = NeighbourEvent::NextHop { backend: backend_address(12), resolution };
    bench.feed(Event::Neighbour(pending));
    assert_eq!(bench.calls(), Vec::<String>::new());
    bench.now += RESOLVE_WAIT;
    assert_eq!(bench.core.deadline(), Some(bench.now));
    bench.feed(Event::Timer);
    assert_eq!(bench.calls(), ["apply", "attach", "ready"]);
    let told: Vec<IpAddr> = bench.fake.world().next_hops.keys().copied().collect();
    assert_eq!(told, [backend_address(11)], "nothing may be said about the one that is not known");
    // A failure is an answer: it is passed on.
    let resolution = Resolution::Unresolved("no route".to_owned());
    let event = NeighbourEvent::NextHop { backend: backend_address(12), resolution: resolution.clone() };
    bench.feed(Event::Neighbour(event));
    assert_eq!(bench.fake.world().next_hops.get(&backend_address(12)), Some(&resolution));
}

#[test]
fn a_start_that_fails_ends_the_daemon() {
    for (step, calls) in [("apply", &["apply"][..]), ("attach", &["apply", "attach"])] {
        let mut bench = Bench::starting(config());
        bench.fake.world().failing.push(step);
        bench.next_hop(11);
        bench.next_hop(12);
        assert_eq!(bench.calls(), calls);
        assert!(matches!(bench.exit, Some(Err(_))), "{step}");
    }
}

#[test]
fn a_backend_host_waits_for_its_own_addresses() {
    let mut wanted = config();
    wanted.role = Role::Backend;
    wanted.pools.clear();
    wanted.vips.clear();
    let mut bench = Bench::starting(wanted);
    assert_eq!(bench.calls(), Vec::<String>::new());
    bench.feed(Event::Neighbour(NeighbourEvent::Locals(vec![backend_address(1)])));
    assert_eq!(bench.calls(), ["set_locals", "apply", "attach", "ready"]);
    bench.feed(Event::Neighbour(NeighbourEvent::Locals(vec![backend_address(2)])));
    assert_eq!(bench.calls().last().map(String::as_str), Some("set_locals"));
}

#[test]
fn an_edit_is_prepared_applied_and_only_then_written() {
    let mut bench = Bench::serving();
    bench.order(7, drain(11));
    assert_eq!(bench.calls(), ["prepare", "apply", "commit"]);
    bench.assert_in_force(&drained(11), 2);
    let [(7, Ok(outcome))] = &bench.replies[..] else { panic!("{:?}", bench.replies) };
    assert_eq!(outcome.generation, 2);
    assert_eq!(outcome.files, ["/etc/anycast-lb/config.toml"]);
    assert_eq!(
        outcome.differences.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["backend web 10.0.0.11 changed: state active -> draining"]
    );
}

#[test]
fn a_failure_of_any_step_leaves_everything_as_it_was() {
    for (step, calls) in [
        ("prepare", &["prepare"][..]),
        ("apply", &["prepare", "apply"]),
        ("commit", &["prepare", "apply", "commit", "apply"]),
    ] {
        let mut bench = Bench::serving();
        bench.fake.world().failing.push(step);
        bench.order(1, drain(11));
        assert_eq!(bench.calls(), calls);
        bench.assert_in_force(&config(), 1);
        let [(1, Err(failure))] = &bench.replies[..] else { panic!("{:?}", bench.replies) };
        assert_eq!(failure.message, format!("{step} failed"));
        // And the next change works.
        bench.order(2, drain(12));
        bench.assert_in_force(&drained(12), 2);
    }
}

#[test]
fn a_roll_back_puts_the_ways_back_too() {
    let mut bench = Bench::serving();
    bench.fake.world().failing.push("commit");
    let address = backend_address(11);
    bench.order(1, Change::Edits(vec![Edit::RemoveBackend { pool: None, address }]));
    bench.assert_in_force(&config(), 1);
    assert_eq!(bench.fake.world().next_hops.get(&address), Some(&resolved(11)));
}

#[test]
fn a_roll_back_that_fails_is_not_hidden() {
    let mut bench = Bench::serving();
    bench.fake.world().failing.push("commit");
    // The first apply is the change's, the second puts the old state back.
    bench.order(1, Change::Reload);
    bench.fake.world().failing.clear();
    bench.replies.clear();
    let mut wanted = config();
    wanted.interfaces[0].mode = XdpMode::Generic;
    bench.fake.world().file = Some(wanted);
    bench.fake.world().failing.extend(["attach", "attach"]);
    bench.order(2, Change::Reload);
    let [(2, Err(failure))] = &bench.replies[..] else { panic!("{:?}", bench.replies) };
    assert_eq!(failure.message, "attach failed; and the old state could not be put back: attach failed");
    assert!(failure.hint.as_deref().is_some_and(|h| h.contains("restart")));
}

#[test]
fn a_reload_that_cannot_attach_goes_back_to_the_old_interfaces() {
    let mut bench = Bench::serving();
    let mut wanted = config();
    wanted.interfaces[0].mode = XdpMode::Generic;
    bench.fake.world().file = Some(wanted);
    bench.fake.world().failing.push("attach");
    bench.order(1, Change::Reload);
    assert_eq!(
        bench.calls(),
        ["reloading true", "prepare", "apply", "attach", "apply", "attach", "reloading false"]
    );
    assert_eq!(bench.fake.world().applied, Some(config()));
    assert_eq!(bench.core.config(), &config());
    assert!(matches!(&bench.replies[..], [(1, Err(_))]));
}

#[test]
fn another_generation_than_expected_is_refused_untouched() {
    let mut bench = Bench::serving();
    bench.order_with(1, drain(11), Some(1), false);
    assert!(matches!(&bench.replies[..], [(1, Ok(_))]));
    bench.fake.world().calls.clear();
    bench.order_with(2, drain(12), Some(1), false);
    assert_eq!(bench.calls(), Vec::<String>::new());
    let (2, Err(failure)) = &bench.replies[1] else { panic!("{:?}", bench.replies) };
    assert_eq!(failure.code, Code::GenerationMismatch);
    assert_eq!(failure.message, "the configuration is at generation 2, not 1");
    bench.assert_in_force(&drained(11), 2);
}

#[test]
fn a_change_that_changes_nothing_is_no_generation() {
    let mut bench = Bench::serving();
    bench.order(1, Change::Reload);
    bench.assert_in_force(&config(), 1);
    let [(1, Ok(outcome))] = &bench.replies[..] else { panic!("{:?}", bench.replies) };
    assert!(outcome.differences.is_empty());
}

#[test]
fn a_dry_run_only_looks() {
    let mut bench = Bench::serving();
    bench.fake.world().file = Some(drained(12));
    bench.order_with(1, Change::Reload, None, true);
    assert_eq!(bench.calls(), ["prepare"]);
    let [(1, Ok(outcome))] = &bench.replies[..] else { panic!("{:?}", bench.replies) };
    assert_eq!((outcome.generation, outcome.differences.len()), (1, 1));
    assert_eq!(bench.fake.world().applied, Some(config()));
}

#[test]
fn a_new_backend_owns_nothing_before_the_way_to_it_is_known() {
    let mut bench = Bench::serving();
    bench.order(1, add(13));
    assert_eq!(bench.calls(), ["prepare"]);
    assert!(bench.fake.world().targets.contains(&backend_address(13)));
    bench.next_hop(13);
    assert_eq!(bench.calls(), ["prepare", "apply", "commit"]);
    assert!(bench.fake.world().next_hops.contains_key(&backend_address(13)));
    let mut expected = config();
    expected.pools[0].backends.push(backend(13));
    bench.assert_in_force(&expected, 2);
}

#[test]
fn a_backend_that_never_answers_is_added_after_the_wait() {
    let mut bench = Bench::serving();
    bench.order(1, add(13));
    bench.now += RESOLVE_WAIT;
    bench.feed(Event::Timer);
    assert_eq!(bench.calls(), ["prepare", "apply", "commit"]);
    assert!(!bench.fake.world().next_hops.contains_key(&backend_address(13)));
    let [(1, Ok(outcome))] = &bench.replies[..] else { panic!("{:?}", bench.replies) };
    assert_eq!(outcome.warnings, ["packets to 10.0.0.13 are dropped for now: its next hop is not known yet"]);
}

#[test]
fn a_refused_backend_is_followed_no_longer() {
    let mut bench = Bench::serving();
    bench.fake.world().failing.push("apply");
    bench.order(1, add(13));
    bench.next_hop(13);
    assert!(matches!(&bench.replies[..], [(1, Err(_))]));
    assert_eq!(bench.fake.world().targets, [backend_address(11), backend_address(12)]);
    assert_eq!(bench.core.resolution(backend_address(13)), None);
}

#[test]
fn changes_wait_for_each_other() {
    let mut bench = Bench::serving();
    bench.order(1, add(13));
    bench.order(2, drain(11));
    assert!(bench.replies.is_empty());
    bench.next_hop(13);
    assert_eq!(bench.calls(), ["prepare", "apply", "commit", "prepare", "apply", "commit"]);
    assert_eq!(bench.replies.iter().map(|(t, _)| *t).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(bench.core.generation(), 3);
}

#[test]
fn what_is_fixed_at_the_start_is_refused() {
    let mut bench = Bench::serving();
    let mut wanted = config();
    wanted.instance = "other".to_owned();
    bench.fake.world().file = Some(wanted);
    bench.order(1, Change::Reload);
    let [(1, Err(failure))] = &bench.replies[..] else { panic!("{:?}", bench.replies) };
    assert_eq!(failure.code, Code::NeedsRestart);
    assert_eq!(bench.core.config(), &config());
}

#[test]
fn a_link_that_comes_back_is_attached_again_and_tried_until_it_works() {
    let mut bench = Bench::serving();
    let up = |name: &str| Event::Neighbour(NeighbourEvent::LinkUp { interface: name.to_owned() });
    bench.feed(up("unrelated0"));
    assert_eq!(bench.calls(), Vec::<String>::new());
    bench.fake.world().failing.push("attach");
    bench.feed(up("eth0"));
    assert_eq!(bench.calls(), ["attach"]);
    assert_eq!(bench.core.deadline(), Some(bench.now + ATTACH_RETRY));
    bench.feed(Event::Timer);
    assert_eq!(bench.calls(), ["attach"], "too early");
    bench.now += ATTACH_RETRY;
    bench.feed(Event::Timer);
    assert_eq!(bench.calls(), ["attach", "attach"]);
    assert_eq!(bench.core.deadline(), None);
}

#[test]
fn a_link_that_comes_back_during_a_change_is_attached_after_it() {
    let mut bench = Bench::serving();
    bench.order(1, add(13));
    bench.feed(Event::Neighbour(NeighbourEvent::LinkUp { interface: "eth0".to_owned() }));
    assert_eq!(bench.calls(), ["prepare"]);
    bench.next_hop(13);
    bench.feed(Event::Timer);
    assert_eq!(bench.calls(), ["prepare", "apply", "commit", "attach"]);
}

#[test]
fn leaving_answers_who_waits_and_takes_nothing_off() {
    let mut bench = Bench::serving();
    bench.order(1, add(13));
    bench.order(2, drain(11));
    bench.feed(Event::Terminate);
    assert_eq!(bench.exit, Some(Ok(())));
    assert_eq!(bench.replies.len(), 2);
    assert!(bench.replies.iter().all(|(_, r)| matches!(r, Err(f) if f.code == Code::Unavailable)));
    assert_eq!(bench.calls(), ["prepare"]);
}
