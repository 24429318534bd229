//! The framing of netlink messages and attributes (`linux/netlink.h`): pure functions of bytes,
//! which take any, never panic and always end.

use std::fmt;
use std::io;

use linux_raw_sys::netlink;

pub(super) const NLMSG_ERROR: u16 = netlink::NLMSG_ERROR as u16;
pub(super) const NLMSG_DONE: u16 = netlink::NLMSG_DONE as u16;
pub(super) const NLMSG_OVERRUN: u16 = netlink::NLMSG_OVERRUN as u16;
pub(super) const NLM_F_REQUEST: u16 = netlink::NLM_F_REQUEST as u16;
pub(super) const NLM_F_DUMP_INTR: u16 = netlink::NLM_F_DUMP_INTR as u16;
pub(super) const NLM_F_DUMP: u16 = netlink::NLM_F_DUMP as u16;
/// `sizeof(struct nlmsghdr)`.
pub(super) const HEADER: usize = 16;
/// `sizeof(struct nlattr)`.
pub(super) const ATTRIBUTE_HEADER: usize = 4;
/// `NLA_TYPE_MASK`: the type without `NLA_F_NESTED` and `NLA_F_NET_BYTEORDER`.
pub(super) const NLA_TYPE_MASK: u16 = netlink::NLA_TYPE_MASK as u16;

/// A request for a dump of that length in all, whose sequence number the socket fills in. What follows the
/// header is 0.
pub(super) fn dump_request<const LENGTH: usize>(kind: u16) -> [u8; LENGTH] {
    let mut bytes = [0; LENGTH];
    write_request(&mut bytes, LENGTH as u32, kind, NLM_F_DUMP);
    bytes
}

/// Writes the header of a request but for its sequence and port numbers.
pub(super) fn write_request(bytes: &mut [u8], length: u32, kind: u16, flags: u16) {
    bytes[0..4].copy_from_slice(&length.to_ne_bytes());
    bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
    bytes[6..8].copy_from_slice(&(NLM_F_REQUEST | flags).to_ne_bytes());
}

/// What the bytes of a dump said about the dump itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Dump {
    /// The interfaces or addresses passed on.
    pub entries: usize,
    /// The kernel marked the dump as inconsistent (`NLM_F_DUMP_INTR`), because the list changed
    /// meanwhile: an entry may be missing or be there twice.
    pub interrupted: bool,
    /// The kernel's end mark (`NLMSG_DONE`) was found.
    pub finished: bool,
}

/// Why bytes are not a dump. What was passed on before remains valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DumpError {
    /// A message is shorter than its header says, or its length cannot be.
    Message,
    /// An attribute is shorter than its header says, or its length cannot be.
    Attribute,
    /// The kernel refused or broke off the dump, with this `errno` (`NLMSG_ERROR`, `NLMSG_DONE`).
    Refused(i32),
    /// The kernel lost answers (`NLMSG_OVERRUN`).
    Overrun,
}

impl fmt::Display for DumpError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Message => out.write_str("a netlink message has an impossible length"),
            Self::Attribute => out.write_str("a netlink attribute has an impossible length"),
            Self::Refused(errno) => {
                write!(out, "the kernel refused: {}", io::Error::from_raw_os_error(*errno))
            }
            Self::Overrun => out.write_str("netlink answers were lost"),
        }
    }
}

impl std::error::Error for DumpError {}

impl From<DumpError> for io::Error {
    fn from(error: DumpError) -> Self {
        match error {
            DumpError::Refused(errno) => Self::from_raw_os_error(errno),
            other => Self::new(io::ErrorKind::InvalidData, other),
        }
    }
}

/// Walks the messages; `entry` takes the payload of those of type `wanted`.
pub(super) fn parse(
    bytes: &[u8],
    wanted: u16,
    entry: &mut dyn FnMut(&[u8]) -> Result<bool, DumpError>,
) -> Result<Dump, DumpError> {
    let mut dump = Dump::default();
    for message in (Messages { rest: bytes }) {
        let message = message?;
        dump.interrupted |= message.flags & NLM_F_DUMP_INTR != 0;
        if message.ends_dump()? {
            dump.finished = true;
            break;
        }
        if message.kind == wanted && entry(message.payload)? {
            dump.entries += 1;
        }
    }
    Ok(dump)
}

/// The bytes before the first NUL.
pub(super) fn text(value: &[u8]) -> &[u8] {
    value.split(|byte| *byte == 0).next().unwrap_or_default()
}

pub(super) fn number_32(value: &[u8]) -> Option<u32> {
    value.first_chunk().map(|it| u32::from_ne_bytes(*it))
}

pub(super) fn signed_32(value: &[u8]) -> Option<i32> {
    value.first_chunk().map(|it| i32::from_ne_bytes(*it))
}

/// `NLMSG_ALIGN` and `NLA_ALIGN`, which are the same.
pub(super) const fn align(length: usize) -> usize {
    length.saturating_add(3) & !3
}

/// One message: `struct nlmsghdr` and what follows it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Message<'a> {
    pub(super) kind: u16,
    pub(super) flags: u16,
    pub(super) sequence: u32,
    pub(super) payload: &'a [u8],
}

impl Message<'_> {
    /// Whether it is the end mark; an error if it says that the dump failed.
    pub(super) fn ends_dump(&self) -> Result<bool, DumpError> {
        // Both begin with an `int`: 0, or a negative errno.
        let result = || signed_32(self.payload).unwrap_or(0);
        match self.kind {
            NLMSG_DONE | NLMSG_ERROR if result() < 0 => {
                Err(DumpError::Refused(result().saturating_neg()))
            }
            NLMSG_DONE => Ok(true),
            NLMSG_OVERRUN => Err(DumpError::Overrun),
            // An error of 0 is an acknowledgement.
            _ => Ok(false),
        }
    }
}

/// The messages in bytes; ends after the first error.
pub(super) struct Messages<'a> {
    pub(super) rest: &'a [u8],
}

impl<'a> Iterator for Messages<'a> {
    type Item = Result<Message<'a>, DumpError>;

    fn next(&mut self) -> Option<Self::Item> {
        let bytes = std::mem::take(&mut self.rest);
        if bytes.is_empty() {
            return None;
        }
        let Some(header) = bytes.first_chunk::<{ HEADER }>() else {
            return Some(Err(DumpError::Message));
        };
        let [l0, l1, l2, l3, t0, t1, f0, f1, s0, s1, s2, s3, ..] = *header;
        let length = usize::try_from(u32::from_ne_bytes([l0, l1, l2, l3])).unwrap_or(usize::MAX);
        // This also refuses a length below the header's own, so that the walk always advances.
        let Some(payload) = bytes.get(HEADER..length) else {
            return Some(Err(DumpError::Message));
        };
        self.rest = bytes.get(align(length)..).unwrap_or_default();
        Some(Ok(Message {
            kind: u16::from_ne_bytes([t0, t1]),
            flags: u16::from_ne_bytes([f0, f1]),
            sequence: u32::from_ne_bytes([s0, s1, s2, s3]),
            payload,
        }))
    }
}

/// The attributes in bytes, as type and value; ends after the first error.
#[derive(Debug, Clone, Default)]
pub(super) struct Attributes<'a> {
    pub(super) rest: &'a [u8],
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Result<(u16, &'a [u8]), DumpError>;

    fn next(&mut self) -> Option<Self::Item> {
        let bytes = std::mem::take(&mut self.rest);
        if bytes.is_empty() {
            return None;
        }
        let Some([l0, l1, t0, t1]) = bytes.first_chunk::<{ ATTRIBUTE_HEADER }>() else {
            return Some(Err(DumpError::Attribute));
        };
        let length = usize::from(u16::from_ne_bytes([*l0, *l1]));
        let Some(value) = bytes.get(ATTRIBUTE_HEADER..length) else {
            return Some(Err(DumpError::Attribute));
        };
        self.rest = bytes.get(align(length)..).unwrap_or_default();
        Some(Ok((u16::from_ne_bytes([*t0, *t1]) & NLA_TYPE_MASK, value)))
    }
}
