//! Sending a tunnelled packet on to the next backend of its list.

use bytemuck::Pod;

use crate::abi::address_key;
use crate::checksum::fold;
use crate::packet::Packet;
use crate::wire::ipv4::mapped;
use crate::wire::{Ipv4, Ipv6, Private, Udp};

/// Where the parts of a GUE packet lie.
#[derive(Clone, Copy)]
pub(crate) struct Gue {
    /// The outer IP header.
    pub(crate) ip: usize,
    /// The UDP header.
    pub(crate) udp: usize,
    /// The private word.
    pub(crate) private: usize,
}

impl Gue {
    /// Where hop number `n` of `N` bytes lies.
    #[inline(always)]
    pub(crate) fn hop<const N: usize>(&self, n: usize) -> usize {
        self.private + Private::LEN + n * N
    }
}

/// An outer IP header that can be readdressed.
pub(crate) trait Outer<const N: usize>: Pod {
    /// Type of the private data that this family's hops have.
    const PRIVATE_KIND: [u8; 2];
    /// An address as the tables know it.
    fn key(address: &[u8; N]) -> [u64; 2];
    /// Time to live.
    fn ttl(&self) -> u8;
    /// From this host to `hop` (a key), one hop further; returns the key of the address that is gone.
    fn readdress(&mut self, hop: [u64; 2]) -> [u64; 2];
}

impl Outer<4> for Ipv4 {
    const PRIVATE_KIND: [u8; 2] = Private::GLB;

    #[inline(always)]
    fn key(address: &[u8; 4]) -> [u64; 2] {
        address_key(mapped(*address))
    }

    #[inline(always)]
    fn ttl(&self) -> u8 {
        self.ttl
    }

    #[inline(always)]
    fn readdress(&mut self, hop: [u64; 2]) -> [u64; 2] {
        let gone = Self::key(&self.source);
        self.source = self.destination;
        let [_, low]: [[u8; 4]; 2] = bytemuck::cast(hop[1]);
        self.destination = low;
        let old = u16::from_be_bytes([self.ttl, self.protocol]);
        self.ttl = self.ttl.wrapping_sub(1);
        let new = u16::from_be_bytes([self.ttl, self.protocol]);
        // Our own address has only changed places: the sum sees one address go and one come.
        let sum = !u16::from_be_bytes(self.checksum) as u32 + (!old) as u32 + new as u32;
        self.checksum = (!fold(fold(sum) as u32 + exchanged(gone, hop))).to_be_bytes();
        gone
    }
}

impl Outer<16> for Ipv6 {
    const PRIVATE_KIND: [u8; 2] = Private::WIDE;

    #[inline(always)]
    fn key(address: &[u8; 16]) -> [u64; 2] {
        address_key(*address)
    }

    #[inline(always)]
    fn ttl(&self) -> u8 {
        self.hop_limit
    }

    #[inline(always)]
    fn readdress(&mut self, hop: [u64; 2]) -> [u64; 2] {
        let gone = Self::key(&self.source);
        self.source = self.destination;
        self.destination = bytemuck::cast(hop);
        self.hop_limit = self.hop_limit.wrapping_sub(1);
        gone
    }
}

/// What a ones' complement sum gains when `gone` makes way for `come`, both as keys. What two
/// IPv4-mapped addresses have in common adds nothing.
#[inline(always)]
fn exchanged(gone: [u64; 2], come: [u64; 2]) -> u32 {
    let sum = halves(!gone[0]) + halves(!gone[1]) + halves(come[0]) + halves(come[1]);
    fold(sum) as u32
}

/// The sum of the four 16-bit numbers that the word's bytes are in network order.
#[inline(always)]
fn halves(word: u64) -> u32 {
    let word = u64::from_be(word);
    (word >> 48) as u32 + (word >> 32) as u16 as u32 + (word >> 16) as u16 as u32 + word as u16 as u32
}

/// Readdresses the packet to hop number `next`, whose address is `hop`, and marks the list
/// accordingly. A UDP checksum, where there is one, is updated. `None` where the packet is not what
/// it was checked to be.
#[inline(always)]
pub(crate) fn send_on<P: Packet, H: Outer<N>, const N: usize>(
    packet: &mut P,
    gue: Gue,
    next: usize,
    hop: [u64; 2],
) -> Option<()> {
    let ip: &mut H = packet.view_mut(gue.ip)?;
    let gone = ip.readdress(hop);
    let private: &mut Private = packet.view_mut(gue.private)?;
    let old = u16::from_be_bytes([private.next_hop, private.hop_count]);
    private.next_hop = next as u8 + 1;
    let new = u16::from_be_bytes([private.next_hop, private.hop_count]);
    let udp: &mut Udp = packet.view_mut(gue.udp)?;
    if udp.checksum != [0, 0] {
        let sum = !u16::from_be_bytes(udp.checksum) as u32 + (!old) as u32 + new as u32;
        let sum = !fold(fold(sum) as u32 + exchanged(gone, hop));
        // 0 would mean "no checksum" (RFC 768).
        udp.checksum = if sum == 0 { [0xff, 0xff] } else { sum.to_be_bytes() };
    }
    Some(())
}
