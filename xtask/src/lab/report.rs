//! What a run amounts to, for people and for programs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde::Serialize;

use super::traffic::Outcome;

/// Figures of one run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Run {
    /// Long-lived TCP connections.
    pub flows: usize,
    /// Those that broke.
    pub broken: usize,
    /// Those that broke though their backend was well throughout.
    pub broken_on_healthy_backends: usize,
    /// Longest wait for an answer, in milliseconds.
    pub longest_stall_ms: u64,
    /// Verified answers.
    pub requests: u64,
    /// Verified answers a second on the slowest flow that lived.
    pub slowest_flow_requests_per_second: f64,
    /// Flows that landed on the PoP nearest to their client, in scenarios with several PoPs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at_nearest_pop: Option<usize>,
    /// Flows by backend.
    pub spread: BTreeMap<String, u64>,
    /// Broken flows by reason.
    pub reasons: BTreeMap<&'static str, u64>,
    /// Backends that were not well throughout.
    pub unhealthy_backends: BTreeSet<String>,
    /// Short TCP connections.
    pub short: u64,
    /// Those that failed.
    pub short_failed: u64,
    /// UDP datagrams sent.
    pub udp_sent: u64,
    /// UDP datagrams without an answer.
    pub udp_lost: u64,
    /// UDP answers that were not what was sent.
    pub udp_corrupt: u64,
    /// UDP flows that met more than one backend.
    pub udp_moved: u64,
    /// How long the traffic ran.
    pub seconds: f64,
}

impl Run {
    /// The figures of `outcome`.
    pub fn new(outcome: &Outcome, unhealthy: &BTreeSet<String>, seconds: f64) -> Self {
        Self {
            flows: outcome.flows.len(),
            broken: outcome.broken(),
            broken_on_healthy_backends: outcome.broken_on_healthy(unhealthy),
            longest_stall_ms: outcome.longest_stall_ms(),
            requests: outcome.requests(),
            slowest_flow_requests_per_second: rounded(outcome.slowest_rate()),
            at_nearest_pop: None,
            spread: outcome.spread(),
            reasons: outcome.reasons(),
            unhealthy_backends: unhealthy.clone(),
            short: outcome.short.done + outcome.short.failed,
            short_failed: outcome.short.failed,
            udp_sent: outcome.udp.sent,
            udp_lost: outcome.udp.lost(),
            udp_corrupt: outcome.udp.corrupt,
            udp_moved: outcome.udp.moved,
            seconds: rounded(seconds),
        }
    }
}

fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

/// The object that `--json` prints.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// Version of this object.
    pub schema: u32,
    /// Name of the scenario.
    pub scenario: &'static str,
    /// The run with the balancer; none in a scenario without.
    #[serde(flatten)]
    pub balanced: Option<Run>,
    /// The same without the second chance, in scenarios that show what it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner_only: Option<Run>,
    /// The same without the balancer.
    pub plain_ecmp: Option<Run>,
}

impl Summary {
    /// Version of the object that `--json` prints.
    pub const SCHEMA: u32 = 1;

    /// Whether no flow on a healthy backend broke behind the balancer.
    pub fn is_good(&self) -> bool {
        self.balanced.as_ref().is_none_or(|run| run.broken_on_healthy_backends == 0 && run.flows > 0)
    }

    /// The table for people: a column a run.
    pub fn table(&self) -> String {
        let columns: Vec<(&str, &Run)> = [
            ("anycast-lb", &self.balanced),
            ("owner only", &self.owner_only),
            ("plain ECMP", &self.plain_ecmp),
        ]
        .into_iter()
        .filter_map(|(name, run)| Some((name, run.as_ref()?)))
        .collect();
        let mut table = Table::new(columns.iter().map(|(name, _)| *name));
        let mut row = |name: &str, cell: &dyn Fn(&Run) -> String| {
            table.row(name, columns.iter().map(|(_, run)| cell(run)));
        };
        row("TCP flows", &|run| run.flows.to_string());
        row("broken", &|run| run.broken.to_string());
        row("  on a healthy backend", &|run| run.broken_on_healthy_backends.to_string());
        row("longest stall", &|run| format!("{} ms", run.longest_stall_ms));
        row("verified requests", &|run| run.requests.to_string());
        row("slowest flow", &|run| format!("{:.1}/s", run.slowest_flow_requests_per_second));
        if columns.iter().any(|(_, run)| run.at_nearest_pop.is_some()) {
            row("flows at their nearest PoP", &|run| {
                run.at_nearest_pop.map_or_else(|| "-".to_owned(), |flows| flows.to_string())
            });
        }
        let backends: BTreeSet<_> = columns.iter().flat_map(|(_, run)| run.spread.keys()).collect();
        for backend in backends {
            row(&format!("flows on {backend}"), &|run| {
                run.spread.get(backend).copied().unwrap_or(0).to_string()
            });
        }
        row("short TCP flows", &|run| run.short.to_string());
        row("  failed", &|run| run.short_failed.to_string());
        if columns.iter().any(|(_, run)| run.udp_sent > 0) {
            row("UDP datagrams", &|run| run.udp_sent.to_string());
            row("  unanswered", &|run| run.udp_lost.to_string());
            row("UDP flows that changed server", &|run| run.udp_moved.to_string());
        }
        table.text
    }
}

/// Aligned columns: names to the left, figures to the right.
struct Table {
    text: String,
}

const NAME_WIDTH: usize = 30;
const CELL_WIDTH: usize = 14;

impl Table {
    fn new<'a>(columns: impl Iterator<Item = &'a str>) -> Self {
        let mut table = Self { text: String::new() };
        table.row("", columns.map(str::to_owned));
        table
    }

    fn row(&mut self, name: &str, cells: impl Iterator<Item = String>) {
        // Writing to a String cannot fail.
        let _ = write!(self.text, "{name:<NAME_WIDTH$}");
        for cell in cells {
            let _ = write!(self.text, "{cell:>CELL_WIDTH$}");
        }
        self.text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::traffic::Reason;
    use crate::lab::traffic::outcome::tests::flow;

    fn run(unhealthy: &[&str]) -> Run {
        let outcome = Outcome {
            flows: vec![flow(Some("be0"), None, 9), flow(Some("be1"), Some(Reason::Stall), 5000)],
            ..Outcome::default()
        };
        Run::new(&outcome, &unhealthy.iter().map(|&name| name.to_owned()).collect(), 10.0)
    }

    fn summary(balanced: Option<Run>) -> Summary {
        Summary {
            schema: Summary::SCHEMA,
            scenario: "test",
            balanced,
            owner_only: Some(run(&[])),
            plain_ecmp: Some(run(&[])),
        }
    }

    #[test]
    fn only_a_break_on_a_healthy_backend_is_bad() {
        assert!(!summary(Some(run(&[]))).is_good());
        assert!(summary(Some(run(&["be1"]))).is_good());
        assert!(summary(None).is_good());
        assert!(!summary(Some(Run::new(&Outcome::default(), &BTreeSet::new(), 1.0))).is_good());
    }

    #[test]
    fn programs_find_the_agreed_keys() -> serde_json::Result<()> {
        let json = serde_json::to_value(summary(Some(run(&["be1"]))))?;
        assert_eq!(json["flows"], 2);
        assert_eq!(json["broken"], 1);
        assert_eq!(json["longest_stall_ms"], 5000);
        assert_eq!(json["owner_only"]["broken"], 1);
        assert_eq!(json["plain_ecmp"]["flows"], 2);
        assert_eq!(json["plain_ecmp"]["broken"], 1);
        Ok(())
    }

    #[test]
    fn the_table_is_aligned() {
        let table = summary(Some(run(&[]))).table();
        let widths: BTreeSet<_> = table.lines().map(str::len).collect();
        assert_eq!(widths, BTreeSet::from([NAME_WIDTH + 3 * CELL_WIDTH]));
    }
}
