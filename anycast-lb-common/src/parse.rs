//! From a frame to the place where its transport header lies.

use crate::abi::Verdict;
use crate::packet::Packet;
use crate::wire::ethernet::{VlanTag, is_vlan};
use crate::wire::ipv4::PROTOCOL_IPV4;
use crate::wire::ipv6::{
    self, DESTINATION_OPTIONS, Extension, FragmentHeader, HOP_BY_HOP, PROTOCOL_IPV6, ROUTING,
};
use crate::wire::{Ethernet, Ipv4, Ipv6};

/// VLAN tags we look behind.
const MAX_TAGS: usize = 2;
/// IPv6 extension headers we look behind. RFC 8200 §4.1 names six kinds, most of them once.
const MAX_EXTENSIONS: usize = 6;

/// The link header.
///
/// Like everything that is handed on in this crate it consists of whole words. A structure may end
/// up on the stack, where the compiler moves neighbouring small fields together as it likes and the
/// verifier wants every access aligned.
pub(crate) struct Link {
    /// Bytes of it, VLAN tags included.
    pub(crate) len: usize,
    ether_type: u64,
    group_bit: u64,
}

impl Link {
    /// EtherType of what follows, host order.
    #[inline(always)]
    pub(crate) fn ether_type(&self) -> u16 {
        self.ether_type as u16
    }

    /// Whether the frame goes to a group of stations.
    #[inline(always)]
    pub(crate) fn is_group(&self) -> bool {
        self.group_bit != 0
    }
}

/// Ethernet and up to two VLAN tags; `None` where the frame ends before they do.
#[inline(always)]
pub(crate) fn link<P: Packet>(packet: &P) -> Option<Link> {
    let ethernet: &Ethernet = packet.view(0)?;
    let mut link = Link {
        len: Ethernet::LEN,
        ether_type: u16::from_be_bytes(ethernet.ether_type) as u64,
        group_bit: ethernet.group_bit() as u64,
    };
    let mut tags = 0;
    while tags < MAX_TAGS && is_vlan(link.ether_type()) {
        let tag: &VlanTag = packet.view(link.len)?;
        link.len += VlanTag::LEN;
        link.ether_type = u16::from_be_bytes(tag.ether_type) as u64;
        tags += 1;
    }
    Some(link)
}

/// An IP packet to one of our addresses, or a fragment of one.
pub(crate) struct Datagram {
    /// Where the IP header starts.
    pub(crate) start: usize,
    /// Bytes of the IP packet as its header says; the frame holds at least as many.
    pub(crate) len: usize,
    /// Where the transport header starts; at most `start + len`.
    pub(crate) transport: usize,
    protocol: u64,
    tos: u64,
    announced_as: u64,
    /// 1: an ICMP error about a flow, whose protocol is the one above.
    error: u64,
    /// 0 = whole; else [`Self::FRAGMENT`], perhaps [`Self::LATER`], and the identification.
    fragment: u64,
}

impl Datagram {
    const FRAGMENT: u64 = 1 << 63;
    const LATER: u64 = 1 << 62;

    /// Whether this is a fragment, the first one included.
    #[inline(always)]
    pub(crate) fn is_fragment(&self) -> bool {
        self.fragment != 0
    }

    /// Whether this is a fragment other than the first: there is no transport header.
    #[inline(always)]
    pub(crate) fn is_later_fragment(&self) -> bool {
        self.fragment & Self::LATER != 0
    }

    /// What all fragments of a datagram share beside addresses and protocol, host order.
    #[inline(always)]
    pub(crate) fn identification(&self) -> u32 {
        self.fragment as u32
    }

    /// Whether this is an ICMP error about a flow, see [`Self::about`].
    #[inline(always)]
    pub(crate) fn is_error(&self) -> bool {
        self.error != 0
    }

    /// Says that this is an ICMP error about a flow of `protocol`. From now on [`Self::protocol`] is that one.
    #[inline(always)]
    pub(crate) fn about(&mut self, protocol: u64) {
        self.protocol = protocol;
        self.error = 1;
    }

    #[inline(always)]
    fn mark_fragment(&mut self, is_later: bool, identification: u32) {
        let later = if is_later { Self::LATER } else { 0 };
        self.fragment = Self::FRAGMENT | later | identification as u64;
    }

    /// Protocol of the transport, or of the flow that an ICMP error is about.
    #[inline(always)]
    pub(crate) fn protocol(&self) -> u8 {
        self.protocol as u8
    }

    /// TOS or traffic class.
    #[inline(always)]
    pub(crate) fn tos(&self) -> u8 {
        self.tos as u8
    }

    /// The number by which an outer header announces this packet: 4 or 41.
    #[inline(always)]
    pub(crate) fn announced_as(&self) -> u8 {
        self.announced_as as u8
    }

    /// Where it ends.
    #[inline(always)]
    pub(crate) fn end(&self) -> usize {
        self.start + self.len
    }

    /// Whether the packet holds `needed` bytes of transport.
    #[inline(always)]
    pub(crate) fn holds(&self, needed: usize) -> bool {
        self.transport + needed <= self.end()
    }
}

/// The IPv4 packet whose header is `ip`.
#[inline(always)]
pub(crate) fn ipv4<P: Packet>(packet: &P, link: &Link, ip: &Ipv4) -> Result<Datagram, Verdict> {
    if !ip.is_sane() {
        return Err(Verdict::MalformedIpv4);
    }
    let len = ip.total_len();
    if !packet.reaches(link.len + len) {
        return Err(Verdict::LengthBeyondFrame);
    }
    let mut datagram = Datagram {
        start: link.len,
        len,
        transport: link.len + ip.header_len(),
        protocol: ip.protocol as u64,
        tos: ip.tos as u64,
        announced_as: PROTOCOL_IPV4 as u64,
        error: 0,
        fragment: 0,
    };
    if ip.is_fragment() {
        datagram.mark_fragment(ip.is_later_fragment(), ip.id() as u32);
    }
    Ok(datagram)
}

/// The IPv6 packet whose fixed header is `ip`, its extension headers walked.
#[inline(always)]
pub(crate) fn ipv6<P: Packet>(packet: &P, link: &Link, ip: &Ipv6) -> Result<Datagram, Verdict> {
    let len = ip.total_len();
    if !ip.is_sane() {
        return Err(Verdict::MalformedIpv6);
    }
    if !packet.reaches(link.len + len) {
        return Err(Verdict::LengthBeyondFrame);
    }
    let mut datagram = Datagram {
        start: link.len,
        len,
        transport: link.len + Ipv6::LEN,
        protocol: ip.next_header as u64,
        tos: ip.traffic_class() as u64,
        announced_as: PROTOCOL_IPV6 as u64,
        error: 0,
        fragment: 0,
    };
    let mut walked = 0;
    while is_extension(datagram.protocol()) {
        if walked == MAX_EXTENSIONS {
            return Err(Verdict::ExtensionHeaders);
        }
        walked += 1;
        if datagram.protocol() == ipv6::FRAGMENT {
            let header: &FragmentHeader = packet.view(datagram.transport).ok_or(Verdict::ExtensionHeaders)?;
            datagram.protocol = header.next_header as u64;
            datagram.transport += FragmentHeader::LEN;
            if !header.is_atomic() {
                datagram.mark_fragment(header.is_later(), header.id());
            }
        } else {
            let header: &Extension = packet.view(datagram.transport).ok_or(Verdict::ExtensionHeaders)?;
            datagram.protocol = header.next_header as u64;
            datagram.transport += header.total_len();
        }
        if !datagram.holds(0) {
            return Err(Verdict::ExtensionHeaders);
        }
        // What follows the header of a later fragment is not a header.
        if datagram.is_later_fragment() {
            break;
        }
    }
    Ok(datagram)
}

#[inline(always)]
fn is_extension(next_header: u8) -> bool {
    matches!(next_header, HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS | ipv6::FRAGMENT)
}
