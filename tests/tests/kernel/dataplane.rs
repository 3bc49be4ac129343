//! The data plane's driver against the kernel: pins, adoption, attachment, tables, trace.
//!
//! Every test runs in a thread with a network and a mount namespace of its own, so interfaces and
//! pins are gone with the thread, however it ends.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anycast_lb::dataplane::{Dataplane, DataplaneError, Flow, Mode, Start, Trace};
use anycast_lb::model::{
    Backend, BackendState, Config, Control, Encapsulation, Interface, Pool, Protocol, Role, Seed, TableKind,
    Vip, VipKey, XdpMode,
};
use anycast_lb::neighbour::{NextHop, Resolution};
use anycast_lb_common::abi::{Encap, VERSION, Verdict};
use anyhow::{Context, Result, bail, ensure};
use aya::maps::{Array, MapData};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

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
            control: Control { socket: "/unused".into(), group: None, write_back: true },
            pools: vec![pool("web", [11, 12, 13])],
            vips: vec![vip(1, "web")],
            prefixes: vec!["203.0.113.0/24".parse().expect("prefix")],
            allowed_senders: Vec::new(),
            metrics: None,
        }
    }

    fn bpffs(&self) -> PathBuf {
        self.directory.path().join("bpf")
    }

    fn pins(&self) -> PathBuf {
        self.bpffs().join("anycast-lb/default").join(format!("v{VERSION}"))
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
        let result = test(&place);
        // Else the directory could not be removed; fails if the test never mounted it.
        let _ = nix::mount::umount2(&place.bpffs(), nix::mount::MntFlags::MNT_DETACH);
        result
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
    }
}

fn vip(n: u8, pool: &str) -> Vip {
    let key = VipKey { address: IpAddr::from([203, 0, 113, n]), port: Some(443), protocol: Protocol::Tcp };
    Vip { key, pool: pool.into(), second_chance: true }
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

#[test]
fn a_fresh_start_pins_everything_and_serves() -> Result<()> {
    isolated(|place| {
        let config = place.config();
        let (mut dataplane, start) = attached(&config)?;
        assert_eq!(start, Start::Fresh);
        for name in ["maps/CONTROL", "maps/MEMBER_COUNTERS", "prog", "link-nic"] {
            ensure!(place.pins().join(name).exists(), "{name} is not pinned");
        }
        let on = &dataplane.attachments()[0];
        assert_eq!((on.interface.as_str(), on.mode, &on.reason), ("nic", Some(Mode::Native), &None));
        ensure!(link("nic")?.contains("prog/xdp"), "{}", link("nic")?);

        assert_eq!(dataplane.trace(&flow(1, 1))?.verdict, Verdict::NoNeighbour);
        resolve_all(&mut dataplane, &config)?;
        let mut backends = BTreeSet::new();
        for answer in answers(&mut dataplane, 1)? {
            assert_eq!(answer.verdict, Verdict::ForwardedGue);
            assert_eq!((answer.vip, answer.pool.as_deref()), (Some(config.vips[0].key), Some("web")));
            assert_eq!(answer.encapsulation, Some(Encap::Gue4));
            let outer = answer.outer.context("no outer header")?;
            assert_eq!((Some(outer.destination), outer.source), (answer.backend, "10.0.0.2".parse()?));
            ensure!(outer.source_port.is_some_and(|port| port >= 0x8000), "{outer:?}");
            ensure!(answer.slot.is_some_and(|slot| slot < 1024), "{answer:?}");
            assert_eq!(answer.next_hop.map(|way| way.destination_mac), Some([2, 0, 0, 0, 0, 2]));
            backends.insert(answer.backend);
        }
        assert_eq!(backends.len(), 3);
        assert_eq!(dataplane.trace(&flow(2, 1))?.verdict, Verdict::UnmatchedPrefix);
        let mut other_port = flow(1, 1);
        other_port.destination.set_port(80);
        assert_eq!(dataplane.trace(&other_port)?.verdict, Verdict::UnmatchedService);
        Ok(())
    })
}

#[test]
fn a_restart_goes_on_where_the_last_one_ended() -> Result<()> {
    isolated(|place| {
        let config = place.config();
        let (mut dataplane, _) = attached(&config)?;
        resolve_all(&mut dataplane, &config)?;
        let before = answers(&mut dataplane, 1)?;
        let first_program = dataplane.attachments()[0].program_id;
        drop(dataplane);
        ensure!(link("nic")?.contains("prog/xdp"), "the link went with the daemon");

        let (mut dataplane, start) = attached(&config)?;
        assert_eq!(start, Start::Adopted);
        let on = &dataplane.attachments()[0];
        assert_eq!(on.mode, Some(Mode::Native));
        assert_ne!(on.program_id, first_program, "the program was not replaced");
        // No way was reported to this daemon: those of the last one are still good.
        assert_eq!(answers(&mut dataplane, 1)?, before);
        Ok(())
    })
}

#[test]
fn a_second_daemon_is_refused_and_another_instance_is_not() -> Result<()> {
    isolated(|place| {
        let config = place.config();
        let (_first, _) = Dataplane::open(&config)?;
        match Dataplane::open(&config) {
            Err(DataplaneError::Locked { pid, .. }) => assert_eq!(pid, std::process::id().to_string()),
            other => bail!("not refused: {other:?}"),
        }
        let other = Config { instance: "edge.2".into(), ..config };
        assert_eq!(Dataplane::open(&other)?.1, Start::Fresh);
        Ok(())
    })
}

#[test]
fn pinned_maps_of_another_size_are_refused() -> Result<()> {
    isolated(|place| {
        let config = place.config();
        drop(Dataplane::open(&config)?);
        let pin = place.pins().join("maps/VIPS");
        std::fs::remove_file(&pin)?;
        let map: Array<MapData, u64> = Array::create(16, 1 << 10)?;
        map.pin(&pin)?;
        match Dataplane::open(&config) {
            Err(DataplaneError::PinMismatch { path, what, found, .. }) => {
                assert_eq!(
                    (path.as_path(), what, found.as_str()),
                    (pin.as_path(), "the number of entries", "16")
                );
            }
            other => bail!("not refused: {other:?}"),
        }
        Dataplane::detach(&config.bpffs, &config.instance)?;
        assert_eq!(Dataplane::open(&config)?.1, Start::Fresh);
        Ok(())
    })
}

#[test]
fn a_foreign_program_is_left_alone() -> Result<()> {
    isolated(|place| {
        let (foreign, _) = attached(&Config { instance: "foreign".into(), ..place.config() })?;
        let theirs = foreign.attachments()[0].clone();
        let config = Config {
            interfaces: vec![interface("peer", XdpMode::Auto), interface("nic", XdpMode::Auto)],
            ..place.config()
        };
        let (mut dataplane, _) = Dataplane::open(&config)?;
        dataplane.apply(&config)?;
        match dataplane.attach(&config.interfaces) {
            Err(DataplaneError::ForeignProgram { interface, id, program }) => {
                assert_eq!((interface.as_str(), id, program.as_str()), ("nic", theirs.program_id, "ingress"));
            }
            other => bail!("not refused: {other:?}"),
        }
        assert_eq!(foreign.attachments()[0], theirs);
        ensure!(!link("peer")?.contains("prog/xdp"), "the other interface was attached all the same");
        Ok(())
    })
}

#[test]
fn a_missing_interface_is_named_with_those_there_are() -> Result<()> {
    isolated(|place| {
        let config = place.config();
        let (mut dataplane, _) = attached(&config)?;
        let error = dataplane
            .attach(&[interface("nic", XdpMode::Auto), interface("eth9", XdpMode::Auto)])
            .expect_err("there is no eth9")
            .to_string();
        ensure!(error.contains("\"eth9\"") && error.contains("peer") && error.contains("lo"), "{error}");
        assert_eq!(dataplane.attachments()[0].mode, Some(Mode::Native), "what was attached stays");
        Ok(())
    })
}

#[test]
fn the_mode_falls_back_only_where_it_may() -> Result<()> {
    isolated(|place| {
        let config = place.config();
        let (mut dataplane, _) = Dataplane::open(&config)?;
        // The loopback interface has no native XDP.
        dataplane.attach(&[interface("lo", XdpMode::Auto), interface("nic", XdpMode::Generic)])?;
        let on = dataplane.attachments();
        assert_eq!((on[0].mode, on[1].mode), (Some(Mode::Generic), Some(Mode::Generic)));
        ensure!(on[0].reason.as_deref().is_some_and(|r| r.contains("driver")), "{on:?}");

        let error =
            dataplane.attach(&[interface("lo", XdpMode::Native)]).expect_err("not native").to_string();
        ensure!(error.contains("native") && error.contains("generic"), "{error}");

        dataplane.attach(&[interface("nic", XdpMode::Native)])?;
        assert_eq!(dataplane.attachments()[0].mode, Some(Mode::Native));
        ensure!(!link("lo")?.contains("prog/xdp"), "lo is no longer configured");
        Ok(())
    })
}

#[test]
fn an_interface_that_was_made_anew_is_attached_anew() -> Result<()> {
    isolated(|place| {
        let config = Config { interfaces: vec![interface("nic.100", XdpMode::Auto)], ..place.config() };
        ip("link set nic down")?;
        ip("link set nic name nic.100")?;
        let (mut dataplane, _) = attached(&config)?;
        let before = dataplane.attachments()[0].clone();
        ip("link del nic.100")?;
        let gone = &dataplane.attachments()[0];
        assert_eq!(gone.mode, None);
        ip("link add nic.100 type veth peer name peer")?;
        dataplane.attach(&config.interfaces)?;
        let after = &dataplane.attachments()[0];
        assert_eq!(after.mode, Some(Mode::Native));
        assert_ne!(after.ifindex, before.ifindex);
        Ok(())
    })
}

#[test]
fn another_namespace_is_not_taken_for_ours() -> Result<()> {
    isolated(|place| {
        let config = place.config();
        drop(attached(&config)?);
        // Keeps the namespace, and so the interface, alive.
        let _first = std::fs::File::open("/proc/thread-self/ns/net")?;
        unshare(CloneFlags::CLONE_NEWNET)?;
        // The same names and, in a new namespace, the same indices.
        ip("link add nic type veth peer name peer")?;
        let (mut dataplane, start) = Dataplane::open(&config)?;
        assert_eq!(start, Start::Adopted);
        match dataplane.attach(&config.interfaces) {
            Err(DataplaneError::OtherNamespace { .. }) => Ok(()),
            other => bail!("not refused: {other:?}"),
        }
    })
}

#[test]
fn another_abi_version_is_taken_over() -> Result<()> {
    isolated(|place| {
        let config = place.config();
        drop(attached(&config)?);
        let older = place.pins().with_file_name("v0");
        std::fs::rename(place.pins(), &older)?;
        let (mut dataplane, start) = Dataplane::open(&config)?;
        assert_eq!(start, Start::Fresh);
        ensure!(older.exists());
        dataplane.apply(&config)?;
        dataplane.attach(&config.interfaces)?;
        ensure!(!older.exists(), "the older version is still pinned");
        let on = &dataplane.attachments()[0];
        assert_eq!((on.mode, on.reason.as_deref()), (Some(Mode::Native), None));
        ensure!(place.pins().join("link-nic").exists());
        Ok(())
    })
}

#[test]
fn detach_removes_all_there_is() -> Result<()> {
    isolated(|place| {
        let config = place.config();
        let (dataplane, _) = attached(&config)?;
        let removed = Dataplane::detach(&config.bpffs, &config.instance)?;
        ensure!(removed.iter().any(|line| line.contains("link on nic")), "{removed:?}");
        assert_eq!(removed.iter().filter(|line| line.contains("/maps/")).count(), 11, "{removed:?}");
        ensure!(!place.bpffs().join("anycast-lb").exists(), "something is left");
        // Even while a daemon holds the link.
        ensure!(!link("nic")?.contains("prog/xdp"), "{}", link("nic")?);
        assert_eq!(dataplane.attachments()[0].mode, None);
        assert_eq!(Dataplane::detach(&config.bpffs, &config.instance)?, Vec::<String>::new());
        assert_eq!(Dataplane::detach(Path::new("/nonexistent"), "default")?, Vec::<String>::new());
        Ok(())
    })
}

#[test]
fn changes_are_seen_and_nothing_old_shines_through() -> Result<()> {
    isolated(|place| {
        let mut config = place.config();
        let (mut dataplane, _) = attached(&config)?;
        resolve_all(&mut dataplane, &config)?;
        let before = answers(&mut dataplane, 1)?;

        // One VIP is replaced by another, of another pool.
        config.pools.push(pool("dns", [21]));
        config.vips = vec![vip(2, "dns")];
        dataplane.apply(&config)?;
        resolve_all(&mut dataplane, &config)?;
        assert_eq!(dataplane.trace(&flow(1, 1))?.verdict, Verdict::UnmatchedPrefix);
        for answer in answers(&mut dataplane, 2)? {
            assert_eq!(answer.backend, Some(IpAddr::from([10, 0, 0, 21])));
        }

        // Back: the pool that stayed sends every flow where it went before.
        config.vips = vec![vip(1, "web")];
        dataplane.apply(&config)?;
        let after = answers(&mut dataplane, 1)?;
        assert_eq!(after, before);

        // Nobody is left for new flows.
        for backend in &mut config.pools[0].backends {
            backend.state = BackendState::Draining;
        }
        dataplane.apply(&config)?;
        assert_eq!(dataplane.trace(&flow(1, 1))?.verdict, Verdict::EmptyTable);

        // A way that is lost, and found again elsewhere.
        config.pools[0].backends = vec![backend(IpAddr::from([10, 0, 0, 30]))];
        dataplane.apply(&config)?;
        let address = config.pools[0].backends[0].address;
        dataplane.set_next_hop(address, &way())?;
        assert_eq!(dataplane.trace(&flow(1, 1))?.verdict, Verdict::ForwardedGue);
        dataplane.set_next_hop(address, &Resolution::Unresolved("no route".into()))?;
        assert_eq!(dataplane.trace(&flow(1, 1))?.verdict, Verdict::NoNeighbour);
        let Resolution::Resolved(mut moved) = way() else { bail!("resolved") };
        moved.destination_mac = [2, 0, 0, 0, 0, 9];
        dataplane.set_next_hop(address, &Resolution::Resolved(moved))?;
        let answer = dataplane.trace(&flow(1, 1))?;
        assert_eq!(answer.next_hop.map(|way| way.destination_mac), Some([2, 0, 0, 0, 0, 9]));
        assert_eq!(answer.verdict, Verdict::ForwardedGue);
        Ok(())
    })
}

#[test]
fn a_refused_configuration_changes_nothing() -> Result<()> {
    isolated(|place| {
        let config = place.config();
        let (mut dataplane, _) = attached(&config)?;
        resolve_all(&mut dataplane, &config)?;
        let before = answers(&mut dataplane, 1)?;
        let mut large = config.clone();
        large.pools = (0..5).map(|n| Pool { slots: 1 << 20, ..pool(&format!("p{n}"), [1]) }).collect();
        large.vips = vec![vip(1, "p0")];
        match dataplane.apply(&large) {
            Err(DataplaneError::Plan(_)) => {}
            other => bail!("not refused: {other:?}"),
        }
        assert_eq!(answers(&mut dataplane, 1)?, before);
        Ok(())
    })
}

#[test]
fn a_thousand_vips_and_backends_load_and_ten_thousand_questions_are_answered() -> Result<()> {
    isolated(|place| {
        let numbered = |prefix: [u8; 2], n: u16| {
            let [high, low] = n.to_be_bytes();
            IpAddr::from([prefix[0], prefix[1], high, low])
        };
        let mut config = place.config();
        let backends = (0..1000).map(|n| backend(numbered([10, 1], n))).collect();
        config.pools = vec![Pool { slots: 16_384, backends, ..pool("web", []) }];
        config.vips = (0..1000)
            .map(|n| {
                let key =
                    VipKey { address: numbered([198, 18], n), port: Some(443), protocol: Protocol::Tcp };
                Vip { key, pool: "web".into(), second_chance: true }
            })
            .collect();
        let (mut dataplane, _) = attached(&config)?;
        resolve_all(&mut dataplane, &config)?;

        let mut answers: HashMap<IpAddr, u32> = HashMap::new();
        for n in 0..10_000_u16 {
            let vip = config.vips[usize::from(n % 1000)].key;
            let question = Flow {
                protocol: Protocol::Tcp,
                source: SocketAddr::new(Ipv4Addr::new(192, 0, 2, 7).into(), n + 1000),
                destination: SocketAddr::new(vip.address, 443),
            };
            let answer = dataplane.trace(&question)?;
            assert_eq!((answer.verdict, answer.vip), (Verdict::ForwardedGue, Some(vip)));
            let backend = answer.backend.context("no backend")?;
            assert_eq!(answer.outer.map(|outer| outer.destination), Some(backend));
            *answers.entry(backend).or_default() += 1;
        }
        // 10 each on average; nobody is left out by more than chance (P < 0.0001 for 10 of 1000).
        ensure!(answers.len() > 990, "only {} backends were named", answers.len());

        for (verdict, counter) in dataplane.verdicts()? {
            assert!(
                counter.packets == 0 || verdict.name().starts_with("not_"),
                "trace counted {} as {}",
                counter.packets,
                verdict.name()
            );
        }
        assert!(dataplane.vip_counters()?.iter().all(|(_, counter)| counter.packets == 0));
        assert!(dataplane.backend_counters()?.iter().all(|(_, _, counter)| counter.packets == 0));
        Ok(())
    })
}

#[test]
fn ipv6_and_every_encapsulation_are_traced() -> Result<()> {
    isolated(|place| {
        let mut config = place.config();
        let six: IpAddr = "2001:db8::1".parse()?;
        let own: IpAddr = "fd00::2".parse()?;
        let over_six = |encapsulation| Pool {
            encapsulation,
            backends: vec![backend("fd00::11".parse().expect("address"))],
            ..pool("six", [])
        };
        let Resolution::Resolved(four_way) = way() else { bail!("resolved") };
        for (encapsulation, encap, verdict) in [
            (Encapsulation::Gue, Encap::Gue6, Verdict::ForwardedGue),
            (Encapsulation::Ipip, Encap::Ipip6, Verdict::ForwardedIpip),
            (Encapsulation::L2, Encap::L2, Verdict::ForwardedL2),
        ] {
            config.pools = vec![over_six(encapsulation)];
            config.vips = [Protocol::Tcp, Protocol::Udp, Protocol::Any]
                .map(|protocol| {
                    let port = (protocol == Protocol::Udp).then_some(53);
                    let key = VipKey { address: six, port, protocol };
                    Vip { key, pool: "six".into(), second_chance: false }
                })
                .to_vec();
            let (mut dataplane, _) = Dataplane::open(&config)?;
            dataplane.apply(&config)?;
            let way = NextHop { source: own, ..four_way.clone() };
            dataplane.set_next_hop("fd00::11".parse()?, &Resolution::Resolved(way))?;
            for vip in &config.vips {
                let question = Flow {
                    protocol: vip.key.protocol,
                    source: "[2001:db8::7]:4000".parse()?,
                    destination: SocketAddr::new(six, 53),
                };
                let answer = dataplane.trace(&question)?;
                assert_eq!((answer.verdict, answer.encapsulation), (verdict, Some(encap)));
                assert_eq!(answer.vip, Some(vip.key));
                assert_eq!(answer.outer.map(|outer| outer.source), (encap != Encap::L2).then_some(own));
            }
        }
        let mixed =
            Flow { protocol: Protocol::Tcp, source: "192.0.2.7:1".parse()?, destination: "[::1]:1".parse()? };
        let (mut dataplane, _) = Dataplane::open(&config)?;
        assert!(matches!(dataplane.trace(&mixed), Err(DataplaneError::Trace(_))));
        Ok(())
    })
}
