//! The checks of many backends: which probe is due next, and how many may be under way. Pure, like the
//! machines it holds.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use crate::machine::{Machine, Probe, Tick, Timing};
use crate::{Change, Health, Reason};

#[cfg(test)]
mod tests;

/// One check as it is wanted: whose, when, and what is probed. `S` is opaque here, but for equality: a
/// check whose `S` is another is another check of the same backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted<K, S> {
    /// Whose.
    pub key: K,
    /// When.
    pub timing: Timing,
    /// What.
    pub subject: S,
}

#[derive(Debug)]
struct Entry<S> {
    machine: Machine,
    timing: Timing,
    subject: S,
    /// Where it stands in the queue.
    queued: Instant,
}

/// The checks of many backends.
#[derive(Debug)]
pub struct Schedule<K, S> {
    entries: BTreeMap<K, Entry<S>>,
    queue: BTreeSet<(Instant, K)>,
    /// Probes whose driver has not come back yet, those of checks that are gone included.
    under_way: usize,
    most: usize,
    seed: u64,
}

/// What is to be done now.
#[derive(Debug, PartialEq, Eq)]
pub enum Due<K, S> {
    /// A probe; its end is told to [`Schedule::finished`], exactly once.
    Probe {
        /// Whose.
        key: K,
        /// What.
        subject: S,
        /// Which, and until when.
        probe: Probe,
    },
    /// A verdict over a probe that never came back.
    Change(K, Change),
}

impl<K: Clone + Ord, S: Clone + PartialEq> Schedule<K, S> {
    /// No checks yet; at most `most` probes are under way at once.
    pub fn new(most: usize, seed: u64) -> Self {
        Schedule { entries: BTreeMap::new(), queue: BTreeSet::new(), under_way: 0, most: most.max(1), seed }
    }

    /// These checks, and no others, from now on. Those that were there already go on undisturbed; one with
    /// another subject or timing keeps what is known of its backend. The first probes of those that are new or
    /// changed are spread over their interval, so that they do not all fall on one moment; of one alone it
    /// is due at once.
    pub fn set(&mut self, now: Instant, wanted: Vec<Wanted<K, S>>) {
        let is_same = |e: &Entry<S>, w: &Wanted<K, S>| e.timing == w.timing && e.subject == w.subject;
        let mut before = std::mem::take(&mut self.entries);
        self.queue.clear();
        let new = wanted.iter().filter(|w| before.get(&w.key).is_none_or(|e| !is_same(e, w))).count();
        let share = u32::try_from(new.max(1)).unwrap_or(u32::MAX);
        let mut place = 0;
        for w in wanted {
            let entry = match before.remove(&w.key) {
                Some(entry) if is_same(&entry, &w) => entry,
                old => {
                    let first = now + w.timing.interval / share * place;
                    place = place.saturating_add(1);
                    let machine = match old {
                        Some(Entry { mut machine, .. }) => {
                            machine.change(first, w.timing);
                            machine
                        }
                        None => Machine::new(first, w.timing, Health::Unknown, self.draw()),
                    };
                    Entry { machine, timing: w.timing, subject: w.subject, queued: first }
                }
            };
            self.entries.insert(w.key, entry);
        }
        for (key, entry) in &mut self.entries {
            entry.queued = entry.machine.deadline();
            self.queue.insert((entry.queued, key.clone()));
        }
    }

    /// When [`Self::due`] has something; none while nothing can be due before a probe ends.
    pub fn deadline(&self) -> Option<Instant> {
        if self.under_way < self.most {
            return self.queue.first().map(|(at, _)| *at);
        }
        // Full: only the net below probes under way may be due.
        let probing =
            |(_, key): &&(Instant, K)| self.entries.get(key).is_some_and(|e| e.machine.is_probing());
        self.queue.iter().find(probing).map(|(at, _)| *at)
    }

    /// The next thing that is due; call it until there is none.
    pub fn due(&mut self, now: Instant) -> Option<Due<K, S>> {
        loop {
            let full = self.under_way >= self.most;
            let ready = |(at, key): &&(Instant, K)| {
                *at <= now && (!full || self.entries.get(key).is_some_and(|e| e.machine.is_probing()))
            };
            let (_, key) = self.queue.iter().take_while(|(at, _)| *at <= now).find(ready)?.clone();
            let entry = self.entries.get_mut(&key)?;
            let tick = entry.machine.tick(now);
            let subject = entry.subject.clone();
            self.requeue(&key);
            match tick {
                Tick::Probe(probe) => {
                    self.under_way += 1;
                    return Some(Due::Probe { key, subject, probe });
                }
                Tick::Change(change) => return Some(Due::Change(key, change)),
                Tick::Nothing => {}
            }
        }
    }

    /// A probe's driver has come back. `probe` is what [`Due::Probe`] said; a check that has been changed or
    /// removed meanwhile does not hear it.
    pub fn finished(
        &mut self,
        now: Instant,
        key: &K,
        number: u64,
        result: Result<(), Reason>,
    ) -> Option<Change> {
        self.under_way = self.under_way.saturating_sub(1);
        let change = self.entries.get_mut(key)?.machine.finished(now, number, result);
        self.requeue(key);
        change
    }

    /// What is known of a backend; none if it is not checked.
    pub fn health(&self, key: &K) -> Option<Health> {
        Some(self.entries.get(key)?.machine.health())
    }

    /// How many backends are checked.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn requeue(&mut self, key: &K) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        self.queue.remove(&(entry.queued, key.clone()));
        entry.queued = entry.machine.deadline();
        self.queue.insert((entry.queued, key.clone()));
    }

    fn draw(&mut self) -> u64 {
        self.seed = self.seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        self.seed
    }
}
