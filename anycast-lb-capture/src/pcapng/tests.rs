use std::process::Command;

use anycast_lb_common::abi::{Event, Verdict};
use bytemuck::Zeroable;
use etherparse::PacketBuilder;
use pcap_file::pcapng::{Block, PcapNgReader};

use super::*;
use crate::sight::testing::{event, hop, sight};

/// A SYN as it came, and what stands for it as it left.
fn frames() -> (Vec<u8>, Vec<u8>) {
    let build = |source: [u8; 4], destination: [u8; 4]| {
        let mut frame = Vec::new();
        PacketBuilder::ethernet2([2; 6], [4; 6])
            .ipv4(source, destination, 64)
            .tcp(51234, 443, 7, 1024)
            .syn()
            .write(&mut frame, b"")
            .expect("a frame");
        frame
    };
    (build([192, 0, 2, 7], [203, 0, 113, 1]), build([10, 0, 0, 2], [10, 0, 0, 11]))
}

fn captured(event: &Event) -> Sight {
    let (before, after) = frames();
    let frame = |bytes: Vec<u8>| Frame { length: bytes.len() as u32, bytes };
    Sight { before: frame(before), after: frame(after), ..sight(event) }
}

fn file(sights: &[Sight]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), 256, "all").expect("a file");
    for sight in sights {
        writer.write(sight).expect("written");
    }
    writer.finish(0x0102_0304_0506_0708, 5).expect("finished").0
}

#[test]
fn both_frames_are_there_with_the_verdict_and_nanoseconds() {
    let bytes = file(&[captured(&event())]);
    let mut reader = PcapNgReader::new(&bytes[..]).expect("pcapng");
    let mut packets = Vec::new();
    while let Some(block) = reader.next_block() {
        if let Block::EnhancedPacket(packet) = block.expect("a block") {
            packets.push(packet.into_owned());
        }
    }
    let (before, after) = frames();
    assert_eq!(packets.iter().map(|p| p.data.to_vec()).collect::<Vec<_>>(), [before, after]);
    assert_eq!(packets.iter().map(|p| p.interface_id).collect::<Vec<_>>(), [0, 1]);
    assert_eq!(packets[0].timestamp, Duration::from_nanos(1_000_002_003));
    let comment = "verdict forwarded_gue (transmit): Sent to a backend in GUE.; VIP 203.0.113.1:443/tcp; pool web; \
                   backend 10.0.0.11; node fra1-lb1 of fra1; table version 17";
    for (packet, direction) in packets.iter().zip([INBOUND, OUTBOUND]) {
        let expected =
            [EnhancedPacketOption::Comment(comment.into()), EnhancedPacketOption::Flags(direction)];
        assert_eq!(packet.options, expected);
    }
    assert_eq!(reader.interfaces().len(), 2);
}

#[test]
fn what_did_not_leave_or_left_as_it_came_is_there_once() {
    let count = |sight: Sight| {
        let bytes = file(&[sight]);
        let mut reader = PcapNgReader::new(&bytes[..]).expect("pcapng");
        let blocks =
            std::iter::from_fn(|| reader.next_block().map(|b| matches!(b, Ok(Block::EnhancedPacket(_)))));
        blocks.filter(|is_packet| *is_packet).count()
    };
    let dropped = captured(&Event { verdict: Verdict::EmptyTable as u8, ..event() });
    assert_eq!(count(Sight { after: Frame::default(), ..dropped }), 1);
    let passed = captured(&Event { verdict: Verdict::NotVip as u8, ..event() });
    assert_eq!(count(Sight { after: passed.before.clone(), ..passed.clone() }), 1);
    assert_eq!(count(passed), 2);
}

#[test]
fn the_time_of_the_statistics_is_two_words() {
    let bytes = file(&[captured(&event())]);
    let words = [0x0102_0304_u32, 0x0506_0708].map(u32::to_le_bytes).concat();
    assert!(bytes.windows(8).any(|window| window == words));
}

#[test]
fn tshark_reads_it_without_a_complaint() {
    let mut hostile = captured(&hop());
    hostile.node = "evil\x1b[2J\nnode".to_owned();
    // Captured in part.
    let mut cut = captured(&event());
    cut.before.bytes.truncate(30);
    let bytes = file(&[captured(&event()), hostile, cut, captured(&Event { version: 1, ..Event::zeroed() })]);
    let path = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(path.path(), &bytes).expect("written");
    let tshark = |arguments: &[&str]| {
        let output = Command::new("tshark").arg("-r").arg(path.path()).args(arguments).output();
        let output = output.expect("tshark runs");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("text")
    };
    let fields = ["frame.interface_name", "frame.interface_description", "frame.comment", "frame.time_epoch"];
    let arguments: Vec<&str> =
        ["-T", "fields"].into_iter().chain(fields.iter().flat_map(|f| ["-e", f])).collect();
    let text = tshark(&arguments);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 8, "{text}");
    assert!(lines[0].starts_with("eth0 before\tfra1-lb1 (ingress), eth0: as packets came"), "{text}");
    assert!(
        lines[0].contains("verdict forwarded_gue (transmit): Sent to a backend in GUE.; VIP 203"),
        "{text}"
    );
    assert!(lines[0].ends_with("1.000002003"), "{text}");
    assert!(lines[1].starts_with("eth0 after\t"), "{text}");
    assert!(lines[2].contains("next 10.0.0.12; node evil\\u{1b}[2J\\nnode of fra1"), "{text}");
    assert_eq!(tshark(&["-Y", "_ws.malformed"]), "");
    assert!(tshark(&["-Y", "frame.comment contains \"verdict hop\""]).contains("203.0.113.1"));
}

#[test]
fn a_file_without_packets_is_one_all_the_same() {
    let path = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(path.path(), file(&[])).expect("written");
    let output = Command::new("tshark").arg("-r").arg(path.path()).output().expect("tshark runs");
    assert!(output.status.success() && output.stdout.is_empty(), "{output:?}");
}
