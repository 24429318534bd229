//! Every metric that widely used rules and dashboards ask for is declared, and is on the page of a fixture host with
//! the labels that they ask for. And what comes with vitald asks for nothing else.

mod fixture_host;
mod in_process;
mod promql;

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;
use vitald::encode::{Format, PageBuffer, PageWriter};
use vitald::engine::{Engine, Request, Selection};
use vitald::own::process;
use vitald_core::collector::Descriptor;
use vitald_core::host::{Host, Roots};
use vitald_core::snapshot::Collection;

use in_process::{TIMEOUT, apply, own, plan};

/// What the daemon gives of itself.
const OWN: &str = "own";

/// Names that are asked for and not there, with the reason. None of them may be there.
const NOT_THERE: &[(&str, &str)] =
    &[("process_resident_memory_max_bytes", "node_exporter does not have it either")];

/// Names that a collector declares or may name, and that no fixture host has, with the reason. None of them may be on a page.
const ON_NO_PAGE: &[(&str, &str)] =
    &[("node_netstat_Tcp_MaxConn", "node_exporter's default filter of netstat leaves it out, too")];

/// A metric that is asked for.
struct Wanted {
    name: String,
    collector: String,
    labels: BTreeSet<String>,
    /// In which list, after which rule or panel.
    place: String,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/dashboards")
}

fn wanted() -> Vec<Wanted> {
    let mut wanted = Vec::new();
    for list in ["node_mixin.txt", "node_exporter_full.txt"] {
        let text = fs::read_to_string(folder().join(list)).expect("the list is there");
        let mut asking = "";
        for line in text.lines() {
            if let Some(what) = line.strip_prefix("# ") {
                asking = what;
                continue;
            }
            let words: Vec<&str> = line.split(' ').collect();
            let [name, collector, labels @ ..] = &words[..] else { panic!("{list}: {line:?}") };
            wanted.push(Wanted {
                name: (*name).to_owned(),
                collector: (*collector).to_owned(),
                labels: labels.iter().map(|label| (*label).to_owned()).collect(),
                place: format!("{list}, {asking}"),
            });
        }
    }
    assert!(wanted.len() > 200, "the lists are there");
    wanted
}

fn collectors() -> Vec<&'static Descriptor> {
    vitald::collectors(&[vitald_plugins::ROLL]).expect("the roll is complete")
}

/// The labels that the series of each name have, on any of these pages.
fn labels_by_name<'p>(
    pages: impl IntoIterator<Item = &'p str>,
) -> BTreeMap<String, BTreeSet<String>> {
    let mut all = BTreeMap::<String, BTreeSet<String>>::new();
    for line in pages.into_iter().flat_map(str::lines).filter(|line| !line.starts_with('#')) {
        let end = line.find(['{', ' ']).unwrap_or(line.len());
        let labels = all.entry(line[..end].to_owned()).or_default();
        // A label's name is before each `="`; a value has its quotes escaped.
        for (before, _) in line.match_indices("=\"").map(|(at, _)| line.split_at(at)) {
            let name = before.rsplit(['{', ',']).next().unwrap_or_default();
            labels.insert(name.to_owned());
        }
    }
    all
}

/// One page with the daemon's own series.
fn own_page() -> String {
    let host = Host::new(Roots::default());
    let engine = Arc::new(Engine::new(host.clone()).expect("it has its thread"));
    let loadavg = collectors().into_iter().find(|collector| collector.name == "loadavg");
    apply(&engine, &host, &[plan(loadavg.expect("it is built in"), &[]), process::plan()]);
    let (own, _configuration) = own(&engine);
    let mut pages = PageWriter::new(Some(own));
    let arrived = Instant::now();
    let deadline = arrived + TIMEOUT;
    let mut collecting = engine.collect(Request { arrived, deadline, selection: Selection::All });
    while let Err(again) = collecting.poll_at(Waker::noop(), Instant::now()) {
        let again = again.expect("nothing is watched");
        std::thread::park_timeout(again.saturating_duration_since(Instant::now()));
    }
    let mut collection = Collection::new();
    collecting.finish(&mut collection);
    let mut page = PageBuffer::default();
    pages.write(&mut collection, Format::Text, false, &mut page);
    String::from_utf8(page.as_ref().to_vec()).expect("a page is UTF-8")
}

fn reason(list: &[(&str, &'static str)], name: &str) -> Option<&'static str> {
    list.iter().find(|(known, _)| *known == name).map(|(_, reason)| *reason)
}

#[test]
fn every_metric_that_is_asked_for_is_declared() {
    let collectors = collectors();
    let own = labels_by_name([own_page().as_str()]);
    let is_declared =
        |one: &Wanted| match collectors.iter().find(|known| known.name == one.collector) {
            None => own.contains_key(&one.name),
            Some(known) => {
                known.families.iter().any(|family| family.name == one.name)
                    || known.patterns.iter().any(|pattern| pattern.covers(one.name.as_bytes()))
            }
        };
    let mut wrong = String::new();
    for one in &wanted() {
        let is_known = collectors.iter().any(|collector| collector.name == one.collector);
        assert!(is_known || one.collector == OWN, "no collector {}", one.collector);
        match (is_declared(one), reason(NOT_THERE, &one.name)) {
            (true, None) | (false, Some(_)) => {}
            (true, Some(_)) => {
                let _ = writeln!(wrong, "{} is there; take it out of NOT_THERE", one.name);
            }
            (false, None) => {
                let _ = writeln!(
                    wrong,
                    "{}: {} does not declare {}",
                    one.place, one.collector, one.name
                );
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn every_metric_that_is_asked_for_is_on_a_page_with_its_labels() {
    let pages: Vec<String> = fixture_host::hosts()
        .iter()
        .map(|host| {
            let file = fixture_host::folder().join(&host.name).join("page.prom");
            fs::read_to_string(file).expect("the host has a page; the test `pages` writes it")
        })
        .chain([own_page()])
        .collect();
    let shown = labels_by_name(pages.iter().map(String::as_str));
    let mut wrong = String::new();
    for one in wanted().iter().filter(|one| reason(NOT_THERE, &one.name).is_none()) {
        match (shown.get(&one.name), reason(ON_NO_PAGE, &one.name)) {
            (None, Some(_)) => {}
            (Some(_), Some(_)) => {
                let _ = writeln!(wrong, "{} is on a page; take it out of ON_NO_PAGE", one.name);
            }
            (None, None) => {
                let _ = writeln!(wrong, "{}: no host's page has {}", one.place, one.name);
            }
            (Some(labels), None) => {
                for label in one.labels.difference(labels) {
                    let _ = writeln!(wrong, "{}: {} has no label {label}", one.place, one.name);
                }
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

/// An excuse for what nothing asks for would go unnoticed for ever.
#[test]
fn what_is_excused_is_asked_for() {
    let wanted = wanted();
    for (name, reason) in NOT_THERE.iter().chain(ON_NO_PAGE) {
        assert!(wanted.iter().any(|one| one.name == *name), "nothing asks for {name}");
        assert!(!reason.is_empty());
    }
}

/// Names that the daemon has of itself, and that Prometheus has of each target.
fn is_of_the_daemon(name: &str) -> bool {
    let own = [&vitald::own::VITALD, &process::PROCESS];
    name == "up" || own.iter().any(|known| has(known, name))
}

fn has(collector: &Descriptor, name: &str) -> bool {
    collector.families.iter().any(|family| family.name == name)
        || collector.patterns.iter().any(|pattern| pattern.covers(name.as_bytes()))
}

fn list<'v>(value: &'v Value, key: &str) -> &'v [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

/// The panels of the dashboard that comes with vitald, with the names of their collectors.
fn own_panels(dashboard: &Value) -> Vec<(&str, &Value)> {
    let mut collector = "";
    let mut panels = Vec::new();
    for panel in list(dashboard, "panels") {
        if panel["type"] == "row" {
            let title = panel["title"].as_str().expect("a title");
            collector = title.split(':').next().expect("a name");
            panels.extend(list(panel, "panels").iter().map(|panel| (collector, panel)));
        } else {
            panels.push((collector, panel));
        }
    }
    panels
}

#[test]
fn the_dashboard_shows_every_default_collector_and_asks_for_what_there_is() {
    let collectors = collectors();
    let dashboard: Value =
        serde_json::from_str(&vitald::manual::dashboard(&collectors)).expect("JSON");
    let panels = own_panels(&dashboard);
    let shown: BTreeSet<&str> = panels.iter().map(|(collector, _)| *collector).collect();
    for collector in collectors.iter().filter(|collector| collector.enabled) {
        assert!(shown.contains(collector.name), "no panel of {}", collector.name);
    }
    for (name, panel) in &panels {
        let collector = collectors.iter().find(|known| known.name == *name);
        assert!(panel["title"].as_str().is_some_and(|title| !title.is_empty()), "{panel}");
        assert!(!list(panel, "targets").is_empty(), "{panel}");
        let references: BTreeSet<_> =
            list(panel, "targets").iter().map(|target| target["refId"].as_str()).collect();
        assert_eq!(references.len(), list(panel, "targets").len(), "{panel}");
        for target in list(panel, "targets") {
            let expression = target["expr"].as_str().expect("an expression");
            let asked = promql::names(expression);
            for metric in &asked {
                let is_there = collector.is_some_and(|collector| has(collector, metric));
                assert!(
                    is_there || is_of_the_daemon(metric),
                    "{name} has no {metric}: {expression}"
                );
            }
            // Of one host, and over the time that Grafana chooses.
            let of_one = expression.matches("job=\"$job\",instance=\"$instance\"}").count();
            assert_eq!(expression.matches('{').count(), of_one, "{expression}");
            assert!(of_one >= asked.len().max(1), "{expression}");
            let ranges = expression.matches('[').count();
            assert_eq!(expression.matches("[$__rate_interval").count(), ranges, "{expression}");
        }
    }
}

/// A line that stays at one height says nothing: not when something was, nor whether something is.
#[test]
fn dates_and_states_are_not_curves() {
    let dashboard: Value =
        serde_json::from_str(&vitald::manual::dashboard(&collectors())).expect("JSON");
    let panels = own_panels(&dashboard);
    let asks = |panel: &Value, what: &str| {
        let mut targets = list(panel, "targets").iter();
        targets.any(|target| target["expr"].as_str().is_some_and(|expr| expr.contains(what)))
    };
    let drawn_as = |what: &str| -> BTreeSet<&str> {
        let asking = panels.iter().filter(|(_, panel)| asks(panel, what));
        asking.filter_map(|(_, panel)| panel["type"].as_str()).collect()
    };
    for date in ["node_textfile_mtime_seconds", "node_os_support_end_timestamp_seconds"] {
        assert_eq!(drawn_as(date), BTreeSet::from(["stat"]), "{date}");
    }
    // It is declared as a counter, as node_exporter's is, and has no rate.
    assert!(drawn_as("rate(node_supervisord_start_time_seconds").is_empty());
    assert_eq!(drawn_as("node_supervisord_start_time_seconds"), BTreeSet::from(["stat"]));
    for state in ["node_network_up", "node_network_carrier{", "node_timex_sync_status"] {
        assert_eq!(drawn_as(state), BTreeSet::from(["state-timeline"]), "{state}");
    }
    // Of interfaces what people want, and not each number that the kernel has.
    let of_netclass = panels.iter().filter(|(collector, _)| *collector == "netclass");
    let types: Vec<&str> = of_netclass.filter_map(|(_, panel)| panel["type"].as_str()).collect();
    assert_eq!(types, ["state-timeline", "timeseries", "timeseries", "table"]);
}

#[test]
fn panels_are_beside_one_another() {
    let dashboard: Value =
        serde_json::from_str(&vitald::manual::dashboard(&collectors())).expect("JSON");
    let mut ids = BTreeSet::new();
    let (mut taken, mut bottom) = (BTreeSet::new(), 0);
    for panel in list(&dashboard, "panels") {
        let inside = list(panel, "panels");
        for panel in inside.iter().chain([panel]) {
            assert!(ids.insert(panel["id"].as_u64().expect("a number")), "{panel}");
        }
        let [x, y, w, h] =
            ["x", "y", "w", "h"].map(|key| panel["gridPos"][key].as_u64().expect("a number"));
        assert!(x + w <= 24, "{panel}");
        // What Grafana shows from above is in the order of the file.
        assert!(y + h >= bottom, "{panel}");
        bottom = y + h;
        for place in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            assert!(taken.insert(place), "{panel} covers another one");
        }
    }
}

#[test]
fn the_rules_ask_for_what_there_is() {
    let collectors = collectors();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/prometheus/vitald.rules.yml");
    let rules = fs::read_to_string(file).expect("the rules");
    let recorded: BTreeSet<&str> =
        rules.lines().filter_map(|line| line.trim().strip_prefix("- record: ")).collect();
    let mut asked = BTreeSet::new();
    for expression in expressions(&rules) {
        asked.extend(promql::names(&expression));
    }
    assert!(asked.len() > 30, "{asked:?}");
    for name in &asked {
        let is_there = recorded.contains(name.as_str())
            || is_of_the_daemon(name)
            || collectors.iter().any(|collector| has(collector, name));
        assert!(is_there, "nothing has {name}");
    }
}

/// The headings of docs/operations.md under which it says what to do about each alert.
#[test]
fn each_alert_has_a_heading_of_its_name() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let read = |file: &str| fs::read_to_string(root.join(file)).expect("it is there");
    let rules = read("deploy/prometheus/vitald.rules.yml");
    let after = |start: &'static str| {
        rules.lines().filter_map(move |line| line.trim().strip_prefix(start)).map(str::to_owned)
    };
    let alerts: Vec<String> = after("- alert: ").collect();
    let operations = read("docs/operations.md");
    let headings: BTreeSet<&str> = operations
        .lines()
        .filter_map(|line| line.strip_prefix("### "))
        .filter(|heading| heading.starts_with("Host") || heading.starts_with("Vitald"))
        .collect();
    assert_eq!(headings, alerts.iter().map(String::as_str).collect());
    let links: Vec<String> = after("runbook_url: docs/operations.md#").collect();
    let anchors: Vec<String> = alerts.iter().map(|alert| alert.to_lowercase()).collect();
    assert_eq!(links, anchors);
}

/// Those of a file of rules: after `expr: ` in one line, or in the deeper lines after `expr: |`.
fn expressions(rules: &str) -> Vec<String> {
    let mut expressions = Vec::new();
    let mut lines = rules.lines().peekable();
    while let Some(line) = lines.next() {
        let depth = |line: &str| line.len() - line.trim_start().len();
        match line.trim().strip_prefix("expr: ") {
            None => {}
            Some("|") => {
                let mut whole = String::new();
                while let Some(more) = lines.next_if(|more| depth(more) > depth(line)) {
                    whole += more;
                }
                expressions.push(whole);
            }
            Some(expression) => expressions.push(expression.to_owned()),
        }
    }
    expressions
}
