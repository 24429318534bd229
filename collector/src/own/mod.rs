//! The daemon's own families: how collections went, which configuration runs, what HTTP did.
//!
//! They are written while a collection is sealed, so every reader of a snapshot sees them. What the
//! kernel says of the daemon's process is a collector of its own, [`process`].

pub mod process;

use crate::dropin::{EMULATED_VERSION, go_architecture};
use crate::engine::{Counts, Engine};
use crate::http::HttpCounters;
use crate::log;
use crate::sync::lock;
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use vitald_core::batch::Batch;
use vitald_core::collector::Descriptor;
use vitald_core::families;
use vitald_core::family::Since;
use vitald_core::sealer::OwnFamilies;
use vitald_core::snapshot::{Collection, Part, Snapshot};

families! {
    /// Seconds a collector took for its last run.
    DURATION: gauge = "node_scrape_collector_duration_seconds" [collector];
    /// Whether a collector's last run succeeded.
    SUCCESS: gauge = "node_scrape_collector_success" [collector];
    /// The node_exporter whose metrics these are, for dashboards that select by it.
    EMULATED: gauge = "node_exporter_build_info" [branch, goarch, goos, goversion, revision, tags, version];
    /// The vitald that serves these metrics.
    BUILD: gauge = "vitald_build_info" [version];
    /// 1 for the state that the collector is in; there is one series for each collector.
    STATE: gauge = "vitald_collector_state" [collector, state];
    /// Seconds since the samples of a collector with an interval were read.
    AGE: gauge = "vitald_collector_age_seconds" [collector];
    /// What went wrong in a collector: failed, panicked and late runs, parts of its source that could not
    /// be read, refused lines, and samples left out.
    INCIDENTS: counter = "vitald_collector_incidents_total" [collector];
    /// The incidents of a collector by kind; a kind is there when it has happened.
    INCIDENT_KINDS: counter = "vitald_collector_incident_kinds_total" [collector, kind];
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
    /// Connections closed to make room for others: idle ones, slow readers, unfinished requests.
    EVICTED: counter = "vitald_http_connections_evicted_total";
    /// Connections cut because their peer sent or took nothing for too long, or too little.
    CUT: counter = "vitald_http_connections_timed_out_total";
    /// Requests refused because too many were being served.
    REFUSED: counter = "vitald_http_requests_refused_total";
    /// Pages refused because readers held too many bytes, or because others were written for too long.
    REFUSED_PAGES: counter = "vitald_http_pages_refused_total";
    /// Bytes of answers sent.
    SENT: counter = "vitald_http_sent_bytes_total";
    /// Connections that could not be accepted.
    ACCEPT_ERRORS: counter = "vitald_http_accept_errors_total";
    /// Whether a web configuration in force is what its file says; 0 while the file is wrong.
    WEB_CONFIG: gauge = "vitald_web_config_last_load_successful" [file];
    /// Since when that certificate of a web configuration is valid that ends first, in seconds since the epoch.
    CERTIFICATE_BEGIN: gauge = "vitald_web_config_certificate_not_before_timestamp_seconds" [file];
    /// Until when that certificate of a web configuration is valid that ends first, in seconds since the epoch.
    CERTIFICATE_END: gauge = "vitald_web_config_certificate_not_after_timestamp_seconds" [file];
    /// TLS handshakes that failed; there where a listener has a web configuration.
    FAILED_HANDSHAKES: counter = "vitald_tls_handshakes_failed_total";
    /// Log lines that were dropped because nothing read the log.
    LOG_LINES_DROPPED: counter = "vitald_log_lines_dropped_total";
    /// Requests for metrics answered, by status.
    SCRAPES: counter = "promhttp_metric_handler_requests_total" [code];
    /// Requests for metrics served at this moment.
    SCRAPES_IN_FLIGHT: gauge = "promhttp_metric_handler_requests_in_flight";
    /// Pages with a fault: one that could not be encoded (encoding), or one that leaves out samples which were
    /// given twice or with two types (gathering).
    SCRAPE_ERRORS: counter = "promhttp_metric_handler_errors_total" [cause];
}

/// The daemon, as if it were a collector. No collector can have its name: only those in the
/// registry can be named in a configuration.
pub static VITALD: Descriptor = Descriptor {
    name: "vitald",
    summary: "The daemon's own families",
    enabled: true,
    may_block: false,
    may_block_with: None,
    devices: None,
    own_descriptors: false,
    internal: true,
    families: FAMILIES,
    patterns: &[],
    since: Since::Source,
    sources: &[],
    capabilities: &[],
    lacks_without: "",
    charts: &[],
    settings: &[],
    prepare: |_, _| None,
};

/// What the metrics say of the running configuration.
#[derive(Clone, Copy, Debug)]
pub struct ConfigurationStatus<'a> {
    /// How often a configuration was applied.
    pub generation: u64,
    /// The hash of what it means.
    pub hash: &'a str,
    /// Whether the last attempt to apply one succeeded.
    pub last_succeeded: bool,
    /// When one was last applied.
    pub last_success: SystemTime,
    /// When that was last tried.
    pub last_attempt: SystemTime,
}

/// Who knows the running configuration.
pub trait Configuration: Send + Sync {
    /// Hands over how the configuration is now.
    fn describe(&self, take: &mut dyn FnMut(&ConfigurationStatus<'_>));
}

/// That of an engine without a daemon.
struct NoConfiguration;

impl Configuration for NoConfiguration {
    fn describe(&self, _take: &mut dyn FnMut(&ConfigurationStatus<'_>)) {}
}

/// Writes the daemon's own samples into each snapshot.
pub struct Own {
    engine: Arc<Engine>,
    /// The daemon owns this, so it is not owned from here.
    configuration: Weak<dyn Configuration>,
    http: Arc<HttpCounters>,
    /// node_exporter's `--web.disable-exporter-metrics`: of itself it reports only how collections
    /// went, and its version.
    collections_only: bool,
    /// What snapshots left out of collectors because of other collectors.
    left_out: Mutex<Vec<LeftOut>>,
}

/// What snapshots left out of one collector because of the others.
#[derive(Clone, Copy, Default)]
struct LeftOut {
    collector: &'static str,
    /// The number of the last run that is counted: a run is in many snapshots and counts once.
    counted: u64,
    duplicates: u64,
    conflicts: u64,
}

impl Own {
    /// For a daemon's engine, configuration and HTTP side.
    pub fn new(
        engine: Arc<Engine>,
        configuration: Weak<dyn Configuration>,
        http: Arc<HttpCounters>,
        collections_only: bool,
    ) -> Self {
        let left_out = Mutex::default();
        Own { engine, configuration, http, collections_only, left_out }
    }

    /// For an engine without a daemon: how its collections went.
    pub fn of_collections(engine: Arc<Engine>) -> Self {
        Own::new(engine, Weak::<NoConfiguration>::new(), Arc::new(HttpCounters::new()), true)
    }

    /// Whether it reports only how collections went.
    pub fn is_of_collections_only(&self) -> bool {
        self.collections_only
    }

    fn write_collections(collection: &Collection, batch: &mut Batch) {
        for part in shown(&collection.parts) {
            let collector = batch.labels([part.descriptor.name.as_bytes()]);
            batch.push(&DURATION, collector, part.duration.as_secs_f64());
            batch.push(&SUCCESS, collector, part.state.is_success());
        }
    }

    /// node_exporter counts it among the host's metrics: no flag leaves it out.
    fn write_emulated(batch: &mut Batch) {
        let arch = go_architecture(std::env::consts::ARCH);
        let labels: [&[u8]; 7] =
            [b"", arch.as_bytes(), b"linux", b"", b"", b"", EMULATED_VERSION.as_bytes()];
        batch.row(&EMULATED, labels, 1);
    }

    fn write_collectors(&self, collection: &Collection, batch: &mut Batch) {
        for part in shown(&collection.parts) {
            let state = part.state.word().as_bytes();
            batch.row(&STATE, [part.descriptor.name.as_bytes(), state], 1);
        }
        self.engine.each_status(|status| {
            let name = status.descriptor.name.as_bytes();
            if let (Some(_), Some(age)) = (status.interval, status.age) {
                batch.row(&AGE, [name], age.as_secs_f64());
            }
            let left_out = self.left_out(status.descriptor.name);
            let kinds = incident_kinds(&status.counts, left_out);
            batch.row(&INCIDENTS, [name], kinds.iter().map(|(_, count)| count).sum::<u64>());
            // Hundreds of series that are zero on every healthy host are of no use.
            for (kind, count) in kinds.iter().filter(|(_, count)| *count > 0) {
                batch.row(&INCIDENT_KINDS, [name, kind.as_bytes()], *count);
            }
        });
    }

    fn left_out(&self, collector: &str) -> LeftOut {
        let left_out = lock(&self.left_out);
        left_out.iter().find(|known| known.collector == collector).copied().unwrap_or_default()
    }

    fn write_configuration(&self, batch: &mut Batch) {
        let Some(configuration) = self.configuration.upgrade() else { return };
        configuration.describe(&mut |status| {
            batch.value(&GENERATION, status.generation);
            batch.row(&CONFIG, [status.hash.as_bytes()], 1);
            batch.value(&RELOAD_SUCCESS, status.last_succeeded);
            batch.value(&RELOAD_SUCCESS_TIME, since_epoch(status.last_success));
            batch.value(&RELOAD_ATTEMPT_TIME, since_epoch(status.last_attempt));
        });
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
        let mut has_web_config = false;
        self.http.each_web_config(|file, is_well, validity| {
            has_web_config = true;
            let file = file.as_os_str().as_encoded_bytes();
            batch.row(&WEB_CONFIG, [file], is_well);
            if let Some((first, last)) = validity {
                batch.row(&CERTIFICATE_BEGIN, [file], since_epoch(first));
                batch.row(&CERTIFICATE_END, [file], since_epoch(last));
            }
        });
        if has_web_config {
            batch.value(&FAILED_HANDSHAKES, self.http.failed_handshakes());
        }
        batch.value(&LOG_LINES_DROPPED, log::dropped_lines());
        self.http.each_status(|code, count| batch.row(&HTTP_REQUESTS, [code.as_bytes()], count));
        let mut unwritten = 0;
        self.http.each_scrape_status(|code, count| {
            batch.row(&SCRAPES, [code.as_bytes()], count);
            if code == "500" {
                unwritten = count;
            }
        });
        batch.row(&SCRAPE_ERRORS, [b"encoding"], unwritten);
        batch.row(&SCRAPE_ERRORS, [b"gathering"], self.http.pages_with_conflicts());
        batch.value(&SCRAPES_IN_FLIGHT, self.http.scrapes_in_flight());
    }
}

impl OwnFamilies for Own {
    fn descriptor(&self) -> &'static Descriptor {
        &VITALD
    }

    fn write(&self, collection: &Collection, batch: &mut Batch) {
        Self::write_collections(collection, batch);
        Self::write_emulated(batch);
        if self.collections_only {
            return;
        }
        batch.row(&BUILD, [env!("CARGO_PKG_VERSION").as_bytes()], 1);
        self.write_collectors(collection, batch);
        self.write_configuration(batch);
        self.write_http(batch);
    }

    fn sealed(&self, snapshot: &Snapshot) {
        if !snapshot.has_conflicts() {
            return;
        }
        let mut left_out = lock(&self.left_out);
        for (part, dropped) in snapshot.parts().iter().zip(snapshot.dropped()) {
            if dropped.is_none() {
                continue;
            }
            let name = part.descriptor.name;
            let known = left_out.iter().position(|known| known.collector == name);
            let at = known.unwrap_or_else(|| {
                left_out.push(LeftOut { collector: name, ..LeftOut::default() });
                left_out.len() - 1
            });
            let known = &mut left_out[at];
            if part.run_number > known.counted {
                known.counted = part.run_number;
                known.duplicates += u64::from(dropped.duplicates);
                known.conflicts += u64::from(dropped.conflicts);
            }
        }
    }
}

/// The parts of collectors that users see.
fn shown(parts: &[Part]) -> impl Iterator<Item = &Part> {
    parts.iter().filter(|part| !part.descriptor.internal)
}

/// How often each kind of incident has happened to a collector.
fn incident_kinds(counts: &Counts, left_out: LeftOut) -> [(&'static str, u64); 8] {
    [
        ("failure", counts.failures),
        ("panic", counts.panics),
        ("timeout", counts.timeouts),
        ("fault", counts.faults),
        ("malformed_line", counts.malformed_lines),
        ("duplicate", counts.duplicates + left_out.duplicates),
        ("type_conflict", counts.conflicts + left_out.conflicts),
        ("max_series", counts.over_limit),
    ]
}

fn since_epoch(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitald_core::host::{Host, Roots};
    use vitald_core::run::Run;
    use vitald_core::sealer::Sealer;
    use vitald_core::snapshot::State;
    use vitald_core::testing::{descriptor, part};

    families! {
        /// What two collectors have, against the rules.
        SHARED: gauge = "t_shared";
    }

    #[test]
    fn a_degraded_run_is_a_success_with_a_state_of_its_own() {
        let mut run = Run::new(FAMILIES);
        run.begin(None, 0);
        run.seal();
        let degraded = Part { state: State::Degraded, ..part(&FIRST, &Arc::new(run)) };
        let engine = Engine::new(Host::new(Roots::default())).expect("it has its thread");
        let http = Arc::new(HttpCounters::new());
        let own = Own::new(Arc::new(engine), Weak::<NoConfiguration>::new(), http, false);
        let collection = Collection { parts: vec![degraded], ..Collection::new() };
        let mut page = Run::new(super::FAMILIES);
        page.begin(None, 0);
        own.write(&collection, page.batch());
        page.seal();
        let values = |name: &[u8], label: &[u8]| -> Vec<f64> {
            let of_it = page.samples().filter(|(series, _)| {
                series.family_name() == name && series.labels().any(|(_, value)| value == label)
            });
            of_it.map(|(_, value)| value).collect()
        };
        assert_eq!(values(b"node_scrape_collector_success", b"first"), [1.0]);
        assert_eq!(values(b"vitald_collector_state", b"degraded"), [1.0]);
    }

    #[test]
    fn the_page_for_operators_has_each_kind_of_incident() {
        let operations = include_str!("../../../docs/operations.md");
        let table = operations.split("| kind | what is missing |").nth(1).expect("a table");
        let rows = table.lines().skip(2).map_while(|line| line.strip_prefix("| "));
        let cells = rows.filter_map(|row| Some(row.split_once(" |")?.0));
        let told = cells.flat_map(|cell| cell.split(", ")).map(|kind| kind.trim_matches('`'));
        let kinds = incident_kinds(&Counts::default(), LeftOut::default());
        assert_eq!(told.collect::<Vec<_>>(), kinds.map(|(kind, _)| kind));
    }

    static FIRST: Descriptor = descriptor("first", FAMILIES, false);
    static SECOND: Descriptor = descriptor("second", FAMILIES, false);

    #[test]
    fn a_run_counts_once_whatever_the_clock_says() {
        let engine = Engine::new(Host::new(Roots::default())).expect("it has its thread");
        let engine = Arc::new(engine);
        let http = Arc::new(HttpCounters::new());
        let own = Arc::new(Own::new(engine, Weak::<NoConfiguration>::new(), http, false));
        let mut sealer = Sealer::new(Some(own.clone()));
        let mut run = Run::new(FAMILIES);
        run.begin(None, 0);
        run.batch().value(&SHARED, 1);
        run.seal();
        let run = Arc::new(run);
        let mut seal = |number: u64, began: u64| {
            let parts = [&FIRST, &SECOND].map(|descriptor| Part {
                run_number: number,
                began: UNIX_EPOCH + Duration::from_secs(began),
                ..part(descriptor, &run)
            });
            sealer.seal(&mut Collection { parts: parts.to_vec(), ..Collection::new() });
            own.left_out("second").duplicates
        };
        assert_eq!((seal(1, 1000), seal(1, 1000)), (1, 1));
        // The clock was set back between the runs.
        assert_eq!((seal(2, 10), seal(2, 10)), (2, 2));
    }
}
