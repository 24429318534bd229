//! The longest files, as places to look: one that cannot be read in one go may be two.

use super::modules::{Crate, File};

/// So many are shown.
const SHOWN: usize = 10;

/// The lines of code of each file, without tests, comments and empty lines.
pub(super) fn of_crate(source: &Crate) -> Vec<(usize, String)> {
    source.files.iter().map(|file| (code_lines(file), file.path.display().to_string())).collect()
}

fn code_lines(file: &File) -> usize {
    let is_test = |line: usize| file.test_lines.iter().any(|lines| lines.contains(&line));
    let lines = file.text.lines().enumerate().filter(|(place, line)| {
        let line = line.trim_start();
        !line.is_empty() && !line.starts_with("//") && !is_test(place + 1)
    });
    lines.count()
}

/// The longest ones, in lines of text.
pub(super) fn table(mut lengths: Vec<(usize, String)>) -> String {
    lengths.sort_by(|one, other| other.cmp(one));
    let mut table = "the longest files, in lines of code without tests:".to_owned();
    for (lines, path) in lengths.iter().take(SHOWN) {
        table += &format!("\n{lines:6}  {path}");
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_and_comments_are_not_counted() {
        let text = "//! A.\n\nfn a() {}\n\n/// B.\nfn b() {\n    // C.\n}\n\n#[cfg(test)]\nmod tests {\n}\n";
        let texts = vec![
            (vec![], "lib.rs".into(), format!("{text}#[cfg(test)]\nmod more;\n")),
            (vec!["more".to_owned()], "more.rs".into(), text.to_owned()),
        ];
        let lengths = of_crate(&Crate::parse(texts).unwrap());
        assert_eq!(lengths, [(3, "lib.rs".to_owned()), (0, "more.rs".to_owned())]);
        assert_eq!(
            table(lengths),
            "the longest files, in lines of code without tests:\n     3  lib.rs\n     0  more.rs"
        );
    }
}
