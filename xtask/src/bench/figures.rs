//! What was measured.

use super::names::{CONTROL, VITALD};
use super::work::Work;
use crate::system::statistics::{exponent, interval, median, percentile, ratio};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// What one program took, in microseconds.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    /// CPU time of a scrape, round by round.
    pub(crate) spent: Vec<f64>,
    /// How long scrapes took, as the client saw it.
    latencies: Vec<f64>,
}

impl Row {
    /// Of nanoseconds of rounds with so many scrapes, and of the seconds that scrapes took.
    pub(crate) fn new(
        name: &'static str,
        (rounds, mut latencies): (Vec<f64>, Vec<f64>),
        scrapes: usize,
    ) -> Row {
        latencies.iter_mut().for_each(|seconds| *seconds *= 1e6);
        let spent = rounds.iter().map(|round| round / 1e3 / scrapes as f64).collect();
        Row { name, spent, latencies }
    }

    pub(crate) fn median(&self) -> f64 {
        median(&self.spent)
    }

    /// The time that this share of the scrapes took at most.
    pub(crate) fn latency(&self, share: f64) -> f64 {
        percentile(&self.latencies, share)
    }
}

/// Programs that were scraped in turn.
pub(crate) struct Regime {
    pub(crate) name: String,
    pub(crate) rows: Vec<Row>,
    /// What the control was the first time, where this is the second.
    pub(crate) control_before: Option<Interval>,
}

impl Regime {
    pub(crate) fn of(name: &str, rows: Vec<Row>) -> Regime {
        Regime { name: name.to_owned(), rows, control_before: None }
    }

    /// The same program beside itself, which has to hold 1.
    pub(crate) fn control(&self) -> Option<Interval> {
        self.ratio(CONTROL, VITALD)
    }

    /// Adds the rounds of another one over the same programs.
    pub(crate) fn extend(&mut self, other: Regime) {
        for (row, more) in self.rows.iter_mut().zip(other.rows) {
            row.spent.extend(more.spent);
            row.latencies.extend(more.latencies);
        }
    }

    pub(crate) fn row(&self, name: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.name == name)
    }

    /// How many times as much CPU time as the other a program took, of the rounds that both have.
    pub(crate) fn ratio(&self, above: &str, below: &str) -> Option<Interval> {
        let (above, below) = (self.row(above)?, self.row(below)?);
        Some(Interval::of(ratio(&above.spent, &below.spent)))
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

/// Everything of one set of collectors.
pub(crate) struct OfSet {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) names: Option<&'static [&'static str]>,
    pub(crate) sizes: Vec<Size>,
    pub(crate) regimes: Vec<Regime>,
    /// What the bare reader does.
    pub(crate) work: Work,
}

/// One form of a page.
pub(crate) struct Form {
    pub(crate) name: &'static str,
    /// The bytes of each program; none where it answered in another form.
    pub(crate) bytes: Vec<(&'static str, Option<usize>)>,
    pub(crate) regime: Regime,
}

/// A generated host.
pub(crate) struct Host {
    pub(crate) cpus: usize,
    pub(crate) disks: usize,
    pub(crate) interfaces: usize,
    pub(crate) sizes: Vec<Size>,
    pub(crate) regime: Regime,
}

/// How fast the CPU time of a program grows with the host, round by round: 1 is in proportion.
pub(crate) fn growth(hosts: &[Host], name: &str) -> Option<Interval> {
    let rows: Option<Vec<&Row>> = hosts.iter().map(|host| host.regime.row(name)).collect();
    let rows = rows.filter(|rows| rows.len() > 1)?;
    let sizes: Vec<f64> = hosts.iter().map(|host| host.cpus as f64).collect();
    let rounds = rows.iter().map(|row| row.spent.len()).min().filter(|rounds| *rounds > 0)?;
    let of_round = |round: usize| {
        let spent: Vec<f64> = rows.iter().map(|row| row.spent[round]).collect();
        exponent(&sizes, &spent)
    };
    let exponents: Vec<f64> = (0..rounds).map(of_round).collect();
    Some(Interval::of(interval(&exponents)))
}

/// What a collector takes by each program's own account, in microseconds.
pub(crate) struct OfCollector {
    pub(crate) name: String,
    pub(crate) there: Option<f64>,
    pub(crate) here: Option<f64>,
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
    pub(crate) hosts: Vec<Host>,
    pub(crate) collectors: Vec<OfCollector>,
    /// What is not as it has to be for the figures to be compared.
    pub(crate) doubts: Vec<String>,
    /// Whether the machine had other work.
    pub(crate) is_busy: bool,
    /// A doubt that makes the whole run worthless.
    pub(crate) is_worthless: bool,
}

#[cfg(test)]
pub(crate) mod tests;
