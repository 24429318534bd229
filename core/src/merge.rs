//! The merge: what several shapes have in common, settled once for every reader.

use crate::by_name::ByName;
use crate::family::Kind;
use crate::identity::{SeriesId, SeriesIdHasher};
use crate::shape::{Dropped, Shape, ShownFamily, Suffix};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What is left out of each of several shapes because of the others, for one list of shapes.
#[derive(Debug)]
pub(crate) struct Merge {
    id: u64,
    /// Which shapes, in order; 0 where there is none.
    shapes: Vec<u64>,
    /// Positions that are not shown although their shape shows them, ascending, by shape.
    pub(crate) hidden: Vec<Vec<u32>>,
    /// The same by reason.
    pub(crate) dropped: Vec<Dropped>,
}

/// A family in one shape.
#[derive(Clone, Copy)]
struct Member {
    kind: Kind,
    part: usize,
    family: u32,
    samples: u32,
}

/// Whether a family of a shape is shown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Decision {
    /// Nothing else has it.
    Shown,
    /// It goes, whole.
    Conflict,
    /// Another shape has it, too: each sample is looked at.
    Shared,
}

impl Merge {
    /// Settles what these shapes have in common. The earlier shape wins:
    ///
    /// * of a family with two types, the earliest type is shown;
    /// * of a series (of a histogram or summary: of the whole of it), the earliest one is shown; what is
    ///   left out of a family that is declared as shared is expected, and is not counted;
    /// * of a histogram or summary and a family whose name is that of its buckets, sum or count,
    ///   the earlier family is shown.
    pub(crate) fn new(shapes: &[Option<&Arc<Shape>>]) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let mut merge = Merge {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            shapes: shapes.iter().map(|shape| shape.map_or(0, |shape| shape.id())).collect(),
            hidden: vec![Vec::new(); shapes.len()],
            dropped: vec![Dropped::default(); shapes.len()],
        };
        let members = shapes.iter().enumerate().flat_map(|(part, shape)| {
            shape.iter().flat_map(move |shape| {
                shape.shown_families().iter().map(move |shown| {
                    let kind = shape.family_kind(shown.family);
                    let ShownFamily { family, samples } = *shown;
                    (shape.family_name(family), Member { kind, part, family, samples })
                })
            })
        });
        // The members of a family are in the order of the shapes.
        let groups = ByName::new(members);
        let conflicts = conflicting_groups(&groups);
        let mut decisions: Vec<Vec<Decision>> = vec![Vec::new(); shapes.len()];
        for (group, conflicts) in conflicts.iter().enumerate() {
            let first = groups.first(group);
            let shared = groups.members(group).any(|member| member.part != first.part);
            for member in groups.members(group) {
                let decision = if *conflicts || member.kind != first.kind {
                    merge.dropped[member.part].conflicts += member.samples;
                    Decision::Conflict
                } else if shared {
                    Decision::Shared
                } else {
                    continue;
                };
                let Some(shape) = shapes[member.part] else { continue };
                let ordinal = shape.ordinal(member.family);
                let decisions = &mut decisions[member.part];
                if decisions.len() <= ordinal {
                    decisions.resize(ordinal + 1, Decision::Shown);
                }
                decisions[ordinal] = decision;
            }
        }
        merge.hide(shapes, &decisions);
        merge
    }

    fn hide(&mut self, shapes: &[Option<&Arc<Shape>>], decisions: &[Vec<Decision>]) {
        let mut owners: HashMap<SeriesId, usize, SeriesIdHasher> = HashMap::default();
        for (part, (shape, decisions)) in shapes.iter().zip(decisions).enumerate() {
            let Some(shape) = shape else { continue };
            if decisions.is_empty() {
                continue;
            }
            for (position, series) in shape.series() {
                let decision = decisions.get(shape.ordinal(series.family_id())).copied();
                let hidden = match decision.unwrap_or(Decision::Shown) {
                    Decision::Shown => false,
                    Decision::Conflict => true,
                    Decision::Shared => {
                        let another = *owners.entry(series.metric_id()).or_insert(part) != part;
                        self.dropped[part].duplicates += u32::from(another && !series.is_shared());
                        another
                    }
                };
                if hidden {
                    self.hidden[part].push(position as u32);
                }
            }
        }
    }

    /// A number that no other merge of this process has.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Whether it is of these shapes.
    pub(crate) fn is_of<'a>(&self, shapes: impl Iterator<Item = Option<&'a Arc<Shape>>>) -> bool {
        let ids = shapes.map(|shape| shape.map_or(0, |shape| shape.id()));
        ids.eq(self.shapes.iter().copied())
    }
}

/// Which families have the name of another family's sum, count or buckets, by group: of the two the
/// later shape's goes, so that what is left is whole.
///
/// client_golang refuses such families when it gathers them, in every format.
fn conflicting_groups(groups: &ByName<'_, Member>) -> Vec<bool> {
    let mut conflicts = vec![false; groups.len()];
    for at in 0..groups.len() {
        for suffix in Suffix::of_kind(groups.first(at).kind) {
            if conflicts[at] {
                break;
            }
            let found = groups.find(groups.name(at), suffix.text());
            let Some(other) = found.filter(|other| !conflicts[*other]) else { continue };
            let is_earlier = groups.first(other).part < groups.first(at).part;
            conflicts[if is_earlier { at } else { other }] = true;
        }
    }
    conflicts
}
