//! Whom the connection IDs of QUIC name.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use anycast_lb_common::abi::{FlowKeys, ServerIds};

/// How the connection IDs of a pool's servers name them, by draft-ietf-quic-load-balancers-21 without a
/// key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quic {
    /// Number of the configuration and length of server IDs.
    pub ids: ServerIds,
    /// The servers' IDs as numbers, different ones, no longer than [`Quic::ids`] says.
    pub servers: BTreeMap<IpAddr, u64>,
}

impl Quic {
    /// Configuration of a pool whose file does not say.
    pub const DEFAULT_CONFIG: u8 = 0;
    /// Octets of a server ID in a pool whose file does not say: with a nonce of four octets, connection IDs
    /// have eight, and a hundred servers are all different in 9,997 of 10,000 pools.
    pub const DEFAULT_LEN: u8 = 3;

    /// The ID of a server as it stands in connection IDs: hexadecimal digits.
    pub fn server_id(&self, address: IpAddr) -> Option<String> {
        self.servers.get(&address).map(|id| ServerId { id: *id, len: self.ids.len }.to_string())
    }
}

/// The ID of a server whose file does not say, of `len` octets: the same on every node, in every pool and
/// release. It comes from the address: the first octets of SipHash-2-4 with the 16 bytes of the address as
/// key (IPv4 as IPv4-mapped IPv6) and eight zero bytes as message.
pub fn default_server_id(address: IpAddr, len: u8) -> u64 {
    let octets = match address {
        IpAddr::V4(a) => a.to_ipv6_mapped().octets(),
        IpAddr::V6(a) => a.octets(),
    };
    FlowKeys::from_seed(octets).offset >> (u64::BITS - 8 * u32::from(len.clamp(1, ServerIds::MAX_LEN)))
}

/// A server ID as people read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerId {
    /// As a number.
    pub id: u64,
    /// Its octets.
    pub len: u8,
}

impl fmt::Display for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:0digits$x}", self.id, digits = 2 * usize::from(self.len))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Servers are configured with these: they must never change.
    #[test]
    fn default_ids_are_the_same_for_ever() {
        let id = |address: &str, len| {
            let id = default_server_id(address.parse().expect("an address"), len);
            ServerId { id, len }.to_string()
        };
        assert_eq!(id("10.0.0.11", 3), &id("10.0.0.11", 6)[..6]);
        assert_eq!(id("10.0.0.11", 6), "b9097ab9251d");
        assert_eq!(id("fd00::11", 6), "ac2275a41b25");
        assert_eq!(id("10.0.0.11", 1).len(), 2);
    }
}
