//! Whether a prefix may be announced, and if not, why.

use std::fmt;
use std::time::Duration;

use super::drain::Phase;

/// How many VIPs of a prefix must be servable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Require {
    /// One or more.
    #[default]
    AnyVip,
    /// All of them.
    AllVips,
    /// At least so many.
    AtLeast(u16),
}

/// What RPKI says of a prefix.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Verdict {
    /// It may be announced, or nobody was asked.
    #[default]
    Permit,
    /// It must not be, for this reason.
    Withhold(String),
}

/// VIPs within a prefix.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vips {
    /// Those that can be served.
    pub servable: usize,
    /// All.
    pub all: usize,
}

/// All that counts.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances<'a> {
    /// Why the data plane carries no packets, if it does not.
    pub no_data_plane: Option<&'a str>,
    /// What RPKI says.
    pub verdict: &'a Verdict,
    /// How many VIPs must be servable.
    pub require: Require,
    /// How many are.
    pub vips: Vips,
    /// How long the prefix is held down after flaps.
    pub held_down: Option<Duration>,
    /// Maintenance of the node.
    pub maintenance: Phase,
}

/// What becomes of a prefix.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Decision {
    /// It is not announced.
    #[default]
    Withdraw,
    /// It is announced, with the marks of a drain.
    Drain,
    /// It is announced.
    Announce,
}

impl Decision {
    /// The word of API and command line.
    pub const fn name(self) -> &'static str {
        match self {
            Decision::Withdraw => "withdrawn",
            Decision::Drain => "draining",
            Decision::Announce => "announced",
        }
    }
}

/// A decision and what it rests on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// What becomes of the prefix.
    pub decision: Decision,
    /// Why, for people.
    pub reason: String,
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.decision.name(), self.reason)
    }
}

impl Require {
    /// How many that is of `all`. A prefix without VIPs serves nobody: one is required in any case.
    pub fn of(self, all: usize) -> usize {
        match self {
            Require::AnyVip => 1,
            Require::AllVips => all.max(1),
            Require::AtLeast(number) => usize::from(number).max(1),
        }
    }

    /// Whether so many are enough.
    pub fn is_met(self, vips: Vips) -> bool {
        vips.servable >= self.of(vips.all)
    }
}

/// Decides. What a node cannot help comes first, what it will get over by itself after that.
pub fn decide(now: &Circumstances<'_>) -> Standing {
    let because = |decision, reason| Standing { decision, reason };
    if let Some(reason) = now.no_data_plane {
        return because(Decision::Withdraw, reason.to_owned());
    }
    if let Verdict::Withhold(reason) = now.verdict {
        return because(Decision::Withdraw, reason.clone());
    }
    let Vips { servable, all } = now.vips;
    if all == 0 {
        return because(Decision::Withdraw, "no VIP lies in it".to_owned());
    }
    if !now.require.is_met(now.vips) {
        let required = now.require.of(all);
        let reason = format!("{servable} of {all} VIPs can be served, {required} must be");
        return because(Decision::Withdraw, reason);
    }
    if now.maintenance == Phase::Drained {
        return because(Decision::Withdraw, "the node is drained".to_owned());
    }
    if let Some(left) = now.held_down {
        let reason = format!("held down for {} s more: it went and came", left.as_secs_f64().ceil());
        return because(Decision::Withdraw, reason);
    }
    if let Phase::Draining { .. } = now.maintenance {
        return because(Decision::Drain, "the node is being drained".to_owned());
    }
    because(Decision::Announce, format!("{servable} of {all} VIPs can be served"))
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    const FINE: Circumstances<'static> = Circumstances {
        no_data_plane: None,
        verdict: &Verdict::Permit,
        require: Require::AnyVip,
        vips: Vips { servable: 1, all: 3 },
        held_down: None,
        maintenance: Phase::Off,
    };

    #[test]
    fn it_is_announced_where_nothing_speaks_against_it() {
        let standing = decide(&FINE);
        assert_eq!(standing.to_string(), "announced: 1 of 3 VIPs can be served");
    }

    #[test]
    fn each_reason_withdraws_and_is_told() {
        let withheld = Verdict::Withhold("RPKI: invalid".to_owned());
        let draining = Phase::Draining { until: Instant::now() };
        for (circumstances, reason) in [
            (
                Circumstances { no_data_plane: Some("not attached"), verdict: &withheld, ..FINE },
                "not attached",
            ),
            (Circumstances { verdict: &withheld, ..FINE }, "RPKI: invalid"),
            (Circumstances { vips: Vips { servable: 0, all: 0 }, ..FINE }, "no VIP lies in it"),
            (
                Circumstances { vips: Vips { servable: 0, all: 3 }, ..FINE },
                "0 of 3 VIPs can be served, 1 must be",
            ),
            (Circumstances { require: Require::AllVips, ..FINE }, "1 of 3 VIPs can be served, 3 must be"),
            (Circumstances { require: Require::AtLeast(2), ..FINE }, "1 of 3 VIPs can be served, 2 must be"),
            (Circumstances { maintenance: Phase::Drained, ..FINE }, "the node is drained"),
            (
                Circumstances { held_down: Some(Duration::from_millis(1500)), maintenance: draining, ..FINE },
                "held down for 2 s more: it went and came",
            ),
        ] {
            let standing = decide(&circumstances);
            assert_eq!(standing, Standing { decision: Decision::Withdraw, reason: reason.to_owned() });
        }
        assert_eq!(decide(&Circumstances { maintenance: draining, ..FINE }).decision, Decision::Drain);
    }

    #[test]
    fn requirements_are_met_by_numbers() {
        let vips = |servable| Vips { servable, all: 3 };
        assert!(Require::AnyVip.is_met(vips(1)) && !Require::AnyVip.is_met(vips(0)));
        assert!(Require::AllVips.is_met(vips(3)) && !Require::AllVips.is_met(vips(2)));
        assert!(Require::AtLeast(2).is_met(vips(2)) && !Require::AtLeast(2).is_met(vips(1)));
        for require in [Require::AnyVip, Require::AllVips, Require::AtLeast(0)] {
            assert!(!require.is_met(Vips { servable: 0, all: 0 }), "{require:?}");
        }
    }
}
