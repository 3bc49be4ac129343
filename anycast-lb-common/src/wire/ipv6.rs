//! IPv6 (RFC 8200) and its extension headers.

use bytemuck::{Pod, Zeroable};
use network_types::ip::IpProto;

/// Next-header number of IPv6 in IP (RFC 2473).
pub const PROTOCOL_IPV6: u8 = IpProto::Ipv6 as u8;
/// Hop-by-hop options.
pub const HOP_BY_HOP: u8 = IpProto::HopOpt as u8;
/// Routing header.
pub const ROUTING: u8 = IpProto::Ipv6Route as u8;
/// Fragment header.
pub const FRAGMENT: u8 = IpProto::Ipv6Frag as u8;
/// Destination options.
pub const DESTINATION_OPTIONS: u8 = IpProto::Ipv6Opts as u8;

/// The fixed header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Ipv6 {
    /// Version (4 bits), traffic class (8), flow label (20), network order.
    pub version_class_flow: [u8; 4],
    /// Bytes behind this header, network order.
    pub payload_len: [u8; 2],
    /// Type of what follows.
    pub next_header: u8,
    /// Hop limit.
    pub hop_limit: u8,
    /// Source.
    pub source: [u8; 16],
    /// Destination.
    pub destination: [u8; 16],
}

impl Ipv6 {
    /// Bytes of the fixed header.
    pub const LEN: usize = size_of::<Self>();

    /// Whether the version is 6.
    #[inline(always)]
    pub fn is_sane(&self) -> bool {
        self.version_class_flow[0] >> 4 == 6
    }

    /// Bytes of header and payload.
    #[inline(always)]
    pub fn total_len(&self) -> usize {
        Self::LEN + u16::from_be_bytes(self.payload_len) as usize
    }

    /// DSCP (6 bits) and ECN.
    #[inline(always)]
    pub fn traffic_class(&self) -> u8 {
        self.version_class_flow[0] << 4 | self.version_class_flow[1] >> 4
    }
}

/// Version, traffic class and the low 20 bits of `flow_label` as the header's first word.
#[inline(always)]
pub fn version_class_flow(traffic_class: u8, flow_label: u32) -> [u8; 4] {
    (6 << 28 | (traffic_class as u32) << 20 | flow_label & 0xf_ffff).to_be_bytes()
}

/// `word`, the header's first, with another traffic class.
#[inline(always)]
pub fn with_traffic_class(word: [u8; 4], traffic_class: u8) -> [u8; 4] {
    let flow_label = u32::from_be_bytes(word);
    version_class_flow(traffic_class, flow_label)
}

/// The first two bytes of an options or routing header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Extension {
    /// Type of what follows.
    pub next_header: u8,
    /// Length in 8-byte units, the first not counted.
    pub len: u8,
}

impl Extension {
    /// Bytes of the extension header.
    #[inline(always)]
    pub fn total_len(&self) -> usize {
        (self.len as usize + 1) * 8
    }
}

/// The fragment header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct FragmentHeader {
    /// Type of what follows in the first fragment.
    pub next_header: u8,
    /// Reserved.
    pub reserved: u8,
    /// Offset in 8-byte units (13 bits), reserved (2), "more fragments" (1), network order.
    pub offset_more: [u8; 2],
    /// Identification, network order.
    pub id: [u8; 4],
}

impl FragmentHeader {
    /// Bytes of the header.
    pub const LEN: usize = size_of::<Self>();

    /// Whether the packet is whole all the same: an atomic fragment (RFC 6946).
    #[inline(always)]
    pub fn is_atomic(&self) -> bool {
        u16::from_be_bytes(self.offset_more) & 0xfff9 == 0
    }

    /// Whether this is a fragment other than the first.
    #[inline(always)]
    pub fn is_later(&self) -> bool {
        u16::from_be_bytes(self.offset_more) & 0xfff8 != 0
    }

    /// Identification, host order.
    #[inline(always)]
    pub fn id(&self) -> u32 {
        u32::from_be_bytes(self.id)
    }
}
