//! What this node announces.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// What is announced, to whom, and why not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bgp {
    /// `in-service`, `draining` or `drained`.
    pub maintenance: String,
    /// When a draining node's routes are withdrawn, in whole seconds from now; null = it is not draining.
    pub seconds_left: Option<u64>,
    /// The prefixes that this node announces itself.
    pub prefixes: Vec<PrefixRow>,
    /// Sessions of the BGP speaker.
    pub neighbors: Vec<NeighborRow>,
    /// BIRD and the command, where they are used.
    pub outlets: Vec<OutletRow>,
    /// What routes are marked with while the node is being drained.
    pub drain: DrainRow,
    /// The own AS, if it is configured.
    pub local_as: Option<u32>,
}

/// A prefix.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrefixRow {
    /// The prefix.
    pub prefix: IpNet,
    /// `bgp`, `bird`, `exabgp` or `command`.
    pub method: String,
    /// `announced`, `draining` (announced with marks) or `withdrawn`.
    pub state: String,
    /// Why.
    pub reason: String,
}

/// A session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NeighborRow {
    /// The neighbour's address and port.
    pub neighbor: SocketAddr,
    /// Its AS.
    pub remote_as: u32,
    /// Our address towards it, where it is configured.
    pub source: Option<IpAddr>,
    /// `Idle`, `Connect`, `OpenSent`, `OpenConfirm` or `Established`.
    pub state: String,
    /// How long it has been in that state.
    pub since_seconds: Option<u64>,
    /// The hold time in force, in seconds; null = no session.
    pub hold_time: Option<u16>,
    /// What it was told.
    pub announced: Vec<IpNet>,
    /// What it cannot be told.
    pub unannounced: Vec<Unannounced>,
    /// Why there is no session, or what ended the last one; null = nothing is wrong.
    pub last_error: Option<String>,
    /// How many times the session was established since the daemon started.
    pub established: u64,
    /// UPDATEs of the neighbour, none of which is looked at.
    pub skipped_updates: u64,
}

/// A prefix that a neighbour cannot be told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unannounced {
    /// The prefix.
    pub prefix: IpNet,
    /// Why.
    pub reason: String,
}

/// BIRD or the command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutletRow {
    /// `bird` or `command`.
    pub method: String,
    /// Whether it has done all that it was told.
    pub done: bool,
    /// What went wrong; it is tried again.
    pub last_error: Option<String>,
}

/// Marks of a drain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainRow {
    /// The community 65535:0 is sent.
    pub graceful_shutdown: bool,
    /// The own AS stands in the path this much more often.
    pub prepend: u8,
    /// This MED is sent.
    pub med: Option<u32>,
}

/// Drains this node or puts it back into service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PatchNode {
    /// `drained` or `in-service`.
    pub state: String,
}
