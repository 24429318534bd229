//! What the files of a process say (proc(5)); pure functions of bytes.

use vitald_core::prelude::*;

/// `PF_KTHREAD` of linux/sched.h: the task is a thread of the kernel's own.
const KERNEL_THREAD: u64 = 0x0020_0000;

/// What `proc/PID/stat` says, without the name.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Stat {
    pub(super) state: u8,
    pub(super) parent: u64,
    pub(super) flags: u64,
    pub(super) minor_faults: u64,
    pub(super) major_faults: u64,
    /// Of the whole process, in clock ticks.
    pub(super) user_ticks: u64,
    pub(super) system_ticks: u64,
    pub(super) threads: u64,
    /// Since the system booted, in clock ticks; with the number it names a process for good.
    pub(super) start_ticks: u64,
    pub(super) virtual_bytes: u64,
    pub(super) resident_pages: u64,
}

impl Stat {
    pub(super) fn is_kernel_thread(&self) -> bool {
        self.flags & KERNEL_THREAD != 0
    }
}

/// Takes the command name and the numbers of
/// `27 (cron) S 1 27 27 0 -1 4194624 500 0 3 0 11 22 0 0 20 0 1 0 4500 3133440 383 ...`.
///
/// The name may have blanks and brackets in it: it ends at the last closing one.
pub(super) fn stat(text: &[u8]) -> Result<(&[u8], Stat), Malformed> {
    let open = text.iter().position(|&byte| byte == b'(');
    let close = text.iter().rposition(|&byte| byte == b')');
    let (Some(open), Some(close)) = (open, close) else {
        return Err(Malformed::new(0, "a command name in brackets"));
    };
    let name = text.get(open + 1..close).ok_or(Malformed::new(open, "a command name"))?;
    let mut fields = Fields::new(text.get(close + 1..).unwrap_or_default().trim_ascii_end());
    let mut numbers = || -> Result<Stat, Malformed> {
        Ok(Stat {
            state: fields.text()?.first().copied().unwrap_or_default(),
            parent: fields.u64()?,
            flags: fields.pass(4).u64()?,
            minor_faults: fields.u64()?,
            major_faults: fields.pass(1).u64()?,
            user_ticks: fields.pass(1).u64()?,
            system_ticks: fields.u64()?,
            threads: fields.pass(4).u64()?,
            start_ticks: fields.pass(1).u64()?,
            virtual_bytes: fields.u64()?,
            // Counted per CPU and summed without a lock, so that it can be below zero for a moment.
            resident_pages: u64::try_from(fields.i64()?).unwrap_or(0),
        })
    };
    let after_name = |malformed: Malformed| {
        Malformed::new(malformed.at.saturating_add(close + 1), malformed.expected)
    };
    Ok((name, numbers().map_err(after_name)?))
}

/// What a file of lines said, and the first line that could not be understood.
///
/// A kernel may lack any of the lines (gVisor had no context switches in `status` until 2026), and
/// one line that is not as expected costs that line.
#[derive(Debug, PartialEq)]
pub(super) struct Parsed<T> {
    pub(super) found: T,
    pub(super) malformed: Option<Malformed>,
}

/// The numbers of the lines with these keys, each of which may be missing.
fn numbers<const N: usize>(
    text: &[u8],
    keys: [&[u8]; N],
    number: fn(&mut Fields<'_>) -> Result<u64, Malformed>,
) -> Parsed<[Option<u64>; N]> {
    let mut parsed = Parsed { found: [None; N], malformed: None };
    let mut lines = lines(text);
    while let Some(line) = lines.next() {
        for (key, found) in keys.iter().zip(&mut parsed.found) {
            let Some(rest) = line.strip_prefix(*key) else { continue };
            match number(&mut Fields::new(rest)) {
                Ok(number) => *found = Some(number),
                Err(malformed) => {
                    let at = lines.offset() + key.len() + malformed.at;
                    parsed.malformed.get_or_insert(Malformed::new(at, malformed.expected));
                }
            }
        }
    }
    parsed
}

/// What `proc/PID/status` says beyond `stat`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Status {
    /// The effective user.
    pub(super) user: Option<u32>,
    /// Kernel threads and zombies have none.
    pub(super) swapped_bytes: Option<u64>,
    /// Voluntary and involuntary ones.
    pub(super) switches: [Option<u64>; 2],
}

/// Takes four lines of `proc/PID/status`: `Uid: 0 33 0 0`, `VmSwap: 12 kB`,
/// `voluntary_ctxt_switches: 5`, `nonvoluntary_ctxt_switches: 2`.
pub(super) fn status(text: &[u8]) -> Parsed<Status> {
    const KEYS: [&[u8]; 3] =
        [b"VmSwap:", b"voluntary_ctxt_switches:", b"nonvoluntary_ctxt_switches:"];
    let Parsed { found: [swapped, voluntary, nonvoluntary], malformed } =
        numbers(text, KEYS, |fields| fields.u64());
    let user = numbers(text, [b"Uid:"], |fields| fields.pass(1).u64());
    Parsed {
        found: Status {
            user: user.found[0].and_then(|user| u32::try_from(user).ok()),
            swapped_bytes: swapped.map(|kilobytes| kilobytes.saturating_mul(1024)),
            switches: [voluntary, nonvoluntary],
        },
        malformed: user.malformed.or(malformed),
    }
}

/// Takes the bytes that were really read and written from `read_bytes: 4096` and
/// `write_bytes: 0` among the lines of `proc/PID/io`.
pub(super) fn io(text: &[u8]) -> Parsed<[Option<u64>; 2]> {
    numbers(text, [b"read_bytes:", b"write_bytes:"], |fields| fields.u64())
}

/// Takes the proportional shares in bytes from `Pss: 84 kB` and `SwapPss: 0 kB` among the lines of
/// `proc/PID/smaps_rollup`.
pub(super) fn smaps_rollup(text: &[u8]) -> Parsed<[Option<u64>; 2]> {
    numbers(text, [b"Pss:", b"SwapPss:"], |fields| {
        fields.u64().map(|kilobytes| kilobytes.saturating_mul(1024))
    })
}

/// Takes the soft limit of `Max open files            1024                 524288               files`
/// among the lines of `proc/PID/limits`.
pub(super) fn descriptor_limit(text: &[u8]) -> Parsed<Option<u64>> {
    let Parsed { found: [limit], malformed } = numbers(text, [b"Max open files"], |fields| {
        if fields.rest().starts_with(b"unlimited") { Ok(u64::MAX) } else { fields.u64() }
    });
    Parsed { found: limit, malformed }
}

/// Takes the seconds since boot from `1705.31 3280.44`.
pub(super) fn uptime(text: &[u8]) -> Result<f64, Malformed> {
    Fields::new(text).f64()
}

/// Takes how many threads there are in the system from the `92` of `0.01 0.14 0.13 1/92 13034`.
pub(super) fn thread_total(text: &[u8]) -> Result<u64, Malformed> {
    let field = Fields::new(text).pass(3).text()?;
    let total = text::split_once(field, b'/').map(|(_, total)| text::single_u64(total));
    total.and_then(Result::ok).ok_or(Malformed::new(0, "running and all threads"))
}

/// Takes the seconds since the epoch at boot from the line `btime 1790000000` of `proc/stat`, which
/// some containers lack.
pub(super) fn boot_time(text: &[u8]) -> Result<Option<u64>, Malformed> {
    let line = lines(text).find_map(|line| line.strip_prefix(b"btime "));
    line.map(text::single_u64).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitald_core::testing::*;

    #[test]
    fn a_name_may_look_like_anything() {
        let rest =
            "R 13028 13028 11120 0 -1 4194304 102 0 9 0 5 6 0 0 20 0 3 0 170714 3133440 383 1\n";
        for name in ["cat", "", ") S 1 (", "a b", "(sd-pam)", "\u{fffd}"] {
            let text = format!("13030 ({name}) {rest}");
            let (found, numbers) = stat(text.as_bytes()).unwrap();
            assert_eq!(found, name.as_bytes());
            assert_eq!(
                numbers,
                Stat {
                    state: b'R',
                    parent: 13028,
                    flags: 4_194_304,
                    minor_faults: 102,
                    major_faults: 9,
                    user_ticks: 5,
                    system_ticks: 6,
                    threads: 3,
                    start_ticks: 170_714,
                    virtual_bytes: 3_133_440,
                    resident_pages: 383,
                }
            );
        }
    }

    #[test]
    fn refuses_bad_stat() {
        rejects(
            stat,
            &["", "1", "1 (a", "1 )a( S", "1 (a)", "1 (a) S 0 1 1 0 -1 x", "1 (a) S 1 2 3"],
        );
        assert_eq!(stat(b"1 (a) S x").unwrap_err().at, 8);
    }

    /// What is found in a text without a mistake.
    fn clean<T>(parsed: Parsed<T>) -> T {
        assert_eq!(parsed.malformed, None);
        parsed.found
    }

    #[test]
    fn status_of_a_process_and_of_a_kernel_thread() {
        let process = "Name:\tcat\nUid:\t1000\t33\t0\t0\nVmSwap:\t      12 kB\n\
                       voluntary_ctxt_switches:\t5\nnonvoluntary_ctxt_switches:\t2\n";
        assert_eq!(
            clean(status(process.as_bytes())),
            Status { user: Some(33), swapped_bytes: Some(12288), switches: [Some(5), Some(2)] }
        );
        let thread = "Name:\tkthreadd\nUid:\t0\t0\t0\t0\nvoluntary_ctxt_switches:\t7\n";
        assert_eq!(clean(status(thread.as_bytes())).swapped_bytes, None);
    }

    #[test]
    fn a_line_of_status_that_is_missing_or_odd_costs_that_line() {
        let whole = ["Uid:\t9\t9\t9\t9\n", "VmSwap:\t1 kB\n", "voluntary_ctxt_switches:\t2\n"];
        for missing in 0..whole.len() {
            for odd in ["", "Uid:\tx\n", "VmSwap:\n", "voluntary_ctxt_switches:\t-\n"] {
                let mut lines = whole;
                lines[missing] = odd;
                let Parsed { found, malformed } = status(lines.concat().as_bytes());
                assert_eq!(found.user.is_some(), missing != 0, "{lines:?}");
                assert_eq!(found.swapped_bytes.is_some(), missing != 1, "{lines:?}");
                assert_eq!(found.switches[0].is_some(), missing != 2, "{lines:?}");
                assert_eq!(malformed.is_some(), !odd.is_empty(), "{lines:?}");
            }
        }
        assert_eq!(clean(status(b"")), Status::default());
        assert_eq!(status(b"Name:\tx\nVmSwap:\t x kB\n").malformed.unwrap().at, 17);
    }

    #[test]
    fn small_files() {
        let text =
            b"rchar: 6976\nwchar: 1\nsyscr: 10\nsyscw: 0\nread_bytes: 4096\nwrite_bytes: 512\n\
                     cancelled_write_bytes: 3\n";
        assert_eq!(clean(io(text)), [Some(4096), Some(512)]);
        assert_eq!(clean(io(b"write_bytes: 1\n")), [None, Some(1)]);
        let odd = io(b"read_bytes: 1\nwrite_bytes: x\n");
        assert_eq!((odd.found, odd.malformed.is_some()), ([Some(1), None], true));
        let text = b"55d0-7ffe ---p 00000000 00:00 0    [rollup]\nRss:  1768 kB\nPss:  84 kB\n\
                     Pss_Anon: 80 kB\nSwapPss:  2 kB\n";
        assert_eq!(clean(smaps_rollup(text)), [Some(84 * 1024), Some(2048)]);
        assert_eq!(clean(smaps_rollup(b"Pss: 1 kB\n")), [Some(1024), None]);
        let limits = b"Limit                     Soft Limit           Hard Limit           Units     \n\
                       Max open files            1024                 524288               files     \n";
        assert_eq!(clean(descriptor_limit(limits)), Some(1024));
        let unlimited = b"Max open files unlimited unlimited files\n";
        assert_eq!(clean(descriptor_limit(unlimited)), Some(u64::MAX));
        assert_eq!(clean(descriptor_limit(b"")), None);
        for odd in [&b"Max open files\n"[..], b"Max open files some\n"] {
            assert!(descriptor_limit(odd).malformed.is_some());
        }
        assert_eq!(uptime(b"1705.31 3280.44\n"), Ok(1705.31));
        assert_eq!(thread_total(b"0.01 0.14 0.13 1/92 13034\n"), Ok(92));
        rejects(thread_total, &["", "0.01 0.14 0.13", "0.01 0.14 0.13 192", "0 0 0 1/x 3"]);
        assert_eq!(boot_time(b"cpu 1 2\nbtime 1790000000\nprocesses 5\n"), Ok(Some(1_790_000_000)));
        assert_eq!(boot_time(b"cpu 1\n"), Ok(None));
        rejects(boot_time, &["btime x\n", "btime -1\n"]);
    }
}
