//! node_exporter's flags out of its systemd unit, for the commands that take `--unit FILE`.

use crate::dropin;
use crate::dropin::unit::{self, Argument, Service};
use std::path::{Path, PathBuf};

/// Where Debian's package has node_exporter, and ours a link to vitald.
const DEBIAN: &str = "/usr/bin/prometheus-node-exporter";
/// Where its flags are.
const DEBIAN_VARIABLES: &str = "/etc/default/prometheus-node-exporter";

/// The flags that a unit, or a file of variables, gives node_exporter.
pub(super) struct UnitFlags {
    /// Each with its place.
    pub(super) arguments: Vec<Argument>,
    /// Where relative paths begin.
    pub(super) directory: PathBuf,
    /// Sentences about the unit, with their places.
    pub(super) notes: Vec<String>,
    /// Whether the program is Debian's build, which has other defaults.
    pub(super) is_debians: bool,
}

impl UnitFlags {
    /// Reads them as systemd does.
    ///
    /// # Errors
    ///
    /// A sentence with the place: the file cannot be read, or it does not start node_exporter.
    pub(super) fn read(file: &Path) -> Result<Self, String> {
        let Service { program, mut arguments, directory, processors, warnings: mut notes } =
            unit::read(file)?;
        let mut is_debians = file == Path::new(DEBIAN_VARIABLES);
        if let Some(program) = program {
            let name = program.rsplit('/').next().unwrap_or_default();
            let is_first = |word: &str| arguments.first().is_some_and(|first| first.text == word);
            if name == "vitald" && is_first("node_exporter") {
                arguments.remove(0);
            } else if !dropin::is_dropin_name(&program) {
                return Err(format!(
                    "{}: ExecStart= runs {program}, which is not node_exporter; give the flags themselves \
                     after two dashes, `-- FLAGS...`",
                    file.display()
                ));
            }
            is_debians = program == DEBIAN;
        }
        is_debians = is_debians && !leads_to_vitald(Path::new(DEBIAN));
        if let Some(Argument { text, place }) = processors {
            let note = dropin::note_of_processors(&text);
            let note = note.map_err(|mistake| format!("{place}: {mistake}"))?;
            notes.push(format!("{place}: {note}"));
        }
        Ok(UnitFlags { arguments, directory, notes, is_debians })
    }
}

/// Whether a program of this machine is a link to vitald, whose defaults are those of node_exporter itself.
fn leads_to_vitald(program: &Path) -> bool {
    program.canonicalize().is_ok_and(|program| program.ends_with("vitald"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_link_to_vitald_is_not_debians_build() {
        let directory = tempfile::tempdir().expect("a directory");
        let [vitald, link, other] =
            ["vitald", "prometheus-node-exporter", "other"].map(|name| directory.path().join(name));
        symlink(&vitald, &link).expect("a link");
        assert!(!leads_to_vitald(&link), "it leads nowhere");
        std::fs::write(&vitald, "").expect("a file");
        std::fs::write(&other, "").expect("a file");
        assert!(leads_to_vitald(&link));
        assert!(!leads_to_vitald(&other));
    }
}
