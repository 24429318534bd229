//! The program's code in memory.

/// Gives back the pages of the program's code that are resident; they are read again where they
/// are used.
///
/// What a start needs (the command line, the configuration, patterns) is most of the program and
/// is not needed again: kept, it makes up a fifth of what the daemon has resident.
///
/// A mapping with pages that were changed in memory, as debuggers and uprobes do, is left alone.
pub fn release_code() {
    #[cfg(target_os = "linux")]
    for (start, end) in code(&std::fs::read_to_string("/proc/self/smaps").unwrap_or_default()) {
        let pages = std::ptr::with_exposed_provenance_mut(start);
        // SAFETY: the range is a private mapping of a file, without right to write and without
        // changed pages. A page that is dropped is read from the file when it is next used, with
        // the content it had (madvise(2)). A change between the look and this call is a
        // debugger's, which then has to make it again.
        unsafe { rustix::mm::madvise(pages, end - start, rustix::mm::Advice::LinuxDontNeed) }.ok();
    }
}

/// The ranges of unchanged code in the text of `/proc/self/smaps`: each mapping begins with
/// `55d8a3c00000-55d8a3f00000 r-xp 000c0000 fe:00 1234    /usr/bin/vitald`, and later has lines
/// such as `Private_Dirty:         0 kB`.
#[cfg(target_os = "linux")]
fn code(smaps: &str) -> Vec<(usize, usize)> {
    let mut ranges = Vec::new();
    let mut current = None;
    for line in smaps.lines() {
        let mut fields = line.split_ascii_whitespace();
        let (Some(first), second) = (fields.next(), fields.next()) else { continue };
        if first == "Private_Dirty:" {
            if second == Some("0") {
                ranges.extend(current);
            }
            current = None;
        } else if !first.ends_with(':') {
            let is_code =
                second == Some("r-xp") && fields.nth(3).is_some_and(|path| path.starts_with('/'));
            let address = |text| usize::from_str_radix(text, 16).ok();
            current = first
                .split_once('-')
                .filter(|_| is_code)
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
    fn only_unchanged_code_is_released() {
        let smaps = "\
            1000-2000 r-xp 00000000 fe:00 12    /usr/bin/vitald\nRss: 4 kB\nPrivate_Dirty: 0 kB\n\
            2000-3000 r-xp 00001000 fe:00 12    /usr/bin/vitald\nPrivate_Dirty: 4 kB\n\
            3000-4000 rw-p 00002000 fe:00 12    /usr/bin/vitald\nPrivate_Dirty: 0 kB\n\
            5000-6000 r-xp 00000000 00:00 0     [vdso]\nPrivate_Dirty: 0 kB\n\
            7000-7000 r-xp 00000000 fe:00 12    /lib/x\nPrivate_Dirty: 0 kB\n";
        assert_eq!(code(smaps), [(0x1000, 0x2000)]);
        assert_eq!(code("junk\n- r-xp 0 0 0 /x\nPrivate_Dirty: 0 kB"), []);
        let own = std::fs::read_to_string("/proc/self/smaps").unwrap();
        assert!(!code(&own).is_empty());
        release_code();
    }
}
