//! The files: one for each snapshot, by its place in the sequence and its time, and one for each table, by its content.
//!
//! The sequence says what came after what, though the clock was set back in between.

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
/// Its modification time tells since when something is in force that could not be written; 1970: all is written.
/// It is there from the start, since a full disk would not take it.
const UNWRITTEN: &str = "unwritten";

/// Place in the sequence, and since when.
type Place = (u64, SystemTime);

/// Sequence and nanoseconds since 1970, in twenty digits each. An earlier release wrote the time alone: place 0.
fn snapshot_name((sequence, time): Place) -> String {
    let time = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    match sequence {
        0 => format!("{time:020}{SNAPSHOT}"),
        _ => format!("{sequence:020}-{time:020}{SNAPSHOT}"),
    }
}

fn snapshot_place(name: &str) -> Option<Place> {
    let number = |digits: &str| digits.parse::<u64>().ok().filter(|_| digits.len() == 20);
    let name = name.strip_suffix(SNAPSHOT)?;
    let (sequence, time) = name.split_once('-').map_or((Some(0), name), |(one, two)| (number(one), two));
    Some((sequence?, UNIX_EPOCH.checked_add(Duration::from_nanos(number(time)?))?))
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

/// A table's file.
struct Kept {
    bytes: u64,
    /// So often a snapshot names it.
    named: usize,
}

/// The files of one node, for who writes them.
pub(crate) struct Store {
    directory: PathBuf,
    limits: Limits,
    snapshots: BTreeMap<Place, Known>,
    tables: HashMap<TableId, Kept>,
    /// Of all files.
    bytes: u64,
    /// When an earlier daemon was last there, with all written.
    last_sign: Option<SystemTime>,
    /// The mark is set that something is not written.
    is_marked: bool,
}

impl Store {
    /// Makes the directory, or goes on with what is there. What was not finished is removed.
    pub fn open(directory: &Path, limits: Limits) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let mark = mark(directory);
        let mut store = Store {
            directory: directory.to_owned(),
            limits,
            snapshots: BTreeMap::new(),
            tables: HashMap::new(),
            bytes: 0,
            last_sign: sign(directory).into_iter().chain(mark).min(),
            is_marked: mark.is_some(),
        };
        if !store.is_marked {
            store.stamp(UNWRITTEN, UNIX_EPOCH)?;
        }
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            let bytes = entry.metadata().map(|metadata| metadata.len()).unwrap_or(0);
            if let Some(place) = snapshot_place(name) {
                // One that cannot be read says so when it is asked; it needs no table.
                let tables = read_head(&entry.path()).unwrap_or_default();
                store.snapshots.insert(place, Known { tables, bytes });
                store.bytes += bytes;
            } else if let Some(id) = table_id(name) {
                store.tables.insert(id, Kept { bytes, named: 0 });
                store.bytes += bytes;
            } else if name.ends_with(UNFINISHED) {
                fs::remove_file(entry.path())?;
            }
        }
        for id in store.snapshots.values().flat_map(|known| &known.tables) {
            if let Some(table) = store.tables.get_mut(id) {
                table.named += 1;
            }
        }
        Ok(store)
    }

    /// Keeps `snapshot`, its tables first, so that one that is there is whole. Since `unknown` something else was
    /// in force that is not kept.
    pub fn put(&mut self, snapshot: &Snapshot, unknown: Option<SystemTime>) -> io::Result<()> {
        let ids: Vec<TableId> = snapshot.tables().map(Table::id).collect();
        let last_sign = if snapshot.beginning.is_some() { self.last_sign } else { unknown };
        let bytes = Snapshot { last_sign, ..snapshot.clone() }.to_bytes();
        let new: HashMap<TableId, &[u8]> = snapshot
            .tables()
            .zip(&ids)
            .filter(|(_, id)| !self.tables.contains_key(*id))
            .map(|(table, id)| (*id, bytemuck::cast_slice(&table.slots)))
            .collect();
        let more = bytes.len() + new.values().map(|bytes| bytes.len()).sum::<usize>();
        self.make_room(snapshot.time, &ids, more as u64, 1);
        for (id, bytes) in new {
            self.write(&table_name(id), bytes)?;
            self.tables.insert(id, Kept { bytes: bytes.len() as u64, named: 0 });
            self.bytes += bytes.len() as u64;
        }
        let sequence = self.snapshots.last_key_value().map_or(0, |((last, _), _)| *last).saturating_add(1);
        let place = (sequence, snapshot.time);
        self.write(&snapshot_name(place), &bytes)?;
        for id in &ids {
            if let Some(table) = self.tables.get_mut(id) {
                table.named += 1;
            }
        }
        self.bytes += bytes.len() as u64;
        self.snapshots.insert(place, Known { tables: ids, bytes: bytes.len() as u64 });
        // What was in force until now may go, too.
        self.make_room(snapshot.time, &[], 0, 0);
        if let Err(error) = self.all_is_written() {
            tracing::debug!(%error, "it cannot be said that all is written: the next sign does");
        }
        Ok(())
    }

    /// Since `since` something is in force that could not be written.
    pub fn unwritten(&mut self, since: SystemTime) -> io::Result<()> {
        self.is_marked = true;
        self.stamp(UNWRITTEN, since)
    }

    /// A daemon is there, and all is written.
    pub fn alive(&mut self, now: SystemTime) -> io::Result<()> {
        self.all_is_written()?;
        self.stamp(ALIVE, now)
    }

    fn all_is_written(&mut self) -> io::Result<()> {
        if self.is_marked {
            self.stamp(UNWRITTEN, UNIX_EPOCH)?;
            self.is_marked = false;
        }
        Ok(())
    }

    /// Gives an empty file this time.
    fn stamp(&self, name: &str, time: SystemTime) -> io::Result<()> {
        let path = self.directory.join(name);
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
        file.set_modified(time)
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

    /// Removes what is too old, or too much beside `more` bytes and `number` snapshots that are to come, the oldest
    /// first. What is in force stays, and the tables `wanted`. What cannot be removed keeps nothing from being
    /// written: the next time is another attempt.
    fn make_room(&mut self, now: SystemTime, wanted: &[TableId], more: u64, number: usize) {
        if let Err(error) = self.forget(now, wanted, more, number) {
            tracing::warn!(directory = %self.directory.display(), %error, "old tables cannot be removed");
        }
    }

    fn forget(&mut self, now: SystemTime, wanted: &[TableId], more: u64, number: usize) -> io::Result<()> {
        let wanted: HashSet<TableId> = wanted.iter().copied().collect();
        // Left over by a snapshot that could not be written.
        let unnamed = self.tables.iter().filter(|(id, table)| table.named == 0 && !wanted.contains(*id));
        for id in unnamed.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.remove_table(id)?;
        }
        let oldest_wanted = now.checked_sub(self.limits.age).unwrap_or(UNIX_EPOCH);
        // Each was in force until the next one was, or one that came still later, to which the clock was set back.
        let mut until = now;
        let mut old = Vec::with_capacity(self.snapshots.len());
        for place in self.snapshots.keys().rev() {
            old.push((*place, until));
            until = until.min(place.1);
        }
        // The last one is in force.
        for (place, until) in old.into_iter().skip(1).rev() {
            let is_too_much =
                self.snapshots.len() + number > self.limits.number || self.bytes + more > self.limits.bytes;
            if until >= oldest_wanted && !is_too_much {
                break;
            }
            remove(&self.directory.join(snapshot_name(place)))?;
            let Some(known) = self.snapshots.remove(&place) else { continue };
            self.bytes -= known.bytes;
            for id in known.tables {
                let Some(table) = self.tables.get_mut(&id) else { continue };
                table.named -= 1;
                if table.named == 0 && !wanted.contains(&id) {
                    self.remove_table(id)?;
                }
            }
        }
        Ok(())
    }

    fn remove_table(&mut self, id: TableId) -> io::Result<()> {
        remove(&self.directory.join(table_name(id)))?;
        self.bytes -= self.tables.remove(&id).map_or(0, |table| table.bytes);
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

/// Since when something is not written.
fn mark(directory: &Path) -> Option<SystemTime> {
    let modified = fs::metadata(directory.join(UNWRITTEN)).and_then(|metadata| metadata.modified());
    modified.ok().filter(|time| *time > UNIX_EPOCH)
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
    /// It is not known whether it was still in force at the moment that is asked for.
    pub gap: Option<Gap>,
}

/// A time without a daemon, or with one that could not write what it put in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// When the last one was there, with all written.
    pub since: SystemTime,
    /// When the next one began; none: there is none, or the same one went on.
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
    let mut places: Vec<Place> = Vec::new();
    for name in names {
        places.extend(name?.file_name().to_str().and_then(snapshot_place));
    }
    places.sort_unstable();
    // The last that had begun: where the clock was set back there may be several.
    let Some(here) = places.iter().rposition(|(_, since)| *since <= time) else {
        return Err(NotKept::Before(places.iter().map(|(_, since)| *since).min()));
    };
    let (place, later) = (places[here], &places[here + 1..]);
    let until = later.iter().map(|(_, since)| *since).min();
    let snapshot = read(directory, place)?;
    // A daemon that begins puts its tables in force anew.
    let following = later.first().and_then(|next| read(directory, *next).ok());
    let gap = match following {
        Some(Snapshot { beginning: Some(beginning), last_sign, .. }) => {
            let since = last_sign.unwrap_or(place.1).max(place.1);
            let lost = beginning == Beginning::Fresh;
            (time > since).then_some(Gap { since, until, lost })
        }
        Some(Snapshot { last_sign: Some(unknown), .. }) => unkept(unknown.max(place.1), time),
        Some(_) => None,
        None if until.is_some() => None,
        None => mark(directory).and_then(|unknown| unkept(unknown.max(place.1), time)).or_else(|| {
            let silent = sign(directory).filter(|alive| time > *alive + SILENCE);
            silent.map(|since| Gap { since, until: None, lost: false })
        }),
    };
    Ok(Then { snapshot, until, gap })
}

/// A daemon was there that could not write what it put in force since then.
fn unkept(since: SystemTime, time: SystemTime) -> Option<Gap> {
    (time >= since).then_some(Gap { since, until: None, lost: false })
}

/// A daemon gives a sign more often than this.
const SILENCE: Duration = Duration::from_secs(30);

fn read(directory: &Path, place: Place) -> Result<Snapshot, NotKept> {
    let name = snapshot_name(place);
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
