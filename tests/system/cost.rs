//! What programs cost that are scraped: system calls, and CPU time beside each other.

use super::client::Client;
use super::peer::{DEFAULT_FIELDS, STANDARD};
use super::process;
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

/// All collectors that are on by default. No result of one scrape answers the next.
pub const DEFAULTS: &str = "[scrape]\nmax_age = \"0s\"\n";

/// The fixed collectors alone, and lines of settings for some of them.
pub fn standard(settings: &[(&str, &str)]) -> String {
    let mut config = format!("{DEFAULTS}default_collectors = false\n");
    for collector in STANDARD {
        config += &format!("[collectors.{collector}]\nenabled = true\n");
        for (_, line) in settings.iter().filter(|(name, _)| *name == collector) {
            config += &format!("{line}\n");
        }
    }
    config
}

pub fn scrape(client: &mut Client, times: usize) {
    for _ in 0..times {
        client.try_get("/metrics").expect("a page");
    }
}

/// What strace counts while the scrapes are made, by system call, and how many threads were
/// started meanwhile.
pub fn system_calls(process: u32, scrapes: impl FnOnce()) -> (BTreeMap<String, u64>, usize) {
    let table = tempfile::NamedTempFile::new().expect("a file");
    let mut strace = Command::new("strace")
        .args(["-c", "-f", "-p", &process.to_string(), "-o"])
        .arg(table.path())
        .stderr(Stdio::piped())
        .spawn()
        .expect("strace");
    let mut said = BufReader::new(strace.stderr.take().expect("a pipe")).lines();
    // Process 12 attached with 3 threads
    let line = said.next().expect("strace attaches to every thread").expect("text");
    assert!(line.contains("attached"), "{line}");
    scrapes();
    let interrupt = format!("kill -INT {}", strace.id());
    assert!(Command::new("sh").args(["-c", &interrupt]).status().expect("a shell").success());
    let threads = said.map_while(Result::ok).filter(|line| line.contains("attached")).count();
    strace.wait().expect("it ends");
    let text = fs::read_to_string(table.path()).expect("strace's table");
    println!("{text}");
    // % time     seconds  usecs/call     calls    errors syscall
    let row = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let calls = fields.get(3)?.parse().ok()?;
        let name = *fields.last()?;
        (fields.len() >= 5 && name != "total").then(|| (name.to_owned(), calls))
    };
    (text.lines().filter_map(row).collect(), threads)
}

/// A program that is scraped, and what its CPU time was when it was last looked at.
pub struct Target {
    pub name: &'static str,
    process: u32,
    address: std::net::SocketAddr,
    pub client: Client,
    times: BTreeMap<u32, u64>,
    /// Nanoseconds of CPU time, round by round.
    pub rounds: Vec<f64>,
    /// Seconds that each scrape took, as the client saw it.
    latencies: Vec<f64>,
}

impl Target {
    pub fn new(name: &'static str, process: u32, address: std::net::SocketAddr) -> Target {
        let client = Client::connect(address);
        let times = process::thread_times(process);
        Target { name, process, address, client, times, rounds: Vec::new(), latencies: Vec::new() }
    }

    /// Connects anew, for when the last connection may have been idle for too long.
    pub fn reconnect(&mut self) {
        self.client = Client::connect(self.address);
    }

    /// CPU time since this was last asked, in nanoseconds.
    pub fn spent(&mut self) -> f64 {
        let now = process::thread_times(self.process);
        let ended = self.times.keys().filter(|thread| !now.contains_key(thread)).count();
        if ended > 0 {
            println!("{}: {ended} threads ended, and their last time is lost", self.name);
        }
        let before = |thread| self.times.get(thread).copied().unwrap_or(0);
        let spent: u64 = now.iter().map(|(thread, time)| time - before(thread)).sum();
        self.times = now;
        spent as f64
    }

    pub fn scrape(&mut self, times: usize) {
        for _ in 0..times {
            let begun = Instant::now();
            scrape(&mut self.client, 1);
            self.latencies.push(begun.elapsed().as_secs_f64());
        }
    }

    pub fn print(&mut self, how: &str, scrapes: usize) {
        let micros = median(&self.rounds) / scrapes as f64 / 1e3;
        self.latencies.sort_unstable_by(f64::total_cmp);
        let at = |share: f64| self.latencies[(self.latencies.len() as f64 * share) as usize] * 1e6;
        println!(
            "figure: {how}: {}: {micros:.1} us of CPU a scrape; latency p50 {:.0} us, p99 {:.0} us",
            self.name,
            at(0.5),
            at(0.99)
        );
        self.latencies.clear();
    }
}

pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len().is_multiple_of(2) {
        (sorted[middle - 1] + sorted[middle]) / 2.0
    } else {
        sorted[middle]
    }
}

/// The median of the ratios of rounds, with the interval that holds it with 95 % probability, by
/// the bootstrap.
pub fn ratio(above: &[f64], below: &[f64]) -> (f64, f64, f64) {
    let ratios: Vec<f64> = above.iter().zip(below).map(|(above, below)| above / below).collect();
    let mut seed = 1_u64;
    let mut below = |limit: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % limit
    };
    let mut medians: Vec<f64> = (0..4000)
        .map(|_| {
            let again: Vec<f64> = ratios.iter().map(|_| ratios[below(ratios.len())]).collect();
            median(&again)
        })
        .collect();
    medians.sort_unstable_by(f64::total_cmp);
    (median(&ratios), medians[100], medians[3899])
}

/// The configuration that is equal to the flags of node_exporter, and further lines of settings.
pub fn as_flags(textfile: &Path, further: &[(&str, &str)]) -> String {
    let (netstat, vmstat) = DEFAULT_FIELDS;
    let netstat = format!("fields = '{netstat}'");
    let vmstat = format!("fields = '{vmstat}'");
    let textfile = format!("directory = ['{}']", textfile.display());
    let mut settings = vec![
        ("diskstats", r"device_exclude = '^(z?ram|loop|fd)\d+$'"),
        ("filesystem", "mount_points_exclude = '^/(dev|proc|sys)($|/)'"),
        ("filesystem", "fs_types_exclude = '^(cgroup2?|devpts|devtmpfs|overlay|proc|sysfs)$'"),
        ("netdev", "device_exclude = '^none$'"),
        ("netstat", &netstat),
        ("vmstat", &vmstat),
        ("textfile", &textfile),
    ];
    settings.extend(further);
    standard(&settings)
}
