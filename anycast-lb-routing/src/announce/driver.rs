//! Who is told: the BGP speaker, BIRD, a command. Each on tasks of its own, so that nobody waits for them.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use super::bird::{Bird, render};
use super::command::Hook;
use super::gate::Decision;
use super::retry::Retry;
use crate::bgp::driver::{Neighbour, Speaker};
use crate::bgp::route::DrainMarks;
use crate::bgp::session::Report;

/// How long all goodbyes together may take.
pub const FAREWELL: Duration = Duration::from_secs(10);

/// What becomes of each prefix of one method.
pub type Wanted = BTreeMap<IpNet, Decision>;

/// How prefixes are announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Method {
    /// By the BGP speaker.
    Bgp,
    /// By a BIRD on this host.
    Bird,
    /// By an ExaBGP whose process asks for them.
    Exabgp,
    /// By a command.
    Command,
}

impl Method {
    /// All of them.
    pub const ALL: [Method; 4] = [Method::Bgp, Method::Bird, Method::Exabgp, Method::Command];

    /// The word of the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Method::Bgp => "bgp",
            Method::Bird => "bird",
            Method::Exabgp => "exabgp",
            Method::Command => "command",
        }
    }
}

/// Whom to tell, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Neighbours of the speaker.
    pub neighbours: Vec<Neighbour>,
    /// BIRD, if it is used.
    pub bird: Option<Bird>,
    /// The command, if it is used.
    pub command: Option<Hook>,
    /// What BIRD marks a draining node's routes with.
    pub drain: DrainMarks,
    /// The AS that BIRD prepends then.
    pub local_as: Option<u32>,
}

/// All of them together. Made and changed within a runtime.
#[derive(Debug, Default)]
pub struct Outlets {
    speaker: Speaker,
    bird: Option<Worker<BirdJob>>,
    command: Option<Worker<Hook>>,
    leaving: Vec<JoinHandle<Done>>,
}

/// How an outlet other than the speaker does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutletReport {
    /// Whether what is wanted has been done.
    pub done: bool,
    /// What last went wrong, until it is done.
    pub last_error: Option<String>,
}

impl Outlets {
    /// Tells these and nobody else from now on; what goes on unchanged is not interrupted.
    pub fn configure(&mut self, settings: &Settings) {
        self.speaker.configure(&settings.neighbours);
        let Settings { bird, drain, local_as, command, .. } = settings.clone();
        let bird = bird.map(|bird| BirdJob { bird, drain, local_as });
        replace(&mut self.bird, bird, &mut self.leaving);
        replace(&mut self.command, command, &mut self.leaving);
    }

    /// Announces exactly what is to be announced of these. What is told in no other way is for who asks.
    pub fn announce(&mut self, all: &BTreeMap<IpNet, (Method, Decision)>) {
        let of = |method| -> Wanted {
            let is_its = |(prefix, (m, decision)): (&IpNet, &(Method, Decision))| {
                (*m == method).then_some((*prefix, *decision))
            };
            all.iter().filter_map(is_its).collect()
        };
        let announced = of(Method::Bgp).into_iter().filter(|(_, decision)| *decision != Decision::Withdraw);
        self.speaker.announce(announced.map(|(prefix, d)| (prefix, d == Decision::Drain)).collect());
        if let Some(bird) = &self.bird {
            bird.wanted.send_replace(Some(of(Method::Bird)));
        }
        if let Some(command) = &self.command {
            command.wanted.send_replace(Some(of(Method::Command)));
        }
    }

    /// How each session is.
    pub fn sessions(&self) -> Vec<(Neighbour, Report)> {
        self.speaker.reports()
    }

    /// How the other outlets do.
    pub fn others(&self) -> Vec<(Method, OutletReport)> {
        let bird = self.bird.iter().map(|w| (Method::Bird, w.report.borrow().clone()));
        let command = self.command.iter().map(|w| (Method::Command, w.report.borrow().clone()));
        bird.chain(command).collect()
    }

    /// Withdraws everything everywhere, for this reason; what is returned is done when that is on its way.
    pub fn stop(&mut self, reason: &str) -> impl Future<Output = ()> + Send + use<> {
        self.speaker.stop(reason);
        replace(&mut self.bird, None, &mut self.leaving);
        replace(&mut self.command, None, &mut self.leaving);
        let sessions = self.speaker.ended();
        let leaving = std::mem::take(&mut self.leaving);
        async move {
            let all = async {
                sessions.await;
                for task in leaving {
                    // One that has panicked does nothing more.
                    let _ = task.await;
                }
            };
            if tokio::time::timeout(FAREWELL, all).await.is_err() {
                tracing::error!(seconds = FAREWELL.as_secs(), "not everything could be withdrawn in time");
            }
        }
    }
}

/// Puts a worker for `job` in the place of one for another.
fn replace<J: Job>(place: &mut Option<Worker<J>>, job: Option<J>, leaving: &mut Vec<JoinHandle<Done>>) {
    if place.as_ref().map(|worker| &worker.job) == job.as_ref() {
        return;
    }
    leaving.retain(|task| !task.is_finished());
    let Some(before) = place.take() else {
        *place = job.map(|job| Worker::start(job, None, None));
        return;
    };
    let goes_on = job.as_ref().is_some_and(|job| job.goes_on_for(&before.job));
    // A task that is gone needs no telling.
    let _ = before.stop.send(if goes_on { End::Leave } else { End::Withdraw });
    match job {
        // The new one begins with what the old one was to do, once that has ended.
        Some(job) => {
            let wanted = before.wanted.borrow().clone();
            *place = Some(Worker::start(job, wanted, Some(before.task)));
        }
        None => leaving.push(before.task),
    }
}

/// Something that brings about what is wanted.
trait Job: Clone + PartialEq + Send + Sync + 'static {
    /// Who that is, for the log.
    const METHOD: Method;

    /// Whether it tells the same one as `before` did, who need not hear of the change.
    fn goes_on_for(&self, before: &Self) -> bool;

    /// Makes one step from what was done towards what is wanted, and notes what is done now.
    fn step(&self, wanted: &Wanted, done: &mut Done) -> impl Future<Output = Result<(), String>> + Send;
}

/// What an outlet has been told; a prefix that is missing has been told nothing.
type Done = BTreeMap<IpNet, Told>;

/// What an outlet was told of a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Told {
    decision: Decision,
    /// It has said that it did that. If not, it may have done so all the same.
    heard: bool,
}

/// Whether that is all that is wanted. What was told once and is wanted no more must be withdrawn.
fn is_done(wanted: &Wanted, done: &Done) -> bool {
    next(wanted, done).is_none()
}

/// A prefix of which something else is wanted than was told; withdrawals first.
fn next(wanted: &Wanted, done: &Done) -> Option<(IpNet, Decision)> {
    let forgotten = done
        .iter()
        .filter(|(prefix, told)| told.decision != Decision::Withdraw && !wanted.contains_key(prefix));
    let forgotten = forgotten.map(|(prefix, _)| (*prefix, Decision::Withdraw));
    let is_told = |prefix: &IpNet, decision| done.get(prefix) == Some(&Told { decision, heard: true });
    let differing = wanted.iter().filter(|(prefix, decision)| !is_told(prefix, **decision));
    forgotten.chain(differing.map(|(prefix, decision)| (*prefix, *decision))).min_by_key(|(_, d)| *d as u8)
}

#[derive(Clone, Debug, PartialEq)]
struct BirdJob {
    bird: Bird,
    drain: DrainMarks,
    local_as: Option<u32>,
}

impl Job for BirdJob {
    const METHOD: Method = Method::Bird;

    fn goes_on_for(&self, before: &Self) -> bool {
        self.bird == before.bird
    }

    async fn step(&self, wanted: &Wanted, done: &mut Done) -> Result<(), String> {
        self.bird.apply(&render(wanted, &self.drain, self.local_as)).await.map_err(|e| e.to_string())?;
        *done = wanted.iter().map(|(prefix, d)| (*prefix, Told { decision: *d, heard: true })).collect();
        Ok(())
    }
}

impl Job for Hook {
    const METHOD: Method = Method::Command;

    fn goes_on_for(&self, before: &Self) -> bool {
        self.argv == before.argv
    }

    async fn step(&self, wanted: &Wanted, done: &mut Done) -> Result<(), String> {
        let mut failed = None;
        // Each prefix is tried, so that one that fails does not hold up the others.
        let mut left = done.clone();
        while let Some((prefix, decision)) = next(wanted, &left) {
            let result = self.tell(prefix, decision).await;
            // A withdrawal that failed leaves what was said before.
            let before = done.get(&prefix).map(|told| told.decision);
            let standing =
                if result.is_err() && decision == Decision::Withdraw { before } else { Some(decision) };
            if let Some(decision) = standing {
                done.insert(prefix, Told { decision, heard: result.is_ok() });
            }
            failed = failed.or(result.err().map(|error| error.to_string()));
            left.insert(prefix, Told { decision, heard: true });
        }
        failed.map_or(Ok(()), Err)
    }
}

#[derive(Debug)]
struct Worker<J> {
    job: J,
    wanted: watch::Sender<Option<Wanted>>,
    report: watch::Receiver<OutletReport>,
    stop: oneshot::Sender<End>,
    task: JoinHandle<Done>,
}

/// What a worker does last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// All is withdrawn.
    Withdraw,
    /// All stays as it is.
    Leave,
}

impl<J: Job> Worker<J> {
    fn start(job: J, wanted: Option<Wanted>, after: Option<JoinHandle<Done>>) -> Self {
        let (wanted, wishes) = watch::channel(wanted);
        let (reports, report) = watch::channel(OutletReport::default());
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(work(job.clone(), wishes, reports, stopped, after));
        Worker { job, wanted, report, stop, task }
    }
}

async fn work<J: Job>(
    job: J,
    mut wishes: watch::Receiver<Option<Wanted>>,
    reports: watch::Sender<OutletReport>,
    mut stopped: oneshot::Receiver<End>,
    after: Option<JoinHandle<Done>>,
) -> Done {
    let mut done = match after {
        // What the one before has said is known; of one that has panicked it is not.
        Some(before) => before.await.unwrap_or_default(),
        None => Done::new(),
    };
    let mut retry = Retry::default();
    let mut told = false;
    let end = loop {
        let wanted = wishes.borrow_and_update().clone();
        // An outlet that has been told nothing since it started is told even that there is nothing.
        let pending = wanted.as_ref().filter(|wanted| !told || !is_done(wanted, &done));
        if let Some(wanted) = pending.filter(|_| retry.is_due(Instant::now())) {
            match job.step(wanted, &mut done).await {
                Ok(()) => {
                    told = true;
                    retry = Retry::default();
                    reports.send_replace(OutletReport { done: true, last_error: None });
                }
                Err(error) => {
                    retry.failed(Instant::now());
                    tracing::error!(outlet = J::METHOD.name(), %error, "announcements are not as they should be");
                    reports.send_replace(OutletReport { done: false, last_error: Some(error) });
                }
            }
            continue;
        }
        let again = pending.and(retry.at());
        tokio::select! {
            biased;
            // One that is dropped leaves all as it is.
            end = &mut stopped => break end.unwrap_or(End::Leave),
            Ok(()) = wishes.changed() => retry = Retry::default(),
            () = sleep_until(again) => {}
        }
    };
    if end == End::Leave || wishes.borrow().is_none() {
        return done;
    }
    if let Err(error) = job.step(&Wanted::new(), &mut done).await {
        tracing::error!(outlet = J::METHOD.name(), %error, "not withdrawn at the end");
    }
    done
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> IpNet {
        text.parse().expect("a prefix")
    }

    fn all(list: &[(&str, Decision)]) -> BTreeMap<IpNet, (Method, Decision)> {
        list.iter().map(|(text, decision)| (prefix(text), (Method::Command, *decision))).collect()
    }

    /// Waits until the file holds this.
    async fn wait_for(file: &std::path::Path, expected: &str) {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            let text = std::fs::read_to_string(file).unwrap_or_default();
            if text == expected {
                return;
            }
            assert!(Instant::now() < end, "{text:?} is not {expected:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn hook(script: &str) -> Hook {
        let argv = ["/bin/sh", "-c", script, "hook"].map(str::to_owned).to_vec();
        Hook { argv, timeout: Duration::from_secs(20) }
    }

    #[tokio::test]
    async fn a_command_hears_each_change_once_and_the_end() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("told");
        let mut outlets = Outlets::default();
        let command = Some(hook(&format!("echo \"$@\" >> {}", file.display())));
        outlets.configure(&Settings { command, ..Settings::default() });
        let (a, b) = ("203.0.113.0/24", "198.51.100.0/24");
        outlets.announce(&all(&[(a, Decision::Announce), (b, Decision::Withdraw)]));
        let mut expected = format!("withdraw {b}\nannounce {a}\n");
        wait_for(&file, &expected).await;
        outlets.announce(&all(&[(a, Decision::Announce), (b, Decision::Withdraw)]));
        outlets.announce(&all(&[(a, Decision::Drain), (b, Decision::Announce)]));
        expected += &format!("drain {a}\nannounce {b}\n");
        wait_for(&file, &expected).await;
        // One that is no longer configured.
        outlets.announce(&all(&[(a, Decision::Drain)]));
        expected += &format!("withdraw {b}\n");
        wait_for(&file, &expected).await;
        outlets.stop("the daemon is stopped").await;
        expected += &format!("withdraw {a}\n");
        assert_eq!(std::fs::read_to_string(&file).expect("written"), expected);
    }

    #[tokio::test]
    async fn what_fails_is_tried_again() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("told");
        let broken = directory.path().join("broken");
        std::fs::write(&broken, "").expect("written");
        let script = format!("test ! -e {} && echo \"$@\" >> {}", broken.display(), file.display());
        let mut outlets = Outlets::default();
        outlets.configure(&Settings { command: Some(hook(&script)), ..Settings::default() });
        outlets.announce(&all(&[("203.0.113.0/24", Decision::Announce)]));
        let end = Instant::now() + Duration::from_secs(20);
        while outlets.others()[0].1.last_error.is_none() {
            assert!(Instant::now() < end);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        std::fs::remove_file(&broken).expect("removed");
        wait_for(&file, "announce 203.0.113.0/24\n").await;
        outlets.stop("over").await;
    }
}
