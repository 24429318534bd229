//! `once` and `plugins`: one collection, printed.

use super::collections::Collections;
use super::load::{config_file, load};
use super::registry::Registry;
use super::terminal::{complain, print, printable, refuse};
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
use vitald_core::sealer::Sealer;
use vitald_core::shape::SeriesRef;
use vitald_core::snapshot::{Part, Snapshot, State};

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
    let width = registry.collectors.iter().map(|d| d.name.len()).max().unwrap_or(0).max(9);
    let mut text = format!(
        "{:width$}  {:9}  {:>8}  {:>9}  SUMMARY\n",
        "COLLECTOR", "STATE", "SAMPLES", "COST"
    );
    for descriptor in registry.collectors {
        let part = snapshot.parts().iter().find(|part| part.descriptor.name == descriptor.name);
        let state = part.map_or(State::Off, |part| part.state).word();
        let (samples, cost) = part.map_or_else(Default::default, |part| {
            let samples = part.run.as_ref().map_or(0, |run| run.len());
            (samples.to_string(), format!("{:.0} us", part.duration.as_secs_f64() * 1e6))
        });
        let (name, summary) = (descriptor.name, descriptor.summary);
        let _ = writeln!(text, "{name:width$}  {state:9}  {samples:>8}  {cost:>9}  {summary}");
    }
    for output in &plan.outputs {
        let (name, of_type, summary) =
            (&output.name, output.descriptor.name, output.descriptor.summary);
        let state = if output.enabled { "on" } else { "off" };
        let of_type =
            if **name == *of_type { String::new() } else { format!(", of type {of_type}") };
        let _ = writeln!(text, "\noutput {name} ({state}{of_type}): {summary}");
    }
    let advice = privileges::advice(&privileges::shortfalls(&statuses, &plan.roots));
    if !advice.is_empty() {
        let _ = write!(text, "\n{advice}");
    }
    print(&text)
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
