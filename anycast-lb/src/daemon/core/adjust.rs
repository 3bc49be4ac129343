//! What time and health do to the membership in force: steps of their own, between the changes that
//! somebody orders.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use std::sync::Arc;

use anycast_lb_health::Change as Verdict;

use super::{Action, Core, Outcome, Ticket};
use crate::daemon::diff::{self, Difference};
use crate::daemon::{Code, Failure};
use crate::health::{Servable, servable};
use crate::membership::{
    Health, HealthChange, InForce, Join, Key, Known, Membership, Remaining, Report, Transition, What,
};

/// What makes health change besides a command.
const CHECKS: &str = "health checks";

/// How long after a refused step the next attempt is made.
const RETRY: Duration = Duration::from_secs(5);
/// How often draining backends are asked how many flows they have.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// Somebody has looked at a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthReport {
    /// Who waits for an answer.
    pub ticket: Option<Ticket>,
    /// In this pool; none = in all that have it.
    pub pool: Option<String>,
    /// The backend.
    pub address: IpAddr,
    /// How it is.
    pub health: Health,
}

/// The membership in force and the step that is being put in force.
#[derive(Debug, Default)]
pub(super) struct Adjuster {
    /// In force.
    pub membership: Membership,
    /// Of the ordered change under way.
    pub staged: Option<Membership>,
    step: Option<Step>,
    reports: VecDeque<HealthReport>,
    /// Verdicts of checks that are not in force yet, of each backend the last one.
    verdicts: BTreeMap<Key, Verdict>,
    retry_at: Option<Instant>,
    ask_at: Option<Instant>,
}

#[derive(Debug)]
struct Step {
    next: Membership,
    transitions: Vec<Transition>,
    /// What the checks have brought about, and what they said.
    changes: Vec<HealthChange>,
    verdicts: BTreeMap<Key, Verdict>,
    reply: Option<(Ticket, Outcome)>,
}

impl Step {
    fn new(next: Membership, transitions: Vec<Transition>) -> Self {
        Step { next, transitions, changes: Vec::new(), verdicts: BTreeMap::new(), reply: None }
    }
}

impl Core {
    /// How a backend stands; none if the pool does not have it.
    pub fn report(&self, now: Instant, pool: &str, address: IpAddr) -> Option<Report> {
        self.adjuster.membership.report(now, pool, address)
    }

    /// What is known of a backend's health, and from whom; none if the pool does not have it.
    pub fn known(&self, pool: &str, address: IpAddr) -> Option<&Known> {
        self.adjuster.membership.known(pool, address)
    }

    /// Whether a pool can be served from here, for the announcement of prefixes; none if there is no such pool.
    pub fn servable(&self, now: Instant, pool: &str) -> Option<Servable> {
        self.servable_by(&self.adjuster.membership, now, pool)
    }

    fn servable_by(&self, membership: &Membership, now: Instant, pool: &str) -> Option<Servable> {
        let config = &self.config;
        let pool = config.pools.iter().find(|p| p.name == pool)?;
        let report = |address| membership.report(now, &pool.name, address);
        Some(servable(pool, &config.pop, &config.drained_pops, report))
    }

    /// Whether a backend may be removed although nobody insists.
    ///
    /// # Errors
    /// It may hold flows.
    pub fn removable(&self, pool: Option<&str>, address: IpAddr) -> Result<(), Failure> {
        let obstacles = self.adjuster.membership.obstacles(pool, address);
        if obstacles.is_empty() {
            return Ok(());
        }
        let words: Vec<String> = obstacles.iter().map(|(pool, o)| o.within(pool)).collect();
        let message = format!("backend {address} may hold flows, which would break: {}", words.join("; "));
        let first =
            if obstacles.iter().all(|(_, o)| o.is_drain()) { "wait for its drain" } else { "drain it first" };
        Err(Failure::new(Code::BackendActive, message).hint(format!(
            "{first}: anycast-lb backend drain {address} --wait; or break them: backend remove {address} --now"
        )))
    }

    /// What the data plane holds.
    pub fn in_force(&self) -> InForce {
        self.adjuster.membership.in_force(&self.config)
    }

    /// Whether nothing is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.work.is_none() && self.adjuster.step.is_none()
    }

    /// When time does something to the membership.
    pub(super) fn adjust_at(&self) -> Option<Instant> {
        if self.adjuster.step.is_some() {
            return None;
        }
        let due = self.adjuster.membership.deadline();
        let due = due.map(|at| self.adjuster.retry_at.map_or(at, |retry| at.max(retry)));
        let told = self.adjuster.retry_at.filter(|_| !self.adjuster.verdicts.is_empty());
        due.into_iter().chain(told).chain(self.adjuster.ask_at).min()
    }

    /// Takes news of a backend's health.
    pub(super) fn health(&mut self, report: HealthReport) {
        self.adjuster.reports.push_back(report);
    }

    /// Takes verdicts of checks. Those that come while something is under way are one step together.
    pub(super) fn checked(&mut self, verdicts: BTreeMap<Key, Verdict>) {
        self.adjuster.verdicts.extend(verdicts);
    }

    /// Takes the draining backends' answers. What comes during a change is asked again later.
    pub(super) fn flows(&mut self, now: Instant, answers: &[(IpAddr, Remaining)], out: &mut Vec<Action>) {
        if answers.is_empty() || !self.is_idle() {
            return;
        }
        let mut next = self.adjuster.membership.clone();
        let done = answers.iter().flat_map(|(backend, answer)| next.set_remaining(now, *backend, *answer));
        let transitions = done.collect();
        self.adjust(now, Step::new(next, transitions), out);
    }

    /// The joins under way: the other nodes may know of them before their time is over.
    pub fn joins(&self) -> Vec<Join> {
        self.adjuster.membership.joins()
    }

    /// All other nodes know of these. What comes during a change is said again later.
    pub(super) fn listed(&mut self, now: Instant, joins: &[Join], out: &mut Vec<Action>) {
        if !self.serving || !self.is_idle() {
            return;
        }
        let mut next = self.adjuster.membership.clone();
        let transitions: Vec<_> = joins.iter().flat_map(|join| next.set_listed(join)).collect();
        if !transitions.is_empty() {
            self.adjust(now, Step::new(next, transitions), out);
        }
    }

    /// Does what is due if nothing is under way.
    pub(super) fn adjust_if_due(&mut self, now: Instant, out: &mut Vec<Action>) {
        while self.serving && self.is_idle() {
            let Some(report) = self.adjuster.reports.pop_front() else { break };
            self.take_report(now, report, out);
        }
        if !self.serving || !self.is_idle() {
            return;
        }
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        let may_try = self.adjuster.retry_at.is_none_or(|at| at <= now);
        if !self.adjuster.verdicts.is_empty() && may_try {
            self.take_verdicts(now, out);
            if !self.is_idle() {
                return;
            }
        }
        if is_due(self.adjuster.membership.deadline()) && may_try {
            let mut next = self.adjuster.membership.clone();
            let transitions = next.tick(now);
            self.adjust(now, Step::new(next, transitions), out);
        }
        let draining = self.adjuster.membership.draining();
        if draining.is_empty() {
            self.adjuster.ask_at = None;
        } else if self.is_idle() && self.adjuster.ask_at.is_none_or(|at| at <= now) {
            self.adjuster.ask_at = Some(now + ASK_EVERY);
            out.push(Action::AskFlows(draining));
        }
    }

    fn take_report(&mut self, now: Instant, report: HealthReport, out: &mut Vec<Action>) {
        let HealthReport { ticket, pool, address, health } = report;
        let mut next = self.adjuster.membership.clone();
        let changes = next.set_health(now, pool.as_deref(), address, health);
        if changes.is_empty() {
            let failure = Failure::new(Code::NotFound, format!("no pool has backend {address}"))
                .hint("see: anycast-lb backend list");
            out.extend(ticket.map(|ticket| Action::Reply(ticket, Err(failure))));
            return;
        }
        let changed = changes.into_iter().filter(|change| change.before != change.after);
        let differences: Vec<Difference> = changed
            .map(|HealthChange { key: (pool, address), before, after }| Difference {
                subject: "backend",
                name: format!("{pool} {address}"),
                what: diff::What::Changed,
                detail: format!("health {} -> {}", before.name(), after.name()),
            })
            .collect();
        for difference in &differences {
            difference.log(None, "command");
        }
        let outcome =
            Outcome { generation: self.generation, differences, files: Vec::new(), warnings: Vec::new() };
        let reply = ticket.map(|t| (t, outcome));
        self.adjust(now, Step { reply, ..Step::new(next, Vec::new()) }, out);
    }

    /// All verdicts that there are become one step, and one swap of tables.
    fn take_verdicts(&mut self, now: Instant, out: &mut Vec<Action>) {
        let mut verdicts = std::mem::take(&mut self.adjuster.verdicts);
        // One that was under way when its check was taken out would hold for ever.
        let is_checked = |name: &String| {
            self.config.pools.iter().any(|pool| pool.name == *name && pool.health.check.is_some())
        };
        verdicts.retain(|(pool, _), _| is_checked(pool));
        let mut next = self.adjuster.membership.clone();
        let told = verdicts.iter().map(|(key, verdict)| {
            let health = match verdict.health {
                anycast_lb_health::Health::Unknown => Health::Unknown,
                anycast_lb_health::Health::Up => Health::Up,
                anycast_lb_health::Health::Down => Health::Down,
            };
            (key, health, verdict.reason.as_ref().map(anycast_lb_health::Reason::as_str))
        });
        let changes = next.set_checked(now, told);
        self.adjust(now, Step { changes, verdicts, ..Step::new(next, Vec::new()) }, out);
    }

    /// Puts a step in force; one that the data plane need not know of is over at once.
    fn adjust(&mut self, now: Instant, step: Step, out: &mut Vec<Action>) {
        let in_force = step.next.in_force(&self.config);
        if in_force == self.adjuster.membership.in_force(&self.config) {
            self.finish_step(now, step, out);
        } else {
            out.push(Action::Apply(Box::new(in_force)));
            self.adjuster.step = Some(step);
        }
    }

    /// Takes the data plane's answer if a step was under way; else gives it back.
    pub(super) fn adjusted(
        &mut self,
        now: Instant,
        result: Result<(), Failure>,
        out: &mut Vec<Action>,
    ) -> Option<Result<(), Failure>> {
        let Some(step) = self.adjuster.step.take() else { return Some(result) };
        match result {
            Ok(()) => {
                self.adjuster.retry_at = None;
                self.finish_step(now, step, out);
            }
            Err(failure) => {
                tracing::error!(cause = %failure, retry_seconds = RETRY.as_secs(), "membership stays as it was");
                self.adjuster.retry_at = Some(now + RETRY);
                // Said once, by the checks: they are not to be lost. What has been said since counts more.
                for (key, verdict) in step.verdicts {
                    self.adjuster.verdicts.entry(key).or_insert(verdict);
                }
                out.extend(step.reply.map(|(ticket, _)| Action::Reply(ticket, Err(failure))));
            }
        }
        None
    }

    fn finish_step(&mut self, now: Instant, step: Step, out: &mut Vec<Action>) {
        let before = std::mem::replace(&mut self.adjuster.membership, step.next);
        for transition in &step.transitions {
            let (pool, backend) = &transition.key;
            tracing::info!(pool, %backend, cause = transition.what.cause(), "{transition}");
        }
        for change in &step.changes {
            self.tell(change);
        }
        self.tell_pools(now, &before, &step.changes);
        // Who has left the tables is not checked any more: its number may be given to another.
        if step.transitions.iter().any(|t| matches!(t.what, What::Gone(_))) {
            self.set_checks(out);
        }
        out.extend(step.reply.map(|(ticket, outcome)| Action::Reply(ticket, Ok(outcome))));
    }

    /// Says which checks are to be made.
    pub(super) fn set_checks(&self, out: &mut Vec<Action>) {
        out.push(Action::SetChecks(Arc::clone(&self.config)));
    }

    /// One line for a backend whose checks have come to another verdict.
    fn tell(&self, change: &HealthChange) {
        let HealthChange { key: (pool, backend), before, after } = change;
        match after {
            Health::Down => {
                let known = self.known(pool, *backend);
                let cause = known.and_then(Known::reason).unwrap_or("no reason is known");
                tracing::warn!(pool, %backend, cause, "backend {pool} {backend} is down: {cause}");
            }
            Health::Up => {
                let again = if *before == Health::Unknown { "" } else { " again" };
                tracing::info!(pool, %backend, cause = CHECKS, "backend {pool} {backend} is up{again}");
            }
            Health::Unknown => {
                tracing::info!(pool, %backend, cause = CHECKS, "of backend {pool} {backend} nothing is known any more");
            }
        }
    }

    /// One line for a pool that can be served no more, or again.
    fn tell_pools(&self, now: Instant, before: &Membership, changes: &[HealthChange]) {
        let mut pools: Vec<&str> = changes.iter().map(|change| change.key.0.as_str()).collect();
        pools.sort_unstable();
        pools.dedup();
        for pool in pools {
            let (was, is) = (self.servable_by(before, now, pool), self.servable(now, pool));
            let (Some(was), Some(is)) = (was, is) else { continue };
            match (was.is_enough(), is.is_enough()) {
                (true, false) => tracing::warn!(pool, cause = CHECKS, "pool {pool}: {is}"),
                (false, true) => tracing::info!(pool, cause = CHECKS, "pool {pool}: {is}"),
                _ => {}
            }
        }
    }

    /// Who waits for an answer is told that none will come.
    pub(super) fn leave_reports(&mut self, out: &mut Vec<Action>) {
        let reports = self.adjuster.reports.drain(..).filter_map(|report| report.ticket);
        let step = self.adjuster.step.take().and_then(|step| step.reply).map(|(ticket, _)| ticket);
        out.extend(reports.chain(step).map(|ticket| Action::Reply(ticket, Err(Failure::unavailable()))));
    }
}
