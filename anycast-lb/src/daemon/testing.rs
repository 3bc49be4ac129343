//! A small configuration and drivers that only remember, for tests.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use anycast_lb_common::abi::{
    Counter, Encap, MemberNumber, Observed, Observer, VERDICTS, Verdict, VipNumber,
};

use anycast_lb_health::checker::Subject;
use anycast_lb_health::schedule::Wanted;
use anycast_lb_routing::announce::driver::{Method, OutletReport};
use anycast_lb_routing::bgp::driver::Neighbour;
use anycast_lb_routing::bgp::session::Report;

use super::core::Announcements;
use super::ports::{
    AnnouncePort, Change, ConfigPort, DataplanePort, FlowsPort, HealthPort, HostPort, Owners, ResolverPort,
};
use super::run::Drivers;
use super::{Code, Failure};
use crate::config::edit::Edit;
use crate::dataplane::{Attachment, Explained, Flow, Mode, Occupancy, Trace, Way};
use crate::host::{Finding, Severity};
use crate::membership::{InForce, Key, Others, Remaining};
use crate::model::{
    Announcing, Backend, BackendState, Config, Control, Encapsulation, FlowHash, HopLimits, Interface, Pool,
    Protocol, Role, Seed, TableKind, Vip, VipKey, XdpMode,
};
use crate::neighbour::{NextHop, Resolution};

/// 10.0.0.`last`.
pub fn backend_address(last: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, last])
}

/// 203.0.113.1:443/tcp.
pub fn vip_key() -> VipKey {
    VipKey { address: IpAddr::from([203, 0, 113, 1]), port: Some(443), protocol: Protocol::Tcp }
}

/// A backend at 10.0.0.`last`.
pub fn backend(last: u8) -> Backend {
    Backend { address: backend_address(last), weight: 100, state: BackendState::Active, pop: None }
}

/// An ingress node with one VIP and pool `web` of 10.0.0.11 and 10.0.0.12.
pub fn config() -> Config {
    Config {
        role: Role::Ingress,
        node: "lb1".to_owned(),
        pop: "fra1".to_owned(),
        instance: "default".to_owned(),
        bpffs: "/sys/fs/bpf".into(),
        state_dir: "/var/lib/anycast-lb".into(),
        seed: Some(Seed([7; 16])),
        unmatched_pass: false,
        sources: Vec::new(),
        interfaces: vec![Interface { name: "eth0".to_owned(), mode: XdpMode::Auto }],
        control: Control::on_socket("/run/anycast-lb/control.sock"),
        pools: vec![Pool {
            name: "web".to_owned(),
            encapsulation: Encapsulation::Gue,
            table: TableKind::Rendezvous,
            slots: 1024,
            margin_ppm: 30_000,
            hops: 3,
            rescue: Vec::new(),
            fill_time: Duration::from_secs(10),
            drain_timeout: Duration::from_secs(1800),
            backends: vec![backend(11), backend(12)],
            quic: None,
            health: Default::default(),
        }],
        vips: vec![Vip {
            key: vip_key(),
            pool: "web".to_owned(),
            second_chance: true,
            hash: FlowHash::default(),
            quic: false,
            mss_clamp: false,
            identity: Default::default(),
        }],
        prefixes: Vec::new(),
        allowed_senders: Vec::new(),
        hop_limits: HopLimits::default(),
        identity_clients: Vec::new(),
        rpki: Default::default(),
        bmp: None,
        metrics: None,
        page: None,
        flow_log: None,
        seed_previous: None,
        drained_pops: Vec::new(),
        announcing: Announcing::default(),
    }
}

/// A next hop by which `last` is reached.
pub fn resolved(last: u8) -> Resolution {
    Resolution::Resolved(NextHop {
        interface: "eth0".to_owned(),
        ifindex: 2,
        source: backend_address(2),
        source_mac: [2, 0, 0, 0, 0, 2],
        destination_mac: [2, 0, 0, 0, 0, last],
        mtu: 1500,
        gateway: None,
    })
}

/// What the fakes remember, and which of their calls are to fail.
#[derive(Debug, Default)]
pub struct World {
    /// Calls in order, as words.
    pub calls: Vec<String>,
    /// What the data plane holds.
    pub applied: Option<Config>,
    /// The same with what else is true of the backends.
    pub in_force: Option<InForce>,
    /// What backends answer that are asked for their flows.
    pub flows: BTreeMap<IpAddr, u64>,
    /// What the other nodes do about drains.
    pub others: Others,
    /// When all of that is asked.
    pub now: Option<Instant>,
    /// What the file says.
    pub file: Option<Config>,
    /// Next hops the data plane was told.
    pub next_hops: BTreeMap<IpAddr, Resolution>,
    /// Backends whose next hop is followed.
    pub targets: Vec<IpAddr>,
    /// Checks that are made.
    pub checks: Vec<Wanted<Key, Subject>>,
    /// Names of calls that fail: `prepare`, `apply`, `attach`, `commit`; each entry fails once.
    pub failing: Vec<&'static str>,
    prepared: Option<Config>,
    /// What was last to be announced.
    pub announced: Announcements,
    /// How many times that was said.
    pub announcements: usize,
    /// Why everything was withdrawn.
    pub stopped: Option<String>,
    /// Whether a restart would find the node drained.
    pub drained: bool,
    /// Why the program is not attached, if so.
    pub detached: Option<String>,
}

impl World {
    fn call(&mut self, name: &'static str) -> Result<(), Failure> {
        self.calls.push(name.to_owned());
        match self.failing.iter().position(|f| *f == name) {
            Some(at) => {
                self.failing.remove(at);
                Err(Failure::new(Code::Dataplane, format!("{name} failed")))
            }
            None => Ok(()),
        }
    }
}

/// Shared by all fakes of one daemon.
#[derive(Clone, Default)]
pub struct Fake(Arc<Mutex<World>>);

impl Fake {
    /// A world whose file says `config`.
    pub fn new(config: &Config) -> Self {
        let fake = Fake::default();
        fake.world().file = Some(config.clone());
        fake
    }

    /// What happened so far.
    pub fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().expect("no test panics while it holds this")
    }

    /// Fakes for all ports.
    pub fn drivers(&self) -> Drivers {
        Drivers {
            dataplane: Box::new(self.clone()),
            config: Box::new(self.clone()),
            resolver: Box::new(self.clone()),
            host: Box::new(self.clone()),
            flows: Box::new(self.clone()),
            announce: Box::new(self.clone()),
            health: Box::new(self.clone()),
        }
    }
}

impl DataplanePort for Fake {
    fn observe(&mut self, _: &Observer) -> Result<(), Failure> {
        self.world().call("observe")
    }

    fn vip_number(&self, _: &VipKey) -> Option<VipNumber> {
        Some(1)
    }

    fn observed(&self) -> Result<Observed, Failure> {
        Ok(Observed::default())
    }

    fn attach(&mut self, _: &[Interface]) -> Result<(), Failure> {
        self.world().call("attach")
    }

    fn attachments(&self) -> Vec<Attachment> {
        let detached = self.world().detached.clone();
        vec![Attachment {
            interface: "eth0".to_owned(),
            ifindex: 2,
            mode: detached.is_none().then_some(Mode::Native),
            reason: detached,
            program_id: 17,
        }]
    }

    fn apply(&mut self, in_force: &InForce) -> Result<(), Failure> {
        let config = &in_force.config;
        let mut world = self.world();
        world.call("apply")?;
        // Ways to what is in no pool are forgotten.
        let used = |b: &IpAddr| config.pools.iter().any(|p| p.backends.iter().any(|m| m.address == *b));
        world.next_hops.retain(|backend, _| used(backend));
        world.applied = Some(config.clone());
        world.in_force = Some(in_force.clone());
        Ok(())
    }

    fn set_next_hop(&mut self, backend: IpAddr, resolution: &Resolution) -> Result<(), Failure> {
        self.world().next_hops.insert(backend, resolution.clone());
        Ok(())
    }

    fn set_locals(&mut self, _: &[IpAddr]) -> Result<(), Failure> {
        self.world().call("set_locals")
    }

    fn member_numbers(&self) -> BTreeMap<Key, MemberNumber> {
        let world = self.world();
        let pools = world.applied.iter().flat_map(|config| &config.pools);
        let keys = pools.flat_map(|p| p.backends.iter().map(|b| (p.name.clone(), b.address)));
        keys.zip(1..).collect()
    }

    fn can_probe(&self) -> bool {
        true
    }

    fn verdicts(&self) -> Result<Vec<(Verdict, Counter)>, Failure> {
        let count = |v| match v {
            Verdict::ForwardedGue => Counter { packets: 10, bytes: 1000 },
            Verdict::NotVip => Counter { packets: 1, bytes: 60 },
            _ => Counter::default(),
        };
        Ok(VERDICTS.iter().map(|v| (*v, count(*v))).collect())
    }

    fn vip_counters(&self) -> Result<Vec<(VipKey, Counter)>, Failure> {
        Ok(vec![(vip_key(), Counter { packets: 10, bytes: 1000 })])
    }

    fn backend_counters(&self) -> Result<Vec<(String, IpAddr, Counter)>, Failure> {
        Ok(vec![
            ("web".to_owned(), backend_address(11), Counter { packets: 6, bytes: 600 }),
            ("web".to_owned(), backend_address(12), Counter { packets: 4, bytes: 400 }),
        ])
    }

    fn occupancy(&self) -> Vec<Occupancy> {
        vec![Occupancy { table: "vips", used: 1, capacity: 4095 }]
    }

    fn owners(&self, _: &str) -> Result<Owners, Failure> {
        Ok(Owners {
            fingerprint: "00c0ffee00c0ffee".to_owned(),
            hops: "0ddba110ddba1100".to_owned(),
            slots: BTreeMap::from([(backend_address(11), 512), (backend_address(12), 512)]),
        })
    }

    fn trace(&mut self, _: &Flow) -> Result<Trace, Failure> {
        Ok(Trace {
            vip: Some(vip_key()),
            pool: Some("web".to_owned()),
            slot: Some(5),
            backend: Some(backend_address(11)),
            verdict: Verdict::ForwardedGue,
            next_hop: Some(Way {
                ifindex: 2,
                source_mac: [2, 0, 0, 0, 0, 2],
                destination_mac: [2, 0, 0, 0, 0, 11],
                mtu: 1500,
            }),
            encapsulation: Some(Encap::Gue4),
            outer: None,
        })
    }

    fn explain(&mut self, frames: &[Vec<u8>], _: bool) -> Result<Vec<Explained>, Failure> {
        let one = |frame: &Vec<u8>| Explained {
            verdict: Verdict::ForwardedGue,
            vip: Some(vip_key()),
            pool: Some("web".to_owned()),
            slot: Some(5),
            backend: Some(backend_address(11)),
            encapsulation: Some(Encap::Gue4),
            next_hop: None,
            output: frame.clone(),
        };
        Ok(frames.iter().map(one).collect())
    }
}

impl ConfigPort for Fake {
    fn prepare(&mut self, change: &Change) -> Result<Arc<Config>, Failure> {
        let mut world = self.world();
        world.call("prepare")?;
        let mut config = world.file.clone().expect("the test gave a file");
        if let Change::Edits(edits) = change {
            for edit in edits {
                apply_edit(&mut config, edit);
            }
        }
        world.prepared = Some(config.clone());
        Ok(Arc::new(config))
    }

    fn commit(&mut self) -> Result<Vec<String>, Failure> {
        let mut world = self.world();
        world.call("commit")?;
        world.file = world.prepared.take();
        Ok(vec!["/etc/anycast-lb/config.toml".to_owned()])
    }

    fn discard(&mut self) {
        self.world().prepared = None;
    }

    fn files(&self) -> Vec<String> {
        vec!["/etc/anycast-lb/config.toml".to_owned()]
    }

    fn notices(&self) -> Vec<String> {
        Vec::new()
    }
}

impl ResolverPort for Fake {
    fn set_targets(&mut self, targets: Vec<IpAddr>) {
        self.world().targets = targets;
    }
}

impl HealthPort for Fake {
    fn set_checks(&mut self, checks: Vec<Wanted<Key, Subject>>) {
        self.world().checks = checks;
    }
}

impl FlowsPort for Fake {
    fn remaining_flows(&mut self, backend: IpAddr) -> Option<Remaining> {
        let world = self.world();
        let flows = *world.flows.get(&backend)?;
        Some(Remaining { flows, asked: world.now?, others: world.others })
    }
}

impl AnnouncePort for Fake {
    fn configure(&mut self, _: &Announcing) {}

    fn announce(&mut self, announcements: &Announcements) {
        let mut world = self.world();
        world.announced = announcements.clone();
        world.announcements += 1;
    }

    fn remember_drain(&mut self, drained: bool) {
        self.world().drained = drained;
    }

    fn sessions(&self) -> Vec<(Neighbour, Report)> {
        Vec::new()
    }

    fn others(&self) -> Vec<(Method, OutletReport)> {
        Vec::new()
    }

    fn stop(&mut self, reason: &str) {
        let mut world = self.world();
        world.calls.push("withdrawn".to_owned());
        world.stopped = Some(reason.to_owned());
    }
}

impl HostPort for Fake {
    fn ready(&mut self) {
        self.world().calls.push("ready".to_owned());
    }

    fn reloading(&mut self, begins: bool) {
        self.world().calls.push(format!("reloading {begins}"));
    }

    fn stopping(&mut self) {
        self.world().calls.push("stopping".to_owned());
    }

    fn in_force(&mut self, _: &Config) {}

    fn findings(&self, _: &Config) -> Vec<Finding> {
        vec![Finding {
            severity: Severity::Info,
            what: "this host is a fake".to_owned(),
            why: "it only remembers".to_owned(),
            fix: None,
        }]
    }
}

/// The few edits that the tests make.
fn apply_edit(config: &mut Config, edit: &Edit) {
    if let Edit::SetPop { pop, drained } = edit {
        config.drained_pops.retain(|p| p != pop);
        config.drained_pops.extend(drained.then(|| pop.clone()));
        return;
    }
    for pool in &mut config.pools {
        match edit {
            Edit::SetWeight { address, weight, .. } => {
                for b in pool.backends.iter_mut().filter(|b| b.address == *address) {
                    b.weight = *weight;
                }
            }
            Edit::SetState { address, state, .. } => {
                for b in pool.backends.iter_mut().filter(|b| b.address == *address) {
                    b.state = *state;
                }
            }
            Edit::AddBackend { pool: name, address, weight, pop, .. } if *name == pool.name => {
                pool.backends.push(Backend {
                    address: *address,
                    weight: weight.unwrap_or(100),
                    state: BackendState::Active,
                    pop: pop.clone(),
                });
            }
            Edit::RemoveBackend { address, .. } => pool.backends.retain(|b| b.address != *address),
            other => panic!("the fake does not know {other:?}"),
        }
    }
}
