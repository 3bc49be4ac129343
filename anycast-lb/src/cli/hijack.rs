//! `hijack`

use clap::Subcommand;

use super::context::Context;
use super::error::CliError;
use super::pool::time_left;
use super::table::{Cell, Table};
use crate::control::api::{Hijacks, SightRow};

/// Our prefixes, announced from elsewhere.
#[derive(Debug, Subcommand)]
#[command(after_help = "Example:\n  anycast-lb hijack list")]
pub enum Hijack {
    /// Show which routers tell what they see, and who announces our prefixes besides us
    #[command(after_help = "Example:\n  anycast-lb hijack list")]
    List,
}

impl Hijack {
    pub(super) async fn execute(self, context: &Context) -> Result<(), CliError> {
        match self {
            Hijack::List => context.show("/v1/hijacks", render).await,
        }
    }
}

fn render(answer: &Hijacks) -> String {
    let mut routers = Table::new(&["ROUTER", "NAME", ">PEERS", ">UNREAD"]);
    for router in &answer.routers {
        routers.row([
            Cell::from(router.address),
            Cell::from(router.name.as_deref().unwrap_or("-")),
            router.peers.into(),
            router.unread.into(),
        ]);
    }
    let mut out = match (&answer.problem, answer.listen) {
        (Some(problem), _) => format!("{problem}\n"),
        (None, Some(_)) => routers.render("no router has a session: let them send BMP to bmp.listen"),
        (None, None) => "no router is listened to: write [bmp] with listen\n".to_owned(),
    };
    let mut hijacks = Table::new(&["PREFIX", "ORIGIN", "OURS", "SEEN BY", ">FOR", "AS PATH"]);
    for hijack in &answer.hijacks {
        for sight in &hijack.sightings {
            hijacks.row([
                Cell::judged(hijack.prefix.to_string(), false),
                Cell::from(&hijack.origin),
                Cell::from(format!("{} AS{}", hijack.own_prefix, hijack.own_as)),
                Cell::from(place(sight)),
                Cell::from(time_left(sight.since_seconds)),
                Cell::from(&sight.as_path),
            ]);
        }
    }
    out.push('\n');
    out.push_str(&hijacks.render("no prefix of ours is seen from elsewhere"));
    out
}

/// `10.0.0.1 (edge1) from 10.0.0.7 AS64510`.
fn place(sight: &SightRow) -> String {
    let name = sight.router_name.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
    let direction = if sight.table.starts_with("adj-rib-out") { "to" } else { "from" };
    let peer = sight.peer.map(|peer| format!(" {direction} {peer} AS{}", sight.peer_as)).unwrap_or_default();
    format!("{}{name}{peer}", sight.router)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::api::{HijackRow, RouterRow};

    #[test]
    fn routers_then_what_they_see() {
        let mut answer = Hijacks {
            listen: Some(([10, 0, 0, 2], 11019).into()),
            problem: None,
            prefixes: vec!["203.0.113.0/24".parse().expect("a prefix")],
            routers: vec![RouterRow {
                address: [10, 0, 0, 1].into(),
                name: Some("edge1".into()),
                peers: 2,
                unkept: 0,
                unread: 0,
            }],
            hijacks: vec![HijackRow {
                prefix: "203.0.113.0/25".parse().expect("a prefix"),
                origin: "AS64666".into(),
                own_prefix: "203.0.113.0/24".parse().expect("a prefix"),
                own_as: 64500,
                seen: 1,
                sightings: vec![SightRow {
                    router: [10, 0, 0, 1].into(),
                    router_name: Some("edge1".into()),
                    peer: Some([10, 0, 0, 7].into()),
                    peer_as: 64510,
                    table: "adj-rib-in pre-policy".into(),
                    as_path: "64510 64666".into(),
                    since_seconds: 5,
                }],
            }],
        };
        let text = |answer: &Hijacks| anstream::adapter::strip_str(&render(answer)).to_string();
        let shown = text(&answer);
        assert!(
            shown.starts_with("ROUTER    NAME   PEERS  UNREAD\n10.0.0.1  edge1      2       0\n"),
            "{shown}"
        );
        for part in
            ["203.0.113.0/25", "AS64666", "203.0.113.0/24 AS64500", "10.0.0.1 (edge1) from 10.0.0.7 AS64510"]
        {
            assert!(shown.contains(part), "{part} is not in {shown}");
        }
        answer.hijacks.clear();
        assert!(text(&answer).ends_with("no prefix of ours is seen from elsewhere\n"));
        answer.problem = Some("cannot listen".into());
        assert!(text(&answer).starts_with("cannot listen\n"));
    }
}
