//! Whether the host's file systems are where a configuration says.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use vitald_core::host::Roots;

/// A root that is not what it is called.
pub(super) struct Doubt {
    /// The setting.
    key: &'static str,
    /// What every such root has.
    file: PathBuf,
    /// What the system says of that.
    error: io::Error,
}

/// The roots that were configured and are not what they are called: collectors would find nothing there
/// and call it absent, as on a host that lacks it. It may block.
pub(super) fn doubts(roots: &Roots) -> Vec<Doubt> {
    let built_in = Roots::default();
    let known: [(&str, &Path, &Path, &str); 3] = [
        ("paths.procfs", &roots.procfs, &built_in.procfs, "stat"),
        ("paths.sysfs", &roots.sysfs, &built_in.sysfs, "class"),
        // Of any directory.
        ("paths.rootfs", &roots.rootfs, &built_in.rootfs, "."),
    ];
    let configured = known.into_iter().filter(|(_, root, built_in, _)| root != built_in);
    configured
        .filter_map(|(key, root, _, file)| {
            let file = root.join(file);
            let error = fs::metadata(&file).err()?;
            Some(Doubt { key, file, error })
        })
        .collect()
}

/// Logs each.
pub(super) fn warn(doubts: &[Doubt]) {
    for Doubt { key, file, error } in doubts {
        tracing::warn!(
            setting = key,
            file = %file.display(),
            %error,
            "this setting names a place without what collectors look for; they find nothing there"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_configured_must_be_what_it_is_called() {
        let directory = tempfile::tempdir().expect("a directory");
        let at = |name: &str| directory.path().join(name);
        let keys = |roots: &Roots| doubts(roots).iter().map(|doubt| doubt.key).collect::<Vec<_>>();
        let roots =
            Roots { procfs: at("proc"), sysfs: at("sys"), rootfs: at("root"), udev: at("udev") };
        assert_eq!(keys(&roots), ["paths.procfs", "paths.sysfs", "paths.rootfs"]);
        for folder in ["proc", "sys/class", "root"] {
            fs::create_dir_all(at(folder)).expect("a directory");
        }
        assert_eq!(keys(&roots), ["paths.procfs"], "an empty directory is no procfs");
        fs::write(at("proc/stat"), "").expect("a file");
        assert_eq!(keys(&roots), [""; 0]);
        assert_eq!(keys(&Roots { rootfs: at("proc/stat"), ..roots }), ["paths.rootfs"]);
        // The defaults are nothing that a user has written.
        assert_eq!(keys(&Roots::default()), [""; 0]);
    }
}
