//! Prints build times and quality of pool tables: `cargo run --release --example table_quality`.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use anycast_lb::table::quality::{balance, moved};
use anycast_lb::table::{BackendState, Candidate, DEFAULT_MARGIN_PPM, TableKind, TableSpec, build};

fn main() {
    println!(
        "kind        margin  slots  backends  build_ms  hops_ms    peak  trough  extra_remove  extra_add"
    );
    for slots in [16384, 65536] {
        for (kind, margin_ppm) in
            [(TableKind::Rendezvous, DEFAULT_MARGIN_PPM), (TableKind::Rendezvous, 0), (TableKind::Maglev, 0)]
        {
            for n in [3, 10, 100, 163, 400, 1000] {
                row(kind, margin_ppm, slots, n);
            }
        }
    }
}

/// One line: the worst over some seeds.
fn row(kind: TableKind, margin_ppm: u32, slots: u32, n: u32) {
    const SEEDS: u8 = 5;
    let (mut build_ms, mut hops_ms, mut peak, mut trough) = (0f64, 0f64, 0f64, f64::MAX);
    let (mut removed, mut added) = (0f64, 0f64);
    for seed in 1..=SEEDS {
        let mut spec = TableSpec { kind, slots, margin_ppm, seed: [seed; 16], hops: 0 };
        let members = backends(n);
        let start = Instant::now();
        let table = build(&spec, &members);
        build_ms = build_ms.max(start.elapsed().as_secs_f64() * 1e3);
        let extra = |other: &[Candidate]| {
            let moved = moved((&table, &members), (&build(&spec, other), other));
            100.0 * f64::from(moved.extra) / f64::from(slots)
        };
        removed = removed.max(extra(&members[1..]));
        added = added.max(extra(&backends(n + 1)));
        if let Some(balance) = balance(&table, &members) {
            peak = peak.max(balance.peak);
            trough = trough.min(balance.trough);
        }
        spec.hops = 3;
        let start = Instant::now();
        build(&spec, &members);
        hops_ms = hops_ms.max(start.elapsed().as_secs_f64() * 1e3);
    }
    let (kind, margin) = (format!("{kind:?}"), f64::from(margin_ppm) / 1e6);
    println!(
        "{kind:<11} {margin:>6} {slots:>6} {n:>9} {build_ms:>9.1} {hops_ms:>8.1} {peak:>7.3} {trough:>7.3} {removed:>12.3}% {added:>9.3}%"
    );
}

fn backends(n: u32) -> Vec<Candidate> {
    let address = |i| IpAddr::from(Ipv4Addr::from_bits(0x0a00_0001 + i));
    (0..n).map(|i| Candidate { identity: address(i), weight: 100, state: BackendState::Active }).collect()
}
