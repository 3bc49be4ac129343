//! Attaches the program that sends an ingress node's health checks through the tunnel, at the egress hook of
//! traffic control. It lives as long as the daemon: without it nobody checks.

use std::os::fd::{BorrowedFd, OwnedFd};

use super::netlink;
use super::sys;

/// The program on an interface.
#[derive(Debug)]
pub(super) struct Probe {
    ifindex: u32,
    _link: OwnedFd,
}

/// Makes `program` run on all interfaces, where it does not since `before`: a route to a VIP may leave by any of
/// them, and a check that left as it is could be answered by another node's backend. None if that fails on one.
pub(super) fn attach(program: BorrowedFd<'_>, before: Vec<Probe>) -> Vec<Probe> {
    let mut before = before;
    let mut probes = Vec::new();
    for (name, ifindex) in netlink::interfaces() {
        if let Some(there) = before.iter().position(|probe| probe.ifindex == ifindex) {
            probes.push(before.swap_remove(there));
            continue;
        }
        match sys::create_tc_link(program, ifindex, sys::Hook::Egress) {
            Ok(link) => probes.push(Probe { ifindex, _link: link }),
            // It has gone meanwhile.
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => {}
            Err(error) => {
                tracing::warn!(interface = name, "health checks cannot be sent through the tunnel: {error}");
                return Vec::new();
            }
        }
    }
    probes
}
