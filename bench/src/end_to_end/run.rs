//! One run of a load over a path, bounded in time and in number.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::cpu::Used;
use super::plan::{Case, Load};
use super::stage::Stage;
use super::{datagrams, exchanges};

/// How much a run may be.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// How long new work is begun.
    pub time: Duration,
    /// How much is begun at most.
    pub count: u64,
}

/// What a run has given.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// What arrived whole and, where there is an answer, was answered rightly.
    pub delivered: u64,
    /// What was sent and did not arrive.
    pub lost: u64,
    /// From the first to the last.
    pub used: Used,
}

impl Outcome {
    /// `time` in ns for each that was delivered.
    pub fn each(&self, time: Duration) -> f64 {
        time.as_nanos() as f64 / self.delivered.max(1) as f64
    }

    /// Delivered in a second.
    pub fn per_second(&self) -> f64 {
        self.delivered as f64 / self.used.elapsed.as_secs_f64().max(f64::EPSILON)
    }
}

/// Runs a load over the path that stands.
///
/// # Errors
///
/// When something arrives that was not sent so, from where it should not come, or not in time.
pub fn run(stage: &Stage, load: Load, bounds: Bounds) -> Result<Outcome> {
    match load {
        Load::Udp => datagrams::run(stage, bounds),
        Load::Request | Load::Connect | Load::Bulk => {
            exchanges::run(stage, exchanges::Shape::of(load), bounds)
        }
    }
}

/// Runs a little of the load and checks who has carried it: the witnesses on the path must have counted at
/// least as many packets as were delivered.
///
/// # Errors
///
/// As [`run`], or when it went another way.
pub fn prove(stage: &Stage, case: Case) -> Result<()> {
    const BOUNDS: Bounds = Bounds { time: Duration::from_millis(200), count: 1000 };
    let before = stage.account()?;
    let outcome = run(stage, case.load, BOUNDS)?;
    ensure!(outcome.delivered > 0, "nothing arrived");
    ensure!(outcome.lost == 0, "{} of {} lost", outcome.lost, outcome.lost + outcome.delivered);
    if let (Some(before), Some(after)) = (before, stage.account()?) {
        let counted = [after.middle - before.middle, after.backend - before.backend];
        let sent = outcome.delivered;
        ensure!(
            counted.iter().all(|&count| count >= sent),
            "{sent} delivered, but {} counted in the middle and {} at the backend",
            counted[0],
            counted[1]
        );
    }
    Ok(())
}
