//! The bottom of the real host on Linux: one function a system call, and nothing kept.

use std::ffi::CStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, PROC_SUPER_MAGIC, RawDir, SeekFrom, Statx, StatxFlags,
    makedev,
};
use rustix::io::Errno;

use super::listing::{Kind, Listed, Listing};
use super::opened::Opened;
use super::space::{Space, StatfsError};
use super::uname::Uname;
use super::version::{Place, Version, seconds};

/// `SYSFS_MAGIC` of linux/magic.h.
const SYSFS_MAGIC: u64 = 0x6265_6572;

/// What an opened file is held by.
pub(super) type Descriptor = OwnedFd;

pub(super) fn open(
    directory: Option<&Descriptor>,
    path: &CStr,
    opened: Opened,
) -> io::Result<Descriptor> {
    // Without NONBLOCK a FIFO in the textfile directory would hold up the daemon for ever; on regular
    // files, procfs and sysfs it has no effect.
    let mut flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
    if opened == Opened::Directory {
        flags |= OFlags::DIRECTORY;
    }
    Ok(loop {
        let descriptor = match directory {
            Some(directory) => rustix::fs::openat(directory, path, flags, Mode::empty()),
            None => rustix::fs::openat(CWD, path, flags, Mode::empty()),
        };
        match descriptor {
            Err(Errno::INTR) => {}
            descriptor => break descriptor?,
        }
    })
}

/// Whether the file is the kernel's own, on procfs or sysfs.
pub(super) fn is_kernel_made(descriptor: &Descriptor) -> bool {
    rustix::fs::fstatfs(descriptor).is_ok_and(|status| {
        let magic = u64::from(status.f_type as u32);
        magic == u64::from(PROC_SUPER_MAGIC as u32) || magic == SYSFS_MAGIC
    })
}

/// Appends to the buffer's spare room what pread(2) gives at that offset.
pub(super) fn read_at(
    descriptor: &Descriptor,
    buffer: &mut Vec<u8>,
    offset: u64,
) -> io::Result<usize> {
    loop {
        match rustix::io::pread(descriptor, rustix::buffer::spare_capacity(buffer), offset) {
            Err(Errno::INTR) => {}
            read => return Ok(read?),
        }
    }
}

/// Whether the kernel would announce a change of the file (`POLLERR` and `POLLPRI` of poll(2)) and has none
/// to announce. Being asked, it forgets what it had.
///
/// What says nothing of its changes can always be written, as far as poll(2) knows: that is the answer for
/// files that do not care (`DEFAULT_POLLMASK` of linux/poll.h).
pub(super) fn is_announced_unchanged(descriptor: &Descriptor) -> bool {
    let wanted = PollFlags::IN | PollFlags::OUT | PollFlags::PRI;
    let mut asked = [PollFd::new(descriptor, wanted)];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut asked, Some(&at_once)).is_ok() && asked[0].revents() == PollFlags::IN
}

/// Lists an opened directory from its beginning.
pub(super) fn list(
    descriptor: &Descriptor,
    directory: Listed,
    listing: &mut Listing,
) -> io::Result<()> {
    if directory != Listed::New {
        rustix::fs::seek(descriptor, SeekFrom::Start(0))?;
    }
    // On the stack: a collector has a listing for each directory that it walks.
    let mut records = [MaybeUninit::uninit(); 8192];
    let mut entries = RawDir::new(descriptor, &mut records);
    // To the answer that there are no more: a signal ends a call before the room is full (`filldir64` in
    // fs/readdir.c).
    loop {
        match entries.next() {
            None => break Ok(()),
            Some(Err(Errno::INTR)) => {}
            Some(Err(error)) => break Err(error.into()),
            Some(Ok(entry)) => {
                let kind = match entry.file_type() {
                    FileType::Directory => Kind::Directory,
                    FileType::RegularFile => Kind::File,
                    FileType::Symlink => Kind::Link,
                    _ => Kind::Unknown,
                };
                listing.push(entry.file_name().to_bytes(), entry.ino(), kind);
            }
        }
    }
}

pub(super) fn read_link(
    directory: Option<&Descriptor>,
    path: &CStr,
    buffer: &mut Vec<u8>,
) -> io::Result<()> {
    buffer.clear();
    loop {
        buffer.reserve(256);
        let room = buffer.capacity();
        let spare = rustix::buffer::spare_capacity(buffer);
        let length = match directory {
            Some(directory) => rustix::fs::readlinkat_raw(directory, path, spare)?,
            None => rustix::fs::readlinkat_raw(CWD, path, spare)?,
        };
        if length < room {
            return Ok(());
        }
        // A target as long as the room may have been cut.
        buffer.clear();
        buffer.reserve(room * 2);
    }
}

/// How large what is below an opened directory says it is.
pub(super) fn size_in(directory: &Descriptor, path: &CStr) -> io::Result<u64> {
    let status = rustix::fs::statat(directory, path, AtFlags::empty())?;
    Ok(u64::try_from(status.st_size).unwrap_or(0))
}

/// The size of a regular file, `None` for anything else.
pub(super) fn regular_size(descriptor: &Descriptor) -> io::Result<Option<u64>> {
    let status = rustix::fs::fstat(descriptor)?;
    let is_regular = FileType::from_raw_mode(status.st_mode).is_file();
    Ok(is_regular.then_some(u64::try_from(status.st_size).unwrap_or(u64::MAX)))
}

/// The time of the last change of content, in seconds since the epoch.
pub(super) fn modified(path: &CStr) -> io::Result<f64> {
    Ok(Version::of(&rustix::fs::stat(path)?).modified)
}

/// `STATX_MNT_ID_UNIQUE` of linux/stat.h (since Linux 6.8); an older kernel takes no notice of it.
const UNIQUE_MOUNT: StatxFlags = StatxFlags::from_bits_retain(0x4000);

/// What a kernel that knows statx(2) says of a path, and what any other one says.
enum Status {
    Extended(Statx),
    Plain(rustix::fs::Stat),
}

impl Status {
    fn of(path: &CStr, flags: AtFlags, wanted: StatxFlags) -> io::Result<Status> {
        let wanted = wanted | StatxFlags::INO | StatxFlags::MNT_ID | UNIQUE_MOUNT;
        match rustix::fs::statx(CWD, path, flags, wanted) {
            // Old profiles of container runtimes refuse the call that they do not know.
            Err(Errno::NOSYS | Errno::PERM) => Ok(Status::Plain(rustix::fs::stat(path)?)),
            status => Ok(Status::Extended(status?)),
        }
    }

    fn place(&self) -> Place {
        match self {
            Status::Extended(status) => Place {
                mount: status.stx_mnt_id,
                device: makedev(status.stx_dev_major, status.stx_dev_minor),
                inode: status.stx_ino,
            },
            Status::Plain(status) => Version::of(status).place,
        }
    }
}

pub(super) fn version(path: &CStr) -> io::Result<Version> {
    let wanted = StatxFlags::TYPE | StatxFlags::SIZE | StatxFlags::MTIME | StatxFlags::CTIME;
    let status = Status::of(path, AtFlags::STATX_FORCE_SYNC, wanted)?;
    Ok(match &status {
        Status::Plain(status) => Version::of(status),
        Status::Extended(found) => Version {
            is_regular: FileType::from_raw_mode(found.stx_mode.into()).is_file(),
            place: status.place(),
            size: found.stx_size,
            modified: seconds(found.stx_mtime.tv_sec, f64::from(found.stx_mtime.tv_nsec)),
            changed: seconds(found.stx_ctime.tv_sec, f64::from(found.stx_ctime.tv_nsec)),
        },
    })
}

/// The space of a file system; and what the path leads to, looked at after it: if that is what it was, the answer is of it.
pub(super) fn space(path: &CStr, with_place: bool) -> Result<Space, StatfsError> {
    let mut space = statfs(path)?;
    if with_place {
        // Without asking a server.
        let flags = AtFlags::NO_AUTOMOUNT | AtFlags::STATX_DONT_SYNC;
        let status = Status::of(path, flags, StatxFlags::empty());
        space.place = status.map(|status| status.place()).unwrap_or_default();
    }
    Ok(space)
}

fn statfs(path: &CStr) -> Result<Space, StatfsError> {
    let status = loop {
        match rustix::fs::statfs(path) {
            Err(Errno::INTR) => {}
            status => break status,
        }
    };
    // The widths of these fields differ between architectures.
    #[allow(clippy::unnecessary_cast)]
    match status {
        Ok(status) => Ok(Space {
            block_size: status.f_bsize as u64,
            blocks: status.f_blocks as u64,
            blocks_free: status.f_bfree as u64,
            blocks_available: status.f_bavail as u64,
            files: status.f_files as u64,
            files_free: status.f_ffree as u64,
            kind: status.f_type as u64,
            flags: status.f_flags as u64,
            id: vitald_sys::file_system_id(&status),
            place: Place::default(),
        }),
        Err(error) => Err(StatfsError::Failed(error.raw_os_error())),
    }
}

pub(super) fn uname(into: &mut Uname) {
    let uname = rustix::system::uname();
    for (field, text) in [
        (&mut into.sysname, uname.sysname()),
        (&mut into.nodename, uname.nodename()),
        (&mut into.release, uname.release()),
        (&mut into.version, uname.version()),
        (&mut into.machine, uname.machine()),
        (&mut into.domainname, uname.domainname()),
    ] {
        field.clear();
        field.push_str(&text.to_string_lossy());
    }
}

pub(super) fn ticks_per_second() -> u64 {
    rustix::param::clock_ticks_per_second()
}

pub(super) fn page_size() -> usize {
    rustix::param::page_size()
}
