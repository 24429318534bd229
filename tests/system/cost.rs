//! What programs cost that are scraped: their CPU time beside each other, and the configuration for it.

use super::client::Client;
use super::peer::{DEFAULT_FIELDS, STANDARD};
use super::process;
use super::statistics::{median, percentile};
use std::path::Path;
use std::time::{Duration, Instant};

/// All collectors that are on by default. No result of one scrape answers the next.
pub const DEFAULTS: &str = "[scrape]\nmax_age = \"0s\"\n";

/// The fixed collectors alone, and lines of settings for some of them.
pub fn standard(settings: &[(&str, &str)]) -> String {
    these_alone(&STANDARD, settings)
}

/// These collectors alone, and lines of settings for some of them.
pub fn these_alone(collectors: &[&str], settings: &[(&str, &str)]) -> String {
    let mut config = format!("{DEFAULTS}default_collectors = false\n");
    for collector in collectors {
        config += &format!("[collectors.{collector}]\nenabled = true\n");
        for (_, line) in settings.iter().filter(|(name, _)| name == collector) {
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

/// A program that is scraped, and what its CPU time was when it was last looked at.
pub struct Target {
    pub name: &'static str,
    pub process: u32,
    address: std::net::SocketAddr,
    pub client: Client,
    time: Duration,
    /// Nanoseconds of CPU time, round by round.
    pub rounds: Vec<f64>,
    /// Seconds that each scrape took, as the client saw it.
    latencies: Vec<f64>,
}

impl Target {
    pub fn new(name: &'static str, process: u32, address: std::net::SocketAddr) -> Target {
        let client = Client::connect(address);
        let time = process::time(process);
        Target { name, process, address, client, time, rounds: Vec::new(), latencies: Vec::new() }
    }

    /// Connects anew, for when the last connection may have been idle for too long.
    pub fn reconnect(&mut self) {
        self.client = Client::connect(self.address);
    }

    /// CPU time since this was last asked, in nanoseconds.
    pub fn spent(&mut self) -> f64 {
        let now = process::time(self.process);
        let spent = now - self.time;
        self.time = now;
        spent.as_nanos() as f64
    }

    pub fn scrape(&mut self, times: usize) {
        for _ in 0..times {
            let begun = Instant::now();
            scrape(&mut self.client, 1);
            self.latencies.push(begun.elapsed().as_secs_f64());
        }
    }

    /// What has been measured since this was last asked: the rounds, and the latencies in seconds.
    pub fn take(&mut self) -> (Vec<f64>, Vec<f64>) {
        (std::mem::take(&mut self.rounds), std::mem::take(&mut self.latencies))
    }

    pub fn print(&mut self, how: &str, scrapes: usize) {
        let micros = median(&self.rounds) / scrapes as f64 / 1e3;
        let at = |share: f64| percentile(&self.latencies, share) * 1e6;
        println!(
            "figure: {how}: {}: {micros:.1} us of CPU a scrape; latency p50 {:.0} us, p99 {:.0} us",
            self.name,
            at(0.5),
            at(0.99)
        );
        self.latencies.clear();
    }
}

/// The configuration that is equal to the flags of node_exporter, and further lines of settings.
pub fn as_flags(textfile: &Path, further: &[(&str, &str)]) -> String {
    as_filters(textfile, further, standard)
}

/// The same for other collectors: `config` makes the configuration from lines of settings.
pub fn as_filters(
    textfile: &Path,
    further: &[(&str, &str)],
    config: impl FnOnce(&[(&str, &str)]) -> String,
) -> String {
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
    config(&settings)
}
