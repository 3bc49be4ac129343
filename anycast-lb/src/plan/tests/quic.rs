//! Servers that connection IDs name.

use std::collections::HashSet;

use anycast_lb_common::abi::{SERVICE_SLOTS, ServerIds, server_slots};

use super::*;
use crate::model::Quic;

const IDS: ServerIds = ServerIds { config: 2, len: 3 };

/// A VIP of QUIC on a pool whose servers have the numbers of their backends, from 0x100 on.
fn quic(backends: std::ops::Range<u8>) -> Config {
    let servers = backends.clone().map(|n| (backend(n).address, 0x100 + u64::from(n))).collect();
    let pool = Pool { quic: Some(Quic { ids: IDS, servers }), ..pool("web", backends) };
    let key = VipKey { protocol: Protocol::Udp, ..vip(1, "web").key };
    let by_id = Vip { key, second_chance: false, quic: true, ..vip(1, "web") };
    config(vec![pool], vec![vip(1, "web"), by_id])
}

/// The member that the tables name for a server.
fn named(plan: &Plan, server_id: u64) -> Option<MemberNumber> {
    let services = &plan.services;
    let key = server_key(plan.pools[0].number, server_id);
    let places = server_slots(key, services.salt).map(|slot| services.services[slot as usize]);
    places.into_iter().find(|entry| entry.key == key).map(|entry| entry.value as MemberNumber)
}

#[test]
fn servers_are_found_and_only_those_of_the_pool() {
    let mut maps = Maps::default();
    let plan = maps.apply(&quic(1..5)).expect("a plan");
    for member in &plan.members {
        let IpAddr::V4(address) = member.address else { panic!("{member:?}") };
        assert_eq!(named(&plan, 0x100 + u64::from(address.octets()[3])), Some(member.number));
    }
    assert_eq!(named(&plan, 0x100), None);
    let entries: Vec<VipEntry> = plan.vips.iter().map(|v| v.entry).collect();
    assert_eq!((entries[0].flags, entries[1].flags), (VipFlags::SECOND_CHANCE, VipFlags::QUIC));
    assert_eq!((entries[0].server_ids, entries[1].server_ids), (ServerIds::default(), IDS));
    // Servers are no VIPs to a daemon that reads the tables back.
    assert_eq!(maps.previous.vips.len(), 2);

    // Who leaves is named no longer, who stays keeps its number.
    let after = maps.apply(&quic(2..6)).expect("a plan");
    assert_eq!((named(&after, 0x101), named(&after, 0x102)), (None, named(&plan, 0x102)));
    assert!(named(&after, 0x105).is_some_and(|n| plan.members.iter().all(|m| m.number != n)));
}

#[test]
fn a_draining_server_is_named_and_a_pool_without_quic_names_nobody() {
    let mut config = quic(1..5);
    config.pools[0].backends[0].state = BackendState::Draining;
    assert!(named(&Maps::default().apply(&config).expect("a plan"), 0x101).is_some());
    config.pools[0].quic = None;
    let plan = Maps::default().apply(&config).expect("a plan");
    assert_eq!(named(&plan, 0x101), None);
    assert_eq!(plan.vips[1].entry.flags, 0);
}

#[test]
fn as_many_servers_as_half_the_table_holds() {
    let address = |n: u32| IpAddr::from(n.to_be_bytes());
    let with = |servers: u32| {
        let mut config = quic(1..2);
        let pool = &mut config.pools[0];
        pool.backends = (1..=servers).map(|n| Backend { address: address(n), ..backend(1) }).collect();
        pool.quic = Some(Quic { ids: IDS, servers: (1..=servers).map(|n| (address(n), n.into())).collect() });
        config
    };
    // Two VIPs have a port.
    let most = SERVICE_SLOTS / 2 - 2;
    let plan = Maps::default().apply(&with(most)).expect("a plan");
    let found: HashSet<_> = (1..=most).filter_map(|n| named(&plan, n.into())).collect();
    assert_eq!(found.len(), most as usize);
    let refused = Maps::default().apply(&with(most + 1));
    assert!(matches!(refused, Err(PlanError::TooManyServers { wanted: 8193, limit: 8192 })), "{refused:?}");
}
