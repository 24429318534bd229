//! Outputs that come with the daemon, and the threads that run all of them.

pub mod console;
mod runner;
pub mod table;
mod thread;

pub(crate) use console::leave_terminal;
pub use runner::{OutputChanges, Outputs, StagedOutputs};
pub use thread::OutputStatus;
#[cfg(test)]
mod tests;
