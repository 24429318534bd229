//! Every metric that widely used rules and dashboards ask for is declared, and is on the page of a fixture host with
//! the labels that they ask for.

mod fixture_host;
mod in_process;

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
