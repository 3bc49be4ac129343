//! How long it takes to compute a pool's table.

use std::net::{IpAddr, Ipv4Addr};

use anycast_lb::table::{BackendState, Candidate, DEFAULT_MARGIN_PPM, NONE, TableKind, TableSpec, build};
use anyhow::{Result, ensure};

use super::Times;
use crate::wrapper::cpu_time;

/// A table.
#[derive(Clone, Copy)]
pub struct Table {
    backends: u32,
    slots: u32,
}

/// The sizes: the default for a few backends, then as many slots as such pools need.
pub const TABLES: [Table; 4] = [
    Table { backends: 10, slots: 1 << 14 },
    Table { backends: 100, slots: 1 << 14 },
    Table { backends: 1000, slots: 1 << 16 },
    Table { backends: 10_000, slots: 1 << 18 },
];
/// Hops of a list: the default, and the most.
const HOPS: u8 = 3;

impl Table {
    /// Name of the case.
    pub fn name(&self) -> String {
        format!("table-{}", self.backends)
    }
}

/// Builds each table once in each round; CPU time of this thread.
pub fn measure(tables: &[Table], rounds: u32) -> Result<Vec<Times>> {
    let empty = |table: &Table| Times { name: table.name(), rounds: Vec::new() };
    let mut times: Vec<Times> = tables.iter().map(empty).collect();
    for round in 0..rounds {
        for (table, times) in tables.iter().zip(&mut times) {
            let candidates = candidates(table.backends);
            let spec = TableSpec {
                kind: TableKind::Rendezvous,
                slots: table.slots,
                margin_ppm: DEFAULT_MARGIN_PPM,
                // Another one each time: none is especially easy.
                seed: [round as u8; 16],
                hops: HOPS,
            };
            let began = cpu_time();
            let built = build(&spec, &candidates);
            times.rounds.push(cpu_time().saturating_sub(began));
            let complete = built.owners().len() == table.slots as usize
                && built.owners().iter().all(|owner| *owner != NONE)
                && (0..table.slots).all(|slot| built.hops(slot).count() == 1 + usize::from(HOPS));
            ensure!(complete, "{}: a slot lacks backends", times.name);
        }
    }
    Ok(times)
}

fn candidates(count: u32) -> Vec<Candidate> {
    let address = |n| IpAddr::from(Ipv4Addr::from_bits(u32::from_be_bytes([10, 0, 0, 1]) + n));
    let candidate = |n| Candidate { identity: address(n), weight: 100, state: BackendState::Active };
    (0..count).map(candidate).collect()
}
