//! A handle on D-Bus: one kept connection, and calls of methods with a deadline.

use std::fmt;
use std::io;
#[cfg(any(test, feature = "testing"))]
use std::os::unix::net::UnixStream;
use std::time::Instant;

#[cfg(any(test, feature = "testing"))]
use super::memory::MemoryHost;
use super::{Host, World};
use crate::error::{Error, Malformed, Result};

mod connection;
mod wire;

pub use wire::{BusCall, BusReader, BusWriter};

use connection::{Address, Connection, Failure};

/// A connection to the system bus, or to systemd itself, for one consumer.
///
/// It is opened at the first call and kept. After a failure the next call opens another one; a
/// connection that the other side has closed since the last call is replaced at once. No call
/// starts a service that does not run.
pub struct Bus(Service);

enum Service {
    Real(Connection),
    #[cfg(any(test, feature = "testing"))]
    Memory(MemoryHost),
}

impl Host {
    /// The system bus: the address in `DBUS_SYSTEM_BUS_ADDRESS`, else
    /// `/run/dbus/system_bus_socket`. Nothing is opened until the first call.
    pub fn bus(&self) -> Bus {
        let list = std::env::var_os("DBUS_SYSTEM_BUS_ADDRESS");
        let list = list
            .as_deref()
            .map_or(&b"unix:path=/run/dbus/system_bus_socket"[..], |list| list.as_encoded_bytes());
        self.bus_at(Address::parse(list), true)
    }

    /// systemd's own socket, `/run/systemd/private`, which answers root without a bus. A
    /// [`BusCall::destination`] is left empty there.
    pub fn systemd_bus(&self) -> Bus {
        self.bus_at(Some(Address::Path(b"/run/systemd/private".to_vec())), false)
    }

    fn bus_at(&self, address: Option<Address>, is_bus: bool) -> Bus {
        Bus(match &self.inner.world {
            World::Real => Service::Real(Connection::new(address, is_bus)),
            #[cfg(any(test, feature = "testing"))]
            World::Memory(memory) => Service::Memory(memory.clone()),
        })
    }
}

impl Bus {
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
            .map(|connection| Bus(Service::Real(connection)))
            .map_err(|error| broken("bus", error))
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
        let source = || format!("bus {}.{}", call.interface, call.member);
        match &mut self.0 {
            Service::Real(connection) => match connection.call(call, deadline) {
                Ok(mut reader) => {
                    read(&mut reader).map_err(|malformed| malformed.in_file(&source()))
                }
                Err(Failure::Broken(error)) => Err(broken(&source(), error)),
                Err(Failure::Refused(name)) => Err(refused(&source(), &name)),
            },
            #[cfg(any(test, feature = "testing"))]
            Service::Memory(memory) => {
                match memory.answer_bus(call.path, call.interface, call.member) {
                    None => Err(Error::absent(source())),
                    Some(Err(name)) => Err(refused(&source(), &name)),
                    Some(Ok((signature, body))) => read(&mut BusReader::new(&body, &signature))
                        .map_err(|malformed| malformed.in_file(&source())),
                }
            }
        }
    }
}

/// A failed connection. Without a server the socket's file may be there all the same.
fn broken(source: &str, error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Error::absent(source),
        _ => Error::from_io(source, error),
    }
}

/// An error that a service answered with.
fn refused(source: &str, name: &str) -> Error {
    let kind = name.strip_prefix("org.freedesktop.DBus.Error.").unwrap_or_default();
    match kind {
        "ServiceUnknown" | "NameHasNoOwner" | "UnknownObject" | "UnknownInterface"
        | "UnknownMethod" | "UnknownProperty" => Error::absent(source),
        "AccessDenied" | "AuthFailed" => {
            Error::from_io(source, io::Error::from_raw_os_error(super::errno::EACCES))
        }
        _ => Error::from_io(source, io::Error::other(format!("the service answers {name}"))),
    }
}

impl fmt::Debug for Bus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bus").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
