//! What several nodes saw, by time.
//!
//! Each node's packets come in order, those of one node later than those of another. So each is held back for a
//! moment, and what came meanwhile and is older goes first. Nodes whose clocks differ by more than their packets
//! take are shown as their clocks say.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use crate::sight::Sight;

/// How long a packet is held back.
pub const HOLD: Duration = Duration::from_millis(300);
/// Most packets that are held back; beyond it the oldest go.
const MOST_HELD: usize = 10_000;

/// Puts packets in order.
#[derive(Debug, Default)]
pub struct Merge {
    held: BinaryHeap<Reverse<Held>>,
    /// Packets so far: those of one time stay in the order in which they came.
    count: u64,
}

#[derive(Debug)]
struct Held {
    time: u64,
    count: u64,
    came: Instant,
    sight: Sight,
}

impl PartialEq for Held {
    fn eq(&self, other: &Self) -> bool {
        (self.time, self.count) == (other.time, other.count)
    }
}

impl Eq for Held {}

impl PartialOrd for Held {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Held {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.time, self.count).cmp(&(other.time, other.count))
    }
}

impl Merge {
    /// Takes a packet that came now.
    pub fn push(&mut self, now: Instant, sight: Sight) {
        self.count += 1;
        self.held.push(Reverse(Held { time: sight.time, count: self.count, came: now, sight }));
    }

    /// The oldest packet, if it has been held back long enough.
    pub fn pop(&mut self, now: Instant) -> Option<Sight> {
        let Reverse(oldest) = self.held.peek()?;
        if self.held.len() <= MOST_HELD && now.saturating_duration_since(oldest.came) < HOLD {
            return None;
        }
        self.rest()
    }

    /// The oldest packet, however short it has been here.
    pub fn rest(&mut self) -> Option<Sight> {
        self.held.pop().map(|Reverse(held)| held.sight)
    }

    /// When [`pop`](Self::pop) has something.
    pub fn deadline(&self) -> Option<Instant> {
        self.held.peek().map(|Reverse(oldest)| oldest.came + HOLD)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sight::testing::{event, sight};

    fn at(time: u64) -> Sight {
        Sight { time, ..sight(&event()) }
    }

    #[test]
    fn what_comes_late_goes_where_it_belongs() {
        let start = Instant::now();
        let mut merge = Merge::default();
        for time in [5, 7, 6, 1] {
            merge.push(start, at(time));
        }
        assert_eq!(merge.pop(start), None);
        assert_eq!(merge.deadline(), Some(start + HOLD));
        merge.push(start + HOLD / 2, at(4));
        let after = |merge: &mut Merge, now| {
            std::iter::from_fn(|| merge.pop(now)).map(|s| s.time).collect::<Vec<_>>()
        };
        assert_eq!(after(&mut merge, start + HOLD), [1], "what is younger waits for what came later");
        assert_eq!(after(&mut merge, start + HOLD * 2), [4, 5, 6, 7]);
        assert_eq!((merge.rest(), merge.deadline()), (None, None));
    }

    #[test]
    fn memory_is_bounded() {
        let start = Instant::now();
        let mut merge = Merge::default();
        for time in 0..MOST_HELD as u64 + 2 {
            merge.push(start, at(time));
        }
        assert_eq!(merge.pop(start).map(|s| s.time), Some(0));
        assert_eq!(merge.pop(start).map(|s| s.time), Some(1));
        assert_eq!(merge.pop(start), None);
    }
}
