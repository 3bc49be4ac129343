//! The table maps as memory, and what they name now.

use anycast_lb_common::abi::{
    ADDRESS_SLOTS, AddressEntry, Control, Member, PoolEntry, PrefixEntry, SERVICE_SLOTS, ServiceEntry, Slot,
    TableRef, VipEntry,
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
            control: map(ebpf, "CONTROL")?,
            addresses: map(ebpf, "ADDRESSES")?,
            services: map(ebpf, "SERVICES")?,
            prefixes: map(ebpf, "PREFIXES")?,
            vips: map(ebpf, "VIPS")?,
            pools: map(ebpf, "POOLS")?,
            slots: map(ebpf, "SLOTS")?,
            members: map(ebpf, "MEMBERS")?,
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

fn map<T: Pod>(ebpf: &Ebpf, name: &str) -> Result<MappedArray<T>, DataplaneError> {
    let Some(Map::Array(data)) = ebpf.map(name) else {
        return Err(DataplaneError::Object(format!("{name} is no array map")));
    };
    let info = data.info().map_err(|e| DataplaneError::map(name, e))?;
    if info.value_size() as usize != size_of::<T>() {
        let (found, expected) = (info.value_size(), size_of::<T>());
        return Err(DataplaneError::Object(format!("values of {name} have {found} bytes, not {expected}")));
    }
    MappedArray::new(data.fd(), info.max_entries())
        .map_err(|e| DataplaneError::call(format!("mapping {name} into memory"), e))
}
