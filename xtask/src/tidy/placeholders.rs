//! What `cargo xtask new` writes for its author to replace, where it still is.

use std::path::Path;

/// What each of them begins with.
const SIGN: &str = "TODO";

/// The lines of a Rust file with something that its author has not replaced. The developer commands, which
/// write and look for it, may have it.
pub(super) fn left(path: &Path, text: &str) -> Vec<String> {
    if path.starts_with("xtask") || path.extension().is_none_or(|end| end != "rs") {
        return Vec::new();
    }
    let found = text.lines().enumerate().filter(|(_, line)| line.contains(SIGN));
    let said = |(place, line): (usize, &str)| {
        let line = line.trim();
        format!("{}:{}: a placeholder is left: {line}", path.display(), place + 1)
    };
    found.map(said).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_named_with_its_place() {
        let text = "//! Disks.\n\n    summary: \"TODO: one sentence\",\n";
        assert_eq!(
            left(Path::new("plugins/src/a.rs"), text),
            ["plugins/src/a.rs:3: a placeholder is left: summary: \"TODO: one sentence\","]
        );
        for other in ["xtask/src/a.rs", "docs/a.md", "xtask/src/templates/a.rs.in"] {
            assert!(left(Path::new(other), text).is_empty(), "{other}");
        }
    }
}
