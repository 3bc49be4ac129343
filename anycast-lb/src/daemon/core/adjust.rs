//! What time and health do to the membership in force: steps of their own, between the changes that
//! somebody orders.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::{Action, Core, Outcome, Ticket};
use crate::daemon::diff::{self, Difference};
use crate::daemon::{Code, Failure};
use crate::membership::{Health, InForce, Join, Membership, Remaining, Report, Transition};

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
    retry_at: Option<Instant>,
    ask_at: Option<Instant>,
}

#[derive(Debug)]
struct Step {
    next: Membership,
    transitions: Vec<Transition>,
    reply: Option<(Ticket, Outcome)>,
}

impl Core {
    /// How a backend stands; none if the pool does not have it.
    pub fn report(&self, now: Instant, pool: &str, address: IpAddr) -> Option<Report> {
        self.adjuster.membership.report(now, pool, address)
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
        due.into_iter().chain(self.adjuster.ask_at).min()
    }

    /// Takes news of a backend's health.
    pub(super) fn health(&mut self, report: HealthReport) {
        self.adjuster.reports.push_back(report);
    }

    /// Takes the draining backends' answers. What comes during a change is asked again later.
    pub(super) fn flows(&mut self, now: Instant, answers: &[(IpAddr, Remaining)], out: &mut Vec<Action>) {
        if answers.is_empty() || !self.is_idle() {
            return;
        }
        let mut next = self.adjuster.membership.clone();
        let done = answers.iter().flat_map(|(backend, answer)| next.set_remaining(now, *backend, *answer));
        let transitions = done.collect();
        self.adjust(Step { next, transitions, reply: None }, out);
    }

    /// The joins under way: the other nodes may know of them before their time is over.
    pub fn joins(&self) -> Vec<Join> {
        self.adjuster.membership.joins()
    }

    /// All other nodes know of these. What comes during a change is said again later.
    pub(super) fn listed(&mut self, joins: &[Join], out: &mut Vec<Action>) {
        if !self.serving || !self.is_idle() {
            return;
        }
        let mut next = self.adjuster.membership.clone();
        let transitions: Vec<_> = joins.iter().flat_map(|join| next.set_listed(join)).collect();
        if !transitions.is_empty() {
            self.adjust(Step { next, transitions, reply: None }, out);
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
        if is_due(self.adjuster.membership.deadline()) && may_try {
            let mut next = self.adjuster.membership.clone();
            let transitions = next.tick(now);
            self.adjust(Step { next, transitions, reply: None }, out);
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
        let before = next.set_health(now, pool.as_deref(), address, health);
        if before.is_empty() {
            let failure = Failure::new(Code::NotFound, format!("no pool has backend {address}"))
                .hint("see: anycast-lb backend list");
            out.extend(ticket.map(|ticket| Action::Reply(ticket, Err(failure))));
            return;
        }
        let changed = before.into_iter().filter(|(_, before)| *before != health);
        let differences: Vec<Difference> = changed
            .map(|((pool, address), before)| Difference {
                subject: "backend",
                name: format!("{pool} {address}"),
                what: diff::What::Changed,
                detail: format!("health {} -> {}", before.name(), health.name()),
            })
            .collect();
        for difference in &differences {
            tracing::info!("{difference}");
        }
        let outcome =
            Outcome { generation: self.generation, differences, files: Vec::new(), warnings: Vec::new() };
        self.adjust(Step { next, transitions: Vec::new(), reply: ticket.map(|t| (t, outcome)) }, out);
    }

    /// Puts a step in force; one that the data plane need not know of is over at once.
    fn adjust(&mut self, step: Step, out: &mut Vec<Action>) {
        let in_force = step.next.in_force(&self.config);
        if in_force == self.adjuster.membership.in_force(&self.config) {
            self.finish_step(step, out);
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
                self.finish_step(step, out);
            }
            Err(failure) => {
                tracing::error!(%failure, retry_seconds = RETRY.as_secs(), "membership stays as it was");
                self.adjuster.retry_at = Some(now + RETRY);
                out.extend(step.reply.map(|(ticket, _)| Action::Reply(ticket, Err(failure))));
            }
        }
        None
    }

    fn finish_step(&mut self, step: Step, out: &mut Vec<Action>) {
        self.adjuster.membership = step.next;
        for transition in &step.transitions {
            tracing::info!("{transition}");
        }
        out.extend(step.reply.map(|(ticket, outcome)| Action::Reply(ticket, Ok(outcome))));
    }

    /// Who waits for an answer is told that none will come.
    pub(super) fn leave_reports(&mut self, out: &mut Vec<Action>) {
        let reports = self.adjuster.reports.drain(..).filter_map(|report| report.ticket);
        let step = self.adjuster.step.take().and_then(|step| step.reply).map(|(ticket, _)| ticket);
        out.extend(reports.chain(step).map(|ticket| Action::Reply(ticket, Err(Failure::unavailable()))));
    }
}
