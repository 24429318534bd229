//! What the status page shows of the host: tiles, and the charts and values of collectors that are unfolded.
//!
//! A look has the collectors that are shown run, each at most once a second however many look, and as a scrape
//! would: what scrapers get does not change. Rates are those of the last two runs, whatever caused them, so
//! beside a scraper the first look has rates already. Nothing is kept once nobody looks.

use crate::charts::{self, Drawn, DrawnRow, Rates, amount, draw, heaviest};
use crate::engine::{self, Engine, Selection};
use crate::http::page::collected::collected;
use crate::http::page::tiles::{self, Tile};
use crate::outputs::table::series_name;
use crate::sync::lock;
use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use vitald_core::chart::Chart;
use vitald_core::number::write_number;
use vitald_core::sealer::Sealer;
use vitald_core::snapshot::{Collection, Snapshot};

/// A look takes what a collector gave less than so long before it, and has no other run.
const FRESH: Duration = Duration::from_secs(1);
/// A run that is not older than half of this is the first of two for a rate.
const EARLIER: Duration = Duration::from_secs(60);
/// For how long a look is waited for: what hangs leaves gaps in the page, and the page comes.
const TIMEOUT: Duration = Duration::from_secs(1);
/// After so long without a look what was kept for the next one is given up.
const FORGOTTEN: Duration = Duration::from_secs(30);
/// So many collectors may be unfolded at a time; of more the ones named last.
pub(super) const MOST_UNFOLDED: usize = 6;
/// So many rows of a chart are drawn, and so many values are listed: `/metrics` has all of them.
const MOST_ROWS: usize = 30;
const MOST_VALUES: usize = 100;
/// So much is shown of a label, and of the name of a series with its labels.
const MOST_LETTERS: usize = 300;

/// What the page knows of the host.
pub(in crate::http) struct Host {
    /// Taken for a moment by the thread that serves.
    looks: Arc<Mutex<Looks>>,
    /// Taken for as long as it takes to draw, which is done on other threads.
    rates: Arc<tokio::sync::Mutex<Rates>>,
}

/// Who looks at what.
#[derive(Default)]
struct Looks {
    /// At which collectors, and when the last time: what one looks at keeps its rates while another one looks
    /// at something else.
    wanted: Vec<(&'static str, Instant)>,
    last: Option<Instant>,
    /// Whether a task waits for the time at which all that is kept is given up.
    is_watched: bool,
}

/// What is done for a look.
struct Plan {
    /// Whose runs are looked at: also those that others look at.
    collectors: Vec<&'static str>,
    /// Some of them have not been looked at: what their last runs gave is the first of two for a rate.
    takes_what_there_is: bool,
    /// How long ago a run may have begun that serves the look.
    age: Duration,
}

/// The host as the page shows it.
#[derive(Default)]
pub(super) struct View {
    pub(super) tiles: Vec<Tile>,
    pub(super) unfolded: Vec<Unfolded>,
    /// Those for which there was no room among the unfolded.
    pub(super) folded: Vec<&'static str>,
}

/// A collector with its charts and values.
pub(super) struct Unfolded {
    pub(super) name: &'static str,
    pub(super) charts: Vec<Charted>,
    /// Each series, and its value as `/metrics` has it.
    pub(super) values: Vec<(String, String)>,
    /// How many values there are beside these.
    pub(super) more: usize,
}

/// A chart with as many of its rows as are shown.
pub(super) struct Charted {
    pub(super) chart: &'static Chart,
    pub(super) drawn: Drawn,
    /// How many rows it has.
    pub(super) rows: usize,
}

impl Host {
    pub(in crate::http) fn new() -> Self {
        Host { looks: Arc::default(), rates: Arc::default() }
    }

    /// Looks at the tiles, and at these collectors.
    pub(super) async fn look(
        &self,
        engine: &Engine,
        timeout: Duration,
        unfolded: &[String],
    ) -> View {
        let on = engine.names();
        let known = |wanted: &String| on.iter().copied().find(|name| name == wanted);
        let mut named = HashSet::new();
        let wanted = unfolded.iter().rev().filter_map(known).filter(|name| named.insert(*name));
        let mut unfolded: Vec<&'static str> = wanted.collect();
        let folded = unfolded.split_off(unfolded.len().min(MOST_UNFOLDED));
        let shown = tiles::COLLECTORS.iter().copied().filter(|name| on.contains(name));
        let others = unfolded.iter().copied().filter(|name| !tiles::COLLECTORS.contains(name));
        let shown: Vec<&'static str> = shown.chain(others).collect();
        let plan = lock(&self.looks).note(&shown, Instant::now());
        self.watch();
        let wanted = plan.collectors.into_iter().filter(|name| on.contains(name));
        let wanted: Vec<&'static str> = wanted.collect();
        let mut collections = Vec::new();
        if plan.takes_what_there_is {
            let known = recent(engine);
            let names = wanted.iter().copied().filter(|name| known.contains(name)).collect();
            collections.extend(collect(engine, timeout, EARLIER, names).await);
        }
        collections.extend(collect(engine, timeout, plan.age, wanted).await);
        if collections.is_empty() {
            return View { tiles: tiles::of(&|_, _| None), ..View::default() };
        }
        let mut rates = Arc::clone(&self.rates).lock_owned().await;
        // A host may have many thousand devices.
        let drawing =
            tokio::task::spawn_blocking(move || draw_all(&mut rates, collections, &unfolded));
        View { folded, ..drawing.await.unwrap_or_default() }
    }

    /// Gives up what is kept when nobody has looked for a while.
    fn watch(&self) {
        if std::mem::replace(&mut lock(&self.looks).is_watched, true) {
            return;
        }
        let (looks, rates) = (Arc::clone(&self.looks), Arc::clone(&self.rates));
        tokio::spawn(async move {
            loop {
                let until = lock(&looks).given_up(Instant::now());
                let Some(until) = until else { break };
                tokio::time::sleep_until(until.into()).await;
            }
            let rates = std::mem::take(&mut *rates.lock().await);
            // It may be much memory, so not on the thread that serves.
            drop(tokio::task::spawn_blocking(move || drop(rates)));
        });
    }
}

impl Looks {
    /// Takes note of a look at collectors.
    fn note(&mut self, shown: &[&'static str], now: Instant) -> Plan {
        self.wanted.retain(|(_, at)| *at + FORGOTTEN > now);
        let before = self.wanted.len();
        self.wanted.retain(|(name, _)| !shown.contains(name));
        let has_new = before - self.wanted.len() < shown.len();
        self.wanted.extend(shown.iter().map(|name| (*name, now)));
        let age = if self.last.replace(now).is_none() { Duration::ZERO } else { FRESH };
        let collectors = self.wanted.iter().map(|(name, _)| *name).collect();
        Plan { collectors, takes_what_there_is: has_new, age }
    }

    /// When all that is kept is to be given up; nothing if that is now.
    fn given_up(&mut self, now: Instant) -> Option<Instant> {
        let until = self.last.map(|last| last + FORGOTTEN).filter(|until| *until > now);
        if until.is_none() {
            *self = Looks::default();
        }
        until
    }
}

fn draw_all(
    rates: &mut Rates,
    collections: Vec<(Collection, Instant)>,
    unfolded: &[&'static str],
) -> View {
    let mut sealer = Sealer::new(None);
    let mut view = View::default();
    for (mut collection, taken) in collections {
        let snapshot = sealer.seal(&mut collection);
        rates.learn(snapshot, taken);
        view = View {
            tiles: tiles::of(&|name, title| tiles::find(snapshot, rates, name, title)),
            unfolded: unfolded.iter().filter_map(|name| unfold(snapshot, rates, name)).collect(),
            folded: Vec::new(),
        };
    }
    view
}

/// The collectors whose last run is so young that it is of use.
fn recent(engine: &Engine) -> Vec<&'static str> {
    let mut names = Vec::new();
    engine.each_status(|status| {
        // What it has from others may be a little older.
        if status.age.is_some_and(|age| age < EARLIER / 2) {
            names.push(status.descriptor.name);
        }
    });
    names
}

/// What these collectors give, or have given at most so long ago; and when.
async fn collect(
    engine: &Engine,
    timeout: Duration,
    age: Duration,
    names: Vec<&'static str>,
) -> Option<(Collection, Instant)> {
    if names.is_empty() {
        return None;
    }
    let now = Instant::now();
    let request = engine::Request {
        arrived: now,
        // As long as for a scrape: a run may serve one, too.
        deadline: now + timeout,
        selection: Selection::Only(names.into_iter().map(str::to_owned).collect()),
    };
    let mut collecting = engine.collect_within(request, age);
    let until = now + TIMEOUT.min(timeout);
    let _ = tokio::time::timeout_at(until.into(), collected(&mut collecting, until)).await;
    let mut collection = Collection::new();
    collecting.finish(&mut collection);
    Some((collection, Instant::now()))
}

fn unfold(snapshot: &Snapshot, rates: &Rates, name: &str) -> Option<Unfolded> {
    let place = snapshot.parts().iter().position(|part| part.descriptor.name == name)?;
    let descriptor = snapshot.parts()[place].descriptor;
    let drawn = charts::of(descriptor).iter().map(|chart| {
        let mut drawn = draw(chart, snapshot, place, rates);
        let rows = drawn.rows.len();
        drawn.rows = heaviest(drawn.rows, MOST_ROWS, DrawnRow::weight);
        drawn.columns.iter_mut().for_each(|column| shorten(&mut column.title));
        drawn.rows.iter_mut().flat_map(|row| &mut row.labels).for_each(shorten);
        Charted { chart, drawn, rows }
    });
    let mut samples = snapshot.samples_of(place);
    let values: Vec<(String, String)> = samples
        .by_ref()
        .take(MOST_VALUES)
        .map(|sample| {
            let mut value = Vec::new();
            write_number(&mut value, sample.value);
            let mut series = series_name(&sample.series);
            shorten(&mut series);
            (series, String::from_utf8_lossy(&value).into_owned())
        })
        .collect();
    Some(Unfolded {
        name: descriptor.name,
        charts: drawn.filter(|charted| charted.rows > 0).collect(),
        more: samples.count(),
        values,
    })
}

/// No name makes the page long.
fn shorten(text: &mut String) {
    if let Some((end, _)) = text.char_indices().nth(MOST_LETTERS) {
        text.truncate(end);
        text.push('…');
    }
}

/// A number as the console shows it, too.
pub(super) fn shown(drawn: &Drawn, column: usize, number: Option<f64>) -> String {
    amount(number, drawn.columns[column].measure)
}
