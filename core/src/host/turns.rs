//! What hardly ever changes is read in turn, so that each of it is read again in time and no read finds all of
//! it due.

use std::fmt;
use std::time::{Duration, Instant};

use super::Host;

/// In so much time everything has had its turn. It is less than a minute, so that scrapes which are meant
/// to be a minute apart, and hardly ever are to the millisecond, read everything each.
const ROUND: Duration = Duration::from_secs(50);

/// The positions of a round: one comes back to where it was after all that a `u32` can count.
const POSITIONS: u64 = 1 << 32;

/// What neighbours are apart, in positions: the golden ratio's part of a round, which puts any number of
/// consecutive numbers at about the same distances from one another.
const APART: u32 = 0x9e37_79b9;

/// Who has their turn at a read. Each has a number, which is a position in a round that takes 50 seconds,
/// and it is their turn when the round passes it. So a child that comes or goes moves nobody else's turn, nothing has to be
/// remembered of anyone, and everyone has a turn
///
/// * in any 50 seconds, or at the first read after them: the longer ago the last read is, the more are due, and all
///   are where it is as long as that;
/// * in any so many reads, if [`Turns::within`] says so.
///
/// Reads that follow one upon another are hardly anyone's turn.
pub struct Turns {
    /// The least that a read goes on, in positions.
    least: u64,
    /// When the last read was; none before the first one.
    last: Option<Instant>,
    position: u32,
    /// How far the position has come by this read.
    passed: u64,
}

impl Turns {
    /// The first read is everyone's turn.
    pub fn new() -> Self {
        Turns { least: 0, last: None, position: 0, passed: POSITIONS }
    }

    /// Gives everyone a turn in any so many reads, too, however close together these are.
    ///
    /// # Panics
    ///
    /// If it is 0.
    pub fn within(&mut self, reads: usize) {
        assert!(reads > 0, "nobody can have a turn within no read");
        self.least = POSITIONS.div_ceil(reads as u64);
    }

    /// Begins a read of the host.
    pub fn begin(&mut self, host: &Host) {
        self.go_on(host.instant());
    }

    fn go_on(&mut self, now: Instant) {
        // A microsecond is the unit because a round of nanoseconds, times the positions, is more than 64 bits.
        let round = ROUND.as_micros() as u64;
        let gone = match self.last {
            Some(last) => now.saturating_duration_since(last).min(ROUND).as_micros() as u64,
            None => round,
        };
        // What is left of a microsecond counts the next time.
        self.last = match self.last {
            Some(last) if gone < round => Some(last + Duration::from_micros(gone)),
            _ => Some(now),
        };
        self.passed = (gone * POSITIONS).div_ceil(round).max(self.least).min(POSITIONS);
        // A whole round ends where it began.
        self.position = self.position.wrapping_add(self.passed as u32);
    }

    /// Whether it is the turn of that number at this read. Numbers that follow one another have their turns at
    /// different times.
    pub fn is_due(&self, number: u32) -> bool {
        let behind = self.position.wrapping_sub(number.wrapping_mul(APART));
        u64::from(behind) < self.passed
    }
}

impl Default for Turns {
    fn default() -> Self {
        Turns::new()
    }
}

impl fmt::Debug for Turns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Turns").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a stretch of reads gives turns to: for each read the numbers that are due.
    fn due(turns: &mut Turns, start: Instant, numbers: u32, times: &[Duration]) -> Vec<Vec<u32>> {
        let read = |time: &Duration| {
            turns.go_on(start + *time);
            (0..numbers).filter(|number| turns.is_due(*number)).collect()
        };
        times.iter().map(read).collect()
    }

    /// Times that are so far apart, with a little more or less each.
    fn times(apart: Duration, count: u32) -> Vec<Duration> {
        let odd = |n: u32| apart.mul_f64(1.0 + 0.01 * f64::from(n % 3));
        (0..count).scan(Duration::ZERO, |at, n| Some(std::mem::replace(at, *at + odd(n)))).collect()
    }

    #[test]
    fn everyone_has_a_turn_in_time_and_the_turns_are_spread() {
        for (apart, count) in
            [(0.005, 20_000), (0.3, 800), (1.0, 300), (5.0, 80), (15.0, 40), (30.0, 20), (60.0, 9)]
        {
            for numbers in [1, 7, 500] {
                let times = times(Duration::from_secs_f64(apart), count);
                let mut turns = Turns::new();
                let due = due(&mut turns, Instant::now(), numbers, &times);
                assert_eq!(due[0].len(), numbers as usize, "the first read is everyone's");
                let mut last = vec![Duration::ZERO; numbers as usize];
                for (at, (now, due)) in times.iter().zip(&due).enumerate().skip(1) {
                    let gone = *now - times[at - 1];
                    due.iter().for_each(|number| last[*number as usize] = *now);
                    let oldest = *now - *last.iter().min().unwrap();
                    assert!(oldest <= ROUND, "{numbers} each {apart} s: one of {oldest:?} ago");
                    let share = f64::from(numbers) * gone.as_secs_f64() / ROUND.as_secs_f64();
                    assert!(due.len() as f64 <= share + 3.0, "{numbers} each {apart} s: {due:?}");
                }
            }
        }
    }

    #[test]
    fn reads_a_minute_apart_are_everyones_turn_and_those_of_a_moment_hardly_anyones() {
        let start = Instant::now();
        let at =
            |times: &[u64]| times.iter().map(|ms| Duration::from_millis(*ms)).collect::<Vec<_>>();
        let count = |times: &[u64]| -> Vec<usize> {
            due(&mut Turns::new(), start, 500, &at(times)).iter().map(Vec::len).collect()
        };
        assert_eq!(count(&[0, 59_990, 120_000, 1_000_000]), [500; 4]);
        assert_eq!(count(&[0, 0, 1, 2, 3])[1..].iter().sum::<usize>(), 0);
        let of_fifteen = count(&[0, 15_000, 30_000, 45_000, 60_000]);
        assert!(of_fifteen[1..].iter().all(|due| (149..=151).contains(due)), "{of_fifteen:?}");
    }

    #[test]
    fn everyone_has_a_turn_within_so_many_reads() {
        for (reads, numbers) in [(1, 10), (7, 10), (16, 500), (32, 3)] {
            let mut turns = Turns::new();
            turns.within(reads);
            let due = due(&mut turns, Instant::now(), numbers, &vec![Duration::ZERO; 200]);
            for stretch in due.windows(reads) {
                let mut met: Vec<u32> = stretch.concat();
                met.sort_unstable();
                met.dedup();
                assert_eq!(met.len(), numbers as usize, "{numbers} in {reads} reads");
            }
            let most = due[1..].iter().map(Vec::len).max().unwrap();
            assert!(most <= numbers as usize / reads + 3, "{most} of {numbers} in {reads} reads");
        }
    }

    /// A clock that stands still, or is read out of order, takes nobody's turn away.
    #[test]
    fn no_turn_is_lost_to_short_times() {
        let start = Instant::now();
        let mut turns = Turns::new();
        turns.go_on(start);
        // Less than a microsecond each; they add up to a hundredth of a second, which is so much of a round.
        for step in 0..=40_000_u64 {
            turns.go_on(start + Duration::from_nanos(step * 250));
            turns.go_on(start);
        }
        let hundredth = (POSITIONS / 5_000) as u32;
        assert!((hundredth..hundredth + 2_000).contains(&turns.position), "{}", turns.position);
    }
}
