//! Sections whose work is yet to come. They are part of the language: checked key by key, and
//! where they ask for something that this release does not do, a notice says so.

use std::net::SocketAddr;

use super::PrefixDraft;
use super::rpki::{OriginDraft, origin};
use super::words::LOG_FORMATS;
use crate::config::LogFormat;
use crate::config::reader::{Section, label};
use crate::config::report::Report;

fn note(report: &Report<'_>, section: &Section<'_>, what: &str) {
    report.notice(section.spot(), section.path(), format!("has no effect yet: {what}"));
}

/// `[metrics]`, `[page]` and `[log]` of the main file.
pub(super) fn read(root: &Section<'_>, report: &Report<'_>, log: &mut LogFormat) -> Option<SocketAddr> {
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
    if let Some(section) = root.table("log") {
        *log = section.choice("format", LOG_FORMATS).map(|f| f.value).unwrap_or_default();
        section.finish();
    }
    metrics
}

/// `[[prefix]]` of any file.
pub(super) fn entries(root: &Section<'_>, prefixes: &mut Vec<PrefixDraft>, origins: &mut Vec<OriginDraft>) {
    for (i, section) in root.tables("prefix").into_iter().enumerate() {
        let section = match section.peek("prefix") {
            Some(prefix) => section.named(format!("prefix {prefix}")),
            None => section.named(label("prefix", None::<&str>, i)),
        };
        let prefix = super::announce::prefix(&section);
        origins.extend(origin(&section, prefix.as_ref().map(|p| p.prefix.value)));
        prefixes.extend(prefix);
        section.finish();
    }
}
