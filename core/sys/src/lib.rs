//! The system calls of vitald that need `unsafe`: one function each, with the reason why it is
//! sound. Every other crate of the workspace forbids unsafe code.
//!
//! What rustix offers safely is not here.

mod clock;
mod code;
mod descriptors;
#[cfg(target_os = "linux")]
mod ethtool;
mod heap;

pub use clock::{ClockDiscipline, clock_discipline};
pub use code::release_code;
#[cfg(target_os = "linux")]
pub use descriptors::unshare_descriptors;
pub use descriptors::{
    OwnDescriptors, descriptor_tables_are_separate, duplicate_inherited, spawn_with_own_descriptors,
};
#[cfg(target_os = "linux")]
pub use ethtool::{EthtoolMemory, EthtoolQuestion};
pub use heap::release_heap;
