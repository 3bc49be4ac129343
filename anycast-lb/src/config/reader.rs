//! A cursor over a TOML document that reports instead of stopping: every getter gives the value,
//! or reports what is wrong with it and gives nothing, and a finished section reports the keys
//! that nobody asked for.

use std::cell::RefCell;
use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use toml_edit::{Item, TableLike, Value};

use super::report::{At, Report, Spot};
use super::scalar::{parse_duration, parse_network};
use super::suggest::nearest;

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
}

/// One value, not yet looked at.
pub(super) struct Field<'a> {
    item: Got<'a>,
    spot: Spot,
    path: String,
    report: &'a Report<'a>,
}

#[derive(Clone, Copy)]
enum Got<'a> {
    Item(&'a Item),
    Value(&'a Value),
}

impl<'a> Section<'a> {
    /// The top of file number `file`.
    pub fn root(table: &'a dyn TableLike, file: usize, report: &'a Report<'a>) -> Self {
        let spot = Spot { file, offset: 0 };
        Section { table, spot, path: String::new(), separator: "", report, known: RefCell::default() }
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
        Some(Field {
            item: Got::Item(item),
            spot: Spot { file: self.spot.file, offset },
            path: self.key(key),
            report: self.report,
        })
    }

    fn know(&self, key: &'static str) {
        let mut known = self.known.borrow_mut();
        if !known.contains(&key) {
            known.push(key);
        }
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
        let field = self.field(key)?;
        match field.item.as_table_like() {
            Some(table) => Some(field.section(table, ".")),
            None => {
                field.wrong_type("a table", &format!("[{key}] with its keys below"));
                None
            }
        }
    }

    /// The entries of `[[key]]` or `key = [{ … }]`.
    pub fn tables(&self, key: &'static str) -> Vec<Section<'a>> {
        let Some(field) = self.field(key) else { return Vec::new() };
        let example = format!("[[{key}]], in double brackets, before each entry");
        match field.item {
            Got::Item(Item::ArrayOfTables(tables)) => tables
                .iter()
                .map(|table| {
                    let offset = table.span().map_or(field.spot.offset, |s| s.start);
                    field.at(Got::Item(&Item::None), offset).section(table, " ")
                })
                .collect(),
            Got::Item(Item::Value(Value::Array(array))) => array
                .iter()
                .filter_map(|value| {
                    let entry = field.entry(value);
                    let Value::InlineTable(table) = value else {
                        entry.wrong_type("a table", &example);
                        return None;
                    };
                    Some(entry.section(table, " "))
                })
                .collect(),
            _ => {
                field.wrong_type("a list of tables", &example);
                Vec::new()
            }
        }
    }

    /// Reports the keys nobody asked for.
    pub fn finish(self) {
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

impl<'a> Field<'a> {
    pub fn spot(&self) -> Spot {
        self.spot
    }

    /// Path in messages.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Reports a mistake in this value.
    pub fn problem(&self, message: impl Into<String>, hint: impl Into<String>) {
        self.report.problem(self.spot, &self.path, message, hint);
    }

    /// Reports a value of the wrong type.
    pub fn wrong_type(&self, expected: &str, example: &str) {
        self.problem(format!("must be {expected}, is {}", self.item.type_name()), format!("write {example}"));
    }

    fn found<T>(&self, value: T) -> Option<At<T>> {
        Some(At { value, spot: self.spot })
    }

    pub fn string(&self) -> Option<At<String>> {
        match self.item.as_str() {
            Some(text) => self.found(text.to_owned()),
            None => {
                self.wrong_type("a string", &format!("it in quotes: {} = \"…\"", self.last_key()));
                None
            }
        }
    }

    pub fn path_value(&self) -> Option<At<PathBuf>> {
        let text = self.string()?;
        if text.value.is_empty() || text.value.contains('\0') {
            self.problem("is no path", "write the name of a file");
            return None;
        }
        self.found(text.value.into())
    }

    pub fn boolean(&self) -> Option<At<bool>> {
        match self.item.as_value().and_then(Value::as_bool) {
            Some(value) => self.found(value),
            None => {
                self.wrong_type("true or false", "true or false, without quotes");
                None
            }
        }
    }

    pub fn integer(&self, range: RangeInclusive<u64>, hint: &str) -> Option<At<u64>> {
        let Some(number) = self.item.as_value().and_then(Value::as_integer) else {
            self.wrong_type("a whole number", hint);
            return None;
        };
        match u64::try_from(number) {
            Ok(value) if range.contains(&value) => self.found(value),
            _ => {
                let (low, high) = (range.start(), range.end());
                self.problem(format!("{number} is out of range ({low} to {high})"), format!("write {hint}"));
                None
            }
        }
    }

    /// A number with or without a decimal point.
    pub fn number(&self, hint: &str) -> Option<At<f64>> {
        let value = self.item.as_value();
        let number = value.and_then(|v| v.as_float().or_else(|| v.as_integer().map(|i| i as f64)));
        match number {
            Some(number) => self.found(number),
            None => {
                self.wrong_type("a number", hint);
                None
            }
        }
    }

    pub fn duration(&self) -> Option<At<Duration>> {
        let example = "a number and a unit in quotes: \"500ms\", \"10s\", \"30m\", \"2h\" or \"1d\"";
        let Some(text) = self.item.as_str() else {
            self.wrong_type("a duration", example);
            return None;
        };
        match parse_duration(text) {
            Some(duration) => self.found(duration),
            None => {
                self.problem(format!("`{text}` is no duration"), format!("write {example}"));
                None
            }
        }
    }

    pub fn choice<T: Copy>(&self, words: &Words<T>) -> Option<At<T>> {
        let list = words.iter().map(|(w, _)| format!("\"{w}\"")).collect::<Vec<_>>().join(", ");
        let Some(text) = self.item.as_str() else {
            self.wrong_type("a string", &format!("one of {list}"));
            return None;
        };
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return self.found(*value);
        }
        let hint = match nearest(text, words.iter().map(|(w, _)| *w)) {
            Some(near) => format!("did you mean \"{near}\"? One of {list}"),
            None => format!("write one of {list}"),
        };
        self.problem(format!("`{text}` is not possible here"), hint);
        None
    }

    /// A string that the type itself parses.
    pub fn parsed<T: FromStr>(&self, what: &str, example: &str) -> Option<At<T>> {
        let Some(text) = self.item.as_str() else {
            self.wrong_type("a string", &format!("\"{example}\""));
            return None;
        };
        match text.parse() {
            Ok(value) => self.found(value),
            Err(_) => {
                self.problem(format!("`{text}` is not {what}"), format!("write it like \"{example}\""));
                None
            }
        }
    }

    pub fn address(&self, example: &str) -> Option<At<IpAddr>> {
        self.parsed("an IP address", example)
    }

    /// A prefix without host bits, or an address alone.
    pub fn network(&self, example: &str) -> Option<At<IpNet>> {
        let text = self.string()?.value;
        let Some(network) = parse_network(&text) else {
            self.problem(format!("`{text}` is no prefix"), format!("write it like \"{example}\""));
            return None;
        };
        if network.trunc() != network {
            self.problem(
                format!("`{text}` has bits set beyond its length"),
                format!("write \"{}\"", network.trunc()),
            );
            return None;
        }
        if let IpNet::V6(v6) = network
            && v6.addr().to_ipv4_mapped().is_some()
        {
            self.problem(format!("`{text}` is IPv4 in disguise"), "write it as an IPv4 prefix");
            return None;
        }
        self.found(network)
    }

    pub fn list<T>(&self, read: impl Fn(&Field<'a>) -> Option<T>) -> Option<At<Vec<T>>> {
        let Some(array) = self.item.as_value().and_then(Value::as_array) else {
            self.wrong_type("a list", &format!("it in brackets: {} = [ … ]", self.last_key()));
            return None;
        };
        self.found(array.iter().filter_map(|value| read(&self.entry(value))).collect())
    }

    /// An integer or a string, whichever is there.
    pub fn is_integer(&self) -> bool {
        self.item.as_value().is_some_and(Value::is_integer)
    }

    fn last_key(&self) -> &str {
        self.path.rsplit([' ', '.']).next().unwrap_or(&self.path)
    }

    fn entry(&self, value: &'a Value) -> Field<'a> {
        self.at(Got::Value(value), value.span().map_or(self.spot.offset, |s| s.start))
    }

    fn at(&self, item: Got<'a>, offset: usize) -> Field<'a> {
        let spot = Spot { file: self.spot.file, offset };
        Field { item, spot, path: self.path.clone(), report: self.report }
    }

    fn section(self, table: &'a dyn TableLike, separator: &'static str) -> Section<'a> {
        let Field { spot, path, report, .. } = self;
        Section { table, spot, path, separator, report, known: RefCell::default() }
    }
}

impl<'a> Got<'a> {
    fn as_value(self) -> Option<&'a Value> {
        match self {
            Got::Item(item) => item.as_value(),
            Got::Value(value) => Some(value),
        }
    }

    fn as_str(self) -> Option<&'a str> {
        self.as_value()?.as_str()
    }

    fn as_table_like(self) -> Option<&'a dyn TableLike> {
        match self {
            Got::Item(item) => item.as_table_like(),
            Got::Value(value) => value.as_inline_table().map(|t| t as &dyn TableLike),
        }
    }

    fn type_name(self) -> &'static str {
        match self {
            Got::Item(item) => item.type_name(),
            Got::Value(value) => value.type_name(),
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
