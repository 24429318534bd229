//! The whole page of every host of `tests/fixtures/hosts`, compared with the one that is kept beside its files.
//!
//! `VITALD_WRITE_GOLDENS=1 cargo test --locked --features full --test pages` writes the pages and `docs/requests.md`
//! anew; what changed is then in the diff, for the review. Nothing in them depends on the machine that runs the
//! test: files, links, clock and file systems are those of the host, and the daemon's own series are left out.

mod fixture_host;

use fixture_host::FixtureHost;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use vitald::config;
use vitald::encode::{Encoder, Format};
use vitald::plan::CollectorPlan;
use vitald_core::collector::Descriptor;
use vitald_core::error::{Error, Result};
use vitald_core::run::Run;
use vitald_core::sealer::Sealer;
use vitald_core::snapshot::{Collection, Part};
use vitald_core::testing::{MemoryHost, Requests, part};

/// Collectors that no host in a folder can have anything for, each with the reason. One that a page has a series
/// of may not be named here; one that this build does not have may.
const WITHOUT_A_PAGE: &[(&str, &str)] =
    &[("portable", "it asks a library that reads the machine itself")];

/// What tells the test to write instead of to compare.
const WRITE: &str = "VITALD_WRITE_GOLDENS";

/// How many lines of a difference are shown.
const MOST_LINES: usize = 60;

fn collectors() -> Vec<&'static Descriptor> {
    vitald::collectors(&[vitald_plugins::ROLL]).expect("the roll is complete")
}

/// Every collector that can have a page, set as the host's `config.toml` says, on or off.
fn plans(host: &FixtureHost) -> Vec<CollectorPlan> {
    let file = fixture_host::folder().join(&host.name).join("config.toml");
    let text = fs::read_to_string(&file).unwrap_or_default();
    let name = file.display().to_string();
    let plan = config::load_text(&name, &text, &[], &collectors(), &[]);
    let mut plans = plan.unwrap_or_else(|mistakes| panic!("{mistakes:?}")).collectors;
    plans.retain(|plan| !WITHOUT_A_PAGE.iter().any(|(name, _)| *name == plan.descriptor.name));
    plans
}

/// What a collector gave in its third run, when nothing is new to it any more.
struct Steady {
    descriptor: &'static Descriptor,
    run: Arc<Run>,
    outcome: Result<()>,
    /// What the run asked the host for.
    requests: Requests,
}

impl Steady {
    fn of(plan: &CollectorPlan, memory: &MemoryHost) -> Steady {
        let descriptor = plan.descriptor;
        let mut collector = plan.prepared.open(&memory.host()).expect("the collector opens");
        let mut collect = |last: Option<&Run>| {
            // As is usual between two scrapes: what hardly changes is read in turn, by the time that has passed.
            memory.pass_time(Duration::from_secs(15));
            let mut run = Run::new(descriptor.families);
            run.begin(last, 0);
            let outcome = collector.collect(run.batch());
            run.seal();
            (run, outcome)
        };
        let (first, _) = collect(None);
        let (second, _) = collect(Some(&first));
        let before = memory.requests();
        let (third, outcome) = collect(Some(&second));
        let requests = memory.requests() - before;
        Steady { descriptor, run: Arc::new(third), outcome, requests }
    }

    /// How it ended, in words that are the same on every machine.
    fn ending(&self) -> String {
        let mut ending = match &self.outcome {
            Ok(()) => format!("{} samples", self.run.len()),
            Err(Error::Absent { path }) => format!("{} samples; {path} is absent", self.run.len()),
            Err(Error::Unreadable { path, source }) => {
                let errno = source.raw_os_error().unwrap_or_default();
                format!("{} samples; {path} fails with errno {errno}", self.run.len())
            }
            Err(error) => format!("{} samples; {error}", self.run.len()),
        };
        if let Some(reason) = self.run.degraded_reason() {
            ending += &format!("; degraded: {reason}");
        }
        if let Some((lines, malformed)) = self.run.malformed() {
            ending += &format!("; {lines} refused, the first at {malformed}");
        }
        ending
    }
}

/// What every collector gives on a host.
fn steady(host: &FixtureHost) -> Vec<Steady> {
    plans(host).iter().map(|plan| Steady::of(plan, &host.memory())).collect()
}

/// How each collector ended, and then the page of all of them together.
fn page(host: &FixtureHost, all: &[Steady]) -> String {
    let mut text =
        format!("# The page of the host {}, written by the test `pages`.\n#\n", host.name);
    for steady in all {
        let _ = writeln!(text, "# {}: {}", steady.descriptor.name, steady.ending());
    }
    text.push('\n');
    let parts: Vec<Part> = all.iter().map(|steady| part(steady.descriptor, &steady.run)).collect();
    let mut collection = Collection { parts, ..Collection::new() };
    let mut sealer = Sealer::new(None);
    let mut page = Vec::new();
    Encoder::new(Format::Text).encode(sealer.seal(&mut collection), &mut page);
    text + &String::from_utf8(page).expect("a page is UTF-8")
}

/// Compares a text with a file, or writes it there.
fn keep(file: &str, text: &str, wrong: &mut String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file);
    let kept = fs::read_to_string(&path).unwrap_or_default();
    if kept == text {
        return;
    }
    if std::env::var_os(WRITE).is_some() {
        fs::write(&path, text).unwrap_or_else(|error| panic!("{file}: {error}"));
        return;
    }
    let _ = writeln!(wrong, "{} is not what is made now:\n{}", file, difference(&kept, text));
}

/// The lines that only one of two texts has, in the order of that text.
fn difference(kept: &str, made: &str) -> String {
    let count = |text: &str| {
        let mut counts = BTreeMap::<String, i32>::new();
        text.lines().for_each(|line| *counts.entry(line.to_owned()).or_default() += 1);
        counts
    };
    let only = |sign: char, text: &str, other: &str| {
        let mut left = count(other);
        let is_only = |line: &&str| match left.get_mut(*line) {
            Some(count) if *count > 0 => {
                *count -= 1;
                false
            }
            _ => true,
        };
        let lines: Vec<String> =
            text.lines().filter(is_only).map(|line| format!("  {sign} {line}")).collect();
        lines
    };
    let mut lines = only('-', kept, made);
    lines.extend(only('+', made, kept));
    if lines.is_empty() {
        let at = kept.lines().zip(made.lines()).position(|(kept, made)| kept != made);
        return format!(
            "  the order of the lines differs from line {} on",
            at.unwrap_or_default() + 1
        );
    }
    let more = lines.len().saturating_sub(MOST_LINES);
    lines.truncate(MOST_LINES);
    if more > 0 {
        lines.push(format!("  and {more} lines more"));
    }
    lines.join("\n")
}

#[test]
fn every_page_is_the_one_that_is_kept() {
    let mut wrong = String::new();
    let mut shown = BTreeSet::new();
    for host in &fixture_host::hosts() {
        let all = steady(host);
        let has_samples = |steady: &&Steady| !steady.run.is_empty();
        shown.extend(all.iter().filter(has_samples).map(|steady| steady.descriptor.name));
        let file = format!("tests/fixtures/hosts/{}/page.prom", host.name);
        keep(&file, &page(host, &all), &mut wrong);
    }
    if !wrong.is_empty() {
        let _ = writeln!(
            wrong,
            "{WRITE}=1 cargo test --locked --features full --test pages writes them anew."
        );
    }
    for descriptor in collectors().into_iter().filter(|descriptor| !descriptor.internal) {
        let name = descriptor.name;
        if !shown.contains(name) && !WITHOUT_A_PAGE.iter().any(|(without, _)| *without == name) {
            let _ = writeln!(
                wrong,
                "{name} is on no page: give a host in tests/fixtures/hosts its files, and a config.toml its settings, \
                 or name it in WITHOUT_A_PAGE with the reason"
            );
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

/// A collector that has a page on some host is not excused from it.
#[test]
fn what_is_excused_from_a_page_has_none() {
    let known = collectors();
    for (name, reason) in WITHOUT_A_PAGE {
        assert!(!reason.is_empty());
        let Some(descriptor) = known.iter().find(|descriptor| descriptor.name == *name) else {
            continue;
        };
        for host in &fixture_host::hosts() {
            let plan =
                config::load_text("", "", &[], &[descriptor], &[]).expect("the defaults hold");
            // What reads the machine itself has samples on every host, also on one without anything.
            let of = |memory: &MemoryHost| Steady::of(&plan.collectors[0], memory).run.len();
            assert!(
                of(&host.memory()) == 0 || of(&MemoryHost::new()) > 0,
                "{name} has a page on {}; take it out of WITHOUT_A_PAGE",
                host.name
            );
        }
    }
}

/// The host whose costs are in the manual.
const MEASURED: &str = "server";

#[test]
fn the_costs_in_the_manual_are_those_of_a_run() {
    let mut wrong = String::new();
    keep("docs/requests.md", &costs(&measured()), &mut wrong);
    assert!(
        wrong.is_empty(),
        "\n{wrong}{WRITE}=1 cargo test --locked --features full --test pages writes it anew."
    );
}

/// The runs on the host that is measured, and of a collector without samples there the one on the first host where it has some.
fn measured() -> Vec<(String, Steady)> {
    let on = |host: &FixtureHost| {
        steady(host).into_iter().map(|one| (host.name.clone(), one)).collect::<Vec<_>>()
    };
    let mut all = on(&fixture_host::host(MEASURED));
    let hosts = fixture_host::hosts();
    for (name, one) in all.iter_mut().filter(|(_, one)| one.run.is_empty()) {
        let is_same = |(_, other): &(String, Steady)| {
            other.descriptor.name == one.descriptor.name && !other.run.is_empty()
        };
        if let Some(other) = hosts.iter().flat_map(on).find(is_same) {
            (*name, *one) = other;
        }
    }
    all
}

fn costs(all: &[(String, Steady)]) -> String {
    let mut text = format!(
        "# What a scrape asks of the kernel\n\n\
         Made by counting what each collector asks of the host `{MEASURED}` in `tests/fixtures/hosts` once it has settled \
         down, scraped every 15 seconds; do not edit. That host has 4 CPUs in 2 packages, 6 disks, 6 network interfaces and about 600 files \
         that collectors read. A collector that its `config.toml` does not set has its default settings. A collector that \
         has no samples there is counted on the host that its row names.\n\n\
         Each read is one system call. A file is opened anew only where its descriptor is not kept, and costs a call to \
         open and one to close it. A listing takes at least two calls. A request is one to netlink, to a file \
         system for its space, to the clock, or to the bus.\n\n\
         | collector | samples | reads | files opened | listings | requests |\n|---|---|---|---|---|---|\n"
    );
    let mut total = Requests::default();
    let mut samples = 0;
    for (host, Steady { descriptor, run, requests, .. }) in all {
        let mut name = format!("[{0}](metrics.md#{0})", descriptor.name);
        if host != MEASURED {
            name += &format!(", on `{host}`");
        }
        row(&mut text, &name, run.len(), requests);
        total = total + *requests;
        samples += run.len();
    }
    row(&mut text, "all together, without what they share", samples, &total);
    text
}

fn row(text: &mut String, name: &str, samples: usize, requests: &Requests) {
    let Requests { reads, opened, listings, others } = requests;
    let _ = writeln!(text, "| {name} | {samples} | {reads} | {opened} | {listings} | {others} |");
}
