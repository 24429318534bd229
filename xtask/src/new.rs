//! A new collector: its file, its feature in both manifests, its line on the roll.

use crate::files::{read, write};
use std::path::Path;

/// A shape of collectors, and the template of its file.
struct Shape {
    name: &'static str,
    about: &'static str,
    template: &'static str,
}

const SHAPES: [Shape; 6] = [
    Shape {
        name: "values",
        about: "one file of single values: a sysctl, proc/loadavg",
        template: include_str!("templates/values.rs.in"),
    },
    Shape {
        name: "rows",
        about: "a file of rows, some of which a filter leaves out: proc/diskstats",
        template: include_str!("templates/rows.rs.in"),
    },
    Shape {
        name: "class",
        about: "devices of a class, each with attributes: sys/class/thermal",
        template: include_str!("templates/class.rs.in"),
    },
    Shape {
        name: "directory",
        about: "a directory that comes and goes, with a text of its own for each child: proc/fs/nfsd",
        template: include_str!("templates/directory.rs.in"),
    },
    Shape {
        name: "netlink",
        about: "network interfaces, as the kernel lists them by netlink",
        template: include_str!("templates/netlink.rs.in"),
    },
    Shape {
        name: "blocking",
        about: "something that may not answer, read on a thread of its own: a user's file, a bus",
        template: include_str!("templates/blocking.rs.in"),
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
    let is_name = |word: &str| {
        word.starts_with(|c: char| c.is_ascii_lowercase())
            && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    };
    if !is_name(group) || !is_name(name) {
        return Err(
            "FOLDER and NAME are made of a-z, 0-9 and _, and begin with a letter".to_owned()
        );
    }
    let file = root.join(format!("plugins/src/{group}/{name}.rs"));
    let roll = root.join("plugins/src/lib.rs");
    let manifests = [root.join("plugins/Cargo.toml"), root.join("collector/Cargo.toml")];
    if file.exists() {
        return Err(format!("{} is there already", file.display()));
    }
    let roll_text = read(&roll)?;
    if !file.parent().is_some_and(Path::is_dir) {
        return Err(format!(
            "plugins/src has no folder {group}; there are {}; if none of them fits, make the folder first",
            folders(&roll_text).join(", ")
        ));
    }
    // Everything is made before anything is written, so that a refusal changes nothing.
    let roll_text = on_roll(&roll_text, group, name)?;
    let plugins_manifest =
        in_bundle(&with_feature(&read(&manifests[0])?, name, "[]")?, "full", name)?;
    let forward = format!("[\"vitald-plugins/{name}\"]");
    let collector_manifest = with_feature(&read(&manifests[1])?, name, &forward)?;
    write(&file, &filled(shape.template, name))?;
    write(&roll, &roll_text)?;
    write(&manifests[0], &plugins_manifest)?;
    write(&manifests[1], &collector_manifest)?;
    Ok(format!(
        "wrote plugins/src/{group}/{name}.rs and named it in plugins/src/lib.rs, plugins/Cargo.toml and collector/Cargo.toml\n\
         next: put in its source, families and parser, then\n  \
         cargo test -p vitald-plugins --no-default-features --features {name}\n  cargo xtask docs"
    ))
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
    if lines[head..end].iter().any(|known| key(known) == name) {
        return Err(format!("the feature {name} is there already"));
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

/// A template with the collector's name in it.
fn filled(template: &str, name: &str) -> String {
    let type_name: String = name
        .split('_')
        .map(|word| {
            let mut letters = word.chars();
            letters.next().map_or_else(String::new, |first| {
                first.to_ascii_uppercase().to_string() + letters.as_str()
            })
        })
        .collect();
    template.replace("@name@", name).replace("@Type@", &type_name)
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
        }
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
        let manifest =
            "full = [\n    \"b\",\n]\n# Collectors, by name.\nb = []\nd = []\n\n[dependencies]\n";
        let grown = with_feature(manifest, "c", "[]").expect("it is new");
        assert!(grown.contains("b = []\nc = []\nd = []\n"));
        assert!(with_feature(manifest, "b", "[]").is_err());
        let grown = in_bundle(manifest, "full", "c").expect("there is such a bundle");
        assert!(grown.starts_with("full = [\n    \"b\",\n    \"c\",\n]\n"), "{grown}");
    }
}
