use super::*;
use crate::bench::names::{COLLECTD, READER, THEIRS};

/// One block after another, each of rounds of two scrapes.
fn row(name: &'static str, blocks: &[&[f64]]) -> Row {
    let block = |spent: &&[f64]| {
        let nanoseconds = spent.iter().map(|micros| micros * 1e3 * 2.0).collect();
        Row::new(name, (nanoseconds, vec![3e-6, 1e-6, 2e-6]), 2)
    };
    let mut regime = Regime::default();
    blocks.iter().for_each(|spent| regime.extend(vec![block(spent)]));
    regime.rows.remove(0)
}

fn regime_of(rows: Vec<Row>) -> Regime {
    Regime { name: String::new(), rows }
}

#[test]
fn latencies_and_medians() {
    let row = row("a", &[&[10.0, 99.0, 5.0], &[30.0], &[20.0, 20.0]]);
    assert_eq!(row.blocks.len(), 3);
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

/// Processes of the same program cost more or less than each other by what they are, in all their rounds.
#[test]
fn the_bootstrap_over_blocks_holds_what_that_over_rounds_does_not() {
    const ROUNDS: usize = 8;
    let mut seed = 11_u64;
    let mut noise = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) as f64 / f64::from(1_u32 << 31) - 0.5
    };
    for blocks in [6, 12] {
        let (mut by_block, mut by_round) = (0, 0);
        for _ in 0..100 {
            let mut program = || -> Vec<Vec<f64>> {
                let block = |_| {
                    let of_process = 1.0 + noise() * 0.2;
                    (0..ROUNDS).map(|_| of_process + noise() * 0.02).collect()
                };
                (0..blocks).map(block).collect()
            };
            let (above, below) = (program(), program());
            by_block += usize::from(Interval::of(ratio_of_blocks(&above, &below)).holds(1.0));
            let rounds = Interval::of(ratio(&above.concat(), &below.concat()));
            by_round += usize::from(rounds.holds(1.0));
        }
        // 95 of 100 are 95 %.
        assert!((88..=100).contains(&by_block), "{blocks} blocks: {by_block}");
        assert!(by_round < 75, "{blocks} blocks by rounds: {by_round}");
    }
    // However many rounds a block has, it is one value.
    let (one, other) = (vec![vec![2.0; 100], vec![3.0]], vec![vec![1.0; 100], vec![1.0]]);
    assert_eq!(ratio_of_blocks(&one, &other), (2.5, 2.0, 3.0));
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
fn ratios_are_of_rounds_of_the_same_block() {
    let rows =
        vec![row("a", &[&[10.0, 20.0, 30.0], &[40.0]]), row("b", &[&[5.0, 10.0, 15.0], &[20.0]])];
    let regime = regime_of(rows);
    let ratio = regime.ratio("a", "b").unwrap();
    assert!(ratio.holds(2.0) && !ratio.holds(1.0));
    assert_eq!(ratio.to_string(), "2.00 [2.00..2.00]");
    assert!(regime.ratio("a", "c").is_none());
}

#[test]
fn exponents() {
    let hosts = [1_usize, 2, 4].map(|factor| {
        let rows = vec![
            row("linear", &[&[10.0 * factor as f64], &[11.0 * factor as f64]]),
            row("square", &[&[(factor * factor) as f64; 2]]),
            row("constant", &[&[7.0], &[8.0]]),
        ];
        Host { cpus: 64 * factor, disks: 0, interfaces: 0, sizes: vec![], regime: regime_of(rows) }
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
        || vec![row(VITALD, 200.0), row(CONTROL, 200.0), row(READER, 100.0), row(THEIRS, 1500.0)];
    let mut regime = Regime::new(name);
    (0..12).for_each(|_| regime.extend(rows()));
    regime
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
    let work = Work {
        readings: vec![reading("/proc/stat", 2, 1), reading("/proc/vmstat", 1, 2)],
        in_rotation: 0,
        mounts: vec!["/".into()],
        bytes: 49_000,
    };
    let set = OfSet {
        name: "sixteen",
        about: "About it.",
        names: Some(&["cpu", "stat"]),
        sizes: vec![
            // On a slow machine a scrape has more of what is read in turn by the clock.
            size(VITALD, calls(&[("pread64", 25.9), ("futex", 20.0)])),
            size(READER, calls(&[("pread64", 25.0), ("read", 2.0)])),
            size(COLLECTD, None),
        ],
        regimes: vec![regime("back to back"), regime("2 Hz")],
        work: Some(Beside { asked: work.clone(), ours: work.clone(), done: work }),
    };
    let kernels = |set| Kernels {
        set,
        interfaces: 1001,
        mounts: 303,
        sizes: vec![size(VITALD, None), size(THEIRS, None)],
        regime: regime(""),
    };
    let host = |cpus| Host {
        cpus,
        disks: cpus * 4,
        interfaces: cpus * 10,
        sizes: vec![size(VITALD, None), size(THEIRS, None)],
        regime: regime(""),
    };
    Figures {
        circumstances: vec![
            ("CPUs", "2, Example".to_owned()),
            ("kernel", "Linux 6.18, x86_64".to_owned()),
            ("node_exporter", "node_exporter, version 1.5.0 (branch: a)".to_owned()),
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
        kernels: vec![kernels("sixteen"), kernels("default")],
        hosts: vec![host(64), host(512)],
        doubts: Vec::new(),
        ..Figures::default()
    }
}
