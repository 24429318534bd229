//! The groups: what their processes have used, and which of them are shown.

use std::cmp::Reverse;
use std::collections::HashMap;
use vitald_core::setting_words;

/// By what groups are ranked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
pub(super) enum TopBy {
    Memory,
    Cpu,
}

setting_words! { TopBy "memory or cpu": "memory" => Memory, "cpu" => Cpu }

/// The group of what is not shown by name.
pub(super) const OTHER: u32 = 0;
pub(super) const OTHER_NAME: &[u8] = b"other";

/// What only grows while a process lives.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Counters {
    pub(super) user_ticks: u64,
    pub(super) system_ticks: u64,
    pub(super) minor_faults: u64,
    pub(super) major_faults: u64,
    pub(super) read_bytes: u64,
    pub(super) write_bytes: u64,
    pub(super) voluntary_switches: u64,
    pub(super) nonvoluntary_switches: u64,
}

impl Counters {
    /// What has been added since an earlier reading; nothing where the kernel went backwards.
    pub(super) fn since(self, earlier: Counters) -> Counters {
        self.zip(earlier, u64::saturating_sub)
    }

    fn plus(self, more: Counters) -> Counters {
        self.zip(more, u64::saturating_add)
    }

    fn zip(self, other: Counters, each: fn(u64, u64) -> u64) -> Counters {
        Counters {
            user_ticks: each(self.user_ticks, other.user_ticks),
            system_ticks: each(self.system_ticks, other.system_ticks),
            minor_faults: each(self.minor_faults, other.minor_faults),
            major_faults: each(self.major_faults, other.major_faults),
            read_bytes: each(self.read_bytes, other.read_bytes),
            write_bytes: each(self.write_bytes, other.write_bytes),
            voluntary_switches: each(self.voluntary_switches, other.voluntary_switches),
            nonvoluntary_switches: each(self.nonvoluntary_switches, other.nonvoluntary_switches),
        }
    }
}

/// What the living processes of a group have, or one of them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Gauges {
    pub(super) processes: u64,
    pub(super) threads: u64,
    pub(super) resident_pages: u64,
    pub(super) virtual_bytes: u64,
    pub(super) swapped_bytes: u64,
    pub(super) proportional_bytes: u64,
    pub(super) proportional_swapped_bytes: u64,
    pub(super) descriptors: u64,
    pub(super) worst_descriptor_ratio: f64,
    /// In the order of `STATES`.
    pub(super) states: [u64; 5],
    pub(super) oldest_start_ticks: Option<u64>,
    /// The CPU time of the lives of the living, for the ranking.
    pub(super) used_ticks: u64,
}

impl Gauges {
    fn add(&mut self, more: &Gauges) {
        let sum = |into: &mut u64, more: u64| *into = into.saturating_add(more);
        sum(&mut self.processes, more.processes);
        sum(&mut self.threads, more.threads);
        sum(&mut self.resident_pages, more.resident_pages);
        sum(&mut self.virtual_bytes, more.virtual_bytes);
        sum(&mut self.swapped_bytes, more.swapped_bytes);
        sum(&mut self.proportional_bytes, more.proportional_bytes);
        sum(&mut self.proportional_swapped_bytes, more.proportional_swapped_bytes);
        sum(&mut self.descriptors, more.descriptors);
        sum(&mut self.used_ticks, more.used_ticks);
        for (into, more) in self.states.iter_mut().zip(more.states) {
            sum(into, more);
        }
        self.worst_descriptor_ratio = self.worst_descriptor_ratio.max(more.worst_descriptor_ratio);
        self.oldest_start_ticks = match (self.oldest_start_ticks, more.oldest_start_ticks) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
    }
}

/// One group.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) name: Box<[u8]>,
    /// What is shown: all that was gained while the group was shown.
    pub(super) totals: Counters,
    pub(super) now: Gauges,
    gained: Counters,
    pub(super) is_shown: bool,
    /// Whether the place in the table is taken.
    is_known: bool,
}

impl Group {
    fn named(name: &[u8]) -> Self {
        Group {
            name: name.into(),
            totals: Counters::default(),
            now: Gauges::default(),
            gained: Counters::default(),
            is_shown: false,
            is_known: true,
        }
    }
}

/// All groups. A group keeps its place while it is known, so that series keep their order.
#[derive(Debug)]
pub(super) struct Groups {
    table: Vec<Group>,
    by_name: HashMap<Box<[u8]>, u32>,
    free: Vec<u32>,
    /// Where groups are ranked.
    ranking: Vec<(Reverse<u64>, bool, u32)>,
    most_known: usize,
    most_shown: usize,
    by: TopBy,
    keep_empty: bool,
    folded: usize,
}

impl Groups {
    pub(super) fn new(most_known: u32, most_shown: u32, by: TopBy, keep_empty: bool) -> Self {
        Groups {
            table: vec![Group::named(OTHER_NAME)],
            by_name: HashMap::from([(OTHER_NAME.into(), OTHER)]),
            free: Vec::new(),
            ranking: Vec::new(),
            most_known: most_known as usize,
            most_shown: most_shown as usize,
            by,
            keep_empty,
            folded: 0,
        }
    }

    /// The group of that name, which is made if there is room for it.
    pub(super) fn place(&mut self, name: &[u8]) -> Option<u32> {
        if let Some(known) = self.by_name.get(name) {
            return Some(*known);
        }
        if self.known() >= self.most_known {
            return None;
        }
        let place = match self.free.pop() {
            Some(place) => place,
            None => u32::try_from(self.table.len()).ok()?,
        };
        match self.table.get_mut(place as usize) {
            Some(group) => *group = Group::named(name),
            None => self.table.push(Group::named(name)),
        }
        self.by_name.insert(name.into(), place);
        Some(place)
    }

    /// How many groups there are beside `other`.
    pub(super) fn known(&self) -> usize {
        self.by_name.len() - 1
    }

    /// How many of them were summed into `other`.
    pub(super) fn folded(&self) -> usize {
        self.folded
    }

    /// Makes ready for a new reading of all processes.
    pub(super) fn begin(&mut self) {
        for group in &mut self.table {
            group.now = Gauges::default();
            group.gained = Counters::default();
        }
    }

    /// Adds what a process has, and what it has used since the last reading.
    pub(super) fn add(&mut self, place: u32, now: &Gauges, gained: Counters) {
        if let Some(group) = self.table.get_mut(place as usize) {
            group.now.add(now);
            group.gained = group.gained.plus(gained);
        }
    }

    /// Decides which groups are shown, and sums the others.
    ///
    /// What a group gains goes to its own total while it is shown and to that of `other` while it
    /// is not, so that no total ever goes backwards and nothing is counted twice.
    pub(super) fn settle(&mut self) {
        self.forget_empty();
        self.choose();
        // Those that lost their place to a larger one.
        self.forget_empty();
        let Some((other, named)) = self.table.split_first_mut() else { return };
        self.folded = 0;
        for group in named.iter_mut().filter(|group| group.is_known) {
            if group.is_shown {
                group.totals = group.totals.plus(group.gained);
            } else {
                other.now.add(&group.now);
                other.gained = other.gained.plus(group.gained);
                self.folded += 1;
            }
        }
        other.totals = other.totals.plus(other.gained);
        // Once there, it stays: its counters would start again otherwise.
        other.is_shown |= self.folded > 0 || other.now.processes > 0;
    }

    /// The groups that are shown, in an order that lasts.
    pub(super) fn shown(&self) -> impl Iterator<Item = &Group> {
        self.table.iter().filter(|group| group.is_known && group.is_shown)
    }

    /// Frees the places of groups that have no process and are not to be shown without one.
    fn forget_empty(&mut self) {
        for (place, group) in self.table.iter_mut().enumerate().skip(1) {
            let is_kept = group.now.processes > 0 || (group.is_shown && self.keep_empty);
            if group.is_known && !is_kept {
                self.by_name.remove(&group.name);
                group.is_known = false;
                group.is_shown = false;
                self.free.extend(u32::try_from(place));
            }
        }
    }

    /// Marks the largest groups as shown.
    fn choose(&mut self) {
        let named = self.table.iter_mut().enumerate().skip(1).filter(|(_, group)| group.is_known);
        if self.by_name.len() - 1 <= self.most_shown {
            named.for_each(|(_, group)| group.is_shown = true);
            return;
        }
        self.ranking.clear();
        for (place, group) in named {
            let size = match self.by {
                TopBy::Memory => group.now.resident_pages,
                TopBy::Cpu => group.now.used_ticks,
            };
            // A group that is shown gives way only to one larger by a quarter: two of one size
            // would else take turns, and every turn tears two sets of series.
            let size = if group.is_shown { size.saturating_add(size / 4) } else { size };
            self.ranking.push((Reverse(size), !group.is_shown, place as u32));
            group.is_shown = false;
        }
        if self.most_shown < self.ranking.len() {
            self.ranking.select_nth_unstable(self.most_shown);
        }
        for (_, _, place) in self.ranking.iter().take(self.most_shown) {
            if let Some(group) = self.table.get_mut(*place as usize) {
                group.is_shown = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One reading: each group's size and what it gained. Answers what is shown, with the totals.
    fn reading(groups: &mut Groups, sizes: &[(&str, u64, u64)]) -> Vec<(String, u64, u64)> {
        groups.begin();
        for (name, resident_pages, gained) in sizes {
            let place = groups.place(name.as_bytes()).unwrap_or(OTHER);
            let now = Gauges { processes: 1, resident_pages: *resident_pages, ..Gauges::default() };
            groups.add(place, &now, Counters { user_ticks: *gained, ..Counters::default() });
        }
        groups.settle();
        let mut shown: Vec<_> = groups
            .shown()
            .map(|group| {
                let name = String::from_utf8_lossy(&group.name).into_owned();
                (name, group.now.resident_pages, group.totals.user_ticks)
            })
            .collect();
        shown.sort();
        shown
    }

    fn row(name: &str, size: u64, total: u64) -> (String, u64, u64) {
        (name.to_owned(), size, total)
    }

    #[test]
    fn totals_never_go_back_when_groups_change_places() {
        let mut groups = Groups::new(10, 1, TopBy::Memory, true);
        let first = reading(&mut groups, &[("a", 100, 5), ("b", 50, 7)]);
        assert_eq!(first, [row("a", 100, 5), row("other", 50, 7)]);
        // b is larger, but not by a quarter.
        let second = reading(&mut groups, &[("a", 100, 1), ("b", 120, 1)]);
        assert_eq!(second, [row("a", 100, 6), row("other", 120, 8)]);
        let third = reading(&mut groups, &[("a", 100, 1), ("b", 200, 1)]);
        assert_eq!(third, [row("b", 200, 1), row("other", 100, 9)]);
        // a comes back: its total is what it was when it was last shown, and other keeps the rest.
        let fourth = reading(&mut groups, &[("a", 900, 1), ("b", 200, 1)]);
        assert_eq!(fourth, [row("a", 900, 7), row("other", 200, 10)]);
        assert_eq!(groups.folded(), 1);
    }

    #[test]
    fn a_group_without_processes_stays_until_its_place_is_wanted() {
        let mut groups = Groups::new(10, 2, TopBy::Memory, true);
        reading(&mut groups, &[("a", 9, 5), ("b", 1, 1)]);
        assert_eq!(reading(&mut groups, &[("b", 1, 1)]), [row("a", 0, 5), row("b", 1, 2)]);
        let shown = reading(&mut groups, &[("b", 1, 1), ("c", 1, 4)]);
        assert_eq!(shown, [row("b", 1, 3), row("c", 1, 4)]);
        // Nothing is kept of an empty group that is not shown.
        assert_eq!((groups.known(), groups.folded()), (2, 0));
        let again = reading(&mut groups, &[("a", 9, 2), ("b", 1, 0), ("c", 1, 0)]);
        assert_eq!(again, [row("a", 9, 2), row("b", 1, 3), row("other", 1, 0)]);
    }

    #[test]
    fn empty_groups_can_go_at_once() {
        let mut groups = Groups::new(10, 2, TopBy::Memory, false);
        reading(&mut groups, &[("a", 9, 5), ("b", 1, 1)]);
        assert_eq!(reading(&mut groups, &[("b", 1, 1)]), [row("b", 1, 2)]);
    }

    #[test]
    fn no_more_groups_than_there_is_room_for() {
        let mut groups = Groups::new(1, 1, TopBy::Memory, true);
        assert_eq!(groups.place(b"a"), Some(1));
        assert_eq!(groups.place(b"b"), None);
        assert_eq!(groups.place(b"other"), Some(OTHER));
        let shown = reading(&mut groups, &[("a", 1, 1), ("b", 2, 2), ("other", 3, 3)]);
        assert_eq!(shown, [row("a", 1, 1), row("other", 5, 5)]);
    }

    #[test]
    fn cpu_time_can_decide() {
        let mut groups = Groups::new(10, 1, TopBy::Cpu, true);
        groups.begin();
        for (name, pages, ticks) in [(b"a", 9, 1), (b"b", 1, 9)] {
            let place = groups.place(name).unwrap();
            let now = Gauges {
                resident_pages: pages,
                used_ticks: ticks,
                processes: 1,
                ..Gauges::default()
            };
            groups.add(place, &now, Counters::default());
        }
        groups.settle();
        assert!(groups.shown().any(|group| *group.name == *b"b"));
        assert!(!groups.shown().any(|group| *group.name == *b"a"));
    }
}
