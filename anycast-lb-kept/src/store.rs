//! The files: one for each snapshot, by its time, and one for each table, by its content.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::bytes::In;
use crate::snapshot::{Beginning, Damaged, Snapshot, Table, TableId, table_ids};

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of all files.
    pub bytes: u64,
    /// What was in force longer ago than this is forgotten.
    pub age: Duration,
    /// Snapshots.
    pub number: usize,
}

impl Default for Limits {
    /// A week, in 256 MiB: a pool of 16,384 slots takes 128 KiB for each change that moves its slots.
    fn default() -> Self {
        Limits { bytes: 256 << 20, age: Duration::from_secs(7 * 86_400), number: 10_000 }
    }
}

/// Larger files are none of ours.
const LONGEST: u64 = 256 << 20;
/// Bytes in which the names of a snapshot's tables lie, all of a node's pools.
const HEAD: u64 = 64 << 10;
/// Its modification time tells until when a daemon was there.
const ALIVE: &str = "alive";
const SNAPSHOT: &str = ".snapshot";
const TABLE: &str = ".table";
const UNFINISHED: &str = ".new";

/// Nanoseconds since 1970, in twenty digits, so that names sort by time.
fn snapshot_name(time: SystemTime) -> String {
    format!("{:020}{SNAPSHOT}", time.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos())
}

fn snapshot_time(name: &str) -> Option<SystemTime> {
    let digits = name.strip_suffix(SNAPSHOT).filter(|digits| digits.len() == 20)?;
    UNIX_EPOCH.checked_add(Duration::from_nanos(digits.parse().ok()?))
}

fn table_name(id: TableId) -> String {
    format!("{:016x}{:016x}{TABLE}", id[0], id[1])
}

fn table_id(name: &str) -> Option<TableId> {
    let digits = name.strip_suffix(TABLE).filter(|digits| digits.len() == 32 && digits.is_ascii())?;
    let word = |digits| u64::from_str_radix(digits, 16).ok();
    Some([word(&digits[..16])?, word(&digits[16..])?])
}

struct Known {
    tables: Vec<TableId>,
    bytes: u64,
}

/// The files of one node, for who writes them.
pub(crate) struct Store {
    directory: PathBuf,
    limits: Limits,
    snapshots: BTreeMap<SystemTime, Known>,
    /// With their bytes.
    tables: HashMap<TableId, u64>,
    /// When an earlier daemon was last there.
    last_sign: Option<SystemTime>,
}

impl Store {
    /// Makes the directory, or goes on with what is there. What was not finished is removed.
    pub fn open(directory: &Path, limits: Limits) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let mut store = Store {
            directory: directory.to_owned(),
            limits,
            snapshots: BTreeMap::new(),
            tables: HashMap::new(),
            last_sign: sign(directory),
        };
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            let bytes = entry.metadata().map(|metadata| metadata.len()).unwrap_or(0);
            if let Some(time) = snapshot_time(name) {
                // One that cannot be read says so when it is asked; it needs no table.
                let tables = read_head(&entry.path()).unwrap_or_default();
                store.snapshots.insert(time, Known { tables, bytes });
            } else if let Some(id) = table_id(name) {
                store.tables.insert(id, bytes);
            } else if name.ends_with(UNFINISHED) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(store)
    }

    /// Keeps `snapshot`, its tables first, so that one that is there is whole.
    pub fn put(&mut self, snapshot: &Snapshot) -> io::Result<()> {
        let ids: Vec<TableId> = snapshot.tables().map(Table::id).collect();
        for (table, id) in snapshot.tables().zip(&ids) {
            if !self.tables.contains_key(id) {
                let bytes: &[u8] = bytemuck::cast_slice(&table.slots);
                self.write(&table_name(*id), bytes)?;
                self.tables.insert(*id, bytes.len() as u64);
            }
        }
        let last_sign = self.last_sign.filter(|_| snapshot.beginning.is_some());
        let bytes = Snapshot { last_sign, ..snapshot.clone() }.to_bytes();
        self.write(&snapshot_name(snapshot.time), &bytes)?;
        self.snapshots.insert(snapshot.time, Known { tables: ids, bytes: bytes.len() as u64 });
        self.forget(snapshot.time)
    }

    /// A daemon is there.
    pub fn alive(&self, now: SystemTime) -> io::Result<()> {
        let path = self.directory.join(ALIVE);
        OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?.set_modified(now)
    }

    /// Replaces a file, so that the old or the new one is there.
    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let unfinished = self.directory.join(format!("{name}{UNFINISHED}"));
        let written = (|| {
            let mut file =
                OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
            file.write_all(bytes)?;
            file.sync_data()?;
            fs::rename(&unfinished, self.directory.join(name))
        })();
        if written.is_err() {
            // What is left over is removed by the next daemon if this fails too.
            let _ = fs::remove_file(&unfinished);
        }
        written
    }

    /// Removes what is too old or too much, the oldest first. What is in force stays.
    fn forget(&mut self, now: SystemTime) -> io::Result<()> {
        let oldest_wanted = now.checked_sub(self.limits.age).unwrap_or(UNIX_EPOCH);
        while self.snapshots.len() > 1 {
            // It was in force until the next one was.
            let until = self.snapshots.keys().nth(1).copied().unwrap_or(now);
            let is_too_old = until < oldest_wanted;
            let is_too_much = self.snapshots.len() > self.limits.number || self.bytes() > self.limits.bytes;
            if !is_too_old && !is_too_much {
                break;
            }
            let Some((time, _)) = self.snapshots.pop_first() else { break };
            remove(&self.directory.join(snapshot_name(time)))?;
            self.drop_tables()?;
        }
        self.drop_tables()
    }

    fn bytes(&self) -> u64 {
        self.snapshots.values().map(|known| known.bytes).chain(self.tables.values().copied()).sum()
    }

    /// Removes tables that no snapshot names.
    fn drop_tables(&mut self) -> io::Result<()> {
        let named: HashSet<TableId> =
            self.snapshots.values().flat_map(|known| known.tables.clone()).collect();
        let unnamed: Vec<TableId> = self.tables.keys().filter(|id| !named.contains(*id)).copied().collect();
        for id in unnamed {
            remove(&self.directory.join(table_name(id)))?;
            self.tables.remove(&id);
        }
        Ok(())
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// When a daemon was last there.
fn sign(directory: &Path) -> Option<SystemTime> {
    fs::metadata(directory.join(ALIVE)).and_then(|metadata| metadata.modified()).ok()
}

fn read_head(path: &Path) -> Option<Vec<TableId>> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(HEAD).read_to_end(&mut bytes).ok()?;
    table_ids(&mut In(&bytes)).ok()
}

/// The tables of a moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Then {
    /// What was in force.
    pub snapshot: Snapshot,
    /// When it was replaced; none: it has not been.
    pub until: Option<SystemTime>,
    /// No daemon was there at the moment that is asked for.
    pub gap: Option<Gap>,
}

/// A time without a daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// When the last one was there.
    pub since: SystemTime,
    /// When the next one began; none: there is none.
    pub until: Option<SystemTime>,
    /// The next one found nothing in force: for a part of this time, perhaps all of it, nothing was.
    pub lost: bool,
}

/// Why nothing can be said of a moment.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotKept {
    /// Nothing was kept then, or it is forgotten.
    #[error("no tables are kept of that time{}", .0.map_or(", nor of any other", |_| ""))]
    Before(Option<SystemTime>),
    /// A file cannot be used.
    #[error("{file}: {error}")]
    Damaged {
        /// Which.
        file: String,
        /// Why.
        error: Damaged,
    },
    /// The files cannot be read.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// The tables that were in force at `time`, from the files in `directory`.
///
/// # Errors
/// None are kept of that time, or they cannot be read.
pub fn at(directory: &Path, time: SystemTime) -> Result<Then, NotKept> {
    let names = match fs::read_dir(directory) {
        Ok(names) => names,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(NotKept::Before(None)),
        Err(e) => return Err(e.into()),
    };
    let mut times: Vec<SystemTime> = Vec::new();
    for name in names {
        times.extend(name?.file_name().to_str().and_then(snapshot_time));
    }
    times.sort_unstable();
    let after = times.partition_point(|kept| *kept <= time);
    let Some(here) = after.checked_sub(1).map(|i| times[i]) else {
        return Err(NotKept::Before(times.first().copied()));
    };
    let next = times.get(after).copied();
    let snapshot = read(directory, here)?;
    // A daemon that begins puts its tables in force anew.
    let following = next.and_then(|next| read(directory, next).ok());
    let alive = sign(directory);
    let gap = match following {
        Some(Snapshot { beginning: Some(beginning), last_sign, time: until, .. }) => {
            let since = last_sign.unwrap_or(here).max(here);
            let lost = beginning == Beginning::Fresh;
            (time > since).then_some(Gap { since, until: Some(until), lost })
        }
        Some(_) => None,
        None => alive.filter(|alive| next.is_none() && time > *alive + SILENCE).map(|since| Gap {
            since,
            until: None,
            lost: false,
        }),
    };
    Ok(Then { snapshot, until: next, gap })
}

/// A daemon gives a sign more often than this.
const SILENCE: Duration = Duration::from_secs(30);

fn read(directory: &Path, time: SystemTime) -> Result<Snapshot, NotKept> {
    let name = snapshot_name(time);
    let bytes = read_file(&directory.join(&name))?;
    let table = |id| {
        let bytes = read_file(&directory.join(table_name(id))).ok()?;
        let words = bytes.chunks_exact(size_of::<u64>());
        words.remainder().is_empty().then(|| words.map(bytemuck::pod_read_unaligned).collect::<Arc<[u64]>>())
    };
    Snapshot::from_bytes(&bytes, table).map_err(|error| NotKept::Damaged { file: name, error })
}

fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(LONGEST).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
