//! The files of the log, and the one that is written.
//!
//! A file is called by the time of its first record, so names sort by time and a search opens only those it needs.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::stamp::{compact, parse_compact};

const PREFIX: &str = "flows-";
const SUFFIX: &str = ".jsonl";
/// So many files share the space, so what is removed at once is no more than this part of it.
const PARTS: u64 = 16;
/// Bytes of a file at least, so that little space is not scattered over many of them.
const SMALLEST: u64 = 64 * 1024;
/// Bytes of a file at most, so that a search that has to read one is done soon.
const LARGEST: u64 = 64 * 1024 * 1024;

/// A file of the log.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Named {
    /// The time of its name: that of its first record.
    pub first: SystemTime,
    pub path: PathBuf,
    pub bytes: u64,
}

/// The files in `directory`, oldest first; other files do not matter, and no directory is none.
pub(crate) fn list(directory: &Path) -> io::Result<Vec<Named>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry?;
        let Some(first) = entry.file_name().to_str().and_then(first_of) else { continue };
        // One that is removed meanwhile is none.
        let Ok(metadata) = entry.metadata() else { continue };
        if metadata.is_file() {
            files.push(Named { first, path: entry.path(), bytes: metadata.len() });
        }
    }
    files.sort();
    Ok(files)
}

fn first_of(name: &str) -> Option<SystemTime> {
    parse_compact(name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?)
}

/// Writes lines into files of bounded number and size.
#[derive(Debug)]
pub(crate) struct Files {
    directory: PathBuf,
    max_bytes: u64,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    file: File,
    named: Named,
    /// The last write failed somewhere in a line.
    torn: bool,
}

impl Files {
    /// Files in `directory` of `max_bytes` in all. Nothing is touched before something is written.
    pub fn new(directory: PathBuf, max_bytes: u64) -> Self {
        Files { directory, max_bytes, open: None }
    }

    /// Writes whole lines, the first of which is of the time `first`. The file of the last time is gone on with
    /// while there is room, by a daemon that starts as well.
    pub fn write(&mut self, first: SystemTime, lines: &[u8]) -> io::Result<()> {
        if self.open.as_ref().is_some_and(|open| !open.is_there()) {
            self.open = None;
        }
        let room = self.largest();
        if self.open.as_ref().is_some_and(|open| open.named.bytes >= room) {
            self.open = None;
        }
        if self.open.is_none() {
            self.open = Some(self.open_next(first, room)?);
            self.remove_oldest()?;
        }
        match &mut self.open {
            Some(open) => open.write(lines),
            None => Ok(()),
        }
    }

    fn largest(&self) -> u64 {
        (self.max_bytes / PARTS).clamp(SMALLEST, LARGEST)
    }

    fn open_next(&self, first: SystemTime, room: u64) -> io::Result<Open> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.directory)?;
        let mut first = first;
        if let Some(last) = list(&self.directory)?.pop() {
            if last.bytes < room
                && let Ok(open) = Open::append(last.clone())
            {
                return Ok(open);
            }
            // The clock was set back: names sort all the same.
            first = first.max(last.first + Duration::from_nanos(1));
        }
        let path = self.directory.join(format!("{PREFIX}{}{SUFFIX}", compact(first)));
        let file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(&path)?;
        Ok(Open { file, named: Named { first, path, bytes: 0 }, torn: false })
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
            fs::remove_file(&file.path)?;
            total -= file.bytes;
        }
        Ok(())
    }
}

impl Open {
    /// Goes on with a file, behind a line that was cut off if need be.
    fn append(named: Named) -> io::Result<Self> {
        let mut file = OpenOptions::new().read(true).append(true).open(&named.path)?;
        let mut last = [b'\n'];
        if named.bytes > 0 {
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
        }
        Ok(Open { file, named, torn: last != *b"\n" })
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
        if was_torn {
            self.file.write_all(b"\n")?;
        }
        self.file.write_all(lines)?;
        self.torn = false;
        self.named.bytes += lines.len() as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
