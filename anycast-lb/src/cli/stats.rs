//! `stats`

use clap::Args;

use super::context::Context;
use super::error::CliError;
use super::table::{Cell, Table};
use crate::control::api::{self, IdentityCount};

/// Shows the counters.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  anycast-lb stats\n  anycast-lb stats --all     (what never happened too)"
)]
pub struct Stats {
    /// Show verdicts, VIPs and backends without a packet too
    #[arg(long)]
    all: bool,
}

impl Stats {
    pub(super) async fn execute(self, context: &Context) -> Result<(), CliError> {
        context.show("/v1/stats", |answer| render(answer, self.all)).await
    }
}

fn render(answer: &api::Stats, all: bool) -> String {
    let mut verdicts = Table::new(&["VERDICT", "KIND", ">PACKETS", ">BYTES", "MEANING"]);
    for v in answer.verdicts.iter().filter(|v| all || v.packets > 0) {
        let kind = if v.kind == "drop" { Cell::judged("drop", false) } else { Cell::from(&v.kind) };
        verdicts.row([
            Cell::from(&v.verdict),
            kind,
            v.packets.into(),
            v.bytes.into(),
            Cell::from(&v.explanation),
        ]);
    }
    let mut vips = Table::new(&["VIP", ">PACKETS", ">BYTES"]);
    for v in answer.vips.iter().filter(|v| all || v.packets > 0) {
        vips.row([v.vip.into(), v.packets.into(), v.bytes.into()]);
    }
    let mut backends = Table::new(&["POOL", "BACKEND", ">PACKETS", ">BYTES"]);
    for b in answer.backends.iter().filter(|b| all || b.packets > 0) {
        backends.row([Cell::from(&b.pool), b.address.into(), b.packets.into(), b.bytes.into()]);
    }
    let mut tables = vec![
        verdicts.render("no packets seen (--all shows every verdict)"),
        vips.render("no packets to VIPs"),
    ];
    // A backend has none.
    if !answer.backends.is_empty() {
        tables.push(backends.render("no packets to backends"));
    }
    if let Some(asked) = answer.identity.filter(|asked| all || *asked != IdentityCount::default()) {
        tables.push(format!(
            "asked for its name: {} answered, {} odd, {} limited, {} unsent\n",
            asked.answered, asked.odd, asked.limited, asked.unsent
        ));
    }
    tables.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::api::VerdictCount;

    #[test]
    fn what_never_happened_is_hidden_unless_asked_for() {
        let verdict = |name: &str, packets| VerdictCount {
            verdict: name.into(),
            kind: "drop".into(),
            packets,
            bytes: packets * 60,
            explanation: "Why.".into(),
        };
        let answer = api::Stats {
            generation: 1,
            verdicts: vec![verdict("seen", 3), verdict("unseen", 0)],
            vips: Vec::new(),
            backends: Vec::new(),
            identity: Some(IdentityCount::default()),
        };
        let text = |all| anstream::adapter::strip_str(&render(&answer, all)).to_string();
        assert_eq!(
            text(false),
            "VERDICT  KIND  PACKETS  BYTES  MEANING\n\
             seen     drop        3    180  Why.\n\
             \nno packets to VIPs\n"
        );
        assert!(text(true).contains("unseen"));
    }
}
