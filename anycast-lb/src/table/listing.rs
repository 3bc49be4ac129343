//! Which backends a packet of a slot lists, and in which order.

use super::NONE;
use super::race::Race;

/// Most backends in a list that are not active. More than this many draining at once in one slot's
/// ranking have nothing to keep there, and the bound keeps lists short when nearly all drain.
pub const MAX_INACTIVE: u32 = 12;

/// The lists of all slots, back to back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Lists {
    /// Where each slot's list begins, and one more for the end; empty when there are no lists.
    starts: Vec<u32>,
    members: Vec<u32>,
}

impl Lists {
    /// Gathers `listed`, pairs of slot and member in the order in which a list names its members.
    fn new(slots: usize, listed: &[(u32, u32)]) -> Self {
        let mut starts = vec![0; slots + 1];
        for (slot, _) in listed {
            starts[*slot as usize + 1] += 1;
        }
        for i in 0..slots {
            starts[i + 1] += starts[i];
        }
        let mut next = starts.clone();
        let mut members = vec![NONE; listed.len()];
        for (slot, member) in listed {
            let place = &mut next[*slot as usize];
            members[*place as usize] = *member;
            *place += 1;
        }
        Lists { starts, members }
    }

    /// The list of a slot.
    pub(super) fn of(&self, slot: u32) -> &[u32] {
        let bound = |i: u32| self.starts.get(i as usize).map(|start| *start as usize);
        match (bound(slot), bound(slot + 1)) {
            (Some(start), Some(end)) => &self.members[start..end],
            _ => &[],
        }
    }

    /// The same with other numbers for the members.
    pub(super) fn renumber(&mut self, new: impl Fn(u32) -> u32) {
        for member in &mut self.members {
            *member = new(*member);
        }
    }
}

/// What a slot's list still takes.
#[derive(Clone, Copy)]
struct Room {
    active: u32,
    inactive: u32,
}

/// How long lists are.
#[derive(Clone, Copy)]
struct Length {
    /// Active backends of a list.
    active: u32,
    /// Whether a list ends with the last active one it takes. With no more active ones than it takes, the ranking
    /// is followed to its end for the rest.
    ends_with_active: bool,
}

impl Length {
    fn new(active: &[bool], runners_up: u32) -> Self {
        let count = active.iter().filter(|a| **a).count() as u32;
        Length { active: count.min(1 + runners_up), ends_with_active: count > runners_up }
    }

    fn is_complete(self, room: &Room) -> bool {
        room.active == 0 && (self.ends_with_active || room.inactive == 0)
    }
}

/// The backends of each slot in ranking order, as many as a list of the owner and `runners_up` others can need,
/// whoever the owner is: the (1 + `runners_up`)th active one is the last, with at most [`MAX_INACTIVE`] others
/// between.
///
/// `race` has all backends, `active` tells which of them are.
pub(super) fn rankings(mut race: Race, slots: usize, active: &[bool], runners_up: u32) -> Lists {
    let length = Length::new(active, runners_up);
    let mut rooms = vec![Room { active: length.active, inactive: MAX_INACTIVE }; slots];
    let (mut ranked, mut arrivals) = (Vec::new(), Vec::new());
    loop {
        let open = || rooms.iter().filter(|room| !length.is_complete(room));
        let (any_active, any_inactive) = (open().any(|r| r.active > 0), open().any(|r| r.inactive > 0));
        let running = |i: u32| if active[i as usize] { any_active } else { any_inactive };
        if !race.advance(running, |slot| !length.is_complete(&rooms[slot as usize]), &mut arrivals) {
            return Lists::new(slots, &ranked);
        }
        for arrival in &arrivals {
            let room = &mut rooms[arrival.slot as usize];
            if length.is_complete(room) {
                continue;
            }
            let left = if active[arrival.runner as usize] { &mut room.active } else { &mut room.inactive };
            if *left > 0 {
                *left -= 1;
                ranked.push((arrival.slot, arrival.runner));
            }
        }
    }
}

/// Lists the owner of each slot, then the others of `rankings` up to and including the
/// (1 + `runners_up`)th active one, with at most [`MAX_INACTIVE`] others between.
///
/// Where nobody is active, there are no owners and the lists are the others alone.
pub(super) fn lists(rankings: &Lists, owners: &[u32], active: &[bool], runners_up: u32) -> Lists {
    let length = Length::new(active, runners_up);
    let mut starts = Vec::with_capacity(owners.len() + 1);
    let mut members = Vec::with_capacity(rankings.members.len());
    for (slot, owner) in (0..).zip(owners) {
        starts.push(members.len() as u32);
        let mut room = Room { active: length.active, inactive: MAX_INACTIVE };
        if *owner != NONE {
            room.active -= 1;
            members.push(*owner);
        }
        for runner in rankings.of(slot).iter().filter(|runner| *runner != owner) {
            if length.is_complete(&room) {
                break;
            }
            let left = if active[*runner as usize] { &mut room.active } else { &mut room.inactive };
            if *left > 0 {
                *left -= 1;
                members.push(*runner);
            }
        }
    }
    starts.push(members.len() as u32);
    Lists { starts, members }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    const SLOTS: u32 = 128;
    const RUNNERS_UP: u32 = 2;

    fn race(backends: u32) -> Race {
        let address = |n: u32| IpAddr::from(Ipv4Addr::from_bits(0x0a00_0001 + n));
        Race::new(&[3; 16], SLOTS, (0..backends).map(|n| (address(n), 1 + n % 5)))
    }

    fn rankings_of(backends: u32, active: &[bool]) -> Lists {
        rankings(race(backends), SLOTS as usize, active, RUNNERS_UP)
    }

    /// All backends of each slot, first come first.
    fn whole_rankings(backends: u32) -> Vec<Vec<u32>> {
        let mut rankings = vec![Vec::new(); SLOTS as usize];
        let (mut race, mut arrivals) = (race(backends), Vec::new());
        while race.advance(|_| true, |_| true, &mut arrivals) {
            for arrival in &arrivals {
                rankings[arrival.slot as usize].push(arrival.runner);
            }
        }
        rankings
    }

    #[test]
    fn lists_are_the_ranking_with_the_owner_first() {
        // Every third one is active; each slot's owner is its last choice among those.
        let active: Vec<bool> = (0..60).map(|n| n % 3 == 0).collect();
        let is_active = |n: &u32| active[*n as usize];
        let rankings = whole_rankings(60);
        let owners: Vec<u32> = rankings.iter().filter_map(|r| r.iter().copied().rfind(is_active)).collect();
        let lists = lists(&rankings_of(60, &active), &owners, &active, RUNNERS_UP);
        for (slot, (ranking, owner)) in (0..).zip(rankings.iter().zip(&owners)) {
            let mut expected = vec![*owner];
            let (mut actives, mut others) = (1, 0);
            for runner in ranking {
                if is_active(runner) {
                    actives += 1;
                    expected.push(*runner);
                } else if others < MAX_INACTIVE {
                    others += 1;
                    expected.push(*runner);
                }
                if actives == 1 + RUNNERS_UP {
                    break;
                }
            }
            assert_eq!(lists.of(slot), expected, "slot {slot}");
        }
    }

    #[test]
    fn a_pool_in_which_nearly_all_drain_has_short_lists() {
        let active: Vec<bool> = (0..500).map(|n| n == 7).collect();
        let lists = lists(&rankings_of(500, &active), &[7; SLOTS as usize], &active, RUNNERS_UP);
        assert!((0..SLOTS).all(|slot| lists.of(slot).len() == 1 + MAX_INACTIVE as usize));
    }
}
