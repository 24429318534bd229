//! Outputs: what receives snapshots on an interval and sends them somewhere.

use crate::settings::{Mistakes, SettingInfo, Settings, Table};
use crate::snapshot::Snapshot;
use std::any::Any;
use std::fmt;
use std::io;

/// Something that snapshots are sent to: a terminal, a file, a remote store.
///
/// It runs on a thread of its own and may block there; while it does, it misses intervals and holds up
/// nothing else.
pub trait Output: Send + Sized + 'static {
    /// The one name: `[outputs.NAME]` table and `output` label.
    const NAME: &'static str;

    /// One sentence for listings and the manual.
    const SUMMARY: &'static str;

    /// Whether only one instance may be open at a time (a terminal, a queue file): a changed one
    /// is then closed before its successor opens.
    const EXCLUSIVE: bool = false;

    /// Its settings: a `Settings` made by `settings!`, or `()`.
    type Settings: Settings;

    /// Makes it from decoded settings.
    ///
    /// # Errors
    ///
    /// What keeps it from working, as a sentence.
    fn open(settings: Self::Settings) -> Result<Self, OutputError>;

    /// Sends one snapshot.
    ///
    /// # Errors
    ///
    /// What kept this snapshot from being sent; the next one is tried all the same.
    fn send(&mut self, snapshot: &Snapshot) -> Result<(), OutputError>;
}

/// Why an output could not open or send.
#[derive(Debug)]
pub enum OutputError {
    /// The system refused.
    Io(io::Error),
    /// A setting is wrong beside another one.
    Setting {
        /// The key in the output's table.
        key: &'static str,
        /// What is wrong and how to put it right.
        message: Box<str>,
    },
    /// The receiver has gone for good (a closed pipe): the output ends.
    Closed,
}

impl From<io::Error> for OutputError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => OutputError::Closed,
            _ => OutputError::Io(error),
        }
    }
}

impl fmt::Display for OutputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OutputError::Io(error) => error.fmt(f),
            OutputError::Setting { key, message } => write!(f, "{key}: {message}"),
            OutputError::Closed => f.write_str("the receiver has gone"),
        }
    }
}

impl std::error::Error for OutputError {}

/// An output that is open, its type erased.
pub trait RunningOutput: Send {
    /// See [`Output::send`].
    ///
    /// # Errors
    ///
    /// As there.
    fn send(&mut self, snapshot: &Snapshot) -> Result<(), OutputError>;
}

impl<O: Output> RunningOutput for O {
    fn send(&mut self, snapshot: &Snapshot) -> Result<(), OutputError> {
        Output::send(self, snapshot)
    }
}

/// Decoded settings of an output, not open.
pub trait PreparedOutput: Send + Sync {
    /// Whether another one decoded to the same settings.
    fn same(&self, other: &dyn PreparedOutput) -> bool;

    /// Opens the output.
    ///
    /// # Errors
    ///
    /// See [`Output::open`].
    fn open(&self) -> Result<Box<dyn RunningOutput>, OutputError>;

    /// For `same`.
    fn as_any(&self) -> &dyn Any;
}

struct PreparedSettings<O: Output>(O::Settings);

impl<O: Output> PreparedOutput for PreparedSettings<O> {
    fn same(&self, other: &dyn PreparedOutput) -> bool {
        other.as_any().downcast_ref::<Self>().is_some_and(|other| self.0 == other.0)
    }

    fn open(&self) -> Result<Box<dyn RunningOutput>, OutputError> {
        Ok(Box::new(O::open(self.0.clone())?))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// Everything that is known of an output before it runs.
pub struct OutputDescriptor {
    /// See [`Output::NAME`].
    pub name: &'static str,
    /// See [`Output::SUMMARY`].
    pub summary: &'static str,
    /// See [`Output::EXCLUSIVE`].
    pub exclusive: bool,
    /// Its own settings; those that every output has are not among them.
    pub settings: &'static [SettingInfo],
    /// Decodes a table of settings, recording every mistake.
    pub prepare: fn(&Table, &mut Mistakes) -> Option<Box<dyn PreparedOutput>>,
}

impl OutputDescriptor {
    /// The descriptor of an output type.
    pub const fn of<O: Output>() -> Self {
        OutputDescriptor {
            name: O::NAME,
            summary: O::SUMMARY,
            exclusive: O::EXCLUSIVE,
            settings: <O::Settings as Settings>::FIELDS,
            prepare: |table, mistakes| {
                let settings = O::Settings::decode(table, mistakes)?;
                Some(Box::new(PreparedSettings::<O>(settings)))
            },
        }
    }
}

inventory::collect!(OutputDescriptor);

/// Registers an output: `register_output!(Console);`.
#[macro_export]
macro_rules! register_output {
    ($output:ty) => {
        const _: () = {
            use $crate::inventory;
            $crate::inventory::submit! { $crate::output::OutputDescriptor::of::<$output>() }
        };
    };
}

/// Every registered output, by name.
///
/// # Errors
///
/// The name that two outputs share.
pub fn outputs() -> Result<Vec<&'static OutputDescriptor>, String> {
    let mut all: Vec<&'static OutputDescriptor> = inventory::iter::<OutputDescriptor>().collect();
    all.sort_by_key(|descriptor| descriptor.name);
    match all.windows(2).find(|pair| pair[0].name == pair[1].name) {
        Some(pair) => Err(format!("two outputs are registered under the name {}", pair[0].name)),
        None => Ok(all),
    }
}
