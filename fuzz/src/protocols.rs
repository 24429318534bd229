//! What the kernel and the bus answer, before a collector sees it.

use crate::Target;
use std::io::Write as _;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};
use vitald_core::error::Malformed;
use vitald_core::host::netlink::{
    parse_addresses, parse_disciplines, parse_links, parse_messages, parse_neighbours,
    parse_owned_sockets, parse_routes, parse_statistics, parse_tcp_sockets,
};
use vitald_core::host::{AttributeWriter, Bus, BusCall, BusReader, BusWriter, NetlinkAttributes};
use vitald_core::testing::bus_message;

/// How deep attributes in one another are looked at.
const DEEPEST: u8 = 8;
/// What the buffers of a socket hold in any case.
const MOST_BYTES: usize = 64 << 10;

pub fn targets() -> Vec<Target> {
    let target = |name: &str, seeds: Vec<Vec<u8>>, run: fn(&[u8])| Target {
        name: name.to_owned(),
        seeds,
        run: Box::new(run),
    };
    vec![
        target("netlink", netlink_seeds(), netlink),
        target("generic_netlink", generic_netlink_seeds(), generic_netlink),
        target("bus", bus_seeds(), bus),
    ]
}

fn netlink(bytes: &[u8]) {
    let mut entries = 0;
    let dump = parse_links(bytes, &mut |link| {
        entries += 1;
        assert!(!link.name.is_empty());
        let names = link.alternative_names.clone().count();
        assert!(names <= bytes.len());
    });
    if let Ok(dump) = dump {
        assert_eq!(dump.entries, entries);
    }
    entries = 0;
    let dump = parse_statistics(bytes, &mut |_, _| entries += 1);
    if let Ok(dump) = dump {
        assert_eq!(dump.entries, entries);
    }
    entries = 0;
    let dump = parse_addresses(bytes, &mut |_| entries += 1);
    if let Ok(dump) = dump {
        assert_eq!(dump.entries, entries);
    }
    assert!(entries <= bytes.len());
    let dumps = [
        parse_neighbours(bytes, &mut drop),
        parse_routes(bytes, &mut |route| assert!(route.next_hops.count() <= bytes.len())),
        parse_disciplines(bytes, &mut |discipline| assert!(!discipline.kind.contains(&0))),
        parse_tcp_sockets(bytes, &mut drop),
        parse_owned_sockets(bytes, &mut drop),
    ];
    for dump in dumps.into_iter().flatten() {
        assert!(dump.entries <= bytes.len());
    }
}

/// A link with a name, statistics and a nested list; an address; a neighbour; a route with two ways; a queueing
/// discipline; a socket; an end mark.
fn netlink_seeds() -> Vec<Vec<u8>> {
    let names = [attribute(53, b"alias0\0"), attribute(53, b"alias1\0")].concat();
    let link = [
        vec![0; 16],
        attribute(3, b"eth0\0"),
        attribute(23, &[7; 200]),
        attribute(7, &[7; 96]),
        attribute(18, &attribute(1, b"veth\0")),
        attribute(52 | 0x8000, &names),
        attribute(4, &1500_u32.to_ne_bytes()),
    ]
    .concat();
    let address = [
        vec![2, 24, 0, 0, 1, 0, 0, 0],
        attribute(1, &[192, 0, 2, 1]),
        attribute(2, &[192, 0, 2, 2]),
        attribute(3, b"eth0\0"),
        attribute(8, &[0; 4]),
    ]
    .concat();
    let neighbour =
        [vec![2, 0, 0, 0, 3, 0, 0, 0, 2, 0, 0, 1], attribute(1, &[192, 0, 2, 1])].concat();
    let way = |hops: u8| {
        let gateway = attribute(5, &[192, 0, 2, 1]);
        [vec![gateway.len() as u8 + 8, 0, 0, hops, 3, 0, 0, 0], gateway].concat()
    };
    let route = [
        vec![2, 24, 0, 0, 254, 3, 0, 1, 0, 0, 0, 0],
        attribute(1, &[198, 51, 100, 0]),
        attribute(7, &[192, 0, 2, 7]),
        attribute(6, &100_u32.to_ne_bytes()),
        attribute(4, &2_i32.to_ne_bytes()),
        attribute(9, &[way(0), way(9)].concat()),
    ]
    .concat();
    let statistics = [attribute(1, &[7; 12]), attribute(3, &[7; 20])].concat();
    let discipline = [
        vec![0; 12],
        vec![0xff; 4],
        vec![0; 4],
        attribute(1, b"fq_codel\0"),
        attribute(7, &statistics),
    ]
    .concat();
    let mut socket = vec![0; 72];
    socket[..6].copy_from_slice(&[10, 1, 0, 0, 0x23, 0x8c]);
    let counters =
        [vec![0; 4], vec![1, 0, 0, 0], vec![1, 0, 0, 0], attribute(1, &[7; 200])].concat();
    let done = message(3, &[0; 4]);
    vec![
        [message(16, &link), message(16, &link), done.clone()].concat(),
        [message(20, &address), done.clone()].concat(),
        [message(92, &counters), done.clone()].concat(),
        [message(28, &neighbour), message(28, &neighbour), done.clone()].concat(),
        [message(24, &route), message(24, &route), done.clone()].concat(),
        [message(36, &discipline), done.clone()].concat(),
        [message(20, &socket), done].concat(),
        message(2, &(-1_i32).to_ne_bytes()),
    ]
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = (value.len() as u16 + 4).to_ne_bytes().to_vec();
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}
fn message(kind: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32 + 16).to_ne_bytes().to_vec();
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(&[2, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    bytes.extend_from_slice(payload);
    bytes
}

/// Answers of the family that the first of them is of.
fn generic_netlink(bytes: &[u8]) {
    let family = bytes.get(4..6).map_or(0, |kind| u16::from_ne_bytes([kind[0], kind[1]]));
    let mut entries = 0;
    let dump = parse_messages(bytes, family, &mut |message| {
        entries += 1;
        attributes(&message.attributes, DEEPEST);
    });
    if let Ok(dump) = dump {
        assert_eq!(dump.entries, entries);
    }
    assert!(entries <= bytes.len());
}

/// Reads attributes, and what is written of them once more.
fn attributes(list: &NetlinkAttributes<'_>, depth: u8) {
    let Some((kind, value)) = list.iter().next() else { return };
    assert_eq!(list.find(kind), Some(value));
    let mut bytes = Vec::new();
    let mut writer = AttributeWriter::new(&mut bytes);
    for (kind, value) in list.iter() {
        writer.bytes(kind, value);
        if depth > 0 {
            attributes(&NetlinkAttributes::nested(value), depth - 1);
        }
    }
    assert!(NetlinkAttributes::nested(&bytes).iter().eq(list.iter()), "another list was written");
}

/// Two answers of a family with a text, a number and a nested list; an end mark.
fn generic_netlink_seeds() -> Vec<Vec<u8>> {
    let mut answer = vec![8, 1, 0, 0];
    let mut writer = AttributeWriter::new(&mut answer);
    writer.nested(1, |header| {
        header.number_32(1, 4);
        header.text(2, b"eth0");
    });
    writer.nested(2, |outer| outer.nested(3, |inner| inner.bytes(4, &[7; 9])));
    let answer = message(21, &answer);
    vec![
        [answer.clone(), answer, message(3, &[0; 4])].concat(),
        message(2, &(-2_i32).to_ne_bytes()),
    ]
}

/// What a bus says and no more: to the client that says who it is, to its Hello, and to two calls.
fn bus(bytes: &[u8]) {
    let (client, mut server) = UnixStream::pair().expect("two sockets");
    let said = &bytes[..bytes.len().min(MOST_BYTES)];
    server.write_all(said).expect("the buffers have room");
    server.shutdown(Shutdown::Write).expect("it is open");
    let deadline = Instant::now() + Duration::from_secs(60);
    let Ok(mut bus) = Bus::over(client, deadline) else { return };
    let call = BusCall {
        destination: "a.b",
        path: "/a",
        interface: "a.b.C",
        member: "M",
        arguments: &["x"],
    };
    for _ in 0..2 {
        if let Err(error) = bus.call(&call, deadline, values) {
            assert!(!error.to_string().is_empty());
        }
    }
    let mut answered = [false; 3];
    let outcome = bus.call_each([call; 3], deadline, |place, reply| {
        assert!(!answered[place], "two answers to a call");
        answered[place] = true;
        let _ = reply.map(|mut reply| values(&mut reply));
    });
    assert!(outcome.is_err() || answered == [true; 3], "an answer is missing");
}

/// Reads every value by its type.
fn values(reader: &mut BusReader<'_>) -> Result<(), Malformed> {
    while let [kind, ..] = reader.types() {
        let left = reader.types().len();
        match kind {
            b'y' => drop(reader.byte()?),
            b'u' => drop(reader.number_32()?),
            b'i' => drop(reader.signed_32()?),
            b't' => drop(reader.number_64()?),
            b'x' => drop(reader.signed_64()?),
            b'd' => drop(reader.float()?),
            b'b' => drop(reader.boolean()?),
            b'o' => assert!(reader.object_path()?.starts_with('/')),
            b's' => drop(reader.text()?),
            b'g' => drop(reader.signature()?),
            b'a' => reader.array(&mut values)?,
            b'(' | b'{' => reader.fields(&mut values)?,
            b'v' => reader.variant(&mut values)?,
            _ => reader.skip()?,
        }
        assert!(reader.types().len() < left, "a value was read and is still to come");
    }
    Ok(())
}

/// Conversations: one that works, one with an error and a signal between, one that is refused.
fn bus_seeds() -> Vec<Vec<u8>> {
    let mut name = Vec::new();
    BusWriter::new(&mut name).text(b":1.7");
    let begin = [b"OK 0123456789abcdef\r\n".to_vec(), bus_message(2, 1, "s", &name)].concat();
    let mut units = Vec::new();
    let mut writer = BusWriter::new(&mut units);
    writer.array(b'(', |units| {
        for name in [b"ssh.service", b"cron\xfe.timer"] as [&[u8]; 2] {
            units.fields(|unit| {
                unit.text(name);
                unit.number_32(7);
                unit.array(b'{', |properties| {
                    properties.fields(|property| {
                        property.text(b"Since");
                        property.variant("t", |value| value.number_64(1 << 40));
                    });
                });
            });
        }
    });
    writer.number_32(1);
    let answer = |serial| bus_message(2, serial, "a(sua{sv})b", &units);
    vec![
        [begin.clone(), answer(2), answer(3)].concat(),
        [
            begin.clone(),
            answer(2),
            answer(3),
            answer(6),
            bus_message(3, 4, "", &[]),
            answer(6),
            bus_message(2, 5, "ao", b"\x07\0\0\0\x02\0\0\0/a\0"),
        ]
        .concat(),
        [begin, bus_message(4, 9, "", &[]), bus_message(3, 2, "", &[]), answer(3)].concat(),
        b"REJECTED EXTERNAL\r\n".to_vec(),
    ]
}
