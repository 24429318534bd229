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
    for link in ["/?show=steady#c-steady", "/plugins/long", "/healthz"] {
        assert!(text.contains(&format!("href=\"{link}\"")), "{link}");
    }
    assert!(!text.contains("style=\"") && !text.contains("onclick"));
}

#[tokio::test]
async fn a_collector_is_unfolded_without_a_script() {
    let site = Setup { on: &["steady", "broken"], ..Setup::default() }.start();
    let folded = site.get("/").await.text();
    assert!(folded.contains("href=\"/?show=steady#c-steady\"") && !folded.contains("id=\"v-"));
    // What else there is of it is one step further, so that a row is one stop for a keyboard.
    let links = ["href=\"/plugins/steady\"", "href=\"/metrics?collect[]=steady\""];
    assert!(links.iter().all(|link| !folded.contains(link)), "{folded}");
    // It is run for who looks at it; one that is not there is no fault.
    let text = site.get("/?show=steady&show=nothing&show=%3Cscript%3E").await.text();
    assert!(text.contains("<code>test_value{number=&quot;1&quot;}</code>"), "{text}");
    assert!(links.iter().all(|link| text.contains(link)), "{text}");
    assert!(
        text.contains("href=\"/#c-steady\" data-show=\"steady\" aria-expanded=\"true\""),
        "{text}"
    );
    assert!(!text.contains("<script>"));
}

#[tokio::test]
async fn the_status_page_begins_with_what_is_wrong() {
    let site = Setup { on: &["steady", "broken", "half"], ..Setup::default() }.start();
    site.http.set_ready();
    assert!(site.get("/").await.text().contains("Nobody has got metrics"));
    site.ask("GET", "/metrics", "User-Agent: a<b>\r\n").await;
    let text = site.get("/").await.text();
    assert!(text.contains("<title>2 problems – "), "{text}");
    let problems = text.split("<section id=\"problems\">").nth(1).expect("problems");
    let (problems, rest) = problems.split_once("</section>").expect("its end");
    let (broken, half) = (problems.find("id=\"p-broken\""), problems.find("id=\"p-half\""));
    assert!(broken.is_some() && broken < half, "{problems}");
    assert!(problems.contains("proc/half: byte 7: expected a number"), "{problems}");
    assert!(rest.contains("(a&lt;b&gt;), answered after "), "{rest}");
    // Clients that may not administer learn neither files nor who else asks.
    let text = site.ask("GET", "/", "Via: a proxy\r\n").await.text();
    assert!(text.contains("2 problems") && text.contains("ago, answered after"));
    assert!(text.contains("its last run failed; administrators are shown why"), "{text}");
    assert!(!text.contains("proc/") && !text.contains("a&lt;b") && !text.contains("Listeners"));
    let told = site.get("/plugins").await.json();
    assert_eq!(told["last_scrape"]["agent"], "a<b>");
    let told = site.ask("GET", "/plugins", "Via: a proxy\r\n").await.json();
    assert!(told["last_scrape"]["agent"].is_null() && told["listeners"].is_null());
}

#[tokio::test]
async fn the_last_scrape_is_one_that_got_metrics() {
    let site = Setup::default().start();
    site.ask("GET", "/metrics", "User-Agent: scraper\r\n").await;
    let refused = "User-Agent: refused\r\n";
    assert_eq!(site.ask("GET", "/metrics?collect[]=nothing", refused).await.status, 400);
    let click = "User-Agent: browser\r\nAccept: text/html,application/xhtml+xml,*/*;q=0.8\r\n";
    assert_eq!(site.ask("GET", "/metrics?collect[]=steady", click).await.status, 200);
    assert_eq!(site.get("/plugins").await.json()["last_scrape"]["agent"], "scraper");
}

#[tokio::test]
async fn the_status_page_counts_as_people_do() {
    let site = Setup::default().start();
    site.http.set_ready();
    site.get("/metrics").await;
    let text = site.get("/?show=steady").await.text();
    for expected in [">All is well: 1 collector runs<", ">1 sample<", ">1 value<"] {
        assert!(text.contains(expected), "{expected} in {text}");
    }
    let site = Setup { on: &[], ..Setup::default() }.start();
    site.http.set_ready();
    let text = site.get("/").await.text();
    for expected in [">No collector has anything to give<", ">0 samples<", "take 0 µs."] {
        assert!(text.contains(expected), "{expected} in {text}");
    }
}

#[tokio::test]
async fn a_problem_says_what_is_missing_what_to_do_and_what_cannot_be_read() {
    let site = Setup { on: &["lacking"], ..Setup::default() }.start();
    site.http.set_ready();
    site.get("/metrics").await;
    let text = site.get("/").await.text();
    let problem = text.split("id=\"p-lacking\"").nth(1).and_then(|rest| rest.split("</li>").next());
    let problem = problem.expect("a problem");
    for expected in [
        "processes of other users are missing: procfs is mounted with hidepid",
        "run the daemon as the service",
        "proc/lacking: byte 7: expected a number",
    ] {
        assert!(problem.contains(expected), "{expected} in {problem}");
    }
    let row = text.split("id=\"c-lacking\"").nth(1).and_then(|rest| rest.split("</tr>").next());
    let row = row.expect("a row");
    assert!(row.contains("with hidepid; proc/lacking: byte 7"), "{row}");
}

#[tokio::test]
async fn of_a_long_chart_the_heaviest_rows_are_shown_and_it_is_said() {
    let site = Setup { on: &["charted"], ..Setup::default() }.start();
    let text = site.get("/?show=charted").await.text();
    let said = "<caption>Numbers: 30 of 40, those with the most \u{201c}size\u{201d}</caption>";
    assert!(text.contains(said), "{text}");
    for (name, is_shown) in [("0", true), ("24", true), ("25", false), ("34", false), ("38", true)]
    {
        let row = format!("<th scope=\"row\">{name}</th>");
        assert_eq!(text.contains(&row), is_shown, "{row}");
    }
    let long = format!("<th scope=\"row\">{}…</th>", "9".repeat(300));
    assert!(text.contains(&long) && !text.contains(&"9".repeat(301)));
}

#[tokio::test]
async fn of_too_many_to_unfold_the_last_are_and_it_is_said() {
    let on = &["broken", "half", "lacking", "steady", "long", "slow", "gated"];
    let site = Setup { on, ..Setup::default() }.start();
    site.open_gate();
    let wanted = on.join("&show=");
    let text = site.get(&format!("/?show={wanted}&show=gated")).await.text();
    assert!(text.contains("No more than 6 are unfolded at a time: broken is not."), "{text}");
    assert_eq!(text.matches("id=\"v-gated\"").count(), 1);
    assert!(!text.contains("id=\"v-broken\"") && text.contains("id=\"v-half\""));
}

#[tokio::test]
async fn a_look_has_each_collector_run_at_most_once_a_second() {
    // One that hangs is never known to have run a moment ago.
    let site = Setup { on: &["gated", "steady"], ..Setup::default() }.start();
    let site = Arc::new(site);
    let runs = async || {
        let steady = site.get("/plugins/steady").await.json();
        steady["counts"]["runs"].as_u64().expect("a number")
    };
    let (began, before) = (Instant::now(), runs().await);
    let mut looks = Vec::new();
    for _ in 0..12 {
        let site = Arc::clone(&site);
        looks.push(tokio::spawn(async move { site.get("/?show=steady&show=gated").await.status }));
        // Longer than the age at which a scrape takes what there is.
        tokio::time::sleep(Duration::from_millis(110)).await;
    }
    let all = runs().await - before;
    // Where so much else runs that one does not come back in time, another one is begun. Each look would be twelve.
    let most = (2 + began.elapsed().as_secs()).max(6);
    assert!((1..=most).contains(&all), "{all} runs, and not more than {most}");
    site.open_gate();
    for look in looks {
        assert_eq!(look.await.ok(), Some(200));
    }
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
