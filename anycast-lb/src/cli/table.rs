//! Aligned columns.

use anstyle::{AnsiColor, Style};
use anycast_lb_capture::printable;

/// Characters of a line: the width that every terminal has.
pub const LINE: usize = 80;
/// Between columns.
const GAP: &str = "  ";
/// A last column that would be narrower than this is not wrapped.
const LEAST_ROOM: usize = 20;

/// A cell: text and how it is painted.
#[derive(Clone, Debug)]
pub struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    /// Painted green when `good`, else red.
    pub fn judged(text: impl Into<String>, good: bool) -> Self {
        let colour = if good { AnsiColor::Green } else { AnsiColor::Red };
        Cell::styled(&text.into(), Style::new().fg_color(Some(colour.into())))
    }

    /// Painted yellow.
    pub fn notable(text: impl Into<String>) -> Self {
        Cell::styled(&text.into(), Style::new().fg_color(Some(AnsiColor::Yellow.into())))
    }

    /// Names and reasons may be what others say: a terminal shows them and does nothing else.
    fn styled(text: &str, style: Style) -> Self {
        Cell { text: printable(text), style }
    }
}

impl<T: ToString> From<T> for Cell {
    fn from(text: T) -> Self {
        Cell::styled(&text.to_string(), Style::new())
    }
}

/// Columns under headings. A heading that begins with `>` is a number's: its column is aligned right.
#[derive(Debug)]
pub struct Table {
    headings: Vec<Cell>,
    right: Vec<bool>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// A table without rows.
    pub fn new(headings: &[&str]) -> Self {
        let bold = Style::new().bold();
        Table {
            headings: headings
                .iter()
                .map(|h| Cell { text: h.trim_start_matches('>').to_owned(), style: bold })
                .collect(),
            right: headings.iter().map(|h| h.starts_with('>')).collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row: one cell a heading.
    pub fn row<const N: usize>(&mut self, cells: [Cell; N]) {
        self.push(cells.to_vec());
    }

    /// Adds a row whose number of cells is known when it is made.
    pub fn push(&mut self, cells: Vec<Cell>) {
        debug_assert_eq!(cells.len(), self.headings.len());
        self.rows.push(cells);
    }

    /// The text, each line ended; what it says when there are no rows is `empty`.
    pub fn render(&self, empty: &str) -> String {
        if self.rows.is_empty() {
            return format!("{empty}\n");
        }
        let lines = || std::iter::once(&self.headings).chain(&self.rows);
        let width = |column: usize| lines().map(|l| l[column].text.chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..self.headings.len()).map(width).collect();
        let mut out = String::new();
        for line in lines() {
            self.render_line(line, &widths, &mut out);
        }
        out
    }

    fn render_line(&self, line: &[Cell], widths: &[usize], out: &mut String) {
        let indent: usize = widths[..widths.len() - 1].iter().map(|w| w + GAP.len()).sum();
        let room = LINE.saturating_sub(indent);
        let end = out.len();
        for (column, cell) in line.iter().enumerate() {
            let padding = " ".repeat(widths[column] - cell.text.chars().count());
            let style = cell.style;
            if column > 0 {
                out.push_str(GAP);
            }
            let last = column + 1 == line.len();
            match (self.right[column], last) {
                (true, _) => out.push_str(&format!("{padding}{style}{}{style:#}", cell.text)),
                (false, true) if cell.text.is_empty() => {
                    let kept = end + out[end..].trim_end().len();
                    out.truncate(kept);
                }
                (false, true) if room < LEAST_ROOM => {
                    out.push_str(&format!("{style}{}{style:#}", cell.text));
                }
                (false, true) => {
                    for (n, part) in wrap(&cell.text, room).iter().enumerate() {
                        if n > 0 {
                            out.push_str(&format!("\n{:indent$}", ""));
                        }
                        out.push_str(&format!("{style}{part}{style:#}"));
                    }
                }
                (false, false) => out.push_str(&format!("{style}{}{style:#}{padding}", cell.text)),
            }
        }
        out.push('\n');
    }
}

/// Breaks text between words into lines of at most `width` characters; a longer word stays whole.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    // Words first: what is escaped has no end of a line any more.
    let text = printable(&text.split_whitespace().collect::<Vec<_>>().join(" "));
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// `1 VIP`, `2 VIPs`.
pub fn counted(n: usize, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

/// A share in parts per million as a percentage with two digits.
pub fn percent(ppm: u32) -> String {
    // Rounded half up in integers: 999,950 ppm and more must not be shown as less than 100.
    let hundredths = (u64::from(ppm) + 50) / 100;
    format!("{}.{:02} %", hundredths / 100, hundredths % 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_lines_have_no_tails() {
        let mut table = Table::new(&["POOL", ">PACKETS", "STATE"]);
        table.row(["web".into(), 12_345.into(), Cell::judged("active", true)]);
        table.row(["a-longer-name".into(), 7.into(), Cell::judged("failed", false)]);
        let text = anstream::adapter::strip_str(&table.render("")).to_string();
        assert_eq!(
            text,
            "POOL           PACKETS  STATE\n\
             web              12345  active\n\
             a-longer-name        7  failed\n"
        );
    }

    #[test]
    fn what_others_say_is_shown_and_not_obeyed() {
        let mut table = Table::new(&["NODE", "WHY"]);
        table.row(["lb\x1b[2J".into(), Cell::judged("\u{202e}because\r\n", false)]);
        let text = table.render("");
        assert!(text.contains("lb\\u{1b}[2J") && text.contains("\\u{202e}because"), "{text:?}");
        assert_eq!(wrap("a \x1b[2J\nb", 80), ["a \\u{1b}[2J b"]);
    }

    #[test]
    fn prose_in_the_last_column_is_wrapped_under_itself() {
        let mut table = Table::new(&["NAME", "MEANING"]);
        table.row(["short".into(), "word ".repeat(20).into()]);
        table.row(["none".into(), "".into()]);
        let text = anstream::adapter::strip_str(&table.render("")).to_string();
        let line = ["word"; 14].join(" ");
        assert_eq!(text, format!("NAME   MEANING\nshort  {line}\n       {}\nnone\n", ["word"; 6].join(" ")));
        assert!(text.lines().all(|l| l.len() <= LINE));
    }

    #[test]
    fn one_is_not_many() {
        assert_eq!([counted(0, "VIP"), counted(1, "VIP"), counted(2, "VIP")], ["0 VIPs", "1 VIP", "2 VIPs"]);
    }

    #[test]
    fn an_empty_table_says_so() {
        assert_eq!(Table::new(&["VIP"]).render("no VIPs"), "no VIPs\n");
    }

    #[test]
    fn shares_are_rounded() {
        assert_eq!(percent(1_000_000), "100.00 %");
        assert_eq!(percent(333_333), "33.33 %");
        assert_eq!(percent(66_666), "6.67 %");
        assert_eq!(percent(0), "0.00 %");
    }
}
