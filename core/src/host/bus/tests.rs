//! Calls over real sockets, to servers that are slow, end early or answer garbage.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{JoinHandle, spawn};
use std::time::Duration;

use super::*;
use crate::host::tests::left_out;
use crate::host::{MemoryHost, Roots};

fn long() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

/// A path for a socket, removed at the end.
struct SocketPath(PathBuf);

impl SocketPath {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("vitald-bus-{}-{number}", std::process::id());
        SocketPath(std::env::temp_dir().join(name))
    }

    fn bus(&self) -> Bus {
        let path = self.0.as_os_str().as_encoded_bytes().to_vec();
        Host::new(Roots::default()).bus_at(Some(Address::Path(path)), true)
    }
}

impl Drop for SocketPath {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).ok();
    }
}

const CALL: BusCall<'static> =
    BusCall { destination: "a.b", path: "/a", interface: "a.b.C", member: "M", arguments: &["x"] };

/// A server, one function for each connection.
fn serve(handlers: Vec<fn(Server)>) -> (SocketPath, JoinHandle<()>) {
    let path = SocketPath::new();
    let listener = UnixListener::bind(&path.0).unwrap();
    let serving = spawn(move || {
        for handler in handlers {
            let (stream, _) = listener.accept().unwrap();
            handler(Server(stream));
        }
    });
    (path, serving)
}

struct Server(UnixStream);

impl Server {
    fn line(&mut self) -> String {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            let mut byte = [0];
            self.0.read_exact(&mut byte).unwrap();
            line.extend(byte);
        }
        String::from_utf8(line).unwrap()
    }

    fn authenticate(&mut self) {
        let line = self.line();
        let user = rustix::process::geteuid().as_raw().to_string();
        let digits: String = user.bytes().map(|digit| format!("{digit:02x}")).collect();
        assert_eq!(line, format!("\0AUTH EXTERNAL {digits}\r\n"));
        self.0.write_all(b"OK 1234\r\n").unwrap();
        assert_eq!(self.line(), "BEGIN\r\n");
    }

    /// Takes a call; gives its serial number and what it says.
    fn take(&mut self) -> (u32, Vec<u8>) {
        let mut message = vec![0; wire::START];
        self.0.read_exact(&mut message).unwrap();
        let length = wire::length(message.first_chunk().unwrap()).unwrap();
        message.resize(length, 0);
        self.0.read_exact(&mut message[wire::START..]).unwrap();
        (u32::from_le_bytes(message[8..12].try_into().unwrap()), message)
    }

    /// A message by the specification, with the least of a header.
    fn message(kind: u8, serial: u32, signature: &str, body: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut writer = BusWriter::new(&mut bytes);
        for byte in [b'l', kind, 0, 1] {
            writer.byte(byte);
        }
        writer.number_32(body.len() as u32);
        writer.number_32(77);
        writer.array(b'(', |fields| {
            fields.fields(|field| {
                field.byte(5);
                field.variant("u", |value| value.number_32(serial));
            });
            fields.fields(|field| {
                field.byte(4);
                field.variant("s", |value| value.text(b"org.freedesktop.DBus.Error.UnknownMethod"));
            });
            fields.fields(|field| {
                field.byte(8);
                field.variant("g", |value| value.signature(signature));
            });
        });
        writer.fields(|_| {});
        bytes.extend(body);
        bytes
    }

    fn answer(&mut self, kind: u8, serial: u32, signature: &str, body: &[u8]) {
        self.0.write_all(&Self::message(kind, serial, signature, body)).unwrap();
    }

    /// Up to the name that a bus gives.
    fn welcome(&mut self) {
        self.authenticate();
        let (serial, hello) = self.take();
        assert!(hello.windows(5).any(|window| window == b"Hello"));
        self.answer(2, serial, "s", b"\x04\0\0\0:1.1\0");
    }
}

fn number(bus: &mut Bus, deadline: Instant) -> Result<u32> {
    bus.call(&CALL, deadline, |reply| reply.number_32())
}

#[test]
fn a_connection_is_kept_and_opened_anew_after_the_bus_was() {
    let (path, serving) = serve(vec![
        |mut server| {
            server.welcome();
            for value in [1, 2_u32] {
                let (serial, message) = server.take();
                assert!(message.windows(5).any(|window| window == b"a.b.C"));
                // A signal, and the late reply to another call.
                server.answer(4, 0, "u", &[9; 4]);
                server.answer(2, serial + 100, "u", &[9; 4]);
                server.answer(2, serial, "u", &value.to_le_bytes());
            }
            let (serial, _) = server.take();
            server.answer(3, serial, "", b"");
        },
        |mut server| {
            server.welcome();
            let (serial, _) = server.take();
            server.answer(2, serial, "u", &3_u32.to_le_bytes());
        },
    ]);
    let mut bus = path.bus();
    assert_eq!(number(&mut bus, long()).unwrap(), 1);
    assert_eq!(number(&mut bus, long()).unwrap(), 2);
    // An error of the service leaves the connection, which then ends.
    let refused = number(&mut bus, long());
    assert!(matches!(&refused, Err(Error::Absent { path }) if &**path == "bus a.b.C.M"));
    assert_eq!(number(&mut bus, long()).unwrap(), 3);
    serving.join().unwrap();
    drop(path);
    assert!(matches!(number(&mut bus, long()), Err(Error::Absent { .. })));
}

#[test]
fn what_is_no_reply_costs_one_call() {
    /// Serves until the client has gone.
    fn wait(server: &mut Server) {
        let _ = server.0.read(&mut [0; 64]);
    }
    let (path, serving) = serve(vec![
        // It never says a word; says another one; ends in the middle; sends garbage.
        wait_for_the_end,
        |mut server| {
            server.line();
            server.0.write_all(b"REJECTED EXTERNAL\r\n").unwrap();
        },
        |mut server| {
            server.line();
            server.0.write_all(&[b'x'; 4096]).unwrap();
            wait(&mut server);
        },
        |mut server| {
            server.welcome();
            let (serial, _) = server.take();
            let message = Server::message(2, serial, "u", &[0; 4]);
            server.0.write_all(&message[..30]).unwrap();
        },
        |mut server| {
            server.welcome();
            server.take();
            server.0.write_all(&[0xff; 64]).unwrap();
            wait(&mut server);
        },
        |mut server| {
            server.welcome();
            let (serial, _) = server.take();
            let mut message = Server::message(2, serial, "u", &[0; 4]);
            // The fields are longer than the message.
            message[16..20].copy_from_slice(&[5, 1, b'a', 9]);
            server.0.write_all(&message).unwrap();
            wait(&mut server);
        },
        |mut server| {
            server.welcome();
            let (serial, _) = server.take();
            // A byte at a time, and never the last one.
            let message = Server::message(2, serial, "u", &[0; 4]);
            for byte in &message[..message.len() - 1] {
                server.0.write_all(&[*byte]).unwrap();
            }
            wait(&mut server);
        },
        |mut server| {
            server.welcome();
            let (serial, _) = server.take();
            server.answer(2, serial, "s", b"\x01\0\0\0x\0");
            let (serial, _) = server.take();
            server.answer(2, serial, "u", &7_u32.to_le_bytes());
        },
    ]);
    fn wait_for_the_end(mut server: Server) {
        server.line();
        wait(&mut server);
    }
    let mut bus = path.bus();
    let mut errno = |deadline| match number(&mut bus, deadline) {
        Err(Error::Unreadable { source, .. }) => (source.raw_os_error(), source.kind()),
        other => panic!("{other:?}"),
    };
    let soon = || Instant::now() + Duration::from_millis(100);
    assert_eq!(errno(soon()).0, Some(110), "silent");
    assert_eq!(errno(long()).0, Some(13), "rejected");
    assert_eq!(errno(long()).0, Some(71), "no line");
    assert_eq!(errno(long()).1, io::ErrorKind::UnexpectedEof, "cut");
    assert_eq!(errno(long()).0, Some(71), "garbage");
    assert_eq!(errno(long()).0, Some(71), "wrong fields");
    assert_eq!(errno(soon()).0, Some(110), "slow");
    // Another type than the reader's is a fault of the text alone.
    assert!(matches!(number(&mut bus, long()), Err(Error::Malformed { at: 0, .. })));
    assert_eq!(number(&mut bus, long()).unwrap(), 7);
    serving.join().unwrap();
}

/// systemd's own socket gives no name and knows no destination.
#[test]
fn a_service_without_a_bus_is_not_greeted() {
    let (path, serving) = serve(vec![|mut server| {
        server.authenticate();
        let (serial, message) = server.take();
        assert!(message.ends_with(b"\x01\0\0\0x\0"));
        server.answer(2, serial, "u", &[4, 0, 0, 0]);
    }]);
    let address = Some(Address::Path(path.0.as_os_str().as_encoded_bytes().to_vec()));
    let mut systemd = Host::new(Roots::default()).bus_at(address, false);
    let call = BusCall { destination: "", ..CALL };
    assert_eq!(systemd.call(&call, long(), |reply| reply.number_32()).unwrap(), 4);
    serving.join().unwrap();
}

#[test]
fn a_bus_that_accepts_nothing_costs_the_deadline() {
    let path = SocketPath::new();
    let listener = UnixListener::bind(&path.0).unwrap();
    // The queue is full: connecting would wait for ever.
    rustix::net::listen(&listener, 0).unwrap();
    let _first = UnixStream::connect(&path.0).unwrap();
    let began = Instant::now();
    let outcome = number(&mut path.bus(), began + Duration::from_millis(100));
    let Err(Error::Unreadable { source, .. }) = outcome else { panic!("{outcome:?}") };
    assert_eq!(source.raw_os_error(), Some(110));
    assert!(began.elapsed() < Duration::from_secs(30));
}

#[test]
fn the_memory_host_answers_by_name() {
    let memory = MemoryHost::new();
    memory.set_bus_reply("/a", "a.b.C", "M", "u", |body| body.number_32(5));
    let mut bus = memory.host().bus();
    assert_eq!(number(&mut bus, long()).unwrap(), 5);
    memory.set_bus_error("/a", "a.b.C", "M", "org.freedesktop.DBus.Error.AccessDenied");
    assert!(matches!(number(&mut bus, long()), Err(Error::Unreadable { .. })));
    let other = BusCall { member: "N", ..CALL };
    let absent = memory.host().systemd_bus().call(&other, long(), |reply| reply.number_32());
    assert!(matches!(absent, Err(Error::Absent { .. })));
}

/// A bus of its own, ended at the end.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[test]
fn a_real_bus_lists_its_names() {
    let path = SocketPath::new();
    let started = Command::new("dbus-daemon")
        .args(["--session", "--nofork", "--nopidfile", "--print-address"])
        .arg(format!("--address=unix:path={}", path.0.display()))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let mut daemon = match started {
        Ok(daemon) => Daemon(daemon),
        Err(error) => return left_out(&format!("dbus-daemon cannot be started: {error}")),
    };
    // It listens when it has printed its address.
    let mut address = [0; 16];
    daemon.0.stdout.take().unwrap().read_exact(&mut address).unwrap();
    let mut bus = path.bus();
    let list = BusCall {
        destination: "org.freedesktop.DBus",
        path: "/org/freedesktop/DBus",
        interface: "org.freedesktop.DBus",
        member: "ListNames",
        arguments: &[],
    };
    for _ in 0..2 {
        let mut names = Vec::new();
        bus.call(&list, long(), |reply| {
            reply.array(&mut |name| {
                names.push(name.text()?.to_vec());
                Ok(())
            })
        })
        .unwrap();
        assert!(names.contains(&b"org.freedesktop.DBus".to_vec()), "{names:?}");
    }
    let properties = BusCall {
        interface: "org.freedesktop.DBus.Properties",
        member: "GetAll",
        arguments: &["org.freedesktop.DBus"],
        ..list
    };
    let mut known = 0;
    bus.call(&properties, long(), |reply| {
        reply.array(&mut |property| {
            known += 1;
            property.skip()
        })
    })
    .unwrap();
    assert!(known > 0);
    let unknown = bus.call(&CALL, long(), |reply| reply.number_32());
    assert!(matches!(unknown, Err(Error::Absent { .. })), "{unknown:?}");
}
