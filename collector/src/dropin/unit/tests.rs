//! Units and files of variables, compared with what a real systemd made of them.

use super::*;
use proptest::prelude::*;

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
fn a_comment_ends_with_its_line() {
    // Before systemd 254 a backslash continued it.
    let found = environment::variables("# c \\\nA=1\nB=2\n");
    let lines: Vec<_> = found.iter().map(|one| (one.name.as_str(), one.line)).collect();
    assert_eq!(lines, [("A", 2), ("B", 3)]);
}

#[test]
fn names_match_patterns_of_a_shell() {
    for (pattern, name) in [
        ("*", "a"),
        ("a*.env", "a.env"),
        ("*a*b", "xaaybb"),
        ("?.e?v", "é.env"),
        ("", ""),
        (".*", ".a"),
    ] {
        assert!(is_match(pattern, name), "{pattern} {name}");
    }
    for (pattern, name) in
        [("*", ".a"), ("a", "ab"), ("a*b", "abc"), ("?", ""), ("??", "é"), ("", "a")]
    {
        assert!(!is_match(pattern, name), "{pattern} {name}");
    }
}

#[test]
fn drop_ins_and_files_are_found() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let write = |name: &str, text: &str| {
        fs::create_dir_all(path(name).parent().expect("a folder")).expect("a folder");
        fs::write(path(name), text).expect("a file");
    };
    write(
        "n.service",
        &format!(
            "[Service]\nEnvironmentFile={}/*.env\nExecStart=/node_exporter $A $B\n",
            folder.path().display()
        ),
    );
    write("1.env", "A=one\n");
    write("2.env", "# A\n\nA=two\n");
    write("n.service.d/20.conf", "[Service]\nWorkingDirectory=/w\nEnvironment=B=twenty\n");
    write("n.service.d/10.conf", "[Service]\nEnvironment=B=ten\n");
    write("n.service.d/99.txt", "[Service]\nExecStart=\n");
    let service = read(&path("n.service")).expect("a service");
    let shown: Vec<_> = service
        .arguments
        .iter()
        .map(|one| {
            format!("{} {}", one.text, one.place.replace(folder.path().to_str().unwrap(), ""))
        })
        .collect();
    assert_eq!(shown, ["two /2.env:3", "twenty /n.service.d/20.conf:3"]);
    assert_eq!((service.directory, service.warnings), (PathBuf::from("/w"), Vec::new()));
    assert!(is_unit(&File { name: "x".to_owned(), text: "# c\n\n[Unit]\n".to_owned() }));
    assert!(!is_unit(&File { name: "x".to_owned(), text: "# c\n\nA=[\n".to_owned() }));
}

#[test]
fn only_regular_files_are_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let (unit, file) = (folder.path().join("n.service"), folder.path().join("file"));
    let with = |variables: &str| {
        let text = format!("[Service]\nEnvironmentFile={variables}\nExecStart=/node_exporter\n");
        fs::write(&unit, text).expect("a file");
        read(&unit)
    };
    assert!(read(Path::new("/dev/zero")).is_err_and(|error| error.contains("it is a device")));
    assert!(with("/dev/zero").is_err_and(|error| error.contains("it is a device")));
    assert!(with("/dev/null").is_ok());
    fs::create_dir(folder.path().join("n.service.d")).expect("a folder");
    let drop_in = folder.path().join("n.service.d/a.conf");
    std::os::unix::fs::symlink("/dev/null", &drop_in).expect("a link");
    assert!(with("/dev/null").is_ok(), "a drop-in may be masked");
    fs::remove_file(&drop_in).expect("a link");
    for pipe in [&file, &drop_in] {
        let mode = rustix::fs::Mode::RUSR;
        rustix::fs::mknodat(rustix::fs::CWD, pipe, rustix::fs::FileType::Fifo, mode, 0)
            .expect("a pipe");
        let refused = with(file.to_str().expect("UTF-8")).expect_err("it is refused");
        assert!(refused.contains("it is a named pipe"), "{refused}");
    }
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

/// What has a meaning somewhere, and a little that has none.
const LETTERS: &str = "[-a1 \\t\\n\\r\\\\\"'$%{}:;=@#*?\\[\\]é\u{feff}]{0,40}";

proptest! {
    #[test]
    fn any_text_is_read_or_refused(unit in LETTERS, variables in LETTERS) {
        let file = File { name: "/default".to_owned(), text: variables };
        let _ = of_variables(&file);
        let read = |_: &str| Ok(vec![file.clone()]);
        for text in [
            unit.clone(),
            format!("[Service]\n{unit}"),
            format!("[Service]\nEnvironmentFile=/a\nEnvironment={unit}\nExecStart=/a $a ${{1}} {unit}"),
        ] {
            let _ = of_unit(&[File { name: "/a@b-c.service".to_owned(), text }], &read);
        }
    }

    #[test]
    fn what_is_quoted_is_read_back(words in prop::collection::vec(LETTERS, 0..4)) {
        let mut text = "[Service]\nExecStart=/a".to_owned();
        for word in &words {
            let escaped = word.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            text += &format!(" \"{}\"", escaped.replace('%', "%%").replace('$', "$$"));
        }
        prop_assert_eq!(of_text(&text), Ok(words));
    }
}
