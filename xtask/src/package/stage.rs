//! The files of a package, put in place below a folder of their own.

use crate::files;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A package that is being put together.
pub(super) struct Stage {
    pub(super) name: String,
    root: PathBuf,
    configurations: Vec<String>,
}

/// What a command that has to succeed prints.
pub(super) fn printed(command: &mut Command) -> Result<String, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("{name}: {error}"))?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{name}: {}: {}", output.status, complaint.trim()));
    }
    String::from_utf8(output.stdout).map_err(|error| format!("{name}: {error}"))
}

impl Stage {
    /// An empty package, where an earlier one may have been put together.
    pub(super) fn new(out: &Path, name: &str) -> Result<Stage, String> {
        let root = out.join("stage").join(name);
        match fs::remove_dir_all(&root) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(format!("{}: {error}", root.display()));
            }
            _ => {}
        }
        let stage = Stage { name: name.to_owned(), root, configurations: Vec::new() };
        stage.folder("DEBIAN")?;
        Ok(stage)
    }

    /// A folder with those above it. Modes are set whatever the umask is, since they are in the package.
    pub(super) fn folder(&self, folder: &str) -> Result<(), String> {
        let mut path = self.root.clone();
        make_folder(&path)?;
        for part in Path::new(folder) {
            path.push(part);
            make_folder(&path)?;
        }
        Ok(())
    }

    fn write(&self, file: &str, text: &str, mode: u32) -> Result<PathBuf, String> {
        let path = self.place(file)?;
        files::write(&path, text)?;
        set_mode(&path, mode)?;
        Ok(path)
    }

    /// Where a file goes; its folder is there then.
    fn place(&self, file: &str) -> Result<PathBuf, String> {
        if let Some((folder, _)) = file.rsplit_once('/') {
            self.folder(folder)?;
        }
        Ok(self.root.join(file))
    }

    /// A file that everyone may read.
    pub(super) fn file(&mut self, file: &str, text: &str) -> Result<(), String> {
        self.write(file, text, 0o644).map(drop)
    }

    /// The same, compressed, under its name with `.gz`; without a time in it.
    pub(super) fn compressed(&mut self, file: &str, text: &str) -> Result<(), String> {
        let path = self.write(file, text, 0o644)?;
        printed(Command::new("gzip").args(["--best", "--no-name"]).arg(path)).map(drop)
    }

    /// A file that is the administrator's once it is there.
    pub(super) fn configuration(&mut self, file: &str, text: &str) -> Result<(), String> {
        self.configurations.push(format!("/{file}\n"));
        self.file(file, text)
    }

    /// A script of dpkg's.
    pub(super) fn script(&mut self, name: &str, text: &str) -> Result<(), String> {
        self.write(&format!("DEBIAN/{name}"), text, 0o755).map(drop)
    }

    /// A program, copied.
    pub(super) fn program(&mut self, file: &str, from: &Path) -> Result<(), String> {
        let path = self.place(file)?;
        fs::copy(from, &path).map_err(|error| format!("{}: {error}", from.display()))?;
        set_mode(&path, 0o755)
    }

    /// A link.
    pub(super) fn link(&mut self, file: &str, to: &str) -> Result<(), String> {
        let path = self.place(file)?;
        symlink(to, &path).map_err(|error| format!("{}: {error}", path.display()))
    }

    /// Whether a file or folder is there.
    pub(super) fn has(&self, file: &str) -> bool {
        self.root.join(file).exists()
    }

    /// The packages whose libraries a program needs, for the beginning of `Depends:`.
    pub(super) fn libraries(&self, program: &str) -> Result<String, String> {
        // It looks for the file that a source package has.
        let source = self.root.with_extension("source");
        files::make_folder(&source.join("debian"))?;
        let control = format!("Source: {0}\n\nPackage: {0}\nArchitecture: any\n", self.name);
        files::write(&source.join("debian/control"), &control)?;
        // It would warn of symbols that only a plugin could have.
        let mut shlibdeps = Command::new("dpkg-shlibdeps");
        shlibdeps
            .current_dir(&source)
            .args(["-O", "--warnings=0", "-e"])
            .arg(self.absolute(program)?);
        let said = printed(&mut shlibdeps)?;
        // A static binary needs none, and nothing is printed of it.
        let needed = said.trim().strip_prefix("shlibs:Depends=").unwrap_or_default();
        Ok(if needed.is_empty() { String::new() } else { format!("{needed}, ") })
    }

    fn absolute(&self, file: &str) -> Result<PathBuf, String> {
        let path = self.root.join(file);
        path.canonicalize().map_err(|error| format!("{}: {error}", path.display()))
    }

    /// Writes the package, with this control file.
    pub(super) fn build(
        mut self,
        control: &str,
        epoch: &str,
        to: &Path,
    ) -> Result<PathBuf, String> {
        let (files, size) = self.contents()?;
        self.file("DEBIAN/control", &control.replace("@SIZE@", &size.to_string()))?;
        if !self.configurations.is_empty() {
            self.file("DEBIAN/conffiles", &self.configurations.concat())?;
        }
        let is_ours =
            |file: &&PathBuf| !self.configurations.contains(&format!("/{}\n", file.display()));
        let mut sums = Command::new("md5sum");
        let sums = printed(sums.current_dir(&self.root).args(files.iter().filter(is_ours)))?;
        self.file("DEBIAN/md5sums", &sums)?;
        // Times that are later become this one, and nothing else in the package is of today.
        let mut deb = Command::new("dpkg-deb");
        // With one thread the bytes do not follow from how many processors there are.
        deb.env("SOURCE_DATE_EPOCH", epoch).env("DPKG_DEB_THREADS_MAX", "1");
        deb.args(["--root-owner-group", "-Zxz", "--build"]);
        printed(deb.arg(&self.root).arg(to))?;
        Ok(to.to_path_buf())
    }

    /// The files but for dpkg's, sorted, and how many KiB all takes that is installed.
    fn contents(&self) -> Result<(Vec<PathBuf>, u64), String> {
        let (mut folders, mut files, mut size) = (vec![PathBuf::new()], Vec::new(), 0);
        while let Some(folder) = folders.pop() {
            let wrong = |error| format!("{}: {error}", self.root.join(&folder).display());
            for entry in fs::read_dir(self.root.join(&folder)).map_err(wrong)? {
                let entry = entry.map_err(wrong)?;
                let (path, kind) =
                    (folder.join(entry.file_name()), entry.file_type().map_err(wrong)?);
                if kind.is_file() {
                    size += entry.metadata().map_err(wrong)?.len().div_ceil(1024);
                    files.push(path);
                } else if path != Path::new("DEBIAN") {
                    size += 1;
                    if kind.is_dir() {
                        folders.push(path);
                    }
                }
            }
        }
        files.sort();
        Ok((files, size))
    }
}

fn make_folder(path: &Path) -> Result<(), String> {
    files::make_folder(path)?;
    set_mode(path, 0o755)
}

fn set_mode(path: &Path, mode: u32) -> Result<(), String> {
    let permissions = fs::Permissions::from_mode(mode);
    fs::set_permissions(path, permissions).map_err(|error| format!("{}: {error}", path.display()))
}
