//! Membership in two phases: what the operator wants ([`Config`]) and what is in force.
//!
//! Whatever gives a backend slots is a *join*: it is added, undrained, gets a larger weight, becomes
//! healthy again. In its first phase it is `filling`, listed in packets but owner of nothing; in the
//! second, when all other nodes list it or after the pool's `fill_time`, the slots are its own. Nodes may take these steps at
//! different times: whoever is ahead sends new flows to a backend that those behind list already.
//!
//! ```text
//!             join                 all other nodes list it, or fill_time
//!   (new) ───────────> filling ─────────────────> active
//!                      │     ^                      │
//!                drain │     │ undrain        drain │
//!                      v     │                      │
//!                    draining <─────────────────────┘
//!                      │     no flow is left, or drain_timeout
//!                      v
//!                    gone ── undrain ──> filling
//! ```
//!
//! A join is over at once where nobody else of the pool and site takes new flows. At a start nothing
//! is a join: the other nodes know these backends, and what changed in the file while no daemon ran
//! cannot be told apart. A drain begins its time anew then.
//!
//! The machine is pure: it is told the time, and says what has come about.

pub mod history;
mod in_force;
mod known;
mod member;
mod remaining;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::model::Config;

pub use in_force::{Fitness, InForce, Key, Standing, Standings};
pub use known::{Known, Source};
pub use member::Obstacle;
use member::{Member, Wish};
pub use remaining::{Others, Remaining, SETTLE};

/// How long a backend whose check fails is still listed: a false alarm shorter than this breaks none
/// of its flows.
pub const DEAD_HOLD: Duration = Duration::from_secs(60);

/// What is known of a backend's health.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// Nobody has said anything: counts as healthy.
    #[default]
    Unknown,
    /// Healthy.
    Up,
    /// Not healthy.
    Down,
}

impl Health {
    /// All of them.
    pub const ALL: [Health; 3] = [Health::Up, Health::Down, Health::Unknown];

    /// The word of API and command line.
    pub const fn name(self) -> &'static str {
        match self {
            Health::Unknown => "unknown",
            Health::Up => "up",
            Health::Down => "down",
        }
    }
}

/// The state in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Listed, and owner of nothing yet.
    Filling,
    /// Takes new flows, or would if it were healthy.
    Active,
    /// Keeps its flows, takes no new ones.
    Draining,
    /// Drained: in the file, but in no table.
    Gone,
}

impl State {
    /// The word of API and command line.
    pub const fn name(self) -> &'static str {
        match self {
            State::Filling => "filling",
            State::Active => "active",
            State::Draining => "draining",
            State::Gone => "gone",
        }
    }
}

/// How a backend of a pool stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// The state in force.
    pub state: State,
    /// The weight in force; a raised one is not yet.
    pub weight: u32,
    /// The raised one.
    pub coming_weight: Option<u32>,
    /// What is known of its health.
    pub health: Health,
    /// Of a draining one: how many flows it still has, if it has been asked.
    pub remaining: Option<u64>,
    /// How long until time changes its state or weight.
    pub left: Option<Duration>,
}

impl Report {
    /// Whether new flows go to it.
    pub fn serves(&self) -> bool {
        self.state == State::Active && self.health != Health::Down
    }
}

/// A join under way that time would end, and the other nodes may end before: a backend fills, its weight
/// is raised, or its health came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Join {
    /// Whose.
    pub key: Key,
    /// Since when.
    pub since: Instant,
    /// The weight that it will have.
    pub weight: u32,
}

/// What has come about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    /// Whose.
    pub key: Key,
    /// What.
    pub what: What,
}

/// What can come about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A join is over.
    Active,
    /// A raised weight is in force.
    Weight(u32),
    /// A drain is over, with so many flows left.
    Gone(Option<u64>),
    /// It is down for so long that it is listed no more.
    Unlisted,
}

impl What {
    /// Why, in a word or two.
    pub const fn cause(self) -> &'static str {
        match self {
            What::Active | What::Weight(_) => "join over",
            What::Gone(Some(0)) => "no flow left",
            What::Gone(_) => "drain_timeout",
            What::Unlisted => "down for long",
        }
    }
}

impl fmt::Display for Transition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (pool, address) = &self.key;
        write!(f, "backend {pool} {address} ")?;
        match self.what {
            What::Active => f.write_str("is active"),
            What::Weight(weight) => write!(f, "has weight {weight}"),
            What::Gone(Some(0)) => f.write_str("is gone: no flow is left"),
            What::Gone(Some(flows)) => write!(f, "is gone at its time limit, {flows} flows were left"),
            What::Gone(None) => f.write_str("is gone: its time limit has passed"),
            What::Unlisted => write!(f, "is down for {} s and listed no more", DEAD_HOLD.as_secs()),
        }
    }
}

/// What has become of a backend's health.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthChange {
    /// Whose.
    pub key: Key,
    /// What was in force.
    pub before: Health,
    /// What is.
    pub after: Health,
}

/// All backends of all pools.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Membership {
    members: BTreeMap<Key, Member>,
}

impl Membership {
    /// The membership of a daemon that starts with `config`: nothing is a join.
    pub fn start(now: Instant, config: &Config) -> Self {
        let members = all(config).map(|(key, wish)| (key, Member::start(now, &wish)));
        Membership { members: members.collect() }
    }

    /// The operator wants `config` from now on.
    pub fn configure(&mut self, now: Instant, config: &Config) {
        let mut before = std::mem::take(&mut self.members);
        for (key, wish) in all(config) {
            let member = match before.remove(&key) {
                Some(mut member) => {
                    member.wish(now, &wish);
                    member
                }
                None => Member::join(now, &wish),
            };
            self.members.insert(key, member);
        }
        self.relieve();
    }

    /// Somebody says how a backend is; with no `pool`, in all pools that have it. [`Health::Unknown`] takes back
    /// what was said: the checks decide again. Returns what came of it, pool by pool; nothing if there is
    /// no such backend.
    pub fn set_health(
        &mut self,
        now: Instant,
        pool: Option<&str>,
        address: IpAddr,
        health: Health,
    ) -> Vec<HealthChange> {
        let named = |(name, a): &Key| *a == address && pool.is_none_or(|p| p == name);
        let mut changes = Vec::new();
        for (key, member) in self.members.iter_mut().filter(|(key, _)| named(key)) {
            let before = member.health();
            member.set_health(now, health);
            changes.push(HealthChange { key: key.clone(), before, after: member.health() });
        }
        self.relieve();
        changes
    }

    /// The checks say how these backends are, all at once. Returns what came of it: nothing for those that are
    /// not there, or of which somebody has said something else.
    pub fn set_checked<'a>(
        &mut self,
        now: Instant,
        verdicts: impl IntoIterator<Item = (&'a Key, Health, Option<&'a str>)>,
    ) -> Vec<HealthChange> {
        let mut changes = Vec::new();
        for (key, health, reason) in verdicts {
            let Some(member) = self.members.get_mut(key) else { continue };
            let before = member.health();
            member.set_checked(now, health, reason);
            let after = member.health();
            if before != after {
                changes.push(HealthChange { key: key.clone(), before, after });
            }
        }
        self.relieve();
        changes
    }

    /// What is known of a backend's health, and from whom; none if the pool does not have it.
    pub fn known(&self, pool: &str, address: IpAddr) -> Option<&Known> {
        self.members.get(&(pool.to_owned(), address)).map(Member::known)
    }

    /// A backend has been asked how many flows it has. One whose drain began after that has not.
    pub fn set_remaining(&mut self, now: Instant, address: IpAddr, answer: Remaining) -> Vec<Transition> {
        let mut out = Vec::new();
        for (key, member) in self.members.iter_mut().filter(|((_, a), _)| *a == address) {
            out.extend(member.set_remaining(now, answer).map(|what| Transition { key: key.clone(), what }));
        }
        out
    }

    /// All other nodes know of a join and list the backend: it is over before its time. One that is not
    /// under way any more, or not like this, is left alone.
    pub fn set_listed(&mut self, join: &Join) -> Vec<Transition> {
        let Some(member) = self.members.get_mut(&join.key) else { return Vec::new() };
        let done = member.set_listed(join.since, join.weight).into_iter();
        done.map(|what| Transition { key: join.key.clone(), what }).collect()
    }

    /// Time passes.
    pub fn tick(&mut self, now: Instant) -> Vec<Transition> {
        let mut out = Vec::new();
        for (key, member) in &mut self.members {
            out.extend(member.tick(now).map(|what| Transition { key: key.clone(), what }));
        }
        out
    }

    /// When [`Self::tick`] is due.
    pub fn deadline(&self) -> Option<Instant> {
        self.members.values().filter_map(Member::deadline).min()
    }

    /// The joins under way that time would end: the other nodes may know of them before that.
    pub fn joins(&self) -> Vec<Join> {
        let joining = self.members.iter().filter_map(|(key, member)| Some((key, member.joining()?)));
        joining.map(|(key, (since, weight))| Join { key: key.clone(), since, weight }).collect()
    }

    /// Backends that are to be asked how many flows they have.
    pub fn draining(&self) -> Vec<IpAddr> {
        let draining = self.members.iter().filter(|(_, m)| m.state() == State::Draining);
        let mut addresses: Vec<IpAddr> = draining.map(|((_, address), _)| *address).collect();
        addresses.sort_unstable();
        addresses.dedup();
        addresses
    }

    /// How a backend stands; none if the pool does not have it.
    pub fn report(&self, now: Instant, pool: &str, address: IpAddr) -> Option<Report> {
        self.members.get(&(pool.to_owned(), address)).map(|member| member.report(now))
    }

    /// What stands against a backend's removal, pool by pool; with `pool`, in that one alone.
    pub fn obstacles(&self, pool: Option<&str>, address: IpAddr) -> Vec<(&str, Obstacle)> {
        let named = |(name, a): &Key| *a == address && pool.is_none_or(|p| p == name);
        let meant = self.members.iter().filter(|(key, _)| named(key));
        meant
            .filter_map(|(key @ (name, _), member)| {
                let of_place = |(other, m): &(&Key, &Member)| {
                    *other != key && other.0 == *name && m.site() == member.site()
                };
                let others_serve = self.members.iter().filter(of_place).any(|(_, m)| m.serves());
                Some((name.as_str(), member.obstacle(others_serve)?))
            })
            .collect()
    }

    /// What the data plane is to hold for `config`, the one last given to [`Self::configure`].
    pub fn in_force(&self, config: &Config) -> InForce {
        let mut in_force = InForce::from(config.clone());
        for pool in &mut in_force.config.pools {
            let name = pool.name.clone();
            pool.backends.retain_mut(|backend| {
                let key = (name.clone(), backend.address);
                let Some(member) = self.members.get(&key) else { return true };
                let Some(state) = member.table_state() else { return false };
                (backend.state, backend.weight) = (state, member.weight());
                in_force.standings.set(key, member.standing());
                true
            });
        }
        in_force
    }

    /// Ends the joins where nobody else takes new flows: waiting would only drop them.
    fn relieve(&mut self) {
        let mut served: BTreeMap<(String, String), bool> = BTreeMap::new();
        for ((pool, _), member) in &self.members {
            *served.entry((pool.clone(), member.site().to_owned())).or_default() |= member.serves();
        }
        for step in [Member::end_return, Member::end_filling] {
            for ((pool, _), member) in &mut self.members {
                let place = (pool.clone(), member.site().to_owned());
                // Those of one step come together: none of them is there before the others.
                if served.get(&place) == Some(&false) {
                    step(member);
                }
            }
            for ((pool, _), member) in &self.members {
                *served.entry((pool.clone(), member.site().to_owned())).or_default() |= member.serves();
            }
        }
    }
}

/// All backends of a configuration and what is wanted of them.
fn all(config: &Config) -> impl Iterator<Item = (Key, Wish<'_>)> {
    config.pools.iter().flat_map(move |pool| {
        pool.backends.iter().map(move |backend| {
            let wish = Wish {
                state: backend.state,
                weight: backend.weight,
                site: backend.pop.as_deref().unwrap_or(&config.pop),
                fill_time: pool.fill_time,
                drain_timeout: pool.drain_timeout,
                checked: pool.health.check.is_some(),
            };
            ((pool.name.clone(), backend.address), wish)
        })
    })
}
