//! Files with a token in them: what they may be, and how they are read.

use crate::plan::TokenFile;
use crate::regular::read_unchanged;
use crate::secret::Secret;
use rustix::fs::Stat;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// The most that such a file may hold.
const MOST_BYTES: u64 = 4096;
/// How a credential of systemd is written, instead of a path.
const CREDENTIAL: &str = "credential:";
/// Where systemd puts the credentials of a service (systemd.exec(5)).
const CREDENTIALS_DIRECTORY: &str = "CREDENTIALS_DIRECTORY";

impl TokenFile {
    /// Reads it as a user writes it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if let Some(name) = text.strip_prefix(CREDENTIAL) {
            return match name {
                "" | "." | ".." => Err("the credential has no name".to_owned()),
                _ if name.contains(['/', '\0']) => {
                    Err("a credential is a name, without a directory".to_owned())
                }
                _ => Ok(TokenFile::Credential(name.to_owned())),
            };
        }
        // What is wrong is not shown: it may be the token itself.
        match text.starts_with('/') {
            true => Ok(TokenFile::Path(text.into())),
            false => {
                Err("the token's file needs an absolute path, or \"credential:NAME\" of systemd's"
                    .to_owned())
            }
        }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> Result<PathBuf, String> {
        match self {
            TokenFile::Path(path) => Ok(path.clone()),
            TokenFile::Credential(name) => match std::env::var_os(CREDENTIALS_DIRECTORY) {
                Some(directory) => Ok(Path::new(&directory).join(name)),
                None => Err(format!(
                    "{self}: systemd has given no credentials (LoadCredential={name}:/a/file of the unit)"
                )),
            },
        }
    }

    /// The token in it.
    ///
    /// # Errors
    ///
    /// Why it cannot be used, and what to do about it.
    pub(crate) fn read(&self) -> Result<Secret, String> {
        let path = self.path()?;
        read(&path).map_err(|reason| format!("{}: {reason}", path.display()))
    }
}

impl fmt::Display for TokenFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TokenFile::Path(path) => path.display().fmt(f),
            TokenFile::Credential(name) => write!(f, "{CREDENTIAL}{name}"),
        }
    }
}

fn read(path: &Path) -> Result<Secret, String> {
    let look = |stat: &Stat| refuse_strangers(stat).map_err(io::Error::other);
    let bytes = read_unchanged(path, MOST_BYTES, look).map_err(|error| match error.kind() {
        io::ErrorKind::FileTooLarge => format!("{error}; it must hold a token and nothing else"),
        _ => error.to_string(),
    })?;
    token_in(Secret::new(bytes).bytes())
}

/// A file that others can read or write holds no secret.
fn refuse_strangers(stat: &Stat) -> Result<(), String> {
    let own = rustix::process::geteuid().as_raw();
    if stat.st_uid != 0 && stat.st_uid != own {
        return Err(format!(
            "the file belongs to user {}; it must belong to root or to the daemon's user: chown it",
            stat.st_uid
        ));
    }
    if stat.st_mode & 0o006 != 0 {
        return Err("every user can read or write the file; run chmod o-rw on it".to_owned());
    }
    if stat.st_mode & 0o020 != 0 {
        return Err("its group can write the file; run chmod g-w on it".to_owned());
    }
    Ok(())
}

fn token_in(bytes: &[u8]) -> Result<Secret, String> {
    let token = bytes.trim_ascii();
    if token.is_empty() {
        return Err("the file is empty; write a token into it".to_owned());
    }
    // A header cannot carry anything else, so nobody could show it.
    if !token.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ') {
        return Err(
            "the token has more than one line, or a character that a request cannot show; use letters, \
             digits and -._~+/="
                .to_owned(),
        );
    }
    Ok(Secret::new(token.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt, chown};

    #[test]
    fn files_that_others_can_use_are_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("token");
        let error = || read(&path).expect_err("it is refused");
        assert!(error().contains("No such file"));
        std::fs::write(&path, "secret\n").expect("a file");
        let mode = |mode| {
            std::fs::set_permissions(&path, Permissions::from_mode(mode)).expect("chmod");
        };
        for (of_others, remedy) in
            [(0o644, "chmod o-rw"), (0o602, "chmod o-rw"), (0o660, "chmod g-w")]
        {
            mode(of_others);
            assert!(error().contains(remedy), "{of_others:o}");
        }
        mode(0o640);
        assert!(read(&path).expect("a token").is(b"secret"));
        // root alone can give a file away.
        if chown(&path, Some(12345), None).is_ok() {
            assert!(error().contains("belongs to user 12345"));
            chown(&path, Some(0), None).expect("chown");
        }
        std::fs::write(&path, "x".repeat(MOST_BYTES as usize)).expect("a file");
        assert!(read(&path).is_ok());
        std::fs::write(&path, "x".repeat(MOST_BYTES as usize + 1)).expect("a file");
        assert!(error().contains("larger than 4096 bytes"));
        for unusable in [" \n", "", "two\nlines", "\u{fc}", "a\0b"] {
            std::fs::write(&path, unusable).expect("a file");
            assert!(read(&path).is_err(), "{unusable:?}");
        }
        assert!(read(directory.path()).is_err() && read(Path::new("/dev/zero")).is_err());
    }

    #[test]
    fn files_as_they_are_written() {
        for text in ["/run/token", "credential:token"] {
            assert_eq!(TokenFile::parse(text).map(|file| file.to_string()).as_deref(), Ok(text));
        }
        for text in ["token", "", "credential:", "credential:..", "credential:a/b"] {
            assert!(TokenFile::parse(text).is_err(), "{text}");
        }
        // A token instead of a path is not shown.
        assert!(!TokenFile::parse("marker").expect_err("no path").contains("marker"));
    }
}
