//! The observed programs' additions: what is noted of a packet on its way, and the report in the end.
//!
//! They run only while somebody asks (the flow log, `watch`, `capture`): then the daemon puts them on the
//! interfaces in place of the plain ones, which have nothing of this in them.

use core::cell::UnsafeCell;

use anycast_lb_common::Outcome;
use anycast_lb_common::abi::{Event, MAX_SNAP, Observer, Reasons, Written};
use anycast_lb_common::observe::{self, BURST};
use anycast_lb_common::packet::Packet;
use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::xdp_action::{XDP_PASS, XDP_REDIRECT, XDP_TX};
use aya_ebpf::helpers::bpf_ktime_get_ns;
use aya_ebpf::helpers::generated::{bpf_get_prandom_u32, bpf_xdp_load_bytes};
use aya_ebpf::programs::XdpContext;

use crate::limits;
use crate::maps::{FLOWS, NOTES, OBSERVED, OBSERVER, OBSERVER_LIMITS, PACKETS};
use crate::packet::{Frame, opaque};
use crate::tables::Notes;

/// Elements of the limits: records of the flow log, and of the filters.
const FLOW_LIMIT: u32 = 0;
const PACKET_LIMIT: u32 = 1;

/// What is kept of a packet while the programs run, one for each CPU; as it goes into a ring.
#[repr(C)]
pub(crate) struct Note {
    /// What the program returns in the end.
    action: u64,
    event: Event,
    bytes: [u8; 2 * MAX_SNAP],
}

/// The notes about the packet under way.
pub(crate) struct Observing {
    observer: &'static Observer,
    note: &'static UnsafeCell<Note>,
}

impl Notes for &Observing {
    #[inline(always)]
    fn note(&self, f: impl FnOnce(&mut Event)) {
        // SAFETY: the element belongs to this CPU, where no other XDP program runs meanwhile.
        f(unsafe { &mut (*self.note.get()).event });
    }
}

impl Observing {
    /// Begins the notes about a packet; `None` never happens.
    #[inline(always)]
    pub(crate) fn begin(frame: &Frame<'_>) -> Option<Self> {
        let observer = OBSERVER.get(0)?;
        let note = NOTES.get_ptr_mut(0)?;
        // SAFETY: as in `note`; an `UnsafeCell` has the layout of what is in it.
        let (event, note) = unsafe { (&raw mut (*note).event, &*note.cast::<UnsafeCell<Note>>()) };
        let length = frame.len() as u32;
        // SAFETY: as above.
        unsafe { event.write(bytemuck::Zeroable::zeroed()) };
        let observing = Observing { observer, note };
        let before = observing.keep(frame.context, observer.snap, 0, length);
        (&observing).note(|event| {
            event.length = length;
            event.before = before;
            event.ifindex = frame.context.ingress_ifindex() as u32;
        });
        Some(observing)
    }

    /// Copies the first bytes of the frame, up to `snap` and [`MAX_SNAP`], to `at` in the notes; gives how many.
    #[inline(always)]
    fn keep(&self, context: &XdpContext, snap: u32, at: u32, length: u32) -> u32 {
        let wanted = if snap < length { snap } else { length } as usize;
        let bytes = opaque(if wanted < MAX_SNAP { wanted } else { MAX_SNAP }) & (2 * MAX_SNAP - 1);
        if bytes == 0 || bytes > MAX_SNAP {
            return 0;
        }
        let at = opaque(at as usize) & (2 * MAX_SNAP - 1);
        if at > MAX_SNAP {
            return 0;
        }
        // SAFETY: `bytes` and `at` are no more than half of the room each; the helper checks the frame.
        let failed = unsafe {
            let to = (&raw mut (*self.note.get()).bytes).cast::<u8>().add(at);
            bpf_xdp_load_bytes(context.as_ptr().cast(), 0, to.cast(), bytes as u32)
        };
        if failed == 0 { bytes as u32 } else { 0 }
    }

    /// Reports the packet to whoever wants it, and gives `action`.
    #[inline(always)]
    pub(crate) fn end(&self, frame: &Frame<'_>, outcome: &Outcome, action: u32) -> u32 {
        let note = self.note.get();
        self.note(|event| {
            event.vip = outcome.vip;
            event.member = outcome.member;
        });
        // From here on the way that the packet took is forgotten: the verifier need not follow the rest once for
        // each of them. Without, it looks at 300,000 instructions more.
        // SAFETY: valid fields of the notes, which are of this CPU.
        unsafe {
            (&raw mut (*note).action).write_volatile(action.into());
            (&raw mut (*note).event.verdict).write_volatile(outcome.verdict as u8);
        }
        self.report(frame);
        // SAFETY: as above.
        unsafe { (&raw const (*note).action).read_volatile() as u32 }
    }

    #[inline(always)]
    fn report(&self, frame: &Frame<'_>) {
        // SAFETY: a helper without preconditions.
        let draw = || unsafe { bpf_get_prandom_u32() };
        let mut reasons = 0;
        self.note(|event| {
            reasons =
                observe::flow_log(self.observer, event, draw) | observe::filters(self.observer, event, draw);
            event.reasons = reasons;
        });
        if reasons == 0 {
            return;
        }
        let Some(observed) = OBSERVED.get_ptr_mut(0) else { return };
        // SAFETY: a helper without preconditions.
        let now = unsafe { bpf_ktime_get_ns() };
        self.note(|event| event.time = now);
        // SAFETY: a valid element, whose values belong to this CPU.
        let observed = unsafe { &mut *observed };
        if reasons & Reasons::FLOW_LOG != 0 {
            report(FLOW_LIMIT, self.observer.flow_interval, now, &mut observed.flows, || {
                // SAFETY: the notes are of this CPU, and nothing else is done to them meanwhile.
                FLOWS.output_untyped::<Event>(unsafe { &(*self.note.get()).event }, 0).is_ok()
            });
        }
        if reasons & Reasons::FILTERS != 0 {
            report(PACKET_LIMIT, self.observer.packet_interval, now, &mut observed.packets, || {
                self.hand_over(frame)
            });
        }
    }

    /// Writes the notes with the bytes that are kept, as the packet came and as it leaves.
    #[inline(always)]
    fn hand_over(&self, frame: &Frame<'_>) -> bool {
        // SAFETY: a valid field of the notes.
        let action = unsafe { (&raw const (*self.note.get()).action).read_volatile() } as u32;
        let length = if matches!(action, XDP_PASS | XDP_TX | XDP_REDIRECT) { frame.len() as u32 } else { 0 };
        let (mut before, mut after) = (0, 0);
        self.note(|event| before = event.before);
        if length != 0 {
            after = self.keep(frame.context, self.observer.snap, before, length);
        }
        self.note(|event| {
            event.length_after = length;
            event.after = after;
        });
        let len = opaque((before + after) as usize);
        if len > 2 * MAX_SNAP {
            return false;
        }
        // SAFETY: the notes are of this CPU; so many bytes lie behind the event.
        let bytes = unsafe {
            core::slice::from_raw_parts(
                (&raw const (*self.note.get()).event).cast::<u8>(),
                size_of::<Event>() + len,
            )
        };
        PACKETS.output_untyped::<[u8]>(bytes, 0).is_ok()
    }

    #[inline(always)]
    fn note(&self, f: impl FnOnce(&mut Event)) {
        Notes::note(&self, f);
    }
}

/// Writes a record, if the limit whose state is element `limit` allows it, and counts what came of it.
#[inline(always)]
fn report(limit: u32, interval: u64, now: u64, written: &mut Written, write: impl FnOnce() -> bool) {
    let Some(word) = OBSERVER_LIMITS.get_ptr_mut(limit) else { return };
    // SAFETY: a valid element of the map.
    if interval != 0 && !unsafe { limits::take_from(word, now, interval, BURST) } {
        written.limited += 1;
    } else if write() {
        written.records += 1;
    } else {
        written.lost += 1;
    }
}
