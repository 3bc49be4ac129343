//! The XDP programs.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(target_arch = "bpf")]
mod maps;

#[cfg(target_arch = "bpf")]
mod programs {
    use anycast_lb_common::abi::Verdict;
    use aya_ebpf::bindings::xdp_action::XDP_PASS;
    use aya_ebpf::macros::xdp;
    use aya_ebpf::programs::XdpContext;

    use crate::maps::*;

    #[xdp]
    pub fn ingress(_ctx: XdpContext) -> u32 {
        let Some(control) = CONTROL.get(0) else { return XDP_PASS };
        let half = control.active as u32 & 1;
        let _ = (ADDRESSES.get(half), SERVICES.get(half), PREFIXES.get(half), VIPS.get(half));
        let _ = (POOLS.get(half), SLOTS.get(half), MEMBERS.get(half), VIP_COUNTERS.get(1), MEMBER_COUNTERS.get(1));
        if let Some(c) = VERDICTS.get_ptr_mut(Verdict::NotVip as u32) {
            unsafe { (*c).packets += 1 };
        }
        XDP_PASS
    }

    #[xdp]
    pub fn backend(_ctx: XdpContext) -> u32 {
        let Some(control) = CONTROL.get(0) else { return XDP_PASS };
        if let Some(c) = VERDICTS.get_ptr_mut(control.active as u32) {
            unsafe { (*c).packets += 1 };
        }
        XDP_PASS
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
