//! Membership history across restarts: a file in the state directory.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::membership::history::{self, History};

/// A longer file is none of ours.
const LONGEST: u64 = 64 << 20;

/// The file. History is a help and no duty: whatever is wrong with it is said, and the daemon goes on.
pub struct HistoryFile {
    path: PathBuf,
    /// Whether the last attempt to write failed, and has been reported.
    failing: bool,
}

impl HistoryFile {
    /// `<state_dir>/<instance>.history.json`.
    pub fn new(state_dir: &Path, instance: &str) -> Self {
        HistoryFile { path: state_dir.join(format!("{instance}.history.json")), failing: false }
    }

    /// What an earlier daemon remembered; nothing where there is no such file, or none that can be used.
    pub fn load(&self) -> History {
        let file = self.path.display();
        match self.read() {
            Ok(Some(text)) => history::read(&text).unwrap_or_else(|error| {
                tracing::warn!(%file, %error, "membership history is not used, it begins anew");
                History::default()
            }),
            Ok(None) => History::default(),
            Err(error) => {
                tracing::warn!(%file, %error, "membership history cannot be read, it begins anew");
                History::default()
            }
        }
    }

    fn read(&self) -> io::Result<Option<String>> {
        let found = match fs::metadata(&self.path) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        if !found.is_file() || found.len() > LONGEST {
            return Err(io::Error::other("it is no file that this daemon wrote"));
        }
        let mut text = String::new();
        File::open(&self.path)?.take(LONGEST).read_to_string(&mut text)?;
        Ok(Some(text))
    }

    /// Replaces the file, so that at every moment the old or the new one is there. Nobody else may read
    /// it: it names all backends of the fleet.
    pub fn save(&mut self, history: &History) {
        match self.replace(&history::write(history)) {
            Ok(()) => self.failing = false,
            Err(error) if !self.failing => {
                self.failing = true;
                let file = self.path.display();
                tracing::warn!(%file, %error, "membership history is not written, a restart will not know it");
            }
            Err(_) => {}
        }
    }

    fn replace(&self, text: &str) -> io::Result<()> {
        let directory = self.path.parent().unwrap_or(Path::new("/"));
        // Made with mode 0600.
        let mut file: NamedTempFile = tempfile::Builder::new().prefix(".history-").tempfile_in(directory)?;
        file.write_all(text.as_bytes())?;
        file.as_file().sync_all()?;
        file.persist(&self.path).map_err(|e| e.error)?;
        File::open(directory)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::time::SystemTime;

    use super::*;
    use crate::daemon::testing::config;
    use crate::membership::InForce;

    fn history() -> History {
        let mut history = History::default();
        assert!(
            history.note(SystemTime::UNIX_EPOCH, &InForce::from(config())),
            "it has a pool with backends"
        );
        history
    }

    #[test]
    fn a_restart_goes_on_with_it_and_nobody_else_reads_it() {
        let directory = tempfile::tempdir().expect("directory");
        let mut file = HistoryFile::new(directory.path(), "a");
        assert_eq!(file.load(), History::default());
        file.save(&history());
        file.save(&history());
        assert_eq!(HistoryFile::new(directory.path(), "a").load(), history());
        assert_eq!(HistoryFile::new(directory.path(), "b").load(), History::default(), "another instance");
        let mode = fs::metadata(&file.path).expect("written").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(directory.path()).expect("directory").count(), 1, "nothing is left over");
    }

    #[test]
    fn what_cannot_be_used_is_ignored_and_replaced() {
        let directory = tempfile::tempdir().expect("directory");
        let mut file = HistoryFile::new(directory.path(), "a");
        for wrong in [&b""[..], b"{", b"\xff\xfe", b"{\"version\":2,\"placement\":1}", b"[]"] {
            fs::write(&file.path, wrong).expect("writable");
            assert_eq!(file.load(), History::default(), "{wrong:?}");
        }
        file.save(&history());
        assert_eq!(file.load(), history());
        // A directory in its place, and no directory to write to.
        fs::remove_file(&file.path).expect("it is there");
        fs::create_dir(&file.path).expect("writable");
        assert_eq!(file.load(), History::default());
        file.save(&history());
        assert!(file.failing);
    }
}
