//! The frame that the packet logic works on: bytes behind bounds-checked access.
//!
//! In the kernel it is an XDP context, on the host a vector (`host::Frame`). All offsets are in bytes
//! from the start of the Ethernet header.
//!
//! A jumbo frame may lie in several buffers (multi-buffer XDP). Only the first one can be viewed: drivers put
//! headers there. Lengths are those of the whole frame.

use bytemuck::Pod;

use crate::mss;

/// A frame under way.
#[allow(clippy::len_without_is_empty, reason = "a frame is never empty")]
pub trait Packet {
    /// Length of the frame in bytes, wherever they lie.
    fn len(&self) -> usize;

    /// Whether the frame has `end` bytes or more.
    fn reaches(&self, end: usize) -> bool {
        end <= self.len()
    }

    /// Bytes behind the first `end` ones, which the frame [has](Self::reaches).
    fn surplus(&self, end: usize) -> usize {
        self.len() - end
    }

    /// The bytes at `at` as a `T`, or `None` where the frame, or its first buffer, ends before it does.
    ///
    /// `T` is a wire type: alignment 1, every bit pattern valid. A view borrows the frame, so none
    /// survives a resize: what the verifier demands, the borrow checker enforces. Views are used
    /// rather than copies because a copy of a byte-aligned type ends up on the stack, where the
    /// verifier wants aligned words.
    fn view<T: Pod>(&self, at: usize) -> Option<&T>;

    /// The same for writing.
    fn view_mut<T: Pod>(&mut self, at: usize) -> Option<&mut T>;

    /// The ones' complement sum (RFC 1071) of `seed` and the `N` bytes at `at`, in the machine's own order, for
    /// [`fold`](crate::checksum::fold). `N` is a multiple of 4 and no more than 512.
    fn sum<const N: usize>(&self, at: usize, seed: u32) -> Option<u32>;

    /// Moves the start of the frame by `delta` bytes: a negative number makes room in front.
    /// `None`, changing nothing, where there is none.
    fn move_start(&mut self, delta: i32) -> Option<()>;

    /// Does what [`mss::clamp`] does to the packet that is the last `len` bytes of the frame.
    #[inline(always)]
    fn clamp_mss(&mut self, len: usize, fits: u64)
    where
        Self: Sized,
    {
        mss::clamp(self, self.len().wrapping_sub(len), fits);
    }

    /// Gives a copy of the frame to the daemon; `false` where there is no room for it.
    fn hand_over(&self) -> bool {
        false
    }

    /// Cuts `surplus` bytes off the end. `None`, changing nothing, where they cannot go.
    fn cut_end(&mut self, surplus: usize) -> Option<()>;
}
