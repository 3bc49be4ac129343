//! Attaches the program that sends an ingress node's health checks through the tunnel, at the egress hook of
//! traffic control of the interfaces that the node works on. It lives as long as the daemon: without it nobody
//! checks.

use std::os::fd::{BorrowedFd, OwnedFd};

use super::netlink;
use super::sys;
use crate::model::Interface;

/// The program on an interface.
#[derive(Debug)]
pub(super) struct Probe {
    ifindex: u32,
    _link: OwnedFd,
}

/// Makes `program` run on `interfaces`, and on no others of those where it ran `before`.
///
/// Where it cannot be attached, checks through the tunnel fail and say so; that is no reason not to forward.
pub(super) fn attach(program: BorrowedFd<'_>, interfaces: &[Interface], before: Vec<Probe>) -> Vec<Probe> {
    let mut before = before;
    let mut probes = Vec::with_capacity(interfaces.len());
    for interface in interfaces {
        let Some(ifindex) = netlink::index_of(&interface.name) else { continue };
        if let Some(there) = before.iter().position(|probe| probe.ifindex == ifindex) {
            probes.push(before.swap_remove(there));
            continue;
        }
        match sys::create_tc_link(program, ifindex, sys::Hook::Egress) {
            Ok(link) => probes.push(Probe { ifindex, _link: link }),
            Err(error) => tracing::warn!(
                interface = interface.name,
                "health checks cannot go through the tunnel here (it takes Linux 6.6; `via = \"direct\"` goes \
                 without): {error}"
            ),
        }
    }
    probes
}
