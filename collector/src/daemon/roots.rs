//! Whether the host's file systems are where a configuration says.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use vitald_core::host::Roots;
use vitald_core::settings::{Mistake, Origin};

/// A root that is not what it is called.
pub(crate) struct Doubt {
    /// The setting.
    key: &'static str,
    /// What every such root has.
    file: PathBuf,
    /// What the system says of that.
    error: io::Error,
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Doubt { key, file, error } = self;
        write!(
            f,
            "{key} names a place without what collectors look for: {}: {error}",
            file.display()
        )
    }
}

/// The roots that were configured, and the procfs in any case, if they are not what they are called: collectors would find
/// nothing there and call it absent, as on a host that lacks it. It may block.
pub(crate) fn doubts(roots: &Roots) -> Vec<Doubt> {
    doubts_beside(&Roots::default(), roots)
}

fn doubts_beside(built_in: &Roots, roots: &Roots) -> Vec<Doubt> {
    let known: [(&str, &Path, &Path, &str); 3] = [
        ("paths.procfs", &roots.procfs, &built_in.procfs, "stat"),
        ("paths.sysfs", &roots.sysfs, &built_in.sysfs, "class"),
        // Of any directory.
        ("paths.rootfs", &roots.rootfs, &built_in.rootfs, "."),
    ];
    // Without a procfs there is hardly anything, and node_exporter's flags, which do not refuse that, need not name it.
    let counts = |key: &str| key == "paths.procfs" && require_procfs(roots).is_err();
    let in_question =
        known.into_iter().filter(|(key, root, built_in, _)| root != built_in || counts(key));
    in_question
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

/// Refuses a procfs that is not one: nearly everything would be absent, and no page would say why. What a
/// host's procfs had in it, copied into a directory, is taken for one. It may block.
///
/// # Errors
///
/// The mistake in `paths.procfs`.
pub(crate) fn require_procfs(roots: &Roots) -> Result<(), Mistake> {
    let procfs = &roots.procfs;
    let what_is_there = match is_procfs(procfs) {
        Ok(true) => None,
        Ok(false) => what_is_wrong(procfs),
        Err(error) => Some(error.to_string()),
    };
    let Some(what_is_there) = what_is_there else { return Ok(()) };
    Err(Mistake {
        origin: Origin::Default,
        path: "paths.procfs".to_owned(),
        message: format!(
            "{} is no procfs ({what_is_there}); on a host it is /proc, and a container that has the host's root \
             with -v /:/host:ro,rslave has its procfs at /host/proc",
            procfs.display()
        ),
    })
}

#[cfg(target_os = "linux")]
fn is_procfs(path: &Path) -> io::Result<bool> {
    let file_system = rustix::fs::statfs(path)?;
    Ok(file_system.f_type as u32 == rustix::fs::PROC_SUPER_MAGIC as u32)
}

/// Other systems have none, and only collectors that need none.
#[cfg(not(target_os = "linux"))]
fn is_procfs(_: &Path) -> io::Result<bool> {
    Ok(true)
}

/// Why a directory of plain files can be no copy of a procfs.
fn what_is_wrong(procfs: &Path) -> Option<String> {
    match fs::read_dir(procfs).map(|mut entries| entries.next().is_none()) {
        Err(error) => Some(error.to_string()),
        // Where a procfs is to be mounted.
        Ok(true) => Some("it is an empty directory".to_owned()),
        Ok(false) if procfs.join("proc").is_dir() => {
            Some("it is the root of a file system and has a directory proc in it".to_owned())
        }
        Ok(false) => None,
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

    #[cfg(target_os = "linux")]
    #[test]
    fn the_procfs_of_the_host_must_be_there_without_being_configured() {
        let directory = tempfile::tempdir().expect("a directory");
        let at = |name: &str| directory.path().join(name);
        let built_in =
            Roots { procfs: at("proc"), sysfs: at("sys"), rootfs: at("root"), udev: at("udev") };
        let keys = || {
            let doubts = doubts_beside(&built_in, &built_in);
            doubts.iter().map(|doubt| doubt.key).collect::<Vec<_>>()
        };
        assert_eq!(keys(), ["paths.procfs"]);
        fs::create_dir_all(at("proc")).expect("a directory");
        assert_eq!(keys(), ["paths.procfs"], "where a procfs is to be mounted");
        // Of one with processes alone another warning tells.
        fs::create_dir_all(at("proc/self")).expect("a directory");
        assert_eq!(keys(), [""; 0]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_procfs_that_is_not_one_is_refused_and_a_copy_of_one_is_not() {
        let directory = tempfile::tempdir().expect("a directory");
        let at = |name: &str| directory.path().join(name);
        let said = |procfs: PathBuf| {
            let roots = Roots { procfs, ..Roots::default() };
            require_procfs(&roots).map_err(|mistake| mistake.to_string()).err().unwrap_or_default()
        };
        assert_eq!(said("/proc".into()), "");
        let told = said(at("nothing"));
        assert!(told.starts_with("paths.procfs: /") && told.contains("No such file"), "{told}");
        assert!(told.contains("-v /:/host:ro,rslave"), "{told}");
        fs::create_dir_all(at("root/proc")).expect("a directory");
        assert!(
            said(at("root/proc")).contains("an empty directory"),
            "a procfs that is not mounted"
        );
        assert!(said(at("root")).contains("has a directory proc"), "{}", said(at("root")));
        fs::write(at("root/proc/loadavg"), "0 0 0 1/1 1\n").expect("a file");
        assert_eq!(said(at("root/proc")), "");
        assert!(said(at("root/proc/loadavg")).contains("ot a directory"));
    }
}
