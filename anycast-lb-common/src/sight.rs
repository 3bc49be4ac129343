//! What is noted of a packet on its way through the programs, for those that report it.
//!
//! The plain programs note nothing ([`Tables::note`] is empty there), and what would have been noted is not even
//! read: the compiler removes it.

use crate::abi::address_key;
use crate::packet::Packet;
use crate::tables::Tables;
use crate::wire::ipv4::mapped;
use crate::wire::transport::{TCP, UDP};
use crate::wire::{Ipv4, Ipv6, Ports, Tcp};

/// Notes addresses and protocol.
#[inline(always)]
pub(crate) fn v4<T: Tables>(tables: &T, ip: &Ipv4) {
    tables.note(|event| {
        event.source = address_key(mapped(ip.source));
        event.destination = address_key(mapped(ip.destination));
        event.protocol = ip.protocol;
    });
}

/// The same for IPv6, without its extension headers: [`transport`] says what follows them.
#[inline(always)]
pub(crate) fn v6<T: Tables>(tables: &T, ip: &Ipv6) {
    tables.note(|event| {
        event.source = address_key(ip.source);
        event.destination = address_key(ip.destination);
        event.protocol = ip.next_header;
    });
}

/// Notes what the header of `protocol` at `at` tells of the flow.
#[inline(always)]
pub(crate) fn transport<P: Packet, T: Tables>(packet: &P, tables: &T, at: usize, protocol: u8) {
    tables.note(|event| {
        event.protocol = protocol;
        if !matches!(protocol, TCP | UDP) {
            return;
        }
        if let Some(ports) = packet.view::<Ports>(at) {
            event.source_port = u16::from_be_bytes(ports.source);
            event.destination_port = u16::from_be_bytes(ports.destination);
        }
        if protocol == TCP
            && let Some(tcp) = packet.view::<Tcp>(at)
        {
            event.tcp_flags = tcp.flags;
        }
    });
}
