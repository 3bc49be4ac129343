//! For programs.

use serde_json::{Map, Value, json};

use crate::statistics::Summary;

/// Hundredths of a ns are noise already; thousandths of a ratio are not quite.
const NS_STEP: f64 = 100.0;
const RATIO_STEP: f64 = 1000.0;

/// `{"cases":{NAME:{"min":…,"p10":…,"median":…,"ratio":{REFERENCE:…},"net_ratio":{REFERENCE:…}}}}`.
pub fn json(summaries: &[Summary]) -> Value {
    let cases: Map<String, Value> = summaries
        .iter()
        .map(|s| {
            let case = json!({
                "min": rounded(s.min, NS_STEP),
                "p10": rounded(s.p10, NS_STEP),
                "median": rounded(s.median, NS_STEP),
                "ratio": ratios(&s.ratio),
                "net_ratio": ratios(&s.net_ratio),
            });
            (s.name.clone(), case)
        })
        .collect();
    json!({ "cases": cases })
}

fn ratios(ratios: &[(String, f64)]) -> Map<String, Value> {
    ratios.iter().map(|(name, ratio)| (name.clone(), rounded(*ratio, RATIO_STEP).into())).collect()
}

fn rounded(value: f64, step: f64) -> f64 {
    (value * step).round() / step
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_has_the_agreed_form() {
        let summary = Summary {
            name: "pass".to_owned(),
            min: 15.004,
            p10: 15.2,
            median: 16.0,
            ratio: vec![("xdp-tx".to_owned(), 1.23456)],
            net_ratio: Vec::new(),
        };
        assert_eq!(
            json(&[summary]).to_string(),
            r#"{"cases":{"pass":{"median":16.0,"min":15.0,"net_ratio":{},"p10":15.2,"ratio":{"xdp-tx":1.235}}}}"#
        );
    }
}
