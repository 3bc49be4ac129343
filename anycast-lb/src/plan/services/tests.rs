use super::*;
use proptest::prelude::*;

const TCP: u8 = transport::TCP;
const UDP: u8 = transport::UDP;
const SCTP: u8 = 132;

fn vip(text: &str, port: Option<u16>, protocol: Protocol) -> VipKey {
    VipKey { address: text.parse().expect("address"), port, protocol }
}

fn build(keys: &[VipKey], locals: &[IpAddr]) -> Services {
    let entries = (1..).map(|number| VipEntry { number, ..VipEntry::default() });
    let numbered: Vec<_> = keys.iter().copied().zip(entries).collect();
    let addresses: BTreeSet<_> = keys.iter().map(|k| k.address).collect();
    let ids = addresses.into_iter().zip(1..).collect();
    Services::build(&numbered, &[], &ids, locals).expect("room")
}

#[test]
fn lookup_falls_back_from_port_to_protocol_to_any() {
    let a = "203.0.113.1";
    let services = build(
        &[
            vip(a, Some(443), Protocol::Tcp),
            vip(a, None, Protocol::Tcp),
            vip(a, None, Protocol::Any),
            vip("2001:db8::1", Some(53), Protocol::Udp),
        ],
        &[],
    );
    let four: IpAddr = a.parse().expect("address");
    let six: IpAddr = "2001:db8::1".parse().expect("address");
    assert_eq!(services.find(four, TCP, Some(443)), Some(1));
    assert_eq!(services.find(four, TCP, Some(444)), Some(2));
    assert_eq!(services.find(four, UDP, Some(443)), Some(3));
    assert_eq!(services.find(four, SCTP, None), Some(3));
    assert_eq!(services.find(six, UDP, Some(53)), Some(4));
    assert_eq!(services.find(six, TCP, Some(53)), None);
    assert_eq!(services.find("203.0.113.2".parse().expect("address"), TCP, Some(443)), None);
}

#[test]
fn a_local_address_is_no_service_and_never_hides_a_vip() {
    let shared: IpAddr = "203.0.113.1".parse().expect("address");
    let own: IpAddr = "10.0.0.11".parse().expect("address");
    let services = build(&[vip("203.0.113.1", Some(80), Protocol::Tcp)], &[own, shared, own]);
    let by_address = |address: IpAddr| {
        let key = address_key(mapped(address));
        let found: Vec<_> = services.addresses.iter().filter(|e| e.flags != 0 && e.address == key).collect();
        assert_eq!(found.len(), 1, "{address}");
        found[0].flags
    };
    assert_eq!(by_address(shared), AddressFlags::VIP | AddressFlags::PORTS);
    assert_eq!(by_address(own), AddressFlags::LOCAL);
    assert_eq!(services.find(own, TCP, Some(80)), None);
    assert_eq!(services.find(shared, TCP, Some(80)), Some(1));
}

#[test]
fn too_many_local_addresses_are_refused() {
    let locals: Vec<IpAddr> = (0..=MAX_ADDRESSES as u32).map(|n| IpAddr::from(n.to_be_bytes())).collect();
    assert!(matches!(
        Services::build(&[], &[], &BTreeMap::new(), &locals),
        Err(PlanError::TooManyAddresses { wanted, .. }) if wanted == MAX_ADDRESSES + 1
    ));
}

#[test]
fn as_many_vips_as_there_are_numbers_find_a_place() {
    let ports: Vec<_> = (1..4096).map(|p| vip("203.0.113.1", Some(p), Protocol::Tcp)).collect();
    let addresses: Vec<_> = (1..4096_u32)
        .map(|n| VipKey { address: IpAddr::from(n.to_be_bytes()), port: Some(80), protocol: Protocol::Udp })
        .collect();
    for keys in [ports, addresses] {
        let services = build(&keys, &[]);
        for (key, number) in keys.iter().zip(1..) {
            let protocol = if key.protocol == Protocol::Tcp { TCP } else { UDP };
            assert_eq!(services.find(key.address, protocol, key.port), Some(number));
        }
    }
}

fn any_key() -> impl Strategy<Value = VipKey> {
    let address = prop_oneof![
        (0u8..20).prop_map(|n| IpAddr::from([203, 0, 113, n])),
        (0u16..20).prop_map(|n| IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, n])),
    ];
    let port = proptest::option::of(1u16..30);
    (address, port, 0..3).prop_map(|(address, port, protocol)| match protocol {
        0 => VipKey { address, port, protocol: Protocol::Tcp },
        1 => VipKey { address, port, protocol: Protocol::Udp },
        _ => VipKey { address, port: None, protocol: Protocol::Any },
    })
}

proptest! {
    #[test]
    fn every_vip_is_found_and_read_back(keys in proptest::collection::hash_set(any_key(), 0..300)) {
        let keys: Vec<_> = keys.into_iter().collect();
        let services = build(&keys, &[]);
        for (key, number) in keys.iter().zip(1..) {
            let unused_port = 9999;
            let (protocol, port) = match key.protocol {
                Protocol::Tcp => (TCP, Some(key.port.unwrap_or(unused_port))),
                Protocol::Udp => (UDP, Some(key.port.unwrap_or(unused_port))),
                Protocol::Any => (SCTP, None),
            };
            prop_assert_eq!(services.find(key.address, protocol, port), Some(number));
        }
        let (vips, ids) = Services::read_back(services.addresses, services.services);
        prop_assert_eq!(vips, (1..).zip(keys.iter().copied()).collect::<BTreeMap<_, _>>());
        let addresses: BTreeSet<_> = keys.iter().map(|k| k.address).collect();
        prop_assert_eq!(ids, (1..).zip(addresses).collect::<BTreeMap<_, _>>());
    }
}

/// As many addresses and services as there may be, in the patterns that operators give addresses in: each
/// has a salt, and each service is found.
#[test]
fn full_tables_find_a_salt_whatever_the_addresses_have_in_common() {
    const MOST: u32 = MAX_SERVICES as u32;
    let one_block = |i: u32| IpAddr::from((0xcb00_7100 + i).to_be_bytes());
    let one_host_of_many_blocks = |i: u32| IpAddr::from((1 + (i << 8)).to_be_bytes());
    let v6 = |front: u64, back: u64| IpAddr::from((u128::from(front) << 64 | u128::from(back)).to_be_bytes());
    let one_prefix = |i: u32| v6(0x2001_0db8_0000_0001, i.into());
    let one_interface_of_many_prefixes = |i: u32| v6(0x2001_0db8_0000_0000 + u64::from(i), 1);
    let patterns: [&dyn Fn(u32) -> IpAddr; 4] =
        [&one_block, &one_host_of_many_blocks, &one_prefix, &one_interface_of_many_prefixes];
    for (pattern, address) in patterns.into_iter().enumerate() {
        let key = |i| VipKey { address: address(i), port: Some(443), protocol: Protocol::Tcp };
        let keys: Vec<_> = (1..=MOST).map(key).collect();
        let services = build(&keys, &[]);
        let found = |key: &VipKey| services.find(key.address, TCP, Some(443));
        assert!(keys.iter().zip(1..).all(|(key, number)| found(key) == Some(number)), "pattern {pattern}");
    }
    let at_one_address: Vec<_> =
        (1..=MOST as u16).map(|port| vip("203.0.113.1", Some(port), Protocol::Udp)).collect();
    let services = build(&at_one_address, &[]);
    let found = |key: &VipKey| services.find(key.address, UDP, key.port);
    assert!(at_one_address.iter().zip(1..).all(|(key, number)| found(key) == Some(number)));
}
