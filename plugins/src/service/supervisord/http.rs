//! As much of HTTP as one call of XML-RPC takes: a URL, a request, an answer (RFC 9112).
//!
//! The request is one of HTTP/1.0, so that the answer comes in one piece, and the server closes the
//! connection behind it.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use vitald_core::prelude::Malformed;

/// An answer has some five fields.
const MOST_FIELDS: usize = 64;

/// Where a server answers, and what it is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Url {
    pub(super) server: Server,
    /// As it is in the URL.
    authority: String,
    path: String,
    /// User and password.
    credentials: Option<Vec<u8>>,
}

/// Who is asked.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Server {
    /// A name or an address, and a port.
    Tcp(String, u16),
    /// The path of a socket.
    Unix(String),
}

impl Url {
    /// Takes a URL of HTTP, or of a unix socket: that one is asked for `/RPC2`.
    pub(super) fn parse(url: &str) -> Result<Url, &'static str> {
        const EXPECTED: &str = "expected http://HOST:PORT/RPC2 or unix:///PATH/OF/SOCKET";
        if url.bytes().any(|byte| byte.is_ascii_control() || byte == b' ') {
            return Err("a URL has no blanks in it");
        }
        let (scheme, rest) = url.split_once(':').ok_or(EXPECTED)?;
        let rest = rest.split('#').next().unwrap_or_default();
        match scheme.to_ascii_lowercase().as_str() {
            "unix" => {
                let path = rest.strip_prefix("//").unwrap_or(rest);
                let path = path.split('?').next().unwrap_or_default();
                if !path.starts_with('/') {
                    return Err("the path of a socket begins with a slash: unix:///PATH/OF/SOCKET");
                }
                let path = String::from_utf8(unescape(path).ok_or(EXPECTED)?);
                Ok(Url {
                    server: Server::Unix(path.map_err(|_| EXPECTED)?),
                    authority: "unix".to_owned(),
                    path: "/RPC2".to_owned(),
                    credentials: None,
                })
            }
            "http" => Self::of_http(rest.strip_prefix("//").ok_or(EXPECTED)?).ok_or(EXPECTED),
            "https" => {
                Err("vitald speaks no TLS to supervisord: name its port for HTTP, or its socket")
            }
            _ => Err(EXPECTED),
        }
    }

    fn of_http(rest: &str) -> Option<Url> {
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let (credentials, authority) = match authority.rsplit_once('@') {
            Some((credentials, authority)) => (Some(credentials), authority),
            None => (None, authority),
        };
        let credentials = match credentials {
            Some(text) => {
                let (user, password) = text.split_once(':').unwrap_or((text, ""));
                Some([unescape(user)?, unescape(password)?].join(&b':'))
            }
            None => None,
        };
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => {
                let (host, after) = rest.split_once(']')?;
                (host, if after.is_empty() { None } else { Some(after.strip_prefix(':')?) })
            }
            None => match authority.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (authority, None),
            },
        };
        let port = match port {
            None | Some("") => 80,
            Some(port) => port.parse().ok()?,
        };
        let slash = if path.starts_with('/') { "" } else { "/" };
        (!host.is_empty()).then(|| Url {
            server: Server::Tcp(host.to_owned(), port),
            authority: authority.to_owned(),
            path: format!("{slash}{path}"),
            credentials,
        })
    }

    /// The request that posts a document of XML.
    pub(super) fn request(&self, body: &str) -> Vec<u8> {
        let Url { authority, path, .. } = self;
        let authorization = match &self.credentials {
            Some(credentials) => {
                format!("Authorization: Basic {}\r\n", BASE64_STANDARD.encode(credentials))
            }
            None => String::new(),
        };
        format!(
            "POST {path} HTTP/1.0\r\nHost: {authority}\r\n{authorization}Content-Type: text/xml\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .into_bytes()
    }
}

/// Replaces `%3A` and its like.
fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16);
        let (high, low) = (digit()?, digit()?);
        bytes.push(u8::try_from(high * 16 + low).ok()?);
    }
    Some(bytes)
}

/// An answer that is whole and says yes.
#[derive(Debug)]
pub(super) struct Answer<'a> {
    pub(super) body: &'a [u8],
}

impl<'a> Answer<'a> {
    /// Whether all has come that the answer says of itself; one that says nothing ends with the
    /// connection.
    pub(super) fn is_whole(answer: &[u8]) -> bool {
        match head(answer) {
            Ok(Some(Head { body, length: Some(length), .. })) => answer.len() - body >= length,
            Ok(_) => false,
            // What is no answer does not become one.
            Err(_) => true,
        }
    }

    /// Takes the body out of an answer.
    pub(super) fn parse(answer: &'a [u8]) -> Result<Answer<'a>, Malformed> {
        let cut = Malformed::new(answer.len(), "the rest of an answer of HTTP");
        let Head { body, length, status } = head(answer)?.ok_or(cut)?;
        match status {
            200..=299 => {}
            401 | 403 => {
                return Err(Malformed::new(0, "an answer, but the server wants a password"));
            }
            _ => return Err(Malformed::new(0, "an answer of HTTP that says yes")),
        }
        let body = &answer[body..];
        match length {
            Some(length) => Ok(Answer { body: body.get(..length).ok_or(cut)? }),
            None => Ok(Answer { body }),
        }
    }
}

struct Head {
    /// Where the body begins.
    body: usize,
    length: Option<usize>,
    status: u16,
}

/// Takes the head of an answer, if it is there.
fn head(answer: &[u8]) -> Result<Option<Head>, Malformed> {
    let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
    let mut response = httparse::Response::new(&mut fields);
    let not_http = Malformed::new(0, "an answer of HTTP");
    let body = match response.parse(answer) {
        Ok(httparse::Status::Complete(body)) => body,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(not_http),
    };
    let mut length = None;
    for field in response.headers.iter() {
        if field.name.eq_ignore_ascii_case("transfer-encoding") {
            return Err(Malformed::new(0, "an answer of HTTP in one piece"));
        }
        if field.name.eq_ignore_ascii_case("content-length") {
            let number = str::from_utf8(field.value).ok().and_then(|text| text.trim().parse().ok());
            length = Some(number.ok_or(not_http)?);
        }
    }
    Ok(Some(Head { body, length, status: response.code.ok_or(not_http)? }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitald_core::testing::rejects;

    fn tcp(url: &str) -> (String, u16, String) {
        let url = Url::parse(url).unwrap();
        match url.server {
            Server::Tcp(host, port) => (host, port, url.path),
            Server::Unix(path) => panic!("{path}"),
        }
    }

    #[test]
    fn urls() {
        let is = |host: &str, port, path: &str| (host.to_owned(), port, path.to_owned());
        assert_eq!(tcp("http://localhost:9001/RPC2"), is("localhost", 9001, "/RPC2"));
        assert_eq!(tcp("HTTP://web.example"), is("web.example", 80, "/"));
        assert_eq!(tcp("http://[::1]:9001/RPC2#x"), is("::1", 9001, "/RPC2"));
        assert_eq!(tcp("http://[::1]/a/b?c=d"), is("::1", 80, "/a/b?c=d"));
        assert_eq!(tcp("http://a:?b"), is("a", 80, "/?b"));
        for url in ["unix:///run/a%20b.sock", "unix:/run/a%20b.sock?x"] {
            let url = Url::parse(url).unwrap();
            assert_eq!(url.server, Server::Unix("/run/a b.sock".to_owned()));
            assert_eq!((url.authority.as_str(), url.path.as_str()), ("unix", "/RPC2"));
        }
        for wrong in [
            "",
            "localhost",
            "localhost:9001",
            "/run/socket",
            "http:/a",
            "http://",
            "http://:9001/",
            "http://a:65536/",
            "http://a:x/",
            "http://[::1",
            "http://[::1]9001",
            "http://a b/",
            "http://a/\r\nX: y",
            "http://%zz@a/",
            "https://a/",
            "ftp://a/",
            "unix://run/socket",
            "unix:///%ff",
        ] {
            assert!(Url::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_request_says_who_asks() {
        let text = |url| String::from_utf8(Url::parse(url).unwrap().request("<a/>")).unwrap();
        assert_eq!(
            text("http://h:1/RPC2"),
            "POST /RPC2 HTTP/1.0\r\nHost: h:1\r\nContent-Type: text/xml\r\n\
             Content-Length: 4\r\n\r\n<a/>"
        );
        // user:p:w@
        assert_eq!(
            text("http://user:p%3Aw%40@h:1/RPC2"),
            "POST /RPC2 HTTP/1.0\r\nHost: h:1\r\nAuthorization: Basic dXNlcjpwOndA\r\n\
             Content-Type: text/xml\r\nContent-Length: 4\r\n\r\n<a/>"
        );
        assert!(text("unix:///s").starts_with("POST /RPC2 HTTP/1.0\r\nHost: unix\r\n"));
    }

    #[test]
    fn an_answer_is_whole_when_it_says_so() {
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nbody";
        for end in 0..answer.len() {
            assert!(!Answer::is_whole(&answer[..end]), "{end}");
            assert!(Answer::parse(&answer[..end]).is_err(), "{end}");
        }
        assert!(Answer::is_whole(answer));
        assert_eq!(Answer::parse(answer).unwrap().body, b"body");
        let longer = [answer, &b"and more"[..]].concat();
        assert!(Answer::is_whole(&longer));
        assert_eq!(Answer::parse(&longer).unwrap().body, b"body");
        let until_the_end = b"HTTP/1.0 200 OK\r\n\r\nbody";
        assert!(!Answer::is_whole(until_the_end));
        assert_eq!(Answer::parse(until_the_end).unwrap().body, b"body");
        assert!(Answer::is_whole(b"SSH-2.0-x\r\n"));
    }

    #[test]
    fn refuses_what_is_no_answer() {
        rejects(
            Answer::parse,
            &[
                "",
                "SSH-2.0-x\r\n",
                "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n",
                "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n",
                "HTTP/1.1 301 Moved\r\nLocation: /\r\n\r\n",
                "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
                "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            ],
        );
    }
}
