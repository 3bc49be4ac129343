//! What a question looks like on the wire. Whatever is unusual is no question: who asks for a name needs
//! neither fragments nor IPv6 extension headers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anycast_lb_common::checksum;
use anycast_lb_common::wire::ethernet::{IPV4, IPV6, VlanTag, is_vlan};
use anycast_lb_common::wire::transport::UDP;
use anycast_lb_common::wire::{Ethernet, Ipv4, Ipv6, Udp};
use bytemuck::Pod;

/// VLAN tags that are looked behind, as many as the program on the NIC does.
const MAX_TAGS: usize = 2;

/// A datagram in a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Datagram<'f> {
    /// Who sent it.
    pub source: SocketAddr,
    /// Whom it is for.
    pub destination: SocketAddr,
    /// What it carries.
    pub payload: &'f [u8],
}

/// The UDP datagram in a frame, all of it and undamaged.
pub(crate) fn read(frame: &[u8]) -> Option<Datagram<'_>> {
    let ethernet: Ethernet = view(frame, 0)?;
    let mut ether_type = u16::from_be_bytes(ethernet.ether_type);
    let mut at = Ethernet::LEN;
    for _ in 0..MAX_TAGS {
        if !is_vlan(ether_type) {
            break;
        }
        ether_type = u16::from_be_bytes(view::<VlanTag>(frame, at)?.ether_type);
        at += VlanTag::LEN;
    }
    let packet = frame.get(at..)?;
    match ether_type {
        IPV4 => read_v4(packet),
        IPV6 => read_v6(packet),
        _ => None,
    }
}

fn read_v4(packet: &[u8]) -> Option<Datagram<'_>> {
    let header: Ipv4 = view(packet, 0)?;
    if !header.is_sane() || header.is_fragment() || header.protocol != UDP {
        return None;
    }
    let packet = packet.get(..header.total_len())?;
    let (head, rest) = packet.split_at_checked(header.header_len())?;
    if checksum::sum(head) != 0xffff {
        return None;
    }
    let addresses = checksum::sum(&[header.source, header.destination].concat());
    let (source, destination) = (Ipv4Addr::from(header.source), Ipv4Addr::from(header.destination));
    datagram(rest, source.into(), destination.into(), addresses, false)
}

fn read_v6(packet: &[u8]) -> Option<Datagram<'_>> {
    let header: Ipv6 = view(packet, 0)?;
    if !header.is_sane() || header.next_header != UDP {
        return None;
    }
    let rest = packet.get(Ipv6::LEN..header.total_len())?;
    let addresses = checksum::sum(&[header.source, header.destination].concat());
    let (source, destination) = (Ipv6Addr::from(header.source), Ipv6Addr::from(header.destination));
    datagram(rest, source.into(), destination.into(), addresses, true)
}

/// `addresses`: their sum, for the pseudo header. A datagram without a checksum is good in IPv4 alone
/// (RFC 768, RFC 8200 §8.1).
fn datagram(
    bytes: &[u8],
    source: IpAddr,
    destination: IpAddr,
    addresses: u16,
    must_sum: bool,
) -> Option<Datagram<'_>> {
    let header: Udp = view(bytes, 0)?;
    let length = u16::from_be_bytes(header.len);
    if usize::from(length) != bytes.len() {
        return None;
    }
    let unsummed = header.checksum == [0, 0];
    if unsummed && must_sum || !unsummed && sum_of(bytes, addresses, length) != 0xffff {
        return None;
    }
    let port = u16::from_be_bytes;
    Some(Datagram {
        source: SocketAddr::new(source, port(header.ports.source)),
        destination: SocketAddr::new(destination, port(header.ports.destination)),
        payload: &bytes[Udp::LEN..],
    })
}

/// The sum of a UDP datagram and its pseudo header (RFC 768, RFC 8200 §8.1); not complemented.
pub(crate) fn sum_of(bytes: &[u8], addresses: u16, length: u16) -> u16 {
    let words = [addresses, u16::from(UDP), length, checksum::sum(bytes)];
    checksum::fold(words.into_iter().map(u32::from).sum())
}

/// The bytes at `at`; none where there are too few.
fn view<T: Pod>(bytes: &[u8], at: usize) -> Option<T> {
    bytes.get(at..at.checked_add(size_of::<T>())?).map(bytemuck::pod_read_unaligned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::responder::testing::{frame, tagged};
    use proptest::prelude::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn both_families_are_read_tagged_or_not() {
        for (source, destination) in
            [("192.0.2.7:40000", "203.0.113.53:53"), ("[2001:db8::7]:40000", "[2001:db8:53::53]:53")]
        {
            let (source, destination) = (address(source), address(destination));
            let plain = frame(source, destination, b"payload");
            let expected = Datagram { source, destination, payload: b"payload" };
            assert_eq!(read(&plain), Some(expected));
            let mut padded = plain.clone();
            padded.resize(padded.len() + 20, 0xee);
            assert_eq!(read(&padded), Some(expected), "padding of Ethernet is no part of it");
            assert_eq!(read(&tagged(&plain, 1)), Some(expected));
            assert_eq!(read(&tagged(&plain, 2)), Some(expected));
            assert_eq!(read(&tagged(&plain, 3)), None);
        }
    }

    #[test]
    fn a_damaged_byte_is_noticed_wherever_it_is() {
        for (source, destination) in
            [("192.0.2.7:40000", "203.0.113.53:53"), ("[2001:db8::7]:40000", "[2001:db8:53::53]:53")]
        {
            let whole = frame(address(source), address(destination), b"payload!");
            let v6 = source.starts_with('[');
            // What no checksum covers: MAC addresses; traffic class, flow label and hop limit of IPv6.
            let free = |i: usize| i < 12 || v6 && (i == 15 || i == 16 || i == 17 || i == 14 || i == 21);
            for i in (0..whole.len()).filter(|i| !free(*i)) {
                let mut damaged = whole.clone();
                damaged[i] ^= 0x04;
                assert_eq!(read(&damaged), None, "byte {i} of {source}");
            }
        }
    }

    #[test]
    fn ipv4_may_come_without_a_checksum_and_ipv6_not() {
        let mut v4 = frame(address("192.0.2.7:40000"), address("203.0.113.53:53"), b"payload");
        v4[14 + 20 + 6..14 + 20 + 8].fill(0);
        assert!(read(&v4).is_some());
        let mut v6 = frame(address("[2001:db8::7]:40000"), address("[2001:db8:53::53]:53"), b"payload");
        v6[14 + 40 + 6..14 + 40 + 8].fill(0);
        assert_eq!(read(&v6), None);
    }

    #[test]
    fn a_fragment_is_no_question() {
        let mut v4 = frame(address("192.0.2.7:40000"), address("203.0.113.53:53"), b"payload");
        v4[14 + 6] |= 0x20;
        let sum = !checksum::sum(&[&v4[14..24], &[0, 0], &v4[26..34]].concat());
        v4[24..26].copy_from_slice(&sum.to_be_bytes());
        assert_eq!(read(&v4), None);
    }

    proptest! {
        #[test]
        fn nothing_is_read_beyond_the_frame(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = read(&bytes);
        }

        #[test]
        fn no_cut_frame_is_a_datagram(cut in 1..60_usize) {
            let whole = frame(address("192.0.2.7:40000"), address("203.0.113.53:53"), &[7; 40]);
            prop_assert_eq!(read(&whole[..whole.len() - cut]), None);
        }
    }
}
