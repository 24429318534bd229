//! The daemon's own families: how collections went, which configuration runs, what it costs.

use crate::daemon::Daemon;
use crate::dropin::EMULATED_VERSION;
use crate::engine::Counts;
use crate::http::{HttpCounters, OwnMetrics};
use rustix::process::Resource;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use vitald_core::batch::{Batch, Dropped};
use vitald_core::families;
use vitald_core::family::FamilyInfo;
use vitald_core::host::{Host, KeptFile, Roots};
use vitald_core::snapshot::{Snapshot, State};
use vitald_core::text::Fields;

families! {
    /// Seconds a collector took for its last run.
    DURATION: gauge = "node_scrape_collector_duration_seconds" [collector];
    /// Whether a collector's last run succeeded.
    SUCCESS: gauge = "node_scrape_collector_success" [collector];
    /// The node_exporter whose metrics these are, for dashboards that select by it.
    EMULATED: gauge = "node_exporter_build_info" [branch, goarch, goos, goversion, revision, tags, version];
    /// The vitald that serves these metrics.
    BUILD: gauge = "vitald_build_info" [version];
    /// How a collector is; the series of its present state is there.
    STATE: gauge = "vitald_collector_state" [collector, state];
    /// Seconds since the samples of a collector with an interval were read.
    AGE: gauge = "vitald_collector_age_seconds" [collector];
    /// Runs of a collector that failed.
    FAILURES: counter = "vitald_collector_failures_total" [collector];
    /// Runs of a collector that panicked.
    PANICS: counter = "vitald_collector_panics_total" [collector];
    /// Collections that were answered without a collector because it had not come back.
    TIMEOUTS: counter = "vitald_collector_timeouts_total" [collector];
    /// Lines that a collector's parser refused.
    MALFORMED: counter = "vitald_collector_malformed_lines_total" [collector];
    /// Samples that were left out of the page.
    DROPPED: counter = "vitald_samples_dropped_total" [collector, reason];
    /// Configurations applied since the start.
    GENERATION: gauge = "vitald_config_generation";
    /// The running configuration, by the hash of what it means.
    CONFIG: gauge = "vitald_config_info" [hash];
    /// Whether the last attempt to apply a configuration succeeded.
    RELOAD_SUCCESS: gauge = "vitald_config_last_reload_successful";
    /// When a configuration was last applied, in seconds since the epoch.
    RELOAD_SUCCESS_TIME: gauge = "vitald_config_last_reload_success_timestamp_seconds";
    /// When a configuration was last tried, in seconds since the epoch.
    RELOAD_ATTEMPT_TIME: gauge = "vitald_config_last_reload_attempt_timestamp_seconds";
    /// Requests served at this moment.
    IN_FLIGHT: gauge = "vitald_http_requests_in_flight";
    /// Requests answered, by status.
    HTTP_REQUESTS: counter = "vitald_http_requests_total" [code];
    /// Connections open at this moment.
    CONNECTIONS: gauge = "vitald_http_connections";
    /// Connections accepted.
    ACCEPTED: counter = "vitald_http_connections_accepted_total";
    /// Idle connections closed to make room for new ones.
    EVICTED: counter = "vitald_http_connections_evicted_total";
    /// Connections cut because their peer sent or took nothing for too long.
    CUT: counter = "vitald_http_connections_timed_out_total";
    /// Requests refused because too many were being served.
    REFUSED: counter = "vitald_http_requests_refused_total";
    /// Pages refused because slow readers held too many bytes.
    REFUSED_PAGES: counter = "vitald_http_pages_refused_total";
    /// Bytes of answers sent.
    SENT: counter = "vitald_http_sent_bytes_total";
    /// Connections that could not be accepted.
    ACCEPT_ERRORS: counter = "vitald_http_accept_errors_total";
    /// Log lines that were not written: because standard error did not take them, or because their message
    /// repeated without end.
    LOG_DROPPED: counter = "vitald_log_lines_dropped_total";
    /// Requests for metrics answered, by status.
    SCRAPES: counter = "promhttp_metric_handler_requests_total" [code];
    /// Requests for metrics served at this moment.
    SCRAPES_IN_FLIGHT: gauge = "promhttp_metric_handler_requests_in_flight";
    /// Pages that could not be written, and pages that left out what two collectors had.
    SCRAPE_ERRORS: counter = "promhttp_metric_handler_errors_total" [cause];
    /// CPU time this daemon has used, in seconds.
    CPU: counter = "process_cpu_seconds_total";
    /// Memory this daemon has resident, in bytes.
    RESIDENT: gauge = "process_resident_memory_bytes";
    /// Address space of this daemon, in bytes.
    VIRTUAL: gauge = "process_virtual_memory_bytes";
    /// Address space this daemon may have, in bytes.
    VIRTUAL_MAX: gauge = "process_virtual_memory_max_bytes";
    /// When this daemon started, in seconds since the epoch.
    START: gauge = "process_start_time_seconds";
    /// Descriptors this daemon has open.
    OPEN_FDS: gauge = "process_open_fds";
    /// Descriptors this daemon may have open.
    MAX_FDS: gauge = "process_max_fds";
}

/// Writes the daemon's own samples after each collection.
pub(crate) struct Own {
    daemon: Arc<Daemon>,
    http: Arc<HttpCounters>,
    process: Process,
    /// node_exporter's `--web.disable-exporter-metrics`: of itself it tells only how collections
    /// went, and its version.
    collections_only: bool,
    /// What pages left out because two collectors had it, by collector: duplicates and conflicts.
    across: Vec<(&'static str, u64, u64)>,
    /// Pages that left something out, and whether the present one has.
    torn_pages: u64,
    is_torn: bool,
}

impl Own {
    /// For a daemon and its HTTP side.
    pub(crate) fn new(
        daemon: Arc<Daemon>,
        http: Arc<HttpCounters>,
        collections_only: bool,
    ) -> Self {
        Own {
            daemon,
            http,
            process: Process::new(),
            collections_only,
            across: Vec::new(),
            torn_pages: 0,
            is_torn: false,
        }
    }

    fn write_collections(snapshot: &Snapshot, batch: &mut Batch) {
        for part in &snapshot.parts {
            let collector = batch.labels([part.descriptor.name.as_bytes()]);
            batch.push(&DURATION, collector, part.duration.as_secs_f64());
            batch.push(&SUCCESS, collector, part.state == State::Running);
        }
    }

    /// node_exporter counts it among the host's metrics: no flag leaves it out.
    fn write_emulated(batch: &mut Batch) {
        let arch = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        let labels: [&[u8]; 7] =
            [b"", arch.as_bytes(), b"linux", b"", b"", b"", EMULATED_VERSION.as_bytes()];
        batch.row(&EMULATED, labels, 1);
    }

    fn write_collectors(&self, snapshot: &Snapshot, batch: &mut Batch) {
        for part in &snapshot.parts {
            let state = part.state.word().as_bytes();
            batch.row(&STATE, [part.descriptor.name.as_bytes(), state], 1);
        }
        self.daemon.engine.each_status(|status| {
            let name = status.descriptor.name.as_bytes();
            let collector = batch.labels([name]);
            let Counts { failures, panics, timeouts, malformed_lines, .. } = status.counts;
            batch.push(&FAILURES, collector, failures);
            batch.push(&PANICS, collector, panics);
            batch.push(&TIMEOUTS, collector, timeouts);
            batch.push(&MALFORMED, collector, malformed_lines);
            if let (Some(_), Some(age)) = (status.interval, status.age) {
                batch.push(&AGE, collector, age.as_secs_f64());
            }
            let across = self.across.iter().find(|(known, ..)| *known == status.descriptor.name);
            let (duplicates, conflicts) = across.map_or((0, 0), |(_, double, odd)| (*double, *odd));
            for (reason, count) in [
                ("duplicate", status.counts.duplicates + duplicates),
                ("type_conflict", status.counts.conflicts + conflicts),
                ("max_series", status.counts.over_limit),
            ] {
                // A hundred series that are zero on every healthy host help nobody.
                if count > 0 {
                    batch.row(&DROPPED, [name, reason.as_bytes()], count);
                }
            }
        });
    }

    fn write_configuration(&self, batch: &mut Batch) {
        let applied = self.daemon.applied();
        let status = self.daemon.reload_status();
        batch.value(&GENERATION, applied.generation);
        batch.row(&CONFIG, [applied.plan.hash.as_bytes()], 1);
        batch.value(&RELOAD_SUCCESS, status.last_succeeded);
        batch.value(&RELOAD_SUCCESS_TIME, since_epoch(status.last_success));
        batch.value(
            &RELOAD_ATTEMPT_TIME,
            since_epoch(status.last_attempt.unwrap_or(status.last_success)),
        );
    }

    fn write_http(&self, batch: &mut Batch) {
        batch.value(&IN_FLIGHT, self.http.in_flight());
        batch.value(&CONNECTIONS, self.http.connections());
        batch.value(&ACCEPTED, self.http.accepted());
        batch.value(&EVICTED, self.http.evicted());
        batch.value(&CUT, self.http.timed_out());
        batch.value(&REFUSED, self.http.refused_requests());
        batch.value(&REFUSED_PAGES, self.http.refused_pages());
        batch.value(&SENT, self.http.sent_bytes());
        batch.value(&ACCEPT_ERRORS, self.http.accept_errors());
        batch.value(&LOG_DROPPED, crate::log::dropped_lines() as f64);
        self.http.each_status(|code, count| batch.row(&HTTP_REQUESTS, [code.as_bytes()], count));
        let mut unwritten = 0;
        self.http.each_scrape_status(|code, count| {
            batch.row(&SCRAPES, [code.as_bytes()], count);
            if code == "500" {
                unwritten = count;
            }
        });
        batch.row(&SCRAPE_ERRORS, [b"encoding"], unwritten);
        batch.row(&SCRAPE_ERRORS, [b"gathering"], self.torn_pages);
        batch.value(&SCRAPES_IN_FLIGHT, self.http.scrapes_in_flight());
    }
}

impl OwnMetrics for Own {
    fn families(&self) -> &'static [FamilyInfo] {
        FAMILIES
    }

    fn write(&mut self, snapshot: &Snapshot, batch: &mut Batch) {
        self.is_torn = false;
        Self::write_collections(snapshot, batch);
        Self::write_emulated(batch);
        if self.collections_only {
            return;
        }
        batch.row(&BUILD, [env!("CARGO_PKG_VERSION").as_bytes()], 1);
        self.write_collectors(snapshot, batch);
        self.write_configuration(batch);
        self.write_http(batch);
        self.process.write(batch);
    }

    fn note_dropped(&mut self, collector: &'static str, dropped: Dropped) {
        let (duplicates, conflicts) = (u64::from(dropped.duplicates), u64::from(dropped.conflicts));
        if duplicates + conflicts == 0 {
            return;
        }
        if !self.is_torn {
            self.torn_pages += 1;
            self.is_torn = true;
        }
        match self.across.iter_mut().find(|(known, ..)| *known == collector) {
            Some((_, double, odd)) => {
                *double += duplicates;
                *odd += conflicts;
            }
            None => self.across.push((collector, duplicates, conflicts)),
        }
    }
}

fn since_epoch(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs_f64()
}

/// What the kernel says of this process. It is read from the real `/proc` whatever `[paths]` says, because
/// the daemon is a process of its own machine, not of the host that it reports on.
struct Process {
    stat: KeptFile,
    host: Host,
    boot_time: Option<f64>,
    max_fds: f64,
    max_virtual: f64,
}

impl Process {
    fn new() -> Self {
        let host = Host::new(Roots::default());
        let limit = |resource| rustix::process::getrlimit(resource).current;
        let (max_fds, max_virtual) = (limit(Resource::Nofile), limit(Resource::As));
        Process {
            stat: host.keep_whole("proc/self/stat"),
            host,
            boot_time: None,
            max_fds: max_fds.map_or(f64::INFINITY, |limit| limit as f64),
            // No limit is the greatest number, as the kernel has it and node_exporter shows it.
            max_virtual: max_virtual.unwrap_or(u64::MAX) as f64,
        }
    }

    fn write(&mut self, batch: &mut Batch) {
        let ticks = self.host.ticks_per_second();
        let page = self.host.page_size() as f64;
        if self.boot_time.is_none() {
            self.boot_time = boot_time(&self.host);
        }
        if let Ok(Some([user, system, start, size, resident])) = self.stat.read().map(parse_stat) {
            batch.value(&CPU, (user + system) as f64 / ticks);
            batch.value(&RESIDENT, resident as f64 * page);
            batch.value(&VIRTUAL, size);
            if let Some(boot) = self.boot_time {
                batch.value(&START, boot + start as f64 / ticks);
            }
        }
        if let Some(open) = open_descriptors() {
            batch.value(&OPEN_FDS, open);
        }
        batch.value(&VIRTUAL_MAX, self.max_virtual);
        batch.value(&MAX_FDS, self.max_fds);
    }
}

/// User and system ticks, start in ticks since boot, address space in bytes and resident pages: fields
/// 14, 15, 22, 23 and 24 of `1234 (vitald) S 1 ...` (proc_pid_stat(5)).
fn parse_stat(text: &[u8]) -> Option<[u64; 5]> {
    // The name may hold spaces and parentheses; the last one ends it.
    let end = text.iter().rposition(|byte| *byte == b')')?;
    let mut fields = Fields::new(text.get(end + 1..)?);
    fields.pass(11);
    let (user, system) = (fields.u64().ok()?, fields.u64().ok()?);
    fields.pass(6);
    Some([user, system, fields.u64().ok()?, fields.u64().ok()?, fields.u64().ok()?])
}

/// `btime 1700000000` of `/proc/stat`: when the system booted, in seconds since the epoch.
fn boot_time(host: &Host) -> Option<f64> {
    let mut buffer = Vec::new();
    let text = host.read("proc/stat", &mut buffer).ok()?;
    let line = vitald_core::text::lines(text).find(|line| line.starts_with(b"btime "))?;
    Fields::new(line).pass(1).f64().ok()
}

/// Since Linux 6.2 the size of `/proc/self/fd` is the number of descriptors; before, it is 0 and
/// the figure is left out, because listing the directory costs more than everything else here.
fn open_descriptors() -> Option<u64> {
    let size = rustix::fs::stat("/proc/self/fd").ok()?.st_size;
    u64::try_from(size).ok().filter(|size| *size > 0)
}
