//! What a file system says of its space.

use std::fmt;
use std::io;

use super::version::Place;

/// The space of a file system, as statfs(2) gives it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Space {
    /// Bytes in a block (`f_bsize`), the unit of the next three.
    pub block_size: u64,
    /// All blocks (`f_blocks`).
    pub blocks: u64,
    /// Free blocks (`f_bfree`).
    pub blocks_free: u64,
    /// Free blocks that users without privileges may take (`f_bavail`).
    pub blocks_available: u64,
    /// All inodes (`f_files`); 0 where the file system has no fixed number.
    pub files: u64,
    /// Free inodes (`f_ffree`).
    pub files_free: u64,
    /// What kind of file system answered (`f_type`).
    pub kind: u64,
    /// How it is mounted (`ST_*` in `f_flags`), of the mount and of the file system together.
    pub flags: u64,
    /// Which file system answered (`f_fsid`); 0 of one that does not say.
    pub id: u64,
    /// What the path led to, where that was asked, too ([`StatfsQueue::ask_place`](super::StatfsQueue::ask_place)).
    pub place: Place,
}

/// Why a file system's space is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatfsError {
    /// It did not answer in time, now or in an earlier call that has not returned yet.
    Stuck,
    /// There was no time for it, its server does not answer, or too many threads hang already.
    NotAsked,
    /// statfs(2) failed with this `errno`.
    Failed(i32),
}

impl fmt::Display for StatfsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StatfsError::Stuck => f.write_str("the file system does not answer"),
            StatfsError::NotAsked => f.write_str("the file system was not asked"),
            StatfsError::Failed(errno) => io::Error::from_raw_os_error(*errno).fmt(f),
        }
    }
}

impl std::error::Error for StatfsError {}
