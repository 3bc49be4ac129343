//! The eBPF object, embedded at build time.

use aya::include_bytes_aligned;

/// The ELF object with both programs and all maps.
pub(super) static OBJECT: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/anycast-lb.o"));

/// Maps that hold what packets are decided by; a second load for tracing shares them.
pub(super) const TABLES: [&str; 8] =
    ["CONTROL", "ADDRESSES", "SERVICES", "PREFIXES", "VIPS", "POOLS", "SLOTS", "MEMBERS"];
/// Maps that count; a second load has its own.
pub(super) const COUNTERS: [&str; 3] = [VERDICTS, VIP_COUNTERS, MEMBER_COUNTERS];
/// Maps in which the programs remember packets, with the 64-bit words of an element; each load has its own.
pub(super) const MEMORIES: [(&str, usize); 2] = [("HOP_LIMITS", 1), ("FRAGMENTS", 2)];
/// Counters by verdict.
pub(super) const VERDICTS: &str = "VERDICTS";
/// Counters by VIP number.
pub(super) const VIP_COUNTERS: &str = "VIP_COUNTERS";
/// Counters by member number.
pub(super) const MEMBER_COUNTERS: &str = "MEMBER_COUNTERS";
