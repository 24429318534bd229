//! The programs by the names that they have in tables.

pub(crate) const VITALD: &str = "vitald";
/// A second process of the same program, to see what the measurement itself makes of nothing.
pub(crate) const CONTROL: &str = "vitald again";
pub(crate) const THEIRS: &str = "node_exporter";
pub(crate) const COLLECTD: &str = "collectd";
pub(crate) const READER: &str = "bare reader";
