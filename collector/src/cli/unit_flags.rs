//! node_exporter's flags out of its systemd unit, for the commands that take `--unit FILE`.

use crate::dropin;
use crate::dropin::unit::{self, Argument, Service};
use std::path::{Path, PathBuf};

/// Where Debian's package has node_exporter.
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
        if let Some(Argument { text, place }) = processors {
            let note = dropin::note_of_processors(&text);
            let note = note.map_err(|mistake| format!("{place}: {mistake}"))?;
            notes.push(format!("{place}: {note}"));
        }
        Ok(UnitFlags { arguments, directory, notes, is_debians })
    }
}
