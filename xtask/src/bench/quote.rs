//! What README.md quotes of a run.

use super::figures::{Figures, Host, Interval, Kernels, Regime};
use super::names::{READER, THEIRS, VITALD};
use std::fmt::Write as _;

/// Between these lines the figures are.
const QUOTE: (&str, &str) = ("<!-- from docs/benchmark.md -->\n", "<!-- to here -->\n");

/// README.md with the figures of this run in the place of those before.
pub(crate) fn quoted_in(readme: &str, figures: &Figures) -> Result<String, String> {
    let (begin, end) = QUOTE;
    let (before, rest) =
        readme.split_once(begin).ok_or_else(|| format!("README.md has no {begin}"))?;
    let (_, after) = rest.split_once(end).ok_or_else(|| format!("README.md has no {end}"))?;
    Ok(format!("{before}{begin}{}{end}{after}", quote(figures)))
}

/// The small machine and the large ones, in words.
fn quote(figures: &Figures) -> String {
    let circumstance = |what: &str| {
        let found = figures.circumstances.iter().find(|(name, _)| *name == what);
        found.map_or("", |(_, which)| which.as_str())
    };
    let machine =
        if circumstance("virtual machine") == "yes" { "virtual machine" } else { "machine" };
    // 2, AMD EPYC
    let (cpus, model) = circumstance("CPUs").split_once(", ").unwrap_or(("unknown", "unknown"));
    let kernel = circumstance("kernel").split(',').next().unwrap_or_default();
    let theirs = circumstance("node_exporter");
    // node_exporter, version 1.5.0 (branch: ...
    let version = theirs.split_once("version ").map_or(theirs, |(_, rest)| rest);
    let version = version.split(' ').next().unwrap_or_default();
    let regimes = figures.sets.first().map_or(&[][..], |set| &set.regimes);
    let mut text = format!(
        "How many times as much CPU time a scrape takes, in a {machine} with {cpus} CPUs ({model}) and {kernel}:\n\
         node_exporter {version} beside vitald with the same collectors, and vitald beside a program that only makes the\n\
         same reads and sends as many bytes (the bare reader). In brackets is the interval that holds it with 95 % probability,\n\
         over {} processes of each. The rows are of these collectors:\n\n",
        processes(figures)
    );
    for set in &figures.sets {
        let _ = writeln!(text, "- `{}`: {}", set.name, set.about);
    }
    text += "\nBack to back everything is warm; at a rate, as a scraper asks, nothing is.\n\n";
    let names: Vec<&str> = regimes.iter().map(|regime| regime.name.as_str()).collect();
    let _ = writeln!(text, "| | {} |", names.join(" | "));
    let _ = writeln!(text, "|---|{}", "---|".repeat(names.len()));
    for set in &figures.sets {
        let mut row = |what: &str, cell: &dyn Fn(&Regime) -> Option<String>| {
            let cells = set.regimes.iter().map(|regime| cell(regime).unwrap_or_default());
            let cells: Vec<String> = cells.collect();
            let _ = writeln!(text, "| {}: {what} | {} |", set.name, cells.join(" | "));
        };
        for (above, below) in [(THEIRS, VITALD), (VITALD, READER)] {
            let ratio = |regime: &Regime| Some(in_short(regime.ratio(above, below)?));
            row(&format!("{above} / {below}"), &ratio);
        }
        let micros = |regime: &Regime| Some(format!("{:.0}", regime.row(VITALD)?.median()));
        row("vitald, microseconds a scrape", &micros);
    }
    text += &of_kernels(&figures.kernels);
    text += &figures.hosts.last().and_then(of_plain_files).unwrap_or_default();
    text
}

/// How many there were of each program: more where the control needed them.
fn processes(figures: &Figures) -> String {
    let blocks = figures.sets.iter().flat_map(|set| set.regimes.iter().map(Regime::blocks));
    match (blocks.clone().min().unwrap_or(0), blocks.max().unwrap_or(0)) {
        (least, most) if least == most => least.to_string(),
        (least, most) => format!("{least} to {most}"),
    }
}

fn in_short(Interval { median, least, most }: Interval) -> String {
    format!("{median:.1} [{least:.1}..{most:.1}]")
}

/// The host with many interfaces.
fn of_kernels(hosts: &[Kernels]) -> String {
    let Some(Kernels { interfaces, mounts, .. }) = hosts.first() else { return String::new() };
    let times = |host: &Kernels| {
        let ratio = in_short(host.regime.ratio(THEIRS, VITALD)?);
        Some(format!("{ratio} times as much with `{}`", host.set))
    };
    let times: Vec<String> = hosts.iter().filter_map(times).collect();
    format!(
        "\nWith {interfaces} interfaces and {mounts} mounts of the kernel node_exporter takes\n{}.\n",
        times.join(", and\n")
    )
}

/// The largest of the hosts of plain files.
fn of_plain_files(host: &Host) -> Option<String> {
    let Host { cpus, disks, interfaces, sizes, regime } = host;
    let times = in_short(regime.ratio(THEIRS, VITALD)?);
    let peak = |name| {
        let size = sizes.iter().find(|size| size.name == name)?;
        Some(size.peak_kib as f64 / 1024.0)
    };
    let (ours, theirs) = (peak(VITALD)?, peak(THEIRS)?);
    Some(format!(
        "\nOf a host with {cpus} CPUs, {disks} disks and {interfaces} interfaces there are only generated plain files. To read them costs\n\
         less than to have a kernel make these texts, which is the same work for both and flatters vitald: there node_exporter\n\
         takes {times} times as much, and {theirs:.0} MiB of memory at the peak, where vitald takes {ours:.0}.\n"
    ))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::bench::figures::tests::figures;

    /// With a place for a quotation.
    pub(crate) const README: &str =
        "before\n<!-- from docs/benchmark.md -->\nold\n<!-- to here -->\nafter\n";

    #[test]
    fn all_processes_are_counted() {
        let mut figures = figures();
        assert_eq!(processes(&figures), "12");
        let again = figures.sets[0].regimes[1].row(VITALD).expect("a row").blocks[0].clone();
        let row = figures.sets[0].regimes[1].rows.iter_mut().find(|row| row.name == VITALD);
        row.expect("a row").blocks.extend(vec![again; 12]);
        assert_eq!(processes(&figures), "12 to 24");
        assert_eq!(processes(&Figures::default()), "0");
    }

    #[test]
    fn the_readme_quotes_the_run_and_keeps_the_rest() {
        let text = quoted_in(README, &figures()).unwrap();
        assert!(text.starts_with("before\n") && text.ends_with("<!-- to here -->\nafter\n"));
        assert!(!text.contains("old\n"));
        for line in [
            "| | back to back | 2 Hz |",
            "| sixteen: node_exporter / vitald | 7.5 [7.5..7.5] | 7.5 [7.5..7.5] |",
            "| sixteen: vitald / bare reader | 2.0 [2.0..2.0] | 2.0 [2.0..2.0] |",
            "| sixteen: vitald, microseconds a scrape | 200 | 200 |",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        for words in [
            "a machine with 2 CPUs (Example) and Linux 6.18:\nnode_exporter 1.5.0 beside vitald",
            "over 12 processes of each. The rows are of these collectors:\n\n- `sixteen`: About it.\n\nBack to back",
            "1001 interfaces and 303 mounts of the kernel node_exporter takes\n\
             7.5 [7.5..7.5] times as much with `sixteen`, and\n7.5 [7.5..7.5] times as much with `default`.",
            "512 CPUs, 2048 disks and 5120 interfaces there are only generated plain files.",
            "takes 7.5 [7.5..7.5] times as much, and 6 MiB of memory at the peak, where vitald takes 6.\n",
        ] {
            assert!(text.contains(words), "{words}\n{text}");
        }
        assert_eq!(quoted_in(&text, &figures()).unwrap(), text);
        assert!(quoted_in("nothing", &figures()).is_err());
    }
}
