//! ICMP (RFC 792) and ICMPv6 (RFC 4443): echo and errors.

use bytemuck::{Pod, Zeroable};
use network_types::ip::IpProto;

/// IP protocol number of ICMP.
pub const ICMP: u8 = IpProto::Icmp as u8;
/// Next-header number of ICMPv6.
pub const ICMPV6: u8 = IpProto::Ipv6Icmp as u8;
/// Echo request.
pub const ECHO_REQUEST: u8 = 8;
/// Echo reply.
pub const ECHO_REPLY: u8 = 0;
/// Echo request, ICMPv6.
pub const ECHO_REQUEST_V6: u8 = 128;
/// Echo reply, ICMPv6.
pub const ECHO_REPLY_V6: u8 = 129;
/// Destination unreachable.
pub const UNREACHABLE: u8 = 3;
/// Its code for "fragmentation needed and DF set".
pub const FRAGMENTATION_NEEDED: u8 = 4;
/// Packet too big, ICMPv6.
pub const PACKET_TOO_BIG_V6: u8 = 2;

/// The header of an echo message; that of an error has the same length, and the quoted packet
/// behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct IcmpEcho {
    /// Type.
    pub kind: u8,
    /// Code.
    pub code: u8,
    /// Checksum, network order.
    pub checksum: [u8; 2],
    /// Identifier.
    pub id: [u8; 2],
    /// Sequence number; in an error about a packet's size the MTU (RFC 1191, RFC 4443 §3.2).
    pub sequence: [u8; 2],
}

/// Whether the message reports an error about a packet it quotes: unreachable, time exceeded,
/// parameter problem. Not source quench, which RFC 6633 has abolished.
#[inline(always)]
pub fn is_error(message: &IcmpEcho) -> bool {
    matches!(message.kind, UNREACHABLE | 11 | 12)
}

/// The same for ICMPv6: unreachable, packet too big, time exceeded, parameter problem.
#[inline(always)]
pub fn is_error_v6(message: &IcmpEcho) -> bool {
    matches!(message.kind, 1 | PACKET_TOO_BIG_V6 | 3 | 4)
}

impl IcmpEcho {
    /// Bytes of the header.
    pub const LEN: usize = size_of::<Self>();
}
