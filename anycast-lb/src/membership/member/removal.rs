//! Whom to remove although nobody insists: who may hold flows stays.

use super::{Condition, Member, Phase};
use crate::membership::Others;

/// Why a backend may hold flows, which its removal would break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// New flows go to it, or would if it were healthy.
    Active,
    /// It is down, and listed in case that this is a false alarm.
    Down,
    /// Its health came back.
    Returning,
    /// It fills, and had flows before that.
    FillsAgain,
    /// It drains, and has so many flows left; none: it has not said.
    Drains(Option<u64>),
    /// It drains and has no flow left, but other nodes may give it new ones.
    Fed,
}

impl Obstacle {
    /// Whether a drain is under way that takes it away.
    pub const fn is_drain(self) -> bool {
        matches!(self, Obstacle::Drains(_) | Obstacle::Fed)
    }

    /// In words, in this pool.
    pub fn within(self, pool: &str) -> String {
        match self {
            Obstacle::Active => format!("active in {pool}"),
            Obstacle::Down => format!("down in {pool}, but listed still"),
            Obstacle::Returning => format!("healthy again in {pool}"),
            Obstacle::FillsAgain => format!("filling again in {pool}"),
            Obstacle::Drains(Some(flows)) => format!("draining in {pool}, {flows} flows left"),
            Obstacle::Drains(None) => format!("draining in {pool}, it is not known how many flows are left"),
            Obstacle::Fed => format!("draining in {pool}, other nodes may give it new flows"),
        }
    }
}

impl Member {
    /// What stands against its removal. `others_serve`: somebody else of its pool and site takes new flows.
    ///
    /// | state | goes |
    /// | --- | --- |
    /// | gone | yes: it is in no packet |
    /// | down for so long that it is listed no more | yes, unless all are down: then it serves after all |
    /// | filling | yes, if it has never had new flows since it had none |
    /// | draining | yes, if it says that no flow is left and nobody gives it new ones; or if it never had any |
    /// | active, also if it is down or was | no |
    pub fn obstacle(&self, others_serve: bool) -> Option<Obstacle> {
        if self.condition == (Condition::Failed { hold: None }) && others_serve {
            return None;
        }
        match self.phase {
            Phase::Gone => None,
            Phase::Filling { .. } => self.may_hold.then_some(Obstacle::FillsAgain),
            Phase::Draining { remaining, .. } => match remaining {
                Some(r) if r.flows > 0 => Some(Obstacle::Drains(Some(r.flows))),
                Some(r) => (r.others == Others::MayFeed).then_some(Obstacle::Fed),
                None => self.may_hold.then_some(Obstacle::Drains(None)),
            },
            Phase::Active => Some(match self.condition {
                Condition::Failed { hold: Some(_) } => Obstacle::Down,
                Condition::Returning { .. } => Obstacle::Returning,
                Condition::Fit | Condition::Failed { hold: None } => Obstacle::Active,
            }),
        }
    }
}
