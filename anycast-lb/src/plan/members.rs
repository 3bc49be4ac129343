//! Members: what a backend of a pool is in the maps.

use std::net::IpAddr;

use anycast_lb_common::abi::{Encap, Member, MemberFlags, MemberNumber};
use anycast_lb_common::template::{self, Ends, Link, Tunnel};
use bytemuck::Zeroable;

use super::mapped;
use crate::model::Encapsulation;
use crate::neighbour::NextHop;

/// A backend of a pool and its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedMember {
    /// Its number.
    pub number: MemberNumber,
    /// Whether the previous tables did not know it.
    pub new: bool,
    /// Name of its pool.
    pub pool: String,
    /// Number of its pool.
    pub pool_number: u16,
    /// Its address.
    pub address: IpAddr,
    /// How packets get to it.
    pub encap: Encap,
    /// What it is known by across restarts.
    pub identity: u64,
}

impl PlannedMember {
    /// The entry of the member map; without a way, or with one that cannot serve this
    /// encapsulation, it is unresolved.
    pub fn entry(&self, way: Option<&NextHop>) -> Member {
        let mut member = Member {
            encap: self.encap as u8,
            address: mapped(self.address),
            identity: self.identity,
            pool: self.pool_number,
            ..Member::zeroed()
        };
        if let Some((way, tunnel)) = way.and_then(|way| Some((way, self.tunnel(way)?))) {
            let link = Link { source: way.source_mac, destination: way.destination_mac };
            member.template = template::build(&link, &tunnel);
            member.ifindex = way.ifindex;
            member.mtu = way.mtu;
            member.flags = MemberFlags::RESOLVED;
        }
        member
    }

    fn tunnel(&self, way: &NextHop) -> Option<Tunnel> {
        let ends = || match (way.source, self.address) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => Some(Ends::V4 { source, destination }),
            (IpAddr::V6(source), IpAddr::V6(destination)) => Some(Ends::V6 { source, destination }),
            _ => None,
        };
        match self.encap {
            // A router would send the packet, whose destination is a VIP, straight back to us.
            Encap::L2 => way.gateway.is_none().then_some(Tunnel::L2),
            Encap::Ipip4 | Encap::Ipip6 => Some(Tunnel::Ipip(ends()?)),
            Encap::Gue4 | Encap::Gue6 => Some(Tunnel::Gue(ends()?)),
        }
    }
}

/// How the packet path carries packets to a backend at `address`.
pub fn encap(encapsulation: Encapsulation, address: IpAddr) -> Encap {
    match (encapsulation, address.is_ipv4()) {
        (Encapsulation::L2, _) => Encap::L2,
        (Encapsulation::Ipip, true) => Encap::Ipip4,
        (Encapsulation::Ipip, false) => Encap::Ipip6,
        (Encapsulation::Gue, true) => Encap::Gue4,
        (Encapsulation::Gue, false) => Encap::Gue6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(encap: Encap, address: &str) -> PlannedMember {
        PlannedMember {
            number: 7,
            new: true,
            pool: "web".into(),
            pool_number: 3,
            address: address.parse().expect("address"),
            encap,
            identity: 99,
        }
    }

    fn way(source: &str, gateway: Option<&str>) -> NextHop {
        NextHop {
            interface: "eth0".into(),
            ifindex: 5,
            source: source.parse().expect("address"),
            source_mac: [2, 0, 0, 0, 0, 1],
            destination_mac: [2, 0, 0, 0, 0, 2],
            mtu: 1500,
            gateway: gateway.map(|g| g.parse().expect("address")),
        }
    }

    #[test]
    fn a_resolved_member_is_complete() {
        let member = planned(Encap::Gue4, "10.0.0.11").entry(Some(&way("10.0.0.2", Some("10.0.0.1"))));
        assert_eq!((member.flags, member.ifindex, member.mtu), (MemberFlags::RESOLVED, 5, 1500));
        assert_eq!((member.pool, member.identity, member.encap), (3, 99, Encap::Gue4 as u8));
        assert_eq!(member.address, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 11]);
        let link = Link { source: [2, 0, 0, 0, 0, 1], destination: [2, 0, 0, 0, 0, 2] };
        let ends = Ends::V4 { source: [10, 0, 0, 2].into(), destination: [10, 0, 0, 11].into() };
        assert_eq!(member.template, template::build(&link, &Tunnel::Gue(ends)));
    }

    #[test]
    fn what_cannot_work_stays_unresolved() {
        for (encap, address, way) in [
            (Encap::Gue4, "10.0.0.11", None),
            (Encap::Gue4, "10.0.0.11", Some(way("fd00::2", None))),
            (Encap::Ipip6, "fd00::11", Some(way("10.0.0.2", None))),
            (Encap::L2, "10.0.0.11", Some(way("10.0.0.2", Some("10.0.0.1")))),
        ] {
            let member = planned(encap, address).entry(way.as_ref());
            assert_eq!(member.flags, 0, "{encap:?} {way:?}");
            assert_eq!(member.template, [0; _]);
        }
        let member = planned(Encap::L2, "10.0.0.11").entry(Some(&way("10.0.0.2", None)));
        assert_eq!(member.flags, MemberFlags::RESOLVED);
    }
}
