//! A build without web configurations: there can be none, and asking for one is a mistake.

use super::protection::Protection;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;
use vitald_core::settings::{Mistake, Origin};

/// There is none.
pub(crate) enum WebConfig {}

impl WebConfig {
    /// Refuses.
    ///
    /// # Errors
    ///
    /// Always.
    pub(crate) fn read(path: &Path, _: bool, _: Option<&Self>) -> Result<Arc<Self>, Vec<Mistake>> {
        let message = format!(
            "{}: a web configuration (TLS, passwords) is not in this build: build with --features tls, or put a proxy \
             with TLS in front of vitald",
            path.display()
        );
        // It is no mistake of the file, which may well be readable.
        Err(vec![Mistake { origin: Origin::Default, path: String::new(), message }])
    }

    pub(crate) fn path(&self) -> &Path {
        match *self {}
    }

    pub(crate) fn is_well(&self) -> bool {
        match *self {}
    }

    pub(crate) fn certificate_validity(&self) -> Option<(SystemTime, SystemTime)> {
        match *self {}
    }

    pub(crate) fn protection(&self) -> Protection {
        match *self {}
    }

    pub(crate) fn notes(&self) -> Vec<String> {
        match *self {}
    }

    pub(crate) fn differs_from(&self, _: &Self) -> bool {
        match *self {}
    }

    pub(crate) fn tell_notes(&self, _: Option<&Self>) {
        match *self {}
    }
}
