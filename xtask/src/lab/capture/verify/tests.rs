use etherparse::PacketBuilder;

use super::*;

const MACS: ([u8; 6], [u8; 6]) = ([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
const PAYLOAD: &[u8] = b"some payload of odd length.";

fn client_packet(v6: bool, udp: bool) -> Vec<u8> {
    let builder = if v6 {
        PacketBuilder::ipv6([0x20; 16], [0x21; 16], 60)
    } else {
        PacketBuilder::ipv4([198, 51, 100, 2], [203, 0, 113, 1], 60)
    };
    let mut bytes = Vec::new();
    let written = if udp {
        builder.udp(40000, 53).write(&mut bytes, PAYLOAD)
    } else {
        builder.tcp(40000, 80, 7, 1000).write(&mut bytes, PAYLOAD)
    };
    assert!(written.is_ok());
    bytes
}

/// An Ethernet frame with GUE, as the ingress makes it: outer UDP checksum 0, one private word.
fn gue_frame(outer_v6: bool, inner: &[u8]) -> Vec<u8> {
    let protocol = if inner[0] >> 4 == 4 { 4 } else { 41 };
    let payload = [&[1, protocol, 0, 0, 0, 0, 0, 0][..], inner].concat();
    let builder = PacketBuilder::ethernet2(MACS.0, MACS.1);
    let builder = if outer_v6 {
        builder.ipv6([0xfd; 16], [0xfc; 16], 64)
    } else {
        builder.ipv4([10, 0, 0, 2], [10, 0, 0, 11], 64)
    };
    let mut bytes = Vec::new();
    assert!(builder.udp(0x8123, GUE_PORT).write(&mut bytes, &payload).is_ok());
    let checksum = ETHERNET_HEADER + if outer_v6 { 40 } else { 20 } + 6;
    bytes[checksum..checksum + 2].fill(0);
    bytes
}

fn all_frames() -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    for inner in [(false, false), (false, true), (true, false), (true, true)] {
        let inner = client_packet(inner.0, inner.1);
        frames.push(gue_frame(false, &inner));
        frames.push(gue_frame(true, &inner));
    }
    frames
}

#[test]
fn right_frames_have_no_faults() {
    for frame in all_frames() {
        let dissected = dissect(&frame);
        assert_eq!(dissected.faults, []);
        assert_eq!(dissected.packets.len(), 2);
        assert_eq!(dissected.packets[0].private, [0; 4]);
        let inner = dissected.inner().map(|packet| packet.ports);
        assert!(matches!(inner, Some(Some((40000, 80 | 53)))), "{inner:?}");
    }
}

#[test]
fn a_corrupted_packet_is_found() {
    for frame in all_frames() {
        let inner = dissect(&frame).packets[1].bytes.len();
        for at in frame.len() - PAYLOAD.len()..frame.len() {
            let mut bad = frame.clone();
            bad[at] ^= 0x10;
            assert!(!verify(&bad).is_empty(), "byte {at}");
        }
        // The inner destination address: in the pseudo-header of both families.
        let v4 = frame[frame.len() - inner] >> 4 == 4;
        let destination = frame.len() - inner + if v4 { 16 } else { 24 };
        let mut bad = frame.clone();
        bad[destination] ^= 1;
        assert!(!verify(&bad).is_empty());
    }
}

#[test]
fn a_corrupted_outer_header_is_found() {
    let frame = gue_frame(false, &client_packet(false, false));
    for bit in 0..8 * 20 {
        let mut bad = frame.clone();
        bad[ETHERNET_HEADER + bit / 8] ^= 1 << (bit % 8);
        assert!(verify(&bad).iter().any(|fault| fault.depth == 0), "bit {bit}");
    }
}

#[test]
fn a_wrong_outer_udp_checksum_is_found_and_a_right_one_is_not() {
    let inner = client_packet(true, false);
    let payload = [&[1, 41, 0, 0, 0, 0, 0, 0][..], &inner].concat();
    let mut frame = Vec::new();
    let builder = PacketBuilder::ethernet2(MACS.0, MACS.1).ipv6([0xfd; 16], [0xfc; 16], 64);
    assert!(builder.udp(0x8123, GUE_PORT).write(&mut frame, &payload).is_ok());
    assert_eq!(verify(&frame), []);
    frame[ETHERNET_HEADER + 46] ^= 1;
    assert_eq!(verify(&frame).len(), 1);
}

#[test]
fn a_zero_udp_checksum_in_ipv6_is_for_tunnels() {
    let mut inner = client_packet(true, true);
    inner[46..48].fill(0);
    assert_eq!(verify(&gue_frame(true, &inner)).len(), 1);
    let mut inner = client_packet(false, true);
    inner[26..28].fill(0);
    assert_eq!(verify(&gue_frame(true, &inner)), []);
}

#[test]
fn both_zeros_of_one_s_complement_are_right() {
    // The sequence number is chosen so that the checksum comes out as zero.
    let mut packet = client_packet(false, false);
    let checksum = u16::from_be_bytes([packet[36], packet[37]]);
    let low = u32::from(u16::from_be_bytes([packet[26], packet[27]])) + u32::from(checksum);
    let low = (low & 0xffff) + (low >> 16);
    packet[26..28].copy_from_slice(&low.to_be_bytes()[2..]);
    for (zero, faults) in [([0, 0], 0), ([0xff, 0xff], 0), ([0, 1], 1)] {
        packet[36..38].copy_from_slice(&zero);
        assert_eq!(verify(&gue_frame(false, &packet)).len(), faults);
    }
}

#[test]
fn ip_in_ip_and_vlan_tags_are_taken_apart() {
    let inner = client_packet(false, false);
    let mut frame = Vec::new();
    let builder = PacketBuilder::ethernet2(MACS.0, MACS.1)
        .single_vlan(etherparse::VlanId::ZERO)
        .ipv6([0xfd; 16], [0xfc; 16], 64);
    assert!(builder.write(&mut frame, IpNumber::IPV4, &inner).is_ok());
    let dissected = dissect(&frame);
    assert_eq!((dissected.packets.len(), &dissected.faults), (2, &vec![]));
    assert_eq!(dissected.packets[1].bytes, inner);
}

#[test]
fn ethernet_padding_is_no_part_of_the_packet() {
    let inner = client_packet(false, true);
    let mut frame = [&[0; 12][..], &[8, 0], &inner].concat();
    frame.extend([0xaa; 9]);
    let dissected = dissect(&frame);
    assert_eq!(dissected.faults, []);
    assert_eq!(dissected.packets[0].bytes, inner);
}

#[test]
fn a_packet_longer_than_its_frame_is_found() {
    let mut frame = gue_frame(false, &client_packet(false, false));
    frame.pop();
    assert!(!verify(&frame).is_empty());
}
