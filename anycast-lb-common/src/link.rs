//! Moving a link header, tags included, to where the packet behind it now starts.

use bytemuck::{Pod, Zeroable};

use crate::packet::Packet;
use crate::parse::Link;
use crate::wire::Ethernet;
use crate::wire::ethernet::VlanTag;

/// Moves the start of the frame by `by` bytes, and the link header with it; its last EtherType
/// becomes `ether_type`.
#[inline(always)]
pub(crate) fn shift<P: Packet>(packet: &mut P, link: &Link, by: i32, ether_type: [u8; 2]) -> Option<()> {
    const ONE_TAG: usize = Ethernet::LEN + VlanTag::LEN;
    const TWO_TAGS: usize = ONE_TAG + VlanTag::LEN;
    match link.len {
        Ethernet::LEN => shift_tagged::<P, 0>(packet, by, ether_type),
        ONE_TAG => shift_tagged::<P, 1>(packet, by, ether_type),
        TWO_TAGS => shift_tagged::<P, 2>(packet, by, ether_type),
        _ => None,
    }
}

/// A link header of `N` VLAN tags, cut into pieces that fit registers: a copy as a whole would
/// become a `memmove`, byte by byte.
#[derive(Clone, Copy)]
#[repr(C)]
struct Tagged<const N: usize> {
    macs_front: [u8; 8],
    macs_back: [u8; 4],
    tags: [[u8; VlanTag::LEN]; N],
    ether_type: [u8; 2],
}

// SAFETY: byte arrays only: no padding, every bit pattern valid.
unsafe impl<const N: usize> Zeroable for Tagged<N> {}
// SAFETY: as above.
unsafe impl<const N: usize> Pod for Tagged<N> {}

#[inline(always)]
fn shift_tagged<P: Packet, const N: usize>(packet: &mut P, by: i32, ether_type: [u8; 2]) -> Option<()> {
    let link: &Tagged<N> = packet.view(0)?;
    let (front, back) = (u64::from_ne_bytes(link.macs_front), u32::from_ne_bytes(link.macs_back));
    let tags = link.tags.map(u32::from_ne_bytes);
    packet.move_start(by)?;
    let link: &mut Tagged<N> = packet.view_mut(0)?;
    link.macs_front = front.to_ne_bytes();
    link.macs_back = back.to_ne_bytes();
    link.tags = tags.map(u32::to_ne_bytes);
    link.ether_type = ether_type;
    Some(())
}
