//! The configuration files: read, understood as a whole, changed in place.
//!
//! ```text
//! source   the main file and what `include` finds, as text
//! schema   the language key by key: types, defaults, unknown keys     (reader: the cursor it uses)
//! validate what several values say together; gives `model::Config`
//! edit     changes the text of the file that holds an entry
//! ```
//!
//! Every mistake is reported, not only the first: readers note a [`Problem`] and go on.
//!
//! # One file for all nodes
//!
//! The same file may stand on every node. What concerns the other role is checked for its shape
//! and then left alone: an ingress node ignores `allowed_senders` and `hop_limits`; a backend ignores pools,
//! `source` and the seed, and does not ask whether the pool of a VIP exists. `node` defaults to
//! the host's name, `pop` to `default`; the command line ([`Overrides`]) wins over both. An
//! instance with a name of its own listens on `/run/anycast-lb/<instance>/control.sock`.
//!
//! Relative paths of `include`, of the seed files and of certificates start at the main file's directory. An
//! included file holds entries only (`[[pool]]`, `[[vip]]`, `[[prefix]]`, `[[peer]]`, `[[rtr]]`,
//! `[[interface]]`), and includes nothing itself.

pub mod certificates;
pub mod edit;
mod glob;
mod problem;
mod reader;
mod report;
mod scalar;
mod schema;
pub mod secret;
mod source;
mod suggest;
#[cfg(test)]
pub mod testing;
#[cfg(test)]
mod tests;
mod validate;

use std::fs;
use std::path::Path;

use toml_edit::Document;

pub use problem::{Notice, Problem, Problems};
pub use scalar::parse_duration;
pub use source::Sources;

use crate::model::Config;
use report::{Report, Spot};
use source::SourceFile;
use validate::Surroundings;

/// What the command line says instead of the first lines of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `--node`.
    pub node: Option<String>,
    /// `--pop`.
    pub pop: Option<String>,
}

/// `[log] format`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people on a terminal, JSON otherwise.
    #[default]
    Auto,
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

/// A configuration that obeys every rule, and where it came from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What it says.
    pub config: Config,
    /// The files, for [`edit`].
    pub sources: Sources,
    /// What is no mistake but worth knowing: settings without effect in this release, tables
    /// that are small for their pool.
    pub notices: Vec<Notice>,
    /// How the daemon writes its log.
    pub log: LogFormat,
}

/// Reads and validates the configuration.
///
/// # Errors
///
/// Every mistake of every file.
pub fn load(path: &Path, overrides: &Overrides) -> Result<Loaded, Problems> {
    let read = source::read(path)?;
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let surroundings = Surroundings {
        overrides: overrides.clone(),
        host: host.trim().to_owned(),
        seed: None,
        seed_previous: None,
        certificates_read: false,
    };
    let understood = understand(&read.files, &surroundings, !read.problems.is_empty());
    let mut problems = read.problems;
    match understood {
        Ok(mut understood) if problems.is_empty() => {
            let mut notices = read.notices;
            notices.append(&mut understood.notices);
            let Surroundings { overrides, host, .. } = surroundings;
            let seed = understood.config.seed.clone();
            let seed_previous = understood.config.seed_previous.clone();
            let config = Box::new(understood.config.clone());
            let sources = Sources { files: read.files, overrides, host, seed, seed_previous, config };
            Ok(Loaded { config: understood.config, sources, notices, log: understood.log })
        }
        Ok(_) => Err(Problems(problems)),
        Err(Problems(more)) => {
            problems.extend(more);
            Err(Problems(problems))
        }
    }
}

/// What the texts of the files say.
struct Understood {
    config: Config,
    notices: Vec<Notice>,
    log: LogFormat,
}

/// Understands texts. `incomplete`: some file could not be read, so what the others refer to may
/// be in there.
fn understand(
    files: &[SourceFile],
    surroundings: &Surroundings,
    incomplete: bool,
) -> Result<Understood, Problems> {
    let report = Report::new(files);
    if incomplete {
        report.set_incomplete();
    }
    let mut draft = schema::Draft::default();
    let mut main_understood = true;
    for (index, file) in files.iter().enumerate() {
        match Document::parse(file.text.as_str()) {
            Ok(document) => schema::read(document.as_table(), index, &report, &mut draft),
            Err(e) => {
                let offset = e.span().map_or(0, |s| s.start);
                let message = format!("TOML syntax: {}", e.message().trim().replace('\n', ", "));
                report.problem(
                    Spot { file: index, offset },
                    "",
                    message,
                    "see https://toml.io for the notation",
                );
                report.set_incomplete();
                if index == source::MAIN {
                    main_understood = false;
                    break;
                }
            }
        }
    }
    let log = draft.log;
    let config = if main_understood { validate::validate(draft, files, surroundings, &report) } else { None };
    let notices = report.finish()?;
    match config {
        Some(config) => Ok(Understood { config, notices, log }),
        // Cannot happen while readers report what they refuse; said plainly rather than trusted.
        None => Err(Problems(vec![Problem {
            file: files[source::MAIN].path.clone(),
            line: 0,
            column: 0,
            key: "role".to_owned(),
            message: "cannot be understood".to_owned(),
            hint: "write role = \"ingress\" or role = \"backend\"".to_owned(),
        }])),
    }
}
