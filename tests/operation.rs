//! Faults of operation, as far as they can be caused without root: signals at any time, standard streams that
//! are closed or stopped, no descriptors, and what is left in memory afterwards.

mod harness;

use harness::{Connection, Daemon, Running, request, until};
use rustix::net::{AddressFamily, SocketType, sockopt};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, prlimit};
use rustix::termios::{Action, tcflow};
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The cheapest collector alone.
const LOADAVG: &str =
    "[scrape]\ndefault_collectors = false\n[collectors.loadavg]\nenabled = true\n";
const CONSOLE: &str = "[outputs.console]\nenabled = true\ninterval = \"1s\"\n";
/// How long requests under way may take to end after the first signal to stop.
const GRACE_PERIOD: Duration = Duration::from_secs(5);
/// For how long after it another one means the same.
const SAME_STOP: Duration = Duration::from_secs(1);

fn with(more: &str) -> String {
    format!("{LOADAVG}{more}")
}

/// Writes files of samples, which come to a page of so many, and the table that has them read.
fn textfiles(directory: &Path, samples: usize) -> String {
    let line =
        |number: usize| format!("big_page{{number=\"{number}\",p=\"{}\"}} 1\n", "x".repeat(100));
    let text: String = (0..samples).map(line).collect();
    std::fs::write(directory.join("big.prom"), text).expect("a file");
    format!("[collectors.textfile]\nenabled = true\ndirectory = [{directory:?}]\n")
}

/// A connection whose kernel takes little that its reader has not read.
fn reluctant(address: SocketAddr) -> Connection<TcpStream> {
    let socket =
        rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    sockopt::set_socket_recv_buffer_size(&socket, 4096).expect("a small buffer");
    rustix::net::connect(&socket, &address).expect("it listens");
    Connection::of(socket.into())
}

/// A change to the command of a daemon: it is started by a shell, with these redirections.
fn redirected(command: &mut Command, redirections: &str) {
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(format!("exec \"$0\" \"$@\" {redirections}"));
    shell.arg(command.get_program()).args(command.get_args());
    *command = shell;
}

// Signals.

/// A client that holds up the end of a daemon, as long as it may.
fn hold_up(daemon: &Daemon) -> Connection<TcpStream> {
    let mut reader = reluctant(daemon.address());
    reader.send(request("GET", "/metrics", &[]));
    reader.head().expect("the head of a page");
    reader
}

#[test]
fn told_to_stop_once_more_it_ends_at_once() {
    let place = tempfile::tempdir().expect("a directory");
    let socket = place.path().join("socket");
    let doors = format!("[server]\nlisten = [\"127.0.0.1:0\", \"unix:{}\"]\n", socket.display());
    let config = with(&format!("{}{doors}", textfiles(place.path(), 25_000)));
    for second in ["TERM", "INT"] {
        let mut daemon = Daemon::start(&config);
        let _reader = hold_up(&daemon);
        let began = Instant::now();
        daemon.signal("TERM");
        daemon.wait_for_log("msg=stopping");
        // Who does not want to wait sends it again and again.
        until("it ends", || {
            if daemon.try_wait().is_none() {
                daemon.signal(second);
            }
            daemon.try_wait().is_some()
        });
        let took = began.elapsed();
        assert!(daemon.wait().success());
        assert!(took >= SAME_STOP, "{second}: {took:?}");
        daemon.wait_for_log("told to stop once more");
        // It is not that the time for its clients was over.
        assert!(!daemon.log().contains("cut connections"), "{}", daemon.log());
        assert!(!socket.exists());
    }
}

/// `timeout` sends the signal to its child and then to its group, in which the child is, too.
#[test]
fn told_twice_by_timeout_it_ends_in_peace() {
    let place = tempfile::tempdir().expect("a directory");
    let config = with(&textfiles(place.path(), 25_000));
    // On a machine that has much to do it may come too late to mean the same.
    until("the signals come at once", || told_twice(&config) < SAME_STOP);
}

/// How far the signals were apart, if they were so little apart that they mean the same.
fn told_twice(config: &str) -> Duration {
    let mut daemon = Daemon::start_by(config, |command| {
        let mut timeout = Command::new("timeout");
        timeout.args(["--preserve-status", "600"]);
        timeout.arg(command.get_program()).args(command.get_args());
        *command = timeout;
    });
    let group = Group(Pid::from_raw(daemon.pid().cast_signed()).expect("a group"));
    let mut client = hold_up(&daemon);
    let began = Instant::now();
    // It does as if its time were over.
    daemon.signal("TERM");
    daemon.wait_for_log("msg=stopping");
    // Once more, when it is sure that the first ones have been taken.
    group.send(Signal::TERM);
    let apart = began.elapsed();
    let page = client.end();
    let status = daemon.wait();
    if apart < SAME_STOP {
        assert!(page.ends_with(b"\n") && page.len() > 2_000_000, "{} bytes", page.len());
        assert!(!daemon.log().contains("told to stop once more"), "{}", daemon.log());
    }
    assert_eq!(status.code(), Some(0), "{}", daemon.log());
    apart
}

/// The process group of `timeout`, which has its number. It ends with a test that fails.
struct Group(Pid);

impl Group {
    fn send(&self, signal: Signal) {
        rustix::process::kill_process_group(self.0, signal).expect("a group");
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = rustix::process::kill_process_group(self.0, Signal::KILL);
        }
    }
}

/// Whatever refuses the start does so when the first socket has been bound, or signals end it.
#[test]
fn a_start_that_fails_leaves_no_socket() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = taken.local_addr().expect("an address");
    for round in 0..40 {
        let place = tempfile::tempdir().expect("a directory");
        let [file, socket, other] =
            ["config.toml", "socket", "other"].map(|name| place.path().join(name));
        let second = match round % 2 {
            0 => taken.to_string(),
            _ => format!("unix:{}/none/socket", place.path().display()),
        };
        let listen = format!(
            "[server]\nlisten = [\"unix:{}\", \"unix:{}\", \"{second}\"]\n",
            socket.display(),
            other.display()
        );
        std::fs::write(&file, with(&listen)).expect("a file");
        let mut command = Command::new(harness::binary());
        let (status, _, said) = harness::output(command.arg("run").arg("--config").arg(&file));
        assert_eq!(status, 71, "{said}");
        assert!(said.contains("cannot listen on"), "{said}");
        assert!(!socket.exists() && !other.exists(), "{round}: {said}");
    }
}

#[test]
fn a_start_that_has_to_stop_leaves_no_socket() {
    for round in 0..40 {
        let place = tempfile::tempdir().expect("a directory");
        let [file, socket] = ["config.toml", "socket"].map(|name| place.path().join(name));
        std::fs::write(
            &file,
            with(&format!("[server]\nlisten = [\"unix:{}\"]\n", socket.display())),
        )
        .expect("a file");
        let mut command = Command::new(harness::binary());
        command.arg("run").arg("--config").arg(&file).stdin(Stdio::null()).stderr(Stdio::null());
        let mut child = Running(command.spawn().expect("the daemon starts"));
        until("it has bound the socket", || socket.exists());
        let pid = Pid::from_child(&child.0);
        for _ in 0..=round % 2 {
            rustix::process::kill_process(pid, Signal::TERM).expect("a child");
        }
        let status = child.0.wait().expect("a child");
        assert!(status.success() && !socket.exists(), "{round}: {status}");
    }
}

/// Signals that end it as they end any program, SIGQUIT and SIGABRT with a core, leave the file of its socket.
#[test]
fn what_a_signal_without_an_answer_leaves_is_replaced_by_the_next_start() {
    let place = tempfile::tempdir().expect("a directory");
    let socket = place.path().join("socket");
    let doors = format!("[server]\nlisten = [\"127.0.0.1:0\", \"unix:{}\"]\n", socket.display());
    for (name, signal) in [("QUIT", Signal::QUIT), ("ABRT", Signal::ABORT), ("KILL", Signal::KILL)]
    {
        let mut daemon = Daemon::start_by(&with(&doors), |command| {
            let mut without_core = Command::new("sh");
            without_core.args(["-c", "ulimit -c 0; exec \"$0\" \"$@\""]);
            without_core.arg(command.get_program()).args(command.get_args());
            *command = without_core;
        });
        // Of the one before there is nothing in the way.
        assert!(Connection::open_unix(&socket).get("/metrics").has("node_load1"));
        // A shell that starts a job in the background has it ignore SIGQUIT, and who inherits that does so, too.
        let signal = if ignores(&daemon, signal) { Signal::KILL } else { signal };
        let name = if signal == Signal::KILL { "KILL" } else { name };
        daemon.signal(name);
        assert_eq!(daemon.wait().signal(), Some(signal.as_raw()), "{}", daemon.log());
        let refused = UnixStream::connect(&socket).expect_err("nobody has it");
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    }
    let mut daemon = Daemon::start(&with(&doors));
    assert!(Connection::open_unix(&socket).get("/metrics").has("node_load1"));
    daemon.signal("TERM");
    assert!(daemon.wait().success() && !socket.exists());
}

fn ignores(daemon: &Daemon, signal: Signal) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid()));
    let status = status.expect("a process");
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:\t"));
    let ignored = u64::from_str_radix(ignored.expect("such a line"), 16).expect("a number");
    ignored & 1 << (signal.as_raw() - 1) != 0
}

/// Half of the clients are known to it, half are in its backlog or have just been accepted.
#[test]
fn what_was_asked_before_the_signal_is_answered_whole() {
    let mut answered = 0;
    for round in 0..10 {
        let mut daemon = Daemon::start(LOADAVG);
        let address = daemon.address();
        let mut clients: Vec<_> = (0..40).map(|_| Connection::open(address)).collect();
        for client in &mut clients[..20] {
            assert_eq!(client.get("/metrics").status, 200);
        }
        clients.iter_mut().for_each(|client| client.send(request("GET", "/metrics", &[])));
        daemon.signal("TERM");
        for (number, client) in clients.iter_mut().enumerate() {
            let answer = client.answer();
            let answer = answer.unwrap_or_else(|error| panic!("{round}, {number}: {error}"));
            assert!(answer.status == 200 && answer.has("node_load1"), "{}", answer.body);
            assert!(client.end().is_empty());
            answered += 1;
        }
        assert!(daemon.wait().success());
    }
    println!("{answered} requests that were sent before SIGTERM, all answered");
}

#[test]
fn an_answer_under_way_says_that_the_connection_ends() {
    // A collector waits for this server, and the page for the collector.
    let server = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = server.local_addr().expect("an address").port();
    let supervisord = format!(
        "[collectors.supervisord]\nenabled = true\nurl = \"http://localhost:{port}/RPC2\"\n"
    );
    // No page is to share a collection with another one.
    let each = LOADAVG.replace("[scrape]\n", "[scrape]\nmax_age = \"0s\"\n");
    server.set_nonblocking(true).expect("a socket");
    let asked = || {
        let mut asked = None;
        until("the collector asks", || {
            asked = server.accept().ok();
            asked.is_some()
        });
        asked
    };
    let mut daemon = Daemon::start(&format!("{each}{supervisord}"));
    // The collection of the start.
    drop(asked());
    until("the first collection has ended", || daemon.get("/readyz").status == 200);
    let mut client = Connection::open(daemon.address());
    client.send(request("GET", "/metrics", &[]));
    let asked = asked();
    daemon.signal("TERM");
    until("no connection is taken", || TcpStream::connect(daemon.address()).is_err());
    drop(asked);
    let answer = client.answer().expect("an answer");
    assert!(answer.status == 200 && answer.has("node_load1"), "{}", answer.body);
    assert_eq!(answer.header("connection"), "close");
    assert!(client.end().is_empty());
    assert!(daemon.wait().success());
}

#[test]
fn hangups_and_reloads_at_the_end_do_not_hold_it_up() {
    for round in 0..20 {
        let mut daemon = Daemon::start(LOADAVG);
        let pid = Pid::from_raw(daemon.pid().cast_signed()).expect("a pid");
        let send = |signal| rustix::process::kill_process(pid, signal).is_ok();
        let mut client = Connection::open(daemon.address());
        if round % 2 == 0 {
            client.send(request("PUT", "/plugins/reload", &[]));
        }
        for _ in 0..round {
            send(Signal::HUP);
        }
        assert!(send(Signal::TERM));
        for _ in 0..round {
            send(Signal::HUP);
        }
        if round % 2 == 0 {
            let answer = client.answer().expect("an answer");
            assert!(matches!(answer.status, 200 | 409 | 503), "{round}: {}", answer.body);
        }
        let began = Instant::now();
        assert!(daemon.wait().success(), "{round}: {}", daemon.log());
        assert!(began.elapsed() < GRACE_PERIOD, "{round}: {:?}", began.elapsed());
        assert!(!daemon.log().contains("panic"), "{}", daemon.log());
    }
}

#[test]
fn reloads_of_several_clients_at_once_are_made_or_refused() {
    let daemon = Daemon::start(LOADAVG);
    let (address, until) = (daemon.address(), Instant::now() + Duration::from_secs(1));
    let [made, refused, scrapes] = [(); 3].map(|()| AtomicU64::new(0));
    std::thread::scope(|scope| {
        for client in 0..6 {
            let (made, refused, scrapes) = (&made, &refused, &scrapes);
            scope.spawn(move || {
                let mut connection = Connection::open(address);
                while Instant::now() < until {
                    if client % 2 == 0 {
                        assert!(connection.get("/metrics").has("node_load1"));
                        scrapes.fetch_add(1, Ordering::Relaxed);
                        continue;
                    }
                    let answer = connection.ask("PUT", "/plugins/reload", &[]);
                    match answer.status {
                        200 => made.fetch_add(1, Ordering::Relaxed),
                        409 => refused.fetch_add(1, Ordering::Relaxed),
                        _ => panic!("{}: {}", answer.status, answer.body),
                    };
                }
            });
        }
        for round in 0..100 {
            daemon.replace_config(&if round % 2 == 0 { with("") } else { with("# again\n") });
        }
    });
    println!("{made:?} reloads, {refused:?} refused, {scrapes:?} scrapes");
    assert!(made.into_inner() > 0 && scrapes.into_inner() > 0);
}

// Standard streams.

#[test]
fn without_standard_streams_no_descriptor_takes_their_place() {
    for closed in ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"] {
        let directory = tempfile::tempdir().expect("a directory");
        let socket = directory.path().join("socket");
        let file = directory.path().join("config.toml");
        let listen = format!("[server]\nlisten = [\"unix:{}\"]\n", socket.display());
        std::fs::write(&file, with(&format!("{listen}{CONSOLE}"))).expect("a file");
        let mut command = Command::new(harness::binary());
        command.arg("run").arg("--config").arg(&file);
        redirected(&mut command, closed);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let up = socket.clone();
        let mut daemon =
            Daemon::spawn_unheard(command, directory, move || UnixStream::connect(&up).is_ok());
        let sent = |connection: &mut Connection<_>| {
            connection.get("/plugins/console").json()["sent"].as_u64()
        };
        let mut connection = Connection::open_unix(&socket);
        until("the console has written", || sent(&mut connection) >= Some(1));
        std::fs::write(&file, "nonsense").expect("a file");
        assert_eq!(connection.ask("PUT", "/plugins/reload", &[]).status, 422);
        for number in 0..3 {
            let target = std::fs::read_link(format!("/proc/{}/fd/{number}", daemon.pid()));
            assert_eq!(target.expect("it is open"), Path::new("/dev/null"), "{closed}");
        }
        // Nothing of the log or the console has gone to a client.
        assert!(connection.get("/metrics").has("node_load1"));
        daemon.signal("TERM");
        assert!(daemon.wait().success());
    }
}

#[test]
fn a_terminal_that_is_stopped_stops_nothing() {
    let terminal = nix::pty::openpty(None, None).expect("a terminal");
    // What other tests start meanwhile is not to have it.
    for end in [&terminal.master, &terminal.slave] {
        rustix::io::fcntl_setfd(end, rustix::io::FdFlags::CLOEXEC).expect("a descriptor");
    }
    let copy = || terminal.slave.try_clone().expect("a descriptor");
    let directory = tempfile::tempdir().expect("a directory");
    let socket = directory.path().join("socket");
    let file = directory.path().join("config.toml");
    let config = with(&format!("[server]\nlisten = [\"unix:{}\"]\n{CONSOLE}", socket.display()));
    std::fs::write(&file, &config).expect("a file");
    // As ctrl-S does.
    tcflow(&terminal.slave, Action::OOff).expect("a terminal");
    let mut command = Command::new(harness::binary());
    command.arg("run").arg("--config").arg(&file).stdout(copy()).stderr(copy());
    let up = socket.clone();
    let mut daemon =
        Daemon::spawn_unheard(command, directory, move || UnixStream::connect(&up).is_ok());
    let mut connection = Connection::open_unix(&socket);
    let mut reload = |text: &str| {
        std::fs::write(&file, text).expect("a file");
        assert!(connection.get("/metrics").has("node_load1"));
        connection.ask("PUT", "/plugins/reload", &[])
    };
    let without = config.replace(CONSOLE, "");
    until("the console waits, and does not end", || {
        let _ = reload(&config);
        reload(&without).status == 500
    });
    let threads = daemon.threads();
    for _ in 0..2 {
        (0..20).for_each(|_| assert_eq!(reload("nonsense").status, 422));
        // It says so as long as it hangs.
        assert_eq!(reload(&without).status, 500);
    }
    daemon.has_no_more_threads_than(threads);
    daemon.signal("TERM");
    assert!(daemon.wait().success());
    assert!(!socket.exists());
}

// No descriptors.

#[test]
fn a_reload_without_descriptors_is_refused_and_leaves_nothing() {
    let daemon = Daemon::start(LOADAVG);
    until("the first collection has ended", || daemon.get("/readyz").status == 200);
    let mut connection = Connection::open(daemon.address());
    assert_eq!(connection.ask("PUT", "/plugins/reload", &[]).status, 200);
    let pid = Pid::from_raw(daemon.pid().cast_signed()).expect("a pid");
    let limit = getrlimit(Resource::Nofile);
    let (threads, open) = (daemon.threads(), daemon.descriptors() as u64);
    let more = with("[server]\nlisten = [\"127.0.0.1:0\", \"127.0.0.2:0\", \"127.0.0.3:0\"]\n");
    daemon.replace_config(&more);
    // From the first that cannot be opened to the last.
    for few in open - 2..=open {
        let few = Rlimit { current: Some(few), ..limit };
        prlimit(Some(pid), Resource::Nofile, few).expect("a limit of our own child");
        let answer = connection.ask("PUT", "/plugins/reload", &[]);
        assert_eq!(answer.status, 422, "{few:?}: {}", answer.body);
        let told = answer.json()["mistakes"][0]["message"].to_string();
        assert!(told.contains("open file"), "{few:?}: {told}");
        assert!(connection.get("/metrics").has("node_load1"), "{few:?}");
    }
    prlimit(Some(pid), Resource::Nofile, limit).expect("a limit of our own child");
    daemon.has_no_more_threads_than(threads);
    assert_eq!(daemon.descriptors() as u64, open);
    let answer = connection.ask("PUT", "/plugins/reload", &[]);
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(daemon.addresses(3).len(), 3);
}

// What is left afterwards.

#[test]
fn memory_of_a_long_page_is_given_back() {
    let place = tempfile::tempdir().expect("a directory");
    let mut daemon = Daemon::start(&with(&textfiles(place.path(), 10)));
    let forms: [&[(&str, &str)]; 2] = [&[], &[("Accept-Encoding", "gzip")]];
    let page = |daemon: &Daemon, form: usize| {
        let answer = daemon.ask("GET", "/metrics", forms[form % 2]);
        assert_eq!(answer.status, 200);
        answer.bytes.len()
    };
    for round in 0..150 {
        page(&daemon, round);
    }
    let before = daemon.status("VmRSS");
    textfiles(place.path(), 25_000);
    until("the file is read", || page(&daemon, 0) > 2_000_000);
    for round in 0..4 {
        page(&daemon, round);
    }
    let burst = daemon.status("VmRSS");
    textfiles(place.path(), 10);
    until("the file is read", || page(&daemon, 0) < 1_000_000);
    for round in 0..150 {
        page(&daemon, round);
    }
    // The writer is given back by a thread of its own.
    let most = before + (before / 4).max(4 << 10);
    let limit = Instant::now() + GRACE_PERIOD;
    let mut after = daemon.status("VmRSS");
    while after > most && Instant::now() < limit {
        page(&daemon, 0);
        after = daemon.status("VmRSS");
    }
    println!("figure: KiB resident before {before}, with long pages {burst}, afterwards {after}");
    assert!(burst > before + (8 << 10), "it was no burst: {before} -> {burst}");
    assert!(after <= most, "{before} -> {burst} -> {after}");
    daemon.signal("TERM");
    assert!(daemon.wait().success());
}

#[test]
fn five_hundred_changed_reloads_and_two_thousand_scrapes_leave_nothing() {
    let daemon = Daemon::start(LOADAVG);
    let mut connection = Connection::open(daemon.address());
    let mut rounds = |count: usize| {
        for round in 0..count {
            let interval = if round % 2 == 0 { "[collectors.uname]\nenabled = true\n" } else { "" };
            daemon.replace_config(&with(interval));
            let answer = connection.ask("PUT", "/plugins/reload", &[]);
            assert_eq!(answer.status, 200, "{}", answer.body);
            for _ in 0..4 {
                assert!(connection.get("/metrics").has("node_load1"));
            }
        }
        (daemon.threads(), daemon.descriptors(), daemon.status("VmRSS"))
    };
    let before = rounds(60);
    let after = rounds(500);
    println!("figure: threads, descriptors, KiB after 60 reloads {before:?}, 500 later {after:?}");
    daemon.has_no_more_threads_than(before.0);
    assert_eq!(before.1, after.1);
    assert!(after.2 <= before.2 + (1 << 10), "{before:?} {after:?}");
}
