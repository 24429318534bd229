//! Every route, as warp filters, and the reception that requests come through.

use super::connection::{Phase, Seat};
use super::counters::{HttpCounters, InFlight};
use super::listeners::{House, Peer};
use super::problem::{Problem, plain};
use super::{Face, Http, plugins, reload, scrape, status};
use crate::plan::Admin;
use bytes::Bytes;
use http_body_util::Empty;
use hyper::body::{Body, Incoming};
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Instant;
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::http::uri::Authority;
use warp::http::{HeaderMap, Method, Request, StatusCode, header};
use warp::reply::Response;

/// The longest body that is not refused. No route reads one.
const MAX_BODY_BYTES: u64 = 64 << 10;

/// One request, as the answering functions take it.
pub(super) struct Ask {
    pub(super) method: Method,
    pub(super) query: String,
    pub(super) headers: HeaderMap,
    pub(super) arrival: Arrival,
}

impl Ask {
    /// A header's value, if it is text.
    pub(super) fn header(&self, name: impl header::AsHeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    fn reads(&self) -> bool {
        matches!(self.method, Method::GET | Method::HEAD)
    }
}

/// When and from where a request came.
#[derive(Clone)]
pub(super) struct Arrival {
    pub(super) at: Instant,
    /// The host of a request whose target is a whole URL; it counts for more than `Host`.
    pub(super) authority: Option<Authority>,
    pub(super) client: Arc<Client>,
}

/// The other end of a connection, and what the listener lets it do.
pub(super) struct Client {
    pub(super) peer: Peer,
    /// Whether nobody between can read what is said.
    pub(super) encrypted: bool,
    seat: Arc<Seat>,
}

impl Client {
    pub(super) fn admin(&self) -> Arc<Admin> {
        self.seat.listener.admin()
    }
}

/// The parts of a request that the routes need. No filter here rejects.
fn ask() -> impl Filter<Extract = (Ask,), Error = warp::Rejection> + Copy + Send {
    let query = warp::filters::query::raw().or(warp::any().map(String::new)).unify();
    warp::method()
        .and(query)
        .and(warp::header::headers_cloned())
        .and(warp::ext::get::<Arrival>())
        .map(|method, query, headers, arrival| Ask { method, query, headers, arrival })
}

/// Every route there is.
fn routes(http: &Arc<Http>) -> BoxedFilter<(Response,)> {
    match &http.face {
        Face::Native => native(http),
        Face::DropIn { telemetry_path } => drop_in(http, telemetry_path),
    }
}

fn native(http: &Arc<Http>) -> BoxedFilter<(Response,)> {
    let with = |http: &Arc<Http>| {
        let http = Arc::clone(http);
        warp::any().map(move || Arc::clone(&http)).and(ask())
    };

    let metrics = warp::path!("metrics").and(with(http)).then(metrics);
    let root = warp::path::end().and(with(http)).then(root);
    let plugins = warp::path!("plugins").and(with(http)).then(list_plugins);
    let reload = warp::path!("plugins" / "reload").and(with(http)).then(reload::reload);
    let plugin = warp::path!("plugins" / String).and(with(http)).then(show_plugin);
    let healthz = warp::path!("healthz").and(with(http)).map(healthz);
    let readyz = warp::path!("readyz").and(with(http)).map(readyz);
    let nothing = with(http).map(not_found);

    metrics
        .or(healthz)
        .unify()
        .or(readyz)
        .unify()
        .or(root)
        .unify()
        .or(plugins)
        .unify()
        .or(reload)
        .unify()
        .or(plugin)
        .unify()
        .or(nothing)
        .unify()
        .boxed()
}

/// node_exporter's routes: any method, plain text for errors.
fn drop_in(http: &Arc<Http>, telemetry_path: &str) -> BoxedFilter<(Response,)> {
    let mut path = warp::any().boxed();
    for segment in telemetry_path.split('/').filter(|segment| !segment.is_empty()) {
        path = path.and(warp::path(segment.to_owned())).boxed();
    }
    let scraped = Arc::clone(http);
    let metrics = path
        .and(warp::path::end())
        .and(ask())
        .then(move |ask: Ask| scrape::scrape(Arc::clone(&scraped), ask));
    let page = status::landing(telemetry_path, http.version);
    let landing = warp::path::end().map(move || status::html(page.clone()));
    let nothing = warp::any().map(|| plain(StatusCode::NOT_FOUND, "404 page not found\n"));
    metrics.or(landing).unify().or(nothing).unify().boxed()
}

async fn metrics(http: Arc<Http>, ask: Ask) -> Response {
    if !ask.reads() {
        return not_allowed("GET, HEAD");
    }
    scrape::scrape(http, ask).await
}

async fn root(http: Arc<Http>, ask: Ask) -> Response {
    if !ask.reads() {
        return not_allowed("GET, HEAD");
    }
    status::page(&http, &ask).await
}

async fn list_plugins(http: Arc<Http>, ask: Ask) -> Response {
    if !ask.reads() {
        return not_allowed("GET, HEAD");
    }
    plugins::list(&http, &ask).await
}

async fn show_plugin(name: String, http: Arc<Http>, ask: Ask) -> Response {
    if !ask.reads() {
        return not_allowed("GET, HEAD");
    }
    plugins::show(&http, &ask, &name).await
}

fn healthz(_http: Arc<Http>, ask: Ask) -> Response {
    if !ask.reads() {
        return not_allowed("GET, HEAD");
    }
    plain(StatusCode::OK, "ok\n")
}

fn readyz(http: Arc<Http>, ask: Ask) -> Response {
    if !ask.reads() {
        return not_allowed("GET, HEAD");
    }
    if http.ready.load(Ordering::Relaxed) {
        return plain(StatusCode::OK, "ready\n");
    }
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not-ready", "Not ready")
        .detail("the first collection has not ended yet")
        .retry_after(1)
        .reply()
}

/// The answer to a method that a route does not know.
pub(super) fn not_allowed(allowed: &'static str) -> Response {
    let problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method", "Method not allowed");
    let detail = format!("this route takes {allowed}");
    let mut response = problem.detail(detail).reply();
    response.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static(allowed));
    response
}

fn not_found(_http: Arc<Http>, ask: Ask) -> Response {
    not_found_for(&ask)
}

/// The answer to a path that is no route; it tells which there are. The admin route is told only
/// where it exists.
pub(super) fn not_found_for(ask: &Ask) -> Response {
    let mut routes = vec!["/", "/metrics", "/plugins", "/plugins/NAME", "/healthz", "/readyz"];
    if *ask.arrival.client.admin() != Admin::Off {
        routes.push("/plugins/reload");
    }
    Problem::new(StatusCode::NOT_FOUND, "no-such-route", "Not found")
        .detail("there is nothing at this path")
        .member("routes", routes)
        .reply()
}

type Answer = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

/// The routes, ready to be asked.
pub(super) struct Router {
    http: Arc<Http>,
    /// warp's service has no name that could be written here.
    answer: Box<dyn Fn(Request<Empty<Bytes>>) -> Answer + Send + Sync>,
}

impl Router {
    pub(super) fn new(http: Arc<Http>) -> Arc<Self> {
        let service = TowerToHyperService::new(warp::service(routes(&http)));
        let answer = move |request| -> Answer { Box::pin(service.call(request)) };
        Arc::new(Router { http, answer: Box::new(answer) })
    }
}

/// What a connection hands its requests to: it counts them and refuses those that are too many or
/// too large.
pub(super) struct Reception {
    router: Arc<Router>,
    house: Arc<House>,
    client: Arc<Client>,
}

impl Reception {
    pub(super) fn new(router: Arc<Router>, house: Arc<House>, seat: Arc<Seat>, peer: Peer) -> Self {
        let client = Arc::new(Client { peer, encrypted: false, seat });
        Reception { router, house, client }
    }

    fn refusal(&self, request: &Request<Incoming>, in_flight: u64) -> Option<Response> {
        if request.body().size_hint().lower() > MAX_BODY_BYTES {
            let problem =
                Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", "Body too large");
            return Some(problem.detail(format!("at most {MAX_BODY_BYTES} bytes")).reply());
        }
        let most = self.house.max_requests();
        // Whoever checks that the daemon is alive must not find it dead because it is busy.
        if most > 0 && in_flight > most && request.uri().path() != "/healthz" {
            let http = &self.router.http;
            http.counters.count_refused_request();
            return Some(match &http.face {
                Face::Native => Problem::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "too-many-requests",
                    "Too many requests at one time",
                )
                .detail(format!("{most} are being served (server.max_requests); try again later"))
                .retry_after(1)
                .reply(),
                Face::DropIn { telemetry_path } => {
                    if request.uri().path() == telemetry_path {
                        http.counters.count_scrape(503);
                    }
                    let text = format!(
                        "Limit of concurrent requests reached ({most}), try again later.\n"
                    );
                    plain(StatusCode::SERVICE_UNAVAILABLE, text)
                }
            });
        }
        None
    }
}

impl Service<Request<Incoming>> for Reception {
    type Response = Response;
    type Error = Infallible;
    type Future = Answering;

    fn call(&self, request: Request<Incoming>) -> Answering {
        let now = Instant::now();
        let seat = Arc::clone(&self.client.seat);
        seat.enter(Phase::Serving, now);
        let in_flight = self.router.http.counters.begin_request();
        let answer = match self.refusal(&request, in_flight.total) {
            Some(refusal) => Box::pin(std::future::ready(Ok(refusal))),
            None => {
                // No route reads a body; hyper passes over a short one and closes after a long one.
                let mut request = request.map(|_| Empty::new());
                let authority = request.uri().authority().cloned();
                let arrival = Arrival { at: now, authority, client: Arc::clone(&self.client) };
                request.extensions_mut().insert(arrival);
                (self.router.answer)(request)
            }
        };
        Answering { answer, seat, counters: Arc::clone(&self.router.http.counters), in_flight }
    }
}

/// A request under way.
pub(super) struct Answering {
    answer: Answer,
    seat: Arc<Seat>,
    counters: Arc<HttpCounters>,
    #[expect(dead_code, reason = "counts until it is dropped")]
    in_flight: InFlight,
}

impl Future for Answering {
    type Output = Result<Response, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answered = self.answer.as_mut().poll(cx);
        if let Poll::Ready(Ok(response)) = &answered {
            self.counters.count_answer(response.status().as_u16());
            self.seat.enter(Phase::Sending, Instant::now());
        }
        answered
    }
}
