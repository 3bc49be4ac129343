//! The balancer's whole decision, top to bottom: parse, find the VIP, hash, choose, encapsulate.

use crate::Outcome;
use crate::abi::{
    AddressEntry, AddressFlags, Buffer, Encap, MemberFlags, TableRef, Verdict, VipEntry, VipFlags,
    address_key,
};
use crate::echo;
use crate::encap::{encapsulate, fits};
use crate::fragments;
use crate::hash::{Flow, words_v4, words_v6};
use crate::hops::List;
use crate::icmp_error::{self, About};
use crate::identity;
use crate::mtu;
use crate::packet::Packet;
use crate::parse::{self, Datagram};
use crate::quic::{self, Destination};
use crate::sight;
use crate::tables::{Tables, View};
use crate::wire::icmp::{ICMP, ICMPV6};
use crate::wire::ipv4::mapped;
use crate::wire::transport::{TCP, UDP};
use crate::wire::{Ipv4, Ipv6, Ports, Private, Tcp, Udp, ethernet};

/// Decides what becomes of `packet` and changes it accordingly.
#[inline(always)]
pub fn run<P: Packet, T: Tables>(packet: &mut P, tables: &T) -> Outcome {
    let mut outcome =
        Outcome { verdict: Verdict::BadTable, vip: 0, member: 0, ifindex: 0, fits: 0, clamped: 0 };
    outcome.verdict = match decide(packet, tables, &mut outcome) {
        Err(Verdict::TooBig) => mtu::answer(packet, tables, &mut outcome),
        Err(Verdict::Identity) => identity::hand_over(packet, tables),
        Ok(verdict) | Err(verdict) => verdict,
    };
    if outcome.clamped != 0 {
        packet.clamp_mss(outcome.clamped as usize, outcome.fits);
    }
    outcome
}

#[inline(always)]
fn decide<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    outcome: &mut Outcome,
) -> Result<Verdict, Verdict> {
    let link = parse::link(packet).ok_or(Verdict::TruncatedLink)?;
    let view = View::new(tables).ok_or(Verdict::BadTable)?;
    match link.ether_type() {
        ethernet::IPV4 => {
            let ip: &Ipv4 = packet.view(link.len).ok_or(Verdict::MalformedIpv4)?;
            sight::v4(tables, ip);
            let ours = our_address(&view, address_key(mapped(ip.destination)))?;
            let mut datagram = parse::ipv4(packet, &link, ip)?;
            let found = if datagram.protocol() != ICMP {
                let addresses = words_v4(ip.source, ip.destination);
                find(packet, tables, &view, &ours, &datagram, addresses, outcome)?
            } else if icmp_error::is_v4(packet, &datagram) {
                let about = icmp_error::v4(packet, &datagram, ip.destination)?;
                find_quoted(&view, &ours, &mut datagram, about)?
            } else {
                let source_is_vip = view.is(address_key(mapped(ip.source)), AddressFlags::VIP);
                return Ok(echo::answer::<P, Ipv4>(packet, &link, &datagram, source_is_vip));
            };
            forward(packet, tables, &datagram, found, view.header, outcome)
        }
        ethernet::IPV6 => {
            let ip: &Ipv6 = packet.view(link.len).ok_or(Verdict::MalformedIpv6)?;
            sight::v6(tables, ip);
            let ours = our_address(&view, address_key(ip.destination))?;
            let mut datagram = parse::ipv6(packet, &link, ip)?;
            let found = if datagram.protocol() != ICMPV6 {
                let addresses = words_v6(ip.source, ip.destination);
                find(packet, tables, &view, &ours, &datagram, addresses, outcome)?
            } else if icmp_error::is_v6(packet, &datagram) {
                let about = icmp_error::v6(packet, &datagram, ip.destination)?;
                find_quoted(&view, &ours, &mut datagram, about)?
            } else {
                let source_is_vip = view.is(address_key(ip.source), AddressFlags::VIP);
                return Ok(echo::answer::<P, Ipv6>(packet, &link, &datagram, source_is_vip));
            };
            forward(packet, tables, &datagram, found, view.header, outcome)
        }
        _ => Err(Verdict::NotIp),
    }
}

/// An address with VIPs.
struct Ours<'a> {
    entry: &'a AddressEntry,
    /// Of the address.
    hash: u64,
}

/// The service of a packet and the hash of its flow; in words, like all that is handed on.
struct Found {
    /// Word of the VIP.
    vip: u64,
    hash: u64,
    /// Under the previous seed, while the seed is being changed.
    previous_hash: u64,
    /// Whom its connection ID names.
    named: Destination,
}

impl Found {
    #[inline(always)]
    fn entry(&self) -> VipEntry {
        VipEntry::from_word(self.vip)
    }
}

/// Which service the packet is for, and its place in the tables.
#[inline(always)]
fn find<P: Packet, T: Tables, const N: usize>(
    packet: &P,
    tables: &T,
    view: &View<'_, T>,
    ours: &Ours<'_>,
    datagram: &Datagram,
    addresses: [u64; N],
    outcome: &mut Outcome,
) -> Result<Found, Verdict> {
    let keys = &view.header.keys;
    // Without ports any fragment tells what the whole would, and so it does where ports do not matter.
    let is_remembered = datagram.is_fragment()
        && matches!(datagram.protocol(), TCP | UDP)
        && ours.entry.fragments(datagram.protocol()) == 0;
    let tag = || fragments::tag(addresses, datagram.protocol(), datagram.identification(), keys);
    let (hash, ports, vip) = if is_remembered && datagram.is_later_fragment() {
        let (hash, vip) = fragments::recall(tables, tag()).ok_or(Verdict::Fragment)?;
        (hash, 0, tables.vip(vip).filter(|word| *word != 0).ok_or(Verdict::Fragment)?)
    } else {
        let (ports, vip) = service(packet, tables, view, ours, datagram)?;
        (0, ports, vip)
    };
    let entry = VipEntry::from_word(vip);
    let mut found = Found { vip, hash, previous_hash: 0, named: Destination::NONE };
    if is_remembered && datagram.is_later_fragment() {
        return Ok(found);
    }
    let mut flow = Flow { addresses, ports, protocol: datagram.protocol() as u64 };
    if entry.flags & VipFlags::SPECIAL_FLOW != 0 {
        if entry.flags & VipFlags::IDENTITY != 0 && identity::is_question(packet, datagram) {
            outcome.vip = entry.number;
            return Err(Verdict::Identity);
        }
        flow = flow.hashed_by(entry.flags);
        found.named = named(packet, view, datagram, &entry);
    }
    found.hash = flow.hash(keys);
    tables.note(|event| event.hash = found.hash);
    if is_remembered {
        fragments::remember(tables, tag(), found.hash, entry.number);
        found.hash = fragments::upper_half(found.hash);
    } else if view.header.seed_change != 0 {
        found.previous_hash = flow.hash(&view.header.previous_keys);
    }
    Ok(found)
}

/// The same for the ICMP error `datagram`: those of the packets of the flow that it is about.
#[inline(always)]
fn find_quoted<T: Tables, const N: usize>(
    view: &View<'_, T>,
    ours: &Ours<'_>,
    datagram: &mut Datagram,
    about: About<N>,
) -> Result<Found, Verdict> {
    let port = about.port();
    datagram.about(about.flow.protocol);
    let vip = view.vip(ours.entry, ours.hash, datagram.protocol(), port);
    if vip == 0 {
        return Err(unmatched(view, Verdict::IcmpErrorService));
    }
    let flow = about.flow.hashed_by(VipEntry::from_word(vip).flags);
    let changes = view.header.seed_change != 0;
    let previous_hash = if changes { flow.hash(&view.header.previous_keys) } else { 0 };
    let hash = flow.hash(&view.header.keys);
    view.tables.note(|event| event.hash = hash);
    Ok(Found { vip, hash, previous_hash, named: Destination::NONE })
}

/// The VIPs at `destination`. What is not ours passes before anything of it is judged.
#[inline(always)]
fn our_address<'a, T: Tables>(view: &View<'a, T>, destination: [u64; 2]) -> Result<Ours<'a>, Verdict> {
    let hash = view.hash(destination);
    match view.hashed_address(destination, hash) {
        Some(entry) if entry.flags & AddressFlags::VIP != 0 => Ok(Ours { entry, hash }),
        _ if view.in_prefix(destination) => Err(unmatched(view, Verdict::UnmatchedPrefix)),
        _ => Err(Verdict::NotVip),
    }
}

/// Passing an unmatched packet lets a forwarding host bounce it with its router, so it is dropped
/// unless the operator says otherwise.
#[inline(always)]
fn unmatched<T: Tables>(view: &View<'_, T>, verdict: Verdict) -> Verdict {
    if view.header.unmatched_pass != 0 { Verdict::UnmatchedPass } else { verdict }
}

/// Ports (0 where the protocol has none) and the word of the VIP that serves the packet.
#[inline(always)]
fn service<P: Packet, T: Tables>(
    packet: &P,
    tables: &T,
    view: &View<'_, T>,
    ours: &Ours<'_>,
    datagram: &Datagram,
) -> Result<(u64, u64), Verdict> {
    let needed = match datagram.protocol() {
        TCP => Tcp::LEN,
        UDP => Udp::LEN,
        _ => 0,
    };
    let (words, port) = if needed == 0 {
        (0, 0)
    } else if datagram.is_later_fragment() {
        let vip = tables.vip(ours.entry.fragments(datagram.protocol())).ok_or(Verdict::BadTable)?;
        return Ok((0, vip));
    } else {
        if !datagram.holds(needed) {
            return Err(Verdict::TruncatedTransport);
        }
        let ports: &Ports = packet.view(datagram.transport).ok_or(Verdict::TruncatedTransport)?;
        sight::transport(packet, tables, datagram.transport, datagram.protocol());
        let [a, b] = ports.source;
        let [c, d] = ports.destination;
        (u32::from_le_bytes([a, b, c, d]) as u64, u16::from_be_bytes(ports.destination))
    };
    match view.vip(ours.entry, ours.hash, datagram.protocol(), port) {
        0 => Err(unmatched(view, Verdict::UnmatchedService)),
        vip => Ok((words, vip)),
    }
}

/// The member that the connection ID of a QUIC packet names. QUIC does not fragment (RFC 9000 §14).
#[inline(always)]
fn named<P: Packet, T: Tables>(
    packet: &P,
    view: &View<'_, T>,
    datagram: &Datagram,
    vip: &VipEntry,
) -> Destination {
    let is_quic = vip.flags & VipFlags::QUIC != 0 && datagram.protocol() == UDP && !datagram.is_fragment();
    if !is_quic || !datagram.holds(Udp::LEN + quic::LOOKED_AT) {
        return Destination::NONE;
    }
    match quic::named(packet, datagram.transport + Udp::LEN, vip.server_ids) {
        Some(named) => Destination::new(view.server(vip.pool, named.server_id), named.by_server),
        None => Destination::NONE,
    }
}

/// Slot, members, header.
#[inline(always)]
fn forward<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    datagram: &Datagram,
    found: Found,
    header: &Buffer,
    outcome: &mut Outcome,
) -> Result<Verdict, Verdict> {
    let vip = found.entry();
    outcome.vip = vip.number;
    let list = if found.named.is_certain() {
        List::of(found.named.member())
    } else {
        listed(packet, tables, datagram, &found, header)?
    };
    outcome.member = list.first();
    if outcome.member == 0 {
        return Err(Verdict::EmptyTable);
    }
    let member = tables.member(outcome.member).ok_or(Verdict::BadTable)?;
    let encap = Encap::from_number(member.encap).ok_or(Verdict::BadTable)?;
    if member.flags & MemberFlags::RESOLVED == 0 {
        return Err(Verdict::NoNeighbour);
    }
    outcome.ifindex = member.ifindex;
    let hops = list.rest();
    let sent = encapsulate(packet, tables, member, encap, datagram, hops, found.hash);
    if sent == Err(Verdict::TooBig) && !datagram.is_error() && !datagram.is_later_fragment() {
        outcome.fits = fits(member, encap, hops.len() as usize);
    }
    if vip.flags & VipFlags::MSS_CLAMP != 0 && sent.is_ok() {
        outcome.clamped = datagram.len as u64;
        outcome.fits = fits(member, encap, Private::MAX_HOPS as usize);
    }
    let by_id = found.named.member() == outcome.member;
    sent.map(|verdict| if by_id { Verdict::ForwardedQuic } else { verdict })
}

/// The members for a packet that the tables place.
#[inline(always)]
fn listed<P: Packet, T: Tables>(
    packet: &P,
    tables: &T,
    datagram: &Datagram,
    found: &Found,
    header: &Buffer,
) -> Result<List, Verdict> {
    let vip = found.entry();
    let mut list = choose(tables, tables.pool_table(vip.pool), found.hash)?;
    // A backend takes every fragment for its own: nobody can ask sockets for it.
    let has_second_chance = vip.flags & VipFlags::SECOND_CHANCE != 0 && !datagram.is_fragment();
    if header.seed_change != 0 && !datagram.is_fragment() {
        let old = choose(tables, tables.pool_previous(vip.pool), found.previous_hash);
        list = list.with_second(old.map_or(0, |old| old.first()));
    }
    // What may be a first packet goes to another than the owner only if that one may hold flows of the slot.
    let named = found.named.member();
    if !has_second_chance && named != 0 && list.contains(named) {
        return Ok(List::of(named));
    }
    if list.first() == 0 {
        // Nobody takes new flows. Those that began earlier live on with the members listed.
        if !has_second_chance || is_new(packet, datagram) {
            return Err(Verdict::EmptyTable);
        }
        list = list.rest();
    }
    Ok(if !has_second_chance {
        list.alone()
    } else if datagram.protocol() == UDP {
        // Only a connected socket tells that a backend holds the flow: a new one must come back.
        list.closed()
    } else {
        list
    })
}

/// The members of the slot of `hash`.
#[inline(always)]
fn choose<T: Tables>(tables: &T, table: Option<u64>, hash: u64) -> Result<List, Verdict> {
    let table = TableRef::from_word(table.ok_or(Verdict::BadTable)?);
    if table.bits == 0 {
        return Err(Verdict::EmptyTable);
    }
    List::of_slot(tables, table, hash).ok_or(Verdict::BadTable)
}

/// Whether the packet is the first of its flow. What UDP does not tell is taken for a packet of a flow
/// that lives: nobody breaks, and a new one begins on a backend that leaves.
#[inline(always)]
fn is_new<P: Packet>(packet: &P, datagram: &Datagram) -> bool {
    if datagram.is_error() {
        return false;
    }
    if datagram.protocol() != TCP {
        return datagram.protocol() != UDP;
    }
    match packet.view::<Tcp>(datagram.transport) {
        Some(tcp) => tcp.is_opening(),
        None => true,
    }
}
