//! The files of the log, and the one that is written.
//!
//! A file is called by the time of its first record, so names sort by time and a search opens only those it needs.
//! Where the clock was set back another round of names begins, so what was written last is known all the same.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::record::Record;
use crate::stamp::{compact, parse_compact};

const PREFIX: &str = "flows-";
const SUFFIX: &str = ".jsonl";
/// So many files share the space, so what is removed at once is no more than this part of it.
const PARTS: u64 = 16;
/// Bytes of a file at least, so that little space is not scattered over many of them.
const SMALLEST: u64 = 64 * 1024;
/// Bytes of a file at most, so that a search that has to read one is done soon.
const LARGEST: u64 = 64 * 1024 * 1024;
/// A clock that goes back by more than this was set: CPUs take turns, so records are a little out of order anyway.
pub(crate) const SET_BACK: Duration = Duration::from_secs(5);
/// So many bytes of a file's end tell when it ends.
const TAIL: u64 = 64 * 1024;

/// A file of the log.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Named {
    /// So often the clock had been set back.
    pub round: u32,
    /// The time of its name: that of its first record.
    pub first: SystemTime,
    pub path: PathBuf,
    pub bytes: u64,
}

/// The files in `directory`, in the order in which they were written; other files do not matter, and no directory is none.
pub(crate) fn list(directory: &Path) -> io::Result<Vec<Named>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry?;
        let Some((round, first)) = entry.file_name().to_str().and_then(parse_name) else { continue };
        // One that is removed meanwhile is none.
        let Ok(metadata) = entry.metadata() else { continue };
        if metadata.is_file() {
            files.push(Named { round, first, path: entry.path(), bytes: metadata.len() });
        }
    }
    files.sort();
    Ok(files)
}

fn name(round: u32, first: SystemTime) -> String {
    let time = compact(first);
    if round == 0 { format!("{PREFIX}{time}{SUFFIX}") } else { format!("{PREFIX}{round}-{time}{SUFFIX}") }
}

fn parse_name(name: &str) -> Option<(u32, SystemTime)> {
    let name = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
    match name.split_once('-') {
        None => Some((0, parse_compact(name)?)),
        Some((round, time)) => {
            let round = round.parse().ok().filter(|known: &u32| *known > 0 && known.to_string() == round)?;
            Some((round, parse_compact(time)?))
        }
    }
}

/// The time of a file's newest record; none: it cannot be told.
pub(crate) fn last_time(path: &Path) -> io::Result<Option<SystemTime>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
    let mut tail = Vec::new();
    file.take(TAIL).read_to_end(&mut tail)?;
    let lines = tail.split(|byte| *byte == b'\n').filter_map(|line| std::str::from_utf8(line).ok());
    Ok(lines.filter_map(Record::from_line).map(|record| record.time).max())
}

/// Writes lines into files of bounded number and size.
#[derive(Debug)]
pub(crate) struct Files {
    directory: PathBuf,
    max_bytes: u64,
    open: Option<Open>,
    /// There may be more than `max_bytes`.
    is_trim_due: bool,
    /// Removes a file.
    remove: fn(&Path) -> io::Result<()>,
}

#[derive(Debug)]
struct Open {
    file: File,
    named: Named,
    /// The newest time that was written.
    newest: SystemTime,
    /// The last write failed somewhere in a line.
    torn: bool,
}

impl Files {
    /// Files in `directory` of `max_bytes` in all. Nothing is touched before something is written.
    pub fn new(directory: PathBuf, max_bytes: u64) -> Self {
        let remove = |path: &Path| fs::remove_file(path);
        Files { directory, max_bytes, open: None, is_trim_due: false, remove }
    }

    /// Writes whole lines, the first of which is of the time `first`. The file of the last time is gone on with
    /// while there is room, by a daemon that starts as well.
    pub fn write(&mut self, first: SystemTime, lines: &[u8]) -> io::Result<()> {
        if self.open.as_ref().is_some_and(|open| !open.is_there()) {
            self.open = None;
        }
        let room = self.largest();
        let is_done = |open: &Open| open.named.bytes >= room || first + SET_BACK < open.newest;
        if self.open.as_ref().is_some_and(is_done) {
            self.open = None;
        }
        if self.open.is_none() {
            self.open = Some(self.open_next(first, room)?);
            self.is_trim_due = true;
        }
        if self.is_trim_due {
            self.remove_oldest()?;
            self.is_trim_due = false;
        }
        match &mut self.open {
            Some(open) => {
                open.newest = open.newest.max(first);
                open.write(lines)
            }
            None => Ok(()),
        }
    }

    fn largest(&self) -> u64 {
        (self.max_bytes / PARTS).clamp(SMALLEST, LARGEST)
    }

    fn open_next(&self, first: SystemTime, room: u64) -> io::Result<Open> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.directory)?;
        let (mut round, mut first) = (0, first);
        if let Some(last) = list(&self.directory)?.pop() {
            let newest = last_time(&last.path).ok().flatten().unwrap_or(last.first).max(last.first);
            round = last.round;
            if first + SET_BACK < newest {
                round = round.saturating_add(1);
            } else if last.bytes < room
                && let Ok(open) = Open::append(last.clone(), newest)
            {
                return Ok(open);
            } else {
                // Names sort although records are a little out of order.
                first = first.max(last.first + Duration::from_nanos(1));
            }
        }
        let path = self.directory.join(name(round, first));
        let file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(&path)?;
        Ok(Open { file, named: Named { round, first, path, bytes: 0 }, newest: first, torn: false })
    }

    /// So that all files and what is still to come into the open one stay within bounds.
    fn remove_oldest(&self) -> io::Result<()> {
        let files = list(&self.directory)?;
        let Some((last, others)) = files.split_last() else { return Ok(()) };
        let mut total = others.iter().map(|file| file.bytes).sum::<u64>() + self.largest().max(last.bytes);
        for file in others {
            if total <= self.max_bytes {
                break;
            }
            match (self.remove)(&file.path) {
                // Somebody was faster.
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
            total -= file.bytes;
        }
        Ok(())
    }
}

impl Open {
    /// Goes on with a file, behind a line that was cut off if need be.
    fn append(named: Named, newest: SystemTime) -> io::Result<Self> {
        let mut file = OpenOptions::new().read(true).append(true).open(&named.path)?;
        let mut last = [b'\n'];
        if named.bytes > 0 {
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
        }
        Ok(Open { file, named, newest, torn: last != *b"\n" })
    }

    /// Whether its name still leads to it: somebody may have moved it away (logrotate), or removed it.
    fn is_there(&self) -> bool {
        match (fs::metadata(&self.named.path), self.file.metadata()) {
            (Ok(named), Ok(open)) => (named.dev(), named.ino()) == (open.dev(), open.ino()),
            _ => false,
        }
    }

    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        let was_torn = std::mem::replace(&mut self.torn, true);
        let end_of_torn: &[u8] = if was_torn { b"\n" } else { b"" };
        let written = self.file.write_all(end_of_torn).and_then(|()| self.file.write_all(lines));
        match written {
            Ok(()) => {
                self.torn = false;
                self.named.bytes += (end_of_torn.len() + lines.len()) as u64;
            }
            // A part of it may be there.
            Err(_) => {
                let length = self.file.metadata().map(|metadata| metadata.len());
                self.named.bytes = length.unwrap_or(self.named.bytes);
            }
        }
        written
    }
}

#[cfg(test)]
mod tests;
