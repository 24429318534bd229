//! Ordinary files that others write, of which any may be something else.

use std::io;

use super::extent::Extent;
use super::kept::first_size;
use super::opened::Opened;
use super::{Handle, Host, system};
use crate::errno::{EFBIG, EINVAL};

impl Host {
    /// Reads a regular file of at most `most` bytes, into a buffer that is used again. Nothing else
    /// is read: what is named like a file may be a FIFO, which has no end, or a device, which
    /// reading may change. Opening it does not wait, either.
    ///
    /// # Errors
    ///
    /// What open(2) and pread(2) say; `EINVAL` for what is not a regular file, and `EFBIG` for a
    /// larger one, of which nothing is read.
    pub fn try_read_regular<'b>(
        &self,
        path: &str,
        most: usize,
        buffer: &'b mut Vec<u8>,
    ) -> io::Result<&'b [u8]> {
        buffer.clear();
        let handle = self.open(path.as_bytes(), Opened::File)?;
        #[allow(irrefutable_let_patterns, reason = "without the feature testing there is one kind")]
        if let Handle::Real(descriptor) = &handle {
            let size = system::regular_size(descriptor)?;
            let size = size.ok_or_else(|| io::Error::from_raw_os_error(EINVAL))?;
            if size > most as u64 {
                return Err(io::Error::from_raw_os_error(EFBIG));
            }
            buffer.reserve((size as usize).saturating_add(1));
        }
        loop {
            if buffer.len() == buffer.capacity() {
                let more = buffer.len().max(first_size(path)).min(most.saturating_add(1));
                buffer.reserve(more);
            }
            let read = self.read_at(&handle, Extent::Records, buffer, buffer.len() as u64)?;
            if buffer.len() > most {
                buffer.clear();
                return Err(io::Error::from_raw_os_error(EFBIG));
            }
            if read == 0 {
                return Ok(buffer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::{MemoryHost, Roots};

    #[test]
    fn files_up_to_a_size() {
        let memory = MemoryHost::from_files(&[("file:/a", "12345")]);
        let mut buffer = Vec::new();
        assert_eq!(memory.host().try_read_regular("file:/a", 5, &mut buffer).unwrap(), b"12345");
        let error = memory.host().try_read_regular("file:/a", 4, &mut buffer).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(EFBIG));
        assert!(buffer.is_empty());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn nothing_but_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| format!("file:{}/{name}", folder.path().display());
        std::fs::write(folder.path().join("file"), "12345").unwrap();
        std::os::unix::net::UnixListener::bind(folder.path().join("socket")).unwrap();
        std::os::unix::fs::symlink("/dev/zero", folder.path().join("device")).unwrap();
        std::os::unix::fs::symlink("file", folder.path().join("link")).unwrap();
        std::fs::create_dir(folder.path().join("directory")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            folder.path().join("fifo"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .unwrap();
        let host = Host::new(Roots::default());
        let mut buffer = Vec::new();
        for name in ["file", "link"] {
            assert_eq!(host.try_read_regular(&path(name), 9, &mut buffer).unwrap(), b"12345");
        }
        for name in ["fifo", "socket", "device", "directory", "nothing"] {
            assert!(host.try_read_regular(&path(name), 9, &mut buffer).is_err(), "{name}");
            assert!(buffer.is_empty());
        }
        let error = host.try_read_regular(&path("file"), 4, &mut buffer).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(EFBIG));
    }
}
