//! The flow log.

use std::net::{IpAddr, SocketAddr};

use anycast_lb_flowlog::{Filter, Record};
use serde::{Deserialize, Serialize};

/// Most records of one answer, so that it stays below 4 MB; there is more by asking again.
pub const MAX_RECORDS: usize = 4096;
/// Most flows that one question may name.
pub const MAX_NAMED: usize = 1000;

/// Asks the flow log of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueryLog {
    /// Which records; at most [`MAX_NAMED`] flows.
    pub filter: Filter,
    /// How many, the newest; at most [`MAX_RECORDS`].
    pub limit: usize,
}

/// Query of a question to the flow log: whom else to ask.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AtHost {
    /// Another host, as [`LogHosts`] names it.
    #[serde(default)]
    pub host: Option<String>,
}

/// What the flow log of one node has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogRecords {
    /// The node.
    pub node: String,
    /// Whether it keeps a flow log.
    pub enabled: bool,
    /// The newest that were asked for, oldest first.
    pub records: Vec<Record>,
    /// In RFC 3339, if older ones were left out: they are found by asking `until` this time.
    #[serde(default)]
    pub older: Option<String>,
}

/// Whom this node can ask for their flow logs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogHosts {
    /// This node.
    pub node: String,
    /// The other ingress nodes, and the backends that run this program.
    pub hosts: Vec<LogHost>,
}

/// A host with a flow log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogHost {
    /// Name of a peer, or address of a backend.
    pub host: String,
    /// `node` or `backend`.
    pub kind: String,
    /// Where it is asked.
    pub address: SocketAddr,
    /// Its address as a backend.
    #[serde(default)]
    pub backend: Option<IpAddr>,
}
