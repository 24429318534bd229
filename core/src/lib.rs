//! What a vitald collector or output is written against.
//!
//! * [`collector`], [`output`]: the two traits and their registries;
//! * [`chart`]: what people look at first of a collector;
//! * [`family`], [`settings`], [`filter`], [`pattern`]: what they declare;
//! * [`host`]: the only way to the world, with an in-memory fake for tests;
//! * [`rows`], [`counts`], [`optional`]: what a collector keeps from run to run;
//! * [`text`], [`number`], [`errno`]: parsing and printing, pure functions of bytes;
//! * [`exposition`]: the text format of Prometheus, taken apart;
//! * [`batch`]: what a collector pushes into; [`run`]: the same for who calls the collector;
//! * [`shape`], [`identity`]: which series there are, and what names each for ever;
//! * [`by_name`]: families of several sources, grouped;
//! * [`snapshot`], [`sealer`]: a collection, sealed and merged: what every reader sees;
//! * [`error`]: what can go wrong;
//! * `testing`: checks for a collector's own tests, with the feature of that name.

#![forbid(unsafe_code)]

pub mod batch;
pub mod by_name;
pub mod chart;
pub mod collector;
pub mod counts;
pub mod errno;
pub mod error;
pub mod exposition;
pub mod family;
pub mod filter;
pub mod host;
pub mod identity;
mod merge;
pub mod number;
pub mod optional;
pub mod output;
pub mod pattern;
pub mod rows;
pub mod run;
pub mod sealer;
pub mod settings;
pub mod shape;
pub mod snapshot;
mod source_name;
mod sync;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod text;

#[doc(hidden)]
pub use {inventory, linkme};

/// What a collector's file imports.
pub mod prelude {
    pub use crate::batch::{Batch, LabelPairs, Labels, NamedFamily};
    pub use crate::chart::{Chart, Curve, Figure, rate, share, value};
    pub use crate::collector::{Collector, Devices};
    pub use crate::counts::Counts;
    pub use crate::error::{Error, Malformed, Result};
    pub use crate::family::{FamilyInfo, FamilyPattern, Kind, Since};
    pub use crate::filter::Filter;
    pub use crate::host::{Host, KeptFile, SharedFile, Walk};
    pub use crate::optional::OptionalFile;
    pub use crate::pattern::Pattern;
    pub use crate::rows::Rows;
    pub use crate::settings::{Mistakes, Table, UNSET};
    pub use crate::shape::Suffix;
    pub use crate::text::{self, Fields, lines};
    pub use crate::{about, attributes, families, register_collector, settings};
    pub use std::time::Duration;
}

/// Compiles the examples of the page for authors.
#[cfg(doctest)]
#[doc = include_str!("../../docs/collectors.md")]
struct CollectorsPage;
