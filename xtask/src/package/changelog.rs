//! The changelog in Debian's form, from ours.

/// Columns of a line.
const WIDTH: usize = 78;

/// The section of a version, or else what is not released yet, as Debian's entry for this version.
pub(super) fn debian(
    changelog: &str,
    version: &str,
    maintainer: &str,
    date: &str,
) -> Result<String, String> {
    let section = |name: &str| {
        let (_, rest) = changelog.split_once(&format!("\n## {name}"))?;
        // The rest of the heading may be its date.
        let (_, rest) = rest.split_once('\n')?;
        Some(rest.split("\n## ").next().unwrap_or(rest))
    };
    let text = section(version).or_else(|| section("Unreleased"));
    let text =
        text.ok_or(format!("CHANGELOG.md has no section {version}, and none that is Unreleased"))?;
    let mut entry = format!("vitald ({version}) unstable; urgency=medium\n");
    let mut paragraph = String::new();
    // An empty line ends the last one.
    for line in text.lines().chain([""]) {
        let continued = line.strip_prefix("  ").filter(|_| !paragraph.is_empty());
        match continued {
            Some(rest) => paragraph += &format!(" {}", rest.trim()),
            None => {
                entry += &item(&paragraph);
                paragraph = line.strip_prefix("- ").unwrap_or_default().to_owned();
            }
        }
        if let Some(heading) = line.strip_prefix("### ") {
            entry += &format!("\n  [ {heading} ]\n");
        }
    }
    Ok(format!("{entry}\n -- {maintainer}  {date}\n"))
}

/// An item of the list, in lines.
fn item(text: &str) -> String {
    let (mut lines, mut line) = (String::new(), "  *".to_owned());
    for word in text.split_whitespace() {
        if line.chars().count() + 1 + word.chars().count() > WIDTH {
            lines += &format!("{line}\n");
            line = "   ".to_owned();
        }
        line += &format!(" {word}");
    }
    if text.is_empty() { lines } else { format!("{lines}{line}\n") }
}

#[cfg(test)]
mod tests {
    use super::debian;

    const CHANGELOG: &str = "# Changelog\n\nWhat.\n\n## Unreleased\n\n### Added\n\n- One thing\n  and more of it.\n- Another.\n\n### Changed\n- A third.\n\n## 0.1.0, 2026-01-31\n\n- The first.\n";

    #[test]
    fn an_entry_is_the_section_of_its_version() {
        let entry = |version| debian(CHANGELOG, version, "A B <a@b.c>", "today");
        assert_eq!(
            entry("0.2.0").as_deref(),
            Ok(
                "vitald (0.2.0) unstable; urgency=medium\n\n  [ Added ]\n  * One thing and more of it.\n  * Another.\n\n  \
                [ Changed ]\n  * A third.\n\n -- A B <a@b.c>  today\n"
            )
        );
        assert_eq!(
            entry("0.1.0").as_deref(),
            Ok(
                "vitald (0.1.0) unstable; urgency=medium\n  * The first.\n\n -- A B <a@b.c>  today\n"
            )
        );
        debian("# Changelog\n", "1", "", "").expect_err("it has no section");
    }

    #[test]
    fn long_lines_are_broken() {
        let changelog = format!("\n## Unreleased\n- {}\n", "word ".repeat(40));
        let entry = debian(&changelog, "1", "", "").expect("an entry");
        assert!(entry.lines().all(|line| line.len() <= 78), "{entry}");
        assert_eq!(entry.matches("word").count(), 40);
    }
}
