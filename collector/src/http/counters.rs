//! What the HTTP side counts, for the daemon's own metrics.

use super::request::{Peer, Request};
use crate::plan::Address;
use crate::sync::lock;
use crate::web_config::WebConfig;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};
use warp::http::header;

/// Every status this daemon answers with; any other is counted under the last one.
const CODES: [(u16, &str); 16] = [
    (200, "200"),
    (304, "304"),
    (400, "400"),
    (401, "401"),
    (403, "403"),
    (404, "404"),
    (405, "405"),
    (406, "406"),
    (408, "408"),
    (409, "409"),
    (412, "412"),
    (413, "413"),
    (422, "422"),
    (429, "429"),
    (503, "503"),
    (500, "500"),
];

/// Answers by status.
#[derive(Default)]
struct Answers([AtomicU64; CODES.len()]);

impl Answers {
    fn count(&self, status: u16) {
        let index = CODES.iter().position(|(code, _)| *code == status).unwrap_or(CODES.len() - 1);
        self.0[index].fetch_add(1, Ordering::Relaxed);
    }

    fn each(&self, always: &[u16], mut each: impl FnMut(&'static str, u64)) {
        for ((code, text), count) in CODES.iter().zip(&self.0) {
            let count = count.load(Ordering::Relaxed);
            if count > 0 || always.contains(code) {
                each(text, count);
            }
        }
    }
}

/// What the HTTP side counts since the start; shared by listeners, routes and the metrics.
#[derive(Default)]
pub struct HttpCounters {
    requests: Answers,
    scrapes: Answers,
    in_flight: AtomicU64,
    scrapes_in_flight: AtomicU64,
    connections: AtomicU64,
    accepted: AtomicU64,
    accept_errors: AtomicU64,
    evicted: AtomicU64,
    timed_out: AtomicU64,
    refused_requests: AtomicU64,
    refused_pages: AtomicU64,
    pages_with_conflicts: AtomicU64,
    sent_bytes: AtomicU64,
    failed_handshakes: AtomicU64,
    web_configs: Mutex<Vec<Arc<WebConfig>>>,
    bound: Mutex<Vec<(Address, String)>>,
    last_scrape: Mutex<Option<LastScrape>>,
}

/// The last request for metrics that got them.
#[derive(Clone)]
pub(super) struct LastScrape {
    /// When it came.
    pub(super) arrived: Instant,
    /// From its head to its answer, which may not have been sent.
    pub(super) took: Duration,
    pub(super) peer: Peer,
    /// What it says it is; the beginning of it, in memory that is used again.
    pub(super) agent: String,
}

/// Of what a client says it is that much is kept.
const AGENT_BYTES: usize = 100;

macro_rules! readers {
    ($($(#[doc = $doc:literal])+ $name:ident;)*) => {$(
        $(#[doc = $doc])+
        pub(crate) fn $name(&self) -> u64 {
            self.$name.load(Ordering::Relaxed)
        }
    )*};
}

macro_rules! adders {
    ($($name:ident => $field:ident;)*) => {$(
        pub(super) fn $name(&self) {
            self.$field.fetch_add(1, Ordering::Relaxed);
        }
    )*};
}

impl HttpCounters {
    /// All at zero.
    pub fn new() -> Self {
        HttpCounters::default()
    }

    readers! {
        /// Requests served at this moment, this one included.
        in_flight;
        /// Requests for metrics served at this moment, this one included.
        scrapes_in_flight;
        /// Connections open at this moment.
        connections;
        /// Connections accepted.
        accepted;
        /// Connections that could not be accepted.
        accept_errors;
        /// Connections closed early to make room for others.
        evicted;
        /// Connections cut because they were idle, sent half a head or did not read for too long, or too slowly.
        timed_out;
        /// Requests answered 503 because of `max_requests`.
        refused_requests;
        /// Requests answered 503 because readers held `max_page_bytes`.
        refused_pages;
        /// Pages without samples that two collectors had.
        pages_with_conflicts;
        /// Bytes sent, heads included.
        sent_bytes;
        /// TLS handshakes that failed.
        failed_handshakes;
    }

    /// Calls `each` with every status that was answered and how often.
    pub(crate) fn each_status(&self, each: impl FnMut(&'static str, u64)) {
        self.requests.each(&[], each);
    }

    /// The same for requests for metrics. Those that client_golang's handler always shows are
    /// always there.
    pub(crate) fn each_scrape_status(&self, each: impl FnMut(&'static str, u64)) {
        self.scrapes.each(&[200, 500, 503], each);
    }

    adders! {
        count_accepted => accepted;
        count_accept_error => accept_errors;
        count_evicted => evicted;
        count_timed_out => timed_out;
        count_refused_request => refused_requests;
        count_refused_page => refused_pages;
        count_page_with_conflicts => pages_with_conflicts;
    }

    #[cfg(feature = "tls")]
    adders! {
        count_failed_handshake => failed_handshakes;
    }

    pub(super) fn count_answer(&self, status: u16) {
        self.requests.count(status);
    }

    pub(super) fn count_scrape(&self, status: u16) {
        self.scrapes.count(status);
    }

    /// Takes note of a request for metrics that gets them now. A person who follows a link in a browser is no scraper.
    pub(super) fn note_scrape(&self, request: &Request) {
        if request.header(header::ACCEPT).is_some_and(|accepted| accepted.contains("text/html")) {
            return;
        }
        let mut last = lock(&self.last_scrape);
        let mut agent = last.take().map(|last| last.agent).unwrap_or_default();
        agent.clear();
        let all = request.header(header::USER_AGENT).unwrap_or_default();
        // A header that is text is ASCII.
        agent.push_str(all.get(..AGENT_BYTES).unwrap_or(all));
        *last = Some(LastScrape {
            arrived: request.arrived,
            took: request.arrived.elapsed(),
            peer: request.client.peer.clone(),
            agent,
        });
    }

    /// The last request for metrics that got them.
    pub(super) fn last_scrape(&self) -> Option<LastScrape> {
        lock(&self.last_scrape).clone()
    }

    /// The web configurations of the running listeners.
    pub(super) fn web_configs(&self) -> Vec<Arc<WebConfig>> {
        lock(&self.web_configs).clone()
    }

    /// The running listeners have these from now on. Answers those before.
    pub(super) fn replace_web_configs(&self, new: Vec<Arc<WebConfig>>) -> Vec<Arc<WebConfig>> {
        std::mem::replace(&mut lock(&self.web_configs), new)
    }

    /// Where the sockets of a running listener are bound in truth.
    pub(super) fn bound(&self, of: &Address) -> Vec<String> {
        let bound = lock(&self.bound);
        let own = bound.iter().filter(|(address, _)| address == of);
        own.map(|(_, place)| place.clone()).collect()
    }

    /// The running listeners, by the addresses that are configured, have their sockets there from now on.
    pub(super) fn replace_bound(&self, new: Vec<(Address, String)>) {
        *lock(&self.bound) = new;
    }

    /// Calls `each` with the file of every web configuration, whether what is in force is what it says, and when that of
    /// its certificates is valid that ends first.
    pub(crate) fn each_web_config(
        &self,
        mut each: impl FnMut(&Path, bool, Option<(SystemTime, SystemTime)>),
    ) {
        for config in lock(&self.web_configs).iter() {
            each(config.path(), config.is_well(), config.certificate_validity());
        }
    }

    pub(super) fn count_sent(&self, bytes: usize) {
        self.sent_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn connections_are(&self, open: usize) {
        self.connections.store(open as u64, Ordering::Relaxed);
    }

    /// Counts a request as in flight until the guard is dropped.
    pub(super) fn begin_request(self: &Arc<Self>) -> InFlight {
        InFlight::of(self, |counters| &counters.in_flight)
    }

    /// The same for a request for metrics.
    pub(super) fn begin_scrape(self: &Arc<Self>) -> InFlight {
        InFlight::of(self, |counters| &counters.scrapes_in_flight)
    }
}

/// A request under way.
pub(super) struct InFlight {
    counters: Arc<HttpCounters>,
    gauge: fn(&HttpCounters) -> &AtomicU64,
    /// How many there are with this one.
    pub(super) total: u64,
}

impl InFlight {
    fn of(counters: &Arc<HttpCounters>, gauge: fn(&HttpCounters) -> &AtomicU64) -> Self {
        let total = gauge(counters).fetch_add(1, Ordering::Relaxed) + 1;
        InFlight { counters: Arc::clone(counters), gauge, total }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        (self.gauge)(&self.counters).fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_by_status() {
        let counters = HttpCounters::new();
        for status in [200, 200, 404, 418] {
            counters.count_answer(status);
        }
        counters.count_scrape(200);
        let mut seen = Vec::new();
        counters.each_status(|code, count| seen.push((code, count)));
        assert_eq!(seen, [("200", 2), ("404", 1), ("500", 1)]);
        seen.clear();
        counters.each_scrape_status(|code, count| seen.push((code, count)));
        assert_eq!(seen, [("200", 1), ("503", 0), ("500", 0)]);
    }

    #[test]
    fn in_flight_goes_back() {
        let counters = Arc::new(HttpCounters::new());
        let first = counters.begin_request();
        assert_eq!((first.total, counters.begin_request().total), (1, 2));
        drop(first);
        assert_eq!(counters.in_flight(), 0);
    }
}
