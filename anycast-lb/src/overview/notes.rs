//! What is special about a backend.

use serde::Serialize;

use super::standing::Standing;
use super::time::time;
use crate::control::api::{BackendRow, NextHopStatus};

/// A remark.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Note {
    /// Empty = there is nothing to be said.
    pub text: String,
    /// What to think of it.
    pub standing: Standing,
}

impl Note {
    fn new(text: impl Into<String>, standing: Standing) -> Self {
        Note { text: text.into(), standing }
    }
}

/// What is special about it, the worst first.
pub(super) fn note(row: &BackendRow) -> Note {
    if row.state == "draining" {
        return Note::new(drain(row), Standing::Notable);
    }
    if row.health == "down" {
        let reason = match (&row.last_failure, row.health_by.as_deref()) {
            (_, Some("hand")) => "said to be down by hand",
            (Some(reason), _) => reason,
            (None, _) => "down",
        };
        return Note::new(reason, Standing::Bad);
    }
    if let Some(reason) = unreached(row) {
        return Note::new(reason, Standing::Bad);
    }
    match (row.state.as_str(), row.seconds_left) {
        ("filling", Some(left)) => Note::new(format!("takes new flows in {}", time(left)), Standing::Notable),
        ("filling", None) => Note::new("waits to take new flows".to_owned(), Standing::Notable),
        (_, Some(left)) => Note::new(format!("new weight in {}", time(left)), Standing::Notable),
        _ => Note::new(String::new(), Standing::Unknown),
    }
}

fn drain(row: &BackendRow) -> String {
    let flows = row.remaining.map_or_else(|| "? flows".to_owned(), |n| format!("{n} flows"));
    match row.seconds_left {
        Some(left) => format!("{flows}, {}", time(left)),
        None => flows,
    }
}

fn unreached(row: &BackendRow) -> Option<&str> {
    match &row.next_hop {
        NextHopStatus::Resolved { .. } => None,
        NextHopStatus::Unresolved { reason } | NextHopStatus::Pending { reason } => Some(reason),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::overview::testing::backend;

    #[test]
    fn what_is_special_is_told_and_nothing_else() {
        let row = backend("web", "10.0.0.1", 100, 5);
        assert_eq!(note(&row).text, "");
        let filling = BackendRow { state: "filling".into(), seconds_left: Some(9), ..row.clone() };
        assert_eq!(note(&filling).text, "takes new flows in 9 s");
        let heavier = BackendRow { weight: 200, seconds_left: Some(9), ..row.clone() };
        assert_eq!(note(&heavier).text, "new weight in 9 s");
        let by_hand = BackendRow { health: "down".into(), health_by: Some("hand".into()), ..row.clone() };
        assert_eq!(note(&by_hand), Note::new("said to be down by hand", Standing::Bad));
        let lost = NextHopStatus::Unresolved { reason: "no route".into() };
        assert_eq!(note(&BackendRow { next_hop: lost, ..row }).text, "no route");
    }
}
