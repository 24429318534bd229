//! The Debian packages on a real systemd: what lintian says of them, the life of the service from its installation
//! to its purge, and vitald in the place of a prometheus-node-exporter that is really installed.

mod harness;
mod sandboxed;
mod system;

#[path = "system_systemd/machine.rs"]
mod machine;

use machine::Machine;
use sandboxed::place::done;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Once;

const NEEDS: &str = "root, VITALD_RELEASE, the xtask beside VITALD_RELEASE, systemd-container, util-linux, procps, dpkg-dev, dpkg-repack, lintian, curl, python3 and prometheus-node-exporter";
/// What is installed first, and what it is upgraded to.
const VERSIONS: [&str; 2] = ["0.1.0", "0.1.0+later"];
/// Says in the machine whether something is installed there that answers.
const PAGE: &str = "curl --silent --fail --retry 30 --retry-delay 1 --retry-connrefused http://localhost:9100/metrics";
const CONFIG: &str = "/etc/vitald/config.toml";
/// Quiet, and never with a question.
const APT: &str = "DEBIAN_FRONTEND=noninteractive apt-get install --yes --allow-downgrades --no-install-recommends";

/// Has the packages of a version written into a folder.
fn write_packages(version: &str, to: &Path) {
    let binary = harness::release_binary().expect("VITALD_RELEASE names the binary to pack");
    let xtask = binary.with_file_name("xtask");
    let mut package = Command::new(xtask);
    package.args(["package", "--version", version, "--binary"]).arg(binary).arg("--out").arg(to);
    // Small packages would cost seconds and show nothing more.
    done(package.env("DPKG_DEB_COMPRESSOR_LEVEL", "0"));
}

/// The folder with the packages of both versions, which are written once. It is among what is built: nothing that lasts as
/// long as the test program takes a temporary folder away.
fn packages() -> &'static Path {
    static WRITTEN: Once = Once::new();
    let folder = Path::new(concat!(env!("CARGO_TARGET_TMPDIR"), "/packages"));
    WRITTEN.call_once(|| {
        let _ = std::fs::remove_dir_all(folder);
        std::fs::create_dir_all(folder).expect("a folder");
        VERSIONS.iter().for_each(|version| write_packages(version, folder));
    });
    folder
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("the packages");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|file| file.extension().is_some_and(|end| end == "deb"));
    files.sort();
    files
}

/// A machine of its own network that has the packages in `/packages`, and on which nothing of vitald's was ever
/// installed.
fn machine() -> Machine {
    let folder = format!("--bind-ro={}:/packages", packages().display());
    let machine = Machine::boot(&["--private-network", &folder]);
    machine.sh(
        "rm -rf /usr/sbin/policy-rc.d /etc/vitald /etc/systemd/system/vitald.service* /usr/bin/vitald
         ip link set lo up
         # It is gone in a minute: nothing has to reach a disk, and no list of all man pages is made.
         echo force-unsafe-io >/etc/dpkg/dpkg.cfg.d/test
         rm -f /var/lib/man-db/auto-update",
    );
    machine
}

fn installed(machine: &Machine, version: usize) -> String {
    let said = machine.sh(&format!("dpkg --install /packages/vitald_{}_*.deb", VERSIONS[version]));
    // A script goes on after what need not succeed.
    assert!(
        !["Syntax", "Usage", "Failed to", "not found"].iter().any(|word| said.contains(word)),
        "{said}"
    );
    said
}

fn is(machine: &Machine, what: &str, unit: &str) -> String {
    machine.sh(&format!("systemctl {what} {unit} || true")).trim().to_owned()
}

fn has(machine: &Machine, family: &str) -> bool {
    machine.sh(PAGE).lines().any(|line| line.starts_with(family))
}

/// What is on a machine that is named after vitald or node_exporter, but for logs and pages that man keeps; and its
/// users and groups.
fn left(machine: &Machine) -> Vec<String> {
    let found = machine.sh(
        "find /etc /usr /var /run -xdev \\( -iname '*vitald*' -o -path '/etc/*prometheus*' \\) \
             ! -path '/var/log/*' ! -path '/var/cache/man/*'
         cut -d: -f1 /etc/passwd /etc/group",
    );
    let mut lines: Vec<String> = found.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

#[test]
#[ignore = "needs root, VITALD_RELEASE, the xtask beside VITALD_RELEASE, systemd-container, util-linux, procps, dpkg-dev, dpkg-repack, lintian, curl, python3 and prometheus-node-exporter: cargo test --features full --test system_package -- --ignored"]
fn lintian_has_nothing_to_say_and_the_same_tree_makes_the_same_packages() {
    harness::needs(NEEDS);
    let of_first: Vec<PathBuf> = files(packages())
        .into_iter()
        .filter(|file| file.to_string_lossy().contains(&format!("_{}_", VERSIONS[0])))
        .collect();
    assert_eq!(of_first.len(), 2, "{of_first:?}");
    let mut lintian = Command::new("lintian");
    lintian.args(["--allow-root", "--fail-on", "error,warning", "--tag-display-limit", "0"]);
    let said = done(lintian.args(&of_first));
    assert!(!said.contains("E: ") && !said.contains("W: "), "{said}");

    let again = tempfile::tempdir().expect("a folder");
    write_packages(VERSIONS[0], again.path());
    for (first, second) in of_first.iter().zip(files(again.path())) {
        assert_eq!(first.file_name(), second.file_name());
        let same = std::fs::read(first).expect("a package") == std::fs::read(&second).expect("it");
        assert!(same, "{} is not the same the second time", first.display());
    }
}

#[test]
#[ignore = "needs root, VITALD_RELEASE, the xtask beside VITALD_RELEASE, systemd-container, util-linux, procps, dpkg-dev, dpkg-repack, lintian, curl, python3 and prometheus-node-exporter: cargo test --features full --test system_package -- --ignored"]
fn the_service_lives_from_its_installation_to_its_purge() {
    harness::needs(NEEDS);
    let machine = machine();
    machine.sh("dpkg --purge --force-depends prometheus-node-exporter 2>&1");
    let before = left(&machine);

    installed(&machine, 0);
    assert_eq!(is(&machine, "is-enabled", "vitald"), "enabled");
    // systemd has been told so by the daemon: its unit is of the type notify.
    assert_eq!(machine.property("ActiveState"), "active", "{}", machine.journal());
    assert!(has(&machine, "node_load1 "));
    let first = machine.main_pid();
    assert_eq!(machine.sh(&format!("ps -o user= -p {first}")).trim(), "vitald");
    assert_eq!(machine.sh(&format!("stat --format='%a %U %G' {CONFIG}")), "640 root vitald\n");
    for page in ["1 vitald", "5 vitald.toml"] {
        machine.sh(&format!(
            "man --where {page} && man --warnings {page} >/tmp/page && [ -s /tmp/page ]"
        ));
    }
    let completed =
        "bash -c '. /usr/share/bash-completion/completions/vitald && complete -p vitald'";
    assert!(machine.sh(completed).contains("_vitald"));

    machine.sh(&format!("printf '[collectors.loadavg]\\nenabled = false\\n' >>{CONFIG}"));
    machine.sh("systemctl reload vitald");
    assert!(!has(&machine, "node_load1 ") && has(&machine, "node_cpu_seconds_total{"));
    machine.sh(&format!("cp {CONFIG} /tmp/good && printf '[nonsense]\\n' >>{CONFIG}"));
    machine.sh_refused("systemctl reload vitald");
    let told = machine.sh_refused("vitald reload");
    assert!(machine.journal().contains("nonsense"), "{told}");
    assert_eq!((machine.main_pid(), machine.property("ActiveState")), (first, "active".to_owned()));
    assert!(!has(&machine, "node_load1 ") && has(&machine, "node_cpu_seconds_total{"));
    machine.sh(&format!("cat /tmp/good >{CONFIG}"));

    // An upgrade keeps what was edited, and its mode.
    machine.sh(&format!("chmod 600 {CONFIG} && chown vitald {CONFIG}"));
    installed(&machine, 1);
    machine.sh(&format!("cmp /tmp/good {CONFIG}"));
    assert_eq!(machine.sh(&format!("stat --format='%a %U %G' {CONFIG}")), "600 vitald vitald\n");
    assert_ne!(machine.main_pid(), first);
    assert_eq!(machine.property("ActiveState"), "active", "{}", machine.journal());
    assert!(!has(&machine, "node_load1 ") && has(&machine, "node_cpu_seconds_total{"));
    // What is switched off stays off.
    machine.sh("systemctl disable --now vitald 2>&1");
    installed(&machine, 0);
    assert_eq!(is(&machine, "is-enabled", "vitald"), "disabled");
    assert_eq!(machine.property("ActiveState"), "inactive");
    machine.sh("systemctl enable --now vitald 2>&1");

    machine.sh("dpkg --remove vitald");
    assert_eq!(is(&machine, "is-active", "vitald"), "inactive");
    machine
        .sh(&format!("cmp /tmp/good {CONFIG} && [ ! -e /usr/bin/vitald ] && [ ! -e /run/vitald ]"));
    installed(&machine, 1);
    machine.sh(&format!("cmp /tmp/good {CONFIG}"));
    assert_eq!(machine.property("ActiveState"), "active", "{}", machine.journal());

    // What the administrator has put there is left, and is the only thing.
    machine.sh("touch /etc/vitald/web.yml && dpkg --purge vitald");
    assert_eq!(machine.sh("ls -A /etc/vitald"), "web.yml\n");
    machine.sh("rm -r /etc/vitald");
    assert_eq!(is(&machine, "is-active", "vitald"), "inactive");
    let after = left(&machine);
    let new: Vec<&String> = after.iter().filter(|line| !before.contains(line)).collect();
    // The user and its group stay, so that their numbers do not become another one's.
    assert_eq!(new, ["vitald", "vitald"]);
    let gone: Vec<&String> = before.iter().filter(|line| !after.contains(line)).collect();
    assert!(gone.is_empty(), "{gone:?}");

    // Where its port is taken it is installed all the same, says so, and starts when the port is free.
    machine.sh("systemd-run --quiet --unit=taken python3 -m http.server 9100");
    machine
        .sh("curl --silent --retry 60 --retry-delay 1 --retry-connrefused http://localhost:9100/");
    let said = installed(&machine, 0);
    assert!(said.contains("vitald.service has not started yet"), "{said}");
    machine.sh("systemctl stop taken");
    machine.until("it has the port", || machine.property("ActiveState") == "active");
    machine.sh("dpkg --purge vitald");

    // Where systemd does not run, as in a chroot, it is installed and enabled, and not started.
    let without = "unshare --mount sh -c 'mount -t tmpfs none /run/systemd && dpkg";
    machine.sh(&format!("{without} --install /packages/vitald_{}_*.deb'", VERSIONS[0]));
    assert_eq!(is(&machine, "is-enabled", "vitald"), "enabled");
    assert_eq!(is(&machine, "is-active", "vitald"), "inactive");
    assert_eq!(machine.sh(&format!("stat --format='%a %U %G' {CONFIG}")), "640 root vitald\n");
    machine.sh(&format!("{without} --purge vitald' && [ ! -e /etc/vitald ]"));
}

#[test]
#[ignore = "needs root, VITALD_RELEASE, the xtask beside VITALD_RELEASE, systemd-container, util-linux, procps, dpkg-dev, dpkg-repack, lintian, curl, python3 and prometheus-node-exporter: cargo test --features full --test system_package -- --ignored"]
fn it_takes_the_place_of_node_exporter_and_gives_it_back() {
    harness::needs(NEEDS);
    let machine = machine();
    let unit = "prometheus-node-exporter";
    let flags = "/etc/default/prometheus-node-exporter";
    machine.write(flags, "ARGS=\"--collector.disable-defaults --collector.loadavg\"\n");
    machine.sh(&format!(
        "cd /tmp && DPKG_DEB_COMPRESSOR_TYPE=none dpkg-repack {unit} && systemctl daemon-reload && systemctl enable --now {unit} 2>&1"
    ));
    let go = |machine: &Machine| has(machine, "go_goroutines ");
    let is_as_flagged =
        |machine: &Machine| has(machine, "node_load1 ") && !has(machine, "node_cpu_seconds_total{");
    let is_on = |machine: &Machine| {
        (is(machine, "is-active", unit), is(machine, "is-enabled", unit))
            == ("active".to_owned(), "enabled".to_owned())
    };
    assert!(is_on(&machine) && go(&machine) && is_as_flagged(&machine));

    // Beside it vitald is installed, and says why it is off; so it is after an upgrade.
    let said = installed(&machine, 0);
    assert!(said.contains(&format!("as {unit}.service does")), "{said}");
    installed(&machine, 1);
    installed(&machine, 0);
    assert_eq!(is(&machine, "is-enabled", "vitald"), "disabled");
    assert_eq!(is(&machine, "is-active", "vitald"), "inactive");
    assert!(is_on(&machine) && go(&machine));

    let said = machine.sh(&format!("{APT} /packages/vitald-node-exporter_{}_all.deb", VERSIONS[0]));
    assert!(said.contains("/vitald-node-exporter/README.Debian"), "{said}");
    assert!(is_on(&machine), "{}", machine.sh(&format!("journalctl --unit={unit} --no-pager")));
    assert!(!go(&machine) && has(&machine, "vitald_build_info{") && is_as_flagged(&machine));
    let process = machine.sh(&format!("systemctl show {unit} --property=MainPID --value"));
    assert_eq!(machine.sh(&format!("ps -o user= -p {process}")).trim(), "prometheus");
    machine.sh(&format!("man --warnings {unit} >/tmp/page && [ -s /tmp/page ]"));
    assert_eq!(machine.sh(&format!("systemd-analyze verify {unit}.service 2>&1")), "");
    machine.sh(&format!("systemctl reload {unit}"));

    // An upgrade of both starts it anew.
    machine.sh(&format!("{APT} /packages/vitald*_{}_*.deb", VERSIONS[1]));
    assert!(is_on(&machine) && is_as_flagged(&machine));
    assert_ne!(machine.sh(&format!("systemctl show {unit} --property=MainPID --value")), process);
    assert_eq!(is(&machine, "is-active", "vitald"), "inactive");

    // What is purged then takes along what it has in common with this package, which brings it back.
    machine.sh(&format!(
        "cp {flags} /tmp/flags && dpkg --purge {unit} && [ ! -e {flags} ]
         rm -rf /var/lib/prometheus/node-exporter
         dpkg-reconfigure --frontend=noninteractive vitald-node-exporter && [ -d /var/lib/prometheus/node-exporter ]"
    ));
    assert!(is_on(&machine) && has(&machine, "node_cpu_seconds_total{"));
    machine.sh(&format!("cp /tmp/flags {flags} && systemctl restart {unit}"));
    assert!(is_on(&machine) && is_as_flagged(&machine));

    // A wrong flag is not tried again and again.
    machine.sh(&format!("echo 'ARGS=--nope' >{flags}; systemctl restart {unit} || true"));
    machine.until("it gives up", || is(&machine, "is-active", unit) == "failed");
    machine.sh(&format!("cp /tmp/flags {flags} && systemctl restart {unit}"));

    // A port that is taken is waited for.
    machine.sh(&format!("systemctl stop {unit}"));
    machine.sh("systemd-run --quiet --unit=taken python3 -m http.server 9100");
    machine
        .sh("curl --silent --retry 60 --retry-delay 1 --retry-connrefused http://localhost:9100/");
    machine.sh(&format!("systemctl start --no-block {unit}"));
    let tried = format!("systemctl show {unit} --property=NRestarts --value");
    machine.until("it has tried in vain", || machine.sh(&tried).trim() != "0");
    machine.sh("systemctl stop taken");
    machine.until("it has the port", || is(&machine, "is-active", unit) == "active");
    assert!(is_as_flagged(&machine));

    // And back, with flags that are not those that it came with; what is purged then is not node_exporter's.
    machine.sh(&format!(
        "echo '# mine' >>{flags} && {APT} --option Dpkg::Options::=--force-confold /tmp/{unit}_*.deb
         grep --quiet mine {flags}"
    ));
    assert!(is_on(&machine) && go(&machine) && is_as_flagged(&machine));
    machine.sh("dpkg --purge vitald-node-exporter vitald");
    assert!(is_on(&machine) && go(&machine));
    machine.sh(&format!("grep --quiet loadavg {flags}"));

    // Without one before it, it has its own file of flags, and leaves nothing.
    machine.sh(&format!("dpkg --purge --force-depends {unit} && rm -f {flags}"));
    machine.sh(&format!("dpkg --install /packages/vitald*_{}_*.deb", VERSIONS[0]));
    assert!(is_on(&machine) && has(&machine, "node_cpu_seconds_total{"));
    assert_eq!(is(&machine, "is-enabled", "vitald"), "disabled");
    machine.sh(&format!("dpkg --purge vitald-node-exporter vitald && [ ! -e {flags} ]"));
    assert_eq!(is(&machine, "is-active", unit), "inactive");

    // Where vitald is on, the place is taken: what comes second is off, and says so.
    installed(&machine, 0);
    assert_eq!(is(&machine, "is-active", "vitald"), "active");
    let stand_in = format!("dpkg --install /packages/vitald-node-exporter_{}_all.deb", VERSIONS[0]);
    let said = machine.sh(&stand_in);
    assert!(said.contains("systemctl disable --now vitald"), "{said}");
    assert_eq!(is(&machine, "is-enabled", unit), "disabled");
    assert_eq!(is(&machine, "is-active", unit), "inactive");
    assert_eq!(is(&machine, "is-active", "vitald"), "active");
    machine.sh("dpkg --purge vitald-node-exporter vitald");

    // One that is masked is not there.
    machine
        .sh("ln -s /dev/null /etc/systemd/system/node_exporter.service && systemctl daemon-reload");
    installed(&machine, 0);
    assert_eq!(is(&machine, "is-active", "vitald"), "active");
}
