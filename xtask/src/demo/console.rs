//! Progress with times, so that nobody watches silence.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::lab::daemons::until;
use crate::lab::traffic::RunningTraffic;

/// Between two lines while nothing but traffic happens.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// Longest wait for the flows to be established.
const ESTABLISH_DEADLINE: Duration = Duration::from_secs(20);

/// Prints progress: on standard output, or on standard error where that is for JSON.
#[derive(Debug)]
pub struct Console {
    to_stderr: bool,
    began: Instant,
}

impl Console {
    pub fn new(to_stderr: bool) -> Self {
        Self { to_stderr, began: Instant::now() }
    }

    /// A line with the time since the start.
    pub fn say(&self, text: &str) {
        let line = format!("{:6.1} s  {text}", self.began.elapsed().as_secs_f64());
        if self.to_stderr {
            anstream::eprintln!("{line}");
        } else {
            anstream::println!("{line}");
        }
    }

    /// Says what is done, does it, and says how long it took.
    pub fn step(&self, text: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
        self.say(text);
        let began = Instant::now();
        work()?;
        self.say(&format!("  took effect within {} ms", began.elapsed().as_millis()));
        Ok(())
    }

    /// Waits until all flows are established.
    pub fn establish(&self, traffic: &RunningTraffic) -> Result<()> {
        let progress = traffic.wait_established(ESTABLISH_DEADLINE)?;
        self.say(&format!("{} flows established, {} failed", progress.established, progress.broken));
        Ok(())
    }

    /// Lets traffic run for `time` and says how it goes.
    pub fn watch(&self, traffic: &RunningTraffic, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            let next = (Instant::now() + HEARTBEAT).min(end);
            until(HEARTBEAT * 2, "time to pass", || Ok((Instant::now() >= next).then_some(())))?;
            let progress = traffic.progress();
            self.say(&format!(
                "  {} flows alive, {} broken, {} requests verified",
                progress.established.saturating_sub(progress.broken),
                progress.broken,
                progress.requests
            ));
        }
        Ok(())
    }
}
