//! `once` and `plugins`: one collection, printed.

use super::collections::Collections;
use super::load::{config_file, load};
use super::registry::Registry;
use super::terminal::{columns, complain, folded, print, printable, refuse};
use crate::encode::{Encoder, Format, json_number};
use crate::engine::CollectorStatus;
use crate::outputs::table::Table;
use crate::plan::Plan;
use crate::privileges;
use clap::ArgMatches;
use serde_json::{Map, Value, json};
use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Instant;
use vitald_core::collector::Descriptor;
use vitald_core::sealer::Sealer;
use vitald_core::shape::SeriesRef;
use vitald_core::snapshot::{Part, Snapshot, State};

/// The columns of a summary, however narrow the terminal is.
const LEAST_SUMMARY: usize = 20;

/// Collects once and prints.
pub(super) fn once(own: &ArgMatches, registry: Registry<'_>) -> ExitCode {
    let mut plan = match load(own, registry) {
        Ok(plan) => plan,
        Err(mistakes) => return refuse(&mistakes),
    };
    if let Some(names) = own.get_many::<String>("collectors") {
        let names: Vec<&String> = names.collect();
        for collector in &mut plan.collectors {
            collector.enabled = names.iter().any(|name| *name == collector.descriptor.name);
        }
    }
    let (snapshot, status) = match collect(&plan) {
        Ok(collected) => collected,
        Err(status) => return status,
    };
    let printed = show(own, &snapshot);
    // What was asked for by name and gave nothing is worth more than a word in a table.
    let faults = status
        .iter()
        .filter(|status| !status.state.is_success())
        .filter(|status| status.state != State::Absent || own.contains_id("collectors"));
    let mut reported = false;
    for fault in faults {
        let (name, state) = (fault.descriptor.name, fault.state.word());
        complain(&format_args!("vitald: {name}: {state}: {}", fault.reason()));
        reported = true;
    }
    if reported { ExitCode::FAILURE } else { printed }
}

fn show(own: &ArgMatches, snapshot: &Snapshot) -> ExitCode {
    match own.get_one::<String>("format").map_or("table", String::as_str) {
        "text" => {
            let mut page = Vec::new();
            Encoder::new(Format::Text).encode(snapshot, &mut page);
            print(&String::from_utf8_lossy(&page))
        }
        "json" => print(&format!("{:#}\n", as_json(snapshot))),
        _ => print(&Table::new().render(snapshot, None, Instant::now())),
    }
}

/// Lists what is compiled in, with its state and cost on this host.
pub(super) fn plugins(own: &ArgMatches, registry: Registry<'_>) -> ExitCode {
    let plan = match load(own, registry) {
        Ok(plan) => plan,
        Err(mistakes) => return refuse(&mistakes),
    };
    if own.get_flag("systemd") {
        let file = config_file(own)
            .map_or_else(|| "the built-in defaults".to_owned(), |file| file.display().to_string());
        let drop_in = privileges::drop_in(&privileges::needs(&plan.collectors));
        return print(&printable(&format!("# By vitald plugins --systemd, for {file}\n{drop_in}")));
    }
    let (snapshot, statuses) = match collect(&plan) {
        Ok(collected) => collected,
        Err(status) => return status,
    };
    let rows: Vec<[String; 5]> =
        registry.collectors.iter().map(|descriptor| row(descriptor, &snapshot)).collect();
    // A pipe has no end of a line.
    let columns = columns().unwrap_or(usize::MAX);
    let mut text = table(&rows, columns);
    for output in &plan.outputs {
        let (name, of_type, summary) =
            (&output.name, output.descriptor.name, output.descriptor.summary);
        let state = if output.enabled { "on" } else { "off" };
        let of_type =
            if **name == *of_type { String::new() } else { format!(", of type {of_type}") };
        let line = format!("output {name} ({state}{of_type}): {summary}");
        let _ = writeln!(text, "\n{}", folded(&line, columns, 2));
    }
    let advice = privileges::advice(&privileges::shortfalls(&statuses, &plan.roots));
    if !advice.is_empty() {
        text.push('\n');
        for line in advice.lines() {
            // What goes into a unit is one line there, too.
            let columns = if line.contains('=') { usize::MAX } else { columns };
            let _ = writeln!(text, "{}", folded(line, columns, 2));
        }
    }
    print(&text)
}

/// What is said of a collector.
fn row(descriptor: &Descriptor, snapshot: &Snapshot) -> [String; 5] {
    let part = snapshot.parts().iter().find(|part| part.descriptor.name == descriptor.name);
    let state = part.map_or(State::Off, |part| part.state).word();
    let (samples, cost) = part.map_or_else(Default::default, |part| {
        let samples = part.run.as_ref().map_or(0, |run| run.len());
        (samples.to_string(), format!("{:.0} us", part.duration.as_secs_f64() * 1e6))
    });
    [descriptor.name.to_owned(), state.to_owned(), samples, cost, descriptor.summary.to_owned()]
}

/// The list of collectors. Summaries have what room is left of a line, and go on below themselves.
fn table(rows: &[[String; 5]], columns: usize) -> String {
    let heading = ["COLLECTOR", "STATE", "SAMPLES", "COST", "SUMMARY"].map(str::to_owned);
    let all = || std::iter::once(&heading).chain(rows);
    let [name, state, samples, cost] =
        [0, 1, 2, 3].map(|column| all().map(|row| row[column].len()).max().unwrap_or(0));
    let before = name + state + samples + cost + 4 * 2;
    let mut text = String::new();
    for [of_name, of_state, of_samples, of_cost, summary] in all() {
        let line = format!(
            "{of_name:name$}  {of_state:state$}  {of_samples:>samples$}  {of_cost:>cost$}  "
        );
        let room = columns.saturating_sub(before).max(LEAST_SUMMARY);
        for (number, summary) in folded(summary, room, 0).lines().enumerate() {
            let _ = match number {
                0 => writeln!(text, "{line}{summary}"),
                _ => writeln!(text, "{:before$}{summary}", ""),
            };
        }
    }
    text
}

/// Runs what a plan asks for: twice, since the first run opens what later ones keep open.
fn collect(plan: &Plan) -> Result<(Snapshot, Vec<CollectorStatus>), ExitCode> {
    let collections = Collections::begin(plan)?;
    let snapshot = Sealer::new(None).seal(&mut collections.next()).clone();
    Ok((snapshot, collections.engine.status()))
}

fn as_json(snapshot: &Snapshot) -> Value {
    let mut parts: Vec<(usize, &Part)> = snapshot.parts().iter().enumerate().collect();
    parts.sort_by_key(|(_, part)| part.descriptor.name);
    let collectors = parts.into_iter().map(|(at, part)| {
        let samples = snapshot.samples_of(at);
        let samples: Vec<Value> = samples.map(|found| sample(&found.series, found.value)).collect();
        json!({
            "name": part.descriptor.name,
            "state": part.state.word(),
            "duration_seconds": part.duration.as_secs_f64(),
            "samples": samples,
        })
    });
    json!({ "collectors": collectors.collect::<Vec<_>>() })
}

fn sample(series: &SeriesRef<'_>, value: f64) -> Value {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let labels: Map<String, Value> =
        series.labels().map(|(name, label)| (text(name), Value::from(text(label)))).collect();
    json!({
        "name": format!("{}{}", text(series.family_name()), series.suffix().text()),
        "type": series.kind().word(),
        "labels": labels,
        "value": json_number(value),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn the_list_of_collectors_keeps_to_the_columns_of_the_terminal() {
        let row = |cells: [&str; 5]| cells.map(str::to_owned);
        let rows = [
            row(["arp", "running", "1", "114 us", "Entries of the ARP table, by interface"]),
            row(["cpu_vulnerabilities", "off", "", "", "Vulnerabilities of the CPU"]),
        ];
        expect![[r#"
            COLLECTOR            STATE    SAMPLES    COST  SUMMARY
            arp                  running        1  114 us  Entries of the ARP table, by interface
            cpu_vulnerabilities  off                       Vulnerabilities of the CPU
        "#]]
        .assert_eq(&table(&rows, usize::MAX));
        expect![[r#"
            COLLECTOR            STATE    SAMPLES    COST  SUMMARY
            arp                  running        1  114 us  Entries of the ARP table, by
                                                           interface
            cpu_vulnerabilities  off                       Vulnerabilities of the CPU
        "#]]
        .assert_eq(&table(&rows, 80));
    }
}
