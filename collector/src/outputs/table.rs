//! A snapshot as an aligned table, with rates for counters when there is an earlier snapshot.

use crate::charts::Rates;
use std::fmt::Write as _;
use std::time::Instant;
use vitald_core::family::Kind;
use vitald_core::number::write_number;
use vitald_core::pattern::Pattern;
use vitald_core::shape::SeriesRef;
use vitald_core::snapshot::{Part, Sample, Snapshot, State};

/// Renders snapshots one after another and remembers the last values of counters.
#[derive(Default)]
pub struct Table {
    rates: Rates,
}

struct Row {
    name: String,
    value: String,
    rate: String,
}

impl Table {
    /// A table that has seen nothing.
    pub fn new() -> Self {
        Table::default()
    }

    /// Renders a snapshot that was taken at `now`, or of it only the metrics whose names match.
    pub fn render(
        &mut self,
        snapshot: &Snapshot,
        metrics: Option<&Pattern>,
        now: Instant,
    ) -> String {
        self.rates.learn(snapshot, now);
        let mut sections: Vec<(String, Vec<Row>)> = Vec::new();
        let mut shown: Vec<(usize, &Part)> = snapshot.parts().iter().enumerate().collect();
        shown.retain(|(_, part)| !part.descriptor.internal);
        shown.sort_by_key(|(_, part)| part.descriptor.name);
        for (at, part) in shown {
            let name = part.descriptor.name;
            let heading = match part.state {
                State::Running => name.to_owned(),
                state => format!("{name} ({})", state.word()),
            };
            sections.push((heading, rows(snapshot.samples_of(at), &self.rates, metrics)));
        }
        layout(&sections)
    }
}

fn rows<'a>(
    samples: impl Iterator<Item = Sample<'a>>,
    rates: &Rates,
    metrics: Option<&Pattern>,
) -> Vec<Row> {
    let taken = |series: &SeriesRef<'_>| {
        metrics.is_none_or(|pattern| pattern.matches(series.family_name()))
    };
    samples
        .filter(|sample| taken(&sample.series))
        .map(|Sample { part, series, position, value }| {
            let rate = rates.of(part.descriptor.name, position);
            let rate = rate.filter(|_| series.kind() == Kind::Counter);
            let rate = rate.map(|rate| format!("{}/s", amount(&series, rate)));
            Row {
                name: series_name(&series),
                value: amount(&series, value),
                rate: rate.unwrap_or_default(),
            }
        })
        .collect()
}

/// `name{label="value"}`, without what a terminal would take for a command.
pub(crate) fn series_name(series: &SeriesRef<'_>) -> String {
    let mut text = String::from_utf8_lossy(series.family_name()).into_owned();
    text.push_str(series.suffix().text());
    let mut separator = '{';
    for (name, value) in series.labels() {
        let value = String::from_utf8_lossy(value);
        let _ = write!(
            text,
            "{separator}{}=\"{}\"",
            String::from_utf8_lossy(name),
            value.escape_debug()
        );
        separator = ',';
    }
    if separator == ',' {
        text.push('}');
    }
    text
}

/// A value as people read it: bytes with a binary unit, other numbers with up to six digits.
fn amount(series: &SeriesRef<'_>, value: f64) -> String {
    let name = series.family_name();
    let is_bytes = name.ends_with(b"_bytes") || name.ends_with(b"_bytes_total");
    if is_bytes && value.abs() >= 1024.0 && value.is_finite() {
        let mut scaled = value;
        let mut unit = "B";
        for larger in ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"] {
            if scaled.abs() < 1024.0 {
                break;
            }
            scaled /= 1024.0;
            unit = larger;
        }
        return format!("{scaled:.1} {unit}");
    }
    let mut digits = Vec::new();
    let rounded =
        if value.abs() < 1e15 && value.abs() >= 1e-4 { (value * 1e4).round() / 1e4 } else { value };
    if rounded.fract() == 0.0 && rounded.abs() < 1e15 {
        return format!("{rounded:.0}");
    }
    write_number(&mut digits, rounded);
    String::from_utf8_lossy(&digits).into_owned()
}

fn layout(sections: &[(String, Vec<Row>)]) -> String {
    let mut text = String::new();
    for (heading, rows) in sections {
        text += heading;
        text.push('\n');
        lay_out(rows, &mut text);
    }
    text
}

/// The rows of one collector, in columns of their own: a long name elsewhere does not tear them
/// apart.
fn lay_out(rows: &[Row], text: &mut String) {
    let width =
        |of: fn(&Row) -> &str| rows.iter().map(|row| of(row).chars().count()).max().unwrap_or(0);
    let (names, values) = (width(|row| &row.name), width(|row| &row.value));
    let rates = width(|row| &row.rate);
    for Row { name, value, rate } in rows {
        let line = format!("  {name:<names$}  {value:>values$}  {rate:>rates$}");
        *text += line.trim_end();
        text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use std::sync::Arc;
    use std::time::Duration;
    use vitald_core::collector::Descriptor;
    use vitald_core::families;
    use vitald_core::run::Run;
    use vitald_core::sealer::Sealer;
    use vitald_core::snapshot::Collection;
    use vitald_core::testing::{descriptor, part};

    families! {
        /// Bytes.
        BYTES: counter = "t_read_bytes_total" [device];
        /// Load.
        LOAD: gauge = "t_load";
    }

    static T: Descriptor = descriptor("t", FAMILIES, false);

    fn snapshot(last: Option<&Snapshot>, bytes: f64) -> Snapshot {
        let mut run = Run::new(FAMILIES);
        run.begin(last.and_then(|last| last.parts()[0].run.as_deref()), 0);
        run.batch().row(&BYTES, [b"sda\x1b[2J"], bytes);
        run.batch().value(&LOAD, 0.25);
        run.seal();
        let mut of_run = part(&T, &Arc::new(run));
        of_run.run_number = last.map_or(1, |last| last.parts()[0].run_number + 1);
        let parts = vec![of_run];
        Sealer::new(None).seal(&mut Collection { parts, ..Collection::new() }).clone()
    }

    #[test]
    fn counters_have_rates_and_controls_are_shown() {
        let mut table = Table::new();
        let now = Instant::now();
        let first = snapshot(None, 1024.0);
        table.render(&first, None, now);
        let second = snapshot(Some(&first), 1024.0 * 1024.0 * 4.0);
        let later = now + Duration::from_secs(2);
        expect![[r#"
            t
              t_read_bytes_total{device="sda\u{1b}[2J"}  4.0 MiB  2.0 MiB/s
              t_load                                        0.25
        "#]]
        .assert_eq(&table.render(&second, None, later));
        // A counter that went back was reset.
        let third = snapshot(Some(&second), 10.0);
        let text = table.render(&third, None, later + Duration::from_secs(2));
        assert!(text.contains(" 10  5/s"), "{text}");
    }

    #[test]
    fn metrics_are_chosen_by_name() {
        let only = Pattern::new("load").expect("a pattern");
        let text = Table::new().render(&snapshot(None, 1.0), Some(&only), Instant::now());
        assert_eq!(text, "t\n  t_load  0.25\n");
    }
}
