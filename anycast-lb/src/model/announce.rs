//! Which prefixes this node announces itself, when, and by whom.

use std::time::Duration;

use anycast_lb_routing::announce::driver::{Method, Settings};
use anycast_lb_routing::announce::gate::Require;
use ipnet::IpNet;

/// How long a draining node's routes are marked before they are withdrawn.
pub const DEFAULT_DRAIN_WAIT: Duration = Duration::from_secs(60);

/// A prefix that is announced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnnouncedPrefix {
    /// The prefix; one of those of the configuration.
    pub prefix: IpNet,
    /// By whom. What that needs is in the settings.
    pub method: Method,
    /// How many of its VIPs must be servable.
    pub require: Require,
}

/// All about announcing; empty on a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcing {
    /// The prefixes, in file order.
    pub prefixes: Vec<AnnouncedPrefix>,
    /// Who is told.
    pub settings: Settings,
    /// How long a draining node's routes are marked before they are withdrawn.
    pub drain_wait: Duration,
}

impl Default for Announcing {
    fn default() -> Self {
        Announcing { prefixes: Vec::new(), settings: Settings::default(), drain_wait: DEFAULT_DRAIN_WAIT }
    }
}
