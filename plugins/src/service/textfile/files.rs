//! The files of the last collection, found again in the next one.

use std::collections::HashMap;

use super::File;

/// Files in the order in which they are met, which is the same from collection to collection as long as
/// none comes or goes.
#[derive(Default)]
pub(super) struct Files {
    files: Vec<File>,
    /// How many were met in this collection.
    met: usize,
    /// From the first difference on, those that have not been met.
    others: Option<HashMap<Box<str>, File>>,
}

impl Files {
    /// Begins a collection.
    pub(super) fn begin(&mut self) {
        self.met = 0;
        // A collection that did not come to its end has left them.
        self.others = None;
    }

    /// Those that were met, at the end of a collection.
    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = &File> {
        self.files.iter()
    }

    pub(super) fn get(&self, position: usize) -> Option<&File> {
        self.files.get(position)
    }

    /// The next file. There always is one: if it was not there in the last collection, it is made.
    pub(super) fn meet(&mut self, path: &str) -> Option<&mut File> {
        let at = self.met;
        self.met += 1;
        let is_same = self.files.get(at).is_some_and(|file| *file.path == *path);
        if !is_same {
            let files = &mut self.files;
            let others = self.others.get_or_insert_with(|| {
                files.drain(at..).map(|file| (file.path.clone(), file)).collect()
            });
            files.push(others.remove(path).unwrap_or_else(|| File::new(path)));
        }
        self.files.get_mut(at)
    }

    /// Forgets the files that were not met. Whether there are others than before, or in another order.
    pub(super) fn end(&mut self) -> bool {
        let has_changed = self.others.take().is_some() || self.files.len() > self.met;
        self.files.truncate(self.met);
        has_changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_keep_what_is_known_of_them_when_others_come_and_go() {
        let mut files = Files::default();
        let mut collect = |names: &str| {
            files.begin();
            let mut known = String::new();
            for name in names.chars() {
                let file = files.meet(&name.to_string()).unwrap();
                if file.digest.replace([0, 0]).is_some() {
                    known.push(name);
                }
            }
            let has_changed = files.end();
            let order: String = files.iter().map(|file| &*file.path).collect();
            assert_eq!(order, names);
            (known, has_changed)
        };
        let same = |known: &str| (known.to_owned(), false);
        let other = |known: &str| (known.to_owned(), true);
        assert_eq!(collect("bcd"), other(""));
        assert_eq!(collect("bcd"), same("bcd"));
        assert_eq!(collect("abcd"), other("bcd"));
        assert_eq!(collect("acx"), other("ac"));
        assert_eq!(collect("ac"), other("ac"));
        assert_eq!(collect("ca"), other("ca"));
        assert_eq!(collect("cac"), other("ca"));
        assert_eq!(collect("cac"), same("cac"));
        assert_eq!(collect(""), other(""));
        assert_eq!(collect(""), same(""));
    }
}
