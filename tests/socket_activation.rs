//! Sockets that the service manager opens and hands over: `--web.systemd-socket`, and `systemd` among
//! the addresses of a configuration (sd_listen_fds(3)).

mod harness;

use harness::{Connection, Daemon, ask, try_ask, until};
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What hands over its standard output as the third descriptor, as a service manager does.
const HAND_OVER: &str = "exec 3>&1 >/dev/null; export LISTEN_PID=$$ LISTEN_FDS=1; exec \"$@\"";

/// A command that the socket is handed over to.
fn handed(socket: impl Into<OwnedFd>, arguments: &[&str]) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", HAND_OVER, "sh"]).arg(harness::binary()).args(arguments);
    command.stdout(Stdio::from(socket.into()));
    command
}

fn directory() -> tempfile::TempDir {
    tempfile::tempdir().expect("a directory")
}

fn bound() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    (listener, address)
}

/// A socket as the service manager keeps it beside the one that it hands over.
fn copy(listener: &TcpListener) -> TcpListener {
    listener.try_clone().expect("a copy")
}

const DROP_IN: &[&str] = &[
    "node_exporter",
    "--collector.disable-defaults",
    "--collector.loadavg",
    "--web.systemd-socket",
];

#[test]
fn the_drop_in_listens_on_what_it_is_handed() {
    let (listener, address) = bound();
    let mut arguments = DROP_IN.to_vec();
    // As in node_exporter, an address does not count then.
    arguments.push("--web.listen-address=192.0.2.1:1");
    let mut daemon = Daemon::spawn(handed(copy(&listener), &arguments), directory());
    assert!(ask(address, "GET", "/metrics", &[]).has("node_load1"));
    daemon.wait_for_log("address=systemd");
    assert_eq!(daemon.addresses(1), [address]);
    daemon.signal("TERM");
    assert!(daemon.wait().success());
    // The socket is the service manager's, which waits for the next connection with it.
    let waits = TcpStream::connect(address).expect("it still listens");
    let (_, from) = listener.accept().expect("a connection");
    assert_eq!(from, waits.local_addr().expect("an address"));
}

#[test]
fn a_unix_socket_is_handed_over_and_left_there() {
    let folder = directory();
    let path = folder.path().join("metrics.sock");
    let listener = UnixListener::bind(&path).expect("a socket");
    let copy = listener.try_clone().expect("a copy");
    let mut daemon = Daemon::spawn(handed(copy, DROP_IN), directory());
    assert!(Connection::open_unix(&path).get("/metrics").has("node_load1"));
    daemon.signal("TERM");
    assert!(daemon.wait().success());
    assert!(path.exists());
    UnixStream::connect(&path).expect("it still listens");
}

#[test]
fn a_configuration_takes_leaves_and_takes_them_again() {
    let (listener, address) = bound();
    let folder = directory();
    let file = folder.path().join("config.toml");
    let listen = |on: &str| {
        let text = format!("[server]\nlisten = [{on}]\n[scrape]\ndefault_collectors = false\n");
        fs::write(&file, text).expect("the configuration");
    };
    listen("\"127.0.0.1:0\", \"systemd\"");
    let arguments = ["run", "--config", file.to_str().expect("UTF-8")];
    let daemon = Daemon::spawn(handed(copy(&listener), &arguments), directory());
    let own = daemon.addresses(2).into_iter().find(|one| *one != address).expect("an address");
    let reload = || {
        let answer = ask(own, "PUT", "/plugins/reload", &[]);
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.body
    };
    assert_eq!(ask(address, "GET", "/healthz", &[]).status, 200);
    // Nothing changes, and a connection of the handed socket stays.
    let mut client = Connection::open(address);
    assert_eq!(client.get("/healthz").status, 200);
    reload();
    assert_eq!(client.get("/healthz").status, 200);
    listen("\"127.0.0.1:0\"");
    assert!(reload().contains("systemd"));
    // Nobody accepts, and the socket has not been shut down.
    let mut waits = Connection::open(address);
    waits.send(harness::request("GET", "/healthz", &[]));
    listen("\"127.0.0.1:0\", \"systemd\"");
    reload();
    assert_eq!(waits.answer().expect("an answer").status, 200);
    drop(listener);
    until("it answers", || try_ask(address, "GET", "/healthz", &[]).is_ok());
}

/// The file of a web configuration that asks for TLS.
fn protected(folder: &Path) -> PathBuf {
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a pair");
    fs::write(folder.join("crt"), pair.cert.pem()).expect("a file");
    fs::write(folder.join("key"), pair.signing_key.serialize_pem()).expect("a file");
    let file = folder.join("web.yml");
    let text = "tls_server_config: { cert_file: crt, key_file: key }\n";
    fs::write(&file, text).expect("a file");
    file
}

/// What a client is answered that speaks plain HTTP; nothing but the end where TLS is spoken on a unix socket.
fn in_the_clear(mut stream: impl Read + Write) -> String {
    let mut said = String::new();
    // Where the other side closes at once, the rest cannot be written.
    let _ = stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let _ = stream.read_to_string(&mut said);
    said
}

#[test]
fn the_web_configuration_of_all_is_for_handed_sockets_as_for_the_daemons_own() {
    let folder = directory();
    let web = protected(folder.path());
    let web = web.display();
    let file = folder.path().join("config.toml");
    let own = folder.path().join("own.sock");
    let common = format!(
        "[server]\nweb_config = \"{web}\"\nlisten = [\"systemd\", \"unix:{}\"]\n\
         [scrape]\ndefault_collectors = false\n",
        own.display()
    );
    let named = common
        .replace("\"systemd\"", &format!("{{ address = \"systemd\", web_config = \"{web}\" }}"));
    let arguments = ["run", "--config", file.to_str().expect("UTF-8")];
    let path = folder.path().join("handed.sock");
    let unix = UnixListener::bind(&path).expect("a socket");
    let (tcp, address) = bound();
    let is_plain = |said: &str| said.starts_with("HTTP/1.1 200");
    fs::write(&file, &common).expect("the configuration");
    let _of_unix =
        Daemon::spawn(handed(unix.try_clone().expect("a copy"), &arguments), directory());
    let said = in_the_clear(UnixStream::connect(&path).expect("connects"));
    assert!(is_plain(&said), "{said}");
    // Named for them, it is for whatever they are.
    fs::write(&file, &named).expect("the configuration");
    let answer = Connection::open_unix(&own).ask("PUT", "/plugins/reload", &[]);
    let changed = &answer.json()["listeners"]["changed"];
    let expected = serde_json::json!([{ "address": "systemd", "what": ["web_config", "TLS on"] }]);
    assert_eq!(changed, &expected, "{}", answer.body);
    let said = in_the_clear(UnixStream::connect(&path).expect("connects"));
    assert!(!is_plain(&said), "{said}");
    // Others of systemd's sockets are as the daemon's own are.
    fs::write(&file, common.replace("own.sock", "other.sock")).expect("the configuration");
    let _of_tcp = Daemon::spawn(handed(copy(&tcp), &arguments), directory());
    let said = in_the_clear(TcpStream::connect(address).expect("connects"));
    assert!(said.contains("Client sent an HTTP request to an HTTPS server"), "{said}");
    drop(unix);
}

#[test]
fn the_drop_in_protects_handed_unix_sockets_as_node_exporter_does() {
    let folder = directory();
    let web = format!("--web.config.file={}", protected(folder.path()).display());
    let path = folder.path().join("handed.sock");
    let unix = UnixListener::bind(&path).expect("a socket");
    let mut arguments = DROP_IN.to_vec();
    arguments.push(&web);
    let daemon = Daemon::spawn(handed(unix, &arguments), directory());
    daemon.wait_for_log("address=systemd");
    let said = in_the_clear(UnixStream::connect(&path).expect("connects"));
    assert!(!said.starts_with("HTTP/1.1 200"), "{said}");
}

#[test]
fn a_handed_socket_that_others_reach_is_warned_of_as_the_daemons_own_is() {
    let folder = directory();
    let web = folder.path().join("web.yml");
    let hash = "$2y$04$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG";
    let users = format!("basic_auth_users: {{alice: {hash}}}\n");
    fs::write(&web, &users).expect("a file");
    let file = folder.path().join("config.toml");
    let with = |more: &str| {
        let listen = format!(
            "{{ address = \"systemd\", {more} }}, \"unix:{}\"",
            file.with_extension("sock").display()
        );
        let text = format!("[server]\nlisten = [{listen}]\n[scrape]\ndefault_collectors = false\n");
        fs::write(&file, text).expect("the configuration");
    };
    let passwords = format!("web_config = {web:?}");
    let start = |address: &str| {
        let listener = TcpListener::bind(address).expect("a port");
        let bound = listener.local_addr().expect("an address");
        let arguments = ["run", "--config", file.to_str().expect("UTF-8")];
        (Daemon::spawn(handed(listener, &arguments), directory()), bound)
    };
    let words = "without TLS the passwords of its users";
    with(&passwords);
    {
        let (daemon, bound) = start("0.0.0.0:0");
        daemon.wait_for_log(&format!("systemd ({bound}): {words}"));
        // And at a reload.
        let token = folder.path().join("token");
        fs::write(&token, "marker").expect("a file");
        fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).expect("chmod");
        with(&format!("token_file = {token:?}"));
        let socket = file.with_extension("sock");
        assert_eq!(Connection::open_unix(&socket).ask("PUT", "/plugins/reload", &[]).status, 200);
        daemon.wait_for_log(&format!("systemd ({bound}): without TLS the token of those who read"));
    }
    with(&passwords);
    let (daemon, _) = start("127.0.0.1:0");
    daemon.wait_for_log("listening");
    assert!(!daemon.log().contains(words), "{}", daemon.log());
}

#[test]
fn without_a_socket_that_listens_it_does_not_start() {
    let ends = |command: &mut Command| {
        let (status, _, err) = harness::output(command);
        assert_eq!(status, 71, "{err}");
        err
    };
    let mut alone = Command::new(harness::binary());
    let err = ends(alone.args(DROP_IN));
    assert!(err.contains("systemd has handed over no socket"), "{err}");
    // Of another process: its number is in the variable.
    let mut others = Command::new(harness::binary());
    let err = ends(others.args(DROP_IN).envs([("LISTEN_PID", "1"), ("LISTEN_FDS", "1")]));
    assert!(err.contains("systemd has handed over no socket"), "{err}");
    // A file, a socket for datagrams, and a connection, as `Accept=yes` gives it.
    let datagrams = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let connection = UnixStream::pair().expect("a pair").0;
    let file = fs::File::open("/dev/null").expect("a file");
    for descriptor in [OwnedFd::from(file), datagrams.into(), connection.into()] {
        let mut command = Command::new("sh");
        command.args(["-c", HAND_OVER, "sh"]).arg(harness::binary()).args(DROP_IN);
        command.stdout(Stdio::from(descriptor)).stderr(Stdio::piped()).stdin(Stdio::null());
        let child = command.spawn().expect("it starts").wait_with_output().expect("it ends");
        let err = String::from_utf8_lossy(&child.stderr);
        assert_eq!(child.status.code(), Some(71), "{err}");
        assert!(err.contains("does not listen for connections"), "{err}");
    }
}
