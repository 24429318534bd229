//! Checks for a collector's own tests: an in-memory host in, samples out.

#[cfg(target_os = "linux")]
mod bus;

pub use crate::host::{MemoryHost, Requests};
#[cfg(target_os = "linux")]
pub use bus::{BusServer, FakeBus, ReceivedCall, SocketPath, bus_message};
pub use expect_test::{Expect, expect};

use crate::collector::{Collector, Descriptor, registry};
use crate::error::{Malformed, Result};
use crate::family::{FamilyInfo, FamilyPattern, Since};
use crate::host::Host;
use crate::number::write_number;
use crate::run::Run;
use crate::sealer::Sealer;
use crate::settings::{Mistakes, Node, Origin, Settings, Table, Value};
use crate::shape::SeriesRef;
use crate::snapshot::{Collection, Part, Snapshot, State};
use std::any::type_name;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Opens a collector with the given settings; the others have their defaults.
///
/// # Panics
///
/// When a setting does not decode or the collector does not open.
pub fn open<C: Collector>(host: &Host, settings: &[(&str, Node)]) -> C {
    match decode::<C>(settings) {
        Ok(decoded) => C::open(decoded, host).expect("the collector opens"),
        Err(mistakes) => panic!("{mistakes}"),
    }
}

/// What is said of settings that are refused, one mistake a line.
///
/// # Panics
///
/// When they are taken.
pub fn refusal<C: Collector>(settings: &[(&str, Node)]) -> String {
    match decode::<C>(settings) {
        Ok(_) => panic!("{settings:?} are taken"),
        Err(mistakes) => mistakes,
    }
}

/// Decodes and checks settings as a configuration file would give them.
fn decode<C: Collector>(settings: &[(&str, Node)]) -> Result<C::Settings, String> {
    let mut table = Table::default();
    let origin = Origin::File { file: "test".into(), line: 1, column: 1 };
    for (key, node) in settings {
        table.entries.insert((*key).to_owned(), Value::new(node.clone(), origin.clone()));
    }
    let mut mistakes = Mistakes::new();
    match C::Settings::decode(&table, &mut mistakes) {
        Some(decoded) => C::check(&decoded).map(|()| decoded).map_err(|error| error.to_string()),
        None => {
            let each = mistakes.into_sorted();
            Err(each
                .iter()
                .map(|mistake| format!("{}: {}", mistake.path, mistake.message))
                .collect::<Vec<_>>()
                .join("\n"))
        }
    }
}

/// Runs a collector once more and renders what it pushed.
pub fn run<C: Collector>(collector: &mut C, last: Option<&Run>) -> (Run, Result<()>) {
    let mut run = Run::new(C::FAMILIES);
    run.begin(last, 0);
    let outcome = collector.collect(run.batch());
    run.seal();
    (run, outcome)
}

/// The descriptor of a collector that is only a name with families, for tests of snapshots; a
/// foreign one passes on names that others chose.
pub const fn descriptor(
    name: &'static str,
    families: &'static [FamilyInfo],
    foreign: bool,
) -> Descriptor {
    const ANY: &[FamilyPattern] = &[FamilyPattern { name: "*", kinds: &[], help: "" }];
    Descriptor {
        name,
        summary: "For a test",
        enabled: true,
        may_block: false,
        may_block_with: None,
        devices: None,
        own_descriptors: false,
        internal: false,
        families,
        patterns: if foreign { ANY } else { &[] },
        since: Since::Unknown,
        sources: &[],
        capabilities: &[],
        lacks_without: "",
        charts: &[],
        settings: &[],
        prepare: |_, _| None,
    }
}

/// A part of a collection with these samples.
pub fn part(descriptor: &'static Descriptor, run: &Arc<Run>) -> Part {
    Part {
        descriptor,
        state: State::Running,
        run_number: 1,
        began: SystemTime::UNIX_EPOCH,
        duration: Duration::ZERO,
        age: Duration::ZERO,
        run: Some(Arc::clone(run)),
    }
}

/// The snapshot of these runs alone, merged in this order.
pub fn snapshot<'r>(runs: impl IntoIterator<Item = &'r Arc<Run>>) -> Snapshot {
    static ANY: Descriptor = descriptor("test", &[], false);
    let parts = runs.into_iter().map(|run| part(&ANY, run)).collect();
    Sealer::new(None).seal(&mut Collection { parts, ..Collection::new() }).clone()
}

/// Checks the page of a collector on a host, twice: the second run must print the same with the
/// shape of the first.
///
/// # Panics
///
/// When the page differs, a run fails, a family was not declared, or the collector is not registered.
pub fn check<C: Collector>(host: &Host, settings: &[(&str, Node)], page: &Expect) {
    let is_registered = registry().iter().any(|descriptor| descriptor.name == C::NAME);
    let type_name = type_name::<C>().rsplit("::").next().unwrap_or_default();
    assert!(
        is_registered,
        "{} is not registered, so no daemon would have it: write register_collector!({type_name});",
        C::NAME
    );
    let mut collector = open::<C>(host, settings);
    let (first, outcome) = run(&mut collector, None);
    outcome.expect("the first run succeeds");
    let (second, outcome) = run(&mut collector, Some(&first));
    outcome.expect("the second run succeeds");
    assert_eq!(first.shape().id(), second.shape().id(), "the second run has another shape");
    page.assert_eq(&render(&second));
    refuse_undeclared::<C>(&second);
}

/// Checks that a run fails, and what it printed before.
///
/// # Panics
///
/// When the run succeeds or the texts differ.
pub fn check_fails<C: Collector>(
    host: &Host,
    settings: &[(&str, Node)],
    error: &Expect,
    page: &Expect,
) {
    let (batch, outcome) = run(&mut open::<C>(host, settings), None);
    error.assert_eq(&outcome.expect_err("the run fails").to_string());
    page.assert_eq(&render(&batch));
}

/// Checks that a parser refuses each of these texts.
///
/// # Panics
///
/// When it takes one.
pub fn rejects<'t, T: Debug>(
    parse: impl Fn(&'t [u8]) -> Result<T, Malformed>,
    texts: &'t [&'t str],
) {
    for text in texts {
        if let Ok(parsed) = parse(text.as_bytes()) {
            panic!("{text:?} was taken as {parsed:?}");
        }
    }
}

/// Checks that every family that was named at run time is covered by a declared pattern.
///
/// # Panics
///
/// When one is not.
pub fn refuse_undeclared<C: Collector>(batch: &Run) {
    for (series, _) in batch.samples() {
        let name = series.family_name();
        let declared = C::FAMILIES.iter().any(|family| family.name.as_bytes() == name)
            || C::PATTERNS
                .iter()
                .any(|pattern| pattern.covers(name) && pattern.kinds.contains(&series.kind()));
        assert!(declared, "{} is not declared", name.escape_ascii());
    }
}

/// The samples as plain lines, families by name with their types, rows in the order of the pushes.
///
/// Written without regard to speed, so that it can stand against the encoders.
pub fn render(batch: &Run) -> String {
    let mut samples: Vec<(SeriesRef<'_>, f64)> = batch.samples().collect();
    samples.sort_by_key(|(series, _)| series.family_name());
    let mut page = String::new();
    let mut family: &[u8] = b"";
    for (series, value) in samples {
        let name = String::from_utf8_lossy(series.family_name());
        if series.family_name() != family {
            family = series.family_name();
            page += &format!("# {name} {}\n", series.kind().word());
        }
        page += &name;
        page += series.suffix().text();
        let labels: Vec<String> = series
            .labels()
            .map(|(label, text)| {
                let text = String::from_utf8_lossy(text)
                    .replace('\\', "\\\\")
                    .replace('"', "\\\"")
                    .replace('\n', "\\n");
                format!("{}=\"{text}\"", String::from_utf8_lossy(label))
            })
            .collect();
        if !labels.is_empty() {
            page += &format!("{{{}}}", labels.join(","));
        }
        let mut digits = Vec::new();
        write_number(&mut digits, value);
        page += &format!(" {}\n", String::from_utf8_lossy(&digits));
    }
    page
}
