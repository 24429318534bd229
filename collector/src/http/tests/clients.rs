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
    site.listeners.set_timeouts(LONG, 3 * MOMENT);
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
