//! A program whose metrics are asked for again and again, as Prometheus does.

use super::connection::{Connection, Deadline};
use super::places::resolve;
use crate::compare::{LARGEST_PAGE, Page};
use crate::config::parse_address;
use crate::plan::Address;
use bytes::Bytes;
use hyper::{Request, Response, StatusCode, header};
use libdeflater::{DecompressionError, Decompressor};
use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

/// Where a program gives its metrics.
pub(super) struct Target {
    address: Address,
    path: String,
}

impl Target {
    /// Takes `http://HOST:PORT/PATH`, `HOST:PORT/PATH` or `unix:/PATH/OF/SOCKET`; the path is `/metrics`
    /// unless it is said.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub(super) fn parse(url: &str) -> Result<Self, String> {
        if url.starts_with("unix:") {
            return Ok(Target { address: parse_address(url)?, path: "/metrics".to_owned() });
        }
        let (authority, is_url) = match url.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (rest, true),
            Some((scheme, _)) if scheme.eq_ignore_ascii_case("https") => {
                return Err("TLS is not spoken here; give an address of plain HTTP".to_owned());
            }
            _ => (url, false),
        };
        let start = authority.find(['/', '?']).unwrap_or(authority.len());
        let (authority, path) = authority.split_at(start);
        let path = match path {
            "" | "/" => "/metrics".to_owned(),
            query if query.starts_with('?') => format!("/metrics{query}"),
            path => path.to_owned(),
        };
        if authority.contains('@') {
            return Err("a user name is not taken here".to_owned());
        }
        let has_port =
            authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let authority = match (has_port, is_url) {
            (false, false) => {
                return Err("expected a URL, such as http://localhost:9100/metrics, or unix:/PATH"
                    .to_owned());
            }
            (false, true) => Cow::from(format!("{authority}:80")),
            (true, _) => Cow::from(authority),
        };
        let address = parse_address(&authority).or_else(|_| resolve(&authority))?;
        Ok(Target { address, path })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.address {
            Address::Unix(_) | Address::Systemd => write!(f, "{}", self.address),
            Address::Tcp { .. } => write!(f, "http://{}{}", self.address, self.path),
        }
    }
}

/// Asks one program for its pages, over one connection as long as it lasts.
pub(super) struct Scraper {
    pub(super) target: Target,
    timeout: Duration,
    kept: Option<Connection>,
    decompressor: Decompressor,
}

impl Scraper {
    pub(super) fn new(target: Target, timeout: Duration) -> Self {
        Scraper { target, timeout, kept: None, decompressor: Decompressor::new() }
    }

    /// The page as it is now.
    ///
    /// # Errors
    ///
    /// Why there is none, in words that name the program.
    pub(super) fn page(&mut self) -> Result<Page, String> {
        let deadline = Deadline::after(self.timeout);
        let response = match self.ask(deadline) {
            Ok(response) => response,
            Err(error) => return Err(format!("no answer from {}: {error}", self.target)),
        };
        let is_wrong = |what: String| format!("{} {what}", self.target);
        let status = response.status();
        if status != StatusCode::OK {
            let body = String::from_utf8_lossy(response.body());
            let said: String = body.lines().next().unwrap_or_default().chars().take(200).collect();
            let colon = if said.is_empty() { "" } else { ": " };
            return Err(is_wrong(format!("answers {status}{colon}{said}")));
        }
        let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
        // Some programs do not say what they give.
        let content_type = header(header::CONTENT_TYPE).unwrap_or("text/plain");
        if !content_type.starts_with("text/plain") {
            return Err(is_wrong(format!(
                "gives {content_type:?}, which is not the text format of Prometheus"
            )));
        }
        let text = match header(header::CONTENT_ENCODING) {
            None | Some("identity") => Cow::from(&response.body()[..]),
            Some("gzip") => inflate(&mut self.decompressor, response.body())
                .map_err(|error| format!("{} gives a page that {error}", self.target))?
                .into(),
            Some(other) => return Err(is_wrong(format!("gives the unknown encoding {other:?}"))),
        };
        let page = Page::parse(&text).map_err(|error| {
            is_wrong(format!("gives a page that is not in the text format: {error}"))
        })?;
        if page.is_empty() {
            return Err(is_wrong("gives a page without samples".to_owned()));
        }
        Ok(page)
    }

    fn ask(&mut self, deadline: Deadline) -> Result<Response<Bytes>, String> {
        if let Some(mut kept) = self.kept.take() {
            // The program may have closed it since.
            if let Ok(response) = self.send(&mut kept, deadline) {
                self.kept = Some(kept);
                return Ok(response);
            }
        }
        let mut fresh = Connection::open_by(&self.target.address, None, deadline)?;
        let response = self.send(&mut fresh, deadline)?;
        self.kept = Some(fresh);
        Ok(response)
    }

    fn send(
        &self,
        connection: &mut Connection,
        deadline: Deadline,
    ) -> Result<Response<Bytes>, String> {
        let request = Request::get(&self.target.path)
            .header(header::ACCEPT, "text/plain;version=0.0.4;q=1,*/*;q=0.1")
            .header(header::USER_AGENT, concat!("vitald/", env!("CARGO_PKG_VERSION")))
            .header("X-Prometheus-Scrape-Timeout-Seconds", self.timeout.as_secs_f64().to_string());
        connection.send(request, LARGEST_PAGE, deadline)
    }
}

/// The text of a page that was compressed although that was not asked for.
fn inflate(decompressor: &mut Decompressor, packed: &[u8]) -> Result<Vec<u8>, String> {
    // The last bytes of gzip are the length of what was packed (RFC 1952, ISIZE), unless it was cut.
    let said = packed.last_chunk().map_or(0, |length| u32::from_le_bytes(*length) as usize);
    let mut text = vec![0; said.min(LARGEST_PAGE)];
    let length = match decompressor.gzip_decompress(packed, &mut text) {
        Err(DecompressionError::InsufficientSpace) if said > LARGEST_PAGE => {
            return Err(format!("is longer than {} MiB once it is unpacked", LARGEST_PAGE >> 20));
        }
        length => length.map_err(|_| "is not gzip as it says, or is cut short")?,
    };
    text.truncate(length);
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_has_a_port_and_a_path_also_where_they_are_not_said() {
        for (url, target) in [
            ("127.0.0.1:9100", "http://127.0.0.1:9100/metrics"),
            ("127.0.0.1:9100/", "http://127.0.0.1:9100/metrics"),
            ("127.0.0.1:9100/a?b=c://d", "http://127.0.0.1:9100/a?b=c://d"),
            ("127.0.0.1:9100?b", "http://127.0.0.1:9100/metrics?b"),
            ("http://127.0.0.1", "http://127.0.0.1:80/metrics"),
            ("HTTP://[::1]:1/x", "http://[::1]:1/x"),
            ("unix:/a", "unix:/a"),
        ] {
            let parsed = Target::parse(url).map(|target| target.to_string());
            assert_eq!(parsed.as_deref(), Ok(target), "{url}");
        }
        for (url, reason) in [
            ("https://127.0.0.1:1", "TLS is not spoken"),
            ("HTTPS://127.0.0.1:1", "TLS is not spoken"),
            ("127.0.0.1", "expected a URL"),
            ("ftp://127.0.0.1:1", "expected a URL"),
            ("http://a@127.0.0.1:1", "a user name is not taken"),
        ] {
            let refused = Target::parse(url).err().unwrap_or_default();
            assert!(refused.starts_with(reason), "{url}: {refused}");
        }
    }
}
