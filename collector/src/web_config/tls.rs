//! From certificates, keys and rules to what rustls serves with.

use super::certificate;
use super::dates::Dated;
use super::decode::{ClientAuth, Notebook, Pem, PemSource, TlsWritten};
use super::files::Files;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime, pem};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{
    ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, InconsistentKeys,
    NamedGroup, RootCertStore, ServerConfig, SignatureAlgorithm, SignatureScheme,
    SupportedProtocolVersion, version,
};
use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// What TLS is served with.
pub(crate) struct Tls {
    pub(crate) config: Arc<ServerConfig>,
    /// What a handshake with it asks of the client.
    pub(crate) clients: Arc<ClientRule>,
    pub(super) limits: Limits,
}

/// What it leaves out of what there is.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    /// TLS 1.2.
    pub(super) has_no_tls12: bool,
    /// All suites but those that are named.
    pub(super) has_chosen_suites: bool,
    /// All curves but those that are named.
    pub(super) has_chosen_curves: bool,
}

/// What is asked of clients, and by whom their certificates may be signed.
#[derive(Debug, PartialEq)]
pub(crate) struct ClientRule {
    auth: ClientAuth,
    authorities: Vec<CertificateDer<'static>>,
    names: Option<Vec<String>>,
}

impl ClientRule {
    /// Whether a client may go on that has shaken hands under an earlier rule.
    pub(super) fn is_met_after(&self, earlier: &ClientRule) -> bool {
        let may_show_none = match self.auth {
            ClientAuth::None | ClientAuth::Request | ClientAuth::VerifyIfGiven => true,
            ClientAuth::RequireAny | ClientAuth::RequireAndVerify => false,
        };
        may_show_none || self == earlier
    }

    /// Whether it lets nobody in without a certificate of an authority that is named.
    pub(super) fn verifies(&self) -> bool {
        self.auth == ClientAuth::RequireAndVerify
    }

    /// Whether it asks for certificates of the same kind: other authorities and other names are the same kind, and
    /// any name instead of some is not.
    pub(super) fn asks_as(&self, other: &ClientRule) -> bool {
        self.auth == other.auth && self.names.is_some() == other.names.is_some()
    }
}

/// Reads the files and puts together what TLS is served with. Nothing comes back if a mistake is in the
/// notebook.
pub(super) fn build(tls: &TlsWritten, files: &mut Files, book: &mut Notebook) -> Option<Tls> {
    let provider = Arc::new(provider(tls));
    let certificates = certificates(&tls.certificate, files, book);
    let consequence = "clients that verify it refuse it";
    note_dates(&tls.certificate, certificates.as_deref(), consequence, book);
    let key = private_key(&tls.key, files, book);
    let verifier = verifier(tls, &provider, files, book);
    let (certificates, key, (verifier, clients)) = (certificates?, key?, verifier?);
    let key = match provider.key_provider.load_private_key(key) {
        Ok(key) => key,
        Err(_) => {
            let message = "this kind of key cannot be used; RSA of 2048 to 8192 bits, ECDSA on P-256 or P-384, and \
                           Ed25519 can";
            refuse(book, &tls.key, message);
            return None;
        }
    };
    let identity = CertifiedKey::new(certificates, key);
    if !belong_together(&identity) {
        let message = "the key is not that of the certificate: their public keys differ";
        refuse(book, &tls.key, message);
        return None;
    }
    // What is left without a suite or a curve that is wrong may be too little to serve with.
    if !book.mistakes.is_empty() {
        return None;
    }
    check_suites(tls, &provider, identity.key.algorithm(), book)?;
    let mut versions: Vec<&'static SupportedProtocolVersion> = Vec::new();
    if tls.has_tls13 {
        versions.push(&version::TLS13);
    }
    if tls.has_tls12 {
        versions.push(&version::TLS12);
    }
    let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(&versions);
    let mut config = match builder {
        Ok(builder) => builder
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(Always(Arc::new(identity)))),
        Err(error) => {
            refuse(book, &tls.certificate, &format!("TLS cannot be served so: {error}"));
            return None;
        }
    };
    config.ignore_client_order = tls.prefers_own_suites;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // No session is resumed: rustls would look neither at the client's certificate again, which may have expired since, nor
    // at how old the session is. Who scrapes keeps its connection.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    let limits = Limits {
        has_no_tls12: !tls.has_tls12,
        has_chosen_suites: tls.suites.is_some(),
        has_chosen_curves: tls.curves.is_some(),
    };
    Some(Tls { config: Arc::new(config), clients: Arc::new(clients), limits })
}

fn refuse(book: &mut Notebook, pem: &Pem, message: &str) {
    book.refuse(pem.place, &path_of(pem), in_file(pem, message));
}

fn path_of(pem: &Pem) -> String {
    format!("tls_server_config.{}", pem.key)
}

/// A message with the file that it is about, if it is about one.
fn in_file(pem: &Pem, message: &str) -> String {
    match &pem.source {
        PemSource::File(file) => format!("{}: {message}", file.display()),
        PemSource::Inline(_) => message.to_owned(),
    }
}

/// Looks whether TLS 1.2 has a suite that goes with the certificate. TLS 1.3 has its own for every key.
fn check_suites(
    tls: &TlsWritten,
    provider: &CryptoProvider,
    key: SignatureAlgorithm,
    book: &mut Notebook,
) -> Option<()> {
    let goes_with_key = |suite: &rustls::SupportedCipherSuite| {
        suite.tls13().is_none() && suite.usable_for_signature_algorithm(key)
    };
    if !tls.has_tls12 || provider.cipher_suites.iter().any(goes_with_key) {
        return Some(());
    }
    let (noun, suite) = match key {
        SignatureAlgorithm::RSA => ("an RSA key", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"),
        // Ed25519 goes with the same suites (RFC 8422, 2.2).
        _ => ("an elliptic-curve key", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"),
    };
    let path = "tls_server_config.cipher_suites";
    let cause = format!("the certificate has {noun}, and none of these suites is for one");
    if tls.has_tls13 {
        let message =
            format!("{cause}, so clients need TLS 1.3; for those with TLS 1.2 add {suite}");
        book.note(tls.suites_place, path, &message);
        return Some(());
    }
    let message =
        format!("{cause}, so no client could connect; add {suite}, or take max_version away");
    book.refuse(tls.suites_place, path, message);
    None
}

/// Keeps the dates of certificates, and notes which of them are not valid today or will not be soon.
fn note_dates(
    pem: &Pem,
    certificates: Option<&[CertificateDer<'_>]>,
    consequence: &'static str,
    book: &mut Notebook,
) {
    let certificates = certificates.unwrap_or_default();
    let now = SystemTime::now();
    for (number, certificate) in (1..).zip(certificates) {
        let Some(validity) = certificate::validity(certificate) else { continue };
        let which = match certificates.len() {
            1 => "the certificate".to_owned(),
            all => format!("certificate {number} of {all}"),
        };
        let which =
            format!("{}: {}: {}", book.origin(pem.place), path_of(pem), in_file(pem, &which));
        let dated = Dated { which, validity, consequence };
        book.notes.extend(dated.said(now));
        book.dates.push(dated);
    }
}

/// ring's cryptography with the chosen suites and curves, in the order in which they were written.
fn provider(tls: &TlsWritten) -> CryptoProvider {
    let mut provider = ring::default_provider();
    if let Some(names) = &tls.suites {
        let all = std::mem::take(&mut provider.cipher_suites);
        // Those of TLS 1.3 are not chosen, as in Go.
        let name = |suite: &rustls::SupportedCipherSuite| format!("{:?}", suite.suite());
        let mut chosen: Vec<_> =
            all.iter().filter(|suite| suite.tls13().is_some()).copied().collect();
        for wanted in names {
            chosen.extend(all.iter().filter(|suite| name(suite) == *wanted));
        }
        provider.cipher_suites = chosen;
    }
    if let Some(names) = &tls.curves {
        let all = std::mem::take(&mut provider.kx_groups);
        for wanted in names {
            let group = match *wanted {
                "X25519" => NamedGroup::X25519,
                "CurveP256" => NamedGroup::secp256r1,
                _ => NamedGroup::secp384r1,
            };
            provider.kx_groups.extend(all.iter().filter(|known| known.name() == group));
        }
    }
    provider
}

/// The bytes of a PEM source.
fn bytes<'p>(pem: &'p Pem, files: &mut Files, book: &mut Notebook) -> Option<Cow<'p, [u8]>> {
    match &pem.source {
        PemSource::Inline(text) => Some(Cow::Borrowed(text.bytes())),
        PemSource::File(path) => match files.read(path) {
            Ok(bytes) => Some(Cow::Owned(bytes)),
            Err(error) => {
                refuse(book, pem, &format!("cannot be read: {error}"));
                None
            }
        },
    }
}

fn certificates(
    pem: &Pem,
    files: &mut Files,
    book: &mut Notebook,
) -> Option<Vec<CertificateDer<'static>>> {
    let bytes = bytes(pem, files, book)?;
    let all: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(&bytes).collect();
    match all {
        Ok(all)
            if !all.is_empty() && all.iter().all(|one| certificate::public_key(one).is_some()) =>
        {
            Some(all)
        }
        Ok(all) if all.is_empty() => {
            refuse(book, pem, "has no certificate in PEM (-----BEGIN CERTIFICATE-----)");
            None
        }
        _ => {
            refuse(book, pem, "has a certificate that is damaged");
            None
        }
    }
}

fn private_key(
    pem: &Pem,
    files: &mut Files,
    book: &mut Notebook,
) -> Option<PrivateKeyDer<'static>> {
    let bytes = bytes(pem, files, book)?;
    // The parser's words may have bytes of the key in them.
    match PrivateKeyDer::from_pem_slice(&bytes) {
        Ok(key) => Some(key),
        Err(_) => {
            let is_encrypted = bytes.windows(9).any(|window| window == b"ENCRYPTED");
            let message = if is_encrypted {
                "the key is encrypted, and nobody is there to decrypt it; decrypt it first: openssl pkey"
            } else {
                "has no key in PEM (-----BEGIN PRIVATE KEY-----)"
            };
            refuse(book, pem, message);
            None
        }
    }
}

/// Whether the public key of the certificate is that of the key. rustls asks the same, but only of
/// certificates that a client of its own would take.
fn belong_together(identity: &CertifiedKey) -> bool {
    match identity.keys_match() {
        Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => true,
        Err(Error::InconsistentKeys(_)) => false,
        Err(_) => {
            let own = identity.key.public_key();
            let certificate =
                identity.cert.first().and_then(|first| certificate::public_key(first));
            own.is_none_or(|own| Some(own.as_ref()) == certificate)
        }
    }
}

/// The one certificate, whatever name a client asks for.
#[derive(Debug)]
struct Always(Arc<CertifiedKey>);

impl ResolvesServerCert for Always {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

fn verifier(
    tls: &TlsWritten,
    provider: &Arc<CryptoProvider>,
    files: &mut Files,
    book: &mut Notebook,
) -> Option<(Arc<dyn ClientCertVerifier>, ClientRule)> {
    let authorities = match &tls.client_ca {
        Some(pem) => Some((pem, certificates(pem, files, book)?)),
        None => None,
    };
    let rule = ClientRule {
        auth: tls.client_auth,
        authorities: authorities
            .iter()
            .flat_map(|(_, certificates)| certificates)
            .cloned()
            .collect(),
        names: tls.allowed_sans.clone(),
    };
    let authorities = match (tls.client_auth, authorities) {
        (ClientAuth::None, _) => return Some((WebPkiClientVerifier::no_client_auth(), rule)),
        (ClientAuth::VerifyIfGiven | ClientAuth::RequireAndVerify, Some((pem, certificates))) => {
            let consequence = "no client is let in with a certificate that it has signed";
            note_dates(pem, Some(&certificates), consequence, book);
            let authority = |certificate| Authority::new(certificate, provider);
            let authorities: Vec<_> = certificates.into_iter().filter_map(authority).collect();
            if authorities.is_empty() {
                refuse(book, pem, "has no certificate of an authority that can be used");
                return None;
            }
            Some(authorities)
        }
        _ => None,
    };
    let hints = authorities.iter().flatten().flat_map(|one| one.verifier.root_hint_subjects());
    let clients = Clients {
        must_show: matches!(tls.client_auth, ClientAuth::RequireAny | ClientAuth::RequireAndVerify),
        hints: hints.cloned().collect(),
        authorities,
        allowed_names: tls.allowed_sans.clone(),
        algorithms: provider.signature_verification_algorithms,
    };
    Some((Arc::new(clients), rule))
}

/// An authority by itself.
#[derive(Debug)]
struct Authority {
    /// From when to when it is one. Of an authority webpki looks at no dates.
    validity: (SystemTime, SystemTime),
    verifier: Arc<dyn ClientCertVerifier>,
}

impl Authority {
    /// Nothing if the certificate cannot be an authority's.
    fn new(certificate: CertificateDer<'static>, provider: &Arc<CryptoProvider>) -> Option<Self> {
        let validity = certificate::validity(&certificate)?;
        let mut roots = RootCertStore::empty();
        roots.add(certificate).ok()?;
        let builder =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
        Some(Authority { validity, verifier: builder.build().ok()? })
    }

    fn is_valid(&self, now: UnixTime) -> bool {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(now.as_secs());
        let (first, last) = self.validity;
        first <= now && now <= last
    }
}

/// Which clients are let in by their certificates. That a client has the key of its certificate, rustls verifies.
#[derive(Debug)]
struct Clients {
    must_show: bool,
    /// Who may have signed a certificate; none is anybody.
    authorities: Option<Vec<Authority>>,
    /// The names of the authorities, which are sent to clients.
    hints: Vec<DistinguishedName>,
    /// The names of which a certificate must have one; none is any.
    allowed_names: Option<Vec<String>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientCertVerifier for Clients {
    fn client_auth_mandatory(&self) -> bool {
        self.must_show
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if let Some(authorities) = &self.authorities {
            let mut verified = Err(Error::InvalidCertificate(CertificateError::UnknownIssuer));
            for authority in authorities.iter().filter(|authority| authority.is_valid(now)) {
                if verified.is_err() {
                    let verifier = &authority.verifier;
                    verified = verifier.verify_client_cert(end_entity, intermediates, now);
                }
            }
            verified?;
        }
        if let Some(allowed) = &self.allowed_names
            && !certificate::names(end_entity).iter().any(|name| allowed.contains(name))
        {
            return Err(Error::InvalidCertificate(
                CertificateError::ApplicationVerificationFailure,
            ));
        }
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::super::decode::decode;
    use super::*;
    use rcgen::{
        CertificateParams, CertifiedIssuer, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519,
        date_time_ymd,
    };
    use std::path::Path;

    const RSA: &str = "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256";
    const ECDSA: &str = "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384";
    const CBC: &str = "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA";

    fn params() -> CertificateParams {
        CertificateParams::new(vec!["vitald".to_owned()]).expect("parameters")
    }

    /// The mistakes and the notes of a configuration with a certificate and more.
    fn said(params: CertificateParams, key: &KeyPair, more: &str) -> (Vec<String>, Vec<String>) {
        let folder = tempfile::tempdir().expect("a folder");
        let certificate = params.self_signed(key).expect("a certificate");
        std::fs::write(folder.path().join("c"), certificate.pem()).expect("a file");
        std::fs::write(folder.path().join("k"), key.serialize_pem()).expect("a file");
        let mut book = Notebook::new(Path::new("web.yml"));
        let text = format!("tls_server_config: {{cert_file: c, key_file: k, {more}}}");
        let written = decode(&text, folder.path(), &mut book).expect("it can be decoded");
        let tls = written.tls.expect("TLS is asked for");
        let is_built = build(&tls, &mut Files::default(), &mut book).is_some();
        let mistakes = book.mistakes.into_sorted();
        assert_eq!(is_built, mistakes.is_empty(), "{more}: {mistakes:?}");
        (mistakes.iter().map(ToString::to_string).collect(), book.notes)
    }

    #[test]
    fn one_fault_is_one_mistake() {
        let key = KeyPair::generate().expect("a key");
        for (more, expected) in [
            ("curve_preferences: [CurveP521]".to_owned(), "vitald has none of these"),
            (format!("max_version: TLS12, cipher_suites: [{CBC}]"), "none of these for TLS 1.2"),
            ("max_version: TLS12, cipher_suites: [TLS_X]".to_owned(), "no such value: TLS_X"),
            ("curve_preferences: [CurveP257]".to_owned(), "did you mean CurveP256?"),
        ] {
            let (mistakes, _) = said(params(), &key, &more);
            assert!(mistakes.len() == 1 && mistakes[0].contains(expected), "{more}: {mistakes:?}");
        }
        // Beside it the files are looked at all the same.
        let more = "curve_preferences: [CurveP521], client_ca_file: none, client_auth_type: VerifyClientCertIfGiven";
        let (mistakes, _) = said(params(), &key, more);
        assert!(mistakes.len() == 2 && mistakes[1].contains("cannot be read"), "{mistakes:?}");
    }

    #[test]
    fn suites_go_with_the_key_of_the_certificate() {
        for algorithm in [&PKCS_ECDSA_P256_SHA256, &PKCS_ED25519] {
            let key = KeyPair::generate_for(algorithm).expect("a key");
            let said = |more: &str| said(params(), &key, more);
            let (mistakes, notes) = said(&format!("max_version: TLS12, cipher_suites: [{RSA}]"));
            let place = "web.yml:1:83: tls_server_config.cipher_suites: the certificate has an elliptic-curve key";
            assert!(mistakes.len() == 1 && mistakes[0].starts_with(place), "{mistakes:?}");
            assert!(mistakes[0].contains("no client could connect; add TLS_ECDHE_ECDSA_"));
            assert!(notes.is_empty(), "{notes:?}");
            let (mistakes, notes) = said(&format!("cipher_suites: [{RSA}]"));
            assert!(mistakes.is_empty(), "{mistakes:?}");
            assert!(notes.len() == 1 && notes[0].contains("clients need TLS 1.3"), "{notes:?}");
            for both in [
                format!("max_version: TLS12, cipher_suites: [{RSA}, {ECDSA}]"),
                format!("min_version: TLS13, cipher_suites: [{RSA}]"),
                String::new(),
            ] {
                assert_eq!(said(&both), (Vec::new(), Vec::new()), "{both}");
            }
        }
    }

    #[test]
    fn certificates_that_are_not_valid_today_are_noted() {
        let key = KeyPair::generate().expect("a key");
        let with = |first, last| {
            let mut params = params();
            (params.not_before, params.not_after) = (first, last);
            let (mistakes, notes) = said(params, &key, "");
            assert!(mistakes.is_empty() && notes.len() == 1, "{mistakes:?} {notes:?}");
            notes.concat()
        };
        let expired = with(date_time_ymd(2001, 1, 1), date_time_ymd(2002, 3, 4));
        assert!(expired.starts_with("web.yml:1:32: tls_server_config.cert_file: /"), "{expired}");
        assert!(
            expired.contains("/c: the certificate expired at 2002-03-04T00:00:00Z: "),
            "{expired}"
        );
        let early = with(date_time_ymd(2120, 1, 1), date_time_ymd(2130, 1, 1));
        assert!(early.contains("is not valid before 2120-01-01T00:00:00Z"), "{early}");
        assert!(early.ends_with("is the clock of this machine right?"), "{early}");

        // An authority, too.
        let mut authority = params();
        authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        (authority.not_before, authority.not_after) =
            (date_time_ymd(2001, 1, 1), date_time_ymd(2002, 3, 4));
        let authority = authority.self_signed(&key).expect("a certificate").pem();
        let authority = authority.replace('\r', "").replace('\n', "\\n");
        let more =
            format!("client_ca: \"{authority}\", client_auth_type: RequireAndVerifyClientCert");
        let (mistakes, notes) = said(params(), &key, &more);
        assert!(mistakes.is_empty() && notes.len() == 1, "{mistakes:?} {notes:?}");
        assert!(
            notes[0].contains("tls_server_config.client_ca: the certificate expired"),
            "{notes:?}"
        );
    }

    #[test]
    fn a_certificate_that_expires_soon_is_noted() {
        let key = KeyPair::generate().expect("a key");
        let mut params = params();
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = (SystemTime::now() + Duration::from_secs(13 * 24 * 60 * 60)).into();
        let (mistakes, notes) = said(params.clone(), &key, "");
        assert!(mistakes.is_empty() && notes.len() == 1, "{mistakes:?} {notes:?}");
        let words = ": then clients that verify it refuse it; renew it";
        assert!(notes[0].contains("/c: the certificate expires at 2"), "{notes:?}");
        assert!(notes[0].ends_with(words), "{notes:?}");
        params.not_after = (SystemTime::now() + Duration::from_secs(15 * 24 * 60 * 60)).into();
        assert_eq!(said(params, &key, ""), (Vec::new(), Vec::new()));
    }

    #[test]
    fn an_authority_is_one_as_long_as_its_certificate_is_valid() {
        let authority = |last| {
            let mut params = CertificateParams::new(Vec::new()).expect("parameters");
            params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
            (params.not_before, params.not_after) = (date_time_ymd(2001, 1, 1), last);
            let key = KeyPair::generate().expect("a key");
            CertifiedIssuer::self_signed(params, key).expect("an authority")
        };
        let [old, new] = [date_time_ymd(2002, 1, 1), date_time_ymd(2120, 1, 1)].map(authority);
        let signed_by = |authority: &CertifiedIssuer<'static, KeyPair>| {
            let mut params = params();
            params.not_before = date_time_ymd(2001, 1, 1);
            params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
            let key = KeyPair::generate().expect("a key");
            params.signed_by(&key, authority).expect("a certificate").der().clone()
        };
        let [by_old, by_new] = [&old, &new].map(signed_by);
        let provider = Arc::new(ring::default_provider());
        let authorities = [&old, &new].map(|one| Authority::new(one.der().clone(), &provider));
        let clients = Clients {
            must_show: true,
            authorities: Some(authorities.into_iter().flatten().collect()),
            hints: Vec::new(),
            allowed_names: None,
            algorithms: provider.signature_verification_algorithms,
        };
        let takes = |certificate: &CertificateDer<'_>, date: &str| {
            let date = humantime::parse_rfc3339(date).expect("a date");
            let since = date.duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
            let now = UnixTime::since_unix_epoch(since);
            clients.verify_client_cert(certificate, &[], now).is_ok()
        };
        for (date, is_old) in [
            ("2001-06-01T00:00:00Z", true),
            ("2002-01-01T00:00:00Z", true),
            ("2002-01-01T00:00:01Z", false),
            ("2026-06-01T00:00:00Z", false),
        ] {
            assert_eq!(takes(&by_old, date), is_old, "{date}");
            assert!(takes(&by_new, date), "{date}");
        }
        assert!(!takes(&by_new, "2120-01-01T00:00:01Z"));
        // One that no authority has signed.
        let stranger = signed_by(&authority(date_time_ymd(2120, 1, 1)));
        assert!(!takes(&stranger, "2026-06-01T00:00:00Z"));
    }
}
