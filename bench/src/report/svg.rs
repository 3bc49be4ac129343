//! A plot: a bar for each case, the median behind the minimum.

use std::fmt::Write as _;

use super::Circumstances;
use crate::statistics::Summary;

const WIDTH: f64 = 900.0;
/// Where bars begin: names are left of it.
const LEFT: f64 = 220.0;
/// Room for the figures right of the longest bar.
const RIGHT: f64 = 90.0;
const TOP: f64 = 50.0;
const ROW: f64 = 20.0;
const BAR: f64 = 14.0;
/// Where the baseline of a text in a row is.
const BASELINE: f64 = 11.0;

/// The plot.
pub fn svg(summaries: &[Summary], circumstances: &Circumstances) -> String {
    let longest = summaries.iter().map(|s| s.median).fold(1.0, f64::max);
    let scale = (WIDTH - LEFT - RIGHT) / longest;
    let height = TOP + ROW * summaries.len() as f64 + ROW;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text x=\"10\" y=\"20\" font-size=\"14\">ns a packet, wrapper included: minimum (dark) and median (light)</text>\n\
         <text x=\"10\" y=\"38\" fill=\"#666\">{}</text>\n",
        escape(&circumstances.to_string())
    );
    for (i, summary) in summaries.iter().enumerate() {
        let y = TOP + ROW * i as f64;
        let (dark, light) = colours(&summary.name);
        let (min, median) = (summary.min * scale, summary.median * scale);
        // Writing into a string does not fail.
        let _ = writeln!(
            text,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>\
             <rect x=\"{LEFT}\" y=\"{y}\" width=\"{median:.1}\" height=\"{BAR}\" fill=\"{light}\"/>\
             <rect x=\"{LEFT}\" y=\"{y}\" width=\"{min:.1}\" height=\"{BAR}\" fill=\"{dark}\"/>\
             <text x=\"{:.1}\" y=\"{}\">{:.0} / {:.0}</text>",
            LEFT - 8.0,
            y + BASELINE,
            escape(&summary.name),
            LEFT + median + 6.0,
            y + BASELINE,
            summary.min,
            summary.median,
        );
    }
    text.push_str("</svg>\n");
    text
}

/// References grey, peers red, ours blue, the backend green.
fn colours(name: &str) -> (&'static str, &'static str) {
    if name.starts_with("peer-") {
        ("#b5432f", "#e3b3a8")
    } else if name.starts_with("backend-") {
        ("#2f7d4f", "#a9d4ba")
    } else if crate::cases::REFERENCES.contains(&name) {
        ("#666666", "#c4c4c4")
    } else {
        ("#2c5f9e", "#a9c4e3")
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_has_its_bar() {
        let case = |name: &str, min| Summary {
            name: name.to_owned(),
            min,
            p10: min,
            median: 2.0 * min,
            ratio: Vec::new(),
            net_ratio: Vec::new(),
        };
        let circumstances = Circumstances {
            kernel: "6".into(),
            processor: "a < b".into(),
            cpu: 0,
            cpus: 1,
            rounds: 3,
            packets: 1000,
        };
        let text = svg(&[case("pass", 10.0), case("peer-x-v4-1", 295.0)], &circumstances);
        assert_eq!(text.matches("<rect x=").count(), 4);
        assert!(text.contains("width=\"590.0\"") && text.contains("a &lt; b"), "{text}");
    }
}
