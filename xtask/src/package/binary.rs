//! Whether a binary is the one to pack. Whatever was built last lies in the same place: with fewer features, of an older
//! commit, with its symbols.

use super::stage::printed;
use std::path::Path;
use std::process::Command;

/// Has the binary say what it is, and compares that with `expected`, which is what one of this tree with all features says.
///
/// # Errors
///
/// It is not there, does not run here, is another one, or has its symbols; with the command that builds the right one.
pub(super) fn check(binary: &Path, expected: &str) -> Result<(), String> {
    let is_right = || {
        if !binary.is_file() {
            return Err("missing".to_owned());
        }
        is_as_expected(&printed(Command::new(binary).arg("--version"))?, expected)?;
        is_stripped(binary)
    };
    is_right().map_err(|wrong: String| {
        format!("{}: {wrong}: cargo build --locked --release --features full", binary.display())
    })
}

fn is_as_expected(said: &str, expected: &str) -> Result<(), String> {
    fn words(text: &str) -> impl Iterator<Item = &str> {
        text.split_whitespace().chain(["nothing"])
    }
    match words(said).zip(words(expected)).find(|(said, expected)| said != expected) {
        None => Ok(()),
        Some((said, expected)) => Err(format!(
            "not of this tree with all features: --version says \"{said}\" instead of \"{expected}\""
        )),
    }
}

fn is_stripped(binary: &Path) -> Result<(), String> {
    let sections = printed(Command::new("readelf").args(["--sections", "--wide"]).arg(binary))?;
    if sections.contains(" .symtab ") {
        return Err("not stripped, as a release binary is".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{check, is_as_expected, is_stripped};
    use std::path::Path;

    #[test]
    fn another_binary_is_refused() {
        let expected = "vitald 1.2.3 (2 collectors: cpu os)\nfeatures: +tls\n";
        assert_eq!(is_as_expected(expected, expected), Ok(()));
        for (said, told) in [
            (
                "vitald 1.2.2 (2 collectors: cpu os)\nfeatures: +tls\n",
                "\"1.2.2\" instead of \"1.2.3\"",
            ),
            ("vitald 1.2.3 (1 collector: cpu)\nfeatures: +tls\n", "\"(1\" instead of \"(2\""),
            (
                "vitald 1.2.3 (2 collectors: cpu os)\nfeatures: -tls\n",
                "\"-tls\" instead of \"+tls\"",
            ),
            ("vitald 1.2.3 (2 collectors: cpu os)\n", "\"nothing\" instead of \"features:\""),
        ] {
            let refusal = is_as_expected(said, expected).expect_err(said);
            assert!(refusal.contains(told), "{refusal}");
        }
    }

    #[test]
    fn what_is_missing_or_has_symbols_is_refused() {
        let refusal = check(Path::new("/nonexistent"), "").expect_err("there is none");
        assert!(refusal.contains("missing: cargo build"), "{refusal}");
        // What tests are built as.
        let own = std::env::current_exe().expect("this program");
        let refusal = is_stripped(&own).expect_err("it has symbols");
        assert!(refusal.contains("not stripped"), "{refusal}");
    }
}
