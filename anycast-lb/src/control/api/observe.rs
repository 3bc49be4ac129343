//! Live packets: lines of JSON for as long as somebody looks.

use std::net::IpAddr;

use anycast_lb_capture::Sight;
use serde::{Deserialize, Serialize};

/// Query: who is to look.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Observer {
    /// This peer.
    #[serde(default)]
    pub node: Option<String>,
    /// This backend, of one of the pools.
    #[serde(default)]
    pub backend: Option<IpAddr>,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Observation {
    /// The first: it has begun.
    Start(ObservationStart),
    /// A packet.
    Packet(Box<Sight>),
    /// The last.
    End(ObservationEnd),
}

/// Who looks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObservationStart {
    /// Version of all lines.
    pub schema: u32,
    /// The node.
    pub node: String,
    /// Its site.
    pub pop: String,
}

/// How it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObservationEnd {
    /// Packets told.
    pub packets: u64,
    /// Packets that match and were not told: beyond the limit of the program, or not read in time. What others
    /// who look at the same time have missed counts, too.
    pub missed: u64,
    /// `packets`, `seconds` or `stopping`: what ended it.
    pub reason: String,
}
