//! The rows and columns of a chart, from a snapshot.

use super::Rates;
use std::collections::HashMap;
use vitald_core::chart::{Chart, Figure, Measure, Selector};
use vitald_core::family::Unit;
use vitald_core::snapshot::{Sample, Snapshot};

/// A chart as it is now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Drawn {
    /// What is drawn of each row.
    pub columns: Vec<Column>,
    /// In the order in which the collector gives them.
    pub rows: Vec<DrawnRow>,
}

/// A column of a chart.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// The name of its curve.
    pub title: String,
    /// What its numbers are measured in.
    pub measure: Measure,
}

/// A row of a chart.
#[derive(Clone, Debug, PartialEq)]
pub struct DrawnRow {
    /// The values of the labels that tell the rows apart, in the order of [`Chart::by`].
    pub labels: Vec<String>,
    /// One for each column; none while it is not known, as a rate before there are two snapshots.
    pub numbers: Vec<Option<f64>>,
}

impl DrawnRow {
    /// By what rows are chosen where there is no room for all: what the first curve is there.
    pub(crate) fn weight(&self) -> f64 {
        self.numbers.first().copied().flatten().unwrap_or_default()
    }
}

/// The heaviest of these and no more than `most`, in their order; of equal ones the first.
pub(crate) fn heaviest<T>(
    all: impl IntoIterator<Item = T>,
    most: usize,
    weight: impl Fn(&T) -> f64,
) -> Vec<T> {
    let mut all: Vec<(usize, T)> = all.into_iter().enumerate().collect();
    if all.len() > most {
        all.sort_by(|(_, one), (_, other)| weight(other).total_cmp(&weight(one)));
        all.truncate(most);
        all.sort_by_key(|(place, _)| *place);
    }
    all.into_iter().map(|(_, one)| one).collect()
}

/// Draws a chart of the collector whose place in [`Snapshot::parts`] is given.
pub fn draw(chart: &Chart, snapshot: &Snapshot, part: usize, rates: &Rates) -> Drawn {
    let samples: Vec<Sample<'_>> = snapshot.samples_of(part).collect();
    let unit = |family: &str| {
        let of = samples.iter().find(|sample| sample.series.family_name() == family.as_bytes());
        of.map_or_else(|| Unit::of_name(family.as_bytes()), Sample::unit)
    };
    let mut drawn = Drawn::default();
    let mut places = HashMap::new();
    for curve in chart.curves.iter() {
        let view = View { samples: &samples, rates, by: chart.by, each: curve.each };
        let measure = curve.figure.measure(&unit);
        let figures = view.figures(&curve.figure);
        let mut columns = HashMap::new();
        for key in &figures.order {
            let (labels, value) = key;
            let title = value.as_deref().unwrap_or(curve.title.as_bytes());
            let column = *columns.entry(value.clone()).or_insert_with(|| {
                drawn.columns.push(Column { title: text(title), measure });
                drawn.columns.len() - 1
            });
            let row = *places.entry(labels.clone()).or_insert_with(|| {
                let labels = labels.iter().map(|label| text(label)).collect();
                drawn.rows.push(DrawnRow { labels, numbers: Vec::new() });
                drawn.rows.len() - 1
            });
            let numbers = &mut drawn.rows[row].numbers;
            numbers.resize(numbers.len().max(column + 1), None);
            numbers[column] = figures.get(key);
        }
    }
    for row in &mut drawn.rows {
        row.numbers.resize(drawn.columns.len(), None);
    }
    drawn
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The labels of a row, and the value of the label that makes a curve of each of its values.
type Key = (Vec<Vec<u8>>, Option<Vec<u8>>);

/// Numbers by row and curve, in the order of the samples; none where it is not known.
#[derive(Default)]
struct Figures {
    order: Vec<Key>,
    numbers: HashMap<Key, Option<f64>>,
}

impl Figures {
    fn add(&mut self, key: Key, number: Option<f64>) {
        let Figures { order, numbers } = self;
        let sum = numbers.entry(key).or_insert_with_key(|key| {
            order.push(key.clone());
            None
        });
        *sum = match (*sum, number) {
            (Some(sum), Some(number)) => Some(sum + number),
            (known, number) => known.or(number),
        };
    }

    fn get(&self, key: &Key) -> Option<f64> {
        self.numbers.get(key).copied().flatten()
    }

    /// Other numbers of the same rows and curves.
    fn map(mut self, other: impl Fn(&Key, f64) -> Option<f64>) -> Self {
        for (key, number) in &mut self.numbers {
            *number = number.and_then(|number| other(key, number));
        }
        self
    }
}

/// What figures are made from.
struct View<'a> {
    samples: &'a [Sample<'a>],
    rates: &'a Rates,
    by: &'a [&'static str],
    each: Option<&'static str>,
}

impl View<'_> {
    fn figures(&self, figure: &Figure) -> Figures {
        match figure {
            Figure::Value(selector) => self.sums(selector, |sample| Some(sample.value)),
            Figure::Rate(selector) => self.gains(selector),
            Figure::Share(selector) => {
                let gains = self.gains(selector);
                let mut wholes: HashMap<Vec<Vec<u8>>, f64> = HashMap::new();
                for ((labels, _), gain) in &gains.numbers {
                    *wholes.entry(labels.clone()).or_default() += gain.unwrap_or_default();
                }
                gains.map(|(labels, _), gain| part_of(gain, wholes[labels]))
            }
            Figure::Difference(one, other) => {
                let other = self.figures(other);
                self.figures(one).map(|key, number| Some(number - other.get(key)?))
            }
            Figure::Ratio(one, other) => {
                let other = self.figures(other);
                self.figures(one).map(|key, number| part_of(number, other.get(key)?))
            }
            Figure::Bits(bytes) => self.figures(bytes).map(|_, bytes| Some(bytes * 8.0)),
        }
    }

    fn gains(&self, selector: &Selector) -> Figures {
        self.sums(selector, |sample| self.rates.of(sample.part.descriptor.name, sample.position))
    }

    fn sums(&self, selector: &Selector, number: impl Fn(&Sample<'_>) -> Option<f64>) -> Figures {
        let mut sums = Figures::default();
        let of_family =
            |sample: &&Sample<'_>| sample.series.family_name() == selector.family.as_bytes();
        for sample in self.samples.iter().filter(of_family) {
            let label = |name: &str| {
                let mut labels = sample.series.labels();
                labels.find_map(|(known, value)| (known == name.as_bytes()).then_some(value))
            };
            let is_meant =
                selector.labels.iter().all(|(name, value)| label(name) == Some(value.as_bytes()));
            if is_meant {
                let row = self.by.iter().map(|name| label(name).unwrap_or_default().to_vec());
                let each = self.each.map(|name| label(name).unwrap_or_default().to_vec());
                sums.add((row.collect(), each), number(sample));
            }
        }
        sums
    }
}

fn part_of(number: f64, whole: f64) -> Option<f64> {
    (whole != 0.0).then(|| number / whole)
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use std::fmt::Write as _;
    use std::sync::Arc;
    use std::time::{Duration, Instant};
    use vitald_core::chart::{Curve, rate, share, value};
    use vitald_core::collector::Descriptor;
    use vitald_core::families;
    use vitald_core::run::Run;
    use vitald_core::sealer::Sealer;
    use vitald_core::snapshot::Collection;
    use vitald_core::testing::{descriptor, part};

    families! {
        /// Time.
        CPU: counter = "t_cpu_seconds_total" [cpu, mode];
        /// Read.
        READ: counter = "t_read_bytes_total" [device];
        /// Reads.
        READS: counter = "t_reads_total" [device];
        /// Time of reads.
        READ_TIME: counter = "t_read_time_seconds_total" [device];
        /// Size.
        SIZE: gauge = "t_size_bytes" [device];
        /// Free.
        FREE: gauge = "t_free_bytes" [device];
    }

    static T: Descriptor = descriptor("t", FAMILIES, false);

    const MODES: Chart = Chart::of("CPU", &[Curve::each("mode", share("t_cpu_seconds_total"))]);
    const DISKS: Chart = Chart::by(
        &["device"],
        "Disks",
        &[
            Curve::of("read", rate("t_read_bytes_total")),
            Curve::of("bits", Figure::Bits(&rate("t_read_bytes_total"))),
            Curve::of(
                "wait",
                Figure::Ratio(&rate("t_read_time_seconds_total"), &rate("t_reads_total")),
            ),
            Curve::of(
                "used",
                Figure::Ratio(
                    &Figure::Difference(&value("t_size_bytes"), &value("t_free_bytes")),
                    &value("t_size_bytes"),
                ),
            ),
        ],
    );

    /// Of two CPUs and of these disks, after so many seconds.
    fn snapshot(last: Option<&Snapshot>, seconds: f64, disks: &[&str], number: u64) -> Snapshot {
        let mut run = Run::new(FAMILIES);
        run.begin(last.and_then(|last| last.parts()[0].run.as_deref()), 0);
        let batch = run.batch();
        for cpu in [&b"0"[..], b"1"] {
            batch.row(&CPU, [cpu, &b"user"[..]], seconds * 0.25);
            batch.row(&CPU, [cpu, &b"idle"[..]], seconds * 0.75);
        }
        for disk in disks {
            batch.row(&READ, [disk.as_bytes()], seconds * 1000.0);
            batch.row(&READS, [disk.as_bytes()], seconds * 10.0);
            batch.row(&READ_TIME, [disk.as_bytes()], seconds * 0.5);
            batch.row(&SIZE, [disk.as_bytes()], 100.0);
            batch.row(&FREE, [disk.as_bytes()], 25.0);
        }
        run.seal();
        let mut of_run = part(&T, &Arc::new(run));
        of_run.run_number = number;
        let collection = Collection { parts: vec![of_run], ..Collection::new() };
        Sealer::new(None).seal(&mut { collection }).clone()
    }

    fn told(drawn: &Drawn) -> String {
        let mut text = String::new();
        for row in &drawn.rows {
            text += &row.labels.join(" ");
            for (column, number) in drawn.columns.iter().zip(&row.numbers) {
                let _ = write!(
                    text,
                    " {}={}",
                    column.title,
                    number.map_or("?".to_owned(), |n| n.to_string())
                );
            }
            text.push('\n');
        }
        text
    }

    #[test]
    fn figures_are_made_of_two_snapshots() {
        let (mut rates, start) = (Rates::new(), Instant::now());
        let first = snapshot(None, 0.0, &["sda", "sdb"], 1);
        rates.learn(&first, start);
        expect![[r#"
            sda read=? bits=? wait=? used=0.75
            sdb read=? bits=? wait=? used=0.75
        "#]]
        .assert_eq(&told(&draw(&DISKS, &first, 0, &rates)));
        assert_eq!(told(&draw(&MODES, &first, 0, &rates)), " user=? idle=?\n");
        let second = snapshot(Some(&first), 2.0, &["sda", "sdb"], 2);
        rates.learn(&second, start + Duration::from_secs(2));
        expect![[r#"
            sda read=1000 bits=8000 wait=0.05 used=0.75
            sdb read=1000 bits=8000 wait=0.05 used=0.75
        "#]]
        .assert_eq(&told(&draw(&DISKS, &second, 0, &rates)));
        assert_eq!(told(&draw(&MODES, &second, 0, &rates)), " user=0.25 idle=0.75\n");
    }

    #[test]
    fn the_heaviest_are_chosen_also_among_many_that_are_equal() {
        let of = |all: &[f64], most| heaviest(all.iter().copied(), most, |weight| *weight);
        assert_eq!(of(&[0.0, 3.0, 0.0, 0.0, 7.0, 5.0], 3), [3.0, 7.0, 5.0]);
        assert_eq!(of(&[0.0, 0.0, 0.0, 0.0, 7.0], 3), [0.0, 0.0, 7.0]);
        assert_eq!(of(&[1.0, 2.0], 3), [1.0, 2.0]);
    }

    #[test]
    fn a_disk_that_comes_takes_no_rate_from_the_others() {
        let (mut rates, start) = (Rates::new(), Instant::now());
        let first = snapshot(None, 0.0, &["sdb"], 1);
        rates.learn(&first, start);
        let second = snapshot(Some(&first), 1.0, &["sda", "sdb"], 2);
        rates.learn(&second, start + Duration::from_secs(1));
        expect![[r#"
            sda read=? bits=? wait=? used=0.75
            sdb read=1000 bits=8000 wait=0.05 used=0.75
        "#]]
        .assert_eq(&told(&draw(&DISKS, &second, 0, &rates)));
        // Nothing has run since: the rates are those of the last two runs.
        rates.learn(&second, start + Duration::from_secs(2));
        assert!(told(&draw(&DISKS, &second, 0, &rates)).contains("sdb read=1000 "));
        // A snapshot that was taken before and comes late takes nothing away.
        rates.learn(&first, start + Duration::from_secs(2));
        assert!(told(&draw(&DISKS, &second, 0, &rates)).contains("sdb read=1000 "));
        // And a counter that goes back was reset.
        let third = snapshot(Some(&second), 0.5, &["sdb"], 3);
        rates.learn(&third, start + Duration::from_secs(3));
        assert!(told(&draw(&DISKS, &third, 0, &rates)).starts_with("sdb read=250 "));
    }
}
