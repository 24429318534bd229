//! Parsers that are not behind a collector.

use crate::Target;
use crate::collectors::{registered, textfile};
use crate::script::Reader;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use vitald::dropin::unit;
use vitald::encode::negotiate;
use vitald::query;
use vitald_core::number::{
    parse_f64, parse_hex_u64, parse_i64, parse_u64, write_number, write_openmetrics_number,
};
use vitald_core::pattern::Pattern;
use vitald_core::text;

/// The most mistakes that a configuration reports, and one more line for the rest.
const MOST_MISTAKES: usize = 101;

pub fn targets() -> Vec<Target> {
    vec![
        Target::new(
            "configuration",
            &[
                include_str!("../../config.toml"),
                "[outputs.x]\ntype = 'console'\n",
                "VITALD__LOG__LEVEL=info\0",
            ],
            configuration,
        ),
        Target::new(
            "node_exporter_command_line",
            &[
                "--collector.disable-defaults\n--collector.cpu\n--web.listen-address=:9100",
                "--no-collector.diskstats\n--collector.netdev.device-exclude\n^lo$",
                "--collector.textfile.directory=/a\n--log.level=debug\n--path.procfs=/proc",
                "--web.listen-address=[::1]:1\n--web.telemetry-path\n/m\n--web.max-requests=7",
                "--help",
                "--version",
                "--help-man",
            ],
            command_line,
        ),
        Target::new(
            "systemd_unit",
            &[
                "[Service]\nEnvironment=A=1 'B=2 3'\nEnvironmentFile=-/a*\nExecStart=/node_exporter $ARGS ${A} \\\n \"x y\"\0ARGS='-a' \\\nb\n",
                "[Service]\nExecStart=\nExecStart=-@:/node_exporter n \\x41\\101\\u00e9 %n%% ; /b\n[X]\n\0# c\nARGS=\"--a \\$x\"\n",
                "[Service]\nUnsetEnvironment=A\nWorkingDirectory=%h\nExecStart=/a $$A ${B:-c} $\0B=1\nA = x \\",
            ],
            systemd_unit,
        ),
        Target::new(
            "accept",
            &[
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
                "gzip;q=0.5, identity, *;q=0",
                "text/*;q=\"0.3\", text/plain;charset=\"a\\\"b\"",
            ],
            accept,
        ),
        Target::new(
            "query",
            &["collect[]=cpu&collect%5B%5D=t%69me&exclude[]=a+b", "a=b;c&%zz=1&=&x&&dry_run=true"],
            queries,
        ),
        Target::new(
            "pattern",
            &[
                "^(?:ram|loop)\\d+$\nloop7",
                "(?P<a>x*)(?i)\\pL+[^[:alpha:]\\Q.\\E]\nxAb",
                "\\x{10FFFF}|\\C\\z(a{2,5}?)+\n\n",
                "(?U)a+?(?s-m:.)\\bé\naé",
                "(?<n>[a-\\d&&--~~])\n-",
            ],
            pattern,
        ),
        Target::new(
            "number",
            &["1e-5\x01", "18446744073709551616", "-0x1F", "+Inf", "4.9e-324"],
            number,
        ),
        Target::new("text", &["0-3,5,7-9\n", "a\\040b: 12 kB\n\nx 1", "Sec: 1 2\nSec: 3\n"], texts),
        Target::new(
            "exposition",
            &[
                "# HELP a_total b\\n c\n# TYPE a_total counter\na_total{x=\"y\\\"z\",} 1.5e3\n",
                "# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 2\nh_sum 3\nh_count 2\n",
                "# TYPE s summary\ns{quantile=\"0.5\"} NaN\ns_sum 1\ns_count 1\nx 1\nx{a=\"\"} 2\n",
            ],
            textfile,
        ),
    ]
}

/// The text of a file; what follows a NUL are variables of the environment, a line each.
fn configuration(bytes: &[u8]) {
    let (file, environment) =
        bytes.split_at(bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len()));
    let file = String::from_utf8_lossy(file);
    let environment = String::from_utf8_lossy(environment.get(1..).unwrap_or_default());
    let environment: Vec<(String, String)> = environment
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| {
            (format!("VITALD__{}", name.trim_start_matches("VITALD__")), value.to_owned())
        })
        .collect();
    let outputs = outputs();
    match vitald::config::load_text("fuzz", &file, &environment, &registered(), &outputs) {
        Ok(plan) => assert!(!plan.hash.is_empty()),
        Err(mistakes) => {
            assert!(!mistakes.is_empty(), "refused without a reason");
            assert!(mistakes.len() <= MOST_MISTAKES, "{} mistakes", mistakes.len());
            for mistake in mistakes {
                let length = mistake.to_string().len();
                assert!(length < 8192, "a mistake of {length} bytes");
            }
        }
    }
}

fn outputs() -> Vec<&'static vitald_core::output::OutputDescriptor> {
    vitald::registered_outputs().expect("no two outputs share a name")
}

/// Arguments, a line each.
fn command_line(bytes: &[u8]) {
    let arguments: Vec<&OsStr> =
        bytes.split(|byte| *byte == b'\n').map(OsStr::from_bytes).collect();
    // A file of arguments is read from the disk, and a host name is asked of a name server: both
    // are not the parser's.
    let leads_outside = |argument: &&OsStr| {
        let text = argument.to_string_lossy();
        text.starts_with('@')
            || text.rsplit_once(':').is_some_and(|(host, _)| {
                let host = host.rsplit_once('=').map_or(host, |(_, host)| host);
                let host = host.trim_start_matches('[').trim_end_matches(']');
                !host.is_empty() && host.parse::<std::net::IpAddr>().is_err()
            })
    };
    if arguments.iter().any(leads_outside) {
        return;
    }
    match vitald::dropin::parse("node_exporter", &arguments, &registered()) {
        Ok(vitald::dropin::Command::Run(drop_in)) => {
            // What is migrated must be taken.
            let migrated = vitald::dropin::migrate(&drop_in, Path::new("/")).text;
            let outputs = outputs();
            let loaded =
                vitald::config::load_text("migrated", &migrated, &[], &registered(), &outputs);
            if let Err(mistakes) = loaded {
                panic!("{mistakes:?} in {migrated}");
            }
        }
        Ok(_) => {}
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// A unit; what follows a NUL is the file of variables that it may name.
fn systemd_unit(bytes: &[u8]) {
    let (text, variables) =
        bytes.split_at(bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len()));
    let file = |name: &str, text: &[u8]| unit::File {
        name: name.to_owned(),
        text: String::from_utf8_lossy(text).into_owned(),
    };
    let variables = file("/etc/default/node_exporter", variables.get(1..).unwrap_or_default());
    let read = |_: &str| Ok(vec![variables.clone()]);
    let of_unit = |text: &[u8]| {
        unit::of_unit(&[file("/etc/systemd/system/node_exporter.service", text)], &read)
    };
    for service in [of_unit(text), unit::of_variables(&variables)] {
        match service {
            Ok(service) => {
                assert!(service.directory.is_absolute());
                for argument in service.arguments {
                    assert!(argument.place.starts_with('/'), "{argument:?}");
                }
            }
            Err(error) => assert!(error.starts_with('/'), "{error}"),
        }
    }
    // Whatever is quoted is read back.
    let words: Vec<&str> = variables.text.split('\n').collect();
    let mut text = "[Service]\nExecStart=/node_exporter".to_owned();
    for word in &words {
        let escaped = word.replace('\\', "\\\\").replace('"', "\\\"");
        text += &format!(" \"{}\"", escaped.replace('%', "%%").replace('$', "$$"));
    }
    let service = of_unit(text.as_bytes()).unwrap_or_else(|error| panic!("{error}: {text}"));
    let back: Vec<String> = service.arguments.into_iter().map(|argument| argument.text).collect();
    assert_eq!(back, words);
}

fn accept(bytes: &[u8]) {
    for offered in [false, true] {
        let chosen = negotiate::format(Some(bytes), offered);
        let is_openmetrics =
            chosen.is_some_and(|chosen| chosen.format == vitald::encode::Format::OpenMetrics);
        assert!(offered || !is_openmetrics, "not offered");
    }
    negotiate::gzip(Some(bytes));
}

/// The query of a request.
fn queries(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let pairs: Vec<(String, String)> = query::pairs(&text).collect();
    if let Some((key, value)) = pairs.first() {
        assert_eq!(query::values(&text, key).first(), Some(value));
    }
    // Another reader takes what is wrong as it is, and the same of all else.
    let is_escape = |rest: &str| {
        rest.as_bytes().get(..2).is_some_and(|two| two.iter().all(u8::is_ascii_hexdigit))
    };
    if !text.contains(';') && text.split('%').skip(1).all(is_escape) {
        let known: Vec<(String, String)> =
            form_urlencoded::parse(text.as_bytes()).into_owned().collect();
        assert_eq!(pairs, known);
    }
    let encoded = format!("k={}", query::encode(&text));
    assert_eq!(query::values(&encoded, "k"), [text.as_ref()]);
}

/// An expression, a line end, and the text that it is tried on.
fn pattern(bytes: &[u8]) {
    let mut reader = Reader(bytes);
    let expression = String::from_utf8_lossy(reader.line());
    let tried = reader.0;
    let Ok(pattern) = Pattern::new(&expression) else { return };
    let matches = pattern.matches(tried);
    let names: Vec<String> = pattern.group_names().map(str::to_owned).collect();
    let captured = pattern.captures(tried, |name, text| {
        assert!(names.iter().any(|known| known == name), "no group {name}");
        assert!(text.len() <= tried.len());
    });
    assert_eq!(matches, captured, "two answers");
    assert_eq!(pattern.source(), expression);
}

fn number(bytes: &[u8]) {
    round_trip(f64::from_bits(Reader(bytes).u64()));
    if let Some(value) = parse_f64(bytes) {
        round_trip(value);
        let known: Option<f64> = std::str::from_utf8(bytes).ok().and_then(|text| text.parse().ok());
        let known = known.expect("what is taken here is taken by Rust, too");
        assert!(known == value || known.is_nan() && value.is_nan(), "{known} {value}");
    }
    let text = std::str::from_utf8(bytes).unwrap_or_default();
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if let Ok(value) = text.parse::<u64>()
        && digits(text)
    {
        assert_eq!(parse_u64(bytes), Some(value));
    }
    if let Ok(value) = text.parse::<i64>() {
        assert_eq!(parse_i64(bytes), Some(value));
    }
    if let Ok(value) = u64::from_str_radix(text, 16)
        && !text.starts_with('+')
    {
        assert_eq!(parse_hex_u64(bytes), Some(value));
    }
    parse_hex_u64(bytes);
    let mut room = [0; 20];
    let value = Reader(bytes).u64();
    assert_eq!(parse_u64(text::decimal(value, &mut room)), Some(value));
}

/// A number that is written is read back.
fn round_trip(value: f64) {
    for write in [write_number, write_openmetrics_number] {
        let mut digits = Vec::new();
        write(&mut digits, value);
        let back = parse_f64(&digits);
        let back = back.unwrap_or_else(|| panic!("{} is not read", digits.escape_ascii()));
        assert!(back == value || back.is_nan() && value.is_nan(), "{value:e} became {back:e}");
    }
}

/// The cursors over text that collectors are made of.
fn texts(bytes: &[u8]) {
    let mut count = 0;
    let mut lines = text::lines(bytes);
    while let Some(line) = lines.next() {
        count += 1;
        assert!(lines.offset() <= bytes.len());
        let mut fields = text::Fields::new(line);
        while fields.text().is_ok() {
            assert!(fields.offset() <= line.len());
        }
        let _ = text::Fields::new(line).pass(1).u64();
        let _ = text::Fields::new(line).i64();
        let _ = text::Fields::new(line).f64();
        let _ = text::Fields::new(line).hex();
        let mut scratch = Vec::new();
        assert!(text::unescape_octal(line, &mut scratch).len() <= line.len());
        text::key_value(line, b':');
        text::split_once(line, b' ');
        text::trim(line);
    }
    assert!(count <= bytes.len());
    let first = Reader(bytes).u8();
    for section in text::sections(bytes, |line| line.first() == Some(&first)) {
        let _ = section;
    }
    let mut processors = 0_u64;
    let _ = text::cpu_list(bytes, |_| processors += 1);
    let _ = text::single_u64(bytes);
    let _ = text::single_i64(bytes);
    let _ = text::single_f64(bytes);
}
