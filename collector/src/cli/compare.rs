//! `compare`: our metrics beside those of a program that runs, such as the node_exporter that is to be
//! replaced.

use super::collections::Collections;
use super::load::{config_file, load};
use super::registry::Registry;
use super::scraper::{Scraper, Target};
use super::terminal::{complain, print, printable};
use super::unit_flags::UnitFlags;
use crate::compare::{About, Comparison, Page, Report, Rules};
use crate::dropin::{self, Command};
use crate::encode::{Format, PageBuffer, PageWriter};
use crate::own::Own;
use crate::plan::Plan;
use clap::ArgMatches;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};
use vitald_core::pattern::Pattern;
use vitald_core::snapshot::State;

/// The status where something differs, and where that could not be found out.
const DIFFERENT: u8 = 1;
const NOT_COMPARED: u8 = 2;

/// Without `--for`: the fewest rounds and, while a gauge has not agreed yet, the most.
const FEWEST_ROUNDS: u32 = 3;
const MOST_ROUNDS: u32 = 10;
/// The time from the begin of one round to that of the next, unless it is said.
const SHORT_INTERVAL: Duration = Duration::from_secs(1);
const LONG_INTERVAL: Duration = Duration::from_secs(10);

/// The time between two pages of a round. A vitald may answer with what it has read up to 100 ms
/// before, and what it reads for one page must not be older than the page before.
const BETWEEN_PAGES: Duration = Duration::from_millis(120);

/// The longest that a page may take, unless it is said: what Prometheus waits.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How rounds are made.
struct Schedule {
    /// For how long; without it until enough is known.
    whole: Option<Duration>,
    interval: Duration,
}

/// Where our pages come from.
#[allow(clippy::large_enum_variant, reason = "a command has one of it")]
enum Here {
    Process(InProcess),
    Daemon(Scraper),
}

/// Collections of this process.
struct InProcess {
    collections: Collections,
    writer: Box<PageWriter>,
    page: PageBuffer,
    name: String,
}

/// Compares, and says so by the status.
pub(super) fn compare(own: &ArgMatches, registry: Registry<'_>) -> ExitCode {
    match try_compare(own, registry) {
        Ok(status) => status,
        Err(reasons) => {
            reasons.iter().for_each(|reason| complain(&format_args!("vitald: {reason}")));
            ExitCode::from(NOT_COMPARED)
        }
    }
}

fn try_compare(own: &ArgMatches, registry: Registry<'_>) -> Result<ExitCode, Vec<String>> {
    let one = |reason: String| vec![reason];
    let duration = |id: &str| own.get_one::<Duration>(id).copied();
    let timeout = duration("timeout").unwrap_or(TIMEOUT);
    let whole = duration("for");
    let usual = whole.map_or(SHORT_INTERVAL, |whole| LONG_INTERVAL.min(whole / FEWEST_ROUNDS));
    let schedule = Schedule { whole, interval: duration("interval").unwrap_or(usual) };
    let ignored = own.get_many::<String>("ignore").into_iter().flatten().map(|pattern| {
        Pattern::new(pattern).map_err(|error| format!("--ignore {pattern}: {error}"))
    });
    let rules = Rules {
        tolerance: own.get_one::<f64>("tolerance").copied().unwrap_or(0.01),
        ignored: ignored.collect::<Result<_, _>>().map_err(one)?,
    };
    let scraper = |id: &str| {
        let Some(url) = own.get_one::<String>(id) else { return Ok(None) };
        let target = Target::parse(url).map_err(|error| vec![format!("{url}: {error}")])?;
        Ok::<_, Vec<String>>(Some(Scraper::new(target, timeout)))
    };
    let mut peer = scraper("url")?.ok_or_else(|| one("no URL is given".to_owned()))?;
    let mut here = match scraper("with")? {
        Some(scraper) => Here::Daemon(scraper),
        None => Here::Process(InProcess::begin(own, registry)?),
    };
    let mut comparison = Comparison::new(rules);
    let about = run(&mut comparison, &mut peer, &mut here, &schedule);
    if comparison.rounds() == 0 {
        return Err(about.first_failure.into_iter().collect());
    }
    let report = Report::new(&comparison, about);
    let printed = match own.get_one::<String>("format").map_or("text", String::as_str) {
        "json" => print(&printable(&format!("{:#}\n", report.json()))),
        _ => print(&printable(&report.text())),
    };
    let has_not_compared = report.has_failed() || report.is_empty();
    Ok(match (report.is_equal(), has_not_compared) {
        (false, _) => ExitCode::from(DIFFERENT),
        (true, true) => ExitCode::from(NOT_COMPARED),
        (true, false) => printed,
    })
}

/// Makes rounds until enough is known, or the time is over.
fn run(
    comparison: &mut Comparison,
    peer: &mut Scraper,
    here: &mut Here,
    schedule: &Schedule,
) -> About {
    let begun = Instant::now();
    let (mut failed_rounds, mut first_failure) = (0, None);
    loop {
        let round_begun = Instant::now();
        match round(peer, here) {
            Ok([before, shown, after]) => comparison.add(&before, &shown, &after),
            Err(reason) => {
                failed_rounds += 1;
                first_failure.get_or_insert(reason);
            }
        }
        let next = round_begun + schedule.interval;
        let is_done = match schedule.whole {
            Some(whole) => next >= begun + whole,
            None => {
                let rounds = comparison.rounds();
                failed_rounds > 0
                    || rounds >= MOST_ROUNDS
                    || rounds >= FEWEST_ROUNDS && !comparison.is_undecided()
            }
        };
        if is_done {
            break;
        }
        sleep(next.saturating_duration_since(Instant::now()));
    }
    About {
        peer: peer.target.to_string(),
        here: here.name(),
        took: begun.elapsed(),
        failed_rounds,
        first_failure,
        notes: here.notes(),
    }
}

fn round(peer: &mut Scraper, here: &mut Here) -> Result<[Page; 3], String> {
    let before = peer.page()?;
    sleep(BETWEEN_PAGES);
    let shown = here.page()?;
    sleep(BETWEEN_PAGES);
    Ok([before, shown, peer.page()?])
}

impl Here {
    fn page(&mut self) -> Result<Page, String> {
        match self {
            Here::Process(process) => process.page(),
            Here::Daemon(scraper) => scraper.page(),
        }
    }

    fn name(&self) -> String {
        match self {
            Here::Process(process) => process.name.clone(),
            Here::Daemon(scraper) => scraper.target.to_string(),
        }
    }

    /// What explains differences.
    fn notes(&self) -> Vec<String> {
        let Here::Process(process) = self else { return Vec::new() };
        let status = process.collections.engine.status();
        let fails = status
            .iter()
            .filter(|status| !matches!(status.state, State::Running | State::Absent | State::Off));
        let note = fails.map(|status| {
            let (name, state) = (status.descriptor.name, status.state.word());
            format!("the collector {name} here is {state}: {}", status.reason())
        });
        note.collect()
    }
}

impl InProcess {
    fn begin(own: &ArgMatches, registry: Registry<'_>) -> Result<Self, Vec<String>> {
        let (plan, name) = plan(own, registry)?;
        // What was refused was said.
        let collections = Collections::begin(&plan).map_err(|_| Vec::new())?;
        let own = Own::of_collections(Arc::clone(&collections.engine));
        let writer = Box::new(PageWriter::new(Some(Arc::new(own))));
        Ok(InProcess { collections, writer, page: PageBuffer::default(), name })
    }

    fn page(&mut self) -> Result<Page, String> {
        let mut collection = self.collections.next();
        self.writer.write(&mut collection, Format::Text, false, &mut self.page);
        Page::parse(self.page.as_ref())
            .map_err(|error| format!("the page of this command is wrong: {error}"))
    }
}

/// What this process collects, and in words from where that is.
fn plan(own: &ArgMatches, registry: Registry<'_>) -> Result<(Plan, String), Vec<String>> {
    if let Some(file) = own.get_one::<PathBuf>("unit") {
        let UnitFlags { arguments, directory, notes, is_debians } =
            UnitFlags::read(file).map_err(|error| vec![error])?;
        notes.iter().for_each(|note| complain(&format_args!("vitald: {note}")));
        if is_debians {
            complain(
                &"vitald: Debian's build of node_exporter has other defaults, which differ in what follows \
                  unless flags say otherwise; docs/migration.md has a flag for each",
            );
        }
        let flags: Vec<&str> = arguments.iter().map(|argument| argument.text.as_str()).collect();
        let place = |argument: Option<usize>| Some(&*arguments.get(argument?)?.place);
        return of_flags(&directory, &flags, registry, place, &file.display().to_string());
    }
    if let Some(flags) = own.get_many::<OsString>("flags") {
        let flags: Vec<&OsString> = flags.collect();
        return of_flags(Path::new(""), &flags, registry, |_| None, "node_exporter's flags");
    }
    let plan = load(own, registry)
        .map_err(|mistakes| mistakes.iter().map(ToString::to_string).collect::<Vec<_>>())?;
    let name = config_file(own).map_or_else(
        || "the built-in defaults, collected by this command".to_owned(),
        |file| format!("{}, collected by this command", file.display()),
    );
    Ok((plan, name))
}

/// What node_exporter's flags ask for; `place` says where a flag is from.
fn of_flags<'p>(
    directory: &Path,
    flags: &[impl AsRef<OsStr>],
    registry: Registry<'_>,
    place: impl Fn(Option<usize>) -> Option<&'p str>,
    name: &str,
) -> Result<(Plan, String), Vec<String>> {
    let at = |argument| place(argument).map_or_else(String::new, |place| format!("{place}: "));
    match dropin::parse_in(directory, "node_exporter", flags, registry.collectors) {
        Ok(Command::Run(drop_in)) => {
            for note in &drop_in.notes {
                complain(&format_args!("vitald: {}{note}", at(note.argument)));
            }
            Ok((drop_in.plan, format!("{name}, collected by this command")))
        }
        Ok(Command::Help(_) | Command::Version(_)) => {
            Err(vec!["--help and --version collect nothing".to_owned()])
        }
        Err(errors) => {
            let placed = errors.iter().map(|error| format!("{}{error}", at(error.argument)));
            Err(placed.collect())
        }
    }
}
