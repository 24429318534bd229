//! A new collector: its file, its feature in both manifests, its line on the roll.

use crate::files::{make_folder, read, write};
use std::fs;
use std::path::{Path, PathBuf};

/// A shape of collectors, and the template of its file.
struct Shape {
    name: &'static str,
    about: &'static str,
    template: &'static str,
    /// What the host of tests is given, for the tests of all collectors: paths below its folder, and contents.
    files: &'static [(&'static str, &'static str)],
    /// The settings without which it has nothing there.
    settings: &'static str,
}

/// The host in `tests/fixtures/hosts` that has a bit of everything.
const HOST: &str = "tests/fixtures/hosts/server";

const SHAPES: [Shape; 6] = [
    Shape {
        name: "values",
        about: "one file of single values: a sysctl, proc/loadavg",
        template: include_str!("templates/values.rs.in"),
        files: &[("proc/sys/kernel/@name@", "12\t4096\n")],
        settings: "",
    },
    Shape {
        name: "rows",
        about: "a file of rows, some of which a filter leaves out: proc/diskstats",
        template: include_str!("templates/rows.rs.in"),
        files: &[("proc/@name@", "sda 512 1024\nsdb 0 0\n")],
        settings: "",
    },
    Shape {
        name: "class",
        about: "devices of a class, each with attributes: sys/class/thermal",
        template: include_str!("templates/class.rs.in"),
        files: &[
            ("sys/class/@name@/a0/device/model", "Model A\n"),
            ("sys/class/@name@/a0/temp", "41500\n"),
            ("sys/class/@name@/a1/temp", "-1500\n"),
        ],
        settings: "",
    },
    Shape {
        name: "directory",
        about: "a directory that comes and goes, with a text of its own for each child: proc/fs/nfsd",
        template: include_str!("templates/directory.rs.in"),
        files: &[(
            "proc/fs/@name@/sda/stats",
            "version: 1\nread_bytes: 512\nwritten_bytes: 1024\n",
        )],
        settings: "",
    },
    Shape {
        name: "netlink",
        about: "network interfaces, as the kernel lists them by netlink",
        template: include_str!("templates/netlink.rs.in"),
        files: &[],
        settings: "",
    },
    Shape {
        name: "blocking",
        about: "something that may not answer, read on a thread of its own: a user's file, a bus",
        template: include_str!("templates/blocking.rs.in"),
        files: &[("file/srv/@name@", "1.5\n")],
        settings: "\n[collectors.@name@]\nfiles = [\"/srv/@name@\"]\n",
    },
];

/// The shapes, one a line.
pub(crate) fn shapes() -> String {
    let lines = SHAPES.iter().map(|shape| format!("  {:<9}  {}", shape.name, shape.about));
    lines.collect::<Vec<_>>().join("\n")
}

/// Writes a collector that compiles and passes its tests.
pub(crate) fn new(root: &Path, place: &str, shape: &str) -> Result<String, String> {
    let shape = SHAPES.iter().find(|known| known.name == shape);
    let shape = shape.ok_or_else(|| format!("SHAPE is one of\n{}", shapes()))?;
    let (group, name) =
        place.split_once('/').ok_or("name it FOLDER/NAME, such as kernel/tainted")?;
    names_a_module(group)?;
    names_a_module(name)?;
    // A type that the template takes from elsewhere would be another one.
    let code = shape.template.lines().filter(|line| !line.trim_start().starts_with("//"));
    let mut words = code.flat_map(|line| line.split(|c: char| !c.is_alphanumeric()));
    if words.any(|word| word == type_name(name)) {
        return Err(format!(
            "the type of {name} would be {}, which the template has for something else; choose another name",
            type_name(name)
        ));
    }
    let roll = root.join("plugins/src/lib.rs");
    let manifests = [root.join("plugins/Cargo.toml"), root.join("collector/Cargo.toml")];
    let settings = root.join(HOST).join("config.toml");
    let folder = root.join("plugins/src").join(group);
    let roll_text = read(&roll)?;
    if !folder.is_dir() {
        return Err(format!(
            "plugins/src has no folder {group}; there are {}; if none of them fits, make the folder first",
            folders(&roll_text).join(", ")
        ));
    }
    let mut changes = vec![
        Change::of(&settings, |text| Ok(text.to_owned() + &filled(shape.settings, name)))?,
        Change::of(&roll, |text| on_roll(text, group, name))?,
        Change::of(&manifests[0], |text| {
            in_bundle(&with_feature(text, name, "[]")?, "full", name)
        })?,
        Change::of(&manifests[1], |text| {
            with_feature(text, name, &format!("[\"vitald-plugins/{name}\"]"))
        })?,
        Change::made(folder.join(format!("{name}.rs")), filled(shape.template, name)),
    ];
    for (path, content) in shape.files {
        let path = root.join(HOST).join(filled(path, name));
        changes.push(Change::made(path, (*content).to_owned()));
    }
    // What is there already would be lost, and is another collector's.
    let own =
        shape.files.iter().map(|(path, _)| root.join(HOST).join(filled(own_part(path), name)));
    let own = own.chain([folder.join(name), folder.join(format!("{name}.rs"))]);
    if let Some(path) = own.into_iter().find(|path| path.symlink_metadata().is_ok()) {
        return Err(format!("{} is there already; choose another name", path.display()));
    }
    write_all(&changes)?;
    Ok(format!(
        "wrote plugins/src/{group}/{name}.rs, named it in plugins/src/lib.rs, plugins/Cargo.toml and collector/Cargo.toml, \
         and gave {HOST} what it reads\n\
         next: put in its source, families and parser, and something for each TODO (cargo xtask tidy names those that \
         are left), then\n  \
         cargo test -p vitald-plugins --no-default-features --features {name}\n  \
         VITALD_WRITE_GOLDENS=1 cargo test --features full --test pages\n  \
         cargo xtask docs\n  \
         cargo test --features full\n\
         docs/collectors.md has all eight steps, among them who has it by default, and a line in CHANGELOG.md"
    ))
}

/// Whether a word is the name of a folder or of a collector, each of which is a module.
fn names_a_module(word: &str) -> Result<(), String> {
    let begins = word.starts_with(|c: char| c.is_ascii_lowercase());
    if !begins || !word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_') {
        return Err(
            "FOLDER and NAME are made of a-z, 0-9 and _, and begin with a letter".to_owned()
        );
    }
    // `gen` is reserved since the edition of 2024, which syn does not ask for.
    if word == "gen" || syn::parse_str::<syn::Ident>(word).is_err() {
        return Err(format!("{word} is a keyword of Rust, and cannot be the name of a module"));
    }
    Ok(())
}

/// The beginning of a path in the host of the tests, as far as the part that is called as the collector.
fn own_part(path: &str) -> &str {
    let name = path.find("@name@").unwrap_or_default();
    path[name..].find('/').map_or(path, |end| &path[..name + end])
}

/// A file that is changed, or made.
struct Change {
    path: PathBuf,
    before: Option<String>,
    after: String,
    /// The folders that are made for it, the innermost first.
    folders: Vec<PathBuf>,
}

impl Change {
    /// Of a file that is there.
    fn of(
        path: &Path,
        change: impl FnOnce(&str) -> Result<String, String>,
    ) -> Result<Self, String> {
        let before = read(path)?;
        let after = change(&before).map_err(|why| format!("{}: {why}", path.display()))?;
        Ok(Change { path: path.to_path_buf(), before: Some(before), after, folders: Vec::new() })
    }

    fn made(path: PathBuf, content: String) -> Self {
        let folders = path.ancestors().skip(1).take_while(|folder| !folder.exists());
        let folders = folders.map(Path::to_path_buf).collect();
        Change { path, before: None, after: content, folders }
    }

    fn write(&self) -> Result<(), String> {
        if let Some(folder) = self.folders.first() {
            make_folder(folder)?;
        }
        write(&self.path, &self.after)
    }

    /// Undoes what there is of it.
    fn undo(&self) -> Result<(), String> {
        if let Some(before) = &self.before {
            return write(&self.path, before);
        }
        // What was not written, or is needed by another change, fails to go.
        let _ = fs::remove_file(&self.path);
        self.folders.iter().for_each(|folder| drop(fs::remove_dir(folder)));
        Ok(())
    }
}

/// Makes all changes, or none.
fn write_all(changes: &[Change]) -> Result<(), String> {
    for (index, change) in changes.iter().enumerate() {
        let Err(error) = change.write() else { continue };
        let undone = changes[..=index].iter().rev().map(Change::undo);
        let left: String = undone.filter_map(Result::err).map(|why| format!("\n{why}")).collect();
        return Err(format!(
            "{error}; nothing is changed{}{left}",
            if left.is_empty() { "" } else { " but" }
        ));
    }
    Ok(())
}

/// The folders that are on the roll.
fn folders(roll: &str) -> Vec<&str> {
    let heads = roll.lines().filter_map(|line| line.trim().split_once(" if target_os = "));
    heads.map(|(folder, _)| folder).collect()
}

/// Adds `"name" => name,` to its group, which is made at the end when it is new.
fn on_roll(text: &str, group: &str, name: &str) -> Result<String, String> {
    let line = format!("        \"{name}\" => {name},");
    let head = format!("    {group} if target_os = \"linux\" {{");
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    if let Some(start) = lines.iter().position(|known| *known == head) {
        let end = closing(&lines, start, "    }")?;
        let at = (start + 1..end).find(|&i| lines[i] > line).unwrap_or(end);
        lines.insert(at, line);
    } else {
        let start = lines.iter().position(|known| known == "collectors! {");
        let start = start.ok_or("plugins/src/lib.rs has no `collectors! {` line")?;
        let end = closing(&lines, start, "}")?;
        lines.splice(end..end, [head, line, "    }".to_owned()]);
    }
    Ok(lines.join("\n") + "\n")
}

fn closing(lines: &[String], start: usize, end: &str) -> Result<usize, String> {
    let found = lines[start..].iter().position(|line| line == end);
    found.map(|offset| start + offset).ok_or_else(|| format!("`{}` has no end", lines[start]))
}

/// Adds `name = value` to the features after the comment that heads the collectors, in order.
fn with_feature(manifest: &str, name: &str, value: &str) -> Result<String, String> {
    let line = format!("{name} = {value}");
    let mut lines: Vec<String> = manifest.lines().map(str::to_owned).collect();
    let head = lines.iter().position(|line| line.starts_with("# Collectors, by name"));
    let head = head.ok_or("a manifest has no `# Collectors, by name` line")?;
    let end = lines[head..].iter().position(String::is_empty).map_or(lines.len(), |i| head + i);
    let key = |line: &str| line.split(' ').next().unwrap_or_default().to_owned();
    // Bundles and what is no collector are features, too.
    let features = lines.iter().skip_while(|line| *line != "[features]").skip(1);
    if features.take_while(|line| !line.starts_with('[')).any(|known| key(known) == name) {
        return Err(format!("the feature {name} is there already; choose another name"));
    }
    let at = (head + 1..end).find(|&i| key(&lines[i]).as_str() > name).unwrap_or(end);
    lines.insert(at, line);
    Ok(lines.join("\n") + "\n")
}

/// Adds a feature to a bundle that has a name on each line.
fn in_bundle(manifest: &str, bundle: &str, name: &str) -> Result<String, String> {
    let mut lines: Vec<String> = manifest.lines().map(str::to_owned).collect();
    let head = format!("{bundle} = [");
    let start = lines.iter().position(|line| *line == head);
    let start = start.ok_or_else(|| format!("there is no line `{head}` in a manifest"))?;
    let end = closing(&lines, start, "]")?;
    lines.insert(end, format!("    \"{name}\","));
    Ok(lines.join("\n") + "\n")
}

/// The name of a collector's type.
fn type_name(name: &str) -> String {
    let words = name.split('_').map(|word| {
        let mut letters = word.chars();
        letters.next().map_or_else(String::new, |first| {
            first.to_ascii_uppercase().to_string() + letters.as_str()
        })
    });
    words.collect()
}

/// A template with the collector's name in it.
fn filled(template: &str, name: &str) -> String {
    template.replace("@name@", name).replace("@Type@", &type_name(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_for_authors_has_every_shape() {
        let page = include_str!("../../docs/collectors.md");
        for shape in &SHAPES {
            assert!(page.contains(&format!("| `{}` |", shape.name)), "{}", shape.name);
            assert!(shape.template.contains("@name@") && shape.template.contains("@Type@"));
            // What the author must replace is what `cargo xtask tidy` finds.
            for part in ["    summary: \"TODO: ", "families! {\n    // TODO: "] {
                assert!(shape.template.contains(part), "{}: {part}", shape.name);
            }
        }
    }

    #[test]
    fn the_example_for_authors_is_what_is_written() {
        let page = include_str!("../../docs/collectors.md");
        let shape = SHAPES.iter().find(|shape| shape.name == "values").expect("a shape");
        let code = filled(shape.template, "example");
        let (_, code) = code.split_once("\n\n").expect("a line that says what it is");
        let (code, _) = code.split_once("#[cfg(test)]").expect("tests");
        assert!(page.contains(&format!("```rust\n{}\n```\n", code.trim_end())), "{code}");
    }

    /// A tree in which a collector can be made.
    fn tree() -> tempfile::TempDir {
        let tree = tempfile::tempdir().expect("a directory");
        for file in ["plugins/src/lib.rs", "plugins/Cargo.toml", "collector/Cargo.toml"] {
            let copy = tree.path().join(file);
            fs::create_dir_all(copy.parent().expect("a folder")).expect("a folder");
            fs::copy(crate::files::root().join(file), copy).expect("a copy");
        }
        fs::create_dir_all(tree.path().join("plugins/src/kernel")).expect("a folder");
        let host = tree.path().join(HOST);
        fs::create_dir_all(host.join("sys/class")).expect("a folder");
        fs::write(host.join("config.toml"), "[collectors.other]\n").expect("a file");
        tree
    }

    /// Every folder, and every file with its content.
    fn content(folder: &Path) -> Vec<(PathBuf, Option<String>)> {
        let mut all = Vec::new();
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                all.extend(content(&path));
                all.push((path, None));
            } else {
                // A link may lead nowhere.
                let text = read(&path).ok();
                all.push((path, text));
            }
        }
        all.sort();
        all
    }

    #[test]
    fn what_is_refused_changes_nothing() {
        let tree = tree();
        let host = tree.path().join(HOST);
        fs::create_dir_all(host.join("sys/class/others")).expect("a folder");
        fs::create_dir_all(host.join("proc")).expect("a folder");
        fs::write(host.join("proc/others"), "theirs").expect("a file");
        std::os::unix::fs::symlink("/no/such", host.join("proc/leads_nowhere")).expect("a link");
        // A collector may have a folder of its name.
        fs::create_dir_all(tree.path().join("plugins/src/kernel/parts")).expect("a folder");
        fs::write(host.join("file"), "no folder").expect("a file");
        let untouched = content(tree.path());
        for (place, shape, why) in [
            ("kernel/match", "values", "match is a keyword of Rust"),
            ("kernel/gen", "values", "gen is a keyword of Rust"),
            ("crate/news", "values", "crate is a keyword of Rust"),
            ("kernel/Match", "values", "are made of a-z"),
            ("kernel/disk", "values", "plugins/Cargo.toml: the feature disk is there already"),
            ("kernel/tls", "values", "collector/Cargo.toml: the feature tls is there already"),
            ("kernel/host", "values", "the type of host would be Host"),
            ("kernel/kept_file", "rows", "the type of kept_file would be KeptFile"),
            ("kernel/parts", "values", "kernel/parts is there already"),
            ("kernel/others", "rows", "proc/others is there already"),
            ("kernel/others", "class", "sys/class/others is there already"),
            ("kernel/leads_nowhere", "rows", "proc/leads_nowhere is there already"),
            // The last of what is written.
            ("kernel/news", "blocking", "nothing is changed"),
        ] {
            let refused = new(tree.path(), place, shape).unwrap_err();
            assert!(refused.contains(why), "{place}: {refused}");
            assert_eq!(content(tree.path()), untouched, "{place}");
        }
        new(tree.path(), "kernel/news", "class").expect("it can be made");
        assert_ne!(content(tree.path()), untouched);
        let made = content(tree.path());
        let refused = new(tree.path(), "kernel/news", "values").unwrap_err();
        assert!(refused.contains("is there already"), "{refused}");
        assert_eq!(content(tree.path()), made);
    }

    #[test]
    fn a_folder_is_not_made_by_a_slip() {
        let refused = new(&crate::files::root(), "procesor/arp", "values").unwrap_err();
        assert!(refused.contains("no folder procesor; there are processor, memory, "), "{refused}");
    }

    #[test]
    fn a_line_goes_to_its_place() {
        let roll = "collectors! {\n    a if target_os = \"linux\" {\n        \"b\" => b,\n        \"d\" => d,\n    }\n}\n";
        let grown = on_roll(roll, "a", "c").expect("there is such a group");
        assert!(grown.contains("\"b\" => b,\n        \"c\" => c,\n        \"d\" => d,"));
        let grown = on_roll(roll, "z", "c").expect("a group can be made");
        assert!(
            grown.ends_with("    z if target_os = \"linux\" {\n        \"c\" => c,\n    }\n}\n")
        );
        let manifest = "[features]\nfull = [\n    \"b\",\n]\n# Collectors, by name.\nb = []\nd = []\n\n[dependencies]\ne = \"1\"\n";
        let grown = with_feature(manifest, "c", "[]").expect("it is new");
        assert!(grown.contains("b = []\nc = []\nd = []\n"));
        for taken in ["b", "full"] {
            let refused = with_feature(manifest, taken, "[]").unwrap_err();
            assert!(refused.contains("is there already"), "{refused}");
        }
        assert!(with_feature(manifest, "e", "[]").is_ok());
        let grown = in_bundle(manifest, "full", "c").expect("there is such a bundle");
        assert!(grown.contains("full = [\n    \"b\",\n    \"c\",\n]\n"), "{grown}");
    }
}
