//! What is known of a backend's health, and from whom.

use std::sync::Arc;
use std::time::Instant;

use super::Health;

/// Who says how a backend is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Its checks.
    Check,
    /// Somebody, by command. This counts more than any check, until it is taken back by `unknown`.
    Hand,
}

impl Source {
    /// The word of API and command line.
    pub const fn name(self) -> &'static str {
        match self {
            Source::Check => "check",
            Source::Hand => "hand",
        }
    }
}

/// What is known of a backend's health.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    by_hand: Option<Health>,
    checked: Health,
    since: Option<Instant>,
    reason: Option<Arc<str>>,
}

impl Known {
    /// What is in force.
    pub fn health(&self) -> Health {
        self.by_hand.unwrap_or(self.checked)
    }

    /// Who says so; none = nobody.
    pub fn source(&self) -> Option<Source> {
        match (self.by_hand, self.checked) {
            (Some(_), _) => Some(Source::Hand),
            (None, Health::Unknown) => None,
            (None, _) => Some(Source::Check),
        }
    }

    /// Since when it is so; none = since this daemon started.
    pub fn since(&self) -> Option<Instant> {
        self.since
    }

    /// Why the last check failed of which a verdict told; none if none did.
    pub fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// Somebody says how it is; [`Health::Unknown`]: the checks decide again.
    pub(super) fn say(&mut self, now: Instant, health: Health) {
        let before = self.health();
        self.by_hand = (health != Health::Unknown).then_some(health);
        self.note(now, before);
    }

    /// The checks say how it is.
    pub(super) fn check(&mut self, now: Instant, health: Health, reason: Option<&str>) {
        let before = self.health();
        self.checked = health;
        if let Some(reason) = reason {
            self.reason = Some(reason.into());
        }
        self.note(now, before);
    }

    /// It is not checked any more.
    pub(super) fn forget_checks(&mut self, now: Instant) {
        let before = self.health();
        (self.checked, self.reason) = (Health::Unknown, None);
        self.note(now, before);
    }

    fn note(&mut self, now: Instant, before: Health) {
        if self.health() != before {
            self.since = Some(now);
        }
    }
}
