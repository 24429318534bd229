//! The memory of a page, used again from one to the next.
//!
//! It knows the values that its text has. When the next page has the same series in the same order, the text stays and only
//! the numbers that have changed are written: of a host's metrics, most have not. A number that takes another width than
//! before moves what follows it, once for the whole page.

use super::Format;
use super::rendering::{Entry, Rendering};

/// How much more room is made than a number needs that has become longer: others follow.
const SPARE_BYTES: usize = 64;

/// Below this a buffer is left as it is.
const SMALL: usize = 64 << 10;

/// How many pages in a row must leave most of a buffer unused before it is given back.
const PAGES_BEFORE_SHRINKING: u8 = 60;

/// How a format writes a value.
pub(super) type WriteValue = fn(&mut Vec<u8>, f64);

/// The memory of a page. A page in it stays as it is until the next one is written.
#[derive(Default)]
pub struct PageBuffer {
    /// Behind the length they have no meaning, and are kept: a buffer that is used again need not
    /// be filled with zeros.
    bytes: Vec<u8>,
    /// How many bytes of it are the page.
    length: usize,
    /// The order of the snapshots whose text it is, and its format; none if the page cannot be updated.
    text_of: Option<(u64, Format)>,
    /// The values in the text, in the order of the page.
    values: Vec<f64>,
    /// How many bytes each of them takes.
    widths: Vec<u8>,
    /// Where a number is written that has changed.
    number: Vec<u8>,
    /// How many pages in a row have left most of it unused.
    unused: u8,
}

/// What a page is written to, piece by piece.
pub(super) trait Target {
    fn text(&mut self, text: &[u8]);

    fn value(&mut self, value: f64);

    /// The lines of samples of the family of that name whose texts are kept.
    fn kept(&mut self, name: &[u8], rendering: &Rendering, entries: &[Entry], values: &[f64]);
}

/// A page that is written whole.
struct Whole<'a> {
    page: &'a mut PageBuffer,
    write_value: WriteValue,
}

/// A page that is there, and whose numbers are brought up to date.
struct Update<'a> {
    bytes: &'a mut Vec<u8>,
    numbers: std::iter::Zip<std::slice::IterMut<'a, f64>, std::slice::IterMut<'a, u8>>,
    number: &'a mut Vec<u8>,
    write_value: WriteValue,
    /// Where the next piece is to be.
    at: usize,
    /// All before this is where it is to be.
    settled: usize,
    /// How far behind its place the rest is.
    gap: usize,
}

impl PageBuffer {
    /// What it takes of the memory.
    pub fn capacity(&self) -> usize {
        let Self { bytes, values, widths, .. } = self;
        bytes.capacity() + size_of::<f64>() * values.capacity() + widths.capacity()
    }

    /// Writes the page of the snapshots of an order, piece by piece: all of it, or what has changed of it
    /// since it was written. It has about this many bytes and samples. With no order it is written whole now
    /// and the next time.
    pub(super) fn write(
        &mut self,
        text_of: Option<(u64, Format)>,
        (bytes, samples): (usize, usize),
        write_value: WriteValue,
        pieces: impl Pieces,
    ) {
        // Not known while it is written, which may end by a panic.
        let known = self.text_of.take();
        if known.is_some() && known == text_of {
            let Self { bytes, values, widths, number, .. } = self;
            let numbers = values.iter_mut().zip(widths);
            let mut update =
                Update { bytes, numbers, number, write_value, at: 0, settled: 0, gap: 0 };
            pieces.give(&mut update);
            update.end();
        } else {
            self.bytes.clear();
            self.bytes.reserve(bytes);
            self.values.clear();
            self.values.reserve_exact(samples);
            self.widths.clear();
            self.widths.reserve_exact(samples);
            self.number.reserve(SPARE_BYTES);
            pieces.give(&mut Whole { page: self, write_value });
        }
        self.length = self.bytes.len();
        self.text_of = text_of;
        self.give_back();
    }

    /// Gives most of its memory back if pages have been much shorter for long than one was once.
    fn give_back(&mut self) {
        let Self { bytes, values, widths, unused, .. } = self;
        if bytes.capacity() <= SMALL || bytes.len() >= bytes.capacity() / 4 {
            *unused = 0;
            return;
        }
        *unused += 1;
        if *unused >= PAGES_BEFORE_SHRINKING {
            *unused = 0;
            bytes.shrink_to(2 * bytes.len());
            values.shrink_to_fit();
            widths.shrink_to_fit();
        }
    }

    /// Has something else written to the beginning of its bytes; `fill` answers how long that is.
    pub(crate) fn fill(&mut self, fill: impl FnOnce(&mut Vec<u8>) -> usize) {
        self.text_of = None;
        self.length = fill(&mut self.bytes);
    }
}

/// What gives the pieces of a page, the same in number and order for pages of one order.
pub(super) trait Pieces {
    fn give(self, target: &mut impl Target);
}

impl AsRef<[u8]> for PageBuffer {
    fn as_ref(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or(&self.bytes)
    }
}

impl Target for Whole<'_> {
    fn text(&mut self, text: &[u8]) {
        self.page.bytes.extend_from_slice(text);
    }

    fn value(&mut self, value: f64) {
        let start = self.page.bytes.len();
        (self.write_value)(&mut self.page.bytes, value);
        self.page.values.push(value);
        self.page.widths.push((self.page.bytes.len() - start) as u8);
    }

    fn kept(&mut self, name: &[u8], rendering: &Rendering, entries: &[Entry], values: &[f64]) {
        for entry in entries {
            let at = rendering.texts[entry.text as usize];
            self.text(name);
            self.text(&rendering.bytes[at.start as usize..at.end as usize]);
            self.value(values[entry.position as usize]);
            self.page.bytes.push(b'\n');
        }
    }
}

impl Target for Update<'_> {
    fn text(&mut self, text: &[u8]) {
        self.at += text.len();
    }

    #[inline]
    fn value(&mut self, value: f64) {
        let Some((known, width)) = self.numbers.next() else { return };
        if value.to_bits() != known.to_bits() {
            *known = value;
            self.number.clear();
            (self.write_value)(self.number, value);
            let before = std::mem::replace(width, self.number.len() as u8);
            self.replace(before.into());
        }
        self.at += usize::from(*width);
    }

    fn kept(&mut self, name: &[u8], rendering: &Rendering, entries: &[Entry], values: &[f64]) {
        // The text is there already: its other copy is not even read.
        for entry in entries {
            let text = rendering.texts[entry.text as usize];
            self.at += name.len() + text.end.wrapping_sub(text.start) as usize;
            self.value(values[entry.position as usize]);
            self.at += 1;
        }
    }
}

impl Update<'_> {
    /// Puts the number in the place of the one that is here and takes so many bytes.
    fn replace(&mut self, before: usize) {
        self.settle();
        let after = self.number.len();
        let room = before + self.gap;
        if room < after {
            self.widen(self.at + room, after - room);
        }
        self.gap = self.gap + before - after;
        self.settled = self.at + after;
        self.bytes[self.at..self.settled].copy_from_slice(self.number);
    }

    /// Moves what is before the next piece to its place.
    fn settle(&mut self) {
        if self.gap > 0 {
            let (from, to) = (self.settled + self.gap, self.at + self.gap);
            self.bytes.copy_within(from..to, self.settled);
        }
    }

    /// Moves the rest, which begins there, further behind its place.
    fn widen(&mut self, rest: usize, least: usize) {
        let length = self.bytes.len();
        let more =
            (least + SPARE_BYTES + length / 64).min(self.bytes.capacity() - length).max(least);
        self.bytes.resize(length + more, 0);
        self.bytes.copy_within(rest..length, rest + more);
        self.gap += more;
    }

    fn end(mut self) {
        self.at = self.bytes.len() - self.gap;
        self.settle();
        self.bytes.truncate(self.at);
    }
}
