//! A VIP of every protocol: SCTP, ESP and GRE by raw sockets at both ends.

mod socket;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, ensure};
use xtask::lab::{Families, Family, Lab};

use super::super::stand::{on_backends, route_via};
use super::{BACKENDS, INGRESSES, add, forwarded, sources, stage, vip};
use socket::{Servers, raw, receive};

/// Protocols without ports that a balancer would read: SCTP, ESP, GRE (IANA's numbers).
const PROTOCOLS: [u8; 3] = [132, 50, 47];
/// Packets of each source and protocol by each way in.
const PACKETS: u16 = 4;
/// Bytes of the packets, in turn: a header alone, and one that fills most of the client's link.
const LENGTHS: [usize; 2] = [12, 1400];

#[test]
fn every_protocol_goes_by_its_3_tuple() -> Result<()> {
    let mut lab = stage()?;
    add(&mut lab, "any", "5-tuple")?;
    let servers = Servers::start(&lab, &PROTOCOLS)?;
    for family in Families::Both.all() {
        let taken = servers.taken();
        by_3_tuple(&mut lab, family).with_context(|| format!("{family:?}"))?;
        let sent =
            sources(family).count() as u64 * PROTOCOLS.len() as u64 * u64::from(PACKETS) * INGRESSES as u64;
        ensure!(
            servers.taken() - taken == sent,
            "{family:?}: {sent} packets became {}",
            servers.taken() - taken
        );
    }
    Ok(())
}

fn by_3_tuple(lab: &mut Lab, family: Family) -> Result<()> {
    let mut chosen: BTreeMap<(IpAddr, u8), u8> = BTreeMap::new();
    let arrived = on_backends(lab, &["decap_gue"])?;
    for node in 0..INGRESSES {
        route_via(lab, node)?;
        let mut expected = forwarded(lab)?;
        for (source, protocol) in sources(family).flat_map(|source| PROTOCOLS.map(|p| (source, p))) {
            for number in 0..PACKETS {
                let name = exchange(lab, source, protocol, number).with_context(|| {
                    format!("packet {number} of protocol {protocol}, {source} by ing{node}")
                })?;
                let first = *chosen.entry((source, protocol)).or_insert(name);
                ensure!(first == name, "protocol {protocol} of {source}: be{first}, by ing{node} be{name}");
                expected[node] += 1;
            }
        }
        // Requests alone: the answers go past the nodes.
        let after = forwarded(lab)?;
        ensure!(after == expected, "by ing{node}: {after:?} packets, expected {expected:?}");
    }
    route_via(lab, 0)?;
    let sent = chosen.len() as u64 * u64::from(PACKETS) * INGRESSES as u64;
    let arrived = on_backends(lab, &["decap_gue"])? - arrived;
    ensure!(arrived == sent, "{arrived} of {sent} packets arrived");

    let used: BTreeSet<u8> = chosen.values().copied().collect();
    ensure!(used.len() == BACKENDS, "all went to {used:?}");
    // The protocol is part of the key: not all sources have one backend for all three.
    let split = sources(family).filter(|&source| {
        PROTOCOLS.iter().any(|&protocol| chosen[&(source, protocol)] != chosen[&(source, PROTOCOLS[0])])
    });
    let split = split.count();
    ensure!(split > 0, "no source has two backends");
    println!(
        "{family:?}: {sent} packets, {split} of {} sources have several backends",
        sources(family).count()
    );
    Ok(())
}

/// Sends a packet and reads its echo; which backend it came from.
fn exchange(lab: &Lab, source: IpAddr, protocol: u8, number: u16) -> Result<u8> {
    let family = if source.is_ipv4() { Family::V4 } else { Family::V6 };
    let socket = lab.client(0).enter(|| raw(source, protocol))??;
    let data = content(number);
    ensure!(socket.send_to(&data, SocketAddr::new(vip(family), 0))? == data.len());
    let (from, answer) = receive(&socket, family)?.context("no answer")?;
    ensure!(from == vip(family), "answered by {from}");
    let (name, echo) = answer.split_first().context("an empty answer")?;
    ensure!(*echo == data, "not what was sent: {} bytes of {}", echo.len(), data.len());
    Ok(*name)
}

/// What a packet carries. It differs from packet to packet where TCP and UDP have their ports.
fn content(number: u16) -> Vec<u8> {
    let ports = [number.to_be_bytes(), (!number).to_be_bytes()].concat();
    let length = LENGTHS[usize::from(number) % LENGTHS.len()];
    ports.into_iter().chain((0..=u8::MAX).cycle()).take(length).collect()
}
