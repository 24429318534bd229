//! Web configurations: TLS, client certificates, passwords, headers and limits of rate, in the file format of
//! Prometheus' exporter-toolkit.
//!
//! ```text
//! yaml         text to a tree with places, bounded
//! decode       the tree to what is asked for, or every mistake
//! files        the files, and whether they have changed
//! certificate, tls   certificates, keys and rules to what rustls serves with
//! users        passwords and what their checks may cost
//! rate         a limit of requests in time
//! in_force     what is served with, read again when a file has changed
//! ```
//!
//! Nothing of the content is in a plan: that has the path alone, so no hash and no key can be shown with it.

#[cfg(feature = "tls")]
mod certificate;
#[cfg(feature = "tls")]
mod decode;
#[cfg(feature = "tls")]
mod files;
#[cfg(feature = "tls")]
mod in_force;
#[cfg(feature = "tls")]
mod rate;
#[cfg(feature = "tls")]
mod secret;
#[cfg(feature = "tls")]
mod tls;
#[cfg(feature = "tls")]
mod users;
#[cfg(feature = "tls")]
mod yaml;

#[cfg(not(feature = "tls"))]
mod absent;

#[cfg(not(feature = "tls"))]
pub(crate) use absent::{Loaded, WebConfig};
#[cfg(feature = "tls")]
pub(crate) use in_force::{Refusal, WebConfig};
#[cfg(feature = "tls")]
pub(crate) use rate::Bucket;
#[cfg(feature = "tls")]
pub(crate) use users::From;

use crate::plan::Server;
use std::path::Path;
use vitald_core::settings::Mistake;

/// What has been read and is not in force yet.
#[cfg(feature = "tls")]
pub(crate) struct Loaded {
    content: std::sync::Arc<in_force::Content>,
    files: files::Files,
}

/// What a web configuration does for its listener.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Protection {
    /// It is served over TLS alone.
    pub(crate) encrypts: bool,
    /// Clients show a name and a password.
    pub(crate) wants_passwords: bool,
}

/// Reads the web configurations of all listeners and drops them; for who only wants to know whether they are
/// right.
///
/// # Errors
///
/// Every mistake in each of them.
pub(crate) fn check(server: &Server) -> Result<(), Vec<Mistake>> {
    let mut paths: Vec<&Path> =
        server.listen.iter().filter_map(|listen| listen.serve.web_config.as_deref()).collect();
    paths.sort_unstable();
    paths.dedup();
    let mistakes = paths.into_iter().filter_map(|path| check_file(path, path).err());
    let mistakes: Vec<Mistake> = mistakes.flatten().collect();
    if mistakes.is_empty() { Ok(()) } else { Err(mistakes) }
}

/// Reads one web configuration, which mistakes call by a name, and drops it but for what it does.
///
/// # Errors
///
/// Every mistake in it.
pub(crate) fn check_file(path: &Path, name: &Path) -> Result<Protection, Vec<Mistake>> {
    #[cfg(feature = "tls")]
    {
        let passwords = users::Passwords::new().map_err(|message| {
            let origin = vitald_core::settings::Origin::Default;
            vec![Mistake { origin, path: String::new(), message }]
        })?;
        in_force::read(path, name, &passwords).0.map(|content| content.protection())
    }
    #[cfg(not(feature = "tls"))]
    {
        let _ = path;
        WebConfig::open(name).map(|_| Protection::default())
    }
}
