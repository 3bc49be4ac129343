//! Segments of connections that nobody has: made, sent, and known again inside a tunnel.

use std::net::IpAddr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use etherparse::PacketBuilder;
use xtask::lab::Lab;
use xtask::lab::capture::inject;
use xtask::lab::capture::verify::dissect;
use xtask::lab::netns::Namespace;
use xtask::lab::topology::{EDGE, HTTP_PORT, VIP_V4, VIP_V6};

/// Packets that are sent at once.
const BATCH: usize = 100;

/// A client prefix that has a limit of its own: /24 or /56.
#[derive(Clone, Copy, Debug)]
pub(super) enum Network {
    V4([u8; 3]),
    V6([u8; 7]),
}

impl Network {
    pub(super) const BOTH: [Self; 2] =
        [Self::V4([192, 0, 2]), Self::V6([0x20, 0x01, 0x0d, 0xb8, 0x0b, 0xad, 0x01])];
    pub(super) const OTHERS: [Self; 2] =
        [Self::V4([198, 18, 7]), Self::V6([0x20, 0x01, 0x0d, 0xb8, 0x0b, 0xad, 0x02])];

    fn has(&self, address: IpAddr) -> bool {
        match (self, address) {
            (Self::V4(prefix), IpAddr::V4(address)) => address.octets().starts_with(prefix),
            (Self::V6(prefix), IpAddr::V6(address)) => address.octets().starts_with(prefix),
            _ => false,
        }
    }
}

/// The router keeps what is answered to itself: nobody is there.
pub(super) fn swallow_answers(lab: &Lab) -> Result<()> {
    lab.router().ip("route add blackhole 192.0.2.0/24\nroute add blackhole 198.18.7.0/24\n\
         route add blackhole 2001:db8:bad::/48\n")
}

/// Sends packets, each of a connection of its own, about `rate` a second.
pub(super) fn send(lab: &Lab, network: &Network, packets: u64, rate: u64) -> Result<()> {
    let client = lab.client(0);
    let (own, router) = (mac(client, EDGE)?, mac(lab.router(), "client0")?);
    let frames = (0..packets).map(|n| frame(network, n, own, router)).collect::<Result<Vec<_>>>()?;
    let pause = Duration::from_micros(BATCH as u64 * 1_000_000 / rate);
    let mut due = Instant::now();
    let paced = frames.chunks(BATCH).flat_map(|batch| {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        due += pause;
        batch.iter().map(Vec::as_slice)
    });
    inject(client, EDGE, paced)
}

fn frame(network: &Network, number: u64, own: [u8; 6], router: [u8; 6]) -> Result<Vec<u8>> {
    let [high, low, host, ..] = (number as u32).to_le_bytes();
    let ethernet = PacketBuilder::ethernet2(own, router);
    let ip = match network {
        Network::V4([a, b, c]) => ethernet.ipv4([*a, *b, *c, host], VIP_V4.octets(), 64),
        Network::V6(prefix) => {
            let mut source = [0; 16];
            source[..7].copy_from_slice(prefix);
            source[15] = host;
            ethernet.ipv6(source, VIP_V6.octets(), 64)
        }
    };
    let mut frame = Vec::new();
    let port = u16::from_be_bytes([high, low]);
    ip.tcp(port, HTTP_PORT, 1, 1000).ack(1).write(&mut frame, &[])?;
    Ok(frame)
}

fn mac(namespace: &Namespace, interface: &str) -> Result<[u8; 6]> {
    let link = namespace.ip_json(&["link", "show", "dev", interface])?;
    let text = link[0]["address"].as_str().context("no MAC address")?;
    let bytes: Vec<u8> =
        text.split(':').map(|byte| u8::from_str_radix(byte, 16)).collect::<Result<_, _>>()?;
    bytes.try_into().ok().with_context(|| format!("not a MAC address: {text}"))
}

/// What a frame of the flood is on a backend's wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Passed {
    /// It comes, and there are backends left to try.
    Listed,
    /// The backend sends it to the next.
    SentOn,
}

/// As what a frame counts on the wire of the backend `own`.
pub(super) fn passed(frame: &[u8], own: IpAddr, network: &Network) -> Option<Passed> {
    let dissected = dissect(frame);
    let [outer, inner] = &dissected.packets[..] else { return None };
    if !network.has(inner.source) {
        return None;
    }
    let [_, _, next, count, ..] = outer.private[..] else { return None };
    if outer.source == own {
        return Some(Passed::SentOn);
    }
    (outer.destination == own && next < count).then_some(Passed::Listed)
}
