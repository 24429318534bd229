//! The files of the workspace.

use std::path::{Path, PathBuf};

/// Folders with nothing that is written by hand: builds, and texts of kernels and other programs.
const PASSED_OVER: [&str; 5] = ["target", ".git", "fixtures", "golden", "proptest-regressions"];

/// The workspace: above this crate, as cargo says where that is when it runs these commands.
pub(crate) fn root() -> PathBuf {
    let built = || env!("CARGO_MANIFEST_DIR").into();
    let own = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(built));
    own.parent().unwrap_or(Path::new(".")).to_path_buf()
}

/// Where cargo builds. It runs in the workspace, where a relative folder begins.
pub(crate) fn target(root: &Path) -> PathBuf {
    root.join(std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()))
}

pub(crate) fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

pub(crate) fn write(path: &Path, text: &str) -> Result<(), String> {
    std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}

/// Makes a folder and those above it, where they are not there.
pub(crate) fn make_folder(path: &Path) -> Result<(), String> {
    std::fs::create_dir_all(path).map_err(|error| format!("{}: {error}", path.display()))
}

/// Every file below a folder, sorted, but for those in [`PASSED_OVER`].
pub(crate) fn below(root: &Path, folder: &Path) -> Result<Vec<PathBuf>, String> {
    let wrong = |error| format!("{}: {error}", root.join(folder).display());
    let mut files = Vec::new();
    for entry in std::fs::read_dir(root.join(folder)).map_err(wrong)? {
        let entry = entry.map_err(wrong)?;
        let path = folder.join(entry.file_name());
        let kind = entry.file_type().map_err(wrong)?;
        if kind.is_dir() && !PASSED_OVER.iter().any(|name| entry.file_name() == *name) {
            files.extend(below(root, &path)?);
        } else if kind.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
