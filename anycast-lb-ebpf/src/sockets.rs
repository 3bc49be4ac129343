//! The sockets of this host, as the kernel tells.

use core::ptr::NonNull;

use anycast_lb_common::abi::HopLimits;
use anycast_lb_common::rate;
use anycast_lb_common::sockets::{Remembered, Sockets, TcpSocket, Tuple, state};
use anycast_lb_common::wire::Tcp;
use aya_ebpf::bindings::{BPF_F_CURRENT_NETNS, bpf_sock, bpf_sock_tuple};
use aya_ebpf::helpers::generated::{
    bpf_sk_lookup_udp, bpf_sk_release, bpf_skc_lookup_tcp, bpf_skc_to_tcp_request_sock,
    bpf_skc_to_tcp_timewait_sock, bpf_tcp_check_syncookie,
};
use aya_ebpf::{EbpfContext as _, Global};
use bytemuck::Pod;

use crate::limits;
use crate::packet::{Frame, opaque};

/// Where `struct tcp_request_sock` has `snt_isn`, read from the kernel's type information when the
/// program is loaded; 0 = not known.
#[unsafe(no_mangle)]
static SNT_ISN_OFFSET: Global<u32> = Global::new(0);

/// Where `struct tcp_timewait_sock` has `tw_rcv_nxt` and `tw_snd_nxt`, likewise.
#[unsafe(no_mangle)]
static TW_RCV_NXT_OFFSET: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
static TW_SND_NXT_OFFSET: Global<u32> = Global::new(0);

/// A socket that is released when it is dropped, which the verifier demands.
pub(crate) struct Held(NonNull<bpf_sock>);

impl Drop for Held {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: the look-up that made this gave us a reference.
        unsafe { bpf_sk_release(self.0.as_ptr().cast()) };
    }
}

impl TcpSocket<Frame<'_>> for Held {
    #[inline(always)]
    fn state(&self) -> u32 {
        // SAFETY: not null, and the reference is held.
        unsafe { (*self.0.as_ptr()).state }
    }

    #[inline(always)]
    fn request_isn(&self) -> Option<u32> {
        let offset = SNT_ISN_OFFSET.load();
        if offset == 0 {
            return None;
        }
        // SAFETY: the helper checks what kind of socket it is.
        let request = unsafe { bpf_skc_to_tcp_request_sock(self.0.as_ptr().cast()) };
        if request.is_null() {
            return None;
        }
        // SAFETY: the offset is that of a 32-bit field of this very type in the running kernel.
        Some(unsafe { field(request.cast(), offset) })
    }

    #[inline(always)]
    fn remembered(&self) -> Option<Remembered> {
        let (received, sent) = (TW_RCV_NXT_OFFSET.load(), TW_SND_NXT_OFFSET.load());
        if received == 0 || sent == 0 {
            return None;
        }
        // SAFETY: the helper checks what kind of socket it is.
        let closed = unsafe { bpf_skc_to_tcp_timewait_sock(self.0.as_ptr().cast()) };
        if closed.is_null() {
            return None;
        }
        // SAFETY: the offsets are those of 32-bit fields of this very type in the running kernel.
        let (receive_next, send_next) =
            unsafe { (field(closed.cast(), received), field(closed.cast(), sent)) };
        Some(Remembered { receive_next, send_next })
    }

    #[inline(always)]
    fn gave_cookie<H: Pod>(&self, packet: &Frame<'_>, ip: usize, tcp: usize) -> bool {
        use anycast_lb_common::packet::Packet as _;
        let (Some(ip), Some(tcp)) = (packet.view::<H>(opaque(ip)), packet.view::<Tcp>(tcp)) else {
            return false;
        };
        // SAFETY: both headers lie inside the frame with the lengths given; the helper only reads.
        let result = unsafe {
            bpf_tcp_check_syncookie(
                self.0.as_ptr().cast(),
                core::ptr::from_ref(ip).cast_mut().cast(),
                size_of::<H>() as u32,
                core::ptr::from_ref(tcp).cast_mut().cast(),
                Tcp::LEN as u32,
            )
        };
        result == 0
    }
}

/// A field of one of the kernel's structures.
///
/// # Safety
///
/// The structure is alive and has a 32-bit field at `offset` bytes.
#[inline(always)]
unsafe fn field(structure: *const u8, offset: u32) -> u32 {
    // SAFETY: as the caller says.
    unsafe { structure.add(offset as usize).cast::<u32>().read() }
}

impl Sockets for Frame<'_> {
    type Tcp = Held;

    #[inline(always)]
    fn tcp<const N: usize>(&self, flow: &Tuple<N>) -> Option<Held> {
        // Not `bpf_sk_lookup_tcp`: it does not see TIME_WAIT.
        // SAFETY: the tuple has the bytes that its length says, and the helper only reads.
        let socket = unsafe {
            bpf_skc_lookup_tcp(self.context.as_ptr(), tuple(flow), Tuple::<N>::LEN as u32, CURRENT_NETNS, 0)
        };
        NonNull::new(socket.cast()).map(Held)
    }

    #[inline(always)]
    fn has_connected_udp<const N: usize>(&self, flow: &Tuple<N>) -> bool {
        // SAFETY: as above.
        let socket = unsafe {
            bpf_sk_lookup_udp(self.context.as_ptr(), tuple(flow), Tuple::<N>::LEN as u32, CURRENT_NETNS, 0)
        };
        let Some(held) = NonNull::new(socket.cast()).map(Held) else { return false };
        held.state() == state::ESTABLISHED
    }

    #[inline(always)]
    fn admit_hop(&self, word: u32, limits: &HopLimits) -> bool {
        limits::admit(word, rate::TOTAL, limits)
    }
}

#[inline(always)]
fn tuple<const N: usize>(flow: &Tuple<N>) -> *mut bpf_sock_tuple {
    flow.words().as_ptr().cast_mut().cast()
}

/// `BPF_F_CURRENT_NETNS` as the helpers take it.
const CURRENT_NETNS: u64 = BPF_F_CURRENT_NETNS as i64 as u64;
