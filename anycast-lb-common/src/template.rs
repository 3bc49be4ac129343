//! The header put in front of a packet, prepared once for each member and copied for every packet.
//!
//! The controller builds it with [`build`]; the packet path copies [`Encap::header_len`] bytes of
//! it and fills in what depends on the packet. Both sides name the fields by the offsets below.
//!
//! # What the packet path fills
//!
//! Everything else is final. Fields in this list are zero in the template, except where noted.
//!
//! | field | [`L2`](Encap::L2) | [`Ipip4`](Encap::Ipip4) | [`Ipip6`](Encap::Ipip6) | [`Gue4`](Encap::Gue4) | [`Gue6`](Encap::Gue6) |
//! | --- | --- | --- | --- | --- | --- |
//! | EtherType (of the packet itself) | x | | | | |
//! | [`IPV4_TOS`] | | x | | x | |
//! | [`IPV4_TOTAL_LENGTH`] | | x | | x | |
//! | [`IPV4_PROTOCOL`]: 4 or 41 | | x | | | |
//! | [`IPV4_CHECKSUM`]: holds a sum, see below | | x | | x | |
//! | traffic class in [`IPV6_VERSION`] (holds 0x60000000) | | | x | | x |
//! | [`IPV6_PAYLOAD_LENGTH`] | | | x | | x |
//! | [`IPV6_NEXT_HEADER`]: 4 or 41 | | | x | | |
//! | UDP source port, [`UDP_SOURCE_PORT`] | | | | x | x |
//! | UDP length, [`UDP_LENGTH`] | | | | x | x |
//! | [`GUE_HLEN`] (holds 1: no hops) | | | | x | x |
//! | [`GUE_PROTOCOL`]: 4 or 41 | | | | x | x |
//! | [`PRIVATE_HOP_COUNT`] | | | | x | x |
//!
//! # The IPv4 checksum
//!
//! The field holds the folded ones' complement sum (RFC 1071) of the header's other nine words as
//! they stand in the template, *not* complemented. The packet path adds the words it fills (first
//! header word's TOS byte, total length, and for IPIP the protocol byte), folds, and stores the
//! complement. A ones' complement sum does not depend on the byte order in which words are read, so
//! either side may read words natively.
//!
//! The UDP checksum is 0 on both families (RFC 6935, RFC 6936 for IPv6).

use core::net::{Ipv4Addr, Ipv6Addr};

use crate::abi::{Encap, MAX_TEMPLATE};

/// UDP destination port of GUE packets (GLB's).
pub const GUE_PORT: u16 = 19523;
/// TTL and hop limit of outer headers.
pub const OUTER_TTL: u8 = 64;
/// Private data type of hops of 4 bytes: GLB's own.
pub const PRIVATE_TYPE_IPV4: u16 = 0;
/// Private data type of hops of 16 bytes.
pub const PRIVATE_TYPE_IPV6: u16 = 1;
/// Length of the GUE private data without hops, in words of 4 bytes.
pub const PRIVATE_WORDS: u8 = 1;

/// EtherType of IPv4.
pub const ETHERTYPE_IPV4: u16 = 0x0800;
/// EtherType of IPv6.
pub const ETHERTYPE_IPV6: u16 = 0x86dd;
/// IP protocol number of UDP.
pub const PROTOCOL_UDP: u8 = 17;

/// Destination MAC address, 6 bytes.
pub const ETHERNET_DESTINATION: usize = 0;
/// Source MAC address, 6 bytes.
pub const ETHERNET_SOURCE: usize = 6;
/// EtherType, 2 bytes.
pub const ETHERTYPE: usize = 12;
/// Length of the link header, where the outer IP header begins.
pub const LINK_LEN: usize = 14;

/// Length of the outer IPv4 header: no options.
pub const IPV4_LEN: usize = 20;
/// Version and header length, 1 byte.
pub const IPV4_VERSION: usize = LINK_LEN;
/// Type of service, 1 byte.
pub const IPV4_TOS: usize = LINK_LEN + 1;
/// Total length, 2 bytes.
pub const IPV4_TOTAL_LENGTH: usize = LINK_LEN + 2;
/// Identification, 2 bytes; zero, which RFC 6864 allows where DF is set.
pub const IPV4_IDENTIFICATION: usize = LINK_LEN + 4;
/// Flags and fragment offset, 2 bytes.
pub const IPV4_FLAGS: usize = LINK_LEN + 6;
/// Time to live, 1 byte.
pub const IPV4_TTL: usize = LINK_LEN + 8;
/// Protocol, 1 byte.
pub const IPV4_PROTOCOL: usize = LINK_LEN + 9;
/// Header checksum, 2 bytes.
pub const IPV4_CHECKSUM: usize = LINK_LEN + 10;
/// Source address, 4 bytes.
pub const IPV4_SOURCE: usize = LINK_LEN + 12;
/// Destination address, 4 bytes.
pub const IPV4_DESTINATION: usize = LINK_LEN + 16;

/// Length of the outer IPv6 header.
pub const IPV6_LEN: usize = 40;
/// Version, traffic class and flow label, 4 bytes.
pub const IPV6_VERSION: usize = LINK_LEN;
/// Payload length, 2 bytes.
pub const IPV6_PAYLOAD_LENGTH: usize = LINK_LEN + 4;
/// Next header, 1 byte.
pub const IPV6_NEXT_HEADER: usize = LINK_LEN + 6;
/// Hop limit, 1 byte.
pub const IPV6_HOP_LIMIT: usize = LINK_LEN + 7;
/// Source address, 16 bytes.
pub const IPV6_SOURCE: usize = LINK_LEN + 8;
/// Destination address, 16 bytes.
pub const IPV6_DESTINATION: usize = LINK_LEN + 24;

/// Where UDP begins behind an outer IPv4 header.
pub const UDP_AFTER_IPV4: usize = LINK_LEN + IPV4_LEN;
/// Where UDP begins behind an outer IPv6 header.
pub const UDP_AFTER_IPV6: usize = LINK_LEN + IPV6_LEN;
/// Source port, 2 bytes, from the start of UDP like the offsets below.
pub const UDP_SOURCE_PORT: usize = 0;
/// Destination port, 2 bytes.
pub const UDP_DESTINATION_PORT: usize = 2;
/// Length of UDP header and payload, 2 bytes.
pub const UDP_LENGTH: usize = 4;
/// Checksum, 2 bytes.
pub const UDP_CHECKSUM: usize = 6;
/// Length of the UDP header.
pub const UDP_LEN: usize = 8;
/// GUE version (2 bits), control bit, and header length in words (5 bits); 1 byte.
pub const GUE_HLEN: usize = UDP_LEN;
/// GUE protocol, 1 byte.
pub const GUE_PROTOCOL: usize = UDP_LEN + 1;
/// GUE flags, 2 bytes.
pub const GUE_FLAGS: usize = UDP_LEN + 2;
/// Length of the GUE header without private data.
pub const GUE_LEN: usize = 4;
/// Type of the private data, 2 bytes.
pub const PRIVATE_TYPE: usize = UDP_LEN + GUE_LEN;
/// Index of the next hop, 1 byte.
pub const PRIVATE_NEXT_HOP: usize = UDP_LEN + GUE_LEN + 2;
/// Number of hops, 1 byte.
pub const PRIVATE_HOP_COUNT: usize = UDP_LEN + GUE_LEN + 3;
/// Length of the private data without hops.
pub const PRIVATE_LEN: usize = 4;

/// Version 4, header length of 5 words.
const IPV4_VERSION_IHL: u8 = 0x45;
/// Don't fragment.
const IPV4_DONT_FRAGMENT: u16 = 0x4000;
/// Version 6, traffic class and flow label zero.
const IPV6_VERSION_WORD: u32 = 6 << 28;

/// The MAC addresses of the way to the next hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Of the interface the packet leaves by.
    pub source: [u8; 6],
    /// Of the neighbour.
    pub destination: [u8; 6],
}

/// Both ends of a tunnel, of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// Outer IPv4.
    V4 {
        /// This node.
        source: Ipv4Addr,
        /// The backend.
        destination: Ipv4Addr,
    },
    /// Outer IPv6.
    V6 {
        /// This node.
        source: Ipv6Addr,
        /// The backend.
        destination: Ipv6Addr,
    },
}

/// What is put between the link header and the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tunnel {
    /// Nothing.
    L2,
    /// An IP header.
    Ipip(Ends),
    /// IP, UDP, GUE and the private word.
    Gue(Ends),
}

impl Tunnel {
    /// The number the packet path knows it by.
    pub const fn encap(&self) -> Encap {
        match self {
            Tunnel::L2 => Encap::L2,
            Tunnel::Ipip(Ends::V4 { .. }) => Encap::Ipip4,
            Tunnel::Ipip(Ends::V6 { .. }) => Encap::Ipip6,
            Tunnel::Gue(Ends::V4 { .. }) => Encap::Gue4,
            Tunnel::Gue(Ends::V6 { .. }) => Encap::Gue6,
        }
    }
}

/// The template for [`Member::template`](crate::abi::Member::template); bytes behind
/// [`Encap::header_len`] are zero.
pub fn build(link: &Link, tunnel: &Tunnel) -> [u8; MAX_TEMPLATE] {
    let mut t = [0; MAX_TEMPLATE];
    put(&mut t, ETHERNET_DESTINATION, link.destination);
    put(&mut t, ETHERNET_SOURCE, link.source);
    match tunnel {
        Tunnel::L2 => {}
        Tunnel::Ipip(ends) => {
            // 4 or 41, by the family of the packet: left to the packet path.
            put_ip(&mut t, ends, 0);
        }
        Tunnel::Gue(ends) => {
            put_ip(&mut t, ends, PROTOCOL_UDP);
            put_gue(&mut t, ends);
        }
    }
    t
}

fn put_ip(t: &mut [u8; MAX_TEMPLATE], ends: &Ends, protocol: u8) {
    match ends {
        Ends::V4 { source, destination } => {
            put(t, ETHERTYPE, ETHERTYPE_IPV4.to_be_bytes());
            t[IPV4_VERSION] = IPV4_VERSION_IHL;
            put(t, IPV4_FLAGS, IPV4_DONT_FRAGMENT.to_be_bytes());
            t[IPV4_TTL] = OUTER_TTL;
            t[IPV4_PROTOCOL] = protocol;
            put(t, IPV4_SOURCE, source.octets());
            put(t, IPV4_DESTINATION, destination.octets());
            let sum = ones_complement_sum(&t[LINK_LEN..LINK_LEN + IPV4_LEN]);
            put(t, IPV4_CHECKSUM, sum.to_be_bytes());
        }
        Ends::V6 { source, destination } => {
            put(t, ETHERTYPE, ETHERTYPE_IPV6.to_be_bytes());
            put(t, IPV6_VERSION, IPV6_VERSION_WORD.to_be_bytes());
            t[IPV6_NEXT_HEADER] = protocol;
            t[IPV6_HOP_LIMIT] = OUTER_TTL;
            put(t, IPV6_SOURCE, source.octets());
            put(t, IPV6_DESTINATION, destination.octets());
        }
    }
}

fn put_gue(t: &mut [u8; MAX_TEMPLATE], ends: &Ends) {
    let (udp, kind) = match ends {
        Ends::V4 { .. } => (UDP_AFTER_IPV4, PRIVATE_TYPE_IPV4),
        Ends::V6 { .. } => (UDP_AFTER_IPV6, PRIVATE_TYPE_IPV6),
    };
    put(t, udp + UDP_DESTINATION_PORT, GUE_PORT.to_be_bytes());
    t[udp + GUE_HLEN] = PRIVATE_WORDS;
    put(t, udp + PRIVATE_TYPE, kind.to_be_bytes());
}

fn put<const N: usize>(t: &mut [u8; MAX_TEMPLATE], at: usize, bytes: [u8; N]) {
    t[at..at + N].copy_from_slice(&bytes);
}

/// RFC 1071, folded to 16 bits, not complemented. `bytes` is of even length.
fn ones_complement_sum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = bytes.chunks_exact(2).map(|w| u32::from(u16::from_be_bytes([w[0], w[1]]))).sum();
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

const _: () = {
    assert!(Encap::L2.header_len() == LINK_LEN);
    assert!(Encap::Ipip4.header_len() == UDP_AFTER_IPV4);
    assert!(Encap::Ipip6.header_len() == UDP_AFTER_IPV6);
    assert!(Encap::Gue4.header_len() == UDP_AFTER_IPV4 + PRIVATE_TYPE + PRIVATE_LEN);
    assert!(Encap::Gue6.header_len() == UDP_AFTER_IPV6 + PRIVATE_TYPE + PRIVATE_LEN);
};

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::{Ethernet2HeaderSlice, Ipv4HeaderSlice, Ipv6HeaderSlice, UdpHeaderSlice, ip_number};
    use proptest::prelude::*;

    const LINK: Link = Link { source: [2, 0, 0, 0, 0, 1], destination: [2, 0, 0, 0, 0, 2] };

    fn v4(source: u32, destination: u32) -> Ends {
        Ends::V4 { source: source.into(), destination: destination.into() }
    }

    fn v6(source: u128, destination: u128) -> Ends {
        Ends::V6 { source: source.into(), destination: destination.into() }
    }

    /// Adds what the packet path fills, as the module's documentation says it.
    fn finish_ipv4(t: &mut [u8], tos: u8, total_length: u16, protocol: u8) {
        let held = u16::from_be_bytes([t[IPV4_CHECKSUM], t[IPV4_CHECKSUM + 1]]);
        let mut sum = u32::from(held) + u32::from(tos) + u32::from(total_length);
        t[IPV4_TOS] = tos;
        t[IPV4_TOTAL_LENGTH..][..2].copy_from_slice(&total_length.to_be_bytes());
        if t[IPV4_PROTOCOL] == 0 {
            t[IPV4_PROTOCOL] = protocol;
            sum += u32::from(protocol);
        }
        while sum >> 16 != 0 {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        t[IPV4_CHECKSUM..][..2].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    }

    #[test]
    fn l2_is_the_two_macs_and_nothing_else() {
        let t = build(&LINK, &Tunnel::L2);
        assert_eq!(t[..6], LINK.destination);
        assert_eq!(t[6..12], LINK.source);
        assert_eq!(t[12..], [0; MAX_TEMPLATE - 12]);
    }

    #[test]
    fn gue_over_ipv4_byte_for_byte() {
        let t = build(&LINK, &Tunnel::Gue(v4(0x0a00_0002, 0x0a00_000b)));
        let expected: [u8; 50] = [
            2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x08, 0x00, // Ethernet
            0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 17, 0xd9, 0x1e, 10, 0, 0, 2, 10, 0, 0, 11, // IPv4
            0, 0, 0x4c, 0x43, 0, 0, 0, 0, // UDP
            1, 0, 0, 0, // GUE
            0, 0, 0, 0, // private word
        ];
        assert_eq!(t[..50], expected);
        assert_eq!(t[50..], [0; 22]);
    }

    #[test]
    fn gue_over_ipv6_reads_back() {
        let t = build(&LINK, &Tunnel::Gue(v6(1 << 120, 2 << 120)));
        let ethernet = Ethernet2HeaderSlice::from_slice(&t).expect("ethernet");
        assert_eq!(ethernet.ether_type().0, ETHERTYPE_IPV6);
        let ip = Ipv6HeaderSlice::from_slice(&t[LINK_LEN..]).expect("ipv6");
        assert_eq!((ip.version(), ip.traffic_class(), ip.flow_label().value()), (6, 0, 0));
        assert_eq!((ip.next_header(), ip.hop_limit(), ip.payload_length()), (ip_number::UDP, 64, 0));
        assert_eq!(ip.source_addr(), Ipv6Addr::from(1 << 120));
        assert_eq!(ip.destination_addr(), Ipv6Addr::from(2 << 120));
        let udp = UdpHeaderSlice::from_slice(&t[UDP_AFTER_IPV6..]).expect("udp");
        assert_eq!(
            (udp.source_port(), udp.destination_port(), udp.length(), udp.checksum()),
            (0, 19523, 0, 0)
        );
        assert_eq!(t[UDP_AFTER_IPV6 + 8..Encap::Gue6.header_len()], [1, 0, 0, 0, 0, 1, 0, 0]);
        assert_eq!(t[Encap::Gue6.header_len()..], [0, 0]);
    }

    #[test]
    fn ipip_leaves_the_protocol_open() {
        let t = build(&LINK, &Tunnel::Ipip(v4(1, 2)));
        assert_eq!((t[IPV4_PROTOCOL], t[UDP_AFTER_IPV4..].iter().max()), (0, Some(&0)));
        let t = build(&LINK, &Tunnel::Ipip(v6(1, 2)));
        assert_eq!((t[IPV6_NEXT_HEADER], t[UDP_AFTER_IPV6..].iter().max()), (0, Some(&0)));
    }

    #[test]
    fn every_tunnel_has_its_number() {
        let (a, b) = (v4(1, 2), v6(1, 2));
        let all = [Tunnel::L2, Tunnel::Ipip(a), Tunnel::Ipip(b), Tunnel::Gue(a), Tunnel::Gue(b)];
        for (i, tunnel) in all.iter().enumerate() {
            assert_eq!(tunnel.encap() as usize, i + 1);
        }
    }

    proptest! {
        #[test]
        fn the_held_sum_gives_a_correct_checksum(
            source: u32, destination: u32, tos: u8, total_length in 20u16..,
            inner in prop_oneof![Just(4u8), Just(41)], gue: bool,
        ) {
            let ends = v4(source, destination);
            let mut t = build(&LINK, &if gue { Tunnel::Gue(ends) } else { Tunnel::Ipip(ends) });
            finish_ipv4(&mut t, tos, total_length, inner);
            let ip = Ipv4HeaderSlice::from_slice(&t[LINK_LEN..]).expect("ipv4");
            prop_assert_eq!(ip.header_checksum(), ip.to_header().calc_header_checksum());
            prop_assert_eq!(ip.protocol().0, if gue { PROTOCOL_UDP } else { inner });
            prop_assert!(ip.dont_fragment() && !ip.more_fragments());
            prop_assert_eq!((ip.ttl(), ip.total_len()), (64, total_length));
            prop_assert_eq!(ip.source_addr(), Ipv4Addr::from(source));
            prop_assert_eq!(ip.destination_addr(), Ipv4Addr::from(destination));
        }
    }
}
