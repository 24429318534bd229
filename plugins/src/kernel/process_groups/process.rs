//! One process: what is remembered of it, and what its files say.

use std::io;

use vitald_core::host::Children;
use vitald_core::prelude::*;

use super::birth::Births;
use super::groups::{Counters, Gauges};
use super::parse::{self, Parsed, Stat, Status};

/// A process that no rule has given to a group.
pub(super) const NO_GROUP: u32 = u32::MAX;

/// States by the letters of `proc/PID/stat`.
pub(super) const STATE_NAMES: [(&[u8], u8); 5] =
    [(b"Running", b'R'), (b"Sleeping", b'S'), (b"Waiting", b'D'), (b"Zombie", b'Z'), (b"Other", 0)];

/// What is remembered of one process.
#[derive(Clone, Copy)]
pub(super) struct Process {
    pub(super) pid: u32,
    /// The collections that saw it first and last.
    first_round: u32,
    pub(super) round: u32,
    pub(super) group: u32,
    /// Whether it has its group from an ancestor.
    pub(super) is_adopted: bool,
    pub(super) classified: Classified,
    pub(super) command_hash: u64,
    pub(super) stat: Stat,
    /// As they were when they were last read; zero before.
    counters: Counters,
    /// Whether what it uses is being counted, and whether what it reads and writes is.
    is_counted: bool,
    is_io_counted: bool,
    descriptor_limit: Option<u64>,
}

/// How far a process has got with the rules.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Classified {
    /// They are to be asked now.
    Never,
    /// They were asked once, perhaps between its fork and its exec.
    Once,
    /// They need not be asked again while the command name is the same.
    Twice,
}

/// Which of its files are read.
#[derive(Clone, Copy)]
pub(super) struct Wanted {
    pub(super) status: bool,
    pub(super) io: bool,
    pub(super) descriptors: bool,
    /// The soft limit of descriptors, which hardly ever changes; of a process that is new it is read anyhow.
    pub(super) limit: bool,
    pub(super) smaps: bool,
}

/// What a process has, and what it has used since the last collection.
pub(super) struct Measured {
    pub(super) now: Gauges,
    pub(super) gained: Counters,
    /// Whether a file of it could not be read.
    pub(super) is_partial: bool,
}

impl Process {
    pub(super) fn new(pid: u32, round: u32) -> Self {
        Process {
            pid,
            first_round: round,
            round,
            group: NO_GROUP,
            is_adopted: false,
            classified: Classified::Never,
            command_hash: 0,
            stat: Stat::default(),
            counters: Counters::default(),
            is_counted: false,
            is_io_counted: false,
            descriptor_limit: None,
        }
    }

    /// What `stat` says of the present.
    fn gauges(&self) -> Gauges {
        let stat = &self.stat;
        let mut states = [0; STATE_NAMES.len()];
        let known = STATE_NAMES.iter().position(|(_, letter)| *letter == stat.state);
        let [.., other] = &mut states;
        *other = u64::from(known.is_none());
        if let Some(count) = known.and_then(|place| states.get_mut(place)) {
            *count = 1;
        }
        Gauges {
            processes: 1,
            threads: stat.threads,
            resident_pages: stat.resident_pages,
            virtual_bytes: stat.virtual_bytes,
            states,
            oldest_start_ticks: Some(stat.start_ticks),
            used_ticks: stat.user_ticks.saturating_add(stat.system_ticks),
            ..Gauges::default()
        }
    }

    /// Begins to count anew when it has a group again.
    pub(super) fn stop_counting(&mut self) {
        self.is_counted = false;
        self.is_io_counted = false;
    }

    /// Reads its other files. What it has used since the last collection counts from its birth if
    /// that was since then, too.
    pub(super) fn measure(
        &mut self,
        wanted: Wanted,
        round: u32,
        births: &Births,
        children: &mut Children,
        batch: &mut Batch,
    ) -> Measured {
        let mut digits = [0; 20];
        let name = text::decimal(self.pid.into(), &mut digits);
        let stat = self.stat;
        let mut now = self.gauges();
        let mut counters = Counters {
            user_ticks: stat.user_ticks,
            system_ticks: stat.system_ticks,
            minor_faults: stat.minor_faults,
            major_faults: stat.major_faults,
            ..self.counters
        };
        let mut is_partial = false;
        if wanted.status {
            let read = children.read(name, "status");
            if let Some(status) = taken(read, parse::status, &mut is_partial, batch) {
                let Status { swapped_bytes, switches: [voluntary, nonvoluntary], .. } = status;
                now.swapped_bytes = swapped_bytes.unwrap_or(0);
                counters.voluntary_switches = voluntary.unwrap_or(counters.voluntary_switches);
                counters.nonvoluntary_switches =
                    nonvoluntary.unwrap_or(counters.nonvoluntary_switches);
            }
        }
        // Whatever a first reading finds belongs to the past, unless the process has none.
        let is_newborn =
            !self.is_counted && self.first_round == round && births.is_newborn(stat.start_ticks);
        let mut before = self.counters;
        if !self.is_counted {
            before = if is_newborn { Counters::default() } else { counters };
        }
        self.is_counted = true;
        if wanted.io {
            let read = children.read(name, "io");
            if let Some([read, written]) = taken(read, parse::io, &mut is_partial, batch) {
                let read = read.unwrap_or(counters.read_bytes);
                let written = written.unwrap_or(counters.write_bytes);
                (counters.read_bytes, counters.write_bytes) = (read, written);
                if !self.is_io_counted && !is_newborn {
                    (before.read_bytes, before.write_bytes) = (read, written);
                }
                self.is_io_counted = true;
            }
        }
        self.counters = counters;
        // Kernel threads and what has ended have no memory and no descriptors.
        if stat.virtual_bytes > 0 {
            if wanted.smaps {
                let read = children.read(name, "smaps_rollup");
                let shares = taken(read, parse::smaps_rollup, &mut is_partial, batch);
                [now.proportional_bytes, now.proportional_swapped_bytes] =
                    shares.unwrap_or_default().map(Option::unwrap_or_default);
            }
            if wanted.descriptors {
                self.count_descriptors(
                    name,
                    wanted.limit,
                    &mut now,
                    &mut is_partial,
                    children,
                    batch,
                );
            }
        }
        Measured { now, gained: counters.since(before), is_partial }
    }

    fn count_descriptors(
        &mut self,
        name: &[u8],
        reads_limit: bool,
        now: &mut Gauges,
        is_partial: &mut bool,
        children: &mut Children,
        batch: &mut Batch,
    ) {
        if reads_limit || self.descriptor_limit.is_none() {
            let read = children.read(name, "limits");
            let limit = taken(read, parse::descriptor_limit, is_partial, batch);
            self.descriptor_limit = limit.flatten().or(self.descriptor_limit);
        }
        match children.descriptors(name) {
            Ok(open) => {
                now.descriptors = open;
                if let Some(limit) = self.descriptor_limit.filter(|limit| *limit > 0) {
                    now.worst_descriptor_ratio = open as f64 / limit as f64;
                }
            }
            Err(error) => *is_partial |= !has_gone(&error),
        }
    }
}

/// Takes what was read of a process that may have gone meanwhile, which is not an error.
///
/// A line that cannot be understood costs that line, and not the others of its file.
fn taken<T>(
    read: io::Result<&[u8]>,
    parse: fn(&[u8]) -> Parsed<T>,
    is_partial: &mut bool,
    batch: &mut Batch,
) -> Option<T> {
    match read {
        Ok(text) => {
            let Parsed { found, malformed } = parse(text);
            if let Some(malformed) = malformed {
                batch.tolerate::<()>(Err(malformed));
            }
            Some(found)
        }
        Err(error) => {
            *is_partial |= !has_gone(&error);
            None
        }
    }
}

/// ENOENT before a file of a process that has ended is opened, ESRCH when it is read.
pub(super) fn has_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(2 | 3))
}
