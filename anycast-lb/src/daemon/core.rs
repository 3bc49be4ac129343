//! The daemon's decisions, without I/O: events in, actions out, time as a parameter.
//!
//! One transaction is under way at a time; the others wait in a queue.
//!
//! ```text
//!   start ───────────────┐
//!   change ─> Preparing ─┴─> Resolving ─> Applying ─> Attaching ─> Committing ─> done
//!                │            (next hops      │           │             │
//!                │             of what        │           └─────┬───────┘
//!                │             is new)        │                 v
//!                └──── refused <──────────────┴─────────── RollingBack
//! ```
//!
//! *Resolving* comes before *Applying* so that a new backend never owns flows before the way to it
//! is known, and so that a restarted daemon leaves the pinned next hops alone until it knows better.
//! The file is written last: what it says has then been proved to work, and when writing fails the
//! data plane goes back to what the file still says.

mod adjust;
mod announcing;
mod ending;
mod network;
mod orders;
mod tally;
#[cfg(test)]
mod tests;
mod vocabulary;

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Failure;
use super::diff;
use super::ports::Change;
use crate::membership::Membership;
use crate::model::{Config, Role};
use crate::neighbour::Resolution;

use adjust::Adjuster;
pub use adjust::HealthReport;
use announcing::Announce;
pub use announcing::Announcements;
use ending::{cause, not_rolled_back};
use network::backends;
pub use tally::{Ended, Tally};
pub use vocabulary::{Action, Event, Order, Origin, Outcome, Ticket};

/// How long a change waits for the next hops of what it adds. A neighbour that has not answered
/// three probes, one a second, is failed; those that are up answer in milliseconds.
pub const RESOLVE_WAIT: Duration = Duration::from_secs(2);

/// How long after a failed attachment the next attempt is made.
pub const ATTACH_RETRY: Duration = Duration::from_secs(5);

/// A transaction under way.
#[derive(Debug)]
struct Work {
    order: Order,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Preparing,
    Resolving {
        next: Arc<Config>,
        deadline: Instant,
    },
    Applying {
        next: Arc<Config>,
    },
    Attaching {
        next: Arc<Config>,
    },
    Committing {
        next: Arc<Config>,
    },
    /// `attach`: the interfaces are still to be put back.
    RollingBack {
        cause: Failure,
        attach: bool,
    },
}

/// The daemon's state.
#[derive(Debug)]
pub struct Core {
    config: Arc<Config>,
    generation: u64,
    adjuster: Adjuster,
    resolutions: BTreeMap<IpAddr, Resolution>,
    locals: Option<Vec<IpAddr>>,
    work: Option<Work>,
    queue: VecDeque<Order>,
    attach_at: Option<Instant>,
    announce: Announce,
    serving: bool,
    tally: Tally,
}

impl Core {
    /// A daemon that is to put `config` in force; [`Self::start`] begins.
    pub fn new(config: Config) -> Self {
        Core {
            config: Arc::new(config),
            generation: 1,
            adjuster: Adjuster::default(),
            resolutions: BTreeMap::new(),
            locals: None,
            work: None,
            queue: VecDeque::new(),
            attach_at: None,
            announce: Announce::default(),
            serving: false,
            tally: Tally::default(),
        }
    }

    /// The configuration in force.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The same, to be kept.
    pub fn shared_config(&self) -> Arc<Config> {
        Arc::clone(&self.config)
    }

    /// Counts the accepted changes since this daemon started, from 1.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// How changes of the configuration ended.
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// What is known of a backend's next hop; none = not yet asked or answered.
    pub fn resolution(&self, backend: IpAddr) -> Option<&Resolution> {
        self.resolutions.get(&backend)
    }

    /// When [`Event::Timer`] is due.
    pub fn deadline(&self) -> Option<Instant> {
        let resolving = match &self.work {
            Some(Work { stage: Stage::Resolving { deadline, .. }, .. }) => Some(*deadline),
            _ => None,
        };
        // What else is due waits for the transaction, whose end is an event of its own.
        let due = if self.work.is_some() {
            resolving
        } else {
            self.attach_at.into_iter().chain(self.adjust_at()).min()
        };
        due.into_iter().chain(self.announce_at()).min()
    }

    /// Begins the start.
    pub fn start(&mut self, now: Instant) -> Vec<Action> {
        let mut out = Vec::new();
        self.adjuster.membership = Membership::start(now, &self.config);
        let order =
            Order { origin: Origin::Start, change: Change::Reload, expect_generation: None, dry_run: false };
        self.resolve(now, order, Arc::clone(&self.config), &mut out);
        out
    }

    /// Takes one event; returns what is to be done, in this order.
    pub fn step(&mut self, now: Instant, event: Event) -> Vec<Action> {
        let mut out = Vec::new();
        match event {
            Event::Order(order) => self.enqueue(order),
            Event::Neighbour(event) => self.neighbour(now, event, &mut out),
            Event::Timer => {}
            Event::Terminate => self.terminate(now, &mut out),
            Event::Prepared(result) => self.prepared(now, result, &mut out),
            Event::Health(report) => self.health(report),
            Event::Maintenance { drain, ticket } => self.set_maintenance(now, drain, ticket, &mut out),
            Event::Verdicts(verdicts) => self.verdicts(&verdicts),
            Event::Looked(obstacle) => self.looked(obstacle),
            Event::Checked(verdicts) => self.checked(verdicts),
            Event::Listed(joins) => self.listed(now, &joins, &mut out),
            Event::Flows(answers) => self.flows(now, &answers, &mut out),
            Event::Applied(result) => {
                if let Some(result) = self.adjusted(now, result, &mut out) {
                    self.applied(now, result, &mut out);
                }
            }
            Event::Attached(result) => self.attached(now, result, &mut out),
            Event::Committed(result) => self.committed(now, result, &mut out),
        }
        self.continue_if_resolved(now, &mut out);
        self.attach_if_due(now, &mut out);
        self.adjust_if_due(now, &mut out);
        self.next_order(now, &mut out);
        self.announce(now, &mut out);
        out
    }

    fn next_order(&mut self, now: Instant, out: &mut Vec<Action>) {
        while self.is_idle() && self.serving {
            let Some(order) = self.queue.pop_front() else { return };
            if let Err(failure) = self.admissible(&order) {
                self.finish(now, &order, Err(failure), out);
                continue;
            }
            if order.change == Change::Reload && !order.dry_run {
                out.push(Action::Reloading(true));
            }
            out.push(Action::Prepare(order.change.clone()));
            self.work = Some(Work { order, stage: Stage::Preparing });
        }
    }

    fn prepared(&mut self, now: Instant, result: Result<Arc<Config>, Failure>, out: &mut Vec<Action>) {
        let Some(Work { order, stage: Stage::Preparing }) = self.work.take() else { return };
        let checked = result.and_then(|next| diff::fixed(&self.config, &next).map(|()| next));
        match checked {
            Err(failure) => {
                out.push(Action::Discard);
                self.finish(now, &order, Err(failure), out);
            }
            Ok(next) if order.dry_run => {
                out.push(Action::Discard);
                let differences = diff::differences(&self.config, &next);
                let outcome = Outcome {
                    generation: self.generation,
                    differences,
                    files: Vec::new(),
                    warnings: Vec::new(),
                };
                self.finish(now, &order, Ok(outcome), out);
            }
            Ok(next) => self.resolve(now, order, next, out),
        }
    }

    /// Asks for the next hops of the old and the new configuration's backends.
    fn resolve(&mut self, now: Instant, order: Order, next: Arc<Config>, out: &mut Vec<Action>) {
        let mut targets = backends(&self.config);
        targets.extend(backends(&next));
        out.push(Action::SetTargets(targets.into_iter().collect()));
        let stage = Stage::Resolving { next, deadline: now + RESOLVE_WAIT };
        self.work = Some(Work { order, stage });
        self.continue_if_resolved(now, out);
    }

    fn continue_if_resolved(&mut self, now: Instant, out: &mut Vec<Action>) {
        let Some(Work { stage: Stage::Resolving { next, deadline }, .. }) = &self.work else { return };
        let unknown = self.unanswered(next);
        let locals_missing = next.role == Role::Backend && self.locals.is_none();
        if (!unknown.is_empty() || locals_missing) && now < *deadline {
            return;
        }
        if !unknown.is_empty() {
            tracing::warn!(backends = ?unknown, "no answer from the neighbour resolver in time, going on");
        }
        if locals_missing {
            tracing::warn!("this host's own addresses are not known in time, going on");
        }
        let next = Arc::clone(next);
        if let Some(locals) = &self.locals {
            out.push(Action::SetLocals(locals.clone()));
        }
        self.tell_next_hops(&next, out);
        let mut membership = self.adjuster.membership.clone();
        membership.configure(now, &next);
        out.push(Action::Apply(Box::new(membership.in_force(&next))));
        self.adjuster.staged = Some(membership);
        if let Some(work) = &mut self.work {
            work.stage = Stage::Applying { next };
        }
    }

    fn applied(&mut self, now: Instant, result: Result<(), Failure>, out: &mut Vec<Action>) {
        let Some(Work { order, stage }) = self.work.take() else { return };
        match (stage, result) {
            (Stage::Applying { next }, Ok(())) => {
                if order.origin == Origin::Start || next.interfaces != self.config.interfaces {
                    out.push(Action::Attach(next.interfaces.clone()));
                    self.work = Some(Work { order, stage: Stage::Attaching { next } });
                } else {
                    out.push(Action::Commit);
                    self.work = Some(Work { order, stage: Stage::Committing { next } });
                }
            }
            (Stage::Applying { .. }, Err(failure)) if order.origin == Origin::Start => {
                out.push(Action::Exit(Err(failure)));
            }
            (Stage::Applying { .. }, Err(failure)) => self.refuse(now, &order, failure, out),
            (Stage::RollingBack { cause, attach: true }, Ok(())) => {
                out.push(Action::Attach(self.config.interfaces.clone()));
                self.work = Some(Work { order, stage: Stage::RollingBack { cause, attach: false } });
            }
            (Stage::RollingBack { cause, .. }, Ok(())) => {
                self.refuse(now, &order, cause, out);
                // A backend that was out for a moment may have another number now.
                self.set_checks(out);
            }
            (Stage::RollingBack { cause, .. }, Err(second)) => {
                self.refuse(now, &order, not_rolled_back(cause, &second), out);
            }
            (stage, _) => self.work = Some(Work { order, stage }),
        }
    }

    fn attached(&mut self, now: Instant, result: Result<(), Failure>, out: &mut Vec<Action>) {
        match self.work.take() {
            Some(Work { order, stage: Stage::Attaching { next } }) => match result {
                Ok(()) if order.origin == Origin::Start => self.started(now, out),
                Err(failure) if order.origin == Origin::Start => out.push(Action::Exit(Err(failure))),
                Ok(()) => {
                    out.push(Action::Commit);
                    self.work = Some(Work { order, stage: Stage::Committing { next } });
                }
                Err(cause) => self.roll_back(order, cause, true, out),
            },
            Some(Work { order, stage: Stage::RollingBack { cause, attach: false } }) => {
                let cause = match result {
                    Ok(()) => cause,
                    Err(second) => not_rolled_back(cause, &second),
                };
                self.refuse(now, &order, cause, out);
                self.set_checks(out);
            }
            other => {
                // Nobody waits for this one: a link came back or a retry was due.
                self.work = other;
                if let Err(failure) = result {
                    tracing::warn!(cause = %failure, retry_seconds = ATTACH_RETRY.as_secs(), "attaching failed");
                    self.attach_at = Some(now + ATTACH_RETRY);
                }
            }
        }
    }

    fn started(&mut self, now: Instant, out: &mut Vec<Action>) {
        self.serving = true;
        self.tally.started(now);
        self.carries();
        self.adjuster.staged = None;
        out.push(Action::Ready);
        self.set_checks(out);
        // Answers that came while the tables were being filled.
        self.tell_next_hops(&Arc::clone(&self.config), out);
    }

    fn committed(&mut self, now: Instant, result: Result<Vec<String>, Failure>, out: &mut Vec<Action>) {
        let (order, next) = match self.work.take() {
            Some(Work { order, stage: Stage::Committing { next } }) => (order, next),
            other => {
                self.work = other;
                return;
            }
        };
        match result {
            Ok(files) => {
                let differences = diff::differences(&self.config, &next);
                self.generation += u64::from(*next != *self.config);
                for difference in &differences {
                    let generation = Some(self.generation);
                    difference.log(generation, cause(&order));
                }
                if differences.is_empty() {
                    tracing::info!(cause = cause(&order), "nothing changes");
                }
                let warnings = self.unreachable_newcomers(&next);
                self.config = next;
                if let Some(membership) = self.adjuster.staged.take() {
                    self.adjuster.membership = membership;
                }
                self.forget_targets(out);
                self.tell_next_hops(&Arc::clone(&self.config), out);
                self.set_checks(out);
                let outcome = Outcome { generation: self.generation, differences, files, warnings };
                self.finish(now, &order, Ok(outcome), out);
            }
            Err(cause) => {
                let attach = next.interfaces != self.config.interfaces;
                self.roll_back(order, cause, attach, out);
            }
        }
    }

    fn roll_back(&mut self, order: Order, cause: Failure, attach: bool, out: &mut Vec<Action>) {
        // The data plane has forgotten the ways to what the change removed.
        self.tell_next_hops(&Arc::clone(&self.config), out);
        out.push(Action::Apply(Box::new(self.adjuster.membership.in_force(&self.config))));
        self.work = Some(Work { order, stage: Stage::RollingBack { cause, attach } });
    }

    /// Ends a transaction that changed nothing.
    fn refuse(&mut self, now: Instant, order: &Order, failure: Failure, out: &mut Vec<Action>) {
        out.push(Action::Discard);
        self.adjuster.staged = None;
        self.forget_targets(out);
        self.finish(now, order, Err(failure), out);
    }

    fn terminate(&mut self, now: Instant, out: &mut Vec<Action>) {
        tracing::info!(cause = "signal", "stopping");
        // Before anything else: from here on this node is on its way out of service.
        self.stop_announcing(out);
        let waiting: Vec<Order> =
            self.work.take().map(|w| w.order).into_iter().chain(self.queue.drain(..)).collect();
        for order in waiting {
            self.finish(now, &order, Err(Failure::unavailable()), out);
        }
        self.leave_reports(out);
        self.serving = false;
        out.push(Action::Exit(Ok(())));
    }
}
