//! The crates whose code is in the binary, and what their licenses want to be passed on.

use super::stage::printed;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A crate of others'.
pub(super) struct Linked {
    /// Its name and version, as its folder is named.
    name: String,
    license: String,
}

/// The crates that the daemon with everything is linked from, sorted.
pub(super) fn linked(root: &Path) -> Result<Vec<Linked>, String> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root).args(["tree", "--quiet", "--locked", "--package", "vitald"]);
    cargo.args(["--features", "full", "--edges", "normal,no-proc-macro"]);
    cargo.args(["--prefix", "none", "--no-dedupe"]);
    let tree = printed(cargo.args(["--format", "{p}|{l}"]))?;
    let mut lines: Vec<&str> = tree.lines().collect();
    lines.sort_unstable();
    lines.dedup();
    let linked = lines.into_iter().filter_map(|line| {
        let (package, license) = line.split_once('|')?;
        // Those of the workspace have their folder behind them.
        let (name, version) =
            package.split_once(" v").filter(|(_, version)| !version.contains(' '))?;
        Some(Linked { name: format!("{name}-{version}"), license: license.to_owned() })
    });
    Ok(linked.collect())
}

/// The crates for a paragraph of Debian's copyright file.
pub(super) fn listed(crates: &[Linked]) -> String {
    let lines: Vec<String> =
        crates.iter().map(|one| format!("  {}: {}", one.name, one.license)).collect();
    lines.join("\n")
}

/// The texts of their licenses, each once, after the crates that have it. Where there is a choice with MIT among
/// it, MIT is what is chosen.
pub(super) fn notices(crates: &[Linked]) -> Result<String, String> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(Path::new(&std::env::var_os("HOME")?).join(".cargo")));
    let sources = home.ok_or("neither CARGO_HOME nor HOME is set")?.join("registry/src");
    let wrong = |error| format!("{}: {error}", sources.display());
    let registries: Result<Vec<PathBuf>, _> = fs::read_dir(&sources)
        .map_err(wrong)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect();
    let registries = registries.map_err(wrong)?;
    let mut texts: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for one in crates {
        let folder = registries
            .iter()
            .map(|registry| registry.join(&one.name))
            .find(|folder| folder.is_dir());
        let folder =
            folder.ok_or(format!("{} has no {}: cargo fetch", sources.display(), one.name))?;
        for file in license_files(&folder)? {
            let text = fs::read(&file).map_err(|error| format!("{}: {error}", file.display()))?;
            texts
                .entry(String::from_utf8_lossy(&text).trim().to_owned())
                .or_default()
                .push(&one.name);
        }
    }
    let mut texts: Vec<(String, Vec<&str>)> = texts.into_iter().collect();
    texts.sort_by(|a, b| (&a.1, &a.0).cmp(&(&b.1, &b.0)));
    let parts = texts.iter().map(|(text, names)| format!("{}\n\n{text}\n", names.join(", ")));
    Ok(parts.collect::<Vec<_>>().join(&format!("\n{}\n\n", "-".repeat(78))))
}

/// The files of a crate's folder that are its licenses, sorted.
fn license_files(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let wrong = |error| format!("{}: {error}", folder.display());
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(wrong)? {
        let entry = entry.map_err(wrong)?;
        let name = entry.file_name().to_string_lossy().to_uppercase();
        let is_license = ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE"]
            .iter()
            .any(|beginning| name.starts_with(beginning));
        if is_license && entry.file_type().map_err(wrong)?.is_file() {
            files.push((name, entry.path()));
        }
    }
    files.sort();
    let has_mit = files.iter().any(|(name, _)| name.contains("MIT"));
    files.retain(|(name, _)| !has_mit || !name.contains("APACHE"));
    Ok(files.into_iter().map(|(_, path)| path).collect())
}
