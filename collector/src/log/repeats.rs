//! Messages that repeat without end: a bucket of lines for each place in the source.

use crate::sync::lock;
use std::sync::Mutex;
use std::time::{Duration, Instant};
use tracing::callsite::Identifier;

/// How many lines of one message may be written at once. A refused configuration may take 101.
const BURST: u32 = 250;
/// How often one more may be written after that.
const REFILL: Duration = Duration::from_millis(200);

/// How many lines each message may still write.
#[derive(Default)]
pub(super) struct Repeats(Mutex<Vec<Bucket>>);

struct Bucket {
    message: Identifier,
    tokens: u32,
    filled: Instant,
    left_out: u64,
}

/// Whether a line is written.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is; so many of its kind were left out before it.
    Write(u64),
    /// It is left out.
    LeaveOut,
}

impl Repeats {
    /// Judges a line of this message.
    pub(super) fn judge(&self, message: Identifier, now: Instant) -> Verdict {
        let mut buckets = lock(&self.0);
        let position = buckets.iter().position(|bucket| bucket.message == message);
        let position = position.unwrap_or_else(|| {
            buckets.push(Bucket { message, tokens: BURST, filled: now, left_out: 0 });
            buckets.len() - 1
        });
        buckets[position].judge(now)
    }
}

impl Bucket {
    fn judge(&mut self, now: Instant) -> Verdict {
        let gained = now.saturating_duration_since(self.filled).as_millis() / REFILL.as_millis();
        let gained = u32::try_from(gained).unwrap_or(u32::MAX);
        self.tokens = self.tokens.saturating_add(gained).min(BURST);
        self.filled = if self.tokens == BURST { now } else { self.filled + REFILL * gained };
        if self.tokens == 0 {
            self.left_out += 1;
            return Verdict::LeaveOut;
        }
        self.tokens -= 1;
        Verdict::Write(std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_a_flood_does_not() {
        let message = Identifier(&CALLSITE);
        struct Callsite;
        static CALLSITE: Callsite = Callsite;
        impl tracing::Callsite for Callsite {
            fn set_interest(&self, _interest: tracing::subscriber::Interest) {}
            fn metadata(&self) -> &tracing::Metadata<'_> {
                unreachable!("nobody asks for it")
            }
        }
        let repeats = Repeats::default();
        let start = Instant::now();
        for _ in 0..BURST {
            assert_eq!(repeats.judge(message.clone(), start), Verdict::Write(0));
        }
        for _ in 0..3 {
            assert_eq!(repeats.judge(message.clone(), start), Verdict::LeaveOut);
        }
        let later = start + REFILL;
        assert_eq!(repeats.judge(message.clone(), later), Verdict::Write(3));
        assert_eq!(repeats.judge(message.clone(), later), Verdict::LeaveOut);
        let much_later = start + Duration::from_secs(86_400 * 365);
        assert_eq!(repeats.judge(message, much_later), Verdict::Write(1));
    }
}
