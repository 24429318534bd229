//! The macros that declare settings.

/// Declares a collector's or an output's settings: doc, key, type and default in one place.
///
/// ```
/// use vitald_core::prelude::*;
///
/// settings! {
///     /// Devices to leave out, by name.
///     device_exclude: Option<Pattern> = UNSET;
///     /// How long a mount may take to answer.
///     mount_timeout: Duration = "5s" in "1ms".."1h";
///     /// Show what the processor can do.
///     info_flags_include: Option<Pattern> = UNSET, flag "info.flags-include";
/// }
/// let mut mistakes = Mistakes::new();
/// let settings = <Settings as vitald_core::settings::Settings>::decode(&Table::default(), &mut mistakes).unwrap();
/// assert_eq!(settings.mount_timeout.as_secs(), 5);
/// ```
///
/// The default is written as a user would write it and goes through the same decoder, as do
/// the bounds after `in`. `flag` gives node_exporter's spelling where the key does not.
/// A list of nothing is `[""; 0]`.
///
/// A [`Filter`](crate::filter::Filter) has several keys, which are declared together: what to show,
/// what to leave out, their old names, and what happens when both are there
/// ([`Together`](crate::filter::Together); without a word about it a name must pass both).
///
/// ```
/// use vitald_core::prelude::*;
///
/// settings! {
///     devices: Filter {
///         /// Interfaces to show, by name.
///         include device_include, old device_whitelist;
///         /// Interfaces to leave out, by name.
///         exclude device_exclude = "^veth", old device_blacklist;
///     } together Refused;
/// }
/// let settings: Settings = Decode::decode(&Table::default(), &mut Mistakes::new()).unwrap();
/// assert!(settings.devices.takes(b"eth0") && !settings.devices.takes(b"veth1"));
/// # use vitald_core::settings::Settings as Decode;
/// ```
#[macro_export]
macro_rules! settings {
    ($($fields:tt)*) => {
        $crate::settings_struct! { Settings "setting"; $($fields)* }
    };
}

/// Declares a table that is itself the type of a setting, mostly an item of a list of tables.
///
/// ```
/// use vitald_core::prelude::*;
/// use vitald_core::setting_table;
///
/// setting_table! { Rule:
///     /// The name of the group.
///     name: String = "web";
///     /// Whose processes.
///     user: Option<String> = UNSET;
/// }
/// settings! {
///     /// The groups, each a table.
///     rules: Vec<Rule> = [""; 0];
/// }
/// ```
///
/// A table is decoded as strictly as settings are: every mistake is reported at its own place.
#[macro_export]
macro_rules! setting_table {
    ($visibility:vis $table:ident : $($fields:tt)*) => {
        $crate::settings_struct! { #[derive(PartialOrd)] $visibility $table "key"; $($fields)* }

        impl $crate::settings::Setting for $table {
            const KIND: &'static str = "table";

            fn decode(value: &$crate::settings::Value) -> Result<Self, String> {
                let mut mistakes = $crate::settings::Mistakes::new();
                <Self as $crate::settings::Setting>::decode_at(value, "", &mut mistakes)
                    .ok_or_else(|| mistakes.into_first_message())
            }

            fn decode_at(
                value: &$crate::settings::Value,
                path: &str,
                mistakes: &mut $crate::settings::Mistakes,
            ) -> Option<Self> {
                let table = value.table_at(path, mistakes)?;
                <Self as $crate::settings::Settings>::decode(&table, mistakes)
            }
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! settings_struct {
    ($(#[$attribute:meta])* $visibility:vis $name:ident $noun:literal; $(
        $(#[doc = $doc:literal])*
        $key:ident : $type:ty
        $(= $default:tt $(in $low:literal .. $high:literal)? $(, flag $flag:literal)?)?
        $({ $($filter:tt)* } $(together $together:ident)?)? ;
    )*) => {
        $(#[$attribute])*
        #[derive(Clone, Debug, PartialEq)]
        $visibility struct $name { $($(#[doc = $doc])* $key: $type),* }

        impl $crate::settings::Settings for $name {
            const FIELDS: &'static [$crate::settings::SettingInfo] = {
                const PARTS: &[&[$crate::settings::SettingInfo]] = &[$(
                    $crate::setting_infos!(
                        $key: $type, concat!($($doc),*)
                        $(; = $default $(in $low .. $high)? $(, flag $flag)?)?
                        $(; { $($filter)* })?
                    )
                ),*];
                &$crate::settings::flatten::<{ $crate::settings::total(PARTS) }>(PARTS)
            };

            fn decode(
                table: &$crate::settings::Table,
                mistakes: &mut $crate::settings::Mistakes,
            ) -> Option<Self> {
                let known: Vec<&str> = Self::FIELDS.iter().map(|info| info.key).collect();
                table.refuse_unknown(&known, $noun, mistakes);
                // Every field is decoded before any is given up, so that all mistakes are reported.
                $(let $key: Option<$type> = $crate::setting_decoded!(
                    table, Self::FIELDS, mistakes, $key $(; { $($filter)* } $($together)?)?
                );)*
                Some($name { $($key: $key?),* })
            }
        }
    };
}

/// What a declared setting, or a filter of several, is to the decoder and the manual.
#[doc(hidden)]
#[macro_export]
macro_rules! setting_infos {
    ($key:ident : $type:ty, $doc:expr; { $($filter:tt)* }) => {
        $crate::filter_infos!($($filter)*)
    };
    ($key:ident : $type:ty, $doc:expr;
        = $default:tt $(in $low:literal .. $high:literal)? $(, flag $flag:literal)?) => {
        &[$crate::settings::SettingInfo {
            key: stringify!($key),
            kind: <$type as $crate::settings::Setting>::KIND,
            doc: $doc.trim_ascii(),
            default: || $crate::settings::Node::from($default),
            bounds: $crate::setting_bounds!($($low, $high)?),
            flag: $crate::setting_flag!($($flag)?),
        }]
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! setting_decoded {
    ($table:ident, $fields:expr, $mistakes:ident, $key:ident; { $($filter:tt)* } $($together:ident)?) => {
        $crate::filter::decode(
            $table,
            $fields,
            $crate::filter_keys!($($filter)*),
            $crate::filter_together!($($together)?),
            $mistakes,
        )
    };
    ($table:ident, $fields:expr, $mistakes:ident, $key:ident) => {
        $table.decode($crate::settings::field($fields, stringify!($key))?, $mistakes)
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! setting_bounds {
    () => {
        None
    };
    ($low:literal, $high:literal) => {
        Some((|| $crate::settings::Node::from($low), || $crate::settings::Node::from($high)))
    };
}

/// Makes an enumeration the type of a setting, by the words that a user writes.
///
/// ```
/// use vitald_core::setting_words;
///
/// #[derive(Clone, Copy, PartialEq, PartialOrd)]
/// enum Order {
///     Memory,
///     Cpu,
/// }
/// setting_words! { Order "order": "memory" => Memory, "cpu" => Cpu }
/// ```
#[macro_export]
macro_rules! setting_words {
    ($type:ident $kind:literal: $($word:literal => $variant:ident),+ $(,)?) => {
        impl $crate::settings::Setting for $type {
            const KIND: &'static str = $kind;

            fn decode(value: &$crate::settings::Value) -> Result<Self, String> {
                $crate::settings::one_of(value, &[$(($word, $type::$variant)),+])
            }
        }
    };
}
