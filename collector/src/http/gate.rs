//! What a web configuration asks of every request, before anything else is asked.

use super::net::Answering;
use super::reply::{Problem, plain};
use super::request::Request;
use crate::web_config::{Refusal, WebConfig};
use std::sync::Arc;
use warp::http::{HeaderValue, StatusCode, header};
use warp::reply::Response;

/// Has a request answered if it is let in; every answer but that to one request too many gets the headers of
/// the web configuration, as in Prometheus' toolkit.
pub(super) async fn answer(
    config: &Arc<WebConfig>,
    native: bool,
    request: Request,
    answer: impl FnOnce(Request) -> Answering,
) -> Response {
    let content = config.fresh().await;
    let authorization = request.headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes);
    // A browser would ask the person who sits there, and its script would wait for that.
    let is_script = request.header("sec-fetch-dest") == Some("empty");
    let client = &request.client;
    let from = client.peer.key();
    let (bucket, shaken) = (&client.serve.bucket, client.shaken.as_deref());
    let mut response = match config.admit(&content, bucket, shaken, authorization, from).await {
        Ok(()) => answer(request).await,
        Err(Refusal::TooMany) => return refusal(native, Refusal::TooMany),
        Err(reason) => {
            tracing::debug!(peer = %client.peer, ?reason, "a request is refused");
            let mut response = refusal(native, reason);
            if is_script {
                response.headers_mut().remove(header::WWW_AUTHENTICATE);
            }
            response
        }
    };
    for (name, value) in content.headers() {
        response.headers_mut().insert(name, value.clone());
    }
    response
}

/// The answer to a request that is not let in; the drop-in's is what Prometheus' toolkit or Go's server says.
fn refusal(native: bool, reason: Refusal) -> Response {
    let (status, kind, detail) = match reason {
        Refusal::NotEncrypted => (
            StatusCode::BAD_REQUEST,
            "not-encrypted",
            "this listener speaks TLS now: connect again, with https",
        ),
        Refusal::OtherCertificates => (
            StatusCode::BAD_REQUEST,
            "other-certificates",
            "this listener asks for other certificates of clients now: connect again",
        ),
        Refusal::TooMany => (
            StatusCode::TOO_MANY_REQUESTS,
            "rate-limit",
            "the listener's web configuration limits the rate of requests; try again later",
        ),
        Refusal::Unauthorized => (
            StatusCode::UNAUTHORIZED,
            "no-password",
            "send the name and the password of a user of the listener's web configuration",
        ),
        Refusal::Busy => (
            StatusCode::SERVICE_UNAVAILABLE,
            "passwords",
            "too many passwords are being checked; try again later",
        ),
    };
    let title = status.canonical_reason().unwrap_or("Refused");
    let mut response = match (native, reason) {
        (true, _) => Problem::new(status, kind, title).detail(detail).reply(),
        (false, Refusal::NotEncrypted) => {
            plain(status, "Client sent an HTTP request to an HTTPS server.\n")
        }
        (false, _) => plain(status, format!("{title}\n")),
    };
    let headers = response.headers_mut();
    match reason {
        Refusal::NotEncrypted | Refusal::OtherCertificates => {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        Refusal::Unauthorized => {
            let scheme = if native { "Basic realm=\"vitald\"" } else { "Basic" };
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(scheme));
        }
        Refusal::Busy => {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        Refusal::TooMany => {}
    }
    response
}
