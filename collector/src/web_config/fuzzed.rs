//! Web configurations without their files, for the fuzzer.

use super::decode::{Notebook, Pem, PemSource, decode};
use super::files::Files;
use super::tls;
use std::path::Path;
use vitald_core::settings::Mistake;

/// Takes a text for a web configuration and drops it. Of what it names nothing is read; keys and certificates that
/// are in it are.
///
/// # Errors
///
/// Every mistake in it.
pub fn decode_text(text: &str) -> Result<(), Vec<Mistake>> {
    let mut book = Notebook::new(Path::new("web.yml"));
    let written = decode(text, Path::new("/"), &mut book);
    let is_decoded = written.is_some();
    if let Some(written) = written.and_then(|written| written.tls) {
        let is_inline = |pem: &Pem| matches!(pem.source, PemSource::Inline(_));
        if [&written.certificate, &written.key].into_iter().chain(&written.client_ca).all(is_inline)
        {
            tls::build(&written, &mut Files::default(), &mut book);
        }
    }
    let mistakes = book.mistakes.into_sorted();
    assert!(is_decoded || !mistakes.is_empty(), "refused without a reason");
    if mistakes.is_empty() { Ok(()) } else { Err(mistakes) }
}
