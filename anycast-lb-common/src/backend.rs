//! The backend's whole decision, top to bottom: is it tunnelled to us, by an allowed sender, for a
//! VIP of ours? Then the outer headers come off and the kernel gets what the client sent.

use crate::Outcome;
use crate::abi::{AddressFlags, Verdict, address_key};
use crate::decap::{self, Inner};
use crate::packet::Packet;
use crate::parse::{self, Link};
use crate::tables::{Tables, View};
use crate::wire::gue::{self, Gue, Private};
use crate::wire::ipv4::{PROTOCOL_IPV4, mapped};
use crate::wire::ipv6::PROTOCOL_IPV6;
use crate::wire::transport::UDP;
use crate::wire::{Ipv4, Ipv6, Udp, ethernet};

/// Bytes of a hop where the outer header is IPv4, in 4-byte words.
const HOP_WORDS_V4: usize = 1;
/// Bytes of a hop where the outer header is IPv6, in 4-byte words.
const HOP_WORDS_V6: usize = 4;

/// Decides what becomes of `packet` and changes it accordingly.
#[inline(always)]
pub fn run<P: Packet, T: Tables>(packet: &mut P, tables: &T) -> Outcome {
    let verdict = match decide(packet, tables) {
        Ok(verdict) | Err(verdict) => verdict,
    };
    Outcome { verdict, vip: 0, member: 0, ifindex: 0 }
}

/// The outer header, as far as the rest needs it.
struct Outer {
    source: [u64; 2],
    destination: [u64; 2],
    /// Protocol of what follows.
    protocol: u8,
    /// Where what follows starts.
    payload: usize,
    /// Where the packet ends, as the header says.
    end: usize,
    tos: u8,
    is_fragment: bool,
    private_kind: [u8; 2],
    hop_words: usize,
    is_sane: bool,
}

#[inline(always)]
fn decide<P: Packet, T: Tables>(packet: &mut P, tables: &T) -> Result<Verdict, Verdict> {
    let link = parse::link(packet).ok_or(Verdict::NotTunnel)?;
    match link.ether_type {
        ethernet::IPV4 => {
            let ip: &Ipv4 = packet.view(link.len).ok_or(Verdict::NotTunnel)?;
            if ip.is_later_fragment() && ip.protocol == UDP {
                // Whose it is, the first fragment knew: the kernel's business.
                return Err(Verdict::NotTunnel);
            }
            let outer = Outer {
                source: address_key(mapped(ip.source)),
                destination: address_key(mapped(ip.destination)),
                protocol: ip.protocol,
                payload: link.len + ip.header_len(),
                end: link.len + ip.total_len(),
                tos: ip.tos,
                is_fragment: ip.is_fragment(),
                private_kind: Private::GLB,
                hop_words: HOP_WORDS_V4,
                is_sane: ip.is_sane() && ip.header_len() <= ip.total_len(),
            };
            take(packet, tables, &link, &outer)
        }
        ethernet::IPV6 => {
            let ip: &Ipv6 = packet.view(link.len).ok_or(Verdict::NotTunnel)?;
            let outer = Outer {
                source: address_key(ip.source),
                destination: address_key(ip.destination),
                protocol: ip.next_header,
                payload: link.len + Ipv6::LEN,
                end: link.len + ip.total_len(),
                tos: ip.traffic_class(),
                // A fragment header is an extension header, and no sender of ours adds one.
                is_fragment: false,
                private_kind: Private::WIDE,
                hop_words: HOP_WORDS_V6,
                is_sane: ip.is_sane(),
            };
            take(packet, tables, &link, &outer)
        }
        _ => Err(Verdict::BackendNotIp),
    }
}

#[inline(always)]
fn take<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    link: &Link,
    outer: &Outer,
) -> Result<Verdict, Verdict> {
    if !outer.is_sane {
        return Err(Verdict::NotTunnel);
    }
    let udp_len = match outer.protocol {
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
    if !view.is(outer.destination, AddressFlags::LOCAL) {
        return Err(Verdict::NotForUs);
    }
    if !view.in_prefix(outer.source) {
        return Err(Verdict::Stranger);
    }
    if outer.is_fragment {
        return Err(Verdict::OuterFragment);
    }
    if outer.end > packet.len() {
        return Err(Verdict::OuterMalformed);
    }
    let (start, protocol) = match outer.protocol {
        UDP => unwrap_gue(packet, outer, udp_len)?,
        protocol => (outer.payload, protocol),
    };
    let inner = Inner::parse(packet, start, outer.end, protocol)?;
    if !view.is(inner.destination, AddressFlags::VIP) {
        return Err(Verdict::InnerNotVip);
    }
    decap::strip(packet, link, &inner, outer.tos)?;
    Ok(if outer.protocol == UDP { Verdict::DecapGue } else { Verdict::DecapIpip })
}

/// Where the packet inside GUE starts, and its protocol.
#[inline(always)]
fn unwrap_gue<P: Packet>(packet: &P, outer: &Outer, udp_len: usize) -> Result<(usize, u8), Verdict> {
    let base = outer.payload + Udp::LEN;
    if outer.payload + udp_len != outer.end || base + Gue::LEN > outer.end {
        return Err(Verdict::OuterMalformed);
    }
    let gue: &Gue = packet.view(base).ok_or(Verdict::OuterMalformed)?;
    if !gue.is_plain() {
        return Err(Verdict::GueVersion);
    }
    if gue.protocol != PROTOCOL_IPV4 && gue.protocol != PROTOCOL_IPV6 {
        return Err(Verdict::GueProtocol);
    }
    let private_len = gue.private_len();
    let start = base + Gue::LEN + private_len;
    if start > outer.end {
        return Err(Verdict::GueLength);
    }
    if private_len != 0 {
        let private: &Private = packet.view(base + Gue::LEN).ok_or(Verdict::GueLength)?;
        if private.kind != outer.private_kind {
            return Err(Verdict::GueType);
        }
        if private.next_hop > private.hop_count {
            return Err(Verdict::GueHops);
        }
        if Private::LEN + private.hop_count as usize * outer.hop_words * 4 != private_len {
            return Err(Verdict::GueLength);
        }
    }
    Ok((start, gue.protocol))
}
