//! Namespaces of the tests' own: what they do to mounts and interfaces is seen by no other program on
//! the machine, and gone when they are.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Namespaces, kept by a process that sleeps in them. It ends with the value, and with the test
/// process however that ends.
pub struct Namespaces {
    holder: Child,
    entered: &'static [&'static str],
}

impl Namespaces {
    /// Mounts. To everyone inside, process 1 has these mounts, too, as it has on a real host.
    pub fn of_mounts() -> Self {
        Self::new(&["--mount"], "mount --bind /proc/$$ /proc/1")
    }

    /// Network interfaces: `lo`, and whatever the test makes.
    pub fn of_network() -> Self {
        Self::new(&["--net"], "ip link set lo up")
    }

    /// Both.
    pub fn of_both() -> Self {
        Self::new(&["--mount", "--net"], "mount --bind /proc/$$ /proc/1 && ip link set lo up")
    }

    /// Both, of which no other program makes more: mounts, `lo` and three interfaces.
    pub fn of_four_interfaces() -> Self {
        let namespaces = Self::of_both();
        // As on a host, sysfs has the interfaces that netlink has.
        namespaces.sh("mount -t sysfs sysfs /sys");
        namespaces
            .sh("ip link add veth1 type veth peer name veth2 && ip link add bridge1 type bridge");
        let links = namespaces.sh("ip -oneline link");
        assert_eq!(links.lines().count(), 4, "{links}");
        namespaces
    }

    /// Adds pairs of interfaces, each connected to the other and down: `va1` and `vb1`, `va2` and `vb2`, and so on.
    pub fn add_pairs(&self, pairs: usize) {
        self.sh(&format!(
            "for number in $(seq {pairs}); do
                 echo link add va$number type veth peer name vb$number
             done | ip -batch -"
        ));
    }

    /// Mounts empty file systems in memory, each in a directory of its number below this one.
    pub fn add_mounts(&self, mounts: usize, below: &Path) {
        self.sh(&format!(
            "for number in $(seq {mounts}); do
                 mkdir {below}/$number && mount -t tmpfs many$number {below}/$number
             done",
            below = below.display()
        ));
    }

    fn new(entered: &'static [&'static str], prepare: &str) -> Self {
        // IPv6 sends packets of its own accord.
        let silent = "if [ -e /proc/sys/net/ipv6 ]; then echo 1 | tee \
                      /proc/sys/net/ipv6/conf/all/disable_ipv6 \
                      /proc/sys/net/ipv6/conf/default/disable_ipv6 >/dev/null; fi";
        let silent = if entered.contains(&"--net") { silent } else { "true" };
        let mut holder = Command::new("unshare")
            .args(entered)
            .args(["sh", "-c", &format!("{prepare} && {silent} && echo ready && exec cat")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare of util-linux");
        let mut line = String::new();
        let mut said = BufReader::new(holder.stdout.as_mut().expect("a pipe"));
        said.read_line(&mut line).expect("a line");
        assert_eq!(line, "ready\n", "namespaces {entered:?} cannot be made");
        Namespaces { holder, entered }
    }

    /// The process that keeps them.
    pub fn holder(&self) -> u32 {
        self.holder.id()
    }

    /// A command that runs inside, under the process id it is spawned with.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--target={}", self.holder()));
        command.args(self.entered).arg("--").arg(program);
        command
    }

    /// Runs a line of shell inside, to its end, and takes what it prints.
    #[track_caller]
    pub fn sh(&self, line: &str) -> String {
        let output = self.command("sh").args(["-c", line]).output().expect("nsenter of util-linux");
        let [stdout, stderr] =
            [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
        assert!(output.status.success(), "{line}: {} {stderr}{stdout}", output.status);
        String::from_utf8(output.stdout).expect("text")
    }

    /// Runs a part of the test on a thread in the network namespace, as which it can connect.
    pub fn run<T: Send>(&self, part: impl FnOnce() -> T + Send) -> T {
        let network = File::open(format!("/proc/{}/ns/net", self.holder())).expect("a namespace");
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))
                    .expect("root may enter it");
                part()
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
