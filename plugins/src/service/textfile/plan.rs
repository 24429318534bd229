//! Which families of the files are shown, and with which help.

use std::collections::HashMap;
use std::ops::Range;

use vitald_core::exposition::{Exposition, Family};
use vitald_core::prelude::*;

use super::files::{Content, File, Files};

/// Which families are shown, those of one name and type together.
#[derive(Default)]
pub(super) struct Plan {
    /// Those of the first family, then those of the second one.
    parts: Vec<Part>,
    families: Vec<Shown>,
    /// Helps that were put together.
    helps: Vec<u8>,
    contradictory: Option<usize>,
}

/// A family in a file, both by position.
#[derive(Clone, Copy)]
struct Part {
    file: u32,
    family: u32,
}

struct Shown {
    kind: Kind,
    help: Help,
    /// Where its parts end.
    end: u32,
}

#[derive(Clone)]
enum Help {
    /// That of a part.
    Of(Part),
    /// No file gives one, and only this one has samples.
    ReadFrom(u32),
    /// Among those that were put together.
    Joined(Range<u32>),
}

/// What is known of a name while a plan is made.
struct Named {
    help: Option<Part>,
    /// A later file gave another help.
    is_contradicted: bool,
    /// The type that the first file gives it.
    kind: Kind,
}

/// A part, and what it is sorted by: the name in the order of the files, and whether its type is the first
/// one of that name.
struct Found {
    name: u32,
    rank: u8,
    kind: Kind,
    part: Part,
}

impl Plan {
    /// The position of the first file that gave a family another help than a file before it; what is
    /// left out is the later one's family.
    pub(super) fn contradictory(&self) -> Option<usize> {
        self.contradictory
    }

    pub(super) fn of(files: &Files) -> Plan {
        let mut plan = Plan::default();
        let mut by_name: HashMap<&[u8], u32> = HashMap::new();
        let mut names: Vec<Named> = Vec::new();
        let mut found: Vec<Found> = Vec::new();
        for (position, file) in (0..).zip(files.iter()) {
            let Content::Read(content) = &file.content else { continue };
            for (family_position, family) in (0..).zip(content.families()) {
                let part = Part { file: position, family: family_position };
                let name = *by_name.entry(content.name(family)).or_insert_with(|| {
                    names.push(Named { help: None, is_contradicted: false, kind: family.kind });
                    names.len() as u32 - 1
                });
                let Some(named) = names.get_mut(name as usize) else { continue };
                if let Some(help) = content.help(family) {
                    let first = named.help.and_then(|first| help_of(files, first));
                    named.is_contradicted |= first.is_some_and(|first| first != help);
                    named.help.get_or_insert(part);
                }
                if named.is_contradicted {
                    // From here on nothing more of that name is taken, as in node_exporter.
                    plan.contradictory.get_or_insert(position as usize);
                    continue;
                }
                let rank = if family.kind == named.kind { 0 } else { 1 + family.kind as u8 };
                found.push(Found { name, rank, kind: family.kind, part });
            }
        }
        drop(by_name);
        // Stable: of a family, the order of the files.
        found.sort_by_key(|found| (found.name, found.rank));
        for of_name in found.chunk_by(|a, b| a.name == b.name) {
            let Some(first) = of_name.first() else { continue };
            let help = names.get(first.name as usize).and_then(|named| named.help);
            let help = match help {
                Some(part) => Help::Of(part),
                None if of_name.len() == 1 => Help::ReadFrom(first.part.file),
                None => plan.join_help(files, of_name),
            };
            for of_kind in of_name.chunk_by(|a, b| a.rank == b.rank) {
                plan.parts.extend(of_kind.iter().map(|found| found.part));
                let kind = of_kind.first().map_or(Kind::Untyped, |found| found.kind);
                let end = plan.parts.len() as u32;
                plan.families.push(Shown { kind, help: help.clone(), end });
            }
        }
        plan.parts.shrink_to_fit();
        plan.families.shrink_to_fit();
        plan
    }

    fn join_help(&mut self, files: &Files, parts: &[Found]) -> Help {
        let start = self.helps.len() as u32;
        self.helps.extend_from_slice(READ_FROM);
        let mut files: Vec<&File> =
            parts.iter().filter_map(|found| files.get(found.part.file as usize)).collect();
        files.dedup_by_key(|file| &raw const **file);
        for (position, file) in files.iter().enumerate() {
            self.helps.extend_from_slice(if position > 0 { b", " } else { b"" });
            self.helps.extend_from_slice(file.name().as_bytes());
        }
        Help::Joined(start..self.helps.len() as u32)
    }

    pub(super) fn push(&self, files: &Files, batch: &mut Batch) {
        let mut start = 0;
        for shown in &self.families {
            let parts = self.parts.get(start..shown.end as usize).unwrap_or_default();
            start = shown.end as usize;
            let mut named = None;
            for (content, family) in parts.iter().filter_map(|part| family_of(files, *part)) {
                let named = *named.get_or_insert_with(|| {
                    let help = self.help(files, &shown.help);
                    batch.family(&[content.name(family)], shown.kind, &help)
                });
                content.push(family, named, batch);
            }
        }
    }

    /// A help in two pieces.
    fn help<'a>(&'a self, files: &'a Files, help: &Help) -> [&'a [u8]; 2] {
        match help {
            Help::Of(part) => [help_of(files, *part).unwrap_or_default(), b""],
            Help::ReadFrom(file) => {
                let name = files.get(*file as usize).map_or("", File::name);
                [READ_FROM, name.as_bytes()]
            }
            Help::Joined(range) => {
                let range = range.start as usize..range.end as usize;
                [self.helps.get(range).unwrap_or_default(), b""]
            }
        }
    }
}

/// What a family without a help is said to be.
const READ_FROM: &[u8] = b"Metric read from ";

fn family_of(files: &Files, part: Part) -> Option<(&Exposition, &Family)> {
    let Content::Read(content) = &files.get(part.file as usize)?.content else { return None };
    Some((content, content.families().get(part.family as usize)?))
}

fn help_of(files: &Files, part: Part) -> Option<&[u8]> {
    let (content, family) = family_of(files, part)?;
    content.help(family)
}
