//! Outputs that come with the daemon, and the threads that run all of them.

pub mod console;
mod instance;
mod runner;
pub mod table;

pub use instance::OutputStatus;
pub use runner::{OutputChanges, Outputs, StagedOutputs};
#[cfg(test)]
mod tests;
