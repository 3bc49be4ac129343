//! Which VIP is carried how: one VIP and one pool of one backend a row.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result};
use xtask::lab::topology::{self, Addresses, ECHO_PORT, HTTP_PORT};

/// The backend that runs our program.
pub(super) const OURS: usize = 0;
/// The backend that has the kernel's own decapsulation and nothing of ours.
pub(super) const STOCK: usize = 1;

/// Segment at which the stock backend takes IPv4 out of IPv6.
const SEGMENT_4IN6: &str = "fd05::4";
/// Segment at which it takes IPv6 out of IPv6.
const SEGMENT_6IN6: &str = "fd05::6";
/// The network of the segments.
const SEGMENTS: &str = "fd05::/64";

/// A way of carrying.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// Name of the pool.
    pub(super) name: &'static str,
    vip: &'static str,
    /// The word of the configuration language.
    pub(super) encapsulation: &'static str,
    backend: &'static str,
    /// Number of the lab's backend.
    pub(super) server: usize,
}

const fn row(
    name: &'static str,
    vip: &'static str,
    encapsulation: &'static str,
    backend: &'static str,
    server: usize,
) -> Row {
    Row { name, vip, encapsulation, backend, server }
}

/// All of them.
pub(super) const ROWS: [Row; 11] = [
    row("gue-4in4", "203.0.113.11", "gue", "10.0.0.11", OURS),
    row("gue-6in4", "2001:db8:ff::12", "gue", "10.0.0.11", OURS),
    row("gue-4in6", "203.0.113.13", "gue", "fd00::11", OURS),
    row("gue-6in6", "2001:db8:ff::14", "gue", "fd00::11", OURS),
    row("ipip-4in4", "203.0.113.15", "ipip", "10.0.0.11", OURS),
    row("ipip-4in6", "203.0.113.16", "ipip", "fd00::11", OURS),
    row("ipip-6in6", "2001:db8:ff::17", "ipip", "fd00::11", OURS),
    row("l2-v4", "203.0.113.18", "l2", "10.0.0.11", OURS),
    row("l2-v6", "2001:db8:ff::19", "l2", "fd00::11", OURS),
    row("stock-4in6", "203.0.113.20", "ipip", SEGMENT_4IN6, STOCK),
    row("stock-6in6", "2001:db8:ff::21", "ipip", SEGMENT_6IN6, STOCK),
];

impl Row {
    /// The VIP's address.
    pub(super) fn vip(&self) -> Result<IpAddr> {
        self.vip.parse().with_context(|| self.vip)
    }

    /// Where the tunnel ends.
    pub(super) fn backend(&self) -> Result<IpAddr> {
        self.backend.parse().with_context(|| self.backend)
    }

    /// The TCP service.
    pub(super) fn tcp(&self) -> Result<SocketAddr> {
        Ok((self.vip()?, HTTP_PORT).into())
    }

    /// The UDP service.
    pub(super) fn udp(&self) -> Result<SocketAddr> {
        Ok((self.vip()?, ECHO_PORT).into())
    }
}

/// The address of `addresses` in the family of `other`.
pub(super) fn like(other: IpAddr, addresses: Addresses) -> IpAddr {
    if other.is_ipv4() { addresses.v4.into() } else { addresses.v6.into() }
}

/// What the configuration of the ingress node has besides the lab's own VIPs.
pub(super) fn pools_and_vips() -> String {
    let mut text = String::new();
    for Row { name, encapsulation, backend, .. } in ROWS {
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "\n[[pool]]\nname = \"{name}\"\nencapsulation = \"{encapsulation}\"\n\
             [[pool.backend]]\naddress = \"{backend}\"\n"
        );
    }
    text + &vips(|row| format!("pool = \"{}\"\n", row.name))
}

/// What the configuration of a backend has besides the lab's own VIPs.
pub(super) fn vips(more: impl Fn(&Row) -> String) -> String {
    let mut text = String::new();
    for row in &ROWS {
        for (port, protocol) in [(HTTP_PORT, "tcp"), (ECHO_PORT, "udp")] {
            let (vip, more) = (row.vip, more(row));
            let _ = write!(
                text,
                "\n[[vip]]\naddress = \"{vip}\"\nport = {port}\nprotocol = \"{protocol}\"\n{more}"
            );
        }
    }
    text
}

/// `ip` commands that give backend `server` its VIPs.
pub(super) fn loopback(server: usize) -> String {
    ROWS.iter()
        .filter(|row| row.server == server)
        .map(|row| {
            let options = if row.vip.contains(':') { "/128 dev lo nodad" } else { "/32 dev lo" };
            format!("address add {}{options}\n", row.vip)
        })
        .collect()
}

/// `ip` commands that make the stock backend decapsulate. The packets carry no segment routing
/// header: the destination alone names the function.
pub(super) fn stock_decapsulation() -> String {
    format!(
        "route add {SEGMENT_4IN6}/128 encap seg6local action End.DX4 nh4 0.0.0.0 dev fabric\n\
         route add {SEGMENT_6IN6}/128 encap seg6local action End.DT6 table local dev fabric\n"
    )
}

/// `ip` commands with which the ingress node finds the segments.
pub(super) fn route_to_segments() -> String {
    format!("route add {SEGMENTS} via {}\n", topology::backend(STOCK).v6)
}
