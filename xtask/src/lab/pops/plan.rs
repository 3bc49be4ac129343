//! Names, addresses and links of three PoPs of one AS, as pure text.
//!
//! ```text
//! client fra ─ router fra ─┐             ┌─ router sin ─ client sin
//!     (AS 64510) │ │       exchange ─────┤  (AS 64511)
//!   fra-ing0..1 ─┘ │                     └─ router gru ─ client gru
//!       └── fabric, a bridge                (AS 64512, prepends once more)
//!             └─ fra-be0..
//! ```

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::super::Family;
use super::super::topology::{
    self, Addresses, CLIENT_MTU, EDGE, FABRIC, PREFIX_V4, PREFIX_V6, UNDERLAY_MTU, VIP_V4, VIP_V6,
};

/// The PoPs, by the airports that they are named after.
pub const NAMES: [&str; 3] = ["fra", "sin", "gru"];
/// Where they are, for people.
pub const CITIES: [&str; 3] = ["Frankfurt", "Singapore", "Sao Paulo"];
/// Index of Frankfurt.
pub const FRANKFURT: usize = 0;
/// Index of Singapore, the first to rescue Frankfurt's flows and the nearest to it after itself.
pub const SINGAPORE: usize = 1;
/// Ingress nodes of a PoP.
pub const INGRESSES: usize = 2;
/// Backends of a PoP that serve from the start.
pub const MEMBERS: usize = 2;
/// AS of the service, the same everywhere.
pub const SERVICE_AS: u32 = 64500;
/// AS of the first router.
const FIRST_AS: u32 = 64510;
/// The PoP whose router makes its paths longer.
const FAR: usize = 2;
/// Interface towards the exchange, on routers.
pub const EXCHANGE: &str = "ix";
/// Prefix lengths of the underlay, and of the exchange.
const LENGTHS: (u8, u8) = (24, 64);
/// Prefix lengths of a client's link.
const CLIENT_LENGTHS: (u8, u8) = (28, 64);
/// Prefix lengths of an ingress node's link with its router.
const EDGE_LENGTHS: (u8, u8) = (30, 64);
/// Second octet of the first PoP's links between router and ingress nodes.
const FIRST_EDGE: u8 = 100;

/// Backends of a PoP, those that wait to join included: Frankfurt has one.
pub fn backends(pop: usize) -> usize {
    if pop == FRANKFURT { MEMBERS + 1 } else { MEMBERS }
}

/// `index` is that of a PoP, node or backend: a handful.
fn octet(index: usize) -> u8 {
    u8::try_from(index).unwrap_or(u8::MAX)
}

/// AS of a PoP's router.
pub fn router_as(pop: usize) -> u32 {
    FIRST_AS + u32::from(octet(pop))
}

/// A PoP's router in the PoP's underlay.
pub fn router(pop: usize) -> Addresses {
    underlay(pop, 1)
}

/// An ingress node in its PoP's underlay.
pub fn ingress(pop: usize, index: usize) -> Addresses {
    underlay(pop, 2 + octet(index))
}

/// A backend.
pub fn backend(pop: usize, index: usize) -> Addresses {
    underlay(pop, 11 + octet(index))
}

fn underlay(pop: usize, host: u8) -> Addresses {
    // The decimal digits are kept in IPv6, so that people see which host it is.
    let digits = u16::from(host / 10) << 4 | u16::from(host % 10);
    Addresses {
        v4: Ipv4Addr::new(10, octet(pop), 0, host),
        v6: Ipv6Addr::new(0xfd00, octet(pop).into(), 0, 0, 0, 0, 0, digits),
    }
}

/// A PoP's underlay, as prefixes.
pub fn underlays(pop: usize) -> [String; 2] {
    [format!("10.{pop}.0.0/{}", LENGTHS.0), format!("fd00:{pop:x}::/{}", LENGTHS.1)]
}

/// An ingress node on its link with the router, or the router's end of it.
pub fn edge(pop: usize, index: usize, router: bool) -> Addresses {
    let host = if router { 1 } else { 2 };
    let (pop, index) = (octet(pop), octet(index));
    Addresses {
        v4: Ipv4Addr::new(10, FIRST_EDGE + pop, index, host),
        v6: Ipv6Addr::new(0xfd01, pop.into(), index.into(), 0, 0, 0, 0, host.into()),
    }
}

/// A PoP's router at the exchange.
pub fn exchange(pop: usize) -> Addresses {
    let host = 1 + octet(pop);
    Addresses {
        v4: Ipv4Addr::new(192, 0, 2, host),
        v6: Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, host.into()),
    }
}

/// Interface of a PoP's router towards an ingress node.
pub fn router_edge(index: usize) -> String {
    format!("ing{index}")
}

/// Ends of links in a PoP's bridge, named after who is at the other end.
pub fn ports(pop: usize) -> Vec<String> {
    let ingresses = (0..INGRESSES).map(|index| format!("ing{index}"));
    let backends = (0..backends(pop)).map(|index| format!("be{index}"));
    ["router".to_owned()].into_iter().chain(ingresses).chain(backends).collect()
}

/// `ip` lines that make all veth pairs of the lab `id`, each end born in its namespace.
pub fn links(id: &str) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let mut pair = |a: String, a_name: &str, b: String, b_name: &str, mtu: u16| {
        let _ = writeln!(
            text,
            "link add {a_name} netns alb-{id}-{a} mtu {mtu} type veth peer name {b_name} netns alb-{id}-{b} mtu {mtu}"
        );
    };
    for (pop, name) in NAMES.iter().enumerate() {
        for port in ports(pop) {
            pair(format!("{name}-fabric"), &port, format!("{name}-{port}"), FABRIC, UNDERLAY_MTU);
        }
        for index in 0..INGRESSES {
            let (router, node) = (format!("{name}-router"), format!("{name}-ing{index}"));
            pair(router, &router_edge(index), node, EDGE, CLIENT_MTU);
        }
        pair(format!("{name}-router"), "client", format!("{name}-client"), EDGE, CLIENT_MTU);
        pair(format!("{name}-router"), EXCHANGE, "ix".to_owned(), name, UNDERLAY_MTU);
    }
    text
}

/// `ip` lines that join `ports` in a bridge.
pub fn bridge<P: AsRef<str>>(ports: &[P]) -> String {
    let mut text =
        format!("link add br0 mtu {UNDERLAY_MTU} type bridge stp_state 0 forward_delay 0 mcast_snooping 0\n");
    for port in ports {
        let _ = writeln!(text, "link set {} master br0 up", port.as_ref());
    }
    text + "link set br0 up\n"
}

fn up(interface: &str, addresses: Addresses, (length_v4, length_v6): (u8, u8)) -> String {
    format!(
        "link set {interface} up\naddress add {}/{length_v4} dev {interface}\naddress add {}/{length_v6} dev {interface} nodad\n",
        addresses.v4, addresses.v6
    )
}

fn default_route(via: Addresses) -> String {
    format!("route add default via {}\nroute add default via {}\n", via.v4, via.v6)
}

/// `ip` lines of a PoP's router: the service's prefixes come by BGP, all else is static.
pub fn router_lines(pop: usize) -> String {
    let mut text = up(FABRIC, router(pop), LENGTHS)
        + &up(EXCHANGE, exchange(pop), LENGTHS)
        + &up("client", topology::client(pop, true), CLIENT_LENGTHS);
    for index in 0..INGRESSES {
        text += &up(&router_edge(index), edge(pop, index, true), EDGE_LENGTHS);
    }
    for other in (0..NAMES.len()).filter(|&other| other != pop) {
        let (via, client) = (exchange(other), topology::client(other, false));
        let [under_v4, under_v6] = underlays(other);
        for (to, via) in [
            (under_v4, via.v4.to_string()),
            (format!("{}/32", client.v4), via.v4.to_string()),
            (under_v6, via.v6.to_string()),
            (format!("{}/128", client.v6), via.v6.to_string()),
        ] {
            let _ = writeln!(text, "route add {to} via {via}");
        }
    }
    text
}

/// `ip` lines of a PoP's client.
pub fn client_lines(pop: usize) -> String {
    up(EDGE, topology::client(pop, false), CLIENT_LENGTHS) + &default_route(topology::client(pop, true))
}

/// `ip` lines of an ingress node: packets come in by one NIC and leave by the other.
pub fn ingress_lines(pop: usize, index: usize) -> String {
    up(EDGE, edge(pop, index, false), EDGE_LENGTHS)
        + &up(FABRIC, ingress(pop, index), LENGTHS)
        + &default_route(router(pop))
}

/// `ip` lines of a backend: it answers by way of its router, and takes what is sent to the VIPs.
pub fn backend_lines(pop: usize, index: usize) -> String {
    up(FABRIC, backend(pop, index), LENGTHS)
        + &default_route(router(pop))
        + &format!("address add {VIP_V4}/32 dev lo\naddress add {VIP_V6}/128 dev lo nodad\n")
}

/// What a router's filter does with the service's route before it goes to other routers.
pub fn export(pop: usize, family: Family) -> String {
    let prefix = match family {
        Family::V4 => PREFIX_V4,
        Family::V6 => PREFIX_V6,
    };
    let prepend = if pop == FAR { format!("bgp_path.prepend({}); ", router_as(pop)) } else { String::new() };
    format!("filter {{ if net = {prefix} then {{ {prepend}accept; }} reject; }}")
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_address_but_the_vip_is_given_once() {
        let mut text = String::new();
        for pop in 0..NAMES.len() {
            text += &(router_lines(pop) + &client_lines(pop));
            (0..INGRESSES).for_each(|index| text += &ingress_lines(pop, index));
            (0..backends(pop)).for_each(|index| text += &backend_lines(pop, index));
        }
        let given: Vec<_> = text
            .lines()
            .filter_map(|line| line.strip_prefix("address add ")?.split(['/', ' ']).next())
            .filter(|&address| address != VIP_V4.to_string() && address != VIP_V6.to_string())
            .collect();
        // The router has a leg in the underlay, at the exchange, and towards client and ingress nodes.
        let backends: usize = (0..NAMES.len()).map(backends).sum();
        assert_eq!(given.len(), 2 * (NAMES.len() * (3 + INGRESSES + 1 + 2 * INGRESSES) + backends));
        let distinct: HashSet<_> = given.iter().collect();
        assert_eq!(distinct.len(), given.len(), "{given:?}");
    }

    #[test]
    fn only_the_far_router_makes_its_paths_longer() {
        for pop in 0..NAMES.len() {
            assert_eq!(export(pop, Family::V6).contains("prepend"), pop == FAR);
        }
        assert!(export(0, Family::V4).contains(PREFIX_V4) && export(0, Family::V6).contains(PREFIX_V6));
    }
}
