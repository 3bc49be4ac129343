//! What `cargo xtask bench` puts around and beside the released programs; no part of what is
//! shipped.
//!
//! The kernel's test run repeats a program on one frame, so a program that encapsulates would find
//! its own work the second time. A *wrapper* undoes it: moves the start of the frame back to where
//! it was, writes what may have been overwritten, chooses the next flow, and goes on to the program
//! under test by a tail call. With nothing to go on to it transmits, which tells what it costs
//! itself.
//!
//! The kernel has programs for frames of several buffers called by such alone, and others by others. So each
//! wrapper is there twice.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(target_arch = "bpf")]
mod programs {
    use aya_ebpf::EbpfContext as _;
    use aya_ebpf::bindings::xdp_action::{XDP_ABORTED, XDP_TX};
    use aya_ebpf::btf_maps::{Array, ProgramArray};
    use aya_ebpf::helpers::bpf_xdp_adjust_head;
    use aya_ebpf::macros::{btf_map, xdp};
    use aya_ebpf::programs::XdpContext;

    /// What a frame is before each run, and how flows vary; `bench/src/wrapper.rs` writes it.
    #[repr(C)]
    struct Run {
        /// Bytes of the frame.
        length: u64,
        /// How many flows there are; each has its own source address.
        flows: u64,
        /// How many destination addresses they share.
        destinations: u64,
        /// The last 32 bits of the first source address.
        source: u64,
        /// The last 32 bits of the first destination address.
        destination: u64,
        /// The next flow: counts up to `flows`.
        flow: u64,
        /// Its destination: counts up to `destinations`, and begins anew with the flows.
        at_destination: u64,
        /// The first bytes of the frame, in the machine's order.
        head: [u64; HEAD_WORDS],
    }

    /// Words of [`Run::head`]: as long as GUE with three hops over IPv4 has headers.
    const HEAD_WORDS: usize = 8;

    #[btf_map]
    static RUN: Array<Run, 1> = Array::new();
    /// The program under test, if any.
    #[btf_map]
    static NEXT: ProgramArray<1> = ProgramArray::new();
    /// The same where it is one for frames of several buffers.
    #[btf_map]
    static NEXT_FRAGS: ProgramArray<1> = ProgramArray::new();

    /// Ethernet without its EtherType, in pieces that fit registers.
    #[repr(C, packed)]
    struct Link {
        front: u64,
        back: u32,
        ether_type: u16,
    }

    /// Up to the end of the addresses of IPv4.
    #[repr(C, packed)]
    struct HeadV4 {
        link: Link,
        between: [u8; 12],
        source: u32,
        destination: u32,
    }

    /// Up to the end of the addresses of IPv6.
    #[repr(C, packed)]
    struct HeadV6 {
        link: Link,
        between: [u8; 20],
        source: u32,
        source_to_destination: [u8; 12],
        destination: u32,
    }

    /// Words at any alignment.
    #[repr(C, packed)]
    struct Words<const N: usize>([u64; N]);

    /// For programs that put a header in front of IPv4: restores Ethernet, varies the flow.
    #[xdp]
    pub fn wrapper_v4(ctx: XdpContext) -> u32 {
        restore_v4(&ctx).map_or(XDP_ABORTED, |()| go_on(&ctx, &NEXT))
    }

    #[xdp(frags)]
    pub fn wrapper_v4_frags(ctx: XdpContext) -> u32 {
        restore_v4(&ctx).map_or(XDP_ABORTED, |()| go_on(&ctx, &NEXT_FRAGS))
    }

    /// The same for IPv6.
    #[xdp]
    pub fn wrapper_v6(ctx: XdpContext) -> u32 {
        restore_v6(&ctx).map_or(XDP_ABORTED, |()| go_on(&ctx, &NEXT))
    }

    #[xdp(frags)]
    pub fn wrapper_v6_frags(ctx: XdpContext) -> u32 {
        restore_v6(&ctx).map_or(XDP_ABORTED, |()| go_on(&ctx, &NEXT_FRAGS))
    }

    /// For programs that take headers off or rewrite them: restores all of them, one flow only.
    #[xdp]
    pub fn wrapper_backend(ctx: XdpContext) -> u32 {
        restore_all(&ctx).map_or(XDP_ABORTED, |()| go_on(&ctx, &NEXT))
    }

    #[xdp(frags)]
    pub fn wrapper_backend_frags(ctx: XdpContext) -> u32 {
        restore_all(&ctx).map_or(XDP_ABORTED, |()| go_on(&ctx, &NEXT_FRAGS))
    }

    #[inline(always)]
    fn restore_v4(ctx: &XdpContext) -> Option<()> {
        let run = rewind(ctx)?;
        let head = view::<HeadV4>(ctx)?;
        restore_link(&mut head.link, run);
        (head.source, head.destination) = next_flow(run);
        Some(())
    }

    #[inline(always)]
    fn restore_v6(ctx: &XdpContext) -> Option<()> {
        let run = rewind(ctx)?;
        let head = view::<HeadV6>(ctx)?;
        restore_link(&mut head.link, run);
        (head.source, head.destination) = next_flow(run);
        Some(())
    }

    #[inline(always)]
    fn restore_all(ctx: &XdpContext) -> Option<()> {
        let run = rewind(ctx)?;
        let head = view::<Words<HEAD_WORDS>>(ctx)?;
        let mut i = 0;
        while i < HEAD_WORDS {
            // SAFETY: a valid word. Volatile, or else the loop becomes a call of memcpy, which goes
            // byte by byte.
            let word = unsafe { (&raw const run.head[i]).read_volatile() };
            head.0[i] = word;
            i += 1;
        }
        Some(())
    }

    /// Nothing but XDP_TX.
    #[xdp]
    pub fn xdp_tx(_ctx: XdpContext) -> u32 {
        XDP_TX
    }

    /// The least that IP in IP over IPv4 can cost: room for the header, and one write of it, of 34
    /// bytes.
    #[xdp]
    pub fn floor_v4(ctx: XdpContext) -> u32 {
        floor::<4, u16>(&ctx, 0x6004)
    }

    /// The least that IP in IP over IPv6 can cost: 54 bytes.
    #[xdp]
    pub fn floor_v6(ctx: XdpContext) -> u32 {
        floor::<6, [u16; 3]>(&ctx, [0x6004, 0x6005, 0x6006])
    }

    /// Words, and what is left at the end.
    #[repr(C, packed)]
    struct Header<const N: usize, R>(Words<N>, R);

    /// Bytes of Ethernet, which the header put in front replaces.
    const LINK_LEN: usize = 14;

    #[inline(always)]
    fn floor<const N: usize, R: Copy>(ctx: &XdpContext, rest: R) -> u32 {
        let room = size_of::<Header<N, R>>() - LINK_LEN;
        // SAFETY: the context is valid; the helper checks the room.
        if unsafe { bpf_xdp_adjust_head(ctx.as_ptr().cast(), -(room as i32)) } != 0 {
            return XDP_ABORTED;
        }
        let Some(header) = view::<Header<N, R>>(ctx) else { return XDP_ABORTED };
        let mut i = 0;
        while i < N {
            // Each another one: equal ones become a call of memset, which goes byte by byte.
            header.0.0[i] = 0x4500_4000_4000_4000 + i as u64;
            i += 1;
        }
        header.1 = rest;
        XDP_TX
    }

    /// The frame's start where it was before the last run.
    #[inline(always)]
    fn rewind(ctx: &XdpContext) -> Option<&'static mut Run> {
        // SAFETY: test runs of one object follow one another, so nobody else has a reference.
        let run = unsafe { &mut *RUN.get_ptr_mut(0)? };
        let surplus = (ctx.data_end() - ctx.data()) as i32 - run.length as i32;
        // SAFETY: the context is valid; the helper checks the room.
        if surplus != 0 && unsafe { bpf_xdp_adjust_head(ctx.as_ptr().cast(), surplus) } != 0 {
            return None;
        }
        Some(run)
    }

    #[inline(always)]
    fn restore_link(link: &mut Link, run: &Run) {
        link.front = run.head[0];
        link.back = run.head[1] as u32;
        link.ether_type = (run.head[1] >> 32) as u16;
    }

    /// The last 32 bits of both addresses, network order.
    #[inline(always)]
    fn next_flow(run: &mut Run) -> (u32, u32) {
        let source = run.source + run.flow;
        let destination = run.destination + run.at_destination;
        let next = run.flow + 1;
        let next_destination = run.at_destination + 1;
        let all_done = next >= run.flows;
        // SAFETY: valid words. Volatile, or else two zeros become a call of memset.
        unsafe {
            (&raw mut run.flow).write_volatile(if all_done { 0 } else { next });
            let next = if all_done || next_destination >= run.destinations { 0 } else { next_destination };
            (&raw mut run.at_destination).write_volatile(next);
        }
        ((source as u32).to_be(), (destination as u32).to_be())
    }

    #[inline(always)]
    fn go_on(ctx: &XdpContext, next: &ProgramArray<1>) -> u32 {
        // SAFETY: nothing here waits to be dropped.
        unsafe { next.tail_call(ctx, 0) };
        XDP_TX
    }

    #[inline(always)]
    fn view<T>(ctx: &XdpContext) -> Option<&mut T> {
        let start = ctx.data();
        if start + size_of::<T>() > ctx.data_end() {
            return None;
        }
        // SAFETY: the bytes lie inside the frame (the verifier checks it), belong to this program
        // while it runs, and are a valid `T`; x86 and the flags of this build allow any alignment.
        Some(unsafe { &mut *(start as *mut T) })
    }

    #[panic_handler]
    fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
        loop {}
    }

    #[unsafe(link_section = "license")]
    #[unsafe(no_mangle)]
    static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
}

#[cfg(not(target_arch = "bpf"))]
fn main() {}
