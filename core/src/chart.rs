//! Charts: what people look at first of a collector, declared beside its families.
//!
//! One declaration serves all who draw: the console its blocks, the page its tiles, a dashboard its panels.
//! Of a collector that declares none, [`derived`] makes some from its families.

use crate::family::{FamilyInfo, FamilyPattern, Kind, Unit, equal};

/// Figures that belong together: a row for each device, or whatever else `by` says, and a column for each curve.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Chart {
    /// What it shows, in a word or two: `Disks`.
    pub title: &'static str,
    /// The labels whose values tell the rows apart; none for a chart of one row.
    pub by: &'static [&'static str],
    /// What is drawn of each row.
    pub curves: &'static [Curve],
}

impl Chart {
    /// A chart of one row.
    pub const fn of(title: &'static str, curves: &'static [Curve]) -> Self {
        Chart { title, by: &[], curves }
    }

    /// A chart with a row for each combination of the values of these labels.
    pub const fn by(
        labels: &'static [&'static str],
        title: &'static str,
        curves: &'static [Curve],
    ) -> Self {
        Chart { title, by: labels, curves }
    }
}

/// A curve of a chart, or one for each value of a label.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Curve {
    /// What it is called; empty where the values of `each` are the names.
    pub title: &'static str,
    /// The label that makes a curve of each of its values.
    pub each: Option<&'static str>,
    /// What is drawn.
    pub figure: Figure,
}

impl Curve {
    /// A curve with a name.
    pub const fn of(title: &'static str, figure: Figure) -> Self {
        Curve { title, each: None, figure }
    }

    /// A curve for each value of a label, which is its name.
    pub const fn each(label: &'static str, figure: Figure) -> Self {
        Curve { title: "", each: Some(label), figure }
    }
}

/// How a number is made from metrics.
///
/// What a row has several series of is summed up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Figure {
    /// The value of a gauge.
    Value(Selector),
    /// What a counter gains in a second.
    Rate(Selector),
    /// What a counter gains in parts of what all curves of its row gain, as the times of CPUs in their modes.
    Share(Selector),
    /// The first less the second.
    Difference(&'static Figure, &'static Figure),
    /// The first in parts of the second; none where that is zero.
    Ratio(&'static Figure, &'static Figure),
    /// Bytes as bits, in which networks are measured.
    Bits(&'static Figure),
}

/// The series of a metric that have these labels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Selector {
    /// The name of the family.
    pub family: &'static str,
    /// Labels with the values that they must have.
    pub labels: &'static [(&'static str, &'static str)],
}

/// See [`Figure::Value`].
pub const fn value(family: &'static str) -> Figure {
    Figure::Value(Selector { family, labels: &[] })
}

/// See [`Figure::Rate`].
pub const fn rate(family: &'static str) -> Figure {
    Figure::Rate(Selector { family, labels: &[] })
}

/// See [`Figure::Share`].
pub const fn share(family: &'static str) -> Figure {
    Figure::Share(Selector { family, labels: &[] })
}

impl Figure {
    /// The same of those series alone that have these labels.
    ///
    /// # Panics
    ///
    /// Of what is made from several figures: say it of each of them.
    #[must_use]
    pub const fn of(self, labels: &'static [(&'static str, &'static str)]) -> Self {
        match self {
            Figure::Value(Selector { family, .. }) => Figure::Value(Selector { family, labels }),
            Figure::Rate(Selector { family, .. }) => Figure::Rate(Selector { family, labels }),
            Figure::Share(Selector { family, .. }) => Figure::Share(Selector { family, labels }),
            Figure::Difference(..) | Figure::Ratio(..) | Figure::Bits(..) => {
                panic!("labels are said of each metric")
            }
        }
    }

    /// Passes on the metrics that it is made from.
    pub fn selectors(&self, each: &mut dyn FnMut(&Selector)) {
        match self {
            Figure::Value(selector) | Figure::Rate(selector) | Figure::Share(selector) => {
                each(selector);
            }
            Figure::Difference(one, other) | Figure::Ratio(one, other) => {
                one.selectors(each);
                other.selectors(each);
            }
            Figure::Bits(bytes) => bytes.selectors(each),
        }
    }

    /// What it is measured in, where a metric has the unit that `of` says; see [`Unit::of_name`].
    pub fn measure(&self, of: &dyn Fn(&str) -> Unit) -> Measure {
        match self {
            Figure::Value(selector) => Measure::Of(of(selector.family)),
            Figure::Rate(selector) => Measure::PerSecond(of(selector.family)),
            Figure::Share(_) => Measure::Of(Unit::Ratio),
            Figure::Difference(one, _) => one.measure(of),
            Figure::Ratio(one, other) => match (one.measure(of), other.measure(of)) {
                (one, other) if one == other => Measure::Of(Unit::Ratio),
                // Seconds a second by requests a second are seconds a request.
                (Measure::PerSecond(unit), Measure::PerSecond(_)) => Measure::Of(unit),
                (measure, _) => measure,
            },
            Figure::Bits(_) => Measure::BitsPerSecond,
        }
    }
}

/// What a figure is measured in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// A unit.
    Of(Unit),
    /// So much of it a second; seconds a second are a share of the time.
    PerSecond(Unit),
    /// Bits a second.
    BitsPerSecond,
}

impl Measure {
    /// Whether it is a part of a whole, which people read as per cent.
    pub fn is_share(self) -> bool {
        matches!(self, Measure::Of(Unit::Ratio) | Measure::PerSecond(Unit::Seconds))
    }
}

/// Charts of the families of a collector without charts of its own: one for the families that have the
/// same labels. They stay in memory, so it is called once for each collector.
///
/// Left out is what says nothing as a number (`_info`, whose value is always 1) or is not one number.
pub fn derived(collector: &'static str, families: &'static [FamilyInfo]) -> &'static [Chart] {
    let mut charts: Vec<(&[&str], Vec<Curve>)> = Vec::new();
    for family in families {
        let selector = Selector { family: family.name, labels: &[] };
        let figure = match family.kind {
            _ if family.name.ends_with("_info") => continue,
            // Some dates are declared as counters, as those from whom their names are do. They have no rate.
            _ if is_date(family.name) => Figure::Value(selector),
            Kind::Counter => Figure::Rate(selector),
            Kind::Gauge | Kind::Untyped => Figure::Value(selector),
            Kind::Histogram | Kind::Summary => continue,
        };
        let curve = Curve::of(short_name(collector, family).leak(), figure);
        match charts.iter_mut().find(|(by, _)| *by == family.labels) {
            Some((_, curves)) => curves.push(curve),
            None => charts.push((family.labels, vec![curve])),
        }
    }
    let charts = charts.into_iter();
    charts
        .map(|(by, curves)| Chart { title: collector, by, curves: curves.leak() })
        .collect::<Vec<_>>()
        .leak()
}

/// Whether the seconds of this family are since the epoch, by its name.
pub fn is_date(family: &str) -> bool {
    const ENDS: [&str; 5] = [
        "_timestamp_seconds",
        "_start_time_seconds",
        "_boot_time_seconds",
        "_mtime_seconds",
        "node_time_seconds",
    ];
    ENDS.iter().any(|end| family.ends_with(end))
}

/// Stops the build if a chart is of what its collector does not have. What is named at run time is left to the
/// tests of the registry.
pub(crate) const fn check(charts: &[Chart], families: &[FamilyInfo], patterns: &[FamilyPattern]) {
    let mut chart = 0;
    while chart < charts.len() {
        let mut curve = 0;
        while curve < charts[chart].curves.len() {
            let Curve { each, figure, .. } = &charts[chart].curves[curve];
            check_figure(figure, charts[chart].by, *each, families, patterns);
            curve += 1;
        }
        chart += 1;
    }
}

const fn check_figure(
    figure: &Figure,
    by: &[&str],
    each: Option<&str>,
    families: &[FamilyInfo],
    patterns: &[FamilyPattern],
) {
    let (selector, is_counted) = match figure {
        Figure::Value(selector) => (selector, false),
        Figure::Rate(selector) | Figure::Share(selector) => (selector, true),
        Figure::Difference(one, other) | Figure::Ratio(one, other) => {
            check_figure(one, by, each, families, patterns);
            return check_figure(other, by, each, families, patterns);
        }
        Figure::Bits(bytes) => return check_figure(bytes, by, each, families, patterns),
    };
    let mut place = 0;
    while place < families.len() && !equal(families[place].name, selector.family) {
        place += 1;
    }
    if place == families.len() {
        assert!(!patterns.is_empty(), "a chart is of a family that is not among FAMILIES");
        return;
    }
    let family = &families[place];
    assert!(
        is_counted == matches!(family.kind, Kind::Counter) || matches!(family.kind, Kind::Untyped),
        "rates and shares are of counters, values of gauges"
    );
    let mut label = 0;
    while label < by.len() {
        assert!(
            contains(family.labels, by[label]),
            "a family has not the label that tells rows apart"
        );
        label += 1;
    }
    if let Some(each) = each {
        assert!(contains(family.labels, each), "a family has not the label that makes the curves");
    }
    label = 0;
    while label < selector.labels.len() {
        assert!(contains(family.labels, selector.labels[label].0), "a family has not the label");
        label += 1;
    }
}

const fn contains(labels: &[&str], label: &str) -> bool {
    let mut place = 0;
    while place < labels.len() {
        if equal(labels[place], label) {
            return true;
        }
        place += 1;
    }
    false
}

/// `reads completed` of `node_disk_reads_completed_total`, whose collector is `disk`.
fn short_name(collector: &str, family: &FamilyInfo) -> String {
    let name = family.name;
    let name = name.strip_prefix("node_").unwrap_or(name);
    let own = name.strip_prefix(collector).and_then(|rest| rest.strip_prefix('_'));
    let name = own.unwrap_or(name);
    let name = name.strip_suffix("_total").unwrap_or(name);
    let unit = name.strip_suffix(family.unit.word()).and_then(|rest| rest.strip_suffix('_'));
    unit.unwrap_or(name).replace('_', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    crate::families! {
        /// What is known.
        _INFO: gauge = "node_disk_info" [device, model];
        /// Reads.
        _READS: counter = "node_disk_reads_completed_total" [device];
        /// Read.
        _READ: counter = "node_disk_read_bytes_total" [device];
        /// All.
        _ALL: gauge = "node_all";
        /// When it was started.
        _STARTED: counter = "node_disk_start_time_seconds" legacy;
    }

    const BUSY: Figure = rate("node_disk_io_time_seconds_total");
    const WAIT: Figure =
        Figure::Ratio(&rate("node_disk_read_time_seconds_total"), &rate("node_disk_reads_total"));
    const USED: Figure = Figure::Ratio(
        &Figure::Difference(&value("node_size_bytes"), &value("node_avail_bytes")),
        &value("node_size_bytes"),
    );

    #[test]
    fn figures_know_what_they_are_measured_in() {
        let measure = |figure: Figure| figure.measure(&|name| Unit::of_name(name.as_bytes()));
        assert_eq!(measure(BUSY), Measure::PerSecond(Unit::Seconds));
        assert!(measure(BUSY).is_share());
        assert_eq!(measure(WAIT), Measure::Of(Unit::Seconds));
        assert_eq!(measure(USED), Measure::Of(Unit::Ratio));
        assert_eq!(measure(value("node_load1")), Measure::Of(Unit::None));
        assert_eq!(measure(share("node_cpu_seconds_total")), Measure::Of(Unit::Ratio));
        assert_eq!(measure(rate("node_read_bytes_total")), Measure::PerSecond(Unit::Bytes));
        const BITS: Figure = Figure::Bits(&rate("node_read_bytes_total"));
        assert_eq!(measure(BITS), Measure::BitsPerSecond);
    }

    #[test]
    fn families_of_the_same_labels_make_a_chart() {
        let charts = derived("disk", FAMILIES);
        let told: Vec<_> = charts
            .iter()
            .map(|chart| {
                let curves = chart.curves.iter().map(|curve| curve.title);
                (chart.by, curves.collect::<Vec<_>>().join(", "))
            })
            .collect();
        assert_eq!(
            told,
            [
                (&["device"][..], "reads completed, read".to_owned()),
                (&[][..], "all, start time".to_owned())
            ]
        );
        assert_eq!(charts[1].curves[1].figure, value("node_disk_start_time_seconds"));
        assert_eq!(charts[0].curves[1].figure, rate("node_disk_read_bytes_total"));
        assert_eq!(charts[1].curves[0].figure, value("node_all"));
    }

    #[test]
    fn charts_are_of_the_families_there_are() {
        const ANY: &[FamilyPattern] =
            &[FamilyPattern { name: "node_*", kinds: &[Kind::Gauge], help: "" }];
        const READ: Figure = rate("node_disk_read_bytes_total");
        const GOOD: &[Chart] = &[Chart::by(&["device"], "a", &[Curve::of("b", READ)])];
        const NO_ROWS: &[Chart] = &[Chart::by(&["disk"], "a", &[Curve::of("b", READ)])];
        const NO_CURVES: &[Chart] = &[Chart::of("a", &[Curve::each("mode", READ)])];
        const NO_GAUGE: &[Chart] =
            &[Chart::of("a", &[Curve::of("b", value("node_disk_read_bytes_total"))])];
        const NO_FAMILY: &[Chart] = &[Chart::of("a", &[Curve::of("b", value("node_other"))])];
        let check = |charts, patterns| {
            std::panic::catch_unwind(|| check(charts, FAMILIES, patterns)).is_ok()
        };
        assert!(check(GOOD, &[]));
        for bad in [NO_ROWS, NO_CURVES, NO_GAUGE, NO_FAMILY] {
            assert!(!check(bad, &[]), "{bad:?}");
        }
        assert!(check(NO_FAMILY, ANY));
    }

    #[test]
    fn a_figure_names_its_metrics() {
        let mut names = Vec::new();
        USED.selectors(&mut |selector| names.push(selector.family));
        assert_eq!(names, ["node_size_bytes", "node_avail_bytes", "node_size_bytes"]);
        let idle = rate("node_cpu_seconds_total").of(&[("mode", "idle")]);
        assert!(matches!(idle, Figure::Rate(Selector { labels: [("mode", "idle")], .. })));
    }
}
