//! Who announces the service where, and what the routers make of it.

use std::collections::BTreeSet;
use std::thread;

use anyhow::{Result, anyhow};

use super::super::daemons::until;
use super::super::topology::{EDGE, PREFIX_V4, PREFIX_V6};
use super::super::{ROUTE_DEADLINE, bird, live_devices};
use super::plan::{self, EXCHANGE};
use super::{Forwarding, Pop, PopLab};

/// What can happen in a PoP. Nodes are named by their index there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// An ingress node withdraws its routes.
    Withdraw(usize),
    /// It announces them again.
    Announce(usize),
    /// The whole PoP withdraws its announcement.
    WithdrawAll,
    /// All who announced before announce again.
    AnnounceAll,
    /// A backend joins. Without a balancer, it announces the service.
    Join(usize),
    /// A backend drains. Without a balancer it can only withdraw the service.
    Drain(usize),
}

impl PopLab {
    /// Makes changes in a PoP, all in the same moment; returns when the PoP's router has the routes
    /// and every ingress node of every PoP has heard of the members.
    pub fn at_once(&mut self, pop: usize, changes: &[Change]) -> Result<()> {
        let plain = self.forwarding == Forwarding::PlainEcmp;
        let site = &mut self.pops[pop];
        let before = site.announcing.clone();
        let mut moves_members = false;
        for change in changes {
            match *change {
                Change::Withdraw(index) => drop(site.announcing.remove(&index)),
                Change::Announce(index) => drop(site.announcing.insert(index)),
                Change::WithdrawAll => site.resting = std::mem::take(&mut site.announcing),
                Change::AnnounceAll => site.announcing = site.resting.clone(),
                Change::Join(index) if plain => drop(site.announcing.insert(index)),
                Change::Drain(index) if plain => drop(site.announcing.remove(&index)),
                Change::Join(_) | Change::Drain(_) => moves_members = true,
            }
        }
        let this = &*self;
        thread::scope(|scope| {
            let members = moves_members.then(|| scope.spawn(|| this.change_members(pop, changes)));
            let routed = this.announce_as_recorded(pop, &before);
            if let Some(members) = members {
                members.join().map_err(|_| anyhow!("the thread of a change of members panicked"))??;
            }
            routed
        })
    }

    /// An ingress node dies: its link with the router goes down. Returns when the router has seen it.
    pub fn crash(&mut self, pop: usize, index: usize) -> Result<()> {
        let site = &mut self.pops[pop];
        site.ingresses[index].namespace.ip(&format!("link set {EDGE} down\n"))?;
        site.announcing.remove(&index);
        self.wait_home(pop)
    }

    /// Waits until every router sends the service's packets to all who announce in its PoP.
    pub(super) fn wait_routes(&self) -> Result<()> {
        (0..self.pops.len()).try_for_each(|pop| self.wait_home(pop))
    }

    fn announce_as_recorded(&self, pop: usize, before: &BTreeSet<usize>) -> Result<()> {
        let site = &self.pops[pop];
        if site.announcing == *before {
            return Ok(());
        }
        for (verb, indices) in
            [("disable", before.difference(&site.announcing)), ("enable", site.announcing.difference(before))]
        {
            for &index in indices {
                let socket = self.announcers(site)[index].bird_socket();
                for protocol in ["announce4", "announce6"] {
                    bird::command(&socket, &format!("{verb} {protocol}"))?;
                }
            }
        }
        self.wait_home(pop)
    }

    fn announcers<'p>(&self, pop: &'p Pop) -> &'p [super::Node] {
        match self.forwarding {
            Forwarding::PlainEcmp => &pop.backends,
            _ => &pop.ingresses,
        }
    }

    /// Waits until the PoP's router sends the service's packets to all who announce there; to another
    /// PoP if nobody does.
    fn wait_home(&self, pop: usize) -> Result<()> {
        let Pop { announcing, router, .. } = &self.pops[pop];
        let where_to = if announcing.is_empty() { "away" } else { "home" };
        let what = format!("the router of {} to send packets {where_to}", plan::CITIES[pop]);
        until(ROUTE_DEADLINE, &what, || {
            for (flag, prefix) in [("-4", PREFIX_V4), ("-6", PREFIX_V6)] {
                let routes = router.ip_json(&[flag, "route", "show", prefix])?;
                let (away, home): (Vec<_>, Vec<_>) =
                    live_devices(&routes).into_iter().partition(|device| *device == EXCHANGE);
                if home.len() != announcing.len() || home.is_empty() == away.is_empty() {
                    return Ok(None);
                }
            }
            Ok(Some(()))
        })
        .map_err(|error| match &self.pops[pop].router_bird {
            Some(bird) => anyhow!("{error:#}\n{}", bird.log_tail()),
            None => error,
        })
    }
}
