//! What is written about metrics elsewhere: `docs/METRICS.md`, the dashboard, the alert rules.

use std::collections::BTreeSet;

use crate::metrics::table::{Metric, metrics};

const DOCUMENT: &str = include_str!("../../../../docs/METRICS.md");

/// The line of the document that describes a metric.
fn row(m: &Metric) -> String {
    let labels: Vec<String> = m.labels.iter().map(|l| format!("`{l}`")).collect();
    format!("| `{}` | {} | {} | {} | {} |", m.name, m.kind.name(), labels.join(", "), m.roles.name(), m.help)
}

#[test]
fn the_document_describes_each_metric_as_it_is_and_no_other() {
    let written: Vec<&str> = DOCUMENT.lines().filter(|line| line.starts_with("| `")).collect();
    let expected: Vec<String> = metrics().map(row).collect();
    let missing: Vec<_> = expected.iter().filter(|row| !written.contains(&row.as_str())).collect();
    let other: Vec<_> = written.iter().filter(|line| !expected.iter().any(|row| row == *line)).collect();
    assert!(missing.is_empty(), "docs/METRICS.md lacks these lines:\n{missing:#?}");
    assert!(other.is_empty(), "docs/METRICS.md has lines that describe no metric as it is:\n{other:#?}");
    assert_eq!(written.iter().collect::<BTreeSet<_>>().len(), written.len(), "a line is there twice");
}
