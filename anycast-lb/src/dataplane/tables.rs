//! The table maps as memory, and what they name now.

use anycast_lb_common::abi::{
    ADDRESS_SLOTS, ARENA_SLOTS, AddressEntry, Control, MAX_MEMBERS, MAX_POOLS, MAX_PREFIXES, MAX_VIPS,
    Member, PoolEntry, PrefixEntry, SERVICE_SLOTS, ServiceEntry, Slot, TableRef, VipEntry,
};
use aya::Ebpf;
use aya::maps::Map;
use bytemuck::Pod;

use super::error::DataplaneError;
use super::mmap::MappedArray;
use crate::plan::{self, Previous, Services};

/// All table maps.
#[derive(Debug)]
pub(super) struct Tables {
    pub control: MappedArray<Control>,
    pub addresses: MappedArray<AddressEntry>,
    pub services: MappedArray<ServiceEntry>,
    pub prefixes: MappedArray<PrefixEntry>,
    pub vips: MappedArray<VipEntry>,
    pub pools: MappedArray<PoolEntry>,
    pub slots: MappedArray<Slot>,
    pub members: MappedArray<Member>,
}

impl Tables {
    pub fn open(ebpf: &Ebpf) -> Result<Self, DataplaneError> {
        Ok(Tables {
            control: map(ebpf, "CONTROL", 1)?,
            addresses: map(ebpf, "ADDRESSES", 2 * ADDRESS_SLOTS)?,
            services: map(ebpf, "SERVICES", 2 * SERVICE_SLOTS)?,
            prefixes: map(ebpf, "PREFIXES", 2 * MAX_PREFIXES)?,
            vips: map(ebpf, "VIPS", MAX_VIPS)?,
            pools: map(ebpf, "POOLS", MAX_POOLS)?,
            slots: map(ebpf, "SLOTS", ARENA_SLOTS)?,
            members: map(ebpf, "MEMBERS", MAX_MEMBERS)?,
        })
    }

    /// The half in force, 0 or 1.
    pub fn active(&self) -> u32 {
        (self.control.load(0).active & 1) as u32
    }

    /// What the maps name now.
    pub fn previous(&self) -> Previous {
        let half = self.active();
        let (addresses, services) = (half * ADDRESS_SLOTS, half * SERVICE_SLOTS);
        let (vips, addresses) = Services::read_back(
            (addresses..addresses + ADDRESS_SLOTS).map(|i| self.addresses.load(i)),
            (services..services + SERVICE_SLOTS).map(|i| self.services.load(i)),
        );
        let pools: Vec<(u16, PoolEntry)> =
            (0..).zip(self.pools.iter()).filter(|(_, p)| p.identity != 0).collect();
        Previous {
            vips,
            addresses,
            pools: pools.iter().map(|(n, p)| (*n, p.identity)).collect(),
            tables: pools.iter().map(|(n, p)| (*n, TableRef::from_word(p.table))).collect(),
            previous_tables: pools.iter().map(|(n, p)| (*n, TableRef::from_word(p.previous))).collect(),
            members: (0..)
                .zip(self.members.iter())
                .filter(|(_, m)| m.identity != 0)
                .map(|(n, m)| (n, m.identity))
                .collect(),
        }
    }

    /// The words of the table at `at`; none if it does not lie in the arena.
    pub fn table(&self, at: TableRef) -> Vec<Slot> {
        let end = u64::from(at.base) + plan::words(at);
        if end > u64::from(self.slots.len()) {
            return Vec::new();
        }
        (at.base..end as u32).map(|i| self.slots.load(i)).collect()
    }
}

/// The map `name`, which holds `len` elements of `T`, whether as so many values or in one.
fn map<T: Pod>(ebpf: &Ebpf, name: &str, len: u32) -> Result<MappedArray<T>, DataplaneError> {
    let Some(Map::Array(data)) = ebpf.map(name) else {
        return Err(DataplaneError::Object(format!("{name} is no array map")));
    };
    let info = data.info().map_err(|e| DataplaneError::map(name, e))?;
    let found = u64::from(info.value_size()) * u64::from(info.max_entries());
    let expected = u64::from(len) * size_of::<T>() as u64;
    if found != expected {
        return Err(DataplaneError::Object(format!("{name} has {found} bytes, not {expected}")));
    }
    MappedArray::new(data.fd(), len)
        .map_err(|e| DataplaneError::call(format!("mapping {name} into memory"), e))
}
