//! Echo requests to VIPs with every sequence number, and what another implementation says of the answers.

use anyhow::{Context as _, Result, ensure};
use etherparse::{Icmpv4Type, Icmpv6Type, NetSlice, PacketBuilder, SlicedPacket, TransportSlice};

const CLIENT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0xc1];
const NODE_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const CLIENT: [u8; 4] = [192, 0, 2, 7];
const VIP: [u8; 4] = [203, 0, 113, 1];
const CLIENT6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7];
const VIP6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1];
/// Identifiers whose messages differ in what their checksums are near to; 0 makes an answer of nothing but zeros.
const IDS: [u16; 2] = [0, 0xf7ff];

/// A request over each family for each sequence number.
pub fn requests() -> impl Iterator<Item = Result<Vec<u8>>> {
    let all =
        |id| (0..=u16::MAX).flat_map(move |sequence| [false, true].map(|is_v6| request(is_v6, id, sequence)));
    IDS.into_iter().flat_map(all)
}

fn request(is_v6: bool, id: u16, sequence: u16) -> Result<Vec<u8>> {
    let mut frame = Vec::new();
    let ethernet = PacketBuilder::ethernet2(CLIENT_MAC, NODE_MAC);
    let payload = [0; 8];
    if is_v6 {
        ethernet.ipv6(CLIENT6, VIP6, 9).icmpv6_echo_request(id, sequence).write(&mut frame, &payload)?;
    } else {
        ethernet.ipv4(CLIENT, VIP, 9).icmpv4_echo_request(id, sequence).write(&mut frame, &payload)?;
    }
    Ok(frame)
}

/// Whether `reply` is the answer to `request`, its checksums right.
///
/// # Errors
///
/// What is wrong with it.
pub fn check(request: &[u8], reply: &[u8]) -> Result<()> {
    let (asked, told) = (SlicedPacket::from_ethernet(request)?, SlicedPacket::from_ethernet(reply)?);
    ensure!(
        reply.len() == request.len() && reply[..6] == request[6..12] && reply[6..12] == request[..6],
        "frame"
    );
    match (asked.transport, told.transport) {
        (Some(TransportSlice::Icmpv4(asked)), Some(TransportSlice::Icmpv4(got))) => {
            let Some(NetSlice::Ipv4(ip)) = told.net else { anyhow::bail!("no IPv4") };
            let ip = ip.header();
            ensure!((ip.source(), ip.destination()) == (VIP, CLIENT), "addresses");
            ensure!(ip.header_checksum() == ip.to_header().calc_header_checksum(), "the header's checksum");
            let (Icmpv4Type::EchoRequest(a), Icmpv4Type::EchoReply(b)) = (asked.icmp_type(), got.icmp_type())
            else {
                anyhow::bail!("{:?}", got.icmp_type())
            };
            ensure!(a == b && asked.payload() == got.payload(), "what was sent is not what came back");
            ensure!(is_right(got.checksum(), got.icmp_type().calc_checksum(got.payload())), "the checksum");
        }
        (Some(TransportSlice::Icmpv6(asked)), Some(TransportSlice::Icmpv6(got))) => {
            let Some(NetSlice::Ipv6(ip)) = told.net else { anyhow::bail!("no IPv6") };
            let ip = ip.header();
            ensure!((ip.source(), ip.destination()) == (VIP6, CLIENT6), "addresses");
            let (Icmpv6Type::EchoRequest(a), Icmpv6Type::EchoReply(b)) = (asked.icmp_type(), got.icmp_type())
            else {
                anyhow::bail!("{:?}", got.icmp_type())
            };
            ensure!(a == b && asked.payload() == got.payload(), "what was sent is not what came back");
            let sum = got.icmp_type().calc_checksum(VIP6, CLIENT6, got.payload()).context("its length")?;
            ensure!(is_right(got.checksum(), sum), "the checksum");
        }
        other => anyhow::bail!("{other:?}"),
    }
    Ok(())
}

/// A zero may be written in two ways, of which the one that is all ones verifies for every message.
fn is_right(sent: u16, calculated: u16) -> bool {
    sent == calculated || (sent, calculated) == (0xffff, 0)
}
