//! `status`

use std::time::Duration;

use anstyle::{AnsiColor, Style};
use clap::Args;

use super::context::Context;
use super::error::CliError;
use super::pool::{service_cell, time_left};
use super::table::{Cell, LINE, Table, wrap};
use crate::control::api::{self, AlarmRow, HostFinding};

/// Before what belongs to the line above.
const INDENT: &str = "    ";

/// Shows how the daemon is.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  anycast-lb status\n  anycast-lb status --json")]
pub struct Status {}

impl Status {
    pub(super) async fn execute(self, context: &Context) -> Result<(), CliError> {
        context.show("/v1/status", render).await
    }
}

fn render(s: &api::Status) -> String {
    let mut out = format!("{} node {}, pop {}, instance {}\n", s.role, s.node, s.pop, s.instance);
    out.push_str(&format!("version     {} (abi {}, placement {})\n", s.version, s.abi, s.placement));
    out.push_str(&format!("uptime      {}, data plane {}\n", uptime(s.uptime_seconds), s.start));
    out.push_str(&format!("generation  {}\n", s.generation));
    if let Some(seed) = &s.seed_fingerprint {
        out.push_str(&format!("seed        fingerprint {seed}\n"));
    }
    out.push_str(&format!("files       {}\n\n", s.config_files.join(", ")));

    let mut interfaces = Table::new(&["INTERFACE", "MODE", ">PROGRAM", "REASON"]);
    for i in &s.interfaces {
        interfaces.row([
            Cell::from(&i.interface),
            match i.mode.as_deref() {
                Some("native") => Cell::judged("native", true),
                Some(mode) => Cell::notable(mode),
                None => Cell::judged("detached", false),
            },
            i.program_id.into(),
            Cell::from(i.reason.as_deref().unwrap_or_default()),
        ]);
    }
    out.push_str(&interfaces.render("attached to no interface"));

    if s.role == "ingress" {
        let mut pools = Table::new(&["POOL", ">BACKENDS", ">ACTIVE", "SERVICE", "OWNERS"]);
        for p in &s.pools {
            pools.row([
                Cell::from(&p.pool),
                p.backends.into(),
                p.active.into(),
                service_cell(&p.service),
                Cell::from(&p.owners),
            ]);
        }
        out.push('\n');
        out.push_str(&pools.render("no pools"));
    }
    if !s.members.is_empty() {
        let mut members = Table::new(&["POOL", "BACKEND", "STATE", "HEALTH", "LEFT", "REASON"]);
        for m in &s.members {
            let flows = m.remaining.map(|flows| format!("{flows} flows"));
            let left: Vec<String> = flows.into_iter().chain(m.seconds_left.map(time_left)).collect();
            let by_hand = if m.health_by.as_deref() == Some("hand") { ", by hand" } else { "" };
            let health = format!("{}{by_hand}", m.health);
            let health = if m.health == "down" { Cell::judged(health, false) } else { Cell::from(health) };
            members.row([
                Cell::from(&m.pool),
                Cell::from(m.address),
                Cell::notable(&m.state),
                health,
                Cell::from(left.join(", ")),
                Cell::from(m.reason.as_deref().unwrap_or_default()),
            ]);
        }
        out.push('\n');
        out.push_str(&members.render(""));
    }
    if !s.unresolved.is_empty() {
        let mut unresolved = Table::new(&["UNREACHABLE BACKEND", "REASON"]);
        for u in &s.unresolved {
            unresolved.row([Cell::judged(u.backend.to_string(), false), Cell::from(&u.reason)]);
        }
        out.push('\n');
        out.push_str(&unresolved.render(""));
    }
    for alarm in &s.alarms {
        out.push('\n');
        out.push_str(&render_alarm(alarm));
    }
    for finding in &s.findings {
        out.push('\n');
        out.push_str(&render_finding(finding));
    }
    for notice in &s.notices {
        out.push_str(&format!("\nnotice: {notice}\n"));
    }
    out
}

/// An alarm, wrapped.
pub(super) fn render_alarm(alarm: &AlarmRow) -> String {
    let severity = if alarm.severity == "error" { AnsiColor::Red } else { AnsiColor::Yellow };
    let style = Style::new().bold().fg_color(Some(severity.into()));
    let mut out = format!("{style}{}:{style:#} {}\n", alarm.severity, alarm.kind);
    for line in wrap(&alarm.text, LINE - INDENT.len()) {
        out.push_str(&format!("{INDENT}{line}\n"));
    }
    out
}

/// What was found, what comes of it, and the command that mends it.
pub(super) fn render_finding(finding: &HostFinding) -> String {
    let severity = match finding.severity.as_str() {
        "error" => AnsiColor::Red,
        "warning" => AnsiColor::Yellow,
        _ => AnsiColor::Cyan,
    };
    let style = Style::new().bold().fg_color(Some(severity.into()));
    let mut out = format!("{style}{}:{style:#} {}\n", finding.severity, finding.what);
    for line in wrap(&finding.why, LINE - INDENT.len()) {
        out.push_str(&format!("{INDENT}{line}\n"));
    }
    // Whole, to be copied.
    if let Some(fix) = &finding.fix {
        out.push_str(&format!("{INDENT}{fix}\n"));
    }
    out
}

/// `3 d 4 h`, `4 h 5 min`, `5 min 6 s`, `6 s`.
fn uptime(seconds: u64) -> String {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    let s = Duration::from_secs(seconds).as_secs();
    match s {
        DAY.. => format!("{} d {} h", s / DAY, s % DAY / HOUR),
        HOUR.. => format!("{} h {} min", s / HOUR, s % HOUR / MINUTE),
        MINUTE.. => format!("{} min {} s", s / MINUTE, s % MINUTE),
        _ => format!("{s} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::api::{InterfaceStatus, MemberStatus, PoolFingerprint, Unresolved};

    #[test]
    fn status_reads_from_the_identity_down_to_what_is_wrong() {
        let status = api::Status {
            role: "ingress".into(),
            node: "lb1".into(),
            pop: "fra1".into(),
            instance: "default".into(),
            version: "0.1.0".into(),
            abi: 1,
            placement: 1,
            generation: 3,
            uptime_seconds: 3725,
            start: "adopted".into(),
            seed_fingerprint: Some("0123abcd".into()),
            interfaces: vec![InterfaceStatus {
                interface: "eth0".into(),
                ifindex: 2,
                mode: Some("generic".into()),
                reason: Some("the driver has no XDP".into()),
                program_id: 17,
            }],
            config_files: vec!["/etc/anycast-lb/config.toml".into()],
            notices: vec!["rescue has no effect".into()],
            pools: vec![PoolFingerprint {
                pool: "web".into(),
                backends: 2,
                active: 2,
                service: "healthy".into(),
                owners: "00c0ffee".into(),
            }],
            members: vec![MemberStatus {
                pool: "web".into(),
                address: [10, 0, 0, 13].into(),
                state: "filling".into(),
                configured: "active".into(),
                health: "unknown".into(),
                health_by: None,
                reason: None,
                remaining: None,
                seconds_left: Some(7),
            }],
            unresolved: vec![Unresolved { backend: [10, 0, 0, 12].into(), reason: "no route".into() }],
            findings: vec![HostFinding {
                severity: "warning".into(),
                what: "rp_filter is strict".into(),
                why: "replies are dropped".into(),
                fix: Some("sysctl -w x=2".into()),
            }],
            alarms: vec![AlarmRow {
                kind: "rpki".into(),
                severity: "error".into(),
                text: "203.0.113.0/24 from AS64500 is invalid; it is withheld".into(),
            }],
        };
        let text = anstream::adapter::strip_str(&render(&status)).to_string();
        assert_eq!(
            text,
            "ingress node lb1, pop fra1, instance default\n\
             version     0.1.0 (abi 1, placement 1)\n\
             uptime      1 h 2 min, data plane adopted\n\
             generation  3\n\
             seed        fingerprint 0123abcd\n\
             files       /etc/anycast-lb/config.toml\n\
             \n\
             INTERFACE  MODE     PROGRAM  REASON\n\
             eth0       generic       17  the driver has no XDP\n\
             \n\
             POOL  BACKENDS  ACTIVE  SERVICE  OWNERS\n\
             web          2       2  healthy  00c0ffee\n\
             \n\
             POOL  BACKEND    STATE    HEALTH   LEFT  REASON\n\
             web   10.0.0.13  filling  unknown  7 s\n\
             \n\
             UNREACHABLE BACKEND  REASON\n\
             10.0.0.12            no route\n\
             \n\
             error: rpki\n    203.0.113.0/24 from AS64500 is invalid; it is withheld\n\
             \n\
             warning: rp_filter is strict\n    replies are dropped\n    sysctl -w x=2\n\
             \n\
             notice: rescue has no effect\n"
        );
    }
}
