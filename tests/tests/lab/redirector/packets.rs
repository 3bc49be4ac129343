//! Packets as an ingress node would tunnel them.

use std::net::IpAddr;

use anyhow::{Context, Result};
use etherparse::icmpv4::DestUnreachableHeader;
use etherparse::{Icmpv4Type, Icmpv6Type, PacketBuilder, PacketBuilderStep};
use xtask::lab::Family;
use xtask::lab::topology;

use super::{TCP_SERVICE, UDP_SERVICE, client, vip};

/// IP protocol numbers of what GUE carries.
const IPV4: u8 = 4;
const IPV6: u8 = 41;
/// Hop limit of everything.
const TTL: u8 = 64;
/// How much of a packet an error quotes: the header and as much of what follows as errors must.
const QUOTED: usize = 8;

/// The backends that are left.
pub(super) struct List {
    pub(super) hops: Vec<IpAddr>,
    /// How many of them were asked.
    pub(super) next: u8,
}

impl List {
    /// GUE with this list and a packet inside; hops are of the outer family.
    pub(super) fn packet(&self, inner: Family, outer: Family, packet: &[u8]) -> Vec<u8> {
        let kind = u8::from(outer == Family::V6);
        let mut private = vec![0, kind, self.next, self.hops.len() as u8];
        for hop in &self.hops {
            match hop {
                IpAddr::V4(address) => private.extend(address.octets()),
                IpAddr::V6(address) => private.extend(address.octets()),
            }
        }
        let protocol = if inner == Family::V4 { IPV4 } else { IPV6 };
        [&[(private.len() / 4) as u8, protocol, 0, 0], &private[..], packet].concat()
    }
}

/// A segment to the service.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    /// The client's port.
    pub(super) source: u16,
    pub(super) sequence: u32,
    pub(super) acknowledgement: u32,
    /// SYN instead of ACK.
    pub(super) opens: bool,
    pub(super) data: Vec<u8>,
}

impl Segment {
    pub(super) fn packet(&self, family: Family) -> Result<Vec<u8>> {
        let tcp = ip(client(family), vip(family))?.tcp(self.source, TCP_SERVICE, self.sequence, 1000);
        let tcp = if self.opens { tcp.syn() } else { tcp.ack(self.acknowledgement) };
        let mut packet = Vec::new();
        tcp.write(&mut packet, &self.data)?;
        Ok(packet)
    }
}

pub(super) fn datagram(family: Family, source: u16, data: &[u8]) -> Result<Vec<u8>> {
    let mut packet = Vec::new();
    ip(client(family), vip(family))?.udp(source, UDP_SERVICE).write(&mut packet, data)?;
    Ok(packet)
}

/// What the router says about a segment of the service to the client; `answered` is the client's
/// next segment, which tells the numbers.
pub(super) fn too_big(family: Family, answered: &Segment, mtu: u16) -> Result<Vec<u8>> {
    let mut segment = Vec::new();
    ip(vip(family), client(family))?
        .tcp(TCP_SERVICE, answered.source, answered.acknowledgement, 1000)
        .ack(answered.sequence)
        .write(&mut segment, &[0; 2000])?;
    let router = topology::client(0, true);
    let mut packet = Vec::new();
    match family {
        Family::V4 => {
            segment.truncate(20 + QUOTED);
            let what = DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: mtu };
            ip(router.v4.into(), vip(family))?
                .icmpv4(Icmpv4Type::DestinationUnreachable(what))
                .write(&mut packet, &segment)?;
        }
        Family::V6 => {
            segment.truncate(40 + QUOTED);
            ip(router.v6.into(), vip(family))?
                .icmpv6(Icmpv6Type::PacketTooBig { mtu: mtu.into() })
                .write(&mut packet, &segment)?;
        }
    }
    Ok(packet)
}

fn ip(source: IpAddr, destination: IpAddr) -> Result<PacketBuilderStep<etherparse::IpHeaders>> {
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            Ok(PacketBuilder::ipv4(source.octets(), destination.octets(), TTL))
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            Ok(PacketBuilder::ipv6(source.octets(), destination.octets(), TTL))
        }
        _ => None.context("addresses of two families"),
    }
}
