//! Every length and checksum of a frame, outer and inner, by an independent library.

use std::fmt;
use std::net::IpAddr;

use etherparse::checksum::Sum16BitWords;
use etherparse::{Icmpv4Slice, Icmpv6Slice, IpNumber, IpSlice, TcpSlice, UdpSlice};

/// UDP port of GUE.
pub const GUE_PORT: u16 = 19523;
/// Fixed part of a GUE header.
const GUE_HEADER: usize = 4;
/// Low bits of its first byte: length of the private data in 4-byte words.
const GUE_HLEN: u8 = 0x1f;
const ETHERNET_HEADER: usize = 14;
const VLAN_TAG: usize = 4;
/// Where the checksum stands in an IPv4 header.
const IPV4_CHECKSUM: usize = 10;
const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const ETHERTYPE_VLAN: u16 = 0x8100;
const ETHERTYPE_SERVICE_VLAN: u16 = 0x88a8;
/// More IP headers than any packet of ours has.
const MAX_DEPTH: usize = 4;

/// What is wrong with a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Which IP header it belongs to: 0 is the outermost.
    pub depth: usize,
    /// What.
    pub what: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IP header {}: {}", self.depth, self.what)
    }
}

/// One IP packet of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// Protocol of the payload, extension headers skipped.
    pub protocol: u8,
    /// Source and destination port of an unfragmented TCP or UDP packet.
    pub ports: Option<(u16, u16)>,
    /// TTL or hop limit.
    pub ttl: u8,
    /// GUE's private data.
    pub private: Vec<u8>,
    /// All of it, from its first byte, without what a link put behind it.
    pub bytes: Vec<u8>,
}

/// A frame taken apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dissected {
    /// Its IP packets, the outermost first; empty if it carries none.
    pub packets: Vec<Packet>,
    /// Checksums that were looked at.
    pub checksums: usize,
    /// What is wrong with it.
    pub faults: Vec<Fault>,
}

impl Dissected {
    /// The innermost packet.
    pub fn inner(&self) -> Option<&Packet> {
        self.packets.last()
    }

    /// Whether it is tunnelled.
    pub fn is_encapsulated(&self) -> bool {
        self.packets.len() > 1
    }

    fn fault(&mut self, depth: usize, what: impl Into<String>) {
        self.faults.push(Fault { depth, what: what.into() });
    }

    fn checksum(&mut self, depth: usize, name: &str, found: u16, right: u16) {
        self.checksums += 1;
        if found != right {
            self.fault(depth, format!("{name} checksum {found:#06x}, right would be {right:#06x}"));
        }
    }
}

/// Takes an Ethernet frame apart and checks all of it.
pub fn dissect(frame: &[u8]) -> Dissected {
    let mut result = Dissected::default();
    let mut offset = ETHERNET_HEADER;
    let ethertype_before = |offset: usize| -> Option<u16> {
        let bytes = frame.get(offset.checked_sub(2)?..offset)?;
        Some(u16::from_be_bytes([bytes[0], bytes[1]]))
    };
    while matches!(ethertype_before(offset), Some(ETHERTYPE_VLAN | ETHERTYPE_SERVICE_VLAN)) {
        offset += VLAN_TAG;
    }
    match ethertype_before(offset) {
        Some(ETHERTYPE_IPV4) => ip(4, frame.get(offset..).unwrap_or_default(), &mut result),
        Some(ETHERTYPE_IPV6) => ip(6, frame.get(offset..).unwrap_or_default(), &mut result),
        Some(_) => {}
        None => result.fault(0, "a frame without a whole Ethernet header"),
    }
    result
}

/// What is wrong with a frame; nothing if it is right.
pub fn verify(frame: &[u8]) -> Vec<Fault> {
    dissect(frame).faults
}

/// A packet that was announced as one of IP `version`.
fn ip(version: u8, bytes: &[u8], result: &mut Dissected) {
    let depth = result.packets.len();
    if let Some(found) = bytes.first().map(|first| first >> 4).filter(|&found| found != version) {
        return result.fault(depth, format!("IP version {found} announced as {version}"));
    }
    if depth == MAX_DEPTH {
        return result.fault(depth, "too many headers");
    }
    let slice = match IpSlice::from_slice(bytes) {
        Ok(slice) => slice,
        Err(error) => return result.fault(depth, error.to_string()),
    };
    let (source, destination, ttl, length) = match &slice {
        IpSlice::Ipv4(v4) => {
            let header = v4.header();
            let right = ipv4_header_checksum(header.slice());
            result.checksum(depth, "IPv4 header", header.header_checksum(), right);
            let addresses = (header.source_addr().into(), header.destination_addr().into());
            (addresses.0, addresses.1, header.ttl(), usize::from(header.total_len()))
        }
        IpSlice::Ipv6(v6) => {
            let header = v6.header();
            let length = usize::from(header.payload_length()) + header.slice().len();
            (header.source_addr().into(), header.destination_addr().into(), header.hop_limit(), length)
        }
    };
    let payload = slice.payload();
    let packet = Packet {
        source,
        destination,
        protocol: payload.ip_number.0,
        ports: None,
        ttl,
        private: Vec::new(),
        bytes: bytes.get(..length).unwrap_or(bytes).to_vec(),
    };
    result.packets.push(packet);
    // A fragment has a part of what the checksum covers.
    if !payload.fragmented {
        transport(payload.ip_number, payload.payload, (source, destination), depth, result);
    }
}

/// Over the bytes as they are: a parsed header has lost the reserved bit.
fn ipv4_header_checksum(header: &[u8]) -> u16 {
    let (front, back) = (&header[..IPV4_CHECKSUM], &header[IPV4_CHECKSUM + 2..]);
    let sum = Sum16BitWords::new().add_slice(front).add_slice(back);
    // The library's sums are in the byte order of the wire.
    sum.ones_complement().to_be()
}

fn transport(
    protocol: IpNumber,
    bytes: &[u8],
    addresses: (IpAddr, IpAddr),
    depth: usize,
    result: &mut Dissected,
) {
    match protocol {
        IpNumber::TCP => match TcpSlice::from_slice(bytes) {
            Ok(tcp) => {
                let right = match addresses {
                    (IpAddr::V4(from), IpAddr::V4(to)) => {
                        tcp.calc_checksum_ipv4(from.octets(), to.octets()).ok()
                    }
                    (IpAddr::V6(from), IpAddr::V6(to)) => {
                        tcp.calc_checksum_ipv6(from.octets(), to.octets()).ok()
                    }
                    _ => None,
                };
                checked(result, depth, "TCP", tcp.checksum(), right);
                ports(result, depth, tcp.source_port(), tcp.destination_port());
            }
            Err(error) => result.fault(depth, error.to_string()),
        },
        IpNumber::UDP => match UdpSlice::from_slice(bytes) {
            Ok(udp) => {
                ports(result, depth, udp.source_port(), udp.destination_port());
                udp_checksum(&udp, bytes.len(), addresses, depth, result);
                if udp.destination_port() == GUE_PORT {
                    gue(udp.payload(), depth, result);
                }
            }
            Err(error) => result.fault(depth, error.to_string()),
        },
        IpNumber::ICMP => match Icmpv4Slice::from_slice(bytes) {
            Ok(icmp) => {
                let right = icmp.header().icmp_type.calc_checksum(icmp.payload());
                result.checksum(depth, "ICMP", icmp.checksum(), right);
            }
            Err(error) => result.fault(depth, error.to_string()),
        },
        IpNumber::IPV6_ICMP => match (Icmpv6Slice::from_slice(bytes), addresses) {
            (Ok(icmp), (IpAddr::V6(from), IpAddr::V6(to))) => {
                result.checksums += 1;
                if !icmp.is_checksum_valid(from.octets(), to.octets()) {
                    result.fault(depth, format!("ICMPv6 checksum {:#06x} is wrong", icmp.checksum()));
                }
            }
            (Ok(_), _) => result.fault(depth, "ICMPv6 in IPv4"),
            (Err(error), _) => result.fault(depth, error.to_string()),
        },
        IpNumber::IPV4 => ip(4, bytes, result),
        IpNumber::IPV6 => ip(6, bytes, result),
        _ => {}
    }
}

fn ports(result: &mut Dissected, depth: usize, source: u16, destination: u16) {
    if let Some(packet) = result.packets.get_mut(depth) {
        packet.ports = Some((source, destination));
    }
}

fn checked(result: &mut Dissected, depth: usize, name: &str, found: u16, right: Option<u16>) {
    /// The two zeros of one's complement: receivers take both, and Linux sends either.
    const ZEROS: [u16; 2] = [0, 0xffff];
    match right {
        Some(right) if ZEROS.contains(&right) && ZEROS.contains(&found) => result.checksums += 1,
        Some(right) => result.checksum(depth, name, found, right),
        None => result.fault(depth, format!("{name} is too long for a checksum")),
    }
}

fn udp_checksum(
    udp: &UdpSlice<'_>,
    room: usize,
    addresses: (IpAddr, IpAddr),
    depth: usize,
    result: &mut Dissected,
) {
    if usize::from(udp.length()) != room {
        result.fault(depth, format!("UDP length {} in {room} bytes", udp.length()));
    }
    let (header, payload) = (udp.to_header(), udp.payload());
    match addresses {
        // RFC 768: zero means that there is none.
        (IpAddr::V4(_), _) if udp.checksum() == 0 => {}
        // RFC 6935 §5: allowed for tunnels alone.
        (IpAddr::V6(_), _) if udp.checksum() == 0 && udp.destination_port() == GUE_PORT => {}
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let right = header.calc_checksum_ipv4_raw(from.octets(), to.octets(), payload).ok();
            checked(result, depth, "UDP", udp.checksum(), right);
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let right = header.calc_checksum_ipv6_raw(from.octets(), to.octets(), payload).ok();
            checked(result, depth, "UDP", udp.checksum(), right);
        }
        _ => {}
    }
}

fn gue(bytes: &[u8], depth: usize, result: &mut Dissected) {
    let Some((&[first, protocol, ..], _)) = bytes.split_first_chunk::<GUE_HEADER>() else {
        return result.fault(depth, "a cut GUE header");
    };
    if first & !GUE_HLEN != 0 {
        return result.fault(depth, format!("GUE version or control bit in {first:#04x}"));
    }
    let end = GUE_HEADER + usize::from(first & GUE_HLEN) * 4;
    let (Some(private), Some(inner)) = (bytes.get(GUE_HEADER..end), bytes.get(end..)) else {
        return result.fault(depth, "GUE's private data does not fit");
    };
    if let Some(packet) = result.packets.get_mut(depth) {
        packet.private = private.to_vec();
    }
    match IpNumber(protocol) {
        IpNumber::IPV4 => ip(4, inner, result),
        IpNumber::IPV6 => ip(6, inner, result),
        _ => result.fault(depth, format!("GUE carries protocol {protocol}")),
    }
}

#[cfg(test)]
mod tests;
