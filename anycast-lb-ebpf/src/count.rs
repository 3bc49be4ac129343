//! Counting: one CPU writes its own values, so nothing is shared and nothing is locked.

use core::arch::asm;

use anycast_lb_common::Outcome;
use anycast_lb_common::abi::Counter;
use aya_ebpf::helpers::bpf_get_smp_processor_id;

use crate::maps::COUNTERS;

/// Counts a frame of `bytes` bytes under its verdict and, where they are known, its VIP and member.
#[inline(always)]
pub(crate) fn count(outcome: &Outcome, bytes: usize) {
    // SAFETY: a helper without preconditions; the kernel puts an instruction in its place.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    let Some(own) = COUNTERS.get_ptr_mut(cpu) else { return };
    // SAFETY: a valid element, in which each table lies at its place.
    let (verdicts, vips, members) =
        unsafe { (&raw mut (*own).verdicts, &raw mut (*own).vips, &raw mut (*own).members) };
    add(verdicts, outcome.verdict as u64, bytes);
    if outcome.vip != 0 {
        add(vips, outcome.vip.into(), bytes);
    }
    if outcome.member != 0 {
        add(members, outcome.member.into(), bytes);
    }
}

#[inline(always)]
fn add<const N: usize>(counters: *mut [Counter; N], number: u64, bytes: usize) {
    const { assert!(N.is_power_of_two()) };
    let mut number = number;
    // The compiler may know that the number is small enough, but the verifier wants to see it.
    // SAFETY: arithmetic on one register.
    unsafe {
        asm!("{number} &= {mask}", number = inout(reg) number, mask = const N - 1, options(pure, nomem, nostack))
    };
    // SAFETY: below `N`. The values belong to this CPU, and an XDP program is not interrupted by another on the
    // same CPU.
    unsafe {
        let counter = counters.cast::<Counter>().add(number as usize);
        (*counter).packets += 1;
        (*counter).bytes += bytes as u64;
    }
}
