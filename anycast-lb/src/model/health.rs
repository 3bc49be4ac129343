//! How the backends of a pool are checked, and what follows when none is healthy.

use std::fmt;

use anycast_lb_health::Timing;
use anycast_lb_health::probe::Check;

/// What a pool says about health.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolHealth {
    /// How its backends are checked; none = not at all: each counts as healthy until somebody says otherwise.
    pub check: Option<HealthCheck>,
    /// What becomes of the pool when fewer than [`Self::minimum`] are healthy.
    pub all_down: AllDown,
    /// Healthy backends that make it servable, at least 1.
    pub minimum: u16,
}

impl Default for PoolHealth {
    fn default() -> Self {
        PoolHealth { check: None, all_down: AllDown::default(), minimum: 1 }
    }
}

/// What becomes of a pool when too few of its backends are healthy. Packets that arrive are forwarded in
/// either case; where nobody is healthy, as if all were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AllDown {
    /// It cannot be served: the node is not to announce it.
    #[default]
    Withdraw,
    /// It is served as if its backends were healthy: checks that fail everywhere are likely to be wrong.
    KeepServing,
}

impl AllDown {
    /// The word of the configuration language.
    pub const fn word(self) -> &'static str {
        match self {
            AllDown::Withdraw => "withdraw",
            AllDown::KeepServing => "keep_serving",
        }
    }
}

/// Which way probes go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Via {
    /// To the VIP, in the tunnel, as client traffic does.
    #[default]
    Tunnel,
    /// To the backend's own address.
    Direct,
}

impl Via {
    /// The word of the configuration language.
    pub const fn word(self) -> &'static str {
        match self {
            Via::Tunnel => "tunnel",
            Via::Direct => "direct",
        }
    }
}

/// How the backends of a pool are checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// What is asked.
    pub check: Check,
    /// Which way.
    pub via: Via,
    /// Port; none = that of the VIP.
    pub port: Option<u16>,
    /// When.
    pub timing: Timing,
}

impl fmt::Display for HealthCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Timing { interval, timeout, rise, fall } = self.timing;
        write!(f, "{} via {} every {interval:?} within {timeout:?}", self.check.word(), self.via.word())?;
        write!(f, " rise {rise} fall {fall}")?;
        match self.port {
            Some(port) => write!(f, " port {port}"),
            None => Ok(()),
        }
    }
}
