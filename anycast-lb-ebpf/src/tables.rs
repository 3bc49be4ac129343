//! The maps as the packet logic wants to see them.

use anycast_lb_common::abi::{
    AddressEntry, Buffer, Member, MemberNumber, PrefixEntry, ServiceEntry, Slot, VipEntry, VipNumber,
};
use anycast_lb_common::tables::Tables;

use crate::maps::{ADDRESSES, CONTROL, MEMBERS, POOLS, PREFIXES, SERVICES, SLOTS, VIPS};

pub(crate) struct Maps;

/// Reads a word that the daemon may be replacing, exactly once.
#[inline(always)]
fn once<T: Copy>(field: &T) -> T {
    // SAFETY: a reference is valid for reads.
    unsafe { core::ptr::from_ref(field).read_volatile() }
}

impl Tables for Maps {
    #[inline(always)]
    fn active(&self) -> Option<(u32, &Buffer)> {
        let control = CONTROL.get(0)?;
        let half = once(&control.active) as usize & 1;
        // SAFETY: `half` is 0 or 1. An index expression would leave a panic for the verifier.
        Some((half as u32, unsafe { control.buffers.get_unchecked(half) }))
    }

    #[inline(always)]
    fn address(&self, index: u32) -> Option<&AddressEntry> {
        ADDRESSES.get(index)
    }

    #[inline(always)]
    fn service(&self, index: u32) -> Option<&ServiceEntry> {
        SERVICES.get(index)
    }

    #[inline(always)]
    fn prefix(&self, index: u32) -> Option<&PrefixEntry> {
        PREFIXES.get(index)
    }

    #[inline(always)]
    fn vip(&self, number: VipNumber) -> Option<VipEntry> {
        VIPS.get(number.into()).map(once)
    }

    #[inline(always)]
    fn pool_table(&self, pool: u16) -> Option<u64> {
        POOLS.get(pool.into()).map(|entry| once(&entry.table))
    }

    #[inline(always)]
    fn pool_previous(&self, pool: u16) -> Option<u64> {
        POOLS.get(pool.into()).map(|entry| once(&entry.previous))
    }

    #[inline(always)]
    fn slot(&self, index: u32) -> Option<Slot> {
        SLOTS.get(index).map(once)
    }

    #[inline(always)]
    fn member(&self, number: MemberNumber) -> Option<&Member> {
        MEMBERS.get(number.into())
    }
}
