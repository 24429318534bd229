//! Collectors: the trait, the descriptor that everything else is derived from, and the registry.

use crate::batch::Batch;
use crate::chart::{self, Chart};
use crate::error::Result;
use crate::family::{FamilyInfo, FamilyPattern, Since};
use crate::host::Host;
use crate::settings::{Mistakes, SettingInfo, Settings, Table};
use std::any::Any;
use std::fmt;

/// One source of metrics.
///
/// A collector is one file: it declares its families and settings, names what it reads, and pushes
/// samples. It does not log, keep time, count its errors or know about HTTP.
pub trait Collector: Send + Sized + 'static {
    /// The one name: module, cargo feature, `[collectors.NAME]` table, `collector` label.
    const NAME: &'static str;

    /// One sentence for listings and the manual.
    const SUMMARY: &'static str;

    /// Whether it runs when the configuration does not say.
    const ENABLED: bool = true;

    /// Whether a read can block for long (a network file system, a bus): it then has a thread of
    /// its own.
    const MAY_BLOCK: bool = false;

    /// The setting that decides whether it may block, for a collector with a
    /// [`may_block`](Collector::may_block) of its own; the manual names it.
    const MAY_BLOCK_WITH: Option<&'static str> = None;

    /// Where the devices are, for a collector that may block because it asks devices: until
    /// there first is one it needs no thread and is not run. An empty directory is until then a source
    /// with nothing to show.
    const DEVICES: Option<Devices> = None;

    /// Whether its thread has a descriptor table of its own, so that no listener's port stays taken
    /// when the thread hangs in the kernel and outlives SIGKILL. Only for a collector that may
    /// block, and only if nothing it uses passes descriptors between threads.
    const OWN_DESCRIPTORS: bool = false;

    /// Whether it reports on the daemon and not on the host: it runs in every collection, whatever
    /// is selected, and is not among the collectors that users see.
    const INTERNAL: bool = false;

    /// The families it may push.
    const FAMILIES: &'static [FamilyInfo] = &[];

    /// The families it may name at run time.
    const PATTERNS: &'static [FamilyPattern] = &[];

    /// What people look at first of it, where that is not all its families one after the other.
    const CHARTS: &'static [Chart] = &[];

    /// Since when its counters count, those that it names at run time included; a family's
    /// declaration may say otherwise.
    const SINCE: Since = Since::Unknown;

    /// What it reads, for the manual: `proc/diskstats`, `sys/class/net/*/mtu`, `netlink route`.
    const SOURCES: &'static [&'static str] = &[];

    /// The Linux capabilities it needs, as capabilities(7) names them; most need none.
    const CAPABILITIES: &'static [&'static str] = &[];

    /// What it lacks without them, for the manual: `the serial numbers`. Empty where it has nothing then.
    const LACKS_WITHOUT: &'static str = "";

    /// Its settings: a `Settings` made by `settings!`, or `()`.
    type Settings: Settings;

    /// Looks for settings that contradict each other; each by itself has been decoded. A configuration
    /// is checked far more often than it is used, so nothing is opened for it.
    ///
    /// A [`Filter`](crate::filter::Filter) needs no check: its keys are checked when they are decoded.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`](crate::error::Error::Setting) with the key at which the mistake is reported.
    fn check(_settings: &Self::Settings) -> Result<()> {
        Ok(())
    }

    /// Makes it from settings that have been checked. Touches no source and cannot block.
    ///
    /// # Errors
    ///
    /// Whatever keeps it from running; hardly any collector has such a thing.
    fn open(settings: Self::Settings, host: &Host) -> Result<Self>;

    /// Whether it may block with these settings; for a collector that only sometimes does.
    fn may_block(_settings: &Self::Settings) -> bool {
        Self::MAY_BLOCK
    }

    /// Reads the sources and pushes samples. Runs at every collection.
    ///
    /// # Errors
    ///
    /// What was pushed before an error is kept and shown; the run counts as failed.
    fn collect(&mut self, batch: &mut Batch) -> Result<()>;
}

/// The directory of sysfs that has an entry for each device which a collector asks. Listing it cannot
/// hang, as reading what a device says can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Devices {
    /// Its logical path, such as `sys/class/hwmon`.
    pub directory: &'static str,
    /// What the collector needs to have a source. With that and no device it has nothing to show.
    pub needs: Need,
}

/// What a collector needs to have a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// It is never without.
    Nothing,
    /// The directory of its devices.
    Directory,
    /// A device.
    Device,
}

impl Devices {
    /// Of a collector without a source where there is no such directory.
    pub const fn of(directory: &'static str) -> Self {
        Devices { directory, needs: Need::Directory }
    }

    /// Of a collector with nothing to show where there is no such directory.
    pub const fn optional(directory: &'static str) -> Self {
        Devices { directory, needs: Need::Nothing }
    }

    /// Of a collector without a source where there is no device.
    pub const fn any_of(directory: &'static str) -> Self {
        Devices { directory, needs: Need::Device }
    }
}

/// A collector that is open, its type erased.
pub trait Running: Send {
    /// See [`Collector::collect`].
    ///
    /// # Errors
    ///
    /// As there.
    fn collect(&mut self, batch: &mut Batch) -> Result<()>;
}

impl<C: Collector> Running for C {
    fn collect(&mut self, batch: &mut Batch) -> Result<()> {
        Collector::collect(self, batch)
    }
}

/// Decoded settings, not open: can be compared, and opened any number of times.
pub trait Prepared: Send + Sync {
    /// Whether another one decoded to the same settings.
    fn same(&self, other: &dyn Prepared) -> bool;

    /// See [`Collector::check`].
    ///
    /// # Errors
    ///
    /// As there.
    fn check(&self) -> Result<()>;

    /// Opens the collector.
    ///
    /// # Errors
    ///
    /// See [`Collector::check`] and [`Collector::open`].
    fn open(&self, host: &Host) -> Result<Box<dyn Running>>;

    /// Whether the collector may block with these settings.
    fn may_block(&self) -> bool;

    /// For `same`.
    fn as_any(&self) -> &dyn Any;
}

struct PreparedSettings<C: Collector>(C::Settings);

impl<C: Collector> Prepared for PreparedSettings<C> {
    fn same(&self, other: &dyn Prepared) -> bool {
        other.as_any().downcast_ref::<Self>().is_some_and(|other| self.0 == other.0)
    }

    fn check(&self) -> Result<()> {
        C::check(&self.0)
    }

    fn open(&self, host: &Host) -> Result<Box<dyn Running>> {
        C::check(&self.0)?;
        Ok(Box::new(C::open(self.0.clone(), host)?))
    }

    fn may_block(&self) -> bool {
        C::may_block(&self.0)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// Everything that is known of a collector before it runs; plain data and one function.
pub struct Descriptor {
    /// See [`Collector::NAME`].
    pub name: &'static str,
    /// See [`Collector::SUMMARY`].
    pub summary: &'static str,
    /// See [`Collector::ENABLED`].
    pub enabled: bool,
    /// See [`Collector::MAY_BLOCK`].
    pub may_block: bool,
    /// See [`Collector::MAY_BLOCK_WITH`].
    pub may_block_with: Option<&'static str>,
    /// See [`Collector::DEVICES`].
    pub devices: Option<Devices>,
    /// See [`Collector::OWN_DESCRIPTORS`].
    pub own_descriptors: bool,
    /// See [`Collector::INTERNAL`].
    pub internal: bool,
    /// See [`Collector::FAMILIES`].
    pub families: &'static [FamilyInfo],
    /// See [`Collector::PATTERNS`].
    pub patterns: &'static [FamilyPattern],
    /// See [`Collector::CHARTS`].
    pub charts: &'static [Chart],
    /// See [`Collector::SINCE`].
    pub since: Since,
    /// See [`Collector::SOURCES`].
    pub sources: &'static [&'static str],
    /// See [`Collector::CAPABILITIES`].
    pub capabilities: &'static [&'static str],
    /// See [`Collector::LACKS_WITHOUT`].
    pub lacks_without: &'static str,
    /// Its own settings; those that every collector has are not among them.
    pub settings: &'static [SettingInfo],
    /// Decodes a table of settings, recording every mistake.
    pub prepare: fn(&Table, &mut Mistakes) -> Option<Box<dyn Prepared>>,
}

impl Descriptor {
    /// Whether it passes on names that others chose, such as those in text files. Where such a name is
    /// another collector's, the other collector's samples are shown.
    pub fn is_foreign(&self) -> bool {
        self.patterns.iter().any(|pattern| pattern.name == "*")
    }

    /// The descriptor of a collector type.
    pub const fn of<C: Collector>() -> Self {
        chart::check(C::CHARTS, C::FAMILIES, C::PATTERNS);
        Descriptor {
            name: C::NAME,
            summary: C::SUMMARY,
            enabled: C::ENABLED,
            may_block: C::MAY_BLOCK,
            may_block_with: C::MAY_BLOCK_WITH,
            devices: C::DEVICES,
            own_descriptors: C::OWN_DESCRIPTORS,
            internal: C::INTERNAL,
            families: C::FAMILIES,
            charts: C::CHARTS,
            patterns: C::PATTERNS,
            since: C::SINCE,
            sources: C::SOURCES,
            capabilities: C::CAPABILITIES,
            lacks_without: C::LACKS_WITHOUT,
            settings: <C::Settings as Settings>::FIELDS,
            prepare: |table, mistakes| {
                let settings = C::Settings::decode(table, mistakes)?;
                Some(Box::new(PreparedSettings::<C>(settings)))
            },
        }
    }
}

impl fmt::Debug for Descriptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Descriptor").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Every collector that the linker found. Its order is the linker's: use [`registry`].
#[linkme::distributed_slice]
pub static VITALD_COLLECTORS: [Descriptor];

/// Writes the constants of a collector's `impl` that are the same in form everywhere.
///
/// ```
/// use vitald_core::prelude::*;
///
/// families! {
///     /// Users logged in.
///     USERS: gauge = "t_users";
/// }
/// struct Users(KeptFile);
///
/// impl Collector for Users {
///     about! {
///         name: "users",
///         summary: "Users logged in",
///         families: FAMILIES,
///         sources: ["proc/users"],
///     }
///
///     fn open((): (), host: &Host) -> Result<Self> {
///         Ok(Users(host.keep_whole("proc/users")))
///     }
///
///     fn collect(&mut self, batch: &mut Batch) -> Result<()> {
///         batch.value(&USERS, self.0.parse(text::single_u64)?);
///         Ok(())
///     }
/// }
/// ```
///
/// `families`, `patterns` and `settings` may be left out, in this order; without `settings` there
/// are none. What else a collector may say of itself, such as
/// [`MAY_BLOCK`](crate::collector::Collector::MAY_BLOCK), is written beside it as a constant.
#[macro_export]
macro_rules! about {
    (
        name: $name:literal,
        summary: $summary:literal,
        $(families: $families:expr,)?
        $(patterns: [$($pattern:expr),+ $(,)?],)?
        sources: [$($source:literal),+ $(,)?]
        $(, settings: $settings:ty)? $(,)?
    ) => {
        const NAME: &'static str = $name;
        const SUMMARY: &'static str = $summary;
        $(const FAMILIES: &'static [$crate::family::FamilyInfo] = $families;)?
        $(const PATTERNS: &'static [$crate::family::FamilyPattern] = &[$($pattern),+];)?
        const SOURCES: &'static [&'static str] = &[$($source),+];
        type Settings = $crate::collector_settings!($($settings)?);
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! collector_settings {
    () => {
        ()
    };
    ($settings:ty) => {
        $settings
    };
}

/// Registers a collector: `register_collector!(Diskstats);`.
#[macro_export]
macro_rules! register_collector {
    ($collector:ty) => {
        const _: () = {
            #[$crate::linkme::distributed_slice($crate::collector::VITALD_COLLECTORS)]
            #[linkme(crate = $crate::linkme)]
            static DESCRIPTOR: $crate::collector::Descriptor =
                $crate::collector::Descriptor::of::<$collector>();
        };
    };
}

/// Every registered collector, by name.
pub fn registry() -> Vec<&'static Descriptor> {
    let mut all: Vec<&'static Descriptor> = VITALD_COLLECTORS.iter().collect();
    all.sort_by_key(|descriptor| descriptor.name);
    all
}

/// Checks that every collector that was compiled in is in the linked registry, once.
///
/// `rolls` are the lists that the crates with collectors promise. A crate that nothing names is
/// left out by the compiler without a word; reading its roll is what names it.
///
/// # Errors
///
/// Every name that is missing, unpromised or there twice.
pub fn roll_call(rolls: &[&[&'static str]]) -> Result<Vec<&'static Descriptor>, RollCallError> {
    let linked = registry();
    let mut error = RollCallError::default();
    let promised: Vec<&'static str> = rolls.iter().flat_map(|roll| roll.iter().copied()).collect();
    for (position, name) in promised.iter().enumerate() {
        if promised[..position].contains(name) {
            error.promised_twice.push(name);
        } else if !linked.iter().any(|descriptor| descriptor.name == *name) {
            error.missing.push(name);
        }
    }
    for same in linked.chunk_by(|a, b| a.name == b.name) {
        if same.len() > 1 {
            error.duplicate.push(same[0].name);
        }
        if !promised.contains(&same[0].name) {
            error.unpromised.push(same[0].name);
        }
    }
    if error == RollCallError::default() { Ok(linked) } else { Err(error) }
}

/// Why the roll call failed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RollCallError {
    /// Compiled in, but not registered.
    pub missing: Vec<&'static str>,
    /// Registered, but on no roll.
    pub unpromised: Vec<&'static str>,
    /// Registered more than once.
    pub duplicate: Vec<&'static str>,
    /// On the rolls more than once.
    pub promised_twice: Vec<&'static str>,
}

impl fmt::Display for RollCallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "the collectors in this binary do not add up: ";
        for (names, what) in [
            (&self.missing, "compiled in but not registered (is register_collector! missing?)"),
            (&self.duplicate, "registered more than once (two collectors share a NAME)"),
            (
                &self.unpromised,
                "registered but on no roll (is the module's name on its crate's roll?)",
            ),
            (&self.promised_twice, "on the rolls more than once"),
        ] {
            if !names.is_empty() {
                write!(f, "{separator}{what}: {}", names.join(", "))?;
                separator = "; ";
            }
        }
        Ok(())
    }
}

impl std::error::Error for RollCallError {}
