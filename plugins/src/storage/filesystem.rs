//! Space of mounted file systems, from `/proc/1/mountinfo` (proc_pid_mountinfo(5)) and statfs(2).

use std::collections::{HashMap, HashSet};
use vitald_core::errno;
use vitald_core::host::{Space, StatfsError, StatfsQueue};
use vitald_core::prelude::*;

use super::mounts::{PROMPT_TYPES, below, is_within_any, parse_line};
use renewal::{Renewal, Said};

mod renewal;

families! {
    /// Size of the file system, in bytes.
    SIZE: gauge = "node_filesystem_size_bytes" [device, mountpoint, fstype, device_error];
    /// Space that nothing uses, in bytes.
    FREE: gauge = "node_filesystem_free_bytes" [device, mountpoint, fstype, device_error];
    /// Space that users without privileges may take, in bytes.
    AVAILABLE: gauge = "node_filesystem_avail_bytes" [device, mountpoint, fstype, device_error];
    /// Inodes there are room for; 0 where their number is not fixed.
    FILES: gauge = "node_filesystem_files" [device, mountpoint, fstype, device_error];
    /// Inodes that nothing uses.
    FILES_FREE: gauge = "node_filesystem_files_free" [device, mountpoint, fstype, device_error];
    /// Space that the system could free by itself, in bytes; always 0 on Linux.
    PURGEABLE: gauge = "node_filesystem_purgeable_bytes" [device, mountpoint, fstype, device_error];
    /// Whether the file system is mounted read-only or has become so after an error.
    READ_ONLY: gauge = "node_filesystem_readonly" [device, mountpoint, fstype, device_error];
    /// Whether the file system did not tell its space, for the reason in the label.
    DEVICE_ERROR: gauge = "node_filesystem_device_error" [device, mountpoint, fstype, device_error];
    /// Device numbers of what is mounted; always 1.
    MOUNT_INFO: gauge = "node_filesystem_mount_info" [device, major, minor, mountpoint];
}

settings! {
    mount_points: Filter {
        /// Mount points to show, and no others; displaces the default of `mount_points_exclude`.
        include mount_points_include;
        /// Mount points to leave out. Not together with `mount_points_include`.
        exclude mount_points_exclude =
            "^/(dev|proc|run/credentials/.+|sys|var/lib/docker/.+|var/lib/containers/storage/.+)($|/)",
            old ignored_mount_points;
    } together IncludeReplaces;
    types: Filter {
        /// Types of file systems to show, and no others; displaces the default of `fs_types_exclude`.
        include fs_types_include;
        /// Types of file systems to leave out. Not together with `fs_types_include`.
        exclude fs_types_exclude =
            "^(autofs|binfmt_misc|bpf|cgroup2?|configfs|debugfs|devpts|devtmpfs|fusectl|hugetlbfs|iso9660|mqueue|nsfs|overlay|proc|procfs|pstore|rpc_pipefs|securityfs|selinuxfs|squashfs|erofs|sysfs|tracefs)$",
            old ignored_fs_types;
    } together IncludeReplaces;
    /// How long a mount may take to answer before it counts as stuck. One that answers promptly, or was
    /// never asked, is waited for for a second at most, and for longer when it is known to take longer.
    mount_timeout: Duration = "5s" in "1ms".."1h";
    /// How many of the mounts that may not answer, such as those of a network, are asked at a time;
    /// at least 1 and at most 16. Others are asked beside one that is slow.
    stat_workers: i64 = 4;
}

/// What the label says of a mount that does not answer, as in node_exporter.
const STUCK: &[u8] = b"mountpoint timeout";

/// Why what is shown may lack something.
const OWN_MOUNTS: &str = "own mounts";

const SIZE_OF_ALL: Figure = value("node_filesystem_size_bytes");
/// What users have none of: the space that is kept for root is among it.
const IN_USE: Figure = Figure::Difference(&SIZE_OF_ALL, &value("node_filesystem_avail_bytes"));

register_collector!(Filesystem);

struct Filesystem {
    host: Host,
    first: KeptFile,
    own: KeptFile,
    mount_points: Filter,
    types: Filter,
    timeout: Duration,
    /// The text that `mounts` were made of; it is parsed when it differs.
    text: Vec<u8>,
    mounts: Vec<Mount>,
    /// `text` is that of `own`, because `first` is hidden.
    is_own: bool,
    renewal: Renewal,
    queue: StatfsQueue,
    scratch: Vec<u8>,
}

/// A mount that is shown.
struct Mount {
    device: Vec<u8>,
    /// Where it is mounted, without the prefix of the root file system.
    point: Vec<u8>,
    kind: Vec<u8>,
    /// Such as `259:2`; a file system without a device gets another one each time it is mounted.
    number: Vec<u8>,
    read_only: bool,
    may_block: bool,
    /// An earlier mount has all labels but the numbers, so only those are shown.
    repeated: bool,
    /// What statfs(2) said of it the last time, if it answered.
    said: Option<Said>,
    /// What statfs(2) says of it may be said of another mount, so that this is asked, too.
    asks_place: bool,
    /// There are other mounts of this type, shown or not.
    has_others_of_kind: bool,
}

impl Collector for Filesystem {
    about! {
        name: "filesystem",
        summary: "Space of mounted file systems",
        families: FAMILIES,
        sources: [
            "proc/1/mountinfo",
            "proc/self/mountinfo",
            "statfs(2)",
            "sys/fs/ext4/*/errors_count",
        ],
        settings: Settings,
    }
    const CHARTS: &'static [Chart] = &[Chart::by(
        &["mountpoint"],
        "File systems",
        &[
            Curve::of("in use", Figure::Ratio(&IN_USE, &SIZE_OF_ALL)),
            Curve::of("size", SIZE_OF_ALL),
            Curve::of("available", value("node_filesystem_avail_bytes")),
        ],
    )];
    // A lane would cost every host a thread and a switch of threads for what hangs on few of them.
    // Nothing here waits without end: mounts that may not answer are asked by the host's own
    // threads, and a wait for them lasts at most `mount_timeout` a mount and what is left of the
    // collection for all. A mount that hangs is remembered, so that it is waited for once. A
    // mountinfo is made from memory, whatever its mounts do.
    const MAY_BLOCK: bool = false;

    fn open(settings: Settings, host: &Host) -> Result<Self> {
        // As in node_exporter, a number that makes no sense is one.
        let workers = usize::try_from(settings.stat_workers).unwrap_or(1);
        Ok(Filesystem {
            host: host.clone(),
            // A line is as long as the options of its mount: overlay names every layer.
            first: host.keep_mounts("proc/1/mountinfo"),
            own: host.keep_mounts("proc/self/mountinfo"),
            mount_points: settings.mount_points,
            types: settings.types,
            timeout: settings.mount_timeout,
            text: Vec::new(),
            mounts: Vec::new(),
            is_own: false,
            renewal: Renewal::new(host),
            queue: StatfsQueue::new().workers(workers),
            scratch: Vec::new(),
        })
    }

    fn collect(&mut self, batch: &mut Batch) -> Result<()> {
        let file = if self.is_own { &mut self.own } else { &mut self.first };
        let is_current = self.renewal.is_current(file, batch.fresh_from());
        if !is_current {
            self.renew(batch)?;
        } else if self.is_own {
            batch.degraded(OWN_MOUNTS);
        }
        let said_the_same = self.ask(batch);
        if is_current && !said_the_same {
            // Another root of the process is one of the reasons.
            self.first.reopen();
            self.own.reopen();
            if self.renew(batch)? {
                self.ask(batch);
            }
        }
        if self.renewal.is_unconfirmed() {
            self.tell_apart();
        }
        if self.mounts.iter().any(|mount| mount.said.is_none()) {
            // What says nothing may change without a word.
            self.renewal.forget();
        }
        for (mount, asked) in self.mounts.iter().zip(self.queue.iter()) {
            if matches!(asked.answer, Err(StatfsError::Stuck)) {
                batch.fault(&String::from_utf8_lossy(&mount.point), "the mount does not answer");
            }
            push(mount, asked.answer, &mut self.scratch, batch);
        }
        Ok(())
    }
}

impl Filesystem {
    /// Asks each mount for its space. Answers whether each is what it was and mounted as it was.
    fn ask(&mut self, batch: &Batch) -> bool {
        self.queue.clear();
        for mount in &self.mounts {
            self.queue.push(&mount.point, &mount.device, &mount.number, mount.may_block);
            if mount.asks_place {
                self.queue.ask_place();
            }
        }
        self.host.statfs_each(&mut self.queue, self.timeout, batch.time_left());
        let mut said_the_same = true;
        for (mount, asked) in self.mounts.iter_mut().zip(self.queue.iter()) {
            let said = asked.answer.ok().map(Said::of);
            said_the_same &= said == mount.said;
            mount.said = said;
        }
        said_the_same
    }

    /// Has the place asked, too, of what statfs(2) does not tell from another file system, as long as the list stays.
    fn tell_apart(&mut self) {
        let mut known: HashMap<Said, usize> = HashMap::new();
        for said in self.mounts.iter().filter_map(|mount| mount.said) {
            *known.entry(said.without_place()).or_default() += 1;
        }
        for mount in &mut self.mounts {
            let Some(said) = mount.said else { continue };
            let is_alone = known.get(&said.without_place()) == Some(&1);
            mount.asks_place |= !is_alone || mount.has_others_of_kind && !said.has_id();
        }
    }

    /// Reads the mounts again and brings `mounts` up to date. Answers whether there was anything to change.
    fn renew(&mut self, batch: &mut Batch) -> Result<bool> {
        self.renewal.begin(batch.fresh_from());
        let is_changed = self.refresh(batch);
        self.renewal.confirm(!matches!(is_changed, Ok(true)));
        if is_changed.is_err() || self.text.is_empty() {
            self.renewal.forget();
        } else {
            self.renewal.end(self.mounts.iter().map(|mount| &*mount.kind));
        }
        is_changed
    }

    fn refresh(&mut self, batch: &mut Batch) -> Result<bool> {
        let text = match self.first.try_read() {
            Ok(text) => {
                self.is_own = false;
                text
            }
            Err(error) if is_hidden(&error) => {
                // Under hidepid process 1 is another user's. Our own mounts are mostly the same,
                // but in a sandbox more of them are read-only, and some are missing. The same where
                // process 1 has a root that none of its mounts is below.
                batch.degraded(OWN_MOUNTS);
                self.is_own = true;
                self.own.read()?
            }
            Err(error) => return Err(Error::from_io(self.first.path(), error)),
        };
        if text == self.text {
            return Ok(false);
        }
        self.text.clear();
        self.text.extend_from_slice(text);
        self.mounts.clear();
        let root = self.host.roots().rootfs.as_os_str().as_encoded_bytes();
        let mut blocking: HashSet<Vec<u8>> = HashSet::new();
        let mut seen: HashSet<Box<[u8]>> = HashSet::new();
        let mut refused = false;
        let counts = Counts::of(text);
        for line in lines(text) {
            let parsed = batch.tolerate(parse_line(line));
            refused |= parsed.is_none();
            let Some(line) = parsed else { continue };
            let point = text::unescape_octal(line.point, &mut self.scratch);
            let point = below(root, point);
            let prompt = PROMPT_TYPES.contains(&line.kind);
            if !prompt {
                blocking.insert(point.to_vec());
            }
            if !self.mount_points.takes(point) || !self.types.takes(line.kind) {
                continue;
            }
            // The labels of a mount, and those with its numbers; no path has a byte 0.
            let labels = [line.device, point, line.kind].join(&0);
            let with_numbers = [&labels, line.number].join(&0);
            let repeated = !seen.insert(labels.into());
            if !seen.insert(with_numbers.into()) {
                continue;
            }
            self.mounts.push(Mount {
                device: line.device.to_vec(),
                point: point.to_vec(),
                kind: line.kind.to_vec(),
                number: line.number.to_vec(),
                read_only: line.read_only,
                may_block: !prompt,
                repeated,
                said: None,
                asks_place: counts.has_others(line.number),
                has_others_of_kind: counts.has_others(line.kind),
            });
        }
        // The way to a mount point leads through the mounts above it, and one of those may be what
        // hangs. Not only its ancestors by mount id are on that way: a mount made later above or
        // at the same place covers it.
        for mount in &mut self.mounts {
            mount.may_block |= is_within_any(&mount.point, &blocking);
        }
        if refused {
            // So that the lines that are refused are counted at each collection.
            self.text.clear();
        }
        Ok(true)
    }
}

/// How many mounts there are of each type, and of each file system by its number.
struct Counts<'t>(HashMap<&'t [u8], usize>);

impl<'t> Counts<'t> {
    fn of(text: &'t [u8]) -> Self {
        let mut counts = HashMap::new();
        for line in lines(text).filter_map(|line| parse_line(line).ok()) {
            for word in [line.number, line.kind] {
                *counts.entry(word).or_default() += 1;
            }
        }
        Counts(counts)
    }

    fn has_others(&self, word: &[u8]) -> bool {
        self.0.get(word).is_some_and(|count| *count > 1)
    }
}

/// Whether hidepid hides the process (`ENOENT`, or `EPERM` and `EACCES` where it is only closed), or the process has
/// no mounts below its root (`ENODATA`).
fn is_hidden(error: &std::io::Error) -> bool {
    use std::io::ErrorKind;
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied)
        || error.raw_os_error() == Some(errno::ENODATA)
}

fn push(
    mount: &Mount,
    answer: Result<Space, StatfsError>,
    scratch: &mut Vec<u8>,
    batch: &mut Batch,
) {
    let (space, error) = match answer {
        Ok(space) => (Some(space), &b""[..]),
        Err(StatfsError::Stuck) => (None, STUCK),
        Err(StatfsError::NotAsked) => (None, &b"mountpoint not asked"[..]),
        Err(StatfsError::Failed(errno)) => (None, errno::words(errno, scratch)),
    };
    if !mount.repeated {
        let labels = batch.labels([&mount.device, &mount.point, &mount.kind, error]);
        batch.push(&DEVICE_ERROR, labels, space.is_none());
        batch.push(&READ_ONLY, labels, mount.read_only);
        if let Some(space) = space {
            let bytes = |blocks: u64| blocks as f64 * space.block_size as f64;
            batch.push(&SIZE, labels, bytes(space.blocks));
            batch.push(&FREE, labels, bytes(space.blocks_free));
            batch.push(&AVAILABLE, labels, bytes(space.blocks_available));
            batch.push(&FILES, labels, space.files);
            batch.push(&FILES_FREE, labels, space.files_free);
            batch.push(&PURGEABLE, labels, 0u64);
        }
    }
    if let (Some(_), Some((major, minor))) = (space, text::split_once(&mount.number, b':')) {
        batch.row(&MOUNT_INFO, [&mount.device, major, minor, &mount.point], 1u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitald_core::settings::Node;
    use vitald_core::testing::*;

    const MOUNTINFO: &str = "\
        22 28 0:21 / /proc rw,nosuid,nodev,noexec,relatime shared:14 - proc proc rw\n\
        28 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw,errors=remount-ro\n\
        30 28 0:24 / /run rw,nosuid,nodev shared:5 - tmpfs tmpfs rw,size=1617716k,mode=755\n\
        97 28 8:17 / /mnt/My\\040disk ro,relatime shared:61 - xfs /dev/sdb1 rw,attr2,inode64\n";

    fn space(blocks: u64) -> Space {
        Space {
            block_size: 4096,
            blocks,
            blocks_free: blocks / 2,
            blocks_available: blocks / 4,
            files: 100,
            files_free: 60,
            ..Space::default()
        }
    }

    fn memory(mountinfo: &str) -> MemoryHost {
        let memory = MemoryHost::from_files(&[("proc/1/mountinfo", mountinfo)]);
        memory.set_space("/", Ok(space(1000)));
        memory.set_space("/run", Ok(space(100)));
        memory.set_space("/mnt/My disk", Ok(space(u64::MAX)));
        memory
    }

    fn page(memory: &MemoryHost, settings: &[(&str, Node)]) -> String {
        let (batch, outcome) = run(&mut open::<Filesystem>(&memory.host(), settings), None);
        outcome.unwrap();
        render(&batch)
    }

    /// The mount points that a page shows.
    fn points(memory: &MemoryHost, settings: &[(&str, Node)]) -> Vec<String> {
        let page = page(memory, settings);
        let shown = page.lines().filter(|line| line.starts_with("node_filesystem_device_error{"));
        shown.map(|line| line.split('"').nth(3).unwrap().to_owned()).collect()
    }

    #[test]
    fn golden() {
        check::<Filesystem>(
            &memory(MOUNTINFO).host(),
            &[("mount_points_exclude", Node::from("^/(proc|run)"))],
            &expect![[r##"
                # node_filesystem_avail_bytes gauge
                node_filesystem_avail_bytes{device="/dev/vda1",mountpoint="/",fstype="ext4",device_error=""} 1.024e+06
                node_filesystem_avail_bytes{device="/dev/sdb1",mountpoint="/mnt/My disk",fstype="xfs",device_error=""} 1.888946593147858e+22
                # node_filesystem_device_error gauge
                node_filesystem_device_error{device="/dev/vda1",mountpoint="/",fstype="ext4",device_error=""} 0
                node_filesystem_device_error{device="/dev/sdb1",mountpoint="/mnt/My disk",fstype="xfs",device_error=""} 0
                # node_filesystem_files gauge
                node_filesystem_files{device="/dev/vda1",mountpoint="/",fstype="ext4",device_error=""} 100
                node_filesystem_files{device="/dev/sdb1",mountpoint="/mnt/My disk",fstype="xfs",device_error=""} 100
                # node_filesystem_files_free gauge
                node_filesystem_files_free{device="/dev/vda1",mountpoint="/",fstype="ext4",device_error=""} 60
                node_filesystem_files_free{device="/dev/sdb1",mountpoint="/mnt/My disk",fstype="xfs",device_error=""} 60
                # node_filesystem_free_bytes gauge
                node_filesystem_free_bytes{device="/dev/vda1",mountpoint="/",fstype="ext4",device_error=""} 2.048e+06
                node_filesystem_free_bytes{device="/dev/sdb1",mountpoint="/mnt/My disk",fstype="xfs",device_error=""} 3.777893186295716e+22
                # node_filesystem_mount_info gauge
                node_filesystem_mount_info{device="/dev/vda1",major="254",minor="1",mountpoint="/"} 1
                node_filesystem_mount_info{device="/dev/sdb1",major="8",minor="17",mountpoint="/mnt/My disk"} 1
                # node_filesystem_purgeable_bytes gauge
                node_filesystem_purgeable_bytes{device="/dev/vda1",mountpoint="/",fstype="ext4",device_error=""} 0
                node_filesystem_purgeable_bytes{device="/dev/sdb1",mountpoint="/mnt/My disk",fstype="xfs",device_error=""} 0
                # node_filesystem_readonly gauge
                node_filesystem_readonly{device="/dev/vda1",mountpoint="/",fstype="ext4",device_error=""} 0
                node_filesystem_readonly{device="/dev/sdb1",mountpoint="/mnt/My disk",fstype="xfs",device_error=""} 1
                # node_filesystem_size_bytes gauge
                node_filesystem_size_bytes{device="/dev/vda1",mountpoint="/",fstype="ext4",device_error=""} 4.096e+06
                node_filesystem_size_bytes{device="/dev/sdb1",mountpoint="/mnt/My disk",fstype="xfs",device_error=""} 7.555786372591432e+22
            "##]],
        );
    }

    #[test]
    fn a_mount_that_fails_says_why() {
        let memory = memory(MOUNTINFO);
        memory.set_space("/", Err(StatfsError::Stuck));
        memory.set_space("/run", Err(StatfsError::Failed(13)));
        memory.set_space("/mnt/My disk", Err(StatfsError::Failed(524)));
        check::<Filesystem>(
            &memory.host(),
            &[],
            &expect![[r#"
                # node_filesystem_device_error gauge
                node_filesystem_device_error{device="/dev/vda1",mountpoint="/",fstype="ext4",device_error="mountpoint timeout"} 1
                node_filesystem_device_error{device="tmpfs",mountpoint="/run",fstype="tmpfs",device_error="permission denied"} 1
                node_filesystem_device_error{device="/dev/sdb1",mountpoint="/mnt/My disk",fstype="xfs",device_error="errno 524"} 1
                # node_filesystem_readonly gauge
                node_filesystem_readonly{device="/dev/vda1",mountpoint="/",fstype="ext4",device_error="mountpoint timeout"} 0
                node_filesystem_readonly{device="tmpfs",mountpoint="/run",fstype="tmpfs",device_error="permission denied"} 0
                node_filesystem_readonly{device="/dev/sdb1",mountpoint="/mnt/My disk",fstype="xfs",device_error="errno 524"} 1
            "#]],
        );
    }

    #[test]
    fn mounts_that_do_not_answer_are_named() {
        let memory = memory(MOUNTINFO);
        let points = ["/", "/run", "/mnt/My disk"];
        points.iter().for_each(|point| memory.set_space(point, Err(StatfsError::Stuck)));
        let (batch, outcome) = run(&mut open::<Filesystem>(&memory.host(), &[]), None);
        outcome.unwrap();
        let fault = batch.fault().unwrap();
        assert!(fault.sources().eq(points), "{fault:?}");
        assert_eq!((fault.error, batch.faults()), ("the mount does not answer", 3));
    }

    #[test]
    fn filters_take_mount_points_and_types() {
        let memory = memory(MOUNTINFO);
        let shown = |settings: &[(&str, Node)]| points(&memory, settings).join(" ");
        assert_eq!(shown(&[]), "/ /run /mnt/My disk");
        assert_eq!(shown(&[("mount_points_include", Node::from("^/(proc|run)$"))]), "/run");
        assert_eq!(shown(&[("fs_types_include", Node::from("^(proc|xfs)$"))]), "/mnt/My disk");
        assert_eq!(shown(&[("fs_types_exclude", Node::from("^xfs$"))]), "/ /run");
        assert_eq!(shown(&[("ignored_mount_points", Node::from("^/$"))]), "/run /mnt/My disk");
        assert_eq!(shown(&[("ignored_fs_types", Node::from("tmpfs"))]), "/ /mnt/My disk");
        let all = [("mount_points_exclude", Node::from("")), ("fs_types_exclude", Node::from(""))];
        assert_eq!(shown(&all), "/proc / /run /mnt/My disk");
    }

    #[test]
    fn filters_that_contradict_each_other_are_refused() {
        let [exclude, include] =
            ["fs_types_exclude", "fs_types_include"].map(|key| (key, Node::from("a")));
        expect![
            "fs_types_include: cannot be used together with `fs_types_exclude`: remove one of them"
        ]
        .assert_eq(&refusal::<Filesystem>(&[exclude, include]));
    }

    #[test]
    fn read_only_after_an_error_is_seen_at_once() {
        let memory = memory("28 1 254:1 / / rw - ext4 /dev/vda1 rw\n");
        let mut collector = open::<Filesystem>(&memory.host(), &[]);
        let shown = |collector: &mut Filesystem| {
            let (batch, outcome) = run(collector, None);
            outcome.unwrap();
            let page = render(&batch);
            let line = page.lines().find(|line| line.starts_with("node_filesystem_readonly{"));
            line.unwrap().ends_with(" 1")
        };
        assert!(!shown(&mut collector));
        memory.write("proc/1/mountinfo", "28 1 254:1 / / rw - ext4 /dev/vda1 rw,emergency_ro\n");
        assert!(shown(&mut collector));
        memory.write("proc/1/mountinfo", "28 1 254:1 / / rw - ext4 /dev/vda1 ro\n");
        assert!(shown(&mut collector));
        memory.write("proc/1/mountinfo", "28 1 254:1 / / rw - ext4 /dev/vda1 rw,root=ro,rox\n");
        assert!(!shown(&mut collector));
    }

    /// What a collection shows, and how often it reads the list of mounts.
    fn shown(collector: &mut Filesystem) -> (String, u64) {
        let before = collector.renewal.count;
        let (batch, outcome) = run(collector, None);
        outcome.unwrap();
        let page = render(&batch);
        let lines = page.lines().filter(|line| line.starts_with("node_filesystem_readonly{"));
        let words =
            lines.map(|line| line.split('"').nth(3).unwrap().to_owned() + &line[line.len() - 2..]);
        (words.collect::<Vec<_>>().join(", "), collector.renewal.count - before)
    }

    /// Mounts that are announced, with a file system of ext4 and another one.
    fn announced() -> (MemoryHost, Filesystem) {
        let memory = MemoryHost::from_files(&[
            (
                "proc/1/mountinfo",
                "28 1 254:1 / / rw - ext4 /dev/vda1 rw\n30 28 8:1 / /x rw - xfs /dev/sda1 rw\n",
            ),
            ("sys/fs/ext4/vda1/errors_count", "0\n"),
        ]);
        memory.make_directory("sys/fs/ext4/features");
        for point in ["/", "/x", "/y"] {
            memory.set_space(point, Ok(space(1000)));
        }
        memory.announce("proc/1/mountinfo");
        let collector = open::<Filesystem>(&memory.host(), &[]);
        (memory, collector)
    }

    const MOVED: &str =
        "28 1 254:1 / / rw - ext4 /dev/vda1 ro\n30 28 8:1 / /y rw - xfs /dev/sda1 rw\n";

    /// Runs until the list is not read any more.
    fn settle(collector: &mut Filesystem) {
        assert_eq!(shown(collector), ("/ 0, /x 0".into(), 1));
        assert_eq!(shown(collector), ("/ 0, /x 0".into(), 1), "announced when it was made");
        for _ in 0..3 {
            assert_eq!(shown(collector), ("/ 0, /x 0".into(), 0));
        }
    }

    /// What has changed is shown at once, and read once more.
    fn shows_from_now(collector: &mut Filesystem, expected: &str) {
        for reads in [1, 1, 0, 0] {
            assert_eq!(shown(collector), (expected.into(), reads));
        }
    }

    #[test]
    fn the_list_is_read_when_a_change_is_announced() {
        let (memory, mut collector) = announced();
        settle(&mut collector);
        memory.write("proc/1/mountinfo", MOVED);
        assert_eq!(shown(&mut collector), ("/ 0, /x 0".into(), 0), "not announced");
        memory.announce("proc/1/mountinfo");
        shows_from_now(&mut collector, "/ 1, /y 0");
    }

    #[test]
    fn an_error_of_ext4_is_not_announced_and_seen_at_once() {
        let (memory, mut collector) = announced();
        settle(&mut collector);
        memory.write("proc/1/mountinfo", "28 1 254:1 / / rw - ext4 /dev/vda1 rw,emergency_ro\n");
        memory.write("sys/fs/ext4/vda1/errors_count", "1\n");
        shows_from_now(&mut collector, "/ 1");
    }

    #[test]
    fn what_statfs_says_tells_of_what_is_not_announced() {
        let (memory, mut collector) = announced();
        settle(&mut collector);
        // Another namespace made the file system read-only.
        memory.write("proc/1/mountinfo", MOVED.replace("/y", "/x"));
        memory.set_space("/", Ok(Space { flags: 1, ..space(1000) }));
        shows_from_now(&mut collector, "/ 1, /x 0");
        // A directory above the mount point got another name.
        memory.write("proc/1/mountinfo", MOVED);
        memory.set_space("/x", Err(StatfsError::Failed(2)));
        shows_from_now(&mut collector, "/ 1, /y 0");
        // And the old name is that of another directory by now.
        memory.write("proc/1/mountinfo", MOVED.replace("/y", "/x"));
        memory.set_space("/x", Ok(space(1000)));
        memory.set_space("/y", Ok(space(2000)));
        shows_from_now(&mut collector, "/ 1, /x 0");
    }

    /// A directory above a mount point got another name, and the old one is that of a directory of another file system,
    /// which is as large as what was mounted there.
    #[test]
    fn another_file_system_of_the_same_size_is_known_by_what_it_says_of_itself() {
        let (memory, mut collector) = announced();
        settle(&mut collector);
        memory.write("proc/1/mountinfo", MOVED);
        memory.set_space("/x", Ok(Space { id: 7, ..space(1000) }));
        shows_from_now(&mut collector, "/ 1, /y 0");
    }

    #[test]
    fn what_statfs_does_not_tell_apart_is_asked_for_its_place() {
        // A file system that is mounted twice, of which one mount is not shown; two of a type that say nothing of
        // themselves; two that say the same.
        let shared =
            "30 28 8:1 / /x rw - xfs /dev/sda1 rw\n31 28 8:1 /a /dev/z rw - xfs /dev/sda1 rw\n";
        let silent = "30 28 0:7 / /x rw - nfs4 s:/ rw\n31 28 0:8 / /proc/z rw - nfs4 s:/b rw\n";
        let alike = "30 28 8:1 / /x rw - xfs /dev/sda1 rw\n31 28 8:2 / /z rw - xfs /dev/sda2 rw\n";
        let alone = "30 28 8:1 / /x rw - xfs /dev/sda1 rw\n31 28 8:2 / /z rw - xfs /dev/sda2 rw\n";
        let others = [(shared, 1, 1), (silent, 0, 1), (alike, 1, 2), (alone, 1, 0)];
        for (case, (lines, id, asked)) in others.into_iter().enumerate() {
            let (memory, mut collector) = announced();
            let root = "28 1 254:1 / / rw - ext4 /dev/vda1 rw\n";
            memory.write("proc/1/mountinfo", format!("{root}{lines}"));
            let place = |inode| vitald_core::host::Place { inode, ..Default::default() };
            let of = |id, inode| Ok(Space { id, place: place(inode), ..space(1000) });
            memory.set_space("/", of(9, 1));
            memory.set_space("/x", of(id, 2));
            memory.set_space("/z", of(if case == 3 { 3 } else { id }, 3));
            for _ in 0..3 {
                shown(&mut collector);
            }
            assert_eq!(shown(&mut collector).1, 0, "case {case}");
            let asking = collector.mounts.iter().filter(|mount| mount.asks_place);
            assert_eq!(asking.count(), asked, "case {case}");
            memory.write("proc/1/mountinfo", format!("{root}{lines}").replace("/x", "/y"));
            memory.set_space("/y", of(id, 2));
            memory.set_space("/x", of(id, 4));
            let (points, reads) = shown(&mut collector);
            assert_eq!((points.contains("/y"), reads), (asked > 0, u64::from(asked > 0)));
        }
    }

    /// Process 1 of a container may take another root or other mounts at any time.
    #[test]
    fn a_list_that_has_lost_its_process_is_opened_again() {
        let path = "proc/1/mountinfo";
        let (memory, mut collector) = announced();
        settle(&mut collector);
        // What is open has nothing, or some of the mounts with other names.
        for left in ["", "30 28 8:1 / / rw - xfs /dev/sda1 rw\n"] {
            memory.announce(path);
            memory.replace(path, left, MOVED);
            memory.announce(path);
            for _ in 0..3 {
                assert_eq!(shown(&mut collector).0, "/ 1, /y 0");
            }
            memory.write(path, MOVED.replace("/y", "/x"));
            memory.announce(path);
            assert_eq!(shown(&mut collector).0, "/ 1, /x 0");
            shown(&mut collector);
        }
        // It has none at all: our own are shown, and that is said.
        memory.announce(path);
        memory.replace(path, "", "");
        assert!(run(&mut collector, None).1.is_err(), "there are no own ones");
        memory.write("proc/self/mountinfo", MOVED);
        for _ in 0..3 {
            let (batch, outcome) = run(&mut collector, None);
            outcome.unwrap();
            assert_eq!(batch.degraded_reason(), Some("own mounts"));
            assert!(render(&batch).contains("mountpoint=\"/y\""));
        }
        // And these are none, either.
        memory.write("proc/self/mountinfo", "");
        memory.announce("proc/self/mountinfo");
        check_fails::<Filesystem>(
            &memory.host(),
            &[],
            &expect!["proc/self/mountinfo: No data available (os error 61)"],
            &expect![""],
        );
    }

    #[test]
    fn free_space_is_no_reason_to_read_the_list() {
        let (memory, mut collector) = announced();
        settle(&mut collector);
        memory.set_space("/", Ok(Space { blocks_free: 1, files_free: 2, ..space(1000) }));
        assert_eq!(shown(&mut collector), ("/ 0, /x 0".into(), 0));
    }

    #[test]
    fn the_list_is_read_each_time_where_a_change_could_be_missed() {
        // A mount that does not answer; ext4 whose errors are hidden; a type that names its devices.
        let silent = "30 28 0:9 / /x rw - btrfs /dev/sda1 rw\n";
        for case in 0..3 {
            let (memory, mut collector) = announced();
            match case {
                0 => memory.set_space("/x", Err(StatfsError::Failed(13))),
                1 => memory.remove("sys/fs/ext4/vda1"),
                _ => memory.write("proc/1/mountinfo", silent),
            }
            for _ in 0..4 {
                let (_, reads) = shown(&mut collector);
                assert_eq!(reads, 1, "case {case}");
            }
        }
    }

    #[test]
    fn own_mounts_are_known_to_be_those_also_when_they_are_not_read() {
        let memory = MemoryHost::from_files(&[(
            "proc/self/mountinfo",
            "30 28 8:1 / /x rw - xfs /dev/sda1 rw\n",
        )]);
        memory.set_space("/x", Ok(space(1000)));
        memory.announce("proc/self/mountinfo");
        let mut collector = open::<Filesystem>(&memory.host(), &[]);
        for number in 0..4 {
            let before = memory.reads();
            let (batch, outcome) = run(&mut collector, None);
            outcome.unwrap();
            assert_eq!(batch.degraded_reason(), Some("own mounts"));
            assert_eq!(memory.reads() - before, if number < 2 { 2 } else { 0 });
        }
    }

    #[test]
    fn the_own_mounts_stand_in_for_hidden_ones() {
        for failure in [None, Some(1), Some(13)] {
            let memory = MemoryHost::from_files(&[("proc/self/mountinfo", MOUNTINFO)]);
            if let Some(errno) = failure {
                memory.fail("proc/1/mountinfo", errno);
            }
            let (batch, outcome) = run(&mut open::<Filesystem>(&memory.host(), &[]), None);
            outcome.unwrap();
            assert_eq!(batch.degraded_reason(), Some("own mounts"));
            assert_eq!(batch.len(), 6);
        }
        let memory = memory(MOUNTINFO);
        memory.fail("proc/1/mountinfo", 5);
        check_fails::<Filesystem>(
            &memory.host(),
            &[],
            &expect!["proc/1/mountinfo: Input/output error (os error 5)"],
            &expect![""],
        );
        check_fails::<Filesystem>(
            &MemoryHost::new().host(),
            &[],
            &expect!["proc/self/mountinfo: not on this host"],
            &expect![""],
        );
    }

    #[test]
    fn a_mount_is_shown_once() {
        let memory = memory(
            "1 0 0:30 / /run rw - tmpfs tmpfs rw\n\
             2 1 0:30 / /run rw,noexec - tmpfs tmpfs rw\n\
             3 2 0:31 / /run rw - tmpfs tmpfs rw\n",
        );
        let (batch, outcome) = run(&mut open::<Filesystem>(&memory.host(), &[]), None);
        outcome.unwrap();
        assert_eq!(batch.dropped().duplicates, 0);
        let page = render(&batch);
        let count = |family: &str| page.lines().filter(|line| line.starts_with(family)).count();
        assert_eq!(count("node_filesystem_size_bytes{"), 1);
        assert_eq!(count("node_filesystem_mount_info{"), 2);
    }

    #[test]
    fn what_lies_behind_a_mount_that_may_block_may_block() {
        let memory = memory(
            "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n\
             2 1 0:40 / /net rw - nfs4 server:/ rw\n\
             3 2 8:2 / /net/a rw - ext4 /dev/sda2 rw\n\
             4 1 8:3 / /network rw - ext4 /dev/sda3 rw\n\
             5 1 8:4 / /over/b rw - ext4 /dev/sda4 rw\n\
             6 1 0:41 / /over rw - fuse.sshfs host:/ rw\n",
        );
        let mut collector = open::<Filesystem>(&memory.host(), &[]);
        run(&mut collector, None).1.unwrap();
        let may_block: Vec<_> = collector
            .mounts
            .iter()
            .filter(|mount| mount.may_block)
            .map(|mount| String::from_utf8_lossy(&mount.point))
            .collect();
        assert_eq!(may_block, ["/net", "/net/a", "/over/b", "/over"]);
    }

    #[test]
    fn types_are_sought_by_name_and_each_is_there_once() {
        let sorted: std::collections::BTreeSet<_> = PROMPT_TYPES.iter().collect();
        assert_eq!(sorted.len(), PROMPT_TYPES.len());
        for kind in
            ["nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "fuse", "fuseblk", "autofs", "zfs"]
        {
            assert!(!PROMPT_TYPES.contains(&kind.as_bytes()), "{kind}");
        }
    }

    #[test]
    fn refused_lines_are_counted_at_each_collection() {
        let memory =
            memory("28 1 254:1 / / rw - ext4 /dev/vda1 rw\nx\n30 28 254-2 / / rw - a b c\n");
        let mut collector = open::<Filesystem>(&memory.host(), &[]);
        for _ in 0..2 {
            let (batch, outcome) = run(&mut collector, None);
            outcome.unwrap();
            assert_eq!(batch.len(), 9);
            assert_eq!(batch.malformed(), Some((2, Malformed::new(1, "a hyphen"))));
        }
    }

    #[test]
    fn mount_points_lose_the_root_s_prefix() {
        assert_eq!(below(b"/", b"/mnt"), b"/mnt");
        assert_eq!(below(b"/host", b"/host"), b"/");
        assert_eq!(below(b"/host/", b"/host/mnt"), b"/mnt");
        assert_eq!(below(b"/host", b"/hostage"), b"/hostage");
    }

    #[test]
    fn takes_what_the_kernel_writes() {
        let line =
            parse_line(b"36 35 0:44 / /mnt rw master:1 propagate_from:2 - tmpfs  rw").unwrap();
        assert_eq!((line.number, line.device, line.kind), (&b"0:44"[..], &b""[..], &b"tmpfs"[..]));
    }

    #[test]
    fn refuses_bad_text() {
        rejects(
            |line| parse_line(line).map(|line| line.read_only),
            &[
                "",
                "36 35 0:44 / /mnt rw tmpfs tmpfs rw",
                "36 35 0:44 / /mnt - tmpfs tmpfs rw",
                "36 35 0:44 / /mnt rw - tmpfs tmpfs",
                "36 35 0: / /mnt rw - tmpfs tmpfs rw",
                "36 x 0:44 / /mnt rw - tmpfs tmpfs rw",
                " - ",
            ],
        );
    }
}
