//! What people read of the package: the documents of this tree, and the files that these speak of, in places where every
//! link of theirs leads to something.

use super::stage::Stage;
use crate::files;
use std::path::{Component, Path, PathBuf};

/// What is not for those who have the package: it is installed by it, or takes this tree.
const NOT_SHIPPED: [&str; 6] = [
    "deploy/debian/",
    "deploy/Containerfile",
    "deploy/image",
    "deploy/service.toml",
    "deploy/vitald.service",
    "deploy/vitald.sysusers",
];

/// Puts the documents into a folder of the package. The files of `deploy` are examples, as Debian names them, and have a
/// link that the documents find them by.
///
/// # Errors
///
/// A file that cannot be read or written, or a link in a document that leads nowhere there.
pub(super) fn put(stage: &mut Stage, root: &Path, folder: &str) -> Result<(), String> {
    let mut sources = Vec::new();
    for entry in std::fs::read_dir(root).map_err(|error| format!("{}: {error}", root.display()))? {
        let name = entry.map_err(|error| format!("{}: {error}", root.display()))?.file_name();
        sources.extend(Some(PathBuf::from(name)).filter(|file| is_document(file)));
    }
    for below in ["docs", "examples", "deploy"] {
        sources.extend(files::below(root, Path::new(below))?);
    }
    sources.retain(|file| !NOT_SHIPPED.iter().any(|start| text(file).starts_with(start)));
    for file in &sources {
        let place = text(file).replacen("deploy/", "examples/", 1);
        stage.file(&format!("{folder}/{place}"), &files::read(&root.join(file))?)?;
    }
    stage.link(&format!("{folder}/deploy"), "examples")?;

    let mut dead = Vec::new();
    for document in sources.iter().filter(|file| is_document(file)) {
        let from = document.parent().unwrap_or(Path::new(""));
        for link in links(&files::read(&root.join(document))?) {
            if !stage.has(&format!("{folder}/{}", normal(&from.join(link)))) {
                dead.push(format!("{}: {link}", document.display()));
            }
        }
    }
    if dead.is_empty() {
        return Ok(());
    }
    Err(format!("links that lead nowhere in the package:\n{}", dead.join("\n")))
}

fn is_document(file: &Path) -> bool {
    file.extension().is_some_and(|end| end == "md")
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// A path of links without its `..`, which has to stay below where it begins.
fn normal(path: &Path) -> String {
    let mut parts = PathBuf::new();
    for part in path.components() {
        match part {
            // Further up it is no path any more, and so no file.
            Component::ParentDir if !parts.pop() => parts.push(".."),
            Component::ParentDir | Component::CurDir => {}
            other => parts.push(other),
        }
    }
    text(&parts)
}

/// The files that a document links to: what is between `](` and `)`, outside code, and no address or place in itself.
fn links(document: &str) -> Vec<&str> {
    let mut links = Vec::new();
    // Between backquotes, of whatever number, is code.
    for prose in document.split('`').step_by(2) {
        for rest in prose.split("](").skip(1) {
            let target = rest.split(')').next().unwrap_or_default();
            let file = target.split('#').next().unwrap_or_default();
            if !file.is_empty() && !target.contains("://") {
                links.push(file);
            }
        }
    }
    links
}

#[cfg(test)]
mod tests {
    use super::{links, normal};
    use std::path::Path;

    #[test]
    fn links_are_to_files() {
        let text = "[a](b.md) [c](d/e.md#f) [g](#h) [i](https://example.org/j.md)\n```sh\n[k](l.md)\n```\n`[m](n)` [o](../p)";
        assert_eq!(links(text), ["b.md", "d/e.md", "../p"]);
    }

    #[test]
    fn a_way_up_is_taken() {
        assert_eq!(normal(Path::new("docs/../README.md")), "README.md");
        assert_eq!(normal(Path::new("docs/./a.md")), "docs/a.md");
        assert_eq!(normal(Path::new("../a.md")), "../a.md");
    }
}
