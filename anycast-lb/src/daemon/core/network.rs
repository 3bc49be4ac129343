//! What follows from news about routes, neighbours and links.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Instant;

use super::{Action, Core};
use crate::model::{Config, Role};
use crate::neighbour::{Event as NeighbourEvent, Resolution};

impl Core {
    /// Takes what the resolver reports.
    pub(super) fn neighbour(&mut self, now: Instant, event: NeighbourEvent, out: &mut Vec<Action>) {
        match event {
            NeighbourEvent::NextHop { backend, resolution } => {
                if self.resolutions.insert(backend, resolution.clone()).as_ref() == Some(&resolution) {
                    return;
                }
                match &resolution {
                    Resolution::Resolved(hop) => {
                        let cause = "next hop found";
                        tracing::info!(%backend, interface = %hop.interface, cause, "backend is reachable");
                    }
                    Resolution::Pending(reason) => {
                        tracing::debug!(%backend, cause = %reason, "next hop not known yet");
                    }
                    Resolution::Unresolved(reason) => {
                        tracing::warn!(%backend, cause = %reason, "backend is not reachable");
                    }
                }
                if self.serving && is_answer(&resolution) {
                    out.push(Action::SetNextHop(backend, resolution));
                }
            }
            NeighbourEvent::Locals(locals) => {
                tracing::info!(addresses = locals.len(), cause = "the kernel", "own addresses known");
                self.locals = Some(locals.clone());
                if self.serving && self.config.role == Role::Backend {
                    out.push(Action::SetLocals(locals));
                }
            }
            NeighbourEvent::LinkDown { interface } => {
                tracing::warn!(%interface, cause = "the kernel", "link down");
            }
            NeighbourEvent::LinkUp { interface } => {
                tracing::info!(%interface, cause = "the kernel", "link up");
                // It may be a new device of the same name: see that the program is on it.
                if self.attaches(&interface) {
                    self.attach_at = Some(now);
                }
            }
        }
    }

    fn attaches(&self, interface: &str) -> bool {
        self.config.interfaces.iter().any(|i| i.name == interface)
    }

    /// Attaches where that is due and no change is under way.
    pub(super) fn attach_if_due(&mut self, now: Instant, out: &mut Vec<Action>) {
        if self.attach_at.is_some_and(|at| at <= now) && self.work.is_none() && self.serving {
            self.attach_at = None;
            out.push(Action::Attach(self.config.interfaces.clone()));
        }
    }

    /// Tells the data plane what is known; what is not known yet stays as it is there.
    pub(super) fn tell_next_hops(&self, config: &Config, out: &mut Vec<Action>) {
        for backend in backends(config) {
            if let Some(resolution) = self.resolutions.get(&backend).filter(|r| is_answer(r)) {
                out.push(Action::SetNextHop(backend, resolution.clone()));
            }
        }
    }

    /// Backends of `config` of which neither a way nor its absence is known.
    pub(super) fn unanswered(&self, config: &Config) -> Vec<IpAddr> {
        let answered = |b: &IpAddr| self.resolutions.get(b).is_some_and(is_answer);
        backends(config).into_iter().filter(|b| !answered(b)).collect()
    }

    /// What is to be said of backends that `next` adds and that cannot be reached.
    pub(super) fn unreachable_newcomers(&self, next: &Config) -> Vec<String> {
        let before = backends(&self.config);
        let reason = |b: &IpAddr| match self.resolutions.get(b) {
            Some(Resolution::Resolved(_)) => None,
            Some(Resolution::Unresolved(reason) | Resolution::Pending(reason)) => Some(reason.as_str()),
            None => Some("its next hop is not known yet"),
        };
        let newcomers = backends(next).into_iter().filter(|b| !before.contains(b));
        newcomers
            .filter_map(|b| reason(&b).map(|why| format!("packets to {b} are dropped for now: {why}")))
            .collect()
    }

    /// Watches the backends of the configuration in force and no others.
    pub(super) fn forget_targets(&mut self, out: &mut Vec<Action>) {
        let wanted = backends(&self.config);
        self.resolutions.retain(|backend, _| wanted.contains(backend));
        out.push(Action::SetTargets(wanted.into_iter().collect()));
    }
}

/// Whether it says more than that nothing is known yet: only then is the data plane told, so that
/// what is pinned from before stays in force until something better is known.
fn is_answer(resolution: &Resolution) -> bool {
    !matches!(resolution, Resolution::Pending(_))
}

/// Addresses of all backends, each once.
pub(super) fn backends(config: &Config) -> BTreeSet<IpAddr> {
    config.pools.iter().flat_map(|p| p.backends.iter().map(|b| b.address)).collect()
}
