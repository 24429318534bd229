//! The HTTP side over real sockets, with a daemon that only answers.

mod administration;
mod answers;
mod changes;
mod clients;
#[cfg(feature = "tls")]
mod web_config;

use super::stub::{self, Reload, Stub};
use super::{Http, HttpCounters, Listeners, Mode, Served};
use crate::engine::{Changes, Engine, Limits, Occupancies};
use crate::plan::{
    Address, Admin, CollectorPlan, Listen, Log, LogFormat, LogLevel, Plan, Scrape, Serve, Server,
    TokenFile,
};
use crate::reload::{ListenerChanges, ReloadOutcome, ReloadReport, ReloadRequest};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use vitald_core::chart::{Chart, Curve, value};
use vitald_core::collector::Descriptor;
use vitald_core::host::{Roots, StuckThreads};
use vitald_core::prelude::*;
use vitald_core::sealer::OwnFamilies;
use vitald_core::settings::{Mistake, Origin};

families! {
    /// What a test collector gives.
    VALUE: gauge = "test_value" [number];
    /// What none of them gives.
    SENT: counter = "test_sent_bytes_total" since(Source);
}

macro_rules! test_collector {
    ($type:ident, $name:literal, $summary:literal, $blocks:literal, $batch:ident => $collect:expr) => {
        struct $type;

        impl Collector for $type {
            const NAME: &'static str = $name;
            const SUMMARY: &'static str = $summary;
            const MAY_BLOCK: bool = $blocks;
            const FAMILIES: &'static [FamilyInfo] = FAMILIES;
            type Settings = ();

            fn open(_: (), _: &Host) -> Result<Self> {
                Ok($type)
            }

            fn collect(&mut self, $batch: &mut Batch) -> Result<()> {
                $collect
            }
        }
    };
}

test_collector!(Steady, "steady", "Always there <script>", false, batch => {
    batch.row(&VALUE, [b"1"], 1);
    Ok(())
});
test_collector!(Slow, "slow", "Takes a second", true, batch => {
    std::thread::sleep(Duration::from_secs(1));
    batch.row(&VALUE, [b"2"], 2);
    Ok(())
});
test_collector!(Long, "long", "Gives a long page", false, batch => {
    for number in 0..150_000 {
        batch.row(&VALUE, [number.to_string().as_bytes()], number);
    }
    Ok(())
});
test_collector!(Broken, "broken", "Cannot read its file", false, _batch => {
    Err(Error::from_io("proc/secret", std::io::Error::from_raw_os_error(5)))
});
test_collector!(Half, "half", "Cannot read a line", false, batch => {
    batch.fault("proc/half", Malformed::new(7, "a number"));
    batch.row(&VALUE, [b"3"], 3);
    Ok(())
});

test_collector!(Lacking, "lacking", "Does not see all", false, batch => {
    batch.degraded("hidepid");
    batch.fault("proc/lacking", Malformed::new(7, "a number"));
    batch.row(&VALUE, [b"5"], 5);
    Ok(())
});

/// Has a chart of more rows than are shown: of 40 the last five are not 0, and the last one has a long name.
struct Charted;

impl Collector for Charted {
    const NAME: &'static str = "charted";
    const SUMMARY: &'static str = "Has a chart";
    const FAMILIES: &'static [FamilyInfo] = FAMILIES;
    const CHARTS: &'static [Chart] =
        &[Chart::by(&["number"], "Numbers", &[Curve::of("size", value("test_value"))])];
    type Settings = ();

    fn open(_: (), _: &Host) -> Result<Self> {
        Ok(Charted)
    }

    fn collect(&mut self, batch: &mut Batch) -> Result<()> {
        for number in 0..40_u32 {
            let name = if number == 39 { "9".repeat(1000) } else { number.to_string() };
            batch.row(&VALUE, [name.as_bytes()], number.saturating_sub(34));
        }
        Ok(())
    }
}

/// Gives its value once `proc/gate` is there: how long a scrape takes is the test's to say.
struct Gated(Host);

impl Collector for Gated {
    const NAME: &'static str = "gated";
    const SUMMARY: &'static str = "Waits for its gate";
    const MAY_BLOCK: bool = true;
    const FAMILIES: &'static [FamilyInfo] = FAMILIES;
    type Settings = ();

    fn open(_: (), host: &Host) -> Result<Self> {
        Ok(Gated(host.clone()))
    }

    fn collect(&mut self, batch: &mut Batch) -> Result<()> {
        let limit = Instant::now() + MINUTE;
        while self.0.try_modified("proc/gate").is_err() && Instant::now() < limit {
            std::thread::sleep(Duration::from_millis(1));
        }
        batch.row(&VALUE, [b"4"], 4);
        Ok(())
    }
}

static DESCRIPTORS: [Descriptor; 8] = [
    Descriptor::of::<Broken>(),
    Descriptor::of::<Charted>(),
    Descriptor::of::<Gated>(),
    Descriptor::of::<Half>(),
    Descriptor::of::<Lacking>(),
    Descriptor::of::<Long>(),
    Descriptor::of::<Slow>(),
    Descriptor::of::<Steady>(),
];

/// What a test may choose.
struct Setup {
    on: &'static [&'static str],
    server: Server,
    timeout: Duration,
    mode: Mode,
    reload: Reload,
    reload_takes: Duration,
    own: Option<Arc<dyn OwnFamilies>>,
}

impl Default for Setup {
    fn default() -> Self {
        Setup {
            on: &["steady"],
            server: server(&[tcp("127.0.0.1:0", Admin::Local)]),
            timeout: Duration::from_secs(10),
            mode: Mode::Native,
            reload: stub::busy(),
            reload_takes: Duration::ZERO,
            own: None,
        }
    }
}

struct Site {
    /// The host's procfs, in which nothing is but the gate.
    procfs: tempfile::TempDir,
    listeners: Arc<Listeners>,
    counters: Arc<HttpCounters>,
    stub: Arc<Stub>,
    http: Arc<Http>,
}

fn server(listen: &[Listen]) -> Server {
    Server {
        listen: listen.to_vec(),
        max_requests: 40,
        max_connections: 256,
        idle_timeout: Duration::from_secs(60),
        max_page_bytes: 64 << 20,
    }
}

fn tcp(text: &str, admin: Admin) -> Listen {
    Listen {
        address: crate::config::parse_address(text).expect("an address"),
        serve: Serve::with(admin),
    }
}

fn unix(path: &Path, admin: Admin) -> Listen {
    Listen { address: Address::Unix(path.to_owned()), serve: Serve::with(admin) }
}

impl Setup {
    fn start(self) -> Site {
        let procfs = tempfile::tempdir().expect("a directory");
        let host = Host::new(Roots { procfs: procfs.path().to_owned(), ..Roots::default() });
        let collectors: Vec<CollectorPlan> = DESCRIPTORS
            .iter()
            .map(|descriptor| CollectorPlan {
                descriptor,
                prepared: (descriptor.prepare)(&Table::default(), &mut Mistakes::new())
                    .expect("no settings")
                    .into(),
                enabled: self.on.contains(&descriptor.name),
                interval: None,
                max_series: 0,
            })
            .collect();
        let occupancies = Arc::new(Occupancies::new(StuckThreads::of_process()));
        let engine =
            Engine::with_occupancies(host.clone(), occupancies).expect("it has its thread");
        let limits = Limits { max_age: Duration::from_millis(100), timeout: self.timeout };
        let Ok(staged) = engine.stage(&collectors, &host, limits) else {
            panic!("collectors open")
        };
        engine.swap(staged);
        let plan = Plan {
            roots: Roots::default(),
            scrape: Scrape {
                timeout: self.timeout,
                default_collectors: true,
                openmetrics: true,
                max_age: limits.max_age,
            },
            server: self.server.clone(),
            log: Log { level: LogLevel::Info, format: LogFormat::Logfmt },
            collectors,
            outputs: Vec::new(),
            written: Table::default(),
            hash: "abc".to_owned(),
        };
        let stub = Arc::new(Stub::new(engine, plan, self.reload, self.reload_takes));
        let counters = Arc::new(HttpCounters::new());
        let listeners = Listeners::new(Arc::clone(&counters));
        let served: Arc<dyn Served> = stub.clone();
        let http = Http::new(served, self.mode, "9.9.9", self.own, Arc::clone(&counters));
        let staged = listeners.prepare(&self.server).expect("binds");
        listeners.swap(staged).expect("nothing is in the way");
        listeners.open(Arc::clone(&http));
        Site { procfs, listeners, counters, stub, http }
    }
}

impl Site {
    fn address(&self) -> SocketAddr {
        self.listeners.bound()[0]
    }

    /// Lets the scrapes of `gated` end.
    fn open_gate(&self) {
        std::fs::write(self.procfs.path().join("gate"), "").expect("a file");
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address()).await.expect("connects")
    }

    /// One request on a connection of its own.
    async fn ask(&self, method: &str, path: &str, headers: &str) -> Answer {
        let mut stream = self.connect().await;
        ask(&mut stream, method, path, headers).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, "").await
    }

    async fn swap(&self, listen: &[Listen]) -> ListenerChanges {
        let staged = self.listeners.prepare(&server(listen)).expect("binds");
        self.listeners.swap(staged).expect("swaps")
    }
}

#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    fn has(&self, header: &str) -> bool {
        self.head.lines().any(|line| line == header)
    }
}

async fn ask(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    method: &str,
    path: &str,
    headers: &str,
) -> Answer {
    let host = if headers.contains("Host:") { "" } else { "Host: localhost\r\n" };
    let request = format!("{method} {path} HTTP/1.1\r\n{host}{headers}\r\n");
    stream.write_all(request.as_bytes()).await.expect("sends");
    answer(stream, method == "HEAD").await.expect("an answer")
}

/// Reads one answer; `None` if the connection ends before it.
async fn answer(stream: &mut (impl AsyncRead + Unpin), without_body: bool) -> Option<Answer> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).expect("text");
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length = length.map_or(0, |length| length.parse().expect("a length"));
    let mut body = vec![0; if without_body { 0 } else { length }];
    stream.read_exact(&mut body).await.ok()?;
    Some(Answer { status, head, body })
}

/// Whether the other side closes within a time.
async fn closes_within(stream: &mut (impl AsyncRead + Unpin), time: Duration) -> bool {
    let mut rest = Vec::new();
    tokio::time::timeout(time, stream.read_to_end(&mut rest)).await.is_ok()
}

const MOMENT: Duration = Duration::from_millis(300);
const LONG: Duration = Duration::from_secs(5);
const MINUTE: Duration = Duration::from_secs(60);
