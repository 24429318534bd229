//! What the commands know of this binary.

use vitald_core::collector::Descriptor;
use vitald_core::output::OutputDescriptor;

/// What is compiled into this binary.
#[derive(Clone, Copy)]
pub(super) struct Registry<'a> {
    /// The collectors, by name.
    pub(super) collectors: &'a [&'static Descriptor],
    /// The outputs, by name.
    pub(super) outputs: &'a [&'static OutputDescriptor],
}
