//! What the documents say of the tree is so: links and anchors, files and modules, commands and their options,
//! settings and names of metrics. What they tell people to run, `system_documents.rs` runs.

mod document;
mod harness;

use document::{Document, Kind, documents};
use harness::root;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The parts of a line beside code, and the code, which is between backticks.
fn text_and_code(line: &str) -> (String, Vec<&str>) {
    let parts = line.split('`');
    (parts.clone().step_by(2).collect(), parts.skip(1).step_by(2).collect())
}

/// Every piece of code in the sentences of a document, with the place of its line.
fn code(document: &Document) -> Vec<(String, &str)> {
    let lines = document.lines().into_iter();
    let pieces = lines.flat_map(|line| {
        let place = format!("{}:{}", document.path, line.number);
        text_and_code(line.text).1.into_iter().map(move |code| (place.clone(), code))
    });
    pieces.collect()
}

/// The documents that tell what is there now: the changelog also tells what was.
fn of_today() -> impl Iterator<Item = Document> {
    documents().into_iter().filter(|document| document.path != "CHANGELOG.md")
}

/// Fails with everything that is wrong, and where nothing was looked at.
#[track_caller]
fn assert_sound(looked_at: usize, wrong: &[String]) {
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(looked_at > 0, "there was nothing to look at");
}

#[test]
fn every_block_is_run_or_says_why_not() {
    let core = fs::read_to_string(root().join("core/src/lib.rs")).expect("core");
    let (mut wrong, mut blocks) = (Vec::new(), 0);
    for document in documents() {
        for block in document.blocks() {
            blocks += 1;
            let is_right = match (&block.not_run, block.kind()) {
                (Some(reason), _) => !reason.trim().is_empty(),
                (None, Some(Kind::Rust)) => {
                    core.contains(&format!("include_str!(\"../../{}\")", document.path))
                }
                (None, kind) => kind.is_some(),
            };
            if !is_right {
                wrong.push(format!(
                    "{}:{}: nothing runs this block of {:?}. Give it a language that is run, or say before it why it is \
                     not: <!-- not run: REASON -->",
                    document.path, block.line, block.language
                ));
            }
        }
    }
    assert_sound(blocks, &wrong);
}

/// The anchors that GitHub gives to the headings of a text.
fn anchors(document: &Document) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    for line in document.lines() {
        let Some((level, heading)) = line.text.split_once(' ') else { continue };
        if level.is_empty() || level.chars().any(|character| character != '#') {
            continue;
        }
        let kept = |character: &char| character.is_alphanumeric() || " -_".contains(*character);
        let heading: String = heading.to_lowercase().chars().filter(kept).collect();
        let anchor = heading.replace(' ', "-");
        let numbered = (1..).map(|number| format!("{anchor}-{number}"));
        let mut names = std::iter::once(anchor.clone()).chain(numbered);
        names.find(|name| anchors.insert(name.clone()));
    }
    anchors
}

#[test]
fn links_lead_somewhere() {
    let documents = documents();
    let anchors: BTreeMap<PathBuf, BTreeSet<String>> = documents
        .iter()
        .map(|document| {
            (root().join(&document.path).canonicalize().expect("it"), anchors(document))
        })
        .collect();
    let (mut wrong, mut links) = (Vec::new(), 0);
    for document in &documents {
        let own = root().join(&document.path);
        let folder = own.parent().expect("a folder");
        for line in document.lines() {
            let (text, _) = text_and_code(line.text);
            for part in text.split("](").skip(1) {
                let target = part.split(')').next().unwrap_or_default();
                if target.contains("://") {
                    continue;
                }
                links += 1;
                let (file, anchor) = match target.split_once('#') {
                    Some((file, anchor)) => (file, Some(anchor)),
                    None => (target, None),
                };
                let file = if file.is_empty() { own.clone() } else { folder.join(file) };
                let is_there = file.canonicalize().is_ok_and(|file| match anchor {
                    Some(anchor) => anchors.get(&file).is_some_and(|all| all.contains(anchor)),
                    None => true,
                });
                if !is_there {
                    wrong
                        .push(format!("{}:{}: nothing is at {target}", document.path, line.number));
                }
            }
        }
    }
    assert_sound(links, &wrong);
}

/// Every file of the tree that is no product of a build, from its top.
fn tree() -> Vec<PathBuf> {
    let mut folders = vec![root().to_path_buf()];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().expect("a name");
            match path.is_dir() && !path.is_symlink() {
                true if name == "target" || name == ".git" => {}
                true => folders.push(path),
                false => found.push(path.strip_prefix(root()).expect("below it").to_path_buf()),
            }
        }
    }
    found
}

#[test]
fn files_and_modules_that_are_named_are_there() {
    let tree = tree();
    // From its middle, too: `net/shares.rs` is below collector/src/http.
    let is_there = |end: &str| tree.iter().any(|file| file.ends_with(end));
    let (mut wrong, mut names) = (Vec::new(), 0);
    for document in of_today() {
        for (place, code) in code(&document) {
            let is_path =
                code.chars().all(|one| one.is_ascii_alphanumeric() || "_./-".contains(one));
            let extension = Path::new(code).extension().and_then(|extension| extension.to_str());
            let is_source = matches!(extension, Some("rs" | "toml" | "sh" | "ld" | "md" | "txt"));
            let top = code.split_once('/').map(|(top, _)| root().join(top));
            let is_ours = top.is_some_and(|top| top.is_dir());
            if is_path && !code.starts_with('/') && (is_source || is_ours) {
                names += 1;
                if !is_there(code) && !root().join(code).exists() {
                    wrong.push(format!("{place}: there is no {code}"));
                }
            }
            let is_module =
                |part: &str| part.chars().all(|one| one.is_ascii_lowercase() || one == '_');
            if document.path == "ARCHITECTURE.md"
                && code.contains("::")
                && code.split("::").all(is_module)
            {
                names += 1;
                let file = code.replace("::", "/");
                if !is_there(&format!("{file}.rs")) && !is_there(&format!("{file}/mod.rs")) {
                    wrong.push(format!("{place}: there is no module {code}"));
                }
            }
        }
    }
    assert_sound(names, &wrong);
}

/// The names before the colon of a line of a list.
fn listed(line: &str) -> Vec<&str> {
    let Some((head, _)) = line.strip_prefix("- ").and_then(|item| item.split_once(':')) else {
        return Vec::new();
    };
    text_and_code(head).1
}

#[test]
fn the_architecture_has_the_modules_that_there_are() {
    let documents = documents();
    let architecture = documents.iter().find(|document| document.path == "ARCHITECTURE.md");
    let mut folder = None;
    let (mut wrong, mut names) = (Vec::new(), 0);
    for line in architecture.expect("it is there").lines() {
        if line.text.starts_with('#') {
            folder = ["core", "collector"].into_iter().find(|name| {
                line.text.strip_prefix("### ").is_some_and(|heading| heading.starts_with(name))
            });
        }
        let Some(folder) = folder else { continue };
        for name in listed(line.text).into_iter().filter(|name| !name.contains("::")) {
            names += 1;
            let source = root().join(folder).join("src");
            if !source.join(name).is_dir() && !source.join(format!("{name}.rs")).is_file() {
                wrong.push(format!(
                    "ARCHITECTURE.md:{}: {folder} has no module {name}",
                    line.number
                ));
            }
        }
    }
    assert_sound(names, &wrong);
}

#[test]
fn commands_that_are_named_have_these_options() {
    let developer_commands = fs::read_to_string(root().join("xtask/src/main.rs")).expect("xtask");
    let (mut wrong, mut commands) = (Vec::new(), 0);
    for document in of_today() {
        for (place, code) in code(&document) {
            let words: Vec<&str> = code.split_whitespace().collect();
            match words[..] {
                ["cargo", "xtask", command, ..] => {
                    commands += 1;
                    if !developer_commands.contains(&format!("[\"{command}\"")) {
                        wrong.push(format!("{place}: xtask has no command {command}"));
                    }
                }
                // Its options are node_exporter's.
                ["vitald", "node_exporter", ..] => {}
                ["vitald", ..] => {
                    commands += 1;
                    let ours = words.iter().skip(1).take_while(|word| **word != "--");
                    let (options, names): (Vec<&str>, Vec<&str>) =
                        ours.partition(|word| word.starts_with("--"));
                    let command = names.first().filter(|name| name.starts_with(char::is_lowercase));
                    let mut help = Command::new(harness::binary());
                    let (status, help, _) = harness::output(help.args(command).arg("--help"));
                    let is_there = |option: &&str| {
                        help.split([' ', ',', '\n', '[']).any(|word| word == *option)
                    };
                    if status != 0 || !options.iter().all(is_there) {
                        wrong.push(format!("{place}: there is no such command: {code}"));
                    }
                }
                _ => {}
            }
        }
    }
    assert_sound(commands, &wrong);
}

/// The names in the first column of the tables of a page of the manual.
fn in_tables(page: &str) -> BTreeSet<String> {
    let text = fs::read_to_string(root().join(page)).expect("a page of the manual");
    let cells = text.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |"));
    cells.map(|(name, _)| name.to_owned()).collect()
}

/// Whether a name is another one, in which a `*` means whatever is in its place.
fn is_like(pattern: &str, name: &str) -> bool {
    let Some((beginning, end)) = pattern.split_once('*') else { return pattern == name };
    let rest = name.strip_prefix(beginning);
    rest.is_some_and(|rest| (0..=rest.len()).any(|at| is_like(end, &rest[at..])))
}

/// The families that there are; a `*` is what the kernel or a driver calls them.
fn families() -> BTreeSet<String> {
    let mut families = in_tables("docs/metrics.md");
    // Text files have families of any name.
    assert!(families.remove("*"));
    families
}

/// Whether a family is one of these, or is one with a `*` for a part of it.
fn is_among(families: &BTreeSet<String>, family: &str) -> bool {
    families.iter().any(|known| is_like(known, family) || is_like(family, known))
}

/// The family that code names, if it names one: alone, with labels, or with a `*`.
fn family(code: &str) -> Option<&str> {
    let family = code.split([' ', '{']).next().unwrap_or_default();
    let is_part = |one: char| one.is_ascii_alphanumeric() || "_*".contains(one);
    let is_ours =
        ["node_", "vitald_", "promhttp_"].iter().any(|beginning| family.starts_with(beginning));
    (is_ours && family.chars().all(is_part) && family != "node_exporter").then_some(family)
}

#[test]
fn families_are_known_by_their_whole_name() {
    assert_eq!(family("node_cpu_seconds_total{mode=\"idle\"} 1"), Some("node_cpu_seconds_total"));
    assert_eq!(family("node_memory_MemTotal_bytes"), Some("node_memory_MemTotal_bytes"));
    assert_eq!(family("node_cpu_*"), Some("node_cpu_*"));
    for other in
        ["node_exporter", "node_exporter FLAGS", "vitald", "node_exporter.service.d/*.conf"]
    {
        assert_eq!(family(other), None, "{other}");
    }
    let families = families();
    for there in [
        "node_cpu_seconds_total",
        "node_cpu_*",
        "node_*_seconds_*",
        "node_netstat_Tcp_InSegs",
        "vitald_build_info",
    ] {
        assert!(is_among(&families, there), "{there}");
    }
    for absent in
        ["node_cpu", "node_cpu_", "node_cpu_*_celsius", "node_cpu_seconds_total_", "vitald_build"]
    {
        assert!(!is_among(&families, absent), "{absent}");
    }
}

#[test]
fn settings_and_metrics_that_are_named_exist() {
    let manual = fs::read_to_string(root().join("docs/config.md")).expect("the manual");
    let settings = in_tables("docs/config.md");
    let families = families();
    let (mut wrong, mut names) = (Vec::new(), 0);
    // docs/collectors.md has code of collectors, too.
    for document in of_today().filter(|document| document.path != "docs/collectors.md") {
        for line in document.lines() {
            let place = format!("{}:{}", document.path, line.number);
            for code in text_and_code(line.text).1 {
                let setting = code.split_once(" = ").map(|(setting, _)| setting);
                let is_part =
                    |one: char| one.is_ascii_lowercase() || one.is_ascii_digit() || one == '_';
                if let Some(setting) = setting.filter(|name| name.chars().all(is_part)) {
                    names += 1;
                    // A key of a listener is in the sentence about listeners.
                    let is_there =
                        settings.contains(setting) || manual.contains(&format!("`{setting} = "));
                    if !is_there {
                        wrong.push(format!("{place}: docs/config.md has no setting {setting}"));
                    }
                }
                // What older releases of node_exporter had is in the page about them.
                let Some(family) = family(code).filter(|_| !line.text.contains("| are gone: "))
                else {
                    continue;
                };
                names += 1;
                if !is_among(&families, family) {
                    wrong.push(format!("{place}: there is no family {family}"));
                }
            }
        }
    }
    assert_sound(names, &wrong);
}
