//! What a comparison has shown, in words and as JSON.

use super::comparison::{Comparison, Fault, Tally, Treatment, Values, Watched};
use super::exceptions::{Exception, OF_THE_PROGRAM, SLACKS, VALUES_OF_THE_PROGRAM};
use super::page::labels;
use crate::dropin::EMULATED_VERSION;
use crate::encode::json_number;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashSet};
use std::fmt::{self, Write as _};
use std::time::Duration;
use vitald_core::number::write_number;

/// How many series of a family are shown in words, and how many as JSON; the others are counted.
const MOST_IN_WORDS: usize = 3;
const MOST_IN_JSON: usize = 100;

/// What was compared, and how it went.
pub(crate) struct About {
    /// Where the pages of the peer are from.
    pub(crate) peer: String,
    /// Where ours are from.
    pub(crate) here: String,
    /// From the first page to the last.
    pub(crate) took: Duration,
    /// Rounds in which a side gave no page, and the first reason.
    pub(crate) failed_rounds: u32,
    pub(crate) first_failure: Option<String>,
    /// What explains differences: collectors of ours that fail, and the like.
    pub(crate) notes: Vec<String>,
}

/// The result of a comparison.
pub(crate) struct Report<'a> {
    comparison: &'a Comparison,
    about: About,
    /// The series that are wrong, by what is wrong and family; in order.
    faults: Faults<'a>,
    /// Series that one side has with a label more than the other, as that side has them.
    relabelled: BTreeMap<Relabelled<'a>, Vec<&'a str>>,
    /// How many series are wrong that have gone and are not kept any more.
    forgotten: BTreeMap<(Fault, &'a str), usize>,
    /// Of the series that are not wrong, those that were not there all the time.
    movements: BTreeMap<Movement, Vec<&'a str>>,
    /// How many series of each family are compared.
    sizes: BTreeMap<&'a str, usize>,
}

/// A label that one side alone has in a family.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Relabelled<'a> {
    family: &'a str,
    label: &'a str,
    /// Whether that side is ours.
    is_here: bool,
}

impl Relabelled<'_> {
    fn side(self) -> &'static str {
        if self.is_here { "here" } else { "there" }
    }
}

/// Series by what is wrong with them and family.
type Faults<'a> = BTreeMap<(Fault, &'a str), Vec<(&'a str, &'a Watched)>>;

/// Takes out pairs of a series that is missing and one that is only here, if they differ by one label.
fn take_relabelled<'a>(faults: &mut Faults<'a>) -> BTreeMap<Relabelled<'a>, Vec<&'a str>> {
    let mut relabelled: BTreeMap<_, Vec<&str>> = BTreeMap::new();
    let families: Vec<&str> = faults.keys().map(|(_, family)| *family).collect();
    for (family, is_here) in
        families.into_iter().flat_map(|family| [(family, true), (family, false)])
    {
        let [longer, shorter] = match is_here {
            true => [Fault::Extra, Fault::Missing],
            false => [Fault::Missing, Fault::Extra],
        };
        let (Some(with), Some(without)) =
            (faults.get(&(longer, family)), faults.get(&(shorter, family)))
        else {
            continue;
        };
        let mut waiting: HashSet<&str> = without.iter().map(|(text, _)| *text).collect();
        let mut paired = HashSet::new();
        for (text, _) in with {
            let of_pair = labels(text).into_iter().find(|(_, _, rest)| waiting.remove(&**rest));
            if let Some((label, _, _)) = of_pair {
                paired.insert(*text);
                relabelled.entry(Relabelled { family, label, is_here }).or_default().push(*text);
            }
        }
        if paired.is_empty() {
            continue;
        }
        if let Some(with) = faults.get_mut(&(longer, family)) {
            with.retain(|(text, _)| !paired.contains(text));
        }
        if let Some(without) = faults.get_mut(&(shorter, family)) {
            without.retain(|(text, _)| waiting.contains(text));
        }
    }
    faults.retain(|_, series| !series.is_empty());
    relabelled
}

/// What a series did that was not there all the time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Movement {
    Appeared,
    Vanished,
    CameAndWent,
}

impl Movement {
    fn word(self) -> &'static str {
        match self {
            Movement::Appeared => "appeared",
            Movement::Vanished => "vanished",
            Movement::CameAndWent => "came and went",
        }
    }

    fn of(watched: &Watched, rounds: u32) -> Option<Self> {
        let sides = [(&watched.there, 2 * rounds), (&watched.here, rounds)];
        let seen = || sides.iter().filter(|(presence, _)| presence.pages > 0);
        if seen().any(|(presence, _)| presence.has_gap) {
            return Some(Movement::CameAndWent);
        }
        let came = seen().any(|(presence, _)| presence.first > 0);
        let went = seen().any(|(presence, pages)| presence.last + 1 < *pages);
        match (came, went) {
            (true, true) => Some(Movement::CameAndWent),
            (true, false) => Some(Movement::Appeared),
            (false, true) => Some(Movement::Vanished),
            (false, false) => None,
        }
    }
}

impl Fault {
    fn word(self) -> &'static str {
        match self {
            Fault::Missing => "missing",
            Fault::Extra => "extra",
            Fault::Counter => "counter",
            Fault::Gauge => "gauge",
        }
    }

    fn tally(self, watched: &Watched) -> Tally {
        match self {
            Fault::Missing => watched.missing,
            Fault::Extra => watched.extra,
            Fault::Counter | Fault::Gauge => watched.outside,
        }
    }
}

impl<'a> Report<'a> {
    pub(crate) fn new(comparison: &'a Comparison, about: About) -> Self {
        let mut report = Report {
            comparison,
            about,
            faults: BTreeMap::new(),
            relabelled: BTreeMap::new(),
            forgotten: BTreeMap::new(),
            movements: BTreeMap::new(),
            sizes: BTreeMap::new(),
        };
        for (text, watched) in &comparison.series {
            if !watched.is_compared() {
                continue;
            }
            let family = &*watched.family;
            *report.sizes.entry(family).or_default() += 1;
            if let Some(fault) = comparison.fault(watched) {
                report.faults.entry((fault, family)).or_default().push((text, watched));
            } else if let Some(movement) = Movement::of(watched, comparison.rounds()) {
                report.movements.entry(movement).or_default().push(text);
            }
        }
        report.faults.values_mut().for_each(|series| series.sort_by_key(|(text, _)| *text));
        report.relabelled = take_relabelled(&mut report.faults);
        for (name, family) in &comparison.families {
            if family.forgotten > 0 {
                *report.sizes.entry(name).or_default() += family.forgotten;
            }
            for fault in Fault::ALL {
                let forgotten = comparison.forgotten(family, fault);
                if forgotten > 0 {
                    report.faults.entry((fault, name)).or_default();
                    report.forgotten.insert((fault, name), forgotten);
                }
            }
        }
        report.movements.values_mut().for_each(|series| series.sort_unstable());
        report
    }

    /// Whether no series is compared, all rounds considered.
    pub(crate) fn is_empty(&self) -> bool {
        self.sizes.is_empty()
    }

    /// Whether both sides have the same series, types and values.
    pub(crate) fn is_equal(&self) -> bool {
        self.faults.is_empty() && self.relabelled.is_empty() && self.comparison.types.is_empty()
    }

    /// Whether a round could not be made.
    pub(crate) fn has_failed(&self) -> bool {
        self.about.failed_rounds > 0 || self.comparison.rounds() == 0
    }

    fn tolerance(&self) -> String {
        format!("{} %", number(self.comparison.rules().tolerance * 100.0))
    }

    fn wrong_series(&self) -> usize {
        let relabelled: usize = self.relabelled.values().map(Vec::len).sum();
        self.faults.keys().map(|key| self.wrong_of(key)).sum::<usize>() + relabelled
    }

    /// How many series of a family have a fault, with those that are not kept any more.
    fn wrong_of(&self, key: &(Fault, &'a str)) -> usize {
        let kept = self.faults.get(key).map_or(0, Vec::len);
        kept + self.forgotten.get(key).copied().unwrap_or_default()
    }

    fn wrong_families(&self) -> usize {
        let mut families: Vec<&str> = self.faults.keys().map(|(_, family)| *family).collect();
        families.extend(self.relabelled.keys().map(|relabelled| relabelled.family));
        families.extend(self.comparison.types.keys().map(|family| &**family));
        families.sort_unstable();
        families.dedup();
        families.len()
    }

    /// The version of the node_exporter that the peer is, if it says so.
    fn version(&self) -> Option<&'a str> {
        let is_there = |watched: &Watched| watched.there.pages > 0;
        let mut series = self.comparison.series.iter();
        let (text, _) = series.find(|(text, watched)| {
            text.starts_with("node_exporter_build_info{") && is_there(watched)
        })?;
        let version = labels(text).into_iter().find(|(name, ..)| *name == "version");
        version.map(|(_, version, _)| version)
    }

    /// How many series a treatment applies to: of the peer, and of ours.
    fn treated(&self, treatment: impl Fn(&Watched) -> bool) -> (usize, usize) {
        let treated = || self.comparison.series.values().filter(|watched| treatment(watched));
        let there = treated().filter(|watched| watched.there.pages > 0).count();
        (there, treated().filter(|watched| watched.here.pages > 0).count())
    }

    /// What is not compared, with the reason and how many series it is on either side.
    fn left_out(&self) -> Vec<(&'static Exception, (usize, usize))> {
        let of =
            |at: usize| self.treated(|watched| watched.treatment == Treatment::OfTheProgram(at));
        let counted = OF_THE_PROGRAM.iter().enumerate().map(|(at, exception)| (exception, of(at)));
        counted.filter(|(_, sides)| *sides != (0, 0)).collect()
    }

    fn ignored(&self) -> impl Iterator<Item = (&str, (usize, usize))> {
        self.comparison.rules().ignored.iter().enumerate().map(|(at, pattern)| {
            let sides = self.treated(|watched| watched.treatment == Treatment::Ignored(at));
            (pattern.source(), sides)
        })
    }

    /// The report in words.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        // Formatting into a string does not fail.
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, text: &mut String) -> fmt::Result {
        let About { peer, here, took, failed_rounds, first_failure, notes } = &self.about;
        let compared: usize = self.sizes.values().sum();
        let rounds = self.comparison.rounds();
        match self.version() {
            Some(version) => writeln!(text, "peer: {peer}, node_exporter {version}")?,
            None => writeln!(text, "peer: {peer}")?,
        }
        writeln!(text, "here: {here}")?;
        let took = took.as_secs_f64();
        writeln!(
            text,
            "compared: {} in {} within {took:.1} s",
            count(compared, "series"),
            count(rounds as usize, "round")
        )?;
        if let Some(reason) = first_failure {
            writeln!(text, "not made: {}: {reason}", count(*failed_rounds as usize, "round"))?;
        }
        for note in notes {
            writeln!(text, "note: {note}")?;
        }
        if let Some(version) = self.version().filter(|version| *version != EMULATED_VERSION) {
            writeln!(
                text,
                "note: vitald has the metrics of node_exporter {EMULATED_VERSION}; what releases after \
                 {version} have changed is in docs/migration.md"
            )?;
        }
        self.write_faults(text)?;
        self.write_relabelled(text)?;
        self.write_types(text)?;
        for (movement, series) in &self.movements {
            let example = series.first().copied().unwrap_or_default();
            let such = if series.len() > 1 { "such as " } else { "" };
            let word = movement.word();
            writeln!(text, "\n{word}: {}: {such}{example}", count(series.len(), "series"))?;
        }
        let gone: usize = self.comparison.families.values().map(|family| family.forgotten).sum();
        if gone > 0 {
            writeln!(
                text,
                "\ngone: {} that came and went are counted only",
                count(gone, "series")
            )?;
        }
        self.write_left_out(text)?;
        let (series, families) = (self.wrong_series(), self.wrong_families());
        text.push('\n');
        match (self.is_equal(), self.has_failed()) {
            (true, _) if self.is_empty() => writeln!(text, "There is nothing to compare."),
            (false, _) => {
                let (series, families) = (count(series, "series"), count(families, "family"));
                writeln!(text, "They differ in {families}, {series}.")
            }
            (true, true) => {
                writeln!(text, "Nothing differs so far, but not every round could be made.")
            }
            (true, false) => writeln!(text, "They are equal."),
        }
    }

    fn write_faults(&self, text: &mut String) -> fmt::Result {
        let rounds = self.comparison.rounds();
        let mut last = None;
        for ((fault, family), series) in &self.faults {
            if last.replace(*fault) != Some(*fault) {
                let of_fault = || self.faults.iter().filter(|((other, _), _)| other == fault);
                let all: usize = of_fault().map(|(key, _)| self.wrong_of(key)).sum();
                let title = match fault {
                    Fault::Missing => "missing here".to_owned(),
                    Fault::Extra => "only here".to_owned(),
                    Fault::Counter => "counters that disagree".to_owned(),
                    Fault::Gauge => format!("gauges that never agree to {}", self.tolerance()),
                };
                let families = count(of_fault().count(), "family");
                writeln!(text, "\n{title}: {} in {families}", count(all, "series"))?;
            }
            let size = self.sizes.get(family).copied().unwrap_or_default();
            let wrong = self.wrong_of(&(*fault, *family));
            writeln!(text, "  {family}: {wrong} of {size}")?;
            // Where a side has nothing of a family, one series shows the labels.
            let is_absent = size == wrong && matches!(fault, Fault::Missing | Fault::Extra);
            let most = if is_absent { 1 } else { MOST_IN_WORDS };
            for (name, watched) in series.iter().take(most) {
                write!(text, "    {name}")?;
                if matches!(fault, Fault::Counter | Fault::Gauge) {
                    let Values { before, here, after } = watched.values;
                    let [before, here, after] = [before, here, after].map(number);
                    write!(text, ": {here} here, between {before} and {after} there")?;
                }
                writeln!(text, "{}", when(fault.tally(watched), rounds))?;
            }
            let shown = series.len().min(most);
            if wrong > shown && !is_absent {
                writeln!(text, "    and {} more", wrong - shown)?;
            }
        }
        Ok(())
    }

    fn write_relabelled(&self, text: &mut String) -> fmt::Result {
        if !self.relabelled.is_empty() {
            let series: usize = self.relabelled.values().map(Vec::len).sum();
            writeln!(text, "\nwith one label more on a side: {}", count(series, "series"))?;
        }
        for (relabelled, series) in &self.relabelled {
            let Relabelled { family, label, .. } = relabelled;
            let size = self.sizes.get(family).copied().unwrap_or_default();
            // Both series of a pair are in the size.
            let size = size - series.len();
            let (series, side) = (series.len(), relabelled.side());
            writeln!(text, "  {family}: {series} of {size} has the label {label} {side}")?;
        }
        Ok(())
    }

    fn write_types(&self, text: &mut String) -> fmt::Result {
        let types = &self.comparison.types;
        if !types.is_empty() {
            writeln!(text, "\nof another type: {}", count(types.len(), "family"))?;
        }
        for (family, types) in types {
            let (there, here) = (types.there.word(), types.here.word());
            let when = when(types.tally, self.comparison.rounds());
            writeln!(text, "  {family}: {here} here, {there} there{when}")?;
        }
        Ok(())
    }

    fn write_left_out(&self, text: &mut String) -> fmt::Result {
        let empty = text.len();
        for (exception, (there, here)) in self.left_out() {
            let Exception { beginning, why } = exception;
            writeln!(text, "not compared: {beginning}* ({why}): {there} there, {here} here")?;
        }
        for (pattern, (there, here)) in self.ignored() {
            writeln!(text, "ignored: {pattern}: {there} there, {here} here")?;
        }
        for Exception { beginning, why } in VALUES_OF_THE_PROGRAM {
            if self.sizes.contains_key(beginning) {
                writeln!(text, "values not compared: {beginning} ({why})")?;
            }
        }
        for slack in SLACKS.iter().filter(|slack| self.sizes.contains_key(slack.family)) {
            let (family, by, why) = (slack.family, number(slack.slack), slack.why);
            writeln!(text, "may differ by {by}: {family} ({why})")?;
        }
        if text.len() > empty {
            text.insert(empty, '\n');
        }
        Ok(())
    }

    /// The report as JSON.
    pub(crate) fn json(&self) -> Value {
        let About { peer, here, took, failed_rounds, first_failure, notes } = &self.about;
        let faults = self.faults.iter().map(|((fault, family), series)| {
            let shown = series.iter().take(MOST_IN_JSON).map(|(name, watched)| {
                let tally = fault.tally(watched);
                let mut shown = json!({ "series": name, "rounds": tally.rounds, "first_round": tally.first, "last_round": tally.last });
                if matches!(fault, Fault::Counter | Fault::Gauge) {
                    let Values { before, here, after } = watched.values;
                    shown["before"] = json_number(before);
                    shown["here"] = json_number(here);
                    shown["after"] = json_number(after);
                }
                shown
            });
            json!({
                "fault": fault.word(),
                "family": family,
                "series": self.wrong_of(&(*fault, *family)),
                "series_of_family": self.sizes.get(family),
                "shown": shown.collect::<Vec<_>>(),
            })
        });
        let types = self.comparison.types.iter().map(|(family, types)| {
            json!({
                "fault": "type",
                "family": &**family,
                "there": types.there.word(),
                "here": types.here.word(),
                "rounds": types.tally.rounds,
                "first_round": types.tally.first,
                "last_round": types.tally.last,
            })
        });
        let relabelled = self.relabelled.iter().map(|(relabelled, series)| {
            json!({
                "fault": "label",
                "family": relabelled.family,
                "label": relabelled.label,
                "side": relabelled.side(),
                "series": series.len(),
                "shown": series.iter().take(MOST_IN_JSON).collect::<Vec<_>>(),
            })
        });
        let movements = self.movements.iter().map(|(movement, series)| {
            let shown: Vec<_> = series.iter().take(MOST_IN_JSON).collect();
            (movement.word().replace(' ', "_"), json!({ "series": series.len(), "shown": shown }))
        });
        let left_out = self.left_out().into_iter().map(|(exception, (there, here))| {
            json!({ "beginning": exception.beginning, "why": exception.why, "there": there, "here": here })
        });
        let ignored = self.ignored().map(
            |(pattern, (there, here))| json!({ "pattern": pattern, "there": there, "here": here }),
        );
        json!({
            "peer": peer,
            "peer_version": self.version(),
            "here": here,
            "equal": self.is_equal() && !self.has_failed() && !self.is_empty(),
            "rounds": self.comparison.rounds(),
            "failed_rounds": failed_rounds,
            "first_failure": first_failure,
            "seconds": took.as_secs_f64(),
            "series": self.sizes.values().sum::<usize>(),
            "tolerance": self.comparison.rules().tolerance,
            "differences": faults.chain(relabelled).chain(types).collect::<Vec<_>>(),
            "movements": movements.collect::<serde_json::Map<_, _>>(),
            "not_compared": left_out.collect::<Vec<_>>(),
            "ignored": ignored.collect::<Vec<_>>(),
            "notes": notes,
        })
    }
}

/// In which rounds something was so; nothing if it was in all.
fn when(tally: Tally, rounds: u32) -> String {
    if tally.rounds == 0 {
        // It is the family that differs.
        return String::new();
    }
    match (tally.rounds == rounds, tally.first == tally.last) {
        (true, _) => String::new(),
        (false, true) => format!(" (in round {} of {rounds})", tally.first),
        (false, false) => {
            let Tally { rounds: so, first, last } = tally;
            format!(" (in {so} of {rounds} rounds, from {first} to {last})")
        }
    }
}

fn count(count: usize, noun: &str) -> String {
    match (count, noun) {
        (1, _) | (_, "series") => format!("{count} {noun}"),
        (_, "family") => format!("{count} families"),
        _ => format!("{count} {noun}s"),
    }
}

/// As on a page.
fn number(value: f64) -> String {
    let mut digits = Vec::new();
    write_number(&mut digits, value);
    String::from_utf8_lossy(&digits).into_owned()
}
