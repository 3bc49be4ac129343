//! The frame in the kernel.

use core::arch::asm;

use anycast_lb_common::packet::Packet;
use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::{bpf_xdp_adjust_head, bpf_xdp_adjust_tail};
use aya_ebpf::programs::{TcContext, XdpContext};
use bytemuck::Pod;

pub(crate) struct Frame<'a>(pub(crate) &'a XdpContext);

/// `start + at`, which the compiler cannot compute a second time: it would check one copy and use the other,
/// and the verifier does not know that they are equal.
#[inline(always)]
fn sum(mut start: usize, at: usize) -> usize {
    // SAFETY: arithmetic; a packet does not begin at address 0.
    unsafe {
        asm!("{start} += {at}", start = inout(reg) start, at = in(reg) at, options(pure, nomem, nostack));
        // No frame lies there. A view would be tested for it, each of them.
        core::hint::assert_unchecked(start != 0);
    }
    start
}

impl Packet for Frame<'_> {
    #[inline(always)]
    fn len(&self) -> usize {
        self.0.data_end() - self.0.data()
    }

    #[inline(always)]
    fn view<T: Pod>(&self, at: usize) -> Option<&T> {
        const { assert!(align_of::<T>() == 1) };
        let start = sum(self.0.data(), at);
        if start + size_of::<T>() > self.0.data_end() {
            return None;
        }
        // SAFETY: the bytes lie inside the frame (the verifier checks it), any bytes are a valid
        // `T` of alignment 1, and the frame moves only through `&mut self`.
        Some(unsafe { &*(start as *const T) })
    }

    #[inline(always)]
    fn view_mut<T: Pod>(&mut self, at: usize) -> Option<&mut T> {
        const { assert!(align_of::<T>() == 1) };
        let start = sum(self.0.data(), at);
        if start + size_of::<T>() > self.0.data_end() {
            return None;
        }
        // SAFETY: as above; the frame belongs to this program while it runs.
        Some(unsafe { &mut *(start as *mut T) })
    }

    #[inline(always)]
    fn move_start(&mut self, delta: i32) -> Option<()> {
        // SAFETY: the context is valid; the helper checks the room.
        (unsafe { bpf_xdp_adjust_head(self.0.as_ptr().cast(), delta) } == 0).then_some(())
    }

    #[inline(always)]
    fn cut_end(&mut self, surplus: usize) -> Option<()> {
        // SAFETY: the context is valid; the helper checks the length.
        (unsafe { bpf_xdp_adjust_tail(self.0.as_ptr().cast(), -(surplus as i32)) } == 0).then_some(())
    }
}

/// A frame at the hook of traffic control, which is only read.
pub(crate) struct Skb<'a>(pub(crate) &'a TcContext);

impl Packet for Skb<'_> {
    #[inline(always)]
    fn len(&self) -> usize {
        self.0.data_end() - self.0.data()
    }

    #[inline(always)]
    fn view<T: Pod>(&self, at: usize) -> Option<&T> {
        const { assert!(align_of::<T>() == 1) };
        let start = sum(self.0.data(), at);
        if start + size_of::<T>() > self.0.data_end() {
            return None;
        }
        // SAFETY: as for [`Frame`].
        Some(unsafe { &*(start as *const T) })
    }

    fn view_mut<T: Pod>(&mut self, _: usize) -> Option<&mut T> {
        None
    }

    fn move_start(&mut self, _: i32) -> Option<()> {
        None
    }

    fn cut_end(&mut self, _: usize) -> Option<()> {
        None
    }
}
