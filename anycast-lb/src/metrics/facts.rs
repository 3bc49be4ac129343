//! What is told: plain values, gathered at one moment.

use super::process::Process;
use crate::control::api::{
    BackendRow, Bgp, Hijacks, HostFinding, PeerRow, PoolRow, RpkiState, Status, VerdictCount, VipRow,
};
use crate::daemon::core::Ended;
use crate::dataplane::Occupancy;
use crate::model::Role;

/// All that metrics tell of a node.
#[derive(Clone, Debug)]
pub struct Facts {
    /// When the daemon started, in seconds since 1970.
    pub started: f64,
    /// What the node is for.
    pub role: Role,
    /// Node, versions, interfaces, notices. Its findings and alarms are not used.
    pub status: Status,
    /// Every way out of the role's program.
    pub verdicts: Vec<VerdictCount>,
    /// The program that gives them.
    pub program: &'static str,
    /// VIPs with their counters.
    pub vips: Vec<VipRow>,
    /// Pools.
    pub pools: Vec<PoolRow>,
    /// Fingerprints of their tables.
    pub tables: Vec<Fingerprints>,
    /// Backends of all pools, with their counters.
    pub backends: Vec<BackendRow>,
    /// How full the maps are.
    pub occupancy: Vec<Occupancy>,
    /// How changes of the configuration ended.
    pub changes: Changes,
    /// What is announced.
    pub bgp: Bgp,
    /// What validators say.
    pub rpki: RpkiState,
    /// What routers see.
    pub hijacks: Hijacks,
    /// The other ingress nodes.
    pub peers: Vec<PeerRow>,
    /// What on this host will bite.
    pub findings: Vec<HostFinding>,
    /// The daemon's process; none if the kernel did not tell.
    pub process: Option<Process>,
}

/// Fingerprints of a pool's table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprints {
    /// The pool.
    pub pool: String,
    /// Of the owners of all slots: nodes of one PoP must agree.
    pub owners: String,
    /// Of all lists of hops: it may differ.
    pub hops: String,
}

/// How changes of the configuration ended.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Changes {
    /// Edits by command.
    pub commands: Ended,
    /// Readings of the files.
    pub reloads: Ended,
    /// Whether the last reading was refused.
    pub last_reload_refused: bool,
    /// When the files were last read with success, in seconds since 1970.
    pub last_reload: Option<f64>,
}

impl Facts {
    /// The PoP of a backend: its own, or the node's.
    pub(super) fn pop<'a>(&'a self, backend: &'a BackendRow) -> &'a str {
        backend.pop.as_deref().unwrap_or(&self.status.pop)
    }
}
