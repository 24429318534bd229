//! What distribution runs, from `/etc/os-release` or `/usr/lib/os-release` (os-release(5)).

use vitald_core::host::Version;
use vitald_core::number::parse_u64;
use vitald_core::prelude::*;

families! {
    /// Always 1; the labels are what os-release says of the distribution.
    INFO: gauge = "node_os_info" [
        build_id, id, id_like, image_id, image_version, name, pretty_name, variant, variant_id,
        version, version_codename, version_id,
    ];
    /// The version of the distribution as a number: its first two parts.
    VERSION: gauge = "node_os_version" [id, id_like, name];
    /// When support for the distribution ends, in seconds since the epoch.
    SUPPORT_END: gauge = "node_os_support_end_timestamp_seconds";
}

/// The keys, in the order of the labels; the last one is no label.
const KEYS: [&[u8]; 13] = [
    b"BUILD_ID",
    b"ID",
    b"ID_LIKE",
    b"IMAGE_ID",
    b"IMAGE_VERSION",
    b"NAME",
    b"PRETTY_NAME",
    b"VARIANT",
    b"VARIANT_ID",
    b"VERSION",
    b"VERSION_CODENAME",
    b"VERSION_ID",
    b"SUPPORT_END",
];

/// The first one that is there is read.
const PATHS: [&str; 2] = ["rootfs/etc/os-release", "rootfs/usr/lib/os-release"];

/// Longer than any file system goes without looking at the clock, in seconds.
const CLOCK_GRANULARITY: f64 = 2.0;

register_collector!(Os);

struct Os {
    host: Host,
    content: Vec<u8>,
    /// The file that was read last, and what it was.
    read: Option<(&'static str, Version)>,
    release: Release,
}

impl Collector for Os {
    about! {
        name: "os",
        summary: "What distribution runs",
        families: FAMILIES,
        sources: ["rootfs/etc/os-release", "rootfs/usr/lib/os-release"],
    }

    fn open((): (), host: &Host) -> Result<Self> {
        let (host, content) = (host.clone(), Vec::new());
        Ok(Os { host, content, read: None, release: Release::default() })
    }

    fn collect(&mut self, batch: &mut Batch) -> Result<()> {
        self.look(batch)?;
        let release = &self.release;
        let values: &[Vec<u8>; 13] = &release.values;
        let [labels @ .., _] = values.each_ref().map(Vec::as_slice);
        batch.row(&INFO, labels, 1);
        let [_, id, id_like, _, _, name, ..] = labels;
        if let Some(version) = release.version {
            batch.row(&VERSION, [id, id_like, name], version);
        }
        if let Some(support_end) = release.support_end {
            batch.value(&SUPPORT_END, support_end);
        }
        Ok(())
    }
}

impl Os {
    /// Reads the file if it is another one or has changed, which one statx(2) tells. Not the time of its content: images
    /// and copies are made with the times of what they were made from.
    fn look(&mut self, batch: &mut Batch) -> Result<()> {
        let found = PATHS.into_iter().find_map(|path| match self.host.try_version(path) {
            Ok(version) => Some((path, version)),
            Err(_) => None,
        });
        // Something changed at once after it was read could have the same time. A clock that was set back since is as far
        // from it.
        let is_settled = found.is_some_and(|(_, version)| {
            (self.host.now().as_secs_f64() - version.changed).abs() > CLOCK_GRANULARITY
        });
        if is_settled && self.read == found {
            return Ok(());
        }
        self.read = None;
        let path = found.map_or(PATHS[0], |(path, _)| path);
        let text = self.host.read(path, &mut self.content)?;
        self.release.parse(text, batch);
        self.read = found;
        Ok(())
    }
}

/// What the file says.
#[derive(Default)]
struct Release {
    /// By [`KEYS`]; empty without one.
    values: [Vec<u8>; KEYS.len()],
    version: Option<f64>,
    support_end: Option<i64>,
}

impl Release {
    /// Takes every line such as `PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"` whose key is known.
    fn parse(&mut self, text: &[u8], batch: &mut Batch) {
        self.values.iter_mut().for_each(Vec::clear);
        let mut lines = lines(text);
        while let Some(line) = lines.next() {
            let line = text::trim(line);
            let line = line.strip_prefix(b"export ").unwrap_or(line);
            let Some((key, value)) = text::key_value(line, b'=') else { continue };
            let known = KEYS.iter().position(|known| *known == key);
            let Some(place) = known.and_then(|known| self.values.get_mut(known)) else { continue };
            let unquoted = unquote(value, place).map_err(|wrong| wrong.moved_by(lines.offset()));
            if batch.tolerate(unquoted).is_none() {
                place.clear();
            }
        }
        let [.., version, support_end] = &self.values;
        self.version = parse_version(version);
        self.support_end = None;
        if !support_end.is_empty() {
            self.support_end = batch.tolerate(parse_date(support_end));
        }
    }
}

/// Takes a value as a shell does: words in quotes of either kind or none, and backslashes.
fn unquote(value: &[u8], into: &mut Vec<u8>) -> Result<(), Malformed> {
    into.clear();
    let mut quote = None;
    let mut bytes = value.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match (quote, byte) {
            (None, b'"' | b'\'') => quote = Some(byte),
            (None, b'#') if into.last().is_some_and(u8::is_ascii_whitespace) => {
                into.truncate(into.trim_ascii_end().len());
                break;
            }
            (None, b'\\') => into.extend(bytes.next()),
            // Between these quotes a backslash is itself, but before a few bytes.
            (Some(b'"'), b'\\') => match bytes.next_if(|next| b"\"$\\`".contains(next)) {
                Some(escaped) => into.push(escaped),
                None => into.push(b'\\'),
            },
            (Some(open), _) if open == byte => quote = None,
            _ => into.push(byte),
        }
    }
    if quote.is_some() {
        return Err(Malformed::new(value.len(), "a quote at the end"));
    }
    Ok(())
}

/// The number that a version begins with, such as 22.04 in `22.04.1`; none if it is not above 0.
fn parse_version(version: &[u8]) -> Option<f64> {
    let digits = |text: &[u8]| text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let whole = digits(version);
    let mut end = whole;
    if whole > 0 && version.get(whole) == Some(&b'.') {
        end += 1 + digits(&version[whole + 1..]);
    }
    let number: f64 = str::from_utf8(&version[..end]).ok()?.parse().ok()?;
    (number > 0.0).then_some(number)
}

/// Takes the seconds since the epoch at which a day such as `2028-06-30` begins.
fn parse_date(date: &[u8]) -> Result<i64, Malformed> {
    let wrong = Malformed::new(0, "a date such as 2028-06-30");
    let [y @ .., b'-', m1, m2, b'-', d1, d2] = date else { return Err(wrong) };
    let number = |digits: &[u8]| parse_u64(digits).ok_or(wrong);
    let (year, month, day) = (number(y)?, number(&[*m1, *m2])?, number(&[*d1, *d2])?);
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let last = match month {
        2 => 28 + u64::from(is_leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return Err(wrong),
    };
    if y.len() != 4 || day == 0 || day > last {
        return Err(wrong);
    }
    // In a year that begins with March the leap day is the last one. 400 years have 146,097 days, and
    // there are 719,468 from the beginning of such a year 0 to 1970.
    let is_before_march = month < 3;
    let (year, month) = if is_before_march { (year + 399, month + 9) } else { (year, month - 3) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    let epoch = 719_468 + if is_before_march { 146_097 } else { 0 };
    Ok((days as i64 - epoch) * 86_400)
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitald_core::testing::*;

    const ETC: &str = "rootfs/etc/os-release";
    const USR: &str = "rootfs/usr/lib/os-release";
    const FEDORA: &str = "NAME=\"Fedora Linux\"\nVERSION=\"42 (Server Edition)\"\nID=fedora\n\
        VERSION_ID=42\nVERSION_CODENAME=\"\"\nPRETTY_NAME=\"Fedora Linux 42 (Server Edition)\"\n\
        VARIANT='Server Edition'\nVARIANT_ID=server\nSUPPORT_END=2026-05-13\nLOGO=fedora\n";

    #[test]
    fn golden() {
        check::<Os>(
            &MemoryHost::from_files(&[(ETC, FEDORA), (USR, "ID=other\n")]).host(),
            &[],
            &expect![[r#"
                # node_os_info gauge
                node_os_info{build_id="",id="fedora",id_like="",image_id="",image_version="",name="Fedora Linux",pretty_name="Fedora Linux 42 (Server Edition)",variant="Server Edition",variant_id="server",version="42 (Server Edition)",version_codename="",version_id="42"} 1
                # node_os_support_end_timestamp_seconds gauge
                node_os_support_end_timestamp_seconds 1.7786304e+09
                # node_os_version gauge
                node_os_version{id="fedora",id_like="",name="Fedora Linux"} 42
            "#]],
        );
    }

    #[test]
    fn the_second_file_stands_in_for_the_first() {
        check::<Os>(
            &MemoryHost::from_files(&[(USR, "ID=arch\nBUILD_ID=rolling\n")]).host(),
            &[],
            &expect![[r#"
                # node_os_info gauge
                node_os_info{build_id="rolling",id="arch",id_like="",image_id="",image_version="",name="",pretty_name="",variant="",variant_id="",version="",version_codename="",version_id=""} 1
            "#]],
        );
        check_fails::<Os>(
            &MemoryHost::new().host(),
            &[],
            &expect!["rootfs/etc/os-release: not on this host"],
            &expect![""],
        );
    }

    /// An upgrade replaces the file.
    #[test]
    fn a_file_that_changes_is_read_again_and_one_that_does_not_is_not() {
        let memory = MemoryHost::from_files(&[(ETC, "ID=debian\nVERSION_ID=\"12\"\n")]);
        memory.set_modified(ETC, 1e9);
        let mut collector = open::<Os>(&memory.host(), &[]);
        let (first, _) = run(&mut collector, None);
        let reads = memory.reads();
        let (second, _) = run(&mut collector, Some(&first));
        assert_eq!((memory.reads(), second.len()), (reads, 2));
        memory.write(ETC, "ID=debian\nVERSION_ID=\"13\"\n");
        let (third, _) = run(&mut collector, Some(&second));
        assert_eq!(third.samples().map(|(_, value)| value).collect::<Vec<_>>(), [1.0, 13.0]);
        // A second change within the clock's granularity is seen, too.
        memory.write(ETC, "ID=debian\n");
        assert_eq!(run(&mut collector, Some(&third)).0.len(), 1);
        memory.remove(ETC);
        let (gone, outcome) = run(&mut collector, None);
        assert!(matches!(outcome, Err(Error::Absent { .. })) && gone.is_empty());
    }

    /// Images are made with one time for all files, and `cp -p` takes the time along.
    #[test]
    fn a_file_that_another_one_of_the_same_time_replaces_is_read() {
        let memory = MemoryHost::from_files(&[(ETC, "ID=debian\nVERSION_ID=\"12\"\n")]);
        memory.set_modified(ETC, 1e9);
        memory.set_now(Duration::from_secs(1_100_000_000));
        let mut collector = open::<Os>(&memory.host(), &[]);
        let mut version = || {
            let before = memory.reads();
            let (batch, outcome) = run(&mut collector, None);
            outcome.unwrap();
            (batch.samples().last().unwrap().1, memory.reads() - before > 0)
        };
        assert_eq!([version(), version()], [(12.0, true), (12.0, false)]);
        // Another file, and one that says another size.
        for (text, expected) in [("ID=debian\nVERSION_ID=\"13\"\n", 13.0), ("VERSION_ID=9", 9.0)] {
            memory.write("rootfs/etc/new", text);
            memory.set_modified("rootfs/etc/new", 1e9);
            memory.rename("rootfs/etc/new", ETC);
            assert_eq!([version(), version()], [(expected, true), (expected, false)]);
        }
        // The same file with as many bytes.
        memory.write(ETC, "VERSION_ID=8");
        memory.pretend_modified(ETC, 1e9);
        memory.set_now(Duration::from_secs(1_100_000_100));
        assert_eq!([version(), version()], [(8.0, true), (8.0, false)]);
        memory.set_now(Duration::from_secs(3600));
        assert_eq!([version(), version()], [(8.0, false), (8.0, false)]);
    }

    #[test]
    fn odd_lines_cost_themselves() {
        let text = "ID=\"x\nNAME='y'\n# ID=z\nVERSION_ID\n=1\nSUPPORT_END=soon\n";
        let memory = MemoryHost::from_files(&[(ETC, text)]);
        let (batch, outcome) = run(&mut open::<Os>(&memory.host(), &[]), None);
        outcome.unwrap();
        assert_eq!(batch.len(), 1);
        assert!(render(&batch).contains("id=\"\",") && render(&batch).contains("name=\"y\""));
        assert_eq!(batch.malformed(), Some((2, Malformed::new(2, "a quote at the end"))));
    }

    #[test]
    fn values_are_those_of_a_shell() {
        for (value, expected) in [
            ("debian", "debian"),
            ("\"a 'b' \\\"c\\\" \\$d \\e\"", "a 'b' \"c\" $d \\e"),
            ("'a \\ \"b\"'", "a \\ \"b\""),
            ("a\\ b # comment", "a b"),
            ("a#b", "a#b"),
            ("\"a \"'b'", "a b"),
            ("", ""),
        ] {
            let mut into = Vec::new();
            unquote(value.as_bytes(), &mut into).unwrap();
            assert_eq!(String::from_utf8_lossy(&into), expected, "{value}");
        }
        assert!(unquote(b"'a", &mut Vec::new()).is_err());
    }

    #[test]
    fn versions_and_dates() {
        for (version, number) in [
            ("22.04", Some(22.04)),
            ("20.04.2 LTS", Some(20.04)),
            ("8.", Some(8.0)),
            ("3-rc1", Some(3.0)),
            ("0", None),
            ("rawhide", None),
            (".5", None),
            ("", None),
        ] {
            assert_eq!(parse_version(version.as_bytes()), number, "{version}");
        }
        for (date, seconds) in [
            ("1970-01-01", 0),
            ("2000-02-29", 951_782_400),
            ("2000-03-01", 951_868_800),
            ("2038-01-19", 2_147_472_000),
            ("1969-12-31", -86_400),
        ] {
            assert_eq!(parse_date(date.as_bytes()), Ok(seconds), "{date}");
        }
        rejects(
            parse_date,
            &[
                "",
                "2026",
                "2026-1-01",
                "2026-13-01",
                "2026-02-29",
                "2026-04-31",
                "2026-01-00",
                "x026-01-01",
                "12026-01-01",
            ],
        );
    }
}
