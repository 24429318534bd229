//! The blocks of the console: what it shows of each collector, without regard to the room there is.

use crate::charts::{self, Column, Drawn, Rates, amount, draw, rank};
use vitald_core::chart::Chart;
use vitald_core::snapshot::{Part, Snapshot, State};

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
}

impl Blocks {
    pub(super) fn learn(&mut self, snapshot: &Snapshot, now: std::time::Instant) {
        self.rates.learn(snapshot, now);
    }

    /// The blocks of a snapshot that was learned last.
    pub(super) fn of(&self, snapshot: &Snapshot) -> Vec<Block> {
        let mut parts: Vec<(usize, &Part)> = snapshot.parts().iter().enumerate().collect();
        parts.retain(|(_, part)| !part.descriptor.internal);
        parts.sort_by_key(|(_, part)| rank(part.descriptor));
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

    fn of_part(&self, snapshot: &Snapshot, place: usize, part: &Part, blocks: &mut Vec<Block>) {
        let descriptor = part.descriptor;
        let before = blocks.len();
        let charts = charts::of(descriptor);
        for chart in charts {
            let mut drawn = draw(chart, snapshot, place, &self.rates);
            if descriptor.charts.is_empty() {
                leave_out_common_words(&mut drawn.columns);
            }
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

/// Leaves out the words with which the names of all these metrics begin, but no name as a whole.
fn leave_out_common_words(columns: &mut [Column]) {
    loop {
        let mut words = columns.iter().map(|column| column.title.split_once(' '));
        let Some(Some((first, _))) = words.next() else { return };
        let is_common = |word: Option<(&str, &str)>| word.is_some_and(|(word, _)| word == first);
        if columns.len() < 2 || !words.all(is_common) {
            return;
        }
        let length = first.len() + 1;
        columns.iter_mut().for_each(|column| drop(column.title.drain(..length)));
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
            weight: row.weight(),
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

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use std::sync::Arc;
    use std::time::{Duration, Instant};
    use vitald_core::chart::{Curve, Measure, rate, value};
    use vitald_core::collector::Descriptor;
    use vitald_core::families;
    use vitald_core::run::Run;
    use vitald_core::sealer::Sealer;
    use vitald_core::snapshot::Collection;
    use vitald_core::testing::{descriptor, part};

    families! {
        /// Read.
        READ: counter = "t_read_bytes_total" [device];
        /// Load.
        LOAD: gauge = "t_load";
    }

    const CHARTS: &[Chart] = &[
        Chart::by(&["device"], "Disks", &[Curve::of("read", rate("t_read_bytes_total"))]),
        Chart::of("Load", &[Curve::of("now", value("t_load"))]),
    ];
    static CHARTED: Descriptor = Descriptor { charts: CHARTS, ..descriptor("t", FAMILIES, false) };
    static PLAIN: Descriptor = descriptor("t", FAMILIES, false);

    fn snapshot(of: &'static Descriptor, bytes: f64, state: State) -> Snapshot {
        let mut run = Run::new(FAMILIES);
        run.begin(None, 0);
        run.batch().row(&READ, [b"sd\x1b[2Ja"], bytes);
        run.batch().value(&LOAD, 0.25);
        run.seal();
        let mut of_run = part(of, &Arc::new(run));
        (of_run.run_number, of_run.state) = (bytes as u64 + 1, state);
        Sealer::new(None).seal(&mut Collection { parts: vec![of_run], ..Collection::new() }).clone()
    }

    /// The blocks after two snapshots, a second apart.
    fn blocks(of: &'static Descriptor, state: State) -> String {
        let (mut blocks, start) = (Blocks::default(), Instant::now());
        blocks.learn(&snapshot(of, 0.0, State::Running), start);
        let second = snapshot(of, 2048.0, state);
        blocks.learn(&second, start + Duration::from_secs(1));
        format!("{:#?}", blocks.of(&second))
    }

    #[test]
    fn blocks_are_those_of_the_charts() {
        expect![[r#"
            [
                Block {
                    title: "Disks",
                    body: Table {
                        columns: [
                            "read",
                        ],
                        rows: [
                            Row {
                                name: "sd\\u{1b}[2Ja",
                                cells: [
                                    "2.05 kB/s",
                                ],
                                weight: 2048.0,
                            },
                        ],
                    },
                },
                Block {
                    title: "Load",
                    body: Pairs(
                        [
                            (
                                "now",
                                "0.25",
                            ),
                        ],
                    ),
                },
            ]"#]]
        .assert_eq(&blocks(&CHARTED, State::Running));
    }

    #[test]
    fn families_have_blocks_without_charts() {
        expect![[r#"
            [
                Block {
                    title: "t (degraded)",
                    body: Table {
                        columns: [
                            "read",
                        ],
                        rows: [
                            Row {
                                name: "sd\\u{1b}[2Ja",
                                cells: [
                                    "2.05 kB/s",
                                ],
                                weight: 2048.0,
                            },
                        ],
                    },
                },
                Block {
                    title: "t",
                    body: Pairs(
                        [
                            (
                                "load",
                                "0.25",
                            ),
                        ],
                    ),
                },
            ]"#]]
        .assert_eq(&blocks(&PLAIN, State::Degraded));
    }

    #[test]
    fn words_that_all_names_begin_with_are_left_out() {
        let left = |titles: &[&str]| {
            let column = |title: &&str| Column {
                title: (*title).to_owned(),
                measure: Measure::BitsPerSecond,
            };
            let mut columns: Vec<Column> = titles.iter().map(column).collect();
            leave_out_common_words(&mut columns);
            columns.into_iter().map(|column| column.title).collect::<Vec<_>>()
        };
        let titles = ["network carrier", "network carrier changes", "network up"];
        assert_eq!(left(&titles), ["carrier", "carrier changes", "up"]);
        assert_eq!(left(&["a b c", "a b d"]), ["c", "d"]);
        for kept in
            [&["udp queues"][..], &["available bits", "pool bits"], &["up", "up since"], &[]]
        {
            assert_eq!(left(kept), kept);
        }
    }

    #[test]
    fn what_a_host_does_not_have_is_named_at_the_end() {
        expect![[r#"
            [
                Block {
                    title: "Not on this host",
                    body: Words(
                        [
                            "t",
                        ],
                    ),
                },
            ]"#]]
        .assert_eq(&blocks(&PLAIN, State::Absent));
    }
}
