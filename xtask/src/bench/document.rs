//! The tables that a run leaves.

use super::figures::{Figures, Form, Host, OfCollector, OfSet, Regime, Row, Size, Starts, growth};
use super::names::{COLLECTD, READER, THEIRS, VITALD};
use crate::system::statistics::median;
use std::fmt::Write as _;

const HEAD: &str = "# Benchmark

Written by `cargo xtask bench`; do not edit. One run, in which each program was scraped in turn, in an order in
which each follows each equally often, over connections that last, with the same headers, and with no result of one
scrape answering the next. CPU time is that of the process, by the kernel's clock for it. Two figures in brackets are
the interval that holds the median with 95 % probability, by the bootstrap over rounds.

- *back to back*: many scrapes of one program, then of the next. Everything is warm.
- *at so many Hz*: one scrape of each in a period, as far from the others as can be, so that all of it is cold. What a
  program spends unasked between scrapes is in the figure.
- *bare reader*: one process with one thread that answers a scrape with the reads that vitald makes in one, as strace
  sees them: the same files, which it keeps open, as many reads of each, into buffers as long, and in rotation what
  vitald reads in rotation. It asks the same file systems for their space, does nothing with what they say, and sends
  as many bytes. It does nothing else: what vitald asks of the kernel besides is named under each table, interfaces
  (netlink) and directories among it.
- *vitald again*: a second process of the same binary and configuration. Its ratio to the first one is the *control*,
  which has to hold 1: differences of that size mean nothing. By chance one in twenty does not hold it; what was then
  measured is measured again, once.

A latency is what the client sees, from the request to the last byte; where there are fewer than a hundred scrapes,
p99 is the slowest.
";

/// The whole document.
pub(crate) fn tables(figures: &Figures) -> String {
    let mut text = HEAD.to_owned();
    text += "\n| the run | |\n|---|---|\n";
    for (what, which) in &figures.circumstances {
        row(&mut text, [(*what).to_owned(), which.clone()]);
    }
    if !figures.doubts.is_empty() {
        text += "\n**Not as it has to be:**\n\n";
        for doubt in &figures.doubts {
            let _ = writeln!(text, "- {doubt}");
        }
    }
    figures.sets.iter().for_each(|set| of_set(&mut text, set));
    if let Some(starts) = &figures.starts {
        of_starts(&mut text, starts);
    }
    of_forms(&mut text, &figures.forms);
    of_hosts(&mut text, &figures.hosts);
    of_collectors(&mut text, &figures.collectors);
    text
}

fn row<const COLUMNS: usize>(text: &mut String, cells: [String; COLUMNS]) {
    let _ = writeln!(text, "| {} |", cells.join(" | "));
}

fn mebibytes(kib: u64) -> String {
    format!("{:.1}", kib as f64 / 1024.0)
}

/// With three digits that count.
fn micros(value: f64) -> String {
    if value < 100.0 { format!("{value:.1}") } else { format!("{value:.0}") }
}

fn or_nothing(value: Option<impl ToString>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}

fn of_set(text: &mut String, set: &OfSet) {
    let _ = write!(text, "\n## The set `{}`\n\n{}", set.name, set.about);
    if let Some(names) = set.names {
        let _ = write!(text, " These are {}.", names.join(", "));
    }
    *text += "\n\n| | samples of the host | all samples | bytes | \
              resident, MiB | peak, MiB | threads | system calls a scrape |\n\
              |---|---|---|---|---|---|---|---|\n";
    for size in &set.sizes {
        of_size(text, size);
    }
    of_work(text, set);
    *text += "\n| | | CPU a scrape, us | latency p50, us | p90, us | p99, us |\n|---|---|---|---|---|---|\n";
    for regime in &set.regimes {
        for program in &regime.rows {
            of_program(text, regime, program);
        }
    }
    *text += "\n| CPU time | rounds | node_exporter / vitald | vitald / bare reader | \
              collectd / vitald | control | holds 1 |\n\
              |---|---|---|---|---|---|---|\n";
    for regime in &set.regimes {
        of_regime(text, regime);
    }
    if set.regimes.iter().any(|regime| regime.row(COLLECTD).is_some()) {
        *text += "\ncollectd has plugins for much the same, reads at an interval of its own, which is the period \
                  here, and shows other samples.\n";
    }
}

fn of_size(text: &mut String, size: &Size) {
    let is_reader = size.name == READER;
    let samples = |number: usize| or_nothing((!is_reader).then_some(number));
    // The bare reader is a part of this program, which is large.
    let memory = |kib: u64| or_nothing((!is_reader).then(|| mebibytes(kib)));
    let calls = size.sum_of_calls();
    row(
        text,
        [
            size.name.to_owned(),
            samples(size.of_host),
            samples(size.samples),
            size.bytes.to_string(),
            memory(size.resident_kib),
            memory(size.peak_kib),
            size.threads.to_string(),
            calls.map_or_else(|| "not counted".to_owned(), |calls| format!("{calls:.1}")),
        ],
    );
}

/// What the bare reader does, and what it does not do.
fn of_work(text: &mut String, set: &OfSet) {
    let (reads, files) = set.work.reads();
    let _ = write!(
        text,
        "\nA scrape of the bare reader is {reads} reads of {files} files, and asks for the space of {} file systems.",
        set.work.mounts.len()
    );
    let of = |name: &str| set.sizes.iter().find(|size| size.name == name);
    if let Some((ours, bare)) = of(VITALD).zip(of(READER)) {
        let beyond = |one: &Size, other: &Size| -> String {
            let calls = one.calls_beyond(other);
            let calls = calls.iter().map(|(name, calls)| format!("{calls:.1} {name}"));
            calls.collect::<Vec<_>>().join(", ")
        };
        for (who, whom, calls) in
            [("vitald", "it", beyond(ours, bare)), ("It", "vitald", beyond(bare, ours))]
        {
            if !calls.is_empty() {
                let _ = write!(text, " {who} makes {calls} a scrape more than {whom}.");
            }
        }
    }
    *text += "\n";
}

fn of_program(text: &mut String, regime: &Regime, program: &Row) {
    let latency = |share| micros(program.latency(share));
    row(
        text,
        [
            regime.name.clone(),
            program.name.to_owned(),
            micros(program.median()),
            latency(0.5),
            latency(0.9),
            latency(0.99),
        ],
    );
}

fn of_regime(text: &mut String, regime: &Regime) {
    let ratio = |above, below| or_nothing(regime.ratio(above, below));
    let control = regime.control();
    let holds = control.map(|control| {
        let holds = if control.holds(1.0) { "yes" } else { "**no**" };
        let before = regime.control_before.map(|before| format!("; the first time {before}"));
        holds.to_owned() + &before.unwrap_or_default()
    });
    row(
        text,
        [
            regime.name.clone(),
            or_nothing(regime.row(VITALD).map(|row| row.spent.len())),
            ratio(THEIRS, VITALD),
            ratio(VITALD, READER),
            ratio(COLLECTD, VITALD),
            or_nothing(control),
            or_nothing(holds),
        ],
    );
}

fn of_starts(text: &mut String, starts: &Starts) {
    *text += "\n## From the start of the process to the end of the first page\n\n\
              The set `sixteen`, a new process each time, in turn.\n\n\
              | | median, ms | fastest, ms | slowest, ms | node_exporter / vitald |\n|---|---|---|---|---|\n";
    for (name, times) in &starts.rows {
        let cell = |value: Option<f64>| or_nothing(value.map(|value| format!("{value:.1}")));
        let least = times.iter().copied().min_by(f64::total_cmp);
        let most = times.iter().copied().max_by(f64::total_cmp);
        let middle = least.map(|_| median(times));
        let ratio = starts.ratio(THEIRS, VITALD).filter(|_| *name == VITALD);
        row(text, [(*name).to_owned(), cell(middle), cell(least), cell(most), or_nothing(ratio)]);
    }
}

fn of_forms(text: &mut String, forms: &[Form]) {
    *text += "\n## Forms of the page\n\nThe set `sixteen`, back to back.\n\n\
              | | program | bytes | CPU a scrape, us | node_exporter / vitald |\n|---|---|---|---|---|\n";
    for form in forms {
        for (name, bytes) in &form.bytes {
            let spent = form.regime.row(name).map(|row| micros(row.median()));
            let ratio = form.regime.ratio(THEIRS, VITALD).filter(|_| *name == VITALD);
            let is_same = form.bytes.iter().all(|(_, bytes)| bytes.is_some());
            row(
                text,
                [
                    form.name.to_owned(),
                    (*name).to_owned(),
                    bytes.map_or_else(
                        || "answers in another form".to_owned(),
                        |bytes| bytes.to_string(),
                    ),
                    or_nothing(spent.filter(|_| bytes.is_some())),
                    or_nothing(ratio.filter(|_| is_same)),
                ],
            );
        }
    }
}

fn of_hosts(text: &mut String, hosts: &[Host]) {
    *text += "\n## Large hosts\n\nThe set `sixteen` on generated trees of files, in \
              which disks, interfaces and the interrupts of `/proc/stat` grow with \
              the CPUs; 8 mounts. Before each scrape every counter of every CPU, disk and interface has counted on, \
              which is more than changes on a real host. The trees are no procfs: there vitald keeps \
              files open, and here each is opened, read and closed.\n\n\
              | CPUs | disks | interfaces | program | samples | CPU a scrape, ms | \
              latency p50, ms | resident, MiB | peak, MiB | node_exporter / vitald |\n\
              |---|---|---|---|---|---|---|---|---|---|\n";
    for host in hosts {
        for size in &host.sizes {
            let program = host.regime.row(size.name);
            let cell =
                |value: Option<f64>| or_nothing(value.map(|micros| format!("{:.2}", micros / 1e3)));
            let ratio = host.regime.ratio(THEIRS, VITALD).filter(|_| size.name == VITALD);
            row(
                text,
                [
                    host.cpus.to_string(),
                    host.disks.to_string(),
                    host.interfaces.to_string(),
                    size.name.to_owned(),
                    size.samples.to_string(),
                    cell(program.map(Row::median)),
                    cell(program.map(|row| row.latency(0.5))),
                    mebibytes(size.resident_kib),
                    mebibytes(size.peak_kib),
                    or_nothing(ratio),
                ],
            );
        }
    }
    *text += "\nCPU time grows with this power of the size of the host, of \
              which 1 is in proportion:\n\n| | exponent |\n|---|---|\n";
    for name in [VITALD, THEIRS] {
        if let Some(exponent) = growth(hosts, name) {
            row(text, [name.to_owned(), exponent.to_string()]);
        }
    }
}

fn of_collectors(text: &mut String, collectors: &[OfCollector]) {
    *text += "\n## Each collector\n\nHow long a run takes by each program's own account, \
              the set `default`, ten scrapes a second, in microseconds: \
              `GET /plugins` of vitald, \
              `node_scrape_collector_duration_seconds` of node_exporter. This is not CPU time. node_exporter runs its \
              collectors at the same time, so that they wait for each other.\n\n\
              | collector | node_exporter | vitald | how many times |\n|---|---|---|---|\n";
    for OfCollector { name, there, here } in collectors {
        let times = there.zip(*here).map(|(there, here)| format!("{:.1}", there / here));
        row(
            text,
            [
                name.clone(),
                or_nothing(there.map(micros)),
                or_nothing(here.map(micros)),
                or_nothing(times),
            ],
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::figures::tests::figures;

    #[test]
    fn what_is_in_the_tables() {
        let text = tables(&figures());
        for line in [
            "| CPUs | 2 of Example |",
            "- It is doubtful.",
            "| vitald | 384 | 450 | 49000 | 5.0 | 6.0 | 3 | 45.0 |",
            "| collectd | 384 | 450 | 49000 | 5.0 | 6.0 | 3 | not counted |",
            "| bare reader |  |  | 49000 |  |  | 3 | 27.0 |",
            "A scrape of the bare reader is 4 reads of 2 files, and asks for the space of 1 file systems. vitald \
             makes 20.0 futex a scrape more than it. It makes 2.0 read a scrape more than vitald.",
            "| 2 Hz | node_exporter | 1500 | 1500 | 1500 | 1500 |",
            "| back to back | 3 | 7.50 [7.50..7.50] | 2.00 [2.00..2.00] |  | 1.00 [1.00..1.00] | yes |",
            "| 2 Hz | 3 | 7.50 [7.50..7.50] | 2.00 [2.00..2.00] |  | 1.00 [1.00..1.00] | yes; the first time 1.04 [1.02..1.06] |",
            "| vitald | 5.0 | 4.0 | 6.0 | 4.00 [4.00..4.00] |",
            "| node_exporter | 20.0 | 16.0 | 24.0 |  |",
            "| gzip | node_exporter | answers in another form |  |  |",
            "| loadavg | 50.0 | 5.0 | 10.0 |",
            "| watchdog |  | 6.0 |  |",
            "| 64 | 256 | 640 | vitald | 450 | 0.20 | 0.20 | 5.0 | 6.0 | 7.50 [7.50..7.50] |",
            "| vitald | 0.00 [0.00..0.00] |",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        // Every row of a table has as many cells as its heading.
        let mut columns = None;
        for line in text.lines() {
            let cells = line.starts_with('|').then(|| line.matches('|').count());
            assert!(cells.is_none() || columns.is_none() || cells == columns, "{line}");
            columns = cells;
        }
    }
}
