//! What is said of whole frames.

use std::net::IpAddr;

use anycast_lb::dataplane::FRAME_BYTES;
use anycast_lb::model::Quic;
use anycast_lb_common::abi::{ServerIds, Verdict};
use anyhow::{Context as _, Result, bail, ensure};
use etherparse::icmpv4::DestUnreachableHeader;
use etherparse::{Icmpv4Type, IpFragOffset, IpNumber, Ipv4Header, PacketBuilder};

use super::*;

const A: [u8; 6] = [2, 0, 0, 0, 0, 1];
const B: [u8; 6] = [2, 0, 0, 0, 0, 2];

fn syn(n: u8, source_port: u16, tag: Option<u16>) -> Result<Vec<u8>> {
    let mut frame = Vec::new();
    let (from, to) = ([192, 0, 2, 7], [203, 0, 113, n]);
    match tag {
        None => {
            let ip = PacketBuilder::ethernet2(A, B).ipv4(from, to, 64);
            ip.tcp(source_port, 443, 1, 1000).syn().write(&mut frame, &[])?;
        }
        Some(tag) => {
            let ip = PacketBuilder::ethernet2(A, B).single_vlan(tag.try_into()?).ipv4(from, to, 64);
            ip.tcp(source_port, 443, 1, 1000).syn().write(&mut frame, &[])?;
        }
    }
    Ok(frame)
}

/// The part of a segment from `offset`, in units of 8 bytes, on.
fn fragment(id: u16, offset: u16, more: bool) -> Result<Vec<u8>> {
    let mut segment = Vec::new();
    PacketBuilder::ipv4([192, 0, 2, 7], [203, 0, 113, 1], 64)
        .tcp(5, 443, 1, 1000)
        .write(&mut segment, &[9; 44])?;
    let from = 20 + usize::from(offset) * 8;
    let part = if more { &segment[from..from + 32] } else { &segment[from..] };
    let mut header = Ipv4Header::new(part.len() as u16, 64, IpNumber::TCP, [192, 0, 2, 7], [203, 0, 113, 1])?;
    (header.identification, header.more_fragments) = (id, more);
    header.fragment_offset = IpFragOffset::try_new(offset)?;
    header.header_checksum = header.calc_header_checksum();
    let mut frame = [&B[..], &A, &[8, 0]].concat();
    header.write(&mut frame)?;
    frame.extend(part);
    Ok(frame)
}

#[test]
fn a_frame_is_decided_as_its_flow_and_counted_nowhere() -> Result<()> {
    isolated(|place| {
        let mut config = place.config();
        config.vips.push(vip(2, "dns"));
        config.pools.push(pool("dns", [21, 22]));
        let (mut dataplane, _) = attached(&config)?;
        resolve_all(&mut dataplane, &config)?;
        for (n, port) in (1000..1020).flat_map(|port| [(1, port), (2, port)]) {
            // In turns: what one counts must not be taken for what the other does.
            let traced = dataplane.trace(&flow(n, port))?;
            for tag in [None, Some(7)] {
                let frame = syn(n, port, tag)?;
                let told = &dataplane.explain(std::slice::from_ref(&frame), false)?[0];
                assert_eq!(
                    (told.verdict, told.vip, &told.pool, told.slot, told.backend, told.next_hop),
                    (traced.verdict, traced.vip, &traced.pool, traced.slot, traced.backend, traced.next_hop)
                );
                let backend = told.backend.context("no backend")?;
                let IpAddr::V4(address) = backend else { bail!("{backend} is IPv6") };
                assert_eq!(told.output[14 + 16..14 + 20], address.octets(), "its outer destination");
            }
        }
        let told = dataplane.explain(&[syn(9, 1, None)?, vec![0; 60]], false)?;
        assert_eq!(told[0].verdict, Verdict::UnmatchedPrefix);
        assert_eq!((told[1].verdict, told[1].vip, told[1].backend), (Verdict::NotIp, None, None));

        // Whom it would go to is said where it goes nowhere, too.
        let backend = dataplane.trace(&flow(1, 1))?.backend.context("no backend")?;
        let mut large = syn(1, 1, None)?;
        large.resize(14 + 1490, 0);
        large[16..18].copy_from_slice(&1490_u16.to_be_bytes());
        let told = &dataplane.explain(std::slice::from_ref(&large), false)?[0];
        assert_eq!((told.verdict, told.backend), (Verdict::TooBigAnswered, Some(backend)));
        let without_df = [&large[..20], &[0, 0], &large[22..]].concat();
        let told = &dataplane.explain(&[without_df], false)?[0];
        assert_eq!((told.verdict, told.backend), (Verdict::TooBigNoDf, Some(backend)));
        // As often as a prefix is told in one burst.
        let told = dataplane.explain(&vec![large; 150], false)?;
        let limited = told.iter().filter(|t| t.verdict == Verdict::TooBigLimited).count();
        assert!(
            (1..=49).contains(&limited) && told[0].verdict == Verdict::TooBigAnswered,
            "{limited} limited"
        );
        dataplane.set_next_hop(backend, &Resolution::Unresolved("no route".into()))?;
        let told = &dataplane.explain(&[syn(1, 1, None)?], false)?[0];
        assert_eq!((told.verdict, told.backend, told.next_hop), (Verdict::NoNeighbour, Some(backend), None));

        for length in [FRAME_BYTES.start() - 1, FRAME_BYTES.end() + 1] {
            assert!(dataplane.explain(&[vec![0; length]], false).is_err(), "{length} bytes");
        }
        for length in [*FRAME_BYTES.start(), *FRAME_BYTES.end()] {
            assert_eq!(dataplane.explain(&[vec![0; length]], false)?.len(), 1, "{length} bytes");
        }
        for (verdict, counter) in dataplane.verdicts() {
            ensure!(counter.packets == 0 || verdict.name().starts_with("not_"), "counted {}", verdict.name());
        }
        assert!(dataplane.vip_counters().iter().all(|(_, counter)| counter.packets == 0));
        assert!(dataplane.backend_counters().iter().all(|(_, _, counter)| counter.packets == 0));
        Ok(())
    })
}

#[test]
fn fragments_are_remembered_for_one_question() -> Result<()> {
    isolated(|place| {
        let config = place.config();
        let (mut dataplane, _) = attached(&config)?;
        resolve_all(&mut dataplane, &config)?;
        let (first, later) = (fragment(7, 0, true)?, fragment(7, 4, false)?);
        let mut verdicts = |frames: &[&Vec<u8>], continues| -> Result<Vec<Verdict>> {
            let frames: Vec<Vec<u8>> = frames.iter().map(|f| (*f).clone()).collect();
            Ok(dataplane.explain(&frames, continues)?.iter().map(|told| told.verdict).collect())
        };
        use Verdict::{ForwardedGue, Fragment};
        assert_eq!(verdicts(&[&later], false)?, [Fragment]);
        assert_eq!(verdicts(&[&later, &first, &later], false)?, [Fragment, ForwardedGue, ForwardedGue]);
        assert_eq!(verdicts(&[&later], true)?, [ForwardedGue]);
        assert_eq!(verdicts(&[&later], false)?, [Fragment]);
        let told = dataplane.explain(&[first, later], false)?;
        assert_eq!(told[0].backend, told[1].backend);
        assert_eq!((told[0].slot, told[1].vip), (None, Some(config.vips[0].key)));
        Ok(())
    })
}

/// A QUIC packet to VIP 1 with a short header whose connection ID names `server` in configuration 0.
fn short_header(server: [u8; 3], source_port: u16) -> Result<Vec<u8>> {
    let mut frame = Vec::new();
    let packet = [&[0x40, 7][..], &server, &[9; 4], &[0x55; 24]].concat();
    let ip = PacketBuilder::ethernet2(A, B).ipv4([192, 0, 2, 7], [203, 0, 113, 1], 64);
    ip.udp(source_port, 443).write(&mut frame, &packet)?;
    Ok(frame)
}

/// "Fragmentation needed" about a packet of the flow from `port` that left the VIP `n`.
fn error(n: u8, service: u16, port: u16, quoted: usize) -> Result<Vec<u8>> {
    let (vip, client) = ([203, 0, 113, n], [192, 0, 2, 7]);
    let mut quote = Vec::new();
    PacketBuilder::ipv4(vip, client, 60).tcp(service, port, 1, 1000).write(&mut quote, &[9; 44])?;
    let mut frame = Vec::new();
    let next_hop_mtu = 1400;
    PacketBuilder::ethernet2(A, B)
        .ipv4([198, 51, 100, 9], [203, 0, 113, 1], 60)
        .icmpv4(Icmpv4Type::DestinationUnreachable(DestUnreachableHeader::FragmentationNeeded {
            next_hop_mtu,
        }))
        .write(&mut frame, &quote[..quoted])?;
    Ok(frame)
}

#[test]
fn what_a_connection_id_decided_is_said() -> Result<()> {
    isolated(|place| {
        let mut config = place.config();
        let key = VipKey { protocol: Protocol::Udp, ..config.vips[0].key };
        config.vips.push(Vip { key, second_chance: false, quic: true, ..config.vips[0].clone() });
        let backends: Vec<IpAddr> = config.pools[0].backends.iter().map(|b| b.address).collect();
        let servers = backends.iter().copied().zip(1..).collect();
        config.pools[0].quic = Some(Quic { ids: ServerIds { config: 0, len: 3 }, servers });
        let (mut dataplane, _) = attached(&config)?;
        resolve_all(&mut dataplane, &config)?;
        for (server, backend) in (1..).zip(&backends) {
            for port in 1000..1010 {
                let told = &dataplane.explain(&[short_header([0, 0, server], port)?], false)?[0];
                assert_eq!((told.verdict, told.vip), (Verdict::ForwardedQuic, Some(key)));
                assert_eq!((told.backend, told.slot), (Some(*backend), None));
            }
        }
        let told = &dataplane.explain(&[short_header([0, 0, 99], 1000)?], false)?[0];
        assert_eq!(told.verdict, Verdict::ForwardedGue);
        assert!(told.slot.is_some());
        Ok(())
    })
}

#[test]
fn an_icmp_error_goes_where_the_flow_goes_that_it_is_about() -> Result<()> {
    isolated(|place| {
        let config = place.config();
        let (mut dataplane, _) = attached(&config)?;
        resolve_all(&mut dataplane, &config)?;
        for port in 1000..1020 {
            let flow = dataplane.trace(&flow(1, port))?;
            let told = &dataplane.explain(&[error(1, 443, port, 28)?], false)?[0];
            assert_eq!(
                (told.verdict, told.vip, told.backend),
                (flow.verdict, flow.vip, flow.backend),
                "{port}"
            );
        }
        let frames = [error(2, 443, 5, 28)?, error(1, 443, 5, 27)?, error(1, 444, 5, 28)?];
        let told: Vec<Verdict> = dataplane.explain(&frames, false)?.iter().map(|told| told.verdict).collect();
        use Verdict::{IcmpErrorQuote, IcmpErrorService};
        assert_eq!(told, [IcmpErrorQuote, IcmpErrorQuote, IcmpErrorService]);
        Ok(())
    })
}
