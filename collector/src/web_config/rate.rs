//! A limit of requests in time.

use super::decode::Rate;
use std::time::Instant;

/// How much of a rate is left: a bucket of tokens, of which each request takes one.
#[derive(Debug, Default)]
pub(crate) struct Bucket {
    /// Since when it is in use, and for which rate.
    state: Option<(Rate, f64, Instant)>,
}

impl Bucket {
    /// Whether there may be a request now. A new rate begins with a full bucket.
    pub(super) fn takes(&mut self, rate: Rate, now: Instant) -> bool {
        let most = f64::from(rate.burst);
        let left = match self.state {
            Some((known, left, then)) if known == rate => {
                let passed = now.saturating_duration_since(then).as_secs_f64();
                (left + passed / rate.interval.as_secs_f64()).min(most)
            }
            _ => most,
        };
        let takes = left >= 1.0;
        self.state = Some((rate, if takes { left - 1.0 } else { left }, now));
        takes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_burst_and_then_one_each_interval() {
        let rate = Rate { interval: Duration::from_secs(2), burst: 3 };
        let (mut bucket, start) = (Bucket::default(), Instant::now());
        let mut taken =
            |milliseconds: u64| bucket.takes(rate, start + Duration::from_millis(milliseconds));
        let first: Vec<bool> = (0..5).map(|_| taken(0)).collect();
        assert_eq!(first, [true, true, true, false, false]);
        assert!(!taken(1900) && taken(2100) && !taken(2200) && taken(4100));
        // It holds no more than a burst.
        let later: Vec<bool> = (0..4).map(|_| taken(100_000)).collect();
        assert_eq!(later, [true, true, true, false]);
        // Another rate begins anew.
        assert!(bucket.takes(Rate { burst: 1, ..rate }, start));
    }
}
