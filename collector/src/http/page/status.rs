//! `/`: a page for people. It needs nothing but itself, and is whole without its script, which asks for the page
//! again and again and takes over what has changed: so there is one place that says how things look.

use super::host::{Charted, MOST_UNFOLDED, Unfolded, View, shown};
use super::html::{Age, Escaped, Seconds};
use super::plugins::{Collector, Listener, Overview};
use super::problems::{self, Of, Problem};
use super::tiles::Tile;
use crate::http::admin::Admission;
use crate::http::net::Scarce;
use crate::http::query;
use crate::http::reply::response;
use crate::http::request::{Peer, Request};
use crate::http::site::Site;
use crate::plan::{Address, Admin, Plan};
use bytes::Bytes;
use std::fmt::{self, Write as _};
use std::hash::{BuildHasher, RandomState};
use warp::http::{HeaderValue, StatusCode, header};
use warp::reply::Response;

const STYLE: &str = include_str!("status.css");
const SCRIPT: &str = include_str!("status.js");
/// So many problems are listed before what the host does. Of more those that are not grave are folded.
const MOST_PROBLEMS: usize = 8;

/// The landing page of the drop-in: a plain one, made once.
pub(in crate::http) fn landing(telemetry_path: &str, version: &str) -> Bytes {
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>Node Exporter</title></head>\n\
         <body>\n<h1>Node Exporter</h1>\n<p>Metrics of this host for Prometheus, by vitald {}.</p>\n\
         <ul><li><a href=\"{}\">Metrics</a></li></ul>\n</body>\n</html>\n",
        Escaped(version),
        Escaped(telemetry_path),
    )
    .into()
}

/// A page of HTML that may load nothing.
pub(in crate::http) fn html(page: Bytes) -> Response {
    response(StatusCode::OK, "text/html; charset=utf-8", page)
}

/// The same with a policy of its own for what a browser may do with it.
fn with_policy(page: Bytes, policy: &str) -> Response {
    let mut response = html(page);
    if let Ok(policy) = HeaderValue::from_str(policy) {
        response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    response
}

/// The status page. `show=NAME` in its query unfolds a collector.
pub(in crate::http) async fn page(site: &Site, request: &Request) -> Response {
    let unfolded = query::values(request.query(), "show");
    let timeout = site.served.applied().plan.scrape.timeout;
    let view = site.host.look(site.served.engine(), timeout, &unfolded).await;
    let overview = Overview::of(site, site.admission.is_admin(request).await);
    let mut web_configs = Vec::new();
    site.counters.each_web_config(|file, is_well, _| {
        if !is_well {
            let shown = overview.admin.then(|| file.display().to_string());
            web_configs.push(shown.unwrap_or_else(|| "a web configuration".to_owned()));
        }
    });
    let applied = site.served.applied();
    let mut rules = applied.plan.server.listen.iter().map(|listen| &listen.serve.admin);
    let asked = Asked {
        curl: Admission::may_be_admin(request).then(|| curl(request, &applied.plan)),
        is_protected: request.rules.web_config.as_ref().is_some_and(|config| {
            let protection = config.protection();
            protection.encrypts || protection.wants_passwords
        }),
        rule: &request.rules.serve.admin,
        others_have_admin: rules.any(|rule| *rule != Admin::Off),
    };
    let problems = problems::of(&overview, &web_configs);
    let page = Page { overview: &overview, view: &view, problems: &problems, asked };
    let nonce = nonce();
    let mut text = String::with_capacity(64 << 10);
    // Writing into a String cannot fail.
    let _ = page.write(&mut text, &nonce);
    let policy = format!(
        "default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; \
         connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    with_policy(text.into(), &policy)
}

/// A number that cannot be guessed: what the standard library's hash function, whose key is random,
/// makes of nothing, twice.
fn nonce() -> String {
    let random = || RandomState::new().hash_one(0_u8);
    format!("{:016x}{:016x}", random(), random())
}

/// The command that reloads over the listener that a request came over.
fn curl(request: &Request, plan: &Plan) -> String {
    let serve = &request.rules.serve;
    let mut command = "curl -X PUT".to_owned();
    if matches!(serve.admin, Admin::Token(_)) {
        command += " -H \"Authorization: Bearer $TOKEN\"";
    }
    if request.rules.web_config.as_ref().is_some_and(|config| config.protection().wants_passwords) {
        command += " -u USER";
    }
    let host = request.header(header::HOST).unwrap_or("localhost:9100");
    match request.client.peer {
        Peer::Unix(_) => {
            let mut listeners = plan.server.listen.iter().filter(|listen| listen.serve == *serve);
            let path = listeners.find_map(|listen| match &listen.address {
                Address::Unix(path) => Some(path.display().to_string()),
                Address::Tcp { .. } | Address::Systemd => None,
            });
            let path = path.unwrap_or_else(|| "SOCKET".to_owned());
            command + &format!(" --unix-socket {path} http://localhost/plugins/reload")
        }
        Peer::Tcp(_) if request.client.is_encrypted => {
            command + &format!(" https://{host}/plugins/reload")
        }
        Peer::Tcp(_) => command + &format!(" http://{host}/plugins/reload"),
    }
}

/// How the page was asked for.
struct Asked<'a> {
    /// What reloads over the same listener, where it does.
    curl: Option<String>,
    /// The listener asks for TLS or a password, which `vitald reload` has not.
    is_protected: bool,
    /// Who may administer through this listener.
    rule: &'a Admin,
    others_have_admin: bool,
}

/// All that is on the page.
struct Page<'a> {
    overview: &'a Overview,
    view: &'a View,
    problems: &'a [Problem<'a>],
    asked: Asked<'a>,
}

impl Page<'_> {
    fn on(&self) -> impl Iterator<Item = &Collector> {
        self.overview.collectors.iter().filter(|collector| collector.enabled)
    }

    fn unfolded(&self, name: &str) -> Option<&Unfolded> {
        self.view.unfolded.iter().find(|unfolded| unfolded.name == name)
    }

    /// How the daemon is, in a word for the style and in a sentence.
    fn state(&self) -> (&'static str, String) {
        let running = self.on().filter(|collector| problems::state(collector) == "running").count();
        match self.problems {
            _ if !self.overview.ready => {
                ("calm", "Starting: the first collection has not ended".to_owned())
            }
            [] if running == 0 => ("calm", "No collector has anything to give".to_owned()),
            [] => (
                "good",
                format!("All is well: {}", count(running, "collector runs", "collectors run")),
            ),
            [one] => (worst(self.problems), format!("One problem: {}", subject(&one.of))),
            many => (worst(many), format!("{} problems", many.len())),
        }
    }

    fn write(&self, page: &mut String, nonce: &str) -> fmt::Result {
        let name = Escaped(&self.overview.hostname);
        let version = Escaped(self.overview.version);
        let (class, state) = self.state();
        let title = if self.problems.is_empty() { String::new() } else { format!("{state} – ") };
        write!(
            page,
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <title>{}{name} – vitald</title>\n<style nonce=\"{nonce}\">\n{STYLE}</style>\n</head>\n\
             <body data-version=\"{version}\">\n\
             <header><h1>{name}</h1>\n\
             <nav aria-label=\"Other pages\"><a href=\"/metrics\">Metrics</a> <a href=\"/plugins\">Plugins</a> \
             <a href=\"/healthz\">Health</a> <a href=\"/readyz\">Readiness</a></nav></header>\n\
             <div id=\"gone\" role=\"alert\"></div>\n<main id=\"live\" data-title=\"{}{name} – vitald\">\n\
             <div class=\"top\"><p id=\"state\" class=\"state {class}\" role=\"status\">{}</p>\n",
            Escaped(&title),
            Escaped(&title),
            Escaped(&state),
        )?;
        self.write_facts(page)?;
        self.write_problems(page)?;
        self.write_tiles(page)?;
        self.write_collectors(page)?;
        self.write_absent(page)?;
        self.write_off(page)?;
        page.push_str("<div class=\"cards\">\n");
        self.write_scrapes(page)?;
        self.write_listeners(page)?;
        self.write_configuration(page)?;
        self.write_outputs(page)?;
        write_lowered(page, self.overview)?;
        write!(
            page,
            "</div>\n</main>\n<footer id=\"footer\">The figures are those of when the page was loaded.</footer>\n\
             <script nonce=\"{nonce}\">\n{SCRIPT}</script>\n</body>\n</html>\n"
        )
    }

    fn write_facts(&self, page: &mut String) -> fmt::Result {
        let samples: usize = self.on().map(|collector| collector.samples).sum();
        writeln!(
            page,
            "<p class=\"facts\"><span>{}</span> <span>up for {}</span> <span>vitald {}</span></p></div>",
            count(samples, "sample", "samples"),
            Seconds(Some(self.overview.uptime_seconds)),
            Escaped(self.overview.version),
        )
    }

    fn write_problems(&self, page: &mut String) -> fmt::Result {
        if self.problems.is_empty() {
            return Ok(());
        }
        page.push_str(
            "<section id=\"problems\">\n<h2>Problems</h2>\n<ul class=\"card problems\">\n",
        );
        // The grave ones come first.
        let grave = self.problems.iter().filter(|problem| problem.is_grave).count();
        let listed = grave.max(MOST_PROBLEMS);
        for (number, problem) in self.problems.iter().enumerate() {
            if number == listed {
                write!(
                    page,
                    "</ul>\n<details id=\"folded-problems\"><summary>{}</summary>\n<ul class=\"card problems\">\n",
                    count(self.problems.len() - listed, "more problem", "more problems"),
                )?;
            }
            let weight = if problem.is_grave { "bad" } else { "warn" };
            let subject = subject(&problem.of);
            match problem.of {
                Of::Collector(name) => {
                    write!(page, "<li id=\"p-{}\" class=\"{weight}\">", Escaped(name))?;
                    self.write_link_to(page, name, name)?
                }
                Of::Host(_) | Of::Output(_) | Of::Reload | Of::WebConfig => write!(
                    page,
                    "<li id=\"p.{number}\" class=\"{weight}\"><b>{}</b>",
                    Escaped(subject)
                )?,
            }
            write!(
                page,
                " <span class=\"badge {weight}\">{}</span><p>",
                Escaped(&problem.state.replace('_', " ")),
            )?;
            write_lines(page, &problem.why)?;
            page.push_str(if problem.unread.is_empty() { "</p>" } else { ":</p><ul>" });
            for unread in problem.unread {
                let (source, error) = (Escaped(&unread.source), Escaped(&unread.error));
                match unread.source.is_empty() {
                    true => write!(page, "<li>{error}</li>")?,
                    false => write!(page, "<li><code>{source}</code> {error}</li>")?,
                }
            }
            page.push_str(if problem.unread.is_empty() { "</li>\n" } else { "</ul></li>\n" });
        }
        page.push_str("</ul>\n");
        if self.problems.len() > listed {
            page.push_str("</details>\n");
        }
        page.push_str("</section>\n");
        Ok(())
    }

    /// A link that unfolds a collector.
    fn write_link_to(&self, page: &mut String, name: &str, text: &str) -> fmt::Result {
        let (escaped, path) = (Escaped(name), query::encode(name));
        write!(
            page,
            "<a class=\"to\" href=\"/?show={path}#c-{path}\" data-show=\"{escaped}\">{}</a>",
            Escaped(text)
        )
    }

    fn write_tiles(&self, page: &mut String) -> fmt::Result {
        page.push_str("<section class=\"tiles\" aria-label=\"This host\">\n");
        for Tile { collector, title, value, detail, number, is_share } in &self.view.tiles {
            write!(page, "<div class=\"tile\" id=\"t-{collector}\"")?;
            if let Some(number) = number {
                write!(page, " data-number=\"{number}\"")?;
            }
            page.push_str(if *is_share { " data-share>" } else { ">" });
            page.push_str("<h2>");
            match self.on().any(|on| on.name == *collector) {
                true => self.write_link_to(page, collector, title)?,
                false => page.push_str(title),
            }
            let (value, detail) = (Escaped(value), Escaped(detail));
            writeln!(
                page,
                "</h2><p class=\"value\">{value}</p><p class=\"detail\" title=\"{detail}\">{detail}</p>\
                 <svg data-own viewBox=\"0 0 100 24\" preserveAspectRatio=\"none\" aria-hidden=\"true\">\
                 <path/></svg></div>",
            )?;
        }
        page.push_str("</section>\n");
        Ok(())
    }

    fn write_collectors(&self, page: &mut String) -> fmt::Result {
        let durations = self.on().filter_map(|collector| collector.duration_seconds);
        // An empty sum of floats is -0.
        let cost = durations.fold(0.0, |sum, duration| sum + duration);
        write!(
            page,
            "<section id=\"collectors\">\n<div class=\"heading\"><h2>Collectors</h2>\
             <p>All runs together take {}.</p>{}\
             <p id=\"filter\" role=\"search\" data-own hidden><label for=\"wanted\">Filter</label> \
             <input id=\"wanted\" type=\"search\" autocomplete=\"off\" spellcheck=\"false\" \
             placeholder=\"name, state or summary\"> <span id=\"found\" role=\"status\"></span></p></div>\n<div class=\"card\">",
            Seconds(Some(cost)),
            self.folded(),
        )?;
        let mut shown = self.on().filter(|collector| collector.state != "absent").peekable();
        if shown.peek().is_none() {
            page.push_str("<p class=\"text\">None is switched on, or none has a source here.</p></div>\n</section>\n");
            return Ok(());
        }
        page.push_str(
            // The roles are what these elements are; on a phone the style would take it from them.
            "<table role=\"table\">\n<thead role=\"rowgroup\"><tr role=\"row\">\
             <th role=\"columnheader\" scope=\"col\">Name</th><th role=\"columnheader\" scope=\"col\">State</th>\
             <th role=\"columnheader\" scope=\"col\" class=\"number\">Last run</th>\
             <th role=\"columnheader\" scope=\"col\" class=\"number\">Samples</th>\
             <th role=\"columnheader\" scope=\"col\" class=\"number\">Age</th></tr></thead>\n\
             <tbody role=\"rowgroup\">\n",
        );
        let durations = self.on().filter_map(|collector| collector.duration_seconds);
        let longest = durations.fold(f64::MIN_POSITIVE, f64::max);
        for collector in shown {
            self.write_collector(page, collector, longest)?;
        }
        page.push_str("</tbody>\n</table></div>\n</section>\n");
        Ok(())
    }

    /// That some are not unfolded though they were asked for.
    fn folded(&self) -> String {
        let folded = &self.view.folded;
        if folded.is_empty() {
            return String::new();
        }
        let (are, names) = (if folded.len() == 1 { "is" } else { "are" }, folded.join(", "));
        format!(
            "<p id=\"folded\">No more than {MOST_UNFOLDED} are unfolded at a time: {names} {are} not.</p>"
        )
    }

    fn write_collector(
        &self,
        page: &mut String,
        collector: &Collector,
        longest: f64,
    ) -> fmt::Result {
        let state = problems::state(collector);
        let note = problems::note(collector);
        let (name, path) = (Escaped(collector.name), query::encode(collector.name));
        let unfolded = self.unfolded(collector.name);
        // Without the script it is a link, to a page on which this one is folded or unfolded.
        let target = match unfolded {
            Some(_) => format!("/#c-{path}"),
            None => format!("/?show={path}#c-{path}"),
        };
        writeln!(
            page,
            // A screen reader says the header before each cell: the short one.
            "<tr role=\"row\" id=\"c-{name}\" data-find=\"{name} {} {}\">\
             <th role=\"rowheader\" scope=\"row\" abbr=\"{name}\"><a role=\"button\" class=\"unfold\" href=\"{target}\" data-show=\"{name}\" aria-expanded=\"{}\"{}>{name}</a>\
             <small>{}</small><span class=\"note {}\">{}</span></th>\
             <td role=\"cell\" class=\"state\"><span class=\"badge {}\">{}</span></td>\
             <td role=\"cell\" class=\"number\"><span class=\"duration\">{}</span>\
             <svg class=\"bar\" viewBox=\"0 0 100 3\" preserveAspectRatio=\"none\" aria-hidden=\"true\">\
             <rect width=\"{:.1}\" height=\"3\"/></svg></td>\
             <td role=\"cell\" class=\"number\" data-label=\"samples\">{}</td>\
             <td role=\"cell\" class=\"number\" data-label=\"age\">{}</td></tr>",
            words(state),
            Escaped(collector.summary),
            unfolded.is_some(),
            unfolded.map_or(String::new(), |_| format!(" aria-controls=\"v-{name}\"")),
            Escaped(collector.summary),
            class(state),
            Escaped(&note),
            class(state),
            words(state),
            Seconds(collector.duration_seconds),
            100.0 * collector.duration_seconds.unwrap_or_default() / longest,
            collector.samples,
            Age(collector.age_seconds),
        )?;
        match unfolded {
            Some(unfolded) => {
                let found = format!("{name} {} {}", words(state), Escaped(collector.summary));
                write_unfolded(page, unfolded, &path, &found)
            }
            None => Ok(()),
        }
    }

    fn write_absent(&self, page: &mut String) -> fmt::Result {
        let absent: Vec<&Collector> =
            self.on().filter(|collector| collector.state == "absent").collect();
        if absent.is_empty() {
            return Ok(());
        }
        write!(
            page,
            "<details class=\"card\" id=\"absent\"><summary>Not on this host ({}): switched on, without a source here</summary>\n\
             <dl class=\"list\">\n",
            absent.len()
        )?;
        for collector in absent {
            write_listed(page, collector, "absent", collector.error.as_deref())?;
        }
        page.push_str("</dl></details>\n");
        Ok(())
    }

    fn write_off(&self, page: &mut String) -> fmt::Result {
        let all = self.overview.collectors.iter();
        let off: Vec<&Collector> = all.filter(|collector| !collector.enabled).collect();
        if off.is_empty() {
            return Ok(());
        }
        write!(
            page,
            "<details class=\"card\" id=\"off\"><summary>Switched off ({}): in this binary, and not asked</summary>\n\
             <dl class=\"list\">\n",
            off.len()
        )?;
        for collector in off {
            write_listed(page, collector, "off", None)?;
        }
        page.push_str("</dl></details>\n");
        Ok(())
    }

    fn write_scrapes(&self, page: &mut String) -> fmt::Result {
        page.push_str("<section class=\"card text\"><h2>Last scrape</h2>");
        let Some(last) = &self.overview.last_scrape else {
            page.push_str("<p>Nobody has got metrics since the start.</p></section>\n");
            return Ok(());
        };
        write!(page, "<p>{} ago", Seconds(Some(last.age_seconds)))?;
        if let Some(peer) = &last.peer {
            write!(page, " by <code>{}</code>", Escaped(peer))?;
        }
        if let Some(agent) = last.agent.as_deref().filter(|agent| !agent.is_empty()) {
            write!(page, " ({})", Escaped(agent))?;
        }
        writeln!(page, ", answered after {}.</p></section>", Seconds(Some(last.took_seconds)))
    }

    fn write_listeners(&self, page: &mut String) -> fmt::Result {
        let Some(listeners) = &self.overview.listeners else { return Ok(()) };
        page.push_str("<section class=\"card text\"><h2>Listeners</h2><ul>");
        for listener in listeners {
            write!(page, "<li><code>{}</code>", Escaped(&listener.address))?;
            for (number, place) in listener.bound.iter().enumerate() {
                let before = if number == 0 { ", which is" } else { " and" };
                write!(page, "{before} <code>{}</code>", Escaped(place))?;
            }
            write!(page, ": {}; administration: {}", readers(listener), Escaped(&listener.admin))?;
            if let Some(file) = &listener.web_config {
                write!(page, "; by <code>{}</code>", Escaped(file))?;
            }
            page.push_str("</li>");
        }
        page.push_str("</ul></section>\n");
        Ok(())
    }

    fn write_outputs(&self, page: &mut String) -> fmt::Result {
        let mut on = self.overview.outputs.iter().filter(|output| output.enabled).peekable();
        if on.peek().is_none() {
            return Ok(());
        }
        page.push_str("<section class=\"card text\"><h2>Outputs</h2><ul>");
        for output in on {
            let name = Escaped(&output.name);
            write!(
                page,
                "<li><a href=\"/plugins/{}\">{name}</a> every {}: {} sent, {} failed, {} missed</li>",
                query::encode(&output.name),
                Seconds(Some(output.interval_seconds)),
                output.sent.unwrap_or_default(),
                output.failed.unwrap_or_default(),
                output.missed.unwrap_or_default(),
            )?;
        }
        page.push_str("</ul></section>\n");
        Ok(())
    }

    fn write_configuration(&self, page: &mut String) -> fmt::Result {
        let Page { overview, asked, .. } = self;
        let reload = &overview.last_reload;
        let hash = Escaped(&overview.hash);
        write!(
            page,
            "<section class=\"card text\"><h2>Configuration</h2><p><code>{hash}</code>, "
        )?;
        match overview.generation {
            1 => page.push_str("in force since the start. "),
            number => write!(page, "number {number} since the start. ")?,
        }
        match reload.age_seconds {
            None => page.push_str("No reload so far."),
            Some(age) => {
                let outcome = if reload.succeeded { "was applied" } else { "failed" };
                write!(page, "The last reload {outcome} {} ago.", Seconds(Some(age)))?;
            }
        }
        page.push_str("</p>");
        // Only admins are shown its name.
        let file = Escaped(overview.config_file.as_deref().unwrap_or("FILE"));
        match (asked.rule, &asked.curl) {
            _ if overview.admin && overview.config_file.is_none() => page.push_str(
                "<p>The daemon reads no configuration file, so a reload changes nothing. Start it with \
                 <code>vitald run --config FILE</code> to have one.</p>",
            ),
            (Admin::Off, _) if !asked.others_have_admin => page.push_str(
                "<p>No listener of this daemon has admin routes. A SIGHUP makes the daemon read its \
                 configuration again, and its log says what came of it.</p>",
            ),
            (Admin::Local | Admin::Token(_), Some(curl)) => {
                let who = match asked.rule {
                    Admin::Local => " on this host, as root or the daemon's user",
                    _ => "",
                };
                write!(
                    page,
                    "<p>Edit the configuration <code>{file}</code>, then{who}: <code>{}</code>",
                    Escaped(curl)
                )?;
                if *asked.rule == Admin::Local && !asked.is_protected {
                    write!(
                        page,
                        " or <code>vitald reload --config {file}</code>. Add <code>?dry_run=true</code> or \
                         <code>--dry-run</code> to see what would change.</p>"
                    )?
                } else {
                    page.push_str(
                        ". Add <code>?dry_run=true</code> to see what would change.</p>",
                    )
                }
            }
            (rule, _) => {
                if *rule == Admin::Off {
                    page.push_str("<p>This listener has no admin routes, but another one has. ")
                } else {
                    page.push_str("<p>From where you are nobody can administer over this listener. ")
                }
                page.push_str(
                    "After a change of the configuration, on the daemon's host: \
                     <code>vitald reload --config FILE</code>, or for the service: \
                     <code>systemctl reload vitald</code>.</p>",
                )
            }
        }
        page.push_str("</section>\n");
        Ok(())
    }
}

/// So many of something, as it is called when there is one and when there are more.
fn count(number: usize, one: &str, more: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { more })
}

/// Who may read over a listener, in words.
fn readers(listener: &Listener) -> String {
    let is_unix = listener.address.starts_with("unix:");
    let open = match listener.mode.as_deref().and_then(|mode| u32::from_str_radix(mode, 8).ok()) {
        Some(mode) if mode & 0o002 != 0 => "open to every user of this host",
        Some(mode) if mode & 0o020 != 0 => "open to its owner and group",
        Some(_) => "open to its owner alone",
        None => "open to read",
    };
    let asks = [
        (listener.passwords, "passwords"),
        (listener.client_certificates, "client certificates"),
        (listener.token, "token to read"),
    ];
    let asks: Vec<&str> =
        asks.into_iter().filter_map(|(asks, what)| asks.then_some(what)).collect();
    let plain = if listener.tls { "TLS" } else { "plain HTTP" };
    let of_mode = listener.mode.iter().map(|mode| format!("mode {mode}"));
    let carried = Some(plain.to_owned()).filter(|_| listener.tls || !is_unix);
    let who = if asks.is_empty() { open.to_owned() } else { asks.join(", ") };
    carried.into_iter().chain(of_mode).chain([who]).collect::<Vec<_>>().join(", ")
}

fn worst(problems: &[Problem<'_>]) -> &'static str {
    if problems.iter().any(|problem| problem.is_grave) { "bad" } else { "warn" }
}

fn subject<'a>(of: &Of<'a>) -> &'a str {
    match of {
        Of::Collector(name) | Of::Output(name) | Of::Host(name) => name,
        Of::Reload => "the last reload",
        Of::WebConfig => "a web configuration",
    }
}

/// The colour of a state.
fn class(state: &str) -> &'static str {
    match state {
        "running" => "good",
        "degraded" => "warn",
        "failing" | "panicked" | "timed_out" => "bad",
        _ => "calm",
    }
}

fn words(state: &str) -> String {
    state.replace('_', " ")
}

/// Text in several lines.
fn write_lines(page: &mut String, text: &str) -> fmt::Result {
    for (number, line) in text.lines().enumerate() {
        write!(page, "{}{}", if number > 0 { "<br>" } else { "" }, Escaped(line))?;
    }
    Ok(())
}

/// A collector that gives nothing, and why.
fn write_listed(
    page: &mut String,
    collector: &Collector,
    state: &str,
    why: Option<&str>,
) -> fmt::Result {
    let (name, summary) = (Escaped(collector.name), Escaped(collector.summary));
    // To those who may not know more the reason is the state.
    let why = why.filter(|why| *why != state).unwrap_or_default();
    writeln!(
        page,
        "<div id=\"c-{name}\" data-find=\"{name} {state} {summary}\"><dt><a href=\"/plugins/{}\">{name}</a></dt>\
         <dd>{summary}{}{}</dd></div>",
        query::encode(collector.name),
        if why.is_empty() { "" } else { " – " },
        Escaped(why),
    )
}

/// The row below that of a collector: what it gives.
fn write_unfolded(page: &mut String, unfolded: &Unfolded, path: &str, found: &str) -> fmt::Result {
    let name = Escaped(unfolded.name);
    write!(
        page,
        "<tr role=\"row\" id=\"v-{name}\" class=\"unfolded\" data-find=\"{found}\"><td role=\"cell\" colspan=\"5\">\
         <p class=\"more\"><a href=\"/plugins/{path}\">What the daemon knows of {name}</a> \
         <a href=\"/metrics?collect[]={path}\">Metrics of {name}</a></p><div class=\"charts\">"
    )?;
    for charted in &unfolded.charts {
        write_chart(page, charted)?;
    }
    write!(
        page,
        "</div><details id=\"d-{name}\"><summary>{}</summary><div class=\"wide values\" role=\"region\" tabindex=\"0\" \
         aria-label=\"Values of {name}\"><table><thead><tr><th scope=\"col\">Series</th>\
         <th scope=\"col\" class=\"number\">Value</th></tr></thead><tbody>",
        count(unfolded.values.len() + unfolded.more, "value", "values"),
    )?;
    for (series, value) in &unfolded.values {
        write!(
            page,
            "<tr><td><code>{}</code></td><td class=\"number\">{}</td></tr>",
            Escaped(series),
            Escaped(value)
        )?;
    }
    page.push_str("</tbody></table></div>");
    if unfolded.more > 0 {
        write!(
            page,
            "<p>and <a href=\"/metrics?collect[]={path}\">{} more</a></p>",
            unfolded.more
        )?;
    }
    page.push_str("</details></td></tr>\n");
    Ok(())
}

fn write_chart(page: &mut String, charted: &Charted) -> fmt::Result {
    let Charted { chart, drawn, rows } = charted;
    let title = Escaped(chart.title);
    if chart.by.is_empty() {
        write!(page, "<div class=\"whole\"><h3>{title}</h3><dl class=\"pairs\">")?;
        for (at, column) in drawn.columns.iter().enumerate() {
            write!(
                page,
                "<div><dt>{}</dt><dd>{}</dd></div>",
                Escaped(&column.title),
                shown(drawn, at, drawn.rows[0].numbers[at])
            )?;
        }
        page.push_str("</dl></div>");
        return Ok(());
    }
    write!(
        page,
        "<div class=\"wide\" role=\"region\" tabindex=\"0\" aria-label=\"{title}\"><table><caption>{title}"
    )?;
    if drawn.rows.len() < *rows {
        // By what rows are chosen is what the first curve is.
        let most = Escaped(&drawn.columns[0].title);
        write!(
            page,
            ": {} of {rows}, those with the most \u{201c}{most}\u{201d}",
            drawn.rows.len()
        )?;
    }
    page.push_str("</caption>");
    write!(page, "<thead><tr><th scope=\"col\">{}</th>", Escaped(&chart.by.join(", ")))?;
    for column in &drawn.columns {
        write!(page, "<th scope=\"col\" class=\"number\">{}</th>", Escaped(&column.title))?;
    }
    page.push_str("</tr></thead><tbody>");
    for row in &drawn.rows {
        write!(page, "<tr><th scope=\"row\">{}</th>", Escaped(&row.labels.join(", ")))?;
        for (at, number) in row.numbers.iter().enumerate() {
            write!(page, "<td class=\"number\">{}</td>", shown(drawn, at, *number))?;
        }
        page.push_str("</tr>");
    }
    page.push_str("</tbody></table></div>");
    Ok(())
}

/// Which limits are lower than they are configured, and why.
fn write_lowered(page: &mut String, overview: &Overview) -> fmt::Result {
    for scarce in Scarce::ALL {
        let of_it = || overview.lowered_limits.iter().filter(|lowered| lowered.scarce == scarce);
        if of_it().next().is_none() {
            continue;
        }
        page.push_str("<section class=\"card text\"><h2>Limits</h2><p>");
        match (scarce, overview.memory_limit_bytes, overview.open_files_limit) {
            (Scarce::Memory, Some(bytes), _) => {
                write!(page, "A control group limits the daemon's memory to {bytes} bytes")?;
            }
            (Scarce::Files, _, Some(files)) => {
                write!(page, "The daemon may have no more than {files} files open")?;
            }
            _ => {}
        }
        page.push_str(", so these limits are lower:</p><ul>");
        for lowered in of_it() {
            write!(page, "<li>{}</li>", Escaped(&lowered.to_string()))?;
        }
        page.push_str("</ul></section>\n");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonces_differ() {
        assert_ne!(nonce(), nonce());
        assert_eq!(nonce().len(), 32);
    }
}
