//! The identity of a series: the same in every run, shape, reload and process.

use siphasher::sip128::{Hasher128, SipHasher13};
use std::collections::HashSet;
use std::fmt;
use std::hash::{BuildHasherDefault, Hash, Hasher};

/// The key of the hash. It never changes: stored identities depend on it.
const KEY: [u8; 16] = *b"vitald series id";

/// Ends a name or a value. No UTF-8 text has this byte.
const END: u8 = 0xff;

/// Label sets up to this size are sorted without an allocation.
const LABELS_ON_STACK: usize = 16;

/// 128 bits over a series' name and labels.
///
/// Two series have the same identity when a reader of a page sees the same series: the order of
/// labels does not count, an empty value means the same as no such label, and bytes that are not
/// UTF-8 read as U+FFFD. It is SipHash-1-3 with a fixed key over the name with its suffix and the
/// sorted labels, each ended by the byte 0xff, so it may be stored and sent to other machines.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SeriesId(pub u128);

impl SeriesId {
    /// The identity of the series with this name, whole, and these labels in any order.
    pub fn of<'a>(
        name: &[&[u8]],
        labels: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
    ) -> SeriesId {
        let mut hasher = SipHasher13::new_with_key(&KEY);
        name.iter().for_each(|part| hasher.write(part));
        hasher.write(&[END]);
        with_sorted(labels, |labels| {
            for (label, value) in labels {
                hasher.write(label);
                hasher.write(&[END]);
                for chunk in value.utf8_chunks() {
                    hasher.write(chunk.valid().as_bytes());
                    if !chunk.invalid().is_empty() {
                        hasher.write("\u{fffd}".as_bytes());
                    }
                }
                hasher.write(&[END]);
            }
        });
        SeriesId(hasher.finish128().as_u128())
    }
}

/// Hands over the labels that have a value, sorted.
fn with_sorted<'a>(
    labels: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
    take: impl FnOnce(&[(&'a [u8], &'a [u8])]),
) {
    let mut labels = labels.into_iter().filter(|(_, value)| !value.is_empty());
    let mut few: [(&[u8], &[u8]); LABELS_ON_STACK] = [(b"", b""); LABELS_ON_STACK];
    let mut count = 0;
    while let Some(label) = labels.next() {
        if count == few.len() {
            let mut many = few.to_vec();
            many.push(label);
            many.extend(labels);
            many.sort_unstable();
            return take(&many);
        }
        few[count] = label;
        count += 1;
    }
    let few = &mut few[..count];
    few.sort_unstable();
    take(few);
}

impl fmt::Debug for SeriesId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Display for SeriesId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl Hash for SeriesId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0 as u64);
    }
}

/// Hashes identities for maps and sets: they are hashes already.
pub type SeriesIdHasher = BuildHasherDefault<HashedAlready>;

/// See [`SeriesIdHasher`].
#[derive(Default)]
pub struct HashedAlready(u64);

impl Hasher for HashedAlready {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}

/// What differs between two lists of series.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Positions in the earlier list of series that the later one lacks, ascending.
    pub gone: Vec<usize>,
    /// Positions in the later list of series that the earlier one lacks, ascending.
    pub come: Vec<usize>,
}

impl Difference {
    /// Compares two lists of series, each with its position; their order does not count.
    pub fn between(
        before: impl Iterator<Item = (usize, SeriesId)>,
        after: impl Iterator<Item = (usize, SeriesId)>,
    ) -> Difference {
        // Most of two lists is a common beginning, which needs no set.
        let (mut before, mut after) = (before.peekable(), after.peekable());
        while let (Some(a), Some(b)) = (before.peek(), after.peek())
            && a.1 == b.1
        {
            before.next();
            after.next();
        }
        let before: Vec<(usize, SeriesId)> = before.collect();
        let after: Vec<(usize, SeriesId)> = after.collect();
        let lacking = |list: &[(usize, SeriesId)], other: &[(usize, SeriesId)]| -> Vec<usize> {
            let other: HashSet<SeriesId, SeriesIdHasher> =
                other.iter().map(|(_, id)| *id).collect();
            list.iter().filter(|(_, id)| !other.contains(id)).map(|(at, _)| *at).collect()
        };
        Difference { gone: lacking(&before, &after), come: lacking(&after, &before) }
    }

    /// Whether both lists have the same series.
    pub fn is_empty(&self) -> bool {
        self.gone.is_empty() && self.come.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str, labels: &[(&str, &[u8])]) -> SeriesId {
        SeriesId::of(
            &[name.as_bytes()],
            labels.iter().map(|(label, value)| (label.as_bytes(), *value)),
        )
    }

    #[test]
    fn identities_never_change() {
        for (series, expected) in [
            (id("up", &[]), "2f15dbf6d9ead4037b59dce876fb9355"),
            (id("node_load1", &[]), "bbf900439900764c9dcffea113de0241"),
            (
                id("node_cpu_seconds_total", &[("cpu", b"0"), ("mode", b"idle")]),
                "850c2896633ce34d97d87a3cfb8a127b",
            ),
            (id("node_disk_info", &[("model", b"caf\xe9")]), "a75a21ee604dae7073aa68817ee453f4"),
        ] {
            assert_eq!(series.to_string(), expected);
        }
    }

    #[test]
    fn a_reader_cannot_tell_them_apart() {
        let both = id("x", &[("a", b"1"), ("b", b"2")]);
        assert_eq!(both, id("x", &[("b", b"2"), ("a", b"1")]));
        assert_eq!(both, id("x", &[("c", b""), ("a", b"1"), ("b", b"2")]));
        assert_eq!(id("x", &[("a", b"\xff")]), id("x", &[("a", "\u{fffd}".as_bytes())]));
        assert_eq!(SeriesId::of(&[b"x_", b"sum"], []), id("x_sum", &[]));
    }

    #[test]
    fn different_series_differ() {
        let all = [
            id("x", &[]),
            id("xa", &[]),
            id("x", &[("a", b"1")]),
            id("x", &[("a1", b"1")]),
            id("x", &[("a", b"11")]),
            id("x", &[("a", b"1"), ("b", b"2")]),
            id("x", &[("a", b"2"), ("b", b"1")]),
        ];
        for (at, one) in all.iter().enumerate() {
            assert!(!all[..at].contains(one), "{at}");
        }
    }

    #[test]
    fn many_labels_are_sorted_too() {
        let names: Vec<String> = (0..40).map(|i| format!("l{i:02}")).collect();
        let labels: Vec<(&str, &[u8])> = names.iter().map(|name| (&**name, &b"1"[..])).collect();
        let mut reversed = labels.clone();
        reversed.reverse();
        assert_eq!(id("x", &labels), id("x", &reversed));
        assert_ne!(id("x", &labels), id("x", &labels[1..]));
    }

    #[test]
    fn lists_are_compared() {
        let list = |names: &[&str]| -> Vec<(usize, SeriesId)> {
            names.iter().map(|name| id(name, &[])).enumerate().collect()
        };
        let compare = |a: &[&str], b: &[&str]| {
            let found = Difference::between(list(a).into_iter(), list(b).into_iter());
            (found.gone, found.come)
        };
        assert_eq!(compare(&["a", "b", "c"], &["a", "b", "c"]), (vec![], vec![]));
        assert_eq!(compare(&["a", "b", "c"], &["c", "a", "b"]), (vec![], vec![]));
        assert_eq!(compare(&["a", "b", "c"], &["a", "x", "c", "y"]), (vec![1], vec![1, 3]));
        assert_eq!(compare(&[], &["a"]), (vec![], vec![0]));
    }
}
