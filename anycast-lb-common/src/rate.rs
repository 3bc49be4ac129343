//! A rate limit in one word: the generic cell rate algorithm (ITU-T I.371, "virtual scheduling").

use crate::abi::{FlowKeys, HOP_LIMIT_CLASS_BITS, HOP_LIMIT_WORDS};

/// The word of the total among those of the map that keeps the limits' state.
pub const TOTAL: u32 = 0;
/// The word of all questions for the name of the node.
pub const QUESTIONS: u32 = HOP_LIMIT_WORDS - 1;

/// The part of a client's address that is limited together: /24.
#[inline(always)]
pub fn prefix_v4([a, b, c, _]: [u8; 4]) -> u64 {
    u64::from_be_bytes([0, 0, 0, 0, 0, a, b, c])
}

/// The same for IPv6: /56.
#[inline(always)]
pub fn prefix_v6([a, b, c, d, e, f, g, ..]: [u8; 16]) -> u64 {
    u64::from_be_bytes([1, a, b, c, d, e, f, g])
}

/// The word of a client prefix: multiply-shift (Dietzfelbinger and others, "A reliable randomized
/// algorithm for the closest-pair problem", 1997) with a secret odd factor. Two prefixes share a
/// word with probability at most 2 in the number of classes, so nobody can choose one that uses up
/// another's limit.
#[inline(always)]
pub fn word_of(prefix: u64, keys: &FlowKeys) -> u32 {
    1 + (prefix.wrapping_mul(keys.finish[0]) >> (64 - HOP_LIMIT_CLASS_BITS)) as u32
}

/// Admits a packet at time `now`, or not.
///
/// `arrival` is the theoretical arrival time that is kept between packets (any value at first),
/// `interval` the time between packets at the limit, `burst` how far the packets may run ahead of
/// it; all in ns. Returns the value to keep if the packet is admitted.
#[inline(always)]
pub fn admit(arrival: u64, now: u64, interval: u64, burst: u64) -> Option<u64> {
    let earliest = if arrival > now { arrival } else { now };
    let next = earliest.wrapping_add(interval);
    (next.wrapping_sub(now) <= burst.wrapping_add(interval)).then_some(next)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::vec::Vec;

    /// Packets admitted out of `n` that come `gap` ns apart.
    fn admitted(n: u64, gap: u64, interval: u64, burst: u64) -> u64 {
        let (mut arrival, mut count) = (0, 0);
        for i in 0..n {
            if let Some(next) = admit(arrival, 1_000_000 + i * gap, interval, burst) {
                arrival = next;
                count += 1;
            }
        }
        count
    }

    #[test]
    fn classes_are_all_used_and_differ_from_host_to_host() {
        let (a, b) = (FlowKeys::from_seed([1; 16]), FlowKeys::from_seed([2; 16]));
        let prefixes = 0..100_000_u64;
        let words: HashSet<u32> = prefixes.clone().map(|p| word_of(p, &a)).collect();
        assert_eq!(words.len() as u32, HOP_LIMIT_WORDS - 2);
        assert!(words.iter().all(|word| *word != TOTAL && *word < QUESTIONS));
        // Those that share a class with the first prefix on one host: next to none do on another.
        let shares = |keys: &FlowKeys, p: &u64| word_of(*p, keys) == word_of(0, keys);
        let found: Vec<u64> = prefixes.skip(1).filter(|p| shares(&a, p)).collect();
        assert!(!found.is_empty());
        assert!(found.iter().filter(|p| shares(&b, p)).count() <= 1, "{found:?}");
    }

    #[test]
    fn a_burst_is_admitted_and_no_more() {
        assert_eq!(admitted(1000, 0, 100, 900), 10);
        assert_eq!(admitted(1000, 0, 100, 0), 1);
    }

    #[test]
    fn the_limit_holds_over_time() {
        // 1,000 packets in 10,000 ns at one in 100 ns, and a burst of 9 more.
        assert_eq!(admitted(1000, 10, 100, 900), 100 + 9);
    }

    #[test]
    fn slower_packets_are_never_refused() {
        assert_eq!(admitted(1000, 100, 100, 0), 1000);
    }
}
