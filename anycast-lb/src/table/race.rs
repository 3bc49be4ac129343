//! The scores of rendezvous hashing, produced in order instead of one for each pair.
//!
//! Weighted rendezvous hashing gives a pair of slot and backend the score −ln(u) / weight with a
//! uniform `u`, an exponentially distributed time, and the slot prefers the backend with the least.
//! Computing all pairs and sorting them would cost backends × slots; almost all of that is thrown
//! away. So we turn it round: each backend walks the slots in its own keyed random order and
//! reaches the `j`th one at the time that the `j`th smallest of `slots` exponential variables has
//! on average,
//!
//! > time(j) = (1/n + 1/(n−1) + … + 1/(n−j)) / weight,  n = slots
//!
//! (Rényi's representation of the order statistics). A backend's times at the slots are thus
//! exponential, stratified instead of drawn, and a slot is won in proportion to weight; but they are
//! known in ascending order, so a consumer stops when it has seen enough. And they need no
//! logarithm: one integer division each, the same on every machine.
//!
//! What matters of rendezvous hashing remains: the time of a backend at a slot depends on seed,
//! identity, weight, slot and number of slots, never on the other backends.

use std::net::IpAddr;

use super::keyed::Permutation;

/// One in the fixed-point form of times. The sum of 1/i up to 2^24 is below 18, so times stay below
/// 2^63; two positions of one backend differ by at least 2^58 / 2^24 / 2^16 > 1.
const UNIT: u64 = 1 << 58;

/// A backend reaches a slot. Arrivals are ordered by time; a tie between backends is decided by a
/// keyed hash, and at last by the backends' canonical order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Arrival {
    time: u64,
    tie: u32,
    /// Number of the backend in canonical order.
    pub(super) runner: u32,
    /// The slot it reaches.
    pub(super) slot: u32,
}

struct Runner {
    permutation: Permutation,
    weight: u64,
    position: usize,
}

/// All backends on their way through the slots.
pub(super) struct Race {
    /// Times of a backend of weight 1.
    clock: Vec<u64>,
    runners: Vec<Runner>,
    now: u64,
}

impl Race {
    /// Lines up the backends, given by identity and weight in canonical order.
    pub(super) fn new(seed: &[u8; 16], slots: u32, backends: impl Iterator<Item = (IpAddr, u32)>) -> Self {
        let mut time = 0;
        let clock = (0..slots)
            .map(|j| {
                time += UNIT / u64::from(slots - j);
                time
            })
            .collect();
        let runners = backends
            .map(|(identity, weight)| Runner {
                permutation: Permutation::new(seed, identity, slots),
                weight: u64::from(weight),
                position: 0,
            })
            .collect();
        Race { clock, runners, now: 0 }
    }

    /// Lets time pass, and replaces `arrivals` by what happens meanwhile, in order. The span is
    /// chosen so that about half as many arrivals as there are slots happen; what comes out over
    /// all calls does not depend on that choice.
    ///
    /// Runners for which `running` is false stand still and must never run again. Arrivals at slots
    /// for which `wanted` is false are left out. Returns false when all runners are through.
    pub(super) fn advance(
        &mut self,
        running: impl Fn(u32) -> bool,
        wanted: impl Fn(u32) -> bool,
        arrivals: &mut Vec<Arrival>,
    ) -> bool {
        arrivals.clear();
        let slots = self.clock.len();
        let live = |i: u32, runner: &Runner| runner.position < slots && running(i);
        let pace: u128 = (0..)
            .zip(&self.runners)
            .filter(|(i, runner)| live(*i, runner))
            .map(|(_, runner)| (slots - runner.position) as u128 * u128::from(runner.weight))
            .sum();
        if pace == 0 {
            return false;
        }
        let span = (u128::from(UNIT) * slots.div_ceil(2) as u128 / pace).max(1);
        self.now = self.now.saturating_add(u64::try_from(span).unwrap_or(u64::MAX));

        for (i, runner) in (0..).zip(&mut self.runners) {
            if !live(i, runner) {
                continue;
            }
            // time / weight < now, without a division for each position.
            let limit = runner.weight.saturating_mul(self.now);
            while let Some(time) = self.clock.get(runner.position).filter(|time| **time < limit) {
                let slot = runner.permutation.slot(runner.position as u32);
                if wanted(slot) {
                    let (time, tie) = (time / runner.weight, runner.permutation.tie(slot));
                    arrivals.push(Arrival { time, tie, runner: i, slot });
                }
                runner.position += 1;
            }
        }
        arrivals.sort_unstable();
        true
    }
}
