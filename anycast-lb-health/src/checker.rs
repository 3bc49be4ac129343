//! The task that keeps the checks of many backends going: it starts what the [`Schedule`] asks for and tells
//! what has changed.

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::timeout_at;

use crate::probe::{Check, Prepared, Target};
use crate::schedule::{Due, Schedule, Wanted};
use crate::{Change, Reason};

/// Most probes that are under way at once.
pub const MOST_PROBES: usize = 512;

/// Most of them that may be commands: each is a process.
pub const MOST_COMMANDS: usize = 32;

/// How long verdicts are gathered, so that what fails together is told together.
const WINDOW: Duration = Duration::from_millis(20);

/// Descriptors that the process should be able to have: those of the probes, and as many for all else.
const DESCRIPTORS: u64 = 4096;

/// What is probed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// What is asked.
    pub check: Arc<Check>,
    /// Where.
    pub target: Target,
}

/// Verdicts that came together; of each backend the last one.
pub type Verdicts<K> = BTreeMap<K, Change>;

/// The task; it ends when this is dropped, or the receiver of its verdicts.
#[derive(Debug)]
pub struct Checker<K> {
    wanted: watch::Sender<Vec<Wanted<K, Subject>>>,
}

impl<K: Clone + Ord + Send + Sync + 'static> Checker<K> {
    /// Starts the task, without any checks yet. The receiver gets a batch of verdicts when it has taken the
    /// one before; what comes meanwhile is gathered, one a backend.
    ///
    /// To be called within a tokio runtime.
    pub fn start() -> (Self, mpsc::Receiver<Verdicts<K>>) {
        let (wanted, receiver) = watch::channel(Vec::new());
        let (verdicts, out) = mpsc::channel(1);
        tokio::spawn(run(receiver, verdicts));
        (Checker { wanted }, out)
    }

    /// These checks, and no others, from now on; see [`Schedule::set`]. Files that a check names are read
    /// again.
    pub fn set(&self, wanted: Vec<Wanted<K, Subject>>) {
        self.wanted.send_replace(wanted);
    }
}

/// A probe is over.
struct Done<K> {
    key: K,
    number: u64,
    result: Result<(), Reason>,
}

/// Tells that a probe is over, even if its task is torn down.
struct Teller<K> {
    done: Option<Done<K>>,
    to: mpsc::Sender<Done<K>>,
}

impl<K> Drop for Teller<K> {
    fn drop(&mut self) {
        if let Some(done) = self.done.take() {
            // There is room for as many as may be under way; if nobody listens any more, that is as well.
            let _ = self.to.try_send(done);
        }
    }
}

/// Checks that are made, or why they cannot be.
type Kit = BTreeMap<Arc<Check>, Result<Prepared, Reason>>;

async fn run<K: Clone + Ord + Send + Sync + 'static>(
    mut wanted: watch::Receiver<Vec<Wanted<K, Subject>>>,
    out: mpsc::Sender<Verdicts<K>>,
) {
    let mut seed = [0; 8];
    // Without random numbers all nodes have the same jitter, and nothing worse.
    let _ = getrandom::fill(&mut seed);
    let mut schedule: Schedule<K, Subject> = Schedule::new(MOST_PROBES, u64::from_ne_bytes(seed));
    let commands = Arc::new(Semaphore::new(MOST_COMMANDS));
    let (to, mut finished) = mpsc::channel(MOST_PROBES);
    let mut kit = Kit::new();
    let mut verdicts = Verdicts::new();
    // When the verdicts gathered so far are told.
    let mut tell_at: Option<Instant> = None;
    loop {
        while let Some(due) = schedule.due(Instant::now()) {
            match due {
                Due::Change(key, change) => {
                    verdicts.insert(key, change);
                }
                Due::Probe { key, subject, probe } => {
                    let result = Err(Reason::new("the probe broke off"));
                    let done = Some(Done { key, number: probe.number, result });
                    let teller = Teller { done, to: to.clone() };
                    let prepared = kit.get(&subject.check).cloned();
                    tokio::spawn(one(
                        teller,
                        prepared,
                        subject.target,
                        probe.deadline,
                        Arc::clone(&commands),
                    ));
                }
            }
        }
        if verdicts.is_empty() {
            tell_at = None;
        } else if tell_at.is_none() {
            tell_at = Some(Instant::now() + WINDOW);
        }
        let room = async {
            sleep_until(tell_at).await;
            out.reserve().await
        };
        tokio::select! {
            changed = wanted.changed() => {
                if changed.is_err() {
                    return;
                }
                let checks = wanted.borrow_and_update().clone();
                raise_descriptors();
                kit = prepare(&checks).await;
                // Verdicts over backends that are not checked any more are of no interest.
                verdicts.retain(|key, _| checks.iter().any(|w| w.key == *key));
                schedule.set(Instant::now(), checks);
            }
            Some(done) = finished.recv() => {
                let mut next = Some(done);
                while let Some(Done { key, number, result }) = next {
                    if let Some(change) = schedule.finished(Instant::now(), &key, number, result) {
                        verdicts.insert(key, change);
                    }
                    next = finished.try_recv().ok();
                }
            }
            () = sleep_until(schedule.deadline()) => {}
            permit = room => match permit {
                Ok(permit) => permit.send(std::mem::take(&mut verdicts)),
                Err(_) => return,
            },
        }
    }
}

/// Makes a probe and tells its end.
async fn one<K>(
    mut teller: Teller<K>,
    prepared: Option<Result<Prepared, Reason>>,
    target: Target,
    deadline: Instant,
    commands: Arc<Semaphore>,
) {
    let result = match prepared {
        Some(Ok(prepared)) if prepared.is_heavy() => {
            match timeout_at(deadline.into(), commands.acquire()).await {
                Ok(Ok(_permit)) => prepared.run(&target, deadline).await,
                _ => Err(Reason::new(format_args!(
                    "{MOST_COMMANDS} commands run already; make them faster, or the interval longer"
                ))),
            }
        }
        Some(Ok(prepared)) => prepared.run(&target, deadline).await,
        Some(Err(reason)) => Err(reason),
        None => Err(Reason::new("the check has not been prepared")),
    };
    if let Some(done) = &mut teller.done {
        done.result = result;
    }
}

/// Makes what the checks need, each kind once, where blocking does no harm.
async fn prepare<K>(wanted: &[Wanted<K, Subject>]) -> Kit {
    let mut kinds: Vec<Arc<Check>> = wanted.iter().map(|w| Arc::clone(&w.subject.check)).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let make = move || {
        let made = |check: Arc<Check>| {
            let prepared = Prepared::new(&check).map_err(Reason::new);
            (check, prepared)
        };
        kinds.into_iter().map(made).collect()
    };
    // It fails when the runtime is being shut down, and nothing will be probed.
    tokio::task::spawn_blocking(make).await.unwrap_or_default()
}

/// The limit that a process begins with may be 1024 descriptors, which is little for probes of all backends
/// and the rest of a daemon; what it is allowed to have is more, as a rule.
fn raise_descriptors() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: writes to the value it is given.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return;
    }
    let wanted = DESCRIPTORS.min(limit.rlim_max);
    if limit.rlim_cur < wanted {
        limit.rlim_cur = wanted;
        // SAFETY: reads the value it is given. If it is refused, probes beyond the old limit fail and say so.
        let _ = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::{Health, Timing};
    use std::net::SocketAddr;
    use tokio::net::TcpListener;

    const TIMING: Timing = Timing {
        interval: Duration::from_millis(200),
        timeout: Duration::from_millis(200),
        rise: 2,
        fall: 2,
    };

    fn wanted(targets: &[SocketAddr], check: &Check) -> Vec<Wanted<SocketAddr, Subject>> {
        let check = Arc::new(check.clone());
        let subject = |target| Subject { check: Arc::clone(&check), target: Target::direct(target) };
        targets.iter().map(|t| Wanted { key: *t, timing: TIMING, subject: subject(*t) }).collect()
    }

    async fn listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        (listener, address)
    }

    /// Verdicts until there is one over each of `count` backends.
    async fn verdicts(out: &mut mpsc::Receiver<Verdicts<SocketAddr>>, count: usize) -> Verdicts<SocketAddr> {
        let mut all = Verdicts::new();
        while all.len() < count {
            let next = tokio::time::timeout(Duration::from_secs(30), out.recv()).await;
            all.extend(next.expect("verdicts in time").expect("a checker"));
        }
        all
    }

    #[tokio::test]
    async fn backends_come_up_go_down_and_are_forgotten() {
        let (checker, mut out) = Checker::start();
        let ((one, one_at), (_two, two_at)) = (listener().await, listener().await);
        checker.set(wanted(&[one_at, two_at], &Check::Tcp));
        let up = verdicts(&mut out, 2).await;
        assert!(up.values().all(|change| change.health == Health::Up && change.reason.is_none()), "{up:?}");
        drop(one);
        let down = verdicts(&mut out, 1).await;
        let change = down.get(&one_at).expect("a verdict over the one");
        assert_eq!((down.len(), change.health), (1, Health::Down));
        assert!(change.reason.as_ref().is_some_and(|r| r.as_str().contains("refused")), "{change:?}");
        checker.set(wanted(&[two_at], &Check::Tcp));
        checker.set(Vec::new());
        drop(checker);
        assert_eq!(out.recv().await, None, "the task ends");
    }

    #[tokio::test]
    async fn what_fails_together_is_told_together_to_who_is_slow() {
        let (checker, mut out) = Checker::start();
        let mut listeners = Vec::new();
        for _ in 0..50 {
            listeners.push(listener().await);
        }
        let targets: Vec<SocketAddr> = listeners.iter().map(|(_, at)| *at).collect();
        checker.set(wanted(&targets, &Check::Tcp));
        verdicts(&mut out, 50).await;
        listeners.clear();
        let mut batches = Vec::new();
        while batches.iter().map(Verdicts::len).sum::<usize>() < 50 {
            batches.push(out.recv().await.expect("a checker"));
            // Who takes a batch has something to do before the next.
            tokio::time::sleep(TIMING.interval * 4).await;
        }
        // The first of all, one that waited in the channel, and the rest.
        assert!(batches.len() <= 4, "{:?}", batches.iter().map(Verdicts::len).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_check_that_cannot_be_made_fails_and_says_why() {
        let (checker, mut out) = Checker::start();
        let (_listener, at) = listener().await;
        let command = crate::probe::CommandCheck { command: vec!["/bin/true".into()], user: "root".into() };
        checker.set(wanted(&[at], &Check::Command(command)));
        let verdict = verdicts(&mut out, 1).await.remove(&at).expect("a verdict");
        assert_eq!(verdict.health, Health::Down);
        assert!(verdict.reason.is_some_and(|r| r.as_str().contains("is root")));
    }
}
