//! The data plane's driver against the kernel: pins, adoption, attachment, tables, trace.
//!
//! Every test runs in a thread with a network and a mount namespace of its own, so interfaces and
//! pins are gone with the thread, however it ends.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anycast_lb::dataplane::{Dataplane, Flow, Start, Trace};
use anycast_lb::model::{
    Announcing, Backend, BackendState, Config, Control, Encapsulation, FlowHash, HopLimits, Interface, Pool,
    Protocol, Role, Seed, TableKind, Vip, VipKey, XdpMode,
};
use anycast_lb::neighbour::{NextHop, Resolution};
use anycast_lb_common::abi::VERSION;
use anyhow::{Context, Result, ensure};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

mod content;
mod explain;
mod interfaces;
mod kept;
mod lists;
mod start;

/// A place of its own: a veth pair `nic`/`peer`, and directories for pins and state.
struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    fn config(&self) -> Config {
        Config {
            role: Role::Ingress,
            node: "lb1".into(),
            pop: "fra1".into(),
            instance: "default".into(),
            bpffs: self.bpffs(),
            state_dir: self.directory.path().join("state"),
            seed: Some(Seed([7; 16])),
            unmatched_pass: false,
            sources: Vec::new(),
            interfaces: vec![interface("nic", XdpMode::Auto)],
            control: Control::on_socket("/unused"),
            pools: vec![pool("web", [11, 12, 13])],
            vips: vec![vip(1, "web")],
            prefixes: vec!["203.0.113.0/24".parse().expect("prefix")],
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

    fn bpffs(&self) -> PathBuf {
        self.directory.path().join("bpf")
    }

    fn pins(&self) -> PathBuf {
        self.bpffs().join("anycast-lb/default").join(format!("v{VERSION}"))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Else the directory could not be removed; fails if the test never mounted it.
        let _ = umount2(&self.bpffs(), MntFlags::MNT_DETACH);
    }
}

/// Runs `test` in namespaces of its own.
fn isolated(test: impl FnOnce(&Place) -> Result<()> + Send + 'static) -> Result<()> {
    let thread = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).context("unshare (needs root)")?;
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).context("private mounts")?;
        ip("link add nic type veth peer name peer")?;
        ip("link set nic up")?;
        ip("link set peer up")?;
        let place = Place { directory: tempfile::tempdir()? };
        test(&place)
    });
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn ip(arguments: &str) -> Result<()> {
    let output = Command::new("ip").args(arguments.split_whitespace()).output().context("ip")?;
    ensure!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// What `ip` says about an interface.
fn link(name: &str) -> Result<String> {
    let output = Command::new("ip").args(["-details", "link", "show", name]).output().context("ip")?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn interface(name: &str, mode: XdpMode) -> Interface {
    Interface { name: name.into(), mode }
}

fn backend(address: IpAddr) -> Backend {
    Backend { address, weight: 100, state: BackendState::Active, pop: None }
}

fn pool(name: &str, backends: impl IntoIterator<Item = u8>) -> Pool {
    Pool {
        name: name.into(),
        encapsulation: Encapsulation::Gue,
        table: TableKind::Rendezvous,
        slots: 1024,
        margin_ppm: 30_000,
        hops: 3,
        rescue: Vec::new(),
        fill_time: Duration::ZERO,
        drain_timeout: Duration::ZERO,
        backends: backends.into_iter().map(|n| backend(IpAddr::from([10, 0, 0, n]))).collect(),
        quic: None,
        health: Default::default(),
    }
}

fn vip(n: u8, pool: &str) -> Vip {
    let key = VipKey { address: IpAddr::from([203, 0, 113, n]), port: Some(443), protocol: Protocol::Tcp };
    let (pool, hash) = (pool.into(), FlowHash::default());
    Vip { key, pool, second_chance: true, hash, quic: false, mss_clamp: false, identity: Default::default() }
}

/// A way out of `nic`.
fn way() -> Resolution {
    Resolution::Resolved(NextHop {
        interface: "nic".into(),
        ifindex: 2,
        source: "10.0.0.2".parse().expect("address"),
        source_mac: [2, 0, 0, 0, 0, 1],
        destination_mac: [2, 0, 0, 0, 0, 2],
        mtu: 1500,
        gateway: None,
    })
}

fn resolve_all(dataplane: &mut Dataplane, config: &Config) -> Result<()> {
    for backend in config.pools.iter().flat_map(|p| &p.backends) {
        dataplane.set_next_hop(backend.address, &way())?;
    }
    Ok(())
}

/// A flow to the VIP `n`.
fn flow(n: u8, source_port: u16) -> Flow {
    Flow {
        protocol: Protocol::Tcp,
        source: SocketAddr::new(IpAddr::from([192, 0, 2, 7]), source_port),
        destination: SocketAddr::new(IpAddr::from([203, 0, 113, n]), 443),
    }
}

fn answers(dataplane: &mut Dataplane, n: u8) -> Result<Vec<Trace>> {
    Ok((1000..1200).map(|port| dataplane.trace(&flow(n, port))).collect::<Result<_, _>>()?)
}

fn attached(config: &Config) -> Result<(Dataplane, Start)> {
    let (mut dataplane, start) = Dataplane::open(config)?;
    dataplane.apply(config)?;
    dataplane.attach(&config.interfaces)?;
    Ok((dataplane, start))
}
