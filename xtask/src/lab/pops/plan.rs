//! Names, addresses and links of three PoPs of one AS, as pure text.
//!
//! ```text
//! client fra ─ router fra ─┐             ┌─ router sin ─ client sin
//!       (AS 64510) │       exchange ─────┤  (AS 64511)│
//!    fra-ing0..1, fra-be0..1             └─ router gru ─ client gru
//!          (AS 64500)                       (AS 64512, prepends once more)
//! ```

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use super::super::topology::{self, CLIENT_MTU, EDGE, FABRIC, PREFIX_V4, UNDERLAY_MTU, VIP_V4};

/// The PoPs, by the airports that they are named after: Frankfurt, Singapore, São Paulo.
pub const NAMES: [&str; 3] = ["fra", "sin", "gru"];
/// Ingress nodes of a PoP.
pub const INGRESSES: usize = 2;
/// Backends of a PoP.
pub const BACKENDS: usize = 2;
/// AS of the service, the same everywhere.
pub const SERVICE_AS: u32 = 64500;
/// AS of the first router.
const FIRST_AS: u32 = 64510;
/// The PoP whose router makes its paths longer.
const FAR: usize = 2;
/// Interface towards the exchange, on routers.
pub const EXCHANGE: &str = "ix";

/// `index` is that of a PoP, node or backend: a handful.
fn octet(index: usize) -> u8 {
    u8::try_from(index).unwrap_or(u8::MAX)
}

/// AS of a PoP's router.
pub fn router_as(pop: usize) -> u32 {
    FIRST_AS + u32::from(octet(pop))
}

/// A PoP's router in the PoP's underlay.
pub fn router(pop: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, octet(pop), 0, 1)
}

/// A PoP's router at the exchange.
pub fn exchange(pop: usize) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, 1 + octet(pop))
}

/// An ingress node.
pub fn ingress(pop: usize, index: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, octet(pop), 0, 2 + octet(index))
}

/// A backend.
pub fn backend(pop: usize, index: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, octet(pop), 0, 11 + octet(index))
}

/// Ends of links in a PoP's bridge, named after who is at the other end.
pub fn ports() -> Vec<String> {
    let ingresses = (0..INGRESSES).map(|index| format!("ing{index}"));
    let backends = (0..BACKENDS).map(|index| format!("be{index}"));
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
    for pop in NAMES {
        for port in ports() {
            pair(format!("{pop}-fabric"), &port, format!("{pop}-{port}"), FABRIC, UNDERLAY_MTU);
        }
        pair(format!("{pop}-router"), "client", format!("{pop}-client"), EDGE, CLIENT_MTU);
        pair(format!("{pop}-router"), EXCHANGE, "ix".to_owned(), pop, UNDERLAY_MTU);
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

fn up(interface: &str, address: Ipv4Addr, length: u8) -> String {
    format!("link set {interface} up\naddress add {address}/{length} dev {interface}\n")
}

/// `ip` lines of a PoP's router: the service's prefix comes by BGP, all else is static.
pub fn router_lines(pop: usize) -> String {
    let mut text = up(FABRIC, router(pop), 24)
        + &up(EXCHANGE, exchange(pop), 24)
        + &up("client", topology::client(pop, true).v4, 28);
    for other in (0..NAMES.len()).filter(|&other| other != pop) {
        let (via, client) = (exchange(other), topology::client(other, false).v4);
        let _ =
            writeln!(text, "route add 10.{}.0.0/24 via {via}\nroute add {client}/32 via {via}", octet(other));
    }
    text
}

/// `ip` lines of a PoP's client.
pub fn client_lines(pop: usize) -> String {
    let gateway = topology::client(pop, true).v4;
    up(EDGE, topology::client(pop, false).v4, 28) + &format!("route add default via {gateway}\n")
}

/// `ip` lines of an ingress node or backend.
pub fn node_lines(pop: usize, address: Ipv4Addr, has_vip: bool) -> String {
    let vip = if has_vip { format!("address add {VIP_V4}/32 dev lo\n") } else { String::new() };
    up(FABRIC, address, 24) + &format!("route add default via {}\n", router(pop)) + &vip
}

/// What a router's filter does with the service's route before it goes to other routers.
pub fn export(pop: usize) -> String {
    let prepend = if pop == FAR { format!("bgp_path.prepend({}); ", router_as(pop)) } else { String::new() };
    format!("filter {{ if net = {PREFIX_V4} then {{ {prepend}accept; }} reject; }}")
}
