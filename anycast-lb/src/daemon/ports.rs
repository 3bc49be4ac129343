//! What the daemon needs of the world, as traits, so that its decisions are tested without a kernel.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use anycast_lb_common::abi::{Counter, MemberNumber, Observed, Observer, Verdict, VipNumber};
use anycast_lb_health::checker::Subject;
use anycast_lb_health::schedule::Wanted;
use anycast_lb_routing::announce::driver::{Method, OutletReport};
use anycast_lb_routing::bgp::driver::Neighbour;
use anycast_lb_routing::bgp::session::Report;

use super::Failure;
use super::core::Announcements;
use crate::config::edit::Edit;
use crate::dataplane::{Attachment, Explained, Flow, Occupancy, Trace};
use crate::host::Finding;
use crate::membership::{InForce, Key, Remaining};
use crate::model::{Announcing, Config, Interface, VipKey};
use crate::neighbour::Resolution;

/// Who owns the slots of a pool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owners {
    /// Equal on two nodes when new flows go to the same backends on both.
    pub fingerprint: String,
    /// Equal on two nodes when their packets list the same backends; it may differ.
    pub hops: String,
    /// Slots owned by each backend; one that owns none may be absent.
    pub slots: BTreeMap<IpAddr, u32>,
}

/// The maps and programs in the kernel.
pub trait DataplanePort: Send {
    /// Attaches the program to these interfaces and to no others; those already attached stay.
    ///
    /// # Errors
    /// An interface is missing, carries a foreign program or cannot do the asked mode.
    fn attach(&mut self, interfaces: &[Interface]) -> Result<(), Failure>;

    /// Has packets reported as `observer` says; nothing at all if it asks for nothing.
    ///
    /// # Errors
    /// The kernel refuses the program that reports; then packets are reported as before.
    fn observe(&mut self, observer: &Observer) -> Result<(), Failure>;

    /// How many records were written, and were not.
    ///
    /// # Errors
    /// The maps cannot be read.
    fn observed(&self) -> Result<Observed, Failure>;

    /// Where and how the program is attached.
    fn attachments(&self) -> Vec<Attachment>;

    /// Makes the maps hold this membership and configuration: wholly, or on error not at all.
    ///
    /// # Errors
    /// It does not fit, or the kernel refused.
    fn apply(&mut self, in_force: &InForce) -> Result<(), Failure>;

    /// Says how a backend is reached; members that come with a later `apply` use it too.
    ///
    /// # Errors
    /// The maps cannot be written.
    fn set_next_hop(&mut self, backend: IpAddr, resolution: &Resolution) -> Result<(), Failure>;

    /// Says which addresses are this host's own (backend role).
    ///
    /// # Errors
    /// The maps cannot be written.
    fn set_locals(&mut self, locals: &[IpAddr]) -> Result<(), Failure>;

    /// The numbers by which the maps know the backends of pools; those that are in no table have none.
    fn member_numbers(&self) -> BTreeMap<Key, MemberNumber>;

    /// The number by which the maps know a VIP.
    fn vip_number(&self, vip: &VipKey) -> Option<VipNumber>;

    /// Whether packets of marked sockets are sent through the tunnel.
    fn can_probe(&self) -> bool;

    /// Counters of all verdicts.
    ///
    /// # Errors
    /// The maps cannot be read.
    fn verdicts(&self) -> Result<Vec<(Verdict, Counter)>, Failure>;

    /// Counters of all VIPs.
    ///
    /// # Errors
    /// The maps cannot be read.
    fn vip_counters(&self) -> Result<Vec<(VipKey, Counter)>, Failure>;

    /// Counters of all (pool, backend) pairs.
    ///
    /// # Errors
    /// The maps cannot be read.
    fn backend_counters(&self) -> Result<Vec<(String, IpAddr, Counter)>, Failure>;

    /// How full the maps are.
    fn occupancy(&self) -> Vec<Occupancy>;

    /// Who owns the slots of a pool of the configuration in force.
    ///
    /// # Errors
    /// There is no such pool.
    fn owners(&self, pool: &str) -> Result<Owners, Failure>;

    /// What would happen to a packet of this flow; live counters stay as they are.
    ///
    /// # Errors
    /// The kernel refused the test run.
    fn trace(&mut self, flow: &Flow) -> Result<Trace, Failure>;

    /// What would happen to each of these frames; nothing of the live traffic is touched. `continues`: they
    /// come behind those of the last call, whose fragments are remembered.
    ///
    /// # Errors
    /// The kernel refused the test run.
    fn explain(&mut self, frames: &[Vec<u8>], continues: bool) -> Result<Vec<Explained>, Failure>;
}

/// A change of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Edits of the file, made by command.
    Edits(Vec<Edit>),
    /// The file was edited by hand: read it again.
    Reload,
}

/// The configuration files.
pub trait ConfigPort: Send {
    /// Works a change out in memory and keeps it until [`Self::commit`] or [`Self::discard`].
    ///
    /// # Errors
    /// The result would be invalid, or a file cannot be read.
    fn prepare(&mut self, change: &Change) -> Result<Arc<Config>, Failure>;

    /// Makes the prepared change the truth on disk. Returns the files written.
    ///
    /// # Errors
    /// A file changed meanwhile or cannot be written; nothing is written then.
    fn commit(&mut self) -> Result<Vec<String>, Failure>;

    /// Forgets the prepared change.
    fn discard(&mut self);

    /// The files in force, the main one first.
    fn files(&self) -> Vec<String>;

    /// What the operator should know about the configuration that is no mistake.
    fn notices(&self) -> Vec<String>;
}

/// The watcher of routes and neighbours.
pub trait ResolverPort: Send {
    /// Names all the backends whose next hop is wanted.
    fn set_targets(&mut self, targets: Vec<IpAddr>);
}

/// Backends that can be asked what they hold.
pub trait FlowsPort: Send {
    /// How many flows a draining backend still has, as far as is known without waiting for it; none
    /// if it cannot be asked.
    fn remaining_flows(&mut self, backend: IpAddr) -> Option<Remaining>;
}

/// Who is told which prefixes this node can serve. Nothing here waits for anybody.
pub trait AnnouncePort: Send {
    /// Has these outlets and no others; what stays the same is not interrupted.
    fn configure(&mut self, announcing: &Announcing);

    /// Announces exactly this from now on.
    fn announce(&mut self, announcements: &Announcements);

    /// Remembers across restarts whether the node is drained.
    fn remember_drain(&mut self, drained: bool);

    /// How each session with a neighbour is.
    fn sessions(&self) -> Vec<(Neighbour, Report)>;

    /// How the other outlets do.
    fn others(&self) -> Vec<(Method, OutletReport)>;

    /// Withdraws everything, and tells neighbours why; the daemon's end waits for it.
    fn stop(&mut self, reason: &str);
}

/// The checks of the backends' health.
pub trait HealthPort: Send {
    /// These checks are made, and no others. Verdicts come as events; those of checks that go on stay as they are.
    fn set_checks(&mut self, checks: Vec<Wanted<Key, Subject>>);
}

/// The service manager and the API socket: who waits to be told.
pub trait HostPort: Send {
    /// The data plane is in force; requests may come.
    fn ready(&mut self);
    /// A reload begins (`true`) or is over (`false`).
    fn reloading(&mut self, begins: bool);
    /// The daemon leaves.
    fn stopping(&mut self);
    /// This configuration is in force.
    fn in_force(&mut self, config: &Config);
    /// What on this host will bite.
    fn findings(&self, config: &Config) -> Vec<Finding>;
}
