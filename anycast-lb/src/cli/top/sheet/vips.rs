//! Service addresses.

use super::{Cell, Line, Sheet, bits, numbers, packets, prose, words};
use crate::overview::{Overview, VipLine};

pub(super) fn sheet(overview: &Overview) -> Sheet {
    Sheet {
        columns: vec![
            words("VIP", 18, 0),
            words("POOL", 6, 2),
            numbers("PKT/S", 6, 0),
            numbers("BIT/S", 6, 0),
            numbers("PACKETS", 6, 3),
            numbers("BYTES", 6, 4),
            words("HASH", 7, 6),
            prose("WITH", 13, 5),
        ],
        lines: overview.vips.iter().map(line).collect(),
        empty: "no VIPs",
    }
}

fn line(vip: &VipLine) -> Line {
    let row = &vip.row;
    let name = row.vip.to_string();
    let pool = row.pool.as_deref().unwrap_or("-");
    let with = [("second chance", row.second_chance), ("QUIC", row.quic), ("MSS clamp", row.mss_clamp)];
    let with: Vec<&str> = with.into_iter().filter(|(_, on)| *on).map(|(word, _)| word).collect();
    let with = with.join(", ");
    let detail = format!(
        "{name} to pool {pool}, by {}{}. {} packets, {} bytes since the data plane was loaded.",
        row.hash,
        if with.is_empty() { String::new() } else { format!(", with {with}") },
        row.packets,
        row.bytes,
    );
    let cells = vec![
        Cell::text(&name),
        Cell::text(pool),
        packets(vip.rate),
        bits(vip.rate),
        Cell::number(Some(row.packets as f64)),
        Cell::number(Some(row.bytes as f64)),
        Cell::text(&row.hash),
        Cell::text(with),
    ];
    Line::new(name, cells, detail)
}
