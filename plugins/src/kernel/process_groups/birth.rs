//! Which processes were born since the last collection.

/// How much of its past a process may bring with it: none, unless it was born since the last
/// collection.
///
/// The start of a process counts in clock ticks from the boot of the host, and so does
/// `proc/uptime`, except in containers in which lxcfs gives the container's own. A process that
/// started after the end of that uptime gives it away. The clock less the time of the boot is
/// asked then; it may be some seconds off after the clock was set, and is not asked otherwise.
#[derive(Debug, Default)]
pub(super) struct Births {
    now: Instants,
    last: Option<Instants>,
}

/// When a collection began, in clock ticks since the boot.
#[derive(Clone, Copy, Debug, Default)]
struct Instants {
    /// By `proc/uptime`.
    uptime: Option<u64>,
    /// By the clock and the time of the boot.
    clock: Option<u64>,
    /// When the process started that was the youngest of all in that collection.
    newest: Option<u64>,
    /// Whether a process started after the end of the uptime.
    is_uptime_foreign: bool,
}

impl Births {
    /// Begins a collection.
    pub(super) fn begin(&mut self, uptime: Option<u64>, clock: Option<u64>) {
        self.now = Instants { uptime, clock, ..Instants::default() };
    }

    /// Takes notice of a process of this collection.
    pub(super) fn saw(&mut self, start: u64) {
        self.now.newest = self.now.newest.max(Some(start));
        // A second for what started while we looked.
        self.now.is_uptime_foreign |=
            self.now.uptime.is_some_and(|uptime| start > uptime.saturating_add(100));
    }

    /// Whether a process that this collection was the first to see was born since the last one.
    pub(super) fn is_newborn(&self, start: u64) -> bool {
        let Some(last) = self.last else { return false };
        let is_foreign = self.now.is_uptime_foreign || last.is_uptime_foreign;
        let trusted = if is_foreign { last.clock } else { last.uptime.or(last.clock) };
        // Nothing is younger than what comes, so this holds whatever the clocks say.
        match trusted.max(last.newest) {
            Some(began) => start >= began,
            None => false,
        }
    }

    /// Ends the collection.
    pub(super) fn end(&mut self) {
        self.last = Some(self.now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a process that starts then is newborn in the second of two collections.
    fn newborn(first: [Option<u64>; 2], others: &[u64], second: Option<u64>, start: u64) -> bool {
        let mut births = Births::default();
        births.begin(first[0], first[1]);
        others.iter().for_each(|start| births.saw(*start));
        assert!(!births.is_newborn(start), "there is no last collection");
        births.end();
        births.begin(second, None);
        others.iter().for_each(|start| births.saw(*start));
        births.saw(start);
        births.is_newborn(start)
    }

    #[test]
    fn by_uptime() {
        assert!(newborn([Some(1_000), None], &[10], Some(2_000), 1_000));
        assert!(!newborn([Some(1_000), None], &[10], Some(2_000), 999));
    }

    #[test]
    fn an_uptime_of_something_else_is_not_asked() {
        // The container is 10 s old, the host a day.
        let first = [Some(1_000), Some(8_640_000)];
        assert!(!newborn(first, &[], Some(2_000), 8_000_000));
        assert!(newborn(first, &[], Some(2_000), 8_640_001));
        // Without the time of the boot those seen before are older.
        assert!(!newborn([Some(1_000), None], &[8_100_000], Some(2_000), 8_000_000));
        assert!(newborn([Some(1_000), None], &[8_100_000], Some(2_000), 8_100_001));
    }

    #[test]
    fn without_any_clock() {
        assert!(!newborn([None, None], &[], None, 5));
        assert!(newborn([None, None], &[5], None, 6));
        assert!(!newborn([None, None], &[5], None, 4));
    }
}
