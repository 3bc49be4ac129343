//! The small tables in one value.

use super::{
    ADDRESS_SLOTS, AddressEntry, Control, MAX_POOLS, MAX_PREFIXES, MAX_VIPS, PoolEntry, PrefixEntry,
    SERVICE_SLOTS, ServiceEntry, VipEntry,
};

/// All tables but members and slots, the one element of an array map.
///
/// A map of its own for each table costs every packet a look-up for each: a dozen instructions to turn a
/// constant into an address. Here one look-up gives the address of everything, and the rest is arithmetic on
/// registers. Members are a value of their own, and slots a map of ordinary elements, because an element is
/// [`MAX_VALUE`] at most.
#[repr(C)]
pub struct AllTables {
    /// The address table, both halves.
    pub addresses: [AddressEntry; 2 * ADDRESS_SLOTS as usize],
    /// The service table, both halves.
    pub services: [ServiceEntry; 2 * SERVICE_SLOTS as usize],
    /// VIPs by number; 0 is unused.
    pub vips: [VipEntry; MAX_VIPS as usize],
    /// The prefix table, both halves.
    pub prefixes: [PrefixEntry; 2 * MAX_PREFIXES as usize],
    /// Pools by number.
    pub pools: [PoolEntry; MAX_POOLS as usize],
    /// Which half is in force, and what is common to each.
    pub control: Control,
}

/// Bytes of an element that older kernels allow: what `kmalloc` gives at most.
pub const MAX_VALUE: usize = 4 << 20;
/// Bytes of a cache line.
const LINE: usize = 64;

const _: () = {
    use core::mem::offset_of;
    assert!(size_of::<AllTables>() <= MAX_VALUE);
    // What is read as a whole lies in as few lines as it can.
    assert!(offset_of!(AllTables, addresses).is_multiple_of(LINE));
    assert!(offset_of!(AllTables, services).is_multiple_of(LINE));
    assert!(offset_of!(AllTables, control).is_multiple_of(LINE));
};
