//! A cursor over a TOML document that reports instead of stopping: every getter gives the value,
//! or reports what is wrong with it and gives nothing, and a finished section reports the keys
//! that nobody asked for.

use std::cell::{Cell, RefCell};
use std::fmt::Display;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use toml_edit::TableLike;

use super::report::{At, Report, Spot};
use super::suggest::nearest;

mod field;

pub(super) use field::Field;

/// The words of a key that takes one of several, with their meanings.
pub(super) type Words<T> = [(&'static str, T)];

/// A table while it is read.
pub(super) struct Section<'a> {
    table: &'a dyn TableLike,
    spot: Spot,
    path: String,
    separator: &'static str,
    report: &'a Report<'a>,
    known: RefCell<Vec<&'static str>>,
    all_known: Cell<bool>,
}

impl<'a> Section<'a> {
    /// The top of file number `file`.
    pub fn root(table: &'a dyn TableLike, file: usize, report: &'a Report<'a>) -> Self {
        Section::new(table, Spot { file, offset: 0 }, String::new(), "", report)
    }

    fn new(
        table: &'a dyn TableLike,
        spot: Spot,
        path: String,
        separator: &'static str,
        report: &'a Report<'a>,
    ) -> Self {
        Section {
            table,
            spot,
            path,
            separator,
            report,
            known: RefCell::default(),
            all_known: Cell::new(false),
        }
    }

    /// Gives the section a name for messages, `pool "web"`; its keys follow after a space.
    pub fn named(mut self, path: String) -> Self {
        self.path = path;
        self.separator = " ";
        self
    }

    /// Where the section begins.
    pub fn spot(&self) -> Spot {
        self.spot
    }

    /// Name for messages.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Path of a key in messages.
    pub fn key(&self, key: &str) -> String {
        format!("{}{}{key}", self.path, self.separator)
    }

    /// A value's text without looking closer, for a section's name.
    pub fn peek(&self, key: &str) -> Option<&'a str> {
        self.table.get(key)?.as_str()
    }

    /// The value of a key, if it is there. The key is known from now on.
    pub fn field(&self, key: &'static str) -> Option<Field<'a>> {
        self.know(key);
        let (name, item) = self.table.get_key_value(key)?;
        let offset = item.span().or_else(|| name.span()).map_or(self.spot.offset, |s| s.start);
        let spot = Spot { file: self.spot.file, offset };
        Some(Field::new(item, spot, self.key(key), self.report))
    }

    fn know(&self, key: &'static str) {
        let mut known = self.known.borrow_mut();
        if !known.contains(&key) {
            known.push(key);
        }
    }

    /// Makes every key that is there known: what they mean depends on one that is wrong.
    pub fn know_all(&self) {
        self.all_known.set(true);
    }

    /// Reports a key that must be there; `example` is what to write.
    pub fn missing(&self, key: &str, example: &str) {
        self.report.problem(self.spot, &self.key(key), "is missing", format!("write {example}"));
    }

    /// Like [`Section::field`], reporting a missing key.
    pub fn required(&self, key: &'static str, example: &str) -> Option<Field<'a>> {
        let field = self.field(key);
        if field.is_none() {
            self.missing(key, example);
        }
        field
    }

    pub fn string(&self, key: &'static str) -> Option<At<String>> {
        self.field(key)?.string()
    }

    pub fn path_value(&self, key: &'static str) -> Option<At<PathBuf>> {
        self.field(key)?.path_value()
    }

    pub fn boolean(&self, key: &'static str) -> Option<At<bool>> {
        self.field(key)?.boolean()
    }

    pub fn integer(&self, key: &'static str, range: RangeInclusive<u64>, hint: &str) -> Option<At<u64>> {
        self.field(key)?.integer(range, hint)
    }

    pub fn duration(&self, key: &'static str) -> Option<At<Duration>> {
        self.field(key)?.duration()
    }

    pub fn choice<T: Copy>(&self, key: &'static str, words: &Words<T>) -> Option<At<T>> {
        self.field(key)?.choice(words)
    }

    pub fn socket_address(&self, key: &'static str) -> Option<At<SocketAddr>> {
        self.field(key)?.parsed("an address and a port", "10.0.0.2:9000")
    }

    /// A list; entries that `read` refuses are left out, having been reported.
    pub fn list<T>(&self, key: &'static str, read: impl Fn(&Field<'a>) -> Option<T>) -> Option<At<Vec<T>>> {
        self.field(key)?.list(read)
    }

    /// A `[table]` or `{ … }`.
    pub fn table(&self, key: &'static str) -> Option<Section<'a>> {
        self.field(key)?.table()
    }

    /// The entries of `[[key]]` or `key = [{ … }]`.
    pub fn tables(&self, key: &'static str) -> Vec<Section<'a>> {
        self.field(key).map(|field| field.tables()).unwrap_or_default()
    }

    /// Reports the keys nobody asked for.
    pub fn finish(self) {
        if self.all_known.get() {
            return;
        }
        let known = self.known.borrow();
        for (name, _) in self.table.iter() {
            if known.contains(&name) {
                continue;
            }
            let span = self.table.key(name).and_then(toml_edit::Key::span);
            let offset = span.map_or(self.spot.offset, |s| s.start);
            let hint = match nearest(name, known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known here: {}", known.join(", ")),
            };
            self.report.problem(Spot { file: self.spot.file, offset }, &self.key(name), "unknown key", hint);
        }
    }
}

/// `name` or the position, for the name of an entry that may lack one.
pub(super) fn label(kind: &str, name: Option<impl Display>, index: usize) -> String {
    match name {
        Some(name) => format!("{kind} {name}"),
        None => format!("{kind} #{}", index + 1),
    }
}
