//! How a frame gets to each backend: route, interface, source address and the next hop's MAC.
//!
//! XDP sends frames, not packets, so what the kernel would look up for each packet is looked up here
//! once and followed as it changes. The pure part, [`state`], holds what the kernel said last and
//! decides; [`netlink`] asks the kernel, [`message`] translates its answers and [`driver`] runs the
//! loop between them.
//!
//! Traffic sent by XDP does not refresh the kernel's neighbour entries, which would grow stale and
//! be collected. They are made *managed* (`NTF_EXT_MANAGED`, Linux 5.16), so that the kernel
//! itself keeps resolving them; older kernels are asked again every few seconds.

mod driver;
mod fact;
mod message;
mod netlink;
mod state;

use std::fmt;
use std::io;
use std::net::IpAddr;

use serde::{Serialize, Serializer};
use tokio::sync::{mpsc, oneshot};

pub(crate) use fact::{Answer, Route};
pub(crate) use netlink::open;

/// Events that may wait for the receiver inside the channel; more wait in the resolver.
const EVENT_CAPACITY: usize = 256;

/// Everything that is needed to send a frame to a backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NextHop {
    /// Name of the egress interface.
    pub interface: String,
    /// Index of the egress interface.
    pub ifindex: u32,
    /// Outer source address: the configured one of this family, else what the kernel prefers.
    pub source: IpAddr,
    /// MAC address of the egress interface.
    #[serde(serialize_with = "mac_as_text")]
    pub source_mac: [u8; 6],
    /// MAC address of the gateway, or of the backend if it is on the link.
    #[serde(serialize_with = "mac_as_text")]
    pub destination_mac: [u8; 6],
    /// Largest IP packet, in bytes, that fits on the way: the smaller of the device's MTU and the
    /// route's `mtu` metric.
    pub mtu: u16,
    /// The router in between; none if the backend is on the link, as L2 forwarding needs it.
    pub gateway: Option<IpAddr>,
}

/// Whether a backend can be sent to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Resolution {
    /// Yes, this way.
    Resolved(NextHop),
    /// Not known yet, for this reason: whatever was known before may still be right.
    Pending(String),
    /// No, for this reason, in words for the operator.
    Unresolved(String),
}

/// What the resolver reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The way to a backend became known, changed or was lost. Every target gets at least one.
    NextHop {
        /// The target.
        backend: IpAddr,
        /// Its new resolution.
        resolution: Resolution,
    },
    /// All unicast addresses of this host but the loopback ones, sorted: once at the start and at
    /// each change.
    Locals(Vec<IpAddr>),
    /// An interface went down, lost its carrier or disappeared.
    LinkDown {
        /// Its name.
        interface: String,
    },
    /// An interface came up, with carrier, or appeared.
    LinkUp {
        /// Its name.
        interface: String,
    },
}

/// Why the resolver could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NeighbourError {
    /// The kernel gave no netlink socket, or no subscription to its changes.
    #[error("cannot open a netlink socket to follow routes and neighbours: {0}")]
    Socket(#[source] io::Error),
}

/// Follows the ways to a set of backends.
///
/// Dropping it does the same as [`Resolver::shutdown`], without waiting.
#[derive(Debug)]
pub struct Resolver {
    commands: mpsc::UnboundedSender<Command>,
}

/// What a [`Resolver`] asks of its task.
#[derive(Debug)]
enum Command {
    SetTargets(Vec<IpAddr>),
    Shutdown(oneshot::Sender<()>),
}

impl Resolver {
    /// Starts following this network namespace: the one of the calling thread. Must be called inside
    /// a tokio runtime, on which its tasks then run.
    ///
    /// `sources` are the outer source addresses to use in place of the kernel's choice, at most one a
    /// family.
    pub fn start(sources: &[IpAddr]) -> Result<(Self, mpsc::Receiver<Event>), NeighbourError> {
        let (commands, inbox) = mpsc::unbounded_channel();
        let (outbox, events) = mpsc::channel(EVENT_CAPACITY);
        let driver = driver::Driver::open(sources, inbox, outbox).map_err(NeighbourError::Socket)?;
        tokio::spawn(driver.run());
        Ok((Resolver { commands }, events))
    }

    /// Replaces the set of backends that are followed. Each new one is reported as soon as the first
    /// answer about it is known; those that stay are reported only when they change.
    pub async fn set_targets(&self, targets: Vec<IpAddr>) {
        // Only fails when the task has ended, which the receiver of the events notices.
        let _ = self.commands.send(Command::SetTargets(targets));
    }

    /// Ends following and removes the neighbour entries that were made for it.
    pub async fn shutdown(self) {
        let (done, finished) = oneshot::channel();
        if self.commands.send(Command::Shutdown(done)).is_ok() {
            let _ = finished.await;
        }
    }
}

/// A MAC address the way people write it.
struct Mac([u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

fn mac_as_text<S: Serializer>(mac: &[u8; 6], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&Mac(*mac))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_next_hop_serialises_its_macs_as_text() {
        let resolution = Resolution::Resolved(NextHop {
            interface: "eth0".into(),
            ifindex: 2,
            source: IpAddr::from([10, 0, 0, 2]),
            source_mac: [2, 0, 0, 0, 0, 0x0a],
            destination_mac: [0xfe, 0, 0, 0, 0, 1],
            mtu: 1500,
            gateway: None,
        });
        let json = serde_json::to_value(&resolution).expect("plain data");
        assert_eq!(json["resolved"]["source_mac"], "02:00:00:00:00:0a");
        assert_eq!(json["resolved"]["destination_mac"], "fe:00:00:00:00:01");
    }
}
