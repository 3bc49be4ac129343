//! What a frame between ingress node and backend must look like, to the bit.
//!
//! Written from the wire format alone, not from the code that makes the frames.

use std::fmt;
use std::net::IpAddr;

use anyhow::{Context, Result, bail, ensure};

use super::Frame;
use super::verify::{GUE_PORT, dissect};

const ETHERTYPE_IPV4: [u8; 2] = [0x08, 0x00];
const ETHERTYPE_IPV6: [u8; 2] = [0x86, 0xdd];
const ETHERNET_HEADER: usize = 14;
const IPV4_HEADER: usize = 20;
const IPV6_HEADER: usize = 40;
const UDP_HEADER: usize = 8;
/// GUE's base header and the private word.
const GUE_HEADER: usize = 8;
/// Private data in 4-byte words: the private word, no hops.
const GUE_HLEN: u8 = 1;
/// The last two bytes of the flow label of an IPv6 header behind Ethernet.
const FLOW_LABEL: std::ops::Range<usize> = ETHERNET_HEADER + 2..ETHERNET_HEADER + 4;
const TTL: u8 = 64;
const DONT_FRAGMENT: [u8; 2] = [0x40, 0x00];
const PROTOCOL_IPV4: u8 = 4;
const PROTOCOL_IPV6: u8 = 41;
const PROTOCOL_UDP: u8 = 17;
/// How much of a faulty frame an error shows.
const SHOWN_BYTES: usize = 160;

/// What is put between the Ethernet header and the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// Nothing.
    L2,
    /// An IP header.
    Ipip {
        /// The ingress node.
        source: IpAddr,
        /// The backend.
        destination: IpAddr,
    },
    /// IP, UDP, GUE and the private word without hops.
    Gue {
        /// The ingress node.
        source: IpAddr,
        /// The backend.
        destination: IpAddr,
    },
}

/// The way of packets from one ingress node to one backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tunnel {
    /// MAC address of the ingress node.
    pub source_mac: [u8; 6],
    /// MAC address of the backend, or of the gateway to it.
    pub destination_mac: [u8; 6],
    /// The header.
    pub carrier: Carrier,
}

impl Tunnel {
    /// The IP packet that `frame` carries, if everything in front of it is as it must be and nothing
    /// is behind it. Checksums are for [`expect_clean`].
    pub fn open<'f>(&self, frame: &'f [u8]) -> Result<&'f [u8]> {
        let inner = frame.get(self.header_len()..).filter(|inner| !inner.is_empty());
        let inner = inner.context("the frame ends inside its headers")?;
        let inner = Inner::of(inner)?;
        let mut offset = 0;
        for field in self.header(&inner) {
            let found = &frame[offset..offset + field.value.len()];
            let equal = found.iter().zip(&field.mask).map(|(byte, mask)| byte & mask).eq(field.value.clone());
            ensure!(equal, "{} is {}, should be {}", field.name, Hex(found), Hex(&field.value));
            offset += found.len();
        }
        Ok(inner.bytes)
    }

    /// What the headers of `frame` say of its flow to whoever spreads by them: the flow label of an
    /// outer IPv6 header, the source port of GUE. [`Tunnel::open`] has taken the frame.
    pub fn entropy<'f>(&self, frame: &'f [u8]) -> (&'f [u8], &'f [u8]) {
        let behind_ip = self.header_len().saturating_sub(UDP_HEADER + GUE_HEADER);
        match self.carrier {
            Carrier::L2 => (&[], &[]),
            Carrier::Ipip { source, .. } if source.is_ipv4() => (&[], &[]),
            Carrier::Ipip { .. } => (&frame[FLOW_LABEL], &[]),
            Carrier::Gue { source, .. } if source.is_ipv4() => (&[], &frame[behind_ip..behind_ip + 2]),
            Carrier::Gue { .. } => (&frame[FLOW_LABEL], &frame[behind_ip..behind_ip + 2]),
        }
    }

    /// Bytes in front of the packet.
    pub fn header_len(&self) -> usize {
        let outer = |address: IpAddr| if address.is_ipv4() { IPV4_HEADER } else { IPV6_HEADER };
        ETHERNET_HEADER
            + match self.carrier {
                Carrier::L2 => 0,
                Carrier::Ipip { source, .. } => outer(source),
                Carrier::Gue { source, .. } => outer(source) + UDP_HEADER + GUE_HEADER,
            }
    }

    fn header(&self, inner: &Inner<'_>) -> Vec<Field> {
        let mut fields = vec![
            Field::exactly("the destination MAC", &self.destination_mac),
            Field::exactly("the source MAC", &self.source_mac),
        ];
        match self.carrier {
            Carrier::L2 => fields.push(Field::exactly("the EtherType", &inner.ethertype())),
            Carrier::Ipip { source, destination } => {
                fields.extend(ip(source, destination, inner.protocol(), inner.tos, inner.bytes.len()));
            }
            Carrier::Gue { source, destination } => {
                let length = UDP_HEADER + GUE_HEADER + inner.bytes.len();
                let kind = if source.is_ipv4() { 0 } else { 1 };
                fields.extend(ip(source, destination, PROTOCOL_UDP, inner.tos, length));
                fields.extend([
                    Field::masked("the high bit of the UDP source port", &[0x80, 0], &[0x80, 0]),
                    Field::exactly("the UDP destination port", &GUE_PORT.to_be_bytes()),
                    Field::exactly("the UDP length", &word(length)),
                    Field::exactly("the UDP checksum", &[0, 0]),
                    Field::exactly("GUE's first byte", &[GUE_HLEN]),
                    Field::exactly("GUE's protocol", &[inner.protocol()]),
                    Field::exactly("GUE's flags", &[0, 0]),
                    Field::exactly("GUE's private word", &[0, kind, 0, 0]),
                ]);
            }
        }
        fields
    }
}

/// EtherType and IP header in front of `length` bytes.
fn ip(source: IpAddr, destination: IpAddr, protocol: u8, tos: u8, length: usize) -> Vec<Field> {
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => vec![
            Field::exactly("the EtherType", &ETHERTYPE_IPV4),
            Field::exactly("the outer version and header length", &[0x45]),
            Field::exactly("the outer TOS", &[tos]),
            Field::exactly("the outer length", &word(IPV4_HEADER + length)),
            // RFC 6864: of no meaning where DF is set.
            Field::exactly("the outer identification", &[0, 0]),
            Field::exactly("DF and the fragment offset", &DONT_FRAGMENT),
            Field::exactly("the outer TTL", &[TTL]),
            Field::exactly("the outer protocol", &[protocol]),
            Field::masked("the header checksum", &[0, 0], &[0, 0]),
            Field::exactly("the outer source", &source.octets()),
            Field::exactly("the outer destination", &destination.octets()),
        ],
        (source, destination) => vec![
            Field::exactly("the EtherType", &ETHERTYPE_IPV6),
            // The flow label is free.
            Field::masked(
                "the outer version and traffic class",
                &[0x60 | tos >> 4, tos << 4, 0, 0],
                &[0xff, 0xf0, 0, 0],
            ),
            Field::exactly("the outer payload length", &word(length)),
            Field::exactly("the outer next header", &[protocol]),
            Field::exactly("the outer hop limit", &[TTL]),
            Field::exactly("the outer source", &octets(source)),
            Field::exactly("the outer destination", &octets(destination)),
        ],
    }
}

fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// A length as it stands in a header; what does not fit there is equal to nothing sent.
fn word(length: usize) -> [u8; 2] {
    u16::try_from(length).unwrap_or(0).to_be_bytes()
}

/// A piece of a header.
struct Field {
    name: &'static str,
    value: Vec<u8>,
    /// The bits that count.
    mask: Vec<u8>,
}

impl Field {
    fn exactly(name: &'static str, value: &[u8]) -> Self {
        Self { name, value: value.to_vec(), mask: vec![0xff; value.len()] }
    }

    fn masked(name: &'static str, value: &[u8], mask: &[u8]) -> Self {
        Self { name, value: value.to_vec(), mask: mask.to_vec() }
    }
}

/// The packet inside.
struct Inner<'f> {
    bytes: &'f [u8],
    v4: bool,
    tos: u8,
}

impl<'f> Inner<'f> {
    fn of(bytes: &'f [u8]) -> Result<Self> {
        let (v4, tos, length) = match *bytes {
            [first, tos, a, b, ..] if first >> 4 == 4 => (true, tos, u16::from_be_bytes([a, b]).into()),
            [a, b, _, _, c, d, ..] if a >> 4 == 6 => {
                (false, a << 4 | b >> 4, IPV6_HEADER + usize::from(u16::from_be_bytes([c, d])))
            }
            _ => bail!("no IP packet behind the headers: {}", Hex(bytes)),
        };
        ensure!(length == bytes.len(), "a packet of {length} bytes in {} bytes", bytes.len());
        Ok(Self { bytes, v4, tos })
    }

    fn protocol(&self) -> u8 {
        if self.v4 { PROTOCOL_IPV4 } else { PROTOCOL_IPV6 }
    }

    fn ethertype(&self) -> [u8; 2] {
        if self.v4 { ETHERTYPE_IPV4 } else { ETHERTYPE_IPV6 }
    }
}

/// Every checksum and length of every frame is right, outer and inner, and there are IP packets
/// among the frames: a capture that saw nothing proves nothing.
pub fn expect_clean<'f>(frames: impl IntoIterator<Item = &'f Frame>) -> Result<()> {
    let mut packets = 0;
    for frame in frames {
        let dissected = dissect(&frame.bytes);
        packets += usize::from(!dissected.packets.is_empty());
        if let Some(fault) = dissected.faults.first() {
            bail!("{fault} in {}", Hex(&frame.bytes));
        }
    }
    ensure!(packets > 0, "no IP packet was captured");
    Ok(())
}

/// Bytes for people.
struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0.iter().take(SHOWN_BYTES) {
            write!(f, "{byte:02x}")?;
        }
        if self.0.len() > SHOWN_BYTES { write!(f, "… ({} bytes)", self.0.len()) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use etherparse::{IpNumber, Ipv4Header, PacketBuilder};

    use super::super::Direction;
    use super::*;

    const SOURCE_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
    const DESTINATION_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
    const TOS: u8 = 0xba;

    fn inner() -> Vec<u8> {
        let mut header = Ipv4Header::new(0, 61, IpNumber::UDP, [198, 51, 100, 2], [203, 0, 113, 1])
            .expect("a small packet");
        header.dscp = (TOS >> 2).try_into().expect("six bits");
        header.ecn = (TOS & 3).try_into().expect("two bits");
        let mut bytes = Vec::new();
        let builder = PacketBuilder::ip(etherparse::IpHeaders::Ipv4(header, Default::default()));
        builder.udp(40000, 53).write(&mut bytes, b"payload").expect("a vector takes it");
        bytes
    }

    fn tunnel(carrier: Carrier) -> Tunnel {
        Tunnel { source_mac: SOURCE_MAC, destination_mac: DESTINATION_MAC, carrier }
    }

    /// The wire format by hand.
    fn gue_over_ipv4() -> (Tunnel, Vec<u8>) {
        let inner = inner();
        let length = |more: usize| u16::try_from(inner.len() + more).expect("a small packet").to_be_bytes();
        let ([a, b], [c, d]) = (length(36), length(16));
        let mut frame = [&DESTINATION_MAC[..], &SOURCE_MAC, &[8, 0]].concat();
        frame.extend([0x45, TOS, a, b, 0, 0, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 2, 10, 0, 0, 11]);
        frame.extend([0x81, 0x23, 0x4c, 0x43, c, d, 0, 0]);
        frame.extend([1, 4, 0, 0, 0, 0, 0, 0]);
        let sum = etherparse::checksum::Sum16BitWords::new().add_slice(&frame[14..34]).ones_complement();
        frame[24..26].copy_from_slice(&sum.to_ne_bytes());
        frame.extend(&inner);
        let source = IpAddr::from([10, 0, 0, 2]);
        (tunnel(Carrier::Gue { source, destination: IpAddr::from([10, 0, 0, 11]) }), frame)
    }

    fn captured(bytes: Vec<u8>) -> Frame {
        Frame { time: Duration::ZERO, direction: Direction::Out, bytes }
    }

    #[test]
    fn a_right_frame_opens_and_is_clean() {
        let (tunnel, frame) = gue_over_ipv4();
        assert_eq!(tunnel.open(&frame).ok(), Some(&inner()[..]));
        assert_eq!(tunnel.entropy(&frame), (&[][..], &[0x81, 0x23][..]));
        assert!(expect_clean([&captured(frame)]).is_ok());
    }

    #[test]
    fn a_wrong_field_is_named() {
        let (tunnel, frame) = gue_over_ipv4();
        for (at, name) in [
            (0, "destination MAC"),
            (15, "TOS"),
            (20, "DF"),
            (22, "TTL"),
            (29, "source"),
            (34, "high bit of the UDP source port"),
            (40, "UDP checksum"),
            (42, "GUE's first byte"),
            (49, "private word"),
        ] {
            let mut bad = frame.clone();
            bad[at] ^= 0x80;
            let error = tunnel.open(&bad).expect_err(name).to_string();
            assert!(error.contains(name), "byte {at}: {error}");
        }
    }

    #[test]
    fn what_lies_behind_the_packet_is_found() {
        let (tunnel, mut frame) = gue_over_ipv4();
        frame.push(0);
        assert!(tunnel.open(&frame).is_err());
    }

    #[test]
    fn another_carrier_does_not_open_it() {
        let (_, frame) = gue_over_ipv4();
        let ends = (IpAddr::from([10, 0, 0, 2]), IpAddr::from([10, 0, 0, 11]));
        let ipip = Carrier::Ipip { source: ends.0, destination: ends.1 };
        assert!(tunnel(ipip).open(&frame).is_err());
        let wide = Carrier::Gue { source: [0xfd; 16].into(), destination: [0xfc; 16].into() };
        assert!(tunnel(wide).open(&frame).is_err());
        // As a plain frame it is one: the outer packet is what L2 would have carried.
        assert_eq!(tunnel(Carrier::L2).open(&frame).ok(), Some(&frame[14..]));
    }

    #[test]
    fn one_spoilt_frame_among_right_ones_is_found_and_nothing_proves_nothing() {
        let (_, frame) = gue_over_ipv4();
        let mut bad = frame.clone();
        *bad.last_mut().expect("a frame") ^= 1;
        let right = captured(frame);
        assert!(expect_clean([&right, &captured(bad), &right]).is_err());
        assert!(expect_clean([]).is_err());
        assert!(expect_clean([&captured(vec![0; 60])]).is_err());
    }
}
