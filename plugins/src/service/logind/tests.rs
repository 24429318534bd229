//! The collector on hosts in memory, and at buses that fail.

use super::*;
use vitald_core::testing::*;

const PATH: &str = "/org/freedesktop/login1";
const INTERFACE: &str = "org.freedesktop.login1.Manager";

fn set_seats(memory: &MemoryHost, seats: &[&[u8]]) {
    memory.set_bus_reply(PATH, INTERFACE, "ListSeats", "a(so)", |body| {
        body.array(b'(', |all| {
            for seat in seats {
                all.fields(|fields| {
                    fields.text(seat);
                    fields.text(b"/org/freedesktop/login1/seat/seat0");
                });
            }
        });
    });
}

/// Each session by its number, seat, whether it is remote, type and class.
type Listed<'s> = (u32, &'s [u8], u32, &'s str, &'s str);

fn path_of(number: u32) -> String {
    format!("{PATH}/session/_3{number}")
}

fn set_sessions(memory: &MemoryHost, sessions: &[Listed<'_>]) {
    memory.set_bus_reply(PATH, INTERFACE, "ListSessions", "a(susso)", |body| {
        body.array(b'(', |all| {
            for (number, seat, ..) in sessions {
                all.fields(|fields| {
                    fields.text(number.to_string().as_bytes());
                    fields.number_32(1000);
                    fields.text(b"user");
                    fields.text(seat);
                    fields.text(path_of(*number).as_bytes());
                });
            }
        });
    });
    for (number, _, remote, kind, class) in sessions {
        let path = path_of(*number);
        memory.set_bus_property(&path, SESSION, "Remote", "b", |value| value.number_32(*remote));
        memory.set_bus_property(&path, SESSION, "Type", "s", |value| value.text(kind.as_bytes()));
        memory.set_bus_property(&path, SESSION, "Class", "s", |value| value.text(class.as_bytes()));
    }
}

fn memory() -> MemoryHost {
    let memory = MemoryHost::new();
    set_seats(&memory, &[b"seat0"]);
    set_sessions(
        &memory,
        &[
            (1, b"seat0", 0, "wayland", "greeter"),
            (2, b"seat0", 0, "x11", "user"),
            (3, b"", 1, "tty", "user"),
            (4, b"", 1, "tty", "user"),
            // Newer ones than those that are shown by name.
            (5, b"", 0, "unspecified", "manager"),
            (6, b"", 0, "hologram", "user"),
            // It came with a seat that is not in the list.
            (7, b"seat1", 0, "tty", "user"),
        ],
    );
    memory
}

/// The rows that are not 0, without the family's name.
fn counted(collector: &mut Logind) -> Vec<String> {
    let (run, outcome) = run(collector, None);
    outcome.unwrap();
    let page = render(&run);
    let rows = page.lines().filter_map(|line| line.strip_prefix("node_logind_sessions"));
    rows.filter(|row| !row.ends_with(" 0")).map(str::to_owned).collect()
}

const COUNTED: [&str; 5] = [
    r#"{seat="seat0",remote="false",type="x11",class="user"} 1"#,
    r#"{seat="seat0",remote="false",type="wayland",class="greeter"} 1"#,
    r#"{seat="",remote="false",type="other",class="user"} 1"#,
    r#"{seat="",remote="false",type="unspecified",class="other"} 1"#,
    r#"{seat="",remote="true",type="tty",class="user"} 2"#,
];

#[test]
fn every_kind_is_shown_for_every_seat() {
    let memory = memory();
    let mut collector = open::<Logind>(&memory.host(), &[]);
    let (first, outcome) = run(&mut collector, None);
    outcome.unwrap();
    assert_eq!(first.len(), 2 * 2 * 7 * 5);
    let (second, _) = run(&mut collector, Some(&first));
    assert_eq!(first.shape().id(), second.shape().id());
    assert_eq!(render(&first), render(&second));
    assert_eq!(counted(&mut collector), COUNTED);
}

#[test]
fn seats_and_sessions_come_and_go() {
    let memory = memory();
    let mut collector = open::<Logind>(&memory.host(), &[]);
    assert_eq!(counted(&mut collector).len(), 5);
    set_seats(&memory, &[b"seat0", b"seat1"]);
    assert!(
        counted(&mut collector)
            .contains(&r#"{seat="seat1",remote="false",type="tty",class="user"} 1"#.to_owned())
    );
    set_seats(&memory, &[]);
    set_sessions(&memory, &[(4, b"", 1, "web", "user"), (2, b"seat0", 0, "x11", "user")]);
    assert_eq!(counted(&mut collector), [r#"{seat="",remote="true",type="web",class="user"} 1"#]);
    set_sessions(&memory, &[]);
    let (run, _) = run(&mut collector, None);
    assert_eq!((run.len(), counted(&mut collector).len()), (70, 0));
}

/// It has ended since it was listed, or says what is not expected.
#[test]
fn a_session_that_is_not_known_is_not_counted() {
    let memory = memory();
    let get = "org.freedesktop.DBus.Properties";
    for (number, name) in [(2, "Remote"), (3, "Type"), (4, "Class")] {
        memory.set_bus(&[&path_of(number), get, "Get", SESSION, name], None);
    }
    memory.set_bus_property(&path_of(1), SESSION, "Class", "u", |value| value.number_32(1));
    memory.set_bus_property(&path_of(5), SESSION, "Remote", "s", |value| value.text(b"true"));
    assert_eq!(counted(&mut open(&memory.host(), &[])), [COUNTED[2]]);
}

#[test]
fn seats_have_any_names() {
    let memory = MemoryHost::new();
    set_seats(&memory, &[b"a\"\\\n\xff"]);
    set_sessions(&memory, &[(1, b"a\"\\\n\xff", 0, "tty", "user")]);
    assert_eq!(
        counted(&mut open(&memory.host(), &[])),
        ["{seat=\"a\\\"\\\\\\n\u{fffd}\",remote=\"false\",type=\"tty\",class=\"user\"} 1"]
    );
}

fn error_of(memory: &MemoryHost) -> String {
    let (run, outcome) = run(&mut open::<Logind>(&memory.host(), &[]), None);
    assert!(run.is_empty());
    outcome.unwrap_err().to_string()
}

#[test]
fn without_a_bus_or_logind_there_is_nothing() {
    let absent = "bus org.freedesktop.login1.Manager.ListSeats: not on this host";
    assert_eq!(error_of(&MemoryHost::new()), absent);
    let memory = memory();
    for (name, error) in [
        ("org.freedesktop.DBus.Error.ServiceUnknown", "not on this host"),
        ("org.freedesktop.DBus.Error.AccessDenied", "Permission denied (os error 13)"),
    ] {
        memory.set_bus_error(PATH, INTERFACE, "ListSessions", name);
        let expected = format!("bus org.freedesktop.login1.Manager.ListSessions: {error}");
        assert_eq!(error_of(&memory), expected);
    }
    for (signature, bytes) in
        [("s", &b"\x01\0\0\0x\0"[..]), ("a(s)", b"\xff\xff\xff\xff"), ("", b"")]
    {
        for member in ["ListSeats", "ListSessions"] {
            let memory = self::memory();
            let reply = Ok((signature.to_owned(), bytes.to_vec()));
            memory.set_bus(&[PATH, INTERFACE, member], Some(reply));
            assert!(error_of(&memory).contains(member));
        }
    }
}

#[test]
fn a_real_bus_may_end_refuse_or_say_nothing() {
    let memory = memory();
    let fake = FakeBus::new(move |number, mut server| match number {
        0 => {
            server.line();
            server.send(b"REJECTED EXTERNAL\r\n");
        }
        1 => {
            server.welcome();
            server.answer_from(&memory, 12);
        }
        _ => {
            server.welcome();
            server.answer_from(&memory, usize::MAX);
        }
    });
    let client = MemoryHost::new();
    client.set_bus_socket(fake.path());
    let mut collector = open::<Logind>(&client.host(), &[]);
    let error = |collector: &mut Logind| run(collector, None).1.unwrap_err().to_string();
    let refused = "bus org.freedesktop.login1.Manager.ListSeats: Permission denied (os error 13)";
    assert_eq!(error(&mut collector), refused);
    assert!(error(&mut collector).starts_with("bus at /"), "it ended after some answers");
    for _ in 0..2 {
        assert_eq!(counted(&mut collector), COUNTED);
    }
    let absent = format!("bus at {}: not on this host", fake.path().display());
    drop(fake);
    assert_eq!(error(&mut collector), absent);

    let silent = FakeBus::new(|_, mut server| {
        server.welcome();
        server.wait();
    });
    client.set_bus_socket(silent.path());
    let mut collector = open::<Logind>(&client.host(), &[]);
    let outcome = collector.list(Instant::now() + Duration::from_millis(100));
    assert!(outcome.unwrap_err().to_string().ends_with("timed out (os error 110)"));
}
