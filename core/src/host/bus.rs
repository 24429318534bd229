//! A handle on D-Bus: one kept connection, and calls of methods with a deadline, many at a time.

use std::fmt;
use std::io;
#[cfg(any(test, feature = "testing"))]
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Instant;

#[cfg(any(test, feature = "testing"))]
use super::memory::MemoryHost;
use super::{Host, World};
use crate::error::{Error, Malformed, Result, is_absence};

mod connection;
pub(crate) mod wire;

pub use wire::{BusCall, BusReader, BusWriter};

use connection::{Address, Answer, Connection};

/// A connection to the system bus, or to systemd itself, for one consumer.
///
/// It is opened at the first call and kept. After a failure the next call opens another one; a
/// connection that the other side has closed since the last call is replaced at once. No call
/// starts a service that does not run.
pub struct Bus {
    service: Service,
    /// What an error of the connection is of: it names the sockets that are tried.
    name: Arc<str>,
    /// What the last error of a call was of: one that stays costs no allocation.
    failed: Arc<str>,
}

enum Service {
    Real(Connection),
    #[cfg(any(test, feature = "testing"))]
    Memory(MemoryHost),
}

impl Host {
    /// The system bus: the addresses in `DBUS_SYSTEM_BUS_ADDRESS`, else
    /// `/run/dbus/system_bus_socket`, else the same under `/var/run`, which is another directory in
    /// some containers. Nothing is opened until the first call.
    pub fn bus(&self) -> Bus {
        const DEFAULT: &[u8] = b"unix:path=/run/dbus/system_bus_socket;\
            unix:path=/var/run/dbus/system_bus_socket";
        let list = std::env::var_os(VARIABLE);
        let list = list.as_deref().map_or(DEFAULT, |list| list.as_encoded_bytes());
        self.bus_at(|| Address::parse(list), true)
    }

    /// systemd's own socket, `/run/systemd/private`, which answers root without a bus. A
    /// [`BusCall::destination`] is left empty there.
    ///
    /// Close it after each collection ([`Bus::close`]): systemd sends all its signals to each
    /// connection there, and keeps in memory what is not read.
    pub fn systemd_bus(&self) -> Bus {
        self.bus_at(|| vec![Address::Path(b"/run/systemd/private".to_vec())], false)
    }

    fn bus_at(&self, addresses: impl FnOnce() -> Vec<Address>, is_bus: bool) -> Bus {
        let addresses = match &self.inner.world {
            World::Real => addresses(),
            #[cfg(any(test, feature = "testing"))]
            World::Memory(memory) => match memory.bus_socket(is_bus) {
                Some(path) => vec![Address::Path(path)],
                None => return Bus::new(Service::Memory(memory.clone()), "bus"),
            },
        };
        let name = name_of(&addresses);
        Bus::new(Service::Real(Connection::new(addresses, is_bus)), &name)
    }
}

/// The variable that lists the addresses of the system bus.
const VARIABLE: &str = "DBUS_SYSTEM_BUS_ADDRESS";

/// A bus in words: where it is looked for.
fn name_of(addresses: &[Address]) -> String {
    let places: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    match places[..] {
        [] => format!("bus, of which {VARIABLE} names no unix socket"),
        _ => format!("bus at {}", places.join(", ")),
    }
}

impl Bus {
    fn new(service: Service, name: &str) -> Self {
        let name: Arc<str> = name.into();
        Bus { service, failed: Arc::clone(&name), name }
    }

    /// A bus at the other end of a stream, which is asked for a name first, as at the start of every
    /// connection. Once that stream fails, there is no bus.
    ///
    /// # Errors
    ///
    /// As [`Bus::call`].
    #[cfg(any(test, feature = "testing"))]
    pub fn over(stream: UnixStream, deadline: Instant) -> Result<Bus> {
        let connection = Connection::over(stream, deadline);
        connection
            .map(|connection| Bus::new(Service::Real(connection), "bus"))
            .map_err(|error| Error::of_source("bus".into(), error))
    }

    /// Opens the connection unless it is open. A call does so itself; this tells apart that there is
    /// no bus from what a bus answers.
    ///
    /// # Errors
    ///
    /// As [`Bus::call`].
    pub fn connect(&mut self, deadline: Instant) -> Result<()> {
        match &mut self.service {
            Service::Real(connection) => {
                connection.connect(deadline).map_err(|error| broken(&self.name, error))
            }
            #[cfg(any(test, feature = "testing"))]
            Service::Memory(memory) if memory.has_bus() => Ok(()),
            #[cfg(any(test, feature = "testing"))]
            Service::Memory(_) => Err(Error::absent(Arc::clone(&self.name))),
        }
    }

    /// Closes the connection, which the next call opens anew.
    pub fn close(&mut self) {
        match &mut self.service {
            Service::Real(connection) => connection.close(),
            #[cfg(any(test, feature = "testing"))]
            Service::Memory(_) => {}
        }
    }

    /// Calls a method and reads what it returned.
    ///
    /// The deadline covers all of it, from the connection to the last byte of the reply, which is
    /// in memory before `read` is called. A reply has at most 16 MiB.
    ///
    /// # Errors
    ///
    /// [`Error::Absent`] where there is no bus, service, object or method of that name;
    /// [`Error::Unreadable`] when the deadline has passed (`ETIMEDOUT`), for an answer that is not
    /// a message (`EPROTO`), for a refusal and any other error of the service;
    /// [`Error::Malformed`] with what `read` says.
    pub fn call<T>(
        &mut self,
        call: &BusCall<'_>,
        deadline: Instant,
        read: impl FnOnce(&mut BusReader<'_>) -> Result<T, Malformed>,
    ) -> Result<T> {
        let (mut read, mut outcome) = (Some(read), None);
        let mut once = std::iter::once(*call);
        let exchanged = self.exchange(&mut once, deadline, &mut |_, answer| {
            let Some(read) = read.take() else { return };
            outcome = Some(match answer {
                Ok(mut reader) => read(&mut reader).map_err(Failure::Malformed),
                Err(name) => Err(Failure::Refused(Refusal::of(name))),
            });
        });
        match exchanged.map(|()| outcome) {
            Ok(Some(Ok(value))) => Ok(value),
            Ok(Some(Err(Failure::Malformed(malformed)))) => {
                Err(malformed.in_file(&self.source_of(call)))
            }
            Ok(Some(Err(Failure::Refused(refusal)))) => Err(refusal.error(self.source_of(call))),
            Ok(None) => Err(Error::absent(self.source_of(call))),
            // Not the call but its way has no source.
            Err(error) if is_missing(&error) => Err(Error::absent(&self.name)),
            Err(error) => Err(Error::of_source(self.source_of(call), error)),
        }
    }

    /// What an error of a call is of.
    fn source_of(&mut self, call: &BusCall<'_>) -> Arc<str> {
        let BusCall { interface, member, .. } = call;
        let rest = self.failed.strip_prefix("bus ").and_then(|rest| rest.strip_prefix(interface));
        if rest.and_then(|rest| rest.strip_prefix('.')) != Some(member) {
            self.failed = format!("bus {interface}.{member}").into();
        }
        Arc::clone(&self.failed)
    }

    /// Calls methods, many at a time, so that thousands of calls do not wait for one another.
    ///
    /// `read` is given the number of each call and its reply, in the order in which they come: the
    /// values that the method returned, or the name of the error that the service answered with. A
    /// property that the service does not know is such an error, and the others are read all the same.
    ///
    /// # Errors
    ///
    /// What [`Bus::call`] says of the connection. What was read before stays read.
    pub fn call_each<'c>(
        &mut self,
        calls: impl IntoIterator<Item = BusCall<'c>>,
        deadline: Instant,
        mut read: impl FnMut(usize, Result<BusReader<'_>, &[u8]>),
    ) -> Result<()> {
        let exchanged = self.exchange(&mut calls.into_iter(), deadline, &mut read);
        exchanged.map_err(|error| broken(&self.name, error))
    }

    fn exchange<'c>(
        &mut self,
        calls: &mut dyn Iterator<Item = BusCall<'c>>,
        deadline: Instant,
        answer: &mut dyn FnMut(usize, Answer<'_>),
    ) -> io::Result<()> {
        match &mut self.service {
            Service::Real(connection) => connection.call_each(calls, deadline, answer),
            #[cfg(any(test, feature = "testing"))]
            Service::Memory(memory) => {
                for (place, call) in calls.enumerate() {
                    match memory.answer_bus(&call) {
                        Some(Ok((signature, body))) => {
                            answer(place, Ok(BusReader::new(&body, &signature)));
                        }
                        Some(Err(name)) => answer(place, Err(name.as_bytes())),
                        None => answer(place, Err(UNKNOWN)),
                    }
                }
                Ok(())
            }
        }
    }
}

/// What a service says of a method or an object that it lacks.
#[cfg(any(test, feature = "testing"))]
pub(super) const UNKNOWN: &[u8] = b"org.freedesktop.DBus.Error.UnknownMethod";

/// Whether a connection failed because nothing is there. Without a server the socket's file may be there all the
/// same.
fn is_missing(error: &io::Error) -> bool {
    is_absence(error) || error.kind() == io::ErrorKind::ConnectionRefused
}

/// A failed connection.
fn broken(bus: &Arc<str>, error: io::Error) -> Error {
    if is_missing(&error) { Error::absent(bus) } else { Error::of_source(Arc::clone(bus), error) }
}

/// Why a call that was answered gave nothing.
enum Failure {
    Refused(Refusal),
    Malformed(Malformed),
}

/// An error that a service answered with.
enum Refusal {
    Absent,
    Forbidden,
    Other(String),
}

impl Refusal {
    fn of(name: &[u8]) -> Self {
        match name.strip_prefix(b"org.freedesktop.DBus.Error.").unwrap_or_default() {
            b"ServiceUnknown" | b"NameHasNoOwner" | b"UnknownObject" | b"UnknownInterface"
            | b"UnknownMethod" | b"UnknownProperty" => Refusal::Absent,
            b"AccessDenied" | b"AuthFailed" => Refusal::Forbidden,
            _ => Refusal::Other(shown(name)),
        }
    }

    fn error(self, source: Arc<str>) -> Error {
        match self {
            Refusal::Absent => Error::absent(source),
            Refusal::Forbidden => {
                Error::of_source(source, io::Error::from_raw_os_error(crate::errno::EACCES))
            }
            Refusal::Other(name) => {
                let error = io::Error::other(format!("the service answers {name}"));
                Error::of_source(source, error)
            }
        }
    }
}

/// A name as it may be shown: what another program sent, bounded.
fn shown(name: &[u8]) -> String {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_');
    name.iter().copied().filter(is_part).take(100).map(char::from).collect()
}

impl fmt::Debug for Bus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bus").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
