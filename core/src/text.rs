//! Cursors over the text of procfs, sysfs and textfiles.
//!
//! Everything here is total: any bytes give a value, `None` or a [`Malformed`], never a panic.
//! Nothing allocates, so that a collection costs the same at every interval.

use std::iter::FusedIterator;

use crate::error::Malformed;
use crate::number::{
    eight_hex_digits, eight_leading_digits, leading_digits, parse_f64, parse_hex_u64, parse_i64,
    parse_u64,
};

/// More CPUs than any Linux kernel can be built for, so that a longer list is not a CPU list.
pub const MOST_CPUS: u32 = 65_536;

/// The lines of `text`, each without its newline.
///
/// A last line without a newline counts; what follows a last newline does not.
pub fn lines(text: &[u8]) -> Lines<'_> {
    Lines { rest: text, start: 0, next: 0 }
}

/// An iterator over lines; see [`lines`].
#[derive(Clone, Debug)]
pub struct Lines<'a> {
    rest: &'a [u8],
    start: usize,
    next: usize,
}

impl Lines<'_> {
    /// Where the line last returned starts in the text.
    ///
    /// [`Malformed::moved_by`] makes the place in the line a place in the text with it.
    pub fn offset(&self) -> usize {
        self.start
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        let (line, taken) = match memchr::memchr(b'\n', self.rest) {
            Some(end) => (&self.rest[..end], end + 1),
            None => (self.rest, self.rest.len()),
        };
        self.rest = &self.rest[taken..];
        self.start = self.next;
        self.next += taken;
        Some(line)
    }
}

impl FusedIterator for Lines<'_> {}

/// The sections of `text`, each of which begins with a line that `begins` recognises.
///
/// For files such as `proc/cpuinfo`, `proc/self/mountstats` or `proc/mdstat`. What is before the first
/// such line is left out. A body may be cut into sections again, by lines that begin those.
///
/// ```
/// use vitald_core::text::{lines, sections};
///
/// let text = b"device a mounted on /a\n  age: 1\n  bytes: 2\ndevice b mounted on /b\n  age: 3\n";
/// let heads = sections(text, |line| line.starts_with(b"device "));
/// let bodies: Vec<usize> = heads.map(|section| lines(section.body).count()).collect();
/// assert_eq!(bodies, [2, 1]);
/// ```
pub fn sections<F: FnMut(&[u8]) -> bool>(text: &[u8], begins: F) -> Sections<'_, F> {
    let mut sections = Sections { text, next: 0, begins };
    sections.next = sections.find_from(0);
    sections
}

/// A line that begins a section, and what follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Section<'a> {
    /// The line that begins it, without its newline.
    pub head: &'a [u8],
    /// The lines that follow, up to the next section.
    pub body: &'a [u8],
    /// Where the body starts in the text; [`Malformed::moved_by`] makes a place in the body a place in the
    /// text with it.
    pub offset: usize,
}

/// An iterator over sections; see [`sections`].
#[derive(Clone, Debug)]
pub struct Sections<'a, F> {
    text: &'a [u8],
    /// Where the next section starts; the length of the text if there is no more.
    next: usize,
    begins: F,
}

impl<F: FnMut(&[u8]) -> bool> Sections<'_, F> {
    /// Where the first section at or after a line's start begins.
    fn find_from(&mut self, start: usize) -> usize {
        let mut lines = lines(self.text.get(start..).unwrap_or_default());
        while let Some(line) = lines.next() {
            if (self.begins)(line) {
                return start + lines.offset();
            }
        }
        self.text.len()
    }
}

impl<'a, F: FnMut(&[u8]) -> bool> Iterator for Sections<'a, F> {
    type Item = Section<'a>;

    fn next(&mut self) -> Option<Section<'a>> {
        let text = self.text.get(self.next..)?;
        let head = lines(text).next()?;
        let offset = (self.next + head.len() + 1).min(self.text.len());
        self.next = self.find_from(offset);
        Some(Section { head, body: self.text.get(offset..self.next)?, offset })
    }
}

/// The fields of one line, separated by runs of spaces and tabs.
///
/// It can be iterated over, or asked for one typed field after the other. Offsets in errors count
/// from the start of the line.
///
/// ```
/// use vitald_core::text::Fields;
///
/// let mut fields = Fields::new(b"cpu0  10 20 30");
/// assert_eq!(fields.text()?, b"cpu0");
/// assert_eq!(fields.pass(1).u64()?, 20);
/// # Ok::<(), vitald_core::error::Malformed>(())
/// ```
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    line: &'a [u8],
    at: usize,
}

impl<'a> Fields<'a> {
    /// Starts at the beginning of `line`.
    #[inline]
    pub fn new(line: &'a [u8]) -> Self {
        Fields { line, at: 0 }
    }

    /// How far into the line the cursor is.
    #[inline]
    pub fn offset(&self) -> usize {
        self.at
    }

    /// What is left of the line, without blanks at its ends; the cursor stays.
    #[inline]
    pub fn rest(&self) -> &'a [u8] {
        trim(self.line.get(self.at..).unwrap_or_default())
    }

    /// Passes over `count` fields.
    ///
    /// Fewer fields than that are not an error yet: the field that is asked for next will be missing.
    #[inline]
    pub fn pass(&mut self, count: usize) -> &mut Self {
        for _ in 0..count {
            if self.next().is_none() {
                break;
            }
        }
        self
    }

    /// The next field as it is.
    #[inline]
    pub fn text(&mut self) -> Result<&'a [u8], Malformed> {
        self.parsed("a field", Some)
    }

    /// The next field as an unsigned decimal number, saturating.
    // Not inlined: the columns of all collectors come through here, and it is in the caches once.
    #[inline(never)]
    pub fn u64(&mut self) -> Result<u64, Malformed> {
        let start = self.field_start();
        let text = self.line.get(start..).unwrap_or_default();
        let (number, count) = leading_digits(text);
        // Nineteen digits always fit.
        if (1..=19).contains(&count) && text.get(count).is_none_or(|byte| is_blank(*byte)) {
            self.at = start + count;
            return Ok(number);
        }
        self.parsed("a number", parse_u64)
    }

    /// As many unsigned decimal numbers as the line goes on with and `columns` has room for, saturating;
    /// answers how many. Columns beyond are left as they are.
    #[inline(never)]
    pub fn numbers(&mut self, columns: &mut [u64]) -> Result<usize, Malformed> {
        let (line, room) = (self.line, columns.len());
        let mut at = self.at;
        for (count, column) in columns.iter_mut().enumerate() {
            while line.get(at).is_some_and(|byte| is_blank(*byte)) {
                at += 1;
            }
            // Most numbers have less than eight digits and are not the last of their line.
            if let Some(word) = line.get(at..).and_then(<[u8]>::first_chunk) {
                let word = u64::from_le_bytes(*word);
                let (number, length) = eight_leading_digits(word);
                if (1..8).contains(&length) && is_blank((word >> (8 * length)) as u8) {
                    *column = number;
                    at += length;
                    continue;
                }
            }
            self.at = at;
            if !self.has_more() {
                return Ok(count);
            }
            *column = self.u64()?;
            at = self.at;
        }
        self.at = at;
        Ok(room)
    }

    /// Whether there is another field.
    #[inline]
    pub fn has_more(&self) -> bool {
        match self.line.get(self.field_start()) {
            None => false,
            // What ends a line is no field.
            Some(byte) => !byte.is_ascii_whitespace() || !self.rest().is_empty(),
        }
    }

    /// The next field as a decimal number with an optional sign, saturating.
    #[inline]
    pub fn i64(&mut self) -> Result<i64, Malformed> {
        self.parsed("a number", parse_i64)
    }

    /// The next field as a float; see [`parse_f64`].
    #[inline]
    pub fn f64(&mut self) -> Result<f64, Malformed> {
        self.parsed("a number", parse_f64)
    }

    /// The next field as a hexadecimal number with or without `0x`, saturating.
    #[inline(never)]
    pub fn hex(&mut self) -> Result<u64, Malformed> {
        // The kernel mostly writes all eight digits of 32 bits.
        let start = self.field_start();
        let text = self.line.get(start..).unwrap_or_default();
        if let Some(word) = text.first_chunk()
            && text.get(8).is_none_or(|byte| is_blank(*byte))
            && let Some(number) = eight_hex_digits(u64::from_le_bytes(*word))
        {
            self.at = start + 8;
            return Ok(number);
        }
        self.parsed("a hexadecimal number", parse_hex_u64)
    }

    /// Refuses what is left of the line, for a text that has no more fields.
    #[inline]
    pub fn end(&mut self) -> Result<(), Malformed> {
        match self.next() {
            None => Ok(()),
            Some(field) => Err(Malformed::new(self.at - field.len(), "the end of the line")),
        }
    }

    /// Where the next field starts, or the end of the line.
    #[inline]
    fn field_start(&self) -> usize {
        let mut start = self.at;
        while start < self.line.len() && is_blank(self.line[start]) {
            start += 1;
        }
        start
    }

    #[inline]
    fn parsed<T>(
        &mut self,
        expected: &'static str,
        parse: impl FnOnce(&'a [u8]) -> Option<T>,
    ) -> Result<T, Malformed> {
        let field = self.next();
        let length = field.map_or(0, <[u8]>::len);
        // The cursor is right behind the field, or at the end of the line if there is none.
        field.and_then(parse).ok_or(Malformed::new(self.at - length, expected))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        // Fields are a few bytes long, for which a plain loop beats any search by words.
        let start = self.field_start();
        let mut end = start;
        while end < self.line.len() && !is_blank(self.line[end]) {
            end += 1;
        }
        self.at = end;
        if start == end { None } else { Some(&self.line[start..end]) }
    }
}

impl FusedIterator for Fields<'_> {}

#[inline]
fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

/// What is before and after the first `byte`, or `None` without one.
#[inline]
pub fn split_once(text: &[u8], byte: u8) -> Option<(&[u8], &[u8])> {
    let at = text.iter().position(|found| *found == byte)?;
    Some((&text[..at], &text[at + 1..]))
}

/// How often a byte is in a text.
pub fn count(text: &[u8], byte: u8) -> usize {
    text.iter().filter(|one| **one == byte).count()
}

/// `text` without ASCII whitespace at its ends.
#[inline]
pub fn trim(text: &[u8]) -> &[u8] {
    text.trim_ascii()
}

/// What is before and after the first `separator`, both trimmed.
#[inline]
pub fn key_value(line: &[u8], separator: u8) -> Option<(&[u8], &[u8])> {
    let (key, value) = split_once(line, separator)?;
    Some((trim(key), trim(value)))
}

/// The one unsigned number of a file such as those of sysfs, saturating.
pub fn single_u64(text: &[u8]) -> Result<u64, Malformed> {
    single(text, parse_u64)
}

/// The one number of a file such as those of sysfs, with an optional sign, saturating.
pub fn single_i64(text: &[u8]) -> Result<i64, Malformed> {
    single(text, parse_i64)
}

/// The one float of a file; see [`parse_f64`].
pub fn single_f64(text: &[u8]) -> Result<f64, Malformed> {
    single(text, parse_f64)
}

#[inline]
fn single<T>(text: &[u8], parse: impl FnOnce(&[u8]) -> Option<T>) -> Result<T, Malformed> {
    let blank = text.len() - text.trim_ascii_start().len();
    parse(trim(text)).ok_or(Malformed::new(blank, "a number"))
}

/// A number as decimal digits, for a label that counts CPUs or devices.
///
/// ```
/// use vitald_core::text::decimal;
///
/// assert_eq!(decimal(42, &mut [0; 20]), b"42");
/// ```
pub fn decimal(mut number: u64, room: &mut [u8; 20]) -> &[u8] {
    let mut unused = room.len();
    for digit in room.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
        unused -= 1;
        if number == 0 {
            break;
        }
    }
    &room[unused..]
}

/// Replaces escapes such as `\040`, with which the kernel writes blanks in mountinfo and others.
///
/// The field comes back as it is when it has no backslash; `scratch` is overwritten otherwise. A
/// backslash that three octal digits of one byte do not follow stays.
pub fn unescape_octal<'a>(field: &'a [u8], scratch: &'a mut Vec<u8>) -> &'a [u8] {
    let Some(first) = field.iter().position(|byte| *byte == b'\\') else {
        return field;
    };
    scratch.clear();
    scratch.extend_from_slice(&field[..first]);
    let mut rest = &field[first..];
    loop {
        match rest {
            [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..] => {
                scratch.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest = after;
            }
            [byte, after @ ..] => {
                scratch.push(*byte);
                rest = after;
            }
            [] => return scratch,
        }
    }
}

/// Calls `each` with every CPU of a kernel list such as `0-3,8,10-11`, in the order of the list.
///
/// An empty list has no CPU, as the kernel writes it for a node without CPUs. More than 65,536 CPUs
/// in all are refused before the range that has them is walked, so that wrong text cannot keep
/// the daemon busy. What comes before an error has been handed to `each` already.
pub fn cpu_list(text: &[u8], mut each: impl FnMut(u32)) -> Result<(), Malformed> {
    let list = trim(text);
    if list.is_empty() {
        return Ok(());
    }
    let mut at = text.len() - text.trim_ascii_start().len();
    let mut left = MOST_CPUS;
    for range in list.split(|byte| *byte == b',') {
        let (first, last) = match split_once(range, b'-') {
            Some((first, last)) => (cpu(first, at)?, cpu(last, at + first.len() + 1)?),
            None => {
                let only = cpu(range, at)?;
                (only, only)
            }
        };
        let more = last.checked_sub(first).ok_or(Malformed::new(at, "an ascending range"))?;
        if more >= left {
            return Err(Malformed::new(at, "at most 65536 CPUs"));
        }
        left -= more + 1;
        (first..=last).for_each(&mut each);
        at += range.len() + 1;
    }
    Ok(())
}

fn cpu(text: &[u8], at: usize) -> Result<u32, Malformed> {
    let number = parse_u64(text).and_then(|number| u32::try_from(number).ok());
    number.ok_or(Malformed::new(at, "a CPU number"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all_lines(text: &[u8]) -> Vec<&[u8]> {
        lines(text).collect()
    }

    #[test]
    fn lines_end_at_newlines_and_at_the_end() {
        assert_eq!(all_lines(b""), [b""; 0]);
        assert_eq!(all_lines(b"\n"), [b""]);
        assert_eq!(all_lines(b"a\n"), [b"a"]);
        assert_eq!(all_lines(b"a\nb"), [b"a", b"b"]);
        assert_eq!(all_lines(b"a\n\nbc\r\n"), [&b"a"[..], b"", b"bc\r"]);
    }

    #[test]
    fn lines_know_where_they_start() {
        let mut lines = lines(b"ab\n\ncd");
        let mut starts = Vec::new();
        while lines.next().is_some() {
            starts.push(lines.offset());
        }
        assert_eq!(starts, [0, 3, 4]);
    }

    #[test]
    fn sections_begin_where_they_are_said_to() {
        let parts = |text: &'static [u8]| -> Vec<(&[u8], &[u8], usize)> {
            sections(text, |line| line.starts_with(b"["))
                .map(|section| (section.head, section.body, section.offset))
                .collect()
        };
        assert_eq!(parts(b""), []);
        assert_eq!(parts(b"a\nb\n"), []);
        assert_eq!(
            parts(b"x\n[a]\n1\n2\n[b]\n[c]\n3"),
            [(&b"[a]"[..], &b"1\n2\n"[..], 6), (b"[b]", b"", 14), (b"[c]", b"3", 18)]
        );
        assert_eq!(parts(b"[a]"), [(&b"[a]"[..], &b""[..], 3)]);
    }

    #[test]
    fn fields_are_typed() {
        let mut fields = Fields::new(b"  cpu\t1 -2 2.5 0xff  the rest \t");
        assert_eq!(fields.text(), Ok(&b"cpu"[..]));
        assert_eq!(fields.offset(), 5);
        assert_eq!(fields.u64(), Ok(1));
        assert_eq!(fields.i64(), Ok(-2));
        assert_eq!(fields.f64(), Ok(2.5));
        assert_eq!(fields.hex(), Ok(255));
        assert_eq!(fields.rest(), b"the rest");
        assert_eq!(fields.pass(1).text(), Ok(&b"rest"[..]));
        assert_eq!(fields.rest(), b"");
        assert_eq!(fields.next(), None);
        assert_eq!(fields.next(), None);
    }

    #[test]
    fn field_errors_say_where() {
        let mut fields = Fields::new(b"1  x2 ");
        assert_eq!(fields.pass(1).u64(), Err(Malformed::new(3, "a number")));
        assert_eq!(fields.text(), Err(Malformed::new(6, "a field")));
        assert_eq!(fields.hex(), Err(Malformed::new(6, "a hexadecimal number")));
        assert_eq!(Fields::new(b"1 2").pass(9).u64(), Err(Malformed::new(3, "a number")));
        assert_eq!(Fields::new(b"").f64(), Err(Malformed::new(0, "a number")));
    }

    #[test]
    fn the_end_of_a_line_can_be_asked_for() {
        let mut fields = Fields::new(b" 1  2 ");
        fields.pass(1);
        assert_eq!(fields.end(), Err(Malformed::new(4, "the end of the line")));
        assert_eq!(fields.end(), Ok(()));
    }

    #[test]
    fn splits_at_the_first() {
        assert_eq!(split_once(b"a:b:c", b':'), Some((&b"a"[..], &b"b:c"[..])));
        assert_eq!(split_once(b"abc", b':'), None);
        assert_eq!(
            key_value(b"model name\t: x y\n", b':'),
            Some((&b"model name"[..], &b"x y"[..]))
        );
        assert_eq!(key_value(b"k=", b'='), Some((&b"k"[..], &b""[..])));
    }

    #[test]
    fn single_values_are_trimmed() {
        assert_eq!(single_u64(b"42\n"), Ok(42));
        assert_eq!(single_i64(b" -42 \n"), Ok(-42));
        assert_eq!(single_f64(b"0.5"), Ok(0.5));
        assert_eq!(single_u64(b"\n"), Err(Malformed::new(1, "a number")));
        assert_eq!(single_u64(b" 1 2\n"), Err(Malformed::new(1, "a number")));
    }

    #[test]
    fn decimals_are_those_of_the_standard_library() {
        for number in [0, 7, 10, 99, 100, 4095, 65_536, u64::MAX] {
            let digits = decimal(number, &mut [b'x'; 20]).to_vec();
            assert_eq!(digits, number.to_string().as_bytes());
        }
    }

    #[test]
    fn unescapes_what_the_kernel_escapes() {
        let unescaped = |field: &[u8]| unescape_octal(field, &mut b"old".to_vec()).to_vec();
        assert_eq!(unescaped(b"/mnt/plain"), b"/mnt/plain");
        assert_eq!(unescaped(b"/mnt/a\\040b\\011\\134"), b"/mnt/a b\t\\");
        assert_eq!(unescaped(b"\\377\\400\\08\\\\040\\04"), b"\xff\\400\\08\\ \\04");
        assert_eq!(unescaped(b""), b"");
    }

    #[test]
    fn an_unescaped_field_is_lent_not_copied() {
        let field = b"/mnt";
        assert!(std::ptr::eq(unescape_octal(field, &mut Vec::new()), field));
    }

    fn cpus(text: &[u8]) -> Result<Vec<u32>, Malformed> {
        let mut cpus = Vec::new();
        cpu_list(text, |cpu| cpus.push(cpu)).map(|()| cpus)
    }

    #[test]
    fn reads_cpu_lists() {
        assert_eq!(cpus(b"0-3,8,10-11\n"), Ok(vec![0, 1, 2, 3, 8, 10, 11]));
        assert_eq!(cpus(b"0"), Ok(vec![0]));
        assert_eq!(cpus(b"4294967295"), Ok(vec![u32::MAX]));
        assert_eq!(cpus(b"\n"), Ok(vec![]));
        assert_eq!(cpus(b"0-65535").map(|cpus| cpus.len()), Ok(65_536));
    }

    #[test]
    fn refuses_what_is_not_a_cpu_list() {
        assert_eq!(cpus(b"0-4294967295"), Err(Malformed::new(0, "at most 65536 CPUs")));
        assert_eq!(cpus(b"0-65535,0"), Err(Malformed::new(8, "at most 65536 CPUs")));
        assert_eq!(cpus(b" 1,3-2"), Err(Malformed::new(3, "an ascending range")));
        assert_eq!(cpus(b"1,"), Err(Malformed::new(2, "a CPU number")));
        assert_eq!(cpus(b"1-"), Err(Malformed::new(2, "a CPU number")));
        assert_eq!(cpus(b"1-2-3"), Err(Malformed::new(2, "a CPU number")));
        assert_eq!(cpus(b"4294967296"), Err(Malformed::new(0, "a CPU number")));
    }

    proptest! {
        #[test]
        fn lines_are_those_of_a_split(text in "[a\n]{0,20}") {
            let mut expected: Vec<_> = text.as_bytes().split(|byte| *byte == b'\n').collect();
            if expected.last().is_some_and(|last| last.is_empty()) {
                expected.pop();
            }
            prop_assert_eq!(all_lines(text.as_bytes()), expected);
        }

        #[test]
        fn never_panics(bytes: Vec<u8>, ascii in "[-+.0-9x\\\\,: \t\n]{0,40}") {
            for text in [bytes.as_slice(), ascii.as_bytes()] {
                for line in lines(text) {
                    let fields = Fields::new(line);
                    prop_assert_eq!(fields.clone().count(), line
                        .split(|byte| is_blank(*byte))
                        .filter(|field| !field.is_empty())
                        .count());
                    let mut cursor = fields.clone();
                    while cursor.text().is_ok() {
                        let mut number = cursor.clone();
                        let expected = number.clone().next().and_then(parse_u64);
                        prop_assert_eq!(number.u64().ok(), expected);
                        let expected = cursor.clone().next().and_then(parse_hex_u64);
                        prop_assert_eq!(cursor.clone().hex().ok(), expected);
                        prop_assert_eq!(cursor.has_more(), !cursor.rest().is_empty());
                        let mut columns = [7; 3];
                        let mut one_by_one = cursor.clone();
                        let mut expected = Vec::new();
                        let taken = loop {
                            if expected.len() == 3 || one_by_one.rest().is_empty() {
                                break Ok(expected.len());
                            }
                            match one_by_one.u64() {
                                Ok(number) => expected.push(number),
                                Err(error) => break Err(error),
                            }
                        };
                        let mut numbers = cursor.clone();
                        prop_assert_eq!(numbers.numbers(&mut columns), taken);
                        prop_assert_eq!(numbers.rest(), one_by_one.rest());
                        expected.resize(3, 7);
                        prop_assert_eq!(&columns[..], expected);
                        let _ = cursor.clone().i64();
                        let _ = cursor.clone().f64();
                        let _ = cursor.clone().hex();
                        let _ = cursor.clone().pass(usize::MAX).rest();
                        prop_assert!(cursor.offset() <= line.len());
                    }
                    let _ = key_value(line, b':');
                }
                let sections = sections(text, |line| line.len() > 2);
                prop_assert!(sections.map(|section| section.body.len()).sum::<usize>() <= text.len());
                let _ = single_u64(text);
                let _ = single_i64(text);
                let _ = single_f64(text);
                let mut scratch = Vec::new();
                prop_assert!(unescape_octal(text, &mut scratch).len() <= text.len());
                let mut count = 0;
                let _ = cpu_list(text, |_| count += 1);
                prop_assert!(count <= MOST_CPUS);
            }
        }
    }
}
