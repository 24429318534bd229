//! `[paths]`: where the kernel's files are.

use std::path::PathBuf;
use vitald_core::host::Roots;
use vitald_core::prelude::*;
use vitald_core::settings::{Node, Origin, Setting, SettingInfo, Settings as _, Value};

settings! {
    /// The host's procfs.
    procfs: Path = "/proc";
    /// The host's sysfs.
    sysfs: Path = "/sys";
    /// The host's root directory, in front of every mount point; a container has it mounted
    /// somewhere such as `/host`.
    rootfs: Path = "/";
    /// The directory of udev's device data base.
    udev: Path = "/run/udev/data";
}

/// The type of the keys, in words.
pub(crate) const PATH: &str = "absolute path";

/// What is declared of the table's keys.
pub(super) const FIELDS: &[SettingInfo] = Settings::FIELDS;

/// An absolute path: the working directory of a service is not what its configuration is written
/// for. A flag is written for the directory that one is in, and labels such as those of `rapl` show
/// its path as it is.
#[derive(Clone, Debug, PartialEq, PartialOrd)]
struct Path(PathBuf);

impl Setting for Path {
    const KIND: &'static str = PATH;

    fn decode(value: &Value) -> Result<Self, String> {
        match &value.node {
            Node::Text(text) if text.is_empty() => Err("expected a path, found nothing".to_owned()),
            Node::Text(text)
                if !text.starts_with('/') && !matches!(value.origin, Origin::Flag(_)) =>
            {
                Err("expected an absolute path, such as \"/host/proc\"".to_owned())
            }
            Node::Text(text) => Ok(Path(text.into())),
            other => Err(format!("expected a path in quotes, found {}", other.noun())),
        }
    }
}

/// Decodes the table.
pub(super) fn decode(table: &Table, mistakes: &mut Mistakes) -> Option<Roots> {
    let Settings { procfs, sysfs, rootfs, udev } = Settings::decode(table, mistakes)?;
    Some(Roots { procfs: procfs.0, sysfs: sysfs.0, rootfs: rootfs.0, udev: udev.0 })
}
