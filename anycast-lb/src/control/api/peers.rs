//! What hosts tell each other.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::model::VipKey;

/// What other nodes want to know of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeReport {
    /// Its name.
    pub node: String,
    /// Its site.
    pub pop: String,
    /// Accepted changes since its daemon started.
    pub generation: u64,
    /// Version of flow hash and table algorithms.
    pub placement: u32,
    /// Same on all nodes that share the seed. Absent on a backend.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub seed_fingerprint: Option<String>,
    /// Its pools.
    pub pools: Vec<PoolReport>,
}

/// A pool of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolReport {
    /// Its name.
    pub pool: String,
    /// Fingerprint of the owners of all slots.
    pub owners: String,
    /// Fingerprint of all lists of hops.
    pub hops: String,
    /// The PoP whose backends take the new flows that arrive at this node. Older releases do not say.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub new_flows: Option<String>,
    /// Who is listed in its packets.
    pub listed: Vec<ListedBackend>,
}

/// A backend that a node lists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedBackend {
    /// Its address.
    pub address: IpAddr,
    /// Its PoP, by what this node knows. Older releases do not say.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub pop: Option<String>,
    /// `filling`, `active` or `draining`.
    pub state: String,
    /// The weight that it has, or is about to have. Older releases do not say.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub weight: Option<u32>,
    /// Whether it is down there: then it may be listed no more.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub down: bool,
}

/// Flows that the kernel of a backend holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flows {
    /// All of them together.
    pub total: u64,
    /// By VIP, in file order.
    pub vips: Vec<VipFlows>,
}

/// Flows of a VIP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VipFlows {
    /// The VIP.
    pub vip: VipKey,
    /// TCP connections, those being opened and closed included, TIME_WAIT left out.
    pub tcp: u64,
    /// Connected UDP sockets.
    pub udp: u64,
}

/// The other ingress nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peers {
    /// In file order.
    pub peers: Vec<PeerRow>,
}

/// Another ingress node, as this one sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerRow {
    /// Its name.
    pub node: String,
    /// Its site.
    pub pop: String,
    /// Where it is asked.
    pub address: SocketAddr,
    /// Whether it gave an answer when it was last asked; absent if it was never asked.
    pub reachable: Option<bool>,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    /// How long ago its last answer came.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub seen_seconds_ago: Option<u64>,
    /// Its generation then.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub generation: Option<u64>,
    /// Whether it placed new flows as this node does; absent if unknown.
    pub agrees: Option<bool>,
    /// What differs: `seed`, `placement`, names of pools.
    pub differing: Vec<String>,
}
