//! The answer as an IP packet, as raw sockets take it.

use std::net::{IpAddr, SocketAddr};

use anycast_lb_common::checksum;
use anycast_lb_common::wire::ipv4::DONT_FRAGMENT;
use anycast_lb_common::wire::transport::UDP;
use anycast_lb_common::wire::{Ipv4, Ipv6, Ports, Udp, ipv6};

use crate::frame::sum_of;

/// Hops an answer may take (the default of RFC 1700).
const TTL: u8 = 64;

/// A datagram from `source` to `destination`; none if they are of different families or it is too long.
///
/// It must not be fragmented, so `id` need not differ from packet to packet (RFC 6864 §4.1); 0 would have
/// the kernel choose one.
pub(crate) fn datagram(
    source: SocketAddr,
    destination: SocketAddr,
    id: u16,
    payload: &[u8],
) -> Option<Vec<u8>> {
    let length = u16::try_from(Udp::LEN + payload.len()).ok()?;
    let mut udp = Udp {
        ports: Ports { source: source.port().to_be_bytes(), destination: destination.port().to_be_bytes() },
        len: length.to_be_bytes(),
        checksum: [0; 2],
    };
    let mut packet = match (source.ip(), destination.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let mut header = Ipv4 {
                version_ihl: 0x45,
                tos: 0,
                total_len: u16::try_from(Ipv4::LEN).ok()?.checked_add(length)?.to_be_bytes(),
                id: id.to_be_bytes(),
                fragment: DONT_FRAGMENT.to_be_bytes(),
                ttl: TTL,
                protocol: UDP,
                checksum: [0; 2],
                source: source.octets(),
                destination: destination.octets(),
            };
            header.checksum = (!checksum::sum(bytemuck::bytes_of(&header))).to_be_bytes();
            bytemuck::bytes_of(&header).to_vec()
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let header = Ipv6 {
                version_class_flow: ipv6::version_class_flow(0, 0),
                payload_len: length.to_be_bytes(),
                next_header: UDP,
                hop_limit: TTL,
                source: source.octets(),
                destination: destination.octets(),
            };
            bytemuck::bytes_of(&header).to_vec()
        }
        _ => return None,
    };
    // Source and destination end either header.
    let addresses = if source.is_ipv4() { &packet[12..] } else { &packet[8..] };
    let addresses = checksum::sum(addresses);
    let bytes = [bytemuck::bytes_of(&udp), payload].concat();
    let sum = match !sum_of(&bytes, addresses, length) {
        // That would say that there is none (RFC 768).
        0 => 0xffff,
        sum => sum,
    };
    udp.checksum = sum.to_be_bytes();
    packet.extend(bytemuck::bytes_of(&udp));
    packet.extend(payload);
    Some(packet)
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::{NetHeaders, PacketHeaders, TransportHeader};
    use proptest::prelude::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    /// What another reader makes of it: both checksums are right and the bytes are all there.
    fn verify(packet: &[u8], payload: &[u8]) {
        let read = PacketHeaders::from_ip_slice(packet).expect("an IP packet");
        let Some(TransportHeader::Udp(udp)) = &read.transport else { panic!("no UDP: {read:?}") };
        let expected = match read.net.as_ref().expect("an IP header") {
            NetHeaders::Ipv4(ip, _) => {
                assert_eq!(ip.header_checksum, ip.calc_header_checksum());
                assert_eq!((ip.time_to_live, ip.dont_fragment, ip.more_fragments), (64, true, false));
                udp.calc_checksum_ipv4(ip, payload).expect("short enough")
            }
            NetHeaders::Ipv6(ip, _) => {
                assert_eq!(ip.hop_limit, 64);
                udp.calc_checksum_ipv6(ip, payload).expect("short enough")
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(udp.checksum, expected);
        assert_ne!(udp.checksum, 0);
        assert_eq!(read.payload.slice(), payload);
    }

    #[test]
    fn another_reader_agrees_in_both_families() {
        let v4 = (address("203.0.113.53:53"), address("192.0.2.7:40000"));
        let v6 = (address("[2001:db8:53::53]:53"), address("[2001:db8::7]:40000"));
        for (source, destination) in [v4, v6] {
            verify(&datagram(source, destination, 7, b"odd").expect("a packet"), b"odd");
        }
        assert_eq!(datagram(v4.0, v6.1, 7, b""), None);
        assert_eq!(datagram(v4.0, v4.1, 7, &[0; 65_530]), None);
    }

    #[test]
    fn the_bytes_are_those_that_scapy_makes() {
        // IP(id=7, flags="DF", src="203.0.113.53", dst="192.0.2.7") / UDP(sport=53, dport=40000) / b"odd"
        let scapy = [
            0x45, 0x00, 0x00, 0x1f, 0x00, 0x07, 0x40, 0x00, 0x40, 0x11, 0x3c, 0x8a, 0xcb, 0x00, 0x71, 0x35,
            0xc0, 0x00, 0x02, 0x07, 0x00, 0x35, 0x9c, 0x40, 0x00, 0x0b, 0x91, 0xc0, 0x6f, 0x64, 0x64,
        ];
        let packet = datagram(address("203.0.113.53:53"), address("192.0.2.7:40000"), 7, b"odd");
        assert_eq!(packet.as_deref(), Some(&scapy[..]));
    }

    proptest! {
        #[test]
        fn checksums_are_right_whatever_it_carries(
            payload in prop::collection::vec(any::<u8>(), 0..200), id: u16, from: [u8; 16], to: [u8; 16],
            ports: (u16, u16),
        ) {
            let v6 = datagram((from, ports.0).into(), (to, ports.1).into(), id, &payload);
            verify(&v6.expect("a packet"), &payload);
            let four = |bytes: [u8; 16]| [bytes[0], bytes[1], bytes[2], bytes[3]];
            let v4 = datagram((four(from), ports.0).into(), (four(to), ports.1).into(), id, &payload);
            verify(&v4.expect("a packet"), &payload);
        }
    }
}
