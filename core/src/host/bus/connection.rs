//! A connection to a bus: a unix socket, its authentication, and calls one after another.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use rustix::net::SocketAddrUnix;

use super::wire::{self, BusCall, BusReader, Reply, START};
use crate::host::conversation::connect_unix;
use crate::host::deadline::left;
use crate::host::errno::{EACCES, EPROTO};
use crate::host::spare::Spare;

/// A line of the authentication has some forty bytes.
const LONGEST_LINE: usize = 512;

/// A buffer grows by no more than this before as much has come, whatever a message says of itself.
const PIECE: usize = 64 * 1024;

/// Where a bus listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Address {
    Path(Vec<u8>),
    /// A name of Linux's abstract namespace.
    Abstract(Vec<u8>),
}

impl Address {
    /// The first address of a list that is a unix socket (the D-Bus specification, "Server
    /// Addresses"), such as `unix:path=/run/dbus/system_bus_socket,guid=1234`.
    pub(super) fn parse(list: &[u8]) -> Option<Address> {
        list.split(|&byte| byte == b';').find_map(|address| {
            let keys = address.strip_prefix(b"unix:")?;
            keys.split(|&byte| byte == b',').find_map(|entry| {
                if let Some(path) = entry.strip_prefix(b"path=") {
                    unescape(path).map(Address::Path)
                } else {
                    unescape(entry.strip_prefix(b"abstract=")?).map(Address::Abstract)
                }
            })
        })
    }
}

/// Replaces `%20` and its like.
fn unescape(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = text.iter();
    while let Some(&byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(*rest.next()?).to_digit(16);
        let (high, low) = (digit()?, digit()?);
        bytes.push(u8::try_from(high * 16 + low).ok()?);
    }
    (!bytes.is_empty()).then_some(bytes)
}

/// Why there is no reply.
#[derive(Debug)]
pub(super) enum Failure {
    /// The connection cannot be used any more.
    Broken(io::Error),
    /// The service answered with an error of this name.
    Refused(String),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Failure::Broken(error)
    }
}

/// A connection that is opened when it is used, kept, and opened anew after a failure.
#[derive(Debug)]
pub(super) struct Connection {
    address: Option<Address>,
    /// Whether a bus is there, which gives a name, or the service itself.
    is_bus: bool,
    stream: Option<UnixStream>,
    serial: u32,
    buffer: Vec<u8>,
    spare: Spare,
}

impl Connection {
    pub(super) const fn new(address: Option<Address>, is_bus: bool) -> Self {
        Connection {
            address,
            is_bus,
            stream: None,
            serial: 0,
            buffer: Vec::new(),
            spare: Spare::new(),
        }
    }

    /// A connection to the bus at the other end of a stream; it cannot be opened anew.
    #[cfg(any(test, feature = "testing"))]
    pub(super) fn over(mut stream: UnixStream, deadline: Instant) -> io::Result<Self> {
        let mut connection = Self::new(None, true);
        connection.introduce(&mut stream, deadline)?;
        connection.stream = Some(stream);
        Ok(connection)
    }

    /// Calls a method and gives the values that it returned.
    pub(super) fn call(
        &mut self,
        call: &BusCall<'_>,
        deadline: Instant,
    ) -> Result<BusReader<'_>, Failure> {
        let was_open = self.stream.is_some();
        let mut called = self.attempt(call, deadline);
        // The bus may have been started anew since the last call. Collectors only ask, so a call
        // that was perhaps carried out does no harm twice.
        if was_open && matches!(&called, Err(Failure::Broken(error)) if is_end(error)) {
            called = self.attempt(call, deadline);
        }
        called?;
        match wire::parse(&self.buffer, self.serial) {
            Ok(Reply::Return(reader)) => Ok(reader),
            Ok(Reply::Error(name)) => Err(Failure::Refused(error_name(name))),
            Ok(Reply::Other) | Err(_) => Err(Failure::Broken(not_a_message())),
        }
    }

    fn attempt(&mut self, call: &BusCall<'_>, deadline: Instant) -> Result<(), Failure> {
        let outcome = self.try_call(call, deadline);
        self.spare.look(&mut self.buffer);
        Ok(outcome?)
    }

    /// A stream that is taken and not given back is closed.
    fn try_call(&mut self, call: &BusCall<'_>, deadline: Instant) -> io::Result<()> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => self.open(deadline)?,
        };
        self.exchange(&mut stream, call, deadline)?;
        self.stream = Some(stream);
        Ok(())
    }

    fn open(&mut self, deadline: Instant) -> io::Result<UnixStream> {
        let address = self.address.as_ref().ok_or(io::ErrorKind::NotFound)?;
        let socket_address = match address {
            Address::Path(path) => SocketAddrUnix::new(path.as_slice())?,
            Address::Abstract(name) => SocketAddrUnix::new_abstract_name(name)?,
        };
        let mut stream = UnixStream::from(connect_unix(&socket_address, deadline)?);
        self.introduce(&mut stream, deadline)?;
        Ok(stream)
    }

    /// Says who this is, and takes the name that a bus gives.
    fn introduce(&mut self, stream: &mut UnixStream, deadline: Instant) -> io::Result<()> {
        authenticate(stream, &mut self.buffer, deadline)?;
        if self.is_bus {
            let hello = BusCall {
                destination: "org.freedesktop.DBus",
                path: "/org/freedesktop/DBus",
                interface: "org.freedesktop.DBus",
                member: "Hello",
                arguments: &[],
            };
            self.exchange(stream, &hello, deadline)?;
            if !matches!(wire::parse(&self.buffer, self.serial), Ok(Reply::Return(_))) {
                return Err(io::Error::from_raw_os_error(EACCES));
            }
        }
        Ok(())
    }

    /// Sends a call and receives messages until the reply to it is in the buffer.
    fn exchange(
        &mut self,
        stream: &mut UnixStream,
        call: &BusCall<'_>,
        deadline: Instant,
    ) -> io::Result<()> {
        // 0 is no serial number.
        self.serial = self.serial.checked_add(1).unwrap_or(1);
        wire::encode(&mut self.buffer, self.serial, call);
        send(stream, &self.buffer, deadline)?;
        loop {
            self.buffer.clear();
            receive(stream, &mut self.buffer, START, deadline)?;
            let length = self.buffer.first_chunk().and_then(wire::length);
            receive(stream, &mut self.buffer, length.ok_or_else(not_a_message)?, deadline)?;
            match wire::parse(&self.buffer, self.serial) {
                Ok(Reply::Other) => {}
                Ok(_) => return Ok(()),
                Err(_) => return Err(not_a_message()),
            }
        }
    }
}

/// Says who this is by the credentials that the kernel gives the server (SASL's EXTERNAL).
fn authenticate(
    stream: &mut UnixStream,
    buffer: &mut Vec<u8>,
    deadline: Instant,
) -> io::Result<()> {
    let user = rustix::process::geteuid().as_raw().to_string();
    let digits: String = user.bytes().map(|digit| format!("{digit:02x}")).collect();
    send(stream, format!("\0AUTH EXTERNAL {digits}\r\n").as_bytes(), deadline)?;
    buffer.clear();
    // The server says nothing beyond this line before it is answered.
    while !buffer.ends_with(b"\r\n") {
        if buffer.len() >= LONGEST_LINE {
            return Err(not_a_message());
        }
        let one_more = buffer.len() + 1;
        receive(stream, buffer, one_more, deadline)?;
    }
    if !buffer.starts_with(b"OK ") {
        let is_refused = buffer.starts_with(b"REJECTED");
        return Err(if is_refused {
            io::Error::from_raw_os_error(EACCES)
        } else {
            not_a_message()
        });
    }
    send(stream, b"BEGIN\r\n", deadline)
}

fn send(stream: &mut UnixStream, mut bytes: &[u8], deadline: Instant) -> io::Result<()> {
    while !bytes.is_empty() {
        stream.set_write_timeout(Some(left(deadline)?))?;
        match stream.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::BrokenPipe.into()),
            Ok(written) => bytes = &bytes[written..],
            Err(error) => retry(error)?,
        }
    }
    Ok(())
}

/// Reads until the buffer has so many bytes.
fn receive(
    stream: &mut UnixStream,
    buffer: &mut Vec<u8>,
    length: usize,
    deadline: Instant,
) -> io::Result<()> {
    while buffer.len() < length {
        let start = buffer.len();
        stream.set_read_timeout(Some(left(deadline)?))?;
        buffer.resize(length.min(start + PIECE), 0);
        let read = stream.read(&mut buffer[start..]);
        buffer.truncate(start + *read.as_ref().unwrap_or(&0));
        match read {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => {}
            Err(error) => retry(error)?,
        }
    }
    Ok(())
}

/// Lets a call that a signal or the coarse clock of timeouts ended be repeated; `left` ends it.
fn retry(error: io::Error) -> io::Result<()> {
    match error.kind() {
        io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock => Ok(()),
        _ => Err(error),
    }
}

/// Whether the other side has gone.
fn is_end(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionReset | UnexpectedEof)
}

fn not_a_message() -> io::Error {
    io::Error::from_raw_os_error(EPROTO)
}

/// A name as it may be shown: what another program sent, bounded.
fn error_name(name: &[u8]) -> String {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_');
    name.iter().copied().filter(is_part).take(100).map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_the_specification_says() {
        let of = |list: &str| Address::parse(list.as_bytes());
        let path = |path: &str| Some(Address::Path(path.into()));
        assert_eq!(of("unix:path=/run/bus"), path("/run/bus"));
        assert_eq!(of("tcp:host=a,port=1;unix:guid=12,path=/a%20b"), path("/a b"));
        assert_eq!(of("unix:abstract=/tmp/x,guid=1"), Some(Address::Abstract(b"/tmp/x".to_vec())));
        for none in ["", "unix:", "unix:tmpdir=/tmp", "unix:path=", "unix:path=%", "unix:path=%zz"]
        {
            assert_eq!(of(none), None, "{none}");
        }
    }

    #[test]
    fn a_name_that_is_shown_is_bounded() {
        assert_eq!(error_name(b"org.a_b.C\n\x1b[2J\xff"), "org.a_b.C2J");
        assert_eq!(error_name(&[b'a'; 1000]).len(), 100);
    }
}
