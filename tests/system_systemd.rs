//! The service under a real systemd: what the unit promises, and that its sandbox changes no figure.

mod harness;
mod sandboxed;
mod system;

#[path = "system_systemd/machine.rs"]
mod machine;

use harness::{ask, own_address, try_ask};
use machine::Machine;
use sandboxed::agreement::{assert_agree, page_of_host};
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Stdio;
use std::time::{Duration, Instant};

const NEEDS: &str = "root, VITALD_RELEASE, systemd-container and util-linux";
const SOCKET: &str = "unix:/run/vitald/vitald.sock";
/// What is worse than this needs a reason in the unit.
const WORST_EXPOSURE: f64 = 2.1;
/// How long the port may stay taken after the service was told to stop.
const PORT_FREE: Duration = Duration::from_secs(1);

/// The configuration that is installed, on an address of the test's.
fn config(address: SocketAddr, more: &str) -> String {
    let text = std::fs::read_to_string(harness::root().join("deploy/service.toml"));
    let text = text.expect("deploy/service.toml");
    assert!(text.contains("\":9100\"") && text.contains(SOCKET), "{text}");
    format!("{}\n{more}", text.replace(":9100", &address.to_string()))
}

fn has(address: SocketAddr, family: &str) -> bool {
    let answer = ask(address, "GET", "/metrics", &[]);
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.has(family)
}

fn answers(address: SocketAddr) -> bool {
    try_ask(address, "GET", "/healthz", &[]).is_ok_and(|answer| answer.status == 200)
}

#[test]
#[ignore = "needs root, VITALD_RELEASE, systemd-container and util-linux: cargo test --features full --test system_systemd -- --ignored"]
fn the_unit_is_sound_and_tight() {
    harness::needs(NEEDS);
    let address = own_address(Ipv4Addr::LOCALHOST);
    let machine = Machine::with_vitald(&config(address, ""));
    let verified = machine.sh("systemd-analyze verify --man=no /etc/systemd/system/vitald.service");
    assert_eq!(verified, "");
    machine.sh("systemctl start vitald");
    let judged = machine.sh("systemd-analyze security vitald --no-pager");
    let verdict = judged.lines().last().expect("a verdict");
    println!("figure: systemd-analyze security: {}", verdict.trim_start_matches(['→', ' ']));
    let exposure = verdict.split_whitespace().find_map(|word| word.parse::<f64>().ok());
    assert!(exposure.is_some_and(|exposure| exposure <= WORST_EXPOSURE), "{judged}");

    let status = machine.sh(&format!("cat /proc/{}/status", machine.main_pid()));
    let of = |key: &str| status.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
        assert_eq!(of(set), Some("0000000000000000"), "{status}");
    }
    assert_eq!((of("NoNewPrivs:"), of("Seccomp:")), (Some("1"), Some("2")), "{status}");
}

#[test]
#[ignore = "needs root, VITALD_RELEASE, systemd-container and util-linux: cargo test --features full --test system_systemd -- --ignored"]
fn a_reload_tells_its_outcome() {
    harness::needs(NEEDS);
    let (first, second) = (own_address(Ipv4Addr::LOCALHOST), own_address(Ipv4Addr::LOCALHOST));
    let machine = Machine::with_vitald(&config(first, ""));
    let begun = Instant::now();
    machine.sh("systemctl start vitald");
    // systemctl has waited for READY=1, and not in vain.
    assert!(answers(first));
    println!("start to ready: {:?}", begun.elapsed());
    let pid = machine.main_pid();
    assert!(has(first, "node_load1"));
    machine.sh_refused(
        "setpriv --reuid=nobody --regid=nogroup --clear-groups cat /etc/vitald/config.toml",
    );

    // Also the address may change: the socket is what the unit asks through.
    machine.write_config(&config(second, "[collectors.loadavg]\nenabled = false\n"));
    let begun = Instant::now();
    machine.sh("systemctl reload vitald");
    println!("reload: {:?}", begun.elapsed());
    assert!(!answers(first) && answers(second) && !has(second, "node_load1"));
    let status = machine.sh("systemctl status vitald --no-pager");
    assert!(status.contains("Active: active (running)"), "{status}");
    assert!(status.contains("collectors stopped: loadavg"), "{status}");
    assert_eq!(machine.property("ReloadResult"), "success");
    assert_eq!((machine.main_pid(), machine.restarts()), (pid, 0));

    let mistakes = "[scrpe]\n[collectors.loadavg]\nenabled = \"no\"\n";
    machine.write_config(&config(second, mistakes));
    machine.sh_refused("systemctl reload vitald");
    let status = machine.sh("systemctl status vitald --no-pager");
    assert!(status.contains("Active: active (running)"), "{status}");
    assert!(status.contains("status=78"), "{status}");
    let journal = machine.journal();
    for mistake in ["scrpe", "enabled"] {
        let is_reported = |line: &&str| {
            line.contains("mistake=\"/etc/vitald/config.toml:") && line.contains(mistake)
        };
        assert_eq!(journal.lines().filter(is_reported).count(), 1, "{mistake}:\n{journal}");
    }
    // By hand it says the same, and finds the daemon through no file or through the wrong one.
    for line in ["vitald reload", "vitald reload --config /etc/vitald/config.toml"] {
        let told = machine.sh_refused(line);
        let daemon = format!("vitald: the daemon at {SOCKET} reads /etc/vitald/config.toml: ");
        assert!(told.contains("scrpe") && told.contains(&daemon), "{line}: {told}");
    }
    assert!(answers(second) && !has(second, "node_load1"));
    let page = ask(second, "GET", "/metrics", &[]);
    assert_eq!(page.value("vitald_config_last_reload_successful"), Some(0.0));
    assert_eq!((machine.main_pid(), machine.restarts()), (pid, 0));

    machine.write_config(&config(second, ""));
    machine.sh("systemctl log-level debug");
    machine.sh("systemctl kill --kill-who=main --signal=HUP vitald");
    machine.until("SIGHUP has taken effect", || has(second, "node_load1"));
    let heard = || machine.sh("journalctl --sync && journalctl _PID=1 --no-pager --output=cat");
    let told = format!("Got notification message from PID {pid} (RELOADING=1");
    machine.until("systemd knows of it", || {
        let heard = heard();
        let after = heard.split(&told).nth(1);
        after.is_some_and(|after| after.contains(&format!("from PID {pid} (READY=1)")))
    });

    // By hand it works as well: for root and for the daemon's own user, and no other one.
    let reload = format!("/usr/bin/vitald reload --to {SOCKET}");
    assert!(machine.sh(&reload).contains("applied"));
    for line in ["vitald reload", "vitald reload --config /etc/vitald/config.toml"] {
        let told = machine.sh(line);
        let daemon = format!("the daemon at {SOCKET} reads /etc/vitald/config.toml\n");
        assert!(told.starts_with(&daemon), "{line}: {told}");
    }
    machine.write("/etc/another.toml", &config(second, ""));
    let told = machine.sh_refused("vitald reload --config /etc/another.toml");
    assert!(told.contains("reads /etc/vitald/config.toml, not /etc/another.toml"), "{told}");
    assert!(
        machine
            .sh(&format!("setpriv --reuid=vitald --regid=vitald --clear-groups {reload}"))
            .contains("applied")
    );
    machine.sh_refused(&format!("setpriv --reuid=nobody --regid=nogroup --clear-groups {reload}"));
    let put = ask(second, "PUT", "/plugins/reload", &[]);
    assert_eq!(put.status, 404, "{}", put.body);
    assert_eq!((machine.main_pid(), machine.restarts()), (pid, 0));
}

#[test]
#[ignore = "needs root, VITALD_RELEASE, systemd-container and util-linux: cargo test --features full --test system_systemd -- --ignored"]
fn the_status_and_the_journal_say_what_is_wrong() {
    harness::needs(NEEDS);
    let address = own_address(Ipv4Addr::LOCALHOST);
    // Nobody is there whom it could ask.
    let more = "[collectors.supervisord]\nenabled = true\n";
    let machine = Machine::with_vitald(&config(address, more));
    let errors = || {
        machine.sh(
            "journalctl --sync && journalctl --unit=vitald --priority=err --no-pager --output=cat \
             _SYSTEMD_UNIT=vitald.service",
        )
    };
    machine.write_config(&config(address, "[scrpe]\n"));
    machine.sh_refused("systemctl start vitald");
    let said = errors();
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines.len() == 2 && lines[0].contains("scrpe"), "{said}");
    assert_eq!(lines[1], "vitald: 1 mistake in the configuration");

    machine.write_config(&config(address, more));
    machine.sh("systemctl start vitald");
    let status = || machine.property("StatusText");
    let begins = |text: &str| {
        let rest = text.split_once(&format!(" collectors on {address}, {SOCKET}; "));
        rest.is_some_and(|(count, rest)| {
            count.parse::<u32>().is_ok()
                && rest.contains(" absent; ")
                && rest.contains("failing: supervisord")
        })
    };
    machine.until("the status has figures", || begins(&status()));
    println!("{}", status());
    let pid = machine.main_pid();
    // Not an error, but with its fields.
    assert_eq!(errors(), said);
    let entry = machine
        .sh("journalctl --unit=vitald --no-pager --output=json VITALD_COLLECTOR=supervisord");
    let entry: serde_json::Value = serde_json::from_str(&entry).expect("one entry");
    let field = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
    assert_eq!((&*field("PRIORITY"), &*field("SYSLOG_IDENTIFIER")), ("4", "vitald"), "{entry}");
    assert_eq!(field("_PID"), pid.to_string(), "{entry}");
    assert!(field("VITALD_ERROR").contains("refused"), "{entry}");
    let message = field("MESSAGE");
    assert!(message.starts_with("the collector failed collector=supervisord error="), "{message}");

    machine.write_config(&config(address, "[scrpe]\n"));
    machine.sh_refused("systemctl reload vitald");
    machine.until("the status says so", || {
        begins(&status())
            && status().ends_with("; the last reload was refused (1 mistake in the log)")
    });
    let said: Vec<String> = errors().lines().skip(2).map(str::to_owned).collect();
    assert_eq!(said.iter().filter(|line| line.contains("scrpe")).count(), 1, "{said:?}");
    assert!(said.len() == 2 && said[1].ends_with("its log says why"), "{said:?}");

    // So is what is wrong with a command line.
    machine.sh_refused(
        "systemd-run --quiet --service-type=oneshot --unit=mistyped vitald run --confg /etc/vitald",
    );
    let of_it = "journalctl --sync && journalctl --unit=mistyped --priority=err --output=cat";
    assert!(machine.sh(of_it).contains("'--confg'"), "{}", machine.sh(of_it));

    // What a unit says of its lines holds for plain ones alone, as they are without the variable.
    machine.sh("systemd-run --quiet --unit=plain --property=SyslogIdentifier=other \
         --property=UnsetEnvironment=JOURNAL_STREAM \
         --setenv=VITALD__SERVER__LISTEN=unix:/run/plain.sock vitald run");
    let of_it = "journalctl --sync && journalctl --unit=plain --identifier=other --output=cat";
    machine.until("its lines are plain", || {
        machine.sh(of_it).lines().any(|line| line.contains("level=info msg=started"))
    });
    machine.sh("systemctl stop plain");

    // A journal that takes nothing holds up nothing: here it gets more than there is room for.
    let wrong: String = (0..100).map(|number| format!("[wrong{number}]\n")).collect();
    machine.write_config(&config(address, &wrong));
    machine.sh("systemctl kill --kill-who=main --signal=STOP systemd-journald");
    for _ in 0..3 {
        machine.sh_refused("vitald reload");
    }
    let waits = format!("grep -l '^log$' /proc/{pid}/task/*/comm | sed s/comm/wchan/ | xargs cat");
    println!("the thread of the log is in {}", machine.sh(&waits));
    assert!(answers(address));
    machine.write_config(&config(address, ""));
    machine.sh("vitald reload");
    machine.until("the status is well", || !status().contains("reload"));
    machine.sh("systemctl kill --kill-who=main --signal=CONT systemd-journald");
    machine.until("the journal has it all", || machine.journal().contains("configuration applied"));
    assert_eq!((machine.main_pid(), machine.restarts()), (pid, 0));
    assert!(!status().contains("failing"), "{}", status());
}

#[test]
#[ignore = "needs root, VITALD_RELEASE, systemd-container and util-linux: cargo test --features full --test system_systemd -- --ignored"]
fn what_dies_or_hangs_comes_back() {
    harness::needs(NEEDS);
    let address = own_address(Ipv4Addr::LOCALHOST);
    let machine = Machine::with_vitald(&config(address, ""));
    machine.drop_in("soon", "[Service]\nRestartSec=200ms\nWatchdogSec=2s\n");
    machine.sh("systemctl start vitald");
    let first = machine.main_pid();

    // More often than systemd lets a service restart by default.
    for round in 1..=6 {
        let signal = if round % 2 == 0 { "KILL" } else { "ABRT" };
        machine.sh(&format!("systemctl kill --kill-who=main --signal={signal} vitald"));
        let is_back = || machine.restarts() == round && machine.property("ActiveState") == "active";
        machine.until(&format!("it is back after SIG{signal}"), is_back);
        assert!(answers(address));
    }
    assert_ne!(machine.main_pid(), first);

    // Fed for longer than the watchdog waits, without a scrape.
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(machine.restarts(), 6, "{}", machine.journal());
    let begun = Instant::now();
    machine.sh("systemctl kill --kill-who=main --signal=STOP vitald");
    let is_back = || machine.restarts() == 7 && machine.property("ActiveState") == "active";
    machine.until("it is back after it hung", is_back);
    println!("stuck to serving again, with a watchdog of 2 s: {:?}", begun.elapsed());
    assert!(answers(address));
    let log = machine.sh("journalctl --sync && journalctl --no-pager --output=cat");
    assert!(log.contains("Watchdog timeout"), "{log}");
}

#[test]
#[ignore = "needs root, VITALD_RELEASE, systemd-container and util-linux: cargo test --features full --test system_systemd -- --ignored"]
fn a_start_that_cannot_succeed_is_not_repeated() {
    harness::needs(NEEDS);
    let address = own_address(Ipv4Addr::LOCALHOST);
    let machine = Machine::with_vitald(&config(address, "[scrpe]\n"));
    machine.drop_in("soon", "[Service]\nRestartSec=200ms\n");
    machine.sh_refused("systemctl start vitald");
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(machine.property("ActiveState"), "failed");
    assert_eq!(machine.property("ExecMainStatus"), "78");
    assert_eq!(machine.restarts(), 0);
    assert!(machine.journal().contains("scrpe"), "{}", machine.journal());

    // An address that is taken is another matter: that may pass.
    machine.write_config(&config(address, ""));
    let other = TcpListener::bind(address).expect("the port");
    machine.sh("systemctl start --no-block vitald");
    machine.until("it has tried in vain", || machine.restarts() >= 6);
    drop(other);
    machine.until("it has the address", || machine.property("ActiveState") == "active");
    assert!(answers(address));
}

#[test]
#[ignore = "needs root, VITALD_RELEASE, systemd-container and util-linux: cargo test --features full --test system_systemd -- --ignored"]
fn the_port_is_free_as_soon_as_it_stops() {
    harness::needs(NEEDS);
    let address = own_address(Ipv4Addr::LOCALHOST);
    let machine = Machine::with_vitald(&config(address, ""));
    machine.sh("systemctl start vitald");
    let _idle = TcpStream::connect(address).expect("it listens");
    assert!(answers(address));
    let begun = Instant::now();
    let mut stopping =
        machine.command("systemctl").args(["stop", "vitald"]).spawn().expect("nsenter");
    machine.until("the port is free", || TcpListener::bind(address).is_ok());
    let free = begun.elapsed();
    assert!(stopping.wait().expect("systemctl").success());
    println!("stop: port free after {free:?}, stopped after {:?}", begun.elapsed());
    assert!(free < PORT_FREE, "{free:?}");
    assert_eq!(machine.property("Result"), "success");
    assert_eq!(machine.sh("ls /run/vitald 2>&1 || true").lines().count(), 1);
}

/// Everything that the machine has, in figures that can be compared: no result is shown twice, and
/// of the processes only those that live, without the two daemons, each of which has a connection
/// more when it is asked. `portable` is not among them: sysinfo, which it shows,
/// reads the service's own mounts and nothing else.
fn everything(address: SocketAddr) -> String {
    let more = r#"
        [scrape]
        max_age = "0s"
        [collectors.filesystem]
        fs_types_exclude = "^autofs$"
        mount_timeout = "300ms"
        [collectors.netdev]
        address_info = true
        label_ifalias = true
        [collectors.netstat]
        fields = ""
        [collectors.process_groups]
        enabled = true
        children = false
        remove_empty_groups = true
        rules = [{ name = "${user} ${unit}", cgroup = '/(?P<unit>init|other|systemd-journald)[.]' }]
        [collectors.stat]
        softirq = true
        [collectors.textfile]
        directory = ["/home/metrics", "/tmp/metrics", "/root/metrics"]
        [collectors.vmstat]
        fields = ""
    "#;
    config(address, more)
}

#[test]
#[ignore = "needs root, VITALD_RELEASE, systemd-container and util-linux: cargo test --features full --test system_systemd -- --ignored"]
fn the_sandbox_changes_no_figure() {
    harness::needs(NEEDS);
    let (sandboxed, reference) =
        (own_address(Ipv4Addr::LOCALHOST), own_address(Ipv4Addr::LOCALHOST));
    let machine = Machine::with_vitald(&everything(sandboxed));
    machine.sh("mount -t tmpfs -o size=8m home /home && mount -t tmpfs -o size=9m temporary /tmp
         mkdir /home/inner /tmp/inner
         mount -t tmpfs -o size=10m inner-home /home/inner
         mount -t tmpfs -o size=11m,ro inner-temporary /tmp/inner");
    for place in ["home", "tmp"] {
        machine.write(&format!("/{place}/metrics/of.prom"), &format!("from_{place} 1\n"));
    }
    machine.sh("systemd-run --quiet --unit=other --uid=daemon sleep infinity");
    machine.sh("hostname before && systemctl start vitald");
    // The same user with nothing around it.
    machine.sh(&format!(
        "systemd-run --quiet --unit=reference --service-type=notify --property=User=vitald \
         --setenv=VITALD__SERVER__LISTEN={reference} \
         /usr/bin/vitald run --config /etc/vitald/config.toml"
    ));
    let mounts = |process: &str| machine.sh(&format!("readlink /proc/{process}/ns/mnt"));
    assert_ne!(mounts(&machine.main_pid().to_string()), mounts("1"));
    let unconfined = machine.sh("systemctl show reference --property=MainPID --value");
    assert_eq!(mounts(unconfined.trim()), mounts("1"));

    let page = assert_agree(reference, sandboxed);
    // Each of these file systems has its own name as a device.
    let read_only = |device: &str| {
        page_of_host(sandboxed).value("node_filesystem_readonly", &[("device", device)])
    };
    assert_eq!((read_only("overlay"), read_only("home")), (Some(0.0), Some(0.0)));
    assert_eq!((read_only("temporary"), read_only("inner-home")), (Some(0.0), Some(0.0)));
    assert_eq!(read_only("inner-temporary"), Some(1.0));
    let size = page.value("node_filesystem_size_bytes", &[("device", "inner-temporary")]);
    assert_eq!(size, Some(f64::from(11 << 20)));
    assert_eq!((page.value("from_home", &[]), page.value("from_tmp", &[])), (Some(1.0), Some(1.0)));
    let groups = page.values_of("namedprocess_namegroup_num_procs", "groupname");
    assert!(groups.contains("daemon other") && groups.contains("root init"), "{groups:?}");

    // What changes later must be seen as well, and the sandbox must not hold on to what goes.
    machine.sh("mkdir /home/late && mount -t tmpfs -o size=12m late /home/late
         umount /tmp/inner
         mount -o remount,ro /home
         hostname after");
    let page = assert_agree(reference, sandboxed);
    assert_eq!((read_only("late"), read_only("inner-temporary")), (Some(0.0), None));
    assert_eq!(read_only("home"), Some(1.0));
    let name = page.values_of("node_uname_info", "nodename");
    assert_eq!(name.into_iter().collect::<Vec<_>>(), ["after"]);

    // A host that hides other users' processes: the service sees them all the same. What comes or goes meanwhile, as a
    // neighbour on the network does, is on one page of the reference alone.
    let before = page_of_host(reference);
    machine.sh("mount -o remount,hidepid=invisible /proc && systemctl restart vitald");
    machine
        .sh_refused("setpriv --reuid=vitald --regid=vitald --clear-groups cat /proc/1/mountinfo");
    let hidden = page_of_host(sandboxed);
    machine.sh("mount -o remount,hidepid=off /proc && systemctl restart reference");
    let plugins = ask(sandboxed, "GET", "/plugins/filesystem", &[]);
    assert!(plugins.json()["degraded"].is_null(), "{}", plugins.body);
    let after = page_of_host(reference);
    let (before, hidden, after) = (before.series(), hidden.series(), after.series());
    let missing: Vec<_> =
        before.intersection(&after).filter(|one| !hidden.contains(*one)).collect();
    let more: Vec<_> = hidden.difference(&before).filter(|one| !after.contains(*one)).collect();
    assert!(missing.is_empty() && more.is_empty(), "without {missing:#?}, and with {more:#?}");
    assert_agree(reference, sandboxed);

    // A unit that hides what is of the kernel.
    machine.drop_in("subset", "[Service]\nProcSubset=pid\n");
    machine.sh("systemctl restart vitald");
    machine.until("it says so", || {
        let ready = ask(sandboxed, "GET", "/readyz", &[]).body;
        ready.contains("take ProcSubset=pid out of the unit")
    });
}

#[test]
#[ignore = "needs root, VITALD_RELEASE, systemd-container and util-linux: cargo test --features full --test system_systemd -- --ignored"]
fn nothing_the_daemon_does_is_forbidden() {
    harness::needs(NEEDS);
    let address = own_address(Ipv4Addr::LOCALHOST);
    let machine = Machine::with_vitald(&everything(address));
    // What would be refused, and perhaps not be noticed, ends the daemon.
    machine.drop_in("strict", "[Service]\nSystemCallErrorNumber=kill\n");
    machine.sh("systemctl start vitald");
    let pid = machine.main_pid();
    page_of_host(address);
    // A file system that never answers takes the thread that can be given up.
    let device = File::options().read(true).write(true).open("/dev/fuse").expect("/dev/fuse");
    machine.sh("mkdir /srv/hangs");
    let mounted = machine
        .command("mount")
        .args(["-i", "-t", "fuse", "-o", "fd=0,rootmode=40000,user_id=0,group_id=0,allow_other"])
        .args(["hanging", "/srv/hangs"])
        .stdin(Stdio::from(device.try_clone().expect("a descriptor")))
        .status();
    assert!(mounted.expect("mount").success());
    let page = page_of_host(address);
    let stuck = [("device", "hanging"), ("device_error", "mountpoint timeout")];
    assert_eq!(page.value("node_filesystem_device_error", &stuck), Some(1.0));
    machine.sh("systemctl reload vitald");
    machine.write_config(&everything(own_address(Ipv4Addr::LOCALHOST)));
    machine
        .sh("systemctl reload vitald && /usr/bin/vitald health --config /etc/vitald/config.toml");
    assert_eq!((machine.main_pid(), machine.restarts()), (pid, 0));
    machine.sh("systemctl stop vitald");
    assert_eq!(machine.property("Result"), "success", "{}", machine.journal());
}

#[test]
#[ignore = "needs root, VITALD_RELEASE, systemd-container and util-linux: cargo test --features full --test system_systemd -- --ignored"]
fn capabilities_are_given_as_the_manual_says() {
    harness::needs(NEEDS);
    let manual = std::fs::read_to_string(harness::root().join("docs/security.md"));
    let manual = manual.expect("docs/security.md");
    let block = manual.split("```ini\n").nth(1).and_then(|rest| rest.split("```").next());
    let block = block.expect("a drop-in");
    let address = own_address(Ipv4Addr::LOCALHOST);
    let more = "[collectors.slabinfo]\nenabled = true\n[collectors.perf]\nenabled = true\n\
                disable_hardware_profilers = true\ndisable_cache_profilers = true\n";
    let machine = Machine::with_vitald(&config(address, more));
    let families = ["node_slabinfo_active_objects", "node_perf_context_switches_total"];
    machine.sh("systemctl start vitald");
    assert_eq!(families.map(|family| has(address, family)), [false; 2]);
    machine.drop_in("capabilities", block);
    machine.sh("systemctl restart vitald");
    let states = ask(address, "GET", "/plugins", &[]).body;
    assert_eq!(families.map(|family| has(address, family)), [true; 2], "{states}");

    // As vitald itself says it, of the same configuration and of one that needs nothing.
    let install = |config: &str| {
        machine.write_config(config);
        machine.sh("vitald plugins --systemd --config /etc/vitald/config.toml \
             >/etc/systemd/system/vitald.service.d/capabilities.conf && systemctl daemon-reload");
        let unit = "/etc/systemd/system/vitald.service";
        assert_eq!(machine.sh(&format!("systemd-analyze verify --man=no {unit}")), "");
        machine.sh("systemctl restart vitald");
        machine.property("AmbientCapabilities")
    };
    let given = install(&config(address, "[scrape]\ndefault_collectors = false\n"));
    assert_eq!((&*given, families.map(|family| has(address, family))), ("", [false; 2]));
    let given = install(&config(address, more));
    println!("given: {given}");
    let states = ask(address, "GET", "/plugins", &[]).body;
    assert_eq!(families.map(|family| has(address, family)), [true; 2], "{states}");
}

#[test]
#[ignore = "needs root, VITALD_RELEASE, systemd-container and util-linux: cargo test --features full --test system_systemd -- --ignored"]
fn the_service_can_stand_in_for_node_exporter() {
    harness::needs(NEEDS);
    let address = own_address(Ipv4Addr::LOCALHOST);
    let machine = Machine::with_vitald("");
    let drop_in = std::fs::read_to_string(harness::root().join("deploy/node_exporter.conf"));
    machine.drop_in("node_exporter", &drop_in.expect("deploy/node_exporter.conf"));
    machine.write(
        "/etc/default/prometheus-node-exporter",
        &format!("ARGS=\"--web.listen-address={address} --no-collector.loadavg\"\n"),
    );
    let verified = machine.sh("systemd-analyze verify --man=no /etc/systemd/system/vitald.service");
    assert_eq!(verified, "");
    machine.sh("systemctl start vitald");
    assert!(has(address, "node_exporter_build_info") && !has(address, "node_load1"));
    machine.sh("systemctl reload vitald");
    assert!(has(address, "node_memory_MemTotal_bytes"));
    machine.sh("systemctl stop vitald");
    assert_eq!(machine.property("Result"), "success", "{}", machine.journal());

    // Often it is the node_exporter that it replaces which has the port, and a while longer.
    machine.drop_in("soon", "[Service]\nRestartSec=200ms\n");
    let other = TcpListener::bind(address).expect("the port");
    machine.sh("systemctl start --no-block vitald");
    machine.until("it has tried in vain", || machine.restarts() >= 3);
    let journal = machine.journal();
    assert!(journal.contains("something else listens there already"), "{journal}");
    drop(other);
    machine.until("it has the address", || machine.property("ActiveState") == "active");
    assert!(has(address, "node_memory_MemTotal_bytes"));
    machine.sh("systemctl stop vitald");

    // A wrong flag is another matter: it does not get better.
    machine.write("/etc/default/prometheus-node-exporter", "ARGS=--no-such-flag\n");
    machine.sh_refused("systemctl start vitald");
    machine.until("it has given up", || machine.property("ActiveState") == "failed");
    assert_eq!(machine.property("ExecMainStatus"), "1", "{}", machine.journal());
    assert_eq!(machine.restarts(), 0, "{}", machine.journal());
}

/// What systemd makes of units and files of variables, as `vitald migrate` is tested with it.
const TABLE: &str = include_str!("../collector/src/dropin/unit/table.txt");

/// A part of a line of the table: `%0A` is a byte.
fn decoded(part: &str) -> Vec<u8> {
    let mut parts = part.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at(2);
        bytes.push(u8::from_str_radix(digits, 16).expect("digits"));
        bytes.extend_from_slice(rest.as_bytes());
    }
    bytes
}

/// Prints its arguments, each with a zero byte at its end.
const SHOW_ARGUMENTS: &str = "#!/bin/sh\n[ $# -gt 0 ] && printf '%s\\0' \"$@\"\nexit 0\n";

#[test]
#[ignore = "needs root, VITALD_RELEASE, systemd-container and util-linux: cargo test --features full --test system_systemd -- --ignored"]
fn units_are_read_as_systemd_reads_them() {
    harness::needs(NEEDS);
    let machine = Machine::with_vitald("");
    machine.write("/usr/bin/node_exporter", SHOW_ARGUMENTS);
    machine.write("/etc/case.env", "A='1 2'\nB=file\n");
    machine.write("/etc/case2.env", "A=two\n");
    machine.sh("chmod 755 /usr/bin/node_exporter && mkdir /results /cases");
    let install = |name: &str, unit: &str| {
        let unit_file = format!("/etc/systemd/system/{name}.service");
        machine.write(&unit_file, unit);
        let output = format!("[Service]\nStandardOutput=truncate:/results/{name}\n");
        machine.write(&format!("{unit_file}.d/output.conf"), &output);
    };
    let of_file = |name: &str| {
        format!("[Service]\nEnvironmentFile=-/cases/{name}\nExecStart=/usr/bin/env -0\n")
    };
    // What is in the environment without a file.
    install("case-none", &of_file("case-none"));
    let rows: Vec<(String, &str, Vec<&str>)> = (0..)
        .zip(TABLE.lines())
        .map(|(number, line)| {
            let mut parts = line.split('\t');
            let kind = parts.next().expect("a kind");
            (format!("case-{number}"), kind, parts.collect())
        })
        .collect();
    for (name, kind, parts) in &rows {
        let text = String::from_utf8(decoded(parts[0])).expect("UTF-8");
        if *kind == "file" {
            machine.write(&format!("/cases/{name}"), &text);
            install(name, &of_file(name));
        } else {
            install(name, &text);
        }
    }
    // Those that are refused fail.
    machine.sh("cd /etc/systemd/system && systemctl daemon-reload && \
                for unit in case-*.service; do systemctl start $unit || true; done");
    let running = "systemctl list-units --all --plain --no-legend --state=active,activating,deactivating \
                   'case-*.service'";
    machine.until("all have ended", || machine.sh(running).trim().is_empty());
    let result = |name: &str| -> Option<Vec<Vec<u8>>> {
        let file = format!("/results/{name}");
        let digits = machine
            .sh(&format!("if [ -e {file} ]; then od -An -v -tx1 {file}; else echo none; fi"));
        if digits.trim() == "none" {
            return None;
        }
        let byte = |digits: &str| u8::from_str_radix(digits, 16).expect("digits");
        let bytes: Vec<u8> = digits.split_whitespace().map(byte).collect();
        let mut words: Vec<_> = bytes.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect();
        assert_eq!(words.pop(), Some(Vec::new()), "{name}");
        Some(words)
    };
    let name_of = |word: &[u8]| word.split(|byte| *byte == b'=').next().map(<[u8]>::to_vec);
    let usual: Vec<_> =
        result("case-none").expect("it ran").iter().map(|word| name_of(word)).collect();
    let mut wrong = String::new();
    for (name, kind, parts) in &rows {
        // The units of this test have other names.
        let names_itself = ["%25n", "%25N", "%25p", "%25y", "%25f"];
        if names_itself.iter().any(|specifier| parts[0].contains(specifier)) {
            continue;
        }
        let expected =
            parts[1..].iter().map(|part| if *part == "-" { Vec::new() } else { decoded(part) });
        let expected = (*kind != "refused").then(|| expected.collect::<Vec<_>>());
        let mut found = result(name);
        if *kind == "file" {
            let words = found.as_mut().expect("it ran");
            words.retain(|word| !usual.contains(&name_of(word)));
            words.sort();
        }
        if found != expected {
            wrong += &format!("{}\n{found:?}\n", parts[0]);
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
#[ignore = "needs root, VITALD_RELEASE, systemd-container and util-linux: cargo test --features full --test system_systemd -- --ignored"]
fn a_socket_unit_starts_it_and_keeps_its_socket() {
    harness::needs(NEEDS);
    let address = own_address(Ipv4Addr::LOCALHOST);
    let machine = Machine::with_vitald(&config(address, ""));
    machine.sh("systemctl start vitald");
    assert!(has(address, "node_load1"));
    let unit = std::fs::read_to_string(harness::root().join("deploy/vitald.socket"));
    let unit = unit.expect("deploy/vitald.socket");
    let one = unit.replace("ListenStream=9100", &format!("ListenStream={address}"));
    let second = "/run/vitald-metrics.sock";
    let commented = format!("#ListenStream={second}");
    assert!(one.contains(&address.to_string()) && one.contains(&commented), "{one}");
    machine.write("/etc/systemd/system/vitald.socket", &one);
    machine.write_config(&config(address, "").replace(&address.to_string(), "systemd"));
    // The steps that it says, while vitald has the port.
    let steps = one.lines().filter_map(|line| line.strip_prefix("#   "));
    let steps: Vec<&str> = steps.filter(|step| step.starts_with("systemctl")).collect();
    assert_eq!(steps.len(), 4, "{one}");
    machine.sh(&format!("set -e; {}", steps.join("\n")));
    assert!(has(address, "node_load1"));
    assert_eq!(machine.property("ActiveState"), "active");
    machine.sh("systemctl stop vitald");
    assert_eq!(machine.sh("systemd-analyze verify --man=no /etc/systemd/system/vitald.socket"), "");
    assert_eq!(machine.property("ActiveState"), "inactive");
    // The first connection starts it, and is answered.
    assert!(has(address, "node_load1"));
    assert_eq!(machine.property("ActiveState"), "active");
    machine.sh("systemctl reload vitald");
    assert!(has(address, "node_load1"));
    let pid = machine.main_pid();
    machine.sh("systemctl restart vitald");
    assert!(has(address, "node_load1") && machine.main_pid() != pid);
    let on_sockets = format!(" collectors on {address}, {SOCKET}");
    machine.until("the status names it", || machine.property("StatusText").contains(&on_sockets));
    // Two of them.
    machine.sh("systemctl stop vitald.socket vitald.service");
    let several = one
        .replace(&commented, &commented[1..])
        .replace("#SocketMode", "SocketMode")
        .replace("#SocketGroup=prometheus", "SocketGroup=daemon");
    machine.write("/etc/systemd/system/vitald.socket", &several);
    machine.sh("systemctl daemon-reload && systemctl start vitald.socket");
    assert_eq!(machine.sh("systemd-analyze verify /etc/systemd/system/vitald.socket"), "");
    let health = format!("vitald health --to unix:{second}");
    let as_group =
        |group: &str| format!("setpriv --reuid=nobody --regid=nogroup --groups={group} {health}");
    machine.sh(&as_group("daemon"));
    machine.sh_refused(&as_group("nogroup"));
    assert!(has(address, "node_load1"));
    machine.sh(&format!("systemctl restart vitald && {health}"));
    machine.sh("systemctl kill --signal=KILL vitald");
    machine.until("it is back", || answers(address));
    machine.sh("systemctl stop vitald 2>&1");
    assert_eq!(machine.property("ActiveState"), "inactive");
    assert!(answers(address), "{}", machine.journal());
    machine.sh("systemctl stop vitald.socket vitald.service");
    // As node_exporter.
    let drop_in = std::fs::read_to_string(harness::root().join("deploy/node_exporter.conf"));
    machine.drop_in("node_exporter", &drop_in.expect("deploy/node_exporter.conf"));
    machine.write("/etc/default/prometheus-node-exporter", "ARGS=--web.systemd-socket\n");
    machine.sh("systemctl start vitald.socket");
    assert!(has(address, "node_exporter_build_info"));
    machine.sh("systemctl stop vitald.socket vitald.service");
    machine.sh_refused("systemctl start vitald.service");
    assert!(
        machine.journal().contains("systemd has handed over no socket"),
        "{}",
        machine.journal()
    );
}
