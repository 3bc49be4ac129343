//! Which server a QUIC packet is for, by its destination connection ID: a client keeps its backend when
//! its address changes, and whoever computed the tables does not matter.
//!
//! IDs have the form of draft-ietf-quic-load-balancers-21 in a configuration without a key: an octet whose
//! top three bits number the configuration (§3.1; its other bits are the server's own business, §3.3), the
//! server ID (§5.2), and a nonce of at least four octets, which means nothing here, nor does what may follow.
//!
//! What is read of a packet is the same in all versions of QUIC (RFC 8999), with one exception: packets
//! with a long header whose type says that their connection ID is never one that the client made up.

use crate::abi::{MemberNumber, ServerIds};
use crate::packet::Packet;

/// Bytes from the one in front of a connection ID to the end of the longest server ID in it. Every packet
/// has more: a nonce and, behind a short header, at least 20 bytes that are protected (RFC 9001 §5.4.2).
const NAMED_LEN: usize = 8;
/// Bytes in front of the length of a long header's connection ID: form and type, version.
const LONG_PREFIX_LEN: usize = 5;
/// Bytes of the UDP payload that are looked at.
pub const LOOKED_AT: usize = LONG_PREFIX_LEN + NAMED_LEN;
/// Octets of the shortest nonce (§5.3 of the draft).
const MIN_NONCE_LEN: u64 = 4;

/// QUIC version 1 (RFC 9000).
const VERSION_1: u64 = 1;
/// QUIC version 2 (RFC 9369): the same packets, their types numbered anew.
const VERSION_2: u64 = 0x6b33_43cf;
/// The type of Handshake packets in version 1 (RFC 9000 §17.2).
const HANDSHAKE_1: u64 = 2;
/// The type of Handshake packets in version 2 (RFC 9369 §3.2).
const HANDSHAKE_2: u64 = 3;

/// The server that a connection ID names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named {
    /// Its ID, as a number.
    pub server_id: u64,
    /// Whether a server certainly chose the connection ID. If not, the packet may be the first of its
    /// connection, with random bytes for an ID (RFC 9000 §7.2), or with bytes that aim at a server.
    pub by_server: bool,
}

/// What the destination connection ID of the UDP payload that starts at `at` says; the frame has
/// [`LOOKED_AT`] bytes of it. `None` where it cannot name a server of a pool with such `ids`.
#[inline(always)]
pub fn named<P: Packet>(packet: &P, at: usize, ids: ServerIds) -> Option<Named> {
    let ServerIds { config, len } = ids;
    let start = u64::from_be_bytes(*packet.view(at)?);
    let (word, by_server) = if start >> 63 == 0 {
        // A short header: one byte, and the ID. That an ID ends is known to those who made it.
        (start, true)
    } else {
        let word = u64::from_be_bytes(*packet.view(at + LONG_PREFIX_LEN)?);
        if word >> 56 < 1 + len as u64 + MIN_NONCE_LEN {
            return None;
        }
        let (kind, version) = (start >> 60 & 3, start >> 24 & 0xffff_ffff);
        let is_handshake =
            version == VERSION_1 && kind == HANDSHAKE_1 || version == VERSION_2 && kind == HANDSHAKE_2;
        (word, is_handshake)
    };
    // One byte in front of the ID, its first octet, the server ID and what follows.
    if word >> 53 & 7 != config as u64 {
        return None;
    }
    const REST_BITS: u64 = 8 * ServerIds::MAX_LEN as u64;
    let server_id = (word & ((1 << REST_BITS) - 1)) >> (REST_BITS.wrapping_sub(8 * len as u64) & 63);
    Some(Named { server_id, by_server })
}

/// The member that a packet's connection ID names, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Destination(u64);

impl Destination {
    /// No member.
    pub(crate) const NONE: Destination = Destination(0);
    const BY_SERVER: u64 = 1 << 16;

    #[inline(always)]
    pub(crate) fn new(member: MemberNumber, by_server: bool) -> Self {
        if member == 0 {
            return Self::NONE;
        }
        Destination(member as u64 | if by_server { Self::BY_SERVER } else { 0 })
    }

    /// The member, or 0.
    #[inline(always)]
    pub(crate) fn member(self) -> MemberNumber {
        self.0 as MemberNumber
    }

    /// Whether a server certainly named it.
    #[inline(always)]
    pub(crate) fn is_certain(self) -> bool {
        self.0 & Self::BY_SERVER != 0
    }
}

#[cfg(test)]
mod tests;
