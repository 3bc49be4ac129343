//! A packet on its way out of the host, at the egress hook of traffic control.

use anycast_lb_common::abi::Encap;
use anycast_lb_common::packet::Packet;
use anycast_lb_common::probe::Leaving;
use aya_ebpf::bindings::bpf_adj_room_mode::BPF_ADJ_ROOM_MAC;
use aya_ebpf::bindings::{
    BPF_F_ADJ_ROOM_ENCAP_L3_IPV4, BPF_F_ADJ_ROOM_ENCAP_L3_IPV6, BPF_F_ADJ_ROOM_ENCAP_L4_UDP,
};
use aya_ebpf::helpers::generated::{bpf_skb_adjust_room, bpf_skb_change_tail};
use aya_ebpf::programs::TcContext;
use bytemuck::Pod;

use crate::packet::{opaque, viewed};

pub(crate) struct Departure<'a> {
    context: &'a TcContext,
    /// What the room is for that is made next.
    purpose: u64,
}

impl<'a> Departure<'a> {
    #[inline(always)]
    pub(crate) fn new(context: &'a TcContext) -> Self {
        Departure { context, purpose: 0 }
    }
}

impl Leaving for Departure<'_> {
    #[inline(always)]
    fn announce(&mut self, encap: Encap) {
        self.purpose = match encap {
            Encap::L2 => 0,
            Encap::Ipip4 => BPF_F_ADJ_ROOM_ENCAP_L3_IPV4 as u64,
            Encap::Ipip6 => BPF_F_ADJ_ROOM_ENCAP_L3_IPV6 as u64,
            Encap::Gue4 => (BPF_F_ADJ_ROOM_ENCAP_L3_IPV4 | BPF_F_ADJ_ROOM_ENCAP_L4_UDP) as u64,
            Encap::Gue6 => (BPF_F_ADJ_ROOM_ENCAP_L3_IPV6 | BPF_F_ADJ_ROOM_ENCAP_L4_UDP) as u64,
        };
    }
}

impl Packet for Departure<'_> {
    #[inline(always)]
    fn len(&self) -> usize {
        self.context.len() as usize
    }

    #[inline(always)]
    fn view<T: Pod>(&self, at: usize) -> Option<&T> {
        let bytes = viewed(self.context.data(), self.context.data_end(), at)?;
        // SAFETY: the bytes lie inside the frame (the verifier checks it), any bytes are a valid `T` of alignment
        // 1, and the frame moves only through `&mut self`.
        Some(unsafe { &*bytes })
    }

    #[inline(always)]
    fn view_mut<T: Pod>(&mut self, at: usize) -> Option<&mut T> {
        let bytes = viewed(self.context.data(), self.context.data_end(), at)?;
        // SAFETY: as above; the frame belongs to this program while it runs.
        Some(unsafe { &mut *bytes })
    }

    fn sum<const N: usize>(&self, _: usize, _: u32) -> Option<u32> {
        None
    }

    #[inline(always)]
    fn move_start(&mut self, delta: i32) -> Option<()> {
        if delta == 0 {
            return Some(());
        }
        // The room is made behind the link header, and the packet's new start is written over all of it.
        // SAFETY: the context is valid; the helper checks the room.
        let result =
            unsafe { bpf_skb_adjust_room(self.context.skb.skb, -delta, BPF_ADJ_ROOM_MAC, self.purpose) };
        (result == 0).then_some(())
    }

    #[inline(always)]
    fn cut_end(&mut self, surplus: usize) -> Option<()> {
        let len = self.context.len().wrapping_sub(opaque(surplus) as u32);
        // SAFETY: as above.
        (unsafe { bpf_skb_change_tail(self.context.skb.skb, len, 0) } == 0).then_some(())
    }
}
