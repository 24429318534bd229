//! Counts by name.

/// How often each name was met in a collection, such as the device of each entry of a table.
///
/// The names are kept from collection to collection, so that a steady one allocates nothing. They are in the order
/// of their bytes, whatever the order they were met in.
///
/// ```
/// use vitald_core::counts::Counts;
///
/// let mut counts = Counts::new();
/// counts.begin();
/// for device in ["eth1", "eth0", "eth1"] {
///     counts.add(device.as_bytes());
/// }
/// let all: Vec<_> = counts.finish().collect();
/// assert_eq!(all, [(&b"eth0"[..], 1), (b"eth1", 2)]);
/// ```
#[derive(Debug, Default)]
pub struct Counts {
    known: Vec<(Box<[u8]>, u64)>,
}

impl Counts {
    /// Nothing is known yet.
    pub const fn new() -> Self {
        Counts { known: Vec::new() }
    }

    /// Sets every count to zero.
    pub fn begin(&mut self) {
        self.known.iter_mut().for_each(|(_, count)| *count = 0);
    }

    /// Adds one to the count of a name.
    pub fn add(&mut self, name: &[u8]) {
        match self.known.binary_search_by(|(known, _)| (**known).cmp(name)) {
            Ok(place) => self.known[place].1 += 1,
            Err(place) => self.known.insert(place, (name.into(), 1)),
        }
    }

    /// Forgets what was not met, and gives the counts of the rest.
    pub fn finish(&mut self) -> impl Iterator<Item = (&[u8], u64)> {
        self.known.retain(|(_, count)| *count > 0);
        self.known.iter().map(|(name, count)| (&**name, *count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_met_again_is_forgotten() {
        let mut counts = Counts::new();
        let mut run = |names: &[&str]| {
            counts.begin();
            names.iter().for_each(|name| counts.add(name.as_bytes()));
            let all = counts.finish();
            all.map(|(name, count)| (String::from_utf8_lossy(name).into_owned(), count))
                .collect::<Vec<_>>()
        };
        assert_eq!(run(&["b", "a", "b"]), [("a".into(), 1), ("b".into(), 2)]);
        assert_eq!(run(&["b", ""]), [("".into(), 1), ("b".into(), 1)]);
        assert_eq!(run(&[]), []);
    }
}
