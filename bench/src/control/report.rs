//! What is said of the control plane.

use serde_json::{Map, Value, json};

use super::memory::Memory;
use super::scrape::NAME;
use super::{Control, Times};
use crate::report::table;
use crate::statistics::quantile;

const MIB: f64 = (1_u64 << 20) as f64;
/// Most milliseconds of a table of a thousand backends, and from a command to the data plane.
const MOST_MS: f64 = 100.0;
/// The table with that limit.
const LIMITED_TABLE: &str = "table-1000";
/// How the names of the changes begin, which all have it.
const LIMITED_CHANGES: &str = "change-";
/// Most milliseconds of a scrape of metrics.
const MOST_SCRAPE_MS: f64 = 200.0;
/// Most bytes of maps on two CPUs and on 128.
const MOST_MAPS: [f64; 2] = [64.0 * MIB, 512.0 * MIB];

impl Times {
    /// Minimum, p10 and median, in ms.
    fn figures(&self) -> [f64; 3] {
        let ms: Vec<f64> = self.rounds.iter().map(|time| time.as_secs_f64() * 1e3).collect();
        [0.0, 0.1, 0.5].map(|q| quantile(&ms, q))
    }

    fn limit(&self) -> Option<f64> {
        if self.name == NAME {
            return Some(MOST_SCRAPE_MS);
        }
        let is_limited = self.name == LIMITED_TABLE || self.name.starts_with(LIMITED_CHANGES);
        is_limited.then_some(MOST_MS)
    }
}

impl Control {
    /// The tables, in Markdown; nothing if nothing was measured.
    pub fn markdown(&self) -> String {
        let mut text = String::new();
        if !self.times.is_empty() {
            text.push_str(&format!("\nControl plane: ms, {} rounds.\n\n", self.rounds));
            let head = ["case", "min", "p10", "median", "median at most", "reached"];
            table(&mut text, &head, &self.times.iter().map(row).collect::<Vec<_>>());
        }
        if let Some(memory) = &self.memory {
            text.push_str("\nMemory of a node with 1,000 VIPs and 1,000 backends.\n\n");
            table(&mut text, &["what", "MiB", "at most", "reached"], &rows(memory));
        }
        text
    }

    /// Puts the figures beside the cases of the packets, whose unit is another one.
    pub fn add_to(&self, json: &mut Value) {
        if !self.times.is_empty() {
            let case = |times: &Times| {
                let [min, p10, median] = times.figures().map(rounded);
                (times.name.clone(), json!({ "min": min, "p10": p10, "median": median, "unit": "ms" }))
            };
            json["control"] = self.times.iter().map(case).collect::<Map<_, _>>().into();
        }
        if let Some(memory) = &self.memory {
            json["memory"] = json!({
                "unit": "bytes",
                "maps_2_cpus": memory.maps_2_cpus,
                "maps_128_cpus": memory.maps_128_cpus,
                "maps_here": memory.maps_here,
                "daemon_resident": memory.daemon_resident,
            });
        }
    }
}

fn row(times: &Times) -> Vec<String> {
    let figures = times.figures();
    let mut row = vec![times.name.clone()];
    row.extend(figures.map(|ms| format!("{ms:.1}")));
    row.extend(judged(figures[2], times.limit()));
    row
}

fn rows(memory: &Memory) -> Vec<Vec<String>> {
    let [two, many] = MOST_MAPS.map(Some);
    let row = |what: &str, bytes: u64, limit: Option<f64>| {
        let mib = bytes as f64 / MIB;
        let mut row = vec![what.to_owned(), format!("{mib:.1}")];
        row.extend(judged(mib, limit.map(|limit| limit / MIB)));
        row
    };
    vec![
        row("maps, two CPUs, computed", memory.maps_2_cpus, two),
        row("maps, 128 CPUs, computed", memory.maps_128_cpus, many),
        row("maps here, as the kernel counts", memory.maps_here, None),
        row("daemon, resident", memory.daemon_resident, None),
    ]
}

/// The limit, and whether it holds; empty cells where there is none.
fn judged(measured: f64, limit: Option<f64>) -> [String; 2] {
    limit.map_or_else(Default::default, |limit| {
        [format!("{limit:.0}"), if measured <= limit { "yes" } else { "NO" }.to_owned()]
    })
}

/// Microseconds are enough.
fn rounded(ms: f64) -> f64 {
    (ms * 1e3).round() / 1e3
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn control() -> Control {
        let times = |name: &str, ms: [u64; 3]| Times {
            name: name.to_owned(),
            rounds: ms.map(Duration::from_millis).to_vec(),
        };
        Control {
            rounds: 3,
            times: vec![
                times("table-1000", [30, 10, 20]),
                times("table-10000", [300, 100, 200]),
                times("change-1000x100-weight", [90, 101, 110]),
                times("scrape-1000", [201, 200, 10]),
            ],
            memory: Some(Memory {
                maps_2_cpus: 1 << 25,
                maps_128_cpus: 1 << 30,
                maps_here: 1 << 25,
                daemon_resident: 1 << 26,
            }),
        }
    }

    #[test]
    fn limits_are_for_those_that_have_one() {
        let rows: Vec<_> = control().times.iter().map(|times| row(times)[3..].join(" ")).collect();
        assert_eq!(rows, ["20.0 100 yes", "200.0  ", "101.0 100 NO", "200.0 200 yes"]);
        let memory: Vec<_> = control().memory.iter().flat_map(rows_of).collect();
        assert_eq!(memory, ["32.0 64 yes", "1024.0 512 NO", "32.0  ", "64.0  "]);
    }

    fn rows_of(memory: &Memory) -> Vec<String> {
        rows(memory).iter().map(|row| row[1..].join(" ")).collect()
    }

    #[test]
    fn programs_find_the_figures_beside_the_cases() {
        let mut value = json!({ "cases": { "pass": {} } });
        control().add_to(&mut value);
        assert_eq!(value["cases"], json!({ "pass": {} }));
        let expected = json!({ "min": 10.0, "p10": 10.0, "median": 20.0, "unit": "ms" });
        assert_eq!(value["control"]["table-1000"], expected);
        assert_eq!(value["memory"]["maps_128_cpus"], 1 << 30);

        let mut value = json!({ "cases": {} });
        Control::default().add_to(&mut value);
        assert_eq!(value, json!({ "cases": {} }));
        assert_eq!(Control::default().markdown(), "");
    }
}
