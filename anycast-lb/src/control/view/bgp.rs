//! What this node announces.

use std::time::Instant;

use anycast_lb_routing::bgp::driver::Neighbour;
use anycast_lb_routing::bgp::session::Report;

use super::whole_seconds;
use crate::control::api::{Bgp, DrainRow, NeighborRow, OutletRow, PrefixRow, Unannounced};
use crate::daemon::run::View;

/// Prefixes, sessions, and the other outlets.
pub fn bgp(view: &View<'_>) -> Bgp {
    let now = Instant::now();
    let maintenance = view.core.maintenance();
    let announcing = &view.core.config().announcing;
    let standings = view.core.standings();
    let prefix = |p: &crate::model::AnnouncedPrefix| {
        let standing = standings.get(&p.prefix).cloned().unwrap_or_default();
        PrefixRow {
            prefix: p.prefix,
            method: p.method.name().to_owned(),
            state: standing.decision.name().to_owned(),
            reason: standing.reason,
        }
    };
    let outlets = view.announce.others().into_iter().map(|(method, report)| OutletRow {
        method: method.name().to_owned(),
        done: report.done,
        last_error: report.last_error,
    });
    let marks = &announcing.settings.drain;
    Bgp {
        maintenance: maintenance.name().to_owned(),
        seconds_left: maintenance.deadline().map(|at| whole_seconds(at.saturating_duration_since(now))),
        prefixes: announcing.prefixes.iter().map(prefix).collect(),
        neighbors: view
            .announce
            .sessions()
            .into_iter()
            .map(|(n, report)| neighbor(now, &n, report))
            .collect(),
        outlets: outlets.collect(),
        drain: DrainRow {
            graceful_shutdown: marks.graceful_shutdown,
            prepend: marks.prepend,
            med: marks.med,
        },
        local_as: announcing.settings.local_as,
    }
}

fn neighbor(now: Instant, neighbour: &Neighbour, report: Report) -> NeighborRow {
    let unannounced = |(prefix, reason): (_, &str)| Unannounced { prefix, reason: reason.to_owned() };
    NeighborRow {
        neighbor: neighbour.address,
        remote_as: neighbour.settings.remote_as,
        source: neighbour.source,
        state: report.state.name().to_owned(),
        since_seconds: report.since.map(|since| now.saturating_duration_since(since).as_secs()),
        hold_time: report.hold_time,
        announced: report.announced.into_keys().collect(),
        unannounced: report.unannounced.into_iter().map(unannounced).collect(),
        last_error: report.last_error,
        established: report.established,
        skipped_updates: report.skipped_updates,
    }
}
