//! Where mistakes are collected while the files are read.

use std::cell::{Cell, RefCell};

use super::problem::{Notice, Problem, Problems};
use super::source::SourceFile;

/// A place in the files that were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Spot {
    /// Index of the file.
    pub file: usize,
    /// Byte in its text.
    pub offset: usize,
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct At<T> {
    pub value: T,
    pub spot: Spot,
}

/// Mistakes and notices so far. Readers share one and go on after a mistake.
pub(super) struct Report<'a> {
    files: &'a [SourceFile],
    problems: RefCell<Vec<(Spot, Problem)>>,
    notices: RefCell<Vec<(Spot, Notice)>>,
    incomplete: Cell<bool>,
}

impl<'a> Report<'a> {
    pub fn new(files: &'a [SourceFile]) -> Self {
        Report {
            files,
            problems: RefCell::default(),
            notices: RefCell::default(),
            incomplete: Cell::new(false),
        }
    }

    /// A mistake: what is wrong with `key`, and what to write instead.
    pub fn problem(&self, spot: Spot, key: &str, message: impl Into<String>, hint: impl Into<String>) {
        let (line, column) = self.position(spot);
        let problem = Problem {
            file: self.files[spot.file].path.clone(),
            line,
            column,
            key: key.to_owned(),
            message: message.into(),
            hint: hint.into(),
        };
        self.problems.borrow_mut().push((spot, problem));
    }

    /// Whether a mistake has been reported about a key that `about` picks: then what it would have
    /// given is not missing besides.
    pub fn has_problem(&self, about: impl Fn(&str) -> bool) -> bool {
        self.problems.borrow().iter().any(|(_, problem)| about(&problem.key))
    }

    /// Something to know that is no mistake.
    pub fn notice(&self, spot: Spot, key: &str, message: impl Into<String>) {
        let (line, column) = self.position(spot);
        let notice = Notice {
            file: self.files[spot.file].path.clone(),
            line,
            column,
            key: key.to_owned(),
            message: message.into(),
        };
        self.notices.borrow_mut().push((spot, notice));
    }

    /// Where `spot` is, as people say it: `config.toml:12`.
    pub fn place(&self, spot: Spot) -> String {
        format!("{}:{}", self.files[spot.file].path.display(), self.position(spot).0)
    }

    /// Notes that part of the configuration could not be read, so that what is missing from the
    /// rest may well be there.
    pub fn set_incomplete(&self) {
        self.incomplete.set(true);
    }

    /// Whether part of the configuration could not be read.
    pub fn is_incomplete(&self) -> bool {
        self.incomplete.get()
    }

    /// The notices, or the mistakes if there are any; both in the order of files and lines.
    pub fn finish(self) -> Result<Vec<Notice>, Problems> {
        let problems = in_order(self.problems.into_inner());
        if problems.is_empty() { Ok(in_order(self.notices.into_inner())) } else { Err(Problems(problems)) }
    }

    /// Line and column (in characters), from 1.
    fn position(&self, spot: Spot) -> (usize, usize) {
        let text = &self.files[spot.file].text;
        let before = text.get(..spot.offset.min(text.len())).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |i| i + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }
}

fn in_order<T>(mut list: Vec<(Spot, T)>) -> Vec<T> {
    list.sort_by_key(|(spot, _)| *spot);
    list.into_iter().map(|(_, item)| item).collect()
}
