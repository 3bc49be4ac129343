//! The header put in front of a packet, prepared once for each member and copied for every packet.
//!
//! The controller builds it with [`build`]; the packet path reads it back as one of the types
//! below and fills in what depends on the packet:
//!
//! | field | [`L2`](Encap::L2) | [`Ipip4`](Encap::Ipip4) | [`Ipip6`](Encap::Ipip6) | [`Gue4`](Encap::Gue4) | [`Gue6`](Encap::Gue6) |
//! | --- | --- | --- | --- | --- | --- |
//! | EtherType (of the packet itself) | x | | | | |
//! | TOS, total length, checksum | | x | | x | |
//! | protocol: 4 or 41 | | x | | | |
//! | traffic class, flow label, payload length | | | x | | x |
//! | next header: 4 or 41 | | | x | | |
//! | UDP source port and length | | | | x | x |
//! | GUE header length (the template says 1 word: no hops) and protocol | | | | x | x |
//! | hop count | | | | x | x |
//!
//! Everything else is final; what is listed is zero in the template unless it says otherwise.
//!
//! # The IPv4 checksum
//!
//! The field holds the ones' complement sum (RFC 1071) of the header's other nine words as they
//! stand in the template, *not* complemented: the packet path adds the words it fills, folds, and
//! stores the complement. The UDP checksum is 0 in both families (RFC 6935 and 6936 for IPv6).

use core::net::{Ipv4Addr, Ipv6Addr};

use bytemuck::{Pod, Zeroable};

use crate::abi::{Encap, MAX_TEMPLATE};
use crate::checksum;
use crate::wire::ipv4::DONT_FRAGMENT;
use crate::wire::transport::UDP;
use crate::wire::{Ethernet, Gue, Ipv4, Ipv6, Ports, Private, Udp, ethernet, gue, ipv6};

/// TTL and hop limit of outer headers.
pub const OUTER_TTL: u8 = 64;
/// GUE header length without hops, in 4-byte words: the private word.
pub const HLEN_NO_HOPS: u8 = 1;

/// Version 4, header length of 5 words.
pub(crate) const VERSION_IHL: u8 = 0x45;

macro_rules! layouts {
    ($( $(#[$doc:meta])* $name:ident { $($field:ident: $type:ty),* } )*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
            #[repr(C)]
            #[allow(missing_docs, reason = "the fields are the headers in their order")]
            pub struct $name { $(pub $field: $type),* }

            const _: () = assert!(size_of::<$name>() == Encap::$name.header_len());
        )*
    };
}

layouts! {
    /// [`Encap::L2`].
    L2 { link: Ethernet }
    /// [`Encap::Ipip4`].
    Ipip4 { link: Ethernet, ip: Ipv4 }
    /// [`Encap::Ipip6`].
    Ipip6 { link: Ethernet, ip: Ipv6 }
    /// [`Encap::Gue4`].
    Gue4 { link: Ethernet, ip: Ipv4, udp: Udp, gue: Gue, private: Private }
    /// [`Encap::Gue6`].
    Gue6 { link: Ethernet, ip: Ipv6, udp: Udp, gue: Gue, private: Private }
}

/// Copies a header, eight bytes at a time; the last eight overlap what was copied before them.
///
/// An assignment would become `memcpy`, which the compiler for BPF spells out byte by byte where the alignment
/// is 1: 68 instructions for IP in IP, 140 for GUE over IPv6. In single runs the difference was 3 ns for IPv4 and 7 ns for IPv6.
#[inline(always)]
pub fn copy<T: Pod>(to: &mut T, from: &T) {
    /// A word at any address.
    #[derive(Clone, Copy)]
    #[repr(C, packed)]
    struct Word(u64);
    const { assert!(size_of::<T>() >= size_of::<Word>() && align_of::<T>() == 1) };
    let last = size_of::<T>() - size_of::<Word>();
    let (from, to) = (core::ptr::from_ref(from).cast::<u8>(), core::ptr::from_mut(to).cast::<u8>());
    let mut at = 0;
    while at < last + size_of::<Word>() {
        let place = if at < last { at } else { last };
        // SAFETY: `place` is at most `last`, so that both words lie inside their `T`, of which any bytes are
        // a valid value. Volatile, or the loop is recognised as what it shall not be.
        unsafe { to.add(place).cast::<Word>().write(from.add(place).cast::<Word>().read_volatile()) };
        at += size_of::<Word>();
    }
}

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
    let link = |ether_type: u16| Ethernet {
        destination: link.destination,
        source: link.source,
        ether_type: ether_type.to_be_bytes(),
    };
    match *tunnel {
        Tunnel::L2 => fill(&L2 { link: link(0) }),
        Tunnel::Ipip(Ends::V4 { source, destination }) => {
            fill(&Ipip4 { link: link(ethernet::IPV4), ip: outer_v4(source, destination, 0) })
        }
        Tunnel::Ipip(Ends::V6 { source, destination }) => {
            fill(&Ipip6 { link: link(ethernet::IPV6), ip: outer_v6(source, destination, 0) })
        }
        Tunnel::Gue(Ends::V4 { source, destination }) => fill(&Gue4 {
            link: link(ethernet::IPV4),
            ip: outer_v4(source, destination, UDP),
            udp: UDP_HEADER,
            gue: GUE_HEADER,
            private: private(Private::GLB),
        }),
        Tunnel::Gue(Ends::V6 { source, destination }) => fill(&Gue6 {
            link: link(ethernet::IPV6),
            ip: outer_v6(source, destination, UDP),
            udp: UDP_HEADER,
            gue: GUE_HEADER,
            private: private(Private::WIDE),
        }),
    }
}

const UDP_HEADER: Udp = Udp {
    ports: Ports { source: [0; 2], destination: gue::PORT.to_be_bytes() },
    len: [0; 2],
    checksum: [0; 2],
};
const GUE_HEADER: Gue = Gue { version_hlen: HLEN_NO_HOPS, protocol: 0, flags: [0; 2] };

fn private(kind: [u8; 2]) -> Private {
    Private { kind, next_hop: 0, hop_count: 0 }
}

fn outer_v4(source: Ipv4Addr, destination: Ipv4Addr, protocol: u8) -> Ipv4 {
    let mut ip = Ipv4 {
        version_ihl: VERSION_IHL,
        tos: 0,
        total_len: [0; 2],
        // RFC 6864: any value will do where DF is set.
        id: [0; 2],
        fragment: DONT_FRAGMENT.to_be_bytes(),
        ttl: OUTER_TTL,
        protocol,
        checksum: [0; 2],
        source: source.octets(),
        destination: destination.octets(),
    };
    ip.checksum = checksum::sum(bytemuck::bytes_of(&ip)).to_be_bytes();
    ip
}

fn outer_v6(source: Ipv6Addr, destination: Ipv6Addr, next_header: u8) -> Ipv6 {
    Ipv6 {
        version_class_flow: ipv6::version_class_flow(0, 0),
        payload_len: [0; 2],
        next_header,
        hop_limit: OUTER_TTL,
        source: source.octets(),
        destination: destination.octets(),
    }
}

fn fill<T: Pod>(header: &T) -> [u8; MAX_TEMPLATE] {
    let mut template = [0; MAX_TEMPLATE];
    template[..size_of::<T>()].copy_from_slice(bytemuck::bytes_of(header));
    template
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::{Ethernet2HeaderSlice, Ipv4HeaderSlice, Ipv6HeaderSlice, UdpHeaderSlice, ip_number};
    use proptest::prelude::*;

    const LINK_LEN: usize = 14;
    const IPV4_TOS: usize = 15;
    const IPV4_TOTAL_LENGTH: usize = 16;
    const IPV4_PROTOCOL: usize = 23;
    const IPV4_CHECKSUM: usize = 24;
    const UDP_AFTER_IPV4: usize = 34;
    const UDP_AFTER_IPV6: usize = 54;
    const IPV6_NEXT_HEADER: usize = 20;

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
        assert_eq!(ethernet.ether_type().0, ethernet::IPV6);
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

    #[test]
    fn a_copy_is_the_whole_of_it_and_no_more() {
        fn check<T: Pod>() {
            // With a byte more behind each, which stays.
            let from: std::vec::Vec<u8> = (1..=size_of::<T>() as u8 + 1).collect();
            let mut to = std::vec![0; size_of::<T>() + 1];
            let split = size_of::<T>();
            copy::<T>(bytemuck::from_bytes_mut(&mut to[..split]), bytemuck::from_bytes(&from[..split]));
            assert_eq!((&to[..split], to[split]), (&from[..split], 0));
        }
        check::<L2>();
        check::<Ipip4>();
        check::<Ipip6>();
        check::<Gue4>();
        check::<Gue6>();
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
            prop_assert_eq!(ip.protocol().0, if gue { UDP } else { inner });
            prop_assert!(ip.dont_fragment() && !ip.more_fragments());
            prop_assert_eq!((ip.ttl(), ip.total_len()), (64, total_length));
            prop_assert_eq!(ip.source_addr(), Ipv4Addr::from(source));
            prop_assert_eq!(ip.destination_addr(), Ipv4Addr::from(destination));
        }
    }
}
