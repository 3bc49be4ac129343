//! Something that has to be done until it succeeds.

use std::time::{Duration, Instant};

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);

/// When to try again: after a second, then twice as long each time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Retry {
    pause: Duration,
    at: Option<Instant>,
}

impl Default for Retry {
    fn default() -> Self {
        Retry { pause: FIRST, at: None }
    }
}

impl Retry {
    /// It failed.
    pub fn failed(&mut self, now: Instant) {
        self.at = Some(now + self.pause);
        self.pause = (self.pause * 2).min(LONGEST);
    }

    /// When it is due; none = at once.
    pub fn at(&self) -> Option<Instant> {
        self.at
    }

    /// Whether it is.
    pub fn is_due(&self, now: Instant) -> bool {
        self.at.is_none_or(|at| at <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double() {
        let mut now = Instant::now();
        let mut retry = Retry::default();
        assert!(retry.is_due(now));
        for pause in [1, 2, 4, 8, 16, 30, 30] {
            retry.failed(now);
            assert!(!retry.is_due(now));
            assert_eq!(retry.at(), Some(now + Duration::from_secs(pause)));
            now += Duration::from_secs(pause);
            assert!(retry.is_due(now));
        }
    }
}
