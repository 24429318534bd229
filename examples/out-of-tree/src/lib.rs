//! The collectors of this crate.

mod uptime;

/// Their names. vitald does not start if one of them is missing from the binary.
pub const ROLL: &[&str] = &["uptime"];
