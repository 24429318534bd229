//! Families: a metric name with its type, help and label names, declared as constants.
//!
//! The rules are those of the [Prometheus naming practice][naming] and of the text format. They
//! are checked while compiling: a bad family does not build. A name kept for compatibility that
//! breaks a rule carries a visible `legacy` mark.
//!
//! [naming]: https://prometheus.io/docs/practices/naming/

/// The type of a family, as the exposition formats name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Only goes up, or starts again from zero.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Not said.
    Untyped,
    /// Cumulative buckets with `le`, a sum and a count.
    Histogram,
    /// Quantiles with `quantile`, a sum and a count.
    Summary,
}

impl Kind {
    /// The word after `# TYPE name`.
    pub const fn word(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Untyped => "untyped",
            Kind::Histogram => "histogram",
            Kind::Summary => "summary",
        }
    }
}

/// What is declared of a family, for the batch, the encoders and the manual.
#[derive(Debug, PartialEq, Eq)]
pub struct FamilyInfo {
    /// The metric's full name.
    pub name: &'static str,
    /// One sentence; the HELP line and the manual's text.
    pub help: &'static str,
    /// Its type.
    pub kind: Kind,
    /// Names of its labels, in the order in which a row gives the values.
    pub labels: &'static [&'static str],
    /// The name breaks a naming rule and is kept because dashboards know it.
    pub legacy: bool,
    /// Other collectors declare it, too, each with this mark, with the same type and the same unit;
    /// the labels and the help may differ. Of a series that several have, the one of the collector whose
    /// name is first in the alphabet is shown.
    pub shared: bool,
    /// The unit of its values: what the name says, unless the declaration says otherwise.
    pub unit: Unit,
    /// Since when it counts, where that differs from the rest of its collector's counters.
    pub since: Option<Since>,
}

/// The unit of a family's values, always without a prefix.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unit {
    /// A count, a truth value, or something without a unit that is known.
    #[default]
    None,
    /// Seconds; of a name in `_timestamp_seconds`, since the epoch.
    Seconds,
    /// Bytes.
    Bytes,
    /// Degrees Celsius.
    Celsius,
    /// A part of a whole, from 0 to 1.
    Ratio,
    /// Volts.
    Volts,
    /// Amperes.
    Amperes,
    /// Joules.
    Joules,
    /// Hertz.
    Hertz,
    /// Watts.
    Watts,
    /// Meters.
    Meters,
    /// Revolutions a minute.
    RevolutionsPerMinute,
}

impl Unit {
    /// How it is written at the end of a name; empty for none.
    pub const fn word(self) -> &'static str {
        match self {
            Unit::None => "",
            Unit::Seconds => "seconds",
            Unit::Bytes => "bytes",
            Unit::Celsius => "celsius",
            Unit::Ratio => "ratio",
            Unit::Volts => "volts",
            Unit::Amperes => "amperes",
            Unit::Joules => "joules",
            Unit::Hertz => "hertz",
            Unit::Watts => "watts",
            Unit::Meters => "meters",
            Unit::RevolutionsPerMinute => "rpm",
        }
    }

    /// The unit that a metric's name ends in, `_total` aside.
    pub const fn of_name(name: &[u8]) -> Unit {
        let mut end = name.len();
        if bytes_end_with(name, end, b"_total") {
            end -= b"_total".len();
        }
        const UNITS: [Unit; 11] = [
            Unit::Seconds,
            Unit::Bytes,
            Unit::Celsius,
            Unit::Ratio,
            Unit::Volts,
            Unit::Amperes,
            Unit::Joules,
            Unit::Hertz,
            Unit::Watts,
            Unit::Meters,
            Unit::RevolutionsPerMinute,
        ];
        let mut i = 0;
        while i < UNITS.len() {
            let word = UNITS[i].word().as_bytes();
            if !word.is_empty()
                && bytes_end_with(name, end, word)
                && end > word.len()
                && name[end - word.len() - 1] == b'_'
            {
                return UNITS[i];
            }
            i += 1;
        }
        // node_exporter's names for currents, as in node_hwmon_curr_amps.
        if bytes_end_with(name, end, b"_amps") {
            return Unit::Amperes;
        }
        Unit::None
    }
}

/// Since when a counter counts: from there it counted from zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Since {
    /// Since this system booted.
    Boot,
    /// Since its source began: the device was attached, the process was started.
    Source,
    /// That is not known.
    #[default]
    Unknown,
}

impl Since {
    /// The word users see.
    pub const fn word(self) -> &'static str {
        match self {
            Since::Boot => "boot",
            Since::Source => "source",
            Since::Unknown => "unknown",
        }
    }
}

/// What a declaration may say after the name and the labels.
#[doc(hidden)]
#[derive(Clone, Copy)]
pub enum Mark {
    /// `legacy`
    Legacy,
    /// `shared`
    Shared,
    /// `unit(Seconds)`
    Unit(Unit),
    /// `since(Boot)`
    Since(Since),
}

/// A shape of names that are made at run time, for the manual and the registry's tests.
#[derive(Debug, PartialEq, Eq)]
pub struct FamilyPattern {
    /// The names, with `*` for the parts that the host decides, such as `node_vmstat_*`.
    pub name: &'static str,
    /// The types such a family may have.
    pub kinds: &'static [Kind],
    /// One sentence for the manual.
    pub help: &'static str,
}

impl FamilyPattern {
    /// Whether a name made at run time is one of these.
    pub fn covers(&self, name: &[u8]) -> bool {
        covers(self.name.as_bytes(), name)
    }
}

fn covers(pattern: &[u8], name: &[u8]) -> bool {
    match pattern.split_first() {
        None => name.is_empty(),
        Some((b'*', rest)) => (0..=name.len()).any(|skip| covers(rest, &name[skip..])),
        Some((byte, rest)) => {
            name.split_first().is_some_and(|(n, tail)| n == byte && covers(rest, tail))
        }
    }
}

/// A declared family with `N` labels: an index into its collector's table.
///
/// The number of labels is part of the type, so a row with a wrong number of values does not
/// compile.
#[derive(Clone, Copy, Debug)]
pub struct Family<const N: usize> {
    index: u16,
}

impl<const N: usize> Family<N> {
    /// Made by [`families!`](crate::families) only.
    #[doc(hidden)]
    pub const fn new(index: u16) -> Self {
        Family { index }
    }

    /// The position in the collector's table.
    pub const fn index(self) -> u16 {
        self.index
    }
}

impl FamilyInfo {
    /// Checks and makes a declaration; runs while compiling.
    ///
    /// # Panics
    ///
    /// When a naming rule is broken: in a constant, so the build stops with the sentence.
    pub const fn declare(
        name: &'static str,
        doc: &'static str,
        kind: Kind,
        labels: &'static [&'static str],
        marks: &[Mark],
    ) -> Self {
        let (mut legacy, mut shared) = (false, false);
        let (mut unit, mut since) = (Unit::of_name(name.as_bytes()), None);
        let mut i = 0;
        while i < marks.len() {
            match marks[i] {
                Mark::Legacy => legacy = true,
                Mark::Shared => shared = true,
                Mark::Unit(said) => unit = said,
                Mark::Since(said) => since = Some(said),
            }
            i += 1;
        }
        let help = doc.trim_ascii();
        assert!(is_metric_name(name.as_bytes()), "a metric name is [a-zA-Z_:][a-zA-Z0-9_:]*");
        assert!(!help.is_empty(), "a family needs a doc comment: it is the HELP line");
        assert!(ends_with(help, "."), "a family's help is a sentence and ends with a full stop");
        if !legacy {
            let total = ends_with(name, "_total");
            match kind {
                Kind::Counter => {
                    assert!(total, "a counter's name must end in _total (or mark it legacy)");
                }
                _ => assert!(!total, "only a counter's name ends in _total (or mark it legacy)"),
            }
            assert!(
                !ends_with(name, "_percent") && !ends_with(name, "_milliseconds"),
                "use base units: ratio, seconds (or mark it legacy)"
            );
        }
        let mut i = 0;
        while i < labels.len() {
            let label = labels[i].as_bytes();
            assert!(is_label_name(label), "a label name is [a-zA-Z_][a-zA-Z0-9_]*, not __...");
            assert!(
                !equal(labels[i], "le") && !equal(labels[i], "quantile"),
                "le and quantile are reserved"
            );
            let mut j = 0;
            while j < i {
                assert!(!equal(labels[i], labels[j]), "two labels of one name");
                j += 1;
            }
            i += 1;
        }
        FamilyInfo { name, help, kind, labels, legacy, shared, unit, since }
    }
}

/// Appends what a part of a metric's name is made of from a name of the host's: one `_` for each run of bytes that a
/// metric's name may not have, or that is a colon, with the `_` around it. node_exporter does the same.
///
/// ```
/// use vitald_core::family::write_metric_name_part;
///
/// let mut name = b"node_".to_vec();
/// write_metric_name_part(&mut name, b"dram_-0 (a)_b");
/// assert_eq!(name, b"node_dram_0_a_b");
/// ```
pub fn write_metric_name_part(into: &mut Vec<u8>, name: &[u8]) {
    let start = into.len();
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    for (place, part) in name.split(|byte| !is_word(byte)).enumerate() {
        let is_first = place == 0;
        if !is_first {
            while into.len() > start && into.last() == Some(&b'_') {
                into.pop();
            }
            into.push(b'_');
        }
        let begin = part.iter().position(|byte| is_first || *byte != b'_').unwrap_or(part.len());
        into.extend_from_slice(&part[begin..]);
    }
}

/// Whether the text formats take this as the name of a metric.
pub const fn is_metric_name(name: &[u8]) -> bool {
    let mut i = 0;
    while i < name.len() {
        let ok = name[i].is_ascii_alphabetic()
            || name[i] == b'_'
            || name[i] == b':'
            || (i > 0 && name[i].is_ascii_digit());
        if !ok {
            return false;
        }
        i += 1;
    }
    i > 0
}

/// Whether the text formats take this as the name of a label (names from `__` are reserved).
pub const fn is_label_name(name: &[u8]) -> bool {
    let mut i = 0;
    while i < name.len() {
        if name[i] == b':' {
            return false;
        }
        i += 1;
    }
    is_metric_name(name) && !(name.len() > 1 && name[0] == b'_' && name[1] == b'_')
}

const fn ends_with(text: &str, end: &str) -> bool {
    bytes_end_with(text.as_bytes(), text.len(), end.as_bytes())
}

/// Whether the first `length` bytes of a text end in `end`.
const fn bytes_end_with(text: &[u8], length: usize, end: &[u8]) -> bool {
    if length < end.len() {
        return false;
    }
    let mut i = 0;
    while i < end.len() {
        if text[length - end.len() + i] != end[i] {
            return false;
        }
        i += 1;
    }
    true
}

pub(crate) const fn equal(a: &str, b: &str) -> bool {
    a.len() == b.len() && ends_with(a, b)
}

/// Declares a collector's families: one doc comment, a type, a name and label names each.
///
/// ```
/// use vitald_core::prelude::*;
///
/// families! {
///     /// Reads completed.
///     READS: counter = "node_disk_reads_completed_total" [device];
///     /// Interrupts serviced.
///     INTERRUPTS: counter = "node_intr" legacy;
/// }
/// assert_eq!(FAMILIES[1].help, "Interrupts serviced.");
/// ```
///
/// It makes one constant each and the table `FAMILIES` of all. Behind the name may stand:
///
/// * `legacy`: a name kept for compatibility may break the naming rules, in sight of the reader;
/// * `shared`: other collectors declare the family, too, see [`FamilyInfo::shared`];
/// * `unit(Seconds)`: the [`Unit`] of the values, where the name does not end in it;
/// * `since(Source)`: [`Since`] when it counts, where that differs from the collector's `SINCE`.
#[macro_export]
macro_rules! families {
    ($(
        $(#[doc = $doc:literal])*
        $family:ident : $kind:ident = $name:literal $([$($label:ident),+ $(,)?])? $($mark:ident $(($value:ident))?)* ;
    )*) => {
        #[allow(non_camel_case_types, clippy::upper_case_acronyms, dead_code)]
        #[repr(u16)]
        enum FamilyIndex { $($family),* }

        $(
            $(#[doc = $doc])*
            const $family: $crate::family::Family<{
                const LABELS: &[&str] = &[$($(stringify!($label)),+)?];
                LABELS.len()
            }> = $crate::family::Family::new(FamilyIndex::$family as u16);
        )*

        const FAMILIES: &[$crate::family::FamilyInfo] = &[$(
            $crate::family::FamilyInfo::declare(
                $name,
                concat!($($doc),*),
                $crate::family_kind!($kind),
                &[$($(stringify!($label)),+)?],
                &[$($crate::family_mark!($mark $($value)?)),*],
            )
        ),*];
    };
}

/// The word of a declaration to its [`Kind`].
#[doc(hidden)]
#[macro_export]
macro_rules! family_kind {
    (counter) => {
        $crate::family::Kind::Counter
    };
    (gauge) => {
        $crate::family::Kind::Gauge
    };
    (untyped) => {
        $crate::family::Kind::Untyped
    };
}

/// A mark of a declaration.
#[doc(hidden)]
#[macro_export]
macro_rules! family_mark {
    (legacy) => {
        $crate::family::Mark::Legacy
    };
    (shared) => {
        $crate::family::Mark::Shared
    };
    (unit $unit:ident) => {
        $crate::family::Mark::Unit($crate::family::Unit::$unit)
    };
    (since $since:ident) => {
        $crate::family::Mark::Since($crate::family::Since::$since)
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_those_of_metrics() {
        let made = |name: &str| {
            let mut made = b"_".to_vec();
            write_metric_name_part(&mut made, name.as_bytes());
            String::from_utf8(made[1..].to_vec()).unwrap()
        };
        assert_eq!(made("package-0-die-1"), "package_0_die_1");
        assert_eq!(made("a_-_b"), "a_b");
        assert_eq!(made("a - b"), "a_b");
        assert_eq!(made("-a__b-"), "_a__b_");
        assert_eq!(made("__a"), "__a");
        assert_eq!(made("\u{e9}"), "_");
        assert_eq!(made(""), "");
    }

    #[test]
    fn patterns_cover_names() {
        let pattern =
            FamilyPattern { name: "node_memory_*_bytes", kinds: &[Kind::Gauge], help: "" };
        assert!(pattern.covers(b"node_memory_MemTotal_bytes"));
        assert!(!pattern.covers(b"node_memory_HugePages_Total"));
        let open = FamilyPattern { name: "node_vmstat_*", kinds: &[Kind::Untyped], help: "" };
        assert!(open.covers(b"node_vmstat_pgfault"));
        assert!(!open.covers(b"node_netstat_pgfault"));
    }

    #[test]
    fn names_follow_the_text_format() {
        assert!(is_metric_name(b"node:x_1") && !is_metric_name(b"1x") && !is_metric_name(b""));
        assert!(is_label_name(b"device") && !is_label_name(b"__name__") && !is_label_name(b"a:b"));
    }

    #[test]
    fn names_end_in_units() {
        for (name, unit) in [
            ("node_cpu_seconds_total", Unit::Seconds),
            ("node_memory_MemTotal_bytes", Unit::Bytes),
            ("node_boot_time_seconds", Unit::Seconds),
            ("node_hwmon_curr_amps", Unit::Amperes),
            ("node_hwmon_fan_rpm", Unit::RevolutionsPerMinute),
            ("node_load1", Unit::None),
            ("seconds", Unit::None),
            ("node_kilobytes", Unit::None),
            ("_total", Unit::None),
        ] {
            assert_eq!(Unit::of_name(name.as_bytes()), unit, "{name}");
        }
    }

    crate::families! {
        /// Read.
        _READ: counter = "t_read_total" [device] unit(Bytes) since(Source);
        /// Old.
        _OLD: counter = "t_old" legacy;
        /// Of several.
        _SHARED: gauge = "t_shared_hertz" [cpu] shared;
    }

    #[test]
    fn declarations_say_more_than_names() {
        let said = |family: &FamilyInfo| (family.legacy, family.unit, family.since);
        assert_eq!(said(&FAMILIES[0]), (false, Unit::Bytes, Some(Since::Source)));
        assert_eq!(said(&FAMILIES[1]), (true, Unit::None, None));
        assert_eq!(said(&FAMILIES[2]), (false, Unit::Hertz, None));
        let shared: Vec<bool> = FAMILIES.iter().map(|family| family.shared).collect();
        assert_eq!(shared, [false, false, true]);
    }
}
