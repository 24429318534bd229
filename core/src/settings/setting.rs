//! What is declared of a setting, and how a table of settings is decoded.

use super::mistakes::{Mistake, Mistakes};
use super::value::{Node, Origin, Table, Value};

/// What is declared of a setting, for the decoder, the shipped configuration and the manual.
#[derive(Clone, Copy, Debug)]
pub struct SettingInfo {
    /// The key in its table.
    pub key: &'static str,
    /// Its type in words, such as "regular expression".
    pub kind: &'static str,
    /// The documentation, as written above the declaration.
    pub doc: &'static str,
    /// The value when it is not set.
    pub default: fn() -> Node,
    /// Least and greatest value.
    pub bounds: Option<(fn() -> Node, fn() -> Node)>,
    /// node_exporter's spelling after `--collector.NAME.`, where the key does not give it.
    pub flag: Option<&'static str>,
}

impl SettingInfo {
    /// Whether its value has tables in it, which only a file can give.
    pub fn has_tables(&self) -> bool {
        matches!(self.kind, "table" | "list of tables")
    }

    /// The part of node_exporter's flag after `--collector.NAME.`.
    pub fn flag_name(&self) -> String {
        self.flag.map_or_else(|| self.key.replace('_', "-"), str::to_owned)
    }
}

/// A group of settings: made by [`settings!`](crate::settings), or `()` for none.
pub trait Settings: Clone + PartialEq + Send + Sync + Sized + 'static {
    /// What is declared, in order.
    const FIELDS: &'static [SettingInfo];

    /// Decodes a table: every mistake is recorded, unknown keys too.
    fn decode(table: &Table, mistakes: &mut Mistakes) -> Option<Self>;
}

impl Settings for () {
    const FIELDS: &'static [SettingInfo] = &[];

    fn decode(table: &Table, mistakes: &mut Mistakes) -> Option<Self> {
        table.refuse_unknown(&[], "setting", mistakes);
        Some(())
    }
}

/// The type of a setting.
pub trait Setting: Clone + PartialEq + PartialOrd + Send + Sync + Sized + 'static {
    /// The type in words, for the manual.
    const KIND: &'static str;

    /// Takes a value as written. Text from the environment or a flag is parsed; text from a file
    /// means text only and is never coerced.
    ///
    /// # Errors
    ///
    /// A sentence that says what was expected.
    fn decode(value: &Value) -> Result<Self, String>;

    /// Takes a value as written, and records what is wrong with it at its own place: a list
    /// records each bad item at that item's place.
    fn decode_at(value: &Value, path: &str, mistakes: &mut Mistakes) -> Option<Self> {
        match Self::decode(value) {
            Ok(decoded) => Some(decoded),
            Err(message) => {
                mistakes.add(value.origin.clone(), path, message);
                None
            }
        }
    }
}

impl Table {
    /// Decodes one key; records a mistake and answers `None` when it does not decode.
    ///
    /// An absent key decodes `default`.
    pub fn decode<T: Setting>(&self, info: &SettingInfo, mistakes: &mut Mistakes) -> Option<T> {
        if let Some(value) = self.entries.get(info.key) {
            return decode_within(value, info, &self.path_of(info.key), mistakes);
        }
        let default = Value::new((info.default)(), Origin::Default);
        // Most keys are not written, and a default has no mistake that needs its path.
        if info.bounds.is_none()
            && let Ok(decoded) = T::decode(&default)
        {
            return Some(decoded);
        }
        let mut wrong = Mistakes::new();
        let decoded = decode_within(&default, info, "", &mut wrong);
        for Mistake { message, .. } in wrong.into_sorted() {
            let message = format!("its default, {}, is wrong: {message}", default.node);
            mistakes.add(Origin::Default, self.path_of(info.key), message);
        }
        decoded
    }
}

/// Decodes a value, which has to be in the range of its setting.
fn decode_within<T: Setting>(
    value: &Value,
    info: &SettingInfo,
    path: &str,
    mistakes: &mut Mistakes,
) -> Option<T> {
    // The range of the setting is the one to report, not that of its type, which may be wider.
    if T::KIND == <i64 as Setting>::KIND
        && let Some((low, high)) = info.bounds
        && let Ok(number) = <i64 as Setting>::decode(value)
        && let Err(message) = within(&number, low, high)
    {
        mistakes.add(value.origin.clone(), path, message);
        return None;
    }
    let decoded = T::decode_at(value, path, mistakes)?;
    // A bound is about what is set: nothing is neither too small nor too large.
    if let Some((low, high)) = info.bounds
        && value.node != Node::Unset
        && let Err(message) = within(&decoded, low, high)
    {
        mistakes.add(value.origin.clone(), path, message);
        return None;
    }
    Some(decoded)
}

fn within<T: Setting>(decoded: &T, low: fn() -> Node, high: fn() -> Node) -> Result<(), String> {
    let bound = |node: fn() -> Node| T::decode(&Value::new(node(), Origin::Default));
    let (from, to) = (bound(low)?, bound(high)?);
    let inside = from.partial_cmp(decoded).is_some_and(|order| order.is_le())
        && decoded.partial_cmp(&to).is_some_and(|order| order.is_le());
    if inside { Ok(()) } else { Err(format!("must be from {} to {}", low(), high())) }
}

/// The declaration of a key, if there is one.
pub fn field<'f>(fields: &'f [SettingInfo], key: &str) -> Option<&'f SettingInfo> {
    fields.iter().find(|info| info.key == key)
}

/// How many settings all parts of a declaration have; runs while compiling.
#[doc(hidden)]
pub const fn total(parts: &[&[SettingInfo]]) -> usize {
    let (mut total, mut part) = (0, 0);
    while part < parts.len() {
        total += parts[part].len();
        part += 1;
    }
    total
}

/// The settings of all parts of a declaration in one table; runs while compiling.
#[doc(hidden)]
pub const fn flatten<const N: usize>(parts: &[&[SettingInfo]]) -> [SettingInfo; N] {
    const NOTHING: SettingInfo = SettingInfo {
        key: "",
        kind: "",
        doc: "",
        default: || Node::Unset,
        bounds: None,
        flag: None,
    };
    let mut all = [NOTHING; N];
    let (mut part, mut at) = (0, 0);
    while part < parts.len() {
        let mut i = 0;
        while i < parts[part].len() {
            all[at] = parts[part][i];
            at += 1;
            i += 1;
        }
        part += 1;
    }
    all
}

#[cfg(test)]
mod tests {
    use crate::prelude::*;
    use crate::settings::{Origin, Settings as _, Value};

    settings! {
        /// How long to wait.
        timeout: Duration = "5s" in "1s".."1m";
        /// How many to show.
        most: u32 = 10 in 1..100;
        /// Which to show.
        names: Vec<String> = ["a"];
    }

    fn decoded(entries: &[(&str, &str)]) -> Result<Settings, Vec<String>> {
        let mut table = Table::default();
        for (key, text) in entries {
            let origin = Origin::Environment((*key).into());
            table.entries.insert((*key).to_owned(), Value::new(*text, origin));
        }
        let mut mistakes = Mistakes::new();
        Settings::decode(&table, &mut mistakes)
            .ok_or_else(|| mistakes.into_sorted().into_iter().map(|one| one.message).collect())
    }

    #[allow(dead_code, reason = "such settings never come to be")]
    mod wrong {
        use crate::prelude::*;
        use crate::settings::Settings as _;

        settings! {
            /// Out of its range.
            most: u32 = 11 in 1..10;
            /// No expression.
            names: Pattern = "a(";
            /// No duration.
            wait: Duration = "soon";
        }

        pub(super) fn told() -> Vec<String> {
            let mut mistakes = Mistakes::new();
            assert!(Settings::decode(&Table::default(), &mut mistakes).is_none());
            mistakes.into_sorted().iter().map(ToString::to_string).collect()
        }
    }

    #[test]
    fn a_wrong_default_makes_a_sentence() {
        let told = wrong::told();
        let [most, names, wait] = &told[..] else { panic!("{told:?}") };
        assert_eq!(most, "most: its default, 11, is wrong: must be from 1 to 10");
        let expected = "names: its default, \"a(\", is wrong: not a regular expression: ";
        assert!(names.starts_with(expected), "{names}");
        let expected = "wait: its default, \"soon\", is wrong: expected a duration such as ";
        assert!(wait.starts_with(expected), "{wait}");
    }

    #[test]
    fn defaults_are_decoded_as_values_are() {
        let settings = decoded(&[]).unwrap();
        assert_eq!((settings.timeout, settings.most), (Duration::from_secs(5), 10));
        assert_eq!(settings.names, ["a"]);
    }

    #[test]
    fn the_range_is_that_of_the_setting_and_not_of_its_type() {
        for number in ["-1", "0", "101", "4294967296"] {
            assert_eq!(decoded(&[("most", number)]).unwrap_err(), ["must be from 1 to 100"]);
        }
        assert_eq!(decoded(&[("most", "x")]).unwrap_err(), ["expected a whole number"]);
    }

    #[test]
    fn all_mistakes_are_reported_together() {
        let wrong = [("timeout", "2m"), ("most", "0"), ("naems", "b")];
        assert_eq!(
            decoded(&wrong).unwrap_err(),
            [
                "no such setting; did you mean names?",
                "must be from \"1s\" to \"1m\"",
                "must be from 1 to 100"
            ]
        );
    }
}
