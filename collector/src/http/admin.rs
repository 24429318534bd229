//! Who may administer, and who may read.
//!
//! Being on this machine is weak evidence: a browser on it runs other people's pages, and a proxy on it
//! speaks for people elsewhere. So a request that shows signs of either is refused, with the reason, and
//! so is a peer that is no process of root's or of the daemon's own user.

use super::peer_users::PeerUsers;
use super::reply::{Problem, no_such_route};
use super::request::{Peer, Request};
use super::tokens::Tokens;
use crate::plan::{Admin, TokenFile};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use warp::http::{HeaderValue, StatusCode, header};
use warp::reply::Response;

/// Headers in which proxies say for whom they speak, beside those that begin with [`FORWARDED`].
const OF_PROXIES: [&str; 7] = [
    "forwarded",
    "via",
    "x-real-ip",
    "x-client-ip",
    "true-client-ip",
    "cf-connecting-ip",
    "x-envoy-external-address",
];
const FORWARDED: &str = "x-forwarded-";

/// Finds out who asks.
pub(super) struct Admission {
    tokens: Tokens,
    users: PeerUsers,
}

/// What a listener's rule says of a request.
enum Verdict {
    /// It may if its peer is root or the daemon's own user.
    OwnUser,
    /// It may not, for this reason.
    Refused(String),
    /// The listener has no admin routes.
    NoSuchRoute,
    /// It may if it shows the token in this file.
    Token(TokenFile),
}

/// Judges a request by itself.
fn judge(request: &Request) -> Verdict {
    let client = &request.client;
    match &request.rules.serve.admin {
        Admin::Off => Verdict::NoSuchRoute,
        Admin::Local => match local(request) {
            Ok(()) => Verdict::OwnUser,
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

impl Admission {
    pub(super) fn new() -> Self {
        Admission { tokens: Tokens::default(), users: PeerUsers::new() }
    }

    /// Whether a request may use the admin routes; if not, the answer to it.
    pub(super) async fn admit(&self, request: &Request) -> Result<(), Response> {
        let reason = match judge(request) {
            Verdict::NoSuchRoute => {
                return Err(no_such_route(
                    false,
                    "this listener has no admin routes; on the daemon's host, vitald reload asks another listener, \
                     and SIGHUP needs none",
                ));
            }
            Verdict::Token(file) => {
                let detail = "send the listener's token: Authorization: Bearer TOKEN";
                return self.want(request, &file, detail).await;
            }
            Verdict::Refused(reason) => reason,
            Verdict::OwnUser => match self.users.is_own(&request.client).await {
                Ok(true) => return Ok(()),
                Ok(false) => "only root and the daemon's own user may do this; others, and proxies that run as \
                              others, need a listener with a token"
                    .to_owned(),
                Err(reason) => {
                    tracing::warn!(peer = %request.client.peer, reason, "it is not known whose an admin request is");
                    format!(
                        "it is not known whose process sent this ({reason}); use the daemon's unix socket, \
                         a listener with a token, or SIGHUP"
                    )
                }
            },
        };
        tracing::debug!(peer = %request.client.peer, reason, "an admin request is refused");
        Err(Problem::new(StatusCode::FORBIDDEN, "not-admin", "Not allowed").detail(reason).reply())
    }

    /// Whether a client that is where this one is may administer over the same listener, if it is of the right user or
    /// shows the token.
    pub(super) fn may_be_admin(request: &Request) -> bool {
        matches!(judge(request), Verdict::OwnUser | Verdict::Token(_))
    }

    /// Whether a request comes from an admin, for answers that show more to admins.
    pub(super) async fn is_admin(&self, request: &Request) -> bool {
        match judge(request) {
            Verdict::OwnUser => self.users.is_own(&request.client).await.unwrap_or(false),
            Verdict::Refused(_) | Verdict::NoSuchRoute => false,
            Verdict::Token(file) => self.shows(request, &file).await.unwrap_or(false),
        }
    }

    /// Whether a request may have the metrics; if not, the answer to it. Who shows the token of the
    /// listener's administration need not show the other one, too.
    pub(super) async fn admit_scrape(&self, request: &Request) -> Result<(), Response> {
        let Some(file) = &request.rules.serve.token_file else { return Ok(()) };
        // The other file is read for nobody who shows this one.
        if self.shows(request, file).await.unwrap_or(false) {
            return Ok(());
        }
        if let Verdict::Token(of_admin) = judge(request)
            && self.shows(request, &of_admin).await.unwrap_or(false)
        {
            return Ok(());
        }
        let detail = "this listener wants a token: Authorization: Bearer TOKEN";
        self.want(request, file, detail).await
    }

    /// Whether a request may read what is known of the daemon; if not, the answer to it. An admin may.
    pub(super) async fn admit_reader(&self, request: &Request) -> Result<(), Response> {
        if request.rules.serve.token_file.is_some() && !self.is_admin(request).await {
            return self.admit_scrape(request).await;
        }
        Ok(())
    }

    /// Whether a request shows the token in a file.
    async fn shows(&self, request: &Request, file: &TokenFile) -> Result<bool, Arc<str>> {
        let authorization = request.header(header::AUTHORIZATION);
        self.tokens.shown_by(authorization, &request.rules.tokens, file).await
    }

    /// The same; if not, the answer to it.
    async fn want(
        &self,
        request: &Request,
        file: &TokenFile,
        detail: &str,
    ) -> Result<(), Response> {
        match self.shows(request, file).await {
            Ok(true) => Ok(()),
            Ok(false) => {
                tracing::debug!(peer = %request.client.peer, "a request does not show the token");
                Err(token_required(detail))
            }
            Err(_) => Err(token_unusable()),
        }
    }
}

fn token_required(detail: &str) -> Response {
    let problem = Problem::new(StatusCode::UNAUTHORIZED, "no-token", "Token required");
    let mut response = problem.detail(detail).reply();
    let scheme = HeaderValue::from_static("Bearer realm=\"vitald\"");
    response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
    response
}

fn token_unusable() -> Response {
    let status = StatusCode::INTERNAL_SERVER_ERROR;
    Problem::new(status, "token-file", "The token's file cannot be used")
        .detail("the daemon's log says why")
        .reply()
}

/// Whether the peer is on this machine and nothing in the request shows that it speaks for a client elsewhere.
fn local(request: &Request) -> Result<(), String> {
    let on_unix = match &request.client.peer {
        Peer::Tcp(address) if is_loopback(address.ip()) => false,
        Peer::Tcp(_) => return Err("only peers on this machine may do this".to_owned()),
        Peer::Unix(_) => true,
    };
    for name in request.headers.keys() {
        let name = name.as_str();
        if OF_PROXIES.contains(&name) || name.starts_with(FORWARDED) {
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
