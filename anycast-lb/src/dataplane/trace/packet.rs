//! The first packet of a flow, as small as it can be.

use std::net::{IpAddr, SocketAddr};

use anycast_lb_common::checksum;
use anycast_lb_common::wire::transport::{TCP, UDP};
use anycast_lb_common::wire::{Ethernet, Ipv4, Ipv6, Ports, Tcp, Udp, ethernet, ipv6};
use bytemuck::bytes_of;

use super::Flow;
use crate::model::Protocol;

/// Room for the largest frame the program makes of one of these.
pub(super) const OUTPUT_SIZE: usize = 256;

/// RFC 3692: a protocol number for experiments stands for "any other protocol".
const OTHER_PROTOCOL: u8 = 253;
/// Locally administered addresses that no NIC has.
const SOURCE_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x01];
const DESTINATION_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x02];
const TTL: u8 = 64;
/// Where flags lie in the TCP header, and SYN among them (RFC 9293 §3.1).
const TCP_DATA_OFFSET: usize = 12;
const TCP_FLAGS: usize = 13;
const SYN: u8 = 0x02;

/// IP protocol number.
pub(super) fn protocol(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => TCP,
        Protocol::Udp => UDP,
        Protocol::Any => OTHER_PROTOCOL,
    }
}

/// Both ports as the flow hash reads them: the bytes on the wire, little-endian.
pub(super) fn port_words(flow: &Flow) -> u32 {
    let [a, b] = flow.source.port().to_be_bytes();
    let [c, d] = flow.destination.port().to_be_bytes();
    u32::from_le_bytes([a, b, c, d])
}

/// An Ethernet frame; none if the two ends are of different families. The transport checksum is
/// left out: the packet goes nowhere, and no program looks at it.
pub(super) fn first_of(flow: &Flow) -> Option<Vec<u8>> {
    let transport = transport(flow);
    let number = protocol(flow.protocol);
    let mut frame = Vec::with_capacity(OUTPUT_SIZE);
    let link = |ether_type: u16| Ethernet {
        destination: DESTINATION_MAC,
        source: SOURCE_MAC,
        ether_type: ether_type.to_be_bytes(),
    };
    match (flow.source.ip(), flow.destination.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let mut ip = Ipv4 {
                version_ihl: 0x45,
                tos: 0,
                total_len: ((Ipv4::LEN + transport.len()) as u16).to_be_bytes(),
                id: [0; 2],
                fragment: [0; 2],
                ttl: TTL,
                protocol: number,
                checksum: [0; 2],
                source: source.octets(),
                destination: destination.octets(),
            };
            ip.checksum = (!checksum::sum(bytes_of(&ip))).to_be_bytes();
            frame.extend(bytes_of(&link(ethernet::IPV4)));
            frame.extend(bytes_of(&ip));
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let ip = Ipv6 {
                version_class_flow: ipv6::version_class_flow(0, 0),
                payload_len: (transport.len() as u16).to_be_bytes(),
                next_header: number,
                hop_limit: TTL,
                source: source.octets(),
                destination: destination.octets(),
            };
            frame.extend(bytes_of(&link(ethernet::IPV6)));
            frame.extend(bytes_of(&ip));
        }
        _ => return None,
    }
    frame.extend(transport);
    Some(frame)
}

fn transport(flow: &Flow) -> Vec<u8> {
    let ports = |end: SocketAddr| end.port().to_be_bytes();
    let ports = Ports { source: ports(flow.source), destination: ports(flow.destination) };
    match flow.protocol {
        Protocol::Tcp => {
            let mut header = vec![0; Tcp::LEN];
            header[..size_of::<Ports>()].copy_from_slice(bytes_of(&ports));
            // In the upper four bits, in words of 4 bytes.
            header[TCP_DATA_OFFSET] = ((Tcp::LEN / 4) as u8) << 4;
            header[TCP_FLAGS] = SYN;
            header
        }
        Protocol::Udp => {
            let header = Udp { ports, len: (Udp::LEN as u16).to_be_bytes(), checksum: [0; 2] };
            bytes_of(&header).to_vec()
        }
        Protocol::Any => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(protocol: Protocol, source: &str, destination: &str) -> Flow {
        let end = |s: &str| s.parse().expect("socket address");
        Flow { protocol, source: end(source), destination: end(destination) }
    }

    #[test]
    fn a_syn_of_ipv4_byte_for_byte() {
        let frame = first_of(&flow(Protocol::Tcp, "192.0.2.7:4660", "203.0.113.1:443")).expect("one family");
        #[rustfmt::skip]
        assert_eq!(frame, [
            2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0,
            0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0x7c, 0xc7, 192, 0, 2, 7, 203, 0, 113, 1,
            0x12, 0x34, 1, 0xbb, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 2, 0, 0, 0, 0, 0, 0,
        ]);
    }

    #[test]
    fn lengths_fit_in_both_families() {
        for (protocol, length) in [(Protocol::Tcp, 20), (Protocol::Udp, 8), (Protocol::Any, 0)] {
            let four = first_of(&flow(protocol, "192.0.2.7:1", "203.0.113.1:2")).expect("one family");
            assert_eq!(four.len(), 14 + 20 + length);
            let six = first_of(&flow(protocol, "[2001:db8::7]:1", "[2001:db8::1]:2")).expect("one family");
            assert_eq!(six.len(), 14 + 40 + length);
            assert_eq!(usize::from(six[19]), length);
        }
        assert_eq!(first_of(&flow(Protocol::Tcp, "192.0.2.7:1", "[2001:db8::1]:2")), None);
    }
}
