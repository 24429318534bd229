//! Listeners and connections with something simple that answers: no routes, no daemon.

use super::Answering;
use super::limits::UNSENT;
use super::listeners::{Listeners, StagedListeners};
use super::service::Answer;
use crate::http::HttpCounters;
use crate::http::reply::plain;
use crate::http::request::{Fault, Request};
use crate::plan::{Account, Address, Admin, Listen, Serve, Server, SocketAccess};
use rustix::net::sockopt;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UnixStream};
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
        let text = format!("{} {}", request.path(), request.rules.serve.admin);
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
    listeners.prepare(&server(listen)).unwrap_or_else(|mistakes| panic!("{mistakes:?}"))
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
async fn whom_a_socket_lets_in_is_looked_up_before_anything_is_changed() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("v.sock");
    let listeners = start(&[unix(&path)]);
    let with = |mode, group: Option<Account>| {
        let mut listen = unix(&path);
        listen.serve.access = SocketAccess { mode, owner: None, group };
        server(&[listen])
    };
    let mode = || std::fs::metadata(&path).expect("the file").permissions().mode() & 0o777;
    let nobody = Account::Name("no such group, surely".to_owned());
    let refused = listeners.prepare(&with(0o660, Some(nobody))).map(drop).expect_err("refused");
    assert!(refused.len() == 1 && refused[0].path == "server.listen", "{refused:?}");
    assert!(refused[0].message.contains("/etc/group; make it"), "{refused:?}");
    assert_eq!(mode(), 0o600);
    // What is given is what was looked up.
    let own = Account::Number(rustix::process::getegid().as_raw());
    let staged = listeners.prepare(&with(0o660, Some(own))).expect("it is right");
    assert_eq!(mode(), 0o600);
    let changes = listeners.swap(staged).expect("swaps");
    assert_eq!(changes.changed[0].what, ["mode", "group"]);
    assert_eq!((mode(), changes.unchanged.len()), (0o660, 0));
}

#[tokio::test]
async fn a_socket_that_cannot_be_changed_leaves_the_others_as_they_were() {
    let directory = tempfile::tempdir().expect("a directory");
    let paths = ["one", "two"].map(|name| directory.path().join(name));
    let listen = |mode| {
        paths.each_ref().map(|path| {
            let mut listen = unix(path);
            listen.serve.access.mode = mode;
            listen
        })
    };
    let listeners = start(&listen(0o600));
    let staged = stage(&listeners, &listen(0o666));
    std::fs::remove_file(&paths[1]).expect("the file");
    let refused = listeners.swap(staged).expect_err("one has gone");
    assert!(refused[0].message.contains("two") && refused.len() == 1, "{refused:?}");
    let mode = std::fs::metadata(&paths[0]).expect("the file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // The next one binds anew what has gone, and changes the other one.
    let changes = listeners.swap(stage(&listeners, &listen(0o666))).expect("swaps");
    assert_eq!((changes.started.len(), changes.changed.len()), (1, 1));
    for path in &paths {
        let mode = std::fs::metadata(path).expect("the file").permissions().mode();
        assert_eq!(mode & 0o777, 0o666);
    }
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
    listeners.swap(listeners.prepare(&wanted).expect("binds")).expect("swaps");
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
async fn a_swap_that_hangs_past_the_stop_brings_nothing_back() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("v.sock");
    let stays = tcp("127.0.0.1:0", Admin::Off);
    let listeners = start(std::slice::from_ref(&stays));
    // Which hangs from here on: a file system may.
    let staged = stage(&listeners, &[stays, tcp("127.0.0.2:0", Admin::Off), unix(&path)]);
    assert!(UnixStream::connect(&path).await.is_ok() && !listeners.have_stopped());
    assert_eq!(listeners.stop(Instant::now() + LONG).await, 0);
    let refused = listeners.swap(staged).expect_err("it has stopped");
    assert!(refused[0].message.contains("is stopping"), "{refused:?}");
    assert!(listeners.have_stopped() && listeners.bound().is_empty());
    listeners.leave_no_file(LONG);
    assert!(!path.exists());
    assert!(listeners.swap(stage(&listeners, &[])).is_err());
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
        assert_eq!(listeners.prepare(&refused).map(drop).expect_err("refused").len(), 1);
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

/// Starts with limits of a test's own and something that answers.
fn start_with(change: impl FnOnce(&mut Server), answer: impl Answer) -> Site {
    let counters = Arc::new(HttpCounters::new());
    let listeners = Listeners::new(Arc::clone(&counters));
    let mut wanted = server(&[tcp("127.0.0.1:0", Admin::Off)]);
    change(&mut wanted);
    listeners.swap(listeners.prepare(&wanted).expect("binds")).expect("swaps");
    listeners.open(Arc::new(answer));
    let address = listeners.bound()[0];
    Site { listeners, counters, address }
}

struct Site {
    listeners: Arc<Listeners>,
    counters: Arc<HttpCounters>,
    address: SocketAddr,
}

impl Site {
    /// A connection from this address of this machine, of which the kernel takes little that is not read.
    async fn connect_from(&self, address: &str) -> TcpStream {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(4096).expect("a small buffer");
        socket.bind(format!("{address}:0").parse().expect("an address")).expect("binds");
        socket.connect(self.address).await.expect("connects")
    }

    async fn connect(&self) -> TcpStream {
        self.connect_from("127.0.0.1").await
    }

    /// Waits for something that the other tasks of this thread bring about.
    async fn until(&self, is_so: impl Fn(&Site) -> bool) {
        let limit = Instant::now() + LONG;
        while !is_so(self) {
            assert!(Instant::now() < limit, "waited in vain");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// Whether a connection is open and a request on it is answered.
async fn is_served(stream: &mut TcpStream) -> bool {
    let mut answer = [0; 4096];
    let sent = stream.write_all(REQUEST).await;
    sent.is_ok() && matches!(stream.read(&mut answer).await, Ok(1..))
}

/// Answers with more than the kernel takes.
struct Long;

impl Answer for Long {
    fn answer(&self, request: Request) -> Answering {
        let length = if request.path() == "/short" { 5 } else { 4 << 20 };
        Box::pin(std::future::ready(plain(StatusCode::OK, vec![b'x'; length])))
    }
}

#[tokio::test]
async fn slow_readers_give_way_to_others() {
    let site = start_with(|server| server.max_connections = 8, Long);
    let mut readers = Vec::new();
    for _ in 0..8 {
        let mut reader = site.connect().await;
        reader.write_all(REQUEST).await.expect("sends");
        readers.push(reader);
    }
    site.until(|site| site.counters.connections() == 8).await;
    let began = Instant::now();
    for _ in 0..4 {
        let short = ask(site.address, b"GET /short HTTP/1.0\r\n\r\n").await;
        assert!(short.ends_with("xxxxx"), "{short:?}");
    }
    // Without them giving way it is the time of a stall: ten seconds.
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!((site.counters.evicted(), site.counters.timed_out()), (1, 0));
}

#[tokio::test]
async fn taking_a_little_now_and_then_keeps_no_place() {
    let site = start_with(|server| server.max_connections = 8, Long);
    let mut readers = Vec::new();
    for _ in 0..8 {
        let mut reader = site.connect().await;
        reader.write_all(REQUEST).await.expect("sends");
        readers.push(tokio::spawn(async move {
            let mut buffer = [0; 4 << 10];
            while matches!(reader.read(&mut buffer).await, Ok(1..)) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }));
    }
    site.until(|site| site.counters.connections() == 8).await;
    let began = Instant::now();
    for _ in 0..20 {
        let short = ask(site.address, b"GET /short HTTP/1.0\r\n\r\n").await;
        assert!(short.ends_with("xxxxx"), "{short:?}");
    }
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!((site.counters.evicted(), site.counters.timed_out()), (1, 0));
    readers.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn readers_of_a_client_with_most_connections_go_before_one_that_has_behaved() {
    let site = start_with(|server| server.max_connections = 8, Long);
    let mut kept = site.connect().await;
    let short = b"GET /short HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut is_kept = async || {
        let mut answer = [0; 4096];
        let sent = kept.write_all(short).await;
        sent.is_ok() && matches!(kept.read(&mut answer).await, Ok(1..))
    };
    assert!(is_kept().await);
    // Each of them comes while none of the others has been behind for long.
    let mut readers = Vec::new();
    for number in 1..=20 {
        let mut reader = site.connect().await;
        let _ = reader.write_all(REQUEST).await;
        readers.push(reader);
        site.until(|site| site.counters.accepted() == number + 1).await;
    }
    assert!(site.counters.evicted() >= 12, "{}", site.counters.evicted());
    assert!(is_kept().await, "it was closed for a reader");
}

#[tokio::test]
async fn who_has_behaved_stays_and_strangers_go() {
    let site = start_with(|server| server.max_connections = 4, Prompt);
    let mut kept = site.connect().await;
    assert!(is_served(&mut kept).await);
    let mut strangers = Vec::new();
    for number in 1..=20 {
        strangers.push(site.connect().await);
        site.until(|site| site.counters.accepted() == number + 1).await;
    }
    assert!(site.counters.evicted() >= 17);
    assert!(is_served(&mut kept).await, "it was closed for a stranger");
}

/// Each of them finds that there is no room, and again whenever one has ended that another one of them was faster to follow.
#[tokio::test]
async fn of_many_that_wait_each_costs_about_one_other_its_place() {
    const OPEN: u32 = 64;
    const WAITING: usize = 8;
    let listen = (1..=WAITING).map(|number| tcp(&format!("127.0.0.{number}:0"), Admin::Off));
    let site = start_with(
        |server| {
            server.max_connections = OPEN;
            server.listen = listen.collect();
        },
        Prompt,
    );
    let mut idle = Vec::new();
    for number in 0..OPEN {
        // None of four addresses has more than half of the places.
        let mut stream = site.connect_from(&format!("127.0.1.{}", 1 + number % 4)).await;
        assert!(is_served(&mut stream).await);
        idle.push(stream);
    }
    // Each listener accepts one, so that all of them wait at once.
    let mut coming = Vec::new();
    for address in site.listeners.bound() {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind("127.0.2.1:0".parse().expect("an address")).expect("binds");
        coming.push(socket.connect(address).await.expect("connects"));
    }
    for stream in &mut coming {
        assert!(is_served(stream).await);
    }
    // Several make room for what may be in the backlog, once.
    let most = 2 * WAITING as u64;
    assert!(
        (WAITING as u64..=most).contains(&site.counters.evicted()),
        "{}",
        site.counters.evicted()
    );
}

/// Its connections stand before the one of another client in the backlog, each is answered, and none of them asks again.
#[tokio::test]
async fn a_crowd_that_asks_once_and_stays_holds_up_nobody() {
    for clients in [1, 100] {
        let site = start_with(|server| server.max_connections = 32, Prompt);
        let mut kept = site.connect_from("127.0.2.2").await;
        for _ in 0..2 {
            assert!(is_served(&mut kept).await);
        }
        let mut crowd = Vec::new();
        for number in 0..400 {
            let mut one = site.connect_from(&format!("127.0.1.{}", 1 + number % clients)).await;
            one.write_all(REQUEST).await.expect("sends");
            crowd.push(one);
        }
        let began = Instant::now();
        let mut honest = site.connect_from("127.0.2.1").await;
        assert!(is_served(&mut honest).await);
        // One place every 20 ms would take seven seconds.
        assert!(began.elapsed() < Duration::from_secs(2), "{clients}: {:?}", began.elapsed());
        assert!(is_served(&mut kept).await, "{clients}: it was closed for a stranger");
    }
}

/// One that comes makes room at once, however many there are beyond what there may be now.
#[tokio::test]
async fn where_fewer_are_allowed_now_all_that_are_too_many_go_at_once() {
    let site = start_with(|server| server.max_connections = 64, Prompt);
    let mut idle = Vec::new();
    for number in 0..64 {
        let mut stream = site.connect_from(&format!("127.0.1.{}", 1 + number % 4)).await;
        assert!(is_served(&mut stream).await);
        idle.push(stream);
    }
    let mut fewer = server(&[tcp("127.0.0.1:0", Admin::Off)]);
    fewer.max_connections = 16;
    let staged = site.listeners.prepare(&fewer).expect("binds");
    site.listeners.swap(staged).expect("swaps");
    let began = Instant::now();
    let mut coming = site.connect_from("127.0.2.1").await;
    assert!(is_served(&mut coming).await);
    // One after the other they would take a look for room each, nearly five seconds.
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    assert_eq!(site.counters.evicted(), 49);
}

#[tokio::test]
async fn one_address_does_not_take_the_places_of_another() {
    let site = start_with(|server| server.max_connections = 8, Prompt);
    let mut modest = Vec::new();
    for _ in 0..4 {
        modest.push(site.connect_from("127.0.0.2").await);
    }
    site.until(|site| site.counters.accepted() == 4).await;
    let mut greedy = Vec::new();
    for number in 1..=40 {
        let mut stream = site.connect_from("127.0.0.1").await;
        // They even behave, which the others could not yet.
        assert!(is_served(&mut stream).await, "{number}");
        greedy.push(stream);
    }
    assert_eq!(site.counters.connections(), 8);
    for stream in &mut modest {
        assert!(is_served(stream).await, "it was closed for one of another address");
    }
}

/// Starts what answers as many requests as it gets permits.
fn start_held(change: impl FnOnce(&mut Server)) -> (Site, Arc<Semaphore>) {
    let permits = Arc::new(Semaphore::new(0));
    let (counters, most) = Default::default();
    let held = Held { counters, permits: Arc::clone(&permits), most };
    (start_with(change, Refusing(held)), permits)
}

#[tokio::test]
async fn clients_that_ask_without_a_pause_lock_out_nobody() {
    for addresses in [1, 3] {
        let permits = Arc::new(Semaphore::new(0));
        let held =
            Held { counters: Arc::default(), permits: Arc::clone(&permits), most: Arc::default() };
        let site = start_with(|server| server.max_connections = 6, held);
        let mut crowd = Vec::new();
        for number in 0..6 {
            let mut stream =
                site.connect_from(&format!("127.0.0.{}", 2 + number % addresses)).await;
            stream.write_all(&REQUEST.repeat(100)).await.expect("sends");
            crowd.push(stream);
        }
        site.until(|site| site.counters.in_flight() == 6).await;
        let mut newcomer = site.connect_from("127.0.0.9").await;
        newcomer.write_all(REQUEST).await.expect("sends");
        // All the others are at a request, and will be as soon as it is answered.
        site.until(|site| site.counters.evicted() > 0).await;
        // One each, in the order in which they have asked.
        permits.add_permits(6);
        site.until(|site| site.counters.accepted() == 7).await;
        permits.add_permits(1000);
        let mut answer = [0; 4096];
        let length = newcomer.read(&mut answer).await.expect("an answer");
        assert!(answer[..length].ends_with(b"held"), "{addresses}");
    }
}

#[tokio::test]
async fn one_address_does_not_take_the_requests_of_another() {
    let (site, permits) = start_held(|server| server.max_requests = 4);
    let mut greedy = Vec::new();
    for _ in 0..4 {
        let mut stream = site.connect_from("127.0.0.1").await;
        stream.write_all(REQUEST).await.expect("sends");
        greedy.push(stream);
    }
    site.until(|site| site.counters.in_flight() == 4).await;
    assert!(ask(site.address, REQUEST).await.contains("503"), "it has all there are");
    let mut modest = site.connect_from("127.0.0.2").await;
    modest.write_all(REQUEST).await.expect("sends");
    site.until(|site| site.counters.in_flight() == 5).await;
    permits.add_permits(5);
    let mut answer = [0; 4096];
    for stream in greedy.iter_mut().chain([&mut modest]) {
        let length = stream.read(&mut answer).await.expect("an answer");
        assert!(answer[..length].ends_with(b"held"));
    }
    // And recovery is at once.
    permits.add_permits(1);
    assert!(ask(site.address, REQUEST).await.ends_with("held"));
}

#[tokio::test]
async fn a_crowd_that_asks_in_one_moment_is_served_in_turn_and_none_is_refused() {
    let (site, permits) = start_held(|server| server.max_requests = 4);
    site.listeners.set_turn(LONG);
    let mut crowd = Vec::new();
    for _ in 0..40 {
        let mut stream = site.connect().await;
        stream.write_all(REQUEST).await.expect("sends");
        crowd.push(stream);
    }
    site.until(|site| site.counters.in_flight() == 40).await;
    // Four have their turn and take one each, so this is enough for all of them.
    permits.add_permits(40);
    let mut answer = [0; 4096];
    for stream in &mut crowd {
        let length = stream.read(&mut answer).await.expect("an answer");
        assert!(answer[..length].ends_with(b"held"));
    }
    assert_eq!(site.counters.in_flight(), 0);
}

/// The same, and refuses what is one too many.
struct Refusing(Held);

impl Answer for Refusing {
    fn answer(&self, request: Request) -> Answering {
        if matches!(request.fault, Some(Fault::TooManyRequests(_))) {
            return Box::pin(std::future::ready(plain(StatusCode::SERVICE_UNAVAILABLE, "no")));
        }
        self.0.answer(request)
    }
}

#[tokio::test]
async fn unfinished_heads_have_one_budget() {
    let site = start_with(|_| {}, Echo);
    site.listeners.set_head_bytes(20_000);
    let head = [b"GET / HTTP/1.1\r\nX: ".to_vec(), vec![b'x'; 8_000]].concat();
    let mut halves = Vec::new();
    for number in 1..=60 {
        let mut half = site.connect().await;
        // A third each, so that all of them are somewhere in the middle of it.
        half.write_all(&head[..3000]).await.expect("sends");
        site.until(|site| site.counters.accepted() == 2 * number - 1).await;
        halves.push(half);
        for half in &mut halves {
            // Those that were cut cannot take it.
            let _ = half.write_all(&head[3000..3100]).await;
        }
        assert!(site.listeners.held_heads() < 40_000, "{}", site.listeners.held_heads());
        // An ordinary request is always let in.
        assert!(ask(site.address, REQUEST).await.ends_with("/x off"));
    }
}

#[tokio::test]
async fn long_heads_that_have_come_whole_are_in_the_budget() {
    let (site, permits) = start_held(|_| {});
    site.listeners.set_head_bytes(60_000);
    let padding = "x".repeat(12_000);
    let head = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {padding}\r\n\r\n");
    let mut crowd = Vec::new();
    for _ in 0..40 {
        permits.add_permits(1);
        let mut one = site.connect().await;
        one.write_all(head.as_bytes()).await.expect("sends");
        let mut answer = [0; 4096];
        let length = one.read(&mut answer).await.expect("an answer");
        assert!(answer[..length].ends_with(b"held"));
        crowd.push(one);
    }
    // Their buffers are as long as the heads were; now all of them are filled at once.
    for one in &mut crowd {
        let _ = one.write_all(head.as_bytes()).await;
    }
    site.until(|site| site.counters.in_flight() == site.counters.connections()).await;
    assert!(site.counters.in_flight() > 0, "none of them may stay");
    assert!(site.listeners.held_heads() < 60_000, "{}", site.listeners.held_heads());
    // An ordinary request is let in, and the rest ends as it should.
    permits.add_permits(100);
    assert!(ask(site.address, REQUEST).await.ends_with("held"));
    drop(crowd);
    site.until(|site| site.counters.connections() == 0).await;
    assert_eq!(site.listeners.held_heads(), 0);
}

#[tokio::test]
async fn empty_lines_and_bodies_between_requests_are_the_beginning_of_none() {
    for (headers, behind) in [
        ("", "\r\n"),
        ("", "\n\r\n\r\n"),
        ("Content-Length: 5\r\n", "hello"),
        ("Content-Length: 5\r\n", "hello\r\n"),
    ] {
        let site = start_with(|_| {}, Echo);
        site.listeners.set_timeouts(Duration::from_millis(500), LONG);
        let mut kept = site.connect().await;
        let request = format!("GET /x HTTP/1.1\r\nHost: a\r\n{headers}\r\n{behind}");
        kept.write_all(request.as_bytes()).await.expect("sends");
        let mut answer = [0; 4096];
        let length = kept.read(&mut answer).await.expect("an answer");
        assert!(answer[..length].ends_with(b"/x off"));
        // Whose head began later has had its time.
        let mut half = site.connect().await;
        half.write_all(b"G").await.expect("sends");
        let _ = half.read(&mut answer).await;
        assert_eq!(site.counters.timed_out(), 1);
        assert!(is_served(&mut kept).await, "{headers:?} {behind:?}");
    }
}

#[tokio::test]
async fn who_has_gone_waits_for_no_turn_and_who_has_ended_its_side_does() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("v.sock");
    let (site, permits) = start_held(|server| {
        server.max_requests = 1;
        server.listen.push(unix(&path));
    });
    site.listeners.set_turn(LONG);
    let mut first = site.connect().await;
    first.write_all(REQUEST).await.expect("sends");
    site.until(|site| site.counters.in_flight() == 1).await;
    let (mut resets, mut half) = (site.connect().await, site.connect().await);
    let mut closes = UnixStream::connect(&path).await.expect("connects");
    resets.write_all(REQUEST).await.expect("sends");
    closes.write_all(REQUEST).await.expect("sends");
    half.write_all(REQUEST).await.expect("sends");
    half.shutdown().await.expect("ends its side");
    site.until(|site| site.counters.in_flight() == 4).await;
    sockopt::set_socket_linger(&resets, Some(Duration::ZERO)).expect("it is a socket");
    drop((resets, closes));
    site.until(|site| site.counters.in_flight() == 2 && site.counters.connections() == 2).await;
    permits.add_permits(2);
    assert!(is_answered(&mut first).await);
    assert!(is_answered(&mut half).await, "it still reads");
}

/// Whether what a connection was asked for comes.
async fn is_answered(stream: &mut TcpStream) -> bool {
    let mut answer = [0; 4096];
    stream.read(&mut answer).await.is_ok_and(|length| answer[..length].ends_with(b"held"))
}

#[tokio::test]
async fn the_kernel_takes_little_for_a_unix_client_that_reads_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("v.sock");
    let site = start_with(|server| server.listen.push(unix(&path)), Long);
    let mut reader = UnixStream::connect(&path).await.expect("connects");
    reader.write_all(REQUEST).await.expect("sends");
    // As much as it takes is sent in one turn.
    site.until(|site| site.counters.sent_bytes() > 0).await;
    let sent = site.counters.sent_bytes();
    // It doubles the number, and looks before a piece and not after it.
    assert!(sent <= 3 * UNSENT.most, "{sent} bytes");
}

#[tokio::test]
async fn several_of_a_crowd_that_always_asks_leave_for_one_that_waits() {
    let (site, permits) = start_held(|server| server.max_connections = 16);
    let mut crowd = Vec::new();
    for _ in 0..16 {
        let mut one = site.connect().await;
        one.write_all(REQUEST).await.expect("sends");
        crowd.push(one);
    }
    site.until(|site| site.counters.in_flight() == 16).await;
    let mut new = site.connect_from("127.0.0.2").await;
    new.write_all(REQUEST).await.expect("sends");
    // All of them at once, and as many stay as are its share.
    site.until(|site| site.counters.evicted() > 0).await;
    assert_eq!(site.counters.evicted(), 8);
    permits.add_permits(17);
    assert!(is_answered(&mut new).await);
    for one in &mut crowd {
        assert!(is_answered(one).await);
    }
    site.until(|site| site.counters.connections() == 9).await;
}

#[tokio::test]
async fn what_is_no_clear_request_is_refused_and_nothing_is_smuggled() {
    let site = start_with(|_| {}, Echo);
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    let post = |headers: &str| format!("POST /x HTTP/1.1\r\nHost: a\r\n{headers}\r\n");
    let get = |headers: &str| format!("GET /x HTTP/1.1\r\nHost: a\r\n{headers}\r\n");
    for (request, statuses) in [
        // One answer at most, after which the connection ends.
        (post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n") + "0\r\n\r\n", &[200][..]),
        (post("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n") + "0\r\n\r\n", &[200]),
        (post("Transfer-Encoding: chunked\r\n") + "zz\r\n\r\n", &[200]),
        (post("Transfer-Encoding: chunked\r\n") + "FFFFFFFFFFFFFFFFF\r\n", &[200]),
        (post("Transfer-Encoding: chunked\r\n") + "-1\r\n", &[200]),
        (post("Transfer-Encoding: xchunked\r\n"), &[400]),
        (post("Transfer-Encoding: chunked, identity\r\n"), &[400]),
        ("POST /x HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(), &[400]),
        (post("Content-Length: 5\r\nContent-Length: 6\r\n"), &[400]),
        (post("Content-Length: -1\r\n"), &[400]),
        (post("Content-Length: +5\r\n"), &[400]),
        (post("Content-Length: 5, 5\r\n"), &[400]),
        (post("Content-Length: 99999999999999999999\r\n"), &[400]),
        (get("X: a\r\n b\r\n"), &[400]),
        (get("X : a\r\n"), &[400]),
        (get("X: a\rb\r\n"), &[400]),
        (get("X: a\0b\r\n"), &[400]),
        (get(" X: a\r\n"), &[400]),
        (get(": a\r\n"), &[400]),
        (get("X\r\n"), &[400]),
        ("GET /x HTTP/9.9\r\nHost: a\r\n\r\n".to_owned(), &[400]),
        ("GET /x y HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), &[400]),
        ("G\0T /x HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), &[400]),
        // The body of a request is none, and the next one follows it.
        (get("Content-Length: 5\r\n") + "hello", &[200, 200]),
        (get("Expect: 100-continue\r\nContent-Length: 5\r\n") + "hello", &[200, 200]),
        (get("Content-Length: 5\r\nContent-Length: 5\r\n") + "hello", &[200, 200]),
        (post("Transfer-Encoding: chunked\r\n") + "5\r\nhello\r\n0\r\n\r\n", &[200]),
        (get(""), &[200, 200]),
    ] {
        let answers = ask(site.address, (request.clone() + smuggled).as_bytes()).await;
        let seen: Vec<u16> = answers
            .split("HTTP/1.")
            .skip(1)
            .map(|answer| answer[2..5].parse().expect("a status"))
            .collect();
        assert_eq!(seen, statuses, "{request:?}: {answers:?}");
        assert_eq!(answers.contains("/smuggled"), statuses.len() == 2, "{request:?}");
    }
}

#[tokio::test]
async fn all_that_was_asked_before_the_end_is_answered_in_order() {
    let site = start_with(|_| {}, Echo);
    for round in 0..20 {
        let all: String =
            (0..50).map(|number| format!("GET /{number} HTTP/1.1\r\nHost: a\r\n\r\n")).collect();
        let answers = ask(site.address, all.as_bytes()).await;
        let paths = answers.lines().filter_map(|line| line.split(" off").next()?.strip_prefix('/'));
        let paths: Vec<String> =
            paths.map(|path| path.split("HTTP").next().unwrap_or(path).to_owned()).collect();
        let expected: Vec<String> = (0..50).map(|number| number.to_string()).collect();
        assert_eq!(paths, expected, "{round}");
    }
}

#[tokio::test]
async fn a_head_without_end_is_answered_whatever_is_still_sent() {
    let site = start_with(|_| {}, Echo);
    let head = [b"GET / HTTP/1.1\r\nHost: a\r\nX: ".to_vec(), vec![b'x'; 1 << 20]].concat();
    for round in 0..10 {
        let mut stream = TcpStream::connect(site.address).await.expect("connects");
        // All of it is taken, and what is thrown away does not take the answer with it.
        stream.write_all(&head).await.unwrap_or_else(|error| panic!("{round}: {error}"));
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 431 "), "{round}: {answer:?}");
    }
    site.until(|site| site.counters.connections() == 0).await;
    assert_eq!(site.listeners.held_heads(), 0);
}

#[tokio::test]
async fn the_beginning_of_a_request_that_came_with_the_last_one_has_the_time_of_a_head() {
    let site = start_with(|_| {}, Echo);
    site.listeners.set_timeouts(Duration::from_millis(200), LONG);
    let mut stream = site.connect().await;
    stream.write_all(&[REQUEST, b"GET /"].concat()).await.expect("sends");
    let mut answer = String::new();
    // An idle connection would stay for a minute.
    let ended = stream.read_to_string(&mut answer);
    tokio::time::timeout(LONG / 2, ended).await.expect("in time").expect("an end");
    assert!(answer.ends_with("/x off"), "{answer:?}");
    assert_eq!(site.counters.timed_out(), 1);
}

/// A listener with TLS, and what a client needs to trust it.
#[cfg(feature = "tls")]
fn start_encrypted(folder: &Path) -> (Site, tokio_rustls::TlsConnector) {
    use rustls::{ClientConfig, RootCertStore, crypto::ring};
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("made");
    let files = [
        ("crt", made.cert.pem()),
        ("key", made.signing_key.serialize_pem()),
        ("web.yml", "tls_server_config: {cert_file: crt, key_file: key}\n".to_owned()),
    ];
    for (name, text) in files {
        std::fs::write(folder.join(name), text).expect("a file");
    }
    let mut listen = tcp("127.0.0.1:0", Admin::Off);
    listen.serve.web_config = Some(folder.join("web.yml"));
    let site = start_with(|server| server.listen = vec![listen], Prompt);
    let mut trusted = RootCertStore::empty();
    trusted.add(made.cert.der().clone()).expect("a certificate");
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(trusted)
        .with_no_client_auth();
    (site, tokio_rustls::TlsConnector::from(Arc::new(config)))
}

#[cfg(feature = "tls")]
#[tokio::test]
async fn a_stop_serves_who_shakes_hands_and_counts_who_does_not_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let (site, connector) = start_encrypted(folder.path());
    let client = site.connect().await;
    site.until(|site| site.listeners.shaking() == 1).await;
    let listeners = Arc::clone(&site.listeners);
    let stopping = tokio::spawn(async move { listeners.stop(Instant::now() + LONG).await });
    site.until(|site| site.listeners.have_stopped()).await;
    let name = "localhost".try_into().expect("a name");
    let mut client = connector.connect(name, client).await.expect("shakes hands");
    client.write_all(REQUEST).await.expect("sends");
    let mut answer = [0; 12];
    client.read_exact(&mut answer).await.expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 200");
    drop(client);
    assert_eq!(stopping.await.expect("no panic"), 0);

    let (site, _) = start_encrypted(folder.path());
    let _silent = site.connect().await;
    site.until(|site| site.listeners.shaking() == 1).await;
    let deadline = Instant::now() + Duration::from_millis(100);
    assert_eq!(site.listeners.stop(deadline).await, 1);
}
