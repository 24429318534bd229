//! From certificates, keys and rules to what rustls serves with.

use super::certificate;
use super::decode::{ClientAuth, Notebook, Pem, PemSource, TlsWritten};
use super::files::Files;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime, pem};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, InconsistentKeys,
    NamedGroup, RootCertStore, ServerConfig, SignatureScheme, SupportedProtocolVersion, version,
};
use std::borrow::Cow;
use std::sync::Arc;

/// Reads the files and puts together what TLS is served with. Nothing comes back if a mistake is in the
/// notebook.
pub(super) fn build(
    tls: &TlsWritten,
    files: &mut Files,
    book: &mut Notebook,
) -> Option<Arc<ServerConfig>> {
    let provider = Arc::new(provider(tls));
    let certificates = certificates(&tls.certificate, files, book);
    let key = private_key(&tls.key, files, book);
    let verifier = verifier(tls, &provider, files, book);
    let (certificates, key, verifier) = (certificates?, key?, verifier?);
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
    // What is kept for a client that comes again is bounded, and it comes on a kept connection.
    config.max_early_data_size = 0;
    Some(Arc::new(config))
}

fn refuse(book: &mut Notebook, pem: &Pem, message: &str) {
    let path = format!("tls_server_config.{}", pem.key);
    match &pem.source {
        PemSource::File(file) => {
            book.refuse(pem.place, &path, format!("{}: {message}", file.display()));
        }
        PemSource::Inline(_) => book.refuse(pem.place, &path, message),
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
) -> Option<Arc<dyn ClientCertVerifier>> {
    let roots = match &tls.client_ca {
        Some(pem) => Some((pem, certificates(pem, files, book)?)),
        None => None,
    };
    let must_show =
        matches!(tls.client_auth, ClientAuth::RequireAny | ClientAuth::RequireAndVerify);
    let inner: Arc<dyn ClientCertVerifier> = match (tls.client_auth, roots) {
        (ClientAuth::None, _) => return Some(WebPkiClientVerifier::no_client_auth()),
        (ClientAuth::VerifyIfGiven | ClientAuth::RequireAndVerify, Some((pem, certificates))) => {
            let mut roots = RootCertStore::empty();
            let (added, _) = roots.add_parsable_certificates(certificates);
            if added == 0 {
                refuse(book, pem, "has no certificate of an authority that can be used");
                return None;
            }
            let builder =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
            let builder = if must_show { builder } else { builder.allow_unauthenticated() };
            match builder.build() {
                Ok(verifier) => verifier,
                Err(error) => {
                    refuse(book, pem, &format!("cannot be used to verify clients: {error}"));
                    return None;
                }
            }
        }
        _ => Arc::new(AnyClient {
            must_show,
            algorithms: provider.signature_verification_algorithms,
        }),
    };
    Some(match &tls.allowed_sans {
        Some(allowed) => Arc::new(Named { inner, allowed: allowed.clone() }),
        None => inner,
    })
}

/// Takes every certificate whose key the client has.
#[derive(Debug)]
struct AnyClient {
    must_show: bool,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientCertVerifier for AnyClient {
    fn client_auth_mandatory(&self) -> bool {
        self.must_show
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
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

/// Takes of those whom another rule takes only who has one of these names.
#[derive(Debug)]
struct Named {
    inner: Arc<dyn ClientCertVerifier>,
    allowed: Vec<String>,
}

impl ClientCertVerifier for Named {
    fn offer_client_auth(&self) -> bool {
        self.inner.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.inner.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.inner.verify_client_cert(end_entity, intermediates, now)?;
        if certificate::names(end_entity).iter().any(|name| self.allowed.contains(name)) {
            return Ok(verified);
        }
        Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
