//! How much memory the maps take.

use aya_obj::generated::bpf_map_type::{BPF_MAP_TYPE_PERCPU_ARRAY, BPF_MAP_TYPE_RINGBUF};
use aya_obj::maps::Map;
use aya_obj::{Object, ParseError};
use serde::{Deserialize, Serialize};

use super::counters::COUNTERS;
use super::object::OBJECT;

/// Bytes of maps. They are arrays and rings, so it does not matter how much of them is in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapMemory {
    /// Once.
    pub shared: u64,
    /// For each CPU.
    pub per_cpu: u64,
}

impl MapMemory {
    /// Of the object inside this binary.
    ///
    /// # Errors
    ///
    /// The object is none.
    pub fn shipped() -> Result<Self, ParseError> {
        Ok(Self::of(&Object::parse(OBJECT)?))
    }

    /// Of the maps of an object as the kernel allots them: elements of 8 bytes and multiples of it.
    pub fn of(object: &Object) -> Self {
        const ELEMENT: u64 = 8;
        let mut memory = Self::default();
        for (name, map) in &object.maps {
            // Constants; the kernel has them in a page.
            if let Map::Legacy(_) = map {
                continue;
            }
            let entries = u64::from(map.max_entries());
            let bytes = u64::from(map.value_size()).next_multiple_of(ELEMENT) * entries;
            match map.map_type().try_into() {
                // Its entries are its bytes.
                Ok(BPF_MAP_TYPE_RINGBUF) => memory.shared += entries,
                Ok(BPF_MAP_TYPE_PERCPU_ARRAY) => memory.per_cpu += bytes,
                _ if name == COUNTERS => memory.per_cpu += bytes,
                _ => memory.shared += bytes,
            }
        }
        memory
    }

    /// On a machine with so many CPUs.
    pub fn on(self, cpus: u64) -> u64 {
        self.shared + cpus * self.per_cpu
    }
}
