//! The shared bytes: every type that lies in a map which both the daemon and a program touch.
//!
//! All types are `#[repr(C)]`, have no padding the compiler chose (`bytemuck` proves it), and their
//! sizes are asserted, because two releases may look at the same pinned map. Any change to a type
//! or to a constant here raises [`VERSION`].
//!
//! # How a change becomes visible
//!
//! * The address, service and prefix tables exist twice. The daemon fills the half that
//!   [`Control::active`] does not name, then flips that word.
//! * A pool's table lies in a region of the slot arena; [`PoolEntry::table`] names the region in
//!   one aligned 64-bit word, so that a packet sees the old table or the new one, never a mixture.
//! * What a packet that is still under way may read is overwritten only after an RCU grace period.

mod all;
mod counters;
mod event;
mod member;
mod service;
mod table;
mod verdict;

pub use all::{AllTables, MAX_VALUE};
pub use counters::{Counter, CpuCounters, MAX_VERDICTS};
pub use event::{
    Event, FLOW_RING, Filter, MAX_FILTERS, MAX_QUESTION, MAX_SNAP, Observed, Observer, PACKET_RING,
    QUESTION_RING, Question, Reasons, Written,
};
pub use member::{Encap, MAX_TEMPLATE, Member, MemberFlags};
pub use service::{
    ADDRESS_SLOTS, AddressEntry, AddressFlags, Buffer, Control, FRAGMENT_SLOT_BITS, FlowKeys,
    HOP_LIMIT_CLASS_BITS, HOP_LIMIT_WORDS, HopLimits, MAX_PREFIXES, MAX_VIPS, PrefixEntry, SERVICE_KEY,
    SERVICE_SLOTS, ServerIds, ServiceEntry, VipEntry, VipFlags, VipNumber, address_hash, address_key,
    address_slots, server_key, server_slots, service_key, service_slots,
};
pub use table::{ARENA_SLOTS, MAX_MEMBERS, MAX_POOLS, MemberNumber, PoolEntry, Slot, TableRef};
pub use verdict::{Kind, Program, VERDICTS, Verdict};

/// Version of everything in this module; part of the path under which maps are pinned.
pub const VERSION: u32 = 4;

/// Version of the flow hash and of the table algorithms: nodes that disagree on it place flows
/// differently.
pub const PLACEMENT: u32 = 1;

/// Mark (`SO_MARK`) of the packets of health checks that are to be sent through the tunnel as client
/// traffic is: its lower half is the number of the backend ([`MemberNumber`]) that is meant, its upper half
/// says that it is such a mark.
pub const HEALTH_MARK: u32 = 0xa1b0_0000;

/// The bits of a mark that say that it is one of [`HEALTH_MARK`].
pub const HEALTH_MARK_MASK: u32 = 0xffff_0000;
