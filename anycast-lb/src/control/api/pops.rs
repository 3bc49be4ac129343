//! PoPs: sites with nodes and backends.

use serde::{Deserialize, Serialize};

/// All PoPs that the configuration names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pops {
    /// By name.
    pub pops: Vec<PopRow>,
}

/// A PoP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PopRow {
    /// Name.
    pub pop: String,
    /// Whether it is this node's own.
    pub own: bool,
    /// `active`, or `drained`: its new flows go elsewhere.
    pub state: String,
    /// Backends there, counted in every pool.
    pub backends: usize,
    /// Of these, how many are active.
    pub active: usize,
    /// Pools whose lost flows are looked for there.
    pub rescues: usize,
}

/// Drains a PoP or puts it back into service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PatchPop {
    /// `active` or `drained`.
    pub state: String,
    /// Refuse unless this is the generation in force.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub expect_generation: Option<u64>,
}
