//! The last minutes, so that the plots of a page that is opened are not empty.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};

use serde::Serialize;

use crate::overview::rates::{Rate, Subject};
use crate::overview::ring::Ring;
use crate::overview::{Overview, Totals};

/// Samples, one a second.
pub const SAMPLES: usize = 300;
/// Of each sample the busiest VIPs, reasons of drops and backends that are kept: some 4 MB in all.
const MOST_KEPT: usize = 64;
/// Of these, lines that a plot is given.
const MOST_LINES: usize = 8;
/// Pools whose backends are given.
const MOST_POOLS: usize = 4;

/// A moment.
#[derive(Clone, Debug)]
struct Sample {
    at_ms: u64,
    totals: Totals,
    /// Packets a second; what has none is not kept.
    rates: Vec<(Subject, f64)>,
}

/// The samples.
#[derive(Clone, Debug)]
pub struct History(Ring<Sample>);

/// What plots are drawn from.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Series {
    /// When, in milliseconds since 1970.
    pub times: Vec<u64>,
    /// Packets a second; null = not known.
    pub packets: Vec<Option<f64>>,
    /// Bits a second.
    pub bits: Vec<Option<f64>>,
    /// Packets a second that were sent on.
    pub sent: Vec<Option<f64>>,
    /// Packets a second that were given to this host's kernel.
    pub passed: Vec<Option<f64>>,
    /// Dropped packets a second.
    pub dropped: Vec<Option<f64>>,
    /// Packets a second of the busiest VIPs.
    pub vips: Vec<Row>,
    /// Of the most frequent reasons of drops.
    pub drops: Vec<Row>,
    /// Of the busiest backends of the busiest pools.
    pub backends: Vec<Row>,
}

/// One line of a plot.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// Of a backend, its pool.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// Whose.
    pub name: String,
    /// Packets a second, one a time.
    pub values: Vec<f64>,
}

impl Default for History {
    fn default() -> Self {
        History(Ring::new(SAMPLES))
    }
}

impl History {
    /// Takes a moment in; the oldest makes room.
    pub fn push(&mut self, at_ms: u64, overview: &Overview) {
        let vips = overview.vips.iter().map(|v| (Subject::Vip(v.row.vip), v.rate));
        let drops = overview.drops().map(|v| (Subject::Verdict(v.count.verdict.clone()), v.rate));
        let backends =
            overview.backends.iter().map(|b| (Subject::Backend(b.row.pool.clone(), b.row.address), b.rate));
        let mut rates = busiest(vips);
        rates.extend(busiest(drops));
        rates.extend(busiest(backends));
        self.0.push(Sample { at_ms, totals: overview.totals, rates });
    }

    /// All of it, column by column.
    pub fn series(&self) -> Series {
        let mut sums: HashMap<&Subject, f64> = HashMap::new();
        for (subject, packets) in self.0.iter().flat_map(|s| &s.rates) {
            *sums.entry(subject).or_default() += packets;
        }
        let pools = busiest_pools(&sums);
        let totals = |of: &dyn Fn(&Totals) -> Option<f64>| -> Vec<Option<f64>> {
            self.0.iter().map(|s| of(&s.totals).map(rounded)).collect()
        };
        let chosen = |wanted: &dyn Fn(&Subject) -> Option<String>| self.rows(&sums, wanted);
        let mut backends = Vec::new();
        for pool in &pools {
            backends.extend(chosen(&|s| match s {
                Subject::Backend(of, address) if of == pool => Some(address.to_string()),
                _ => None,
            }));
        }
        Series {
            times: self.0.iter().map(|s| s.at_ms).collect(),
            packets: totals(&|t| t.received.map(|r| r.packets)),
            bits: totals(&|t| t.received.map(|r| r.bits)),
            sent: totals(&|t| t.sent.map(|r| r.packets)),
            passed: totals(&|t| t.passed.map(|r| r.packets)),
            dropped: totals(&|t| t.dropped.map(|r| r.packets)),
            vips: chosen(&|s| match s {
                Subject::Vip(vip) => Some(vip.to_string()),
                _ => None,
            }),
            drops: chosen(&|s| match s {
                Subject::Verdict(name) => Some(name.clone()),
                _ => None,
            }),
            backends,
        }
    }

    /// The lines of those that `wanted` names, the busiest first.
    fn rows(&self, sums: &HashMap<&Subject, f64>, wanted: &dyn Fn(&Subject) -> Option<String>) -> Vec<Row> {
        let mut all: Vec<(&Subject, String, f64)> =
            sums.iter().filter_map(|(subject, sum)| Some((*subject, wanted(subject)?, *sum))).collect();
        all.sort_by(|a, b| b.2.total_cmp(&a.2).then_with(|| a.1.cmp(&b.1)));
        all.truncate(MOST_LINES);
        let value = |sample: &Sample, subject: &Subject| {
            sample.rates.iter().find(|(s, _)| s == subject).map_or(0.0, |(_, packets)| rounded(*packets))
        };
        let pool = |subject: &Subject| match subject {
            Subject::Backend(pool, _) => Some(pool.clone()),
            _ => None,
        };
        all.into_iter()
            .map(|(subject, name, _)| Row {
                pool: pool(subject),
                name,
                values: self.0.iter().map(|s| value(s, subject)).collect(),
            })
            .collect()
    }
}

/// Those with packets, no more than are kept.
fn busiest(rates: impl Iterator<Item = (Subject, Option<Rate>)>) -> Vec<(Subject, f64)> {
    let mut all: Vec<(Subject, f64)> = rates
        .filter_map(|(s, rate)| Some((s, rate?.packets)))
        .filter(|(_, packets)| *packets > 0.0)
        .collect();
    if all.len() > MOST_KEPT {
        all.select_nth_unstable_by(MOST_KEPT, |a, b| b.1.total_cmp(&a.1));
        all.truncate(MOST_KEPT);
    }
    all
}

fn busiest_pools(sums: &HashMap<&Subject, f64>) -> Vec<String> {
    let mut pools: HashMap<&String, f64> = HashMap::new();
    for (subject, sum) in sums {
        if let Subject::Backend(pool, _) = subject {
            *pools.entry(pool).or_default() += sum;
        }
    }
    // By what they carry, then by name; whole packets are near enough for an order.
    let ordered: BTreeSet<(Reverse<u64>, &String)> =
        pools.into_iter().map(|(pool, sum)| (Reverse(sum as u64), pool)).collect();
    ordered.into_iter().take(MOST_POOLS).map(|(_, pool)| pool.clone()).collect()
}

fn rounded(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::overview::rates::Meter;
    use crate::overview::testing::{backend, facts, vip};

    #[test]
    fn plots_get_what_came_by_vip_reason_and_backend() {
        let (mut history, mut meter, start) = (History::default(), Meter::default(), Instant::now());
        let mut facts = facts();
        for second in 0..3 {
            let now = start + Duration::from_secs(second);
            history.push(1000 * second, &Overview::new(facts.clone(), &mut meter, now));
            facts.vips[0].packets += 50;
            facts.verdicts[0].packets += 60;
            facts.verdicts[2].packets += 10;
            facts.backends[1].packets += 45;
            facts.backends[3].packets += 5;
        }
        let series = history.series();
        assert_eq!(series.times, [0, 1000, 2000]);
        assert_eq!(series.packets, [None, Some(70.0), Some(70.0)]);
        assert_eq!(series.dropped, [None, Some(10.0), Some(10.0)]);
        assert_eq!(series.sent, [None, Some(60.0), Some(60.0)]);
        assert_eq!(series.passed, [None, Some(0.0), Some(0.0)]);
        let row = |pool: Option<&str>, name: &str, packets: f64| Row {
            pool: pool.map(str::to_owned),
            name: name.to_owned(),
            values: vec![0.0, packets, packets],
        };
        assert_eq!(series.vips, [row(None, "203.0.113.1:443/tcp", 50.0)]);
        assert_eq!(series.drops, [row(None, "unmatched_service", 10.0)]);
        assert_eq!(
            series.backends,
            [
                row(Some("web"), "10.0.0.12", 45.0),
                row(Some("dns"), "2001:db8:ffff:ffff:ffff:ffff:ffff:5353", 5.0)
            ]
        );
    }

    #[test]
    fn a_thousand_of_each_are_bounded() {
        let (mut history, mut meter, start) = (History::default(), Meter::default(), Instant::now());
        let mut facts = facts();
        facts.vips = (0..1000).map(|n| vip(&format!("203.0.113.1:{}/tcp", n + 1), "web", 0)).collect();
        facts.backends = (0..1000)
            .map(|n| backend(&format!("p{}", n / 100), &format!("10.0.{}.{}", n / 250, n % 250), 1, 1))
            .collect();
        for second in 0..5 {
            let now = start + Duration::from_secs(second);
            history.push(second, &Overview::new(facts.clone(), &mut meter, now));
            facts.vips.iter_mut().enumerate().for_each(|(n, v)| v.packets += n as u64);
            facts.backends.iter_mut().enumerate().for_each(|(n, b)| b.packets += n as u64);
        }
        let kept = history.0.last().expect("samples").rates.len();
        assert_eq!(kept, 2 * MOST_KEPT);
        let series = history.series();
        assert_eq!(series.vips.len(), MOST_LINES);
        assert_eq!(series.vips[0].name, "203.0.113.1:1000/tcp");
        assert!(series.backends.len() <= MOST_POOLS * MOST_LINES);
    }
}
