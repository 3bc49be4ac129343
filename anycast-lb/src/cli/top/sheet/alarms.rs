//! What is wrong, the worst first.

use super::{Cell, Line, Sheet, Tone, prose, words};
use crate::control::api::HijackRow;
use crate::overview::Overview;

pub(super) fn sheet(overview: &Overview) -> Sheet {
    let mut wrongs: Vec<Wrong> = Vec::new();
    let mut add = |severity: &str, what: &str, text: String| {
        wrongs.push(Wrong { severity: severity.to_owned(), what: what.to_owned(), text });
    };
    for alarm in &overview.alarms {
        add(&alarm.severity, &alarm.kind, alarm.text.clone());
    }
    // An alarm names some of them.
    for hijack in overview.hijacks.hijacks.iter().filter(|h| !named(overview, h)) {
        let HijackRow { prefix, origin, own_prefix, seen, .. } = hijack;
        let places = if *seen == 1 { "1 place".to_owned() } else { format!("{seen} places") };
        add(
            "error",
            "hijack",
            format!("{prefix} of {own_prefix} is announced from {origin}, seen in {places}"),
        );
    }
    if let Some(problem) = &overview.hijacks.problem {
        add("warning", "BMP", problem.clone());
    }
    for interface in overview.node.interfaces.iter().filter(|i| i.mode.is_none()) {
        let reason = interface.reason.as_deref().unwrap_or("it is gone, or the program was taken off");
        add("error", "interface", format!("{} carries no program: {reason}", interface.interface));
    }
    for pool in overview.pools.iter().filter(|p| p.row.service != "healthy") {
        let row = &pool.row;
        let severity = if row.service == "down" { "error" } else { "warning" };
        let text =
            format!("{} is {}: {} of {} backends serve", row.pool, row.service, row.active, row.backends);
        add(severity, "pool", text);
    }
    for backend in &overview.unresolved {
        add("error", "next hop", format!("{}: {}", backend.backend, backend.reason));
    }
    for finding in &overview.findings {
        let fix = finding.fix.as_ref().map(|fix| format!(" Mend: {fix}")).unwrap_or_default();
        add(&finding.severity, "host", format!("{}: {}.{fix}", finding.what, finding.why));
    }
    wrongs.sort_by_key(|w| w.rank());
    Sheet {
        columns: vec![words("SEVERITY", 8, 0), words("WHAT", 9, 0), prose("WHY", 20, 0)],
        lines: wrongs.iter().enumerate().map(|(n, w)| w.line(n)).collect(),
        empty: "nothing is wrong",
    }
}

fn named(overview: &Overview, hijack: &HijackRow) -> bool {
    let prefix = hijack.prefix.to_string();
    overview.alarms.iter().any(|a| a.kind == "hijack" && a.text.contains(&prefix))
}

struct Wrong {
    severity: String,
    what: String,
    text: String,
}

impl Wrong {
    fn rank(&self) -> u8 {
        match self.severity.as_str() {
            "error" => 0,
            "warning" => 1,
            _ => 2,
        }
    }

    fn line(&self, number: usize) -> Line {
        let tone = match self.rank() {
            0 => Tone::Bad,
            1 => Tone::Notable,
            _ => Tone::Plain,
        };
        let severity = Cell::toned(&self.severity, tone).ordered(f64::from(self.rank()));
        let cells = vec![severity, Cell::text(&self.what), Cell::text(&self.text)];
        Line::new(format!("{number} {}", self.text), cells, format!("{}: {}", self.what, self.text))
    }
}
