//! How much memory the daemon may take: the least limit of the control groups it is in.
//!
//! Both versions of control groups are read (cgroups(7)), from the daemon's own group up to the top. Where
//! none is set, or it cannot be known, what depends on it takes its defaults.

use crate::regular::read_text;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Version 1 says "no limit" by the largest number of whole pages; no machine has as much as this.
const NO_LIMIT: u64 = 1 << 60;

static LIMIT: OnceLock<Option<u64>> = OnceLock::new();

/// The limit in bytes, if there is one. It is read once, by the first who asks: this must not be the thread
/// that serves.
pub(crate) fn limit() -> Option<u64> {
    *LIMIT.get_or_init(|| of_process(Path::new("/")))
}

/// The least address space in which the daemon starts: with less it has too little for its threads, or is ended by the
/// first piece of memory that there is not.
const ADDRESS_SPACE: u64 = 24 << 20;

/// Why there is no start with this limit of the address space (`RLIMIT_AS`), if there is none.
pub(crate) fn refusal() -> Option<String> {
    refusal_of(rustix::process::getrlimit(rustix::process::Resource::As).current)
}

fn refusal_of(limit: Option<u64>) -> Option<String> {
    let limit = limit.filter(|limit| *limit < ADDRESS_SPACE)?;
    Some(format!(
        "the address space is limited to {limit} bytes, and {ADDRESS_SPACE} is the least; raise the limit (LimitAS= of the \
         systemd unit, ulimit -v), or limit memory by a control group (MemoryMax=)"
    ))
}

/// What is a part of the limit, within bounds.
pub(crate) struct Part {
    pub(crate) divisor: u64,
    pub(crate) least: u64,
    /// What it is where there is no limit, too.
    pub(crate) most: u64,
}

impl Part {
    /// What it is on this host.
    pub(crate) fn now(&self) -> u64 {
        self.of(limit())
    }

    /// What it is with such a limit.
    pub(crate) fn of(&self, limit: Option<u64>) -> u64 {
        limit.map_or(self.most, |limit| (limit / self.divisor).clamp(self.least, self.most))
    }
}

fn of_process(root: &Path) -> Option<u64> {
    let groups = read_text(&root.join("proc/self/cgroup")).ok()?;
    let mounts = read_text(&root.join("proc/self/mountinfo")).ok()?;
    groups.lines().filter_map(|line| of_group(root, line, &mounts)).min()
}

/// The least limit on the way up from a group, which is a line of `/proc/self/cgroup`.
fn of_group(root: &Path, line: &str, mounts: &str) -> Option<u64> {
    let mut fields = line.splitn(3, ':').skip(1);
    let (controllers, path) = (fields.next()?, fields.next()?);
    let (kind, file) = match controllers {
        "" => ("cgroup2", "memory.max"),
        _ if controllers.split(',').any(|name| name == "memory") => {
            ("cgroup", "memory.limit_in_bytes")
        }
        _ => return None,
    };
    let mount = mounts.lines().filter_map(Mount::parse).find(|mount| mount.has_memory(kind))?;
    let top = root.join(mount.place.trim_start_matches('/'));
    // In a container the file may tell a path that is not below what is mounted: then it is the top.
    let inside = Path::new(path).strip_prefix(mount.root).unwrap_or(Path::new(""));
    let group: PathBuf = top.join(inside);
    let up = group.ancestors().take_while(|group| group.starts_with(&top));
    up.filter_map(|group| read_text(&group.join(file)).ok()?.trim().parse().ok())
        .filter(|limit| *limit < NO_LIMIT)
        .min()
}

/// A line of `/proc/self/mountinfo` (proc(5)).
struct Mount<'a> {
    /// What of the file system is mounted.
    root: &'a str,
    place: &'a str,
    kind: &'a str,
    options: &'a str,
}

impl<'a> Mount<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (mount, file_system) = line.split_once(" - ")?;
        let mut mount = mount.split(' ').skip(3);
        let mut file_system = file_system.split(' ');
        Some(Mount {
            root: mount.next()?,
            place: mount.next()?,
            kind: file_system.next()?,
            options: file_system.nth(1)?,
        })
    }

    fn has_memory(&self, kind: &str) -> bool {
        let controls = || self.options.split(',').any(|option| option == "memory");
        self.kind == kind && (kind == "cgroup2" || controls())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
        22 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
        30 22 0:26 / /sys/fs/cgroup/unified rw shared:4 - cgroup2 cgroup2 rw\n\
        31 22 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n\
        32 22 0:28 /docker/abc /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";

    /// The limit where these files have these texts.
    fn limit_with(groups: &str, mounts: &str, files: &[(&str, &str)]) -> Option<u64> {
        let root = tempfile::tempdir().expect("a directory");
        let proc = [("proc/self/cgroup", groups), ("proc/self/mountinfo", mounts)];
        for (path, text) in proc.iter().chain(files) {
            let file = root.path().join(path);
            std::fs::create_dir_all(file.parent().expect("it has one")).expect("a directory");
            std::fs::write(file, text).expect("a file");
        }
        of_process(root.path())
    }

    #[test]
    fn too_little_address_space_is_said() {
        assert_eq!((refusal_of(None), refusal_of(Some(ADDRESS_SPACE))), (None, None));
        let said = refusal_of(Some(ADDRESS_SPACE - 1)).expect("it is too little");
        assert!(said.contains("25165823 bytes") && said.contains("LimitAS="), "{said}");
    }

    #[test]
    fn the_least_limit_on_the_way_up_holds() {
        let v2 = |own, above| {
            let files = [
                ("sys/fs/cgroup/unified/a/b/memory.max", own),
                ("sys/fs/cgroup/unified/a/memory.max", above),
            ];
            limit_with("1:cpu,cpuacct:/x\n0::/a/b\n", MOUNTS, &files)
        };
        assert_eq!(v2("max\n", "max\n"), None);
        assert_eq!(v2("16777216\n", "max\n"), Some(16 << 20));
        assert_eq!(v2("max\n", "16777216\n"), Some(16 << 20));
        assert_eq!(v2("33554432\n", "16777216\n"), Some(16 << 20));
        assert_eq!(v2("junk", ""), None);
    }

    #[test]
    fn version_1_counts_as_well_and_its_largest_number_is_none() {
        let v1 = |groups, limit| {
            let files = [("sys/fs/cgroup/memory/memory.limit_in_bytes", limit)];
            limit_with(groups, MOUNTS, &files)
        };
        assert_eq!(v1("4:memory:/docker/abc\n0::/\n", "8388608\n"), Some(8 << 20));
        assert_eq!(v1("4:memory:/elsewhere\n", "8388608\n"), Some(8 << 20));
        assert_eq!(v1("4:memory:/docker/abc\n", "9223372036854771712\n"), None);
        assert_eq!(v1("4:cpu:/docker/abc\n", "8388608\n"), None);
        assert_eq!(limit_with("", "", &[]), None);
        assert_eq!(limit_with("0::/a\nx\n:\n", "x\n - \n", &[]), None);
    }

    #[test]
    fn a_part_stays_within_its_bounds() {
        let part = Part { divisor: 4, least: 1, most: 100 };
        let cases = [(None, 100), (Some(40), 10), (Some(4000), 100), (Some(0), 1)];
        for (limit, expected) in cases {
            assert_eq!(part.of(limit), expected, "{limit:?}");
        }
    }
}
