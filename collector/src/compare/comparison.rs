//! What the rounds so far have shown.

use super::exceptions::{OF_THE_PROGRAM, VALUES_OF_THE_PROGRAM, find, slack_of};
use super::page::{Page, Sample};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use vitald_core::family::Kind;
use vitald_core::pattern::Pattern;

/// How many rounds it takes until a series that was seen in one of them alone is one that comes and goes.
const FEW_ROUNDS: u32 = 3;

/// By how much of its value a counter may lie beyond its bounds: what two ways to scale it may differ in.
const ROUNDING: f64 = 1e-9;

/// How many series are kept, with those that have gone. Beyond it, those that are in no page of a round are
/// forgotten but for their number, or labels that change all the time would take the memory.
const MOST_KEPT: usize = 200_000;

/// What is compared, and how closely.
pub(crate) struct Rules {
    /// By how much of its value a gauge may lie beyond its bounds.
    pub(crate) tolerance: f64,
    /// Series that are left out, by name and labels.
    pub(crate) ignored: Vec<Pattern>,
}

/// Pages that are compared round by round.
pub(crate) struct Comparison {
    rules: Rules,
    rounds: u32,
    pub(super) series: HashMap<Box<str>, Watched>,
    pub(super) types: BTreeMap<Arc<str>, Types>,
    /// The families of the series that count for the verdict.
    pub(super) families: BTreeMap<Arc<str>, WatchedFamily>,
    pub(super) most_kept: usize,
}

/// A family with series that count for the verdict.
#[derive(Default)]
pub(super) struct WatchedFamily {
    there: Presence,
    here: Presence,
    /// How many of its series have gone and are not kept any more.
    pub(super) forgotten: usize,
    /// How many of those were wrong, in the order of [`Fault`].
    wrong: [usize; Fault::ALL.len()],
}

/// A series that either side has shown.
pub(super) struct Watched {
    pub(super) family: Arc<str>,
    pub(super) treatment: Treatment,
    is_cumulative: bool,
    /// In the pages of the peer, of which a round has two.
    pub(super) there: Presence,
    pub(super) here: Presence,
    /// The peer had it before and after, and here it was not.
    pub(super) missing: Tally,
    /// Here it was, and the peer had it neither before nor after.
    pub(super) extra: Tally,
    /// In how many rounds its value was looked at, and in which it was wrong.
    pub(super) judged: u32,
    pub(super) outside: Tally,
    /// The last values that were wrong.
    pub(super) values: Values,
}

/// How a series is looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Treatment {
    /// Both sides must have it, with one value.
    Compared,
    /// Both sides must have it.
    Present,
    /// It is of the program that shows it: the place in the list of those.
    OfTheProgram(usize),
    /// A pattern leaves it out: the place in the list of those.
    Ignored(usize),
}

/// The values of a series in a round.
#[derive(Clone, Copy, Default)]
pub(super) struct Values {
    pub(super) before: f64,
    pub(super) here: f64,
    pub(super) after: f64,
}

/// In which of some pages a series was.
#[derive(Clone, Copy, Default)]
pub(super) struct Presence {
    pub(super) first: u32,
    pub(super) last: u32,
    pub(super) pages: u32,
    pub(super) has_gap: bool,
}

/// In which rounds something was so.
#[derive(Clone, Copy, Default)]
pub(super) struct Tally {
    pub(super) rounds: u32,
    /// The first one, counted from 1.
    pub(super) first: u32,
    pub(super) last: u32,
}

/// The types of a family that both sides have, where they differ.
pub(super) struct Types {
    pub(super) there: Kind,
    pub(super) here: Kind,
    pub(super) tally: Tally,
}

/// What is wrong with a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fault {
    Missing,
    Extra,
    Counter,
    Gauge,
}

impl Fault {
    pub(super) const ALL: [Fault; 4] = [Fault::Missing, Fault::Extra, Fault::Counter, Fault::Gauge];
}

impl Presence {
    fn see(&mut self, page: u32) {
        if self.pages > 0 && self.last == page {
            return;
        }
        if self.pages == 0 {
            self.first = page;
        } else if self.last + 1 != page {
            self.has_gap = true;
        }
        (self.last, self.pages) = (page, self.pages + 1);
    }
}

impl Tally {
    fn count(&mut self, round: u32) {
        if self.rounds == 0 {
            self.first = round;
        }
        (self.last, self.rounds) = (round, self.rounds + 1);
    }
}

impl Comparison {
    pub(crate) fn new(rules: Rules) -> Self {
        Comparison {
            rules,
            rounds: 0,
            series: HashMap::new(),
            types: BTreeMap::new(),
            families: BTreeMap::new(),
            most_kept: MOST_KEPT,
        }
    }

    /// How many rounds were compared.
    pub(crate) fn rounds(&self) -> u32 {
        self.rounds
    }

    pub(super) fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Takes the page of ours, and those that the peer gave before and after it.
    pub(crate) fn add(&mut self, before: &Page, here: &Page, after: &Page) {
        let round = self.rounds;
        self.rounds += 1;
        for (page, index) in [(before, 2 * round), (after, 2 * round + 1)] {
            for (text, sample) in &page.samples {
                if self.watch(text, sample, |watched| watched.there.see(index)) {
                    self.family(&sample.family).there.see(index);
                }
            }
        }
        for (text, sample) in &here.samples {
            if self.watch(text, sample, |watched| watched.here.see(round)) {
                self.family(&sample.family).here.see(round);
            }
        }
        for (text, watched) in &mut self.series {
            let value = |page: &Page| page.samples.get(text).map(|sample| sample.value);
            watched.judge(self.rounds, &self.rules, [value(before), value(here), value(after)]);
        }
        self.compare_types(before, here);
        self.compare_types(after, here);
        if self.series.len() > self.most_kept {
            self.forget();
        }
    }

    /// Forgets the series that are in no page of the last round, and counts them.
    fn forget(&mut self) {
        let (round, mut gone) = (self.rounds - 1, std::mem::take(&mut self.series));
        gone.retain(|_, watched| {
            let is_there = watched.there.pages > 0 && watched.there.last >= 2 * round;
            let is_seen = is_there || watched.here.pages > 0 && watched.here.last == round;
            if !is_seen && watched.is_compared() {
                let fault = self.own_fault(watched);
                let family = self.family(&watched.family);
                family.forgotten += 1;
                if let Some(fault) = fault {
                    family.wrong[fault as usize] += 1;
                }
            }
            is_seen
        });
        self.series = gone;
    }

    fn family(&mut self, name: &Arc<str>) -> &mut WatchedFamily {
        self.families.entry(Arc::clone(name)).or_default()
    }

    /// Whether the series counts for the verdict.
    fn watch(&mut self, text: &str, sample: &Sample, see: impl FnOnce(&mut Watched)) -> bool {
        if let Some(watched) = self.series.get_mut(text) {
            see(watched);
            return watched.is_compared();
        }
        let mut watched = Watched {
            family: Arc::clone(&sample.family),
            treatment: self.treatment(&sample.family, text),
            is_cumulative: sample.is_cumulative,
            there: Presence::default(),
            here: Presence::default(),
            missing: Tally::default(),
            extra: Tally::default(),
            judged: 0,
            outside: Tally::default(),
            values: Values::default(),
        };
        see(&mut watched);
        let is_compared = watched.is_compared();
        self.series.insert(text.into(), watched);
        is_compared
    }

    fn treatment(&self, family: &str, text: &str) -> Treatment {
        let of_the_program =
            OF_THE_PROGRAM.iter().position(|exception| family.starts_with(exception.beginning));
        let ignored =
            self.rules.ignored.iter().position(|pattern| pattern.matches(text.as_bytes()));
        match (ignored, of_the_program) {
            (Some(at), _) => Treatment::Ignored(at),
            (None, Some(at)) => Treatment::OfTheProgram(at),
            (None, None) if find(VALUES_OF_THE_PROGRAM, family).is_some() => Treatment::Present,
            (None, None) => Treatment::Compared,
        }
    }

    fn compare_types(&mut self, there: &Page, here: &Page) {
        for (family, kind) in &here.kinds {
            let Some(theirs) = there.kinds.get(family).filter(|theirs| *theirs != kind) else {
                continue;
            };
            let treatment = self.treatment(family, family);
            if !matches!(treatment, Treatment::Compared | Treatment::Present) {
                continue;
            }
            let known = self.types.entry(Arc::clone(family));
            let types =
                known.or_insert(Types { there: *theirs, here: *kind, tally: Tally::default() });
            if types.tally.last != self.rounds {
                types.tally.count(self.rounds);
            }
        }
    }

    /// What is wrong with a series, all rounds considered: with it, or with its family.
    pub(super) fn fault(&self, watched: &Watched) -> Option<Fault> {
        let of_family = || self.fault_of_family(self.families.get(&watched.family)?);
        self.own_fault(watched).or_else(of_family)
    }

    /// A family that was in every page of one side and in none of the other. Its labels may have changed from
    /// page to page, so that each of its series was there once.
    fn fault_of_family(&self, family: &WatchedFamily) -> Option<Fault> {
        let WatchedFamily { there, here, .. } = family;
        match (there.pages, here.pages) {
            (pages, 0) if pages == 2 * self.rounds => Some(Fault::Missing),
            (0, pages) if pages == self.rounds => Some(Fault::Extra),
            _ => None,
        }
    }

    /// How many series that are not kept any more have a fault.
    pub(super) fn forgotten(&self, family: &WatchedFamily, fault: Fault) -> usize {
        match self.fault_of_family(family) {
            Some(of_family) if of_family == fault => family.forgotten,
            Some(_) => 0,
            None => family.wrong[fault as usize],
        }
    }

    fn own_fault(&self, watched: &Watched) -> Option<Fault> {
        let Watched { there, here, missing, extra, outside, judged, .. } = watched;
        // A series that comes and goes on the side that has it may be seen by one side alone now and then.
        let comes_and_goes = |presence: &Presence, pages: u32| {
            presence.has_gap || self.rounds >= FEW_ROUNDS && presence.pages <= pages
        };
        let is_fault = |alone: &Tally, side: &Presence, pages: u32, other: &Presence| {
            let is_chance = other.pages > 0 || alone.rounds == 1;
            alone.rounds > 0 && !(comes_and_goes(side, pages) && is_chance)
        };
        if is_fault(missing, there, 2, here) {
            Some(Fault::Missing)
        } else if is_fault(extra, here, 1, there) {
            Some(Fault::Extra)
        } else if watched.is_cumulative {
            (outside.rounds > 0).then_some(Fault::Counter)
        } else {
            let is_seen = *judged > 0 && (*judged > 1 || self.rounds < FEW_ROUNDS);
            (is_seen && outside.rounds == *judged).then_some(Fault::Gauge)
        }
    }

    /// Whether a further round may change what is found: a gauge has not agreed yet.
    pub(crate) fn is_undecided(&self) -> bool {
        self.series.values().any(|watched| self.fault(watched) == Some(Fault::Gauge))
    }
}

impl Watched {
    /// Whether it counts for the verdict.
    pub(super) fn is_compared(&self) -> bool {
        matches!(self.treatment, Treatment::Compared | Treatment::Present)
    }

    fn judge(&mut self, round: u32, rules: &Rules, values: [Option<f64>; 3]) {
        if !self.is_compared() {
            return;
        }
        match values {
            [Some(_), None, Some(_)] => self.missing.count(round),
            [None, Some(_), None] => self.extra.count(round),
            [Some(before), Some(here), Some(after)] if self.treatment == Treatment::Compared => {
                self.judged += 1;
                let values = Values { before, here, after };
                if !self.agrees(values, rules.tolerance) {
                    self.outside.count(round);
                    self.values = values;
                }
            }
            // It has come or gone between two pages, or no side has it any more.
            _ => {}
        }
    }

    fn agrees(&self, values: Values, tolerance: f64) -> bool {
        let Values { before, here, after } = values;
        if [before, after].iter().any(|there| *there == here || there.is_nan() && here.is_nan()) {
            return true;
        }
        let (least, most) = (before.min(after), before.max(after));
        let share = least.abs().max(most.abs());
        let beyond = if self.is_cumulative {
            share * ROUNDING
        } else {
            // It may have moved on, and back, by as much as from one page to the other.
            (share * tolerance).max(most - least)
        };
        let beyond = beyond + slack_of(&self.family);
        least - beyond <= here && here <= most + beyond
    }
}
