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
        let origin = Origin::WholeFile(path.to_string_lossy().into());
        let message = "a web configuration (TLS, passwords) is not in this build: build with --features tls, or put a \
                       proxy with TLS in front of vitald";
        Err(vec![Mistake { origin, path: String::new(), message: message.to_owned() }])
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
