//! What the ingress node answers itself, and what it answers with nothing at all.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use xtask::lab::capture::verify::{Packet, dissect};
use xtask::lab::capture::{Capture, Direction, Frame, expect_clean};
use xtask::lab::daemons::until;
use xtask::lab::topology::{EDGE, VIP_V4, VIP_V6};

use super::stage::Stage;
use super::watch::{counters, growth, packets};

/// How long counters may take to show what was sent.
const DEADLINE: Duration = Duration::from_secs(10);
/// How long a client waits for an answer that must not come. Linux sends its SYN again after 1 s.
const PATIENCE: Duration = Duration::from_millis(300);
/// Echo requests to each VIP.
const REQUESTS: usize = 3;
/// A port of a VIP's address that no service has.
const CLOSED_PORT: u16 = 81;
/// Addresses of the announced prefixes that are no VIPs.
const NO_VIPS: [&str; 2] = ["203.0.113.99", "2001:db8:ff::99"];
/// The ingress node sends 64, the router takes one.
const REPLY_TTL: u8 = 63;
const ICMP: [u8; 2] = [1, 58];

/// `ping` to a VIP of each family: answered, whole, and by no backend.
pub(super) fn echo_is_answered_by_the_ingress_node(stage: &mut Stage) -> Result<()> {
    let before = counters(stage.lab.ingress(0))?;
    let client = Capture::start(stage.lab.client(0), EDGE)?;
    let backends = [stage.lab.capture_underlay("be0")?, stage.lab.capture_underlay("be1")?];
    for vip in [IpAddr::from(VIP_V4), VIP_V6.into()] {
        let (count, vip) = (REQUESTS.to_string(), vip.to_string());
        // An odd size, so that the checksum's last byte stands alone.
        stage.lab.client(0).run("ping", &["-n", "-c", &count, "-i", "0.05", "-W", "2", "-s", "101", &vip])?;
    }
    let frames = client.finish()?;
    expect_clean(&frames)?;
    let requests = from_direction(&frames, Direction::Out, |packet| is_echo(packet, packet.destination));
    let replies = from_direction(&frames, Direction::In, |packet| is_echo(packet, packet.source));
    ensure!(requests.len() == 2 * REQUESTS && replies.len() == requests.len(), "{requests:?}, {replies:?}");
    ensure!(replies.iter().all(|reply| reply.ttl == REPLY_TTL), "{replies:?}");
    for capture in backends {
        let frames = capture.finish()?;
        let asked = from_direction(&frames, Direction::Out, |packet| is_echo(packet, packet.destination));
        ensure!(asked.is_empty(), "a backend was asked: {asked:?}");
    }
    let grown = growth(&before, &counters(stage.lab.ingress(0))?);
    ensure!(grown.len() == 1 && packets(&grown, "echo_reply") == replies.len() as u64, "{grown:#?}");
    Ok(())
}

/// Packets to ports and addresses without a service: no answer of any kind, and each is counted.
pub(super) fn what_nobody_serves_vanishes_and_is_counted(stage: &mut Stage) -> Result<()> {
    let before = counters(stage.lab.ingress(0))?;
    let client = Capture::start(stage.lab.client(0), EDGE)?;
    let edge = stage.capture_edge()?;
    for vip in [IpAddr::from(VIP_V4), VIP_V6.into()] {
        expect_silence(stage, (vip, CLOSED_PORT).into())?;
    }
    for address in NO_VIPS {
        expect_silence(stage, (address.parse::<IpAddr>()?, CLOSED_PORT).into())?;
        let mut ping = stage.lab.client(0).command("ping")?;
        ping.args(["-n", "-c", "1", "-W", "0.3", address]).stdout(Stdio::null()).stderr(Stdio::null());
        // 1 says that no reply came, 2 that something else was wrong.
        ensure!(ping.status()?.code() == Some(1), "{address} was answered");
    }
    // A SYN and a datagram for each of four addresses, an echo request for two of them.
    until(DEADLINE, "everything to be counted", || {
        let grown = growth(&before, &counters(stage.lab.ingress(0))?);
        Ok((packets(&grown, "unmatched_service") >= 4 && packets(&grown, "unmatched_prefix") >= 6)
            .then_some(()))
    })?;
    let edge = edge.finish()?;
    let to = |wanted: &dyn Fn(IpAddr) -> bool| {
        from_direction(&edge, Direction::Out, |packet| wanted(packet.destination)).len() as u64
    };
    let (services, prefixes) = (to(&is_vip), to(&is_no_vip));
    ensure!(services >= 4 && prefixes >= 6, "{services} and {prefixes} packets reached the ingress node");
    let grown = growth(&before, &counters(stage.lab.ingress(0))?);
    let counted = (packets(&grown, "unmatched_service"), packets(&grown, "unmatched_prefix"));
    ensure!(grown.len() == 2 && counted == (services, prefixes), "sent {services}, {prefixes}: {grown:#?}");
    let frames = client.finish()?;
    let answers = from_direction(&frames, Direction::In, |packet| {
        let icmp = ICMP.contains(&packet.protocol) && !is_neighbour_discovery(packet);
        is_vip(packet.source) || is_no_vip(packet.source) || icmp
    });
    ensure!(answers.is_empty(), "answered: {answers:?}");
    Ok(())
}

/// Neither a connection nor a refusal; a datagram is sent as well.
fn expect_silence(stage: &Stage, target: SocketAddr) -> Result<()> {
    let any: IpAddr = if target.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
    let connected = stage.lab.client(0).enter(|| {
        UdpSocket::bind((any, 0)).and_then(|socket| socket.send_to(b"anybody?", target))?;
        Ok::<_, anyhow::Error>(TcpStream::connect_timeout(&target, PATIENCE))
    })??;
    let error = connected.err().with_context(|| format!("{target} accepted a connection"))?;
    ensure!(error.kind() == ErrorKind::TimedOut, "{target}: {error}");
    Ok(())
}

/// The innermost packets of frames that went one way and are wanted.
fn from_direction(frames: &[Frame], direction: Direction, wanted: impl Fn(&Packet) -> bool) -> Vec<Packet> {
    let one_way = frames.iter().filter(|frame| frame.direction == direction);
    one_way.filter_map(|frame| dissect(&frame.bytes).packets.pop()).filter(|packet| wanted(packet)).collect()
}

fn is_vip(address: IpAddr) -> bool {
    address == VIP_V4 || address == VIP_V6
}

fn is_no_vip(address: IpAddr) -> bool {
    NO_VIPS.iter().any(|no_vip| no_vip.parse() == Ok(address))
}

fn is_echo(packet: &Packet, vip: IpAddr) -> bool {
    ICMP.contains(&packet.protocol) && is_vip(vip)
}

/// Neighbour solicitations and advertisements between client and router.
fn is_neighbour_discovery(packet: &Packet) -> bool {
    const IPV6_HEADER: usize = 40;
    const TYPES: std::ops::RangeInclusive<u8> = 133..=137;
    packet.source.is_ipv6() && packet.bytes.get(IPV6_HEADER).is_some_and(|kind| TYPES.contains(kind))
}
