//! Verdicts of checks: one step, however many, and what becomes of the checks.

use std::collections::BTreeMap;

use anycast_lb_health::probe::Check;
use anycast_lb_health::{Change as Verdict, Health as Checked, Reason, Timing};

use super::*;
use crate::membership::{Fitness, Health, Key, Source};
use crate::model::{AllDown, HealthCheck, Pool, Protocol, Via, Vip, VipKey};

pub(super) fn check() -> HealthCheck {
    let timing =
        Timing { interval: Duration::from_secs(2), timeout: Duration::from_secs(1), rise: 2, fall: 3 };
    HealthCheck { check: Check::Tcp, via: Via::Direct, port: None, timing }
}

fn checked() -> Config {
    let mut config = config();
    config.pools[0].health.check = Some(check());
    config
}

fn verdict(health: Checked) -> Verdict {
    Verdict { health, reason: (health == Checked::Down).then(|| Reason::new("status 503")) }
}

impl Bench {
    pub(super) fn checks_say(&mut self, verdicts: &[(u8, Checked)]) {
        let named =
            |(last, health): &(u8, Checked)| (("web".to_owned(), backend_address(*last)), verdict(*health));
        self.feed(Event::Checked(verdicts.iter().map(named).collect()));
    }

    fn fit(&self, last: u8) -> bool {
        let world = self.fake.world();
        let in_force = world.in_force.as_ref().expect("applied");
        in_force.standings.of("web", backend_address(last)).fitness == Fitness::Fit
    }

    fn checks(&self) -> Vec<Key> {
        self.fake.world().checks.iter().map(|wanted| wanted.key.clone()).collect()
    }
}

#[test]
fn verdicts_that_come_together_are_one_swap_however_many_vips_there_are() {
    let mut config = checked();
    let pool = config.pools.remove(0);
    let (pools, each) = (10_u8, 100_u8);
    config.vips.clear();
    for p in 0..pools {
        config.pools.push(Pool { name: format!("p{p}"), ..pool.clone() });
        config.vips.extend((0..each).map(|n| Vip {
            key: VipKey { address: [203, 0, p, n].into(), port: Some(80), protocol: Protocol::Tcp },
            pool: format!("p{p}"),
            second_chance: true,
            hash: Default::default(),
            quic: false,
            mss_clamp: false,
            identity: Default::default(),
        }));
    }
    assert_eq!(config.vips.len(), 1000);
    let mut bench = Bench::serving_with(config);
    let key = |p| (format!("p{p}"), backend_address(11));
    let down: BTreeMap<Key, Verdict> = (0..pools).map(|p| (key(p), verdict(Checked::Down))).collect();
    bench.feed(Event::Checked(down));
    assert_eq!(bench.calls(), ["apply"]);
    for p in 0..pools {
        let (pool, address) = key(p);
        let report = bench.core.report(bench.now, &pool, address).expect("it is there");
        assert_eq!(report.health, Health::Down);
    }
}

#[test]
fn verdicts_that_come_during_a_change_are_one_step_after_it() {
    let mut bench = Bench::serving_with(checked());
    bench.order(1, add(13));
    bench.fake.world().calls.clear();
    bench.checks_say(&[(11, Checked::Down)]);
    bench.checks_say(&[(12, Checked::Up)]);
    bench.checks_say(&[(12, Checked::Down), (99, Checked::Down)]);
    assert_eq!(bench.calls(), Vec::<String>::new());
    bench.next_hop(13);
    assert_eq!(bench.calls(), ["apply", "commit", "apply"]);
    let report = |last| bench.core.report(bench.now, "web", backend_address(last)).expect("it is there");
    assert_eq!((report(11).health, report(12).health), (Health::Down, Health::Down), "the last verdict");
}

#[test]
fn verdicts_that_cannot_be_put_in_force_are_not_lost() {
    let mut bench = Bench::serving_with(checked());
    bench.fake.world().failing.push("apply");
    bench.checks_say(&[(11, Checked::Down)]);
    assert!(bench.fit(11));
    bench.checks_say(&[(12, Checked::Up)]);
    assert_eq!(bench.calls(), ["apply"], "not at once");
    bench.now = bench.core.deadline().expect("it is tried again");
    bench.feed(Event::Timer);
    assert!(!bench.fit(11));
    let known = bench.core.known("web", backend_address(11)).expect("it is there");
    assert_eq!((known.source(), known.reason()), (Some(Source::Check), Some("status 503")));
}

#[test]
fn what_comes_back_fills_first() {
    let mut bench = Bench::serving_with(checked());
    bench.checks_say(&[(11, Checked::Down)]);
    bench.checks_say(&[(11, Checked::Up)]);
    let report = bench.core.report(bench.now, "web", backend_address(11)).expect("it is there");
    assert_eq!((report.state.name(), bench.fit(11)), ("filling", false));
    bench.now = bench.core.deadline().expect("its fill time");
    bench.feed(Event::Timer);
    assert!(bench.fit(11));
}

#[test]
fn a_pool_whose_backends_fail_all_at_once_is_served_as_its_policy_says() {
    for (all_down, word) in [(AllDown::Withdraw, "down"), (AllDown::KeepServing, "kept")] {
        let mut config = checked();
        config.pools[0].health.all_down = all_down;
        let mut bench = Bench::serving_with(config);
        let servable = |bench: &Bench| bench.core.servable(bench.now, "web").expect("a pool");
        assert!(servable(&bench).is_servable());
        let proven = all_down == AllDown::KeepServing;
        assert_eq!(servable(&bench).is_proven(), proven, "a policy needs no proof, a backend does");
        bench.checks_say(&[(11, Checked::Up), (12, Checked::Up)]);
        assert!(servable(&bench).is_proven());
        bench.checks_say(&[(11, Checked::Down), (12, Checked::Down)]);
        assert_eq!(servable(&bench).word(), word);
        bench.checks_say(&[(12, Checked::Up)]);
        assert_eq!(servable(&bench).word(), "healthy", "at once: nobody else serves");
        assert!(bench.core.servable(bench.now, "other").is_none());
    }
}

#[test]
fn checks_follow_the_configuration_and_the_tables() {
    let key = |last| ("web".to_owned(), backend_address(last));
    let mut bench = Bench::serving_with(checked());
    assert_eq!(bench.checks(), [key(11), key(12)]);
    bench.order(1, add(13));
    assert_eq!(bench.checks(), [key(11), key(12)], "it is not there yet");
    bench.next_hop(13);
    assert_eq!(bench.checks(), [key(11), key(12), key(13)]);
    bench.order(2, drain(12));
    assert_eq!(bench.checks(), [key(11), key(12), key(13)], "it has flows");
    bench.now += bench.core.config().pools[0].drain_timeout;
    bench.feed(Event::Timer);
    assert_eq!(bench.checks(), [key(11), key(13)]);
    bench.checks_say(&[(12, Checked::Down)]);
    let gone = bench.core.report(bench.now, "web", backend_address(12)).expect("it is there");
    assert_eq!(gone.health, Health::Unknown);
}

#[test]
fn a_reload_that_takes_the_checks_away_takes_their_verdicts_with_them() {
    let mut bench = Bench::serving_with(checked());
    bench.checks_say(&[(11, Checked::Down)]);
    bench.order(1, Change::Reload);
    let health =
        |bench: &Bench| bench.core.report(bench.now, "web", backend_address(11)).expect("it is there").health;
    assert_eq!(health(&bench), Health::Down);
    bench.fake.world().file = Some(config());
    bench.order(2, Change::Reload);
    assert_eq!((health(&bench), bench.checks()), (Health::Unknown, vec![]));
}

/// It was under way when the check was taken out of the file, and nobody would ever take it back.
#[test]
fn a_verdict_whose_check_is_gone_says_nothing() {
    let mut bench = Bench::starting(checked());
    for last in [11, 12] {
        bench.next_hop(last);
    }
    bench.fake.world().file = Some(config());
    bench.order(7, Change::Reload);
    bench.checks_say(&[(11, Checked::Down)]);
    assert!(bench.fit(11));
}
