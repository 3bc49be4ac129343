//! A node at a glance, with rates: what `top` and the status page show.
//!
//! [`facts`] is what a daemon says of itself at one moment; [`rates`] makes rates of two such moments;
//! [`Overview`] puts both together, with what is to be thought of it. All of it is pure.

pub mod facts;
pub mod notes;
pub mod rates;
pub mod ring;
pub mod sessions;
pub mod standing;
#[cfg(test)]
pub mod testing;
pub mod time;
pub mod wrongs;

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Instant;

use serde::Serialize;

use crate::control::api::{BackendRow, Bgp, InterfaceStatus, PoolRow, Status, VerdictCount, VipRow};
use facts::Facts;
use notes::Note;
use rates::{Count, Meter, Rate, Subject};
use sessions::Session;
use wrongs::Wrong;

/// All of a node.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Overview {
    /// Who it is.
    pub node: Identity,
    /// What goes through it.
    pub totals: Totals,
    /// VIPs, in file order.
    pub vips: Vec<VipLine>,
    /// Pools, in file order.
    pub pools: Vec<PoolLine>,
    /// Backends, in file order.
    pub backends: Vec<BackendLine>,
    /// Every way out of the role's program.
    pub verdicts: Vec<VerdictLine>,
    /// With whom it talks.
    pub sessions: Vec<Session>,
    /// What is wrong, the worst first.
    pub wrongs: Vec<Wrong>,
}

/// Who a node is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Identity {
    /// `ingress` or `backend`.
    pub role: String,
    /// Its name.
    pub node: String,
    /// Its site.
    pub pop: String,
    /// Instance on its host.
    pub instance: String,
    /// Release of the daemon.
    pub version: String,
    /// Accepted changes since the daemon started.
    pub generation: u64,
    /// Since the daemon started.
    pub uptime_seconds: u64,
    /// `in-service`, `draining` or `drained`.
    pub maintenance: String,
    /// Where the program is attached.
    pub interfaces: Vec<InterfaceStatus>,
}

/// What goes through a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Totals {
    /// All that came; none = not known yet, or the counters went back.
    pub received: Option<Rate>,
    /// Of that, sent on.
    pub sent: Option<Rate>,
    /// Of that, given to this host's kernel.
    pub passed: Option<Rate>,
    /// Of that, dropped.
    pub dropped: Option<Rate>,
}

/// A VIP and its rate.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct VipLine {
    /// The VIP.
    #[serde(flatten)]
    pub row: VipRow,
    /// None = not known.
    pub rate: Option<Rate>,
}

/// A pool and its rate.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PoolLine {
    /// The pool.
    #[serde(flatten)]
    pub row: PoolRow,
    /// Of its backends together; none = not known.
    pub rate: Option<Rate>,
}

/// A backend of a pool and its rate.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BackendLine {
    /// The backend.
    #[serde(flatten)]
    pub row: BackendRow,
    /// None = not known.
    pub rate: Option<Rate>,
    /// Its part of the pool's packets, in parts per million; none = the pool has none, or it is not known.
    pub taken_ppm: Option<u32>,
    /// What its weight asks for among those that own slots of the pool, in parts per million.
    pub asked_ppm: u32,
    /// What is special about it.
    pub note: Note,
}

/// A way out and its rate.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct VerdictLine {
    /// The way out.
    #[serde(flatten)]
    pub count: VerdictCount,
    /// None = not known.
    pub rate: Option<Rate>,
}

impl Overview {
    /// Of what the daemon says at `now`, and what `meter` remembers of earlier.
    pub fn new(facts: Facts, meter: &mut Meter, now: Instant) -> Self {
        let (sessions, wrongs) = (sessions::sessions(&facts), wrongs::wrongs(&facts));
        let Facts { status, verdicts, vips, pools, backends, bgp, .. } = facts;
        let rates = meter.read(now, counts(&verdicts, &vips, &backends));
        let verdicts: Vec<VerdictLine> = verdicts
            .into_iter()
            .map(|count| VerdictLine {
                rate: rates.get(&Subject::Verdict(count.verdict.clone())).copied(),
                count,
            })
            .collect();
        let backends = backend_lines(backends, &rates);
        Overview {
            totals: totals(&verdicts),
            vips: vips
                .into_iter()
                .map(|row| VipLine { rate: rates.get(&Subject::Vip(row.vip)).copied(), row })
                .collect(),
            pools: pools.into_iter().map(|row| pool_line(row, &backends)).collect(),
            backends,
            verdicts,
            node: identity(&status, &bgp),
            sessions,
            wrongs,
        }
    }

    /// Ways out by which packets are dropped.
    pub fn drops(&self) -> impl Iterator<Item = &VerdictLine> {
        self.verdicts.iter().filter(|v| v.count.kind == "drop")
    }
}

fn counts(verdicts: &[VerdictCount], vips: &[VipRow], backends: &[BackendRow]) -> HashMap<Subject, Count> {
    let verdicts = verdicts
        .iter()
        .map(|v| (Subject::Verdict(v.verdict.clone()), Count { packets: v.packets, bytes: v.bytes }));
    let vips = vips.iter().map(|v| (Subject::Vip(v.vip), Count { packets: v.packets, bytes: v.bytes }));
    let backends =
        backends.iter().map(|b| (subject(&b.pool, b.address), Count { packets: b.packets, bytes: b.bytes }));
    verdicts.chain(vips).chain(backends).collect()
}

fn subject(pool: &str, backend: IpAddr) -> Subject {
    Subject::Backend(pool.to_owned(), backend)
}

fn identity(status: &Status, bgp: &Bgp) -> Identity {
    Identity {
        role: status.role.clone(),
        node: status.node.clone(),
        pop: status.pop.clone(),
        instance: status.instance.clone(),
        version: status.version.clone(),
        generation: status.generation,
        uptime_seconds: status.uptime_seconds,
        maintenance: bgp.maintenance.clone(),
        interfaces: status.interfaces.clone(),
    }
}

fn totals(verdicts: &[VerdictLine]) -> Totals {
    let of = |kind: Option<&str>| {
        Rate::sum(verdicts.iter().filter(|v| kind.is_none_or(|k| v.count.kind == k)).map(|v| v.rate))
    };
    Totals {
        received: of(None),
        sent: of(Some("transmit")),
        passed: of(Some("pass")),
        dropped: of(Some("drop")),
    }
}

fn pool_line(row: PoolRow, backends: &[BackendLine]) -> PoolLine {
    let rate = Rate::sum(backends.iter().filter(|b| b.row.pool == row.pool).map(|b| b.rate));
    PoolLine { row, rate }
}

fn backend_lines(backends: Vec<BackendRow>, rates: &HashMap<Subject, Rate>) -> Vec<BackendLine> {
    let rate = |row: &BackendRow| rates.get(&subject(&row.pool, row.address)).copied();
    // By pool: packets a second of all, weights of those that own slots.
    let mut sums: HashMap<String, (f64, u64)> = HashMap::new();
    for row in &backends {
        let (packets, weights) = sums.entry(row.pool.clone()).or_default();
        *packets += rate(row).unwrap_or_default().packets;
        *weights += if row.owned_slots > 0 { u64::from(row.weight_in_force) } else { 0 };
    }
    backends
        .into_iter()
        .map(|row| {
            let (packets, weights) = sums.get(&row.pool).copied().unwrap_or_default();
            let rate = rate(&row);
            let weight = if row.owned_slots > 0 { row.weight_in_force } else { 0 };
            BackendLine {
                taken_ppm: rate.filter(|_| packets > 0.0).map(|r| ppm(r.packets, packets)),
                asked_ppm: ppm(f64::from(weight), (weights as f64).max(1.0)),
                rate,
                note: notes::note(&row),
                row,
            }
        })
        .collect()
}

/// A part in parts per million; a float's cast to an integer saturates.
fn ppm(part: f64, whole: f64) -> u32 {
    (part / whole * 1e6).round() as u32
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn shares_are_of_the_pool_and_beside_what_the_weights_ask_for() {
        let start = Instant::now();
        let mut meter = Meter::default();
        let mut facts = testing::facts();
        Overview::new(facts.clone(), &mut meter, start);
        facts.backends[0].packets += 600;
        facts.backends[1].packets += 200;
        let overview = Overview::new(facts, &mut meter, start + Duration::from_secs(2));
        let shares: Vec<_> = overview.backends.iter().map(|b| (b.taken_ppm, b.asked_ppm)).collect();
        // Weights 100 and 300 of `web`; the third drains; `dns` gets nothing.
        assert_eq!(
            shares,
            [(Some(750_000), 250_000), (Some(250_000), 750_000), (Some(0), 0), (None, 1_000_000)]
        );
        assert_eq!(overview.pools[0].rate.map(|r| r.packets), Some(400.0));
    }

    #[test]
    fn totals_are_sums_of_the_verdicts_of_a_kind() {
        let start = Instant::now();
        let mut meter = Meter::default();
        let mut facts = testing::facts();
        assert_eq!(Overview::new(facts.clone(), &mut meter, start).totals, Totals::default());
        for verdict in &mut facts.verdicts {
            verdict.packets += 10;
            verdict.bytes += 1000;
        }
        let overview = Overview::new(facts, &mut meter, start + Duration::from_secs(1));
        let packets = |rate: Option<Rate>| rate.map(|r| r.packets);
        let totals = overview.totals;
        assert_eq!(packets(totals.received), Some(50.0));
        assert_eq!(packets(totals.sent), Some(10.0));
        assert_eq!(packets(totals.passed), Some(10.0));
        assert_eq!(packets(totals.dropped), Some(30.0));
        assert_eq!(totals.dropped.map(|r| r.bits), Some(24_000.0));
    }
}
