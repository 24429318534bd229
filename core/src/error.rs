//! What can go wrong while a collector reads its source.

use crate::errno::InWords;
use crate::source_name;
use std::fmt;
use std::io;
use std::sync::Arc;

/// Why a collection failed.
///
/// Three meanings, because the engine does three different things: an absent source is a state of
/// the host and is looked for again at every collection, an unreadable one is a fault of the host
/// or of the daemon's rights, a malformed one is a fault of the kernel text or of the parser.
/// No variant carries the text itself: it may hold secrets, and path and offset are enough.
#[derive(Debug)]
pub enum Error {
    /// This host has no such source: module not loaded, no such device, feature switched off.
    Absent {
        /// The source, as the collector named it.
        path: Arc<str>,
    },
    /// The source is there and could not be read.
    Unreadable {
        /// The source, as the collector named it.
        path: Arc<str>,
        /// What the system call said.
        source: io::Error,
    },
    /// The source was read and is not what the parser expects.
    Malformed {
        /// The source, as the collector named it.
        path: Arc<str>,
        /// Offset of the offending byte from the start of the text.
        at: usize,
        /// What the parser wanted to find there.
        expected: &'static str,
    },
    /// A setting that decoded is wrong beside another one; raised by `Collector::check`.
    Setting {
        /// The key in the collector's table.
        key: &'static str,
        /// What is wrong and how to put it right.
        message: Box<str>,
    },
}

/// The result of what a collector does.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An absent source.
    pub fn absent(path: impl AsRef<str>) -> Self {
        Error::Absent { path: source_name::of(path.as_ref()) }
    }

    /// Sorts what the system said into absent and unreadable.
    ///
    /// ENOENT, ENOTDIR, ENODEV, ENXIO and ESRCH say that the thing is not there (the last three are what sysfs
    /// and procfs answer for a device or process that has gone).
    pub fn from_io(path: &str, source: io::Error) -> Self {
        Self::of_source(source_name::of(path), source)
    }

    /// As [`Error::from_io`], without a copy of the name: a source that stays absent costs no allocation.
    pub(crate) fn of_source(path: Arc<str>, source: io::Error) -> Self {
        if is_absence(&source) {
            Error::Absent { path }
        } else {
            Error::Unreadable { path, source }
        }
    }

    /// A setting that contradicts another one.
    pub fn setting(key: &'static str, message: impl Into<Box<str>>) -> Self {
        Error::Setting { key, message: message.into() }
    }
}

/// ENOENT, ENXIO, ENODEV, ENOTDIR and ESRCH, whose numbers are the same on every Linux architecture.
pub(crate) fn is_absence(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(2 | 3 | 6 | 19 | 20))
        || error.kind() == io::ErrorKind::NotFound
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Absent { path } => write!(f, "{path}: not on this host"),
            Error::Unreadable { path, source } => write!(f, "{path}: {}", InWords(source)),
            Error::Malformed { path, at, expected } => {
                write!(f, "{path}: byte {at}: expected {expected}")
            }
            Error::Setting { key, message } => write!(f, "{key}: {message}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Unreadable { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// What a parser says of text it cannot take: it knows neither path nor file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// Offset of the offending byte from the start of the text given to the parser.
    pub at: usize,
    /// What the parser wanted to find there.
    pub expected: &'static str,
}

impl Malformed {
    /// What a parser says.
    pub const fn new(at: usize, expected: &'static str) -> Self {
        Malformed { at, expected }
    }

    /// What the parser of a part says of the whole text, in which the part begins at `offset`.
    #[must_use]
    pub const fn moved_by(self, offset: usize) -> Self {
        Malformed { at: self.at.saturating_add(offset), expected: self.expected }
    }

    /// Adds the source's name.
    pub fn in_file(self, path: &str) -> Error {
        Error::Malformed { path: source_name::of(path), at: self.at, expected: self.expected }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "byte {}: expected {}", self.at, self.expected)
    }
}

impl std::error::Error for Malformed {}
