//! The pure part: what the kernel said last, and what follows from it for each target.
//!
//! Facts go in as they arrive; [`State::settle`] then compares what they mean with what was reported
//! and returns the difference, so that any number of facts between two calls cost one report.

mod resolve;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;

use ipnet::IpNet;

use super::fact::{Answer, Link, Neighbour, NeighbourKey, Reach};
use super::{Event, Resolution};

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Report this.
    Emit(Event),
    /// Make this neighbour entry managed and have the kernel ask now; `create` if there is none.
    Manage { key: NeighbourKey, create: bool },
    /// It is no longer needed: `delete` the entry, or leave it unmanaged to the kernel.
    Release { key: NeighbourKey, delete: bool },
}

/// What remains of a neighbour while its entry is on its way from one state to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Memory {
    /// Last known MAC address; it holds until the kernel has asked in vain.
    Mac([u8; 6]),
    /// Asked in vain; holds until somebody answers. The MAC address from before is kept until the
    /// next report, see [`State::neighbour_gone`].
    Silent(Option<[u8; 6]>),
}

/// A neighbour entry that this resolver looks after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Owned {
    /// It did not exist before: it goes when it is no longer needed.
    created: bool,
    /// The kernel has been asked to manage it since it was last seen unmanaged or gone.
    asked: bool,
}

#[derive(Debug, Default)]
struct Target {
    answer: Option<Answer>,
    reported: Option<Resolution>,
}

/// The last snapshot of the kernel's tables and what was made of it.
#[derive(Debug, Default)]
pub(super) struct State {
    sources: Vec<IpAddr>,
    links: BTreeMap<u32, Link>,
    addresses: BTreeSet<(u32, IpAddr)>,
    neighbours: HashMap<NeighbourKey, Neighbour>,
    memory: HashMap<NeighbourKey, Memory>,
    targets: BTreeMap<IpAddr, Target>,
    owned: BTreeMap<NeighbourKey, Owned>,
    /// False until the first snapshot is complete: nothing is reported before.
    ready: bool,
    reported_locals: Option<Vec<IpAddr>>,
    reported_links: Option<BTreeMap<(String, u32), bool>>,
}

impl State {
    /// Nothing known yet; `sources` override the kernel's choice of source address.
    pub(super) fn new(sources: &[IpAddr]) -> Self {
        State { sources: sources.to_vec(), ..State::default() }
    }

    /// Takes a complete snapshot in place of everything known.
    pub(super) fn replace(
        &mut self,
        links: impl IntoIterator<Item = (u32, Link)>,
        addresses: impl IntoIterator<Item = (u32, IpAddr)>,
        neighbours: impl IntoIterator<Item = (NeighbourKey, Neighbour)>,
    ) {
        self.links = links.into_iter().collect();
        self.addresses = addresses.into_iter().collect();
        let neighbours: HashMap<_, _> = neighbours.into_iter().collect();
        let gone: Vec<_> = self.neighbours.keys().filter(|k| !neighbours.contains_key(k)).copied().collect();
        for key in gone {
            self.neighbour_gone(key);
        }
        for (key, neighbour) in neighbours {
            self.neighbour(key, neighbour);
        }
        self.ready = true;
    }

    /// An interface appeared or changed.
    pub(super) fn link(&mut self, ifindex: u32, link: Link) {
        self.links.insert(ifindex, link);
    }

    /// An interface disappeared, and with it whatever was known behind it.
    pub(super) fn link_gone(&mut self, ifindex: u32) {
        self.links.remove(&ifindex);
        self.addresses.retain(|(index, _)| *index != ifindex);
        self.neighbours.retain(|key, _| key.ifindex != ifindex);
        self.memory.retain(|key, _| key.ifindex != ifindex);
        self.owned.retain(|key, _| key.ifindex != ifindex);
    }

    /// An address of this host appeared and may be used.
    pub(super) fn address(&mut self, ifindex: u32, address: IpAddr) {
        self.addresses.insert((ifindex, address));
    }

    /// An address of this host disappeared, or may not be used.
    pub(super) fn address_gone(&mut self, ifindex: u32, address: IpAddr) {
        self.addresses.remove(&(ifindex, address));
    }

    /// A neighbour entry appeared or changed.
    pub(super) fn neighbour(&mut self, key: NeighbourKey, neighbour: Neighbour) {
        match neighbour.reach {
            Reach::Known(mac) | Reach::Fixed(mac) => {
                self.memory.insert(key, Memory::Mac(mac));
            }
            Reach::Failed => {
                let last = match self.memory.get(&key) {
                    Some(Memory::Mac(mac)) => Some(*mac),
                    Some(Memory::Silent(last)) => *last,
                    None => None,
                };
                self.memory.insert(key, Memory::Silent(last));
            }
            Reach::Asking => {}
        }
        self.neighbours.insert(key, neighbour);
    }

    /// A neighbour entry disappeared. Its MAC address holds until a new entry says otherwise, even if
    /// it was just reported as failed: that is what the kernel does first when it is told to delete.
    pub(super) fn neighbour_gone(&mut self, key: NeighbourKey) {
        self.neighbours.remove(&key);
        match self.owned.get_mut(&key) {
            Some(owned) => owned.asked = false,
            None => {
                self.memory.remove(&key);
            }
        }
        if let Some(memory) = self.memory.get_mut(&key)
            && let Memory::Silent(Some(mac)) = *memory
        {
            *memory = Memory::Mac(mac);
        }
    }

    /// Replaces the targets. The new ones have no answer yet; see [`State::unanswered`].
    pub(super) fn set_targets(&mut self, targets: impl IntoIterator<Item = IpAddr>) {
        // A backend may be named more than once.
        let targets: BTreeSet<_> = targets.into_iter().collect();
        let mut old = std::mem::take(&mut self.targets);
        self.targets = targets.into_iter().map(|t| (t, old.remove(&t).unwrap_or_default())).collect();
    }

    /// Whether a change of the route to `prefix` can concern a target. A host that carries the routes
    /// of the Internet sees a great many that cannot.
    pub(super) fn concerns(&self, prefix: IpNet) -> bool {
        self.targets.range(prefix.network()..=prefix.broadcast()).next().is_some()
    }

    /// All targets.
    pub(super) fn targets(&self) -> Vec<IpAddr> {
        self.targets.keys().copied().collect()
    }

    /// Targets whose route has not been looked up yet.
    pub(super) fn unanswered(&self) -> Vec<IpAddr> {
        self.targets.iter().filter(|(_, t)| t.answer.is_none()).map(|(a, _)| *a).collect()
    }

    /// Targets that cannot be reached as things stand.
    pub(super) fn unresolved(&self) -> Vec<IpAddr> {
        let missing = |t: &Target| !matches!(t.reported, Some(Resolution::Resolved(_)));
        self.targets.iter().filter(|(_, t)| missing(t)).map(|(a, _)| *a).collect()
    }

    /// The kernel's answer to the route lookup of `target`.
    pub(super) fn answer(&mut self, target: IpAddr, answer: Answer) {
        if let Some(entry) = self.targets.get_mut(&target) {
            entry.answer = Some(answer);
        }
    }

    /// The source address to name in the lookup of `target`: the configured one if it is ours (the
    /// kernel refuses a foreign one), because rules may select a table by it.
    pub(super) fn lookup_source(&self, target: IpAddr) -> Option<IpAddr> {
        let source = self.configured_source(target)?;
        self.addresses.iter().any(|(_, a)| *a == source).then_some(source)
    }

    /// The targets that cannot be reached want their neighbours asked again.
    pub(super) fn kick_unresolved(&self) -> Vec<Action> {
        let silent: BTreeSet<_> = self
            .unresolved()
            .into_iter()
            .filter_map(|address| self.neighbour_of(address, self.targets.get(&address)?))
            .filter(|key| self.owned.contains_key(key))
            .collect();
        silent.into_iter().map(kick).collect()
    }

    /// Entries that the kernel does not manage although it was asked to (it is too old, or somebody
    /// replaced them) have to be asked about again and again.
    pub(super) fn kick_unmanaged(&self) -> Vec<Action> {
        let unmanaged = |key: &&NeighbourKey| {
            self.neighbours.get(key).is_none_or(|n| !n.managed && !matches!(n.reach, Reach::Fixed(_)))
        };
        self.owned.keys().filter(unmanaged).map(|key| kick(*key)).collect()
    }

    /// Brings what was reported, and the set of managed entries, up to date with the facts.
    pub(super) fn settle(&mut self) -> Vec<Action> {
        let mut actions = Vec::new();
        if !self.ready {
            return actions;
        }
        self.settle_links(&mut actions);
        self.settle_locals(&mut actions);
        self.settle_neighbours(&mut actions);
        let mut targets = std::mem::take(&mut self.targets);
        for (address, target) in &mut targets {
            let Some(answer) = &target.answer else { continue };
            let resolution =
                self.resolve(*address, answer).map_or_else(Resolution::from, Resolution::Resolved);
            if target.reported.as_ref() != Some(&resolution) {
                target.reported = Some(resolution.clone());
                actions.push(Action::Emit(Event::NextHop { backend: *address, resolution }));
            }
        }
        self.targets = targets;
        for memory in self.memory.values_mut() {
            if let Memory::Silent(last) = memory {
                *last = None;
            }
        }
        actions
    }

    /// The entry is not as it was thought to be, so the request about it failed.
    pub(super) fn disown(&mut self, key: NeighbourKey) {
        self.owned.remove(&key);
    }

    /// Gives up all entries, at the end.
    pub(super) fn release_all(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.owned)
            .into_iter()
            .filter_map(|(key, owned)| self.release(key, owned))
            .collect()
    }

    fn settle_links(&mut self, actions: &mut Vec<Action>) {
        let now: BTreeMap<_, _> = self
            .links
            .iter()
            .filter(|(_, link)| !link.loopback)
            .map(|(index, link)| ((link.name.clone(), *index), link.up && link.carrier))
            .collect();
        // The first snapshot is the state from which changes count.
        let before = self.reported_links.replace(now.clone()).unwrap_or_else(|| now.clone());
        // Downs first: a device that was replaced keeps its name and goes down before it comes up.
        for ((name, index), up) in &before {
            if *up && !now.get(&(name.clone(), *index)).copied().unwrap_or(false) {
                actions.push(Action::Emit(Event::LinkDown { interface: name.clone() }));
            }
        }
        for ((name, index), up) in &now {
            if *up && !before.get(&(name.clone(), *index)).copied().unwrap_or(false) {
                actions.push(Action::Emit(Event::LinkUp { interface: name.clone() }));
            }
        }
    }

    fn settle_locals(&mut self, actions: &mut Vec<Action>) {
        let locals: BTreeSet<_> =
            self.addresses.iter().map(|(_, address)| *address).filter(|a| !a.is_loopback()).collect();
        let locals: Vec<_> = locals.into_iter().collect();
        if self.reported_locals.as_ref() != Some(&locals) {
            self.reported_locals = Some(locals.clone());
            actions.push(Action::Emit(Event::Locals(locals)));
        }
    }

    fn settle_neighbours(&mut self, actions: &mut Vec<Action>) {
        let wanted: HashSet<_> = self.targets.iter().filter_map(|(a, t)| self.neighbour_of(*a, t)).collect();
        let unwanted: Vec<_> = self.owned.keys().filter(|key| !wanted.contains(key)).copied().collect();
        for key in unwanted {
            if let Some(owned) = self.owned.remove(&key) {
                actions.extend(self.release(key, owned));
            }
        }
        self.memory.retain(|key, _| wanted.contains(key) || self.neighbours.contains_key(key));
        for key in wanted {
            let entry = self.neighbours.get(&key);
            match entry {
                Some(Neighbour { reach: Reach::Fixed(_), .. }) => {
                    // An operator's: not ours to remove, even if there was one of ours before.
                    self.owned.remove(&key);
                }
                Some(Neighbour { managed: true, marked, .. }) => {
                    // Of an earlier run, unless it is already known: adopted, but as somebody else may
                    // have made it first, it is not deleted later.
                    if *marked {
                        self.owned.entry(key).or_insert(Owned { created: false, asked: true });
                    }
                }
                _ => {
                    if !self.owned.get(&key).is_some_and(|owned| owned.asked) {
                        let action = self.manage(key);
                        actions.push(action);
                    }
                }
            }
        }
    }

    fn manage(&mut self, key: NeighbourKey) -> Action {
        let create = !self.neighbours.contains_key(&key);
        let owned = self.owned.entry(key).or_insert(Owned { created: create, asked: true });
        owned.asked = true;
        owned.created |= create;
        Action::Manage { key, create }
    }

    fn release(&self, key: NeighbourKey, owned: Owned) -> Option<Action> {
        match self.neighbours.get(&key) {
            Some(Neighbour { reach: Reach::Fixed(_), .. }) => None,
            // Not heard of yet, but asked for: it may exist by now.
            None if !owned.asked => None,
            _ => Some(Action::Release { key, delete: owned.created }),
        }
    }

    fn configured_source(&self, target: IpAddr) -> Option<IpAddr> {
        self.sources.iter().copied().find(|s| s.is_ipv4() == target.is_ipv4())
    }
}

/// Asks again about an entry that was asked about before. It exists even if nothing was heard of it:
/// the kernel does not report an entry before it has an answer or has given up.
fn kick(key: NeighbourKey) -> Action {
    Action::Manage { key, create: false }
}
