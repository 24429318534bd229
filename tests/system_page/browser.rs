//! A headless Chromium, driven over WebDriver: HTTP and JSON to Debian's chromedriver.

use crate::harness::until;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// What it is started with: nothing that asks anyone else for anything.
const ARGUMENTS: [&str; 9] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
];

/// How WebDriver names an element.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// The keys that have no letter.
pub mod key {
    pub const ENTER: &str = "\u{e007}";
    pub const SPACE: &str = "\u{e00d}";
    pub const ESCAPE: &str = "\u{e00c}";
}

/// A browser with one window; it ends with the value.
pub struct Browser {
    driver: Child,
    port: u16,
    session: String,
    _profile: tempfile::TempDir,
}

impl Browser {
    pub fn start() -> Browser {
        let mut driver = Command::new("chromedriver")
            .args(["--port=0", "--log-level=SEVERE"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver (chromium-driver) is installed");
        let mut lines = BufReader::new(driver.stdout.take().expect("a pipe")).lines();
        let told = |line: &String| line.contains("started successfully");
        let line = lines.by_ref().map_while(Result::ok).find(told).expect("a line with the port");
        let digits = |word: &str| word.trim_end_matches('.').parse().ok();
        let port = line.split(' ').find_map(digits).expect("a port");
        // What else it says must find a reader.
        std::thread::spawn(move || lines.for_each(drop));
        let profile = tempfile::tempdir().expect("a directory");
        let mut arguments = ARGUMENTS.map(str::to_owned).to_vec();
        arguments.push(format!("--user-data-dir={}", profile.path().display()));
        let mut browser = Browser { driver, port, session: String::new(), _profile: profile };
        let capabilities = json!({ "capabilities": { "alwaysMatch": {
            "goog:chromeOptions": { "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" },
        } } });
        let session = browser.ask("POST", "/session", &capabilities);
        browser.session = session["sessionId"].as_str().expect("a session").to_owned();
        browser
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        self.try_ask(method, path, body).unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    fn try_ask(&self, method: &str, path: &str, body: &Value) -> Result<Value, String> {
        let exchange = || -> std::io::Result<Vec<u8>> {
            let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
            stream.set_read_timeout(Some(Duration::from_secs(60)))?;
            let body = if method == "POST" { body.to_string() } else { String::new() };
            let length = body.len();
            write!(
                stream,
                "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n\
                 Connection: close\r\nContent-Length: {length}\r\n\r\n{body}"
            )?;
            // It leaves the connection open.
            let mut reader = BufReader::new(stream);
            let mut length = 0;
            loop {
                let mut line = String::new();
                reader.read_line(&mut line)?;
                let line = line.trim_end().to_ascii_lowercase();
                if line.is_empty() {
                    break;
                }
                let told = line.strip_prefix("content-length:");
                length = told.and_then(|told| told.trim().parse().ok()).unwrap_or(length);
            }
            let mut answer = vec![0; length];
            reader.read_exact(&mut answer)?;
            Ok(answer)
        };
        let answer = exchange().map_err(|error| error.to_string())?;
        let mut answer: Value =
            serde_json::from_slice(&answer).map_err(|error| error.to_string())?;
        let value = answer["value"].take();
        match value.get("error") {
            Some(error) => Err(format!("{error}: {}", value["message"])),
            None => Ok(value),
        }
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        self.ask("POST", &format!("/session/{}/{path}", self.session), body)
    }

    /// Opens a page and waits until it is loaded.
    pub fn open(&self, url: &str) {
        self.post("url", &json!({ "url": url }));
    }

    /// What a script returns.
    pub fn run(&self, script: &str) -> Value {
        self.post("execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// Types into an element, which gets the focus.
    pub fn type_into(&self, selector: &str, text: &str) {
        let found = self.post("element", &json!({ "using": "css selector", "value": selector }));
        let id = found[ELEMENT].as_str().expect("an element");
        self.post(&format!("element/{id}/value"), &json!({ "text": text }));
    }

    pub fn click(&self, selector: &str) {
        let found = self.post("element", &json!({ "using": "css selector", "value": selector }));
        let id = found[ELEMENT].as_str().expect("an element");
        self.post(&format!("element/{id}/click"), &json!({}));
    }

    /// The text that is shown of the first element that matches; empty without one.
    pub fn text(&self, selector: &str) -> String {
        let script = format!("return document.querySelector({})?.innerText ?? ''", json!(selector));
        self.run(&script).as_str().expect("a text").to_owned()
    }

    /// How many elements match and are shown.
    pub fn count(&self, selector: &str) -> u64 {
        let script = format!(
            "return [...document.querySelectorAll({})].filter(e => e.checkVisibility()).length",
            json!(selector)
        );
        self.run(&script).as_u64().expect("a number")
    }

    /// Waits until an element shows a text.
    pub fn wait_for(&self, selector: &str, text: &str) {
        until(&format!("{selector} shows {text:?}"), || self.text(selector).contains(text));
    }

    /// A command of the DevTools protocol.
    fn tell(&self, command: &str, params: &Value) {
        self.post("goog/cdp/execute", &json!({ "cmd": command, "params": params }));
    }

    pub fn size(&self, width: u32, height: u32) {
        self.tell(
            "Emulation.setDeviceMetricsOverride",
            &json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false }),
        );
    }

    /// `light` or `dark`.
    pub fn prefers(&self, scheme: &str) {
        self.tell(
            "Emulation.setEmulatedMedia",
            &json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] }),
        );
    }

    /// Keeps a picture of what is shown where the caller of the tests wants to look at it.
    pub fn picture(&self, name: &str) {
        let Some(folder) = std::env::var_os("VITALD_PICTURES") else { return };
        let path = format!("/session/{}/screenshot", self.session);
        let picture = self.ask("GET", &path, &Value::Null);
        let decoded = base64(picture.as_str().expect("a picture"));
        std::fs::write(Path::new(&folder).join(format!("{name}.png")), decoded).expect("a file");
    }

    /// What it has logged since the last time: `browser`, the console of pages, or `performance`.
    pub fn logged(&self, kind: &str) -> Vec<String> {
        let log = self.post("se/log", &json!({ "type": kind }));
        let lines = log.as_array().expect("a list").iter();
        lines.map(|line| line["message"].as_str().expect("a message").to_owned()).collect()
    }

    /// Where all its requests went since the last time.
    pub fn requests(&self) -> Vec<String> {
        let events = self.logged("performance").into_iter();
        let events = events.map(|event| serde_json::from_str::<Value>(&event).expect("JSON"));
        events
            .filter(|event| event["message"]["method"] == "Network.requestWillBeSent")
            .filter_map(|event| {
                Some(event["message"]["params"]["request"]["url"].as_str()?.to_owned())
            })
            .collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The browser ends with its session, and the driver by itself.
        let _ = self.try_ask("DELETE", &format!("/session/{}", self.session), &Value::Null);
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

fn base64(text: &str) -> Vec<u8> {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let sextets = text.bytes().filter_map(|byte| LETTERS.iter().position(|known| *known == byte));
    let (mut bytes, mut bits, mut kept) = (Vec::new(), 0_u32, 0_u32);
    for sextet in sextets {
        bits = bits << 6 | sextet as u32;
        kept += 6;
        if kept >= 8 {
            kept -= 8;
            bytes.push((bits >> kept) as u8);
            bits &= (1 << kept) - 1;
        }
    }
    bytes
}
