//! D-Bus messages as bytes (the D-Bus specification, "Message Protocol"): pure functions, which take
//! any bytes, never panic and always end.

use crate::error::Malformed;

/// The longest message that is taken. The list of 5,000 systemd units has some 2 MB.
pub(super) const LARGEST: usize = 16 * 1024 * 1024;

/// What is read of each message first: the fixed part of the header, and how long the rest is.
pub(crate) const START: usize = 16;

/// How deep values are in one another; what the specification allows.
const DEEPEST: u8 = 64;

const METHOD_CALL: u8 = 1;
const METHOD_RETURN: u8 = 2;
const ERROR: u8 = 3;

/// A collector looks at what runs and starts nothing.
const NO_AUTO_START: u8 = 2;

const PATH: u8 = 1;
const INTERFACE: u8 = 2;
const MEMBER: u8 = 3;
const ERROR_NAME: u8 = 4;
const REPLY_SERIAL: u8 = 5;
const DESTINATION: u8 = 6;
const SIGNATURE: u8 = 8;

/// A method call, whose arguments are texts.
#[derive(Clone, Copy, Debug)]
pub struct BusCall<'c> {
    /// The name of the service, such as `org.freedesktop.systemd1`.
    pub destination: &'c str,
    /// The object, such as `/org/freedesktop/systemd1`.
    pub path: &'c str,
    /// The interface, such as `org.freedesktop.systemd1.Manager`.
    pub interface: &'c str,
    /// The method, such as `ListUnits`.
    pub member: &'c str,
    /// Arguments of the type `s`.
    pub arguments: &'c [&'c str],
}

impl<'c> BusCall<'c> {
    /// The call that reads a property, named by its interface and its own name. It returns a `v`.
    pub const fn property(destination: &'c str, path: &'c str, property: &'c [&'c str; 2]) -> Self {
        BusCall {
            destination,
            path,
            interface: "org.freedesktop.DBus.Properties",
            member: "Get",
            arguments: property,
        }
    }
}

/// Puts values one after another, each where its type belongs.
#[derive(Debug)]
pub struct BusWriter<'w> {
    bytes: &'w mut Vec<u8>,
    /// Where the message or its body begins.
    start: usize,
}

impl<'w> BusWriter<'w> {
    /// Appends to the bytes, in which a message or its body begins here.
    pub fn new(bytes: &'w mut Vec<u8>) -> Self {
        let start = bytes.len();
        BusWriter { bytes, start }
    }

    fn align(&mut self, to: usize) {
        let length = self.bytes.len() - self.start;
        self.bytes.resize(self.start + length.next_multiple_of(to), 0);
    }

    /// A `y`.
    pub fn byte(&mut self, value: u8) {
        self.bytes.push(value);
    }

    /// A `u`, `i` or, by 0 and 1, a `b`.
    pub fn number_32(&mut self, value: u32) {
        self.align(4);
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    /// A `t`, `x` or, by its bits, a `d`.
    pub fn number_64(&mut self, value: u64) {
        self.align(8);
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    /// An `s` or `o`. One that is longer than a message can be is cut.
    pub fn text(&mut self, text: &[u8]) {
        let text = &text[..text.len().min(LARGEST)];
        self.number_32(text.len() as u32);
        self.bytes.extend_from_slice(text);
        self.bytes.push(0);
    }

    /// A `g`. One that is longer than a signature can be is cut.
    pub fn signature(&mut self, signature: &str) {
        let signature = &signature.as_bytes()[..signature.len().min(255)];
        self.bytes.push(signature.len() as u8);
        self.bytes.extend_from_slice(signature);
        self.bytes.push(0);
    }

    /// The signature of so many texts.
    fn texts(&mut self, count: usize) {
        let count = count.min(255);
        self.bytes.push(count as u8);
        self.bytes.resize(self.bytes.len() + count, b's');
        self.bytes.push(0);
    }

    /// A `v` with a value of the type `signature`.
    pub fn variant(&mut self, signature: &str, value: impl FnOnce(&mut BusWriter<'_>)) {
        self.signature(signature);
        value(self);
    }

    /// A `(...)`, or a `{...}`.
    pub fn fields(&mut self, fields: impl FnOnce(&mut BusWriter<'_>)) {
        self.align(8);
        fields(self);
    }

    /// An `a` of elements whose type begins with that character.
    pub fn array(&mut self, element: u8, elements: impl FnOnce(&mut BusWriter<'_>)) {
        self.number_32(0);
        let place = self.bytes.len() - 4;
        self.align(alignment(element));
        let start = self.bytes.len();
        elements(self);
        let length = (self.bytes.len() - start) as u32;
        self.bytes[place..place + 4].copy_from_slice(&length.to_le_bytes());
    }
}

/// Where in a message a value of a type begins, by the type's first character.
fn alignment(kind: u8) -> usize {
    match kind {
        b'n' | b'q' => 2,
        b'b' | b'i' | b'u' | b's' | b'o' | b'a' | b'h' => 4,
        b'x' | b't' | b'd' | b'(' | b'{' => 8,
        _ => 1,
    }
}

/// Appends a method call.
pub(super) fn encode(bytes: &mut Vec<u8>, serial: u32, call: &BusCall<'_>) {
    let start = bytes.len();
    let mut writer = BusWriter::new(bytes);
    writer.bytes.extend_from_slice(&[b'l', METHOD_CALL, NO_AUTO_START, 1]);
    writer.number_32(0);
    writer.number_32(serial);
    writer.array(b'(', |fields| {
        for (field, kind, text) in [
            (PATH, "o", call.path),
            (INTERFACE, "s", call.interface),
            (MEMBER, "s", call.member),
            (DESTINATION, "s", call.destination),
        ] {
            // A connection to the service itself knows no names.
            if !text.is_empty() {
                fields.fields(|field_writer| {
                    field_writer.byte(field);
                    field_writer.variant(kind, |value| value.text(text.as_bytes()));
                });
            }
        }
        if !call.arguments.is_empty() {
            fields.fields(|field_writer| {
                field_writer.byte(SIGNATURE);
                field_writer.variant("g", |value| value.texts(call.arguments.len()));
            });
        }
    });
    writer.align(8);
    let mut body = BusWriter::new(writer.bytes);
    for argument in call.arguments {
        body.text(argument.as_bytes());
    }
    let length = (body.bytes.len() - body.start) as u32;
    bytes[start + 4..start + 8].copy_from_slice(&length.to_le_bytes());
}

/// How long the message is that begins so; `None` if it is no message, or too long a one.
pub(crate) fn length(start: &[u8; START]) -> Option<usize> {
    let [order, _, _, version, body @ .., _, _, _, _, f0, f1, f2, f3] = *start;
    let [b0, b1, b2, b3, ..] = body;
    let number = match order {
        b'l' => u32::from_le_bytes,
        b'B' => u32::from_be_bytes,
        _ => return None,
    };
    let fields = usize::try_from(number([f0, f1, f2, f3])).ok()?;
    let body = usize::try_from(number([b0, b1, b2, b3])).ok()?;
    let whole = START.checked_add(fields)?.checked_next_multiple_of(8)?.checked_add(body)?;
    (version == 1 && whole <= LARGEST).then_some(whole)
}

/// A message, as far as it is the answer to a call: the serial number of that call, and what it gave.
#[derive(Debug)]
pub(super) enum Message<'m> {
    /// The values that the method returned.
    Return(u32, BusReader<'m>),
    /// The name of an error.
    Error(u32, &'m [u8]),
    /// A signal or a call.
    Other,
}

/// Reads a whole message.
pub(super) fn parse(message: &[u8]) -> Result<Message<'_>, Malformed> {
    let kind = message.get(1).copied().unwrap_or_default();
    let is_big_endian = message.first() == Some(&b'B');
    let mut header =
        BusReader { bytes: message, at: 4, signature: b"uua(yv)", is_big_endian, depth: 0 };
    let body = header.number_32()?;
    header.number_32()?;
    let (mut reply_serial, mut error_name, mut signature) = (None, None, &b""[..]);
    header.array(&mut |field| {
        field.fields(&mut |field| {
            let code = field.byte()?;
            field.variant(&mut |value| {
                match code {
                    REPLY_SERIAL => reply_serial = Some(value.number_32()?),
                    ERROR_NAME => error_name = Some(value.text()?),
                    SIGNATURE => signature = value.signature()?,
                    _ => {}
                }
                Ok(())
            })
        })
    })?;
    header.align(8)?;
    let bytes = message.get(header.at..).unwrap_or_default();
    if bytes.len() != usize::try_from(body).unwrap_or(usize::MAX) {
        return Err(Malformed::new(4, "the length of the body"));
    }
    Ok(match (kind, reply_serial) {
        (METHOD_RETURN, Some(serial)) => {
            let reader = BusReader { bytes, at: 0, signature, is_big_endian, depth: 0 };
            Message::Return(serial, reader)
        }
        (ERROR, Some(serial)) => Message::Error(serial, error_name.unwrap_or_default()),
        _ => Message::Other,
    })
}

/// A method call as its receiver sees it.
#[cfg(any(test, feature = "testing"))]
#[derive(Debug, Default)]
#[allow(missing_docs, reason = "as in BusCall")]
pub struct ReceivedCall {
    pub serial: u32,
    pub destination: String,
    pub path: String,
    pub interface: String,
    pub member: String,
    pub arguments: Vec<String>,
}

/// Reads a whole call, whose arguments are texts.
#[cfg(any(test, feature = "testing"))]
pub(crate) fn received(message: &[u8]) -> Result<ReceivedCall, Malformed> {
    let mut call = ReceivedCall::default();
    let mut reader =
        BusReader { bytes: message, at: 8, signature: b"ua(yv)", is_big_endian: false, depth: 0 };
    call.serial = reader.number_32()?;
    let mut signature = &b""[..];
    reader.array(&mut |field| {
        field.fields(&mut |field| {
            let code = field.byte()?;
            field.variant(&mut |value| {
                let text = match code {
                    PATH => &mut call.path,
                    INTERFACE => &mut call.interface,
                    MEMBER => &mut call.member,
                    DESTINATION => &mut call.destination,
                    _ => {
                        signature = value.signature()?;
                        return Ok(());
                    }
                };
                *text = String::from_utf8_lossy(value.text()?).into_owned();
                Ok(())
            })
        })
    })?;
    reader.align(8)?;
    let bytes = message.get(reader.at..).unwrap_or_default();
    let mut body = BusReader { bytes, at: 0, signature, is_big_endian: false, depth: 0 };
    while !body.types().is_empty() {
        call.arguments.push(String::from_utf8_lossy(body.text()?).into_owned());
    }
    Ok(call)
}

/// Reads the values of a reply one after another.
///
/// Each method reads the next value, if that has the type the method is for, and fails otherwise.
/// Values that are not read inside an array, a structure or a variant are passed over.
#[derive(Debug)]
pub struct BusReader<'m> {
    bytes: &'m [u8],
    at: usize,
    /// The types of the values that are still to come.
    signature: &'m [u8],
    is_big_endian: bool,
    depth: u8,
}

impl<'m> BusReader<'m> {
    /// Values by [`BusWriter`] in memory.
    #[cfg(any(test, feature = "testing"))]
    pub(in crate::host) fn new(bytes: &'m [u8], signature: &'m str) -> Self {
        let signature = signature.as_bytes();
        BusReader { bytes, at: 0, signature, is_big_endian: false, depth: 0 }
    }

    /// The types of the values that are still to come, such as `sa{sv}`.
    pub fn types(&self) -> &'m [u8] {
        self.signature
    }

    fn wrong(&self, expected: &'static str) -> Malformed {
        Malformed::new(self.at, expected)
    }

    /// Takes the next type, which has to be one of these characters.
    fn take(&mut self, kinds: &[u8], expected: &'static str) -> Result<u8, Malformed> {
        match self.signature.split_first() {
            Some((kind, rest)) if kinds.contains(kind) => {
                self.signature = rest;
                self.align(alignment(*kind))?;
                Ok(*kind)
            }
            _ => Err(self.wrong(expected)),
        }
    }

    fn align(&mut self, to: usize) -> Result<(), Malformed> {
        let at = self.at.next_multiple_of(to);
        if at > self.bytes.len() {
            return Err(self.wrong("more bytes"));
        }
        self.at = at;
        Ok(())
    }

    fn slice(&mut self, length: usize) -> Result<&'m [u8], Malformed> {
        let end = self.at.checked_add(length);
        let slice = end.and_then(|end| self.bytes.get(self.at..end));
        let slice = slice.ok_or_else(|| self.wrong("more bytes"))?;
        self.at += length;
        Ok(slice)
    }

    fn chunk<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let mut chunk = [0; N];
        chunk.copy_from_slice(self.slice(N)?);
        if self.is_big_endian {
            chunk.reverse();
        }
        Ok(chunk)
    }

    fn raw_32(&mut self) -> Result<u32, Malformed> {
        Ok(u32::from_le_bytes(self.chunk()?))
    }

    /// A length, and that many bytes.
    fn raw_text(&mut self) -> Result<&'m [u8], Malformed> {
        let length = usize::try_from(self.raw_32()?).unwrap_or(usize::MAX);
        let text = self.slice(length)?;
        self.slice(1)?;
        Ok(text)
    }

    fn raw_signature(&mut self) -> Result<&'m [u8], Malformed> {
        let length = usize::from(u8::from_le_bytes(self.chunk()?));
        let signature = self.slice(length)?;
        self.slice(1)?;
        Ok(signature)
    }

    /// A `y`.
    pub fn byte(&mut self) -> Result<u8, Malformed> {
        self.take(b"y", "a byte")?;
        Ok(u8::from_le_bytes(self.chunk()?))
    }

    /// A `u`.
    pub fn number_32(&mut self) -> Result<u32, Malformed> {
        self.take(b"u", "a number of 32 bits")?;
        self.raw_32()
    }

    /// An `i`.
    pub fn signed_32(&mut self) -> Result<i32, Malformed> {
        self.take(b"i", "a number of 32 bits with a sign")?;
        Ok(i32::from_le_bytes(self.chunk()?))
    }

    /// A `t`.
    pub fn number_64(&mut self) -> Result<u64, Malformed> {
        self.take(b"t", "a number of 64 bits")?;
        Ok(u64::from_le_bytes(self.chunk()?))
    }

    /// An `x`.
    pub fn signed_64(&mut self) -> Result<i64, Malformed> {
        self.take(b"x", "a number of 64 bits with a sign")?;
        Ok(i64::from_le_bytes(self.chunk()?))
    }

    /// A `d`.
    pub fn float(&mut self) -> Result<f64, Malformed> {
        self.take(b"d", "a floating-point number")?;
        Ok(f64::from_le_bytes(self.chunk()?))
    }

    /// A `b`.
    pub fn boolean(&mut self) -> Result<bool, Malformed> {
        self.take(b"b", "true or false")?;
        Ok(self.raw_32()? != 0)
    }

    /// An `s` or `o`.
    pub fn text(&mut self) -> Result<&'m [u8], Malformed> {
        self.take(b"so", "a text")?;
        self.raw_text()
    }

    /// An `o` by the rules of the specification, so that it can be a [`BusCall::path`]: a bus ends
    /// the connection of who sends another one.
    pub fn object_path(&mut self) -> Result<&'m str, Malformed> {
        let wrong = self.wrong("the path of an object");
        self.take(b"o", "the path of an object")?;
        let path = self.raw_text()?;
        let is_part = |part: &[u8]| {
            !part.is_empty()
                && part.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
        };
        let is_path = path == b"/"
            || path
                .strip_prefix(b"/")
                .is_some_and(|path| path.split(|byte| *byte == b'/').all(is_part));
        std::str::from_utf8(path).ok().filter(|_| is_path).ok_or(wrong)
    }

    /// A `g`.
    pub fn signature(&mut self) -> Result<&'m [u8], Malformed> {
        self.take(b"g", "a signature")?;
        self.raw_signature()
    }

    /// An `a`: `each` reads one element.
    pub fn array(
        &mut self,
        each: &mut dyn FnMut(&mut BusReader<'m>) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        self.take(b"a", "an array")?;
        let element = self.next_type()?;
        let length = usize::try_from(self.raw_32()?).unwrap_or(usize::MAX);
        self.align(element.first().map_or(1, |kind| alignment(*kind)))?;
        let start = self.at;
        self.slice(length)?;
        let mut elements = self.inside(self.bytes.get(..self.at).unwrap_or_default(), element)?;
        elements.at = start;
        while elements.at < self.at {
            elements.signature = element;
            each(&mut elements)?;
            elements.skip_rest()?;
        }
        Ok(())
    }

    /// A `(...)`, or a `{...}`: `read` reads the fields.
    pub fn fields<T>(
        &mut self,
        read: &mut dyn FnMut(&mut BusReader<'m>) -> Result<T, Malformed>,
    ) -> Result<T, Malformed> {
        let whole = self.signature;
        let length = self.next_type()?.len();
        let types = whole.get(1..length.saturating_sub(1)).unwrap_or_default();
        let after = self.signature;
        self.signature = whole;
        self.take(b"({", "a structure")?;
        self.signature = after;
        let mut fields = self.inside(self.bytes, types)?;
        let value = read(&mut fields)?;
        fields.skip_rest()?;
        self.at = fields.at;
        Ok(value)
    }

    /// A `v`: `read` reads the value.
    pub fn variant<T>(
        &mut self,
        read: &mut dyn FnMut(&mut BusReader<'m>) -> Result<T, Malformed>,
    ) -> Result<T, Malformed> {
        self.take(b"v", "a variant")?;
        let signature = self.raw_signature()?;
        if type_length(signature, 0) != Some(signature.len()) {
            return Err(self.wrong("a signature of one type"));
        }
        let mut inner = self.inside(self.bytes, signature)?;
        let value = read(&mut inner)?;
        inner.skip_rest()?;
        self.at = inner.at;
        Ok(value)
    }

    /// Passes over the next value, of whatever type it is.
    pub fn skip(&mut self) -> Result<(), Malformed> {
        let kind = self.signature.first().copied().unwrap_or_default();
        match kind {
            b'(' | b'{' => return self.fields(&mut BusReader::skip_rest),
            b'v' => return self.variant(&mut BusReader::skip_rest),
            b'a' => return self.array(&mut BusReader::skip_rest),
            b's' | b'o' => return self.text().map(drop),
            b'g' => return self.signature().map(drop),
            _ => {}
        }
        self.take(b"ybnqiuxtdh", "a value")?;
        let size = if kind == b'y' { 1 } else { alignment(kind) };
        self.slice(size).map(drop)
    }

    fn skip_rest(&mut self) -> Result<(), Malformed> {
        while !self.signature.is_empty() {
            self.skip()?;
        }
        Ok(())
    }

    /// Takes the next whole type off the signature.
    fn next_type(&mut self) -> Result<&'m [u8], Malformed> {
        let length = type_length(self.signature, 0);
        let length = length.ok_or_else(|| self.wrong("a value of a known type"))?;
        let (next, rest) = self.signature.split_at(length);
        self.signature = rest;
        Ok(next)
    }

    fn inside(&self, bytes: &'m [u8], signature: &'m [u8]) -> Result<BusReader<'m>, Malformed> {
        let depth = self.depth + 1;
        if depth > DEEPEST {
            return Err(self.wrong("values that are not so deep in one another"));
        }
        Ok(BusReader { bytes, at: self.at, signature, is_big_endian: self.is_big_endian, depth })
    }
}

/// How long the first whole type of a signature is. Every type has at least one value in it, so
/// that reading one always advances.
fn type_length(signature: &[u8], depth: u8) -> Option<usize> {
    if depth > DEEPEST {
        return None;
    }
    let close = match signature.first()? {
        b'a' => return Some(1 + type_length(&signature[1..], depth + 1)?),
        b'(' => b')',
        b'{' => b'}',
        kind => return b"ybnqiuxtdsoghv".contains(kind).then_some(1),
    };
    let mut length = 1 + type_length(&signature[1..], depth + 1)?;
    while *signature.get(length)? != close {
        length += type_length(&signature[length..], depth + 1)?;
    }
    Some(length + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::bus_message as reply;

    #[test]
    fn a_call_is_what_the_specification_says() {
        let mut bytes = Vec::new();
        let call = BusCall {
            destination: "d.e",
            path: "/p",
            interface: "i.f",
            member: "M",
            arguments: &["ab", ""],
        };
        encode(&mut bytes, 7, &call);
        let expected: &[&[u8]] = &[
            b"l\x01\x02\x01\x0d\0\0\0\x07\0\0\0\x48\0\0\0",
            b"\x01\x01o\0\x02\0\0\0/p\0\0\0\0\0\0",
            b"\x02\x01s\0\x03\0\0\0i.f\0\0\0\0\0",
            b"\x03\x01s\0\x01\0\0\0M\0\0\0\0\0\0\0",
            b"\x06\x01s\0\x03\0\0\0d.e\0\0\0\0\0",
            b"\x08\x01g\0\x02ss\0",
            b"\x02\0\0\0ab\0\0\0\0\0\0\0",
        ];
        assert_eq!(bytes, expected.concat());
        assert_eq!(length(bytes.first_chunk().unwrap()), Some(16 + 72 + 13));
    }

    fn units() -> Vec<u8> {
        let mut body = Vec::new();
        let mut writer = BusWriter::new(&mut body);
        writer.array(b'(', |units| {
            for (name, job) in [(&b"ssh.service"[..], 0), (b"x\xff", 7)] {
                units.fields(|unit| {
                    unit.text(name);
                    unit.number_32(job);
                    unit.array(b'{', |properties| {
                        properties.fields(|property| {
                            property.text(b"Since");
                            property.variant("t", |value| value.number_64(1 << 40));
                        });
                        properties.fields(|property| {
                            property.text(b"Deep");
                            property.variant("a(sv)", |value| value.array(b'(', |_| {}));
                        });
                    });
                });
            }
        });
        writer.number_32(1);
        body
    }

    const UNITS: &str = "a(sua{sv})b";

    #[test]
    fn a_reply_is_read_by_its_types() {
        let message = reply(METHOD_RETURN, 7, UNITS, &units());
        assert_eq!(length(message.first_chunk().unwrap()), Some(message.len()));
        let Ok(Message::Return(7, mut reader)) = parse(&message) else { panic!() };
        let mut seen = Vec::new();
        reader
            .array(&mut |unit| {
                unit.fields(&mut |unit| {
                    let (name, job) = (unit.text()?, unit.number_32()?);
                    unit.array(&mut |property| {
                        property.fields(&mut |property| {
                            if property.text()? == b"Since" {
                                let since = property.variant(&mut BusReader::number_64)?;
                                seen.push((name, job, since));
                            }
                            Ok(())
                        })
                    })
                })
            })
            .unwrap();
        assert!(reader.boolean().unwrap());
        assert_eq!(seen, [(&b"ssh.service"[..], 0, 1 << 40), (b"x\xff", 7, 1 << 40)]);
        assert_eq!(reader.types(), b"");
        assert!(reader.skip().is_err());
        // The wrong type is refused where it is.
        let Ok(Message::Return(7, mut reader)) = parse(&message) else { panic!() };
        assert_eq!(reader.text(), Err(Malformed::new(0, "a text")));
        reader.skip().unwrap();
        assert_eq!(reader.types(), b"b");
    }

    #[test]
    fn numbers_of_every_kind_and_order() {
        let mut reader = BusReader::new(&[0xff; 40], "iuyxtd");
        assert_eq!(reader.signed_32(), Ok(-1));
        assert_eq!(reader.number_32(), Ok(u32::MAX));
        assert_eq!(reader.byte(), Ok(255));
        assert_eq!(reader.signed_64(), Ok(-1));
        assert_eq!(reader.number_64(), Ok(u64::MAX));
        assert!(reader.float().unwrap().is_nan());
        let bytes = [0, 0, 0, 5, 0, 0, 0, 1, b'x', 0];
        let mut reader =
            BusReader { bytes: &bytes, at: 0, signature: b"us", is_big_endian: true, depth: 0 };
        assert_eq!((reader.number_32(), reader.text()), (Ok(5), Ok(&b"x"[..])));
    }

    #[test]
    fn a_path_that_a_bus_would_refuse_is_refused() {
        let path = |path: &[u8], signature: &str| {
            let mut body = Vec::new();
            BusWriter::new(&mut body).text(path);
            BusReader::new(&body, signature).object_path().map(str::to_owned)
        };
        for good in ["/", "/a", "/org/freedesktop/systemd1/unit/a_2eservice"] {
            assert_eq!(path(good.as_bytes(), "o").unwrap(), good);
        }
        let expected = Err(Malformed::new(0, "the path of an object"));
        for bad in
            [&b""[..], b"a", b"/a/", b"//", b"/a//b", b"/a.b", b"/a-b", b"/\xff", b"/\xc3\xa4"]
        {
            assert_eq!(path(bad, "o"), expected, "{}", bad.escape_ascii());
        }
        assert_eq!(path(b"/a", "s"), expected);
    }

    #[test]
    fn replies_are_distinguished() {
        assert!(matches!(
            parse(&reply(ERROR, 7, "", b"")),
            Ok(Message::Error(7, b"org.freedesktop.DBus.Error.UnknownMethod"))
        ));
        assert!(matches!(parse(&reply(METHOD_RETURN, 8, "", b"")), Ok(Message::Return(8, _))));
        assert!(matches!(parse(&reply(4, 7, "", b"")), Ok(Message::Other)));
        let whole = reply(METHOD_RETURN, 7, "", b"");
        for start in [*b"x\x02\0\x01", *b"l\x02\0\x02"] {
            let mut other = whole.clone();
            other[..4].copy_from_slice(&start);
            assert_eq!(length(other.first_chunk().unwrap()), None);
        }
        let huge = *b"l\x02\0\x01\xff\xff\xff\xff\x01\0\0\0\xff\xff\xff\xff";
        assert_eq!(length(&huge), None);
    }

    fn exhaust(message: &[u8]) {
        if let Some(start) = message.first_chunk() {
            let _ = length(start);
        }
        if let Ok(Message::Return(_, mut reader)) = parse(message) {
            let _ = reader.skip_rest();
            assert!(reader.at <= message.len());
        }
    }

    #[test]
    fn takes_messages_cut_or_spoilt_at_any_byte() {
        let whole = reply(METHOD_RETURN, 7, UNITS, &units());
        for at in 0..whole.len() {
            exhaust(&whole[..at]);
            for byte in [0, 1, 2, 7, 0x28, 0x61, 0x7f, 0x80, 0xff] {
                let mut damaged = whole.clone();
                damaged[at] = byte;
                exhaust(&damaged);
            }
        }
    }

    #[test]
    fn what_is_not_a_signature_is_refused_and_deep_ones_end() {
        for (signature, whole) in [
            ("a{sv}", Some(5)),
            ("aas", Some(3)),
            ("(s(ii))u", Some(7)),
            ("", None),
            ("()", None),
            ("(s", None),
            ("a", None),
            ("z", None),
            (")", None),
        ] {
            assert_eq!(type_length(signature.as_bytes(), 0), whole, "{signature}");
        }
        for deep in ["a".repeat(200) + "s", "(".repeat(200), "(".repeat(65) + "s" + &")".repeat(65)]
        {
            assert_eq!(type_length(deep.as_bytes(), 0), None);
        }
        // Variants in variants need no signature as deep.
        let deep = b"\x01v\0".repeat(100);
        assert!(BusReader::new(&deep, "v").skip().is_err());
        // An array says that it has more than there is.
        assert!(BusReader::new(&[0xff; 8], "as").skip().is_err());
    }
}
