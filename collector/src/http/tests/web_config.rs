//! Listeners with web configurations, and clients that really shake hands.

use super::super::net;
use super::super::reply::plain;
use super::super::request::Request;
use super::*;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, SanType,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    ClientConfig, HandshakeKind, ProtocolVersion, RootCertStore, SupportedProtocolVersion, version,
};
use std::path::PathBuf;
use tempfile::TempDir;
use tokio::sync::Notify;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A password hashed with the least cost: `right`.
fn hash() -> String {
    bcrypt::hash("right", 4).expect("a hash")
}

/// `alice:right` and `alice:wrong`, as they are sent.
const RIGHT: &str = "Authorization: Basic YWxpY2U6cmlnaHQ=\r\n";
const WRONG: &str = "Authorization: Basic YWxpY2U6d3Jvbmc=\r\n";

/// An authority with a folder for what it signs.
struct Authority {
    folder: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate and its key, in PEM.
#[derive(Clone)]
struct Identity {
    certificate: String,
    key: String,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "test authority");
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("a certificate");
        let authority = Authority { folder: tempfile::tempdir().expect("a folder"), issuer };
        authority.write("ca.crt", &authority.issuer.pem());
        authority.serve(&authority.sign(&["localhost"], ExtendedKeyUsagePurpose::ServerAuth));
        authority
    }

    fn sign(&self, names: &[&str], usage: ExtendedKeyUsagePurpose) -> Identity {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("parameters");
        params.extended_key_usages = vec![usage];
        self.sign_params(params)
    }

    fn sign_params(&self, params: CertificateParams) -> Identity {
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        Identity { certificate: certificate.pem(), key: key.serialize_pem() }
    }

    fn client(&self, name: &str) -> Identity {
        self.sign(&[name], ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Replaces a file in one step.
    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path("new"), text).expect("a file");
        std::fs::rename(self.path("new"), self.path(name)).expect("a file");
    }

    fn serve(&self, identity: &Identity) {
        self.write("server.crt", &identity.certificate);
        self.write("server.key", &identity.key);
    }

    /// A web configuration with TLS, and more below `tls_server_config`.
    fn configure(&self, more: &str) -> Listen {
        self.configure_text(&format!(
            "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n{more}"
        ))
    }

    fn configure_text(&self, text: &str) -> Listen {
        self.write("web.yml", text);
        self.listen(Admin::Local)
    }

    fn listen(&self, admin: Admin) -> Listen {
        let serve = Serve { web_config: Some(self.path("web.yml")), ..Serve::with(admin) };
        Listen { serve, ..tcp("127.0.0.1:0", Admin::Off) }
    }
}

fn start(listen: &Listen) -> Site {
    Setup { server: server(std::slice::from_ref(listen)), ..Setup::default() }.start()
}

/// How a client connects.
#[derive(Clone)]
struct Dialer(Arc<ClientConfig>);

impl Dialer {
    fn new(
        authority: &Authority,
        identity: Option<&Identity>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(authority.issuer.der().clone()).expect("an authority");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .expect("versions")
            .with_root_certificates(roots);
        let mut config = match identity {
            None => builder.with_no_client_auth(),
            Some(Identity { certificate, key }) => {
                let certificate = CertificateDer::from_pem_slice(certificate.as_bytes());
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("a key");
                builder
                    .with_client_auth_cert(vec![certificate.expect("a certificate")], key)
                    .expect("an identity")
            }
        };
        config.resumption = rustls::client::Resumption::disabled();
        Dialer(Arc::new(config))
    }

    fn plain(authority: &Authority) -> Self {
        Dialer::new(authority, None, rustls::ALL_VERSIONS)
    }

    async fn connect(&self, site: &Site) -> std::io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from("localhost").expect("a name");
        TlsConnector::from(Arc::clone(&self.0)).connect(name, site.connect().await).await
    }

    /// The status of one request; nothing if the connection is refused, which in TLS 1.3 a client learns only
    /// when it reads.
    async fn status(&self, site: &Site) -> Option<u16> {
        let mut stream = self.connect(site).await.ok()?;
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.ok()?;
        Some(answer(&mut stream, false).await?.status)
    }

    async fn version(&self, site: &Site) -> Option<ProtocolVersion> {
        self.connect(site).await.ok()?.get_ref().1.protocol_version()
    }
}

/// Waits until something is so.
async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let limit = Instant::now() + Duration::from_secs(60);
    while !is_so().await {
        assert!(Instant::now() < limit, "waited in vain until {what}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn clients_are_asked_for_what_the_configuration_says() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let known = authority.client("a.example");
    let unknown = stranger.client("a.example");
    let server = authority.sign(&["a.example"], ExtendedKeyUsagePurpose::ServerAuth);
    let ca = "  client_ca_file: ca.crt\n";
    for (rule, ca, [without, right, foreign, other_use]) in [
        ("NoClientCert", "", [true, true, true, true]),
        ("RequestClientCert", "", [true, true, true, true]),
        ("RequireAnyClientCert", "", [false, true, true, true]),
        ("RequireClientCert", ca, [false, true, true, true]),
        ("VerifyClientCertIfGiven", ca, [true, true, false, false]),
        ("RequireAndVerifyClientCert", ca, [false, true, false, false]),
    ] {
        let site = start(&authority.configure(&format!("  client_auth_type: {rule}\n{ca}")));
        for versions in [&[&version::TLS12][..], &[&version::TLS13][..]] {
            for (identity, is_let_in) in [
                (None, without),
                (Some(&known), right),
                (Some(&unknown), foreign),
                (Some(&server), other_use),
            ] {
                let status = Dialer::new(&authority, identity, versions).status(&site).await;
                assert_eq!(status.is_some(), is_let_in, "{rule} {versions:?}: {status:?}");
                assert!(status.is_none_or(|status| status == 200));
            }
        }
        // A client without a certificate is not counted where it need not have one.
        assert_eq!(site.counters.failed_handshakes() == 0, without && foreign, "{rule}");
    }
}

#[tokio::test]
async fn of_those_with_certificates_only_names_that_are_listed_are_let_in() {
    let authority = Authority::new();
    let with = |name: SanType| {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.subject_alt_names = vec![SanType::DnsName("zzz".try_into().expect("a name")), name];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        authority.sign_params(params)
    };
    let names = "  client_allowed_sans: [b.example, 10.1.2.3, 'spiffe://b/x', m@b.example]\n";
    for rule in ["RequireAndVerifyClientCert\n  client_ca_file: ca.crt", "RequireAnyClientCert"] {
        let site = start(&authority.configure(&format!("  client_auth_type: {rule}\n{names}")));
        for (name, is_let_in) in [
            (SanType::DnsName("b.example".try_into().expect("a name")), true),
            (SanType::DnsName("c.example".try_into().expect("a name")), false),
            (SanType::DnsName("sub.b.example".try_into().expect("a name")), false),
            (SanType::IpAddress([10, 1, 2, 3].into()), true),
            (SanType::IpAddress([10, 1, 2, 4].into()), false),
            (SanType::URI("spiffe://b/x".try_into().expect("a name")), true),
            (SanType::URI("spiffe://b/y".try_into().expect("a name")), false),
            (SanType::Rfc822Name("m@b.example".try_into().expect("a name")), true),
        ] {
            let dialer = Dialer::new(&authority, Some(&with(name.clone())), rustls::ALL_VERSIONS);
            let status = dialer.status(&site).await;
            assert_eq!(status.is_some(), is_let_in, "{rule} {name:?}");
        }
        assert_eq!(Dialer::plain(&authority).status(&site).await, None);
    }
    // A name in the subject is none.
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    params.distinguished_name.push(DnType::CommonName, "b.example");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let named = authority.sign_params(params);
    let site =
        start(&authority.configure(&format!("  client_auth_type: RequireAnyClientCert\n{names}")));
    let dialer = Dialer::new(&authority, Some(&named), rustls::ALL_VERSIONS);
    assert_eq!(dialer.status(&site).await, None);
}

#[tokio::test]
async fn each_connection_shakes_hands_anew() {
    let authority = Authority::new();
    let identity = authority.client("a.example");
    let rule = "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.crt\n";
    let site = start(&authority.configure(rule));
    for versions in [&[&version::TLS12][..], &[&version::TLS13][..]] {
        let Dialer(config) = Dialer::new(&authority, Some(&identity), versions);
        let mut config = ClientConfig::clone(&config);
        config.resumption = rustls::client::Resumption::default();
        let dialer = Dialer(Arc::new(config));
        for _ in 0..3 {
            let mut stream = dialer.connect(&site).await.expect("a handshake");
            // What a client needs to resume a session has come with the answer.
            assert_eq!(ask(&mut stream, "GET", "/healthz", "").await.status, 200);
            assert_eq!(stream.get_ref().1.handshake_kind(), Some(HandshakeKind::Full));
        }
    }
}

#[tokio::test]
async fn versions_and_suites_are_those_of_the_configuration() {
    let authority = Authority::new();
    let (old, new) = (&[&version::TLS12][..], &[&version::TLS13][..]);
    for (more, with_old, with_new) in [
        ("", true, true),
        ("  min_version: TLS13\n", false, true),
        ("  max_version: TLS12\n", true, false),
        // None of it is here, and nothing is left of 1.2.
        ("  cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA]\n", false, true),
        // The key of the certificate is ECDSA.
        ("  cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]\n", false, true),
        ("  cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256]\n", true, true),
        ("  curve_preferences: [CurveP384]\n  prefer_server_cipher_suites: false\n", true, true),
    ] {
        let site = start(&authority.configure(more));
        let speaks = async |versions| Dialer::new(&authority, None, versions).version(&site).await;
        assert_eq!(speaks(old).await, with_old.then_some(ProtocolVersion::TLSv1_2), "{more}");
        assert_eq!(speaks(new).await, with_new.then_some(ProtocolVersion::TLSv1_3), "{more}");
    }
}

#[tokio::test]
async fn plain_http_on_a_port_of_tls_is_answered() {
    let authority = Authority::new();
    let site = start(&authority.configure(""));
    for request in ["GET / HTTP/1.1\r\nHost: x\r\n\r\n", "PUT /plugins/reload HTTP/1.1\r\n\r\n"] {
        let mut stream = site.connect().await;
        stream.write_all(request.as_bytes()).await.expect("sends");
        let mut said = String::new();
        stream.read_to_string(&mut said).await.expect("an answer");
        assert_eq!(
            said,
            "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"
        );
    }
    for noise in [&b"SSH-2.0-x\r\n"[..], &[0; 64], &[22, 3, 1, 255, 255, 1, 2, 3]] {
        let mut stream = site.connect().await;
        stream.write_all(noise).await.expect("sends");
        let _ = stream.shutdown().await;
        assert!(closes_within(&mut stream, LONG).await, "{noise:?}");
    }
    assert_eq!(Dialer::plain(&authority).status(&site).await, Some(200));
    assert_eq!(site.stub.reloads(), 0);
}

#[tokio::test]
async fn the_rules_of_administration_are_the_same_over_tls() {
    let authority = Authority::new();
    let site = start(&authority.configure(""));
    let dialer = Dialer::plain(&authority);
    let status = async |headers: &str| {
        let mut stream = dialer.connect(&site).await.expect("a handshake");
        ask(&mut stream, "PUT", "/plugins/reload", headers).await.status
    };
    assert_eq!(status("Via: x\r\n").await, 403);
    assert_eq!(site.stub.reloads(), 0);
    // A reload that is busy.
    assert_eq!(status("").await, 409);
    assert_eq!(site.stub.reloads(), 1);
}

#[tokio::test]
async fn silent_handshakes_hold_up_nobody() {
    let authority = Authority::new();
    let site = start(&authority.configure(""));
    site.listeners.set_timeouts(LONG, LONG);
    let mut silent = Vec::new();
    let mut took = Vec::new();
    let dialer = Dialer::plain(&authority);
    for number in 0..200 {
        let mut stream = site.connect().await;
        // Half of them begin.
        if number % 2 == 0 {
            stream.write_all(&[22, 3, 1, 1, 0, 1]).await.expect("sends");
        }
        silent.push(stream);
        if number % 20 == 0 {
            let began = Instant::now();
            assert_eq!(dialer.status(&site).await, Some(200), "{number}");
            took.push(began.elapsed());
        }
    }
    assert!(took.iter().all(|took| *took < LONG / 2), "{took:?}");
    // The oldest had to go, and the rest goes when its time is up.
    for stream in &mut silent {
        assert!(closes_within(stream, 2 * LONG).await);
    }
    assert!(site.counters.evicted() >= 100 && site.counters.timed_out() > 0);
    assert_eq!(dialer.status(&site).await, Some(200));
}

/// The certificate that new connections see.
async fn seen(dialer: &Dialer, site: &Site) -> Option<Vec<u8>> {
    let stream = dialer.connect(site).await.ok()?;
    Some(stream.get_ref().1.peer_certificates()?.first()?.to_vec())
}

fn der(identity: &Identity) -> Vec<u8> {
    CertificateDer::from_pem_slice(identity.certificate.as_bytes()).expect("a certificate").to_vec()
}

#[tokio::test]
async fn a_certificate_that_is_replaced_is_served_and_a_broken_one_is_not() {
    let authority = Authority::new();
    let site = start(&authority.configure(""));
    let dialer = Dialer::plain(&authority);
    let mut kept = dialer.connect(&site).await.expect("connects");
    assert_eq!(ask(&mut kept, "GET", "/healthz", "").await.status, 200);
    let second = authority.sign(&["localhost"], ExtendedKeyUsagePurpose::ServerAuth);
    // Between the two files they do not belong together.
    authority.write("server.crt", &second.certificate);
    until("the mismatch is noticed", async || {
        let before = seen(&dialer, &site).await.expect("it is served");
        assert_ne!(before, der(&second));
        !is_well(&site)
    })
    .await;
    authority.write("server.key", &second.key);
    until("the new one is served", async || seen(&dialer, &site).await == Some(der(&second))).await;
    assert!(is_well(&site));
    for (name, broken) in [
        ("server.crt", "no certificate"),
        ("server.key", ""),
        ("web.yml", "tls_server_config: ["),
        ("web.yml", "tls_server_config: {cert_file: server.crt, key_fil: server.key}\n"),
        // It would protect less.
        ("web.yml", ""),
    ] {
        let good = std::fs::read_to_string(authority.path(name)).expect("a file");
        authority.write(name, broken);
        until("what is broken is noticed", async || {
            assert_eq!(seen(&dialer, &site).await, Some(der(&second)), "{name}");
            !is_well(&site)
        })
        .await;
        authority.write(name, &good);
        until("it is right again", async || {
            assert_eq!(seen(&dialer, &site).await, Some(der(&second)), "{name}");
            is_well(&site)
        })
        .await;
    }
    assert_eq!(ask(&mut kept, "GET", "/healthz", "").await.status, 200);
}

#[tokio::test]
async fn passwords_come_before_everything() {
    let authority = Authority::new();
    let text = format!(
        "basic_auth_users: {{alice: \"{}\"}}\nhttp_server_config:\n  headers: {{X-Frame-Options: deny, \
         Content-Security-Policy: default-src 'self'}}\n",
        hash()
    );
    let site = start(&authority.configure_text(&text));
    for path in ["/", "/metrics", "/healthz", "/readyz", "/plugins", "/nothing", "/plugins/reload"]
    {
        for credentials in ["", WRONG, "Authorization: Bearer x\r\n", "Authorization: Basic =\r\n"]
        {
            let answer = site.ask("GET", path, credentials).await;
            assert_eq!(answer.status, 401, "{path}");
            assert!(answer.has("www-authenticate: Basic realm=\"vitald\""), "{}", answer.head);
            assert!(answer.has("x-frame-options: deny"), "{}", answer.head);
        }
        assert_ne!(site.ask("GET", path, RIGHT).await.status, 401, "{path}");
    }
    let page = site.ask("GET", "/metrics", RIGHT).await;
    assert!(page.status == 200 && page.has("content-security-policy: default-src 'self'"));
    assert_eq!(site.ask("PUT", "/plugins/reload", "").await.status, 401);
    assert_eq!(site.stub.reloads(), 0);
    // The rules of administration hold after it.
    let proxied = site.ask("PUT", "/plugins/reload", &format!("{RIGHT}Via: x\r\n")).await;
    assert_eq!((proxied.status, site.stub.reloads()), (403, 0));
    // A reload that is busy.
    assert_eq!(site.ask("PUT", "/plugins/reload", RIGHT).await.status, 409);
    assert_eq!(site.stub.reloads(), 1);
    site.swap(&[authority.listen(Admin::Off)]).await;
    assert_eq!(site.ask("GET", "/plugins", WRONG).await.status, 401);
}

#[tokio::test]
async fn the_status_page_gives_the_command_for_tls_and_passwords() {
    let authority = Authority::new();
    let site = start(&authority.configure(&format!("basic_auth_users: {{alice: {}}}\n", hash())));
    let dialer = Dialer::plain(&authority);
    let mut stream = dialer.connect(&site).await.expect("a handshake");
    let page = ask(&mut stream, "GET", "/", RIGHT).await.text();
    assert!(page.contains("curl -X PUT -u USER https://localhost/plugins/reload</code>"), "{page}");
    // It has neither.
    assert!(!page.contains("vitald reload"), "{page}");
    assert!(page.contains(": TLS, passwords; administration: local; by <code>"), "{page}");
}

#[tokio::test]
async fn users_are_read_again_and_are_not_lost_by_themselves() {
    let authority = Authority::new();
    let users = |hash: &str| format!("basic_auth_users: {{alice: \"{hash}\"}}\n");
    let listen = authority.configure_text(&users(&hash()));
    let site = start(&listen);
    assert_eq!(site.ask("GET", "/healthz", RIGHT).await.status, 200);
    authority.write("web.yml", &users(&bcrypt::hash("wrong", 4).expect("a hash")));
    until("the new password counts", async || {
        site.ask("GET", "/healthz", WRONG).await.status == 200
    })
    .await;
    assert_eq!(site.ask("GET", "/healthz", RIGHT).await.status, 401);
    authority.write("web.yml", "# being written\n");
    until("it is noticed", async || {
        assert_eq!(site.ask("GET", "/healthz", "").await.status, 401);
        !is_well(&site)
    })
    .await;
    // A reload takes it as it is.
    site.swap(std::slice::from_ref(&listen)).await;
    assert_eq!(site.ask("GET", "/healthz", "").await.status, 200);
    assert!(is_well(&site));
    // One that is wrong is refused whole.
    authority.write("web.yml", "basic_auth_users: {alice: secret}\n");
    let refused =
        site.listeners.prepare(&server(std::slice::from_ref(&listen))).err().expect("refused");
    assert!(refused[0].to_string().contains("web.yml:1:27: basic_auth_users.alice"), "{refused:?}");
    assert!(!format!("{refused:?}").contains("secret"), "{refused:?}");
    assert_eq!(site.ask("GET", "/healthz", "").await.status, 200);
}

/// Whether all web configurations are what their files say.
fn is_well(site: &Site) -> bool {
    let mut well = true;
    site.counters.each_web_config(|_, is_well, _| well &= is_well);
    well
}

#[tokio::test]
async fn it_is_known_when_the_certificate_ends() {
    let authority = Authority::new();
    let site = start(&authority.configure(""));
    let mut ends = Vec::new();
    site.counters.each_web_config(|_, _, validity| ends.extend(validity.map(|(_, last)| last)));
    assert!(matches!(ends[..], [end] if end > std::time::SystemTime::now()), "{ends:?}");
}

#[tokio::test]
async fn a_file_that_is_half_written_lets_nobody_in() {
    let authority = Authority::new();
    let ca = "  client_ca_file: ca.crt\n  client_auth_type: RequireAndVerifyClientCert\n";
    let names = "  client_allowed_sans: [a.example]\n";
    let rate = "rate_limit: {interval: 1s, burst: 1000000}\n";
    let listen = authority.configure(&format!("{ca}{names}{rate}"));
    let site = start(&listen);
    let known = authority.client("a.example");
    let known = Dialer::new(&authority, Some(&known), rustls::ALL_VERSIONS);
    for half in ["", ca, &format!("{ca}{names}"), &format!("{ca}{rate}")] {
        authority.configure(half);
        until("it is noticed", async || {
            assert_eq!(known.status(&site).await, Some(200));
            assert_eq!(Dialer::plain(&authority).status(&site).await, None, "{half}");
            !is_well(&site)
        })
        .await;
        authority.configure(&format!("{ca}{names}{rate}"));
        until("it is right again", async || {
            known.status(&site).await;
            is_well(&site)
        })
        .await;
    }
}

/// A listener that wants a token of readers, and none of a web configuration but that it is one.
fn beside_token(authority: &Authority) -> Listen {
    let token = authority.path("token");
    std::fs::write(&token, "right").expect("a file");
    std::fs::set_permissions(&token, std::os::unix::fs::PermissionsExt::from_mode(0o600))
        .expect("chmod");
    let token_file = Some(TokenFile::Path(token));
    let serve = Serve { token_file, ..Serve::with(Admin::Off) };
    Listen { serve, ..tcp("127.0.0.1:0", Admin::Off) }
}

#[tokio::test]
async fn users_do_not_come_to_a_listener_that_wants_a_token() {
    let authority = Authority::new();
    let mut listen = beside_token(&authority);
    listen.serve.web_config = authority.configure_text("# nothing\n").serve.web_config;
    let site = start(&listen);
    let token = "Authorization: Bearer right\r\n";
    assert_eq!(site.ask("GET", "/metrics", token).await.status, 200);
    authority.write("web.yml", &format!("basic_auth_users: {{alice: \"{}\"}}\n", hash()));
    until("it is noticed", async || {
        assert_eq!(site.ask("GET", "/metrics", token).await.status, 200);
        !is_well(&site)
    })
    .await;
}

#[tokio::test]
async fn between_two_rules_that_protect_nobody_passes() {
    let authority = Authority::new();
    let users = format!("basic_auth_users: {{alice: \"{}\"}}\n", hash());
    let by_password = authority.configure_text(&users);
    let by_token = beside_token(&authority);
    let site = start(&by_password);
    let listeners = Arc::clone(&site.listeners);
    // As a reload does, on a thread of its own.
    let swaps = std::thread::spawn(move || {
        for listen in [&by_token, &by_password].into_iter().cycle().take(400) {
            let staged = listeners.prepare(&server(std::slice::from_ref(listen)));
            listeners.swap(staged.expect("binds")).expect("swaps");
        }
    });
    let mut stream = site.connect().await;
    while !swaps.is_finished() {
        assert_eq!(ask(&mut stream, "GET", "/metrics", "").await.status, 401);
    }
    swaps.join().expect("no swap fails");
}

#[tokio::test]
async fn a_handshake_under_an_earlier_rule_is_not_enough_for_a_stricter_one() {
    let authority = Authority::new();
    let none = "";
    let any = "  client_auth_type: RequireAnyClientCert\n";
    let verified = "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.crt\n";
    let named = &format!("{verified}  client_allowed_sans: [b.example]\n");
    let given = "  client_auth_type: VerifyClientCertIfGiven\n  client_ca_file: ca.crt\n";
    let site = start(&authority.configure(none));
    let known = authority.client("a.example");
    let stranger = Authority::new().client("a.example");
    for (earlier, later, identity, is_let_in) in [
        (none, none, None, true),
        (none, given, None, true),
        (none, any, None, false),
        (none, verified, None, false),
        (given, verified, None, false),
        (any, any, Some(&stranger), true),
        (any, verified, Some(&stranger), false),
        (verified, verified, Some(&known), true),
        (verified, named, Some(&known), false),
        (verified, none, Some(&known), true),
    ] {
        site.swap(&[authority.configure(earlier)]).await;
        let dialer = Dialer::new(&authority, identity, rustls::ALL_VERSIONS);
        let mut stream = dialer.connect(&site).await.expect("a handshake");
        assert_eq!(ask(&mut stream, "GET", "/healthz", "").await.status, 200, "{earlier}");
        site.swap(&[authority.configure(later)]).await;
        let answer = ask(&mut stream, "GET", "/healthz", "").await;
        assert_eq!(answer.status, if is_let_in { 200 } else { 400 }, "{earlier}, then {later}");
        assert_eq!(answer.head.contains("connection: close"), !is_let_in, "{}", answer.head);
    }
    // The same rule of another authority.
    site.swap(&[authority.configure(verified)]).await;
    let dialer = Dialer::new(&authority, Some(&known), rustls::ALL_VERSIONS);
    let mut stream = dialer.connect(&site).await.expect("a handshake");
    assert_eq!(ask(&mut stream, "GET", "/healthz", "").await.status, 200);
    authority.write("ca.crt", &Authority::new().issuer.pem());
    site.swap(&[authority.configure(verified)]).await;
    assert_eq!(ask(&mut stream, "GET", "/healthz", "").await.status, 400);
}

/// Holds requests, and answers them with what stands before them.
#[derive(Clone, Default)]
struct Held {
    have_come: Arc<Notify>,
    may_go: Arc<Notify>,
}

impl net::Answer for Held {
    fn answer(&self, request: Request) -> net::Answering {
        let held = self.clone();
        Box::pin(async move {
            held.have_come.notify_one();
            held.may_go.notified().await;
            let rules = &request.rules;
            let web_config = rules.web_config.as_ref().map(|config| config.protection());
            let wants_passwords = web_config.is_some_and(|it| it.wants_passwords);
            plain(
                warp::http::StatusCode::OK,
                format!("token {} passwords {wants_passwords}", rules.serve.wants_token()),
            )
        })
    }
}

#[tokio::test]
async fn a_request_is_judged_by_one_configuration_while_file_and_rules_change_together() {
    let authority = Authority::new();
    let users = format!("basic_auth_users: {{alice: \"{}\"}}\n", hash());
    let by_password = authority.configure_text(&users);
    let mut by_token = beside_token(&authority);
    by_token.serve.web_config.clone_from(&by_password.serve.web_config);
    let listeners = Listeners::new(Arc::default());
    let held = Held::default();
    let swap = |listen: &Listen| {
        let staged = listeners.prepare(&server(std::slice::from_ref(listen))).expect("it is right");
        listeners.swap(staged).expect("swaps")
    };
    swap(&by_password);
    listeners.open(Arc::new(held.clone()));
    let mut stream = TcpStream::connect(listeners.bound()[0]).await.expect("connects");
    let meanwhile = async {
        held.have_come.notified().await;
        authority.write("web.yml", "# no users\n");
        let changes = swap(&by_token);
        held.may_go.notify_one();
        changes
    };
    let (answer, changes) = tokio::join!(ask(&mut stream, "GET", "/", ""), meanwhile);
    assert_eq!(answer.text(), "token false passwords true");
    assert_eq!(changes.changed[0].what, ["admin", "token_file", "web_config", "passwords off"]);
    held.may_go.notify_one();
    let answer = ask(&mut stream, "GET", "/", "").await;
    assert_eq!(answer.text(), "token true passwords false");
}

#[tokio::test]
async fn a_reload_says_what_it_changes_at_a_listener() {
    let authority = Authority::new();
    let listen = authority.configure_text("");
    let site = start(&listen);
    let swap = async |listen: &Listen| {
        let changes = site.swap(std::slice::from_ref(listen)).await;
        let ListenerChanges { mut changed, unchanged, .. } = changes;
        assert_eq!(changed.len() + unchanged.len(), 1);
        changed.pop().map(|changed| changed.what).unwrap_or_default()
    };
    assert!(swap(&listen).await.is_empty());
    authority.configure("");
    assert_eq!(swap(&listen).await, ["web_config", "TLS on"]);
    assert!(swap(&listen).await.is_empty());
    authority.serve(&authority.sign(&["localhost"], ExtendedKeyUsagePurpose::ServerAuth));
    assert_eq!(swap(&listen).await, ["web_config"]);
    let mut off = authority.listen(Admin::Off);
    assert_eq!(swap(&off).await, ["admin"]);
    off.serve.web_config = None;
    assert_eq!(swap(&off).await, ["web_config", "TLS off"]);
}

#[tokio::test]
async fn a_reload_does_not_begin_a_rate_anew() {
    let authority = Authority::new();
    let listen = authority.configure_text("rate_limit: {interval: 1h, burst: 2}\n");
    let site = start(&listen);
    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(site.ask("GET", "/healthz", "").await.status);
        site.swap(std::slice::from_ref(&listen)).await;
    }
    assert_eq!(statuses, [200, 200, 429]);
}

#[tokio::test]
async fn a_connection_in_the_clear_does_not_outlive_the_switch_to_tls() {
    let authority = Authority::new();
    let listen = authority.configure_text("");
    let site = start(&listen);
    let mut stream = site.connect().await;
    assert_eq!(ask(&mut stream, "GET", "/healthz", "").await.status, 200);
    authority.configure("");
    site.swap(std::slice::from_ref(&listen)).await;
    let answer = ask(&mut stream, "GET", "/healthz", "").await;
    assert_eq!(answer.status, 400);
    assert!(closes_within(&mut stream, LONG).await);
    assert_eq!(Dialer::plain(&authority).status(&site).await, Some(200));
}

#[tokio::test]
async fn requests_are_limited_in_time() {
    let authority = Authority::new();
    let text = format!(
        "rate_limit: {{interval: 1h, burst: 3}}\nbasic_auth_users: {{alice: \"{}\"}}\n",
        hash()
    );
    let listen = authority.configure_text(&text);
    let other = Listen {
        address: crate::config::parse_address("[::1]:0").expect("an address"),
        ..listen.clone()
    };
    let site = Setup { server: server(&[listen, other]), ..Setup::default() }.start();
    let mut statuses = Vec::new();
    for credentials in [RIGHT, WRONG, "", RIGHT, RIGHT] {
        statuses.push(site.ask("GET", "/healthz", credentials).await.status);
    }
    // As in the toolkit, the limit goes before the password.
    assert_eq!(statuses, [200, 401, 401, 429, 429]);
    // Another listener has a limit of its own.
    let mut stream = TcpStream::connect(site.listeners.bound()[1]).await.expect("connects");
    assert_eq!(ask(&mut stream, "GET", "/healthz", RIGHT).await.status, 200);
}

#[tokio::test]
async fn a_flood_of_wrong_passwords_does_not_keep_a_right_one_waiting() {
    let authority = Authority::new();
    // Each check takes seconds where nothing is optimised.
    let slow = hash().replacen("$04$", "$13$", 1);
    let text = format!("basic_auth_users:\n  alice: \"{}\"\n  bob: \"{slow}\"\n", hash());
    let site = start(&authority.configure_text(&text));
    assert_eq!(site.ask("GET", "/metrics", RIGHT).await.status, 200);
    let mut flood = Vec::new();
    for number in 0..8 {
        let mut stream = site.connect().await;
        let credentials = BASE64_STANDARD.encode(format!("bob:{number}"));
        let request = format!(
            "GET /metrics HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic {credentials}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.expect("sends");
        flood.push(stream);
    }
    let began = Instant::now();
    for _ in 0..20 {
        assert_eq!(site.ask("GET", "/metrics", RIGHT).await.status, 200);
    }
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    // Two of one address are checked, the rest is to come again.
    let mut busy = 0;
    for stream in &mut flood {
        if let Ok(Some(answer)) = tokio::time::timeout(MOMENT, answer(stream, false)).await {
            assert!(matches!(answer.status, 401 | 503), "{}", answer.head);
            busy += usize::from(answer.status == 503);
        }
    }
    assert_eq!(busy, 6);
}
