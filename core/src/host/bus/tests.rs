//! Calls over real sockets, to servers that are slow, end early or answer garbage.

use std::io::Read;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::*;
use crate::host::tests::left_out;
use crate::host::{MemoryHost, Roots};
use crate::testing::{BusServer, FakeBus, SocketPath, bus_message};

fn long() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

fn soon() -> Instant {
    Instant::now() + Duration::from_millis(100)
}

fn bus_at(path: &std::path::Path) -> Bus {
    let path = path.as_os_str().as_encoded_bytes().to_vec();
    Host::new(Roots::default()).bus_at(|| vec![Address::Path(path)], true)
}

const CALL: BusCall<'static> =
    BusCall { destination: "a.b", path: "/a", interface: "a.b.C", member: "M", arguments: &["x"] };

/// A bus with one function for each connection.
fn serve(handlers: Vec<fn(BusServer)>) -> FakeBus {
    FakeBus::new(move |number, server| {
        if let Some(handler) = handlers.get(number) {
            handler(server);
        }
    })
}

/// The serial number of the next call.
fn next(server: &mut BusServer) -> u32 {
    server.take().unwrap().serial
}

fn number(bus: &mut Bus, deadline: Instant) -> Result<u32> {
    bus.call(&CALL, deadline, |reply| reply.number_32())
}

#[test]
fn a_connection_is_kept_and_opened_anew_after_the_bus_was() {
    let fake = serve(vec![
        |mut server| {
            server.welcome();
            for value in [1, 2_u32] {
                let call = server.take().unwrap();
                assert_eq!((&*call.interface, &*call.arguments), ("a.b.C", &["x".to_owned()][..]));
                // A signal, and the late reply to another call.
                server.answer(4, call.serial, "u", &[9; 4]);
                server.answer(2, call.serial + 100, "u", &[9; 4]);
                server.answer(2, call.serial, "u", &value.to_le_bytes());
            }
            let serial = next(&mut server);
            server.answer(3, serial, "", b"");
        },
        |mut server| {
            server.welcome();
            let serial = next(&mut server);
            server.answer(2, serial, "u", &3_u32.to_le_bytes());
            assert!(server.take().is_none(), "it is closed");
        },
        |mut server| {
            server.welcome();
            let serial = next(&mut server);
            server.answer(2, serial, "u", &4_u32.to_le_bytes());
        },
    ]);
    let mut bus = bus_at(fake.path());
    bus.connect(long()).unwrap();
    assert_eq!(number(&mut bus, long()).unwrap(), 1);
    assert_eq!(number(&mut bus, long()).unwrap(), 2);
    // An error of the service leaves the connection, which then ends.
    let refused = number(&mut bus, long());
    assert!(matches!(&refused, Err(Error::Absent { path }) if &**path == "bus a.b.C.M"));
    assert_eq!(number(&mut bus, long()).unwrap(), 3);
    bus.close();
    assert_eq!(number(&mut bus, long()).unwrap(), 4);
    drop(fake);
    assert!(matches!(number(&mut bus, long()), Err(Error::Absent { .. })));
    assert!(matches!(bus.connect(long()), Err(Error::Absent { .. })));
}

#[test]
fn what_is_no_reply_costs_one_call() {
    let fake = serve(vec![
        // It never says a word; says another one; ends in the middle; sends garbage.
        |mut server| server.wait(),
        |mut server| {
            server.line();
            server.send(b"REJECTED EXTERNAL\r\n");
        },
        |mut server| {
            server.line();
            server.send(&[b'x'; 4096]);
            server.wait();
        },
        |mut server| {
            server.welcome();
            let serial = next(&mut server);
            server.send(&bus_message(2, serial, "u", &[0; 4])[..30]);
        },
        |mut server| {
            server.welcome();
            server.take();
            server.send(&[0xff; 64]);
            server.wait();
        },
        |mut server| {
            server.welcome();
            let serial = next(&mut server);
            let mut message = bus_message(2, serial, "u", &[0; 4]);
            // The fields are longer than the message.
            message[16..20].copy_from_slice(&[5, 1, b'a', 9]);
            server.send(&message);
            server.wait();
        },
        |mut server| {
            server.welcome();
            let serial = next(&mut server);
            // A byte at a time, and never the last one.
            let message = bus_message(2, serial, "u", &[0; 4]);
            for byte in &message[..message.len() - 1] {
                server.send(&[*byte]);
            }
            server.wait();
        },
        |mut server| {
            server.welcome();
            let serial = next(&mut server);
            server.answer(2, serial, "s", b"\x01\0\0\0x\0");
            let serial = next(&mut server);
            server.answer(2, serial, "u", &7_u32.to_le_bytes());
        },
    ]);
    let mut bus = bus_at(fake.path());
    let mut errno = |deadline| match number(&mut bus, deadline) {
        Err(Error::Unreadable { source, .. }) => (source.raw_os_error(), source.kind()),
        other => panic!("{other:?}"),
    };
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
}

/// Calls `count` methods at once, and gives what was read of each.
fn numbers(bus: &mut Bus, count: usize, deadline: Instant) -> (Vec<Option<u32>>, Result<()>) {
    let mut read = vec![None; count];
    let calls = std::iter::repeat_n(CALL, count);
    let outcome = bus.call_each(calls, deadline, |place, reply| {
        assert_eq!(read[place], None, "a second reply to one call");
        read[place] = Some(match reply {
            Ok(mut reader) => reader.number_32().unwrap(),
            Err(name) => {
                assert_eq!(name, UNKNOWN);
                u32::MAX
            }
        });
    });
    (read, outcome)
}

#[test]
fn many_calls_are_sent_before_the_first_reply() {
    /// Answers so many calls, with their numbers, in another order than they came in, and some twice.
    fn answer(server: &mut BusServer, count: usize, first: u32) {
        let serials: Vec<u32> = (0..count).map(|_| next(server)).collect();
        for (place, serial) in serials.iter().enumerate().rev() {
            let value = first + place as u32;
            if value % 7 == 3 {
                server.answer(3, *serial, "", b"");
            } else {
                server.answer(2, *serial, "u", &value.to_le_bytes());
            }
            server.answer(2, *serial, "u", &[9; 4]);
            server.answer(2, serial.wrapping_sub(200), "u", &[9; 4]);
        }
    }
    let fake = serve(vec![
        |mut server| {
            server.welcome();
            // More than these are never on their way.
            answer(&mut server, 64, 0);
            answer(&mut server, 64, 64);
            answer(&mut server, 2, 128);
        },
        |mut server| {
            server.welcome();
            answer(&mut server, 3, 0);
            // Then it ends with some calls answered, which are not sent again.
            let serial = next(&mut server);
            next(&mut server);
            server.answer(2, serial, "u", &[1, 0, 0, 0]);
        },
        |mut server| {
            server.welcome();
            answer(&mut server, 1, 0);
            let serial = next(&mut server);
            server.answer(2, serial, "u", &[1, 0, 0, 0]);
            server.wait();
        },
    ]);
    let mut bus = bus_at(fake.path());
    let expected = |number: u32| Some(if number % 7 == 3 { u32::MAX } else { number });
    let (read, outcome) = numbers(&mut bus, 130, long());
    outcome.unwrap();
    assert_eq!(read, (0..130).map(expected).collect::<Vec<_>>());
    // The bus has gone since: what was not answered is sent to the next one.
    let (read, outcome) = numbers(&mut bus, 3, long());
    outcome.unwrap();
    assert_eq!(read, [Some(0), Some(1), Some(2)]);
    let (read, outcome) = numbers(&mut bus, 2, long());
    let Err(Error::Unreadable { source, .. }) = outcome else { panic!("{outcome:?}") };
    assert_eq!(source.kind(), io::ErrorKind::UnexpectedEof);
    assert_eq!(read, [Some(1), None]);
    assert_eq!(numbers(&mut bus, 0, long()).0, []);
    assert_eq!(numbers(&mut bus, 1, long()).0, [Some(0)]);
    let (read, outcome) = numbers(&mut bus, 70, soon());
    let Err(Error::Unreadable { source, .. }) = outcome else { panic!("{outcome:?}") };
    assert_eq!(source.raw_os_error(), Some(110));
    assert_eq!(read.iter().flatten().count(), 1);
}

#[test]
fn the_first_address_that_answers_is_taken() {
    let gone = SocketPath::new();
    let fake = serve(vec![|mut server| {
        server.welcome();
        let serial = next(&mut server);
        server.answer(2, serial, "u", &[5, 0, 0, 0]);
    }]);
    let address =
        |path: &std::path::Path| Address::Path(path.as_os_str().as_encoded_bytes().into());
    let host = Host::new(Roots::default());
    let mut bus = host.bus_at(|| vec![address(gone.path()), address(fake.path())], true);
    assert_eq!(number(&mut bus, long()).unwrap(), 5);
    let mut bus = host.bus_at(|| vec![address(gone.path()); 2], true);
    assert!(matches!(number(&mut bus, long()), Err(Error::Absent { .. })));
    // The error names what was tried, also that of a call.
    let gone = gone.path().display();
    let expected = format!("bus at {gone}, {gone}: not on this host");
    assert_eq!(number(&mut bus, long()).unwrap_err().to_string(), expected);
    assert_eq!(bus.connect(long()).unwrap_err().to_string(), expected);
    let none = number(&mut host.bus_at(Vec::new, true), long()).unwrap_err();
    let expected = "bus, of which DBUS_SYSTEM_BUS_ADDRESS names no unix socket: not on this host";
    assert_eq!(none.to_string(), expected);
}

#[test]
fn serial_numbers_begin_anew_before_their_end() {
    let fake = serve(vec![|mut server| {
        server.welcome();
        server.answer_from(&memory(), usize::MAX);
    }]);
    fn memory() -> MemoryHost {
        let memory = MemoryHost::new();
        memory.set_bus_reply("/a", "a.b.C", "M", "u", |body| body.number_32(6));
        memory
    }
    let mut bus = bus_at(fake.path());
    let Service::Real(connection) = &mut bus.service else { panic!() };
    connection.set_serial(u32::MAX - 200);
    for _ in 0..3 {
        let (read, outcome) = numbers(&mut bus, 100, long());
        outcome.unwrap();
        assert_eq!(read, [Some(6); 100]);
    }
}

/// systemd's own socket gives no name and knows no destination.
#[test]
fn a_service_without_a_bus_is_not_greeted() {
    let fake = serve(vec![|mut server| {
        server.authenticate();
        let call = server.take().unwrap();
        assert_eq!((&*call.destination, &*call.member), ("", "M"));
        server.answer(2, call.serial, "u", &[4, 0, 0, 0]);
    }]);
    let address = Address::Path(fake.path().as_os_str().as_encoded_bytes().to_vec());
    let mut systemd = Host::new(Roots::default()).bus_at(|| vec![address], false);
    let call = BusCall { destination: "", ..CALL };
    assert_eq!(systemd.call(&call, long(), |reply| reply.number_32()).unwrap(), 4);
}

#[test]
fn a_bus_that_accepts_nothing_costs_the_deadline() {
    let path = SocketPath::new();
    let listener = UnixListener::bind(path.path()).unwrap();
    // The queue is full: connecting would wait for ever.
    rustix::net::listen(&listener, 0).unwrap();
    let _first = UnixStream::connect(path.path()).unwrap();
    let began = Instant::now();
    let outcome = number(&mut bus_at(path.path()), began + Duration::from_millis(100));
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
    memory.set_bus_property("/a", "a.b.C", "P", "u", |value| value.number_32(8));
    let property = BusCall::property("a.b", "/a", &["a.b.C", "P"]);
    let variant = |reply: &mut BusReader<'_>| reply.variant(&mut BusReader::number_32);
    assert_eq!(bus.call(&property, long(), variant).unwrap(), 8);
    let unknown = BusCall { arguments: &["a.b.C", "Q"], ..property };
    assert!(matches!(bus.call(&unknown, long(), variant), Err(Error::Absent { .. })));
    bus.connect(long()).unwrap();
    let nothing = MemoryHost::new().host().bus().connect(long());
    assert!(matches!(nothing, Err(Error::Absent { .. })));
    let other = BusCall { member: "N", ..CALL };
    let absent = memory.host().systemd_bus().call(&other, long(), |reply| reply.number_32());
    assert!(matches!(absent, Err(Error::Absent { .. })));
}

#[test]
fn a_name_that_is_shown_is_bounded() {
    assert_eq!(shown(b"org.a_b.C\n\x1b[2J\xff"), "org.a_b.C2J");
    assert_eq!(shown(&[b'a'; 1000]).len(), 100);
}

/// A collection has one long reply and then many short ones.
#[test]
fn many_short_replies_take_no_memory_from_the_long_one() {
    let memory = MemoryHost::new();
    memory.set_bus_reply("/a", "a.b.C", "M", "u", |body| body.number_32(6));
    memory.set_bus_reply("/a", "a.b.C", "Long", "s", |body| body.text(&[b'x'; 500_000]));
    let fake = FakeBus::of(&memory);
    let mut bus = bus_at(fake.path());
    let room_of = |bus: &Bus| match &bus.service {
        Service::Real(connection) => connection.room(),
        Service::Memory(_) => 0,
    };
    let call = BusCall { member: "Long", ..CALL };
    bus.call(&call, long(), |reply| reply.text().map(drop)).unwrap();
    let room = room_of(&bus);
    assert!(room > 500_000);
    numbers(&mut bus, 64 * 70, long()).1.unwrap();
    assert_eq!(room_of(&bus), room);
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
        .arg(format!("--address=unix:path={}", path.path().display()))
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
    let mut bus = bus_at(path.path());
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
