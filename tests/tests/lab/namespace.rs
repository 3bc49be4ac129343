//! A network namespace for the length of a test, without a name that could be left behind.

use std::process::Command;
use std::sync::mpsc;
use std::thread;

use anyhow::{Context, Result, ensure};
use nix::sched::{CloneFlags, unshare};

type Job = Box<dyn FnOnce() + Send>;

/// A network namespace that lives as long as its thread.
pub(super) struct Namespace {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<thread::JoinHandle<()>>,
    /// Names the namespace to `ip link set … netns`.
    pub(super) tid: i32,
}

impl Namespace {
    pub(super) fn new() -> Result<Self> {
        let (jobs, inbox) = mpsc::channel::<Job>();
        let (ready, started) = mpsc::channel();
        let thread = thread::spawn(move || {
            let created = unshare(CloneFlags::CLONE_NEWNET).map(|()| nix::unistd::gettid().as_raw());
            let usable = created.is_ok();
            let told = ready.send(created);
            if usable && told.is_ok() {
                inbox.into_iter().for_each(|job| job());
            }
        });
        let tid = started.recv()?.context("a network namespace needs CAP_SYS_ADMIN")?;
        let namespace = Namespace { jobs: Some(jobs), thread: Some(thread), tid };
        namespace.ip("link set lo up")?;
        Ok(namespace)
    }

    /// Runs `job` on the namespace's thread.
    pub(super) fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let (result, outcome) = mpsc::channel();
        let job: Job = Box::new(move || {
            let _ = result.send(job());
        });
        self.jobs.as_ref().context("the namespace is gone")?.send(job).ok().context("its thread ended")?;
        outcome.recv().context("the job panicked")
    }

    /// Runs `ip` with these words and gives its output.
    pub(super) fn ip(&self, words: &str) -> Result<String> {
        self.command("ip", &words.split_whitespace().collect::<Vec<_>>())
    }

    /// Runs a program that must succeed, and gives its output.
    pub(super) fn command(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let shown = format!("{program} {}", arguments.join(" "));
        let mut command = Command::new(program);
        command.args(arguments);
        let output = self.run(move || command.output())??;
        ensure!(output.status.success(), "{shown}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
