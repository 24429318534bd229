//! The HTTP side as a whole: what connections hand their requests to.

use super::counters::HttpCounters;
#[cfg(feature = "tls")]
use super::gate;
use super::net::{Answer, Answering};
use super::page::scrape::Scrapes;
use super::reply::{Problem, plain};
use super::request::{Fault, Request};
use super::routes::{Pages, routes};
use super::served::Served;
use super::site::{Mode, Site};
use bytes::Bytes;
use http_body_util::Empty;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use std::sync::Arc;
use vitald_core::sealer::OwnFamilies;
use warp::http::{self, HeaderValue, StatusCode, header};
use warp::reply::Response;

/// What answers requests.
#[derive(Clone)]
pub(crate) struct Http {
    pages: Arc<Pages>,
    /// warp's service has no name that could be written here.
    routes: Arc<dyn Fn(http::Request<Empty<Bytes>>) -> Answering + Send + Sync>,
}

impl Http {
    /// Makes the answering side; [`super::Listeners::open`] brings it requests.
    pub(crate) fn new(
        served: Arc<dyn Served>,
        mode: Mode,
        version: &'static str,
        own: Option<Arc<dyn OwnFamilies>>,
        counters: Arc<HttpCounters>,
    ) -> Arc<Self> {
        let site = Site::new(served, mode, version, counters);
        let pages = Arc::new(Pages { site, scrapes: Scrapes::new(own) });
        let service = TowerToHyperService::new(warp::service(routes(&pages)));
        let routes = move |request| -> Answering {
            let answer = service.call(request);
            Box::pin(async move { answer.await.unwrap_or_else(|never| match never {}) })
        };
        Arc::new(Http { pages, routes: Arc::new(routes) })
    }

    /// Says that the first collection has ended, or its time has passed, and that the
    /// configuration is applied: from now on `/readyz` answers 200. There is no way back.
    pub(crate) fn set_ready(&self) {
        self.pages.site.set_ready();
    }

    /// The answer to a request with a fault; `None` if a page answers it even so.
    fn refusal(&self, request: &Request, fault: Fault) -> Option<Response> {
        let site = &self.pages.site;
        let native = site.mode == Mode::Native;
        Some(match fault {
            Fault::NoHost => bad_host(native, "missing required Host header"),
            Fault::TwoHosts => bad_host(native, "too many Host headers"),
            Fault::LongBody(most) => {
                Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", "Body too large")
                    .detail(format!("at most {most} bytes"))
                    .reply()
            }
            // A client that checks that the daemon is alive must not find it dead because it is busy.
            Fault::TooManyRequests(_) if request.path() == "/healthz" => return None,
            Fault::TooManyRequests(most) => {
                site.counters.count_refused_request();
                self.too_many_requests(request, most)
            }
        })
    }

    fn too_many_requests(&self, request: &Request, most: u64) -> Response {
        let site = &self.pages.site;
        let status = StatusCode::SERVICE_UNAVAILABLE;
        match &site.mode {
            Mode::Native => {
                let title = "Too many requests at one time";
                let detail =
                    format!("{most} are being served (server.max_requests); try again later");
                Problem::new(status, "too-many-requests", title)
                    .detail(detail)
                    .retry_after(1)
                    .reply()
            }
            Mode::DropIn { telemetry_path } => {
                if request.path() == telemetry_path {
                    site.counters.count_scrape(503);
                }
                let text =
                    format!("Limit of concurrent requests reached ({most}), try again later.\n");
                let mut response = plain(status, text);
                response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
                response
            }
        }
    }
}

/// The answer to a request without one clear host; the drop-in's is what Go's server says.
fn bad_host(native: bool, what: &str) -> Response {
    let status = StatusCode::BAD_REQUEST;
    if native {
        return Problem::new(status, "bad-host", "Bad request").detail(what).reply();
    }
    plain(status, format!("400 Bad Request: {what}"))
}

impl Answer for Http {
    fn answer(&self, request: Request) -> Answering {
        #[cfg(feature = "tls")]
        if let Some(config) = request.rules.web_config.clone() {
            let http = self.clone();
            return Box::pin(async move {
                let native = http.pages.site.mode == Mode::Native;
                gate::answer(&config, native, request, |request| http.answer_admitted(request))
                    .await
            });
        }
        self.answer_admitted(request)
    }
}

impl Http {
    /// Answers one that may be answered.
    fn answer_admitted(&self, request: Request) -> Answering {
        let refusal = request.fault.and_then(|fault| self.refusal(&request, fault));
        if let Some(refusal) = refusal {
            return Box::pin(std::future::ready(refusal));
        }
        // warp routes by method and path; the pages take the request itself.
        let mut routed = http::Request::new(Empty::new());
        *routed.method_mut() = request.method.clone();
        *routed.uri_mut() = request.uri.clone();
        routed.extensions_mut().insert(Arc::new(request));
        (self.routes)(routed)
    }
}
