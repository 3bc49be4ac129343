//! What the kernel says, in the terms of the decision: no netlink here.

use std::net::IpAddr;

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) name: String,
    /// None if it is not an Ethernet device.
    pub(super) mac: Option<[u8; 6]>,
    /// Bytes of IP that fit in a frame.
    pub(super) mtu: u32,
    /// Administratively up.
    pub(super) up: bool,
    /// Its lower layer works: a cable is plugged in, the other end of a veth is up.
    pub(super) carrier: bool,
    pub(super) loopback: bool,
    /// Present on a VLAN interface.
    pub(super) vlan: Option<Vlan>,
}

/// What a VLAN interface adds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Vlan {
    /// Index of the interface that carries the tagged frames.
    pub(super) parent: Option<u32>,
    pub(super) id: Option<u16>,
}

/// What names a neighbour entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct NeighbourKey {
    pub(super) ifindex: u32,
    pub(super) address: IpAddr,
}

/// What the kernel knows of a neighbour (its NUD state, as far as it matters here).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// Nothing yet: just created, or the first question is out.
    Asking,
    /// The kernel has a MAC address, fresh or stale, and keeps it up itself.
    Known([u8; 6]),
    /// An operator's entry, or a device without ARP: never to be touched.
    Fixed([u8; 6]),
    /// Asked in vain.
    Failed,
}

/// A neighbour entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Neighbour {
    pub(super) reach: Reach,
    /// The kernel keeps resolving it without traffic.
    pub(super) managed: bool,
    /// It bears the mark of this program: made by it, or by an earlier run.
    pub(super) marked: bool,
}

/// The kernel's answer to a route lookup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// This way.
    Via(Route),
    /// The address is one of this host.
    Local,
    /// Not to be reached, in words that follow "no route to X: ".
    Refused(String),
}

/// A usable route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) ifindex: u32,
    /// Of either family: IPv4 may go via an IPv6 router (RFC 8950).
    pub(crate) gateway: Option<IpAddr>,
    /// The source address the kernel would use.
    pub(crate) source: Option<IpAddr>,
    /// The route's `mtu` metric.
    pub(crate) mtu: Option<u32>,
}
