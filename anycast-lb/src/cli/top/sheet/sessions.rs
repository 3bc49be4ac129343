//! With whom this node talks, and what about: BGP and what it announces, validators, routers, other nodes.

use super::super::text::time;
use super::{Cell, Line, Sheet, Tone, prose, words};
use crate::control::api::{NeighborRow, OriginRow, OutletRow, PeerRow, PrefixRow, RouterRow, ValidatorRow};
use crate::overview::Overview;

pub(super) fn sheet(overview: &Overview) -> Sheet {
    let Overview { bgp, rpki, peers, hijacks, .. } = overview;
    let lines = bgp.prefixes.iter().map(prefix);
    let lines = lines.chain(bgp.neighbors.iter().map(neighbour)).chain(bgp.outlets.iter().map(outlet));
    let lines = lines.chain(rpki.validators.iter().map(validator)).chain(rpki.prefixes.iter().map(origin));
    let lines = lines.chain(hijacks.routers.iter().map(router)).chain(peers.iter().map(peer));
    Sheet {
        columns: vec![
            words("WHAT", 8, 0),
            words("WHO", 16, 0),
            words("STATE", 9, 0),
            words("SINCE", 6, 2),
            prose("ABOUT", 12, 1),
        ],
        lines: lines.collect(),
        empty: "no prefixes, sessions, validators or other nodes are configured",
    }
}

fn row(what: &str, who: &str, state: (&str, Tone), since: Option<u64>, about: &str) -> Line {
    let (word, tone) = state;
    let cells = vec![
        Cell::text(what),
        Cell::text(who),
        Cell::toned(word, tone),
        Cell::text(since.map_or_else(|| "-".to_owned(), time)).ordered(since.map_or(-1.0, |s| s as f64)),
        Cell::text(about),
    ];
    let dot = if about.is_empty() || about.ends_with('.') { "" } else { "." };
    Line::new(format!("{what} {who}"), cells, format!("{what} {who}: {word}. {about}{dot}"))
}

fn prefix(p: &PrefixRow) -> Line {
    let tone = match p.state.as_str() {
        "announced" => Tone::Good,
        "draining" => Tone::Notable,
        _ => Tone::Bad,
    };
    let about = format!("by {}: {}", p.method, p.reason);
    row("prefix", &p.prefix.to_string(), (&p.state, tone), None, &about)
}

fn neighbour(n: &NeighborRow) -> Line {
    let up = n.state == "Established";
    let told = n.announced.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let mut about = format!("AS{}", n.remote_as);
    if up {
        about.push_str(&format!(", told {}", if told.is_empty() { "nothing" } else { &told }));
    }
    if let Some(first) = n.unannounced.first() {
        about.push_str(&format!("; cannot be told {}: {}", first.prefix, first.reason));
    }
    if let Some(error) = &n.last_error {
        about.push_str(&format!("; {}{error}", if up { "before: " } else { "" }));
    }
    let tone = if up { Tone::Good } else { Tone::Bad };
    row("BGP", &n.neighbor.to_string(), (&n.state, tone), n.since_seconds, &about)
}

fn outlet(o: &OutletRow) -> Line {
    let state = if o.done { ("done", Tone::Good) } else { ("waiting", Tone::Notable) };
    row("outlet", &o.method, state, None, o.last_error.as_deref().unwrap_or(""))
}

fn validator(v: &ValidatorRow) -> Line {
    let state = match v.live {
        Some(true) => ("live", Tone::Good),
        Some(false) => ("silent", Tone::Bad),
        None => ("unknown", Tone::Dim),
    };
    let mut about = v.vrps.map_or_else(|| "no data".to_owned(), |n| format!("{n} VRPs"));
    about.push_str(&format!(" at {}", v.address));
    if let Some(seconds) = v.expires_in_seconds {
        about.push_str(&format!(", valid for {}", time(seconds)));
    }
    if let Some(reason) = &v.reason {
        about.push_str(&format!("; {reason}"));
    }
    row("RTR", &v.name, state, v.confirmed_seconds_ago, &about)
}

fn origin(o: &OriginRow) -> Line {
    let tone = match o.verdict.as_str() {
        "valid" => Tone::Good,
        "not found" | "unknown" => Tone::Notable,
        _ => Tone::Bad,
    };
    let mut about = format!("AS{}, {}", o.origin_as, o.rpki);
    if let Some(reason) = &o.reason {
        about.push_str(&format!("; withheld: {reason}"));
    }
    if let Some(seconds) = o.withheld_in_seconds {
        about.push_str(&format!("; withheld in {}", time(seconds)));
    }
    row("RPKI", &o.prefix.to_string(), (&o.verdict, tone), None, &about)
}

fn router(r: &RouterRow) -> Line {
    let name = r.name.as_deref().unwrap_or("no name");
    let about = format!("{name}, {} peers, {} not kept, {} not read", r.peers, r.unkept, r.unread);
    row("BMP", &r.address.to_string(), ("up", Tone::Good), None, &about)
}

fn peer(p: &PeerRow) -> Line {
    let state = match (p.reachable, p.agrees) {
        (Some(true), Some(false)) => ("differs", Tone::Bad),
        (Some(true), _) => ("agrees", Tone::Good),
        (Some(false), _) => ("no answer", Tone::Bad),
        (None, _) => ("unknown", Tone::Dim),
    };
    let state =
        if p.reachable == Some(true) && p.agrees.is_none() { ("answers", Tone::Notable) } else { state };
    let mut about = format!("PoP {} at {}", p.pop, p.address);
    if let Some(generation) = p.generation {
        about.push_str(&format!(", generation {generation}"));
    }
    if !p.differing.is_empty() {
        about.push_str(&format!("; differs in {}", p.differing.join(", ")));
    }
    if let Some(reason) = &p.reason {
        about.push_str(&format!("; {reason}"));
    }
    row("node", &p.node, state, p.seen_seconds_ago, &about)
}
