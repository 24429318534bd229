//! How much a read of a file gives: as the kernel does it, or less where that is allowed.

use super::super::extent::Extent;

/// The least that a `seq_file` gathers records in (`PAGE_SIZE`).
const PAGE: usize = 4096;

/// How a file of that name is made, which decides where a read may end early.
///
/// * A **sysctl** (`proc/sys/`) is made anew by each read, and says nothing at an offset.
/// * **One record**: sysfs, and what procfs makes by `single_open` or in one go. `seq_read_iter`
///   doubles its buffer until the record fits, so a read ends early only at the end. A file on an
///   ordinary file system is read as far as it goes, too.
/// * **Many records**: any other file of procfs. `seq_read_iter` gives what is left of the record
///   that did not fit into the last read, then gathers whole records in a page, or in more where
///   one alone is larger, until the next does not fit or there are as many bytes as were asked
///   for. So a read ends early between two records, with the rest yet to come; but while no record
///   is longer than half a page, never after less than half a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Made {
    Sysctl,
    OneRecord,
    ManyRecords,
}

/// The files of procfs that are one record: at its top and of a process (`proc_create_single`, `ONE`,
/// `single_open`, or read in one go), in `proc/net` (`proc_create_net_single`), in `proc/net/rpc`, in
/// `proc/pressure`.
#[rustfmt::skip]
const ONE_RECORD: &[&str] = &[
    "cgroups", "drbd", "loadavg", "meminfo", "softirqs", "stat", "uptime", "version",
    "cgroup", "cmdline", "comm", "environ", "io", "limits", "smaps_rollup", "statm", "status",
    "netstat", "snmp", "snmp6", "sockstat", "sockstat6", "xfrm_stat",
    "ip_vs_stats", "nfs", "nfsd",
    "cpu", "irq", "memory",
];

impl Made {
    fn of(path: &[u8]) -> Made {
        if path.starts_with(b"proc/sys/") {
            return Made::Sysctl;
        }
        let Some(below) = path.strip_prefix(b"proc/") else { return Made::OneRecord };
        let name = below.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
        let is_one = ONE_RECORD.iter().any(|known| known.as_bytes() == name);
        if is_one { Made::OneRecord } else { Made::ManyRecords }
    }
}

/// How many bytes a read gives at most, where a file may be read in any pieces.
pub(super) enum Chunks {
    /// As many as there is room for.
    Unlimited,
    Fixed(usize),
    /// Other ones each time, in an order that the number decides (xorshift).
    Seeded(u64),
}

impl Chunks {
    fn next(&mut self) -> usize {
        match self {
            Chunks::Unlimited => usize::MAX,
            Chunks::Fixed(most) => *most,
            Chunks::Seeded(state) => {
                for shift in [13, -7, 17] {
                    *state ^= if shift > 0 { *state << shift } else { *state >> -shift };
                }
                // Pieces of all orders of magnitude up to a page.
                1 + (*state >> 40) as usize % (1 << (*state % 13))
            }
        }
    }
}

/// How many of a file's bytes from `offset` on a read with so much room gives.
///
/// The pieces that a test asks for are for reads to 0 bytes, which have to be right whatever
/// they get, and for a file of many records that is read as if it were one. A reader that
/// knows how the kernel makes the file gets what the kernel gives.
pub(super) fn length(
    path: &[u8],
    extent: Extent,
    content: &[u8],
    offset: u64,
    room: usize,
    chunks: &mut Chunks,
) -> usize {
    let offset = usize::try_from(offset).unwrap_or(usize::MAX);
    let rest = content.get(offset..).unwrap_or_default();
    let made = Made::of(path);
    let given = match made {
        Made::Sysctl if offset > 0 => 0,
        Made::Sysctl | Made::OneRecord => rest.len().min(room),
        Made::ManyRecords => whole_records(content, offset, room),
    };
    let is_cut = match (extent, made) {
        (_, Made::Sysctl) | (Extent::ShortRecords, _) => false,
        (Extent::Whole, made) => made == Made::ManyRecords,
        (Extent::Records, _) => true,
    };
    if is_cut { given.min(chunks.next()) } else { given }
}

/// What `seq_read_iter` gives of a text whose records are its lines.
fn whole_records(content: &[u8], offset: usize, room: usize) -> usize {
    let rest = content.get(offset..).unwrap_or_default();
    let mut records = rest.split_inclusive(|&byte| byte == b'\n').map(<[u8]>::len);
    let is_inside = offset > 0 && content.get(offset - 1) != Some(&b'\n');
    let left_over = if is_inside { records.next().unwrap_or(0) } else { 0 };
    if left_over >= room {
        return left_over.min(room);
    }
    let room_left = room - left_over;
    let mut gathered = records.next().unwrap_or(0);
    let mut buffer = PAGE;
    while gathered >= buffer {
        buffer *= 2;
    }
    for record in records {
        if gathered >= room_left || gathered + record >= buffer {
            break;
        }
        gathered += record;
    }
    left_over + gathered.min(room_left)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every read of a whole file.
    fn reads(path: &str, extent: Extent, content: &[u8], room: usize, chunk: usize) -> Vec<usize> {
        let mut lengths = Vec::new();
        let mut offset = 0;
        loop {
            let mut chunks = Chunks::Fixed(chunk);
            let given = length(path.as_bytes(), extent, content, offset as u64, room, &mut chunks);
            if given == 0 {
                return lengths;
            }
            lengths.push(given);
            offset += given;
        }
    }

    #[test]
    fn records_are_given_as_a_seq_file_gives_them() {
        let seq =
            |content: &[u8], room| reads("proc/diskstats", Extent::ShortRecords, content, room, 7);
        let line = |length: usize| [vec![b'x'; length - 1], vec![b'\n']].concat();
        // 40 lines of 100 bytes are 4,000; a page that is full has overflowed.
        let short = line(100).repeat(90);
        assert_eq!(seq(&short, 8192), [4000, 4000, 1000]);
        // The room ends in the 40th line, whose rest comes first in the next read.
        assert_eq!(seq(&short, 3950), [3950, 3950, 1100]);
        assert_eq!(seq(&short, 250), vec![250; 36]);
        // A record of more than half a page makes a read that looks like the last one.
        let long = [line(100), line(4000), line(100)].concat();
        assert_eq!(seq(&long, 8192), [100, 4000, 100]);
        assert_eq!(seq(&line(10_000), 16_384), [10_000]);
        assert_eq!(seq(&[line(10), line(9000)].concat(), 4096), [10, 4096, 4096, 808]);
        assert_eq!(seq(b"no line end", 4096), [11]);
        assert_eq!(seq(b"", 4096), Vec::<usize>::new());
    }

    #[test]
    fn pieces_are_where_the_reader_has_to_expect_them() {
        let of = |path, extent| reads(path, extent, b"0123456\n89", 100, 4);
        assert_eq!(of("proc/diskstats", Extent::Records), [4, 4, 2]);
        assert_eq!(of("proc/diskstats", Extent::Whole), [4, 4, 2]);
        assert_eq!(of("proc/diskstats", Extent::ShortRecords), [10]);
        for one in ["proc/stat", "proc/7/stat", "proc/net/snmp", "sys/a/b", "file:/a", "udev/b8:0"]
        {
            assert_eq!(of(one, Extent::Whole), [10], "{one}");
            assert_eq!(of(one, Extent::Records), [4, 4, 2], "{one}");
        }
        assert_eq!(of("proc/sys/fs/file-nr", Extent::Records), [10]);
        let sysctl = reads("proc/sys/a", Extent::Whole, b"0123456", 3, 9);
        assert_eq!(sysctl, [3], "the rest of a sysctl cannot be had");
    }

    #[test]
    fn seeded_pieces_are_of_all_sizes_and_the_same_each_time() {
        let sizes = |seed| {
            let mut chunks = Chunks::Seeded(seed);
            (0..1000).map(|_| chunks.next()).collect::<Vec<_>>()
        };
        assert_eq!(sizes(7), sizes(7));
        assert_ne!(sizes(7), sizes(8));
        let sizes = sizes(7);
        assert!(sizes.iter().all(|size| (1..=PAGE).contains(size)));
        assert!(sizes.contains(&1) && sizes.iter().any(|size| *size > 1000));
    }
}
