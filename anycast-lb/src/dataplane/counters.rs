//! Counters: one value for each CPU, summed here.

use std::mem::offset_of;

use anycast_lb_common::abi::{Counter, CpuCounters, MAX_MEMBERS, MAX_VERDICTS, MAX_VIPS, Verdict};
use aya::util::nr_cpus;
use aya::{Ebpf, EbpfLoader};

use super::error::DataplaneError;
use super::mmap::MappedArray;
use super::tables::mapped;

/// The map of counters, with an element for each possible CPU.
pub(super) const COUNTERS: &str = "COUNTERS";

/// The counters of one load of the object.
#[derive(Debug)]
pub struct Counters {
    pub(super) verdicts: Counting,
    pub(super) vips: Counting,
    pub(super) members: Counting,
}

impl Counters {
    /// How many elements the map has on this machine.
    ///
    /// # Errors
    ///
    /// The kernel does not tell which CPUs are possible.
    pub fn elements() -> Result<u32, DataplaneError> {
        let cpus = nr_cpus().map_err(|(path, e)| DataplaneError::call(format!("reading {path}"), e))?;
        Ok(cpus as u32)
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
