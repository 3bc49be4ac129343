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
