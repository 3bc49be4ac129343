//! With whom a node talks, and what about: BGP and what it announces, validators, routers, other nodes.

use serde::Serialize;

use super::facts::Facts;
use super::standing::Standing;
use super::time::time;
use crate::control::api::{NeighborRow, OriginRow, OutletRow, PeerRow, PrefixRow, RouterRow, ValidatorRow};

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Session {
    /// `prefix`, `BGP`, `outlet`, `RTR`, `RPKI`, `BMP` or `node`.
    pub what: &'static str,
    /// Its name or address.
    pub who: String,
    /// How it is, in a word.
    pub state: String,
    /// What to think of that.
    pub standing: Standing,
    /// For how long; none = that is not known.
    pub since_seconds: Option<u64>,
    /// The rest, in prose.
    pub about: String,
}

/// All of them, in the order of the configuration.
pub(super) fn sessions(facts: &Facts) -> Vec<Session> {
    let Facts { bgp, rpki, peers, hijacks, .. } = facts;
    let rows = bgp.prefixes.iter().map(prefix);
    let rows = rows.chain(bgp.neighbors.iter().map(neighbour)).chain(bgp.outlets.iter().map(outlet));
    let rows = rows.chain(rpki.validators.iter().map(validator)).chain(rpki.prefixes.iter().map(origin));
    rows.chain(hijacks.routers.iter().map(router)).chain(peers.iter().map(peer)).collect()
}

fn row(what: &'static str, who: &str, state: (&str, Standing), since: Option<u64>, about: &str) -> Session {
    Session {
        what,
        who: who.to_owned(),
        state: state.0.to_owned(),
        standing: state.1,
        since_seconds: since,
        about: about.to_owned(),
    }
}

fn prefix(p: &PrefixRow) -> Session {
    let tone = match p.state.as_str() {
        "announced" => Standing::Good,
        "draining" => Standing::Notable,
        _ => Standing::Bad,
    };
    let about = format!("by {}: {}", p.method, p.reason);
    row("prefix", &p.prefix.to_string(), (&p.state, tone), None, &about)
}

fn neighbour(n: &NeighborRow) -> Session {
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
    let tone = if up { Standing::Good } else { Standing::Bad };
    row("BGP", &n.neighbor.to_string(), (&n.state, tone), n.since_seconds, &about)
}

fn outlet(o: &OutletRow) -> Session {
    let state = if o.done { ("done", Standing::Good) } else { ("waiting", Standing::Notable) };
    row("outlet", &o.method, state, None, o.last_error.as_deref().unwrap_or(""))
}

fn validator(v: &ValidatorRow) -> Session {
    let state = match v.live {
        Some(true) => ("live", Standing::Good),
        Some(false) => ("silent", Standing::Bad),
        None => ("unknown", Standing::Unknown),
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

fn origin(o: &OriginRow) -> Session {
    let tone = match o.verdict.as_str() {
        "valid" => Standing::Good,
        "not found" | "unknown" => Standing::Notable,
        _ => Standing::Bad,
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

fn router(r: &RouterRow) -> Session {
    let name = r.name.as_deref().unwrap_or("no name");
    let about = format!("{name}, {} peers, {} not kept, {} not read", r.peers, r.unkept, r.unread);
    row("BMP", &r.address.to_string(), ("up", Standing::Good), None, &about)
}

fn peer(p: &PeerRow) -> Session {
    let state = match (p.reachable, p.agrees) {
        (Some(true), Some(false)) => ("differs", Standing::Bad),
        (Some(true), _) => ("agrees", Standing::Good),
        (Some(false), _) => ("no answer", Standing::Bad),
        (None, _) => ("unknown", Standing::Unknown),
    };
    let state =
        if p.reachable == Some(true) && p.agrees.is_none() { ("answers", Standing::Notable) } else { state };
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
