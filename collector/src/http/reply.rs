//! How answers are made: errors as `application/problem+json` (RFC 9457), JSON and plain text.

use bytes::Bytes;
use serde::Serialize;
use serde_json::{Map, Value};
use warp::http::{HeaderValue, StatusCode, header};
use warp::reply::Response;

/// What went wrong with a request.
pub(super) struct Problem {
    status: StatusCode,
    body: Map<String, Value>,
    retry_after: Option<u32>,
}

impl Problem {
    /// Of a kind that programs know by its `type`, `urn:vitald:problem:KIND`.
    pub(super) fn new(status: StatusCode, kind: &str, title: &str) -> Self {
        let mut body = Map::new();
        body.insert("type".to_owned(), format!("urn:vitald:problem:{kind}").into());
        body.insert("title".to_owned(), title.into());
        body.insert("status".to_owned(), status.as_u16().into());
        Problem { status, body, retry_after: None }
    }

    /// What is wrong this time and what to do about it.
    pub(super) fn detail(self, detail: impl Into<String>) -> Self {
        self.member("detail", detail.into())
    }

    /// Something that programs may want to know.
    pub(super) fn member(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.body.insert(name.to_owned(), value.into());
        self
    }

    /// When to try again, in seconds.
    pub(super) fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    pub(super) fn reply(self) -> Response {
        let mut response = response(self.status, "application/problem+json", line(&self.body));
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

/// An answer in JSON, which no cache may keep.
pub(super) fn json(body: &impl Serialize) -> Response {
    response(StatusCode::OK, "application/json", line(body))
}

/// Indented, since people read it too, and ended like a line, so that a terminal's prompt is
/// below it.
fn line(body: &impl Serialize) -> Bytes {
    let mut text = serde_json::to_vec_pretty(body).unwrap_or_default();
    text.push(b'\n');
    text.into()
}

/// An answer in plain text.
pub(super) fn plain(status: StatusCode, text: impl Into<Bytes>) -> Response {
    response(status, "text/plain; charset=utf-8", text)
}

/// What a browser may do with an answer: load nothing for it, and show it in no other page.
const POLICY: &str =
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// An answer that no cache may keep, and of which a browser runs nothing.
pub(super) fn response(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response {
    let mut response = Response::new(body.into().into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    response
}

/// The answer to a method that a route does not know.
pub(super) fn not_allowed(allowed: &'static str) -> Response {
    let problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method", "Method not allowed");
    let mut response = problem.detail(format!("this route takes {allowed}")).reply();
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
    response
}

/// The answer to a path that is another one, written in full.
pub(super) fn moved(path: &str, query: &str) -> Response {
    let mark = if query.is_empty() { "" } else { "?" };
    let mut response = plain(StatusCode::MOVED_PERMANENTLY, "moved\n");
    if let Ok(location) = HeaderValue::try_from(format!("{path}{mark}{query}")) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

/// The answer to a path that is no route, with the routes that exist. The admin route is shown
/// only where the listener has it.
pub(super) fn no_such_route(has_admin: bool, detail: &str) -> Response {
    let mut routes = vec!["/", "/metrics", "/plugins", "/plugins/NAME", "/healthz", "/readyz"];
    if has_admin {
        routes.push("/plugins/reload");
    }
    Problem::new(StatusCode::NOT_FOUND, "no-such-route", "Not found")
        .detail(detail)
        .member("routes", routes)
        .reply()
}
