//! Who may connect to a unix socket: mode, owner and group of its file.

use crate::plan::{Account, SocketAccess};
use crate::regular::read_text;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd};
use rustix::fs::{AtFlags, Gid, Mode, Uid};
use rustix::io::Errno;
use std::io;
use std::path::Path;

/// Gives the file that a descriptor names (`O_PATH`) its owner, group and mode, in this order: who is let
/// in by the mode is whom the owner and group name.
///
/// # Errors
///
/// Why not, and what to do about it.
pub(super) fn give(file: BorrowedFd<'_>, access: &SocketAccess) -> Result<(), String> {
    let owner = access.owner.as_ref().map(|owner| number_of(owner, USERS)).transpose()?;
    let group = access.group.as_ref().map(|group| number_of(group, GROUPS)).transpose()?;
    if owner.is_some() || group.is_some() {
        let (user, group) = (owner.map(Uid::from_raw), group.map(Gid::from_raw));
        rustix::fs::chownat(file, "", user, group, AtFlags::EMPTY_PATH).map_err(|error| {
            let reason = io::Error::from(error);
            match error {
                Errno::PERM => format!(
                    "the daemon may not give its socket to {}: it can give it to a group of its own \
                     (SupplementaryGroups= of the systemd unit), and to others with CAP_CHOWN",
                    named(access)
                ),
                _ => format!("the socket cannot be given to {}: {reason}", named(access)),
            }
        })?;
    }
    // Through the descriptor: a user who may write the directory may put a link in the file's place.
    let path = format!("/proc/self/fd/{}", file.as_fd().as_raw_fd());
    rustix::fs::chmod(path, Mode::from_raw_mode(access.mode)).map_err(|error| {
        format!("the socket cannot have mode {:04o}: {}", access.mode, io::Error::from(error))
    })
}

/// Where names have their numbers.
#[derive(Clone, Copy)]
struct Directory {
    file: &'static str,
    noun: &'static str,
}

const USERS: Directory = Directory { file: "/etc/passwd", noun: "user" };
const GROUPS: Directory = Directory { file: "/etc/group", noun: "group" };

fn named(access: &SocketAccess) -> String {
    let name = |account: &Account| match account {
        Account::Number(number) => number.to_string(),
        Account::Name(name) => name.clone(),
    };
    let owner = access.owner.as_ref().map(|owner| format!("user {}", name(owner)));
    let group = access.group.as_ref().map(|group| format!("group {}", name(group)));
    owner.into_iter().chain(group).collect::<Vec<_>>().join(" and ")
}

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
            "there is no {noun} {name} in {file}; write the number of one that is known elsewhere (id, getent)"
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
}
