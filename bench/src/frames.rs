//! The packets.

use std::net::{IpAddr, Ipv4Addr};

use anycast_lb_common::wire::{Gue, Private, gue};
use anyhow::Result;
use etherparse::{IpNumber, PacketBuilder};

use crate::addresses::{BACKEND, BACKEND_VIP, CLIENT, CLIENT_PORT, INGRESS, PORT, backend};

const OUR_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const ROUTER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
const LINK_LEN: usize = 14;
const TTL: u8 = 64;
const WINDOW: u16 = 65_535;
const SEQUENCE: u32 = 1_000;
/// What a packet carries: few bytes, as in floods and acknowledgements.
const PAYLOAD: [u8; 32] = [0x5a; 32];
/// Hops in the packets that backends get, as many as a pool's default.
const HOPS: u8 = 3;

/// What a TCP segment is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Segment {
    /// A new connection.
    Syn,
    /// Data on a connection.
    Data,
}

/// TCP from `source` to the service at `destination`. Checksums are right for this flow; the wrapper
/// does not keep them so when it varies addresses, and nothing on the way looks.
///
/// # Errors
///
/// When the addresses are of different families.
pub fn tcp(source: IpAddr, destination: IpAddr, segment: Segment) -> Result<Vec<u8>> {
    let link = PacketBuilder::ethernet2(ROUTER_MAC, OUR_MAC);
    let ip = match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            link.ipv4(source.octets(), destination.octets(), TTL)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            link.ipv6(source.octets(), destination.octets(), TTL)
        }
        _ => anyhow::bail!("{source} and {destination} are of different families"),
    };
    let tcp = ip.tcp(CLIENT_PORT, PORT, SEQUENCE, WINDOW);
    let (tcp, payload) = match segment {
        Segment::Syn => (tcp.syn(), &PAYLOAD[..0]),
        Segment::Data => (tcp.ack(SEQUENCE), &PAYLOAD[..]),
    };
    let mut frame = Vec::new();
    tcp.write(&mut frame, payload)?;
    Ok(frame)
}

/// What an ingress node sends to the backend that is measured: GUE with a full list, `asked` of which
/// have been asked already.
///
/// # Errors
///
/// When the packet is too long, which it is not.
pub fn tunnelled(client: Ipv4Addr, segment: Segment, asked: u8) -> Result<Vec<u8>> {
    let inner = tcp(client.into(), BACKEND_VIP.into(), segment)?;
    let words = (Private::LEN + usize::from(HOPS) * size_of::<Ipv4Addr>()) / 4;
    let mut payload = vec![words as u8, IpNumber::IPV4.0, 0, 0];
    debug_assert_eq!(payload.len(), Gue::LEN);
    payload.extend(Private::GLB);
    payload.extend([asked, HOPS]);
    for n in 1..=HOPS {
        let IpAddr::V4(hop) = backend(true, 0, n.into()) else { continue };
        payload.extend(hop.octets());
    }
    payload.extend(&inner[LINK_LEN..]);
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(ROUTER_MAC, OUR_MAC)
        .ipv4(INGRESS.octets(), BACKEND.octets(), TTL)
        .udp(CLIENT_PORT, gue::PORT)
        .write(&mut frame, &payload)?;
    Ok(frame)
}

/// Data on the connection that the backend holds.
///
/// # Errors
///
/// As [`tunnelled`].
pub fn established() -> Result<Vec<u8>> {
    tunnelled(CLIENT, Segment::Data, 0)
}
