//! What follows for announced prefixes.

use std::time::Duration;

use anycast_lb_health::Health as Checked;
use anycast_lb_routing::announce::driver::Method;
use anycast_lb_routing::announce::gate::{Decision, Require, Verdict};
use ipnet::IpNet;

use super::*;
use crate::membership::Health;
use crate::model::{AnnouncedPrefix, Role};

fn prefix() -> IpNet {
    "203.0.113.0/24".parse().expect("a prefix")
}

fn announcing() -> Config {
    let mut config = config();
    config.prefixes = vec![prefix()];
    config.announcing.prefixes =
        vec![AnnouncedPrefix { prefix: prefix(), method: Method::Bgp, require: Require::AnyVip }];
    config
}

impl Bench {
    fn announcing() -> Self {
        let mut bench = Bench::starting(announcing());
        bench.next_hop(11);
        bench.next_hop(12);
        bench
    }

    /// What the outlets were last told.
    fn told(&self) -> Option<Decision> {
        self.fake.world().announced.get(&prefix()).map(|(_, decision)| *decision)
    }

    fn reason(&self) -> String {
        self.core.standings()[&prefix()].reason.clone()
    }

    fn health(&mut self, last: u8, health: Health) {
        let report = HealthReport { ticket: None, pool: None, address: backend_address(last), health };
        self.feed(Event::Health(report));
    }

    fn wait(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
        self.feed(Event::Timer);
    }
}

#[test]
fn it_is_announced_once_the_data_plane_carries_and_not_before() {
    let mut bench = Bench::starting(announcing());
    bench.next_hop(11);
    assert_eq!(bench.told(), None);
    bench.next_hop(12);
    assert_eq!(bench.calls(), ["apply", "attach", "ready"]);
    assert_eq!(bench.told(), Some(Decision::Announce));
    let said = bench.fake.world().announcements;
    bench.wait(1);
    bench.wait(1);
    assert_eq!(bench.fake.world().announcements, said, "nothing is said twice");
    // The program is taken off behind the daemon's back, and put on again.
    bench.fake.world().detached = Some("it was taken off".to_owned());
    bench.wait(1);
    assert_eq!(bench.told(), Some(Decision::Withdraw));
    assert!(bench.reason().contains("eth0: it was taken off"), "{}", bench.reason());
    bench.fake.world().detached = None;
    bench.wait(1);
    assert_eq!(bench.told(), Some(Decision::Announce));
}

#[test]
fn a_start_that_finds_no_way_to_a_backend_announces_nothing() {
    let mut bench = Bench::starting(announcing());
    bench.wait(RESOLVE_WAIT.as_secs());
    assert!(bench.core.serving);
    assert_eq!(bench.told(), Some(Decision::Withdraw));
    bench.next_hop(12);
    assert_eq!(bench.told(), Some(Decision::Announce));
}

/// Whom nobody has checked yet may be dead, and that nobody could be reached at first proves nothing.
#[test]
fn a_pool_with_checks_is_announced_when_they_have_proved_it() {
    let mut config = announcing();
    config.pools[0].health.check = Some(health::check());
    let mut bench = Bench::starting(config);
    bench.wait(RESOLVE_WAIT.as_secs());
    for last in [11, 12] {
        bench.next_hop(last);
    }
    assert_eq!(bench.told(), Some(Decision::Withdraw), "{}", bench.reason());
    bench.checks_say(&[(12, Checked::Up)]);
    assert_eq!(bench.told(), Some(Decision::Announce));
}

/// A newcomer that cannot be served yet does not make a flap of what is served.
#[test]
fn one_vip_more_is_no_loss() {
    let mut config = announcing();
    config.announcing.prefixes[0].require = Require::AllVips;
    let mut bench = Bench::starting(config.clone());
    for last in [11, 12] {
        bench.next_hop(last);
    }
    assert_eq!(bench.told(), Some(Decision::Announce));
    let mut empty = config.pools[0].clone();
    empty.name = "empty".to_owned();
    empty.backends.clear();
    let mut vip = config.vips[0].clone();
    vip.key.port = Some(8080);
    vip.pool = empty.name.clone();
    let mut next = config.clone();
    next.pools.push(empty);
    next.vips.push(vip);
    bench.fake.world().file = Some(next);
    bench.order(7, Change::Reload);
    assert_eq!(bench.told(), Some(Decision::Withdraw), "all were asked for");
    bench.fake.world().file = Some(config);
    bench.order(8, Change::Reload);
    assert_eq!(bench.told(), Some(Decision::Announce), "at once: nothing flapped");
}

#[test]
fn the_last_backend_decides() {
    let mut bench = Bench::announcing();
    bench.health(11, Health::Down);
    assert_eq!(bench.told(), Some(Decision::Announce), "one is left");
    bench.health(12, Health::Down);
    assert_eq!(bench.told(), Some(Decision::Withdraw));
    assert!(bench.reason().starts_with("0 of 1 VIPs"), "{}", bench.reason());
    bench.health(12, Health::Up);
    assert_eq!(bench.told(), Some(Decision::Withdraw), "for a second, since it went");
    bench.wait(1);
    assert_eq!(bench.told(), Some(Decision::Announce));
    // So does its neighbour entry.
    let resolution = Resolution::Unresolved("no answer".to_owned());
    for last in [11, 12] {
        let backend = backend_address(last);
        bench.feed(Event::Neighbour(NeighbourEvent::NextHop { backend, resolution: resolution.clone() }));
    }
    assert_eq!(bench.told(), Some(Decision::Withdraw));
}

#[test]
fn a_drain_marks_then_withdraws_is_remembered_and_taken_back() {
    let mut bench = Bench::announcing();
    bench.feed(Event::Maintenance { drain: true, ticket: 1 });
    assert_eq!(bench.told(), Some(Decision::Drain));
    assert!(bench.fake.world().drained);
    let (_, reply) = bench.replies.pop().expect("answered");
    assert_eq!(reply.expect("done").differences[0].to_string(), "node lb1 changed: in-service -> draining");
    bench.wait(59);
    assert_eq!(bench.told(), Some(Decision::Drain));
    bench.wait(1);
    assert_eq!(bench.told(), Some(Decision::Withdraw));
    bench.feed(Event::Maintenance { drain: false, ticket: 2 });
    assert_eq!(bench.told(), Some(Decision::Announce));
    assert!(!bench.fake.world().drained);
    // A drain that an earlier daemon began is over at once.
    let mut core = Core::new(announcing());
    core.resume_drained();
    let mut again = Bench { core, ..Bench::starting(announcing()) };
    let actions = again.core.start(again.now);
    again.perform(actions);
    again.next_hop(11);
    again.next_hop(12);
    assert!(again.core.serving);
    assert_eq!(again.told(), Some(Decision::Withdraw));
}

#[test]
fn a_deadline_of_an_announcement_wakes_the_loop() {
    let mut bench = Bench::announcing();
    bench.feed(Event::Maintenance { drain: true, ticket: 1 });
    let at = bench.core.deadline().expect("something is due");
    assert!(at <= bench.now + Duration::from_secs(1), "attachments are looked at each second");
}

#[test]
fn a_withdrawal_is_the_first_thing_at_the_end() {
    let mut bench = Bench::announcing();
    let actions = bench.core.step(bench.now, Event::Terminate);
    assert!(matches!(actions.first(), Some(Action::StopAnnouncing(_))), "{actions:?}");
    assert!(matches!(actions.last(), Some(Action::Exit(Ok(())))), "{actions:?}");
    let mut silent = Bench::serving();
    let actions = silent.core.step(silent.now, Event::Terminate);
    assert!(!actions.iter().any(|a| matches!(a, Action::StopAnnouncing(_))), "{actions:?}");
}

#[test]
fn rpki_can_withhold_and_permit() {
    let mut bench = Bench::announcing();
    let verdict = |verdict: Verdict| Event::Verdicts([(prefix(), verdict)].into());
    bench.feed(verdict(Verdict::Withhold("RPKI: invalid".to_owned())));
    assert_eq!((bench.told(), bench.reason().as_str()), (Some(Decision::Withdraw), "RPKI: invalid"));
    bench.feed(verdict(Verdict::Permit));
    assert_eq!(bench.told(), Some(Decision::Announce));
}

#[test]
fn what_rpki_said_of_a_prefix_holds_when_it_is_announced_later() {
    let mut bench = Bench::starting(config());
    for last in [11, 12] {
        bench.next_hop(last);
    }
    let withheld = Verdict::Withhold("RPKI: invalid".to_owned());
    bench.feed(Event::Verdicts([(prefix(), withheld)].into()));
    bench.fake.world().file = Some(announcing());
    bench.order(7, Change::Reload);
    assert_eq!((bench.told(), bench.reason().as_str()), (Some(Decision::Withdraw), "RPKI: invalid"));
}

#[test]
fn a_reload_changes_what_is_announced() {
    let mut bench = Bench::announcing();
    let mut next = announcing();
    next.announcing.prefixes[0].require = Require::AtLeast(2);
    bench.fake.world().file = Some(next);
    bench.order(7, Change::Reload);
    assert_eq!(bench.told(), Some(Decision::Withdraw));
    bench.fake.world().file = Some(config());
    bench.order(8, Change::Reload);
    assert_eq!(bench.told(), None, "no longer ours");
}

#[test]
fn a_backend_has_nothing_to_drain_from() {
    let mut bench = Bench::starting(Config { role: Role::Backend, pools: Vec::new(), ..config() });
    bench.feed(Event::Neighbour(NeighbourEvent::Locals(Vec::new())));
    assert!(bench.core.serving);
    bench.feed(Event::Maintenance { drain: true, ticket: 1 });
    let (_, reply) = bench.replies.pop().expect("answered");
    assert_eq!(reply.expect_err("refused").code, Code::InvalidRequest);
}
