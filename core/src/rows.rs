//! Rows of a text that are recognised from run to run.

use std::collections::HashMap;

/// What a collector knows of each row of a text: whether a filter takes it, its labels, the handles
/// on its files.
///
/// The kernel lists the same rows in the same order nearly always. So a row is first compared with
/// the one that was at its place in the last run, by its key (its name, or all fields that tell it
/// from others). While they are equal nothing is searched and nothing allocated. At the first
/// difference the rest is looked up by key, so that what is known of a row survives when others
/// come, go or change places. What is known of a row that is gone is dropped.
///
/// ```
/// use vitald_core::rows::Rows;
///
/// let mut rows: Rows<bool> = Rows::new();
/// for text in ["sda\nloop0\n", "sda\nloop0\n"] {
///     let mut run = rows.begin();
///     for name in text.lines() {
///         let is_shown = run.row(name.as_bytes(), || !name.starts_with("loop"));
///         assert_eq!(*is_shown, name == "sda");
///     }
///     run.finish();
/// }
/// ```
///
/// Keys are kept one behind another, as they are in the text, so that a pass over many of them touches
/// memory in order and little of it.
#[derive(Debug)]
pub struct Rows<T> {
    /// The keys in the order of the text.
    keys: Vec<u8>,
    /// Where each key ends, and what is known of its row.
    known: Vec<(usize, T)>,
    /// By key, what is known of the rows of the last pass that came behind the first difference to the present one.
    /// They are taken from here as they are met; what is left is dropped by [`Pass::finish`].
    displaced: HashMap<Box<[u8]>, T>,
}

impl<T> Default for Rows<T> {
    fn default() -> Self {
        Rows { keys: Vec::new(), known: Vec::new(), displaced: HashMap::new() }
    }
}

impl<T> Rows<T> {
    /// Nothing is known yet.
    pub fn new() -> Self {
        Rows::default()
    }

    /// Begins a pass over the text, from its first row.
    pub fn begin(&mut self) -> Pass<'_, T> {
        Pass { rows: self, position: 0, start: 0, has_changed: false }
    }

    /// What is known of each row of the last pass, with its key, in the order of the text.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &T)> {
        let mut start = 0;
        self.known.iter().map(move |(end, known)| (key(&self.keys, &mut start, *end), known))
    }

    /// As [`Rows::iter`], to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&[u8], &mut T)> {
        let (keys, mut start) = (&self.keys, 0);
        self.known.iter_mut().map(move |(end, known)| (key(keys, &mut start, *end), known))
    }

    /// How many rows there were.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether there were none.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Puts aside what is known from that position on, whose keys begin at `start`.
    fn displace(&mut self, position: usize, mut start: usize) {
        let Rows { keys, known, displaced } = self;
        let beginning = start;
        displaced.extend(
            known.drain(position..).map(|(end, known)| (key(keys, &mut start, end).into(), known)),
        );
        keys.truncate(beginning);
    }
}

/// The key that begins at `start`, which becomes the start of the next one.
fn key<'k>(keys: &'k [u8], start: &mut usize, end: usize) -> &'k [u8] {
    keys.get(std::mem::replace(start, end)..end).unwrap_or_default()
}

/// A pass over the rows; what it did not meet is dropped by [`Pass::finish`].
#[derive(Debug)]
pub struct Pass<'r, T> {
    rows: &'r mut Rows<T>,
    position: usize,
    /// Where the key at that position begins.
    start: usize,
    has_changed: bool,
}

impl<T> Pass<'_, T> {
    /// What is known of the next row, which `learn` finds out when the row is new.
    pub fn row(&mut self, key: &[u8], learn: impl FnOnce() -> T) -> &mut T {
        let (position, start) = (self.position, self.start);
        let end = start + key.len();
        let is_same = self.rows.known.get(position).is_some_and(|(known, _)| *known == end)
            && self.rows.keys.get(start..end) == Some(key);
        if !is_same {
            self.has_changed = true;
            self.rows.displace(position, start);
            let known = self.rows.displaced.remove(key).unwrap_or_else(learn);
            self.rows.keys.extend_from_slice(key);
            self.rows.known.push((end, known));
        }
        (self.position, self.start) = (position + 1, end);
        &mut self.rows.known[position].1
    }

    /// Ends the pass before the last row: what is known of rows that were not met is kept. Answers whether
    /// a row was another one than at its place in the last pass.
    pub fn leave(self) -> bool {
        self.has_changed
    }

    /// Ends the pass. Answers whether the rows are others than those of the last one, or in another
    /// order.
    pub fn finish(self) -> bool {
        let Pass { rows, position, start, has_changed } = self;
        // An earlier pass that was left may have displaced some, too.
        let has_gone = position < rows.known.len() || !rows.displaced.is_empty();
        rows.known.truncate(position);
        rows.keys.truncate(start);
        if rows.displaced.capacity() > 0 {
            // A map that is seldom needed keeps no memory.
            rows.displaced = HashMap::new();
        }
        has_changed || has_gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every row, with the number of the learning that its knowledge is from.
    fn run(rows: &mut Rows<u32>, learned: &mut u32, keys: &[&str]) -> (Vec<u32>, bool) {
        let mut run = rows.begin();
        let known = keys
            .iter()
            .map(|key| {
                *run.row(key.as_bytes(), || {
                    *learned += 1;
                    *learned
                })
            })
            .collect();
        (known, run.finish())
    }

    #[test]
    fn rows_are_recognised_wherever_they_are() {
        let (mut rows, mut learned) = (Rows::new(), 0);
        let mut run = |keys: &[&str]| run(&mut rows, &mut learned, keys);
        assert_eq!(run(&["a", "b", "c"]), (vec![1, 2, 3], true));
        assert_eq!(run(&["a", "b", "c"]), (vec![1, 2, 3], false));
        assert_eq!(run(&["a", "x", "b", "c"]), (vec![1, 4, 2, 3], true), "one comes between");
        assert_eq!(run(&["c", "b", "a"]), (vec![3, 2, 1], true), "another order");
        assert_eq!(run(&["c"]), (vec![3], true), "some have gone");
        assert_eq!(run(&["c", "a"]), (vec![3, 5], true), "what has gone is forgotten");
        assert_eq!(run(&["c", "c"]), (vec![3, 6], true), "two rows of one key are two");
        assert_eq!(run(&["c", "c"]), (vec![3, 6], false));
        assert_eq!(run(&[]), (vec![], true));
        assert_eq!(run(&[]), (vec![], false));
    }

    #[test]
    fn a_run_that_was_left_keeps_what_it_did_not_meet() {
        let (mut rows, mut learned) = (Rows::new(), 0);
        run(&mut rows, &mut learned, &["a", "b", "c"]);
        for (first, is_changed) in [("a", false), ("b", true)] {
            let mut pass = rows.begin();
            pass.row(first.as_bytes(), || 9);
            assert_eq!(pass.leave(), is_changed);
            assert_eq!(run(&mut rows, &mut learned, &["a", "b", "c"]).0, [1, 2, 3]);
        }
    }

    #[test]
    fn what_a_run_that_was_left_displaced_is_forgotten_by_the_next_whole_one() {
        let (mut rows, mut learned) = (Rows::new(), 0);
        run(&mut rows, &mut learned, &["a", "b", "c"]);
        let mut pass = rows.begin();
        for row in ["a", "x"] {
            pass.row(row.as_bytes(), || 9);
        }
        assert!(pass.leave());
        assert_eq!(run(&mut rows, &mut learned, &["a", "x"]), (vec![1, 9], true), "b has gone");
        assert_eq!(run(&mut rows, &mut learned, &["a", "x", "b"]), (vec![1, 9, 4], true));
    }

    #[test]
    fn a_run_that_was_given_up_costs_nothing() {
        let (mut rows, mut learned) = (Rows::new(), 0);
        run(&mut rows, &mut learned, &["a", "b", "c"]);
        rows.begin().row(b"b", || 0);
        assert_eq!(run(&mut rows, &mut learned, &["a", "b", "c"]), (vec![1, 2, 3], true));
    }

    #[test]
    fn the_rows_of_the_last_pass_can_be_gone_over() {
        let mut rows = Rows::new();
        run(&mut rows, &mut 0, &["a", "b", "c"]);
        run(&mut rows, &mut 7, &["c", "a", "d"]);
        rows.iter_mut().for_each(|(_, number)| *number *= 10);
        let all: Vec<_> = rows.iter().map(|(key, number)| (key, *number)).collect();
        assert_eq!(all, [(&b"c"[..], 30), (b"a", 10), (b"d", 80)]);
    }

    #[test]
    fn many_rows_in_another_order_take_linear_time() {
        // With a search from the start for each of them this would be 20,000,000,000 comparisons.
        let keys: Vec<Vec<u8>> = (0..200_000_u32).map(|i| i.to_string().into_bytes()).collect();
        let mut rows: Rows<usize> = Rows::new();
        for round in 0..2 {
            let mut run = rows.begin();
            for i in 0..keys.len() {
                let i = if round == 0 { i } else { keys.len() - 1 - i };
                assert_eq!(*run.row(&keys[i], || i), i);
            }
            assert!(run.finish());
        }
        assert_eq!(rows.len(), keys.len());
    }
}
