//! Counters: one value for each CPU, summed here.

use anycast_lb_common::abi::Counter;
use aya::Ebpf;
use aya::maps::{MapData, PerCpuArray, PerCpuValues};
use aya::util::nr_cpus;

use super::error::DataplaneError;
use super::object::{MEMBER_COUNTERS, VERDICTS, VIP_COUNTERS};

/// [`Counter`] in the form in which aya reads it.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
struct Tally(Counter);

// SAFETY: `Counter` is plain old data.
unsafe impl aya::Pod for Tally {}

/// The counter maps of one load of the object.
pub(super) struct Counters {
    pub verdicts: Counting,
    pub vips: Counting,
    pub members: Counting,
}

impl Counters {
    /// Takes the counter maps out of `ebpf`, whose program is loaded already.
    pub fn take(ebpf: &mut Ebpf) -> Result<Self, DataplaneError> {
        Ok(Counters {
            verdicts: Counting::take(ebpf, VERDICTS)?,
            vips: Counting::take(ebpf, VIP_COUNTERS)?,
            members: Counting::take(ebpf, MEMBER_COUNTERS)?,
        })
    }
}

/// One counter map.
pub(super) struct Counting {
    name: &'static str,
    map: PerCpuArray<MapData, Tally>,
    cpus: usize,
}

impl Counting {
    fn take(ebpf: &mut Ebpf, name: &'static str) -> Result<Self, DataplaneError> {
        let map =
            ebpf.take_map(name).ok_or_else(|| DataplaneError::Object(format!("it has no map {name}")))?;
        let map = PerCpuArray::try_from(map).map_err(|e| DataplaneError::map(name, e))?;
        let cpus = nr_cpus().map_err(|(path, e)| DataplaneError::call(format!("reading {path}"), e))?;
        Ok(Counting { name, map, cpus })
    }

    /// The sum over all CPUs. Packets and bytes of a packet that is being counted may not fit yet.
    pub fn sum(&self, number: u32) -> Result<Counter, DataplaneError> {
        let values = self.map.get(&number, 0).map_err(|e| DataplaneError::map(self.name, e))?;
        Ok(values.iter().fold(Counter::default(), |sum, Tally(value)| Counter {
            packets: sum.packets.wrapping_add(value.packets),
            bytes: sum.bytes.wrapping_add(value.bytes),
        }))
    }

    /// Sets a counter to zero; nothing may be counting under this number.
    pub fn zero(&mut self, number: u32) -> Result<(), DataplaneError> {
        let zeros = PerCpuValues::try_from(vec![Tally(Counter::default()); self.cpus])
            .map_err(|e| DataplaneError::call(format!("map {}", self.name), e))?;
        self.map.set(number, zeros, 0).map_err(|e| DataplaneError::map(self.name, e))
    }
}
