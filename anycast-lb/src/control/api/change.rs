//! Questions that change something, and the answer to them.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::model::VipKey;

/// Adds a VIP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddVip {
    /// The VIP.
    pub vip: VipKey,
    /// Its pool.
    pub pool: String,
    /// `5-tuple` (default), `source`, `source-and-port` or `destination-port`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub hash: Option<String>,
    /// Whether its packets are QUIC, and connection IDs name the backend.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub quic: bool,
    /// Whether the MSS of clients' SYNs is lowered to what fits the tunnel.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub mss_clamp: bool,
    /// What it says of who serves it: `off` (default), `node` or `backend`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub identity: Option<String>,
    /// Refuse unless this is the generation in force.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub expect_generation: Option<u64>,
}

/// Adds a pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddPool {
    /// Its name.
    pub pool: String,
    /// `gue` (default), `ipip` or `l2`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub encapsulation: Option<String>,
    /// `rendezvous` (default) or `maglev`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub table: Option<String>,
    /// Slots of its table, a power of two; absent = the language's default.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub slots: Option<u32>,
    /// Refuse unless this is the generation in force.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub expect_generation: Option<u64>,
}

/// Adds a backend to a pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddBackend {
    /// The pool.
    pub pool: String,
    /// The backend.
    pub address: IpAddr,
    /// 1 to 65535; absent = the language's default.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub weight: Option<u32>,
    /// Its site; absent = the node's own.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub pop: Option<String>,
    /// ID of its QUIC server, hexadecimal digits; absent = the language's default.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub server_id: Option<String>,
    /// Refuse unless this is the generation in force.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub expect_generation: Option<u64>,
}

/// Changes a backend: at least one of `state` and `weight`, or `health` alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PatchBackend {
    /// Only in this pool; absent = in all that have it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub pool: Option<String>,
    /// `filling`, `active` or `draining`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub state: Option<String>,
    /// 1 to 65535.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub weight: Option<u32>,
    /// `up`, `down` or `unknown`: in force while this daemon runs, never written down, and no change of
    /// the generation.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub health: Option<String>,
    /// Refuse unless this is the generation in force.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub expect_generation: Option<u64>,
}

/// Query of a removal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Condition {
    /// Refuse unless this is the generation in force.
    #[serde(default)]
    pub expect_generation: Option<u64>,
}

/// Query of a backend's removal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackendCondition {
    /// Only from this pool; absent = from all that have it.
    #[serde(default)]
    pub pool: Option<String>,
    /// Remove it although it may hold flows, and break them.
    #[serde(default)]
    pub now: bool,
    /// Refuse unless this is the generation in force.
    #[serde(default)]
    pub expect_generation: Option<u64>,
}

/// Reads the files again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reload {
    /// Only say what would change.
    #[serde(default)]
    pub dry_run: bool,
    /// Refuse unless this is the generation in force.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub expect_generation: Option<u64>,
}

/// What a change did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// Generation now in force.
    pub generation: u64,
    /// True when this only says what would change.
    pub dry_run: bool,
    /// What is different.
    pub changes: Vec<ChangeRow>,
    /// Files written.
    pub files: Vec<String>,
    /// What was done and will not work yet.
    pub warnings: Vec<String>,
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeRow {
    /// `vip`, `pool`, `backend`, `interface`, `prefix`, `allowed sender` or `setting`.
    pub subject: String,
    /// Which one.
    pub name: String,
    /// `added`, `removed` or `changed`.
    pub what: String,
    /// How it is, or what changed; may be empty.
    pub detail: String,
}
