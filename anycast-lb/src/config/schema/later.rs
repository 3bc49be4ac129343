//! Sections whose work is yet to come. They are part of the language: checked key by key, and
//! where they ask for something that this release does not do, a notice says so.

use std::net::SocketAddr;

use ipnet::IpNet;

use super::rpki::{OriginDraft, origin};
use super::words::LOG_FORMATS;
use super::{ASN, ASN_HINT};
use crate::config::LogFormat;
use crate::config::reader::{Field, Section, label};
use crate::config::report::{At, Report};

fn note(report: &Report<'_>, section: &Section<'_>, what: &str) {
    report.notice(section.spot(), section.path(), format!("has no effect yet: {what}"));
}

/// `[bgp]`, `[metrics]`, `[page]`, `[flow_log]` and `[log]` of the main file.
pub(super) fn read(root: &Section<'_>, report: &Report<'_>, log: &mut LogFormat) -> Option<SocketAddr> {
    bgp(root, report);
    let metrics = root.table("metrics").and_then(|section| {
        note(report, &section, "no metrics are served in this release; see `anycast-lb stats`");
        let listen = section.socket_address("listen").map(|a| a.value);
        section.finish();
        listen
    });
    if let Some(section) = root.table("page") {
        if section.boolean("enabled").is_some_and(|on| on.value) {
            note(report, &section, "no page is served in this release; see `anycast-lb status`");
        }
        section.socket_address("listen");
        section.finish();
    }
    if let Some(section) = root.table("flow_log") {
        note(report, &section, "no flows are logged in this release");
        section.integer(
            "sample",
            1..=u64::from(u32::MAX),
            "how many flows one sampled flow stands for, from 1",
        );
        section.socket_address("ipfix");
        section.finish();
    }
    if let Some(section) = root.table("log") {
        *log = section.choice("format", LOG_FORMATS).map(|f| f.value).unwrap_or_default();
        section.finish();
    }
    metrics
}

/// `[[prefix]]` of any file.
pub(super) fn entries(
    root: &Section<'_>,
    report: &Report<'_>,
    prefixes: &mut Vec<At<IpNet>>,
    origins: &mut Vec<OriginDraft>,
) {
    for (i, section) in root.tables("prefix").into_iter().enumerate() {
        let section = match section.peek("prefix") {
            Some(prefix) => section.named(format!("prefix {prefix}")),
            None => section.named(label("prefix", None::<&str>, i)),
        };
        let prefix = prefix(&section, report);
        origins.extend(origin(&section, prefix.as_ref().map(|p| p.value)));
        prefixes.extend(prefix);
        section.finish();
    }
}

fn prefix(section: &Section<'_>, report: &Report<'_>) -> Option<At<IpNet>> {
    let later = |field: &Field<'_>, what: &str| {
        report.notice(field.spot(), field.path(), format!("has no effect yet: {what}"));
    };
    if let Some(field) = section.field("announce") {
        field.choice(&[("bgp", ()), ("bird", ()), ("exabgp", ()), ("command", ())]);
        later(&field, "this release announces nothing; let a routing daemon announce the prefix");
    }
    if let Some(field) = section.field("require") {
        if field.is_integer() {
            field.integer(1..=u64::from(u16::MAX), "\"any-vip\", \"all-vips\" or how many VIPs");
        } else {
            field.choice(&[("any-vip", ()), ("all-vips", ())]);
        }
        later(&field, "this release announces nothing");
    }
    let field = section.required("prefix", "prefix = \"203.0.113.0/24\"")?;
    field.network("203.0.113.0/24")
}

fn bgp(root: &Section<'_>, report: &Report<'_>) {
    let Some(section) = root.table("bgp") else { return };
    note(report, &section, "this release speaks no BGP; let a routing daemon announce the prefixes");
    if section.required("local_as", "local_as = 64500").is_some() {
        section.integer("local_as", ASN, ASN_HINT);
    }
    if let Some(field) = section.field("router_id") {
        field.parsed::<std::net::Ipv4Addr>("a router ID", "10.0.0.2");
    }
    if let Some(drain) = section.table("drain") {
        drain.boolean("graceful_shutdown");
        drain.integer("prepend", 0..=255, "how many times, from 0");
        drain.duration("wait");
        drain.finish();
    }
    for (i, neighbor) in section.tables("neighbor").into_iter().enumerate() {
        let name = label("neighbor", neighbor.peek("address"), i);
        let neighbor = neighbor.named(format!("bgp {name}"));
        if let Some(field) = neighbor.required("address", "address = \"10.0.0.1\"") {
            field.address("10.0.0.1");
        }
        if neighbor.required("remote_as", "remote_as = 64500").is_some() {
            neighbor.integer("remote_as", ASN, ASN_HINT);
        }
        neighbor.path_value("md5_file");
        neighbor.boolean("gtsm");
        neighbor.list("communities", community);
        neighbor.finish();
    }
    section.finish();
}

/// `64500:100` (RFC 1997) or `64500:1:2` (RFC 8092).
fn community(entry: &Field<'_>) -> Option<()> {
    let text = entry.string()?.value;
    let parts: Vec<&str> = text.split(':').collect();
    let valid = match parts.len() {
        2 => parts.iter().all(|p| p.parse::<u16>().is_ok()),
        3 => parts.iter().all(|p| p.parse::<u32>().is_ok()),
        _ => false,
    };
    if !valid {
        entry.problem(
            format!("`{text}` is no community"),
            "write two numbers up to 65535, \"64500:100\", or three for a large community, \"64500:1:2\"",
        );
        return None;
    }
    Some(())
}
