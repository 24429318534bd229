use super::*;
use crate::bench::names::{COLLECTD, READER, THEIRS};

fn row(name: &'static str, spent: &[f64]) -> Row {
    let nanoseconds = spent.iter().map(|micros| micros * 1e3 * 2.0).collect();
    Row::new(name, (nanoseconds, vec![3e-6, 1e-6, 2e-6]), 2)
}

#[test]
fn latencies_and_medians() {
    let row = row("a", &[10.0, 30.0, 20.0]);
    assert!((row.median() - 20.0).abs() < 1e-9);
    assert!((row.latency(0.5) - 2.0).abs() < 1e-9);
    assert!((row.latency(0.99) - 3.0).abs() < 1e-9);
    assert!(Row::new("b", (vec![], vec![]), 1).latency(0.5).is_nan());
}

#[test]
fn percentiles() {
    let values: Vec<f64> = (1..=200).rev().map(f64::from).collect();
    for (share, expected) in [(0.0, 1.0), (0.5, 100.0), (0.9, 180.0), (0.99, 198.0), (1.0, 200.0)] {
        assert!((percentile(&values, share) - expected).abs() < 1e-9, "{share}");
    }
    assert!((median(&values) - 100.5).abs() < 1e-9);
}

#[test]
fn the_bootstrap_holds_what_it_should() {
    // Values around 2, of which chance has some high and some low.
    let mut seed = 7_u64;
    let mut noise = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) as f64 / f64::from(1_u32 << 31) - 0.5
    };
    let held = (0..200).filter(|_| {
        let values: Vec<f64> = (0..30).map(|_| 2.0 + noise()).collect();
        let interval = Interval::of(interval(&values));
        assert!(interval.least <= interval.median && interval.median <= interval.most);
        interval.holds(2.0)
    });
    // 190 of 200 are 95 %.
    let held = held.count();
    assert!((180..=198).contains(&held), "{held}");
    // More rounds, a narrower interval; one value, none at all.
    let width = |rounds: usize| {
        let values: Vec<f64> = (0..rounds).map(|round| (round % 10) as f64).collect();
        let (_, least, most) = interval(&values);
        most - least
    };
    assert!(width(400) < width(20), "{} {}", width(400), width(20));
    assert_eq!(interval(&[3.0]), (3.0, 3.0, 3.0));
    assert_eq!(interval(&[1.0, 5.0, 2.0]), interval(&[1.0, 5.0, 2.0]));
}

#[test]
fn calls_that_only_one_makes() {
    let size = |calls: &[(&str, f64)]| Size {
        calls: Some(calls.iter().map(|(name, calls)| ((*name).to_owned(), *calls)).collect()),
        ..Size::default()
    };
    let ours = size(&[("pread64", 24.0), ("futex", 2.0), ("sendto", 4.0), ("mmap", 0.1)]);
    let theirs = size(&[("pread64", 24.1), ("sendto", 1.0), ("read", 1.0)]);
    assert_eq!(ours.calls_beyond(&theirs), [("sendto", 3.0), ("futex", 2.0)]);
    assert!((ours.sum_of_calls().unwrap() - 30.1).abs() < 1e-9);
}

#[test]
fn ratios_are_of_rounds() {
    let rows = vec![row("a", &[10.0, 20.0, 30.0]), row("b", &[5.0, 10.0, 15.0])];
    let regime = Regime::of("", rows);
    let ratio = regime.ratio("a", "b").unwrap();
    assert!(ratio.holds(2.0) && !ratio.holds(1.0));
    assert_eq!(ratio.to_string(), "2.00 [2.00..2.00]");
    assert!(regime.ratio("a", "c").is_none());
}

#[test]
fn exponents() {
    let hosts = [1_usize, 2, 4].map(|factor| {
        let rows = vec![
            row("linear", &[10.0 * factor as f64, 11.0 * factor as f64]),
            row("square", &[(factor * factor) as f64; 2]),
            row("constant", &[7.0, 8.0]),
        ];
        let regime = Regime::of("", rows);
        Host { cpus: 64 * factor, disks: 0, interfaces: 0, sizes: Vec::new(), regime }
    });
    for (name, expected) in [("linear", 1.0), ("square", 2.0), ("constant", 0.0)] {
        let exponent = growth(&hosts, name).unwrap();
        assert!((exponent.median - expected).abs() < 1e-9, "{name}: {exponent}");
    }
    assert!(growth(&hosts[..1], "linear").is_none());
    assert!(growth(&hosts, "none").is_none());
}

fn regime(name: &str) -> Regime {
    let row = |name, micros: f64| {
        let rounds = vec![micros * 1e3, micros * 1.01e3, micros * 0.99e3];
        Row::new(name, (rounds, vec![micros * 1e-6; 3]), 1)
    };
    let rows =
        vec![row(VITALD, 200.0), row(CONTROL, 200.0), row(READER, 100.0), row(THEIRS, 1500.0)];
    Regime::of(name, rows)
}

/// A whole run, as what shows one is tested with it.
pub(crate) fn figures() -> Figures {
    let calls = |calls: &[(&str, f64)]| {
        Some(calls.iter().map(|(name, calls)| ((*name).to_owned(), *calls)).collect())
    };
    let size = |name, calls| Size {
        name,
        of_host: 384,
        samples: 450,
        families: BTreeSet::new(),
        bytes: 49_000,
        resident_kib: 5_120,
        peak_kib: 6_144,
        threads: 3,
        calls,
    };
    let reading = |path: &str, passes, reads| crate::system::bare::Reading {
        path: path.into(),
        passes,
        reads,
        length: 4096,
    };
    let set = OfSet {
        name: "sixteen",
        about: "About it.",
        names: Some(&["cpu", "stat"]),
        sizes: vec![
            size(VITALD, calls(&[("pread64", 25.0), ("futex", 20.0)])),
            size(READER, calls(&[("pread64", 25.0), ("read", 2.0)])),
            size(COLLECTD, None),
        ],
        regimes: vec![
            regime("back to back"),
            Regime { control_before: Some(Interval::of((1.04, 1.02, 1.06))), ..regime("2 Hz") },
        ],
        work: Work {
            readings: vec![reading("/proc/stat", 2, 1), reading("/proc/vmstat", 1, 2)],
            in_rotation: 0,
            mounts: vec!["/".into()],
            bytes: 49_000,
        },
    };
    let of_collector = |name: &str, there, here| OfCollector { name: name.to_owned(), there, here };
    let host = |cpus| Host {
        cpus,
        disks: cpus * 4,
        interfaces: cpus * 10,
        sizes: vec![size(VITALD, None), size(THEIRS, None)],
        regime: regime(""),
    };
    Figures {
        circumstances: vec![
            ("CPUs", "2 of Example".to_owned()),
            ("kernel", "Linux 6.18".to_owned()),
        ],
        sets: vec![set],
        starts: Some(Starts {
            rows: vec![(VITALD, vec![4.0, 5.0, 6.0]), (THEIRS, vec![16.0, 20.0, 24.0])],
        }),
        forms: vec![Form {
            name: "gzip",
            bytes: vec![(VITALD, Some(9_000)), (THEIRS, None)],
            regime: regime(""),
        }],
        collectors: vec![
            of_collector("loadavg", Some(50.0), Some(5.0)),
            of_collector("watchdog", None, Some(6.0)),
        ],
        hosts: vec![host(64), host(512)],
        doubts: vec!["It is doubtful.".to_owned()],
        ..Figures::default()
    }
}
