//! The checks themselves: a frame that was really captured, with one byte spoilt, is found.

use anyhow::{Context, Result, ensure};
use xtask::lab::capture::{Carrier, Frame, expect_clean};

use super::stage::{Path, Stage};
use super::watch::Arrival;

const ETHERNET: usize = 14;
const IPV6_HEADER: usize = 40;
const IPV4_HEADER: usize = 20;
const TCP_HEADER: usize = 20;
/// Source and destination of an IPv6 header.
const IPV6_ADDRESSES: std::ops::Range<usize> = 8..IPV6_HEADER;
const TCP: u8 = 6;
/// The bit that is turned over in each byte.
const FLIPPED: u8 = 0x80;

/// For each path: one frame with TCP payload, every byte of it in turn.
pub(super) fn every_flipped_byte_is_found(stage: &Stage, seen: &[Arrival]) -> Result<()> {
    for (index, path) in stage.paths.iter().enumerate() {
        let name = path.row.name;
        // Longer than any TCP header with options.
        let has_payload = |arrival: &&Arrival| {
            arrival.path == index && arrival.packet.protocol == TCP && arrival.packet.bytes.len() > 120
        };
        let arrival = seen.iter().find(has_payload).with_context(|| format!("{name}: no TCP payload"))?;
        expect_all_found(path, arrival).with_context(|| name)?;
    }
    Ok(())
}

fn expect_all_found(path: &Path, Arrival { frame, packet, .. }: &Arrival) -> Result<()> {
    let inner = path.tunnel.header_len();
    let right = |frame: &Frame| {
        let opened = path.tunnel.open(&frame.bytes);
        expect_clean([frame]).is_ok() && opened.is_ok_and(|opened| opened == packet.bytes)
    };
    ensure!(right(frame), "the frame was not right before it was spoilt");
    let free = free_bytes(path);
    let summed = covered_by_checksums(path, packet.bytes[0] >> 4 == 4, frame.bytes.len());
    for at in 0..frame.bytes.len() {
        let mut spoilt = frame.clone();
        spoilt.bytes[at] ^= FLIPPED;
        ensure!(right(&spoilt) == free.contains(&at), "byte {at} (the packet starts at {inner})");
        if summed.iter().any(|range| range.contains(&at)) {
            let among_right_ones = [frame, &spoilt, frame];
            ensure!(expect_clean(among_right_ones).is_err(), "no checksum tells that byte {at} is wrong");
        }
    }
    Ok(())
}

/// Where the bit that is turned over may be either: the end of the flow label, and of the source port.
fn free_bytes(path: &Path) -> Vec<usize> {
    let mut free = Vec::new();
    let (Carrier::Ipip { source, .. } | Carrier::Gue { source, .. }) = path.tunnel.carrier else {
        return free;
    };
    if source.is_ipv6() {
        free.extend([ETHERNET + 2, ETHERNET + 3]);
    }
    if matches!(path.tunnel.carrier, Carrier::Gue { .. }) {
        free.push(ETHERNET + if source.is_ipv4() { IPV4_HEADER } else { IPV6_HEADER } + 1);
    }
    free
}

/// The outer IPv4 header, the inner IPv4 header or the inner IPv6 addresses, and the TCP segment.
fn covered_by_checksums(path: &Path, inner_v4: bool, end: usize) -> Vec<std::ops::Range<usize>> {
    let start = path.tunnel.header_len();
    let mut covered = Vec::new();
    if let Carrier::Ipip { source, .. } | Carrier::Gue { source, .. } = path.tunnel.carrier
        && source.is_ipv4()
    {
        covered.push(ETHERNET..ETHERNET + IPV4_HEADER);
    }
    if inner_v4 {
        covered.push(start..start + IPV4_HEADER);
        covered.push(start + IPV4_HEADER..end);
    } else {
        covered.push(start + IPV6_ADDRESSES.start..start + IPV6_ADDRESSES.end);
        covered.push(start + IPV6_HEADER..end);
    }
    debug_assert!(end > start + IPV6_HEADER + TCP_HEADER);
    covered
}
