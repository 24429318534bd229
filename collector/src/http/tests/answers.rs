//! What each route answers.

use super::*;
use std::sync::mpsc;
use vitald_core::snapshot::{Collection, Snapshot};

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
    assert_eq!(plugins["collectors"].as_array().map(Vec::len), Some(DESCRIPTORS.len()));
    let steady = site.get("/plugins/steady").await.json();
    assert_eq!(steady["state"], "running");
    assert_eq!(steady["families"][0]["name"], "test_value");
    // As the status page writes a name with other letters.
    assert_eq!(site.get("/plugins/st%65ady").await.status, 200);
    assert_eq!(steady["families"][0]["unit"], serde_json::Value::Null);
    assert_eq!(steady["families"][0]["since"], serde_json::Value::Null);
    assert_eq!(steady["families"][1]["unit"], "bytes");
    assert_eq!(steady["families"][1]["since"], "source");
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
    let mode = Mode::DropIn { telemetry_path: "/a/b".to_owned() };
    let site = Setup { mode, ..Setup::default() }.start();
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
    // A collector of node_exporter's that this build lacks does not cost the others.
    for query in ["collect[]=steady&collect[]=hwmon", "collect[]=bonding&collect[]=steady"] {
        let answer = site.get(&format!("/a/b?{query}")).await;
        assert_eq!((answer.status, answer.text().contains("test_value")), (200, true), "{query}");
    }
    let alone = site.get("/a/b?collect[]=hwmon").await;
    assert_eq!((alone.status, alone.text().contains("test_value")), (200, false));
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

/// Own families whose writing waits, on a page that has the long collector.
struct Gate {
    entered: Mutex<mpsc::Sender<()>>,
    opened: Mutex<mpsc::Receiver<()>>,
}

impl OwnFamilies for Gate {
    fn descriptor(&self) -> &'static Descriptor {
        &DESCRIPTORS[0]
    }

    fn write(&self, collection: &Collection, _batch: &mut Batch) {
        if collection.parts.iter().any(|part| part.descriptor.name == "long") {
            self.entered.lock().expect("a lock").send(()).expect("the test waits");
            self.opened.lock().expect("a lock").recv().expect("the test opens");
        }
    }

    fn sealed(&self, _snapshot: &Snapshot) {}
}

#[tokio::test]
async fn a_long_page_holds_up_no_short_one() {
    let (entered, waiting) = mpsc::channel();
    let (open, opened) = mpsc::channel();
    let gate = Gate { entered: Mutex::new(entered), opened: Mutex::new(opened) };
    let own: Option<Arc<dyn OwnFamilies>> = Some(Arc::new(gate));
    let site = Setup { on: &["long", "steady"], own, ..Setup::default() }.start();
    let short = async {
        tokio::task::spawn_blocking(move || waiting.recv()).await.expect("runs").expect("enters");
        let answer = tokio::time::timeout(LONG, site.get("/metrics?collect[]=steady")).await;
        open.send(()).expect("the long page waits");
        answer.expect("the short page waits for the long one")
    };
    let (long, short) = tokio::join!(site.get("/metrics"), short);
    assert!(short.status == 200 && short.text().contains("test_value"));
    assert!(long.status == 200 && long.body.len() > 3_000_000);
}

#[tokio::test]
async fn long_pages_wait_without_a_thread_and_not_beyond_their_deadline() {
    let (entered, waiting) = mpsc::channel();
    let (open, opened) = mpsc::channel();
    let gate = Gate { entered: Mutex::new(entered), opened: Mutex::new(opened) };
    let own: Option<Arc<dyn OwnFamilies>> = Some(Arc::new(gate));
    let site = Setup { on: &["long", "steady"], own, ..Setup::default() }.start();
    let others = async {
        let entered = move || waiting.recv().map(|()| waiting);
        let waiting = tokio::task::spawn_blocking(entered).await.expect("runs").expect("enters");
        let mut late = Vec::new();
        for _ in 0..20 {
            let mut stream = site.connect().await;
            let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\
                           X-Prometheus-Scrape-Timeout-Seconds: 0.3\r\n\r\n";
            stream.write_all(request.as_bytes()).await.expect("sends");
            late.push(stream);
        }
        let mut answers = Vec::new();
        for stream in &mut late {
            answers.push(tokio::time::timeout(LONG, answer(stream, false)).await);
        }
        open.send(()).expect("the long page waits");
        (answers, waiting)
    };
    let (first, (late, waiting)) = tokio::join!(site.get("/metrics"), others);
    for answer in late {
        let answer = answer.expect("it waits for the page before it").expect("an answer");
        assert_eq!(answer.status, 503, "{}", answer.text());
        assert!(answer.has("retry-after: 1"), "{}", answer.head);
        assert!(answer.text().contains("urn:vitald:problem:long-pages"), "{}", answer.text());
    }
    // None of them has come to be written.
    assert!(waiting.try_recv().is_err());
    assert!(first.status == 200 && first.body.len() > 3_000_000);
    open.send(()).expect("there is a gate");
    assert_eq!(site.get("/metrics").await.status, 200);
}

#[tokio::test]
async fn the_scrapers_timeout_is_the_deadline() {
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
async fn counters_show_what_happened() {
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
