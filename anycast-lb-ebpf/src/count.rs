//! Counting: one CPU writes its own values, so nothing is shared and nothing is locked.

use anycast_lb_common::Outcome;
use anycast_lb_common::abi::Counter;

use crate::maps::{MEMBER_COUNTERS, VERDICTS, VIP_COUNTERS};

/// Counts a frame of `bytes` bytes under its verdict and, where they are known, its VIP and member.
#[inline(always)]
pub(crate) fn count(outcome: &Outcome, bytes: usize) {
    add(VERDICTS.get_ptr_mut(outcome.verdict as u32), bytes);
    if outcome.vip != 0 {
        add(VIP_COUNTERS.get_ptr_mut(outcome.vip.into()), bytes);
    }
    if outcome.member != 0 {
        add(MEMBER_COUNTERS.get_ptr_mut(outcome.member.into()), bytes);
    }
}

#[inline(always)]
fn add(counter: Option<*mut Counter>, bytes: usize) {
    if let Some(counter) = counter {
        // SAFETY: the value belongs to this CPU, and an XDP program is not interrupted by another
        // on the same CPU.
        unsafe {
            (*counter).packets += 1;
            (*counter).bytes += bytes as u64;
        }
    }
}
