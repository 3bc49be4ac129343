//! Traffic under way, seen from the lab.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdin, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};

use super::client::{Progress, Report};
use super::{Outcome, STALL_LIMIT, Spec};
use crate::lab::daemons::{spawn, until};
use crate::lab::netns::Namespace;
use crate::lab::state::RunDir;

/// How long a client may take to end: the last exchange may stall to its limit.
const END_DEADLINE: Duration = Duration::from_secs(10);

/// Traffic under way from one or more clients; ends when dropped.
#[derive(Debug)]
pub struct RunningTraffic {
    flows: usize,
    clients: Vec<Client>,
}

#[derive(Debug)]
struct Client {
    child: Child,
    /// Closed to stop it.
    input: Option<ChildStdin>,
    progress: Arc<Mutex<Progress>>,
    reader: Option<JoinHandle<Result<Option<Outcome>>>>,
}

impl RunningTraffic {
    /// Starts a client process in each of `namespaces`, each with its share of `spec`.
    pub fn start(run: &Arc<RunDir>, xtask: &Path, namespaces: &[Namespace], spec: &Spec) -> Result<Self> {
        let clients = namespaces
            .iter()
            .enumerate()
            .map(|(index, namespace)| {
                Client::start(run, xtask, namespace, &spec.share(index, namespaces.len()))
            })
            .collect::<Result<_>>()?;
        Ok(Self { flows: spec.flows, clients })
    }

    /// How it goes.
    pub fn progress(&self) -> Progress {
        let mut sum = Progress::default();
        for client in &self.clients {
            let progress = client.progress.lock().unwrap_or_else(PoisonError::into_inner);
            sum.established += progress.established;
            sum.broken += progress.broken;
            sum.requests += progress.requests;
        }
        sum
    }

    /// Waits until every flow has had its first answer or is broken.
    pub fn wait_established(&self, deadline: Duration) -> Result<Progress> {
        until(deadline, "all flows to be established", || {
            let progress = self.progress();
            Ok((progress.established + progress.broken >= self.flows as u64).then_some(progress))
        })
    }

    /// Waits until `requests` more requests were answered.
    pub fn wait_requests(&self, requests: u64, deadline: Duration) -> Result<()> {
        let goal = self.progress().requests + requests;
        until(deadline, "requests to be answered", || Ok((self.progress().requests >= goal).then_some(())))
    }

    /// Stops the traffic and says what became of it.
    pub fn finish(mut self) -> Result<Outcome> {
        for client in &mut self.clients {
            client.input = None;
        }
        let mut outcome = Outcome::default();
        for client in &mut self.clients {
            outcome.merge(client.finish()?);
        }
        Ok(outcome)
    }
}

impl Client {
    fn start(run: &Arc<RunDir>, xtask: &Path, namespace: &Namespace, spec: &Spec) -> Result<Self> {
        let mut command = namespace.command(xtask)?;
        command.arg("traffic-client").args(spec.arguments());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = run.start(|| {
            let child = spawn(command, false).with_context(|| format!("cannot start {}", xtask.display()))?;
            let pid = child.id().cast_signed();
            Ok((child, pid))
        })?;
        let input = child.stdin.take();
        let output = child.stdout.take().context("a client without output")?;
        let progress = Arc::new(Mutex::new(Progress::default()));
        let seen = Arc::clone(&progress);
        let reader = std::thread::spawn(move || {
            let mut outcome = None;
            for line in BufReader::new(output).lines() {
                match serde_json::from_str(&line?).context("a client's report")? {
                    Report::Progress(now) => *seen.lock().unwrap_or_else(PoisonError::into_inner) = now,
                    Report::Outcome(end) => outcome = Some(end),
                }
            }
            Ok(outcome)
        });
        Ok(Self { child, input, progress, reader: Some(reader) })
    }

    fn finish(&mut self) -> Result<Outcome> {
        let status =
            until(STALL_LIMIT + END_DEADLINE, "a traffic client to end", || Ok(self.child.try_wait()?))?;
        let reader = self.reader.take().context("a client is finished once")?;
        let outcome = reader.join().map_err(|_| anyhow!("the reader of a client's reports panicked"))??;
        match outcome {
            Some(outcome) if status.success() => Ok(outcome),
            _ => bail!("a traffic client failed ({status})"),
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // Both fail only if it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
