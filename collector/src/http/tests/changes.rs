//! Listeners that come, go and stop.

use super::*;

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
    let site = Setup { server: server(std::slice::from_ref(&first)), ..Setup::default() }.start();
    let address = site.address();
    let mut kept = site.connect().await;
    assert_eq!(ask(&mut kept, "PUT", "/plugins/reload", "").await.status, 409);

    let changes = site.swap(&[first.clone(), socket.clone()]).await;
    assert_eq!(changes.started, [format!("unix:{}", path.display())]);
    assert_eq!(changes.unchanged, ["127.0.0.1:0"]);
    let mut by_path = UnixStream::connect(&path).await.expect("connects");
    assert_eq!(ask(&mut by_path, "GET", "/healthz", "").await.status, 200);

    // The same address with another rule: the connection stays, the rule holds at once.
    let closed = Listen { serve: Serve::with(Admin::Off), ..first.clone() };
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
    site.swap(std::slice::from_ref(&narrow)).await;
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
    site.swap(std::slice::from_ref(&narrow)).await;
    assert_eq!(site.get("/healthz").await.status, 200);

    // Another process has a part of the wide address: that is known before anything is changed.
    let other = std::net::TcpListener::bind(("127.0.0.2", port)).expect("another address");
    let wide = server(&[tcp(&format!("0.0.0.0:{port}"), Admin::Local)]);
    let Err(mistakes) = site.listeners.prepare(&wide) else { panic!("it is in use") };
    assert!(mistakes[0].message.contains("listens there already"), "{}", mistakes[0]);
    assert_eq!(site.get("/healthz").await.status, 200);
    let Ok(staged) = site.listeners.prepare(&server(&[narrow])) else { panic!("it runs") };
    assert_eq!(staged.changes().unchanged.len(), 1);
    drop(staged);
    drop(other);
}

#[tokio::test]
async fn addresses_in_use_are_all_reported() {
    let site = Setup::default().start();
    let other = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = other.local_addr().expect("an address").to_string();
    let wanted = server(&[
        tcp("127.0.0.1:0", Admin::Local),
        tcp(&taken, Admin::Off),
        tcp("192.0.2.1:9100", Admin::Off),
    ]);
    let Err(mistakes) = site.listeners.prepare(&wanted) else { panic!("it is in use") };
    assert_eq!(mistakes.len(), 2);
    assert!(mistakes[0].message.contains(&taken));
    assert!(mistakes[1].message.contains("no such address"), "{}", mistakes[1]);
    assert_eq!(site.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn swaps_under_load_lose_nothing() {
    let first = tcp("127.0.0.1:0", Admin::Local);
    let site = Setup { server: server(std::slice::from_ref(&first)), ..Setup::default() }.start();
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
            site.swap(&[Listen { serve: Serve::with(admin), ..first.clone() }]).await;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::join!(scrapes, swaps);
    drop(second);
}
