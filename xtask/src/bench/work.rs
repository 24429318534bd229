//! What a scrape asks of the kernel, as strace sees vitald ask it: what the bare reader does.

use crate::system::bare::{Reading, is_of_kernel};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The system calls that this is made from.
pub(crate) const CALLS: [&str; 2] = ["pread64", "statfs"];

/// What the bare reader does for each scrape.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Work {
    pub(crate) readings: Vec<Reading>,
    /// How many of those it reads that are read in rotation.
    pub(crate) in_rotation: usize,
    /// Where the file systems are of which it asks the space.
    pub(crate) mounts: Vec<PathBuf>,
    /// How many bytes it sends, without the head.
    pub(crate) bytes: usize,
}

/// The reads of one file in all scrapes.
#[derive(Default)]
struct Reads {
    all: usize,
    from_start: usize,
    /// Up to which byte there was room.
    end: usize,
}

impl Work {
    /// From the calls that strace saw a process make in so many scrapes.
    pub(crate) fn of_calls(calls: &str, process: u32, scrapes: usize) -> Work {
        // By what they are to the reader: which of its threads vitald collects on does not matter.
        let mut files: BTreeMap<PathBuf, Reads> = BTreeMap::new();
        let mut mounts: BTreeMap<&str, usize> = BTreeMap::new();
        for line in calls.lines() {
            if let Some((path, length, offset)) = read(line) {
                let reads = files.entry(of_itself(Path::new(path), process)).or_default();
                reads.all += 1;
                reads.from_start += usize::from(offset == 0);
                reads.end = reads.end.max(length + offset);
            } else if let Some(path) = space(line) {
                *mounts.entry(path).or_default() += 1;
            }
        }
        let a_scrape = |times: usize| (times as f64 / scrapes as f64).round() as usize;
        let reading = |(path, reads): (PathBuf, Reads)| Reading {
            path,
            passes: a_scrape(reads.from_start),
            reads: (reads.all as f64 / reads.from_start.max(1) as f64).round() as usize,
            length: reads.end,
        };
        files.retain(|path, _| is_of_kernel(path));
        let now_and_then = files.values().filter(|reads| a_scrape(reads.from_start) == 0);
        let in_rotation = a_scrape(now_and_then.map(|reads| reads.from_start).sum());
        let readings = files.into_iter().map(reading).collect();
        let mounts = mounts
            .into_iter()
            .flat_map(|(path, times)| std::iter::repeat_n(PathBuf::from(path), a_scrape(times)));
        Work { readings, in_rotation, mounts: mounts.collect(), bytes: 0 }
    }

    /// How many reads a scrape is, and of how many files.
    pub(crate) fn reads(&self) -> (usize, usize) {
        let files = self.readings.iter().filter(|reading| reading.passes > 0).count();
        (self.always() + self.in_rotation, files + self.in_rotation)
    }

    /// What this does at each scrape and another one does less often: files, mounts, and reads where there is more than one
    /// more. What is read in rotation is not compared: how much of it a scrape reads follows from how long it takes.
    pub(crate) fn beyond(&self, other: &Work) -> Vec<String> {
        let passes = |path: &Path| {
            let same = other.readings.iter().find(|reading| reading.path == path);
            same.map_or(0, |reading| reading.passes)
        };
        let times =
            |work: &Work, mount: &Path| work.mounts.iter().filter(|it| *it == mount).count();
        let files = self.readings.iter().filter(|reading| reading.passes > passes(&reading.path));
        let mounts = self.mounts.iter().filter(|mount| times(self, mount) > times(other, mount));
        let paths = files.map(|reading| &reading.path).chain(mounts);
        let mut beyond: Vec<String> = paths.map(|path| path.display().to_string()).collect();
        beyond.dedup();
        // A file that has grown may take one more.
        let more = self.always().saturating_sub(other.always());
        beyond.extend((more > 1).then(|| format!("{more} reads more in all")));
        beyond
    }

    /// How many reads a scrape is without what is read in rotation.
    fn always(&self) -> usize {
        self.readings.iter().map(|reading| reading.passes * reading.reads).sum()
    }

    /// As the arguments of a command.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let Work { readings, in_rotation, mounts, bytes } = self;
        let mut arguments = vec![format!("bytes={bytes}"), format!("rotation={in_rotation}")];
        arguments.extend(readings.iter().map(|reading| {
            let Reading { path, passes, reads, length } = reading;
            format!("file={passes},{reads},{length},{}", path.display())
        }));
        arguments.extend(mounts.iter().map(|path| format!("space={}", path.display())));
        arguments
    }

    pub(crate) fn parse(arguments: &[&str]) -> Result<Work, String> {
        let mut work = Work::default();
        for argument in arguments {
            let parsed = match argument.split_once('=') {
                Some(("bytes", bytes)) => bytes.parse().ok().map(|bytes| work.bytes = bytes),
                Some(("rotation", few)) => few.parse().ok().map(|few| work.in_rotation = few),
                Some(("file", words)) => reading(words).map(|reading| work.readings.push(reading)),
                Some(("space", path)) => {
                    work.mounts.push(path.into());
                    Some(())
                }
                _ => None,
            };
            parsed.ok_or_else(|| format!("{argument} is not work for the bare reader"))?;
        }
        Ok(work)
    }
}

fn reading(words: &str) -> Option<Reading> {
    let mut words = words.splitn(4, ',');
    let mut number = || words.next()?.parse().ok();
    let (passes, reads, length) = (number()?, number()?, number()?);
    Some(Reading { path: words.next()?.into(), passes, reads, length })
}

/// The path, length and offset of `pread64(5</proc/stat>, "c"..., 4096, 0) = 1160`.
fn read(line: &str) -> Option<(&str, usize, usize)> {
    let (call, _) = line.strip_prefix("pread64(")?.rsplit_once(") = ")?;
    let (_, path) = call.split_once('<')?;
    let (path, _) = path.split_once(">, ")?;
    let (call, offset) = call.rsplit_once(", ")?;
    let (_, length) = call.rsplit_once(", ")?;
    Some((path, length.parse().ok()?, offset.parse().ok()?))
}

/// The path of `statfs("/", {f_type=...}) = 0`.
fn space(line: &str) -> Option<&str> {
    Some(line.strip_prefix("statfs(\"")?.split_once('"')?.0)
}

/// What another process is to read instead of what this one has of itself.
fn of_itself(path: &Path, process: u32) -> PathBuf {
    let Ok(rest) = path.strip_prefix(format!("/proc/{process}")) else { return path.to_owned() };
    let mut names = rest.iter();
    // The threads of one have numbers that mean nothing to the other.
    if names.next().is_some_and(|name| name == "task") {
        return Path::new("/proc/thread-self").join(names.skip(1).collect::<PathBuf>());
    }
    Path::new("/proc/self").join(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(path: &str, passes: usize, reads: usize, length: usize) -> Reading {
        Reading { path: path.into(), passes, reads, length }
    }

    #[test]
    fn what_vitald_reads_at_each_scrape() {
        let of_a_scrape = r#"
pread64(5</proc/stat>, "c"..., 4096, 0) = 1160
pread64(5</proc/stat>, "c"..., 4096, 0) = 1160
pread64(6</proc/vmstat>, "n"..., 8192, 0) = 4069
pread64(6</proc/vmstat>, "p"..., 4123, 4069) = 300
pread64(7</proc/42/stat>, "4"..., 512, 0) = 200
pread64(7</proc/42/task/43/schedstat>, "4"..., 512, 0) = 20
pread64(8</sys/class/net/lo/speed>, 0x7f12, 512, 0) = -1 EINVAL (Invalid argument)
pread64(9</sys/odd>, ") = "..., 512, 0) = 9
pread64(9</var/lib/file>, "4"..., 512, 0) = 20
statfs("/", {f_type=EXT2_SUPER_MAGIC, f_bsize=4096}) = 0
+++ exited with 0 +++"#;
        let rotates = "\npread64(9</sys/slow>, \"1\"..., 512, 0) = 2\nstatfs(\"/once\", {}) = 0\n\
                       pread64(9</sys/slow>, \"1\"..., 512, 0) = 2\n\
                       pread64(9</sys/slower>, \"1\"..., 512, 0) = 2\n";
        let work = Work::of_calls(&(of_a_scrape.repeat(5) + rotates), 42, 5);
        assert_eq!(
            work.readings,
            [
                reading("/proc/self/stat", 1, 1, 512),
                reading("/proc/stat", 2, 1, 4096),
                reading("/proc/thread-self/schedstat", 1, 1, 512),
                reading("/proc/vmstat", 1, 2, 8192),
                reading("/sys/class/net/lo/speed", 1, 1, 512),
                reading("/sys/odd", 1, 1, 512),
                reading("/sys/slow", 0, 1, 512),
                reading("/sys/slower", 0, 1, 512),
            ]
        );
        assert_eq!(work.in_rotation, 1);
        assert_eq!(work.reads(), (9, 7));
        assert_eq!(work.mounts, [Path::new("/")]);
        // The collections of a busy machine move from thread to thread.
        let threads = [43, 44].map(|thread| {
            format!("pread64(7</proc/42/task/{thread}/stat>, \"4\"..., 512, 0) = 20\n").repeat(2)
        });
        let work = Work::of_calls(&threads.concat(), 42, 4);
        assert_eq!(work.readings, [reading("/proc/thread-self/stat", 1, 1, 512)]);
    }

    #[test]
    fn work_beyond_another_one() {
        let work = |files: &[(&str, usize)], mounts: &[&str]| Work {
            readings: files.iter().map(|(path, passes)| reading(path, *passes, 1, 512)).collect(),
            mounts: mounts.iter().map(PathBuf::from).collect(),
            ..Work::default()
        };
        let one =
            work(&[("/proc/stat", 2), ("/proc/vmstat", 1), ("/sys/slow", 0)], &["/", "/a", "/a"]);
        let other = work(&[("/proc/stat", 1), ("/proc/uptime", 1)], &["/", "/b"]);
        assert_eq!(one.beyond(&other), ["/proc/stat", "/proc/vmstat", "/a"]);
        assert_eq!(other.beyond(&one), ["/proc/uptime", "/b"]);
        for (reads, expected) in [(2, &[][..]), (3, &["2 reads more in all"])] {
            let grown =
                Work { readings: vec![reading("/proc/stat", 1, reads, 512)], ..Work::default() };
            assert_eq!(grown.beyond(&work(&[("/proc/stat", 1)], &[])), expected);
            assert_eq!(work(&[("/proc/stat", 1)], &[]).beyond(&grown), [""; 0]);
        }
        // Neither how much is read in rotation counts, nor which of it.
        let slower = Work { in_rotation: 3, ..work(&[("/sys/slower", 0)], &[]) };
        assert_eq!(slower.beyond(&Work::default()), [""; 0]);
        assert_eq!(Work::default().beyond(&slower), [""; 0]);
    }

    #[test]
    fn work_as_arguments() {
        let work = Work {
            readings: vec![reading("/proc/stat", 2, 1, 4096), reading("/a=b, c", 1, 2, 8192)],
            in_rotation: 3,
            mounts: vec!["/".into()],
            bytes: 12,
        };
        let arguments = work.arguments();
        let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
        assert_eq!(Work::parse(&words).unwrap(), work);
        for wrong in ["bytes=many", "/proc/stat", "file=/proc/stat", "file=1,1,/proc/stat"] {
            let error = Work::parse(&[wrong]).unwrap_err();
            assert_eq!(error, format!("{wrong} is not work for the bare reader"));
        }
    }
}
