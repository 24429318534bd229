//! A machine with a systemd of its own, and vitald installed on it as a service.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use crate::harness::{LONG, release_binary, root};
use crate::sandboxed::place::{Place, done, refused};

/// The machine. It has the network of this one, unless an option says otherwise.
pub struct Machine {
    place: Place,
}

impl Machine {
    /// Boots one, with more options of systemd-nspawn.
    pub fn boot(options: &[&str]) -> Machine {
        Machine { place: Place::make("tests/system_systemd/machine.sh", options) }
    }

    /// Boots one and installs vitald as deploy/vitald.service says, with this configuration.
    pub fn with_vitald(config: &str) -> Machine {
        let machine = Machine::boot(&[]);
        machine
            .sh("rm -rf /etc/vitald /etc/systemd/system/vitald.service* && mkdir -p /etc/vitald");
        let binary = release_binary().expect("VITALD_RELEASE names the binary to install");
        machine.copy(binary, "/usr/bin/vitald");
        let deploy = root().join("deploy");
        machine.copy(deploy.join("vitald.sysusers"), "/usr/lib/sysusers.d/vitald.conf");
        machine.copy(deploy.join("vitald.service"), "/etc/systemd/system/vitald.service");
        machine.sh("chmod 755 /usr/bin/vitald && systemd-sysusers && systemctl daemon-reload");
        machine.write_config(config);
        machine
    }

    /// A path of the machine, as seen from outside.
    fn path(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.place.words[0]))
    }

    pub fn copy(&self, from: PathBuf, to: &str) {
        let copied = fs::copy(&from, self.path(to));
        copied.unwrap_or_else(|error| panic!("{} to {to}: {error}", from.display()));
    }

    pub fn write(&self, path: &str, text: &str) {
        let outside = self.path(path);
        fs::create_dir_all(outside.parent().expect("a folder")).expect("a folder");
        fs::write(&outside, text).unwrap_or_else(|error| panic!("{path}: {error}"));
        fs::set_permissions(&outside, fs::Permissions::from_mode(0o644)).expect("a file");
    }

    /// Writes the configuration for the daemon alone to read.
    pub fn write_config(&self, config: &str) {
        self.write("/etc/vitald/config.toml", config);
        self.sh("chown root:vitald /etc/vitald/config.toml && chmod 640 /etc/vitald/config.toml");
    }

    /// Adds to the unit.
    pub fn drop_in(&self, name: &str, text: &str) {
        self.write(&format!("/etc/systemd/system/vitald.service.d/{name}.conf"), text);
        self.sh("systemctl daemon-reload");
    }

    /// A command inside, as root.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.place.words[0], "--all", "--", program]);
        command
    }

    /// A line of shell, which has to succeed; what it printed.
    #[track_caller]
    pub fn sh(&self, line: &str) -> String {
        done(self.command("sh").args(["-c", line]))
    }

    /// A line of shell, which has to fail; what it printed.
    #[track_caller]
    pub fn sh_refused(&self, line: &str) -> String {
        refused(self.command("sh").args(["-c", line]))
    }

    /// A property of the service.
    pub fn property(&self, name: &str) -> String {
        self.sh(&format!("systemctl show vitald --property={name} --value")).trim().to_owned()
    }

    /// The daemon's process, as the machine counts them.
    pub fn main_pid(&self) -> u32 {
        self.property("MainPID").parse().expect("a number")
    }

    pub fn restarts(&self) -> u32 {
        self.property("NRestarts").parse().expect("a number")
    }

    /// What the service has logged so far.
    pub fn journal(&self) -> String {
        self.sh("journalctl --sync && journalctl --unit=vitald --no-pager --output=cat")
    }

    /// Waits until something is so, and tells what was logged if that never happens.
    #[track_caller]
    pub fn until(&self, what: &str, mut is_so: impl FnMut() -> bool) {
        let limit = std::time::Instant::now() + LONG;
        while !is_so() {
            if std::time::Instant::now() > limit {
                panic!("waited in vain until {what}:\n{}", self.journal());
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}
