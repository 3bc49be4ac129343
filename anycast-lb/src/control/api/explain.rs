//! What becomes of packets.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::FrameWay;
use crate::model::VipKey;

/// Most frames one [`ExplainFrames`] may hold, so that no caller keeps the daemon from its work.
pub const MAX_FRAMES: usize = 64;

/// Asks what becomes of frames that the first interface receives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExplainFrames {
    /// From the Ethernet header to the end without the checksum, in hexadecimal; at most [`MAX_FRAMES`].
    pub frames: Vec<String>,
    /// They come behind those of the last question: fragments may belong to first ones of that.
    #[serde(default)]
    pub continues: bool,
}

/// What becomes of packets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanations {
    /// In the order of the question.
    pub packets: Vec<PacketRow>,
}

/// What becomes of a packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PacketRow {
    /// Its place, from 1.
    pub number: usize,
    /// Bytes of the frame.
    pub bytes: usize,
    /// What it is, in a line.
    pub parsed: String,
    /// VLAN tags, the outer one first.
    pub vlans: Vec<u16>,
    /// What the program decides; its fields are missing where it was not asked.
    #[serde(flatten)]
    pub decision: Option<Decision>,
    /// Why the program was not asked.
    pub error: Option<String>,
    /// What else there is to know.
    pub notes: Vec<String>,
}

/// What the program decides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// The way out, which is the rule that decided.
    pub verdict: String,
    /// What that means.
    pub explanation: String,
    /// `transmit`, `pass` or `drop`.
    pub kind: String,
    /// What to do, if something else was expected.
    pub advice: Option<String>,
    /// The VIP that matched.
    pub vip: Option<VipKey>,
    /// Its pool.
    pub pool: Option<String>,
    /// Slot of the pool's table; null where more than the 5-tuple decided.
    pub slot: Option<u32>,
    /// Backend the packet is sent to, or would be.
    pub backend: Option<IpAddr>,
    /// How it is carried there: `gue`, `ipip` or `l2`.
    pub encapsulation: Option<String>,
    /// What leaves the program, to the wire or to the kernel; null if nothing does, or what came.
    pub leaves: Option<Leaving>,
    /// How the frame leaves an ingress node.
    pub next_hop: Option<FrameWay>,
}

/// A frame that the program has changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leaving {
    /// What it is, in a line.
    pub parsed: String,
    /// Bytes of the frame.
    pub bytes: usize,
    /// Bytes that it is longer than what came; negative if it is shorter.
    pub added: i64,
    /// Backends that its tunnel header lists besides the one it goes to.
    pub hops: Vec<IpAddr>,
    /// All of it, in hexadecimal.
    pub frame: String,
}
