//! Sessions of users, from systemd-logind over the bus (org.freedesktop.login1(5)).

use std::time::Instant;
use vitald_core::host::{Bus, BusCall, BusReader};
use vitald_core::prelude::*;

families! {
    /// Sessions at a seat, by what they are; the seat is empty for those without one, such as over the
    /// network.
    SESSIONS: gauge = "node_logind_sessions" [seat, remote, type, class];
}

const SERVICE: &str = "org.freedesktop.login1";
const SESSION: &str = "org.freedesktop.login1.Session";
const MANAGER: BusCall<'static> = BusCall {
    destination: SERVICE,
    path: "/org/freedesktop/login1",
    interface: "org.freedesktop.login1.Manager",
    member: "",
    arguments: &[],
};

/// What is asked of each session.
const PROPERTIES: [[&str; 2]; 3] = [[SESSION, "Remote"], [SESSION, "Type"], [SESSION, "Class"]];

/// Each of them is shown for each seat; what is not among them is the first.
const TYPES: [&[u8]; 7] = [b"other", b"unspecified", b"tty", b"x11", b"wayland", b"mir", b"web"];
const CLASSES: [&[u8]; 5] = [b"other", b"user", b"greeter", b"lock-screen", b"background"];
const REMOTE: [&[u8]; 2] = [b"false", b"true"];

/// How many sessions there are of each kind.
type Sessions = [[[u64; CLASSES.len()]; TYPES.len()]; REMOTE.len()];

/// How long logind may take when the run has no limit.
const LONGEST: Duration = Duration::from_secs(30);

register_collector!(Logind);

struct Logind {
    bus: Bus,
    seats: Rows<Sessions>,
    /// By name, the seat after them.
    sessions: Rows<Session>,
    answers: Vec<[Option<usize>; PROPERTIES.len()]>,
}

struct Session {
    path: Box<str>,
    seat: Vec<u8>,
}

impl Collector for Logind {
    about! {
        name: "logind",
        summary: "Sessions of users",
        families: FAMILIES,
        sources: ["bus org.freedesktop.login1"],
    }
    const ENABLED: bool = false;
    const MAY_BLOCK: bool = true;

    fn open((): (), host: &Host) -> Result<Self> {
        Ok(Logind {
            bus: host.bus(),
            seats: Rows::new(),
            sessions: Rows::new(),
            answers: Vec::new(),
        })
    }

    fn collect(&mut self, batch: &mut Batch) -> Result<()> {
        let deadline = batch.deadline(LONGEST);
        self.list(deadline)?;
        self.ask(deadline)?;
        self.count();
        for (seat, sessions) in self.seats.iter() {
            for (remote, types) in REMOTE.iter().zip(sessions) {
                for (kind, classes) in TYPES.iter().zip(types) {
                    for (class, count) in CLASSES.iter().zip(classes) {
                        batch.row(&SESSIONS, [seat, remote, kind, class], *count);
                    }
                }
            }
        }
        Ok(())
    }
}

impl Logind {
    fn list(&mut self, deadline: Instant) -> Result<()> {
        let Logind { bus, seats, sessions, .. } = self;
        let mut known = seats.begin();
        bus.call(&BusCall { member: "ListSeats", ..MANAGER }, deadline, |reply| {
            parse_seats(reply, &mut |seat| {
                *known.row(seat, Sessions::default) = Sessions::default()
            })
        })?;
        *known.row(b"", Sessions::default) = Sessions::default();
        known.finish();
        let mut known = sessions.begin();
        bus.call(&BusCall { member: "ListSessions", ..MANAGER }, deadline, |reply| {
            parse_sessions(reply, &mut |seat, path| {
                let session =
                    known.row(path.as_bytes(), || Session { path: path.into(), seat: Vec::new() });
                session.seat.clear();
                session.seat.extend_from_slice(seat);
            })
        })?;
        known.finish();
        Ok(())
    }

    /// Asks what each session is. A session that has ended since has no answers.
    fn ask(&mut self, deadline: Instant) -> Result<()> {
        let Logind { bus, sessions, answers, .. } = self;
        answers.clear();
        answers.resize(sessions.len(), [None; PROPERTIES.len()]);
        let calls = sessions.iter().flat_map(|(_, session)| {
            PROPERTIES.iter().map(|property| BusCall::property(SERVICE, &session.path, property))
        });
        bus.call_each(calls, deadline, |place, reply| {
            let (session, property) = (place / PROPERTIES.len(), place % PROPERTIES.len());
            let read = &mut |value: &mut BusReader<'_>| parse_property(property, value);
            // What is of another type than it should be is not known.
            answers[session][property] = reply.ok().and_then(|mut value| value.variant(read).ok());
        })
    }

    fn count(&mut self) {
        for ((_, session), answers) in self.sessions.iter().zip(&self.answers) {
            let &[Some(remote), Some(kind), Some(class)] = answers else { continue };
            let seat = self.seats.iter_mut().find(|(seat, _)| *seat == session.seat);
            // A seat that came after the seats were listed is shown the next time.
            if let Some((_, sessions)) = seat {
                sessions[remote][kind][class] += 1;
            }
        }
    }
}

/// Reads what `ListSeats` returns: of each seat its name and path.
fn parse_seats(reply: &mut BusReader<'_>, each: &mut dyn FnMut(&[u8])) -> Result<(), Malformed> {
    reply.array(&mut |seat| {
        seat.fields(&mut |seat| {
            each(seat.text()?);
            Ok(())
        })
    })
}

/// Reads what `ListSessions` returns: of each session its name, user's number, user's name, seat and
/// path.
fn parse_sessions(
    reply: &mut BusReader<'_>,
    each: &mut dyn FnMut(&[u8], &str),
) -> Result<(), Malformed> {
    reply.array(&mut |session| {
        session.fields(&mut |session| {
            session.skip()?;
            session.skip()?;
            session.skip()?;
            let seat = session.text()?;
            each(seat, session.object_path()?);
            Ok(())
        })
    })
}

/// The place of what a property of that number says among all that is shown.
fn parse_property(property: usize, value: &mut BusReader<'_>) -> Result<usize, Malformed> {
    let place = |known: &[&[u8]], text: &[u8]| known.iter().position(|known| *known == text);
    Ok(match property {
        0 => value.boolean()?.into(),
        1 => place(&TYPES, value.text()?).unwrap_or_default(),
        _ => place(&CLASSES, value.text()?).unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests;
