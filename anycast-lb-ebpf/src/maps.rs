//! The maps. Tables and counters are separate, so that a second load of this object can share the
//! tables and keep counters of its own.

use anycast_lb_common::abi::{
    ARENA_SLOTS, AllTables, CpuCounters, FLOW_RING, FRAGMENT_SLOT_BITS, HOP_LIMIT_WORDS, MAX_MEMBERS,
    MAX_VALUE, Member, Observed, Observer, PACKET_RING, QUESTION_RING, Slot,
};
use aya_ebpf::btf_maps::{Array, PerCpuArray, RingBuf};
use aya_ebpf::macros::btf_map;

use crate::observing::Note;

/// `BPF_F_MMAPABLE`: the daemon writes tables through a mapping, without a system call an element.
const MMAPABLE: usize = 1 << 10;

#[btf_map]
pub static TABLES: Array<AllTables, 1, MMAPABLE> = Array::new();
/// The arena, too large for one element.
#[btf_map]
pub static SLOTS: Array<Slot, { ARENA_SLOTS as usize }, MMAPABLE> = Array::new();
#[btf_map]
pub static MEMBERS: Array<[Member; MAX_MEMBERS as usize], 1, MMAPABLE> = Array::new();

/// State of the limits, on a backend those on hops, on an ingress node those on ICMP: theoretical
/// arrival times.
#[btf_map]
pub static HOP_LIMITS: Array<u64, { HOP_LIMIT_WORDS as usize }> = Array::new();

/// Where the fragments of a datagram go, as its first one went.
#[btf_map]
pub static FRAGMENTS: Array<[u64; 2], { 1 << FRAGMENT_SLOT_BITS }> = Array::new();

/// One element for each possible CPU, which the daemon sees to when it loads the object.
#[btf_map]
pub static COUNTERS: Array<CpuCounters, 1, MMAPABLE> = Array::new();

/// What the observed programs report.
#[btf_map]
pub static OBSERVER: Array<Observer, 1, MMAPABLE> = Array::new();

/// What is noted of the packet under way.
#[btf_map]
pub static NOTES: PerCpuArray<Note, 1> = PerCpuArray::new();

/// State of the limits on reports.
#[btf_map]
pub static OBSERVER_LIMITS: Array<u64, 2> = Array::new();

/// How many records were written, and were not.
#[btf_map]
pub static OBSERVED: PerCpuArray<Observed, 1> = PerCpuArray::new();

/// Records of the flow log.
#[btf_map]
pub static FLOWS: RingBuf<(), { FLOW_RING as usize }> = RingBuf::new();

/// Packets that filters want, with their first bytes.
#[btf_map]
pub static PACKETS: RingBuf<(), { PACKET_RING as usize }> = RingBuf::new();

/// Questions for the name of the node.
#[btf_map]
pub static QUESTIONS: RingBuf<(), { QUESTION_RING as usize }> = RingBuf::new();

const _: () = assert!(size_of::<[Member; MAX_MEMBERS as usize]>() <= MAX_VALUE);
