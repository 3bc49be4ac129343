//! Pools and their tables: slots in one arena.

use bytemuck::{Pod, Zeroable};

/// Pools a node can have; number 0 is the first.
pub const MAX_POOLS: u32 = 1024;
/// Members (backends, counted once for each pool they are in) a node can have, number 0 unused.
pub const MAX_MEMBERS: u32 = 1 << 15;
/// 64-bit words in the arena that holds all tables (32 MiB).
pub const ARENA_SLOTS: u32 = 1 << 22;

/// Number of a backend in a pool, an index into members and their counters; 0 = none. The same host in two
/// pools has two numbers: it may be reached by two encapsulations and is counted twice.
pub type MemberNumber = u16;

/// One slot of a table: up to four members in the order in which they are tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(transparent)]
pub struct Slot(pub u64);

impl Slot {
    /// Members a slot can name: the owner and three hops.
    pub const LEN: usize = 4;

    /// Packs members, the owner first.
    pub fn new(members: [MemberNumber; Self::LEN]) -> Self {
        let mut word = 0;
        let mut i = 0;
        while i < Self::LEN {
            word |= (members[i] as u64) << (16 * i);
            i += 1;
        }
        Slot(word)
    }

    /// The `i`th member, 0 being the owner.
    pub fn member(self, i: u32) -> MemberNumber {
        (self.0 >> (16 * (i & 3))) as u16
    }
}

/// Where a pool's table lies: one aligned word, replaced atomically.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C, align(8))]
pub struct TableRef {
    /// Index of the first slot in the arena.
    pub base: u32,
    /// The table has 2^bits slots, 1 to 24; 0 = no table.
    pub bits: u8,
    /// Words a slot has: 1 (four members), or 2 (eight members) where flows are rescued from other
    /// PoPs.
    pub words: u8,
    /// Zero.
    pub reserved: [u8; 2],
}

impl TableRef {
    /// The slot of a flow: the top bits of its hash.
    #[inline(always)]
    pub fn slot(self, hash: u64) -> u32 {
        // `bits` is at least 1 here; the mask keeps the shift defined for any value.
        (hash >> ((64 - self.bits as u32) & 63)) as u32
    }

    /// As one word, the way it is stored.
    #[inline(always)]
    pub fn from_word(word: u64) -> Self {
        bytemuck::cast(word)
    }

    /// The word to store.
    pub fn to_word(self) -> u64 {
        bytemuck::cast(self)
    }
}

/// A pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct PoolEntry {
    /// The table in force, as [`TableRef::to_word`] gives it.
    pub table: u64,
    /// While the hash seed is being changed, the table under the previous seed, in the same form;
    /// 0 = none.
    pub previous: u64,
    /// Hash of the pool's name, by which a restarted daemon finds its pools again; 0 = unused.
    pub identity: u64,
    /// Zero. A size that is a power of two is found by a shift, and packets wait for it.
    pub reserved: u64,
}

const _: () = {
    assert!(size_of::<Slot>() == 8);
    assert!(size_of::<TableRef>() == 8);
    assert!(size_of::<PoolEntry>() == 32);
};
