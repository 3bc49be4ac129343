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

const RULES: &str = include_str!("../../../../packaging/prometheus/anycast-lb.rules.yml");
const RULE_TESTS: &str = include_str!("../../../../packaging/prometheus/anycast-lb.rules.test.yml");
const DASHBOARD: &str = include_str!("../../../../packaging/grafana/anycast-lb.json");

/// Names of metrics in a text.
fn named(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with("anycast_lb_") || word.starts_with("process_")).collect()
}

#[test]
fn whoever_names_a_metric_names_one_that_there_is() {
    let known: BTreeSet<&str> = metrics().map(|m| m.name).collect();
    for (file, text) in [
        ("docs/METRICS.md", DOCUMENT),
        ("anycast-lb.rules.yml", RULES),
        ("anycast-lb.rules.test.yml", RULE_TESTS),
        ("anycast-lb.json", DASHBOARD),
    ] {
        let named = named(text);
        assert!(named.len() > 10, "{file}: {named:?}");
        let unknown: Vec<_> = named.difference(&known).collect();
        assert!(unknown.is_empty(), "{file} names metrics that there are not: {unknown:?}");
    }
}

#[test]
fn each_alert_says_all_it_has_to_and_is_tested_both_ways() {
    let alerts: Vec<&str> = RULES.split("- alert: ").skip(1).collect();
    assert!(alerts.len() > 20);
    for alert in alerts {
        let name = alert.lines().next().unwrap_or_default();
        for key in ["expr: ", "for: ", "severity: ", "summary: ", "description: "] {
            assert!(alert.contains(key), "{name} has no {key}");
        }
        for way in ["fires", "is silent"] {
            assert!(RULE_TESTS.contains(&format!("- name: {name} {way}\n")), "no test in which {name} {way}");
        }
    }
}

#[test]
fn the_dashboard_has_no_empty_panel() {
    let dashboard: serde_json::Value = serde_json::from_str(DASHBOARD).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let mut places = BTreeSet::new();
    let mut titles = BTreeSet::new();
    for panel in panels {
        let title = panel["title"].as_str().expect("a title");
        assert!(!title.is_empty() && titles.insert(title), "{title} is there twice");
        let at = |key: &str| panel["gridPos"][key].as_u64().expect("a place");
        assert!(at("x") + at("w") <= 24, "{title} is too wide");
        for x in at("x")..at("x") + at("w") {
            for y in at("y")..at("y") + at("h") {
                assert!(places.insert((x, y)), "{title} lies on another panel");
            }
        }
        if panel["type"] == "row" {
            continue;
        }
        assert!(panel["description"].as_str().is_some_and(|text| text.len() > 10), "{title}");
        let targets = panel["targets"].as_array().expect("targets");
        assert!(!targets.is_empty(), "{title} is empty");
        for target in targets {
            let expression = target["expr"].as_str().expect("an expression");
            assert!(!named(expression).is_empty() || expression.contains("up{"), "{title}: {expression}");
        }
    }
    assert!(titles.len() > 25, "{titles:?}");
}
