//! With whom this node talks, and what about.

use super::super::text::time;
use super::{Cell, Line, Sheet, prose, words};
use crate::overview::Overview;
use crate::overview::sessions::Session;

pub(super) fn sheet(overview: &Overview) -> Sheet {
    Sheet {
        columns: vec![
            words("WHAT", 8, 0),
            words("WHO", 16, 0),
            words("STATE", 9, 0),
            words("SINCE", 6, 2),
            prose("ABOUT", 12, 1),
        ],
        lines: overview.sessions.iter().map(line).collect(),
        empty: "no prefixes, sessions, validators or other nodes are configured",
    }
}

fn line(session: &Session) -> Line {
    let Session { what, who, state, since_seconds: since, about, .. } = session;
    let cells = vec![
        Cell::text(what),
        Cell::text(who),
        Cell::toned(state, session.standing.into()),
        Cell::text(since.map_or_else(|| "-".to_owned(), time)).ordered(since.map_or(-1.0, |s| s as f64)),
        Cell::text(about),
    ];
    let dot = if about.is_empty() || about.ends_with('.') { "" } else { "." };
    Line::new(format!("{what} {who}"), cells, format!("{what} {who}: {state}. {about}{dot}"))
}
