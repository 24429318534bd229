//! Who may reload, and what a reload answers.

use super::*;
use crate::outputs::OutputChanges;

#[tokio::test]
async fn who_may_reload_from_this_machine() {
    let site = Setup::default().start();
    for (headers, expected) in [
        ("", 409),
        ("Host: 127.0.0.1:9100\r\n", 409),
        ("Host: [::1]\r\nOrigin: http://[::1]\r\nSec-Fetch-Site: same-origin\r\n", 409),
        ("Host: example.org\r\n", 403),
        ("Host: localhost\r\nHost: localhost\r\n", 400),
        ("Forwarded: for=1.2.3.4\r\n", 403),
        ("X-Forwarded-For: 127.0.0.1\r\n", 403),
        ("X-Forwarded-Whatever: 1\r\n", 403),
        ("Via: 1.1 proxy\r\n", 403),
        ("X-Real-IP: 1.2.3.4\r\n", 403),
        ("CF-Connecting-IP: 1.2.3.4\r\n", 403),
        ("Host: 0.0.0.0\r\n", 403),
        ("Host: localhost.evil.example\r\n", 403),
        ("Host: evil.example:9100\r\nOrigin: http://evil.example:9100\r\n", 403),
        ("Upgrade: websocket\r\nConnection: Upgrade\r\nOrigin: http://evil.example\r\n", 403),
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
    assert_eq!(site.stub.reloads(), 4);
}

#[tokio::test]
async fn listeners_without_admin_have_no_reload() {
    let server = server(&[tcp("127.0.0.1:0", Admin::Off)]);
    let site = Setup { on: &["broken"], server, ..Setup::default() }.start();
    for method in ["GET", "PUT"] {
        let answer = site.ask(method, "/plugins/reload", "").await;
        assert_eq!(answer.status, 404);
        assert!(!answer.text().contains("/plugins/reload"));
        let detail = answer.json()["detail"].to_string();
        assert!(detail.contains("no admin routes") && detail.contains("SIGHUP"), "{detail}");
    }
    site.get("/metrics").await;
    let broken = site.get("/plugins/broken").await.json();
    assert_eq!((&broken["state"], &broken["error"]), (&"failing".into(), &"failing".into()));
    let page = site.get("/").await.text();
    assert!(!page.contains("proc/secret"));
    assert!(page.contains("No listener of this daemon has admin routes. A SIGHUP"), "{page}");
}

#[tokio::test]
async fn the_status_page_says_what_works_on_its_listener() {
    let directory = tempfile::tempdir().expect("a directory");
    let socket = unix(&directory.path().join("v.sock"), Admin::Local);
    let server = server(&[tcp("127.0.0.1:0", Admin::Off), socket.clone()]);
    let site = Setup { server, ..Setup::default() }.start();
    let page = site.get("/").await.text();
    assert!(page.contains("but another one has"), "{page}");
    assert!(page.contains("vitald reload --config FILE</code>"), "{page}");
    assert!(page.contains("systemctl reload vitald"), "{page}");
    let Address::Unix(path) = &socket.address else { panic!("{:?}", socket.address) };
    let mut stream = UnixStream::connect(path).await.expect("connects");
    let page = ask(&mut stream, "GET", "/", "").await.text();
    assert!(page.contains("vitald reload --config /etc/vitald/config.toml</code>"), "{page}");
    let shown = path.display();
    let command =
        format!("curl -X PUT --unix-socket {shown} http://localhost/plugins/reload</code>");
    assert!(page.contains(&command), "{page}");
    // Who reads over each listener, and where that is in truth.
    let open = format!(
        "<code>unix:{shown}</code>: mode 0600, open to its owner alone; administration: local"
    );
    assert!(page.contains(&open), "{page}");
    let bound = site.address();
    let open = format!(
        "<code>127.0.0.1:0</code>, which is <code>{bound}</code>: plain HTTP, open to read"
    );
    assert!(page.contains(&open), "{page}");
}

#[tokio::test]
async fn the_status_page_gives_no_command_that_would_be_refused() {
    let site = Setup::default().start();
    let page = site.ask("GET", "/", "Host: elsewhere.example:9100\r\n").await.text();
    assert!(!page.contains("curl"), "{page}");
    assert!(page.contains("on the daemon's host: <code>vitald reload"), "{page}");
}

#[tokio::test]
async fn only_admins_are_shown_which_file_is_read() {
    let site = Setup::default().start();
    let overview = site.get("/plugins").await.json();
    assert_eq!(
        (&overview["admin"], &overview["config_file"]),
        (&true.into(), &"/etc/vitald/config.toml".into())
    );
    let through_proxy = site.ask("GET", "/plugins", "Via: 1.1 x\r\n").await;
    assert!(!through_proxy.text().contains("/etc/vitald"), "{}", through_proxy.text());
    let overview = through_proxy.json();
    assert_eq!((&overview["admin"], &overview["config_file"]), (&false.into(), &().into()));
    let page = site.ask("GET", "/", "Via: 1.1 x\r\n").await.text();
    assert!(!page.contains("/etc/vitald") && page.contains("--config FILE"), "{page}");
}

#[tokio::test]
async fn admins_see_more() {
    let site = Setup { on: &["broken", "half", "steady"], ..Setup::default() }.start();
    site.get("/metrics").await;
    let half = |answer: serde_json::Value| (answer["error"].clone(), answer["fault"].clone());
    let fault = "proc/half: byte 7: expected a number";
    let seen = half(site.get("/plugins/half").await.json());
    assert_eq!(seen, (serde_json::Value::Null, fault.into()));
    assert!(site.get("/").await.text().contains(fault));
    let seen = half(site.ask("GET", "/plugins/half", "Via: 1.1 x\r\n").await.json());
    assert_eq!(seen, (serde_json::Value::Null, "a part of its source cannot be read".into()));
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
    let rule = Admin::Token(TokenFile::Path(file.clone()));
    let site = Setup { server: server(&[tcp("127.0.0.1:0", rule)]), ..Setup::default() }.start();
    let reload = |token: &'static str| site.ask("PUT", "/plugins/reload", token);
    // What was read counts for a moment, so that who guesses has nothing read.
    let comes_to = |token: &'static str, status: u16| {
        let site = &site;
        async move {
            let until = Instant::now() + LONG;
            while site.ask("PUT", "/plugins/reload", token).await.status != status {
                assert!(Instant::now() < until, "{token} never comes to {status}");
                tokio::task::yield_now().await;
            }
        }
    };
    assert_eq!(reload("").await.status, 401);
    assert_eq!(reload("Authorization: Bearer one\r\n").await.status, 500);
    write("one\n");
    comes_to("Authorization: Bearer one\r\n", 409).await;
    assert_eq!(reload("Authorization: Bearer One\r\n").await.status, 401);
    assert_eq!(reload("Authorization: Basic one\r\n").await.status, 401);
    // It is a proxy's business to check who asks when it passes the token on.
    assert_eq!(
        reload("Authorization: Bearer one\r\nX-Forwarded-For: 1.2.3.4\r\n").await.status,
        409
    );
    write("two\n");
    comes_to("Authorization: Bearer two\r\n", 409).await;
    assert_eq!(reload("Authorization: Bearer one\r\n").await.status, 401);
    // A token that is taken back is refused, too.
    std::fs::remove_file(&file).expect("a file");
    comes_to("Authorization: Bearer two\r\n", 500).await;
}

/// A file with its own name as the token in it.
fn token_file(directory: &Path, name: &str) -> TokenFile {
    use std::os::unix::fs::PermissionsExt;
    let path = directory.join(name);
    std::fs::write(&path, name).expect("a file");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("chmod");
    TokenFile::Path(path)
}

#[tokio::test]
async fn the_token_of_an_earlier_configuration_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let listen = |name: &str| {
        let mut listen = tcp("127.0.0.1:0", Admin::Token(token_file(directory.path(), name)));
        listen.serve.token_file = Some(token_file(directory.path(), &format!("{name}-reads")));
        listen
    };
    let site = Setup { server: server(&[listen("one")]), ..Setup::default() }.start();
    let mut stream = site.connect().await;
    let bearer = |name: &str| format!("Authorization: Bearer {name}\r\n");
    for (now, earlier) in [("one", "two"), ("two", "one"), ("one", "two")] {
        site.swap(&[listen(now)]).await;
        for (name, may_administer, may_read) in [
            (now.to_owned(), 409, 200),
            (format!("{now}-reads"), 401, 200),
            (earlier.to_owned(), 401, 401),
            (format!("{earlier}-reads"), 401, 401),
        ] {
            // Its file is there, and right.
            let answer = ask(&mut stream, "PUT", "/plugins/reload", &bearer(&name)).await;
            assert_eq!(answer.status, may_administer, "{name} under {now}");
            let answer = ask(&mut stream, "GET", "/metrics", &bearer(&name)).await;
            assert_eq!(answer.status, may_read, "{name} under {now}");
        }
    }
}

#[tokio::test]
async fn a_listener_may_want_a_token_of_who_reads() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = |name: &str| token_file(directory.path(), name);
    let admin = Admin::Token(file("admin"));
    let mut listen = tcp("127.0.0.1:0", admin);
    listen.serve.token_file = Some(file("read"));
    let site = Setup { server: server(&[listen.clone()]), ..Setup::default() }.start();
    let (read, admin) = ("Authorization: Bearer read\r\n", "Authorization: Bearer admin\r\n");
    for path in ["/", "/metrics", "/plugins", "/plugins/steady", "/plugins/nothing"] {
        for headers in ["", "Authorization: Bearer other\r\n", "Authorization: Basic read\r\n"] {
            let answer = site.ask("GET", path, headers).await;
            assert_eq!(answer.status, 401, "{path} {headers}");
            assert!(answer.has("www-authenticate: Bearer realm=\"vitald\""), "{}", answer.head);
        }
        let found = if path.ends_with("nothing") { 404 } else { 200 };
        assert_eq!(site.ask("GET", path, read).await.status, found, "{path}");
        assert_eq!(site.ask("GET", path, admin).await.status, found, "{path}");
    }
    assert_eq!(site.get("/healthz").await.status, 200);
    site.http.set_ready();
    assert_eq!(site.get("/readyz").await.status, 200);
    // Who may read may not administer, and learns nothing of what admins see.
    assert_eq!(site.ask("PUT", "/plugins/reload", read).await.status, 401);
    assert_eq!(site.ask("GET", "/plugins", read).await.json()["admin"], false);
    // Where administration is by user, root's processes see the daemon, but not the metrics.
    listen.serve.admin = Admin::Local;
    site.swap(&[listen]).await;
    assert_eq!(site.get("/plugins").await.status, 200);
    assert_eq!(site.get("/metrics").await.status, 401);
}

#[tokio::test]
async fn who_guesses_tokens_has_hardly_a_file_read() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("token");
    std::fs::write(&path, "one").expect("a file");
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600))
        .expect("chmod");
    let listen = tcp("127.0.0.1:0", Admin::Token(TokenFile::Path(path.clone())));
    let site = Setup { server: server(&[listen]), ..Setup::default() }.start();
    let mut stream = site.connect().await;
    let guess = "Authorization: Bearer guess\r\n";
    let began = Instant::now();
    assert_eq!(ask(&mut stream, "PUT", "/plugins/reload", guess).await.status, 401);
    // What the last reading found is not asked for again: else this would be noticed.
    std::fs::remove_file(&path).expect("a file");
    let mut refused = 0;
    while ask(&mut stream, "PUT", "/plugins/reload", guess).await.status == 401 {
        refused += 1;
    }
    assert!(refused > 0 && began.elapsed() >= Duration::from_millis(100), "{refused}");
}

#[tokio::test]
async fn a_client_that_has_gone_is_no_admin() {
    use std::io::Write as _;
    let site = Setup::default().start();
    // It is closed before the daemon sees it, and the kernel says of a socket without a process that
    // it is root's.
    let mut stream = std::net::TcpStream::connect(site.address()).expect("connects");
    let asked = b"PUT /plugins/reload HTTP/1.1\r\nHost: localhost\r\n\r\n";
    stream.write_all(asked).expect("sends");
    drop(stream);
    let until = Instant::now() + LONG;
    let refused = || {
        let mut refused = 0;
        site.counters.each_status(|status, count| refused += u64::from(status == "403") * count);
        refused
    };
    while refused() == 0 {
        assert!(Instant::now() < until, "it is never answered");
        tokio::task::yield_now().await;
    }
    assert_eq!(site.stub.reloads(), 0);
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
        outputs: OutputChanges::default(),
        listeners: ListenerChanges::default(),
        degraded: vec![("slow", "absent: nothing there".to_owned())],
        faults: Vec::new(),
        warnings: Vec::new(),
        took: Duration::from_millis(5),
    }
}

#[tokio::test]
async fn a_reload_reports_truly_what_came_of_it() {
    let requests: Arc<Mutex<Vec<ReloadRequest>>> = Arc::default();
    let seen = Arc::clone(&requests);
    let reload = move |wanted: ReloadRequest| {
        let mut seen = seen.lock().expect("no panic");
        seen.push(wanted);
        match seen.len() {
            1 => ReloadOutcome::Applied(Box::new(report())),
            2 => {
                let origin = Origin::File { file: "c.toml".into(), line: 3, column: 7 };
                let (path, message) = ("server.listen".to_owned(), "is wrong".to_owned());
                ReloadOutcome::Refused(vec![Mistake { origin, path, message }])
            }
            3 => ReloadOutcome::Mismatch("abc".to_owned()),
            4 => ReloadOutcome::Unavailable("it hangs".to_owned()),
            5 => ReloadOutcome::Faulty(Box::new(ReloadReport {
                faults: vec!["closing panicked".to_owned()],
                ..report()
            })),
            6 => ReloadOutcome::Unfinished("the outputs hang".to_owned()),

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
    let report = applied.json();
    assert_eq!(report["generation"], 4);
    assert_eq!(report["config_file"], "/etc/vitald/config.toml");
    assert_eq!(report["started"], serde_json::json!(["steady"]));
    assert_eq!(report["degraded"][0]["reason"], "absent: nothing there");
    assert_eq!(report["took_seconds"], 0.005);
    let refused = reload("?dry_run=true", "If-Match: *\r\n").await;
    assert_eq!(refused.status, 422);
    let mistake = &refused.json()["mistakes"][0];
    assert_eq!(mistake["file"], "c.toml");
    assert_eq!((&mistake["line"], &mistake["column"]), (&3.into(), &7.into()));
    assert_eq!(mistake["text"], "c.toml:3:7: server.listen: is wrong");
    assert_eq!(reload("?dry_run=0", "If-Match: xyz\r\n").await.status, 412);
    assert_eq!(reload("", "").await.status, 503);
    let faulty = reload("", "").await;
    assert_eq!(faulty.status, 500);
    assert_eq!(faulty.json()["faults"], serde_json::json!(["closing panicked"]));
    assert_eq!(faulty.json()["report"]["started"], serde_json::json!(["steady"]));
    let unfinished = reload("", "").await;
    assert_eq!(
        (unfinished.status, &unfinished.json()["detail"]),
        (500, &"the outputs hang".into())
    );
    assert_eq!(reload("", "").await.status, 409);
    // Nothing that is mistyped becomes a reload.
    assert_eq!(reload("?dry_run=maybe", "").await.status, 400);
    assert_eq!(reload("?dryrun=true", "").await.status, 400);
    assert_eq!(reload("?dry_run=true&dry_run=false", "").await.status, 400);
    let requests = requests.lock().expect("no panic");
    let requested: Vec<_> =
        requests.iter().map(|wanted| (wanted.dry_run, wanted.if_match.as_deref())).collect();
    assert_eq!(
        requested,
        [
            (false, Some("abc")),
            (true, None),
            (false, Some("xyz")),
            (false, None),
            (false, None),
            (false, None),
            (false, None)
        ]
    );
}

#[tokio::test]
async fn a_reload_ends_though_its_client_has_gone() {
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
    assert_eq!(site.stub.reloads(), 1);
}
