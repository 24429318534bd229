//! A file system in user space that answers, or does not, as the test wants: the kernel's protocol
//! on `/dev/fuse` (include/uapi/linux/fuse.h), spoken by hand.
//!
//! It is one empty directory, or one file. An operation that is held is taken from the kernel and never
//! answered, so that a reader that waits for it sleeps where no signal reaches, as with a network file
//! system whose server is away.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::namespaces::Namespaces;

/// What the file system is called as a device.
pub const DEVICE: &str = "holding";

/// Operations by their number in the protocol.
pub mod operation {
    pub const LOOKUP: u32 = 1;
    pub const GETATTR: u32 = 3;
    pub const OPEN: u32 = 14;
    pub const READ: u32 = 15;
    pub const STATFS: u32 = 17;
    pub const RELEASE: u32 = 18;
    pub const INIT: u32 = 26;
    pub const OPENDIR: u32 = 27;
    pub const READDIR: u32 = 28;
    pub const RELEASEDIR: u32 = 29;
    const FORGET: u32 = 2;
    const INTERRUPT: u32 = 36;
    const DESTROY: u32 = 38;
    const BATCH_FORGET: u32 = 42;

    /// Those that the kernel wants no answer to.
    pub const SILENT: [u32; 4] = [FORGET, INTERRUPT, DESTROY, BATCH_FORGET];
}

/// What a root may be, with its permissions.
const DIRECTORY: u32 = 0o040_755;
const FILE: u32 = 0o100_444;

const ENOENT: i32 = 2;
const ENOSYS: i32 = 38;

/// The file system. When the value ends, all that was held is answered.
pub struct Fuse {
    device: File,
    /// What its root is.
    mode: u32,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    held: Vec<u32>,
    /// Operation and number of each request that waits.
    waiting: Vec<(u32, u64)>,
    seen: Vec<Seen>,
}

struct Seen {
    operation: u32,
    /// The process that asked, not its thread.
    process: u32,
}

impl Fuse {
    /// Mounts it on a directory, in namespaces of mounts.
    pub fn mount(namespaces: &Namespaces, point: &Path) -> Fuse {
        Fuse::mount_as(DIRECTORY, namespaces, point)
    }

    /// Mounts it on a file, as its one file, in namespaces of mounts.
    pub fn mount_on_file(namespaces: &Namespaces, point: &Path) -> Fuse {
        Fuse::mount_as(FILE, namespaces, point)
    }

    fn mount_as(mode: u32, namespaces: &Namespaces, point: &Path) -> Fuse {
        let device = File::options().read(true).write(true).open("/dev/fuse").expect("/dev/fuse");
        let duplicate = || device.try_clone().expect("another descriptor");
        let status = namespaces
            .command("mount")
            .args([
                "-i",
                "-t",
                "fuse",
                "-o",
                &format!("fd=0,rootmode={mode:o},user_id=0,group_id=0,allow_other"),
            ])
            .arg(DEVICE)
            .arg(point)
            .stdin(Stdio::from(duplicate()))
            .status()
            .expect("mount of util-linux");
        assert!(status.success(), "the file system cannot be mounted: {status}");
        let state = Arc::default();
        // Not before: there is nothing to read from a device that is not mounted (EPERM).
        let server = Server { device: duplicate(), mode, state: Arc::clone(&state) };
        std::thread::spawn(move || server.serve());
        Fuse { device, mode, state }
    }

    /// From now on these are not answered.
    pub fn hold(&self, operations: &[u32]) {
        lock(&self.state).held = operations.to_vec();
    }

    /// Answers all that waits and all that comes.
    pub fn release(&self) {
        let mut state = lock(&self.state);
        state.held.clear();
        for (operation, unique) in state.waiting.drain(..) {
            answer(&self.device, self.mode, operation, unique);
        }
    }

    /// How many requests wait.
    pub fn waiting(&self) -> usize {
        lock(&self.state).waiting.len()
    }

    /// How often a process has asked for an operation.
    pub fn asked(&self, operation: u32, process: u32) -> usize {
        let state = lock(&self.state);
        let is_it = |seen: &&Seen| seen.operation == operation && seen.process == process;
        state.seen.iter().filter(is_it).count()
    }
}

impl Drop for Fuse {
    fn drop(&mut self) {
        self.release();
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Server {
    device: File,
    mode: u32,
    state: Arc<Mutex<State>>,
}

impl Server {
    /// Serves until the last mount is gone (ENODEV).
    fn serve(mut self) {
        // The kernel refuses to fill a smaller buffer.
        let mut buffer = vec![0; 64 << 10];
        while let Ok(length) = self.device.read(&mut buffer) {
            let u32_at =
                |at: usize| u32::from_ne_bytes(buffer[at..at + 4].try_into().expect("four"));
            assert!(length >= 40, "a header is 40 bytes");
            let operation = u32_at(4);
            let unique = u64::from_ne_bytes(buffer[8..16].try_into().expect("eight"));
            if operation::SILENT.contains(&operation) {
                continue;
            }
            let mut state = lock(&self.state);
            state.seen.push(Seen { operation, process: process_of(u32_at(32)) });
            if state.held.contains(&operation) {
                state.waiting.push((operation, unique));
            } else {
                answer(&self.device, self.mode, operation, unique);
            }
        }
    }
}

/// The process of a thread.
fn process_of(thread: u32) -> u32 {
    let status = std::fs::read_to_string(format!("/proc/{thread}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Tgid:"));
    line.and_then(|number| number.trim().parse().ok()).unwrap_or(0)
}

fn answer(mut device: &File, mode: u32, operation: u32, unique: u64) {
    let (error, body) = match operation {
        operation::INIT => (0, init()),
        operation::GETATTR => (0, attributes(mode)),
        operation::STATFS => (0, space()),
        // Any file handle will do.
        operation::OPENDIR | operation::OPEN => (0, vec![0; 16]),
        // The end of the directory, or of the file.
        operation::READDIR | operation::READ => (0, Vec::new()),
        operation::RELEASEDIR | operation::RELEASE => (0, Vec::new()),
        operation::LOOKUP => (-ENOENT, Vec::new()),
        _ => (-ENOSYS, Vec::new()),
    };
    let mut message = Vec::new();
    message.extend((16 + body.len() as u32).to_ne_bytes());
    message.extend(i32::to_ne_bytes(error));
    message.extend(unique.to_ne_bytes());
    message.extend(body);
    // ENOENT: the request is gone, because the file system is.
    let _ = device.write_all(&message);
}

fn words(numbers: impl IntoIterator<Item = u32>) -> Vec<u8> {
    numbers.into_iter().flat_map(u32::to_ne_bytes).collect()
}

/// `struct fuse_init_out`: version 7.31, no read-ahead, no flags, and writes of a page.
fn init() -> Vec<u8> {
    let mut body = words([7, 31, 0, 0, 0, 4096, 1]);
    body.resize(64, 0);
    body
}

/// `struct fuse_attr_out`: the root, to be asked for again each time.
fn attributes(mode: u32) -> Vec<u8> {
    let mut body = vec![0; 16];
    body.extend(1u64.to_ne_bytes());
    body.resize(16 + 60, 0);
    // Mode, links, owner and group, device, block size, flags.
    body.extend(words([mode, 2, 0, 0, 0, 4096, 0]));
    body
}

/// What it says of its space: blocks of 4 KiB, all, free and available, files, all and free.
pub const SPACE: [u64; 5] = [1000, 600, 500, 100, 90];

/// `struct fuse_kstatfs`.
fn space() -> Vec<u8> {
    let mut body: Vec<u8> = SPACE.iter().flat_map(|number| number.to_ne_bytes()).collect();
    body.extend(words([4096, 255, 4096]));
    body.resize(80, 0);
    body
}
