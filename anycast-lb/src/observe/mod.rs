//! What the programs report of live packets: who asks, and who is given it.
//!
//! The flow log and each `watch` and `capture` ask the [`Hub`]. It tells the data plane, which puts the observed
//! programs on the interfaces while anybody asks; a [`reader`] takes the rings and gives each what it asked for.

pub mod book;
pub mod reader;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anycast_lb_common::abi::{Event, Filter, MAX_FILTERS, MAX_SNAP, Observer, Reasons};
use anycast_lb_common::observe;
use tokio::sync::mpsc;

use crate::daemon::run::Handle;
use crate::daemon::{Code, Failure};
use book::Books;

/// Packets that may wait for one who asks.
const BACKLOG: usize = 4096;
/// Packets a second that all filters together may report.
const PACKETS_PER_SECOND: u64 = 200_000;
/// Watches and captures that other hosts may have here at once.
const MAX_FROM_ELSEWHERE: usize = MAX_FILTERS / 2;
const SECOND: u64 = 1_000_000_000;

/// A packet that a filter wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// What is known of it.
    pub event: Event,
    /// Its first bytes as it came.
    pub before: Vec<u8>,
    /// Its first bytes as it left.
    pub after: Vec<u8>,
}

/// Where one asks from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// This host.
    Here,
    /// Another one: it finds less room, so that this host's own people always find some.
    Elsewhere,
}

/// What the flow log takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowLog {
    /// One of so many packets that neither begin nor end a flow nor hop; 0 = none.
    pub sample: u32,
    /// Records a second at most; 0 = no limit.
    pub per_second: u64,
}

/// Who asks for what.
#[derive(Clone, Debug, Default)]
pub struct Hub {
    state: Arc<Mutex<State>>,
    /// Names for what numbers stand for.
    pub books: Books,
    unread: Arc<AtomicU64>,
}

#[derive(Debug, Default)]
struct State {
    flow_log: Option<FlowLog>,
    asked: [Option<Asked>; MAX_FILTERS],
}

#[derive(Debug)]
struct Asked {
    filter: Filter,
    snap: u32,
    sender: mpsc::Sender<Sighting>,
    lost: Arc<AtomicU64>,
}

impl State {
    /// As the programs are told.
    fn observer(&self) -> Observer {
        let mut observer = Observer { packet_interval: SECOND / PACKETS_PER_SECOND, ..Observer::default() };
        if let Some(flow_log) = self.flow_log {
            observer.flow_log = Reasons::FLOW_LOG;
            observer.sample = flow_log.sample;
            observer.flow_interval = SECOND.checked_div(flow_log.per_second).unwrap_or(0);
        }
        for (i, asked) in self.asked.iter().enumerate() {
            let Some(asked) = asked else { continue };
            observer.filters = i as u32 + 1;
            observer.filter[i] = asked.filter;
            observer.snap = observer.snap.max(asked.snap);
        }
        observer
    }
}

/// One who asks, for as long as this lives.
#[derive(Debug)]
pub struct Subscription {
    place: usize,
    hub: Hub,
    handle: Handle,
    receiver: mpsc::Receiver<Sighting>,
    lost: Arc<AtomicU64>,
}

impl Subscription {
    /// The next packet; none when the daemon ends.
    pub async fn next(&mut self) -> Option<Sighting> {
        self.receiver.recv().await
    }

    /// Packets that were wanted, and dropped because earlier ones were not taken in time.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.hub.lock().asked[self.place] = None;
        let (hub, handle) = (self.hub.clone(), self.handle.clone());
        // Without a runtime the daemon ends, and the data plane is left as it is: the next one puts the plain
        // programs back.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Err(error) = hub.tell(&handle).await {
                    tracing::warn!(%error, "packets are still reported that nobody asks for");
                }
            });
        }
    }
}

impl Hub {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has packets that `filter` matches reported, each with up to `snap` bytes as it came and as it left.
    ///
    /// # Errors
    /// As many as can be are asked for already; the kernel refuses the observed program.
    pub async fn observe(
        &self,
        handle: &Handle,
        filter: Filter,
        snap: u32,
        from: From,
    ) -> Result<Subscription, Failure> {
        let (sender, receiver) = mpsc::channel(BACKLOG);
        let lost = Arc::new(AtomicU64::new(0));
        let filter = Filter { flags: Filter::ON, sample: filter.sample.max(1), ..filter };
        let asked = Asked { filter, snap: snap.min(MAX_SNAP as u32), sender, lost: lost.clone() };
        let place = {
            let mut state = self.lock();
            let places = if from == From::Here { MAX_FILTERS } else { MAX_FROM_ELSEWHERE };
            let place = state.asked[..places].iter().rposition(Option::is_none);
            let place = place.ok_or_else(|| {
                Failure::new(Code::Busy, format!("{places} watches and captures run here already"))
                    .hint("wait for one to end, or end one")
            })?;
            state.asked[place] = Some(asked);
            place
        };
        let subscription = Subscription { place, hub: self.clone(), handle: handle.clone(), receiver, lost };
        self.tell(handle).await?;
        Ok(subscription)
    }

    /// Has the flow log written, or not.
    ///
    /// # Errors
    /// The kernel refuses the observed program.
    pub async fn log_flows(&self, handle: &Handle, flow_log: Option<FlowLog>) -> Result<(), Failure> {
        self.lock().flow_log = flow_log;
        self.tell(handle).await
    }

    /// Records of the flow log and questions that were read and that nobody took.
    pub fn unread(&self) -> u64 {
        self.unread.load(Ordering::Relaxed)
    }

    /// Counts one more of them.
    fn drop_one(&self) {
        self.unread.fetch_add(1, Ordering::Relaxed);
    }

    /// Tells the data plane what is asked for by now.
    async fn tell(&self, handle: &Handle) -> Result<(), Failure> {
        let hub = self.clone();
        // Read inside the loop: whoever comes last tells what is asked for last.
        handle
            .inspect(move |view| {
                let observer = hub.lock().observer();
                view.dataplane.observe(&observer)
            })
            .await?
    }

    /// Gives a packet to those whose filters wanted it.
    fn give(&self, sighting: &Sighting) {
        let state = self.lock();
        for (i, asked) in state.asked.iter().enumerate() {
            let Some(asked) = asked else { continue };
            // The place may have been another's when the packet was reported.
            let is_wanted = sighting.event.reasons & (Reasons::FILTER << i) != 0;
            if !is_wanted || !observe::matches(&asked.filter, &sighting.event) {
                continue;
            }
            if asked.sender.try_send(sighting.clone()).is_err() {
                asked.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytemuck::Zeroable;

    fn asked(filter: Filter, snap: u32, room: usize) -> (Asked, mpsc::Receiver<Sighting>) {
        let (sender, receiver) = mpsc::channel(room);
        (Asked { filter, snap, sender, lost: Arc::default() }, receiver)
    }

    #[test]
    fn nobody_asks_for_nothing() {
        let observer = State::default().observer();
        assert_eq!((observer.flow_log, observer.filters, observer.snap), (0, 0, 0));
    }

    #[test]
    fn the_programs_are_told_what_all_ask_for() {
        let filter = Filter { flags: Filter::ON, sample: 1, vip: 7, ..Filter::default() };
        let mut state = State::default();
        state.asked[2] = Some(asked(filter, 96, 1).0);
        state.flow_log = Some(FlowLog { sample: 10, per_second: 1000 });
        let observer = state.observer();
        assert_eq!((observer.filters, observer.snap, observer.filter[2]), (3, 96, filter));
        assert_eq!(observer.filter[0].flags, 0);
        assert_eq!((observer.flow_log, observer.sample), (Reasons::FLOW_LOG, 10));
        assert_eq!(observer.flow_interval, 1_000_000);
    }

    #[test]
    fn each_is_given_what_it_asked_for_and_a_slow_one_loses() {
        let hub = Hub::default();
        let any = Filter { flags: Filter::ON, sample: 1, ..Filter::default() };
        let (first, mut received) = asked(any, 0, 1);
        let (second, mut other) = asked(any, 0, 8);
        let lost = first.lost.clone();
        hub.lock().asked[0] = Some(first);
        hub.lock().asked[1] = Some(second);
        let event = |reasons| Event { reasons, ..Event::zeroed() };
        let sighting = |reasons| Sighting { event: event(reasons), before: vec![1], after: vec![] };
        hub.give(&sighting(Reasons::FILTER));
        hub.give(&sighting(Reasons::FILTER | Reasons::FILTER << 1));
        assert_eq!(received.try_recv(), Ok(sighting(Reasons::FILTER)));
        assert!(received.try_recv().is_err());
        assert_eq!(lost.load(Ordering::Relaxed), 1);
        assert_eq!(other.try_recv(), Ok(sighting(Reasons::FILTER | Reasons::FILTER << 1)));
    }

    #[test]
    fn who_takes_a_place_is_not_given_what_the_one_before_asked_for() {
        let hub = Hub::default();
        let (asked, mut received) = asked(Filter { flags: Filter::ON, vip: 7, ..Filter::default() }, 0, 8);
        hub.lock().asked[0] = Some(asked);
        let sighting = |vip| Sighting {
            event: Event { reasons: Reasons::FILTER, vip, ..Event::zeroed() },
            before: Vec::new(),
            after: Vec::new(),
        };
        hub.give(&sighting(6));
        hub.give(&sighting(7));
        assert_eq!(received.try_recv(), Ok(sighting(7)));
        assert!(received.try_recv().is_err());
    }
}
