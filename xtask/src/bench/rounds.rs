//! Programs scraped in turn.

use super::figures::{Regime, Row};
use super::programs::Running;
use std::ops::Range;
use std::time::{Duration, Instant};

/// How long after an answer a program may still work for it.
const AFTERMATH: Duration = Duration::from_millis(2);

/// The order of a round, of so many: over the rounds each place is had by each, and each follows each other
/// equally often, because the one before leaves the kernel's code and data warm.
fn order(number: usize, round: usize) -> Vec<usize> {
    // 0, 1, last, 2, last but one, ...
    let zigzag = (0..number).map(|place| {
        if place % 2 == 1 { place.div_ceil(2) } else { (number - place / 2) % number }
    });
    let mut order: Vec<usize> = zigzag.map(|program| (program + round) % number).collect();
    if (round / number) % 2 == 1 {
        order.reverse();
    }
    order
}

/// Scrapes each program so many times at a go, in the order of each of these rounds.
pub(crate) fn back_to_back(
    name: &str,
    programs: &mut [Running],
    rounds: Range<usize>,
    scrapes: usize,
) -> Regime {
    for round in rounds {
        for program in order(programs.len(), round) {
            let target = &mut programs[program].target;
            target.spent();
            target.scrape(scrapes);
            let spent = target.spent();
            target.rounds.push(spent);
        }
    }
    taken(name, programs, scrapes)
}

/// Scrapes each program so often a second, one scrape a round, as far from the others as can be.
/// What a program spends without being asked counts, too.
pub(crate) fn at_rate(programs: &mut [Running], rate: f64, rounds: usize) -> Regime {
    let period = Duration::from_secs_f64(1.0 / rate);
    let number = programs.len();
    let begun = Instant::now();
    // The first round is to find everything as the next ones do.
    for round in 0..=rounds {
        for (place, program) in order(number, round).into_iter().enumerate() {
            let due = begun + period.mul_f64(round as f64 + place as f64 / number as f64);
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            programs[program].target.scrape(1);
        }
        std::thread::sleep(AFTERMATH);
        for Running { target, .. } in &mut *programs {
            let spent = target.spent();
            target.rounds.push(spent);
        }
        if round == 0 {
            programs.iter_mut().for_each(|program| drop(program.target.take()));
        }
    }
    taken(&format!("{rate} Hz"), programs, 1)
}

fn taken(name: &str, programs: &mut [Running], scrapes: usize) -> Regime {
    let row = |program: &mut Running| Row::new(program.target.name, program.target.take(), scrapes);
    Regime::of(name, programs.iter_mut().map(row).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn each_has_each_place_and_follows_each_equally_often() {
        for number in 1..7 {
            let mut places: BTreeMap<(usize, usize), usize> = BTreeMap::new();
            let mut neighbours: BTreeMap<(usize, usize), usize> = BTreeMap::new();
            for round in 0..number * 2 {
                let order = order(number, round);
                for (place, program) in order.iter().enumerate() {
                    *places.entry((place, *program)).or_default() += 1;
                }
                for pair in order.windows(2) {
                    *neighbours.entry((pair[0], pair[1])).or_default() += 1;
                }
            }
            assert_eq!(places.len(), number * number);
            assert!(places.values().all(|times| *times == 2), "{number}: {places:?}");
            assert_eq!(neighbours.len(), number * (number - 1));
            assert!(neighbours.values().all(|times| *times == 2), "{number}: {neighbours:?}");
        }
    }
}
