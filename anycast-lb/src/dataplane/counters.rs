//! Counters: one value for each CPU, summed here.

use std::fs;
use std::io;
use std::mem::offset_of;

use anycast_lb_common::abi::{Counter, CpuCounters, MAX_MEMBERS, MAX_VERDICTS, MAX_VIPS, Verdict};
use aya::{Ebpf, EbpfLoader};

use super::error::DataplaneError;
use super::mmap::MappedArray;
use super::tables::mapped;

/// The map of counters, with an element for each possible CPU.
pub(super) const COUNTERS: &str = "COUNTERS";

/// Where the kernel tells which CPUs there may ever be.
const POSSIBLE: &str = "/sys/devices/system/cpu/possible";

/// The counters of one load of the object.
#[derive(Debug)]
pub struct Counters {
    pub(super) verdicts: Counting,
    pub(super) vips: Counting,
    pub(super) members: Counting,
}

impl Counters {
    /// How many elements the map has on this machine: one for each number up to that of the last possible CPU.
    /// Numbers may be missing in between.
    ///
    /// # Errors
    ///
    /// The kernel does not tell which CPUs are possible.
    pub fn elements() -> Result<u32, DataplaneError> {
        let text = fs::read_to_string(POSSIBLE)
            .map_err(|e| DataplaneError::call(format!("reading {POSSIBLE}"), e))?;
        let strange = || io::Error::new(io::ErrorKind::InvalidData, format!("it says {text:?}"));
        let highest = highest(&text).ok_or_else(strange);
        Ok(1 + highest.map_err(|e| DataplaneError::call(format!("reading {POSSIBLE}"), e))?)
    }

    /// Has the object loaded with counters for every CPU; without, it counts on the first one alone.
    ///
    /// # Errors
    ///
    /// As [`elements`](Self::elements).
    pub fn put(loader: &mut EbpfLoader<'_>) -> Result<(), DataplaneError> {
        loader.map_max_entries(COUNTERS, Self::elements()?);
        Ok(())
    }

    /// The counters of a loaded object.
    ///
    /// # Errors
    ///
    /// It is not ours, was loaded without [`put`](Self::put), or its counters cannot be mapped.
    pub fn open(ebpf: &Ebpf) -> Result<Self, DataplaneError> {
        let cpus = Self::elements()? as usize;
        let all = mapped(ebpf, COUNTERS, cpus * size_of::<CpuCounters>())?;
        let counting = |offset, len| {
            let of_cpu = |cpu| MappedArray::new(&all, cpu * size_of::<CpuCounters>() + offset, len);
            Counting { cpus: (0..cpus).map(of_cpu).collect() }
        };
        Ok(Counters {
            verdicts: counting(offset_of!(CpuCounters, verdicts), MAX_VERDICTS),
            vips: counting(offset_of!(CpuCounters, vips), MAX_VIPS),
            members: counting(offset_of!(CpuCounters, members), MAX_MEMBERS),
        })
    }

    /// What was counted under `verdict`.
    pub fn verdict(&self, verdict: Verdict) -> Counter {
        self.verdicts.sum(verdict as u32)
    }
}

/// The largest number in a list of CPUs such as `0-3,8-11`.
fn highest(list: &str) -> Option<u32> {
    let numbers: Option<Vec<u32>> = list.trim().split([',', '-']).map(|number| number.parse().ok()).collect();
    numbers?.into_iter().max()
}

/// The counters of one kind.
#[derive(Debug)]
pub(super) struct Counting {
    cpus: Vec<MappedArray<Counter>>,
}

impl Counting {
    /// The sum over all CPUs. Packets and bytes of a packet that is being counted may not fit yet.
    pub fn sum(&self, number: u32) -> Counter {
        self.cpus.iter().map(|cpu| cpu.load(number)).fold(Counter::default(), |sum, value| Counter {
            packets: sum.packets.wrapping_add(value.packets),
            bytes: sum.bytes.wrapping_add(value.bytes),
        })
    }

    /// Sets a counter to zero; nothing may be counting under this number.
    pub fn zero(&self, number: u32) {
        for cpu in &self.cpus {
            cpu.store(number, &Counter::default());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_cpu_counts_however_many_are_missing() {
        assert_eq!(highest("0\n"), Some(0));
        assert_eq!(highest("0-1\n"), Some(1));
        assert_eq!(highest("0-3,8-11\n"), Some(11));
        assert_eq!(highest("8,0-3\n"), Some(8));
        assert_eq!(highest("\n"), None);
        assert_eq!(highest("0-x\n"), None);
    }
}
