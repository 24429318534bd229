//! Who may connect to a unix socket: mode, owner and group of its file.

use crate::plan::{Account, SocketAccess};
use crate::regular::read_text;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd};
use rustix::fs::{AtFlags, Gid, Mode, Uid};
use rustix::io::Errno;
use rustix::process::{getegid, geteuid};
use std::io;
use std::path::Path;

/// Who may connect, with the numbers of those who are named: giving it looks nothing up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Access {
    written: SocketAccess,
    owner: Option<u32>,
    group: Option<u32>,
}

impl Access {
    /// Looks up who is named. It reads files.
    ///
    /// # Errors
    ///
    /// There is no such user or group, and what to do about it.
    pub(super) fn of(written: &SocketAccess) -> Result<Self, String> {
        let owner = written.owner.as_ref().map(|owner| number_of(owner, USERS)).transpose()?;
        let group = written.group.as_ref().map(|group| number_of(group, GROUPS)).transpose()?;
        Ok(Access { written: written.clone(), owner, group })
    }

    pub(super) fn mode(&self) -> u32 {
        self.written.mode
    }

    /// The settings by which it differs from another one.
    pub(super) fn differences(&self, other: &Access) -> impl Iterator<Item = &'static str> + use<> {
        let all = [
            ("mode", self.mode() != other.mode()),
            ("owner", self.owner != other.owner),
            ("group", self.group != other.group),
        ];
        all.into_iter().filter_map(|(setting, differs)| differs.then_some(setting))
    }

    /// The same for a file that had `before`: what is not named any more is the daemon's again.
    pub(super) fn after(&self, before: &Access) -> Access {
        let owner = self.owner.or(before.owner.map(|_| geteuid().as_raw()));
        let group = self.group.or(before.group.map(|_| getegid().as_raw()));
        Access { owner, group, ..self.clone() }
    }

    /// Gives the file that a descriptor names (`O_PATH`) its owner, group and mode, in this order: who is let
    /// in by the mode is whom the owner and group name.
    ///
    /// # Errors
    ///
    /// Why not, and what to do about it.
    pub(super) fn give(&self, file: BorrowedFd<'_>) -> Result<(), String> {
        if self.owner.is_some() || self.group.is_some() {
            let (user, group) = (self.owner.map(Uid::from_raw), self.group.map(Gid::from_raw));
            rustix::fs::chownat(file, "", user, group, AtFlags::EMPTY_PATH).map_err(|error| {
                let reason = io::Error::from(error);
                match error {
                    Errno::PERM => format!(
                        "the daemon may not give its socket to {}: it can give it to a group of its own \
                         (SupplementaryGroups= of the systemd unit), and to others with CAP_CHOWN",
                        self.named()
                    ),
                    _ => format!("the socket cannot be given to {}: {reason}", self.named()),
                }
            })?;
        }
        // Through the descriptor: a user who may write the directory may put a link in the file's place.
        let path = format!("/proc/self/fd/{}", file.as_fd().as_raw_fd());
        rustix::fs::chmod(path, Mode::from_raw_mode(self.mode())).map_err(|error| {
            format!("the socket cannot have mode {:04o}: {}", self.mode(), io::Error::from(error))
        })
    }

    /// To whom the file is given, by name where one is written.
    fn named(&self) -> String {
        let named = |noun, written: Option<&Account>, number: Option<u32>| match written {
            Some(Account::Name(name)) => Some(format!("{noun} {name}")),
            _ => number.map(|number| format!("{noun} {number}")),
        };
        let owner = named("user", self.written.owner.as_ref(), self.owner);
        let group = named("group", self.written.group.as_ref(), self.group);
        owner.into_iter().chain(group).collect::<Vec<_>>().join(" and ")
    }
}

/// Where names have their numbers.
#[derive(Clone, Copy)]
struct Directory {
    file: &'static str,
    noun: &'static str,
}

const USERS: Directory = Directory { file: "/etc/passwd", noun: "user" };
const GROUPS: Directory = Directory { file: "/etc/group", noun: "group" };

fn number_of(account: &Account, directory: Directory) -> Result<u32, String> {
    let name = match account {
        Account::Number(number) => return Ok(*number),
        Account::Name(name) => name,
    };
    let Directory { file, noun } = directory;
    let text = read_text(Path::new(file))
        .map_err(|error| format!("{file}, which has the number of {noun} {name}: {error}"))?;
    number_in(&text, name).ok_or_else(|| {
        format!(
            "there is no {noun} {name} in {file}; make it ({noun}add), or write the number of one that is known \
             elsewhere (id, getent)"
        )
    })
}

/// The third field of the line that begins with a name (passwd(5), group(5)).
fn number_in(text: &str, name: &str) -> Option<u32> {
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_numbers() {
        let text = "root:x:0:0:::\nweb:x:1000:33::/:\n:x:7:\nodd:x:no:\nshort:x\n";
        assert_eq!(number_in(text, "web"), Some(1000));
        for name in ["we", "webx", "odd", "short", "x"] {
            assert_eq!(number_in(text, name), None, "{name}");
        }
        let nobody = Account::Name("no such group, surely".to_owned());
        let error = number_of(&nobody, GROUPS).expect_err("there is none");
        assert!(error.contains("/etc/group"), "{error}");
        assert_eq!(number_of(&Account::Number(7), USERS), Ok(7));
    }

    #[test]
    fn what_is_not_named_any_more_is_the_daemons_again() {
        let access = |mode, group: Option<u32>| {
            let group = group.map(Account::Number);
            Access::of(&SocketAccess { mode, owner: None, group }).expect("numbers")
        };
        let (named, private) = (access(0o660, Some(7)), access(0o600, None));
        assert!(private.differences(&named).eq(["mode", "group"]));
        assert_eq!(private.after(&named).group, Some(getegid().as_raw()));
        assert_eq!((private.after(&private).group, named.after(&private).group), (None, Some(7)));
    }
}
