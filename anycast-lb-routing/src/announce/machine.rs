//! All prefixes of a node: what is known of each, and what becomes of it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ipnet::IpNet;

use super::damping::Damping;
use super::drain::Phase;
use super::gate::{Circumstances, Decision, Require, Standing, Verdict, Vips, decide};

/// What is said before anything is known.
const NOT_YET: &str = "the data plane is not in force yet";

/// What becomes of each prefix.
pub type Standings = BTreeMap<IpNet, Standing>;

/// The machine. It is told what is true, and asked what to announce.
#[derive(Clone, Debug)]
pub struct Announcer {
    prefixes: BTreeMap<IpNet, Prefix>,
    no_data_plane: Option<String>,
    maintenance: Phase,
}

#[derive(Clone, Debug, Default)]
struct Prefix {
    require: Require,
    vips: Vips,
    verdict: Verdict,
    damping: Damping,
    standing: Standing,
}

impl Default for Announcer {
    fn default() -> Self {
        Announcer {
            prefixes: BTreeMap::new(),
            no_data_plane: Some(NOT_YET.to_owned()),
            maintenance: Phase::Off,
        }
    }
}

impl Announcer {
    /// These prefixes and no others; what is known of those that stay is kept.
    pub fn configure(&mut self, prefixes: impl IntoIterator<Item = (IpNet, Require)>) {
        let mut before = std::mem::take(&mut self.prefixes);
        for (prefix, require) in prefixes {
            let known = before.remove(&prefix).unwrap_or_default();
            self.prefixes.insert(prefix, Prefix { require, ..known });
        }
    }

    /// The data plane carries packets, or does not, for this reason.
    pub fn set_data_plane(&mut self, obstacle: Option<String>) {
        self.no_data_plane = obstacle;
    }

    /// How many VIPs of a prefix can be served.
    pub fn set_vips(&mut self, now: Instant, prefix: &IpNet, vips: Vips) {
        let Some(known) = self.prefixes.get_mut(prefix) else { return };
        let before = std::mem::replace(&mut known.vips, vips);
        // What was never announced, or is held back for another reason, does not flap; nor is it one when all that
        // could be served before still can, and more is asked.
        let lost = !known.require.is_met(vips) && (vips.all <= before.all || vips.servable < before.servable);
        if known.standing.decision != Decision::Withdraw && lost {
            known.damping.lost(now);
        }
    }

    /// What RPKI says of a prefix.
    pub fn set_verdict(&mut self, prefix: &IpNet, verdict: Verdict) {
        if let Some(known) = self.prefixes.get_mut(prefix) {
            known.verdict = verdict;
        }
    }

    /// How far the node's drain is.
    pub fn maintenance(&self) -> Phase {
        self.maintenance
    }

    /// The node was being drained when an earlier daemon ended.
    pub fn resume_drained(&mut self) {
        self.maintenance = Phase::Drained;
    }

    /// Drains the node: marks for `wait`, then withdrawal.
    pub fn drain(&mut self, now: Instant, wait: Duration) {
        self.maintenance.begin(now, wait);
    }

    /// Puts the node back into service.
    pub fn undrain(&mut self) {
        self.maintenance = Phase::Off;
    }

    /// What becomes of each prefix from now on; none if that is as before.
    pub fn decide(&mut self, now: Instant) -> Option<&Announcer> {
        self.maintenance.tick(now);
        let mut changed = false;
        for prefix in self.prefixes.values_mut() {
            let standing = decide(&Circumstances {
                no_data_plane: self.no_data_plane.as_deref(),
                verdict: &prefix.verdict,
                require: prefix.require,
                vips: prefix.vips,
                held_down: prefix.damping.left(now),
                maintenance: self.maintenance,
            });
            changed |= standing.decision != prefix.standing.decision;
            prefix.standing = standing;
        }
        changed.then_some(self)
    }

    /// What became of each prefix at the last decision.
    pub fn standings(&self) -> Standings {
        self.prefixes.iter().map(|(prefix, known)| (*prefix, known.standing.clone())).collect()
    }

    /// When to decide again.
    pub fn deadline(&self, now: Instant) -> Option<Instant> {
        let damping = self.prefixes.values().filter_map(|prefix| prefix.damping.deadline(now));
        damping.chain(self.maintenance.deadline()).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix() -> IpNet {
        "203.0.113.0/24".parse().expect("a prefix")
    }

    const UP: Vips = Vips { servable: 1, all: 1 };
    const DOWN: Vips = Vips { servable: 0, all: 1 };

    fn running(now: Instant) -> Announcer {
        let mut announcer = Announcer::default();
        announcer.configure([(prefix(), Require::AnyVip)]);
        announcer.set_vips(now, &prefix(), UP);
        assert!(announcer.decide(now).is_none(), "it was and is withdrawn");
        assert_eq!(announcer.standings()[&prefix()].reason, NOT_YET);
        announcer.set_data_plane(None);
        announcer
    }

    fn decision(announcer: &mut Announcer, now: Instant) -> Decision {
        announcer.decide(now);
        announcer.standings()[&prefix()].decision
    }

    #[test]
    fn the_first_announcement_waits_for_nothing_but_the_data_plane() {
        let now = Instant::now();
        let mut announcer = running(now);
        assert!(announcer.decide(now).is_some());
        assert!(announcer.decide(now).is_none(), "nothing changes");
        assert_eq!(decision(&mut announcer, now), Decision::Announce);
        assert_eq!(announcer.deadline(now), None);
        announcer.set_data_plane(Some("taken off".to_owned()));
        assert_eq!(decision(&mut announcer, now), Decision::Withdraw);
        announcer.set_data_plane(None);
        assert_eq!(decision(&mut announcer, now), Decision::Announce, "that is no flap");
    }

    #[test]
    fn what_flaps_stays_away_for_longer_each_time() {
        let mut now = Instant::now();
        let mut announcer = running(now);
        announcer.decide(now);
        for hold in [1, 4, 16] {
            announcer.set_vips(now, &prefix(), DOWN);
            assert_eq!(decision(&mut announcer, now), Decision::Withdraw);
            announcer.set_vips(now, &prefix(), DOWN);
            announcer.set_vips(now, &prefix(), UP);
            assert_eq!(decision(&mut announcer, now), Decision::Withdraw);
            let until = announcer.deadline(now).expect("it ends");
            assert_eq!((until - now).as_secs_f64().round() as u64, hold, "a loss counts once");
            now = until;
            assert_eq!(decision(&mut announcer, now), Decision::Announce);
        }
    }

    #[test]
    fn a_drain_marks_then_withdraws_and_can_be_taken_back() {
        let now = Instant::now();
        let wait = Duration::from_secs(60);
        let mut announcer = running(now);
        announcer.decide(now);
        announcer.drain(now, wait);
        assert_eq!(decision(&mut announcer, now), Decision::Drain);
        assert_eq!(announcer.deadline(now), Some(now + wait));
        assert_eq!(decision(&mut announcer, now + wait), Decision::Withdraw);
        announcer.undrain();
        assert_eq!(decision(&mut announcer, now + wait), Decision::Announce, "no hold-down");
        announcer.resume_drained();
        assert_eq!(decision(&mut announcer, now + wait), Decision::Withdraw);
    }

    #[test]
    fn a_new_configuration_keeps_what_is_known() {
        let now = Instant::now();
        let mut announcer = running(now);
        announcer.set_verdict(&prefix(), Verdict::Withhold("RPKI: invalid".to_owned()));
        let other: IpNet = "2001:db8::/32".parse().expect("a prefix");
        announcer.configure([(prefix(), Require::AnyVip), (other, Require::AllVips)]);
        announcer.decide(now);
        assert_eq!(announcer.standings()[&prefix()].reason, "RPKI: invalid");
        assert_eq!(announcer.standings()[&other].reason, "no VIP lies in it");
        announcer.configure([(other, Require::AllVips)]);
        assert_eq!(announcer.standings().len(), 1);
    }
}
