//! How the daemon is.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// Query of the status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatusQuery {
    /// Whether the host is looked at, which takes as long as all else together: who asks often leaves it out.
    #[serde(default = "yes")]
    pub findings: bool,
}

const fn yes() -> bool {
    true
}

/// How the daemon is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// `ingress` or `backend`.
    pub role: String,
    /// Name of the node.
    pub node: String,
    /// Its site.
    pub pop: String,
    /// Instance on this host.
    pub instance: String,
    /// Release of the daemon.
    pub version: String,
    /// Version of the shared map bytes.
    pub abi: u32,
    /// Version of flow hash and table algorithms.
    pub placement: u32,
    /// Accepted changes since the daemon started, from 1.
    pub generation: u64,
    /// Since the daemon started.
    pub uptime_seconds: u64,
    /// `fresh`: the data plane was made at this start; `adopted`: it was found pinned.
    pub start: String,
    /// Same on all nodes that share the seed; 32 bits of a one-way hash. Absent on a backend.
    pub seed_fingerprint: Option<String>,
    /// Where the program is attached.
    pub interfaces: Vec<InterfaceStatus>,
    /// Files in force, the main one first.
    pub config_files: Vec<String>,
    /// Settings without effect and the like.
    pub notices: Vec<String>,
    /// Pools in short.
    pub pools: Vec<PoolFingerprint>,
    /// Backends that are on their way to another state or weight, or down.
    pub members: Vec<MemberStatus>,
    /// Backends that cannot be reached.
    pub unresolved: Vec<Unresolved>,
    /// What on this host will bite.
    pub findings: Vec<HostFinding>,
    /// What is wrong with how our prefixes are announced, here or elsewhere, and with what is served.
    #[serde(default)]
    pub alarms: Vec<AlarmRow>,
}

/// Something that is wrong now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlarmRow {
    /// `rpki`, `hijack` or `metrics`.
    pub kind: String,
    /// `error` or `warning`.
    pub severity: String,
    /// A sentence.
    pub text: String,
}

/// An attachment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceStatus {
    /// Name of the NIC.
    pub interface: String,
    /// Its index.
    pub ifindex: u32,
    /// `native` or `generic`; absent if the interface is gone or the program was taken off.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub mode: Option<String>,
    /// Why it is not native, or not attached.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    /// Kernel id of the program.
    pub program_id: u32,
}

/// Lets nodes be compared: equal fingerprints mean that new flows go to the same backends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolFingerprint {
    /// Name of the pool.
    pub pool: String,
    /// Backends in it.
    pub backends: usize,
    /// Of these, how many take new flows.
    #[serde(default)]
    pub active: usize,
    /// `healthy`, `kept` or `down`: see the list of pools.
    #[serde(default)]
    pub service: String,
    /// Fingerprint of the owners of all slots.
    pub owners: String,
}

/// A backend that does not simply serve.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberStatus {
    /// Name of the pool.
    pub pool: String,
    /// Its address.
    pub address: IpAddr,
    /// State in force: `filling`, `active`, `draining` or `gone`.
    pub state: String,
    /// Configured state: `filling`, `active` or `draining`.
    pub configured: String,
    /// `up`, `down` or `unknown`.
    pub health: String,
    /// Who says so: `check` or `hand`; absent = nobody.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub health_by: Option<String>,
    /// Why its checks fail; absent = they do not, or somebody has said how it is.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    /// Flows that a draining backend still has; null = not known.
    pub remaining: Option<u64>,
    /// How long until time changes the state or the weight in force, in whole seconds; null = not at all.
    pub seconds_left: Option<u64>,
}

/// A backend without a known way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unresolved {
    /// Its address.
    pub backend: IpAddr,
    /// Why.
    pub reason: String,
}

/// A host check that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostFinding {
    /// `error`, `warning` or `info`.
    pub severity: String,
    /// What was found.
    pub what: String,
    /// What comes of it.
    pub why: String,
    /// The command that mends it, if there is one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub fix: Option<String>,
}
