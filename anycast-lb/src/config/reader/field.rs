//! One value of a document, looked at as the type it should have.

use std::net::IpAddr;
use std::ops::{Range, RangeInclusive};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use toml_edit::{Item, TableLike, Value};

use super::{Section, Words};
use crate::config::report::{At, Report, Spot};
use crate::config::scalar::{parse_duration, parse_network};
use crate::config::suggest::nearest;

/// One value, not yet looked at.
pub(in crate::config) struct Field<'a> {
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

impl<'a> Field<'a> {
    /// The value of a key, at `spot`.
    pub(super) fn new(item: &'a Item, spot: Spot, path: String, report: &'a Report<'a>) -> Self {
        Field { item: Got::Item(item), spot, path, report }
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

    /// A `[table]` or `{ … }`.
    pub fn table(&self) -> Option<Section<'a>> {
        let table = self.item.as_table_like();
        if table.is_none() {
            self.wrong_type("a table", &format!("[{}] with its keys below", self.last_key()));
        }
        Some(Section::new(table?, self.spot, self.path.clone(), ".", self.report))
    }

    /// The entries of `[[key]]` or `key = [{ … }]`.
    pub fn tables(&self) -> Vec<Section<'a>> {
        let example = format!("[[{}]], in double brackets, before each entry", self.last_key());
        let section = |table: &'a dyn TableLike, span: Option<Range<usize>>| {
            Section::new(table, self.spot_of(span), self.path.clone(), " ", self.report)
        };
        match self.item {
            Got::Item(Item::ArrayOfTables(tables)) => tables.iter().map(|t| section(t, t.span())).collect(),
            Got::Item(Item::Value(Value::Array(array))) => array
                .iter()
                .filter_map(|value| match value {
                    Value::InlineTable(table) => Some(section(table, table.span())),
                    _ => {
                        self.entry(value).wrong_type("a table", &example);
                        None
                    }
                })
                .collect(),
            _ => {
                self.wrong_type("a list of tables", &example);
                Vec::new()
            }
        }
    }

    /// An element of a list.
    fn entry(&self, value: &'a Value) -> Field<'a> {
        let spot = self.spot_of(value.span());
        Field { item: Got::Value(value), spot, path: self.path.clone(), report: self.report }
    }

    fn spot_of(&self, span: Option<Range<usize>>) -> Spot {
        Spot { file: self.spot.file, offset: span.map_or(self.spot.offset, |s| s.start) }
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
