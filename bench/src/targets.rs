//! What the data plane is meant to reach, as ratios: they hold on any machine that is not in a hurry.

use crate::statistics::Summary;

/// A limit on a ratio.
pub struct Target {
    /// The case.
    pub case: &'static str,
    /// What it is compared with.
    pub reference: &'static str,
    /// The largest ratio that is good.
    pub limit: f64,
    /// Whether wrappers are subtracted from both.
    pub net: bool,
}

const fn raw(case: &'static str, reference: &'static str, limit: f64) -> Target {
    Target { case, reference, limit, net: false }
}

const fn net(case: &'static str, reference: &'static str, limit: f64) -> Target {
    Target { case, reference, limit, net: true }
}

/// All of them. `docs/PERFORMANCE.md` says why these.
pub const TARGETS: [Target; 14] = [
    raw("wrapper", "floor-v4", 0.7),
    raw("ingress-v4-ipip-1", "floor-v4", 2.0),
    raw("ingress-v6-ipip-1", "floor-v6", 2.2),
    raw("ingress-v4-ipip-1m", "ingress-v4-ipip-1", 1.5),
    raw("ingress-v6-ipip-1m", "ingress-v6-ipip-1", 1.5),
    raw("pass", "xdp-tx", 1.6),
    raw("ingress-v4-gue3-1", "ingress-v4-gue0-1", 1.12),
    raw("ingress-v6-gue3-1", "ingress-v6-gue0-1", 1.4),
    raw("ingress-v6-gue7-1", "ingress-v6-gue0-1", 2.0),
    raw("vips64-shared-65k", "ingress-v4-ipip-1", 2.0),
    raw("vips64-own-65k", "ingress-v4-ipip-1", 3.0),
    raw("vips1000-65k", "ingress-v4-ipip-1", 3.0),
    net("backend-syn", "floor-v4", 4.0),
    net("backend-established", "floor-v4", 6.0),
];

impl Target {
    /// The ratio that was measured, if both were.
    pub fn measured(&self, summaries: &[Summary]) -> Option<f64> {
        let case = summaries.iter().find(|summary| summary.name == self.case)?;
        if self.net { case.net_ratio_to(self.reference) } else { case.ratio_to(self.reference) }
    }
}
