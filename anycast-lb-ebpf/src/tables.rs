//! The maps as the packet logic wants to see them.

use core::arch::asm;

use anycast_lb_common::abi::{
    AddressEntry, AllTables, Buffer, Control, Event, HopLimits, Member, MemberNumber, PrefixEntry,
    ServiceEntry, Slot, VipNumber,
};
use anycast_lb_common::tables::Tables;
use aya_ebpf::helpers::bpf_ktime_get_ns;

use crate::limits;
use crate::maps::{FRAGMENTS, MEMBERS, SLOTS, TABLES};

const NS_PER_SECOND: u64 = 1_000_000_000;

/// Who wants to know of a packet on its way.
pub(crate) trait Notes {
    /// As [`Tables::note`].
    fn note(&self, f: impl FnOnce(&mut Event));
}

/// Nobody.
impl Notes for () {
    #[inline(always)]
    fn note(&self, _: impl FnOnce(&mut Event)) {}
}

/// The small tables, found once for each packet.
pub(crate) struct Maps<N = ()>(&'static AllTables, N);

impl Maps {
    /// `None` never happens; the verifier wants to hear it.
    #[inline(always)]
    pub(crate) fn find() -> Option<Self> {
        Self::find_with(())
    }
}

impl<N> Maps<N> {
    /// The same, and `notes` are taken.
    #[inline(always)]
    pub(crate) fn find_with(notes: N) -> Option<Self> {
        TABLES.get(0).map(|tables| Maps(tables, notes))
    }
}

/// Reads a word that the daemon may be replacing, exactly once.
#[inline(always)]
fn once<T: Copy>(field: &T) -> T {
    // SAFETY: a reference is valid for reads.
    unsafe { core::ptr::from_ref(field).read_volatile() }
}

/// An element of a table.
#[inline(always)]
fn element<T, const N: usize>(table: &[T; N], index: u32) -> Option<&T> {
    const { assert!(N.is_power_of_two()) };
    let mut index = index as u64;
    if index >= N as u64 {
        return None;
    }
    // The compiler may check one copy of the index and use another. Here the verifier sees the bound.
    // SAFETY: arithmetic on one register; the index stays what it is.
    unsafe {
        asm!("{index} &= {mask}", index = inout(reg) index, mask = const N - 1, options(pure, nomem, nostack))
    };
    // SAFETY: below `N`.
    Some(unsafe { table.get_unchecked(index as usize) })
}

impl<N: Notes> Tables for Maps<N> {
    #[inline(always)]
    fn active(&self) -> Option<(u64, &Buffer)> {
        let control = &self.0.control;
        let active = once(&control.active);
        // SAFETY: 0 or 1. An index expression would leave a panic for the verifier.
        Some((active, unsafe { control.buffers.get_unchecked((active & Control::HALF) as usize) }))
    }

    #[inline(always)]
    fn address(&self, index: u32) -> Option<&AddressEntry> {
        element(&self.0.addresses, index)
    }

    #[inline(always)]
    fn service(&self, index: u32) -> Option<&ServiceEntry> {
        element(&self.0.services, index)
    }

    #[inline(always)]
    fn prefix(&self, index: u32) -> Option<&PrefixEntry> {
        element(&self.0.prefixes, index)
    }

    #[inline(always)]
    fn vip(&self, number: VipNumber) -> Option<u64> {
        // SAFETY: an entry is one aligned word.
        element(&self.0.vips, number.into())
            .map(|entry| unsafe { core::ptr::from_ref(entry).cast::<u64>().read_volatile() })
    }

    #[inline(always)]
    fn pool_table(&self, pool: u16) -> Option<u64> {
        element(&self.0.pools, pool.into()).map(|entry| once(&entry.table))
    }

    #[inline(always)]
    fn pool_previous(&self, pool: u16) -> Option<u64> {
        element(&self.0.pools, pool.into()).map(|entry| once(&entry.previous))
    }

    #[inline(always)]
    fn slot(&self, index: u32) -> Option<Slot> {
        SLOTS.get(index).map(once)
    }

    #[inline(always)]
    fn member(&self, number: MemberNumber) -> Option<&Member> {
        element(MEMBERS.get(0)?, number.into())
    }

    #[inline(always)]
    fn fragment(&self, index: u32) -> Option<[u64; 2]> {
        let [check, value] = FRAGMENTS.get(index)?;
        Some([once(check), once(value)])
    }

    #[inline(always)]
    fn set_fragment(&self, index: u32, [check, value]: [u64; 2]) {
        let Some(entry) = FRAGMENTS.get_ptr_mut(index) else { return };
        let words = entry.cast::<u64>();
        // SAFETY: the element has two words. Other CPUs may write them at the same time; whoever
        // reads checks that they fit together.
        unsafe {
            words.write_volatile(check);
            words.add(1).write_volatile(value);
        }
    }

    #[inline(always)]
    fn seconds(&self) -> u64 {
        // SAFETY: a helper without preconditions.
        (unsafe { bpf_ktime_get_ns() }) / NS_PER_SECOND
    }

    #[inline(always)]
    fn admit(&self, word: u32, total: u32, limits: &HopLimits) -> bool {
        limits::admit(word, total, limits)
    }

    #[inline(always)]
    fn note(&self, f: impl FnOnce(&mut Event)) {
        self.1.note(f);
    }
}
