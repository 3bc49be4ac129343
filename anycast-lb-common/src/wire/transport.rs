//! What we read of TCP (RFC 9293) and UDP (RFC 768).

use bytemuck::{Pod, Zeroable};
use network_types::ip::IpProto;

/// IP protocol number of TCP.
pub const TCP: u8 = IpProto::Tcp as u8;
/// IP protocol number of UDP.
pub const UDP: u8 = IpProto::Udp as u8;

/// The TCP header without options.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Tcp {
    /// Ports.
    pub ports: Ports,
    /// Sequence number, network order.
    pub sequence: [u8; 4],
    /// Acknowledgement number, network order.
    pub acknowledgement: [u8; 4],
    /// Header length in 4-byte words (4 bits), reserved.
    pub data_offset: u8,
    /// Flags.
    pub flags: u8,
    /// Window, network order.
    pub window: [u8; 2],
    /// Checksum, network order.
    pub checksum: [u8; 2],
    /// Urgent pointer, network order.
    pub urgent: [u8; 2],
}

impl Tcp {
    /// Bytes of a header without options.
    pub const LEN: usize = size_of::<Self>();
    /// No more data.
    pub const FIN: u8 = 0x01;
    /// Reset.
    pub const RST: u8 = 0x04;
    /// Synchronise.
    pub const SYN: u8 = 0x02;
    /// Acknowledge.
    pub const ACK: u8 = 0x10;

    /// Bytes of the header with its options, as far as the header says.
    #[inline(always)]
    pub fn header_len(&self) -> usize {
        (self.data_offset >> 4) as usize * 4
    }

    /// SYN without ACK: the first packet of a connection.
    #[inline(always)]
    pub fn is_opening(&self) -> bool {
        self.flags & (Self::SYN | Self::ACK) == Self::SYN
    }
}

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
