//! Running programs: their output line by line, and none of them left behind on Ctrl-C.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::signal::{SigSet, Signal, killpg};
use nix::unistd::Pid;

/// How long children may clean up after each of the two signals before they are killed.
const CLEAN_UP_TIME: Duration = Duration::from_secs(15);
/// How often we look whether they are gone.
const POLL: Duration = Duration::from_millis(50);
/// Lines kept of a program's output, for the report if it fails.
const KEPT_LINES: usize = 400;

/// Whether children get process groups of their own and [`handle_interrupts`] looks after them.
static GROUPS: AtomicBool = AtomicBool::new(false);
/// Process groups that live.
static LIVING: Mutex<Vec<Pid>> = Mutex::new(Vec::new());

/// From now on Ctrl-C (or SIGTERM) is passed to the children, who may clean up; then this process
/// exits. A second Ctrl-C kills them at once.
///
/// Call it before any thread is started: it blocks the signals in the calling thread.
///
/// # Errors
///
/// When the kernel refuses to change the signal mask.
pub fn handle_interrupts() -> Result<()> {
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        signals.add(signal);
    }
    signals.thread_block().context("cannot block signals")?;
    GROUPS.store(true, Ordering::SeqCst);
    thread::spawn(move || {
        let Ok(signal) = signals.wait() else { return };
        eprintln!("\ninterrupted: waiting for clean-up (again to kill)");
        thread::spawn(move || {
            let _ = signals.wait();
            kill_all(Signal::SIGKILL);
            std::process::exit(exit_code(signal));
        });
        // Whoever ignores the first signal (Ctrl-C is ignored below a background job) gets a second one.
        for signal in [signal, Signal::SIGTERM] {
            kill_all(signal);
            let deadline = Instant::now() + CLEAN_UP_TIME;
            while Instant::now() < deadline && any_living() {
                thread::sleep(POLL);
            }
        }
        kill_all(Signal::SIGKILL);
        std::process::exit(exit_code(signal));
    });
    Ok(())
}

/// What a shell reports for a process that a signal ended.
fn exit_code(signal: Signal) -> i32 {
    const SIGNALLED: i32 = 128;
    SIGNALLED + signal as i32
}

fn living() -> std::sync::MutexGuard<'static, Vec<Pid>> {
    LIVING.lock().unwrap_or_else(PoisonError::into_inner)
}

fn kill_all(signal: Signal) {
    for group in living().iter() {
        // A group that has just ended is no error.
        let _ = killpg(*group, signal);
    }
}

fn any_living() -> bool {
    living().iter().any(|group| killpg(*group, None).is_ok())
}

/// A child, in a process group of its own if [`handle_interrupts`] was called.
pub struct Guarded {
    child: Child,
    group: Option<Pid>,
}

impl Guarded {
    /// Starts `command` with no standard input.
    ///
    /// # Errors
    ///
    /// When the program cannot be started.
    pub fn spawn(command: &mut Command) -> Result<Self> {
        command.stdin(Stdio::null());
        let grouped = GROUPS.load(Ordering::SeqCst);
        if grouped {
            command.process_group(0);
        }
        let child = command
            .spawn()
            .with_context(|| format!("cannot run {}", command.get_program().to_string_lossy()))?;
        let group = if grouped { i32::try_from(child.id()).ok().map(Pid::from_raw) } else { None };
        living().extend(group);
        Ok(Guarded { child, group })
    }

    /// The child.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Waits for its end.
    ///
    /// # Errors
    ///
    /// When the kernel does not know the child.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        let status = self.child.wait()?;
        if let Some(group) = self.group {
            // Grandchildren may outlive the child; after an interrupt they are still looked after.
            living().retain(|g| *g != group || killpg(group, None).is_ok());
        }
        Ok(status)
    }
}

/// How a program ended.
pub struct Finished {
    /// Its exit status.
    pub status: ExitStatus,
    /// Everything it wrote to standard output and error, the oldest lines missing if it was much.
    pub output: VecDeque<String>,
}

/// Runs `command` to its end. `tick` is called at least ten times a second with the last line.
///
/// # Errors
///
/// When the program cannot be started.
pub fn collect(command: &mut Command, mut tick: impl FnMut(&str)) -> Result<Finished> {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut guarded = Guarded::spawn(command)?;
    let (sender, lines) = mpsc::channel();
    let pipes: [Option<Box<dyn Read + Send>>; 2] = [
        guarded.child().stdout.take().map(|pipe| Box::new(pipe) as _),
        guarded.child().stderr.take().map(|pipe| Box::new(pipe) as _),
    ];
    for pipe in pipes.into_iter().flatten() {
        let sender = sender.clone();
        thread::spawn(move || {
            for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
                if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                    break;
                }
            }
        });
    }
    drop(sender);
    let mut output = VecDeque::new();
    loop {
        match lines.recv_timeout(Duration::from_millis(100)) {
            Ok(line) => {
                if output.len() == KEPT_LINES {
                    output.pop_front();
                }
                output.push_back(line);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        tick(output.back().map_or("", String::as_str));
    }
    Ok(Finished { status: guarded.wait()?, output })
}

/// The standard output of a short command, if it succeeds.
pub fn query(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_and_status_are_collected() {
        let finished =
            collect(Command::new("sh").args(["-c", "echo out; echo err >&2; exit 3"]), |_| {}).unwrap();
        assert_eq!(finished.status.code(), Some(3));
        let mut lines: Vec<_> = finished.output.into_iter().collect();
        lines.sort();
        assert_eq!(lines, ["err", "out"]);
    }

    #[test]
    fn much_output_keeps_its_end() {
        let finished = collect(Command::new("seq").arg("1000"), |_| {}).unwrap();
        assert_eq!(finished.output.len(), KEPT_LINES);
        assert_eq!(finished.output.back().map(String::as_str), Some("1000"));
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = collect(&mut Command::new("no-such-program-here"), |_| {}).err().unwrap();
        assert!(error.to_string().contains("no-such-program-here"), "{error}");
    }

    #[test]
    fn a_query_that_fails_has_no_answer() {
        assert_eq!(query(Command::new("echo").arg("x")).as_deref(), Some("x"));
        assert_eq!(query(&mut Command::new("false")), None);
    }
}
