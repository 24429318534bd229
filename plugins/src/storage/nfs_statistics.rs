//! The lines of `/proc/net/rpc/nfs` and `/proc/net/rpc/nfsd`, which are made alike (net/sunrpc/stats.c).

use vitald_core::error::Malformed;
use vitald_core::text::{Fields, lines};

/// The procedures of version 2 by their numbers (RFC 1094), as node_exporter names them.
pub(super) const PROCEDURES_2: [&str; 18] = [
    "Null", "GetAttr", "SetAttr", "Root", "Lookup", "ReadLink", "Read", "WrCache", "Write",
    "Create", "Remove", "Rename", "Link", "SymLink", "MkDir", "RmDir", "ReadDir", "FsStat",
];

/// The procedures of version 3 by their numbers (RFC 1813), as node_exporter names them.
pub(super) const PROCEDURES_3: [&str; 22] = [
    "Null",
    "GetAttr",
    "SetAttr",
    "Lookup",
    "Access",
    "ReadLink",
    "Read",
    "Write",
    "Create",
    "MkDir",
    "SymLink",
    "MkNod",
    "Remove",
    "RmDir",
    "Rename",
    "Link",
    "ReadDir",
    "ReadDirPlus",
    "FsStat",
    "FsInfo",
    "PathConf",
    "Commit",
];

/// Refuses a text without the line that there is always, which is not one of these files.
pub(super) fn expect_calls(text: &[u8]) -> Result<(), Malformed> {
    match find(text, b"rpc") {
        Some(_) => Ok(()),
        None => Err(Malformed::new(text.len(), "a line that begins with rpc")),
    }
}

/// Takes the numbers after the word of a line such as `net 70 70 69 45`.
///
/// They are 0 where the kernel has no such line: a version that it was built without has none. More numbers
/// than are asked for are left out.
pub(super) fn numbers<const N: usize>(text: &[u8], word: &[u8]) -> Result<[u64; N], Malformed> {
    let mut numbers = [0; N];
    let Some((offset, mut fields)) = find(text, word) else { return Ok(numbers) };
    for number in &mut numbers {
        *number = fields.u64().map_err(|malformed| malformed.moved_by(offset))?;
    }
    Ok(numbers)
}

/// Takes how often each procedure was called, of a line such as `proc4 2 2 10853`, whose first number says
/// how many others follow.
///
/// Procedures that the kernel does not know are 0; it must know the first `fewest`.
pub(super) fn calls<const N: usize>(
    text: &[u8],
    word: &[u8],
    fewest: u64,
) -> Result<[u64; N], Malformed> {
    let mut calls = [0; N];
    let Some((offset, mut fields)) = find(text, word) else { return Ok(calls) };
    let mut next = || fields.u64().map_err(|malformed| malformed.moved_by(offset));
    let count = next()?;
    if count < fewest {
        return Err(Malformed::new(offset, "more procedures"));
    }
    let known = usize::try_from(count).unwrap_or(usize::MAX);
    for call in calls.iter_mut().take(known) {
        *call = next()?;
    }
    Ok(calls)
}

/// The fields after the word that a line begins with, and where the line is.
fn find<'t>(text: &'t [u8], word: &[u8]) -> Option<(usize, Fields<'t>)> {
    let mut rest = lines(text);
    while let Some(line) = rest.next() {
        let mut fields = Fields::new(line);
        if fields.text() == Ok(word) {
            return Some((rest.offset(), fields));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] =
        b"net 1 2 3 4\nrpc 5 6\nproc2 3 1 2 3\nproc4 2 8 9\n\nproc5 4 1 2\nproc 1 7\n";

    #[test]
    fn another_file_is_refused() {
        assert_eq!(expect_calls(TEXT), Ok(()));
        vitald_core::testing::rejects(expect_calls, &["", "\n", "rpcx 1", "net 1 2 3 4", "x rpc"]);
    }

    #[test]
    fn numbers_are_those_after_the_whole_word() {
        assert_eq!(numbers(TEXT, b"net"), Ok([1, 2, 3, 4]));
        assert_eq!(numbers(TEXT, b"net"), Ok([1, 2]));
        assert_eq!(numbers(TEXT, b"ne"), Ok([0, 0]));
        assert_eq!(numbers::<1>(b"", b"net"), Ok([0]));
        assert_eq!(numbers::<3>(TEXT, b"rpc"), Err(Malformed::new(19, "a number")));
        assert_eq!(numbers::<1>(b"rpc x", b"rpc"), Err(Malformed::new(4, "a number")));
        assert_eq!(numbers(b"rpc 99999999999999999999", b"rpc"), Ok([u64::MAX]));
    }

    #[test]
    fn calls_that_the_kernel_does_not_know_are_none() {
        assert_eq!(calls(TEXT, b"proc2", 3), Ok([1, 2, 3]));
        assert_eq!(calls(TEXT, b"proc2", 3), Ok([1, 2]));
        assert_eq!(calls(TEXT, b"proc4", 2), Ok([8, 9, 0]));
        assert_eq!(calls(TEXT, b"proc3", 3), Ok([0, 0, 0]));
        assert_eq!(calls::<3>(TEXT, b"proc4", 3), Err(Malformed::new(34, "more procedures")));
        assert_eq!(calls::<4>(TEXT, b"proc5", 2), Err(Malformed::new(58, "a number")));
        assert_eq!(calls(b"proc4 18446744073709551615 1", b"proc4", 1), Ok([1]));
        assert!(calls::<1>(b"proc4", b"proc4", 0).is_err());
    }
}
