//! How many flows of each VIP this host's kernel holds: what a drain waits for.

mod diag;

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;

use crate::model::{Protocol, VipKey};

/// Why the kernel's sockets could not be counted.
#[derive(Debug, thiserror::Error)]
#[error("the kernel does not list its {protocol} sockets: {source}{}", hint(.source))]
pub struct FlowsError {
    /// Which sockets.
    protocol: &'static str,
    /// Its answer.
    source: io::Error,
}

/// What mends it, where something is known to.
fn hint(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::ENOENT) => "; run: modprobe -a tcp_diag udp_diag",
        _ => "",
    }
}

/// Flows of a VIP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VipFlows {
    /// The VIP.
    pub vip: VipKey,
    /// TCP connections, those being opened and closed included, TIME_WAIT left out: its peer has
    /// nothing to say any more.
    pub tcp: u64,
    /// Connected UDP sockets.
    pub udp: u64,
}

/// Counts the flows of these VIPs in the calling thread's network namespace. It walks through all
/// sockets once: call it where waiting some milliseconds does no harm.
///
/// # Errors
/// The kernel does not list its sockets.
pub fn count(vips: &[VipKey]) -> Result<Vec<VipFlows>, FlowsError> {
    let mut tally = Tally::new(vips);
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        if !vips.iter().any(|v| v.protocol == protocol || v.protocol == Protocol::Any) {
            continue;
        }
        let (name, kind) = match protocol {
            Protocol::Udp => ("UDP", diag::Kind::ConnectedUdp),
            _ => ("TCP", diag::Kind::OpenTcp),
        };
        diag::for_each(kind, |local| tally.add(protocol, local))
            .map_err(|source| FlowsError { protocol: name, source })?;
    }
    Ok(tally.rows)
}

/// Counts while sockets come by.
struct Tally {
    rows: Vec<VipFlows>,
    index: HashMap<VipKey, usize>,
}

impl Tally {
    fn new(vips: &[VipKey]) -> Self {
        Tally {
            rows: vips.iter().map(|vip| VipFlows { vip: *vip, tcp: 0, udp: 0 }).collect(),
            index: vips.iter().enumerate().map(|(i, vip)| (*vip, i)).collect(),
        }
    }

    /// A socket belongs to the VIP that a packet to it matches: exact port, any port, any protocol.
    fn add(&mut self, protocol: Protocol, local: SocketAddr) {
        // An IPv4 connection of a dual-stack server has a mapped address.
        let address = local.ip().to_canonical();
        let candidates = [(Some(local.port()), protocol), (None, protocol), (None, Protocol::Any)];
        let row = candidates
            .iter()
            .find_map(|(port, protocol)| {
                self.index.get(&VipKey { address, port: *port, protocol: *protocol })
            })
            .map(|i| &mut self.rows[*i]);
        match (row, protocol) {
            (Some(row), Protocol::Udp) => row.udp += 1,
            (Some(row), _) => row.tcp += 1,
            (None, _) => {}
        }
    }
}

#[cfg(test)]
mod tests;
