//! `reload`, `health` and `check --running`: talking to the running daemon.

use super::load::{config_file, load};
use super::registry::Registry;
use super::terminal::{complain, exit, fail, print, refuse};
use crate::plan::{Address, Admin};
use bytes::Bytes;
use clap::ArgMatches;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use toml::de::DeTable;

/// The longest a command waits for the daemon: longer than a reload may take.
const TIMEOUT: Duration = Duration::from_secs(20);

struct Target {
    address: Address,
    token: Option<String>,
}

struct Answer {
    status: StatusCode,
    body: String,
}

/// Makes the running daemon read its configuration again, and tells what it says.
pub(super) fn reload(own: &ArgMatches, registry: Registry<'_>) -> ExitCode {
    put_reload(own, registry, own.get_flag("dry-run"))
}

/// What a reload of its own file would change in the running daemon.
pub(super) fn what_would_change(own: &ArgMatches, registry: Registry<'_>) -> ExitCode {
    put_reload(own, registry, true)
}

fn put_reload(own: &ArgMatches, registry: Registry<'_>, dry_run: bool) -> ExitCode {
    let target = match target(own, registry) {
        Ok(target) => target,
        Err(status) => return status,
    };
    let path = if dry_run { "/plugins/reload?dry_run=true" } else { "/plugins/reload" };
    let answer = match ask(&target, Method::PUT, path) {
        Ok(answer) => answer,
        Err(error) => return unreachable(&target, &error),
    };
    let told: Value = serde_json::from_str(&answer.body).unwrap_or_default();
    if answer.status == StatusCode::OK {
        return print(&report(&told));
    }
    let text = |key: &str| told.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    for mistake in told.get("mistakes").and_then(Value::as_array).into_iter().flatten() {
        complain(&mistake.get("text").and_then(Value::as_str).unwrap_or_default());
    }
    for fault in told.get("faults").and_then(Value::as_array).into_iter().flatten() {
        complain(&fault.as_str().unwrap_or_default());
    }
    let status = if answer.status == StatusCode::UNPROCESSABLE_ENTITY { exit::CONFIG } else { 1 };
    fail(status, &format!("{}: {}", text("title"), text("detail")))
}

/// Asks whether the daemon is alive, or ready.
pub(super) fn health(own: &ArgMatches, registry: Registry<'_>) -> ExitCode {
    let target = match target(own, registry) {
        Ok(target) => target,
        Err(status) => return status,
    };
    let (path, well) =
        if own.get_flag("ready") { ("/readyz", "ready\n") } else { ("/healthz", "ok\n") };
    match ask(&target, Method::GET, path) {
        Ok(answer) if answer.status == StatusCode::OK => print(well),
        Ok(answer) => fail(1, &format!("{path} answered {}", answer.status)),
        Err(error) => unreachable(&target, &error),
    }
}

fn report(told: &Value) -> String {
    let mut text = String::new();
    for (group, noun) in [("", "collectors"), ("outputs", "outputs"), ("listeners", "listeners")] {
        let lists = if group.is_empty() { told } else { &told[group] };
        for what in ["started", "stopped", "changed", "unchanged"] {
            let names: Vec<&str> =
                lists[what].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            if !names.is_empty() {
                text += &format!("{noun} {what}: {}\n", names.join(", "));
            }
        }
    }
    for degraded in told["degraded"].as_array().into_iter().flatten() {
        let word = |key: &str| degraded[key].as_str().unwrap_or_default().to_owned();
        text += &format!("degraded: {}: {}\n", word("name"), word("reason"));
    }
    let verb = if told["dry_run"] == Value::Bool(true) { "would be applied" } else { "applied" };
    let hash = told["hash"].as_str().unwrap_or_default();
    text + &format!("configuration {hash} {verb}; generation {}\n", told["generation"])
}

/// The daemon a command talks to: `--to`, or the first listener of the configuration that lets
/// local users administer.
fn target(own: &ArgMatches, registry: Registry<'_>) -> Result<Target, ExitCode> {
    let token = match own.get_one::<PathBuf>("token-file") {
        Some(file) => Some(
            std::fs::read_to_string(file)
                .map_err(|error| fail(exit::USAGE, &format!("{}: {error}", file.display())))?
                .trim()
                .to_owned(),
        ),
        None => None,
    };
    if let Some(to) = own.get_one::<String>("to") {
        let to = to.strip_prefix("http://").unwrap_or(to).trim_end_matches('/');
        let address = crate::config::parse_address(to).or_else(|_| resolve(to));
        let address = address.map_err(|error| fail(exit::USAGE, &format!("--to {to}: {error}")))?;
        return Ok(Target { address, token });
    }
    let plan = match load(own, registry) {
        Ok(plan) => plan,
        // The daemon is to say what is wrong, and to count the attempt: it only has to be found.
        Err(mistakes) => match first_listener(own) {
            Some(address) => return Ok(Target { address, token }),
            None => return Err(refuse(&mistakes)),
        },
    };
    let listen = &plan.server.listen;
    let chosen = listen.iter().find(|listen| listen.serve.admin != Admin::Off).or(listen.first());
    let Some(chosen) = chosen else {
        return Err(fail(exit::CONFIG, &"the configuration has no listener"));
    };
    let token = token.or_else(|| match &chosen.serve.admin {
        // The daemon answers a user who may not read it that it wants one.
        Admin::Token(file) => Some(std::fs::read_to_string(file).ok()?.trim().to_owned()),
        _ => None,
    });
    Ok(Target { address: chosen.address.clone(), token })
}

/// The first address that a file names, which may be wrong elsewhere; the built-in one if it names none.
fn first_listener(own: &ArgMatches) -> Option<Address> {
    let text = std::fs::read_to_string(config_file(own)?).ok()?;
    let (table, _) = DeTable::parse_recoverable(&text);
    let server = table.get_ref().get("server").and_then(|server| server.get_ref().as_table());
    let listen = server.and_then(|server| server.get("listen"));
    let address = match listen {
        None => "127.0.0.1:9100",
        Some(listen) => listen.get_ref().as_array()?.first()?.get_ref().as_str()?,
    };
    crate::config::parse_address(address).ok()
}

/// A host name and port, by the system's resolver: IPv4 first, since `localhost` has both and the
/// daemon's default is to listen there.
fn resolve(to: &str) -> Result<Address, String> {
    let expected = || "expected HOST:PORT or unix:/PATH".to_owned();
    if to.rsplit_once(':').is_none_or(|(_, port)| port.parse::<u16>().is_err()) {
        return Err(expected());
    }
    let found = std::net::ToSocketAddrs::to_socket_addrs(to).map_err(|error| error.to_string())?;
    let socket = found.min_by_key(|address| !address.is_ipv4()).ok_or_else(expected)?;
    Ok(Address::Tcp { socket, dual: false })
}

fn unreachable(target: &Target, error: &dyn Display) -> ExitCode {
    fail(
        exit::UNAVAILABLE,
        &format!(
            "no answer from {}: {error}; is the daemon running there? --to says where",
            target.address
        ),
    )
}

/// Sends one request and reads the answer, within [`TIMEOUT`].
fn ask(target: &Target, method: Method, path: &str) -> Result<Answer, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    runtime.block_on(async {
        let exchange = async {
            match &target.address {
                Address::Tcp { socket, dual } => {
                    let stream = tokio::net::TcpStream::connect(reachable(*socket, *dual)).await;
                    exchange(stream.map_err(|e| e.to_string())?, target, method, path).await
                }
                Address::Unix(socket) => {
                    let stream = tokio::net::UnixStream::connect(socket).await;
                    exchange(stream.map_err(|e| e.to_string())?, target, method, path).await
                }
            }
        };
        match tokio::time::timeout(TIMEOUT, exchange).await {
            Ok(answer) => answer,
            Err(_) => Err(format!("none within {} s", TIMEOUT.as_secs())),
        }
    })
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

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    target: &Target,
    method: Method,
    path: &str,
) -> Result<Answer, String> {
    let told = |error: hyper::Error| error.to_string();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(told)?;
    tokio::spawn(connection);
    let host = match &target.address {
        Address::Tcp { socket, dual } => reachable(*socket, *dual).to_string(),
        Address::Unix(_) => "localhost".to_owned(),
    };
    let mut request = Request::builder().method(method).uri(path).header(header::HOST, host);
    if let Some(token) = &target.token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(|error| error.to_string())?;
    let response = sender.send_request(request).await.map_err(told)?;
    let status = response.status();
    let body = response.into_body().collect().await.map_err(told)?.to_bytes();
    Ok(Answer { status, body: String::from_utf8_lossy(&body).into_owned() })
}
