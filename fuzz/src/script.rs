//! What a fuzzer's bytes do to a host in memory.
//!
//! An input is a list of parts, with the byte 255 between them. The first is the text of the
//! collector's table of settings, the second says which recorded host it is and how short reads
//! are, and each further one is an event: a byte for what happens, then what that needs. Numbers
//! that are missing are 0, and what leads nowhere does nothing, so that any bytes are a script.
//! Names are any bytes but that one, since those of a real host need not be UTF-8.

use crate::fixture_host::{FixtureHost, ntp_answer};
use std::time::Duration;
use vitald_core::host::{Kind, Link, LinkStatistics, Listing, Space, StatfsError};
use vitald_core::testing::MemoryHost;

/// What parts an input from the next.
pub const SEPARATOR: u8 = 255;

/// A collection; all other events happen to the host.
pub const COLLECT: u8 = b'c';
/// A file gets another content: number of the file, two bytes; content.
pub const WRITE: u8 = b'w';
/// Some bytes of a file are replaced: file; offset, two bytes; how many; the new ones.
const SPLICE: u8 = b's';
/// A file ends early: file; length, two bytes.
const CUT: u8 = b't';
/// A file is gone: file; how many folders above it go, too.
const REMOVE: u8 = b'r';
/// A read or a listing fails: file; how many folders above it; errno.
const FAIL: u8 = b'f';
/// A file is added where a source says: number of the source; name for its stars; a line end; content.
const ADD: u8 = b'a';
/// A directory gets another child for each kind of child that it has: file; how many folders above
/// it; name.
pub const COPY: u8 = b'n';
/// A file system has another space: mount point up to a line end; numbers.
const SPACE: u8 = b'm';
/// The interfaces are others: each a byte for its name and one number for all else.
const LINKS: u8 = b'l';
/// A reply of the bus is another one: number of the reply; what it is then: gone, an error with the name
/// that follows, values (their types up to a line end; their bytes), or the same with some bytes replaced
/// (offset, two bytes; how many; the new ones).
pub const BUS: u8 = b'b';
/// A service that is no bus says something else: the NTP server, whose answer has some bytes replaced, since it
/// repeats what it was asked (0; offset; the new ones), or supervisord (1; all that it says).
pub const SERVICE: u8 = b'x';
/// Time passes: milliseconds, two bytes.
const CLOCK: u8 = b'k';
/// Reads are short: at most so many bytes.
const CHUNK: u8 = b'h';
/// Each read has another length: two bytes that decide which.
pub const CHUNKS: u8 = b'H';
const EVENTS: &[u8] = &[
    COLLECT, WRITE, SPLICE, CUT, REMOVE, FAIL, ADD, COPY, SPACE, LINKS, BUS, SERVICE, CLOCK, CHUNK,
    CHUNKS,
];

/// Names of interfaces: what the kernel takes, and what it should not.
const INTERFACES: [&[u8]; 8] =
    [b"lo", b"eth0", b"eth0", b"wlan0", b"veth\xff\xfe", b"a\"b\\c", b"", b"br-0123456789ab"];

/// The files of recorded hosts that one collector reads, and where there could be more.
pub struct Stage {
    hosts: Vec<(FixtureHost, Vec<String>)>,
    sources: Vec<String>,
    /// Where the objects are that it calls over the bus.
    bus: Option<String>,
}

/// The key of a reply of the bus.
type Key = Vec<Box<str>>;

/// A host in memory that things happen to.
pub struct Scene<'s> {
    stage: &'s Stage,
    fixture: &'s FixtureHost,
    paths: &'s [String],
    pub memory: MemoryHost,
    replies: Vec<Key>,
    now: Duration,
}

/// Cuts numbers and texts off the front of an event.
pub struct Reader<'b>(pub &'b [u8]);

impl<'b> Reader<'b> {
    pub fn u8(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    pub fn u16(&mut self) -> u16 {
        u16::from_le_bytes([self.u8(), self.u8()])
    }

    pub fn u64(&mut self) -> u64 {
        u64::from_le_bytes([(); 8].map(|()| self.u8()))
    }

    /// Up to the next line end, which is cut off, too.
    pub fn line(&mut self) -> &'b [u8] {
        let end = self.0.iter().position(|byte| *byte == b'\n').unwrap_or(self.0.len());
        let (line, rest) = self.0.split_at(end);
        self.0 = rest.get(1..).unwrap_or_default();
        line
    }
}

impl Stage {
    /// `sources` are patterns of logical paths, `bus` is the path below which objects of the bus are.
    pub fn new(sources: Vec<String>, bus: Option<String>) -> Self {
        let reduced = |host: FixtureHost| {
            let paths = sources.iter().flat_map(|source| host.expand(source)).collect();
            (host.with_only(&paths), paths.into_iter().collect())
        };
        let hosts = crate::fixture_host::hosts().into_iter().map(reduced).collect();
        Stage { hosts, sources, bus }
    }

    /// How many hosts there are.
    pub fn hosts(&self) -> usize {
        self.hosts.len()
    }

    /// The contents of a host's files, in the order of their numbers.
    pub fn contents(&self, host: usize) -> impl Iterator<Item = &[u8]> {
        let (fixture, paths) = &self.hosts[host];
        paths.iter().map(|path| fixture.files.get(path).map(Vec::as_slice).unwrap_or_default())
    }

    /// The replies of a host's bus, in the order of their numbers: types and bytes.
    pub fn replies(&self, host: usize) -> Vec<(String, Vec<u8>)> {
        let memory = self.hosts[host].0.memory();
        let replies = self.replies_of(&memory).into_iter();
        replies.filter_map(|(_, reply)| reply.ok()).collect()
    }

    fn replies_of(&self, memory: &MemoryHost) -> Vec<(Key, Result<(String, Vec<u8>), String>)> {
        let Some(bus) = &self.bus else { return Vec::new() };
        let replies = memory.bus_replies().into_iter();
        replies.filter(|(key, _)| key[0].starts_with(bus)).collect()
    }

    /// The host that the second part of an input asks for.
    pub fn scene(&self, header: &[u8]) -> Scene<'_> {
        let mut header = Reader(header);
        let (fixture, paths) = &self.hosts[usize::from(header.u8()) % self.hosts.len()];
        let memory = fixture.memory();
        let replies = self.replies_of(&memory).into_iter().map(|(key, _)| key).collect();
        let now = Duration::from_secs(1_700_000_000);
        let scene = Scene { stage: self, fixture, paths, memory, replies, now };
        scene.set_chunk(header.u8());
        scene
    }
}

impl<'s> Scene<'s> {
    /// Lets an event happen; says whether it is a collection.
    pub fn happen(&mut self, event: &[u8]) -> bool {
        let mut event = Reader(event);
        let kind = event.u8();
        let known = EVENTS.contains(&kind);
        let kind = if known { kind } else { EVENTS[usize::from(kind) % EVENTS.len()] };
        match kind {
            WRITE => {
                if let Some(path) = self.path(&mut event) {
                    self.write(path.as_bytes(), event.0);
                }
            }
            SPLICE => {
                let Some(path) = self.path(&mut event) else { return false };
                let mut content = self.memory.content(path).unwrap_or_default();
                let at = usize::from(event.u16()).min(content.len());
                let end = (at + usize::from(event.u8())).min(content.len());
                content.splice(at..end, event.0.iter().copied());
                self.write(path.as_bytes(), &content);
            }
            CUT => {
                let Some(path) = self.path(&mut event) else { return false };
                let mut content = self.memory.content(path).unwrap_or_default();
                content.truncate(event.u16().into());
                self.write(path.as_bytes(), &content);
            }
            REMOVE => {
                if let Some(path) = self.above(&mut event)
                    && self.exists(path)
                {
                    self.memory.remove(path);
                }
            }
            FAIL => {
                if let Some(path) = self.above(&mut event)
                    && self.exists(path)
                {
                    self.memory.fail(path, event.u8().max(1).into());
                }
            }
            ADD => self.add(&mut event),
            COPY => self.copy(&mut event),
            SPACE => {
                let mount = String::from_utf8_lossy(event.line()).into_owned();
                self.memory.set_space(&mount, space(&mut event));
            }
            LINKS => self.memory.set_links(links(&mut event)),
            BUS => self.reply(&mut event),
            SERVICE => self.say(&mut event),
            CLOCK => {
                self.now += Duration::from_millis(event.u16().into());
                self.memory.set_now(self.now);
            }
            CHUNK => self.set_chunk(event.u8()),
            CHUNKS => self.memory.set_chunks(event.u16().into()),
            _ => return true,
        }
        false
    }

    fn set_chunk(&self, most: u8) {
        self.memory.set_chunk(if most == 0 { usize::MAX } else { most.into() });
    }

    /// A file of the host, by its number.
    fn path(&self, event: &mut Reader<'_>) -> Option<&'s str> {
        let number = usize::from(event.u16());
        self.paths.get(number % self.paths.len().max(1)).map(String::as_str)
    }

    /// A file of the host, or a folder above it, of which the root and its first folder are none.
    fn above(&self, event: &mut Reader<'_>) -> Option<&'s str> {
        let mut path = self.path(event)?;
        for _ in 0..event.u8() % 4 {
            match path.rsplit_once('/') {
                Some((above, _)) if above.contains('/') => path = above,
                _ => break,
            }
        }
        Some(path)
    }

    fn add(&self, event: &mut Reader<'_>) {
        let sources = &self.stage.sources;
        let Some(source) = sources.get(usize::from(event.u8()) % sources.len().max(1)) else {
            return;
        };
        let Some(name) = name(event.line()) else { return };
        let path = match std::str::from_utf8(&name) {
            Ok(name) => self.fixture.real_path(&source.replace('*', name)).into_bytes(),
            // No link of a recorded host has such a name.
            Err(_) => source.split('*').map(str::as_bytes).collect::<Vec<_>>().join(&name[..]),
        };
        self.write(&path, event.0);
    }

    /// Writes a file unless what has its name, or that of a folder above it, is something else.
    fn write(&self, path: &[u8], content: &[u8]) {
        let is_none_or = |path: &[u8], kind| self.memory.kind(path).is_none_or(|it| it == kind);
        let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        let mut folders = slashes.map(|(at, _)| &path[..at]);
        let is_possible = folders.all(|folder| is_none_or(folder, Kind::Directory))
            && is_none_or(path, Kind::File);
        if is_possible {
            self.memory.write(path, content);
        }
    }

    fn copy(&self, event: &mut Reader<'_>) {
        let Some(directory) = self.above(event) else { return };
        let Some(name) = name(event.0) else { return };
        let mut listing = Listing::new();
        let listed = self.memory.host().list(directory, &mut listing);
        // What is made is called so, with an ending.
        if listed.is_ok() && !listing.iter().any(|entry| entry.name.starts_with(&name)) {
            self.fixture.copy_a_child(&self.memory, directory, &name);
        }
    }

    fn reply(&self, event: &mut Reader<'_>) {
        let number = usize::from(event.u16());
        let Some(key) = self.replies.get(number % self.replies.len().max(1)) else { return };
        let reply = match event.u8() {
            0 => None,
            1 => Some(Err(String::from_utf8_lossy(event.0).into_owned())),
            2 => {
                let types = String::from_utf8_lossy(event.line()).into_owned();
                Some(Ok((types, event.0.to_vec())))
            }
            _ => {
                let replies = self.memory.bus_replies();
                let known = replies.into_iter().find(|(known, _)| known == key);
                let Some((_, Ok((types, mut bytes)))) = known else { return };
                let at = usize::from(event.u16()).min(bytes.len());
                let end = (at + usize::from(event.u8())).min(bytes.len());
                bytes.splice(at..end, event.0.iter().copied());
                Some(Ok((types, bytes)))
            }
        };
        let key: Vec<&str> = key.iter().map(|part| &**part).collect();
        self.memory.set_bus(&key, reply);
    }

    fn say(&self, event: &mut Reader<'_>) {
        let is_ntp = event.u8() == 0;
        if !is_ntp {
            let said = event.0.to_vec();
            return self.memory.set_conversation(move |_, _| Ok(said.clone()));
        }
        let (at, new) = (usize::from(event.u8()), event.0.to_vec());
        self.memory.set_exchange(move |_, request| {
            let mut answer = ntp_answer(request);
            let at = at.min(answer.len());
            let end = (at + new.len()).min(answer.len());
            answer.splice(at..end, new.iter().copied());
            Ok(answer)
        });
    }

    fn exists(&self, path: &str) -> bool {
        self.memory.kind(path).is_some()
    }
}

/// A name as a directory can have it.
fn name(text: &[u8]) -> Option<Vec<u8>> {
    let allowed = |byte: &u8| if matches!(byte, b'/' | 0) { b'_' } else { *byte };
    let name: Vec<u8> = text.iter().map(allowed).collect();
    (!matches!(&name[..], b"" | b"." | b"..")).then_some(name)
}

fn space(event: &mut Reader<'_>) -> Result<Space, StatfsError> {
    match event.u8() {
        1 => return Err(StatfsError::Stuck),
        2 => return Err(StatfsError::NotAsked),
        3 => return Err(StatfsError::Failed(event.u8().into())),
        _ => {}
    }
    Ok(Space {
        block_size: event.u64(),
        blocks: event.u64(),
        blocks_free: event.u64(),
        blocks_available: event.u64(),
        files: event.u64(),
        files_free: event.u64(),
        flags: u64::from(event.u8() % 2),
        ..Space::default()
    })
}

fn links(event: &mut Reader<'_>) -> Vec<Link<'static>> {
    let mut links = Vec::new();
    while !event.0.is_empty() {
        let kind = event.u8();
        let name = INTERFACES[usize::from(kind) % INTERFACES.len()];
        let number = event.u64();
        let some = |bit: u8| kind & bit != 0;
        links.push(Link {
            index: number as i32,
            name,
            alias: some(16).then_some(INTERFACES[usize::from(kind >> 4) % INTERFACES.len()]),
            flags: number as u32,
            mtu: some(32).then_some(number as u32),
            operational_state: some(32).then_some(number as u8),
            carrier: some(64).then_some(number as u8),
            statistics: (!some(128)).then(|| LinkStatistics {
                rx_bytes: number,
                rx_packets: number.wrapping_mul(number),
                rx_errors: number.rotate_left(7),
                tx_bytes: !number,
                tx_dropped: number >> 32,
                ..LinkStatistics::default()
            }),
            ..Link::default()
        });
    }
    links
}
