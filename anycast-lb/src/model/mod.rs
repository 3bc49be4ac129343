//! What an operator wants, validated: the output of [`crate::config`] and the input of everything
//! else. Values of these types obey every rule of the configuration language, so nothing behind
//! this border checks them again.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anycast_lb_common::abi::FlowKeys;
use ipnet::IpNet;

mod announce;
mod flow_hash;
mod flow_log;
mod health;
mod identity;
mod quic;
mod rpki;
mod vip_key;

pub use announce::{AnnouncedPrefix, Announcing, DEFAULT_DRAIN_WAIT};
pub use flow_hash::FlowHash;
pub use flow_log::FlowLog;
pub use health::{AllDown, HealthCheck, PoolHealth, Via};
pub use identity::Identity;
pub use quic::{Quic, ServerId, default_server_id};
pub use rpki::{Bmp, Route, Rpki, RpkiMode, Validator};
pub use vip_key::VipKeyError;

/// What this host does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Balances: takes packets for VIPs and tunnels them.
    Ingress,
    /// Serves: takes tunnelled packets and hands them to its kernel.
    Backend,
}

/// The 128-bit secret that all nodes share; never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Seed(pub [u8; 16]);

impl Seed {
    /// Same on nodes that share the seed, and tells nothing about it.
    ///
    /// It is half of a SipHash under the seed with every bit flipped, a key that nothing else uses.
    pub fn fingerprint(&self) -> String {
        let word = FlowKeys::from_seed(self.0.map(|byte| !byte)).offset;
        format!("{:08x}", word >> 32)
    }
}

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seed(secret)")
    }
}

/// How a program is attached to a NIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum XdpMode {
    /// Native where the driver can, generic where not.
    #[default]
    Auto,
    /// In the driver, or fail.
    Native,
    /// In the kernel's stack.
    Generic,
}

/// A NIC the program is attached to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// How to attach.
    pub mode: XdpMode,
}

/// The API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    /// Unix socket for the command line.
    pub socket: PathBuf,
    /// Group that may use it besides root.
    pub group: Option<String>,
    /// Whether changes by command line are written into the file.
    pub write_back: bool,
    /// Where other nodes may ask, over TLS; none = nobody may. Needs [`Self::tls`].
    pub listen: Option<SocketAddr>,
    /// By what this node and those it talks to know each other; none = it asks nobody.
    pub tls: Option<Tls>,
    /// The other ingress nodes, in file order, unique by name; never this node itself.
    pub peers: Vec<Peer>,
}

impl Control {
    /// An API on a socket of the command line's alone.
    pub fn on_socket(socket: impl Into<PathBuf>) -> Self {
        Control {
            socket: socket.into(),
            group: None,
            write_back: true,
            listen: None,
            tls: None,
            peers: Vec::new(),
        }
    }

    /// Where the API of a backend is asked over TLS: all hosts of a fleet listen on one port.
    pub fn port(&self) -> u16 {
        self.listen.map_or(DEFAULT_CONTROL_PORT, |listen| listen.port())
    }
}

/// Port of the API over TLS on other hosts where this one does not listen itself.
pub const DEFAULT_CONTROL_PORT: u16 = 19524;

/// PEM files for mutual TLS; the paths are complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// Certificates of the authorities that sign the nodes' certificates.
    pub ca: PathBuf,
    /// This node's certificate, then those between it and the authority.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Another ingress node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its name.
    pub node: String,
    /// Its site.
    pub pop: String,
    /// Where its API listens.
    pub control: SocketAddr,
}

/// How packets are carried to the backends of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Encapsulation {
    /// GUE with our private data.
    #[default]
    Gue,
    /// Plain IP in IP, in whichever families are needed.
    Ipip,
    /// MAC rewrite on a shared segment.
    L2,
}

/// Which algorithm fills a pool's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum TableKind {
    /// Bounded-load rendezvous.
    #[default]
    Rendezvous,
    /// Maglev.
    Maglev,
}

/// A backend's configured state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum BackendState {
    /// Listed as a hop, owns nothing yet.
    Filling,
    /// Takes flows.
    #[default]
    Active,
    /// Keeps its flows, takes no new ones.
    Draining,
}

/// A backend of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// Where its tunnel ends.
    pub address: IpAddr,
    /// Share relative to the others; 1 to 65535.
    pub weight: u32,
    /// Configured state.
    pub state: BackendState,
    /// Site; none = the node's own.
    pub pop: Option<String>,
}

impl Backend {
    /// Its site, on a node at `home`.
    pub fn site<'a>(&'a self, home: &'a str) -> &'a str {
        self.pop.as_deref().unwrap_or(home)
    }
}

/// A set of backends that share one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Name, unique.
    pub name: String,
    /// How packets get there; the backends' family fits it.
    pub encapsulation: Encapsulation,
    /// Table algorithm.
    pub table: TableKind,
    /// Slots, a power of two, 2 to 2^20.
    pub slots: u32,
    /// How much more than its share a backend may own, in parts per million.
    pub margin_ppm: u32,
    /// Backends of a PoP that a packet lists after the owner for their place in the ranking alone, 0 to 7;
    /// 0: packets carry no list. Who may hold flows of the slot is listed besides.
    pub hops: u8,
    /// PoPs in the order in which a packet is sent there whose flow is not found here; the node's own
    /// counts for nothing in it.
    pub rescue: Vec<String>,
    /// How long a joining backend stays `filling`.
    pub fill_time: Duration,
    /// When a drain ends even if flows remain.
    pub drain_timeout: Duration,
    /// Members; addresses are unique and of one family.
    pub backends: Vec<Backend>,
    /// How connection IDs name its servers; none = no VIP of QUIC leads here.
    pub quic: Option<Quic>,
    /// How its backends are checked, and what follows.
    pub health: PoolHealth,
}

/// Protocol of a VIP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// Every protocol; has no port.
    Any,
}

/// What identifies a VIP. Displays as `203.0.113.1:443/tcp`, `[2001:db8::1]:443/tcp`,
/// `203.0.113.1:*/udp`, `203.0.113.1/any`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VipKey {
    /// Address.
    pub address: IpAddr,
    /// Port in host order; none = every port.
    pub port: Option<u16>,
    /// Protocol.
    pub protocol: Protocol,
}

/// A service address and the pool behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vip {
    /// Address, port, protocol.
    pub key: VipKey,
    /// Name of the pool; it exists. Empty on a backend.
    pub pool: String,
    /// Whether its packets carry hops.
    pub second_chance: bool,
    /// What decides about a packet's backend.
    pub hash: FlowHash,
    /// Whether its packets are QUIC, and connection IDs name the backend.
    pub quic: bool,
    /// Whether the MSS of clients' SYNs is lowered to what fits the tunnel.
    pub mss_clamp: bool,
    /// What it says of who serves it.
    pub identity: Identity,
}

/// How many packets a second a backend sends on to others that may hold their flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HopLimits {
    /// Of the clients of one /24 (IPv4) or /56 (IPv6). 0: none.
    pub per_prefix: u32,
    /// Of all clients together. 0: none.
    pub total: u32,
}

impl Default for HopLimits {
    /// Far above what rescued flows need: they are packets of living connections. Yet a flood of packets
    /// that nobody holds must not become a flood among the backends.
    fn default() -> Self {
        HopLimits { per_prefix: 50_000, total: 500_000 }
    }
}

/// A whole configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// What this host does.
    pub role: Role,
    /// Name of this node.
    pub node: String,
    /// Site of this node.
    pub pop: String,
    /// Name of this instance on the host; a plain word, it is part of paths.
    pub instance: String,
    /// Where a bpffs is mounted, or is to be mounted.
    pub bpffs: PathBuf,
    /// Where the daemon keeps what must outlive it.
    pub state_dir: PathBuf,
    /// Seed of the flow hash; none on a backend.
    pub seed: Option<Seed>,
    /// The seed before it, while the seed is being changed; never the same.
    pub seed_previous: Option<Seed>,
    /// Sites that take no new flows, each once, in file order.
    pub drained_pops: Vec<String>,
    /// Whether packets that match no service are passed (`unmatched = "pass"`).
    pub unmatched_pass: bool,
    /// Outer source addresses, at most one a family; none = the interface's own.
    pub sources: Vec<IpAddr>,
    /// NICs; at least one.
    pub interfaces: Vec<Interface>,
    /// API.
    pub control: Control,
    /// Pools, in file order.
    pub pools: Vec<Pool>,
    /// VIPs, in file order, unique by key.
    pub vips: Vec<Vip>,
    /// Clients to whom VIPs with [`Identity::Backend`] name backends.
    pub identity_clients: Vec<IpNet>,
    /// Prefixes whose packets are for VIPs alone.
    pub prefixes: Vec<IpNet>,
    /// Which of them this node announces itself, and how.
    pub announcing: Announcing,
    /// On a backend: who may send tunnelled packets.
    pub allowed_senders: Vec<IpNet>,
    /// On a backend: how much it sends on.
    pub hop_limits: HopLimits,
    /// RPKI validators, and the origins of prefixes.
    pub rpki: Rpki,
    /// BMP station; none = it does not listen. None on a backend.
    pub bmp: Option<Bmp>,
    /// Where metrics are served; none = nowhere.
    pub metrics: Option<SocketAddr>,
    /// Where the status page is served; none = nowhere.
    pub page: Option<SocketAddr>,
    /// What is remembered of flows; none = nothing.
    pub flow_log: Option<FlowLog>,
}

impl Config {
    /// Every PoP that is named: the node's own, those of backends, those that rescue, drained ones.
    pub fn pops(&self) -> BTreeSet<&str> {
        let backends = self.pools.iter().flat_map(|p| &p.backends).map(|b| b.site(&self.pop));
        let rescue = self.pools.iter().flat_map(|p| &p.rescue).chain(&self.drained_pops).map(String::as_str);
        std::iter::once(self.pop.as_str()).chain(backends).chain(rescue).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_fingerprint_tells_seeds_apart_and_is_short() {
        let (a, b) = (Seed([1; 16]).fingerprint(), Seed([2; 16]).fingerprint());
        assert_ne!(a, b);
        assert_eq!(a.len(), 8);
        assert_eq!(a, Seed([1; 16]).fingerprint());
    }
}
