//! Units and files of variables, compared with what a real systemd made of them.

use super::*;

/// What systemd 252 makes of them, with `/etc/case.env` (`A='1 2'`, `B=file`) and `/etc/case2.env`
/// (`A=two`). A line is one of these, its parts between tabs and with `%XX` for bytes that do not show:
///
/// - `unit TEXT WORD...`: what node_exporter is given by a unit; `-` for an empty word.
/// - `refused TEXT`: a unit that systemd does not start.
/// - `file TEXT NAME=VALUE...`: what a file of variables sets.
const TABLE: &str = include_str!("table.txt");

fn decoded(part: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = part.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        match (first, after) {
            (b'%', [high, low, after @ ..]) => {
                let digits = [*high, *low];
                let digits = str::from_utf8(&digits).expect("digits");
                bytes.push(u8::from_str_radix(digits, 16).expect("digits"));
                rest = after;
            }
            _ => bytes.push(*first),
        }
    }
    String::from_utf8(bytes).expect("UTF-8")
}

fn files_of_cases(pattern: &str) -> io::Result<Vec<File>> {
    let known = [("/etc/case.env", "A='1 2'\nB=file\n"), ("/etc/case2.env", "A=two\n")];
    let found: Vec<File> = known
        .iter()
        .filter(|(name, _)| is_match(pattern, name))
        .map(|(name, text)| File { name: (*name).to_owned(), text: (*text).to_owned() })
        .collect();
    if found.is_empty() { Err(io::ErrorKind::NotFound.into()) } else { Ok(found) }
}

fn of_text(text: &str) -> Result<Vec<String>, String> {
    let name = "/etc/systemd/system/node_exporter.service".to_owned();
    let files = [File { name, text: text.to_owned() }];
    let service = of_unit(&files, &files_of_cases)?;
    Ok(service.arguments.into_iter().map(|argument| argument.text).collect())
}

#[test]
fn all_is_taken_as_systemd_takes_it() {
    let mut wrong = Vec::new();
    for line in TABLE.lines() {
        let mut parts = line.split('\t');
        let kind = parts.next().expect("a kind");
        let text = decoded(parts.next().expect("a text"));
        let expected: Vec<String> =
            parts.map(|part| if part == "-" { String::new() } else { decoded(part) }).collect();
        match kind {
            "unit" => {
                let words = of_text(&text);
                if words.as_ref() != Ok(&expected) {
                    wrong.push(format!("{text}\n{words:?}\n{expected:?}"));
                }
            }
            "refused" => {
                if let Ok(words) = of_text(&text) {
                    wrong.push(format!("{text}\n{words:?}\nis refused"));
                }
            }
            "file" => {
                let mut last = BTreeMap::new();
                for variable in environment::variables(&text) {
                    last.insert(variable.name, variable.value);
                }
                let found: Vec<String> =
                    last.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
                if found != expected {
                    wrong.push(format!("{text}\n{found:?}\n{expected:?}"));
                }
            }
            other => panic!("{other}"),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}
