//! `/healthz` and `/readyz`.

use crate::http::reply::{Problem, plain};
use crate::http::site::Site;
use warp::http::StatusCode;
use warp::reply::Response;

/// The daemon answers, so it is alive.
pub(in crate::http) fn alive() -> Response {
    plain(StatusCode::OK, "ok\n")
}

/// Whether the first collection has ended and the configuration is applied.
pub(in crate::http) fn ready(site: &Site) -> Response {
    if site.is_ready() {
        return plain(StatusCode::OK, "ready\n");
    }
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not-ready", "Not ready")
        .detail("the first collection has not ended yet")
        .retry_after(1)
        .reply()
}
