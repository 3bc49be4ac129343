//! What backends hold, as a port.

use std::net::IpAddr;

use crate::daemon::ports::FlowsPort;

/// No backend can be asked: drains end at their time limit.
pub struct NotAsked;

impl FlowsPort for NotAsked {
    fn remaining_flows(&mut self, _: IpAddr) -> Option<u64> {
        None
    }
}
