//! No frame goes uncounted: whatever is sent, the sum over all verdicts is what the interfaces have received, and
//! each kind of packet is found under its name.
//!
//! Frames are put on the wire right in front of the node, as no router would pass most of them. Others have their own
//! business there (neighbour discovery, health of the links): it is in the interfaces' counters as it is in ours, and
//! in none of the verdicts that are counted exactly.

use std::collections::BTreeMap;
use std::io;
use std::mem::zeroed;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use anycast_lb_common::abi::Program;
use anycast_lb_tests::scenario::Scenario;
use anyhow::{Context, Result, ensure};
use etherparse::PacketBuilder;
use xtask::lab::daemons::until;
use xtask::lab::netns::Namespace;
use xtask::lab::topology::{self, CLIENT_MTU, ECHO_PORT, EDGE, FABRIC, HTTP_PORT, VIP_V4, VIP_V6};
use xtask::lab::{Lab, Node};

use super::super::stand::{DEADLINE, shape, start_all};
use super::{PORT, scrape, serve_metrics};

/// Times that each frame of a named kind is sent.
const COPIES: u64 = 25;
/// Port on which backends take tunnelled packets.
const GUE_PORT: u16 = 19523;
const ETHERNET: usize = 14;
/// Where an IPv4 header begins in a frame, and an IPv6 header.
const IP: usize = ETHERNET;
/// Who asks. The router throws answers away: else somebody would answer those, and be counted too.
const CLIENT: [u8; 4] = [198, 18, 0, 5];
const CLIENT_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xbad, 0, 0, 0, 0, 5);
const NOWHERE: &str = "route add blackhole 198.18.0.0/15\nroute add blackhole 2001:db8:bad::/48\n";

/// Verdicts under which others' frames are counted as well.
const BACKGROUND: [&str; 4] = ["not_ip", "not_vip", "backend_not_ip", "not_tunnel"];

#[test]
fn every_frame_is_counted_under_one_verdict() -> Result<()> {
    let mut lab = Lab::builder().shape(shape(1, 1)).without_balancers().build()?;
    let local: SocketAddr = format!("127.0.0.1:{PORT}").parse()?;
    serve_metrics(lab.ingress(0), local)?;
    serve_metrics(lab.backend(0), local)?;
    start_all(&mut lab)?;
    lab.router().ip(NOWHERE)?;
    let (router, fabric) = (lab.router().clone(), lab.topology().fabric.clone());
    let corpus = |program| -> Result<Vec<Vec<u8>>> {
        let vectors = Scenario::load()?.vectors()?.into_iter().filter(|v| v.program == program);
        let fits =
            |frame: &Vec<u8>| (ETHERNET + 1..=ETHERNET + usize::from(CLIENT_MTU)).contains(&frame.len());
        Ok(vectors.map(|v| v.input).filter(fits).collect())
    };
    let rounds = [
        (true, ingress_kinds()?, corpus(Program::Ingress)?),
        (false, backend_kinds()?, corpus(Program::Backend)?),
    ];
    for (ingress, kinds, corpus) in rounds {
        let (node, interfaces, wire, port): (&Node, &[&str], &Namespace, &str) = if ingress {
            (lab.ingress(0), &[EDGE, FABRIC], &router, "ing0")
        } else {
            (lab.backend(0), &[FABRIC], &fabric, "be0")
        };
        let before = quiet(node, interfaces, local)?;
        for (_, frame) in &kinds {
            let copies: Vec<&[u8]> = (0..COPIES).map(|_| frame.as_slice()).collect();
            inject(wire, port, &copies)?;
        }
        let sent = COPIES * kinds.len() as u64;
        let after = counted(node, interfaces, local, &before, sent)?;
        let mut expected: BTreeMap<&str, u64> = BTreeMap::new();
        for (verdict, _) in &kinds {
            *expected.entry(verdict).or_default() += COPIES;
        }
        for (verdict, packets) in after.since(&before) {
            let expected = expected.remove(verdict.as_str()).unwrap_or_default();
            let background = BACKGROUND.contains(&verdict.as_str());
            let right = if background { packets >= expected } else { packets == expected };
            ensure!(right, "{port}: {packets} frames under {verdict}, {expected} sent");
        }
        ensure!(expected.is_empty(), "{port}: no such verdicts: {expected:?}");

        // And everything that we know how to make, whatever this node thinks of it.
        let frames: Vec<&[u8]> = corpus.iter().map(Vec::as_slice).collect();
        ensure!(frames.len() > 50, "{} frames", frames.len());
        let taken = inject(wire, port, &frames)?;
        let last = counted(node, interfaces, local, &after, taken)?;
        let verdicts = last.since(&after).into_values().filter(|packets| *packets > 0).count();
        println!(
            "{port}: {sent} + {taken} frames sent, {} received, {} counted, {verdicts} verdicts in the last round",
            last.received - before.received,
            last.total() - before.total()
        );
        ensure!(verdicts >= 10, "{port}: {:?}", last.since(&after));
    }
    Ok(())
}

/// What a node has received and how it was counted.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Reading {
    received: u64,
    verdicts: BTreeMap<String, u64>,
}

impl Reading {
    fn of(node: &Node, interfaces: &[&str], metrics: SocketAddr) -> Result<Self> {
        let mut received = 0;
        for interface in interfaces {
            let link = node.namespace().ip_json(&["-s", "link", "show", "dev", interface])?;
            received += link[0]["stats64"]["rx"]["packets"].as_u64().context("no count")?;
        }
        let (_, text) = scrape(node.namespace(), metrics)?;
        let mut verdicts = BTreeMap::new();
        for line in text.lines().filter(|line| line.starts_with("anycast_lb_verdict_packets_total{")) {
            let (_, rest) = line.split_once("verdict=\"").context("no verdict")?;
            let (verdict, rest) = rest.split_once('"').context("no verdict")?;
            let value = rest.rsplit(' ').next().context("no value")?;
            ensure!(verdicts.insert(verdict.to_owned(), value.parse()?).is_none(), "{line}");
        }
        ensure!(verdicts.len() > 15, "{text}");
        Ok(Reading { received, verdicts })
    }

    fn total(&self) -> u64 {
        self.verdicts.values().sum()
    }

    /// By verdict, what came since.
    fn since(&self, before: &Reading) -> BTreeMap<String, u64> {
        self.verdicts
            .iter()
            .map(|(verdict, packets)| (verdict.clone(), packets - before.verdicts[verdict]))
            .collect()
    }
}

/// A moment at which nothing is under way: two readings are the same.
fn quiet(node: &Node, interfaces: &[&str], metrics: SocketAddr) -> Result<Reading> {
    until(DEADLINE, "a quiet moment", || {
        let [first, second] =
            [Reading::of(node, interfaces, metrics)?, Reading::of(node, interfaces, metrics)?];
        Ok((first == second).then_some(second))
    })
}

/// Waits until all that was sent is counted, and no frame more or less than the interfaces have received.
fn counted(
    node: &Node,
    interfaces: &[&str],
    metrics: SocketAddr,
    before: &Reading,
    sent: u64,
) -> Result<Reading> {
    let mut last = None;
    let waited = until(DEADLINE, "every frame to be counted", || {
        let now = quiet(node, interfaces, metrics)?;
        let (received, counted) = (now.received - before.received, now.total() - before.total());
        last = Some((received, counted));
        Ok((counted >= sent && counted == received).then_some(now))
    });
    waited.with_context(|| format!("{sent} sent; received and counted: {last:?}"))
}

/// Puts frames on an interface; how many it took.
fn inject(namespace: &Namespace, interface: &str, frames: &[&[u8]]) -> Result<u64> {
    let sent = namespace.enter(|| -> io::Result<u64> {
        let index = nix::net::if_::if_nametoindex(interface)?;
        // SAFETY: a system call that takes numbers. No protocol: nothing is to be received.
        let raw = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
        if raw < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was just made and nobody else owns it.
        let socket = unsafe { OwnedFd::from_raw_fd(raw) };
        // SAFETY: all zeros is a valid sockaddr_ll.
        let mut to: libc::sockaddr_ll = unsafe { zeroed() };
        to.sll_family = libc::AF_PACKET as u16;
        to.sll_ifindex = i32::try_from(index).map_err(io::Error::other)?;
        let mut sent = 0;
        for frame in frames {
            // SAFETY: frame and address are live and of the lengths that are given.
            let result = unsafe {
                libc::sendto(
                    socket.as_raw_fd(),
                    frame.as_ptr().cast(),
                    frame.len(),
                    0,
                    (&raw const to).cast(),
                    size_of::<libc::sockaddr_ll>() as libc::socklen_t,
                )
            };
            if usize::try_from(result) != Ok(frame.len()) {
                return Err(io::Error::last_os_error());
            }
            sent += 1;
        }
        Ok(sent)
    })?;
    sent.with_context(|| format!("cannot send on {interface}"))
}

type Kinds = Vec<(&'static str, Vec<u8>)>;

fn frame_v4(to: Ipv4Addr) -> etherparse::PacketBuilderStep<etherparse::IpHeaders> {
    PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]).ipv4(CLIENT, to.octets(), 64)
}

/// TCP's first packet to the VIP.
fn opening(port: u16) -> Result<Vec<u8>> {
    let mut frame = Vec::new();
    frame_v4(VIP_V4).tcp(40_000, port, 7, 1000).syn().write(&mut frame, &[])?;
    Ok(frame)
}

/// The same with some bytes changed, from the IP header on.
fn changed(mut frame: Vec<u8>, bytes: &[(usize, u8)]) -> Vec<u8> {
    for (at, byte) in bytes {
        frame[IP + at] = *byte;
    }
    frame
}

fn cut(mut frame: Vec<u8>, length: usize) -> Vec<u8> {
    frame.truncate(length);
    frame
}

fn udp(to: Ipv4Addr, port: u16) -> Result<Vec<u8>> {
    let mut frame = Vec::new();
    frame_v4(to).udp(40_001, port).write(&mut frame, b"hello")?;
    Ok(frame)
}

fn arp() -> Vec<u8> {
    let mut frame = vec![0xff; 12];
    // Asks for an address that nobody has.
    frame.extend([
        8, 6, 0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1, 192, 0, 2, 1, 0, 0, 0, 0, 0, 0, 192, 0, 2, 2,
    ]);
    frame
}

/// What an ingress node must tell apart.
fn ingress_kinds() -> Result<Kinds> {
    let ethernet = || PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
    let client6 = CLIENT_V6.octets();
    let (mut tcp6, mut udp6, mut echo, mut timestamp) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    ethernet()
        .ipv6(client6, VIP_V6.octets(), 64)
        .tcp(40_000, HTTP_PORT, 7, 1000)
        .syn()
        .write(&mut tcp6, &[])?;
    ethernet().ipv6(client6, VIP_V6.octets(), 64).udp(40_001, ECHO_PORT).write(&mut udp6, b"hello")?;
    frame_v4(VIP_V4).icmpv4_echo_request(1, 1).write(&mut echo, b"hello")?;
    frame_v4(VIP_V4).icmpv4_raw(13, 0, [0; 4]).write(&mut timestamp, &[0; 12])?;
    let tcp = opening(HTTP_PORT)?;
    Ok(vec![
        ("forwarded_gue", tcp.clone()),
        ("forwarded_gue", tcp6.clone()),
        ("forwarded_gue", udp(VIP_V4, ECHO_PORT)?),
        ("forwarded_gue", udp6),
        ("echo_reply", echo),
        ("icmp_unsupported", timestamp),
        ("unmatched_service", opening(81)?),
        ("unmatched_prefix", udp(Ipv4Addr::new(203, 0, 113, 77), 53)?),
        ("not_vip", udp(Ipv4Addr::new(192, 0, 2, 9), 53)?),
        ("not_ip", arp()),
        // A later part whose first one never came: offset 185 × 8.
        ("fragment", changed(tcp.clone(), &[(6, 0), (7, 185)])),
        ("malformed_ipv4", changed(tcp.clone(), &[(0, 0x43)])),
        ("malformed_ipv6", changed(tcp6, &[(0, 0x50)])),
        ("length_beyond_frame", cut(tcp.clone(), ETHERNET + 30)),
        ("truncated_transport", cut(changed(tcp, &[(2, 0), (3, 28)]), ETHERNET + 28)),
    ])
}

/// What a backend must tell apart.
fn backend_kinds() -> Result<Kinds> {
    let (own, node) = (topology::backend(0).v4, topology::ingress(0).v4);
    // A datagram to an echo service whose answer leads nowhere, so that nobody else has to do with it.
    let inner = |to| udp(to, ECHO_PORT).map(|frame| frame[IP..].to_vec());
    let tunnelled = |from: IpAddr, to: Ipv4Addr, head: [u8; 8], inner: &[u8]| -> Result<Vec<u8>> {
        let IpAddr::V4(from) = from else { anyhow::bail!("no IPv4") };
        let mut frame = Vec::new();
        let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
        let payload = [&head[..], inner].concat();
        builder.ipv4(from.octets(), to.octets(), 64).udp(0x8001, GUE_PORT).write(&mut frame, &payload)?;
        Ok(frame)
    };
    // One word of private data, IPv4 inside, no hops.
    let head = [1, 4, 0, 0, 0, 0, 0, 0];
    let ours = inner(VIP_V4)?;
    let stranger = IpAddr::from([192, 0, 2, 66]);
    Ok(vec![
        ("decap_gue", tunnelled(node.into(), own, head, &ours)?),
        ("stranger", tunnelled(stranger, own, head, &ours)?),
        ("not_for_us", tunnelled(node.into(), Ipv4Addr::new(10, 0, 0, 99), head, &ours)?),
        ("gue_version", tunnelled(node.into(), own, [0x41, 4, 0, 0, 0, 0, 0, 0], &ours)?),
        ("gue_protocol", tunnelled(node.into(), own, [1, 6, 0, 0, 0, 0, 0, 0], &ours)?),
        ("gue_type", tunnelled(node.into(), own, [1, 4, 0, 0, 0, 9, 0, 0], &ours)?),
        ("gue_hops", tunnelled(node.into(), own, [1, 4, 0, 0, 0, 0, 1, 0], &ours)?),
        ("gue_length", tunnelled(node.into(), own, [1, 4, 0, 0, 0, 0, 0, 3], &ours)?),
        ("inner_not_vip", tunnelled(node.into(), own, head, &inner(Ipv4Addr::new(192, 0, 2, 9))?)?),
        ("inner_malformed", tunnelled(node.into(), own, head, &changed_inner(&ours))?),
        ("outer_fragment", changed(tunnelled(node.into(), own, head, &ours)?, &[(6, 0x20)])),
        ("not_tunnel", udp(own, 9)?),
        ("backend_not_ip", arp()),
    ])
}

/// A header of 12 bytes.
fn changed_inner(packet: &[u8]) -> Vec<u8> {
    let mut packet = packet.to_vec();
    packet[0] = 0x43;
    packet
}
