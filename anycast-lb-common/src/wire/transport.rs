//! What we read of TCP (RFC 9293) and UDP (RFC 768).

use bytemuck::{Pod, Zeroable};
use network_types::ip::IpProto;

/// IP protocol number of TCP.
pub const TCP: u8 = IpProto::Tcp as u8;
/// IP protocol number of UDP.
pub const UDP: u8 = IpProto::Udp as u8;

/// Bytes of a TCP header without options.
pub const TCP_MIN_LEN: usize = 20;

/// The ports, which lie at the same place in both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Ports {
    /// Source port, network order.
    pub source: [u8; 2],
    /// Destination port, network order.
    pub destination: [u8; 2],
}

/// The UDP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Udp {
    /// Ports.
    pub ports: Ports,
    /// Bytes of header and payload, network order.
    pub len: [u8; 2],
    /// Checksum, network order; 0 = none.
    pub checksum: [u8; 2],
}

impl Udp {
    /// Bytes of the header.
    pub const LEN: usize = size_of::<Self>();
}
