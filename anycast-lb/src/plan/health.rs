//! What is not a matter of the table: health, history, and who is about to own a slot.
//!
//! The owners are computed from configured membership alone, so that nodes agree on them whatever they
//! believe of health and whatever they remember. Here a slot's owner and ranking become the list that
//! its packets carry:
//!
//! * Where the owner is down, the next in that slot's ranking stands in; no other slot moves. The
//!   owner is listed last as long as it is held, since the alarm may be false and it may hold flows,
//!   then not at all. Others that are down are skipped, but for the one most likely to hold flows
//!   where the owner is not down.
//! * Who is about to own the slot, by a join that the other nodes may have finished already, comes
//!   right behind the owner.
//! * Then those who took its new flows of late, as history weighs them; then the others in the slot's
//!   ranking. A draining one keeps its place there: above the owner stands who owned the slot before it
//!   was drained, and further below who never did, so that it must not push out a runner-up.
//!
//! Where everybody is down, health is left out of account: somebody may be there after all.

use anycast_lb_common::wire::Private;

use crate::membership::{Fitness, Standing};
use crate::model::BackendState;
use crate::table::{Candidate, NONE};

/// Most backends asked of a ranking beyond those that are listed. With half of a pool down, one slot
/// in four billion has nobody among them who stands in, and such a slot takes anybody.
const MOST_BEYOND: u8 = 32;
/// Rankings are made deeper in such steps, so that not every failure makes a table anew.
const STEP: u8 = 4;

/// What of a list must have a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Need {
    /// As many: those who may hold flows, as far as is known here, and the first runner-up. Nodes that
    /// took two changes in another order placed flows under a membership that was never in force here, and
    /// then most likely on that one.
    pub places: usize,
    /// Whether the last one stays whatever is left out: it is down, and held.
    pub last: bool,
}

/// Turns owners and rankings into lists. Backends are indices of the table's candidates.
pub(crate) struct Lists {
    fitness: Vec<Fitness>,
    state: Vec<BackendState>,
    /// Active and fit ones, in the order of their addresses.
    serving: Vec<u32>,
    /// Whether inactive ones come before runners-up, whatever their place in the ranking.
    inactive_first: bool,
    /// Most that are listed behind the first.
    room: usize,
    /// Most active ones among them that are listed for their place in the ranking alone.
    runners_up: u8,
}

impl Lists {
    /// Lists of `hops` after the owner.
    pub fn new(candidates: &[Candidate], standings: &[Standing], hops: u8) -> Self {
        let state: Vec<BackendState> = candidates.iter().map(|c| c.state).collect();
        let mut fitness: Vec<Fitness> = standings.iter().map(|s| s.fitness).collect();
        let serves =
            |i: &u32| state[*i as usize] == BackendState::Active && fitness[*i as usize] == Fitness::Fit;
        let mut serving: Vec<u32> = (0..).take(candidates.len()).filter(serves).collect();
        serving.sort_unstable_by_key(|i| candidates[*i as usize].identity);
        if serving.is_empty() {
            fitness.fill(Fitness::Fit);
        }
        Lists { fitness, state, serving, inactive_first: false, room: hops.into(), runners_up: hops }
    }

    /// Lists of a node's own PoP: whoever may hold flows is listed as far as any packet has room, and
    /// `hops` are how many active ones are listed besides for their place in the ranking alone.
    pub fn here(candidates: &[Candidate], standings: &[Standing], hops: u8) -> Self {
        let room = if hops == 0 { 0 } else { Private::MAX_HOPS.into() };
        Lists { room, ..Lists::new(candidates, standings, hops) }
    }

    /// Lists of another PoP: any inactive one may hold flows, for nothing is known of how it came to be.
    /// At most `room` are listed after the first.
    pub fn elsewhere(candidates: &[Candidate], standings: &[Standing], runners_up: u8, room: usize) -> Self {
        Lists { inactive_first: true, room, ..Lists::new(candidates, standings, runners_up) }
    }

    /// How many active runners-up the table's rankings must have.
    pub fn depth(&self) -> u8 {
        let unfit = self.fitness.iter().filter(|f| **f != Fitness::Fit).count();
        let beyond = u8::try_from(unfit).unwrap_or(MOST_BEYOND).min(MOST_BEYOND).next_multiple_of(STEP);
        self.runners_up + beyond
    }

    /// Who gets the new flows of a slot; [`NONE`] if there is nobody. `ranking` may repeat the owner.
    pub fn taker(&self, slot: u32, owner: u32, mut ranking: impl Iterator<Item = u32>) -> u32 {
        if self.fitness(owner) == Fitness::Fit {
            return owner;
        }
        let stands_in = |&i: &u32| self.is_active(i) && self.fitness(i) == Fitness::Fit;
        let anybody = || self.serving.get(slot as usize % self.serving.len().max(1)).copied();
        ranking.find(stands_in).or_else(anybody).unwrap_or(owner)
    }

    /// The list of a slot into `out`: first who gets new flows ([`NONE`] if there is nobody), then at
    /// most as many as packets list. `ranking` may repeat the owner. `coming` is the owner to be;
    /// `recent` took new flows of late, the likeliest to have some left first.
    ///
    /// A shorter list is made by leaving out what is at the end, as [`Need`] says.
    pub fn list(
        &self,
        slot: u32,
        owner: u32,
        ranking: impl Iterator<Item = u32> + Clone,
        coming: Option<u32>,
        recent: impl Iterator<Item = u32> + Clone,
        out: &mut Vec<u32>,
    ) -> Need {
        let recent = likeliest_first(recent.filter(|i| *i != owner && Some(*i) != coming), &ranking);
        let recent = recent.iter().copied();
        let is_failed = |i: u32| matches!(self.fitness(i), Fitness::Failed { .. });
        let is_held = |i: u32| self.fitness(i) == Fitness::Failed { held: true };
        let first = self.taker(slot, owner, ranking.clone());
        let others = ranking.filter(|&i| i != owner);
        let known = |i: u32| (i != NONE).then_some(i);

        let inactive = others.clone().filter(|&i| !self.is_active(i));
        // Of those that are down, who is most likely to hold flows of this slot.
        let mut likely = known(owner).into_iter().chain(recent.clone()).chain(inactive.clone());
        let last = likely.find(|&i| i != first && is_held(i)).filter(|_| self.room > 0);

        out.clear();
        out.push(first);
        let places = 1 + self.room - usize::from(last.is_some());
        let mut runners_up = usize::from(self.runners_up).saturating_sub(last.is_some().into());
        let mut needed = None;
        let sought = coming.and_then(known).into_iter().chain(known(owner)).chain(recent);
        let sought = sought.chain(inactive.filter(|_| self.inactive_first));
        let sought = sought.map(|i| (i, false)).chain(others.map(|i| (i, self.is_active(i))));
        for (i, by_rank) in sought {
            if out.len() >= places {
                break;
            }
            if is_failed(i) || out.contains(&i) || (by_rank && runners_up == 0) {
                continue;
            }
            runners_up -= usize::from(by_rank);
            out.push(i);
            if by_rank && needed.is_none() {
                needed = Some(out.len() + usize::from(last.is_some()));
            }
        }
        out.extend(last);
        Need { places: needed.unwrap_or(out.len()), last: last.is_some() }
    }

    fn fitness(&self, i: u32) -> Fitness {
        self.fitness.get(i as usize).copied().unwrap_or_default()
    }

    fn is_active(&self, i: u32) -> bool {
        self.state.get(i as usize) == Some(&BackendState::Active)
    }
}

/// Those who took flows of late, given by how many they may have left, in the order in which room is given
/// to them: the one with most first, then by their place in the ranking.
///
/// Where backends were drained one after the other, the one that had the slot first ranks highest, and
/// where they joined, the one that had it last. Either way nobody who took flows is left out for another
/// that the ranking alone would have listed behind it.
fn likeliest_first(
    recent: impl Iterator<Item = u32>,
    ranking: &(impl Iterator<Item = u32> + Clone),
) -> Vec<u32> {
    let mut recent: Vec<u32> = recent.collect();
    if let Some((_, others)) = recent.split_first_mut() {
        others.sort_by_key(|i| ranking.clone().position(|ranked| ranked == *i).unwrap_or(usize::MAX));
    }
    recent
}

/// The candidates as they will be when all joins under way are over; none if there are none.
pub(crate) fn after_joins(candidates: &[Candidate], standings: &[Standing]) -> Option<Vec<Candidate>> {
    let after: Vec<Candidate> = candidates
        .iter()
        .zip(standings)
        .map(|(candidate, standing)| Candidate {
            weight: standing.coming_weight.unwrap_or(candidate.weight),
            state: match candidate.state {
                BackendState::Filling => BackendState::Active,
                other => other,
            },
            ..*candidate
        })
        .collect();
    (after != candidates).then_some(after)
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    const HELD: Fitness = Fitness::Failed { held: true };
    const DEAD: Fitness = Fitness::Failed { held: false };

    fn candidate(last: u8, state: BackendState) -> Candidate {
        Candidate { identity: IpAddr::from([10, 0, 0, last]), weight: 100, state }
    }

    /// Lists of six backends, 5 of which is draining, with these unfit.
    fn lists(unfit: &[(usize, Fitness)], hops: u8) -> Lists {
        let mut candidates: Vec<_> = (0..6).map(|i| candidate(i, BackendState::Active)).collect();
        candidates[5].state = BackendState::Draining;
        let mut standings = vec![Standing::default(); 6];
        for (i, fitness) in unfit {
            standings[*i].fitness = *fitness;
        }
        Lists::new(&candidates, &standings, hops)
    }

    /// The list of a slot owned by 0 with this ranking.
    fn list(lists: &Lists, ranking: &[u32], coming: Option<u32>) -> Vec<u32> {
        let mut out = Vec::new();
        lists.list(7, 0, ranking.iter().copied(), coming, std::iter::empty(), &mut out);
        out
    }

    #[test]
    fn without_news_the_list_is_the_ranking() {
        let lists = lists(&[], 3);
        assert_eq!(lists.depth(), 3);
        assert_eq!(list(&lists, &[0, 1, 5, 2, 3], None), [0, 1, 5, 2]);
    }

    #[test]
    fn a_failed_owner_is_stood_in_for_and_listed_last() {
        let lists = lists(&[(0, HELD)], 3);
        assert_eq!(lists.depth(), 7);
        // 5 is next, but drains.
        assert_eq!(list(&lists, &[0, 5, 1, 2, 3], None), [1, 5, 2, 0]);
    }

    #[test]
    fn a_dead_owner_is_not_listed() {
        assert_eq!(list(&lists(&[(0, DEAD)], 3), &[0, 1, 2, 3, 4], None), [1, 2, 3, 4]);
    }

    #[test]
    fn who_failed_is_skipped_elsewhere_and_stands_in_for_nobody() {
        assert_eq!(list(&lists(&[(1, HELD)], 3), &[0, 1, 2, 3, 4], None), [0, 2, 3, 4]);
        assert_eq!(list(&lists(&[(0, HELD), (1, HELD)], 3), &[0, 1, 2, 3, 4], None), [2, 3, 4, 0]);
    }

    #[test]
    fn a_failed_one_that_drains_is_listed_last() {
        assert_eq!(list(&lists(&[(5, HELD)], 3), &[0, 5, 1, 2, 3], None), [0, 1, 2, 5]);
        assert_eq!(list(&lists(&[(5, DEAD)], 3), &[0, 5, 1, 2, 3], None), [0, 1, 2, 3]);
    }

    #[test]
    fn one_who_returns_is_listed_first_of_the_hops() {
        assert_eq!(list(&lists(&[(0, Fitness::Returning)], 3), &[0, 1, 2, 3], None), [1, 0, 2, 3]);
    }

    #[test]
    fn the_owner_to_be_is_listed_right_behind_the_owner() {
        assert_eq!(list(&lists(&[], 3), &[0, 1, 2, 3, 4], Some(4)), [0, 4, 1, 2]);
        assert_eq!(list(&lists(&[], 3), &[0, 1, 2, 3], Some(0)), [0, 1, 2, 3]);
        assert_eq!(list(&lists(&[(0, HELD)], 3), &[0, 1, 2, 3], Some(4)), [1, 4, 2, 0]);
        assert_eq!(list(&lists(&[(4, HELD)], 3), &[0, 1, 2, 3], Some(4)), [0, 1, 2, 3]);
    }

    #[test]
    fn who_took_flows_of_late_comes_before_what_the_ranking_says() {
        let mut candidates: Vec<_> = (0..7).map(|i| candidate(i, BackendState::Active)).collect();
        for draining in [4, 5] {
            candidates[draining].state = BackendState::Draining;
        }
        candidates[6].state = BackendState::Filling;
        let list = |lists: Lists, recent: &[u32]| {
            let (mut out, ranking) = (Vec::new(), [0, 1, 4, 6, 5, 2]);
            lists.list(7, 0, ranking.into_iter(), Some(3), recent.iter().copied(), &mut out);
            out
        };
        let standings = vec![Standing::default(); 7];
        let here = |hops| Lists::new(&candidates, &standings, hops);
        assert_eq!(list(here(6), &[]), [0, 3, 1, 4, 6, 5, 2], "nothing is known: by rank");
        assert_eq!(list(here(6), &[0, 2, 3, 5]), [0, 3, 2, 5, 1, 4, 6]);
        assert_eq!(list(here(3), &[1, 5, 2]), [0, 3, 1, 5], "no more than there is room for");
        // The first has most flows; of the others the ranking tells.
        assert_eq!(list(here(4), &[3, 5, 2, 6, 4]), [0, 3, 5, 4, 6]);
        let there = Lists::elsewhere(&candidates, &standings, 1, 6);
        assert_eq!(list(there, &[]), [0, 3, 4, 6, 5, 1], "another PoP's inactive ones may hold flows");
    }

    #[test]
    fn a_failed_one_that_took_flows_of_late_is_listed_last() {
        let list = |lists: &Lists| {
            let mut out = Vec::new();
            lists.list(7, 0, [0, 1, 2, 3, 4].into_iter(), None, [2, 3].into_iter(), &mut out);
            out
        };
        assert_eq!(list(&lists(&[(2, HELD)], 3)), [0, 3, 1, 2]);
        assert_eq!(list(&lists(&[(2, DEAD)], 3)), [0, 3, 1, 4]);
        assert_eq!(list(&lists(&[(0, HELD), (2, HELD)], 3)), [1, 3, 4, 0], "the owner is likelier");
    }

    #[test]
    fn what_carries_no_list_is_only_stood_in_for() {
        assert_eq!(list(&lists(&[(0, HELD)], 0), &[0, 1, 2], None), [1]);
        assert_eq!(list(&lists(&[], 0), &[], None), [0]);
    }

    #[test]
    fn when_all_are_down_health_says_nothing() {
        let all: Vec<_> = (0..6).map(|i| (i, DEAD)).collect();
        assert_eq!(list(&lists(&all, 3), &[0, 1, 2, 3, 4], None), [0, 1, 2, 3]);
    }

    #[test]
    fn where_the_ranking_ends_somebody_stands_in() {
        let lists = lists(&[(0, DEAD), (1, DEAD)], 3);
        // Serving are 2, 3 and 4; slot 7 takes the second.
        assert_eq!(list(&lists, &[0, 1], None), [3]);
    }

    #[test]
    fn joins_under_way_make_another_table() {
        let candidates = [candidate(1, BackendState::Active), candidate(2, BackendState::Filling)];
        let usual = Standing::default();
        let raised = Standing { coming_weight: Some(300), ..usual };
        let after = after_joins(&candidates, &[raised, usual]).expect("two joins");
        assert_eq!((after[0].weight, after[1].state), (300, BackendState::Active));
        assert_eq!(after_joins(&after, &[usual, usual]), None);
        let draining = [candidate(1, BackendState::Draining)];
        assert_eq!(after_joins(&draining, &[usual]), None);
    }
}
