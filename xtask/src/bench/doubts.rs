//! What makes figures doubtful, and what has to be known of them.

use super::figures::{Figures, Regime, Size};
use super::machine;
use super::names::{THEIRS, VITALD};

/// How much less vitald may show of the host than node_exporter, for their costs to be compared, and how much more without
/// being noted.
const MOST_APART: f64 = 0.02;
/// The share of the machine's CPU time that other work may have.
const MOST_OTHERS: f64 = 0.1;

/// Everything that is not as it has to be.
pub(crate) fn doubts(figures: &Figures) -> Vec<String> {
    let mut doubts = Vec::new();
    doubts.extend(of_load(figures.load, machine::most_load()));
    doubts.extend(of_others(figures.others));
    let sets = figures.sets.iter();
    let of_sets =
        sets.flat_map(|set| set.regimes.iter().map(|regime| (set.name.to_owned(), regime)));
    let of_kernels = figures.kernels.iter().map(|host| (host.place(), &host.regime));
    doubts.extend(of_sets.chain(of_kernels).filter_map(|(place, it)| of_control(&place, it)));
    let lacks =
        pages(figures).filter(|(_, pages)| pages.lacks()).map(|(place, it)| it.told(&place));
    doubts.extend(lacks);
    doubts
}

/// Where vitald shows more than node_exporter, which a newer one also shows: it has more to do then.
pub(crate) fn notes(figures: &Figures) -> Vec<String> {
    let has_more = pages(figures).filter(|(_, pages)| pages.has_more());
    has_more.map(|(place, pages)| pages.told(&place)).collect()
}

/// What both programs show of each place, where both are there.
fn pages(figures: &Figures) -> impl Iterator<Item = (String, Pages<'_>)> {
    let of_sets = figures.sets.iter().map(|set| (set.name.to_owned(), &set.sizes));
    let of_kernels = figures.kernels.iter().map(|host| (host.place(), &host.sizes));
    // What one of them lacks they all lack.
    let last = figures.hosts.last();
    let of_hosts = last.map(|host| (format!("{} CPUs", host.cpus), &host.sizes));
    let all = of_sets.chain(of_kernels).chain(of_hosts);
    all.filter_map(|(place, sizes)| Some((place, Pages::of(sizes)?)))
}

/// What else the machine does takes caches and processors away.
fn of_load(load: f64, limit: f64) -> Option<String> {
    (load > limit).then(|| {
        format!(
            "the machine was busy with other work: the load average was {load:.2} before the run, and may be {limit:.2}"
        )
    })
}

fn of_others(share: f64) -> Option<String> {
    (share > MOST_OTHERS).then(|| {
        format!(
            "the machine was busy with other work: it had {:.0} % of the CPU time during the run, and may have {:.0} %",
            share * 100.0,
            MOST_OTHERS * 100.0
        )
    })
}

/// vitald beside itself has to cost the same.
fn of_control(place: &str, regime: &Regime) -> Option<String> {
    let control = regime.control().filter(|control| !control.holds(1.0))?;
    Some(format!(
        "{place}, {}: vitald beside itself is {control}, which does not hold 1, in {} blocks: differences of this size \
         mean nothing",
        regime.name,
        regime.blocks()
    ))
}

/// What two programs show of the same host.
struct Pages<'a> {
    ours: &'a Size,
    theirs: &'a Size,
}

impl<'a> Pages<'a> {
    fn of(sizes: &'a [Size]) -> Option<Pages<'a>> {
        let of = |name: &str| sizes.iter().find(|size| size.name == name);
        let (ours, theirs) = of(VITALD).zip(of(THEIRS))?;
        Some(Pages { ours, theirs })
    }

    /// By which share of node_exporter's samples vitald has more.
    fn more(&self) -> f64 {
        self.ours.of_host as f64 / self.theirs.of_host.max(1) as f64 - 1.0
    }

    fn lacks(&self) -> bool {
        self.more() < -MOST_APART
    }

    fn has_more(&self) -> bool {
        self.more() > MOST_APART
    }

    fn told(&self, place: &str) -> String {
        let Pages { ours, theirs } = self;
        format!(
            "{place}: vitald shows {} samples of the host and node_exporter {}, which is {:.1} % {}. Only vitald has {}; \
             only node_exporter has {}",
            ours.of_host,
            theirs.of_host,
            self.more().abs() * 100.0,
            if self.lacks() { "less" } else { "more" },
            alone(ours, theirs),
            alone(theirs, ours)
        )
    }
}

/// The families that one has and the other has not.
fn alone(one: &Size, other: &Size) -> String {
    let alone: Vec<&str> = one.families.difference(&other.families).map(String::as_str).collect();
    if alone.is_empty() { "none of its own".to_owned() } else { alone.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::figures::Row;
    use crate::bench::figures::tests::figures;
    use crate::bench::names::CONTROL;
    use std::collections::BTreeSet;

    fn beside_itself(control: f64) -> Regime {
        let row = |name, spent: f64| Row::new(name, (vec![spent; 8], vec![1e-3; 8]), 1);
        let mut regime = Regime::new("2 Hz");
        regime.extend(vec![row(VITALD, 1e5), row(CONTROL, control * 1e5)]);
        regime
    }

    #[test]
    fn a_control_that_does_not_hold_1() {
        assert_eq!(of_control("sixteen", &beside_itself(1.0)), None);
        for control in [1.03, 0.9] {
            let doubt = of_control("sixteen", &beside_itself(control)).unwrap();
            assert!(doubt.starts_with("sixteen, 2 Hz: vitald beside itself is"), "{doubt}");
        }
    }

    #[test]
    fn pages_that_are_not_the_same() {
        let size = |name, of_host, family: &str| Size {
            name,
            of_host,
            families: BTreeSet::from(["same".to_owned(), family.to_owned()]),
            ..Size::default()
        };
        for (ours, lacks, has_more) in [(100, false, false), (97, true, false), (103, false, true)]
        {
            let sizes = [size(VITALD, ours, "a"), size(THEIRS, 100, "b")];
            let pages = Pages::of(&sizes).unwrap();
            assert_eq!((pages.lacks(), pages.has_more()), (lacks, has_more), "{ours}");
        }
        let sizes = [size(VITALD, 97, "a"), size(THEIRS, 100, "b")];
        assert_eq!(
            Pages::of(&sizes).unwrap().told("here"),
            "here: vitald shows 97 samples of the host and node_exporter 100, which is 3.0 % less. Only vitald has a; only \
             node_exporter has b"
        );
        assert!(Pages::of(&sizes[..1]).is_none());
    }

    #[test]
    fn a_busy_machine() {
        assert_eq!(of_load(0.5, 0.5).or(of_others(0.1)), None);
        assert!(of_load(0.51, 0.5).is_some());
        assert!(of_others(0.11).is_some());
    }

    #[test]
    fn every_doubt_of_a_run_is_found() {
        assert_eq!(doubts(&figures()), [""; 0]);
        let busy = Figures { load: 1e6, others: 0.5, ..figures() };
        assert_eq!(doubts(&busy).len(), 2);
        let mut off = figures();
        off.sets[0].regimes[1] = beside_itself(1.1);
        off.kernels[1].regime = beside_itself(1.1);
        off.hosts[1].sizes[1].of_host *= 2;
        off.kernels[0].sizes[0].of_host *= 2;
        assert_eq!(doubts(&off).len(), 3);
        assert_eq!(notes(&off).len(), 1);
        assert_eq!(notes(&figures()), [""; 0]);
    }
}
