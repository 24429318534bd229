//! Listeners that are open wider than may have been meant.

use crate::http::{WantedListeners, handed_over};
use crate::plan::{Address, Admin, Listen, Plan, TokenFile};
use crate::web_config::Protection;
use std::fs::metadata;
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

/// The mode's bits for others.
const OTHERS_WRITE: u32 = 0o002;
/// The bit of a directory in which only owners remove files.
const STICKY: u32 = 0o1000;

/// What is to be said of a plan's listeners, a sentence each. Reads the files of tokens, so it may
/// block.
pub(crate) fn warnings(plan: &Plan, wanted: &WantedListeners) -> Vec<String> {
    let mut warnings = Vec::new();
    for listen in &plan.server.listen {
        let address = &listen.address;
        let reached = reached_from_elsewhere(address);
        let said = of_listener(listen, &wanted.protection(listen), !reached.is_empty());
        // Of systemd's sockets the address does not say which it is.
        let name = match (address, &*reached) {
            (Address::Systemd, [_, ..]) => {
                let sockets: Vec<String> = reached.iter().map(ToString::to_string).collect();
                format!("{address} ({})", sockets.join(", "))
            }
            _ => address.to_string(),
        };
        warnings.extend(said.into_iter().map(|text| format!("{name}: {text}")));
    }
    warnings
}

/// That no listener of this plan takes administration, if that is so.
pub(crate) fn without_admin(plan: &Plan) -> Option<&'static str> {
    let is_off = |listen: &Listen| listen.serve.admin == Admin::Off;
    plan.server.listen.iter().all(is_off).then_some(
        "administration is off on every listener: neither vitald reload nor systemctl reload reaches the daemon, only a \
         SIGHUP (systemctl kill --signal=HUP --kill-who=main vitald) has it read its configuration",
    )
}

/// Logs what is to be said.
pub(crate) fn log(warnings: &[String]) {
    for warning in warnings {
        tracing::warn!(
            warning,
            "a listener is open wider than may be meant, or its token cannot be used"
        );
    }
}

fn of_listener(listen: &Listen, protection: &Protection, is_reached: bool) -> Vec<String> {
    let serve = &listen.serve;
    let mut said = Vec::new();
    if is_reached && !protection.encrypts {
        if matches!(serve.admin, Admin::Token(_)) {
            said.push(
                "administration by a token is refused to other machines over plain HTTP, where others could \
                 read the token; administer on this machine, or over TLS"
                    .to_owned(),
            );
        }
        if serve.token_file.is_some() {
            said.push(
                "without TLS the token of those who read passes the network as it is, and others can read it; set \
                 tls_server_config in a web_config"
                    .to_owned(),
            );
        }
        if let (true, Some(file)) = (protection.wants_passwords, &serve.web_config) {
            said.push(format!(
                "without TLS the passwords of its users pass the network as they are, and others can read them; set \
                 tls_server_config in {}",
                file.display()
            ));
        }
    }
    if let Address::Unix(path) = &listen.address {
        let knows_its_readers =
            serve.token_file.is_some() || protection.wants_passwords || protection.verifies_clients;
        if serve.access.mode & OTHERS_WRITE != 0 && !knows_its_readers {
            said.push(format!(
                "with mode {:04o} every user of this machine can read here; 0660 and a group is narrower",
                serve.access.mode
            ));
        }
        said.extend(of_directory(path));
    }
    let admin = match &serve.admin {
        Admin::Token(file) => Some(file),
        Admin::Off | Admin::Local => None,
    };
    for file in admin.into_iter().chain(&serve.token_file) {
        said.extend(of_token(file));
    }
    said
}

fn of_token(file: &TokenFile) -> Option<String> {
    match file {
        // Only the service has its credentials.
        TokenFile::Credential(_) if std::env::var_os("CREDENTIALS_DIRECTORY").is_none() => None,
        file => file.read().err().map(|error| format!("its token cannot be used: {error}")),
    }
}

/// A user who may write the directory of a socket may put another one in its place.
fn of_directory(socket: &Path) -> Option<String> {
    let directory = socket.parent()?;
    let found = metadata(directory).ok()?;
    let mode = found.permissions().mode();
    (mode & OTHERS_WRITE != 0 && mode & STICKY == 0).then(|| {
        format!(
            "every user can put another socket in its place: {} has mode {:04o}; run chmod o-w on it",
            directory.display(),
            found.mode() & 0o7777
        )
    })
}

/// The sockets of an address that other machines can reach.
fn reached_from_elsewhere(address: &Address) -> Vec<SocketAddr> {
    let mut sockets = match address {
        Address::Tcp { socket, .. } => vec![*socket],
        Address::Systemd => handed_over().iter().flat_map(reached_from_elsewhere).collect(),
        Address::Unix(_) => Vec::new(),
    };
    sockets.retain(|socket| !socket.ip().to_canonical().is_loopback());
    sockets
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Serve;
    use crate::web_config::check_file;
    use std::fs::Permissions;

    #[test]
    fn listeners_that_are_wide_open_are_reported() {
        let directory = tempfile::tempdir().expect("a directory");
        let token = directory.path().join("token");
        let mode = |path: &Path, mode| {
            std::fs::set_permissions(path, Permissions::from_mode(mode)).expect("chmod");
        };
        std::fs::write(&token, "marker").expect("a file");
        mode(&token, 0o600);
        let tcp = |text: &str| Address::Tcp { socket: text.parse().expect("one"), dual: false };
        let said = |address: Address, serve: &Serve| {
            let protection = serve
                .web_config
                .as_deref()
                .map(|file| check_file(file, file).expect("it is right"));
            let is_reached = !reached_from_elsewhere(&address).is_empty();
            let listen = Listen { address, serve: serve.clone() };
            of_listener(&listen, &protection.unwrap_or_default(), is_reached)
        };
        let local = Serve::with(Admin::Local);
        let by_token = Serve::with(Admin::Token(TokenFile::Path(token.clone())));
        assert!(said(tcp("0.0.0.0:1"), &local).is_empty());
        assert!(said(tcp("127.0.0.1:1"), &by_token).is_empty());
        assert!(said(tcp("0.0.0.0:1"), &by_token)[0].contains("refused to other machines"));
        let read = Serve { token_file: Some(TokenFile::Path(token.clone())), ..local.clone() };
        assert!(said(tcp("[::]:1"), &read)[0].contains("without TLS"));
        assert!(said(tcp("[::1]:1"), &read).is_empty());
        #[cfg(feature = "tls")]
        {
            let with = |content: &str| {
                let file = directory.path().join("web.yml");
                std::fs::write(&file, content).expect("a file");
                Serve { web_config: Some(file), ..by_token.clone() }
            };
            let rate = said(tcp("[::]:1"), &with("rate_limit: { interval: 1s, burst: 9 }"));
            assert!(rate[0].contains("plain HTTP"), "{rate:?}");
            let pair = rcgen::generate_simple_self_signed(["vitald".to_owned()]).expect("a pair");
            std::fs::write(directory.path().join("c"), pair.cert.pem()).expect("a file");
            std::fs::write(directory.path().join("k"), pair.signing_key.serialize_pem())
                .expect("a file");
            let tls =
                said(tcp("[::]:1"), &with("tls_server_config: { cert_file: c, key_file: k }"));
            assert!(tls.is_empty(), "{tls:?}");
        }
        #[cfg(feature = "tls")]
        {
            let hash = "$2y$04$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG";
            let users = format!("basic_auth_users: {{alice: {hash}}}\n");
            let with = |content: &str| {
                let file = directory.path().join("web.yml");
                std::fs::write(&file, content).expect("a file");
                Serve { web_config: Some(file), ..local.clone() }
            };
            let in_the_clear = said(tcp("[::]:1"), &with(&users));
            assert!(
                in_the_clear.len() == 1
                    && in_the_clear[0].contains("without TLS the passwords")
                    && in_the_clear[0].ends_with("/web.yml"),
                "{in_the_clear:?}"
            );
            assert!(said(tcp("127.0.0.1:1"), &with(&users)).is_empty());
            let tls = "tls_server_config: { cert_file: c, key_file: k";
            assert!(said(tcp("[::]:1"), &with(&format!("{tls} }}\n{users}"))).is_empty());
            // Who may open the socket is not let in for that.
            let socket = Address::Unix(directory.path().join("v.sock"));
            let verified = format!(
                "{tls}, client_ca_file: c, client_auth_type: RequireAndVerifyClientCert }}"
            );
            let any = format!("{tls}, client_auth_type: RequireAnyClientCert }}");
            let headers = "http_server_config: { headers: { X-Frame-Options: deny } }";
            for (content, warnings) in [
                (&*users, 0),
                (&*verified, 0),
                (&*any, 1),
                (&*format!("{tls} }}"), 1),
                (headers, 1),
            ] {
                let mut open = with(content);
                open.access.mode = 0o666;
                let said = said(socket.clone(), &open);
                assert_eq!(said.len(), warnings, "{content}: {said:?}");
            }
        }
        mode(&token, 0o644);
        let world = said(tcp("[::1]:1"), &read);
        assert!(world[0].contains("chmod o-rw") && !world[0].contains("marker"), "{world:?}");

        let socket = Address::Unix(directory.path().join("v.sock"));
        assert!(said(socket.clone(), &local).is_empty());
        let mut open = local.clone();
        open.access.mode = 0o666;
        assert!(said(socket.clone(), &open)[0].contains("every user of this machine"));
        mode(directory.path(), 0o777);
        assert!(said(socket.clone(), &local)[0].contains("another socket in its place"));
        mode(directory.path(), 0o1777);
        assert!(said(socket, &local).is_empty());
    }
}
