//! How often something may be done.

use std::time::Instant;

/// A bucket of tokens that fills by itself.
#[derive(Clone, Debug)]
pub struct Bucket {
    tokens: f64,
    most: f64,
    per_second: f64,
    at: Instant,
}

impl Bucket {
    /// A full one: `most` at once, `per_second` in the long run.
    pub fn new(now: Instant, most: u32, per_second: u32) -> Self {
        let (most, per_second) = (f64::from(most), f64::from(per_second));
        Bucket { tokens: most, most, per_second, at: now }
    }

    /// Takes a token, if there is one.
    pub fn take(&mut self, now: Instant) -> bool {
        let since = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = self.at.max(now);
        self.tokens = (self.tokens + since * self.per_second).min(self.most);
        let has = self.tokens >= 1.0;
        if has {
            self.tokens -= 1.0;
        }
        has
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_burst_is_allowed_and_a_rate() {
        let start = Instant::now();
        let mut bucket = Bucket::new(start, 3, 2);
        let allowed = |bucket: &mut Bucket, ms: u64| {
            (0..10).filter(|_| bucket.take(start + Duration::from_millis(ms))).count()
        };
        assert_eq!(allowed(&mut bucket, 0), 3);
        assert_eq!(allowed(&mut bucket, 500), 1);
        assert_eq!(allowed(&mut bucket, 1000), 1);
        assert_eq!(allowed(&mut bucket, 60_000), 3, "no more than the bucket holds");
        assert_eq!(allowed(&mut bucket, 1000), 0, "a clock that goes back gives nothing");
    }
}
