//! `simulate`

use std::time::{Duration, Instant};

use clap::builder::PossibleValuesParser;
use clap::{Args, value_parser};
use serde::Serialize;

use super::context::{Context, print, print_line};
use super::error::CliError;
use super::table::{Cell, Table};
use crate::control::api::Answer;
use crate::simulate::{self, Change, Depth, Outcome, Scenario};
use crate::table::{DEFAULT_MARGIN_PPM, TableKind, TableSpec, build};

/// Most backends of a pool.
const BACKENDS: std::ops::RangeInclusive<i64> = 1..=32_767;
/// Most slots of a pool's table.
const MOST_SLOTS: u32 = 1 << 20;
/// Most hops: what the length field of the tunnel header leaves room for.
const HOPS: std::ops::RangeInclusive<i64> = 0..=7;
const DEFAULT_SLOTS: u32 = 1 << 16;

/// Plays membership changes through, without a network and without a daemon.
///
/// Every slot of the table stands for the flows that began in it before the first change.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    anycast-lb simulate --backends 100 --change remove:1\n  \
    anycast-lb simulate --backends 10 --change add:1 --change add:1 --history   (one after the other)\n  \
    anycast-lb simulate --backends 100 --change add:5 --table maglev --json     (five at once)")]
pub struct Simulate {
    /// Backends before the first change, all of one weight
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(BACKENDS))]
    backends: u32,
    /// add:N or remove:N backends at once; changes happen one after the other
    #[arg(long, value_name = "CHANGE")]
    change: Vec<Change>,
    /// Backends that a packet lists after the owner, 0 to 7. Nodes list more of those that history names
    /// where a burst of changes asks for it: for them this is the most that breaks
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = value_parser!(u8).range(HOPS))]
    hops: u8,
    /// Nodes remember earlier owners and list them before runners-up
    #[arg(long)]
    history: bool,
    /// How the table is filled
    #[arg(long, value_name = "KIND", default_value = "rendezvous",
        value_parser = PossibleValuesParser::new(["rendezvous", "maglev"]))]
    table: String,
    /// How much more than its share a backend may own, 0 to 1 (default: that of a pool)
    #[arg(long, value_name = "SHARE", value_parser = margin)]
    margin: Option<u32>,
    /// Slots of the table, a power of two
    #[arg(long, value_name = "N", default_value_t = DEFAULT_SLOTS, value_parser = slots)]
    slots: u32,
    /// Which of many hash seeds: with the same number the same comes out
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
}

/// What `simulate --json` prints.
#[derive(Debug, Serialize)]
struct SimulateAnswer {
    /// Busiest backend relative to its due share, the worst of all tables.
    peak: f64,
    /// Share of the slots that had to change owner.
    unavoidable: f64,
    /// Share of the flows whose backend is still there that are placed elsewhere all the same.
    extra_moved: f64,
    /// Share of the flows whose backend is still there that lost it.
    broken: f64,
    /// What it took to build one table with its lists, on average.
    build_ms: f64,
    /// The broken ones by how many hops a packet carries.
    by_hops: Vec<Depth>,
}

/// A share as parts per million.
fn margin(text: &str) -> Result<u32, String> {
    let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    let share: f64 = share.ok_or("write a share from 0 to 1; 0.03 is 3 %")?;
    // In range, so the conversion is exact but for the rounding that is meant.
    Ok((share * 1e6).round() as u32)
}

fn slots(text: &str) -> Result<u32, String> {
    let slots = text.parse().ok().filter(|n: &u32| n.is_power_of_two() && (2..=MOST_SLOTS).contains(n));
    slots.ok_or_else(|| format!("write a power of two from 2 to {MOST_SLOTS}"))
}

impl Simulate {
    pub(super) fn execute(&self, context: &Context) -> Result<(), CliError> {
        let answer = self.answer()?;
        if context.json {
            return print_line(&serde_json::to_string(&Answer::new(answer)).unwrap_or_default());
        }
        print(&self.render(&answer))
    }

    fn answer(&self) -> Result<SimulateAnswer, CliError> {
        let (mut spent, mut tables) = (Duration::ZERO, 0_u32);
        let outcome = simulate::run(&self.scenario(), |spec, backends| {
            let start = Instant::now();
            let table = build(spec, backends);
            spent += start.elapsed();
            tables += 1;
            table
        });
        let hint = Some("see: anycast-lb simulate --help");
        let Outcome { peak, unavoidable, extra_moved, broken, depths } =
            outcome.map_err(|e| CliError::failed("invalid_request", e.to_string(), hint))?;
        let build_ms = spent.as_secs_f64() * 1e3 / f64::from(tables.max(1));
        Ok(SimulateAnswer { peak, unavoidable, extra_moved, broken, build_ms, by_hops: depths })
    }

    fn scenario(&self) -> Scenario {
        let kind = if self.table == "maglev" { TableKind::Maglev } else { TableKind::Rendezvous };
        let spec = TableSpec {
            kind,
            slots: self.slots,
            margin_ppm: self.margin.unwrap_or(DEFAULT_MARGIN_PPM),
            seed: simulate::seed(self.seed),
            hops: self.hops,
        };
        Scenario { spec, backends: self.backends, changes: self.change.clone(), history: self.history }
    }

    fn render(&self, answer: &SimulateAnswer) -> String {
        let mut table = Table::new(&["WHAT", ">VALUE", "MEANING"]);
        let mut row = |what: &str, value: String, meaning: &str| {
            table.row([Cell::from(what), value.into(), meaning.into()]);
        };
        row(
            "peak",
            percent(answer.peak),
            "The busiest backend gets so much of what it is due, at the worst moment.",
        );
        row(
            "unavoidable",
            percent(answer.unavoidable),
            "So many of all flows have to move: their backend left, or a new one is due its share.",
        );
        row(
            "extra moved",
            percent(answer.extra_moved),
            "So many flows of backends that stay are placed on another that stayed as well.",
        );
        row(
            "broken",
            percent(answer.broken),
            "So many flows of backends that stay lose their backend: no packet lists it any more.",
        );
        row(
            "build",
            format!("{:.1} ms", answer.build_ms),
            "So long it takes to build one table and its lists.",
        );
        let mut depths = Table::new(&[">HOPS", ">BROKEN", ">WITH HISTORY"]);
        for depth in &answer.by_hops {
            depths.row([
                depth.hops.into(),
                percent(depth.broken_without_history).into(),
                percent(depth.broken_with_history).into(),
            ]);
        }
        format!("{}\n{}", table.render(""), depths.render(""))
    }
}

/// A share as a percentage; three digits, as what is worth looking at here is small.
fn percent(share: f64) -> String {
    format!("{:.3} %", share * 100.0)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn simulate(line: &str) -> Simulate {
        let words = "anycast-lb simulate ".to_owned() + line;
        match Cli::try_parse_from(words.split_whitespace()) {
            Ok(Cli { command: Command::Simulate(simulate), .. }) => simulate,
            other => panic!("{line}: {other:?}"),
        }
    }

    fn answer(line: &str) -> SimulateAnswer {
        simulate(line).answer().unwrap_or_else(|_| panic!("{line}"))
    }

    /// What the defaults promise.
    #[test]
    fn the_defaults_keep_the_promises_for_every_seed() {
        for seed in 1..=5 {
            let found = answer(&format!("--backends 100 --change remove:1 --seed {seed}"));
            assert!(found.extra_moved <= 0.0010 && found.peak <= 1.04, "seed {seed}: {found:?}");
            let found = answer(&format!("--backends 1000 --change remove:1 --seed {seed}"));
            assert!(found.extra_moved <= 0.0008 && found.peak <= 1.05, "seed {seed}: {found:?}");
            let one_by_one = "--change add:1 ".repeat(5);
            let found = answer(&format!("--backends 10 {one_by_one} --hops 3 --history --seed {seed}"));
            assert!(found.broken <= 0.0005, "seed {seed}: {found:?}");
            for changes in [&one_by_one, "--change add:5"] {
                let found = answer(&format!("--backends 100 {changes} --hops 3 --seed {seed}"));
                assert!(found.broken <= 0.0005, "seed {seed}: {found:?}");
            }
        }
    }

    #[test]
    fn options_reach_the_scenario() {
        let parsed = simulate(
            "--backends 7 --change add:2 --change remove:3 --hops 2 --history --table maglev --margin 0.01 \
             --slots 1024 --seed 9",
        );
        let scenario = parsed.scenario();
        assert_eq!((scenario.backends, scenario.history), (7, true));
        assert_eq!(scenario.changes, [Change::Add(2), Change::Remove(3)]);
        let TableSpec { kind, slots, margin_ppm, seed, hops } = scenario.spec;
        assert_eq!((kind, slots, margin_ppm, hops), (TableKind::Maglev, 1024, 10_000, 2));
        assert_eq!(seed, simulate::seed(9));
        assert_eq!(simulate("--backends 7").scenario().spec.margin_ppm, DEFAULT_MARGIN_PPM);
    }

    #[test]
    fn the_json_has_the_documented_keys() {
        let answer = serde_json::to_value(Answer::new(answer("--backends 4 --change add:1 --slots 64")));
        let answer = answer.expect("JSON");
        for key in ["schema", "peak", "unavoidable", "extra_moved", "broken", "build_ms"] {
            assert!(answer[key].is_number(), "{key} in {answer}");
        }
        assert_eq!(answer["by_hops"].as_array().map(Vec::len), Some(4));
        assert_eq!(answer["by_hops"][3]["broken_without_history"], answer["broken"]);
    }

    #[test]
    fn people_get_percentages_and_what_they_mean() {
        let simulate = simulate("--backends 4 --change add:1 --slots 64 --hops 1");
        let found = SimulateAnswer {
            peak: 1.0312,
            unavoidable: 0.2,
            extra_moved: 0.000_51,
            broken: 0.0,
            build_ms: 1.26,
            by_hops: vec![
                Depth { hops: 0, broken_without_history: 0.201, broken_with_history: 0.201 },
                Depth { hops: 1, broken_without_history: 0.0, broken_with_history: 0.0 },
            ],
        };
        let text = anstream::adapter::strip_str(&simulate.render(&found)).to_string();
        assert!(text.contains("\npeak         103.120 %  The busiest backend"), "{text}");
        assert!(text.contains("\nextra moved    0.051 %  So many"), "{text}");
        assert!(text.ends_with("\n   0  20.100 %      20.100 %\n   1   0.000 %       0.000 %\n"), "{text}");
    }

    #[test]
    fn nonsense_is_wrong_usage() {
        for line in [
            "--backends 0",
            "--backends 5 --change add",
            "--backends 5 --change add:0",
            "--backends 5 --change move:1",
            "--backends 5 --hops 8",
            "--backends 5 --margin 3",
            "--backends 5 --slots 1000",
            "--backends 5 --table ring",
        ] {
            let words = "anycast-lb simulate ".to_owned() + line;
            assert!(Cli::try_parse_from(words.split_whitespace()).is_err(), "{line}");
        }
        assert!(simulate("--backends 5 --change remove:5").answer().is_err());
    }
}
