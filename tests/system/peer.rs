//! Other programs that the tests start and end.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{OnceLock, mpsc};
use std::time::{Duration, Instant};

/// How long a program may take to listen.
const LONG: Duration = Duration::from_secs(60);

/// A program that runs until the value ends.
pub struct Peer {
    child: Child,
    address: SocketAddr,
}

impl Peer {
    /// Starts a program that logs where it listens, as Go's exporters, Prometheus and vitald do.
    pub fn start(mut command: Command) -> Peer {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it is installed");
        let lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
        let (tells, hears) = mpsc::channel();
        // To its end: without a reader it would stop when the pipe is full.
        std::thread::spawn(move || {
            lines.map_while(Result::ok).for_each(|line| drop(tells.send(line)));
        });
        match address_in(&hears, LONG) {
            Ok(address) => Peer { child, address },
            Err(said) => {
                let _ = child.kill();
                let _ = child.wait();
                panic!("{command:?} does not say where it listens:\n{said}");
            }
        }
    }

    /// Starts a program that was given where to listen, and waits until it does, or says why it does not.
    pub fn start_at(mut command: Command, address: SocketAddr) -> Result<Peer, String> {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().map_err(|error| format!("{command:?}: {error}"))?;
        let mut peer = Peer { child, address };
        let begun = Instant::now();
        while TcpStream::connect(address).is_err() {
            let ended = peer.child.try_wait().map_err(|error| error.to_string())?;
            if let Some(status) = ended {
                return Err(format!("{command:?} ended: {status}"));
            }
            if begun.elapsed() > LONG {
                return Err(format!("{command:?} does not listen on {address}"));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(peer)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Where a program listens, by the lines that it logs; all of them if that is in none within this time.
fn address_in(lines: &mpsc::Receiver<String>, limit: Duration) -> Result<SocketAddr, String> {
    let end = Instant::now() + limit;
    let mut said = String::new();
    while let Ok(line) = lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
        let is_reported = ["Listening on", "Start listening", "msg=listening"]
            .iter()
            .any(|words| line.contains(words));
        let address = line.split_once("address=").filter(|_| is_reported);
        let address = address.and_then(|(_, rest)| rest.split_whitespace().next()?.parse().ok());
        if let Some(address) = address {
            return Ok(address);
        }
        said = said + &line + "\n";
    }
    Err(said)
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// node_exporter, as Debian has it.
pub const NODE_EXPORTER: &str = "/usr/bin/prometheus-node-exporter";

/// The same with the version that it says it is, as figures name it.
pub fn node_exporter() -> &'static str {
    static NAME: OnceLock<String> = OnceLock::new();
    NAME.get_or_init(|| {
        let said = Command::new(NODE_EXPORTER).arg("--version").output().expect("node_exporter");
        let said = String::from_utf8_lossy(&[said.stdout, said.stderr].concat()).into_owned();
        // node_exporter, version 1.5.0 (branch: debian/sid, revision: ...
        let version = said.split_once("version ").and_then(|(_, rest)| rest.split(' ').next());
        format!("node_exporter {}", version.unwrap_or("of an unknown version"))
    })
}

/// The collectors that are compared and measured: of node_exporter's default ones those that every
/// machine has a source for.
pub const STANDARD: [&str; 16] = [
    "cpu",
    "diskstats",
    "filefd",
    "filesystem",
    "loadavg",
    "meminfo",
    "netdev",
    "netstat",
    "pressure",
    "sockstat",
    "softnet",
    "stat",
    "textfile",
    "time",
    "uname",
    "vmstat",
];

/// Which fields netstat and vmstat show.
pub type Fields = (&'static str, &'static str);

/// Those that node_exporter 1.12 shows unless told otherwise.
pub const DEFAULT_FIELDS: Fields = (
    "^(.*_(InErrors|InErrs)|Ip_Forwarding|Ip(6|Ext)_(InOctets|OutOctets)|Icmp6?_(InMsgs|OutMsgs)|\
     TcpExt_(Listen.*|Syncookies.*|TCPSynRetrans|TCPTimeouts|TCPOFOQueue|TCPRcvQDrop)|\
     Tcp_(ActiveOpens|InSegs|OutSegs|OutRsts|PassiveOpens|RetransSegs|CurrEstab)|\
     Udp6?_(InDatagrams|OutDatagrams|NoPorts|RcvbufErrors|SndbufErrors))$",
    "^(oom_kill|pgpg|pswp|pg.*fault).*",
);

/// Many more.
pub const MANY_FIELDS: Fields =
    ("^(Tcp|Udp|Ip|Icmp|TcpExt_(Listen|Sync|TCP[A-R])).*$", "^(oom_kill|pg|nr_|workingset).*");

/// Flags that make node_exporter 1.5, of which Debian has changed some defaults, and 1.12 show the
/// same of the standard collectors.
pub fn flags(textfile: &Path, fields: &Fields) -> Vec<String> {
    let mut flags = these_alone(&STANDARD);
    flags.extend(filters(textfile, fields));
    flags
}

/// Flags for these collectors and no others.
pub fn these_alone(collectors: &[&str]) -> Vec<String> {
    let these = collectors.iter().map(|collector| format!("--collector.{collector}"));
    these.chain(["--collector.disable-defaults".to_owned()]).collect()
}

/// The flags that decide what the collectors show.
pub fn filters(textfile: &Path, fields: &Fields) -> Vec<String> {
    let mut flags = Vec::new();
    flags.extend(
        [
            "--web.listen-address=127.0.0.1:0",
            "--collector.diskstats.device-exclude=^(z?ram|loop|fd)\\d+$",
            "--collector.filesystem.mount-points-exclude=^/(dev|proc|sys)($|/)",
            "--collector.filesystem.fs-types-exclude=^(cgroup2?|devpts|devtmpfs|overlay|proc|sysfs)$",
            "--collector.netdev.device-exclude=^none$",
        ]
        .map(str::to_owned),
    );
    flags.push(format!("--collector.netstat.fields={}", fields.0));
    flags.push(format!("--collector.vmstat.fields={}", fields.1));
    flags.push(format!("--collector.textfile.directory={}", textfile.display()));
    flags
}
