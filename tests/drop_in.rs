//! vitald in node_exporter's place: started under its name, with its flags.

mod exposition_reader;
mod harness;

use expect_test::expect;
use harness::{Answer, Daemon, until};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use vitald::dropin;
use vitald_core::collector::Descriptor;

const ANY_PORT: &str = "--web.listen-address=127.0.0.1:0";

/// A link to the binary in a directory.
fn link(directory: &Path, name: &str) -> PathBuf {
    let link = directory.join(name);
    std::os::unix::fs::symlink(harness::binary(), &link).expect("a link");
    link
}

/// It, on a port of the kernel's choice, once it listens.
fn exporter(arguments: &[&str]) -> Daemon {
    let directory = tempfile::tempdir().expect("a directory");
    let mut command = Command::new(link(directory.path(), "node_exporter"));
    command.arg(ANY_PORT).args(arguments).current_dir(directory.path());
    Daemon::spawn(command, directory)
}

/// Status, standard output and standard error of one that ends by itself.
fn run(arguments: &[&str]) -> (i32, String, String) {
    let directory = tempfile::tempdir().expect("a directory");
    let link = link(directory.path(), "node_exporter");
    harness::output(Command::new(link).args(arguments))
}

fn loadavg_alone() -> [&'static str; 2] {
    ["--collector.disable-defaults", "--collector.loadavg"]
}

fn collectors() -> Vec<&'static Descriptor> {
    vitald::collectors(&[vitald_plugins::ROLL]).expect("the roll")
}

/// The names of `node_scrape_collector_success`.
fn ran(answer: &Answer) -> BTreeSet<String> {
    let name = |line: &str| {
        let rest = line.strip_prefix("node_scrape_collector_success{collector=\"")?;
        rest.split('"').next().map(str::to_owned)
    };
    answer.body.lines().filter_map(name).collect()
}

#[test]
fn names_that_mean_node_exporter() {
    let directory = tempfile::tempdir().expect("a directory");
    for name in ["node_exporter", "prometheus-node-exporter", "node_exporter-1.12.1"] {
        let link = link(directory.path(), name);
        let (status, out, _) = harness::output(Command::new(&link).arg("--version"));
        assert!(status == 0 && out.starts_with("node_exporter, version 1.12.1 "), "{name}: {out}");
        let (status, out, err) = harness::output(Command::new(&link).arg("--nope"));
        assert_eq!((status, &*out), (1, ""));
        assert_eq!(err, format!("{name}: error: unknown long flag '--nope', try --help\n"));
    }
    // A name that the caller gives without a link, and one that is vitald's own.
    let mut named = Command::new(harness::binary());
    let (_, out, _) = harness::output(named.arg0("/usr/bin/node_exporter").arg("--version"));
    assert!(out.starts_with("node_exporter, version "), "{out}");
    let other = link(directory.path(), "vitald-exporter");
    let (_, out, _) = harness::output(Command::new(other).arg("--version"));
    assert!(out.starts_with("vitald "), "{out}");
}

#[test]
fn the_version_goes_to_standard_output() {
    let (status, out, err) = run(&["--version"]);
    assert_eq!((status, &*err), (0, ""));
    let out = out.replace(env!("CARGO_PKG_VERSION"), "VERSION");
    let out: String = out.lines().map(|line| format!("{}\n", line.trim_end())).collect();
    expect![[r#"
        node_exporter, version 1.12.1 (branch: vitald, revision: VERSION)
          build user:
          build date:
          go version:       none, this is vitald VERSION
          platform:         linux/amd64
          tags:             tls
    "#]]
    .assert_eq(&out.replace("arm64", "amd64"));
}

#[test]
fn mistakes_are_reported_in_node_exporters_words() {
    for (arguments, expected) in [
        (&["--nope"][..], "unknown long flag '--nope'"),
        (&["-x"], "unknown short flag '-x'"),
        (&["run"], "unexpected run"),
        (
            &["--collector.loadavgs"],
            "unknown long flag '--collector.loadavgs' (did you mean --collector.loadavg?)",
        ),
        (
            &["--nope=1", "--path.procfs"],
            "unknown long flag '--nope'; expected argument for flag '--path.procfs'",
        ),
        (&["--web.listen-address"], "expected argument for flag '--web.listen-address'"),
        (&["--path.procfs=a", "--path.procfs=b"], "flag 'path.procfs' cannot be repeated"),
        (&["--log.level=loud"], "unrecognized log level loud"),
        (
            &["@/nonexistent"],
            "failed to open arguments file \"/nonexistent\": No such file or directory (os error 2)",
        ),
    ] {
        let (status, out, err) = run(arguments);
        assert_eq!((status, &*out), (1, ""), "{arguments:?}");
        assert_eq!(err, format!("node_exporter: error: {expected}, try --help\n"));
    }
}

/// node_exporter ends then. What is there may come later, and other collectors lose nothing by it.
#[test]
fn without_its_roots_it_starts_and_says_so() {
    let daemon = exporter(&[
        "--collector.disable-defaults",
        "--collector.cpu",
        "--collector.time",
        "--path.procfs=nowhere",
        "--path.sysfs=/nowhere",
    ]);
    daemon.wait_for_log("setting=paths.procfs");
    daemon.wait_for_log("setting=paths.sysfs");
    let page = daemon.get("/metrics").body;
    assert!(page.contains("node_scrape_collector_success{collector=\"cpu\"} 0\n"), "{page}");
    assert!(page.contains("node_scrape_collector_success{collector=\"time\"} 1\n"), "{page}");
}

#[test]
fn a_number_of_processors_is_taken_and_said_to_have_no_meaning() {
    let directory = tempfile::tempdir().expect("a directory");
    let link = link(directory.path(), "node_exporter");
    let mut command = Command::new(&link);
    command.arg(ANY_PORT).args(loadavg_alone()).env("GOMAXPROCS", "4");
    let daemon = Daemon::spawn(command, tempfile::tempdir().expect("a directory"));
    daemon.wait_for_log("the variable GOMAXPROCS has no meaning");
    // The flag goes before the variable, which is not looked at then.
    let mut command = Command::new(&link);
    command.args([ANY_PORT, "--runtime.gomaxprocs=2"]).args(loadavg_alone());
    let daemon = Daemon::spawn(
        {
            command.env("GOMAXPROCS", "x");
            command
        },
        tempfile::tempdir().expect("a directory"),
    );
    daemon.wait_for_log("--runtime.gomaxprocs has no meaning");
    assert!(!daemon.log().contains("the variable GOMAXPROCS"), "{}", daemon.log());
    let (status, out, err) = harness::output(Command::new(&link).env("GOMAXPROCS", "x"));
    assert_eq!((status, &*out), (1, ""));
    assert_eq!(err, "GOMAXPROCS: strconv.ParseFloat: parsing \"x\": invalid syntax\n");
}

#[test]
fn an_address_in_use_ends_it() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let (status, out, err) = run(&[&format!("--web.listen-address={address}")]);
    // Not that of a mistake: a unit goes on trying.
    assert_eq!((status, &*out), (71, ""), "{err}");
    let expected = format!(
        "node_exporter: --web.listen-address: cannot listen on {address}: something else listens there \
         already; stop it, or choose another address"
    );
    assert_eq!(err.lines().last(), Some(&*expected), "{err}");
    if cfg!(feature = "ntp") {
        let (_, _, err) = run(&["--collector.ntp", "--collector.ntp.server=192.0.2.1"]);
        assert!(err.contains("unless --collector.ntp.server-is-local is set"), "{err}");
    }
}

/// What `--help` shows is what the parser takes.
#[test]
fn the_help_shows_the_flags_that_there_are() {
    let (status, help, err) = run(&["--help"]);
    assert_eq!((status, &*err), (0, ""));
    assert!(help.starts_with("usage: node_exporter [<flags>]\n"), "{help}");
    assert_eq!(run(&["-h"]).1, help);
    let collectors = collectors();
    let takes = |flag: &str| match dropin::parse("node_exporter", &[flag], &collectors) {
        Ok(_) => Ok(()),
        Err(error) => Err(error.to_string()),
    };
    let mut names = BTreeSet::new();
    // What follows a flag of a collector says whether it runs.
    let on: BTreeSet<String> = help
        .split("      --[no-]collector.")
        .filter(|part| part.contains("(default:") && part.replace("\n", " ").contains("enabled)"))
        .filter_map(|part| Some(part.split_whitespace().next()?.to_owned()))
        .collect();
    for line in help.lines() {
        // A description may speak of another flag, and begins further right.
        let flag = ["      --", "  -h, --"].iter().find_map(|start| line.strip_prefix(start));
        let Some(flag) = flag else { continue };
        let flag = flag.split("  ").next().unwrap_or_default();
        let (switch, flag) = match flag.strip_prefix("[no-]") {
            Some(flag) => (true, flag),
            None => (false, flag),
        };
        let (name, rest) = match flag.split_once(['=', ' ']) {
            Some((name, rest)) => (name, rest),
            None => (flag, ""),
        };
        assert!(names.insert(name.to_owned()), "{name} is there twice");
        if switch {
            for flag in [format!("--{name}"), format!("--no-{name}")] {
                let taken = takes(&flag);
                let unsupported =
                    taken.as_ref().is_err_and(|error| error.contains("does not support"));
                assert!(taken.is_ok() || unsupported, "{taken:?}");
            }
        } else {
            // Its own default is a value that it takes; its name in capitals means that it has none.
            let value = rest.trim_end_matches(" ...").trim_matches('"');
            let value = if value == name.to_uppercase() { "x" } else { value };
            let value = value.replace("\\\\", "\\");
            let taken = takes(&format!("--{name}={value}"));
            let wrong = ["unknown", "expected argument", "unexpected"];
            assert!(
                !taken.as_ref().is_err_and(|error| wrong.iter().any(|word| error.contains(word))),
                "{name}={value}: {taken:?}"
            );
        }
    }
    for general in [
        "help",
        "version",
        "path.procfs",
        "path.sysfs",
        "path.rootfs",
        "path.udev.data",
        "web.telemetry-path",
        "web.disable-exporter-metrics",
        "web.max-requests",
        "web.listen-address",
        "web.config.file",
        "web.systemd-socket",
        "runtime.gomaxprocs",
        "log.level",
        "log.format",
        "collector.disable-defaults",
    ] {
        assert!(names.contains(general), "{general}");
    }
    for collector in &collectors {
        assert!(names.contains(&format!("collector.{}", collector.name)), "{}", collector.name);
    }
    assert!(!help.contains('`') && !help.contains("device_exclude"), "{help}");
    // Those marked as on are those that run.
    let daemon = exporter(&[]);
    assert_eq!(ran(&daemon.metrics()), on);
    assert!(on.contains("cpu") && !on.contains("process_groups") && !on.contains("portable"));
}

#[test]
fn it_serves_what_node_exporter_would() {
    let daemon = exporter(&[]);
    let page = daemon.metrics();
    let read = exposition_reader::read(&page.bytes).expect("a valid page");
    for family in [
        "node_cpu_seconds_total",
        "node_load1",
        "node_memory_MemTotal_bytes",
        "node_filesystem_size_bytes",
        "node_network_receive_bytes_total",
        "node_uname_info",
        "node_time_seconds",
        "node_textfile_scrape_error",
        "process_cpu_seconds_total",
        "process_open_fds",
        "process_network_receive_bytes_total",
        "process_network_transmit_bytes_total",
        "promhttp_metric_handler_requests_total",
        "promhttp_metric_handler_requests_in_flight",
    ] {
        assert!(read.families.iter().any(|one| one.name == family), "{family}");
    }
    let info = read.samples().find(|sample| sample.name == "node_exporter_build_info");
    let info = info.expect("node_exporter_build_info");
    let labels: Vec<&str> = info.labels.keys().map(String::as_str).collect();
    assert_eq!(labels, ["branch", "goarch", "goos", "goversion", "revision", "tags", "version"]);
    assert_eq!(
        (&*info.labels["version"], &*info.labels["goos"], info.value),
        ("1.12.1", "linux", 1.0)
    );
    assert_eq!(info.labels["goversion"], "");
    // There is no runtime of Go's to report on. Whatever node_exporter has not is vitald's.
    let of_node_exporter = ["node_", "process_", "promhttp_"];
    for family in read.families.iter().map(|family| &family.name) {
        let is_theirs = of_node_exporter.iter().any(|beginning| family.starts_with(beginning));
        assert!(is_theirs || family.starts_with("vitald_"), "{family}");
    }
    assert_eq!(daemon.get("/debug/pprof/").status, 404);
    // There is no interval in node_exporter, so no age.
    assert!(!page.has("vitald_collector_age_seconds"));
    assert_eq!(page.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    for accept in ["application/openmetrics-text; version=1.0.0", "image/png", ""] {
        let answer = daemon.ask("GET", "/metrics", &[("Accept", accept)]);
        assert_eq!(answer.status, 200);
        assert!(
            answer.header("content-type").starts_with("text/plain; version=0.0.4"),
            "{answer:?}"
        );
        assert!(!answer.body.contains("# EOF"));
    }
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW"] {
        let answer = daemon.ask(method, "/metrics", &[]);
        assert!(answer.status == 200 && answer.has("node_load1"), "{method}");
    }
    assert_eq!(daemon.ask("HEAD", "/metrics", &[]).status, 200);
}

#[test]
fn nothing_is_administered_over_http() {
    let daemon = exporter(&loadavg_alone());
    for (method, path) in [
        ("PUT", "/plugins/reload"),
        ("POST", "/plugins/reload"),
        ("GET", "/plugins"),
        ("GET", "/plugins/loadavg"),
        ("GET", "/healthz"),
        ("GET", "/readyz"),
        ("GET", "/nothing"),
        ("PUT", "/-/reload"),
    ] {
        let answer = daemon.ask(method, path, &[]);
        assert_eq!((answer.status, &*answer.body), (404, "404 page not found\n"), "{path}");
        assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
    }
    assert_eq!(daemon.metrics().value("vitald_config_generation"), Some(1.0));
    let landing = daemon.get("/");
    assert_eq!((landing.status, landing.header("content-type")), (200, "text/html; charset=utf-8"));
    assert!(landing.body.contains("<title>Node Exporter</title>"), "{}", landing.body);
    assert!(landing.body.contains("<h1>Node Exporter</h1>"), "{}", landing.body);
    assert!(landing.body.contains("<a href=\"/metrics\">Metrics</a>"), "{}", landing.body);
    assert!(!landing.body.contains("plugins"), "{}", landing.body);
}

#[test]
fn queries_are_answered_as_there() {
    let daemon = exporter(&["--no-collector.cpu"]);
    let only = |query: &str| {
        ran(&daemon.get(&format!("/metrics?{query}"))).into_iter().collect::<Vec<_>>()
    };
    assert_eq!(only("collect[]=loadavg&collect[]=stat"), ["loadavg", "stat"]);
    assert_eq!(only("collect%5B%5D=uname"), ["uname"]);
    assert!(!only("exclude[]=loadavg").contains(&"loadavg".to_owned()));
    assert!(!only("").contains(&"cpu".to_owned()));
    for (query, expected) in [
        (
            "collect[]=loadavg&exclude[]=stat",
            "Combined collect and exclude queries are not allowed.",
        ),
        (
            "collect[]=cpu",
            "Couldn't create filtered metrics handler: couldn't create collector: disabled collector: cpu",
        ),
        (
            "collect[]=loadavg&collect[]=nope",
            "Couldn't create filtered metrics handler: couldn't create collector: missing collector: nope",
        ),
        (
            "collect[]=",
            "Couldn't create filtered metrics handler: couldn't create collector: missing collector: ",
        ),
    ] {
        let answer = daemon.get(&format!("/metrics?{query}"));
        assert_eq!((answer.status, answer.body.trim_end_matches('\n')), (400, expected));
    }
}

#[test]
fn the_metrics_are_where_the_flag_says() {
    let daemon = exporter(&[
        "--web.telemetry-path=/a/b",
        "--collector.disable-defaults",
        "--collector.loadavg",
    ]);
    assert!(daemon.get("/a/b").has("node_load1"));
    assert!(daemon.get("/a/b?collect[]=loadavg").has("node_load1"));
    for path in ["/metrics", "/a", "/a/b/", "/a/b/c"] {
        assert_eq!(daemon.get(path).status, 404, "{path}");
    }
    assert!(daemon.get("/").body.contains("<a href=\"/a/b\">Metrics</a>"));
    let at_root = exporter(&[
        "--web.telemetry-path=/",
        "--collector.disable-defaults",
        "--collector.loadavg",
    ]);
    // As in Go: a path that ends with a slash means all that is below it.
    for path in ["/", "/metrics", "/a/b"] {
        assert!(at_root.get(path).has("node_load1"), "{path}");
    }
}

#[test]
fn paths_with_double_slashes_and_dots_are_moved_as_there() {
    let daemon = exporter(&loadavg_alone());
    for (path, place) in [
        ("//metrics", "/metrics"),
        ("/./metrics?collect[]=loadavg", "/metrics?collect[]=loadavg"),
        ("/a/../metrics", "/metrics"),
        ("//evil.example/..", "/"),
    ] {
        for method in ["GET", "HEAD", "POST"] {
            let answer = daemon.ask(method, path, &[]);
            assert_eq!((answer.status, answer.header("location")), (301, place), "{method} {path}");
        }
    }
    assert_eq!(daemon.get("/metrics/").status, 404);
}

#[test]
fn its_own_metrics_can_be_left_out() {
    let daemon = exporter(&[
        "--web.disable-exporter-metrics",
        "--collector.disable-defaults",
        "--collector.loadavg",
    ]);
    daemon.metrics();
    let page = daemon.metrics();
    let read = exposition_reader::read(&page.bytes).expect("a valid page");
    let families: BTreeSet<&str> = read.families.iter().map(|family| &*family.name).collect();
    let expected = [
        "node_exporter_build_info",
        "node_load1",
        "node_load15",
        "node_load5",
        "node_scrape_collector_duration_seconds",
        "node_scrape_collector_success",
    ];
    assert_eq!(families, expected.into_iter().collect());
}

#[test]
fn collectors_are_switched_by_flags() {
    let on = |arguments: &[&str]| ran(&exporter(arguments).metrics());
    let names =
        |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(on(&loadavg_alone()), names(&["loadavg"]));
    assert_eq!(
        on(&["--collector.disable-defaults", "--collector.stat", "--collector.uname"]),
        names(&["stat", "uname"])
    );
    let all = on(&[]);
    let mut fewer = all.clone();
    assert!(fewer.remove("cpu") && fewer.remove("netdev"));
    assert_eq!(on(&["--no-collector.cpu", "--no-collector.netdev", "--no-collector.wifi"]), fewer);
    // vitald's own are off until they are named.
    let mut more = all.clone();
    assert!(more.insert("process_groups".to_owned()));
    assert_eq!(on(&["--collector.process_groups"]), more);
}

#[test]
fn settings_are_taken_from_flags() {
    let directory = tempfile::tempdir().expect("a directory");
    let proc = directory.path().join("proc");
    std::fs::create_dir(&proc).expect("a directory");
    std::fs::write(proc.join("loadavg"), "1.25 2.5 3.75 1/2 3\n").expect("a file");
    for name in ["a", "b"] {
        std::fs::create_dir(directory.path().join(name)).expect("a directory");
        let text = format!("from_{name} 1\n");
        std::fs::write(directory.path().join(name).join("x.prom"), text).expect("a file");
    }
    let flag =
        |flag: &str, name: &str| format!("--{flag}={}", directory.path().join(name).display());
    let daemon = exporter(&[
        &flag("path.procfs", "proc"),
        &flag("collector.textfile.directory", "a"),
        &flag("collector.textfile.directory", "b"),
        "--collector.filesystem.ignored-fs-types=^none$",
    ]);
    let page = daemon.metrics();
    assert_eq!(page.value("node_load1"), Some(1.25));
    assert!(page.has("from_a") && page.has("from_b"));
}

#[test]
fn arguments_may_stand_in_a_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("arguments");
    std::fs::write(&file, "# which\n--collector.disable-defaults\n\n--collector.loadavg\n")
        .expect("a file");
    let daemon = exporter(&[&format!("@{}", file.display()), "--collector.stat"]);
    let names: Vec<String> = ran(&daemon.metrics()).into_iter().collect();
    assert_eq!(names, ["loadavg", "stat"]);
}

#[test]
fn it_may_listen_on_more_than_one_address() {
    let daemon = exporter(&[
        "--web.listen-address=127.0.0.2:0",
        "--collector.disable-defaults",
        "--collector.loadavg",
    ]);
    for address in daemon.addresses(2) {
        assert!(harness::ask(address, "GET", "/metrics", &[]).has("node_load1"), "{address}");
    }
    // As Go does it: every address of both families.
    let directory = tempfile::tempdir().expect("a directory");
    let mut command = Command::new(link(directory.path(), "node_exporter"));
    command.arg("--web.listen-address=:0").args(loadavg_alone());
    let daemon = Daemon::spawn(command, directory);
    let port = daemon.address().port();
    assert!(harness::ask(([127, 0, 0, 1], port).into(), "GET", "/metrics", &[]).has("node_load1"));
}

#[test]
fn requests_beyond_the_limit_wait_for_their_turn() {
    let flags = loadavg_alone();
    let flags: Vec<&str> =
        flags.iter().map(AsRef::as_ref).chain(["--web.max-requests=1"]).collect();
    let daemon = exporter(&flags);
    let refused = std::sync::atomic::AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..10 {
                    let answer = daemon.get("/metrics");
                    if answer.status != 200 {
                        assert_eq!(answer.status, 503);
                        let words = "Limit of concurrent requests reached (1), try again later.\n";
                        assert_eq!(answer.body, words);
                        refused.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    }
                }
            });
        }
    });
    // Were they refused at once, it would be most of 80.
    assert!(refused.into_inner() < 20);
}

#[test]
fn the_environment_and_configurations_are_not_read() {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("config.toml"), "nonsense").expect("a file");
    let mut command = Command::new(link(directory.path(), "node_exporter"));
    command.arg(ANY_PORT).args(loadavg_alone()).current_dir(directory.path());
    command
        .env("VITALD__SERVER__LISTEN", "nonsense")
        .env("VITALD__SCRAPE__TIMEOUT", "nonsense")
        .env("VITALD__COLLECTORS__CPU__ENABLED", "true")
        .env("VITALD__NONSENSE", "1");
    let daemon = Daemon::spawn(command, directory);
    let names: Vec<String> = ran(&daemon.metrics()).into_iter().collect();
    assert_eq!(names, ["loadavg"]);
}

#[test]
fn it_is_also_a_command_of_vitald() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut command = Command::new(harness::binary());
    command.args(["node_exporter", ANY_PORT]).args(loadavg_alone());
    let daemon = Daemon::spawn(command, directory);
    assert!(daemon.metrics().has("node_load1"));
    assert_eq!(daemon.ask("PUT", "/plugins/reload", &[]).status, 404);
    let vitald =
        |arguments: &[&str]| harness::output(Command::new(harness::binary()).args(arguments));
    let (status, _, err) = vitald(&["node_exporter", "--nope"]);
    assert_eq!(
        (status, &*err),
        (1, "node_exporter: error: unknown long flag '--nope', try --help\n")
    );
    assert_eq!(vitald(&["node_exporter", "--help"]).1, run(&["--help"]).1);
    // Among other words it is a mistake.
    assert_eq!(vitald(&["run", "node_exporter"]).0, 64);
}

/// What takes protection away waits for a signal.
#[test]
fn a_signal_has_the_web_configuration_read_again() {
    let folder = tempfile::tempdir().expect("a directory");
    let path = folder.path().join("web.yml");
    let hash = "$2y$04$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG";
    let web =
        format!("basic_auth_users: {{alice: {hash}}}\ntls_server_config: {{min_version: TLS13}}\n");
    std::fs::write(&path, web).expect("a file");
    let mut arguments = vec![format!("--web.config.file={}", path.display())];
    arguments.extend(loadavg_alone().into_iter().map(str::to_owned));
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let daemon = exporter(&arguments);
    daemon.wait_for_log("web.yml:2:20: tls_server_config: TLS stays off");
    let answer = daemon.get("/metrics");
    assert_eq!((answer.status, &*answer.body), (401, "Unauthorized\n"));
    assert_eq!(answer.header("www-authenticate"), "Basic");
    std::fs::write(&path, "basic_auth_users: {alice: hunter2}\n").expect("a file");
    daemon.signal("HUP");
    daemon.wait_for_log("web.yml:1:27: basic_auth_users.alice: this is no bcrypt hash");
    assert_eq!(daemon.get("/metrics").status, 401);
    std::fs::write(&path, "# nothing\n").expect("a file");
    daemon.signal("HUP");
    daemon.wait_for_log("(web_config, passwords off)");
    let page = daemon.metrics();
    let name = format!("vitald_web_config_last_load_successful{{file=\"{}\"}}", path.display());
    assert_eq!(page.value(&name), Some(1.0), "{}", page.body);
    let log = daemon.log();
    assert!(!log.contains("hunter2") && !log.contains("X0h1gDs"), "{log}");
}

#[test]
fn signals_are_answered_as_there() {
    for signal in ["TERM", "INT"] {
        let mut daemon = exporter(&loadavg_alone());
        assert!(daemon.metrics().has("node_load1"));
        daemon.signal("HUP");
        daemon.wait_for_log("configuration applied");
        daemon.signal("HUP");
        assert_eq!(daemon.metrics().value("vitald_config_generation"), Some(1.0));
        daemon.signal(signal);
        assert!(daemon.wait().success(), "SIG{signal}: {}", daemon.log());
    }
}

#[test]
fn the_log_is_as_the_flags_say() {
    let daemon = exporter(&[
        "--log.format=json",
        "--collector.disable-defaults",
        "--collector.loadavg",
        "--log.level=DEBUG",
    ]);
    let address = daemon.address().to_string();
    let log = daemon.log();
    for line in log.lines() {
        let line: serde_json::Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(line["time"].is_string() && line["level"].is_string() && line["msg"].is_string());
    }
    assert!(log.contains(&format!("\"address\":\"{address}\"")), "{log}");
}

/// What cannot be had is refused, not passed over.
#[test]
fn what_is_not_there_is_refused() {
    let names: Vec<&str> = collectors().iter().map(|collector| collector.name).collect();
    let folder = tempfile::tempdir().expect("a directory");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("a file");
        format!("--web.config.file={}", path.display())
    };
    for (argument, reason) in [
        ("--web.config.file=/nonexistent.yml", "/nonexistent.yml: cannot be read: No such file"),
        (
            &file("web.yml", "tls_server_config: {cert_file: x}\n"),
            "web.yml:1:20: tls_server_config.key_file: missing",
        ),
        ("--web.listen-address=vsock://:9100", "vitald does not listen on vsock"),
    ] {
        let (status, _, err) = run(&[argument]);
        assert_eq!(status, 1, "{argument}");
        assert!(err.starts_with("node_exporter: error: --web.") && err.contains(reason), "{err}");
    }
    let empty = file("empty.yml", "# No TLS.\n---\n\n");
    exporter(&[&empty, "--collector.disable-defaults", "--collector.loadavg"]).metrics();
    if !names.contains(&"zoneinfo") {
        let (status, _, err) = run(&["--collector.zoneinfo"]);
        assert!(status == 1 && err.contains("--collector.zoneinfo"), "{err}");
        // What only switches off something that is not there asks for nothing.
        let daemon = exporter(&["--no-collector.zoneinfo"]);
        until("it answers", || daemon.get("/metrics").status == 200);
    }
}

/// Bytes that are no text are a mistake, not a panic.
#[test]
fn arguments_that_are_no_text_are_refused() {
    use std::os::unix::ffi::OsStringExt;
    let directory = tempfile::tempdir().expect("a directory");
    let link = link(directory.path(), "node_exporter");
    let argument = OsString::from_vec(b"--path.procfs=\xff".to_vec());
    let (status, _, err) = harness::output(Command::new(link).arg(&argument));
    assert!(status == 1 && err.starts_with("node_exporter: error: not UTF-8"), "{status} {err}");
    let (status, ..) = harness::output(Command::new(harness::binary()).arg(&argument));
    assert_eq!(status, 64);
}

#[test]
fn the_help_says_what_is_only_in_vitald() {
    let run = |arguments: &[&str]| {
        harness::output(Command::new(harness::binary()).arg("node_exporter").args(arguments))
    };
    let (_, help, _) = run(&["--help"]);
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    let told = |flag: &str| {
        let after = help.split_once(flag).map(|(_, after)| after);
        after.map(|after| after.split(" --").next().unwrap_or_default().to_owned())
    };
    if cfg!(feature = "process_groups") {
        let own = told("--[no-]collector.process_groups ").expect("it is shown");
        assert!(own.ends_with("Only in vitald."), "{own}");
        assert_eq!(told("--collector.process_groups.rules"), None);
        let (status, _, refusal) = run(&["--collector.process_groups.rules=x"]);
        assert_eq!(status, 1);
        assert!(refusal.contains("set rules in [collectors.process_groups]"), "{refusal}");
    }
    if cfg!(feature = "powersupplyclass") {
        let theirs = told("--collector.powersupply.ignored-supplies=").expect("it is shown");
        assert!(!theirs.contains("Only in vitald."), "{theirs}");
        assert_eq!(told("--collector.powersupplyclass.ignored-supplies"), None);
    }
    if cfg!(feature = "cpu") {
        let theirs = told("--[no-]collector.cpu ").expect("it is shown");
        assert!(!theirs.contains("Only in vitald."), "{theirs}");
    }
}
