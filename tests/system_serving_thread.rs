//! The threads that serve: whatever is asked of the daemon, such a thread touches files only while the watch looks
//! after it, because a file system may hang: then another thread goes on. strace(1) watches their system calls.

mod harness;
mod system;

use harness::{Connection, Daemon, until};
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use system::fuse::{Fuse, operation};
use system::namespaces::Namespaces;
use system::process;

const NEEDS: &str = "root and strace";
const NEEDS_FUSE: &str = "root, /dev/fuse and util-linux";
/// Everything that takes a path or a descriptor, and what starts threads; sockets show that the right thread is watched.
const CALLS: &str = "trace=%file,%desc,bind,connect,accept4,clone,clone3";

/// strace, attached to all threads.
struct Watch {
    strace: Child,
    /// Where the traces are, one a thread.
    directory: PathBuf,
    threads: BTreeMap<PathBuf, Trace>,
}

/// What one thread has done.
#[derive(Default)]
struct Trace {
    /// How much of the trace has been looked at.
    seen: usize,
    /// It has driven the runtime.
    has_served: bool,
    has_accepted: bool,
    /// The watch looks after it: the alarm is set.
    is_watched: bool,
    /// How often it has touched a file meanwhile.
    watched_accesses: usize,
    /// And the rest, of which a thread that serves has nothing.
    accesses: Vec<String>,
    /// The files that it has opened, of whatever thread.
    opened: Vec<String>,
    /// How many threads it has started.
    started: usize,
}

impl Trace {
    fn take(&mut self, line: &str, during: &str) {
        self.has_served |= line.starts_with("epoll_wait(");
        self.has_accepted |= line.starts_with("accept4(");
        self.started += usize::from(line.starts_with("clone"));
        if line.starts_with("open") {
            self.opened.push(line.to_owned());
        }
        if line.starts_with("timerfd_settime(") {
            let new = line.split_once("it_value=").map_or("", |(_, new)| new);
            self.is_watched = !new.starts_with("{tv_sec=0, tv_nsec=0}");
        } else if is_file_access(line) {
            match self.is_watched {
                true => self.watched_accesses += 1,
                false => self.accesses.push(format!("{during}: {line}")),
            }
        }
    }
}

impl Watch {
    /// Watches all threads of a process.
    fn attach(process: u32, place: &Path) -> Watch {
        let directory = place.join("traces");
        std::fs::create_dir(&directory).expect("a directory");
        let strace = Command::new("strace")
            .args(["-ff", "-qq", "-yy", "-s", "200", "-e", CALLS, "-e", "signal=none", "-p"])
            .arg(process.to_string())
            .arg("-o")
            .arg(directory.join("trace"))
            .stdin(Stdio::null())
            .spawn()
            .expect("strace starts");
        until("strace is attached", || {
            process::threads(process).into_keys().all(|thread| {
                let status = format!("/proc/{process}/task/{thread}/status");
                let status = std::fs::read_to_string(&status).unwrap_or_default();
                let tracer = status.lines().find_map(|line| line.strip_prefix("TracerPid:"));
                tracer.is_none_or(|tracer| tracer.trim() != "0")
            })
        });
        Watch { strace, directory, threads: BTreeMap::new() }
    }

    /// Takes down what the threads have done with files since the last look.
    fn look(&mut self, during: &str) {
        for entry in std::fs::read_dir(&self.directory).expect("the traces") {
            let path = entry.expect("a trace").path();
            let text =
                String::from_utf8_lossy(&std::fs::read(&path).expect("a trace")).into_owned();
            let trace = self.threads.entry(path).or_default();
            // The last line may not be complete.
            let complete = text.rfind('\n').map_or(0, |end| end + 1);
            for line in text[trace.seen..complete].lines() {
                trace.take(line, during);
            }
            trace.seen = complete;
        }
    }

    /// Those that have served.
    fn serving(&self) -> impl Iterator<Item = &Trace> {
        self.threads.values().filter(|trace| trace.has_served)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.strace.kill();
        let _ = self.strace.wait();
    }
}

/// Whether a line of strace's is a call that reaches a file system.
fn is_file_access(line: &str) -> bool {
    let Some((call, arguments)) = line.split_once('(') else { return false };
    match call {
        // A socket without a name is no file.
        "bind" | "connect" => arguments.contains("sun_path=\""),
        _ => {
            let by_path = ["\"", "AT_FDCWD"].iter().any(|start| arguments.starts_with(start));
            // `17</proc/stat>` but `17<TCP:[127.0.0.1:1->127.0.0.1:2]>`, `3<anon_inode:[eventpoll]>`;
            // what is read and written may hold anything.
            let without_data = arguments.split('"').step_by(2);
            by_path || without_data.into_iter().any(|part| part.contains("</"))
        }
    }
}

#[test]
fn file_accesses_are_recognised() {
    for (line, expected) in [
        ("openat(AT_FDCWD</>, \"/proc/stat\", O_RDONLY|O_CLOEXEC) = 12</proc/stat>", true),
        ("openat(AT_FDCWD, \"/proc/stat\", O_RDONLY|O_CLOEXEC) = 12</proc/stat>", true),
        ("lstat(\"/run/v.sock\", 0x7ffd) = -1 ENOENT (No such file or directory)", true),
        ("pread64(7</proc/1/stat>, \"1\", 4096, 0) = 1", true),
        ("close(7</tmp/token>) = 0", true),
        ("getdents64(7</proc/1/fd>, 0x55 /* 3 entries */, 32768) = 72", true),
        ("bind(7<UNIX-STREAM:[1]>, {sa_family=AF_UNIX, sun_path=\"/run/v\"}, 9) = 0", true),
        ("connect(7<UNIX-STREAM:[1]>, {sa_family=AF_UNIX, sun_path=\"/run/v\"}, 9) = 0", true),
        ("bind(7<TCP:[1]>, {sa_family=AF_INET, sin_port=htons(0)}, 16) = 0", false),
        ("connect(7<UNIX-DGRAM:[1]>, {sa_family=AF_UNIX, sun_path=@\"x\"}, 9) = 0", false),
        ("read(5<anon_inode:[eventfd]>, 0x1, 8) = -1 EAGAIN", false),
        ("epoll_wait(3<anon_inode:[eventpoll]>, [], 1024, 5) = 0", false),
        ("write(2<pipe:[77]>, \"time= /x\", 8) = 8", false),
        ("writev(7<TCP:[1]>, [{iov_base=\"<b>\\r\\n</b>\", iov_len=9}], 1) = 9", false),
        ("mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, 5</lib/x>, 0) = 0x7f", true),
        ("accept4(9<TCP:[127.0.0.1:1]>, NULL, NULL, SOCK_CLOEXEC) = 10<TCP:[1]>", false),
    ] {
        assert_eq!(is_file_access(line), expected, "{line}");
    }
}

#[test]
#[ignore = "needs root and strace: cargo test --features full --test system_serving_thread -- --ignored"]
fn a_thread_that_serves_touches_files_only_while_it_is_watched() {
    harness::needs(NEEDS);
    let place = tempfile::tempdir().expect("a directory");
    let token = place.path().join("token");
    std::fs::write(&token, "secret\n").expect("a file");
    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o600)).expect("chmod");
    // systemd is there and does not read: it takes a few messages and no more.
    let manager = place.path().join("notify");
    let _manager = UnixDatagram::bind(&manager).expect("a socket");
    let daemon = Daemon::start_by("[scrape]\nopenmetrics = true\n", |command| {
        command.env("NOTIFY_SOCKET", &manager);
    });
    until("the first collection has ended", || daemon.get("/readyz").status == 200);
    let mut watch = Watch::attach(daemon.pid(), place.path());
    pages(&daemon, &mut watch);
    reloads(&daemon, &mut watch, place.path(), &token);
    the_end(daemon, &mut watch);

    assert!(
        watch.serving().any(|trace| trace.has_accepted),
        "these are not the threads that serve"
    );
    assert!(watch.serving().any(|trace| trace.watched_accesses > 0), "they do not collect");
    let accesses: Vec<&str> =
        watch.serving().flat_map(|trace| &trace.accesses).map(String::as_str).collect();
    assert!(accesses.is_empty(), "{} accesses:\n{}", accesses.len(), accesses.join("\n"));
}

/// Each request has the file read, so that a token that was taken back is refused at once.
#[test]
#[ignore = "needs root and strace: cargo test --features full --test system_serving_thread -- --ignored"]
fn the_file_of_a_token_is_read_by_one_thread_that_does_not_serve() {
    harness::needs(NEEDS);
    const REQUESTS: usize = 200;
    let place = tempfile::tempdir().expect("a directory");
    let token = place.path().join("token");
    std::fs::write(&token, "secret\n").expect("a file");
    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o600)).expect("chmod");
    let socket = place.path().join("v.sock");
    let daemon = Daemon::start(&format!(
        "[server]\nlisten = [\"127.0.0.1:0\", {{ address = \"unix:{}\", token_file = \"{}\" }}]\n\
         [scrape]\ndefault_collectors = false\n[collectors.loadavg]\nenabled = true\n",
        socket.display(),
        token.display()
    ));
    until("the first collection has ended", || daemon.get("/readyz").status == 200);
    let mut watch = Watch::attach(daemon.pid(), place.path());
    let mut connection = Connection::open_unix(&socket);
    for _ in 0..REQUESTS {
        let answer = connection.ask("GET", "/metrics", &[("Authorization", "Bearer secret")]);
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    watch.look("requests with a token");
    let token = token.to_string_lossy();
    let opened = |trace: &Trace| trace.opened.iter().filter(|line| line.contains(&*token)).count();
    let readers: Vec<usize> =
        watch.threads.values().map(opened).filter(|times| *times > 0).collect();
    assert_eq!(readers.len(), 1, "{readers:?}");
    assert!(readers.iter().sum::<usize>() >= REQUESTS - 1, "{readers:?}");
    assert!(watch.serving().all(|trace| opened(trace) == 0), "one that serves has read it");
    let started: usize = watch.threads.values().map(|trace| trace.started).sum();
    println!("{REQUESTS} requests with a token started {started} threads");
    // The daemon starts a few others, such as the one that gives memory back after the start.
    assert!(started <= 8, "{started} threads");
}

fn pages(daemon: &Daemon, watch: &mut Watch) {
    let openmetrics = ("Accept", "application/openmetrics-text;version=1.0.0");
    let steps: [(&str, &str, &[(&str, &str)], u16); 13] = [
        ("GET", "/metrics", &[], 200),
        ("GET", "/metrics", &[], 200),
        ("HEAD", "/metrics", &[], 200),
        ("GET", "/metrics", &[openmetrics], 200),
        ("GET", "/metrics", &[("Accept-Encoding", "gzip")], 200),
        ("GET", "/metrics?collect[]=cpu&collect[]=filesystem", &[], 200),
        ("GET", "/metrics?exclude[]=cpu", &[], 200),
        ("GET", "/metrics?collect[]=nothing", &[], 400),
        ("GET", "/", &[], 200),
        ("GET", "/plugins", &[], 200),
        ("GET", "/plugins/filesystem", &[], 200),
        ("GET", "/nothing", &[], 404),
        ("GET", "/readyz", &[], 200),
    ];
    for (method, path, headers, status) in steps {
        let answer = daemon.ask(method, path, headers);
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.body);
        watch.look(&format!("{method} {path} {headers:?}"));
    }
    assert_eq!(daemon.get("/healthz").status, 200);
    watch.look("GET /healthz");
}

fn reloads(daemon: &Daemon, watch: &mut Watch, place: &Path, token: &Path) {
    let mut reload = |during: &str, query: &str, config: &str, status: u16| {
        daemon.write_config(config);
        let answer = daemon.ask("PUT", &format!("/plugins/reload{query}"), &[]);
        assert_eq!(answer.status, status, "{during}: {}", answer.body);
        watch.look(during);
    };
    let socket = place.join("v.sock");
    let with_socket = format!(
        "[server]\nlisten = [\"127.0.0.1:0\", {{ address = \"unix:{}\", admin = \"token:{}\" }}]\n",
        socket.display(),
        token.display()
    );
    reload("a reload that changes nothing", "", "[scrape]\nopenmetrics = true\n", 200);
    reload("a reload that is refused", "", "nonsense", 422);
    reload("a dry run", "?dry_run=true", &with_socket, 200);
    reload("a reload that switches off", "", "[collectors.textfile]\nenabled = false\n", 200);
    reload("a reload that adds a unix socket", "", &with_socket, 200);
    let mut over_socket = Connection::open_unix(&socket);
    for (shown, status) in [("Bearer secret", 200), ("Bearer guess", 401)] {
        let headers = [("Authorization", shown)];
        let path = "/plugins/reload?dry_run=true";
        assert_eq!(over_socket.ask("PUT", path, &headers).status, status);
        assert_eq!(over_socket.ask("GET", "/plugins/cpu", &headers).status, 200);
    }
    watch.look("requests with a token");
    std::fs::remove_file(&socket).expect("the socket");
    let mut reload = |during: &str, config: &str| {
        daemon.write_config(config);
        assert_eq!(daemon.reload().status, 200, "{during}");
        watch.look(during);
    };
    reload("a reload after the socket was removed", &with_socket);
    assert!(socket.exists());
    reload("a reload that closes the unix socket", "");
    until("the socket is removed", || !socket.exists());
    reload("a reload that adds it once more", &with_socket);
    for round in 0..20 {
        reload(
            "reloads that systemd does not hear of",
            if round % 2 == 0 { "" } else { &with_socket },
        );
    }
}

fn the_end(mut daemon: Daemon, watch: &mut Watch) {
    let applied = |daemon: &Daemon| daemon.log().matches("configuration applied").count();
    let before = applied(&daemon);
    daemon.signal("HUP");
    until("SIGHUP is answered", || applied(&daemon) > before);
    watch.look("SIGHUP");
    daemon.signal("TERM");
    assert!(daemon.wait().success());
    let _ = watch.strace.wait();
    watch.look("SIGTERM");
}

/// Lets the file system answer when a test ends or fails: the daemon could not end before.
struct Release<'a>(&'a Fuse);

impl Drop for Release<'_> {
    fn drop(&mut self) {
        self.0.release();
    }
}

#[test]
#[ignore = "needs root, /dev/fuse and util-linux: cargo test --features full --test system_serving_thread -- --ignored"]
fn a_unix_listener_on_a_hung_mount_costs_one_thread() {
    harness::needs(NEEDS_FUSE);
    let place = tempfile::tempdir().expect("a directory");
    let namespaces = Namespaces::of_mounts();
    let fuse = Fuse::mount(&namespaces, place.path());
    let cpu = "[scrape]\ndefault_collectors = false\n[collectors.cpu]\nenabled = true\n";
    let mut daemon = Daemon::start_by(cpu, |command| {
        let mut inside = namespaces.command(command.get_program());
        inside.args(command.get_args());
        *command = inside;
    });
    daemon.metrics();
    fuse.hold(&[operation::LOOKUP, operation::GETATTR]);
    let _release = Release(&fuse);
    let socket = place.path().join("v.sock");
    let listen = format!("listen = [\"127.0.0.1:0\", \"unix:{}\"]\n", socket.display());
    daemon.write_config(&format!("[server]\n{listen}{cpu}"));
    let threads = daemon.threads();
    std::thread::scope(|scope| {
        let reload = scope.spawn(|| daemon.reload());
        until("the reload hangs", || fuse.waiting() > 0);
        assert_eq!(daemon.get("/healthz").status, 200);
        assert!(daemon.metrics().has("node_cpu_seconds_total"));
        let answer = reload.join().expect("an answer");
        assert!(matches!(answer.status, 422 | 503), "{}: {}", answer.status, answer.body);
    });
    for _ in 0..5 {
        let answer = daemon.reload();
        assert!(matches!(answer.status, 409 | 422 | 503), "{}: {}", answer.status, answer.body);
    }
    daemon.has_no_more_threads_than(threads);
    assert!(daemon.metrics().has("node_cpu_seconds_total"));
    daemon.signal("TERM");
    until("the port is closed", || std::net::TcpStream::connect(daemon.address()).is_err());
    fuse.release();
    daemon.wait();
}
