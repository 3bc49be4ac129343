//! What a view shows: columns and lines of plain text, before anything is drawn.

mod alarms;
mod backends;
mod drops;
mod sessions;
mod vips;

use std::cmp::Ordering;

use super::text::{plain, short};
use crate::overview::Overview;
use crate::overview::rates::Rate;
use crate::overview::standing::Standing;

/// A view of the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// Service addresses.
    Vips,
    /// Servers.
    Backends,
    /// Where packets end that are not sent on.
    Drops,
    /// With whom this node talks, and what about.
    Sessions,
    /// What is wrong.
    Alarms,
}

impl View {
    /// In the order of their keys.
    pub const ALL: [View; 5] = [View::Vips, View::Backends, View::Drops, View::Sessions, View::Alarms];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            View::Vips => "VIPs",
            View::Backends => "Backends",
            View::Drops => "Drops",
            View::Sessions => "Sessions",
            View::Alarms => "Alarms",
        }
    }

    /// Its place among the keys, from 0.
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// How a cell is painted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tone {
    /// As it is.
    #[default]
    Plain,
    /// Of less weight.
    Dim,
    /// As it should be.
    Good,
    /// On its way, or worth a look.
    Notable,
    /// As it should not be.
    Bad,
}

impl From<Standing> for Tone {
    fn from(standing: Standing) -> Self {
        match standing {
            Standing::Good => Tone::Good,
            Standing::Notable => Tone::Notable,
            Standing::Bad => Tone::Bad,
            Standing::Unknown => Tone::Plain,
        }
    }
}

/// A column.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// Its title.
    pub title: &'static str,
    /// Numbers are aligned right.
    pub right: bool,
    /// Narrower than this it is of no use.
    pub least: usize,
    /// Those with the largest go first where room runs out; 0 stays.
    pub rank: u8,
    /// Takes the room that is left.
    pub grows: bool,
}

/// Of text.
const fn words(title: &'static str, least: usize, rank: u8) -> Column {
    Column { title, right: false, least, rank, grows: false }
}

/// Of numbers.
const fn numbers(title: &'static str, least: usize, rank: u8) -> Column {
    Column { title, right: true, least, rank, grows: false }
}

/// Of prose, at the end.
const fn prose(title: &'static str, least: usize, rank: u8) -> Column {
    Column { title, right: false, least, rank, grows: true }
}

/// A cell.
#[derive(Clone, Debug)]
pub struct Cell {
    /// Harmless text.
    pub text: String,
    /// How it is painted.
    pub tone: Tone,
    /// What it is sorted by; none = its text.
    order: Option<f64>,
}

impl Cell {
    fn toned(text: impl AsRef<str>, tone: Tone) -> Self {
        Cell { text: plain(text.as_ref()), tone, order: None }
    }

    fn text(text: impl AsRef<str>) -> Self {
        Cell::toned(text, Tone::Plain)
    }

    fn ordered(self, order: f64) -> Self {
        Cell { order: Some(order), ..self }
    }

    /// A number in short; none is a dash.
    fn number(number: Option<f64>) -> Self {
        let tone = if number.is_some_and(|n| n > 0.0) { Tone::Plain } else { Tone::Dim };
        Cell::toned(number.map_or_else(|| "-".to_owned(), short), tone).ordered(number.unwrap_or(-1.0))
    }

    fn compare(&self, other: &Cell) -> Ordering {
        match (self.order, other.order) {
            (Some(a), Some(b)) => a.total_cmp(&b),
            _ => self.text.cmp(&other.text),
        }
    }
}

fn packets(rate: Option<Rate>) -> Cell {
    Cell::number(rate.map(|r| r.packets))
}

fn bits(rate: Option<Rate>) -> Cell {
    Cell::number(rate.map(|r| r.bits))
}

/// A line.
#[derive(Clone, Debug)]
pub struct Line {
    /// Tells it from others, from one moment to the next.
    pub id: String,
    /// One a column.
    pub cells: Vec<Cell>,
    /// All of it in prose.
    pub detail: String,
}

impl Line {
    fn new(id: impl AsRef<str>, cells: Vec<Cell>, detail: impl AsRef<str>) -> Self {
        Line { id: plain(id.as_ref()), cells, detail: plain(detail.as_ref()) }
    }
}

/// A view's content.
#[derive(Clone, Debug)]
pub struct Sheet {
    /// Its columns.
    pub columns: Vec<Column>,
    /// Its lines, as the daemon gave them.
    pub lines: Vec<Line>,
    /// What is said where there are none.
    pub empty: &'static str,
}

/// By which column lines are sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sort {
    /// None = as the daemon gave them.
    pub column: Option<usize>,
    /// Large ones first.
    pub down: bool,
}

impl Sheet {
    /// What `view` shows. `all`: ways out by which nothing is dropped, too.
    pub fn of(view: View, overview: &Overview, all: bool) -> Self {
        match view {
            View::Vips => vips::sheet(overview),
            View::Backends => backends::sheet(overview),
            View::Drops => drops::sheet(overview, all),
            View::Sessions => sessions::sheet(overview),
            View::Alarms => alarms::sheet(overview),
        }
    }

    /// How a view is sorted unless told otherwise.
    pub const fn usual_sort(view: View) -> Sort {
        match view {
            View::Vips => Sort { column: Some(2), down: true },
            View::Drops => Sort { column: Some(1), down: true },
            _ => Sort { column: None, down: false },
        }
    }

    /// Keeps the lines that have `filter` in them, whatever its case, and sorts them.
    pub fn arrange(&mut self, filter: &str, sort: Sort) {
        let wanted = filter.to_lowercase();
        if !wanted.is_empty() {
            let has = |text: &str| text.to_lowercase().contains(&wanted);
            self.lines.retain(|l| l.cells.iter().any(|c| has(&c.text)) || has(&l.detail));
        }
        let Some(column) = sort.column.filter(|&c| c < self.columns.len()) else {
            if sort.down {
                self.lines.reverse();
            }
            return;
        };
        self.lines.sort_by(|a, b| {
            let order = a.cells[column].compare(&b.cells[column]);
            if sort.down { order.reverse() } else { order }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::overview::rates::Meter;
    use crate::overview::testing::{facts, hostile};

    fn overview() -> Overview {
        Overview::new(facts(), &mut Meter::default(), Instant::now())
    }

    fn ids(sheet: &Sheet) -> Vec<&str> {
        sheet.lines.iter().map(|l| l.id.as_str()).collect()
    }

    #[test]
    fn every_line_has_a_cell_for_each_column_and_its_own_name() {
        for overview in [overview(), Overview::new(hostile(), &mut Meter::default(), Instant::now())] {
            for view in View::ALL {
                let sheet = Sheet::of(view, &overview, true);
                assert!(!sheet.lines.is_empty(), "{view:?}");
                assert!(sheet.lines.iter().all(|l| l.cells.len() == sheet.columns.len()), "{view:?}");
                let mut names = ids(&sheet);
                names.sort_unstable();
                names.dedup();
                assert_eq!(names.len(), sheet.lines.len(), "{view:?}");
                assert_eq!(sheet.columns.iter().filter(|c| c.grows).count(), 1, "{view:?}");
                for line in &sheet.lines {
                    let texts = line.cells.iter().map(|c| &c.text).chain([&line.detail, &line.id]);
                    assert!(texts.clone().all(|t| plain(t) == *t), "{line:?}");
                }
            }
        }
    }

    #[test]
    fn lines_are_sorted_by_value_and_not_by_what_is_shown() {
        let overview = overview();
        let mut sheet = Sheet::of(View::Vips, &overview, false);
        let packets = sheet.columns.iter().position(|c| c.title == "PACKETS").expect("a column");
        sheet.arrange("", Sort { column: Some(packets), down: true });
        assert_eq!(
            ids(&sheet),
            ["203.0.113.1:443/tcp", "[2001:db8:ffff:ffff:ffff:ffff:ffff:1]:443/tcp", "203.0.113.53/any"]
        );
        sheet.arrange("", Sort { column: Some(packets), down: false });
        assert_eq!(ids(&sheet)[0], "203.0.113.53/any");
        sheet.arrange("", Sort { column: Some(99), down: false });
    }

    #[test]
    fn a_filter_looks_into_everything_whatever_its_case() {
        let overview = overview();
        let found = |view, filter| {
            let mut sheet = Sheet::of(view, &overview, true);
            sheet.arrange(filter, Sheet::usual_sort(view));
            sheet.lines.len()
        };
        assert_eq!(found(View::Vips, "DNS"), 1);
        assert_eq!(found(View::Backends, "web"), 3);
        assert_eq!(found(View::Backends, "refused"), 1);
        assert_eq!(found(View::Drops, "no such thing"), 0);
    }

    #[test]
    fn drops_alone_are_shown_unless_all_is_wanted() {
        let overview = overview();
        assert_eq!(Sheet::of(View::Drops, &overview, false).lines.len(), 3);
        assert_eq!(Sheet::of(View::Drops, &overview, true).lines.len(), 5);
    }

    #[test]
    fn a_drain_says_what_is_left_of_it() {
        let sheet = Sheet::of(View::Backends, &overview(), false);
        let note = &sheet.lines[2].cells.last().expect("a note").text;
        assert!(note.contains("12 flows") && note.contains("29m50s"), "{note}");
        let note = &sheet.lines[3].cells.last().expect("a note").text;
        assert!(note.contains("connection refused"), "{note}");
    }
}
