//! `[[pool]]`, `[pool.health]` and `[[pool.backend]]`.

use std::time::Duration;

use std::net::IpAddr;

use anycast_lb_common::wire::Private;

use super::global::LONGEST_NAME;
use super::health::{self, HealthDraft};
use super::quic::{self, QuicDraft};
use super::word;
use super::words::{ENCAPSULATIONS, STATES, TABLES};
use crate::config::reader::{Section, label};
use crate::config::report::{At, Spot};
use crate::config::scalar::not_a_host;
use crate::model::{Backend, Encapsulation, ServerId, TableKind};
use crate::table::DEFAULT_MARGIN_PPM;

/// Slots of a pool whose file does not say.
pub(in crate::config) const DEFAULT_SLOTS: u32 = 1 << 14;
/// Most slots of a pool.
pub(in crate::config) const MOST_SLOTS: u32 = 1 << 20;
/// Weight of a backend whose file does not say.
const DEFAULT_WEIGHT: u32 = 100;
/// Largest weight.
const LARGEST_WEIGHT: u64 = u16::MAX as u64;
/// Hops of a pool whose file does not say: with the owner they fill a slot of one word.
pub(in crate::config) const DEFAULT_HOPS: u8 = 3;
const DEFAULT_FILL_TIME: Duration = Duration::from_secs(10);
const DEFAULT_DRAIN_TIMEOUT: Duration = Duration::from_secs(30 * 60);

/// A pool as written.
pub(in crate::config) struct PoolDraft {
    pub spot: Spot,
    pub name: String,
    /// Name in messages: `pool "web"`.
    pub path: String,
    pub encapsulation: Encapsulation,
    pub table: TableKind,
    pub slots: At<u32>,
    pub margin_ppm: u32,
    pub hops: u8,
    pub rescue: Vec<At<String>>,
    pub fill_time: Duration,
    pub drain_timeout: Duration,
    pub backends: Vec<BackendDraft>,
    pub quic: QuicDraft,
    pub health: HealthDraft,
}

/// A backend as written.
pub(in crate::config) struct BackendDraft {
    /// Where its address stands.
    pub spot: Spot,
    /// Name in messages: `pool "web" backend 10.0.0.11`.
    pub path: String,
    pub backend: Backend,
    /// Its server ID, where the file says one.
    pub server_id: Option<At<ServerId>>,
}

pub(super) fn read(root: &Section<'_>, pools: &mut Vec<PoolDraft>) {
    for (i, section) in root.tables("pool").into_iter().enumerate() {
        let name = section.peek("name").map(|n| format!("{n:?}"));
        let section = section.named(label("pool", name, i));
        let name = section.required("name", "name = \"web\"").and_then(|f| word(&f, LONGEST_NAME, true));
        let pool = PoolDraft {
            spot: name.as_ref().map_or(section.spot(), |n| n.spot),
            name: name.map(|n| n.value).unwrap_or_default(),
            path: section.path().to_owned(),
            encapsulation: section
                .choice("encapsulation", ENCAPSULATIONS)
                .map(|e| e.value)
                .unwrap_or_default(),
            table: section.choice("table", TABLES).map(|t| t.value).unwrap_or_default(),
            slots: slots(&section),
            margin_ppm: margin(&section),
            hops: hops(&section),
            rescue: rescue(&section),
            fill_time: section.duration("fill_time").map_or(DEFAULT_FILL_TIME, |d| d.value),
            drain_timeout: section.duration("drain_timeout").map_or(DEFAULT_DRAIN_TIMEOUT, |d| d.value),
            backends: backends(&section),
            quic: quic::read(&section),
            health: health::read(&section),
        };
        section.finish();
        if !pool.name.is_empty() {
            pools.push(pool);
        }
    }
}

fn slots(section: &Section<'_>) -> At<u32> {
    let default = At { value: DEFAULT_SLOTS, spot: section.spot() };
    let hint = format!("a power of two from 2 to {MOST_SLOTS}; {DEFAULT_SLOTS} is the default");
    let Some(field) = section.field("slots") else { return default };
    let Some(slots) = field.integer(2..=u64::from(MOST_SLOTS), &hint) else { return default };
    if !slots.value.is_power_of_two() {
        field.problem(
            format!("{} is not a power of two", slots.value),
            format!(
                "write {} or {}",
                slots.value.next_power_of_two() / 2,
                slots.value.next_power_of_two().min(u64::from(MOST_SLOTS))
            ),
        );
        return default;
    }
    At { value: u32::try_from(slots.value).unwrap_or(DEFAULT_SLOTS), spot: slots.spot }
}

fn margin(section: &Section<'_>) -> u32 {
    let hint = "a share from 0 to 1; 0.035 (3.5 %) is the default";
    let Some(field) = section.field("margin") else { return DEFAULT_MARGIN_PPM };
    let Some(margin) = field.number(hint) else { return DEFAULT_MARGIN_PPM };
    if !(0.0..=1.0).contains(&margin.value) {
        field.problem(format!("{} is out of range (0 to 1)", margin.value), format!("write {hint}"));
        return DEFAULT_MARGIN_PPM;
    }
    // In range, so the conversion is exact but for the rounding that is meant.
    (margin.value * 1e6).round() as u32
}

fn hops(section: &Section<'_>) -> u8 {
    let hint = "a number from 0 to 7; 3 is the default, and with more the table takes twice the memory";
    let Some(hops) = section.integer("hops", 0..=u64::from(Private::MAX_HOPS), hint) else {
        return DEFAULT_HOPS;
    };
    u8::try_from(hops.value).unwrap_or(DEFAULT_HOPS)
}

fn rescue(section: &Section<'_>) -> Vec<At<String>> {
    section.list("rescue", |entry| word(entry, LONGEST_NAME, true)).map(|l| l.value).unwrap_or_default()
}

fn backends(pool: &Section<'_>) -> Vec<BackendDraft> {
    let mut backends = Vec::new();
    for (i, section) in pool.tables("backend").into_iter().enumerate() {
        let path = format!("{} {}", pool.path(), label("backend", section.peek("address"), i));
        let section = section.named(path);
        let address = address(&section);
        let weight = section.integer(
            "weight",
            1..=LARGEST_WEIGHT,
            "1 to 65535; for no new flows write state = \"draining\" instead",
        );
        let state = section.choice("state", STATES);
        let pop = section.field("pop").and_then(|f| word(&f, LONGEST_NAME, true));
        let server_id = quic::server_id(&section);
        let path = section.path().to_owned();
        section.finish();
        if let Some(At { value: address, spot }) = address {
            let backend = Backend {
                address,
                weight: weight.and_then(|w| u32::try_from(w.value).ok()).unwrap_or(DEFAULT_WEIGHT),
                state: state.map(|s| s.value).unwrap_or_default(),
                pop: pop.map(|p| p.value),
            };
            backends.push(BackendDraft { spot, path, backend, server_id });
        }
    }
    backends
}

fn address(section: &Section<'_>) -> Option<At<IpAddr>> {
    let field = section.required("address", "address = \"10.0.0.11\"")?;
    let address = field.address("10.0.0.11")?;
    if let Some(reason) = not_a_host(address.value) {
        field.problem(
            format!("{} is {reason}", address.value),
            "write the address at which the backend's host is reached",
        );
        return None;
    }
    Some(address)
}
