//! The system calls of vitald that need `unsafe`: one function each, with the reason why it is
//! sound. Every other crate of the workspace forbids unsafe code.
//!
//! What rustix offers safely is not here.

#[cfg(target_os = "linux")]
mod btrfs;
mod clock;
mod descriptors;
#[cfg(target_os = "linux")]
mod ethtool;
#[cfg(target_os = "linux")]
mod file_system;
mod heap;
mod perf;
mod program;
mod signals;
#[cfg(target_os = "linux")]
mod sockets;

#[cfg(target_os = "linux")]
pub use btrfs::{BtrfsDevice, BtrfsDevices, BtrfsFileSystem, btrfs_device, btrfs_file_system};
pub use clock::{Clock, ClockDiscipline, clock_discipline, clock_time};
#[cfg(target_os = "linux")]
pub use descriptors::unshare_descriptors;
pub use descriptors::{
    OwnDescriptors, descriptor_tables_are_separate, duplicate_inherited, spawn_with_own_descriptors,
};
#[cfg(target_os = "linux")]
pub use ethtool::{EthtoolMemory, EthtoolQuestion};
#[cfg(target_os = "linux")]
pub use file_system::file_system_id;
pub use heap::{keep_heap_small, release_heap};
pub use perf::PerfEvent;
#[cfg(target_os = "linux")]
pub use perf::open_perf_event;
pub use program::release_program;
pub use signals::{hold_signals, signal_this_thread, take_without_meaning};
#[cfg(target_os = "linux")]
pub use sockets::{bound_unsent, unread_bytes};
