//! `peer`

use clap::Subcommand;

use super::context::Context;
use super::error::CliError;
use super::table::{Cell, Table};
use crate::control::api::{PeerRow, Peers};

/// The other ingress nodes.
#[derive(Debug, Subcommand)]
#[command(after_help = "Example:\n  anycast-lb peer list")]
pub enum Peer {
    /// Show who is reachable, and who places new flows as this node does
    #[command(after_help = "Example:\n  anycast-lb peer list")]
    List,
}

impl Peer {
    pub(super) async fn execute(self, context: &Context) -> Result<(), CliError> {
        match self {
            Peer::List => context.show("/v1/peers", render).await,
        }
    }
}

fn render(answer: &Peers) -> String {
    let mut table = Table::new(&["NODE", "POP", "ADDRESS", "REACHABLE", ">SEEN", ">GENERATION", "AGREES"]);
    for peer in &answer.peers {
        let or_dash = |value: Option<String>| Cell::from(value.unwrap_or_else(|| "-".to_owned()));
        table.row([
            Cell::from(&peer.node),
            Cell::from(&peer.pop),
            Cell::from(peer.address.to_string()),
            reachable(peer),
            or_dash(peer.seen_seconds_ago.map(|s| format!("{s} s ago"))),
            or_dash(peer.generation.map(|g| g.to_string())),
            match peer.agrees {
                Some(true) => Cell::judged("yes", true),
                Some(false) => Cell::judged(format!("no: {}", peer.differing.join(", ")), false),
                None => Cell::from("-"),
            },
        ]);
    }
    table.render("no peers: write [[peer]] with node and control")
}

fn reachable(peer: &PeerRow) -> Cell {
    match (peer.reachable, &peer.reason) {
        (Some(true), _) => Cell::judged("yes", true),
        (Some(false), Some(reason)) => Cell::judged(format!("no: {reason}"), false),
        (Some(false), None) => Cell::judged("no", false),
        (None, _) => Cell::from("not asked"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_are_shown_with_what_is_wrong() {
        let row = |node: &str, reachable, reason: Option<&str>, differing: &[&str]| PeerRow {
            node: node.to_owned(),
            pop: "sin1".to_owned(),
            address: ([10, 1, 0, 2], 19524).into(),
            reachable,
            reason: reason.map(str::to_owned),
            seen_seconds_ago: reachable.map(|_| 3),
            generation: reachable.map(|_| 17),
            agrees: reachable.map(|_| differing.is_empty()),
            differing: differing.iter().map(|d| (*d).to_owned()).collect(),
        };
        let peers = vec![
            row("a", Some(true), None, &[]),
            row("b", Some(false), Some("no answer in 3 s"), &["web"]),
            row("c", None, None, &[]),
        ];
        let text = anstream::adapter::strip_str(&render(&Peers { peers })).to_string();
        assert_eq!(
            text,
            "NODE  POP   ADDRESS         REACHABLE                SEEN  GENERATION  AGREES\n\
             a     sin1  10.1.0.2:19524  yes                   3 s ago          17  yes\n\
             b     sin1  10.1.0.2:19524  no: no answer in 3 s  3 s ago          17  no: web\n\
             c     sin1  10.1.0.2:19524  not asked                   -           -  -\n"
        );
    }
}
