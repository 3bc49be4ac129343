//! Who has a place in a slot's list, and how many words the slots of a table need for it.
//!
//! A slot of one word names four members. That is enough while at most three may hold a slot's flows
//! besides a runner-up, so most tables stay small and in the cache. Where several changes follow one
//! another, more may hold flows of some slot; then all slots of the table take two words, until a later
//! change finds that one is enough again.

use anycast_lb_common::abi::{MemberNumber, Slot};

/// Members that a slot of two words names.
pub(super) const MOST: usize = 2 * Slot::LEN;

/// How wide slots may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Width {
    /// As wide as the lists want.
    AsNeeded,
    /// As narrow as the configuration allows.
    Least,
}

/// One PoP's members in the list of a slot, in the order in which they are asked: first who takes new
/// flows, or 0 if nobody does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Listed {
    members: [MemberNumber; MOST],
    len: usize,
    needed: usize,
    /// Whether the last one has its place whatever is cut.
    last_stays: bool,
}

impl Listed {
    /// `members` without those beyond [`MOST`]. With fewer than `needed` places somebody is left out
    /// who may hold flows.
    pub fn new(members: impl Iterator<Item = MemberNumber>, needed: usize, last_stays: bool) -> Self {
        let mut listed = Listed { needed, last_stays, ..Listed::default() };
        for (place, member) in listed.members.iter_mut().zip(members) {
            *place = member;
            listed.len += 1;
        }
        listed
    }

    /// The first, or 0.
    pub fn first(&self) -> MemberNumber {
        self.members[0]
    }

    /// Those that have one of so many places.
    pub fn cut(&self, places: usize) -> impl Iterator<Item = MemberNumber> {
        let mut cut = *self;
        if places < cut.len {
            if let (true, Some(last)) = (self.last_stays, places.checked_sub(1)) {
                cut.members[last] = self.members[self.len - 1];
            }
            cut.len = places;
        }
        cut.members.into_iter().take(cut.len)
    }
}

/// The words of a table's slots, and how many each slot has. `hops` are those that the configuration
/// asks for: with more than three a list is never cut to one word.
pub(super) fn pack(lists: &[Listed], hops: u8, width: Width) -> (Vec<Slot>, u8) {
    let one = Slot::LEN;
    let fits = |listed: &Listed| {
        let needed = if usize::from(hops) < one { listed.needed } else { listed.len };
        needed <= one
    };
    let narrow = match width {
        Width::AsNeeded => lists.iter().all(fits),
        Width::Least => usize::from(hops) < one || lists.iter().all(fits),
    };
    if narrow {
        let slot = |listed: &Listed| slot(&mut listed.cut(one));
        return (lists.iter().map(slot).collect(), 1);
    }
    pack_wide(lists)
}

/// The same with two words for each slot in any case.
pub(super) fn pack_wide(lists: &[Listed]) -> (Vec<Slot>, u8) {
    let slots = lists.iter().flat_map(|listed| {
        let mut members = listed.cut(MOST);
        [slot(&mut members), slot(&mut members)]
    });
    (slots.collect(), 2)
}

/// The next four members.
fn slot(members: &mut impl Iterator<Item = MemberNumber>) -> Slot {
    Slot::new(std::array::from_fn(|_| members.next().unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(members: &[u16], needed: usize, last_stays: bool) -> Listed {
        Listed::new(members.iter().copied(), needed, last_stays)
    }

    fn cut(listed: &Listed, places: usize) -> Vec<u16> {
        listed.cut(places).collect()
    }

    #[test]
    fn what_is_cut_is_the_end_but_for_one_that_stays() {
        let (goes, stays) = (listed(&[1, 2, 3, 4, 5], 5, false), listed(&[1, 2, 3, 4, 5], 5, true));
        assert_eq!((cut(&goes, 3), cut(&stays, 3)), (vec![1, 2, 3], vec![1, 2, 5]));
        assert_eq!((cut(&goes, 5), cut(&stays, 5)), (vec![1, 2, 3, 4, 5], vec![1, 2, 3, 4, 5]));
        assert_eq!((cut(&goes, 8), cut(&stays, 8)), (vec![1, 2, 3, 4, 5], vec![1, 2, 3, 4, 5]));
        assert_eq!((cut(&goes, 0), cut(&stays, 0)), (vec![], vec![]));
        assert_eq!(cut(&listed(&[1, 2, 3, 4, 5, 6, 7, 8, 9], 9, false), 9), [1, 2, 3, 4, 5, 6, 7, 8]);
    }

    /// The tables of lists, as members slot by slot.
    fn packed(lists: &[Listed], hops: u8, width: Width) -> Vec<Vec<u16>> {
        let (slots, words) = pack(lists, hops, width);
        let named = |slot: &Slot| [0, 1, 2, 3].map(|i| slot.member(i));
        slots.chunks(words.into()).map(|slot| slot.iter().flat_map(named).collect()).collect()
    }

    #[test]
    fn a_table_is_as_wide_as_the_slot_that_needs_most() {
        let (short, long) = (listed(&[1, 2], 2, false), listed(&[1, 2, 3, 4, 5], 4, false));
        assert_eq!(packed(&[short, long], 3, Width::AsNeeded), [[1, 2, 0, 0], [1, 2, 3, 4]]);
        let needs = listed(&[1, 2, 3, 4, 5], 5, true);
        let wide = [[1, 2, 0, 0, 0, 0, 0, 0], [1, 2, 3, 4, 5, 0, 0, 0]];
        assert_eq!(packed(&[short, needs], 3, Width::AsNeeded), wide);
        assert_eq!(packed(&[short, needs], 3, Width::Least), [[1, 2, 0, 0], [1, 2, 3, 5]]);
    }

    #[test]
    fn more_than_three_hops_are_listed_whoever_may_hold_flows() {
        let (short, long) = (listed(&[1, 2, 3, 4], 1, false), listed(&[1, 2, 3, 4, 5], 1, false));
        for width in [Width::AsNeeded, Width::Least] {
            assert_eq!(packed(&[short, long], 4, width)[1], [1, 2, 3, 4, 5, 0, 0, 0]);
            assert_eq!(packed(&[short], 7, width), [[1, 2, 3, 4]], "nobody else is there");
        }
    }
}
