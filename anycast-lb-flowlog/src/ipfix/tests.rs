use std::process::Command;

use super::*;
use crate::record::{Events, Program, tests::record};

fn records() -> Vec<Record> {
    let v4 = record();
    let end = Record { event: Events::default().with(Event::End), tcp_flags: 17, ..record() };
    let over_v6 = Record { backend: "fd00::11".parse().ok(), ..record() };
    let v6 = Record {
        source: "[2001:db8::7]:40000".parse().unwrap(),
        destination: "[2001:db8::1]:443".parse().unwrap(),
        verdict: "empty_table".into(),
        backend: None,
        vip: None,
        ..record()
    };
    let hop = Record {
        program: Program::Backend,
        verdict: "hop".into(),
        backend: None,
        next: "10.0.0.12".parse().ok(),
        event: Events::default().with(Event::Hop),
        ..v6.clone()
    };
    vec![v4, end, over_v6, v6, hop]
}

/// A capture of UDP packets to port 4739 with these messages.
fn capture(messages: &[Vec<u8>]) -> Vec<u8> {
    let mut pcap = Vec::new();
    // The classic format: microseconds, Ethernet.
    pcap.extend(0xa1b2_c3d4_u32.to_le_bytes());
    pcap.extend([2, 0, 4, 0]);
    pcap.extend([0; 8]);
    pcap.extend(65_535_u32.to_le_bytes());
    pcap.extend(1_u32.to_le_bytes());
    for (second, message) in (0_u32..).zip(messages) {
        let (udp, ip) = (8 + message.len() as u16, 28 + message.len() as u16);
        let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0];
        frame.extend(ip.to_be_bytes());
        frame.extend([0, 0, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 2, 10, 0, 0, 9]);
        frame.extend([0xc0, 0, 0x12, 0x83]);
        frame.extend(udp.to_be_bytes());
        frame.extend([0, 0]);
        frame.extend(message);
        pcap.extend(second.to_le_bytes());
        pcap.extend([0; 4]);
        pcap.extend((frame.len() as u32).to_le_bytes());
        pcap.extend((frame.len() as u32).to_le_bytes());
        pcap.extend(frame);
    }
    pcap
}

/// What tshark says of the messages: of each packet the values of `fields`.
fn read(messages: &[Vec<u8>], fields: &[&str]) -> Vec<Vec<String>> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), capture(messages)).unwrap();
    let mut command = Command::new("tshark");
    command
        .args(["-n", "-d", "udp.port==4739,cflow", "-T", "fields", "-E", "separator=;", "-r"])
        .arg(file.path());
    for field in fields {
        command.args(["-e", field]);
    }
    let output = command.env("TZ", "UTC").output().expect("tshark is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| line.split(';').map(str::to_owned).collect()).collect()
}

#[test]
fn wireshark_reads_every_value_without_complaint() {
    let messages = Exporter::default().messages(Instant::now(), record().time, &records());
    let messages: Vec<Vec<u8>> = messages.into_iter().map(|message| message.bytes).collect();
    let domain = domain("fra1-lb1").to_string();
    let names = ["fra1-lb1"; 5].join(",");
    let expected = [
        ("_ws.expert.message", ""),
        ("_ws.malformed", ""),
        ("cflow.version", "10"),
        ("cflow.sequence", "0"),
        ("cflow.od_id", &domain),
        ("cflow.srcaddr", "192.0.2.7,192.0.2.7,192.0.2.7"),
        ("cflow.srcaddrv6", "2001:db8::7,2001:db8::7"),
        ("cflow.dstaddr", "203.0.113.1,203.0.113.1,203.0.113.1"),
        ("cflow.dstaddrv6", "2001:db8::1,2001:db8::1"),
        ("cflow.nexthop", "10.0.0.11,10.0.0.11,10.0.0.12"),
        ("cflow.nexthopv6", "fd00::11,::"),
        ("cflow.srcport", "40000,40000,40000,40000,40000"),
        ("cflow.dstport", "443,443,443,443,443"),
        ("cflow.protocol", "6,6,6,6,6"),
        ("cflow.tcpflags", "0x0002,0x0011,0x0002,0x0002,0x0002"),
        ("cflow.octets", "74,74,74,74,74"),
        ("cflow.packets", "1,1,1,1,1"),
        ("cflow.forwarding_status", "1,1,1,2,1"),
        ("cflow.firewall_event", "1,2,1,1,5"),
        ("cflow.observation_domain_name", &names),
        // Of records without a VIP it shows nothing.
        ("cflow.appl_name", "203.0.113.1:443/tcp,203.0.113.1:443/tcp,203.0.113.1:443/tcp"),
    ];
    let fields: Vec<&str> = expected.iter().map(|(field, _)| *field).chain(["cflow.abstimestart"]).collect();
    let read = read(&messages, &fields);
    assert_eq!(read.len(), 2, "templates, then records");
    assert!(read[0][..2].iter().all(String::is_empty), "{:?}", read[0]);
    for ((field, wanted), found) in expected.iter().zip(&read[1]) {
        assert_eq!(found, wanted, "{field}");
    }
    let start = &read[1][expected.len()];
    assert_eq!(start.matches("16:09:19.123000000").count(), 5, "{start}");
}

#[test]
fn messages_are_short_count_records_and_tell_templates_again() {
    let mut exporter = Exporter::default();
    let now = Instant::now();
    let records: Vec<Record> = std::iter::repeat_with(record).take(100).collect();
    let first = exporter.messages(now, record().time, &records);
    assert_eq!(first.iter().map(|message| message.records).sum::<u64>(), 100);
    assert!(first[0].records == 0 && first[1..].iter().all(|message| message.records > 0));
    let first: Vec<Vec<u8>> = first.into_iter().map(|message| message.bytes).collect();
    assert!(first.iter().all(|message| message.len() <= MAX_MESSAGE) && first.len() > 5);
    let number =
        |at: std::ops::Range<usize>, message: &Vec<u8>| u32::from_be_bytes(message[at].try_into().unwrap());
    let is_template = |message: &&Vec<u8>| message[16..18] == [0, 2];
    assert_eq!(first.iter().filter(is_template).count(), 1);
    // What follows the messages is as many records as the next one says were before it.
    let sequences: Vec<u32> = first.iter().map(|message| number(8..12, message)).collect();
    let size = data_set(&record()).len();
    let mut sent = 0;
    for (message, sequence) in first.iter().zip(sequences) {
        assert_eq!(sequence, sent);
        sent += if is_template(&message) { 0 } else { ((message.len() - 16) / size) as u32 };
        assert_eq!(usize::from(u16::from_be_bytes([message[2], message[3]])), message.len());
    }
    assert_eq!(sent, 100);
    let later = exporter.messages(now + TEMPLATES_EVERY / 2, record().time, &records[..1]);
    assert_eq!((later.len(), number(8..12, &later[0].bytes)), (1, 100));
    let much_later = exporter.messages(now + TEMPLATES_EVERY, record().time, &records[..1]);
    assert_eq!((much_later.len(), number(8..12, &much_later[0].bytes)), (2, 101));
    assert!(exporter.messages(now, record().time, &[]).is_empty());
}

#[test]
fn long_and_foreign_names_are_cut_at_a_letter() {
    let mut out = Vec::new();
    text(&mut out, &"é".repeat(200));
    assert_eq!((out[0], out.len()), (254, 255));
    assert!(std::str::from_utf8(&out[1..]).is_ok());
    let mut out = Vec::new();
    text(&mut out, &format!("a{}", "é".repeat(200)));
    assert_eq!(out[0], 253);
    assert_ne!(domain("lb1"), domain("lb2"));
}
