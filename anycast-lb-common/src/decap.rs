//! Taking the outer headers off.

use bytemuck::{Pod, Zeroable};

use crate::abi::{Verdict, address_key};
use crate::checksum::update;
use crate::packet::Packet;
use crate::parse::Link;
use crate::wire::ethernet::VlanTag;
use crate::wire::ipv4::{PROTOCOL_IPV4, mapped};
use crate::wire::{Ethernet, Ipv4, Ipv6, ethernet};

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
    start: usize,
    len: usize,
    header: Header,
    /// Destination address as the tables know it.
    pub(crate) destination: [u64; 2],
}

enum Header {
    V4(Ipv4),
    V6(Ipv6),
}

impl Inner {
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
            let ip: Ipv4 = packet.load(start).ok_or(Verdict::InnerMalformed)?;
            if !ip.is_sane() || ip.total_len() < ip.header_len() {
                return Err(Verdict::InnerMalformed);
            }
            let destination = address_key(mapped(ip.destination));
            Inner { start, len: ip.total_len(), header: Header::V4(ip), destination }
        } else {
            let ip: Ipv6 = packet.load(start).ok_or(Verdict::InnerMalformed)?;
            if !ip.is_sane() {
                return Err(Verdict::InnerMalformed);
            }
            let destination = address_key(ip.destination);
            Inner { start, len: ip.total_len(), header: Header::V6(ip), destination }
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
    let surplus = packet.len() - (inner.start + inner.len);
    if surplus != 0 {
        packet.cut_end(surplus).ok_or(Verdict::DecapFailed)?;
    }
    let ether_type = match inner.header {
        Header::V4(_) => ethernet::IPV4,
        Header::V6(_) => ethernet::IPV6,
    }
    .to_be_bytes();
    const ONE_TAG: usize = Ethernet::LEN + VlanTag::LEN;
    const TWO_TAGS: usize = ONE_TAG + VlanTag::LEN;
    match link.len {
        Ethernet::LEN => keep_link::<P, 0>(packet, inner, ether_type),
        ONE_TAG => keep_link::<P, 1>(packet, inner, ether_type),
        TWO_TAGS => keep_link::<P, 2>(packet, inner, ether_type),
        _ => None,
    }
    .ok_or(Verdict::DecapFailed)
}

/// A link header of `N` VLAN tags, whose last EtherType is replaced.
#[derive(Clone, Copy)]
#[repr(C)]
struct Tagged<const N: usize> {
    addresses: [u8; 2 * ethernet::MAC_LEN],
    tags: [[u8; VlanTag::LEN]; N],
    ether_type: [u8; 2],
}

// SAFETY: byte arrays only: no padding, every bit pattern valid.
unsafe impl<const N: usize> Zeroable for Tagged<N> {}
// SAFETY: as above.
unsafe impl<const N: usize> Pod for Tagged<N> {}

#[inline(always)]
fn keep_link<P: Packet, const N: usize>(packet: &mut P, inner: &Inner, ether_type: [u8; 2]) -> Option<()> {
    let mut link: Tagged<N> = packet.load(0)?;
    link.ether_type = ether_type;
    packet.move_start((inner.start - size_of::<Tagged<N>>()) as i32)?;
    packet.store(0, &link)
}

/// RFC 6040 §4.2, the decapsulation table.
#[inline(always)]
fn carry_ecn<P: Packet>(packet: &mut P, inner: &Inner, outer_tos: u8) -> Result<(), Verdict> {
    let inner_tos = match &inner.header {
        Header::V4(ip) => ip.tos,
        Header::V6(ip) => ip.traffic_class(),
    };
    let ecn = match (inner_tos & ECN, outer_tos & ECN) {
        (NOT_ECT, CE) => return Err(Verdict::InnerCe),
        (ECT_0 | ECT_1, CE) => CE,
        (ECT_0, ECT_1) => ECT_1,
        _ => return Ok(()),
    };
    let tos = inner_tos & !ECN | ecn;
    match inner.header {
        Header::V4(mut ip) => {
            let old = u16::from_be_bytes([ip.version_ihl, ip.tos]);
            ip.tos = tos;
            let new = u16::from_be_bytes([ip.version_ihl, ip.tos]);
            ip.checksum = update(u16::from_be_bytes(ip.checksum), old, new).to_be_bytes();
            packet.store(inner.start, &ip)
        }
        Header::V6(mut ip) => {
            ip.version_class_flow[1] = tos << 4 | ip.version_class_flow[1] & 0xf;
            packet.store(inner.start, &ip)
        }
    }
    .ok_or(Verdict::DecapFailed)
}
