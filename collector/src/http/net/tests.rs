//! Listeners and connections with something simple that answers: no routes, no daemon.

use super::Answering;
use super::listeners::{Listeners, StagedListeners};
use super::service::Answer;
use crate::http::HttpCounters;
use crate::http::reply::plain;
use crate::http::request::{Fault, Request};
use crate::plan::{Address, Admin, Listen, Serve, Server};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::Semaphore;
use warp::http::StatusCode;

const LONG: Duration = Duration::from_secs(60);

/// Answers what it was asked for, and what the connection's side thinks of it.
struct Echo;

impl Answer for Echo {
    fn answer(&self, request: Request) -> Answering {
        let status = match request.fault {
            None => StatusCode::OK,
            Some(Fault::LongBody(_)) => StatusCode::PAYLOAD_TOO_LARGE,
            Some(_) => StatusCode::BAD_REQUEST,
        };
        let text = format!("{} {}", request.path(), request.client.serve.now().admin);
        Box::pin(async move {
            tokio::task::yield_now().await;
            plain(status, text)
        })
    }
}

fn server(listen: &[Listen]) -> Server {
    Server {
        listen: listen.to_vec(),
        max_requests: 0,
        max_connections: 64,
        idle_timeout: LONG,
        max_page_bytes: 1 << 20,
    }
}

fn tcp(address: &str, admin: Admin) -> Listen {
    let socket = address.parse().expect("an address");
    Listen { address: Address::Tcp { socket, dual: false }, serve: Serve::with(admin) }
}

fn unix(path: &Path) -> Listen {
    Listen { address: Address::Unix(path.to_owned()), serve: Serve::with(Admin::Local) }
}

fn stage(listeners: &Listeners, listen: &[Listen]) -> StagedListeners {
    listeners.stage(&server(listen)).unwrap_or_else(|mistakes| panic!("{mistakes:?}"))
}

fn start(listen: &[Listen]) -> Arc<Listeners> {
    let listeners = Listeners::new(Arc::new(HttpCounters::new()));
    listeners.swap(stage(&listeners, listen)).expect("swaps");
    listeners.open(Arc::new(Echo));
    listeners
}

const REQUEST: &[u8] = b"GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// The whole answer to a request after which the client ends its side.
async fn ask(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.expect("connects");
    stream.write_all(request).await.expect("sends");
    stream.shutdown().await.expect("ends its side");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    answer
}

#[tokio::test]
async fn a_client_may_end_its_side_before_its_answer() {
    let listeners = start(&[tcp("127.0.0.1:0", Admin::Off)]);
    let address = listeners.bound()[0];
    for round in 0..200 {
        let answer = ask(address, REQUEST).await;
        assert!(answer.ends_with("/x off"), "{round}: {answer:?}");
    }
}

#[tokio::test]
async fn a_request_names_one_host() {
    let listeners = start(&[tcp("127.0.0.1:0", Admin::Off)]);
    let address = listeners.bound()[0];
    for (head, status) in [
        ("GET / HTTP/1.1\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n", "400"),
        ("GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost:\r\n", "200"),
        ("GET / HTTP/1.0\r\n", "200"),
    ] {
        let answer = ask(address, format!("{head}\r\n").as_bytes()).await;
        assert_eq!(answer.split(' ').nth(1), Some(status), "{head}");
    }
}

#[tokio::test]
async fn staging_and_swapping_work_on_a_thread_without_a_runtime() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("v.sock");
    let listeners = start(&[]);
    let work = std::thread::spawn({
        let (listeners, path) = (Arc::clone(&listeners), path.clone());
        move || {
            let staged = stage(&listeners, &[tcp("127.0.0.1:0", Admin::Local), unix(&path)]);
            listeners.swap(staged).expect("swaps")
        }
    });
    assert_eq!(work.join().expect("no panic").started.len(), 2);
    assert!(ask(listeners.bound()[0], REQUEST).await.ends_with("/x local"));
    let mut stream = UnixStream::connect(&path).await.expect("connects");
    stream.write_all(REQUEST).await.expect("sends");
    stream.read_u8().await.expect("an answer");
    assert_eq!(listeners.stop(Instant::now() + LONG).await, 0);
    assert!(!path.exists());
}

#[tokio::test]
async fn a_socket_that_was_removed_is_bound_anew_and_its_connections_stay() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("v.sock");
    let listeners = start(&[unix(&path)]);
    let mut open = UnixStream::connect(&path).await.expect("connects");
    std::fs::remove_file(&path).expect("the file");
    let staged = stage(&listeners, &[unix(&path)]);
    assert_eq!(staged.changes().started, [format!("unix:{}", path.display())]);
    let changes = listeners.swap(staged).expect("swaps");
    assert_eq!((changes.started.len(), changes.unchanged.len(), changes.stopped.len()), (1, 0, 0));
    for stream in [&mut open, &mut UnixStream::connect(&path).await.expect("connects")] {
        stream.write_all(REQUEST).await.expect("sends");
        stream.read_u8().await.expect("an answer");
    }
    let staged = stage(&listeners, &[unix(&path)]);
    assert_eq!(listeners.swap(staged).expect("swaps").unchanged.len(), 1);
    assert!(path.exists());
}

#[tokio::test]
async fn staging_takes_no_connection_from_a_listener_that_runs() {
    let free = std::net::TcpListener::bind("0.0.0.0:0").expect("a port");
    let port = free.local_addr().expect("an address").port();
    drop(free);
    let running = start(&[tcp(&format!("0.0.0.0:{port}"), Admin::Off)]);
    let narrow = format!("127.0.0.1:{port}");
    let address: SocketAddr = narrow.parse().expect("an address");
    for _ in 0..20 {
        // As a dry run does it.
        let staged = stage(&running, &[tcp(&narrow, Admin::Local)]);
        assert!(ask(address, REQUEST).await.ends_with("/x off"));
        drop(staged);
        assert!(ask(address, REQUEST).await.ends_with("/x off"));
    }
    running.swap(stage(&running, &[tcp(&narrow, Admin::Local)])).expect("swaps");
    assert!(ask(address, REQUEST).await.ends_with("/x local"));
}

/// Answers as many requests as it has permits, and knows the most connections that were open when it
/// did.
struct Held {
    counters: Arc<HttpCounters>,
    permits: Arc<Semaphore>,
    most: Arc<AtomicU64>,
}

impl Answer for Held {
    fn answer(&self, _request: Request) -> Answering {
        let Held { counters, permits, most } = self;
        let (counters, permits, most) = (counters.clone(), permits.clone(), most.clone());
        Box::pin(async move {
            permits.acquire().await.expect("it is not closed").forget();
            most.fetch_max(counters.connections(), Ordering::Relaxed);
            plain(StatusCode::OK, "held")
        })
    }
}

#[tokio::test]
async fn a_stop_serves_what_it_has_accepted_when_there_is_room() {
    let counters = Arc::new(HttpCounters::new());
    let (permits, most) = (Arc::new(Semaphore::new(0)), Arc::default());
    let listeners = Listeners::new(Arc::clone(&counters));
    let wanted = Server { max_connections: 4, ..server(&[tcp("127.0.0.1:0", Admin::Off)]) };
    listeners.swap(listeners.stage(&wanted).expect("binds")).expect("swaps");
    listeners.open(Arc::new(Held {
        counters: Arc::clone(&counters),
        permits: Arc::clone(&permits),
        most: Arc::clone(&most),
    }));
    let address = listeners.bound()[0];
    let mut clients = Vec::new();
    for _ in 0..8 {
        let mut client = TcpStream::connect(address).await.expect("connects");
        client.write_all(REQUEST).await.expect("sends");
        clients.push(client);
    }
    // Four are served, one is accepted and waits, and the kernel has the rest.
    while listeners.waiting() == 0 || counters.in_flight() < 4 {
        tokio::task::yield_now().await;
    }
    let stopping = tokio::spawn({
        let listeners = Arc::clone(&listeners);
        async move { listeners.stop(Instant::now() + LONG).await }
    });
    while listeners.waiting() < 4 {
        tokio::task::yield_now().await;
    }
    permits.add_permits(8);
    for client in &mut clients {
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.expect("an answer");
        assert!(answer.ends_with("held"), "{answer:?}");
    }
    assert_eq!(stopping.await.expect("no panic"), 0);
    assert_eq!((counters.accepted(), most.load(Ordering::Relaxed)), (8, 4));
}

#[tokio::test]
async fn clients_notice_nothing_of_addresses_that_are_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let free = std::net::TcpListener::bind("127.0.0.2:0").expect("a port");
    let address = free.local_addr().expect("an address");
    drop(free);
    let listeners = start(&[]);
    let refused = server(&[
        tcp(&address.to_string(), Admin::Off),
        unix(&directory.path().join("not/there/v.sock")),
    ]);
    let has_ended = Arc::new(AtomicBool::new(false));
    let client = std::thread::spawn({
        let has_ended = Arc::clone(&has_ended);
        move || {
            let mut attempts = std::iter::repeat_with(|| std::net::TcpStream::connect(address))
                .take_while(|_| !has_ended.load(Ordering::Relaxed));
            attempts.find_map(Result::ok).is_some()
        }
    });
    for _ in 0..1000 {
        assert_eq!(listeners.stage(&refused).map(drop).expect_err("refused").len(), 1);
    }
    has_ended.store(true, Ordering::Relaxed);
    assert!(!client.join().expect("no panic"), "a client was connected");
}

/// Answers at once, in the same turn in which the request was read.
struct Prompt;

impl Answer for Prompt {
    fn answer(&self, _request: Request) -> Answering {
        Box::pin(std::future::ready(plain(StatusCode::OK, "prompt")))
    }
}

#[tokio::test]
async fn a_client_that_goes_on_asking_does_not_stay_when_its_listener_has_gone() {
    let listeners = Listeners::new(Arc::new(HttpCounters::new()));
    listeners.swap(stage(&listeners, &[tcp("127.0.0.1:0", Admin::Local)])).expect("swaps");
    listeners.open(Arc::new(Prompt));
    let mut client = TcpStream::connect(listeners.bound()[0]).await.expect("connects");
    let mut answer = vec![0; 4096];
    let mut is_answered = async || {
        let sent = client.write_all(REQUEST).await;
        sent.is_ok() && matches!(client.read(&mut answer).await, Ok(1..))
    };
    assert!(is_answered().await);
    listeners.swap(stage(&listeners, &[])).expect("swaps");
    for answered in 0.. {
        assert!(answered < 200, "it is still there");
        if !is_answered().await {
            break;
        }
    }
}
