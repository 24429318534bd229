//! node_exporter's flags as a service has them: in a unit of systemd, or in a file of variables for one.
//!
//! What systemd does with such files is followed to the letter; `table.txt` holds what a real one made
//! of them.

mod command;
mod environment;
mod lines;
mod specifiers;
#[cfg(test)]
mod tests;
mod words;

use crate::regular;
use command::{Command, Replaced, Values};
use environment::{Variable, is_name};
use lines::assignments;
use specifiers::Unit;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use words::Rule;

/// How a service starts node_exporter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// The program, as the unit has it; without a unit none.
    pub program: Option<String>,
    /// Its arguments.
    pub arguments: Vec<Argument>,
    /// Where it is started, which is what relative paths begin at.
    pub directory: PathBuf,
    /// The value of `GOMAXPROCS`, and where it is set.
    pub processors: Option<Argument>,
    /// What may be other than systemd has it: a sentence each, with its place in front.
    pub warnings: Vec<String>,
}

/// An argument, and the place in a file that it is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Argument {
    /// As node_exporter gets it.
    pub text: String,
    /// `FILE:LINE`.
    pub place: String,
}

/// A text, and the name of its file.
#[derive(Clone, Debug)]
pub struct File {
    /// Its path.
    pub name: String,
    /// What it holds.
    pub text: String,
}

/// The directories of the system's units, by precedence.
const UNIT_DIRECTORIES: &[&str] = &[
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];

/// Reads a unit with its drop-ins and the files of variables it names, or one file of variables.
///
/// # Errors
///
/// A sentence with the place of what cannot be read.
pub fn read(file: &Path) -> Result<Service, String> {
    let file = std::path::absolute(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let text = read_text(&file)?;
    let this = File { name: file.display().to_string(), text };
    if !is_unit(&this) {
        return of_variables(&this);
    }
    let mut files = vec![this];
    let folders = folders(&file);
    for path in drop_ins(&file, &folders) {
        files.push(File { name: path.display().to_string(), text: read_text(&path)? });
    }
    let mut service = of_unit(&files, &variable_files)?;
    let name = file.file_name().unwrap_or_default();
    let in_force = folders.iter().map(|folder| folder.join(name)).find(|other| other.exists());
    if let Some(other) =
        in_force.filter(|other| other.canonicalize().ok() != file.canonicalize().ok())
    {
        service.warnings.push(format!(
            "{}: systemd reads {} instead, which goes before it",
            file.display(),
            other.display()
        ));
    }
    Ok(service)
}

fn read_text(file: &Path) -> Result<String, String> {
    regular::read_text(file).map_err(|error| format!("{}: {error}", file.display()))
}

/// Whether it has the form of a unit; what has no section is a file of variables.
fn is_unit(file: &File) -> bool {
    let mut lines = file.text.lines().map(|line| line.trim().trim_start_matches('\u{feff}'));
    file.name.ends_with(".service")
        || lines
            .find(|line| !line.is_empty() && !line.starts_with(['#', ';']))
            .is_some_and(|line| line.starts_with('[') && line.ends_with(']'))
}

/// Where drop-ins of a unit are looked for: beside it, and if that is one of the system's directories in
/// all of them.
fn folders(file: &Path) -> Vec<PathBuf> {
    let is_systems = |path: &Path| {
        UNIT_DIRECTORIES.iter().any(|folder| path.parent() == Some(Path::new(folder)))
    };
    // It may be named by a link, such as those of `multi-user.target.wants`.
    if is_systems(file) || file.canonicalize().is_ok_and(|file| is_systems(&file)) {
        UNIT_DIRECTORIES.iter().map(PathBuf::from).collect()
    } else {
        vec![file.parent().unwrap_or(Path::new("/")).to_owned()]
    }
}

/// The drop-ins of a unit by name; of several with one name the first is it.
fn drop_ins(file: &Path, folders: &[PathBuf]) -> Vec<PathBuf> {
    let mut found = BTreeMap::new();
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(".d");
    for folder in folders {
        let Ok(entries) = fs::read_dir(folder.join(&name)) else { continue };
        for path in entries.flatten().map(|entry| entry.path()) {
            if path.extension().is_some_and(|extension| extension == "conf")
                && let Some(name) = path.file_name()
            {
                found.entry(name.to_owned()).or_insert(path);
            }
        }
    }
    found.into_values().collect()
}

/// The files of a pattern of `EnvironmentFile=`, in the order of their names.
fn variable_files(pattern: &str) -> io::Result<Vec<File>> {
    let read = |path: &Path| {
        let text = regular::read_text(path)?;
        Ok(File { name: path.display().to_string(), text })
    };
    if !pattern.contains(['*', '?', '[']) {
        return Ok(vec![read(Path::new(pattern))?]);
    }
    if pattern.contains('[') {
        let message = "a pattern with brackets is not known here; name the files";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    let mut found = vec![PathBuf::from("/")];
    for part in pattern.split('/').filter(|part| !part.is_empty()) {
        if !part.contains(['*', '?']) {
            found.iter_mut().for_each(|path| path.push(part));
            continue;
        }
        let mut matching = Vec::new();
        for folder in &found {
            let Ok(entries) = fs::read_dir(folder) else { continue };
            let names = entries.flatten().map(|entry| entry.file_name());
            matching.extend(
                names
                    .filter(|name| name.to_str().is_some_and(|name| is_match(part, name)))
                    .map(|name| folder.join(name)),
            );
        }
        matching.sort();
        found = matching;
    }
    found.retain(|path| path.exists());
    if found.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "no file has such a name"));
    }
    found.iter().map(|path| read(path)).collect()
}

/// Whether a name matches a pattern of a shell, of which `*` and `?` are known (glob(7)).
fn is_match(pattern: &str, name: &str) -> bool {
    if name.starts_with('.') && !pattern.starts_with('.') {
        return false;
    }
    // Where to go on if a star has to take one character more.
    let mut again = None;
    let (mut pattern, mut name) = (pattern, name);
    loop {
        let (wanted, found) = (pattern.chars().next(), name.chars().next());
        let after = |text: &'_ str| text.chars().next().map_or(0, char::len_utf8);
        match (wanted, found) {
            (Some('*'), _) => {
                pattern = &pattern[1..];
                again = Some((pattern, name));
            }
            (None, None) => return true,
            (Some(wanted), Some(found)) if wanted == '?' || wanted == found => {
                pattern = &pattern[after(pattern)..];
                name = &name[after(name)..];
            }
            _ => match again {
                Some((from, rest)) if !rest.is_empty() => {
                    pattern = from;
                    name = &rest[after(rest)..];
                    again = Some((from, name));
                }
                _ => return false,
            },
        }
    }
}

/// What a unit and its drop-ins come to. `variables` gives the files of a path or pattern.
///
/// # Errors
///
/// A sentence with the place of what systemd would refuse, or what cannot be known here.
pub fn of_unit(
    files: &[File],
    variables: &dyn Fn(&str) -> io::Result<Vec<File>>,
) -> Result<Service, String> {
    let path = files.first().map_or("", |file| &*file.name);
    let name = path.rsplit_once('/').map_or(path, |(_, name)| name);
    let mut found = Found::default();
    for file in files {
        for assignment in assignments(&file.text, "Service") {
            let place = format!("{}:{}", file.name, assignment.line);
            found.take(&assignment.key, &assignment.value, &place, Unit { name, path })?;
        }
    }
    found.service(path, variables)
}

/// A value, and its place.
#[derive(Clone, Debug)]
struct Placed<T> {
    value: T,
    place: String,
}

/// What the assignments so far have set.
#[derive(Default)]
struct Found {
    commands: Vec<Placed<Command>>,
    environment: BTreeMap<String, Placed<String>>,
    files: Vec<Placed<String>>,
    unset: Vec<String>,
    directory: Option<String>,
    warnings: Vec<String>,
}

impl Found {
    fn take(&mut self, key: &str, value: &str, place: &str, unit: Unit<'_>) -> Result<(), String> {
        let at = |message: String| format!("{place}: {key}: {message}");
        let place = || place.to_owned();
        match key {
            "ExecStart" if value.is_empty() => self.commands.clear(),
            "ExecStart" => {
                let commands = command::commands(value, unit).map_err(at)?;
                self.commands
                    .extend(commands.into_iter().map(|value| Placed { value, place: place() }));
            }
            "Environment" if value.is_empty() => self.environment.clear(),
            "Environment" => {
                let mut rest = value;
                loop {
                    let word = match words::first(rest, Rule::Assignment) {
                        Ok(Some((word, after))) => {
                            rest = after;
                            specifiers::replace(&word, unit).map_err(at)?
                        }
                        Ok(None) => break,
                        Err(mistake) => {
                            self.warnings.push(at(format!(
                                "{mistake}; systemd passes over the rest of this line"
                            )));
                            break;
                        }
                    };
                    match word.split_once('=').filter(|(name, _)| is_name(name)) {
                        Some((name, value)) => {
                            let value = Placed { value: value.to_owned(), place: place() };
                            self.environment.insert(name.to_owned(), value);
                        }
                        None => self.warnings.push(at(format!(
                            "systemd passes over {word:?}, which sets no variable; write NAME=VALUE"
                        ))),
                    }
                }
            }
            "UnsetEnvironment" if value.is_empty() => self.unset.clear(),
            "UnsetEnvironment" => {
                self.unset.extend(words::all(value, Rule::Assignment).unwrap_or_default());
            }
            "EnvironmentFile" if value.is_empty() => self.files.clear(),
            "EnvironmentFile" => {
                let value = specifiers::replace(value, unit).map_err(at)?;
                if value.trim_start_matches('-').starts_with('/') {
                    self.files.push(Placed { value, place: place() });
                } else {
                    self.warnings.push(at(format!(
                        "systemd passes over {value:?}, which is no absolute path; write one, without quotes"
                    )));
                }
            }
            "WorkingDirectory" => {
                let value = value.trim_start_matches('-');
                let path = specifiers::replace(value, unit).map_err(at)?;
                self.directory = path.starts_with('/').then_some(path);
            }
            _ => {}
        }
        Ok(())
    }

    fn service(
        mut self,
        path: &str,
        read: &dyn Fn(&str) -> io::Result<Vec<File>>,
    ) -> Result<Service, String> {
        for Placed { value, place } in std::mem::take(&mut self.files) {
            let (value, may_be_absent) = match value.strip_prefix('-') {
                Some(value) => (value, true),
                None => (&*value, false),
            };
            match read(value) {
                Ok(files) => {
                    for file in files {
                        for Variable { name, value, line } in environment::variables(&file.text) {
                            let place = format!("{}:{line}", file.name);
                            self.environment.insert(name, Placed { value, place });
                        }
                    }
                }
                Err(error) if may_be_absent => self.warnings.push(format!(
                    "{place}: EnvironmentFile: {value}: {error}; if it has flags elsewhere, put it there first"
                )),
                Err(error) => return Err(format!("{place}: EnvironmentFile: {value}: {error}")),
            }
        }
        for unset in &self.unset {
            match unset.split_once('=') {
                Some((name, value)) => {
                    if self.environment.get(name).is_some_and(|known| known.value == value) {
                        self.environment.remove(name);
                    }
                }
                None => drop(self.environment.remove(unset)),
            }
        }
        let (command, more) = match &self.commands[..] {
            [] => return Err(format!("{path}: there is no ExecStart= in [Service]")),
            [command] => (command, None),
            [command, more, ..] => (command, Some(more)),
        };
        if let Some(more) = more {
            return Err(format!(
                "{}: a second command beside {}; systemd starts one alone, so empty the list with \
                 ExecStart= before it",
                more.place, command.value.program
            ));
        }
        let values: Values<'_> = self
            .environment
            .iter()
            .map(|(name, known)| (name.as_str(), known.value.as_str()))
            .collect();
        let (arguments, missing) = command.value.arguments(&values);
        for name in missing {
            self.warnings.push(format!(
                "{}: ${name} is not set in the unit, so nothing is taken for it; add its value to the \
                 unit if systemd has one",
                command.place
            ));
        }
        let place_of = |Replaced { text, from }: Replaced| {
            let variable = from.and_then(|name| self.environment.get(&name));
            let place = variable.map_or(&command.place, |variable| &variable.place).clone();
            Argument { text, place }
        };
        Ok(Service {
            program: Some(command.value.program.clone()),
            arguments: arguments.into_iter().map(place_of).collect(),
            directory: self.directory.map_or_else(|| PathBuf::from("/"), PathBuf::from),
            processors: self
                .environment
                .get("GOMAXPROCS")
                .map(|known| Argument { text: known.value.clone(), place: known.place.clone() }),
            warnings: self.warnings,
        })
    }
}

/// The variables that packages give flags in: Debian's first.
const VARIABLES: &[&str] = &["ARGS", "OPTIONS", "NODE_EXPORTER_OPTS", "EXTRA_ARGS", "EXTRA_FLAGS"];

/// What the flags in a file of variables come to, which a unit of its package has as `$ARGS`.
///
/// # Errors
///
/// A sentence that says that no variable, or more than one, has flags.
pub fn of_variables(file: &File) -> Result<Service, String> {
    let mut last: BTreeMap<String, Variable> = BTreeMap::new();
    for variable in environment::variables(&file.text) {
        last.insert(variable.name.clone(), variable);
    }
    let known = VARIABLES.iter().find_map(|name| last.get(*name));
    let mut others = last.values().filter(|variable| variable.value.starts_with('-'));
    let chosen = match (known, others.next(), others.next()) {
        (Some(known), ..) => known,
        (None, Some(one), None) => one,
        _ => {
            return Err(format!(
                "{}: no variable ARGS with node_exporter's flags; give the unit that reads this file, or the \
                 flags themselves after two dashes, `-- FLAGS...`",
                file.name
            ));
        }
    };
    // No text is refused by this rule.
    let words = words::all(&chosen.value, Rule::Variable).unwrap_or_default();
    let place = format!("{}:{}", file.name, chosen.line);
    let processors = last.get("GOMAXPROCS").map(|variable| Argument {
        text: variable.value.clone(),
        place: format!("{}:{}", file.name, variable.line),
    });
    Ok(Service {
        program: None,
        arguments: words.into_iter().map(|text| Argument { text, place: place.clone() }).collect(),
        directory: PathBuf::from("/"),
        processors,
        warnings: Vec::new(),
    })
}
