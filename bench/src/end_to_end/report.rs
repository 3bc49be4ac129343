//! What is said about the figures: to people and to programs.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use super::plan::Case;
use super::run::Outcome;
use crate::measure;
use crate::report::table;
use crate::statistics::{Summary, summarise};

/// What was measured in all rounds so far.
pub struct Figures {
    cases: Vec<Case>,
    /// ns of CPU of the whole machine for each that was delivered, `[case][round]`.
    cpu: Vec<Vec<f64>>,
    /// The same of the processes that take part.
    own: Vec<Vec<f64>>,
    /// Delivered in a second.
    rates: Vec<Vec<f64>>,
    /// Lost of all, in all rounds.
    lost: Vec<u64>,
    sent: Vec<u64>,
    /// Runs that began while the machine had other work.
    pub disturbed: u32,
}

/// What was measured, and where.
pub struct Circumstances {
    /// The machine.
    pub machine: crate::report::Circumstances,
    /// Rounds.
    pub rounds: u32,
    /// How long a run takes.
    pub measured: Duration,
}

impl Figures {
    /// Of no round yet.
    pub fn new(cases: &[Case]) -> Self {
        let none = vec![Vec::new(); cases.len()];
        Self {
            cases: cases.to_vec(),
            cpu: none.clone(),
            own: none.clone(),
            rates: none,
            lost: vec![0; cases.len()],
            sent: vec![0; cases.len()],
            disturbed: 0,
        }
    }

    /// Adds a round of case `index`.
    pub fn push(&mut self, index: usize, outcome: &Outcome) {
        self.cpu[index].push(outcome.each(outcome.used.busy));
        self.own[index].push(outcome.each(outcome.used.own));
        self.rates[index].push(outcome.per_second());
        self.lost[index] += outcome.lost;
        self.sent[index] += outcome.lost + outcome.delivered;
    }

    fn summaries(&self, values: &[Vec<f64>]) -> Vec<Summary> {
        let cases = self.cases.iter().map(|case| (case.name(), "")).collect();
        summarise(&measure::Figures { cases, ns: values.to_vec() })
    }

    fn lost_part(&self, index: usize) -> f64 {
        self.lost[index] as f64 / self.sent[index].max(1) as f64
    }
}

/// The table.
pub fn markdown(figures: &Figures, circumstances: &Circumstances) -> String {
    let Circumstances { machine, rounds, measured } = circumstances;
    let mut text = format!(
        "Linux {}, {}, {} CPUs; {rounds} rounds of {} ms a case; {} of {} runs began while the machine had other \
         work. ns of CPU for each: of the whole machine, and of the processes that take part (own).\n\n",
        machine.kernel,
        machine.processor,
        machine.cpus,
        measured.as_millis(),
        figures.disturbed,
        figures.cases.len() * *rounds as usize,
    );
    let [cpu, own, rates] =
        [&figures.cpu, &figures.own, &figures.rates].map(|values| figures.summaries(values));
    let rows: Vec<Vec<String>> = (0..figures.cases.len())
        .map(|i| {
            let case = figures.cases[i];
            let ratio = |summary: &Summary| {
                summary.ratio_to(&case.reference()).map_or_else(String::new, |ratio| format!("{ratio:.2}"))
            };
            vec![
                case.name(),
                case.load.unit().to_owned(),
                format!("{:.0}", cpu[i].min),
                format!("{:.0}", cpu[i].median),
                ratio(&cpu[i]),
                format!("{:.0}", own[i].min),
                format!("{:.0}", own[i].median),
                ratio(&own[i]),
                format!("{:.0}", rates[i].median),
                ratio(&rates[i]),
                format!("{:.2}", figures.lost_part(i) * 100.0),
            ]
        })
        .collect();
    let head = [
        "case", "each", "CPU min", "median", "× plain", "own min", "median", "× plain", "a second",
        "× plain", "lost %",
    ];
    table(&mut text, &head, &rows);
    // Writing into a string does not fail.
    let _ =
        writeln!(text, "\nUDP has no proxies: HAProxy and nginx `stream` are here for TCP, which they end.");
    text
}

/// `{"cases":{NAME:{"min":…,"p10":…,"median":…,"ratio":{REFERENCE:…},"own":{…},"unit":…,"per_second":…,
/// "lost":…}}}`: ns of CPU for each unit, of the whole machine and in `own`, in the same form, of the processes that
/// take part; the median of what was delivered in a second; the part that was lost.
pub fn json(figures: &Figures) -> Value {
    let rates = figures.summaries(&figures.rates);
    let mut all = crate::report::json(&figures.summaries(&figures.cpu));
    let own = crate::report::json(&figures.summaries(&figures.own));
    for (i, case) in figures.cases.iter().enumerate() {
        let part = &own["cases"][case.name()];
        let row = &mut all["cases"][case.name()];
        row["own"] = json!({ "min": part["min"], "p10": part["p10"], "median": part["median"], "ratio": part["ratio"] });
        row["unit"] = case.load.unit().into();
        row["per_second"] = rates[i].median.round().into();
        row["lost"] = figures.lost_part(i).into();
    }
    all
}

#[cfg(test)]
mod tests {
    use super::super::cpu::Used;
    use super::super::plan::cases;
    use super::*;

    fn figures() -> Figures {
        let mut figures = Figures::new(&cases(&["udp-native".to_owned()]));
        for slow in [1, 2, 2] {
            // The machine is slower in the later rounds: ratios do not mind.
            for (index, each) in [(0, 1000), (1, 2500)] {
                let busy = Duration::from_nanos(100 * each * slow);
                let elapsed = Duration::from_millis(slow);
                let used = Used { elapsed, busy, own: busy / 2 };
                figures.push(index, &Outcome { delivered: 100, lost: index as u64 * 25, used });
            }
        }
        figures
    }

    #[test]
    fn the_form_is_that_of_the_other_cases_and_says_more() {
        let json = json(&figures());
        let native = &json["cases"]["e2e-udp-native"];
        assert_eq!((&native["min"], &native["median"]), (&2500.0.into(), &5000.0.into()));
        assert_eq!(native["ratio"]["e2e-udp-plain"], 2.5);
        assert_eq!(
            (&native["own"]["min"], &native["own"]["ratio"]["e2e-udp-plain"]),
            (&1250.0.into(), &2.5.into())
        );
        assert_eq!(native["per_second"], 50_000.0);
        assert_eq!((&native["unit"], &native["lost"]), (&"packet".into(), &0.2.into()));
        assert_eq!(json["cases"]["e2e-udp-plain"]["lost"], 0.0);
    }

    #[test]
    fn people_see_what_was_lost_and_how_it_compares() {
        let machine = crate::report::Circumstances {
            kernel: "6.18".to_owned(),
            processor: "CPU".to_owned(),
            cpu: 0,
            cpus: 2,
            rounds: 3,
            packets: 1,
        };
        let circumstances = Circumstances { machine, rounds: 3, measured: Duration::from_millis(500) };
        let text = markdown(&figures(), &circumstances);
        let row = text.lines().find(|line| line.contains("e2e-udp-native")).unwrap_or_default();
        let cells: Vec<&str> = row.split('|').map(str::trim).filter(|cell| !cell.is_empty()).collect();
        assert_eq!(
            cells,
            [
                "e2e-udp-native",
                "packet",
                "2500",
                "5000",
                "2.50",
                "1250",
                "2500",
                "2.50",
                "50000",
                "1.00",
                "20.00"
            ]
        );
    }
}
