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
//! protection   what it does for its listener
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
mod protection;
#[cfg(feature = "tls")]
mod rate;
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
pub(crate) use in_force::{Loaded, Refusal, WebConfig};
#[cfg(feature = "tls")]
pub(crate) use rate::Bucket;

use crate::plan::Server;
use protection::Protection;
use std::path::Path;
use vitald_core::settings::{Mistake, Origin};

/// Reads the web configurations of all listeners and drops them; for who only wants to know whether they are
/// right, and what in them may not be as it was meant: a sentence each.
///
/// # Errors
///
/// Every mistake in each of them.
pub(crate) fn check(server: &Server) -> Result<Vec<String>, Vec<Mistake>> {
    let mut paths: Vec<&Path> =
        server.listen.iter().filter_map(|listen| listen.serve.web_config.as_deref()).collect();
    paths.sort_unstable();
    paths.dedup();
    let (mut notes, mut mistakes) = (Vec::new(), Vec::new());
    for path in paths {
        match check_file(path, path) {
            Ok(protection) => {
                if protection.wants_passwords {
                    mistakes.extend(both_in_a_header(server, path));
                }
                notes.extend(protection.notes);
            }
            Err(wrong) => mistakes.extend(wrong),
        }
    }
    if mistakes.is_empty() { Ok(notes) } else { Err(mistakes) }
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
            let origin = Origin::Default;
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

/// A mistake if a listener asks for a token, and its users for a password.
fn both_in_a_header(server: &Server, path: &Path) -> Option<Mistake> {
    let mut listeners = server.listen.iter();
    let both = listeners.find(|listen| {
        let serve = &listen.serve;
        serve.wants_token() && serve.web_config.as_deref() == Some(path)
    })?;
    let message = format!(
        "{} asks for a token, and {} for passwords, and a request has one header for both; remove basic_auth_users, \
         or its token_file and the token of admin",
        both.address,
        path.display()
    );
    Some(Mistake { origin: Origin::Default, path: "server.listen".to_owned(), message })
}

#[cfg(all(test, feature = "tls"))]
mod tests {
    use super::*;
    use crate::plan::{Address, Admin, Listen, Serve, TokenFile};
    use std::time::Duration;

    #[test]
    fn a_listener_does_not_ask_for_a_token_and_a_password() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("web.yml");
        let check_with = |admin: Admin| {
            let serve = Serve { web_config: Some(path.clone()), ..Serve::with(admin) };
            let address = Address::Unix(folder.path().join("v.sock"));
            check(&Server {
                listen: vec![Listen { address, serve }],
                max_requests: 0,
                max_connections: 8,
                idle_timeout: Duration::from_secs(1),
                max_page_bytes: 1 << 20,
            })
        };
        let token = || Admin::Token(TokenFile::Path("/etc/token".into()));
        std::fs::write(&path, "# no users\n").expect("a file");
        assert_eq!(check_with(token()), Ok(Vec::new()));
        let hash = "$2y$04$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG";
        std::fs::write(&path, format!("basic_auth_users: {{alice: {hash}}}\n")).expect("a file");
        assert_eq!(check_with(Admin::Local), Ok(Vec::new()));
        let refused = check_with(token()).expect_err("it is refused");
        assert!(
            refused.len() == 1 && refused[0].message.contains("asks for a token"),
            "{refused:?}"
        );
    }
}
