//! `vitald migrate`: node_exporter's flags, and the configuration that gives the same page.

mod fixture_host;
mod harness;

use expect_test::expect;
use harness::Daemon;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Status, standard output and standard error of `vitald migrate`, whatever collectors the build has.
fn migrate(arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(harness::binary());
    let (status, out, err) = harness::output(command.arg("migrate").args(arguments));
    let lacks = |line: &&str| line.starts_with("node_exporter would also run");
    let err = err.lines().filter(|line| !lacks(line)).map(|line| format!("{line}\n")).collect();
    (status, out, err)
}

/// The standard error of one that fails.
#[track_caller]
fn refusal(arguments: &[&str]) -> String {
    let (status, out, err) = migrate(arguments);
    assert!(status != 0 && out.is_empty(), "{arguments:?}: {out}");
    err
}

/// What of a page is the host's and not the daemon's own.
fn of_host(page: &str) -> Vec<&str> {
    let is_own = |line: &&str| {
        let name = line.trim_start_matches("# HELP ").trim_start_matches("# TYPE ");
        let own = ["vitald_", "process_", "promhttp_", "node_exporter_build_info"];
        own.iter().any(|start| name.starts_with(start))
            || name.starts_with("node_scrape_collector_duration_seconds{")
    };
    page.lines().filter(|line| !is_own(line)).collect()
}

fn drop_in(flags: &[String]) -> Daemon {
    let directory = tempfile::tempdir().expect("a directory");
    let mut command = Command::new(harness::binary());
    command.arg("node_exporter").args(flags).current_dir(directory.path());
    Daemon::spawn(command, directory)
}

fn native(config: &str) -> Daemon {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("config.toml");
    fs::write(&file, config).expect("the configuration");
    let mut command = Command::new(harness::binary());
    command.arg("run").arg("--config").arg(&file).current_dir("/");
    Daemon::spawn(command, directory)
}

/// Flags for a host in a folder; what the kernel of this machine answers without a file is left out.
fn flags(host: &Path, more: &[&str]) -> Vec<String> {
    let host = host.display();
    let mut flags = vec![
        "--web.listen-address=127.0.0.1:0".to_owned(),
        format!("--path.procfs={host}/proc"),
        format!("--path.sysfs={host}/sys"),
        format!("--path.rootfs={host}/rootfs"),
        format!("--path.udev.data={host}/udev"),
    ];
    let live = ["time", "timex", "uname", "filesystem"];
    flags.extend(live.map(|name| format!("--no-collector.{name}")));
    let files = ["--no-collector.arp.netlink", "--no-collector.netdev.netlink"];
    flags.extend(files.iter().chain(more).map(|flag| (*flag).to_owned()));
    flags
}

const FLAGS: &[&[&str]] = &[
    &[],
    &[
        "--collector.buddyinfo",
        "--collector.cpu_vulnerabilities",
        "--collector.interrupts",
        "--collector.interrupts.name-include=^(LOC|NMI|RES)$",
        "--collector.ksmd",
        "--collector.lnstat",
        "--collector.meminfo_numa",
        "--collector.processes",
        "--collector.slabinfo",
        "--collector.softirqs",
        "--collector.stat.softirq",
        "--collector.swap",
        "--collector.sysctl",
        "--collector.sysctl.include=fs.file-nr:allocated,unused,max",
        "--collector.sysctl.include=kernel.threads-max",
        "--collector.zoneinfo",
        "--collector.cpu.info",
        r"--collector.cpu.info.flags-include=^(fpu|sse\d?)$",
        r#"--collector.diskstats.device-exclude=^(ram|loop)\d+$|"x' "#,
        "--collector.netdev.device-include=^(eth|lo|bond)",
        "--collector.netdev.device-exclude=",
        "--collector.vmstat.fields=^pg(in|out)$",
        "--no-collector.loadavg",
        "--web.max-requests=3",
    ],
    &["--collector.disable-defaults", "--collector.cpu", "--collector.meminfo", "--collector.stat"],
];

#[test]
fn flags_and_configuration_give_the_same_page() {
    let folder = tempfile::tempdir().expect("a folder");
    for host in ["server", "small_vm"] {
        let root = folder.path().join(host);
        fixture_host::host(host).write_to(&root);
        for more in FLAGS {
            let flags = flags(&root, more);
            let mut arguments = vec!["--"];
            arguments.extend(flags.iter().map(String::as_str));
            let (status, config, err) = migrate(&arguments);
            assert_eq!((status, &*err), (0, ""), "{more:?}");
            let (by_flags, by_config) = (drop_in(&flags).metrics(), native(&config).metrics());
            let [flags, config] = [&by_flags.body, &by_config.body].map(|page| of_host(page));
            assert!(flags.len() > 100, "{}", flags.len());
            assert_eq!(flags, config, "{host} {more:?}");
        }
    }
}

/// As a word of `ExecStart=`.
fn quoted(word: &str) -> String {
    let escaped = word.replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{}\"", escaped.replace('%', "%%").replace('$', "$$"))
}

#[test]
fn a_unit_gives_the_same_page() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("server");
    fixture_host::host("server").write_to(&root);
    let flags = flags(&root, FLAGS[1]);
    let (in_file, in_unit) = flags.split_at(7);
    let path = |name: &str| folder.path().join(name);
    // In a file of variables `$ARGS` takes one backslash away, and the quotes of the file another.
    fs::write(path("default"), format!("ARGS=\"{}\"\n", in_file.join(" "))).expect("a file");
    let words: Vec<String> = in_unit.iter().map(|flag| quoted(flag)).collect();
    fs::write(
        path("node_exporter.service"),
        format!(
            "[Unit]\nDescription=x\n[Service]\nEnvironmentFile=-{}\nExecStart=/usr/bin/node_exporter \
             --nothing $ARGS\n",
            path("default").display()
        ),
    )
    .expect("a unit");
    fs::create_dir(path("node_exporter.service.d")).expect("a folder");
    fs::write(
        path("node_exporter.service.d/10-flags.conf"),
        format!(
            "[Service]\nExecStart=\nExecStart=/opt/node_exporter-1.9.1/node_exporter $ARGS \\\n  # why\n  {}\n",
            words.join(" \\\n  ")
        ),
    )
    .expect("a drop-in");
    let unit = path("node_exporter.service");
    let (status, config, err) = migrate(&["--unit", unit.to_str().expect("UTF-8")]);
    assert_eq!((status, &*err), (0, ""));
    let (by_flags, by_config) = (drop_in(&flags).metrics(), native(&config).metrics());
    assert_eq!(of_host(&by_flags.body), of_host(&by_config.body));
}

#[test]
fn what_cannot_be_migrated_is_reported_with_its_place() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).to_str().expect("UTF-8").to_owned();
    let shown = |text: String| text.replace(&path(""), "FOLDER/");
    let write = |name: &str, text: &str| fs::write(path(name), text).expect("a file");
    write(
        "a.env",
        "# Flags\nARGS=\"--web.telemetry-path=/m \\\n --web.disable-exporter-metrics\"\nGOMAXPROCS=2\n",
    );
    write(
        "a.service",
        &format!(
            "[Service]\nEnvironmentFile=-{}\nEnvironmentFile=-{}\nEnvironment=A=1 B\n\
             ExecStart=/usr/bin/prometheus-node-exporter $ARGS $MORE --web.systemd-socket \\\n\
             --runtime.gomaxprocs=2 --path.procfs=p --collector.textfile.directory=t\n\
             WorkingDirectory=/srv\n",
            path("a.env"),
            path("nothing.env")
        ),
    );
    let (status, out, err) = migrate(&["--unit", &path("a.service")]);
    assert_eq!(status, 0, "{err}");
    if cfg!(feature = "full") {
        // What is to be added is a configuration.
        let added = err.lines().filter_map(|line| line.strip_prefix("    "));
        write("added.toml", &added.map(|line| format!("{line}\n")).collect::<String>());
        let mut check = Command::new(harness::binary());
        let (status, _, complaint) = harness::output(check.arg("check").arg(path("added.toml")));
        assert_eq!(status, 0, "{complaint}");
    }
    expect![[r#"
        FOLDER/a.service:4: Environment: systemd passes over "B", which sets no variable; write NAME=VALUE
        FOLDER/a.service:3: EnvironmentFile: FOLDER/nothing.env: No such file or directory (os error 2); if it has flags elsewhere, put it there first
        FOLDER/a.service:5: $MORE is not set in the unit, so nothing is taken for it; add its value to the unit if systemd has one
        FOLDER/a.env:4: the variable GOMAXPROCS has no meaning: vitald has no Go runtime, and collects on one thread; remove it
        FOLDER/a.service: Debian's build has other defaults, without a flag: it also collects systemd, and there leaves targets out; it reads text files in /var/lib/prometheus/node-exporter, and leaves out lo and mount points below /run, /mnt and /media; what you need of it, add to the configuration:
            [collectors.filesystem]
            mount_points_exclude = '^/(dev|proc|run|sys|mnt|media|var/lib/docker/.+|var/lib/containers/storage/.+)($|/)'
            [collectors.netdev]
            device_exclude = '^lo$'
            [collectors.systemd]
            enabled = true
            unit_exclude = '.+\.(automount|device|mount|scope|slice|target)'
            [collectors.textfile]
            directory = ["/var/lib/prometheus/node-exporter"]
        FOLDER/a.service:5: --runtime.gomaxprocs has no meaning: vitald has no Go runtime, and collects on one thread; remove it
        FOLDER/a.env:2: --web.telemetry-path: a configuration has no path for the metrics, which are under /metrics; scrape them there: set metrics_path in Prometheus
        FOLDER/a.env:2: --web.disable-exporter-metrics: with a configuration vitald's own metrics are always there; drop vitald_.*, process_.* and promhttp_.* by metric_relabel_configs in Prometheus
        FOLDER/a.service:5: --web.systemd-socket: listen is "systemd"; the socket unit must start vitald: write Service=vitald.service in it
    "#]]
    .assert_eq(&shown(err));
    expect![[r##"
        # Made by `vitald migrate` from node_exporter's flags.
        [collectors.textfile]
        directory = ["/srv/t"]

        [paths]
        procfs = "/srv/p"

        [scrape]
        max_series = 0

        [server]
        listen = ["systemd"]
    "##]]
    .assert_eq(&out);

    write("web.yml", "tls_server_config:\n  cert_file: a\n");
    let unit = |line: &str| format!("[Service]\nType=simple\nExecStart={line}\n");
    let mut refused = String::new();
    for line in [
        "/usr/bin/node_exporter --collector.nonexistent",
        "/usr/bin/node_exporter 'a",
        "/usr/bin/node_exporter --web.config.file=/dev/null --version",
        "/usr/bin/node_exporter --web.config.file=web.yml",
        "/bin/sh -c 'exec node_exporter'",
        "/usr/bin/node_exporter %m",
        "/usr/bin/node_exporter ; /bin/true",
        "/usr/bin/node_exporter --collector.netdev.device-include=(",
        "",
    ] {
        let directory = format!("WorkingDirectory={}\n", path(""));
        write("b.service", &(unit(line) + &directory));
        refused += &refusal(&["--unit", &path("b.service")]);
    }
    write("c.env", "A=1\n");
    refused += &refusal(&["--unit", &path("c.env")]);
    refused += &refusal(&["--unit", &path("none.service")]);
    refused += &refusal(&["--", "--nope"]);
    refused += &refusal(&[
        "--",
        "--web.max-requets=3",
        "--log.levl",
        "info",
        "--web.telemetry-path=metrics",
        "--log.level=loud",
    ]);
    expect![[r#"
        vitald: FOLDER/b.service:3: unknown long flag '--collector.nonexistent'
        vitald: FOLDER/b.service:3: ExecStart: a quote is opened and not closed
        vitald: these flags make node_exporter print a text and end, so there is nothing to migrate
        vitald: FOLDER/b.service:3: --web.config.file: web.yml:2:3: tls_server_config.key_file: missing: TLS needs the key of its certificate; set key_file, or key
        vitald: FOLDER/b.service: ExecStart= runs /bin/sh, which is not node_exporter; give the flags themselves after two dashes, `-- FLAGS...`
        vitald: FOLDER/b.service:3: ExecStart: the specifier %m is not known here; write its value, or %% for a percent sign
        vitald: FOLDER/b.service:3: a second command beside /usr/bin/node_exporter; systemd starts one alone, so empty the list with ExecStart= before it
        vitald: FOLDER/b.service:3: --collector.netdev.device-include: not a regular expression: unclosed group
        vitald: FOLDER/b.service: there is no ExecStart= in [Service]
        vitald: FOLDER/c.env: no variable ARGS with node_exporter's flags; give the unit that reads this file, or the flags themselves after two dashes, `-- FLAGS...`
        vitald: FOLDER/none.service: No such file or directory (os error 2)
        vitald: unknown long flag '--nope'
        vitald: unknown long flag '--web.max-requets' (did you mean --web.max-requests?)
        vitald: unknown long flag '--log.levl' (did you mean --log.level?)
        vitald: --web.telemetry-path: expected a path from /
        vitald: unrecognized log level loud
    "#]]
    .assert_eq(&shown(refused));
}

#[test]
fn debians_file_of_variables_is_enough() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("prometheus-node-exporter");
    // One backslash for the file's quotes, and one for the words of `$ARGS`.
    let text = "# Set the command-line arguments.\n\nARGS=\"--collector.diskstats.device-exclude=^(ram|loop)\\\\\\\\d+$ \
         --collector.textfile.directory='/var/lib/a b' --web.listen-address=:9101\"\n\n# Usage: --no\n";
    fs::write(&file, text).expect("a file");
    let (status, out, err) = migrate(&["--unit", file.to_str().expect("UTF-8")]);
    assert_eq!((status, &*err), (0, ""));
    expect![[r##"
        # Made by `vitald migrate` from node_exporter's flags.
        [collectors.diskstats]
        device_exclude = '^(ram|loop)\d+$'

        [collectors.textfile]
        directory = ["/var/lib/a b"]

        [scrape]
        max_series = 0

        [server]
        listen = [":9101"]
    "##]]
    .assert_eq(&out);
    let config = folder.path().join("config.toml");
    fs::write(&config, out).expect("a file");
    let mut check = Command::new(harness::binary());
    let (status, _, err) = harness::output(check.arg("check").arg(config));
    assert_eq!((status, &*err), (0, ""));
}
