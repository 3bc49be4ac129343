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
