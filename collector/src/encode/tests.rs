//! Pages against a renderer and a parser that share nothing with the encoder.

use super::{Encoder, Format, PageBuffer};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::Arc;
use vitald_core::number::{parse_f64, write_number, write_openmetrics_number};
use vitald_core::prelude::*;
use vitald_core::run::Run;
use vitald_core::sealer::Sealer;
use vitald_core::shape::Dropped;
use vitald_core::snapshot::{Collection, Snapshot};
use vitald_core::testing::{descriptor, part, snapshot};

families! {
    /// Bytes read.
    READ: counter = "t_read_bytes_total" [device, mode];
    /// Load.
    LOAD: gauge = "t_load";
    /// Interrupts.
    INTR: counter = "t_intr" legacy;
}

const FORMATS: [Format; 2] = [Format::Text, Format::OpenMetrics];

fn batch(fill: impl FnOnce(&mut Batch)) -> Arc<Run> {
    run_after(None, fill)
}

fn run_after(last: Option<&Run>, fill: impl FnOnce(&mut Batch)) -> Arc<Run> {
    let mut run = Run::new(FAMILIES);
    run.begin(last, 0);
    fill(run.batch());
    run.seal();
    Arc::new(run)
}

fn named(rows: &[(&str, Kind, f64)]) -> Arc<Run> {
    batch(|batch| {
        for (name, kind, value) in rows {
            batch.named_value(&[name.as_bytes()], *kind, &[b"Help."], *value);
        }
    })
}

fn page(format: Format, batches: &[&Arc<Run>]) -> String {
    let mut page = Vec::new();
    Encoder::new(format).encode(&snapshot(batches.iter().copied()), &mut page);
    let page = String::from_utf8(page).expect("the page is UTF-8");
    check(format, &page);
    page
}

// The renderer.

type Labels = Vec<(String, String)>;

struct NaiveSample {
    part: usize,
    suffix: Suffix,
    labels: Labels,
    value: f64,
}

struct NaiveFamily {
    kind: Kind,
    help: String,
    part: usize,
    samples: Vec<NaiveSample>,
}

fn is_complex(kind: Kind) -> bool {
    matches!(kind, Kind::Histogram | Kind::Summary)
}

fn bound_label(kind: Kind, suffix: Suffix) -> &'static str {
    match (kind, suffix) {
        (Kind::Histogram, Suffix::Bucket) => "le",
        (Kind::Summary, Suffix::None) => "quantile",
        _ => "",
    }
}

/// The labels that tell metrics apart, sorted.
fn identity(kind: Kind, sample: &NaiveSample) -> Labels {
    let bound = bound_label(kind, sample.suffix);
    let mut labels = sample.labels.clone();
    labels.retain(|(name, value)| !value.is_empty() && name != bound);
    labels.sort();
    labels
}

fn bound(kind: Kind, sample: &NaiveSample) -> f64 {
    let label = bound_label(kind, sample.suffix);
    let found = sample.labels.iter().find(|(name, _)| name == label);
    found.map_or(0.0, |(_, value)| parse_f64(value.as_bytes()).unwrap())
}

fn naive(format: Format, batches: &[&Arc<Run>]) -> (String, Vec<Dropped>) {
    let open = format == Format::OpenMetrics;
    let mut dropped = vec![Dropped::default(); batches.len()];
    let mut families: BTreeMap<String, NaiveFamily> = BTreeMap::new();
    for (part, batch) in batches.iter().enumerate() {
        let mut own: BTreeMap<String, Vec<NaiveSample>> = BTreeMap::new();
        for (series, value) in batch.samples() {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let mut labels: Labels = series.labels().map(|(n, v)| (text(n), text(v))).collect();
            let bound = bound_label(series.kind(), series.suffix());
            for (name, value) in &mut labels {
                if open && name == bound {
                    *value = number(format, parse_f64(value.as_bytes()).unwrap());
                }
            }
            let name = text(series.family_name());
            let sample = NaiveSample { part, suffix: series.suffix(), labels, value };
            let family = families.entry(name.clone()).or_insert_with(|| NaiveFamily {
                kind: series.kind(),
                help: text(series.help()),
                part,
                samples: Vec::new(),
            });
            if family.kind != series.kind() {
                dropped[part].conflicts += 1;
            } else {
                own.entry(name).or_default().push(sample);
            }
        }
        for (name, samples) in own {
            let family = families.get_mut(&name).unwrap();
            let kind = family.kind;
            let mut metrics: Vec<(Labels, Vec<NaiveSample>)> = Vec::new();
            let taken: BTreeSet<Labels> =
                family.samples.iter().map(|sample| identity(kind, sample)).collect();
            for sample in samples {
                let identity = identity(kind, &sample);
                if taken.contains(&identity) {
                    dropped[part].duplicates += 1;
                    continue;
                }
                match metrics.iter_mut().find(|(known, _)| *known == identity) {
                    Some((_, samples)) => samples.push(sample),
                    None => metrics.push((identity, vec![sample])),
                }
            }
            for (_, mut samples) in metrics {
                if is_complex(kind) {
                    samples.sort_by(|a, b| {
                        let bounds = bound(kind, a).partial_cmp(&bound(kind, b)).unwrap();
                        a.suffix.cmp(&b.suffix).then(bounds)
                    });
                }
                family.samples.extend(samples);
            }
        }
    }
    let names: Vec<String> = families.keys().cloned().collect();
    for name in &names {
        for suffix in ["_bucket", "_sum", "_count"] {
            let rival = format!("{name}{suffix}");
            let Some(family) = families.get(name) else { break };
            if !is_complex(family.kind) || (suffix == "_bucket" && family.kind == Kind::Summary) {
                continue;
            }
            let Some(other) = families.get(&rival) else { continue };
            let later = if other.part < family.part { name } else { &rival };
            for sample in families.remove(later).unwrap().samples {
                dropped[sample.part].conflicts += 1;
            }
        }
    }
    // A format that writes two bounds in one way leaves one of them out, and what is left out of all formats is counted before.
    for family in families.values_mut().filter(|family| open && is_complex(family.kind)) {
        let kind = family.kind;
        family.samples.dedup_by(|b, a| {
            a.suffix == b.suffix
                && identity(kind, a) == identity(kind, b)
                && bound(kind, a) == bound(kind, b)
        });
    }
    let mut page = String::new();
    for (name, family) in &families {
        let has = |name: &str| families.contains_key(name);
        let help = escape(&family.help, open);
        let mut declare = |name: &str, word: &str| {
            if !help.is_empty() {
                writeln!(page, "# HELP {name} {help}").unwrap();
            }
            writeln!(page, "# TYPE {name} {word}").unwrap();
        };
        let mut apart = false;
        match family.kind {
            kind if !open => declare(name, kind.word()),
            Kind::Counter => {
                let base = name.strip_suffix("_total");
                let usable = base.filter(|base| {
                    let clash = base.is_empty()
                        || has(base)
                        || has(&format!("{base}_created"))
                        || has(&format!("{base}_created_total"))
                        || ["_bucket", "_sum", "_count", "_created"].iter().any(|suffix| {
                            let owner = base.strip_suffix(suffix).and_then(|n| families.get(n));
                            owner.is_some_and(|owner| is_complex(owner.kind))
                        });
                    !clash
                });
                match usable {
                    Some(base) => declare(base, "counter"),
                    None => declare(name, "unknown"),
                }
            }
            Kind::Untyped => declare(name, "unknown"),
            kind if is_complex(kind) && has(&format!("{name}_created")) => apart = true,
            kind => declare(name, kind.word()),
        }
        let suffixes = [Suffix::None, Suffix::Bucket, Suffix::Sum, Suffix::Count];
        let rounds: &[&[Suffix]] = match apart {
            true => &[&suffixes[..1], &suffixes[1..2], &suffixes[2..3], &suffixes[3..]],
            false => &[&suffixes],
        };
        for suffixes in rounds {
            let samples = || family.samples.iter().filter(|it| suffixes.contains(&it.suffix));
            if apart && samples().count() > 0 {
                let name = format!("{name}{}", suffixes[0].text());
                if !help.is_empty() {
                    writeln!(page, "# HELP {name} {help}").unwrap();
                }
                writeln!(page, "# TYPE {name} unknown").unwrap();
            }
            for sample in samples() {
                let labels: Vec<String> = sample
                    .labels
                    .iter()
                    .map(|(name, value)| format!("{name}=\"{}\"", escape(value, true)))
                    .collect();
                let labels = match labels.is_empty() {
                    true => String::new(),
                    false => format!("{{{}}}", labels.join(",")),
                };
                let value = number(format, sample.value);
                writeln!(page, "{name}{}{labels} {value}", sample.suffix.text()).unwrap();
            }
        }
    }
    if open {
        page += "# EOF\n";
    }
    (page, dropped)
}

fn escape(text: &str, quotes: bool) -> String {
    let text = text.replace('\\', "\\\\").replace('\n', "\\n");
    if quotes { text.replace('"', "\\\"") } else { text }
}

fn number(format: Format, value: f64) -> String {
    let mut digits = Vec::new();
    match format {
        Format::Text => write_number(&mut digits, value),
        Format::OpenMetrics => write_openmetrics_number(&mut digits, value),
    }
    String::from_utf8(digits).unwrap()
}

// The parser.

/// Reads a page as a strict scraper would and returns its samples.
///
/// # Panics
///
/// When the page is not valid.
fn check(format: Format, page: &str) -> BTreeMap<(String, Labels), f64> {
    let open = format == Format::OpenMetrics;
    let mut samples = BTreeMap::new();
    let mut reserved: BTreeSet<String> = BTreeSet::new();
    let mut family: Option<(String, String)> = None;
    let mut helped: Option<String> = None;
    let mut metrics: Vec<Labels> = Vec::new();
    let mut ended = false;
    assert!(page.is_empty() || page.ends_with('\n'), "the last line is not ended");
    for line in page.split_terminator('\n') {
        assert!(!ended, "{line:?} after # EOF");
        if open && line == "# EOF" {
            ended = true;
        } else if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect("a help");
            assert!(!help.is_empty() && helped.is_none());
            unescape(help, if open { "\\n\"" } else { "\\n" });
            helped = Some(name.to_owned());
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a type");
            assert!(helped.take().is_none_or(|helped| helped == name), "{line}");
            assert!(vitald_core::family::is_metric_name(name.as_bytes()), "{line}");
            let suffixes: &[&str] = match (kind, open) {
                ("counter", false) | ("gauge", _) | ("untyped", false) | ("unknown", true) => &[""],
                ("counter", true) => &["_total", "_created"],
                ("histogram", false) => &["_bucket", "_sum", "_count"],
                ("histogram", true) => &["_bucket", "_sum", "_count", "_created"],
                ("summary", false) => &["", "_sum", "_count"],
                ("summary", true) => &["", "_sum", "_count", "_created"],
                _ => panic!("no such type: {line}"),
            };
            let mut names: BTreeSet<String> =
                suffixes.iter().map(|suffix| format!("{name}{suffix}")).collect();
            names.insert(name.to_owned());
            for name in names {
                assert!(reserved.insert(name.clone()), "{name} is of two families:\n{page}");
            }
            family = Some((name.to_owned(), kind.to_owned()));
            metrics.clear();
        } else {
            let (name, mut labels, value) = sample(line);
            let (of, kind) = family.as_ref().expect("a type before a sample");
            let suffix = name.strip_prefix(of.as_str()).expect("a sample of the family");
            let bound = match (kind.as_str(), suffix) {
                ("counter", "_total") if open => "",
                ("counter", "") if !open => "",
                ("gauge" | "untyped" | "unknown", "") => "",
                ("histogram", "_bucket") => "le",
                ("summary", "") => "quantile",
                ("histogram" | "summary", "_sum" | "_count") => "",
                _ => panic!("{line} is no sample of a {kind} {of}"),
            };
            if open && (!value.bytes().any(|byte| matches!(byte, b'.' | b'e' | b'N' | b'I'))) {
                panic!("{value} is not canonical");
            }
            labels.sort();
            for pair in labels.windows(2) {
                assert_ne!(pair[0].0, pair[1].0, "one label twice: {line}");
            }
            let mut metric = labels.clone();
            if !bound.is_empty() {
                let at = metric.iter().position(|(name, _)| name == bound).expect("a bound");
                let (_, text) = metric.remove(at);
                let bound = parse_f64(text.as_bytes()).expect("a number as bound");
                assert!(!open || number(format, bound) == text, "{text} is not canonical");
            }
            // A label without a value is none, so it makes no other metric.
            metric.retain(|(_, value)| !value.is_empty());
            if is_complex_word(kind) && metrics.last() != Some(&metric) {
                assert!(!metrics.contains(&metric), "a metric in pieces: {line}\n{page}");
                metrics.push(metric);
            }
            let value = parse_f64(value.as_bytes()).expect("a number");
            labels.retain(|(_, value)| !value.is_empty());
            let duplicate = samples.insert((name, labels), value);
            assert!(duplicate.is_none(), "twice: {line}\n{page}");
        }
    }
    assert_eq!(ended, open);
    samples
}

fn is_complex_word(kind: &str) -> bool {
    matches!(kind, "histogram" | "summary")
}

fn sample(line: &str) -> (String, Labels, &str) {
    let name_end = line.find(['{', ' ']).expect("a name");
    let (name, mut rest) = line.split_at(name_end);
    assert!(vitald_core::family::is_metric_name(name.as_bytes()), "{line}");
    let mut labels = Labels::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        loop {
            let (label, after) = rest.split_once("=\"").expect("a label");
            assert!(vitald_core::family::is_label_name(label.as_bytes()), "{line}");
            let mut escaped = false;
            let end = after
                .find(|c| {
                    let end = c == '"' && !escaped;
                    escaped = c == '\\' && !escaped;
                    end
                })
                .expect("a closing quote");
            labels.push((label.to_owned(), unescape(&after[..end], "\\n\"")));
            match after.as_bytes()[end + 1] {
                b',' => rest = &after[end + 2..],
                b'}' => {
                    rest = &after[end + 2..];
                    break;
                }
                _ => panic!("{line}"),
            }
        }
    }
    let value = rest.strip_prefix(' ').expect("a space before the value");
    assert!(!value.contains(' '), "{line}");
    (name.to_owned(), labels, value)
}

fn unescape(text: &str, known: &str) -> String {
    let mut plain = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            plain.push(c);
            continue;
        }
        let escaped = chars.next().expect("something after a backslash");
        assert!(known.contains(escaped), "\\{escaped} in {text}");
        plain.push(if escaped == 'n' { '\n' } else { escaped });
    }
    plain
}

// The rules, one by one.

#[test]
fn families_come_by_name_and_rows_as_pushed() {
    let disk = batch(|batch| {
        for (device, value) in [("sdb", 1.5), ("sda", 2.0)] {
            batch.row(&READ, [device.as_bytes(), b"r"], value);
            batch.row(&INTR, [], 3_000_000);
        }
        batch.value(&LOAD, 0.25);
    });
    let other = named(&[("t_zone", Kind::Untyped, 1.0), ("t_aim", Kind::Gauge, f64::INFINITY)]);
    assert_eq!(
        page(Format::Text, &[&disk, &other]),
        "\
# HELP t_aim Help.
# TYPE t_aim gauge
t_aim +Inf
# HELP t_intr Interrupts.
# TYPE t_intr counter
t_intr 3e+06
# HELP t_load Load.
# TYPE t_load gauge
t_load 0.25
# HELP t_read_bytes_total Bytes read.
# TYPE t_read_bytes_total counter
t_read_bytes_total{device=\"sdb\",mode=\"r\"} 1.5
t_read_bytes_total{device=\"sda\",mode=\"r\"} 2
# HELP t_zone Help.
# TYPE t_zone untyped
t_zone 1
"
    );
    assert_eq!(
        page(Format::OpenMetrics, &[&disk, &other]),
        "\
# HELP t_aim Help.
# TYPE t_aim gauge
t_aim +Inf
# HELP t_intr Interrupts.
# TYPE t_intr unknown
t_intr 3e+06
# HELP t_load Load.
# TYPE t_load gauge
t_load 0.25
# HELP t_read_bytes Bytes read.
# TYPE t_read_bytes counter
t_read_bytes_total{device=\"sdb\",mode=\"r\"} 1.5
t_read_bytes_total{device=\"sda\",mode=\"r\"} 2.0
# HELP t_zone Help.
# TYPE t_zone unknown
t_zone 1.0
# EOF
"
    );
}

#[test]
fn no_batch_is_a_page_too() {
    assert_eq!(page(Format::Text, &[]), "");
    assert_eq!(page(Format::OpenMetrics, &[]), "# EOF\n");
    let empty = batch(|_| {});
    assert_eq!(page(Format::OpenMetrics, &[&empty]), "# EOF\n");
}

#[test]
fn texts_are_escaped() {
    let odd = batch(|batch| {
        let family = batch.family(&[b"t_odd"], Kind::Gauge, &[b"a \\ b\nc \"d\" \xff."]);
        let labels = batch.label_pairs(&[(b"a", b"\\\n\"\xe2\x82"), (b"b", "ü".as_bytes())]);
        batch.push_named(family, Suffix::None, labels, 1);
        let bare = batch.family(&[b"t_silent"], Kind::Gauge, &[]);
        let none = batch.label_pairs(&[(b"a", b"")]);
        batch.push_named(bare, Suffix::None, none, 1);
    });
    assert_eq!(
        page(Format::Text, &[&odd]),
        "# HELP t_odd a \\\\ b\\nc \"d\" \u{fffd}.\n# TYPE t_odd gauge\n\
         t_odd{a=\"\\\\\\n\\\"\u{fffd}\",b=\"ü\"} 1\n# TYPE t_silent gauge\nt_silent{a=\"\"} 1\n"
    );
    assert_eq!(
        page(Format::OpenMetrics, &[&odd]),
        "# HELP t_odd a \\\\ b\\nc \\\"d\\\" \u{fffd}.\n# TYPE t_odd gauge\n\
         t_odd{a=\"\\\\\\n\\\"\u{fffd}\",b=\"ü\"} 1.0\n# TYPE t_silent gauge\nt_silent{a=\"\"} 1.0\n# EOF\n"
    );
}

#[test]
fn a_family_of_several_batches_is_one() {
    let rows = |help: &'static [u8], kind, devices: &'static [&'static str]| {
        batch(|batch| {
            let family = batch.family(&[b"t_x"], kind, &[help]);
            for device in devices {
                // The order of labels and an empty one make no difference.
                let labels = match kind {
                    Kind::Gauge => batch.label_pairs(&[(b"a", b"1"), (b"b", device.as_bytes())]),
                    _ => batch.label_pairs(&[(b"b", device.as_bytes()), (b"c", b""), (b"a", b"1")]),
                };
                batch.push_named(family, Suffix::None, labels, devices.len() as f64);
            }
        })
    };
    let first = rows(b"First.", Kind::Gauge, &["a", "b"]);
    let reordered = batch(|batch| {
        let family = batch.family(&[b"t_x"], Kind::Gauge, &[b"Second."]);
        for device in ["c", "b", "d", "e"] {
            let labels = batch.label_pairs(&[(b"b", device.as_bytes()), (b"c", b""), (b"a", b"1")]);
            batch.push_named(family, Suffix::None, labels, 4);
        }
    });
    let another_type = rows(b"Third.", Kind::Counter, &["f", "g"]);
    let sealed = snapshot([&first, &reordered, &another_type]);
    assert_eq!(
        page(Format::Text, &[&first, &reordered, &another_type]),
        "# HELP t_x First.\n# TYPE t_x gauge\nt_x{a=\"1\",b=\"a\"} 2\nt_x{a=\"1\",b=\"b\"} 2\n\
         t_x{b=\"c\",c=\"\",a=\"1\"} 4\nt_x{b=\"d\",c=\"\",a=\"1\"} 4\nt_x{b=\"e\",c=\"\",a=\"1\"} 4\n"
    );
    assert_eq!(
        sealed.dropped(),
        [
            Dropped::default(),
            Dropped { duplicates: 1, ..Dropped::default() },
            Dropped { conflicts: 2, ..Dropped::default() }
        ]
    );
    assert_eq!(snapshot([&first]).dropped(), [Dropped::default()]);
}

fn histogram(name: &str, kind: Kind, bounds: &[(&str, &[&str])]) -> Arc<Run> {
    batch(|batch| {
        let family = batch.family(&[name.as_bytes()], kind, &[b"Help."]);
        let (label, suffix): (&[u8], _) = match kind {
            Kind::Histogram => (b"le", Suffix::Bucket),
            _ => (b"quantile", Suffix::None),
        };
        for (zone, bounds) in bounds {
            let zone: (&[u8], &[u8]) = (b"zone", zone.as_bytes());
            let own = batch.label_pairs(&[zone]);
            batch.push_named(family, Suffix::Count, own, bounds.len());
            for bound in *bounds {
                let labels = batch.label_pairs(&[(label, bound.as_bytes()), zone]);
                batch.push_named(family, suffix, labels, 1);
            }
            batch.push_named(family, Suffix::Sum, own, 2.5);
        }
    })
}

#[test]
fn the_samples_of_a_histogram_or_summary_are_together() {
    let h = histogram("t_h", Kind::Histogram, &[("a", &["+Inf", "1", "0.50"]), ("b", &["+Inf"])]);
    let s = histogram("t_s", Kind::Summary, &[("a", &["0.9", "0.5"])]);
    assert_eq!(
        page(Format::Text, &[&h, &s]),
        "\
# HELP t_h Help.
# TYPE t_h histogram
t_h_bucket{le=\"0.50\",zone=\"a\"} 1
t_h_bucket{le=\"1\",zone=\"a\"} 1
t_h_bucket{le=\"+Inf\",zone=\"a\"} 1
t_h_sum{zone=\"a\"} 2.5
t_h_count{zone=\"a\"} 3
t_h_bucket{le=\"+Inf\",zone=\"b\"} 1
t_h_sum{zone=\"b\"} 2.5
t_h_count{zone=\"b\"} 1
# HELP t_s Help.
# TYPE t_s summary
t_s{quantile=\"0.5\",zone=\"a\"} 1
t_s{quantile=\"0.9\",zone=\"a\"} 1
t_s_sum{zone=\"a\"} 2.5
t_s_count{zone=\"a\"} 2
"
    );
    let open = page(Format::OpenMetrics, &[&h, &s]);
    assert!(open.contains("t_h_bucket{le=\"1.0\",zone=\"a\"} 1.0\n"));
    assert!(open.contains("t_h_bucket{le=\"0.5\",zone=\"a\"} 1.0\n"));
}

#[test]
fn bounds_that_openmetrics_writes_alike_are_duplicates_there() {
    let h = histogram("t_h", Kind::Histogram, &[("a", &["1", "1.0", "+Inf"])]);
    assert_eq!(page(Format::Text, &[&h]).matches("t_h_bucket").count(), 3);
    assert_eq!(page(Format::OpenMetrics, &[&h]).matches("t_h_bucket").count(), 2);
}

#[test]
fn names_that_histograms_need_go_to_the_earlier_batch() {
    let h = histogram("t_h", Kind::Histogram, &[("a", &["+Inf"])]);
    let sum = named(&[("t_h_sum", Kind::Gauge, 1.0)]);
    for format in FORMATS {
        assert!(!page(format, &[&h, &sum]).contains("# TYPE t_h_sum"));
        assert!(!page(format, &[&sum, &h]).contains("# TYPE t_h "));
        let sealed = snapshot([&sum, &h]);
        assert_eq!(sealed.dropped().iter().map(|it| it.conflicts).collect::<Vec<_>>(), [0, 3]);
    }
}

#[test]
fn openmetrics_has_no_name_twice() {
    for (rows, expected) in [
        (&[("x", Kind::Gauge), ("x_total", Kind::Counter)][..], "# TYPE x_total unknown"),
        (&[("x_created", Kind::Gauge), ("x_total", Kind::Counter)], "# TYPE x_total unknown"),
        (
            &[("x_total", Kind::Counter), ("x_created_total", Kind::Counter)],
            "# TYPE x_total unknown",
        ),
        (&[("x_total", Kind::Gauge)], "# TYPE x_total gauge"),
        (&[("x_total", Kind::Counter)], "# TYPE x counter"),
        (&[("_total", Kind::Counter)], "# TYPE _total unknown"),
    ] {
        let rows: Vec<_> = rows.iter().map(|(name, kind)| (*name, *kind, 1.0)).collect();
        let open = page(Format::OpenMetrics, &[&named(&rows)]);
        assert!(open.contains(expected), "{open}");
        let text = page(Format::Text, &[&named(&rows)]);
        assert_eq!(check(Format::Text, &text), check(Format::OpenMetrics, &open));
    }
    let h = histogram("t_h", Kind::Histogram, &[("a", &["1", "+Inf"]), ("b", &["+Inf"])]);
    let created = named(&[("t_h_created", Kind::Gauge, 1.0)]);
    let open = page(Format::OpenMetrics, &[&h, &created]);
    for name in ["t_h_bucket", "t_h_sum", "t_h_count"] {
        assert_eq!(open.matches(&format!("# TYPE {name} unknown")).count(), 1, "{open}");
    }
    let counter = named(&[("t_h_sum_total", Kind::Counter, 1.0)]);
    let open = page(Format::OpenMetrics, &[&h, &counter]);
    assert!(open.contains("# TYPE t_h_sum_total unknown"), "{open}");
}

// What is kept.

fn device_batch(last: Option<&Run>, devices: usize) -> Arc<Run> {
    run_after(last, |batch| {
        batch.value(&LOAD, 3);
        for device in 0..devices {
            batch.row(&READ, [format!("sd{device}").as_bytes(), b"r"], device);
        }
    })
}

/// Seals runs one after another as the daemon does, so that equal shapes share an order.
struct Pages {
    sealer: Sealer,
    encoder: Encoder,
    /// The page before.
    kept: PageBuffer,
}

impl Pages {
    fn new(encoder: Encoder) -> Self {
        Pages { sealer: Sealer::new(None), encoder, kept: PageBuffer::default() }
    }

    fn seal(&mut self, batches: &[&Arc<Run>]) -> Snapshot {
        static ANY: vitald_core::collector::Descriptor = descriptor("any", FAMILIES, false);
        let parts = batches.iter().map(|run| part(&ANY, run)).collect();
        self.sealer.seal(&mut Collection { parts, ..Collection::new() }).clone()
    }

    fn assert_page(&mut self, batches: &[&Arc<Run>]) {
        let snapshot = self.seal(batches);
        let mut page = Vec::new();
        self.encoder.encode(&snapshot, &mut page);
        let (expected, dropped) = naive(self.encoder.format(), batches);
        assert_eq!(String::from_utf8(page).unwrap(), expected);
        self.encoder.write(&snapshot, &mut self.kept);
        assert_eq!(std::str::from_utf8(self.kept.as_ref()), Ok(&*expected), "over the page before");
        // A sample may be left out for two reasons; which of them counts is for the other tests.
        let count = |dropped: &[Dropped]| -> Vec<u32> {
            dropped.iter().map(|it| it.duplicates + it.conflicts).collect()
        };
        assert_eq!(count(snapshot.dropped()), count(&dropped));
        drop(snapshot);
        self.sealer.release();
    }
}

#[test]
fn a_rendering_lasts_as_long_as_its_shape() {
    let mut pages = Pages::new(Encoder::new(Format::Text));
    let own = named(&[("vitald_x", Kind::Gauge, 1.0)]);
    let first = device_batch(None, 100);
    pages.assert_page(&[&first, &own]);
    let kept = pages.encoder.kept_bytes();
    let second = device_batch(Some(&first), 100);
    pages.assert_page(&[&second, &own]);
    assert_eq!((pages.encoder.renderings.len(), pages.encoder.layouts.len()), (2, 1));
    let third = device_batch(Some(&first), 10);
    pages.assert_page(&[&third, &own]);
    assert_eq!((pages.encoder.renderings.len(), pages.encoder.layouts.len()), (3, 2));
    drop((first, second));
    pages.assert_page(&[&third, &own]);
    assert_eq!((pages.encoder.renderings.len(), pages.encoder.layouts.len()), (2, 1));
    assert!(pages.encoder.kept_bytes() < kept / 2);
}

#[test]
fn filters_do_not_drive_each_other_out() {
    let batches: Vec<Arc<Run>> = (0..12).map(|i| device_batch(None, i)).collect();
    let mut pages = Pages::new(Encoder::new(Format::Text));
    for round in 0..3 {
        for batch in &batches {
            pages.assert_page(&[batch]);
        }
        assert_eq!(
            (pages.encoder.renderings.len(), pages.encoder.layouts.len()),
            (12, 8),
            "{round}"
        );
    }
    // A layout that is in use again and again stays.
    let everything: Vec<&Arc<Run>> = batches.iter().collect();
    pages.assert_page(&everything);
    let steps = pages.encoder.layouts[0].steps.as_ptr();
    for batch in &batches[..7] {
        pages.assert_page(&[batch]);
    }
    pages.assert_page(&everything);
    assert_eq!(pages.encoder.layouts[0].steps.as_ptr(), steps);
}

#[test]
fn what_is_kept_is_bounded() {
    let (small, large) = (device_batch(None, 3), device_batch(None, 1000));
    let size = {
        let mut pages = Pages::new(Encoder::new(Format::Text));
        pages.assert_page(&[&small]);
        pages.encoder.kept_bytes()
    };
    let mut pages = Pages::new(Encoder::with_limit(Format::Text, 5 * size));
    for _ in 0..2 {
        pages.assert_page(&[&small, &large]);
        assert!(pages.encoder.kept_bytes() <= 5 * size && pages.encoder.kept_bytes() > 0);
    }
    // What had no room gets it when another shape has gone.
    let middle = device_batch(None, 12);
    pages.assert_page(&[&middle]);
    let before = pages.encoder.kept_bytes();
    drop(small);
    let other = device_batch(None, 5);
    pages.assert_page(&[&other]);
    pages.assert_page(&[&middle]);
    assert!(pages.encoder.kept_bytes() > before, "{} {before}", pages.encoder.kept_bytes());
    assert!(pages.encoder.kept_bytes() <= 5 * size);
}

#[test]
fn a_run_that_was_discarded_does_no_harm() {
    let first = device_batch(None, 3);
    let mut discarded = Run::new(FAMILIES);
    discarded.begin(Some(&named(&[("t_x", Kind::Gauge, 1.0), ("t_y", Kind::Gauge, 2.0)])), 0);
    discarded.batch().named_value(&[b"t_x"], Kind::Gauge, &[b"Help."], 7);
    discarded.discard();
    let discarded = Arc::new(discarded);
    for format in FORMATS {
        assert_eq!(page(format, &[&discarded]), page(format, &[]));
        assert!(page(format, &[&discarded, &first]).contains("t_load 3"));
    }
}

fn valued(last: Option<&Run>, values: &[f64]) -> Arc<Run> {
    run_after(last, |batch| {
        for (device, value) in values.iter().enumerate() {
            batch.row(&READ, [format!("sd{device}").as_bytes(), b"r"], *value);
        }
    })
}

#[test]
fn a_page_is_updated_where_it_is_and_its_memory_stays() {
    for (format, end) in [(Format::Text, ""), (Format::OpenMetrics, ".0")] {
        let mut pages = Pages::new(Encoder::new(format));
        let mut last: Option<Arc<Run>> = None;
        let mut memory = None;
        for values in [[1.0, 2.0, 3.0], [1.0, 22.0, 3.0], [100.0, 2.0, 3.0], [100.0, 2.0, 3.0]] {
            let run = valued(last.as_deref(), &values);
            pages.assert_page(&[&run]);
            let text = std::str::from_utf8(pages.kept.as_ref()).unwrap();
            for (device, value) in values.iter().enumerate() {
                assert!(
                    text.contains(&format!("{{device=\"sd{device}\",mode=\"r\"}} {value}{end}\n"))
                );
            }
            let now = (pages.kept.as_ref().as_ptr(), pages.kept.capacity());
            assert_eq!(*memory.get_or_insert(now), now);
            last = Some(run);
        }
    }
}

#[test]
fn a_page_that_was_long_once_gives_its_memory_back() {
    let mut pages = Pages::new(Encoder::new(Format::Text));
    let long = device_batch(None, 20_000);
    let snapshot = pages.seal(&[&long]);
    pages.encoder.write(&snapshot, &mut pages.kept);
    drop(snapshot);
    let before = pages.kept.capacity();
    let short = device_batch(Some(&long), 10);
    for _ in 0..59 {
        pages.assert_page(&[&short]);
    }
    assert_eq!(pages.kept.capacity(), before);
    pages.assert_page(&[&short]);
    assert!(pages.kept.capacity() < before / 100, "{} {before}", pages.kept.capacity());
    pages.assert_page(&[&short]);
}

#[test]
fn what_else_was_written_to_a_page_is_no_part_of_the_next_one() {
    let mut pages = Pages::new(Encoder::new(Format::Text));
    let first = valued(None, &[1.0, 2.0]);
    pages.assert_page(&[&first]);
    pages.kept.fill(|bytes| {
        bytes.fill(b'x');
        7
    });
    assert_eq!(pages.kept.as_ref(), b"xxxxxxx");
    pages.assert_page(&[&valued(Some(&first), &[1.0, 3.0])]);
    // Another encoder's page in the same memory: the same series, in another format.
    pages.encoder = Encoder::new(Format::OpenMetrics);
    pages.assert_page(&[&valued(Some(&first), &[1.0, 3.0])]);
}

// Anything at all.

#[derive(Clone, Debug)]
struct Row {
    name: &'static str,
    kind: Kind,
    help: &'static str,
    suffix: usize,
    labels: Vec<(&'static str, &'static [u8])>,
    bound: &'static str,
    value: f64,
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    const NAMES: [&str; 22] = [
        "a",
        "a_total",
        "a_created",
        "a_created_total",
        "a_total_total",
        "h",
        "h_sum",
        "h_sum_sum",
        "h_count",
        "h_bucket",
        "h_bucket_total",
        "h_sum_total",
        "h_created",
        "h_created_total",
        "h_created_sum",
        "h_total",
        "_total",
        "t_load",
        "t_intr",
        "t_load_total",
        "b:c",
        "z",
    ];
    const VALUES: [&[u8]; 6] = [b"", b"x", b"\\\n\"", b"\xff", b"\xfe", b"1"];
    let kind = prop_oneof![
        4 => Just(Kind::Gauge),
        4 => Just(Kind::Counter),
        1 => Just(Kind::Untyped),
        3 => Just(Kind::Histogram),
        2 => Just(Kind::Summary),
    ];
    let label = prop::sample::select(&["a", "b", "c"][..]);
    let value = prop::sample::select(&VALUES[..]);
    let row = (
        prop::sample::select(&NAMES[..]),
        kind,
        prop::sample::select(&["", "Help.", "\"Two\"\n\\lines\\."][..]),
        0..3usize,
        prop::collection::btree_map(label, value, 0..3),
        any::<bool>(),
        prop::sample::select(&["1", "1.0", "0.5", "+Inf", "1e3"][..]),
        prop_oneof![(0..2000i32).prop_map(f64::from), prop::num::f64::ANY],
    )
        .prop_map(|(name, kind, help, suffix, labels, reversed, bound, value)| {
            let mut labels: Vec<_> = labels.into_iter().collect();
            if reversed {
                labels.reverse();
            }
            Row { name, kind, help, suffix, labels, bound, value }
        });
    prop::collection::vec(row, 0..24)
}

fn push_rows(last: Option<&Run>, rows: &[Row]) -> Arc<Run> {
    let mut run = Run::new(FAMILIES);
    run.begin(last, 0);
    let batch = run.batch();
    for row in rows {
        let declared = match row.name {
            "t_load" => Some(&LOAD),
            "t_intr" => Some(&INTR),
            _ => None,
        };
        if let (Some(family), true) = (declared, row.labels.is_empty()) {
            batch.value(family, row.value);
            continue;
        }
        let family = batch.family(&[row.name.as_bytes()], row.kind, &[row.help.as_bytes()]);
        let mut labels: Vec<(&[u8], &[u8])> =
            row.labels.iter().map(|(name, value)| (name.as_bytes(), *value)).collect();
        let suffix = match (row.kind, row.suffix) {
            (Kind::Histogram | Kind::Summary, 1) => Suffix::Sum,
            (Kind::Histogram | Kind::Summary, 2) => Suffix::Count,
            (Kind::Histogram, _) => Suffix::Bucket,
            _ => Suffix::None,
        };
        let bound = bound_label(row.kind, suffix);
        if !bound.is_empty() {
            labels.push((bound.as_bytes(), row.bound.as_bytes()));
        }
        let labels = batch.label_pairs(&labels);
        batch.push_named(family, suffix, labels, row.value);
    }
    run.seal();
    Arc::new(run)
}

/// Numbers of every width, and the same one again.
fn number_of_any_width() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => Just(0.0),
        2 => (0..200i32).prop_map(f64::from),
        1 => prop::num::f64::ANY,
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn an_updated_page_is_the_page_written_anew(
        rounds in prop::collection::vec(prop::collection::vec(number_of_any_width(), 40), 1..8),
        shown in prop::collection::vec(1..40usize, 8),
    ) {
        for format in FORMATS {
            for limit in [0, usize::MAX] {
                let mut pages = Pages::new(Encoder::with_limit(format, limit));
                let other = named(&[("a", Kind::Gauge, 1.0), ("z", Kind::Gauge, 1.0)]);
                let mut last: Option<Arc<Run>> = None;
                for (values, shown) in rounds.iter().zip(&shown) {
                    // Half of the rounds have the series of the round before.
                    let shown = if shown % 2 == 0 { 40 } else { *shown };
                    let run = valued(last.as_deref(), &values[..shown]);
                    pages.assert_page(&[&run, &other]);
                    last = Some(run);
                }
            }
        }
    }

    #[test]
    fn pages_are_those_of_the_naive_renderer(
        runs in prop::collection::vec((rows(), rows(), rows()), 1..4),
        repeat in any::<bool>(),
    ) {
        for format in FORMATS {
            for limit in [0, 900, usize::MAX] {
                let mut pages = Pages::new(Encoder::with_limit(format, limit));
                let mut last: Option<[Arc<Run>; 3]> = None;
                for (a, b, c) in &runs {
                    let c = if repeat { &runs[0].2 } else { c };
                    let before = |at: usize| last.as_ref().map(|last| &*last[at]);
                    let batches =
                        [push_rows(before(0), a), push_rows(before(1), b), push_rows(before(2), c)];
                    let [a, b, c] = &batches;
                    for list in [&[a, b, c][..], &[c, a], &[b], &[a, b, c]] {
                        pages.assert_page(list);
                        let snapshot = pages.seal(list);
                        let mut page = Vec::new();
                        pages.encoder.encode(&snapshot, &mut page);
                        check(format, std::str::from_utf8(&page).unwrap());
                    }
                    last = Some(batches);
                }
            }
        }
    }
}
