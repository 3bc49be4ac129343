//! Numbers for things that have names: what stays keeps its number, what is new gets one that
//! nothing under way can mean.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::ops::RangeInclusive;

/// There are fewer free numbers than new things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exhausted {
    /// How many new things want a number.
    pub needed: usize,
    /// How many numbers are free.
    pub free: usize,
}

/// A number for each of `wanted`, in its order; `wanted` has no duplicates.
///
/// A key that `previous` knows keeps its number. A new one gets the lowest number of `numbers` that
/// `previous` does not name at all, not even for something that is about to go: packets under way
/// may still read it.
pub fn assign<K: Clone + Eq + Hash>(
    wanted: &[K],
    previous: &BTreeMap<u16, K>,
    numbers: RangeInclusive<u16>,
) -> Result<Vec<u16>, Exhausted> {
    // Descending, so that the lowest number wins should a key have two.
    let known: HashMap<&K, u16> = previous.iter().rev().map(|(&number, key)| (key, number)).collect();
    let mut free = numbers.clone().filter(|n| !previous.contains_key(n));
    let assigned: Option<Vec<u16>> =
        wanted.iter().map(|key| known.get(key).copied().or_else(|| free.next())).collect();
    assigned.ok_or_else(|| Exhausted {
        needed: wanted.iter().filter(|key| !known.contains_key(key)).count(),
        free: numbers.filter(|n| !previous.contains_key(n)).count(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    #[test]
    fn what_stays_keeps_its_number_and_holes_of_before_are_filled() {
        let previous = BTreeMap::from([(1, "a"), (2, "b"), (4, "d")]);
        assert_eq!(assign(&["x", "d", "y", "a"], &previous, 1..=9), Ok(vec![3, 4, 5, 1]));
    }

    #[test]
    fn a_number_that_is_about_to_be_freed_is_not_handed_out() {
        let previous = BTreeMap::from([(1, "a")]);
        assert_eq!(assign(&["b"], &previous, 1..=2), Ok(vec![2]));
        assert_eq!(assign(&["b"], &previous, 1..=1), Err(Exhausted { needed: 1, free: 0 }));
    }

    proptest! {
        #[test]
        fn no_sequence_of_changes_reuses_a_named_number(
            steps in proptest::collection::vec(proptest::collection::hash_set(0u8..40, 0..20), 1..20),
        ) {
            let mut previous = BTreeMap::new();
            for step in steps {
                let wanted: Vec<u8> = step.into_iter().collect();
                let numbers = assign(&wanted, &previous, 1..=40).expect("room for two generations");
                prop_assert_eq!(numbers.iter().collect::<HashSet<_>>().len(), wanted.len());
                for (key, number) in wanted.iter().zip(&numbers) {
                    prop_assert!((1..=40).contains(number));
                    match previous.iter().find(|(_, k)| *k == key) {
                        Some((kept, _)) => prop_assert_eq!(kept, number),
                        None => prop_assert!(!previous.contains_key(number)),
                    }
                }
                previous = numbers.into_iter().zip(wanted).collect();
            }
        }
    }
}
