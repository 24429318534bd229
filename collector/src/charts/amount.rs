//! Numbers as people read them: three digits and a unit.

use crate::timestamp;
use std::time::{Duration, UNIX_EPOCH};
use vitald_core::chart::Measure;
use vitald_core::family::Unit;

/// What stands where a number is not known.
const UNKNOWN: &str = "-";
/// Thousands and their names.
const DECIMAL: [(f64, &str); 6] =
    [(1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
/// Powers of 1024 and their names.
const BINARY: [(f64, &str); 6] = [
    ((1u64 << 60) as f64, "Ei"),
    ((1u64 << 50) as f64, "Pi"),
    ((1u64 << 40) as f64, "Ti"),
    ((1u64 << 30) as f64, "Gi"),
    ((1u64 << 20) as f64, "Mi"),
    ((1u64 << 10) as f64, "Ki"),
];

/// Writes a number with its unit. Sizes are in powers of 1024, as memory is; what is moved in a second is in powers of
/// 1000, as disks and networks are.
pub(crate) fn amount(number: Option<f64>, measure: Measure) -> String {
    let Some(number) = number else { return UNKNOWN.to_owned() };
    if !number.is_finite() {
        return number.to_string();
    }
    if measure.is_share() {
        return format!("{:.1} %", number * 100.0);
    }
    match measure {
        // So drivers say that they do not know how fast a link is.
        Measure::BitsPerSecond if number < 0.0 => UNKNOWN.to_owned(),
        Measure::BitsPerSecond => scaled(number, &DECIMAL, "b/s"),
        Measure::PerSecond(Unit::Bytes) => scaled(number, &DECIMAL, "B/s"),
        Measure::PerSecond(Unit::None) => count(number, "/s"),
        Measure::PerSecond(unit) => scaled(number, &DECIMAL, &format!("{}/s", symbol(unit))),
        Measure::Of(Unit::Bytes) => scaled(number, &BINARY, "B"),
        Measure::Of(Unit::Seconds) => time(number),
        Measure::Of(Unit::Celsius) => format!("{number:.1} °C"),
        Measure::Of(Unit::RevolutionsPerMinute) => format!("{number:.0} rpm"),
        Measure::Of(Unit::None) => count(number, ""),
        Measure::Of(unit) => scaled(number, &DECIMAL, symbol(unit)),
    }
}

fn symbol(unit: Unit) -> &'static str {
    match unit {
        Unit::None => "",
        Unit::Seconds => "s",
        Unit::Bytes => "B",
        Unit::Celsius => "°C",
        Unit::Ratio => "%",
        Unit::Volts => "V",
        Unit::Amperes => "A",
        Unit::Joules => "J",
        Unit::Hertz => "Hz",
        Unit::Watts => "W",
        Unit::Meters => "m",
        Unit::RevolutionsPerMinute => "rpm",
    }
}

fn scaled(number: f64, steps: &[(f64, &str)], unit: &str) -> String {
    // What would be written as 1000 is the next step already.
    let step = steps.iter().find(|(step, _)| number.abs() >= step * 0.9995);
    match step {
        Some((step, name)) => format!("{} {name}{unit}", digits(number / step)),
        None => format!("{} {unit}", digits(number)),
    }
}

/// A count is written in full while it is short.
fn count(number: f64, unit: &str) -> String {
    if number.fract() == 0.0 && number.abs() < 1e5 {
        return format!("{number}{unit}");
    }
    let step = DECIMAL.iter().find(|(step, _)| number.abs() >= step * 0.9995);
    match step {
        Some((step, name)) => format!("{}{name}{unit}", digits(number / step)),
        None => format!("{}{unit}", digits(number)),
    }
}

/// What is longer than thirty years is no duration, but a time since 1970.
const LEAST_DATE: f64 = 1e9;
/// More than any time that has a text.
const MOST_DATE: f64 = 1e12;

fn time(seconds: f64) -> String {
    const STEPS: [(f64, &str); 6] =
        [(86400.0, "d"), (3600.0, "h"), (1.0, "s"), (1e-3, "ms"), (1e-6, "us"), (1e-9, "ns")];
    if seconds >= LEAST_DATE {
        let since = Duration::from_secs_f64(seconds.min(MOST_DATE));
        return timestamp::with_seconds(UNIX_EPOCH + since);
    }
    let large = |step: f64| if step > 1.0 { 2.0 * step } else { step };
    match STEPS.iter().find(|(step, _)| seconds.abs() >= large(*step)) {
        Some((step, name)) => format!("{} {name}", digits(seconds / step)),
        None => "0 s".to_owned(),
    }
}

/// Three digits, or all before the point.
fn digits(number: f64) -> String {
    match number.abs() {
        0.0 => "0".to_owned(),
        size if size >= 99.95 => format!("{number:.0}"),
        size if size >= 9.995 => format!("{number:.1}"),
        _ => format!("{number:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_and_a_unit() {
        for (number, measure, expected) in [
            (0.1234, Measure::Of(Unit::Ratio), "12.3 %"),
            (1.0, Measure::PerSecond(Unit::Seconds), "100.0 %"),
            (0.0, Measure::PerSecond(Unit::Bytes), "0 B/s"),
            (999.0, Measure::PerSecond(Unit::Bytes), "999 B/s"),
            (999.9, Measure::PerSecond(Unit::Bytes), "1.00 kB/s"),
            (12_345_678.0, Measure::BitsPerSecond, "12.3 Mb/s"),
            (-1e6, Measure::BitsPerSecond, "-"),
            (1024.0, Measure::Of(Unit::Bytes), "1.00 KiB"),
            (8.0 * 1024.0 * 1024.0 * 1024.0, Measure::Of(Unit::Bytes), "8.00 GiB"),
            (3.0, Measure::Of(Unit::None), "3"),
            (0.25, Measure::Of(Unit::None), "0.25"),
            (12_345.0, Measure::Of(Unit::None), "12345"),
            (1_234_567.0, Measure::PerSecond(Unit::None), "1.23M/s"),
            (17.5, Measure::PerSecond(Unit::None), "17.5/s"),
            (0.00035, Measure::Of(Unit::Seconds), "350 us"),
            (5400.0, Measure::Of(Unit::Seconds), "5400 s"),
            (7200.0, Measure::Of(Unit::Seconds), "2.00 h"),
            (0.0, Measure::Of(Unit::Seconds), "0 s"),
            (1_796_000_000.5, Measure::Of(Unit::Seconds), "2026-11-30T00:53:20Z"),
            (f64::MAX, Measure::Of(Unit::Seconds), "9999-12-31T23:59:59Z"),
            (45.5, Measure::Of(Unit::Celsius), "45.5 °C"),
            (2.4e9, Measure::Of(Unit::Hertz), "2.40 GHz"),
            (-1500.0, Measure::PerSecond(Unit::Bytes), "-1.50 kB/s"),
            (f64::NAN, Measure::Of(Unit::Bytes), "NaN"),
        ] {
            assert_eq!(amount(Some(number), measure), expected);
        }
        assert_eq!(amount(None, Measure::Of(Unit::Bytes)), "-");
    }
}
