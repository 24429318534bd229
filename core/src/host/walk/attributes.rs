//! The attributes of a walk's children, declared once.

use std::marker::PhantomData;

use crate::error::{Malformed, Result};
use crate::text::{self, Fields};

/// A set of attributes; [`attributes!`](crate::attributes) makes it.
pub trait Attributes: 'static {
    /// All of them, in the order of their declaration.
    const LIST: &'static [AttributeInfo];
}

/// What is known of an attribute before it is read.
#[derive(Clone, Copy, Debug)]
pub struct AttributeInfo {
    /// The path below the child; empty for the child itself, where files are children.
    pub path: &'static str,
    /// A child without it is a child all the same, also if the daemon may not read it.
    pub is_optional: bool,
    /// It hardly ever changes, and is read in turn.
    pub is_slow: bool,
}

impl AttributeInfo {
    /// An attribute that every child has and that is read at each refresh.
    #[must_use]
    pub const fn new(path: &'static str) -> Self {
        AttributeInfo { path, is_optional: false, is_slow: false }
    }

    /// The mark `optional`.
    #[must_use]
    pub const fn optional(mut self) -> Self {
        self.is_optional = true;
        self
    }

    /// The mark `slow`.
    #[must_use]
    pub const fn slow(mut self) -> Self {
        self.is_slow = true;
        self
    }
}

/// A declared attribute of the set `S`, whose content is read as `F`: [`Number`] or [`Text`].
#[derive(Debug)]
pub struct Attribute<S, F> {
    index: usize,
    format: F,
    set: PhantomData<fn() -> S>,
}

impl<S, F> Attribute<S, F> {
    /// Made by [`attributes!`](crate::attributes) only.
    #[doc(hidden)]
    pub const fn new(index: usize, format: F) -> Self {
        Attribute { index, format, set: PhantomData }
    }

    pub(super) const fn index(&self) -> usize {
        self.index
    }

    pub(super) const fn format(&self) -> &F {
        &self.format
    }
}

/// An attribute that is a number, in the unit that the metric has.
#[derive(Clone, Copy, Debug)]
pub struct Number(pub fn(&[u8]) -> Result<f64, Malformed>);

/// An attribute that is text.
#[derive(Clone, Copy, Debug)]
pub struct Text(pub fn(&[u8]) -> &[u8]);

/// `u64`: one unsigned number.
#[doc(hidden)]
pub fn u64(text: &[u8]) -> Result<f64, Malformed> {
    text::single_u64(text).map(|number| number as f64)
}

/// `i64`: one number with an optional sign.
#[doc(hidden)]
pub fn i64(text: &[u8]) -> Result<f64, Malformed> {
    text::single_i64(text).map(|number| number as f64)
}

/// `f64`: one float.
#[doc(hidden)]
pub fn f64(text: &[u8]) -> Result<f64, Malformed> {
    text::single_f64(text)
}

/// `hex`: one number such as `0x1f` or `1f`.
#[doc(hidden)]
pub fn hex(text: &[u8]) -> Result<f64, Malformed> {
    let digits = text.strip_prefix(b"0x").unwrap_or(text);
    Fields::new(digits).hex().map(|number| number as f64)
}

/// `integer`: one number with an optional sign, hexadecimal after `0x`.
#[doc(hidden)]
pub fn integer(text: &[u8]) -> Result<f64, Malformed> {
    match text.strip_prefix(b"0x") {
        Some(digits) => hex(digits),
        None => i64(text),
    }
}

/// `first_f64`: the first word, as in `100 Gb/sec (4X EDR)`.
#[doc(hidden)]
pub fn first_f64(text: &[u8]) -> Result<f64, Malformed> {
    Fields::new(text).f64()
}

/// `before_colon`: the number before a colon, as in `4: ACTIVE`.
#[doc(hidden)]
pub fn before_colon(text: &[u8]) -> Result<f64, Malformed> {
    let number = text::split_once(text, b':').map_or(text, |(before, _)| before);
    text::single_u64(number).map(|number| number as f64)
}

/// `text`: all of it, without white space around.
#[doc(hidden)]
pub fn text(text: &[u8]) -> &[u8] {
    text::trim(text)
}

/// `line`: all of it but the ends of lines around it; blanks stay.
#[doc(hidden)]
pub fn line(mut text: &[u8]) -> &[u8] {
    while let [b'\n', rest @ ..] | [rest @ .., b'\n'] = text {
        text = rest;
    }
    text
}

/// `word`: the first word.
#[doc(hidden)]
pub fn word(text: &[u8]) -> &[u8] {
    Fields::new(text::trim(text)).next().unwrap_or_default()
}

/// `after_colon`: what follows a colon, as in `4: ACTIVE`.
#[doc(hidden)]
pub fn after_colon(text: &[u8]) -> &[u8] {
    text::trim(text::split_once(text, b':').map_or(text, |(_, after)| after))
}

/// Declares the attributes of a [`Walk`](crate::host::Walk)'s children: what each is called here, its
/// format and scale, its path below a child, and marks.
///
/// ```
/// use vitald_core::prelude::*;
///
/// attributes! {
///     /// A port of an InfiniBand adapter.
///     Port {
///         STATE: before_colon = "state";
///         RATE: first_f64 * 125e6 = "rate";
///         SENT: u64 * 4.0 = "counters/port_xmit_data", optional;
///         LAYER: text = "link_layer", optional, slow;
///     }
/// }
///
/// fn collect(walk: &mut Walk<Port>, batch: &mut Batch) -> Result<()> {
///     for port in walk.refresh()? {
///         let labels = batch.labels([port.name(0), port.name(1), port.text(&Port::LAYER)?]);
///         # let _ = labels;
///     }
///     Ok(())
/// }
/// # let host = vitald_core::host::Host::new(Default::default());
/// # let walk: Walk<Port> = host.walk("sys/class/infiniband/*/ports/*");
/// ```
///
/// Formats of numbers: `u64`, `i64`, `f64`, `hex`, `integer` (hexadecimal after `0x`, else decimal),
/// `first_f64` (the first word), `before_colon`; a scale follows as `* factor` or `/ divisor`, whichever
/// node_exporter calculates with, since the two round differently. Formats of text: `text`, `word` (the
/// first one), `after_colon`, `line`. White space
/// around the content is left out in all of them; `line` keeps blanks, for labels that are shown as they are.
///
/// Marks: a child without an attribute that is not `optional` is left out of the walk; where the daemon
/// may not read an attribute, an `optional` one is absent and another one is an error. A `slow`
/// attribute hardly ever changes and is read in turn, see [`Walk`](crate::host::Walk).
///
/// The names are constants of a type that has no values: `Port::RATE`.
#[macro_export]
macro_rules! attributes {
    (
        $(#[$about:meta])*
        $set:ident {$(
            $(#[$doc:meta])*
            $attribute:ident : $format:ident $(* $factor:literal)? $(/ $divisor:literal)?
                = $path:literal $(, $mark:ident)* ;
        )*}
    ) => {
        $(#[$about])*
        enum $set {}

        const _: () = {
            #[allow(non_camel_case_types, clippy::upper_case_acronyms, dead_code)]
            enum AttributeIndex { $($attribute),* }

            #[allow(dead_code)]
            impl $set {$(
                $(#[$doc])*
                const $attribute: $crate::host::Attribute<$set, $crate::attribute_format!(@ $format)> =
                    $crate::host::Attribute::new(
                        AttributeIndex::$attribute as usize,
                        $crate::attribute_format!($format $(* $factor)? $(/ $divisor)?),
                    );
            )*}

            impl $crate::host::Attributes for $set {
                const LIST: &'static [$crate::host::AttributeInfo] =
                    &[$($crate::host::AttributeInfo::new($path)$(.$mark())*),*];
            }
        };
    };
}

/// Part of [`attributes!`](crate::attributes): the type of a format after an `@`, else its value.
#[doc(hidden)]
#[macro_export]
macro_rules! attribute_format {
    (@ text) => {
        $crate::host::attribute::Text
    };
    (@ word) => {
        $crate::host::attribute::Text
    };
    (@ after_colon) => {
        $crate::host::attribute::Text
    };
    (@ line) => {
        $crate::host::attribute::Text
    };
    (@ $number:ident) => {
        $crate::host::attribute::Number
    };
    (text) => {
        $crate::host::attribute::Text($crate::host::attribute::text)
    };
    (word) => {
        $crate::host::attribute::Text($crate::host::attribute::word)
    };
    (after_colon) => {
        $crate::host::attribute::Text($crate::host::attribute::after_colon)
    };
    (line) => {
        $crate::host::attribute::Text($crate::host::attribute::line)
    };
    ($number:ident) => {
        $crate::host::attribute::Number($crate::host::attribute::$number)
    };
    ($number:ident * $factor:literal) => {
        $crate::host::attribute::Number(
            |text| Ok($crate::host::attribute::$number(text)? * $factor),
        )
    };
    ($number:ident / $divisor:literal) => {
        $crate::host::attribute::Number(|text| {
            Ok($crate::host::attribute::$number(text)? / $divisor)
        })
    };
}
