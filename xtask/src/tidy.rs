//! What a machine can check of how the project is written: import circles, words that were given up,
//! placeholders that are left, and which files have become long.

mod circles;
mod lengths;
mod modules;
mod placeholders;
mod resolve;
mod words;

use std::path::{Path, PathBuf};

use crate::files;

/// The crates of the workspace, each with the file that is its root.
const CRATES: [(&str, &str); 6] = [
    ("core/sys", "lib.rs"),
    ("core", "lib.rs"),
    ("plugins", "lib.rs"),
    ("collector", "lib.rs"),
    ("fuzz", "lib.rs"),
    ("xtask", "main.rs"),
];

/// Fails when there is a circle, a word that was given up or a placeholder; says which files are the longest.
pub(crate) fn check(root: &Path) -> Result<String, String> {
    let mut found = Vec::new();
    let mut lengths = Vec::new();
    for (name, root_file) in CRATES {
        let source = modules::Crate::read(root, &Path::new(name).join("src"), root_file)?;
        found.extend(circles::in_crate(&source).iter().map(circles::Circle::to_string));
        lengths.extend(lengths::of_crate(&source));
    }
    for path in texts(root)? {
        let text = files::read(&root.join(&path))?;
        found.extend(words::given_up(&path, &text).iter().map(words::Found::to_string));
        found.extend(placeholders::left(&path, &text));
    }
    if found.is_empty() {
        Ok(format!(
            "no import circles, no words that were given up, no placeholders\n\n{}",
            lengths::table(lengths)
        ))
    } else {
        found.push(format!("cargo xtask tidy found {} faults", found.len()));
        Err(found.join("\n"))
    }
}

/// The files whose words are checked, below `root`.
fn texts(root: &Path) -> Result<Vec<PathBuf>, String> {
    let mut texts = files::below(root, Path::new(""))?;
    texts.retain(|path| {
        path.extension()
            .is_some_and(|end| ["rs", "md", "toml", "in"].iter().any(|word| end == *word))
    });
    Ok(texts)
}
