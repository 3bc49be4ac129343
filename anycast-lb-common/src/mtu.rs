//! Telling the sender of a packet that does not fit the tunnel what does: path MTU discovery (RFC 1191,
//! RFC 8201) needs it, and nobody else on the way knows.
//!
//! The answer's source is the VIP. It is the one address of ours that the sender's filters expect, and
//! the underlay's may be private; the sender looks at the quoted packet, not at who quotes it.
//!
//! Nothing is handed on from the way on which a packet turned out to be too big but what would fit: the
//! frame is read once more. So ordinary packets carry nothing for it, and the verifier goes through this
//! once and not for each state in which that way may end.

use crate::Outcome;
use crate::abi::{AddressFlags, HopLimits, Verdict, address_key};
use crate::checksum::fold;
use crate::echo::Turn;
use crate::link;
use crate::packet::Packet;
use crate::parse::{self, Link};
use crate::rate;
use crate::tables::{Tables, View};
use crate::template::{OUTER_TTL as TTL, VERSION_IHL};
use crate::wire::icmp::{FRAGMENTATION_NEEDED, ICMP, ICMPV6, IcmpEcho, PACKET_TOO_BIG_V6, UNREACHABLE};
use crate::wire::ipv4::{DONT_FRAGMENT, mapped};
use crate::wire::{Ethernet, Ipv4, Ipv6, ethernet, ipv6};

/// Quoted bytes over IPv4: the answer is just shorter than the 576 bytes that every host takes (RFC
/// 1812 §4.3.2.3). Packets that are no longer than this are not answered: no sender goes lower (Linux
/// stops at 552 bytes), and an underlay that is that narrow carries nothing.
const QUOTE_V4: usize = 544;
/// Quoted bytes over IPv6: the answer has the least MTU of IPv6 (RFC 4443 §2.4 (c)).
const QUOTE_V6: usize = MIN_MTU_V6 - Ipv6::LEN - IcmpEcho::LEN;
/// No path is narrower (RFC 791 §3.2).
const MIN_MTU_V4: usize = 68;
/// No sender goes below (RFC 8200 §5).
const MIN_MTU_V6: usize = 1280;
/// Class selector 6, as routers mark what they say about the network (RFC 1812 §4.3.2.5).
const INTERNETWORK_CONTROL: u8 = 0xc0;
/// Bytes that are summed up at a time ([`Packet::sum`]).
const CHUNK: usize = 512;

/// What differs between the families.
trait Answer: Turn {
    /// Bytes that are put in front.
    const HEADERS: usize;
    /// Bytes that are quoted.
    const QUOTE: usize;
    const ETHER_TYPE: u16;
    /// A packet up to this length is not answered.
    const SMALLEST: usize;
    /// The least that is said to fit.
    const MIN_MTU: usize;
    /// Bytes of header and payload.
    fn len(&self) -> usize;
    /// Whether the sender wants to know.
    fn asks(&self) -> bool;
    /// Source as the tables know it.
    fn source_key(&self) -> [u64; 2];
    /// The part of the source that is limited together: /24 or /56.
    fn source_prefix(&self) -> u64;
    /// Writes the headers at `at`, in front of the quote.
    fn write<P: Packet>(packet: &mut P, at: usize, mtu: u16) -> Option<()>;
}

impl Answer for Ipv4 {
    const HEADERS: usize = Ipv4::LEN + IcmpEcho::LEN;
    const QUOTE: usize = QUOTE_V4;
    const ETHER_TYPE: u16 = ethernet::IPV4;
    const SMALLEST: usize = QUOTE_V4;
    const MIN_MTU: usize = MIN_MTU_V4;

    #[inline(always)]
    fn len(&self) -> usize {
        self.total_len()
    }

    #[inline(always)]
    fn asks(&self) -> bool {
        self.has_dont_fragment()
    }

    #[inline(always)]
    fn source_key(&self) -> [u64; 2] {
        address_key(mapped(self.source))
    }

    #[inline(always)]
    fn source_prefix(&self) -> u64 {
        rate::prefix_v4(self.source)
    }

    #[inline(always)]
    fn write<P: Packet>(packet: &mut P, at: usize, mtu: u16) -> Option<()> {
        const LEN: usize = IcmpEcho::LEN + QUOTE_V4;
        let quoted: &Ipv4 = packet.view(at + Self::HEADERS)?;
        let (client, vip) = (u32::from_ne_bytes(quoted.source), u32::from_ne_bytes(quoted.destination));
        let ip: &mut Ipv4 = packet.view_mut(at)?;
        ip.version_ihl = VERSION_IHL;
        ip.tos = INTERNETWORK_CONTROL;
        ip.total_len = ((Ipv4::LEN + LEN) as u16).to_be_bytes();
        ip.id = [0; 2];
        ip.fragment = DONT_FRAGMENT.to_be_bytes();
        ip.ttl = TTL;
        ip.protocol = ICMP;
        ip.checksum = [0; 2];
        ip.source = vip.to_ne_bytes();
        ip.destination = client.to_ne_bytes();
        let header = packet.sum::<{ Ipv4::LEN }>(at, 0)?;
        let ip: &mut Ipv4 = packet.view_mut(at)?;
        ip.checksum = (!fold(header)).to_ne_bytes();
        let at = at + Ipv4::LEN;
        write_icmp(packet, at, UNREACHABLE, FRAGMENTATION_NEEDED, mtu)?;
        let front = packet.sum::<CHUNK>(at, 0)?;
        let sum = packet.sum::<{ LEN - CHUNK }>(at + CHUNK, front)?;
        write_checksum(packet, at, sum)
    }
}

impl Answer for Ipv6 {
    const HEADERS: usize = Ipv6::LEN + IcmpEcho::LEN;
    const QUOTE: usize = QUOTE_V6;
    const ETHER_TYPE: u16 = ethernet::IPV6;
    const SMALLEST: usize = MIN_MTU_V6;
    const MIN_MTU: usize = MIN_MTU_V6;

    #[inline(always)]
    fn len(&self) -> usize {
        self.total_len()
    }

    #[inline(always)]
    fn asks(&self) -> bool {
        true
    }

    #[inline(always)]
    fn source_key(&self) -> [u64; 2] {
        address_key(self.source)
    }

    #[inline(always)]
    fn source_prefix(&self) -> u64 {
        rate::prefix_v6(self.source)
    }

    #[inline(always)]
    fn write<P: Packet>(packet: &mut P, at: usize, mtu: u16) -> Option<()> {
        const LEN: usize = IcmpEcho::LEN + QUOTE_V6;
        const ADDRESSES: usize = 2 * size_of::<[u8; 16]>();
        let quoted: &Ipv6 = packet.view(at + Self::HEADERS)?;
        let (client, vip) = (address_key(quoted.source), address_key(quoted.destination));
        let ip: &mut Ipv6 = packet.view_mut(at)?;
        ip.version_class_flow = ipv6::version_class_flow(INTERNETWORK_CONTROL, 0);
        ip.payload_len = (LEN as u16).to_be_bytes();
        ip.next_header = ICMPV6;
        ip.hop_limit = TTL;
        let addresses: &mut [[u8; 8]; ADDRESSES / 8] = packet.view_mut(at + Ipv6::LEN - ADDRESSES)?;
        *addresses =
            [vip[0].to_ne_bytes(), vip[1].to_ne_bytes(), client[0].to_ne_bytes(), client[1].to_ne_bytes()];
        // The pseudo-header: length, protocol, addresses (RFC 8200 §8.1).
        let pseudo = (LEN as u32 + ICMPV6 as u32).to_be();
        let pseudo = packet.sum::<ADDRESSES>(at + Ipv6::LEN - ADDRESSES, pseudo)?;
        let at = at + Ipv6::LEN;
        write_icmp(packet, at, PACKET_TOO_BIG_V6, 0, mtu)?;
        let front = packet.sum::<CHUNK>(at, pseudo)?;
        let middle = packet.sum::<CHUNK>(at + CHUNK, front)?;
        let sum = packet.sum::<{ LEN - 2 * CHUNK }>(at + 2 * CHUNK, middle)?;
        write_checksum(packet, at, sum)
    }
}

/// Answers the sender of `packet`, which goes to a VIP, that [`Outcome::fits`] bytes fit; or says why not.
#[inline(always)]
pub(crate) fn answer<P: Packet, T: Tables>(packet: &mut P, tables: &T, outcome: &mut Outcome) -> Verdict {
    let fits = outcome.fits;
    if fits == 0 {
        return Verdict::TooBig;
    }
    let Some(link) = parse::link(packet) else { return Verdict::TooBig };
    if link.is_group() {
        return Verdict::TooBig;
    }
    let Some(view) = View::new(tables) else { return Verdict::BadTable };
    let verdict = if link.ether_type() == ethernet::IPV4 {
        tell::<P, T, Ipv4>(packet, tables, &view, &link, fits)
    } else {
        tell::<P, T, Ipv6>(packet, tables, &view, &link, fits)
    };
    if verdict == Verdict::TooBigAnswered {
        // Back where it came from.
        outcome.ifindex = 0;
    }
    verdict
}

#[inline(always)]
fn tell<P: Packet, T: Tables, H: Answer>(
    packet: &mut P,
    tables: &T,
    view: &View<'_, T>,
    link: &Link,
    fits: u64,
) -> Verdict {
    let Some(ip) = packet.view::<H>(link.len) else { return Verdict::TooBig };
    if ip.len() <= H::SMALLEST || !ip.source_is_unicast() || view.is(ip.source_key(), AddressFlags::VIP) {
        return Verdict::TooBig;
    }
    if !ip.asks() {
        return Verdict::TooBigNoDf;
    }
    let limits = &view.header.hop_limits;
    if limits.total_interval == HopLimits::NEVER
        || !tables.admit(rate::word_of(ip.source_prefix(), &view.header.keys), rate::TOTAL, limits)
    {
        return Verdict::TooBigLimited;
    }
    let mtu = if fits < H::MIN_MTU as u64 { H::MIN_MTU as u64 } else { fits };
    quote::<P, H>(packet, link, mtu as u16).map_or(Verdict::NoHeadroom, |()| Verdict::TooBigAnswered)
}

/// Makes of the packet the answer that quotes it.
#[inline(always)]
fn quote<P: Packet, H: Answer>(packet: &mut P, link: &Link, mtu: u16) -> Option<()> {
    let surplus = packet.len().checked_sub(link.len + H::QUOTE)?;
    packet.cut_end(surplus)?;
    link::shift(packet, link, -(H::HEADERS as i32), H::ETHER_TYPE.to_be_bytes())?;
    H::write(packet, link.len, mtu)?;
    let ethernet: &mut Ethernet = packet.view_mut(0)?;
    core::mem::swap(&mut ethernet.source, &mut ethernet.destination);
    Some(())
}

/// Without its checksum. The MTU has 16 bits in ICMP (RFC 1191 §4) and 32 in ICMPv6; 16 are enough.
#[inline(always)]
fn write_icmp<P: Packet>(packet: &mut P, at: usize, kind: u8, code: u8, mtu: u16) -> Option<()> {
    let icmp: &mut IcmpEcho = packet.view_mut(at)?;
    icmp.kind = kind;
    icmp.code = code;
    icmp.checksum = [0; 2];
    icmp.id = [0; 2];
    icmp.sequence = mtu.to_be_bytes();
    Some(())
}

/// `sum` is that of the message, and of the pseudo-header where there is one.
#[inline(always)]
fn write_checksum<P: Packet>(packet: &mut P, at: usize, sum: u32) -> Option<()> {
    let icmp: &mut IcmpEcho = packet.view_mut(at)?;
    icmp.checksum = (!fold(sum)).to_ne_bytes();
    Some(())
}
