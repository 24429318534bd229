//! `/healthz` and `/readyz`.

use crate::blind;
use crate::http::reply::{Problem, plain};
use crate::http::site::Site;
use warp::http::StatusCode;
use warp::reply::Response;

/// The daemon answers, so it is alive.
pub(in crate::http) fn alive() -> Response {
    plain(StatusCode::OK, "ok\n")
}

/// Whether the first collection has ended and the configuration is applied. A daemon that sees a container
/// where it should see the host is ready, since a restart would change nothing, and says so in further lines.
pub(in crate::http) fn ready(site: &Site) -> Response {
    if site.is_ready() {
        let blind = blind::spots(site.served.applied().view);
        let said: String = blind.iter().map(|spot| format!("blind: {spot}\n")).collect();
        return plain(StatusCode::OK, format!("ready\n{said}"));
    }
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not-ready", "Not ready")
        .detail("the first collection has not ended yet")
        .retry_after(1)
        .reply()
}
