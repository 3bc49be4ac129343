//! Counters.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::model::VipKey;

/// All counters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Generation in force.
    pub generation: u64,
    /// Every way out of the role's program.
    pub verdicts: Vec<VerdictCount>,
    /// Per VIP.
    pub vips: Vec<VipCount>,
    /// Per (pool, backend).
    pub backends: Vec<BackendCount>,
    /// Questions for the node's name; absent on a backend.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub identity: Option<IdentityCount>,
}

/// What became of questions for the node's name that the program handed over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdentityCount {
    /// Answers sent.
    pub answered: u64,
    /// Malformed, or from where nobody can have asked.
    pub odd: u64,
    /// Beyond the daemon's own limit.
    pub limited: u64,
    /// Answers that could not be sent.
    pub unsent: u64,
}

/// Counter of a verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerdictCount {
    /// Name of the verdict.
    pub verdict: String,
    /// `transmit`, `pass` or `drop`.
    pub kind: String,
    /// Packets.
    pub packets: u64,
    /// Bytes of the frames as they arrived.
    pub bytes: u64,
    /// What it means.
    pub explanation: String,
}

/// Counter of a VIP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VipCount {
    /// The VIP.
    pub vip: VipKey,
    /// Packets.
    pub packets: u64,
    /// Bytes of the frames as they arrived.
    pub bytes: u64,
}

/// Counter of a backend in a pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendCount {
    /// Name of the pool.
    pub pool: String,
    /// The backend.
    pub address: IpAddr,
    /// Packets.
    pub packets: u64,
    /// Bytes of the frames as they arrived.
    pub bytes: u64,
}
