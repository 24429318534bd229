//! vitald: a host-metrics daemon for Linux, as a library.
//!
//! A binary with collectors of its own is ten lines: it names the rolls of the crates that have
//! them and calls [`main`]. See `examples/out-of-tree`.
#![forbid(unsafe_code)]
// A closed pipe makes the print macros panic.
#![warn(clippy::print_stdout, clippy::print_stderr)]

mod blind;
pub mod charts;
mod cli;
mod client_key;
mod compare;
pub mod config;
mod contained;
mod daemon;
pub mod dropin;
pub mod encode;
pub mod engine;
mod heap;
mod http;
mod listener_warnings;
mod log;
pub mod manual;
mod memory_limit;
pub mod outputs;
pub mod own;
pub mod plan;
mod privileges;
mod regular;
mod reload;
mod secret;
mod serving;
mod sync;
mod systemd;
mod timestamp;
mod token_file;
mod web_config;

/// What the fuzz targets reach of what is private. It is in no daemon, and nothing else may use it.
#[cfg(feature = "fuzzing")]
pub mod fuzzing {
    pub use crate::http::fuzzed::{HttpSide, Who};
    pub use crate::web_config::decode_text;
}

pub use cli::{command, main};
pub use http::{HttpCounters, query};
pub use vitald_core::collector::roll_call as collectors;
pub use vitald_core::output::outputs as registered_outputs;
