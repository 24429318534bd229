//! What several sources have under names, such as families, grouped by name.

use std::cmp::Ordering;
use std::ops::Range;

/// Groups of one name each, in the order of the names.
pub struct ByName<'a, T> {
    members: Vec<(&'a [u8], T)>,
    groups: Vec<Range<usize>>,
}

impl<'a, T> ByName<'a, T> {
    /// Groups members with their names. Those of one name stay in the order in which they are given.
    pub fn new(members: impl IntoIterator<Item = (&'a [u8], T)>) -> Self {
        let mut members: Vec<(&[u8], T)> = members.into_iter().collect();
        // The sort is stable.
        members.sort_by_key(|(name, _)| *name);
        let mut groups: Vec<Range<usize>> = Vec::with_capacity(members.len());
        for same in members.chunk_by(|(a, _), (b, _)| a == b) {
            let first = groups.last().map_or(0, |before| before.end);
            groups.push(first..first + same.len());
        }
        ByName { members, groups }
    }

    /// How many groups there are.
    pub fn len(&self) -> usize {
        self.groups.len()
    }

    /// Whether there is no group.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// The name of a group, by its place.
    pub fn name(&self, group: usize) -> &'a [u8] {
        self.members[self.groups[group].start].0
    }

    /// The members of a group: at least one.
    pub fn members(&self, group: usize) -> impl ExactSizeIterator<Item = &T> {
        self.members[self.groups[group].clone()].iter().map(|(_, member)| member)
    }

    /// The first member of a group.
    pub fn first(&self, group: usize) -> &T {
        &self.members[self.groups[group].start].1
    }

    /// The place of the group whose name is `front` and `back` put together.
    pub fn find(&self, front: &[u8], back: &str) -> Option<usize> {
        let name = |group: &Range<usize>| self.members[group.start].0;
        let found = self
            .groups
            .binary_search_by(|group| compare_joined(name(group), front, back.as_bytes()));
        found.ok()
    }
}

/// Compares a name with `front` and `back` put together.
fn compare_joined(name: &[u8], front: &[u8], back: &[u8]) -> Ordering {
    let (head, tail) = name.split_at(front.len().min(name.len()));
    head.cmp(front).then_with(|| tail.cmp(back))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_of_one_name_are_together_in_their_order() {
        let groups = ByName::new([(&b"b"[..], 1), (b"a", 2), (b"b", 3), (b"a_sum", 4)]);
        let all: Vec<(&[u8], Vec<i32>)> = (0..groups.len())
            .map(|group| (groups.name(group), groups.members(group).copied().collect()))
            .collect();
        assert_eq!(all, [(&b"a"[..], vec![2]), (b"a_sum", vec![4]), (b"b", vec![1, 3])]);
        assert_eq!(*groups.first(2), 1);
        assert!(ByName::<()>::new([]).is_empty());
    }

    #[test]
    fn names_are_found_in_two_parts() {
        let names = [&b"a"[..], b"a_", b"a_b", b"a_sum", b"ab", b"b_sum"];
        let groups = ByName::new(names.map(|name| (name, ())));
        for (place, name) in names.iter().enumerate() {
            for at in 0..=name.len() {
                let (front, back) = name.split_at(at);
                let back = std::str::from_utf8(back).unwrap();
                assert_eq!(groups.find(front, back), Some(place));
            }
        }
        for (front, back) in [("", ""), ("a", "_su"), ("a_s", "um_"), ("ab", "_sum"), ("c", "")] {
            assert_eq!(groups.find(front.as_bytes(), back), None);
        }
    }
}
