//! Whatever a batch holds, readers that know nothing of the encoders read the same from its page: in the text format
//! and in OpenMetrics, as it is and compressed, and after a way through textfiles. The readers are a strict one of
//! these tests and, where they are at hand, those of Prometheus and of its Python client.

mod exposition_reader;
mod harness;

use exposition_reader::Page;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Read as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use vitald::encode::{Encoder, Format, Gzip};
use vitald_core::prelude::*;
use vitald_core::run::Run;
use vitald_core::testing::{MemoryHost, snapshot};

const FORMATS: [Format; 2] = [Format::Text, Format::OpenMetrics];

/// How many pages other programs are given.
const PAGES_FOR_OTHERS: usize = 60;

/// The system's own: another one does not have the module of its package.
const PYTHON3: &str = "/usr/bin/python3";

/// What goes into a batch.
#[derive(Clone, Debug)]
struct Family {
    name: String,
    kind: Kind,
    help: String,
    metrics: Vec<Metric>,
}

/// A set of labels, and what is measured under it.
#[derive(Clone, Debug)]
struct Metric {
    labels: BTreeMap<String, String>,
    samples: Vec<Sample>,
}

#[derive(Clone, Debug)]
struct Sample {
    suffix: Suffix,
    /// The value of `le` or `quantile`.
    bound: Option<f64>,
    value: f64,
}

/// What a reader says of a family: its type, its help, and its samples by name and labels with the bits of each
/// value. An empty label is none.
type Read = BTreeMap<String, (String, String, BTreeMap<(String, BTreeMap<String, String>), u64>)>;

// What is put in.

/// What is awkward in one of the formats or in a reader of lines, and any other character.
fn text() -> impl Strategy<Value = String> {
    let awkward = prop::sample::select(vec![
        '\\',
        '\\',
        '"',
        '\n',
        'n',
        '\r',
        '\t',
        ' ',
        '{',
        '}',
        ',',
        '=',
        '#',
        '\0',
        '\u{1b}',
        '\u{7f}',
        '\u{85}',
        '\u{a0}',
        '\u{feff}',
        '\u{2028}',
        '\u{fffd}',
        'é',
        '日',
        '🦀',
        '\u{10ffff}',
    ]);
    let character = prop_oneof![3 => awkward, 1 => any::<char>(), 2 => prop::char::range('a', 'z')];
    prop::collection::vec(character, 0..12).prop_map(|characters| characters.into_iter().collect())
}

fn value() -> impl Strategy<Value = f64> {
    prop_oneof![
        2 => any::<i32>().prop_map(f64::from),
        1 => (0..u64::MAX).prop_map(|number| number as f64),
        2 => any::<u64>().prop_map(f64::from_bits),
        1 => prop::sample::select(vec![
            0.0, -0.0, 1.0, -1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MIN_POSITIVE, 5e-324, f64::MAX, 1e-4, 1e6,
        ]),
    ]
}

/// A number that only goes up.
fn count() -> impl Strategy<Value = f64> {
    prop_oneof![
        (0..1_u64 << 53).prop_map(|number| number as f64),
        (0..u32::MAX).prop_map(|number| f64::from(number) / 64.0)
    ]
}

fn labels() -> impl Strategy<Value = BTreeMap<String, String>> {
    let name = "[a-zA-Z_][a-zA-Z0-9_]{0,8}".prop_filter("it has a meaning", |name: &String| {
        !name.starts_with("__") && !["le", "quantile"].contains(&name.as_str())
    });
    prop::collection::btree_map(name, text(), 0..4)
}

/// What is measured of one kind. Where it `makes_sense`, a histogram adds up, nothing that is counted is
/// negative, and a number of events is whole: other readers look at that, too.
fn samples(kind: Kind, makes_sense: bool) -> BoxedStrategy<Vec<Sample>> {
    let plain = |value| vec![Sample { suffix: Suffix::None, bound: None, value }];
    let value = if makes_sense && kind != Kind::Gauge && kind != Kind::Untyped {
        count().boxed()
    } else {
        value().boxed()
    };
    match kind {
        Kind::Histogram => {
            let bounds = prop::collection::btree_set(0..2000_u32, 0..5);
            let parts = (bounds, prop::collection::vec(0..1_u32 << 20, 6), value);
            parts
                .prop_map(move |(bounds, counts, sum)| {
                    let bounds = bounds
                        .into_iter()
                        .map(|bound| f64::from(bound) / 8.0)
                        .chain([f64::INFINITY]);
                    let mut samples = Vec::new();
                    let mut total = 0.0;
                    for (bound, count) in bounds.zip(counts) {
                        total += f64::from(count);
                        samples.push(Sample {
                            suffix: Suffix::Bucket,
                            bound: Some(bound),
                            value: total,
                        });
                    }
                    samples.push(Sample { suffix: Suffix::Sum, bound: None, value: sum });
                    samples.push(Sample { suffix: Suffix::Count, bound: None, value: total });
                    samples
                })
                .boxed()
        }
        Kind::Summary => {
            let quantiles = prop::collection::btree_set(0..=1000_u32, 0..4);
            (quantiles, prop::collection::vec(value, 5))
                .prop_map(move |(quantiles, values)| {
                    let quantiles =
                        quantiles.into_iter().map(|quantile| f64::from(quantile) / 1000.0);
                    let mut samples: Vec<Sample> = quantiles
                        .zip(&values)
                        .map(|(bound, value)| Sample {
                            suffix: Suffix::None,
                            bound: Some(bound),
                            value: *value,
                        })
                        .collect();
                    samples.push(Sample { suffix: Suffix::Sum, bound: None, value: values[3] });
                    samples.push(Sample {
                        suffix: Suffix::Count,
                        bound: None,
                        value: if makes_sense { values[4].floor() } else { values[4] },
                    });
                    samples
                })
                .boxed()
        }
        _ => value.prop_map(plain).boxed(),
    }
}

fn family(makes_sense: bool) -> impl Strategy<Value = Family> {
    let kinds = vec![Kind::Counter, Kind::Gauge, Kind::Untyped, Kind::Histogram, Kind::Summary];
    prop::sample::select(kinds).prop_flat_map(move |kind| {
        let metric = (labels(), samples(kind, makes_sense));
        let metrics = prop::collection::vec(metric, 1..5);
        ("[a-zA-Z_:][a-zA-Z0-9_:]{0,12}", text(), any::<bool>(), metrics).prop_map(
            move |(mut name, help, is_usual, metrics)| {
                // Others read no blanks at the ends of a help, and call a counter by its usual name.
                let help = if makes_sense { format!("A{help}Z") } else { help };
                name += if kind == Kind::Counter && (is_usual || makes_sense) {
                    "_#_total"
                } else {
                    "_#"
                };
                let mut seen = BTreeSet::new();
                let metrics =
                    metrics.into_iter().map(|(labels, samples)| Metric { labels, samples });
                let metrics =
                    metrics.filter(|metric| seen.insert(without_empty(&metric.labels))).collect();
                Family { name, kind, help, metrics }
            },
        )
    })
}

/// Families whose names do not get in each other's way, which has tests of its own.
fn families(makes_sense: bool) -> impl Strategy<Value = Vec<Family>> {
    prop::collection::vec(family(makes_sense), 0..6).prop_map(|mut families| {
        for (number, family) in families.iter_mut().enumerate() {
            family.name = family.name.replace('#', &number.to_string());
        }
        families
    })
}

fn without_empty(labels: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    labels
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

fn bound_label(kind: Kind) -> &'static str {
    if kind == Kind::Histogram { "le" } else { "quantile" }
}

/// Every NaN is written alike, and so are the two zeros.
fn bits(value: f64) -> u64 {
    if value.is_nan() { f64::NAN.to_bits() } else { (value + 0.0).to_bits() }
}

/// What a reader is to say of the families.
fn expected(format: Format, families: &[Family]) -> Read {
    let mut read = Read::new();
    for family in families {
        let mut samples = BTreeMap::new();
        for metric in &family.metrics {
            for sample in &metric.samples {
                let mut labels = without_empty(&metric.labels);
                if let Some(bound) = sample.bound {
                    labels
                        .insert(bound_label(family.kind).to_owned(), format!("{:x}", bits(bound)));
                }
                let name = format!("{}{}", family.name, sample.suffix.text());
                samples.insert((name, labels), bits(sample.value));
            }
        }
        let base = family.name.strip_suffix("_total").filter(|_| family.kind == Kind::Counter);
        let (name, kind) = match (format, family.kind, base) {
            (Format::OpenMetrics, Kind::Counter, Some(base)) => (base, "counter"),
            (Format::OpenMetrics, Kind::Counter | Kind::Untyped, _) => (&*family.name, "unknown"),
            (_, kind, _) => (&*family.name, kind.word()),
        };
        read.insert(name.to_owned(), (kind.to_owned(), family.help.clone(), samples));
    }
    read
}

/// The families in a batch.
fn run(families: &[Family]) -> Arc<Run> {
    let mut run = Run::new(&[]);
    run.begin(None, 0);
    let batch = run.batch();
    for Family { name, kind, help, metrics } in families {
        let family = batch.family(&[name.as_bytes()], *kind, &[help.as_bytes()]);
        for metric in metrics {
            for sample in &metric.samples {
                let bound = sample.bound.map(number);
                let labels =
                    metric.labels.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
                let bound =
                    bound.iter().map(|bound| (bound_label(*kind).as_bytes(), bound.as_bytes()));
                let labels: Vec<(&[u8], &[u8])> = labels.chain(bound).collect();
                let labels = batch.label_pairs(&labels);
                batch.push_named(family, sample.suffix, labels, sample.value);
            }
        }
    }
    run.seal();
    Arc::new(run)
}

/// A number as these formats take it, in a form that no encoder here writes.
fn number(value: f64) -> String {
    match value {
        f64::INFINITY => "+Inf".to_owned(),
        f64::NEG_INFINITY => "-Inf".to_owned(),
        value if value.is_nan() => "NaN".to_owned(),
        value => format!("{value:E}"),
    }
}

// What comes out.

fn page(format: Format, runs: &[Arc<Run>]) -> Vec<u8> {
    let mut page = Vec::new();
    Encoder::new(format).encode(&snapshot(runs), &mut page);
    page
}

fn read(format: Format, page: &[u8]) -> Read {
    let of_reader = match format {
        Format::Text => exposition_reader::Format::Text,
        Format::OpenMetrics => exposition_reader::Format::OpenMetrics,
    };
    match exposition_reader::read_as(of_reader, page) {
        Ok(page) => plain(page),
        Err(wrong) => panic!("{wrong} in\n{}", String::from_utf8_lossy(page)),
    }
}

fn plain(page: Page) -> Read {
    let of_family = |family: exposition_reader::Family| {
        let label = match family.kind.as_str() {
            "histogram" => "le",
            "summary" => "quantile",
            _ => "",
        };
        let samples = family.samples.into_iter().map(|sample| {
            let mut labels = without_empty(&sample.labels);
            if let Some(bound) = labels.get_mut(label) {
                *bound = format!("{:x}", bits(bound.parse().expect("a bound is a number")));
            }
            ((sample.name, labels), bits(sample.value))
        });
        (family.name, (family.kind, family.help, samples.collect()))
    };
    page.families.into_iter().map(of_family).collect()
}

fn unpacked(packed: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(packed).read_to_end(&mut plain).expect("valid gzip");
    plain
}

/// Half of the metrics of each family.
fn part(families: &[Family], which: usize) -> Vec<Family> {
    let half = |family: &Family| {
        let metrics = family.metrics.iter().enumerate().filter(|(at, _)| at % 2 == which);
        Family { metrics: metrics.map(|(_, metric)| metric.clone()).collect(), ..family.clone() }
    };
    families.iter().map(half).filter(|family| !family.metrics.is_empty()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn what_a_batch_holds_is_read_from_its_page(families in families(false)) {
        let mut gzip = Gzip::new();
        let mut packed = Vec::new();
        for format in FORMATS {
            let expected = expected(format, &families);
            // All of one collector, and each family of two.
            for runs in [vec![run(&families)], vec![run(&part(&families, 0)), run(&part(&families, 1))]] {
                let page = page(format, &runs);
                prop_assert_eq!(&read(format, &page), &expected);
                let length = gzip.compress(&page, &mut packed);
                prop_assert_eq!(unpacked(&packed[..length]), page);
            }
        }
    }

    #[test]
    fn what_textfiles_say_is_read_from_the_page(families in families(true)) {
        let memory = MemoryHost::new();
        memory.write("file:/textfiles/a.prom", textfile(&part(&families, 0)));
        memory.write("file:/textfiles/b.prom", textfile(&part(&families, 1)));
        let run = run_of_textfile(&memory);
        for format in FORMATS {
            let mut read = read(format, &page(format, std::slice::from_ref(&run)));
            let (_, _, failed) = read.remove("node_textfile_scrape_error").expect("it is always there");
            prop_assert_eq!(failed.into_values().collect::<Vec<_>>(), [0]);
            read.remove("node_textfile_mtime_seconds");
            prop_assert_eq!(read, expected(format, &families));
        }
    }
}

/// A file in the text format, written without regard to how the encoders do it.
fn textfile(families: &[Family]) -> String {
    let mut text = String::new();
    let escape = |text: &str| text.replace('\\', "\\\\").replace('\n', "\\n");
    for Family { name, kind, help, metrics } in families {
        let _ = writeln!(text, "# HELP {name} {}\n# TYPE {name} {}", escape(help), kind.word());
        for metric in metrics {
            for sample in &metric.samples {
                let bound =
                    sample.bound.map(|bound| (bound_label(*kind).to_owned(), number(bound)));
                let labels = metric.labels.clone().into_iter().chain(bound);
                let labels: Vec<String> = labels
                    .map(|(name, value)| {
                        format!("{name} = \"{}\"", escape(&value).replace('"', "\\\""))
                    })
                    .collect();
                let _ = writeln!(
                    text,
                    "{name}{}{{{}}}\t{}",
                    sample.suffix.text(),
                    labels.join(" , "),
                    number(sample.value)
                );
            }
        }
    }
    text
}

fn run_of_textfile(memory: &MemoryHost) -> Arc<Run> {
    let collectors = vitald::collectors(&[vitald_plugins::ROLL]).expect("the roll is complete");
    let descriptor =
        collectors.into_iter().find(|it| it.name == "textfile").expect("it is in this build");
    let text = "[collectors.textfile]\ndirectory = ['/textfiles']\n";
    let plan =
        vitald::config::load_text("test", text, &[], &[descriptor], &[]).expect("it is taken");
    let mut collector = plan.collectors[0].prepared.open(&memory.host()).expect("it opens");
    let mut run = Run::new(descriptor.families);
    run.begin(None, 0);
    collector.collect(run.batch()).expect("its files are read");
    run.seal();
    Arc::new(run)
}

/// Reads pages with the parsers of Prometheus' Python client and writes what they say: a line for each family with
/// page, name, type and help, and one for each of its samples. Texts are written in hexadecimal digits.
const PYTHON: &str = r#"
import struct, sys
from prometheus_client import openmetrics, parser
import prometheus_client.openmetrics.parser

def plain(text):
    return text.encode("utf-8").hex() or "-"

def bits(value):
    return "nan" if value != value else struct.pack(">d", value + 0.0).hex()

for path in sys.argv[1:]:
    text = open(path, encoding="utf-8", newline="").read()
    of = openmetrics.parser if path.endswith(".openmetrics") else parser
    for family in of.text_string_to_metric_families(text):
        print("family", path, plain(family.name), family.type, plain(family.documentation))
        for sample in family.samples:
            labels = [word for pair in sorted(sample.labels.items()) for word in map(plain, pair)]
            print("sample", plain(sample.name), bits(sample.value), *labels)
"#;

#[test]
#[ignore = "needs python3-prometheus-client and promtool of prometheus: cargo test --features full --test formats -- --ignored"]
fn other_programs_read_the_same() {
    harness::needs("python3-prometheus-client and promtool of prometheus");
    let folder = tempfile::tempdir().expect("a folder");
    let mut runner = TestRunner::deterministic();
    let strategy = families(true);
    let mut pages = Vec::new();
    for number in 0..PAGES_FOR_OTHERS {
        let families = strategy.new_tree(&mut runner).expect("a value").current();
        let run = run(&families);
        for (format, ending) in [(Format::Text, "text"), (Format::OpenMetrics, "openmetrics")] {
            let path = folder.path().join(format!("{number:03}.{ending}"));
            std::fs::write(&path, page(format, std::slice::from_ref(&run))).expect("a file");
            pages.push((path.clone(), families.clone()));
            if format == Format::Text {
                check_with_promtool(&path);
            }
        }
    }
    let mut command = Command::new(PYTHON3);
    command.args(["-c", PYTHON]).args(pages.iter().map(|(path, _)| path));
    let (status, said, complaint) = harness::output(&mut command);
    assert_eq!(status, 0, "{complaint}");
    let mut read = read_words(&said);
    let mut samples = 0;
    for (path, families) in &pages {
        let page = String::from_utf8_lossy(&std::fs::read(path).expect("a file")).into_owned();
        let read = read.remove(path.to_str().expect("text")).unwrap_or_default();
        samples += read.values().map(|(_, _, samples)| samples.len()).sum::<usize>();
        // This reader calls families and types of the text format as OpenMetrics does.
        assert_eq!(read, expected(Format::OpenMetrics, families), "{}:\n{page}", path.display());
    }
    assert!(samples > 10 * PAGES_FOR_OTHERS, "{samples}");
}

/// It may complain of names, which are anything here.
fn check_with_promtool(path: &Path) {
    let mut command = Command::new("promtool");
    command.args(["check", "metrics"]).stdin(std::fs::File::open(path).expect("a file"));
    let output = command.output().expect("promtool");
    assert!(matches!(output.status.code(), Some(0 | 3)), "{}: {output:?}", path.display());
}

/// What [`PYTHON`] says, page by page.
fn read_words(said: &str) -> BTreeMap<String, Read> {
    let text = |word: &str| {
        let digit =
            |at: usize| u8::from_str_radix(&word[at..at + 2], 16).expect("hexadecimal digits");
        let bytes =
            if word == "-" { Vec::new() } else { (0..word.len()).step_by(2).map(digit).collect() };
        String::from_utf8(bytes).expect("UTF-8")
    };
    let mut pages = BTreeMap::<String, Read>::new();
    let mut place = (String::new(), String::new());
    for line in said.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["family", path, name, kind, help] => {
                place = (path.to_owned(), text(name));
                let family = (kind.to_owned(), text(help), BTreeMap::new());
                pages.entry(path.to_owned()).or_default().insert(text(name), family);
            }
            ["sample", name, value, ref labels @ ..] => {
                let (kind, _, samples) = pages
                    .get_mut(&place.0)
                    .and_then(|page| page.get_mut(&place.1))
                    .expect("a family");
                let labels = labels.chunks(2).map(|pair| (text(pair[0]), text(pair[1])));
                let mut labels: BTreeMap<String, String> = without_empty(&labels.collect());
                let bound = match kind.as_str() {
                    "histogram" => labels.get_mut("le"),
                    "summary" => labels.get_mut("quantile"),
                    _ => None,
                };
                if let Some(bound) = bound {
                    *bound = format!("{:x}", bits(bound.parse().expect("a number")));
                }
                let value = match value {
                    "nan" => f64::NAN.to_bits(),
                    value => u64::from_str_radix(value, 16).expect("hexadecimal digits"),
                };
                samples.insert((text(name), labels), value);
            }
            _ => panic!("{line:?}"),
        }
    }
    pages
}
