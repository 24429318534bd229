//! Which page answers which request: warp's filters name the route, a match calls the page.

use super::page::scrape::{Scrapes, scrape};
use super::page::{health, plugins, reload, status};
use super::paths::{Place, place_of};
use super::query;
use super::reply::{moved, no_such_route, not_allowed, plain};
use super::request::Request;
use super::site::{Mode, Site};
use crate::plan::Admin;
use bytes::Bytes;
use std::convert::Infallible;
use std::sync::Arc;
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::http::StatusCode;
use warp::reply::Response;

/// What all routes share.
pub(super) struct Pages {
    pub(super) site: Site,
    pub(super) scrapes: Scrapes,
}

/// vitald's own routes.
enum Route {
    Status,
    Metrics,
    Plugins,
    Plugin(String),
    Reload,
    Healthz,
    Readyz,
    Nothing,
}

/// The filter that answers every request. It takes them as extensions, since warp would copy their
/// heads.
pub(super) fn routes(pages: &Arc<Pages>) -> BoxedFilter<(Response,)> {
    match &pages.site.mode {
        Mode::Native => native(pages),
        Mode::DropIn { telemetry_path } => drop_in(pages, telemetry_path),
    }
}

fn request() -> impl Filter<Extract = (Arc<Request>,), Error = warp::Rejection> + Copy + Send {
    warp::ext::get::<Arc<Request>>()
}

fn native(pages: &Arc<Pages>) -> BoxedFilter<(Response,)> {
    let pages = Arc::clone(pages);
    let answer = move |route, request| native_page(Arc::clone(&pages), route, request);
    route().and(request()).then(answer).boxed()
}

fn route() -> impl Filter<Extract = (Route,), Error = Infallible> + Clone + Send + Sync {
    let status = warp::path::end().map(|| Route::Status);
    let metrics = warp::path!("metrics").map(|| Route::Metrics);
    let plugins = warp::path!("plugins").map(|| Route::Plugins);
    let reload = warp::path!("plugins" / "reload").map(|| Route::Reload);
    let plugin = warp::path!("plugins" / String).map(Route::Plugin);
    let healthz = warp::path!("healthz").map(|| Route::Healthz);
    let readyz = warp::path!("readyz").map(|| Route::Readyz);
    let nothing = warp::any().map(|| Route::Nothing);

    metrics
        .or(healthz)
        .unify()
        .or(readyz)
        .unify()
        .or(status)
        .unify()
        .or(plugins)
        .unify()
        .or(reload)
        .unify()
        .or(plugin)
        .unify()
        .or(nothing)
        .unify()
}

async fn native_page(pages: Arc<Pages>, route: Route, request: Arc<Request>) -> Response {
    let Pages { site, scrapes } = &*pages;
    let request = &*request;
    match route {
        // These have methods of their own.
        Route::Reload => reload::reload(site, request).await,
        Route::Nothing => {
            let has_admin = request.rules.serve.admin != Admin::Off;
            no_such_route(has_admin, "there is nothing at this path")
        }
        _ if !request.reads() => not_allowed("GET, HEAD"),
        // These tell no secret, and what asks them has none.
        Route::Healthz => health::alive(),
        Route::Readyz => health::ready(site),
        Route::Metrics => match site.admission.admit_scrape(request).await {
            Ok(()) => scrape(site, scrapes, request).await,
            Err(refusal) => refusal,
        },
        route => match site.admission.admit_reader(request).await {
            Ok(()) => about(route, site, request).await,
            Err(refusal) => refusal,
        },
    }
}

/// The pages about the daemon.
async fn about(route: Route, site: &Site, request: &Request) -> Response {
    match route {
        Route::Plugins => plugins::list(site, request).await,
        Route::Plugin(segment) => {
            let name = query::decode_segment(&segment).unwrap_or(segment);
            plugins::show(site, request, &name).await
        }
        _ => status::page(site, request).await,
    }
}

/// node_exporter's routes: any method, plain text for errors.
fn drop_in(pages: &Arc<Pages>, telemetry_path: &str) -> BoxedFilter<(Response,)> {
    let landing_page: Bytes = status::landing(telemetry_path, pages.site.version);
    let pages = Arc::clone(pages);
    let telemetry_path: Arc<str> = telemetry_path.into();
    let answer = move |request: Arc<Request>| {
        let (pages, landing_page) = (Arc::clone(&pages), landing_page.clone());
        let telemetry_path = Arc::clone(&telemetry_path);
        async move {
            match place_of(request.path(), &telemetry_path) {
                Place::Metrics => scrape(&pages.site, &pages.scrapes, &request).await,
                Place::Landing => status::html(landing_page),
                Place::Elsewhere(path) => moved(&path, request.query()),
                Place::Nothing => plain(StatusCode::NOT_FOUND, "404 page not found\n"),
            }
        }
    };
    request().then(answer).boxed()
}
