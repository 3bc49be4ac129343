//! Asks a service who answers, from many source ports: each is a flow of its own, and may reach another
//! server. Any server does that knows `id.server` or `hostname.bind`, or the option NSID.

mod exchange;
mod reading;
mod spread;

use std::net::SocketAddr;
use std::time::Duration;

pub use exchange::from_ports;
pub use reading::{MAX_TEXT, Named, printable};
pub use spread::{Group, Latency, Spread};

/// How a service is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The service.
    pub server: SocketAddr,
    /// From how many source ports.
    pub ports: usize,
    /// From how many at once.
    pub at_once: usize,
    /// How long an answer is waited for.
    pub patience: Duration,
    /// How often a question is put from one port.
    pub attempts: u32,
}

/// What came back to one port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The source port; none if no socket could be had.
    pub port: Option<u16>,
    /// What it was.
    pub outcome: Outcome,
}

/// How asking from one port ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The server said its name.
    Named {
        /// What it said.
        name: Named,
        /// From the question that was answered to the answer.
        latency: Duration,
    },
    /// It answered, and said no name: this response code.
    Nameless(String),
    /// No answer in time, however often it was asked.
    Silent,
    /// The question could not be put, or a router or the host refused it.
    Failed(String),
}
