//! The command line, as people and scripts meet it.

mod exposition_reader;
mod harness;

use expect_test::{Expect, expect};
use harness::Daemon;
use nix::pty::{OpenptyResult, Winsize, openpty};
use std::collections::BTreeSet;
use std::fs::{File, Permissions};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn vitald(arguments: &[&str]) -> Command {
    let mut command = Command::new(harness::binary());
    command.args(arguments);
    command
}

/// Status, standard output and standard error.
fn run(arguments: &[&str]) -> (i32, String, String) {
    harness::output(&mut vitald(arguments))
}

/// What it writes to a terminal of so many columns.
fn on_a_terminal(columns: u16, arguments: &[&str]) -> String {
    let size = Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    let OpenptyResult { master, slave } = openpty(Some(&size), None).expect("a terminal");
    let mut child = vitald(arguments).stdout(slave).spawn().expect("vitald");
    let mut written = Vec::new();
    // It ends with an error when nobody has the other side any more (pty(7)).
    let _ = File::from(master).read_to_end(&mut written);
    assert!(child.wait().expect("its end").success());
    String::from_utf8(written).expect("text").replace('\r', "")
}

/// What it prints when all is well: nothing on standard error.
fn prints(arguments: &[&str]) -> String {
    let (status, out, err) = run(arguments);
    assert_eq!((status, &*err), (0, ""), "{arguments:?}: {out}");
    out
}

/// What is compiled in, as `--version` says.
fn names() -> Vec<String> {
    let version = prints(&["--version"]);
    let roll = version.lines().next().expect("a line");
    let (_, names) = roll.split_once("collectors: ").expect("the roll");
    names.trim_end_matches(')').split(' ').map(str::to_owned).collect()
}

fn file(directory: &Path, text: &str) -> String {
    let path: PathBuf = directory.join("vitald.toml");
    std::fs::write(&path, text).expect("a file");
    path.display().to_string()
}

/// A socket in a directory, as `--to` names it; a file may name it before its daemon has started.
fn socket(directory: &Path) -> String {
    format!("unix:{}", directory.join("vitald.sock").display())
}

fn help(arguments: &[&str], expected: &Expect) {
    let text = prints(&[arguments, &["--help"]].concat());
    expected.assert_eq(&text);
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{arguments:?}: {text}");
    assert_eq!(prints(&[arguments, &["-h"]].concat()), text, "{arguments:?}");
}

#[test]
fn every_command_has_a_help_that_reads_well() {
    help(
        &[],
        &expect![[r#"
            A host-metrics daemon: serves what the kernel knows to Prometheus, and is reconfigured while it runs

            Usage: vitald [OPTIONS]
                   vitald <COMMAND>

            Commands:
              run          Run the daemon
              check        Say whether a configuration is valid, and what would run
              compare      Compare with the metrics of a program that runs, such as node_exporter
              once         Collect once and print
              plugins      List what is compiled in, with its state and cost on this host
              metrics      Print the reference of all metrics, as Markdown
              config       Print the commented default configuration, or the effective one
              reload       Make the running daemon read its configuration again
              health       Ask the running daemon whether it is well; for container health checks
              migrate      Print the configuration that is equal to node_exporter's flags
              completions  Print the completions of a shell
              help         Print this message or the help of the given subcommand(s)

            Options:
              -c, --config <FILE>         The configuration; without one the built-in defaults hold
                  --console[=<INTERVAL>]  Show on standard output what it sees, every 2 s unless set
              -h, --help                  Print help
              -V, --version               Print version

            Without a command it runs the daemon. Under the name node_exporter, or as
            `vitald node_exporter FLAGS...`, it takes node_exporter's flags and serves what
            node_exporter would.
        "#]],
    );
    help(
        &["run"],
        &expect![[r#"
            Run the daemon

            Usage: vitald run [OPTIONS]

            Options:
              -c, --config <FILE>         The configuration; without one the built-in defaults hold
                  --console[=<INTERVAL>]  Show on standard output what it sees, every 2 s unless set
              -h, --help                  Print help
        "#]],
    );
    help(
        &["check"],
        &expect![[r#"
        Say whether a configuration is valid, and what would run

        Usage: vitald check [OPTIONS] [FILE]

        Arguments:
          [FILE]  The configuration to check

        Options:
          -c, --config <FILE>      The configuration; without one the built-in defaults hold
              --running            Also ask the running daemon what a reload of its own file would change
              --to <ADDRESS>       Its listener: HOST:PORT or unix:/PATH, no TLS [default: as configured]
              --token-file <FILE>  The file with the bearer token of the daemon's listener
          -h, --help               Print help
    "#]],
    );
    help(
        &["compare"],
        &expect![[r#"
        Compare with the metrics of a program that runs, such as node_exporter

        Usage: vitald compare [OPTIONS] <URL> [-- <FLAGS>...]

        Arguments:
          <URL>       Where the program listens, such as http://localhost:9100/metrics, or unix:/PATH
          [FLAGS]...  The flags of node_exporter to collect by, in place of a configuration

        Options:
          -c, --config <FILE>        The configuration; without one the built-in defaults hold
              --with <URL>           A vitald that runs, in place of collections by this command
              --unit <FILE>          The unit of node_exporter, or the file of its ARGS, to collect by
              --for <DURATION>       Go on for so long, such as 10m [default: a few rounds]
              --interval <DURATION>  The time from one round to the next [default: 1s, with --for 10s]
              --timeout <DURATION>   The longest that a page may take [default: 10s]
              --ignore <REGEX>       Leave out series it matches anywhere (^, $ anchor); can be repeated
              --tolerance <SHARE>    By how much of its value a gauge may differ [default: 0.01]
              --format <FORMAT>      In which form [default: text] [possible values: text, json]
          -h, --help                 Print help

        Each round takes three pages: one of the program, one of vitald, and one of the program
        again. Equal are the same series and types, counters between the two pages, and gauges
        that agree in one round at least. Help texts are not compared, nor what a program shows
        of itself. It needs no root; run it as the user that vitald will be, for what that user
        may see.

        Status: 0 if they are equal, 1 if they differ, 2 if they could not be compared.
    "#]],
    );
    help(
        &["once"],
        &expect![[r#"
        Collect once and print

        Usage: vitald once [OPTIONS] [COLLECTOR]...

        Arguments:
          [COLLECTOR]...  Only these, even those the configuration leaves off [see: vitald plugins]

        Options:
          -c, --config <FILE>    The configuration; without one the built-in defaults hold
              --format <FORMAT>  In which form [default: table] [possible values: table, text, json]
          -h, --help             Print help
    "#]],
    );
    help(
        &["plugins"],
        &expect![[r#"
        List what is compiled in, with its state and cost on this host

        Usage: vitald plugins [OPTIONS]

        Options:
          -c, --config <FILE>  The configuration; without one the built-in defaults hold
              --systemd        Print a drop-in for vitald.service with what the collectors that are on need
          -h, --help           Print help
    "#]],
    );
    help(
        &["metrics"],
        &expect![[r#"
        Print the reference of all metrics, as Markdown

        Usage: vitald metrics

        Options:
          -h, --help  Print help
    "#]],
    );
    help(
        &["config"],
        &expect![[r#"
        Print the commented default configuration, or the effective one

        Usage: vitald config [OPTIONS]

        Options:
          -c, --config <FILE>  The configuration; without one the built-in defaults hold
              --effective      Every value in force, and where it comes from
          -h, --help           Print help
    "#]],
    );
    help(
        &["reload"],
        &expect![[r#"
        Make the running daemon read its configuration again

        Usage: vitald reload [OPTIONS]

        Options:
          -c, --config <FILE>      The file that it reads; without one the service is asked first
              --dry-run            Only say what would change
              --to <ADDRESS>       Its listener: HOST:PORT or unix:/PATH, no TLS [default: as configured]
              --token-file <FILE>  The file with the bearer token of the daemon's listener
          -h, --help               Print help
    "#]],
    );
    help(
        &["health"],
        &expect![[r#"
        Ask the running daemon whether it is well; for container health checks

        Usage: vitald health [OPTIONS]

        Options:
          -c, --config <FILE>      The configuration; without one the built-in defaults hold
              --ready              Ask whether it is ready to be scraped, not only alive
              --to <ADDRESS>       Its listener: HOST:PORT or unix:/PATH, no TLS [default: as configured]
              --token-file <FILE>  The file with the bearer token of the daemon's listener
          -h, --help               Print help
    "#]],
    );
    help(
        &["migrate"],
        &expect![[r#"
        Print the configuration that is equal to node_exporter's flags

        Usage: vitald migrate [--unit FILE | -- FLAGS...]

        Arguments:
          [FLAGS]...  Its flags, after two dashes

        Options:
              --unit <FILE>  Its systemd unit, or the file with its ARGS, as in Debian's /etc/default
          -h, --help         Print help
    "#]],
    );
    help(
        &["completions"],
        &expect![[r#"
        Print the completions of a shell

        Usage: vitald completions <SHELL>

        Arguments:
          <SHELL>  [possible values: bash, elvish, fish, powershell, zsh]

        Options:
          -h, --help  Print help
    "#]],
    );
}

#[test]
fn no_command_is_without_a_test_of_its_help() {
    let text = prints(&["--help"]);
    let commands = text.lines().skip_while(|line| *line != "Commands:").skip(1);
    let commands: Vec<&str> = commands
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert!(commands.contains(&"run") && commands.len() > 8, "{commands:?}");
    let tested = include_str!("command_line.rs");
    for command in commands.iter().filter(|command| **command != "help") {
        assert!(tested.contains(&format!("&[\"{command}\"],")), "{command}");
    }
}

#[test]
fn the_version_lists_the_roll() {
    let version = prints(&["--version"]);
    let names = names();
    let start = format!("vitald {} ({} collectors: ", env!("CARGO_PKG_VERSION"), names.len());
    assert!(version.starts_with(&start), "{version}");
    let features: Vec<&str> = version.lines().skip(1).collect();
    assert_eq!(features, ["features: +tls"]);
    assert!(names.is_sorted() && names.contains(&"cpu".to_owned()) && names.len() >= 18);
    assert_eq!(prints(&["-V"]), version);
    let listed: Vec<String> = prints(&["plugins"])
        .lines()
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_whitespace().next().map(str::to_owned))
        .collect();
    assert_eq!(listed, names);
}

#[test]
fn what_is_mistyped_is_a_usage_error_with_a_suggestion() {
    for (arguments, suggestion) in [
        (&["--confg", "x"][..], "'--config'"),
        (&["run", "--confi", "x"], "'--config'"),
        (&["chek"], "'check'"),
        (&["relaod"], "'reload'"),
        (&["reload", "--dryrun"], "'--dry-run'"),
        (&["once", "--format", "jsn"], "'json'"),
        (&["once", "loadavgg"], "'loadavg'"),
        (&["completions", "fsh"], "'fish'"),
        (&["config.toml"], "tip: a configuration is named by an option: '--config config.toml'"),
        (&["run", "a.toml"], "tip: a configuration is named by an option: '--config a.toml'"),
        (&["--console", "5s"], "tip: an interval follows an equals sign: '--console=5s'"),
        (&["run", "--console", "5s"], "'--console=5s'"),
        (&["--console=0"], "expected from 1s to 1h"),
        (&["--console=500ms"], "expected from 1s to 1h"),
        (&["--console=2h"], "expected from 1s to 1h"),
        (&["check", "a", "b"], "unexpected argument 'b'"),
        (&["check", "a", "--config", "b"], "cannot be used with"),
        (&["--config"], "a value is required"),
        (&["completions"], "<SHELL>"),
        (&["reload", "--to", "nonsense"], "expected HOST:PORT or unix:/PATH"),
        (&["reload", "--to", "localhost:port"], "expected HOST:PORT or unix:/PATH"),
        (&["health", "--token-file", "/nonexistent"], "/nonexistent: No such file"),
    ] {
        let (status, out, err) = run(arguments);
        assert_eq!((status, &*out), (64, ""), "{arguments:?}: {err}");
        assert!(err.contains(suggestion), "{arguments:?}: {err}");
    }
}

#[test]
fn check_says_what_would_run() {
    let directory = tempfile::tempdir().expect("a directory");
    let good = file(
        directory.path(),
        "[server]\nlisten = [\"[::1]:9101\", \"unix:/run/x.sock\"]\n\
         [scrape]\ndefault_collectors = false\n[collectors.cpu]\nenabled = true\n\
         [collectors.loadavg]\nenabled = true\n[outputs.console]\nenabled = true\ninterval = \"90s\"\n",
    );
    let off: Vec<String> =
        names().into_iter().filter(|name| name != "cpu" && name != "loadavg").collect();
    for arguments in [["check", &good, ""], ["check", "--config", &good]] {
        let arguments: Vec<&str> = arguments.into_iter().filter(|word| !word.is_empty()).collect();
        let told = prints(&arguments);
        let mut lines = told.lines();
        assert_eq!(lines.next(), Some(&*format!("{good}: valid")));
        let hash = lines.next().and_then(|line| line.strip_prefix("hash: "));
        assert!(hash.is_some_and(|hash| hash.len() == 16), "{told}");
        // What is said where this test itself runs in a container.
        let of_machine = |line: &&str| line.contains("start the container with");
        let rest: Vec<&str> = lines.filter(|line| !of_machine(line)).collect();
        assert_eq!(
            rest,
            [
                "collectors on: cpu, loadavg",
                &format!("collectors off: {}", off.join(", ")),
                "output: console every 1m 30s",
                "listens on: [::1]:9101",
                "listens on: unix:/run/x.sock",
            ]
        );
    }
    assert!(prints(&["check"]).starts_with("the built-in defaults: valid\n"));
}

#[test]
fn check_says_every_mistake_with_its_place() {
    let directory = tempfile::tempdir().expect("a directory");
    let bad = file(
        directory.path(),
        "[server]\nlisten = [\"nowhere\"]\nmax_request = 3\n\
         [scrape]\ntimeout = 5\nopenmetrics = \"yes\"\n\
         [collectors.loadavgs]\n[collectors.netdev]\nenabled = false\ndevice_exclude = \"(\"\n\
         [outputs.console]\nmax_lines = -1\n[servr]\n",
    );
    let (status, out, err) = run(&["check", &bad]);
    assert_eq!((status, &*out), (78, ""));
    let places: Vec<&str> = err
        .lines()
        .filter_map(|line| line.strip_prefix(&*bad)?.strip_prefix(':')?.split_once(' '))
        .map(|(place, _)| place.trim_end_matches(':'))
        .collect();
    assert_eq!(places, ["2:11", "3:1", "5:11", "6:15", "7:13", "10:18", "12:13", "13:2"], "{err}");
    for meant in ["max_requests", "loadavg", "server"] {
        assert!(err.contains(&format!("did you mean {meant}?")), "{meant}: {err}");
    }
    assert_eq!(err.lines().last(), Some("vitald: 8 mistakes in the configuration"));
    let (status, _, missing) = run(&["check", "/nonexistent/config.toml"]);
    let last = missing.lines().last();
    assert_eq!((status, last), (78, Some("vitald: the configuration cannot be read")), "{missing}");
    // No daemon reads it, wherever one may listen on this machine.
    let (status, out, told) = run(&["reload", "--config", &bad]);
    assert_eq!((status, &*out), (69, ""), "{told}");
    let mistakes = err.lines().take(8).map(|line| format!("{line}\n")).collect::<String>();
    assert!(told.starts_with(&mistakes), "{told}");
    assert!(told.contains(&format!("vitald: no daemon that reads {bad} was found: ")), "{told}");
    // Every other command that reads a configuration says the same.
    for command in ["run", "once", "plugins", "health", "config"] {
        let more: &[&str] = if command == "config" { &["--effective"] } else { &[] };
        let (status, out, told) = run(&[&[command, "--config", &bad], more].concat());
        assert_eq!((status, &*out, &*told), (78, "", &*err), "{command}");
    }
    let (status, _, told) = run(&["run", "--config", "/nonexistent/config.toml"]);
    assert_eq!((status, told), (78, missing));
    let not_toml = file(directory.path(), "[scrape\n");
    let (status, _, err) = run(&["check", &not_toml]);
    assert!(status == 78 && err.starts_with(&format!("{not_toml}:1:")), "{err}");
    for (path, reason) in [("/nonexistent", "No such file"), ("/", "directory")] {
        let (status, _, err) = run(&["check", path]);
        assert!(status == 78 && err.contains(reason), "{path}: {err}");
    }
    let (status, _, err) = run(&["check", &file(directory.path(), "[collectors.zfs_x]\n")]);
    assert!(status == 78 && err.contains("zfs_x"), "{err}");
}

#[test]
fn check_asks_the_running_daemon() {
    let config = "[scrape]\ndefault_collectors = false\n[collectors.loadavg]\nenabled = true\n";
    let daemon = Daemon::start(config);
    let to = daemon.address().to_string();
    let own = daemon.config_file().display().to_string();
    daemon.write_config(&format!("{config}[collectors.stat]\nenabled = true\n"));
    let told = prints(&["check", &own, "--running", "--to", &to]);
    assert!(told.starts_with(&format!("{own}: valid\n")), "{told}");
    assert!(told.contains("collectors started: stat\ncollectors unchanged: loadavg\n"), "{told}");
    assert!(told.ends_with(" would be applied; now generation 1\n"), "{told}");
    assert!(!daemon.metrics().has("node_boot_time_seconds"));
    daemon.write_config("[collectors.loadavg]\nenabld = true\n");
    let (status, out, err) = run(&["check", "--running", "--to", &to]);
    assert_eq!(status, 78, "{out} {err}");
    assert!(err.contains("did you mean enabled?") && err.contains(&own), "{err}");
}

#[test]
fn once_prints_a_table_text_or_json() {
    let table = prints(&["once", "loadavg", "stat"]);
    let sections: Vec<&str> = table.lines().filter(|line| !line.starts_with(' ')).collect();
    assert_eq!(sections, ["loadavg", "stat"], "{table}");
    let values = ["node_load1", "node_load15", "node_boot_time_seconds"];
    for value in values {
        let row = table.lines().find(|line| line.trim_start().starts_with(&format!("{value} ")));
        let number = row.and_then(|row| row.split_whitespace().nth(1)).map(str::parse::<f64>);
        assert!(matches!(number, Some(Ok(_))), "{value}: {table}");
    }

    let text = prints(&["once", "--format", "text", "loadavg", "stat", "cpu"]);
    let page = exposition_reader::read(text.as_bytes()).expect("a valid page");
    let has = |name: &str| page.samples().any(|sample| sample.name == name);
    for name in ["node_load1", "node_boot_time_seconds", "node_cpu_seconds_total"] {
        assert!(has(name), "{name}: {text}");
    }
    assert!(!has("node_memory_MemTotal_bytes"));

    let json = prints(&["once", "--format", "json", "loadavg"]);
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    let loadavg = &json["collectors"][0];
    assert_eq!((&loadavg["name"], &loadavg["state"]), (&"loadavg".into(), &"running".into()));
    assert!(loadavg["duration_seconds"].as_f64() > Some(0.0));
    let samples = loadavg["samples"].as_array().expect("samples");
    assert_eq!(samples.len(), 3);
    for sample in samples {
        assert!(sample["name"].as_str().is_some_and(|name| name.starts_with("node_load")));
        assert!(
            sample["type"] == "gauge"
                && sample["value"].is_number()
                && sample["labels"].is_object()
        );
    }
}

#[test]
fn once_prints_everything_in_every_form() {
    let text = prints(&["once", "--format", "text"]);
    let page = exposition_reader::read(text.as_bytes()).expect("a valid page");
    let json: serde_json::Value =
        serde_json::from_str(&prints(&["once", "--format", "json"])).expect("JSON");
    let collectors = json["collectors"].as_array().expect("collectors");
    let in_json: BTreeSet<&str> = collectors
        .iter()
        .filter_map(|collector| collector["samples"].as_array())
        .flatten()
        .filter_map(|sample| sample["name"].as_str())
        .collect();
    let in_text: BTreeSet<&str> = page.samples().map(|sample| &*sample.name).collect();
    // What comes and goes between two runs is not the same in both.
    let common = in_json.intersection(&in_text).count();
    assert!(common > 100 && common * 10 > in_json.len() * 9, "{common} of {}", in_json.len());
    assert!(prints(&["once"]).lines().count() > common);
    // One that is off by default runs when it is named; one that has nothing to say says so.
    assert!(prints(&["once", "--format", "text", "process_groups"]).contains("namedprocess_"));
    let directory = tempfile::tempdir().expect("a directory");
    let empty = directory.path().join("nothing");
    let paths = format!("[paths]\nprocfs = \"{}\"\nsysfs = \"{0}\"\n", empty.display());
    let config = file(directory.path(), &paths);
    let (status, out, err) = run(&["once", "--config", &config, "loadavg"]);
    assert!(status == 1 && out.starts_with("loadavg (absent)"), "{status} {out}");
    assert!(err.starts_with("vitald: loadavg: absent: ") && err.lines().count() == 1, "{err}");
}

#[test]
fn plugins_and_metrics_list_what_is_there() {
    let table = prints(&["plugins"]);
    let heading: Vec<&str> = table.lines().next().unwrap_or_default().split_whitespace().collect();
    assert_eq!(heading, ["COLLECTOR", "STATE", "SAMPLES", "COST", "SUMMARY"]);
    let row = |name: &str| {
        let row = table.lines().find(|line| line.split_whitespace().next() == Some(name));
        row.unwrap_or_else(|| panic!("{name}: {table}")).split_whitespace().collect::<Vec<_>>()
    };
    let loadavg = row("loadavg");
    assert_eq!((loadavg[1], loadavg[2], loadavg[4]), ("running", "3", "us"), "{loadavg:?}");
    assert_eq!(row("process_groups")[1], "off");
    assert!(table.contains("output console (off): "), "{table}");

    // What the terminal is too narrow for goes on below itself.
    let narrow = on_a_terminal(80, &["plugins"]);
    let width = |table: &str| table.lines().map(|line| line.chars().count()).max().unwrap_or(0);
    assert!(width(&narrow) <= 80 && width(&table) > 80, "{narrow}");
    assert!(narrow.lines().count() > table.lines().count(), "{narrow}");
    let words = |table: &str| table.split_whitespace().count();
    assert_eq!(words(&narrow), words(&table), "{narrow}");

    let reference = prints(&["metrics"]);
    assert!(reference.starts_with("# Metrics\n"), "{reference}");
    for name in names() {
        assert!(
            reference.lines().any(|line| line.starts_with('#') && line.contains(&name)),
            "{name}"
        );
    }
    assert!(reference.contains("node_load1") && reference.contains("node_cpu_seconds_total"));
}

#[test]
fn config_prints_the_committed_file() {
    let committed =
        std::fs::read_to_string(harness::root().join("config.toml")).expect("config.toml");
    assert_eq!(prints(&["config"]), committed, "run `cargo xtask docs`");
}

#[test]
fn the_shipped_configuration_is_valid_and_starts() {
    let shipped = harness::root().join("config.toml");
    let told = prints(&["check", &shipped.display().to_string()]);
    assert!(told.contains(": valid\n") && told.contains("listens on: 127.0.0.1:9100\n"), "{told}");
    // The same as no file at all, but for the name.
    let rest = |text: &str| text.split_once('\n').map(|(_, rest)| rest.to_owned());
    assert_eq!(rest(&told), rest(&prints(&["check"])));
    let text = std::fs::read_to_string(&shipped).expect("config.toml");
    let daemon = Daemon::start(
        &text.replace("\n#listen = [\"127.0.0.1:9100\"]", "\nlisten = [\"127.0.0.1:0\"]"),
    );
    assert!(daemon.metrics().has("node_load1"));
    assert_eq!(daemon.reload().status, 200);
    // Every setting that is shown commented is one: with all of them taken in it is valid, too.
    let uncommented: String = text
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(setting) if !setting.starts_with(' ') => format!("{setting}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let directory = tempfile::tempdir().expect("a directory");
    let told = prints(&["check", &file(directory.path(), &uncommented)]);
    assert_eq!(rest(&told), rest(&prints(&["check"])), "the defaults are as shown");
}

#[test]
fn the_effective_configuration_shows_where_values_come_from() {
    let directory = tempfile::tempdir().expect("a directory");
    let config = file(
        directory.path(),
        "[server]\nmax_requests = 7\nmax_connections = 8\n[collectors.stat]\nsoftirq = true\n",
    );
    let mut command = vitald(&["config", "--effective", "--config", &config]);
    command.env("VITALD__SERVER__MAX_CONNECTIONS", "9").env("VITALD__LOG__LEVEL", "debug");
    let (status, told, err) = harness::output(&mut command);
    assert_eq!((status, &*err), (0, ""));
    let line = |start: &str| {
        let line = told.lines().find(|line| line.starts_with(start));
        line.unwrap_or_else(|| panic!("{start}: {told}"))
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(line("max_requests"), format!("max_requests = 7 # {config}:2:16"));
    let from = |name: &str| format!("# environment {name}");
    assert!(
        line("max_connections = 9").ends_with(&from("VITALD__SERVER__MAX_CONNECTIONS")),
        "{told}"
    );
    assert!(line("level = \"debug\"").ends_with(&from("VITALD__LOG__LEVEL")), "{told}");
    assert_eq!(line("softirq"), format!("softirq = true # {config}:5:11"));
    assert_eq!(line("timeout"), "timeout = \"10s\"");
    assert_eq!(line("# interval"), "# interval is not set");
    for name in names() {
        assert!(
            told.contains(&format!("[collectors.{name}]\nenabled = "))
                || told.contains(&format!("[collectors.{name}]\n")),
            "{name}"
        );
    }
    // It is a configuration itself, and the same one.
    let again = directory.path().join("again.toml");
    std::fs::write(&again, &told).expect("a file");
    let (_, first, _) = harness::output(
        vitald(&["check", &config])
            .env("VITALD__SERVER__MAX_CONNECTIONS", "9")
            .env("VITALD__LOG__LEVEL", "debug"),
    );
    let hash = |text: &str| text.lines().find(|line| line.starts_with("hash: ")).map(str::to_owned);
    let second = prints(&["check", &again.display().to_string()]);
    assert!(hash(&first).is_some() && hash(&first) == hash(&second), "{first} {second}");
}

#[test]
fn reload_and_health_talk_to_the_daemon() {
    let directory = tempfile::tempdir().expect("a directory");
    let socket = socket(directory.path());
    let config = format!(
        "[server]\nlisten = [\"{socket}\", \"127.0.0.1:0\"]\n\
         [scrape]\ndefault_collectors = false\n[collectors.loadavg]\nenabled = true\n"
    );
    let daemon = Daemon::start_by(&config, |command| {
        command.stdout(Stdio::null());
    });
    let to = daemon.address().to_string();
    assert_eq!(prints(&["health", "--to", &to]), "ok\n");
    harness::until("it is ready", || run(&["health", "--ready", "--to", &to]).0 == 0);
    assert_eq!(prints(&["health", "--ready", "--to", &to]), "ready\n");
    assert_eq!(prints(&["health", "--to", &format!("http://{to}/")]), "ok\n");
    assert_eq!(
        prints(&["health", "--to", &format!("localhost:{}", daemon.address().port())]),
        "ok\n"
    );
    daemon.write_config(&format!(
        "{config}[collectors.stat]\nenabled = true\n[outputs.console]\nenabled = true\ninterval = \"1h\"\n"
    ));
    let dry = prints(&["reload", "--dry-run", "--to", &to]);
    assert!(!dry.contains("nothing would change"), "{dry}");
    assert!(
        dry.contains("collectors started: stat\n")
            && dry.contains("would be applied; now generation 1")
    );
    let told = prints(&["reload", "--to", &to]);
    assert!(told.contains("collectors started: stat\ncollectors unchanged: loadavg\n"), "{told}");
    assert!(told.contains("outputs started: console\n"), "{told}");
    let listeners = told.lines().find(|line| line.starts_with("listeners unchanged: "));
    assert!(listeners.is_some_and(|line| line.contains("127.0.0.1:0")), "{told}");
    assert!(told.ends_with(" applied; generation 2\n"), "{told}");
    let dry = prints(&["reload", "--dry-run", "--to", &to]);
    assert!(dry.ends_with(" is in force: nothing would change; now generation 2\n"), "{dry}");
    // Where it listens may be told by its own configuration.
    let own = daemon.config_file().display().to_string();
    assert_eq!(prints(&["health", "--config", &own]), "ok\n");
    daemon.write_config(&config);
    let told = prints(&["reload", "--config", &own]);
    assert!(told.starts_with(&format!("the daemon at {socket} reads {own}\n")), "{told}");
    assert!(told.ends_with(" applied; generation 3\n"), "{told}");
    let (status, out, err) =
        harness::output(vitald(&["health"]).env("VITALD__SERVER__LISTEN", &to));
    assert_eq!((status, &*out), (0, "ok\n"), "{err}");
}

/// A configuration of one listener on a socket of this directory, with a web configuration.
fn with_web_config(directory: &Path, web: &str) -> String {
    let file = directory.join("web.yml");
    std::fs::write(&file, web).expect("a file");
    format!(
        "[server]\nlisten = [{{ address = \"{}\", web_config = \"{}\" }}]\n",
        socket(directory),
        file.display()
    )
}

/// A user whose password nobody knows.
const USERS: &str =
    "basic_auth_users:\n  alice: $2y$04$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG\n";

#[test]
fn check_and_the_log_say_what_a_web_configuration_does_not_do() {
    let directory = tempfile::tempdir().expect("a directory");
    let web = "tls_server_config: { min_version: TLS13 }\nhttp_server_config: { http2: true }\n";
    let daemon = Daemon::start(&with_web_config(directory.path(), web));
    let told = prints(&["check", &daemon.config_file().display().to_string()]);
    let warnings: Vec<&str> =
        told.lines().filter_map(|line| line.strip_prefix("warning: ")).collect();
    let place = directory.path().join("web.yml").display().to_string();
    let tls = format!("{place}:1:20: tls_server_config: TLS stays off, ");
    let http2 = format!("{place}:2:30: http_server_config.http2: ");
    assert!(
        warnings.len() == 2 && warnings[0].starts_with(&tls) && warnings[1].starts_with(&http2),
        "{told}"
    );
    for warning in warnings {
        daemon.wait_for_log(warning);
    }
    // What a name and a password would pass in the clear.
    std::fs::write(directory.path().join("web.yml"), USERS).expect("a file");
    let open = format!("[server]\nlisten = [\":1\"]\nweb_config = \"{place}\"\n");
    let told = prints(&["check", &file(directory.path(), &open)]);
    let last = told.lines().last().unwrap_or_default();
    assert!(last.starts_with("warning: :1: without TLS the passwords of its users"), "{told}");
}

#[test]
fn a_web_configuration_without_tls_and_users_hinders_no_command() {
    let directory = tempfile::tempdir().expect("a directory");
    let headers = "http_server_config: { headers: { X-Frame-Options: deny } }\n";
    let daemon = Daemon::start(&with_web_config(directory.path(), headers));
    let own = daemon.config_file().display().to_string();
    assert_eq!(prints(&["health", "--config", &own]), "ok\n");
    let told = prints(&["reload", "--config", &own]);
    assert!(told.ends_with(" applied; generation 1\n"), "{told}");
    // What is wrong with it, the daemon says.
    std::fs::write(directory.path().join("web.yml"), "header: {}\n").expect("a file");
    let (status, _, err) = run(&["reload", "--config", &own]);
    assert!(status == 78 && err.contains("web.yml:1:1: header: no such key"), "{status} {err}");
    assert_eq!(prints(&["health", "--config", &own]), "ok\n");
}

#[test]
fn a_listener_with_tls_or_users_is_named_with_a_remedy() {
    let directory = tempfile::tempdir().expect("a directory");
    let remedy =
        "name one that asks for neither TLS nor a password, such as unix:/run/vitald/vitald.sock";
    let daemon = Daemon::start(&with_web_config(directory.path(), USERS));
    let own = daemon.config_file().display().to_string();
    let (status, _, err) = run(&["health", "--config", &own]);
    assert!(status == 78 && err.contains("every listener asks for TLS or a password"), "{err}");
    let (status, _, err) = run(&["reload", "--config", &own]);
    assert!(status == 69 && err.contains("send the daemon a SIGHUP"), "{status} {err}");
    let asked = |to: &str, what: &str| {
        let start = format!(
            "vitald: the listener at {to} asks for {what}, which this command has not; {remedy}"
        );
        for command in ["health", "reload"] {
            let (status, out, err) = run(&[command, "--to", to]);
            assert_eq!((status, &*out), (1, ""), "{err}");
            assert!(err.starts_with(&start), "{err}");
            assert_eq!(err.contains("SIGHUP"), command == "reload", "{err}");
        }
    };
    asked(&socket(directory.path()), "the password of a user");

    let pair = rcgen::generate_simple_self_signed(["vitald".to_owned()]).expect("a pair");
    let web = directory.path().join("tls.yml");
    std::fs::write(directory.path().join("c"), pair.cert.pem()).expect("a file");
    std::fs::write(directory.path().join("k"), pair.signing_key.serialize_pem()).expect("a file");
    std::fs::write(&web, "tls_server_config: { cert_file: c, key_file: k }\n").expect("a file");
    let config =
        format!("[server]\nlisten = [\"127.0.0.1:0\"]\nweb_config = \"{}\"\n", web.display());
    let daemon = Daemon::start(&config);
    let to = daemon.address().to_string();
    asked(&to, "TLS");
    for command in ["health", "reload"] {
        let (status, out, err) = run(&[command, "--to", &format!("https://{to}/")]);
        assert_eq!((status, &*out), (64, ""), "{err}");
        let said =
            format!("vitald: --to https://{to}/: this command speaks no TLS; name a listener");
        assert!(err.starts_with(&said), "{err}");
    }
}

#[test]
fn the_token_of_the_configuration_is_shown_by_itself() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().expect("a directory");
    let token = directory.path().join("token");
    std::fs::write(&token, "secret\n").expect("a file");
    std::fs::set_permissions(&token, Permissions::from_mode(0o600)).expect("chmod");
    let listen = format!("[server]\nlisten = [\"{}\"]\n", socket(directory.path()));
    let admin = format!("admin = \"token:{}\"\n", token.display());
    let daemon = Daemon::start(&format!("{listen}{admin}"));
    let own = daemon.config_file().display().to_string();
    daemon.write_config(&listen);
    let (status, _, err) = run(&["reload", "--config", &own]);
    assert!(status == 1 && err.contains("Token required"), "{status} {err}");
    daemon.write_config(&format!("{listen}{admin}"));
    assert!(prints(&["reload", "--config", &own]).contains("applied"));
}

#[test]
fn a_reload_is_for_the_daemon_that_reads_the_file() {
    let directories = [(); 2].map(|()| tempfile::tempdir().expect("a directory"));
    let [own_socket, their_socket] = [0, 1].map(|which: usize| socket(directories[which].path()));
    let listen = |socket: &str| format!("[server]\nlisten = [\"{socket}\"]\n");
    let daemon = Daemon::start(&listen(&own_socket));
    let other = Daemon::start(&listen(&their_socket));
    let [own, theirs] = [&daemon, &other].map(|one| one.config_file().display().to_string());
    // The file names the address of another daemon, which is not touched.
    daemon.write_config(&listen(&their_socket));
    for more in [&[][..], &["--dry-run"], &["--to", &their_socket]] {
        let (status, out, err) = run(&[&["reload", "--config", &own], more].concat());
        assert!(status != 0 && out.is_empty(), "{more:?}: {status} {out}");
        let said = format!("vitald: the daemon at {their_socket} reads {theirs}, not {own}\n");
        assert!(err.starts_with(&said), "{err}");
        assert_eq!(more.contains(&"--to"), err.lines().count() == 1, "{err}");
    }
    // By another name it is the same file.
    let link = daemon.directory.path().join("link.toml");
    std::os::unix::fs::symlink(&own, &link).expect("a link");
    daemon.write_config(&listen(&own_socket));
    let told = prints(&["reload", "--config", &link.display().to_string()]);
    let first = format!("the daemon at {own_socket} reads {own}\n");
    assert!(told.starts_with(&first), "{told}");
    daemon.wait_for_log(&format!(" config_file={own} "));
    assert!(!other.log().contains("a client asks"), "{}", other.log());
}

#[test]
fn a_reload_finds_its_daemon_through_a_file_that_is_wrong() {
    let directory = tempfile::tempdir().expect("a directory");
    let local = socket(directory.path());
    let listen =
        format!("listen = [{{ address = \"127.0.0.1:0\", admin = \"off\" }}, \"{local}\"]");
    let daemon = Daemon::start(&format!("[server]\n{listen}\n"));
    let own = daemon.config_file().display().to_string();
    for mistake in ["[scrpe]\n", "[scrape\n", "[log]\nlevel = 7\n"] {
        daemon.write_config(&format!("[server]\n{listen}\n{mistake}"));
        let (status, out, err) = run(&["reload", "--config", &own]);
        assert_eq!((status, &*out), (78, ""), "{err}");
        assert!(err.starts_with(&format!("{own}:")), "{err}");
        let last = err.lines().last().unwrap_or_default();
        let daemon = format!("vitald: the daemon at {local} reads {own}: ");
        assert!(last.starts_with(&daemon) && last.contains("nothing was changed"), "{err}");
    }
}

#[test]
fn the_unit_is_given_what_the_configuration_needs() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("config.toml");
    let named = file.display().to_string();
    let lines = |config: &str| {
        std::fs::write(&file, config).expect("a file");
        let text = prints(&["plugins", "--systemd", "--config", &named]);
        let lines = text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned);
        (text.clone(), lines.collect::<Vec<_>>())
    };
    let only = "[scrape]\ndefault_collectors = false\n";
    let (text, nothing) = lines(only);
    assert_eq!(nothing, ["[Service]"], "{text}");
    assert!(text.contains("# No collector that is on"), "{text}");
    let (text, some) = lines(&format!("{only}[collectors.slabinfo]\nenabled = true\n"));
    assert_eq!(
        some,
        [
            "[Service]",
            "CapabilityBoundingSet=CAP_DAC_READ_SEARCH",
            "AmbientCapabilities=CAP_DAC_READ_SEARCH"
        ],
        "{text}"
    );
    assert!(text.contains("# - slabinfo: "), "{text}");
    let (text, _) = lines("[collectors.perf]\nenabled = true\n");
    assert!(text.contains("SystemCallFilter=perf_event_open\n"), "{text}");
}

#[test]
fn without_admin_routes_a_reload_says_what_works() {
    let listener = "{ address = \"127.0.0.1:0\", admin = \"off\" }";
    let daemon = Daemon::start(&format!("[server]\nlisten = [{listener}]\n"));
    let own = daemon.config_file().display().to_string();
    let (status, out, err) = run(&["reload", "--config", &own]);
    assert_eq!((status, &*out), (69, ""), "{err}");
    let last = err.lines().last().unwrap_or_default();
    let said = format!(
        "vitald: no listener of {own} takes administration by this command: send the daemon a SIGHUP"
    );
    assert!(last.starts_with(&said), "{err}");
    let to = daemon.address().to_string();
    let (status, out, err) = run(&["reload", "--to", &to]);
    assert_eq!((status, &*out), (1, ""), "{err}");
    let said = format!(
        "vitald: administration is off on the listener at {to}; --config or --to names another"
    );
    assert!(err.starts_with(&said) && err.contains("SIGHUP"), "{err}");
    assert!(daemon.reload().body.contains("this listener has no admin routes"));

    // Where it is on, the configuration says.
    let local = format!("unix:{}", daemon.config_file().with_file_name("v.sock").display());
    let listen = format!("[server]\nlisten = [{listener}, \"{local}\"]\n");
    daemon.write_config(&listen);
    daemon.signal("HUP");
    daemon.wait_for_log("generation=2");
    let (status, _, err) = run(&["reload", "--to", &to, "--config", &own]);
    let said =
        format!("vitald: administration is off on the listener at {to}; it is on at {local}\n");
    assert_eq!((status, err), (1, said));
    // Without the last one a warning goes before, also where nothing is changed yet.
    let off = format!("[server]\nlisten = [{listener}]\n");
    daemon.write_config(&off);
    let warning = "warning: administration is off on every listener";
    assert!(prints(&["check", &own]).contains(warning));
    for more in [&["--dry-run"][..], &[]] {
        let told = prints(&[&["reload", "--to", &local], more].concat());
        assert!(told.contains(warning), "{told}");
    }
    daemon.wait_for_log("level=warn msg=\"administration is off on every listener");
    // Once it is so it is no news.
    daemon.write_config(&format!("{off}[collectors.cpu]\nenabled = false\n"));
    daemon.signal("HUP");
    daemon.wait_for_log("generation=4");
    assert_eq!(daemon.log().matches("administration is off").count(), 1, "{}", daemon.log());
}

#[test]
fn what_is_no_vitald_is_not_asked_to_reload() {
    let daemon = Daemon::start_by("", |command| {
        let mut drop_in = vitald(&["node_exporter", "--web.listen-address=127.0.0.1:0"]);
        std::mem::swap(command, &mut drop_in);
    });
    let (status, _, err) = run(&["reload", "--to", &daemon.address().to_string()]);
    assert!(status == 1 && err.contains("not a vitald that can be administered"), "{status} {err}");
}

/// Answers a client with these, one after another, each a status and a body.
fn answer_one_client(listener: &TcpListener, answers: &[(&str, &str)]) {
    let (mut stream, _) = listener.accept().expect("a client");
    for (status, body) in answers {
        let lines = BufReader::new(&stream).lines();
        let head = lines.map_while(Result::ok).take_while(|line| !line.is_empty()).count();
        assert!(head > 0, "a request");
        let length = body.len();
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}");
        stream.write_all(answer.as_bytes()).expect("an answer");
    }
}

/// Root, as who tests may run, is refused nowhere; so this is what the daemon says to others.
#[test]
fn of_a_daemon_that_refuses_the_last_word_is_the_refusal_and_what_to_do() {
    let directory = tempfile::tempdir().expect("a directory");
    for (status, body, remedy) in [
        (
            "403 Forbidden",
            r#"{"title": "Not allowed", "detail": "only root and the daemon's own user may do this"}"#,
            "; run this command as root or as the daemon's user, or one of them may send the daemon a SIGHUP",
        ),
        (
            "401 Unauthorized",
            r#"{"title": "Token required", "detail": "send the listener's token"}"#,
            "; --token-file names the file with the token",
        ),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let to = listener.local_addr().expect("an address").to_string();
        let answers = move || {
            let about = r#"{"name": "vitald", "admin": false}"#;
            answer_one_client(&listener, &[("200 OK", about), (status, body)]);
        };
        let answering = std::thread::spawn(answers);
        let nobody = socket(directory.path());
        let config = format!("[server]\nlisten = [\"{to}\", \"{nobody}\"]\n");
        let (status, out, err) = run(&["reload", "--config", &file(directory.path(), &config)]);
        answering.join().expect("it was asked");
        assert_eq!((status, &*out), (1, ""), "{err}");
        let last = err.lines().last().unwrap_or_default();
        let begins = last.starts_with(&format!("vitald: the daemon at {to} refuses: "));
        assert!(begins && last.ends_with(remedy), "{err}");
        assert!(err.contains(&format!("no answer from {nobody}: ")), "{err}");
        assert_eq!(err.matches("refuses").count(), 1, "{err}");
    }
}

/// Where no daemon runs any user may listen.
#[test]
fn what_poses_as_a_daemon_does_not_reach_the_terminal() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let to = listener.local_addr().expect("an address").to_string();
    std::thread::spawn(move || {
        let about = r#"{"name": "vitald", "admin": true, "config_file": "/etc/\u001b[2J"}"#;
        let report = r#"{"hash": "\u001b]0;hash\u0007", "generation": 2, "started": ["\u009b31m"],
            "degraded": [{"name": "cpu", "reason": "\r\u001b[1A"}]}"#;
        answer_one_client(&listener, &[("200 OK", about), ("200 OK", report)]);
    });
    let told = prints(&["reload", "--to", &to]);
    assert!(told.contains(r"reads /etc/\u001b[2J") && told.contains("generation 2"), "{told}");
    assert!(!told.contains(|one: char| one.is_control() && one != '\n'), "{told:?}");
}

/// A token that is given with an address is for that address, and who is asked besides may be anybody.
#[test]
fn a_token_is_shown_to_nobody_else() {
    let off = "[server]\nlisten = [{ address = \"127.0.0.1:0\", admin = \"off\" }]\n";
    let daemon = Daemon::start(off);
    let to = daemon.address().to_string();
    let stranger = TcpListener::bind("127.0.0.1:0").expect("a port");
    let config = daemon.config_file().with_file_name("other.toml");
    let address = stranger.local_addr().expect("an address");
    std::fs::write(&config, format!("[server]\nlisten = [\"{address}\"]\n")).expect("a file");
    let token = daemon.config_file().with_file_name("token");
    std::fs::write(&token, "token-of-the-daemon\n").expect("a file");
    std::fs::set_permissions(&token, Permissions::from_mode(0o600)).expect("a file");
    let asked = std::thread::spawn(move || {
        let (stream, _) = stranger.accept().expect("a client");
        let lines = BufReader::new(stream).lines().map_while(Result::ok);
        lines.take_while(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
    });
    let (token, config) = (token.display().to_string(), config.display().to_string());
    let (status, _, err) =
        run(&["reload", "--to", &to, "--token-file", &token, "--config", &config]);
    assert!(status == 1 && err.contains("administration is off"), "{status} {err}");
    let head = asked.join().expect("it was asked");
    assert!(head.starts_with("GET /plugins ") && !head.contains("token-of"), "{head}");
}

#[test]
fn where_nobody_listens_the_daemon_is_unavailable() {
    // Bound and not listening: no other program gets the port meanwhile.
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    drop(taken);
    let directory = tempfile::tempdir().expect("a directory");
    let socket = format!("unix:{}", directory.path().join("none").display());
    for to in [&address, &socket] {
        for command in
            [&["reload"][..], &["reload", "--dry-run"], &["health"], &["health", "--ready"]]
        {
            let (status, out, err) = run(&[command, &["--to", to]].concat());
            assert_eq!((status, &*out), (69, ""), "{command:?}: {err}");
            assert!(err.starts_with(&format!("vitald: no answer from {to}: ")), "{err}");
            assert_eq!(err.lines().count(), 1, "{err}");
        }
    }
    // Where the file is not there, or wrong, the address may be another one.
    let wrong = file(directory.path(), &format!("[server]\nlisten = \"{address}\"\n[scrpe]\n"));
    let none = directory.path().join("none.toml").display().to_string();
    for (config, told) in [(&none, "none.toml: "), (&wrong, ":3:2: scrpe: no such table")] {
        let mut health = vitald(&["health", "--config", config]);
        let (status, out, err) = harness::output(health.env("VITALD__SERVER__LISTEN", &address));
        assert_eq!((status, &*out), (69, ""), "{err}");
        let lines: Vec<&str> = err.lines().collect();
        assert!(
            matches!(lines[..], [first, last]
            if first.contains(told) && last.starts_with("vitald: no answer from ")),
            "{err}"
        );
    }
}

#[test]
fn completions_are_scripts_of_the_shells() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = prints(&["completions", shell]);
        for word in ["vitald", "completions", "effective", "token-file"] {
            assert!(script.contains(word), "{word} in the completions of {shell}");
        }
    }
    // Where the shell is there it says that it could read it.
    let directory = tempfile::tempdir().expect("a directory");
    for (shell, option) in [("bash", "-n"), ("zsh", "-n"), ("fish", "--no-execute")] {
        let path = directory.path().join(shell);
        std::fs::write(&path, prints(&["completions", shell])).expect("a file");
        match Command::new(shell).arg(option).arg(&path).output() {
            Ok(read) => assert!(read.status.success(), "{shell}: {read:?}"),
            Err(_) => println!("not read by {shell}, which is not here"),
        }
    }
}

/// `vitald ... | head -1`: the reader has gone before everything is written.
#[test]
fn a_closed_pipe_is_nobodys_fault() {
    for arguments in [
        &["metrics"][..],
        &["config"],
        &["config", "--effective"],
        &["once"],
        &["once", "--format", "text"],
        &["once", "--format", "json"],
        &["plugins"],
        &["check"],
        &["completions", "bash"],
        &["--help"],
        &["--version"],
        &["node_exporter", "--help"],
        &["node_exporter", "--version"],
    ] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let child = vitald(arguments).stdout(writer).stderr(Stdio::piped()).spawn();
        let mut child = child.expect("it starts");
        let status = child.wait().expect("it ends");
        let mut err = String::new();
        let stderr = child.stderr.as_mut().expect("a pipe");
        stderr.read_to_string(&mut err).expect("text");
        assert!(status.success() && err.is_empty(), "{arguments:?}: {status} {err}");
    }
    // A shell's own pipe, whose reader takes the first line.
    let line = format!("{} metrics | head -n 1; exit", harness::binary().display());
    let (status, out, err) = harness::output(Command::new("sh").arg("-c").arg(line));
    assert_eq!((status, &*out, &*err), (0, "# Metrics\n", ""));
}

#[test]
fn a_full_disk_is_reported() {
    for arguments in
        [&["metrics"][..], &["once"], &["config"], &["plugins"], &["--help"], &["--version"]]
    {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("/dev/full");
        let output = vitald(arguments).stdout(full).output().expect("it starts");
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(71), "{arguments:?}: {err}");
        assert_eq!(err, "vitald: cannot write: No space left on device (os error 28)\n");
    }
}

#[test]
fn a_closed_standard_error_changes_nothing() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let status = vitald(&["check", "/nonexistent"]).stderr(writer).status().expect("it starts");
    assert_eq!(status.code(), Some(78));
    let line = format!("{} --nonsense 2>&-", harness::binary().display());
    let (status, ..) = harness::output(Command::new("sh").arg("-c").arg(line));
    assert_eq!(status, 64);
}
