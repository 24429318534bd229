//! What clients say, and the text of a web configuration.

use crate::Target;
use crate::collectors::registered;
use std::sync::LazyLock;
use vitald::fuzzing::{HttpSide, Who, decode_text};
use vitald_core::testing::MemoryHost;

/// The most mistakes that are reported, and one more line for the rest.
const MOST_MISTAKES: usize = 101;

pub fn targets() -> Vec<Target> {
    vec![
        Target::new(
            "http",
            &[
                "\x00GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept: application/openmetrics-text\r\nAccept-Encoding: gzip\r\n\r\n",
                "\x01HEAD /metrics?collect[]=loadavg&exclude[]=x HTTP/1.1\r\nHost: a\r\nX-Prometheus-Scrape-Timeout-Seconds: 0.1\r\n\r\n",
                "\x02PUT /plugins/reload?dry_run=true HTTP/1.1\r\nHost: localhost:9100\r\nIf-Match: \"a\"\r\nContent-Length: 3\r\n\r\nabc",
                "\x03POST /plugins/reload HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: http://127.0.0.1\r\nSec-Fetch-Site: none\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n",
                "\x10GET / HTTP/1.0\r\nAccept: text/html\r\n\r\nGET /healthz HTTP/1.1\r\n",
                "\x41GET http://[::1]:9100/plugins/load%61vg HTTP/1.1\nHost: [::1]\nAuthorization: Bearer abc\n\nGET /readyz HTTP/1.1\nHost: x\nConnection: close\n\n",
                "\u{8}GET //metrics/../metrics?a=b HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n",
                "\u{c}OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            ],
            http,
        ),
        Target::new(
            "web_config",
            &[
                "tls_server_config:\n  cert_file: server.crt\n  key_file: /k\n  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.crt\n  min_version: TLS12\n  cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]\n  curve_preferences:\n    - X25519\n  client_allowed_sans: ['a']\n",
                "tls_server_config: {cert: \"-----BEGIN CERTIFICATE-----\\nMIIBAA==\\n-----END CERTIFICATE-----\", key: |\n  -----BEGIN PRIVATE KEY-----\n  MAA=\n  -----END PRIVATE KEY-----\n}\n",
                "http_server_config:\n  http2: false\n  headers:\n    X-Frame-Options: deny\n    Strict-Transport-Security: max-age=1\n",
                "basic_auth_users:\n  alice: $2y$04$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG\nrate_limit: {interval: 1s, burst: 5}\n",
                "a: &a [x, *b]\n? b\n: - !!str 'c'\n--- \n",
            ],
            web_config,
        ),
    ]
}

/// The daemon's own pages, and those of the drop-in.
static SIDES: LazyLock<[HttpSide; 2]> = LazyLock::new(|| {
    [None, Some("/metrics")].map(|telemetry_path| {
        let memory = MemoryHost::new();
        memory.write("proc/loadavg", "0.21 0.37 0.39 1/719 19737\n");
        let loadavg: Vec<_> = registered().into_iter().filter(|it| it.name == "loadavg").collect();
        let plan = vitald::config::load_text("fuzz", "", &[], &loadavg, &[]).expect("defaults");
        HttpSide::new(plan, &memory.host(), telemetry_path)
    })
});

/// A byte for who asks which side, and how long the first pieces are; then what is said. It is said a second time
/// in one piece, and must be answered alike.
fn http(bytes: &[u8]) {
    let Some((first, said)) = bytes.split_first() else { return };
    let who = [Who::OwnUser, Who::OtherUser, Who::Loopback, Who::Remote][usize::from(first & 3)];
    let side = &SIDES[usize::from(first >> 2 & 1)];
    let before = side.reloads();
    let length = usize::from(first >> 3) + 1;
    let (pieces, rest) = said.split_at(said.len().min(3 * length));
    let answered = statuses(&side.say(who, pieces.chunks(length).chain([rest])));
    let whole = statuses(&side.say(who, std::iter::once(said)));
    assert!(
        answered == whole
            || without_refusal(&whole) == answered
            || without_refusal(&answered) == whole,
        "it matters in which pieces a request comes: {answered:?} and {whole:?}"
    );
    assert!(who == Who::OwnUser || side.reloads() == before, "{who:?} has reloaded");
    let is_wrong = |status: &u16| !(100..600).contains(status) || [500, 502].contains(status);
    assert!(!answered.iter().any(is_wrong), "{answered:?}");
}

/// A head without an end is refused for what is wrong in it if it comes in one piece. One that comes in several is
/// looked at only when it is whole. So one of the two may have a 400 more at its end; a 400 that both have is an answer.
fn without_refusal(answered: &[u16]) -> &[u16] {
    answered.strip_suffix(&[400]).unwrap_or(answered)
}

/// The status of each answer; all that was said must be answers.
fn statuses(mut said: &[u8]) -> Vec<u16> {
    let mut statuses = Vec::new();
    while !said.is_empty() {
        let end = said.windows(4).position(|four| four == b"\r\n\r\n");
        let end = end.unwrap_or_else(|| panic!("half an answer: {}", said.escape_ascii()));
        let head = std::str::from_utf8(&said[..end]).expect("a head is text");
        let mut lines = head.split("\r\n");
        let line = lines.next().unwrap_or_default();
        let status = line.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)?.parse().ok());
        statuses.push(status.unwrap_or_else(|| panic!("no status: {line:?}")));
        let mut length = 0;
        for line in lines {
            let (name, value) = line.split_once(": ").unwrap_or_else(|| panic!("{line:?}"));
            if name.eq_ignore_ascii_case("content-length") {
                length = value.parse().expect("a length");
            }
        }
        let rest = &said[end + 4..];
        // The answer to HEAD has the length of a body that is not there.
        let has_body = !rest.starts_with(b"HTTP/1.");
        said = if has_body { &rest[rest.len().min(length)..] } else { rest };
    }
    statuses
}

fn web_config(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let Err(mistakes) = decode_text(&text) else { return };
    assert!(mistakes.len() <= MOST_MISTAKES, "{} mistakes", mistakes.len());
    for mistake in mistakes {
        let said = mistake.to_string();
        assert!(said.len() < 8192, "a mistake of {} bytes", said.len());
        // The last one may be of those that are left out.
        let is_of_a_place = said.starts_with("web.yml") || said.starts_with("there ");
        assert!(is_of_a_place, "a mistake without a place: {said}");
    }
}
