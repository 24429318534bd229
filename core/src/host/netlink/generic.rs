//! Generic netlink, by which the kernel's subsystems (ethtool, nl80211, IPVS, task statistics)
//! answer under names of their own. Layouts are those of `linux/genetlink.h`.
//!
//! Parsing ([`parse_messages`]) is apart from the socket: it takes any bytes, never panics and
//! always ends.

use std::io;
use std::time::Instant;

use crate::errno::{EMSGSIZE, ENOENT};
use linux_raw_sys::netlink;
use rustix::net::netlink::GENERIC;

use super::frame::{self, Attributes, Dump, DumpError, HEADER, NLM_F_DUMP, align};
use super::socket::{End, Socket};

/// The family of `nlctrl`, which knows the others; the only one with a fixed number.
pub(super) const GENL_ID_CTRL: u16 = 0x10;
pub(super) const CTRL_CMD_GETFAMILY: u8 = 3;
pub(super) const CTRL_ATTR_FAMILY_ID: u16 = 1;
pub(super) const CTRL_ATTR_FAMILY_NAME: u16 = 2;
pub(super) const CTRL_ATTR_VERSION: u16 = 3;
const NLM_F_ACK: u16 = netlink::NLM_F_ACK as u16;
const NLA_F_NESTED: u16 = netlink::NLA_F_NESTED as u16;
/// `sizeof(struct genlmsghdr)`.
const GENERIC_HEADER: usize = 4;

/// How much of a family a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GenericRequest {
    /// Everything of a kind (`NLM_F_DUMP`).
    All,
    /// One thing, which the attributes name (`NLM_F_ACK`).
    One,
}

/// One answer of a family.
#[derive(Debug, Clone)]
pub struct GenericMessage<'a> {
    /// What is answered, in the family's own numbers.
    pub command: u8,
    /// The attributes.
    pub attributes: NetlinkAttributes<'a>,
}

/// Attributes of a netlink message, or those inside one of them.
#[derive(Debug, Clone, Default)]
pub struct NetlinkAttributes<'a>(&'a [u8]);

impl<'a> NetlinkAttributes<'a> {
    /// Those that are nested in the value of another one.
    pub fn nested(value: &'a [u8]) -> Self {
        NetlinkAttributes(value)
    }

    /// Type and value of each, in their order. A list that is broken ends there.
    pub fn iter(&self) -> impl Iterator<Item = (u16, &'a [u8])> + use<'a> {
        Attributes { rest: self.0 }.map_while(Result::ok)
    }

    /// The value of the first attribute of that type.
    pub fn find(&self, kind: u16) -> Option<&'a [u8]> {
        self.iter().find(|(of, _)| *of == kind).map(|(_, value)| value)
    }
}

/// Where the attributes of a request are put.
#[derive(Debug)]
pub struct AttributeWriter<'r> {
    bytes: &'r mut Vec<u8>,
    /// A value was longer than an attribute can be.
    is_too_long: bool,
}

impl<'r> AttributeWriter<'r> {
    /// Appends to what is there.
    pub fn new(bytes: &'r mut Vec<u8>) -> Self {
        AttributeWriter { bytes, is_too_long: false }
    }

    /// An attribute with these bytes.
    pub fn bytes(&mut self, kind: u16, value: &[u8]) {
        self.attribute(kind, |bytes| bytes.extend_from_slice(value));
    }

    /// An attribute with a text, which ends with a NUL.
    pub fn text(&mut self, kind: u16, text: &[u8]) {
        self.attribute(kind, |bytes| {
            bytes.extend_from_slice(text);
            bytes.push(0);
        });
    }

    /// An attribute with a number of 32 bits.
    pub fn number_32(&mut self, kind: u16, number: u32) {
        self.bytes(kind, &number.to_ne_bytes());
    }

    /// An attribute with others in it.
    pub fn nested(&mut self, kind: u16, write: impl FnOnce(&mut AttributeWriter<'_>)) {
        let mut is_too_long = false;
        self.attribute(kind | NLA_F_NESTED, |bytes| {
            let mut inner = AttributeWriter::new(bytes);
            write(&mut inner);
            is_too_long = inner.is_too_long;
        });
        self.is_too_long |= is_too_long;
    }

    fn attribute(&mut self, kind: u16, value: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0, 0]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        value(self.bytes);
        match u16::try_from(self.bytes.len() - start) {
            Ok(length) => self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes()),
            Err(_) => {
                self.is_too_long = true;
                self.bytes.truncate(start);
            }
        }
        self.bytes.resize(start + align(self.bytes.len() - start), 0);
    }
}

/// Passes on the answers of the family with that number.
///
/// # Errors
///
/// [`DumpError`]; what was passed on before it is sound.
pub fn parse_messages(
    bytes: &[u8],
    family: u16,
    each: &mut dyn FnMut(GenericMessage<'_>),
) -> Result<Dump, DumpError> {
    frame::parse(bytes, family, &mut |payload| {
        let Some(([command, ..], attributes)) = payload.split_first_chunk::<GENERIC_HEADER>()
        else {
            return Err(DumpError::Message);
        };
        // All of them are looked at first, so that no half of a message is passed on.
        for attribute in (Attributes { rest: attributes }) {
            attribute?;
        }
        each(GenericMessage { command: *command, attributes: NetlinkAttributes(attributes) });
        Ok(true)
    })
}

/// Puts a request together; the sequence number is left open.
pub(super) fn encode(
    bytes: &mut Vec<u8>,
    family: Family,
    flags: u16,
    command: u8,
    write: &mut dyn FnMut(&mut AttributeWriter<'_>),
) -> io::Result<()> {
    bytes.clear();
    bytes.resize(HEADER, 0);
    bytes.extend_from_slice(&[command, family.version, 0, 0]);
    let mut writer = AttributeWriter::new(bytes);
    write(&mut writer);
    let is_too_long = writer.is_too_long;
    let length = u32::try_from(bytes.len());
    let (Ok(length), false) = (length, is_too_long) else {
        return Err(io::Error::from_raw_os_error(EMSGSIZE));
    };
    frame::write_request(bytes, length, family.id, flags);
    Ok(())
}

/// What `nlctrl` says of a family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Family {
    pub(super) id: u16,
    pub(super) version: u8,
}

/// The family in an answer of `nlctrl`.
pub(super) fn parse_family(bytes: &[u8]) -> Result<Option<Family>, DumpError> {
    let mut family = None;
    parse_messages(bytes, GENL_ID_CTRL, &mut |message| {
        let id = message.attributes.find(CTRL_ATTR_FAMILY_ID).and_then(|value| value.first_chunk());
        let version = message.attributes.find(CTRL_ATTR_VERSION).and_then(frame::number_32);
        if let Some(id) = id {
            let version = version.and_then(|version| u8::try_from(version).ok()).unwrap_or(1);
            family = Some(Family { id: u16::from_ne_bytes(*id), version });
        }
    })?;
    Ok(family)
}

/// A socket of one consumer for one family.
///
/// The family's number is asked for at the first request, and again after the family has gone: a
/// module that is loaded anew has another one.
#[derive(Debug)]
pub(in crate::host) struct Generic {
    name: Box<str>,
    socket: Socket,
    family: Option<Family>,
    request: Vec<u8>,
}

impl Generic {
    pub(in crate::host) fn new(name: &str) -> Self {
        Generic {
            name: name.into(),
            socket: Socket::new(Some(GENERIC)),
            family: None,
            request: Vec::new(),
        }
    }

    pub(in crate::host) fn ask(
        &mut self,
        wanted: GenericRequest,
        command: u8,
        write: &mut dyn FnMut(&mut AttributeWriter<'_>),
        deadline: Instant,
        each: &mut dyn FnMut(GenericMessage<'_>),
    ) -> io::Result<Dump> {
        let family = match self.family {
            Some(family) => family,
            None => self.resolve(deadline)?,
        };
        let (flags, end) = match wanted {
            GenericRequest::All => (NLM_F_DUMP, End::Done),
            GenericRequest::One => (NLM_F_ACK, End::Acknowledgement),
        };
        encode(&mut self.request, family, flags, command, write)?;
        if let Err(error) = self.socket.exchange(&mut self.request, end, deadline) {
            if error.raw_os_error() == Some(ENOENT) {
                self.family = None;
            }
            return Err(error);
        }
        Ok(parse_messages(self.socket.bytes(), family.id, each)?)
    }

    fn resolve(&mut self, deadline: Instant) -> io::Result<Family> {
        let control = Family { id: GENL_ID_CTRL, version: 1 };
        let Generic { name, request, socket, family } = self;
        encode(request, control, NLM_F_ACK, CTRL_CMD_GETFAMILY, &mut |attributes| {
            attributes.text(CTRL_ATTR_FAMILY_NAME, name.as_bytes());
        })?;
        socket.exchange(request, End::Acknowledgement, deadline)?;
        let found = parse_family(socket.bytes())?;
        *family = found;
        found.ok_or_else(|| io::Error::from_raw_os_error(ENOENT))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message by hand: `struct nlmsghdr`, `struct genlmsghdr`, attributes.
    fn message(kind: u16, sequence: u32, command: u8, attributes: &[u8]) -> Vec<u8> {
        let length = (HEADER + GENERIC_HEADER + attributes.len()) as u32;
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend([0, 0]);
        bytes.extend(sequence.to_ne_bytes());
        bytes.extend([0; 4]);
        bytes.extend([command, 2, 0, 0]);
        bytes.extend(attributes);
        bytes
    }

    fn written(write: impl FnOnce(&mut AttributeWriter<'_>)) -> Vec<u8> {
        let mut bytes = Vec::new();
        write(&mut AttributeWriter::new(&mut bytes));
        bytes
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn a_request_is_what_the_kernel_documents() {
        let mut bytes = Vec::new();
        let family = Family { id: 0x15, version: 1 };
        encode(&mut bytes, family, NLM_F_ACK, 4, &mut |attributes| {
            attributes.nested(1, |header| {
                header.text(2, b"eth0");
                header.number_32(3, 4);
            });
            attributes.bytes(5, &[7]);
        })
        .unwrap();
        #[rustfmt::skip]
        let expected = [
            // Length 52, type, NLM_F_REQUEST and NLM_F_ACK, no sequence and no port number yet.
            52, 0, 0, 0, 0x15, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0,
            // Command and version.
            4, 1, 0, 0,
            // A nested attribute of 24 bytes: a text of 5 with padding, and a number.
            24, 0, 1, 0x80, 9, 0, 2, 0, b'e', b't', b'h', b'0', 0, 0, 0, 0, 8, 0, 3, 0, 4, 0, 0, 0,
            5, 0, 5, 0, 7, 0, 0, 0,
        ];
        assert_eq!(bytes, expected);
    }

    #[test]
    fn a_value_that_no_attribute_holds_is_refused() {
        let mut bytes = Vec::new();
        let family = Family { id: 0x15, version: 1 };
        let long = vec![1; 70_000];
        for nested in [false, true] {
            let refused = encode(&mut bytes, family, 0, 4, &mut |attributes| match nested {
                true => attributes.nested(1, |inner| inner.bytes(2, &long)),
                false => attributes.bytes(1, &long),
            });
            assert_eq!(refused.unwrap_err().raw_os_error(), Some(EMSGSIZE));
        }
    }

    #[test]
    fn reads_what_nlctrl_says_of_a_family() {
        let attributes = written(|attributes| {
            attributes.text(CTRL_ATTR_FAMILY_NAME, b"ethtool");
            attributes.bytes(CTRL_ATTR_FAMILY_ID, &21_u16.to_ne_bytes());
            attributes.number_32(CTRL_ATTR_VERSION, 1);
            attributes.nested(6, |operations| operations.nested(1, |one| one.number_32(1, 3)));
        });
        let bytes = message(GENL_ID_CTRL, 1, 1, &attributes);
        assert_eq!(parse_family(&bytes), Ok(Some(Family { id: 21, version: 1 })));
        let short = written(|attributes| attributes.bytes(CTRL_ATTR_FAMILY_ID, &[1]));
        assert_eq!(parse_family(&message(GENL_ID_CTRL, 1, 1, &short)), Ok(None));
        assert_eq!(parse_family(&message(GENL_ID_CTRL + 1, 1, 1, &attributes)), Ok(None));
        assert_eq!(parse_family(&[]), Ok(None));
    }

    #[test]
    fn nested_attributes_are_read_one_by_one() {
        let attributes = written(|attributes| {
            attributes.nested(1, |inner| inner.text(2, b"eth0"));
            attributes.number_32(3, 9);
            attributes.number_32(3, 10);
        });
        let mut seen = Vec::new();
        let dump = parse_messages(&message(21, 1, 8, &attributes), 21, &mut |message| {
            let header = NetlinkAttributes::nested(message.attributes.find(1).unwrap());
            assert_eq!(header.find(2), Some(&b"eth0\0"[..]));
            assert_eq!(header.find(3), None);
            seen.extend(message.attributes.iter().map(|(kind, value)| (kind, value.len())));
            assert_eq!(message.command, 8);
        });
        assert_eq!(dump.unwrap().entries, 1);
        assert_eq!(seen, [(1, 12), (3, 4), (3, 4)]);
    }

    #[test]
    fn takes_messages_cut_at_any_byte_and_any_bytes() {
        let attributes = written(|attributes| {
            attributes.nested(1, |inner| inner.text(2, b"eth0"));
            attributes.bytes(3, &[1, 2, 3]);
        });
        let whole = message(21, 1, 8, &attributes);
        let mut passed = 0;
        let mut exhaust = |bytes: &[u8]| {
            let _ = parse_messages(bytes, 21, &mut |message| {
                passed += 1;
                for (_, value) in message.attributes.iter() {
                    assert!(NetlinkAttributes::nested(value).iter().count() <= value.len());
                }
            });
        };
        for end in 0..whole.len() {
            exhaust(&whole[..end]);
            let mut cut = whole[..end].to_vec();
            if end >= HEADER {
                cut[0..4].copy_from_slice(&(end as u32).to_ne_bytes());
                exhaust(&cut);
            }
            for byte in [0, 1, 3, 0x7f, 0xff] {
                let mut damaged = whole.clone();
                damaged[end] = byte;
                exhaust(&damaged);
            }
        }
        assert!(passed > 0);
        let broken = [&[3, 0, 1, 0][..], &attributes].concat();
        let refused = parse_messages(&message(21, 1, 8, &broken), 21, &mut |_| panic!("a half"));
        assert_eq!(refused, Err(DumpError::Attribute));
        let headless = &mut message(21, 1, 8, &[])[..HEADER];
        headless[0..4].copy_from_slice(&(HEADER as u32).to_ne_bytes());
        let refused = parse_messages(headless, 21, &mut |_| panic!("no header"));
        assert_eq!(refused, Err(DumpError::Message));
    }
}
