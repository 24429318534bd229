//! How the kernel disciplines its clock.

pub use vitald_sys::ClockDiscipline;
