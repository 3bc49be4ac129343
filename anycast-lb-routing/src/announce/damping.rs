//! A hold-down that grows with each flap and is forgotten with time.
//!
//! A prefix that comes and goes moves the traffic of a whole site each time, and routers far away may suppress
//! it for an hour (RFC 2439). After a loss it therefore stays away for a while: a second after the first one,
//! four times as long after each that follows soon. Each loss is half forgotten after ten minutes.

use std::time::{Duration, Instant};

/// After the first loss.
const SHORTEST: Duration = Duration::from_secs(1);
/// After any number of them.
const LONGEST: Duration = Duration::from_secs(300);
/// How much longer each makes it.
const GROWTH: f64 = 4.0;
/// When a loss counts half.
const HALF_LIFE: Duration = Duration::from_secs(600);

/// Of one prefix.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Damping {
    /// Losses, each as far as it is remembered.
    losses: f64,
    last: Option<Instant>,
    until: Option<Instant>,
}

impl Damping {
    /// The prefix could be announced no longer.
    pub fn lost(&mut self, now: Instant) {
        self.losses = self.remembered(now) + 1.0;
        self.last = Some(now);
        let times = GROWTH.powf(self.losses - 1.0).min(LONGEST.as_secs_f64() / SHORTEST.as_secs_f64());
        self.until = Some(now + SHORTEST.mul_f64(times));
    }

    /// How long it stays away still.
    pub fn left(&self, now: Instant) -> Option<Duration> {
        self.until.map(|until| until.saturating_duration_since(now)).filter(|left| !left.is_zero())
    }

    /// When that is over, if it is to come.
    pub fn deadline(&self, now: Instant) -> Option<Instant> {
        self.until.filter(|until| *until > now)
    }

    fn remembered(&self, now: Instant) -> f64 {
        let Some(last) = self.last else { return 0.0 };
        let age = now.saturating_duration_since(last).as_secs_f64() / HALF_LIFE.as_secs_f64();
        self.losses * 0.5f64.powf(age)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(damping: &Damping, now: Instant) -> u64 {
        damping.left(now).map_or(0, |left| left.as_secs_f64().ceil() as u64)
    }

    #[test]
    fn it_grows_with_each_loss_up_to_a_limit() {
        let now = Instant::now();
        let mut damping = Damping::default();
        assert_eq!(damping.left(now), None);
        for expected in [1, 4, 16, 64, 256, 300, 300] {
            damping.lost(now);
            assert_eq!(left(&damping, now), expected);
        }
        assert_eq!(damping.left(now + LONGEST), None);
        assert_eq!(damping.deadline(now + LONGEST), None);
        assert_eq!(damping.deadline(now), Some(now + LONGEST));
    }

    #[test]
    fn it_is_forgotten_with_time() {
        let mut now = Instant::now();
        let mut damping = Damping::default();
        for _ in 0..3 {
            damping.lost(now);
        }
        assert_eq!(left(&damping, now), 16);
        now += HALF_LIFE;
        // One and a half are left of three.
        damping.lost(now);
        assert_eq!(left(&damping, now), 8);
        now += HALF_LIFE * 20;
        damping.lost(now);
        assert_eq!(left(&damping, now), 2, "a little more than one second");
    }
}
