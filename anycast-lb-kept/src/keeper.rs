//! The thread that writes the files.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant, SystemTime};

use anycast_lb_common::abi::{Member, MemberNumber};

use crate::snapshot::Snapshot;
use crate::store::{Limits, Store};

/// Snapshots that may wait for the disk: a change takes longer than to write one.
const WAITING: usize = 64;
/// Ways to backends that change one after the other are kept together.
const SETTLING: Duration = Duration::from_secs(1);
/// How long a daemon that leaves waits for the disk.
const PARTING: Duration = Duration::from_secs(2);
/// Between signs that a daemon is there.
const SIGN: Duration = Duration::from_secs(5);

/// What became of snapshots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeeperCounts {
    /// Written.
    pub written: u64,
    /// Not written: the disk was too slow, or refused.
    pub lost: u64,
}

#[derive(Debug, Default)]
struct Counters {
    written: AtomicU64,
    lost: AtomicU64,
}

/// Hands on what was put in force. Nothing here waits for the disk but [`Self::settle`] and the end.
#[derive(Debug)]
pub struct Keeper {
    work: SyncSender<Work>,
    counters: Arc<Counters>,
}

enum Work {
    InForce(Box<Snapshot>),
    Members(SystemTime, Vec<(MemberNumber, Member)>),
    Settle(SyncSender<()>),
}

impl Keeper {
    /// Keeps snapshots in `directory`.
    ///
    /// # Errors
    /// No thread can be made.
    pub fn start(directory: PathBuf, limits: Limits) -> std::io::Result<Self> {
        let (sender, work) = sync_channel(WAITING);
        let counters: Arc<Counters> = Arc::default();
        let mut writer = Writer {
            directory,
            limits,
            store: None,
            latest: None,
            unsettled: None,
            counters: counters.clone(),
            fails: false,
        };
        std::thread::Builder::new().name("kept-tables".to_owned()).spawn(move || writer.run(&work))?;
        Ok(Keeper { work: sender, counters })
    }

    /// These tables are in force.
    pub fn in_force(&self, snapshot: Snapshot) {
        self.hand_on(Work::InForce(Box::new(snapshot)));
    }

    /// Since `time` these members are as they are here, and nothing else has changed.
    pub fn members(&self, time: SystemTime, members: Vec<(MemberNumber, Member)>) {
        self.hand_on(Work::Members(time, members));
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
        if self.work.try_send(work).is_err() {
            self.counters.lost.fetch_add(1, Relaxed);
        }
    }
}

impl Drop for Keeper {
    /// What was handed on is written, unless the disk takes too long: what is half written does no harm.
    fn drop(&mut self) {
        self.settle(PARTING);
    }
}

struct Writer {
    directory: PathBuf,
    limits: Limits,
    store: Option<Store>,
    /// What is in force.
    latest: Option<Box<Snapshot>>,
    /// Since when it is not the one that was written last.
    unsettled: Option<Instant>,
    counters: Arc<Counters>,
    /// It has been said that nothing can be written.
    fails: bool,
}

impl Writer {
    fn run(&mut self, work: &Receiver<Work>) {
        let mut sign = Instant::now();
        loop {
            let deadline = self.unsettled.map_or(sign, |since| sign.min(since + SETTLING));
            match work.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(Work::InForce(snapshot)) => {
                    self.latest = Some(snapshot);
                    self.write();
                }
                Ok(Work::Members(time, members)) => self.follow(time, members),
                Ok(Work::Settle(done)) => {
                    if self.unsettled.is_some() {
                        self.write();
                    }
                    self.sign();
                    // Who asked may have gone.
                    let _ = done.try_send(());
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            let now = Instant::now();
            if self.unsettled.is_some_and(|since| now >= since + SETTLING) {
                self.write();
            }
            if now >= sign {
                sign = now + SIGN;
                self.sign();
            }
        }
        if self.unsettled.is_some() {
            self.write();
        }
        self.sign();
    }

    fn follow(&mut self, time: SystemTime, members: Vec<(MemberNumber, Member)>) {
        let Some(latest) = &mut self.latest else { return };
        for (number, member) in members {
            if let Some((_, known)) = latest.members.iter_mut().find(|(known, _)| *known == number)
                && *known != member
            {
                *known = member;
                // Never before what it follows.
                latest.time = time.max(latest.time + Duration::from_nanos(1));
                latest.beginning = None;
                self.unsettled.get_or_insert_with(Instant::now);
            }
        }
    }

    fn write(&mut self) {
        self.unsettled = None;
        let Some(latest) = &self.latest else { return };
        let written = match &mut self.store {
            Some(store) => store.put(latest),
            None => Store::open(&self.directory, self.limits)
                .and_then(|store| self.store.insert(store).put(latest)),
        };
        match written {
            Ok(()) => {
                self.counters.written.fetch_add(1, Relaxed);
                if std::mem::take(&mut self.fails) {
                    tracing::info!(directory = %self.directory.display(), "tables are kept again");
                }
            }
            Err(error) => {
                self.counters.lost.fetch_add(1, Relaxed);
                if !std::mem::replace(&mut self.fails, true) {
                    let directory = self.directory.display();
                    tracing::warn!(%directory, %error, "tables are not kept: trace --at will not know them");
                }
            }
        }
    }

    fn sign(&self) {
        if let Some(store) = &self.store
            && let Err(error) = store.alive(SystemTime::now())
        {
            tracing::debug!(%error, "no sign that the daemon is there can be given");
        }
    }
}

#[cfg(test)]
mod tests;
