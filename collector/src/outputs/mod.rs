//! Outputs that come with the daemon, and the threads that run all of them.

pub mod console;
mod runner;
pub mod table;

pub use runner::{OutputStatus, Outputs, StagedOutputs};
