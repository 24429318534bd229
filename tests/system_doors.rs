//! Who may administer, tried as other users, through proxies and out of other namespaces.

mod harness;
mod system;

use harness::{Answer, Connection, Daemon, Over, ask, until};
use rustix::process::{Gid, Uid};
use rustix::thread::{set_thread_gid, set_thread_uid};
use std::fs;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use system::namespaces::Namespaces;

const NEEDS: &str = "root, util-linux and iproute2";
const SMALL: &str = "[scrape]\ndefault_collectors = false\n[collectors.loadavg]\nenabled = true\n";
/// Users that need no name.
const ONE: u32 = 12_345;
const OTHER: u32 = 12_346;
const NOBODY: u32 = 65_534;

/// Does something on a thread of another user's. What it opens is that user's.
fn as_user<T: Send>(user: u32, part: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            set_thread_gid(Gid::from_raw(user)).expect("root may");
            set_thread_uid(Uid::from_raw(user)).expect("root may");
            part()
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn reload_at(address: SocketAddr) -> Answer {
    ask(address, "PUT", "/plugins/reload", &[("Host", "localhost")])
}

/// A daemon whose configuration everybody may read, by a command in front.
fn start_behind(front: &[&str], config: &str) -> Daemon {
    let directory = tempfile::tempdir().expect("a directory");
    let open = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("chmod");
    };
    open(directory.path(), 0o777);
    let file = directory.path().join("config.toml");
    let config = config.replace("DIRECTORY", &directory.path().display().to_string());
    fs::write(&file, config).expect("the configuration");
    open(&file, 0o644);
    let mut words = front.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    words.push(harness::binary().display().to_string());
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).arg("run").arg("--config").arg(&file);
    Daemon::spawn(command, directory)
}

fn setpriv(user: u32) -> Vec<String> {
    let words = ["setpriv".to_owned(), format!("--reuid={user}"), format!("--regid={user}")];
    words.into_iter().chain(["--clear-groups".to_owned()]).collect()
}

/// A plain reverse proxy of some user's, which passes on bytes and adds nothing, as long as the part runs.
fn with_proxy<T>(user: u32, to: SocketAddr, part: impl FnOnce(SocketAddr) -> T) -> T {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            set_thread_uid(Uid::from_raw(user)).expect("root may");
            for client in listener.incoming() {
                if is_over.load(Ordering::SeqCst) {
                    return;
                }
                let client = client.expect("a client");
                let server = TcpStream::connect(to).expect("the daemon");
                pass_on(client, server).expect("it is passed on");
            }
        });
        /// Has the proxy, which waits for a client, see that it is over.
        struct Woken(SocketAddr);
        impl Drop for Woken {
            fn drop(&mut self) {
                drop(TcpStream::connect(self.0));
            }
        }
        // What is made last goes first.
        let _woken = Woken(address);
        let _over = Over(&is_over);
        part(address)
    })
}

/// One request, and its answer to the end of the connection.
fn pass_on(mut client: TcpStream, mut server: TcpStream) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    server.write_all(&head)?;
    io::copy(&mut server, &mut client)?;
    client.shutdown(Shutdown::Write)
}

#[test]
#[ignore = "needs root, util-linux and iproute2: cargo test --features full --test system_doors -- --ignored"]
fn a_proxy_makes_nobody_an_administrator() {
    harness::needs(NEEDS);
    for listen in ["127.0.0.1:0", "[::1]:0", ":0"] {
        if listen == "[::1]:0" && TcpListener::bind(listen).is_err() {
            continue;
        }
        let config = format!("[server]\nlisten = [\"{listen}\"]\n{SMALL}");
        let daemon = start_behind(&["env"], &config);
        let port = daemon.address().port();
        let hosts = match listen {
            "127.0.0.1:0" => vec!["127.0.0.1"],
            "[::1]:0" => vec!["[::1]"],
            _ if TcpListener::bind("[::1]:0").is_ok() => vec!["127.0.0.1", "[::1]"],
            _ => vec!["127.0.0.1"],
        };
        for host in hosts {
            let address: SocketAddr = format!("{host}:{port}").parse().expect("an address");
            assert_eq!(reload_at(address).status, 200, "{listen} {host}");
            let refused = as_user(ONE, || reload_at(address));
            assert_eq!(refused.status, 403, "{listen} {host}: {}", refused.body);
            assert!(
                refused.body.contains("only root and the daemon's own user"),
                "{}",
                refused.body
            );
            // The one behind it is root, but so might be anybody else.
            with_proxy(ONE, address, |proxy| {
                let answer = reload_at(proxy);
                assert_eq!(answer.status, 403, "{listen} {host}: {}", answer.body);
                let overview = ask(proxy, "GET", "/plugins", &[("Host", "localhost")]).body;
                assert!(overview.contains("\"admin\": false"), "{overview}");
                assert!(!overview.contains("config.toml"), "{overview}");
            });
        }
    }
}

#[test]
#[ignore = "needs root, util-linux and iproute2: cargo test --features full --test system_doors -- --ignored"]
fn the_daemons_own_user_may_and_others_may_not() {
    harness::needs(NEEDS);
    let front = setpriv(ONE);
    let front: Vec<&str> = front.iter().map(String::as_str).collect();
    let config = format!(
        "[server]\nlisten = [\"127.0.0.1:0\", {{ address = \"unix:DIRECTORY/v.sock\", mode = \"0666\" }}]\n{SMALL}"
    );
    let daemon = start_behind(&front, &config);
    let address = daemon.addresses(1)[0];
    let socket = daemon.directory.path().join("v.sock");
    let by_socket = || {
        let mut connection = Connection::open_unix(&socket);
        let read = connection.ask("GET", "/metrics", &[("Host", "x")]).status;
        (read, connection.ask("PUT", "/plugins/reload", &[("Host", "x")]).status)
    };
    for (user, status) in [(0, 200), (ONE, 200), (OTHER, 403), (NOBODY, 403)] {
        assert_eq!(as_user(user, || reload_at(address).status), status, "{user}");
        assert_eq!(as_user(user, by_socket), (200, status), "{user}");
    }
}

#[test]
#[ignore = "needs root, util-linux and iproute2: cargo test --features full --test system_doors -- --ignored"]
fn the_user_of_an_incomplete_namespace_is_nobody_in_particular() {
    harness::needs(NEEDS);
    // Inside, all users but this one are shown as the overflow user, which it is itself.
    let front = ["unshare", "--user", "--map-user=65534", "--map-group=65534"];
    let config = format!(
        "[server]\nlisten = [\"127.0.0.1:0\", {{ address = \"unix:DIRECTORY/v.sock\", mode = \"0666\" }}]\n{SMALL}"
    );
    let daemon = start_behind(&front, &config);
    let address = daemon.addresses(1)[0];
    let socket = daemon.directory.path().join("v.sock");
    for user in [ONE, NOBODY, 0] {
        let answer = as_user(user, || reload_at(address));
        assert_eq!(answer.status, 403, "{user}: {}", answer.body);
        let by_socket = || {
            let mut connection = Connection::open_unix(&socket);
            connection.ask("PUT", "/plugins/reload", &[("Host", "x")]).status
        };
        assert_eq!(as_user(user, by_socket), 403, "{user}");
    }
    // In a whole namespace it is a user as any other one, as in the container.
    let front = setpriv(NOBODY);
    let front: Vec<&str> = front.iter().map(String::as_str).collect();
    let daemon = start_behind(&front, &config);
    let address = daemon.addresses(1)[0];
    let socket = daemon.directory.path().join("v.sock");
    for (user, status) in [(NOBODY, 200), (0, 200), (ONE, 403)] {
        assert_eq!(as_user(user, || reload_at(address).status), status, "{user}");
        let by_socket = || {
            let mut connection = Connection::open_unix(&socket);
            connection.ask("PUT", "/plugins/reload", &[("Host", "x")]).status
        };
        assert_eq!(as_user(user, by_socket), status, "{user}");
    }
}

#[test]
#[ignore = "needs root, util-linux and iproute2: cargo test --features full --test system_doors -- --ignored"]
fn a_listener_of_another_network_namespace_has_no_local_administrators() {
    harness::needs(NEEDS);
    let namespaces = Namespaces::of_network();
    let listener = namespaces.run(|| TcpListener::bind("127.0.0.1:0").expect("a port"));
    let address = listener.local_addr().expect("an address");
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("config.toml");
    fs::write(&file, format!("[server]\nlisten = [\"systemd\"]\n{SMALL}")).expect("a file");
    let mut command = Command::new("sh");
    let hand_over = "exec 3>&1 >/dev/null; export LISTEN_PID=$$ LISTEN_FDS=1; exec \"$@\"";
    command.args(["-c", hand_over, "sh"]).arg(harness::binary()).args(["run", "--config"]);
    command.arg(&file).stdout(Stdio::from(std::os::fd::OwnedFd::from(listener)));
    let _daemon = Daemon::spawn(command, directory);
    let answer = namespaces.run(|| reload_at(address));
    assert_eq!(answer.status, 403, "{}", answer.body);
    assert!(answer.body.contains("another network namespace"), "{}", answer.body);
    assert_eq!(namespaces.run(|| ask(address, "GET", "/metrics", &[])).status, 200);
}

/// Starts a program that may make no netlink sockets, as under `RestrictAddressFamilies=`.
const WITHOUT_NETLINK: &str = r#"
import ctypes, os, struct, sys
code = [(0x20, 0, 0, 0), (0x15, 0, 3, 41), (0x20, 0, 0, 16), (0x15, 0, 1, 16),
        (0x06, 0, 0, 0x00050001), (0x06, 0, 0, 0x7fff0000)]
program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *one) for one in code))
class Fprog(ctypes.Structure):
    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_void_p)]
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.byref(Fprog(len(code), ctypes.addressof(program)))) == 0
os.execvp(sys.argv[1], sys.argv[1:])
"#;

#[test]
#[ignore = "needs root, python3 and x86_64: cargo test --features full --test system_doors -- --ignored"]
fn where_the_kernel_is_not_to_be_asked_nobody_administers_over_loopback() {
    harness::needs("root, python3 and x86_64");
    let config =
        format!("[server]\nlisten = [\"127.0.0.1:0\", \"unix:DIRECTORY/v.sock\"]\n{SMALL}");
    let daemon = start_behind(&["python3", "-c", WITHOUT_NETLINK], &config);
    let answer = reload_at(daemon.addresses(1)[0]);
    assert_eq!(answer.status, 403, "{}", answer.body);
    assert!(answer.body.contains("it is not known whose process"), "{}", answer.body);
    daemon.wait_for_log("it is not known whose an admin request is");
    let mut connection = Connection::open_unix(&daemon.directory.path().join("v.sock"));
    assert_eq!(connection.ask("PUT", "/plugins/reload", &[("Host", "x")]).status, 200);
}

#[test]
#[ignore = "needs root, util-linux and iproute2: cargo test --features full --test system_doors -- --ignored"]
fn a_storm_of_requests_to_administer_costs_bounded_work() {
    harness::needs(NEEDS);
    let daemon = start_behind(&["env"], &format!("[server]\nlisten = [\"127.0.0.1:0\"]\n{SMALL}"));
    let address = daemon.address();
    assert_eq!(reload_at(address).status, 200);
    let threads = daemon.threads();
    let is_over = AtomicBool::new(false);
    let (mut most_threads, mut worst, mut scrapes) = (threads, Duration::ZERO, 0);
    let asked: u64 = std::thread::scope(|scope| {
        let storm = || {
            set_thread_uid(Uid::from_raw(ONE)).expect("root may");
            let mut asked = 0;
            while !is_over.load(Ordering::SeqCst) {
                let status = reload_at(address).status;
                assert!(matches!(status, 403 | 503), "{status}");
                asked += 1;
            }
            asked
        };
        let storms: Vec<_> = (0..16).map(|_| scope.spawn(storm)).collect();
        let over = Over(&is_over);
        let until = Instant::now() + Duration::from_secs(3);
        while Instant::now() < until {
            let began = Instant::now();
            assert_eq!(ask(address, "GET", "/metrics", &[]).status, 200);
            worst = worst.max(began.elapsed());
            scrapes += 1;
            most_threads = most_threads.max(daemon.threads());
        }
        drop(over);
        storms.into_iter().map(|storm| storm.join().expect("no panic")).sum()
    });
    println!(
        "{asked} refused, {scrapes} scrapes, the slowest {worst:?}; threads {threads}, at most {most_threads}"
    );
    assert!(asked > 100 && scrapes > 0);
    assert!(most_threads <= threads + 2, "{threads} before, {most_threads}");
    assert!(worst < Duration::from_secs(2), "{worst:?}");
    // Root is asked for in its turn.
    until("root administers again", || reload_at(address).status == 200);
}

#[test]
#[ignore = "needs root, util-linux and iproute2: cargo test --features full --test system_doors -- --ignored"]
fn a_socket_has_its_group_and_comes_back_when_it_was_removed() {
    harness::needs(NEEDS);
    let listen = |keys: &str| {
        format!(
            "[server]\nlisten = [\"127.0.0.1:0\", {{ address = \"unix:DIRECTORY/v.sock\"{keys} }}]\n{SMALL}"
        )
    };
    let daemon = start_behind(&["env"], &listen(", mode = \"0660\", group = 12345"));
    let socket = daemon.directory.path().join("v.sock");
    let write = |keys: &str| {
        let place = daemon.directory.path().display().to_string();
        fs::write(daemon.config_file(), listen(keys).replace("DIRECTORY", &place)).expect("a file");
    };
    let connects =
        |user| as_user(user, || std::os::unix::net::UnixStream::connect(&socket).map(drop).is_ok());
    let is_let_in = |users: [bool; 3]| assert_eq!([0, ONE, OTHER].map(connects), users);
    is_let_in([true, true, false]);
    // The thread of another user is of that group alone: its primary one.
    fs::remove_file(&socket).expect("the file");
    let answer = daemon.reload();
    assert!(answer.body.contains("v.sock") && answer.status == 200, "{}", answer.body);
    is_let_in([true, true, false]);
    // Changed while it is open, and back.
    write(", mode = \"0666\"");
    assert_eq!(daemon.reload().status, 200);
    is_let_in([true, true, true]);
    write("");
    assert_eq!(daemon.reload().status, 200);
    is_let_in([true, false, false]);
    write(", group = \"no-such-group\"");
    let refused = daemon.reload();
    assert!(refused.status == 422 && refused.body.contains("/etc/group"), "{}", refused.body);
    is_let_in([true, false, false]);
}

#[test]
#[ignore = "needs root, util-linux and iproute2: cargo test --features full --test system_doors -- --ignored"]
fn plugins_say_what_a_user_without_rights_lacks_and_how_to_give_it() {
    harness::needs(NEEDS);
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("config.toml");
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("chmod");
    let on = "[scrape]\ndefault_collectors = false\n[collectors]\n\
              loadavg.enabled = true\nslabinfo.enabled = true\nperf.enabled = true\nrunit.enabled = true\n\
              runit.servicedir = \"/nonexistent\"\n";
    fs::write(&file, on).expect("a file");
    let plugins = |front: &[String]| {
        let mut words: Vec<String> = front.to_vec();
        words.push(harness::binary().display().to_string());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).args(["plugins", "--config"]).arg(&file);
        harness::output(&mut command)
    };
    let (status, text, complaint) = plugins(&setpriv(NOBODY));
    assert_eq!(status, 0, "{complaint}");
    for line in [
        "slabinfo shows nothing, or less, without CAP_DAC_READ_SEARCH",
        "CapabilityBoundingSet=CAP_DAC_READ_SEARCH CAP_PERFMON",
        "AmbientCapabilities=CAP_DAC_READ_SEARCH CAP_PERFMON",
        "SystemCallFilter=perf_event_open",
    ] {
        assert!(text.lines().any(|one| one == line), "{line}: {text}");
    }
    // It takes a capability, too, and would show nothing with it.
    let row = text.lines().find(|line| line.starts_with("runit  ")).unwrap_or_default();
    assert!(row.contains("absent") && !text.contains("runit shows"), "{text}");
    // With what the lines give, as systemd gives it, nothing is missing.
    let given =
        ["--inh-caps", "--ambient-caps"].map(|set| format!("{set}=+dac_read_search,+perfmon"));
    let mut front = setpriv(NOBODY);
    front.extend(given);
    let (status, text, complaint) = plugins(&front);
    assert_eq!(status, 0, "{complaint}");
    assert!(!text.contains("CAP_"), "{text}");
    assert!(!plugins(&["env".to_owned()]).1.contains("CAP_"));
}
