//! Where later fragments, which tell no port, need no memory of the first one.

use std::collections::BTreeMap;
use std::net::IpAddr;

use anycast_lb_common::abi::{AddressFlags, VipFlags, VipNumber};

use super::Services;
use crate::model::Protocol;
use crate::plan::{PlannedVip, unmapped};

impl Services {
    /// The same tables, naming the VIP of later fragments wherever all ports of an address lead to the
    /// same backend.
    ///
    /// That is so where all its VIPs for the protocol have one pool and hash by the client's address.
    /// Fragments of datagrams to a port without a VIP go along, up to the backend's reassembly: whoever
    /// sends them could as well send them to the port with one.
    pub fn with_fragments(mut self, vips: &[PlannedVip]) -> Self {
        let mut by_address: BTreeMap<IpAddr, Vec<&PlannedVip>> = BTreeMap::new();
        for vip in vips {
            by_address.entry(vip.key.address).or_default().push(vip);
        }
        for entry in self.addresses.iter_mut().filter(|e| e.flags & AddressFlags::VIP != 0) {
            let vips =
                by_address.get(&unmapped(bytemuck::cast(entry.address))).map_or(&[][..], Vec::as_slice);
            entry.fragments_tcp = any_port_alike(vips, Protocol::Tcp);
            entry.fragments_udp = any_port_alike(vips, Protocol::Udp);
        }
        self
    }
}

/// The VIP under which fragments of `protocol` are counted, the widest one; 0 if ports make a difference.
fn any_port_alike(vips: &[&PlannedVip], protocol: Protocol) -> VipNumber {
    let mut of_protocol: Vec<&PlannedVip> = vips
        .iter()
        .copied()
        .filter(|v| v.key.protocol == protocol || v.key.protocol == Protocol::Any)
        .collect();
    of_protocol.sort_by_key(|v| (v.key.protocol != protocol, v.key.port));
    let Some(first) = of_protocol.first() else { return 0 };
    let alike = |v: &&PlannedVip| {
        v.entry.pool == first.entry.pool && v.entry.flags & VipFlags::HASHED_PARTS == VipFlags::HASH_SOURCE
    };
    if of_protocol.iter().all(alike) { first.number } else { 0 }
}

#[cfg(test)]
mod tests {
    use anycast_lb_common::abi::VipEntry;
    use anycast_lb_common::wire::transport::{TCP, UDP};

    use super::*;
    use crate::model::{FlowHash, VipKey};

    fn fragments(vips: &[(&str, u16, FlowHash)]) -> (VipNumber, VipNumber) {
        let planned: Vec<PlannedVip> = (1..)
            .zip(vips)
            .map(|(number, &(key, pool, hash))| PlannedVip {
                number,
                new: true,
                key: key.parse().expect("a VIP"),
                entry: VipEntry {
                    pool,
                    flags: hash.flags() | VipFlags::SECOND_CHANCE,
                    number,
                    ..VipEntry::default()
                },
            })
            .collect();
        let address = planned[0].key.address;
        let ids = planned.iter().map(|v| v.key.address).zip(1..).collect();
        let keys: Vec<(VipKey, VipEntry)> = planned.iter().map(|v| (v.key, v.entry)).collect();
        let services = Services::build(&keys, &[], &ids, &[]).expect("tables").with_fragments(&planned);
        let is_ours = |e: &&anycast_lb_common::abi::AddressEntry| {
            e.flags != 0 && unmapped(bytemuck::cast(e.address)) == address
        };
        let entry = services.addresses.iter().find(is_ours).expect("the address");
        (entry.fragments(TCP), entry.fragments(UDP))
    }

    #[test]
    fn only_where_no_port_makes_a_difference() {
        use FlowHash::{DestinationPort, FiveTuple, Source, SourceAndPort};
        for (vips, expected) in [
            (&[("203.0.113.1:53/udp", 0, Source)][..], (0, 1)),
            (&[("203.0.113.1:*/tcp", 0, Source)], (1, 0)),
            (&[("203.0.113.1/any", 0, Source)], (1, 1)),
            (&[("203.0.113.1:53/udp", 0, Source), ("203.0.113.1:53/tcp", 0, Source)], (2, 1)),
            (&[("203.0.113.1:53/udp", 0, Source), ("203.0.113.1:*/udp", 0, Source)], (0, 2)),
            (&[("203.0.113.1/any", 0, Source), ("203.0.113.1:53/udp", 0, Source)], (1, 2)),
            // Another pool, another hash, another address.
            (&[("203.0.113.1:53/udp", 0, Source), ("203.0.113.1:54/udp", 1, Source)], (0, 0)),
            (&[("203.0.113.1:53/udp", 0, Source), ("203.0.113.1/any", 0, FiveTuple)], (0, 0)),
            (&[("203.0.113.1:53/udp", 0, Source), ("203.0.113.1:54/udp", 0, SourceAndPort)], (0, 0)),
            (&[("203.0.113.1:53/udp", 0, Source), ("203.0.113.2:53/udp", 1, FiveTuple)], (0, 1)),
            (&[("203.0.113.1:*/udp", 0, DestinationPort)], (0, 0)),
            (&[("203.0.113.1:*/udp", 0, FiveTuple)], (0, 0)),
        ] {
            assert_eq!(fragments(vips), expected, "{vips:?}");
        }
    }
}
