//! Entries of a document in both notations: `[[vip]]` and `vip = [{ … }]`.

use std::net::IpAddr;

use toml_edit::{Array, Item, Table, TableLike, Value};

use super::layout::{self, Layout};
use super::splice::{self, Fields};
use crate::model::{Protocol, VipKey};

/// An entry of a list of tables.
pub(super) enum Entry<'a> {
    /// Below a header of its own.
    Lines(&'a Table),
    /// An element of a list in brackets.
    Inline { array: &'a Array, index: usize, table: &'a toml_edit::InlineTable },
}

impl<'a> Entry<'a> {
    pub fn table(&self) -> &'a dyn TableLike {
        match self {
            Entry::Lines(table) => *table,
            Entry::Inline { table, .. } => *table,
        }
    }

    pub fn text(&self, key: &str) -> Option<&'a str> {
        self.table().get(key)?.as_str()
    }

    pub fn address(&self) -> Option<IpAddr> {
        self.text("address")?.parse().ok()
    }

    /// The VIP that a `[[vip]]` entry is about.
    pub fn vip_key(&self) -> Option<VipKey> {
        let protocol: Protocol = self.text("protocol")?.parse().ok()?;
        let port = match self.table().get("port") {
            Some(port) => Some(u16::try_from(port.as_integer()?).ok()?),
            None => None,
        };
        Some(VipKey { address: self.address()?, port, protocol })
    }

    /// The text without this entry.
    pub fn removed(&self, text: &str, layout: &Layout<'_>) -> Option<String> {
        match self {
            Entry::Lines(table) => {
                let mut text = text.to_owned();
                // From the end, so that the places of the earlier ones stay true.
                for lines in layout.sections(table).into_iter().rev() {
                    text = splice::remove_lines(&text, lines);
                }
                Some(text)
            }
            Entry::Inline { array, index, .. } => splice::remove_element(text, array, *index),
        }
    }

    /// The text with a key of this entry set.
    pub fn with_key(&self, text: &str, layout: &Layout<'_>, key: &str, value: &str) -> Option<String> {
        match self {
            Entry::Lines(table) => splice::set_in_section(text, layout, table, key, value),
            Entry::Inline { table, .. } => splice::set_inline(text, *table, key, value),
        }
    }
}

/// The entries under a key.
pub(super) fn entries<'a>(table: &'a dyn TableLike, key: &str) -> Vec<Entry<'a>> {
    match table.get(key) {
        Some(Item::ArrayOfTables(tables)) => tables.iter().map(Entry::Lines).collect(),
        Some(Item::Value(Value::Array(array))) => array
            .iter()
            .enumerate()
            .filter_map(|(index, value)| {
                Some(Entry::Inline { array, index, table: value.as_inline_table()? })
            })
            .collect(),
        _ => Vec::new(),
    }
}

/// The text with a new entry after the last one under `key` of the whole file.
pub(super) fn add_to_file(
    text: &str,
    root: &Table,
    layout: &Layout<'_>,
    key: &str,
    fields: &Fields,
) -> Option<String> {
    if let Some(array) = root.get(key).and_then(Item::as_array) {
        return splice::push_element(text, array, &splice::inline(fields));
    }
    match entries(root, key).last() {
        Some(Entry::Lines(last)) => {
            let at = layout.sections(last).last()?.end;
            Some(splice::insert_section(text, at, key, fields, layout::header(last).map(|h| h.start)))
        }
        _ => Some(splice::insert_section(text, text.len(), key, fields, None)),
    }
}

/// The text with a new backend after the last one of a pool.
pub(super) fn add_to_pool(
    text: &str,
    pool: &Entry<'_>,
    layout: &Layout<'_>,
    fields: &Fields,
) -> Option<String> {
    const HEADER: &str = "pool.backend";
    if let Some(array) = pool.table().get("backend").and_then(Item::as_array) {
        return splice::push_element(text, array, &splice::inline(fields));
    }
    let Entry::Lines(table) = pool else {
        return pool.with_key(text, layout, "backend", &format!("[{}]", splice::inline(fields)));
    };
    if let Some(Entry::Lines(last)) = entries(*table, "backend").last() {
        let at = layout.sections(last).last()?.end;
        return Some(splice::insert_section(text, at, HEADER, fields, layout::header(last).map(|h| h.start)));
    }
    let at = layout.sections(table).last()?.end;
    Some(splice::insert_section(text, at, HEADER, fields, layout::header(table).map(|h| h.start)))
}
