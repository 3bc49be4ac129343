//! Rates out of counters that are read again and again.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Instant;

use serde::Serialize;

use crate::model::VipKey;

/// What is counted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// A VIP's packets.
    Vip(VipKey),
    /// Packets to a backend of a pool.
    Backend(String, IpAddr),
    /// Packets that took this way out.
    Verdict(String),
}

/// A counter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Packets.
    pub packets: u64,
    /// Bytes of their frames.
    pub bytes: u64,
}

/// A rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Rate {
    /// Packets a second.
    pub packets: f64,
    /// Bits a second, of whole frames.
    pub bits: f64,
}

impl Rate {
    /// The sum of those that are known; none if none is.
    pub fn sum(rates: impl Iterator<Item = Option<Rate>>) -> Option<Rate> {
        rates.flatten().reduce(|a, b| Rate { packets: a.packets + b.packets, bits: a.bits + b.bits })
    }
}

/// Remembers counters from one reading to the next.
#[derive(Clone, Debug, Default)]
pub struct Meter {
    last: Option<(Instant, HashMap<Subject, Count>)>,
}

impl Meter {
    /// Takes a reading; returns the rates since the one before. What is new has none, nor has what has gone
    /// back, as counters do when the data plane was taken off and loaded anew: the first of the two readings
    /// tells nothing of the second then.
    pub fn read(&mut self, now: Instant, counts: HashMap<Subject, Count>) -> HashMap<Subject, Rate> {
        let rates = match &self.last {
            Some((at, before)) if now > *at => {
                let seconds = now.duration_since(*at).as_secs_f64();
                counts
                    .iter()
                    .filter_map(|(subject, count)| {
                        Some((subject.clone(), rate(*before.get(subject)?, *count, seconds)?))
                    })
                    .collect()
            }
            _ => HashMap::new(),
        };
        self.last = Some((now, counts));
        rates
    }
}

fn rate(before: Count, now: Count, seconds: f64) -> Option<Rate> {
    let packets = now.packets.checked_sub(before.packets)? as f64;
    let bytes = now.bytes.checked_sub(before.bytes)? as f64;
    Some(Rate { packets: packets / seconds, bits: bytes * 8.0 / seconds })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn reading(packets: u64, bytes: u64) -> HashMap<Subject, Count> {
        HashMap::from([(Subject::Verdict("x".into()), Count { packets, bytes })])
    }

    #[test]
    fn a_rate_is_what_came_by_the_time_it_took() {
        let (mut meter, start) = (Meter::default(), Instant::now());
        let later = |ms| start + Duration::from_millis(ms);
        assert!(meter.read(start, reading(100, 6400)).is_empty(), "nothing to compare with");
        let rates = meter.read(later(500), reading(150, 12_800));
        assert_eq!(rates[&Subject::Verdict("x".into())], Rate { packets: 100.0, bits: 102_400.0 });
        // The reader was away for a while.
        let rates = meter.read(later(10_500), reading(1150, 12_800));
        assert_eq!(rates[&Subject::Verdict("x".into())], Rate { packets: 100.0, bits: 0.0 });
    }

    #[test]
    fn counters_that_went_back_or_are_new_give_no_rate() {
        let (mut meter, start) = (Meter::default(), Instant::now());
        let later = |s| start + Duration::from_secs(s);
        meter.read(start, reading(1_000_000, 64_000_000));
        assert!(meter.read(later(1), reading(10, 640)).is_empty(), "loaded anew");
        assert_eq!(meter.read(later(2), reading(30, 1920)).len(), 1, "and on it goes");
        let mut two = reading(40, 2560);
        two.insert(Subject::Backend("web".into(), [10, 0, 0, 1].into()), Count { packets: 9, bytes: 9 });
        assert_eq!(meter.read(later(3), two).len(), 1, "the new one has no rate yet");
        assert!(meter.read(later(3), reading(50, 2560)).is_empty(), "no time has passed");
    }

    #[test]
    fn a_sum_is_of_what_is_known() {
        let one = Rate { packets: 1.0, bits: 8.0 };
        assert_eq!(
            Rate::sum([None, Some(one), Some(one)].into_iter()),
            Some(Rate { packets: 2.0, bits: 16.0 })
        );
        assert_eq!(Rate::sum([None, None].into_iter()), None);
    }
}
