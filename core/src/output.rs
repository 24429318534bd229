//! Outputs: what receives snapshots on an interval and sends them somewhere.

use crate::host::Host;
use crate::settings::{Mistakes, SettingInfo, Settings, Table};
use crate::snapshot::Snapshot;
use std::any::Any;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

/// A type of output: something that snapshots are sent to, such as a terminal, a file or a remote
/// store. The configuration makes named instances of it.
///
/// An instance runs on a thread of its own and may block there; while it does, it misses intervals and
/// holds up nothing else.
pub trait Output: Send + Sized + 'static {
    /// The name of the type: `type` in `[outputs.NAME]`, which is NAME unless it is set.
    const NAME: &'static str;

    /// One sentence for listings and the manual.
    const SUMMARY: &'static str;

    /// Its settings: a `Settings` made by `settings!`, or `()`.
    type Settings: Settings;

    /// What only one instance may have open at a time, such as `terminal` or the path of a queue file.
    /// Two instances that name the same resource are a mistake in the configuration. An instance whose
    /// settings change is closed before its successor opens.
    fn resource(settings: &Self::Settings) -> Option<String> {
        let _ = settings;
        None
    }

    /// Makes an instance from decoded settings. It may block: a thread that hangs here costs a reload its
    /// success and holds up nothing that runs.
    ///
    /// # Errors
    ///
    /// What keeps it from working, as a sentence.
    fn open(settings: Self::Settings, context: &Context) -> Result<Self, OutputError>;

    /// Sends one snapshot. An output that needs values of it later copies them: a snapshot that is kept
    /// makes every later collection allocate.
    ///
    /// # Errors
    ///
    /// What kept this snapshot from being sent; the next one is tried all the same, except after
    /// [`OutputError::Closed`].
    fn send(&mut self, snapshot: &Snapshot) -> Result<(), OutputError>;

    /// Ends the instance, when the daemon ends or a reload changes or stops it: sends or stores what is
    /// left. After `by` it is not waited for, and at the end of the daemon it is cut.
    ///
    /// # Errors
    ///
    /// What was lost, for the log.
    fn close(self, by: Instant) -> Result<(), OutputError> {
        let _ = by;
        Ok(())
    }
}

/// What an instance gets when it opens.
#[derive(Clone)]
pub struct Context {
    name: Arc<str>,
    host: Host,
    state_directory: Option<PathBuf>,
    identity: Arc<OnceLock<Identity>>,
}

/// Which machine this is, for receivers that hear of many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The host name (uname(2), `nodename`).
    pub hostname: String,
    /// The machine id, 32 hexadecimal digits that stay for the life of an installation
    /// (machine-id(5)); none where the file is missing or empty, as in many containers.
    pub machine_id: Option<String>,
    /// The id of this boot, a UUID (`/proc/sys/kernel/random/boot_id`, random(4)).
    pub boot_id: Option<String>,
}

impl Context {
    /// For instances on a host; each gets its name by [`Context::named`]. The state directory is where
    /// files may be kept over restarts, if there is one.
    pub fn new(host: Host, state_directory: Option<PathBuf>) -> Self {
        Context { name: Arc::from(""), host, state_directory, identity: Arc::default() }
    }

    /// For the instance of this name, with the same host.
    pub fn named(&self, name: &Arc<str>) -> Self {
        Context { name: Arc::clone(name), ..self.clone() }
    }

    /// The name of the instance: NAME of `[outputs.NAME]`, and its `output` label.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where the instance may keep files over restarts: systemd's `$STATE_DIRECTORY`
    /// (systemd.exec(5)). None if the service has none; then nothing may be written.
    pub fn state_directory(&self) -> Option<&Path> {
        self.state_directory.as_deref()
    }

    /// Which machine this is. The first call reads files and may block.
    pub fn identity(&self) -> &Identity {
        self.identity.get_or_init(|| {
            let mut uname = crate::host::Uname::default();
            self.host.uname(&mut uname);
            let line = |path: &str| {
                let mut buffer = Vec::new();
                let text = self.host.read(path, &mut buffer).ok()?.trim_ascii();
                let text = String::from_utf8_lossy(text).into_owned();
                (!text.is_empty()).then_some(text)
            };
            Identity {
                hostname: uname.nodename,
                // While it is not set up, the file says so instead of holding an id.
                machine_id: line("rootfs/etc/machine-id").filter(|id| id != "uninitialized"),
                boot_id: line("proc/sys/kernel/random/boot_id"),
            }
        })
    }
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

    /// See [`Output::close`].
    ///
    /// # Errors
    ///
    /// As there.
    fn close(self: Box<Self>, by: Instant) -> Result<(), OutputError>;
}

impl<O: Output> RunningOutput for O {
    fn send(&mut self, snapshot: &Snapshot) -> Result<(), OutputError> {
        Output::send(self, snapshot)
    }

    fn close(self: Box<Self>, by: Instant) -> Result<(), OutputError> {
        Output::close(*self, by)
    }
}

/// Decoded settings of an output, not open.
pub trait PreparedOutput: Send + Sync {
    /// Whether another one is of the same type and decoded to the same settings.
    fn same(&self, other: &dyn PreparedOutput) -> bool;

    /// See [`Output::resource`].
    fn resource(&self) -> Option<String>;

    /// Opens the output.
    ///
    /// # Errors
    ///
    /// See [`Output::open`].
    fn open(&self, context: &Context) -> Result<Box<dyn RunningOutput>, OutputError>;

    /// For `same`.
    fn as_any(&self) -> &dyn Any;
}

struct PreparedSettings<O: Output>(O::Settings);

impl<O: Output> PreparedOutput for PreparedSettings<O> {
    fn same(&self, other: &dyn PreparedOutput) -> bool {
        other.as_any().downcast_ref::<Self>().is_some_and(|other| self.0 == other.0)
    }

    fn resource(&self) -> Option<String> {
        O::resource(&self.0)
    }

    fn open(&self, context: &Context) -> Result<Box<dyn RunningOutput>, OutputError> {
        Ok(Box::new(O::open(self.0.clone(), context)?))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// Everything that is known of a type of output before an instance runs.
pub struct OutputDescriptor {
    /// See [`Output::NAME`].
    pub name: &'static str,
    /// See [`Output::SUMMARY`].
    pub summary: &'static str,
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
