//! Maintenance of a node: its routes are marked, so that routers prefer others, and withdrawn a while later.
//! It forwards all the time: who has not noticed is served.

use std::time::{Duration, Instant};

/// How far a node's drain is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// In service.
    #[default]
    Off,
    /// Its routes are marked.
    Draining {
        /// When they are withdrawn.
        until: Instant,
    },
    /// Its routes are withdrawn.
    Drained,
}

impl Phase {
    /// The word of API and command line.
    pub const fn name(self) -> &'static str {
        match self {
            Phase::Off => "in-service",
            Phase::Draining { .. } => "draining",
            Phase::Drained => "drained",
        }
    }

    /// A drain begins; one that has begun goes on as it is.
    pub fn begin(&mut self, now: Instant, wait: Duration) {
        if *self == Phase::Off {
            *self = if wait.is_zero() { Phase::Drained } else { Phase::Draining { until: now + wait } };
        }
    }

    /// Time passes; whether that ended the wait.
    pub fn tick(&mut self, now: Instant) -> bool {
        let over = matches!(self, Phase::Draining { until } if *until <= now);
        if over {
            *self = Phase::Drained;
        }
        over
    }

    /// When the wait is over.
    pub fn deadline(self) -> Option<Instant> {
        match self {
            Phase::Draining { until } => Some(until),
            Phase::Off | Phase::Drained => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_marked_then_withdrawn_and_begins_once() {
        let now = Instant::now();
        let wait = Duration::from_secs(60);
        let mut phase = Phase::Off;
        phase.begin(now, wait);
        assert_eq!(phase, Phase::Draining { until: now + wait });
        phase.begin(now + wait / 2, wait);
        assert_eq!(phase.deadline(), Some(now + wait), "a second command changes nothing");
        assert!(!phase.tick(now + wait / 2));
        assert!(phase.tick(now + wait));
        assert_eq!(phase, Phase::Drained);
        assert!(!phase.tick(now + wait * 2));
        phase.begin(now, wait);
        assert_eq!(phase, Phase::Drained);
        let mut at_once = Phase::Off;
        at_once.begin(now, Duration::ZERO);
        assert_eq!(at_once, Phase::Drained);
    }
}
