//! What determined the owners of late: where flows that began before a change may be.
//!
//! A flow that began before the last changes is on the backend that its slot had then. The sets of
//! backends from which owners were computed are therefore remembered, and the lists of packets name
//! their owners before mere runners-up: first where most living flows are to be expected
//! ([`Remnant::weight`]). Owners themselves never depend on history, so nodes that remember different
//! things still place new flows alike.
//!
//! History is bounded in number ([`MOST_MEMBERSHIPS`], of each the last [`MOST_CONDITIONS`]) and in
//! time ([`REMEMBERED`]). Pure: it is told the time; what keeps it across restarts is elsewhere.

mod format;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{Fitness, InForce, Standings};
use crate::model::{BackendState, Config, Pool, TableKind};

pub use format::{FormatError, read, write};

/// Memberships of a pool that are remembered besides the one in force.
pub const MOST_MEMBERSHIPS: usize = 8;
/// Of one membership, so many different combinations of who was healthy: a check that flaps must not
/// push out what else is known.
pub const MOST_CONDITIONS: usize = 2;
/// How long something is remembered after it was last in force. Connections that are older than the
/// last so many days and still not where their slot's owner is are few.
pub const REMEMBERED: Duration = Duration::from_secs(7 * 24 * 3600);

/// An active backend, as far as it determines owners.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owning {
    /// Its address.
    pub address: IpAddr,
    /// Its weight in force.
    pub weight: u32,
    /// Whether it was given the flows of its slots.
    pub fit: bool,
}

/// Everything that decided where new flows of a pool went, but for the seed itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The PoP whose backends these are.
    pub site: String,
    /// Fingerprint of the seed ([`crate::model::Seed::fingerprint`]): under another one, slots were
    /// others.
    pub seed: String,
    /// Algorithm.
    pub kind: TableKind,
    /// Slots of the table, a power of two.
    pub slots: u32,
    /// Margin in parts per million.
    pub margin_ppm: u32,
    /// Its active backends, ordered, at least one.
    pub backends: Vec<Owning>,
}

impl Record {
    /// What decides about the new flows of `pool` at `site`; none if nobody takes them there.
    pub fn of(pool: &Pool, home: &str, site: &str, seed: &str, standings: &Standings) -> Option<Record> {
        let there = pool.backends.iter().filter(|b| b.site(home) == site && b.state == BackendState::Active);
        let mut backends: Vec<Owning> = there
            .map(|b| {
                let fit = standings.of(&pool.name, b.address).fitness == Fitness::Fit;
                Owning { address: b.address, weight: b.weight, fit }
            })
            .collect();
        backends.sort_unstable();
        if backends.iter().all(|b| !b.fit) {
            // Then health is left out of account.
            backends.iter_mut().for_each(|b| b.fit = true);
        }
        (!backends.is_empty()).then(|| Record {
            site: site.to_owned(),
            seed: seed.to_owned(),
            kind: pool.table,
            slots: pool.slots,
            margin_ppm: pool.margin_ppm,
            backends,
        })
    }

    /// Whether both are the same but for who was healthy.
    fn is_same_membership(&self, other: &Record) -> bool {
        let named = |r: &Record| r.backends.iter().map(|b| (b.address, b.weight)).collect::<Vec<_>>();
        let rest = |r: &Record| (r.kind, r.slots, r.margin_ppm);
        (&self.site, &self.seed, rest(self)) == (&other.site, &other.seed, rest(other))
            && named(self) == named(other)
    }
}

/// The chance that a flow lives on is taken to fall as 1 / (age + this), in milliseconds: most flows are
/// short, and a few are very long.
const YOUTH: u64 = 60_000;

/// A record, and what is left of the flows that began under it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Remnant<'a> {
    /// The record.
    pub record: &'a Record,
    /// How many flows that began while it was in force may be alive, in no unit: of two sets that ended
    /// at one time, the one that was in force for longer has more; a set of days counts for more than
    /// those of seconds that followed it, and one of long ago for little.
    pub weight: f64,
}

/// A record and its time; times are in milliseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Earlier {
    record: Record,
    /// Until when it was in force; for the one in force, since when.
    until: u64,
    /// For how long it was until then, all times together.
    lasted: u64,
}

impl Earlier {
    /// The one in force, when it ends.
    fn up_to(self, now: u64) -> Earlier {
        let lasted = self.lasted.saturating_add(now.saturating_sub(self.until));
        Earlier { until: now, lasted, ..self }
    }

    fn remnant(&self, now: u64) -> Remnant<'_> {
        remnant(&self.record, now.saturating_sub(self.until), self.lasted)
    }
}

/// Of a record that ended so long ago and lasted for so long before.
fn remnant(record: &Record, ago: u64, lasted: u64) -> Remnant<'_> {
    let ended = ago.saturating_add(YOUTH);
    // The integral of the chance over the ages of its flows.
    let weight = (ended.saturating_add(lasted) as f64 / ended as f64).ln();
    Remnant { record, weight }
}

/// What is remembered of one pool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Past {
    /// In force.
    current: Option<Earlier>,
    /// The newest first, each once.
    earlier: Vec<Earlier>,
}

impl Past {
    /// This is in force from now on. Says whether that is news.
    pub fn note(&mut self, now: SystemTime, record: Option<Record>) -> bool {
        if self.current.as_ref().map(|c| &c.record) == record.as_ref() {
            return false;
        }
        let now = milliseconds(now);
        let back = record.map(|record| {
            let known = self.earlier.iter().position(|e| e.record == record);
            let lasted = known.map_or(0, |at| self.earlier.remove(at).lasted);
            Earlier { record, until: now, lasted }
        });
        if let Some(ended) = std::mem::replace(&mut self.current, back) {
            self.earlier.insert(0, ended.up_to(now));
        }
        self.bound();
        true
    }

    /// The records at a time, that in force first, then the newest.
    pub fn records(&self, now: SystemTime) -> impl Iterator<Item = Remnant<'_>> {
        let now = milliseconds(now);
        // It may be about to end.
        let current = self.current.iter().map(move |c| {
            let lasted = c.lasted.saturating_add(now.saturating_sub(c.until));
            remnant(&c.record, 0, lasted)
        });
        current.chain(self.earlier.iter().map(move |e| e.remnant(now)))
    }

    fn forget(&mut self, now: u64) -> bool {
        let before = self.earlier.len();
        // A clock that was set back makes nothing older.
        self.earlier.retain(|e| u128::from(now.saturating_sub(e.until)) < REMEMBERED.as_millis());
        self.earlier.len() != before
    }

    /// Drops what is too much.
    fn bound(&mut self) {
        let mut kept: Vec<Earlier> = Vec::with_capacity(self.earlier.len());
        let (mut memberships, mut earlier) = (0, std::mem::take(&mut self.earlier));
        for entry in earlier.drain(..) {
            let same = |other: &&Earlier| other.record.is_same_membership(&entry.record);
            match kept.iter().filter(same).count() {
                0 if memberships == MOST_MEMBERSHIPS => continue,
                0 => memberships += 1,
                MOST_CONDITIONS => continue,
                _ => {}
            }
            kept.push(entry);
        }
        self.earlier = kept;
    }
}

/// What is remembered of all pools.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    pools: BTreeMap<String, Past>,
}

impl History {
    /// Forgets what is too old. Says whether there was anything.
    pub fn forget(&mut self, now: SystemTime) -> bool {
        // All of them, also behind the first that has something to forget.
        let now = milliseconds(now);
        self.pools.values_mut().fold(false, |changed, past| past.forget(now) | changed)
    }

    /// This is in force from now on: what is remembered of pools that it does not have is forgotten.
    /// Says whether anything is different.
    pub fn note(&mut self, now: SystemTime, in_force: &InForce) -> bool {
        let InForce { config, standings } = in_force;
        let before = self.pools.len();
        self.pools.retain(|name, _| config.pools.iter().any(|p| p.name == *name));
        let mut changed = self.pools.len() != before;
        let seed = seed_of(config);
        for pool in &config.pools {
            let record = Record::of(pool, &config.pop, &config.pop, &seed, standings);
            if record.is_some() || self.pools.contains_key(&pool.name) {
                changed |= self.pools.entry(pool.name.clone()).or_default().note(now, record);
            }
        }
        changed
    }

    /// The records of a pool at a time, as far as they hold for `site` under a seed, the newest first.
    pub fn of<'a>(
        &'a self,
        pool: &str,
        site: &'a str,
        seed: &'a str,
        now: SystemTime,
    ) -> impl Iterator<Item = Remnant<'a>> {
        let records = self.pools.get(pool).into_iter().flat_map(move |past| past.records(now));
        records.filter(move |r| r.record.site == site && r.record.seed == seed)
    }
}

/// Fingerprint of the seed of a configuration; empty without one, and then there are no pools.
pub fn seed_of(config: &Config) -> String {
    config.seed.as_ref().map(crate::model::Seed::fingerprint).unwrap_or_default()
}

fn milliseconds(at: SystemTime) -> u64 {
    u64::try_from(at.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}
