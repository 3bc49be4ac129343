//! What of routers' views concerns us. No I/O.
//!
//! A route to one of our prefixes, or to a part of one, whose origin is not ours is a *sighting*: kept by router, peer,
//! table, prefix and path, until it is withdrawn, replaced, or peer or router are gone. All sightings of one prefix
//! from one origin are one *alarm*.
//!
//! Which origin is ours: that of the most specific of our prefixes that covers the route, and any of
//! [`Settings::ours`](super::Settings::ours). An AS_SET at the end of a path is ours only if each of its members is,
//! since it hides who began. A path that is empty (or has confederation members alone) begins in the AS of the
//! router that has the route.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::time::Instant;

use ipnet::IpNet;

use super::message::{AddPath, Agreed, Message, PeerHeader, PeerId, View};
use super::update::{AsPath, Nlri, Origin, decode};

#[cfg(test)]
mod tests;

/// Sightings of one router that are kept. Those beyond are counted.
pub const MOST_SIGHTINGS: usize = 1000;
/// Peers of one router that are kept; of those beyond, routes are read as if nothing had been agreed on.
pub const MOST_PEERS: usize = 4096;
/// Characters of a path that are kept.
const LONGEST_PATH: usize = 256;

/// One of our prefixes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Own {
    /// The prefix, without host bits.
    pub prefix: IpNet,
    /// The AS that it is announced from.
    pub origin: u32,
}

/// A session with a router; not used again.
pub type RouterId = u64;

/// An origin that is not ours.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Foreign {
    /// This AS.
    As(u32),
    /// One of these.
    Set(Vec<u32>),
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Foreign::As(asn) => write!(f, "AS{asn}"),
            Foreign::Set(ases) => {
                let ases: Vec<String> = ases.iter().take(8).map(ToString::to_string).collect();
                write!(f, "AS set {{{}}}", ases.join(","))
            }
        }
    }
}

/// Where a route was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sight {
    /// The router that told of it.
    pub router: SocketAddr,
    /// Its name, if it said one.
    pub router_name: Option<String>,
    /// Its peer.
    pub peer: PeerId,
    /// The peer's AS.
    pub peer_as: u32,
    /// In which table.
    pub view: View,
    /// The AS path; cut when it is very long.
    pub path: String,
    /// Since when.
    pub since: Instant,
}

impl fmt::Display for Sight {
    /// `router 10.0.0.1 (edge1), received from 10.0.0.7 AS64510, AS path 64510 64666`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "router {}", self.router.ip())?;
        if let Some(name) = &self.router_name {
            write!(f, " ({name})")?;
        }
        write!(f, ", {}", self.view.words())?;
        if self.view != View::Local {
            write!(f, " {} AS{}", self.peer.address, self.peer_as)?;
        }
        write!(f, ", AS path {}", if self.path.is_empty() { "empty" } else { &self.path })
    }
}

/// One of our prefixes, or a part of one, is announced by somebody else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alarm {
    /// What is announced.
    pub prefix: IpNet,
    /// From where.
    pub origin: Foreign,
    /// Our prefix, and our AS.
    pub own: Own,
    /// Where it was seen first.
    pub first: Sight,
}

impl fmt::Display for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Own { prefix: own, origin: ours } = self.own;
        write!(f, "{}", self.prefix)?;
        if self.prefix != own {
            write!(f, ", a part of our {own},")?;
        }
        write!(f, " is announced by {}, not by AS{ours}: seen by {}", self.origin, self.first)
    }
}

/// What is to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// This has begun.
    Raised(Alarm),
    /// This is over.
    Cleared(Alarm),
    /// A router shows more than is kept; told once a session.
    TooMany(SocketAddr),
}

/// Our prefixes, to be found by what they cover.
#[derive(Clone, Debug, Default)]
struct Owned {
    origins: BTreeMap<IpNet, u32>,
    /// Lengths that occur, the longest first.
    lengths: Vec<u8>,
}

impl Owned {
    fn new(own: &[Own]) -> Self {
        let mut lengths: Vec<u8> = own.iter().map(|o| o.prefix.prefix_len()).collect();
        lengths.sort_unstable_by(|a, b| b.cmp(a));
        lengths.dedup();
        Owned { origins: own.iter().map(|o| (o.prefix, o.origin)).collect(), lengths }
    }

    /// The most specific of ours that covers `prefix`.
    fn covering(&self, prefix: IpNet) -> Option<Own> {
        let shorter = self.lengths.iter().filter(|l| **l <= prefix.prefix_len());
        shorter
            .filter_map(|length| IpNet::new(prefix.network(), *length).ok())
            .map(|net| net.trunc())
            .find_map(|net| self.origins.get(&net).map(|origin| Own { prefix: net, origin: *origin }))
    }
}

type SightKey = (PeerId, View, IpNet, u32);

#[derive(Clone, Debug)]
struct Seen {
    origin: Foreign,
    own: Own,
    peer_as: u32,
    path: String,
    since: Instant,
}

#[derive(Clone, Debug)]
struct Router {
    address: SocketAddr,
    name: Option<String>,
    peers: BTreeMap<PeerId, Agreed>,
    sightings: BTreeMap<SightKey, Seen>,
    unkept: u64,
    /// UPDATEs that could not be understood.
    unread: u64,
}

#[derive(Clone, Debug)]
struct Raised {
    alarm: Alarm,
    sightings: usize,
}

/// A router, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouterStatus {
    /// Where its session comes from.
    pub address: SocketAddr,
    /// Its name, if it said one.
    pub name: Option<String>,
    /// Peers that are up.
    pub peers: usize,
    /// Sightings beyond [`MOST_SIGHTINGS`].
    pub unkept: u64,
    /// UPDATEs that could not be understood.
    pub unread: u64,
}

/// All that is seen.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    owned: Owned,
    ours: Vec<u32>,
    routers: BTreeMap<RouterId, Router>,
    alarms: BTreeMap<(IpNet, Foreign), Raised>,
}

impl Watch {
    /// For these prefixes, and ASes whose announcements are ours as well. Routers tell what they see once, so a watch
    /// for others is a new one, with new sessions.
    pub fn new(own: &[Own], ours: &[u32]) -> Self {
        Watch { owned: Owned::new(own), ours: ours.to_vec(), ..Watch::default() }
    }

    /// A router has begun a session.
    pub fn router_up(&mut self, router: RouterId, address: SocketAddr) {
        let new = Router {
            address,
            name: None,
            peers: BTreeMap::new(),
            sightings: BTreeMap::new(),
            unkept: 0,
            unread: 0,
        };
        self.routers.insert(router, new);
    }

    /// A router's session has ended.
    pub fn router_gone(&mut self, router: RouterId) -> Vec<Action> {
        let mut out = Vec::new();
        if let Some(gone) = self.routers.remove(&router) {
            for ((_, _, prefix, _), seen) in gone.sightings {
                self.forget(prefix, seen, &mut out);
            }
        }
        out
    }

    /// A router has told something.
    pub fn heard(&mut self, now: Instant, router: RouterId, message: Message<'_>) -> Vec<Action> {
        let mut out = Vec::new();
        match message {
            Message::Initiation(name) => {
                if let Some(router) = self.routers.get_mut(&router) {
                    router.name = name;
                }
            }
            Message::PeerUp(header, agreed) => {
                // What it had before a break that was not told of is gone.
                self.peer_gone(router, &header, &mut out);
                if let Some(router) = self.routers.get_mut(&router)
                    && router.peers.len() < MOST_PEERS
                {
                    router.peers.insert(header.peer, agreed);
                }
            }
            Message::PeerDown(header) => self.peer_gone(router, &header, &mut out),
            Message::Routes(header, update) => self.routes(now, router, &header, update, &mut out),
            Message::Termination | Message::Other => {}
        }
        out
    }

    /// What is wrong now, each with all sightings that are kept.
    pub fn alarms(&self) -> Vec<(Alarm, Vec<Sight>)> {
        let mut sights: BTreeMap<(IpNet, &Foreign), Vec<Sight>> = BTreeMap::new();
        for router in self.routers.values() {
            for (key, seen) in &router.sightings {
                sights.entry((key.2, &seen.origin)).or_default().push(sight(router, key, seen));
            }
        }
        let alarms = self.alarms.iter();
        alarms
            .map(|((prefix, origin), raised)| {
                (raised.alarm.clone(), sights.remove(&(*prefix, origin)).unwrap_or_default())
            })
            .collect()
    }

    /// The routers, in the order in which they came.
    pub fn routers(&self) -> Vec<RouterStatus> {
        let status = |r: &Router| RouterStatus {
            address: r.address,
            name: r.name.clone(),
            peers: r.peers.len(),
            unkept: r.unkept,
            unread: r.unread,
        };
        self.routers.values().map(status).collect()
    }

    fn peer_gone(&mut self, router: RouterId, header: &PeerHeader, out: &mut Vec<Action>) {
        let Some(known) = self.routers.get_mut(&router) else { return };
        known.peers.remove(&header.peer);
        let gone: Vec<SightKey> =
            known.sightings.keys().filter(|key| key.0 == header.peer).copied().collect();
        for key in gone {
            self.withdrawn(router, &key, out);
        }
    }

    fn routes(
        &mut self,
        now: Instant,
        router: RouterId,
        header: &PeerHeader,
        update: &[u8],
        out: &mut Vec<Action>,
    ) {
        let Some(known) = self.routers.get_mut(&router) else { return };
        let agreed = known.peers.get(&header.peer).copied();
        let add_path = agreed.map_or(AddPath::default(), |agreed| match header.view.is_outgoing() {
            true => agreed.outgoing,
            false => agreed.incoming,
        });
        let Some(update) = decode(update, header.two_byte_paths, add_path) else {
            known.unread += 1;
            return;
        };
        let key = |nlri: Nlri| (header.peer, header.view, nlri.prefix, nlri.path);
        for nlri in update.withdrawn {
            self.withdrawn(router, &key(nlri), out);
        }
        let here = agreed.map(|a| a.local_as).filter(|asn| *asn != 0).unwrap_or(header.asn);
        for nlri in update.announced {
            let Some(own) = self.owned.covering(nlri.prefix) else { continue };
            match self.foreign(own, update.path.origin(), here) {
                None => self.withdrawn(router, &key(nlri), out),
                Some(origin) => {
                    let path = shortened(&update.path);
                    let seen = Seen { origin, own, peer_as: header.asn, path, since: now };
                    self.seen(router, key(nlri), seen, out);
                }
            }
        }
    }

    /// The origin, if it is not ours.
    fn foreign(&self, own: Own, origin: Origin, here: u32) -> Option<Foreign> {
        let is_ours = |asn: &u32| *asn == own.origin || self.ours.contains(asn);
        match origin {
            Origin::As(asn) => Some(Foreign::As(asn)).filter(|_| !is_ours(&asn)),
            Origin::Set(ases) => Some(ases).filter(|ases| !ases.iter().all(is_ours)).map(Foreign::Set),
            Origin::Here => Some(Foreign::As(here)).filter(|_| !is_ours(&here)),
        }
    }

    fn seen(&mut self, router: RouterId, key: SightKey, mut seen: Seen, out: &mut Vec<Action>) {
        let Some(known) = self.routers.get_mut(&router) else { return };
        match known.sightings.remove(&key) {
            Some(before) if before.origin == seen.origin => {
                // The same by another path.
                seen.since = before.since;
                known.sightings.insert(key, seen);
                return;
            }
            Some(before) => self.forget(key.2, before, out),
            None if known.sightings.len() >= MOST_SIGHTINGS => {
                known.unkept += 1;
                if known.unkept == 1 {
                    out.push(Action::TooMany(known.address));
                }
                return;
            }
            None => {}
        }
        let Some(known) = self.routers.get_mut(&router) else { return };
        let first = sight(known, &key, &seen);
        let raised = self.alarms.entry((key.2, seen.origin.clone())).or_insert_with(|| {
            let alarm = Alarm { prefix: key.2, origin: seen.origin.clone(), own: seen.own, first };
            out.push(Action::Raised(alarm.clone()));
            Raised { alarm, sightings: 0 }
        });
        raised.sightings += 1;
        known.sightings.insert(key, seen);
    }

    fn withdrawn(&mut self, router: RouterId, key: &SightKey, out: &mut Vec<Action>) {
        if let Some(seen) = self.routers.get_mut(&router).and_then(|r| r.sightings.remove(key)) {
            self.forget(key.2, seen, out);
        }
    }

    /// A sighting is gone; with the last one its alarm is.
    fn forget(&mut self, prefix: IpNet, seen: Seen, out: &mut Vec<Action>) {
        let key = (prefix, seen.origin);
        let Some(raised) = self.alarms.get_mut(&key) else { return };
        raised.sightings = raised.sightings.saturating_sub(1);
        if raised.sightings == 0
            && let Some(over) = self.alarms.remove(&key)
        {
            out.push(Action::Cleared(over.alarm));
        }
    }
}

fn sight(router: &Router, key: &SightKey, seen: &Seen) -> Sight {
    Sight {
        router: router.address,
        router_name: router.name.clone(),
        peer: key.0,
        peer_as: seen.peer_as,
        view: key.1,
        path: seen.path.clone(),
        since: seen.since,
    }
}

fn shortened(path: &AsPath) -> String {
    let mut text = path.to_string();
    if text.len() > LONGEST_PATH {
        // Its end is what matters; it is all ASCII.
        text = format!("… {}", &text[text.len() - LONGEST_PATH..]);
    }
    text
}
