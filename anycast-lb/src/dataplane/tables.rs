//! The tables as memory, and what they name now.

use std::mem::offset_of;
use std::sync::Arc;

use anycast_lb_common::abi::{
    ADDRESS_SLOTS, ARENA_SLOTS, AddressEntry, AllTables, Control, MAX_MEMBERS, MAX_POOLS, MAX_PREFIXES,
    MAX_VIPS, Member, PoolEntry, PrefixEntry, SERVICE_SLOTS, ServiceEntry, Slot, TableRef, VipEntry,
};
use aya::Ebpf;
use aya::maps::Map;

use super::error::DataplaneError;
use super::mmap::{MappedArray, Mapping};
use super::object::{MEMBERS, SLOTS, TABLES};
use crate::plan::{self, Previous, Services};

/// All tables.
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
        let all = mapped(ebpf, TABLES, size_of::<AllTables>())?;
        let slots = mapped(ebpf, SLOTS, ARENA_SLOTS as usize * size_of::<Slot>())?;
        let members = mapped(ebpf, MEMBERS, MAX_MEMBERS as usize * size_of::<Member>())?;
        Ok(Tables {
            control: MappedArray::new(&all, offset_of!(AllTables, control), 1),
            addresses: MappedArray::new(&all, offset_of!(AllTables, addresses), 2 * ADDRESS_SLOTS),
            services: MappedArray::new(&all, offset_of!(AllTables, services), 2 * SERVICE_SLOTS),
            prefixes: MappedArray::new(&all, offset_of!(AllTables, prefixes), 2 * MAX_PREFIXES),
            vips: MappedArray::new(&all, offset_of!(AllTables, vips), MAX_VIPS),
            pools: MappedArray::new(&all, offset_of!(AllTables, pools), MAX_POOLS),
            slots: MappedArray::new(&slots, 0, ARENA_SLOTS),
            members: MappedArray::new(&members, 0, MAX_MEMBERS),
        })
    }

    /// The half in force, 0 or 1.
    pub fn active(&self) -> u32 {
        (self.control.load(0).active & Control::HALF) as u32
    }

    /// How often tables were put in force.
    pub fn version(&self) -> u32 {
        self.control.load(0).buffers[self.active() as usize].version
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

/// The memory of the array map `name`, which has `bytes` bytes, whether in one element or in many.
pub(super) fn mapped(ebpf: &Ebpf, name: &str, bytes: usize) -> Result<Arc<Mapping>, DataplaneError> {
    let Some(Map::Array(data)) = ebpf.map(name) else {
        return Err(DataplaneError::Object(format!("{name} is no array map")));
    };
    let info = data.info().map_err(|e| DataplaneError::map(name, e))?;
    let found = info.value_size() as usize * info.max_entries() as usize;
    if found != bytes {
        return Err(DataplaneError::Object(format!("{name} has {found} bytes, not {bytes}")));
    }
    let mapping = Mapping::new(data.fd(), bytes);
    Ok(Arc::new(mapping.map_err(|e| DataplaneError::call(format!("mapping {name} into memory"), e))?))
}
