//! Does this backend hold the flow of the inner packet? The table of decisions, top to bottom.

use bytemuck::Pod;

use crate::decap::Inner;
use crate::packet::Packet;
use crate::quote;
use crate::sockets::{Sockets, TcpSocket, Tuple, ports, state};
use crate::wire::icmp::{self, ICMP, ICMPV6, IcmpEcho};
use crate::wire::transport::{TCP, UDP};
use crate::wire::{Ipv4, Ipv6, Ports, Tcp};

/// Whether the inner packet is to be accepted here whatever other backends may hold.
#[inline(always)]
pub(crate) fn accepts<P: Sockets>(packet: &P, inner: &Inner) -> bool {
    // A fragment, or a protocol whose sockets cannot be looked up: nobody else knows better.
    if inner.is_fragment() {
        return true;
    }
    if inner.is_v4() { accepts_v4(packet, inner) } else { accepts_v6(packet, inner) }.unwrap_or(true)
}

/// `None` where the packet is too short to tell, which the kernel may find out for itself.
#[inline(always)]
fn accepts_v4<P: Sockets>(packet: &P, inner: &Inner) -> Option<bool> {
    let ip: &Ipv4 = packet.view(inner.start)?;
    let (source, destination) = (ip.source, ip.destination);
    match inner.protocol() {
        TCP | UDP => {
            let ports = ports_at(packet, inner.transport)?;
            let flow = Tuple::v4(source, destination, ports);
            transport::<P, Ipv4, 2>(packet, inner, &flow)
        }
        ICMP if icmp::is_error(packet.view(inner.transport)?) => {
            let quoted = inner.transport + IcmpEcho::LEN;
            let ip: &Ipv4 = packet.view(quoted)?;
            let (ours, client) = (ip.source, ip.destination);
            let quoted = quote::v4(ip, quoted)?;
            let ports = reversed_ports_at(packet, quoted.transport)?;
            Some(has_flow(packet, &Tuple::v4(client, ours, ports), quoted.protocol()))
        }
        _ => None,
    }
}

#[inline(always)]
fn accepts_v6<P: Sockets>(packet: &P, inner: &Inner) -> Option<bool> {
    let ip: &Ipv6 = packet.view(inner.start)?;
    let (source, destination) = (ip.source, ip.destination);
    match inner.protocol() {
        TCP | UDP => {
            let ports = ports_at(packet, inner.transport)?;
            let flow = Tuple::v6(source, destination, ports);
            transport::<P, Ipv6, 5>(packet, inner, &flow)
        }
        ICMPV6 if icmp::is_error_v6(packet.view(inner.transport)?) => {
            let quoted = inner.transport + IcmpEcho::LEN;
            let ip: &Ipv6 = packet.view(quoted)?;
            let (ours, client) = (ip.source, ip.destination);
            let quoted = quote::v6(packet, ip, quoted)?;
            let ports = reversed_ports_at(packet, quoted.transport)?;
            Some(has_flow(packet, &Tuple::v6(client, ours, ports), quoted.protocol()))
        }
        _ => None,
    }
}

#[inline(always)]
fn ports_at<P: Packet>(packet: &P, at: usize) -> Option<u64> {
    let p: &Ports = packet.view(at)?;
    Some(ports(p.source, p.destination))
}

#[inline(always)]
fn reversed_ports_at<P: Packet>(packet: &P, at: usize) -> Option<u64> {
    let p: &Ports = packet.view(at)?;
    Some(ports(p.destination, p.source))
}

/// The flow of a packet that an ICMP error quotes: any socket of it but a listening one, and one that
/// is closed: it has no use for errors, and a later connection of the same ports may, elsewhere.
#[inline(always)]
fn has_flow<P: Sockets, const N: usize>(packet: &P, flow: &Tuple<N>, protocol: u8) -> bool {
    match protocol {
        TCP => {
            let Some(socket) = packet.tcp(flow) else { return false };
            let state = socket.state();
            state != state::LISTEN && state != state::TIME_WAIT
        }
        UDP => packet.has_connected_udp(flow),
        _ => true,
    }
}

#[inline(always)]
fn transport<P: Sockets, H: Pod, const N: usize>(packet: &P, inner: &Inner, flow: &Tuple<N>) -> Option<bool> {
    if inner.protocol() == UDP {
        return Some(packet.has_connected_udp(flow));
    }
    let tcp: &Tcp = packet.view(inner.transport)?;
    if tcp.is_opening() {
        return Some(true);
    }
    let acknowledges = tcp.flags & Tcp::ACK != 0;
    let acknowledgement = u32::from_be_bytes(tcp.acknowledgement);
    let sequence = u32::from_be_bytes(tcp.sequence);
    let Some(socket) = packet.tcp(flow) else { return Some(false) };
    Some(match socket.state() {
        // A cookie is all that is left of a SYN that a flooded host answered.
        state::LISTEN => socket.gave_cookie::<H>(packet, inner.start, inner.transport),
        // A retransmitted SYN that met a changed table leaves requests on two backends; the one
        // whose SYN-ACK the client acknowledges is the right one.
        state::NEW_SYN_RECV => {
            // Not `is_none_or`: the compiler compares before it looks whether there is something, and the
            // verifier forbids reading what is not there.
            let acknowledged = acknowledgement.wrapping_sub(1);
            !acknowledges || socket.request_isn().unwrap_or(acknowledged) == acknowledged
        }
        // Clients use ports again. The socket of a connection that was closed here would swallow the
        // packets of a later one that another backend holds.
        state::TIME_WAIT => socket
            .remembered()
            .is_none_or(|closed| closed.has(sequence, acknowledges.then_some(acknowledgement))),
        _ => true,
    })
}
