//! Where flows go.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::model::VipKey;

/// Most flows one [`TraceFlows`] may hold, so that no caller keeps the daemon from its work.
pub const MAX_FLOWS: usize = 512;

/// Asks where flows go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TraceFlows {
    /// At most [`MAX_FLOWS`].
    pub flows: Vec<FlowSpec>,
    /// A time (RFC 3339): where they went then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
}

/// Query of a trace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AtNode {
    /// Ask this peer instead.
    #[serde(default)]
    pub node: Option<String>,
}

/// A flow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlowSpec {
    /// `tcp` or `udp`.
    pub protocol: String,
    /// Client.
    pub source: SocketAddr,
    /// VIP.
    pub destination: SocketAddr,
}

/// Where flows go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traces {
    /// In the order of the question.
    pub traces: Vec<TraceRow>,
    /// Of which time this is told, where one was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub then: Option<ThenRow>,
}

/// The tables that were in force at a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThenRow {
    /// The time, in RFC 3339 as all times here.
    pub at: String,
    /// Number of the tables, as in the flow log.
    pub table_version: u32,
    /// Since when they were in force.
    pub since: String,
    /// Until when; none: they are.
    pub until: Option<String>,
    /// What to know of that time; empty where all is well.
    pub notes: Vec<String>,
}

/// Where a flow goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceRow {
    /// The question.
    #[serde(flatten)]
    pub flow: FlowSpec,
    /// What the program decides.
    pub verdict: String,
    /// What that means.
    pub explanation: String,
    /// `transmit`, `pass` or `drop`.
    pub kind: String,
    /// The VIP that matched.
    pub vip: Option<VipKey>,
    /// Its pool.
    pub pool: Option<String>,
    /// Slot of the pool's table.
    pub slot: Option<u32>,
    /// Backend the packet is sent to.
    pub backend: Option<IpAddr>,
    /// How it is carried there: `gue`, `ipip` or `l2`.
    pub encapsulation: Option<String>,
    /// The outer header, if there is one.
    pub outer: Option<OuterHeader>,
    /// How the frame leaves.
    pub next_hop: Option<FrameWay>,
}

/// The outer header the program made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OuterHeader {
    /// This node.
    pub source: IpAddr,
    /// The backend.
    pub destination: IpAddr,
    /// UDP source port; GUE only.
    pub source_port: Option<u16>,
}

/// How a frame leaves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrameWay {
    /// Egress interface; its index in text where its name is not known.
    pub interface: String,
    /// Its index.
    pub ifindex: u32,
    /// Its MAC.
    pub source_mac: String,
    /// MAC of the gateway or the backend.
    pub mac: String,
    /// Largest IP packet.
    pub mtu: u16,
}
