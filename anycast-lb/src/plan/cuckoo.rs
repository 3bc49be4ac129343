//! Cuckoo tables (Pagh and Rodler, 2001): every key lies in one of the two slots its hash names.

/// Displacements before a salt is given up; far beyond what a table that is half empty needs.
const MAX_KICKS: usize = 512;

/// Which key lies in which of `slots` slots, as an index into `keys`; none if this salt leaves a
/// key without a place. `places` gives the two slots of a key.
pub fn place<K>(keys: &[K], slots: u32, places: impl Fn(&K) -> [u32; 2]) -> Option<Vec<Option<u32>>> {
    let mut table: Vec<Option<u32>> = vec![None; slots as usize];
    for index in 0..keys.len() {
        let mut homeless = u32::try_from(index).ok()?;
        let mut slot = places(&keys[index])[0];
        let mut kicks = 0;
        while let Some(displaced) = table[slot as usize].replace(homeless) {
            homeless = displaced;
            let [first, second] = places(&keys[displaced as usize]);
            slot = if slot == first { second } else { first };
            kicks += 1;
            if kicks > MAX_KICKS {
                return None;
            }
        }
    }
    Some(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_moves_to_its_other_slot() {
        let keys = [[3, 5], [3, 7], [3, 9]];
        let table = place(&keys, 16, |k| *k).expect("three keys, four slots");
        for (i, key) in keys.iter().enumerate() {
            assert!(key.iter().any(|&slot| table[slot as usize] == Some(i as u32)));
        }
    }

    #[test]
    fn three_keys_in_two_slots_do_not_fit() {
        assert_eq!(place(&[[1, 2], [1, 2], [2, 1]], 4, |k| *k), None);
    }

    #[test]
    fn both_slots_may_be_the_same() {
        assert_eq!(place(&[[1, 1], [1, 0]], 2, |k| *k), Some(vec![Some(1), Some(0)]));
        assert_eq!(place(&[[1, 1], [1, 1]], 2, |k| *k), None);
    }
}
