//! The changes a text can undergo. Each takes a text and gives the changed one.

use std::ops::Range;

use toml_edit::{Array, TableLike};

use super::layout::{self, Layout, indent, is_blank, is_comment, line_end, line_start, newline};

/// Keys and finished values of a new entry.
pub(super) type Fields = Vec<(&'static str, String)>;

/// A value as TOML writes it.
pub(super) fn quoted(text: &str) -> String {
    toml_edit::Value::from(text).to_string().trim().to_owned()
}

/// `{ key = value, … }`.
pub(super) fn inline(fields: &Fields) -> String {
    let pairs: Vec<_> = fields.iter().map(|(key, value)| format!("{key} = {value}")).collect();
    format!("{{ {} }}", pairs.join(", "))
}

fn replaced(text: &str, range: Range<usize>, with: &str) -> String {
    format!("{}{with}{}", &text[..range.start], &text[range.end..])
}

/// Puts `[[name]]` with its fields at the start of a line, at `at`. `like` is the first byte of
/// the header of an entry whose spacing and indentation the new one takes.
pub(super) fn insert_section(
    text: &str,
    at: usize,
    name: &str,
    fields: &Fields,
    like: Option<usize>,
) -> String {
    let eol = newline(text);
    let (margin, inner, apart) = match like {
        Some(header) => {
            let inside = line_end(text, header);
            let inner = if inside < text.len() { indent(text, inside) } else { "" };
            (indent(text, header), inner, follows_blank(text, header))
        }
        None => ("", "", true),
    };
    let mut block = String::new();
    if at > 0 && !text[..at].ends_with('\n') {
        block.push_str(eol);
    }
    if apart && !text[..at].is_empty() && !ends_with_blank(&text[..at]) {
        block.push_str(eol);
    }
    block.push_str(&format!("{margin}[[{name}]]{eol}"));
    for (key, value) in fields {
        block.push_str(&format!("{inner}{key} = {value}{eol}"));
    }
    replaced(text, at..at, &block)
}

/// Puts a line at the start of a line, at `at`.
pub(super) fn insert_line(text: &str, at: usize, line: &str) -> String {
    let eol = newline(text);
    let (before, after) = if at > 0 && !text[..at].ends_with('\n') { (eol, "") } else { ("", eol) };
    replaced(text, at..at, &format!("{before}{line}{after}"))
}

/// Whether the header's block of comment and header has a blank line, or nothing at all, above.
fn follows_blank(text: &str, header: usize) -> bool {
    let mut start = line_start(text, header);
    while start > 0 {
        let above = line_start(text, start - 1);
        if !is_comment(&text[above..start]) {
            return is_blank(&text[above..start]);
        }
        start = above;
    }
    true
}

fn ends_with_blank(text: &str) -> bool {
    let last = line_start(text, text.len().saturating_sub(1));
    is_blank(&text[last..])
}

/// Takes lines out, and the blank lines that would be left over.
pub(super) fn remove_lines(text: &str, lines: Range<usize>) -> String {
    let Range { mut start, mut end } = lines;
    let blank_above = start == 0 || ends_with_blank(&text[..start]);
    let mut below = end;
    while below < text.len() && is_blank(&text[below..line_end(text, below)]) {
        below = line_end(text, below);
    }
    if below == text.len() {
        end = below;
        while start > 0 && ends_with_blank(&text[..start]) {
            start = line_start(text, start - 1);
        }
    } else if blank_above {
        end = below;
    }
    replaced(text, start..end, "")
}

/// Sets a key of an entry that stands under a header.
pub(super) fn set_in_section(
    text: &str,
    layout: &Layout<'_>,
    table: &toml_edit::Table,
    key: &str,
    value: &str,
) -> Option<String> {
    if let Some(span) = table.get(key).and_then(toml_edit::Item::span) {
        return Some(replaced(text, span, value));
    }
    let header = layout::header(table)?.start;
    let end = layout.content_end(header);
    let eol = newline(text);
    let margin = indent(text, line_start(text, end.saturating_sub(1)));
    let before = if text[..end].ends_with('\n') { "" } else { eol };
    let after = if before.is_empty() { eol } else { "" };
    Some(replaced(text, end..end, &format!("{before}{margin}{key} = {value}{after}")))
}

/// Sets a key of an entry that stands in braces.
pub(super) fn set_inline(text: &str, table: &dyn TableLike, key: &str, value: &str) -> Option<String> {
    if let Some(span) = table.get(key).and_then(toml_edit::Item::span) {
        return Some(replaced(text, span, value));
    }
    let end = layout::last_value_end(table)?;
    Some(replaced(text, end..end, &format!(", {key} = {value}")))
}

/// Adds an element to a list in brackets, in a line of its own where the others have one.
pub(super) fn push_element(text: &str, array: &Array, element: &str) -> Option<String> {
    let span = array.span()?;
    let Some(last) = array.iter().last().and_then(toml_edit::Value::span) else {
        return Some(replaced(text, span.start + 1..span.start + 1, element));
    };
    let own_line = is_blank(&text[line_start(text, last.start)..last.start]);
    let comma = comma_after(text, last.end, span.end);
    if !own_line {
        return Some(replaced(text, last.end..last.end, &format!(", {element}")));
    }
    let eol = newline(text);
    let margin = indent(text, last.start);
    let line = line_end(text, comma.unwrap_or(last.end));
    if line >= span.end {
        // The bracket closes on the line of the last element.
        return Some(replaced(text, last.end..last.end, &format!(",{eol}{margin}{element}")));
    }
    let trailing = if comma.is_some() { "," } else { "" };
    let with_new = replaced(text, line..line, &format!("{margin}{element}{trailing}{eol}"));
    Some(if comma.is_some() { with_new } else { replaced(&with_new, last.end..last.end, ",") })
}

/// Takes an element out of a list in brackets.
pub(super) fn remove_element(text: &str, array: &Array, index: usize) -> Option<String> {
    let close = array.span()?.end;
    let span = array.get(index)?.span()?;
    let next = array.get(index + 1).and_then(toml_edit::Value::span);
    let comma = comma_after(text, span.end, next.as_ref().map_or(close, |n| n.start));
    let after = comma.map_or(span.end, |c| c + 1);
    let (start, end) = (line_start(text, span.start), line_end(text, after.saturating_sub(1)));
    let rest = text[after..end].trim();
    if is_blank(&text[start..span.start]) && (rest.is_empty() || rest.starts_with('#')) {
        let mut start = start;
        while start > 0 && is_comment(&text[line_start(text, start - 1)..start]) {
            start = line_start(text, start - 1);
        }
        return Some(replaced(text, start..end, ""));
    }
    let previous = index.checked_sub(1).and_then(|i| array.get(i)).and_then(toml_edit::Value::span);
    let range = match (next, previous) {
        (Some(next), _) => span.start..next.start,
        (None, Some(previous)) => previous.end..span.end,
        (None, None) => span.start..after,
    };
    Some(replaced(text, range, ""))
}

/// The comma between a value and what follows, comments skipped.
fn comma_after(text: &str, from: usize, to: usize) -> Option<usize> {
    let mut at = from;
    while at < to {
        match text.as_bytes()[at] {
            b',' => return Some(at),
            b'#' => at = line_end(text, at),
            _ => at += 1,
        }
    }
    None
}
