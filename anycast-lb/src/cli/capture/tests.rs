use std::time::Duration;

use pcap_file::pcap::{PcapHeader, PcapPacket, PcapWriter};
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketBlock;
use pcap_file::pcapng::blocks::interface_description::InterfaceDescriptionBlock;

use super::*;

const IP: [u8; 20] = [0x45, 0, 0, 20, 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 7, 203, 0, 113, 1];

fn framed() -> Vec<u8> {
    [&LINK, &IPV4[..], &IP].concat()
}

fn pcap(datalink: DataLink, packets: &[(&[u8], u32)]) -> Vec<u8> {
    let header = PcapHeader { datalink, ..PcapHeader::default() };
    let mut writer = PcapWriter::with_header(Vec::new(), header).expect("a header");
    for (data, length) in packets {
        writer.write_packet(&PcapPacket::new(Duration::ZERO, *length, data)).expect("a packet");
    }
    writer.into_writer()
}

fn pcapng(linktype: DataLink, data: &[u8]) -> Vec<u8> {
    let mut writer = PcapNgWriter::new(Vec::new()).expect("a section");
    let interface = InterfaceDescriptionBlock { linktype, snaplen: 0, options: vec![] };
    writer.write_pcapng_block(interface).expect("an interface");
    let packet = EnhancedPacketBlock {
        interface_id: 0,
        timestamp: Duration::ZERO,
        original_len: data.len() as u32,
        data: data.into(),
        options: vec![],
    };
    writer.write_pcapng_block(packet).expect("a packet");
    writer.into_inner()
}

fn only(file: &[u8]) -> Packet {
    let Packets { packets, notes } = read(file, 10).expect("packets");
    assert_eq!((packets.len(), notes), (1, vec![]));
    packets[0].clone()
}

#[test]
fn both_formats_and_all_link_types_give_the_same_frame() {
    let ethernet = framed();
    assert_eq!(only(&pcap(DataLink::ETHERNET, &[(&ethernet, 34)])).notes, Vec::<String>::new());
    let sll = [&[0; 14][..], &IPV4, &IP].concat();
    let sll2 = [&IPV4[..], &[0; 18], &IP].concat();
    for (link, data) in [
        (DataLink::ETHERNET, ethernet.as_slice()),
        (DataLink::RAW, &IP),
        (DataLink::IPV4, &IP),
        (DataLink::Unknown(12), &IP),
        (DataLink::LINUX_SLL, &sll),
        (DataLink::LINUX_SLL2, &sll2),
    ] {
        for file in [pcap(link, &[(data, data.len() as u32)]), pcapng(link, data)] {
            let packet = only(&file);
            assert_eq!((packet.frame, packet.error), (framed(), None), "{link:?}");
            assert_eq!(packet.notes.len(), usize::from(link != DataLink::ETHERNET), "{link:?}");
        }
    }
}

#[test]
fn what_was_captured_in_part_is_filled_up() {
    let mut file = pcap(DataLink::ETHERNET, &[(&framed(), 60)]);
    // A snap length below the packet's own, as tcpdump -s writes it.
    file[16..20].copy_from_slice(&34_u32.to_be_bytes());
    let packet = only(&file);
    assert_eq!((packet.frame.len(), &packet.frame[..34]), (60, framed().as_slice()));
    assert!(packet.notes[0].contains("last 26 bytes"), "{packet:?}");
}

#[test]
fn what_the_test_run_does_not_take_is_said_of_each() {
    let large = vec![0; 9014];
    let packets = [(&large[..], 9014), (&[0; 9][..], 9), (&framed()[..], 34)];
    let read = read(pcap(DataLink::ETHERNET, &packets).as_slice(), 10).expect("packets");
    assert!(read.packets[0].error.as_ref().is_some_and(|e| e.starts_with("9014 bytes")), "{read:?}");
    assert!(read.packets[1].error.as_ref().is_some_and(|e| e.starts_with("9 bytes")), "{read:?}");
    assert_eq!(read.packets[2].error, None);
    let strange = only(&pcap(DataLink::BLUETOOTH_HCI_H4, &[(&[0; 60], 60)]));
    assert!(strange.error.is_some_and(|e| e.starts_with("link type 187")));
    assert!(only(&pcap(DataLink::RAW, &[(&[0x15; 20], 20)])).error.is_some());
    assert!(only(&pcap(DataLink::LINUX_SLL, &[(&[0; 15], 15)])).error.is_some());
}

#[test]
fn no_more_packets_are_read_than_asked_for() {
    let frame = framed();
    let file = pcap(DataLink::ETHERNET, &[(frame.as_slice(), 34); 5]);
    let three = read(file.as_slice(), 3).expect("packets");
    assert_eq!((three.packets.len(), three.notes.len()), (3, 1));
    assert!(three.notes[0].contains("first 3 packets"));
    assert_eq!(read(file.as_slice(), 5).expect("packets").notes, Vec::<String>::new());
}

#[test]
fn a_file_that_ends_early_is_read_up_to_there() {
    let frame = framed();
    for file in [pcap(DataLink::ETHERNET, &[(frame.as_slice(), 34); 2]), pcapng(DataLink::ETHERNET, &frame)] {
        let cut = read(&file[..file.len() - 5], 10).expect("packets");
        assert!(cut.notes[0].starts_with("the file ends within packet"), "{cut:?}");
    }
}

#[test]
fn what_is_no_capture_is_refused() {
    let damaged = pcapng(DataLink::ETHERNET, &framed())[..20].to_vec();
    for (file, words) in [
        (&b""[..], "empty"),
        (b"\n", "neither pcap nor pcapng"),
        (b"tcp 192.0.2.7:1 203.0.113.1:443\n", "neither pcap nor pcapng"),
        (&damaged, "damaged pcapng"),
    ] {
        let error = read(file, 10).expect_err(words);
        assert!(error.contains(words), "{error}");
    }
    // Nonsense of any kind ends in an error or in packets, never in a panic.
    for seed in 0..2000_u32 {
        let mut file = if seed % 2 == 0 {
            pcap(DataLink::ETHERNET, &[(framed().as_slice(), 34); 2])
        } else {
            pcapng(DataLink::LINUX_SLL, &framed())
        };
        let at = (seed.wrapping_mul(2_654_435_761) >> 8) as usize % file.len();
        file[at] ^= 1 << (seed % 8);
        let _ = read(file.as_slice(), 10);
    }
}

#[test]
fn ip_given_by_hand_gets_a_link_header() {
    assert_eq!(by_hand(&IP).frame, framed());
    assert_eq!(by_hand(&framed()).frame, framed());
    let six = [&[0x60, 0, 0, 0, 0, 1, 59, 64][..], &[0; 32], &[7]].concat();
    assert_eq!(by_hand(&six).frame, [&LINK, &IPV6[..], &six].concat());
    // A multicast frame that only begins like IPv4.
    let group = [&[0x45, 0, 0, 1, 2, 3][..], &[0; 30]].concat();
    assert_eq!(by_hand(&group).frame, group);
    assert!(by_hand(&[1, 2, 3]).error.is_some());
}
