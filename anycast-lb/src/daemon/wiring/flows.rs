//! What backends hold, as a port.

use std::net::IpAddr;
use std::time::Instant;

use crate::daemon::ports::FlowsPort;
use crate::membership::Remaining;
use crate::peers::Peers;

/// Backends that are asked over the API.
pub struct Others(pub Peers);

impl FlowsPort for Others {
    fn remaining_flows(&mut self, backend: IpAddr) -> Option<Remaining> {
        self.0.lock().draining_flows(Instant::now(), backend)
    }
}
