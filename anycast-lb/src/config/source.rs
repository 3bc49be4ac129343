//! The files a configuration is made of: the main file and what its `include` finds.

use std::path::{Path, PathBuf};
use std::{fmt, fs, io};

use std::os::unix::fs::MetadataExt;

use toml_edit::Document;

use super::problem::{Notice, Problem, Problems};
use super::report::{Report, Spot};
use super::{Overrides, glob, secret};
use crate::model::{Config, Seed};

/// One file as it was read.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct SourceFile {
    /// Its name, not resolved.
    pub path: PathBuf,
    /// Its whole text.
    pub text: String,
    /// Whether everybody could read it.
    pub world_readable: bool,
}

/// The text may hold a seed, so it is not printed.
impl fmt::Debug for SourceFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SourceFile").field("path", &self.path).finish_non_exhaustive()
    }
}

/// What a configuration was read from: enough to change it ([`super::edit`]) and to understand
/// the changed text without reading anything again.
#[derive(Clone, Debug)]
pub struct Sources {
    /// The main file first, then the included ones in the order in which they count.
    pub(super) files: Vec<SourceFile>,
    /// What the command line said.
    pub(super) overrides: Overrides,
    /// The host's name, the node's where the file gives none.
    pub(super) host: String,
    /// The seed that was read. A change to a pool must not pick up a seed that was replaced in
    /// the meantime: that is a change of its own, made by a reload.
    pub(super) seed: Option<Seed>,
    /// The previous seed that was read with it.
    pub(super) seed_previous: Option<Seed>,
    /// What the files say.
    pub(super) config: Box<Config>,
}

impl Sources {
    /// The main file.
    pub fn path(&self) -> &Path {
        &self.files[MAIN].path
    }

    /// All files, the main one first.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(|f| f.path.as_path())
    }
}

/// Index of the main file.
pub(super) const MAIN: usize = 0;

/// Files, and what went wrong or is worth knowing about finding them.
pub(super) struct Read {
    pub files: Vec<SourceFile>,
    pub problems: Vec<Problem>,
    pub notices: Vec<Notice>,
}

/// Reads the main file and all that it includes.
///
/// # Errors
///
/// The main file cannot be read. What is wrong with an included one is in [`Read::problems`].
pub(super) fn read(path: &Path) -> Result<Read, Problems> {
    let main = read_file(path).map_err(|e| Problems(vec![unreadable(path, &e)]))?;
    let mut read = Read { files: vec![main], problems: Vec::new(), notices: Vec::new() };
    let patterns = patterns(&read.files[MAIN].text);
    let main_only = read.files.clone();
    let report = Report::new(&main_only);
    for (pattern, offset) in patterns {
        include(&pattern, Spot { file: MAIN, offset }, &report, &mut read);
    }
    match report.finish() {
        Ok(notices) => read.notices = notices,
        Err(Problems(problems)) => read.problems.extend(problems),
    }
    Ok(read)
}

/// The files of one `include` entry, those already read left out.
fn include(pattern: &str, spot: Spot, report: &Report<'_>, read: &mut Read) {
    let full = beside(&read.files[MAIN].path, Path::new(pattern));
    let found = if glob::is_pattern(&full) {
        match glob::expand(&full) {
            Ok(found) => found,
            Err(e) => {
                report.problem(spot, "include", format!("cannot look for `{pattern}`: {e}"), READABLE);
                return;
            }
        }
    } else {
        vec![full]
    };
    if found.is_empty() {
        report.notice(spot, "include", format!("`{pattern}` matches no file"));
    }
    for path in found {
        if read.files.iter().any(|f| same_file(&f.path, &path)) {
            continue;
        }
        match read_file(&path) {
            Ok(file) => read.files.push(file),
            Err(e) if e.kind() == io::ErrorKind::NotFound => report.problem(
                spot,
                "include",
                format!("{} does not exist", path.display()),
                "make the file or take the entry out; a pattern such as pools.d/*.toml may match nothing",
            ),
            Err(e) => read.problems.push(unreadable(&path, &e)),
        }
    }
}

const READABLE: &str = "give the daemon's user read permission";

fn unreadable(path: &Path, error: &io::Error) -> Problem {
    let (message, hint) = match error.kind() {
        io::ErrorKind::NotFound => {
            ("the file does not exist".to_owned(), "name another with --config FILE, or make it".to_owned())
        }
        io::ErrorKind::InvalidData => {
            ("the file is not UTF-8 text".to_owned(), "save it as UTF-8".to_owned())
        }
        _ => (format!("cannot read the file: {error}"), READABLE.to_owned()),
    };
    Problem { file: path.to_owned(), line: 0, column: 0, key: String::new(), message, hint }
}

fn read_file(path: &Path) -> io::Result<SourceFile> {
    let mut file = fs::File::open(path)?;
    let world_readable = secret::world_readable(file.metadata()?.mode());
    let mut text = String::new();
    io::Read::read_to_string(&mut file, &mut text)?;
    Ok(SourceFile { path: path.to_owned(), text, world_readable })
}

/// A path of the configuration: relative ones start at the main file's directory.
pub(super) fn beside(main: &Path, path: &Path) -> PathBuf {
    main.parent().unwrap_or(Path::new("")).join(path)
}

fn same_file(a: &Path, b: &Path) -> bool {
    match (fs::canonicalize(a), fs::canonicalize(b)) {
        (Ok(a), Ok(b)) => a == b,
        _ => a == b,
    }
}

/// The entries of `include` with their offsets. What is wrong with the key itself is reported
/// when the file is understood.
fn patterns(text: &str) -> Vec<(String, usize)> {
    let Ok(document) = Document::parse(text) else { return Vec::new() };
    let Some(list) = document.get("include").and_then(|i| i.as_array()) else { return Vec::new() };
    let entry = |v: &toml_edit::Value| Some((v.as_str()?.to_owned(), v.span().unwrap_or_default().start));
    list.iter().filter_map(entry).collect()
}
