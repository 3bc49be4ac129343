//! The list of members that a packet is sent with: who is tried, in which order.

use crate::abi::{MemberNumber, TableRef};
use crate::tables::Tables;
use crate::wire::Private;

/// Up to eight members: the one a packet is sent to, and up to [`Private::MAX_HOPS`] after it.
///
/// Packed into two words, first member in the lowest 16 bits, so that it lives in registers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct List {
    words: [u64; 2],
}

/// Members in a list.
const LEN: u32 = 1 + Private::MAX_HOPS as u32;
const BITS: u32 = 16;

impl List {
    /// The slot of `hash` in `table`; `None` where the table reaches beyond the arena.
    #[inline(always)]
    pub(crate) fn of_slot<T: Tables>(tables: &T, table: TableRef, hash: u64) -> Option<Self> {
        let slot = table.slot(hash);
        if table.words < 2 {
            let first = tables.slot(table.base.wrapping_add(slot))?;
            return Some(List { words: [first.0, 0] });
        }
        let at = table.base.wrapping_add(slot.wrapping_mul(2));
        Some(List { words: [tables.slot(at)?.0, tables.slot(at.wrapping_add(1))?.0] })
    }

    /// One member alone.
    #[inline(always)]
    pub(crate) fn of(member: MemberNumber) -> Self {
        List { words: [member as u64, 0] }
    }

    /// The `i`th member, or 0.
    #[inline(always)]
    pub(crate) fn get(&self, i: u32) -> MemberNumber {
        let word = if i < 4 { self.words[0] } else { self.words[1] };
        (word >> ((i & 3) * BITS)) as u16
    }

    /// The first member.
    #[inline(always)]
    pub(crate) fn first(&self) -> MemberNumber {
        self.get(0)
    }

    /// Only the first member.
    #[inline(always)]
    pub(crate) fn alone(&self) -> Self {
        List { words: [self.words[0] & 0xffff, 0] }
    }

    /// Without the first member.
    #[inline(always)]
    pub(crate) fn rest(&self) -> Self {
        List { words: [self.words[0] >> BITS | self.words[1] << (64 - BITS), self.words[1] >> BITS] }
    }

    /// With `member` in the second place, unless it is listed already; the last one makes room.
    #[inline(always)]
    pub(crate) fn with_second(&self, member: MemberNumber) -> Self {
        if member == 0 || self.contains(member) {
            return *self;
        }
        let [low, high] = self.words;
        let front = low & 0xffff | (member as u64) << BITS | low >> BITS << (2 * BITS);
        List { words: [front, high << BITS | low >> (64 - BITS)] }
    }

    /// With the first member once more at the end, where there are others; the last one makes room.
    #[inline(always)]
    pub(crate) fn closed(&self) -> Self {
        let len = self.len();
        if len < 2 {
            return *self;
        }
        let first = self.first() as u64;
        let [low, high] = self.words;
        if len < 4 {
            return List { words: [low | first << ((len & 3) * BITS), high] };
        }
        // In a full list, in the place of the last.
        let at = (if len < LEN { len & 3 } else { 3 }) * BITS;
        List { words: [low, high & !(0xffff << at) | first << at] }
    }

    /// How many members there are; a list has no gaps.
    #[inline(always)]
    pub(crate) fn len(&self) -> u32 {
        // The members come first, so that they are as many as there are places that are not 0.
        let [front, back] = self.words.map(taken);
        ((front + back).wrapping_mul(EACH) >> (64 - BITS)) as u32
    }

    #[inline(always)]
    pub(crate) fn contains(&self, member: MemberNumber) -> bool {
        let everywhere = (member as u64).wrapping_mul(EACH);
        let [front, back] = self.words.map(|word| taken(word ^ everywhere));
        front & back != EACH
    }
}

/// A 1 in each place.
const EACH: u64 = 0x0001_0001_0001_0001;

/// A 1 in each place of `word` that is not 0.
///
/// Without branches: each way out of a loop over the places is a state with which the verifier goes through the
/// whole encapsulation once more.
#[inline(always)]
fn taken(word: u64) -> u64 {
    const LOW: u64 = 0x7fff * EACH;
    // The addition carries into the highest bit of a place whose other bits are not 0.
    (((word & LOW) + LOW) | word) >> (BITS - 1) & EACH
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn list(members: &[u16]) -> List {
        let mut words = [0_u64; 2];
        for (i, m) in members.iter().enumerate() {
            words[i / 4] |= u64::from(*m) << (16 * (i % 4));
        }
        List { words }
    }

    fn members(list: List) -> Vec<u16> {
        (0..list.len()).map(|i| list.get(i)).collect()
    }

    #[test]
    fn reads_back_in_order() {
        for n in 0..=8 {
            let all: Vec<u16> = (1..=n).collect();
            assert_eq!(members(list(&all)), all);
            assert_eq!(members(list(&all).rest()), all.get(1..).unwrap_or_default());
            assert_eq!(members(list(&all).alone()), all.get(..1).unwrap_or_default());
        }
    }

    proptest::proptest! {
        /// Against the plain loop, with numbers that have every bit.
        #[test]
        fn members_are_counted_and_found(all in proptest::collection::vec(1_u16.., 0..=8), other: u16, at in 0..8_usize) {
            let short = list(&all);
            proptest::prop_assert_eq!(short.len() as usize, all.len());
            let places: Vec<u16> = (0..8).map(|i| short.get(i)).collect();
            for member in [other, places[at], places[at] ^ 0x8000, places[at] ^ 1] {
                proptest::prop_assert_eq!(short.contains(member), places.contains(&member));
            }
        }
    }

    #[test]
    fn a_second_member_pushes_the_others_back() {
        assert_eq!(members(list(&[1]).with_second(9)), [1, 9]);
        assert_eq!(members(list(&[1, 2, 3, 4, 5]).with_second(9)), [1, 9, 2, 3, 4, 5]);
        assert_eq!(members(list(&[1, 2, 3, 4, 5, 6, 7, 8]).with_second(9)), [1, 9, 2, 3, 4, 5, 6, 7]);
        assert_eq!(members(list(&[1, 2, 3]).with_second(3)), [1, 2, 3]);
        assert_eq!(members(list(&[1, 2, 3]).with_second(0)), [1, 2, 3]);
    }

    #[test]
    fn the_owner_closes_the_list() {
        assert_eq!(members(list(&[1]).closed()), [1]);
        assert_eq!(members(list(&[1, 2]).closed()), [1, 2, 1]);
        assert_eq!(members(list(&[1, 2, 3]).closed()), [1, 2, 3, 1]);
        assert_eq!(members(list(&[1, 2, 3, 4]).closed()), [1, 2, 3, 4, 1]);
        assert_eq!(members(list(&[1, 2, 3, 4, 5, 6, 7]).closed()), [1, 2, 3, 4, 5, 6, 7, 1]);
        assert_eq!(members(list(&[1, 2, 3, 4, 5, 6, 7, 8]).closed()), [1, 2, 3, 4, 5, 6, 7, 1]);
    }
}
