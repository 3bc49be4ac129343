//! The backend's whole decision, top to bottom: is it tunnelled to us, by an allowed sender, for a
//! VIP of ours? Does this host hold the flow? Then the outer headers come off and the kernel gets
//! what the client sent; else the packet goes to the next backend of its list.

use crate::Outcome;
use crate::abi::{AddressFlags, HopLimits, Verdict};
use crate::decap::{self, Inner};
use crate::holding;
use crate::hop::{self, Gue as Place, Outer as OuterHeader};
use crate::packet::Packet;
use crate::parse::{self, Link};
use crate::rate;
use crate::sockets::Sockets;
use crate::tables::{Tables, View};
use crate::wire::gue::{self, Gue, Private};
use crate::wire::ipv4::PROTOCOL_IPV4;
use crate::wire::ipv6::PROTOCOL_IPV6;
use crate::wire::transport::UDP;
use crate::wire::{Ipv4, Ipv6, Udp, ethernet};

/// Decides what becomes of `packet` and changes it accordingly.
#[inline(always)]
pub fn run<P: Sockets, T: Tables>(packet: &mut P, tables: &T) -> Outcome {
    let verdict = match decide(packet, tables) {
        Ok(verdict) | Err(verdict) => verdict,
    };
    Outcome { verdict, vip: 0, member: 0, ifindex: 0, fits: 0, clamped: 0 }
}

/// The outer header, as far as the rest needs it; in words, like [`Link`].
struct Outer {
    source: [u64; 2],
    destination: [u64; 2],
    /// Where what follows starts.
    payload: usize,
    /// Where the packet ends, as the header says.
    end: usize,
    protocol: u64,
    tos: u64,
    fragment_bits: u64,
}

impl Outer {
    /// Protocol of what follows.
    #[inline(always)]
    fn protocol(&self) -> u8 {
        self.protocol as u8
    }

    #[inline(always)]
    fn tos(&self) -> u8 {
        self.tos as u8
    }
}

/// A list of hops, as far as it is left.
#[derive(Clone, Copy)]
struct Hops {
    next: usize,
    count: usize,
}

impl Hops {
    const NONE: Hops = Hops { next: 0, count: 0 };
}

#[inline(always)]
fn decide<P: Sockets, T: Tables>(packet: &mut P, tables: &T) -> Result<Verdict, Verdict> {
    let link = parse::link(packet).ok_or(Verdict::NotTunnel)?;
    match link.ether_type() {
        ethernet::IPV4 => {
            let ip: &Ipv4 = packet.view(link.len).ok_or(Verdict::NotTunnel)?;
            // Of a later fragment only the first one knew whose it is: the kernel's business.
            if !ip.is_sane() || (ip.is_later_fragment() && ip.protocol == UDP) {
                return Err(Verdict::NotTunnel);
            }
            let outer = Outer {
                source: Ipv4::key(&ip.source),
                destination: Ipv4::key(&ip.destination),
                payload: link.len + ip.header_len(),
                end: link.len + ip.total_len(),
                protocol: ip.protocol as u64,
                tos: ip.tos as u64,
                fragment_bits: ip.fragment_bits() as u64,
            };
            take::<P, T, Ipv4, 4>(packet, tables, &link, &outer)
        }
        ethernet::IPV6 => {
            let ip: &Ipv6 = packet.view(link.len).ok_or(Verdict::NotTunnel)?;
            if !ip.is_sane() {
                return Err(Verdict::NotTunnel);
            }
            let outer = Outer {
                source: Ipv6::key(&ip.source),
                destination: Ipv6::key(&ip.destination),
                payload: link.len + Ipv6::LEN,
                end: link.len + ip.total_len(),
                protocol: ip.next_header as u64,
                tos: ip.traffic_class() as u64,
                // A fragment header is an extension header, and no sender of ours adds one.
                fragment_bits: 0,
            };
            take::<P, T, Ipv6, 16>(packet, tables, &link, &outer)
        }
        _ => Err(Verdict::BackendNotIp),
    }
}

/// `H` is the outer header, `N` the bytes of its addresses and so of a hop.
#[inline(always)]
fn take<P: Sockets, T: Tables, H: OuterHeader<N>, const N: usize>(
    packet: &mut P,
    tables: &T,
    link: &Link,
    outer: &Outer,
) -> Result<Verdict, Verdict> {
    let udp_len = match outer.protocol() {
        UDP => {
            let udp: &Udp = packet.view(outer.payload).ok_or(Verdict::NotTunnel)?;
            if udp.ports.destination != gue::PORT.to_be_bytes() {
                return Err(Verdict::NotTunnel);
            }
            u16::from_be_bytes(udp.len) as usize
        }
        PROTOCOL_IPV4 | PROTOCOL_IPV6 => 0,
        _ => return Err(Verdict::NotTunnel),
    };
    let view = View::new(tables).ok_or(Verdict::NotForUs)?;
    tables.note(|event| event.sender = outer.source);
    // First of all: nothing that claims to come from ourselves comes from the wire. What this
    // program sends on bears our address, and is told by it.
    if view.is(outer.source, AddressFlags::LOCAL) {
        return Err(Verdict::Stranger);
    }
    if !view.is(outer.destination, AddressFlags::LOCAL) {
        return Err(Verdict::NotForUs);
    }
    if !view.in_prefix(outer.source) {
        return Err(Verdict::Stranger);
    }
    if outer.fragment_bits != 0 {
        return Err(Verdict::OuterFragment);
    }
    if !packet.reaches(outer.end) {
        return Err(Verdict::OuterMalformed);
    }
    if outer.protocol() != UDP {
        let inner = inner(packet, &view, outer.payload, outer, outer.protocol())?;
        decap::strip(packet, link, &inner, outer.tos())?;
        return Ok(Verdict::DecapIpip);
    }
    let (start, protocol, hops) = unwrap_gue::<P, H, N>(packet, outer, udp_len)?;
    let inner = inner(packet, &view, start, outer, protocol)?;
    let mut verdict = Verdict::DecapGue;
    if hops.count != 0 && !holding::accepts(packet, &inner) {
        let place = Place { ip: link.len, udp: outer.payload, private: outer.payload + Udp::LEN + Gue::LEN };
        if let Some(verdict) = send_on::<P, T, H, N>(packet, &view, place, hops, &inner) {
            return Err(verdict);
        }
        verdict = Verdict::DecapLast;
    }
    decap::strip(packet, link, &inner, outer.tos())?;
    Ok(verdict)
}

/// The packet inside, which must be for a VIP of ours.
#[inline(always)]
fn inner<P: Packet, T: Tables>(
    packet: &P,
    view: &View<'_, T>,
    start: usize,
    outer: &Outer,
    protocol: u8,
) -> Result<Inner, Verdict> {
    let inner = Inner::parse(packet, start, outer.end, protocol)?;
    inner.note(packet, view.tables);
    if !view.is(inner.destination, AddressFlags::VIP) {
        return Err(Verdict::InnerNotVip);
    }
    Ok(inner)
}

/// Sends the packet to the next backend that is not this host itself; `None` where the list names
/// no other.
#[inline(always)]
fn send_on<P: Sockets, T: Tables, H: OuterHeader<N>, const N: usize>(
    packet: &mut P,
    view: &View<'_, T>,
    place: Place,
    hops: Hops,
    inner: &Inner,
) -> Option<Verdict> {
    let mut next = hops.next;
    let mut tried = 0;
    while tried < Private::MAX_HOPS {
        if next >= hops.count {
            return None;
        }
        let hop = H::key(packet.view(place.hop::<N>(next))?);
        if !view.is(hop, AddressFlags::LOCAL) {
            return Some(send_to::<P, T, H, N>(packet, view, place, next, hop, inner));
        }
        next += 1;
        tried += 1;
    }
    None
}

#[inline(always)]
fn send_to<P: Sockets, T: Tables, H: OuterHeader<N>, const N: usize>(
    packet: &mut P,
    view: &View<'_, T>,
    place: Place,
    next: usize,
    hop: [u64; 2],
    inner: &Inner,
) -> Verdict {
    if view.is(hop, AddressFlags::VIP) || !view.in_prefix(hop) {
        return Verdict::HopStranger;
    }
    if packet.view::<H>(place.ip).is_none_or(|ip| ip.ttl() <= 1) {
        return Verdict::HopTtl;
    }
    let limits = &view.header.hop_limits;
    if limits.total_interval == HopLimits::NEVER
        || !packet.admit_hop(rate::word_of(inner.source_prefix, &view.header.keys), limits)
    {
        return Verdict::HopLimited;
    }
    match hop::send_on::<P, H, N>(packet, place, next, hop) {
        Some(()) => {
            view.tables.note(|event| event.next = hop);
            Verdict::Hop
        }
        None => Verdict::GueLength,
    }
}

/// Where the packet inside GUE starts, its protocol, and the hops.
#[inline(always)]
fn unwrap_gue<P: Packet, H: OuterHeader<N>, const N: usize>(
    packet: &P,
    outer: &Outer,
    udp_len: usize,
) -> Result<(usize, u8, Hops), Verdict> {
    let base = outer.payload + Udp::LEN;
    if outer.payload + udp_len != outer.end || base + Gue::LEN > outer.end {
        return Err(Verdict::OuterMalformed);
    }
    let gue: &Gue = packet.view(base).ok_or(Verdict::OuterMalformed)?;
    if !gue.is_plain() {
        return Err(Verdict::GueVersion);
    }
    let protocol = gue.protocol;
    if protocol != PROTOCOL_IPV4 && protocol != PROTOCOL_IPV6 {
        return Err(Verdict::GueProtocol);
    }
    let private_len = gue.private_len();
    let start = base + Gue::LEN + private_len;
    if start > outer.end {
        return Err(Verdict::GueLength);
    }
    if private_len == 0 {
        return Ok((start, protocol, Hops::NONE));
    }
    let private: &Private = packet.view(base + Gue::LEN).ok_or(Verdict::GueLength)?;
    if private.kind != H::PRIVATE_KIND {
        return Err(Verdict::GueType);
    }
    let hops = Hops { next: private.next_hop as usize, count: private.hop_count as usize };
    if hops.next > hops.count {
        return Err(Verdict::GueHops);
    }
    if hops.count > Private::MAX_HOPS as usize || Private::LEN + hops.count * N != private_len {
        return Err(Verdict::GueLength);
    }
    Ok((start, protocol, hops))
}
