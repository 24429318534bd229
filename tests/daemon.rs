//! The daemon as the network meets it: the real binary under clients that are slow, many, hostile or
//! simply ask for something.

mod exposition_reader;
mod harness;

use flate2::read::GzDecoder;
use harness::{Answer, Connection, Daemon, LONG, Over, Running, request, until};
use rustix::net::{AddressFamily, SocketType, sockopt};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit, setrlimit};
use serde_json::Value;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The cheapest collector alone.
const LOADAVG: &str =
    "[scrape]\ndefault_collectors = false\n[collectors.loadavg]\nenabled = true\n";

fn with(more: &str) -> String {
    format!("{LOADAVG}{more}")
}

/// A directory with one file of samples, and the table that has it read.
struct Textfile {
    directory: tempfile::TempDir,
}

impl Textfile {
    /// Samples of so many bytes each.
    fn new(samples: usize, sample_bytes: usize) -> Textfile {
        let textfile = Textfile { directory: tempfile::tempdir().expect("a directory") };
        let padding = "x".repeat(sample_bytes.saturating_sub(30));
        let line = |number: usize| format!("big_page{{number=\"{number}\",p=\"{padding}\"}} 1\n");
        textfile.write("big.prom", &(0..samples).map(line).collect::<String>());
        textfile
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.directory.path().join(name), text).expect("a file");
    }

    fn table(&self) -> String {
        let directory = self.directory.path().display();
        format!(
            "[collectors.textfile]\nenabled = true\nmax_memory = \"128MiB\"\n\
             directory = [\"{directory}\"]\n"
        )
    }
}

/// A page that no pair of socket buffers takes whole.
fn big_page() -> Textfile {
    Textfile::new(20_000, 450)
}

/// A connection whose kernel takes little that its reader has not read.
fn reluctant(address: SocketAddr) -> Connection<TcpStream> {
    let socket =
        rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    sockopt::set_socket_recv_buffer_size(&socket, 4096).expect("a small buffer");
    rustix::net::connect(&socket, &address).expect("it listens");
    Connection::of(socket.into())
}

/// Closes without the state in which the port waits for late packets: thousands of those would be
/// missed by the tests that come after.
fn drop_at_once(connection: Connection<TcpStream>) {
    let _ = sockopt::set_socket_linger(connection.stream(), Some(Duration::ZERO));
}

fn problem(answer: &Answer, status: u16) -> Value {
    assert_eq!(answer.status, status, "{}", answer.body);
    assert_eq!(answer.header("content-type"), "application/problem+json");
    let told = answer.json();
    assert_eq!(told["status"], status);
    for member in ["type", "title", "detail"] {
        assert!(told[member].as_str().is_some_and(|text| !text.is_empty()), "{member} in {told}");
    }
    told
}

fn detail(answer: &Answer, status: u16) -> String {
    problem(answer, status)["detail"].as_str().unwrap_or_default().to_owned()
}

// Clients that are slow or many.

#[test]
fn half_a_head_and_silence_are_cut_and_others_are_served() {
    let daemon = Daemon::start(&with("[server]\nidle_timeout = \"1s\"\n"));
    let mut silent = Connection::open(daemon.address());
    let mut half = Connection::open(daemon.address());
    half.send("GET /metrics HTTP/1.1\r\nHost: local");
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let honest = scope.spawn(|| {
            let mut answered = 0;
            while !is_over.load(Ordering::Relaxed) {
                assert!(daemon.metrics().has("node_load1"));
                answered += 1;
            }
            answered
        });
        let over = Over(&is_over);
        let began = Instant::now();
        assert!(silent.end().is_empty());
        assert!(half.end().is_empty());
        let took = began.elapsed();
        drop(over);
        let answered = honest.join().expect("it asks");
        println!("cut after {took:?}; {answered} others were answered meanwhile");
        assert!(answered > 10);
        assert!(took < Duration::from_secs(10), "{took:?}");
    });
    let cut = daemon.metrics().value("vitald_http_connections_timed_out_total");
    assert!(cut >= Some(2.0), "{cut:?}");
}

#[test]
fn a_header_of_a_mebibyte_is_refused() {
    let daemon = Daemon::start(LOADAVG);
    for head in [
        format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(1 << 20)),
        format!("GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n", "x".repeat(1 << 20)),
        format!("GET / HTTP/1.1\r\nHost: localhost\r\n{}\r\n", "X: y\r\n".repeat(1000)),
    ] {
        let mut connection = Connection::open(daemon.address());
        // It may hang up before it has taken everything.
        let _ = connection.try_send(head);
        let answer = connection.answer().expect("an answer");
        assert!(matches!(answer.status, 414 | 431), "{answer:?}");
        connection.end();
        assert_eq!(daemon.get("/healthz").status, 200);
    }
    for garbage in
        ["\0\r\n\r\n", "GET\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "\u{16}\u{3}\u{1}\r\n"]
    {
        let mut connection = Connection::open(daemon.address());
        connection.send(garbage);
        connection.stream().shutdown(std::net::Shutdown::Write).expect("a socket");
        connection.end();
    }
    assert_eq!(daemon.get("/healthz").status, 200);
}

#[test]
fn idle_crowds_do_not_lock_an_honest_client_out() {
    let daemon = Daemon::start(&with("[server]\nmax_connections = 50\n"));
    let crowd: Vec<_> = (0..300).map(|_| Connection::open(daemon.address())).collect();
    let began = Instant::now();
    for _ in 0..10 {
        assert_eq!(daemon.metrics().status, 200);
    }
    println!("10 scrapes beside 300 idle connections: {:?}", began.elapsed());
    let page = daemon.metrics();
    assert!(
        page.value("vitald_http_connections").is_some_and(|open| open <= 50.0),
        "{}",
        page.body
    );
    assert!(page.value("vitald_http_connections_evicted_total") >= Some(250.0), "{}", page.body);
    assert!(daemon.descriptors() < 100);
    drop(crowd);
}

#[test]
fn ten_thousand_clients_one_after_another() {
    let daemon = Daemon::start(LOADAVG);
    assert!(daemon.metrics().has("node_load1"));
    // Its own memory: the pages of its code are given back after the start and come again.
    let before = (daemon.descriptors(), daemon.status("RssAnon"));
    for number in 0..10_000 {
        let path = if number % 10 == 0 { "/metrics" } else { "/healthz" };
        let mut connection = Connection::open(daemon.address());
        assert_eq!(connection.get(path).status, 200, "client {number}");
        drop_at_once(connection);
    }
    until("all connections are closed", || daemon.descriptors() <= before.0);
    let after = daemon.status("RssAnon");
    println!("RssAnon in KiB: {} -> {after}; with files {}", before.1, daemon.status("VmRSS"));
    assert!(after < before.1 + 4096, "{before:?} {after}");
    let page = daemon.metrics();
    assert!(page.value("vitald_http_connections_accepted_total") >= Some(10_000.0));
    assert_eq!(page.value("vitald_http_requests_total{code=\"200\"}"), Some(10_001.0));
}

#[test]
fn hundreds_of_clients_at_once() {
    let daemon = Daemon::start(&with("[server]\nmax_requests = 0\n"));
    let mut clients: Vec<_> = (0..400).map(|_| Connection::open(daemon.address())).collect();
    for round in 0..3 {
        let path = if round == 1 { "/plugins" } else { "/metrics" };
        clients.iter_mut().for_each(|client| client.send(request("GET", path, &[])));
        for client in &mut clients {
            let answer = client.answer().expect("an answer");
            assert!(answer.status == 200 && answer.body.contains("loadavg"), "{}", answer.body);
        }
    }
    clients.into_iter().for_each(drop_at_once);
}

/// As many as there are descriptors for, up to ten thousand, all of them connected all the time.
#[test]
fn ten_thousand_clients_at_once() {
    let limit = getrlimit(Resource::Nofile);
    // Ours, and by inheritance the daemon's.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    // The daemon gives half of its own to connections; a few more of ours are the other tests'.
    let most = (descriptors / 2).saturating_sub(300).min(10_000);
    println!("{most} clients at once, of {descriptors} descriptors");
    let daemon = Daemon::start(&with("[server]\nmax_connections = 12000\nmax_requests = 0\n"));
    let mut clients = Vec::new();
    for number in 0..most {
        let mut client = Connection::open(daemon.address());
        assert_eq!(client.get("/healthz").status, 200, "client {number}");
        clients.push(client);
    }
    let began = Instant::now();
    let page = daemon.metrics();
    println!("a scrape beside them: {:?}", began.elapsed());
    assert!(page.value("vitald_http_connections") > Some(most as f64), "{}", page.body);
    assert_eq!(page.value("vitald_http_connections_evicted_total"), Some(0.0));
    for (number, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.get("/healthz").status, 200, "client {number} again");
    }
    let own_memory = daemon.status("VmRSS");
    println!("VmRSS: {own_memory} KiB");
    clients.into_iter().for_each(drop_at_once);
    until("all have left", || daemon.metrics().value("vitald_http_connections") == Some(1.0));
}

#[test]
fn a_reader_that_takes_nothing_is_cut_for_another() {
    let textfile = big_page();
    let limits = "[server]\nmax_page_bytes = 1048576\n";
    let daemon = Daemon::start(&with(&format!("{}{limits}", textfile.table())));
    let whole = daemon.metrics();
    assert!(whole.bytes.len() > 8_000_000, "{}", whole.bytes.len());
    let mut slow = reluctant(daemon.address());
    slow.send(request("GET", "/metrics", &[]));
    let mut begun = [0; 1];
    slow.stream().peek(&mut begun).expect("the beginning of a page");
    // Another page has no room beside it. It is not refused: who takes nothing is cut.
    let began = Instant::now();
    assert_eq!(daemon.get("/metrics").status, 200);
    let took = began.elapsed();
    println!("cut after {took:?}");
    assert!(took < Duration::from_secs(5), "{took:?}");
    // What the kernel still had of it is gone, too.
    let mut rest = Vec::new();
    let _ = slow.stream().take(u64::MAX).read_to_end(&mut rest);
    assert!(rest.len() < whole.bytes.len(), "{}", rest.len());
    let page = daemon.metrics();
    assert_eq!(page.value("vitald_http_pages_refused_total"), Some(0.0));
    assert_eq!(page.value("vitald_http_connections_evicted_total"), Some(1.0));
    assert_eq!(page.value("vitald_http_connections"), Some(1.0));
}

#[test]
fn a_reader_that_is_slow_gets_everything() {
    let textfile = big_page();
    let daemon = Daemon::start(&with(&textfile.table()));
    let mut slow = reluctant(daemon.address());
    slow.send(request("GET", "/metrics", &[]));
    // It asks for another page before it has read the first.
    slow.send(request("GET", "/healthz", &[]));
    for _ in 0..20 {
        assert_eq!(daemon.get("/healthz").status, 200);
    }
    let page = slow.answer().expect("a page");
    assert_eq!(page.body.matches("big_page{").count(), 20_000);
    assert_eq!(slow.answer().expect("another answer").body, "ok\n");
}

#[test]
fn pipelined_requests_are_answered_in_their_order() {
    let daemon = Daemon::start(LOADAVG);
    let mut connection = Connection::open(daemon.address());
    let paths = ["/healthz", "/metrics", "/nothing", "/plugins/loadavg", "/healthz"];
    let all: String = paths.iter().map(|path| request("GET", path, &[])).collect();
    connection.send(all.repeat(20));
    for _ in 0..20 {
        let answers: Vec<Answer> = paths.map(|_| connection.answer().expect("an answer")).into();
        let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
        assert_eq!(statuses, [200, 200, 404, 200, 200]);
        assert!(answers[1].has("node_load1"));
        assert_eq!(answers[3].json()["name"], "loadavg");
    }
}

#[test]
fn requests_beyond_the_limit_wait_for_their_turn() {
    let daemon = Daemon::start(&with("[server]\nmax_requests = 1\n"));
    let refused = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut connection = Connection::open(daemon.address());
                for _ in 0..20 {
                    // Seven others may be before it.
                    let asked = Instant::now();
                    let answer = connection.get("/metrics");
                    if answer.status != 200 {
                        let waited = asked.elapsed();
                        assert!(waited >= Duration::from_millis(500), "refused after {waited:?}");
                        refused.fetch_add(1, Ordering::Relaxed);
                        assert!(detail(&answer, 503).contains("server.max_requests"));
                        assert!(answer.header("retry-after").parse::<u32>().is_ok());
                    }
                    // A client that asks whether it is alive is never refused.
                    assert_eq!(connection.get("/healthz").status, 200);
                }
            });
        }
    });
    let page = daemon.metrics();
    let counted = page.value("vitald_http_requests_refused_total");
    assert_eq!(counted, Some(refused.into_inner() as f64));
    assert_eq!(page.value("vitald_http_requests_in_flight"), Some(1.0));
}

// A daemon that lacks something.

/// Starts it by a shell that does something first.
fn start_after(shell: &str, config: &str) -> Daemon {
    Daemon::start_by(config, |command| {
        let mut inside = Command::new("sh");
        inside.arg("-c").arg(format!("{shell}; exec \"$0\" \"$@\"")).arg(command.get_program());
        inside.args(command.get_args());
        *command = inside;
    })
}

#[test]
fn few_descriptors_are_enough() {
    let daemon = start_after("ulimit -n 64", "");
    let mut kept = Connection::open(daemon.address());
    let crowd: Vec<_> = (0..200).map(|_| Connection::open(daemon.address())).collect();
    for _ in 0..20 {
        let page = daemon.metrics();
        assert!(page.has("node_load1") && page.has("node_memory_MemTotal_bytes"), "{}", page.body);
    }
    // For a moment a connection that comes may have the last one.
    until("there is room", || daemon.descriptors() < 64);
    // One that has asked lately is not the first to go.
    assert_eq!(Connection::open(daemon.address()).get("/healthz").status, 200);
    let failed: Vec<String> = daemon
        .metrics()
        .body
        .lines()
        .filter(|line| line.starts_with("vitald_collector_state") && line.ends_with(" 1"))
        // The machine may lack the source of one.
        .filter(|line| !line.contains("\"running\"") && !line.contains("\"absent\""))
        .map(str::to_owned)
        .collect();
    assert!(failed.is_empty(), "{failed:?}");
    drop(crowd);
    assert!(kept.try_send(request("GET", "/healthz", &[])).is_ok() || kept.end().is_empty());
    assert_eq!(daemon.get("/healthz").status, 200);
}

#[test]
fn what_few_descriptors_lower_is_reported() {
    // One is the listener's, and half of the others are for connections.
    let daemon = start_after("ulimit -n 64", "");
    let words = "server.max_connections 31 instead of 512";
    daemon.wait_for_log(words);
    let log = daemon.log();
    assert!(log.contains("open_files_limit=64") && !log.contains("control group"), "{log}");
    let told = daemon.get("/plugins").json();
    assert_eq!(told["open_files_limit"], 64);
    let limit = serde_json::json!([{
        "limit": "server.max_connections", "value": 31, "instead_of": 512, "scarce": "files"
    }]);
    assert_eq!(told["lowered_limits"], limit, "{told}");
    assert!(daemon.get("/").body.contains(words));
    let daemon = start_after("ulimit -n 64", "[server]\nmax_connections = 31\n");
    let told = daemon.get("/plugins").json();
    assert_eq!(told["lowered_limits"], serde_json::json!([]), "{told}");
    assert!(
        !daemon.log().contains("limits are lower") && !daemon.get("/").body.contains("are lower")
    );
}

#[test]
fn what_is_lowered_while_it_runs_is_in_force_and_reported() {
    let daemon = Daemon::start("[scrape]\ndefault_collectors = false\n");
    let pid = Pid::from_raw(daemon.pid().cast_signed()).expect("a pid");
    let few = Rlimit { current: Some(128), ..getrlimit(Resource::Nofile) };
    prlimit(Some(pid), Resource::Nofile, few).expect("a limit of our own child");
    assert_eq!(daemon.get("/plugins").json()["lowered_limits"][0]["value"], 63);
    let crowd: Vec<_> = (0..80)
        .map(|_| {
            let mut connection = Connection::open(daemon.address());
            assert_eq!(connection.get("/healthz").status, 200);
            connection
        })
        .collect();
    let page = daemon.metrics();
    assert!(
        page.value("vitald_http_connections").is_some_and(|open| open <= 63.0),
        "{}",
        page.body
    );
    assert_eq!(page.value("vitald_http_accept_errors_total"), Some(0.0));
    drop(crowd);
}

#[test]
fn without_descriptors_it_serves_whom_it_has_and_rests() {
    let textfile = big_page();
    let config = format!(
        "[server]\nmax_page_bytes = 1073741824\n[scrape]\ndefault_collectors = false\n\
         max_age = \"10s\"\n[collectors.loadavg]\nenabled = true\n{}",
        textfile.table()
    );
    let daemon = Daemon::start(&config);
    let pid = Pid::from_raw(i32::try_from(daemon.pid()).expect("a pid")).expect("a pid");
    let whole = daemon.metrics();
    until("the connection of the scrape is closed", || {
        daemon.get("/metrics").value("vitald_http_connections") == Some(1.0)
    });
    let used = daemon.descriptors() as u64;
    let limit = getrlimit(Resource::Nofile);
    prlimit(Some(pid), Resource::Nofile, Rlimit { current: Some(used + 4), ..limit })
        .expect("a limit of our own child");

    let mut readers: Vec<_> = (0..12).map(|_| reluctant(daemon.address())).collect();
    readers.iter_mut().for_each(|reader| reader.send(request("GET", "/metrics", &[])));
    daemon.wait_for_log("cannot accept connections");
    // A part of the time that a reader has; this is no waiting for anything.
    let before = daemon.cpu_time();
    std::thread::sleep(Duration::from_secs(3));
    let busy = daemon.cpu_time() - before;
    println!("CPU time of 3 s without descriptors: {busy:?}");
    assert!(busy < Duration::from_secs(1), "{busy:?}");
    let complaints = daemon.log().matches("cannot accept connections").count();
    assert_eq!(complaints, 1, "{}", daemon.log());

    // Who asks gets in all the same: of those who take nothing one is cut for it.
    assert_eq!(daemon.get("/healthz").status, 200);
    let mut served = 0;
    for reader in &mut readers {
        let Ok(page) = reader.answer() else { continue };
        assert!(page.status == 200 && page.has("node_load1"), "{}", page.status);
        assert!(page.bytes.len() <= whole.bytes.len() + 1000, "{}", page.bytes.len());
        served += 1;
        let _ = reader.stream().shutdown(std::net::Shutdown::Both);
    }
    println!("{served} of 12 were served");
    assert!(served > 0);
    until("it says that it is over", || {
        assert_eq!(daemon.get("/healthz").status, 200);
        daemon.log().contains("accepts connections again")
    });
    assert!(daemon.metrics().value("vitald_http_accept_errors_total") >= Some(1.0));
    prlimit(Some(pid), Resource::Nofile, limit).expect("a limit of our own child");
}

fn full_disk() -> std::fs::File {
    std::fs::OpenOptions::new().write(true).open("/dev/full").expect("/dev/full")
}

#[test]
fn a_full_disk_under_the_console_stops_nothing() {
    let config = with("[outputs.console]\nenabled = true\ninterval = \"1s\"\n");
    let daemon = Daemon::start_by(&config, |command| {
        command.stdout(Stdio::from(full_disk()));
    });
    until("the output has failed twice", || {
        daemon.get("/plugins/console").json()["failed"].as_u64() >= Some(2)
    });
    let told = daemon.get("/plugins/console").json();
    assert!(told["error"].as_str().is_some_and(|error| error.contains("No space left")), "{told}");
    assert_eq!(told["sent"], 0);
    assert!(daemon.metrics().has("node_load1"));
    assert_eq!(daemon.log().matches("could not send").count(), 1, "told once, not at each tick");
    assert_eq!(daemon.reload().status, 200);
    daemon.write_config(LOADAVG);
    assert_eq!(daemon.reload().json()["outputs"]["stopped"], serde_json::json!(["console"]));
}

#[test]
fn a_console_whose_reader_has_gone_stops_nothing() {
    let config = with("[outputs.console]\nenabled = true\ninterval = \"1s\"\n");
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let daemon = Daemon::start_by(&config, |command| {
        command.stdout(writer);
    });
    drop(reader);
    until("the output has ended", || daemon.get("/plugins/console").json()["error"].is_string());
    assert!(daemon.metrics().has("node_load1"));
    assert_eq!(daemon.reload().status, 200);
}

/// A daemon on a unix socket, and what its standard error and its environment are.
fn on_a_socket(stderr: Stdio, change: impl FnOnce(&mut Command)) -> (Daemon, std::path::PathBuf) {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("config.toml");
    let socket = directory.path().join("socket");
    let listen = format!("[server]\nlisten = [\"unix:{}\"]\n", socket.display());
    std::fs::write(&file, with(&listen)).expect("a file");
    let mut command = Command::new(harness::binary());
    command.arg("run").arg("--config").arg(&file).stderr(stderr);
    change(&mut command);
    let up = socket.clone();
    let daemon = Daemon::spawn_unheard(command, directory, move || {
        std::os::unix::net::UnixStream::connect(&up).is_ok()
    });
    (daemon, socket)
}

#[test]
fn a_log_that_goes_nowhere_stops_nothing() {
    let (reader, closed) = std::io::pipe().expect("a pipe");
    drop(reader);
    for stderr in [Stdio::from(full_disk()), Stdio::from(closed)] {
        let (mut daemon, socket) = on_a_socket(stderr, |_| {});
        let ask = |method: &str, path: &str| Connection::open_unix(&socket).ask(method, path, &[]);
        for _ in 0..5 {
            assert!(ask("GET", "/metrics").has("node_load1"));
            assert_eq!(ask("PUT", "/plugins/reload").status, 200);
        }
        let file = daemon.directory.path().join("config.toml");
        std::fs::write(file, "nonsense").expect("a file");
        assert_eq!(ask("PUT", "/plugins/reload").status, 422);
        daemon.signal("HUP");
        assert!(ask("GET", "/metrics").has("node_load1"));
        daemon.signal("TERM");
        assert!(daemon.wait().success());
        assert!(!socket.exists());
    }
}

/// Each write beyond the limit of a file's size fails, and sends a signal that ends who does not take it.
#[test]
fn a_log_that_has_reached_the_limit_of_files_stops_nothing() {
    let log = tempfile::tempfile().expect("a file");
    let (mut daemon, socket) = on_a_socket(Stdio::from(log), |_| {});
    let ask = |method: &str, path: &str| Connection::open_unix(&socket).ask(method, path, &[]);
    let pid = Pid::from_raw(daemon.pid().cast_signed()).expect("a pid");
    let none = Rlimit { current: Some(0), ..getrlimit(Resource::Fsize) };
    prlimit(Some(pid), Resource::Fsize, none).expect("a limit of our own child");
    until("a line is lost", || {
        assert_eq!(ask("PUT", "/plugins/reload").status, 200);
        let page = ask("GET", "/metrics");
        page.has("node_load1") && page.value("vitald_log_lines_dropped_total") > Some(0.0)
    });
    daemon.signal("TERM");
    assert!(daemon.wait().success());
}

#[test]
fn a_log_that_is_not_read_stops_nothing() {
    let (reader, full) = std::io::pipe().expect("a pipe");
    let (mut daemon, socket) = on_a_socket(Stdio::from(full), |_| {});
    let ask = |method: &str, path: &str| Connection::open_unix(&socket).ask(method, path, &[]);
    std::fs::write(daemon.config_file(), "nonsense").expect("a file");
    for _ in 0..800 {
        assert_eq!(ask("PUT", "/plugins/reload").status, 422);
    }
    assert_eq!(ask("GET", "/healthz").status, 200);
    let page = ask("GET", "/metrics");
    assert!(page.has("node_load1"));
    assert!(page.value("vitald_log_lines_dropped_total") > Some(0.0), "{}", page.body);
    daemon.signal("TERM");
    assert!(daemon.wait().success());
    drop(reader);
}

#[test]
fn a_manager_that_does_not_read_stops_nothing() {
    let place = tempfile::tempdir().expect("a directory");
    let path = place.path().join("notify");
    let manager = std::os::unix::net::UnixDatagram::bind(&path).expect("a socket");
    let (mut daemon, socket) = on_a_socket(Stdio::null(), |command| {
        command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "30000");
    });
    let ask = |method: &str, path: &str| Connection::open_unix(&socket).ask(method, path, &[]);
    for _ in 0..30 {
        assert_eq!(ask("PUT", "/plugins/reload").status, 200);
    }
    assert!(ask("GET", "/metrics").has("node_load1"));
    // What is read late is complete: the end of the last reload and what came of it.
    let mut heard = Vec::new();
    let mut buffer = [0; 4096];
    manager.set_read_timeout(Some(LONG)).expect("a socket");
    let is_complete = |heard: &[String]| {
        let last = |part| heard.iter().rposition(|text| text.contains(part));
        let begun = last("RELOADING=1");
        begun.is_some() && begun < last("READY=1") && last("STATUS=").is_some()
    };
    while !is_complete(&heard) {
        let received = manager.recv(&mut buffer);
        let length = received.unwrap_or_else(|error| panic!("{error} after {heard:?}"));
        heard.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
    }
    daemon.signal("TERM");
    assert!(daemon.wait().success());
}

#[test]
fn the_status_follows_the_collectors_and_reloads() {
    let place = tempfile::tempdir().expect("a directory");
    let manager = std::os::unix::net::UnixDatagram::bind(place.path().join("notify"));
    let manager = manager.expect("a socket");
    manager.set_read_timeout(Some(LONG)).expect("a socket");
    let source = place.path().join("loadavg");
    let write = |text: &str| std::fs::write(&source, text).expect("a file");
    write("0.1 0.2 0.3 1/2 3\n");
    let config = format!(
        "[scrape]\ndefault_collectors = false\nmax_age = \"0s\"\n[collectors.loadavg]\nenabled = true\n\
         [paths]\nprocfs = {:?}\n",
        place.path()
    );
    let daemon = Daemon::start_by(&config, |command| {
        command.env("NOTIFY_SOCKET", place.path().join("notify"));
    });
    // Every change is heard, for there is no other one before it has been.
    let hear = |expected: &str| {
        let mut buffer = [0; 4096];
        let expected = format!("STATUS=1 collector on 127.0.0.1:0{expected}");
        loop {
            let length = manager.recv(&mut buffer).unwrap_or_else(|e| panic!("{expected}: {e}"));
            if String::from_utf8_lossy(&buffer[..length]).trim_end() == expected {
                return;
            }
        }
    };
    hear("");
    write("nonsense\n");
    daemon.metrics();
    hear("; failing: loadavg");
    daemon.write_config("[scrpe]\n");
    assert_eq!(daemon.reload().status, 422);
    let refused = "; the last reload was refused (1 mistake in the log)";
    hear(&format!("; failing: loadavg{refused}"));
    write("0.1 0.2 0.3 1/2 3\n");
    daemon.metrics();
    hear(refused);
    daemon.write_config(&config);
    assert_eq!(daemon.reload().status, 200);
    hear("");
}

// Signals.

/// Whether a process has taken a signal: before, the kernel ends it.
fn catches(pid: u32, signal: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:\t"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & (1 << (signal - 1)) != 0)
}

#[test]
fn sighup_during_the_start_does_not_end_it() {
    const HUP: u32 = 1;
    for round in 0..5 {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("config.toml");
        let socket = directory.path().join("socket");
        let listen =
            format!("[server]\nlisten = [\"unix:{}\", \"127.0.0.1:0\"]\n", socket.display());
        std::fs::write(&file, listen).expect("a file");
        let mut command = Command::new(harness::binary());
        command.arg("run").arg("--config").arg(&file).stderr(Stdio::piped()).stdin(Stdio::null());
        // Not by the harness, which waits until it is up.
        let mut child = Running(command.spawn().expect("the daemon starts"));
        let pid = Pid::from_child(&child.0);
        until("it takes SIGHUP", || catches(child.0.id(), HUP));
        let mut sent = 0;
        while std::os::unix::net::UnixStream::connect(&socket).is_err() {
            rustix::process::kill_process(pid, rustix::process::Signal::HUP).expect("our child");
            assert_eq!(
                child.0.try_wait().expect("our child"),
                None,
                "round {round}, {sent} signals"
            );
            sent += 1;
        }
        println!("round {round}: {sent} signals before it listened");
        let answer = Connection::open_unix(&socket).get("/metrics");
        assert!(answer.has("node_load1"), "{}", answer.body);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("our child");
        assert!(child.0.wait().expect("our child").success());
    }
}

/// As node_exporter, which log rotation sends such a signal here and there.
#[test]
fn signals_of_no_meaning_do_not_end_it() {
    let mut daemon = Daemon::start(LOADAVG);
    let own = ["USR1", "USR2", "ALRM", "VTALRM", "PROF", "IO", "PWR"].map(str::to_owned);
    for name in own.into_iter().chain((34..=64).map(|number: u32| number.to_string())) {
        daemon.signal(&name);
        assert_eq!(daemon.get("/healthz").status, 200, "after {name}");
    }
    daemon.signal("TERM");
    assert!(daemon.wait().success());
}

#[test]
fn a_storm_of_sighup_under_load_loses_nothing() {
    let other = with("[collectors.stat]\nenabled = true\n");
    let daemon = Daemon::start(LOADAVG);
    let is_over = AtomicBool::new(false);
    let scrapes = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut connection = Connection::open(daemon.address());
                while !is_over.load(Ordering::Relaxed) {
                    assert!(connection.get("/metrics").has("node_load1"));
                    assert!(daemon.metrics().has("node_load1"));
                    scrapes.fetch_add(2, Ordering::Relaxed);
                }
            });
        }
        let _over = Over(&is_over);
        let pid = Pid::from_raw(daemon.pid().cast_signed()).expect("a pid");
        let hangup = || rustix::process::kill_process(pid, rustix::process::Signal::HUP);
        for round in 0..1000 {
            if round % 10 == 0 {
                daemon.replace_config(if round % 20 == 0 { &other } else { LOADAVG });
            }
            hangup().expect("our child");
            // The kernel makes one signal of those that are waiting: let some get through.
            std::thread::yield_now();
        }
        // However many of them became one, the last one is not lost.
        daemon.replace_config(&other.replace("stat", "filefd"));
        hangup().expect("our child");
        until("the last word holds", || daemon.metrics().has("node_filefd_allocated"));
    });
    let page = daemon.metrics();
    assert!(!page.has("node_boot_time_seconds"));
    println!("{scrapes:?} scrapes, generation {:?}", page.value("vitald_config_generation"));
    assert!(!daemon.log().contains("panic"));
}

#[test]
fn the_port_is_bound_again_at_once_after_a_kill() {
    // An address that no client uses, so that none gets the port as its own in between.
    let mut daemon = Daemon::start(&with("[server]\nlisten = [\"127.0.77.1:0\"]\n"));
    let address = daemon.address();
    for _ in 0..5 {
        let mut clients: Vec<_> = (0..20).map(|_| Connection::open(address)).collect();
        clients.iter_mut().for_each(|client| client.send(request("GET", "/metrics", &[])));
        clients.iter_mut().for_each(|client| assert!(client.answer().is_ok()));
        daemon.signal("KILL");
        daemon.wait();
        let began = Instant::now();
        daemon = Daemon::start(&with(&format!("[server]\nlisten = [\"{address}\"]\n")));
        println!("listens again after {:?}", began.elapsed());
        assert_eq!(daemon.address(), address);
        assert!(daemon.metrics().has("node_load1"));
    }
}

#[test]
fn requests_under_way_are_answered_before_the_end() {
    let textfile = big_page();
    let mut daemon = Daemon::start(&with(&textfile.table()));
    assert_eq!(daemon.metrics().status, 200);
    let mut idle = Connection::open(daemon.address());
    assert_eq!(idle.get("/healthz").status, 200);
    let mut reader = reluctant(daemon.address());
    reader.send(request("GET", "/metrics", &[]));
    let head = reader.head().expect("the head of a page");
    daemon.signal("TERM");
    daemon.wait_for_log("stopping");
    assert!(idle.end().is_empty());
    until("it accepts no connection", || TcpStream::connect(daemon.address()).is_err());
    let length: usize = head.header("content-length").parse().expect("a length");
    assert_eq!(reader.end().len(), length);
    assert!(daemon.wait().success());
}

// Who may administer.

#[test]
fn proxies_and_web_pages_may_not_administer() {
    let daemon = Daemon::start(LOADAVG);
    let own = daemon.address().to_string();
    let refused: [(&[(&str, &str)], &str); 15] = [
        (&[("Forwarded", "for=192.0.2.1")], "proxy"),
        (&[("X-Forwarded-For", "127.0.0.1")], "proxy"),
        (&[("x-forwarded-host", "localhost")], "proxy"),
        (&[("Via", "1.1 nginx")], "proxy"),
        (&[("Origin", "http://evil.example")], "origin"),
        (&[("Origin", "null")], "origin"),
        (&[("Origin", "http://localhost:3000")], "origin"),
        (&[("Sec-Fetch-Site", "cross-site")], "web page"),
        (&[("Sec-Fetch-Site", "same-site")], "web page"),
        (&[("Host", "evil.example")], "Host"),
        (&[("Host", "127.0.0.1.evil.example:9100")], "Host"),
        (&[("Host", "localhost@evil.example")], "Host"),
        (&[("Host", "192.0.2.1:9100")], "Host"),
        (&[("Host", "")], "Host"),
        (&[("Host", &own), ("Origin", "https://evil.example")], "origin"),
    ];
    for (headers, reason) in refused {
        for path in ["/plugins/reload", "/plugins/reload?dry_run=true"] {
            let answer = daemon.ask("PUT", path, headers);
            assert!(detail(&answer, 403).contains(reason), "{headers:?}: {}", answer.body);
        }
        // Other pages take them.
        assert_eq!(daemon.ask("GET", "/metrics", headers).status, 200, "{headers:?}");
    }
    // A proxy may have believed the other one of two hosts, so no page takes both.
    let two_hosts = [("Host", "localhost"), ("Host", "evil.example")];
    for (method, path) in [("PUT", "/plugins/reload"), ("GET", "/metrics")] {
        let answer = daemon.ask(method, path, &two_hosts);
        assert!(detail(&answer, 400).contains("too many Host headers"), "{}", answer.body);
    }
    let mut connection = Connection::open(daemon.address());
    connection.send("PUT http://evil.example/plugins/reload HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(connection.answer().expect("an answer").status, 403);
    let allowed: [&[(&str, &str)]; 4] = [
        &[],
        &[("Host", "localhost")],
        &[("Host", "[::1]:9100")],
        &[("Host", &own), ("Origin", &format!("http://{own}")), ("Sec-Fetch-Site", "same-origin")],
    ];
    for headers in allowed {
        let answer = daemon.ask("PUT", "/plugins/reload", headers);
        assert_eq!(answer.status, 200, "{headers:?}: {}", answer.body);
    }
}

/// An address of this machine that other machines use; asking for it sends nothing.
fn outer_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect("198.51.100.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then_some(address)
}

#[test]
#[ignore = "needs an address beside the loopback's: cargo test --features full --test daemon -- --ignored"]
fn peers_that_are_not_on_the_loopback_may_not_administer() {
    harness::needs("an address beside the loopback's");
    let address = outer_address().expect("this machine has an address beside the loopback's");
    let token = TokenFile::new("secret", 0o600);
    let config = format!(
        "[server]\nlisten = [\"{address}:0\", {{ address = \"0.0.0.0:0\", admin = \"{}\" }}]\n",
        token.rule()
    );
    let daemon = Daemon::start(&with(&config));
    let answer = daemon.ask("PUT", "/plugins/reload", &[("Host", "localhost")]);
    assert!(detail(&answer, 403).contains("this machine"), "{}", answer.body);
    assert_eq!(daemon.metrics().status, 200);
    // A token is not for everybody on the way to read.
    let bearer = [("Authorization", "Bearer secret")];
    let port = daemon.addresses(2)[1].port();
    let outside = SocketAddr::new(address, port);
    let answer = harness::ask(outside, "PUT", "/plugins/reload", &bearer);
    assert!(detail(&answer, 403).contains("plain HTTP"), "{}", answer.body);
    let inside = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port);
    assert_eq!(harness::ask(inside, "PUT", "/plugins/reload", &bearer).status, 200);
}

#[test]
fn a_listener_without_admin_has_no_such_route() {
    let listen =
        "[server]\nlisten = [{ address = \"127.0.0.1:0\", admin = \"off\" }, \"127.0.0.2:0\"]\n";
    let daemon = Daemon::start(&with(listen));
    for method in ["PUT", "GET", "POST"] {
        let answer = daemon.ask(method, "/plugins/reload", &[]);
        let told = problem(&answer, 404);
        assert!(!told["routes"].to_string().contains("reload"), "{told}");
        assert!(told["routes"].to_string().contains("/metrics"), "{told}");
    }
    assert_eq!(daemon.metrics().status, 200);
    let other = daemon.addresses(2)[1];
    assert_eq!(harness::ask(other, "PUT", "/plugins/reload", &[]).status, 200);
}

#[test]
fn a_reload_changes_the_admin_rule_of_a_listener_that_stays() {
    let rule =
        |rule: &str| with(&format!("[server]\nlisten = [\"127.0.0.1:0\"]\nadmin = \"{rule}\"\n"));
    let token = TokenFile::new("secret", 0o600);
    let daemon = Daemon::start(&rule("local"));
    let mut kept = Connection::open(daemon.address());
    assert_eq!(kept.ask("PUT", "/plugins/reload", &[]).status, 200);
    daemon.write_config(&rule("off"));
    let told = kept.ask("PUT", "/plugins/reload", &[]);
    assert_eq!(told.status, 200, "{}", told.body);
    let changed = serde_json::json!([{ "address": "127.0.0.1:0", "what": ["admin"] }]);
    assert_eq!(told.json()["listeners"]["changed"], changed);
    // The connection is the old one; the rule is not.
    assert_eq!(kept.ask("PUT", "/plugins/reload", &[]).status, 404);
    daemon.write_config(&rule(&token.rule()));
    daemon.signal("HUP");
    until("the token is asked for", || kept.ask("PUT", "/plugins/reload", &[]).status == 401);
    let bearer = [("Authorization", "Bearer secret")];
    // The rule is in force a little before the reload that brought it has ended.
    until("the token is taken", || kept.ask("PUT", "/plugins/reload", &bearer).status == 200);
    daemon.write_config(&rule("local"));
    assert_eq!(kept.ask("PUT", "/plugins/reload", &bearer).status, 200);
    assert_eq!(kept.ask("PUT", "/plugins/reload", &[]).status, 200);
}

struct TokenFile {
    directory: tempfile::TempDir,
}

impl TokenFile {
    fn new(token: &str, mode: u32) -> TokenFile {
        let file = TokenFile { directory: tempfile::tempdir().expect("a directory") };
        std::fs::write(file.path(), format!("{token}\n")).expect("a file");
        file.set_mode(mode);
        file
    }

    fn path(&self) -> std::path::PathBuf {
        self.directory.path().join("token")
    }

    fn set_mode(&self, mode: u32) {
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(self.path(), permissions).expect("chmod");
    }

    fn rule(&self) -> String {
        format!("token:{}", self.path().display())
    }
}

#[test]
fn a_token_opens_the_admin_routes() {
    let token = TokenFile::new("correct horse", 0o600);
    let daemon = Daemon::start(&with(&format!("[server]\nadmin = \"{}\"\n", token.rule())));
    let reload = |authorization: &str| {
        daemon.ask("PUT", "/plugins/reload", &[("Authorization", authorization)])
    };
    let without = daemon.reload();
    assert!(detail(&without, 401).contains("Bearer"), "{}", without.body);
    assert!(without.header("www-authenticate").starts_with("Bearer"), "{without:?}");
    for wrong in [
        "Bearer wrong",
        "Bearer correct",
        "Bearer correct horses",
        "Basic correct horse",
        "Bearer ",
        "x",
    ] {
        assert!(matches!(reload(wrong).status, 401 | 403), "{wrong}");
    }
    assert_eq!(reload("Bearer correct horse").status, 200);
    assert_eq!(reload("bearer correct horse").status, 200);
    // The token is not for show.
    for path in ["/plugins", "/plugins/loadavg", "/", "/metrics"] {
        let body = daemon.ask("GET", path, &[("Authorization", "Bearer correct horse")]).body;
        assert!(!body.contains("correct horse"), "{path}");
    }
    assert!(!daemon.log().contains("correct horse"));

    // A file that everybody can read is no secret.
    token.set_mode(0o644);
    let answer = reload("Bearer correct horse");
    assert_eq!(answer.status, 500, "{}", answer.body);
    assert!(!answer.body.contains(&token.path().display().to_string()), "{}", answer.body);
    daemon.wait_for_log("every user can read or write the file; run chmod o-rw on it");
    token.set_mode(0o600);
    // What was found counts for a moment, so that who guesses has nothing read.
    until("the token is read again", || reload("Bearer correct horse").status == 200);
    std::fs::write(token.path(), "another\n").expect("a file");
    assert_eq!(reload("Bearer correct horse").status, 401);
    assert_eq!(reload("Bearer another").status, 200);

    // The command line shows it.
    let to = daemon.address().to_string();
    let command = |more: &[&str]| {
        let mut command = Command::new(harness::binary());
        harness::output(command.args(["reload", "--to", &to]).args(more))
    };
    let (status, _, err) = command(&[]);
    assert!(status != 0 && err.contains("Token required"), "{status} {err}");
    let (status, out, err) = command(&["--token-file", &token.path().display().to_string()]);
    assert!(status == 0 && out.contains("applied"), "{status} {out} {err}");
}

#[test]
fn a_unix_socket_is_for_its_owner_and_reloads() {
    let directory = tempfile::tempdir().expect("a directory");
    let socket = directory.path().join("metrics.sock");
    let listen = format!("[server]\nlisten = [\"unix:{}\", \"127.0.0.1:0\"]\n", socket.display());
    let mut daemon = Daemon::start(&with(&listen));
    let mode = std::fs::metadata(&socket).expect("a socket").permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    let mut connection = Connection::open_unix(&socket);
    assert!(connection.get("/metrics").has("node_load1"));
    daemon.write_config(&with(&format!("{listen}[collectors.stat]\nenabled = true\n")));
    assert_eq!(
        connection.ask("PUT", "/plugins/reload", &[]).json()["started"],
        serde_json::json!(["stat"])
    );
    let to = format!("unix:{}", socket.display());
    for arguments in [["reload", "--to", &to], ["health", "--to", &to]] {
        let (status, out, err) = harness::output(Command::new(harness::binary()).args(arguments));
        assert_eq!(status, 0, "{arguments:?} {out} {err}");
    }
    // Another one is not bound over it, and a dead one's socket is taken over.
    let second = directory.path().join("second.toml");
    std::fs::write(&second, format!("[server]\nlisten = [\"{to}\"]\n")).expect("a file");
    let (status, _, err) =
        harness::output(Command::new(harness::binary()).arg("run").arg("--config").arg(&second));
    assert!(status == 71 && err.contains(&*socket.to_string_lossy()), "{status} {err}");
    assert_eq!(Connection::open_unix(&socket).get("/healthz").status, 200);
    daemon.signal("KILL");
    daemon.wait();
    assert!(socket.exists());
    let mut daemon = Daemon::start(&with(&listen));
    assert_eq!(Connection::open_unix(&socket).get("/healthz").status, 200);
    daemon.signal("TERM");
    assert!(daemon.wait().success());
    assert!(!socket.exists());
}

// What is answered.

#[test]
fn methods_and_paths() {
    let daemon = Daemon::start(LOADAVG);
    let mut connection = Connection::open(daemon.address());
    for path in
        ["/", "/metrics", "/plugins", "/plugins/loadavg", "/plugins/console", "/healthz", "/readyz"]
    {
        let get = connection.get(path);
        assert_eq!(get.status, 200, "{path}");
        let head = connection.ask("HEAD", path, &[]);
        assert_eq!(head.status, 200, "{path}");
        assert_eq!(head.header("content-type"), get.header("content-type"), "{path}");
        for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW"] {
            let answer = connection.ask(method, path, &[]);
            problem(&answer, 405);
            assert_eq!(answer.header("allow"), "GET, HEAD", "{method} {path}");
        }
    }
    for method in ["GET", "POST", "DELETE"] {
        let answer = connection.ask(method, "/plugins/reload", &[]);
        problem(&answer, 405);
        assert_eq!(answer.header("allow"), "PUT");
    }
    for path in
        ["/nothing", "/metrics/x", "/plugins/a/b", "/favicon.ico", "/%2e%2e/etc/passwd", "/../x"]
    {
        let told = problem(&connection.get(path), 404);
        for route in ["/", "/metrics", "/plugins", "/healthz", "/readyz", "/plugins/reload"] {
            let routes = told["routes"].as_array().expect("routes");
            assert!(routes.contains(&route.into()), "{route} in {told}");
        }
    }
    let unknown = problem(&connection.get("/plugins/loadavgs"), 404);
    let expected =
        "no collector or output of this name is configured or compiled in; did you mean loadavg?";
    assert_eq!(unknown["detail"], expected);
    assert!(unknown["plugins"].as_array().is_some_and(|names| names.contains(&"textfile".into())));
    assert!(daemon.reload().status == 200);
}

#[test]
fn the_whole_page_is_valid() {
    let daemon = Daemon::start("");
    for _ in 0..3 {
        let page = exposition_reader::read(&daemon.metrics().bytes).expect("a valid page");
        let families: Vec<&str> = page.families.iter().map(|family| &*family.name).collect();
        for family in [
            "node_cpu_seconds_total",
            "node_scrape_collector_success",
            "node_scrape_collector_duration_seconds",
            "node_exporter_build_info",
            "vitald_build_info",
            "vitald_collector_state",
            "vitald_config_generation",
            "vitald_config_info",
            "vitald_config_last_reload_successful",
            "vitald_http_requests_in_flight",
            "process_cpu_seconds_total",
            "process_resident_memory_bytes",
            "promhttp_metric_handler_requests_total",
        ] {
            assert!(families.contains(&family), "{family} in {families:?}");
        }
        let failed: Vec<_> = page
            .samples()
            .filter(|sample| sample.name == "vitald_collector_state" && sample.value == 1.0)
            // The machine may lack the source of one, or a part of it.
            .filter(|sample| {
                !["running", "degraded", "absent"].contains(&sample.labels["state"].as_str())
            })
            .collect();
        assert!(failed.is_empty(), "{failed:?}");
    }
}

#[test]
fn no_accept_header_is_refused() {
    for openmetrics in [false, true] {
        let daemon = Daemon::start(&format!(
            "[scrape]\nopenmetrics = {openmetrics}\ndefault_collectors = false\n\
             [collectors.loadavg]\nenabled = true\n[collectors.stat]\nenabled = true\n"
        ));
        let text = "text/plain; version=0.0.4; charset=utf-8";
        let open = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        let prometheus = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                          application/openmetrics-text;version=0.0.1;q=0.5,\
                          text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
                          text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        for accept in [
            "*/*",
            "text/plain",
            "text/html, image/png",
            "application/json",
            "text/plain;q=0",
            "nonsense",
            "",
            ";;;,,,q=",
            "application/openmetrics-text;version=2.0.0",
            "application/openmetrics-text",
            "application/openmetrics-text; version=1.0.0",
            prometheus,
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited",
        ] {
            let answer = daemon.ask("GET", "/metrics", &[("Accept", accept)]);
            assert_eq!(answer.status, 200, "{accept}");
            let given = answer.header("content-type");
            let wants =
                accept.starts_with("application/openmetrics-text") && !accept.contains("2.0.0");
            let is_open = given.starts_with("application/openmetrics-text");
            assert!(answer.has("node_load1"), "{accept}");
            assert!(answer.header("vary").contains("Accept"), "{answer:?}");
            assert_eq!(is_open, openmetrics && wants, "{accept}: {given}");
            let ends = answer.body.matches("# EOF").count();
            if is_open {
                assert!(given.starts_with("application/openmetrics-text; version="), "{given}");
                assert!(ends == 1 && answer.body.ends_with("\n# EOF\n"), "{accept}");
                // Names are the same in both.
                assert!(
                    answer.has("node_boot_time_seconds")
                        && answer.has("node_context_switches_total")
                );
                assert!(!answer.body.contains("_created"));
            } else {
                assert!(given.starts_with("text/plain; version=0.0.4"), "{accept}: {given}");
                assert_eq!(ends, 0, "{accept}");
            }
            if accept == "*/*" {
                assert_eq!(given, text);
            }
            if accept == "application/openmetrics-text; version=1.0.0" && openmetrics {
                assert_eq!(given, open);
            }
        }
    }
}

/// The page without the samples that differ from scrape to scrape.
fn steady(page: &str) -> Vec<&str> {
    let moving =
        ["node_scrape_collector_duration", "vitald_", "process_", "promhttp_", "node_load"];
    let name = |line: &str| {
        let line = line.trim_start_matches("# HELP ").trim_start_matches("# TYPE ");
        line.split(['{', ' ']).next().unwrap_or_default().to_owned()
    };
    let is_steady = |line: &&str| !moving.iter().any(|prefix| name(line).starts_with(prefix));
    page.lines().filter(is_steady).collect()
}

fn same(page: &str, other: &str, encoding: &str) {
    let (page, other) = (steady(page), steady(other));
    let mut lines = page.iter().zip(&other);
    let difference = lines.find(|(line, other)| line != other);
    assert_eq!((page.len(), difference), (other.len(), None), "{encoding}");
}

#[test]
fn a_compressed_page_is_the_same_page() {
    let small = Textfile::new(100, 100);
    // One that is compressed off the thread that serves, too.
    let big = big_page();
    for textfile in [small, big] {
        let daemon = Daemon::start(&with(&textfile.table()));
        let plain = daemon.metrics();
        for encoding in ["gzip", "br, gzip;q=0.5", "GZIP", "deflate, *"] {
            let packed = daemon.ask("GET", "/metrics", &[("Accept-Encoding", encoding)]);
            if encoding == "gzip" {
                assert_eq!(packed.header("content-encoding"), "gzip");
            }
            assert!(packed.header("vary").contains("Accept-Encoding"));
            if packed.header("content-encoding") != "gzip" {
                continue;
            }
            let mut text = String::new();
            GzDecoder::new(&packed.bytes[..]).read_to_string(&mut text).expect("gzip");
            assert!(packed.bytes.len() < text.len());
            same(&text, &plain.body, encoding);
        }
        for encoding in ["identity", "br", "gzip;q=0", "", "*;q=0"] {
            let answer = daemon.ask("GET", "/metrics", &[("Accept-Encoding", encoding)]);
            assert_eq!((answer.status, answer.header("content-encoding")), (200, ""), "{encoding}");
            same(&answer.body, &plain.body, encoding);
        }
    }
}

#[test]
fn collectors_are_chosen_by_the_query() {
    let daemon = Daemon::start(&with("[collectors.stat]\nenabled = true\n"));
    let has = |query: &str| {
        let answer = daemon.get(&format!("/metrics?{query}"));
        assert_eq!(answer.status, 200, "{query}: {}", answer.body);
        (answer.has("node_load1"), answer.has("node_boot_time_seconds"))
    };
    assert_eq!(has(""), (true, true));
    assert_eq!(has("x=y"), (true, true));
    assert_eq!(has("collect[]=loadavg"), (true, false));
    assert_eq!(has("collect%5B%5D=stat"), (false, true));
    assert_eq!(has("collect[]=loadavg&collect[]=stat"), (true, true));
    assert_eq!(has("exclude[]=loadavg"), (false, true));
    assert_eq!(has("exclude[]=nonsense"), (true, true));
    assert_eq!(has("exclude[]=loadavg&exclude[]=stat"), (false, false));
    for (query, reason) in [
        ("collect[]=loadavg&exclude[]=stat", "cannot be combined"),
        ("collect[]=cpu", "collector cpu is switched off"),
        ("collect[]=loadavgs", "did you mean loadavg?"),
        ("collect[]=", "there is no collector"),
        ("collect[]=loadavg&collect[]=nonsense", "there is no collector nonsense"),
    ] {
        let answer = daemon.get(&format!("/metrics?{query}"));
        assert!(detail(&answer, 400).contains(reason), "{query}: {}", answer.body);
    }
    // Only what was asked for is reported.
    let page = daemon.get("/metrics?collect[]=loadavg");
    assert_eq!(page.body.matches("node_scrape_collector_success{").count(), 1);
}

/// A collector that takes longer than the scraper waits: it has much to read.
#[test]
fn the_scraper_is_answered_before_it_gives_up() {
    let textfile = Textfile::new(0, 0);
    // Sixteen times two million lines, which cost nothing and are looked at one by one.
    textfile.write("0.prom", &"#\n".repeat(2 << 20));
    let file = |name: &str| textfile.directory.path().join(name);
    for number in 1..16 {
        std::fs::hard_link(file("0.prom"), file(&format!("{number}.prom"))).expect("a link");
    }
    let daemon = Daemon::start(&with(&textfile.table()));
    let began = Instant::now();
    let headers = [("X-Prometheus-Scrape-Timeout-Seconds", "0.5")];
    let page = daemon.ask("GET", "/metrics", &headers);
    let took = began.elapsed();
    assert_eq!(page.status, 200);
    assert!(page.has("node_load1"));
    let succeeded = page.value("node_scrape_collector_success{collector=\"textfile\"}");
    println!("answered after {took:?}; success of the slow collector: {succeeded:?}");
    assert_eq!(succeeded, Some(0.0), "it cannot be done in a quarter of a second");
    assert!(took < Duration::from_millis(500), "{took:?}");
    let timed_out = "vitald_collector_state{collector=\"textfile\",state=\"timed_out\"}";
    assert_eq!(page.value(timed_out), Some(1.0));
    // That a scraper has little time is no incident of the collector.
    let timeouts = page
        .value("vitald_collector_incident_kinds_total{collector=\"textfile\",kind=\"timeout\"}");
    assert!(timeouts.unwrap_or(0.0) == 0.0, "{timeouts:?}");
    let began = Instant::now();
    until("it has come back", || {
        daemon.metrics().value("node_scrape_collector_success{collector=\"textfile\"}") == Some(1.0)
    });
    println!("it has come back after {:?}", began.elapsed());
}

#[test]
fn a_pipe_among_the_textfiles_holds_nobody_up() {
    let textfile = Textfile::new(3, 60);
    let pipe = textfile.directory.path().join("pipe.prom");
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0)
        .expect("a pipe");
    let daemon = Daemon::start(&with(&textfile.table()));
    let began = Instant::now();
    let page = daemon.metrics();
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(page.body.matches("big_page{").count(), 3);
    assert_eq!(page.value("node_textfile_scrape_error"), Some(1.0));
}

#[test]
fn health_and_readiness() {
    let daemon = Daemon::start(LOADAVG);
    let health = daemon.get("/healthz");
    assert_eq!((health.status, &*health.body), (200, "ok\n"));
    until("it is ready", || daemon.get("/readyz").status == 200);
    // Further lines say what it does not see, where this test itself runs in a container.
    let body = daemon.get("/readyz").body;
    assert!(body.lines().next() == Some("ready") && body.ends_with('\n'), "{body}");
    assert!(body.lines().skip(1).all(|line| line.starts_with("blind: ")), "{body}");
    assert_eq!(daemon.get("/readyz").header("cache-control"), "no-store");
}

#[test]
fn plugins_are_reported_in_json() {
    let daemon = Daemon::start(&with("[outputs.console]\ninterval = \"7s\"\n"));
    daemon.metrics();
    let answer = daemon.get("/plugins");
    assert_eq!(answer.header("content-type"), "application/json");
    let told = answer.json();
    assert_eq!(
        (&told["name"], &told["version"]),
        (&"vitald".into(), &env!("CARGO_PKG_VERSION").into())
    );
    assert_eq!(told["generation"], 1);
    assert!(told["hash"].as_str().is_some_and(|hash| hash.len() == 16), "{told}");
    assert!(told["uptime_seconds"].is_f64() && told["applied_timestamp_seconds"].is_f64());
    assert!(told["hostname"].is_string() && told["ready"].is_boolean());
    let collectors = told["collectors"].as_array().expect("collectors");
    let names: Vec<&str> = collectors.iter().filter_map(|one| one["name"].as_str()).collect();
    assert!(names.is_sorted() && names.len() == collectors.len() && names.contains(&"textfile"));
    for collector in collectors {
        for member in ["summary", "state"] {
            assert!(collector[member].as_str().is_some_and(|text| !text.is_empty()), "{collector}");
        }
        assert!(collector["enabled"].is_boolean() && collector["may_block"].is_boolean());
        assert_eq!(collector["enabled"], collector["name"] == "loadavg", "{collector}");
        assert_eq!(collector["state"] == "off", collector["name"] != "loadavg", "{collector}");
    }
    let loadavg = collectors.iter().find(|one| one["name"] == "loadavg").expect("loadavg");
    assert_eq!((&loadavg["state"], &loadavg["samples"]), (&"running".into(), &3.into()));
    assert!(loadavg["duration_seconds"].as_f64() > Some(0.0) && loadavg["age_seconds"].is_f64());
    assert!(loadavg["counts"]["runs"].as_u64() >= Some(1));

    let detail = daemon.get("/plugins/loadavg").json();
    assert_eq!(detail["state"], "running");
    assert_eq!(detail["families"].as_array().map(Vec::len), Some(3));
    for family in detail["families"].as_array().into_iter().flatten() {
        assert!(family["name"].as_str().is_some_and(|name| name.starts_with("node_load")));
        assert!(
            family["type"] == "gauge" && family["help"].is_string() && family["labels"].is_array()
        );
    }
    assert_eq!(detail["sources"], serde_json::json!(["proc/loadavg"]));
    assert!(detail["enabled_by_default"].is_boolean() && detail["capabilities"].is_array());
    let link = detail["metrics"].as_str().expect("a link");
    assert!(daemon.get(link).has("node_load1"));
    let console = daemon.get("/plugins/console").json();
    assert_eq!((&console["enabled"], &console["interval_seconds"]), (&false.into(), &7.0.into()));
    let settings = daemon.get("/plugins/diskstats").json()["settings"].clone();
    let exclude =
        settings.as_array().and_then(|all| all.iter().find(|one| one["key"] == "device_exclude"));
    let exclude = exclude.expect("such a setting");
    assert!(exclude["doc"].is_string() && exclude["default"].is_string(), "{exclude}");
}

#[test]
fn only_admins_are_reported_paths_of_the_host() {
    let textfile = Textfile::new(1, 60);
    let path = textfile.directory.path().display().to_string();
    let config = format!(
        "[paths]\nprocfs = \"{path}\"\n[server]\nlisten = [\"127.0.0.1:0\", {{ address = \"127.0.0.2:0\", \
         admin = \"off\" }}]\n{LOADAVG}{}[collectors.stat]\nenabled = true\n",
        textfile.table()
    );
    textfile.write("loadavg", "nonsense\n");
    let daemon = Daemon::start(&config);
    daemon.metrics();
    let pages =
        ["/plugins", "/plugins/loadavg", "/plugins/stat", "/plugins/textfile", "/", "/nothing"];
    for page in pages {
        for headers in [[("Via", "1.1 proxy")], [("Host", "metrics.example")]] {
            let body = daemon.ask("GET", page, &headers).body;
            assert!(!body.contains(&path), "{page} {headers:?}: {body}");
        }
        let body = harness::ask(daemon.addresses(2)[1], "GET", page, &[]).body;
        assert!(!body.contains(&path), "{page} without admin: {body}");
    }
    let own = daemon.get("/plugins/textfile").json();
    assert_eq!(own["settings"][0]["value"], serde_json::json!([path]));
    let origin = own["settings"][0]["origin"].as_str().unwrap_or_default().to_owned();
    assert!(origin.contains("config.toml:"), "{own}");
    let error = daemon.get("/plugins/loadavg").json()["error"].to_string();
    assert!(error.contains("loadavg") && !error.contains("nonsense"), "{error}");
}

#[test]
fn what_is_absent_is_logged_once_at_the_start_with_its_reason() {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("loadavg"), "0 0 0 1/1 1\n").expect("a file");
    let on = "[collectors.stat]\nenabled = true\n[collectors.vmstat]\nenabled = true\n";
    let daemon = Daemon::start(&with(&format!("{on}[paths]\nprocfs = {:?}\n", directory.path())));
    let said =
        "collectors=\"stat (proc/stat: not on this host), vmstat (proc/vmstat: not on this host)\"";
    daemon.wait_for_log(said);
    assert!(!daemon.metrics().has("node_forks_total"));
    assert_eq!(daemon.log().matches("not on this host").count(), 2, "{}", daemon.log());
}

#[test]
fn the_status_page_loads_nothing_and_escapes() {
    let directory = tempfile::tempdir().expect("a directory");
    let proc = directory.path().join("<img src=x onerror=alert(1)>");
    std::fs::create_dir(&proc).expect("a directory");
    std::fs::write(proc.join("loadavg"), "<b>nonsense</b>\n").expect("a file");
    let config = with(&format!("[paths]\nprocfs = '{}'\n", proc.display()));
    let daemon = Daemon::start(&config);
    daemon.metrics();
    let answer = daemon.get("/");
    assert_eq!(answer.header("content-type"), "text/html; charset=utf-8");
    let page = &answer.body;
    assert!(!page.contains("<img") && !page.contains("<b>"), "{page}");
    assert!(page.contains("loadavg") && page.contains("/plugins/reload"));
    let own = format!("http://{}/plugins/reload", daemon.address());
    assert!(page.contains(&own), "{page}");
    let rest = page.replace(&own, "");
    for foreign in [
        "http://",
        "https://",
        "//cdn",
        "src=",
        "<link",
        "@import",
        "url(",
        "<iframe",
        "javascript:",
    ] {
        assert!(!rest.contains(foreign), "{foreign} in {rest}");
    }
    let policy = answer.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
    let hostile = daemon.ask("GET", "/", &[("Host", "\"><script>alert(1)</script>")]);
    assert!(!hostile.body.contains("<script>alert"), "{}", hostile.body);
    let hostile = daemon.get("/%3Cscript%3E?<script>");
    assert!(!hostile.body.contains("<script>"), "{}", hostile.body);
}

// Settings that only a whole daemon shows.

#[test]
fn an_interval_shows_the_age() {
    let config = "[scrape]\ndefault_collectors = false\n[collectors.stat]\nenabled = true\n\
                  [collectors.loadavg]\nenabled = true\n";
    let age = "vitald_collector_age_seconds{collector=\"loadavg\"}";
    let daemon = Daemon::start(config);
    assert!(!daemon.metrics().has("vitald_collector_age_seconds"));
    daemon.write_config(&format!("{config}interval = \"1s\"\n"));
    assert_eq!(daemon.reload().json()["changed"], serde_json::json!(["loadavg"]));
    until("its age is there", || daemon.metrics().value(age).is_some());
    let page = daemon.metrics();
    assert!(!page.body.contains("vitald_collector_age_seconds{collector=\"stat\""));
    let of_page = page.value(age);
    assert!(of_page.is_some_and(|age| age < 3.0), "{of_page:?}");
    // A scrape does not run it, and time does.
    let runs = || daemon.get("/plugins/loadavg").json()["counts"]["runs"].as_u64();
    let before = runs();
    until("it has run by itself", || runs() > before);
    let began = (Instant::now(), runs());
    for _ in 0..50 {
        assert!(daemon.metrics().has("node_load1"));
    }
    let most = began.0.elapsed().as_secs() + 2;
    assert!(runs().unwrap_or(0) - began.1.unwrap_or(0) <= most);
    daemon.write_config(config);
    assert_eq!(daemon.reload().status, 200);
    assert!(!daemon.metrics().has("vitald_collector_age_seconds"));
}

#[test]
fn what_two_collectors_have_is_shown_once_and_counted() {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(
        directory.path().join("load.prom"),
        "# TYPE node_load1 gauge\nnode_load1 4711\nother 1\n",
    )
    .expect("a file");
    let path = directory.path();
    let config = format!("[collectors.textfile]\nenabled = true\ndirectory = [{path:?}]\n");
    let daemon = Daemon::start(&with(&config));
    let first = daemon.metrics();
    assert!(first.value("node_load1") != Some(4711.0) && first.has("other"));
    let second = daemon.metrics();
    let gathering = "promhttp_metric_handler_errors_total{cause=\"gathering\"}";
    assert_eq!((first.value(gathering), second.value(gathering)), (Some(0.0), Some(1.0)));
    let duplicates =
        "vitald_collector_incident_kinds_total{collector=\"textfile\",kind=\"duplicate\"}";
    let all = "vitald_collector_incidents_total{collector=\"textfile\"}";
    assert!(second.value(duplicates) >= Some(1.0));
    assert_eq!(second.value(all), second.value(duplicates));
    let filtered = daemon.get("/metrics?collect[]=textfile");
    assert_eq!(filtered.value("node_load1"), Some(4711.0));
    // What one collector gives twice, or with two types, is a fault of the page, too, as there.
    let counted = |text: &str, others: &str| {
        std::fs::write(path.join("load.prom"), text).expect("a file");
        std::fs::write(path.join("more.prom"), others).expect("a file");
        let name = text.split_once(' ').expect("a sample").0;
        // A result may be as old as the text before.
        until("it has read the file", || daemon.metrics().has(name));
        let [before, after] = [(); 2].map(|()| daemon.metrics().value(gathering));
        after.expect("a count") - before.expect("a count")
    };
    assert_eq!(counted("once 1\n", ""), 0.0);
    assert_eq!(counted("twice 1\ntwice 2\n", ""), 1.0);
    let another = "# TYPE two_types counter\ntwo_types{a=\"b\"} 1\n";
    assert_eq!(counted("two_types 1\n", another), 1.0);
}

#[test]
fn forty_thousand_families_of_a_text_file_keep_their_names() {
    let directory = tempfile::tempdir().expect("a directory");
    let families =
        (0..40_000).fold(String::new(), |text, i| text + &format!("m{i}{{i=\"{i}\"}} {i}\n"));
    std::fs::write(directory.path().join("many.prom"), families).expect("it is written");
    let table =
        format!("[collectors.textfile]\nenabled = true\ndirectory = [{:?}]\n", directory.path());
    let page = Daemon::start(&with(&table)).metrics();
    let shown = page.body.lines().filter(|line| line.starts_with('m'));
    for line in shown.clone() {
        let (name, value) = line.rsplit_once(' ').expect("a sample");
        assert_eq!(name, format!("m{value}{{i=\"{value}\"}}"));
    }
    assert_eq!(shown.count(), 40_000);
}

#[test]
fn a_collector_has_a_limit_of_series() {
    let textfile = Textfile::new(100, 60);
    let daemon = Daemon::start(&with(&format!("{}max_series = 10\n", textfile.table())));
    let dropped =
        "vitald_collector_incident_kinds_total{collector=\"textfile\",kind=\"max_series\"}";
    let page = daemon.metrics();
    let shown = |page: &Answer| page.body.matches("big_page{").count();
    assert!((8..=10).contains(&shown(&page)), "{}", shown(&page));
    assert!(page.value(dropped) >= Some(90.0), "{:?}", page.value(dropped));
    assert!(page.has("node_load1"));
    let status = daemon.get("/plugins/textfile").json();
    assert_eq!(status["max_series"], 10);
    assert_eq!(status["degraded"], "max_series");
    // The limit of all, and one that is less strict.
    daemon.write_config(&format!(
        "[scrape]\nmax_series = 20\ndefault_collectors = false\n{}",
        textfile.table()
    ));
    assert_eq!(daemon.reload().status, 200);
    assert!((18..=20).contains(&shown(&daemon.metrics())));
    daemon.write_config(&format!(
        "[scrape]\nmax_series = 20\ndefault_collectors = false\n{}max_series = 0\n",
        textfile.table()
    ));
    assert_eq!(daemon.reload().status, 200);
    assert_eq!(shown(&daemon.metrics()), 100);
}

#[test]
fn process_groups_take_rules_from_the_file() {
    let config = "[scrape]\ndefault_collectors = false\nmax_age = \"0s\"\n\
                  [collectors.process_groups]\nenabled = true\nchildren = false\n\
                  [[collectors.process_groups.rules]]\nname = \"this ${comm}\"\n\
                  command_line = 'vitald run --config'\n\
                  [[collectors.process_groups.rules]]\nname = \"uid\"\nuser = \"12345678\"\n";
    let daemon = Daemon::start(config);
    let processes = "namedprocess_namegroup_num_procs{groupname=\"this vitald\"}";
    assert!(daemon.metrics().value(processes) >= Some(1.0), "{}", daemon.metrics().body);
    assert!(!daemon.metrics().body.contains("groupname=\"uid\""));
    let rules = daemon.get("/plugins/process_groups").json();
    let rules =
        rules["settings"].as_array().and_then(|all| all.iter().find(|one| one["key"] == "rules"));
    assert_eq!(
        rules.and_then(|rules| rules["value"].as_array()).map(Vec::len),
        Some(2),
        "{rules:?}"
    );
    // A mistake in a rule has its place.
    daemon.write_config(&format!(
        "{config}[[collectors.process_groups.rules]]\nname = \"x\"\ncomand = \"(\"\n"
    ));
    let answer = daemon.reload();
    assert_eq!(answer.status, 422, "{}", answer.body);
    let told = answer.json()["mistakes"].to_string();
    assert!(told.contains(":15:1") && told.contains("did you mean command?"), "{told}");
    assert!(daemon.metrics().value(processes) >= Some(1.0));
}

#[test]
fn the_environment_stands_above_the_file() {
    let daemon = Daemon::start_by(LOADAVG, |command| {
        command
            .env("VITALD__COLLECTORS__STAT__ENABLED", "true")
            .env("VITALD__COLLECTORS__LOADAVG__ENABLED", "false")
            .env("VITALD__SERVER__MAX_REQUESTS", "7")
            // What Kubernetes gives to a service of this name.
            .env("VITALD_PORT", "tcp://10.0.0.1:9100")
            .env("VITALD_SERVICE_HOST", "10.0.0.1");
    });
    let page = daemon.metrics();
    assert!(page.has("node_boot_time_seconds") && !page.has("node_load1"));
    // It holds through a reload, too.
    daemon.write_config(&with("[collectors.filefd]\nenabled = true\n"));
    assert_eq!(daemon.reload().json()["started"], serde_json::json!(["filefd"]));
    assert!(!daemon.metrics().has("node_load1"));

    let (status, _, err) = harness::output(
        Command::new(harness::binary())
            .args(["check"])
            .env("VITALD__SERVER__MAX_REQUEST", "7")
            .env("VITALD__SCRAPE__TIMEOUT", "soon"),
    );
    assert_eq!(status, 78);
    assert!(
        err.contains("VITALD__SERVER__MAX_REQUEST") && err.contains("did you mean max_requests?"),
        "{err}"
    );
    assert!(err.contains("VITALD__SCRAPE__TIMEOUT"), "{err}");
}

/// The kernel keeps 15 bytes of a thread's name, so what has a longer one cannot be told from others.
#[test]
fn every_thread_has_a_whole_name() {
    const NAMES: &[&str] = &[
        "vitald",
        "log",
        "start",
        "first run",
        "collect",
        "interval clock",
        "process_groups",
        "textfile",
        "vitald-statfs",
        "output console",
        "reload",
        "page writing",
        "giving back",
    ];
    let textfile = big_page();
    let config = format!(
        "[server]\nmax_page_bytes = 100000000\n[scrape]\ndefault_collectors = false\n\
         [collectors.process_groups]\nenabled = true\n\
         [[collectors.process_groups.rules]]\nname = \"all\"\n\
         [collectors.loadavg]\nenabled = true\ninterval = \"1s\"\n\
         [outputs.console]\nenabled = true\ncollectors = [\"loadavg\"]\n{}",
        textfile.table()
    );
    let daemon = Daemon::start_by(&config, |command| {
        command.stdout(Stdio::null());
    });
    assert!(daemon.metrics().has("big_page"));
    assert_eq!(daemon.reload().status, 200);
    let mut seen = std::collections::BTreeSet::new();
    let tasks = format!("/proc/{}/task", daemon.pid());
    until("all threads that stay have been seen", || {
        for task in std::fs::read_dir(&tasks).expect("a process") {
            // A thread may end meanwhile.
            let comm = task.map(|task| std::fs::read_to_string(task.path().join("comm")));
            if let Ok(Ok(comm)) = comm {
                let comm = comm.trim_end().to_owned();
                assert!(NAMES.contains(&&*comm), "{comm}");
                seen.insert(comm);
            }
        }
        [
            "vitald",
            "log",
            "collect",
            "interval clock",
            "process_groups",
            "textfile",
            "output console",
        ]
        .iter()
        .all(|name| seen.contains(*name))
    });
}

#[test]
fn the_log_is_logfmt_or_json() {
    for format in ["logfmt", "json"] {
        let config = with(&format!("[log]\nformat = \"{format}\"\nlevel = \"info\"\n"));
        let directory = tempfile::tempdir().expect("a directory");
        let socket = directory.path().join("socket");
        let listen = format!("[server]\nlisten = [\"unix:{}\"]\n", socket.display());
        let log = directory.path().join("log");
        let file = directory.path().join("config.toml");
        std::fs::write(&file, format!("{listen}{config}")).expect("a file");
        let mut command = Command::new(harness::binary());
        command.arg("run").arg("--config").arg(&file);
        command.stderr(std::fs::File::create(&log).expect("a file"));
        let read = || std::fs::read_to_string(&log).expect("a log");
        let has_started = || read().contains("listening");
        let mut daemon = Daemon::spawn_unheard(command, directory, has_started);
        daemon.signal("TERM");
        assert!(daemon.wait().success());
        let text = read();
        assert!(text.lines().count() >= 3, "{text}");
        // What it cannot know, such as whose network it sees, is left out.
        assert!(!text.contains("unknown"), "{text}");
        for line in text.lines() {
            if format == "json" {
                let line: Value =
                    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
                assert!(
                    line["time"].is_string()
                        && line["level"].is_string()
                        && line["msg"].is_string()
                );
            } else {
                assert!(
                    line.starts_with("time=") && line.contains(" level=") && line.contains(" msg="),
                    "{line}"
                );
            }
        }
    }
}

/// Nothing that is open may keep the daemon from ending, and nothing of it may be left.
#[test]
fn it_ends_in_time_with_a_crowd_at_its_door() {
    let mut daemon = Daemon::start(LOADAVG);
    let crowd: Vec<_> = (0..100).map(|_| Connection::open(daemon.address())).collect();
    let address = daemon.address();
    let scraping = Arc::new(AtomicBool::new(true));
    let scraper = std::thread::spawn({
        let scraping = Arc::clone(&scraping);
        move || {
            while scraping.load(Ordering::Relaxed) {
                let _ = harness::try_ask(address, "GET", "/metrics", &[]);
            }
        }
    });
    let began = Instant::now();
    daemon.signal("TERM");
    assert!(daemon.wait().success());
    println!("ended after {:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(10));
    scraping.store(false, Ordering::Relaxed);
    scraper.join().expect("it ends");
    drop(crowd);
}
