//! What waits for the disk. Its length is bounded, and the newest is never what is left out.

use std::collections::{BTreeMap, VecDeque};
use std::sync::mpsc::SyncSender;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use anycast_lb_common::abi::{Member, MemberNumber};

use crate::snapshot::Snapshot;

/// Things that may wait: a change takes longer than to write one.
const WAITING: usize = 64;

pub(crate) enum Work {
    /// These tables are in force. Since `unknown` others were that were left out.
    InForce { snapshot: Box<Snapshot>, unknown: Option<SystemTime> },
    /// Since then these members are so.
    Members(SystemTime, BTreeMap<MemberNumber, Member>),
    /// All before is written.
    Settle(SyncSender<()>),
    /// Nothing comes any more.
    End,
}

#[derive(Default)]
pub(crate) struct Queue {
    works: Mutex<VecDeque<Work>>,
    came: Condvar,
}

impl Queue {
    /// Adds `work` without waiting; how many things were left out for it.
    pub fn push(&self, work: Work) -> u64 {
        let mut works = self.lock();
        let is_full = works.len() >= WAITING;
        let left_out = match work {
            Work::InForce { snapshot, unknown } if is_full => replace(&mut works, snapshot, unknown),
            Work::Members(time, members) if is_full => {
                let latest = works.iter_mut().rev().find(|work| !matches!(work, Work::Settle(_)));
                if let Some(Work::Members(last, known)) = latest {
                    // Taken together, as if all had come in one second.
                    *last = time;
                    known.extend(members);
                } else {
                    works.push_back(Work::Members(time, members));
                }
                0
            }
            // Who asks takes this for an answer.
            Work::Settle(_) if works.len() >= 2 * WAITING => 0,
            other => {
                works.push_back(other);
                0
            }
        };
        drop(works);
        self.came.notify_one();
        left_out
    }

    /// The next, or none by `deadline`.
    pub fn pop(&self, deadline: Instant) -> Option<Work> {
        let patience = || deadline.saturating_duration_since(Instant::now());
        let mut works = self.lock();
        while works.is_empty() && patience() > Duration::ZERO {
            let waited = self.came.wait_timeout(works, patience());
            works = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        works.pop_front()
    }

    /// What a thread that panicked has left is whole: each change is one step.
    fn lock(&self) -> MutexGuard<'_, VecDeque<Work>> {
        self.works.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `snapshot` instead of all that waits, which it is newer than.
fn replace(works: &mut VecDeque<Work>, mut snapshot: Box<Snapshot>, mut unknown: Option<SystemTime>) -> u64 {
    let mut left_out = 0;
    for work in std::mem::take(works) {
        let since = match work {
            Work::InForce { snapshot: old, unknown } => {
                snapshot.beginning = old.beginning.or(snapshot.beginning);
                unknown.unwrap_or(old.time)
            }
            Work::Members(time, _) => time,
            other => {
                works.push_back(other);
                continue;
            }
        };
        unknown = Some(unknown.map_or(since, |known| known.min(since)));
        left_out += 1;
    }
    works.push_front(Work::InForce { snapshot, unknown });
    left_out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::Beginning;
    use crate::snapshot::tests::{at, snapshot};

    #[test]
    fn the_newest_is_never_left_out_and_what_is_shows() {
        let queue = Queue::default();
        let (done, _is_done) = std::sync::mpsc::sync_channel(1);
        let mut left_out = queue.push(Work::Settle(done));
        for time in 0..1000 {
            let beginning = (time == 0).then_some(Beginning::Fresh);
            let snapshot = Box::new(Snapshot { beginning, ..snapshot(time, &[1, 2]) });
            left_out += queue.push(Work::InForce { snapshot, unknown: None });
        }
        let (mut got, mut last) = (0, None);
        while let Some(work) = queue.pop(Instant::now()) {
            let Work::InForce { snapshot, unknown } = work else { continue };
            if got == 0 {
                assert_eq!((snapshot.beginning, unknown), (Some(Beginning::Fresh), Some(at(0))));
            }
            got += 1;
            last = Some(snapshot.time);
        }
        assert_eq!((got + left_out, last), (1000, Some(at(999))));
        assert!(got <= WAITING as u64);
    }

    #[test]
    fn members_that_wait_long_are_taken_together() {
        let queue = Queue::default();
        let members = snapshot(0, &[1, 2]).members;
        for time in 0..1000 {
            let (number, member) = members[time as usize % 2];
            let left_out = queue.push(Work::Members(at(time), [(number, member)].into()));
            assert_eq!(left_out, 0);
        }
        let mut all = Vec::new();
        while let Some(Work::Members(time, members)) = queue.pop(Instant::now()) {
            all.push((time, members));
        }
        assert_eq!(all.len(), WAITING);
        assert_eq!(all.pop(), Some((at(999), members.into_iter().collect())));
    }
}
