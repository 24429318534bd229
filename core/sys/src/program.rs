//! The program's own pages in memory.

/// Gives back the pages of the program's code and constants that are resident; they are read again
/// where they are used.
///
/// What a start needs (the command line, the configuration, patterns, the table of relocations) is
/// most of the program and is not needed again: kept, it makes up a quarter of what the daemon has
/// resident.
///
/// A mapping with pages that were changed in memory is left alone: relocated constants, and code
/// that a debugger or a uprobe has written to.
pub fn release_program() {
    #[cfg(target_os = "linux")]
    for (start, end) in unchanged(&std::fs::read_to_string("/proc/self/smaps").unwrap_or_default())
    {
        let pages = std::ptr::with_exposed_provenance_mut(start);
        // SAFETY: the range is a private mapping of a file, without right to write and without
        // changed pages, in memory or swapped out. A page that is dropped is read from the file when
        // it is next used, with the content it had (madvise(2)). A change between the look and this
        // call is a debugger's, which then has to make it again.
        unsafe { rustix::mm::madvise(pages, end - start, rustix::mm::Advice::LinuxDontNeed) }.ok();
    }
}

/// The ranges of unchanged code and constants in the text of `/proc/self/smaps`: each mapping begins
/// with `55d8a3c00000-55d8a3f00000 r-xp 000c0000 fe:00 1234    /usr/bin/vitald`, and later has lines
/// such as `Anonymous:         0 kB`.
///
/// `Private_Dirty` has also pages whose content is the file's: those of a program that was installed just now,
/// while the kernel has not written it to the disk yet.
#[cfg(target_os = "linux")]
fn unchanged(smaps: &str) -> Vec<(usize, usize)> {
    /// What counts changed pages, whose content is not the file's (Documentation/filesystems/proc.rst).
    const CHANGED: [&str; 2] = ["Anonymous:", "Swap:"];
    let mut ranges = Vec::new();
    let mut current = None;
    let mut zeros = 0;
    for line in smaps.lines() {
        let mut fields = line.split_ascii_whitespace();
        let (Some(first), second) = (fields.next(), fields.next()) else { continue };
        if CHANGED.contains(&first) {
            zeros += usize::from(second == Some("0"));
            if zeros == CHANGED.len() {
                ranges.extend(current.take());
            }
        } else if !first.ends_with(':') {
            zeros = 0;
            let is_program = matches!(second, Some("r-xp" | "r--p"))
                && fields.nth(3).is_some_and(|path| path.starts_with('/'));
            let address = |text| usize::from_str_radix(text, 16).ok();
            current = first
                .split_once('-')
                .filter(|_| is_program)
                .and_then(|(start, end)| Some((address(start)?, address(end)?)))
                .filter(|(start, end)| start < end);
        }
    }
    ranges
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_unchanged_is_released() {
        let mapping = |head: &str, [dirty, anonymous, swap]: [u32; 3]| {
            format!(
                "{head}\nRss: 4 kB\nPrivate_Dirty: {dirty} kB\nAnonymous: {anonymous} kB\nSwap: {swap} kB\n"
            )
        };
        // A program that is not on the disk yet: all that is resident is dirty.
        let smaps = [
            mapping("1000-2000 r-xp 00000000 fe:00 12    /usr/bin/vitald", [0; 3]),
            mapping("2000-3000 r-xp 00001000 fe:00 12    /usr/bin/vitald", [4, 0, 0]),
            mapping("3000-4000 rw-p 00002000 fe:00 12    /usr/bin/vitald", [0; 3]),
            mapping("4000-5000 r--p 00002000 fe:00 12    /usr/bin/vitald", [0; 3]),
            mapping("5000-6000 r--p 00002000 fe:00 12    /usr/bin/vitald", [0, 4, 0]),
            mapping("6000-7000 r--p 00002000 fe:00 12    /usr/bin/vitald", [0, 0, 4]),
            mapping("7000-8000 r-xp 00000000 00:00 0     [vdso]", [0; 3]),
            mapping("8000-8000 r-xp 00000000 fe:00 12    /lib/x", [0; 3]),
        ];
        assert_eq!(
            unchanged(&smaps.concat()),
            [(0x1000, 0x2000), (0x2000, 0x3000), (0x4000, 0x5000)]
        );
        // A kernel that does not say what is swapped out.
        assert_eq!(unchanged(&smaps[0].replace("Swap:", "Else:")), []);
        assert_eq!(unchanged("junk\n- r-xp 0 0 0 /x\nAnonymous: 0 kB"), []);
        let own = std::fs::read_to_string("/proc/self/smaps").unwrap();
        assert!(unchanged(&own).len() > 1);
        release_program();
    }
}
