//! Where flows went at a time, by the tables that are kept.

use std::time::{Duration, SystemTime};

use anycast_lb_flowlog::{parse_stamp, stamp};
use anycast_lb_kept::{Decider, Gap, NotKept, Then};
use tokio::sync::Semaphore;

use crate::control::api::{FlowSpec, ThenRow, Traces};
use crate::control::view;
use crate::daemon::run::Handle;
use crate::daemon::wiring::kept_tables;
use crate::daemon::{Code, Failure};
use crate::dataplane::{Flow, Trace, then};

/// Tables are some megabytes: so many questions at once, whoever asks.
static READING: Semaphore = Semaphore::const_new(2);
/// By so much the clock of who asks may be ahead.
const SKEW: Duration = Duration::from_secs(1);

/// Where `flows` went at the time `at`.
///
/// # Errors
/// Tables of that time are not kept, or cannot be read.
pub(super) async fn trace(daemon: &Handle, flows: Vec<FlowSpec>, at: &str) -> Result<Traces, Failure> {
    let time = parse_stamp(at).ok_or_else(|| {
        Failure::new(Code::InvalidRequest, format!("\"{at}\" is no time"))
            .hint("a time of RFC 3339, like 2026-11-30T14:03:05Z")
    })?;
    if time > SystemTime::now() + SKEW {
        return Err(Failure::new(Code::InvalidRequest, format!("{at} is yet to come"))
            .hint("leave the time out: then it is told what would happen now"));
    }
    let asked: Vec<Flow> = flows.iter().map(view::flow).collect::<Result<_, _>>()?;
    let directory = daemon.inspect(|v| {
        let config = v.core.config();
        view::refuse_backend(config).map(|()| kept_tables(config))
    });
    let directory = directory.await??;
    let _turn = READING.acquire().await.map_err(|_| Failure::unavailable())?;
    let decided = tokio::task::spawn_blocking(move || {
        let kept = anycast_lb_kept::at(&directory, time).map_err(|e| not_kept(time, &e))?;
        let decider = Decider::new(&kept.snapshot);
        let traces = asked.iter().map(|flow| Ok(then(&decider, flow)?));
        let traces: Vec<Trace> = traces.collect::<Result<_, Failure>>()?;
        Ok::<_, Failure>((traces, row(time, &kept)))
    });
    let (traces, then) = decided.await.map_err(|_| Failure::unavailable())??;
    daemon.inspect(move |v| view::traced_then(v, flows, traces, then)).await
}

fn not_kept(time: SystemTime, error: &NotKept) -> Failure {
    match error {
        NotKept::Before(first) => {
            let hint = match first {
                Some(first) => format!("the oldest that are kept were in force from {} on", stamp(*first)),
                None => "none are kept yet: they are as soon as something is in force".to_owned(),
            };
            Failure::new(Code::NotFound, format!("no tables are kept of {}", stamp(time))).hint(hint)
        }
        other => Failure::new(Code::Io, format!("the tables of {} cannot be read: {other}", stamp(time))),
    }
}

fn row(time: SystemTime, then: &Then) -> ThenRow {
    ThenRow {
        at: stamp(time),
        table_version: then.snapshot.version,
        since: stamp(then.snapshot.time),
        until: then.until.map(stamp),
        notes: then.gap.iter().map(note).collect(),
    }
}

fn note(gap: &Gap) -> String {
    let since = stamp(gap.since);
    match gap.until {
        None => format!("the daemon has kept nothing since {since}: what changed later is not known"),
        Some(until) if gap.lost => format!(
            "no daemon ran from {since} to {}, and the next one found nothing in force: for a part of that time, \
             perhaps all of it, no packet was taken",
            stamp(until)
        ),
        Some(until) => {
            format!("no daemon ran from {since} to {}: what was in force went on without one", stamp(until))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_kept_says_what_is() {
        let time = parse_stamp("2026-11-30T14:03:05Z").expect("a time");
        let failure = not_kept(time, &NotKept::Before(Some(time + SKEW)));
        assert_eq!(
            (failure.code, failure.message.as_str()),
            (Code::NotFound, "no tables are kept of 2026-11-30T14:03:05.000000000Z")
        );
        assert_eq!(
            failure.hint.as_deref(),
            Some("the oldest that are kept were in force from 2026-11-30T14:03:06.000000000Z on")
        );
    }

    #[test]
    fn a_time_without_a_daemon_is_said() {
        let time = parse_stamp("2026-11-30T14:03:05Z").expect("a time");
        let gap = |until, lost| note(&Gap { since: time, until, lost });
        assert!(gap(Some(time), false).ends_with("went on without one"));
        assert!(gap(Some(time), true).contains("found nothing in force"));
        assert!(gap(None, false).contains("kept nothing since 2026-11-30T14:03:05"));
    }
}
