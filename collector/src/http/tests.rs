//! The HTTP side over real sockets, with a daemon that only answers.

use super::{Face, Http, HttpCounters, Listeners, OwnMetrics, Served};
use crate::daemon::{Applied, ListenerChanges, ReloadOutcome, ReloadReport, ReloadWish};
use crate::engine::{Changes, Engine, Limits};
use crate::outputs::OutputStatus;
use crate::plan::{
    Address, Admin, CollectorPlan, Listen, Log, LogFormat, LogLevel, Plan, Scrape, Server,
};
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use vitald_core::collector::Descriptor;
use vitald_core::host::{MemoryHost, Roots};
use vitald_core::prelude::*;
use vitald_core::settings::{Mistake, Origin};
use vitald_core::snapshot::Snapshot;

families! {
    /// What a test collector gives.
    VALUE: gauge = "test_value" [number];
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

static DESCRIPTORS: [Descriptor; 4] = [
    Descriptor::of::<Broken>(),
    Descriptor::of::<Long>(),
    Descriptor::of::<Slow>(),
    Descriptor::of::<Steady>(),
];

/// A daemon whose reloads end as the test wants.
struct Stub {
    engine: Engine,
    applied: Arc<Applied>,
    reload: Box<dyn Fn(ReloadWish) -> ReloadOutcome + Send + Sync>,
    reload_takes: Duration,
    reloads: AtomicUsize,
}

impl Served for Stub {
    fn engine(&self) -> &Engine {
        &self.engine
    }

    fn applied(&self) -> Arc<Applied> {
        Arc::clone(&self.applied)
    }

    fn outputs(&self) -> Vec<OutputStatus> {
        Vec::new()
    }

    fn reload(
        self: Arc<Self>,
        wish: ReloadWish,
    ) -> Pin<Box<dyn Future<Output = ReloadOutcome> + Send>> {
        Box::pin(async move {
            tokio::time::sleep(self.reload_takes).await;
            self.reloads.fetch_add(1, Ordering::Relaxed);
            (self.reload)(wish)
        })
    }
}

struct NoMetrics;

impl OwnMetrics for NoMetrics {
    fn families(&self) -> &'static [FamilyInfo] {
        FAMILIES
    }

    fn write(&mut self, _: &Snapshot, _: &mut Batch) {}
}

/// What a test may choose.
struct Setup {
    on: &'static [&'static str],
    server: Server,
    timeout: Duration,
    face: Face,
    reload: Box<dyn Fn(ReloadWish) -> ReloadOutcome + Send + Sync>,
    reload_takes: Duration,
}

impl Default for Setup {
    fn default() -> Self {
        Setup {
            on: &["steady"],
            server: server(&[tcp("127.0.0.1:0", Admin::Local)]),
            timeout: Duration::from_secs(10),
            face: Face::Native,
            reload: Box::new(|_| ReloadOutcome::Busy),
            reload_takes: Duration::ZERO,
        }
    }
}

struct Site {
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
    Listen { address: crate::config::parse_address(text).expect("an address"), admin }
}

fn unix(path: &Path, admin: Admin) -> Listen {
    Listen { address: Address::Unix(path.to_owned()), admin }
}

impl Setup {
    fn start(self) -> Site {
        let host = MemoryHost::new().host();
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
        let engine = Engine::new(host.clone());
        let limits = Limits { max_age: Duration::from_millis(100) };
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
            effective: Table::default(),
            hash: "abc".to_owned(),
        };
        let applied = Arc::new(Applied { plan, generation: 3, since: SystemTime::now() });
        let stub = Arc::new(Stub {
            engine,
            applied,
            reload: self.reload,
            reload_takes: self.reload_takes,
            reloads: AtomicUsize::new(0),
        });
        let counters = Arc::new(HttpCounters::new());
        let listeners = Listeners::new(Arc::clone(&counters));
        let served: Arc<dyn Served> = stub.clone();
        let own = Box::new(NoMetrics);
        let http = Http::new(served, self.face, "9.9.9", own, Arc::clone(&counters));
        let staged = listeners.stage(&self.server).expect("binds");
        listeners.swap(staged).expect("nothing is in the way");
        listeners.open(Arc::clone(&http));
        Site { listeners, counters, stub, http }
    }
}

impl Site {
    fn address(&self) -> SocketAddr {
        self.listeners.bound()[0]
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
        let staged = self.listeners.stage(&server(listen)).expect("binds");
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

#[tokio::test]
async fn every_route_answers() {
    let site = Setup::default().start();
    let metrics = site.get("/metrics").await;
    assert_eq!(metrics.status, 200);
    assert!(metrics.has("content-type: text/plain; version=0.0.4; charset=utf-8"));
    assert!(metrics.has("vary: Accept, Accept-Encoding"));
    assert!(metrics.text().ends_with("test_value{number=\"1\"} 1\n"), "{}", metrics.text());
    assert_eq!(site.get("/healthz").await.text(), "ok\n");
    assert_eq!(site.get("/readyz").await.status, 503);
    site.http.set_ready();
    assert_eq!(site.get("/readyz").await.status, 200);
    let plugins = site.get("/plugins").await.json();
    assert_eq!((&plugins["generation"], &plugins["hash"]), (&3.into(), &"abc".into()));
    assert_eq!(plugins["collectors"].as_array().map(Vec::len), Some(4));
    let steady = site.get("/plugins/steady").await.json();
    assert_eq!(steady["state"], "running");
    assert_eq!(steady["families"][0]["name"], "test_value");
    let unknown = site.get("/plugins/stedy").await;
    assert_eq!(unknown.status, 404);
    assert!(unknown.text().contains("did you mean steady?"));
    let missing = site.get("/nothing").await;
    assert_eq!(missing.status, 404);
    assert!(missing.has("content-type: application/problem+json"));
    assert!(missing.text().contains("/readyz"));
}

#[tokio::test]
async fn head_answers_where_get_does_and_other_methods_do_not() {
    let site = Setup::default().start();
    for path in ["/", "/metrics", "/plugins", "/plugins/steady", "/healthz"] {
        let mut stream = site.connect().await;
        let head = ask(&mut stream, "HEAD", path, "").await;
        assert_eq!(head.status, 200, "{path}");
        // The connection is good for another request only if no body followed.
        assert_eq!(ask(&mut stream, "GET", "/healthz", "").await.text(), "ok\n", "{path}");
        let post = site.ask("POST", path, "").await;
        assert_eq!((post.status, post.has("allow: GET, HEAD")), (405, true), "{path}");
    }
    let get = site.get("/plugins/reload").await;
    assert_eq!((get.status, get.has("allow: PUT")), (405, true));
}

#[tokio::test]
async fn filters_answer_as_node_exporter_does() {
    let site = Setup { on: &["steady", "broken"], ..Setup::default() }.start();
    for path in
        ["/metrics?collect[]=steady", "/metrics?exclude%5B%5D=broken", "/metrics?exclude[]=x"]
    {
        let answer = site.get(path).await;
        assert_eq!((answer.status, answer.text().contains("test_value")), (200, true), "{path}");
    }
    assert!(!site.get("/metrics?exclude[]=steady").await.text().contains("test_value"));
    let off = site.get("/metrics?collect[]=slow").await;
    assert_eq!(off.status, 400);
    assert!(off.text().contains("collector slow is switched off"), "{}", off.text());
    assert_eq!(off.json()["collectors"], serde_json::json!(["broken", "steady"]));
    assert_eq!(site.get("/metrics?collect[]=steady&exclude[]=broken").await.status, 400);
}

#[tokio::test]
async fn the_drop_in_has_two_pages() {
    let face = Face::DropIn { telemetry_path: "/a/b".to_owned() };
    let site = Setup { face, ..Setup::default() }.start();
    for method in ["GET", "POST", "PUT", "DELETE"] {
        let answer = site.ask(method, "/a/b", "Accept: application/openmetrics-text\r\n").await;
        assert_eq!(answer.status, 200, "{method}");
        assert!(answer.has("content-type: text/plain; version=0.0.4; charset=utf-8"));
    }
    let landing = site.get("/").await;
    assert!(landing.status == 200 && landing.text().contains("<a href=\"/a/b\">Metrics</a>"));
    for path in ["/metrics", "/a", "/plugins", "/plugins/reload", "/healthz", "/a/b/c"] {
        assert_eq!(site.get(path).await.status, 404, "{path}");
    }
    assert_eq!(site.ask("PUT", "/plugins/reload", "").await.status, 404);
    for (query, text) in [
        ("collect[]=steady&exclude[]=x", "Combined collect and exclude queries are not allowed."),
        (
            "collect[]=slow",
            "Couldn't create filtered metrics handler: couldn't create collector: disabled collector: slow",
        ),
        (
            "collect[]=nix",
            "Couldn't create filtered metrics handler: couldn't create collector: missing collector: nix",
        ),
    ] {
        let answer = site.get(&format!("/a/b?{query}")).await;
        assert_eq!((answer.status, answer.text().as_str()), (400, text));
    }
    let all_excluded = site.get("/a/b?exclude[]=steady").await;
    assert!(all_excluded.text().contains("test_value"));
}

#[tokio::test]
async fn formats_and_codings_are_negotiated() {
    let site = Setup { on: &["long", "steady"], ..Setup::default() }.start();
    let open = "Accept: application/openmetrics-text;version=1.0.0,*/*;q=0.1\r\n";
    let answer = site.ask("GET", "/metrics?collect[]=steady", open).await;
    assert!(answer.has("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8"));
    assert!(answer.text().ends_with("# EOF\n"));
    let picture = site.ask("GET", "/metrics?collect[]=steady", "Accept: image/png\r\n").await;
    assert_eq!(picture.status, 200);
    // A page that is written off the async thread.
    let plain = site.get("/metrics?collect[]=long").await;
    assert!(plain.body.len() > 3_000_000);
    let packed = site.ask("GET", "/metrics?collect[]=long", "Accept-Encoding: br, gzip\r\n").await;
    assert!(packed.has("content-encoding: gzip") && packed.body.len() < plain.body.len() / 4);
    let mut unpacked = vec![0; plain.body.len()];
    let length = libdeflater::Decompressor::new().gzip_decompress(&packed.body, &mut unpacked);
    assert_eq!(length, Ok(plain.body.len()));
    assert!(unpacked == plain.body);
}

#[tokio::test]
async fn the_scrapers_patience_is_the_deadline() {
    let site = Setup { on: &["slow", "steady"], ..Setup::default() }.start();
    let began = Instant::now();
    let answer = site.ask("GET", "/metrics", "X-Prometheus-Scrape-Timeout-Seconds: 0.6\r\n").await;
    let took = began.elapsed();
    assert!(took < Duration::from_millis(550), "{took:?}");
    let text = answer.text();
    assert!(text.contains("number=\"1\"") && !text.contains("number=\"2\""), "{text}");
    tokio::time::sleep(Duration::from_secs(1)).await;
    let text = site.get("/metrics").await.text();
    assert!(text.contains("number=\"1\"") && text.contains("number=\"2\""), "{text}");
}

#[tokio::test]
async fn who_may_reload_from_this_machine() {
    let site = Setup::default().start();
    for (headers, expected) in [
        ("", 409),
        ("Host: 127.0.0.1:9100\r\n", 409),
        ("Host: [::1]\r\nOrigin: http://[::1]\r\nSec-Fetch-Site: same-origin\r\n", 409),
        ("Host: example.org\r\n", 403),
        ("Host: localhost\r\nHost: localhost\r\n", 403),
        ("Forwarded: for=1.2.3.4\r\n", 403),
        ("X-Forwarded-For: 127.0.0.1\r\n", 403),
        ("X-Forwarded-Whatever: 1\r\n", 403),
        ("Via: 1.1 proxy\r\n", 403),
        ("Origin: http://localhost:3000\r\n", 403),
        ("Origin: null\r\n", 403),
        ("Sec-Fetch-Site: cross-site\r\n", 403),
        ("Sec-Fetch-Site: same-site\r\n", 403),
        ("Sec-Fetch-Site: none\r\n", 409),
    ] {
        let answer = site.ask("PUT", "/plugins/reload", headers).await;
        assert_eq!(answer.status, expected, "{headers} {}", answer.text());
    }
    let foreign = site.ask("PUT", "http://example.org/plugins/reload", "").await;
    assert_eq!(foreign.status, 403);
    // HTTP/1.0 without a host.
    let mut stream = site.connect().await;
    stream.write_all(b"PUT /plugins/reload HTTP/1.0\r\n\r\n").await.expect("sends");
    assert_eq!(answer(&mut stream, false).await.map(|answer| answer.status), Some(403));
    assert_eq!(site.stub.reloads.load(Ordering::Relaxed), 4);
}

#[tokio::test]
async fn listeners_without_admin_have_no_reload() {
    let server = server(&[tcp("127.0.0.1:0", Admin::Off)]);
    let site = Setup { on: &["broken"], server, ..Setup::default() }.start();
    for method in ["GET", "PUT"] {
        let answer = site.ask(method, "/plugins/reload", "").await;
        assert_eq!(answer.status, 404);
        assert!(!answer.text().contains("/plugins/reload"));
    }
    site.get("/metrics").await;
    let broken = site.get("/plugins/broken").await.json();
    assert_eq!((&broken["state"], &broken["error"]), (&"failing".into(), &"failing".into()));
    let page = site.get("/").await.text();
    assert!(!page.contains("proc/secret") && page.contains("no admin routes"));
}

#[tokio::test]
async fn admins_are_told_more() {
    let site = Setup { on: &["broken", "steady"], ..Setup::default() }.start();
    site.get("/metrics").await;
    let error = site.get("/plugins/broken").await.json()["error"].clone();
    assert!(error.as_str().is_some_and(|error| error.contains("proc/secret")), "{error}");
    assert!(site.get("/").await.text().contains("proc/secret"));
    let through_proxy = site.ask("GET", "/plugins/broken", "Via: 1.1 x\r\n").await.json();
    assert_eq!(through_proxy["error"], "failing");
}

#[tokio::test]
async fn tokens_open_the_admin_routes() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("token");
    let write = |text: &str| {
        use std::os::unix::fs::PermissionsExt;
        std::fs::write(&file, text).expect("a file");
        let private = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(&file, private).expect("chmod");
    };
    let server = server(&[tcp("127.0.0.1:0", Admin::Token(file.clone()))]);
    let site = Setup { server, ..Setup::default() }.start();
    let reload = |token: &'static str| site.ask("PUT", "/plugins/reload", token);
    assert_eq!(reload("").await.status, 401);
    assert_eq!(reload("Authorization: Bearer one\r\n").await.status, 500);
    write("one\n");
    assert_eq!(reload("Authorization: Bearer one\r\n").await.status, 409);
    assert_eq!(reload("Authorization: Bearer One\r\n").await.status, 401);
    assert_eq!(reload("Authorization: Basic one\r\n").await.status, 401);
    // It is a proxy's business to check who asks when it passes the token on.
    assert_eq!(
        reload("Authorization: Bearer one\r\nX-Forwarded-For: 1.2.3.4\r\n").await.status,
        409
    );
    write("two\n");
    assert_eq!(reload("Authorization: Bearer one\r\n").await.status, 401);
    assert_eq!(reload("Authorization: Bearer two\r\n").await.status, 409);
}

#[tokio::test]
async fn unix_sockets_know_their_peers() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("v.sock");
    let server = server(&[unix(&path, Admin::Local)]);
    let site = Setup { server, ..Setup::default() }.start();
    let mut stream = UnixStream::connect(&path).await.expect("connects");
    assert_eq!(ask(&mut stream, "GET", "/healthz", "Host: anything\r\n").await.status, 200);
    assert_eq!(ask(&mut stream, "PUT", "/plugins/reload", "Host: anything\r\n").await.status, 409);
    let from_page =
        ask(&mut stream, "PUT", "/plugins/reload", "Origin: http://localhost\r\n").await;
    assert_eq!(from_page.status, 403);
    site.listeners.stop(Instant::now() + LONG).await;
    assert!(!path.exists());
}

fn report() -> ReloadReport {
    ReloadReport {
        dry_run: false,
        generation: 4,
        hash: "def".to_owned(),
        collectors: Changes { started: vec!["steady"], ..Changes::default() },
        outputs: Changes::default(),
        listeners: ListenerChanges::default(),
        degraded: vec![("slow", "absent: nothing there".to_owned())],
        took: Duration::from_millis(5),
    }
}

#[tokio::test]
async fn a_reload_tells_truly_what_came_of_it() {
    let wishes: Arc<Mutex<Vec<ReloadWish>>> = Arc::default();
    let seen = Arc::clone(&wishes);
    let reload = move |wish: ReloadWish| {
        let mut seen = seen.lock().expect("no panic");
        seen.push(wish);
        match seen.len() {
            1 => ReloadOutcome::Applied(report()),
            2 => {
                let origin = Origin::File { file: "c.toml".into(), line: 3, column: 7 };
                let (path, message) = ("server.listen".to_owned(), "is wrong".to_owned());
                ReloadOutcome::Refused(vec![Mistake { origin, path, message }])
            }
            3 => ReloadOutcome::Mismatch("abc".to_owned()),
            4 => ReloadOutcome::TimedOut(Duration::from_secs(10)),
            _ => ReloadOutcome::Busy,
        }
    };
    let site = Setup { reload: Box::new(reload), ..Setup::default() }.start();
    let reload = |query: &str, headers: &'static str| {
        let path = format!("/plugins/reload{query}");
        let site = &site;
        async move { site.ask("PUT", &path, headers).await }
    };
    let applied = reload("", "If-Match: W/\"xyz\", \"abc\"\r\n").await;
    assert_eq!((applied.status, applied.has("etag: \"def\"")), (200, true));
    let told = applied.json();
    assert_eq!(told["generation"], 4);
    assert_eq!(told["started"], serde_json::json!(["steady"]));
    assert_eq!(told["degraded"][0]["reason"], "absent: nothing there");
    assert_eq!(told["took_seconds"], 0.005);
    let refused = reload("?dry_run=true", "If-Match: *\r\n").await;
    assert_eq!(refused.status, 422);
    let mistake = &refused.json()["mistakes"][0];
    assert_eq!(mistake["file"], "c.toml");
    assert_eq!((&mistake["line"], &mistake["column"]), (&3.into(), &7.into()));
    assert_eq!(mistake["text"], "c.toml:3:7: server.listen: is wrong");
    assert_eq!(reload("?dry_run=0", "If-Match: xyz\r\n").await.status, 412);
    assert_eq!(reload("", "").await.status, 503);
    assert_eq!(reload("", "").await.status, 409);
    // Nothing that is mistyped becomes a reload.
    assert_eq!(reload("?dry_run=maybe", "").await.status, 400);
    assert_eq!(reload("?dryrun=true", "").await.status, 400);
    let wishes = wishes.lock().expect("no panic");
    let wished: Vec<_> =
        wishes.iter().map(|wish| (wish.dry_run, wish.if_match.as_deref())).collect();
    assert_eq!(
        wished,
        [(false, Some("abc")), (true, None), (false, Some("xyz")), (false, None), (false, None)]
    );
}

#[tokio::test]
async fn a_reload_ends_even_if_nobody_waits_for_it() {
    let reload_takes = Duration::from_millis(200);
    let site = Setup { reload_takes, ..Setup::default() }.start();
    let mut stream = site.connect().await;
    stream
        .write_all(b"PUT /plugins/reload HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await
        .expect("sends");
    tokio::time::sleep(Duration::from_millis(50)).await;
    drop(stream);
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(site.stub.reloads.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn the_status_page_escapes_and_forbids() {
    let site = Setup { on: &["steady", "broken"], ..Setup::default() }.start();
    site.get("/metrics").await;
    let page = site.ask("GET", "/", "Host: \"><script>alert(1)</script>\r\n").await;
    assert_eq!(page.status, 200);
    let text = page.text();
    assert!(text.contains("Always there &lt;script&gt;") && !text.contains("<script>"));
    let policy = page.head.lines().find_map(|line| line.strip_prefix("content-security-policy: "));
    let policy = policy.expect("a policy");
    let nonce = policy.split("script-src 'nonce-").nth(1).and_then(|rest| rest.split('\'').next());
    let nonce = nonce.expect("a nonce");
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"));
    assert_eq!(text.matches(&format!("nonce=\"{nonce}\"")).count(), 2);
    for link in ["/metrics?collect[]=steady", "/plugins/steady", "/plugins/long", "/healthz"] {
        assert!(text.contains(&format!("href=\"{link}\"")), "{link}");
    }
    assert!(!text.contains("style=\"") && !text.contains("onclick"));
}

#[tokio::test]
async fn silent_and_half_said_connections_are_closed() {
    let mut server = server(&[tcp("127.0.0.1:0", Admin::Local)]);
    server.idle_timeout = Duration::from_millis(900);
    let site = Setup { server, ..Setup::default() }.start();
    site.listeners.set_patience(MOMENT, LONG);
    let (mut silent, mut half, mut idle) =
        (site.connect().await, site.connect().await, site.connect().await);
    half.write_all(b"GET /metrics HTTP/1.1\r\nHost: lo").await.expect("sends");
    assert_eq!(ask(&mut idle, "GET", "/healthz", "").await.status, 200);
    assert!(closes_within(&mut silent, 2 * MOMENT).await);
    assert!(closes_within(&mut half, MOMENT).await);
    // An idle connection has the longer time, and a half head on it the shorter one.
    assert_eq!(ask(&mut idle, "GET", "/healthz", "").await.status, 200);
    idle.write_all(b"G").await.expect("sends");
    assert!(closes_within(&mut idle, 2 * MOMENT).await);
    let mut idle = site.connect().await;
    assert_eq!(ask(&mut idle, "GET", "/healthz", "").await.status, 200);
    assert!(!closes_within(&mut idle, 2 * MOMENT).await);
    assert!(closes_within(&mut idle, 2 * MOMENT).await);
    // One byte at a time does not make the head's time longer.
    let mut drip = site.connect().await;
    let began = Instant::now();
    while drip.write_all(b"G").await.is_ok() && began.elapsed() < LONG {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(began.elapsed() < 4 * MOMENT, "{:?}", began.elapsed());
    assert_eq!(site.counters.timed_out(), 5);
    assert_eq!(site.counters.connections(), 0);
}

#[tokio::test]
async fn heads_have_limits() {
    let site = Setup::default().start();
    for header in [
        format!("X: {}\r\n", "x".repeat(20 << 10)),
        format!("X: {}\r\n", "x".repeat(1 << 20)),
        "X: y\r\n".repeat(80),
    ] {
        let mut stream = site.connect().await;
        let request = format!("GET /metrics HTTP/1.1\r\nHost: localhost\r\n{header}\r\n");
        // The answer may come, and the connection end, before all is sent.
        let _ = stream.write_all(request.as_bytes()).await;
        let answer = answer(&mut stream, false).await;
        assert!(answer.is_none_or(|answer| answer.status == 431));
        assert_eq!(site.get("/healthz").await.status, 200);
    }
    for garbage in ["\0\0\0\0\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "GET\r\n\r\n"] {
        let mut stream = site.connect().await;
        stream.write_all(garbage.as_bytes()).await.expect("sends");
        assert!(closes_within(&mut stream, LONG).await, "{garbage:?}");
    }
}

#[tokio::test]
async fn bodies_are_not_read() {
    let site = Setup::default().start();
    let long = site.ask("PUT", "/plugins/reload", "Content-Length: 1000000\r\n").await;
    assert_eq!(long.status, 413);
    let mut stream = site.connect().await;
    let short = "Content-Length: 5\r\n\r\nhello";
    let request = format!("PUT /plugins/reload HTTP/1.1\r\nHost: localhost\r\n{short}");
    stream.write_all(request.as_bytes()).await.expect("sends");
    assert_eq!(answer(&mut stream, false).await.map(|answer| answer.status), Some(409));
    assert_eq!(ask(&mut stream, "GET", "/healthz", "").await.status, 200);
    let mut stream = site.connect().await;
    let head =
        "PUT /plugins/reload HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await.expect("sends");
    assert_eq!(answer(&mut stream, false).await.map(|answer| answer.status), Some(409));
    assert!(closes_within(&mut stream, LONG).await);
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let site = Setup::default().start();
    let mut stream = site.connect().await;
    let one = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let all = [one("/healthz"), one("/metrics"), one("/nothing"), one("/healthz")].concat();
    stream.write_all(all.as_bytes()).await.expect("sends");
    for expected in [200, 200, 404, 200] {
        assert_eq!(answer(&mut stream, false).await.map(|answer| answer.status), Some(expected));
    }
}

#[tokio::test]
async fn too_many_requests_are_refused_and_health_is_not() {
    let mut server = server(&[tcp("127.0.0.1:0", Admin::Local)]);
    server.max_requests = 2;
    let site = Setup { on: &["slow"], server, ..Setup::default() }.start();
    let busy = async { tokio::join!(site.get("/metrics"), site.get("/metrics")) };
    let others = async {
        tokio::time::sleep(MOMENT).await;
        assert_eq!(site.counters.in_flight(), 2);
        let refused = site.get("/metrics").await;
        assert!(refused.status == 503 && refused.has("retry-after: 1"));
        assert_eq!(site.get("/healthz").await.status, 200);
    };
    let ((first, second), ()) = tokio::join!(busy, others);
    assert_eq!((first.status, second.status), (200, 200));
    assert_eq!((site.counters.in_flight(), site.counters.refused_requests()), (0, 1));
}

#[tokio::test]
async fn slow_readers_are_cut_and_their_pages_freed() {
    let mut server = server(&[tcp("127.0.0.1:0", Admin::Local)]);
    server.max_page_bytes = 6 << 20;
    let site = Setup { on: &["long", "steady"], server, ..Setup::default() }.start();
    site.listeners.set_patience(LONG, 3 * MOMENT);
    let mut slow = site.connect().await;
    // A page of more than what the sockets' buffers hold.
    for _ in 0..2 {
        slow.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("sends");
    }
    tokio::time::sleep(2 * MOMENT).await;
    let refused = site.get("/metrics").await;
    let held = refused.status == 503;
    tokio::time::sleep(5 * MOMENT).await;
    assert_eq!(site.counters.timed_out(), 1);
    assert_eq!(site.counters.connections(), 0);
    assert_eq!(site.get("/metrics").await.status, 200);
    assert!(held, "{}", refused.status);
}

#[tokio::test]
async fn a_reader_that_gets_on_is_not_cut() {
    let site = Setup { on: &["long"], ..Setup::default() }.start();
    site.listeners.set_patience(LONG, MOMENT);
    let mut reader = site.connect().await;
    reader.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("sends");
    let (mut total, mut buffer) = (0, vec![0; 600_000]);
    // It takes several times the time in which some progress is expected.
    while total < 3_500_000 {
        total += reader.read(&mut buffer).await.expect("is not cut");
        if total < 3_000_000 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    assert_eq!(site.counters.timed_out(), 0);
}

#[tokio::test]
async fn idle_crowds_do_not_lock_anybody_out() {
    let mut server = server(&[tcp("127.0.0.1:0", Admin::Local)]);
    server.max_connections = 50;
    let site = Setup { server, ..Setup::default() }.start();
    let mut crowd = Vec::new();
    for _ in 0..2_000 {
        crowd.push(site.connect().await);
    }
    let began = Instant::now();
    for _ in 0..20 {
        assert_eq!(site.get("/metrics").await.status, 200);
    }
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    assert!(site.counters.connections() <= 50);
    assert!(site.counters.evicted() > 1_900);
}

#[tokio::test]
async fn a_stop_lets_requests_end() {
    let site = Setup { on: &["slow"], ..Setup::default() }.start();
    let address = site.address();
    let mut idle = site.connect().await;
    assert_eq!(ask(&mut idle, "GET", "/healthz", "").await.status, 200);
    let scrape = site.get("/metrics");
    let stop = async {
        tokio::time::sleep(MOMENT).await;
        // Said just before the stop, so it is answered.
        let mut late = site.connect().await;
        late.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("sends");
        let cut = site.listeners.stop(Instant::now() + LONG).await;
        assert_eq!(answer(&mut late, false).await.map(|answer| answer.status), Some(200));
        cut
    };
    let (scrape, cut) = tokio::join!(scrape, stop);
    assert_eq!((scrape.status, cut), (200, 0));
    assert!(closes_within(&mut idle, MOMENT).await);
    assert!(TcpStream::connect(address).await.is_err());
    assert_eq!(site.counters.connections(), 0);
}

#[tokio::test]
async fn a_stop_does_not_wait_for_ever() {
    let site = Setup { on: &["slow"], ..Setup::default() }.start();
    let mut stream = site.connect().await;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("sends");
    tokio::time::sleep(Duration::from_millis(100)).await;
    let began = Instant::now();
    assert_eq!(site.listeners.stop(began + Duration::from_millis(200)).await, 1);
    assert!(began.elapsed() < Duration::from_millis(600));
    assert!(closes_within(&mut stream, MOMENT).await);
}

#[tokio::test]
async fn a_swap_leaves_unchanged_listeners_and_their_connections_alone() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("v.sock");
    let first = tcp("127.0.0.1:0", Admin::Local);
    let socket = unix(&path, Admin::Local);
    let site = Setup { server: server(&[first.clone()]), ..Setup::default() }.start();
    let address = site.address();
    let mut kept = site.connect().await;
    assert_eq!(ask(&mut kept, "PUT", "/plugins/reload", "").await.status, 409);

    let changes = site.swap(&[first.clone(), socket.clone()]).await;
    assert_eq!(changes.started, [format!("unix:{}", path.display())]);
    assert_eq!(changes.unchanged, ["127.0.0.1:0"]);
    let mut by_path = UnixStream::connect(&path).await.expect("connects");
    assert_eq!(ask(&mut by_path, "GET", "/healthz", "").await.status, 200);

    // The same address with another rule: the connection stays, the rule holds at once.
    let closed = Listen { admin: Admin::Off, ..first.clone() };
    assert_eq!(site.swap(&[closed.clone(), socket]).await.started.len(), 0);
    assert_eq!(ask(&mut kept, "PUT", "/plugins/reload", "").await.status, 404);

    let changes = site.swap(&[closed]).await;
    assert_eq!(changes.stopped, [format!("unix:{}", path.display())]);
    assert!(closes_within(&mut by_path, MOMENT).await && !path.exists());
    assert_eq!(ask(&mut kept, "GET", "/healthz", "").await.status, 200);
    assert_eq!(site.address(), address);
}

#[tokio::test]
async fn an_address_is_handed_over() {
    let site = Setup::default().start();
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = free.local_addr().expect("an address").port();
    drop(free);
    let narrow = tcp(&format!("127.0.0.1:{port}"), Admin::Local);
    site.swap(&[narrow.clone()]).await;
    let mut busy = site.connect().await;
    assert_eq!(ask(&mut busy, "GET", "/healthz", "").await.status, 200);

    let wide = tcp(&format!("0.0.0.0:{port}"), Admin::Off);
    let changes = site.swap(&[wide]).await;
    assert_eq!((changes.started.len(), changes.stopped.len()), (1, 1));
    assert_eq!(site.get("/healthz").await.status, 200);
    assert!(closes_within(&mut busy, MOMENT).await);
    let dual = tcp(&format!(":{port}"), Admin::Off);
    site.swap(&[dual]).await;
    assert_eq!(site.get("/healthz").await.status, 200);
    site.swap(&[narrow.clone()]).await;
    assert_eq!(site.get("/healthz").await.status, 200);

    // Somebody else has a part of the wide address: the narrow one must go on.
    let other = std::net::TcpListener::bind(("127.0.0.2", port)).expect("another address");
    let wide = server(&[tcp(&format!("0.0.0.0:{port}"), Admin::Local)]);
    let staged = site.listeners.stage(&wide).expect("it looks like our own");
    let mistakes = site.listeners.swap(staged).expect_err("it is not");
    assert!(mistakes[0].message.contains("listens there already"), "{}", mistakes[0]);
    assert_eq!(site.get("/healthz").await.status, 200);
    assert_eq!(site.listeners.changes(&[narrow]).unchanged.len(), 1);
    drop(other);
}

#[tokio::test]
async fn addresses_in_use_are_all_told() {
    let site = Setup::default().start();
    let other = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = other.local_addr().expect("an address").to_string();
    let wanted = server(&[
        tcp("127.0.0.1:0", Admin::Local),
        tcp(&taken, Admin::Off),
        tcp("192.0.2.1:9100", Admin::Off),
    ]);
    let Err(mistakes) = site.listeners.stage(&wanted) else { panic!("it is in use") };
    assert_eq!(mistakes.len(), 2);
    assert!(mistakes[0].message.contains(&taken));
    assert!(mistakes[1].message.contains("no such address"), "{}", mistakes[1]);
    assert_eq!(site.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn swaps_under_load_lose_nothing() {
    let first = tcp("127.0.0.1:0", Admin::Local);
    let site = Setup { server: server(&[first.clone()]), ..Setup::default() }.start();
    let second = tcp("127.0.0.1:0", Admin::Off);
    let scrapes = async {
        let mut stream = site.connect().await;
        for _ in 0..200 {
            assert_eq!(ask(&mut stream, "GET", "/metrics", "").await.status, 200);
            assert_eq!(site.get("/metrics").await.status, 200);
        }
    };
    let swaps = async {
        for round in 0..200 {
            let admin = if round % 2 == 0 { Admin::Off } else { Admin::Local };
            site.swap(&[Listen { admin, ..first.clone() }]).await;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::join!(scrapes, swaps);
    drop(second);
}

#[tokio::test]
async fn counters_tell_what_happened() {
    let site = Setup::default().start();
    let mut stream = site.connect().await;
    ask(&mut stream, "GET", "/metrics", "").await;
    ask(&mut stream, "GET", "/nothing", "").await;
    assert_eq!((site.counters.connections(), site.counters.accepted()), (1, 1));
    assert!(site.counters.sent_bytes() > 200);
    let mut statuses = Vec::new();
    site.counters.each_status(|code, count| statuses.push((code, count)));
    assert_eq!(statuses, [("200", 1), ("404", 1)]);
    let mut scrapes = Vec::new();
    site.counters.each_scrape_status(|code, count| scrapes.push((code, count)));
    assert_eq!(scrapes, [("200", 1), ("503", 0), ("500", 0)]);
    assert_eq!(site.counters.scrapes_in_flight(), 0);
}
