//! One checked backend, as a pure state machine: it is told the time and the results of its probes, and
//! says when the next one is due and what has become of the backend.
//!
//! ```text
//!            rise successes in a row              fall failures in a row
//!   unknown ─────────────────────────> up ─────────────────────────────────> down
//!      │                                ^                                      │
//!      │ fall failures in a row         └────────── rise successes in a row ───┘
//!      └───────────────────────────────────────────────────────────────────────^
//! ```
//!
//! # How fast
//!
//! Probes begin one `interval` apart, with up to a tenth of jitter either way, so that neither the backends
//! of a node nor the nodes of a fleet fall into step. While a verdict is pending, that is before the first
//! one and after a failure of a backend that is up, the next probe follows a quarter of the interval after
//! the last one's end, at least [`QUICK_LEAST`] but never later than it would have been otherwise. So a
//! backend that dies is down after at most [`Timing::detection`], and one lost packet costs nothing but one
//! more probe. A backend that is down is probed at the plain interval: it must hold out before it is
//! believed.

use std::time::{Duration, Instant};

use crate::Reason;

#[cfg(test)]
mod tests;

/// Least time between the end of a failed probe and the beginning of the next.
pub const QUICK_LEAST: Duration = Duration::from_millis(100);

/// How long beyond its deadline the answer of a probe is waited for. The drivers keep the deadline
/// themselves; this is the net below them.
pub const GRACE: Duration = Duration::from_millis(500);

/// Jitter: one part in this many of the interval, either way.
const JITTER: u32 = 10;

/// What is known of a backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// No verdict yet.
    #[default]
    Unknown,
    /// Healthy.
    Up,
    /// Not healthy.
    Down,
}

/// When a backend is probed, and how many results in a row make a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// From the beginning of one probe to that of the next.
    pub interval: Duration,
    /// How long a probe may take; at most the interval.
    pub timeout: Duration,
    /// Successes in a row that bring a backend up, at least 1.
    pub rise: u32,
    /// Failures in a row that take it down, at least 1.
    pub fall: u32,
}

impl Timing {
    /// From the end of a probe to the next one while a verdict is pending.
    pub fn quick(&self) -> Duration {
        (self.interval / 4).max(QUICK_LEAST).min(self.interval)
    }

    /// The longest that it takes until a backend that hangs is down, beginning with its last success.
    pub fn detection(&self) -> Duration {
        let fall = self.fall.max(1);
        self.interval + self.interval / JITTER + self.timeout * fall + self.quick() * (fall - 1)
    }
}

/// A probe that is to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Which of this machine's probes.
    pub number: u64,
    /// When it is to be over.
    pub deadline: Instant,
}

/// A verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// [`Health::Up`] or [`Health::Down`].
    pub health: Health,
    /// Why the last failed probe did; none if none has failed so far.
    pub reason: Option<Reason>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Waiting { until: Instant },
    Probing { since: Instant, deadline: Instant },
}

/// The machine.
#[derive(Clone, Debug)]
pub struct Machine {
    timing: Timing,
    health: Health,
    /// Results in a row that speak against `health`.
    successes: u32,
    failures: u32,
    phase: Phase,
    number: u64,
    reason: Option<Reason>,
    random: u64,
}

impl Machine {
    /// A backend that is probed from `first` on. `health` is what is known of it: a daemon that starts
    /// says [`Health::Unknown`] of all, and takes none down before its checks have failed. The same `seed`
    /// gives the same jitter.
    pub fn new(first: Instant, timing: Timing, health: Health, seed: u64) -> Self {
        let phase = Phase::Waiting { until: first };
        Machine { timing, health, successes: 0, failures: 0, phase, number: 0, reason: None, random: seed }
    }

    /// What is known of the backend.
    pub fn health(&self) -> Health {
        self.health
    }

    /// When [`Self::tick`] is due.
    pub fn deadline(&self) -> Instant {
        match self.phase {
            Phase::Waiting { until } => until,
            Phase::Probing { deadline, .. } => deadline + GRACE,
        }
    }

    /// Whether a probe is under way.
    pub fn is_probing(&self) -> bool {
        matches!(self.phase, Phase::Probing { .. })
    }

    /// Another timing, or another kind of probe, from now on. What is known of the backend stays, until
    /// the new probes say otherwise; the first is due at `next`. The answer of one under way is no longer
    /// of interest.
    pub fn change(&mut self, next: Instant, timing: Timing) {
        self.timing = timing;
        (self.successes, self.failures) = (0, 0);
        self.phase = Phase::Waiting { until: next };
    }

    /// Time passes: a probe that is due, or the verdict over one that never answered.
    pub fn tick(&mut self, now: Instant) -> Tick {
        match self.phase {
            Phase::Waiting { until } if until <= now => {
                self.number += 1;
                let deadline = now + self.timing.timeout;
                self.phase = Phase::Probing { since: now, deadline };
                Tick::Probe(Probe { number: self.number, deadline })
            }
            Phase::Probing { deadline, .. } if deadline + GRACE <= now => {
                let number = self.number;
                let hung = Err(Reason::new("the probe itself did not end in time"));
                self.finished(now, number, hung).map_or(Tick::Nothing, Tick::Change)
            }
            _ => Tick::Nothing,
        }
    }

    /// A probe is over. The result of one that is not under way any more is not heard.
    pub fn finished(&mut self, now: Instant, number: u64, result: Result<(), Reason>) -> Option<Change> {
        let Phase::Probing { since, .. } = self.phase else { return None };
        if number != self.number {
            return None;
        }
        let change = match result {
            Ok(()) => {
                self.successes = self.successes.saturating_add(1);
                self.failures = 0;
                self.health != Health::Up && self.successes >= self.timing.rise
            }
            Err(reason) => {
                self.failures = self.failures.saturating_add(1);
                self.successes = 0;
                self.reason = Some(reason);
                self.health != Health::Down && self.failures >= self.timing.fall
            }
        };
        if change {
            self.health = if self.failures == 0 { Health::Up } else { Health::Down };
        }
        self.phase = Phase::Waiting { until: self.next(since, now) };
        change.then(|| Change { health: self.health, reason: self.reason.clone() })
    }

    /// When the probe after one that took from `since` to `now` is due.
    fn next(&mut self, since: Instant, now: Instant) -> Instant {
        let regular = since + self.jittered(self.timing.interval);
        let pending = match self.health {
            Health::Unknown => true,
            Health::Up => self.failures > 0,
            Health::Down => false,
        };
        let next = if pending { regular.min(now + self.timing.quick()) } else { regular };
        // A probe that took its whole interval is not followed by the next at once.
        next.max(now + QUICK_LEAST.min(self.timing.quick()))
    }

    fn jittered(&mut self, interval: Duration) -> Duration {
        let span = u64::try_from((interval / JITTER * 2).as_nanos()).unwrap_or(u64::MAX);
        interval - interval / JITTER + Duration::from_nanos(self.draw() % span.max(1))
    }

    /// SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
    fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// What time has brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tick {
    /// Nothing.
    Nothing,
    /// A probe is due.
    Probe(Probe),
    /// A verdict.
    Change(Change),
}
