//! The machine with a clock of its own.

use super::*;
use crate::daemon::testing::{backend, backend_address, config};
use crate::model::{Backend, BackendState, HealthCheck, Via};
use anycast_lb_health::Timing;
use anycast_lb_health::probe::Check;

mod drains;
mod health;
mod joins;
mod random;
mod removal;

/// A machine, what it was told last, and a clock.
struct Bench {
    membership: Membership,
    config: Config,
    now: Instant,
    fill: Duration,
    drain: Duration,
}

impl Bench {
    /// Pool `web` of 10.0.0.11 and 10.0.0.12, both active.
    fn new() -> Self {
        let (config, now) = (config(), Instant::now());
        let (fill, drain) = (config.pools[0].fill_time, config.pools[0].drain_timeout);
        Bench { membership: Membership::start(now, &config), config, now, fill, drain }
    }

    /// Changes what the operator wants.
    fn want(&mut self, change: impl FnOnce(&mut Vec<Backend>)) {
        change(&mut self.config.pools[0].backends);
        self.membership.configure(self.now, &self.config);
    }

    fn want_state(&mut self, last: u8, state: BackendState) {
        self.want(|backends| named(backends, last).state = state);
    }

    /// The pool has checks, or none.
    fn want_checks(&mut self, wanted: bool) {
        let timing =
            Timing { interval: Duration::from_secs(2), timeout: Duration::from_secs(1), rise: 2, fall: 3 };
        let check = HealthCheck { check: Check::Tcp, via: Via::Direct, port: None, timing };
        self.config.pools[0].health.check = wanted.then_some(check);
        self.membership.configure(self.now, &self.config);
    }

    fn health(&mut self, last: u8, health: Health) {
        let known = self.membership.set_health(self.now, None, backend_address(last), health);
        assert_eq!(known.len(), 1);
    }

    /// Time passes; what has come about, as text.
    fn pass(&mut self, time: Duration) -> Vec<String> {
        self.now += time;
        self.membership.tick(self.now).iter().map(ToString::to_string).collect()
    }

    fn join(&self, last: u8, since: Instant, weight: u32) -> Join {
        Join { key: ("web".to_owned(), backend_address(last)), since, weight }
    }

    /// All other nodes know of a join; what has come about, as text.
    fn listed(&mut self, join: &Join) -> Vec<String> {
        self.membership.set_listed(join).iter().map(ToString::to_string).collect()
    }

    /// A backend is asked, and answers at once; what has come about, as text.
    fn says(&mut self, last: u8, flows: u64, others: Others) -> Vec<String> {
        let answer = Remaining { flows, asked: self.now, others };
        let done = self.membership.set_remaining(self.now, backend_address(last), answer);
        done.iter().map(ToString::to_string).collect()
    }

    /// What stands against a backend's removal.
    fn obstacle(&self, last: u8) -> Option<Obstacle> {
        self.membership.obstacles(None, backend_address(last)).first().map(|(_, obstacle)| *obstacle)
    }

    fn report(&self, last: u8) -> Report {
        self.membership.report(self.now, "web", backend_address(last)).expect("it is there")
    }

    fn state(&self, last: u8) -> State {
        self.report(last).state
    }

    /// Last bytes, states and weights of what the tables are built from.
    fn table(&self) -> Vec<(IpAddr, BackendState, u32)> {
        let in_force = self.membership.in_force(&self.config);
        in_force.config.pools[0].backends.iter().map(|b| (b.address, b.state, b.weight)).collect()
    }

    fn standing(&self, last: u8) -> Standing {
        self.membership.in_force(&self.config).standings.of("web", backend_address(last))
    }
}

fn named(backends: &mut [Backend], last: u8) -> &mut Backend {
    backends.iter_mut().find(|b| b.address == backend_address(last)).expect("it is there")
}
