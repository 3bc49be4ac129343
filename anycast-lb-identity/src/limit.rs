//! How often clients are answered: a limit for each client prefix and one for all, in fixed memory.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use anycast_lb_common::rate::admit;

/// A number of packets a second, and so many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate {
    /// Packets a second; not 0.
    pub per_second: u32,
    /// Packets that may come at once.
    pub burst: u32,
}

impl Rate {
    fn interval(self) -> u64 {
        1_000_000_000 / u64::from(self.per_second.max(1))
    }

    /// The packet at hand counts, which is why one is taken off.
    fn burst(self) -> u64 {
        self.interval() * u64::from(self.burst.saturating_sub(1))
    }
}

/// Classes of client prefixes. Prefixes of one class share a limit, and nobody can tell which do: the hash
/// has a secret.
const CLASSES: usize = 4096;

/// A limit for each /24 (IPv4) or /56 (IPv6), and one for all.
pub(crate) struct Limits {
    prefix: Rate,
    total: Rate,
    secret: RandomState,
    since: Instant,
    arrivals: Box<[u64]>,
    arrival_of_all: u64,
}

impl Limits {
    pub fn new(prefix: Rate, total: Rate, now: Instant) -> Self {
        Limits {
            prefix,
            total,
            secret: RandomState::new(),
            since: now,
            arrivals: vec![0; CLASSES].into(),
            arrival_of_all: 0,
        }
    }

    /// Whether `client` may have an answer now. What is refused to a prefix costs the others nothing.
    pub fn admit(&mut self, client: IpAddr, now: Instant) -> bool {
        let now = now.saturating_duration_since(self.since).as_nanos().try_into().unwrap_or(u64::MAX);
        let class = self.secret.hash_one(prefix_of(client)) as usize % CLASSES;
        let ours = admit(self.arrivals[class], now, self.prefix.interval(), self.prefix.burst());
        let all = admit(self.arrival_of_all, now, self.total.interval(), self.total.burst());
        let (Some(ours), Some(all)) = (ours, all) else { return false };
        self.arrivals[class] = ours;
        self.arrival_of_all = all;
        true
    }
}

fn prefix_of(client: IpAddr) -> u64 {
    match client {
        IpAddr::V4(client) => u64::from(u32::from(client) >> 8),
        IpAddr::V6(client) => (u128::from(client) >> 72) as u64 | 1 << 63,
    }
}

/// So many of something a second, whoever it is for.
pub(crate) struct Budget {
    rate: Rate,
    since: Instant,
    arrival: u64,
}

impl Budget {
    pub fn new(rate: Rate, now: Instant) -> Self {
        Budget { rate, since: now, arrival: 0 }
    }

    pub fn take(&mut self, now: Instant) -> bool {
        let elapsed: Duration = now.saturating_duration_since(self.since);
        let now = elapsed.as_nanos().try_into().unwrap_or(u64::MAX);
        match admit(self.arrival, now, self.rate.interval(), self.rate.burst()) {
            Some(arrival) => {
                self.arrival = arrival;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PREFIX: Rate = Rate { per_second: 10, burst: 10 };
    const TOTAL: Rate = Rate { per_second: 100, burst: 25 };

    fn granted(limits: &mut Limits, client: &str, now: Instant) -> usize {
        let client = client.parse().expect("an address");
        (0..100).filter(|_| limits.admit(client, now)).count()
    }

    #[test]
    fn a_prefix_has_its_burst_and_leaves_the_rest_to_others() {
        let start = Instant::now();
        let mut limits = Limits::new(PREFIX, TOTAL, start);
        assert_eq!(granted(&mut limits, "192.0.2.7", start), 10);
        assert_eq!(granted(&mut limits, "192.0.2.99", start), 0, "the same /24");
        // Of another class with all but certainty; else this would be 0 once in 4096 runs.
        let others = ["198.51.100.1", "203.0.113.1", "2001:db8:0:100::1", "2001:db8:0:200::1"];
        let all: usize = others.iter().map(|client| granted(&mut limits, client, start)).sum();
        assert_eq!(all, 15, "what all may have");
        let later = start + Duration::from_secs(1);
        assert_eq!(granted(&mut limits, "192.0.2.7", later), 10);
        assert_eq!(granted(&mut limits, "192.0.2.7", later + Duration::from_millis(300)), 3);
    }

    #[test]
    fn prefixes_are_of_24_and_56_bits() {
        let prefix = |text: &str| prefix_of(text.parse().expect("an address"));
        assert_eq!(prefix("192.0.2.7"), prefix("192.0.2.200"));
        assert_ne!(prefix("192.0.2.7"), prefix("192.0.3.7"));
        assert_eq!(prefix("2001:db8:0:ab00::1"), prefix("2001:db8:0:abff::1"));
        assert_ne!(prefix("2001:db8:0:ab00::1"), prefix("2001:db8:0:ac00::1"));
    }

    #[test]
    fn a_budget_fills_up_again() {
        let start = Instant::now();
        let mut budget = Budget::new(PREFIX, start);
        assert_eq!((0..50).filter(|_| budget.take(start)).count(), 10);
        let later = start + Duration::from_millis(500);
        assert_eq!((0..50).filter(|_| budget.take(later)).count(), 5);
    }
}
