//! Aligned columns.

use anstyle::{AnsiColor, Style};

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
        Cell { text: text.into(), style: Style::new().fg_color(Some(colour.into())) }
    }

    /// Painted yellow.
    pub fn notable(text: impl Into<String>) -> Self {
        Cell { text: text.into(), style: Style::new().fg_color(Some(AnsiColor::Yellow.into())) }
    }
}

impl<T: ToString> From<T> for Cell {
    fn from(text: T) -> Self {
        Cell { text: text.to_string(), style: Style::new() }
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
        debug_assert_eq!(N, self.headings.len());
        self.rows.push(cells.to_vec());
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
        for (column, cell) in line.iter().enumerate() {
            let padding = " ".repeat(widths[column] - cell.text.chars().count());
            let style = cell.style;
            if column > 0 {
                out.push_str("  ");
            }
            let last = column + 1 == line.len();
            match (self.right[column], last) {
                (true, _) => out.push_str(&format!("{padding}{style}{}{style:#}", cell.text)),
                (false, true) => out.push_str(&format!("{style}{}{style:#}", cell.text)),
                (false, false) => out.push_str(&format!("{style}{}{style:#}{padding}", cell.text)),
            }
        }
        out.push('\n');
    }
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
