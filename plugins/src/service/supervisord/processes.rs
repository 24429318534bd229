//! The list of processes in an answer of XML-RPC (xmlrpc.com/spec.md).

use quick_xml::Reader;
use quick_xml::escape::resolve_xml_entity;
use quick_xml::events::{BytesRef, Event};
use vitald_core::number::parse_i64;
use vitald_core::prelude::{Malformed, text};

/// The call that asks for it.
pub(super) const CALL: &str = "<?xml version=\"1.0\"?><methodCall>\
    <methodName>supervisor.getAllProcessInfo</methodName><params></params></methodCall>";

/// The elements that a member of a process is in.
const ABOVE: [&str; 9] =
    ["methodResponse", "params", "param", "value", "array", "data", "value", "struct", "member"];
/// How many elements are open beside a process, and inside of it, of a member, of a name or a value, and
/// of the element that says the type of a value.
const BESIDE_PROCESS: usize = 7;
const IN_PROCESS: usize = 8;
const IN_MEMBER: usize = 9;
const IN_NAME: usize = 10;
const IN_TYPE: usize = 11;

/// What is taken of a process; in memory that is used again.
#[derive(Debug, Default)]
pub(super) struct Process {
    pub(super) name: Vec<u8>,
    pub(super) group: Vec<u8>,
    pub(super) state: i64,
    pub(super) exit_status: i64,
    pub(super) start: i64,
    /// A bit for each of these that was there and was what it should be.
    seen: u8,
    at: usize,
    member: Vec<u8>,
    value: Vec<u8>,
}

impl Process {
    /// The process, if all of it was there.
    pub(super) fn whole(&self) -> Result<&Process, Malformed> {
        match self.seen {
            0b1_1111 => Ok(self),
            _ => {
                Err(Malformed::new(self.at, "a name, a group, a state, an exit status and a start"))
            }
        }
    }

    fn take_member(&mut self) {
        let Process { name, group, state, exit_status, start, seen, member, value, .. } = self;
        let bit = match member.as_slice() {
            b"name" | b"group" => {
                let (field, bit) = if member == b"name" { (name, 1) } else { (group, 2) };
                std::mem::swap(field, value);
                bit
            }
            b"state" | b"exitstatus" | b"start" => {
                let Some(number) = parse_i64(text::trim(value)) else { return };
                let (field, bit) = match member.as_slice() {
                    b"state" => (state, 4),
                    b"exitstatus" => (exit_status, 8),
                    _ => (start, 16),
                };
                *field = number;
                bit
            }
            _ => return,
        };
        *seen |= bit;
    }
}

/// Reads one process after another.
pub(super) struct Processes<'a> {
    reader: Reader<&'a [u8]>,
    /// How many elements are open.
    depth: usize,
    is_in_name: bool,
    /// Whether the value has an element in it that says its type: only what is in there counts.
    is_typed: bool,
    is_begun: bool,
}

impl<'a> Processes<'a> {
    pub(super) fn new(body: &'a [u8]) -> Self {
        let mut reader = Reader::from_reader(body);
        reader.config_mut().expand_empty_elements = true;
        Processes { reader, depth: 0, is_in_name: false, is_typed: false, is_begun: false }
    }

    /// Takes the next process; `false` at the end of a document that is whole.
    pub(super) fn next(&mut self, process: &mut Process) -> Result<bool, Malformed> {
        loop {
            let at = self.reader.buffer_position() as usize;
            let wrong = |expected| Malformed::new(at, expected);
            match self.reader.read_event().map_err(|_| wrong("a document of XML"))? {
                Event::Start(element) => {
                    self.start(element.local_name().as_ref(), at, process)?;
                    self.depth += 1;
                }
                Event::End(_) => {
                    self.depth = self.depth.saturating_sub(1);
                    match self.depth {
                        IN_PROCESS => process.take_member(),
                        BESIDE_PROCESS => return Ok(true),
                        _ => {}
                    }
                }
                Event::Text(text) => self.text(&text.xml10_content(), process),
                Event::CData(text) => self.text(&text.xml10_content(), process),
                Event::GeneralRef(reference) => {
                    let mut room = [0; 4];
                    let text = character(&reference, &mut room).ok_or(wrong("a known entity"))?;
                    self.text(text, process);
                }
                Event::Eof if self.depth > 0 || !self.is_begun => {
                    return Err(wrong("the rest of a document of XML"));
                }
                Event::Eof => return Ok(false),
                // An element that is empty comes as its start and its end.
                Event::Decl(_)
                | Event::PI(_)
                | Event::Comment(_)
                | Event::DocType(_)
                | Event::Empty(_) => {}
            }
        }
    }

    fn start(&mut self, name: &str, at: usize, process: &mut Process) -> Result<(), Malformed> {
        self.is_begun = true;
        if let Some(expected) = ABOVE.get(self.depth)
            && *expected != name
        {
            return Err(Malformed::new(at, "an answer with a list of processes"));
        }
        match self.depth {
            BESIDE_PROCESS => {
                process.seen = 0;
                process.at = at;
            }
            IN_PROCESS => {
                process.member.clear();
                process.value.clear();
            }
            IN_MEMBER => {
                self.is_in_name = name == "name";
                self.is_typed = false;
            }
            IN_NAME if !self.is_in_name => {
                self.is_typed = true;
                process.value.clear();
            }
            _ => {}
        }
        Ok(())
    }

    fn text(&self, text: &str, process: &mut Process) {
        match (self.is_in_name, self.is_typed, self.depth) {
            (true, _, IN_NAME) => process.member.extend_from_slice(text.as_bytes()),
            (false, false, IN_NAME) | (false, true, IN_TYPE) => {
                process.value.extend_from_slice(text.as_bytes());
            }
            _ => {}
        }
    }
}

/// The text of `amp`, `#65` or `#x41`.
fn character<'r>(reference: &BytesRef<'_>, room: &'r mut [u8; 4]) -> Option<&'r str> {
    if reference.is_char_ref() {
        let character = reference.resolve_char_ref().ok()??;
        return Some(character.encode_utf8(room));
    }
    resolve_xml_entity(reference)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(processes: &str) -> String {
        format!(
            "<?xml version='1.0'?>\n<methodResponse>\n<params>\n<param>\n<value><array><data>\n\
             {processes}</data></array></value>\n</param>\n</params>\n</methodResponse>\n"
        )
    }

    fn process(members: &str) -> String {
        format!("<value><struct>\n{members}</struct></value>\n")
    }

    fn member(name: &str, value: &str) -> String {
        format!("<member>\n<name>{name}</name>\n<value>{value}</value>\n</member>\n")
    }

    fn ordinary(name: &str) -> String {
        let of = |kind: &str, text: &str| format!("<{kind}>{text}</{kind}>");
        [
            member("name", &of("string", name)),
            member("group", &of("string", "web")),
            member("start", &of("int", "1700000000")),
            member("state", &of("i4", "20")),
            member("spawnerr", &of("string", "")),
            member("exitstatus", &of("int", "-9")),
        ]
        .concat()
    }

    fn read(text: &str) -> Result<Vec<(String, i64, i64, i64)>, Malformed> {
        let mut processes = Processes::new(text.as_bytes());
        let mut process = Process::default();
        let mut all = Vec::new();
        while processes.next(&mut process)? {
            let Process { name, group, state, exit_status, start, .. } = process.whole()?;
            let names = String::from_utf8_lossy(&[name.as_slice(), group].join(&b'/')).into_owned();
            all.push((names, *state, *exit_status, *start));
        }
        Ok(all)
    }

    #[test]
    fn processes_of_an_answer() {
        let text = document(&[process(&ordinary("a")), process(&ordinary("b"))].concat());
        let expected = |name: &str| (format!("{name}/web"), 20, -9, 1_700_000_000);
        assert_eq!(read(&text), Ok(vec![expected("a"), expected("b")]));
        assert_eq!(read(&text.replace('\n', "\r\n  ")), Ok(vec![expected("a"), expected("b")]));
        assert_eq!(read(&document("")), Ok(vec![]));
        assert_eq!(read(&document("").replace("<data>\n</data>", "<data/>")), Ok(vec![]));
    }

    #[test]
    fn texts_are_what_was_written() {
        let name =
            |text: &str| read(&document(&process(&ordinary(text)))).map(|all| all[0].0.clone());
        assert_eq!(name("a&amp;b &lt;&#65;&#x42;&gt;"), Ok("a&b <AB>/web".to_owned()));
        assert_eq!(name("<![CDATA[<&]]>x"), Ok("<&x/web".to_owned()));
        assert_eq!(name("a<!-- b -->c"), Ok("ac/web".to_owned()));
        assert_eq!(name("\u{e9} "), Ok("\u{e9} /web".to_owned()));
        assert!(name("&nothing;").is_err() && name("&#x110000;").is_err());
    }

    #[test]
    fn a_value_without_a_type_is_a_text_and_other_members_do_not_matter() {
        let members = ordinary("a")
            .replace("<string>web</string>", "web")
            .replace("<i4>20</i4>", "\n <i4> 20 </i4>\n ");
        let more = [
            member(
                "new",
                "<array><data><value><struct><member><name>name</name><value>no</value></member></struct></value></data></array>",
            ),
            member("empty", "<nil/>"),
            members,
        ];
        let all = read(&document(&process(&more.concat())));
        assert_eq!(all, Ok(vec![("a/web".to_owned(), 20, -9, 1_700_000_000)]));
    }

    #[test]
    fn a_process_that_lacks_something_is_refused() {
        for (present, other) in [
            ("<name>name<", "<name>nam<"),
            ("<name>group<", "<name>grou<"),
            (">20<", ">twenty<"),
            (">-9<", "><"),
            (">1700000000<", ">1.5<"),
        ] {
            let members = ordinary("a");
            assert!(members.contains(present));
            // The first one is whole: nothing of it is taken for what the second one lacks.
            let text =
                document(&[process(&members), process(&members.replace(present, other))].concat());
            assert!(read(&text).is_err(), "{other}");
        }
    }

    #[test]
    fn another_document_is_refused() {
        let fault =
            "<methodResponse><fault><value><struct></struct></value></fault></methodResponse>";
        for wrong in [
            "",
            " ",
            "text",
            "<html></html>",
            fault,
            "<methodResponse>",
            &document("<value><int>1</int></value>"),
            "<a></b>",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        let text = document(&process(&ordinary("a")));
        for end in 0..text.trim_end().len() {
            assert!(read(&text[..end]).is_err(), "{end}");
        }
        assert!(read(&text.replace("web", "\u{0}")).is_ok());
    }

    #[test]
    fn bytes_that_are_not_utf8_are_refused() {
        let mut text = document(&process(&ordinary("a"))).into_bytes();
        let at = text.windows(3).position(|part| part == b"web").unwrap();
        text[at] = 0xff;
        let mut processes = Processes::new(&text);
        assert!(processes.next(&mut Process::default()).is_err());
    }
}
