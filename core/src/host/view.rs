//! What a process sees of the host: its own part or all of it.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::roots::Roots;

/// Where this process's own procfs is, whichever the host's is.
const OWN: &str = "/proc";
/// The name of the first namespace of process ids, which has the same number on every machine
/// (`PROC_PID_INIT_INO` of the kernel).
const FIRST_PIDS: &str = "pid:[4026531836]";
/// The same of the two that a container has of its own (`PROC_IPC_INIT_INO`, `PROC_UTS_INIT_INO`).
const FIRST_OTHERS: [&str; 2] = ["ipc:[4026531839]", "uts:[4026531838]"];

/// Whose namespace a process is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Namespace {
    /// That of the host's first process.
    Host,
    /// Another one.
    Own,
    /// The host's could not be read.
    Unknown,
}

/// What this process sees of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// Whose processes [`Roots::procfs`] shows, and with them whose process 1.
    pub processes: Namespace,
    /// Whose network interfaces and sockets it sees.
    pub network: Namespace,
    /// Whose root directory [`Roots::rootfs`] is. A sandboxed service has a mount namespace of its own, in
    /// which the root is the host's all the same.
    pub root: Namespace,
    /// The procfs has processes alone (mount option `subset=pid` of proc(5)): nothing of the kernel.
    pub has_processes_only: bool,
}

impl Namespace {
    /// `host` or `own`; nothing if it is not known.
    pub fn word(self) -> Option<&'static str> {
        match self {
            Namespace::Host => Some("host"),
            Namespace::Own => Some("own"),
            Namespace::Unknown => None,
        }
    }
}

impl View {
    /// Where nothing is known.
    pub(super) const UNKNOWN: View = View {
        processes: Namespace::Unknown,
        network: Namespace::Unknown,
        root: Namespace::Unknown,
        has_processes_only: false,
    };

    /// What is seen through these roots. It reads files and may block.
    pub(super) fn of(roots: &Roots) -> View {
        let has_processes_only = has_processes_only(&roots.procfs);
        View { has_processes_only, ..View::beside(Path::new(OWN), roots) }
    }

    /// The links of `/proc/1/ns` are for those who may trace process 1, so what is compared is what
    /// everybody may read of it.
    fn beside(own: &Path, roots: &Roots) -> View {
        let procfs = &roots.procfs;
        let processes = processes(own, procfs);
        if processes == Namespace::Unknown {
            return View::UNKNOWN;
        }
        let same_network = same_file(&own.join("self/net/dev"), &procfs.join("1/net/dev"));
        let same_root = mount_at(&own.join("self/mountinfo"), &roots.rootfs)
            .zip(mount_at(&procfs.join("1/mountinfo"), Path::new("/")))
            .map(|(seen, first)| seen == first);
        match processes {
            // Process 1 is the container's, so what it has is nothing of the host's. But where nothing else is the
            // container's (`PrivatePIDs=` of a unit, unshare(1)), its root may be the host's, and is in most cases.
            Namespace::Own => {
                let is_container = same_root == Some(true) && !is_among_the_hosts(own);
                let root = if is_container { Namespace::Own } else { Namespace::Unknown };
                View { root, processes, ..View::UNKNOWN }
            }
            _ => View {
                processes,
                network: compared(same_network),
                root: compared(same_root),
                ..View::UNKNOWN
            },
        }
    }
}

/// Every kernel that has processes has `stat`, too.
fn has_processes_only(procfs: &Path) -> bool {
    procfs.join("self/stat").exists() && !procfs.join("stat").exists()
}

fn compared(same: Option<bool>) -> Namespace {
    match same {
        Some(true) => Namespace::Host,
        Some(false) => Namespace::Own,
        None => Namespace::Unknown,
    }
}

/// Whose processes a procfs shows. Only a procfs knows in which namespaces the reader is.
fn processes(own: &Path, procfs: &Path) -> Namespace {
    let namespace = |procfs: &Path| fs::read_link(procfs.join("self/ns/pid")).ok();
    let (Some(pids), Some(there)) = (namespace(own), namespace(procfs)) else {
        return Namespace::Unknown;
    };
    if pids != there {
        return Namespace::Unknown;
    }
    if pids.as_os_str() == FIRST_PIDS {
        return Namespace::Host;
    }
    // It says which number the reader has in the procfs's namespace, and in each between that and its own.
    let status = fs::read_to_string(procfs.join("self/status")).unwrap_or_default();
    let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    match numbers.map(|numbers| numbers.split_whitespace().count()) {
        Some(0) | None => Namespace::Unknown,
        Some(1) => Namespace::Own,
        Some(_) => Namespace::Host,
    }
}

/// Whether this process is in the host's first namespaces but for that of processes.
fn is_among_the_hosts(own: &Path) -> bool {
    FIRST_OTHERS.iter().all(|first| {
        let kind = first.split(':').next().unwrap_or_default();
        fs::read_link(own.join("self/ns").join(kind)).is_ok_and(|link| link.as_os_str() == *first)
    })
}

/// Whether two files of procfs are the same one: those below `net` are made for each network namespace.
fn same_file(one: &Path, other: &Path) -> Option<bool> {
    Some(fs::metadata(one).ok()?.ino() == fs::metadata(other).ok()?.ino())
}

/// What is mounted at a directory: the file system's device, and which directory of it.
fn mount_at(mountinfo: &Path, directory: &Path) -> Option<(Vec<u8>, Vec<u8>)> {
    let mut found = None;
    for line in BufReader::new(File::open(mountinfo).ok()?).split(b'\n') {
        let line = line.ok()?;
        let mut fields = line.split(|byte| *byte == b' ').skip(2);
        if let (Some(device), Some(of), Some(at)) = (fields.next(), fields.next(), fields.next())
            // A trailing slash makes no other path.
            && Path::new(std::ffi::OsStr::from_bytes(at)) == directory
        {
            // What is mounted later covers what was there.
            found = Some((device.to_vec(), of.to_vec()));
        }
    }
    found
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    /// What a container may see, in plain files.
    struct Container {
        directory: tempfile::TempDir,
    }

    const HOST_MOUNTS: &str = "20 1 254:0 / / rw - ext4 /dev/vda rw\n";

    impl Container {
        /// One whose processes are in this namespace, and where the procfs called `host` says these numbers
        /// of the reader.
        fn new(pids: &str, numbers: &str) -> Container {
            let directory = tempfile::tempdir().unwrap();
            for procfs in ["own", "host"] {
                for folder in ["self/ns", "self/net", "1/net"] {
                    fs::create_dir_all(directory.path().join(procfs).join(folder)).unwrap();
                }
                symlink(pids, directory.path().join(procfs).join("self/ns/pid")).unwrap();
            }
            let container = Container { directory };
            container.write("host/self/status", &format!("Name:\tx\nNSpid:\t{numbers}\n"));
            container.write("host/1/net/dev", "");
            container.write("host/1/mountinfo", HOST_MOUNTS);
            container.write("own/self/net/dev", "");
            container.write("own/self/mountinfo", "30 2 0:40 / / ro - overlay overlay rw\n");
            container
        }

        fn at(&self, path: &str) -> PathBuf {
            self.directory.path().join(path)
        }

        fn write(&self, path: &str, text: &str) {
            fs::write(self.at(path), text).unwrap();
        }

        /// The host's network.
        fn share_network(&self) {
            fs::remove_file(self.at("own/self/net/dev")).unwrap();
            fs::hard_link(self.at("host/1/net/dev"), self.at("own/self/net/dev")).unwrap();
        }

        fn view(&self, rootfs: &str) -> View {
            let roots =
                Roots { procfs: self.at("host"), rootfs: rootfs.into(), ..Roots::default() };
            View::beside(&self.at("own"), &roots)
        }
    }

    use Namespace::{Host, Own, Unknown};

    #[test]
    fn all_of_the_host_is_seen_through_its_procfs_network_and_root() {
        for (pids, numbers) in [("pid:[4026531836]", "7"), ("pid:[9]", "4711 1")] {
            let container = Container::new(pids, numbers);
            let seen = |network, root| View { processes: Host, network, root, ..View::UNKNOWN };
            assert_eq!(container.view("/"), seen(Own, Own));
            assert_eq!(container.view("/host"), seen(Own, Unknown));
            container.share_network();
            container.write(
                "own/self/mountinfo",
                "30 2 0:40 / / ro - overlay overlay rw\n31 30 0:41 / /host ro - tmpfs tmpfs rw\n\
                 32 31 254:0 / /host ro master:1 - ext4 /dev/vda rw\n",
            );
            for rootfs in ["/host", "/host/"] {
                assert_eq!(container.view(rootfs), seen(Host, Host));
            }
            container.write("own/self/mountinfo", HOST_MOUNTS);
            assert_eq!(container.view("/"), seen(Host, Host));
            // Another directory of the same file system.
            container.write("own/self/mountinfo", "20 1 254:0 /srv / rw - ext4 /dev/vda rw\n");
            assert_eq!(container.view("/"), seen(Host, Own));
        }
    }

    #[test]
    fn a_procfs_of_the_containers_own_shows_nothing_of_the_host() {
        let container = Container::new("pid:[9]", "1");
        container.share_network();
        container.write("own/self/mountinfo", HOST_MOUNTS);
        assert_eq!(container.view("/"), View { processes: Own, root: Own, ..View::UNKNOWN });
        assert_eq!(container.view("/host"), View { processes: Own, ..View::UNKNOWN });
    }

    #[test]
    fn in_a_namespace_of_processes_alone_the_root_is_not_known() {
        let root = |ipc: &str, uts: &str| {
            let container = Container::new("pid:[9]", "1");
            container.write("own/self/mountinfo", HOST_MOUNTS);
            symlink(ipc, container.at("own/self/ns/ipc")).unwrap();
            symlink(uts, container.at("own/self/ns/uts")).unwrap();
            let view = container.view("/");
            assert_eq!(view.processes, Own);
            view.root
        };
        assert_eq!(root("ipc:[4026531839]", "uts:[4026531838]"), Unknown);
        // A container may have the host's name and not its System V IPC.
        assert_eq!(root("ipc:[9]", "uts:[4026531838]"), Own);
        assert_eq!(root("ipc:[9]", "uts:[8]"), Own);
    }

    #[test]
    fn a_procfs_without_what_is_of_the_kernel_is_known() {
        let container = Container::new("pid:[9]", "1");
        let procfs = container.at("host");
        assert!(!has_processes_only(&procfs), "no procfs at all");
        container.write("host/self/stat", "7 (x) R\n");
        assert!(has_processes_only(&procfs));
        container.write("host/stat", "cpu 1\n");
        assert!(!has_processes_only(&procfs));
    }

    #[test]
    fn of_what_is_no_procfs_nothing_is_known() {
        let container = Container::new("pid:[9]", "4711 1");
        fs::remove_file(container.at("host/self/ns/pid")).unwrap();
        assert_eq!(container.view("/"), View::UNKNOWN);
        symlink("pid:[8]", container.at("host/self/ns/pid")).unwrap();
        assert_eq!(container.view("/"), View::UNKNOWN);
        let without_numbers = Container::new("pid:[9]", "");
        assert_eq!(without_numbers.view("/"), View::UNKNOWN);
    }
}
