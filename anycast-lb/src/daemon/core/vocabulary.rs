//! What the core is told and what it wants done.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use anycast_lb_health::Change as Verdict;
use anycast_lb_routing::announce::gate;
use ipnet::IpNet;

use super::{Announcements, HealthReport};
use crate::daemon::Failure;
use crate::daemon::diff::Difference;
use crate::daemon::ports::Change;
use crate::membership::{InForce, Join, Key, Remaining};
use crate::model::{Announcing, Config, Interface};
use crate::neighbour::{Event as NeighbourEvent, Resolution};

/// Names a caller who waits for an answer.
pub type Ticket = u64;

/// Who asked for a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The daemon itself, at its start.
    Start,
    /// A caller of the API.
    Caller(Ticket),
    /// SIGHUP.
    Signal,
}

/// A change and its conditions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Who asked.
    pub origin: Origin,
    /// What for.
    pub change: Change,
    /// Refuse unless this is the generation in force.
    pub expect_generation: Option<u64>,
    /// Only say what would change.
    pub dry_run: bool,
}

/// What a successful change did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Generation now in force.
    pub generation: u64,
    /// What is (or, in a dry run, would be) different.
    pub differences: Vec<Difference>,
    /// Files written.
    pub files: Vec<String>,
    /// What was done and will not work yet.
    pub warnings: Vec<String>,
}

/// What happens to the daemon.
#[derive(Debug)]
pub enum Event {
    /// Somebody wants a change.
    Order(Order),
    /// Routes, neighbours or links changed.
    Neighbour(NeighbourEvent),
    /// Somebody has looked at a backend.
    Health(HealthReport),
    /// Somebody drains this node (`true`), or puts it back into service.
    Maintenance {
        /// Which of the two.
        drain: bool,
        /// Who waits for an answer.
        ticket: Ticket,
    },
    /// RPKI has something new to say of these prefixes; of the others what it said holds.
    Verdicts(BTreeMap<IpNet, gate::Verdict>),
    /// Answer to [`Action::LookAtAttachments`]: why packets are not carried, if so.
    Looked(Option<String>),
    /// The checks have come to other verdicts on these backends, of which each is the last.
    Checked(BTreeMap<Key, Verdict>),
    /// All other nodes know of these joins, and list the backends.
    Listed(Vec<Join>),
    /// Answer to [`Action::AskFlows`], from those that gave one.
    Flows(Vec<(IpAddr, Remaining)>),
    /// A deadline has passed.
    Timer,
    /// SIGTERM or SIGINT.
    Terminate,
    /// Answer to [`Action::Prepare`].
    Prepared(Result<Arc<Config>, Failure>),
    /// Answer to [`Action::Apply`].
    Applied(Result<(), Failure>),
    /// Answer to [`Action::Attach`].
    Attached(Result<(), Failure>),
    /// Answer to [`Action::Commit`].
    Committed(Result<Vec<String>, Failure>),
}

/// What the daemon wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Work out a change; answered by [`Event::Prepared`].
    Prepare(Change),
    /// Watch the next hops of these backends.
    SetTargets(Vec<IpAddr>),
    /// Tell the data plane how a backend is reached.
    SetNextHop(IpAddr, Resolution),
    /// Tell the data plane which addresses are this host's own.
    SetLocals(Vec<IpAddr>),
    /// Put a membership and its configuration in force; answered by [`Event::Applied`].
    Apply(Box<InForce>),
    /// Ask these backends how many flows they have; answered by [`Event::Flows`].
    AskFlows(Vec<IpAddr>),
    /// Make the checks of this configuration, which is in force.
    SetChecks(Arc<Config>),
    /// Attach to these interfaces; answered by [`Event::Attached`].
    Attach(Vec<Interface>),
    /// Look whether the program is attached; answered by [`Event::Looked`].
    LookAtAttachments,
    /// Have sessions with these neighbours, and use these other outlets.
    ConfigureAnnouncing(Box<Announcing>),
    /// Announce exactly this.
    Announce(Announcements),
    /// Withdraw everything for good, for this reason.
    StopAnnouncing(String),
    /// The node is drained (`true`) after a restart too, or is not.
    RememberDrain(bool),
    /// Write the prepared change; answered by [`Event::Committed`].
    Commit,
    /// Forget the prepared change.
    Discard,
    /// Answer a caller.
    Reply(Ticket, Result<Outcome, Failure>),
    /// A reload begins (`true`) or is over.
    Reloading(bool),
    /// The data plane is in force.
    Ready,
    /// Leave, with this result.
    Exit(Result<(), Failure>),
}
