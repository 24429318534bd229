//! A bus for tests: messages as bytes, and a server at a real socket that says what a test wants.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{JoinHandle, spawn};

use crate::host::bus_wire;
pub use crate::host::bus_wire::ReceivedCall;
use crate::host::{BusCall, BusWriter, MemoryHost};
use crate::sync::lock;

/// A message by the specification, with the least of a header: of a kind (1 to 4: a call, values, an
/// error, a signal), in answer to the call with that serial number.
pub fn bus_message(kind: u8, serial: u32, signature: &str, body: &[u8]) -> Vec<u8> {
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

/// A path for a socket, whose file is removed at the end.
#[derive(Debug)]
pub struct SocketPath(PathBuf);

impl SocketPath {
    /// A path that no other test has.
    #[allow(clippy::new_without_default, reason = "each is another path")]
    pub fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("vitald-bus-{}-{number}", std::process::id());
        SocketPath(std::env::temp_dir().join(name))
    }

    /// The path.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for SocketPath {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).ok();
    }
}

/// A bus at a socket, which serves one connection after another until it is dropped.
///
/// Let a [`MemoryHost`] connect to it by [`MemoryHost::set_bus_socket`].
#[derive(Debug)]
pub struct FakeBus {
    path: SocketPath,
    state: Arc<Mutex<State>>,
    serving: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct State {
    is_ended: bool,
    connection: Option<UnixStream>,
}

impl FakeBus {
    /// A bus that serves each connection, of that number, by the function.
    ///
    /// # Panics
    ///
    /// Where there can be no socket.
    pub fn new(mut serve: impl FnMut(usize, BusServer) + Send + 'static) -> Self {
        let path = SocketPath::new();
        let listener = UnixListener::bind(path.path()).expect("a socket can be made");
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        let serving = spawn(move || {
            for number in 0.. {
                let Ok((stream, _)) = listener.accept() else { return };
                let mut state = lock(&shared);
                if state.is_ended {
                    return;
                }
                state.connection = stream.try_clone().ok();
                drop(state);
                serve(number, BusServer(stream));
                lock(&shared).connection = None;
            }
        });
        FakeBus { path, state, serving: Some(serving) }
    }

    /// A bus that answers as the memory host does: by [`MemoryHost::set_bus_reply`] and its like.
    pub fn of(memory: &MemoryHost) -> Self {
        let memory = memory.clone();
        FakeBus::new(move |_, mut server| {
            server.welcome();
            server.answer_from(&memory, usize::MAX);
        })
    }

    /// Where it listens.
    pub fn path(&self) -> &Path {
        self.path.path()
    }
}

impl Drop for FakeBus {
    /// Ends what is being served.
    fn drop(&mut self) {
        let mut state = lock(&self.state);
        state.is_ended = true;
        if let Some(connection) = &state.connection {
            connection.shutdown(Shutdown::Both).ok();
        }
        drop(state);
        UnixStream::connect(self.path.path()).ok();
        let outcome = self.serving.take().map(JoinHandle::join);
        if !std::thread::panicking() {
            assert!(matches!(outcome, Some(Ok(()))), "the bus of a test panicked");
        }
    }
}

/// The bus's end of a connection. Where the client has gone, what it sends goes nowhere.
#[derive(Debug)]
pub struct BusServer(UnixStream);

impl BusServer {
    /// A line of the authentication; what there is of it when the client has gone.
    pub fn line(&mut self) -> String {
        let mut line = Vec::new();
        let mut byte = [0];
        while !line.ends_with(b"\r\n") && self.0.read_exact(&mut byte).is_ok() {
            line.extend(byte);
        }
        String::from_utf8_lossy(&line).into_owned()
    }

    /// Takes the client for whom it says it is.
    ///
    /// # Panics
    ///
    /// When it says it in another way than D-Bus clients do.
    pub fn authenticate(&mut self) {
        let line = self.line();
        let user = rustix::process::geteuid().as_raw().to_string();
        let digits: String = user.bytes().map(|digit| format!("{digit:02x}")).collect();
        assert_eq!(line, format!("\0AUTH EXTERNAL {digits}\r\n"));
        self.send(b"OK 1234\r\n");
        assert_eq!(self.line(), "BEGIN\r\n");
    }

    /// Up to the name that a bus gives.
    ///
    /// # Panics
    ///
    /// When the client does not ask for it.
    pub fn welcome(&mut self) {
        self.authenticate();
        let hello = self.take().expect("a client says hello");
        assert_eq!(hello.member, "Hello");
        self.answer(2, hello.serial, "s", b"\x04\0\0\0:1.1\0");
    }

    /// The next call, or nothing when the client has gone.
    pub fn take(&mut self) -> Option<ReceivedCall> {
        let mut message = vec![0; bus_wire::START];
        self.0.read_exact(&mut message).ok()?;
        let length = message.first_chunk().and_then(bus_wire::length)?;
        message.resize(length, 0);
        self.0.read_exact(&mut message[bus_wire::START..]).ok()?;
        bus_wire::received(&message).ok()
    }

    /// Sends any bytes.
    pub fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).ok();
    }

    /// Sends a message of [`bus_message`].
    pub fn answer(&mut self, kind: u8, serial: u32, signature: &str, body: &[u8]) {
        self.send(&bus_message(kind, serial, signature, body));
    }

    /// Answers up to so many calls as the memory host does, until the client goes.
    pub fn answer_from(&mut self, memory: &MemoryHost, most: usize) {
        for _ in 0..most {
            let Some(call) = self.take() else { return };
            self.answer_call(memory, &call);
        }
    }

    /// Answers a call as the memory host does.
    pub fn answer_call(&mut self, memory: &MemoryHost, call: &ReceivedCall) {
        let arguments: Vec<&str> = call.arguments.iter().map(String::as_str).collect();
        let reply = memory.answer_bus(&BusCall {
            destination: &call.destination,
            path: &call.path,
            interface: &call.interface,
            member: &call.member,
            arguments: &arguments,
        });
        match reply {
            Some(Ok((signature, body))) => self.answer(2, call.serial, &signature, &body),
            Some(Err(_)) | None => self.answer(3, call.serial, "", b""),
        }
    }

    /// Says nothing until the client has gone.
    pub fn wait(&mut self) {
        while matches!(self.0.read(&mut [0; 4096]), Ok(1..)) {}
    }
}
