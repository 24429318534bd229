//! What a handle of one consumer asks.

#[cfg(any(test, feature = "testing"))]
use super::memory::MemoryHost;
use super::{Host, World};

/// The kernel, through a socket or the like of the consumer's own, or a host in memory.
pub(super) enum Kernel<T> {
    Real(T),
    #[cfg(any(test, feature = "testing"))]
    Memory(MemoryHost),
}

impl Host {
    /// The kernel of this host, asked through what `real` makes.
    pub(super) fn kernel<T>(&self, real: impl FnOnce() -> T) -> Kernel<T> {
        match &self.inner.world {
            World::Real => Kernel::Real(real()),
            #[cfg(any(test, feature = "testing"))]
            World::Memory(memory) => Kernel::Memory(memory.clone()),
        }
    }
}
