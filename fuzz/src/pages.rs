//! The encoders: whatever a batch holds, its page is read back by a reader that knows nothing of them.

use crate::Target;
use crate::exposition_reader::{self, Sample};
use crate::script::{Reader, SEPARATOR};
use std::collections::BTreeMap;
use std::sync::Arc;
use vitald::encode::{Encoder, Format};
use vitald_core::prelude::*;
use vitald_core::run::Run;
use vitald_core::snapshot::Snapshot;
use vitald_core::testing::snapshot;

families! {
    /// The load of a "host" with a \ in its help.
    LOAD: gauge = "fuzz_load";
    /// Bytes read.
    READ: counter = "fuzz_read_bytes_total" [device];
    /// Two labels.
    PAIR: gauge = "fuzz_pair" [first, second];
}

const KINDS: [Kind; 5] =
    [Kind::Counter, Kind::Gauge, Kind::Untyped, Kind::Histogram, Kind::Summary];
/// The suffixes that a sample of each kind may have.
const SUFFIXES: [&[Suffix]; 5] = [
    &[Suffix::None],
    &[Suffix::None],
    &[Suffix::None],
    &[Suffix::Bucket, Suffix::Sum, Suffix::Count],
    &[Suffix::None, Suffix::Sum, Suffix::Count],
];

pub fn targets() -> Vec<Target> {
    let seeds = [
        "\0load\x01\x02\x03\x04\x05\x06\x07\x08\u{1}sda\n\u{2}a\nb\n",
        "\u{3}\u{1}node_x_total\nSome help\n\0a\nb\n\u{4}\u{3}h\nhelp\n\u{1}le\n1\n",
    ];
    vec![Target::new("page", &seeds, page)]
}

/// Two collectors, and of the first two runs; with the byte 255 between the runs.
fn page(bytes: &[u8]) {
    let mut scripts = bytes.split(|byte| *byte == SEPARATOR);
    let mut next = || scripts.next().unwrap_or_default();
    let first = run(None, next());
    let other = run(None, next());
    let second = run(Some(&first), next());
    let mut text = Encoder::new(Format::Text);
    let mut openmetrics = Encoder::new(Format::OpenMetrics);
    // A third encoder may keep nothing, which must make no difference.
    let mut forgetful = Encoder::with_limit(Format::Text, 0);
    for runs in [[&first, &other], [&second, &other], [&second, &other]] {
        let snapshot = snapshot(runs);
        let page = encode(&mut text, &snapshot);
        assert_eq!(page, encode(&mut forgetful, &snapshot), "what is kept changes the page");
        let read = exposition_reader::read(&page);
        let read = read.unwrap_or_else(|wrong| panic!("not a page: {wrong}"));
        check(&snapshot, read.samples());
        compare(&page, &encode(&mut openmetrics, &snapshot));
    }
}

fn encode(encoder: &mut Encoder, snapshot: &Snapshot) -> Vec<u8> {
    let mut page = Vec::new();
    encoder.encode(snapshot, &mut page);
    page
}

fn run(last: Option<&Run>, script: &[u8]) -> Arc<Run> {
    let mut run = Run::new(FAMILIES);
    let mut script = Reader(script);
    run.begin(last, u32::from(script.u8()) % 40);
    let batch = run.batch();
    while !script.0.is_empty() {
        let kind = script.u8();
        let value = f64::from_bits(script.u64());
        match kind % 5 {
            0 => batch.value(&LOAD, value),
            1 => batch.row(&READ, [script.line()], value),
            2 => {
                let first = script.line();
                batch.row(&PAIR, [first, script.line()], value);
            }
            _ => {
                let choice = usize::from(script.u8());
                let kind_of_family = KINDS[choice % 5];
                let suffixes = SUFFIXES[choice % 5];
                let suffix = suffixes[choice / 5 % suffixes.len()];
                let (name, help) = (name(script.line(), true), script.line());
                let family = batch.family(&[&name], kind_of_family, &[b"A ", help]);
                let mut pairs: BTreeMap<Vec<u8>, &[u8]> = (0..kind >> 6)
                    .map(|_| (self::name(script.line(), false), script.line()))
                    .collect();
                if suffix == Suffix::Bucket {
                    pairs.entry(b"le".to_vec()).or_insert(b"+Inf");
                }
                let pairs: Vec<(&[u8], &[u8])> =
                    pairs.iter().map(|(name, value)| (name.as_slice(), *value)).collect();
                let labels = batch.label_pairs(&pairs);
                batch.push_named(family, suffix, labels, value);
            }
        }
    }
    run.seal();
    Arc::new(run)
}

/// A name as a collector may give it: that it is one, and that no label is there twice, is for the
/// collectors to see to.
fn name(text: &[u8], of_metric: bool) -> Vec<u8> {
    let allowed = |byte: &u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => *byte,
        b':' if of_metric => b':',
        _ => b'_',
    };
    std::iter::once(b'n').chain(text.iter().map(allowed)).collect()
}

/// A sample as it can be compared, with the bits of its value.
type Plain = (String, BTreeMap<String, String>, u64);

fn bits(value: f64) -> u64 {
    // Every NaN is written alike, and so are the two zeros.
    if value.is_nan() { f64::NAN.to_bits() } else { (value + 0.0).to_bits() }
}

/// Checks that the page has the samples of the snapshot, and no others.
fn check<'p>(snapshot: &Snapshot, page: impl Iterator<Item = &'p Sample>) {
    let lossy = |text: &[u8]| String::from_utf8_lossy(text).into_owned();
    let mut expected: Vec<Plain> = snapshot
        .samples()
        .map(|sample| {
            let series = sample.series;
            let name = lossy(series.family_name()) + series.suffix().text();
            let labels = series.labels().map(|(name, value)| (lossy(name), lossy(value))).collect();
            (name, labels, bits(sample.value))
        })
        .collect();
    let mut read: Vec<Plain> = page
        .map(|sample| (sample.name.clone(), sample.labels.clone(), bits(sample.value)))
        .collect();
    expected.sort();
    read.sort();
    assert_eq!(expected, read, "the page has other samples");
}

/// Checks that OpenMetrics says the same as the text format.
fn compare(text: &[u8], openmetrics: &[u8]) {
    let text = std::str::from_utf8(text).expect("the reader took it");
    let openmetrics = std::str::from_utf8(openmetrics).expect("OpenMetrics is UTF-8");
    let body = openmetrics.strip_suffix("# EOF\n").expect("OpenMetrics ends with its mark");
    assert!(!body.lines().any(|line| line == "# EOF"), "a second end mark");
    let samples = |page: &str| {
        let lines = page.split('\n').filter(|line| !line.is_empty() && !line.starts_with('#'));
        let mut samples: Vec<(String, u64)> = lines
            .map(|line| {
                let (series, value) = line.rsplit_once(' ').expect("a sample has a value");
                (series.to_owned(), bits(value.parse().expect("a value is a number")))
            })
            .collect();
        samples.sort();
        samples
    };
    assert_eq!(samples(text), samples(body), "OpenMetrics has other samples");
}
