//! Changes to the configuration, written into the file that holds the entry the way a careful
//! person would: nothing else in the file moves.
//!
//! A change is first made in memory and the result understood as a whole ([`prepare`]), so that
//! what would break a rule is never written; [`Prepared::commit`] then replaces the files, unless
//! one of them was edited since it was read. New entries go behind the last one of their kind;
//! an entry is removed with the comment directly above it.

mod apply;
mod entries;
mod error;
mod layout;
mod splice;
#[cfg(test)]
mod tests;
mod write;

use std::net::IpAddr;
use std::path::Path;

pub use error::EditError;

use super::source::{SourceFile, Sources};
use super::suggest::nearest;
use super::validate::Surroundings;
use super::{Notice, understand};
use crate::model::{BackendState, Config, Encapsulation, FlowHash, Identity, Role, TableKind, VipKey};

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Edit {
    /// A new VIP that leads to a pool. On a backend the pool may be empty.
    AddVip {
        /// Which.
        key: VipKey,
        /// Name of the pool.
        pool: String,
        /// What decides about a packet's backend; none = the language's default.
        hash: Option<FlowHash>,
        /// Whether its packets are QUIC, and connection IDs name the backend.
        quic: bool,
        /// Whether the MSS of clients' SYNs is lowered to what fits the tunnel.
        mss_clamp: bool,
        /// What it says of who serves it; none = the language's default.
        identity: Option<Identity>,
    },
    /// A VIP goes.
    RemoveVip {
        /// Which.
        key: VipKey,
    },
    /// A new pool without backends; what is none has its default.
    AddPool {
        /// Name.
        name: String,
        /// How packets get to the backends.
        encapsulation: Option<Encapsulation>,
        /// Table algorithm.
        table: Option<TableKind>,
        /// Slots, a power of two.
        slots: Option<u32>,
    },
    /// A pool goes, with its backends. No VIP may lead to it.
    RemovePool {
        /// Name.
        name: String,
    },
    /// A new backend of a pool.
    AddBackend {
        /// Name of the pool.
        pool: String,
        /// Address.
        address: IpAddr,
        /// Weight; none = the default.
        weight: Option<u32>,
        /// Its site; none = that of each node which has the pool.
        pop: Option<String>,
        /// ID of its QUIC server, hexadecimal digits; none = the language's default.
        server_id: Option<String>,
    },
    /// A backend goes.
    RemoveBackend {
        /// Name of the pool; none = all pools that have it.
        pool: Option<String>,
        /// Address.
        address: IpAddr,
    },
    /// A backend's state changes: drain, undrain.
    SetState {
        /// Name of the pool; none = all pools that have it.
        pool: Option<String>,
        /// Address.
        address: IpAddr,
        /// New state.
        state: BackendState,
    },
    /// A PoP's new flows go elsewhere, or come back.
    SetPop {
        /// Name.
        pop: String,
        /// Whether it is drained.
        drained: bool,
    },
    /// A backend's weight changes.
    SetWeight {
        /// Name of the pool; none = all pools that have it.
        pool: Option<String>,
        /// Address.
        address: IpAddr,
        /// New weight, 1 to 65535.
        weight: u32,
    },
}

/// Changed texts, understood and found valid, not yet written.
#[derive(Debug)]
pub struct Prepared {
    before: Sources,
    files: Vec<SourceFile>,
    config: Config,
    notices: Vec<Notice>,
}

/// Makes changes in memory, all or none, one after the other.
///
/// # Errors
///
/// An entry is there or missing, a pool is in use, the result would break a rule, or
/// `write_back = false`.
pub fn prepare(sources: &Sources, edits: &[Edit]) -> Result<Prepared, EditError> {
    let surroundings = Surroundings {
        overrides: sources.overrides.clone(),
        host: sources.host.clone(),
        seed: sources.seed.clone(),
        seed_previous: sources.seed_previous.clone(),
        certificates_read: true,
    };
    let now = &sources.config;
    if !now.control.write_back {
        return Err(EditError::WriteBackOff { file: sources.path().to_owned() });
    }
    let mut files = sources.files.clone();
    for edit in edits {
        if let Edit::SetPop { pop, .. } = edit {
            refuse_unknown_pop(now, pop)?;
        }
        apply::apply(&mut files, edit, now.role == Role::Ingress)?;
    }
    let result = understand(&files, &surroundings, false).map_err(EditError::Invalid)?;
    Ok(Prepared { before: sources.clone(), files, config: result.config, notices: result.notices })
}

/// A name that nothing has is a slip of the pen.
fn refuse_unknown_pop(config: &Config, pop: &str) -> Result<(), EditError> {
    let known = config.pops();
    if known.contains(pop) {
        return Ok(());
    }
    let hint = match nearest(pop, known.iter().copied()) {
        Some(near) => format!("did you mean {near}?"),
        None => format!("there are: {}", known.into_iter().collect::<Vec<_>>().join(", ")),
    };
    Err(EditError::NotFound { what: format!("PoP {pop:?}"), hint })
}

impl Prepared {
    /// The configuration with the changes.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What is worth knowing about it.
    pub fn notices(&self) -> &[Notice] {
        &self.notices
    }

    /// The files that change.
    pub fn changed_files(&self) -> impl Iterator<Item = &Path> {
        self.changes().map(|(before, _)| before.path.as_path())
    }

    fn changes(&self) -> impl Iterator<Item = (&SourceFile, &SourceFile)> {
        self.before.files.iter().zip(&self.files).filter(|(before, after)| before.text != after.text)
    }

    /// Writes the files: each is replaced in one step and keeps its owner, its mode and the
    /// symbolic link that leads to it.
    ///
    /// # Errors
    ///
    /// A file was edited since it was read, or cannot be written. None is changed then.
    pub fn commit(self) -> Result<Sources, EditError> {
        let changes: Vec<_> = self.changes().collect();
        if !changes.is_empty() {
            write::replace(&self.before, &changes)?;
        }
        Ok(Sources { files: self.files, config: Box::new(self.config), ..self.before })
    }
}
