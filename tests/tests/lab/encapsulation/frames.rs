//! Frames as real NICs deliver them and veth never does: padded, with a trailer, with VLAN tags.
//! What arrives is the IP packet alone.

use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use etherparse::{PacketBuilder, VlanId};
use xtask::lab::Arms;
use xtask::lab::capture::inject;
use xtask::lab::topology::{self, ECHO_PORT};

use super::carry::bind;
use super::plan::like;
use super::stage::Stage;

/// Shortest frame of an Ethernet, its checksum not counted.
const SHORTEST: usize = 60;
/// What lies behind the packet; not zero, so that it cannot pass for something harmless.
const PADDING: u8 = 0xaa;
/// Bytes behind a packet that needs no padding.
const TRAILER: usize = 7;
const CLIENT_PORT: u16 = 40_404;
const TTL: u8 = 63;
const INNER_TAG: u16 = 7;
const OUTER_TAG: u16 = 42;

/// A frame for the ingress node.
#[derive(Clone, Copy, Debug)]
struct Shape {
    tags: usize,
    payload: &'static [u8],
}

/// Sends odd frames on all paths and expects plain packets behind them.
pub(super) fn odd_frames_arrive_as_plain_packets(stage: &mut Stage) -> Result<()> {
    let macs = stage.ends()?;
    let watch = stage.watch()?;
    // A bridge takes the tag out of the packet and keeps it beside it: it is no tag on a wire then.
    let most_tags = if stage.arms == Arms::Two { 2 } else { 0 };
    for path in &stage.paths {
        let server = &stage.lab.topology().backends[path.row.server];
        let service = bind(server, path.row.udp()?)?;
        for (tags, payload) in (0..=most_tags).zip([&b"a"[..], b"bc", b"def"]) {
            let shape = Shape { tags, payload };
            let frame = build(macs, path.vip, shape)?;
            let (namespace, interface) = stage.towards_ingress();
            inject(namespace, interface, [&frame[..]])?;
            let mut buffer = [0; SHORTEST];
            let (length, _) =
                service.recv_from(&mut buffer).with_context(|| format!("{}: {shape:?}", path.row.name))?;
            ensure!(&buffer[..length] == payload, "{}: {shape:?} brought {length} bytes", path.row.name);
        }
    }
    let arrivals = watch.finish(stage)?;
    ensure!(arrivals.len() == stage.paths.len() * (most_tags + 1), "{} frames arrived", arrivals.len());
    Ok(())
}

fn build(macs: ([u8; 6], [u8; 6]), vip: IpAddr, shape: Shape) -> Result<Vec<u8>> {
    let link = PacketBuilder::ethernet2(macs.0, macs.1);
    let (inner, outer) = (VlanId::try_new(INNER_TAG)?, VlanId::try_new(OUTER_TAG)?);
    let client = like(vip, topology::client(0, false));
    let mut frame = Vec::new();
    let ip = |addresses| match addresses {
        (IpAddr::V4(from), IpAddr::V4(to)) => Ok(etherparse::IpHeaders::Ipv4(
            etherparse::Ipv4Header::new(0, TTL, etherparse::IpNumber::UDP, from.octets(), to.octets())?,
            Default::default(),
        )),
        (IpAddr::V6(from), IpAddr::V6(to)) => Ok(etherparse::IpHeaders::Ipv6(
            etherparse::Ipv6Header {
                hop_limit: TTL,
                next_header: etherparse::IpNumber::UDP,
                source: from.octets(),
                destination: to.octets(),
                ..Default::default()
            },
            Default::default(),
        )),
        _ => anyhow::bail!("two families in a packet"),
    };
    let ip = ip((client, vip))?;
    let step = match shape.tags {
        0 => link.ip(ip),
        1 => link.single_vlan(inner).ip(ip),
        _ => link.double_vlan(outer, inner).ip(ip),
    };
    step.udp(CLIENT_PORT, ECHO_PORT).write(&mut frame, shape.payload)?;
    let padded = SHORTEST.max(frame.len() + TRAILER);
    frame.resize(padded, PADDING);
    Ok(frame)
}
