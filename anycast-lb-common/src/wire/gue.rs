//! Generic UDP Encapsulation (draft-ietf-intarea-gue, version 0) with the private data of GLB: a
//! list of further backends that may hold the flow.

use bytemuck::{Pod, Zeroable};

/// UDP destination port on which backends listen.
pub const PORT: u16 = 19523;

/// The GUE base header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Gue {
    /// Version (2 bits), control flag (1), length of the private data in 4-byte words (5).
    pub version_hlen: u8,
    /// IP protocol of the payload: 4 or 41.
    pub protocol: u8,
    /// Flags, network order.
    pub flags: [u8; 2],
}

impl Gue {
    /// Bytes of the base header.
    pub const LEN: usize = size_of::<Self>();

    /// Version 0, a data message, no flags: all we speak.
    #[inline(always)]
    pub fn is_plain(&self) -> bool {
        self.version_hlen & 0xe0 == 0 && self.flags == [0, 0]
    }

    /// Bytes of private data behind the base header.
    #[inline(always)]
    pub fn private_len(&self) -> usize {
        (self.version_hlen as usize & 0x1f) * 4
    }
}

/// The first word of the private data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Private {
    /// [`Private::GLB`] or [`Private::WIDE`], network order.
    pub kind: [u8; 2],
    /// Index of the hop that is tried next.
    pub next_hop: u8,
    /// How many hops follow.
    pub hop_count: u8,
}

impl Private {
    /// Bytes of the word.
    pub const LEN: usize = size_of::<Self>();
    /// Hops of 4 bytes: the outer header is IPv4.
    pub const GLB: [u8; 2] = [0, 0];
    /// Hops of 16 bytes: the outer header is IPv6.
    pub const WIDE: [u8; 2] = [0, 1];
    /// Most hops a list can have, whatever they are for.
    pub const MAX_HOPS: u8 = 7;
}
