//! The command line as users of node_exporter know it.

use super::flags::{self, flat};
use super::table::{Flag, runs_by_default};
use super::*;
use crate::config;
use expect_test::expect;
use vitald_core::settings::Node;

/// Makes collectors of the names that node_exporter has; those with braces have settings.
macro_rules! collectors {
    ($($module:ident { $($settings:tt)* })*) => {
        $(
            mod $module {
                use vitald_core::prelude::*;

                families! {
                    /// Samples of the test.
                    SAMPLE: gauge = "node_sample";
                }

                settings! { $($settings)* }

                pub(super) static DESCRIPTOR: vitald_core::collector::Descriptor =
                    vitald_core::collector::Descriptor::of::<Sample>();

                struct Sample;

                impl Collector for Sample {
                    const NAME: &'static str = stringify!($module);
                    const SUMMARY: &'static str = "Samples for tests";
                    const FAMILIES: &'static [FamilyInfo] = FAMILIES;
                    type Settings = Settings;

                    fn open(_settings: Settings, _host: &Host) -> Result<Self> {
                        Ok(Sample)
                    }

                    fn collect(&mut self, batch: &mut Batch) -> Result<()> {
                        batch.value(&SAMPLE, 1.0);
                        Ok(())
                    }
                }
            }
        )*

        const ALL: &[&Descriptor] = &[$(&$module::DESCRIPTOR),*];
    };
}

collectors! {
    arp {
        /// Devices to leave out.
        device_exclude: Option<Pattern> = UNSET;
        /// Ask the kernel by netlink.
        netlink: bool = true;
    }
    bcache {
        /// Show priority statistics, which are expensive.
        priority_stats: bool = false, flag "priorityStats";
    }
    bcachefs {} bonding {} btrfs {} buddyinfo {} cgroups {} conntrack {}
    cpu {
        /// Show what the processor can do.
        info: bool = false;
        /// Which bugs to show.
        info_bugs_include: Option<Pattern> = UNSET, flag "info.bugs-include";
        /// Which abilities to show.
        info_flags_include: Option<Pattern> = UNSET, flag "info.flags-include";
    }
    cpu_vulnerabilities {} cpufreq {}
    diskstats {
        devices: Filter {
            /// Devices to show, by name. `device_exclude` must be empty then, whatever is in
            /// `/dev` below `paths.rootfs`.
            include device_include;
            /// Devices to leave out, by name.
            exclude device_exclude = r"^(z?ram|loop)\d+$";
        } together Refused;
    }
    dmi {} drbd {} edac {} entropy {} fibrechannel {} filefd {}
    filesystem {
        /// How long a mount may take to answer.
        mount_timeout: Duration = "5s" in "1ms".."1h";
    }
    hwmon {
        /// Chips to take.
        chip_include: Option<Pattern> = UNSET;
    }
    infiniband {} interrupts {}
    ipvs {
        /// Labels of a backend.
        backend_labels: Vec<String> = ["local_address", "proto"];
    }
    kernel_hung {} ksmd {} lnstat {} loadavg {} mdadm {} meminfo {} meminfo_numa {} mountstats {}
    netclass {
        /// Leave out speeds that make no sense.
        ignore_invalid_speed: bool = false;
        /// Devices to leave out.
        ignored_devices: Pattern = "^$";
        /// Show statistics of each device.
        rtnl_with_stats: bool = false;
    }
    netdev {
        /// Devices to take.
        device_include: Option<Pattern> = UNSET;
    }
    netstat {} nfs {} nfsd {} pcidevice {} portable {}
    powersupplyclass {
        /// Supplies to leave out.
        ignored_supplies: Pattern = "^$";
    }
    pressure {} processes {}
    qdisc {
        /// Devices to take.
        device_include: Option<Pattern> = UNSET;
        /// A directory of recorded answers, for tests.
        fixtures: String = "";
    }
    rapl {} schedstat {} selinux {} slabinfo {} sockstat {} softirqs {}
    stat {
        /// Show soft interrupts by kind.
        softirq: bool = false;
    }
    sysctl {
        /// Values to show.
        include: Vec<String> = [""; 0];
        /// Texts to show.
        include_info: Vec<String> = [""; 0];
    }
    textfile {
        /// Directories to read.
        directory: Vec<String> = [""; 0];
    }
    thermal_zone {} timex {} udp_queues {} uname {} vmstat {} watchdog {}
    wifi {
        /// A directory of recorded answers, for tests.
        fixtures: String = "";
    }
    xfrm {} xfs {} zfs {} zoneinfo {}
}

/// A build with these only.
fn only(names: &[&str]) -> Vec<&'static Descriptor> {
    ALL.iter().copied().filter(|descriptor| names.contains(&descriptor.name)).collect()
}

fn parsed(arguments: &[&str]) -> Result<Command, UsageError> {
    parse("/usr/bin/node_exporter", arguments, ALL)
}

#[track_caller]
fn runs_with(arguments: &[&str], collectors: &[&'static Descriptor]) -> DropIn {
    match parse("node_exporter", arguments, collectors) {
        Ok(Command::Run(drop_in)) => *drop_in,
        Ok(Command::Help(text) | Command::Version(text)) => panic!("{text}"),
        Err(error) => panic!("{error}"),
    }
}

#[track_caller]
fn runs(arguments: &[&str]) -> DropIn {
    runs_with(arguments, ALL)
}

fn on(drop_in: &DropIn) -> Vec<&'static str> {
    let plans = drop_in.plan.collectors.iter().filter(|plan| plan.enabled);
    plans.map(|plan| plan.descriptor.name).collect()
}

/// What the plan shows of a setting.
fn setting(drop_in: &DropIn, path: &str) -> String {
    let mut node = Node::Table(config::effective(&drop_in.plan));
    for key in path.split('.') {
        node = match node {
            Node::Table(mut table) => table.entries.remove(key).unwrap().node,
            _ => panic!("{path}"),
        };
    }
    node.to_string()
}

#[test]
fn architectures_have_the_names_that_go_gives_them() {
    for (rust, go) in [("x86_64", "amd64"), ("aarch64", "arm64"), ("x86", "386"), ("arm", "arm")] {
        assert_eq!(go_architecture(rust), go);
    }
}

#[test]
fn names_that_mean_node_exporter() {
    for name in [
        "node_exporter",
        "/usr/local/bin/node_exporter",
        "prometheus-node-exporter",
        "node_exporter-1.12.1",
        "./node_exporter-1.12.1.linux-amd64/node_exporter",
        "node-exporter",
    ] {
        assert!(is_dropin_name(name), "{name}");
    }
    for name in ["vitald", "node_exporters", "my_node_exporter", "/node_exporter/vitald", ""] {
        assert!(!is_dropin_name(name), "{name}");
    }
}

#[test]
fn without_flags_it_is_as_there() {
    let drop_in = runs(&[]);
    let server = &drop_in.plan.server;
    let listen: Vec<_> =
        server.listen.iter().map(|l| format!("{} {}", l.address, l.serve.admin)).collect();
    assert_eq!(listen, [":9100 off"]);
    assert_eq!(server.max_requests, 40);
    assert!(!drop_in.plan.scrape.openmetrics);
    assert!(drop_in.plan.collectors.iter().all(|plan| plan.max_series == 0));
    assert_eq!(drop_in.web.telemetry_path, "/metrics");
    assert!(!drop_in.web.disable_exporter_metrics);
    let on = on(&drop_in);
    assert!(on.contains(&"cpu") && on.contains(&"arp") && on.contains(&"kernel_hung"), "{on:?}");
    assert!(!on.contains(&"buddyinfo") && !on.contains(&"wifi"), "{on:?}");
    // What node_exporter does not have does not appear on its own.
    assert!(!on.contains(&"portable"), "{on:?}");
}

#[test]
fn the_whole_list_of_the_parity_check_is_taken() {
    let root = "collector/fixtures";
    let enabled = "arp bcache bcachefs bonding btrfs buddyinfo cgroups conntrack cpu cpufreq \
        cpu_vulnerabilities diskstats dmi drbd edac entropy fibrechannel filefd hwmon infiniband \
        interrupts ipvs kernel_hung ksmd lnstat loadavg mdadm meminfo meminfo_numa mountstats \
        netdev netstat nfs nfsd pcidevice pressure processes qdisc rapl schedstat slabinfo sockstat \
        softirqs stat sysctl textfile thermal_zone udp_queues vmstat watchdog wifi xfrm xfs zfs \
        zoneinfo";
    let mut arguments: Vec<String> = vec![
        format!("--path.rootfs={root}"),
        format!("--path.procfs={root}/proc"),
        format!("--path.sysfs={root}/sys"),
        format!("--path.udev.data={root}/udev/data"),
    ];
    arguments.extend(enabled.split_whitespace().map(|name| format!("--collector.{name}")));
    let disabled = ["selinux", "filesystem", "timex", "uname"];
    arguments.extend(disabled.map(|name| format!("--no-collector.{name}")));
    arguments.extend(
        [
            "--collector.cpu.info",
            "--collector.arp.device-exclude=nope",
            "--collector.bcache.priorityStats",
            "--collector.cpu.info.bugs-include=^(cpu_meltdown|spectre_.*|mds)$",
            "--collector.cpu.info.flags-include=^(aes|avx.?|constant_tsc)$",
            "--collector.hwmon.chip-include=(applesmc|asus_nb_wmi|coretemp|hwmon4|nct6779)",
            "--collector.netclass.ignore-invalid-speed",
            "--collector.netclass.ignored-devices=(dmz|int)",
            "--collector.netdev.device-include=lo",
            "--collector.qdisc.device-include=(wlan0|eth0)",
            "--collector.qdisc.fixtures=collector/fixtures/qdisc/",
            "--collector.stat.softirq",
            "--collector.sysctl.include-info=kernel.seccomp.actions_avail",
            "--collector.sysctl.include=fs.file-nr",
            "--collector.sysctl.include=fs.file-nr:total,current,max",
            "--collector.sysctl.include=kernel.threads-max",
            "--collector.textfile.directory=collector/fixtures/textfile/two_metric_files/",
            "--collector.wifi.fixtures=collector/fixtures/wifi",
            "--no-collector.arp.netlink",
            "--web.listen-address=127.0.0.1:9101",
            "--log.level=debug",
        ]
        .map(str::to_owned),
    );
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let drop_in = runs(&arguments);
    // As they are given: rapl shows one in a label. A configuration file must have them whole.
    assert_eq!(drop_in.plan.roots.procfs.to_str(), Some("collector/fixtures/proc"));
    assert_eq!(drop_in.plan.roots.udev.to_str(), Some("collector/fixtures/udev/data"));
    let here = std::env::current_dir().expect("a directory").join("collector/fixtures/proc");
    let migrated = migrate(&drop_in, &std::env::current_dir().expect("a directory")).text;
    assert!(migrated.contains(&format!("procfs = {:?}", here.to_str().expect("UTF-8"))));
    assert!(migrated.contains("directory = [\"/"), "{migrated}");
    assert_eq!(drop_in.plan.server.listen[0].address.to_string(), "127.0.0.1:9101");
    for name in enabled.split_whitespace() {
        assert!(on(&drop_in).contains(&name), "{name}");
    }
    for name in disabled {
        assert!(!on(&drop_in).contains(&name), "{name}");
    }
    let setting = |path: &str| setting(&drop_in, path);
    assert_eq!(setting("collectors.cpu.info"), "true");
    assert_eq!(setting("collectors.arp.netlink"), "false");
    assert_eq!(setting("collectors.bcache.priority_stats"), "true");
    assert_eq!(setting("collectors.cpu.info_flags_include"), r#""^(aes|avx.?|constant_tsc)$""#);
    assert_eq!(
        setting("collectors.sysctl.include"),
        r#"["fs.file-nr", "fs.file-nr:total,current,max", "kernel.threads-max"]"#
    );

    // What the check gives for some collectors only.
    let some = ["--collector.disable-defaults", "--collector.cpu", "--collector.cpu.info"];
    assert_eq!(on(&runs_with(&some, &only(&["cpu", "loadavg"]))), ["cpu"]);
    // Everything but switching on what is absent can be given to a small build.
    let off: Vec<_> = arguments
        .iter()
        .copied()
        .filter(|flag| {
            flag.starts_with("--no-") || flag.contains('=') || flag.matches('.').count() > 1
        })
        .collect();
    let small = runs_with(&off, &only(&["loadavg"]));
    assert_eq!(on(&small), ["loadavg"]);
    assert!(small.notes.iter().any(|note| note.text.contains("--collector.wifi.fixtures")));
}

#[test]
fn values_stand_behind_an_equals_sign_or_a_space() {
    let drop_in = runs(&["--path.procfs", "/a", "--path.sysfs=/b=c", "--path.rootfs", "/d"]);
    assert_eq!(drop_in.plan.roots.procfs, Path::new("/a"));
    assert_eq!(drop_in.plan.roots.sysfs, Path::new("/b=c"));
    assert_eq!(drop_in.plan.roots.rootfs, Path::new("/d"));
    let drop_in = runs(&["--web.max-requests", "0", "--web.telemetry-path=/m"]);
    assert_eq!(drop_in.plan.server.max_requests, 0);
    assert_eq!(runs(&["--web.max-requests=-1"]).plan.server.max_requests, 0);
    assert_eq!(runs(&["--web.max-requests=1e1"]).plan.server.max_requests, 10);
    assert_eq!(drop_in.web.telemetry_path, "/m");
}

#[test]
fn whole_numbers_are_those_of_kingpin() {
    let requests = |text: &str| {
        let flag = format!("--web.max-requests={text}");
        match parsed(&[flag.as_str()]) {
            Ok(Command::Run(drop_in)) => Ok(drop_in.plan.server.max_requests),
            Ok(_) => panic!("{flag}"),
            Err(error) => Err(error.message),
        }
    };
    for (text, number) in [("1_000", 1000), ("+5", 5), ("5.9", 5), ("1_0.5_0e1", 105)] {
        assert_eq!(requests(text), Ok(number), "{text}");
    }
    // Go makes them the least integer, and that is no limit.
    for text in ["Inf", "-Inf", "infinity", "NaN", "1e30", "-1e30"] {
        assert_eq!(requests(text), Ok(0), "{text}");
    }
    expect![[r#"
        Err("strconv.ParseFloat: parsing \"_1\": invalid syntax")
        Err("strconv.ParseFloat: parsing \"1__0\": invalid syntax")
        Err("strconv.ParseFloat: parsing \"1_\": invalid syntax")
        Err("strconv.ParseFloat: parsing \"1_.5\": invalid syntax")
        Err("strconv.ParseFloat: parsing \"1e400\": value out of range")
        Err("vitald takes no hexadecimal number: write 0x1p4 in decimal")
    "#]]
    .assert_eq(
        &["_1", "1__0", "1_", "1_.5", "1e400", "0x1p4"]
            .map(|text| format!("{:?}\n", requests(text)))
            .concat(),
    );
}

#[test]
fn other_spellings_of_a_flag() {
    let same = |flag: &str| setting(&runs(&[flag]), "collectors.bcache.priority_stats");
    assert_eq!(same("--collector.bcache.priority-stats"), "true");
    assert_eq!(same("--collector.bcache.priority_stats"), "true");
    let drop_in = runs(&["--collector.diskstats.ignored-devices=^x$"]);
    assert_eq!(setting(&drop_in, "collectors.diskstats.device_exclude"), r#""^x$""#);
    let drop_in = runs(&["--collector.powersupply.ignored-supplies=x"]);
    assert_eq!(setting(&drop_in, "collectors.powersupplyclass.ignored_supplies"), r#""x""#);
    let drop_in = runs(&["--collector.netclass_rtnl.with-stats"]);
    assert_eq!(setting(&drop_in, "collectors.netclass.rtnl_with_stats"), "true");
    let drop_in = runs(&["--collector.ipvs.backend-labels=local_port,remote_port"]);
    let labels = setting(&drop_in, "collectors.ipvs.backend_labels");
    assert_eq!(labels, r#"["local_port", "remote_port"]"#);
    let drop_in = runs(&["--collector.filesystem.mount-timeout=250ms", "--log.level=WARN"]);
    assert_eq!(setting(&drop_in, "collectors.filesystem.mount_timeout"), r#""250ms""#);
    assert_eq!(setting(&drop_in, "log.level"), r#""warn""#);
}

#[test]
fn collectors_are_switched() {
    assert!(!on(&runs(&["--no-collector.cpu"])).contains(&"cpu"));
    assert!(on(&runs(&["--collector.wifi"])).contains(&"wifi"));
    assert!(on(&runs(&["--collector.portable"])).contains(&"portable"));
    assert!(on(&runs(&["--collector.disable-defaults"])).is_empty());
    // The parity check gives both for a collector that it otherwise leaves out.
    assert!(on(&runs(&["--no-collector.uname", "--collector.uname"])).contains(&"uname"));
    assert!(!on(&runs(&["--collector.uname", "--no-collector.uname"])).contains(&"uname"));
    let flags = ["--collector.cpu", "--collector.disable-defaults", "--collector.wifi"];
    assert_eq!(on(&runs(&flags)), ["cpu", "wifi"]);
    let drop_in = runs_with(&["--no-collector.nvme", "--no-collector.cpu"], &only(&["cpu"]));
    assert!(on(&drop_in).is_empty());
    assert!(
        drop_in.notes[0].text.starts_with("node_exporter would also run"),
        "{:?}",
        drop_in.notes
    );
    assert!(!drop_in.notes[0].text.contains("nvme,"), "{:?}", drop_in.notes);
}

#[test]
fn addresses_are_those_of_go() {
    let listen = |flags: &[&str]| -> Vec<String> {
        runs(flags).plan.server.listen.iter().map(|l| l.address.to_string()).collect()
    };
    assert_eq!(listen(&["--web.listen-address=:9"]), [":9"]);
    assert_eq!(listen(&["--web.listen-address=[::]:9"]), [":9"]);
    assert_eq!(listen(&["--web.listen-address=0.0.0.0:9"]), ["0.0.0.0:9"]);
    assert_eq!(listen(&["--web.listen-address=localhost:9"]), ["127.0.0.1:9"]);
    assert_eq!(listen(&["--web.listen-address=[10.1.2.3]:9"]), ["10.1.2.3:9"]);
    let two = ["--web.listen-address=127.0.0.1:9", "--web.listen-address", "[::1]:9"];
    assert_eq!(listen(&two), ["127.0.0.1:9", "[::1]:9"]);
}

#[test]
fn arguments_stand_in_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("args");
    let inner = folder.path().join("inner");
    std::fs::write(&inner, "--collector.wifi\r\n").unwrap();
    let text = format!("# The flags.\n\n--path.procfs\n/host/proc\n@{}\n", inner.display());
    std::fs::write(&file, text).unwrap();
    let drop_in = runs(&[&format!("@{}", file.display()), "--no-collector.cpu"]);
    assert_eq!(drop_in.plan.roots.procfs, Path::new("/host/proc"));
    assert!(on(&drop_in).contains(&"wifi") && !on(&drop_in).contains(&"cpu"));
    std::fs::write(&inner, format!("@{}", inner.display())).unwrap();
    let error = parsed(&[&format!("@{}", file.display())]).err().unwrap();
    assert!(error.to_string().contains("too many argument files"), "{error}");
}

#[test]
fn files_of_arguments_that_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("args");
    let argument = format!("@{}", path.display());
    let refused = |argument: &str| match parsed(&[argument]) {
        Ok(_) => panic!("{argument} is taken"),
        Err(error) => error.message,
    };
    assert_eq!(refused("@"), "expected @ file to expand arguments from");
    std::fs::write(&path, vec![0; 3 << 20]).unwrap();
    assert!(refused(&argument).ends_with("it is larger than 1 MiB"));
    std::fs::write(&path, vec![0; 1 << 20]).unwrap();
    let message = refused(&argument);
    assert!(message.starts_with(r"unexpected \u{0}\u{0}") && message.ends_with('…'), "{message}");
    assert!(message.len() < 10_000);
    std::fs::remove_file(&path).unwrap();
    let mode = rustix::fs::Mode::RUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    assert!(refused(&argument).ends_with("it is a named pipe; it must be a regular file"));
}

#[test]
fn usage_errors() {
    let told: String = [
        &["--x"][..],
        &["-x"],
        &["x"],
        &["--"],
        &["--", "--help"],
        &["--collector.nope"],
        &["--no-collector.nope"],
        &["--collector.cpu=false"],
        &["--web.max-requests"],
        &["--web.max-requests", "--help"],
        &["--web.max-requests=abc"],
        &["--no-web.max-requests=1"],
        &["--path.procfs=a", "--path.procfs=b"],
        &["--path.procfs="],
        &["--log.level=LOUD"],
        &["--log.format=xml"],
        &["@/nonexistent"],
        &["--collector.netdev.device-include=("],
        &["--collector.filesystem.mount-timeout=abc"],
        &["--collector.filesystem.mount-timeout=0.01d"],
        &["--collector.filesystem.mount-timeout= 5s"],
        &["--collector.filesystem.mount-timeout=-5s"],
        &["--collector.diskstats.device-include=a"],
        &["--collector.diskstats.device-include=a", "--collector.diskstats.device-exclude=b"],
        &["--collector.diskstats.ignored-devices=a", "--collector.diskstats.device-exclude=b"],
        &["--web.listen-address=9100"],
        &["--web.listen-address=127.0.0.1:http"],
        &["--web.listen-address=vsock://:9100"],
        &["--web.listen-address=:1", "--web.listen-address=127.0.0.1:1"],
        &["--web.telemetry-path=metrics"],
        &["--web.config.file=web.yml"],
        &["--collector.arp.device-include=x"],
        &["--runtime.gomaxprocs=many"],
    ]
    .iter()
    .map(|arguments| match parsed(arguments) {
        Ok(_) => format!("{}: taken\n", arguments.join(" ")),
        Err(error) => format!("{error}\n"),
    })
    .chain(["--collector.diskstats"].map(|flag| {
        match parse("node_exporter", &[flag], &only(&["cpu"])) {
            Ok(_) => format!("{flag}: taken\n"),
            Err(error) => format!("{error}\n"),
        }
    }))
    .collect();
    expect![[r#"
        node_exporter: error: unknown long flag '--x', try --help
        node_exporter: error: unknown short flag '-x', try --help
        node_exporter: error: unexpected x, try --help
        --: taken
        node_exporter: error: unexpected --help, try --help
        node_exporter: error: unknown long flag '--collector.nope', try --help
        node_exporter: error: unknown long flag '--no-collector.nope', try --help
        node_exporter: error: unexpected false, try --help
        node_exporter: error: expected argument for flag '--web.max-requests', try --help
        node_exporter: error: expected argument for flag '--web.max-requests', try --help
        node_exporter: error: strconv.ParseFloat: parsing "abc": invalid syntax, try --help
        node_exporter: error: unknown long flag '--no-web.max-requests', try --help
        node_exporter: error: flag 'path.procfs' cannot be repeated, try --help
        node_exporter: error: --path.procfs: expected a path, found nothing, try --help
        node_exporter: error: unrecognized log level LOUD, try --help
        node_exporter: error: unrecognized log format xml, try --help
        node_exporter: error: failed to open arguments file "/nonexistent": No such file or directory (os error 2), try --help
        node_exporter: error: --collector.netdev.device-include: not a regular expression: unclosed group, try --help
        node_exporter: error: --collector.filesystem.mount-timeout: expected a duration such as "10s", "1m30s" or "500ms", try --help
        node_exporter: error: --collector.filesystem.mount-timeout: expected a duration such as "10s", "1m30s" or "500ms", try --help
        node_exporter: error: --collector.filesystem.mount-timeout: expected a duration such as "10s", "1m30s" or "500ms", try --help
        node_exporter: error: --collector.filesystem.mount-timeout: must not be below 0, try --help
        node_exporter: error: --collector.diskstats.device-include: cannot be used together with --collector.diskstats.device-exclude, which has a default: set --collector.diskstats.device-exclude="", too, try --help
        node_exporter: error: --collector.diskstats.device-include: cannot be used together with --collector.diskstats.device-exclude: remove one of them, try --help
        node_exporter: error: --collector.diskstats.ignored-devices and --collector.diskstats.device-exclude are the same setting, try --help
        node_exporter: error: --web.listen-address: address 9100: missing port in address, try --help
        node_exporter: error: --web.listen-address: address 127.0.0.1:http: invalid port, try --help
        node_exporter: error: --web.listen-address: vitald does not listen on vsock; listen on 127.0.0.1 and have a proxy pass it on, such as socat VSOCK-LISTEN:9100,fork TCP:127.0.0.1:9100, try --help
        node_exporter: error: --web.listen-address: 127.0.0.1:1 cannot be bound beside :1, try --help
        node_exporter: error: --web.telemetry-path: expected a path from /, try --help
        node_exporter: error: --web.config.file: web.yml: cannot be read: No such file or directory (os error 2), try --help
        node_exporter: error: --collector.arp.device-include: vitald does not support this setting of the collector, try --help
        node_exporter: error: strconv.ParseFloat: parsing "many": invalid syntax, try --help
        node_exporter: error: --collector.diskstats: not in this build: build with --features diskstats, try --help
    "#]].assert_eq(&told);
}

#[test]
fn a_wrong_setting_of_a_collector_that_is_off_has_no_effect() {
    let collectors = crate::collectors(&[vitald_plugins::ROLL]).expect("the roll");
    let is_there = |name: &str| collectors.iter().any(|collector| collector.name == name);
    for flags in [
        &["--collector.ntp.server=8.8.8.8"][..],
        &["--collector.ntp.protocol-version=9"],
        &["--collector.ntp.server-port=0"],
        &["--collector.ntp.max-distance=-1s"],
        &[
            "--collector.netdev.device-include=a",
            "--collector.netdev.device-exclude=b",
            "--no-collector.netdev",
        ],
        &["--collector.systemd.unit-include=[a", "--no-collector.systemd"],
        &["--collector.ethtool.metrics-include=["],
        &["--collector.sysctl.include=:"],
        &["--collector.supervisord.url=https://x/RPC2"],
        &["--collector.runit.servicedir="],
        &["--collector.perf.cpus=0-3:0"],
    ] {
        let flag = flags[0].split('=').next().expect("a flag");
        let name = flag.split('.').nth(1).expect("a collector");
        if !is_there(name) {
            continue;
        }
        let drop_in = runs_with(flags, &collectors);
        let about: Vec<_> = drop_in
            .notes
            .iter()
            .filter(|note| note.text.starts_with(&format!("{flag} has no effect")))
            .collect();
        assert_eq!(about.len(), 1, "{flag}: {:?}", drop_in.notes);
        assert_eq!(about[0].argument, Some(0), "{flag}");
        // What is migrated is taken.
        let text = migrate(&drop_in, Path::new("/")).text;
        config::load_text("config.toml", &text, &[], &collectors, &[])
            .unwrap_or_else(|mistakes| panic!("{mistakes:?} in {text}"));
        // It counts as soon as the collector is on.
        let switch = format!("--collector.{name}");
        let on = [flags, &[switch.as_str()]].concat();
        assert!(parse("node_exporter", &on, &collectors).is_err(), "{flag}");
    }
    // A value that cannot be read is refused, as there.
    let unreadable = [
        "--collector.ntp.server-port=x",
        "--collector.ntp.max-distance=1d",
        "--collector.ntp.max-distance=9999999h",
        "--collector.ntp.max-distance=-+1s",
    ];
    for flag in unreadable.into_iter().filter(|_| is_there("ntp")) {
        assert!(parse("node_exporter", &[flag], &collectors).is_err(), "{flag}");
    }
}

#[test]
fn flags_that_ask_for_nothing_are_taken() {
    runs(&[
        "--web.config.file=",
        "--no-web.systemd-socket",
        "--web.systemd-socket",
        "--no-web.systemd-socket",
        "--no-collector.netdev.netlink",
        "--runtime.gomaxprocs=4",
        "--log.format=json",
        "--web.disable-exporter-metrics",
    ]);
}

#[cfg(feature = "tls")]
#[test]
fn a_web_configuration_is_for_all_sockets_of_systemds() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("web.yml");
    std::fs::write(&file, "# nothing\n").expect("a file");
    let flag = format!("--web.config.file={}", file.display());
    for (arguments, is_common) in
        [(&["--web.systemd-socket", &flag][..], false), (&[&flag[..]][..], true)]
    {
        let server = runs(arguments).plan.server;
        let serve = &server.listen[0].serve;
        assert_eq!(serve.web_config.as_ref(), Some(&file));
        assert_eq!((server.listen.len(), serve.web_config_is_common), (1, is_common));
    }
}

#[test]
fn the_version_is_node_exporters() {
    for arguments in [&["--version"][..], &["--version", "--x"], &["--help", "--version"]] {
        match parsed(arguments) {
            Ok(Command::Version(text)) => {
                assert!(text.starts_with("node_exporter, version 1.12.1 (branch: "), "{text}");
                assert!(text.contains("\n  platform:         linux/"), "{text}");
            }
            _ => panic!("{arguments:?}"),
        }
    }
}

#[test]
fn flags_are_completed() {
    let text = |flags: &[&str]| match parsed(flags) {
        Ok(Command::Help(text)) => text,
        _ => panic!("{flags:?}"),
    };
    let names = text(&["--completion-bash", "--collector.c"]);
    assert!(names.contains("\n--no-collector.cpu\n--") && names.contains("\n--path.procfs\n"));
    assert!(!names.contains("help-man") && !names.contains("ignored-devices\n--no"), "{names}");
    expect![[r#"
        _node_exporter_flags() {
            local word="${COMP_WORDS[COMP_CWORD]}"
            COMPREPLY=($(compgen -W "$("${COMP_WORDS[0]}" --completion-bash)" -- "$word"))
        }
        complete -o default -F _node_exporter_flags node_exporter
    "#]]
    .assert_eq(&text(&["--completion-script-bash"]));
    expect![[r#"
        autoload -U +X bashcompinit && bashcompinit
        _node_exporter_flags() {
            local word="${COMP_WORDS[COMP_CWORD]}"
            COMPREPLY=($(compgen -W "$("${COMP_WORDS[0]}" --completion-bash)" -- "$word"))
        }
        complete -o default -F _node_exporter_flags node_exporter
    "#]]
    .assert_eq(&text(&["--completion-script-zsh"]));
}

#[test]
fn help_shows_what_there_is() {
    let help = |arguments: &[&str]| match parse(
        "node_exporter",
        arguments,
        &only(&["cpu", "diskstats", "sysctl"]),
    ) {
        Ok(Command::Help(text)) => text,
        _ => panic!("{arguments:?}"),
    };
    expect![[r#"
        usage: node_exporter [<flags>]


        Flags:
          -h, --[no-]help                Show this text.
              --path.procfs="/proc"      Where the host's procfs is mounted.
              --path.sysfs="/sys"        Where the host's sysfs is mounted.
              --path.rootfs="/"          The host's root directory, in front of mount
                                         points.
              --path.udev.data="/run/udev/data"
                                         The directory of udev's device data base.
              --web.telemetry-path="/metrics"
                                         The path that the metrics are served under.
              --[no-]web.disable-exporter-metrics
                                         Leave out metrics of the exporter itself.
              --web.max-requests=40      Requests served at one time; 0 is no limit.
              --[no-]collector.disable-defaults
                                         Run only the collectors that a flag switches
                                         on.
              --runtime.gomaxprocs=1     Taken and without effect: there is no Go
                                         runtime here.
              --[no-]web.systemd-socket  Listen on the sockets that systemd hands over,
                                         and on no address.
              --web.listen-address=:9100 ...
                                         An address to listen on; may be given more than
                                         once.
              --web.config.file=""       A file with TLS, client certificates,
                                         passwords, headers and a limit of rate; it is
                                         read again when it has changed.
              --log.level=info           The least severe level that is logged: debug,
                                         info, warn or error.
              --log.format=logfmt        How lines are logged: logfmt or json.
              --[no-]version             Show the version.
              --[no-]collector.cpu.info  Show what the processor can do.
              --collector.cpu.info.bugs-include=COLLECTOR.CPU.INFO.BUGS-INCLUDE
                                         Which bugs to show.
              --collector.cpu.info.flags-include=COLLECTOR.CPU.INFO.FLAGS-INCLUDE
                                         Which abilities to show.
              --collector.diskstats.device-include=COLLECTOR.DISKSTATS.DEVICE-INCLUDE
                                         Devices to show, by name.
                                         --collector.diskstats.device-exclude must be
                                         empty then, whatever is in /dev below
                                         --path.rootfs.
              --collector.diskstats.device-exclude="^(z?ram|loop)\\d+$"
                                         Devices to leave out, by name.
              --collector.sysctl.include=COLLECTOR.SYSCTL.INCLUDE ...
                                         Values to show.
              --collector.sysctl.include-info=COLLECTOR.SYSCTL.INCLUDE-INFO ...
                                         Texts to show.
              --[no-]collector.cpu       Collect: Samples for tests (default: enabled).
              --[no-]collector.diskstats
                                         Collect: Samples for tests (default: enabled).
              --[no-]collector.sysctl    Collect: Samples for tests (default: disabled).

    "#]]
    .assert_eq(&help(&["-h"]));
    assert_eq!(help(&["-h"]), help(&["--help-long"]));
    assert_eq!(help(&["-h"]), help(&["--web.max-requests=abc", "--help"]));
    assert!(help(&["--help-man"]).starts_with(".TH node_exporter 1\n"));
    assert!(help(&["-h"]).lines().all(|line| line.len() <= 110));
}

#[test]
fn migration_keeps_what_was_said() {
    let flags = [
        "--collector.disable-defaults",
        "--collector.cpu",
        "--collector.sysctl.include=a",
        "--collector.sysctl.include=b,c",
        r"--collector.diskstats.device-exclude=^sd\d$",
        "--web.max-requests=3",
        "--path.procfs=/host/proc",
        "--web.telemetry-path=/m",
        "--web.disable-exporter-metrics",
        "--collector.wifi.fixtures=x",
    ];
    let collectors = only(&["cpu", "sysctl", "diskstats", "loadavg"]);
    let drop_in = runs_with(&flags, &collectors);
    let Migrated { text, notes } = migrate(&drop_in, Path::new("/srv"));
    let notes: String = notes.iter().map(|note| format!("{:?} {note}\n", note.argument)).collect();
    expect![[r#"
        Some(9) --collector.wifi.fixtures has no effect: this build of vitald has no collector wifi; remove the flag
        Some(7) --web.telemetry-path: a configuration has no path for the metrics, which are under /metrics; scrape them there: set metrics_path in Prometheus
        Some(8) --web.disable-exporter-metrics: with a configuration vitald's own metrics are always there; drop vitald_.*, process_.* and promhttp_.* by metric_relabel_configs in Prometheus
    "#]].assert_eq(&notes);
    expect![[r##"
        # Made by `vitald migrate` from node_exporter's flags.
        [collectors.cpu]
        enabled = true

        [collectors.diskstats]
        device_exclude = '^sd\d$'

        [collectors.sysctl]
        include = ["a", "b,c"]

        [paths]
        procfs = "/host/proc"

        [scrape]
        default_collectors = false
        max_series = 0

        [server]
        listen = [":9100"]
        max_requests = 3
    "##]]
    .assert_eq(&text);
    let plan = config::load_text("config.toml", &text, &[], &collectors, &[])
        .unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
    for (native, dropped) in plan.collectors.iter().zip(&drop_in.plan.collectors) {
        assert_eq!(native.enabled, dropped.enabled);
        assert!(native.prepared.same(&*dropped.prepared));
    }
}

#[test]
fn migration_is_taken_whatever_the_flags_hold() {
    let flags = [
        "--web.telemetry-path=/m\0\n[server]\nadmin = 'everyone'\u{7f}",
        "--collector.diskstats.device-exclude=^sd\\d\n\u{1}$",
        "--path.rootfs=/a\\b\t'c\"",
    ];
    let collectors = only(&["diskstats"]);
    let drop_in = runs_with(&flags, &collectors);
    let text = migrate(&drop_in, Path::new("/")).text;
    let plan = config::load_text("config.toml", &text, &[], &collectors, &[])
        .unwrap_or_else(|mistakes| panic!("{mistakes:?} in {text}"));
    assert!(plan.collectors[0].prepared.same(&*drop_in.plan.collectors[0].prepared), "{text}");
    assert!(text.lines().all(|line| !line.starts_with("admin")), "{text}");
}

#[test]
fn node_exporters_lists_hold_together() {
    let names: Vec<_> = flags::COLLECTORS.iter().map(|(name, _)| *name).collect();
    assert!(names.is_sorted() && names.len() == 79, "{}", names.len());
    assert!(flags::SETTINGS.iter().all(|(_, collector, _)| names.contains(collector)));
    let has = |spelling: &str| flags::SETTINGS.iter().any(|(known, ..)| *known == spelling);
    assert!(flags::OLD_SPELLINGS.iter().all(|(old, present)| has(present) && !has(old)));
    assert!(flags::HIDDEN.iter().all(|spelling| has(spelling)));
    assert!(flags::KEYS.iter().all(|(spelling, _)| has(spelling)));
    let all = all_flags(ALL);
    for (position, flag) in all.iter().enumerate() {
        let other = all[..position].iter().find(|other| flat(&other.name) == flat(&flag.name));
        assert!(other.is_none(), "{} is there twice", flag.name);
    }
}

/// No flag of 1.12 is refused by a collector that this binary has.
#[test]
fn collectors_take_all_their_flags() {
    let collectors = crate::collectors(&[vitald_plugins::ROLL]).expect("the roll");
    let refused = |flag: &&Flag| matches!(flag.target, Target::Unsupported(_));
    let all = all_flags(&collectors);
    let names: Vec<&str> = all.iter().filter(refused).map(|flag| flag.name.as_str()).collect();
    assert_eq!(names, [""; 0]);
    // What is off or on by itself is the same for a configuration.
    for descriptor in &collectors {
        assert_eq!(descriptor.enabled, runs_by_default(descriptor), "{}", descriptor.name);
    }
}

#[test]
fn what_a_collector_cannot_take_is_not_shown() {
    let all = all_flags(ALL);
    let unsupported = |name: &str| {
        let flag = all.iter().find(|flag| flag.name == name);
        let flag = flag.unwrap_or_else(|| panic!("{name} is not known"));
        matches!(flag.target, Target::Unsupported(_))
    };
    assert!(unsupported("collector.netstat.fields") && !unsupported("collector.cpu.info"));
    let of_collectors = all.iter().filter(|flag| flag.name.starts_with("collector."));
    let shown = of_collectors.filter(|flag| !flag.hidden && unsupported(&flag.name));
    assert_eq!(shown.map(|flag| flag.name.as_str()).collect::<Vec<_>>(), [""; 0]);
}
