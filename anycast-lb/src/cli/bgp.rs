//! `bgp`

use clap::Subcommand;

use super::context::Context;
use super::error::CliError;
use super::pool::time_left;
use super::table::{Cell, Table};
use crate::control::api;

/// What this node announces, and to whom.
#[derive(Debug, Subcommand)]
#[command(after_help = "Example:\n  anycast-lb bgp status")]
pub enum Bgp {
    /// Show prefixes, why they are announced or not, and the sessions with neighbours
    #[command(after_help = "Examples:\n  anycast-lb bgp status\n  anycast-lb bgp status --json")]
    Status,
}

impl Bgp {
    pub(super) async fn execute(self, context: &Context) -> Result<(), CliError> {
        match self {
            Bgp::Status => context.show("/v1/bgp", render).await,
        }
    }
}

fn render(answer: &api::Bgp) -> String {
    let mut out = format!("node        {}", answer.maintenance);
    if let Some(left) = answer.seconds_left {
        out.push_str(&format!(", routes are withdrawn in {}", time_left(left)));
    }
    out.push_str("\n\n");
    let mut prefixes = Table::new(&["PREFIX", "BY", "STATE", "REASON"]);
    for row in &answer.prefixes {
        prefixes.row([
            Cell::from(row.prefix.to_string()),
            Cell::from(&row.method),
            match row.state.as_str() {
                "announced" => Cell::judged("announced", true),
                "withdrawn" => Cell::judged("withdrawn", false),
                state => Cell::notable(state),
            },
            Cell::from(&row.reason),
        ]);
    }
    out.push_str(&prefixes.render("this node announces no prefix: write announce = \"bgp\" in [[prefix]]"));
    if !answer.neighbors.is_empty() {
        let mut neighbors =
            Table::new(&["NEIGHBOR", ">AS", "STATE", ">SINCE", ">HOLD", ">ROUTES", "LAST ERROR"]);
        for row in &answer.neighbors {
            let state = match row.state.as_str() {
                "Established" => Cell::judged("Established", true),
                state => Cell::judged(state, false),
            };
            let or_dash = |value: Option<String>| Cell::from(value.unwrap_or_else(|| "-".to_owned()));
            neighbors.row([
                Cell::from(if row.neighbor.port() == anycast_lb_routing::bgp::PORT {
                    row.neighbor.ip().to_string()
                } else {
                    row.neighbor.to_string()
                }),
                Cell::from(row.remote_as.to_string()),
                state,
                or_dash(row.since_seconds.map(time_left)),
                or_dash(row.hold_time.map(|hold| format!("{hold} s"))),
                row.announced.len().into(),
                Cell::from(row.last_error.as_deref().unwrap_or_default()),
            ]);
        }
        out.push('\n');
        out.push_str(&neighbors.render(""));
    }
    for row in &answer.neighbors {
        for left_out in &row.unannounced {
            let (neighbor, prefix, reason) = (row.neighbor.ip(), left_out.prefix, &left_out.reason);
            out.push_str(&format!("{neighbor} is not told {prefix}: {reason}\n"));
        }
    }
    for outlet in &answer.outlets {
        let how = match (&outlet.last_error, outlet.done) {
            (Some(error), _) => format!("is tried again: {error}"),
            (None, true) => "has done what it was told".to_owned(),
            (None, false) => "is being told".to_owned(),
        };
        out.push_str(&format!("{} {how}\n", outlet.method));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::api::{DrainRow, NeighborRow, OutletRow, PrefixRow, Unannounced};

    #[test]
    fn what_is_announced_is_shown_with_reasons() {
        let net = |text: &str| text.parse().expect("a prefix");
        let answer = api::Bgp {
            maintenance: "draining".into(),
            seconds_left: Some(42),
            prefixes: vec![PrefixRow {
                prefix: net("203.0.113.0/24"),
                method: "bgp".into(),
                state: "withdrawn".into(),
                reason: "0 of 1 VIPs can be served, 1 must be".into(),
            }],
            neighbors: vec![NeighborRow {
                neighbor: "10.0.0.1:179".parse().expect("an address"),
                remote_as: 64500,
                source: None,
                state: "Idle".into(),
                since_seconds: Some(7),
                hold_time: None,
                announced: Vec::new(),
                unannounced: vec![Unannounced { prefix: net("2001:db8::/48"), reason: "no next hop".into() }],
                last_error: Some("cannot connect".into()),
                established: 0,
                skipped_updates: 0,
            }],
            outlets: vec![OutletRow {
                method: "bird".into(),
                done: false,
                last_error: Some("no socket".into()),
            }],
            drain: DrainRow { graceful_shutdown: true, prepend: 0, med: None },
            local_as: Some(64500),
        };
        let text = anstream::adapter::strip_str(&render(&answer)).to_string();
        for part in [
            "node        draining, routes are withdrawn in 42",
            "203.0.113.0/24  bgp  withdrawn  0 of 1 VIPs can be served, 1 must be",
            "10.0.0.1  64500  Idle",
            "cannot connect",
            "10.0.0.1 is not told 2001:db8::/48: no next hop",
            "bird is tried again: no socket",
        ] {
            assert!(text.contains(part), "{part:?} is not in:\n{text}");
        }
    }
}
