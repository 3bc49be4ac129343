//! Limits on what is sent on or answered, kept in one map for all CPUs.

use anycast_lb_common::abi::HopLimits;
use anycast_lb_common::rate;
use aya_ebpf::helpers::bpf_ktime_get_ns;

use crate::maps::HOP_LIMITS;

/// Whether one more packet is within the limits of its prefix, which are kept in `word`, and of all, kept in
/// `total`.
#[inline(always)]
pub(crate) fn admit(word: u32, total: u32, limits: &HopLimits) -> bool {
    // SAFETY: a helper without preconditions.
    let now = unsafe { bpf_ktime_get_ns() };
    take(word, now, limits.prefix_interval, limits.prefix_burst)
        && take(total, now, limits.total_interval, limits.total_burst)
}

/// Two CPUs may admit a packet each at the same moment: they then exchange the word again.
const ATTEMPTS: u32 = 4;

#[inline(always)]
fn take(index: u32, now: u64, interval: u64, burst: u64) -> bool {
    match HOP_LIMITS.get_ptr_mut(index) {
        _ if interval == 0 => true,
        // SAFETY: a valid element of the map.
        Some(word) => unsafe { take_from(word, now, interval, burst) },
        None => false,
    }
}

/// Whether one more is within the limit whose state is `word`.
///
/// # Safety
///
/// `word` is a valid element of a map.
#[inline(always)]
pub(crate) unsafe fn take_from(word: *mut u64, now: u64, interval: u64, burst: u64) -> bool {
    // SAFETY: the caller's.
    let mut arrival = unsafe { word.read_volatile() };
    let mut attempt = 0;
    while attempt < ATTEMPTS {
        let Some(next) = rate::admit(arrival, now, interval, burst) else { return false };
        let found = compare_exchange(word, arrival, next);
        if found == arrival {
            return true;
        }
        arrival = found;
        attempt += 1;
    }
    // There was room each time, and others took it at the same moments: at most a packet for each of
    // them too many goes on. To drop it would break a living flow.
    true
}

/// Atomically puts `new` where `old` is; returns what was there.
#[inline(always)]
fn compare_exchange(word: *mut u64, old: u64, new: u64) -> u64 {
    let found: u64;
    // SAFETY: `word` is a valid element of a map. The instruction (BPF ISA v3) takes the expected
    // value in r0 and leaves what it found there.
    unsafe {
        core::arch::asm!(
            "r0 = cmpxchg_64(r1 + 0, r0, r2)",
            inlateout("r0") old => found,
            in("r1") word,
            in("r2") new,
            options(nostack),
        );
    }
    found
}
