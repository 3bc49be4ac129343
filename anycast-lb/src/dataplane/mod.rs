//! The data plane as the daemon drives it: loads the programs, pins, attaches, writes tables, reads
//! counters, and asks the program about single packets.
//!
//! Everything lives on in the kernel when the daemon ends, however it ends: maps, program and links
//! are pinned for each instance, and the next daemon goes on from what it finds there.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use anycast_lb_common::abi::{
    Counter, FlowKeys, Member, MemberNumber, TableRef, VERDICTS, Verdict, VipNumber,
};
use anycast_lb_kept::Snapshot;
use aya::{Ebpf, EbpfLoader};
use aya_obj::Object;

use crate::membership::history::History;
use crate::membership::{InForce, Key};
use crate::model::{Config, Interface, Role, VipKey};
use crate::neighbour::{NextHop, Resolution};
use crate::observe::book::{Book, Books, NamedVip};
use crate::plan::{self, Memo, Plan, PlannedMember};
use crate::table::{self, Candidate, Table, TableSpec};

mod apply;
mod attach;
mod counters;
mod detach;
mod error;
mod explain;
mod kernel_types;
mod lock;
mod memory;
mod mmap;
mod netlink;
mod object;
mod observe;
mod occupancy;
mod pin;
mod probe;
mod program_log;
mod programs;
mod relay;
mod snapshot;
mod socket_fields;
mod sys;
mod tables;
mod trace;

pub use attach::{Attachment, Mode};
pub use counters::Counters;
pub use error::DataplaneError;
pub use explain::{Explained, FRAME_BYTES};
pub use memory::MapMemory;
pub use observe::Rings;
pub use occupancy::Occupancy;
pub use snapshot::KnownTables;
pub use sys::monotonic;
pub use trace::{Flow, Outer, Trace, Way, then};

use attach::Attached;
use counters::COUNTERS;
use lock::InstanceLock;
use object::{DECIDING, OBJECT};
use observe::Observation;
use pin::Layout;
use programs::{BACKEND, PROBE, RELAY, classifier_fd, load_classifier, load_program, program_fd};
use socket_fields::SocketFields;
use tables::Tables;
use trace::Tracer;

/// Whether there was something to go on from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Nothing was pinned: the tables are empty.
    Fresh,
    /// The tables are those of the last daemon, and still in force where its links are.
    Adopted,
}

/// What the numbers in the maps mean.
#[derive(Debug, Default)]
struct Names {
    vips: Vec<(u16, VipKey, u16)>,
    pools: HashMap<u16, String>,
    members: Vec<PlannedMember>,
}

/// The data plane of one instance.
///
/// Dropping it changes nothing in the kernel: what is attached stays attached.
pub struct Dataplane {
    ebpf: Ebpf,
    program: &'static str,
    layout: Layout,
    tables: Tables,
    counters: Counters,
    tracer: Option<Tracer>,
    observation: Observation,
    /// Who is told what numbers stand for.
    books: Option<Books>,
    attached: Vec<Attached>,
    /// On a backend: what sends hops on. The descriptors keep nothing alive that the pins do not.
    relays: Vec<relay::Relay>,
    /// On an ingress node: what sends health checks through the tunnel.
    probes: Vec<probe::Probe>,
    names: Names,
    occupancy: Vec<Occupancy>,
    memo: Memo,
    /// What determined owners before.
    history: History,
    /// Since it was last asked for.
    history_changed: bool,
    /// A backend's own: by these it limits hops, and a stranger must not know who shares a limit.
    private_keys: FlowKeys,
    /// Ways to backends as far as they were reported.
    ways: HashMap<IpAddr, NextHop>,
    locals: Vec<IpAddr>,
    /// What is in force.
    in_force: Option<InForce>,
    /// Held until the end: the instance, and its pins.
    _locks: [InstanceLock; 2],
}

impl fmt::Debug for Dataplane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dataplane")
            .field("program", &self.program)
            .field("layout", &self.layout)
            .finish_non_exhaustive()
    }
}

impl Dataplane {
    /// Loads the program for the role of `config` on the pinned maps, or on new ones. Attaches
    /// nothing and changes no table.
    ///
    /// # Errors
    ///
    /// Another daemon runs this instance; no privilege; no bpffs; a kernel without what is needed, or
    /// whose verifier refuses the program; pinned maps of another build.
    pub fn open(config: &Config) -> Result<(Self, Start), DataplaneError> {
        let lock = InstanceLock::take(&config.state_dir, &config.instance)?;
        if !sys::can_wait_for_packets() {
            return Err(DataplaneError::Kernel {
                feature: "membarrier(MEMBARRIER_CMD_GLOBAL)",
                hint: "it takes CONFIG_MEMBARRIER, and a boot without nohz_full=",
            });
        }
        pin::ensure_bpffs(&config.bpffs)?;
        let layout = Layout::new(&config.bpffs, &config.instance);
        layout.create()?;
        let locks = [lock, InstanceLock::take_pins(layout.instance())?];
        let object = Object::parse(OBJECT).map_err(|e| DataplaneError::Object(e.to_string()))?;
        let start = if pin::verify_maps(&layout, &object)? == 0 { Start::Fresh } else { Start::Adopted };

        let opened = Self::load(config.role, layout.clone(), start, locks);
        if opened.is_err() && start == Start::Fresh {
            detach::discard(&layout)?;
        }
        Ok((opened?, start))
    }

    fn load(
        role: Role,
        layout: Layout,
        start: Start,
        locks: [InstanceLock; 2],
    ) -> Result<Self, DataplaneError> {
        let mut loader = EbpfLoader::new();
        for name in DECIDING.into_iter().chain([COUNTERS]) {
            loader.map_pin_path(name, layout.map(name));
        }
        Counters::put(&mut loader)?;
        let fields = SocketFields::of_kernel();
        if role == Role::Backend {
            fields.warn();
        }
        fields.put(&mut loader);
        let mut ebpf = loader.load(OBJECT).map_err(DataplaneError::load)?;
        let program = match role {
            Role::Ingress => "ingress",
            Role::Backend => BACKEND,
        };
        load_program(&mut ebpf, program)?;
        load_classifier(
            &mut ebpf,
            match role {
                Role::Ingress => PROBE,
                Role::Backend => RELAY,
            },
        )?;
        program_log::forward(&mut ebpf);
        let tables = Tables::open(&ebpf)?;
        let counters = Counters::open(&ebpf)?;
        let observation = Observation::open(&ebpf)?;
        if start == Start::Adopted {
            // The last daemon may have ended between a change and its wait.
            sys::wait_for_packets().map_err(|e| DataplaneError::call("membarrier", e))?;
        }
        Ok(Dataplane {
            ebpf,
            program,
            layout,
            tables,
            counters,
            tracer: None,
            observation,
            books: None,
            attached: Vec::new(),
            relays: Vec::new(),
            probes: Vec::new(),
            names: Names::default(),
            occupancy: Vec::new(),
            memo: Memo::default(),
            history: History::default(),
            history_changed: false,
            private_keys: private_keys()?,
            ways: HashMap::new(),
            locals: Vec::new(),
            in_force: None,
            _locks: locks,
        })
    }

    /// Makes the program run on exactly `interfaces`. On those where an earlier daemon's program
    /// runs it is replaced without a gap. May be called again at any time, also to attach anew after an
    /// interface came back.
    ///
    /// # Errors
    ///
    /// An interface is missing, has a foreign XDP program, or refuses ours; then nothing is attached
    /// that was not attached before.
    pub fn attach(&mut self, interfaces: &[Interface]) -> Result<(), DataplaneError> {
        let program = program_fd(&self.ebpf, self.running())?;
        // An ingress node needs none, but may have been a backend before.
        let relayed = if self.program == BACKEND { interfaces } else { &[] };
        // Before the program that leaves hops to it.
        let relays = match relayed {
            [] => Vec::new(),
            _ => relay::attach(&self.layout, classifier_fd(&self.ebpf, RELAY)?, relayed)?,
        };
        match attach::attach(&self.layout, program, interfaces) {
            Ok(attached) => (self.attached, self.relays) = (attached, relays),
            Err(error) => {
                relay::undo(&relays);
                return Err(error);
            }
        }
        relay::drop_others(&self.layout, relayed)?;
        if self.program != BACKEND {
            let before = std::mem::take(&mut self.probes);
            self.probes = probe::attach(classifier_fd(&self.ebpf, PROBE)?, before);
        }
        self.layout.pin_program(program)
    }

    /// Where the program runs. An interface that was deleted since is reported as detached.
    pub fn attachments(&self) -> Vec<Attachment> {
        self.attached.iter().map(Attached::state).collect()
    }

    /// Puts `config` in force, all of it or, if it is refused, nothing.
    ///
    /// # Errors
    ///
    /// The configuration does not fit into the maps ([`DataplaneError::Plan`]).
    pub fn apply(&mut self, config: &Config) -> Result<(), DataplaneError> {
        self.apply_in_force(InForce::from(config.clone()))
    }

    /// As [`apply`](Self::apply), where membership says more than the configuration.
    ///
    /// # Errors
    ///
    /// As `apply`.
    pub fn apply_in_force(&mut self, in_force: InForce) -> Result<(), DataplaneError> {
        let now = SystemTime::now();
        let forgotten = self.history.forget(now);
        self.put_in_force(&in_force)?;
        self.history_changed |= self.history.note(now, &in_force) | forgotten;
        self.in_force = Some(in_force);
        Ok(())
    }

    /// Goes on with what an earlier daemon remembered. To be called before the first
    /// [`apply`](Self::apply).
    pub fn remember(&mut self, history: History) {
        self.history = history;
    }

    /// What determined owners of late, if it is news since this was last asked.
    pub fn new_history(&mut self) -> Option<&History> {
        std::mem::take(&mut self.history_changed).then_some(&self.history)
    }

    /// The table of a pool, its lists at least as deep as `spec` says: what was made for the maps is not
    /// made a second time.
    pub fn table(&self, pool: &str, spec: &TableSpec, candidates: &[Candidate]) -> Arc<Table> {
        let known = self.memo.known(pool, spec, candidates);
        known.unwrap_or_else(|| Arc::new(table::build(spec, candidates)))
    }

    /// Follows the way to a backend, in all pools that have it.
    ///
    /// May be called ahead of the [`apply`](Self::apply) that brings the backend: then its first packet
    /// finds the way, where it would else be dropped as `no_neighbour`.
    pub fn set_next_hop(&mut self, backend: IpAddr, resolution: &Resolution) -> Result<(), DataplaneError> {
        let way = match resolution {
            Resolution::Resolved(way) => {
                self.ways.insert(backend, way.clone());
                Some(way)
            }
            // What is pinned, or was known before, stays in force meanwhile.
            Resolution::Pending(_) => return Ok(()),
            Resolution::Unresolved(_) => {
                self.ways.remove(&backend);
                None
            }
        };
        for member in self.names.members.iter().filter(|m| m.address == backend) {
            apply::store_member(&self.tables, member.number.into(), &member.entry(way));
        }
        Ok(())
    }

    /// Tells the addresses of this host, on which a backend takes tunnelled packets.
    ///
    /// # Errors
    ///
    /// There are more than fit into the maps.
    pub fn set_locals(&mut self, locals: &[IpAddr]) -> Result<(), DataplaneError> {
        if self.locals == locals {
            return Ok(());
        }
        let before = std::mem::replace(&mut self.locals, locals.to_vec());
        let Some(in_force) = self.in_force.take() else { return Ok(()) };
        let result = self.put_in_force(&in_force);
        self.in_force = Some(in_force);
        if result.is_err() {
            self.locals = before;
        }
        result
    }

    /// The number of the tables in force: how often tables were put in force since the maps were made. The
    /// programs report it with each packet.
    pub fn table_version(&self) -> u32 {
        self.tables.version()
    }

    /// What the numbers in the maps stand for.
    fn book(&self) -> Book {
        let pools: HashMap<u16, Arc<str>> =
            self.names.pools.iter().map(|(number, name)| (*number, name.as_str().into())).collect();
        let name = |number| pools.get(&number).cloned().unwrap_or_else(|| "".into());
        let vips = self.names.vips.iter().map(|(number, key, pool)| {
            let table = TableRef::from_word(self.tables.pools.load((*pool).into()).table);
            (*number, NamedVip { key: *key, pool: name(*pool), table })
        });
        let members = self.names.members.iter().map(|m| (m.number, (name(m.pool_number), m.address)));
        let config = self.in_force.as_ref().map(|in_force| &in_force.config);
        Book {
            version: self.table_version(),
            node: config.map(|c| c.node.clone()).unwrap_or_default(),
            pop: config.map(|c| c.pop.clone()).unwrap_or_default(),
            vips: vips.collect(),
            members: members.collect(),
        }
    }

    /// Has `books` told what numbers stand for, now and whenever that changes; or nobody.
    pub fn name_in(&mut self, books: Option<Books>) {
        if let Some(books) = &books {
            books.add(self.book());
        }
        self.books = books;
    }

    /// The number of a VIP.
    pub fn vip_number(&self, vip: &VipKey) -> Option<VipNumber> {
        self.names.vips.iter().find(|(_, key, _)| key == vip).map(|(number, ..)| *number)
    }

    /// Packets and bytes by verdict.
    pub fn verdicts(&self) -> Vec<(Verdict, Counter)> {
        VERDICTS.iter().map(|v| (*v, self.counters.verdict(*v))).collect()
    }

    /// Packets and bytes by VIP, in the order of the configuration.
    pub fn vip_counters(&self) -> Vec<(VipKey, Counter)> {
        let vips = self.names.vips.iter();
        vips.map(|(number, key, _)| (*key, self.counters.vips.sum((*number).into()))).collect()
    }

    /// Packets and bytes by pool and backend, in the order of the configuration.
    pub fn backend_counters(&self) -> Vec<(String, IpAddr, Counter)> {
        let members = self.names.members.iter();
        members.map(|m| (m.pool.clone(), m.address, self.counters.members.sum(m.number.into()))).collect()
    }

    /// How full the maps are; nothing before the first [`apply`](Self::apply).
    pub fn occupancy(&self) -> &[Occupancy] {
        &self.occupancy
    }

    /// The numbers by which the maps know the backends of pools.
    pub fn member_numbers(&self) -> BTreeMap<Key, MemberNumber> {
        self.names.members.iter().map(|m| ((m.pool.clone(), m.address), m.number)).collect()
    }

    /// Whether packets of marked sockets are sent through the tunnel, on every interface there was when the
    /// program was attached.
    pub fn can_probe(&self) -> bool {
        !self.probes.is_empty()
    }

    /// What would become of the first packet of `flow`. Touches no live counter.
    pub fn trace(&mut self, flow: &Flow) -> Result<Trace, DataplaneError> {
        let mut tracer = match self.tracer.take() {
            Some(tracer) => tracer,
            None => Tracer::load(&self.layout, self.program)?,
        };
        let answer = tracer.ask(&self.tables, flow)?;
        self.tracer = Some(tracer);
        let vip = self.names.vips.iter().find(|(number, ..)| *number == answer.vip && answer.vip != 0);
        let member = self.names.members.iter().find(|m| m.number == answer.member);
        Ok(Trace {
            verdict: answer.verdict,
            vip: vip.map(|(_, key, _)| *key),
            pool: vip.and_then(|(_, _, pool)| self.names.pools.get(pool).cloned()),
            slot: answer.slot,
            backend: member.map(|m| m.address),
            encapsulation: member.map(|m| m.encap),
            next_hop: answer.way,
            outer: answer.outer,
        })
    }

    /// All that decides about packets on an ingress node, to be kept. `known` has the tables of pools that were
    /// read before, and is brought up to date.
    pub fn snapshot(&self, known: &mut KnownTables) -> Snapshot {
        snapshot::of(&self.tables, &self.names, known)
    }

    /// The members that a backend is, as the maps have them.
    pub fn members_at(&self, backend: IpAddr) -> Vec<(MemberNumber, Member)> {
        let members = self.names.members.iter().filter(|m| m.address == backend);
        members.map(|m| (m.number, self.tables.members.load(m.number.into()))).collect()
    }

    /// Takes `instance` off its interfaces and removes all that is pinned for it; works while a daemon
    /// runs and without one. Gives a line for each thing that was removed, none if there was nothing.
    pub fn detach(bpffs: &Path, instance: &str) -> Result<Vec<String>, DataplaneError> {
        detach::detach(bpffs, instance)
    }

    /// Removes the pins of a [`Start::Fresh`] that came to nothing, so that the next one is fresh too.
    ///
    /// # Errors
    ///
    /// A pin cannot be removed.
    pub fn discard(bpffs: &Path, instance: &str) -> Result<(), DataplaneError> {
        detach::discard(&Layout::new(bpffs, instance))
    }

    fn put_in_force(&mut self, in_force: &InForce) -> Result<(), DataplaneError> {
        let previous = self.tables.previous();
        let current = |at| self.tables.table(at);
        let mut plan = plan::plan(
            in_force,
            (&self.history, SystemTime::now()),
            &self.locals,
            &previous,
            &current,
            &mut self.memo,
        )?;
        if in_force.config.role == Role::Backend {
            plan.keys = self.private_keys;
        }
        // Before any packet is told by it.
        if let Some(books) = &self.books {
            books.add(book_of(&in_force.config, &plan, self.table_version().wrapping_add(1)));
        }
        let written = apply::write(&self.tables, &self.counters, &plan, &previous, &self.ways);
        let stays: HashSet<IpAddr> = plan.members.iter().map(|m| m.address).collect();
        // A way that was reported ahead of its backend is kept, one of a backend that goes is not.
        for member in self.names.members.iter().filter(|m| !stays.contains(&m.address)) {
            self.ways.remove(&member.address);
        }
        self.occupancy = occupancy::of(&plan);
        self.names = Names {
            vips: plan.vips.iter().map(|v| (v.number, v.key, v.entry.pool)).collect(),
            pools: plan.pools.iter().map(|p| (p.number, p.name.clone())).collect(),
            members: plan.members,
        };
        written
    }
}

/// What the numbers of `plan` stand for, which is about to be in force as `version`.
fn book_of(config: &Config, plan: &Plan, version: u32) -> Book {
    let pools: HashMap<u16, (Arc<str>, TableRef)> =
        plan.pools.iter().map(|p| (p.number, (p.name.as_str().into(), p.table.location()))).collect();
    let vips = plan.vips.iter().filter_map(|vip| {
        let (pool, table) = pools.get(&vip.entry.pool)?.clone();
        Some((vip.number, NamedVip { key: vip.key, pool, table }))
    });
    let members = plan.members.iter().filter_map(|m| {
        let (pool, _) = pools.get(&m.pool_number)?;
        Some((m.number, (pool.clone(), m.address)))
    });
    let (node, pop) = (config.node.clone(), config.pop.clone());
    Book { version, node, pop, vips: vips.collect(), members: members.collect() }
}

/// Keys that nobody else knows.
fn private_keys() -> Result<FlowKeys, DataplaneError> {
    let mut seed = [0; 16];
    getrandom::fill(&mut seed).map_err(|e| DataplaneError::call("getrandom", io::Error::other(e)))?;
    Ok(FlowKeys::from_seed(seed))
}
