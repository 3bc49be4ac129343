//! The balancer's whole decision, top to bottom: parse, find the VIP, hash, choose, encapsulate.

use crate::Outcome;
use crate::abi::{
    AddressEntry, AddressFlags, Encap, FlowKeys, MemberFlags, MemberNumber, TableRef, Verdict, VipNumber,
    address_key,
};
use crate::echo;
use crate::encap::encapsulate;
use crate::hash::{Flow, words_v4, words_v6};
use crate::packet::Packet;
use crate::parse::{self, Datagram};
use crate::tables::{Tables, View};
use crate::wire::icmp::{ICMP, ICMPV6};
use crate::wire::ipv4::mapped;
use crate::wire::transport::{TCP, TCP_MIN_LEN, UDP};
use crate::wire::{Ipv4, Ipv6, Ports, Udp, ethernet};

/// Decides what becomes of `packet` and changes it accordingly.
#[inline(always)]
pub fn run<P: Packet, T: Tables>(packet: &mut P, tables: &T) -> Outcome {
    let mut outcome = Outcome { verdict: Verdict::BadTable, vip: 0, member: 0, ifindex: 0 };
    outcome.verdict = match decide(packet, tables, &mut outcome) {
        Ok(verdict) | Err(verdict) => verdict,
    };
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
    match link.ether_type {
        ethernet::IPV4 => {
            let ip: &Ipv4 = packet.view(link.len).ok_or(Verdict::MalformedIpv4)?;
            let address = our_address(&view, address_key(mapped(ip.destination)))?;
            let datagram = parse::ipv4(packet, &link, ip)?;
            if datagram.protocol == ICMP {
                let source_is_vip = view.is(address_key(mapped(ip.source)), AddressFlags::VIP);
                return Ok(echo::answer::<P, Ipv4>(packet, &link, &datagram, source_is_vip));
            }
            let addresses = words_v4(ip.source, ip.destination);
            let (ports, vip) = service(packet, &view, address, &datagram)?;
            outcome.vip = vip;
            let flow = Flow { addresses, ports, protocol: datagram.protocol };
            forward(packet, tables, &datagram, flow, &view.header.keys, outcome)
        }
        ethernet::IPV6 => {
            let ip: &Ipv6 = packet.view(link.len).ok_or(Verdict::MalformedIpv6)?;
            let address = our_address(&view, address_key(ip.destination))?;
            let datagram = parse::ipv6(packet, &link, ip)?;
            if datagram.protocol == ICMPV6 {
                let source_is_vip = view.is(address_key(ip.source), AddressFlags::VIP);
                return Ok(echo::answer::<P, Ipv6>(packet, &link, &datagram, source_is_vip));
            }
            let addresses = words_v6(ip.source, ip.destination);
            let (ports, vip) = service(packet, &view, address, &datagram)?;
            outcome.vip = vip;
            let flow = Flow { addresses, ports, protocol: datagram.protocol };
            forward(packet, tables, &datagram, flow, &view.header.keys, outcome)
        }
        _ => Err(Verdict::NotIp),
    }
}

/// The VIPs at `destination`. What is not ours passes before anything of it is judged.
#[inline(always)]
fn our_address<'a, T: Tables>(
    view: &View<'a, T>,
    destination: [u64; 2],
) -> Result<&'a AddressEntry, Verdict> {
    match view.address(destination) {
        Some(entry) if entry.flags & AddressFlags::VIP != 0 => Ok(entry),
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

/// Ports (0 where the protocol has none) and the VIP that serves the packet.
#[inline(always)]
fn service<P: Packet, T: Tables>(
    packet: &P,
    view: &View<'_, T>,
    address: &AddressEntry,
    datagram: &Datagram,
) -> Result<(u32, VipNumber), Verdict> {
    let needed = match datagram.protocol {
        TCP => TCP_MIN_LEN,
        UDP => Udp::LEN,
        _ => 0,
    };
    let (words, port) = if needed == 0 {
        (0, 0)
    } else {
        if !datagram.holds(needed) {
            return Err(Verdict::TruncatedTransport);
        }
        let ports: &Ports = packet.view(datagram.transport).ok_or(Verdict::TruncatedTransport)?;
        let [a, b] = ports.source;
        let [c, d] = ports.destination;
        (u32::from_le_bytes([a, b, c, d]), u16::from_be_bytes(ports.destination))
    };
    match view.vip(address, datagram.protocol, port) {
        0 => Err(unmatched(view, Verdict::UnmatchedService)),
        vip => Ok((words, vip)),
    }
}

/// Hash, slot, member, header.
#[inline(always)]
fn forward<P: Packet, T: Tables, const N: usize>(
    packet: &mut P,
    tables: &T,
    datagram: &Datagram,
    flow: Flow<N>,
    keys: &FlowKeys,
    outcome: &mut Outcome,
) -> Result<Verdict, Verdict> {
    let hash = flow.hash(keys);
    let number = choose(tables, outcome.vip, hash)?;
    outcome.member = number;
    let member = tables.member(number).ok_or(Verdict::BadTable)?;
    let encap = Encap::from_number(member.encap).ok_or(Verdict::BadTable)?;
    if member.flags & MemberFlags::RESOLVED == 0 {
        return Err(Verdict::NoNeighbour);
    }
    outcome.ifindex = member.ifindex;
    encapsulate(packet, member, encap, datagram, hash)
}

/// The member that owns the slot of `hash` in the pool of `vip`.
#[inline(always)]
fn choose<T: Tables>(tables: &T, vip: VipNumber, hash: u64) -> Result<MemberNumber, Verdict> {
    let vip = tables.vip(vip).ok_or(Verdict::BadTable)?;
    let table = TableRef::from_word(tables.pool_table(vip.pool).ok_or(Verdict::BadTable)?);
    if table.bits == 0 {
        return Err(Verdict::EmptyTable);
    }
    let slot = tables.slot(table.base.wrapping_add(table.slot(hash))).ok_or(Verdict::BadTable)?;
    match slot.member(0) {
        0 => Err(Verdict::EmptyTable),
        owner => Ok(owner),
    }
}
