//! `[pool.health]`, `all_down` and `minimum_healthy`.

use std::path::PathBuf;
use std::time::Duration;

use anycast_lb_health::Timing;
use anycast_lb_health::probe::{
    Check, CommandCheck, DnsCheck, HttpCheck, UdpCheck, Verify, is_host, is_method, is_name, is_path,
    is_record_type,
};

use super::global::LONGEST_NAME;
use super::word;
use crate::config::reader::{Field, Section};
use crate::config::report::{At, Spot};
use crate::model::{AllDown, HealthCheck, PoolHealth, Via};

const DEFAULT_INTERVAL: Duration = Duration::from_secs(2);
/// Timeout of a check whose file does not say; never more than its interval.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(1);
const DEFAULT_RISE: u32 = 2;
const DEFAULT_FALL: u32 = 3;
/// Shortest interval: what is more often is a load test.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);
/// Longest interval and timeout.
const LONGEST_INTERVAL: Duration = Duration::from_secs(3600);
/// As whom commands run whose file does not say.
const DEFAULT_USER: &str = "nobody";
/// Longest text that a body is searched for, and longest datagram.
const LONGEST_TEXT: usize = 1024;

const VIAS: &[(&str, Via)] = &[("tunnel", Via::Tunnel), ("direct", Via::Direct)];
const ALL_DOWN: &[(&str, AllDown)] =
    &[("withdraw", AllDown::Withdraw), ("keep_serving", AllDown::KeepServing)];

#[derive(Clone, Copy)]
enum Kind {
    Tcp,
    Http,
    Https,
    Dns,
    Udp,
    Icmp,
    Command,
}

const KINDS: &[(&str, Kind)] = &[
    ("tcp", Kind::Tcp),
    ("http", Kind::Http),
    ("https", Kind::Https),
    ("dns", Kind::Dns),
    ("udp", Kind::Udp),
    ("icmp", Kind::Icmp),
    ("command", Kind::Command),
];

/// What a pool says about health, as written.
pub(in crate::config) struct HealthDraft {
    /// Complete but for [`Self::ca`], whose path is relative to the file.
    pub health: PoolHealth,
    /// Where the check begins.
    pub spot: Spot,
    /// Name in messages: `pool "web" health`.
    pub path: String,
    /// Where `minimum_healthy` stands.
    pub minimum: Option<Spot>,
    /// Where `ca` stands.
    pub ca: Option<At<PathBuf>>,
}

pub(super) fn read(pool: &Section<'_>) -> HealthDraft {
    let all_down = pool.choice("all_down", ALL_DOWN).map(|a| a.value).unwrap_or_default();
    let minimum = pool.integer(
        "minimum_healthy",
        1..=u64::from(u16::MAX),
        "how many healthy backends make the pool servable, from 1; to serve with none: all_down = \"keep_serving\"",
    );
    let mut draft = HealthDraft {
        health: PoolHealth {
            check: None,
            all_down,
            minimum: minimum.as_ref().and_then(|m| u16::try_from(m.value).ok()).unwrap_or(1),
        },
        spot: pool.spot(),
        path: pool.key("health"),
        minimum: minimum.map(|m| m.spot),
        ca: None,
    };
    if let Some(section) = pool.table("health") {
        draft.spot = section.spot();
        draft.health.check = check(&section, &mut draft.ca);
        section.finish();
    }
    draft
}

fn check(section: &Section<'_>, ca: &mut Option<At<PathBuf>>) -> Option<HealthCheck> {
    let via = section.choice("via", VIAS).map(|v| v.value).unwrap_or_default();
    let timing = timing(section);
    let kind = section.required("type", "type = \"tcp\"").and_then(|kind| kind.choice(KINDS));
    let Some(kind) = kind else {
        // What the other keys mean is not known: they are not looked at.
        section.know_all();
        return None;
    };
    let check = match kind.value {
        Kind::Tcp => Some(Check::Tcp),
        Kind::Http => http(section, None),
        Kind::Https => {
            let tls = verify(section, ca);
            http(section, Some(tls))
        }
        Kind::Dns => dns(section),
        Kind::Udp => udp(section),
        Kind::Icmp => Some(Check::Icmp),
        Kind::Command => command(section),
    };
    let port = match kind.value {
        Kind::Icmp => None,
        _ => section.integer("port", 1..=u64::from(u16::MAX), "a port, from 1 to 65535"),
    };
    let port = port.and_then(|port| u16::try_from(port.value).ok());
    Some(HealthCheck { check: check?, via, port, timing })
}

fn timing(section: &Section<'_>) -> Timing {
    let duration = |key, shortest: Duration, default: Duration| {
        let Some(field) = section.field(key) else { return default };
        let Some(value) = field.duration() else { return default };
        if (shortest..=LONGEST_INTERVAL).contains(&value.value) {
            return value.value;
        }
        field.problem(
            format!("{:?} is out of range ({shortest:?} to {LONGEST_INTERVAL:?})", value.value),
            format!("write for example {key} = \"{default:?}\""),
        );
        default
    };
    let interval = duration("interval", SHORTEST_INTERVAL, DEFAULT_INTERVAL);
    let timeout = duration("timeout", Duration::from_millis(1), DEFAULT_TIMEOUT.min(interval));
    if timeout > interval
        && let Some(field) = section.field("timeout")
    {
        field.problem(
            format!("{timeout:?} is longer than the interval, {interval:?}"),
            "a probe is over before the next one begins: a shorter timeout, or a longer interval",
        );
    }
    let count = |key, default| {
        let count = section.integer(key, 1..=1000, "how many checks in a row, from 1");
        count.and_then(|c| u32::try_from(c.value).ok()).unwrap_or(default)
    };
    Timing { interval, timeout, rise: count("rise", DEFAULT_RISE), fall: count("fall", DEFAULT_FALL) }
}

/// A string that fits, or is reported.
fn text(
    section: &Section<'_>,
    key: &'static str,
    fits: impl Fn(&str) -> bool,
    message: &str,
    hint: &str,
) -> Option<String> {
    let field = section.field(key)?;
    let text = field.string()?.value;
    if fits(&text) {
        return Some(text);
    }
    field.problem(format!("`{text}` is {message}"), hint);
    None
}

fn http(section: &Section<'_>, tls: Option<Verify>) -> Option<Check> {
    let method =
        text(section, "method", is_method, "no method of HTTP", "write GET, HEAD or another, in capitals");
    let path = text(
        section,
        "path",
        is_path,
        "no path of a URL",
        "begin it with /, and write what is special in it as %20",
    );
    let host = text(section, "host", is_host, "no host of a URL", "write a name like www.example");
    let expect =
        section.list("expect", |code| code.integer(100..=599, "status codes, for example [200, 204]"));
    let expect = expect.map_or_else(
        || vec![200],
        |codes| codes.value.iter().filter_map(|c| u16::try_from(c.value).ok()).collect::<Vec<_>>(),
    );
    if expect.is_empty()
        && let Some(field) = section.field("expect")
    {
        field.problem("is empty", "name the status codes that are a success, for example [200]");
    }
    let fits = |text: &str| (1..=LONGEST_TEXT).contains(&text.len());
    let body =
        text(section, "body", fits, "empty or too long", "write 1 to 1024 bytes that the body must contain");
    Some(Check::Http(HttpCheck {
        method: method.unwrap_or_else(|| "GET".to_owned()),
        path: path.unwrap_or_else(|| "/".to_owned()),
        host,
        expect,
        body,
        tls,
    }))
}

fn verify(section: &Section<'_>, ca: &mut Option<At<PathBuf>>) -> Verify {
    let verify = section.boolean("verify");
    *ca = section.path_value("ca");
    match (&ca, verify) {
        (Some(_), Some(At { value: false, spot: _ })) => {
            if let Some(field) = section.field("ca") {
                field.problem(
                    "is of no use with verify = false",
                    "take one of the two out: either certificates are checked, or they are not",
                );
            }
            Verify::Nothing
        }
        (Some(file), _) => Verify::Ca(file.value.clone()),
        (None, Some(At { value: false, .. })) => Verify::Nothing,
        (None, _) => Verify::System,
    }
}

fn dns(section: &Section<'_>) -> Option<Check> {
    let name = section.required("query", "query = \"www.example\"").and_then(|_| {
        text(section, "query", is_name, "no name of the DNS", "write a name like www.example, or \".\"")
    });
    let record = text(
        section,
        "record",
        is_record_type,
        "no record type",
        "write it in capitals: A, AAAA, SOA, NS; A is the default",
    );
    Some(Check::Dns(DnsCheck { name: name?, record: record.unwrap_or_else(|| "A".to_owned()) }))
}

fn udp(section: &Section<'_>) -> Option<Check> {
    let payload = bytes(section, "payload", "payload_hex");
    let answer = bytes(section, "answer", "answer_hex").unwrap_or_default();
    if payload.is_none() && section.field("payload").is_none() && section.field("payload_hex").is_none() {
        section.missing("payload", "payload = \"ping\", or payload_hex = \"0a0b\": what is sent");
    }
    Some(Check::Udp(UdpCheck { payload: payload?, answer }))
}

/// Bytes as text or in hexadecimal digits.
fn bytes(section: &Section<'_>, key: &'static str, hex_key: &'static str) -> Option<Vec<u8>> {
    let (plain, hex) = (section.field(key), section.field(hex_key));
    if let (Some(_), Some(hex)) = (&plain, &hex) {
        hex.problem(format!("and {key} are the same thing twice"), "take one of the two out");
    }
    let field = plain.as_ref().or(hex.as_ref())?;
    let text = field.string()?.value;
    let bytes = if plain.is_some() { Some(text.into_bytes()) } else { from_hex(&text) };
    let fits = bytes.filter(|bytes| bytes.len() <= LONGEST_TEXT);
    if fits.is_none() {
        field.problem(
            "is too long, or no hexadecimal digits",
            format!("write at most {LONGEST_TEXT} bytes, in {hex_key} two digits for each"),
        );
    }
    fits
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(text.get(i..i + 2)?, 16).ok()).collect()
}

fn command(section: &Section<'_>) -> Option<Check> {
    let field = section.required("command", "command = [\"/usr/local/lib/check\", \"--quick\"]")?;
    let command = field.list(|entry: &Field<'_>| {
        let word = entry.string()?.value;
        if word.contains('\0') {
            entry.problem("holds a zero byte", "no argument of a command can");
            return None;
        }
        Some(word)
    })?;
    let user = section.field("user").and_then(|user| {
        let name = word(&user, LONGEST_NAME, true)?.value;
        if name == "root" {
            user.problem("`root` runs no checks", "name a user without rights; nobody is the default");
            return None;
        }
        Some(name)
    });
    match command.value.first() {
        Some(program) if program.starts_with('/') => {}
        Some(program) => {
            field.problem(
                format!("`{program}` is no whole path"),
                "write the program with its whole path, beginning with /",
            );
            return None;
        }
        None => {
            field.problem("is empty", "name a program and its arguments");
            return None;
        }
    }
    let user = user.unwrap_or_else(|| DEFAULT_USER.to_owned());
    Some(Check::Command(CommandCheck { command: command.value, user }))
}
