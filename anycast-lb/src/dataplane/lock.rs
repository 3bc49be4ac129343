//! One daemon an instance.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::Path;

use nix::fcntl::{Flock, FlockArg};

use super::error::DataplaneError;

/// Held as long as the daemon lives; the kernel lets go of it when the process ends, however it ends.
#[derive(Debug)]
pub(super) struct InstanceLock(#[expect(dead_code, reason = "held, not read")] Flock<File>);

impl InstanceLock {
    /// Takes `<state_dir>/<instance>.lock` and writes our process id into it.
    pub fn take(state_dir: &Path, instance: &str) -> Result<Self, DataplaneError> {
        let path = state_dir.join(format!("{instance}.lock"));
        let failed = |action| {
            let path = &path;
            move |source| DataplaneError::file(path, action, source)
        };
        fs::create_dir_all(state_dir).map_err(failed("make the directory of this file"))?;
        let mut options = OpenOptions::new();
        let file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(failed("open"))?;
        let mut lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(mut file, error)| {
            if error != nix::Error::EWOULDBLOCK {
                return DataplaneError::file(&path, "lock", error.into());
            }
            let mut pid = String::new();
            // Only to tell the operator; the lock itself is what counts.
            let known = file.read_to_string(&mut pid).is_ok() && !pid.trim().is_empty();
            let pid = if known { pid.trim().to_owned() } else { "unknown".to_owned() };
            DataplaneError::Locked { pid, lock: path.clone() }
        })?;
        lock.set_len(0).map_err(failed("write"))?;
        lock.rewind().map_err(failed("write"))?;
        writeln!(lock, "{}", std::process::id()).map_err(failed("write"))?;
        Ok(InstanceLock(lock))
    }

    /// Locks the directory of the pins: two daemons with state directories of their own, or one whose
    /// state directory was removed, must not write the same maps either.
    pub fn take_pins(directory: &Path) -> Result<Self, DataplaneError> {
        let failed = |action| move |source| DataplaneError::file(directory, action, source);
        let file = File::open(directory).map_err(failed("open"))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(InstanceLock(lock)),
            Err((_, nix::Error::EWOULDBLOCK)) => {
                Err(DataplaneError::Locked { pid: "unknown".to_owned(), lock: directory.to_owned() })
            }
            Err((_, error)) => Err(failed("lock")(error.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_told_who_was_first() {
        let directory = tempfile::tempdir().expect("directory");
        let state = directory.path().join("made/if/missing");
        let first = InstanceLock::take(&state, "a").expect("free");
        let error = InstanceLock::take(&state, "a").expect_err("taken").to_string();
        assert!(error.contains(&format!("pid {}", std::process::id())), "{error}");
        InstanceLock::take(&state, "b").expect("another instance");
        drop(first);
        InstanceLock::take(&state, "a").expect("free again");
    }

    #[test]
    fn pins_are_locked_wherever_the_state_is() {
        let pins = tempfile::tempdir().expect("directory");
        let first = InstanceLock::take_pins(pins.path()).expect("free");
        let error = InstanceLock::take_pins(pins.path()).expect_err("taken");
        assert!(matches!(error, DataplaneError::Locked { .. }), "{error}");
        drop(first);
        InstanceLock::take_pins(pins.path()).expect("free again");
    }
}
