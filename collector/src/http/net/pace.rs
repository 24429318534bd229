//! How a peer takes its answers: when it is too slow as a whole, since when it has been behind, and whether it has
//! behaved.
//!
//! What it asks for without a pause is one *run*: a pipeline of small answers has no more time than one long answer.

use std::time::{Duration, Instant};

/// The bytes that a reader takes in a second, at least, beside what it may take its time for.
pub(super) const LEAST_RATE: u64 = 32 << 10;
/// Who takes less than this in a second is behind, and has to go before others where something is short.
const FAIR_RATE: u64 = 256 << 10;
/// Who takes an answer within this time has behaved.
const PROMPT: Duration = Duration::from_secs(1);

/// How the peer of one connection gets on.
#[derive(Debug)]
pub(super) struct Pace {
    /// When the first answer of the run began; later by the time that the daemon took for the others.
    run_began: Instant,
    /// Bytes that were taken since.
    run_taken: u64,
    /// The peer has paused: the next answer begins a new run.
    has_paused: bool,
    /// When the request came, or its answer began.
    answer_began: Instant,
    /// The answer that is being sent is one that was asked for with success.
    has_succeeded: bool,
    /// It has taken an answer, and the last one without delay.
    has_behaved: bool,
    /// It has asked again after a pause.
    has_returned: bool,
}

impl Pace {
    pub(super) fn new(now: Instant) -> Self {
        Pace {
            run_began: now,
            run_taken: 0,
            has_paused: true,
            answer_began: now,
            has_succeeded: false,
            has_behaved: false,
            has_returned: false,
        }
    }

    pub(super) fn has_behaved(&self) -> bool {
        self.has_behaved
    }

    pub(super) fn has_returned(&self) -> bool {
        self.has_returned
    }

    /// There is no request to be had at the moment.
    pub(super) fn pauses(&mut self) {
        self.has_paused = true;
    }

    /// A request has come. Answers whether it was there before the last answer had been taken.
    pub(super) fn asks(&mut self, now: Instant) -> bool {
        self.answer_began = now;
        !self.has_paused
    }

    /// Its answer is sent from now on. The time that it took the daemon is not the reader's.
    pub(super) fn answer_begins(&mut self, now: Instant, has_succeeded: bool) {
        self.has_succeeded = has_succeeded;
        let asked = std::mem::replace(&mut self.answer_began, now);
        if std::mem::take(&mut self.has_paused) {
            self.has_returned = self.has_behaved;
            (self.run_began, self.run_taken) = (now, 0);
        } else {
            self.run_began += now.saturating_duration_since(asked);
        }
    }

    pub(super) fn takes(&mut self, bytes: usize) {
        self.run_taken += bytes as u64;
    }

    /// All of the answer is on its way.
    pub(super) fn answer_ends(&mut self, now: Instant) {
        if now.saturating_duration_since(self.answer_began) > PROMPT {
            self.has_behaved = false;
        } else if self.has_succeeded {
            self.has_behaved = true;
        }
    }

    /// When it is too slow as a whole, though it gets on: it has the time of a stall for all that it takes in a run, and
    /// beside that as much as the least rate gives it.
    pub(super) fn too_slow_at(&self, stall: Duration) -> Instant {
        self.run_began + stall + self.time_at(LEAST_RATE)
    }

    /// Since when it has been behind; in the future while it is not. Taking a little now and then does not help.
    pub(super) fn behind_since(&self) -> Instant {
        self.run_began + self.time_at(FAIR_RATE)
    }

    fn time_at(&self, rate: u64) -> Duration {
        Duration::from_millis(self.run_taken.saturating_mul(1000) / rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STALL: Duration = Duration::from_secs(10);

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn a_reader_has_the_time_of_a_stall_and_what_its_rate_gives_it() {
        let epoch = Instant::now();
        let mut pace = Pace::new(epoch);
        let too_slow_at = |pace: &Pace| (pace.too_slow_at(STALL) - epoch).as_secs();
        assert!(!pace.asks(epoch + seconds(100)), "nothing was sent before");
        pace.answer_begins(epoch + seconds(103), true);
        assert_eq!(too_slow_at(&pace), 113);
        pace.takes(5 * LEAST_RATE as usize);
        assert_eq!(too_slow_at(&pace), 118);
        // The next one without a pause has no more time than it is served for.
        pace.answer_ends(epoch + seconds(109));
        assert!(pace.asks(epoch + seconds(110)), "it did not pause");
        pace.answer_begins(epoch + seconds(114), true);
        pace.takes(LEAST_RATE as usize);
        assert_eq!(too_slow_at(&pace), 123);
        // After a pause all begins anew.
        pace.answer_ends(epoch + seconds(120));
        pace.pauses();
        assert!(!pace.asks(epoch + seconds(200)));
        pace.answer_begins(epoch + seconds(201), true);
        assert_eq!(too_slow_at(&pace), 211);
    }

    #[test]
    fn who_takes_a_little_now_and_then_stays_behind() {
        let epoch = Instant::now();
        let behind_since = |taken: usize| {
            let mut pace = Pace::new(epoch);
            pace.answer_begins(epoch, true);
            pace.takes(taken);
            pace.behind_since()
        };
        assert_eq!(behind_since(0), epoch);
        assert!(behind_since(2000) < epoch + Duration::from_millis(10));
        assert_eq!(behind_since(60 * FAIR_RATE as usize), epoch + seconds(60));
    }

    #[test]
    fn who_takes_answers_without_delay_has_behaved() {
        let now = Instant::now();
        let mut pace = Pace::new(now);
        for (takes, has_succeeded, expected) in [
            (0, false, false),
            (0, true, true),
            (0, false, true),
            (2, true, false),
            (2, false, false),
            (0, true, true),
        ] {
            pace.asks(now);
            pace.answer_begins(now, has_succeeded);
            pace.answer_ends(now + seconds(takes));
            assert_eq!(pace.has_behaved(), expected, "{takes} s, {has_succeeded}");
        }
    }
}
