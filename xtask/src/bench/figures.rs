//! What was measured.

use super::names::{CONTROL, VITALD};
use super::work::Work;
use crate::system::statistics::{exponent, interval, median, percentile, ratio, ratio_of_blocks};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// What one program took, in microseconds.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    /// CPU time of a scrape, round by round. Each block is of another process.
    pub(crate) blocks: Vec<Vec<f64>>,
    /// How long scrapes took, as the client saw it.
    latencies: Vec<f64>,
}

impl Row {
    /// One block, of nanoseconds of rounds with so many scrapes, and of the seconds that scrapes took.
    pub(crate) fn new(
        name: &'static str,
        (rounds, mut latencies): (Vec<f64>, Vec<f64>),
        scrapes: usize,
    ) -> Row {
        latencies.iter_mut().for_each(|seconds| *seconds *= 1e6);
        let spent = rounds.iter().map(|round| round / 1e3 / scrapes as f64).collect();
        Row { name, blocks: vec![spent], latencies }
    }

    fn medians(&self) -> Vec<f64> {
        self.blocks.iter().map(|block| median(block)).collect()
    }

    pub(crate) fn median(&self) -> f64 {
        median(&self.medians())
    }

    /// The time that this share of the scrapes took at most.
    pub(crate) fn latency(&self, share: f64) -> f64 {
        percentile(&self.latencies, share)
    }
}

/// Programs that were scraped in turn.
#[derive(Default)]
pub(crate) struct Regime {
    pub(crate) name: String,
    pub(crate) rows: Vec<Row>,
}

impl Regime {
    pub(crate) fn new(name: &str) -> Regime {
        Regime { name: name.to_owned(), rows: Vec::new() }
    }

    /// Adds blocks of the same programs, in whichever order they come.
    pub(crate) fn extend(&mut self, rows: Vec<Row>) {
        for more in rows {
            match self.rows.iter_mut().find(|row| row.name == more.name) {
                Some(row) => {
                    row.blocks.extend(more.blocks);
                    row.latencies.extend(more.latencies);
                }
                None => self.rows.push(more),
            }
        }
    }

    /// How many processes of each program there were.
    pub(crate) fn blocks(&self) -> usize {
        self.row(VITALD).map_or(0, |row| row.blocks.len())
    }

    /// The same program beside itself, which has to hold 1.
    pub(crate) fn control(&self) -> Option<Interval> {
        self.ratio(CONTROL, VITALD)
    }

    pub(crate) fn row(&self, name: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.name == name)
    }

    /// How many times as much CPU time as the other a program took, of the blocks that both have.
    pub(crate) fn ratio(&self, above: &str, below: &str) -> Option<Interval> {
        let (above, below) = (self.row(above)?, self.row(below)?);
        Some(Interval::of(ratio_of_blocks(&above.blocks, &below.blocks)))
    }
}

/// A figure, and the interval that holds it with 95 % probability.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Interval {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl Interval {
    pub(crate) fn of((median, least, most): (f64, f64, f64)) -> Interval {
        Interval { median, least, most }
    }

    pub(crate) fn holds(&self, value: f64) -> bool {
        self.least <= value && value <= self.most
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = if self.median >= 20.0 { 0 } else { 2 };
        let Interval { median, least, most } = self;
        write!(formatter, "{median:.digits$} [{least:.digits$}..{most:.digits$}]")
    }
}

/// What one program is like on a set of collectors.
#[derive(Default)]
pub(crate) struct Size {
    pub(crate) name: &'static str,
    /// Samples of the host, and of all.
    pub(crate) of_host: usize,
    pub(crate) samples: usize,
    /// The names of those of the host.
    pub(crate) families: BTreeSet<String>,
    pub(crate) bytes: usize,
    pub(crate) resident_kib: u64,
    pub(crate) peak_kib: u64,
    pub(crate) threads: usize,
    /// System calls a scrape by name, where strace may look.
    pub(crate) calls: Option<BTreeMap<String, f64>>,
}

impl Size {
    pub(crate) fn sum_of_calls(&self) -> Option<f64> {
        self.calls.as_ref().map(|calls| calls.values().sum())
    }

    /// The system calls of which there are more a scrape than another one makes, with how many more.
    pub(crate) fn calls_beyond(&self, other: &Size) -> Vec<(&str, f64)> {
        // Less than this is of the moment.
        const LEAST: f64 = 0.2;
        let (Some(here), Some(there)) = (&self.calls, &other.calls) else { return Vec::new() };
        let more = |(name, calls): (&'_ String, &f64)| calls - there.get(name).unwrap_or(&0.0);
        let mut beyond: Vec<(&str, f64)> =
            here.iter().map(|call| (call.0.as_str(), more(call))).collect();
        beyond.retain(|(_, calls)| *calls >= LEAST);
        beyond.sort_by(|one, other| other.1.total_cmp(&one.1));
        beyond
    }
}

/// The bare reader beside vitald.
pub(crate) struct Beside {
    /// What the reader was asked to do.
    pub(crate) asked: Work,
    /// What both were seen to do when they had been measured.
    pub(crate) ours: Work,
    pub(crate) done: Work,
}

/// Everything of one set of collectors.
pub(crate) struct OfSet {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) names: Option<&'static [&'static str]>,
    pub(crate) sizes: Vec<Size>,
    pub(crate) regimes: Vec<Regime>,
    /// What the bare reader does, where there is one.
    pub(crate) work: Option<Beside>,
}

/// One form of a page.
pub(crate) struct Form {
    pub(crate) name: &'static str,
    /// The bytes of each program; none where it answered in another form.
    pub(crate) bytes: Vec<(&'static str, Option<usize>)>,
    pub(crate) regime: Regime,
}

/// A set of collectors on the host of the kernel's that has many interfaces and mounts.
pub(crate) struct Kernels {
    pub(crate) set: &'static str,
    pub(crate) interfaces: usize,
    pub(crate) mounts: usize,
    pub(crate) sizes: Vec<Size>,
    pub(crate) regime: Regime,
}

impl Kernels {
    /// As doubts name it.
    pub(crate) fn place(&self) -> String {
        format!("{} on many interfaces", self.set)
    }
}

/// A host of plain files.
pub(crate) struct Host {
    pub(crate) cpus: usize,
    pub(crate) disks: usize,
    pub(crate) interfaces: usize,
    pub(crate) sizes: Vec<Size>,
    pub(crate) regime: Regime,
}

/// How fast the CPU time of a program grows with the host, block by block: 1 is in proportion.
pub(crate) fn growth(hosts: &[Host], name: &str) -> Option<Interval> {
    let rows: Option<Vec<&Row>> = hosts.iter().map(|host| host.regime.row(name)).collect();
    let rows = rows.filter(|rows| rows.len() > 1)?;
    let sizes: Vec<f64> = hosts.iter().map(|host| host.cpus as f64).collect();
    let blocks = rows.iter().map(|row| row.blocks.len()).min().filter(|blocks| *blocks > 0)?;
    let of_block = |block: usize| {
        let spent: Vec<f64> = rows.iter().map(|row| median(&row.blocks[block])).collect();
        exponent(&sizes, &spent)
    };
    let exponents: Vec<f64> = (0..blocks).map(of_block).collect();
    Some(Interval::of(interval(&exponents)))
}

/// Milliseconds from a program's start to its first page.
pub(crate) struct Starts {
    pub(crate) rows: Vec<(&'static str, Vec<f64>)>,
}

impl Starts {
    /// How many times as long as the other a program takes.
    pub(crate) fn ratio(&self, above: &str, below: &str) -> Option<Interval> {
        let of = |name: &str| self.rows.iter().find(|(other, _)| *other == name);
        Some(Interval::of(ratio(&of(above)?.1, &of(below)?.1)))
    }
}

/// The whole run.
#[derive(Default)]
pub(crate) struct Figures {
    /// Of the machine and of the programs, a line each: what, and which.
    pub(crate) circumstances: Vec<(&'static str, String)>,
    pub(crate) sets: Vec<OfSet>,
    pub(crate) starts: Option<Starts>,
    pub(crate) forms: Vec<Form>,
    pub(crate) kernels: Vec<Kernels>,
    pub(crate) hosts: Vec<Host>,
    /// The load average before the run.
    pub(crate) load: f64,
    /// The share of the CPU time that neither this program nor what it measured had.
    pub(crate) others: f64,
    /// What of a full run was not asked for or is not here.
    pub(crate) left_out: Vec<String>,
    /// What is not as it has to be for the figures to be compared.
    pub(crate) doubts: Vec<String>,
}

#[cfg(test)]
pub(crate) mod tests;
