//! A member: a backend of a pool, with the header that carries packets to it.

use bytemuck::{Pod, Zeroable};

/// Room for the longest template: Ethernet, IPv6, UDP, GUE and the private word are 70 bytes.
pub const MAX_TEMPLATE: usize = 72;

/// How packets reach a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Encap {
    /// The destination MAC is rewritten; nothing is added.
    L2 = 1,
    /// Outer IPv4, inner packet directly behind it (protocol 4 or 41).
    Ipip4 = 2,
    /// Outer IPv6, inner packet directly behind it (next header 4 or 41).
    Ipip6 = 3,
    /// Outer IPv4, UDP, GUE, private word, hops of 4 bytes.
    Gue4 = 4,
    /// Outer IPv6, UDP, GUE, private word, hops of 16 bytes.
    Gue6 = 5,
}

impl Encap {
    /// The encapsulation with this number.
    #[inline(always)]
    pub fn from_number(n: u8) -> Option<Self> {
        Some(match n {
            1 => Encap::L2,
            2 => Encap::Ipip4,
            3 => Encap::Ipip6,
            4 => Encap::Gue4,
            5 => Encap::Gue6,
            _ => return None,
        })
    }

    /// Bytes of the template: the link header and what is put between it and the inner packet.
    #[inline(always)]
    pub const fn header_len(self) -> usize {
        match self {
            Encap::L2 => 14,
            Encap::Ipip4 => 14 + 20,
            Encap::Ipip6 => 14 + 40,
            Encap::Gue4 => 14 + 20 + 8 + 4 + 4,
            Encap::Gue6 => 14 + 40 + 8 + 4 + 4,
        }
    }
}

/// Bits of [`Member::flags`].
pub struct MemberFlags;

impl MemberFlags {
    /// Route and neighbour are known; the template is complete.
    pub const RESOLVED: u8 = 1;
}

/// A backend of a pool.
///
/// What a packet needs comes first: with most encapsulations that is one cache line. The template starts at a
/// multiple of 8 so that the destination MAC shares one aligned 64-bit word: a neighbour that moves is followed
/// by one atomic store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C, align(8))]
pub struct Member {
    /// Interface through which the member is reached.
    pub ifindex: u32,
    /// Largest IP packet, outer header included, that fits on the way.
    pub mtu: u16,
    /// [`Encap`] as a number; 0 = unused.
    pub encap: u8,
    /// [`MemberFlags`].
    pub flags: u8,
    /// Everything before the inner packet, ready but for lengths, TOS, hop count, source port and
    /// IPv4 checksum; [`Encap::header_len`] bytes are valid. The IPv4 checksum field holds the
    /// ones' complement sum of the finished fields, not yet complemented.
    pub template: [u8; MAX_TEMPLATE],
    /// Address of the backend in network order, IPv4 as IPv4-mapped.
    pub address: [u8; 16],
    /// Hash of the pool's name, the address and the encapsulation, by which a restarted daemon finds
    /// it again.
    pub identity: u64,
    /// Index of the pool.
    pub pool: u16,
    /// Zero.
    pub reserved: [u8; 22],
}

impl Member {
    /// The template as the headers it consists of.
    #[inline(always)]
    pub fn header<T: Pod>(&self) -> &T {
        const { assert!(size_of::<T>() <= MAX_TEMPLATE && align_of::<T>() == 1) };
        // SAFETY: the template has at least as many bytes as `T`, and any bytes are a valid `T`.
        unsafe { &*self.template.as_ptr().cast::<T>() }
    }
}

const _: () = {
    assert!(size_of::<Member>() == 128);
    assert!(Encap::Gue6.header_len() <= MAX_TEMPLATE);
    assert!(core::mem::offset_of!(Member, template).is_multiple_of(8));
    assert!(core::mem::offset_of!(Member, template) + Encap::Gue4.header_len() <= 64);
};
