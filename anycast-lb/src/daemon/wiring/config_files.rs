//! The configuration files as a port.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::edit::{self, EditError, Prepared};
use crate::config::{self, Loaded, Notice, Overrides, Sources};
use crate::daemon::ports::{Change, ConfigPort};
use crate::daemon::{Code, Failure};
use crate::model::Config;

/// The files in force, and a change under way.
pub struct ConfigFiles {
    path: PathBuf,
    overrides: Overrides,
    sources: Sources,
    notices: Vec<Notice>,
    pending: Option<Pending>,
}

enum Pending {
    Edited(Box<Prepared>),
    Reread(Box<Loaded>),
}

impl ConfigFiles {
    /// The files that gave `loaded`.
    pub fn new(loaded: Loaded, path: &Path, overrides: Overrides) -> Self {
        ConfigFiles {
            path: path.to_owned(),
            overrides,
            sources: loaded.sources,
            notices: loaded.notices,
            pending: None,
        }
    }
}

impl ConfigPort for ConfigFiles {
    fn prepare(&mut self, change: &Change) -> Result<Arc<Config>, Failure> {
        match change {
            Change::Edits(edits) => {
                let prepared = edit::prepare(&self.sources, edits)?;
                let config = Arc::new(prepared.config().clone());
                self.pending = Some(Pending::Edited(Box::new(prepared)));
                Ok(config)
            }
            Change::Reload => {
                let loaded = config::load(&self.path, &self.overrides).map_err(|problems| {
                    let message = format!("the files have mistakes, nothing has changed:\n{problems}");
                    Failure::new(Code::InvalidConfig, message)
                        .hint("mend them, then: anycast-lb check && anycast-lb reload")
                })?;
                let config = Arc::new(loaded.config.clone());
                self.pending = Some(Pending::Reread(Box::new(loaded)));
                Ok(config)
            }
        }
    }

    fn commit(&mut self) -> Result<Vec<String>, Failure> {
        match self.pending.take() {
            None => Ok(Vec::new()),
            Some(Pending::Edited(prepared)) => {
                let files = prepared.changed_files().map(|p| p.display().to_string()).collect();
                let notices = prepared.notices().to_vec();
                self.sources = prepared.commit()?;
                self.notices = notices;
                Ok(files)
            }
            Some(Pending::Reread(loaded)) => {
                self.sources = loaded.sources;
                self.notices = loaded.notices;
                Ok(Vec::new())
            }
        }
    }

    fn discard(&mut self) {
        self.pending = None;
    }

    fn files(&self) -> Vec<String> {
        self.sources.paths().map(|p| p.display().to_string()).collect()
    }

    fn notices(&self) -> Vec<String> {
        self.notices.iter().map(ToString::to_string).collect()
    }
}

impl From<EditError> for Failure {
    fn from(error: EditError) -> Self {
        let code = match &error {
            EditError::WriteBackOff { .. } => Code::WriteBackOff,
            EditError::Exists { .. } => Code::Exists,
            EditError::NotFound { .. } => Code::NotFound,
            EditError::PoolInUse { .. } => Code::PoolInUse,
            EditError::Invalid(_) => Code::InvalidConfig,
            EditError::Changed { .. } => Code::FileChanged,
            _ => Code::Io,
        };
        Failure { code, message: error.to_string(), hint: Some(error.hint()).filter(|h| !h.is_empty()) }
    }
}
