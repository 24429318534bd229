//! Who may administer.
//!
//! Being on this machine is weak evidence: a browser on it runs other people's pages, and a proxy on it
//! speaks for people elsewhere. So a request that shows signs of either is refused, with the reason.

use super::reply::{Problem, no_such_route};
use super::request::{Peer, Request};
use crate::contained::Contained;
use crate::plan::Admin;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use warp::http::{HeaderValue, StatusCode, header};
use warp::reply::Response;

/// The most a token's file may hold.
const MAX_TOKEN_BYTES: u64 = 4096;
/// How long reading the token's file may take, the wait for other readers included.
const TOKEN_TIMEOUT: Duration = Duration::from_secs(2);

/// What a listener's rule says of a request.
enum Verdict {
    /// It may.
    Admitted,
    /// It may not, for this reason.
    Refused(String),
    /// The listener has no admin routes.
    NoSuchRoute,
    /// It may if it shows the token in this file.
    Token(PathBuf),
}

/// Judges a request by all that needs no file.
fn judge(request: &Request) -> Verdict {
    let client = &request.client;
    match &client.serve.now().admin {
        Admin::Off => Verdict::NoSuchRoute,
        Admin::Local => match local(request) {
            Ok(()) => Verdict::Admitted,
            Err(reason) => Verdict::Refused(reason),
        },
        Admin::Token(_) if !client.is_encrypted && !is_on_this_machine(&client.peer) => {
            Verdict::Refused(
                "a token is not taken over plain HTTP from another machine: others on the network could read it"
                    .to_owned(),
            )
        }
        Admin::Token(file) => Verdict::Token(file.clone()),
    }
}

/// Whether a request may use the admin routes; if not, the answer to it.
pub(super) async fn admit(tokens: &Tokens, request: &Request) -> Result<(), Response> {
    match judge(request) {
        Verdict::Admitted => Ok(()),
        Verdict::NoSuchRoute => Err(no_such_route(
            false,
            "this listener has no admin routes; on the daemon's host, vitald reload asks another listener, \
             and SIGHUP needs none",
        )),
        Verdict::Refused(reason) => {
            tracing::debug!(peer = %request.client.peer, reason, "an admin request is refused");
            Err(Problem::new(StatusCode::FORBIDDEN, "not-admin", "Not allowed")
                .detail(reason)
                .reply())
        }
        Verdict::Token(file) => match tokens.shown_by(request, file).await {
            Ok(true) => Ok(()),
            Ok(false) => {
                tracing::debug!(peer = %request.client.peer, "an admin request does not show the token");
                let mut response =
                    Problem::new(StatusCode::UNAUTHORIZED, "no-token", "Token required")
                        .detail("send the listener's token: Authorization: Bearer TOKEN")
                        .reply();
                let scheme = HeaderValue::from_static("Bearer realm=\"vitald\"");
                response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
                Err(response)
            }
            Err(error) => {
                tracing::error!(error, "the token of a listener cannot be read");
                let status = StatusCode::INTERNAL_SERVER_ERROR;
                Err(Problem::new(status, "token-file", "The token's file cannot be used")
                    .detail("the daemon's log says why")
                    .reply())
            }
        },
    }
}

/// Whether a request comes from an admin, for answers that show more to admins.
pub(super) async fn is_admin(tokens: &Tokens, request: &Request) -> bool {
    match judge(request) {
        Verdict::Admitted => true,
        Verdict::Refused(_) | Verdict::NoSuchRoute => false,
        Verdict::Token(file) => tokens.shown_by(request, file).await.unwrap_or(false),
    }
}

/// Whether the peer is on this machine and nothing shows that it speaks for a client elsewhere.
fn local(request: &Request) -> Result<(), String> {
    let on_unix = match &request.client.peer {
        Peer::Tcp(address) if is_loopback(address.ip()) => false,
        Peer::Tcp(_) => return Err("only peers on this machine may do this".to_owned()),
        Peer::Unix(Some(uid)) if *uid == 0 || *uid == rustix::process::getuid().as_raw() => true,
        Peer::Unix(_) => return Err("only root and the daemon's own user may do this".to_owned()),
    };
    for name in request.headers.keys() {
        let name = name.as_str();
        if matches!(name, "forwarded" | "via") || name.starts_with("x-forwarded-") {
            return Err(format!(
                "the request came through a proxy (it has {name}), so its sender may be anywhere"
            ));
        }
    }
    match request.header("sec-fetch-site") {
        None | Some("same-origin" | "none") => {}
        Some(site) => return Err(format!("the request was made by a web page ({site})")),
    }
    let hosts: Vec<&HeaderValue> = request.headers.get_all(header::HOST).iter().collect();
    let host = match hosts[..] {
        [host] => host.to_str().ok(),
        _ => None,
    };
    if !on_unix && !host.is_some_and(is_loopback_host) {
        return Err("the request's Host is not this machine's loopback".to_owned());
    }
    if let Some(authority) = request.authority()
        && !on_unix
        && !is_loopback_host(authority.as_str())
    {
        return Err("the request's target is not this machine's loopback".to_owned());
    }
    if let Some(origin) = request.headers.get(header::ORIGIN) {
        let own = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
        if on_unix || own.is_none_or(|(_, own)| Some(own) != host) {
            return Err("the request was made by a web page of another origin".to_owned());
        }
    }
    Ok(())
}

fn is_on_this_machine(peer: &Peer) -> bool {
    match peer {
        Peer::Tcp(address) => is_loopback(address.ip()),
        Peer::Unix(_) => true,
    }
}

/// 127/8, ::1, and 127/8 as a socket for both families shows it.
fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

/// Whether a `Host` names this machine's loopback. A name that a foreign DNS server could point here
/// does not.
fn is_loopback_host(host: &str) -> bool {
    let port_is_fine = |port: &str| port.is_empty() || port.parse::<u16>().is_ok();
    if let Some(rest) = host.strip_prefix('[') {
        let Some((address, port)) = rest.split_once(']') else { return false };
        let address = address.parse::<Ipv6Addr>();
        return address.is_ok_and(|address| is_loopback(address.into()))
            && (port.is_empty() || port.strip_prefix(':').is_some_and(port_is_fine));
    }
    let (name, port) = host.split_once(':').unwrap_or((host, ""));
    let is_ours = name.eq_ignore_ascii_case("localhost")
        || name.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback());
    is_ours && port_is_fine(port)
}

/// Reads the files of tokens, one at a time, off the thread that serves.
#[derive(Clone)]
pub(super) struct Tokens {
    reading: Contained,
    /// Requests that come at one time wait for each other here.
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl Tokens {
    pub(super) fn new() -> Self {
        let reading = Contained::new("token file", "reading the file of a token");
        Tokens { reading, turn: Arc::default() }
    }

    /// Whether the request shows the token of the file. The file is read for each request, because
    /// it may have been changed.
    async fn shown_by(&self, request: &Request, file: PathBuf) -> Result<bool, String> {
        let Some(shown) = request.header(header::AUTHORIZATION).and_then(bearer) else {
            return Ok(false);
        };
        // On a task of its own: the turn must not pass on when the client goes away.
        let reading = tokio::spawn(self.clone().read(file)).await;
        let token = reading.map_err(|error| error.to_string())??;
        Ok(equal(shown.as_bytes(), token.as_bytes()))
    }

    async fn read(self, file: PathBuf) -> Result<String, String> {
        let deadline = tokio::time::Instant::now() + TOKEN_TIMEOUT;
        let Ok(_turn) = tokio::time::timeout_at(deadline, self.turn.lock()).await else {
            return Err("too many other requests wait for the file of a token".to_owned());
        };
        let left = deadline.saturating_duration_since(tokio::time::Instant::now());
        let read = self.reading.run(left, move || read_token(&file)).await;
        read.map_err(|error| error.to_string())?
    }
}

/// The token of `Bearer TOKEN`.
fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn read_token(path: &Path) -> Result<String, String> {
    let cannot = |reason: &dyn std::fmt::Display| format!("{}: {reason}", path.display());
    // A pipe without a writer would never open.
    let flags = (rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::CLOEXEC).bits() as i32;
    let file = std::fs::OpenOptions::new().read(true).custom_flags(flags).open(path);
    let file = file.map_err(|error| cannot(&error))?;
    let metadata = file.metadata().map_err(|error| cannot(&error))?;
    if !metadata.is_file() {
        return Err(cannot(&"this is not a regular file"));
    }
    let own = rustix::process::geteuid().as_raw();
    if metadata.uid() != 0 && metadata.uid() != own {
        return Err(cannot(&format!(
            "the file belongs to user {}; it must belong to root or to the daemon's user",
            metadata.uid()
        )));
    }
    if metadata.mode() & 0o006 != 0 {
        return Err(cannot(&"every user can read or write the file; run chmod o-rw on it"));
    }
    if metadata.len() > MAX_TOKEN_BYTES {
        return Err(cannot(&format!("the file is longer than {MAX_TOKEN_BYTES} bytes")));
    }
    let mut text = String::new();
    file.take(MAX_TOKEN_BYTES).read_to_string(&mut text).map_err(|error| cannot(&error))?;
    let token = text.trim();
    if token.is_empty() {
        return Err(cannot(&"the file is empty"));
    }
    Ok(token.to_owned())
}

/// Compares in a time that does not depend on where the first difference is.
fn equal(shown: &[u8], token: &[u8]) -> bool {
    let mut difference = shown.len() ^ token.len();
    for (position, byte) in shown.iter().enumerate() {
        difference |= usize::from(byte ^ token[position % token.len()]);
    }
    std::hint::black_box(difference) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn hosts_of_the_loopback() {
        for host in [
            "localhost",
            "LocalHost:9100",
            "127.0.0.1",
            "127.1.2.3:1",
            "[::1]",
            "[::1]:9100",
            "[::ffff:127.0.0.1]:1",
        ] {
            assert!(is_loopback_host(host), "{host}");
        }
        for host in [
            "",
            "example.org",
            "localhost.example.org",
            "127.0.0.1.example.org",
            "127.0.0.1:x",
            "127.1",
            "[::1",
            "[::1]x",
            "[::2]",
            "0.0.0.0",
            "10.0.0.1",
            "localhost:1:2",
            "localhost:99999",
        ] {
            assert!(!is_loopback_host(host), "{host}");
        }
    }

    #[test]
    fn tokens_are_compared_whole() {
        for (shown, token, expected) in [
            ("a", "a", true),
            ("a", "b", false),
            ("", "a", false),
            ("aa", "a", false),
            ("a", "aa", false),
        ] {
            assert_eq!(equal(shown.as_bytes(), token.as_bytes()), expected, "{shown} {token}");
        }
        assert_eq!(bearer("bearer  x "), Some("x"));
        assert_eq!(bearer("Basic x"), None);
    }

    #[test]
    fn token_files_that_others_can_use_are_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("token");
        assert!(read_token(&path).is_err());
        std::fs::write(&path, "secret\n").expect("a file");
        let mode = |mode| {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("chmod");
        };
        mode(0o644);
        assert!(read_token(&path).expect_err("others can read it").contains("every user"));
        mode(0o602);
        assert!(read_token(&path).expect_err("others can write it").contains("every user"));
        mode(0o640);
        assert_eq!(read_token(&path).as_deref(), Ok("secret"));
        std::fs::write(&path, "x".repeat(5000)).expect("a file");
        assert!(read_token(&path).expect_err("it is long").contains("longer than 4096 bytes"));
        std::fs::write(&path, " \n").expect("a file");
        assert!(read_token(&path).is_err());
        assert!(read_token(directory.path()).is_err());
    }
}
