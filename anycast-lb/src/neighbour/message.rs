//! From netlink messages to facts, and the other way round.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
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

/// The prefix a route report is about; none if it is not an IP route.
pub(super) fn prefix(message: &RouteMessage) -> Option<IpNet> {
    let unspecified = match message.header.address_family {
        AddressFamily::Inet => IpAddr::from(Ipv4Addr::UNSPECIFIED),
        AddressFamily::Inet6 => IpAddr::from(Ipv6Addr::UNSPECIFIED),
        _ => return None,
    };
    // The default route has no destination.
    let destination = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(address) => ip(address),
        _ => None,
    });
    IpNet::new(destination.unwrap_or(unspecified), message.header.destination_prefix_length).ok()
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

#[cfg(test)]
mod tests {
    use netlink_packet_route::route::{RouteLwEnCapType, RouteNextHop};

    use super::*;

    fn link_message(layer: LinkLayerType, attributes: Vec<LinkAttribute>) -> LinkMessage {
        let mut message = LinkMessage::default();
        message.header.index = 5;
        message.header.link_layer_type = layer;
        message.header.flags = LinkFlags::Up | LinkFlags::LowerUp;
        message.attributes = attributes;
        message
    }

    #[test]
    fn a_vlan_interface_is_known_by_its_kind() {
        let message = link_message(
            LinkLayerType::Ether,
            vec![
                LinkAttribute::IfName("eth0.7".into()),
                LinkAttribute::Link(2),
                LinkAttribute::Address(vec![2, 0, 0, 0, 0, 1]),
                LinkAttribute::LinkInfo(vec![
                    LinkInfo::Kind(InfoKind::Vlan),
                    LinkInfo::Data(InfoData::Vlan(vec![InfoVlan::Id(7)])),
                ]),
            ],
        );
        let (index, link) = link(&message).expect("a link");
        assert_eq!((index, link.name.as_str(), link.mac), (5, "eth0.7", Some([2, 0, 0, 0, 0, 1])));
        assert_eq!(link.vlan, Some(Vlan { parent: Some(2), id: Some(7) }));
    }

    #[test]
    fn only_ethernet_devices_have_a_mac() {
        // An IPv4 tunnel's "address" has four bytes, an Infiniband one twenty; loopback has six zeros.
        for (layer, bytes) in [
            (LinkLayerType::Tunnel, vec![10, 0, 0, 1]),
            (LinkLayerType::Infiniband, vec![1; 20]),
            (LinkLayerType::Void, vec![2, 0, 0, 0, 0, 1]),
            (LinkLayerType::Ether, vec![0; 6]),
        ] {
            let message = link_message(layer, vec![LinkAttribute::Address(bytes)]);
            assert_eq!(link(&message).expect("a link").1.mac, None, "{layer:?}");
        }
    }

    #[test]
    fn what_a_bridge_says_of_its_ports_is_no_link() {
        let mut message = link_message(LinkLayerType::Ether, vec![]);
        message.header.interface_family = AddressFamily::Bridge;
        assert_eq!(link(&message), None);
    }

    #[test]
    fn addresses_that_are_not_unique_yet_are_not_ours() {
        let own: IpAddr = "2001:db8::5".parse().expect("an address");
        for (flags, usable) in [
            (AddressFlags::Permanent, true),
            (AddressFlags::Tentative, false),
            (AddressFlags::Tentative | AddressFlags::Optimistic, true),
            (AddressFlags::Tentative | AddressFlags::Dadfailed, false),
        ] {
            let mut message = AddressMessage::default();
            message.header.index = 5;
            message.attributes = vec![AddressAttribute::Address(own), AddressAttribute::Flags(flags)];
            assert_eq!(address(&message), Some((5, own, usable)), "{flags:?}");
        }
    }

    #[test]
    fn on_a_point_to_point_link_the_local_end_is_ours() {
        let [own, peer] = [IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2])];
        let mut message = AddressMessage::default();
        message.attributes = vec![AddressAttribute::Address(peer), AddressAttribute::Local(own)];
        assert_eq!(address(&message), Some((0, own, true)));
    }

    #[test]
    fn a_neighbours_state_and_flags_are_read() {
        let mac = [2, 0, 0, 0, 0, 9];
        let key = NeighbourKey { ifindex: 5, address: IpAddr::from([10, 0, 0, 9]) };
        for (state, reach) in [
            (NeighbourState::Incomplete, Reach::Asking),
            (NeighbourState::Reachable, Reach::Known(mac)),
            (NeighbourState::Stale, Reach::Known(mac)),
            (NeighbourState::Delay, Reach::Known(mac)),
            (NeighbourState::Probe, Reach::Known(mac)),
            (NeighbourState::Failed, Reach::Failed),
            (NeighbourState::Permanent, Reach::Fixed(mac)),
            (NeighbourState::Noarp, Reach::Fixed(mac)),
        ] {
            let mut message = neighbour_request(key, Request::Manage);
            message.header.state = state;
            message.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.to_vec()));
            assert_eq!(neighbour(&message), Some((key, Neighbour { reach, managed: true, marked: true })));
        }
        let mut message = neighbour_request(key, Request::Delete);
        assert_eq!(neighbour(&message).map(|(_, n)| (n.managed, n.marked)), Some((false, false)));
        message.header.flags = NeighbourFlags::Proxy;
        assert_eq!(neighbour(&message), None);
    }

    #[test]
    fn a_route_report_names_its_prefix() {
        let mut message = route_request(IpAddr::from([10, 9, 0, 0]), None);
        message.header.destination_prefix_length = 16;
        assert_eq!(prefix(&message), "10.9.0.0/16".parse().ok());
        message.attributes.clear();
        message.header.destination_prefix_length = 0;
        assert_eq!(prefix(&message), "0.0.0.0/0".parse().ok());
        message.header.address_family = AddressFamily::Inet6;
        assert_eq!(prefix(&message), "::/0".parse().ok());
        message.header.address_family = AddressFamily::Mpls;
        assert_eq!(prefix(&message), None);
    }

    #[test]
    fn routes_that_lead_nowhere_are_refused() {
        let mut message = route_request(IpAddr::from([10, 0, 0, 9]), None);
        message.header.kind = RouteType::Local;
        assert_eq!(answer(&message), Answer::Local);
        for kind in [RouteType::BlackHole, RouteType::Unreachable, RouteType::Broadcast, RouteType::Multicast]
        {
            message.header.kind = kind;
            message.attributes = vec![RouteAttribute::Oif(5)];
            assert!(matches!(answer(&message), Answer::Refused(_)), "{kind:?}");
        }
        message.header.kind = RouteType::Unicast;
        assert!(matches!(answer(&message), Answer::Via(Route { ifindex: 5, .. })));
        message.attributes.push(RouteAttribute::EncapType(RouteLwEnCapType::Seg6));
        assert!(matches!(answer(&message), Answer::Refused(_)));
        message.attributes = vec![RouteAttribute::MultiPath(vec![RouteNextHop::default()])];
        assert!(matches!(answer(&message), Answer::Refused(_)), "a lookup names one way");
    }
}
