//! Where packets to a backend go next.

use std::net::IpAddr;

use serde::Serialize;

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
    pub source_mac: [u8; 6],
    /// MAC address of the gateway, or of the backend if it is on the link.
    pub destination_mac: [u8; 6],
    /// Largest IP packet, in bytes, that fits on the way.
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
    /// No, for this reason, in words for the operator.
    Unresolved(String),
}
