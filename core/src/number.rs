//! Numbers as Prometheus prints them, and numbers as the kernel and textfiles write them.
//!
//! Both directions are total: any value prints, and any bytes parse to a number or to `None`.
//! Neither allocates, apart from growth of the output buffer.

/// Every power of ten that an `f64` holds exactly.
const EXACT_POW10: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
];

/// Below this every whole `f64` is its own shortest decimal form, trailing zeros aside.
const EXACT_INTEGERS: f64 = 9_007_199_254_740_992.0;

/// Go's 'g' form changes to an exponent at this power of ten, whatever number of digits follows.
const EXPONENT_FROM: u64 = 1_000_000;

/// Room for the longest result, `-2.2250738585072014e-308`, and for the whole words that the
/// digit writers store past its end.
pub const NUMBER_ROOM: usize = 40;

/// ASCII zeros in every byte of a word.
const ZEROS: u64 = 0x3030_3030_3030_3030;

/// Appends `value` as Go's `strconv.AppendFloat(out, value, 'g', -1, 64)` does.
///
/// This is the form of Prometheus' text format: the fewest digits that read back as `value`, in
/// exponent form below 1e-4 and from 1e6 on. Negative zero prints as `0`, as client_golang's
/// encoder has it.
///
/// ```
/// let mut out = Vec::new();
/// vitald_core::number::write_number(&mut out, 16_777_216_000.0);
/// assert_eq!(out, b"1.6777216e+10");
/// ```
#[inline]
pub fn write_number(out: &mut Vec<u8>, value: f64) {
    in_place(out, |room| put_number(room, value));
}

/// Appends `value` in OpenMetrics' canonical form.
///
/// It is [`write_number`] with `.0` added to a finite result that would otherwise read as an
/// integer.
pub fn write_openmetrics_number(out: &mut Vec<u8>, value: f64) {
    in_place(out, |room| put_openmetrics_number(room, value));
}

/// Puts what [`write_number`] appends at the beginning of `room`, and answers how long it is; what is
/// behind it has no meaning.
#[inline]
pub fn put_number(room: &mut [u8; NUMBER_ROOM], value: f64) -> usize {
    let size = value.abs();
    if size < EXACT_INTEGERS {
        // The cast is exact in this range whenever it is reversible, and then no search for the
        // shortest digits is needed.
        let whole = size as i64;
        if whole as f64 == size {
            return put_whole(room, value < 0.0, whole as u64);
        }
    }
    put_other(room, value)
}

/// As [`put_number`], for [`write_openmetrics_number`].
#[inline]
pub fn put_openmetrics_number(room: &mut [u8; NUMBER_ROOM], value: f64) -> usize {
    let end = put_number(room, value);
    // From 1e6 on an `e` is always there, and a fraction always has its point.
    if value.abs() < EXPONENT_FROM as f64 && value.trunc() == value {
        return append(room, end, b".0");
    }
    end
}

/// Lends the room for one number at the end of `out` and keeps what `fill` says it used.
///
/// Writing in place with stores of a fixed size is what makes the difference to a buffer on the
/// stack, whose copy of unknown length would cost more than the digits.
#[inline(always)]
fn in_place(out: &mut Vec<u8>, fill: impl FnOnce(&mut [u8; NUMBER_ROOM]) -> usize) {
    let start = out.len();
    out.extend_from_slice(&[0; NUMBER_ROOM]);
    let used = match out[start..].first_chunk_mut() {
        Some(room) => fill(room),
        None => 0,
    };
    out.truncate(start + used);
}

/// A whole number below 2^53.
#[inline]
fn put_whole(room: &mut [u8; NUMBER_ROOM], negative: bool, whole: u64) -> usize {
    room[0] = b'-';
    let start = usize::from(negative);
    if whole < EXPONENT_FROM {
        write_small(room, start, whole)
    } else {
        write_scientific(room, start, whole, 0)
    }
}

/// Fractions, very large numbers, infinities and NaN.
fn put_other(room: &mut [u8; NUMBER_ROOM], value: f64) -> usize {
    let size = value.abs();
    // Most fractions in host metrics are seconds or ratios that the kernel counts in units down
    // to the microsecond. A decimal of at most 15 digits that reads back as the value is the only
    // one of that length, so with its trailing zeros gone it is the shortest.
    if (1e-4..1e9).contains(&size) {
        let micros = (size * 1e6 + 0.5) as i64;
        if micros as f64 / 1e6 == size {
            return put_micros(room, value < 0.0, micros as u64);
        }
    } else if (1e9..1e12).contains(&size) {
        // Seconds since 1970 leave three digits fewer to the fraction.
        let millis = (size * 1e3 + 0.5) as i64;
        if millis as f64 / 1e3 == size {
            room[0] = b'-';
            return write_scientific(room, usize::from(value < 0.0), millis as u64, 3);
        }
    }
    put_shortest(room, value)
}

/// A number of millionths, below 10^15 and at least 100.
fn put_micros(room: &mut [u8; NUMBER_ROOM], negative: bool, micros: u64) -> usize {
    room[0] = b'-';
    let start = usize::from(negative);
    let (whole, fraction) = (micros / 1_000_000, micros % 1_000_000);
    if whole >= EXPONENT_FROM {
        return write_scientific(room, start, micros, 6);
    }
    let end = write_small(room, start, whole);
    room[end] = b'.';
    let digits = eight_digits(fraction * 100);
    put(room, end + 1, digits | ZEROS);
    end + 1 + 8 - digits.leading_zeros() as usize / 8
}

/// The general case: shortest digits by zmij, put in Go's form.
fn put_shortest(room: &mut [u8; NUMBER_ROOM], value: f64) -> usize {
    if value.is_nan() {
        return append(room, 0, b"NaN");
    }
    if value.is_infinite() {
        return append(room, 0, if value < 0.0 { b"-Inf" } else { b"+Inf" });
    }
    let mut buffer = zmij::Buffer::new();
    let text = buffer.format_finite(value.abs()).as_bytes();
    room[0] = b'-';
    let start = usize::from(value < 0.0);
    if (1e-4..EXPONENT_FROM as f64).contains(&value.abs()) {
        // In this range both agree, for no whole number comes here to get zmij's `.0`.
        return append(room, start, text);
    }
    // zmij changes to exponent form elsewhere than Go, so either form may need another one.
    let tail = text.len().saturating_sub(5);
    match text[tail..].iter().position(|byte| *byte == b'e') {
        Some(e) => {
            let end = append(room, start, &text[..tail + e]);
            write_exponent(room, end, parse_i64(&text[tail + e + 1..]).unwrap_or(0))
        }
        None => write_fixed_as_scientific(room, start, text),
    }
}

/// Turns text such as `12345678.9` or `0.000012` into exponent form and returns where it ends.
fn write_fixed_as_scientific(room: &mut [u8; NUMBER_ROOM], start: usize, text: &[u8]) -> usize {
    let point = text.iter().position(|byte| *byte == b'.').unwrap_or(text.len());
    let first = text.iter().position(|byte| (b'1'..=b'9').contains(byte)).unwrap_or(0);
    let mut end = append(room, start, &text[first..=first]);
    end = append(room, end, b".");
    let (before, after) = (&text[..point], &text[(point + 1).min(text.len())..]);
    if first < point {
        end = append(room, end, &before[first + 1..]);
        end = append(room, end, after);
    } else {
        end = append(room, end, &text[first + 1..]);
    }
    while room[end - 1] == b'0' {
        end -= 1;
    }
    if room[end - 1] == b'.' {
        end -= 1;
    }
    let exponent = point as i64 - first as i64;
    write_exponent(room, end, if exponent > 0 { exponent - 1 } else { exponent })
}

/// Go's exponent: always a sign, and two digits at least.
fn write_exponent(room: &mut [u8; NUMBER_ROOM], start: usize, exponent: i64) -> usize {
    let mut end = append(room, start, if exponent < 0 { b"e-" } else { b"e+" });
    let size = exponent.unsigned_abs();
    if size >= 100 {
        end = append(room, end, &[b'0' + (size / 100 % 10) as u8]);
    }
    append(room, end, &[b'0' + (size / 10 % 10) as u8, b'0' + (size % 10) as u8])
}

/// Stores `text`, for which there is always room, and returns where it ends.
#[inline(always)]
fn append(room: &mut [u8; NUMBER_ROOM], start: usize, text: &[u8]) -> usize {
    let end = start + text.len();
    if let Some(place) = room.get_mut(start..end) {
        place.copy_from_slice(text);
    }
    end.min(NUMBER_ROOM)
}

/// Writes a whole number below 10^8 as it is and returns where it ends.
#[inline(always)]
fn write_small(room: &mut [u8; NUMBER_ROOM], start: usize, whole: u64) -> usize {
    let digits = eight_digits(whole);
    // The mark in the last digit keeps the single digit of a zero.
    let blank = (digits | 1 << 56).trailing_zeros() & !7;
    put(room, start, (digits | ZEROS) >> blank);
    start + 8 - blank as usize / 8
}

/// Writes `number / 10^scale` in exponent form and returns where it ends; `number` has at most
/// 16 digits and at least `scale` + 1.
#[inline(always)]
fn write_scientific(
    room: &mut [u8; NUMBER_ROOM],
    start: usize,
    number: u64,
    scale: usize,
) -> usize {
    // All that is needed of the number's length is in the zero bytes at either end, which is
    // sooner known than a logarithm. The digits are put one place further than they belong, which is
    // where all but the first are to be.
    let (digits, count);
    if number < 100_000_000 {
        let word = eight_digits(number);
        let blank = word.trailing_zeros() as usize / 8;
        put(room, start + 1, (word | ZEROS) >> (8 * blank));
        digits = 8 - blank;
        count = digits - word.leading_zeros() as usize / 8;
    } else {
        let (high, low) = (eight_digits(number / 100_000_000), eight_digits(number % 100_000_000));
        let blank = high.trailing_zeros() as usize / 8;
        put(room, start + 1, (high | ZEROS) >> (8 * blank));
        put(room, start + 1 + 8 - blank, low | ZEROS);
        digits = 16 - blank;
        let zeros = match low {
            0 => 8 + high.leading_zeros() as usize / 8,
            low => low.leading_zeros() as usize / 8,
        };
        count = digits - zeros;
    }
    room[start] = room[start + 1];
    room[start + 1] = b'.';
    // A single digit has no point after it.
    let end = start + count + usize::from(count > 1);
    let power = (digits - 1 - scale) as u8;
    let tens = u8::from(power >= 10);
    let text = [b'e', b'+', b'0' + tens, b'0' + power - 10 * tens];
    if let Some(place) = room.get_mut(end..end + 4) {
        place.copy_from_slice(&text);
    }
    end + 4
}

/// The eight decimal digits of a number below 10^8, the first in the lowest byte, not yet ASCII.
///
/// Dividing all lanes of a word at once is quicker than one digit after another.
#[inline(always)]
fn eight_digits(number: u64) -> u64 {
    let fours = (number / 10_000) | ((number % 10_000) << 32);
    let hundreds = ((fours * 10_486) >> 20) & 0x0000_007f_0000_007f;
    let twos = hundreds | (fours - hundreds * 100) << 16;
    let tens = ((twos * 103) >> 10) & 0x000f_000f_000f_000f;
    tens | (twos - tens * 10) << 8
}

#[inline(always)]
fn put(room: &mut [u8; NUMBER_ROOM], at: usize, word: u64) {
    if let Some(place) = room.get_mut(at..at + 8) {
        place.copy_from_slice(&word.to_le_bytes());
    }
}

/// The decimal digits that a text begins with: their number, and how many there are.
///
/// Beyond 19 digits the number is not theirs. Eight digits are taken at once where the text goes
/// on for as long, which spares a branch for each that the processor cannot foresee.
#[inline]
pub(crate) fn leading_digits(text: &[u8]) -> (u64, usize) {
    let mut number = 0u64;
    let mut count = 0;
    while let Some(word) = text.get(count..).and_then(<[u8]>::first_chunk) {
        let (digits, length) = eight_leading_digits(u64::from_le_bytes(*word));
        // The powers beyond 10^8 are not needed: no more than eight digits come at once.
        number = number.wrapping_mul(POWERS_OF_TEN[length & 15]).wrapping_add(digits);
        count += length;
        if length < 8 {
            return (number, count);
        }
    }
    while let Some(digit) = text.get(count).map(|byte| byte.wrapping_sub(b'0')) {
        if digit > 9 {
            break;
        }
        number = number.wrapping_mul(10).wrapping_add(u64::from(digit));
        count += 1;
    }
    (number, count)
}

/// By the number of digits that follow.
const POWERS_OF_TEN: [u64; 16] =
    [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000, 0, 0, 0, 0, 0, 0, 0];

/// The digits that eight bytes begin with, the first byte being the lowest.
#[inline(always)]
pub(crate) fn eight_leading_digits(word: u64) -> (u64, usize) {
    // A digit becomes its value, anything else becomes more than 9 and sets its highest bit.
    let values = word ^ ZEROS;
    let others = (values.wrapping_add(0x7676_7676_7676_7676) | values) & 0x8080_8080_8080_8080;
    let length = (others.trailing_zeros() / 8) as usize;
    if length == 0 {
        return (0, 0);
    }
    // Zeros come before the digits in the place of what followed them.
    let digits = values << (64 - 8 * length);
    let twos = digits.wrapping_mul(10).wrapping_add(digits >> 8) & 0x00ff_00ff_00ff_00ff;
    let fours = twos.wrapping_mul(100).wrapping_add(twos >> 16) & 0x0000_ffff_0000_ffff;
    let eight = fours.wrapping_mul(10_000).wrapping_add(fours >> 32) & 0xffff_ffff;
    (eight, length)
}

/// The whole of `text` as decimal digits.
///
/// A number beyond 64 bits saturates: a counter that large is still better shown as huge than
/// not at all. Anything but digits, a sign included, is `None`.
#[inline]
pub fn parse_u64(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    let mut number = 0u64;
    if text.len() <= 19 {
        // Nineteen digits always fit, so the usual case needs no check for overflow.
        for byte in text {
            let digit = byte.wrapping_sub(b'0');
            if digit > 9 {
                return None;
            }
            number = number * 10 + u64::from(digit);
        }
    } else {
        for byte in text {
            let digit = byte.wrapping_sub(b'0');
            if digit > 9 {
                return None;
            }
            number = number.saturating_mul(10).saturating_add(u64::from(digit));
        }
    }
    Some(number)
}

/// The whole of `text` as decimal digits with an optional sign, saturating at both ends.
#[inline]
pub fn parse_i64(text: &[u8]) -> Option<i64> {
    match text {
        [b'-', digits @ ..] => parse_u64(digits).map(|size| 0i64.saturating_sub_unsigned(size)),
        [b'+', digits @ ..] | digits => {
            parse_u64(digits).map(|size| 0i64.saturating_add_unsigned(size))
        }
    }
}

/// The whole of `text` as decimal digits with an optional sign, for what the kernel writes as a `long` in one
/// place and as an `unsigned long` in another: it saturates at the ends of `i64` and `u64`.
#[inline]
pub fn parse_integer(text: &[u8]) -> Option<f64> {
    match parse_u64(text) {
        Some(number) => Some(number as f64),
        None => parse_i64(text).map(|number| number as f64),
    }
}

/// The whole of `text` as hexadecimal digits of either case, with or without `0x`, saturating.
#[inline]
pub fn parse_hex_u64(text: &[u8]) -> Option<u64> {
    let digits = match text {
        [b'0', b'x' | b'X', digits @ ..] => digits,
        digits => digits,
    };
    if digits.is_empty() {
        return None;
    }
    let mut number = 0u64;
    for &byte in digits {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'A'..=b'F' => byte - b'A' + 10,
            _ => return None,
        };
        // A set bit that the shift would drop stays visible as saturation.
        number = if number >> 60 == 0 { number << 4 | u64::from(digit) } else { u64::MAX };
    }
    Some(number)
}

/// Eight hexadecimal digits of either case, the first byte being the lowest.
#[inline(always)]
pub(crate) fn eight_hex_digits(word: u64) -> Option<u64> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    // Of the digits only letters have this bit; a small letter has another one beside it.
    let letters = (word >> 6) & ONES;
    let small = word | (letters << 5);
    let values = (small & (0x0f * ONES)) + 9 * letters;
    let is_as_written = values + ZEROS + 0x27 * letters == small;
    // What is beside the digits and letters has too large a value, or one that is not a letter's.
    let are_letters = ((values + 6 * ONES) >> 4) & ONES == letters && values & (0xf0 * ONES) == 0;
    let twos = (values << 4 | values >> 8) & 0x00ff_00ff_00ff_00ff;
    let fours = (twos << 8 | twos >> 16) & 0x0000_ffff_0000_ffff;
    let eight = (fours << 16 | fours >> 32) & 0xffff_ffff;
    (is_as_written && are_letters).then_some(eight)
}

/// The whole of `text` as Prometheus' text parser reads a value.
///
/// That is Go's `strconv.ParseFloat` without hexadecimal floats and underscores, which expfmt
/// refuses: decimals with an optional exponent, and `Inf`, `Infinity` and `NaN` in any case, of
/// which only the infinities may have a sign. A decimal beyond the range of `f64` is an error in
/// Go and `None` here.
pub fn parse_f64(text: &[u8]) -> Option<f64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    match digits.first()? {
        b'0'..=b'9' | b'.' => {}
        b'i' | b'I' => {
            let known =
                digits.eq_ignore_ascii_case(b"inf") || digits.eq_ignore_ascii_case(b"infinity");
            let size = if negative { f64::NEG_INFINITY } else { f64::INFINITY };
            return known.then_some(size);
        }
        _ => return text.eq_ignore_ascii_case(b"nan").then_some(f64::NAN),
    }
    if let Some(size) = parse_plain(digits) {
        return Some(if negative { -size } else { size });
    }
    let number: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    number.is_finite().then_some(number)
}

/// A decimal short enough that one multiplication or division rounds it correctly; `None` sends
/// anything else, wrong text included, to the standard library.
#[inline]
fn parse_plain(text: &[u8]) -> Option<f64> {
    // Nineteen digits and a point: the mantissa cannot overflow.
    if text.len() > 20 {
        return None;
    }
    let mut mantissa = 0u64;
    let mut count = 0;
    let mut point = None;
    for (at, &byte) in text.iter().enumerate() {
        let digit = byte.wrapping_sub(b'0');
        if digit <= 9 {
            // Without a point the twentieth digit may wrap; the count below catches it.
            mantissa = mantissa.wrapping_mul(10).wrapping_add(u64::from(digit));
            count += 1;
        } else if byte == b'.' && point.is_none() {
            point = Some(at + 1);
        } else {
            return None;
        }
    }
    if count == 0 || count > 19 || mantissa > 1 << 53 {
        return None;
    }
    let decimals = point.map_or(0, |after| text.len() - after);
    Some(mantissa as f64 / EXACT_POW10.get(decimals)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn leading_digits_are_those_of_a_loop(text in "[0-9]{0,24}[ -~\\x00-\\xff]{0,12}") {
            let text = text.as_bytes();
            let length = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
            let (number, count) = leading_digits(text);
            prop_assert_eq!(count, length);
            if length <= 19 {
                let digits = std::str::from_utf8(&text[..length]).unwrap();
                prop_assert_eq!(number, digits.parse().unwrap_or(0));
            }
        }
    }

    #[test]
    fn any_byte_among_hexadecimal_digits() {
        let digits = *b"0189afAF";
        for (place, byte) in (0..8).flat_map(|place| (0..=u8::MAX).map(move |byte| (place, byte))) {
            let mut text = digits;
            text[place] = byte;
            let expected = if text.starts_with(b"0x") || text.starts_with(b"0X") {
                None
            } else {
                parse_hex_u64(&text)
            };
            assert_eq!(eight_hex_digits(u64::from_le_bytes(text)), expected, "{text:?}");
        }
    }

    #[test]
    fn every_byte_ends_digits() {
        for byte in (0..=u8::MAX).filter(|byte| !byte.is_ascii_digit()) {
            for length in 0..=17 {
                let mut text = b"9".repeat(length);
                text.extend([byte, b'8', byte, b'8', b'8', b'8', b'8', b'8', b'8', b'8']);
                let expected = 10_u64.pow(length as u32) - 1;
                assert_eq!(leading_digits(&text), (expected, length), "{text:?}");
            }
        }
    }

    // `number_table.go` makes it; how, its first lines say.
    const TABLE: &str = include_str!("number_table.txt");

    fn written(value: f64) -> String {
        let mut out = b"x".to_vec();
        write_number(&mut out, value);
        assert_eq!(out[0], b'x');
        String::from_utf8(out[1..].to_vec()).unwrap()
    }

    fn written_openmetrics(value: f64) -> String {
        let mut out = Vec::new();
        write_openmetrics_number(&mut out, value);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn prints_what_go_prints() {
        let mut rows = 0;
        for row in TABLE.lines().filter(|row| !row.starts_with('#')) {
            let mut fields = row.split('\t');
            let (bits, text) = (fields.next().unwrap(), fields.next().unwrap());
            let openmetrics = fields.next().unwrap_or(text);
            let value = f64::from_bits(u64::from_str_radix(bits, 16).unwrap());
            assert_eq!(written(value), text, "bits {bits}");
            assert_eq!(written_openmetrics(value), openmetrics, "bits {bits} in OpenMetrics");
            for text in [text, openmetrics] {
                let read = parse_f64(text.as_bytes()).unwrap();
                // The text of a zero has no sign, and that of a NaN no payload.
                let same = read.to_bits() == value.to_bits();
                let alike = read == 0.0 && value == 0.0 || read.is_nan() && value.is_nan();
                assert!(same || alike, "reading {text}, bits {bits}");
            }
            rows += 1;
        }
        assert!(rows > 4000, "{rows} rows");
    }

    #[test]
    fn prints_the_special_values_as_client_golang_does() {
        assert_eq!(written(0.0), "0");
        assert_eq!(written(-0.0), "0");
        assert_eq!(written(1.0), "1");
        assert_eq!(written(-1.0), "-1");
        assert_eq!(written(f64::NAN), "NaN");
        assert_eq!(written(-f64::NAN), "NaN");
        assert_eq!(written(f64::INFINITY), "+Inf");
        assert_eq!(written(f64::NEG_INFINITY), "-Inf");
    }

    #[test]
    fn openmetrics_numbers_never_look_like_integers() {
        for (value, text) in [
            (0.0, "0.0"),
            (-0.0, "0.0"),
            (-1.0, "-1.0"),
            (999_999.0, "999999.0"),
            (1e6, "1e+06"),
            (1.5, "1.5"),
            (1e-7, "1e-07"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
        ] {
            assert_eq!(written_openmetrics(value), text);
        }
    }

    #[test]
    fn integers_saturate_and_refuse_other_text() {
        assert_eq!(parse_u64(b"0"), Some(0));
        assert_eq!(parse_u64(b"18446744073709551615"), Some(u64::MAX));
        assert_eq!(parse_u64(b"18446744073709551616"), Some(u64::MAX));
        assert_eq!(parse_u64(b"000000000000000000000000007"), Some(7));
        for wrong in ["", "-1", "+1", " 1", "1 ", "1a", "99999999999999999999999x", "\u{ff11}"] {
            assert_eq!(parse_u64(wrong.as_bytes()), None, "{wrong:?}");
        }
        assert_eq!(parse_i64(b"-9223372036854775808"), Some(i64::MIN));
        assert_eq!(parse_i64(b"-99999999999999999999"), Some(i64::MIN));
        assert_eq!(parse_i64(b"9223372036854775808"), Some(i64::MAX));
        assert_eq!(parse_i64(b"+5"), Some(5));
        assert_eq!(parse_integer(b"-9223372036854775808"), Some(i64::MIN as f64));
        assert_eq!(parse_integer(b"18446744073709551615"), Some(u64::MAX as f64));
        assert_eq!(parse_integer(b"1 2"), None);
        for wrong in ["", "-", "+", "--1", "+-1"] {
            assert_eq!(parse_i64(wrong.as_bytes()), None, "{wrong:?}");
        }
        assert_eq!(parse_hex_u64(b"0xfF"), Some(255));
        assert_eq!(parse_hex_u64(b"00000000000000000010"), Some(16));
        assert_eq!(parse_hex_u64(b"ffffffffffffffff"), Some(u64::MAX));
        assert_eq!(parse_hex_u64(b"10000000000000000"), Some(u64::MAX));
        assert_eq!(parse_hex_u64(b"1000000000000000000"), Some(u64::MAX));
        for wrong in ["", "0x", "0x0x1", "g", "-1"] {
            assert_eq!(parse_hex_u64(wrong.as_bytes()), None, "{wrong:?}");
        }
    }

    #[test]
    fn floats_follow_go() {
        for (text, value) in [
            ("1", 1.0),
            ("+1.5", 1.5),
            ("-.5", -0.5),
            ("5.", 5.0),
            ("1e3", 1000.0),
            ("1.E-2", 0.01),
            ("00000000000000000000000000000001", 1.0),
            ("12345678901234567890", 12_345_678_901_234_567_890.0),
            ("9007199254740993", 9_007_199_254_740_992.0),
            ("0.0000000000000000001", 1e-19),
            ("1e-400", 0.0),
            ("Inf", f64::INFINITY),
            ("+inf", f64::INFINITY),
            ("-INFINITY", f64::NEG_INFINITY),
        ] {
            assert_eq!(parse_f64(text.as_bytes()), Some(value), "{text}");
        }
        assert!(parse_f64(b"-0").unwrap().is_sign_negative());
        assert!(parse_f64(b"nAn").unwrap().is_nan());
        for wrong in [
            "", "+", "-", ".", "+.", "e5", ".e5", "1e", "1e+", "1..2", "1.2.3", "+nan", "-NaN",
            "infi", "++1", "1_000", "0x1p-2", "0x10", "1e400", "-1e400", " 1", "1 ", "1f",
            "\u{ff11}",
        ] {
            assert_eq!(parse_f64(wrong.as_bytes()), None, "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(bits: u64) {
            let value = f64::from_bits(bits);
            let read = parse_f64(written(value).as_bytes()).unwrap();
            prop_assert!(read == value || read.is_nan() && value.is_nan());
        }

        #[test]
        fn decimals_are_as_short_as_the_standard_librarys(
            // Sixteen digits may be a tie, which the standard library breaks otherwise than Go.
            mantissa in 0..1_000_000_000_000_000u64,
            decimals in 0usize..16,
        ) {
            let value = mantissa as f64 / EXACT_POW10[decimals];
            let expected = if value == 0.0 || (1e-4..1e6).contains(&value) {
                format!("{value}")
            } else {
                let text = format!("{value:e}");
                let (digits, exponent) = text.split_once('e').unwrap();
                let exponent: i32 = exponent.parse().unwrap();
                let sign = if exponent < 0 { '-' } else { '+' };
                format!("{digits}e{sign}{:02}", exponent.abs())
            };
            prop_assert_eq!(written(value), expected);
        }

        #[test]
        fn reads_decimals_as_the_standard_library_does(text in "-?[0-9]{0,22}(\\.[0-9]{0,22})?(e-?[0-9]{1,2})?") {
            let expected = text.parse::<f64>().ok();
            prop_assert_eq!(parse_f64(text.as_bytes()).map(f64::to_bits), expected.map(f64::to_bits));
        }

        #[test]
        fn never_panics(text: Vec<u8>, ascii in "[-+.0-9a-fA-FxXinNeE_]{0,30}") {
            for text in [text.as_slice(), ascii.as_bytes()] {
                let _ = parse_u64(text);
                let _ = parse_i64(text);
                let _ = parse_hex_u64(text);
                let _ = parse_f64(text);
            }
        }
    }
}
