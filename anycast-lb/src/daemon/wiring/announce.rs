//! The outlets of announcements as a port.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anycast_lb_routing::announce::driver::{Method, OutletReport, Outlets};
use anycast_lb_routing::bgp::driver::Neighbour;
use anycast_lb_routing::bgp::session::Report;
use tokio::task::JoinHandle;

use crate::daemon::core::Announcements;
use crate::daemon::ports::AnnouncePort;
use crate::model::Announcing;

/// Sessions, BIRD and the command; made and used within a runtime.
pub struct Announce {
    outlets: Outlets,
    drain: DrainFile,
    goodbye: Goodbye,
}

/// What is said at the end, which outlasts the loop.
#[derive(Clone, Default)]
pub struct Goodbye(Arc<Mutex<Option<JoinHandle<()>>>>);

/// Whether the node is being drained, across restarts: a file in the state directory.
pub struct DrainFile(PathBuf);

impl Announce {
    /// Tells nobody yet.
    pub fn new(drain: DrainFile) -> (Self, Goodbye) {
        let goodbye = Goodbye::default();
        (Announce { outlets: Outlets::default(), drain, goodbye: goodbye.clone() }, goodbye)
    }
}

impl Goodbye {
    /// Waits until it is said; it takes a limited time.
    pub async fn said(self) {
        let task = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task {
            // One that has panicked says nothing more.
            let _ = task.await;
        }
    }
}

impl DrainFile {
    /// `<state_dir>/<instance>.drained`.
    pub fn new(state_dir: &Path, instance: &str) -> Self {
        DrainFile(state_dir.join(format!("{instance}.drained")))
    }

    /// Whether it is there.
    pub fn exists(&self) -> bool {
        self.0.exists()
    }

    fn put(&self, drained: bool) -> io::Result<()> {
        if drained {
            return fs::File::create(&self.0)?.sync_all();
        }
        match fs::remove_file(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

impl AnnouncePort for Announce {
    fn configure(&mut self, announcing: &Announcing) {
        self.outlets.configure(&announcing.settings);
    }

    fn announce(&mut self, announcements: &Announcements) {
        self.outlets.announce(announcements);
    }

    fn remember_drain(&mut self, drained: bool) {
        if let Err(error) = self.drain.put(drained) {
            let file = self.drain.0.display();
            tracing::error!(%file, %error, "the drain is in force, and a restart will not know of it");
        }
    }

    fn sessions(&self) -> Vec<(Neighbour, Report)> {
        self.outlets.sessions()
    }

    fn others(&self) -> Vec<(Method, OutletReport)> {
        self.outlets.others()
    }

    fn stop(&mut self, reason: &str) {
        let said = tokio::spawn(self.outlets.stop(reason));
        *self.goodbye.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(said);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drain_is_remembered_until_it_is_taken_back() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = DrainFile::new(directory.path(), "default");
        assert!(!file.exists());
        file.put(false).expect("nothing to do");
        file.put(true).expect("written");
        file.put(true).expect("written");
        assert!(DrainFile::new(directory.path(), "default").exists());
        assert!(!DrainFile::new(directory.path(), "other").exists());
        file.put(false).expect("removed");
        assert!(!file.exists());
    }
}
