//! The nodes that are measured: the released object, loaded, filled and pinned by the controller's own
//! library, as a daemon does it.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anycast_lb::dataplane::Dataplane;
use anycast_lb::model::{
    Announcing, Backend, BackendState, Config, Control, Encapsulation, FlowHash, HopLimits, Interface, Pool,
    Protocol, Role, Seed, TableKind, Vip, VipKey, XdpMode,
};
use anycast_lb::neighbour::{NextHop, Resolution};
use anycast_lb_common::abi::{Filter, Observer, Reasons, Verdict};
use anyhow::{Context as _, Result};
use aya::programs::Xdp;
use aya_obj::programs::XdpAttachType;

use crate::addresses::{BACKEND, BACKEND_VIP, PORT, backend, vip, vip_of_many};
use crate::place::{self, INTERFACES};

/// VIPs of the cases `vips64-…`.
pub const SOME_VIPS: u32 = 64;
/// VIPs of the case `vips1000-…`.
pub const MANY_VIPS: u32 = 1000;
/// Backends of a pool in those cases.
const MANY_BACKENDS: u32 = 256;
/// Backends of a pool elsewhere.
const BACKENDS: u32 = 100;
/// Slots of a pool and its margin, where the configuration does not say.
const SLOTS: u32 = 16_384;
const MARGIN_PPM: u32 = 35_000;
/// Limits that a benchmark does not reach; all that they cost is still paid.
const NO_HURDLE: HopLimits = HopLimits { per_prefix: 1_000_000_000, total: 1_000_000_000 };
/// Groups of VIPs.
pub const SHARED: u8 = 0;
/// As [`SHARED`].
pub const OWN: u8 = 1;
/// As [`SHARED`].
pub const THOUSAND: u8 = 2;
/// MTU of the underlay.
const MTU: u16 = 9000;
/// The loopback interface of a fresh namespace: the kernel's test run comes in by it, so what leaves
/// by it is transmitted back, as on a host with one NIC.
const LOOPBACK: u32 = 1;

/// What a VIP of its own is there for; the order is that of the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// IP in IP.
    Ipip,
    /// GUE without hops.
    Gue0,
    /// GUE with three hops.
    Gue3,
    /// GUE with seven hops: three other PoPs may hold the flow.
    Gue7,
}

impl Service {
    const ALL: [Service; 4] = [Service::Ipip, Service::Gue0, Service::Gue3, Service::Gue7];

    /// Number of its VIP ([`vip`]).
    pub fn number(self) -> u32 {
        1 + self as u32
    }

    fn pool_name(self, v4: bool) -> String {
        format!("{self:?}-{}", if v4 { "v4" } else { "v6" })
    }

    fn pool(self, v4: bool) -> Pool {
        let mut pool = pool(&self.pool_name(v4), (0..BACKENDS).map(|n| member(backend(v4, 0, n), None)));
        match self {
            Service::Ipip => pool.encapsulation = Encapsulation::Ipip,
            Service::Gue0 => pool.hops = 0,
            Service::Gue3 => {}
            Service::Gue7 => {
                for (i, pop) in POPS.into_iter().enumerate() {
                    pool.rescue.push(pop.to_owned());
                    pool.backends
                        .extend((0..BACKENDS).map(|n| member(backend(v4, 1 + i as u8, n), Some(pop))));
                }
            }
        }
        pool
    }
}

const POPS: [&str; 3] = ["sin1", "gru1", "lhr1"];

/// What packets are observed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observed {
    /// The flow log, with one sample of a thousand packets.
    FlowLog,
    /// A watch on another flow.
    Watch,
    /// A capture of another flow, for which the first bytes of each packet are kept.
    Capture,
}

impl Observed {
    /// All of them.
    pub const ALL: [Observed; 3] = [Observed::FlowLog, Observed::Watch, Observed::Capture];

    /// Name of its case.
    pub const fn name(self) -> &'static str {
        match self {
            Observed::FlowLog => "observed-flow-log",
            Observed::Watch => "observed-watch",
            Observed::Capture => "observed-capture",
        }
    }

    const fn interface(self) -> &'static str {
        INTERFACES[2 + self as usize]
    }

    fn observer(self) -> Observer {
        // What `capture` keeps of a packet unless told otherwise.
        const SNAP: u32 = 256;
        let mut observer = Observer::default();
        if self == Observed::FlowLog {
            observer.flow_log = Reasons::FLOW_LOG;
            observer.sample = 1000;
            return observer;
        }
        observer.filters = 1;
        observer.snap = if self == Observed::Capture { SNAP } else { 0 };
        observer.filter[0] = Filter { flags: Filter::ON, sample: 1, source_port: 1, ..Filter::default() };
        observer
    }
}

/// A loaded program with its tables.
pub struct Node {
    dataplane: Dataplane,
    bpffs: PathBuf,
    instance: &'static str,
}

impl Node {
    /// A balancer with all VIPs of all cases.
    ///
    /// # Errors
    ///
    /// When the kernel refuses anything.
    pub fn ingress(directory: &Path) -> Result<Self> {
        Self::balancer(directory, "ingress", INTERFACES[0])
    }

    /// The same, whose packets are reported to who asks.
    ///
    /// # Errors
    ///
    /// As [`Self::ingress`].
    pub fn observed(directory: &Path, observed: Observed) -> Result<Self> {
        let mut node = Self::balancer(directory, observed.name(), observed.interface())?;
        node.dataplane.observe(&observed.observer())?;
        Ok(node)
    }

    fn balancer(directory: &Path, instance: &'static str, interface: &str) -> Result<Self> {
        let mut config = config(directory, Role::Ingress, interface);
        for v4 in [true, false] {
            for service in Service::ALL {
                config.pools.push(service.pool(v4));
                config.vips.push(service_at(vip(v4, service.number()), &service.pool_name(v4)));
            }
        }
        let many = |name: &str| {
            let backends = (0..MANY_BACKENDS).map(|n| member(backend(true, 0, n), None));
            Pool { encapsulation: Encapsulation::Ipip, ..pool(name, backends) }
        };
        config.pools.push(many("shared"));
        for (group, vips) in [(SHARED, SOME_VIPS), (THOUSAND, MANY_VIPS)] {
            config.vips.extend((0..vips).map(|n| service_at(vip_of_many(group, n), "shared")));
        }
        for n in 0..SOME_VIPS {
            let name = format!("own{n}");
            config.pools.push(many(&name));
            config.vips.push(service_at(vip_of_many(OWN, n), &name));
        }
        for prefix in ["203.0.113.0/24", "2001:db8:ffff::/48"] {
            config.prefixes.push(prefix.parse()?);
        }
        Self::open(&config, instance, &[])
    }

    /// A backend.
    ///
    /// # Errors
    ///
    /// As [`Self::ingress`].
    pub fn backend(directory: &Path) -> Result<Self> {
        let mut config = config(directory, Role::Backend, INTERFACES[1]);
        config.vips.push(service_at(BACKEND_VIP.into(), ""));
        config.allowed_senders.push("10.0.0.0/8".parse()?);
        config.hop_limits = NO_HURDLE;
        Self::open(&config, "backend", &[BACKEND.into()])
    }

    fn open(config: &Config, instance: &'static str, locals: &[IpAddr]) -> Result<Self> {
        let config = Config { instance: instance.to_owned(), ..config.clone() };
        let (mut dataplane, _) = Dataplane::open(&config)?;
        dataplane.set_locals(locals)?;
        for backend in config.pools.iter().flat_map(|pool| &pool.backends) {
            dataplane.set_next_hop(backend.address, &way(backend.address))?;
        }
        dataplane.apply(&config)?;
        dataplane.attach(&config.interfaces)?;
        Ok(Node { dataplane, bpffs: config.bpffs, instance })
    }

    /// The program, as it is pinned.
    ///
    /// # Errors
    ///
    /// When it is not there.
    pub fn program(&self) -> Result<Xdp> {
        open_program(&place::pinned_program(&self.bpffs, self.instance))
    }

    /// Packets so far, by verdict.
    pub fn packets(&self, verdict: Verdict) -> u64 {
        let verdicts = self.dataplane.verdicts();
        verdicts.iter().find(|(v, _)| *v == verdict).map_or(0, |(_, counter)| counter.packets)
    }

    /// Packets so far, by VIP.
    pub fn spread(&self) -> Vec<u64> {
        self.dataplane.vip_counters().iter().map(|(_, counter)| counter.packets).collect()
    }
}

/// A pinned XDP program.
///
/// # Errors
///
/// When there is none at `path`.
pub fn open_program(path: &Path) -> Result<Xdp> {
    Xdp::from_pin(path, XdpAttachType::Interface)
        .with_context(|| format!("no pinned XDP program at {}", path.display()))
}

fn config(directory: &Path, role: Role, interface: &str) -> Config {
    Config {
        role,
        node: "bench".to_owned(),
        pop: "fra1".to_owned(),
        instance: String::new(),
        bpffs: directory.join("bpf"),
        state_dir: directory.join("state"),
        // Any will do: the same figures come of all.
        seed: (role == Role::Ingress).then_some(Seed([7; 16])),
        seed_previous: None,
        drained_pops: Vec::new(),
        announcing: Announcing::default(),
        identity_clients: Vec::new(),
        rpki: Default::default(),
        bmp: None,
        unmatched_pass: false,
        sources: Vec::new(),
        interfaces: vec![Interface { name: interface.to_owned(), mode: XdpMode::Auto }],
        control: Control::on_socket(directory.join("unused")),
        pools: Vec::new(),
        vips: Vec::new(),
        prefixes: Vec::new(),
        allowed_senders: Vec::new(),
        hop_limits: HopLimits::default(),
        metrics: None,
        page: None,
        flow_log: None,
    }
}

fn pool(name: &str, backends: impl Iterator<Item = Backend>) -> Pool {
    Pool {
        name: name.to_owned(),
        encapsulation: Encapsulation::Gue,
        table: TableKind::Rendezvous,
        slots: SLOTS,
        margin_ppm: MARGIN_PPM,
        hops: 3,
        rescue: Vec::new(),
        fill_time: Duration::ZERO,
        drain_timeout: Duration::ZERO,
        backends: backends.collect(),
        quic: None,
        health: Default::default(),
    }
}

fn member(address: IpAddr, pop: Option<&str>) -> Backend {
    Backend { address, weight: 100, state: BackendState::Active, pop: pop.map(str::to_owned) }
}

fn service_at(address: IpAddr, pool: &str) -> Vip {
    let key = VipKey { address, port: Some(PORT), protocol: Protocol::Tcp };
    let (pool, hash) = (pool.to_owned(), FlowHash::default());
    Vip { key, pool, second_chance: true, hash, quic: false, mss_clamp: false, identity: Default::default() }
}

fn way(backend: IpAddr) -> Resolution {
    Resolution::Resolved(NextHop {
        interface: "lo".to_owned(),
        ifindex: LOOPBACK,
        source: if backend.is_ipv4() {
            [10, 0, 0, 2].into()
        } else {
            [0x20, 1, 0xd, 0xb8, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2].into()
        },
        source_mac: [2, 0, 0, 0, 0, 1],
        destination_mac: [2, 0, 0, 0, 0, 3],
        mtu: MTU,
        gateway: None,
    })
}
