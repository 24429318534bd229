//! The same handles on both makes: what must hold whatever is below.

use super::*;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

/// Says that a test asserts nothing on this machine, in the words that CI looks for. Where
/// everything is there, that is a failure.
#[allow(clippy::print_stdout)]
pub(super) fn left_out(reason: &str) {
    let all_there = std::env::var_os("VITALD_ALL_THERE").is_some();
    assert!(!all_there, "left out: {reason}");
    println!("left out: {reason}");
}

/// A directory of its own, removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("vitald-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }

    fn write(&self, path: &str, content: &str) {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// A host all of whose roots are below.
    fn host(&self) -> Host {
        Host::new(Roots {
            procfs: self.0.join("proc"),
            sysfs: self.0.join("sys"),
            rootfs: self.0.join("rootfs"),
            udev: self.0.join("udev"),
        })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

fn real() -> Host {
    Host::new(Roots::default())
}

#[test]
fn a_file_that_comes_late_is_read_without_a_reload() {
    let memory = MemoryHost::new();
    let mut file = memory.host().keep("proc/mdstat");
    assert!(matches!(file.read(), Err(Error::Absent { path }) if &*path == "proc/mdstat"));
    assert_eq!(file.optional().unwrap(), None);
    memory.write("proc/mdstat", "Personalities :\n");
    assert_eq!(file.read().unwrap(), b"Personalities :\n");
    memory.remove("proc/mdstat");
    assert!(matches!(file.read(), Err(Error::Absent { .. })));
    memory.write("proc/mdstat", "anew");
    assert_eq!(file.optional().unwrap(), Some(&b"anew"[..]));

    let scratch = Scratch::new();
    let mut file = scratch.host().keep("proc/mdstat");
    assert!(matches!(file.read(), Err(Error::Absent { .. })));
    scratch.write("proc/mdstat", "one");
    assert_eq!(file.read().unwrap(), b"one");
    // A replaced file on an ordinary file system is another one, not the descriptor's.
    fs::remove_file(scratch.0.join("proc/mdstat")).unwrap();
    scratch.write("proc/mdstat", "two");
    assert_eq!(file.read().unwrap(), b"two");
}

#[test]
fn a_device_that_has_gone_is_looked_for_once_more() {
    let memory = MemoryHost::from_files(&[("sys/class/x/value", "old")]);
    let mut file = memory.host().keep_whole("sys/class/x/value");
    assert_eq!(file.read().unwrap(), b"old");
    memory.remove("sys/class/x");
    memory.write("sys/class/x/value", "new");
    assert_eq!(file.read().unwrap(), b"new");
}

#[test]
fn failures_are_of_one_read() {
    let memory = MemoryHost::from_files(&[("sys/a", "1")]);
    let mut file = memory.host().keep_whole("sys/a");
    for (errno, absent) in [(22, false), (13, false), (5, false), (19, true), (3, true)] {
        memory.fail("sys/a", errno);
        match file.read() {
            Err(Error::Absent { .. }) => assert!(absent, "{errno}"),
            Err(Error::Unreadable { source, .. }) => {
                assert_eq!(source.raw_os_error(), Some(errno));
                assert!(!absent, "{errno}");
            }
            other => panic!("{errno}: {other:?}"),
        }
        assert!(file.try_read().is_err());
        memory.write("sys/a", "2");
        assert_eq!(file.read().unwrap(), b"2");
    }
}

#[test]
fn files_of_every_size_are_read_to_their_end() {
    let memory = MemoryHost::new();
    let scratch = Scratch::new();
    let hosts = [memory.host(), scratch.host()];
    for size in [0, 1, 511, 512, 513, 2047, 2048, 4095, 4096, 4097, 8192, 100_000] {
        let text: String = ('a'..='z').cycle().take(size).collect();
        for path in ["proc/file", "sys/file"] {
            memory.write(path, &text);
            scratch.write(path, &text);
            for host in &hosts {
                for mut file in [
                    host.keep(path),
                    host.keep_whole(path),
                    // On a regular file a short read is the end, so any record is short enough.
                    host.keep_short_records(path),
                ] {
                    assert!(file.read().unwrap() == text.as_bytes(), "{path} of {size}");
                    assert!(file.read().unwrap() == text.as_bytes(), "{path} of {size}, again");
                }
                let mut buffer = Vec::new();
                assert_eq!(host.read(path, &mut buffer).unwrap(), text.as_bytes());
            }
        }
    }
}

#[test]
fn the_end_costs_a_read_only_where_it_must() {
    let memory = MemoryHost::from_files(&[("proc/short", "text"), ("proc/full", "text")]);
    memory.write("proc/page", "x".repeat(3000));
    let host = memory.host();
    let reads = |mut file: KeptFile| {
        file.read().unwrap();
        let before = memory.reads();
        file.read().unwrap();
        memory.reads() - before
    };
    assert_eq!(reads(host.keep("proc/short")), 2);
    assert_eq!(reads(host.keep_short_records("proc/short")), 1);
    assert_eq!(reads(host.keep_whole("proc/short")), 1);
    assert_eq!(reads(host.keep_short_records("proc/page")), 2);
    assert_eq!(reads(host.keep_whole("proc/page")), 1);
}

/// Only the extent that reads to 0 bytes is right whatever a read gives.
#[test]
fn short_reads_are_no_end() {
    let memory = MemoryHost::from_files(&[("proc/file", "0123456789")]);
    memory.set_chunk(3);
    let host = memory.host();
    assert_eq!(host.keep("proc/file").read().unwrap(), b"0123456789");
    assert_eq!(host.keep_whole("proc/file").read().unwrap(), b"012");
}

#[test]
fn a_file_that_cannot_be_opened_goes_on_where_it_is_open() {
    let memory = MemoryHost::from_files(&[("proc/a", "1"), ("proc/d/b", "2")]);
    let host = memory.host();
    let mut kept = host.keep("proc/a");
    kept.read().unwrap();
    memory.fail_open("proc/a", 13);
    memory.fail_open("proc/d", 24);
    assert_eq!(kept.read().unwrap(), b"1");
    let errno = |path| host.try_read(path, &mut Vec::new()).err()?.raw_os_error();
    assert_eq!(errno("proc/a"), Some(13));
    let listed = host.list("proc/d", &mut Listing::new());
    assert!(
        matches!(listed, Err(Error::Unreadable { source, .. }) if source.raw_os_error() == Some(24))
    );
    // Only the directory itself is refused, not the way through it.
    assert_eq!(errno("proc/d/b"), None);
    memory.write("proc/a", "3");
    assert_eq!(errno("proc/a"), None);
}

crate::attributes! {
    /// A child with a value.
    Valued {
        VALUE: text = "value";
    }
}

#[test]
fn names_are_bytes() {
    let memory = MemoryHost::new();
    memory.write(b"sys/c/\xff\xfe/value", "1");
    memory.link(b"sys/c/\xf0", b"\xff\xfe");
    memory.rename(b"sys/c/\xff\xfe", b"sys/c/\xff");
    memory.link(b"sys/c/a", b"\xff");
    let host = memory.host();
    let mut listing = Listing::new();
    host.list("sys/c", &mut listing).unwrap();
    let names: Vec<_> = listing.iter().map(|entry| (entry.name, entry.kind)).collect();
    let expected: [(&[u8], _); 3] =
        [(b"a", Kind::Link), (b"\xf0", Kind::Link), (b"\xff", Kind::Directory)];
    assert_eq!(names, expected);
    let mut walk: Walk<Valued> = host.walk("sys/c/*");
    let child = walk.refresh().unwrap().last().unwrap();
    assert_eq!(child.name(0), b"\xff");
    assert_eq!(child.text(&Valued::VALUE).unwrap(), b"1");
    let mut real = Vec::new();
    assert_eq!(host.real_path("sys/c/a", &mut real).unwrap(), b"sys/c/\xff");
    assert_eq!(memory.content(b"sys/c/\xff/value"), Some(b"1".to_vec()));
    assert_eq!(memory.files(), ["sys/c/\u{fffd}/value"]);
}

/// It is done in far less than a second; each look-up by a walk through all names would take hours.
#[test]
fn the_memory_host_has_room_for_a_large_machine() {
    let memory = MemoryHost::new();
    let attributes: Vec<String> = (0..20).map(|number| format!("statistics/{number}")).collect();
    for interface in 0..5_000 {
        for attribute in &attributes {
            memory.write(format!("sys/devices/eth{interface}/{attribute}"), "1\n");
        }
        let target = format!("../../devices/eth{interface}");
        memory.link(format!("sys/class/net/eth{interface}"), target);
    }
    let (host, mut text) = (memory.host(), Vec::new());
    let mut listing = Listing::new();
    host.list("sys/class/net", &mut listing).unwrap();
    let mut read = 0;
    for interface in listing.iter() {
        let name = String::from_utf8_lossy(interface.name);
        read += attributes
            .iter()
            .filter(|attribute| {
                let path = format!("sys/class/net/{name}/{attribute}");
                host.try_read(&path, &mut text).unwrap() == b"1\n"
            })
            .count();
    }
    assert_eq!(read, 100_000);
}

#[test]
fn the_memory_host_lists_like_a_file_system() {
    let memory = MemoryHost::from_files(&[
        ("sys/c/a/x/y", ""),
        ("sys/c/a.b", ""),
        ("sys/c/a0", ""),
        ("sys/c/ab/z", ""),
        ("sys/cc", ""),
    ]);
    let mut listing = Listing::new();
    memory.host().list("sys/c", &mut listing).unwrap();
    let names: Vec<_> = listing.iter().map(|entry| entry.name).collect();
    assert_eq!(names, [&b"a"[..], b"a.b", b"a0", b"ab"]);
    memory.remove("sys/c/a");
    memory.host().list("sys/c", &mut listing).unwrap();
    assert_eq!(listing.len(), 3);
}

#[test]
fn paths_that_climb_are_refused() {
    let scratch = Scratch::new();
    scratch.write("secret", "s");
    scratch.write("proc/a..b", "kept");
    let mut buffer = Vec::new();
    for host in [scratch.host(), MemoryHost::from_files(&[("proc/a..b", "kept")]).host()] {
        for path in ["proc/../secret", "proc/..", "sys/x/../../secret", "etc/passwd", "", "proc\0"]
        {
            let read = host.read(path, &mut buffer);
            assert!(
                matches!(&read, Err(Error::Unreadable { source, .. }) if source.raw_os_error() == Some(22)),
                "{path}: {read:?}"
            );
        }
        assert_eq!(host.read("proc/a..b", &mut buffer).unwrap(), b"kept");
    }
}

#[test]
fn a_user_names_files_beside_the_roots() {
    let scratch = Scratch::new();
    scratch.write("textfile/a.prom", "a 1\n");
    let path = format!("file:{}/textfile", scratch.0.display());
    let host = scratch.host();
    let (mut listing, mut buffer) = (Listing::new(), Vec::new());
    host.list(&path, &mut listing).unwrap();
    assert_eq!(listing.iter().map(|entry| entry.name).collect::<Vec<_>>(), [b"a.prom"]);
    let path = format!("{path}/a.prom");
    assert_eq!(host.read(&path, &mut buffer).unwrap(), b"a 1\n");
    let age = host.now().as_secs_f64() - host.modified(&path).unwrap();
    assert!((-1.0..60.0).contains(&age), "{age}");
    assert!(matches!(host.modified("file:/no such file"), Err(Error::Absent { .. })));

    let memory = MemoryHost::from_files(&[("file:/var/lib/x.prom", "x 1\n")]);
    memory.set_modified("file:/var/lib/x.prom", 1.5);
    let host = memory.host();
    assert_eq!(host.read("file:/var/lib/x.prom", &mut buffer).unwrap(), b"x 1\n");
    assert_eq!(host.modified("file:/var/lib/x.prom").unwrap(), 1.5);
    host.list("file:/var/lib", &mut listing).unwrap();
    assert_eq!(listing.len(), 1);
}

/// As images are made, and as `cp -p` does.
#[cfg(target_os = "linux")]
#[test]
fn a_file_of_the_same_time_is_another_version() {
    let scratch = Scratch::new();
    let host = scratch.host();
    let file = |name: &str| scratch.0.join("textfile").join(name);
    let path = format!("file:{}", file("a").display());
    let mut versions: Vec<Version> = Vec::new();
    let mut is_new = || {
        let version = host.try_version(&path).unwrap();
        assert_eq!(host.try_version(&path).unwrap(), version);
        let is_new = !versions.contains(&version);
        versions.push(version);
        is_new
    };
    let write = |name: &str, content: &str| {
        scratch.write(&format!("textfile/{name}"), content);
        let time = std::time::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        fs::File::options().write(true).open(file(name)).unwrap().set_modified(time).unwrap();
    };
    write("a", "a 1\n");
    assert!(is_new() && !is_new());
    // Another file of as many bytes.
    write("b", "a 2\n");
    fs::rename(file("b"), file("a")).unwrap();
    assert!(is_new());
    // More bytes in the same file.
    write("a", "a 34\n");
    assert!(is_new());
    // As many, once the file system's clock has gone on.
    let dated = host.try_version(&path).unwrap();
    let mut rewrites = 0..100_000;
    let has_changed = rewrites.any(|_| {
        write("a", "a 56\n");
        host.try_version(&path).unwrap() != dated
    });
    assert!(has_changed);
    assert_eq!((dated.modified, dated.size), (1e9, 5));
    assert!(host.try_version("file:/no such file").is_err());
    // A place is of a mount, too.
    let [root, proc] = ["file:/", "file:/proc"].map(|path| host.try_version(path).unwrap().place);
    assert_ne!((root.device, root.mount), (proc.device, proc.mount));
}

#[cfg(target_os = "linux")]
#[test]
fn a_version_has_dates_of_every_century() {
    let scratch = Scratch::new();
    let host = scratch.host();
    scratch.write("textfile/a", "a 1\n");
    let path = scratch.0.join("textfile/a");
    let name = format!("file:{}", path.display());
    let epoch = std::time::UNIX_EPOCH;
    for time in [epoch - Duration::from_millis(86_400_500), epoch + Duration::from_secs(1 << 36)] {
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(time).unwrap();
        // The file system may have no such times.
        let kept = file.metadata().unwrap().modified().unwrap();
        let kept = kept
            .duration_since(epoch)
            .map_or_else(|before| -before.duration().as_secs_f64(), |after| after.as_secs_f64());
        assert_eq!(host.try_version(&name).unwrap().modified, kept);
    }
    assert!(host.try_version(&name).unwrap().is_regular);
    let folder = format!("file:{}", scratch.0.display());
    assert!(!host.try_version(&folder).unwrap().is_regular);
}

#[cfg(target_os = "linux")]
#[test]
fn a_fifo_does_not_hold_us_up() {
    let scratch = Scratch::new();
    let path = scratch.0.join("x.prom");
    let made = rustix::fs::mknodat(
        rustix::fs::CWD,
        &path,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    );
    made.unwrap();
    let path = format!("file:{}", path.display());
    let read = real().try_read(&path, &mut Vec::new()).map(<[u8]>::len);
    // ESPIPE: a source is read at an offset, and a FIFO has none.
    assert_eq!(read.unwrap_err().raw_os_error(), Some(29));
}

#[test]
fn listings_are_sorted_and_say_what_is_what() {
    let scratch = Scratch::new();
    scratch.write("sys/d/b", "");
    scratch.write("sys/d/a/x", "");
    let memory = MemoryHost::from_files(&[("sys/d/b", ""), ("sys/d/a/x", "")]);
    memory.link("sys/d/c", "a");
    #[cfg(unix)]
    std::os::unix::fs::symlink("a", scratch.0.join("sys/d/c")).unwrap();
    let mut listing = Listing::new();
    for host in [scratch.host(), memory.host()] {
        host.list("sys/d", &mut listing).unwrap();
        let entries: Vec<_> = listing.iter().map(|entry| (entry.name, entry.kind)).collect();
        let expected =
            [(&b"a"[..], Kind::Directory), (&b"b"[..], Kind::File), (&b"c"[..], Kind::Link)];
        assert_eq!(entries, expected);
        assert_eq!(listing.find(b"b").map(|entry| entry.kind), Some(Kind::File));
        assert_eq!(listing.find(b"bb"), None);
        let mut buffer = Vec::new();
        assert_eq!(host.read_link("sys/d/c", &mut buffer).unwrap(), b"a");
        assert!(host.read_link("sys/d/b", &mut buffer).is_err());
        assert!(host.read("sys/d/c/x", &mut buffer).is_ok());
        assert!(matches!(host.list("sys/none", &mut listing), Err(Error::Absent { .. })));
        assert!(listing.is_empty());
        assert!(matches!(host.list("sys/d/b", &mut listing), Err(Error::Absent { .. })));
    }
}

#[test]
fn a_link_to_itself_leads_nowhere() {
    let memory = MemoryHost::new();
    memory.link("sys/loop", "loop");
    let mut buffer = Vec::new();
    let error = memory.host().try_read("sys/loop", &mut buffer).map(<[u8]>::len).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(40));
    memory.link("sys/link", "../devices/x");
    assert_eq!(memory.host().read_link("sys/link", &mut buffer).unwrap(), b"../devices/x");
}

#[test]
fn the_memory_host_tells_what_it_was_told() {
    let memory = MemoryHost::from_files(&[("proc/b", "2"), ("proc/a", "1")]);
    let host = memory.host();
    assert_eq!(memory.files(), ["proc/a", "proc/b"]);
    assert_eq!(memory.content("proc/a"), Some(b"1".to_vec()));
    memory.set_now(Duration::from_millis(1500));
    assert_eq!(host.now(), Duration::from_millis(1500));
    let mut uname = Uname::default();
    host.uname(&mut uname);
    assert_eq!(uname.sysname, "Linux");
    let mut queue = StatfsQueue::new();
    memory.set_space("/", Ok(Space { blocks: 7, ..Space::default() }));
    memory.set_space("/nfs", Err(StatfsError::Stuck));
    for mount in ["/", "/nfs", "/other"] {
        queue.push(mount.as_bytes(), b"", b"", true);
    }
    host.statfs_each(&mut queue, Duration::from_secs(1), Duration::MAX);
    assert_eq!(queue.answer(0).unwrap().blocks, 7);
    assert_eq!(queue.answer(1), Err(StatfsError::Stuck));
    assert_eq!(queue.answer(2), Err(StatfsError::Failed(2)));
    assert_eq!(host.zone().at(0), ("UTC", 0));
    assert_eq!(host.view().processes, Namespace::Unknown);
}

#[cfg(target_os = "linux")]
#[test]
fn the_memory_host_has_interfaces() {
    let memory = MemoryHost::new();
    let host = memory.host();
    assert!(matches!(host.route_socket().links(&mut |_| ()), Err(Error::Absent { .. })));
    memory.set_links(vec![Link { index: 1, name: b"lo", ..Link::default() }]);
    let mut seen = Vec::new();
    host.route_socket().links(&mut |link| seen.push((link.index, link.name.to_vec()))).unwrap();
    assert_eq!(seen, [(1, b"lo".to_vec())]);
}

#[cfg(target_os = "linux")]
mod live {
    use super::*;

    fn open_descriptors(of: &str) -> usize {
        let entries = fs::read_dir("/proc/self/fd").unwrap();
        let targets = entries.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok());
        targets.filter(|target| target.as_os_str().to_string_lossy().contains(of)).count()
    }

    #[test]
    fn kernel_files_are_kept_open_and_others_are_not() {
        let host = real();
        let mut version = host.keep_whole("proc/version");
        assert!(version.read().unwrap().starts_with(b"Linux version"));
        assert_eq!(open_descriptors("/proc/version"), 1);
        assert!(version.read().unwrap().starts_with(b"Linux version"));
        assert_eq!(open_descriptors("/proc/version"), 1);
        drop(version);
        assert_eq!(open_descriptors("/proc/version"), 0);
        // The same file by way of rootfs would hold up an unmount, were it another one.
        let mut version = host.keep("rootfs/proc/version");
        assert!(version.read().is_ok());
        assert_eq!(open_descriptors("/proc/version"), 0);
    }

    #[test]
    fn each_way_of_reading_gives_the_same() {
        let host = real();
        let (mut buffer, mut compared) = (Vec::new(), 0);
        for path in ["proc/cpuinfo", "proc/filesystems", "proc/kallsyms", "proc/devices"] {
            let Ok(expected) = fs::read(format!("/{path}")) else { continue };
            if expected.len() > 60 << 20 {
                continue;
            }
            let same = |read: &[u8]| read.len() == expected.len();
            assert!(same(host.keep(path).read().unwrap()), "{path}");
            assert!(same(host.keep_short_records(path).read().unwrap()), "{path}");
            assert!(same(host.read(path, &mut buffer).unwrap()), "{path}");
            compared += 1;
        }
        assert!(compared > 0, "this host has none of them");
        for path in ["proc/stat", "proc/meminfo", "proc/sys/kernel/osrelease", "proc/net/netstat"] {
            let lines = |text: &[u8]| text.iter().filter(|&&byte| byte == b'\n').count();
            let expected = lines(&fs::read(format!("/{path}")).unwrap());
            assert_eq!(lines(host.keep_whole(path).read().unwrap()), expected, "{path}");
            assert_eq!(lines(host.keep(path).read().unwrap()), expected, "{path}");
        }
    }

    #[test]
    fn a_process_that_has_gone_is_absent() {
        let mut child =
            std::process::Command::new("/bin/sleep").arg("60").spawn().expect("sleep starts");
        let mut stat = real().keep_whole(format!("proc/{}/stat", child.id()));
        assert!(stat.read().is_ok());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(matches!(stat.read(), Err(Error::Absent { .. })));
    }

    #[test]
    fn the_kernel_says_who_it_is() {
        let mut uname = Uname::default();
        real().uname(&mut uname);
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
        assert_eq!((uname.sysname.as_str(), uname.release.as_str()), ("Linux", release.trim_end()));
        assert!(real().page_size().is_power_of_two());
        assert!(real().ticks_per_second() > 0.0);
        assert!(real().now() > Duration::from_secs(1_700_000_000));
        real().zone();
        // Whatever this machine is, the namespace of the own processes is the host's or not.
        assert_ne!(real().view().processes, Namespace::Unknown);
    }
}

/// Large ones and small ones, with long names.
#[test]
#[cfg(target_os = "linux")]
fn a_directory_of_sysfs_is_listed_to_its_end() {
    let host = Host::new(Default::default());
    let mut seen = 0;
    for path in ["sys", "sys/bus", "sys/class", "sys/class/tty", "sys/kernel/slab", "sys/module"] {
        let Ok(handle) = host.open(path.as_bytes(), Opened::Directory) else { continue };
        let [mut new, mut again] = [(); 2].map(|()| Listing::new());
        host.list_opened(&handle, Listed::New, &mut new).unwrap();
        host.list_opened(&handle, Listed::Again, &mut again).unwrap();
        seen = seen.max(again.len());
        let names = |listing: &Listing| -> Vec<Vec<u8>> {
            listing.iter().map(|entry| entry.name.to_vec()).collect()
        };
        assert_eq!(names(&new), names(&again), "{path}");
    }
    if seen < 300 {
        left_out("no directory of sysfs has more entries than one call gives");
    }
}
