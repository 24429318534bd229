//! The time of each CPU in each mode, from `/proc/stat`, none of which is let go back.

use vitald_core::prelude::*;

/// The modes of a CPU in the kernel's order; the last two are for guests.
pub(super) const MODES: [&[u8]; 8] =
    [b"user", b"nice", b"system", b"idle", b"iowait", b"irq", b"softirq", b"steal"];
const IDLE: usize = 3;

/// The time of a CPU in each mode, in seconds, with the guest's user and nice time at the end.
pub(super) type Seconds = [f64; MODES.len() + 2];

/// The idle time jumps back that far, in seconds, when a CPU was taken out and put back in; less
/// is the kernel's own doing, whose idle and iowait times are not exact.
const JUMP_BACK: f64 = 3.0;

/// What was shown of the CPUs that are on line, in the kernel's order.
///
/// It outlives the collector, so that no counter goes back because settings were changed.
#[derive(Default)]
pub(super) struct Shown(Vec<(u64, Seconds)>);

impl Shown {
    /// Begins a run from the first CPU.
    pub(super) fn begin(&mut self) -> Run<'_> {
        Run { shown: self, position: 0, has_changed: false }
    }

    /// Makes room for a CPU at the place where the kernel has it, and forgets those that were
    /// there and have gone. Answers whether that changed anything.
    fn place(&mut self, position: usize, cpu: u64) -> bool {
        if self.0.get(position).is_some_and(|(known, _)| *known == cpu) {
            return false;
        }
        let position = position.min(self.0.len());
        match self.0.iter().skip(position).position(|(known, _)| *known == cpu) {
            Some(gone) => drop(self.0.drain(position..position + gone)),
            None => self.0.insert(position, (cpu, Seconds::default())),
        }
        true
    }
}

/// A run over the CPUs in the kernel's order.
pub(super) struct Run<'s> {
    shown: &'s mut Shown,
    position: usize,
    has_changed: bool,
}

impl Run<'_> {
    /// Takes what the kernel says of the next CPU, and gives what is to be shown.
    pub(super) fn advance(&mut self, cpu: u64, read: &Seconds) -> &Seconds {
        self.has_changed |= self.shown.place(self.position, cpu);
        let (_, seconds) = &mut self.shown.0[self.position];
        self.position += 1;
        advance(seconds, read);
        seconds
    }

    /// Ends the run. Answers whether the CPUs are others than those of the last run.
    pub(super) fn finish(self) -> bool {
        let has_gone = self.position < self.shown.0.len();
        self.shown.0.truncate(self.position);
        self.has_changed || has_gone
    }
}

/// Brings the shown times up to those of the kernel, none of which is let go back.
fn advance(shown: &mut Seconds, read: &Seconds) {
    if shown[IDLE] - read[IDLE] >= JUMP_BACK {
        *shown = Seconds::default();
    }
    for (shown, read) in shown.iter_mut().zip(read) {
        *shown = shown.max(*read);
    }
}

/// Takes the times of `cpu0 7516 0 3210 163515 93 0 13 74 0 0`, with the CPU's digits and number.
///
/// Any other line is None, also the sum over all CPUs. Modes that are not there are 0: some
/// containers' kernels leave out the last ones.
pub(super) fn parse_stat(
    line: &[u8],
    ticks_per_second: f64,
) -> Option<Result<(&[u8], u64, Seconds), Malformed>> {
    let mut fields = Fields::new(line);
    let digits = fields.next()?.strip_prefix(b"cpu").filter(|digits| !digits.is_empty())?;
    Some(parse_seconds(fields, ticks_per_second).and_then(|seconds| {
        let cpu = text::single_u64(digits)?;
        Ok((digits, cpu, seconds))
    }))
}

fn parse_seconds(mut fields: Fields<'_>, ticks_per_second: f64) -> Result<Seconds, Malformed> {
    let mut ticks = [0; MODES.len() + 2];
    let count = fields.numbers(&mut ticks)?;
    if count == 0 {
        // The first mode is always there.
        fields.u64()?;
    }
    Ok(ticks.map(|ticks| ticks as f64 / ticks_per_second))
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitald_core::testing::*;

    #[test]
    fn cpus_come_and_go() {
        let mut shown = Shown::default();
        let mut see = |cpus: &[u64]| {
            let mut run = shown.begin();
            for cpu in cpus {
                let mut read = Seconds::default();
                let known = run.shown.0.iter().find(|(known, _)| known == cpu);
                read[0] = known.map_or(0.0, |(_, seconds)| seconds[0]) + 1.0;
                run.advance(*cpu, &read);
            }
            let changed = run.finish();
            (changed, shown.0.iter().map(|(cpu, seconds)| (*cpu, seconds[0])).collect::<Vec<_>>())
        };
        assert_eq!(see(&[0, 1, 3]), (true, vec![(0, 1.0), (1, 1.0), (3, 1.0)]));
        assert_eq!(see(&[0, 1, 3]), (false, vec![(0, 2.0), (1, 2.0), (3, 2.0)]));
        assert_eq!(see(&[0, 2, 3]), (true, vec![(0, 3.0), (2, 1.0), (3, 3.0)]));
        assert_eq!(see(&[3]), (true, vec![(3, 4.0)]));
        assert_eq!(see(&[3, 0]), (true, vec![(3, 5.0), (0, 1.0)]));
        assert_eq!(see(&[0, 3]), (true, vec![(0, 2.0), (3, 1.0)]));
        assert_eq!(see(&[]), (true, vec![]));
    }

    #[test]
    fn refuses_bad_text() {
        let parse = |line: &[u8]| match parse_stat(line, 100.0) {
            Some(parsed) => parsed.map(|(_, cpu, _)| cpu),
            None => Ok(u64::MAX),
        };
        rejects(parse, &["cpu0", "cpu0 ", "cpu0 -1", "cpu0 1 2.5", "cpu-1 1", "cpux 1"]);
        for other in ["", "cpu 1 2", "intr 5", "processes 3"] {
            assert_eq!(parse(other.as_bytes()), Ok(u64::MAX));
        }
    }
}
