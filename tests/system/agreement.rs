//! Whether vitald shows what another program shows of the same machine at the same time.

use super::page::{Page, Series};
use std::collections::{BTreeMap, BTreeSet};

/// A family or a beginning of families, and why only one side has it.
pub type Exception = (&'static str, &'static str);

/// What is called a counter and falls all the same: it has to agree once, as a gauge has to.
const FALLING: [Exception; 4] = [
    ("node_lnstat_entries_total", "connections that the kernel tracks now, and its neighbours"),
    ("node_xfs_vnode_active_total", "the files that it has in use now"),
    // The time for which a CPU has waited for a disk becomes idle time when the task goes on elsewhere. Each program shows the
    // most that it has seen, and they look at different moments.
    ("node_cpu_seconds_total", "the kernel takes some of it back"),
    ("node_cpu_guest_seconds_total", "the same"),
];

/// How the two pages may differ.
pub struct Agreement {
    pub only_there: &'static [Exception],
    pub only_here: &'static [Exception],
    /// Labels that are new here, by the beginning of the family.
    pub new_labels: &'static [(&'static str, &'static str)],
    /// Beginnings of families whose values are of the program that shows them.
    pub of_the_program: &'static [&'static str],
    /// What a reader changes by reading, and by how much the values may differ.
    pub readers_own: &'static [(&'static str, f64)],
    /// Families whose series or values are others here, and why.
    pub changed: &'static [Exception],
    /// Families whose series may be there for a moment only.
    pub momentary: &'static [&'static str],
}

/// What has been compared so far.
pub struct Comparison {
    agreement: Agreement,
    pub rounds: usize,
    /// Series of both pages.
    pub compared: usize,
    /// What has not yet agreed, and the last three values.
    pub undecided: BTreeMap<Series, String>,
}

fn begins<'a>(name: &str, mut beginnings: impl Iterator<Item = &'a &'static str>) -> bool {
    beginnings.any(|beginning| name.starts_with(beginning))
}

fn listed(name: &str, exceptions: &[Exception]) -> bool {
    begins(name, exceptions.iter().map(|(beginning, _)| beginning))
}

/// Asserts that what a side has in all of its pages and the other in none of its own is what is
/// listed, and that the list has nothing else.
fn only(side: &str, pages: &[&Page], others: &[&Page], exceptions: &[Exception]) {
    let has = |page: &&Page, name: &String| page.kinds.contains_key(name);
    let is_alone = |name: &&String| {
        pages.iter().all(|page| has(page, name)) && !others.iter().any(|page| has(page, name))
    };
    let alone: Vec<&String> = pages[0].kinds.keys().filter(is_alone).collect();
    let unlisted: Vec<_> = alone.iter().filter(|name| !listed(name, exceptions)).collect();
    assert!(unlisted.is_empty(), "only {side} has {unlisted:?}");
    for (beginning, why) in exceptions {
        let is_needed = alone.iter().any(|name| name.starts_with(beginning));
        assert!(is_needed, "not only {side} has {beginning}: {why}");
    }
}

impl Comparison {
    pub fn new(agreement: Agreement) -> Comparison {
        Comparison { agreement, rounds: 0, compared: 0, undecided: BTreeMap::new() }
    }

    /// Compares our page with one of the other program before it and one after it.
    ///
    /// A counter that only rises lies between the two each time. What else there is does so sooner or later: it
    /// may go up and down meanwhile.
    pub fn round(&mut self, before: &Page, shown: &Page, after: &Page) {
        self.rounds += 1;
        if self.rounds == 1 {
            only("the other program", &[before, after], &[shown], self.agreement.only_there);
            only("vitald", &[shown], &[before, after], self.agreement.only_here);
            for (name, kind) in &before.kinds {
                let ours = shown.kinds.get(name);
                assert!(ours.is_none_or(|ours| ours == kind), "{name} is {kind}, not {ours:?}");
            }
        }
        let ours = self.as_before(shown);
        self.compared = ours.keys().filter(|series| before.samples.contains_key(series)).count();
        let all: BTreeSet<&Series> =
            before.samples.keys().chain(ours.keys()).chain(after.samples.keys()).collect();
        let mut wrong = Vec::new();
        for series in all {
            let values = [before.samples.get(series), ours.get(series), after.samples.get(series)];
            let is_counter = shown.kinds.get(&series.name).is_some_and(|kind| kind == "counter");
            let rises = is_counter && !FALLING.iter().any(|(falls, _)| *falls == series.name);
            wrong.extend(self.series(series, values, rises));
        }
        assert!(wrong.is_empty(), "round {}: {wrong:#?}", self.rounds);
    }

    /// What is wrong with a series that must be right each time.
    fn series(
        &mut self,
        series: &Series,
        [before, shown, after]: [Option<&f64>; 3],
        rises: bool,
    ) -> Option<String> {
        let Agreement { only_there, of_the_program, readers_own, changed, momentary, .. } =
            &self.agreement;
        let is_other = [only_there, changed].iter().any(|list| listed(&series.name, list));
        if is_other || begins(&series.name, of_the_program.iter()) {
            return None;
        }
        let (Some(least), Some(value), Some(most)) = (before, shown, after) else {
            return match (before, shown, after) {
                _ if momentary.contains(&series.name.as_str()) => None,
                (Some(_), None, Some(_)) => Some(format!("vitald has no {series:?}")),
                (None, Some(_), None) => Some(format!("only vitald has {series:?}")),
                _ => None,
            };
        };
        let slack = readers_own.iter().find(|(beginning, _)| series.name.starts_with(beginning));
        let slack = slack.map_or(0.0, |(_, slack)| *slack);
        let both_are = |is: fn(f64) -> bool| is(*least) && is(*value);
        let is_between = both_are(f64::is_nan)
            || least.min(*most) - slack <= *value && *value <= least.max(*most) + slack;
        let said = format!("{least} {value} {most}");
        if is_between {
            self.undecided.remove(series);
        } else if self.rounds == 1 || self.undecided.contains_key(series) {
            self.undecided.insert(series.clone(), said.clone());
        }
        (rises && !is_between).then(|| format!("{series:?}: {said}"))
    }

    /// The samples that the other program could have, without the labels that are new.
    fn as_before(&self, page: &Page) -> BTreeMap<Series, f64> {
        let Agreement { only_here, new_labels, .. } = &self.agreement;
        let mut samples = BTreeMap::new();
        for (series, value) in &page.samples {
            if listed(&series.name, only_here) {
                continue;
            }
            let mut series = series.clone();
            let new = new_labels.iter().filter(|(family, _)| series.name.starts_with(family));
            for (_, label) in new.collect::<Vec<_>>() {
                let had = series.labels.remove(*label);
                assert!(had.is_some(), "{series:?} has no {label}");
            }
            samples.insert(series, *value);
        }
        samples
    }
}
