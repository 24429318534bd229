//! Reading what is not kept.

use super::Host;
use super::extent::Extent;
use super::kept::{fill, first_size};
use super::opened::Opened;
use crate::error::{Error, Result};
use std::io;

impl Host {
    /// Reads a whole file that is not kept, into a buffer that is used again.
    ///
    /// # Errors
    ///
    /// [`Error::Absent`] and [`Error::Unreadable`].
    pub fn read<'b>(&self, path: &str, buffer: &'b mut Vec<u8>) -> Result<&'b [u8]> {
        self.try_read(path, buffer).map_err(|error| Error::from_io(path, error))
    }

    /// As [`Host::read`], with the system's own error: for a file whose absence or refusal is
    /// usual, because no allocation is made then.
    ///
    /// # Errors
    ///
    /// What open(2) and pread(2) say.
    pub fn try_read<'b>(&self, path: &str, buffer: &'b mut Vec<u8>) -> io::Result<&'b [u8]> {
        buffer.clear();
        let handle = self.open(path.as_bytes(), Opened::File)?;
        buffer.reserve(first_size(path));
        fill(self, &handle, path.as_bytes(), Extent::Records, buffer)?;
        Ok(buffer)
    }
}
