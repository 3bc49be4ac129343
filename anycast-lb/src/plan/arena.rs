//! Where tables lie in the slot arena: first fit of aligned regions whose length is a power of two.

use std::collections::BTreeMap;

use anycast_lb_common::abi::{ARENA_SLOTS, TableRef};

/// Words of the arena that `table` takes: one for each slot, or two. 0 if there is no table.
pub fn words(table: TableRef) -> u64 {
    if table.bits == 0 {
        return 0;
    }
    // As the packet path reads it, whatever a damaged map says.
    let words = if table.words < 2 { 1 } else { 2 };
    words << table.bits.min(62)
}

/// The arena has no hole that is large enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full {
    /// Words the table needs, in one piece.
    pub needed: u64,
    /// Words that are free, in all pieces together.
    pub free: u64,
}

/// The regions in use.
#[derive(Clone, Debug, Default)]
pub struct Arena {
    /// Start to end (exclusive), disjoint.
    used: BTreeMap<u64, u64>,
}

impl Arena {
    /// An arena in which `tables` are in use.
    pub fn new(tables: impl IntoIterator<Item = TableRef>) -> Self {
        let mut arena = Arena::default();
        for table in tables {
            arena.mark(table);
        }
        arena
    }

    /// The lowest free region for 2^`bits` slots (`bits` at least 1) of `words` words (1 or 2), from
    /// now on in use.
    pub fn allocate(&mut self, bits: u8, words: u8) -> Result<TableRef, Full> {
        let mut table = TableRef { base: 0, bits, words, reserved: [0; 2] };
        let length = self::words(table);
        let mut start = 0;
        for (&from, &to) in &self.used {
            if start + length <= from {
                break;
            }
            start = start.max(to.next_multiple_of(length));
        }
        if start + length > u64::from(ARENA_SLOTS) {
            let used: u64 = self.used.iter().map(|(from, to)| to - from).sum();
            return Err(Full { needed: length, free: u64::from(ARENA_SLOTS).saturating_sub(used) });
        }
        // Fits: `start` is below ARENA_SLOTS, a u32.
        table.base = start as u32;
        self.mark(table);
        Ok(table)
    }

    fn mark(&mut self, table: TableRef) {
        if table.bits != 0 {
            let start = u64::from(table.base);
            let end = start + words(table);
            // Two tables at one place do not happen; should a damaged map say so, the longer one counts.
            let known = self.used.entry(start).or_insert(end);
            *known = end.max(*known);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn region(t: &TableRef) -> (u64, u64) {
        (u64::from(t.base), u64::from(t.base) + words(*t))
    }

    #[test]
    fn holes_are_used_first() {
        let mut arena = Arena::default();
        let tables: Vec<_> = (0..4).map(|_| arena.allocate(4, 1).expect("room")).collect();
        assert_eq!(tables.iter().map(|t| t.base).collect::<Vec<_>>(), [0, 16, 32, 48]);
        let mut arena = Arena::new([tables[0], tables[3]]);
        assert_eq!(arena.allocate(5, 1).expect("room").base, 64, "32 slots at 16 would not be aligned");
        assert_eq!(arena.allocate(4, 1).expect("room").base, 16);
    }

    #[test]
    fn wide_slots_take_twice_the_room() {
        let mut arena = Arena::default();
        let wide = arena.allocate(4, 2).expect("room");
        assert_eq!((wide.base, wide.words, words(wide)), (0, 2, 32));
        assert_eq!(arena.allocate(4, 1).expect("room").base, 32);
        assert_eq!(Arena::new([wide]).allocate(4, 1).expect("room").base, 32);
    }

    #[test]
    fn a_full_arena_says_how_full() {
        let mut arena = Arena::default();
        let all = ARENA_SLOTS.trailing_zeros() as u8;
        arena.allocate(all - 1, 1).expect("half");
        assert_eq!(
            arena.allocate(all, 1),
            Err(Full { needed: u64::from(ARENA_SLOTS), free: u64::from(ARENA_SLOTS) / 2 })
        );
        arena.allocate(all - 1, 1).expect("the other half");
        assert_eq!(arena.allocate(1, 1), Err(Full { needed: 2, free: 0 }));
    }

    proptest! {
        #[test]
        fn regions_are_aligned_inside_and_disjoint(
            steps in proptest::collection::vec((1u8..20, 1u8..=2, any::<prop::sample::Index>(), any::<bool>()), 1..60),
        ) {
            let mut tables: Vec<TableRef> = Vec::new();
            for (bits, words, victim, free) in steps {
                if free && !tables.is_empty() {
                    tables.swap_remove(victim.index(tables.len()));
                }
                let Ok(table) = Arena::new(tables.iter().copied()).allocate(bits, words) else { continue };
                let (start, end) = region(&table);
                prop_assert!(end <= u64::from(ARENA_SLOTS));
                prop_assert_eq!(end - start, u64::from(words) << bits);
                prop_assert_eq!(start % (end - start), 0);
                for other in &tables {
                    let (from, to) = region(other);
                    prop_assert!(end <= from || to <= start);
                }
                tables.push(table);
            }
        }
    }
}
