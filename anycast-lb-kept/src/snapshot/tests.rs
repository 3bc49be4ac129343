use anycast_lb_common::abi::{
    AddressFlags, Encap, FlowKeys, MemberFlags, VipFlags, address_hash, address_key, address_slots,
};
use bytemuck::Zeroable;

use super::*;

pub(crate) fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_000_000 + seconds)
}

/// A node with one VIP, 203.0.113.1/any, whose pool has one slot table with these owners and two members.
pub(crate) fn snapshot(seconds: u64, slots: &[u64]) -> Snapshot {
    let key = address_key(std::net::Ipv4Addr::new(203, 0, 113, 1).to_ipv6_mapped().octets());
    let [place, _] = address_slots(address_hash(key, 0));
    let address = AddressEntry {
        address: key,
        flags: AddressFlags::VIP,
        id: 1,
        any_protocol: 1,
        ..AddressEntry::default()
    };
    let entry = VipEntry { pool: 3, flags: VipFlags::HASH_SOURCE, number: 1, ..VipEntry::default() };
    let member = |last: u8| Member {
        ifindex: 2,
        mtu: 1500,
        encap: Encap::L2 as u8,
        flags: MemberFlags::RESOLVED,
        address: std::net::Ipv4Addr::new(10, 0, 0, last).to_ipv6_mapped().octets(),
        ..Member::zeroed()
    };
    let table = Table { bits: slots.len().trailing_zeros() as u8, words: 1, slots: slots.into() };
    Snapshot {
        time: at(seconds),
        version: seconds as u32,
        beginning: None,
        last_sign: None,
        active: 0,
        header: Buffer { keys: FlowKeys::from_seed([7; 16]), ..Buffer::zeroed() },
        addresses: vec![(place, address)],
        services: Vec::new(),
        prefixes: vec![PrefixEntry::new(
            std::net::Ipv4Addr::new(203, 0, 113, 0).to_ipv6_mapped().octets(),
            120,
        )],
        vips: vec![Vip { number: 1, entry, name: "203.0.113.1/any".into() }],
        pools: vec![Pool { number: 3, name: "web".into(), table: Some(table), previous: None }],
        members: vec![(1, member(11)), (2, member(12))],
    }
}

#[test]
fn a_snapshot_is_read_as_it_was_written_and_no_part_of_it_is_one() {
    let snapshot =
        Snapshot { beginning: Some(Beginning::Fresh), last_sign: Some(at(0)), ..snapshot(5, &[1, 2]) };
    let bytes = snapshot.to_bytes();
    let id = snapshot.tables().next().unwrap().id();
    let table = |wanted| (wanted == id).then(|| Arc::from([1, 2]));
    assert_eq!(Snapshot::from_bytes(&bytes, table).unwrap(), snapshot);
    for end in 0..bytes.len() {
        assert!(Snapshot::from_bytes(&bytes[..end], table).is_err(), "{end}");
    }
    assert_eq!(Snapshot::from_bytes(&bytes, |_| None), Err(Damaged::Table));
    assert_eq!(Snapshot::from_bytes(&bytes, |_| Some(Arc::from([1, 2, 3]))), Err(Damaged::Table));
    let mut other = bytes.clone();
    other[8] ^= 1;
    assert_eq!(Snapshot::from_bytes(&other, table), Err(Damaged::Release(VERSION ^ 1, PLACEMENT)));
}

#[test]
fn damage_is_no_panic() {
    let bytes = snapshot(5, &[1, 2]).to_bytes();
    for place in 0..bytes.len() {
        for value in [0, 0xff, bytes[place] ^ 0x80] {
            let mut damaged = bytes.clone();
            damaged[place] = value;
            if let Ok(read) = Snapshot::from_bytes(&damaged, |_| Some(Arc::from([1, 2]))) {
                let (source, destination) = (([192, 0, 2, 7], 1).into(), ([203, 0, 113, 1], 1).into());
                crate::Decider::new(&read).decide(&[0; 60], 6, source, destination);
            }
        }
    }
}
