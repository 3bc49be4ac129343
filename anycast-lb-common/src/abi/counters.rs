//! What one CPU counts.

use super::{MAX_MEMBERS, MAX_VIPS, Verdict};

/// Packets and bytes; one for each CPU, so plain additions are enough.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct Counter {
    /// Packets.
    pub packets: u64,
    /// Bytes of the frames as they arrived, link header included.
    pub bytes: u64,
}

/// Verdicts that there is room for; a power of two.
pub const MAX_VERDICTS: u32 = 64;

/// All counters of one CPU, an element of an array map that has one for each possible CPU.
///
/// A packet counts in up to three places. With a per-CPU map for each it would follow a pointer of its own to
/// each; here it finds all of them by one look-up, and the daemon reads them as memory.
#[repr(C)]
pub struct CpuCounters {
    /// By verdict.
    pub verdicts: [Counter; MAX_VERDICTS as usize],
    /// By VIP number.
    pub vips: [Counter; MAX_VIPS as usize],
    /// By member number.
    pub members: [Counter; MAX_MEMBERS as usize],
}

const _: () = {
    assert!(Verdict::COUNT <= MAX_VERDICTS);
    // No cache line is shared by two CPUs.
    assert!(size_of::<CpuCounters>().is_multiple_of(64));
};
