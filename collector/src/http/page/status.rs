//! `/`: a page for people. It needs nothing but itself, and is whole without its script.

use super::plugins::{Collector, Overview};
use crate::http::net::Scarce;
use crate::http::query;
use crate::http::reply::response;
use crate::http::request::Request;
use crate::http::site::Site;
use crate::plan::Admin;
use bytes::Bytes;
use std::fmt::{self, Display, Write as _};
use std::hash::{BuildHasher, RandomState};
use warp::http::{HeaderValue, StatusCode, header};
use warp::reply::Response;

const STYLE: &str = include_str!("status.css");
const SCRIPT: &str = include_str!("status.js");

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

/// The status page.
pub(in crate::http) async fn page(site: &Site, request: &Request) -> Response {
    let overview = Overview::of(site, site.admission.is_admin(request).await);
    let host = request.header(header::HOST).unwrap_or("localhost:9100");
    let mut page = String::with_capacity(16 << 10);
    let nonce = nonce();
    let serve = &request.rules.serve;
    let applied = site.served.applied();
    let mut rules = applied.plan.server.listen.iter().map(|listen| &listen.serve.admin);
    let others_have_admin = rules.any(|rule| *rule != Admin::Off);
    // Writing into a String cannot fail.
    let _ = write_page(&mut page, &overview, host, &serve.admin, others_have_admin, &nonce);
    let policy = format!(
        "default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; \
         connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    with_policy(page.into(), &policy)
}

/// A number that cannot be guessed: what the standard library's hash function, whose key is random,
/// makes of nothing, twice.
fn nonce() -> String {
    let random = || RandomState::new().hash_one(0_u8);
    format!("{:016x}{:016x}", random(), random())
}

fn write_page(
    page: &mut String,
    overview: &Overview,
    host: &str,
    rule: &Admin,
    others_have_admin: bool,
    nonce: &str,
) -> fmt::Result {
    let name = Escaped(&overview.hostname);
    let on: Vec<&Collector> =
        overview.collectors.iter().filter(|collector| collector.enabled).collect();
    write!(
        page,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{name} – vitald</title>\n<style nonce=\"{nonce}\">\n{STYLE}</style>\n</head>\n<body>\n\
         <header><h1>{name} <small>vitald {}</small></h1>\n\
         <nav><a href=\"/metrics\">Metrics</a> <a href=\"/plugins\">Plugins</a> \
         <a href=\"/healthz\">Health</a> <a href=\"/readyz\">Readiness</a></nav></header>\n",
        Escaped(overview.version),
    )?;
    write_facts(page, overview, &on)?;
    write_lowered(page, overview)?;
    write_collectors(page, &on)?;
    write_off(page, overview)?;
    write_outputs(page, overview)?;
    write_reload(page, overview, host, rule, others_have_admin)?;
    write!(
        page,
        "<footer><span id=\"live\">The figures are those of when the page was loaded.</span></footer>\n\
         <script nonce=\"{nonce}\">\n{SCRIPT}</script>\n</body>\n</html>\n"
    )
}

fn write_facts(page: &mut String, overview: &Overview, on: &[&Collector]) -> fmt::Result {
    let samples: usize = on.iter().map(|collector| collector.samples).sum();
    write!(
        page,
        "<dl class=\"facts\">\n\
         <div><dt>Collectors on</dt><dd>{} of {}</dd></div>\n\
         <div><dt>Samples</dt><dd id=\"samples\">{samples}</dd></div>\n\
         <div><dt>Up for</dt><dd id=\"uptime\">{}</dd></div>\n\
         <div><dt>Configurations applied</dt><dd id=\"generation\">{}</dd></div>\n\
         <div><dt>Configuration</dt><dd id=\"hash\" class=\"mono\">{}</dd></div>\n</dl>\n",
        on.len(),
        overview.collectors.len(),
        Seconds(Some(overview.uptime_seconds)),
        overview.generation,
        Escaped(&overview.hash),
    )
}

/// Which limits are lower than they are configured, and why.
fn write_lowered(page: &mut String, overview: &Overview) -> fmt::Result {
    for scarce in Scarce::ALL {
        let of_it = || overview.lowered_limits.iter().filter(|lowered| lowered.scarce == scarce);
        if of_it().next().is_none() {
            continue;
        }
        page.push_str("<div class=\"card text\"><p>");
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
        page.push_str("</ul></div>\n");
    }
    Ok(())
}

fn write_collectors(page: &mut String, on: &[&Collector]) -> fmt::Result {
    page.push_str("<h2>Collectors</h2>\n<div class=\"card\">");
    if on.is_empty() {
        page.push_str("<div class=\"text\"><p>None is switched on.</p></div></div>\n");
        return Ok(());
    }
    page.push_str(
        "<table>\n<thead><tr><th>Name</th><th>State</th><th class=\"number\">Last run</th>\
         <th class=\"number\">Samples</th><th class=\"number\">Age</th></tr></thead>\n<tbody>\n",
    );
    let longest = on
        .iter()
        .filter_map(|collector| collector.duration_seconds)
        .fold(f64::MIN_POSITIVE, f64::max);
    for collector in on {
        let shortfall = collector.fault.as_deref().or(collector.degraded);
        let state = match shortfall {
            Some(_) if collector.state == "running" => "degraded",
            _ => collector.state,
        };
        let note = collector.error.as_deref().or(shortfall).unwrap_or_default();
        let name = Escaped(collector.name);
        let path = query::encode(collector.name);
        writeln!(
            page,
            "<tr data-name=\"{name}\"><th scope=\"row\"><a href=\"/metrics?collect[]={path}\">{name}</a>\
             <small>{}</small><span class=\"note\">{}</span></th>\
             <td class=\"state\"><a href=\"/plugins/{path}\" class=\"badge {state}\">{}</a></td>\
             <td class=\"number\"><span class=\"duration\">{}</span>\
             <svg class=\"bar\" viewBox=\"0 0 100 3\" preserveAspectRatio=\"none\" aria-hidden=\"true\">\
             <rect width=\"{:.1}\" height=\"3\"/></svg></td>\
             <td class=\"number samples\" data-label=\"samples\">{}</td>\
             <td class=\"number age\" data-label=\"age\">{}</td></tr>",
            Escaped(collector.summary),
            Escaped(note),
            state.replace('_', " "),
            Seconds(collector.duration_seconds),
            100.0 * collector.duration_seconds.unwrap_or_default() / longest,
            collector.samples,
            Seconds(collector.age_seconds),
        )?;
    }
    page.push_str("</tbody>\n</table></div>\n");
    Ok(())
}

fn write_off(page: &mut String, overview: &Overview) -> fmt::Result {
    let off: Vec<&Collector> =
        overview.collectors.iter().filter(|collector| !collector.enabled).collect();
    if off.is_empty() {
        return Ok(());
    }
    write!(
        page,
        "<h2>Switched off</h2>\n<details class=\"card\"><summary>{} more in this binary</summary>\n\
         <dl class=\"off\">\n",
        off.len()
    )?;
    for collector in off {
        writeln!(
            page,
            "<div><dt><a href=\"/plugins/{}\">{}</a></dt><dd>{}</dd></div>",
            query::encode(collector.name),
            Escaped(collector.name),
            Escaped(collector.summary),
        )?;
    }
    page.push_str("</dl></details>\n");
    Ok(())
}

fn write_outputs(page: &mut String, overview: &Overview) -> fmt::Result {
    let mut on = overview.outputs.iter().filter(|output| output.enabled).peekable();
    if on.peek().is_none() {
        return Ok(());
    }
    page.push_str("<h2>Outputs</h2>\n<div class=\"card\"><dl class=\"off text\">\n");
    for output in on {
        let name = Escaped(&output.name);
        writeln!(
            page,
            "<div><dt><a href=\"/plugins/{}\">{name}</a></dt><dd>every {}, {} sent, {} failed{}{}</dd></div>",
            query::encode(&output.name),
            Seconds(Some(output.interval_seconds)),
            output.sent.unwrap_or_default(),
            output.failed.unwrap_or_default(),
            if output.error.is_some() { ": " } else { "" },
            Escaped(output.error.as_deref().unwrap_or_default()),
        )?;
    }
    page.push_str("</dl></div>\n");
    Ok(())
}

fn write_reload(
    page: &mut String,
    overview: &Overview,
    host: &str,
    rule: &Admin,
    others_have_admin: bool,
) -> fmt::Result {
    let host = Escaped(host);
    // Only admins are shown its name.
    let file = Escaped(overview.config_file.as_deref().unwrap_or("FILE"));
    page.push_str("<h2>Reload</h2>\n<div class=\"card text\">");
    match rule {
        _ if overview.admin && overview.config_file.is_none() => page.push_str(
            "<p>The daemon reads no configuration file, so a reload changes nothing. Start it with \
             <code>vitald run --config FILE</code> to have one.</p>",
        ),
        Admin::Off if others_have_admin => page.push_str(
            "<p>This listener has no admin routes, but another one has. After a change of the \
             configuration, on the daemon's host: <code>vitald reload --config FILE</code>, or for the \
             service: <code>systemctl reload vitald</code>.</p>",
        ),
        Admin::Off => page.push_str(
            "<p>No listener of this daemon has admin routes. A SIGHUP makes the daemon read its \
             configuration again, and its log says what came of it.</p>",
        ),
        Admin::Local => write!(
            page,
            "<p>Edit the configuration <code>{file}</code>, then on this host: \
             <code>curl -X PUT http://{host}/plugins/reload</code> or \
             <code>vitald reload --config {file}</code>.</p>\
             <p>Add <code>?dry_run=true</code> or <code>--dry-run</code> to see what would change.</p>"
        )?,
        Admin::Token(_) => write!(
            page,
            "<p>Edit the configuration <code>{file}</code>, then: \
             <code>curl -X PUT -H \"Authorization: Bearer $TOKEN\" http://{host}/plugins/reload</code>.</p>\
             <p>Add <code>?dry_run=true</code> to see what would change.</p>"
        )?,
    }
    page.push_str("</div>\n");
    Ok(())
}

/// Text that cannot become markup, in an element or in a quoted attribute.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        while let Some(at) = rest.find(['<', '>', '&', '"', '\'']) {
            f.write_str(&rest[..at])?;
            f.write_str(match rest.as_bytes()[at] {
                b'<' => "&lt;",
                b'>' => "&gt;",
                b'&' => "&amp;",
                b'"' => "&quot;",
                _ => "&#39;",
            })?;
            rest = &rest[at + 1..];
        }
        f.write_str(rest)
    }
}

/// A time as people read it; the script has the same rule.
struct Seconds(Option<f64>);

impl Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("–"),
            Some(value) if value < 0.001 => write!(f, "{:.0} µs", value * 1e6),
            Some(value) if value < 0.01 => write!(f, "{} ms", (value * 1e5).round() / 100.0),
            Some(value) if value < 0.1 => write!(f, "{} ms", (value * 1e4).round() / 10.0),
            Some(value) if value < 1.0 => write!(f, "{:.0} ms", value * 1e3),
            Some(value) if value < 10.0 => write!(f, "{} s", (value * 10.0).round() / 10.0),
            Some(value) if value < 120.0 => write!(f, "{value:.0} s"),
            Some(value) if value < 7_200.0 => write!(f, "{:.0} min", value / 60.0),
            Some(value) if value < 172_800.0 => write!(f, "{:.0} h", value / 3_600.0),
            Some(value) => write!(f, "{:.0} days", value / 86_400.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_become_markup() {
        assert_eq!(
            Escaped("<a b=\"c\" d='e'>&ü").to_string(),
            "&lt;a b=&quot;c&quot; d=&#39;e&#39;&gt;&amp;ü"
        );
    }

    #[test]
    fn times_read_well() {
        for (seconds, expected) in [
            (0.000_123_4, "123 µs"),
            (0.001_234, "1.23 ms"),
            (0.012_34, "12.3 ms"),
            (0.123_4, "123 ms"),
            (5.0, "5 s"),
            (5.25, "5.3 s"),
            (90.0, "90 s"),
            (600.0, "10 min"),
            (7_200.0, "2 h"),
            (864_000.0, "10 days"),
        ] {
            assert_eq!(Seconds(Some(seconds)).to_string(), expected);
        }
        assert_eq!(Seconds(None).to_string(), "–");
    }

    #[test]
    fn nonces_differ() {
        assert_ne!(nonce(), nonce());
        assert_eq!(nonce().len(), 32);
    }
}
