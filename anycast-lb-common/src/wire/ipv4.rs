//! IPv4 (RFC 791).

use bytemuck::{Pod, Zeroable};

/// IP protocol number of IPv4 in IP (RFC 2003).
pub const PROTOCOL_IPV4: u8 = network_types::ip::IpProto::Ipv4 as u8;
/// "Don't fragment", in the flags word.
pub const DONT_FRAGMENT: u16 = 0x4000;
/// "More fragments" and the fragment offset, in the flags word.
const FRAGMENT_BITS: u16 = 0x3fff;
/// The fragment offset, in the flags word.
const FRAGMENT_OFFSET: u16 = 0x1fff;

/// The header without options.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Ipv4 {
    /// Version (4 bits) and header length in 4-byte words.
    pub version_ihl: u8,
    /// DSCP (6 bits) and ECN.
    pub tos: u8,
    /// Bytes of header and payload, network order.
    pub total_len: [u8; 2],
    /// Identification, network order.
    pub id: [u8; 2],
    /// Flags (3 bits) and fragment offset in 8-byte units, network order.
    pub fragment: [u8; 2],
    /// Time to live.
    pub ttl: u8,
    /// Protocol of the payload.
    pub protocol: u8,
    /// Header checksum, network order.
    pub checksum: [u8; 2],
    /// Source.
    pub source: [u8; 4],
    /// Destination.
    pub destination: [u8; 4],
}

impl Ipv4 {
    /// Bytes of a header without options.
    pub const LEN: usize = size_of::<Self>();

    /// Bytes of the header with its options, as far as the header says.
    #[inline(always)]
    pub fn header_len(&self) -> usize {
        (self.version_ihl as usize & 0xf) * 4
    }

    /// Whether this is IPv4 at all.
    #[inline(always)]
    pub fn is_version_4(&self) -> bool {
        self.version_ihl >> 4 == 4
    }

    /// Whether version and lengths make sense.
    #[inline(always)]
    pub fn is_sane(&self) -> bool {
        self.is_version_4() && self.version_ihl & 0xf >= 5 && self.header_len() <= self.total_len()
    }

    /// Bytes of header and payload.
    #[inline(always)]
    pub fn total_len(&self) -> usize {
        u16::from_be_bytes(self.total_len) as usize
    }

    /// "More fragments" and the fragment offset; not 0 in any fragment, the first one included.
    #[inline(always)]
    pub fn fragment_bits(&self) -> u16 {
        u16::from_be_bytes(self.fragment) & FRAGMENT_BITS
    }

    /// Whether this is a fragment, the first one included.
    #[inline(always)]
    pub fn is_fragment(&self) -> bool {
        self.fragment_bits() != 0
    }

    /// Whether no router may fragment it.
    #[inline(always)]
    pub fn has_dont_fragment(&self) -> bool {
        u16::from_be_bytes(self.fragment) & DONT_FRAGMENT != 0
    }

    /// Identification, host order.
    #[inline(always)]
    pub fn id(&self) -> u16 {
        u16::from_be_bytes(self.id)
    }

    /// Whether this is a fragment other than the first.
    #[inline(always)]
    pub fn is_later_fragment(&self) -> bool {
        u16::from_be_bytes(self.fragment) & FRAGMENT_OFFSET != 0
    }
}

/// `address` as IPv4-mapped IPv6 (RFC 4291 §2.5.5.2).
#[inline(always)]
pub fn mapped(address: [u8; 4]) -> [u8; 16] {
    let [a, b, c, d] = address;
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d]
}
