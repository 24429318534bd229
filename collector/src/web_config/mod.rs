//! Web configurations: TLS, client certificates, passwords, headers and limits of rate, in the file format of
//! Prometheus' exporter-toolkit.
//!
//! ```text
//! yaml         text to a tree with places, bounded
//! decode       the tree to what is asked for, or every mistake
//! files        the files, and whether they have changed
//! certificate, tls   certificates, keys and rules to what rustls serves with
//! dates        when certificates are valid, and what is to be said of it
//! users        passwords and what their checks may cost
//! rate         a limit of requests in time
//! protection   what it does for its listener
//! in_force     what is served with: each reload reads another one, and one reads itself again when a file has changed
//! ```
//!
//! Nothing of the content is in a plan: that has the path alone, so no hash and no key can be shown with it.

#[cfg(feature = "tls")]
mod certificate;
#[cfg(feature = "tls")]
mod dates;
#[cfg(feature = "tls")]
mod decode;
#[cfg(feature = "tls")]
mod files;
#[cfg(feature = "fuzzing")]
mod fuzzed;
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
pub(crate) use absent::WebConfig;
#[cfg(feature = "fuzzing")]
pub use fuzzed::decode_text;
#[cfg(feature = "tls")]
pub(crate) use in_force::{Refusal, WebConfig};
#[cfg(feature = "tls")]
pub(crate) use rate::Bucket;
#[cfg(feature = "tls")]
pub(crate) use tls::ClientRule;

use crate::plan::{Listen, Server};
pub(crate) use protection::Protection;
use std::path::Path;
use std::sync::Arc;
use vitald_core::settings::{Mistake, Origin};

/// Reads the web configurations of all listeners, each once. What those in force have learned goes on.
///
/// # Errors
///
/// Every mistake in each of them.
pub(crate) fn read_all(
    server: &Server,
    in_force: &[Arc<WebConfig>],
) -> Result<Vec<Arc<WebConfig>>, Vec<Mistake>> {
    let mut paths: Vec<&Path> =
        server.listen.iter().filter_map(|listen| listen.serve.web_config.as_deref()).collect();
    paths.sort_unstable();
    paths.dedup();
    let (mut read, mut mistakes) = (Vec::new(), Vec::new());
    for path in paths {
        let earlier = in_force.iter().find(|config| config.path() == path);
        let beside_token = server.listen.iter().find(|listen| {
            listen.serve.wants_token() && listen.serve.web_config.as_deref() == Some(path)
        });
        let config =
            WebConfig::read(path, beside_token.is_some(), earlier.map(|earlier| &**earlier));
        match (config, beside_token) {
            (Ok(config), Some(listen)) if config.protection().wants_passwords => {
                mistakes.push(both_in_a_header(listen, path));
            }
            (Ok(config), _) => read.push(config),
            (Err(wrong), _) => mistakes.extend(wrong),
        }
    }
    if mistakes.is_empty() { Ok(read) } else { Err(mistakes) }
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
        WebConfig::read(name, false, None).map(|_| Protection::default())
    }
}

/// The mistake that a listener asks for a token, and its users for a password.
fn both_in_a_header(listen: &Listen, path: &Path) -> Mistake {
    let message = format!(
        "{} asks for a token, and {} for passwords, and a request has one header for both; remove basic_auth_users, \
         or its token_file and the token of admin",
        listen.address,
        path.display()
    );
    Mistake { origin: Origin::Default, path: "server.listen".to_owned(), message }
}

#[cfg(all(test, feature = "tls"))]
mod tests {
    use super::*;
    use crate::plan::{Address, Admin, Serve, TokenFile};
    use std::time::Duration;

    #[test]
    fn a_listener_does_not_ask_for_a_token_and_a_password() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("web.yml");
        let check_with = |admin: Admin| {
            let serve = Serve { web_config: Some(path.clone()), ..Serve::with(admin) };
            let address = Address::Unix(folder.path().join("v.sock"));
            read_all(
                &Server {
                    listen: vec![Listen { address, serve }],
                    max_requests: 0,
                    max_connections: 8,
                    idle_timeout: Duration::from_secs(1),
                    max_page_bytes: 1 << 20,
                },
                &[],
            )
            .map(|read| read.len())
        };
        let token = || Admin::Token(TokenFile::Path("/etc/token".into()));
        std::fs::write(&path, "# no users\n").expect("a file");
        assert_eq!(check_with(token()), Ok(1));
        let hash = "$2y$04$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG";
        std::fs::write(&path, format!("basic_auth_users: {{alice: {hash}}}\n")).expect("a file");
        assert_eq!(check_with(Admin::Local), Ok(1));
        let refused = check_with(token()).expect_err("it is refused");
        assert!(
            refused.len() == 1 && refused[0].message.contains("asks for a token"),
            "{refused:?}"
        );
    }
}
