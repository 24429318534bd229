//! The tiles of the status page: how the host is, in six numbers.

use crate::charts::{self, Drawn, Rates, draw};
use vitald_core::chart::Measure;
use vitald_core::family::Unit;
use vitald_core::snapshot::{Snapshot, State};

/// Whose charts they are made from.
pub(super) const COLLECTORS: [&str; 6] =
    ["cpu", "meminfo", "filesystem", "diskstats", "netdev", "pressure"];

const SHARE: Measure = Measure::Of(Unit::Ratio);

/// A number and what it says.
pub(super) struct Tile {
    /// The collector it is from.
    pub(super) collector: &'static str,
    pub(super) title: &'static str,
    pub(super) value: String,
    /// What else there is to say, in a few words.
    pub(super) detail: String,
    /// The number itself, for a history; none while it is not known.
    pub(super) number: Option<f64>,
    /// Whether it is a part of a whole.
    pub(super) is_share: bool,
}

/// What a chart looks like, or why there is none.
pub(super) type Found = Result<Drawn, State>;

/// The chart of this title of a collector in a snapshot; nothing if the collector is off.
pub(super) fn find(
    snapshot: &Snapshot,
    rates: &Rates,
    collector: &str,
    title: &str,
) -> Option<Found> {
    let is_it = |descriptor: &vitald_core::collector::Descriptor| descriptor.name == collector;
    let place = snapshot.parts().iter().position(|part| is_it(part.descriptor))?;
    let part = &snapshot.parts()[place];
    let chart = charts::of(part.descriptor).iter().find(|chart| chart.title == title)?;
    let mut drawn = draw(chart, snapshot, place, rates);
    if collector == "filesystem" {
        leave_out_read_only(&mut drawn, snapshot, place);
    }
    Some(if drawn.rows.is_empty() { Err(part.state) } else { Ok(drawn) })
}

/// An image that is mounted read-only is full and no reason to worry.
fn leave_out_read_only(drawn: &mut Drawn, snapshot: &Snapshot, place: usize) {
    let mut read_only: Vec<String> = Vec::new();
    for sample in snapshot.samples_of(place).filter(|sample| sample.value == 1.0) {
        if sample.series.family_name() == b"node_filesystem_readonly" {
            let of = sample.series.labels().find(|(name, _)| *name == b"mountpoint");
            read_only.extend(of.map(|(_, value)| String::from_utf8_lossy(value).into_owned()));
        }
    }
    drawn.rows.retain(|row| !read_only.contains(&row.labels[0]));
}

/// The tiles, from what `find` says of the chart of a collector and a title.
pub(super) fn of(find: &dyn Fn(&str, &str) -> Option<Found>) -> Vec<Tile> {
    let tile = |title, collector, chart, is_share, say: Say| {
        let (value, detail, number) = match find(collector, chart) {
            Some(Ok(drawn)) => say(&Chart(drawn)),
            Some(Err(state)) => (String::new(), format!("{collector}: {}", words(state)), None),
            None => (String::new(), format!("{collector} is off"), None),
        };
        let value = if value.is_empty() { "–".to_owned() } else { value };
        Tile { collector, title, value, detail, number, is_share }
    };
    vec![
        tile("CPU", "cpu", "CPU", true, cpu),
        tile("Memory", "meminfo", "Memory", true, memory),
        tile("Fullest disk", "filesystem", "File systems", true, fullest),
        tile("Disk I/O", "diskstats", "Disks", false, disks),
        tile("Network", "netdev", "Network", false, network),
        tile("Pressure", "pressure", "Pressure", true, pressure),
    ]
}

fn words(state: State) -> &'static str {
    match state {
        State::Running | State::Degraded => "nothing to show",
        State::TimedOut => "no answer in time",
        state => state.word(),
    }
}

/// The value and the words beside it, and the number itself.
type Said = (String, String, Option<f64>);
type Say = fn(&Chart) -> Said;

struct Chart(Drawn);

impl Chart {
    /// The number of a row in the column of this title.
    fn number(&self, row: usize, title: &str) -> Option<f64> {
        let column = self.0.columns.iter().position(|column| column.title == title)?;
        self.0.rows[row].numbers[column]
    }

    fn text(&self, row: usize, title: &str) -> String {
        let column = self.0.columns.iter().find(|column| column.title == title);
        column.map_or_else(String::new, |column| amount(self.number(row, title), column.measure))
    }

    /// The first row for which this is the greatest, and what it is there.
    fn greatest(&self, of: impl Fn(usize) -> Option<f64>) -> Option<(usize, f64)> {
        let rows = (0..self.0.rows.len()).rev().filter_map(|row| Some((row, of(row)?)));
        rows.max_by(|(_, one), (_, other)| one.total_cmp(other))
    }

    fn name(&self, row: usize) -> &str {
        self.0.rows[row].labels.first().map_or("", |label| label)
    }
}

/// A number with its unit, between which no line ends.
fn amount(number: Option<f64>, measure: Measure) -> String {
    charts::amount(number, measure).replace(' ', "\u{a0}")
}

/// What is said of a rate before there are two runs.
fn not_yet() -> Said {
    (String::new(), "in a moment".to_owned(), None)
}

fn cpu(chart: &Chart) -> Said {
    let idle = |title: &str| matches!(title, "idle" | "iowait");
    let modes = chart.0.columns.iter().zip(&chart.0.rows[0].numbers);
    let known = modes.filter_map(|(column, number)| Some((&*column.title, (*number)?)));
    let mut modes: Vec<(&str, f64)> = known.collect();
    if modes.is_empty() {
        return not_yet();
    }
    modes.retain(|(title, _)| !idle(title));
    let busy = modes.iter().map(|(_, share)| share).sum::<f64>().clamp(0.0, 1.0);
    modes.sort_by(|(_, one), (_, other)| other.total_cmp(one));
    let most: Vec<String> = modes
        .iter()
        .take(2)
        .map(|(title, share)| format!("{title} {}", amount(Some(*share), SHARE)))
        .collect();
    (amount(Some(busy), SHARE), most.join(", "), Some(busy))
}

fn memory(chart: &Chart) -> Said {
    let number = chart.number(0, "in use");
    let detail = format!("{} of {}", chart.text(0, "used"), chart.text(0, "total"));
    (chart.text(0, "in use"), detail, number)
}

fn fullest(chart: &Chart) -> Said {
    let Some((row, share)) = chart.greatest(|row| chart.number(row, "in use")) else {
        return (String::new(), "no sizes".to_owned(), None);
    };
    let detail = format!("{}, {} free", chart.name(row), chart.text(row, "available"));
    (amount(Some(share), SHARE), detail, Some(share))
}

fn disks(chart: &Chart) -> Said {
    busiest(chart, ["read", "written"], |_| true, |row| format!("{} busy", chart.text(row, "busy")))
}

fn network(chart: &Chart) -> Said {
    let in_and_out =
        |row| format!("{} in, {} out", chart.text(row, "received"), chart.text(row, "sent"));
    let outside = |row: usize| chart.name(row) != "lo";
    let is_alone = !(0..chart.0.rows.len()).any(outside);
    busiest(chart, ["received", "sent"], |row| is_alone || outside(row), in_and_out)
}

/// What goes both ways through the device with the most of it. Not the sum of all: what goes through a volume goes
/// through its disks, too, and through a bridge and its ports.
fn busiest(
    chart: &Chart,
    [one, other]: [&str; 2],
    counts: impl Fn(usize) -> bool,
    detail: impl Fn(usize) -> String,
) -> Said {
    let both = |row| Some(chart.number(row, one)? + chart.number(row, other)?);
    let Some((row, sum)) = chart.greatest(|row| both(row).filter(|_| counts(row))) else {
        return not_yet();
    };
    let measure = chart.0.columns.iter().find(|column| column.title == one);
    let value = measure.map_or_else(String::new, |column| amount(Some(sum), column.measure));
    (value, format!("{}: {}", chart.name(row), detail(row)), Some(sum))
}

fn pressure(chart: &Chart) -> Said {
    let of = ["CPU", "I/O", "memory"];
    let known = of.iter().filter_map(|title| Some((*title, chart.number(0, title)?)));
    let Some((title, most)) = known.max_by(|(_, one), (_, other)| one.total_cmp(other)) else {
        return not_yet();
    };
    let others = of.iter().filter(|other| **other != title);
    let others: Vec<String> =
        others.map(|other| format!("{other} {}", chart.text(0, other))).collect();
    (amount(Some(most), SHARE), format!("waits for {title}; {}", others.join(", ")), Some(most))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::charts::{Column, DrawnRow};
    use vitald_core::chart::Measure::{BitsPerSecond, PerSecond};

    /// A chart with these columns, and rows with names and numbers.
    fn drawn(columns: &[(&str, Measure)], rows: &[(&str, &[f64])]) -> Found {
        let column = |(title, measure): &(&str, Measure)| Column {
            title: (*title).to_owned(),
            measure: *measure,
        };
        let row = |(name, numbers): &(&str, &[f64])| DrawnRow {
            labels: vec![(*name).to_owned()],
            numbers: numbers.iter().map(|number| (!number.is_nan()).then_some(*number)).collect(),
        };
        Ok(Drawn {
            columns: columns.iter().map(column).collect(),
            rows: rows.iter().map(row).collect(),
        })
    }

    fn told(find: &dyn Fn(&str, &str) -> Option<Found>) -> Vec<String> {
        let tiles = of(find).into_iter();
        tiles
            .map(|tile| {
                format!("{}: {}; {}", tile.title, tile.value, tile.detail).replace('\u{a0}', " ")
            })
            .collect()
    }

    #[test]
    fn tiles_say_the_most_of_each() {
        let bytes = Measure::Of(Unit::Bytes);
        let find = |name: &str, _: &str| {
            Some(match name {
                "cpu" => drawn(
                    &[("user", SHARE), ("system", SHARE), ("idle", SHARE), ("iowait", SHARE)],
                    &[("", &[0.2, 0.3, 0.4, 0.1])],
                ),
                "meminfo" => drawn(
                    &[("in use", SHARE), ("used", bytes), ("total", bytes)],
                    &[("", &[0.5, 1024.0, 2048.0])],
                ),
                "filesystem" => drawn(
                    &[("in use", SHARE), ("available", bytes)],
                    &[("/", &[0.5, 1.0]), ("/var", &[0.75, 2.0]), ("/var/again", &[0.75, 2.0])],
                ),
                "diskstats" => drawn(
                    &[
                        ("read", PerSecond(Unit::Bytes)),
                        ("written", PerSecond(Unit::Bytes)),
                        ("busy", PerSecond(Unit::Seconds)),
                    ],
                    &[
                        ("new", &[f64::NAN; 3]),
                        ("sda", &[1.0, 2.0, 0.5]),
                        ("sdb", &[1.0, 1.0, 0.75]),
                    ],
                ),
                "netdev" => drawn(
                    &[("received", BitsPerSecond), ("sent", BitsPerSecond)],
                    &[("lo", &[900.0, 900.0]), ("eth0", &[8.0, 16.0])],
                ),
                _ => drawn(
                    &[("CPU", SHARE), ("I/O", SHARE), ("memory", SHARE)],
                    &[("", &[0.1, 0.2, 0.0])],
                ),
            })
        };
        assert_eq!(
            told(&find),
            [
                "CPU: 50.0 %; system 30.0 %, user 20.0 %",
                "Memory: 50.0 %; 1.00 KiB of 2.00 KiB",
                "Fullest disk: 75.0 %; /var, 2.00 B free",
                "Disk I/O: 3.00 B/s; sda: 50.0 % busy",
                "Network: 24.0 b/s; eth0: 8.00 b/s in, 16.0 b/s out",
                "Pressure: 20.0 %; waits for I/O; CPU 10.0 %, memory 0.0 %",
            ]
        );
    }

    #[test]
    fn a_tile_without_a_number_says_why() {
        assert_eq!(told(&|_, _| None)[0], "CPU: –; cpu is off");
        assert_eq!(told(&|_, _| Some(Err(State::Failing)))[1], "Memory: –; meminfo: failing");
        let rates = |_: &str, _: &str| {
            Some(drawn(&[("read", SHARE), ("written", SHARE)], &[("sda", &[f64::NAN; 2])]))
        };
        assert_eq!(told(&rates)[3], "Disk I/O: –; in a moment");
    }

    /// Tiles are made from what collectors call their charts and curves.
    #[test]
    fn collectors_have_the_charts_of_the_tiles() {
        let wanted: [(&str, &str, &[&str]); 6] = [
            ("cpu", "CPU", &[""]),
            ("meminfo", "Memory", &["in use", "used", "total"]),
            ("filesystem", "File systems", &["in use", "available"]),
            ("diskstats", "Disks", &["read", "written", "busy"]),
            ("netdev", "Network", &["received", "sent"]),
            ("pressure", "Pressure", &["CPU", "I/O", "memory"]),
        ];
        let all = crate::collectors(&[vitald_plugins::ROLL]).expect("the roll is complete");
        for descriptor in all {
            let Some((name, title, curves)) =
                wanted.iter().find(|(name, ..)| *name == descriptor.name)
            else {
                continue;
            };
            let chart = descriptor.charts.iter().find(|chart| chart.title == *title);
            let chart = chart.unwrap_or_else(|| panic!("{name} has no chart {title}"));
            for curve in *curves {
                assert!(chart.curves.iter().any(|known| known.title == *curve), "{name}: {curve}");
            }
        }
    }
}
