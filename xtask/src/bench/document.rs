//! The tables that a run leaves.

use super::doubts::notes;
use super::figures::{
    Beside, Figures, Form, Host, Kernels, OfSet, Regime, Row, Size, Starts, growth,
};
use super::names::{COLLECTD, READER, THEIRS, VITALD};
use super::work;
use crate::system::statistics::median;
use std::fmt::Write as _;

const HEAD: &str = "# Benchmark

Written by `cargo xtask bench`; do not edit. One run on one machine with one version of each program. They were scraped in turn over
connections that last, with the same headers, and with no result of one scrape answering the next. CPU time is that of
the process, by the kernel's clock for it.

- *block*: each program is started anew, is warmed, and is measured in some rounds, whose median counts as one value: how a
  process lies in memory is in all of its rounds. Two figures in brackets are the interval that holds the median
  over blocks with 95 % probability, by the bootstrap over blocks.
- *order*: within a block it is the same in each round, from one round to the next as within one, and each block has another
  one: over all blocks each program comes right after each other one equally often, in both directions.
- *back to back*: many scrapes of one program, then of the next. Everything is warm.
- *at a rate*: one scrape of each in a period, all sets side by side and as far apart as can be, so that all of it
  is cold. What a program spends unasked between scrapes is in the figure.
- *bare reader*: one process with one thread that answers a scrape with the reads that vitald makes in one, as strace
  sees them: the same files, which it keeps open, as many reads of each, into buffers as long. Of what hardly changes, which
  vitald reads in turn by the clock, it reads as much in a scrape as vitald does back to back; at a rate vitald reads more of
  it, and this counts against vitald. It asks the same file systems for their space, does nothing with what they say, and sends
  as many bytes. It does nothing else: what vitald asks of the kernel besides is named under each table, interfaces
  (netlink) and directories among it.
- *vitald again*: other processes of the same binary and configuration. Their ratio to the first ones is the *control*,
  which has to hold 1: differences of that size mean nothing. By chance one in twenty does not hold it; then as many
  blocks again were measured, and all of them count.

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
    row(&mut text, ["load average before the run".to_owned(), format!("{:.2}", figures.load)]);
    let others = format!("{:.0} %", figures.others * 100.0);
    row(&mut text, ["CPU time of others during the run".to_owned(), others]);
    let against = [&figures.left_out[..], &figures.doubts].concat();
    for (title, lines) in
        [("Not for quoting", against), ("vitald shows more, and it counts", notes(figures))]
    {
        if !lines.is_empty() {
            let lines: String = lines.iter().map(|line| format!("- {line}\n")).collect();
            let _ = write!(text, "\n**{title}:**\n\n{lines}");
        }
    }
    figures.sets.iter().for_each(|set| of_set(&mut text, set));
    if let Some(starts) = &figures.starts {
        of_starts(&mut text, starts);
    }
    of_forms(&mut text, &figures.forms);
    of_kernels(&mut text, &figures.kernels);
    of_hosts(&mut text, &figures.hosts);
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
    *text += "\n| CPU time | blocks | node_exporter / vitald | vitald / bare reader | \
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
    let Some(Beside { asked, ours, done }) = &set.work else { return };
    let (reads, files) = asked.reads();
    let _ = write!(
        text,
        "\nA scrape of the bare reader is {reads} reads of {files} files, and asks for the space of {} file systems.",
        asked.mounts.len()
    );
    let [not_by_reader, not_by_vitald] = [ours.beyond(done), done.beyond(ours)];
    if not_by_reader.is_empty() && not_by_vitald.is_empty() {
        *text += " vitald was seen to read and to ask the same, beside what is read in turn.";
    }
    for (who, what) in [("vitald", not_by_reader), ("It", not_by_vitald)] {
        if !what.is_empty() {
            let _ = write!(text, " {who} alone reads or asks, or more often: {}.", what.join(", "));
        }
    }
    let of = |name: &str| set.sizes.iter().find(|size| size.name == name);
    if let Some((ours, bare)) = of(VITALD).zip(of(READER)) {
        let beyond = |one: &Size, other: &Size| -> String {
            let mut calls = one.calls_beyond(other);
            // They were compared by what they are of.
            calls.retain(|(name, _)| !work::CALLS.contains(name));
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
    let holds = control.map(|control| if control.holds(1.0) { "yes" } else { "**no**" });
    row(
        text,
        [
            regime.name.clone(),
            regime.blocks().to_string(),
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

/// The columns that both kinds of large hosts have: the time of a scrape, and memory.
fn of_large(regime: &Regime, size: &Size) -> [String; 6] {
    let program = regime.row(size.name);
    let cell = |value: Option<f64>| or_nothing(value.map(|micros| format!("{:.2}", micros / 1e3)));
    let ratio = regime.ratio(THEIRS, VITALD).filter(|_| size.name == VITALD);
    [
        size.samples.to_string(),
        cell(program.map(Row::median)),
        cell(program.map(|row| row.latency(0.5))),
        mebibytes(size.resident_kib),
        mebibytes(size.peak_kib),
        or_nothing(ratio),
    ]
}

const COLUMNS_OF_LARGE: &str = "program | samples | CPU a scrape, ms | latency p50, ms | resident, MiB | peak, MiB | \
                                node_exporter / vitald |";

fn of_kernels(text: &mut String, hosts: &[Kernels]) {
    let _ = write!(
        text,
        "\n## Many interfaces and mounts of the kernel\n\nReal ones, in namespaces made for the run: pairs of virtual interfaces \
         that are up and connected, through each of which a packet went before each scrape, and file systems in memory. \
         CPUs and disks are those of the machine. `default` also reads the attributes of interfaces in sysfs.\n\n\
         | set | interfaces | mounts | {COLUMNS_OF_LARGE}\n|---|---|---|---|---|---|---|---|---|---|\n"
    );
    for host in hosts {
        for size in &host.sizes {
            let of_host =
                [host.set.to_owned(), host.interfaces.to_string(), host.mounts.to_string()];
            let cells = [&of_host[..], &[size.name.to_owned()], &of_large(&host.regime, size)];
            let _ = writeln!(text, "| {} |", cells.concat().join(" | "));
        }
    }
    for host in hosts {
        if let Some(control) = host.regime.control() {
            let holds = if control.holds(1.0) { "holds 1" } else { "does **not** hold 1" };
            let blocks = host.regime.blocks();
            let _ = writeln!(
                text,
                "\nThe control of `{}`, in {blocks} blocks: {control}, which {holds}.",
                host.set
            );
        }
    }
}

fn of_hosts(text: &mut String, hosts: &[Host]) {
    let _ = write!(
        text,
        "\n## Large hosts of plain files\n\nThe set `sixteen` on generated trees of plain files, in \
         which disks, interfaces and the interrupts of `/proc/stat` grow with the CPUs; 8 mounts. **This flatters vitald**: to \
         read such a file costs less than to have the kernel make the text of one in procfs or sysfs, and this cost, which \
         is the same for both programs, is missing from both. On a real host of this size the ratio is likely to be smaller. Against \
         vitald there is that it opens and closes each file here, where it keeps those of procfs open, and that before each \
         round every counter of every CPU, disk and interface has counted on.\n\n\
         | CPUs | disks | interfaces | {COLUMNS_OF_LARGE}\n|---|---|---|---|---|---|---|---|---|---|\n"
    );
    for host in hosts {
        for size in &host.sizes {
            let of_host = [host.cpus, host.disks, host.interfaces].map(|number| number.to_string());
            let cells = [&of_host[..], &[size.name.to_owned()], &of_large(&host.regime, size)];
            let _ = writeln!(text, "| {} |", cells.concat().join(" | "));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::figures::tests::figures;

    #[test]
    fn what_is_in_the_tables() {
        let doubts = vec!["It is doubtful.".to_owned()];
        let left_out = vec!["It is not all.".to_owned()];
        let text = tables(&Figures { doubts, left_out, load: 0.25, others: 0.03, ..figures() });
        for line in [
            "| CPUs | 2, Example |",
            "| load average before the run | 0.25 |",
            "| CPU time of others during the run | 3 % |",
            "- It is doubtful.",
            "- It is not all.",
            "| vitald | 384 | 450 | 49000 | 5.0 | 6.0 | 3 | 45.9 |",
            "| collectd | 384 | 450 | 49000 | 5.0 | 6.0 | 3 | not counted |",
            "| bare reader |  |  | 49000 |  |  | 3 | 27.0 |",
            "A scrape of the bare reader is 4 reads of 2 files, and asks for the space of 1 file systems. vitald \
             was seen to read and to ask the same, beside what is read in turn. vitald \
             makes 20.0 futex a scrape more than it. It makes 2.0 read a scrape more than vitald.",
            "| 2 Hz | node_exporter | 1500 | 1500 | 1500 | 1500 |",
            "| back to back | 12 | 7.50 [7.50..7.50] | 2.00 [2.00..2.00] |  | 1.00 [1.00..1.00] | yes |",
            "| vitald | 5.0 | 4.0 | 6.0 | 4.00 [4.00..4.00] |",
            "| node_exporter | 20.0 | 16.0 | 24.0 |  |",
            "| gzip | node_exporter | answers in another form |  |  |",
            "| default | 1001 | 303 | node_exporter | 450 | 1.50 | 1.50 | 5.0 | 6.0 |  |",
            "The control of `default`, in 12 blocks: 1.00 [1.00..1.00], which holds 1.",
            "| 64 | 256 | 640 | vitald | 450 | 0.20 | 0.20 | 5.0 | 6.0 | 7.50 [7.50..7.50] |",
            "| vitald | 0.00 [0.00..0.00] |",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        let mut differ = figures();
        for beside in differ.sets.iter_mut().filter_map(|set| set.work.as_mut()) {
            beside.done.readings.remove(0);
            beside.ours.mounts.clear();
        }
        let said = " vitald alone reads or asks, or more often: /proc/stat, 2 reads more in all. It alone reads or \
                    asks, or more often: /. vitald makes 20.0";
        assert!(tables(&differ).contains(said), "{}", tables(&differ));
        // Every row of a table has as many cells as its heading.
        let mut columns = None;
        for line in text.lines() {
            let cells = line.starts_with('|').then(|| line.matches('|').count());
            assert!(cells.is_none() || columns.is_none() || cells == columns, "{line}");
            columns = cells;
        }
    }
}
