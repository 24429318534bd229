//! One connection to a daemon. All requests of a command go over it, so that the daemon that has said
//! which one it is is the one that does what is asked.

use crate::plan::Address;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::runtime::Runtime;

/// The longest a command waits for an answer: longer than a reload may take.
const TIMEOUT: Duration = Duration::from_secs(20);

/// A connection that is open.
pub(super) struct Connection {
    runtime: Runtime,
    sender: SendRequest<Empty<Bytes>>,
    host: String,
    token: Option<String>,
}

/// What the other side answered.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// The body; null if it is not JSON.
    pub(super) body: Value,
}

impl Connection {
    /// Connects; requests will show the token.
    pub(super) fn open(address: &Address, token: Option<String>) -> Result<Self, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| error.to_string())?;
        let (sender, host) = runtime.block_on(within(async {
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
        let mut request =
            Request::builder().method(method).uri(path).header(header::HOST, &self.host);
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(Empty::new()).map_err(|error| error.to_string())?;
        let sender = &mut self.sender;
        self.runtime.block_on(within(async {
            let error = |error: hyper::Error| error.to_string();
            let response = sender.send_request(request).await.map_err(error)?;
            let status = response.status();
            let body = response.into_body().collect().await.map_err(error)?.to_bytes();
            Ok(Answer { status, body: serde_json::from_slice(&body).unwrap_or_default() })
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

async fn within<T>(exchange: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    match tokio::time::timeout(TIMEOUT, exchange).await {
        Ok(result) => result,
        Err(_) => Err(format!("none within {} s", TIMEOUT.as_secs())),
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
