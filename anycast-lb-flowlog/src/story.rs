//! What many nodes say of one flow, put together: who sent it where, who passed it on, who had it in the end.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::filter::{FlowKey, optional_time as maybe_time};
use crate::record::{Event, Program, Record};
use crate::stamp::stamp;

/// By so much the clocks of nodes may differ; by half the pause between two flows of the same ports where that is less.
const SKEW: Duration = Duration::from_millis(500);
/// A client tries no longer than this to open a connection: a later SYN opens another one.
const OPENING: Duration = Duration::from_secs(180);
/// What says neither when it begins nor when it ends is another flow after such a pause.
const IDLE: Duration = Duration::from_secs(180);
const TCP: u8 = 6;

/// What a node saw of a flow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sight {
    /// The node.
    pub node: String,
    /// Its PoP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pop: Option<String>,
    /// Which program.
    pub program: Program,
    /// The first and the last time.
    #[serde(with = "time")]
    pub first: SystemTime,
    /// See there.
    #[serde(with = "time")]
    pub last: SystemTime,
    /// How many packets are in its log.
    pub records: u64,
    /// The backends that it sent packets to, or on to, in the order of time.
    pub backends: Vec<IpAddr>,
    /// The names of the verdicts, in the order of time.
    pub verdicts: Vec<String>,
}

/// A backend that sent the flow on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hop {
    /// The node that sent it on.
    pub node: String,
    /// Who had sent it there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender: Option<IpAddr>,
    /// To whom.
    pub next: IpAddr,
    /// When first.
    #[serde(with = "time")]
    pub first: SystemTime,
    /// How many packets are in the log.
    pub records: u64,
}

/// Who had the flow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Served {
    /// The backend's address in its pool, where the records tell it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<IpAddr>,
    /// The backend's name, if its own log says that it took packets; else it is only known who they were sent to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
}

/// One flow, from its first packet in the logs to its last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Story {
    /// The flow.
    pub flow: FlowKey,
    /// The VIP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vip: Option<String>,
    /// Its pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// When it was opened.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "maybe_time")]
    pub begin: Option<SystemTime>,
    /// When it was first said to end.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "maybe_time")]
    pub end: Option<SystemTime>,
    /// First record.
    #[serde(with = "time")]
    pub first: SystemTime,
    /// Last record.
    #[serde(with = "time")]
    pub last: SystemTime,
    /// Who had it; none where nobody was sent any of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub served: Option<Served>,
    /// The ingress nodes that it came by, in the order of time.
    pub ingress: Vec<Sight>,
    /// The backends that it came to, in the order of time.
    pub backends: Vec<Sight>,
    /// Hops that it took, in the order of time.
    pub hops: Vec<Hop>,
}

/// Puts records together, whatever their order; the stories are in the order of their first records. The same
/// record from two sources counts once.
pub fn tell(mut records: Vec<Record>) -> Vec<Story> {
    records.sort_by(|a, b| (a.time, &a.node, a.program).cmp(&(b.time, &b.node, b.program)));
    records.dedup();
    let mut flows: BTreeMap<FlowKey, Vec<Record>> = BTreeMap::new();
    for record in records {
        flows.entry(FlowKey::of(&record)).or_default().push(record);
    }
    let mut stories: Vec<Story> = flows
        .into_iter()
        .flat_map(|(flow, records)| split(records).into_iter().filter_map(move |one| story(flow, &one)))
        .collect();
    stories.sort_by_key(|story| story.first);
    stories
}

/// Where a flow begins.
struct Start {
    time: SystemTime,
    /// Whose clock that is.
    node: String,
    /// Records of other nodes that are earlier by no more than this are still its own.
    slack: Duration,
}

/// Connections that had the same ports one after the other.
fn split(records: Vec<Record>) -> Vec<Vec<Record>> {
    // Ingress nodes see all packets, so they tell what comes after what.
    let program = match records.iter().any(|r| r.program == Program::Ingress) {
        true => Program::Ingress,
        false => Program::Backend,
    };
    let starts = starts(records.iter().filter(|r| r.program == program));
    let mut parts = vec![Vec::new(); starts.len() + 1];
    for record in records {
        let is_after = |start: &&Start| {
            let own_clock = record.program == program && record.node == start.node;
            record.time + if own_clock { Duration::ZERO } else { start.slack } >= start.time
        };
        let part = starts.iter().take_while(is_after).count();
        parts[part].push(record);
    }
    parts
}

/// Where connections begin after the first, by records in the order of time.
fn starts<'a>(records: impl Iterator<Item = &'a Record>) -> Vec<Start> {
    let mut starts = Vec::new();
    // Of the connection that goes on: what each node saw last, when it was opened and said to end, its last record.
    let mut last_of: HashMap<&str, &Record> = HashMap::new();
    let (mut opened, mut ended, mut last): (_, _, Option<SystemTime>) = (None, None, None);
    for record in records {
        let after = |time: Option<SystemTime>, gap| time.is_some_and(|time| record.time > time + gap);
        let is_new = if record.event.has(Event::Begin) {
            // What one node says is in order: a SYN behind anything else is no SYN that is sent again. One that
            // another node saw may be, while others are still telling of the same connection.
            let behind = last_of.get(record.node.as_str()).is_some_and(|last| !last.event.has(Event::Begin));
            behind || after(ended, SKEW) || after(opened, OPENING)
        } else {
            record.protocol != TCP && after(last, IDLE)
        };
        if is_new {
            let pause = last.and_then(|last| record.time.duration_since(last).ok()).unwrap_or_default();
            starts.push(Start { time: record.time, node: record.node.clone(), slack: SKEW.min(pause / 2) });
            last_of.clear();
            (opened, ended) = (None, None);
        }
        if record.event.has(Event::Begin) {
            opened = opened.or(Some(record.time));
        }
        if record.event.has(Event::End) {
            ended = Some(record.time);
        }
        last_of.insert(&record.node, record);
        last = Some(record.time);
    }
    starts
}

fn story(flow: FlowKey, records: &[Record]) -> Option<Story> {
    let (first, last) = (records.first()?, records.last()?);
    let by = |program| sights(records.iter().filter(|r| r.program == program));
    let hops = hops(records);
    let time_of = |event| {
        let of =
            |program| records.iter().find(|r| r.program == program && r.event.has(event)).map(|r| r.time);
        of(Program::Ingress).or(of(Program::Backend))
    };
    Some(Story {
        flow,
        vip: records.iter().find_map(|r| r.vip.clone()),
        pool: records.iter().find_map(|r| r.pool.clone()),
        begin: time_of(Event::Begin),
        end: time_of(Event::End),
        first: first.time,
        last: last.time,
        served: served(records, &hops),
        ingress: by(Program::Ingress),
        backends: by(Program::Backend),
        hops,
    })
}

fn sights<'a>(records: impl Iterator<Item = &'a Record>) -> Vec<Sight> {
    let mut sights: Vec<Sight> = Vec::new();
    for record in records {
        let place = sights.iter().position(|s| s.node == record.node && s.pop == record.pop);
        let place = place.unwrap_or_else(|| {
            sights.push(Sight {
                node: record.node.clone(),
                pop: record.pop.clone(),
                program: record.program,
                first: record.time,
                last: record.time,
                records: 0,
                backends: Vec::new(),
                verdicts: Vec::new(),
            });
            sights.len() - 1
        });
        let sight = &mut sights[place];
        sight.last = record.time;
        sight.records += 1;
        let to = if record.program == Program::Ingress { record.backend } else { record.next };
        if let Some(to) = to
            && !sight.backends.contains(&to)
        {
            sight.backends.push(to);
        }
        if !sight.verdicts.contains(&record.verdict) {
            sight.verdicts.push(record.verdict.clone());
        }
    }
    sights
}

fn hops(records: &[Record]) -> Vec<Hop> {
    let mut hops: Vec<Hop> = Vec::new();
    for record in records {
        let Some(next) = record.next.filter(|_| record.program == Program::Backend) else { continue };
        match hops.iter_mut().find(|h| h.node == record.node && h.sender == record.sender && h.next == next) {
            Some(hop) => hop.records += 1,
            None => hops.push(Hop {
                node: record.node.clone(),
                sender: record.sender,
                next,
                first: record.time,
                records: 1,
            }),
        }
    }
    hops
}

/// Verdict of a backend that has no socket and is the last that was asked: what has nobody comes to it, too.
const LAST: &str = "decap_last";

fn served(records: &[Record], hops: &[Hop]) -> Option<Served> {
    let taken =
        |r: &&Record| r.program == Program::Backend && r.next.is_none() && r.verdict.starts_with("decap_");
    // The packet that ends a flow belongs to who has it; one that opens it may have come to several.
    let took = records
        .iter()
        .filter(taken)
        .max_by_key(|r| (r.verdict != LAST, r.event.has(Event::End), !r.event.has(Event::Begin), r.time));
    match took {
        Some(took) => Some(Served { backend: address(took, records, hops), node: Some(took.node.clone()) }),
        None => {
            let next = hops.iter().max_by_key(|hop| hop.first).map(|hop| hop.next);
            let sent = || records.iter().rev().find_map(|r| r.backend);
            Some(Served { backend: Some(next.or_else(sent)?), node: None })
        }
    }
}

/// The address by which `took` came to its backend.
fn address(took: &Record, records: &[Record], hops: &[Hop]) -> Option<IpAddr> {
    if took.backend.is_some() {
        return took.backend;
    }
    let sent = || records.iter().filter(|r| r.program == Program::Ingress);
    // What was sent on has for a sender a backend that was sent it, or was sent it on.
    let by_hop = took.sender.filter(|sender| {
        sent().any(|r| r.backend == Some(*sender)) || hops.iter().any(|hop| hop.next == *sender)
    });
    if let Some(sender) = by_hop {
        // Nobody sends on to himself.
        let to = hops.iter().filter(|hop| hop.next != sender && hop.node != took.node);
        return nearest(to.map(|hop| (hop.first, hop.next)), took.time);
    }
    nearest(sent().filter_map(|r| Some((r.time, r.backend?))), took.time)
}

/// The last before `time`, as clocks go, or else the first.
fn nearest(known: impl Iterator<Item = (SystemTime, IpAddr)>, time: SystemTime) -> Option<IpAddr> {
    let known: Vec<_> = known.collect();
    let before = known.iter().rev().find(|(at, _)| *at <= time + SKEW);
    before.or(known.first()).map(|(_, address)| *address)
}

mod time {
    use std::time::SystemTime;

    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::stamp(*time))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SystemTime, D::Error> {
        let text = String::deserialize(deserializer)?;
        crate::stamp::parse_stamp(&text).ok_or_else(|| serde::de::Error::custom("not a time of RFC 3339"))
    }
}

#[cfg(test)]
mod tests;
