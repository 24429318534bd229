//! Sources that a host may lack for long.

use crate::error::is_absence;
use crate::host::KeptFile;
use std::io;

/// A file that many hosts lack, and that is not looked for at every collection once it was absent.
///
/// Each read says under which circumstances it looks: a number that changes when the file may have
/// come, such as how often the CPUs on line have changed. An absent file is not looked for again
/// while the number is the same. A file that cannot come while the collector is open is read with a
/// constant.
///
/// A file that may come at any time is a plain [`KeptFile`] with [`KeptFile::optional`], which looks
/// at every read.
#[derive(Debug)]
pub struct OptionalFile {
    file: KeptFile,
    /// The circumstances under which it was absent.
    absent_under: Option<u64>,
}

impl OptionalFile {
    /// Over a file; nothing is opened before the first read.
    pub fn new(file: KeptFile) -> Self {
        OptionalFile { file, absent_under: None }
    }

    /// The content as it is now, or `None` if the file is absent. No allocation is made for either.
    ///
    /// # Errors
    ///
    /// What open(2) and pread(2) say, if it is not that the file is absent.
    pub fn read(&mut self, circumstances: u64) -> io::Result<Option<&[u8]>> {
        if self.absent_under == Some(circumstances) {
            return Ok(None);
        }
        self.absent_under = None;
        match self.file.try_read() {
            Ok(text) => Ok(Some(text)),
            Err(error) if is_absence(&error) => {
                self.absent_under = Some(circumstances);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::MemoryHost;

    #[test]
    fn an_absent_file_is_looked_for_when_the_circumstances_change() {
        let memory = MemoryHost::new();
        let mut file = OptionalFile::new(memory.host().keep_whole("sys/thing"));
        assert_eq!(file.read(1).expect("it is absent"), None);
        memory.write("sys/thing", "1\n");
        assert_eq!(file.read(1).expect("it is not looked for"), None);
        assert_eq!(file.read(2).expect("it has come"), Some(&b"1\n"[..]));
        memory.write("sys/thing", "2\n");
        assert_eq!(file.read(2).expect("it is read each time"), Some(&b"2\n"[..]));
        memory.fail("sys/thing", 5);
        assert!(file.read(2).is_err(), "a fault is not an absence");
        memory.remove("sys/thing");
        assert_eq!(file.read(2).expect("it has gone"), None);
    }
}
