//! A client that scrapes again and again on one connection, as Prometheus does.

use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// The form of a page without compression.
pub const PLAIN_TEXT: &str = "Accept: text/plain;version=0.0.4\r\n";

pub struct Client {
    /// Lines of the request's head that say which form of a page is wanted.
    pub accepts: &'static str,
    /// What the last answer is, as its head says.
    pub content_type: String,
    stream: BufReader<TcpStream>,
    request: String,
    line: String,
    body: Vec<u8>,
}

impl Client {
    pub fn connect(address: SocketAddr) -> Client {
        Client::try_connect(address).expect("it listens")
    }

    /// The same, for when it may not listen yet.
    pub fn try_connect(address: SocketAddr) -> io::Result<Client> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        Ok(Client {
            accepts: PLAIN_TEXT,
            content_type: String::new(),
            stream: BufReader::new(stream),
            request: String::new(),
            line: String::new(),
            body: Vec::new(),
        })
    }

    /// The page of one scrape.
    pub fn page(&mut self) -> String {
        self.get("/metrics")
    }

    /// The body of an answer.
    pub fn get(&mut self, path: &str) -> String {
        self.try_get(path).expect("an answer");
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The same, left in the buffer.
    pub fn try_get(&mut self, path: &str) -> io::Result<&[u8]> {
        self.request.clear();
        // Formatting into a string does not fail.
        let _ = write!(
            self.request,
            "GET {path} HTTP/1.1\r\nHost: localhost\r\n{}\
             X-Prometheus-Scrape-Timeout-Seconds: 10\r\n\r\n",
            self.accepts
        );
        self.stream.get_mut().write_all(self.request.as_bytes())?;
        let (mut length, mut is_chunked) = (None, false);
        let status = self.line()?.to_owned();
        if !status.starts_with("HTTP/1.1 200 ") {
            return Err(io::Error::other(status));
        }
        self.content_type.clear();
        loop {
            let line = self.line()?.to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.parse::<usize>().ok();
            }
            if let Some(value) = line.strip_prefix("content-type: ") {
                value.clone_into(&mut self.content_type);
            }
            is_chunked |= line == "transfer-encoding: chunked";
        }
        self.body.clear();
        if is_chunked {
            loop {
                let size = usize::from_str_radix(self.line()?, 16).map_err(io::Error::other)?;
                self.take(size)?;
                self.line()?;
                if size == 0 {
                    break;
                }
            }
        } else {
            self.take(length.ok_or_else(|| io::Error::other("no length"))?)?;
        }
        Ok(&self.body)
    }

    fn take(&mut self, size: usize) -> io::Result<()> {
        let start = self.body.len();
        self.body.resize(start + size, 0);
        self.stream.read_exact(&mut self.body[start..])
    }

    fn line(&mut self) -> io::Result<&str> {
        self.line.clear();
        if self.stream.read_line(&mut self.line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(self.line.trim_end())
    }
}
