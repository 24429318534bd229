//! What makes figures doubtful.

use super::figures::{Figures, Regime, Size};
use super::names::{THEIRS, VITALD};

/// How far the samples of the host that two programs show may be apart, for their costs to be compared.
const MOST_APART: f64 = 0.02;
/// How far from 1 a whole interval of the control may be, before the run is worthless.
const MOST_OFF: f64 = 0.05;

/// The share of the machine's CPU time that other work may have.
const MOST_OTHERS: f64 = 0.1;

/// What else the machine does takes caches and processors away: `others` is its share of the CPU time while
/// nothing is measured.
pub(crate) fn doubt_rest(when: &'static str, others: f64, figures: &mut Figures) {
    figures.circumstances.push((when, format!("{:.0} %", others * 100.0)));
    if others > MOST_OTHERS {
        figures.is_busy = true;
        figures.doubts.push(format!(
            "the machine was busy with other work: these figures are not for quoting ({when})"
        ));
    }
}

/// vitald beside itself has to cost the same.
pub(crate) fn doubt_control(place: &str, regime: &Regime, figures: &mut Figures) {
    let Some(control) = regime.control().filter(|control| !control.holds(1.0)) else { return };
    let name = &regime.name;
    figures.doubts.push(format!(
        "{place}, {name}: vitald beside itself is {control}, which does not hold 1, also when measured again: \
         differences of this size mean nothing"
    ));
    figures.is_worthless |= control.least > 1.0 + MOST_OFF || control.most < 1.0 - MOST_OFF;
}

/// Programs that show different things cannot be compared.
pub(crate) fn doubt_samples(place: &str, sizes: &[Size], figures: &mut Figures) {
    let of = |name: &str| sizes.iter().find(|size| size.name == name);
    let (Some(ours), Some(theirs)) = (of(VITALD), of(THEIRS)) else { return };
    let (here, there) = (ours.of_host, theirs.of_host);
    let apart = here.abs_diff(there) as f64 / here.max(there).max(1) as f64;
    if apart > MOST_APART {
        figures.doubts.push(format!(
            "{place}: vitald shows {here} samples of the host and node_exporter {there}, which is {:.2} % \
             apart, and more than {:.0} %. Only vitald has {}; only node_exporter has {}",
            apart * 100.0,
            MOST_APART * 100.0,
            alone(ours, theirs),
            alone(theirs, ours)
        ));
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
    use crate::bench::names::CONTROL;
    use std::collections::BTreeSet;

    fn beside_itself(control: f64) -> Regime {
        let row = |name, spent: f64| Row::new(name, (vec![spent; 8], vec![1e-3; 8]), 1);
        Regime::of("2 Hz", vec![row(VITALD, 1e5), row(CONTROL, control * 1e5)])
    }

    #[test]
    fn a_control_that_does_not_hold_1() {
        for (control, doubts, is_worthless) in [(1.0, 0, false), (1.03, 1, false), (0.9, 1, true)] {
            let mut figures = Figures::default();
            doubt_control("sixteen", &beside_itself(control), &mut figures);
            assert_eq!((figures.doubts.len(), figures.is_worthless), (doubts, is_worthless));
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
        let mut figures = Figures::default();
        doubt_samples("here", &[size(VITALD, 100, "a"), size(THEIRS, 98, "b")], &mut figures);
        assert!(figures.doubts.is_empty());
        doubt_samples("here", &[size(VITALD, 100, "a"), size(THEIRS, 97, "b")], &mut figures);
        assert!(figures.doubts[0].contains("3.00 % apart"), "{:?}", figures.doubts);
        assert!(figures.doubts[0].ends_with("Only vitald has a; only node_exporter has b"));
    }

    #[test]
    fn a_busy_machine() {
        let mut figures = Figures::default();
        doubt_rest("CPU time before", 0.05, &mut figures);
        assert!(!figures.is_busy && figures.doubts.is_empty());
        doubt_rest("CPU time after", 0.3, &mut figures);
        assert!(figures.is_busy && figures.doubts.len() == 1);
    }
}
