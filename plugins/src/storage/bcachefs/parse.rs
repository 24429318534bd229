//! Lines and numbers of the files in `/sys/fs/bcachefs`.

use vitald_core::number::{parse_f64, parse_u64};
use vitald_core::prelude::*;

/// Of an absent file the number is 0, as in node_exporter.
pub(super) fn or_zero<T: Default>(
    text: &[u8],
    parse: fn(&[u8]) -> Result<T, Malformed>,
) -> Result<T, Malformed> {
    if text.is_empty() { Ok(T::default()) } else { parse(text) }
}

/// Takes `lz4   48.9G   71.2G   62.5k`: an algorithm, what it made of how much, and the size of an extent.
pub(super) fn parse_compression(line: &[u8]) -> Result<Option<(&[u8], [u64; 2])>, Malformed> {
    let [Some(name), Some(compressed), Some(size)] = three(line) else { return Ok(None) };
    Ok(Some((name, [parse_size(compressed)?, parse_size(size)?])))
}

/// Takes `bset_bad_csum   2   1767112063`: a kind of error, how often it was met, and when last. Numbers that do
/// not fit into their columns run together, and are what node_exporter shows.
pub(super) fn parse_errors(line: &[u8]) -> Result<Option<(&[u8], u64)>, Malformed> {
    let [Some(name), Some(count), _] = three(line) else { return Ok(None) };
    let is_too_long = count.len() > 20;
    match parse_u64(count) {
        Some(count) if !is_too_long => Ok(Some((name, count))),
        _ => Err(Malformed::new(0, "a number of errors")),
    }
}

/// Takes `initial:   3298401   100k`: why nodes were written, how many, and their size on average.
pub(super) fn parse_writes(line: &[u8]) -> Result<Option<(&[u8], u64, u64)>, Malformed> {
    let [Some(name), Some(count), Some(size)] = three(line) else { return Ok(None) };
    Ok(Some((name, parse_count(count)?, parse_size(size)?)))
}

/// The first three fields, of which the first may end with a colon.
fn three(line: &[u8]) -> [Option<&[u8]>; 3] {
    let mut fields = Fields::new(line);
    let name = fields.next().map(|name| name.strip_suffix(b":").unwrap_or(name));
    [name, fields.next(), fields.next()]
}

/// Takes the second number of `since mount:   475G` and `since filesystem creation:   44.5T`.
pub(super) fn parse_counter(text: &[u8]) -> Result<u64, Malformed> {
    let mut is_counter = false;
    for line in lines(text) {
        if let Some(value) = line.strip_prefix(b"since filesystem creation:") {
            return parse_size(text::trim(value));
        }
        is_counter |= line.starts_with(b"since mount:");
    }
    if is_counter { Ok(0) } else { Err(Malformed::new(0, "a counter")) }
}

pub(super) fn parse_count(text: &[u8]) -> Result<u64, Malformed> {
    parse_u64(text).ok_or(Malformed::new(0, "a number"))
}

/// Takes a number as the kernel writes it for people, such as `697`, `28.2k` or `10.8T`.
pub(super) fn parse_size(text: &[u8]) -> Result<u64, Malformed> {
    let power = match text.last().map(u8::to_ascii_lowercase) {
        Some(b'k') => 1,
        Some(b'm') => 2,
        Some(b'g') => 3,
        Some(b't') => 4,
        Some(b'p') => 5,
        Some(b'e') => 6,
        _ => 0,
    };
    let digits = &text[..text.len() - usize::from(power > 0)];
    let number =
        parse_f64(text::trim(digits)).filter(|number| *number >= 0.0 && number.is_finite());
    // A fraction of a byte is cut off.
    let size = number.map(|number| number * 1024_f64.powi(power));
    size.map(|size| size as u64).ok_or(Malformed::new(0, "a size such as 28.2k"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitald_core::testing::*;

    #[test]
    fn sizes() {
        let of = |text: &str| parse_size(text.as_bytes()).unwrap();
        assert_eq!((of("0"), of("697"), of("1k"), of("2 M")), (0, 697, 1024, 2 << 20));
        assert_eq!(
            (of("28.2k"), of("2.05G"), of("10.8T")),
            (28_876, 2_201_170_739, 11_874_725_579_980)
        );
        assert_eq!((of("1P"), of("1E"), of("99E")), (1 << 50, 1 << 60, u64::MAX));
        rejects(parse_size, &["", "k", "-1", "1kk", "x", "NaN", "inf", "1.2.3"]);
    }

    #[test]
    fn refuses_bad_lines() {
        rejects(parse_compression, &["lz4 1 x", "lz4 x 1"]);
        rejects(parse_errors, &["a x", "a -1", "a 999999999999999999999"]);
        rejects(parse_writes, &["a: x 1", "a: 1 x"]);
        rejects(parse_counter, &["", "\n", "since", "since filesystem creation: x"]);
        assert_eq!(parse_compression(b"lz4 1"), Ok(None));
        assert_eq!(parse_errors(b""), Ok(None));
        assert_eq!(parse_writes(b"initial: 1"), Ok(None));
    }

    /// Two numbers of a kernel that does not keep its columns apart.
    #[test]
    fn numbers_that_run_together_are_one() {
        let count = parse_errors(b"extent_io_opts_not_set          11299659571772285102");
        assert_eq!(count, Ok(Some((&b"extent_io_opts_not_set"[..], 11_299_659_571_772_285_102))));
    }
}
