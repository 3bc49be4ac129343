//! One backend of one pool.

use std::time::{Duration, Instant};

use super::remaining::{Others, Remaining, settled};
use super::{DEAD_HOLD, Fitness, Health, Known, Report, Standing, State, What};
use crate::model::BackendState;

mod removal;

pub use removal::Obstacle;

/// What the operator wants of a backend.
pub(super) struct Wish<'a> {
    pub state: BackendState,
    pub weight: u32,
    pub site: &'a str,
    pub fill_time: Duration,
    pub drain_timeout: Duration,
    /// Whether its pool has checks.
    pub checked: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// `until`: none where the operator has configured it so, and will end it.
    Filling {
        until: Option<Instant>,
    },
    Active,
    /// `everywhere_since`: when it was first known that all other nodes have the drain.
    Draining {
        since: Instant,
        everywhere_since: Option<Instant>,
        remaining: Option<Remaining>,
    },
    Gone,
}

/// How health is taken into account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Condition {
    Fit,
    /// `hold`: until when it is listed; none = not any more.
    Failed {
        hold: Option<Instant>,
    },
    Returning {
        until: Instant,
    },
}

/// A larger weight that is about to be in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Raise {
    weight: u32,
    until: Instant,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Member {
    site: String,
    fill_time: Duration,
    drain_timeout: Duration,
    phase: Phase,
    /// Whether it may have had new flows since it was last known to have none.
    may_hold: bool,
    /// In force.
    weight: u32,
    raise: Option<Raise>,
    known: Known,
    condition: Condition,
}

/// Longer times than this are cut: a moment so far away has no number.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

impl Member {
    /// A backend that was there before this daemon.
    pub fn start(now: Instant, wish: &Wish<'_>) -> Self {
        let phase = match wish.state {
            BackendState::Filling => Phase::Filling { until: None },
            BackendState::Active => Phase::Active,
            BackendState::Draining => draining(now),
        };
        Member {
            site: wish.site.to_owned(),
            fill_time: wish.fill_time.min(LONGEST),
            drain_timeout: wish.drain_timeout.min(LONGEST),
            phase,
            // What it was before this daemon is not known.
            may_hold: true,
            weight: wish.weight,
            raise: None,
            known: Known::default(),
            condition: Condition::Fit,
        }
    }

    /// A backend that is new.
    pub fn join(now: Instant, wish: &Wish<'_>) -> Self {
        let mut member = Member::start(now, wish);
        if member.phase == Phase::Active {
            member.phase = member.filling(now);
        }
        // One that somebody adds so that it drains has flows from elsewhere.
        member.may_hold = wish.state == BackendState::Draining;
        member
    }

    /// The operator wants this from now on.
    pub fn wish(&mut self, now: Instant, wish: &Wish<'_>) {
        self.fill_time = wish.fill_time.min(LONGEST);
        self.drain_timeout = wish.drain_timeout.min(LONGEST);
        // In another site it joins another table.
        let moved = self.site != wish.site;
        wish.site.clone_into(&mut self.site);
        let gains = wish.weight > self.announced();
        self.phase = match (wish.state, self.phase) {
            (BackendState::Active, Phase::Active) if !moved => Phase::Active,
            (BackendState::Active, Phase::Filling { until: Some(until) }) if !moved && !gains => {
                Phase::Filling { until: Some(until) }
            }
            (BackendState::Active, _) => self.filling(now),
            (BackendState::Filling, _) => Phase::Filling { until: None },
            (BackendState::Draining, there @ (Phase::Draining { .. } | Phase::Gone)) => there,
            (BackendState::Draining, _) => draining(now),
        };
        self.set_weight(now, wish.weight);
        if !wish.checked {
            self.learn(now, |known| known.forget_checks(now));
        }
        if self.phase != Phase::Active && matches!(self.condition, Condition::Returning { .. }) {
            self.condition = Condition::Fit;
        }
    }

    /// The largest weight that the other nodes may reckon with.
    fn announced(&self) -> u32 {
        self.raise.map_or(self.weight, |raise| raise.weight)
    }

    fn set_weight(&mut self, now: Instant, weight: u32) {
        // Who owns nothing gains nothing yet.
        if self.phase != Phase::Active || weight <= self.weight {
            self.weight = weight;
            self.raise = None;
            return;
        }
        let until = match self.raise {
            Some(raise) if weight <= raise.weight => raise.until,
            _ => now + self.fill_time,
        };
        self.raise = Some(Raise { weight, until });
    }

    fn filling(&self, now: Instant) -> Phase {
        Phase::Filling { until: Some(now + self.fill_time) }
    }

    /// What is known of its health, and from whom.
    pub fn known(&self) -> &Known {
        &self.known
    }

    pub fn health(&self) -> Health {
        self.known.health()
    }

    /// Somebody says how it is.
    pub fn set_health(&mut self, now: Instant, health: Health) {
        self.learn(now, |known| known.say(now, health));
    }

    /// The checks say how it is. One that is gone is not checked: what they say was asked before.
    pub fn set_checked(&mut self, now: Instant, health: Health, reason: Option<&str>) {
        if self.phase != Phase::Gone {
            self.learn(now, |known| known.check(now, health, reason));
        }
    }

    fn learn(&mut self, now: Instant, learn: impl FnOnce(&mut Known)) {
        let was_down = self.health() == Health::Down;
        learn(&mut self.known);
        match (was_down, self.health() == Health::Down) {
            (false, true) => self.condition = Condition::Failed { hold: Some(now + DEAD_HOLD) },
            (true, false) => {
                self.condition = Condition::Fit;
                match self.phase {
                    Phase::Active => self.condition = Condition::Returning { until: now + self.fill_time },
                    Phase::Filling { until: Some(_) } => self.phase = self.filling(now),
                    Phase::Filling { until: None } | Phase::Draining { .. } | Phase::Gone => {}
                }
            }
            _ => {}
        }
    }

    fn leave(&mut self, now: Instant) {
        self.phase = Phase::Gone;
        self.learn(now, |known| known.forget_checks(now));
    }

    /// An answer of the backend. Until other nodes have the drain, they may send new flows, so that none
    /// at this moment does not mean that none will come.
    pub fn set_remaining(&mut self, now: Instant, answer: Remaining) -> Option<What> {
        let Phase::Draining { since, everywhere_since, remaining } = &mut self.phase else { return None };
        if answer.asked < *since {
            return None;
        }
        *remaining = Some(answer);
        *everywhere_since = match answer.others {
            Others::HaveDrain => everywhere_since.or(Some(now)),
            Others::MayFeed | Others::Unknown => None,
        };
        self.may_hold |= answer.flows > 0;
        let settled = settled(answer.others, *since, *everywhere_since, self.fill_time);
        if answer.flows > 0 || settled.is_none_or(|settled| answer.asked < settled) {
            return None;
        }
        self.leave(now);
        self.may_hold = false;
        Some(What::Gone(Some(0)))
    }

    fn activate(&mut self) {
        self.phase = Phase::Active;
        self.may_hold = true;
    }

    /// Ends what is due; at most one thing of each kind.
    pub fn tick(&mut self, now: Instant) -> impl Iterator<Item = What> + use<> {
        let due = |at: Instant| at <= now;
        let mut done = Vec::new();
        match self.phase {
            Phase::Filling { until: Some(until) } if due(until) => {
                self.activate();
                done.push(What::Active);
            }
            Phase::Draining { since, remaining, .. } if due(since + self.drain_timeout) => {
                self.leave(now);
                done.push(What::Gone(remaining.map(|r| r.flows)));
            }
            _ => {}
        }
        if let Some(raise) = self.raise.filter(|r| due(r.until)) {
            self.weight = raise.weight;
            self.raise = None;
            done.push(What::Weight(raise.weight));
        }
        match self.condition {
            Condition::Failed { hold: Some(hold) } if due(hold) => {
                self.condition = Condition::Failed { hold: None };
                done.push(What::Unlisted);
            }
            Condition::Returning { until } if due(until) => {
                self.condition = Condition::Fit;
                done.push(What::Active);
            }
            _ => {}
        }
        done.into_iter()
    }

    pub fn deadline(&self) -> Option<Instant> {
        let phase = match self.phase {
            Phase::Filling { until } => until,
            Phase::Draining { since, .. } => Some(since + self.drain_timeout),
            Phase::Active | Phase::Gone => None,
        };
        let condition = match self.condition {
            Condition::Failed { hold } => hold,
            Condition::Returning { until } => Some(until),
            Condition::Fit => None,
        };
        [phase, self.raise.map(|r| r.until), condition].into_iter().flatten().min()
    }

    /// Its site: where it may own slots.
    pub fn site(&self) -> &str {
        &self.site
    }

    pub fn weight(&self) -> u32 {
        self.weight
    }

    /// Whether it is given new flows.
    pub fn serves(&self) -> bool {
        self.phase == Phase::Active && self.condition == Condition::Fit
    }

    /// The join under way, if time would end it: since when, and with which weight it ends. Of several
    /// at once the last one counts, which the other nodes may know least of.
    pub fn joining(&self) -> Option<(Instant, u32)> {
        let filling = match self.phase {
            Phase::Filling { until } => until,
            _ => None,
        };
        let returning = match self.condition {
            Condition::Returning { until } => Some(until),
            _ => None,
        };
        let until = [filling, returning, self.raise.map(|r| r.until)].into_iter().flatten().max()?;
        Some((until.checked_sub(self.fill_time)?, self.announced()))
    }

    /// All other nodes list it as they would at the end of this join: nothing is left to wait for.
    pub fn set_listed(&mut self, since: Instant, weight: u32) -> Vec<What> {
        let mut done = Vec::new();
        if self.joining() != Some((since, weight)) {
            // What they know of is not what is under way now.
            return done;
        }
        if matches!(self.phase, Phase::Filling { until: Some(_) }) {
            self.activate();
            done.push(What::Active);
        }
        if let Some(raise) = self.raise.take() {
            self.weight = raise.weight;
            done.push(What::Weight(raise.weight));
        }
        if matches!(self.condition, Condition::Returning { .. }) {
            self.condition = Condition::Fit;
            done.push(What::Active);
        }
        done
    }

    /// Ends the join of a healthy one.
    pub fn end_filling(&mut self) {
        if matches!(self.phase, Phase::Filling { until: Some(_) }) && self.condition == Condition::Fit {
            self.activate();
        }
    }

    /// Ends the join of one whose health came back.
    pub fn end_return(&mut self) {
        if matches!(self.condition, Condition::Returning { .. }) {
            self.condition = Condition::Fit;
        }
    }

    pub fn state(&self) -> State {
        match (self.phase, self.condition) {
            (Phase::Filling { .. }, _) | (Phase::Active, Condition::Returning { .. }) => State::Filling,
            (Phase::Active, _) => State::Active,
            (Phase::Draining { .. }, _) => State::Draining,
            (Phase::Gone, _) => State::Gone,
        }
    }

    /// As what tables are built; none = it is in no table.
    pub fn table_state(&self) -> Option<BackendState> {
        match self.phase {
            Phase::Filling { .. } => Some(BackendState::Filling),
            Phase::Active => Some(BackendState::Active),
            Phase::Draining { .. } => Some(BackendState::Draining),
            Phase::Gone => None,
        }
    }

    pub fn standing(&self) -> Standing {
        let fitness = match self.condition {
            Condition::Fit => Fitness::Fit,
            Condition::Returning { .. } => Fitness::Returning,
            Condition::Failed { hold } => Fitness::Failed { held: hold.is_some() },
        };
        Standing { fitness, coming_weight: self.raise.map(|r| r.weight) }
    }

    pub fn report(&self, now: Instant) -> Report {
        let due = match (self.phase, self.condition) {
            (Phase::Filling { until }, _) => until,
            (Phase::Draining { since, .. }, _) => Some(since + self.drain_timeout),
            (Phase::Active, Condition::Returning { until }) => Some(until),
            (Phase::Active, _) => self.raise.map(|r| r.until),
            (Phase::Gone, _) => None,
        };
        let remaining = match self.phase {
            Phase::Draining { remaining, .. } => remaining.map(|r| r.flows),
            _ => None,
        };
        Report {
            state: self.state(),
            weight: self.weight,
            coming_weight: self.raise.map(|r| r.weight),
            health: self.health(),
            remaining,
            left: due.map(|at| at.saturating_duration_since(now)),
        }
    }
}

fn draining(since: Instant) -> Phase {
    Phase::Draining { since, everywhere_since: None, remaining: None }
}
