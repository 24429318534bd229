//! The collector on hosts in memory, and at buses that fail.

use super::*;
use vitald_core::host::BusWriter;
use vitald_core::settings::Node;
use vitald_core::testing::*;

const OBJECT: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";

/// A unit of the list: its name, load state and active state.
type Listed<'u> = (&'u [u8], &'u str, &'u str);

fn path_of(name: &[u8]) -> String {
    let escape = |byte: &u8| match byte {
        byte if byte.is_ascii_alphanumeric() => char::from(*byte).to_string(),
        byte => format!("_{byte:02x}"),
    };
    if name.is_empty() {
        return format!("{OBJECT}/unit/_");
    }
    format!("{OBJECT}/unit/{}", name.iter().map(escape).collect::<String>())
}

fn list(memory: &MemoryHost, units: &[Listed<'_>]) {
    memory.set_bus_reply(OBJECT, MANAGER, "ListUnits", "a(ssssssouso)", |body| {
        body.array(b'(', |all| {
            for (name, load_state, active_state) in units {
                all.fields(|unit| {
                    unit.text(name);
                    unit.text(b"A unit");
                    unit.text(load_state.as_bytes());
                    unit.text(active_state.as_bytes());
                    unit.text(b"running");
                    unit.text(b"");
                    unit.text(path_of(name).as_bytes());
                    unit.number_32(0);
                    unit.text(b"");
                    unit.text(b"/");
                });
            }
        });
    });
}

fn set_manager(memory: &MemoryHost, name: &str, text: &str) {
    memory.set_bus_property(OBJECT, MANAGER, name, "s", |value| value.text(text.as_bytes()));
}

/// Sets a property of a unit; the interface is that of the unit's kind, such as `Service`.
fn set(
    memory: &MemoryHost,
    unit: &str,
    kind_and_name: &str,
    signature: &str,
    value: impl FnOnce(&mut BusWriter<'_>),
) {
    let (kind, name) = kind_and_name.split_once('.').unwrap();
    let interface = format!("org.freedesktop.systemd1.{kind}");
    memory.set_bus_property(&path_of(unit.as_bytes()), &interface, name, signature, value);
}

fn set_type(memory: &MemoryHost, unit: &str, name: &str) {
    set(memory, unit, "Service.Type", "s", |value| value.text(name.as_bytes()));
}

fn set_serial(memory: &MemoryHost, loaded: u64, jobs: u32) {
    let set = |name, signature, value: &dyn Fn(&mut BusWriter<'_>)| {
        memory.set_bus_property(OBJECT, MANAGER, name, signature, value);
    };
    set("UnitsLoadTimestampMonotonic", "t", &|value| value.number_64(loaded));
    set("NInstalledJobs", "u", &|value| value.number_32(jobs));
}

const UNITS: &[Listed<'_>] = &[
    (b"ssh.service", "loaded", "active"),
    (b"backup.service", "loaded", "failed"),
    (b"gone.service", "not-found", "inactive"),
    (b"-.mount", "loaded", "active"),
    (b"ssh.socket", "loaded", "active"),
    (b"old.socket", "loaded", "inactive"),
    (b"backup.timer", "loaded", "reloading"),
    (b"basic.target", "loaded", "activating"),
];

fn memory() -> MemoryHost {
    let memory = MemoryHost::new();
    set_manager(&memory, "Version", "252.39-1~deb12u1");
    set_manager(&memory, "Virtualization", "kvm");
    set_manager(&memory, "SystemState", "running");
    set_serial(&memory, 36_319_852, 20_069);
    list(&memory, UNITS);
    set_type(&memory, "ssh.service", "notify");
    set_type(&memory, "backup.service", "oneshot");
    set(&memory, "-.mount", "Mount.Type", "s", |value| value.text(b"ext4"));
    set(&memory, "ssh.service", "Service.NRestarts", "u", |value| value.number_32(3));
    set(&memory, "ssh.service", "Service.TasksCurrent", "t", |value| value.number_64(7));
    set(&memory, "ssh.service", "Service.TasksMax", "t", |value| value.number_64(4915));
    let set_64 = |unit, name, number| {
        set(&memory, unit, name, "t", |value| value.number_64(number));
    };
    // What is not counted, or has no limit.
    set_64("backup.service", "Service.TasksCurrent", u64::MAX);
    set_64("backup.service", "Service.TasksMax", u64::MAX);
    set_64("ssh.service", "Unit.ActiveEnterTimestamp", 1_700_000_000_500_000);
    set_64("backup.service", "Unit.ActiveEnterTimestamp", 1_600_000_000_000_000);
    set_64("backup.timer", "Timer.LastTriggerUSec", 1_650_000_000_250_000);
    for (name, number) in [("NAccepted", 12), ("NConnections", 2), ("NRefused", 1)] {
        set(&memory, "ssh.socket", &format!("Socket.{name}"), "u", |value| value.number_32(number));
    }
    // Before version 239 refusals were not counted.
    set(&memory, "old.socket", "Socket.NAccepted", "u", |value| value.number_32(0));
    set(&memory, "old.socket", "Socket.NConnections", "u", |value| value.number_32(0));
    memory
}

/// The lines of a page that begin so, without that beginning.
fn lines_of(run: &vitald_core::run::Run, start: &str) -> Vec<String> {
    let page = render(run);
    page.lines().filter_map(|line| line.strip_prefix(start)).map(str::to_owned).collect()
}

#[test]
fn golden() {
    check::<Systemd>(
        &memory().host(),
        &[],
        &expect![[r##"
            # node_systemd_socket_accepted_connections_total counter
            node_systemd_socket_accepted_connections_total{name="ssh.socket"} 12
            node_systemd_socket_accepted_connections_total{name="old.socket"} 0
            # node_systemd_socket_current_connections gauge
            node_systemd_socket_current_connections{name="ssh.socket"} 2
            node_systemd_socket_current_connections{name="old.socket"} 0
            # node_systemd_socket_refused_connections_total gauge
            node_systemd_socket_refused_connections_total{name="ssh.socket"} 1
            # node_systemd_system_running gauge
            node_systemd_system_running 1
            # node_systemd_timer_last_trigger_seconds gauge
            node_systemd_timer_last_trigger_seconds{name="backup.timer"} 1.65000000025e+09
            # node_systemd_unit_state gauge
            node_systemd_unit_state{name="ssh.service",state="active",type="notify"} 1
            node_systemd_unit_state{name="ssh.service",state="activating",type="notify"} 0
            node_systemd_unit_state{name="ssh.service",state="deactivating",type="notify"} 0
            node_systemd_unit_state{name="ssh.service",state="inactive",type="notify"} 0
            node_systemd_unit_state{name="ssh.service",state="failed",type="notify"} 0
            node_systemd_unit_state{name="backup.service",state="active",type="oneshot"} 0
            node_systemd_unit_state{name="backup.service",state="activating",type="oneshot"} 0
            node_systemd_unit_state{name="backup.service",state="deactivating",type="oneshot"} 0
            node_systemd_unit_state{name="backup.service",state="inactive",type="oneshot"} 0
            node_systemd_unit_state{name="backup.service",state="failed",type="oneshot"} 1
            node_systemd_unit_state{name="ssh.socket",state="active",type=""} 1
            node_systemd_unit_state{name="ssh.socket",state="activating",type=""} 0
            node_systemd_unit_state{name="ssh.socket",state="deactivating",type=""} 0
            node_systemd_unit_state{name="ssh.socket",state="inactive",type=""} 0
            node_systemd_unit_state{name="ssh.socket",state="failed",type=""} 0
            node_systemd_unit_state{name="old.socket",state="active",type=""} 0
            node_systemd_unit_state{name="old.socket",state="activating",type=""} 0
            node_systemd_unit_state{name="old.socket",state="deactivating",type=""} 0
            node_systemd_unit_state{name="old.socket",state="inactive",type=""} 1
            node_systemd_unit_state{name="old.socket",state="failed",type=""} 0
            node_systemd_unit_state{name="backup.timer",state="active",type=""} 0
            node_systemd_unit_state{name="backup.timer",state="activating",type=""} 0
            node_systemd_unit_state{name="backup.timer",state="deactivating",type=""} 0
            node_systemd_unit_state{name="backup.timer",state="inactive",type=""} 0
            node_systemd_unit_state{name="backup.timer",state="failed",type=""} 0
            node_systemd_unit_state{name="basic.target",state="active",type=""} 0
            node_systemd_unit_state{name="basic.target",state="activating",type=""} 1
            node_systemd_unit_state{name="basic.target",state="deactivating",type=""} 0
            node_systemd_unit_state{name="basic.target",state="inactive",type=""} 0
            node_systemd_unit_state{name="basic.target",state="failed",type=""} 0
            # node_systemd_units gauge
            node_systemd_units{state="active"} 3
            node_systemd_units{state="activating"} 1
            node_systemd_units{state="deactivating"} 0
            node_systemd_units{state="inactive"} 2
            node_systemd_units{state="failed"} 1
            node_systemd_units{state="reloading"} 1
            # node_systemd_version gauge
            node_systemd_version{version="252.39-1~deb12u1"} 252.39
            # node_systemd_virtualization_info gauge
            node_systemd_virtualization_info{virtualization_type="kvm"} 1
        "##]],
    );
}

#[test]
fn everything_can_be_shown() {
    check::<Systemd>(
        &memory().host(),
        &[
            ("unit_include", r"ssh\..*|backup\.service|-\.mount".into()),
            ("unit_exclude", "".into()),
            ("enable_task_metrics", true.into()),
            ("enable_restarts_metrics", true.into()),
            ("enable_start_time_metrics", true.into()),
        ],
        &expect![[r##"
            # node_systemd_service_restart_total counter
            node_systemd_service_restart_total{name="ssh.service"} 3
            # node_systemd_socket_accepted_connections_total counter
            node_systemd_socket_accepted_connections_total{name="ssh.socket"} 12
            # node_systemd_socket_current_connections gauge
            node_systemd_socket_current_connections{name="ssh.socket"} 2
            # node_systemd_socket_refused_connections_total gauge
            node_systemd_socket_refused_connections_total{name="ssh.socket"} 1
            # node_systemd_system_running gauge
            node_systemd_system_running 1
            # node_systemd_unit_start_time_seconds gauge
            node_systemd_unit_start_time_seconds{name="ssh.service"} 1.7000000005e+09
            node_systemd_unit_start_time_seconds{name="backup.service"} 0
            # node_systemd_unit_state gauge
            node_systemd_unit_state{name="ssh.service",state="active",type="notify"} 1
            node_systemd_unit_state{name="ssh.service",state="activating",type="notify"} 0
            node_systemd_unit_state{name="ssh.service",state="deactivating",type="notify"} 0
            node_systemd_unit_state{name="ssh.service",state="inactive",type="notify"} 0
            node_systemd_unit_state{name="ssh.service",state="failed",type="notify"} 0
            node_systemd_unit_state{name="backup.service",state="active",type="oneshot"} 0
            node_systemd_unit_state{name="backup.service",state="activating",type="oneshot"} 0
            node_systemd_unit_state{name="backup.service",state="deactivating",type="oneshot"} 0
            node_systemd_unit_state{name="backup.service",state="inactive",type="oneshot"} 0
            node_systemd_unit_state{name="backup.service",state="failed",type="oneshot"} 1
            node_systemd_unit_state{name="-.mount",state="active",type="ext4"} 1
            node_systemd_unit_state{name="-.mount",state="activating",type="ext4"} 0
            node_systemd_unit_state{name="-.mount",state="deactivating",type="ext4"} 0
            node_systemd_unit_state{name="-.mount",state="inactive",type="ext4"} 0
            node_systemd_unit_state{name="-.mount",state="failed",type="ext4"} 0
            node_systemd_unit_state{name="ssh.socket",state="active",type=""} 1
            node_systemd_unit_state{name="ssh.socket",state="activating",type=""} 0
            node_systemd_unit_state{name="ssh.socket",state="deactivating",type=""} 0
            node_systemd_unit_state{name="ssh.socket",state="inactive",type=""} 0
            node_systemd_unit_state{name="ssh.socket",state="failed",type=""} 0
            # node_systemd_unit_tasks_current gauge
            node_systemd_unit_tasks_current{name="ssh.service"} 7
            # node_systemd_unit_tasks_max gauge
            node_systemd_unit_tasks_max{name="ssh.service"} 4915
            # node_systemd_units gauge
            node_systemd_units{state="active"} 3
            node_systemd_units{state="activating"} 1
            node_systemd_units{state="deactivating"} 0
            node_systemd_units{state="inactive"} 2
            node_systemd_units{state="failed"} 1
            node_systemd_units{state="reloading"} 1
            # node_systemd_version gauge
            node_systemd_version{version="252.39-1~deb12u1"} 252.39
            # node_systemd_virtualization_info gauge
            node_systemd_virtualization_info{virtualization_type="kvm"} 1
        "##]],
    );
}

#[test]
fn names_are_matched_as_a_whole_and_have_old_settings() {
    let shown = |settings: &[(&str, Node)]| {
        let (run, outcome) = run(&mut open::<Systemd>(&memory().host(), settings), None);
        outcome.unwrap();
        let lines = lines_of(&run, "node_systemd_unit_state{name=\"");
        let mut names: Vec<_> =
            lines.iter().map(|line| line.split('"').next().unwrap().to_owned()).collect();
        names.dedup();
        names.join(" ")
    };
    let all = "ssh.service backup.service ssh.socket old.socket backup.timer basic.target";
    assert_eq!(shown(&[]), all);
    assert_eq!(shown(&[("unit_include", "ssh".into())]), "");
    assert_eq!(shown(&[("unit_include", r"ssh\..*|basic".into())]), "ssh.service ssh.socket");
    assert_eq!(shown(&[("unit_whitelist", r".*\.timer".into())]), "backup.timer");
    let exclude = r"(ssh|old|basic)\..*";
    assert_eq!(shown(&[("unit_exclude", exclude.into())]), "backup.service -.mount backup.timer");
    assert_eq!(
        shown(&[("unit_blacklist", exclude.into())]),
        shown(&[("unit_exclude", exclude.into())])
    );
    let both = [("unit_include", r".*\.service".into()), ("unit_exclude", "ssh.*".into())];
    assert_eq!(shown(&both), "backup.service");
}

/// An old systemd, and one that refuses everything but the list.
#[test]
fn what_systemd_does_not_know_is_left_out() {
    let memory = memory();
    set_manager(&memory, "Version", "systemd 211");
    let (first, outcome) = run(&mut open::<Systemd>(&memory.host(), &[]), None);
    outcome.unwrap();
    assert_eq!(lines_of(&first, "node_systemd_version"), [r#"{version="systemd 211"} 211"#]);
    assert!(lines_of(&first, "node_systemd_timer").is_empty());
    assert!(lines_of(&first, "node_systemd_system_running").is_empty());

    let memory = MemoryHost::new();
    list(&memory, UNITS);
    check::<Systemd>(
        &memory.host(),
        &[("enable_task_metrics", true.into()), ("unit_include", r"ssh.*|backup\.timer".into())],
        &expect![[r##"
            # node_systemd_unit_state gauge
            node_systemd_unit_state{name="ssh.service",state="active",type=""} 1
            node_systemd_unit_state{name="ssh.service",state="activating",type=""} 0
            node_systemd_unit_state{name="ssh.service",state="deactivating",type=""} 0
            node_systemd_unit_state{name="ssh.service",state="inactive",type=""} 0
            node_systemd_unit_state{name="ssh.service",state="failed",type=""} 0
            node_systemd_unit_state{name="ssh.socket",state="active",type=""} 1
            node_systemd_unit_state{name="ssh.socket",state="activating",type=""} 0
            node_systemd_unit_state{name="ssh.socket",state="deactivating",type=""} 0
            node_systemd_unit_state{name="ssh.socket",state="inactive",type=""} 0
            node_systemd_unit_state{name="ssh.socket",state="failed",type=""} 0
            node_systemd_unit_state{name="backup.timer",state="active",type=""} 0
            node_systemd_unit_state{name="backup.timer",state="activating",type=""} 0
            node_systemd_unit_state{name="backup.timer",state="deactivating",type=""} 0
            node_systemd_unit_state{name="backup.timer",state="inactive",type=""} 0
            node_systemd_unit_state{name="backup.timer",state="failed",type=""} 0
            # node_systemd_units gauge
            node_systemd_units{state="active"} 3
            node_systemd_units{state="activating"} 1
            node_systemd_units{state="deactivating"} 0
            node_systemd_units{state="inactive"} 2
            node_systemd_units{state="failed"} 1
            node_systemd_units{state="reloading"} 1
            # node_systemd_version gauge
            node_systemd_version{version=""} 0
            # node_systemd_virtualization_info gauge
            node_systemd_virtualization_info{virtualization_type="unknown"} 1
        "##]],
    );
    set_manager(&memory, "Version", "rawhide");
    set_manager(&memory, "Virtualization", "");
    let (second, _) = run(&mut open::<Systemd>(&memory.host(), &[]), None);
    assert_eq!(lines_of(&second, "node_systemd_version"), [r#"{version=""} 0"#]);
    assert_eq!(
        lines_of(&second, "node_systemd_virtualization_info"),
        [r#"{virtualization_type="none"} 1"#]
    );
    // A version that has states, and does not say which.
    set_manager(&memory, "Version", "212");
    let (third, outcome) = run(&mut open::<Systemd>(&memory.host(), &[]), None);
    assert_eq!(outcome.unwrap_err().to_string(), "bus SystemState: not on this host");
    assert_eq!(lines_of(&third, "node_systemd_version"), [r#"{version="212"} 212"#]);
    for family in ["node_systemd_unit_state", "node_systemd_units"] {
        assert_eq!(lines_of(&third, family), lines_of(&second, family));
    }
}

#[test]
fn a_system_that_is_degraded_is_not_running() {
    let memory = memory();
    for (state, running) in [("running", "1"), ("degraded", "0"), ("starting", "0"), ("", "0")] {
        set_manager(&memory, "SystemState", state);
        let (run, outcome) = run(&mut open::<Systemd>(&memory.host(), &[]), None);
        outcome.unwrap();
        assert_eq!(lines_of(&run, "node_systemd_system_running "), [running]);
    }
}

#[test]
fn properties_of_another_type_are_faults_and_leave_the_rest() {
    let memory = memory();
    set(&memory, "ssh.service", "Service.Type", "u", |value| value.number_32(1));
    set(&memory, "ssh.socket", "Socket.NConnections", "s", |value| value.text(b"2"));
    let (run, outcome) = run(&mut open::<Systemd>(&memory.host(), &[]), None);
    outcome.unwrap();
    let fault = run.fault().unwrap();
    assert_eq!((fault.source, fault.error), ("bus properties", "byte 3: expected a text"));
    let states = lines_of(&run, r#"node_systemd_unit_state{name="ssh.service""#);
    assert_eq!(states[0], r#",state="active",type=""} 1"#);
    assert_eq!(lines_of(&run, r#"node_systemd_unit_state{name="backup.service""#).len(), 5);
    assert_eq!(
        lines_of(&run, "node_systemd_socket"),
        [
            r#"_accepted_connections_total{name="ssh.socket"} 12"#,
            r#"_accepted_connections_total{name="old.socket"} 0"#,
            r#"_current_connections{name="old.socket"} 0"#,
        ]
    );
}

#[test]
fn names_are_any_bytes() {
    let memory = memory();
    list(&memory, &[(b"a\"b\\\n\xff.service", "loaded", "active"), (b"", "loaded", "xä")]);
    check::<Systemd>(
        &memory.host(),
        &[("unit_exclude", "".into()), ("unit_include", "".into())],
        &expect![[r##"
            # node_systemd_system_running gauge
            node_systemd_system_running 1
            # node_systemd_unit_state gauge
            node_systemd_unit_state{name="a\"b\\\n�.service",state="active",type=""} 1
            node_systemd_unit_state{name="a\"b\\\n�.service",state="activating",type=""} 0
            node_systemd_unit_state{name="a\"b\\\n�.service",state="deactivating",type=""} 0
            node_systemd_unit_state{name="a\"b\\\n�.service",state="inactive",type=""} 0
            node_systemd_unit_state{name="a\"b\\\n�.service",state="failed",type=""} 0
            node_systemd_unit_state{name="",state="active",type=""} 0
            node_systemd_unit_state{name="",state="activating",type=""} 0
            node_systemd_unit_state{name="",state="deactivating",type=""} 0
            node_systemd_unit_state{name="",state="inactive",type=""} 0
            node_systemd_unit_state{name="",state="failed",type=""} 0
            # node_systemd_units gauge
            node_systemd_units{state="active"} 1
            node_systemd_units{state="activating"} 0
            node_systemd_units{state="deactivating"} 0
            node_systemd_units{state="inactive"} 0
            node_systemd_units{state="failed"} 0
            node_systemd_units{state="xä"} 1
            # node_systemd_version gauge
            node_systemd_version{version="252.39-1~deb12u1"} 252.39
            # node_systemd_virtualization_info gauge
            node_systemd_virtualization_info{virtualization_type="kvm"} 1
        "##]],
    );
}

/// The types of services that are shown, of one more run.
fn types(collector: &mut Systemd) -> Vec<String> {
    let (run, outcome) = run(collector, None);
    outcome.unwrap();
    let lines = lines_of(&run, r#"node_systemd_unit_state{name=""#);
    let mut types: Vec<_> = lines
        .iter()
        .map(|line| {
            let mut texts = line.split('"').step_by(2);
            let name = line.split('"').next().unwrap();
            let kind = line.split("type=\"").nth(1).unwrap().split('"').next().unwrap();
            texts.next();
            format!("{name} {kind}")
        })
        .collect();
    types.dedup();
    types
}

/// The type of a service is asked for once, and again after a job, after units were loaded anew, and
/// when the unit has come back.
#[test]
fn types_are_kept_until_a_unit_file_may_have_been_read() {
    let memory = memory();
    let service: Listed<'_> = (b"a.service", "loaded", "active");
    let mount: Listed<'_> = (b"m.mount", "loaded", "active");
    let both = &[service, mount];
    let set_types = |service: &str, mount: &str| {
        set_type(&memory, "a.service", service);
        set(&memory, "m.mount", "Mount.Type", "s", |value| value.text(mount.as_bytes()));
    };
    list(&memory, both);
    let settings = [("unit_exclude", "".into())];
    let mut collector = open::<Systemd>(&memory.host(), &settings);
    set_serial(&memory, 1, 1);
    set_types("simple", "ext4");
    assert_eq!(types(&mut collector), ["a.service simple", "m.mount ext4"]);
    // What is mounted may change without a job.
    set_types("forking", "xfs");
    assert_eq!(types(&mut collector), ["a.service simple", "m.mount xfs"]);
    // A job may have started another unit of that name.
    set_serial(&memory, 1, 2);
    assert_eq!(types(&mut collector), ["a.service forking", "m.mount xfs"]);
    set_types("notify", "xfs");
    assert_eq!(types(&mut collector), ["a.service forking", "m.mount xfs"]);
    // All units were loaded anew.
    set_serial(&memory, 2, 2);
    assert_eq!(types(&mut collector), ["a.service notify", "m.mount xfs"]);
    // The unit goes and comes.
    set_types("dbus", "xfs");
    list(&memory, &[mount]);
    assert_eq!(types(&mut collector), ["m.mount xfs"]);
    list(&memory, both);
    assert_eq!(types(&mut collector), ["a.service dbus", "m.mount xfs"]);
    // It is there, but its file has gone.
    list(&memory, &[(b"a.service", "not-found", "inactive")]);
    assert!(types(&mut collector).is_empty());
    // Where systemd does not say when it loaded units, types are asked for every time.
    list(&memory, both);
    for name in ["UnitsLoadTimestampMonotonic", "NInstalledJobs"] {
        set_serial(&memory, 3, 3);
        set_types("exec", "xfs");
        assert_eq!(types(&mut collector)[0], "a.service exec");
        let key = [OBJECT, "org.freedesktop.DBus.Properties", "Get", MANAGER, name];
        memory.set_bus(&key, None);
        assert_eq!(types(&mut collector)[0], "a.service exec");
        set_types("idle", "xfs");
        assert_eq!(types(&mut collector)[0], "a.service idle", "{name}");
    }
}

/// A page of a collector that asks over real sockets, and its error.
fn page_of(collector: &mut Systemd) -> (String, Option<String>) {
    let (run, outcome) = run(collector, None);
    (render(&run), outcome.err().map(|error| error.to_string()))
}

#[test]
fn a_real_socket_gives_the_same_page_and_is_kept() {
    let memory = memory();
    let expected = page_of(&mut open(&memory.host(), &[]));
    let fake = FakeBus::of(&memory);
    let client = MemoryHost::new();
    client.set_bus_socket(fake.path());
    let mut collector = open::<Systemd>(&client.host(), &[]);
    assert_eq!(expected.1, None);
    for _ in 0..3 {
        assert_eq!(page_of(&mut collector), expected);
    }
}

/// A collector with a bus and a socket of systemd's own.
fn with_sockets(
    bus: Option<&FakeBus>,
    systemd: Option<&FakeBus>,
    settings: &[(&str, Node)],
) -> Systemd {
    let client = MemoryHost::new();
    if let Some(bus) = bus {
        client.set_bus_socket(bus.path());
    }
    if let Some(systemd) = systemd {
        client.set_systemd_socket(systemd.path());
    }
    open::<Systemd>(&client.host(), settings)
}

/// systemd's own socket, where each connection is for one collection.
fn own_socket(memory: &MemoryHost) -> FakeBus {
    let memory = memory.clone();
    FakeBus::new(move |_, mut server| {
        server.authenticate();
        while let Some(call) = server.take() {
            // Without a bus there are no names.
            assert_eq!((&*call.destination, call.member != "Hello"), ("", true));
            server.answer_call(&memory, &call);
        }
    })
}

#[test]
fn systemd_is_asked_directly_where_there_is_no_bus_or_it_is_to_be() {
    let memory = memory();
    let expected = page_of(&mut open(&memory.host(), &[]));
    let other = MemoryHost::new();
    list(&other, &[]);
    let (bus, systemd) = (FakeBus::of(&other), own_socket(&memory));
    let private = [("private", true.into())];
    let mut collector = with_sockets(Some(&bus), Some(&systemd), &private);
    // The second one is served only when the first connection is closed.
    assert_eq!(page_of(&mut collector), expected);
    assert_eq!(page_of(&mut collector), expected);
    assert_eq!(page_of(&mut with_sockets(None, Some(&systemd), &[])), expected);
    let over_the_bus = page_of(&mut with_sockets(Some(&bus), Some(&systemd), &[]));
    assert!(over_the_bus.0.contains(r#"node_systemd_units{state="active"} 0"#));
    // A bus that takes nobody.
    let refusing = FakeBus::new(|_, mut server| {
        server.line();
        server.send(b"REJECTED EXTERNAL\r\n");
    });
    assert_eq!(page_of(&mut with_sockets(Some(&refusing), Some(&systemd), &[])), expected);
    let refused = page_of(&mut with_sockets(Some(&refusing), None, &[])).1.unwrap();
    let socket = refusing.path().display();
    assert_eq!(refused, format!("bus at {socket}: Permission denied (os error 13)"));
    // A bus that goes.
    let going = FakeBus::of(&memory);
    let mut collector = with_sockets(Some(&going), Some(&systemd), &[]);
    assert_eq!(page_of(&mut collector), expected);
    drop(going);
    assert_eq!(page_of(&mut collector), expected);
    let absent = run(&mut with_sockets(None, None, &[]), None).1.unwrap_err();
    assert!(matches!(absent, Error::Absent { .. }), "{absent}");
}

/// Runs with so much time against a bus that is new for it.
fn run_within(
    milliseconds: u64,
    serve: impl FnMut(usize, BusServer) + Send + 'static,
) -> (String, String) {
    let fake = FakeBus::new(serve);
    let mut collector = with_sockets(Some(&fake), None, &[]);
    let mut run = vitald_core::run::Run::new(Systemd::FAMILIES);
    run.begin(None, 0);
    let deadline = Instant::now() + Duration::from_millis(milliseconds);
    let outcome = collector.collect_until(deadline, run.batch());
    run.seal();
    (outcome.unwrap_err().to_string(), render(&run))
}

#[test]
fn a_bus_that_does_not_answer_costs_the_deadline_and_no_more() {
    let began = Instant::now();
    let (error, page) = run_within(100, |_, mut server| server.wait());
    assert!(
        error.starts_with("bus at /") && error.ends_with(": Connection timed out (os error 110)"),
        "{error}"
    );
    assert_eq!(page, "");
    let (error, page) = run_within(100, |_, mut server| {
        server.welcome();
        server.wait();
    });
    assert!(
        error.starts_with("bus at /") && error.ends_with(": Connection timed out (os error 110)"),
        "{error}"
    );
    assert_eq!(page, "");
    assert!(began.elapsed() < Duration::from_secs(30));
}

#[test]
fn what_was_answered_before_the_bus_ended_is_shown() {
    let memory = memory();
    let half = |answers: usize| {
        let memory = memory.clone();
        run_within(60_000, move |number, mut server| {
            // A connection that ends is opened anew once.
            if number == 0 {
                server.welcome();
                server.answer_from(&memory, answers);
                // Another answer is asked for and never comes.
                server.take();
            }
        })
    };
    let (error, page) = half(5);
    assert!(error.starts_with("bus org.freedesktop.systemd1.Manager.ListUnits: "), "{error}");
    assert!(page.contains("node_systemd_version") && !page.contains("node_systemd_units"));
    // But no unit without its type.
    let (error, page) = half(7);
    assert!(error.starts_with("bus at /"), "{error}");
    let has = |name: &str| page.contains(&format!("node_systemd_unit_state{{name=\"{name}\""));
    assert!(has("ssh.service") && !has("backup.service") && has("ssh.socket"), "{page}");
    assert!(!page.contains("node_systemd_system_running"));
}

#[test]
fn a_bus_that_ends_or_sends_garbage_costs_one_run() {
    let memory = memory();
    let expected = page_of(&mut open(&memory.host(), &[]));
    let fake = FakeBus::new(move |number, mut server| {
        server.welcome();
        match number {
            0 => server.answer_from(&memory, 7),
            // Both the question and its repetition over another connection.
            1 => {
                server.take();
                server.send(&[0xff; 64]);
                server.wait();
            }
            2 => {
                let serial = server.take().unwrap().serial;
                let mut message = bus_message(2, serial, "v", b"\x01s\0\0\x01\0\0\0x\0");
                // The fields are longer than the message.
                message[16..20].copy_from_slice(&[5, 1, b'a', 9]);
                server.send(&message);
                server.wait();
            }
            _ => server.answer_from(&memory, usize::MAX),
        }
    });
    let mut collector = with_sockets(Some(&fake), None, &[]);
    for _ in 0..2 {
        assert!(page_of(&mut collector).1.is_some());
    }
    assert_eq!(page_of(&mut collector), expected);
}

#[test]
fn a_reply_that_is_not_a_list_is_an_error() {
    let memory = memory();
    for (signature, bytes) in [
        ("s", &b"\x01\0\0\0x\0"[..]),
        ("a(s)", b"\x06\0\0\0\0\0\0\0\x01\0\0\0x\0"),
        ("", b""),
        ("a(ssssssouso)", b"\xff\xff\xff\xff"),
    ] {
        let key = [OBJECT, MANAGER, "ListUnits"];
        memory.set_bus(&key, Some(Ok((signature.into(), bytes.into()))));
        let (page, error) = page_of(&mut open(&memory.host(), &[]));
        assert!(error.is_some() && !page.contains("node_systemd_unit"), "{signature}: {page}");
    }
}

/// Thousands of services cost neither a round trip each nor, while nothing changes, a call each.
#[test]
fn thousands_of_units_cost_few_calls() {
    let memory = memory();
    let names: Vec<String> = (0..3000).map(|number| format!("a{number}.service")).collect();
    let units: Vec<Listed<'_>> =
        names.iter().map(|name| (name.as_bytes(), "loaded", "active")).collect();
    list(&memory, &units);
    names.iter().for_each(|name| set_type(&memory, name, "simple"));
    let calls = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = std::sync::Arc::clone(&calls);
    let fake = FakeBus::new(move |_, mut server| {
        server.welcome();
        while let Some(call) = server.take() {
            counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            server.answer_call(&memory, &call);
        }
    });
    let mut collector = with_sockets(Some(&fake), None, &[]);
    let mut cost = || {
        assert_eq!(page_of(&mut collector).1, None);
        calls.swap(0, std::sync::atomic::Ordering::Relaxed)
    };
    assert_eq!(cost(), 5 + 1 + 3000);
    assert_eq!(cost(), 5 + 1);
}
