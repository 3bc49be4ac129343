//! Why a change is refused.

use std::io;
use std::path::PathBuf;

use crate::config::Problems;
use crate::model::VipKey;

/// Why a change is refused; nothing has been written then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EditError {
    /// `write_back = false`: somebody else owns the files.
    #[error("changes by command are switched off: write_back = false in {}", .file.display())]
    WriteBackOff {
        /// The main file.
        file: PathBuf,
    },
    /// What is to be added is there.
    #[error("{what} exists already")]
    Exists {
        /// The entry.
        what: String,
        /// What to do instead.
        hint: String,
    },
    /// What is to be changed is not there.
    #[error("there is no {what}")]
    NotFound {
        /// The entry.
        what: String,
        /// What is there, or how it is added.
        hint: String,
    },
    /// A pool is to be removed that VIPs lead to.
    #[error("pool {pool:?} is in use by {}", list(.vips))]
    PoolInUse {
        /// The pool.
        pool: String,
        /// The VIPs.
        vips: Vec<VipKey>,
    },
    /// The changed text would break a rule.
    #[error("with this change the configuration would be wrong: {}", mistakes(.0))]
    Invalid(Problems),
    /// A file was edited since it was read.
    #[error("{} was changed since it was read", .file.display())]
    Changed {
        /// The file.
        file: PathBuf,
    },
    /// A file cannot be read or replaced.
    #[error("cannot {action} {}: {source}", .file.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        file: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl EditError {
    /// A stable word for programs.
    pub fn code(&self) -> &'static str {
        match self {
            EditError::WriteBackOff { .. } => "write_back_off",
            EditError::Exists { .. } => "exists",
            EditError::NotFound { .. } => "not_found",
            EditError::PoolInUse { .. } => "pool_in_use",
            EditError::Invalid(_) => "invalid",
            EditError::Changed { .. } => "file_changed",
            EditError::Io { .. } => "io",
        }
    }

    /// What to do instead.
    pub fn hint(&self) -> String {
        match self {
            EditError::WriteBackOff { file } => {
                format!("change {} where it is made, then: anycast-lb reload", file.display())
            }
            EditError::Exists { hint, .. } | EditError::NotFound { hint, .. } => hint.clone(),
            EditError::PoolInUse { vips, .. } => match vips.first() {
                Some(vip) => format!("remove them first: anycast-lb vip remove {vip}"),
                None => "remove its VIPs first".to_owned(),
            },
            EditError::Invalid(problems) => problems.0.first().map_or_else(String::new, |p| p.hint.clone()),
            EditError::Changed { .. } => {
                "take the edited files in first: anycast-lb reload (--dry-run shows what would change)"
                    .to_owned()
            }
            EditError::Io { source, .. } => match source.kind() {
                io::ErrorKind::NotFound => {
                    "put the file back; until then the daemon keeps to what it read last"
                }
                io::ErrorKind::StorageFull => "make room on its file system, then repeat the command",
                _ => "make the file and its directory writable for the daemon",
            }
            .to_owned(),
        }
    }
}

/// Without the places: they are in a text that was never written.
fn mistakes(problems: &Problems) -> String {
    let all: Vec<String> = problems.0.iter().map(|p| format!("{}: {}", p.key, p.message)).collect();
    all.join("; ")
}

fn list(vips: &[VipKey]) -> String {
    vips.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
