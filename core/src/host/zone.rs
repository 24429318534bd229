//! The local time zone.

/// A time zone: what clocks show at any time, by the rules of tzfile(5).
///
/// Read once and asked at each collection, which allocates nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    /// When which of `types` begins, in seconds since the epoch.
    transitions: Vec<(i64, usize)>,
    /// Never empty.
    types: Vec<Offset>,
    /// What holds after the last transition.
    rule: Option<Rule>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Offset {
    /// Seconds east of UTC.
    seconds: i64,
    name: String,
}

/// The `TZ` text at the end of a file (tzset(3)): `CET-1CEST,M3.5.0,M10.5.0/3`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    standard: Offset,
    summer: Option<(Offset, Change, Change)>,
}

/// When in a year clocks change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Change {
    day: Day,
    /// Seconds after midnight, by the clock before the change.
    time: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Day {
    /// `Jn`, from 1, where 29 February is not counted.
    Julian(i64),
    /// `n`, from 0.
    OfYear(i64),
    /// `Mm.w.d`: the `week`th `day` (Sunday is 0) of the month, or the last one.
    OfMonth { month: i64, week: i64, day: i64 },
}

impl Default for Zone {
    /// UTC.
    fn default() -> Self {
        let types = vec![Offset { seconds: 0, name: "UTC".into() }];
        Zone { transitions: Vec::new(), types, rule: None }
    }
}

impl Zone {
    /// The zone of `TZ`: a file's path or a name in the zone data base, an empty one is UTC;
    /// without it that of `/etc/localtime`; UTC where neither can be read.
    pub(super) fn of_process() -> Self {
        let read = |path: &str| Zone::parse(&std::fs::read(path).ok()?);
        let zone = match std::env::var("TZ") {
            Err(_) => read("/etc/localtime"),
            Ok(name) => {
                let name = name.strip_prefix(':').unwrap_or(&name);
                if name.starts_with('/') {
                    read(name)
                } else if name.is_empty() || name.split('/').any(|part| part == "..") {
                    None
                } else {
                    ["/usr/share/zoneinfo", "/usr/share/lib/zoneinfo", "/etc/zoneinfo"]
                        .iter()
                        .find_map(|directory| read(&format!("{directory}/{name}")))
                }
            }
        };
        zone.unwrap_or_default()
    }

    /// The abbreviation and the seconds east of UTC that hold at a time, which is in seconds since
    /// the epoch.
    pub fn at(&self, time: i64) -> (&str, i64) {
        let begun = self.transitions.partition_point(|&(from, _)| from <= time);
        let offset = match &self.rule {
            Some(rule) if begun == self.transitions.len() => rule.at(time),
            _ if begun == 0 => &self.types[0],
            _ => &self.types[self.transitions[begun - 1].1],
        };
        (&offset.name, offset.seconds)
    }

    /// Parses a file of tzfile(5), RFC 8536.
    pub(super) fn parse(file: &[u8]) -> Option<Self> {
        let (first, version) = Header::parse(file)?;
        // A second, wider block follows the first one of a file that is newer than 1996.
        if version < b'2' {
            return first.block(file.get(HEADER..)?, 4).map(|(zone, _)| zone);
        }
        let second = file.get(HEADER.checked_add(first.length(4)?)?..)?;
        let (header, _) = Header::parse(second)?;
        let (mut zone, footer) = header.block(second.get(HEADER..)?, 8)?;
        let text = footer.strip_prefix(b"\n")?.split(|&byte| byte == b'\n').next()?;
        zone.rule = Rule::parse(text);
        Some(zone)
    }
}

const HEADER: usize = 44;

/// The counts at the start of a block.
struct Header {
    universal: usize,
    standard: usize,
    leaps: usize,
    times: usize,
    types: usize,
    letters: usize,
}

impl Header {
    fn parse(bytes: &[u8]) -> Option<(Self, u8)> {
        let header = bytes.get(..HEADER)?.strip_prefix(b"TZif")?;
        let count = |index: usize| {
            let bytes = header.get(16 + 4 * index..20 + 4 * index)?;
            usize::try_from(u32::from_be_bytes(bytes.try_into().ok()?)).ok()
        };
        let counts = Header {
            universal: count(0)?,
            standard: count(1)?,
            leaps: count(2)?,
            times: count(3)?,
            types: count(4)?,
            letters: count(5)?,
        };
        Some((counts, header[0]))
    }

    /// The length of the block after the header, whose times are `width` bytes wide.
    fn length(&self, width: usize) -> Option<usize> {
        let times = self.times.checked_mul(width + 1)?;
        let types = self.types.checked_mul(6)?.checked_add(self.letters)?;
        let leaps = self.leaps.checked_mul(width + 4)?;
        let flags = self.standard.checked_add(self.universal)?;
        times.checked_add(types)?.checked_add(leaps)?.checked_add(flags)
    }

    /// The block and what follows it.
    fn block<'a>(&self, bytes: &'a [u8], width: usize) -> Option<(Zone, &'a [u8])> {
        let (block, footer) = bytes.split_at_checked(self.length(width)?)?;
        let (times, block) = block.split_at_checked(self.times * width)?;
        let (indices, block) = block.split_at_checked(self.times)?;
        let (types, block) = block.split_at_checked(self.types * 6)?;
        let letters = block.get(..self.letters)?;
        let types = types
            .chunks_exact(6)
            .map(|entry| {
                let name = letters.get(usize::from(entry[5])..)?;
                let name = name.split(|&byte| byte == 0).next()?;
                Some(Offset {
                    seconds: i32::from_be_bytes(entry[..4].try_into().ok()?).into(),
                    name: String::from_utf8_lossy(name).into_owned(),
                })
            })
            .collect::<Option<Vec<_>>>()?;
        let transitions = times
            .chunks_exact(width)
            .zip(indices)
            .map(|(time, &index)| {
                let time = match time.try_into() {
                    Ok(wide) => i64::from_be_bytes(wide),
                    Err(_) => i32::from_be_bytes(time.try_into().ok()?).into(),
                };
                (usize::from(index) < types.len()).then_some((time, usize::from(index)))
            })
            .collect::<Option<Vec<_>>>()?;
        (!types.is_empty()).then_some((Zone { transitions, types, rule: None }, footer))
    }
}

const DAY: i64 = 86_400;

impl Rule {
    fn parse(text: &[u8]) -> Option<Self> {
        let mut text = text;
        let name = name(&mut text)?;
        let standard = Offset { seconds: -clock(&mut text)?, name };
        if text.is_empty() {
            return Some(Rule { standard, summer: None });
        }
        let name = self::name(&mut text)?;
        let seconds = match text.first() {
            None | Some(b',') => standard.seconds + 3600,
            Some(_) => -clock(&mut text)?,
        };
        let summer = Offset { seconds, name };
        if text.is_empty() {
            // What tzset(3) takes without a rule: that of the United States.
            text = b",M3.2.0,M11.1.0";
        }
        let start = Change::parse(&mut text)?;
        let end = Change::parse(&mut text)?;
        text.is_empty().then_some(Rule { standard, summer: Some((summer, start, end)) })
    }

    fn at(&self, time: i64) -> &Offset {
        let Some((summer, start, end)) = &self.summer else { return &self.standard };
        let (year, first_day) = year_of(time.div_euclid(DAY));
        let second = time.saturating_sub(first_day.saturating_mul(DAY));
        let start = start.second(year, first_day) - self.standard.seconds;
        let end = end.second(year, first_day) - summer.seconds;
        // South of the equator the summer is what lies outside.
        let is_summer = if start < end {
            (start..end).contains(&second)
        } else {
            !(end..start).contains(&second)
        };
        if is_summer { summer } else { &self.standard }
    }
}

impl Change {
    fn parse(text: &mut &[u8]) -> Option<Self> {
        eat(text, b',').then_some(())?;
        let day = if eat(text, b'J') {
            Day::Julian(number(text, 1, 365)?)
        } else if eat(text, b'M') {
            let month = number(text, 1, 12)?;
            let week = eat(text, b'.').then(|| number(text, 1, 5))??;
            let day = eat(text, b'.').then(|| number(text, 0, 6))??;
            Day::OfMonth { month, week, day }
        } else {
            Day::OfYear(number(text, 0, 365)?)
        };
        let time = if eat(text, b'/') { clock(text)? } else { 2 * 3600 };
        Some(Change { day, time })
    }

    /// Seconds after the year's beginning, by the clock before the change.
    fn second(self, year: i64, first_day: i64) -> i64 {
        let day = match self.day {
            Day::Julian(day) => day - 1 + i64::from(is_leap(year) && day >= 60),
            Day::OfYear(day) => day,
            Day::OfMonth { month, week, day } => {
                let month_starts: i64 = (1..month).map(|month| days_of(month, year)).sum();
                // 1 January 1970 was a Thursday.
                let weekday = (first_day + month_starts + 4).rem_euclid(7);
                let mut date = (day - weekday).rem_euclid(7) + 7 * (week - 1);
                if date >= days_of(month, year) {
                    date -= 7;
                }
                month_starts + date
            }
        };
        day * DAY + self.time
    }
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_of(month: i64, year: i64) -> i64 {
    match month {
        2 => 28 + i64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// The year a day is in, and the year's first day; days count from the epoch.
fn year_of(day: i64) -> (i64, i64) {
    let first_day = |year: i64| {
        let before = year - 1;
        365 * (year - 1970) + before.div_euclid(4) - before.div_euclid(100) + before.div_euclid(400)
            - 477
    };
    // The mean year is a little longer than 365 days, so the guess is off by few.
    let mut year = 1970 + (day as f64 / 365.2425) as i64;
    while first_day(year) > day {
        year -= 1;
    }
    while first_day(year + 1) <= day {
        year += 1;
    }
    (year, first_day(year))
}

fn eat(text: &mut &[u8], byte: u8) -> bool {
    match text.split_first() {
        Some((&first, rest)) if first == byte => {
            *text = rest;
            true
        }
        _ => false,
    }
}

/// `CET` or `<+03>`.
fn name(text: &mut &[u8]) -> Option<String> {
    let (name, rest) = if eat(text, b'<') {
        let end = text.iter().position(|&byte| byte == b'>')?;
        (&text[..end], &text[end + 1..])
    } else {
        let end = text.iter().position(|byte| !byte.is_ascii_alphabetic()).unwrap_or(text.len());
        text.split_at(end)
    };
    *text = rest;
    (name.len() >= 3).then(|| String::from_utf8_lossy(name).into_owned())
}

fn number(text: &mut &[u8], least: i64, most: i64) -> Option<i64> {
    let end = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    *text = rest;
    let number = std::str::from_utf8(digits).ok()?.parse().ok()?;
    (least..=most).contains(&number).then_some(number)
}

/// `-5`, `+3:30` or `167:59:59`, in seconds.
fn clock(text: &mut &[u8]) -> Option<i64> {
    let negative = eat(text, b'-');
    if !negative {
        eat(text, b'+');
    }
    let mut seconds = number(text, 0, 167)? * 3600;
    if eat(text, b':') {
        seconds += number(text, 0, 59)? * 60;
        if eat(text, b':') {
            seconds += number(text, 0, 59)?;
        }
    }
    Some(if negative { -seconds } else { seconds })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of the slim kind: one type, no transition, all in the last line.
    fn file(rule: &str) -> Vec<u8> {
        let mut header = b"TZif2".to_vec();
        header.resize(20, 0);
        for count in [0_u32, 0, 0, 0, 1, 4] {
            header.extend_from_slice(&count.to_be_bytes());
        }
        let mut file = header.clone();
        file.extend_from_slice(b"\0\0\0\0\0\0LMT\0");
        file.extend_from_slice(&header);
        file.extend_from_slice(b"\0\0\0\0\0\0LMT\0");
        file.extend_from_slice(format!("\n{rule}\n").as_bytes());
        file
    }

    fn zone(rule: &str) -> Zone {
        Zone::parse(&file(rule)).unwrap()
    }

    #[test]
    fn the_rule_says_when_clocks_change() {
        // The instants are those that zdump(8) prints for Europe/Berlin and others.
        let berlin = zone("CET-1CEST,M3.5.0,M10.5.0/3");
        assert_eq!(berlin.at(1_774_745_999), ("CET", 3600));
        assert_eq!(berlin.at(1_774_746_000), ("CEST", 7200));
        assert_eq!(berlin.at(1_792_889_999), ("CEST", 7200));
        assert_eq!(berlin.at(1_792_890_000), ("CET", 3600));
        let new_york = zone("EST5EDT,M3.2.0,M11.1.0");
        assert_eq!(new_york.at(1_772_953_199), ("EST", -18000));
        assert_eq!(new_york.at(1_772_953_200), ("EDT", -14400));
        assert_eq!(new_york, zone("EST5EDT"));
        let sydney = zone("AEST-10AEDT,M10.1.0,M4.1.0/3");
        assert_eq!(sydney.at(1_775_318_399), ("AEDT", 39600));
        assert_eq!(sydney.at(1_775_318_400), ("AEST", 36000));
        assert_eq!(zone("<+0330>-3:30").at(0), ("+0330", 12600));
        assert_eq!(zone("UTC0").at(i64::MAX), ("UTC", 0));
        assert_eq!(zone("UTC0").at(i64::MIN), ("UTC", 0));
    }

    #[test]
    fn without_a_rule_the_types_hold() {
        assert_eq!(zone("").at(0), ("LMT", 0));
        assert_eq!(zone("no rule").at(0), ("LMT", 0));
        assert_eq!(Zone::default().at(0), ("UTC", 0));
    }

    #[test]
    fn a_year_begins_on_its_first_day() {
        assert_eq!(year_of(0), (1970, 0));
        assert_eq!(year_of(-1), (1969, -365));
        assert_eq!(year_of(11_016), (2000, 10_957));
        assert_eq!(year_of(20_453), (2025, 20_089));
        assert_eq!(year_of(20_454), (2026, 20_454));
    }

    #[test]
    fn a_cut_or_spoilt_file_never_panics() {
        let whole = file("CET-1CEST,M3.5.0,M10.5.0/3");
        for end in 0..whole.len() {
            if let Some(zone) = Zone::parse(&whole[..end]) {
                zone.at(1_774_746_000);
            }
        }
        for at in 0..whole.len() {
            for byte in [0, 1, b'0', b'9', 0x7f, 0xff] {
                let mut spoilt = whole.clone();
                spoilt[at] = byte;
                if let Some(zone) = Zone::parse(&spoilt) {
                    zone.at(1_774_746_000);
                }
            }
        }
    }
}
