//! Health checks that go the way of clients' packets.
//!
//! What a marked socket of an ingress node sends to a VIP is put into the tunnel to the backend that the mark
//! names ([`HEALTH_MARK`](crate::abi::HEALTH_MARK)), without a list: that backend answers, or nobody. So a backend
//! fails its check that does not know the VIP or takes nothing out of the tunnel. The answer comes as it comes to
//! clients, straight from the VIP.
//!
//! It happens where packets leave the host (traffic control). Nothing is counted: counters are of clients' traffic.

use crate::abi::{Encap, Member, MemberFlags, MemberNumber};
use crate::encap::encapsulate;
use crate::hash::{Flow, words_v4, words_v6};
use crate::hops::List;
use crate::packet::Packet;
use crate::parse::{self, Datagram};
use crate::tables::{Tables, View};
use crate::wire::transport::{TCP, UDP};
use crate::wire::{Ipv4, Ipv6, Ports, ethernet};

/// A packet that leaves the host, of which a tunnel's header can be put in front.
pub trait Leaving: Packet {
    /// Says which header the room is for that is made next ([`Packet::move_start`]); the kernel wants to know,
    /// for the checksum that a NIC may have to fill in.
    fn announce(&mut self, encap: Encap);
}

/// Puts a marked packet into the tunnel to `number`. The interface that it leaves by, or `None` where it cannot be
/// sent: there is no such backend or no way to it, or it is no packet to a VIP.
#[inline(always)]
pub fn run<P: Leaving, T: Tables>(packet: &mut P, tables: &T, number: MemberNumber) -> Option<u32> {
    let link = parse::link(packet)?;
    let view = View::new(tables)?;
    let keys = &view.header.keys;
    match link.ether_type() {
        ethernet::IPV4 => {
            let ip: &Ipv4 = packet.view(link.len)?;
            let datagram = parse::ipv4(packet, &link, ip).ok()?;
            let addresses = words_v4(ip.source, ip.destination);
            let flow =
                Flow { addresses, ports: ports(packet, &datagram), protocol: datagram.protocol() as u64 };
            send(packet, tables, &datagram, flow.hash(keys), number)
        }
        ethernet::IPV6 => {
            let ip: &Ipv6 = packet.view(link.len)?;
            let datagram = parse::ipv6(packet, &link, ip).ok()?;
            let addresses = words_v6(ip.source, ip.destination);
            let flow =
                Flow { addresses, ports: ports(packet, &datagram), protocol: datagram.protocol() as u64 };
            send(packet, tables, &datagram, flow.hash(keys), number)
        }
        _ => None,
    }
}

#[inline(always)]
fn send<P: Leaving, T: Tables>(
    packet: &mut P,
    tables: &T,
    datagram: &Datagram,
    hash: u64,
    number: MemberNumber,
) -> Option<u32> {
    let member: &Member = tables.member(number)?;
    if number == 0 || member.flags & MemberFlags::RESOLVED == 0 {
        return None;
    }
    let encap = Encap::from_number(member.encap)?;
    packet.announce(encap);
    encapsulate(packet, tables, member, encap, datagram, List::default(), hash).ok()?;
    Some(member.ifindex)
}

/// As [`Flow::ports`]. What has none, or is a later fragment, is told by its addresses.
#[inline(always)]
fn ports<P: Packet>(packet: &P, datagram: &Datagram) -> u64 {
    if datagram.is_fragment() || !matches!(datagram.protocol(), TCP | UDP) {
        return 0;
    }
    let ports: Option<&Ports> = packet.view(datagram.transport);
    ports.map_or(0, |ports| {
        let ([a, b], [c, d]) = (ports.source, ports.destination);
        u32::from_le_bytes([a, b, c, d]) as u64
    })
}
