//! The real binary on real sockets, for the tests of the whole daemon.
#![allow(dead_code, reason = "each test binary uses its own part")]

use rustix::process::Signal;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long anything may take before a test gives up: far longer than it ever should.
pub const LONG: Duration = Duration::from_secs(60);

/// The debug binary of this build, or the one that `VITALD_BINARY` names: an earlier one, to see a
/// test fail.
pub fn binary() -> PathBuf {
    let chosen = std::env::var_os("VITALD_BINARY");
    chosen.map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_vitald")), PathBuf::from)
}

/// The release binary, where the caller of the tests names one; for what is measured.
pub fn release_binary() -> Option<PathBuf> {
    std::env::var_os("VITALD_RELEASE").map(PathBuf::from)
}

/// The threads that come for a piece of work and wait a while for more of it, or end at any moment.
const COME_AND_GO: [&str; 6] =
    ["first run", "giving back", "peer's user", "reload", "token file", "web config"];

/// What a need is met by that is a package or has a program of another name.
const PROGRAMS: [(&str, &str); 29] = [
    ("buildah", "buildah"),
    ("busybox", "busybox"),
    ("chromium", "chromium"),
    ("chromium-driver", "chromedriver"),
    ("collectd-core", "collectd"),
    ("coreutils", "timeout"),
    ("cpio", "cpio"),
    ("crun", "crun"),
    ("curl", "curl"),
    ("dpkg-dev", "dpkg-shlibdeps"),
    ("dpkg-repack", "dpkg-repack"),
    ("e2fsprogs", "mkfs.ext4"),
    ("ethtool", "ethtool"),
    ("gdb", "gdb"),
    ("git", "git"),
    ("iproute2", "ip"),
    ("kmod", "modprobe"),
    ("lintian", "lintian"),
    ("podman", "podman"),
    ("procps", "pkill"),
    ("prometheus", "prometheus"),
    ("prometheus-node-exporter", "prometheus-node-exporter"),
    ("promtool of prometheus", "promtool"),
    ("python3", "python3"),
    ("qemu-system-x86_64", "qemu-system-x86_64"),
    ("strace", "strace"),
    ("systemd-container", "systemd-nspawn"),
    ("util-linux", "unshare"),
    ("valgrind", "valgrind"),
];

/// What a test finds out for itself.
const UNCHECKED: [&str; 9] = [
    "an address beside the loopback's",
    "control groups",
    "libmicrohttpd12",
    "libprotobuf-c1",
    "loop devices",
    "minutes of compiling",
    "python3-prometheus-client",
    "the programs in system_vm/machine.sh",
    "zram",
];

/// Fails where something is missing that a test needs, and says what. Such a test is ignored unless it is asked for,
/// so that none is counted as passed which has asserted nothing.
pub fn needs(needs: &str) {
    let is_asked_for =
        std::env::args().any(|word| word == "--ignored" || word == "--include-ignored");
    assert!(
        is_asked_for,
        "mark this test, so that others can do without: #[ignore = \"needs {needs}\"]"
    );
    let is_missing = |need: &&str| {
        let is_there = is_there(need);
        !is_there.unwrap_or_else(|| panic!("nobody knows whether {need} is there; see PROGRAMS"))
    };
    let missing: Vec<&str> = each_need(needs).filter(is_missing).collect();
    assert!(missing.is_empty(), "this test needs {needs}; missing here: {}", missing.join(", "));
}

/// The parts of a list such as `root, strace and curl`.
pub fn each_need(needs: &str) -> impl Iterator<Item = &str> {
    needs.split(", ").flat_map(|part| part.split(" and "))
}

/// Whether a need is met here, as far as that can be seen without a test; nothing where it is a word that nobody knows.
pub fn is_there(need: &str) -> Option<bool> {
    if need.starts_with('/') {
        return Some(Path::new(need).exists());
    }
    match need {
        "root" => return Some(rustix::process::geteuid().is_root()),
        "x86_64" => return Some(cfg!(target_arch = "x86_64")),
        "VITALD_RELEASE" => return Some(release_binary().is_some_and(|binary| binary.is_file())),
        "the xtask beside VITALD_RELEASE" => {
            return Some(release_binary().is_some_and(|it| it.with_file_name("xtask").is_file()));
        }
        "a kernel package of Debian unpacked in VITALD_VM_KERNEL" => {
            let kernel = std::env::var_os("VITALD_VM_KERNEL").map(PathBuf::from);
            return Some(kernel.is_some_and(|kernel| kernel.join("boot").is_dir()));
        }
        need if UNCHECKED.contains(&need) => return Some(true),
        _ => {}
    }
    let (_, program) = PROGRAMS.iter().find(|(name, _)| *name == need)?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    Some(std::env::split_paths(&path).any(|folder| folder.join(program).is_file()))
}

/// A running daemon with a directory of its own; ends with the value.
pub struct Daemon {
    child: Child,
    pub directory: tempfile::TempDir,
    log: Arc<Log>,
}

struct Log {
    text: Mutex<(String, bool)>,
    grown: Condvar,
}

/// An answer over HTTP.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub body: String,
    /// The body as it came, for what is no text.
    pub bytes: Vec<u8>,
}

impl Answer {
    /// From a head without the empty line at its end, and a body.
    fn of(head: &[u8], body: &[u8]) -> std::io::Result<Answer> {
        let head = String::from_utf8_lossy(head);
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
        let headers = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let status = status.ok_or_else(|| std::io::Error::other("an answer without a status"))?;
        let text = String::from_utf8_lossy(body).into_owned();
        Ok(Answer { status, headers, body: text, bytes: body.to_vec() })
    }

    /// The header, or nothing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    /// The value of a series, written as on the page, such as `node_load1` or `x{a="b"}`.
    pub fn value(&self, series: &str) -> Option<f64> {
        let rest = self.body.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        rest.map(|value| value.parse().expect("a number"))
    }

    /// Whether a family has a sample on the page.
    pub fn has(&self, family: &str) -> bool {
        self.body
            .lines()
            .any(|line| line.strip_prefix(family).is_some_and(|rest| rest.starts_with(['{', ' '])))
    }
}

impl Daemon {
    /// Starts it with this configuration, on a port of the kernel's choice.
    pub fn start(config: &str) -> Daemon {
        Daemon::start_by(config, |_| {})
    }

    /// The same, with a change to the command.
    pub fn start_by(config: &str, change: impl FnOnce(&mut Command)) -> Daemon {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("config.toml");
        std::fs::write(&file, listening(config)).expect("the configuration");
        let mut command = Command::new(binary());
        command.arg("run").arg("--config").arg(&file);
        change(&mut command);
        Daemon::spawn(command, directory)
    }

    /// Starts any command that ends up as the daemon, and waits until it listens.
    pub fn spawn(mut command: Command, directory: tempfile::TempDir) -> Daemon {
        command.stdin(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the daemon starts");
        let log = Arc::new(Log { text: Mutex::default(), grown: Condvar::new() });
        let stderr = child.stderr.take().expect("a pipe");
        std::thread::spawn({
            let log = Arc::clone(&log);
            move || log.follow(stderr)
        });
        let daemon = Daemon { child, directory, log };
        daemon.wait_for_log("listening");
        daemon
    }

    /// Starts one whose standard error is the command's own affair, and waits until `is_up`.
    pub fn spawn_unheard(
        mut command: Command,
        directory: tempfile::TempDir,
        is_up: impl FnMut() -> bool,
    ) -> Daemon {
        command.stdin(Stdio::null());
        Daemon::spawn_as_it_is(command, directory, is_up)
    }

    /// Starts one all whose streams are the command's own affair, and waits until `is_up`.
    pub fn spawn_as_it_is(
        mut command: Command,
        directory: tempfile::TempDir,
        is_up: impl FnMut() -> bool,
    ) -> Daemon {
        let child = command.spawn().expect("the daemon starts");
        let log = Arc::new(Log { text: Mutex::default(), grown: Condvar::new() });
        let daemon = Daemon { child, directory, log };
        until("the daemon is up", is_up);
        daemon
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn address(&self) -> SocketAddr {
        self.addresses(1)[0]
    }

    /// Where it listens, in the order of its configuration, without unix sockets; at least so many.
    pub fn addresses(&self, at_least: usize) -> Vec<SocketAddr> {
        let mut addresses: Vec<SocketAddr> = Vec::new();
        until("it has told where it listens", || {
            let log = self.log();
            // As logfmt and as JSON.
            let lines = log.lines().filter(|line| line.contains("listening"));
            let address =
                |line: &str| line.split(['"', '=', ' ']).find_map(|word| word.parse().ok());
            addresses = lines.filter_map(address).collect();
            addresses.len() >= at_least
        });
        addresses
    }

    pub fn config_file(&self) -> PathBuf {
        self.directory.path().join("config.toml")
    }

    pub fn write_config(&self, config: &str) {
        std::fs::write(self.config_file(), listening(config)).expect("the configuration");
    }

    /// The same in one step, for when the daemon may be reading it.
    pub fn replace_config(&self, config: &str) {
        let new = self.directory.path().join("config.toml.new");
        std::fs::write(&new, listening(config)).expect("the configuration");
        std::fs::rename(&new, self.config_file()).expect("the configuration");
    }

    pub fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[])
    }

    pub fn metrics(&self) -> Answer {
        let answer = self.get("/metrics");
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer
    }

    pub fn reload(&self) -> Answer {
        self.ask("PUT", "/plugins/reload", &[])
    }

    pub fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        ask(self.address(), method, path, headers)
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.log.text.lock().unwrap_or_else(PoisonError::into_inner).0.clone()
    }

    /// Waits until it has logged something.
    pub fn wait_for_log(&self, text: &str) {
        let log = self.log.text.lock().unwrap_or_else(PoisonError::into_inner);
        let (log, waited) = self
            .log
            .grown
            .wait_timeout_while(log, LONG, |(log, ended)| !log.contains(text) && !*ended)
            .unwrap_or_else(PoisonError::into_inner);
        assert!(log.0.contains(text), "waited for {text:?} ({waited:?}):\n{}", log.0);
    }

    /// Sends a signal by name, such as `HUP`.
    pub fn signal(&self, name: &str) {
        let status = Command::new("sh")
            .arg("-c")
            .arg(format!("kill -{name} {}", self.pid()))
            .status()
            .expect("a shell");
        assert!(status.success());
    }

    /// How the process has ended, if it has.
    pub fn try_wait(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child")
    }

    /// Waits until the process has ended.
    pub fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        until("the daemon ends", || {
            status = self.child.try_wait().expect("a child");
            status.is_some()
        });
        status.expect("it ended")
    }

    /// A figure of `/proc/PID/status`, such as `Threads` or `VmRSS` (KiB).
    pub fn status(&self, key: &str) -> u64 {
        let text =
            std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("a process");
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        let number = line.expect("such a line").trim().trim_end_matches(" kB");
        number.parse().expect("a number")
    }

    /// How many threads it has. Of those that come and go one of each kind is no growth, and a second one is; those that
    /// write long pages, which the runtime keeps for ten seconds, are left out.
    pub fn threads(&self) -> usize {
        let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.pid())).expect("a process");
        for task in tasks.flatten() {
            // It may have ended meanwhile.
            let Ok(name) = std::fs::read_to_string(task.path().join("comm")) else { continue };
            *kinds.entry(name.trim_end().to_owned()).or_default() += 1;
        }
        let growth = |(name, count): (&String, &usize)| match &**name {
            "page writing" => 0,
            name if COME_AND_GO.contains(&name) => count - 1,
            _ => *count,
        };
        kinds.iter().map(growth).sum()
    }

    /// Waits until it has no more threads than it had.
    pub fn has_no_more_threads_than(&self, before: usize) {
        until(&format!("there are no more than {before} threads"), || self.threads() <= before);
    }

    /// The CPU time it has used.
    pub fn cpu_time(&self) -> Duration {
        let text =
            std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).expect("a process");
        let fields = text.rsplit_once(") ").expect("a name in parentheses").1.split(' ');
        let ticks: u64 =
            fields.skip(11).take(2).map(|ticks| ticks.parse::<u64>().expect("ticks")).sum();
        Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
    }

    /// How many descriptors it has open.
    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid())).expect("a process").count()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- the daemon's log:\n{}", self.log());
        }
    }
}

impl Log {
    fn follow(&self, stderr: impl Read) {
        let mut lines = BufReader::new(stderr);
        let mut line = String::new();
        while lines.read_line(&mut line).is_ok_and(|length| length > 0) {
            self.text.lock().unwrap_or_else(PoisonError::into_inner).0.push_str(&line);
            self.grown.notify_all();
            line.clear();
        }
        self.text.lock().unwrap_or_else(PoisonError::into_inner).1 = true;
        self.grown.notify_all();
    }
}

/// A configuration that listens on a port of the kernel's choice, unless it says where.
fn listening(config: &str) -> String {
    if config.contains("listen") {
        return config.to_owned();
    }
    let listen = "listen = [\"127.0.0.1:0\"]\n";
    match config.split_once("[server]\n") {
        Some((before, after)) => format!("{before}[server]\n{listen}{after}"),
        None => format!("{config}\n[server]\n{listen}"),
    }
}

/// One request on a connection of its own.
pub fn ask(address: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    try_ask(address, method, path, headers)
        .unwrap_or_else(|error| panic!("{method} {path}: {error}"))
}

/// The same, for when it may fail.
pub fn try_ask(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&address, LONG)?;
    stream.set_read_timeout(Some(LONG))?;
    let mut request = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        request += &format!("Host: {address}\r\n");
    }
    for (name, value) in headers {
        request += &format!("{name}: {value}\r\n");
    }
    stream.write_all((request + "\r\n").as_bytes())?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    let split = bytes.windows(4).position(|window| window == b"\r\n\r\n");
    let split = split.ok_or_else(|| std::io::Error::other("an answer without a head"))?;
    Answer::of(&bytes[..split], &bytes[split + 4..])
}

/// A connection that lasts: for more than one request, or for what is none.
pub struct Connection<S: Read> {
    stream: BufReader<S>,
}

impl Connection<TcpStream> {
    pub fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&address, LONG);
        Connection::of(stream.unwrap_or_else(|error| panic!("{address}: {error}")))
    }

    pub fn of(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(LONG)).expect("a socket");
        Connection { stream: BufReader::new(stream) }
    }

    pub fn stream(&self) -> &TcpStream {
        self.stream.get_ref()
    }
}

impl Connection<UnixStream> {
    pub fn open_unix(path: &Path) -> Self {
        let stream = UnixStream::connect(path);
        let stream = stream.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        stream.set_read_timeout(Some(LONG)).expect("a socket");
        Connection { stream: BufReader::new(stream) }
    }
}

impl<S: Read + Write> Connection<S> {
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.get_mut().write_all(bytes.as_ref()).expect("it takes the request");
    }

    /// Sends what may be refused before all of it is sent.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        self.stream.get_mut().write_all(bytes.as_ref())
    }

    /// One request, and its answer.
    pub fn ask(&mut self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.send(request(method, path, headers));
        let answer = if method == "HEAD" { self.head() } else { self.answer() };
        answer.unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    pub fn get(&mut self, path: &str) -> Answer {
        self.ask("GET", path, &[])
    }

    /// The next answer.
    pub fn answer(&mut self) -> std::io::Result<Answer> {
        let head = self.head()?;
        let length = head.header("content-length").parse().unwrap_or(0);
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        Ok(Answer { body: String::from_utf8_lossy(&body).into_owned(), bytes: body, ..head })
    }

    /// The next answer, which has no body.
    pub fn head(&mut self) -> std::io::Result<Answer> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            if self.stream.read_until(b'\n', &mut head)? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
        }
        Answer::of(&head, &[])
    }

    /// Waits until the other side ends the connection; answers what it sent before.
    pub fn end(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        match self.stream.read_to_end(&mut rest) {
            Err(error) if error.kind() != std::io::ErrorKind::ConnectionReset => {
                panic!("it should have ended: {error}")
            }
            _ => rest,
        }
    }
}

/// A request of one connection that lasts.
pub fn request(method: &str, path: &str, headers: &[(&str, &str)]) -> String {
    let mut request = format!("{method} {path} HTTP/1.1\r\n");
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        request += "Host: localhost\r\n";
    }
    for (name, value) in headers {
        request += &format!("{name}: {value}\r\n");
    }
    request + "\r\n"
}

/// A program that a test starts itself. It ends with the value, also when the test fails, and so does what it has started,
/// as strace starts what it looks at.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Once it has been waited for, its number may be another one's.
        if let Ok(None) = self.0.try_wait() {
            let pid = self.0.id();
            let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
            for child in children.unwrap_or_default().split(' ').filter_map(|pid| pid.parse().ok())
            {
                let child = rustix::process::Pid::from_raw(child);
                let _ = child.map(|child| rustix::process::kill_process(child, Signal::KILL));
            }
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}

/// An address whose port nobody else gets as long as the test program runs, and on which nobody listens yet: a socket has it
/// that does not listen either, beside which another one may. A port that is free for a moment is the next one's who asks.
pub fn own_address(ip: Ipv4Addr) -> SocketAddr {
    use rustix::net::{
        AddressFamily, SocketFlags, SocketType, bind, getsockname, socket_with, sockopt,
    };
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None);
    let socket = socket.expect("a socket");
    sockopt::set_socket_reuseaddr(&socket, true).expect("an option");
    bind(&socket, &SocketAddr::from((ip, 0))).expect("a port");
    let address = getsockname(&socket).expect("an address").try_into().expect("one of a network");
    std::mem::forget(socket);
    address
}

/// Says that it is over when it goes, also when the test fails: what goes on until then on a thread beside it would do so
/// for ever, and the test would hang and not fail.
pub struct Over<'a>(pub &'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Waits for something that another process will bring about.
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let limit = Instant::now() + LONG;
    while !is_so() {
        assert!(Instant::now() < limit, "waited in vain until {what}");
        std::thread::yield_now();
    }
}

/// Runs a command to its end and takes what it prints.
pub fn output(command: &mut Command) -> (i32, String, String) {
    let output = command.stdin(Stdio::null()).output().expect("it starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

/// The top of the source tree.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a workspace")
}
