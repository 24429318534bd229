//! What can be asked of the engine.

use std::time::{Duration, Instant};
use vitald_core::collector::Descriptor;

/// What holds for all collections.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// How long before a request a read may have begun for its result to answer it.
    pub max_age: Duration,
    /// After how long a run is not waited for any more until it has come back, and is stuck. For a
    /// collector with an interval it is stuck after that interval if that is longer.
    pub timeout: Duration,
}

/// A request for one collection.
#[derive(Clone, Debug)]
pub struct Request {
    /// When it was made: results may be older than this by [`Limits::max_age`] only.
    pub arrived: Instant,
    /// When it is answered at the latest, with what there is. It says nothing about the
    /// collectors and ends no other request.
    pub deadline: Instant,
    /// Which collectors.
    pub selection: Selection,
}

/// Which collectors a request is about.
#[derive(Clone, Debug, Default)]
pub enum Selection {
    /// All that are on.
    #[default]
    All,
    /// These, of those that are on.
    Only(Vec<String>),
    /// All that are on but these.
    Except(Vec<String>),
}

impl Selection {
    /// Whether a collector is among them. An internal one always is.
    pub(super) fn takes(&self, descriptor: &Descriptor) -> bool {
        match self {
            _ if descriptor.internal => true,
            Selection::All => true,
            Selection::Only(names) => names.iter().any(|wanted| wanted == descriptor.name),
            Selection::Except(names) => !names.iter().any(|unwanted| unwanted == descriptor.name),
        }
    }
}
