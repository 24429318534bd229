//! A build without web configurations: there can be none, and asking for one is a mistake.

use std::path::Path;
use std::sync::Arc;
use vitald_core::settings::{Mistake, Origin};

/// There is none.
pub(crate) enum WebConfig {}

/// There is none.
pub(crate) enum Loaded {}

impl WebConfig {
    /// Refuses.
    ///
    /// # Errors
    ///
    /// Always.
    pub(crate) fn open(path: &Path) -> Result<Arc<Self>, Vec<Mistake>> {
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

    pub(crate) fn set_beside_token(&self, _: bool) {
        match *self {}
    }

    pub(crate) fn load(&self) -> Result<Loaded, Vec<Mistake>> {
        match *self {}
    }

    pub(crate) fn put(&self, _: Loaded) {
        match *self {}
    }
}
