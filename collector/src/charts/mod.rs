//! The charts that collectors declare: drawn from snapshots, and as questions to Prometheus.

mod amount;
mod drawn;
mod of;
mod query;
mod rates;

pub(crate) use amount::amount;
pub(crate) use drawn::heaviest;
pub use drawn::{Column, Drawn, DrawnRow, draw};
pub(crate) use of::of;
pub use query::{Scope, query};
pub use rates::Rates;

use vitald_core::collector::Descriptor;

/// Whose charts are first, because people look there first.
const FIRST: [&str; 8] =
    ["cpu", "loadavg", "meminfo", "diskstats", "filesystem", "netdev", "pressure", "stat"];

/// By which collectors are sorted where their charts are shown: after the first ones come those that declare charts.
pub fn rank(descriptor: &Descriptor) -> impl Ord + use<> {
    let name = descriptor.name;
    let place = FIRST.iter().position(|first| *first == name).unwrap_or(FIRST.len());
    (place, descriptor.charts.is_empty(), name)
}
