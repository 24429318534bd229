//! Files of the kernel, read with nothing done to what they say: what the kernel alone costs.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// How a file is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    pub path: PathBuf,
    /// How often from its start; 0 is now and then, in rotation with others.
    pub passes: usize,
    /// With how many reads each time: one of many records comes a page at a time.
    pub reads: usize,
    /// The length of the buffer: the kernel does more for a longer one.
    pub length: usize,
}

impl Reading {
    /// Once from its start to its end.
    pub fn whole(path: PathBuf) -> io::Result<Reading> {
        const ROOM: usize = 512;
        let file = File::open(&path)?;
        let (mut buffer, mut length, mut reads) = (vec![0; ROOM << 8], 0, 0);
        // An attribute may have an error instead of a text, which costs about the same.
        while let Ok(more @ 1..) = file.read_at(&mut buffer[length..], length as u64) {
            (length, reads) = (length + more, reads + 1);
        }
        Ok(Reading { path, passes: 1, reads: reads.max(1), length: length + ROOM })
    }

    fn pass(&self, file: &File, buffer: &mut [u8]) {
        let mut offset = 0;
        for _ in 0..self.reads {
            // What it says is not looked at, and neither is what went wrong.
            offset += file.read_at(&mut buffer[offset..self.length], offset as u64).unwrap_or(0);
        }
    }
}

/// The files, kept open. Nothing asks for interfaces.
pub struct Bare {
    files: Vec<(File, Reading)>,
    /// Those of which a few are read each time, in turn.
    rotating: Vec<(File, Reading)>,
    few: usize,
    next: usize,
    buffer: Vec<u8>,
}

impl Bare {
    /// Those that a process keeps open.
    pub fn of(process: u32) -> Bare {
        // Opened anew by the descriptor: a description of its own, also where the path means another
        // file here.
        let whole = |(path, _)| Reading::whole(path).ok();
        let readings = kept_by(process).into_iter().filter_map(whole).collect();
        Bare::new(readings, 0).expect("they are open")
    }

    /// Those that are read so, `few` at a time of those in rotation; or which of them cannot be opened.
    pub fn new(readings: Vec<Reading>, few: usize) -> io::Result<Bare> {
        let longest = readings.iter().map(|reading| reading.length).max().unwrap_or(0);
        let open = |reading: Reading| {
            let named = |error| io::Error::other(format!("{}: {error}", reading.path.display()));
            Ok((File::open(&reading.path).map_err(named)?, reading))
        };
        let files = readings.into_iter().map(open).collect::<io::Result<Vec<_>>>()?;
        let (rotating, files): (Vec<_>, _) =
            files.into_iter().partition(|(_, reading)| reading.passes == 0);
        let few = few.min(rotating.len());
        Ok(Bare { files, rotating, few, next: 0, buffer: vec![0; longest] })
    }

    /// How many there are.
    pub fn files(&self) -> usize {
        self.files.len()
    }

    pub fn read(&mut self) {
        for (file, reading) in &self.files {
            for _ in 0..reading.passes {
                reading.pass(file, &mut self.buffer);
            }
        }
        for _ in 0..self.few {
            let (file, reading) = &self.rotating[self.next];
            reading.pass(file, &mut self.buffer);
            self.next = (self.next + 1) % self.rotating.len();
        }
    }

    /// CPU time of this many rounds, in nanoseconds.
    pub fn spent(&mut self, rounds: usize) -> f64 {
        let now = || rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        let before = now();
        (0..rounds).for_each(|_| self.read());
        let after = now();
        (after.tv_sec - before.tv_sec) as f64 * 1e9 + (after.tv_nsec - before.tv_nsec) as f64
    }
}

/// The files of procfs and sysfs that a process keeps open: where its descriptor is, and what it is of.
fn kept_by(process: u32) -> Vec<(PathBuf, PathBuf)> {
    let kept = fs::read_dir(format!("/proc/{process}/fd")).into_iter().flatten().flatten();
    let path = |entry: fs::DirEntry| Some((entry.path(), fs::read_link(entry.path()).ok()?));
    kept.filter_map(path).filter(|(_, file)| is_of_kernel(file)).collect()
}

/// Whether a file is of procfs or sysfs.
pub fn is_of_kernel(file: &Path) -> bool {
    file.starts_with("/proc") || file.starts_with("/sys")
}
