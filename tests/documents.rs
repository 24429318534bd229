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
use vitald_core::snapshot::State;

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
            // What is beside the tree is not in each clone.
            let is_outside = code.starts_with('/') || code.starts_with("../");
            if is_path && !is_outside && (is_source || is_ours) {
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

fn operations() -> Document {
    let found = documents().into_iter().find(|document| document.path == "docs/operations.md");
    found.expect("there is a page for who operates it")
}

/// The first cells of the rows of the table below a heading.
fn first_cells(document: &Document, heading: &str) -> Vec<String> {
    let lines = document.lines();
    let below = lines.iter().skip_while(|line| line.text != heading).skip(1);
    let section = below.take_while(|line| !line.text.starts_with('#'));
    let cells = section.filter_map(|line| line.text.strip_prefix("| ")?.split_once(" |"));
    cells.map(|(cell, _)| cell.to_owned()).collect()
}

#[test]
fn the_page_for_operators_has_each_state_and_each_reason() {
    let operations = operations();
    let states: BTreeSet<String> =
        State::ALL.iter().map(|state| format!("`{}`", state.word())).collect();
    let told = first_cells(&operations, "## What each state means");
    let told: BTreeSet<String> = told.into_iter().filter(|cell| cell.starts_with('`')).collect();
    assert_eq!(told, states, "the states of docs/operations.md, and those that there are");

    let told = first_cells(&operations, "### A collector is degraded").join(", ");
    let told: BTreeSet<String> = told.split(", ").map(|cell| cell.replace('`', "")).collect();
    let said = reasons_of_degradation();
    assert!(said.len() > 5, "{said:?}");
    let told_of: BTreeSet<String> =
        told.into_iter().filter(|cell| !HEAD.contains(&&**cell)).collect();
    assert_eq!(told_of, said, "the reasons of docs/operations.md, and those that there are");
}

/// What the first row of a table has in its first cell, and the line below it.
const HEAD: [&str; 2] = ["reason", "---"];

/// Every reason that a collector or the engine gives for a degradation: those that are written there, and those that have
/// a name.
fn reasons_of_degradation() -> BTreeSet<String> {
    let is_source = |path: &PathBuf| {
        let folders = ["plugins/src", "core/src", "collector/src"];
        folders.iter().any(|folder| path.starts_with(folder))
            && path.extension().is_some_and(|end| end == "rs")
            && path.file_stem().is_some_and(|name| name != "tests")
    };
    let texts: Vec<String> = tree()
        .into_iter()
        .filter(is_source)
        .map(|path| fs::read_to_string(root().join(path)).expect("a source"))
        .map(|text| text.split("#[cfg(test)]\nmod ").next().unwrap_or_default().to_owned())
        .collect();
    let named = |name: &str| {
        let beginning = format!("const {name}: &str = \"");
        let rest = texts.iter().find_map(|text| text.split(&beginning).nth(1));
        rest.and_then(|rest| rest.split('"').next()).map(str::to_owned)
    };
    let is_name =
        |word: &&str| word.len() > 1 && word.chars().all(|c| c.is_ascii_uppercase() || c == '_');
    let mut reasons = BTreeSet::new();
    for given in texts.iter().flat_map(|text| text.split(".degraded(").skip(1)) {
        // To the end of the statement, in which there is one.
        let given = given.split([';', '\n']).next().unwrap_or_default();
        let literal = given.strip_prefix('"').and_then(|rest| rest.split('"').next());
        let mut words =
            given.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(is_name);
        let reason = literal.map(str::to_owned).or_else(|| words.find_map(named));
        reasons.insert(reason.unwrap_or_else(|| panic!("which reason is .degraded({given}?")));
    }
    reasons
}

/// A text of a source after its opening quote; a line may go on in the next one.
fn literal(source: &str) -> String {
    let text = source.split('"').next().unwrap_or_default();
    let lines = text.split("\\\n").map(str::trim_start);
    lines.collect()
}

/// The functions of a test's source by their names, each to its end.
fn functions(source: &str) -> BTreeMap<&str, &str> {
    let parts = source.split("\nfn ").skip(1);
    parts
        .filter_map(|part| {
            let name = part.split(['(', '<']).next()?;
            Some((name, part.split("\n}\n").next()?))
        })
        .collect()
}

/// What a function asks the harness for, itself or through another one of its source.
fn asked_for(
    name: &str,
    source: &str,
    functions: &BTreeMap<&str, &str>,
    seen: &mut BTreeSet<String>,
) -> BTreeSet<String> {
    let mut needs = BTreeSet::new();
    if !seen.insert(name.to_owned()) {
        return needs;
    }
    let body = functions[name];
    for argument in body.split("harness::needs(").skip(1) {
        let argument = argument.trim_start();
        let text = match argument.strip_prefix('"') {
            Some(text) => text,
            None => {
                let constant = argument.split(')').next().unwrap_or_default();
                let value = source.split(&format!("const {constant}: &str =")).nth(1);
                let value = value.and_then(|value| value.split_once('"'));
                value.unwrap_or_else(|| panic!("{name} needs {constant}, which is no text")).1
            }
        };
        needs.insert(literal(text));
    }
    for other in functions.keys() {
        let call = format!("{other}(");
        let is_called = body.match_indices(&call).any(|(at, _)| {
            let before = body[..at].chars().next_back();
            before.is_some_and(|c| !c.is_ascii_alphanumeric() && !"_:.".contains(c))
        });
        if is_called {
            needs.extend(asked_for(other, source, functions, seen));
        }
    }
    needs
}

/// The reason by which a test is ignored and what it asks the harness for are two copies of one list, by which the runner
/// finds what it may run.
#[test]
fn an_ignored_test_says_what_it_asks_for() {
    let (mut wrong, mut ignored) = (Vec::new(), 0);
    let mut sources: Vec<PathBuf> = tree();
    sources.retain(|path| path.parent() == Some(Path::new("tests")));
    for path in sources.iter().filter(|path| path.extension().is_some_and(|end| end == "rs")) {
        let source = fs::read_to_string(root().join(path)).expect("a test");
        let file = path.file_stem().and_then(|name| name.to_str()).expect("a name");
        let functions = functions(&source);
        for rest in source.split("\n#[ignore = \"needs ").skip(1) {
            ignored += 1;
            let (reason, rest) = rest.split_once("\"]\n").expect("its end");
            let name = rest.strip_prefix("fn ").and_then(|rest| rest.split('(').next());
            let name = name.unwrap_or_else(|| panic!("{file}: an ignored test is no function"));
            let how = format!(": cargo test --features full --test {file} -- --ignored");
            let asked = asked_for(name, &source, &functions, &mut BTreeSet::new());
            let asked: Vec<&str> = asked.iter().map(String::as_str).collect();
            let Some(said) = reason.strip_suffix(&how) else {
                wrong.push(format!("{file}::{name}: its reason has to end with{how}"));
                continue;
            };
            if asked != [said] {
                wrong.push(format!(
                    "{file}::{name} says that it needs {said}, and asks for {asked:?}"
                ));
            }
            let unknown = harness::each_need(said).filter(|need| harness::is_there(need).is_none());
            wrong.extend(unknown.map(|need| format!("{file}::{name}: what is {need}?")));
        }
    }
    assert_sound(ignored, &wrong);
}
