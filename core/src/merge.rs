//! The merge: what several shapes have in common, settled once for every reader.

use crate::family::Kind;
use crate::identity::{SeriesId, SeriesIdHasher};
use crate::shape::{Dropped, Shape, Suffix, compare_joined};
use std::collections::HashMap;
use std::ops::Range;
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
struct Member<'a> {
    name: &'a [u8],
    kind: Kind,
    part: usize,
    family: u32,
    samples: u32,
}

/// A family of several shapes: members that are beside each other, the earliest first.
struct Group<'a> {
    name: &'a [u8],
    kind: Kind,
    members: Range<usize>,
    /// Its samples could be taken for those of an earlier family.
    conflicts: bool,
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
        let mut members: Vec<Member<'_>> = Vec::new();
        for (part, shape) in shapes.iter().enumerate() {
            let Some(shape) = shape else { continue };
            members.extend(shape.shown_families().iter().map(|shown| Member {
                name: shape.family_name(shown.family),
                kind: shape.family_kind(shown.family),
                part,
                family: shown.family,
                samples: shown.samples,
            }));
        }
        // The sort is stable, so the members of a family stay in the order of the shapes.
        members.sort_by_key(|member| member.name);
        let mut groups: Vec<Group<'_>> = Vec::with_capacity(members.len());
        let mut first = 0;
        for same in members.chunk_by(|a, b| a.name == b.name) {
            let members = first..first + same.len();
            first = members.end;
            let (name, kind) = (same[0].name, same[0].kind);
            groups.push(Group { name, kind, members, conflicts: false });
        }
        mark_conflicts(&mut groups, &members);
        let mut decisions: Vec<Vec<Decision>> = vec![Vec::new(); shapes.len()];
        for group in &groups {
            let of_group = &members[group.members.clone()];
            let shared = of_group.iter().any(|member| member.part != of_group[0].part);
            for member in of_group {
                let decision = if group.conflicts || member.kind != group.kind {
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

/// Marks families whose name is that of another family's sum, count or buckets: of the two the
/// later shape's goes, so that what is left is whole.
///
/// client_golang refuses such families when it gathers them, in every format.
fn mark_conflicts(groups: &mut [Group<'_>], members: &[Member<'_>]) {
    let part = |group: &Group<'_>| members[group.members.start].part;
    for at in 0..groups.len() {
        for suffix in Suffix::of_kind(groups[at].kind) {
            if groups[at].conflicts {
                break;
            }
            let name = groups[at].name;
            let found = groups.binary_search_by(|group| {
                compare_joined(group.name, name, suffix.text().as_bytes())
            });
            let Some(other) = found.ok().filter(|other| !groups[*other].conflicts) else {
                continue;
            };
            let later = if part(&groups[other]) < part(&groups[at]) { at } else { other };
            groups[later].conflicts = true;
        }
    }
}
