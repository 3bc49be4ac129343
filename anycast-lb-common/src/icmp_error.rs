//! ICMP errors about what a backend has sent: they go where that flow's packets go.
//!
//! Backends answer clients directly, under the VIP's address, so what a router on that way has to say
//! ("fragmentation needed" above all) comes to the VIP, and so to any ingress node. It quotes the
//! packet: turned round that is the client's flow, as the ingress sees it.
//!
//! The ICMP checksum is not verified: the backend's kernel does that, like the check that the quoted
//! packet is one that it has sent.

use crate::abi::{Verdict, address_key};
use crate::hash::{Flow, words_v4, words_v6};
use crate::packet::Packet;
use crate::parse::Datagram;
use crate::quote::{self, Quoted};
use crate::wire::icmp::{self, IcmpEcho};
use crate::wire::transport::{TCP, UDP};
use crate::wire::{Ipv4, Ipv6, Ports};

/// Quoted bytes of transport that an error must have (RFC 792; RFC 4443 §2.4 (c) wants more).
const QUOTED: usize = 8;

/// What the client's packets of the quoted flow look like.
pub(crate) struct About<const N: usize> {
    /// What is hashed of them.
    pub(crate) flow: Flow<N>,
    port: u64,
}

impl<const N: usize> About<N> {
    /// Their destination port, host order; 0 without ports.
    #[inline(always)]
    pub(crate) fn port(&self) -> u16 {
        self.port as u16
    }

    /// `quoted` went from a VIP to a client; `addresses` are those of the way back.
    #[inline(always)]
    fn new<P: Packet>(
        packet: &P,
        datagram: &Datagram,
        quoted: &Quoted,
        addresses: [u64; N],
    ) -> Result<Self, Verdict> {
        let protocol = quoted.protocol() as u64;
        if !matches!(quoted.protocol(), TCP | UDP) {
            return Ok(About { flow: Flow { addresses, ports: 0, protocol }, port: 0 });
        }
        if quoted.transport + QUOTED > datagram.end() {
            return Err(Verdict::IcmpErrorQuote);
        }
        let ports: &Ports = packet.view(quoted.transport).ok_or(Verdict::IcmpErrorQuote)?;
        let [a, b] = ports.destination;
        let [c, d] = ports.source;
        let port = u16::from_be_bytes(ports.source) as u64;
        let ports = u32::from_le_bytes([a, b, c, d]) as u64;
        Ok(About { flow: Flow { addresses, ports, protocol }, port })
    }
}

/// Whether `datagram`, whose transport is ICMP, is an error that came whole.
#[inline(always)]
pub(crate) fn is_v4<P: Packet>(packet: &P, datagram: &Datagram) -> bool {
    is_whole(datagram) && packet.view(datagram.transport).is_some_and(icmp::is_error)
}

/// The same for ICMPv6.
#[inline(always)]
pub(crate) fn is_v6<P: Packet>(packet: &P, datagram: &Datagram) -> bool {
    is_whole(datagram) && packet.view(datagram.transport).is_some_and(icmp::is_error_v6)
}

#[inline(always)]
fn is_whole(datagram: &Datagram) -> bool {
    !datagram.is_fragment() && datagram.holds(IcmpEcho::LEN)
}

/// The flow that the ICMP error `datagram` to `vip` is about.
#[inline(always)]
pub(crate) fn v4<P: Packet>(packet: &P, datagram: &Datagram, vip: [u8; 4]) -> Result<About<2>, Verdict> {
    let start = datagram.transport + IcmpEcho::LEN;
    if start + Ipv4::LEN > datagram.end() {
        return Err(Verdict::IcmpErrorQuote);
    }
    let ip: &Ipv4 = packet.view(start).ok_or(Verdict::IcmpErrorQuote)?;
    let quoted = quote::v4(ip, start).ok_or(Verdict::IcmpErrorQuote)?;
    if u32::from_ne_bytes(ip.source) != u32::from_ne_bytes(vip) {
        return Err(Verdict::IcmpErrorQuote);
    }
    About::new(packet, datagram, &quoted, words_v4(ip.destination, ip.source))
}

/// The same for ICMPv6.
#[inline(always)]
pub(crate) fn v6<P: Packet>(packet: &P, datagram: &Datagram, vip: [u8; 16]) -> Result<About<8>, Verdict> {
    let start = datagram.transport + IcmpEcho::LEN;
    if start + Ipv6::LEN > datagram.end() {
        return Err(Verdict::IcmpErrorQuote);
    }
    let ip: &Ipv6 = packet.view(start).ok_or(Verdict::IcmpErrorQuote)?;
    let quoted = quote::v6(packet, ip, start).ok_or(Verdict::IcmpErrorQuote)?;
    if address_key(ip.source) != address_key(vip) {
        return Err(Verdict::IcmpErrorQuote);
    }
    About::new(packet, datagram, &quoted, words_v6(ip.destination, ip.source))
}
