//! What is configured, and how it does.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::model::VipKey;

/// All VIPs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vips {
    /// In file order.
    pub vips: Vec<VipRow>,
}

/// A VIP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VipRow {
    /// Address, port, protocol.
    pub vip: VipKey,
    /// Its pool; absent on a backend.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub pool: Option<String>,
    /// Whether its packets carry hops.
    pub second_chance: bool,
    /// What decides about a packet's backend: `5-tuple`, `source`, `source-and-port` or
    /// `destination-port`.
    pub hash: String,
    /// Whether connection IDs of QUIC name the backend.
    #[serde(default)]
    pub quic: bool,
    /// Whether the MSS of clients' SYNs is lowered to what fits the tunnel.
    #[serde(default)]
    pub mss_clamp: bool,
    /// What it says of who serves it: `off`, `node` or `backend`.
    #[serde(default)]
    pub identity: String,
    /// Packets.
    pub packets: u64,
    /// Bytes of the frames as they arrived.
    pub bytes: u64,
}

/// All pools.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pools {
    /// In file order.
    pub pools: Vec<PoolRow>,
}

/// A pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolRow {
    /// Name.
    pub pool: String,
    /// `gue`, `ipip` or `l2`.
    pub encapsulation: String,
    /// `rendezvous` or `maglev`.
    pub table: String,
    /// Slots of its table.
    pub slots: u32,
    /// VIPs that use it.
    pub vips: usize,
    /// Backends in it.
    pub backends: usize,
    /// Of these, how many take new flows.
    pub active: usize,
    /// `healthy`: enough of them are; `kept`: too few are, and `all_down = "keep_serving"`; `down`: too few are,
    /// and the pool is not to be announced.
    #[serde(default)]
    pub service: String,
    /// How many healthy ones are enough.
    #[serde(default)]
    pub minimum_healthy: u16,
    /// How they are checked, in words; absent = not at all.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub check: Option<String>,
    /// Fingerprint of the owners of all slots.
    pub owners: String,
}

/// A pool with its members.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolDetail {
    /// The pool.
    #[serde(flatten)]
    pub row: PoolRow,
    /// Its members, in file order.
    pub members: Vec<BackendRow>,
}

/// All backends of all pools.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backends {
    /// In file order; a host in two pools is listed twice.
    pub backends: Vec<BackendRow>,
}

/// A backend of a pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendRow {
    /// Name of the pool.
    pub pool: String,
    /// Address.
    pub address: IpAddr,
    /// Configured weight.
    pub weight: u32,
    /// Weight in force: while a raised one waits, the old one.
    pub weight_in_force: u32,
    /// State in force: `filling`, `active`, `draining` or `gone`.
    pub state: String,
    /// Configured state: `filling`, `active` or `draining`.
    pub configured: String,
    /// How long until time changes the state or the weight in force, in whole seconds; null = not at all.
    pub seconds_left: Option<u64>,
    /// `up`, `down` or `unknown`.
    pub health: String,
    /// Who says so: `check` or `hand`; absent = nobody.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub health_by: Option<String>,
    /// For how long it has been so, in whole seconds; absent = since the daemon started.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub health_seconds: Option<u64>,
    /// Why its checks failed the last time that they took it down; absent = they have not.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last_failure: Option<String>,
    /// Flows that a draining backend still has; null = not known.
    pub remaining: Option<u64>,
    /// Site; absent = the node's own.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub pop: Option<String>,
    /// The ID that its QUIC server puts into connection IDs, in hexadecimal digits; absent where no VIP of the
    /// pool has `quic = true`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub server_id: Option<String>,
    /// Slots it owns: new flows of these go to it, or to those that stand in for it while it is down.
    pub owned_slots: u32,
    /// The same in parts per million of the pool's slots.
    pub share_ppm: u32,
    /// Packets.
    pub packets: u64,
    /// Bytes of the frames as they arrived.
    pub bytes: u64,
    /// How it is reached.
    pub next_hop: NextHopStatus,
}

/// How a backend is reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum NextHopStatus {
    /// This way.
    Resolved {
        /// Egress interface.
        interface: String,
        /// MAC of the gateway or the backend.
        mac: String,
        /// Largest IP packet.
        mtu: u16,
    },
    /// Not at all.
    Unresolved {
        /// Why.
        reason: String,
    },
    /// Not known yet; what was known before holds.
    Pending {
        /// Why.
        reason: String,
    },
}
