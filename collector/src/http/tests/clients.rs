//! Clients that are slow, hostile or many.

use super::*;

#[tokio::test]
async fn silent_connections_and_half_heads_are_closed() {
    let mut server = server(&[tcp("127.0.0.1:0", Admin::Local)]);
    server.idle_timeout = Duration::from_millis(900);
    let site = Setup { server, ..Setup::default() }.start();
    site.listeners.set_timeouts(MOMENT, LONG);
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
        format!("X: {}\r\n", "x".repeat(40 << 10)),
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
    let site = Setup { on: &["gated"], server, timeout: MINUTE, ..Setup::default() }.start();
    site.listeners.set_turn(Duration::ZERO);
    let busy = async { tokio::join!(site.get("/metrics"), site.get("/metrics")) };
    let others = async {
        until(|| site.counters.in_flight() == 2).await;
        let refused = site.get("/metrics").await;
        assert!(refused.status == 503 && refused.has("retry-after: 1"));
        assert_eq!(site.get("/healthz").await.status, 200);
        site.open_gate();
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
    site.listeners.set_timeouts(LONG, 3 * MOMENT);
    let mut slow = site.connect().await;
    // A page of more than what the sockets' buffers hold.
    for _ in 0..2 {
        slow.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("sends");
    }
    tokio::time::sleep(2 * MOMENT).await;
    // There is no room for another page, so the slow one is cut before its time.
    assert_eq!(site.get("/metrics").await.status, 200);
    assert_eq!((site.counters.evicted(), site.counters.timed_out()), (1, 0));
    // Where nobody needs its room it has its time.
    let mut slow = site.connect().await;
    slow.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("sends");
    let limit = Instant::now() + 10 * LONG;
    while site.counters.connections() > 0 {
        assert!(Instant::now() < limit, "it is still there");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!((site.counters.evicted(), site.counters.timed_out()), (1, 1));
}

#[tokio::test]
async fn slow_readers_of_long_pages_cost_no_scrape() {
    let mut server = server(&[tcp("127.0.0.1:0", Admin::Local)]);
    server.max_page_bytes = 20 << 20;
    let site = Setup { on: &["long", "steady"], server, ..Setup::default() }.start();
    let mut slow = Vec::new();
    for _ in 0..4 {
        let mut reader = site.connect().await;
        let request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";
        reader.write_all(request).await.expect("sends");
        slow.push(reader);
    }
    while site.counters.scrapes_in_flight() > 0 || site.counters.accepted() < 4 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for scrape in 0..5 {
        assert_eq!(site.get("/metrics").await.status, 200, "{scrape}");
    }
    assert!(site.counters.evicted() > 0);
}

#[tokio::test]
async fn methods_and_their_answers() {
    let site = Setup::default().start();
    for path in ["/metrics", "/", "/plugins", "/plugins/steady", "/healthz", "/readyz"] {
        for method in ["BREW", "POST", "DELETE", "OPTIONS", "TRACE", "get"] {
            let answer = site.ask(method, path, "").await;
            assert_eq!(answer.status, 405, "{method} {path}");
            assert!(answer.has("allow: GET, HEAD"), "{method} {path}: {}", answer.head);
        }
        let length = |answer: &Answer| {
            let line = answer.head.lines().find(|line| line.starts_with("content-length: "));
            line.map(str::to_owned)
        };
        let (got, told) = (site.get(path).await, site.ask("HEAD", path, "").await);
        assert_eq!((told.status, told.body.len()), (got.status, 0), "{path}");
        assert!(length(&told).is_some(), "{path}: {}", told.head);
        if path == "/healthz" {
            assert_eq!(length(&told), length(&got));
        }
    }
    // A second answer follows a HEAD where its head ends.
    let mut stream = site.connect().await;
    assert_eq!(ask(&mut stream, "HEAD", "/metrics", "").await.status, 200);
    assert_eq!(ask(&mut stream, "GET", "/healthz", "").await.text(), "ok\n");
}

#[tokio::test]
async fn headers_of_every_shape_cost_no_scrape() {
    let site = Setup::default().start();
    for accept in [
        "",
        ",",
        ";",
        "*",
        "*/*",
        "*/*;q=0",
        "text/plain;q=0",
        "text/*;q=0.1",
        "q=1",
        "a/b;q=nan",
        "text/plain;q=1e9;q=-1;version=;;",
        "application/openmetrics-text;version=\"1.0.0\"",
        "\t\u{e9}",
        "text/plain;q=0.0000000000000000000001",
        "/",
        "//",
        "text/",
        "/plain",
    ] {
        for header in ["Accept", "Accept-Encoding"] {
            let answer = site.ask("GET", "/metrics", &format!("{header}: {accept}\r\n")).await;
            assert_eq!(answer.status, 200, "{header}: {accept}");
        }
    }
    for encoding in ["gzip;q=0", "identity", "br", "gzip;q=0, *;q=1"] {
        let answer = site.ask("GET", "/metrics", &format!("Accept-Encoding: {encoding}\r\n")).await;
        assert!(answer.text().contains("test_value"), "{encoding}");
    }
    let many = format!("Accept: {}text/plain\r\n", "a/b;q=0.5,".repeat(1400));
    assert_eq!(site.ask("GET", "/metrics", &many).await.status, 200);
    let lines = "Accept: a/b\r\n".repeat(50);
    assert_eq!(site.ask("GET", "/metrics", &lines).await.status, 200);
    let long = format!("Accept: {}\r\n", "a/b,".repeat(16 << 10));
    assert_eq!(site.ask("GET", "/metrics", &long).await.status, 431);
}

#[tokio::test]
async fn a_thousand_names() {
    let thousand = |name: &str, pair: &str| format!("{pair}={name}&").repeat(1000);
    for mode in [Mode::Native, Mode::DropIn { telemetry_path: "/metrics".to_owned() }] {
        let site = Setup { mode, ..Setup::default() }.start();
        let same = site.get(&format!("/metrics?{}", thousand("steady", "collect[]"))).await;
        assert_eq!((same.status, same.text().matches("test_value{").count()), (200, 1));
        let none = site.get(&format!("/metrics?{}", thousand("x", "exclude[]"))).await;
        assert_eq!((none.status, none.text().matches("test_value{").count()), (200, 1));
        let unknown = site.get(&format!("/metrics?{}", thousand("x", "collect[]"))).await;
        assert_eq!(unknown.status, 400);
        let junk = site.get("/metrics?collect[]=%zz&collect[]=%00&&&=&collect[]").await;
        assert_eq!(junk.status, 400);
    }
}

#[tokio::test]
async fn after_a_storm_all_is_as_before() {
    for mode in [Mode::Native, Mode::DropIn { telemetry_path: "/metrics".to_owned() }] {
        let mut server = server(&[tcp("127.0.0.1:0", Admin::Local)]);
        server.max_requests = 4;
        let words = match mode {
            Mode::Native => "server.max_requests",
            Mode::DropIn { .. } => "Limit of concurrent requests reached (4), try again later.\n",
        };
        let (on, timeout): (&[_], _) = (&["gated"], MINUTE);
        let site = Setup { on, server, mode, timeout, ..Setup::default() }.start();
        site.listeners.set_turn(Duration::ZERO);
        let mut storm = Vec::new();
        for _ in 0..60 {
            let mut stream = site.connect().await;
            let request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";
            stream.write_all(request).await.expect("sends");
            storm.push(stream);
        }
        // No scrape ends before all the others have been refused.
        until(|| site.counters.refused_requests() == 56).await;
        site.open_gate();
        let (mut served, mut refused) = (0, 0);
        for stream in &mut storm {
            let answer = answer(stream, false).await.expect("an answer");
            match answer.status {
                200 => served += 1,
                _ => {
                    assert!(
                        answer.status == 503 && answer.has("retry-after: 1"),
                        "{}",
                        answer.head
                    );
                    assert!(answer.text().contains(words), "{}", answer.text());
                    refused += 1;
                }
            }
        }
        assert_eq!((served, refused), (4, 56));
        assert_eq!(site.get("/metrics").await.status, 200);
    }
}

#[tokio::test]
async fn a_reader_that_gets_on_is_not_cut() {
    let site = Setup { on: &["long"], ..Setup::default() }.start();
    site.listeners.set_timeouts(LONG, MOMENT);
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
async fn idle_crowds_lock_no_client_out() {
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

/// Connects from an address of the loopback's.
async fn connect_from(site: &Site, address: [u8; 4]) -> TcpStream {
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.bind((address, 0).into()).expect("it is an address of this machine");
    socket.connect(site.address()).await.expect("connects")
}

#[tokio::test]
async fn a_crowd_that_asks_and_reads_without_a_pause_locks_no_client_out() {
    let mut server = server(&[tcp("127.0.0.1:0", Admin::Local)]);
    (server.max_connections, server.max_requests) = (8, 2);
    let site = Setup { server, ..Setup::default() }.start();
    let mut kept = connect_from(&site, [127, 0, 0, 2]).await;
    assert_eq!(ask(&mut kept, "GET", "/metrics", "").await.status, 200);
    let address = site.address();
    let asks = || async move {
        let request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";
        loop {
            let Ok(mut stream) = TcpStream::connect(address).await else { continue };
            // It has always asked for one more.
            let _ = stream.write_all(&request.repeat(3)).await;
            while answer(&mut stream, false).await.is_some() {
                let _ = stream.write_all(request).await;
            }
        }
    };
    let crowd: Vec<_> = (0..12).map(|_| tokio::spawn(asks())).collect();
    until(|| site.counters.connections() == 8 && site.counters.in_flight() > 2).await;
    for _ in 0..3 {
        let mut new = connect_from(&site, [127, 0, 0, 2]).await;
        assert_eq!(ask(&mut new, "GET", "/healthz", "").await.status, 200);
        assert_eq!(ask(&mut kept, "GET", "/metrics", "").await.status, 200);
    }
    crowd.iter().for_each(|one| one.abort());
}

async fn until(is_so: impl Fn() -> bool) {
    let limit = Instant::now() + MINUTE;
    while !is_so() {
        assert!(Instant::now() < limit, "waited in vain");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
