//! The table, the text, and what is written about them elsewhere.

mod documents;
mod exposition;
mod http;
mod sample;

use std::collections::{BTreeMap, BTreeSet};

use super::table::{Kind, metrics};

/// A series of an exposition: its name, its labels, its value.
type Series = (String, BTreeMap<String, String>, f64);

/// The series of an exposition. Panics where a line is none that Prometheus would read.
fn series(text: &str) -> Vec<Series> {
    text.lines().filter(|line| !line.starts_with('#')).map(one).collect()
}

fn one(line: &str) -> Series {
    let mut rest = line;
    let end = rest.find(['{', ' ']).unwrap_or_else(|| panic!("{line}"));
    let name = &rest[..end];
    rest = &rest[end..];
    let mut labels = BTreeMap::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        while !rest.starts_with('}') {
            let (key, after) = rest.split_once("=\"").unwrap_or_else(|| panic!("{line}"));
            let (value, after) = unescape(after);
            assert!(labels.insert(key.trim_start_matches(',').to_owned(), value).is_none(), "{line}");
            rest = after;
        }
        rest = &rest[1..];
    }
    let value = rest.trim_start().parse().unwrap_or_else(|_| panic!("no value: {line}"));
    (name.to_owned(), labels, value)
}

/// A label's value up to its closing quote, and what comes after that.
fn unescape(text: &str) -> (String, &str) {
    let mut out = String::new();
    let mut characters = text.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => return (out, &text[at + 1..]),
            '\\' => out.push(match characters.next() {
                Some((_, 'n')) => '\n',
                Some((_, c @ ('\\' | '"'))) => c,
                other => panic!("no escape: {other:?}"),
            }),
            c => out.push(c),
        }
    }
    panic!("no end: {text}")
}

#[test]
fn names_follow_the_conventions() {
    let mut names = BTreeSet::new();
    for m in metrics() {
        assert!(names.insert(m.name), "{} is there twice", m.name);
        assert!(m.name.starts_with("anycast_lb_") || m.name.starts_with("process_"), "{}", m.name);
        let plain =
            |text: &str| text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        assert!(plain(m.name) && m.labels.iter().all(|l| plain(l)), "{}", m.name);
        assert_eq!(m.name.ends_with("_total"), m.kind == Kind::Counter, "{}", m.name);
        assert_eq!(m.name.ends_with("_info"), m.kind == Kind::Info, "{}", m.name);
        for other in ["_ms", "_milliseconds", "_kb", "_ppm", "_percent", "_count", "_sum", "_bucket"] {
            assert!(!m.name.contains(other), "{} has no base unit", m.name);
        }
        // Those are the scraper's.
        for taken in ["instance", "job", "le", "quantile"] {
            assert!(!m.labels.contains(&taken), "{}: {taken}", m.name);
        }
        let labels: BTreeSet<_> = m.labels.iter().collect();
        assert_eq!(labels.len(), m.labels.len(), "{}", m.name);
        assert!(m.help.ends_with('.') && !m.help.contains(['\n', '|', '\\']), "{}", m.help);
    }
}
