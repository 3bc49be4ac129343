//! A rate limit in one word: the generic cell rate algorithm (ITU-T I.371, "virtual scheduling").

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
