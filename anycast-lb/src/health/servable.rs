//! Whether a pool can be served from here: what the announcement of a prefix depends on.

use std::fmt;
use std::net::IpAddr;

use crate::membership::{Health, Report, State};
use crate::model::{AllDown, Pool};
use crate::plan::Sites;

/// How a pool stands on this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Servable {
    /// Backends that take new flows here, and are healthy as far as is known.
    pub healthy: usize,
    /// Of these, how many are checked and have had no verdict yet.
    pub unproven: usize,
    /// Backends that take new flows here, or would if they were healthy.
    pub active: usize,
    /// How many must be healthy.
    pub minimum: u16,
    /// What becomes of the pool if fewer are.
    pub all_down: AllDown,
}

impl Servable {
    /// Whether the pool can be served: at least `minimum_healthy` backends are healthy, or there is some
    /// backend and `all_down = "keep_serving"`. Backends without a verdict count as healthy: see
    /// [`Self::is_proven`].
    ///
    /// What this says concerns announcements alone. The data plane forwards what arrives in any case; where no
    /// backend is healthy, as if all were.
    pub fn is_servable(&self) -> bool {
        self.is_enough() || (self.all_down == AllDown::KeepServing && self.active > 0)
    }

    /// Whether enough backends are healthy.
    pub fn is_enough(&self) -> bool {
        self.healthy >= usize::from(self.minimum)
    }

    /// The word of API and command line: `healthy`, `kept` (too few are healthy, and it is served all the same)
    /// or `down`.
    pub fn word(&self) -> &'static str {
        match (self.is_enough(), self.is_servable()) {
            (true, _) => "healthy",
            (false, true) => "kept",
            (false, false) => "down",
        }
    }

    /// Whether checks have proved what [`Self::is_servable`] says. A daemon that has just started waits for
    /// this before it announces anything: a backend without a verdict may be dead.
    pub fn is_proven(&self) -> bool {
        let least = self.healthy - self.unproven;
        Servable { healthy: least, unproven: 0, ..*self }.is_servable() == self.is_servable()
    }
}

impl fmt::Display for Servable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Servable { healthy, active, minimum, .. } = self;
        write!(f, "{healthy} of {active} backends healthy, {minimum} needed")?;
        match (self.is_servable(), self.is_enough()) {
            (true, true) => Ok(()),
            (true, false) => f.write_str(": kept serving"),
            (false, _) => f.write_str(": cannot be served"),
        }
    }
}

/// How a pool stands on a node at `home`, with these PoPs drained. `report` tells how a backend stands.
///
/// New flows go to the backends of one PoP: this one's, or, while it is drained, those of the PoP that stands in.
/// They alone count.
pub fn servable(
    pool: &Pool,
    home: &str,
    drained: &[String],
    report: impl Fn(IpAddr) -> Option<Report>,
) -> Servable {
    let serves = |address| report(address).is_some_and(|r| r.serves());
    let owner = Sites::where_fit(pool, home, drained, serves).owner;
    let mut out = Servable {
        healthy: 0,
        unproven: 0,
        active: 0,
        minimum: pool.health.minimum,
        all_down: pool.health.all_down,
    };
    for backend in pool.backends.iter().filter(|b| b.site(home) == owner) {
        let Some(report) = report(backend.address) else { continue };
        if report.state != State::Active {
            continue;
        }
        out.active += 1;
        if report.serves() {
            out.healthy += 1;
            let unknown = report.health == Health::Unknown;
            out.unproven += usize::from(unknown && pool.health.check.is_some());
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::testing::{backend, backend_address, config};
    use crate::model::{Backend, HealthCheck, Via};
    use anycast_lb_health::Timing;
    use anycast_lb_health::probe::Check;
    use std::time::Duration;

    fn pool() -> Pool {
        let timing =
            Timing { interval: Duration::from_secs(2), timeout: Duration::from_secs(1), rise: 2, fall: 3 };
        let check = HealthCheck { check: Check::Tcp, via: Via::Direct, port: None, timing };
        let mut pool = config().pools.remove(0);
        pool.health.check = Some(check);
        pool.backends = vec![backend(11), backend(12), backend(13)];
        pool
    }

    fn report(state: State, health: Health) -> Report {
        Report { state, weight: 100, coming_weight: None, health, remaining: None, left: None }
    }

    /// With these backends up (`+`), down (`-`), not known (`?`) or filling (`f`).
    fn of(pool: &Pool, drained: &[&str], words: &str) -> Servable {
        let drained: Vec<String> = drained.iter().map(|d| (*d).to_owned()).collect();
        servable(pool, "fra1", &drained, |address| {
            let place = pool.backends.iter().position(|b| b.address == address)?;
            Some(match words.as_bytes().get(place)? {
                b'+' => report(State::Active, Health::Up),
                b'-' => report(State::Active, Health::Down),
                b'f' => report(State::Filling, Health::Up),
                _ => report(State::Active, Health::Unknown),
            })
        })
    }

    #[test]
    fn enough_healthy_backends_make_a_pool_servable() {
        let mut pool = pool();
        for (minimum, all_down, words, servable) in [
            (1, AllDown::Withdraw, "+--", true),
            (1, AllDown::Withdraw, "---", false),
            (1, AllDown::Withdraw, "f--", false),
            (2, AllDown::Withdraw, "+--", false),
            (2, AllDown::Withdraw, "++-", true),
            (1, AllDown::KeepServing, "---", true),
            (3, AllDown::KeepServing, "+--", true),
            (1, AllDown::KeepServing, "fff", false),
        ] {
            (pool.health.minimum, pool.health.all_down) = (minimum, all_down);
            assert_eq!(of(&pool, &[], words).is_servable(), servable, "{minimum} {all_down:?} {words}");
        }
        assert_eq!(of(&pool, &[], "---").to_string(), "0 of 3 backends healthy, 1 needed: kept serving");
    }

    #[test]
    fn what_is_not_proven_is_told() {
        let mut pool = pool();
        pool.health.minimum = 2;
        for (words, servable, proven) in [
            ("???", true, false),
            ("+??", true, false),
            ("++?", true, true),
            ("--?", false, true),
            ("-+?", true, false),
        ] {
            let it = of(&pool, &[], words);
            assert_eq!((it.is_servable(), it.is_proven()), (servable, proven), "{words}");
        }
        pool.health.check = None;
        assert!(of(&pool, &[], "???").is_proven(), "nobody will ever say more");
    }

    #[test]
    fn only_backends_that_take_this_node_s_new_flows_count() {
        let mut pool = pool();
        let away = |last| Backend { pop: Some("sin1".to_owned()), ..backend(last) };
        pool.backends = vec![backend(11), away(12), away(13)];
        pool.rescue = vec!["sin1".to_owned()];
        assert!(!of(&pool, &[], "-++").is_servable(), "they are of another PoP");
        let stand_in = of(&pool, &["fra1"], "+-+");
        assert_eq!((stand_in.healthy, stand_in.active), (1, 2));
        assert_eq!(backend_address(11), pool.backends[0].address);
    }
}
