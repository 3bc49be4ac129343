//! Taking the outer headers off.

use crate::abi::{Verdict, address_key};
use crate::checksum::update;
use crate::link;
use crate::packet::Packet;
use crate::parse::Link;
use crate::rate;
use crate::sight;
use crate::tables::Tables;
use crate::wire::ipv4::{PROTOCOL_IPV4, mapped};
use crate::wire::{Ipv4, Ipv6, ethernet, ipv6};

/// ECN bits of TOS and traffic class (RFC 3168).
const ECN: u8 = 0b11;
/// Not ECN-capable.
const NOT_ECT: u8 = 0b00;
/// ECN-capable, ECT(1).
const ECT_1: u8 = 0b01;
/// ECN-capable, ECT(0).
const ECT_0: u8 = 0b10;
/// Congestion experienced.
const CE: u8 = 0b11;

/// The packet inside the tunnel.
pub(crate) struct Inner {
    /// Where it starts.
    pub(crate) start: usize,
    len: usize,
    /// Where its transport header starts, extension headers not followed.
    pub(crate) transport: usize,
    tos: u64,
    version: u64,
    protocol: u64,
    fragment_bits: u64,
    /// The part of the source address that is limited together: /24 or /56.
    pub(crate) source_prefix: u64,
    /// Destination address as the tables know it.
    pub(crate) destination: [u64; 2],
}

impl Inner {
    /// IPv4 or IPv6.
    #[inline(always)]
    pub(crate) fn is_v4(&self) -> bool {
        self.version == 4
    }

    /// Protocol of the transport, or of the first extension header.
    #[inline(always)]
    pub(crate) fn protocol(&self) -> u8 {
        self.protocol as u8
    }

    /// Any fragment, the first included.
    #[inline(always)]
    pub(crate) fn is_fragment(&self) -> bool {
        self.fragment_bits != 0
    }

    /// Notes its flow.
    #[inline(always)]
    pub(crate) fn note<P: Packet, T: Tables>(&self, packet: &P, tables: &T) {
        if self.is_v4() {
            if let Some(ip) = packet.view(self.start) {
                sight::v4(tables, ip);
            }
        } else if let Some(ip) = packet.view(self.start) {
            sight::v6(tables, ip);
        }
        sight::transport(packet, tables, self.transport, self.protocol());
    }

    #[inline(always)]
    fn tos(&self) -> u8 {
        self.tos as u8
    }

    /// The packet that starts at `start` and, at most, reaches to `end`; `protocol` (4 or 41) is
    /// what the tunnel announced.
    #[inline(always)]
    pub(crate) fn parse<P: Packet>(
        packet: &P,
        start: usize,
        end: usize,
        protocol: u8,
    ) -> Result<Self, Verdict> {
        let inner = if protocol == PROTOCOL_IPV4 {
            let ip: &Ipv4 = packet.view(start).ok_or(Verdict::InnerMalformed)?;
            if !ip.is_sane() {
                return Err(Verdict::InnerMalformed);
            }
            let destination = address_key(mapped(ip.destination));
            Inner {
                start,
                len: ip.total_len(),
                transport: start + ip.header_len(),
                tos: ip.tos as u64,
                version: 4,
                protocol: ip.protocol as u64,
                fragment_bits: ip.fragment_bits() as u64,
                source_prefix: rate::prefix_v4(ip.source),
                destination,
            }
        } else {
            let ip: &Ipv6 = packet.view(start).ok_or(Verdict::InnerMalformed)?;
            if !ip.is_sane() {
                return Err(Verdict::InnerMalformed);
            }
            let destination = address_key(ip.destination);
            Inner {
                start,
                len: ip.total_len(),
                transport: start + Ipv6::LEN,
                tos: ip.traffic_class() as u64,
                version: 6,
                protocol: ip.next_header as u64,
                fragment_bits: 0,
                source_prefix: rate::prefix_v6(ip.source),
                destination,
            }
        };
        if inner.start + inner.len > end {
            return Err(Verdict::InnerLength);
        }
        Ok(inner)
    }
}

/// Leaves of `packet` the link header (with its tags) and `inner`, whose ECN field takes over the
/// congestion mark of the outer header.
#[inline(always)]
pub(crate) fn strip<P: Packet>(
    packet: &mut P,
    link: &Link,
    inner: &Inner,
    outer_tos: u8,
) -> Result<(), Verdict> {
    carry_ecn(packet, inner, outer_tos)?;
    let surplus = packet.surplus(inner.start + inner.len);
    if surplus != 0 {
        packet.cut_end(surplus).ok_or(Verdict::InnerLength)?;
    }
    let ether_type = if inner.is_v4() { ethernet::IPV4 } else { ethernet::IPV6 }.to_be_bytes();
    let by = (inner.start - link.len) as i32;
    link::shift(packet, link, by, ether_type).ok_or(Verdict::InnerLength)
}

/// RFC 6040 §4.2, the decapsulation table.
#[inline(always)]
fn carry_ecn<P: Packet>(packet: &mut P, inner: &Inner, outer_tos: u8) -> Result<(), Verdict> {
    let ecn = match (inner.tos() & ECN, outer_tos & ECN) {
        (NOT_ECT, CE) => return Err(Verdict::InnerCe),
        (ECT_0 | ECT_1, CE) => CE,
        (ECT_0, ECT_1) => ECT_1,
        _ => return Ok(()),
    };
    let tos = inner.tos() & !ECN | ecn;
    mark(packet, inner, tos).ok_or(Verdict::InnerLength)
}

/// Writes TOS or traffic class. Congestion is rare: the header is looked up again.
#[inline(always)]
fn mark<P: Packet>(packet: &mut P, inner: &Inner, tos: u8) -> Option<()> {
    if inner.is_v4() {
        let ip: &mut Ipv4 = packet.view_mut(inner.start)?;
        let old = u16::from_be_bytes([ip.version_ihl, ip.tos]);
        let new = u16::from_be_bytes([ip.version_ihl, tos]);
        ip.tos = tos;
        ip.checksum = update(u16::from_be_bytes(ip.checksum), old, new).to_be_bytes();
    } else {
        let ip: &mut Ipv6 = packet.view_mut(inner.start)?;
        ip.version_class_flow = ipv6::with_traffic_class(ip.version_class_flow, tos);
    }
    Some(())
}
