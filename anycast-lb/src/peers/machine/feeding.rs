//! Whether a draining backend still has flows, and whether other nodes give it new ones.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::Machine;
use crate::control::api::{ListedBackend, NodeReport, PoolReport, VipFlows};
use crate::membership::{Others, Remaining};
use crate::model::{Peer, Protocol, VipKey};

/// An answer to an older question says nothing about now.
const STALE: Duration = Duration::from_secs(5);

impl Machine {
    /// How many flows of this pool's VIPs the backend holds, asked at `since` or later; none: not known.
    pub(super) fn remaining_flows(&self, pool: &str, backend: IpAddr, since: Instant) -> Option<u64> {
        if self.own.uncounted.contains(pool) {
            return None;
        }
        let flows = self.backends.get(&backend)?.fresh(since)?;
        let vips = self.own.vips.get(pool).map(Vec::as_slice).unwrap_or_default();
        let of_pool = |row: &&VipFlows| vips.iter().any(|vip| overlap(vip, &row.vip));
        Some(flows.vips.iter().filter(of_pool).map(|row| row.tcp + row.udp).sum())
    }

    /// How many flows of the pools in which it is draining a backend holds, and whether other nodes still
    /// give it new ones. None: it has not said.
    pub fn draining_flows(&self, now: Instant, backend: IpAddr) -> Option<Remaining> {
        // The clock began later than that: then nothing is stale.
        let since = now.checked_sub(STALE).unwrap_or(now);
        let is_draining = |p: &&PoolReport| state(p, backend) == Some("draining");
        let pools: Vec<&PoolReport> = self.own.report.pools.iter().filter(is_draining).collect();
        // A drain that has just begun is not known here yet.
        if pools.is_empty() {
            return None;
        }
        let flows = pools.iter().map(|p| self.remaining_flows(&p.pool, backend, since));
        let flows = flows.sum::<Option<u64>>()?;
        let asked = self.backends.get(&backend)?.asked?;
        Some(Remaining { flows, asked, others: self.others(since, &pools, backend) })
    }

    /// What the other nodes do about the drain of a backend in these pools, by answers to questions asked
    /// at `since` or later.
    fn others(&self, since: Instant, pools: &[&PoolReport], backend: IpAddr) -> Others {
        let mut others = if self.own.peers.is_empty() { Others::Unknown } else { Others::HaveDrain };
        for peer in &self.own.peers {
            let known = self.nodes.get(&peer.node);
            let may_feed = match known.and_then(|known| known.fresh(since)) {
                Some(report) => self.feeds(report, pools, backend),
                None => {
                    others = Others::Unknown;
                    let last = known.and_then(|known| known.answer.as_ref()).map(|(_, report)| report);
                    self.may_feed_unseen(peer, last, pools, backend)
                }
            };
            if may_feed {
                return Others::MayFeed;
            }
        }
        others
    }

    /// Whether a node, by what it says now, gives the backend new flows in one of the pools, or is about to.
    fn feeds(&self, report: &NodeReport, pools: &[&PoolReport], backend: IpAddr) -> bool {
        pools.iter().any(|own| {
            let theirs = report.pools.iter().find(|p| p.pool == own.pool);
            theirs.is_some_and(|theirs| {
                matches!(state(theirs, backend), Some("active" | "filling"))
                    && leads_to(theirs, backend).unwrap_or_else(|| self.by_place(&report.pop, own, backend))
            })
        })
    }

    /// Whether a node that is silent may give the backend new flows: what its daemon has put in force goes
    /// on without it. Its place says so, or the last that it said of where its new flows go.
    fn may_feed_unseen(
        &self,
        peer: &Peer,
        last: Option<&NodeReport>,
        pools: &[&PoolReport],
        backend: IpAddr,
    ) -> bool {
        let said = |own: &PoolReport| last?.pools.iter().find(|p| p.pool == own.pool);
        pools.iter().any(|own| {
            self.by_place(&peer.pop, own, backend)
                || said(own).and_then(|theirs| leads_to(theirs, backend)) == Some(true)
        })
    }

    /// Whether a node of this PoP may give the backend new flows, by what is known here: it is the backend's
    /// own, or is drained, and any other may stand in for it.
    fn by_place(&self, pop: &str, pool: &PoolReport, backend: IpAddr) -> bool {
        let site = listed(pool, backend).and_then(|b| b.pop.as_deref());
        site.unwrap_or(&self.own.report.pop) == pop || self.own.drained_pops.iter().any(|d| d == pop)
    }
}

fn listed(pool: &PoolReport, backend: IpAddr) -> Option<&ListedBackend> {
    pool.listed.iter().find(|b| b.address == backend)
}

/// The state of a backend in a pool, if it is listed.
fn state(pool: &PoolReport, backend: IpAddr) -> Option<&str> {
    listed(pool, backend).map(|b| b.state.as_str())
}

/// Whether the PoP of a backend takes the new flows of the node that says so; none if it does not say.
fn leads_to(pool: &PoolReport, backend: IpAddr) -> Option<bool> {
    Some(pool.new_flows.as_deref()? == listed(pool, backend)?.pop.as_deref()?)
}

/// Whether some packet matches both. The backend may have one VIP for every port of an address.
fn overlap(a: &VipKey, b: &VipKey) -> bool {
    a.address == b.address
        && (a.port == b.port || a.port.is_none() || b.port.is_none())
        && (a.protocol == b.protocol || a.protocol == Protocol::Any || b.protocol == Protocol::Any)
}
