//! One connection to a daemon or another program. All requests of a command go over it, so that the daemon
//! that has said which one it is is the one that does what is asked.

use crate::plan::Address;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::runtime::Runtime;

/// The longest a command waits for an answer: longer than a reload may take.
const TIMEOUT: Duration = Duration::from_secs(20);

/// The longest answer that is taken from a daemon.
const LARGEST_ANSWER: usize = 16 << 20;

/// A connection that is open.
pub(super) struct Connection {
    runtime: Runtime,
    sender: SendRequest<Empty<Bytes>>,
    host: String,
    token: Option<String>,
}

/// By when something must be done.
#[derive(Clone, Copy)]
pub(super) struct Deadline {
    at: Instant,
    timeout: Duration,
}

impl Deadline {
    pub(super) fn after(timeout: Duration) -> Self {
        Deadline { at: Instant::now() + timeout, timeout }
    }

    async fn wait<T>(self, work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
        match tokio::time::timeout_at(self.at.into(), work).await {
            Ok(result) => result,
            Err(_) => Err(format!("none within {} s", self.timeout.as_secs_f64())),
        }
    }
}

/// What the other side answered.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// The body; null if it is not JSON.
    pub(super) body: Value,
    /// What a listener asks for that no command has.
    pub(super) lacks: Option<&'static str>,
}

impl Connection {
    /// Connects; requests will show the token.
    pub(super) fn open(address: &Address, token: Option<String>) -> Result<Self, String> {
        Connection::open_by(address, token, Deadline::after(TIMEOUT))
    }

    /// The same, by a deadline.
    pub(super) fn open_by(
        address: &Address,
        token: Option<String>,
        deadline: Deadline,
    ) -> Result<Self, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| error.to_string())?;
        let (sender, host) = runtime.block_on(deadline.wait(async {
            match address {
                Address::Tcp { socket, dual } => {
                    let socket = reachable(*socket, *dual);
                    let stream = TcpStream::connect(socket).await.map_err(|e| e.to_string())?;
                    Ok((handshake(stream).await?, socket.to_string()))
                }
                Address::Unix(path) => {
                    let stream = UnixStream::connect(path).await.map_err(|e| e.to_string())?;
                    Ok((handshake(stream).await?, "localhost".to_owned()))
                }
                Address::Systemd => {
                    Err("only systemd knows where its sockets are; say it with --to".to_owned())
                }
            }
        }))?;
        Ok(Connection { runtime, sender, host, token })
    }

    /// Sends a request and reads the answer.
    pub(super) fn ask(&mut self, method: Method, path: &str) -> Result<Answer, String> {
        self.ask_by(method, path, Deadline::after(TIMEOUT))
    }

    /// The same, by a deadline.
    pub(super) fn ask_by(
        &mut self,
        method: Method,
        path: &str,
        deadline: Deadline,
    ) -> Result<Answer, String> {
        let request = Request::builder().method(method).uri(path);
        let response = self.send(request, LARGEST_ANSWER, deadline)?;
        let body = serde_json::from_slice(response.body()).unwrap_or_default();
        Ok(Answer { status: response.status(), body, lacks: lacking(&response) })
    }

    /// Sends a request, and reads an answer of at most so many bytes.
    pub(super) fn send(
        &mut self,
        mut request: hyper::http::request::Builder,
        largest: usize,
        deadline: Deadline,
    ) -> Result<Response<Bytes>, String> {
        request = request.header(header::HOST, &self.host);
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(Empty::new()).map_err(|error| error.to_string())?;
        let sender = &mut self.sender;
        self.runtime.block_on(deadline.wait(async {
            let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, largest).collect().await;
            let body = body.map_err(|error| match error.is::<LengthLimitError>() {
                true => format!("its answer is longer than {} MiB", largest >> 20),
                false => error.to_string(),
            })?;
            Ok(Response::from_parts(head, body.to_bytes()))
        }))
    }
}

impl Answer {
    /// A member of the body that is text.
    pub(super) fn text(&self, key: &str) -> &str {
        self.body[key].as_str().unwrap_or_default()
    }

    /// What a refusal says, in one line.
    pub(super) fn refusal(&self) -> String {
        match (self.text("title"), self.text("detail")) {
            ("", _) => self.status.to_string(),
            (title, detail) => format!("{title}: {detail}"),
        }
    }
}

/// What a web configuration asks for that a command has not.
fn lacking(response: &Response<Bytes>) -> Option<&'static str> {
    let scheme = response.headers().get(header::WWW_AUTHENTICATE);
    match response.status() {
        // What a listener with TLS says in the clear (http::net::handshakes, and Go's server).
        StatusCode::BAD_REQUEST if response.body().ends_with(b"to an HTTPS server.\n") => {
            Some("TLS")
        }
        StatusCode::UNAUTHORIZED
            if scheme.is_some_and(|scheme| scheme.as_bytes().starts_with(b"Basic")) =>
        {
            Some("the password of a user")
        }
        _ => None,
    }
}

async fn handshake(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> Result<SendRequest<Empty<Bytes>>, String> {
    let opened = http1::handshake(TokioIo::new(stream)).await;
    let (sender, connection) = opened.map_err(|error| error.to_string())?;
    tokio::spawn(connection);
    Ok(sender)
}

/// A listener on every address is reached through loopback: through IPv4's where it takes both, since IPv6
/// may be off.
fn reachable(mut socket: SocketAddr, dual: bool) -> SocketAddr {
    if socket.ip().is_unspecified() {
        socket.set_ip(match socket.ip() {
            IpAddr::V6(_) if !dual => IpAddr::V6(Ipv6Addr::LOCALHOST),
            _ => IpAddr::V4(Ipv4Addr::LOCALHOST),
        });
    }
    socket
}
