//! Putting a member's header in front of a packet.

use bytemuck::Pod;

use crate::abi::{Encap, Member, Verdict, address_key};
use crate::checksum::fold;
use crate::hops::List;
use crate::packet::Packet;
use crate::parse::Datagram;
use crate::tables::Tables;
use crate::template::{Gue4, Gue6, HLEN_NO_HOPS, Ipip4, Ipip6, L2, copy};
use crate::wire::ipv4::PROTOCOL_IPV4;
use crate::wire::transport::UDP;
use crate::wire::{Ethernet, Gue, Ipv4, Ipv6, Private, Udp, ethernet, ipv6};

/// Bytes of a hop where the outer header is IPv4.
const HOP_LEN_V4: usize = 4;
/// Bytes of a hop where the outer header is IPv6.
const HOP_LEN_V6: usize = 16;
/// Set in the outer source port, so that it is never a privileged one.
const HIGH_PORT: u16 = 0x8000;

/// Bytes of a hop; 0 where nothing carries a list.
#[inline(always)]
fn hop_len(encap: Encap) -> usize {
    match encap {
        Encap::Gue4 => HOP_LEN_V4,
        Encap::Gue6 => HOP_LEN_V6,
        Encap::L2 | Encap::Ipip4 | Encap::Ipip6 => 0,
    }
}

/// Bytes of an IP packet that fit on the way to `member` beside `hops` hops; at least 1.
#[inline(always)]
pub(crate) fn fits(member: &Member, encap: Encap, hops: usize) -> u64 {
    let header = encap.header_len() - Ethernet::LEN + hops * hop_len(encap);
    if member.mtu as usize > header { (member.mtu as usize - header) as u64 } else { 1 }
}

/// Sends `inner` off to `member`: cuts padding, replaces the link header (tags included) by the
/// member's header. The inner packet does not change.
#[inline(always)]
pub(crate) fn encapsulate<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    member: &Member,
    encap: Encap,
    inner: &Datagram,
    hops: List,
    hash: u64,
) -> Result<Verdict, Verdict> {
    let hop_len = hop_len(encap);
    let mut count = if hop_len == 0 { 0 } else { hops.len() as usize };
    let without_hops = encap.header_len() - Ethernet::LEN + inner.len;
    let mtu = member.mtu as usize;
    if without_hops + count * hop_len > mtu {
        if without_hops > mtu {
            return Err(Verdict::TooBig);
        }
        count = shortened(inner, mtu - without_hops, hop_len).min(count);
    }
    let header_len = encap.header_len() + count * hop_len;
    let outer_len = header_len - Ethernet::LEN;
    let surplus = packet.surplus(inner.start + inner.len);
    if surplus != 0 {
        packet.cut_end(surplus).ok_or(Verdict::NoHeadroom)?;
    }
    packet.move_start(inner.start as i32 - header_len as i32).ok_or(Verdict::NoHeadroom)?;
    let len = (outer_len + inner.len) as u16;
    write_header(packet, member, encap, inner, len, count, hash).ok_or(Verdict::NoHeadroom)?;
    match encap {
        Encap::Gue4 => write_hops::<P, T, HopV4>(packet, tables, size_of::<Gue4>(), hops, count),
        Encap::Gue6 => write_hops::<P, T, HopV6>(packet, tables, size_of::<Gue6>(), hops, count),
        Encap::L2 | Encap::Ipip4 | Encap::Ipip6 => Some(()),
    }
    .ok_or(Verdict::BadTable)?;
    Ok(match encap {
        Encap::L2 => Verdict::ForwardedL2,
        Encap::Ipip4 | Encap::Ipip6 => Verdict::ForwardedIpip,
        Encap::Gue4 | Encap::Gue6 => Verdict::ForwardedGue,
    })
}

/// Hops for which `room` bytes are enough, where not all of them fit: the packet of a flow whose backend is among
/// the first ones matters more than the whole list.
///
/// A list of UDP ends with its beginning ([`List::closed`]). Without that end a new flow would stay where only
/// old ones should, so it is the whole list or the owner alone.
#[inline(always)]
fn shortened(inner: &Datagram, room: usize, hop_len: usize) -> usize {
    if inner.protocol() == UDP {
        0
    } else if hop_len == HOP_LEN_V4 {
        room / HOP_LEN_V4
    } else {
        room / HOP_LEN_V6
    }
}

/// Copies the template over the first bytes of the frame and fills in what depends on the packet;
/// `len` is the outer IP packet's.
#[inline(always)]
fn write_header<P: Packet>(
    packet: &mut P,
    member: &Member,
    encap: Encap,
    inner: &Datagram,
    len: u16,
    hops: usize,
    hash: u64,
) -> Option<()> {
    match encap {
        Encap::L2 => {
            let header: &mut L2 = packet.view_mut(0)?;
            copy(header, member.header());
            let ether_type =
                if inner.announced_as() == PROTOCOL_IPV4 { ethernet::IPV4 } else { ethernet::IPV6 };
            header.link.ether_type = ether_type.to_be_bytes();
        }
        Encap::Ipip4 => {
            let template: &Ipip4 = member.header();
            let header: &mut Ipip4 = packet.view_mut(0)?;
            copy(header, template);
            header.ip.protocol = inner.announced_as();
            finish_v4(&mut header.ip, &template.ip, inner.tos(), len, inner.announced_as());
        }
        Encap::Ipip6 => {
            let header: &mut Ipip6 = packet.view_mut(0)?;
            copy(header, member.header());
            header.ip.next_header = inner.announced_as();
            finish_v6(&mut header.ip, inner.tos(), len, hash);
        }
        Encap::Gue4 => {
            let template: &Gue4 = member.header();
            let header: &mut Gue4 = packet.view_mut(0)?;
            copy(header, template);
            finish_v4(&mut header.ip, &template.ip, inner.tos(), len, 0);
            finish_udp(&mut header.udp, len - Ipv4::LEN as u16, hash);
            finish_gue(&mut header.gue, &mut header.private, inner, hops, HOP_LEN_V4);
        }
        Encap::Gue6 => {
            let header: &mut Gue6 = packet.view_mut(0)?;
            copy(header, member.header());
            finish_v6(&mut header.ip, inner.tos(), len, hash);
            finish_udp(&mut header.udp, len - Ipv6::LEN as u16, hash);
            finish_gue(&mut header.gue, &mut header.private, inner, hops, HOP_LEN_V6);
        }
    }
    Some(())
}

/// `protocol` is what the template's sum does not know yet: 4 or 41 for IPIP, 0 for GUE.
#[inline(always)]
fn finish_v4(ip: &mut Ipv4, template: &Ipv4, tos: u8, len: u16, protocol: u8) {
    let prepared = u16::from_be_bytes(template.checksum);
    ip.tos = tos;
    ip.total_len = len.to_be_bytes();
    ip.checksum = (!fold(prepared as u32 + tos as u32 + len as u32 + protocol as u32)).to_be_bytes();
}

/// The flow label carries the flow's entropy through ECMP and LAGs (RFC 6438).
#[inline(always)]
fn finish_v6(ip: &mut Ipv6, traffic_class: u8, len: u16, hash: u64) {
    ip.version_class_flow = ipv6::version_class_flow(traffic_class, hash as u32);
    ip.payload_len = (len - Ipv6::LEN as u16).to_be_bytes();
}

#[inline(always)]
fn finish_udp(udp: &mut Udp, len: u16, hash: u64) {
    udp.ports.source = (HIGH_PORT | hash as u16).to_be_bytes();
    udp.len = len.to_be_bytes();
}

/// The template's header length covers the private word; hops add to it.
#[inline(always)]
fn finish_gue(gue: &mut Gue, private: &mut Private, inner: &Datagram, hops: usize, hop_len: usize) {
    gue.version_hlen = HLEN_NO_HOPS + (hops * hop_len / 4) as u8;
    gue.protocol = inner.announced_as();
    private.hop_count = hops as u8;
}

type HopV4 = [u8; HOP_LEN_V4];
type HopV6 = [[u8; HOP_LEN_V6 / 2]; 2];

/// An address as a hop list has it: the last bytes of the 16, which for an IPv4-mapped address are the
/// IPv4 address.
trait HopAddress: Pod {
    fn write(&mut self, address: &[u8; 16]);
}

impl HopAddress for HopV4 {
    #[inline(always)]
    fn write(&mut self, address: &[u8; 16]) {
        let [.., a, b, c, d] = *address;
        *self = [a, b, c, d];
    }
}

/// An IPv6 address in pieces that fit registers: a copy as a whole becomes a call of `memmove`, which
/// goes byte by byte and takes some 15 ns a hop.
impl HopAddress for HopV6 {
    #[inline(always)]
    fn write(&mut self, address: &[u8; 16]) {
        let [front, back] = address_key(*address);
        self[0] = front.to_ne_bytes();
        self[1] = back.to_ne_bytes();
    }
}

/// Writes the addresses of the first `count` members of `hops` at `at`.
#[inline(always)]
fn write_hops<P: Packet, T: Tables, A: HopAddress>(
    packet: &mut P,
    tables: &T,
    at: usize,
    hops: List,
    count: usize,
) -> Option<()> {
    let mut i = 0;
    while i < count && i < Private::MAX_HOPS as usize {
        let member = tables.member(hops.get(i as u32))?;
        let hop: &mut A = packet.view_mut(at + i * size_of::<A>())?;
        hop.write(&member.address);
        i += 1;
    }
    Some(())
}

const _: () = assert!(size_of::<Gue4>() - size_of::<Ipip4>() == Udp::LEN + Gue::LEN + Private::LEN);
