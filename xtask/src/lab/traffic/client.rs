//! `xtask traffic-client`: makes the traffic from inside a client's namespace and reports on
//! standard output, one JSON object a line.

use std::io::{Read, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::outcome::{Outcome, Short};
use super::{Spec, tcp, udp};

/// Between two reports.
const REPORT_INTERVAL: Duration = Duration::from_millis(200);
/// Between two new long-lived connections: a burst of SYNs is not what is to be tested.
const OPENING_INTERVAL: Duration = Duration::from_millis(4);

/// A line of a client's output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "event")]
pub enum Report {
    /// How it goes.
    Progress(Progress),
    /// The end.
    Outcome(Outcome),
}

/// How it goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Long-lived connections that have had an answer.
    pub established: u64,
    /// Long-lived connections that broke.
    pub broken: u64,
    /// Verified answers.
    pub requests: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) established: AtomicU64,
    pub(super) broken: AtomicU64,
    pub(super) requests: AtomicU64,
}

/// What all flows of a client share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) spec: Spec,
    pub(super) stop: watch::Receiver<bool>,
    pub(super) progress: Counters,
    began: Instant,
}

impl Shared {
    pub(super) fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn progress(&self) -> Progress {
        Progress {
            established: self.progress.established.load(Ordering::Relaxed),
            broken: self.progress.broken.load(Ordering::Relaxed),
            requests: self.progress.requests.load(Ordering::Relaxed),
        }
    }
}

/// Waits until the client is to stop.
pub(super) async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that nobody can stop it any more: then it stops too.
    let _ = stop.wait_for(|&stopped| stopped).await;
}

/// Makes the traffic until the time is over or standard input is closed.
pub fn main(spec: &Spec) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start a runtime")?;
    let outcome = runtime.block_on(run(spec.clone()))?;
    print(&Report::Outcome(outcome))?;
    // Whoever waits on standard input in a thread of its own does not hold the process up.
    runtime.shutdown_background();
    Ok(ExitCode::SUCCESS)
}

async fn run(spec: Spec) -> Result<Outcome> {
    let (stopper, stop) = watch::channel(false);
    let stopper = Arc::new(stopper);
    {
        let stopper = Arc::clone(&stopper);
        std::thread::spawn(move || {
            // Whatever is read, only the end counts.
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
            stopper.send_replace(true);
        });
    }
    {
        let stopper = Arc::clone(&stopper);
        let seconds = spec.seconds;
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
            stopper.send_replace(true);
        });
    }
    let shared = Arc::new(Shared { spec, stop, progress: Counters::default(), began: Instant::now() });
    let reports = tokio::spawn(report(Arc::clone(&shared)));
    let udp = tokio::spawn(run_udp(Arc::clone(&shared)));
    let short = tokio::spawn(run_short(Arc::clone(&shared)));
    let mut outcome = run_long(&shared).await;
    outcome.short = short.await?;
    outcome.merge(udp.await?);
    reports.abort();
    // All flows may have broken since the last report.
    print(&Report::Progress(shared.progress()))?;
    Ok(outcome)
}

async fn run_long(shared: &Arc<Shared>) -> Outcome {
    let mut tasks = JoinSet::new();
    let targets = shared.spec.tcp.iter().copied().cycle().take(shared.spec.flows);
    for target in targets {
        let shared = Arc::clone(shared);
        tasks.spawn(async move { tcp::long_lived(&shared, target).await });
        tokio::time::sleep(OPENING_INTERVAL).await;
    }
    Outcome { flows: tasks.join_all().await, ..Outcome::default() }
}

async fn run_udp(shared: Arc<Shared>) -> Outcome {
    let mut tasks = JoinSet::new();
    for target in shared.spec.udp.iter().copied().cycle().take(shared.spec.udp_flows) {
        let shared = Arc::clone(&shared);
        tasks.spawn(async move { udp::flow(&shared, target).await });
    }
    let mut outcome = Outcome::default();
    for udp in tasks.join_all().await.into_iter().flatten() {
        outcome.merge(Outcome { udp, ..Outcome::default() });
    }
    outcome
}

async fn run_short(shared: Arc<Shared>) -> Short {
    let mut short = Short::default();
    if shared.spec.short_rate <= 0.0 || shared.spec.tcp.is_empty() {
        return short;
    }
    let mut tasks = JoinSet::new();
    let mut stop = shared.stop.clone();
    let mut ticks = interval(Duration::from_secs_f64(1.0 / shared.spec.short_rate));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    for target in shared.spec.tcp.iter().copied().cycle() {
        tokio::select! {
            () = stopped(&mut stop) => break,
            _ = ticks.tick() => {}
        }
        tasks.spawn(tcp::short(target));
    }
    for result in tasks.join_all().await {
        match result {
            Ok(()) => short.done += 1,
            Err(_) => short.failed += 1,
        }
    }
    short
}

async fn report(shared: Arc<Shared>) {
    let mut ticks = interval(REPORT_INTERVAL);
    loop {
        ticks.tick().await;
        if print(&Report::Progress(shared.progress())).is_err() {
            return; // Nobody listens any more.
        }
    }
}

fn print(report: &Report) -> Result<()> {
    let mut output = std::io::stdout().lock();
    serde_json::to_writer(&mut output, report)?;
    output.write_all(b"\n")?;
    output.flush()?;
    Ok(())
}
