//! Finds records in files of the log, the newest first, within bounds of time and number.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashSet};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use crate::files::{self, Named};
use crate::filter::{Filter, FlowKey};
use crate::record::Record;

/// Bytes of a line at most; what is longer is none of ours.
const LONGEST_LINE: u64 = 64 * 1024;
/// By so much a record may be out of order in its file, or come into one after the time in the name of the next:
/// CPUs take turns, and records wait in a buffer.
const DISORDER: Duration = Duration::from_secs(10);
/// Between looks at the clock.
const LINES_A_LOOK: u32 = 4096;

/// How much a search may cost.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Most records, the newest.
    pub records: usize,
    /// When to stop with what has been found.
    pub deadline: Instant,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The newest that are asked for, in the order of their times.
    pub records: Vec<Record>,
    /// Older ones were left out: all from this time on are there. Those before, and others of this very time,
    /// are found by asking until then.
    pub older: Option<SystemTime>,
    /// Lines that cannot be read, and might have been among those that are asked for: a crash cuts lines short.
    pub unread: u64,
}

/// Searches the log in `directory`.
///
/// # Errors
/// A file cannot be read.
pub fn search_directory(directory: &Path, filter: &Filter, bounds: Bounds) -> io::Result<Found> {
    let named = files::list(directory)?;
    let mut search = Search::new(filter, bounds);
    // What comes after where the clock was set back says nothing of the end; the file does. The last may grow.
    let end = |i: usize, file: &Named| {
        let next: &Named = named.get(i + 1)?;
        let last = if next.round == file.round {
            Some(next.first)
        } else {
            files::last_time(&file.path).ok().flatten()
        };
        last.map(|last| last + DISORDER)
    };
    let ends: Vec<Option<SystemTime>> = named.iter().enumerate().map(|(i, file)| end(i, file)).collect();
    // What was written last first.
    for (i, file) in named.iter().enumerate().rev() {
        let end = ends[i];
        let starts_late = filter.until.is_some_and(|until| file.first > until + DISORDER);
        let ends_early = filter.since.is_some_and(|since| end.is_some_and(|end| end < since));
        if starts_late || ends_early || search.is_beyond(end) {
            continue;
        }
        match File::open(&file.path) {
            Ok(open) => {
                if !search.read(open)? {
                    // None of the files that are left ends later.
                    let end = ends[..=i].iter().copied().reduce(|one, two| Some(one?.max(two?))).flatten();
                    search.all_since = Some(end.or(filter.until).unwrap_or_else(SystemTime::now));
                    break;
                }
            }
            // The oldest are removed when room is needed.
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
    }
    Ok(search.found())
}

/// Searches files of the log, wherever they were copied from, in any order.
///
/// # Errors
/// The file that cannot be read, and why.
pub fn search_files(
    paths: &[PathBuf],
    filter: &Filter,
    bounds: Bounds,
) -> Result<Found, (PathBuf, io::Error)> {
    let mut search = Search::new(filter, bounds);
    for path in paths {
        let read = File::open(path).and_then(|open| search.read(open));
        if !read.map_err(|e| (path.clone(), e))? {
            // Nothing is known of the files that are left.
            search.all_since = Some(SystemTime::now());
            break;
        }
    }
    Ok(search.found())
}

/// By its time.
struct Timed(Record);

impl PartialEq for Timed {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Timed {}

impl PartialOrd for Timed {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Timed {
    /// The oldest is the greatest: the first to leave a heap.
    fn cmp(&self, other: &Self) -> Ordering {
        other.0.time.cmp(&self.0.time)
    }
}

struct Search<'a> {
    filter: &'a Filter,
    words: Vec<String>,
    /// Those of the filter: there may be a thousand.
    flows: HashSet<FlowKey>,
    bounds: Bounds,
    newest: BinaryHeap<Timed>,
    /// Records were left out that are not newer than this.
    left_out: Option<SystemTime>,
    /// Time was up: what is older may be missing.
    all_since: Option<SystemTime>,
    unread: u64,
}

impl<'a> Search<'a> {
    fn new(filter: &'a Filter, bounds: Bounds) -> Self {
        let (words, flows) = (filter.words(), filter.flows.iter().copied().collect());
        Search {
            filter,
            words,
            flows,
            bounds,
            newest: BinaryHeap::new(),
            left_out: None,
            all_since: None,
            unread: 0,
        }
    }

    /// Whether nothing of a file that ends at `end` can be among the newest any more. It counts as left out then,
    /// though nobody has looked.
    fn is_beyond(&mut self, end: Option<SystemTime>) -> bool {
        let Some(end) = end else { return false };
        let full = self.newest.len() >= self.bounds.records;
        let beyond = full && self.newest.peek().is_some_and(|oldest| end < oldest.0.time);
        if beyond {
            self.left_out = self.left_out.max(Some(end));
        }
        beyond
    }

    /// Reads a file; false if time was up before its end.
    fn read(&mut self, file: impl Read) -> io::Result<bool> {
        let mut file = BufReader::with_capacity(256 * 1024, file);
        let mut line = Vec::new();
        // A line is gone through that is too long.
        let mut is_long = false;
        for number in 0_u32.. {
            if number.is_multiple_of(LINES_A_LOOK) && Instant::now() >= self.bounds.deadline {
                return Ok(false);
            }
            line.clear();
            if (&mut file).take(LONGEST_LINE).read_until(b'\n', &mut line)? == 0 {
                break;
            }
            let goes_on = line.len() as u64 == LONGEST_LINE && !line.ends_with(b"\n");
            if is_long || goes_on {
                self.unread += u64::from(!is_long);
                is_long = goes_on;
            } else if let Some(record) = self.wanted(&line) {
                self.put(record);
            }
        }
        Ok(true)
    }

    fn wanted(&mut self, line: &[u8]) -> Option<Record> {
        let line = line.trim_ascii();
        if line.is_empty() {
            return None;
        }
        let Ok(line) = std::str::from_utf8(line) else {
            self.unread += 1;
            return None;
        };
        // One that is cut short may have had the word.
        let is_whole = line.ends_with('}');
        if is_whole && !self.words.is_empty() && !self.words.iter().any(|word| line.contains(word.as_str())) {
            return None;
        }
        let Some(record) = Record::from_line(line) else {
            self.unread += 1;
            return None;
        };
        let is_named = self.flows.is_empty() || self.flows.contains(&FlowKey::of(&record));
        (is_named && self.filter.takes(&record)).then_some(record)
    }

    fn put(&mut self, record: Record) {
        self.newest.push(Timed(record));
        if self.newest.len() > self.bounds.records
            && let Some(Timed(oldest)) = self.newest.pop()
        {
            self.left_out = self.left_out.max(Some(oldest.time));
        }
    }

    fn found(self) -> Found {
        let records: Vec<Record> =
            self.newest.into_sorted_vec().into_iter().rev().map(|timed| timed.0).collect();
        let left_out = self.left_out.map(|_| records.first().map_or(SystemTime::UNIX_EPOCH, |r| r.time));
        Found { records, older: left_out.max(self.all_since), unread: self.unread }
    }
}

#[cfg(test)]
mod tests;
