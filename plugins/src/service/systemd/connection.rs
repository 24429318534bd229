//! The two ways to systemd: over the bus, and at its own socket.

use std::time::Instant;
use vitald_core::host::{Bus, BusCall, BusReader};
use vitald_core::prelude::*;

/// systemd's manager as an object of the bus.
pub(super) const OBJECT: &str = "/org/freedesktop/systemd1";
/// What that object can do.
pub(super) const MANAGER: &str = "org.freedesktop.systemd1.Manager";

pub(super) struct Connection {
    /// None where systemd is to be asked at its own socket.
    bus: Option<Bus>,
    direct: Bus,
}

/// systemd as it can be called until a deadline.
pub(super) struct Service<'s> {
    bus: &'s mut Bus,
    destination: &'static str,
    deadline: Instant,
    malformed: Option<Malformed>,
}

impl Connection {
    pub(super) fn new(host: &Host, is_private: bool) -> Self {
        Connection { bus: (!is_private).then(|| host.bus()), direct: host.systemd_bus() }
    }

    /// Connects to the bus, or where that fails, to systemd itself, which takes root alone. Of two
    /// failures that of the bus is reported.
    pub(super) fn open(&mut self, deadline: Instant) -> Result<Service<'_>> {
        let mut failure = None;
        if let Some(bus) = &mut self.bus {
            match bus.connect(deadline) {
                Ok(()) => {
                    return Ok(Service::new(bus, "org.freedesktop.systemd1", deadline));
                }
                Err(error) => failure = Some(error),
            }
        }
        let connected = self.direct.connect(deadline);
        connected.map_err(|error| failure.unwrap_or(error))?;
        Ok(Service::new(&mut self.direct, "", deadline))
    }

    /// Keeps the connection to the bus alone: systemd sends every signal to each connection at its own
    /// socket, and keeps those that are not read.
    pub(super) fn rest(&mut self) {
        self.direct.close();
    }
}

impl<'s> Service<'s> {
    fn new(bus: &'s mut Bus, destination: &'static str, deadline: Instant) -> Self {
        Service { bus, destination, deadline, malformed: None }
    }

    /// Calls a method of the manager.
    pub(super) fn call<T>(
        &mut self,
        member: &str,
        read: impl FnOnce(&mut BusReader<'_>) -> Result<T, Malformed>,
    ) -> Result<T> {
        let call = BusCall {
            destination: self.destination,
            path: OBJECT,
            interface: MANAGER,
            member,
            arguments: &[],
        };
        self.bus.call(&call, self.deadline, read)
    }

    /// Reads properties, each of an object at a path. Of those that systemd refuses, or that are not
    /// what they should be, nothing is read.
    pub(super) fn properties<'c>(
        &mut self,
        properties: impl Iterator<Item = (&'c str, &'c [&'c str; 2])>,
        mut read: impl FnMut(usize, &mut BusReader<'_>) -> Result<(), Malformed>,
    ) -> Result<()> {
        let Service { bus, destination, deadline, malformed } = self;
        let calls =
            properties.map(|(path, property)| BusCall::property(destination, path, property));
        bus.call_each(calls, *deadline, |place, reply| {
            let read = |mut reply: BusReader<'_>| reply.variant(&mut |value| read(place, value));
            if let Ok(Err(error)) = reply.map(read) {
                malformed.get_or_insert(error);
            }
        })
    }

    /// The first property that was not what it should be.
    pub(super) fn malformed(&self) -> Option<Malformed> {
        self.malformed
    }
}
