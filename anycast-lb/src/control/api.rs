//! What travels over the API. Every answer is one JSON object with `"schema": 1`; an error is
//! `{"schema": 1, "error": {"code", "message", "hint"}}`.
//!
//! | method and path | body | answer |
//! | --- | --- | --- |
//! | `GET /v1/status` | query [`StatusQuery`] | [`Status`] |
//! | `GET /v1/stats` | | [`Stats`] |
//! | `GET /v1/vips` | | [`Vips`] |
//! | `POST /v1/vips` | [`AddVip`] | [`Changed`] |
//! | `DELETE /v1/vips/{vip}` | query [`Condition`] | [`Changed`] |
//! | `GET /v1/pools` | | [`Pools`] |
//! | `POST /v1/pools` | [`AddPool`] | [`Changed`] |
//! | `GET /v1/pools/{name}` | | [`PoolDetail`] |
//! | `DELETE /v1/pools/{name}` | query [`Condition`] | [`Changed`] |
//! | `GET /v1/backends` | | [`Backends`] |
//! | `POST /v1/backends` | [`AddBackend`] | [`Changed`] |
//! | `PATCH /v1/backends/{address}` | [`PatchBackend`] | [`Changed`] |
//! | `DELETE /v1/backends/{address}` | query [`BackendCondition`] | [`Changed`] |
//! | `GET /v1/pops` | | [`Pops`] |
//! | `PATCH /v1/pops/{name}` | [`PatchPop`] | [`Changed`] |
//! | `POST /v1/reload` | [`Reload`] | [`Changed`] |
//! | `POST /v1/trace` | [`TraceFlows`]; query [`AtNode`] | [`Traces`] |
//! | `POST /v1/explain` | [`ExplainFrames`]; query [`AtNode`] | [`Explanations`] |
//! | `POST /v1/observe` | [`Wanted`](anycast_lb_capture::Wanted); query [`Observer`] | lines of [`Observation`] |
//! | `GET /v1/flows` | | [`Flows`] |
//! | `GET /v1/peers` | | [`Peers`] |
//! | `GET /v1/node` | | [`NodeReport`] |
//! | `PATCH /v1/node` | [`PatchNode`] | [`Changed`] |
//! | `GET /v1/bgp` | | [`Bgp`] |
//! | `GET /v1/rpki` | | [`RpkiState`] |
//! | `GET /v1/rpki/check` | query [`CheckQuery`] | [`RpkiCheck`] |
//! | `GET /v1/hijacks` | | [`Hijacks`] |
//! | `POST /v1/log/query` | [`QueryLog`]; query [`AtHost`] | [`LogRecords`] |
//! | `GET /v1/log/hosts` | | [`LogHosts`] |
//!
//! Other hosts (`control.listen`, mutual TLS) may read all of this, trace, have packets explained and
//! watched, and change nothing.

mod bgp;
mod change;
mod explain;
mod hijacks;
mod lists;
mod log;
mod observe;
mod peers;
mod pops;
mod rpki;
mod stats;
mod status;
mod trace;

use serde::{Deserialize, Serialize};

pub use bgp::{Bgp, DrainRow, NeighborRow, OutletRow, PatchNode, PrefixRow, Unannounced};
pub use change::{
    AddBackend, AddPool, AddVip, BackendCondition, ChangeRow, Changed, Condition, PatchBackend, Reload,
};
pub use explain::{Decision, ExplainFrames, Explanations, Leaving, MAX_FRAMES, PacketRow};
pub use hijacks::{HijackRow, Hijacks, RouterRow, SightRow};
pub use lists::{BackendRow, Backends, NextHopStatus, PoolDetail, PoolRow, Pools, VipRow, Vips};
pub use log::{AtHost, LogHost, LogHosts, LogRecords, MAX_NAMED, MAX_RECORDS, QueryLog};
pub use observe::{Observation, ObservationEnd, ObservationStart, Observer};
pub use peers::{Flows, ListedBackend, NodeReport, PeerRow, Peers, PoolReport, VipFlows};
pub use pops::{PatchPop, PopRow, Pops};
pub use rpki::{AnswerRow, CheckQuery, OriginRow, RpkiCheck, RpkiState, ValidatorRow};
pub use stats::{BackendCount, IdentityCount, Stats, VerdictCount, VipCount};
pub use status::{
    AlarmRow, HostFinding, InterfaceStatus, MemberStatus, PoolFingerprint, Status, StatusQuery, Unresolved,
};
pub use trace::{AtNode, FlowSpec, FrameWay, MAX_FLOWS, OuterHeader, ThenRow, TraceFlows, TraceRow, Traces};

/// Version of everything here; raised when a field changes its meaning or goes away.
pub const SCHEMA: u32 = 1;

/// Any answer: its version and its fields in one object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer<T> {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The answer's own fields.
    #[serde(flatten)]
    pub body: T,
}

impl<T> Answer<T> {
    /// Puts the version on.
    pub fn new(body: T) -> Self {
        Answer { schema: SCHEMA, body }
    }
}

/// An error answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorAnswer {
    /// What was wrong.
    pub error: ErrorBody,
}

/// What was wrong and what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// A word for programs, as [`crate::daemon::Code::name`] gives it.
    pub code: String,
    /// A sentence for people.
    pub message: String,
    /// What to do; `null` where there is nothing to be said.
    #[serde(default)]
    pub hint: Option<String>,
}
