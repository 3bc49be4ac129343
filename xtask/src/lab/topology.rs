//! The lab's address plan and links, as pure text generation plus one function that makes them.
//!
//! ```text
//! client0 ─┐          ┌─ ing0 ─┐
//! client1 ─┴─ router ─┼─ ing1 ─┼─ fabric (a bridge) ─┬─ be0, be1, be2
//!                │    └─ ing2 ─┘                     │
//!                └───────────────────────────────────┘  replies go this way
//! ```

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::sync::Arc;

use anyhow::Result;

use super::netns::{Namespace, ip_host};
use super::state::RunDir;
use super::{Mode, Shape};

/// MTU of the underlay. Native XDP on veth wants a frame in one page, headroom and trailer
/// included, which leaves 3500 bytes; a full client packet with the largest header fits well.
pub const UNDERLAY_MTU: u16 = 3400;
/// MTU towards the clients.
pub const CLIENT_MTU: u16 = 1500;

/// IPv4 address of the services.
pub const VIP_V4: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
/// IPv6 address of the services.
pub const VIP_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xff, 0, 0, 0, 0, 1);
/// Announced IPv4 prefix.
pub const PREFIX_V4: &str = "203.0.113.0/24";
/// Announced IPv6 prefix.
pub const PREFIX_V6: &str = "2001:db8:ff::/48";
/// Port of the TCP service.
pub const HTTP_PORT: u16 = 80;
/// Port of the UDP service.
pub const ECHO_PORT: u16 = 53;

/// The router's leg in the underlay.
pub const ROUTER_UNDERLAY: Addresses =
    Addresses { v4: Ipv4Addr::new(10, 0, 0, 1), v6: Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1) };

/// Settings of every router of a lab.
pub(super) const ROUTER_SYSCTLS: [(&str, &str); 8] = [
    ("net.ipv4.ip_forward", "1"),
    ("net.ipv6.conf.all.forwarding", "1"),
    // Next hops by 5-tuple.
    ("net.ipv4.fib_multipath_hash_policy", "1"),
    ("net.ipv6.fib_multipath_hash_policy", "1"),
    // A next hop without carrier is not used, even before BGP has seen it.
    ("net.ipv4.conf.all.ignore_routes_with_linkdown", "1"),
    ("net.ipv4.conf.default.ignore_routes_with_linkdown", "1"),
    ("net.ipv6.conf.all.ignore_routes_with_linkdown", "1"),
    ("net.ipv6.conf.default.ignore_routes_with_linkdown", "1"),
];

/// Interface towards the router, on clients and ingress nodes.
pub const EDGE: &str = "edge";
/// Interface towards the underlay, on ingress nodes, backends and the router.
pub const FABRIC: &str = "fabric";

/// An address of each family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// IPv4.
    pub v4: Ipv4Addr,
    /// IPv6.
    pub v6: Ipv6Addr,
}

/// `index` fits: a shape has at most [`Shape::MOST`] nodes of a kind.
fn octet(index: usize) -> u8 {
    u8::try_from(index).unwrap_or(u8::MAX)
}

/// Client `index`, or the router's end of that link.
pub fn client(index: usize, router: bool) -> Addresses {
    let host = if router { 1 } else { 2 };
    let net = octet(index);
    Addresses {
        v4: Ipv4Addr::new(198, 51, 100, net * 16 + host),
        v6: Ipv6Addr::new(0x2001, 0xdb8, 0xc0 + u16::from(net), 0, 0, 0, 0, host.into()),
    }
}

/// Ingress `index` on its link with the router, or the router's end of it.
pub fn edge(index: usize, router: bool) -> Addresses {
    let host = if router { 1 } else { 2 };
    let net = octet(index);
    Addresses {
        v4: Ipv4Addr::new(10, 1, net, host),
        v6: Ipv6Addr::new(0xfd01, net.into(), 0, 0, 0, 0, 0, host.into()),
    }
}

/// Ingress `index` in the underlay.
pub fn ingress(index: usize) -> Addresses {
    underlay(2 + octet(index))
}

/// Backend `index` in the underlay.
pub fn backend(index: usize) -> Addresses {
    underlay(11 + octet(index))
}

fn underlay(host: u8) -> Addresses {
    // The decimal digits are kept in IPv6, so that people see which host it is.
    let digits = u16::from(host / 10) << 4 | u16::from(host % 10);
    Addresses { v4: Ipv4Addr::new(10, 0, 0, host), v6: Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, digits) }
}

/// All namespaces of a lab.
#[derive(Clone, Debug)]
pub struct Topology {
    /// The edge router.
    pub router: Namespace,
    /// The bridge of the underlay.
    pub fabric: Namespace,
    /// Clients beyond the router.
    pub clients: Vec<Namespace>,
    /// Ingress nodes.
    pub ingresses: Vec<Namespace>,
    /// Backends.
    pub backends: Vec<Namespace>,
}

impl Topology {
    /// Makes namespaces, links and addresses. `pass` is the object of the program that veth peers
    /// of XDP interfaces need in native mode.
    pub fn create(run: &Arc<RunDir>, shape: Shape, mode: Mode, pass: Option<&Path>) -> Result<Self> {
        let many = |kind: &str, count: usize| -> Result<Vec<Namespace>> {
            (0..count).map(|index| Namespace::create(run, &format!("{kind}{index}"))).collect()
        };
        let topology = Self {
            router: Namespace::create(run, "router")?,
            fabric: Namespace::create(run, "fabric")?,
            clients: many("client", shape.clients)?,
            ingresses: many("ing", shape.ingresses)?,
            backends: many("be", shape.backends)?,
        };
        topology.sysctls()?;
        ip_host(&links(run.id(), shape))?;
        topology.offloads_off(shape)?;
        topology.router.ip(&router_addresses(shape))?;
        topology.fabric.ip(&bridge(shape))?;
        for (index, client) in topology.clients.iter().enumerate() {
            client.ip(&client_addresses(index))?;
        }
        for (index, ingress) in topology.ingresses.iter().enumerate() {
            ingress.ip(&ingress_addresses(index))?;
        }
        for (index, backend) in topology.backends.iter().enumerate() {
            backend.ip(&backend_addresses(index))?;
        }
        if let (Mode::Native, Some(pass)) = (mode, pass) {
            topology.load_pass(shape, pass)?;
        }
        Ok(topology)
    }

    fn sysctls(&self) -> Result<()> {
        self.router.sysctl(&ROUTER_SYSCTLS)?;
        for backend in &self.backends {
            // The VIP is on every backend: none may answer ARP for it.
            backend
                .sysctl(&[("net.ipv4.conf.all.arp_ignore", "1"), ("net.ipv4.conf.all.arp_announce", "2")])?;
        }
        Ok(())
    }

    fn offloads_off(&self, shape: Shape) -> Result<()> {
        for (namespace, interfaces) in self.interfaces(shape) {
            for interface in interfaces {
                namespace.offloads_off(&interface)?;
            }
        }
        Ok(())
    }

    fn interfaces(&self, shape: Shape) -> Vec<(&Namespace, Vec<String>)> {
        let mut all = vec![(&self.router, router_interfaces(shape)), (&self.fabric, fabric_ports(shape))];
        all.extend(self.clients.iter().map(|client| (client, vec![EDGE.to_owned()])));
        all.extend(self.ingresses.iter().map(|node| (node, vec![EDGE.to_owned(), FABRIC.to_owned()])));
        all.extend(self.backends.iter().map(|node| (node, vec![FABRIC.to_owned()])));
        all
    }

    /// A frame that XDP sends out of a veth arrives only if the peer runs an XDP program too.
    fn load_pass(&self, shape: Shape, object: &Path) -> Result<()> {
        let line =
            |name: String| format!("link set dev {name} xdpdrv obj {} sec xdp.frags\n", object.display());
        let router: String = (0..shape.ingresses).map(|index| line(format!("ing{index}"))).collect();
        self.router.ip(&router)?;
        let ports: String =
            fabric_ports(shape).into_iter().filter(|port| port != "router").map(line).collect();
        self.fabric.ip(&ports)
    }
}

fn router_interfaces(shape: Shape) -> Vec<String> {
    let clients = (0..shape.clients).map(|index| format!("client{index}"));
    let ingresses = (0..shape.ingresses).map(|index| format!("ing{index}"));
    clients.chain(ingresses).chain([FABRIC.to_owned()]).collect()
}

fn fabric_ports(shape: Shape) -> Vec<String> {
    let ingresses = (0..shape.ingresses).map(|index| format!("ing{index}"));
    let backends = (0..shape.backends).map(|index| format!("be{index}"));
    ["router".to_owned()].into_iter().chain(ingresses).chain(backends).collect()
}

/// `ip` lines that make all veth pairs, each end born in its namespace.
fn links(id: &str, shape: Shape) -> String {
    let mut text = String::new();
    let mut pair = |a: &str, a_name: &str, b: &str, b_name: &str, mtu: u16| {
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "link add {a_name} netns alb-{id}-{a} mtu {mtu} type veth peer name {b_name} netns alb-{id}-{b} mtu {mtu}"
        );
    };
    for index in 0..shape.clients {
        let node = format!("client{index}");
        pair("router", &node, &node, EDGE, CLIENT_MTU);
    }
    for index in 0..shape.ingresses {
        let node = format!("ing{index}");
        pair("router", &node, &node, EDGE, CLIENT_MTU);
        pair("fabric", &node, &node, FABRIC, UNDERLAY_MTU);
    }
    for index in 0..shape.backends {
        let node = format!("be{index}");
        pair("fabric", &node, &node, FABRIC, UNDERLAY_MTU);
    }
    pair("fabric", "router", "router", FABRIC, UNDERLAY_MTU);
    text
}

fn router_addresses(shape: Shape) -> String {
    let mut text = String::new();
    for index in 0..shape.clients {
        text += &up(&format!("client{index}"), client(index, true), 28, 64);
    }
    for index in 0..shape.ingresses {
        text += &up(&format!("ing{index}"), edge(index, true), 30, 64);
    }
    text + &up(FABRIC, ROUTER_UNDERLAY, 24, 64)
}

fn bridge(shape: Shape) -> String {
    let mut text =
        format!("link add br0 mtu {UNDERLAY_MTU} type bridge stp_state 0 forward_delay 0 mcast_snooping 0\n");
    for port in fabric_ports(shape) {
        let _ = writeln!(text, "link set {port} master br0 up");
    }
    text + "link set br0 up\n"
}

fn client_addresses(index: usize) -> String {
    up(EDGE, client(index, false), 28, 64) + &default_route(client(index, true))
}

fn ingress_addresses(index: usize) -> String {
    up(EDGE, edge(index, false), 30, 64)
        + &up(FABRIC, ingress(index), 24, 64)
        + &default_route(edge(index, true))
}

fn backend_addresses(index: usize) -> String {
    up(FABRIC, backend(index), 24, 64)
        + &default_route(ROUTER_UNDERLAY)
        + &format!("address add {VIP_V4}/32 dev lo\naddress add {VIP_V6}/128 dev lo nodad\n")
}

/// What ingress `index` lost when its link with the router went down.
pub(super) fn edge_after_link_up(index: usize) -> String {
    restored(EDGE, edge(index, false), edge(index, true))
}

/// What ingress `index` lost when its link to the underlay went down.
pub(super) fn ingress_after_link_up(index: usize) -> String {
    restored(FABRIC, ingress(index), edge(index, true))
}

/// What backend `index` lost when its link went down.
pub(super) fn backend_after_link_up(index: usize) -> String {
    restored(FABRIC, backend(index), ROUTER_UNDERLAY)
}

fn restored(interface: &str, own: Addresses, router: Addresses) -> String {
    format!(
        "address replace {}/64 dev {interface} nodad\nroute replace default via {}\nroute replace default via {}\n",
        own.v6, router.v4, router.v6
    )
}

fn up(interface: &str, addresses: Addresses, length_v4: u8, length_v6: u8) -> String {
    format!(
        "link set {interface} up\naddress add {}/{length_v4} dev {interface}\naddress add {}/{length_v6} dev {interface} nodad\n",
        addresses.v4, addresses.v6
    )
}

fn default_route(via: Addresses) -> String {
    format!("route add default via {}\nroute add default via {}\n", via.v4, via.v6)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_address_but_the_vip_is_given_once() {
        let shape = Shape { clients: Shape::MOST, ingresses: Shape::MOST, backends: Shape::MOST };
        let mut text = router_addresses(shape);
        for index in 0..Shape::MOST {
            text += &client_addresses(index);
            text += &ingress_addresses(index);
            text += &backend_addresses(index);
        }
        let given: Vec<_> = text
            .lines()
            .filter_map(|line| line.strip_prefix("address add ")?.split(['/', ' ']).next())
            .filter(|&address| address != VIP_V4.to_string() && address != VIP_V6.to_string())
            .collect();
        // A leg of the router and one of the node on 2 networks, the underlay, in two families.
        assert_eq!(given.len(), 2 * (Shape::MOST * (2 + 2 + 1 + 1) + 1));
        let distinct: HashSet<_> = given.iter().collect();
        assert_eq!(distinct.len(), given.len(), "{given:?}");
    }

    #[test]
    fn every_link_end_has_a_name_that_the_kernel_takes() {
        let shape = Shape::default();
        let text = links("abcde", shape);
        assert_eq!(text.lines().count(), 2 + 3 * 2 + 3 + 1);
        for word in text.split_whitespace().filter(|word| !word.starts_with("alb-")) {
            assert!(word.len() <= 15, "{word}");
        }
    }

    #[test]
    fn hosts_read_alike_in_both_families() {
        assert_eq!(backend(0).v4.to_string(), "10.0.0.11");
        assert_eq!(backend(0).v6.to_string(), "fd00::11");
        assert_eq!(ingress(1).v6.to_string(), "fd00::3");
    }
}
