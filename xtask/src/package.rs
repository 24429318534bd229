//! `cargo xtask package`: the Debian packages, from a release binary and `deploy/`.
//!
//! `vitald` is the service with its configuration; `vitald-node-exporter` has it take the place of Debian's
//! prometheus-node-exporter. They are built for the release of Debian that this machine has: their
//! libraries and the folder of units are those of its packages. The binary is linked dynamically, as Debian wants it, so
//! that a repaired library of the system's is used; what it needs of them is found out by dpkg-shlibdeps.

mod binary;
mod changelog;
mod crates;
mod documents;
mod stage;

use crate::files;
use crates::Linked;
use stage::{Stage, printed};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use vitald::dropin::EMULATED_VERSION;
use vitald::manual;

/// Who answers for the packages, unless `DEBFULLNAME` and `DEBEMAIL` name the publisher, as for Debian's tools.
const MAINTAINER: [&str; 2] = ["vitald packagers", "vitald@packages.invalid"];

/// Lines of the service's sandbox that its stand-in does not have: its user is prometheus', which other
/// services may have, and drop-ins of the host may give it capabilities.
const NOT_IN_THE_STAND_IN: [&str; 3] =
    ["CapabilityBoundingSet=", "AmbientCapabilities=", "RemoveIPC="];

/// What the packages are made of.
struct Package {
    root: PathBuf,
    out: PathBuf,
    binary: PathBuf,
    version: String,
    maintainer: String,
    /// Seconds since 1970, which nothing in the packages is later than.
    epoch: String,
    /// The folder of units, as the release has it. dpkg takes `/lib` and `/usr/lib` for two places even where they
    /// are one: where two packages have one unit, both have to say it in one way, or the second loses it.
    units: String,
    /// The crates of others that the binary has in it.
    crates: Vec<Linked>,
}

/// Writes the packages. Options are `--binary FILE`, `--version VERSION` and `--out FOLDER`.
pub(crate) fn write(root: &Path, words: &[&str]) -> Result<String, String> {
    let package = Package::of(root, words)?;
    let written = [package.service()?, package.stand_in()?];
    Ok(written.map(|file| format!("wrote {}", file.display())).join("\n"))
}

impl Package {
    fn of(root: &Path, words: &[&str]) -> Result<Package, String> {
        let target = files::target(root);
        let (mut binary, mut out) = (target.join("release/vitald"), target.join("package"));
        let mut version = env!("CARGO_PKG_VERSION").to_owned();
        for pair in words.chunks(2) {
            match pair {
                ["--binary", file] => binary = PathBuf::from(file),
                ["--out", folder] => out = PathBuf::from(folder),
                ["--version", text] => version = (*text).to_owned(),
                _ => return Err(format!("{}: no option, or one without its value", pair[0])),
            }
        }
        let own = env!("CARGO_PKG_VERSION");
        if !version.starts_with(own) {
            return Err(format!(
                "--version {version}: not one of {own}, which vitald is; add to it"
            ));
        }
        let epoch = match std::env::var("SOURCE_DATE_EPOCH") {
            Ok(epoch) => epoch,
            Err(_) => {
                printed(Command::new("git").current_dir(root).args(["log", "-1", "--format=%ct"]))
                    .map_err(|error| {
                    format!("{error}\nset SOURCE_DATE_EPOCH to the date of the packages")
                })?
            }
        };
        let [name, mail] = [("DEBFULLNAME", 0), ("DEBEMAIL", 1)].map(|(variable, part)| {
            std::env::var(variable).unwrap_or_else(|_| MAINTAINER[part].to_owned())
        });
        let known = printed(
            Command::new("dpkg-query").args(["--search", "*/systemd/system/basic.target"]),
        )?;
        let units =
            known.lines().find_map(|line| line.split_once(": ")?.1.strip_suffix("/basic.target"));
        Ok(Package {
            root: root.to_path_buf(),
            crates: crates::linked(root)?,
            binary,
            out,
            version,
            maintainer: format!("{name} <{mail}>"),
            epoch: epoch.trim().to_owned(),
            units: units
                .ok_or("systemd has no folder of units")?
                .trim_start_matches('/')
                .to_owned(),
        })
    }

    /// The date in a form of date(1).
    fn date(&self, form: &str) -> Result<String, String> {
        let day = format!("--date=@{}", self.epoch);
        let mut date = Command::new("date");
        let printed = printed(date.env("LC_ALL", "C").args(["--utc", &day, form]))?;
        Ok(printed.trim().to_owned())
    }

    fn source(&self, file: &str) -> Result<String, String> {
        files::read(&self.root.join(file))
    }

    /// An empty package, with what every one has.
    fn stage(&self, name: &str) -> Result<Stage, String> {
        let mut stage = Stage::new(&self.out, name)?;
        let documents = format!("usr/share/doc/{name}");
        let changes = changelog::debian(
            &self.source("CHANGELOG.md")?,
            &self.version,
            &self.maintainer,
            &self.date("--rfc-email")?,
        )?;
        stage.compressed(&format!("{documents}/changelog"), &changes)?;
        let copyright = self.source("deploy/debian/copyright.in")?;
        let copyright = copyright.replace("@CRATES@", &crates::listed(&self.crates));
        stage.file(&format!("{documents}/copyright"), &copyright)?;
        for script in ["postinst", "prerm", "postrm"] {
            let text = self.source(&format!("deploy/debian/{name}.{script}"))?;
            stage.script(script, &text)?;
        }
        Ok(stage)
    }

    /// Ends a package whose file is named after this architecture.
    fn finish(&self, stage: Stage, architecture: &str, libraries: &str) -> Result<PathBuf, String> {
        let control = self.source(&format!("deploy/debian/{}.control", stage.name))?;
        let control = control
            .replace("@VERSION@", &self.version)
            .replace("@ARCHITECTURE@", architecture)
            .replace("@MAINTAINER@", &self.maintainer)
            .replace("@EMULATED@", EMULATED_VERSION)
            .replace("@LIBRARIES@", libraries);
        let file = format!("{}_{}_{architecture}.deb", stage.name, self.version);
        stage.build(&control, &self.epoch, &self.out.join(file))
    }

    /// The package of the service.
    fn service(&self) -> Result<PathBuf, String> {
        let collectors =
            vitald::collectors(&[vitald_plugins::ROLL]).map_err(|error| error.to_string())?;
        let outputs = vitald::registered_outputs()?;
        let command = vitald::command(&collectors, &outputs);
        binary::check(&self.binary, &command.render_version())?;
        let mut stage = self.stage("vitald")?;
        stage.program("usr/bin/vitald", &self.binary)?;
        let unit = self.source("deploy/vitald.service")?;
        // What is above it says how to install it by hand.
        let unit = unit
            .find("[Unit]")
            .map(|start| &unit[start..])
            .ok_or("deploy/vitald.service has no [Unit]")?;
        stage.file(&format!("{}/vitald.service", self.units), unit)?;
        stage.file("usr/lib/sysusers.d/vitald.conf", &self.source("deploy/vitald.sysusers")?)?;
        stage.configuration("etc/vitald/config.toml", &self.source("deploy/service.toml")?)?;

        let day = self.date("+%F")?;
        let page = manual::command_man(&command, &day);
        stage.compressed("usr/share/man/man1/vitald.1", &page)?;
        let settings = manual::config_man(&collectors, &outputs, &day);
        stage.compressed("usr/share/man/man5/vitald.toml.5", &settings)?;
        for (shell, file) in [
            ("bash", "bash-completion/completions/vitald"),
            ("zsh", "zsh/vendor-completions/_vitald"),
            ("fish", "fish/vendor_completions.d/vitald.fish"),
        ] {
            let completions = printed(Command::new(&self.binary).args(["completions", shell]))?;
            stage.file(&format!("usr/share/{file}"), &completions)?;
        }

        let documents = "usr/share/doc/vitald";
        documents::put(&mut stage, &self.root, documents)?;
        let example = manual::config_reference(&collectors, &outputs);
        stage.file(&format!("{documents}/examples/config.toml"), &example)?;
        let notices = crates::notices(&self.crates)?;
        stage.compressed(&format!("{documents}/notices-of-crates"), &notices)?;

        let architecture = printed(Command::new("dpkg").arg("--print-architecture"))?;
        let libraries = stage.libraries("usr/bin/vitald")?;
        self.finish(stage, architecture.trim(), &libraries)
    }

    /// The package that takes the place of prometheus-node-exporter.
    fn stand_in(&self) -> Result<PathBuf, String> {
        let (name, program) = ("vitald-node-exporter", "prometheus-node-exporter");
        let mut stage = self.stage(name)?;
        stage.link(&format!("usr/bin/{program}"), "vitald")?;
        let unit = self.source("deploy/debian/prometheus-node-exporter.service.in")?;
        let unit = unit.replace("@SANDBOX@", &sandbox(&self.source("deploy/vitald.service")?)?);
        stage.file(&format!("{}/{program}.service", self.units), &unit)?;
        let own = |end: &str| self.source(&format!("deploy/debian/{name}.{end}"));
        stage.file(&format!("usr/lib/sysusers.d/{name}.conf"), &own("sysusers")?)?;
        stage.file(&format!("usr/share/{name}/default"), &own("default")?)?;
        stage.file(&format!("usr/share/doc/{name}/README.Debian"), &own("README.Debian")?)?;
        stage.folder("var/lib/prometheus/node-exporter")?;
        let as_node_exporter =
            |option: &str| printed(Command::new(&self.binary).arg0(program).arg(option));
        // Long flags leave lines with too few words to be drawn out to the margin.
        let page = as_node_exporter("--help-man")?.replacen(".SH NAME", ".ad l\n.SH NAME", 1);
        stage.compressed(&format!("usr/share/man/man1/{program}.1"), &page)?;
        let completions = as_node_exporter("--completion-script-bash")?;
        stage.file(&format!("usr/share/bash-completion/completions/{program}"), &completions)?;
        self.finish(stage, "all", "")
    }
}

/// The lines of the service's unit that are its sandbox, but for those that its stand-in does not have.
fn sandbox(unit: &str) -> Result<String, String> {
    let start = unit.find(NOT_IN_THE_STAND_IN[0]);
    let lines = start.zip(unit.find("[Install]")).and_then(|(start, end)| unit.get(start..end));
    let lines = lines.ok_or("deploy/vitald.service: its sandbox begins with CapabilityBoundingSet= and ends before [Install]")?;
    let is_kept =
        |line: &&str| !NOT_IN_THE_STAND_IN.iter().any(|setting| line.starts_with(setting));
    let kept = lines.split_inclusive('\n').filter(is_kept).collect::<String>();
    match NOT_IN_THE_STAND_IN.iter().find(|setting| kept.contains(**setting)) {
        // A comment gives a reason that the stand-in does not have.
        Some(setting) => Err(format!("deploy/vitald.service: its sandbox speaks of {setting}")),
        None => Ok(kept.trim_end().to_owned() + "\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::sandbox;

    #[test]
    fn the_sandbox_is_the_service_s() {
        let unit =
            "[Service]\nA=b\nCapabilityBoundingSet=\nC=d\nRemoveIPC=yes\n# e\nE=f\n\n[Install]\n";
        assert_eq!(sandbox(unit).as_deref(), Ok("C=d\n# e\nE=f\n"));
        let speaks = unit.replace("# e", "# e, since RemoveIPC= is on");
        sandbox(&speaks).expect_err("it is not on there");
        sandbox("[Service]\nA=b\n[Install]\n").expect_err("there is none");
        sandbox("[Install]\n[Service]\nCapabilityBoundingSet=\n").expect_err("it has no end");
    }
}
