//! The blocks of the console: what it shows of each collector, without regard to the room there is.

use super::amount::amount;
use crate::charts::{Drawn, Rates, draw};
use std::cmp::Ordering;
use std::collections::HashMap;
use vitald_core::chart::{Chart, derived};
use vitald_core::snapshot::{Part, Snapshot, State};

/// Whose blocks are first, because people look there first; the others follow by name.
const FIRST: [&str; 8] =
    ["cpu", "loadavg", "meminfo", "diskstats", "filesystem", "netdev", "pressure", "stat"];

/// A block.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Block {
    /// What it shows.
    pub(super) title: String,
    pub(super) body: Body,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Body {
    /// Names and numbers.
    Pairs(Vec<(String, String)>),
    /// A row for each device or the like.
    Table { columns: Vec<String>, rows: Vec<Row> },
    /// Words, such as why there is nothing.
    Words(Vec<String>),
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) cells: Vec<String>,
    /// Where there is no room for all rows, those with the greatest weights are shown.
    pub(super) weight: f64,
}

/// Makes blocks of one snapshot after another.
#[derive(Default)]
pub(super) struct Blocks {
    rates: Rates,
    derived: HashMap<&'static str, &'static [Chart]>,
}

impl Blocks {
    pub(super) fn learn(&mut self, snapshot: &Snapshot, now: std::time::Instant) {
        self.rates.learn(snapshot, now);
    }

    /// The blocks of a snapshot that was learned last.
    pub(super) fn of(&mut self, snapshot: &Snapshot) -> Vec<Block> {
        let mut parts: Vec<(usize, &Part)> = snapshot.parts().iter().enumerate().collect();
        parts.retain(|(_, part)| !part.descriptor.internal);
        parts.sort_by_key(|(_, part)| {
            let name = part.descriptor.name;
            let place = FIRST.iter().position(|first| *first == name).unwrap_or(FIRST.len());
            (place, part.descriptor.charts.is_empty(), name)
        });
        let (absent, parts): (Vec<_>, Vec<_>) =
            parts.into_iter().partition(|(_, part)| part.state == State::Absent);
        let mut blocks = Vec::new();
        for (place, part) in parts {
            self.of_part(snapshot, place, part, &mut blocks);
        }
        // What this host does not have takes no room from what it has.
        let absent: Vec<&str> = absent.iter().map(|(_, part)| part.descriptor.name).collect();
        if !absent.is_empty() {
            let body = Body::Words(absent.iter().map(|name| (*name).to_owned()).collect());
            blocks.push(Block { title: "Not on this host".to_owned(), body });
        }
        blocks
    }

    fn of_part(&mut self, snapshot: &Snapshot, place: usize, part: &Part, blocks: &mut Vec<Block>) {
        let descriptor = part.descriptor;
        let before = blocks.len();
        let charts = if descriptor.charts.is_empty() {
            let made = || derived(descriptor.name, descriptor.families);
            *self.derived.entry(descriptor.name).or_insert_with(made)
        } else {
            descriptor.charts
        };
        for chart in charts {
            let drawn = draw(chart, snapshot, place, &self.rates);
            blocks.extend(block(chart, &drawn));
        }
        if !matches!(part.state, State::Running | State::Waiting) {
            let state = part.state.word();
            match blocks[before..].first_mut() {
                Some(block) => block.title = format!("{} ({state})", block.title),
                None => {
                    let title = charts.first().map_or(descriptor.name, |chart| chart.title);
                    let body = Body::Words(vec![state.to_owned()]);
                    blocks.push(Block { title: title.to_owned(), body });
                }
            }
        }
    }
}

/// A block of a chart; none if there is nothing to draw.
fn block(chart: &Chart, drawn: &Drawn) -> Option<Block> {
    let cells = |numbers: &[Option<f64>]| -> Vec<String> {
        let columns = drawn.columns.iter().zip(numbers);
        columns.map(|(column, number)| amount(*number, column.measure)).collect()
    };
    let first = drawn.rows.first()?;
    let titles = drawn.columns.iter().map(|column| column.title.clone());
    let body = if chart.by.is_empty() {
        Body::Pairs(titles.zip(cells(&first.numbers)).collect())
    } else {
        let rows = drawn.rows.iter().map(|row| Row {
            name: shown(&row.labels.join(" ")),
            cells: cells(&row.numbers),
            weight: row.numbers.first().copied().flatten().unwrap_or_default(),
        });
        Body::Table { columns: titles.collect(), rows: rows.collect() }
    };
    Some(Block { title: chart.title.to_owned(), body })
}

/// A name without what a terminal would take for a command.
fn shown(name: &str) -> String {
    let mut text = String::new();
    for letter in name.chars() {
        if letter.is_control() { text.extend(letter.escape_debug()) } else { text.push(letter) }
    }
    text
}

impl Row {
    /// The heavier one first.
    pub(super) fn by_weight(one: &Row, other: &Row) -> Ordering {
        other.weight.total_cmp(&one.weight)
    }
}
