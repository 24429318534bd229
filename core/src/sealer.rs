//! The sealer: from what the collectors gave to the snapshot that every reader sees.

use crate::batch::Batch;
use crate::collector::Descriptor;
use crate::merge::Merge;
use crate::run::{Run, Spares};
use crate::shape::Shape;
use crate::snapshot::{Collection, Part, Snapshot, State};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Lists of shapes, and selections of collectors, that are remembered: one for each filter that
/// readers use at the same time.
const REMEMBERED: usize = 8;

/// The daemon's own samples, which are part of every snapshot.
pub trait OwnFamilies: Send + Sync {
    /// Its name and families, as if it were a collector.
    fn descriptor(&self) -> &'static Descriptor;

    /// Pushes the samples that go with a collection. It must not block: pages wait for it.
    fn write(&self, collection: &Collection, batch: &mut Batch);

    /// Takes note of what the merge left out of a snapshot, for the samples of a later one.
    fn sealed(&self, snapshot: &Snapshot);
}

/// Seals collections, and remembers what they have in common.
///
/// While collectors give what they gave the last time, sealing costs a comparison of shapes and
/// the daemon's own samples, and allocates nothing.
pub struct Sealer {
    own: Option<Arc<dyn OwnFamilies>>,
    /// The one used last comes first.
    own_runs: Vec<OwnRuns>,
    /// The one used last comes first.
    merges: Vec<Arc<Merge>>,
    snapshot: Snapshot,
    /// How many snapshots it has sealed.
    sealed: u64,
}

/// The daemon's own runs beside one selection of collectors, which decides their shape.
struct OwnRuns {
    selection: Vec<&'static str>,
    last: Option<Arc<Run>>,
    spares: Spares,
}

impl Sealer {
    /// A sealer that adds the daemon's own samples, if there is a daemon.
    pub fn new(own: Option<Arc<dyn OwnFamilies>>) -> Self {
        let Collection { began, taken, parts } = Collection::new();
        let merge = Arc::new(Merge::new(&[]));
        Sealer {
            own,
            own_runs: Vec::new(),
            merges: Vec::new(),
            snapshot: Snapshot { began, taken, parts, merge },
            sealed: 0,
        }
    }

    /// Seals a collection, which is empty afterwards and keeps its memory for the next one.
    ///
    /// The sealer holds the snapshot, and with it the samples, until the next one or
    /// [`Sealer::release`].
    pub fn seal(&mut self, collection: &mut Collection) -> &Snapshot {
        let own = self.own.clone();
        let own_part = own.as_deref().map(|own| self.write_own(own, collection));
        let snapshot = &mut self.snapshot;
        (snapshot.began, snapshot.taken) = (collection.began, collection.taken);
        // Of two that have a series the first one is shown, so what others wrote comes last.
        snapshot.parts.clear();
        let foreign = |part: &Part| part.descriptor.is_foreign();
        snapshot.parts.extend(collection.parts.iter().filter(|part| !foreign(part)).cloned());
        snapshot.parts.extend(own_part);
        snapshot.parts.extend(collection.parts.iter().filter(|part| foreign(part)).cloned());
        collection.parts.clear();
        self.find_merge();
        if let Some(own) = own {
            own.sealed(&self.snapshot);
        }
        &self.snapshot
    }

    /// Lets go of the last snapshot's samples, so that their memory can be written again.
    pub fn release(&mut self) {
        self.snapshot.parts.clear();
    }

    fn write_own(&mut self, own: &dyn OwnFamilies, collection: &Collection) -> Part {
        let descriptor = own.descriptor();
        let runs = OwnRuns::of(&mut self.own_runs, collection, descriptor);
        let mut next = runs.spares.take();
        if let Some(run) = Arc::get_mut(&mut next) {
            run.begin(runs.last.as_deref(), 0);
            own.write(collection, run.batch());
            run.seal();
        }
        if let Some(before) = runs.last.replace(Arc::clone(&next)) {
            runs.spares.keep(before);
        }
        self.sealed += 1;
        Part {
            descriptor,
            state: State::Running,
            run_number: self.sealed,
            began: SystemTime::now(),
            duration: Duration::ZERO,
            age: Duration::ZERO,
            run: Some(next),
        }
    }

    /// Gives the snapshot the merge of its shapes, finding or making it.
    fn find_merge(&mut self) {
        let parts = &self.snapshot.parts;
        let known = self.merges.iter().position(|merge| merge.is_of(parts.iter().map(shape)));
        match known {
            Some(at) => self.merges[..=at].rotate_right(1),
            None => {
                let shapes: Vec<Option<&Arc<Shape>>> = parts.iter().map(shape).collect();
                let merge = Arc::new(Merge::new(&shapes));
                self.merges.truncate(REMEMBERED - 1);
                self.merges.insert(0, merge);
            }
        }
        self.snapshot.merge = Arc::clone(&self.merges[0]);
    }
}

fn shape(part: &Part) -> Option<&Arc<Shape>> {
    part.run.as_deref().map(Run::shape)
}

impl OwnRuns {
    /// Those of the selection that a collection was made of, now first in the list.
    fn of<'a>(
        list: &'a mut Vec<Self>,
        collection: &Collection,
        own: &'static Descriptor,
    ) -> &'a mut Self {
        let names = || collection.parts.iter().map(|part| part.descriptor.name);
        match list.iter().position(|known| known.selection.iter().copied().eq(names())) {
            Some(at) => list[..=at].rotate_right(1),
            None => {
                list.truncate(REMEMBERED - 1);
                let spares = Spares::new(own.families);
                let selection = names().collect();
                list.insert(0, OwnRuns { selection, last: None, spares });
            }
        }
        &mut list[0]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prelude::*;
    use crate::testing::{descriptor, part};

    families! {
        /// What two collectors have.
        SHARED: gauge = "t_shared" [device];
        /// What one collector has.
        ALONE: counter = "t_alone_total";
    }

    static FIRST: Descriptor = descriptor("first", FAMILIES, false);
    static SECOND: Descriptor = descriptor("second", FAMILIES, false);
    static FOREIGN: Descriptor = descriptor("a_foreign", FAMILIES, true);
    static OWN: Descriptor = descriptor("vitald", FAMILIES, false);

    fn run(push: impl FnOnce(&mut Batch)) -> Arc<Run> {
        let mut run = Run::new(FAMILIES);
        run.begin(None, 0);
        push(run.batch());
        run.seal();
        Arc::new(run)
    }

    fn collection(parts: &[(&'static Descriptor, &Arc<Run>)]) -> Collection {
        let parts = parts.iter().map(|(descriptor, run)| part(descriptor, run)).collect();
        Collection { parts, ..Collection::new() }
    }

    fn lines(snapshot: &Snapshot) -> Vec<String> {
        snapshot
            .samples()
            .map(|sample| {
                let name = String::from_utf8_lossy(sample.series.family_name());
                let suffix = sample.series.suffix().text();
                let labels: Vec<String> = sample
                    .series
                    .labels()
                    .map(|(_, value)| String::from_utf8_lossy(value).into_owned())
                    .collect();
                let part = sample.part.descriptor.name;
                format!("{part} {name}{suffix} {} {}", labels.join(","), sample.value)
            })
            .collect()
    }

    struct Own;

    impl OwnFamilies for Own {
        fn descriptor(&self) -> &'static Descriptor {
            &OWN
        }

        fn write(&self, collection: &Collection, batch: &mut Batch) {
            batch.row(&SHARED, [b"own"], collection.parts.len());
        }

        fn sealed(&self, _snapshot: &Snapshot) {}
    }

    #[test]
    fn what_others_wrote_comes_last_and_the_first_is_shown() {
        let foreign = run(|batch| {
            batch.row(&SHARED, [b"own"], 7);
            batch.row(&SHARED, [b"1"], 7);
            batch.row(&SHARED, [b"2"], 7);
        });
        let first = run(|batch| batch.row(&SHARED, [b"1"], 1));
        let mut sealer = Sealer::new(Some(Arc::new(Own)));
        let mut collected = collection(&[(&FOREIGN, &foreign), (&FIRST, &first)]);
        let snapshot = sealer.seal(&mut collected);
        assert_eq!(
            lines(snapshot),
            ["first t_shared 1 1", "vitald t_shared own 2", "a_foreign t_shared 2 7"]
        );
        assert_eq!(snapshot.dropped()[2].duplicates, 2);
        assert!(snapshot.has_conflicts() && collected.parts.is_empty());
    }

    #[test]
    fn the_earlier_type_is_shown_and_summaries_stay_whole() {
        let gauge = run(|batch| {
            batch.named_value(&[b"x_count"], Kind::Gauge, &[b"Help."], 3);
            batch.named_value(&[b"t_alone_total"], Kind::Gauge, &[b"Help."], 3);
        });
        let summary = run(|batch| {
            batch.value(&ALONE, 1);
            let family = batch.family(&[b"x"], Kind::Summary, &[b"Help."]);
            let none = batch.label_pairs(&[]);
            batch.push_named(family, Suffix::Sum, none, 9);
            batch.push_named(family, Suffix::Count, none, 7);
        });
        let mut sealer = Sealer::new(None);
        let snapshot = sealer.seal(&mut collection(&[(&FIRST, &gauge), (&SECOND, &summary)]));
        // The declared name wins inside of a run, the earlier part between runs.
        assert_eq!(lines(snapshot), ["first x_count  3", "second t_alone_total  1"]);
        assert_eq!(snapshot.dropped()[1].conflicts, 2);
        let snapshot = sealer.seal(&mut collection(&[(&FIRST, &summary), (&SECOND, &gauge)]));
        assert_eq!(
            lines(snapshot),
            ["first t_alone_total  1", "first x_sum  9", "first x_count  7"]
        );
    }

    #[test]
    fn of_a_histogram_in_two_parts_one_is_shown_whole() {
        let histogram = |bounds: &'static [&'static str]| {
            run(|batch| {
                let family = batch.family(&[b"h"], Kind::Histogram, &[b"Help."]);
                for bound in bounds {
                    let labels = batch.label_pairs(&[(b"le", bound.as_bytes())]);
                    batch.push_named(family, Suffix::Bucket, labels, 1);
                }
                let none = batch.label_pairs(&[]);
                batch.push_named(family, Suffix::Count, none, 1);
            })
        };
        let (a, b) = (histogram(&["1", "+Inf"]), histogram(&["2", "+Inf"]));
        let mut sealer = Sealer::new(None);
        let snapshot = sealer.seal(&mut collection(&[(&FIRST, &a), (&SECOND, &b)]));
        assert_eq!(
            lines(snapshot),
            ["first h_bucket 1 1", "first h_bucket +Inf 1", "first h_count  1"]
        );
        assert_eq!(snapshot.dropped()[1].duplicates, 3);
    }

    #[test]
    fn equal_shapes_share_a_merge_and_selections_are_remembered() {
        let (a, b) = (run(|b| b.row(&SHARED, [b"a"], 1)), run(|b| b.row(&SHARED, [b"b"], 1)));
        let mut sealer = Sealer::new(Some(Arc::new(Own)));
        let mut order = |parts: &[(&'static Descriptor, &Arc<Run>)]| {
            let order = sealer.seal(&mut collection(parts)).order();
            sealer.release();
            order
        };
        let both = order(&[(&FIRST, &a), (&SECOND, &b)]);
        let one = order(&[(&FIRST, &a)]);
        assert_ne!(both, one);
        assert_eq!(order(&[(&FIRST, &a), (&SECOND, &b)]), both);
        assert_eq!(order(&[(&FIRST, &a)]), one);
    }
}
