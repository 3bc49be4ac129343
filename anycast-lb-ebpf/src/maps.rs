//! The maps. Tables and counters are separate, so that a second load of this object can share the
//! tables and keep counters of its own.

use anycast_lb_common::abi::{
    ADDRESS_SLOTS, ARENA_SLOTS, AddressEntry, Control, Counter, FRAGMENT_SLOT_BITS, HOP_LIMIT_WORDS,
    MAX_MEMBERS, MAX_POOLS, MAX_PREFIXES, MAX_VIPS, Member, PoolEntry, PrefixEntry, SERVICE_SLOTS,
    ServiceEntry, Slot, Verdict, VipEntry,
};
use aya_ebpf::btf_maps::{Array, PerCpuArray};
use aya_ebpf::macros::btf_map;

/// A table: an array map of one element that holds all entries.
///
/// The kernel's look-up takes its index from memory, so an index that was just computed goes through the
/// stack on its way, for one table after the other. With one element the index is a constant, and the
/// rest is arithmetic on registers. The arena is too large for an element.
pub type Table<T, const N: usize> = Array<[T; N], 1, MMAPABLE>;

/// `BPF_F_MMAPABLE`: the daemon writes tables through a mapping, without a system call an element.
const MMAPABLE: usize = 1 << 10;

#[btf_map]
pub static CONTROL: Array<Control, 1, MMAPABLE> = Array::new();
#[btf_map]
pub static ADDRESSES: Table<AddressEntry, { 2 * ADDRESS_SLOTS as usize }> = Array::new();
#[btf_map]
pub static SERVICES: Table<ServiceEntry, { 2 * SERVICE_SLOTS as usize }> = Array::new();
#[btf_map]
pub static PREFIXES: Table<PrefixEntry, { 2 * MAX_PREFIXES as usize }> = Array::new();
#[btf_map]
pub static VIPS: Table<VipEntry, { MAX_VIPS as usize }> = Array::new();
#[btf_map]
pub static POOLS: Table<PoolEntry, { MAX_POOLS as usize }> = Array::new();
#[btf_map]
pub static SLOTS: Array<Slot, { ARENA_SLOTS as usize }, MMAPABLE> = Array::new();
#[btf_map]
pub static MEMBERS: Table<Member, { MAX_MEMBERS as usize }> = Array::new();

/// State of the limits, on a backend those on hops, on an ingress node those on ICMP: theoretical
/// arrival times.
#[btf_map]
pub static HOP_LIMITS: Array<u64, { HOP_LIMIT_WORDS as usize }> = Array::new();

/// Where the fragments of a datagram go, as its first one went.
#[btf_map]
pub static FRAGMENTS: Array<[u64; 2], { 1 << FRAGMENT_SLOT_BITS }> = Array::new();

#[btf_map]
pub static VERDICTS: PerCpuArray<Counter, { Verdict::COUNT as usize }> = PerCpuArray::new();
#[btf_map]
pub static VIP_COUNTERS: PerCpuArray<Counter, { MAX_VIPS as usize }> = PerCpuArray::new();
#[btf_map]
pub static MEMBER_COUNTERS: PerCpuArray<Counter, { MAX_MEMBERS as usize }> = PerCpuArray::new();
