//! The eBPF object, embedded at build time.

use aya::include_bytes_aligned;

/// The ELF object with both programs and all maps.
pub(super) static OBJECT: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/anycast-lb.o"));

/// All tables but slots and members.
pub(super) const TABLES: &str = "TABLES";
/// The arena of slots.
pub(super) const SLOTS: &str = "SLOTS";
/// Members.
pub(super) const MEMBERS: &str = "MEMBERS";
/// The maps of what packets are decided by; a second load for tracing shares them.
pub(super) const DECIDING: [&str; 3] = [TABLES, SLOTS, MEMBERS];
/// Maps in which the programs remember packets, with the 64-bit words of an element; each load has its own.
pub(super) const MEMORIES: [(&str, usize); 2] = [("HOP_LIMITS", 1), ("FRAGMENTS", 2)];
