//! What follows for the prefixes that this node announces.
//!
//! Whatever happened, at the end of each step it is looked whether each prefix can be served: that costs one
//! look at each backend. So nothing that changes can be forgotten.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anycast_lb_routing::announce::driver::Method;
use anycast_lb_routing::announce::gate::{Decision, Verdict, Vips};
use anycast_lb_routing::announce::machine::{Announcer, Standings};
use ipnet::IpNet;

use super::{Action, Core, Outcome, Ticket};
use crate::daemon::diff::{Difference, What};
use crate::daemon::{Code, Failure};
use crate::health::{Servable, place, servable};
use crate::model::{Announcing, Config, Pool, Role};
use crate::neighbour::Resolution;

/// How often it is looked whether the program is still attached: nobody is told when it is taken off.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// What the neighbours of the BGP speaker are told at the end.
const STOPPED: &str = "anycast-lb is stopped on this node";

/// By whom each prefix is announced, and what becomes of it.
pub type Announcements = BTreeMap<IpNet, (Method, Decision)>;

/// What is announced, and what has been said of it.
#[derive(Debug, Default)]
pub(super) struct Announce {
    machine: Announcer,
    /// What the drivers were configured with.
    told: Announcing,
    /// Pools of which checks have once said how they are. What a daemon that has just started does not know
    /// is no reason to announce; that a backend came later whom nobody has checked yet is none to withdraw.
    proven: BTreeSet<String>,
    /// What RPKI said last of each prefix, announced or not.
    verdicts: BTreeMap<IpNet, Verdict>,
    look_at: Option<Instant>,
    decide_at: Option<Instant>,
}

impl Announce {
    /// What is decided of each prefix.
    fn decisions(&self) -> BTreeMap<IpNet, Decision> {
        self.machine.standings().into_iter().map(|(prefix, standing)| (prefix, standing.decision)).collect()
    }
}

impl Core {
    /// What becomes of each announced prefix, and why.
    pub fn standings(&self) -> Standings {
        self.announce.machine.standings()
    }

    /// Maintenance of this node.
    pub fn maintenance(&self) -> anycast_lb_routing::announce::drain::Phase {
        self.announce.machine.maintenance()
    }

    /// The node was being drained when an earlier daemon ended: it stays so.
    pub fn resume_drained(&mut self) {
        self.announce.machine.resume_drained();
    }

    /// When time does something to what is announced.
    pub(super) fn announce_at(&self) -> Option<Instant> {
        self.announce.look_at.into_iter().chain(self.announce.decide_at).min()
    }

    /// Somebody drains the node, or puts it back into service.
    pub(super) fn set_maintenance(
        &mut self,
        now: Instant,
        drain: bool,
        ticket: Ticket,
        out: &mut Vec<Action>,
    ) {
        if !self.serving {
            out.push(Action::Reply(ticket, Err(Failure::unavailable())));
            return;
        }
        if self.config.role == Role::Backend {
            let failure = Failure::new(Code::InvalidRequest, "a backend announces nothing")
                .hint("drain it on the ingress nodes: anycast-lb backend drain ADDRESS");
            out.push(Action::Reply(ticket, Err(failure)));
            return;
        }
        let before = self.maintenance();
        let wait = self.config.announcing.drain_wait;
        if drain {
            self.announce.machine.drain(now, wait);
        } else {
            self.announce.machine.undrain();
        }
        let after = self.maintenance();
        let mut differences = Vec::new();
        if before != after {
            out.push(Action::RememberDrain(drain));
            let difference = Difference {
                subject: "node",
                name: self.config.node.clone(),
                what: What::Changed,
                detail: format!("{} -> {}", before.name(), after.name()),
            };
            difference.log(None, "command");
            differences.push(difference);
        }
        let mut warnings = Vec::new();
        if drain && self.config.announcing.prefixes.is_empty() {
            warnings
                .push("this node announces no prefix itself: withdraw it where it is announced".to_owned());
        }
        let outcome = Outcome { generation: self.generation, differences, files: Vec::new(), warnings };
        out.push(Action::Reply(ticket, Ok(outcome)));
    }

    /// RPKI has something new to say of these prefixes.
    pub(super) fn verdicts(&mut self, verdicts: &BTreeMap<IpNet, Verdict>) {
        for (prefix, verdict) in verdicts {
            self.announce.machine.set_verdict(prefix, verdict.clone());
        }
        self.announce.verdicts.extend(verdicts.clone());
    }

    /// Somebody has looked at the attachments: none = the program is where it should be.
    pub(super) fn looked(&mut self, obstacle: Option<String>) {
        self.announce.machine.set_data_plane(obstacle);
    }

    /// The data plane is in force.
    pub(super) fn carries(&mut self) {
        self.announce.machine.set_data_plane(None);
    }

    /// Says what is to be announced if that has changed.
    pub(super) fn announce(&mut self, now: Instant, out: &mut Vec<Action>) {
        if !self.serving {
            return;
        }
        if self.announce.told != self.config.announcing {
            self.announce.told = self.config.announcing.clone();
            let prefixes = self.config.announcing.prefixes.iter().map(|p| (p.prefix, p.require));
            self.announce.machine.configure(prefixes);
            for (prefix, verdict) in &self.announce.verdicts {
                self.announce.machine.set_verdict(prefix, verdict.clone());
            }
            out.push(Action::ConfigureAnnouncing(Box::new(self.config.announcing.clone())));
            self.count_vips(now);
            let before = self.announce.decisions();
            self.announce.machine.decide(now);
            self.tell_decisions(&before);
            out.push(Action::Announce(self.announcements()));
        }
        if self.announce.told.prefixes.is_empty() {
            self.announce.look_at = None;
            // Maintenance has an end all the same.
            self.announce.machine.decide(now);
            self.announce.decide_at = self.announce.machine.deadline(now);
            return;
        }
        self.count_vips(now);
        let before = self.announce.decisions();
        if self.announce.machine.decide(now).is_some() {
            self.tell_decisions(&before);
            out.push(Action::Announce(self.announcements()));
        }
        self.announce.decide_at = self.announce.machine.deadline(now);
        if self.announce.look_at.is_none_or(|at| at <= now) {
            self.announce.look_at = Some(now + LOOK_EVERY);
            out.push(Action::LookAtAttachments);
        }
    }

    /// A line for each prefix of which something else is decided than before; at first nothing is announced.
    fn tell_decisions(&self, before: &BTreeMap<IpNet, Decision>) {
        for (prefix, standing) in self.standings() {
            if before.get(&prefix).copied().unwrap_or_default() != standing.decision {
                tracing::info!(%prefix, cause = %standing.reason, "{standing}");
            }
        }
    }

    /// Everything is withdrawn, for good.
    pub(super) fn stop_announcing(&mut self, out: &mut Vec<Action>) {
        if self.announce.told != Announcing::default() {
            out.push(Action::StopAnnouncing(STOPPED.to_owned()));
        }
    }

    fn announcements(&self) -> Announcements {
        let standings = self.standings();
        let prefixes = self.config.announcing.prefixes.iter();
        prefixes
            .map(|p| (p.prefix, (p.method, standings.get(&p.prefix).map(|s| s.decision).unwrap_or_default())))
            .collect()
    }

    fn count_vips(&mut self, now: Instant) {
        let pools: Vec<(&str, Servable)> =
            self.config.pools.iter().map(|pool| (pool.name.as_str(), self.reachable(now, pool))).collect();
        let config = Arc::clone(&self.config);
        let is_checked = |name: &str| config.pools.iter().any(|p| p.name == name && has_checks(&config, p));
        let proven = pools.iter().filter(|(name, s)| s.is_servable() && (s.is_proven() || !is_checked(name)));
        let proven: Vec<String> = proven.map(|(name, _)| (*name).to_owned()).collect();
        self.announce.proven.retain(|name| pools.iter().any(|(pool, _)| pool == name));
        self.announce.proven.extend(proven);
        let is_proven = |name: &str| self.announce.proven.contains(name);
        let servable: BTreeMap<&str, bool> =
            pools.into_iter().map(|(name, s)| (name, s.is_servable() && is_proven(name))).collect();
        let of = |prefix: &IpNet| {
            let mut vips = Vips::default();
            for vip in self.config.vips.iter().filter(|vip| prefix.contains(&vip.key.address)) {
                vips.all += 1;
                vips.servable += usize::from(servable.get(vip.pool.as_str()) == Some(&true));
            }
            vips
        };
        let counts: Vec<(IpNet, Vips)> =
            self.config.announcing.prefixes.iter().map(|p| (p.prefix, of(&p.prefix))).collect();
        for (prefix, vips) in counts {
            self.announce.machine.set_vips(now, &prefix, vips);
        }
    }

    /// How a pool stands, of whose backends those count to which a way is known.
    fn reachable(&self, now: Instant, pool: &Pool) -> Servable {
        let report = |address| {
            let is_known = matches!(self.resolution(address), Some(Resolution::Resolved(_)));
            if is_known { self.report(now, &pool.name, address) } else { None }
        };
        servable(pool, &self.config.pop, &self.config.drained_pops, report)
    }
}

/// Whether somebody will say how the backends of this pool are: its checks have somewhere to go.
fn has_checks(config: &Config, pool: &Pool) -> bool {
    let vips = config.vips.iter().filter(|vip| vip.pool == pool.name).map(|vip| vip.key);
    pool.health.check.as_ref().is_some_and(|check| place(check, vips).is_ok())
}
