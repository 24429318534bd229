//! Programs scraped in turn.

use super::figures::Row;
use super::programs::Running;
use crate::system::cost::scrape;
use std::time::{Duration, Instant};

/// How long after an answer a program may still work for it.
const AFTERMATH: Duration = Duration::from_millis(2);

/// All circles of four. There is no smaller number of them in which each follows each equally often.
const CIRCLES_OF_FOUR: [[usize; 4]; 6] =
    [[0, 1, 2, 3], [0, 3, 2, 1], [0, 1, 3, 2], [0, 2, 3, 1], [0, 2, 1, 3], [0, 3, 1, 2]];

/// Circles of so many programs: over all of them each comes right after each other one equally often, from one round to
/// the next as within a round, because the one before leaves the kernel's code and data warm. Each circle is there in
/// both directions. A number that no program has is a place that stays empty.
fn circles(number: usize) -> Vec<Vec<usize>> {
    if number == 4 {
        return CIRCLES_OF_FOUR.map(Vec::from).into();
    }
    // In a circle of a prime number of places, steps of each length come to every place.
    let is_prime = |places: &usize| (2..*places).all(|divisor| !places.is_multiple_of(divisor));
    let places = (number.max(2)..).find(is_prime).unwrap_or(number);
    let circle = |step: usize| (0..places).map(|place| place * step % places).collect();
    let steps = (1..places).map(|turn| match turn % 2 {
        1 => turn.div_ceil(2),
        _ => places - turn / 2,
    });
    steps.map(circle).collect()
}

/// The order of all rounds of a block. Each block has another circle, and begins it with another program.
fn order(number: usize, block: usize) -> Vec<usize> {
    let mut circles = circles(number);
    let which = block % circles.len();
    let mut order = circles.swap_remove(which);
    let begins = order.iter().position(|program| *program == block % number);
    order.rotate_left(begins.unwrap_or(0));
    order
}

/// Scrapes each program so many times at a go, in so many rounds, in the order of this block. `advance` is called before
/// each round.
pub(crate) fn back_to_back(
    programs: &mut [Running],
    block: usize,
    rounds: usize,
    scrapes: usize,
    mut advance: impl FnMut(usize),
) -> Vec<Row> {
    let mut order = order(programs.len(), block);
    order.retain(|program| *program < programs.len());
    // In the first round, too, the first one comes after the last one.
    if let Some(last) = order.last() {
        scrape(&mut programs[*last].target.client, 1);
    }
    for round in 0..rounds {
        advance(round);
        for program in &order {
            let target = &mut programs[*program].target;
            target.spent();
            target.scrape(scrapes);
            let spent = target.spent();
            target.rounds.push(spent);
        }
    }
    taken(programs, scrapes)
}

/// Scrapes each program once a period, in the order of this block, all as far apart as can be.
/// What a program spends without being asked counts, too.
pub(crate) fn at_rate(
    programs: &mut [Running],
    block: usize,
    rounds: usize,
    rate: f64,
) -> Vec<Row> {
    let period = Duration::from_secs_f64(1.0 / rate);
    let order = order(programs.len(), block);
    let begun = Instant::now();
    // The first round is to find everything as the next ones do.
    for round in 0..=rounds {
        for (place, program) in order.iter().enumerate() {
            let due = begun + period.mul_f64(round as f64 + place as f64 / order.len() as f64);
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            if let Some(program) = programs.get_mut(*program) {
                program.target.scrape(1);
            }
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
    taken(programs, 1)
}

fn taken(programs: &mut [Running], scrapes: usize) -> Vec<Row> {
    let row = |program: &mut Running| Row::new(program.target.name, program.target.take(), scrapes);
    programs.iter_mut().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::options::FULL;
    use std::collections::BTreeMap;

    /// How often each program comes right after each other one in these blocks, in all rounds.
    fn followers(number: usize, blocks: usize) -> BTreeMap<(usize, usize), usize> {
        let mut pairs: BTreeMap<(usize, usize), usize> = BTreeMap::new();
        for block in 0..blocks {
            let order = order(number, block);
            for (place, program) in order.iter().enumerate() {
                let before = order[(place + order.len() - 1) % order.len()];
                *pairs.entry((before, *program)).or_default() += 1;
            }
        }
        pairs.retain(|(before, program), _| *before < number && *program < number);
        pairs
    }

    #[test]
    fn each_follows_each_equally_often_also_from_round_to_round() {
        for number in 2..=14 {
            let blocks = circles(number).len();
            let pairs = followers(number, blocks);
            assert_eq!(pairs.len(), number * (number - 1), "{number}: {pairs:?}");
            let times = pairs[&(0, 1)];
            assert!(pairs.values().all(|other| *other == times), "{number}: {pairs:?}");
        }
    }

    #[test]
    fn each_circle_is_there_in_both_directions() {
        for number in 3..=14 {
            let circles = circles(number);
            for circle in &circles {
                let mut reverse = circle.clone();
                reverse[1..].reverse();
                assert!(circles.contains(&reverse), "{number}: {circle:?}");
            }
        }
    }

    /// One program, a pair, a set, a set with collectd, and all sets side by side without it and with it.
    #[test]
    fn a_full_run_is_balanced() {
        for number in [1, 2, 3, 4, 5, 12, 13] {
            assert_eq!(FULL.blocks % circles(number).len(), 0, "{number}");
            let begins =
                |first| (0..FULL.blocks).filter(|block| order(number, *block)[0] == first).count();
            let times: Vec<usize> = (0..number).map(begins).collect();
            let even = FULL.blocks / number;
            assert!(times.iter().all(|times| [even, even + 1].contains(times)), "{times:?}");
        }
        // Those of the large hosts.
        for number in [1, 2, 3] {
            assert_eq!(FULL.blocks_of_large % circles(number).len(), 0, "{number}");
        }
    }
}
