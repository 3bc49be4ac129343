//! What packets see of the tables.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use anycast_lb::dataplane::{Counters, Dataplane, DataplaneError, Flow};
use anycast_lb::model::{BackendState, Encapsulation, FlowHash, Pool, Protocol, Vip, VipKey};
use anycast_lb::neighbour::{NextHop, Resolution};
use anycast_lb_common::abi::{Encap, VERDICTS, Verdict};
use anycast_lb_common::wire::Gue;
use anyhow::{Context, Result, bail, ensure};
use aya::programs::{TestRun, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader};
use etherparse::{Ipv4HeaderSlice, PacketBuilder, ip_number};

use super::*;

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
                Vip {
                    key,
                    pool: "web".into(),
                    second_chance: true,
                    hash: FlowHash::default(),
                    quic: false,
                    mss_clamp: false,
                    identity: Default::default(),
                }
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

        for (verdict, counter) in dataplane.verdicts() {
            assert!(
                counter.packets == 0 || verdict.name().starts_with("not_"),
                "trace counted {} as {}",
                counter.packets,
                verdict.name()
            );
        }
        assert!(dataplane.vip_counters().iter().all(|(_, counter)| counter.packets == 0));
        assert!(dataplane.backend_counters().iter().all(|(_, _, counter)| counter.packets == 0));
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
                    Vip {
                        key,
                        pool: "six".into(),
                        second_chance: false,
                        hash: FlowHash::default(),
                        quic: false,
                        mss_clamp: false,
                        identity: Default::default(),
                    }
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

/// Configurations under which packets to VIP 1 reach the backends 11 to 14, always by other means:
/// first by one pool, then by the same pool with other members carried otherwise, then by a VIP for
/// any port and by another pool. Numbers of VIPs, pools and members are freed and handed out again.
/// A cleared entry names pool 0, which is the decoy.
fn three_configurations(place: &Place) -> [Config; 3] {
    let decoy = pool("decoy", [31]);
    let with = |pools: Vec<Pool>, vips: Vec<Vip>| Config { pools, vips, ..place.config() };
    let ipip = |pool| Pool { encapsulation: Encapsulation::Ipip, ..pool };
    let any_port = |vip: Vip| Vip { key: VipKey { port: None, ..vip.key }, ..vip };
    [
        with(vec![decoy.clone(), pool("web", [11, 12, 13])], vec![vip(9, "decoy"), vip(1, "web")]),
        with(vec![decoy.clone(), ipip(pool("web", [12, 13, 14]))], vec![vip(9, "decoy"), vip(1, "web")]),
        with(
            vec![decoy, Pool { slots: 256, ..pool("other", [11, 14]) }],
            vec![vip(9, "decoy"), any_port(vip(1, "other")), vip(2, "other")],
        ),
    ]
}

#[test]
fn a_packet_sees_the_old_state_or_the_new_one() -> Result<()> {
    const CHANGES: usize = 400;
    isolated(|place| {
        let configs = three_configurations(place);
        let (mut dataplane, _) = Dataplane::open(&configs[0])?;
        for config in &configs {
            resolve_all(&mut dataplane, config)?;
        }
        dataplane.apply(&configs[0])?;
        let traffic = Traffic::load(place)?;
        let done = AtomicBool::new(false);
        let seen = std::thread::scope(|scope| {
            let packets = scope.spawn(|| traffic.send_until(&done));
            let changed = (1..=CHANGES).try_for_each(|n| {
                let config = &configs[n % configs.len()];
                resolve_all(&mut dataplane, config)?;
                dataplane.apply(config)?;
                anyhow::Ok(())
            });
            done.store(true, Ordering::Relaxed);
            let seen = packets.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            changed.and(seen)
        })?;
        // All states were in force while packets passed, and nothing else ever was.
        let verdicts: Vec<Verdict> = seen.iter().map(|(verdict, _)| *verdict).collect();
        assert_eq!(verdicts, [Verdict::ForwardedGue, Verdict::ForwardedIpip], "{seen:?}");
        ensure!(seen.iter().all(|(_, packets)| *packets > 1000), "{seen:?}");
        Ok(())
    })
}

/// A load of the object beside the daemon's, on the same tables.
pub(super) struct Traffic {
    ebpf: Ebpf,
    counters: Counters,
}

impl Traffic {
    pub(super) fn load(place: &Place) -> Result<Self> {
        let object = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bpf/anycast-lb.o");
        let mut loader = EbpfLoader::new();
        Counters::put(&mut loader)?;
        for name in ["TABLES", "SLOTS", "MEMBERS"] {
            loader.map_pin_path(name, place.pins().join("maps").join(name));
        }
        let mut ebpf = loader.load_file(object)?;
        let program: &mut Xdp = ebpf.program_mut("ingress").context("no program")?.try_into()?;
        program.load()?;
        let counters = Counters::open(&ebpf)?;
        Ok(Traffic { ebpf, counters })
    }

    /// What becomes of a frame.
    pub(super) fn send(&self, frame: &[u8]) -> Result<Vec<u8>> {
        let program: &Xdp = self.ebpf.program("ingress").context("no program")?.try_into()?;
        let mut output = [0; 256];
        let options =
            TestRunOptions { data_in: Some(frame), data_out: Some(&mut output), ..Default::default() };
        let length = program.test_run(options)?.data_size_out as usize;
        Ok(output.get(..length).context("longer than expected")?.to_vec())
    }

    /// Sends packets of many flows to VIP 1, checks every frame that comes out, and gives the packets
    /// of each verdict, in the order of their numbers.
    fn send_until(&self, done: &AtomicBool) -> Result<Vec<(Verdict, u64)>> {
        let program: &Xdp = self.ebpf.program("ingress").context("no program")?.try_into()?;
        let mut output = [0; 256];
        for port in (1..u16::MAX).cycle() {
            if done.load(Ordering::Relaxed) {
                break;
            }
            let mut frame = Vec::new();
            PacketBuilder::ethernet2([2, 0, 0, 0, 0, 8], [2, 0, 0, 0, 0, 7])
                .ipv4([192, 0, 2, 7], [203, 0, 113, 1], 64)
                .tcp(port, 443, 1, 1000)
                .syn()
                .write(&mut frame, &[])?;
            let options =
                TestRunOptions { data_in: Some(&frame), data_out: Some(&mut output), ..Default::default() };
            let length = program.test_run(options)?.data_size_out as usize;
            check_frame(&output[..length])?;
        }
        let mut seen = Vec::new();
        for verdict in VERDICTS {
            let packets = self.counters.verdict(*verdict).packets;
            if packets != 0 {
                seen.push((*verdict, packets));
            }
        }
        Ok(seen)
    }
}

/// The outer header is whole and goes to a backend of one of the configurations.
fn check_frame(frame: &[u8]) -> Result<()> {
    let ip = Ipv4HeaderSlice::from_slice(&frame[14..])?;
    let [a, b, c, last] = ip.destination();
    ensure!([a, b, c] == [10, 0, 0] && (11..=14).contains(&last), "to {:?}", ip.destination_addr());
    assert_eq!(frame[..12], [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1], "link addresses");
    assert_eq!(ip.header_checksum(), ip.to_header().calc_header_checksum(), "outer checksum");
    let overhead = if ip.protocol() == ip_number::UDP {
        // The list may name every other backend of the pool.
        let gue: &Gue = bytemuck::from_bytes(&frame[14 + 20 + 8..][..Gue::LEN]);
        ensure!((4..=4 + 2 * 4).contains(&gue.private_len()), "{gue:?}");
        20 + 8 + Gue::LEN + gue.private_len()
    } else {
        20
    };
    assert_eq!(frame.len(), 14 + overhead + 40, "length for protocol {:?}", ip.protocol());
    Ok(())
}
