//! What the tests of the service and of the container share: a place of their own on this machine,
//! and the proof that the walls around a daemon change none of its figures.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::print_stdout,
    reason = "each test binary uses its own part"
)]

pub mod agreement;
pub mod place;
