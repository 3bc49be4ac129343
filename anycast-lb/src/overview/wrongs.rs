//! What is wrong, the worst first.

use serde::Serialize;

use super::facts::Facts;
use super::standing::Standing;
use crate::control::api::HijackRow;

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Wrong {
    /// `error`, `warning` or `info`.
    pub severity: String,
    /// With what: `rpki`, `hijack`, `BMP`, `interface`, `pool`, `next hop` or `host`.
    pub what: String,
    /// A sentence.
    pub text: String,
}

impl Wrong {
    /// 0 is the worst.
    pub fn rank(&self) -> u8 {
        match self.severity.as_str() {
            "error" => 0,
            "warning" => 1,
            _ => 2,
        }
    }

    /// What to think of it.
    pub fn standing(&self) -> Standing {
        match self.rank() {
            0 => Standing::Bad,
            1 => Standing::Notable,
            _ => Standing::Unknown,
        }
    }
}

/// All that is.
pub(super) fn wrongs(facts: &Facts) -> Vec<Wrong> {
    let mut wrongs: Vec<Wrong> = Vec::new();
    let mut add = |severity: &str, what: &str, text: String| {
        wrongs.push(Wrong { severity: severity.to_owned(), what: what.to_owned(), text });
    };
    for alarm in &facts.status.alarms {
        add(&alarm.severity, &alarm.kind, alarm.text.clone());
    }
    // An alarm names some of them.
    for hijack in facts.hijacks.hijacks.iter().filter(|h| !named(facts, h)) {
        let HijackRow { prefix, origin, own_prefix, seen, .. } = hijack;
        let places = if *seen == 1 { "1 place".to_owned() } else { format!("{seen} places") };
        add(
            "error",
            "hijack",
            format!("{prefix} of {own_prefix} is announced from {origin}, seen in {places}"),
        );
    }
    if let Some(problem) = &facts.hijacks.problem {
        add("warning", "BMP", problem.clone());
    }
    for interface in facts.status.interfaces.iter().filter(|i| i.mode.is_none()) {
        let reason = interface.reason.as_deref().unwrap_or("it is gone, or the program was taken off");
        add("error", "interface", format!("{} carries no program: {reason}", interface.interface));
    }
    for pool in facts.pools.iter().filter(|p| p.service != "healthy") {
        let row = pool;
        let severity = if row.service == "down" { "error" } else { "warning" };
        let text =
            format!("{} is {}: {} of {} backends serve", row.pool, row.service, row.active, row.backends);
        add(severity, "pool", text);
    }
    for backend in &facts.status.unresolved {
        add("error", "next hop", format!("{}: {}", backend.backend, backend.reason));
    }
    for finding in &facts.status.findings {
        let fix = finding.fix.as_ref().map(|fix| format!(" Mend: {fix}")).unwrap_or_default();
        add(&finding.severity, "host", format!("{}: {}.{fix}", finding.what, finding.why));
    }
    wrongs.sort_by_key(|w| w.rank());
    wrongs
}

fn named(facts: &Facts, hijack: &HijackRow) -> bool {
    let prefix = hijack.prefix.to_string();
    facts.status.alarms.iter().any(|a| a.kind == "hijack" && a.text.contains(&prefix))
}
