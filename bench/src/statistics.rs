//! From rounds to figures.

use crate::measure::Figures;

/// The figures of a case, in ns a packet, wrapper included.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// Its name.
    pub name: String,
    /// The fastest round: the machine's best mood.
    pub min: f64,
    /// One round in ten was faster.
    pub p10: f64,
    /// Half of the rounds were faster.
    pub median: f64,
    /// Median of the ratios of each round, to every case.
    pub ratio: Vec<(String, f64)>,
    /// The same for what both cost beyond their wrappers, to the floors.
    pub net_ratio: Vec<(String, f64)>,
}

/// Summaries of all cases, in their order.
pub fn summarise(figures: &Figures) -> Vec<Summary> {
    let names = &figures.cases;
    let ns_of = |name: &str| names.iter().position(|(n, _)| n == name).map(|i| &figures.ns[i]);
    let net = |i: usize| -> Option<Vec<f64>> {
        let wrapper = ns_of(names[i].1)?;
        Some(figures.ns[i].iter().zip(wrapper).map(|(case, wrapper)| case - wrapper).collect())
    };
    let indices = || 0..names.len();
    indices()
        .map(|i| {
            let ns = &figures.ns[i];
            let ratio = indices().map(|r| (names[r].0.clone(), median_ratio(ns, &figures.ns[r])));
            let floors = indices().filter(|r| names[*r].0.starts_with("floor-"));
            let net_ratio =
                floors.filter_map(|r| Some((names[r].0.clone(), median_ratio(&net(i)?, &net(r)?))));
            Summary {
                name: names[i].0.clone(),
                min: quantile(ns, 0.0),
                p10: quantile(ns, 0.1),
                median: quantile(ns, 0.5),
                ratio: ratio.collect(),
                net_ratio: net_ratio.collect(),
            }
        })
        .collect()
}

impl Summary {
    /// Its ratio to `reference`, if that was measured.
    pub fn ratio_to(&self, reference: &str) -> Option<f64> {
        find(&self.ratio, reference)
    }

    /// Its net ratio to `reference`.
    pub fn net_ratio_to(&self, reference: &str) -> Option<f64> {
        find(&self.net_ratio, reference)
    }
}

fn find(ratios: &[(String, f64)], reference: &str) -> Option<f64> {
    ratios.iter().find(|(name, _)| name == reference).map(|(_, ratio)| *ratio)
}

fn median_ratio(case: &[f64], reference: &[f64]) -> f64 {
    let ratios: Vec<f64> = case.iter().zip(reference).map(|(case, reference)| case / reference).collect();
    quantile(&ratios, 0.5)
}

/// The value that a part `q` of all is below (nearest rank); 0 of nothing.
pub fn quantile(values: &[f64], q: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (q * (sorted.len().saturating_sub(1)) as f64).round() as usize;
    sorted.get(rank).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures() -> Figures {
        let case = |name: &str, wrapper| (name.to_owned(), wrapper);
        Figures {
            cases: vec![case("wrapper", "wrapper"), case("floor-v4", "wrapper"), case("x", "wrapper")],
            // The machine is twice as slow in the second half: ratios do not mind.
            ns: vec![
                vec![10.0, 10.0, 20.0, 20.0, 20.0],
                vec![20.0, 20.0, 40.0, 40.0, 40.0],
                vec![60.0, 60.0, 120.0, 120.0, 120.0],
            ],
        }
    }

    #[test]
    fn ratios_are_taken_round_by_round() {
        let [_, floor, x] = &summarise(&figures())[..] else { panic!("three cases") };
        assert_eq!((x.min, x.p10, x.median), (60.0, 60.0, 120.0));
        assert_eq!(x.ratio_to("floor-v4"), Some(3.0));
        assert_eq!(x.ratio_to("wrapper"), Some(6.0));
        assert_eq!(x.net_ratio_to("floor-v4"), Some(5.0));
        assert_eq!((floor.ratio_to("floor-v4"), floor.ratio_to("none")), (Some(1.0), None));
    }

    #[test]
    fn quantiles_are_values_that_were_measured() {
        let values: Vec<f64> = (0..=100).rev().map(f64::from).collect();
        assert_eq!([0.0, 0.1, 0.5, 1.0].map(|q| quantile(&values, q)), [0.0, 10.0, 50.0, 100.0]);
        assert_eq!(quantile(&[], 0.5), 0.0);
    }
}
