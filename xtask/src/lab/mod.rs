//! A lab on one machine: clients, an ECMP router, ingress nodes and backends, each a network
//! namespace of its own, each node running the released binary. Everything is removed when the
//! [`Lab`] is dropped, on Ctrl-C, and by `cargo xtask lab down` if the process died.

mod beside;
pub mod bird;
mod build;
pub mod capture;
mod churn;
pub mod command;
mod connected;
pub mod daemons;
pub mod interrupt;
pub mod netns;
mod node;
pub mod pops;
mod programs;
pub mod report;
pub mod services;
pub mod state;
pub mod tools;
pub mod topology;
pub mod traffic;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};

pub use build::{LabBuilder, listens, mount_bpffs, write_seed};
pub use churn::Churn;
pub use command::{Command, main, sweep_leftovers};
pub use node::{CliOutput, Node, READY_DEADLINE, SERVICE_DEADLINE};

use capture::{Capture, Watch};
use daemons::{Daemon, Program, until};
use netns::Namespace;
use state::RunDir;
use tools::Tools;
use topology::{EDGE, FABRIC, Topology};
use traffic::{RunningTraffic, Spec};

/// How long a change of routes may take to reach the router's FIB. BGP's hold time is 9 s.
pub const ROUTE_DEADLINE: Duration = Duration::from_secs(20);

/// How XDP programs are attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Mode {
    /// In the driver.
    #[default]
    Native,
    /// In the kernel's stack.
    Generic,
}

impl Mode {
    /// The word of the configuration language.
    pub fn word(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
        }
    }
}

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// Families of the VIPs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Families {
    /// IPv4 alone.
    V4,
    /// IPv6 alone.
    V6,
    /// Both.
    #[default]
    Both,
}

impl Families {
    /// Whether `family` is among them.
    pub fn has(self, family: Family) -> bool {
        self == Self::Both || (self == Self::V4) == (family == Family::V4)
    }

    /// Each of them.
    pub fn all(self) -> impl Iterator<Item = Family> {
        [Family::V4, Family::V6].into_iter().filter(move |&family| self.has(family))
    }
}

/// How packets are carried from ingress to backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Encapsulation {
    /// GUE, IPv4 outside.
    #[default]
    GueV4,
    /// GUE, IPv6 outside.
    GueV6,
    /// IPv4 in IPv4, and IPv6 in IPv6.
    Ipip,
    /// IPv4 in IPv6, and IPv6 in IPv6.
    IpipV6,
    /// A new destination MAC, nothing else.
    L2,
}

impl Encapsulation {
    /// The word of the configuration language.
    pub fn word(self) -> &'static str {
        match self {
            Self::GueV4 | Self::GueV6 => "gue",
            Self::Ipip | Self::IpipV6 => "ipip",
            Self::L2 => "l2",
        }
    }

    /// Family of the backends' addresses that serve a VIP of `family`.
    pub fn carrier(self, family: Family) -> Family {
        match self {
            Self::GueV4 => Family::V4,
            Self::GueV6 | Self::IpipV6 => Family::V6,
            Self::Ipip | Self::L2 => family,
        }
    }
}

/// What stands between router and backends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Kind {
    /// Ingress nodes with the balancer.
    #[default]
    Balanced,
    /// Nothing: the router's ECMP chooses the backend, each backend announces the service.
    PlainEcmp,
}

/// How ingress nodes are connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Arms {
    /// One NIC towards the router, one to the underlay: packets are redirected.
    #[default]
    Two,
    /// One NIC for both: packets leave by the NIC they came in.
    One,
}

/// How many nodes of each kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Clients.
    pub clients: usize,
    /// Ingress nodes.
    pub ingresses: usize,
    /// Backends.
    pub backends: usize,
}

impl Shape {
    /// Most nodes of a kind: the address plan has room for so many.
    pub const MOST: usize = 8;
}

impl Default for Shape {
    fn default() -> Self {
        Self { clients: 2, ingresses: 3, backends: 3 }
    }
}

/// A lab that stands.
#[derive(Debug)]
pub struct Lab {
    kind: Kind,
    arms: Arms,
    families: Families,
    router: Daemon,
    ingresses: Vec<Node>,
    backends: Vec<Node>,
    topology: Topology,
    tools: Tools,
    // Last: it removes what is left once everything above is gone.
    run: Arc<RunDir>,
}

impl Lab {
    /// Describes a lab to be built.
    pub fn builder() -> LabBuilder {
        LabBuilder::default()
    }

    /// Directory of its configurations, sockets and logs.
    pub fn directory(&self) -> &Path {
        self.run.path()
    }

    /// Namespaces.
    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    /// Ingress node `index`.
    pub fn ingress(&mut self, index: usize) -> &mut Node {
        &mut self.ingresses[index]
    }

    /// All ingress nodes, for who commands several at once.
    pub fn ingresses(&self) -> &[Node] {
        &self.ingresses
    }

    /// Backend `index`.
    pub fn backend(&mut self, index: usize) -> &mut Node {
        &mut self.backends[index]
    }

    /// All backends.
    pub fn backends(&self) -> &[Node] {
        &self.backends
    }

    /// Client `index`.
    pub fn client(&self, index: usize) -> &Namespace {
        &self.topology.clients[index]
    }

    /// The router.
    pub fn router(&self) -> &Namespace {
        &self.topology.router
    }

    /// BIRD of the router.
    pub fn router_bird(&mut self) -> &mut Daemon {
        &mut self.router
    }

    /// Control socket of the router's BIRD.
    pub fn router_bird_socket(&self) -> PathBuf {
        node::bird_socket(self.run.path(), "router")
    }

    /// Another daemon in one of the lab's namespaces; it ends with the lab.
    pub fn daemon(&self, namespace: &Namespace, program: Program) -> Daemon {
        Daemon::new(&self.run, namespace, program, false)
    }

    /// The nodes that the router's ECMP chooses from: ingress nodes, or backends in a lab without a
    /// balancer.
    pub fn next_hops(&mut self) -> &mut Vec<Node> {
        match self.kind {
            Kind::Balanced => &mut self.ingresses,
            Kind::PlainEcmp => &mut self.backends,
        }
    }

    /// Starts traffic from all clients to the VIPs. Targets that `spec` names are kept.
    pub fn traffic(&self, spec: &Spec) -> Result<RunningTraffic> {
        let mut spec = spec.clone();
        if spec.tcp.is_empty() && spec.udp.is_empty() {
            spec.tcp = self.targets(topology::HTTP_PORT);
            spec.udp = self.targets(topology::ECHO_PORT);
        }
        RunningTraffic::start(&self.run, &self.tools.xtask, &self.topology.clients, &spec)
    }

    fn targets(&self, port: u16) -> Vec<std::net::SocketAddr> {
        let address = |family| match family {
            Family::V4 => (topology::VIP_V4, port).into(),
            Family::V6 => (topology::VIP_V6, port).into(),
        };
        self.families.all().map(address).collect()
    }

    /// Captures at the far end of a node's link to the underlay: what XDP sends is not seen on the
    /// node's own interface, and a backend's program takes packets before a socket there sees them.
    pub fn capture_underlay(&self, node: &str) -> Result<Capture> {
        Capture::start(&self.topology.fabric, node)
    }

    /// Verifies every frame on these nodes' links to the underlay as it passes.
    pub fn watch_underlay(&self, nodes: &[&str]) -> Result<Watch> {
        Watch::start(&self.topology.fabric, nodes)
    }

    /// Node `index` withdraws the service prefixes; returns when the router no longer uses it.
    pub fn withdraw(&self, index: usize) -> Result<()> {
        self.switch(index, "disable")
    }

    /// Node `index` announces the service prefixes again; returns when the router uses it.
    pub fn announce(&self, index: usize) -> Result<()> {
        self.switch(index, "enable")
    }

    fn switch(&self, index: usize, verb: &str) -> Result<()> {
        let before = self.live_next_hops(Family::V4)?;
        let nodes = match self.kind {
            Kind::Balanced => &self.ingresses,
            Kind::PlainEcmp => &self.backends,
        };
        let socket = nodes[index].bird_socket();
        for protocol in ["announce4", "announce6"] {
            bird::command(&socket, &format!("{verb} {protocol}"))?;
        }
        self.wait_next_hops(if verb == "enable" { before + 1 } else { before - 1 })
    }

    /// Takes the link between router and next hop `index` down; returns when the router has seen it.
    pub fn link_down(&mut self, index: usize) -> Result<()> {
        let before = self.live_next_hops(Family::V4)?;
        self.set_link(index, "down")?;
        self.wait_next_hops(before - 1)
    }

    /// Brings that link up again, with the addresses that IPv6 loses on the way; returns when the
    /// router uses it.
    pub fn link_up(&mut self, index: usize) -> Result<()> {
        let before = self.live_next_hops(Family::V4)?;
        self.set_link(index, "up")?;
        self.wait_next_hops(before + 1)
    }

    fn set_link(&mut self, index: usize, state: &str) -> Result<()> {
        let (interface, restore) = match (self.kind, self.arms) {
            (Kind::Balanced, Arms::Two) => (EDGE, topology::edge_after_link_up(index)),
            (Kind::Balanced, Arms::One) => (FABRIC, topology::ingress_after_link_up(index)),
            (Kind::PlainEcmp, _) => (FABRIC, topology::backend_after_link_up(index)),
        };
        let namespace = self.next_hops()[index].namespace();
        namespace.ip(&format!("link set {interface} {state}\n"))?;
        if state == "up" { namespace.ip(&restore) } else { Ok(()) }
    }

    /// Waits until the router's FIB has `count` next hops for the service in both families.
    pub fn wait_next_hops(&self, count: usize) -> Result<()> {
        let what = format!("the router to have {count} next hops");
        let result = until(ROUTE_DEADLINE, &what, || {
            let both = self.live_next_hops(Family::V4)? == count && self.live_next_hops(Family::V6)? == count;
            Ok(both.then_some(()))
        });
        result.with_context(|| self.router.log_tail())
    }

    /// Next hops with carrier that the router has for the service.
    pub fn live_next_hops(&self, family: Family) -> Result<usize> {
        let (flag, prefix) = match family {
            Family::V4 => ("-4", topology::PREFIX_V4),
            Family::V6 => ("-6", topology::PREFIX_V6),
        };
        let routes = self.topology.router.ip_json(&[flag, "route", "show", prefix])?;
        Ok(live_devices(&routes).len())
    }
}

/// Egress interfaces of the next hops in what `ip -json route show PREFIX` prints, without those that
/// lost their carrier.
fn live_devices(routes: &serde_json::Value) -> Vec<&str> {
    let live = |hop: &&serde_json::Value| {
        let flags = hop["flags"].as_array().map_or(&[] as &[_], Vec::as_slice);
        !flags.iter().any(|flag| flag == "linkdown" || flag == "dead")
    };
    let routes = routes.as_array().map_or(&[] as &[_], Vec::as_slice);
    routes
        .iter()
        .flat_map(|route| match route["nexthops"].as_array() {
            Some(hops) => hops.as_slice(),
            None => std::slice::from_ref(route),
        })
        .filter(live)
        .map(|hop| hop["dev"].as_str().unwrap_or_default())
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn next_hops_without_carrier_do_not_count() {
        let routes = json!([{"dst": "203.0.113.0/24", "flags": [], "nexthops": [
            {"gateway": "10.1.0.2", "dev": "ing0", "flags": []},
            {"gateway": "10.1.1.2", "dev": "ing1", "flags": ["dead", "linkdown"]},
            {"gateway": "10.1.2.2", "dev": "ing2", "flags": []},
        ]}]);
        assert_eq!(live_devices(&routes), ["ing0", "ing2"]);
    }

    #[test]
    fn one_next_hop_is_printed_without_a_list() {
        let routes = json!([{"gateway": "10.1.0.2", "dev": "ix", "flags": []}]);
        assert_eq!(live_devices(&routes), ["ix"]);
        assert!(live_devices(&json!([])).is_empty());
    }

    #[test]
    fn families_are_what_they_say() {
        assert!(Families::Both.has(Family::V4) && Families::Both.has(Family::V6));
        assert!(Families::V4.has(Family::V4) && !Families::V4.has(Family::V6));
        assert!(!Families::V6.has(Family::V4) && Families::V6.has(Family::V6));
    }
}
