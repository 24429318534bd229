//! Where the tables go. The documents have those of a full run on a machine without other work, and nothing else.

use super::figures::Figures;
use super::names::THEIRS;
use super::{document, quote};
use crate::files;
use std::path::Path;

/// Where the tables are, and what quotes them.
const TABLES: &str = "docs/benchmark.md";
const QUOTED: &str = "README.md";

/// Writes the tables to the file that is asked for, or to the documents if nothing stands against it; says what does.
/// A run that was full and is not fit to be quoted has failed.
pub(crate) fn publish(
    root: &Path,
    output: Option<&Path>,
    figures: &Figures,
) -> Result<String, String> {
    let tables = document::tables(figures);
    if let Some(output) = output {
        return to_file(root, output, figures, &tables);
    }
    let against = [&figures.left_out[..], &figures.doubts, &gaps(figures)].concat();
    if against.is_empty() {
        // Both are ready before one of them is written.
        let readme = quote::quoted_in(&files::read(&root.join(QUOTED))?, figures)?;
        files::write(&root.join(TABLES), &tables)?;
        files::write(&root.join(QUOTED), &readme)?;
        return Ok(format!("{tables}\nwrote {TABLES} and {QUOTED}"));
    }
    let against: String = against.iter().map(|reason| format!("\n- {reason}")).collect();
    let said = format!("{tables}\n{TABLES} and {QUOTED} are as they were:{against}");
    if figures.left_out.is_empty() { Err(said) } else { Ok(said) }
}

fn to_file(root: &Path, output: &Path, figures: &Figures, tables: &str) -> Result<String, String> {
    let is_document = |document| {
        let document = root.join(document).canonicalize();
        document.is_ok_and(|document| output.canonicalize().is_ok_and(|output| output == document))
    };
    if [TABLES, QUOTED].into_iter().any(is_document) {
        return Err(format!("{tables}\n{} is written by a run without --output", output.display()));
    }
    files::write(output, tables)?;
    let said = format!("{tables}\nwrote {}", output.display());
    let doubts: String = figures.doubts.iter().map(|doubt| format!("\n- {doubt}")).collect();
    if doubts.is_empty() { Ok(said) } else { Err(format!("{said}; not for quoting:{doubts}")) }
}

/// The tables that have no node_exporter or nothing at all, for whatever reason.
fn gaps(figures: &Figures) -> Vec<String> {
    let regimes = figures.sets.iter().flat_map(|set| set.regimes.iter().map(|it| (set.name, it)));
    let kernels = figures.kernels.iter().map(|host| (host.set, &host.regime));
    let hosts = figures.hosts.iter().map(|host| ("plain files", &host.regime));
    let is_alone = regimes.chain(kernels).chain(hosts).find(|(_, it)| it.row(THEIRS).is_none());
    let mut gaps = Vec::new();
    gaps.extend(is_alone.map(|(place, _)| format!("{place}: node_exporter was not measured")));
    let is_empty =
        figures.sets.is_empty() || figures.kernels.is_empty() || figures.hosts.is_empty();
    gaps.extend(is_empty.then(|| "a table is empty".to_owned()));
    gaps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::figures::tests::figures;
    use std::fs;

    /// A workspace with documents that have something.
    fn workspace() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("docs")).unwrap();
        fs::write(root.path().join(TABLES), "tables of before\n").unwrap();
        fs::write(root.path().join(QUOTED), quote::tests::README).unwrap();
        root
    }

    fn documents(root: &Path) -> [String; 2] {
        [TABLES, QUOTED].map(|document| fs::read_to_string(root.join(document)).unwrap())
    }

    #[test]
    fn a_full_run_of_a_quiet_machine_is_written() {
        let root = workspace();
        let said = publish(root.path(), None, &figures()).unwrap();
        assert!(said.ends_with("wrote docs/benchmark.md and README.md"));
        let [tables, readme] = documents(root.path());
        assert_eq!(tables, document::tables(&figures()));
        assert_eq!(readme, quote::quoted_in(quote::tests::README, &figures()).unwrap());
    }

    #[test]
    fn what_is_less_is_not_written_and_says_why() {
        let reason = || vec!["the reason".to_owned()];
        let mut alone = figures();
        alone.sets[0].regimes[0].rows.retain(|row| row.name != THEIRS);
        let mut without_kernels = figures();
        without_kernels.kernels.clear();
        for (figures, has_failed, expected) in [
            (Figures { left_out: reason(), ..figures() }, false, "- the reason"),
            (Figures { doubts: reason(), ..figures() }, true, "- the reason"),
            (alone, true, "- sixteen: node_exporter was not measured"),
            (without_kernels, true, "- a table is empty"),
            (Figures::default(), true, "- a table is empty"),
        ] {
            let root = workspace();
            let before = documents(root.path());
            let said = publish(root.path(), None, &figures);
            assert_eq!(said.is_err(), has_failed, "{expected}");
            let said = said.unwrap_or_else(|said| said);
            assert!(said.contains("docs/benchmark.md and README.md are as they were:"), "{said}");
            assert!(said.lines().any(|line| line == expected), "{said}");
            assert_eq!(documents(root.path()), before, "{expected}");
        }
    }

    #[test]
    fn nothing_is_written_where_one_of_the_two_cannot_be() {
        let root = workspace();
        fs::write(root.path().join(QUOTED), "no place for a quotation\n").unwrap();
        let before = documents(root.path());
        publish(root.path(), None, &figures()).unwrap_err();
        assert_eq!(documents(root.path()), before);
    }

    #[test]
    fn a_file_of_its_own_has_any_run_and_is_no_document() {
        let root = workspace();
        let before = documents(root.path());
        let doubtful = Figures { doubts: vec!["the reason".to_owned()], ..figures() };
        let output = root.path().join("tables.md");
        let said = publish(root.path(), Some(&output), &doubtful).unwrap_err();
        assert!(said.ends_with("not for quoting:\n- the reason"), "{said}");
        assert_eq!(fs::read_to_string(&output).unwrap(), document::tables(&doubtful));
        for document in [TABLES, "docs/../README.md"] {
            let output = root.path().join(document);
            publish(root.path(), Some(&output), &figures()).unwrap_err();
        }
        assert_eq!(documents(root.path()), before);
    }
}
