//! The packet that an ICMP error quotes: one that this service has sent.

use crate::packet::Packet;
use crate::wire::ipv6::{self, FragmentHeader};
use crate::wire::{Ipv4, Ipv6};

/// Where the transport header of a quoted packet starts; in words, like all that is handed on.
pub(crate) struct Quoted {
    pub(crate) transport: usize,
    protocol: u64,
}

impl Quoted {
    /// Protocol of the transport.
    #[inline(always)]
    pub(crate) fn protocol(&self) -> u8 {
        self.protocol as u8
    }
}

/// The quoted packet whose header `ip` starts at `at`; `None` where it is damaged, or a later fragment,
/// which has no ports.
#[inline(always)]
pub(crate) fn v4(ip: &Ipv4, at: usize) -> Option<Quoted> {
    if !ip.is_sane() || ip.is_later_fragment() {
        return None;
    }
    Some(Quoted { transport: at + ip.header_len(), protocol: ip.protocol as u64 })
}

/// The same for IPv6. Of extension headers only the one of a fragment is followed: servers send no others.
#[inline(always)]
pub(crate) fn v6<P: Packet>(packet: &P, ip: &Ipv6, at: usize) -> Option<Quoted> {
    if !ip.is_sane() {
        return None;
    }
    let transport = at + Ipv6::LEN;
    if ip.next_header != ipv6::FRAGMENT {
        return Some(Quoted { transport, protocol: ip.next_header as u64 });
    }
    let fragment: &FragmentHeader = packet.view(transport)?;
    if fragment.is_later() {
        return None;
    }
    Some(Quoted { transport: transport + FragmentHeader::LEN, protocol: fragment.next_header as u64 })
}
