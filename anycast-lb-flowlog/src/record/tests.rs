use std::time::{Duration, UNIX_EPOCH};

use super::*;

pub(crate) fn record() -> Record {
    Record {
        time: UNIX_EPOCH + Duration::new(1_796_054_959, 123_456_789),
        node: "fra1-lb1".into(),
        pop: Some("fra1".into()),
        program: Program::Ingress,
        event: Events::default().with(Event::Begin),
        protocol: 6,
        source: "192.0.2.7:40000".parse().unwrap(),
        destination: "203.0.113.1:443".parse().unwrap(),
        tcp_flags: 2,
        verdict: "forwarded_gue".into(),
        vip: Some("203.0.113.1:443/tcp".into()),
        pool: Some("web".into()),
        slot: Some(77),
        backend: Some("10.0.0.11".parse().unwrap()),
        table_version: 12,
        sender: None,
        next: None,
        bytes: 74,
    }
}

#[test]
fn a_line_is_what_the_document_says() {
    assert_eq!(
        record().line(),
        r#"{"time":"2026-11-30T16:09:19.123456789Z","node":"fra1-lb1","pop":"fra1","program":"ingress","event":["begin"],"protocol":"tcp","source":"192.0.2.7:40000","destination":"203.0.113.1:443","tcp_flags":2,"verdict":"forwarded_gue","vip":"203.0.113.1:443/tcp","pool":"web","slot":77,"backend":"10.0.0.11","table_version":12,"bytes":74}"#
    );
}

#[test]
fn a_line_is_read_again() {
    let hop = Record {
        program: Program::Backend,
        event: Events::from_bits(0xff),
        protocol: 47,
        source: "[2001:db8::7]:0".parse().unwrap(),
        sender: Some("fd00::2".parse().unwrap()),
        next: Some("fd00::3".parse().unwrap()),
        pop: None,
        vip: None,
        ..record()
    };
    for record in [record(), hop] {
        assert_eq!(Record::from_line(&record.line()), Some(record));
    }
}

#[test]
fn keys_and_events_of_later_releases_do_not_matter_and_a_cut_line_is_none() {
    let line = record().line();
    let later = line
        .replace(r#"["begin"]"#, r#"["begin","later"]"#)
        .replace(r#""bytes""#, r#""new":{"a":[1]},"bytes""#);
    assert_eq!(Record::from_line(&later), Some(record()));
    for end in 0..line.len() {
        assert_eq!(Record::from_line(&line[..end]), None, "{end}");
    }
}

#[test]
fn the_document_names_every_key_and_no_other() {
    let document = include_str!("../../../docs/FLOWLOG.md");
    let (_, table) = document.split_once("## A line").unwrap();
    let (table, _) = table.split_once("\n## ").unwrap();
    let named: Vec<&str> =
        table.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    let all = Record { sender: record().backend, next: record().backend, ..record() };
    let value: serde_json::Value = serde_json::from_str(&all.line()).unwrap();
    let mut keys: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
    // In the document as in the file.
    keys.sort_by_key(|key| all.line().find(&format!("\"{key}\":")));
    assert_eq!(named, keys);
    for event in Event::ALL {
        assert!(table.contains(&format!("`{}`", event.name())), "{event:?}");
    }
    for (_, name) in PROTOCOLS {
        assert!(table.contains(&format!("`{name}`")), "{name}");
    }
}
