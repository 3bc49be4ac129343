//! Asks the daemon once a second, and keeps what is served.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use tokio::time::{MissedTickBehavior, interval};

use super::history::{History, Series};
use crate::control::api::{HostFinding, Status};
use crate::control::server::Api;
use crate::control::view;
use crate::daemon::Failure;
use crate::overview::Overview;
use crate::overview::facts::Facts;
use crate::overview::rates::Meter;

/// Between samples.
pub const INTERVAL: Duration = Duration::from_secs(1);
/// How often the host is looked at, which takes longer than all else and changes rarely.
const FINDINGS_EVERY: u64 = 30;

/// What is served: shared by the sampler and the routes.
#[derive(Clone)]
pub struct Samples(Arc<Mutex<Inner>>);

struct Inner {
    /// Tells this row of samples from that of a daemon before.
    begun: u64,
    sequence: u64,
    state: Option<(Instant, Arc<str>)>,
    history: History,
    /// As text, and of which sample.
    written: Option<(u64, Arc<str>)>,
}

#[derive(Serialize)]
struct State<'a> {
    begun: u64,
    sequence: u64,
    at_ms: u64,
    #[serde(flatten)]
    overview: &'a Overview,
}

#[derive(Serialize)]
struct Past {
    begun: u64,
    sequence: u64,
    #[serde(flatten)]
    series: Series,
}

impl Samples {
    /// None yet.
    pub fn new() -> Self {
        let inner =
            Inner { begun: unix_ms(), sequence: 0, state: None, history: History::default(), written: None };
        Samples(Arc::new(Mutex::new(inner)))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a sample in.
    pub fn push(&self, overview: &Overview) {
        let mut inner = self.lock();
        let at_ms = unix_ms();
        inner.sequence += 1;
        inner.history.push(at_ms, overview);
        let state = State { begun: inner.begun, sequence: inner.sequence, at_ms, overview };
        match serde_json::to_string(&state) {
            Ok(text) => inner.state = Some((Instant::now(), text.into())),
            Err(error) => tracing::warn!(%error, "the status page's state cannot be written"),
        }
    }

    /// The newest sample as JSON, and how old it is; none before the first.
    pub fn state(&self) -> Option<(Duration, Arc<str>)> {
        let inner = self.lock();
        inner.state.as_ref().map(|(at, text)| (at.elapsed(), Arc::clone(text)))
    }

    /// All that plots need, as JSON: written once for each sample that is asked for, whoever asks.
    pub fn history(&self) -> Option<Arc<str>> {
        let mut inner = self.lock();
        if let Some((sequence, text)) = &inner.written
            && *sequence == inner.sequence
        {
            return Some(Arc::clone(text));
        }
        let past = Past { begun: inner.begun, sequence: inner.sequence, series: inner.history.series() };
        let text: Arc<str> = serde_json::to_string(&past).ok()?.into();
        inner.written = Some((inner.sequence, Arc::clone(&text)));
        Some(text)
    }
}

impl Default for Samples {
    fn default() -> Self {
        Samples::new()
    }
}

/// Milliseconds since 1970: what browsers make a time of.
fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Samples until the daemon stops.
pub async fn run(api: Api, samples: Samples) {
    let mut meter = Meter::default();
    let mut findings = Vec::new();
    let mut said = None;
    let mut due = interval(INTERVAL);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for number in 0_u64.. {
        due.tick().await;
        if number.is_multiple_of(FINDINGS_EVERY) {
            match api.daemon.inspect(|v| view::findings(v)).await {
                Ok(found) => findings = found,
                Err(_) => return,
            }
        }
        match look(&api, &findings).await {
            Ok(Ok((at, facts))) => {
                samples.push(&Overview::new(facts, &mut meter, at));
                said = None;
            }
            Ok(Err(failure)) => {
                if said.as_ref() != Some(&failure.message) {
                    tracing::warn!(%failure, "the status page cannot be brought up to date");
                    said = Some(failure.message);
                }
            }
            Err(_) => return,
        }
    }
}

/// What the API would say, in one look.
async fn look(api: &Api, findings: &[HostFinding]) -> Result<Result<(Instant, Facts), Failure>, Failure> {
    let station = api.station.status();
    let (rpki, peers) = (view::rpki(&api.rpki), api.peers.lock().rows(Instant::now()));
    let alarms = view::alarms(&api.rpki, &station, api.metrics.get());
    let hijacks = view::hijacks(station);
    let findings = findings.to_vec();
    let looked = api.daemon.inspect(move |v| {
        let verdicts = view::stats(v)?.verdicts;
        let at = Instant::now();
        let facts = Facts {
            verdicts,
            vips: view::vips(v)?.vips,
            pools: view::pools(v)?.pools,
            backends: view::backends(v)?.backends,
            bgp: view::bgp(v),
            status: Status { alarms, findings, ..view::condition(v)? },
            rpki,
            peers,
            hijacks,
        };
        Ok((at, facts))
    });
    looked.await
}
