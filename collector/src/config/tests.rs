//! What users see of a configuration: every message, every layer, every place.

use super::*;
use crate::plan::{Address, Admin, Listen, LogFormat, LogLevel, Serve};
use expect_test::{Expect, expect};
use std::time::Duration;

/// A collector with a setting of each type.
mod sample {
    use vitald_core::prelude::*;

    families! {
        /// Samples of the test.
        SAMPLE: gauge = "node_sample";
    }

    settings! {
        /// Devices to leave out, by name.
        device_exclude: Option<Pattern> = UNSET;
        /// Devices to take, by name.
        device_include: Option<Pattern> = UNSET;
        /// How long a mount may take to answer.
        mount_timeout: Duration = "5s" in "1ms".."1h";
        /// Read slowly.
        slowly: bool = false;
        /// Names to read.
        names: Vec<String> = ["one", "two"];
        /// How often to try.
        tries: u32 = 3 in 1..10;
        /// A factor.
        factor: f64 = 1.5;
    }

    pub(super) static DESCRIPTOR: vitald_core::collector::Descriptor =
        vitald_core::collector::Descriptor::of::<Sample>();

    struct Sample;

    thread_local! {
        /// How often it was opened by this thread.
        pub(super) static OPENED: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
    }

    impl Collector for Sample {
        const NAME: &'static str = "sample";
        const SUMMARY: &'static str = "Samples for tests";
        const FAMILIES: &'static [FamilyInfo] = FAMILIES;
        type Settings = Settings;

        fn check(settings: &Settings) -> Result<()> {
            if settings.device_exclude.is_some() && settings.device_include.is_some() {
                return Err(Error::setting(
                    "device_include",
                    "exclude or include: not both device_exclude and device_include",
                ));
            }
            Ok(())
        }

        fn open(_settings: Settings, _host: &Host) -> Result<Self> {
            OPENED.with(|opened| opened.set(opened.get() + 1));
            Ok(Sample)
        }

        fn collect(&mut self, batch: &mut Batch) -> Result<()> {
            batch.value(&SAMPLE, 1.0);
            Ok(())
        }
    }
}

/// A collector without settings that is off unless asked for.
mod quiet {
    use vitald_core::prelude::*;

    families! {
        /// Samples of the test.
        QUIET: gauge = "node_quiet";
    }

    pub(super) static DESCRIPTOR: vitald_core::collector::Descriptor =
        vitald_core::collector::Descriptor::of::<Quiet>();

    struct Quiet;

    impl Collector for Quiet {
        const NAME: &'static str = "quiet";
        const SUMMARY: &'static str = "Nothing unless asked";
        const ENABLED: bool = false;
        const FAMILIES: &'static [FamilyInfo] = FAMILIES;
        type Settings = ();

        fn open((): (), _host: &Host) -> Result<Self> {
            Ok(Quiet)
        }

        fn collect(&mut self, batch: &mut Batch) -> Result<()> {
            batch.value(&QUIET, 1.0);
            Ok(())
        }
    }
}

/// An output with a setting of its own.
mod spool {
    use vitald_core::output::{Context, Output, OutputError};
    use vitald_core::prelude::*;
    use vitald_core::snapshot::Snapshot;

    settings! {
        /// The file to write.
        file: String = "/tmp/spool";
    }

    pub(super) static DESCRIPTOR: vitald_core::output::OutputDescriptor =
        vitald_core::output::OutputDescriptor::of::<Spool>();

    struct Spool;

    impl Output for Spool {
        const NAME: &'static str = "spool";
        const SUMMARY: &'static str = "Writes to a file";
        type Settings = Settings;

        fn resource(settings: &Settings) -> Option<String> {
            Some(format!("the file {}", settings.file))
        }

        fn open(settings: Settings, _context: &Context) -> Result<Self, OutputError> {
            assert!(!settings.file.is_empty());
            Ok(Spool)
        }

        fn send(&mut self, _snapshot: &Snapshot) -> Result<(), OutputError> {
            Ok(())
        }
    }
}

const COLLECTORS: [&Descriptor; 2] = [&quiet::DESCRIPTOR, &sample::DESCRIPTOR];
const OUTPUTS: [&OutputDescriptor; 1] = [&spool::DESCRIPTOR];

fn environment(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

fn try_plan(text: &str, pairs: &[(&str, &str)]) -> Result<Plan, Vec<Mistake>> {
    load_text("config.toml", text, &environment(pairs), &COLLECTORS, &OUTPUTS)
}

#[track_caller]
fn plan(text: &str, pairs: &[(&str, &str)]) -> Plan {
    try_plan(text, pairs).unwrap_or_else(|mistakes| panic!("{}", lines(&mistakes)))
}

fn lines(mistakes: &[Mistake]) -> String {
    mistakes.iter().map(|mistake| format!("{mistake}\n")).collect()
}

/// Every text with everything that is said of it.
fn told(texts: &[&str]) -> String {
    let mut told = String::new();
    for text in texts {
        told.push_str(&format!("| {}\n", text.trim_end().replace('\n', "\n| ")));
        match try_plan(text, &[]) {
            Ok(_) => told.push_str("valid\n"),
            Err(mistakes) => told.push_str(&lines(&mistakes)),
        }
    }
    told
}

fn check(texts: &[&str], expected: &Expect) {
    expected.assert_eq(&told(texts));
}

#[test]
fn bad_syntax() {
    check(
        &[
            "[server\nlisten = []",
            "x",
            "[log]\nlevel = info",
            "[log]\nlevel = \"info\"\nlevel = \"warn\"",
            "[log]\n[log]",
            "[log]\nlevel = \"inf\"\n[scrape]\ntimeou = 3\n[log]\nformat = \"jsn\"",
            "[collectors]\nsample.tries = 3\n[collectors.sample]\nslowly = true",
            "[collectors.sample]\ntries = 3\n[collectors]\nsample.slowly = true",
            "[log]\nlevel = \"info\"\n[log.level]\nx = 1",
            "[log]\nlevel = \"info\"\n[log.level.x]\ny = 1",
            "log = 1\n[log]\nformat = \"json\"",
            "[log]\nlevel = \"info\nformat = \"json\"\n[scrape]\ntimeout = =",
            "[scrape]\ntimeout = 10s",
            "a.b. = 1",
            "[collectors.\"a.b\"]\nenabled = true",
            "\"server.listen\" = 1",
            "[scrape]\nmax_series = 99999999999999999999",
            "[scrape]\ntimeout = 2026-11-23",
        ],
        &expect![[r#"
            | [server
            | listen = []
            config.toml:1:8: unclosed table, expected `]`
            | x
            config.toml:1:2: key with no value, expected `=`
            | [log]
            | level = info
            config.toml:2:9: text needs quotes: "info"
            | [log]
            | level = "info"
            | level = "warn"
            config.toml:3:1: level is set twice
            | [log]
            | [log]
            config.toml:2:2: the table log is there already; add these settings to it
            | [log]
            | level = "inf"
            | [scrape]
            | timeou = 3
            | [log]
            | format = "jsn"
            config.toml:2:9: log.level: expected one of "debug", "info", "warn", "error"
            config.toml:4:1: scrape.timeou: no such setting; did you mean timeout?
            config.toml:5:2: the table log is there already; add these settings to it
            config.toml:6:10: log.format: expected one of "logfmt", "json"
            | [collectors]
            | sample.tries = 3
            | [collectors.sample]
            | slowly = true
            config.toml:3:13: the table sample is there already; add these settings to it
            | [collectors.sample]
            | tries = 3
            | [collectors]
            | sample.slowly = true
            config.toml:4:1: the table sample is there already; add these settings to it
            | [log]
            | level = "info"
            | [log.level]
            | x = 1
            config.toml:3:6: level is there already, and is no table; remove one of the two
            | [log]
            | level = "info"
            | [log.level.x]
            | y = 1
            config.toml:3:6: level is there already, and is no table; remove one of the two
            | log = 1
            | [log]
            | format = "json"
            config.toml:2:2: log is there already, and is no table; remove one of the two
            | [log]
            | level = "info
            | format = "json"
            | [scrape]
            | timeout = =
            config.toml:2:14: invalid basic string, expected `"`
            config.toml:5:11: extra `=`, expected nothing
            | [scrape]
            | timeout = 10s
            config.toml:2:11: string values must be quoted, expected literal string
            | a.b. = 1
            config.toml:1:6: unquoted keys cannot be empty, expected letters, numbers, `-`, `_`
            | [collectors."a.b"]
            | enabled = true
            config.toml:1:13: collectors.a.b: a key has letters, digits and _ only
            | "server.listen" = 1
            config.toml:1:1: server.listen: a key has letters, digits and _ only
            | [scrape]
            | max_series = 99999999999999999999
            config.toml:2:14: scrape.max_series: this number is too large
            | [scrape]
            | timeout = 2026-11-23
            config.toml:2:11: scrape.timeout: no setting is a date; text needs quotes
        "#]],
    );
}

#[test]
fn bad_tables() {
    check(
        &[
            "[sever]\nlisten = []",
            "[zzz]",
            "listen = \":9100\"",
            "[cpu]\nenabled = true",
            "server = 1",
            "[[server]]\nlisten = []",
            "collectors = []",
            "[collectors]\nsample = true",
            "[collectors.smaple]",
            "[collectors.cpuu]",
            "[collectors.cpu]\nanything = 1",
            "[collectors.zzzzzzzz]",
            "[outputs.spol]\nenabled = true",
            "outputs.spool = \"on\"",
        ],
        &expect![[r#"
            | [sever]
            | listen = []
            config.toml:1:2: sever: no such table; did you mean server?
            | [zzz]
            config.toml:1:2: zzz: no such table; there are: server, paths, scrape, log, collectors, outputs
            | listen = ":9100"
            config.toml:1:1: listen: no such table; listen is a setting of [server]
            | [cpu]
            | enabled = true
            config.toml:1:2: cpu: no such table; the settings of a collector are in [collectors.cpu]
            | server = 1
            config.toml:1:10: server: expected a table, [server], found a whole number
            | [[server]]
            | listen = []
            config.toml:1:1: server: expected a table, [server], found a list
            | collectors = []
            config.toml:1:14: collectors: expected a table, [collectors], found a list
            | [collectors]
            | sample = true
            config.toml:2:10: collectors.sample: expected a table, [collectors.sample], found true or false
            | [collectors.smaple]
            config.toml:1:13: collectors.smaple: no such collector; did you mean sample?
            | [collectors.cpuu]
            config.toml:1:13: collectors.cpuu: no such collector; did you mean cpu?
            | [collectors.cpu]
            | anything = 1
            config.toml:1:13: collectors.cpu: not in this build: build with --features cpu
            | [collectors.zzzzzzzz]
            config.toml:1:13: collectors.zzzzzzzz: no such collector; `vitald plugins` lists them
            | [outputs.spol]
            | enabled = true
            config.toml:1:10: outputs.spol: no such output; did you mean spool?
            | outputs.spool = "on"
            config.toml:1:17: outputs.spool: expected a table, [outputs.spool], found text
        "#]],
    );
}

#[test]
fn bad_server() {
    check(
        &[
            "[server]\nlisten = \"9100\"",
            "[server]\nlisten = \":9100, :9101\"",
            "[server]\nlisten = 9100",
            "[server]\nlisten = [9100]",
            "[server]\nlisten = true",
            "[server]\nlisten = { address = \":9100\" }",
            "[server]\nlisten = [\"localhost:9100\", \"127.0.0.1\", \"127.0.0.1:99999\"]",
            "[server]\nlisten = [\"unix:metrics.sock\"]",
            "[server]\nlisten = [\"unix:/run/a\\nMAINPID=1.sock\"]",
            "[server]\nlisten = [\":9100\", \"127.0.0.1:9100\"]",
            "[server]\nlisten = [\n  \"unix:/a\",\n  \"unix:/a\",\n]",
            "[server]\nlisten = [{ adress = \":1\" }]",
            "[server]\nlisten = [{ address = \":1\", admin = \"all\" }, { address = 1 }]",
            "[server]\nadmin = \"token\"",
            "[server]\nadmin = \"token:secret\"",
            "[server]\nadmin = false",
            "[server]\nmax_requests = -1",
            "[server]\nmax_requests = \"40\"",
            "[server]\nmax_connections = 0",
            "[server]\nidle_timeout = \"2h\"",
            "[server]\nmax_page_bytes = 1",
            "[server]\nlissten = []",
        ],
        &expect![[r#"
            | [server]
            | listen = "9100"
            config.toml:2:10: server.listen: a port alone is no address; write ":9100" for every address of this host, or "127.0.0.1:9100" for clients on this host alone
            | [server]
            | listen = ":9100, :9101"
            config.toml:2:10: server.listen: expected a list, found text with a comma: write [":9100, :9101"] or [":9100", ":9101"]
            | [server]
            | listen = 9100
            config.toml:2:10: server.listen: a port alone is no address; write ":9100" for every address of this host, or "127.0.0.1:9100" for clients on this host alone
            | [server]
            | listen = [9100]
            config.toml:2:11: server.listen: a port alone is no address; write ":9100" for every address of this host, or "127.0.0.1:9100" for clients on this host alone
            | [server]
            | listen = true
            config.toml:2:10: server.listen: expected an address such as "127.0.0.1:9100", "[::]:9100", ":9100", "unix:/run/vitald/metrics.sock" or "systemd", found true or false
            | [server]
            | listen = { address = ":9100" }
            config.toml:2:10: server.listen: expected a list, found a table: write [{ address = ":9100" }]
            | [server]
            | listen = ["localhost:9100", "127.0.0.1", "127.0.0.1:99999"]
            config.toml:2:11: server.listen: expected an address such as "127.0.0.1:9100", "[::]:9100", ":9100", "unix:/run/vitald/metrics.sock" or "systemd" (host names are not looked up)
            config.toml:2:29: server.listen: the port is missing
            config.toml:2:42: server.listen: a port is at most 65535
            | [server]
            | listen = ["unix:metrics.sock"]
            config.toml:2:11: server.listen: a unix socket needs an absolute path
            | [server]
            | listen = ["unix:/run/a\nMAINPID=1.sock"]
            config.toml:2:11: server.listen: the path of a unix socket may not have control characters
            | [server]
            | listen = [":9100", "127.0.0.1:9100"]
            config.toml:2:20: server.listen: 127.0.0.1:9100 cannot be bound beside :9100
            | [server]
            | listen = [
            |   "unix:/a",
            |   "unix:/a",
            | ]
            config.toml:4:3: server.listen: unix:/a is there twice; remove one of them
            | [server]
            | listen = [{ adress = ":1" }]
            config.toml:2:11: server.listen: this listener has no address
            config.toml:2:13: server.listen.adress: no such key of a listener; did you mean address?
            | [server]
            | listen = [{ address = ":1", admin = "all" }, { address = 1 }]
            config.toml:2:37: server.listen: expected "off", "local", "token:/path/of/a/file" or "token:credential:NAME"
            config.toml:2:58: server.listen: a port alone is no address; write ":1" for every address of this host, or "127.0.0.1:1" for clients on this host alone
            | [server]
            | admin = "token"
            config.toml:2:9: server.admin: expected "off", "local", "token:/path/of/a/file" or "token:credential:NAME"
            | [server]
            | admin = "token:secret"
            config.toml:2:9: server.admin: the token's file needs an absolute path, or "credential:NAME" of systemd's
            | [server]
            | admin = false
            config.toml:2:9: server.admin: expected "off", "local", "token:/path/of/a/file" or "token:credential:NAME", found true or false
            | [server]
            | max_requests = -1
            config.toml:2:16: server.max_requests: must be from 0 to 4294967295
            | [server]
            | max_requests = "40"
            config.toml:2:16: server.max_requests: expected a whole number, found text
            | [server]
            | max_connections = 0
            config.toml:2:19: server.max_connections: must be from 1 to 65536
            | [server]
            | idle_timeout = "2h"
            config.toml:2:16: server.idle_timeout: must be from "1s" to "1h"
            | [server]
            | max_page_bytes = 1
            config.toml:2:18: server.max_page_bytes: must be from 1048576 to 1099511627776
            | [server]
            | lissten = []
            config.toml:2:1: server.lissten: no such setting; did you mean listen?
        "#]],
    );
}

#[test]
fn bad_sections() {
    check(
        &[
            "[paths]\nprocfs = \"\"",
            "[paths]\nsys = \"/sys\"",
            "[paths]\nrootfs = 1",
            "[paths]\nrootfs = \"host\"",
            "[scrape]\ntimeout = 10",
            "[scrape]\ntimeout = \"10\"",
            "[scrape]\ntimeout = \"0s\"",
            "[scrape]\ndefault_collectors = \"yes\"",
            "[scrape]\nopenmetrics = 1",
            "[scrape]\nmax_series = 1.9",
            "[log]\nlevel = \"verbose\"",
            "[log]\nformat = \"logfmt \"",
            "[log]\nlevel = 1\nformat = 2",
        ],
        &expect![[r#"
            | [paths]
            | procfs = ""
            config.toml:2:10: paths.procfs: expected a path, found nothing
            | [paths]
            | sys = "/sys"
            config.toml:2:1: paths.sys: no such setting; there are: procfs, sysfs, rootfs, udev
            | [paths]
            | rootfs = 1
            config.toml:2:10: paths.rootfs: expected a path in quotes, found a whole number
            | [paths]
            | rootfs = "host"
            config.toml:2:10: paths.rootfs: expected an absolute path, such as "/host/proc"
            | [scrape]
            | timeout = 10
            config.toml:2:11: scrape.timeout: expected a duration such as "10s", "1m30s" or "500ms", found a whole number
            | [scrape]
            | timeout = "10"
            config.toml:2:11: scrape.timeout: expected a duration such as "10s", "1m30s" or "500ms"
            | [scrape]
            | timeout = "0s"
            config.toml:2:11: scrape.timeout: must be from "100ms" to "1h"
            | [scrape]
            | default_collectors = "yes"
            config.toml:2:22: scrape.default_collectors: expected true or false, found text
            | [scrape]
            | openmetrics = 1
            config.toml:2:15: scrape.openmetrics: expected true or false, found a whole number
            | [scrape]
            | max_series = 1.9
            config.toml:2:14: scrape.max_series: expected a whole number, found a number
            | [log]
            | level = "verbose"
            config.toml:2:9: log.level: expected one of "debug", "info", "warn", "error"
            | [log]
            | format = "logfmt "
            config.toml:2:10: log.format: expected one of "logfmt", "json"
            | [log]
            | level = 1
            | format = 2
            config.toml:2:9: log.level: expected one of "debug", "info", "warn", "error"
            config.toml:3:10: log.format: expected one of "logfmt", "json"
        "#]],
    );
}

#[test]
fn bad_collectors_and_outputs() {
    check(
        &[
            "[collectors.sample]\nenabled = 1",
            "[collectors.sample]\nenabeld = true",
            "[collectors.sample]\ndevice_exlude = 'x'",
            "[collectors.sample]\ndevice-exclude = 'x'",
            "[collectors.sample]\nunheard_of = 'x'",
            "[collectors.quiet]\nunheard_of = 'x'",
            "[collectors.sample]\nenabled = false\ndevice_exclude = '('",
            "[collectors.sample]\ndevice_exclude = 1",
            "[collectors.sample]\ndevice_exclude = 'a'\ndevice_include = 'b'",
            "[collectors.sample]\nenabled = false\ndevice_exclude = 'a'\ndevice_include = 'b'",
            "[collectors.sample]\ninterval = \"500ms\"",
            "[collectors.sample]\ninterval = \"soon\"",
            "[collectors.sample]\nmax_series = -1",
            "[collectors.sample]\nmount_timeout = \"2h\"\ntries = 11\nslowly = \"no\"\nfactor = \"x\"",
            "[collectors.sample]\nnames = \"one,two\"",
            "[collectors.sample]\nnames = [\"one\", 2, true]",
            "[collectors.sample]\ntries = [1]",
            "[collectors.sample.tries]\nx = 1",
            "[outputs.spool]\ninterval = \"0s\"",
            "[outputs.spool]\ncollectors = [\"sample\", \"sampel\",\n  \"other\"]",
            "[outputs.spool]\nfiel = \"/x\"",
            "[outputs.spool]\nfile = 1\nenabled = \"true\"",
        ],
        &expect![[r#"
            | [collectors.sample]
            | enabled = 1
            config.toml:2:11: collectors.sample.enabled: expected true or false, found a whole number
            | [collectors.sample]
            | enabeld = true
            config.toml:2:1: collectors.sample.enabeld: no such setting; did you mean enabled?
            | [collectors.sample]
            | device_exlude = 'x'
            config.toml:2:1: collectors.sample.device_exlude: no such setting; did you mean device_exclude?
            | [collectors.sample]
            | device-exclude = 'x'
            config.toml:2:1: collectors.sample.device-exclude: no such setting; did you mean device_exclude?
            | [collectors.sample]
            | unheard_of = 'x'
            config.toml:2:1: collectors.sample.unheard_of: no such setting; there are: device_exclude, device_include, mount_timeout, slowly, names, tries, factor, enabled, interval, max_series
            | [collectors.quiet]
            | unheard_of = 'x'
            config.toml:2:1: collectors.quiet.unheard_of: no such setting; there are: enabled, interval, max_series
            | [collectors.sample]
            | enabled = false
            | device_exclude = '('
            config.toml:3:18: collectors.sample.device_exclude: not a regular expression: unclosed group
            | [collectors.sample]
            | device_exclude = 1
            config.toml:2:18: collectors.sample.device_exclude: expected a regular expression in quotes, found a whole number
            | [collectors.sample]
            | device_exclude = 'a'
            | device_include = 'b'
            config.toml:3:18: collectors.sample.device_include: exclude or include: not both device_exclude and device_include
            | [collectors.sample]
            | enabled = false
            | device_exclude = 'a'
            | device_include = 'b'
            config.toml:4:18: collectors.sample.device_include: exclude or include: not both device_exclude and device_include
            | [collectors.sample]
            | interval = "500ms"
            config.toml:2:12: collectors.sample.interval: must be from "1s" to "1h"
            | [collectors.sample]
            | interval = "soon"
            config.toml:2:12: collectors.sample.interval: expected a duration such as "10s", "1m30s" or "500ms"
            | [collectors.sample]
            | max_series = -1
            config.toml:2:14: collectors.sample.max_series: must be from 0 to 4294967295
            | [collectors.sample]
            | mount_timeout = "2h"
            | tries = 11
            | slowly = "no"
            | factor = "x"
            config.toml:2:17: collectors.sample.mount_timeout: must be from "1ms" to "1h"
            config.toml:3:9: collectors.sample.tries: must be from 1 to 10
            config.toml:4:10: collectors.sample.slowly: expected true or false, found text
            config.toml:5:10: collectors.sample.factor: expected a number, found text
            | [collectors.sample]
            | names = "one,two"
            config.toml:2:9: collectors.sample.names: expected a list, found text with a comma: write ["one,two"] or ["one", "two"]
            | [collectors.sample]
            | names = ["one", 2, true]
            config.toml:2:17: collectors.sample.names: expected text, found a whole number
            config.toml:2:20: collectors.sample.names: expected text, found true or false
            | [collectors.sample]
            | tries = [1]
            config.toml:2:9: collectors.sample.tries: expected a whole number, found a list
            | [collectors.sample.tries]
            | x = 1
            config.toml:1:1: collectors.sample.tries: expected a whole number, found a table
            | [outputs.spool]
            | interval = "0s"
            config.toml:2:12: outputs.spool.interval: must be from "1s" to "1h"
            | [outputs.spool]
            | collectors = ["sample", "sampel",
            |   "other"]
            config.toml:2:25: outputs.spool.collectors: no such collector: sampel; did you mean sample?
            config.toml:3:3: outputs.spool.collectors: no such collector: other
            | [outputs.spool]
            | fiel = "/x"
            config.toml:2:1: outputs.spool.fiel: no such setting; did you mean file?
            | [outputs.spool]
            | file = 1
            | enabled = "true"
            config.toml:2:8: outputs.spool.file: expected text, found a whole number
            config.toml:3:11: outputs.spool.enabled: expected true or false, found text
        "#]],
    );
}

#[test]
fn all_mistakes_are_reported_at_once_in_the_order_of_their_places() {
    let text = "
[collectors.sample]
tries = 0
[log]
level = 'loud'
[collectors.abacus]
[server]
µ = 1
listen = ['x']
";
    let told = match try_plan(text, &[("VITALD__LOG__FORMAT", "xml"), ("VITALD__X", "1")]) {
        Ok(_) => panic!("valid"),
        Err(mistakes) => lines(&mistakes),
    };
    expect![[r#"
        config.toml:8:1: invalid unquoted key, expected letters, numbers, `-`, `_`
    "#]]
    .assert_eq(&told);
    let text = text.replace("µ", "mu");
    let told = match try_plan(&text, &[("VITALD__LOG__FORMAT", "xml"), ("VITALD__X", "1")]) {
        Ok(_) => panic!("valid"),
        Err(mistakes) => lines(&mistakes),
    };
    expect![[r#"
        config.toml:3:9: collectors.sample.tries: must be from 1 to 10
        config.toml:5:9: log.level: expected one of "debug", "info", "warn", "error"
        config.toml:6:13: collectors.abacus: no such collector; `vitald plugins` lists them
        config.toml:8:1: server.mu: no such setting; there are: listen, admin, web_config, max_requests, max_connections, idle_timeout, max_page_bytes
        config.toml:9:11: server.listen: expected an address such as "127.0.0.1:9100", "[::]:9100", ":9100", "unix:/run/vitald/metrics.sock" or "systemd" (host names are not looked up)
        environment VITALD__X: x: no such table; there are: server, paths, scrape, log, collectors, outputs
        environment VITALD__LOG__FORMAT: log.format: expected one of "logfmt", "json"
    "#]].assert_eq(&told);
}

#[test]
fn an_empty_file_gives_the_defaults() {
    let plan = plan("", &[]);
    let socket = "127.0.0.1:9100".parse().unwrap();
    let serve = Serve::with(Admin::Local);
    let first = Listen { address: Address::Tcp { socket, dual: false }, serve };
    assert_eq!(plan.server.listen, [first]);
    assert_eq!(plan.server.max_requests, 40);
    assert_eq!(plan.server.max_connections, 512);
    assert_eq!(plan.server.idle_timeout, Duration::from_secs(75));
    assert_eq!(plan.server.max_page_bytes, 64 << 20);
    assert_eq!(plan.scrape.timeout, Duration::from_secs(10));
    assert!(plan.scrape.default_collectors && !plan.scrape.openmetrics);
    assert_eq!(plan.log.level, LogLevel::Info);
    assert_eq!(plan.log.format, LogFormat::Logfmt);
    assert_eq!(plan.roots, vitald_core::host::Roots::default());
    let states: Vec<_> =
        plan.collectors.iter().map(|c| (c.descriptor.name, c.enabled, c.max_series)).collect();
    assert_eq!(states, [("quiet", false, 100_000), ("sample", true, 100_000)]);
    assert!(!plan.outputs[0].enabled && plan.outputs[0].collectors.is_empty());
    assert_eq!(plan.outputs[0].interval, Duration::from_secs(5));
}

#[test]
fn enabled_is_the_table_then_the_collector_then_default_collectors() {
    let states = |text: &str| -> Vec<bool> {
        plan(text, &[]).collectors.iter().map(|collector| collector.enabled).collect()
    };
    assert_eq!(states(""), [false, true]);
    assert_eq!(states("[collectors.sample]\ntries = 2"), [false, true]);
    assert_eq!(states("[scrape]\ndefault_collectors = false"), [false, false]);
    assert_eq!(states("[collectors.quiet]\nenabled = true"), [true, true]);
    let text = "scrape.default_collectors = false\ncollectors.sample.enabled = true";
    assert_eq!(states(text), [false, true]);
    assert_eq!(states("[collectors.sample]\nenabled = false"), [false, false]);
}

#[test]
fn a_text_is_one_listener() {
    let of = |listen: &str| plan(&format!("[server]\nlisten = {listen}"), &[]);
    let (text, list) = (of("\"0.0.0.0:9100\""), of("[\"0.0.0.0:9100\"]"));
    assert_eq!(text.server.listen.len(), 1);
    assert_eq!(text.server.listen, list.server.listen);
    assert_eq!(text.hash, list.hash, "both mean the same");
    assert_ne!(text.hash, of("\":9100\"").hash);
}

#[test]
fn listeners_take_the_tables_rule_unless_they_have_one() {
    let plan = plan(
        "[server]
        admin = \"token:/etc/vitald/token\"
        listen = [\"[::1]:9100\", { address = \"unix:/run/m.sock\", admin = \"off\" }, \":9101\"]",
        &[],
    );
    let written: Vec<_> =
        plan.server.listen.iter().map(|l| format!("{} {}", l.address, l.serve.admin)).collect();
    let token = "token:/etc/vitald/token";
    assert_eq!(
        written,
        [format!("[::1]:9100 {token}"), "unix:/run/m.sock off".into(), format!(":9101 {token}")]
    );
}

#[test]
fn a_collectors_own_limit_and_interval_win() {
    let text = "[scrape]\nmax_series = 7\n[collectors.sample]\ninterval = \"1m30s\"";
    let all = plan(text, &[]).collectors;
    assert_eq!((all[0].max_series, all[1].max_series), (7, 7));
    assert_eq!((all[0].interval, all[1].interval), (None, Some(Duration::from_secs(90))));
    let all = plan(&format!("{text}\nmax_series = 0"), &[]).collectors;
    assert_eq!((all[0].max_series, all[1].max_series), (7, 0));
}

#[test]
fn an_output_names_its_collectors() {
    let plan = plan("[outputs.spool]\nenabled = true\ncollectors = [\"sample\"]", &[]);
    assert!(plan.outputs[0].enabled);
    assert_eq!(plan.outputs[0].collectors, ["sample"]);
}

#[test]
fn the_environment_stands_above_the_file() {
    let variables = [
        ("VITALD__SERVER__LISTEN", "127.0.0.1:1, unix:/run/m.sock"),
        ("VITALD__SCRAPE__MAX_SERIES", "5"),
        ("VITALD__SCRAPE__DEFAULT_COLLECTORS", "false"),
        ("VITALD__COLLECTORS__SAMPLE__ENABLED", "true"),
        ("VITALD__COLLECTORS__SAMPLE__FACTOR", "2"),
        ("VITALD_PORT", "tcp://10.0.0.1:9100"),
        ("VITALD_SERVICE__HOST", "x"),
        ("PATH", "/bin"),
    ];
    let text = "[server]\nlisten = [\":2\"]\nmax_requests = 3\n[scrape]\nmax_series = 4";
    let plan = plan(text, &variables);
    let listen: Vec<_> = plan.server.listen.iter().map(|l| l.address.to_string()).collect();
    assert_eq!(listen, ["127.0.0.1:1", "unix:/run/m.sock"]);
    assert_eq!(plan.server.max_requests, 3);
    assert!(plan.collectors[1].enabled && !plan.collectors[0].enabled);
    assert_eq!(plan.collectors[0].max_series, 5);
}

#[test]
fn bad_variables_are_named() {
    let told = |variables: &[(&str, &str)]| match try_plan("[log]\nlevel = \"info\"", variables) {
        Ok(_) => "valid\n".to_owned(),
        Err(mistakes) => lines(&mistakes),
    };
    let told: String = [
        &[("VITALD__X", "1")][..],
        &[("VITALD__SERVER", "1")],
        &[("VITALD__SERVER__LISTENN", ":1")],
        &[("VITALD__SERVER__LISTEN", "here")],
        &[("VITALD__SERVER__LISTEN__0", ":1")],
        &[("VITALD__SERVER__MAX_REQUESTS", "many")],
        &[("VITALD__SERVER__MAX_CONNECTIONS", "0")],
        &[("VITALD__SCRAPE__OPENMETRICS", "yes")],
        &[("VITALD__SCRAPE__TIMEOUT", "10")],
        &[("VITALD__LOG__LEVEL", "INFO")],
        &[("VITALD__COLLECTORS__SAMPEL__ENABLED", "true")],
        &[("VITALD__COLLECTORS__DISKSTATS__ENABLED", "true")],
        &[("VITALD__COLLECTORS__SAMPLE__DEVICE_EXCLUDE", "(")],
        &[("VITALD__COLLECTORS__SAMPLE__ENABLED", "maybe")],
        &[("VITALD__LOG__", "x")],
        &[("VITALD__LOG", "x"), ("VITALD__LOG__LEVEL", "info")],
        &[("VITALD__log__level", "info"), ("VITALD__LOG__LEVEL", "warn")],
        &[("VITALD__LOG__LEVEL", "warn"), ("VITALD_X", "")],
    ]
    .iter()
    .map(|variables| told(variables))
    .collect();
    expect![[r#"
        environment VITALD__X: x: no such table; there are: server, paths, scrape, log, collectors, outputs
        environment VITALD__SERVER: server: expected a table, [server], found text
        environment VITALD__SERVER__LISTENN: server.listenn: no such setting; did you mean listen?
        environment VITALD__SERVER__LISTEN: server.listen: expected an address such as "127.0.0.1:9100", "[::]:9100", ":9100", "unix:/run/vitald/metrics.sock" or "systemd" (host names are not looked up)
        environment VITALD__SERVER__LISTEN__0: server.listen: expected a list, found a table
        environment VITALD__SERVER__MAX_REQUESTS: server.max_requests: expected a whole number
        environment VITALD__SERVER__MAX_CONNECTIONS: server.max_connections: must be from 1 to 65536
        environment VITALD__SCRAPE__OPENMETRICS: scrape.openmetrics: expected true or false
        environment VITALD__SCRAPE__TIMEOUT: scrape.timeout: expected a duration such as "10s", "1m30s" or "500ms"
        environment VITALD__LOG__LEVEL: log.level: expected one of "debug", "info", "warn", "error"
        environment VITALD__COLLECTORS__SAMPEL__ENABLED: collectors.sampel: no such collector; did you mean sample?
        environment VITALD__COLLECTORS__DISKSTATS__ENABLED: collectors.diskstats: not in this build: build with --features diskstats
        environment VITALD__COLLECTORS__SAMPLE__DEVICE_EXCLUDE: collectors.sample.device_exclude: not a regular expression: unclosed group
        environment VITALD__COLLECTORS__SAMPLE__ENABLED: collectors.sample.enabled: expected true or false
        environment VITALD__LOG__: expected a name in capitals, such as VITALD__LOG__LEVEL
        environment VITALD__LOG__LEVEL: log.level: another variable sets this or a part of it
        environment VITALD__LOG: log: expected a table, [log], found text
        environment VITALD__log__level: expected a name in capitals, such as VITALD__LOG__LEVEL
        valid
    "#]].assert_eq(&told);
}

#[test]
fn a_plan_keeps_what_is_written_alone() {
    assert_eq!(plan("", &[]).written, Table::default());
    let written = plan("[collectors.sample]", &[("VITALD__LOG__LEVEL", "warn")]).written;
    assert_eq!(written.entries.keys().collect::<Vec<_>>(), ["collectors", "log"]);
    let Node::Table(log) = &written.entries["log"].node else { panic!("a table") };
    assert_eq!(log.entries.keys().collect::<Vec<_>>(), ["level"]);
}

#[test]
fn every_value_keeps_its_place_through_the_layers() {
    let text = "
[server]
listen = [\":1\"]
[collectors.sample]
names = [
  \"a\",
  \"b\"
]
";
    let plan = plan(text, &[("VITALD__COLLECTORS__SAMPLE__TRIES", "4")]);
    fn walk(table: &Table, out: &mut String) {
        for (key, value) in &table.entries {
            match &value.node {
                Node::Table(inner) => walk(inner, out),
                node => {
                    let path = table.path_of(key);
                    out.push_str(&format!("{path} = {node}  ({})\n", value.origin));
                }
            }
        }
    }
    let mut out = String::new();
    walk(&effective(&plan), &mut out);
    expect![[r#"
        collectors.quiet.enabled = false  (default)
        collectors.quiet.interval =   (default)
        collectors.quiet.max_series = 100000  (default)
        collectors.sample.device_exclude =   (default)
        collectors.sample.device_include =   (default)
        collectors.sample.enabled = true  (default)
        collectors.sample.factor = 1.5  (default)
        collectors.sample.interval =   (default)
        collectors.sample.max_series = 100000  (default)
        collectors.sample.mount_timeout = "5s"  (default)
        collectors.sample.names = ["a", "b"]  (config.toml:5:9)
        collectors.sample.slowly = false  (default)
        collectors.sample.tries = 4  (environment VITALD__COLLECTORS__SAMPLE__TRIES)
        log.format = "logfmt"  (default)
        log.level = "info"  (default)
        outputs.spool.collectors = []  (default)
        outputs.spool.enabled = false  (default)
        outputs.spool.file = "/tmp/spool"  (default)
        outputs.spool.interval = "5s"  (default)
        paths.procfs = "/proc"  (default)
        paths.rootfs = "/"  (default)
        paths.sysfs = "/sys"  (default)
        paths.udev = "/run/udev/data"  (default)
        scrape.default_collectors = true  (default)
        scrape.max_age = "100ms"  (default)
        scrape.max_series = 100000  (default)
        scrape.openmetrics = false  (default)
        scrape.timeout = "10s"  (default)
        server.admin = "local"  (default)
        server.idle_timeout = "75s"  (default)
        server.listen = [":1"]  (config.toml:3:10)
        server.max_connections = 512  (default)
        server.max_page_bytes = 67108864  (default)
        server.max_requests = 40  (default)
        server.web_config =   (default)
    "#]]
    .assert_eq(&out);
}

#[test]
fn the_hash_is_of_the_meaning() {
    let hash = |text: &str| plan(text, &[]).hash;
    let same = "[scrape]\ntimeout = \"60s\"\nmax_series = 16\n[collectors.sample]\ntries = 3";
    let other = "# Said otherwise.\n[collectors]\nsample = { mount_timeout = '5000ms' }\n\
                 [scrape]\nmax_series = 0x10\ntimeout = '1m'";
    assert_eq!(hash(same), hash(other));
    assert_eq!(hash(same).len(), 16);
    assert_eq!(hash(""), hash("[collectors.sample]\nenabled = true"));
    for different in [
        "[collectors.sample]\ntries = 4",
        "[collectors.sample]\nenabled = false",
        "[collectors.quiet]\nenabled = true",
        "[collectors.sample]\ndevice_exclude = ''",
        "[server]\nadmin = 'off'",
        "[log]\nlevel = 'warn'",
        "[paths]\nprocfs = '/host/proc'",
        "[outputs.spool]\nfile = '/x'",
        "[outputs.spool]\ninterval = '6s'",
    ] {
        assert_ne!(hash(""), hash(different), "{different}");
    }
    let written = plan("[scrape]\nmax_series = 16", &[]).hash;
    assert_eq!(plan("", &[("VITALD__SCRAPE__MAX_SERIES", "16")]).hash, written);
}

/// A configuration is checked without opening anything; what a reload needs is then opened once.
#[test]
fn a_reload_opens_a_collector_once() {
    use crate::engine::{Engine, Limits};
    use vitald_core::host::Host;

    let opened = || sample::OPENED.with(std::cell::Cell::get);
    let host = Host::new(vitald_core::host::Roots::default());
    let engine = Engine::new(host).expect("it has its thread");
    let mut before = opened();
    for (text, opens) in [
        ("[collectors.sample]\nenabled = true\n", 1),
        ("[collectors.sample]\nenabled = true\nfactor = 2.5\n", 1),
        ("[collectors.sample]\nenabled = true\nfactor = 2.5\n", 0),
    ] {
        let plan = plan(text, &[]);
        assert_eq!(opened(), before, "reading the configuration opened the collector");
        let limits = Limits { max_age: plan.scrape.max_age, timeout: plan.scrape.timeout };
        let host = Host::new(plan.roots.clone());
        let staged = engine.stage(&plan.collectors, &host, limits).expect("it opens");
        engine.swap(staged);
        assert_eq!(opened() - before, opens, "{text}");
        before = opened();
    }
}

#[test]
fn plans_can_be_compared_collector_by_collector() {
    let sample = |text: &str| plan(text, &[]).collectors.remove(1);
    let plain = sample("");
    assert!(plain.same(&sample("[collectors.sample]\ntries = 3")));
    assert!(!plain.same(&sample("[collectors.sample]\ntries = 4")));
    assert!(!plain.same(&sample("[collectors.sample]\ninterval = '5s'")));
}

#[test]
fn files_are_read_whole_and_as_text_only() {
    let folder = tempfile::tempdir().unwrap();
    let told = |name: &str, bytes: Option<&[u8]>| {
        let path = folder.path().join(name);
        if let Some(bytes) = bytes {
            std::fs::write(&path, bytes).unwrap();
        }
        let sources = Sources { file: Some(path), environment: Vec::new() };
        match load(&sources, &[], &[]) {
            Ok(_) => "valid\n".to_owned(),
            Err(mistakes) => lines(&mistakes).replace(&*folder.path().to_string_lossy(), "FOLDER"),
        }
    };
    let told = [
        told("absent.toml", None),
        told("good.toml", Some(b"[log]\nlevel = 'warn'\n")),
        told("binary.toml", Some(b"[log]\nlevel = '\xff'\n")),
        told("large.toml", Some(&[b'#'; (1 << 20) + 1])),
        told("", None),
    ]
    .concat();
    expect![[r#"
        FOLDER/absent.toml: No such file or directory (os error 2)
        valid
        FOLDER/binary.toml:2:10: this byte is not UTF-8
        FOLDER/large.toml: it is larger than 1 MiB
        FOLDER/: it is a directory; it must be a regular file
    "#]]
    .assert_eq(&told);
}

#[test]
fn without_a_file_there_are_the_defaults_and_the_environment() {
    let sources =
        Sources { file: None, environment: environment(&[("VITALD__LOG__LEVEL", "error")]) };
    let plan = load(&sources, &COLLECTORS, &[]).unwrap_or_else(|m| panic!("{}", lines(&m)));
    assert_eq!(plan.log.level, LogLevel::Error);
    assert_eq!(plan.collectors.len(), 2);
}

proptest::proptest! {
    #[test]
    fn any_text_is_a_plan_or_mistakes(text in "\\PC*", lines in "([a-z.=\\[\\]\"' 0-9\\n]|server|log|listen|level|collectors|sample){0,40}") {
        let _ = try_plan(&text, &[]);
        let _ = try_plan(&lines, &[]);
    }
}

#[test]
fn outputs_are_named_instances() {
    check(
        &[
            "[outputs.spool]\nenabled = true\n[outputs.second]\ntype = \"spool\"\nenabled = true\nfile = \"/tmp/b\"",
            "[outputs.second]\nenabled = true",
            "[outputs.spol]\nenabled = true",
            "[outputs.second]\ntype = \"spol\"",
            "[outputs.second]\ntype = 3",
            "[outputs.second]\ntype = \"spool\"\nfiel = \"x\"",
            "[outputs.spool]\nenabled = true\n[outputs.second]\ntype = \"spool\"\nenabled = true",
            "[outputs.spool]\nenabled = true\n[outputs.second]\ntype = \"spool\"",
            "[outputs.reload]\ntype = \"spool\"",
            "[outputs.sample]\ntype = \"spool\"",
            "[outputs.cpu]\ntype = \"spool\"",
            "[outputs.meminfo]\nenabled = true",
        ],
        &expect![[r#"
            | [outputs.spool]
            | enabled = true
            | [outputs.second]
            | type = "spool"
            | enabled = true
            | file = "/tmp/b"
            valid
            | [outputs.second]
            | enabled = true
            config.toml:1:10: outputs.second: no such output; a type is set by `type`, and there are: spool
            | [outputs.spol]
            | enabled = true
            config.toml:1:10: outputs.spol: no such output; did you mean spool?
            | [outputs.second]
            | type = "spol"
            config.toml:2:8: outputs.second.type: no such output; did you mean spool?
            | [outputs.second]
            | type = 3
            config.toml:2:8: outputs.second.type: expected text, found a whole number
            | [outputs.second]
            | type = "spool"
            | fiel = "x"
            config.toml:3:1: outputs.second.fiel: no such setting; did you mean file?
            | [outputs.spool]
            | enabled = true
            | [outputs.second]
            | type = "spool"
            | enabled = true
            config.toml:1:10: outputs.spool: needs the file /tmp/spool, which output second needs, too; switch one of them off
            | [outputs.spool]
            | enabled = true
            | [outputs.second]
            | type = "spool"
            valid
            | [outputs.reload]
            | type = "spool"
            config.toml:1:10: outputs.reload: /plugins/reload is where a reload is requested; give the output another name, and its type by `type`
            | [outputs.sample]
            | type = "spool"
            config.toml:1:10: outputs.sample: sample is a collector, and both would be at /plugins/sample; give the output another name, and its type by `type`
            | [outputs.cpu]
            | type = "spool"
            config.toml:1:10: outputs.cpu: cpu is a collector, and both would be at /plugins/cpu; give the output another name, and its type by `type`
            | [outputs.meminfo]
            | enabled = true
            config.toml:1:10: outputs.meminfo: meminfo is a collector, and both would be at /plugins/meminfo; give the output another name, and its type by `type`
        "#]],
    );
    let both = plan("[outputs.second]\ntype = \"spool\"\ninterval = \"7s\"", &[]);
    let names: Vec<(&str, &str)> =
        both.outputs.iter().map(|plan| (&*plan.name, plan.descriptor.name)).collect();
    assert_eq!(names, [("second", "spool"), ("spool", "spool")]);
    assert_ne!(both.hash, plan("", &[]).hash);
}

#[test]
fn a_daemon_needs_a_listener() {
    check(
        &["[server]\nlisten = []"],
        &expect![[r#"
        | [server]
        | listen = []
        config.toml:2:10: server.listen: the list is empty, so the daemon could not be reached; name at least one address, such as "127.0.0.1:9100", or leave the key out
    "#]],
    );
    let mistakes = try_plan("", &[("VITALD__SERVER__LISTEN", "")]).err().expect("no listener");
    assert!(lines(&mistakes).contains("VITALD__SERVER__LISTEN"), "{}", lines(&mistakes));
}

#[test]
fn noise_gives_a_bounded_answer() {
    let signs = "= =\n".repeat(250_000);
    let fewer_signs = "= =\n".repeat(15_000);
    let words = "no configuration\n".repeat(60_000);
    let keys: String = (0..5_000).map(|number| format!("k{number} = 1\n")).collect();
    let long = format!("[{}]\n", "k".repeat(900_000));
    let below: String = (0..1_000).map(|number| format!("k{number} = 1\n")).collect();
    let below = format!("[{}]\n{below}", "k".repeat(900_000));
    let quoted: String = (0..20_000).map(|number| format!("\".{number}\" = 1\n")).collect();
    let empty_lines = "\n".repeat(1 << 20);
    let deep = format!("[{}]\n", ["k"; 79].map(|key| key.repeat(10_000)).join("."));
    let tables: String = (0..5_000).map(|number| format!("k{number} = {{}}\n")).collect();
    let below_deep = deep.clone() + &tables;
    let below_long = format!("[{}]\n{tables}", "k".repeat(900_000));
    let texts = [signs, fewer_signs, words, keys, long, below, quoted];
    for text in texts.into_iter().chain([empty_lines, deep, below_deep, below_long]) {
        let mistakes = try_plan(&text, &[]).err().expect("it is refused");
        assert!(mistakes.len() <= 101, "{}", mistakes.len());
        assert!(lines(&mistakes).len() < 100_000, "{}", lines(&mistakes).len());
        if mistakes.len() > 2 {
            let last = &mistakes[mistakes.len() - 1].message;
            assert!(last.contains("more mistakes"), "{last}");
        }
    }
}

#[test]
fn a_configuration_has_a_bounded_number_of_values() {
    let keys = |count| (0..count).map(|number| format!("k{number} = 1\n")).collect::<String>();
    let items = |count| format!("[server]\nlisten = [{}]\n", "1, ".repeat(count));
    for (text, place, expected) in [
        (keys(12_000), "config.toml:", "more than 10000 values"),
        (items(20_000), "config.toml:2:", "more than 10000 values"),
        (keys(100_000), "config.toml:1:1:", "it has 400001 lines, words and signs"),
        (items(300_000), "config.toml:1:1:", "lines, words and signs"),
        ("[".repeat(1 << 20), "config.toml:1:1:", "lines, words and signs"),
        ("\n".repeat(70_000), "config.toml:1:1:", "it has 70001 lines, words and signs"),
    ] {
        let mistakes = try_plan(&text, &[]).err().expect("it is refused");
        assert_eq!(mistakes.len(), 1, "{}", lines(&mistakes));
        let told = lines(&mistakes);
        assert!(told.contains(place) && told.contains(expected), "{told}");
    }
}

#[test]
fn what_is_too_deep_or_too_long_for_a_setting_is_refused_at_its_beginning() {
    let expected = "no setting lies so deep or has so long a name";
    let deep = format!("[{}]\n", ["table"; 60].join("."));
    let long = format!("[log]\nlevel = \"info\"\n{} = 1\n", "k".repeat(400_000));
    for (text, place) in [(deep, "config.toml:1:248: table."), (long, "config.toml:3:1: log.kkk")] {
        let mistakes = try_plan(&text, &[]).err().expect("it is refused");
        let told = lines(&mistakes);
        assert!(told.contains(place) && told.contains(expected), "{told}");
    }
    // A variable may have 128 KiB, and each level would carry the path of those above it.
    for deep in ["__A".repeat(40_000), "__".to_owned() + &"A".repeat(120_000)] {
        let name = format!("VITALD{deep}");
        let mistakes = try_plan("", &[(&name, "1"), ("VITALD__X", "1")]).err().expect("refused");
        assert_eq!(mistakes.len(), 2);
        let told = lines(&mistakes);
        assert!(told.contains(expected) && told.len() < 1_000, "{}", told.len());
    }
}

#[test]
fn a_thousand_variables_of_junk_make_a_hundred_mistakes() {
    let junk: Vec<(String, String)> = (0..1_000)
        .map(|number| (format!("VITALD__JUNK{number}__\u{e4}"), "\u{1}x".repeat(50)))
        .collect();
    let junk: Vec<(&str, &str)> = junk.iter().map(|(name, text)| (&**name, &**text)).collect();
    let mistakes = try_plan("[log]\nlevel = \"info\"", &junk).err().expect("it is refused");
    assert_eq!(mistakes.len(), 101);
    assert!(mistakes[100].message.contains("900 more mistakes"), "{}", mistakes[100].message);
    assert!(lines(&mistakes).len() < 20_000);
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(256))]

    /// Whatever the text, the answer is a plan or a bounded list of mistakes.
    #[test]
    fn no_text_is_worse_than_refused(text in proptest::collection::vec(junk(), 0..600)) {
        if let Err(mistakes) = try_plan(&text.concat(), &[]) {
            assert!(!mistakes.is_empty() && mistakes.len() <= 101, "{}", mistakes.len());
            assert!(lines(&mistakes).len() < 100_000);
        }
    }
}

/// A piece of a text: of what configurations are made, and anything.
fn junk() -> impl proptest::strategy::Strategy<Value = String> {
    use proptest::prelude::*;
    const PIECES: &[&str] = &[
        "[",
        "]",
        "[[",
        "{",
        "}",
        "=",
        ",",
        ".",
        "\n",
        "\"",
        "'",
        "\"\"\"",
        "#",
        "\\",
        "\0",
        "server",
        "log",
        "collectors",
        "sample",
        "enabled",
        "listen",
        "level",
        "true",
        "1e999",
        "-9",
        "0x",
        "9999999999999999999",
        "1979-05-27",
        "info",
        " ",
    ];
    prop_oneof![
        8 => proptest::sample::select(PIECES).prop_map(str::to_owned),
        1 => any::<char>().prop_map(String::from),
    ]
}

#[test]
fn a_broken_text_is_searched_for_a_while_and_says_so() {
    let rest = "# nothing\n".repeat(10_000);
    let mistakes = try_plan(&format!("a = yes\nb = no\n{rest}c = maybe\n"), &[]);
    let told = lines(&mistakes.err().expect("it is refused"));
    let told: Vec<&str> = told.lines().collect();
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(told[0].starts_with("config.toml:1:5: ") && told[1].starts_with("config.toml:2:5: "));
    assert!(told[2].contains("not read beyond this place"), "{told:?}");
}
