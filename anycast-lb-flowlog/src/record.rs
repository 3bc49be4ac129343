//! One entry of the flow log, and its line.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::SystemTime;

use serde::de::{Deserializer, Error as _};
use serde::ser::{SerializeSeq, Serializer};
use serde::{Deserialize, Serialize};

use crate::stamp::{parse_stamp, stamp};

/// Which program saw the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Program {
    /// The balancer.
    Ingress,
    /// The decapsulator of a backend.
    Backend,
}

/// Why a packet is in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Event {
    /// TCP: it opens its flow (SYN without ACK).
    Begin = 1,
    /// TCP: it ends its flow (FIN or RST).
    End = 2,
    /// A backend sent it on to the next one of its list.
    Hop = 4,
    /// It is one of so many of the rest.
    Sample = 8,
}

impl Event {
    /// All of them, in the order in which they are written.
    pub const ALL: [Event; 4] = [Event::Begin, Event::End, Event::Hop, Event::Sample];

    /// Its word in the log.
    pub const fn name(self) -> &'static str {
        match self {
            Event::Begin => "begin",
            Event::End => "end",
            Event::Hop => "hop",
            Event::Sample => "sample",
        }
    }
}

/// All reasons why a packet is in the log.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Events(u8);

impl Events {
    /// The events whose numbers `bits` has; what it has beyond them is left out. The numbers are those of the
    /// first four bits of the data plane's `Reasons`.
    pub const fn from_bits(bits: u32) -> Self {
        Events((bits & 0xf) as u8)
    }

    /// Whether `event` is one of them.
    pub const fn has(self, event: Event) -> bool {
        self.0 & event as u8 != 0
    }

    /// With `event` too.
    #[must_use]
    pub const fn with(self, event: Event) -> Self {
        Events(self.0 | event as u8)
    }

    /// One by one.
    pub fn iter(self) -> impl Iterator<Item = Event> {
        Event::ALL.into_iter().filter(move |event| self.has(*event))
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(Event::name)).finish()
    }
}

impl Serialize for Events {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(None)?;
        for event in self.iter() {
            list.serialize_element(event.name())?;
        }
        list.end()
    }
}

impl<'de> Deserialize<'de> for Events {
    /// Words of later releases are left out.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let words = Vec::<Cow<'de, str>>::deserialize(deserializer)?;
        let known = |word: &Cow<'_, str>| Event::ALL.into_iter().find(|event| event.name() == word);
        Ok(words.iter().filter_map(known).fold(Events::default(), Events::with))
    }
}

/// What is known of one packet. `docs/FLOWLOG.md` has the names that these fields have in the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// When the program saw it, by the node's clock.
    #[serde(serialize_with = "write_time", deserialize_with = "read_time")]
    pub time: SystemTime,
    /// The node that saw it.
    pub node: String,
    /// The node's PoP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pop: Option<String>,
    /// Which program.
    pub program: Program,
    /// Why it is in the log.
    pub event: Events,
    /// Protocol of the flow, by its number.
    #[serde(serialize_with = "write_protocol", deserialize_with = "read_protocol")]
    pub protocol: u8,
    /// Client; port 0 where the protocol has none.
    pub source: SocketAddr,
    /// Service; port 0 where the protocol has none.
    pub destination: SocketAddr,
    /// Flags of TCP as in the header (RFC 9293 §3.1: FIN 1, SYN 2, RST 4, PSH 8, ACK 16); 0 for others.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub tcp_flags: u8,
    /// What became of it: the name of a verdict.
    pub verdict: String,
    /// The VIP, as `vip list` names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vip: Option<String>,
    /// Its pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// Slot of the pool's table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<u32>,
    /// Ingress: the backend that it was sent to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<IpAddr>,
    /// Number of the tables that were in force: `trace --at` finds them.
    pub table_version: u32,
    /// Backend: who sent it here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender: Option<IpAddr>,
    /// Backend: whom it was sent on to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<IpAddr>,
    /// Length of the frame as it came, in bytes.
    pub bytes: u32,
}

impl Record {
    /// Its line, without the end of the line.
    pub fn line(&self) -> String {
        // Strings, numbers and addresses alone, under names that are strings: there is nothing that JSON refuses.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads a line. Keys that are not known do not matter; none is returned for what is no whole line.
    pub fn from_line(line: &str) -> Option<Self> {
        serde_json::from_str(line).ok()
    }
}

fn is_zero(flags: &u8) -> bool {
    *flags == 0
}

fn write_time<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&stamp(*time))
}

fn read_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SystemTime, D::Error> {
    let text = Cow::<'de, str>::deserialize(deserializer)?;
    parse_stamp(&text).ok_or_else(|| D::Error::custom("not a time of RFC 3339"))
}

/// Names of protocols in the log; others are written as their number.
const PROTOCOLS: [(u8, &str); 4] = [(1, "icmp"), (6, "tcp"), (17, "udp"), (58, "icmpv6")];

/// The word for a protocol: its name if it has a common one, else its number.
pub(crate) fn protocol_name(protocol: u8) -> Cow<'static, str> {
    match PROTOCOLS.iter().find(|(number, _)| *number == protocol) {
        Some((_, name)) => Cow::Borrowed(name),
        None => Cow::Owned(protocol.to_string()),
    }
}

/// The number of a protocol, by such a word.
pub(crate) fn protocol_number(word: &str) -> Option<u8> {
    let named = PROTOCOLS.iter().find(|(_, name)| *name == word).map(|(number, _)| *number);
    named.or_else(|| word.parse().ok())
}

fn write_protocol<S: Serializer>(protocol: &u8, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&protocol_name(*protocol))
}

fn read_protocol<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u8, D::Error> {
    let word = Cow::<'de, str>::deserialize(deserializer)?;
    protocol_number(&word).ok_or_else(|| D::Error::custom("not a protocol"))
}

#[cfg(test)]
pub(crate) mod tests;
