//! The names of network interfaces by index.

use std::ops::Range;
use std::time::Instant;

use super::SharedLinks;
use crate::error::Result;

/// The names of network interfaces by index, for what knows its interface by the index alone, as
/// neighbours and routes do. A steady collection allocates nothing.
#[derive(Debug, Default)]
pub struct InterfaceNames {
    /// By index, in ascending order.
    names: Names,
}

impl InterfaceNames {
    /// Learns the names as they are now.
    ///
    /// # Errors
    ///
    /// As [`SharedLinks::each`]; no name is known then.
    pub fn learn(&mut self, links: &mut SharedLinks, fresh_from: Instant) -> Result<()> {
        let names = &mut self.names;
        names.clear();
        let learned = links.each(fresh_from, &mut |link| names.push(link.index, link.name));
        match learned {
            Ok(()) => names.places.sort_unstable_by_key(|(index, _)| *index),
            Err(_) => names.clear(),
        }
        learned
    }

    /// The name of an interface; none if there was no such interface when the names were learned.
    pub fn get(&self, index: i32) -> Option<&[u8]> {
        let Names { bytes, places } = &self.names;
        let place = places.binary_search_by_key(&index, |(known, _)| *known).ok()?;
        bytes.get(places.get(place)?.1.clone())
    }
}

/// Names of interfaces in one buffer, each with its index. One that is filled again allocates nothing.
#[derive(Debug, Default)]
pub(super) struct Names {
    bytes: Vec<u8>,
    places: Vec<(i32, Range<usize>)>,
}

impl Names {
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.places.clear();
    }

    pub(super) fn push(&mut self, index: i32, name: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(name);
        self.places.push((index, start..self.bytes.len()));
    }

    /// The indexes and names, in the order in which they came.
    pub(super) fn iter(&self) -> impl Iterator<Item = (i32, &[u8])> {
        let Names { bytes, places } = self;
        places.iter().filter_map(|(index, place)| Some((*index, bytes.get(place.clone())?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::{Link, MemoryHost};

    #[test]
    fn names_are_found_by_index() {
        let memory = MemoryHost::new();
        let link = |index, name| Link { index, name, ..Link::default() };
        memory.set_links(vec![link(7, b"eth\xff"), link(1, b"lo")]);
        let mut names = InterfaceNames::default();
        let mut links = memory.host().shared_links();
        for _ in 0..2 {
            names.learn(&mut links, Instant::now()).unwrap();
            assert_eq!(
                [names.get(1), names.get(2), names.get(7)],
                [Some(&b"lo"[..]), None, Some(b"eth\xff")]
            );
        }
        memory.set_links(vec![link(7, b"wan")]);
        names.learn(&mut links, Instant::now()).unwrap();
        assert_eq!([names.get(1), names.get(7)], [None, Some(&b"wan"[..])]);
    }
}
