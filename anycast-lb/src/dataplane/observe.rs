//! Puts the observed programs on the interfaces while somebody asks, and the plain ones back when nobody does.
//!
//! Observed and plain ones share all maps. The link changes from one to the other in one step, so that no packet
//! passes without either.

use std::mem::offset_of;

use anycast_lb_common::abi::{Filter, MAX_FILTERS, Observed, Observer, Written};
use aya::Ebpf;
use aya::maps::{MapData, PerCpuArray, RingBuf};
use aya::programs::Xdp;

use super::error::DataplaneError;
use super::mmap::MappedArray;
use super::programs::{load_program, program_fd};
use super::tables::mapped;
use super::{BACKEND, Dataplane, sys};

/// The map of what is asked for.
const OBSERVER: &str = "OBSERVER";
/// The map of what was written.
const OBSERVED: &str = "OBSERVED";
/// The rings.
const FLOWS: &str = "FLOWS";
const PACKETS: &str = "PACKETS";
pub(super) const QUESTIONS: &str = "QUESTIONS";

/// What the programs report, unread.
#[allow(missing_debug_implementations, reason = "memory shared with the kernel")]
pub struct Rings {
    /// [`Event`](anycast_lb_common::abi::Event)s of the flow log.
    pub flows: RingBuf<MapData>,
    /// Events with bytes, of the filters.
    pub packets: RingBuf<MapData>,
    /// [`Question`](anycast_lb_common::abi::Question)s.
    pub questions: RingBuf<MapData>,
}

/// The observing side of the data plane.
#[derive(Debug)]
pub(super) struct Observation {
    asked: MappedArray<Observer>,
    observer: Observer,
}

impl Observation {
    /// Of a loaded object.
    pub fn open(ebpf: &Ebpf) -> Result<Self, DataplaneError> {
        let asked = mapped(ebpf, OBSERVER, size_of::<Observer>())?;
        let observer = Observer::default();
        Ok(Observation { asked: MappedArray::new(&asked, 0, 1), observer })
    }

    /// Whether anybody asks.
    pub fn is_on(&self) -> bool {
        is_on(&self.observer)
    }

    /// Writes what is asked for from now on. A filter that changes is off meanwhile, so that no packet is taken by
    /// half of one and half of another.
    fn write(&mut self, observer: &Observer) {
        let changed: Vec<usize> =
            (0..MAX_FILTERS).filter(|i| observer.filter[*i] != self.observer.filter[*i]).collect();
        for i in &changed {
            self.asked.store_part(0, switch_of(*i), &[0_u32; 2]);
        }
        // Should the wait fail, a packet under way may be reported that nobody asked for; who reads looks again.
        if !changed.is_empty()
            && self.is_on()
            && let Err(error) = sys::wait_for_packets()
        {
            tracing::warn!(%error, "filters change under packets");
        }
        let mut quiet = *observer;
        for i in &changed {
            quiet.filter[*i].flags = 0;
        }
        self.asked.store(0, &quiet);
        for i in changed {
            let filter = &observer.filter[i];
            self.asked.store_part(0, switch_of(i), &[filter.flags, filter.sample]);
        }
        self.observer = *observer;
    }
}

/// Where the word lies that switches a filter.
const fn switch_of(filter: usize) -> usize {
    offset_of!(Observer, filter) + filter * size_of::<Filter>() + offset_of!(Filter, flags)
}

fn is_on(observer: &Observer) -> bool {
    observer.flow_log != 0 || observer.filters != 0
}

/// The program that does what `plain` does, and reports it.
fn observed(plain: &str) -> &'static str {
    if plain == BACKEND { "backend_observed" } else { "ingress_observed" }
}

impl Dataplane {
    /// The rings, once.
    ///
    /// # Errors
    ///
    /// They cannot be mapped, or somebody has them.
    pub fn rings(&mut self) -> Result<Rings, DataplaneError> {
        let mut ring = |name: &'static str| {
            let map = self.ebpf.take_map(name);
            let map = map.ok_or_else(|| DataplaneError::Object(format!("it has no map {name}")))?;
            RingBuf::try_from(map).map_err(|e| DataplaneError::map(name, e))
        };
        Ok(Rings { flows: ring(FLOWS)?, packets: ring(PACKETS)?, questions: ring(QUESTIONS)? })
    }

    /// Has packets reported from now on as `observer` says, or no more if it asks for nothing.
    ///
    /// # Errors
    ///
    /// The verifier refuses the program, or a link does not take it; then packets are reported as before.
    pub fn observe(&mut self, observer: &Observer) -> Result<(), DataplaneError> {
        let (before, now) = (self.observation.is_on(), is_on(observer));
        if !before && now {
            load_program(&mut self.ebpf, observed(self.program))?;
        }
        // Before the program that reads it.
        if now {
            self.observation.write(observer);
        }
        if before != now
            && let Err(error) = self.put_on_links(if now { observed(self.program) } else { self.program })
        {
            self.put_back(before);
            return Err(error);
        }
        if !now {
            self.observation.write(observer);
        }
        if before && !now {
            self.unload(observed(self.program));
        }
        Ok(())
    }

    /// What was written and not, since this load.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub fn observed(&self) -> Result<Observed, DataplaneError> {
        let map = self.ebpf.map(OBSERVED);
        let map = map.ok_or_else(|| DataplaneError::Object(format!("it has no map {OBSERVED}")))?;
        let array: PerCpuArray<_, Counts> =
            PerCpuArray::try_from(map).map_err(|e| DataplaneError::map(OBSERVED, e))?;
        let cpus = array.get(&0, 0).map_err(|e| DataplaneError::map(OBSERVED, e))?;
        Ok(cpus.iter().fold(Observed::default(), |sum, cpu| Observed {
            flows: add(sum.flows, cpu.0.flows),
            packets: add(sum.packets, cpu.0.packets),
            questions: add(sum.questions, cpu.0.questions),
        }))
    }

    /// The program that is, or is to be, on the interfaces.
    pub(super) fn running(&self) -> &'static str {
        if self.observation.is_on() { observed(self.program) } else { self.program }
    }

    /// After a change that failed, perhaps halfway: the program that was on the links before is on all of them.
    fn put_back(&mut self, observed_before: bool) {
        let program = if observed_before { observed(self.program) } else { self.program };
        if let Err(error) = self.put_on_links(program) {
            tracing::error!(%error, program, "an interface may have another program; a reload puts it right");
            return;
        }
        if !observed_before {
            self.observation.write(&Observer::default());
            self.unload(observed(self.program));
        }
    }

    fn put_on_links(&self, name: &'static str) -> Result<(), DataplaneError> {
        let program = program_fd(&self.ebpf, name)?;
        for attached in &self.attached {
            attached.replace(program)?;
        }
        self.layout.pin_program(program)?;
        // So that nobody is left in the one that may go now.
        sys::wait_for_packets().map_err(|e| DataplaneError::call("membarrier", e))
    }

    fn unload(&mut self, name: &str) {
        let program: Option<&mut Xdp> = self.ebpf.program_mut(name).and_then(|p| p.try_into().ok());
        if let Some(program) = program
            && let Err(error) = program.unload()
        {
            tracing::warn!(%error, program = name, "a program that is no longer needed stays loaded");
        }
    }
}

/// [`Observed`], for aya.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Counts(Observed);

// SAFETY: words only.
unsafe impl aya::Pod for Counts {}

fn add(a: Written, b: Written) -> Written {
    Written { records: a.records + b.records, limited: a.limited + b.limited, lost: a.lost + b.lost }
}
