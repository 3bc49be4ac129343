//! Answering an echo request on behalf of a VIP: the request is turned round in place.

use bytemuck::Pod;

use crate::abi::Verdict;
use crate::checksum::{update, update_to_sent};
use crate::packet::Packet;
use crate::parse::{Datagram, Link};
use crate::template::OUTER_TTL as REPLY_TTL;
use crate::wire::icmp::{ECHO_REPLY, ECHO_REPLY_V6, ECHO_REQUEST, ECHO_REQUEST_V6};
use crate::wire::{Ethernet, IcmpEcho, Ipv4, Ipv6};

/// What differs between the families.
pub(crate) trait Turn: Pod {
    const REQUEST: u8;
    const REPLY: u8;
    /// Swaps source and destination, sets a fresh TTL.
    fn turn(&mut self);
    /// Whether an answer may be sent to the source: a unicast address of another host.
    fn source_is_unicast(&self) -> bool;
}

impl Turn for Ipv4 {
    const REQUEST: u8 = ECHO_REQUEST;
    const REPLY: u8 = ECHO_REPLY;

    #[inline(always)]
    fn turn(&mut self) {
        core::mem::swap(&mut self.source, &mut self.destination);
        // TTL and protocol share a word of the checksum.
        let old = u16::from_be_bytes([self.ttl, self.protocol]);
        let new = u16::from_be_bytes([REPLY_TTL, self.protocol]);
        self.ttl = REPLY_TTL;
        self.checksum = update(u16::from_be_bytes(self.checksum), old, new).to_be_bytes();
    }

    #[inline(always)]
    fn source_is_unicast(&self) -> bool {
        // 0/8 "this network", 127/8 loopback, 224/3 multicast, reserved and broadcast.
        let first = self.source[0];
        first != 0 && first != 127 && first < 224
    }
}

impl Turn for Ipv6 {
    const REQUEST: u8 = ECHO_REQUEST_V6;
    const REPLY: u8 = ECHO_REPLY_V6;

    #[inline(always)]
    fn turn(&mut self) {
        core::mem::swap(&mut self.source, &mut self.destination);
        self.hop_limit = REPLY_TTL;
    }

    #[inline(always)]
    fn source_is_unicast(&self) -> bool {
        // ff00::/8 multicast; ::/64 holds the unspecified and the loopback address, and those that
        // embed IPv4 as in RFC 4291 §2.5.5. Not all of ::/8: 64:ff9b::/96 are the IPv4 hosts behind
        // a translator (RFC 6052 §2.1).
        let [a, b, c, d, e, f, g, h, ..] = self.source;
        u64::from_ne_bytes([a, b, c, d, e, f, g, h]) != 0 && self.source[0] != 0xff
    }
}

/// Answers if `datagram`, whose transport is ICMP of the family of `ip`, is an echo request.
///
/// The checksum is updated, not recomputed: a damaged request gives a damaged reply.
#[inline(always)]
pub(crate) fn answer<P: Packet, H: Turn>(
    packet: &mut P,
    link: &Link,
    datagram: &Datagram,
    source_is_vip: bool,
) -> Verdict {
    // The answer would have to be made of the whole.
    if datagram.is_fragment() {
        return Verdict::Fragment;
    }
    if !datagram.holds(IcmpEcho::LEN) {
        return Verdict::TruncatedTransport;
    }
    turn::<P, H>(packet, link, datagram, source_is_vip).unwrap_or(Verdict::TruncatedTransport)
}

/// `None` where the frame is shorter than was checked, which does not happen.
#[inline(always)]
fn turn<P: Packet, H: Turn>(
    packet: &mut P,
    link: &Link,
    datagram: &Datagram,
    source_is_vip: bool,
) -> Option<Verdict> {
    let icmp: &IcmpEcho = packet.view(datagram.transport)?;
    if icmp.kind != H::REQUEST || icmp.code != 0 {
        return Some(Verdict::IcmpUnsupported);
    }
    let (old, new) = (u16::from_be_bytes([H::REQUEST, 0]), u16::from_be_bytes([H::REPLY, 0]));
    let checksum = update_to_sent(u16::from_be_bytes(icmp.checksum), old, new);
    let ip: &H = packet.view(datagram.start)?;
    if link.is_group() || source_is_vip || !ip.source_is_unicast() {
        return Some(Verdict::EchoSource);
    }
    let icmp: &mut IcmpEcho = packet.view_mut(datagram.transport)?;
    icmp.kind = H::REPLY;
    icmp.checksum = checksum.to_be_bytes();
    packet.view_mut::<H>(datagram.start)?.turn();
    let ethernet: &mut Ethernet = packet.view_mut(0)?;
    core::mem::swap(&mut ethernet.source, &mut ethernet.destination);
    Some(Verdict::EchoReply)
}
