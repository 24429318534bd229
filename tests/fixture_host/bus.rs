//! What a host's services say over the bus, from `bus.txt`: values as busctl(1) prints them.
//!
//! ```text
//! property PATH INTERFACE NAME SIGNATURE VALUES   a property of an object
//! reply PATH INTERFACE MEMBER SIGNATURE VALUES    what a method returns
//! ```
//!
//! A line that begins with a blank goes on with the one before it. An array has its number of elements
//! before them, a variant its signature.

use vitald_core::host::BusWriter;
use vitald_core::testing::MemoryHost;

/// Sets the replies and properties of the text.
pub fn answer(memory: &MemoryHost, text: &str) {
    let lines = text.replace("\n ", " ");
    for line in lines.lines().filter(|line| !line.trim().is_empty()) {
        let mut words = Words(line);
        let [kind, path, interface, name, signature] = [(); 5].map(|()| words.next());
        let values = |writer: &mut BusWriter<'_>| {
            let mut types = signature.as_bytes();
            while !types.is_empty() {
                types = value(writer, types, &mut words);
            }
            assert!(words.0.trim().is_empty(), "there is more than {signature:?} in {line}");
        };
        match &*kind {
            "property" => memory.set_bus_property(&path, &interface, &name, &signature, values),
            "reply" => memory.set_bus_reply(&path, &interface, &name, &signature, values),
            _ => panic!("bus.txt: {line}"),
        }
    }
}

/// Words between blanks, of which some are in quotation marks.
struct Words<'t>(&'t str);

impl Words<'_> {
    fn next(&mut self) -> String {
        let text = self.0.trim_start();
        let quoted = text.strip_prefix('"');
        let (word, rest) = match quoted {
            Some(quoted) => quoted.split_once('"').expect("a text ends"),
            None => text.split_once(' ').unwrap_or((text, "")),
        };
        self.0 = rest;
        word.replace("\\\\", "\\")
    }

    fn number(&mut self) -> u64 {
        let word = self.next();
        word.parse().unwrap_or_else(|_| panic!("{word:?} is not a number"))
    }
}

/// Writes a value of the first type, and gives the types after it.
fn value<'s>(writer: &mut BusWriter<'_>, types: &'s [u8], words: &mut Words<'_>) -> &'s [u8] {
    let (kind, rest) = types.split_first().expect("a type");
    match kind {
        b's' | b'o' => writer.text(words.next().as_bytes()),
        b'b' => writer.number_32((words.next() == "true").into()),
        b'u' => writer.number_32(words.number() as u32),
        b't' => writer.number_64(words.number()),
        b'v' => {
            let signature = words.next();
            writer.variant(&signature, |inner| {
                value(inner, signature.as_bytes(), words);
            });
        }
        b'a' => {
            let count = words.number();
            writer.array(rest[0], |elements| {
                for _ in 0..count {
                    value(elements, rest, words);
                }
            });
            return past_one(rest);
        }
        b'(' => {
            let mut inside = rest;
            writer.fields(|fields| {
                while inside[0] != b')' {
                    inside = value(fields, inside, words);
                }
            });
            return &inside[1..];
        }
        _ => panic!("{:?} is not a type that is used", char::from(*kind)),
    }
    rest
}

/// The types after the first one, which may be a structure without others in it.
fn past_one(types: &[u8]) -> &[u8] {
    let end = match types[0] {
        b'(' => types.iter().position(|byte| *byte == b')').expect("a structure ends"),
        _ => 0,
    };
    &types[end + 1..]
}
