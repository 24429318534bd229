//! `/metrics`: from a request to a page.

use crate::dropin;
use crate::encode::{Format, Negotiated, PageWriter, negotiate};
use crate::engine::{self, Collecting, Selection};
use crate::heap;
use crate::http::counters::HttpCounters;
use crate::http::net::page_bytes;
use crate::http::page::collected::collected;
use crate::http::pool::{Page, PagePool, Room};
use crate::http::query;
use crate::http::reply::{Problem, plain};
use crate::http::request::Request;
use crate::http::site::{Mode, Site};
use crate::sync::lock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use vitald_core::sealer::OwnFamilies;
use vitald_core::settings::nearest;
use vitald_core::snapshot::Collection;
use warp::http::{HeaderName, HeaderValue, StatusCode, header};
use warp::reply::Response;

/// How long the scraper is going to wait, in seconds.
const SCRAPE_TIMEOUT: HeaderName = HeaderName::from_static("x-prometheus-scrape-timeout-seconds");
/// A scrape that is answered exactly when the scraper gives up has failed: it is answered earlier by
/// this much or by a tenth, whichever is more.
const LEAST_MARGIN: Duration = Duration::from_millis(250);
/// Pages that are likely longer than this are written and compressed off the async thread.
const LONG_PAGE_BYTES: usize = 256 << 10;
/// After so many short pages in a row the memory for long ones is given back.
const SHORT_PAGES_BEFORE_GIVING_BACK: u32 = 60;
/// About what a sample takes on a page.
const SAMPLE_BYTES: usize = 80;
/// How many times shorter a page is at least when it is compressed.
const GZIP_SAVES: usize = 5;

/// What all scrapes share.
pub(in crate::http) struct Scrapes {
    own: Option<Arc<dyn OwnFamilies>>,
    pages: Arc<PagePool>,
    /// Writes short pages, on the thread that serves.
    short: Mutex<Writer>,
    /// Writes long pages, one after another on a thread of their own, so that they hold up no short
    /// one. A request that waits for it holds no thread.
    long: Arc<tokio::sync::Mutex<Writer>>,
    /// How many short pages there have been since the last long one, and one more; 0: no long one has been
    /// written since its writer was made.
    short_pages: AtomicU32,
    /// What the last scraper accepts, which most likely the next one does, too.
    accepted: Mutex<Accepted>,
}

/// A header `Accept` and what it comes to.
#[derive(Default)]
struct Accepted {
    header: Vec<u8>,
    openmetrics: bool,
    negotiated: Option<Negotiated>,
}

/// What one page at a time uses, once its collection is done.
struct Writer {
    pages: PageWriter,
    collection: Collection,
}

/// What the scraper wants to get.
#[derive(Clone, Copy)]
struct Wanted {
    negotiated: Negotiated,
    gzip: bool,
}

impl Scrapes {
    pub(in crate::http) fn new(own: Option<Arc<dyn OwnFamilies>>) -> Self {
        let short = Mutex::new(Writer::new(own.clone()));
        let long = Arc::new(tokio::sync::Mutex::new(Writer::new(own.clone())));
        let short_pages = AtomicU32::new(0);
        Scrapes { own, pages: Arc::default(), short, long, short_pages, accepted: Mutex::default() }
    }

    /// Takes note of a page, and gives back what long ones took when there has been none for long: their
    /// writer would keep it for ever, as nobody asks it for anything.
    fn note_page(&self, is_long: bool) {
        if is_long {
            return self.short_pages.store(1, Ordering::Relaxed);
        }
        let short_pages = self.short_pages.load(Ordering::Relaxed);
        if short_pages == 0 {
            return;
        }
        if short_pages < SHORT_PAGES_BEFORE_GIVING_BACK {
            return self.short_pages.store(short_pages + 1, Ordering::Relaxed);
        }
        // One that is at a page is not idle, and says so again.
        let Ok(mut writer) = Arc::clone(&self.long).try_lock_owned() else { return };
        self.short_pages.store(0, Ordering::Relaxed);
        let fresh = Writer::new(self.own.clone());
        // It is much memory, so not on the thread that serves.
        drop(tokio::task::spawn_blocking(move || {
            *writer = fresh;
            drop(writer);
            heap::give_back_soon();
        }));
    }
}

impl Writer {
    fn new(own: Option<Arc<dyn OwnFamilies>>) -> Self {
        Writer { pages: PageWriter::new(own), collection: Collection::new() }
    }

    fn write(
        &mut self,
        collecting: Collecting,
        wanted: Wanted,
        pool: &Arc<PagePool>,
        counters: &HttpCounters,
    ) -> Page {
        collecting.finish(&mut self.collection);
        let mut page = pool.page();
        let format = wanted.negotiated.format;
        let written = self.pages.write(&mut self.collection, format, wanted.gzip, &mut page.buffer);
        if written.has_conflicts {
            counters.count_page_with_conflicts();
        }
        page
    }
}

/// Answers a request for metrics.
pub(in crate::http) async fn scrape(site: &Site, scrapes: &Scrapes, request: &Request) -> Response {
    let _in_flight = site.counters.begin_scrape();
    let response = answer(site, scrapes, request).await.unwrap_or_else(|refusal| refusal);
    let status = response.status().as_u16();
    site.counters.count_scrape(status);
    if response.status().is_success() {
        site.counters.note_scrape(request);
    }
    response
}

async fn answer(site: &Site, scrapes: &Scrapes, request: &Request) -> Result<Response, Response> {
    let applied = site.served.applied();
    let plan = &applied.plan;
    let openmetrics = site.mode == Mode::Native && plan.scrape.openmetrics;
    let wanted = wanted(request, openmetrics, &mut lock(&scrapes.accepted));
    let selection = selection(site, request.query()).map_err(|refusal| *refusal)?;
    let pages = &scrapes.pages;
    let deadlines =
        Deadlines::of(plan.scrape.timeout, request.header(SCRAPE_TIMEOUT), request.arrived);
    let deadline = deadlines.collection;
    let collection = engine::Request { arrived: request.arrived, deadline, selection };
    let mut collecting = site.served.engine().collect(collection);
    collected(&mut collecting, deadline).await;
    let is_long = collecting.samples() * SAMPLE_BYTES >= LONG_PAGE_BYTES;
    scrapes.note_page(is_long);
    let expected = collecting.samples() * SAMPLE_BYTES / if wanted.gzip { GZIP_SAVES } else { 1 };
    let most = page_bytes(&plan.server);
    let make_room = async || {
        let room = pages.room(expected, most, &request.client.reader, deadlines.page).await;
        room.ok_or_else(|| too_many_pages(site))
    };

    if !is_long {
        let room = make_room().await?;
        let page = lock(&scrapes.short).write(collecting, wanted, pages, &site.counters);
        return Ok(sent(page, room, wanted));
    }
    let (pool, counters) = (Arc::clone(pages), Arc::clone(&site.counters));
    let writer = Arc::clone(&scrapes.long).lock_owned();
    let Ok(mut writer) = tokio::time::timeout_at(deadlines.page.into(), writer).await else {
        return Err(too_many_long_pages(site));
    };
    // After the writer: what waits for it takes no room.
    let room = make_room().await?;
    let writing =
        tokio::task::spawn_blocking(move || writer.write(collecting, wanted, &pool, &counters));
    let page = writing
        .await
        .map_err(|_| plain(StatusCode::INTERNAL_SERVER_ERROR, "the page could not be written\n"))?;
    Ok(sent(page, room, wanted))
}

fn sent(page: Page, room: Room, wanted: Wanted) -> Response {
    let mut response = Response::new(page.lend(room).into());
    let headers = response.headers_mut();
    let content_type = HeaderValue::from_static(wanted.negotiated.content_type());
    headers.insert(header::CONTENT_TYPE, content_type);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::VARY, HeaderValue::from_static("Accept, Accept-Encoding"));
    if wanted.gzip {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

fn wanted(request: &Request, openmetrics: bool, accepted: &mut Accepted) -> Wanted {
    let value = |name| joined(request, name);
    let negotiated = match value(header::ACCEPT) {
        Some(header) => accepted.format(&header, openmetrics),
        None => format(None, openmetrics),
    };
    Wanted { negotiated, gzip: negotiate::gzip(value(header::ACCEPT_ENCODING).as_deref()) }
}

/// No `Accept` keeps metrics from being served: like node_exporter, it is text then.
fn format(accept: Option<&[u8]>, openmetrics: bool) -> Negotiated {
    let text = Negotiated { format: Format::Text, escaping: None };
    negotiate::format(accept, openmetrics).unwrap_or(text)
}

impl Accepted {
    /// What a header comes to, read again only if it is another one.
    fn format(&mut self, header: &[u8], openmetrics: bool) -> Negotiated {
        let is_known = self.header == header && self.openmetrics == openmetrics;
        match self.negotiated.filter(|_| is_known) {
            Some(negotiated) => negotiated,
            None => {
                let negotiated = format(Some(header), openmetrics);
                self.header.clear();
                self.header.extend_from_slice(header);
                (self.openmetrics, self.negotiated) = (openmetrics, Some(negotiated));
                negotiated
            }
        }
    }
}

/// The values of a header that may come more than once, as the one list they are.
fn joined(request: &Request, name: HeaderName) -> Option<std::borrow::Cow<'_, [u8]>> {
    let mut values = request.headers.get_all(name).iter().map(HeaderValue::as_bytes);
    let first = values.next()?;
    let rest: Vec<&[u8]> = values.collect();
    if rest.is_empty() {
        return Some(first.into());
    }
    Some([&[first], &rest[..]].concat().join(&b","[..]).into())
}

/// By when a scrape must have come how far, so that the scraper gets an answer before it gives up.
struct Deadlines {
    /// The collection ends.
    collection: Instant,
    /// The writing of the page begins, if it has to wait for a longer one.
    page: Instant,
}

impl Deadlines {
    fn of(timeout: Duration, scraper: Option<&str>, arrived: Instant) -> Deadlines {
        let scraper = scraper
            .and_then(|text| text.trim().parse::<f64>().ok())
            .filter(|seconds| *seconds > 0.0)
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let whole = scraper.map_or(timeout, |scraper| scraper.min(timeout));
        let margin = LEAST_MARGIN.max(whole / 10);
        // So little time that the margin would take it all is halved instead.
        let time = whole.checked_sub(margin).filter(|time| !time.is_zero()).unwrap_or(whole / 2);
        Deadlines { collection: arrived + time, page: arrived + (time + whole) / 2 }
    }
}

/// Which collectors `collect[]` and `exclude[]` choose, with node_exporter's answers.
fn selection(site: &Site, text: &str) -> Result<Selection, Box<Response>> {
    if text.is_empty() {
        return Ok(Selection::All);
    }
    let collect = query::values(text, "collect[]");
    let exclude = query::values(text, "exclude[]");
    if collect.is_empty() && exclude.is_empty() {
        return Ok(Selection::All);
    }
    if !collect.is_empty() && !exclude.is_empty() {
        let theirs = "Combined collect and exclude queries are not allowed.";
        let ours = "collect[] and exclude[] cannot be combined";
        return Err(Box::new(refused(site, theirs, ours, &[])));
    }
    let on = site.served.engine().names();
    let is_drop_in = site.mode != Mode::Native;
    let applied = site.served.applied();
    let is_built =
        |name: &str| applied.plan.collectors.iter().any(|plan| plan.descriptor.name == name);
    let mut collect = collect;
    // node_exporter would have answered: a job that names one of its collectors which this build
    // lacks must not lose the others.
    let asked = collect.len();
    if is_drop_in {
        collect.retain(|name| is_built(name) || !dropin::is_collector(name));
    }
    if collect.is_empty() && asked > 0 {
        return Ok(Selection::Only(collect));
    }
    let Some(unknown) = collect.iter().find(|name| !on.contains(&name.as_str())) else {
        if !collect.is_empty() {
            return Ok(Selection::Only(collect));
        }
        let all = on.iter().all(|name| exclude.iter().any(|excluded| excluded == name));
        // node_exporter takes the empty list that is left for no filter at all.
        let nothing_left = all && is_drop_in;
        return Ok(if nothing_left { Selection::All } else { Selection::Except(exclude) });
    };
    let known = is_built(unknown);
    let word = if known { "disabled" } else { "missing" };
    let ours = match nearest(unknown, on.iter().copied()) {
        _ if known => format!("collector {unknown} is switched off"),
        Some(meant) => format!("there is no collector {unknown}; did you mean {meant}?"),
        None => format!("there is no collector {unknown}"),
    };
    let theirs = format!(
        "Couldn't create filtered metrics handler: couldn't create collector: \
         {word} collector: {unknown}"
    );
    Err(Box::new(refused(site, &theirs, &ours, &on)))
}

fn refused(site: &Site, theirs: &str, ours: &str, on: &[&'static str]) -> Response {
    match site.mode {
        Mode::DropIn { .. } => plain(StatusCode::BAD_REQUEST, theirs.to_owned()),
        Mode::Native => {
            let problem = Problem::new(StatusCode::BAD_REQUEST, "bad-selection", "Bad selection")
                .detail(ours);
            if on.is_empty() { problem } else { problem.member("collectors", on.to_vec()) }.reply()
        }
    }
}

fn too_many_pages(site: &Site) -> Response {
    let detail = "slow readers hold too many pages (server.max_page_bytes); try again later";
    unavailable(site, ("slow-readers", "Too many pages"), detail)
}

fn too_many_long_pages(site: &Site) -> Response {
    let detail = "other long pages are written, and there was no time left for this one; \
                  try again later";
    unavailable(site, ("long-pages", "Too many long pages"), detail)
}

/// The refusal of a page for which there is no room or no time.
fn unavailable(site: &Site, (kind, title): (&str, &str), detail: &str) -> Response {
    site.counters.count_refused_page();
    let status = StatusCode::SERVICE_UNAVAILABLE;
    match site.mode {
        Mode::DropIn { .. } => plain(status, format!("{detail}\n")),
        Mode::Native => Problem::new(status, kind, title).detail(detail).retry_after(1).reply(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_accepted_is_read_again_when_it_changes() {
        let mut accepted = Accepted::default();
        let openmetrics: &[u8] = b"application/openmetrics-text;version=1.0.0,text/plain;q=0.5";
        for (header, is_on) in [
            (openmetrics, true),
            (openmetrics, true),
            (openmetrics, false),
            (b"text/plain", true),
            (openmetrics, true),
            (b"", true),
        ] {
            let negotiated = accepted.format(header, is_on);
            assert_eq!(negotiated, format(Some(header), is_on));
            let expects_openmetrics = is_on && header == openmetrics;
            assert_eq!(negotiated.format == Format::OpenMetrics, expects_openmetrics);
        }
    }

    #[test]
    fn deadlines() {
        let now = Instant::now();
        for (timeout, scraper, expected) in [
            (10.0, None, 9.0),
            (10.0, Some("5"), 4.5),
            (10.0, Some("1"), 0.75),
            (10.0, Some("0.3"), 0.05),
            (10.0, Some("0.2"), 0.1),
            (10.0, Some("60"), 9.0),
            (10.0, Some("0"), 9.0),
            (10.0, Some("-1"), 9.0),
            (10.0, Some("NaN"), 9.0),
            (10.0, Some("inf"), 9.0),
            (10.0, Some("1e300"), 9.0),
            (10.0, Some("soon"), 9.0),
        ] {
            let timeout = Duration::from_secs_f64(timeout);
            let Deadlines { collection, page } = Deadlines::of(timeout, scraper, now);
            let seconds = (collection - now).as_secs_f64();
            assert!((seconds - expected).abs() < 1e-6, "{scraper:?}: {seconds}");
            assert!(collection < page && page < now + timeout, "{scraper:?}");
        }
    }
}
