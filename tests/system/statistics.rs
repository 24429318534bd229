//! What is made of values that came round by round, or in blocks of rounds.

/// How often the bootstrap draws, and the draws between which 95 % of all are.
const DRAWS: usize = 4000;
const MIDDLE: (usize, usize) = (100, 3899);

pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len().is_multiple_of(2) {
        (sorted[middle - 1] + sorted[middle]) / 2.0
    } else {
        sorted[middle]
    }
}

/// The least of the values that this share of them does not exceed; NaN of none.
pub fn percentile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

/// The median of the ratios of rounds, with the interval that holds it with 95 % probability, by
/// the bootstrap.
pub fn ratio(above: &[f64], below: &[f64]) -> (f64, f64, f64) {
    let ratios: Vec<f64> = above.iter().zip(below).map(|(above, below)| above / below).collect();
    interval(&ratios)
}

/// The same where each block of rounds is of other processes. How a process lies in memory and what came before it is in
/// all rounds of its block, so that a block counts as one value, however many rounds it has: the median of their ratios.
pub fn ratio_of_blocks(above: &[Vec<f64>], below: &[Vec<f64>]) -> (f64, f64, f64) {
    let of_block = |(above, below): (&Vec<f64>, &Vec<f64>)| {
        let ratios = above.iter().zip(below).map(|(above, below)| above / below);
        median(&ratios.collect::<Vec<_>>())
    };
    let blocks: Vec<f64> = above.iter().zip(below).map(of_block).collect();
    interval(&blocks)
}

/// The median of values that came one by one, with such an interval. The same values have the same
/// interval each time.
pub fn interval(values: &[f64]) -> (f64, f64, f64) {
    let mut seed = 1_u64;
    let mut below = |limit: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % limit
    };
    let mut medians: Vec<f64> = (0..DRAWS)
        .map(|_| {
            let again: Vec<f64> = values.iter().map(|_| values[below(values.len())]).collect();
            median(&again)
        })
        .collect();
    medians.sort_unstable_by(f64::total_cmp);
    (median(values), medians[MIDDLE.0], medians[MIDDLE.1])
}

/// The power of the size with which the value grows: the slope of the line of least squares through the
/// logarithms.
pub fn exponent(sizes: &[f64], values: &[f64]) -> f64 {
    let logarithms =
        |values: &[f64]| -> Vec<f64> { values.iter().map(|value| value.ln()).collect() };
    let (sizes, values) = (logarithms(sizes), logarithms(values));
    let middle = sizes.iter().sum::<f64>() / sizes.len() as f64;
    let width: f64 = sizes.iter().map(|size| (size - middle).powi(2)).sum();
    let slope = |(size, value): (&f64, &f64)| (size - middle) * value;
    sizes.iter().zip(&values).map(slope).sum::<f64>() / width
}
