//! Which lines of a text belong to which table.
//!
//! Changes are made in the text itself, at places that the parser's spans give, so that every byte
//! outside of the change stays: comments, alignment, line ends.

use std::ops::Range;

use toml_edit::{Item, Table, TableLike, Value};

/// Where tables begin and values end in a text.
pub(super) struct Layout<'a> {
    text: &'a str,
    /// First bytes of all `[table]` and `[[table]]` headers, in order.
    headers: Vec<usize>,
    /// Last bytes + 1 of all headers and top-level-of-table values, in order.
    ends: Vec<usize>,
}

impl<'a> Layout<'a> {
    pub fn new(text: &'a str, root: &Table) -> Self {
        let mut layout = Layout { text, headers: Vec::new(), ends: Vec::new() };
        layout.visit(root);
        layout.headers.sort_unstable();
        layout.ends.sort_unstable();
        layout
    }

    fn visit(&mut self, table: &Table) {
        if let Some(span) = header(table) {
            self.headers.push(span.start);
            self.ends.push(span.end);
        }
        for (_, item) in table {
            match item {
                Item::Table(table) => self.visit(table),
                Item::ArrayOfTables(tables) => tables.iter().for_each(|table| self.visit(table)),
                Item::Value(value) => self.ends.extend(value.span().map(|s| s.end)),
                Item::None => {}
            }
        }
    }

    /// The lines of the section whose header begins at `header`: from the comment directly above
    /// it to the comment directly below its last value.
    pub fn section(&self, header: usize) -> Range<usize> {
        let after = self.headers.partition_point(|h| *h <= header);
        let next = self.headers.get(after).copied();
        self.own_start(header)..self.tail_end(header, next)
    }

    /// The sections of a table and of all tables below it, in order, neighbours joined.
    pub fn sections(&self, table: &Table) -> Vec<Range<usize>> {
        let mut headers = Layout::new(self.text, table).headers;
        headers.dedup();
        let index = |h: usize| self.headers.partition_point(|x| *x < h);
        let mut joined: Vec<(usize, Range<usize>)> = Vec::new();
        for header in headers {
            let lines = self.section(header);
            match joined.last_mut() {
                Some((last, range)) if *last + 1 == index(header) => {
                    *last = index(header);
                    range.end = lines.end;
                }
                _ => joined.push((index(header), lines)),
            }
        }
        joined.into_iter().map(|(_, range)| range).collect()
    }

    /// End of the line of the last value (or of the header) in the section that begins there.
    pub fn content_end(&self, header: usize) -> usize {
        let after = self.headers.partition_point(|h| *h <= header);
        let limit = self.headers.get(after).copied().unwrap_or(self.text.len() + 1);
        let count = self.ends.partition_point(|e| *e < limit);
        let end = count.checked_sub(1).and_then(|i| self.ends.get(i)).copied().unwrap_or(header);
        line_end(self.text, end)
    }

    fn own_start(&self, header: usize) -> usize {
        // Not above the line of what came before: a string of several lines may look like comments.
        let count = self.ends.partition_point(|e| *e <= header);
        let floor =
            count.checked_sub(1).and_then(|i| self.ends.get(i)).map_or(0, |e| line_end(self.text, *e));
        let mut start = line_start(self.text, header);
        while start > floor {
            let above = line_start(self.text, start - 1);
            if above < floor || !is_comment(&self.text[above..start]) {
                break;
            }
            start = above;
        }
        start
    }

    fn tail_end(&self, header: usize, next: Option<usize>) -> usize {
        let limit = next.map_or(self.text.len(), |next| self.own_start(next));
        let mut end = self.content_end(header);
        while end < limit {
            let below = line_end(self.text, end);
            if !is_comment(&self.text[end..below]) {
                break;
            }
            end = below;
        }
        end
    }
}

/// End of the line of the last value that stands above all headers; 0 if there is none.
pub(super) fn top_end(text: &str, root: &Table) -> usize {
    let ends = root.iter().filter_map(|(_, item)| item.as_value()?.span().map(|s| s.end));
    ends.max().map_or(0, |end| line_end(text, end))
}

/// The header of a table that has one of its own.
pub(super) fn header(table: &Table) -> Option<Range<usize>> {
    if table.is_implicit() || table.is_dotted() { None } else { table.span() }
}

/// Start of the line that holds byte `at`.
pub(super) fn line_start(text: &str, at: usize) -> usize {
    text[..at].rfind('\n').map_or(0, |i| i + 1)
}

/// Start of the line after the one that holds byte `at`.
pub(super) fn line_end(text: &str, at: usize) -> usize {
    text[at..].find('\n').map_or(text.len(), |i| at + i + 1)
}

/// The white space at the start of the line that holds byte `at`.
pub(super) fn indent(text: &str, at: usize) -> &str {
    let line = &text[line_start(text, at)..];
    &line[..line.len() - line.trim_start_matches([' ', '\t']).len()]
}

/// How lines of this text end.
pub(super) fn newline(text: &str) -> &'static str {
    if text.contains("\r\n") { "\r\n" } else { "\n" }
}

pub(super) fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with('#')
}

pub(super) fn is_blank(line: &str) -> bool {
    line.trim().is_empty()
}

/// Where the last value of an inline table ends.
pub(super) fn last_value_end(table: &dyn TableLike) -> Option<usize> {
    let end = |item: &Item| match item {
        Item::Value(Value::InlineTable(inner)) if inner.is_dotted() => last_value_end(inner),
        item => item.span().map(|s| s.end),
    };
    table.iter().filter_map(|(_, item)| end(item)).max()
}
