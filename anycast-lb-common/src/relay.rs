//! The last step of a hop, outside XDP: the kernel finds the neighbour.
//!
//! XDP has readdressed the packet and passed it on. At the ingress hook of traffic control the
//! kernel sends it by its own neighbour table (`bpf_redirect_neigh`), resolving the next backend if
//! it has to. That needs neither forwarding nor an entry in the table, and no look-up of ours can
//! go stale.
//!
//! The packet alone tells that it is a hop, so nobody else may be able to make such a packet:
//!
//! * XDP drops what comes off the wire with an address of ours as its source
//!   ([`Verdict::Stranger`](crate::abi::Verdict::Stranger)). It does not look at headers that make
//!   no sense, at later fragments, nor behind more than two VLAN tags; neither are those hops here.
//! * What XDP took out of a tunnel may bear any source, but goes to a VIP, and no hop does.

use crate::abi::AddressFlags;
use crate::hop::Outer;
use crate::packet::Packet;
use crate::parse;
use crate::tables::{Tables, View};
use crate::wire::transport::UDP;
use crate::wire::{Ethernet, Ipv4, Ipv6, Udp, ethernet, gue};

/// Whether the packet is one that [`backend::run`](crate::backend::run) readdressed: whole GUE from
/// an address of ours to another allowed sender.
#[inline(always)]
pub fn is_hop<P: Packet, T: Tables>(packet: &P, tables: &T) -> bool {
    decide(packet, tables).unwrap_or(false)
}

#[inline(always)]
fn decide<P: Packet, T: Tables>(packet: &P, tables: &T) -> Option<bool> {
    let link = parse::link(packet)?;
    // The kernel keeps the outermost tag beside the frame; with another one inside it would not
    // send the packet.
    if link.len != Ethernet::LEN {
        return None;
    }
    let (source, destination, protocol, payload) = match link.ether_type() {
        ethernet::IPV4 => {
            let ip: &Ipv4 = packet.view(link.len)?;
            if !ip.is_sane() || ip.is_fragment() {
                return None;
            }
            (Ipv4::key(&ip.source), Ipv4::key(&ip.destination), ip.protocol, link.len + ip.header_len())
        }
        ethernet::IPV6 => {
            let ip: &Ipv6 = packet.view(link.len)?;
            if !ip.is_sane() {
                return None;
            }
            (Ipv6::key(&ip.source), Ipv6::key(&ip.destination), ip.next_header, link.len + Ipv6::LEN)
        }
        _ => return None,
    };
    if protocol != UDP || packet.view::<Udp>(payload)?.ports.destination != gue::PORT.to_be_bytes() {
        return None;
    }
    let view = View::new(tables)?;
    let is_hop = view.is(source, AddressFlags::LOCAL)
        && view.address(destination).is_none()
        && view.in_prefix(destination);
    Some(is_hop)
}
