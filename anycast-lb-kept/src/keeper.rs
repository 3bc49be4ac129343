//! The thread that writes the files.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant, SystemTime};

use anycast_lb_common::abi::{Member, MemberNumber};

use crate::queue::{Queue, Work};
use crate::snapshot::Snapshot;
use crate::store::{Limits, Store};

/// Ways to backends that change one after the other are kept together.
const SETTLING: Duration = Duration::from_secs(1);
/// How long a daemon that leaves waits for the disk.
const PARTING: Duration = Duration::from_secs(2);
/// Between signs that a daemon is there, and attempts to write what could not be written.
const SIGN: Duration = Duration::from_secs(5);

/// What became of snapshots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeeperCounts {
    /// Written.
    pub written: u64,
    /// Not written, or not at once: the disk was too slow, or refused.
    pub lost: u64,
}

#[derive(Debug, Default)]
struct Counters {
    written: AtomicU64,
    lost: AtomicU64,
}

/// Hands on what was put in force. Nothing here waits for the disk but [`Self::settle`] and the end.
pub struct Keeper {
    work: Arc<Queue>,
    counters: Arc<Counters>,
}

impl std::fmt::Debug for Keeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keeper").field("counters", &self.counters).finish_non_exhaustive()
    }
}

impl Keeper {
    /// Keeps snapshots in `directory`.
    ///
    /// # Errors
    /// No thread can be made.
    pub fn start(directory: PathBuf, limits: Limits) -> std::io::Result<Self> {
        Self::start_by(SystemTime::now, directory, limits)
    }

    fn start_by(
        clock: impl Fn() -> SystemTime + Send + 'static,
        directory: PathBuf,
        limits: Limits,
    ) -> std::io::Result<Self> {
        let work: Arc<Queue> = Arc::default();
        let counters: Arc<Counters> = Arc::default();
        let mut writer = Writer {
            clock,
            directory,
            limits,
            store: None,
            latest: None,
            unsettled: None,
            unwritten: None,
            is_counted: false,
            counters: counters.clone(),
            fails: false,
        };
        let taken = work.clone();
        std::thread::Builder::new().name("kept-tables".to_owned()).spawn(move || writer.run(&taken))?;
        Ok(Keeper { work, counters })
    }

    /// These tables are in force.
    pub fn in_force(&self, snapshot: Snapshot) {
        self.hand_on(Work::InForce { snapshot: Box::new(snapshot), unknown: None });
    }

    /// Since `time` these members are as they are here, and nothing else has changed.
    pub fn members(&self, time: SystemTime, members: Vec<(MemberNumber, Member)>) {
        self.hand_on(Work::Members(time, members.into_iter().collect()));
    }

    /// Waits until all is written, or for `patience`.
    pub fn settle(&self, patience: Duration) {
        let (done, is_done) = sync_channel(1);
        self.hand_on(Work::Settle(done));
        // Its end is as good as its word.
        let _ = is_done.recv_timeout(patience);
    }

    /// What became of snapshots so far.
    pub fn counts(&self) -> KeeperCounts {
        KeeperCounts { written: self.counters.written.load(Relaxed), lost: self.counters.lost.load(Relaxed) }
    }

    fn hand_on(&self, work: Work) {
        self.counters.lost.fetch_add(self.work.push(work), Relaxed);
    }
}

impl Drop for Keeper {
    /// What was handed on is written, unless the disk takes too long: what is half written does no harm.
    fn drop(&mut self) {
        self.settle(PARTING);
        self.hand_on(Work::End);
    }
}

struct Writer<C> {
    /// Tells the time of day.
    clock: C,
    directory: PathBuf,
    limits: Limits,
    store: Option<Store>,
    /// What is in force.
    latest: Option<Box<Snapshot>>,
    /// Since when it is not the one that was written last: it may change again soon.
    unsettled: Option<Instant>,
    /// Since when something is in force that could not be written.
    unwritten: Option<SystemTime>,
    /// What is in force counts as lost.
    is_counted: bool,
    counters: Arc<Counters>,
    /// It has been said that nothing can be written.
    fails: bool,
}

impl<C: Fn() -> SystemTime> Writer<C> {
    fn run(&mut self, work: &Queue) {
        let mut sign = Instant::now();
        loop {
            let deadline = self.unsettled.map_or(sign, |since| sign.min(since + SETTLING));
            match work.pop(deadline) {
                Some(Work::InForce { snapshot, unknown }) => self.put_in_force(snapshot, unknown),
                Some(Work::Members(time, members)) => self.follow(time, members),
                Some(Work::Settle(done)) => {
                    if self.unsettled.is_some() || self.is_due() {
                        self.write();
                    }
                    self.sign();
                    // Who asked may have gone.
                    let _ = done.try_send(());
                }
                Some(Work::End) => break,
                None => {}
            }
            let now = Instant::now();
            let is_time = now >= sign;
            let is_settled = self.unsettled.is_some_and(|since| now >= since + SETTLING);
            if is_settled || is_time && self.is_due() {
                self.write();
            }
            if is_time {
                sign = now + SIGN;
                self.sign();
            }
        }
        if self.unsettled.is_some() || self.unwritten.is_some() {
            self.write();
        }
        self.sign();
    }

    /// What is in force is not written yet, or the clock was set back: then it is so from now on, as this clock goes.
    fn is_due(&self) -> bool {
        let is_ahead = self.latest.as_ref().is_some_and(|latest| latest.time > (self.clock)());
        is_ahead || self.unwritten.is_some()
    }

    fn put_in_force(&mut self, mut snapshot: Box<Snapshot>, unknown: Option<SystemTime>) {
        if let Some(latest) = &self.latest {
            // What an earlier one of this daemon had to say of its beginning is still to be said.
            snapshot.beginning = snapshot.beginning.or(latest.beginning);
        }
        self.unwritten = self.unwritten.or(unknown);
        self.latest = Some(snapshot);
        self.is_counted = false;
        self.write();
    }

    fn follow(&mut self, time: SystemTime, members: BTreeMap<MemberNumber, Member>) {
        let Some(latest) = &mut self.latest else { return };
        for (number, member) in members {
            if let Some((_, known)) = latest.members.iter_mut().find(|(known, _)| *known == number)
                && *known != member
            {
                *known = member;
                latest.time = time;
                self.is_counted = false;
                self.unsettled.get_or_insert_with(Instant::now);
            }
        }
    }

    fn write(&mut self) {
        self.unsettled = None;
        let Some(latest) = &mut self.latest else { return };
        let now = (self.clock)();
        latest.time = latest.time.min(now);
        self.unwritten = self.unwritten.map(|since| since.min(now));
        let unknown = self.unwritten.filter(|since| *since < latest.time);
        let written = match &mut self.store {
            Some(store) => store.put(latest, unknown),
            None => Store::open(&self.directory, self.limits)
                .and_then(|store| self.store.insert(store).put(latest, unknown)),
        };
        match written {
            Ok(()) => {
                latest.beginning = None;
                self.unwritten = None;
                self.counters.written.fetch_add(1, Relaxed);
                if std::mem::take(&mut self.fails) {
                    tracing::info!(directory = %self.directory.display(), "tables are kept again");
                }
            }
            Err(error) => {
                self.unwritten.get_or_insert(latest.time);
                if !std::mem::replace(&mut self.is_counted, true) {
                    self.counters.lost.fetch_add(1, Relaxed);
                }
                if !std::mem::replace(&mut self.fails, true) {
                    let directory = self.directory.display();
                    tracing::warn!(%directory, %error, "tables are not kept: trace --at will not know them");
                }
                self.sign();
            }
        }
    }

    /// A daemon is there, or has not written everything since.
    fn sign(&mut self) {
        let Some(store) = &mut self.store else { return };
        let signed = match self.unwritten {
            None => store.alive((self.clock)()),
            Some(since) => store.unwritten(since),
        };
        if let Err(error) = signed {
            tracing::debug!(%error, "no sign that the daemon is there can be given");
        }
    }
}

#[cfg(test)]
mod tests;
