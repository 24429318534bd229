//! Filters by name: what to show and what to leave out, declared in one place.
//!
//! node_exporter has many such pairs of flags and treats them in three ways, which differ only in
//! what happens when both are given: see [`Together`]. Everything else is the same for all: an
//! empty pattern is no pattern, a name is taken if the include matches and the exclude does not,
//! and an old name means what the present one means.

use crate::pattern::Pattern;
use crate::settings::{Mistakes, Node, Origin, SettingInfo, Table, field};

/// Names to take and names to leave, by at most one pattern of each kind.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    include: Option<Pattern>,
    exclude: Option<Pattern>,
}

impl Filter {
    /// A filter from an include and an exclude; an empty pattern is no pattern.
    pub fn new(include: Option<Pattern>, exclude: Option<Pattern>) -> Self {
        let is_given = |pattern: &Pattern| !pattern.source().is_empty();
        Filter { include: include.filter(is_given), exclude: exclude.filter(is_given) }
    }

    /// The filter whose patterns must match a name from its beginning to its end.
    ///
    /// # Errors
    ///
    /// When a pattern becomes too large by it.
    pub fn whole(&self) -> Result<Self, String> {
        let whole = |pattern: &Option<Pattern>| {
            let source = pattern.as_ref().map(|pattern| format!("^(?:{})$", pattern.source()));
            source.map(|source| Pattern::new(&source)).transpose()
        };
        Ok(Filter { include: whole(&self.include)?, exclude: whole(&self.exclude)? })
    }

    /// Whether every name is taken, because there is no pattern.
    pub fn takes_all(&self) -> bool {
        self.include.is_none() && self.exclude.is_none()
    }

    /// Whether a name is taken: included if there is an include, and not excluded.
    pub fn takes(&self, name: &[u8]) -> bool {
        !self.exclude.as_ref().is_some_and(|pattern| pattern.matches(name))
            && self.include.as_ref().is_none_or(|pattern| pattern.matches(name))
    }
}

/// What happens when both the include and the exclude of a filter are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Together {
    /// A name must pass both (arp, ethtool, hwmon, infiniband, interrupts, slabinfo, systemd).
    Both,
    /// It is a mistake, also with an exclude that is there by default (diskstats, netdev, qdisc).
    Refused,
    /// The include takes the place of an exclude that was not set under its present name; one that was
    /// set is a mistake (filesystem).
    IncludeReplaces,
}

/// A key of a filter.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct FilterKey {
    pub is_include: bool,
    pub present: &'static str,
    pub old: Option<&'static str>,
}

/// A pattern that is there, and how it came there.
struct Given {
    /// The key under which it was written.
    key: &'static str,
    pattern: Pattern,
    /// It was written under the present name and is not the default.
    is_set: bool,
}

/// Decodes a filter; made by [`settings!`](crate::settings).
///
/// Where two keys contradict each other, the mistake is reported at the old name, or else at the
/// include: both are there only because the user wrote them.
#[doc(hidden)]
pub fn decode(
    table: &Table,
    fields: &[SettingInfo],
    keys: &[FilterKey],
    together: Together,
    mistakes: &mut Mistakes,
) -> Option<Filter> {
    let mut side = |is_include: bool| match keys.iter().find(|key| key.is_include == is_include) {
        Some(key) => decode_one(table, fields, key, mistakes),
        None => Some(None),
    };
    // Both are decoded before either is given up, so that all mistakes are reported.
    let (include, exclude) = (side(true), side(false));
    let (include, mut exclude) = (include?, exclude?);
    if let (Some(include), Some(other)) = (&include, &exclude) {
        let is_replaced = match together {
            Together::Both => false,
            Together::Refused => return refuse(table, include, other, mistakes),
            Together::IncludeReplaces if other.is_set => {
                return refuse(table, include, other, mistakes);
            }
            Together::IncludeReplaces => true,
        };
        if is_replaced {
            exclude = None;
        }
    }
    let pattern = |given: Option<Given>| given.map(|given| given.pattern);
    Some(Filter::new(pattern(include), pattern(exclude)))
}

/// Decodes the pattern of a key and its old name. The answer has two levels: whether it decoded,
/// and whether there is one.
#[allow(clippy::option_option, reason = "each level is a different question")]
fn decode_one(
    table: &Table,
    fields: &[SettingInfo],
    &FilterKey { present, old, .. }: &FilterKey,
    mistakes: &mut Mistakes,
) -> Option<Option<Given>> {
    let info = field(fields, present)?;
    let mut pattern = |key: &'static str| -> Option<Option<Pattern>> {
        let pattern: Option<Pattern> = table.decode(field(fields, key)?, mistakes)?;
        Some(pattern.filter(|pattern| !pattern.source().is_empty()))
    };
    let (new_pattern, old_pattern) = (pattern(present), old.map_or(Some(None), &mut pattern));
    let (new_pattern, old_pattern) = (new_pattern?, old_pattern?);
    let default = (info.default)();
    let is_set = table.entries.get(present).is_some_and(|value| match &value.origin {
        Origin::Default => false,
        // As in node_exporter, where the flag counts and not what it says.
        Origin::Flag(_) => true,
        // The effective configuration writes every default out, and can be used as a configuration.
        Origin::WholeFile(_) | Origin::File { .. } | Origin::Environment(_) => {
            value.node != default
        }
    });
    let (Some(old), Some(old_pattern)) = (old, old_pattern) else {
        return Some(new_pattern.map(|pattern| Given { key: present, pattern, is_set }));
    };
    let is_taken = if default == Node::Unset { new_pattern.is_some() } else { is_set };
    if is_taken {
        let message =
            format!("this is the old name of `{present}`, which is set, too: remove this one");
        mistakes.add(origin(table, old), table.path_of(old), message);
        return None;
    }
    Some(Some(Given { key: old, pattern: old_pattern, is_set: false }))
}

fn refuse(
    table: &Table,
    include: &Given,
    exclude: &Given,
    mistakes: &mut Mistakes,
) -> Option<Filter> {
    let (key, other) = (include.key, exclude.key);
    let is_default = !table.entries.get(other).is_some_and(|value| value.origin != Origin::Default);
    let message = if is_default {
        format!(
            "cannot be used together with `{other}`, which has a default: set `{other} = \"\"`, too"
        )
    } else {
        format!("cannot be used together with `{other}`: remove one of them")
    };
    mistakes.add(origin(table, key), table.path_of(key), message);
    None
}

fn origin(table: &Table, key: &str) -> Origin {
    table.entries.get(key).map_or(Origin::Default, |value| value.origin.clone())
}

/// The settings that a filter declares: those of the present names, each followed by that of its old one.
#[doc(hidden)]
#[macro_export]
macro_rules! filter_infos {
    ($(
        $(#[doc = $doc:literal])*
        $side:ident $key:ident $(= $default:literal)? $(, flag $flag:literal)? $(, old $old:ident)? ;
    )*) => {
        &[$(
            $crate::filter_info!($key, concat!($($doc),*), $($default)?; $($flag)?),
            $($crate::filter_info!(
                $old, concat!("The old name of `", stringify!($key), "`."), ;
            ),)?
        )*]
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! filter_info {
    ($key:ident, $doc:expr, $($default:literal)?; $($flag:literal)?) => {
        $crate::settings::SettingInfo {
            key: stringify!($key),
            kind: <$crate::pattern::Pattern as $crate::settings::Setting>::KIND,
            doc: $doc.trim_ascii(),
            default: || $crate::filter_default!($($default)?),
            bounds: None,
            flag: $crate::setting_flag!($($flag)?),
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! filter_default {
    () => {
        $crate::settings::UNSET
    };
    ($default:literal) => {
        $crate::settings::Node::from($default)
    };
}

/// The keys that a filter declares.
#[doc(hidden)]
#[macro_export]
macro_rules! filter_keys {
    ($(
        $(#[doc = $doc:literal])*
        $side:ident $key:ident $(= $default:literal)? $(, flag $flag:literal)? $(, old $old:ident)? ;
    )*) => {
        &[$($crate::filter::FilterKey {
            is_include: $crate::filter_side!($side),
            present: stringify!($key),
            old: $crate::setting_flag!($(stringify!($old))?),
        }),*]
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! filter_side {
    (include) => {
        true
    };
    (exclude) => {
        false
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! filter_together {
    () => {
        $crate::filter::Together::Both
    };
    ($together:ident) => {
        $crate::filter::Together::$together
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! setting_flag {
    () => {
        None
    };
    ($flag:expr) => {
        Some($flag)
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Value;
    use std::sync::Arc;

    mod refused {
        use crate::prelude::*;

        settings! {
            names: Filter {
                /// Names to show.
                include name_include, old name_whitelist;
                /// Names to leave out.
                exclude name_exclude = "^loop", old name_blacklist;
            } together Refused;
            /// Another setting.
            other: bool = true;
        }

        pub(super) const KEYS: &[super::SettingInfo] = Settings::FIELDS;
        use crate::settings::Settings as _;

        pub(super) fn taken(entries: &[(&str, &str)]) -> Result<Vec<&'static str>, String> {
            super::decoded::<Settings>(entries, &super::file(), |settings| &settings.names)
        }
    }

    mod replaces {
        use crate::prelude::*;

        settings! {
            names: Filter {
                /// Names to show.
                include name_include;
                /// Names to leave out.
                exclude name_exclude = "^loop", old ignored_names;
            } together IncludeReplaces;
        }

        pub(super) fn taken(
            entries: &[(&str, &str)],
            origin: &super::Origin,
        ) -> Result<Vec<&'static str>, String> {
            super::decoded::<Settings>(entries, origin, |settings| &settings.names)
        }
    }

    mod both {
        use crate::prelude::*;

        settings! {
            names: Filter {
                /// Names to show.
                include name_include = ".*", flag "include.name";
                /// Names to leave out.
                exclude name_exclude;
            };
            ignored: Filter {
                /// Names to ignore.
                exclude ignored_names = "^$";
            };
        }

        pub(super) const KEYS: &[super::SettingInfo] = Settings::FIELDS;
        use crate::settings::Settings as _;

        pub(super) fn taken(entries: &[(&str, &str)]) -> Result<Vec<&'static str>, String> {
            super::decoded::<Settings>(entries, &super::file(), |settings| &settings.names)
        }

        pub(super) fn not_ignored(entries: &[(&str, &str)]) -> Result<Vec<&'static str>, String> {
            super::decoded::<Settings>(entries, &super::file(), |settings| &settings.ignored)
        }
    }

    fn table(entries: &[(&str, &str)], origin: &Origin) -> Table {
        let mut table = Table::at("collectors.x");
        for (key, text) in entries {
            table.entries.insert((*key).to_owned(), Value::new(*text, origin.clone()));
        }
        table
    }

    fn file() -> Origin {
        Origin::File { file: "x.toml".into(), line: 3, column: 1 }
    }

    /// Which of these names are taken, or what is wrong.
    fn decoded<S: crate::settings::Settings>(
        entries: &[(&str, &str)],
        origin: &Origin,
        names: fn(&S) -> &Filter,
    ) -> Result<Vec<&'static str>, String> {
        let mut mistakes = Mistakes::new();
        match S::decode(&table(entries, origin), &mut mistakes) {
            Some(settings) => {
                let all = ["sda", "sdb", "loop0"];
                Ok(all.into_iter().filter(|name| names(&settings).takes(name.as_bytes())).collect())
            }
            None => {
                let all: Vec<_> = mistakes.into_sorted().iter().map(ToString::to_string).collect();
                Err(all.join("\n"))
            }
        }
    }

    #[test]
    fn a_filter_of_whole_names_takes_no_parts_of_them() {
        let pattern = |source: &str| Some(Pattern::new(source).unwrap());
        let parts = Filter::new(pattern("sd|(?i)vd."), pattern("a$"));
        let whole = parts.whole().unwrap();
        let taken = |filter: &Filter| {
            let names = ["sd", "sdb", "xsd", "VDb", "vda", "vdbb"];
            names.into_iter().filter(|name| filter.takes(name.as_bytes())).collect::<Vec<_>>()
        };
        assert_eq!(taken(&parts), ["sd", "sdb", "xsd", "VDb", "vdbb"]);
        assert_eq!(taken(&whole), ["sd", "VDb", "vda"]);
        assert_eq!(Filter::default().whole().unwrap(), Filter::default());
    }

    #[test]
    fn both_at_once_are_refused_even_by_default() {
        assert_eq!(refused::taken(&[]).unwrap(), ["sda", "sdb"]);
        assert_eq!(refused::taken(&[("name_exclude", "")]).unwrap(), ["sda", "sdb", "loop0"]);
        assert_eq!(refused::taken(&[("name_exclude", "a$")]).unwrap(), ["sdb", "loop0"]);
        assert_eq!(refused::taken(&[("name_include", "")]).unwrap(), ["sda", "sdb"]);
        let only = [("name_exclude", ""), ("name_include", "a$")];
        assert_eq!(refused::taken(&only).unwrap(), ["sda"]);
        assert_eq!(
            refused::taken(&[("name_include", "a$")]).unwrap_err(),
            "x.toml:3:1: collectors.x.name_include: cannot be used together with `name_exclude`, \
             which has a default: set `name_exclude = \"\"`, too"
        );
        assert_eq!(
            refused::taken(&[("name_whitelist", "a$"), ("name_exclude", "x")]).unwrap_err(),
            "x.toml:3:1: collectors.x.name_whitelist: cannot be used together with `name_exclude`: \
             remove one of them"
        );
    }

    #[test]
    fn an_old_name_means_what_the_present_one_means() {
        assert_eq!(refused::taken(&[("name_blacklist", "a$")]).unwrap(), ["sdb", "loop0"]);
        let both = [("name_blacklist", "a$"), ("name_exclude", "b$")];
        assert_eq!(
            refused::taken(&both).unwrap_err(),
            "x.toml:3:1: collectors.x.name_blacklist: this is the old name of `name_exclude`, \
             which is set, too: remove this one"
        );
        let empty = [("name_whitelist", "a$"), ("name_include", ""), ("name_exclude", "")];
        assert_eq!(refused::taken(&empty).unwrap(), ["sda"], "an empty pattern is no pattern");
        let unused = [("name_blacklist", ""), ("name_exclude", "b$")];
        assert_eq!(refused::taken(&unused).unwrap(), ["sda", "loop0"]);
    }

    #[test]
    fn an_include_replaces_an_exclude_that_was_not_set() {
        let file = file();
        assert_eq!(replaces::taken(&[], &file).unwrap(), ["sda", "sdb"]);
        assert_eq!(replaces::taken(&[("name_include", "0$")], &file).unwrap(), ["loop0"]);
        let both = [("name_include", "0$"), ("name_exclude", "x")];
        assert_eq!(
            replaces::taken(&both, &file).unwrap_err(),
            "x.toml:3:1: collectors.x.name_include: cannot be used together with `name_exclude`: \
             remove one of them"
        );
        // As in node_exporter, whose old flag does not count as the exclude being set.
        let old = [("name_include", "0$"), ("ignored_names", "x")];
        assert_eq!(replaces::taken(&old, &file).unwrap(), ["loop0"]);
        // A default that is written out is as if it were not, except as a flag.
        let written = [("name_include", "0$"), ("name_exclude", "^loop")];
        assert_eq!(replaces::taken(&written, &file).unwrap(), ["loop0"]);
        let flag = Origin::Flag(Arc::from("--flag"));
        assert!(replaces::taken(&written, &flag).is_err());
    }

    #[test]
    fn a_name_may_have_to_pass_both() {
        assert_eq!(both::taken(&[]).unwrap(), ["sda", "sdb", "loop0"]);
        let both = [("name_include", "^sd"), ("name_exclude", "a$")];
        assert_eq!(both::taken(&both).unwrap(), ["sdb"]);
        let ignored = both::not_ignored(&[("ignored_names", "^s")]);
        assert_eq!(ignored.unwrap(), ["loop0"]);
    }

    #[test]
    fn every_key_is_declared() {
        let keys: Vec<_> = refused::KEYS.iter().map(|info| (info.key, info.doc)).collect();
        assert_eq!(
            keys,
            [
                ("name_include", "Names to show."),
                ("name_whitelist", "The old name of `name_include`."),
                ("name_exclude", "Names to leave out."),
                ("name_blacklist", "The old name of `name_exclude`."),
                ("other", "Another setting."),
            ]
        );
        assert_eq!(both::KEYS[0].flag_name(), "include.name");
    }

    #[test]
    fn every_mistake_is_reported() {
        let entries = [("name_include", "("), ("name_exclude", "["), ("name_inclde", "x")];
        let mistakes = refused::taken(&entries).expect_err("three keys are wrong");
        assert_eq!(mistakes.lines().count(), 3, "{mistakes}");
    }
}
