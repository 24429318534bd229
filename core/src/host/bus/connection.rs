//! A connection to a bus: a unix socket, its authentication, and calls, many of them at a time.

use std::fmt;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use rustix::net::SocketAddrUnix;

use super::wire::{self, BusCall, BusReader, Message, START};
use crate::errno::{EACCES, EPROTO};
use crate::host::conversation::connect_unix;
use crate::host::deadline::left;
use crate::host::spare::Spare;

/// A line of the authentication has some forty bytes.
const LONGEST_LINE: usize = 512;

/// A buffer grows by no more than this before as much has come, whatever a message says of itself.
const PIECE: usize = 64 * 1024;

/// How many calls are on their way at a time. The system bus of dbus-daemon refuses more than 128
/// (`max_replies_per_connection`).
const MOST_AT_A_TIME: usize = 64;

/// Where a bus listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Address {
    Path(Vec<u8>),
    /// A name of Linux's abstract namespace.
    Abstract(Vec<u8>),
}

impl Address {
    /// The addresses of a list that are unix sockets (the D-Bus specification, "Server Addresses"),
    /// such as `unix:path=/run/dbus/system_bus_socket,guid=1234`.
    pub(super) fn parse(list: &[u8]) -> Vec<Address> {
        let one = |address: &[u8]| {
            let keys = address.strip_prefix(b"unix:")?;
            keys.split(|&byte| byte == b',').find_map(|entry| {
                if let Some(path) = entry.strip_prefix(b"path=") {
                    unescape(path).map(Address::Path)
                } else {
                    unescape(entry.strip_prefix(b"abstract=")?).map(Address::Abstract)
                }
            })
        };
        list.split(|&byte| byte == b';').filter_map(one).collect()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mark, name) = match self {
            Address::Path(path) => ("", path),
            Address::Abstract(name) => ("@", name),
        };
        write!(f, "{mark}{}", String::from_utf8_lossy(name))
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

/// What a method gave: its values, or the name of an error.
pub(super) type Answer<'m> = Result<BusReader<'m>, &'m [u8]>;

/// A connection that is opened when it is used, kept, and opened anew after a failure.
#[derive(Debug)]
pub(super) struct Connection {
    /// The first of them that answers is taken.
    addresses: Vec<Address>,
    /// Whether a bus is there, which gives a name, or the service itself.
    is_bus: bool,
    stream: Option<UnixStream>,
    /// That of the last call.
    serial: u32,
    calls: Vec<u8>,
    buffer: Vec<u8>,
    spare: Spare,
}

/// Calls that are sent together: the serial number of the first, and how many there are.
#[derive(Clone, Copy)]
struct Window {
    first: u32,
    count: usize,
}

/// What has come of a window's replies.
#[derive(Default)]
struct Progress {
    /// A bit for each call that was answered.
    answered: u64,
    /// The longest message.
    longest: usize,
}

impl Connection {
    pub(super) const fn new(addresses: Vec<Address>, is_bus: bool) -> Self {
        Connection {
            addresses,
            is_bus,
            stream: None,
            serial: 0,
            calls: Vec::new(),
            buffer: Vec::new(),
            spare: Spare::new(),
        }
    }

    /// A connection to the bus at the other end of a stream; it cannot be opened anew.
    #[cfg(any(test, feature = "testing"))]
    pub(super) fn over(mut stream: UnixStream, deadline: Instant) -> io::Result<Self> {
        let mut connection = Self::new(Vec::new(), true);
        connection.introduce(&mut stream, deadline)?;
        connection.stream = Some(stream);
        Ok(connection)
    }

    /// How long a message can be without an allocation.
    #[cfg(test)]
    pub(super) fn room(&self) -> usize {
        self.buffer.capacity()
    }

    #[cfg(test)]
    pub(super) fn set_serial(&mut self, serial: u32) {
        self.serial = serial;
    }

    /// Opens the connection unless it is open.
    pub(super) fn connect(&mut self, deadline: Instant) -> io::Result<()> {
        if self.stream.is_none() {
            self.stream = Some(self.open(deadline)?);
        }
        Ok(())
    }

    pub(super) fn close(&mut self) {
        self.stream = None;
    }

    /// Calls methods, many at a time, and gives what each returned, with the number of the call.
    pub(super) fn call_each<'c>(
        &mut self,
        calls: &mut dyn Iterator<Item = BusCall<'c>>,
        deadline: Instant,
        answer: &mut dyn FnMut(usize, Answer<'_>),
    ) -> io::Result<()> {
        let (mut done, mut longest) = (0, 0);
        let outcome = loop {
            let window = self.encode(calls);
            if window.count == 0 {
                break Ok(());
            }
            let answer = &mut |place, given: Answer<'_>| answer(done + place, given);
            match self.exchange(window, deadline, answer) {
                Ok(progress) => longest = longest.max(progress.longest),
                Err(error) => break Err(error),
            }
            done += window.count;
        };
        self.spare.look_at_use(&mut self.buffer, longest);
        outcome
    }

    fn encode<'c>(&mut self, calls: &mut dyn Iterator<Item = BusCall<'c>>) -> Window {
        // 0 is no serial number, and no window goes over the end of the numbers.
        if self.serial > u32::MAX - 2 * MOST_AT_A_TIME as u32 {
            self.serial = 0;
        }
        let mut window = Window { first: self.serial + 1, count: 0 };
        self.calls.clear();
        for call in calls.take(MOST_AT_A_TIME) {
            self.serial += 1;
            wire::encode(&mut self.calls, self.serial, &call);
            window.count += 1;
        }
        window
    }

    fn exchange(
        &mut self,
        window: Window,
        deadline: Instant,
        answer: &mut dyn FnMut(usize, Answer<'_>),
    ) -> io::Result<Progress> {
        let was_open = self.stream.is_some();
        let mut progress = Progress::default();
        let mut outcome = self.try_exchange(window, deadline, &mut progress, answer);
        // The bus may have been started anew since the last call. Collectors only ask, so a call
        // that was perhaps carried out does no harm twice.
        if was_open && progress.answered == 0 && outcome.as_ref().is_err_and(is_end) {
            outcome = self.try_exchange(window, deadline, &mut progress, answer);
        }
        outcome.map(|()| progress)
    }

    /// A stream that is taken and not given back is closed.
    fn try_exchange(
        &mut self,
        window: Window,
        deadline: Instant,
        progress: &mut Progress,
        answer: &mut dyn FnMut(usize, Answer<'_>),
    ) -> io::Result<()> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => self.open(deadline)?,
        };
        send(&mut stream, &self.calls, deadline)?;
        receive_each(&mut stream, &mut self.buffer, window, deadline, progress, answer)?;
        self.stream = Some(stream);
        Ok(())
    }

    /// Opens a connection to the first address where that succeeds.
    fn open(&mut self, deadline: Instant) -> io::Result<UnixStream> {
        let mut failure = io::ErrorKind::NotFound.into();
        for place in 0..self.addresses.len() {
            match open(&self.addresses[place], deadline) {
                Ok(mut stream) => {
                    self.introduce(&mut stream, deadline)?;
                    return Ok(stream);
                }
                // What is there and refuses says more than what is not there.
                Err(error) if place > 0 && error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    /// Says who this is, and takes the name that a bus gives.
    fn introduce(&mut self, stream: &mut UnixStream, deadline: Instant) -> io::Result<()> {
        authenticate(stream, &mut self.buffer, deadline)?;
        if !self.is_bus {
            return Ok(());
        }
        let hello = BusCall {
            destination: "org.freedesktop.DBus",
            path: "/org/freedesktop/DBus",
            interface: "org.freedesktop.DBus",
            member: "Hello",
            arguments: &[],
        };
        self.serial = self.serial.checked_add(1).unwrap_or(1);
        self.buffer.clear();
        wire::encode(&mut self.buffer, self.serial, &hello);
        send(stream, &self.buffer, deadline)?;
        let window = Window { first: self.serial, count: 1 };
        let mut is_welcome = false;
        let progress = &mut Progress::default();
        receive_each(stream, &mut self.buffer, window, deadline, progress, &mut |_, given| {
            is_welcome = given.is_ok();
        })?;
        if is_welcome { Ok(()) } else { Err(io::Error::from_raw_os_error(EACCES)) }
    }
}

fn open(address: &Address, deadline: Instant) -> io::Result<UnixStream> {
    let socket_address = match address {
        Address::Path(path) => SocketAddrUnix::new(path.as_slice())?,
        Address::Abstract(name) => SocketAddrUnix::new_abstract_name(name)?,
    };
    Ok(UnixStream::from(connect_unix(&socket_address, deadline)?))
}

/// Receives messages until there was a reply to every call of the window.
fn receive_each(
    stream: &mut UnixStream,
    buffer: &mut Vec<u8>,
    window: Window,
    deadline: Instant,
    progress: &mut Progress,
    answer: &mut dyn FnMut(usize, Answer<'_>),
) -> io::Result<()> {
    let mut missing = window.count;
    while missing > 0 {
        buffer.clear();
        receive(stream, buffer, START, deadline)?;
        let length = buffer.first_chunk().and_then(wire::length);
        receive(stream, buffer, length.ok_or_else(not_a_message)?, deadline)?;
        progress.longest = progress.longest.max(buffer.len());
        let (serial, given) = match wire::parse(buffer) {
            Ok(Message::Return(serial, reader)) => (serial, Ok(reader)),
            Ok(Message::Error(serial, name)) => (serial, Err(name)),
            Ok(Message::Other) => continue,
            Err(_) => return Err(not_a_message()),
        };
        let place = serial.wrapping_sub(window.first) as usize;
        if place < window.count && progress.answered & (1 << place) == 0 {
            progress.answered |= 1 << place;
            missing -= 1;
            answer(place, given);
        }
    }
    Ok(())
}

/// Says who this is by the credentials that the kernel gives the server (SASL's EXTERNAL).
fn authenticate(
    stream: &mut UnixStream,
    buffer: &mut Vec<u8>,
    deadline: Instant,
) -> io::Result<()> {
    buffer.clear();
    write!(buffer, "{}", rustix::process::geteuid().as_raw())?;
    let digits = buffer.len();
    buffer.extend_from_slice(b"\0AUTH EXTERNAL ");
    for at in 0..digits {
        let digit = buffer[at];
        write!(buffer, "{digit:02x}")?;
    }
    buffer.extend_from_slice(b"\r\n");
    send(stream, &buffer[digits..], deadline)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_the_specification_says() {
        let of = |list: &str| Address::parse(list.as_bytes());
        let path = |path: &str| vec![Address::Path(path.into())];
        assert_eq!(of("unix:path=/run/bus"), path("/run/bus"));
        assert_eq!(of("tcp:host=a,port=1;unix:guid=12,path=/a%20b"), path("/a b"));
        assert_eq!(of("unix:abstract=/tmp/x,guid=1"), [Address::Abstract(b"/tmp/x".to_vec())]);
        assert_eq!(of("unix:path=/a;unix:path=/b"), [path("/a"), path("/b")].concat());
        for none in ["", "unix:", "unix:tmpdir=/tmp", "unix:path=", "unix:path=%", "unix:path=%zz"]
        {
            assert_eq!(of(none), [], "{none}");
        }
    }
}
