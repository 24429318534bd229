//! What README.md quotes of a run.

use super::figures::{Figures, Host, Interval, Regime};
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

/// The small machine and the large one, in words.
fn quote(figures: &Figures) -> String {
    let circumstance = |what: &str| {
        let found = figures.circumstances.iter().find(|(name, _)| *name == what);
        found.map_or("", |(_, which)| which.as_str())
    };
    let mut text = String::new();
    let machine =
        if circumstance("virtual machine") == "yes" { "virtual machine" } else { "machine" };
    let (cpus, kernel) = (circumstance("CPUs"), circumstance("kernel"));
    let cpus = cpus.split(',').next().unwrap_or_default();
    let kernel = kernel.split(',').next().unwrap_or_default();
    let theirs = circumstance("node_exporter");
    // node_exporter, version 1.5.0 (branch: ...
    let version = theirs.split_once("version ").map_or(theirs, |(_, rest)| rest);
    let version = version.split(' ').next().unwrap_or_default();
    let _ = writeln!(
        text,
        "How many times as much CPU time a scrape takes, in a {machine} with {cpus} CPUs and {kernel}:\n\
         node_exporter {version} beside vitald with the same collectors, and vitald beside a program that only makes the\n\
         same reads and sends as many bytes. Where scrapes are seconds apart, the columns of the low rates count.\n"
    );
    if figures.is_busy {
        text += "**The machine was busy when this was measured.**\n\n";
    }
    let regimes = figures.sets.first().map_or(&[][..], |set| &set.regimes);
    let names: Vec<&str> = regimes.iter().map(|regime| regime.name.as_str()).collect();
    let _ = writeln!(text, "| | {} |", names.join(" | "));
    let _ = writeln!(text, "|---|{}", "---|".repeat(names.len()));
    for set in &figures.sets {
        for (above, below) in [(THEIRS, VITALD), (VITALD, READER)] {
            let ratio = |regime: &Regime| regime.ratio(above, below);
            let cell = |ratio: Interval| format!("{:.1}", ratio.median);
            let ratios: Vec<Interval> = set.regimes.iter().filter_map(ratio).collect();
            if !ratios.is_empty() {
                let cells: Vec<String> = ratios.into_iter().map(cell).collect();
                let _ =
                    writeln!(text, "| {}: {above} / {below} | {} |", set.name, cells.join(" | "));
            }
        }
    }
    text += &figures.hosts.last().and_then(large).unwrap_or_default();
    text
}

/// The largest of the generated hosts.
fn large(host: &Host) -> Option<String> {
    let Host { cpus, disks, interfaces, sizes, regime } = host;
    let times = regime.ratio(THEIRS, VITALD)?.median;
    let peak = |name| {
        let size = sizes.iter().find(|size| size.name == name)?;
        Some(size.peak_kib as f64 / 1024.0)
    };
    let (ours, theirs) = (peak(VITALD)?, peak(THEIRS)?);
    Some(format!(
        "\nOn a generated host with {cpus} CPUs, {disks} disks and {interfaces} interfaces node_exporter takes {times:.0} times \
         as much,\nand {theirs:.0} MiB of memory at the peak, where vitald takes {ours:.0}.\n"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::figures::tests::figures;

    #[test]
    fn the_readme_quotes_the_run_and_keeps_the_rest() {
        let (begin, end) = QUOTE;
        let readme = format!("before\n{begin}old\n{end}after\n");
        let text = quoted_in(&readme, &figures()).unwrap();
        assert!(text.starts_with("before\n") && text.ends_with(&format!("{end}after\n")));
        assert!(!text.contains("old\n"));
        for line in [
            "| | back to back | 2 Hz |",
            "| sixteen: node_exporter / vitald | 7.5 | 7.5 |",
            "| sixteen: vitald / bare reader | 2.0 | 2.0 |",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        assert!(!text.contains("busy"));
        let busy = Figures { is_busy: true, ..figures() };
        assert!(quoted_in(&readme, &busy).unwrap().contains("busy"));
        let large = "512 CPUs, 2048 disks and 5120 interfaces node_exporter takes 8 times as much,\n\
                     and 6 MiB of memory at the peak, where vitald takes 6.\n";
        assert!(text.contains(large), "{text}");
        assert_eq!(quoted_in(&text, &figures()).unwrap(), text);
        assert!(quoted_in("nothing", &figures()).is_err());
    }
}
