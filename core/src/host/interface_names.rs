//! The names of network interfaces by index.

use std::ops::Range;
use std::time::Instant;

use super::SharedLinks;
use crate::error::Result;

/// The names of network interfaces by index, for what knows its interface by the index alone, as
/// neighbours and routes do. A steady collection allocates nothing.
#[derive(Debug, Default)]
pub struct InterfaceNames {
    bytes: Vec<u8>,
    /// By index.
    places: Vec<(i32, Range<usize>)>,
}

impl InterfaceNames {
    /// Learns the names as they are now.
    ///
    /// # Errors
    ///
    /// As [`SharedLinks::each`]; no name is known then.
    pub fn learn(&mut self, links: &mut SharedLinks, fresh_from: Instant) -> Result<()> {
        let InterfaceNames { bytes, places } = self;
        bytes.clear();
        places.clear();
        links.each(fresh_from, &mut |link| {
            let start = bytes.len();
            bytes.extend_from_slice(link.name);
            places.push((link.index, start..bytes.len()));
        })?;
        places.sort_unstable_by_key(|(index, _)| *index);
        Ok(())
    }

    /// The name of an interface; none if there was no such interface when the names were learned.
    pub fn get(&self, index: i32) -> Option<&[u8]> {
        let place = self.places.binary_search_by_key(&index, |(known, _)| *known).ok()?;
        self.bytes.get(self.places.get(place)?.1.clone())
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
