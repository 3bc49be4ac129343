//! Where packets end that are not sent on.

use super::{Cell, Line, Sheet, Tone, bits, numbers, packets, prose, words};
use crate::overview::{Overview, VerdictLine};

pub(super) fn sheet(overview: &Overview, all: bool) -> Sheet {
    let shown = overview.verdicts.iter().filter(|v| all || v.count.kind == "drop");
    Sheet {
        columns: vec![
            words("REASON", 14, 0),
            numbers("PKT/S", 6, 0),
            numbers("BIT/S", 6, 3),
            numbers("PACKETS", 7, 0),
            numbers("BYTES", 6, 4),
            words("KIND", 8, 5),
            prose("MEANING", 30, 1),
        ],
        lines: shown.map(line).collect(),
        empty: "no counters",
    }
}

fn line(verdict: &VerdictLine) -> Line {
    let count = &verdict.count;
    let now = verdict.rate.is_some_and(|r| r.packets > 0.0);
    let tone = match (count.kind.as_str(), count.packets) {
        (_, 0) => Tone::Dim,
        ("drop", _) if now => Tone::Bad,
        _ => Tone::Plain,
    };
    let cells = vec![
        Cell::toned(&count.verdict, tone),
        packets(verdict.rate),
        bits(verdict.rate),
        Cell::number(Some(count.packets as f64)),
        Cell::number(Some(count.bytes as f64)),
        Cell::text(&count.kind),
        Cell::toned(&count.explanation, if count.packets == 0 { Tone::Dim } else { Tone::Plain }),
    ];
    let detail = format!(
        "{} ({}): {} {} packets, {} bytes since the data plane was loaded.",
        count.verdict, count.kind, count.explanation, count.packets, count.bytes
    );
    Line::new(&count.verdict, cells, detail)
}
