//! The CPUs that a user wants.

use vitald_core::text::MOST_CPUS;

/// Takes numbers and ranges, of which a step may follow behind a colon; `None` for an empty text.
pub(super) fn parse(text: &str) -> Result<Option<Vec<u32>>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let number = |digits: &str| {
        let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        let number = if is_number { digits.parse().ok() } else { None };
        number
            .filter(|number| *number < MOST_CPUS)
            .ok_or_else(|| format!("{digits:?} is not the number of a CPU; expected such as 0-3,8"))
    };
    let mut cpus = Vec::new();
    for part in text.split(',') {
        let Some((first, rest)) = part.split_once('-') else {
            cpus.push(number(part)?);
            continue;
        };
        let (last, step) = match rest.split_once(':') {
            Some((last, step)) => (last, number(step)?),
            None => (rest, 1),
        };
        if step == 0 {
            return Err(format!("{part:?} has a step of 0"));
        }
        let (first, last) = (number(first)?, number(last)?);
        if first > last {
            return Err(format!("{part:?} has no CPU in it; expected such as 1-3"));
        }
        cpus.extend((first..=last).step_by(step as usize));
    }
    cpus.sort_unstable();
    cpus.dedup();
    Ok(Some(cpus))
}
