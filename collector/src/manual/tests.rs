//! The texts of the manual, on a collector and an output made for the purpose.

use super::*;
use crate::config;
use expect_test::expect;
use vitald_core::collector::Descriptor;
use vitald_core::output::OutputDescriptor;
use vitald_core::settings::{Mistake, Origin};

mod sample {
    use vitald_core::prelude::*;

    families! {
        /// Samples of the test, by device.
        SAMPLES: counter = "node_samples_total" [device, mode];
        /// How it is.
        STATE: gauge = "node_sample_state";
    }

    settings! {
        /// Devices to leave out, by name: a text that is long enough to need a second line, for
        /// which it says this.
        device_exclude: Pattern = r"^(z?ram|loop)\d+$";
        /// Devices to take, by name.
        device_include: Option<Pattern> = UNSET;
        /// How long a mount may take to answer.
        mount_timeout: Duration = "5s" in "1ms".."1h";
        /// Names to read.
        names: Vec<String> = ["one", "two"];
    }

    pub(super) static DESCRIPTOR: vitald_core::collector::Descriptor =
        vitald_core::collector::Descriptor::of::<Sample>();

    struct Sample;

    impl Collector for Sample {
        const NAME: &'static str = "sample";
        const SUMMARY: &'static str = "Samples for tests";
        const MAY_BLOCK: bool = true;
        const MAY_BLOCK_WITH: Option<&'static str> = Some("names");
        const FAMILIES: &'static [FamilyInfo] = FAMILIES;
        const PATTERNS: &'static [FamilyPattern] = &[FamilyPattern {
            name: "node_sample_*",
            kinds: &[Kind::Gauge, Kind::Untyped],
            help: "What the kernel names.",
        }];
        const SOURCES: &'static [&'static str] = &["proc/sample", "sys/class/sample/*/state"];
        const CAPABILITIES: &'static [&'static str] = &["CAP_SYS_ADMIN"];
        const LACKS_WITHOUT: &'static str = "the state";
        type Settings = Settings;

        fn open(_settings: Settings, _host: &Host) -> Result<Self> {
            Ok(Sample)
        }

        fn collect(&mut self, batch: &mut Batch) -> Result<()> {
            let _ = &SAMPLES;
            batch.value(&STATE, 1.0);
            Ok(())
        }
    }
}

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

        fn open(settings: Settings, _context: &Context) -> Result<Self, OutputError> {
            assert!(!settings.file.is_empty());
            Ok(Spool)
        }

        fn send(&mut self, _snapshot: &Snapshot) -> Result<(), OutputError> {
            Ok(())
        }
    }
}

const COLLECTORS: [&Descriptor; 1] = [&sample::DESCRIPTOR];
const OUTPUTS: [&OutputDescriptor; 1] = [&spool::DESCRIPTOR];

#[test]
fn the_reference_shows_every_setting() {
    expect![[r##"
        # The configuration of vitald. Lines that begin with # and a space explain; those that begin with #
        # alone are settings with their defaults: take the # away to change one. The environment stands
        # above this file: VITALD__SERVER__MAX_REQUESTS is max_requests of [server].
        # vitald check says what is wrong in this file, vitald reload makes the running daemon read it
        # again. Made by vitald config from what is compiled in.

        # Where the daemon listens, and its limits.
        [server]
        # Where to listen: "127.0.0.1:9100", "[::]:9100", ":9100" for every address of this host,
        # "unix:/run/vitald/metrics.sock", "systemd" for every socket that systemd hands over, or a table
        # such as { address = ":9100", admin = "off" }. One text is a list of one. More keys of the table:
        # token_file = "/path", or "credential:NAME" of systemd's, with the bearer token that clients show
        # to read more than /healthz and /readyz; of a unix socket mode = "0660" (else "0600"), owner and
        # group of its file, whose writers may connect.
        #listen = ["127.0.0.1:9100"]
        # Who may use the admin routes of a listener that has no admin of its own: "off" for no client,
        # "local" for processes of root and of the daemon's own user (over loopback or a unix socket),
        # "token:/path" or "token:credential:NAME" for clients that show the token in this file.
        #admin = "local"
        # The file with TLS, client certificates, passwords, headers and a limit of rate, in the format of
        # node_exporter's --web.config.file, for each listener without a web_config of its own that is no
        # unix socket, of systemd's neither: an absolute path, or "off". It is read again when it or a file
        # that it names has changed.
        # web_config = ... (path; not set)
        # Requests served at one time. More wait for their turn, and are answered 503 if it has not come in
        # half a second. 0 is no limit. What one client has beyond half of them does not count against
        # others.
        #max_requests = 40
        # Connections open at one time. For one more that one ends by which least is lost: of a client with
        # more than half of them, one that has asked nothing yet, one that takes its answer slowly. There
        # are fewer where there are few open files, or a control group has little memory: a quarter of it,
        # at 32 KiB each, which the log at start and /plugins tell.
        # From 1 to 65536.
        #max_connections = 512
        # How long a connection may stay idle, or take to send the head of a request. Longer than the scrape
        # interval, or every scrape connects anew.
        # From "1s" to "1h".
        #idle_timeout = "75s"
        # Bytes that pages may take while they are sent. For one more the slowest readers are cut; if that
        # does not help in time, it is answered 503. A control group with a limit of memory gives a quarter
        # of it at most.
        # From 1048576 to 1099511627776.
        #max_page_bytes = 67108864

        # Where the host's file systems are mounted, as this process sees them.
        [paths]
        # The host's procfs.
        #procfs = "/proc"
        # The host's sysfs.
        #sysfs = "/sys"
        # The host's root directory, in front of every mount point; a container has it mounted somewhere
        # such as /host.
        #rootfs = "/"
        # The directory of udev's device data base.
        #udev = "/run/udev/data"

        # How collections are made and shown.
        [scrape]
        # The longest a collection may take. A scraper that waits less says so in its request, and is
        # answered before it gives up.
        # From "100ms" to "1h".
        #timeout = "10s"
        # Whether collectors run that are on by default and that no table below switches on or off. false
        # leaves only those with enabled = true.
        #default_collectors = true
        # Whether OpenMetrics is served to those who ask for it; else everyone gets the Prometheus text
        # format.
        #openmetrics = false
        # How long before a request a collection may have begun whose results answer it too. It lets
        # scrapers that come together share one collection.
        # From "0s" to "10s".
        #max_age = "100ms"
        # The most samples a run of one collector may give; the rest is dropped and counted. 0 is no limit.
        #max_series = 100000

        # How the daemon logs.
        [log]
        # The least severe level that is written: "debug", "info", "warn" or "error".
        #level = "info"
        # How lines are written: "logfmt" (key=value pairs) or "json".
        #format = "logfmt"

        # The collectors. Each setting begins with the name of its collector: cpu.guest here is guest in a
        # table [collectors.cpu]. These settings are common to all, and not repeated below:
        #   NAME.enabled: Whether it runs.
        #   NAME.interval: How often it is refreshed in the background; a scrape then gets the last result.
        #   Without one it runs when a client asks.
        #   NAME.max_series: The most samples a run may give; max_series of [scrape] unless set.
        [collectors]

        # Samples for tests.
        # Reads proc/sample, sys/class/sample/*/state.
        # Needs CAP_SYS_ADMIN, and lacks the state without.
        #sample.enabled = true
        # Devices to leave out, by name: a text that is long enough to need a second line, for which it says
        # this.
        #sample.device_exclude = '^(z?ram|loop)\d+$'
        # Devices to take, by name.
        # sample.device_include = ... (regular expression; not set)
        # How long a mount may take to answer.
        # From "1ms" to "1h".
        #sample.mount_timeout = "5s"
        # Names to read.
        #sample.names = ["one", "two"]

        # The outputs. Each setting begins with the name of its output.
        [outputs]

        # Writes to a file.
        # Whether it runs.
        #spool.enabled = false
        # How often it is given a snapshot.
        # From "1s" to "1h".
        #spool.interval = "5s"
        # The collectors it is given; an empty list is all that are on.
        #spool.collectors = []
        # The file to write.
        #spool.file = "/tmp/spool"
    "##]].assert_eq(&config_reference(&COLLECTORS, &OUTPUTS));
}

#[test]
fn the_reference_is_valid_for_every_build_and_changes_nothing() {
    let text = config_reference(&COLLECTORS, &OUTPUTS);
    let hash = |text: &str| {
        config::load_text("config.toml", text, &[], &COLLECTORS, &OUTPUTS)
            .unwrap_or_else(|mistakes| panic!("{mistakes:?}"))
            .hash
    };
    assert_eq!(hash(&text), hash(""));
    assert!(config::load_text("config.toml", &text, &[], &[], &[]).is_ok());
    // Every line that shows a default is valid when its # is taken away, and changes nothing.
    let uncommented: String = text
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(setting) if !setting.starts_with(' ') => format!("{setting}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    assert_eq!(hash(&uncommented), hash(""));
    assert!(uncommented.contains("\nsample.enabled = true\n"));
    assert!(text.lines().filter(|line| line.starts_with("# ")).all(|line| line.len() <= 100));
}

/// Every value that was written in a file: its path, and the line that it is in.
fn written(table: &Table) -> Vec<(String, u32)> {
    let values = table.entries.iter().flat_map(|(key, value)| match (&value.node, &value.origin) {
        (Node::Table(inner), _) => written(inner),
        (_, Origin::File { line, .. }) => vec![(table.path_of(key), *line)],
        _ => Vec::new(),
    });
    values.collect()
}

/// The lines of the shipped configuration with these collectors, and for each setting the number of its
/// line and its path.
fn shipped(collectors: &[&'static Descriptor]) -> (Vec<String>, Vec<(usize, String)>) {
    let text = config_reference(collectors, &outputs());
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let mut table = "";
    let mut settings = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        if let Some(name) = line.strip_prefix('[') {
            table = name.trim_end_matches(']');
        } else if let Some((key, _)) = line.split_once(" = ")
            && let Some(key) = key.strip_prefix('#').filter(|key| !key.starts_with(' '))
        {
            settings.push((at, format!("{table}.{key}")));
        }
    }
    (lines, settings)
}

fn collectors() -> Vec<&'static Descriptor> {
    crate::collectors(&[vitald_plugins::ROLL]).expect("the roll")
}

fn outputs() -> Vec<&'static OutputDescriptor> {
    crate::registered_outputs().expect("the outputs")
}

/// The settings that these lines make, or all mistakes.
fn effect(
    lines: &[String],
    collectors: &[&'static Descriptor],
) -> Result<Vec<(String, u32)>, Vec<Mistake>> {
    let text = lines.join("\n");
    let plan = config::load_text("config.toml", &text, &[], collectors, &outputs())?;
    Ok(written(&config::effective(&plan)))
}

fn is_at(mistake: &Mistake, at: usize) -> bool {
    matches!(mistake.origin, Origin::File { line, .. } if line as usize == at + 1)
}

#[test]
fn a_line_without_its_number_sign_sets_what_it_says_and_nothing_else() {
    let collectors = collectors();
    let (lines, settings) = shipped(&collectors);
    assert!(settings.iter().any(|(_, path)| path == "collectors.cpu.guest"), "{settings:?}");
    assert!(settings.iter().any(|(_, path)| path == "outputs.console.interval"), "{settings:?}");
    for (at, line) in lines.iter().enumerate().filter(|(_, line)| line.starts_with('#')) {
        let mut changed = lines.clone();
        changed[at] = line[1..].to_owned();
        match (effect(&changed, &collectors), settings.iter().find(|(setting, _)| *setting == at)) {
            (Ok(effect), Some((_, path))) => {
                assert_eq!(effect, [(path.clone(), at as u32 + 1)], "{line}");
            }
            (Err(mistakes), None) => {
                assert!(mistakes.iter().any(|mistake| is_at(mistake, at)), "{line}: {mistakes:?}");
            }
            (effect, _) => panic!("{line}: {effect:?}"),
        }
    }
}

/// A header is lost, or one for a collector alone is written above everything, above its settings or at
/// the end: what a line then sets is what it says, or it is refused by its name.
#[test]
fn a_header_too_many_or_too_few_switches_nothing_else() {
    // Each header is tried with each line, so not with all collectors.
    let mut collectors = collectors();
    collectors.retain(|descriptor| ["cpu", "filefd", "netdev"].contains(&descriptor.name));
    let (lines, settings) = shipped(&collectors);
    let mut slips = Vec::new();
    for (at, line) in lines.iter().enumerate().filter(|(_, line)| line.starts_with('[')) {
        let mut changed = lines.clone();
        changed[at] = format!("#{line}");
        slips.push((format!("without {line}"), changed, usize::MAX));
    }
    for (at, path) in settings.iter().filter(|(_, path)| path.ends_with(".enabled")) {
        let header = format!("[{}]", path.trim_end_matches(".enabled"));
        for place in [0, *at, lines.len()] {
            let mut changed = lines.clone();
            changed.insert(place, header.clone());
            slips.push((format!("{header} in line {}", place + 1), changed, place));
        }
    }
    // A header is a line for each of the tables, and of each collector one is put in three places.
    assert!(slips.len() > 3 * collectors.len() && settings.len() > 10, "{}", slips.len());
    for (slip, slipped, place) in &slips {
        for (at, path) in &settings {
            let at = if at >= place { at + 1 } else { *at };
            let mut changed = slipped.clone();
            changed[at].remove(0);
            let key = changed[at].split_once(" = ").map(|(key, _)| key.to_owned()).unwrap();
            match effect(&changed, &collectors) {
                Ok(effect) => assert_eq!(effect, [(path.clone(), at as u32 + 1)], "{slip}"),
                Err(mistakes) => {
                    let names = |mistake: &Mistake| {
                        // A key is refused as far as it is unknown.
                        let known = mistake.path.rsplit('.').next().unwrap_or_default();
                        let is_refused =
                            is_at(mistake, at) && key.split('.').any(|part| part == known);
                        let (name, _) = key.split_once('.').unwrap_or_default();
                        let is_twice = mistake.message.contains(&format!("the table {name} "))
                            && (is_at(mistake, at) || is_at(mistake, *place));
                        is_refused || is_twice
                    };
                    assert!(mistakes.iter().any(names), "{slip}, {key}: {mistakes:?}");
                }
            }
        }
    }
}

#[test]
fn pages() {
    let page = metrics_markdown(&COLLECTORS);
    let (collectors, own) = page.split_once("\n## The daemon itself\n").unwrap();
    for line in [
        "| `vitald_collector_state` | gauge |  | `collector`, `state` | 1 for the state that the collector is in; there is one series for each collector. |",
        "| `process_open_fds` | gauge |",
    ] {
        assert!(own.contains(line), "{own}");
    }
    expect![[r#"
        # Metrics

        Made from what the collectors declare; do not edit.

        What each asks of the kernel in a scrape is [counted](requests.md). The daemon's own metrics are [at the end](#the-daemon-itself).

        | collector | on by default | privileges | what |
        |---|---|---|---|
        | [sample](#sample) | yes | `CAP_SYS_ADMIN` | Samples for tests |

        ## sample

        Samples for tests.

        Reads `proc/sample`, `sys/class/sample/*/state`. Needs `CAP_SYS_ADMIN`, and lacks the state without. With `names` a read may block, so it has a thread of its own. On by default. [Settings](config.md#collectorssample).

        | metric | type | unit | labels | help |
        |---|---|---|---|---|
        | `node_samples_total` | counter |  | `device`, `mode` | Samples of the test, by device. |
        | `node_sample_state` | gauge |  |  | How it is. |

        | names made at run time | type | what |
        |---|---|---|
        | `node_sample_*` | gauge or untyped | What the kernel names. |
    "#]].assert_eq(collectors);
    let page = config_markdown(&COLLECTORS, &OUTPUTS);
    let own = page.split_once("## \\[collectors.NAME\\]").unwrap().1;
    expect![[r#"


        The settings that every collector has.

        | key | type | default | what |
        |---|---|---|---|
        | `enabled` | true or false | not set | Whether it runs. |
        | `interval` | duration from "1s" to "1h" | not set | How often it is refreshed in the background; a scrape then gets the last result. Without one it runs when a client asks. |
        | `max_series` | whole number | not set | The most samples a run may give; `max_series` of `[scrape]` unless set. |

        ## \[collectors.sample\]

        Samples for tests.
        Its metrics are [here](metrics.md#sample).

        | key | type | default | what |
        |---|---|---|---|
        | `device_exclude` | regular expression | `'^(z?ram\|loop)\d+$'` | Devices to leave out, by name: a text that is long enough to need a second line, for which it says this. |
        | `device_include` | regular expression | not set | Devices to take, by name. |
        | `mount_timeout` | duration from "1ms" to "1h" | `"5s"` | How long a mount may take to answer. |
        | `names` | list | `["one", "two"]` | Names to read. |

        ## \[outputs.NAME\]

        The settings that every output has.

        | key | type | default | what |
        |---|---|---|---|
        | `type` | text | not set | The type of the output; NAME itself unless it is set. It makes a second output of one type possible. |
        | `enabled` | true or false | `false` | Whether it runs. |
        | `interval` | duration from "1s" to "1h" | `"5s"` | How often it is given a snapshot. |
        | `collectors` | list | `[]` | The collectors it is given; an empty list is all that are on. |

        ## \[outputs.spool\]

        Writes to a file.

        | key | type | default | what |
        |---|---|---|---|
        | `file` | text | `"/tmp/spool"` | The file to write. |
    "#]].assert_eq(own);
}

#[test]
fn the_effective_configuration_is_one_of_equal_meaning() {
    let plan = config::load_text(
        "config.toml",
        "[log]\nlevel = 'warn'\n[collectors.sample]\nnames = ['a']",
        &[("VITALD__SERVER__MAX_REQUESTS".to_owned(), "3".to_owned())],
        &COLLECTORS,
        &OUTPUTS,
    )
    .unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
    let text = toml(&config::effective(&plan), |_, _| true);
    expect![[r#"
        [collectors.sample]
        device_exclude = '^(z?ram|loop)\d+$'
        enabled = true
        max_series = 100000
        mount_timeout = "5s"
        names = ["a"]

        [log]
        format = "logfmt"
        level = "warn"

        [outputs.spool]
        collectors = []
        enabled = false
        file = "/tmp/spool"
        interval = "5s"

        [paths]
        procfs = "/proc"
        rootfs = "/"
        sysfs = "/sys"
        udev = "/run/udev/data"

        [scrape]
        default_collectors = true
        max_age = "100ms"
        max_series = 100000
        openmetrics = false
        timeout = "10s"

        [server]
        admin = "local"
        idle_timeout = "75s"
        listen = ["127.0.0.1:9100"]
        max_connections = 512
        max_page_bytes = 67108864
        max_requests = 3
    "#]]
    .assert_eq(&text);
    let again = config::load_text("config.toml", &text, &[], &COLLECTORS, &OUTPUTS);
    assert_eq!(again.unwrap_or_else(|mistakes| panic!("{mistakes:?}")).hash, plan.hash);
}

#[test]
fn a_dashboard_has_a_row_for_each_collector() {
    let text = dashboard(&COLLECTORS);
    serde_json::from_str::<serde_json::Value>(&text).expect("JSON");
    // What is said of the daemon itself is the same for all.
    let (own, _) = text
        .split_once(",\n{\"collapsed\":true,\"gridPos\":{\"h\":1,\"w\":24,\"x\":0,\"y\":1}")
        .expect("a second row");
    expect![[r#"
        {"description":"Generated from the charts of vitald's collectors; hosts of node_exporter are shown, too.","editable":true,"graphTooltip":1,"id":null,"refresh":"30s","schemaVersion":39,"tags":["vitald"],"templating":{"list":[{"label":"Data source","name":"datasource","query":"prometheus","type":"datasource"},{"datasource":{"type":"prometheus","uid":"${datasource}"},"label":"Job","name":"job","query":{"query":"label_values(node_exporter_build_info, job)","refId":"job"},"refresh":2,"sort":1,"type":"query"},{"datasource":{"type":"prometheus","uid":"${datasource}"},"label":"Host","name":"instance","query":{"query":"label_values(node_exporter_build_info{job=\"$job\"}, instance)","refId":"instance"},"refresh":2,"sort":1,"type":"query"}]},"time":{"from":"now-1h","to":"now"},"timezone":"browser","title":"Hosts","uid":"vitald-hosts","panels":[
        {"collapsed":true,"gridPos":{"h":1,"w":24,"x":0,"y":0},"id":1,"title":"sample: Samples for tests","type":"row","panels":[
        {"datasource":{"type":"prometheus","uid":"${datasource}"},"fieldConfig":{"defaults":{"custom":{"fillOpacity":10,"lineWidth":1,"showPoints":"never"},"unit":"cps"},"overrides":[]},"gridPos":{"h":8,"w":12,"x":0,"y":1},"id":2,"options":{"legend":{"calcs":[],"displayMode":"list","placement":"bottom","showLegend":true},"tooltip":{"mode":"multi","sort":"desc"}},"targets":[{"expr":"sum by (device, mode) (rate(node_samples_total{job=\"$job\",instance=\"$instance\"}[$__rate_interval]))","legendFormat":"{{device}} {{mode}} samples","refId":"A"}],"title":"samples","type":"timeseries"},
        {"datasource":{"type":"prometheus","uid":"${datasource}"},"fieldConfig":{"defaults":{"custom":{"fillOpacity":10,"lineWidth":1,"showPoints":"never"},"unit":"short"},"overrides":[]},"gridPos":{"h":8,"w":12,"x":12,"y":1},"id":3,"options":{"legend":{"calcs":[],"displayMode":"list","placement":"bottom","showLegend":true},"tooltip":{"mode":"multi","sort":"desc"}},"targets":[{"expr":"sum(node_sample_state{job=\"$job\",instance=\"$instance\"})","legendFormat":"state","refId":"A"}],"title":"state","type":"timeseries"},
        {"datasource":{"type":"prometheus","uid":"${datasource}"},"fieldConfig":{"defaults":{"custom":{"fillOpacity":10,"lineWidth":1,"showPoints":"never"},"unit":"short"},"overrides":[]},"gridPos":{"h":8,"w":12,"x":0,"y":9},"id":4,"options":{"legend":{"calcs":[],"displayMode":"list","placement":"bottom","showLegend":true},"tooltip":{"mode":"multi","sort":"desc"}},"targets":[{"expr":"{__name__=~\"node_sample_.+\",job=\"$job\",instance=\"$instance\"}","refId":"A"}],"title":"node_sample_*","type":"timeseries"}]}"#]].assert_eq(own);
}

/// The requests to the formatter that a page has, without those that man(7) has.
fn unknown_requests(page: &str) -> Vec<&str> {
    let requests = page.lines().filter(|line| line.starts_with(['.', '\'']));
    let known = [".TH ", ".SH ", ".SS ", ".TP", ".PP", ".ad l"];
    requests.filter(|line| !known.iter().any(|request| line.starts_with(request))).collect()
}

#[test]
fn the_man_page_of_the_configuration_has_every_setting() {
    let page = config_man(&COLLECTORS, &OUTPUTS, "2026-01-31");
    assert!(page.starts_with(".TH \"VITALD.TOML\" 5 \"2026-01-31\" \"vitald "), "{page}");
    assert_eq!(unknown_requests(&page), [""; 0]);
    for setting in ["max_requests", "timeout", "device_exclude", "interval"] {
        assert!(page.contains(&format!(".TP\n\\fB{setting}\\fR\n(")), "{setting}: {page}");
    }
    // Signs that are typed stay what they are.
    let pattern = r"default: \fB\(aq\(ha(z?ram|loop)\ed+$\(aq\fR) Devices to leave out";
    assert!(page.contains(pattern), "{pattern}: {page}");
}

#[test]
fn the_man_page_has_every_command_and_option() {
    let command = clap::Command::new("vitald")
        .about("Serves")
        .arg(clap::Arg::new("config").short('c').long("config").value_name("FILE").help("'d or .d"))
        .subcommand(
            clap::Command::new("once").about("Print").after_help("First.\n\n'Then'.").args([
                clap::Arg::new("format")
                    .long("format")
                    .value_name("FORMAT")
                    .value_parser(["a", "b"])
                    .default_value("a"),
                clap::Arg::new("quiet")
                    .long("quiet")
                    .help("Nothing")
                    .action(clap::ArgAction::SetTrue),
                clap::Arg::new("name").value_name("NAME").help(".d, or another"),
            ]),
        );
    let page = command_man(&command, "2026-01-31");
    assert_eq!(unknown_requests(&page), [""; 0]);
    for part in [
        ".TP\n\\fB\\-c\\fR, \\fB\\-\\-config\\fR FILE\n\\(aqd or .d.\n",
        ".SS \"vitald once [OPTIONS] [NAME]\"\nPrint.\n",
        ".TP\n\\fB\\-\\-format\\fR FORMAT\nOne of \\fBa\\fR, \\fBb\\fR. By default \\fBa\\fR.\n",
        ".TP\nNAME\n\\&.d, or another.\n",
        ".PP\nFirst.\n.PP\n\\(aqThen\\(aq.\n",
    ] {
        assert!(page.contains(part), "{part}:\n{page}");
    }
    assert!(page.contains("\\fB\\-\\-quiet\\fR\nNothing.\n") && !page.contains("false"), "{page}");
}
