//! The decision for one target: from the kernel's answer to a next hop, or to the reason why not.

use std::net::IpAddr;

use super::{Memory, State, Target};
use crate::neighbour::fact::{Answer, Link, NeighbourKey, Route};
use crate::neighbour::{NextHop, Resolution};

/// Why there is no way now.
pub(super) enum Obstacle {
    /// The question is out.
    Waiting(String),
    /// The answer is no.
    Final(String),
}

impl From<String> for Obstacle {
    fn from(why: String) -> Self {
        Obstacle::Final(why)
    }
}

impl From<Obstacle> for Resolution {
    fn from(obstacle: Obstacle) -> Self {
        match obstacle {
            Obstacle::Waiting(why) => Resolution::Pending(why),
            Obstacle::Final(why) => Resolution::Unresolved(why),
        }
    }
}

impl State {
    /// The way to `target`, or why there is none.
    pub(super) fn resolve(&self, target: IpAddr, answer: &Answer) -> Result<NextHop, Obstacle> {
        let route = match answer {
            Answer::Via(route) => route,
            Answer::Local => {
                return Err(Obstacle::Final(format!(
                    "{target} is an address of this host: a balancer is not its own backend"
                )));
            }
            Answer::Refused(why) => return Err(Obstacle::Final(format!("no route to {target}: {why}"))),
        };
        let (link, source_mac) = self.egress(target, route)?;
        let source = self.configured_source(target).or(route.source).ok_or_else(|| {
            format!(
                "no source address for {target} on {}: give the interface one, or set `source`",
                link.name
            )
        })?;
        let key = key_of(target, route);
        let protocol = if key.address.is_ipv4() { "ARP" } else { "neighbour discovery" };
        let destination_mac = match self.memory.get(&key) {
            Some(Memory::Mac(mac)) => *mac,
            Some(Memory::Silent(_)) => {
                let why = format!("no answer to {protocol} from {} on {}", key.address, link.name);
                return Err(Obstacle::Final(why));
            }
            None => {
                let why =
                    format!("waiting for an answer to {protocol} from {} on {}", key.address, link.name);
                return Err(Obstacle::Waiting(why));
            }
        };
        let mtu = route.mtu.map_or(link.mtu, |metric| metric.min(link.mtu));
        Ok(NextHop {
            interface: link.name.clone(),
            ifindex: route.ifindex,
            source,
            source_mac,
            destination_mac,
            mtu: u16::try_from(mtu).unwrap_or(u16::MAX),
            gateway: route.gateway,
        })
    }

    /// The neighbour entry a target depends on; none while there is no usable egress interface,
    /// because the kernel drops entries of an interface that is down.
    pub(super) fn neighbour_of(&self, target: IpAddr, entry: &Target) -> Option<NeighbourKey> {
        match &entry.answer {
            Some(Answer::Via(route)) => self.egress(target, route).ok().map(|_| key_of(target, route)),
            _ => None,
        }
    }

    /// The interface of `route` and its MAC address, if frames can leave through it.
    fn egress(&self, target: IpAddr, route: &Route) -> Result<(&Link, [u8; 6]), String> {
        let link = self
            .links
            .get(&route.ifindex)
            .ok_or_else(|| format!("interface {} on the way to {target} is gone", route.ifindex))?;
        let name = &link.name;
        if link.loopback {
            return Err(format!("{target} is routed to the loopback interface {name}, where nobody is"));
        }
        if let Some(vlan) = link.vlan {
            let id = vlan.id.map_or_else(String::new, |id| format!("VLAN {id} on "));
            let parent =
                vlan.parent.and_then(|p| self.links.get(&p)).map_or("another interface", |l| &l.name);
            return Err(format!(
                "{name} ({id}{parent}), on the way to {target}, is a VLAN interface: tagged egress is not supported yet"
            ));
        }
        let mac = link.mac.ok_or_else(|| {
            format!("{name}, on the way to {target}, has no Ethernet address: no frame can be made")
        })?;
        if !link.up {
            return Err(format!("{name}, on the way to {target}, is down"));
        }
        if !link.carrier {
            return Err(format!("{name}, on the way to {target}, has no carrier"));
        }
        Ok((link, mac))
    }
}

fn key_of(target: IpAddr, route: &Route) -> NeighbourKey {
    NeighbourKey { ifindex: route.ifindex, address: route.gateway.unwrap_or(target) }
}
