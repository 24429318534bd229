//! What the system tests share.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::print_stdout,
    reason = "each test binary uses its own part"
)]

pub mod agreement;
pub mod bare;
pub mod cgroup;
pub mod client;
pub mod cost;
pub mod fuse;
pub mod namespaces;
pub mod page;
pub mod peer;
pub mod process;
pub mod statistics;
pub mod trace;
