//! From the text of a web configuration to what it asks for, with every mistake at its place.
//!
//! The format is that of Prometheus' exporter-toolkit (its `docs/web-configuration.md`). What it takes and
//! cannot be had here is a mistake if the protection would be another one, and a note if it is not.

use super::dates::Dated;
use super::yaml::{self, Key, Node, Place, Value};
use crate::secret::Secret;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use vitald_core::settings::{self, Mistakes, Origin, Setting, nearest};

/// The cost of a hash up to which checking a password takes no longer than some seconds.
pub(super) const HIGHEST_COST: u32 = 16;

/// What a web configuration asks for.
pub(super) struct Written {
    pub(super) tls: Option<TlsWritten>,
    /// Names in lower case, and values.
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) users: BTreeMap<String, Secret>,
    pub(super) rate: Option<Rate>,
}

/// So many requests at once, and one more each interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rate {
    pub(super) interval: Duration,
    pub(super) burst: u32,
}

/// `tls_server_config`.
pub(super) struct TlsWritten {
    pub(super) certificate: Pem,
    pub(super) key: Pem,
    pub(super) client_ca: Option<Pem>,
    pub(super) client_auth: ClientAuth,
    pub(super) allowed_sans: Option<Vec<String>>,
    pub(super) has_tls12: bool,
    pub(super) has_tls13: bool,
    /// Of TLS 1.2; none is all.
    pub(super) suites: Option<Vec<&'static str>>,
    pub(super) suites_place: Place,
    /// None is all.
    pub(super) curves: Option<Vec<&'static str>>,
    pub(super) prefers_own_suites: bool,
}

/// Certificates or a key: where they are, and where that is written.
pub(super) struct Pem {
    pub(super) source: PemSource,
    pub(super) key: &'static str,
    pub(super) place: Place,
}

pub(super) enum PemSource {
    File(PathBuf),
    Inline(Secret),
}

/// What is asked of clients (Go's `tls.ClientAuthType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClientAuth {
    None,
    Request,
    RequireAny,
    VerifyIfGiven,
    RequireAndVerify,
}

const CLIENT_AUTH: &[(&str, ClientAuth)] = &[
    ("NoClientCert", ClientAuth::None),
    ("RequestClientCert", ClientAuth::Request),
    ("RequireAnyClientCert", ClientAuth::RequireAny),
    ("VerifyClientCertIfGiven", ClientAuth::VerifyIfGiven),
    ("RequireAndVerifyClientCert", ClientAuth::RequireAndVerify),
    // An older name of the third.
    ("RequireClientCert", ClientAuth::RequireAny),
];

/// The suites of TLS 1.2 that are here, as Go and the standards call them.
pub(super) const SUITES: &[&str] = &[
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
];
/// Those of TLS 1.3, which are always on, as in Go.
const SUITES_OF_13: &[&str] =
    &["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"];
/// Those that only the toolkit has: CBC.
const SUITES_ELSEWHERE: &[&str] = &[
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
    // Older toolkits had these, too.
    "TLS_RSA_WITH_AES_128_CBC_SHA",
    "TLS_RSA_WITH_AES_256_CBC_SHA",
    "TLS_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_RSA_WITH_AES_256_GCM_SHA384",
];

/// The curves that are here.
pub(super) const CURVES: &[&str] = &["X25519", "CurveP256", "CurveP384"];
const CURVES_ELSEWHERE: &[&str] = &["CurveP521"];

/// The newest one first: of names that are as near to a mistyped one, it is the one to propose.
const VERSIONS: &[(&str, u32)] = &[("TLS13", 13), ("TLS12", 12), ("TLS11", 11), ("TLS10", 10)];

/// The headers that may be set, with the values that they may have; none is any.
const HEADERS: &[(&str, &str, &[&str])] = &[
    ("Content-Security-Policy", "content-security-policy", &[]),
    ("Strict-Transport-Security", "strict-transport-security", &[]),
    ("X-Content-Type-Options", "x-content-type-options", &["nosniff"]),
    ("X-Frame-Options", "x-frame-options", &["deny", "sameorigin"]),
    ("X-XSS-Protection", "x-xss-protection", &[]),
];

/// Where mistakes are written down.
pub(super) struct Notebook {
    pub(super) file: Arc<str>,
    pub(super) mistakes: Mistakes,
    /// What is asked for and is otherwise here, or may not be as it was meant, in sentences.
    pub(super) notes: Vec<String>,
    /// The certificates whose dates count, of which there will be something to say one day.
    pub(super) dates: Vec<Dated>,
}

impl Notebook {
    pub(super) fn new(file: &Path) -> Self {
        let file = Arc::from(&*file.to_string_lossy());
        Notebook { file, mistakes: Mistakes::new(), notes: Vec::new(), dates: Vec::new() }
    }

    pub(super) fn origin(&self, (line, column): Place) -> Origin {
        Origin::File { file: Arc::clone(&self.file), line, column }
    }

    pub(super) fn refuse(&mut self, place: Place, path: &str, message: impl Into<String>) {
        self.mistakes.add(self.origin(place), path, message);
    }

    pub(super) fn note(&mut self, place: Place, path: &str, message: &str) {
        self.notes.push(format!("{}: {path}: {message}", self.origin(place)));
    }
}

/// Decodes a text. Paths in it begin at a directory.
///
/// Nothing comes back where a mistake leaves nothing; others may be in the notebook all the same.
pub(super) fn decode(text: &str, directory: &Path, book: &mut Notebook) -> Option<Written> {
    let whole = match yaml::parse(text) {
        Ok(whole) => whole,
        Err((place, message)) => {
            book.refuse(place, "", message);
            return None;
        }
    };
    let mut whole = match whole {
        Some(value) => Map::of(&value, "", book)?,
        None => Map::default(),
    };
    let tls = whole.map("tls_server_config", book).map(|tls| decode_tls(tls, directory, book));
    let http = whole.map("http_server_config", book);
    let headers = http.map(|http| decode_http(http, book)).unwrap_or_default();
    let users = whole.map("basic_auth_users", book);
    let users = users.map(|users| decode_users(users, book)).unwrap_or_default();
    let rate = whole.map("rate_limit", book).and_then(|rate| decode_rate(rate, book));
    whole.end(book);
    let tls = match tls {
        // A mistake in it is in the notebook.
        Some(tls) => tls,
        None => TlsAsked::Off,
    };
    let tls = match tls {
        TlsAsked::On(tls) => Some(*tls),
        TlsAsked::Off => None,
        TlsAsked::Wrong => return None,
    };
    Some(Written { tls, headers, users, rate })
}

enum TlsAsked {
    On(Box<TlsWritten>),
    Off,
    Wrong,
}

/// The words of a map that name texts in PEM: the key of a file, and that of the text itself.
const PEMS: [(&str, &str); 3] =
    [("cert_file", "cert"), ("key_file", "key"), ("client_ca_file", "client_ca")];

fn decode_tls(mut map: Map, directory: &Path, book: &mut Notebook) -> TlsAsked {
    let place = map.place;
    let [certificate, key, client_ca] =
        PEMS.map(|keys| decode_pem(&mut map, keys, directory, book));
    let auth = map.text("client_auth_type", book).filter(|(word, _)| !word.is_empty());
    let client_auth = match &auth {
        None => Some(ClientAuth::None),
        Some((word, place)) => decode_client_auth(word, *place, &map, book),
    };
    let sans_place = map.place_of("client_allowed_sans");
    let allowed_sans = map.texts("client_allowed_sans", book);
    let versions = decode_versions(&mut map, book);
    let suites_place = map.place_of("cipher_suites").unwrap_or(place);
    let suites = map.texts("cipher_suites", book).filter(|suites| !suites.is_empty());
    let suites = suites.map(|suites| decode_suites(&suites, versions.unwrap_or((12, 13)), book));
    let curves = map.texts("curve_preferences", book).filter(|curves| !curves.is_empty());
    let curves = curves.map(|curves| decode_curves(&curves, book));
    let prefers_own_suites = map.boolean("prefer_server_cipher_suites", book).unwrap_or(true);
    let asks_for_more = !map.is_read_by_none();
    let wrong = map.end(book);

    if certificate.is_none() && key.is_none() && client_ca.is_none() && auth.is_none() {
        if asks_for_more {
            let message = "TLS stays off, and what is set here does nothing: cert_file and key_file are not set; set \
                           both, or remove tls_server_config";
            book.note(place, "tls_server_config", message);
        }
        return TlsAsked::Off;
    }
    // What is there and mistyped is one mistake, and not missing besides.
    let is_tried = |keys: &[&str]| keys.iter().any(|key| wrong.contains(key));
    let mut lacks = |what: &Option<Pem>, keys: [&str; 2], message: &str| {
        if what.is_none() && !is_tried(&keys) {
            book.refuse(place, &in_tls(keys[0]), message);
        }
    };
    let message = "missing: TLS needs a certificate; set cert_file, or cert";
    lacks(&certificate, ["cert_file", "cert"], message);
    let message = "missing: TLS needs the key of its certificate; set key_file, or key";
    lacks(&key, ["key_file", "key"], message);
    let may_ask_otherwise = is_tried(&["client_auth_type"]);
    if let (Some(ClientAuth::None), Some(ca), false) = (client_auth, &client_ca, may_ask_otherwise)
    {
        let message = "it says whom to trust, but no client is asked for a certificate; set client_auth_type: \
                       RequireAndVerifyClientCert";
        book.refuse(ca.place, &in_tls(ca.key), message);
    }
    if let (
        Some(ClientAuth::VerifyIfGiven | ClientAuth::RequireAndVerify),
        None,
        Some((_, place)),
        false,
    ) = (client_auth, &client_ca, &auth, is_tried(&["client_ca_file", "client_ca"]))
    {
        let message = "it needs client_ca_file; without it whatever this system trusts would be let in, which \
                       vitald does not do";
        book.refuse(*place, &in_tls("client_auth_type"), message);
    }
    let must_show =
        matches!(client_auth, Some(ClientAuth::RequireAny | ClientAuth::RequireAndVerify));
    let may_ask = must_show || client_auth.is_none() || may_ask_otherwise;
    if let (Some(place), false) = (sans_place, may_ask) {
        let message = "names are compared only where every client must show a certificate; set \
                       client_auth_type: RequireAndVerifyClientCert";
        book.refuse(place, &in_tls("client_allowed_sans"), message);
    }
    let (Some(certificate), Some(key), Some(client_auth), Some((least, most))) =
        (certificate, key, client_auth, versions)
    else {
        return TlsAsked::Wrong;
    };
    TlsAsked::On(Box::new(TlsWritten {
        certificate,
        key,
        client_ca,
        client_auth,
        allowed_sans: allowed_sans.map(|sans| sans.into_iter().map(|(san, _)| san).collect()),
        // Without a suite nothing is left of TLS 1.2.
        has_tls12: least <= 12 && suites.as_ref().is_none_or(|suites| !suites.is_empty()),
        has_tls13: most >= 13,
        suites,
        suites_place,
        curves,
        prefers_own_suites,
    }))
}

fn in_tls(key: &str) -> String {
    format!("tls_server_config.{key}")
}

/// A file, or a text in place of it.
fn decode_pem(
    map: &mut Map,
    (file_key, text_key): (&'static str, &'static str),
    directory: &Path,
    book: &mut Notebook,
) -> Option<Pem> {
    let file = map.text(file_key, book).filter(|(path, _)| !path.is_empty());
    let text = map.text(text_key, book).filter(|(text, _)| !text.is_empty());
    match (file, text) {
        (Some((path, place)), text) => {
            if let Some((_, place)) = text {
                let message =
                    format!("it is not used, because {file_key} is set; remove one of them");
                book.note(place, &in_tls(text_key), &message);
            }
            Some(Pem { source: PemSource::File(directory.join(path)), key: file_key, place })
        }
        (None, Some((text, place))) => {
            Some(Pem { source: PemSource::Inline(Secret::new(text)), key: text_key, place })
        }
        (None, None) => None,
    }
}

fn decode_client_auth(
    word: &str,
    place: Place,
    map: &Map,
    book: &mut Notebook,
) -> Option<ClientAuth> {
    let found = CLIENT_AUTH.iter().find(|(name, _)| *name == word);
    if found.is_none() {
        let known: Vec<&str> = CLIENT_AUTH[..5].iter().map(|(name, _)| *name).collect();
        book.refuse(place, &map.path_of("client_auth_type"), no_such(word, &known));
    }
    found.map(|(_, auth)| *auth)
}

/// The least and the most recent version, as far as they are here.
fn decode_versions(map: &mut Map, book: &mut Notebook) -> Option<(u32, u32)> {
    let mut version = |key: &'static str, default: u32| {
        let Some((word, place)) = map.text(key, book).filter(|(word, _)| !word.is_empty()) else {
            return Some((default, map.place));
        };
        match VERSIONS.iter().find(|(name, _)| *name == word) {
            Some((_, version)) => Some((*version, place)),
            None => {
                let known: Vec<&str> = VERSIONS.iter().map(|(name, _)| *name).collect();
                book.refuse(place, &in_tls(key), no_such(&word, &known));
                None
            }
        }
    };
    let (least, most) = (version("min_version", 12), version("max_version", 13));
    let ((least, least_place), (most, most_place)) = (least?, most?);
    if most < 12 {
        let message = "vitald speaks no TLS below 1.2, which is broken; set TLS12 or TLS13";
        book.refuse(most_place, &in_tls("max_version"), message);
        return None;
    }
    if least > most {
        let message = "it is above max_version, so no client could connect";
        book.refuse(least_place, &in_tls("min_version"), message);
        return None;
    }
    if least < 12 {
        let message = "vitald speaks no TLS below 1.2: clients need TLS 1.2 at least; write TLS12";
        book.note(least_place, &in_tls("min_version"), message);
    }
    Some((least, most))
}

/// The suites of TLS 1.2 that are here, for the least and the most recent version.
fn decode_suites(
    written: &[(String, Place)],
    (least, most): (u32, u32),
    book: &mut Notebook,
) -> Vec<&'static str> {
    let path = in_tls("cipher_suites");
    let (mut suites, mut lacking) = (Vec::new(), Vec::new());
    let mut is_wrong = false;
    for (word, place) in written {
        if let Some(suite) = SUITES.iter().find(|suite| *suite == word) {
            suites.push(*suite);
        } else if SUITES_OF_13.contains(&&**word) {
            // As in Go they are on in any case.
        } else if SUITES_ELSEWHERE.contains(&&**word) {
            lacking.push((&**word, *place));
        } else {
            is_wrong = true;
            book.refuse(*place, &path, no_such(word, SUITES));
        }
    }
    note_lacking(&lacking, SUITES, &path, book);
    if !suites.is_empty() || is_wrong {
        return suites;
    }
    let place = written.first().map_or((1, 1), |(_, place)| *place);
    if most < 13 {
        let message = "vitald has none of these for TLS 1.2, so no client could connect; add \
                       TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 or TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, as the key of the \
                       certificate is, or take max_version away";
        book.refuse(place, &path, message);
    } else if least <= 12 {
        let message = "none of these is left for TLS 1.2, so clients need TLS 1.3";
        book.note(place, &path, message);
    }
    suites
}

fn decode_curves(written: &[(String, Place)], book: &mut Notebook) -> Vec<&'static str> {
    let path = in_tls("curve_preferences");
    let (mut curves, mut lacking) = (Vec::new(), Vec::new());
    let mut is_wrong = false;
    for (word, place) in written {
        if let Some(curve) = CURVES.iter().find(|curve| *curve == word) {
            curves.push(*curve);
        } else if CURVES_ELSEWHERE.contains(&&**word) {
            lacking.push((&**word, *place));
        } else {
            is_wrong = true;
            book.refuse(*place, &path, no_such(word, CURVES));
        }
    }
    note_lacking(&lacking, CURVES, &path, book);
    if curves.is_empty() && !is_wrong {
        let place = written.first().map_or((1, 1), |(_, place)| *place);
        let message = format!(
            "vitald has none of these, so no client could connect; there are: {}",
            CURVES.join(", ")
        );
        book.refuse(place, &path, message);
    }
    curves
}

/// Notes what only the toolkit has, and what there is here.
fn note_lacking(lacking: &[(&str, Place)], known: &[&str], path: &str, book: &mut Notebook) {
    let Some((_, first)) = lacking.first() else { return };
    let names: Vec<&str> = lacking.iter().map(|(name, _)| *name).collect();
    let are = if names.len() == 1 { "it is" } else { "they are" };
    let message = format!(
        "vitald lacks {}, so {are} left out; there are: {}",
        names.join(", "),
        known.join(", ")
    );
    book.note(*first, path, &message);
}

fn decode_http(mut map: Map, book: &mut Notebook) -> Vec<(&'static str, String)> {
    let http2 = map.place_of("http2");
    if let (Some(true), Some(place)) = (map.boolean("http2", book), http2) {
        let message = "vitald speaks HTTP/1.1 only, which every client of HTTP/2 speaks, too";
        book.note(place, "http_server_config.http2", message);
    }
    let mut headers = Vec::new();
    if let Some(mut written) = map.map("headers", book) {
        for (name, lower, allowed) in HEADERS {
            let Some((value, place)) = written.text(name, book) else { continue };
            let path = written.path_of(name);
            if !allowed.is_empty() && !allowed.contains(&&*value) {
                let message = format!("expected {}", allowed.join(" or "));
                book.refuse(place, &path, message);
            } else if value.bytes().any(|byte| byte.is_ascii_control()) {
                book.refuse(place, &path, "a header is one line of text");
            } else if !value.is_empty() {
                headers.push((*lower, value));
            }
        }
        written.end(book);
    }
    map.end(book);
    headers
}

fn decode_users(map: Map, book: &mut Notebook) -> BTreeMap<String, Secret> {
    let mut users = BTreeMap::new();
    for (key, value) in map.entries {
        let path = format!("basic_auth_users.{}", key.name);
        let Some(hash) = text_of(&value, &path, book) else { continue };
        if key.name.contains(':') {
            let message = "a name with a colon cannot be sent; choose another one";
            book.refuse(key.place, &path, message);
        }
        match hash.parse::<bcrypt::HashParts>() {
            Ok(parts) if !(4..=31).contains(&parts.get_cost()) => {
                book.refuse(
                    value.place,
                    &path,
                    "the cost of a hash is from 4 to 31; make it anew: htpasswd -nBC 10 NAME",
                );
            }
            Ok(parts) if parts.get_cost() > HIGHEST_COST => {
                let message = format!(
                    "each check of a password of cost {} would take a minute or hours; make the hash anew with \
                     a cost of at most {HIGHEST_COST}: htpasswd -nBC 10 NAME",
                    parts.get_cost()
                );
                book.refuse(value.place, &path, message);
            }
            Ok(_) => {
                users.insert(key.name, Secret::new(hash));
            }
            Err(_) => {
                let message = "this is no bcrypt hash of 60 characters, such as $2y$10$...; make one: htpasswd -nBC \
                               10 NAME";
                book.refuse(value.place, &path, message);
            }
        }
    }
    users
}

fn decode_rate(mut map: Map, book: &mut Notebook) -> Option<Rate> {
    let interval = map.text("interval", book);
    let burst = map.text("burst", book);
    let paths = (map.path_of("interval"), map.path_of("burst"));
    let place = map.place;
    let wrong = map.end(book);
    let interval = match interval {
        None => Duration::ZERO,
        Some((text, place)) => match duration(&text) {
            Ok(interval) => interval,
            Err(message) => {
                book.refuse(place, &paths.0, message);
                return None;
            }
        },
    };
    let (burst, burst_place) = match burst {
        None => (0, place),
        Some((text, place)) => match text.parse::<u32>() {
            Ok(burst) => (burst, place),
            Err(_) => {
                book.refuse(place, &paths.1, "expected a whole number");
                return None;
            }
        },
    };
    if interval.is_zero() || wrong.contains(&"burst") {
        return None;
    }
    if burst == 0 {
        let message = "with a burst of 0 every request would be refused; write 1 or more";
        book.refuse(burst_place, &paths.1, message);
        return None;
    }
    Some(Rate { interval, burst })
}

/// A duration of Go's; a number without a unit is nanoseconds.
fn duration(text: &str) -> Result<Duration, String> {
    if let Ok(nanoseconds) = text.parse::<u64>() {
        return Ok(Duration::from_nanos(nanoseconds));
    }
    Duration::decode(&settings::Value::new(text, Origin::Default))
}

fn no_such(word: &str, known: &[&str]) -> String {
    match nearest(word, known.iter().copied()) {
        Some(meant) => format!("no such value: {word}; did you mean {meant}?"),
        None => format!("no such value: {word}; there are: {}", known.join(", ")),
    }
}

/// A map that is being decoded: what is left in the end is unknown.
#[derive(Default)]
struct Map {
    path: String,
    place: Place,
    entries: Vec<(Key, Value)>,
    known: Vec<&'static str>,
    /// Those that are there with something else than what they take.
    wrong: Vec<&'static str>,
    /// How many keys there were.
    written: usize,
}

impl Map {
    fn of(value: &Value, path: &str, book: &mut Notebook) -> Option<Map> {
        let place = value.place;
        let mut map = Map { path: path.to_owned(), place, ..Map::default() };
        let Node::Map(entries) = &value.node else {
            if !value.is_null() {
                let message = format!("expected a map of keys and values, found {}", value.noun());
                book.refuse(place, path, message);
                return None;
            }
            return Some(map);
        };
        for (key, value) in entries {
            if map.entries.iter().any(|(earlier, _)| earlier.name == key.name) {
                book.refuse(key.place, &map.path_of(&key.name), "it is set twice; remove one");
            } else {
                map.entries.push((key.clone(), value.clone()));
            }
        }
        map.written = map.entries.len();
        Some(map)
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    fn place_of(&self, key: &str) -> Option<Place> {
        self.entries.iter().find(|(known, _)| known.name == key).map(|(_, value)| value.place)
    }

    fn is_read_by_none(&self) -> bool {
        self.written == 0
    }

    /// Takes a value out; nothing if it is not there or is nothing.
    fn take(&mut self, key: &'static str) -> Option<Value> {
        self.known.push(key);
        let position = self.entries.iter().position(|(known, _)| known.name == key)?;
        Some(self.entries.remove(position).1).filter(|value| !value.is_null())
    }

    fn map(&mut self, key: &'static str, book: &mut Notebook) -> Option<Map> {
        let value = self.take(key)?;
        Map::of(&value, &self.path_of(key), book)
    }

    fn text(&mut self, key: &'static str, book: &mut Notebook) -> Option<(String, Place)> {
        let value = self.take(key)?;
        let text = text_of(&value, &self.path_of(key), book);
        if text.is_none() {
            self.wrong.push(key);
        }
        Some((text?, value.place))
    }

    fn texts(&mut self, key: &'static str, book: &mut Notebook) -> Option<Vec<(String, Place)>> {
        let value = self.take(key)?;
        let path = self.path_of(key);
        let Node::List(items) = &value.node else {
            let message =
                format!("expected a list, found {}; begin each item with -", value.noun());
            book.refuse(value.place, &path, message);
            return None;
        };
        let texts = items.iter().filter_map(|item| Some((text_of(item, &path, book)?, item.place)));
        Some(texts.collect())
    }

    fn boolean(&mut self, key: &'static str, book: &mut Notebook) -> Option<bool> {
        let value = self.take(key)?;
        let word = match &value.node {
            Node::Scalar { text, is_plain: true } => &**text,
            _ => "",
        };
        // The words of YAML 1.1, which the toolkit's parser takes.
        match word.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "y" => Some(true),
            "false" | "no" | "off" | "n" => Some(false),
            _ => {
                book.refuse(
                    value.place,
                    &self.path_of(key),
                    "expected true or false, without quotes",
                );
                None
            }
        }
    }

    /// Refuses what nothing has taken out. Answers which keys have been written, but not so that they can be
    /// taken: by another name, or with something that they do not take.
    fn end(mut self, book: &mut Notebook) -> Vec<&'static str> {
        for (key, _) in &self.entries {
            let mut message = "no such key".to_owned();
            match nearest(&key.name, self.known.iter().copied()) {
                Some(meant) => {
                    message += &format!("; did you mean {meant}?");
                    self.wrong.push(meant);
                }
                None => message += &format!("; there are: {}", self.known.join(", ")),
            }
            book.refuse(key.place, &self.path_of(&key.name), message);
        }
        self.wrong
    }
}

fn text_of(value: &Value, path: &str, book: &mut Notebook) -> Option<String> {
    match &value.node {
        _ if value.is_null() => Some(String::new()),
        Node::Scalar { text, .. } => Some(text.clone()),
        _ => {
            book.refuse(value.place, path, format!("expected a text, found {}", value.noun()));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Option<Written>, Notebook) {
        let mut book = Notebook::new(Path::new("web.yml"));
        let written = decode(text, Path::new("/etc/web"), &mut book);
        (written, book)
    }

    fn mistakes(text: &str) -> Vec<String> {
        let mistakes = read(text).1.mistakes.into_sorted();
        mistakes.iter().map(ToString::to_string).collect()
    }

    const HASH: &str = "$2y$10$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG";

    #[test]
    fn everything_may_be_written() {
        let (written, book) = read(&format!(
            "tls_server_config:
  cert_file: server.crt
  key_file: /keys/server.key
  client_ca_file: ca.crt
  client_auth_type: RequireAndVerifyClientCert
  client_allowed_sans: [a.example, 10.0.0.1]
  min_version: TLS12
  max_version: TLS13
  cipher_suites:
    - TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
    - TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA
  curve_preferences: [CurveP256, CurveP521]
  prefer_server_cipher_suites: no
http_server_config:
  http2: true
  headers:
    X-Frame-Options: deny
    Strict-Transport-Security: max-age=31536000
basic_auth_users:
  alice: {HASH}
rate_limit:
  interval: 1m30s
  burst: 20
"
        ));
        let wrong = book.mistakes.into_sorted();
        assert!(wrong.is_empty(), "{wrong:?}");
        let written = written.expect("it is right");
        let tls = written.tls.expect("TLS");
        let PemSource::File(path) = &tls.certificate.source else { panic!("a file") };
        assert_eq!(path, Path::new("/etc/web/server.crt"));
        let PemSource::File(path) = &tls.key.source else { panic!("a file") };
        assert_eq!(path, Path::new("/keys/server.key"));
        assert_eq!(
            (tls.client_auth, tls.has_tls12, tls.has_tls13),
            (ClientAuth::RequireAndVerify, true, true)
        );
        assert_eq!(tls.suites.as_deref(), Some(&["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"][..]));
        assert_eq!(tls.curves.as_deref(), Some(&["CurveP256"][..]));
        assert!(!tls.prefers_own_suites);
        assert_eq!(written.headers.len(), 2);
        assert!(written.users.contains_key("alice"));
        assert_eq!(written.rate, Some(Rate { interval: Duration::from_secs(90), burst: 20 }));
        // What is otherwise here is in the notes.
        assert_eq!(book.notes.len(), 3, "{:?}", book.notes);
        assert!(book.notes.iter().any(|note| {
            note.starts_with("web.yml:11:7: tls_server_config.cipher_suites: vitald lacks")
        }));
    }

    #[test]
    fn nothing_asks_for_nothing() {
        for text in [
            "",
            "# nothing\n",
            "---\n",
            "{}",
            "tls_server_config:\nbasic_auth_users: {}\n",
            "tls_server_config: {}\n",
        ] {
            let (written, book) = read(text);
            assert!(book.mistakes.is_empty(), "{text}");
            let written = written.expect("it is right");
            assert!(
                written.tls.is_none() && written.users.is_empty() && book.notes.is_empty(),
                "{text}"
            );
        }
        let (written, book) = read("tls_server_config: {min_version: TLS13}");
        assert!(written.is_some_and(|written| written.tls.is_none()) && book.mistakes.is_empty());
        let note =
            "web.yml:1:20: tls_server_config: TLS stays off, and what is set here does nothing: ";
        assert!(book.notes[0].starts_with(note), "{:?}", book.notes);
    }

    #[test]
    fn without_a_suite_of_tls_12_clients_need_a_newer_one() {
        let notes = |more: &str| {
            let text = format!("tls_server_config: {{cert_file: a, key_file: b, {more}}}");
            let (written, book) = read(&text);
            assert!(written.is_some() && book.mistakes.is_empty(), "{text}");
            book.notes
        };
        let cbc = "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA";
        for (more, expected) in [
            (
                format!("cipher_suites: [{cbc}, TLS_RSA_WITH_AES_128_CBC_SHA]"),
                &[
                    "vitald lacks TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA, TLS_RSA_",
                    "clients need TLS 1.3",
                ][..],
            ),
            ("cipher_suites: [TLS_AES_128_GCM_SHA256]".to_owned(), &["clients need TLS 1.3"]),
            (format!("min_version: TLS13, cipher_suites: [{cbc}]"), &["vitald lacks"]),
            ("cipher_suites: []".to_owned(), &[]),
        ] {
            let said = notes(&more);
            assert_eq!(said.len(), expected.len(), "{more}: {said:?}");
            for (said, expected) in said.iter().zip(expected) {
                assert!(said.contains(expected), "{more}: {said}");
            }
        }
    }

    #[test]
    fn every_mistake_is_at_its_place() {
        let said = mistakes(
            "tls_server_config:
  cert_fil: x
  key_file: [a]
  client_auth_type: RequireAndVerifyClientCerts
  min_version: TLS14
  cipher_suites: TLS_X
  prefer_server_cipher_suites: maybe
http_server_config:
  headers:
    X-Frame-Options: never
    Server: x
basic_auth_users:
  bob: hunter2
  eve: $2y$20$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG
rate_limit: {interval: 1 s, burst: many}
basic_auth_user: {}
",
        );
        let expected = [
            "web.yml:2:3: tls_server_config.cert_fil: no such key; did you mean cert_file?",
            "web.yml:3:13: tls_server_config.key_file: expected a text, found a list",
            "web.yml:4:21: tls_server_config.client_auth_type: no such value: RequireAndVerifyClientCerts; did you mean RequireAndVerifyClientCert?",
            "web.yml:5:16: tls_server_config.min_version: no such value: TLS14; did you mean TLS13?",
            "web.yml:6:18: tls_server_config.cipher_suites: expected a list, found a single value; begin each item with -",
            "web.yml:7:32: tls_server_config.prefer_server_cipher_suites: expected true or false, without quotes",
            "web.yml:10:22: http_server_config.headers.X-Frame-Options: expected deny or sameorigin",
            "web.yml:11:5: http_server_config.headers.Server: no such key; there are: Content-Security-Policy, Strict-Transport-Security, X-Content-Type-Options, X-Frame-Options, X-XSS-Protection",
        ];
        for expected in expected {
            assert!(said.iter().any(|said| said == expected), "{expected}\n{said:#?}");
        }
        let has = |start: &str| {
            assert!(said.iter().any(|said| said.starts_with(start)), "{start}\n{said:#?}")
        };
        assert!(!said.iter().any(|said| said.contains("missing")), "{said:#?}");
        has("web.yml:13:8: basic_auth_users.bob: this is no bcrypt hash");
        has("web.yml:14:8: basic_auth_users.eve: each check of a password of cost 20");
        has("web.yml:15:24: rate_limit.interval: expected a duration");
        has("web.yml:16:1: basic_auth_user: no such key; did you mean basic_auth_users?");
        // No secret is repeated.
        assert!(
            !said.iter().any(|said| said.contains("hunter2") || said.contains("X0h1gDs")),
            "{said:#?}"
        );
    }

    #[test]
    fn a_mistyped_key_is_one_mistake() {
        let tls = "cert_file: a, key_file: b";
        for (text, expected) in [
            ("tls_server_config: {cert_fil: a, key_file: b}", "did you mean cert_file?"),
            ("tls_server_config: {cert_file: a, key_fil: b}", "did you mean key_file?"),
            ("tls_server_config: {cert_file: a, key_file: [b]}", "expected a text"),
            (
                &format!("tls_server_config: {{{tls}, client_ca_file: c, client_auth_typ: x}}"),
                "did you mean client_auth_type?",
            ),
            (
                &format!(
                    "tls_server_config: {{{tls}, client_ca_fil: c, client_allowed_sans: [d], \
                     client_auth_type: RequireAndVerifyClientCert}}"
                ),
                "did you mean client_ca_file?",
            ),
            ("rate_limit: {interval: 1s, burts: 3}", "did you mean burst?"),
        ] {
            let said = mistakes(text);
            assert!(said.len() == 1 && said[0].contains(expected), "{text}: {said:?}");
        }
    }

    #[test]
    fn what_cannot_be_had_is_refused_where_it_protects() {
        let tls = "cert_file: a, key_file: b";
        for (more, expected) in [
            ("max_version: TLS11", "vitald speaks no TLS below 1.2"),
            ("min_version: TLS13, max_version: TLS12", "above max_version"),
            (
                "max_version: TLS12, cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA]",
                "none of these for TLS 1.2",
            ),
            ("curve_preferences: [CurveP521]", "none of these"),
            ("client_ca_file: c", "no client is asked"),
            ("client_auth_type: RequireAndVerifyClientCert", "needs client_ca_file"),
            (
                "client_auth_type: RequestClientCert, client_allowed_sans: [a]",
                "names are compared only",
            ),
            ("cert_file: c", "set twice"),
        ] {
            let said = mistakes(&format!("tls_server_config: {{{tls}, {more}}}"));
            assert!(said.len() == 1 && said[0].contains(expected), "{more}: {said:?}");
        }
        for (text, expected) in [
            ("cert_file: a", "key_file: missing"),
            ("key_file: a", "cert_file: missing"),
            ("client_auth_type: NoClientCert", "missing"),
        ] {
            let said = mistakes(&format!("tls_server_config: {{{text}}}"));
            assert!(said.iter().any(|said| said.contains(expected)), "{text}: {said:?}");
        }
        assert!(
            mistakes("rate_limit: {interval: 1s}")[0].contains("every request would be refused")
        );
        let (written, _) = read("rate_limit: {interval: 0, burst: 0}");
        assert_eq!(written.expect("it is right").rate, None);
    }
}
