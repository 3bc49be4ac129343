//! `[control]` and `[[peer]]`.

use super::ControlDraft;
use super::global::{LONGEST_NAME, absolute};
use super::word;
use crate::config::reader::{Section, label};
use crate::config::report::Report;

/// `sun_path` without the zero at its end.
const LONGEST_SOCKET: usize = 107;

pub(super) fn read(root: &Section<'_>, report: &Report<'_>, control: &mut ControlDraft) {
    if let Some(section) = root.table("control") {
        control.socket = absolute(&section, "socket");
        if let Some(path) = &control.socket
            && path.as_os_str().len() > LONGEST_SOCKET
            && let Some(field) = section.field("socket")
        {
            field.problem(
                format!("is {} bytes long", path.as_os_str().len()),
                format!("a socket's path has {LONGEST_SOCKET} bytes at most; choose a shorter one"),
            );
        }
        control.group = section.field("group").and_then(|f| {
            let group = f.string()?.value;
            if group.is_empty() {
                f.problem(
                    "is empty",
                    "name a group, or leave the key out: then root alone may use the socket",
                );
            }
            Some(group)
        });
        control.write_back = section.boolean("write_back").map(|b| b.value);
        if let Some(listen) = section.socket_address("listen") {
            let what = "has no effect yet: nodes do not talk to each other in this release";
            report.notice(listen.spot, &section.key("listen"), what);
        }
        tls(&section, report);
        section.finish();
    }
}

fn tls(control: &Section<'_>, report: &Report<'_>) {
    let Some(section) = control.table("tls") else { return };
    report.notice(
        section.spot(),
        section.path(),
        "has no effect yet: nothing listens on TCP in this release",
    );
    for key in ["ca", "cert", "key"] {
        if let Some(field) = section.required(key, &format!("{key} = \"/etc/anycast-lb/{key}.pem\"")) {
            field.path_value();
        }
    }
    section.finish();
}

/// `[[peer]]`.
pub(super) fn peers(root: &Section<'_>, report: &Report<'_>) {
    for (i, section) in root.tables("peer").into_iter().enumerate() {
        let name = section.peek("node").map(|n| format!("{n:?}"));
        let section = section.named(label("peer", name, i));
        if let Some(field) = section.required("node", "node = \"sin1-lb1\"") {
            word(&field, LONGEST_NAME, true);
        }
        if let Some(field) = section.field("pop") {
            word(&field, LONGEST_NAME, true);
        }
        if section.required("control", "control = \"10.1.0.2:19524\"").is_some() {
            section.socket_address("control");
        }
        let what = "has no effect yet: nodes do not talk to each other in this release";
        report.notice(section.spot(), section.path(), what);
        section.finish();
    }
}
