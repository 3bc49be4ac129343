//! What a lab has made, on disk before it is made, so that every way out removes all of it: `Drop`,
//! a signal, and `lab down` after the process that made it died without a chance.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

/// How long killed processes may take to be gone.
const EXIT_DEADLINE: Duration = Duration::from_secs(5);

const STATE_FILE: &str = "state.json";

/// A process, told from a later one with the same number by its start time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// Process number.
    pub pid: i32,
    /// Start time in clock ticks since boot: field 22 of `/proc/PID/stat`.
    pub start: u64,
}

impl ProcessId {
    /// The running process `pid`; none if there is no such process or it is a zombie.
    pub fn of(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        parse_stat(pid, &stat)
    }

    /// This process.
    pub fn own() -> Self {
        let pid = std::process::id().cast_signed();
        Self::of(pid).unwrap_or(Self { pid, start: 0 })
    }

    /// Whether this very process runs.
    pub fn is_alive(self) -> bool {
        Self::of(self.pid) == Some(self)
    }
}

/// The name in field 2 may hold spaces and parentheses: fields are counted from the last `)`.
fn parse_stat(pid: i32, stat: &str) -> Option<ProcessId> {
    let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_ascii_whitespace();
    let state = fields.next()?;
    // Field 3 is taken; field 22 is the 19th after it.
    let start = fields.nth(18)?.parse().ok()?;
    (state != "Z" && state != "X").then_some(ProcessId { pid, start })
}

/// Everything a lab has made outside its run directory.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct State {
    /// The process that made the lab.
    pub owner: ProcessId,
    /// Whether the lab outlives that process (`lab up`).
    pub persistent: bool,
    /// Network namespaces, by name.
    pub namespaces: Vec<String>,
    /// Mount points.
    pub mounts: Vec<PathBuf>,
    /// Processes.
    pub processes: Vec<ProcessId>,
    /// How to enter each node, for people.
    pub notes: Vec<String>,
}

impl State {
    fn save(&self, directory: &Path) -> Result<()> {
        let file = directory.join(STATE_FILE);
        let new = directory.join("state.json.new");
        fs::write(&new, serde_json::to_vec_pretty(self)?)
            .and_then(|()| fs::rename(&new, &file))
            .with_context(|| format!("cannot write {}", file.display()))
    }

    /// Reads the state of the lab in `directory`.
    pub fn load(directory: &Path) -> Result<Self> {
        let file = directory.join(STATE_FILE);
        let text = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("{} is damaged", file.display()))
    }
}

/// Labs of this process, by run directory.
static LABS: Mutex<BTreeMap<PathBuf, State>> = Mutex::new(BTreeMap::new());

fn labs() -> MutexGuard<'static, BTreeMap<PathBuf, State>> {
    // The map is consistent between any two statements: a panic elsewhere does not spoil it.
    LABS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where run directories are: `/run/anycast-lb-lab`, or under the directory for temporary files
/// where `/run` cannot be written.
pub fn base() -> PathBuf {
    let run = PathBuf::from("/run/anycast-lb-lab");
    if fs::create_dir_all(&run).is_ok() { run } else { std::env::temp_dir().join("anycast-lb-lab") }
}

/// The run directory of a lab; removes the lab when dropped, unless it was made persistent.
#[derive(Debug)]
pub struct RunDir {
    id: String,
    path: PathBuf,
}

impl RunDir {
    /// Makes a run directory with a name that no other lab has.
    pub fn create() -> Result<Self> {
        let base = base();
        fs::create_dir_all(&base).with_context(|| format!("cannot create {}", base.display()))?;
        let directory = tempfile::Builder::new()
            .prefix("")
            .rand_bytes(5)
            .tempdir_in(&base)
            .with_context(|| format!("cannot create a directory in {}", base.display()))?;
        let path = directory.keep();
        let id = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let state = State {
            owner: ProcessId::own(),
            persistent: false,
            namespaces: Vec::new(),
            mounts: Vec::new(),
            processes: Vec::new(),
            notes: Vec::new(),
        };
        for directory in ["log", "state", "bpf"] {
            fs::create_dir(path.join(directory))?;
        }
        let mut labs = labs();
        state.save(&path)?;
        labs.insert(path.clone(), state);
        Ok(Self { id, path })
    }

    /// The unique part of the lab's names.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Records with `note` what is about to be made, then makes it with `make`. Nothing is made
    /// once a signal has begun to remove the labs: the lock is not given back then.
    pub fn make<T>(&self, note: impl FnOnce(&mut State), make: impl FnOnce() -> Result<T>) -> Result<T> {
        let mut labs = labs();
        let Some(state) = labs.get_mut(&self.path) else { bail!("the lab {} is gone", self.id) };
        note(state);
        state.save(&self.path)?;
        make()
    }

    /// Starts a process and records it.
    pub fn start<T>(&self, start: impl FnOnce() -> Result<(T, i32)>) -> Result<T> {
        let mut labs = labs();
        let Some(state) = labs.get_mut(&self.path) else { bail!("the lab {} is gone", self.id) };
        let (value, pid) = start()?;
        state.processes.retain(|process| process.is_alive());
        state.processes.extend(ProcessId::of(pid));
        state.save(&self.path)?;
        Ok(value)
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        let mut labs = labs();
        if let Some(state) = labs.remove(&self.path)
            && !state.persistent
        {
            for problem in remove(&self.path, &state) {
                anstream::eprintln!("warning: {problem}");
            }
        }
    }
}

/// Removes every lab of this process; for a signal handler's thread that then ends the process.
/// Keeps the lock for good, so that no other thread makes anything more.
pub fn remove_all_for_exit() {
    let labs = labs();
    for (path, state) in labs.iter().filter(|(_, state)| !state.persistent) {
        for problem in remove(path, state) {
            anstream::eprintln!("warning: {problem}");
        }
    }
    std::mem::forget(labs);
}

/// A lab found on disk.
pub struct Found {
    /// Its run directory.
    pub path: PathBuf,
    /// Its state; none if it cannot be read.
    pub state: Option<State>,
}

impl Found {
    /// Whether a living process still uses it.
    pub fn is_in_use(&self) -> bool {
        self.state.as_ref().is_some_and(|state| !state.persistent && state.owner.is_alive())
    }

    /// Whether the process that made it died without removing it.
    pub fn is_left_over(&self) -> bool {
        self.state.as_ref().is_none_or(|state| !state.persistent && !state.owner.is_alive())
    }

    /// Removes it and everything it made; returns what could not be removed.
    pub fn remove(&self) -> Vec<String> {
        match &self.state {
            Some(state) => remove(&self.path, state),
            None => remove_directory(&self.path).into_iter().collect(),
        }
    }
}

/// All labs on this machine, of living processes, standing, or left over.
pub fn found() -> Vec<Found> {
    let mut found: Vec<_> = fs::read_dir(base())
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| Found { state: State::load(&entry.path()).ok(), path: entry.path() })
        .collect();
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// Removes in the order in which things depend on one another; goes on after a failure.
fn remove(path: &Path, state: &State) -> Vec<String> {
    let mut problems = Vec::new();
    let processes: Vec<_> = state.processes.iter().filter(|process| process.is_alive()).collect();
    for process in &processes {
        // It may have ended by itself since.
        let _ = kill(Pid::from_raw(process.pid), Signal::SIGKILL);
    }
    let deadline = Instant::now() + EXIT_DEADLINE;
    for process in processes {
        while process.is_alive() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(2));
        }
        if process.is_alive() {
            problems.push(format!("process {} does not end", process.pid));
        }
    }
    for mount in &state.mounts {
        if let Err(error) = umount2(mount, MntFlags::MNT_DETACH)
            && !matches!(error, nix::Error::EINVAL | nix::Error::ENOENT)
        {
            problems.push(format!("cannot unmount {}: {error}", mount.display()));
        }
    }
    for namespace in &state.namespaces {
        if !Path::new("/run/netns").join(namespace).exists() {
            continue;
        }
        match Command::new("ip").args(["netns", "delete", namespace]).output() {
            Ok(output) if output.status.success() => {}
            Ok(output) => problems.push(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
            Err(error) => problems.push(format!("cannot run ip: {error}")),
        }
    }
    if problems.is_empty() {
        problems.extend(remove_directory(path));
    } else {
        problems.push(format!("{} is kept: run `cargo xtask lab down` again", path.display()));
    }
    problems
}

fn remove_directory(path: &Path) -> Option<String> {
    let error = fs::remove_dir_all(path).err()?;
    Some(format!("cannot remove {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_name_with_parentheses_does_not_shift_the_fields() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 12345 1 1";
        assert_eq!(parse_stat(7, stat), Some(ProcessId { pid: 7, start: 12345 }));
    }

    #[test]
    fn a_zombie_is_not_alive() {
        let stat = "7 (x) Z 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 12345 1 1";
        assert_eq!(parse_stat(7, stat), None);
    }

    #[test]
    fn this_process_is_alive_and_its_namesake_is_not() {
        let own = ProcessId::own();
        assert!(own.is_alive());
        assert!(!ProcessId { start: own.start + 1, ..own }.is_alive());
    }
}
