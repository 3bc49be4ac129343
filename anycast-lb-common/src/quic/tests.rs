use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::host::Frame;

const IDS: ServerIds = ServerIds { config: 2, len: 3 };
/// As a server of the draft builds it: configuration 2, a length, server ID 0a0b0c, a nonce.
const CID: [u8; 8] = [0x47, 0x0a, 0x0b, 0x0c, 1, 2, 3, 4];

fn short(cid: &[u8]) -> Vec<u8> {
    let mut packet = [&[0x5f], cid].concat();
    packet.extend([0xee; 24]);
    packet
}

fn long(first: u8, version: u32, cid: &[u8]) -> Vec<u8> {
    let mut packet = [&[first], &version.to_be_bytes()[..], &[cid.len() as u8], cid].concat();
    packet.extend([0xee; 24]);
    packet
}

fn read(packet: &[u8], ids: ServerIds) -> Option<Named> {
    named(&Frame::new(packet), 0, ids)
}

#[test]
fn a_server_is_read_from_both_headers() {
    let name = |by_server| Some(Named { server_id: 0x0a_0b0c, by_server });
    assert_eq!(read(&short(&CID), IDS), name(true));
    for (first, version, by_server) in [
        // Initial, 0-RTT, Handshake and Retry, which clients do not send.
        (0xc0, 1, false),
        (0xd0, 1, false),
        (0xe0, 1, true),
        (0xf0, 1, false),
        (0xd0, 0x6b33_43cf, false),
        (0xe0, 0x6b33_43cf, false),
        (0xf0, 0x6b33_43cf, true),
        // Types of a version that is not known mean nothing, nor does the fixed bit (RFC 9287).
        (0xe0, 0x1a2a_3a4a, false),
        (0xa0, 1, true),
    ] {
        assert_eq!(read(&long(first, version, &CID), IDS), name(by_server), "{first:x} {version:x}");
    }
}

#[test]
fn what_names_nobody() {
    let mut other_config = CID;
    other_config[0] = 0x67;
    let mut unroutable = CID;
    unroutable[0] = 0xe7;
    for packet in [
        short(&other_config),
        short(&unroutable),
        long(0xc0, 1, &other_config),
        // Too short for a nonce, or no ID at all.
        long(0xe0, 1, &CID[..7]),
        long(0xe0, 1, &[]),
    ] {
        assert_eq!(read(&packet, IDS), None, "{packet:02x?}");
    }
    for packet in [short(&CID), long(0xc0, 1, &CID)] {
        for len in 0..if packet[0] & 0x80 == 0 { 8 } else { 13 } {
            assert_eq!(read(&packet[..len], IDS), None);
        }
    }
}

proptest! {
    /// Whatever a server makes is read back, whichever length it uses.
    #[test]
    fn what_a_server_makes_is_understood(
        config in 0..=ServerIds::MAX_CONFIG,
        low_bits in 0..32u8,
        id in proptest::collection::vec(any::<u8>(), 1..=6),
        nonce in proptest::collection::vec(any::<u8>(), 4..=13),
        first: u8,
        version: u32,
    ) {
        let ids = ServerIds { config, len: id.len() as u8 };
        let cid = [&[config << 5 | low_bits], &id[..], &nonce[..]].concat();
        let server_id = id.iter().fold(0, |n, &octet| n << 8 | u64::from(octet));
        let from_short = read(&short(&cid), ids);
        prop_assert_eq!(from_short, Some(Named { server_id, by_server: true }));
        let from_long = read(&long(first | 0x80, version, &cid), ids).map(|n| n.server_id);
        prop_assert_eq!(from_long, Some(server_id));
        let other = ServerIds { config: (config + 1) % 7, ..ids };
        prop_assert_eq!(read(&short(&cid), other), None);
    }

    /// Any bytes are read without a panic, and name no more than the ID's length allows.
    #[test]
    fn any_bytes_are_read(bytes: Vec<u8>, config: u8, len: u8) {
        if let Some(named) = read(&bytes, ServerIds { config, len }) {
            prop_assert!(named.server_id < 1 << 48);
            prop_assert!(len > 6 || named.server_id < 1 << (8 * u32::from(len)));
        }
    }
}
