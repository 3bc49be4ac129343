//! Long-running programs inside the lab's namespaces: started, made sure to be ready, killed by
//! number, started again.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::net::Shutdown;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, mpsc};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::{Pid, setpgid};

use super::netns::Namespace;
use super::state::RunDir;

/// Between two looks at a condition that has no event to wait for.
const POLL: Duration = Duration::from_millis(5);
/// How many lines of a log an error shows.
const LOG_TAIL: usize = 15;

/// What to start.
#[derive(Clone, Debug)]
pub struct Program {
    /// Name within the lab: part of the log's and the socket's name.
    pub name: String,
    /// Executable.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Whether it says `READY=1` to `NOTIFY_SOCKET`.
    pub notifies: bool,
}

/// A program that runs in a namespace; killed when dropped unless the lab is to stand.
#[derive(Debug)]
pub struct Daemon {
    program: Program,
    namespace: Namespace,
    run: Arc<RunDir>,
    persistent: bool,
    log: PathBuf,
    child: Option<Child>,
    notify: Option<UnixDatagram>,
    listener: Option<Listener>,
}

/// Takes what a daemon says once it is ready, as a service manager does: one whose messages nobody
/// reads would block at about the tenth, and one whose socket is gone may take that for an error.
#[derive(Debug)]
struct Listener(UnixDatagram);

impl Listener {
    fn start(socket: UnixDatagram) -> Result<Self> {
        let reader = socket.try_clone()?;
        reader.set_read_timeout(None)?;
        std::thread::spawn(move || {
            let mut message = [0; 4096];
            while reader.recv(&mut message).is_ok_and(|length| length > 0) {}
        });
        Ok(Self(socket))
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // Ends the thread; should that fail, the process's end does.
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

impl Daemon {
    /// Says what is to run where; [`Daemon::start`] starts it.
    pub fn new(run: &Arc<RunDir>, namespace: &Namespace, program: Program, persistent: bool) -> Self {
        let log = run.path().join("log").join(format!("{}.log", program.name));
        Self {
            program,
            namespace: namespace.clone(),
            run: Arc::clone(run),
            persistent,
            log,
            child: None,
            notify: None,
            listener: None,
        }
    }

    /// Starts it, also again after it was killed or has ended. It is not ready yet, see
    /// [`Daemon::wait_ready`] and [`Daemon::wait_until`].
    pub fn start(&mut self) -> Result<()> {
        if self.is_running() {
            bail!("{} still runs", self.program.name);
        }
        self.spawn()
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill9(&mut self) -> Result<()> {
        let Some(mut child) = self.child.take() else { bail!("{} does not run", self.program.name) };
        child
            .kill()
            .and_then(|()| child.wait())
            .with_context(|| format!("cannot kill {}", self.program.name))?;
        Ok(())
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = self.pid().with_context(|| format!("{} does not run", self.program.name))?;
        kill(Pid::from_raw(pid), signal).with_context(|| format!("cannot signal {}", self.program.name))
    }

    /// SIGTERM, and waits until it is gone; returns its exit code, none if a signal ended it.
    pub fn terminate(&mut self, deadline: Duration) -> Result<Option<i32>> {
        self.signal(Signal::SIGTERM)?;
        let Some(child) = &mut self.child else { bail!("{} does not run", self.program.name) };
        let name = &self.program.name;
        let status = until(deadline, &format!("{name} to end"), || Ok(child.try_wait()?))?;
        self.child = None;
        Ok(status.code())
    }

    /// Its process number while it runs.
    pub fn pid(&self) -> Option<i32> {
        self.child.as_ref().map(|child| child.id().cast_signed())
    }

    /// Whether it runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.as_mut().map(Child::try_wait), Some(Ok(None)))
    }

    /// Waits for `READY=1`.
    pub fn wait_ready(&mut self, deadline: Duration) -> Result<()> {
        let Some(socket) = self.notify.take() else { bail!("{} does not notify", self.program.name) };
        socket.set_read_timeout(Some(POLL))?;
        let end = Instant::now() + deadline;
        let mut message = [0; 4096];
        loop {
            match socket.recv(&mut message) {
                Ok(length) if message[..length].split(|&b| b == b'\n').any(|line| line == b"READY=1") => {
                    self.listener = Some(Listener::start(socket)?);
                    return Ok(());
                }
                Ok(_) => {}
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                }
                Err(error) => return Err(error).context("cannot read the notify socket"),
            }
            if !self.is_running() {
                bail!("{} ended before it was ready\n{}", self.program.name, self.log_tail());
            }
            if Instant::now() > end {
                bail!("{} was not ready within {deadline:?}\n{}", self.program.name, self.log_tail());
            }
        }
    }

    /// Waits until `condition` holds; an error that shows the log if the daemon ends before.
    pub fn wait_until(
        &mut self,
        deadline: Duration,
        what: &str,
        mut condition: impl FnMut() -> bool,
    ) -> Result<()> {
        let what = format!("{what} of {}", self.program.name);
        let result = until(deadline, &what, || {
            if !self.is_running() {
                bail!("{} ended", self.program.name);
            }
            Ok(condition().then_some(()))
        });
        result.map_err(|error| anyhow!("{error:#}\n{}", self.log_tail()))
    }

    /// Where its output goes.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The last lines of its output.
    pub fn log_tail(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let mut tail = VecDeque::with_capacity(LOG_TAIL + 1);
        for line in text.lines() {
            tail.push_back(line);
            if tail.len() > LOG_TAIL {
                tail.pop_front();
            }
        }
        let lines: Vec<_> = tail.into_iter().collect();
        format!("last lines of {}:\n{}", self.log.display(), lines.join("\n"))
    }

    fn spawn(&mut self) -> Result<()> {
        let name = &self.program.name;
        let output = File::options()
            .create(true)
            .append(true)
            .open(&self.log)
            .with_context(|| format!("cannot write {}", self.log.display()))?;
        let mut command = self.namespace.command(&self.program.program)?;
        command.args(&self.program.arguments).stdin(Stdio::null());
        command.stdout(output.try_clone()?).stderr(output);
        if self.program.notifies {
            let path = self.run.path().join(format!("{name}.notify"));
            let _ = fs::remove_file(&path);
            self.listener = None;
            self.notify =
                Some(UnixDatagram::bind(&path).with_context(|| format!("cannot bind {}", path.display()))?);
            command.env("NOTIFY_SOCKET", &path);
        }
        let child = self.run.start(|| {
            let child = spawn(command, self.persistent)
                .with_context(|| format!("cannot start {} ({})", name, self.program.program.display()))?;
            let pid = child.id().cast_signed();
            Ok((child, pid))
        })?;
        self.child = Some(child);
        Ok(())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.persistent {
            return;
        }
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself; then there is nothing to kill.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Starts `command` in a process group of its own, out of reach of the terminal's Ctrl-C. Unless
/// `persistent`, the kernel kills it when this process ends, however it ends.
pub fn spawn(mut command: Command, persistent: bool) -> io::Result<Child> {
    // SAFETY: setpgid, sigprocmask and prctl are system calls without allocation or locks, fit for the child of
    // a fork.
    unsafe {
        command.pre_exec(move || {
            setpgid(Pid::from_raw(0), Pid::from_raw(0))?;
            // Whoever called us may have blocked signals; children inherit that.
            SigSet::empty().thread_set_mask()?;
            if !persistent {
                prctl::set_pdeathsig(Signal::SIGKILL)?;
            }
            Ok(())
        });
    }
    on_spawner(command)
}

type Job = (Command, mpsc::Sender<io::Result<Child>>);

/// The kernel sends the parent-death signal when the *thread* that forked ends, so all children are
/// started by one thread that never does.
fn on_spawner(command: Command) -> io::Result<Child> {
    static SPAWNER: OnceLock<Mutex<mpsc::Sender<Job>>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, receiver) = mpsc::channel::<Job>();
        std::thread::spawn(move || {
            for (mut command, reply) in receiver {
                // The other end waits for it.
                let _ = reply.send(command.spawn());
            }
        });
        Mutex::new(sender)
    });
    let (reply, answer) = mpsc::channel();
    let gone = || io::Error::other("the thread that starts processes is gone");
    spawner.lock().unwrap_or_else(PoisonError::into_inner).send((command, reply)).map_err(|_| gone())?;
    answer.recv().map_err(|_| gone())?
}

/// Polls `condition` until it gives a value; an error that names `what` after `deadline`.
pub fn until<T>(
    deadline: Duration,
    what: &str,
    mut condition: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let end = Instant::now() + deadline;
    loop {
        if let Some(value) = condition()? {
            return Ok(value);
        }
        if Instant::now() > end {
            bail!("waited {deadline:?} in vain for {what}");
        }
        std::thread::sleep(POLL);
    }
}

/// Turns words into arguments.
pub fn arguments<I: AsRef<OsStr>>(words: impl IntoIterator<Item = I>) -> Vec<OsString> {
    words.into_iter().map(|word| word.as_ref().to_owned()).collect()
}
