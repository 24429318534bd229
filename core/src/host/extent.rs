//! How a file ends.

/// When a read has got all there is to get.
///
/// A procfs file is mostly a `seq_file`, and `seq_read_iter` (fs/seq_file.c) gathers whole records
/// in a buffer of its own, of a page or more, and returns when the next record does not fit: a
/// short read says nothing of the end. Reading until 0 bytes come is always right and costs one
/// more system call.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// Many records of any length: only 0 bytes are the end.
    Records,
    /// Many records of at most half a page: had there been another one after a read of less than
    /// half a page, it would have fitted into the page, so there is none.
    ShortRecords,
    /// One record, or a regular file: a read that leaves room in the buffer has all of it.
    Whole,
}
