//! For people: a table in Markdown, which also reads well on a terminal.

use std::fmt::Write as _;

use super::Circumstances;
use crate::statistics::Summary;
use crate::targets::TARGETS;

/// Both tables.
pub fn markdown(summaries: &[Summary], circumstances: &Circumstances) -> String {
    let mut text = format!("{circumstances}. ns a packet, wrapper included.\n\n");
    let rows: Vec<Vec<String>> = summaries.iter().map(case_row).collect();
    table(&mut text, &["case", "min", "p10", "median", "× XDP_TX", "× floor", "net × floor"], &rows);
    text.push('\n');
    let rows: Vec<Vec<String>> = TARGETS
        .iter()
        .filter_map(|target| {
            let measured = target.measured(summaries)?;
            let net = if target.net { ", net" } else { "" };
            Some(vec![
                target.case.to_owned(),
                format!("{}{net}", target.reference),
                format!("{measured:.2}"),
                format!("{:.2}", target.limit),
                if measured <= target.limit { "yes" } else { "NO" }.to_owned(),
            ])
        })
        .collect();
    table(&mut text, &["case", "compared with", "ratio", "at most", "reached"], &rows);
    let rows: Vec<Vec<String>> = summaries.iter().filter_map(|peer| peer_row(peer, summaries)).collect();
    if !rows.is_empty() {
        text.push('\n');
        table(&mut text, &["case", "compared with", "ratio"], &rows);
    }
    text
}

/// Our own program beside a peer's, on the same packets.
fn peer_row(peer: &Summary, summaries: &[Summary]) -> Option<Vec<String>> {
    // peer-NAME-FAMILY-FLOWS; a name may have dashes itself.
    let [flows, family, _] = peer.name.strip_prefix("peer-")?.rsplitn(3, '-').collect::<Vec<_>>()[..] else {
        return None;
    };
    let own = format!("ingress-{family}-ipip-{flows}");
    let ratio = summaries.iter().find(|summary| summary.name == own)?.ratio_to(&peer.name)?;
    Some(vec![own, peer.name.clone(), format!("{ratio:.2}")])
}

fn case_row(summary: &Summary) -> Vec<String> {
    let floor = if summary.name.contains("v6") { "floor-v6" } else { "floor-v4" };
    let ratio = |ratio: Option<f64>| ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}"));
    vec![
        summary.name.clone(),
        format!("{:.1}", summary.min),
        format!("{:.1}", summary.p10),
        format!("{:.1}", summary.median),
        ratio(summary.ratio_to("xdp-tx")),
        ratio(summary.ratio_to(floor)),
        ratio(summary.net_ratio_to(floor)),
    ]
}

/// Columns as wide as they need; all but the first two words' columns are numbers, to the right.
pub fn table(text: &mut String, head: &[&str], rows: &[Vec<String>]) {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([head[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let is_number = |column: usize| {
        column > 0 && rows.iter().all(|row| row[column].is_empty() || row[column].parse::<f64>().is_ok())
    };
    let mut line = |cells: Vec<&str>| {
        for (column, cell) in cells.into_iter().enumerate() {
            let width = widths[column];
            // Writing into a string does not fail.
            let _ = if is_number(column) {
                write!(text, "| {cell:>width$} ")
            } else {
                write!(text, "| {cell:width$} ")
            };
        }
        text.push_str("|\n");
    };
    line(head.to_vec());
    let rules: Vec<String> = (0..head.len())
        .map(|column| {
            if is_number(column) {
                format!("{:->1$}:", "", widths[column] - 1)
            } else {
                "-".repeat(widths[column])
            }
        })
        .collect();
    line(rules.iter().map(String::as_str).collect());
    for row in rows {
        line(row.iter().map(String::as_str).collect());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_compared_with_our_own_program_on_the_same_packets() {
        let summary = |name: &str, ratio| Summary {
            name: name.to_owned(),
            min: 1.0,
            p10: 1.0,
            median: 1.0,
            ratio: vec![("peer-a-b-v6-65k".to_owned(), ratio)],
            net_ratio: Vec::new(),
        };
        let all = [summary("ingress-v6-ipip-65k", 0.25), summary("peer-a-b-v6-65k", 1.0)];
        let expected = ["ingress-v6-ipip-65k", "peer-a-b-v6-65k", "0.25"].map(str::to_owned);
        assert_eq!(peer_row(&all[1], &all), Some(expected.to_vec()));
        assert_eq!(peer_row(&all[0], &all), None);
    }

    #[test]
    fn columns_line_up_and_numbers_stand_right() {
        let mut text = String::new();
        let row = |a: &str, b: &str| vec![a.to_owned(), b.to_owned()];
        table(&mut text, &["case", "× floor"], &[row("pass", "1.05"), row("floor-v4", "")]);
        assert_eq!(
            text,
            "| case     | × floor |\n| -------- | ------: |\n| pass     |    1.05 |\n| floor-v4 |         |\n"
        );
    }
}
