//! The charts that collectors declare: drawn from snapshots, and as questions to Prometheus.

mod drawn;
mod query;
mod rates;

pub use drawn::{Column, Drawn, DrawnRow, draw};
pub use query::{Scope, query};
pub use rates::Rates;
