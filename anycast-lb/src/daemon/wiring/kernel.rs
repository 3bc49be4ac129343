//! The data plane as a port.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::time::SystemTime;

use anycast_lb_common::abi::{Counter, MemberNumber, Observed, Observer, Verdict, VipNumber};

use anycast_lb_kept::{Beginning, Keeper};

use super::history_file::HistoryFile;
use super::{PRIVILEGE, owners};
use crate::daemon::ports::{DataplanePort, Owners};
use crate::daemon::{Code, Failure};
use crate::dataplane::{
    Attachment, Dataplane, DataplaneError, Explained, Flow, KnownTables, Occupancy, Trace,
};
use crate::membership::{InForce, Key};
use crate::model::{Interface, VipKey};
use crate::neighbour::Resolution;
use crate::observe::book::Books;

/// The maps and programs, and what was put into them.
pub struct Kernel {
    dataplane: Dataplane,
    history: HistoryFile,
    owners: owners::Known,
    books: Books,
    kept: Option<Kept>,
}

/// Who keeps the tables that were in force.
pub struct Kept {
    keeper: Keeper,
    known: KnownTables,
    /// Until the first tables of this daemon are in force.
    beginning: Option<Beginning>,
}

impl Kept {
    /// By this keeper, for a daemon that begins so.
    pub fn new(keeper: Keeper, beginning: Beginning) -> Self {
        Kept { keeper, known: KnownTables::default(), beginning: Some(beginning) }
    }
}

impl Kernel {
    /// Around an opened data plane, whose history is kept in a file, whose names in `books`, and whose tables by
    /// `kept`.
    pub fn new(dataplane: Dataplane, history: HistoryFile, books: Books, kept: Option<Kept>) -> Self {
        Kernel { dataplane, history, owners: owners::Known::default(), books, kept }
    }
}

impl DataplanePort for Kernel {
    fn attach(&mut self, interfaces: &[Interface]) -> Result<(), Failure> {
        Ok(self.dataplane.attach(interfaces)?)
    }

    fn observe(&mut self, observer: &Observer) -> Result<(), Failure> {
        let is_read = observer.flow_log != 0 || observer.filters != 0;
        if is_read {
            self.dataplane.name_in(Some(self.books.clone()));
        }
        self.dataplane.observe(observer)?;
        if !is_read {
            self.dataplane.name_in(None);
        }
        Ok(())
    }

    fn observed(&self) -> Result<Observed, Failure> {
        Ok(self.dataplane.observed()?)
    }

    fn attachments(&self) -> Vec<Attachment> {
        self.dataplane.attachments()
    }

    fn apply(&mut self, in_force: &InForce) -> Result<(), Failure> {
        if let Err(error) = self.dataplane.apply_in_force(in_force.clone()) {
            // It may be in force or not: what comes next is read anew.
            if let Some(kept) = &mut self.kept {
                kept.known = KnownTables::default();
            }
            return Err(error.into());
        }
        if let Some(kept) = &mut self.kept {
            let mut snapshot = self.dataplane.snapshot(&mut kept.known);
            snapshot.beginning = kept.beginning.take();
            kept.keeper.in_force(snapshot);
        }
        if let Some(history) = self.dataplane.new_history() {
            self.history.save(history);
        }
        let dataplane = &self.dataplane;
        let table = |pool: &str, spec: &_, candidates: &_| dataplane.table(pool, spec, candidates);
        self.owners.update(&in_force.config, table);
        Ok(())
    }

    fn set_next_hop(&mut self, backend: IpAddr, resolution: &Resolution) -> Result<(), Failure> {
        self.dataplane.set_next_hop(backend, resolution)?;
        if let Some(kept) = &self.kept {
            kept.keeper.members(SystemTime::now(), self.dataplane.members_at(backend));
        }
        Ok(())
    }

    fn set_locals(&mut self, locals: &[IpAddr]) -> Result<(), Failure> {
        Ok(self.dataplane.set_locals(locals)?)
    }

    fn member_numbers(&self) -> BTreeMap<Key, MemberNumber> {
        self.dataplane.member_numbers()
    }

    fn can_probe(&self) -> bool {
        self.dataplane.can_probe()
    }

    fn vip_number(&self, vip: &VipKey) -> Option<VipNumber> {
        self.dataplane.vip_number(vip)
    }

    fn verdicts(&self) -> Result<Vec<(Verdict, Counter)>, Failure> {
        Ok(self.dataplane.verdicts())
    }

    fn vip_counters(&self) -> Result<Vec<(VipKey, Counter)>, Failure> {
        Ok(self.dataplane.vip_counters())
    }

    fn backend_counters(&self) -> Result<Vec<(String, IpAddr, Counter)>, Failure> {
        Ok(self.dataplane.backend_counters())
    }

    fn occupancy(&self) -> Vec<Occupancy> {
        self.dataplane.occupancy().to_vec()
    }

    fn owners(&self, pool: &str) -> Result<Owners, Failure> {
        let unknown = || Failure::new(Code::NotFound, format!("no table of pool \"{pool}\""));
        self.owners.of(pool).cloned().ok_or_else(unknown)
    }

    fn trace(&mut self, flow: &Flow) -> Result<Trace, Failure> {
        Ok(self.dataplane.trace(flow)?)
    }

    fn explain(&mut self, frames: &[Vec<u8>], continues: bool) -> Result<Vec<Explained>, Failure> {
        Ok(self.dataplane.explain(frames, continues)?)
    }
}

impl From<DataplaneError> for Failure {
    fn from(error: DataplaneError) -> Self {
        let denied = matches!(&error, DataplaneError::Bpffs { source, .. } if source.kind() == ErrorKind::PermissionDenied);
        let failure = Failure::new(Code::Dataplane, error.to_string());
        if denied { failure.hint(PRIVILEGE) } else { failure }
    }
}
