//! Servers.

use super::super::text::{share, time};
use super::{Cell, Line, Sheet, Tone, bits, numbers, packets, prose, words};
use crate::control::api::{BackendRow, NextHopStatus};
use crate::overview::{BackendLine, Overview};

/// Characters of a bar.
const BAR: usize = 20;

pub(super) fn sheet(overview: &Overview) -> Sheet {
    let home = &overview.node.pop;
    Sheet {
        columns: vec![
            words("BACKEND", 12, 0),
            words("POOL", 4, 0),
            words("STATE", 8, 0),
            words("HEALTH", 6, 0),
            numbers("PKT/S", 6, 0),
            numbers("BIT/S", 6, 4),
            numbers("SHARE", 6, 1),
            numbers("ASKED", 6, 2),
            words("SHARE, | = ASKED", BAR, 7),
            numbers("WEIGHT", 6, 6),
            words("POP", 4, 5),
            numbers("PACKETS", 7, 8),
            prose("NOTE", 16, 3),
        ],
        lines: overview.backends.iter().map(|b| line(b, home)).collect(),
        empty: "no backends",
    }
}

fn line(backend: &BackendLine, home: &str) -> Line {
    let row = &backend.row;
    let state = match row.state.as_str() {
        "active" => Tone::Good,
        "gone" => Tone::Dim,
        _ => Tone::Notable,
    };
    let health = match row.health.as_str() {
        "up" => Tone::Good,
        "down" => Tone::Bad,
        _ => Tone::Dim,
    };
    let percent = |ppm: Option<u32>| {
        let tone = if ppm.is_some_and(|p| p > 0) { Tone::Plain } else { Tone::Dim };
        Cell::toned(ppm.map_or_else(|| "-".to_owned(), share), tone).ordered(ppm.map_or(-1.0, f64::from))
    };
    let cells = vec![
        Cell::text(row.address.to_string()),
        Cell::text(&row.pool),
        Cell::toned(&row.state, state),
        Cell::toned(if row.health == "unknown" { "-" } else { &row.health }, health),
        packets(backend.rate),
        bits(backend.rate),
        percent(backend.taken_ppm),
        percent(Some(backend.asked_ppm)),
        Cell::text(bar(backend.taken_ppm.unwrap_or(0), backend.asked_ppm))
            .ordered(backend.taken_ppm.map_or(-1.0, f64::from)),
        Cell::text(weight(row)).ordered(f64::from(row.weight_in_force)),
        Cell::text(row.pop.as_deref().unwrap_or(home)),
        Cell::number(Some(row.packets as f64)),
        Cell::toned(&backend.note.text, backend.note.standing.into()),
    ];
    Line::new(format!("{} in {}", row.address, row.pool), cells, detail(backend, home))
}

fn weight(row: &BackendRow) -> String {
    if row.weight == row.weight_in_force {
        return row.weight.to_string();
    }
    format!("{} > {}", row.weight_in_force, row.weight)
}

fn detail(backend: &BackendLine, home: &str) -> String {
    let row = &backend.row;
    let mut out = format!(
        "{} in pool {}, PoP {}: {}, configured {}, weight {}, owns {} slots. Health {}",
        row.address,
        row.pool,
        row.pop.as_deref().unwrap_or(home),
        row.state,
        row.configured,
        weight(row),
        row.owned_slots,
        row.health,
    );
    if let Some(by) = &row.health_by {
        out.push_str(&format!(" by {by}"));
    }
    if let Some(seconds) = row.health_seconds {
        out.push_str(&format!(" for {}", time(seconds)));
    }
    if let Some(reason) = &row.last_failure {
        out.push_str(&format!("; last failure: {reason}"));
    }
    out.push_str(". ");
    if row.state == "draining" {
        out.push_str(&format!("Left of the drain: {}. ", backend.note.text));
    }
    match &row.next_hop {
        NextHopStatus::Resolved { interface, mac, mtu } => {
            out.push_str(&format!("Next hop {mac} on {interface}, MTU {mtu}."));
        }
        NextHopStatus::Unresolved { reason } | NextHopStatus::Pending { reason } => {
            out.push_str(&format!("No next hop: {reason}."));
        }
    }
    out
}

/// A share as a bar, with a mark where the weight asks for it to end.
fn bar(taken_ppm: u32, asked_ppm: u32) -> String {
    let place = |ppm: u32| (f64::from(ppm.min(1_000_000)) / 1e6 * BAR as f64).round() as usize;
    let (taken, asked) = (place(taken_ppm), place(asked_ppm));
    (1..=BAR)
        .map(|n| match n {
            _ if n == asked => '|',
            _ if n <= taken => '■',
            _ => '·',
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_shows_what_is_and_what_should_be() {
        assert_eq!(bar(500_000, 500_000), "■■■■■■■■■|··········");
        assert_eq!(bar(0, 1_000_000), "···················|");
        assert_eq!(bar(2_000_000, 0), "■■■■■■■■■■■■■■■■■■■■");
    }
}
