//! What is wrong, the worst first.

use super::{Cell, Line, Sheet, prose, words};
use crate::overview::Overview;
use crate::overview::wrongs::Wrong;

pub(super) fn sheet(overview: &Overview) -> Sheet {
    Sheet {
        columns: vec![words("SEVERITY", 8, 0), words("WHAT", 9, 0), prose("WHY", 20, 0)],
        lines: overview.wrongs.iter().enumerate().map(|(number, wrong)| line(number, wrong)).collect(),
        empty: "nothing is wrong",
    }
}

fn line(number: usize, wrong: &Wrong) -> Line {
    let severity = Cell::toned(&wrong.severity, wrong.standing().into()).ordered(f64::from(wrong.rank()));
    let cells = vec![severity, Cell::text(&wrong.what), Cell::text(&wrong.text)];
    Line::new(format!("{number} {}", wrong.text), cells, format!("{}: {}", wrong.what, wrong.text))
}
