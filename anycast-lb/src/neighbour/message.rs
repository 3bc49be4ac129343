//! From netlink messages to facts, and the other way round.

use std::net::IpAddr;

use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVlan, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage,
};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourExtFlags, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteMetric, RouteProtocol, RouteType, RouteVia,
};

use super::fact::{Answer, Link, Neighbour, NeighbourKey, Reach, Route, Vlan};

/// Marks neighbour entries as ours (`NDA_PROTOCOL`), so that the next run knows them again. From the
/// range that rtnetlink.h leaves to users.
const PROTOCOL: RouteProtocol = RouteProtocol::Other(219);

const IPV4_BITS: u8 = 32;
const IPV6_BITS: u8 = 128;

/// The interface a message tells of; none for what bridges report about their ports.
pub(super) fn link(message: &LinkMessage) -> Option<(u32, Link)> {
    let header = &message.header;
    if header.interface_family != AddressFamily::Unspec {
        return None;
    }
    let flags = header.flags;
    let mut link = Link {
        name: String::new(),
        mac: None,
        mtu: 0,
        up: flags.contains(LinkFlags::Up),
        carrier: flags.contains(LinkFlags::LowerUp),
        loopback: flags.contains(LinkFlags::Loopback),
        vlan: None,
    };
    let mut parent = None;
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::Link(index) => parent = Some(*index),
            LinkAttribute::Address(bytes) if header.link_layer_type == LinkLayerType::Ether => {
                link.mac = mac(bytes);
            }
            LinkAttribute::LinkInfo(infos) => link.vlan = vlan(infos),
            _ => {}
        }
    }
    if let Some(vlan) = &mut link.vlan {
        vlan.parent = parent;
    }
    Some((header.index, link))
}

fn vlan(infos: &[LinkInfo]) -> Option<Vlan> {
    if !infos.iter().any(|info| matches!(info, LinkInfo::Kind(InfoKind::Vlan))) {
        return None;
    }
    let id = infos.iter().find_map(|info| match info {
        LinkInfo::Data(InfoData::Vlan(data)) => data.iter().find_map(|d| match d {
            InfoVlan::Id(id) => Some(*id),
            _ => None,
        }),
        _ => None,
    });
    Some(Vlan { parent: None, id })
}

/// The address a message tells of, and whether it may be used: one whose uniqueness is still being
/// checked, or was refuted, is not ours (RFC 4862 §5.4).
pub(super) fn address(message: &AddressMessage) -> Option<(u32, IpAddr, bool)> {
    let mut local = None;
    let mut peer = None;
    let mut flags = AddressFlags::from_bits_retain(u32::from(message.header.flags.bits()));
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(address) => local = Some(*address),
            // On a point-to-point link this is the other end.
            AddressAttribute::Address(address) => peer = Some(*address),
            AddressAttribute::Flags(all) => flags = *all,
            _ => {}
        }
    }
    let usable = !flags.contains(AddressFlags::Dadfailed)
        && (!flags.contains(AddressFlags::Tentative) || flags.contains(AddressFlags::Optimistic));
    Some((message.header.index, local.or(peer)?, usable))
}

/// The neighbour entry a message tells of; none for bridges' tables and proxy entries.
pub(super) fn neighbour(message: &NeighbourMessage) -> Option<(NeighbourKey, Neighbour)> {
    let header = &message.header;
    if header.flags.contains(NeighbourFlags::Proxy) {
        return None;
    }
    let mut address = None;
    let mut lladdr = None;
    let mut managed = false;
    let mut marked = false;
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => address = Some(IpAddr::V4(*v4)),
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => address = Some(IpAddr::V6(*v6)),
            NeighbourAttribute::LinkLayerAddress(bytes) => lladdr = mac(bytes),
            NeighbourAttribute::ExtFlags(flags) => managed = flags.contains(NeighbourExtFlags::Managed),
            NeighbourAttribute::Protocol(protocol) => marked = *protocol == PROTOCOL,
            _ => {}
        }
    }
    let reach = match (header.state, lladdr) {
        (NeighbourState::Permanent | NeighbourState::Noarp, Some(mac)) => Reach::Fixed(mac),
        (
            NeighbourState::Reachable | NeighbourState::Stale | NeighbourState::Delay | NeighbourState::Probe,
            Some(mac),
        ) => Reach::Known(mac),
        (NeighbourState::Failed, _) => Reach::Failed,
        _ => Reach::Asking,
    };
    Some((NeighbourKey { ifindex: header.ifindex, address: address? }, Neighbour { reach, managed, marked }))
}

/// What a request about a neighbour asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Request {
    /// Ask the neighbour now and keep the entry resolved.
    Manage,
    /// Ask the neighbour now; the entry is an ordinary one (again).
    Use,
    /// Remove the entry.
    Delete,
}

/// The message for a request.
pub(super) fn neighbour_request(key: NeighbourKey, request: Request) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = family(key.address);
    message.header.ifindex = key.ifindex;
    message.attributes.push(NeighbourAttribute::Destination(match key.address {
        IpAddr::V4(v4) => NeighbourAddress::Inet(v4),
        IpAddr::V6(v6) => NeighbourAddress::Inet6(v6),
    }));
    if request != Request::Delete {
        // Kernels that do not know NDA_FLAGS_EXT ignore it; NTF_USE alone has them ask once.
        message.header.flags = NeighbourFlags::Use;
        message.attributes.push(NeighbourAttribute::Protocol(PROTOCOL));
    }
    if request == Request::Manage {
        message.attributes.push(NeighbourAttribute::ExtFlags(NeighbourExtFlags::Managed));
    }
    message
}

/// The message that looks up the route to `target`, as if from `source`.
pub(super) fn route_request(target: IpAddr, source: Option<IpAddr>) -> RouteMessage {
    let bits = if target.is_ipv4() { IPV4_BITS } else { IPV6_BITS };
    let mut message = RouteMessage::default();
    message.header.address_family = family(target);
    message.header.destination_prefix_length = bits;
    message.attributes.push(RouteAttribute::Destination(target.into()));
    if let Some(source) = source {
        message.header.source_prefix_length = bits;
        message.attributes.push(RouteAttribute::Source(source.into()));
    }
    message
}

/// The kernel's answer to a route lookup.
pub(super) fn answer(message: &RouteMessage) -> Answer {
    let refused = |why: &str| Answer::Refused(why.to_owned());
    match message.header.kind {
        RouteType::Unicast => {}
        RouteType::Local => return Answer::Local,
        RouteType::Anycast => return refused("it is an anycast address of this host"),
        RouteType::Broadcast => return refused("it is a broadcast address"),
        RouteType::Multicast => return refused("it is a multicast address"),
        RouteType::BlackHole => return refused("a blackhole route covers it"),
        RouteType::Unreachable => return refused("an unreachable route covers it"),
        RouteType::Prohibit => return refused("a prohibit route covers it"),
        _ => return refused("a route of an unknown type covers it"),
    }
    let mut ifindex = None;
    let mut route = Route { ifindex: 0, gateway: None, source: None, mtu: None };
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Oif(index) => ifindex = Some(*index),
            RouteAttribute::Gateway(address) => route.gateway = ip(address),
            RouteAttribute::Via(RouteVia::Inet(v4)) => route.gateway = Some(IpAddr::V4(*v4)),
            RouteAttribute::Via(RouteVia::Inet6(v6)) => route.gateway = Some(IpAddr::V6(*v6)),
            RouteAttribute::PrefSource(address) => route.source = ip(address),
            RouteAttribute::Metrics(metrics) => {
                route.mtu = metrics.iter().find_map(|metric| match metric {
                    RouteMetric::Mtu(mtu) if *mtu > 0 => Some(*mtu),
                    _ => None,
                });
            }
            RouteAttribute::EncapType(_) | RouteAttribute::Encap(_) => {
                return refused("its route adds an encapsulation of its own, which XDP does not");
            }
            _ => {}
        }
    }
    match ifindex {
        Some(ifindex) => Answer::Via(Route { ifindex, ..route }),
        None => refused("its route names no interface"),
    }
}

fn family(address: IpAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(v4) => Some(IpAddr::V4(*v4)),
        RouteAddress::Inet6(v6) => Some(IpAddr::V6(*v6)),
        _ => None,
    }
}

/// A usable MAC address: six bytes, not all zero (devices without ARP show those).
fn mac(bytes: &[u8]) -> Option<[u8; 6]> {
    <[u8; 6]>::try_from(bytes).ok().filter(|mac| *mac != [0; 6])
}
