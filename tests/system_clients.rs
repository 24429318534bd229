//! Clients that are slow, many or hostile, and an honest one beside them: what it waits for, what fails, and what
//! the daemon's memory comes to.
//!
//! Where a crowd asks for as much as there is of something, it comes from an address of its own: that the daemon tells
//! clients apart by their addresses is what is tested. Elsewhere all come from one, which is the harder case.

mod harness;
mod system;

use harness::{Connection, Daemon, Over, request, try_ask, until};
use rustix::net::{AddressFamily, SocketType, sockopt};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit, setrlimit};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use system::statistics::percentile;

const NEEDS: &str = "root";
const LOADAVG: &str =
    "[scrape]\ndefault_collectors = false\n[collectors.loadavg]\nenabled = true\n";

/// The release binary where one is named, since what is measured is its.
fn start(config: &str) -> Daemon {
    Daemon::start_by(config, |command| {
        let mut chosen = Command::new(binary());
        chosen.args(command.get_args());
        *command = chosen;
    })
}

fn binary() -> PathBuf {
    harness::release_binary().unwrap_or_else(harness::binary)
}

/// A directory with a file of so many samples of about 80 bytes, and the table that has it read.
fn samples(count: usize) -> (tempfile::TempDir, String) {
    let directory = tempfile::tempdir().expect("a directory");
    let line = |number: usize| {
        format!("clients_test_sample{{number=\"{number:08}\",padding=\"xxxxxxxxxxxxxxxxx\"}} 1\n")
    };
    let text: String = (0..count).map(line).collect();
    std::fs::write(directory.path().join("many.prom"), text).expect("a file");
    let place = directory.path().display();
    let table = format!(
        "{LOADAVG}[collectors.textfile]\nenabled = true\nmax_memory = \"256MiB\"\n\
         directory = [\"{place}\"]\n"
    );
    (directory, table)
}

/// Resident memory in KiB.
fn resident(daemon: &Daemon) -> u64 {
    daemon.status("VmRSS")
}

/// Many clients, which connect anew when they are cut.
struct Crowd {
    address: SocketAddr,
    clients: Vec<Option<TcpStream>>,
    request: Vec<u8>,
    /// Whether they ask again and again, without waiting for answers.
    pipelines: bool,
    /// They go on where the last turn's request had to stop, and have room for their answers.
    keeps_up: bool,
    /// Where each of them is in its request.
    written: Vec<usize>,
    /// How many bytes each of them takes in a turn.
    takes: usize,
    connected: u64,
    /// The last number of the loopback address that they come from.
    from: u8,
}

impl Crowd {
    fn new(address: SocketAddr, count: usize, request: &[u8]) -> Crowd {
        Crowd {
            address,
            clients: (0..count).map(|_| None).collect(),
            request: request.to_vec(),
            pipelines: false,
            keeps_up: false,
            written: vec![0; count],
            takes: 0,
            connected: 0,
            from: 1,
        }
    }

    /// Each of them does what it does.
    fn turn(&mut self) {
        let mut buffer = vec![0; self.takes.max(1)];
        let Crowd {
            address,
            clients,
            request,
            pipelines,
            keeps_up,
            written,
            takes,
            connected,
            from,
        } = self;
        for (client, written) in clients.iter_mut().zip(written) {
            let is_new = client.is_none();
            if is_new {
                *written = 0;
                *client = reluctant(*address, *from).ok();
                *connected += u64::from(client.is_some());
            }
            let Some(stream) = client else { continue };
            if is_new && *keeps_up {
                let _ = sockopt::set_socket_recv_buffer_size(&*stream, 256 << 10);
            }
            let mut outcome = Ok(1);
            if is_new || *pipelines {
                outcome = stream.write(&request[*written..]);
                if let (true, Ok(bytes)) = (*keeps_up, &outcome) {
                    *written = (*written + bytes) % request.len();
                }
            }
            if *takes > 0 && !matches!(&outcome, Err(error) if is_lasting(error)) {
                outcome = stream.read(&mut buffer);
            }
            match outcome {
                Ok(1..) => {}
                Err(error) if !is_lasting(&error) => {}
                Ok(0) | Err(_) => *client = None,
            }
        }
    }

    /// How many are connected still.
    fn open(&self) -> usize {
        self.clients.iter().flatten().count()
    }
}

fn is_lasting(error: &io::Error) -> bool {
    error.kind() != io::ErrorKind::WouldBlock
}

/// A connection of which the kernel takes little that is not read.
fn reluctant(address: SocketAddr, from: u8) -> io::Result<TcpStream> {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
    sockopt::set_socket_recv_buffer_size(&socket, 4096)?;
    // Thousands of them must not leave ports behind that wait.
    sockopt::set_socket_linger(&socket, Some(Duration::ZERO))?;
    if from != 1 {
        rustix::net::bind(&socket, &SocketAddr::from(([127, 0, 0, from], 0)))?;
    }
    rustix::net::connect(&socket, &address)?;
    let stream = TcpStream::from(socket);
    stream.set_nonblocking(true)?;
    Ok(stream)
}

/// What an honest client saw.
#[derive(Default)]
struct Seen {
    /// In milliseconds: on connections of their own, and on one that is kept.
    anew: Vec<f64>,
    kept: Vec<f64>,
    failures: Vec<String>,
    /// How often the kept connection had to be made anew.
    lost: usize,
}

impl Seen {
    fn told(&self, attack: &str, memory: &str) {
        for (how, latencies) in [("anew", &self.anew), ("kept", &self.kept)] {
            let [median, late, worst] = [0.5, 0.99, 1.0].map(|share| percentile(latencies, share));
            println!(
                "figure: {attack}: {how}: {} scrapes, p50 {median:.1} ms, p99 {late:.1}, max {worst:.1}",
                latencies.len()
            );
        }
        println!(
            "figure: {attack}: {} failures, kept connection lost {} times; {memory}",
            self.failures.len(),
            self.lost
        );
    }

    fn worst(&self) -> f64 {
        self.anew.iter().chain(&self.kept).copied().fold(0.0, f64::max)
    }
}

/// Scrapes by turns on connections of their own and on one that is kept.
fn scrape(address: SocketAddr, times: usize) -> Seen {
    let mut seen = Seen::default();
    let mut kept = Connection::open(address);
    let mut ask = request("GET", "/metrics", &[]);
    ask.insert_str(ask.len() - 2, "X-Prometheus-Scrape-Timeout-Seconds: 10\r\n");
    for _ in 0..times {
        let began = Instant::now();
        match try_ask(address, "GET", "/metrics", &[("X-Prometheus-Scrape-Timeout-Seconds", "10")])
        {
            Ok(page) if page.status == 200 && page.has("node_load1") => {}
            Ok(page) => seen.failures.push(format!("anew: {} {}", page.status, page.body)),
            Err(error) => seen.failures.push(format!("anew: {error}")),
        }
        seen.anew.push(began.elapsed().as_secs_f64() * 1e3);
        let began = Instant::now();
        let mut answer = kept.try_send(&ask).and_then(|()| kept.answer());
        if answer.is_err() {
            // A client connects anew then, as Prometheus does.
            seen.lost += 1;
            kept = Connection::open(address);
            answer = kept.try_send(&ask).and_then(|()| kept.answer());
        }
        match answer {
            Ok(page) if page.status == 200 && page.has("node_load1") => {}
            Ok(page) => seen.failures.push(format!("kept: {} {}", page.status, page.body)),
            Err(error) => seen.failures.push(format!("kept: {error}")),
        }
        seen.kept.push(began.elapsed().as_secs_f64() * 1e3);
    }
    seen
}

/// How much more may stay resident after a crowd, in KiB.
const MAY_STAY: u64 = 4096;

/// An honest client beside a crowd that goes on while it scrapes. Answers what it saw and the resident memory: before,
/// the most during, and after, when it has been given back or ten seconds have passed.
fn beside(daemon: &Daemon, crowd: &mut Crowd, times: usize, pace: Duration) -> (Seen, [u64; 3]) {
    // What the start needed has been given back, and what a scrape needs is there.
    until("a scrape", || daemon.metrics().has("node_load1"));
    let before = resident(daemon);
    let is_over = AtomicBool::new(false);
    let address = daemon.address();
    crowd.turn();
    // Some may have been cut already. Of a crowd that does not get here nobody would notice anything.
    assert!(2 * crowd.open() > crowd.clients.len(), "{} are connected", crowd.open());
    let (seen, during) = std::thread::scope(|scope| {
        let attack = scope.spawn(|| {
            let mut most = 0;
            while !is_over.load(Ordering::Relaxed) {
                crowd.turn();
                most = most.max(resident(daemon));
                // How slow they are.
                std::thread::sleep(pace);
            }
            most
        });
        let over = Over(&is_over);
        let seen = scrape(address, times);
        drop(over);
        (seen, attack.join().expect("the crowd"))
    });
    crowd.clients.iter_mut().for_each(|client| *client = None);
    until("the crowd has gone", || {
        daemon.get("/metrics").value("vitald_http_connections") == Some(1.0)
    });
    let limit = Instant::now() + Duration::from_secs(10);
    while resident(daemon) > before + MAY_STAY && Instant::now() < limit {
        std::thread::sleep(Duration::from_millis(50));
    }
    (seen, [before, during, resident(daemon)])
}

fn assert_given_back([before, _, after]: [u64; 3]) {
    assert!(after <= before + MAY_STAY, "{before} KiB were resident, and {after} KiB stay");
}

fn in_words([before, during, after]: [u64; 3]) -> String {
    format!("resident {before} -> {during} -> {after} KiB")
}

#[test]
#[ignore = "needs root: cargo test --features full --test system_clients -- --ignored"]
fn slow_readers_of_a_long_page_cost_no_scrape() {
    harness::needs(NEEDS);
    let (_directory, table) = samples(95_000);
    let daemon = start(&table);
    let whole = daemon.metrics();
    println!("figure: a page of {} bytes", whole.bytes.len());
    assert!(whole.bytes.len() > 6_000_000, "the text file was left out");
    let mut crowd = Crowd::new(daemon.address(), 16, request("GET", "/metrics", &[]).as_bytes());
    crowd.takes = 300;
    let (seen, memory) = beside(&daemon, &mut crowd, 60, Duration::from_millis(100));
    let told = format!("{}; they connected {} times", in_words(memory), crowd.connected);
    seen.told("16 slow readers of a page of 95,000 series", &told);
    assert!(seen.failures.is_empty(), "{:?}", seen.failures);
    assert_given_back(memory);
    assert!(seen.worst() < 8000.0, "{} ms", seen.worst());
}

#[test]
#[ignore = "needs root: cargo test --features full --test system_clients -- --ignored"]
fn pipelining_slow_readers_cost_no_scrape() {
    harness::needs(NEEDS);
    let (_directory, table) = samples(600);
    for (from, whence) in [(2, "another address"), (1, "the same address")] {
        let daemon = start(&table);
        let asked = request("GET", "/metrics", &[]);
        let mut crowd = Crowd::new(daemon.address(), 520, asked.as_bytes());
        (crowd.pipelines, crowd.takes, crowd.from) = (true, 2000, from);
        let (seen, memory) = beside(&daemon, &mut crowd, 200, Duration::from_millis(100));
        let told = format!("{}; they connected {} times", in_words(memory), crowd.connected);
        let attack = format!("520 pipelining slow readers of a page of 50 kB, from {whence}");
        seen.told(&attack, &told);
        assert!(seen.failures.is_empty(), "{:?}", seen.failures);
        assert_given_back(memory);
        assert!(seen.worst() < 4000.0, "{} ms", seen.worst());
    }
}

/// Of them there are more than places, and each has always asked for more.
#[test]
#[ignore = "needs root: cargo test --features full --test system_clients -- --ignored"]
fn a_crowd_that_always_asks_holds_up_no_newcomer() {
    harness::needs(NEEDS);
    let daemon = start(LOADAVG);
    let asked = request("GET", "/metrics", &[]).repeat(3);
    let mut crowd = Crowd::new(daemon.address(), 600, asked.as_bytes());
    (crowd.pipelines, crowd.keeps_up, crowd.takes, crowd.from) = (true, true, 64 << 10, 2);
    let (seen, memory) = beside(&daemon, &mut crowd, 40, Duration::ZERO);
    let told = format!("{}; they connected {} times", in_words(memory), crowd.connected);
    seen.told("600 clients that always ask, for 512 places", &told);
    assert!(seen.failures.is_empty(), "{:?}", seen.failures);
    assert!(seen.worst() < 8000.0, "{} ms", seen.worst());
}

/// Raises this process's limit of open files, and by inheritance the daemon's, as far as it may be.
fn raise_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

#[test]
#[ignore = "needs root: cargo test --features full --test system_clients -- --ignored"]
fn ten_thousand_idle_connections_cost_no_scrape() {
    harness::needs(NEEDS);
    // The daemon gives half of its own to connections.
    let count = (raise_limit() / 2).saturating_sub(300).min(10_000) as usize;
    for (allowed, config) in [(512, ""), (12_000, "[server]\nmax_connections = 12000\n")] {
        let daemon = start(&format!("{LOADAVG}{config}"));
        until("it is warm", || daemon.metrics().has("node_load1"));
        let before = resident(&daemon);
        let mut crowd = Crowd::new(daemon.address(), count, b"");
        crowd
            .clients
            .iter_mut()
            .for_each(|client| *client = reluctant(crowd.address, crowd.from).ok());
        assert_eq!(crowd.open(), count);
        until("they are accepted", || {
            let accepted = daemon.metrics().value("vitald_http_connections_accepted_total");
            accepted > Some(count as f64)
        });
        let seen = scrape(daemon.address(), 200);
        let during = resident(&daemon);
        crowd.clients.clear();
        until("they have gone", || daemon.metrics().value("vitald_http_connections") == Some(1.0));
        until("their memory has been given back", || resident(&daemon) < before + 4096);
        let memory = [before, during, resident(&daemon)];
        let attack = format!("{count} idle connections, of which {allowed} may be open");
        seen.told(&attack, &in_words(memory));
        assert!(seen.failures.is_empty(), "{:?}", seen.failures);
        assert!(seen.worst() < 1000.0, "{} ms", seen.worst());
        assert!(seen.lost <= 1, "the kept connection was lost {} times", seen.lost);
    }
}

/// A control group with a limit of memory, of the version that has the controller here.
struct Group(PathBuf);

impl Group {
    fn of(bytes: u64) -> Group {
        let name = format!("vitald-clients-{}", std::process::id());
        let unified = std::fs::read_to_string("/sys/fs/cgroup/cgroup.controllers");
        let has_memory =
            unified.is_ok_and(|names| names.split_whitespace().any(|name| name == "memory"));
        let (place, file) = if has_memory {
            let _ = std::fs::write("/sys/fs/cgroup/cgroup.subtree_control", "+memory");
            ("/sys/fs/cgroup", "memory.max")
        } else {
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
        };
        let group = Group(Path::new(place).join(name));
        std::fs::create_dir(&group.0).expect("root may make a control group");
        std::fs::write(group.0.join(file), bytes.to_string()).expect("a limit");
        group
    }

    /// How many processes were killed in it.
    fn kills(&self) -> u64 {
        let texts = ["memory.events", "memory.oom_control"]
            .map(|file| std::fs::read_to_string(self.0.join(file)).unwrap_or_default());
        let line = texts
            .iter()
            .flat_map(|text| text.lines())
            .find_map(|line| line.strip_prefix("oom_kill "));
        line.and_then(|count| count.trim().parse().ok()).expect("the kernel counts them")
    }

    /// The most that was charged to it, in bytes.
    fn peak(&self) -> u64 {
        ["memory.peak", "memory.max_usage_in_bytes"]
            .iter()
            .find_map(|file| std::fs::read_to_string(self.0.join(file)).ok()?.trim().parse().ok())
            .unwrap_or(0)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Empty as soon as the daemon has ended.
        let limit = Instant::now() + Duration::from_secs(10);
        while std::fs::remove_dir(&self.0).is_err() && Instant::now() < limit {
            std::thread::yield_now();
        }
    }
}

fn start_in(group: &Group, config: &str) -> Daemon {
    Daemon::start_by(config, |command| {
        let mut inside = Command::new("sh");
        let procs = group.0.join("cgroup.procs");
        inside.arg("-c").arg(format!("echo $$ >{} && exec \"$0\" \"$@\"", procs.display()));
        inside.arg(binary()).args(command.get_args());
        *command = inside;
    })
}

#[test]
#[ignore = "needs root: cargo test --features full --test system_clients -- --ignored"]
fn long_heads_do_not_fill_a_small_control_group() {
    harness::needs(NEEDS);
    let asked = request("GET", "/metrics", &[]);
    let head = |length| format!("{}\r\nX: {}", asked.trim_end(), "x".repeat(length)).into_bytes();
    let whole = [head(30_000), b"\r\n\r\n".to_vec()].concat();
    for (attack, request, pipelines) in [
        ("500 unfinished heads of 12 kB in 16 MiB", head(12_000), false),
        ("500 that send whole heads of 30 kB again and again, in 16 MiB", whole, true),
    ] {
        let group = Group::of(16 << 20);
        let daemon = start_in(&group, "");
        let mut crowd = Crowd::new(daemon.address(), 500, &request);
        (crowd.pipelines, crowd.takes) = (pipelines, if pipelines { 64 << 10 } else { 0 });
        let (seen, memory) = beside(&daemon, &mut crowd, 100, Duration::from_millis(20));
        let peak = group.peak() >> 10;
        let memory = format!(
            "{}, at most {peak} KiB charged; they connected {} times",
            in_words(memory),
            crowd.connected
        );
        seen.told(attack, &memory);
        assert_eq!(group.kills(), 0, "{attack}");
        assert!(seen.failures.is_empty(), "{attack}: {:?}", seen.failures);
        assert!(seen.worst() < 8000.0, "{attack}: {} ms", seen.worst());
    }
}

#[test]
#[ignore = "needs root: cargo test --features full --test system_clients -- --ignored"]
fn clients_that_ask_and_read_nothing_cost_no_scrape_in_a_small_control_group() {
    harness::needs(NEEDS);
    let asked = request("GET", "/metrics", &[]);
    let group = Group::of(16 << 20);
    let daemon = start_in(&group, "");
    let mut crowd = Crowd::new(daemon.address(), 500, asked.as_bytes());
    crowd.pipelines = true;
    let (seen, memory) = beside(&daemon, &mut crowd, 100, Duration::from_millis(20));
    let told = format!(
        "{}, at most {} KiB charged; they connected {} times",
        in_words(memory),
        group.peak() >> 10,
        crowd.connected
    );
    seen.told("500 pipelining clients that read nothing, in 16 MiB", &told);
    assert_eq!(group.kills(), 0);
    assert!(seen.failures.is_empty(), "{:?}", seen.failures);
    assert!(seen.worst() < 8000.0, "{} ms", seen.worst());
    assert_given_back(memory);
}

/// What a unix socket's reader has not taken stays in the kernel, and is charged to the daemon until the reader closes.
#[test]
#[ignore = "needs root: cargo test --features full --test system_clients -- --ignored"]
fn readers_of_unix_sockets_do_not_fill_a_small_control_group() {
    harness::needs(NEEDS);
    let group = Group::of(16 << 20);
    let directory = tempfile::tempdir().expect("a directory");
    let socket = directory.path().join("socket");
    let listen = format!("[server]\nlisten = [\"127.0.0.1:0\", \"unix:{}\"]\n", socket.display());
    let daemon = start_in(&group, &listen);
    let asked = request("GET", "/metrics", &[]).repeat(30);
    let (mut crowd, mut closed) = (Vec::new(), 0);
    // They come faster than those before them are closed, and none of them goes.
    for round in 0..600 {
        let mut client = UnixStream::connect(&socket).expect("it listens");
        match client.write_all(asked.as_bytes()) {
            Ok(()) => crowd.push(client),
            Err(_) => closed += 1,
        }
        if round % 20 == 0 {
            assert_eq!(daemon.get("/metrics").status, 200, "round {round}");
        }
    }
    let peak = group.peak() >> 10;
    println!(
        "figure: {} readers of a unix socket that read nothing, in 16 MiB: at most {peak} KiB charged, {closed} refused",
        crowd.len()
    );
    assert_eq!(group.kills(), 0);
    until("who comes next is refused", || {
        daemon.metrics().value("vitald_http_connections_evicted_total") > Some(0.0)
    });
    drop(crowd);
    until("there is room again", || {
        let mut client = UnixStream::connect(&socket).expect("it listens");
        let _ = client.write_all(request("GET", "/healthz", &[]).as_bytes());
        let mut answer = [0; 12];
        client.read_exact(&mut answer).is_ok_and(|()| answer.ends_with(b"200"))
    });
}

#[test]
#[ignore = "needs root: cargo test --features full --test system_clients -- --ignored"]
fn what_a_small_control_group_lowers_is_reported_once() {
    harness::needs(NEEDS);
    let group = Group::of(16 << 20);
    let daemon = start_in(&group, LOADAVG);
    let log = daemon.log();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("limits are lower")).collect();
    assert_eq!(lines.len(), 1, "{log}");
    assert!(lines[0].contains("memory_limit_bytes=16777216"), "{}", lines[0]);
    assert!(lines[0].contains("server.max_connections 128 instead of 512"), "{}", lines[0]);
    let told = daemon.get("/plugins").json();
    assert_eq!(told["memory_limit_bytes"], 16 << 20);
    let connections = serde_json::json!({
        "limit": "server.max_connections", "value": 128, "instead_of": 512, "scarce": "memory"
    });
    assert_eq!(told["lowered_limits"][0], connections, "{told}");
    assert!(daemon.get("/").body.contains("server.max_connections 128 instead of 512"));
    // The limits that are reported are those in force.
    let mut crowd = Crowd::new(daemon.address(), 300, b"");
    crowd.clients.iter_mut().for_each(|client| *client = reluctant(crowd.address, crowd.from).ok());
    until("they are there", || {
        daemon.metrics().value("vitald_http_connections_accepted_total") > Some(300.0)
    });
    let open = daemon.metrics().value("vitald_http_connections");
    assert!(open.is_some_and(|open| open <= 128.0), "{open:?}");
}

#[test]
#[ignore = "needs root: cargo test --features full --test system_clients -- --ignored"]
fn without_descriptors_honest_scrapes_go_on_and_new_ones_get_in() {
    harness::needs(NEEDS);
    let daemon = start(LOADAVG);
    let mut kept = Connection::open(daemon.address());
    assert!(kept.get("/metrics").has("node_load1"));
    let mut crowd = Crowd::new(daemon.address(), 50, b"");
    crowd.clients.iter_mut().for_each(|client| *client = reluctant(crowd.address, crowd.from).ok());
    until("they are there", || kept.get("/metrics").value("vitald_http_connections") == Some(51.0));
    let pid = Pid::from_raw(i32::try_from(daemon.pid()).expect("a pid")).expect("a pid");
    let limit = getrlimit(Resource::Nofile);
    // A few are left, so that nobody who connects has to wait for one.
    let most = daemon.descriptors() as u64 + 8;
    prlimit(Some(pid), Resource::Nofile, Rlimit { current: Some(most), ..limit })
        .expect("a limit of our own child");
    let before = daemon.cpu_time();
    let seen = scrape(daemon.address(), 100);
    let busy = daemon.cpu_time() - before;
    seen.told("few descriptors left", &format!("{busy:?} of CPU time"));
    assert!(seen.failures.is_empty(), "{:?}", seen.failures);
    assert!(seen.lost == 0 && kept.get("/metrics").has("node_load1"));
    // Others gave theirs up before any was lacking.
    let errors = || daemon.metrics().value("vitald_http_accept_errors_total");
    assert_eq!(errors(), Some(0.0));

    // Not even one is left: who comes waits until there is.
    prlimit(Some(pid), Resource::Nofile, Rlimit { current: Some(1), ..limit })
        .expect("a limit of our own child");
    let mut late = Connection::open(daemon.address());
    let told = || daemon.log().matches("cannot accept connections").count();
    until("the log says so", || told() > 0);
    prlimit(Some(pid), Resource::Nofile, limit).expect("a limit of our own child");
    assert!(late.get("/metrics").has("node_load1"));
    assert!(errors() >= Some(1.0) && told() == 1, "{:?} {}", errors(), daemon.log());
}

/// What the bounds on the kernel's buffers cost an honest scrape of a long page.
#[test]
#[ignore = "needs root and strace: cargo test --features full --test system_clients -- --ignored"]
fn a_page_of_a_megabyte_takes_few_system_calls() {
    harness::needs("root and strace");
    const SCRAPES: usize = 50;
    let calls = |count| {
        let (_directory, table) = samples(count);
        let daemon = start(&table);
        let mut client = system::client::Client::connect(daemon.address());
        let bytes = client.page().len();
        (0..20).for_each(|_| drop(client.page()));
        let (calls, _) = system::trace::system_calls(daemon.pid(), || {
            (0..SCRAPES).for_each(|_| drop(client.page()));
        });
        let sum = calls.values().sum::<u64>() as f64 / SCRAPES as f64;
        println!("figure: a page of {bytes} bytes: {sum} system calls; {calls:?}");
        sum
    };
    let (short, long) = (calls(100), calls(12_000));
    assert!(short > 2.0, "strace saw too little");
    assert!(long < short + 60.0, "{short} and {long} system calls");
}
