use etherparse::{IpNumber, PacketBuilder};

use super::*;

const A: [u8; 6] = [2, 0, 0, 0, 0, 1];
const B: [u8; 6] = [2, 0, 0, 0, 0, 2];

fn text(frame: &[u8]) -> String {
    let text = dissect(frame).text;
    text.strip_prefix("02:00:00:00:00:01 > 02:00:00:00:00:02, ").unwrap_or(&text).to_owned()
}

fn built<T>(
    builder: etherparse::PacketBuilderStep<T>,
    write: impl FnOnce(etherparse::PacketBuilderStep<T>, &mut Vec<u8>),
) -> Vec<u8> {
    let mut frame = Vec::new();
    write(builder, &mut frame);
    frame
}

#[test]
fn packets_read_as_tcpdump_would_say_them() {
    let v4 = || PacketBuilder::ethernet2(A, B).ipv4([192, 0, 2, 7], [203, 0, 113, 1], 64);
    let v6 = || PacketBuilder::ethernet2(A, B).ipv6([0x20; 16], [0x30; 16], 9);
    let tcp = built(v4().tcp(51234, 443, 1, 10).syn(), |b, out| b.write(out, &[]).expect("a frame"));
    assert_eq!(text(&tcp), "192.0.2.7:51234 > 203.0.113.1:443 TCP [S], TTL 64, 40 bytes");
    let udp = built(v6().udp(1, 53), |b, out| b.write(out, b"xx").expect("a frame"));
    assert_eq!(
        text(&udp),
        "[2020:2020:2020:2020:2020:2020:2020:2020]:1 > [3030:3030:3030:3030:3030:3030:3030:3030]:53 UDP, hop limit 9, \
         50 bytes"
    );
    let echo = built(v4().icmpv4_echo_request(5, 6), |b, out| b.write(out, &[]).expect("a frame"));
    assert_eq!(text(&echo), "192.0.2.7 > 203.0.113.1 ICMP echo request id 5 seq 6, TTL 64, 28 bytes");
    let esp = built(v4(), |b, out| b.write(out, IpNumber(50), &[0; 8]).expect("a frame"));
    assert_eq!(text(&esp), "192.0.2.7 > 203.0.113.1 protocol 50, TTL 64, 28 bytes");
    let mut arp = [&B[..], &A, &[8, 6]].concat();
    arp.resize(60, 0);
    assert_eq!(text(&arp), "ARP, 46 bytes");
}

#[test]
fn tags_fragments_and_extension_headers_are_seen() {
    let tagged = PacketBuilder::ethernet2(A, B)
        .double_vlan(7.try_into().expect("an id"), 9.try_into().expect("an id"))
        .ipv4([192, 0, 2, 7], [203, 0, 113, 1], 64)
        .udp(1, 2);
    let mut frame = built(tagged, |b, out| b.write(out, &[0; 8]).expect("a frame"));
    let read = dissect(&frame);
    assert_eq!(read.tags, [7, 9]);
    assert!(read.text.contains("VLAN 7, VLAN 9, 192.0.2.7:1 > 203.0.113.1:2 UDP"), "{}", read.text);

    // Its flags word: more fragments, offset 8.
    frame[22 + 6..22 + 8].copy_from_slice(&0x2001_u16.to_be_bytes());
    let read = dissect(&frame);
    let ip = read.ip.expect("an IP header");
    assert!(ip.fragment && ip.ports.is_none());
    assert!(
        read.text.contains("203.0.113.1 UDP, TTL 64, 36 bytes, fragment 0x0 at 8, more follow"),
        "{}",
        read.text
    );

    let mut six = [&B[..], &A, &[0x86, 0xdd]].concat();
    six.extend([0x60, 0, 0, 0, 0, 24, 0, 64]);
    six.extend([1; 32]);
    // Hop-by-hop, then the first fragment, then UDP.
    six.extend([44, 0, 1, 4, 0, 0, 0, 0, 17, 0, 0, 1, 0, 0, 0, 9, 0, 1, 0, 2, 0, 8, 0, 0]);
    let read = dissect(&six);
    assert_eq!(read.ip.and_then(|ip| ip.ports), Some((1, 2)));
    assert!(
        read.text.ends_with("64 bytes, fragment 0x9 at 0, more follow, extension headers: 2"),
        "{}",
        read.text
    );
}

#[test]
fn a_tunnel_is_read_with_its_hops_and_what_is_inside() {
    let inner = PacketBuilder::ipv4([192, 0, 2, 7], [203, 0, 113, 1], 61).tcp(51234, 443, 1, 10).syn();
    let inner = built(inner, |b, out| b.write(out, &[]).expect("a packet"));
    let private = [0, 0, 0, 2, 10, 0, 0, 12, 10, 0, 0, 13];
    let payload = [&[3, 4, 0, 0][..], &private, &inner].concat();
    let outer = PacketBuilder::ethernet2(A, B).ipv4([10, 0, 0, 2], [10, 0, 0, 11], 64).udp(33000, 19523);
    let frame = built(outer, |b, out| b.write(out, &payload).expect("a frame"));
    let read = dissect(&frame);
    assert_eq!(read.hops, [IpAddr::from([10, 0, 0, 12]), IpAddr::from([10, 0, 0, 13])]);
    assert_eq!(read.inner.and_then(|ip| ip.ports), Some((51234, 443)));
    assert_eq!(
        text(&frame),
        "10.0.0.2:33000 > 10.0.0.11:19523 UDP, TTL 64, 84 bytes | GUE, 0 of 2 hops used: 10.0.0.12 10.0.0.13 | \
         192.0.2.7:51234 > 203.0.113.1:443 TCP [S], TTL 61, 40 bytes"
    );
    let ipip = PacketBuilder::ethernet2(A, B).ipv4([10, 0, 0, 2], [10, 0, 0, 11], 64);
    let frame = built(ipip, |b, out| b.write(out, IpNumber(4), &inner).expect("a frame"));
    assert!(text(&frame).contains("IPv4 in IP, TTL 64, 60 bytes | 192.0.2.7:51234"), "{}", text(&frame));
}

#[test]
fn whatever_is_cut_off_is_said_and_nothing_panics() {
    let packet = PacketBuilder::ethernet2(A, B).ipv4([192, 0, 2, 7], [203, 0, 113, 1], 64).tcp(1, 2, 3, 4);
    let frame = built(packet, |b, out| b.write(out, &[0; 20]).expect("a frame"));
    assert!(text(&frame[..50]).contains("60 bytes of which the frame has 36"), "{}", text(&frame[..50]));
    assert!(text(&frame[..40]).contains("TCP cut short"), "{}", text(&frame[..40]));
    assert!(text(&frame[..20]).contains("no usable IPv4 header"));
    assert_eq!(dissect(&frame[..10]).text, "10 bytes, which is less than an Ethernet header");
    // Nonsense behind every kind of header.
    for seed in 0..20_000_u32 {
        let mut bytes: Vec<u8> =
            (0..90_u32).map(|i| (seed.wrapping_mul(2_654_435_761).rotate_left(i) >> 7) as u8).collect();
        let kinds: [&[u8]; 4] = [&[8, 0, 0x45], &[0x86, 0xdd, 0x60], &[0x81, 0], &[8, 0, 0x4f]];
        let kind = kinds[seed as usize % 4];
        bytes[12..12 + kind.len()].copy_from_slice(kind);
        bytes[23] = [4, 17, 41, 1][seed as usize / 4 % 4];
        bytes.truncate(14 + seed as usize % 77);
        dissect(&bytes);
    }
}
