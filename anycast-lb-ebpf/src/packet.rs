//! The frame in the kernel.

use core::arch::asm;
use core::cell::Cell;

use anycast_lb_common::abi::{MAX_QUESTION, Question};
use anycast_lb_common::mss;
use anycast_lb_common::packet::Packet;
use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::generated::{bpf_xdp_get_buff_len, bpf_xdp_load_bytes};
use aya_ebpf::helpers::{bpf_csum_diff, bpf_xdp_adjust_head, bpf_xdp_adjust_tail};
use aya_ebpf::programs::{TcContext, XdpContext};
use bytemuck::Pod;

use crate::maps::{OBSERVED, QUESTIONS};

/// Where a packet may start in a frame, for the verifier: the longest tunnel header has 182 bytes.
const MAX_START: usize = 0xff;
/// Bytes that `bpf_csum_diff` takes before Linux 6.13.
const MAX_SUM: usize = 512;

/// A frame, of which the first buffer is in reach and the kernel knows the rest.
pub(crate) struct Frame<'a> {
    pub(crate) context: &'a XdpContext,
    /// How many bytes came, as far as somebody had to know.
    bytes: Cell<usize>,
}

impl<'a> Frame<'a> {
    #[inline(always)]
    pub(crate) fn new(context: &'a XdpContext) -> Self {
        Frame { context, bytes: Cell::new(context.data_end() - context.data()) }
    }

    /// Bytes of the frame as it came. Where a frame is longer than what its IP header says, and lies in more than
    /// one buffer, what is too much may be missing here.
    #[inline(always)]
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.get()
    }

    /// Bytes of the first buffer.
    #[inline(always)]
    fn linear(&self) -> usize {
        self.context.data_end() - self.context.data()
    }
}

/// `start + at`, which the compiler cannot compute a second time: it would check one copy and use the other,
/// and the verifier does not know that they are equal.
#[inline(always)]
fn place(mut start: usize, at: usize) -> usize {
    // SAFETY: arithmetic; a packet does not begin at address 0.
    unsafe {
        asm!("{start} += {at}", start = inout(reg) start, at = in(reg) at, options(pure, nomem, nostack));
        // No frame lies there. A view would be tested for it, each of them.
        core::hint::assert_unchecked(start != 0);
    }
    start
}

/// The bytes of a `T` at `at` between `start` and `end`, if they lie there.
#[inline(always)]
pub(crate) fn viewed<T: Pod>(start: usize, end: usize, at: usize) -> Option<*mut T> {
    const { assert!(align_of::<T>() == 1) };
    let start = place(start, at);
    if start + size_of::<T>() > end {
        return None;
    }
    Some(start as *mut T)
}

impl Packet for Frame<'_> {
    #[inline(always)]
    fn len(&self) -> usize {
        // SAFETY: the context is valid.
        (unsafe { bpf_xdp_get_buff_len(self.context.as_ptr().cast()) }) as usize
    }

    // Hardly a frame lies in more than one buffer: who asks for the whole pays for it.
    #[inline(always)]
    fn reaches(&self, end: usize) -> bool {
        if end <= self.linear() {
            return true;
        }
        self.bytes.set(self.len());
        end <= self.bytes.get()
    }

    #[inline(always)]
    fn surplus(&self, end: usize) -> usize {
        if self.linear() == end { 0 } else { self.len().wrapping_sub(end) }
    }

    #[inline(always)]
    fn view<T: Pod>(&self, at: usize) -> Option<&T> {
        let bytes = viewed(self.context.data(), self.context.data_end(), at)?;
        // SAFETY: the bytes lie inside the frame (the verifier checks it), any bytes are a valid
        // `T` of alignment 1, and the frame moves only through `&mut self`.
        Some(unsafe { &*bytes })
    }

    #[inline(always)]
    fn view_mut<T: Pod>(&mut self, at: usize) -> Option<&mut T> {
        let bytes = viewed(self.context.data(), self.context.data_end(), at)?;
        // SAFETY: as above; the frame belongs to this program while it runs.
        Some(unsafe { &mut *bytes })
    }

    #[inline(always)]
    fn sum<const N: usize>(&self, at: usize, seed: u32) -> Option<u32> {
        const { assert!(N.is_multiple_of(4) && N <= MAX_SUM) };
        let bytes: &[u8; N] = self.view(at)?;
        // SAFETY: the bytes lie inside the frame; the helper only reads.
        let sum = unsafe {
            bpf_csum_diff(core::ptr::null_mut(), 0, bytes.as_ptr().cast_mut().cast(), N as u32, seed)
        };
        Some(sum as u32)
    }

    #[inline(always)]
    fn move_start(&mut self, delta: i32) -> Option<()> {
        // SAFETY: the context is valid; the helper checks the room.
        (unsafe { bpf_xdp_adjust_head(self.context.as_ptr().cast(), delta) } == 0).then_some(())
    }

    #[inline(always)]
    fn hand_over(&self) -> bool {
        let Some(mut question) = QUESTIONS.reserve_untyped::<Question>(0) else { return lost() };
        let len = opaque(self.linear());
        if len == 0 || len > MAX_QUESTION {
            question.discard(0);
            return lost();
        }
        let entry = question.as_mut_ptr();
        // SAFETY: the entry is valid until it is submitted; the helper checks the frame.
        let failed = unsafe {
            (*entry).ifindex = self.context.ingress_ifindex() as u32;
            (*entry).len = len as u32;
            let bytes = (&raw mut (*entry).bytes).cast();
            bpf_xdp_load_bytes(self.context.as_ptr().cast(), 0, bytes, len as u32)
        };
        if failed != 0 {
            question.discard(0);
            return lost();
        }
        question.submit(0);
        if let Some(observed) = OBSERVED.get_ptr_mut(0) {
            // SAFETY: a valid element, whose values belong to this CPU.
            unsafe { (*observed).questions.records += 1 };
        }
        true
    }

    fn clamp_mss(&mut self, len: usize, fits: u64) {
        // The verifier knows nothing of the length. In 32 bits it could not be subtracted from.
        let start = opaque(self.len()).wrapping_sub(len) & MAX_START;
        mss::clamp(self, start, fits);
    }

    #[inline(always)]
    fn cut_end(&mut self, surplus: usize) -> Option<()> {
        // Else the compiler may subtract pointers in 32 bits, where it only needs so many.
        let surplus = opaque(surplus);
        // SAFETY: the context is valid; the helper checks the length.
        (unsafe { bpf_xdp_adjust_tail(self.context.as_ptr().cast(), -(surplus as i32)) } == 0).then_some(())
    }
}

/// A question went nowhere.
#[inline(always)]
fn lost() -> bool {
    if let Some(observed) = OBSERVED.get_ptr_mut(0) {
        // SAFETY: a valid element, whose values belong to this CPU.
        unsafe { (*observed).questions.lost += 1 };
    }
    false
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
        let bytes = viewed(self.0.data(), self.0.data_end(), at)?;
        // SAFETY: as for [`Frame`].
        Some(unsafe { &*bytes })
    }

    fn view_mut<T: Pod>(&mut self, _: usize) -> Option<&mut T> {
        None
    }

    fn sum<const N: usize>(&self, _: usize, _: u32) -> Option<u32> {
        None
    }

    fn move_start(&mut self, _: i32) -> Option<()> {
        None
    }

    fn cut_end(&mut self, _: usize) -> Option<()> {
        None
    }
}

/// `x`, of which the compiler no longer knows how it relates to other values: it would drop a
/// bounds check that another one implies, and the verifier does not follow such reasoning.
#[inline(always)]
pub(crate) fn opaque(mut x: usize) -> usize {
    // An instruction, though none is needed: an empty one would have the place of the next, and the
    // kernel refuses line information in which a place comes twice.
    // SAFETY: copies the value onto itself.
    unsafe { core::arch::asm!("{0} = {0}", inout(reg) x, options(nomem, nostack, preserves_flags)) };
    x
}
