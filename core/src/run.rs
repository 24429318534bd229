//! The run: one call of one collector, seen by who calls it.
//!
//! A [`Run`] owns the batch, makes it ready, lends it to the collector, and seals what was pushed.
//! A collector sees the batch alone, so it can neither begin nor end a run. Readers see the sealed
//! run: a shape and a column of values.

pub use crate::batch::Beside;
use crate::batch::{Batch, FirstFault};
use crate::error::Malformed;
use crate::family::FamilyInfo;
use crate::shape::{Dropped, SeriesRef, Shape};
use std::sync::Arc;
use std::time::Instant;

/// What [`Run::degraded_reason`] says of a run that had more samples than it may have.
pub const MAX_SERIES: &str = "max_series";

/// How many runs are kept to be written again: one that is free when a run begins, and one for
/// each of two readers that keep what they have seen.
const KEPT_SPARES: usize = 3;

/// A column of values with room for no more than these is left as it is.
const SMALL: usize = 8 << 10;

/// One run of one collector; its memory is used again for later ones.
pub struct Run {
    batch: Batch,
}

impl Run {
    /// For a collector with these families.
    pub fn new(families: &'static [FamilyInfo]) -> Self {
        Run { batch: Batch::new(families) }
    }

    /// Makes ready for a run that will be compared with an earlier one of the same collector.
    ///
    /// Once it has `limit` samples (0: no limit) no further row is begun.
    pub fn begin(&mut self, last: Option<&Run>, limit: u32) {
        let batch = &mut self.batch;
        if let Some(last) = last {
            batch.shape = Arc::clone(&last.batch.shape);
        }
        batch.building = None;
        batch.values.clear();
        if batch.values.capacity() > SMALL.max(4 * batch.shape.len()) {
            // There were many more once.
            batch.values.shrink_to(batch.shape.len());
        }
        batch.values.reserve(batch.shape.len());
        (batch.next_set, batch.next_family) = (0, 0);
        batch.limit = if limit == 0 { u32::MAX } else { limit };
        (batch.over_limit, batch.malformed) = (0, 0);
        (batch.first_malformed, batch.degraded) = (None, None);
        batch.first_fault.clear();
        batch.faults = 0;
    }

    /// Says how old what the collector shares with others may be.
    pub fn set_fresh_from(&mut self, instant: Option<Instant>) {
        self.batch.fresh_from = instant;
    }

    /// Says by when the run is of use.
    pub fn set_deadline(&mut self, deadline: Option<Instant>) {
        self.batch.deadline = deadline;
    }

    /// What the collector pushes into.
    pub fn batch(&mut self) -> &mut Batch {
        &mut self.batch
    }

    /// Ends the run. A run that stopped short of the last one's series has a shape of its own.
    pub fn seal(&mut self) {
        let batch = &mut self.batch;
        if batch.building.is_none() && batch.values.len() < batch.shape.len() {
            batch.depart();
        }
        if let Some(mut shape) = batch.building.take() {
            shape.seal();
            batch.shape = Arc::from(shape);
        }
        if batch.over_limit > 0 {
            batch.degraded(MAX_SERIES);
        }
    }

    /// Throws away what was pushed, keeping what else is known of the run.
    pub fn discard(&mut self) {
        let batch = &mut self.batch;
        batch.shape = Arc::new(Shape::empty(batch.shape.families()));
        batch.building = None;
        batch.values.clear();
        (batch.next_set, batch.next_family) = (0, 0);
    }

    // What a reader of a sealed run calls.

    /// Which series it has.
    pub fn shape(&self) -> &Arc<Shape> {
        &self.batch.shape
    }

    /// Their values, by position.
    pub fn values(&self) -> &[f64] {
        &self.batch.values
    }

    /// The series that are shown, with their values.
    pub fn samples(&self) -> impl Iterator<Item = (SeriesRef<'_>, f64)> {
        let (shape, values) = (&self.batch.shape, &self.batch.values);
        shape.series().filter_map(|(position, series)| Some((series, *values.get(position)?)))
    }

    /// How many samples are shown.
    pub fn len(&self) -> usize {
        self.batch.shape.shown()
    }

    /// Whether no sample is shown.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What was left out, and why.
    pub fn dropped(&self) -> Dropped {
        Dropped { limit: self.batch.over_limit, ..self.batch.shape.dropped() }
    }

    /// How many lines the parser refused, and what it said of the first.
    pub fn malformed(&self) -> Option<(u32, Malformed)> {
        self.batch.first_malformed.map(|first| (self.batch.malformed, first))
    }

    /// The first part that could not be read, malformed lines among them.
    pub fn fault(&self) -> Option<Fault<'_>> {
        let first = &self.batch.first_fault;
        let FirstFault { source, error, is_malformed, .. } = first;
        let fault = Fault { source, error, is_malformed: *is_malformed, beside: first.beside() };
        (!fault.error.is_empty()).then_some(fault)
    }

    /// How many parts could not be read; malformed lines, which are counted by themselves, are not
    /// among them.
    pub fn faults(&self) -> u32 {
        self.batch.faults
    }

    /// Why the figures are not all there: what the collector said first, or else [`MAX_SERIES`].
    pub fn degraded_reason(&self) -> Option<&'static str> {
        self.batch.degraded
    }
}

/// A part of a collector's source that a run could not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault<'r> {
    /// The file or directory; empty if it is the collector's source as such.
    pub source: &'r str,
    /// Why it could not be read, with the place of what is malformed.
    pub error: &'r str,
    /// Whether the error is a place in a text, and says nothing without the name of the text. An error of
    /// the system names its file.
    pub is_malformed: bool,
    /// Which other files or directories could not be read; of many the first ones.
    pub beside: &'r [Beside],
}

impl<'r> Fault<'r> {
    /// The sources that it names.
    pub fn sources(&self) -> impl Iterator<Item = &'r str> + use<'r> {
        std::iter::once(self.source).chain(self.beside.iter().map(|beside| &*beside.source))
    }
}

/// Runs of one collector that are over, kept to be written again.
///
/// A run that a reader still holds is not written, so there are enough of them for readers that
/// keep the last snapshot they saw.
pub struct Spares {
    families: &'static [FamilyInfo],
    kept: Vec<Arc<Run>>,
}

impl Spares {
    /// None yet, for a collector with these families.
    pub fn new(families: &'static [FamilyInfo]) -> Self {
        Spares { families, kept: Vec::new() }
    }

    /// A run that nothing else holds: one that was kept, or a new one.
    pub fn take(&mut self) -> Arc<Run> {
        let free = self.kept.iter().position(|run| Arc::strong_count(run) == 1);
        free.map_or_else(|| Arc::new(Run::new(self.families)), |at| self.kept.swap_remove(at))
    }

    /// Keeps a run that is over. When there are enough, the oldest one goes; and so does each that has other
    /// series, which it might hold for ever: of several spare runs some are never needed.
    pub fn keep(&mut self, run: Arc<Run>) {
        self.kept.retain(|kept| Arc::ptr_eq(kept.shape(), run.shape()));
        if self.kept.len() == KEPT_SPARES {
            self.kept.remove(0);
        }
        self.kept.push(run);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prelude::*;
    use crate::shape::Dropped;

    families! {
        /// Reads.
        READS: counter = "t_reads_total" [device];
        /// Load.
        LOAD: gauge = "t_load";
    }

    fn run_with(last: Option<&Run>, limit: u32, push: impl FnOnce(&mut Batch)) -> Run {
        let mut run = Run::new(FAMILIES);
        run.begin(last, limit);
        push(run.batch());
        run.seal();
        run
    }

    fn run(last: Option<&Run>, rows: &[(&str, f64)], limit: u32) -> Run {
        run_with(last, limit, |batch| push_rows(batch, rows))
    }

    fn push_rows(batch: &mut Batch, rows: &[(&str, f64)]) {
        batch.value(&LOAD, 1.5);
        for (device, value) in rows {
            batch.row(&READS, [device.as_bytes()], *value);
            batch.named_value(
                &[b"t_", device.as_bytes()],
                Kind::Untyped,
                &[b"Of ", device.as_bytes()],
                *value,
            );
        }
    }

    #[test]
    fn a_row_at_once_is_its_samples_one_by_one() {
        families! {
            /// One.
            ONE: counter = "t_one_total" [device];
            /// Two.
            TWO: counter = "t_two_total" [device];
            /// Three.
            THREE: counter = "t_three_total" [device];
        }
        let families = [ONE, TWO, THREE];
        // The number of families of each device, and how many samples there may be.
        let rounds: [(&[usize], u32); 8] = [
            (&[3, 3], 0),
            (&[3, 3], 0),
            (&[3, 2, 3], 0),
            (&[3, 3, 2], 0),
            (&[3, 3, 2], 4),
            (&[3, 3, 2], 4),
            (&[0, 3], 0),
            (&[3], 0),
        ];
        let (mut at_once, mut single): (Option<Run>, Option<Run>) = (None, None);
        for (devices, limit) in rounds {
            let pushed = [true, false].map(|is_at_once| {
                let last = if is_at_once { &at_once } else { &single };
                let mut run = Run::new(FAMILIES);
                run.begin(last.as_ref(), limit);
                let batch = run.batch();
                for (device, count) in devices.iter().enumerate() {
                    let labels = batch.labels([format!("sd{device}").as_bytes()]);
                    let samples = families.into_iter().zip([1.0, 2.0, device as f64]).take(*count);
                    if is_at_once {
                        batch.push_each(labels, samples);
                    } else {
                        samples.for_each(|(family, value)| batch.push(&family, labels, value));
                    }
                }
                run.seal();
                run
            });
            assert_eq!(text(&pushed[0]), text(&pushed[1]));
            assert_eq!(pushed[0].dropped(), pushed[1].dropped());
            let before = [&at_once, &single].map(|last| last.as_ref().map(|run| run.shape().id()));
            let is_kept = [0, 1].map(|at| before[at] == Some(pushed[at].shape().id()));
            assert_eq!(is_kept[0], is_kept[1], "{devices:?}");
            let [first, second] = pushed;
            (at_once, single) = (Some(first), Some(second));
        }
    }

    fn text(run: &Run) -> Vec<String> {
        run.samples()
            .map(|(series, value)| {
                let labels: Vec<String> = series
                    .labels()
                    .map(|(n, v)| format!("{}={}", n.escape_ascii(), v.escape_ascii()))
                    .collect();
                format!("{}{{{}}} {value}", series.family_name().escape_ascii(), labels.join(","))
            })
            .collect()
    }

    #[test]
    fn equal_runs_share_a_shape() {
        let first = run(None, &[("sda", 1.0), ("sdb", 2.0)], 0);
        let second = run(Some(&first), &[("sda", 3.0), ("sdb", 4.0)], 0);
        assert!(Arc::ptr_eq(first.shape(), second.shape()));
        assert_eq!(
            text(&second),
            [
                "t_load{} 1.5",
                "t_reads_total{device=sda} 3",
                "t_sda{} 3",
                "t_reads_total{device=sdb} 4",
                "t_sdb{} 4"
            ]
        );
    }

    #[test]
    fn every_kind_of_difference_makes_a_new_shape() {
        let first = run(None, &[("sda", 1.0), ("sdb", 2.0)], 0);
        for rows in [
            &[("sda", 1.0)][..],
            &[("sdb", 1.0), ("sda", 1.0)],
            &[],
            &[("sda", 1.0), ("sdb", 2.0), ("sdc", 3.0)],
        ] {
            let fresh = run(None, rows, 0);
            let after = run(Some(&first), rows, 0);
            assert_eq!(text(&fresh), text(&after));
            assert_ne!(first.shape().id(), after.shape().id());
            // And back again.
            let again = run(Some(&after), &[("sda", 1.0), ("sdb", 2.0)], 0);
            assert_eq!(text(&first), text(&again));
        }
    }

    #[test]
    fn duplicates_are_dropped_and_counted() {
        let found = run(None, &[("sda", 1.0), ("sda", 2.0)], 0);
        assert_eq!(text(&found), ["t_load{} 1.5", "t_reads_total{device=sda} 1", "t_sda{} 1"]);
        assert_eq!(found.dropped(), Dropped { duplicates: 2, conflicts: 0, limit: 0 });
        let alike = run_with(None, 0, |batch| {
            batch.row(&READS, [b"a\xff"], 1);
            batch.row(&READS, [b"a\xfe"], 1);
        });
        assert_eq!(alike.dropped().duplicates, 1, "both read as a and U+FFFD");
    }

    #[test]
    fn families_of_two_types_are_dropped() {
        let found = run_with(None, 0, |batch| {
            batch.named_value(&[b"t_load"], Kind::Counter, &[b"x"], 1);
            batch.named_value(&[b"t_x"], Kind::Counter, &[b"x"], 1);
            batch.value(&LOAD, 2);
        });
        assert_eq!(found.dropped().conflicts, 1);
        assert_eq!(found.len(), 2);
    }

    /// A summary `x` beside a gauge `x_count`: half a summary is no summary.
    #[test]
    fn a_name_of_a_summarys_sample_goes_and_the_summary_stays_whole() {
        for first in [true, false] {
            let found = run_with(None, 0, |batch| {
                if first {
                    batch.named_value(&[b"x_count"], Kind::Gauge, &[b"Help."], 3);
                }
                let family = batch.family(&[b"x"], Kind::Summary, &[b"Help."]);
                let none = batch.label_pairs(&[]);
                batch.push_named(family, Suffix::Sum, none, 9);
                batch.push_named(family, Suffix::Count, none, 7);
                if !first {
                    batch.named_value(&[b"x_count"], Kind::Gauge, &[b"Help."], 3);
                }
            });
            assert_eq!(text(&found), ["x{} 9", "x{} 7"]);
            assert_eq!(found.dropped(), Dropped { conflicts: 1, ..Dropped::default() });
        }
    }

    #[test]
    fn the_limit_cuts_between_rows() {
        let found = run(None, &[("sda", 1.0), ("sdb", 2.0)], 2);
        assert_eq!(text(&found), ["t_load{} 1.5", "t_reads_total{device=sda} 1"]);
        assert_eq!(found.dropped().limit, 3);
        assert_eq!(found.degraded_reason(), Some("max_series"));
        assert_eq!(run(None, &[("sda", 1.0)], 0).degraded_reason(), None);
    }

    #[test]
    fn the_first_reason_is_kept() {
        let cut = run_with(None, 1, |batch| {
            batch.degraded("hidepid");
            batch.degraded("timeout");
            push_rows(batch, &[("sda", 1.0)]);
        });
        assert!(cut.dropped().limit > 0);
        assert_eq!(cut.degraded_reason(), Some("hidepid"));
    }

    #[test]
    fn a_run_that_was_discarded_is_empty() {
        let mut found = run(None, &[("sda", 1.0)], 0);
        found.discard();
        assert_eq!((found.len(), found.is_empty(), text(&found)), (0, true, Vec::new()));
        assert!(found.shape().is_empty());
    }

    #[test]
    fn the_first_fault_is_kept_and_a_malformed_line_is_one() {
        let mut found = run_with(None, 0, |batch| {
            batch.fault("/a", Malformed::new(3, "a number"));
            batch.fault("/b", "gone");
        });
        let first = Fault {
            source: "/a",
            error: "byte 3: expected a number",
            is_malformed: false,
            beside: &[Beside { source: "/b".to_owned(), error: "gone".to_owned() }],
        };
        assert_eq!((found.fault(), found.faults()), (Some(first), 2));
        found.begin(None, 0);
        assert_eq!((found.fault(), found.faults()), (None, 0));
        assert_eq!(found.batch().tolerate::<()>(Err(Malformed::new(4, "a name"))), None);
        let first =
            Fault { source: "", error: "byte 4: expected a name", is_malformed: true, beside: &[] };
        assert_eq!(found.fault(), Some(first));
        assert_eq!(found.faults(), 0, "it is counted among the malformed lines");
    }

    #[test]
    fn a_few_of_many_faults_are_named_and_each_source_once() {
        let mut found = run_with(None, 0, |batch| {
            for source in ["/a", "", "/b", "/a", "/c", "/b"] {
                batch.fault(source, "gone");
            }
            for number in 0..20 {
                batch.fault(&format!("/{number}"), "gone");
            }
        });
        let sources = |run: &Run| run.fault().unwrap().sources().collect::<Vec<_>>().join(" ");
        assert_eq!((&*sources(&found), found.faults()), ("/a /b /c /0 /1 /2 /3 /4 /5 /6", 26));
        found.begin(None, 0);
        found.batch().fault("/x", "gone");
        found.batch().fault("/y", "gone");
        assert_eq!(sources(&found), "/x /y");
    }

    /// What an interface has: a row of many samples.
    fn push_interfaces(batch: &mut Batch, interfaces: usize) {
        for number in 0..interfaces {
            let labels = batch.labels([format!("veth{number:07}").as_bytes()]);
            for value in 0..10 {
                batch.push(&READS, labels, value);
            }
        }
    }

    #[test]
    fn a_row_that_has_begun_is_finished_and_nothing_is_stored_of_the_others() {
        let at_limit = run_with(None, 1005, |batch| push_interfaces(batch, 101));
        let beyond = run_with(None, 1005, |batch| push_interfaces(batch, 7000));
        for found in [&at_limit, &beyond] {
            assert_eq!(found.values().len(), 1010);
            assert_eq!(found.values().last(), Some(&9.0), "the last row is whole");
        }
        assert_eq!(beyond.dropped().limit, 70_000 - 1010);
        let memory = |run: &Run| (run.shape().bytes.len(), run.shape().sets.len());
        assert_eq!(memory(&beyond), memory(&at_limit), "what is left out takes memory");
        let again = run_with(Some(&beyond), 1005, |batch| push_interfaces(batch, 7000));
        assert!(Arc::ptr_eq(again.shape(), beyond.shape()));
        assert_eq!(again.dropped(), beyond.dropped());
    }

    #[test]
    fn families_named_at_run_time_meet_the_limit_too() {
        let push = |batch: &mut Batch, families: usize| {
            let none = batch.label_pairs(&[]);
            for number in 0..families {
                let name = format!("m{number}");
                let family = batch.family(&[name.as_bytes()], Kind::Gauge, &[b"Help."]);
                batch.push_named(family, Suffix::None, none, number);
            }
        };
        let found = run_with(None, 100, |batch| push(batch, 5000));
        assert_eq!((found.len(), found.shape().run_time.len()), (100, 100));
        assert_eq!(found.dropped().limit, 4900);
    }

    #[test]
    fn no_name_is_ever_another_ones() {
        const FAMILIES: usize = 70_000;
        let found = run_with(None, 0, |batch| {
            for number in 0..FAMILIES {
                let name = format!("m{number}");
                batch.named_value(&[name.as_bytes()], Kind::Gauge, &[b"Help."], number);
            }
        });
        assert_eq!(found.len(), FAMILIES);
        for (number, (series, value)) in found.samples().enumerate() {
            assert_eq!(series.family_name(), format!("m{number}").as_bytes());
            assert_eq!(value, number as f64);
        }
    }

    #[test]
    fn any_number_of_labels_is_kept() {
        const LABELS: usize = 70_000;
        let names: Vec<String> = (0..LABELS).map(|number| format!("l{number}")).collect();
        let found = run_with(None, 0, |batch| {
            let pairs: Vec<(&[u8], &[u8])> =
                names.iter().map(|name| (name.as_bytes(), &b"1"[..])).collect();
            let labels = batch.label_pairs(&pairs);
            batch.push_pairs(&LOAD, labels, 1);
        });
        let (series, _) = found.samples().next().expect("a sample");
        assert_eq!(series.labels().count(), LABELS);
    }

    #[test]
    fn identities_outlive_shapes() {
        let names = ["sda", "sdb", "sdc"];
        let all = |names: &[&str]| -> Vec<(&str, f64)> {
            names
                .iter()
                .map(|name| (*name, 1.0))
                .map(|(a, b)| (a.to_owned().leak() as &str, b))
                .collect()
        };
        let ids = |run: &Run, device: &[u8]| {
            run.samples()
                .find(|(series, _)| series.labels().any(|(_, value)| value == device))
                .map(|(series, _)| series.id())
        };
        let first = run(None, &all(&names), 0);
        let second = run(Some(&first), &all(&["sda", "sdc", "sdd"]), 0);
        let fresh = run(None, &all(&["sdc"]), 0);
        assert_eq!(ids(&first, b"sdc"), ids(&second, b"sdc"));
        assert_eq!(ids(&first, b"sdc"), ids(&fresh, b"sdc"));
        let difference = first.shape().diff(second.shape());
        let named = |run: &Run, positions: &[usize]| -> Vec<String> {
            positions.iter().map(|at| text(run)[*at].clone()).collect()
        };
        assert_eq!(named(&first, &difference.gone), ["t_reads_total{device=sdb} 1", "t_sdb{} 1"]);
        assert_eq!(named(&second, &difference.come), ["t_reads_total{device=sdd} 1", "t_sdd{} 1"]);
        assert!(first.shape().diff(first.shape()).is_empty());
    }

    #[test]
    fn what_many_series_took_once_is_given_back() {
        let mut spares = Spares::new(FAMILIES);
        let mut last: Option<Arc<Run>> = None;
        let mut run_of = |devices: usize| {
            let mut next = spares.take();
            let run = Arc::get_mut(&mut next).expect("a spare is free");
            run.begin(last.as_deref(), 0);
            for device in 0..devices {
                run.batch().row(&READS, [format!("{device}").as_bytes()], device);
            }
            run.seal();
            let (shape, room) = (Arc::downgrade(run.shape()), run.batch.values.capacity());
            if let Some(before) = last.replace(next) {
                spares.keep(before);
            }
            (shape, room)
        };
        let (many, room) = (0..6).map(|_| run_of(100_000)).next_back().expect("some");
        assert!(many.strong_count() > 0 && room >= 100_000);
        let rooms: Vec<usize> = (0..6).map(|_| run_of(10).1).collect();
        assert_eq!(many.strong_count(), 0, "something holds a hundred thousand series");
        assert!(rooms[2..].iter().all(|room| *room <= SMALL), "{rooms:?}");
    }

    #[test]
    fn spare_runs_outlast_a_reader_that_keeps_one() {
        let mut spares = Spares::new(FAMILIES);
        let mut kept: Option<Arc<Run>> = None;
        let mut last: Option<Arc<Run>> = None;
        let mut seen: Vec<*const Run> = Vec::new();
        for number in 0..100 {
            let mut next = spares.take();
            let run = Arc::get_mut(&mut next).expect("a spare is free");
            run.begin(last.as_deref(), 0);
            run.batch().value(&LOAD, number);
            run.seal();
            if !seen.contains(&Arc::as_ptr(&next)) {
                seen.push(Arc::as_ptr(&next));
            }
            if let Some(before) = last.replace(next) {
                spares.keep(before);
            }
            // A reader that keeps the last one it saw, and sees every seventh.
            if number % 7 == 0 {
                kept = last.clone();
            }
        }
        assert!(kept.is_some());
        assert!(seen.len() <= 3, "{} runs were made", seen.len());
    }
}
