//! The language: which keys there are, of which types, with which defaults. What concerns one
//! value is checked here; what concerns several of them in [`super::validate`].

mod announce;
mod bmp;
mod control;
mod flow_log;
mod global;
mod health;
mod metrics;
mod page;
mod pool;
mod quic;
mod rest;
mod rpki;
mod vip;
pub(super) mod words;

use std::net::SocketAddr;
use std::path::PathBuf;

use toml_edit::TableLike;

pub(super) use announce::{AnnounceDraft, BgpDraft, NeighbourDraft, PrefixDraft};
pub(super) use bmp::BmpDraft;
pub(super) use global::{Global, SeedSource, TOP};
pub(super) use pool::{BackendDraft, DEFAULT_HOPS, MOST_SLOTS, PoolDraft};
pub(super) use rpki::{DEFAULT_HOLD, OriginDraft, ValidatorDraft};
pub(super) use vip::VipDraft;

use super::LogFormat;
use super::reader::{Field, Section};
use super::report::{At, Report};
use super::source::MAIN;
use crate::model;

/// AS numbers (RFC 6793).
const ASN: std::ops::RangeInclusive<u64> = 1..=u32::MAX as u64;
const ASN_HINT: &str = "an AS number from 1 to 4294967295";

/// What the files say, value by value in order, not yet compared with each other.
#[derive(Default)]
pub(super) struct Draft {
    pub global: Global,
    pub control: ControlDraft,
    pub interfaces: Vec<At<model::Interface>>,
    pub pools: Vec<PoolDraft>,
    pub vips: Vec<VipDraft>,
    pub prefixes: Vec<PrefixDraft>,
    pub announce: AnnounceDraft,
    pub origins: Vec<OriginDraft>,
    pub validators: Vec<ValidatorDraft>,
    pub bmp: Option<BmpDraft>,
    pub metrics: Option<SocketAddr>,
    pub page: Option<SocketAddr>,
    pub flow_log: Option<model::FlowLog>,
    pub log: LogFormat,
}

/// `[control]`, as far as it is written.
#[derive(Default)]
pub(super) struct ControlDraft {
    pub socket: Option<PathBuf>,
    pub group: Option<String>,
    pub write_back: Option<bool>,
    pub listen: Option<At<SocketAddr>>,
    pub tls: Option<TlsDraft>,
    pub peers: Vec<At<PeerDraft>>,
}

/// `control.tls`, all of it.
pub(super) struct TlsDraft {
    pub ca: At<PathBuf>,
    pub cert: At<PathBuf>,
    pub key: At<PathBuf>,
}

/// A `[[peer]]`.
pub(super) struct PeerDraft {
    pub node: String,
    pub pop: Option<String>,
    pub control: SocketAddr,
}

/// Reads one file into the draft.
pub(super) fn read(root: &dyn TableLike, file: usize, report: &Report<'_>, draft: &mut Draft) {
    let section = Section::root(root, file, report);
    if file == MAIN {
        draft.global = global::read(&section);
        control::read(&section, &mut draft.control);
        draft.announce = announce::read(&section);
        draft.bmp = bmp::read(&section);
        draft.metrics = metrics::read(&section);
        rest::read(&section, &mut draft.log);
        draft.page = page::read(&section, report);
        draft.flow_log = flow_log::read(&section);
    } else {
        only_in_main(&section);
    }
    global::interfaces(&section, &mut draft.interfaces);
    pool::read(&section, &mut draft.pools);
    vip::read(&section, report, &mut draft.vips);
    control::peers(&section, &mut draft.control.peers);
    rpki::validators(&section, &mut draft.validators);
    rest::entries(&section, &mut draft.prefixes, &mut draft.origins);
    section.finish();
}

/// Keys of the main file; an included one holds entries, so that its order does not matter.
const MAIN_KEYS: &[&str] = &[
    "role",
    "node",
    "pop",
    "instance",
    "bpffs",
    "state_dir",
    "hash_seed",
    "hash_seed_file",
    "hash_seed_previous_file",
    "drained_pops",
    "include",
    "unmatched",
    "source",
    "allowed_senders",
    "hop_limits",
    "identity_clients",
    "control",
    "bgp",
    "bird",
    "command",
    "bmp",
    "metrics",
    "page",
    "flow_log",
    "log",
];

fn only_in_main(section: &Section<'_>) {
    for key in MAIN_KEYS {
        if let Some(field) = section.field(key) {
            field.problem(
                "stands in an included file",
                "move it to the main file; included files hold [[pool]], [[vip]], [[prefix]], [[peer]], \
                 [[rtr]] and [[interface]]",
            );
        }
    }
}

/// A word that is safe in paths, tables and URLs: letters, digits, `-`, `_` and `.`.
fn word(field: &Field<'_>, longest: usize, dots: bool) -> Option<At<String>> {
    let text = field.string()?;
    let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_' || (dots && b == b'.');
    let starts_well = text.value.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    if starts_well && text.value.len() <= longest && text.value.bytes().all(fits) {
        return Some(text);
    }
    let also = if dots { ", `_` and `.`" } else { " and `_`" };
    field.problem(
        format!("`{}` is not a plain word", text.value),
        format!("write 1 to {longest} letters, digits, `-`{also}, beginning with a letter or a digit"),
    );
    None
}
