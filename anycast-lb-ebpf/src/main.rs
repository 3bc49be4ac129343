//! The XDP programs: verdict → counter → action. What they decide is in `anycast-lb-common`.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(target_arch = "bpf")]
mod count;
#[cfg(target_arch = "bpf")]
mod maps;
#[cfg(target_arch = "bpf")]
mod packet;
#[cfg(target_arch = "bpf")]
mod tables;

#[cfg(target_arch = "bpf")]
mod programs {
    use anycast_lb_common::abi::Kind;
    use anycast_lb_common::packet::Packet as _;
    use anycast_lb_common::{Outcome, backend, ingress};
    use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS, XDP_TX};
    use aya_ebpf::helpers::bpf_redirect;
    use aya_ebpf::macros::xdp;
    use aya_ebpf::programs::XdpContext;

    use crate::count::count;
    use crate::packet::Frame;
    use crate::tables::Maps;

    /// Balances: takes packets for VIPs and tunnels them to backends.
    #[xdp]
    pub fn ingress(ctx: XdpContext) -> u32 {
        let mut frame = Frame(&ctx);
        let bytes = frame.len();
        let outcome = ingress::run(&mut frame, &Maps);
        finish(&ctx, &outcome, bytes)
    }

    /// Serves: takes tunnelled packets and hands what is inside to the kernel.
    #[xdp]
    pub fn backend(ctx: XdpContext) -> u32 {
        let mut frame = Frame(&ctx);
        let bytes = frame.len();
        let outcome = backend::run(&mut frame, &Maps);
        finish(&ctx, &outcome, bytes)
    }

    #[inline(always)]
    fn finish(ctx: &XdpContext, outcome: &Outcome, bytes: usize) -> u32 {
        count(outcome, bytes);
        #[cfg(feature = "log")]
        aya_log_ebpf::debug!(ctx, "{}: {} bytes", outcome.verdict.name(), bytes);
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
