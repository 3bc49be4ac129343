//! The XDP programs: verdict → counter → action. What they decide is in `anycast-lb-common`.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]

#[cfg(target_arch = "bpf")]
mod count;
#[cfg(target_arch = "bpf")]
mod departure;
#[cfg(target_arch = "bpf")]
mod limits;
#[cfg(target_arch = "bpf")]
mod maps;
#[cfg(target_arch = "bpf")]
mod observing;
#[cfg(target_arch = "bpf")]
mod packet;
#[cfg(target_arch = "bpf")]
mod sockets;
#[cfg(target_arch = "bpf")]
mod tables;

#[cfg(target_arch = "bpf")]
mod programs {
    use anycast_lb_common::abi::{HEALTH_MARK, HEALTH_MARK_MASK, Kind, MemberNumber};
    use anycast_lb_common::{Outcome, backend, ingress, probe, relay};
    use aya_ebpf::bindings::xdp_action::{XDP_ABORTED, XDP_DROP, XDP_PASS, XDP_TX};
    use aya_ebpf::bindings::{TC_ACT_SHOT, TC_ACT_UNSPEC};
    use aya_ebpf::helpers::bpf_redirect;
    use aya_ebpf::helpers::generated::bpf_redirect_neigh;
    use aya_ebpf::macros::{classifier, xdp};
    use aya_ebpf::programs::{TcContext, XdpContext};

    use crate::count::count;
    use crate::departure::Departure;
    use crate::observing::Observing;
    use crate::packet::{Frame, Skb};
    use crate::tables::Maps;

    /// Balances: takes packets for VIPs and tunnels them to backends.
    // Inlined into what the macro makes of it: where the kernel guards returns, each takes some ns.
    #[xdp(frags)]
    #[inline(always)]
    pub fn ingress(ctx: XdpContext) -> u32 {
        let mut frame = Frame::new(&ctx);
        let Some(tables) = Maps::find() else { return XDP_ABORTED };
        let outcome = ingress::run(&mut frame, &tables);
        count(&outcome, frame.bytes());
        #[cfg(feature = "log")]
        aya_log_ebpf::debug!(&ctx, "{}: {} bytes", outcome.verdict.name(), frame.bytes());
        after_ingress(&ctx, &outcome)
    }

    /// The same, and reports packets to those who ask.
    #[xdp(frags)]
    #[inline(always)]
    pub fn ingress_observed(ctx: XdpContext) -> u32 {
        let mut frame = Frame::new(&ctx);
        let Some(observing) = Observing::begin(&frame) else { return XDP_ABORTED };
        let Some(tables) = Maps::find_with(&observing) else { return XDP_ABORTED };
        let outcome = ingress::run(&mut frame, &tables);
        count(&outcome, frame.bytes());
        observing.end(&frame, &outcome, after_ingress(&ctx, &outcome))
    }

    #[inline(always)]
    fn after_ingress(ctx: &XdpContext, outcome: &Outcome) -> u32 {
        match outcome.verdict.kind() {
            Kind::Pass => XDP_PASS,
            Kind::Drop => XDP_DROP,
            Kind::Transmit if outcome.ifindex == 0 || outcome.ifindex == ctx.ingress_ifindex() as u32 => {
                XDP_TX
            }
            // SAFETY: a helper without preconditions.
            Kind::Transmit => (unsafe { bpf_redirect(outcome.ifindex, 0) }) as u32,
        }
    }

    /// Serves: takes tunnelled packets and hands what is inside to the kernel.
    // Inlined into what the macro makes of it: where the kernel guards returns, each takes some ns.
    #[xdp(frags)]
    #[inline(always)]
    pub fn backend(ctx: XdpContext) -> u32 {
        let mut frame = Frame::new(&ctx);
        let Some(tables) = Maps::find() else { return XDP_ABORTED };
        let outcome = backend::run(&mut frame, &tables);
        count(&outcome, frame.bytes());
        #[cfg(feature = "log")]
        aya_log_ebpf::debug!(&ctx, "{}: {} bytes", outcome.verdict.name(), frame.bytes());
        after_backend(&outcome)
    }

    /// The same, and reports packets to those who ask.
    #[xdp(frags)]
    #[inline(always)]
    pub fn backend_observed(ctx: XdpContext) -> u32 {
        let mut frame = Frame::new(&ctx);
        let Some(observing) = Observing::begin(&frame) else { return XDP_ABORTED };
        let Some(tables) = Maps::find_with(&observing) else { return XDP_ABORTED };
        let outcome = backend::run(&mut frame, &tables);
        count(&outcome, frame.bytes());
        observing.end(&frame, &outcome, after_backend(&outcome))
    }

    #[inline(always)]
    fn after_backend(outcome: &Outcome) -> u32 {
        match outcome.verdict.kind() {
            Kind::Drop => XDP_DROP,
            // A hop leaves by `relay`, which the packet meets next.
            Kind::Pass | Kind::Transmit => XDP_PASS,
        }
    }

    /// Sends what marked sockets of an ingress node send through the tunnel: health checks.
    #[classifier]
    pub fn probe(ctx: TcContext) -> i32 {
        // SAFETY: the context is valid.
        let mark = unsafe { (*ctx.skb.skb).mark };
        if mark & HEALTH_MARK_MASK != HEALTH_MARK {
            return TC_ACT_UNSPEC;
        }
        let Some(tables) = Maps::find() else { return TC_ACT_SHOT };
        let Some(ifindex) = probe::run(&mut Departure::new(&ctx), &tables, mark as MemberNumber) else {
            return TC_ACT_SHOT;
        };
        // SAFETY: the context is valid. Without its mark the packet is let through where it leaves.
        unsafe {
            (*ctx.skb.skb).mark = 0;
            bpf_redirect(ifindex, 0) as i32
        }
    }

    /// The last step of a hop: the kernel's own neighbour table finds the way.
    #[classifier]
    pub fn relay(ctx: TcContext) -> i32 {
        let Some(tables) = Maps::find() else { return TC_ACT_UNSPEC };
        if !relay::is_hop(&Skb(&ctx), &tables) {
            return TC_ACT_UNSPEC;
        }
        // SAFETY: the context is valid. Without parameters the kernel looks the neighbour up.
        unsafe {
            let ifindex = (*ctx.skb.skb).ifindex;
            bpf_redirect_neigh(ifindex, core::ptr::null_mut(), 0, 0) as i32
        }
    }

    #[panic_handler]
    fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
        // A reachable panic becomes an endless loop, which the verifier refuses to load.
        loop {}
    }

    #[unsafe(link_section = "license")]
    #[unsafe(no_mangle)]
    static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
}

#[cfg(not(target_arch = "bpf"))]
fn main() {}
